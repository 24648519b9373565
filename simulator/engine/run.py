"""Running a plan: SimPy walks through the segments, the executor runs each, equal ones once.

A segment run is remembered under what it depends on: its own plan, the loads that follow it, what
the previous segment had already fetched (`Entry`), and on the command rung the phase of refresh.
Memo on or off gives the same result.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dram.channel import Run
from simulator.engine import executor, tasks
from simulator.engine.bound import PlanBound, SegmentBound, bound_plan
from simulator.engine.commands import channel_run, commanded, phase_of
from simulator.engine.roofline import shares
from simulator.engine.tasks import LOAD, QUEUES, UNIT_OF_QUEUE, UNITS, TaskGraph
from simulator.errors import DeadlockError
from simulator.hardware.device import Device
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan

Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Entry:
    """Loads that a segment finds started: when each transfer ends and its data are there.

    In ps from the segment's start; an end of 0 is in the past, an arrival of -1 too.
    """

    ends: tuple[int, ...] = ()
    arrivals: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentRun:
    """What the executor measured: times in ps from the segment's start, bytes.

    first, last, busy, waited: per operation and unit (operations x units; first is -1 where the
    unit did nothing). carried: memory time of loads for the next segment, spent before this one
    ended, and when the first of them started. tiles: unit, operation, start and end of each own
    task; ahead: start and end of each load for the next segment, as far as this one goes.
    channel: what one channel of the memory did, on the command rung. sent, received: bytes by unit;
    those of "dram" are the loads and stores.
    """

    makespan_ps: int
    first: Array
    last: Array
    busy: Array
    carried_ps: int
    carried_first_ps: int
    waited_ps: Array
    sent: Array
    received: Array
    exit: Entry
    tiles: tuple[Array, Array, Array, Array]
    ahead: tuple[Array, Array]
    channel: Run | None


@dataclass(frozen=True, slots=True)
class Step:
    """One execution of a segment: which, which layer, when, and what was measured or bounded."""

    segment: SegmentPlan
    layer: int
    start_ps: int
    run: SegmentRun | None
    bound: SegmentBound | None

    @property
    def makespan_ps(self) -> int:
        """Duration of the execution."""
        if self.run is not None:
            return self.run.makespan_ps
        assert self.bound is not None
        return self.bound.makespan_ps


def _deadlock(graph: TaskGraph, ops: tuple[OpPlan, ...], end: Array, time: int) -> DeadlockError:
    """Name the first task of each queue that waits, and what for."""
    order, first = executor.queue_order(graph)
    blocked: list[int] = []
    for queue in range(len(QUEUES)):
        left = (t for t in order[first[queue] : first[queue + 1]] if end[t] < 0 and t < graph.own)
        blocked += [int(t) for t in left][:1]
    lines = [f"nothing can start at {time} ps:"]
    for task in blocked:
        waits = [
            source
            for source in range(len(graph.queue))
            if task
            in graph.successors[graph.first_successor[source] : graph.first_successor[source + 1]]
            and end[source] < 0
        ]
        waits = waits or [other for other in blocked if _goes_before(graph, other, task)]
        causes = ", ".join(_stage_of(graph, ops, source) for source in waits[:3])
        lines.append(f"  {_stage_of(graph, ops, task)} waits for {causes or 'a lost event'}")
    return DeadlockError("\n".join(lines))


def _stage_of(graph: TaskGraph, ops: tuple[OpPlan, ...], task: int) -> str:
    return f"{QUEUES[graph.queue[task]]} of {ops[graph.op[task]].name}"


def _goes_before(graph: TaskGraph, task: int, other: int) -> bool:
    """Tell whether a task has its turn before another of the same operation and unit."""
    units = UNIT_OF_QUEUE[graph.queue[[task, other]]]
    same = units[0] == units[1] and graph.op[task] == graph.op[other]
    return bool(same and graph.turn[task] < graph.turn[other])


def run_segment(
    segment: SegmentPlan,
    following: OpPlan | None,
    entry: Entry,
    *,
    prefetch: bool,
    device: Device | None = None,
    phase: int = 0,
) -> SegmentRun:
    """Execute one segment; DeadlockError names who waits for what.

    device: on the command rung, whose channels say how long transfers take; phase: of refresh.
    """
    graph = tasks.expand(segment.ops, following, prefetch=prefetch)
    tables = executor.tables(graph)
    started = np.flatnonzero(graph.queue == LOAD)[: len(entry.ends)]
    heads = np.array([started, entry.ends, entry.arrivals], dtype=np.int64).T.copy()
    memory = None
    if device is not None:
        memory = commanded(device, graph, segment.ops, following, phase)
    status, makespan = executor.execute(tables, heads, graph.own, memory)
    if status == executor.DEADLOCK:
        raise _deadlock(graph, segment.ops, tables.state[:, executor.END], makespan)
    channel = None
    if memory is not None and device is not None:
        channel = channel_run(device, memory, makespan)
    return _measured(graph, segment, tables, makespan, channel)


def _measured(
    graph: TaskGraph,
    segment: SegmentPlan,
    tables: executor.Tables,
    makespan: int,
    channel: Run | None,
) -> SegmentRun:
    """Sum tasks to operations and units, and say what the next segment will find."""
    times = (executor.START, executor.END, executor.ARRIVAL)
    start, end, arrival = (tables.state[:, column].copy() for column in times)
    own = slice(0, graph.own)
    shape = (graph.ops, len(UNITS))
    unit = UNIT_OF_QUEUE[graph.queue]
    first = np.full(shape, np.iinfo(np.int64).max)
    last = np.zeros(shape, dtype=np.int64)
    busy = np.zeros(shape, dtype=np.int64)
    where = (graph.op[own], unit[own])
    np.minimum.at(first, where, start[own])
    np.maximum.at(last, where, np.minimum(end[own], makespan))
    paused = tables.met[:, executor.PAUSED] if len(tables.met) else np.zeros_like(start)
    np.add.at(busy, where, (end - start - paused)[own])
    first[first == np.iinfo(np.int64).max] = -1
    begun = np.flatnonzero(start[graph.own :] >= 0) + graph.own
    carried = np.minimum(end[begun], makespan) - start[begun] - paused[begun]
    ends = np.maximum(end[begun] - makespan, 0)
    latency = tables.tasks[begun, executor.LATENCY]
    late = np.where(arrival[begun] >= 0, -1, end[begun] + latency - makespan)
    return SegmentRun(
        makespan_ps=int(makespan),
        first=first,
        last=last,
        busy=busy,
        carried_ps=int(carried.sum()),
        carried_first_ps=int(start[begun].min(initial=makespan)),
        waited_ps=tables.books[:-1, executor.WAITED :].copy(),
        sent=_by_unit(segment.ops, tables.books[:, [executor.SENT, executor.MAIN_SENT]]),
        received=_by_unit(
            segment.ops, tables.books[:, [executor.RECEIVED, executor.MAIN_RECEIVED]]
        ),
        exit=Entry(tuple(ends.tolist()), tuple(late.tolist())),
        tiles=(unit[own], graph.op[own], start[own], end[own]),
        ahead=(start[begun], np.minimum(end[begun], makespan)),
        channel=channel,
    )


def _by_unit(ops: Sequence[OpPlan], sizes: Array) -> Array:
    """Return the bytes of each unit; sizes: of transfers and of main steps, foreign tasks last."""
    total = np.zeros(len(UNITS), dtype=np.int64)
    total[UNITS.index("dram")] = sizes[:, 0].sum()
    np.add.at(total, [UNITS.index(op.unit) for op in ops], sizes[:-1, 1])
    return total


def _executions(plan: Plan) -> Iterator[tuple[SegmentPlan, int, OpPlan | None]]:
    """Yield each execution in order: segment, layer number, first loaded operation after it."""
    flat = [(s, s.first_index + i) for s in plan.segments for i in range(s.repeat)]
    after = [tasks.first_loaded(s.ops) for s, _ in flat[1:]]
    for (segment, layer), following in zip(flat, [*after, None], strict=True):
        yield segment, layer, following


class Engine:
    """Runs plans on one device; remembers segment runs unless told not to.

    by_command: transfers are served by the channels of the device's memory, one command at a time.
    """

    def __init__(self, device: Device, *, memo: bool = True, by_command: bool = False) -> None:
        """Start with an empty memory."""
        self.prefetch = device.dma.prefetch
        self.commanding = device if by_command else None
        self.memo: dict[tuple[str, str, Entry, int], SegmentRun] | None = {} if memo else None
        self._bounded: PlanBound | None = None

    def segment(
        self, segment: SegmentPlan, following: OpPlan | None, entry: Entry, time_ps: int = 0
    ) -> SegmentRun:
        """Return the run of a segment that starts at a time, from memory where it is known."""
        device, phase = self.commanding, 0
        if device is not None:
            phase = phase_of(device, segment.ops, time_ps)
        ahead = "" if following is None else following.key
        key = (segment.key, ahead, entry, phase)
        if self.memo is not None and key in self.memo:
            return self.memo[key]
        run = run_segment(
            segment, following, entry, prefetch=self.prefetch, device=device, phase=phase
        )
        if self.memo is not None:
            self.memo[key] = run
        return run

    def tile_steps(self, plan: Plan, progress: Any = None) -> tuple[list[Step], int]:
        """Walk through all segments in simulated time; return the steps and the end in ps."""
        import simpy

        world = simpy.Environment(initial_time=0)
        steps: list[Step] = []

        def walk() -> Generator[Any, Any, None]:
            """Run segment after segment; what one fetched ahead is there for the next."""
            entry = Entry()
            for segment, layer, following in _executions(plan):
                run = self.segment(segment, following, entry, int(world.now))
                steps.append(Step(segment, layer, int(world.now), run, None))
                entry = run.exit
                if progress is not None:
                    progress()
                yield world.timeout(run.makespan_ps)

        world.run(until=world.process(walk()))
        return steps, int(world.now)

    def bound_ps(self, plan: Plan) -> int:
        """Return when a plan ends at the earliest, on the analytic rung."""
        return self._bound(plan).end_ps

    def analytic_steps(self, plan: Plan) -> tuple[list[Step], int]:
        """Place all segments one after the other by their bounds; return the steps and the end."""
        steps: list[Step] = []
        now, whole = 0, self._bound(plan)
        for (segment, layer, _), bound in zip(_executions(plan), whole.bounds(), strict=True):
            steps.append(Step(segment, layer, now, None, bound))
            now += bound.makespan_ps
        return steps, whole.end_ps

    def _bound(self, plan: Plan) -> PlanBound:
        """Return the bound of a plan; that of the last is remembered: judged first and run next."""
        if self._bounded is None or self._bounded.plan is not plan:
            self._bounded = bound_plan(plan)
        return self._bounded

    @staticmethod
    def roofline_steps(plan: Plan, bound_ps: int) -> tuple[list[Step], int]:
        """Deal a roofline bound out to the operations of a bare plan."""
        dealt = shares(plan, bound_ps)
        return [Step(s, layer, start, None, bound) for s, layer, start, bound in dealt], bound_ps
