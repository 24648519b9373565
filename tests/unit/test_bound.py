"""Does the bound of a plan equal a readable walk over its operations, to the picosecond?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from flow_calls import MOST_STEPS, draw_call
from plans import bounded_ps, op_plan

from simulator.engine.bound import SegmentBound, Window, bound_plan
from simulator.engine.tasks import UNITS
from simulator.hardware.equations import Pipeline, flow_room, flow_times
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan

ROOM = flow_room(MOST_STEPS)


class Walk:
    """A segment whose loads start at most `ahead` ps before it, one operation after the other."""

    def __init__(self, ops: Sequence[OpPlan], ahead: int) -> None:
        self.dram = {False: -ahead, True: 0}
        self.free = dict.fromkeys((*UNITS, "vector aside"), 0)
        self.results: list[int] = []
        self.windows: list[tuple[int, int]] = []
        before = ahead > 0
        for op in ops:
            self.add(op, behind=before)
            before = before or op.store_bytes > 0
        matrix = sum(op.main_ps for op in ops if op.unit == "matrix")
        vector = sum(op.vector_ps + (op.main_ps if op.unit == "vector" else 0) for op in ops)
        ends = [end for _, end in self.windows]
        self.makespan = max(*ends, *self.results, matrix, vector)
        self.loaded = self.dram[False]
        self.dram_ps = sum(op.dram_ps + (op.main_ps if op.exclusive else 0) for op in ops)

    def add(self, op: OpPlan, *, behind: bool) -> None:
        """Place one operation; behind: stores, or loads from before, stand before its own."""
        vector = "vector aside" if op.aside else "vector"
        main = vector if op.unit == "vector" else op.unit
        stored = [self.windows[i][1] for i in op.stored_by]
        ready = [self.results[i] for i in op.after]
        ready += [self.windows[i][0] for i in op.paced_by]
        ready += [] if op.load_bytes else stored
        main_from = max([self.free[main], *ready])
        begin = self.dram[op.aside] if op.load_bytes else main_from
        gate, gated = max(stored, default=begin), min(op.free_loads, op.pipeline.steps - 1)
        starts = begin, gated, gate, main_from, self.free[vector]
        times = flow_times(op.pipeline, *starts, int(behind or op.aside), ROOM)
        if op.load_bytes:
            self.dram[op.aside] = times.loaded
        self.free[main] = times.main
        if op.pipeline.post:
            self.free[vector] = times.posted
        self.results.append(times.result)
        self.windows.append((begin, times.stored))


def useful_ps(ops: Sequence[OpPlan]) -> int:
    """Return how early loads can start until the scratchpad is full."""
    total = 0
    for p in (op.pipeline for op in ops if op.load_bytes):
        total += min(p.slots, p.steps) * p.load + p.latency + 2 * p.ready
        if p.steps > p.slots:
            break
    return total


def walked(plan: Plan) -> Iterator[SegmentBound]:
    """Yield the bound of each execution."""
    ahead = idle = 0
    for segment in plan.segments:
        for _ in range(segment.repeat):
            ahead = min(ahead, useful_ps(segment.ops))
            walk = Walk(segment.ops, ahead)
            makespan = max(walk.makespan, walk.dram_ps - min(ahead, idle))
            windows = [Window(*each) for each in walk.windows]
            if max(window.end_ps for window in windows) < makespan:
                windows[-1] = Window(windows[-1].start_ps, makespan)
            yield SegmentBound(makespan, tuple(windows))
            idle += makespan - walk.dram_ps
            ahead = max(0, makespan - walk.loaded)


def drawn_op(rng: np.random.Generator, index: int) -> OpPlan:
    """Draw an operation of any unit, beside others or not, with producers among those before."""
    unit = str(rng.choice(["matrix", "matrix", "vector", "pim", "noc", "link"]))
    p = Pipeline(*(int(each) for each in draw_call(rng)[0]))
    if unit != "matrix":
        p = p._replace(ready=0, second=0)
    lists = [
        tuple(sorted({int(i) for i in rng.integers(0, index, size=2)}))
        if index and rng.random() < share
        else ()
        for share in (0.7, 0.3, 0.2)
    ]
    op = op_plan(p, unit=unit, after=lists[0], stored_by=lists[1])
    return replace(
        op,
        paced_by=lists[2],
        free_loads=int(rng.integers(0, p.steps + 1)),
        aside=unit != "matrix" and rng.random() < 0.3,
        exclusive=unit == "pim" and rng.random() < 0.5,
    )


def drawn_plan(rng: np.random.Generator) -> Plan:
    """Draw a plan of up to three segments, each run up to four times."""
    segments = []
    for _ in range(int(rng.integers(1, 4))):
        ops = tuple(drawn_op(rng, index) for index in range(int(rng.integers(1, 6))))
        segments.append(SegmentPlan("segment", ops, int(rng.integers(1, 5)), 0))
    return Plan(tuple(segments), 1)


def test_random_plans_equal_the_walk() -> None:
    rng = np.random.default_rng(0)
    ahead = stretched = 0
    for _ in range(250):
        plan = drawn_plan(rng)
        found = bound_plan(plan)
        expected = list(walked(plan))
        assert list(found.bounds()) == expected
        assert found.end_ps == sum(bound.makespan_ps for bound in expected)
        ahead += any(window.start_ps < 0 for bound in expected for window in bound.windows)
        first = max(end for _, end in Walk(plan.segments[0].ops, 0).windows)
        stretched += expected[0].makespan_ps > first
    assert min(ahead, stretched) > 20


def test_executions_that_are_equal_share_their_bound() -> None:
    op = op_plan(Pipeline(4, 1, 4, 5, 10, 0, 10, 0, 0, 0, 0))
    plan = Plan((SegmentPlan("layer", (op,), 10, 0),), 1)
    bounds = list(bound_plan(plan).bounds())
    assert len(bounds) == 10
    assert bounds[0].makespan_ps == 4 * 10 + 5 + 10
    assert bounds[1] != bounds[0]
    assert all(bound is bounds[2] for bound in bounds[2:])


def test_loads_of_the_next_segment_start_when_those_of_this_one_are_there() -> None:
    """The last main step (10) hides as much of the next segment's first load."""
    ops = [op_plan(Pipeline(4, 1, 4, 0, 10, 0, 10, 0, 0, 0, 0))]
    assert bounded_ps(ops) == 50
    assert bounded_ps(ops, ops) == 50 + 40
    assert bounded_ps(ops, ops, ops) == 50 + 40 + 40
