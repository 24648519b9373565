"""Does the compiled tile executor equal a readable model of it in SimPy, to the picosecond?

The model: a dispatcher looks at all units once everything that happens at a time has happened. Of
the heads of its queues, a free unit considers the one with the lowest turn of each operation, and
starts the earliest operation's that can start. What multiplies in the memory is looked at first: if
it wants the memory to itself, the transfer under way pauses, and no other starts before it ends.
Everything else is a process: run, free the unit, wait for the latency, hand on.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import bounded_ps, op_plan, tiny_model, variant
from simpy.events import EventPriority

from simulator.cost import load_profile
from simulator.engine import run, tasks
from simulator.engine.run import Entry, SegmentRun, run_segment
from simulator.engine.tasks import (
    ASIDE,
    LOAD,
    MOVED_ASIDE,
    PIM,
    QUEUES,
    READY,
    STORE,
    UNIT_OF_QUEUE,
    UNITS,
    VECTOR_ASIDE,
    TaskGraph,
)
from simulator.hardware.equations import Pipeline
from simulator.mapping.plan import PPM, SegmentPlan
from simulator.mapping.planner import plan
from simulator.workload import Workload, decode_step, prefill

Process = Generator[simpy.Event, Any, None]
#: Priority in SimPy's queue: after everything else of the same time.
LAST = EventPriority(2)
DRAM, IN_MEMORY = UNITS.index("dram"), UNITS.index("pim")


class Oracle:
    """The tile pipeline as processes; `start` and `end` by task once `run` has returned."""

    def __init__(self, graph: TaskGraph, entry: Entry) -> None:
        self.graph = graph
        self.world = simpy.Environment()
        self.waits = graph.waits_for.copy()
        self.start: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self.arrived: dict[int, int] = {}
        self.left = graph.own
        self.done = self.world.event()
        self.busy = [False] * len(UNITS)
        self.alone = False
        self.transfer = -1
        self.paused: dict[int, int] = {}
        self.queues: list[deque[int]] = [deque() for _ in QUEUES]
        for task, queue in enumerate(graph.queue.tolist()):
            self.queues[queue].append(task)
        self.woken = False
        self.wake()
        for end, arrival in zip(entry.ends, entry.arrivals, strict=True):
            self.world.process(self.begun(self.queues[LOAD].popleft(), end, arrival))

    def wake(self) -> None:
        """Let the dispatcher run once, after all that still happens now."""
        if not self.woken:
            self.woken = True
            event = self.world.event()
            event.callbacks.append(self.dispatch)
            event._ok = True
            event._value = None
            self.world.schedule(event, priority=LAST)

    def dispatch(self, _: simpy.Event) -> None:
        """Start at most one task on each free unit."""
        self.woken = False
        if self.left == 0:
            return
        self.alone = self.alone and self.busy[IN_MEMORY]
        for unit in sorted(range(len(UNITS)), key=lambda unit: unit != IN_MEMORY):
            if self.busy[unit] or (unit == DRAM and self.alone):
                continue
            heads = {}
            for index, queue in enumerate(self.queues):
                if UNIT_OF_QUEUE[index] == unit and queue:
                    op, turn = int(self.graph.op[queue[0]]), int(self.graph.turn[queue[0]])
                    heads[op] = min(heads.get(op, (turn, index)), (turn, index))
            for _, (_, index) in sorted(heads.items()):
                head = self.queues[index][0]
                if self.waits[head] == 0:
                    if self.graph.exclusive[head]:
                        self.alone = True
                    self.world.process(self.task(self.queues[index].popleft()))
                    break

    def task(self, task: int) -> Process:
        """Occupy the unit, then deliver: at once, or after the latency."""
        unit = UNIT_OF_QUEUE[self.graph.queue[task]]
        beside = self.busy[DRAM if unit == IN_MEMORY else IN_MEMORY] * int(self.graph.beside[task])
        self.occupy(task, True)
        self.start[task] = int(self.world.now)
        length = int(self.graph.duration[task]) + beside
        if self.graph.exclusive[task] and self.busy[DRAM]:
            self.paused[self.transfer] = self.paused.get(self.transfer, 0) + length
            self.end[self.transfer] += length
        self.end[task] = int(self.world.now) + length
        yield from self.lasts(task, length)
        self.occupy(task, False)
        if self.graph.latency[task]:
            yield self.world.timeout(int(self.graph.latency[task]))
        self.deliver(task)

    def lasts(self, task: int, length: int) -> Process:
        """Wait for the length of a task and all pauses in it."""
        yield self.world.timeout(length)
        while task in self.paused:
            yield self.world.timeout(self.paused.pop(task))

    def begun(self, task: int, end: int, arrival: int) -> Process:
        """Finish a load that was started before time 0."""
        self.start[task], self.end[task] = 0, end
        if end:
            self.occupy(task, True)
            yield from self.lasts(task, end)
            self.occupy(task, False)
        yield self.world.timeout(max(0, arrival - end))
        self.deliver(task)

    def occupy(self, task: int, busy: bool) -> None:
        """Take or free the unit of a task."""
        if busy and UNIT_OF_QUEUE[self.graph.queue[task]] == DRAM:
            self.transfer = task
        self.busy[UNIT_OF_QUEUE[self.graph.queue[task]]] = busy
        if not busy:
            self.wake()

    def deliver(self, task: int) -> None:
        """Tell those that wait for a task."""
        self.arrived[task] = int(self.world.now)
        first, last = self.graph.first_successor[task : task + 2]
        for follower in self.graph.successors[first:last]:
            self.waits[follower] -= 1
        self.left -= task < self.graph.own
        self.wake()
        if self.left == 0 and not self.done.triggered:
            self.done.succeed()

    def run(self) -> int:
        """Run until all own tasks have arrived; return when that was."""
        self.world.run(until=self.done)
        return int(self.world.now)


def compare(graph: TaskGraph, found: SegmentRun, entry: Entry) -> None:
    """Run the oracle on a task graph; it must agree with what the executor found."""
    oracle = Oracle(graph, entry)
    assert oracle.run() == found.makespan_ps
    _, _, start, end = found.tiles
    assert start.tolist() == [oracle.start[task] for task in range(graph.own)]
    assert end.tolist() == [oracle.end[task] for task in range(graph.own)]
    foreign = [task for task in range(graph.own, len(graph.queue)) if task in oracle.start]
    now = found.makespan_ps
    assert found.exit.ends == tuple(max(0, oracle.end[task] - now) for task in foreign)
    assert found.exit.arrivals == tuple(
        -1 if task in oracle.arrived else oracle.end[task] + int(graph.latency[task]) - now
        for task in foreign
    )


@st.composite
def task_graphs(draw: st.DrawFn) -> TaskGraph:
    """Draw up to 30 tasks with edges from earlier to later ones; durations with many ties."""
    count = draw(st.integers(1, 30))
    column = st.lists(st.sampled_from((0, 1, 1, 2, 3, 5)), min_size=count, max_size=count)
    duration, late = np.array(draw(column)), np.array(draw(column))
    op = np.sort(np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))))
    queue = np.array(draw(st.lists(st.integers(0, 8), min_size=count, max_size=count)))
    # All of an operation is aside, or nothing.
    aside = {**ASIDE, READY: VECTOR_ASIDE}
    apart = op == draw(st.integers(0, 3))
    queue = np.where(apart, [aside.get(each, each) for each in queue.tolist()], queue)
    meets = np.isin(queue, (LOAD, STORE, PIM, MOVED_ASIDE))
    beside = np.where(meets, np.array(draw(column)), 0)
    alone = np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    pairs = draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))))
    edges = sorted((a, b) for a, b in pairs if a < b)
    sources = np.array([a for a, _ in edges], dtype=np.int64)
    targets = np.array([b for _, b in edges], dtype=np.int64)
    first = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(sources, minlength=count), out=first[1:])
    return TaskGraph(
        queue=queue,
        turn=np.arange(count),
        duration=duration,
        latency=np.where(queue == LOAD, late, 0),
        size=np.ones(count, dtype=np.int64),
        op=op,
        beside=beside,
        exclusive=np.where(queue == PIM, alone, 0),
        waits_for=np.bincount(targets, minlength=count).astype(np.int64),
        first_successor=first,
        successors=targets,
        own=count,
        ops=3,
    )


NO_OP = op_plan(Pipeline(1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0))


@settings(max_examples=300)
@given(task_graphs())
def test_random_task_graphs(graph: TaskGraph) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "expand", lambda *_, **__: graph)
        found = run_segment(SegmentPlan("random", (NO_OP,) * 3, 1, 0), None, Entry(), prefetch=True)
    compare(graph, found, Entry())


@st.composite
def in_memory(draw: st.DrawFn, unit: str, producers: list[int]) -> dict[str, Any]:
    """Draw what makes an operation one beside others: aside, alone, slowed, part by part."""
    slowed, share = st.booleans(), PPM // 2
    return {
        "aside": unit != "matrix" and draw(st.booleans()),
        "exclusive": unit == "pim" and draw(st.booleans()),
        "slowed_by_pim_ppm": share * draw(slowed),
        "slowed_by_transfers_ppm": share * (unit == "pim" and draw(slowed)),
        "paced_by": tuple(producers[-1:] if draw(st.booleans()) else ()),
    }


@st.composite
def segments(draw: st.DrawFn) -> list[SegmentPlan]:
    """Draw two segments of up to four operations that hang together as plans do."""
    made = []
    for number in range(2):
        ops = []
        for index in range(draw(st.integers(1, 4))):
            time = st.sampled_from((1, 2, 3, 5, 8))
            every, outputs = draw(st.sampled_from((1, 2, 3))), draw(st.integers(1, 4))
            load, store = draw(st.booleans()), draw(st.booleans())
            slot, room = draw(st.sampled_from((1, 3, 10))), draw(st.sampled_from((10, 20, 100)))
            p = Pipeline(
                steps=every * outputs,
                every=every,
                slots=max(1, min(draw(st.integers(1, every * outputs)), room // slot)),
                latency=draw(st.sampled_from((0, 4, 30))) if load else 0,
                load=draw(time) if load else 0,
                ready=draw(time) if load and draw(st.booleans()) else 0,
                main=draw(time),
                extra=draw(st.integers(0, 2)),
                post=draw(time) if draw(st.booleans()) else 0,
                second=draw(time) if every == 1 and draw(st.booleans()) else 0,
                store=draw(time) if store else 0,
            )
            producers = (
                sorted(draw(st.sets(st.integers(0, index - 1), max_size=2))) if index else []
            )
            unit = draw(st.sampled_from(("matrix", "matrix", "pim", "link")))
            if unit != "matrix":
                p = p._replace(ready=0, second=0)
            waits = (load or unit == "pim") and bool(producers) and draw(st.booleans())
            op = op_plan(
                p,
                name=f"op{index}",
                unit=unit,
                after=producers,
                stored_by=producers[:1] if waits else (),
                free_loads=draw(st.integers(0, p.steps - 1)) if waits else None,
                slot_bytes=slot,
                room_bytes=room,
            )
            ops.append(replace(op, **draw(in_memory(unit, producers))))
        made.append(SegmentPlan(f"segment{number}", tuple(ops), 1, 0))
    return made


def walk(plans: list[SegmentPlan], *, prefetch: bool) -> None:
    """Run segments one after the other on both; loads in flight are handed from one to the next."""
    entry = Entry()
    for segment, after in zip(plans, [*plans[1:], None], strict=True):
        following = None if after is None else tasks.first_loaded(after.ops)
        found = run_segment(segment, following, entry, prefetch=prefetch)
        graph = tasks.expand(segment.ops, following, prefetch=prefetch)
        compare(graph, found, entry)
        entry = found.exit


@settings(max_examples=150)
@given(segments(), st.booleans())
def test_random_plans_with_loads_that_run_ahead(plans: list[SegmentPlan], prefetch: bool) -> None:
    walk(plans, prefetch=prefetch)
    first = run_segment(plans[0], None, Entry(), prefetch=prefetch)
    assert bounded_ps(plans[0].ops) <= first.makespan_ps


def small(phase: str) -> Workload:
    """Return a tiny model's prefill or decode step."""
    if phase == "prefill":
        return prefill(tiny_model(), sequence=48, batch=2, weights="int4-g128")
    return decode_step(tiny_model(), context=[20, 300, 300], weights="int4-g128")


