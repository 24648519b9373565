"""The analytic rung: the pipelines of operations by recurrence, one pass over a segment.

The same resources as the tile executor, with fewer waits: operations take the queue of their loads,
their main unit and the vector unit one after the other, but the stages of one do not delay those of
another (its stores do not delay the next one's loads, nor the next one's stores its own), and loads
run ahead as far as the slots of their own operation allow. Every wait that is kept holds in the
executor too, so the result is never above it; one operation alone is exact.

Operations are rows of integers here, so that one kernel bounds whatever writes such rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.engine import tasks
from simulator.engine.tasks import UNITS
from simulator.hardware import equations, periods
from simulator.hardware import flow as flows
from simulator.hardware.equations import Pipeline, Times, flow_room, main_ps, memory_ps, vector_ps
from simulator.kernels import compiled
from simulator.mapping.plan import OpPlan, Plan

Array = NDArray[np.int64]

MATRIX, VECTOR = UNITS.index("matrix"), UNITS.index("vector")
#: Queue of the vector unit for what is aside, behind those of all units.
VECTOR_ASIDE = len(UNITS)
QUEUES = len(UNITS) + 1
#: Columns of an operation's row, behind those of its pipeline; UNIT is an index into UNITS, the
#: others but FREE_LOADS are 0 or 1.
LOADS, STORES, FREE_LOADS, UNIT, ASIDE, EXCLUSIVE = range(11, 17)
ROW = 17
#: Columns of when an operation begins, has its result on chip and has all stored.
BEGIN, RESULT, STORED = range(3)
TIMES = 3
#: Of the last flow of an operation, five columns of what was asked; from LOADED on its `Times`. All
#: are from when main may start.
LOADED = 5
KNOWN = LOADED + len(Times._fields)
#: Columns of an execution of a segment: how long before it loads may start, how long it lasts.
AHEAD, MAKESPAN = range(2)
RUN = 2


@register_jitable
def pipeline_of(rows: Array, i: int) -> Pipeline:
    """Return the pipeline in a row."""
    return Pipeline(
        rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4], rows[i, 5], rows[i, 6],
        rows[i, 7], rows[i, 8], rows[i, 9], rows[i, 10],
    )  # fmt: skip


@register_jitable
def latest(times: Array, column: int, first: int, producers: Array, begin: int, end: int) -> int:
    """Return the last of some times of producers begin..end-1, of a segment; 0 without any."""
    last = 0
    for j in range(begin, end):
        last = max(last, times[first + producers[j], column])
    return last


@register_jitable
def flow_from(
    p: Pipeline,
    i: int,
    asked: tuple[int, int, int, int, int],
    main_from: int,
    known: Array,
    ends: Array,
) -> None:
    """Have the flow of operation i in its row of `known`; it moves with its arguments.

    asked: apart, gated, and begin, gate and vector_from after main_from. So segments that repeat,
    and start with other loads ahead, ask for few flows.
    """
    same = True
    for c in range(len(asked)):
        same = same and known[i, c] == asked[c]
    if not same:
        apart, gated, begin, gate, vector_from = asked
        times = flows.flow(
            p, begin + main_from, gated, gate + main_from, main_from, vector_from + main_from,
            apart, ends,
        )  # fmt: skip
        for c in range(len(asked)):
            known[i, c], known[i, LOADED + c] = asked[c], times[c] - main_from


@register_jitable
def bound_segment(
    rows: Array,
    producers: Array,
    first_producer: Array,
    first: int,
    last: int,
    ahead: int,
    known: Array,
    times: Array,
    free: Array,
    ends: Array,
) -> tuple[int, int, int]:
    """Bound the segment of rows first..last-1 from below; its loads start `ahead` ps before it.

    Arrays as of `bound_rows`. Returns (makespan, when the last of its own loads is there, all its
    memory time).
    """
    free[:] = 0
    # When the memory is free, of what is aside and of what is not: neither waits for the other.
    dram, dram_aside = -ahead, 0
    stores = ahead > 0
    makespan = matrix = vector = moved = 0
    for i in range(first, last):
        p = pipeline_of(rows, i)
        loads, aside, unit = rows[i, LOADS] > 0, rows[i, ASIDE] > 0, rows[i, UNIT]
        after, stored_by = first_producer[3 * i], first_producer[3 * i + 1]
        paced_by, end = first_producer[3 * i + 2], first_producer[3 * i + 3]
        # Of a producer that is followed part by part, the first part must be there.
        results = max(
            latest(times, RESULT, first, producers, after, stored_by),
            latest(times, BEGIN, first, producers, paced_by, end),
        )
        stored = latest(times, STORED, first, producers, stored_by, paced_by)
        if not loads:
            results = max(results, stored)
        own_vector = VECTOR_ASIDE if aside else VECTOR
        main = own_vector if unit == VECTOR else unit
        # Main steps wait for their unit and for results on chip.
        main_from = max(results, free[main])
        begin = main_from
        if loads:
            begin = dram_aside if aside else dram
        gate = stored if paced_by > stored_by else begin
        # In the executor a load passes by the stores of its own operation while those of an earlier
        # one, or loads that began before the segment, are in their way, or where it is aside.
        apart = 1 if stores or aside else 0
        stores = stores or rows[i, STORES] > 0
        gated, vector_from = min(rows[i, FREE_LOADS], p.steps - 1), free[own_vector] - main_from
        asked = (apart, gated, begin - main_from, gate - main_from, vector_from)
        flow_from(p, i, asked, main_from, known, ends)
        if loads and aside:
            dram_aside = main_from + known[i, LOADED]
        elif loads:
            dram = main_from + known[i, LOADED]
        free[main] = main_from + known[i, LOADED + 1]
        if p.post > 0:
            free[own_vector] = main_from + known[i, LOADED + 2]
        times[i, BEGIN], times[i, RESULT] = begin, main_from + known[i, LOADED + 3]
        times[i, STORED] = main_from + known[i, LOADED + 4]
        makespan = max(makespan, times[i, STORED])
        matrix += main_ps(p) if unit == MATRIX else 0
        vector += vector_ps(p) + (main_ps(p) if unit == VECTOR else 0)
        moved += memory_ps(p) + (main_ps(p) if rows[i, EXCLUSIVE] > 0 else 0)
    return max(makespan, matrix, vector), dram, moved


@register_jitable
def useful_ahead_ps(rows: Array, first: int, last: int) -> int:
    """Return how long before a segment its loads can start to any avail.

    The scratchpad is full by then: what is loaded next waits for a main step of the segment.
    """
    total = 0
    for i in range(first, last):
        if rows[i, LOADS] == 0:
            continue
        p = pipeline_of(rows, i)
        total += min(p.slots, p.steps) * p.load + p.latency + 2 * p.ready
        if p.steps > p.slots:
            break
    return total


@compiled(tasks, equations, flows, periods, counted=False)
def bound_rows(
    rows: Array,
    producers: Array,
    first_producer: Array,
    first_op: Array,
    repeats: Array,
    known: Array,
    times: Array,
    free: Array,
    ends: Array,
    runs: Array,
    windows: Array,
) -> int:
    """Bound segments one after the other from below; return when the last one ends, in ps.

    rows: of all operations; segment s has rows first_op[s]..first_op[s + 1] - 1 and runs repeats[s]
    times. The producers of operation i, counted from the first of its segment, are three lists
    (`after`, `stored_by`, `paced_by`, see `OpPlan`) that begin at first_producer[3 * i],
    [3 * i + 1] and [3 * i + 2] and end where the next begins. known, times (by operation), free (by
    queue), ends (of flows): room to work in. runs, windows: a row an execution, and a row
    (begin, end) for each of its operations, in ps from its start; without any, they are not told.
    """
    known[:, 0] = -1
    now = ahead = idle = execution = told = 0
    for s in range(len(repeats)):
        first, last = first_op[s], first_op[s + 1]
        useful = useful_ahead_ps(rows, first, last)
        bounded, alone, loaded, moved = -1, 0, 0, 0
        for _ in range(repeats[s]):
            ahead = min(ahead, useful)
            if ahead != bounded:
                bounded = ahead
                alone, loaded, moved = bound_segment(
                    rows, producers, first_producer, first, last, ahead, known, times, free, ends
                )
            # The memory did no more of its work before the segment than it had time for.
            makespan = max(alone, moved - min(ahead, idle))
            if len(runs):
                runs[execution, AHEAD], runs[execution, MAKESPAN] = ahead, makespan
                for i in range(first, last):
                    windows[told, 0], windows[told, 1] = times[i, BEGIN], times[i, STORED]
                    told += 1
                execution += 1
            now += makespan
            idle += makespan - moved
            # The loads of what follows may have started when the last of its own was there.
            ahead = max(0, makespan - loaded)
    return now


@dataclass(frozen=True, slots=True)
class Window:
    """When an operation is under way, in ps from the segment's start (loads may precede it)."""

    start_ps: int
    end_ps: int


