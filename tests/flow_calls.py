"""Random calls of the recurrence of one operation, for tests of its closed forms."""

import numpy as np
from numba.extending import register_jitable

from simulator.hardware.equations import Pipeline

#: The most steps of an output and outputs of an operation; steps of the longest that is drawn.
MOST_EVERY, MOST_OUTPUTS = 5, 12
MOST_STEPS = MOST_EVERY * MOST_OUTPUTS
#: How many times as many a long one has of both.
LONG = 8


@register_jitable
def draw_call(
    rng: np.random.Generator, times: int = 1
) -> tuple[Pipeline, int, int, int, int, int, int]:
    """Draw a pipeline, begin, gated, gate, main_from, vector_from and apart; with many near ties.

    times: as many steps of an output, and outputs. Written so that Numba compiles it too.
    """
    most = 12 if rng.random() < 0.3 else 600
    v = rng.integers(0, most, size=12)
    has = rng.random(10)
    every = rng.integers(1, times * MOST_EVERY + 1)
    outputs = rng.integers(1, times * MOST_OUTPUTS + 1)
    second = 0
    if has[9] < 0.1:
        every, second = 1, v[11]
    steps = every * outputs
    # Long operations wait for slots, or never, whatever their length.
    most_slots = steps + 2 if times == 1 or rng.random() < 0.5 else 6
    load = v[0] if has[0] < 0.9 else 0
    p = Pipeline(
        steps,
        every,
        rng.integers(1, most_slots + 1),
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
