"""Random calls of the recurrence of one operation, for tests of its closed forms."""

import numpy as np
from numba.extending import register_jitable

from simulator.hardware.equations import Pipeline

#: Steps of the longest operation drawn.
MOST_STEPS = 60


@register_jitable
def draw_call(rng: np.random.Generator) -> tuple[Pipeline, int, int, int, int, int, int]:
    """Draw a pipeline, begin, gated, gate, main_from, vector_from and apart; with many near ties.

    Written so that Numba compiles it too.
    """
    most = 12 if rng.random() < 0.3 else 600
    v = rng.integers(0, most, size=12)
    has = rng.random(10)
    every, outputs = rng.integers(1, 6), rng.integers(1, 13)
    second = 0
    if has[9] < 0.1:
        every, second = 1, v[11]
    steps = every * outputs
    load = v[0] if has[0] < 0.9 else 0
    p = Pipeline(
        steps,
        every,
        rng.integers(1, steps + 3),
        v[4] * 3 if load > 0 and has[5] < 0.6 else 0,
        load,
        v[1] if has[1] < 0.4 else 0,
        v[5],
        v[6] % steps,
        v[2] // every if has[2] < 0.5 else 0,
        second,
        v[3] if has[3] < 0.4 else 0,
    )
    main_from, vector_from = v[8] * 6, v[9] * 6
    begin = v[7] * 4 - (2 * most if has[6] < 0.5 else 0)
    if load == 0:
        begin = max(begin, main_from)
    gate = begin if has[7] < 0.4 else v[10] * 8
    apart = 1 if has[8] < 0.7 else 0
    return p, begin, rng.integers(0, steps), gate, main_from, vector_from, apart
