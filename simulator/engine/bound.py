"""The analytic rung: the pipelines of operations by recurrence, one pass over a segment.

The same resources as the tile executor, with fewer waits: operations take the queue of their loads,
their main unit and the vector unit one after the other, but the stages of one do not delay those of
another (its stores do not delay the next one's loads, nor the next one's stores its own), and loads
run ahead as far as the slots of their own operation allow. Every wait that is kept holds in the
executor too, so the result is never above it; one operation alone is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.engine.tasks import UNITS
from simulator.hardware import equations
from simulator.hardware.equations import flow_room, flow_times
from simulator.kernels import compiled
from simulator.mapping.plan import OpPlan

#: Queue of the vector unit for what is aside.
VECTOR_ASIDE = "vector aside"
#: `equations.flow_times`, compiled.
flow = compiled(equations)(flow_times)


@dataclass(frozen=True, slots=True)
class Window:
    """When an operation is under way, in ps from the segment's start (loads may precede it)."""

    start_ps: int
    end_ps: int


@dataclass(frozen=True, slots=True)
class SegmentBound:
    """Duration of a segment and the windows of its operations.

    loaded_ps: when the last of its own loads was there; dram_ps: all its memory time.
    """

    makespan_ps: int
    windows: tuple[Window, ...]
    loaded_ps: int
    dram_ps: int

    @property
    def loads_ahead_ps(self) -> int:
        """How long before its end the loads of what follows may have started."""
        return max(0, self.makespan_ps - self.loaded_ps)

    def lasting(self, least_ps: int) -> "SegmentBound":
        """Return the bound with at least this duration; the last operation ends with it."""
        if least_ps <= self.makespan_ps:
            return self
        windows = self.windows
        if max(window.end_ps for window in windows) < least_ps:
            windows = (*windows[:-1], Window(windows[-1].start_ps, least_ps))
        return SegmentBound(least_ps, windows, self.loaded_ps, self.dram_ps)


class _State:
    """What the operations so far leave behind: when queues are free and results are there."""

    def __init__(self, ops: Sequence[OpPlan], loads_ahead_ps: int) -> None:
        # One room for all: to ask for a new one each time would take as long as the recurrence.
        self.room = flow_room(max(op.pipeline.steps for op in ops))
        #: Of what is aside, and of what is not: neither waits for the other's turn.
        self.dram = {False: -loads_ahead_ps, True: 0}
        self.ahead = loads_ahead_ps > 0
        self.stores = False
        self.free = dict.fromkeys((*UNITS, VECTOR_ASIDE), 0)
        self.results: list[int] = []
        self.stored: list[int] = []
        self.windows: list[Window] = []

    def add(self, op: OpPlan) -> None:
        """Place one operation: its main steps wait for their unit and for results on chip."""
        results = max((self.results[i] for i in op.after), default=0)
        # Of a producer that is followed part by part, the first part must be there.
        results = max([results, *(self.windows[i].start_ps for i in op.paced_by)])
        if not op.load_bytes:
            results = max([results, *(self.stored[i] for i in op.stored_by)])
        vector = VECTOR_ASIDE if op.aside else "vector"
        main = vector if op.unit == "vector" else op.unit
        main_from = max(results, self.free[main])
        begin = self.dram[op.aside] if op.load_bytes else main_from
        gate = max((self.stored[i] for i in op.stored_by), default=begin)
        gated = min(op.free_loads, op.pipeline.steps - 1)
        # In the executor a load passes by the stores of its own operation while those of an earlier
        # one, or loads that began before the segment, are in their way, or where it is aside.
        apart = int(self.stores or self.ahead or op.aside)
        self.stores |= op.store_bytes > 0
        vector_from = self.free[vector]
        times = flow(op.pipeline, begin, gated, gate, main_from, vector_from, apart, self.room)
        if op.load_bytes:
            self.dram[op.aside] = times.loaded
        self.free[main] = times.main
        if op.pipeline.post:
            self.free[vector] = times.posted
        self.results.append(times.result)
        self.stored.append(times.stored)
        self.windows.append(Window(begin, times.stored))


def useful_ahead_ps(ops: Sequence[OpPlan]) -> int:
    """Return how long before a segment its loads can start to any avail.

    The scratchpad is full by then: what is loaded next waits for a main step of the segment.
    """
    total = 0
    for p in (op.pipeline for op in ops if op.load_bytes):
        total += min(p.slots, p.steps) * p.load + p.latency + 2 * p.ready
        if p.steps > p.slots:
            break
    return total


def bound_segment(ops: Sequence[OpPlan], loads_ahead_ps: int) -> SegmentBound:
    """Bound a segment from below; its loads started at most `loads_ahead_ps` before it."""
    state = _State(ops, loads_ahead_ps)
    for op in ops:
        state.add(op)
    matrix = sum(op.main_ps for op in ops if op.unit == "matrix")
    vector = sum(op.vector_ps + (op.main_ps if op.unit == "vector" else 0) for op in ops)
    held = sum(op.main_ps for op in ops if op.exclusive)
    windows = tuple(state.windows)
    alone = max(*state.stored, *state.results)
    bound = SegmentBound(alone, windows, state.dram[False], held + sum(op.dram_ps for op in ops))
    return bound.lasting(max(matrix, vector))
