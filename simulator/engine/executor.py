"""The tile executor: an event loop over the task graph of one segment, compiled by Numba.

Events are ordered by the tuple (time, priority, sequence): at one time, first the ends of tasks,
then the arrivals of data, each in order of task number. After all events of a time, each free unit
starts the head of one of its queues. Heads of one operation take turns in the order that its task
graph gives, and the unit waits for the one whose turn it is: with a fixed order, every start is a
maximum of sums of durations, and nothing that gets faster makes anything later. (Work in order of
arrival has no such law: Graham, "Bounds on multiprocessing timing anomalies", 1969.) Of heads of
different operations, the one of the earlier operation starts if it can, otherwise the other. A unit
runs one task at a time and does not pre-empt, but for what multiplies in the memory and needs it to
itself: a transfer under way pauses, as its bursts are many. Time is integer ps.

The loop works on a few tables of integers, a row an object: what it reads of a task lies in one
line of the cache, and a table costs Numba one argument instead of one for each column.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.dram import controller_kernel, mapping, streams_kernel, transfers_kernel
from simulator.dram.transfers_kernel import queued_ps, serve
from simulator.engine import tasks as task_graph
from simulator.engine.commands import (
    DESCRIBED,
    END_STREAM,
    FIRST_STREAM,
    IN_FLIGHT,
    SHARE,
    SHARES,
    Commanded,
)
from simulator.engine.tasks import LOAD, QUEUES, UNIT_OF_QUEUE, UNITS, TaskGraph
from simulator.kernels import compiled

Array = NDArray[np.int64]

DONE, DEADLOCK = 0, 1
#: Priorities of events at one time.
ENDED, ARRIVED = 0, 1
#: Columns of `Tables.tasks`, as in `tasks.TaskGraph`; successors FIRST..LAST-1.
QUEUE, TURN, DURATION, LATENCY, SIZE, OP, FIRST, LAST = range(8)
#: Columns of `Tables.state`. WAITS: events not yet come; READY, OTHER_READY: when the last came,
#: and the last that is no load; APART: data come by their own event; COUNTED: data were received
#: before; START, END, ARRIVAL: in ps, -1 where it did not happen.
WAITS, READY, OTHER_READY, APART, COUNTED, START, END, ARRIVAL = range(8)
#: Columns of `Tables.met`, which has rows only where something multiplies in the memory: BESIDE and
#: EXCLUSIVE as in `tasks.TaskGraph`; DUE: when data of their own event come; PAUSED: ps in which
#: the memory was another's.
BESIDE, EXCLUSIVE, DUE, PAUSED = range(4)
#: Columns of `Tables.queues`: the place in `order` of the next task and of the end of the queue.
HEAD, STOP = range(2)
#: Columns of `Tables.units`. The queues it serves (NO_QUEUE: no more); the running task, -1 if
#: none; when the last task ended.
QUEUE_A, QUEUE_B, QUEUE_C, RUNNING, LAST_END = range(5)
NO_QUEUE = len(QUEUES)
DRAM, PIM_UNIT = UNITS.index("dram"), UNITS.index("pim")
#: Units in the order in which they are looked at: what multiplies in the memory before transfers.
LOOKED_AT = (PIM_UNIT, *(unit for unit in range(len(UNITS)) if unit != PIM_UNIT))
#: Columns of `Tables.books`, by operation, foreign tasks last: bytes of loads and stores, and those
#: of main steps; then ps that each unit spent
#: idle because loads were not there.
SENT, RECEIVED, MAIN_SENT, MAIN_RECEIVED, WAITED = range(5)
#: Columns of `Tables.heap`: events by time, then by what happened to which task.
TIME, PAYLOAD = range(2)
#: Columns of the table of loads that were started before time 0: the transfer ends (0: has ended),
#: the data come (-1: are there).
TASK, ENDS, COMES = range(3)


class Tables(NamedTuple):
    """Everything that one run reads and writes; successors and order are lists of tasks.

    looked_at: units that have tasks, in the order in which they are looked at.
    """

    tasks: Array
    successors: Array
    order: Array
    state: Array
    met: Array
    looked_at: Array
    queues: Array
    units: Array
    books: Array
    heap: Array


def queue_order(graph: TaskGraph) -> tuple[Array, Array]:
    """Return the tasks by queue in issue order, and where each queue starts."""
    order = np.argsort(graph.queue, kind="stable")
    counts = np.bincount(graph.queue, minlength=len(QUEUES))
    return order, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def tables(graph: TaskGraph) -> Tables:
    """Lay out a task graph for one run."""
    count = len(graph.queue)
    order, first = queue_order(graph)
    columns = (graph.queue, graph.turn, graph.duration, graph.latency, graph.size, graph.op)
    successors = graph.first_successor[:-1], graph.first_successor[1:]
    tasks = np.stack([*columns, *successors], axis=1)
    busy = set(UNIT_OF_QUEUE[np.unique(graph.queue)].tolist())
    met = np.zeros((count if PIM_UNIT in busy else 0, 4), dtype=np.int64)
    if len(met):
        met[:, BESIDE], met[:, EXCLUSIVE] = graph.beside, graph.exclusive
    looked_at = np.array([unit for unit in LOOKED_AT if unit in busy], dtype=np.int64)
    state = np.zeros((count, 8), dtype=np.int64)
    state[:, WAITS] = graph.waits_for
    state[:, APART] = graph.latency > 0
    state[:, START : ARRIVAL + 1] = -1
    queues = np.zeros((NO_QUEUE + 1, 2), dtype=np.int64)
    queues[:NO_QUEUE, HEAD], queues[:NO_QUEUE, STOP] = first[:-1], first[1:]
    units = np.zeros((len(UNITS), 5), dtype=np.int64)
    units[:, RUNNING] = -1
    for unit in range(len(UNITS)):
        served = [*np.flatnonzero(unit == UNIT_OF_QUEUE), NO_QUEUE, NO_QUEUE]
        units[unit, [QUEUE_A, QUEUE_B, QUEUE_C]] = served[:3]
    books = np.zeros((graph.ops + 1, WAITED + len(UNITS)), dtype=np.int64)
    heap = np.empty((2 * count + 2, 2), dtype=np.int64)
    return Tables(tasks, graph.successors, order, state, met, looked_at, queues, units, books, heap)


@register_jitable
def push(heap: Array, size: int, time: int, payload: int) -> int:
    """Add an event to the binary heap; return its new size."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if (heap[parent, TIME], heap[parent, PAYLOAD]) <= (time, payload):
            break
        heap[place, TIME], heap[place, PAYLOAD] = heap[parent, TIME], heap[parent, PAYLOAD]
        place = parent
    heap[place, TIME], heap[place, PAYLOAD] = time, payload
    return size + 1


