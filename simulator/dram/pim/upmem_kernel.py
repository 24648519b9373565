"""The tasklets of a DPU as compiled code, by these rules.

1. Each tasklet goes through the segments of its rows in order; the last segment, a write, only
   after a whole group of rows and after its last row.
2. Tasklets that run share the pipeline evenly: of n each has an instruction every max(apart, n)
   cycles.
3. The DMA serves one segment at a time, in the order in which they were asked for; of equals the
   first tasklet first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Kinds of segments: cycles of the DMA, or instructions.
MOVE, RUN = range(2)
#: States of a tasklet.
RUNNING, WAITING, DONE = range(3)
#: The scalars: the tasklet whom the DMA serves or NONE, requests so far, tasklets that are done.
MOVING, REQUESTS, FINISHED = range(3)
NONE = -1
#: Cycles from the start: now, and when the DMA is done.
NOW, MOVED_AT = range(2)
#: Less than a part of an instruction or a cycle: what sums of fractions leave over.
NOTHING = 1e-6


class State(NamedTuple):
    """A DPU: scalars; of each tasklet its row and segment, state, request, what is left of it."""

    k: Ints
    clock: Floats
    row: Ints
    at: Ints
    state: Ints
    asked: Ints
    left: Floats


@inlined
def _next(dpu: State, segments: Floats, rows: int, group: int, t: int) -> None:
    """Move a tasklet to its next segment."""
    dpu.at[t] += 1
    past = dpu.row[t] + 1
    if dpu.at[t] == len(segments) - 1 and past % group and past < rows:
        dpu.at[t] += 1
    if dpu.at[t] == len(segments):
        dpu.at[t], dpu.row[t] = 0, past
    if dpu.row[t] == rows:
        dpu.state[t] = DONE
        dpu.k[FINISHED] += 1
        return
    dpu.left[t] = segments[dpu.at[t], 1]
    if segments[dpu.at[t], 0] == RUN:
        dpu.state[t] = RUNNING
    else:
        dpu.state[t], dpu.asked[t] = WAITING, dpu.k[REQUESTS]
        dpu.k[REQUESTS] += 1


@inlined
def _move(dpu: State) -> None:
    """Let an idle DMA begin what was asked for first."""
    first = NONE
    for t in range(len(dpu.row)):
        if dpu.state[t] == WAITING and (first == NONE or dpu.asked[t] < dpu.asked[first]):
            first = t
    if first != NONE:
        dpu.k[MOVING] = first
        dpu.clock[MOVED_AT] = dpu.clock[NOW] + dpu.left[first]


@inlined
def _step(dpu: State, apart: int) -> None:
    """Let time pass until a segment ends."""
    running, least = 0, np.inf
    for t in range(len(dpu.row)):
        if dpu.state[t] == RUNNING:
            running += 1
            least = min(least, dpu.left[t])
    period = max(apart, running)
    cycles = least * period
    if dpu.k[MOVING] != NONE:
        cycles = min(cycles, dpu.clock[MOVED_AT] - dpu.clock[NOW])
    dpu.clock[NOW] += cycles
    for t in range(len(dpu.row)):
        if dpu.state[t] == RUNNING:
            dpu.left[t] -= cycles / period


@compiled(counted=False)
def serve(dpu: State, segments: Floats, rows: Ints, group: int, apart: int) -> float:
    """Return the cycles until all tasklets are done.

    dpu: all running, at segment -1 of row 0 with nothing left. segments: kind and amount, those of
    a row. rows: of each tasklet, at least one. group: rows of which the outputs are written at
    once.
    """
    k, clock = dpu.k, dpu.clock
    while True:
        for t in range(len(rows)):
            moved = t == k[MOVING] and clock[MOVED_AT] <= clock[NOW] + NOTHING
            if moved:
                k[MOVING] = NONE
            if moved or (dpu.state[t] == RUNNING and dpu.left[t] <= NOTHING):
                _next(dpu, segments, rows[t], group, t)
        if k[FINISHED] == len(rows):
            return float(clock[NOW])
        if k[MOVING] == NONE:
            _move(dpu)
        _step(dpu, apart)
