"""The analytic rung: the pipeline of operations as closed forms, one pass over a segment.

The same resources as the tile executor, with fewer waits: each operation is its first and last
step, loads of a later operation may run ahead as far as its own slots allow, stores never delay
loads. Every wait that is kept holds in the executor too, so the result is never above it; of one
operation alone it is `alone_ps`, exact where memory moves one way and no unit serves two stages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.hardware import equations
from simulator.hardware.equations import Pipeline, flow_ps, pipeline_ps
from simulator.kernels import compiled
from simulator.mapping.plan import OpPlan


@compiled(equations)
def alone_ps(p: Pipeline) -> int:
    """Return the makespan of one operation alone: the better of two lower bounds."""
    return max(flow_ps(p), pipeline_ps(p))


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
        """Place one operation."""
        p, outputs = op.pipeline, op.outputs
        results = max((self.results[i] for i in op.after), default=0)
        begin = main = max(results, self.free[op.unit])
        if op.load_bytes:
            begin = self.dram
            if op.free_loads == 0:
                begin = max(begin, max((self.stored[i] for i in op.stored_by), default=begin))
            main = max(main, begin + p.load + p.latency + p.ready)
        last = main + p.steps * p.main + p.extra
        if op.load_bytes:
            loaded = begin + p.steps * p.load
            if p.steps > p.slots:
                loaded = max(loaded, main + p.main + (p.steps - p.slots) * p.load)
            if op.free_loads and op.stored_by:
                gate = max(self.stored[i] for i in op.stored_by)
                loaded = max(loaded, gate + p.load * max(1, p.steps - op.free_loads))
            last = max(last, loaded + p.latency + p.ready + p.main + p.extra)
            self.dram = loaded
        if p.ready and p.steps > 2:
            # Two steps may be ready before the first main; the third waits for its end.
            last = max(last, main + p.main + (p.steps - 2) * p.ready + p.main + p.extra)
        self.free[op.unit] = last
        first = main + p.every * p.main + (p.extra if outputs == 1 else 0)
        result = last
        if p.post:
            result = max(
                last + p.post, first + outputs * p.post, self.free["vector"] + outputs * p.post
            )
            self.free["vector"] = result
        if p.second:
            result = max(result + p.second, first + p.post + outputs * p.second)
            result = max(result, main + p.steps * p.main + p.extra + outputs * p.second)
        stored = result
        if op.store_bytes:
            head = first + p.post + p.second
            stored = max(result + p.store, head + outputs * p.store, begin + alone_ps(p))
        else:
            result = stored = max(result, begin + alone_ps(p))
        self.results.append(result)
        self.stored.append(stored)
        self.windows.append(Window(begin, stored))


def bound_segment(ops: Sequence[OpPlan], loads_ahead_ps: int, spare_ps: int) -> SegmentBound:
    """Bound a segment from below.

    Its loads started at most `loads_ahead_ps` before it; the memory did at most `spare_ps` of its
    work by then.
    """
    state = _State(loads_ahead_ps)
    for op in ops:
        state.add(op)
    total = sum(op.dram_ps for op in ops)
    makespan = max(total - spare_ps, *state.stored, *state.results)
    windows = state.windows
    if max(window.end_ps for window in windows) < makespan:
        windows[-1] = Window(windows[-1].start_ps, makespan)
    return SegmentBound(makespan, tuple(windows), max(0, makespan - state.dram), total)