@register_jitable
def pop(heap: Array, size: int) -> int:
    """Remove the first event (read it before); return the new size."""
    size -= 1
    time, payload = heap[size, TIME], heap[size, PAYLOAD]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        left = (heap[child, TIME], heap[child, PAYLOAD])
        if child + 1 < size and (heap[child + 1, TIME], heap[child + 1, PAYLOAD]) < left:
            child += 1
        if (time, payload) <= (heap[child, TIME], heap[child, PAYLOAD]):
            break
        heap[place, TIME], heap[place, PAYLOAD] = heap[child, TIME], heap[child, PAYLOAD]
        place = child
    heap[place, TIME], heap[place, PAYLOAD] = time, payload
    return size


@register_jitable
def admit(heads: Array, state: Array, met: Array, queues: Array, units: Array, heap: Array) -> int:
    """Take over the loads that were started before time 0; return the size of the heap."""
    count = state.shape[0]
    size = 0
    for i in range(heads.shape[0]):
        task, end, comes = heads[i, TASK], heads[i, ENDS], heads[i, COMES]
        queues[LOAD, HEAD] += 1
        state[task, START] = 0
        state[task, END] = end
        if end > 0:
            units[DRAM, RUNNING] = task
            size = push(heap, size, end, ENDED * count + task)
        # Data sent before time 0 arrive by an event of their own.
        state[task, APART] = 1
        state[task, COUNTED] = 1 if comes < 0 else 0
        if met.shape[0] > 0:
            met[task, DUE] = max(0, comes)
        size = push(heap, size, max(0, comes), ARRIVED * count + task)
    return size


