"""Millions of calls of the compiled recurrence of one operation against its definition.

Marked slow, not in the usual run: `make exhaustive`, some seconds.
"""

from typing import Any

import numba
import numpy as np
import pytest
from flow_calls import LONG, MOST_STEPS, draw_call

from simulator.hardware.equations import flow_room, flow_times
from simulator.hardware.flow import flow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "calls"), [(1, 2_000_000), (LONG, 500_000)], ids=["short", "long"]
)
def test_calls_equal_the_recurrence(times: int, calls: int) -> None:
    njit: Any = numba.njit

    @njit(error_model="numpy")
    def differing(rng: np.random.Generator, room: Any, other: Any) -> int:
        different = 0
        for _ in range(calls):
            p, begin, gated, gate, main_from, vector_from, apart = draw_call(rng, times)
            found = flow(p, begin, gated, gate, main_from, vector_from, apart, room)
            told = flow_times(p, begin, gated, gate, main_from, vector_from, apart, other)
            different += found != told
        return different

    most = times * times * MOST_STEPS
    assert differing(np.random.default_rng(2), flow_room(most), flow_room(most)) == 0