@dataclass(frozen=True, slots=True)
class SegmentBound:
    """Duration of an execution of a segment and the windows of its operations."""

    makespan_ps: int
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class PlanBound:
    """When a plan ends at the earliest, and `runs` and `windows` as of `bound_rows`."""

    plan: Plan
    end_ps: int
    runs: Array
    windows: Array

    def bounds(self) -> Iterator[SegmentBound]:
        """Yield the bound of each execution of a segment; equal ones are one object."""
        runs, first = iter(self.runs.tolist()), 0
        for segment in self.plan.segments:
            known: dict[tuple[int, int], SegmentBound] = {}
            for ahead, makespan in (next(runs) for _ in range(segment.repeat)):
                if (ahead, makespan) not in known:
                    told = self.windows[first : first + len(segment.ops)].tolist()
                    if max(end for _, end in told) < makespan:
                        # The last operation ends with the segment.
                        told[-1][1] = makespan
                    windows = tuple(Window(*each) for each in told)
                    known[ahead, makespan] = SegmentBound(makespan, windows)
                yield known[ahead, makespan]
                first += len(segment.ops)


def _row(op: OpPlan) -> tuple[int, ...]:
    """Return an operation as a row of integers."""
    moves, unit = (op.load_bytes > 0, op.store_bytes > 0), UNITS.index(op.unit)
    return (*op.pipeline, *moves, op.free_loads, unit, op.aside, op.exclusive)