@register_jitable
def goes_before(tasks: Array, task: int, other: int) -> bool:
    """Tell whether a task comes before another on the same unit."""
    earlier = tasks[task, OP] < tasks[other, OP]
    same = tasks[task, OP] == tasks[other, OP]
    return bool(earlier or (same and tasks[task, TURN] < tasks[other, TURN]))


@register_jitable
def choose(tasks: Array, order: Array, state: Array, queues: Array, a: int, b: int) -> int:
    """Return the task that a free unit with queues a and b starts next, -1 if it must wait."""
    first = order[queues[a, HEAD]] if queues[a, HEAD] < queues[a, STOP] else -1
    other = order[queues[b, HEAD]] if queues[b, HEAD] < queues[b, STOP] else -1
    if first < 0 or (other >= 0 and goes_before(tasks, other, first)):
        first, other = other, first
    if first >= 0 and state[first, WAITS] == 0:
        return first
    if other >= 0 and tasks[other, OP] != tasks[first, OP] and state[other, WAITS] == 0:
        return other
    return -1


@register_jitable
def moved(memory: Commanded, task: int, time: int) -> int:
    """Move what a task moves through the channels; return when that is over, -1 for never."""
    row = memory.tasks[task]
    streams, start = (row[FIRST_STREAM], row[END_STREAM]), time + row[DESCRIBED]
    end = serve(memory.transfers, *streams, row[SHARE], row[SHARES], start)
    return max(end, start + row[IN_FLIGHT]) if end >= 0 else end


@register_jitable
def begin(
    tasks: Array,
    state: Array,
    met: Array,
    units: Array,
    books: Array,
    heap: Array,
    size: int,
    unit: int,
    task: int,
    time: int,
    memory: Commanded | None,
) -> int:
    """Start a task on a unit; return the size of the heap."""
    count = tasks.shape[0]
    end = time + tasks[task, DURATION]
    if met.shape[0] > 0 and meets(unit, units):
        end += met[task, BESIDE]
    if memory is not None and unit == DRAM:
        end = moved(memory, task, time)
        if end < 0:
            return size
        if state[task, APART] == 1:
            tasks[task, LATENCY] += queued_ps(memory.transfers)
    state[task, START] = time
    state[task, END] = end
    units[unit, RUNNING] = task
    before = max(units[unit, LAST_END], state[task, OTHER_READY])
    if time > before and state[task, READY] > state[task, OTHER_READY]:
        books[tasks[task, OP], WAITED + unit] += time - before
    size = push(heap, size, end, ENDED * count + task)
    if state[task, APART] == 1:
        size = push(heap, size, end + tasks[task, LATENCY], ARRIVED * count + task)
    if met.shape[0] > 0:
        met[task, DUE] = end + tasks[task, LATENCY]
        transfer = units[DRAM, RUNNING]
        if met[task, EXCLUSIVE] == 1 and transfer >= 0:
            state[transfer, END] += end - time
            met[transfer, DUE] += end - time
            met[transfer, PAUSED] += end - time
    return size


@register_jitable
def deliver(tasks: Array, successors: Array, state: Array, task: int, time: int) -> None:
    """Hand the results of a task to those that wait for it."""
    state[task, ARRIVAL] = time
    load = tasks[task, QUEUE] == LOAD
    for i in range(tasks[task, FIRST], tasks[task, LAST]):
        follower = successors[i]
        state[follower, WAITS] -= 1
        state[follower, READY] = time
        if not load:
            state[follower, OTHER_READY] = time


@register_jitable
def moved_by(tasks: Array, task: int) -> int:
    """Return the column of the bytes that a task sends; the next one is of those received."""
    return SENT if UNIT_OF_QUEUE[tasks[task, QUEUE]] == DRAM else MAIN_SENT


