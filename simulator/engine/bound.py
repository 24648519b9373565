"""The analytic rung: the pipelines of operations by recurrence, one pass over a segment.

The same resources as the tile executor, with fewer waits: operations take the queue of their loads,
their main unit and the vector unit one after the other, but the stages of one do not delay those of
another (its stores do not delay the next one's loads), and loads run ahead as far as the slots of
their own operation allow. Every wait that is kept holds in the executor too, so the result is never
above it; one operation alone is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.hardware import equations
from simulator.hardware.equations import Pipeline, Times, flow_room, flow_times
from simulator.kernels import compiled
from simulator.mapping.plan import OpPlan

#: `equations.flow_times`, compiled.
flow = compiled(equations)(flow_times)


def place(
    p: Pipeline, begin: int, gated: int, gate: int, main_from: int, vector_from: int
) -> Times:
    """Return when the parts of one operation are done; see `equations.flow_times`."""
    return flow(p, begin, gated, gate, main_from, vector_from, flow_room(p))


@dataclass(frozen=True, slots=True)
class Window:
    """When an operation is under way, in ps from the segment's start (loads may precede it)."""

    start_ps: int
    end_ps: int


@dataclass(frozen=True, slots=True)
class SegmentBound:
    """Duration of a segment and the windows of its operations.

    loads_ahead_ps: how long before its end its own loads were done; dram_ps: all its memory time.
    """

    makespan_ps: int
    windows: tuple[Window, ...]
    loads_ahead_ps: int
    dram_ps: int


class _State:
    """What the operations so far leave behind: when queues are free and results are there."""

    def __init__(self, loads_ahead_ps: int) -> None:
        self.dram = -loads_ahead_ps
        self.free = {"matrix": 0, "vector": 0, "noc": 0}
        self.results: list[int] = []
        self.stored: list[int] = []
        self.windows: list[Window] = []

    def add(self, op: OpPlan) -> None:
        """Place one operation: its main steps wait for their unit and for results on chip."""
        results = max((self.results[i] for i in op.after), default=0)
        main_from = max(results, self.free[op.unit])
        begin = self.dram if op.load_bytes else main_from
        gate = max((self.stored[i] for i in op.stored_by), default=begin)
        gated = min(op.free_loads, op.pipeline.steps - 1)
        times = place(op.pipeline, begin, gated, gate, main_from, self.free["vector"])
        if op.load_bytes:
            self.dram = times.loaded
        self.free[op.unit] = times.main
        if op.pipeline.post:
            self.free["vector"] = times.posted
        self.results.append(times.result)
        self.stored.append(times.stored)
        self.windows.append(Window(begin, times.stored))


def bound_segment(ops: Sequence[OpPlan], loads_ahead_ps: int, spare_ps: int) -> SegmentBound:
    """Bound a segment from below.

    Its loads started at most `loads_ahead_ps` before it; the memory did at most `spare_ps` of its
    work by then.
    """
    state = _State(loads_ahead_ps)
    for op in ops:
        state.add(op)
    total = sum(op.dram_ps for op in ops)
    matrix = sum(op.main_ps for op in ops if op.unit == "matrix")
    vector = sum(op.vector_ps + (op.main_ps if op.unit == "vector" else 0) for op in ops)
    makespan = max(total - spare_ps, matrix, vector, *state.stored, *state.results)
    windows = state.windows
    if max(window.end_ps for window in windows) < makespan:
        windows[-1] = Window(windows[-1].start_ps, makespan)
    return SegmentBound(makespan, tuple(windows), max(0, makespan - state.dram), total)