def bound_plan(plan: Plan) -> PlanBound:
    """Bound all segments of a plan, one after the other."""
    ops = [op for segment in plan.segments for op in segment.ops]
    rows = np.array([_row(op) for op in ops], dtype=np.int64)
    listed = [each for op in ops for each in (op.after, op.stored_by, op.paced_by)]
    producers = np.array([i for each in listed for i in each], dtype=np.int64)
    first_producer = np.zeros(len(listed) + 1, dtype=np.int64)
    np.cumsum([len(each) for each in listed], out=first_producer[1:])
    sizes = [len(segment.ops) for segment in plan.segments]
    repeats = np.array([segment.repeat for segment in plan.segments], dtype=np.int64)
    first_op = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=first_op[1:])
    known = np.empty((len(ops), KNOWN), dtype=np.int64)
    times = np.empty((len(ops), TIMES), dtype=np.int64)
    runs = np.empty((repeats.sum(), RUN), dtype=np.int64)
    windows = np.empty((repeats @ sizes, 2), dtype=np.int64)
    end = bound_rows(
        rows, producers, first_producer, first_op, repeats, known, times,
        np.empty(QUEUES, dtype=np.int64),
        flow_room(rows[:, 0].max()), runs, windows,
    )  # fmt: skip
    return PlanBound(plan, end, runs, windows)