@register_jitable
def meets(unit: int, units: Array) -> bool:
    """Tell whether a transfer starts beside what multiplies in the memory, or that beside one."""
    if unit == DRAM:
        return bool(units[PIM_UNIT, RUNNING] >= 0)
    return bool(unit == PIM_UNIT and units[DRAM, RUNNING] >= 0)


@register_jitable
def held(met: Array, units: Array) -> bool:
    """Tell whether what multiplies in the memory has it to itself."""
    running = units[PIM_UNIT, RUNNING]
    return bool(running >= 0 and met[running, EXCLUSIVE] == 1)


@register_jitable
def dispatch(
    tasks: Array,
    order: Array,
    state: Array,
    met: Array,
    looked_at: Array,
    queues: Array,
    units: Array,
    books: Array,
    heap: Array,
    size: int,
    time: int,
    memory: Commanded | None,
) -> int:
    """Start what can start on units that are free; return the size of the heap."""
    for unit in looked_at:
        if units[unit, RUNNING] >= 0 or (unit == DRAM and held(met, units)):
            continue
        task = choose(tasks, order, state, queues, units[unit, QUEUE_A], units[unit, QUEUE_B])
        aside = units[unit, QUEUE_C]
        if queues[aside, HEAD] < queues[aside, STOP]:
            # Of what is aside, operations are never those of other queues.
            head = order[queues[aside, HEAD]]
            if state[head, WAITS] == 0 and (task < 0 or goes_before(tasks, head, task)):
                task = head
        if task >= 0:
            queues[tasks[task, QUEUE], HEAD] += 1
            books[tasks[task, OP], moved_by(tasks, task)] += tasks[task, SIZE]
            size = begin(tasks, state, met, units, books, heap, size, unit, task, time, memory)
    return size


@register_jitable
def due_at(state: Array, met: Array, task: int, payload: int, time: int) -> int:
    """Return when an event that was foreseen for a time happens: later, where a transfer paused."""
    if met.shape[0] == 0:
        return time
    return int(state[task, END] if payload < state.shape[0] else met[task, DUE])


@compiled(task_graph, transfers_kernel, controller_kernel, streams_kernel, mapping)
def execute(t: Tables, heads: Array, own: int, memory: Commanded | None) -> tuple[int, int]:
    """Run tasks 0..own-1 to completion, later ones as far as time allows.

    heads: loads started before time 0. memory: channels that say how long transfers take, else
    their planned durations. Returns (DONE or DEADLOCK, time) and leaves what happened in the
    tables.
    """
    tasks, state, units, heap = t.tasks, t.state, t.units, t.heap
    count = tasks.shape[0]
    size = admit(heads, state, t.met, t.queues, units, heap)
    left = own
    time = 0
    while left > 0:
        if size == 0 or heap[0, TIME] > time:
            # All that happens at a time has happened: data may come at time 0.
            size = dispatch(
                tasks, t.order, state, t.met, t.looked_at, t.queues, units, t.books, heap, size,
                time, memory,
            )  # fmt: skip
        if size == 0:
            return DEADLOCK, time
        time = heap[0, TIME]
        while size > 0 and heap[0, TIME] == time:
            payload = heap[0, PAYLOAD]
            size = pop(heap, size)
            task = payload % count
            due = due_at(state, t.met, task, payload, time)
            if due > time:
                # It paused meanwhile.
                size = push(heap, size, due, payload)
                continue
            if payload < count:
                unit = UNIT_OF_QUEUE[tasks[task, QUEUE]]
                units[unit, RUNNING] = -1
                units[unit, LAST_END] = time
                if state[task, APART] == 1:
                    continue
            if state[task, COUNTED] == 0:
                t.books[tasks[task, OP], moved_by(tasks, task) + 1] += tasks[task, SIZE]
            deliver(tasks, t.successors, state, task, time)
            if task < own:
                left -= 1
    return DONE, time
