"""Contexts of the requests of a decode step: two data sets as NeuPIMs' tokeniser counts them.

A batch in steady state holds requests by how long they stay: each has its prompt and a part of its
answer, any part equally likely, and long answers are there more often. The seed is fixed.
"""

import numpy as np

#: Longest context (NeuPIMs clamps its traces there).
LONGEST = 2048
#: Draws of a data set from which a batch is taken.
DRAWN = 1 << 16
NAMES = ("sharegpt_neupims", "alpaca_neupims")


def contexts(name: str, batch: int, seed: int = 1) -> list[int]:
    """Return the contexts of a batch, each with the new token.

    Shapes are assumed, so that means and percentiles are about those of NeuPIMs' data sets.
    ShareGPT: prompts of mean 80, median 17, 99th percentile 1268 (two lognormals), answers of mean
    295 (gamma). Alpaca: prompts of mean 12 (lognormal), answers of mean 56, median 40 (gamma).
    """
    draw = np.random.default_rng(seed)
    if name == "sharegpt_neupims":
        usual, long = (
            draw.lognormal(np.log(15), 1.1, DRAWN),
            draw.lognormal(np.log(900), 0.7, DRAWN),
        )
        prompt = np.where(draw.random(DRAWN) < 0.035, long, usual)
        answer = np.minimum(draw.gamma(1.3, 232, DRAWN), 1024)
    else:
        prompt = draw.lognormal(np.log(11), 0.35, DRAWN)
        answer = np.minimum(draw.gamma(1.05, 53, DRAWN), 1024)
    chosen = draw.choice(DRAWN, size=batch, p=answer / answer.sum())
    there = prompt[chosen] + draw.random(batch) * answer[chosen]
    return [int(each) for each in np.clip(np.ceil(there), 1, LONGEST)]
