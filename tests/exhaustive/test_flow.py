"""Two million calls of the compiled recurrence of one operation against its definition.

Marked slow, not in the usual run: `make exhaustive`, some seconds.
"""

from typing import Any

import numba
import numpy as np
import pytest
from flow_calls import MOST_STEPS, draw_call

from simulator.hardware.equations import flow_room, flow_times
from simulator.hardware.flow import flow


@pytest.mark.slow
def test_two_million_calls_equal_the_recurrence() -> None:
    njit: Any = numba.njit

    @njit(error_model="numpy")
    def differing(rng: np.random.Generator, calls: int, room: Any, other: Any) -> int:
        different = 0
        for _ in range(calls):
            p, begin, gated, gate, main_from, vector_from, apart = draw_call(rng)
            found = flow(p, begin, gated, gate, main_from, vector_from, apart, room)
            told = flow_times(p, begin, gated, gate, main_from, vector_from, apart, other)
            different += found != told
        return different

    rng = np.random.default_rng(2)
    assert differing(rng, 2_000_000, flow_room(MOST_STEPS), flow_room(MOST_STEPS)) == 0
