"""The tile executor: an event loop over the task graph of one segment, compiled by Numba.

Events are ordered by the tuple (time, priority, sequence): at one time, first the ends of tasks,
then the arrivals of data, each in order of task number. After all events of a time, each free unit
starts the head of one of its queues. Heads of one operation take turns in the order that its task
graph gives, and the unit waits for the one whose turn it is: with a fixed order, every start is a
maximum of sums of durations, and nothing that gets faster makes anything later. (Work in order of
arrival has no such law: Graham, "Bounds on multiprocessing timing anomalies", 1969.) Of heads of
different operations, the one of the earlier operation starts if it can, otherwise the other. A unit
runs one task at a time and does not pre-empt. Time is integer ps.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Array = NDArray[np.int64]

DONE, DEADLOCK = 0, 1
END, ARRIVAL = 0, 1


@register_jitable
def push(times: Array, payloads: Array, size: int, time: int, payload: int) -> int:
    """Add an event to the binary heap; return its new size."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if times[parent] < time or (times[parent] == time and payloads[parent] <= payload):
            break
        times[place] = times[parent]
        payloads[place] = payloads[parent]
        place = parent
    times[place] = time
    payloads[place] = payload
    return size + 1


@register_jitable
def pop(times: Array, payloads: Array, size: int) -> int:
    """Remove the first event (read it before); return the new size."""
    size -= 1
    time, payload = times[size], payloads[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and (
            times[child + 1] < times[child]
            or (times[child + 1] == times[child] and payloads[child + 1] < payloads[child])
        ):
            child += 1
        if time < times[child] or (time == times[child] and payload <= payloads[child]):
            break
        times[place] = times[child]
        payloads[place] = payloads[child]
        place = child
    times[place] = time
    payloads[place] = payload
    return size


class Tasks(NamedTuple):
    """The task graph as the executor reads it; see `tasks.TaskGraph` for the columns.

    queue_tasks[queue_first[q]:queue_first[q + 1]] are the tasks of queue q in issue order;
    unit_of_queue has an entry per queue. A unit has at most two queues that hold tasks.
    """

    queue: Array
    turn: Array
    duration: Array
    latency: Array
    size: Array
    op: Array
    first_successor: Array
    successors: Array
    queue_tasks: Array
    queue_first: Array
    unit_of_queue: Array


class Heads(NamedTuple):
    """Loads that were started before time 0.

    Their transfer ends at `end` (0: already) and their data come at `arrival` (-1: already there).
    """

    task: Array
    end: Array
    arrival: Array


class Record(NamedTuple):
    """What the executor writes down, in ps and bytes.

    start, end, arrival: of each task, -1 where it did not happen. waited: by unit, time spent idle
    because loads were not there. sent, received: by operation, foreign tasks last.
    """

    start: Array
    end: Array
    arrival: Array
    waited: Array
    sent: Array
    received: Array


class Scratch(NamedTuple):
    """What the executor works with: by task, by event, by queue, by unit."""

    waits_for: Array
    ready: Array
    other_ready: Array
    apart: Array
    counted: Array
    times: Array
    payloads: Array
    head: Array
    running: Array
    last_end: Array


def fresh(tasks: Tasks, waits_for: Array, ops: int) -> tuple[Record, Scratch]:
    """Make the arrays of one run. Numba would take a second to compile their making."""
    count, units = len(tasks.queue), int(tasks.unit_of_queue.max()) + 1
    record = Record(
        start=np.full(count, -1),
        end=np.full(count, -1),
        arrival=np.full(count, -1),
        waited=np.zeros(units, dtype=np.int64),
        sent=np.zeros(ops + 1, dtype=np.int64),
        received=np.zeros(ops + 1, dtype=np.int64),
    )
    scratch = Scratch(
        waits_for=waits_for.copy(),
        ready=np.zeros(count, dtype=np.int64),
        other_ready=np.zeros(count, dtype=np.int64),
        apart=(tasks.latency > 0).astype(np.int64),
        counted=np.zeros(count, dtype=np.int64),
        times=np.empty(2 * count + 2, dtype=np.int64),
        payloads=np.empty(2 * count + 2, dtype=np.int64),
        head=tasks.queue_first[:-1].copy(),
        running=np.full(units, -1),
        last_end=np.zeros(units, dtype=np.int64),
    )
    return record, scratch


@register_jitable
def admit(t: Tasks, heads: Heads, record: Record, s: Scratch) -> int:
    """Take over the loads that were started before time 0; return the size of the heap."""
    count = t.queue.size
    heap = 0
    for i in range(heads.task.size):
        task = heads.task[i]
        s.head[t.queue[task]] += 1
        record.start[task] = 0
        record.end[task] = heads.end[i]
        if heads.end[i] > 0:
            s.running[t.unit_of_queue[t.queue[task]]] = task
            heap = push(s.times, s.payloads, heap, heads.end[i], END * count + task)
        # Data sent before time 0 arrive by an event of their own.
        s.apart[task] = 1
        s.counted[task] = 1 if heads.arrival[i] < 0 else 0
        there = max(0, heads.arrival[i])
        heap = push(s.times, s.payloads, heap, there, ARRIVAL * count + task)
    return heap


@register_jitable
def choose(t: Tasks, s: Scratch, unit: int) -> int:
    """Return the task that a free unit starts next, -1 if it has to wait."""
    first = -1
    other = -1
    for q in range(t.unit_of_queue.size):
        if t.unit_of_queue[q] == unit and s.head[q] < t.queue_first[q + 1]:
            task = t.queue_tasks[s.head[q]]
            if first < 0:
                first = task
            elif (t.op[task], t.turn[task]) < (t.op[first], t.turn[first]):
                first, other = task, first
            else:
                other = task
    if first >= 0 and s.waits_for[first] == 0:
        return first
    if other >= 0 and t.op[other] != t.op[first] and s.waits_for[other] == 0:
        return other
    return -1


@register_jitable
def begin(t: Tasks, record: Record, s: Scratch, heap: int, unit: int, task: int, time: int) -> int:
    """Start a task on a unit; return the size of the heap."""
    count = t.queue.size
    s.head[t.queue[task]] += 1
    s.running[unit] = task
    record.start[task] = time
    record.end[task] = time + t.duration[task]
    record.sent[t.op[task]] += t.size[task]
    before = max(s.last_end[unit], s.other_ready[task])
    if time > before and s.ready[task] > s.other_ready[task]:
        record.waited[unit] += time - before
    heap = push(s.times, s.payloads, heap, record.end[task], END * count + task)
    if s.apart[task] == 1:
        there = record.end[task] + t.latency[task]
        heap = push(s.times, s.payloads, heap, there, ARRIVAL * count + task)
    return heap


@register_jitable
def deliver(t: Tasks, record: Record, s: Scratch, load_queue: int, task: int, time: int) -> None:
    """Hand the results of a task to those that wait for it."""
    record.arrival[task] = time
    if s.counted[task] == 0:
        record.received[t.op[task]] += t.size[task]
    for i in range(t.first_successor[task], t.first_successor[task + 1]):
        follower = t.successors[i]
        s.waits_for[follower] -= 1
        s.ready[follower] = max(s.ready[follower], time)
        if t.queue[task] != load_queue:
            s.other_ready[follower] = max(s.other_ready[follower], time)


@compiled()
def execute(
    t: Tasks, heads: Heads, own: int, load_queue: int, record: Record, s: Scratch
) -> tuple[int, int]:
    """Run tasks 0..own-1 to completion, later ones as far as time allows.

    Returns (DONE or DEADLOCK, time); fills `record`, uses up `s`.
    """
    heap = admit(t, heads, record, s)
    left = own
    time = 0
    while left > 0:
        for unit in range(s.running.size):
            if s.running[unit] < 0:
                task = choose(t, s, unit)
                if task >= 0:
                    heap = begin(t, record, s, heap, unit, task, time)
        if heap == 0:
            return DEADLOCK, time
        time = s.times[0]
        while heap > 0 and s.times[0] == time:
            payload = s.payloads[0]
            heap = pop(s.times, s.payloads, heap)
            task = payload % t.queue.size
            if payload < t.queue.size:
                unit = t.unit_of_queue[t.queue[task]]
                s.running[unit] = -1
                s.last_end[unit] = time
                if s.apart[task] == 1:
                    continue
            deliver(t, record, s, load_queue, task, time)
            if task < own:
                left -= 1
    return DONE, time