@pytest.mark.parametrize("device", ["generic_npu_128", "tpu_v4", "onnxim_4core"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("scratchpad", [None, "512 KiB"])
def test_segments_of_real_plans(device: str, phase: str, scratchpad: str | None) -> None:
    """The second layer starts with the loads that ran ahead in the first."""
    changes = {} if scratchpad is None else {"scratchpad.capacity": scratchpad}
    made = variant(device, changes)
    planned = plan(small(phase), made, load_profile(made.energy))
    flat = [segment for segment in planned.segments for _ in range(segment.repeat)]
    assert len(flat) == 4
    walk(flat, prefetch=made.dma.prefetch)


def test_the_oracle_is_not_trivial() -> None:
    """With one slot in place of four, other tasks start: the oracle sees it."""
    load_and_store = op_plan(Pipeline(4, 1, 4, 0, 5, 0, 5, 0, 0, 0, 5))
    graph = tasks.expand([load_and_store], None, prefetch=True)
    right = run.run_segment(SegmentPlan("s", (load_and_store,), 1, 0), None, Entry(), prefetch=True)
    compare(graph, right, Entry())
    wrong = run_segment(
        SegmentPlan("s", (op_plan(Pipeline(4, 1, 1, 0, 5, 0, 5, 0, 0, 0, 5)),), 1, 0),
        None, Entry(), prefetch=True,
    )  # fmt: skip
    with pytest.raises(AssertionError):
        compare(graph, wrong, Entry())
