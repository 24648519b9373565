"""The tile executor: an event loop over the task graph of one segment, compiled by Numba.

Events are ordered by the tuple (time, priority, sequence): at one time, first the ends of tasks,
then the arrivals of data, each in order of task number. After all events of a time, each free unit
starts one of the heads of its queues: the one that has been head, and ready, for the longest time;
ties go to the queue of a later stage, then to the lower task number. A unit runs one task at a time
and does not pre-empt. Time is integer ps.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Array = NDArray[np.int64]

DONE, DEADLOCK = 0, 1
END, ARRIVAL = 0, 1
FAR = np.iinfo(np.int64).max


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


@compiled()
def execute(
    queue: Array,
    duration: Array,
    latency: Array,
    size: Array,
    op: Array,
    waits_for: Array,
    first_successor: Array,
    successors: Array,
    own: int,
    ops: int,
    queue_tasks: Array,
    queue_first: Array,
    unit_of_queue: Array,
    priority_of_queue: Array,
    load_queue: int,
    head_tasks: Array,
    head_end: Array,
    head_arrival: Array,
) -> tuple[int, int, Array, Array, Array, Array, Array, Array, Array]:
    """Run tasks 0..own-1 to completion; later ones only as far as time allows.

    queue_tasks[queue_first[q]:queue_first[q + 1]] are the tasks of queue q in issue order.
    head_tasks were started before time 0: their transfer ends at head_end (0: already) and their
    data come at head_arrival (-1: already there).
    Returns status (DONE or DEADLOCK), makespan, start and end (-1: never) of each task, arrival
    (-1: not yet), by unit the time spent waiting for loads, and by operation (foreign tasks last)
    the same for its matrix unit, bytes sent and bytes received.
    """
    tasks = queue.size
    queues = unit_of_queue.size
    units = unit_of_queue.max() + 1
    waiting = waits_for.copy()
    ready = np.zeros(tasks, dtype=np.int64)
    other_ready = np.zeros(tasks, dtype=np.int64)
    start = np.full(tasks, -1, dtype=np.int64)
    end = np.full(tasks, -1, dtype=np.int64)
    arrival = np.full(tasks, -1, dtype=np.int64)
    running = np.full(units, -1, dtype=np.int64)
    last_end = np.zeros(units, dtype=np.int64)
    waited = np.zeros(units, dtype=np.int64)
    op_waited = np.zeros(ops + 1, dtype=np.int64)
    sent = np.zeros(ops + 1, dtype=np.int64)
    received = np.zeros(ops + 1, dtype=np.int64)
    # Data that arrive after their transfer, or were sent before time 0, have an event of their own.
    apart = latency > 0
    counted = np.zeros(tasks, dtype=np.bool_)
    head_of_queue = queue_first[:-1].copy()
    head_since = np.zeros(queues, dtype=np.int64)
    times = np.empty(2 * tasks + 2, dtype=np.int64)
    payloads = np.empty(2 * tasks + 2, dtype=np.int64)
    heap = 0
    left = own
    time = 0

    for i in range(head_tasks.size):
        task = head_tasks[i]
        head_of_queue[queue[task]] += 1
        start[task] = 0
        end[task] = head_end[i]
        if head_end[i] > 0:
            running[unit_of_queue[queue[task]]] = task
            heap = push(times, payloads, heap, head_end[i], END * tasks + task)
        apart[task] = True
        counted[task] = head_arrival[i] < 0
        heap = push(times, payloads, heap, max(0, head_arrival[i]), ARRIVAL * tasks + task)

    while left > 0:
        # Each free unit starts the head that became ready first.
        for unit in range(units):
            if running[unit] >= 0:
                continue
            best = -1
            best_since = 0
            for q in range(queues):
                if unit_of_queue[q] != unit or head_of_queue[q] >= queue_first[q + 1]:
                    continue
                task = queue_tasks[head_of_queue[q]]
                if waiting[task] > 0:
                    continue
                since = max(ready[task], head_since[q])
                if (
                    best < 0
                    or since < best_since
                    or since == best_since
                    and priority_of_queue[q] < priority_of_queue[queue[best]]
                ):
                    best = task
                    best_since = since
            if best < 0:
                continue
            head_of_queue[queue[best]] += 1
            head_since[queue[best]] = time
            running[unit] = best
            start[best] = time
            end[best] = time + duration[best]
            sent[op[best]] += size[best]
            since = max(last_end[unit], other_ready[best])
            if time > since and ready[best] > other_ready[best]:
                waited[unit] += time - since
                op_waited[op[best]] += time - since
            heap = push(times, payloads, heap, end[best], END * tasks + best)
            if apart[best]:
                there = end[best] + latency[best]
                heap = push(times, payloads, heap, there, ARRIVAL * tasks + best)
        if heap == 0:
            return DEADLOCK, time, start, end, arrival, waited, op_waited, sent, received
        time = times[0]
        while heap > 0 and times[0] == time:
            payload = payloads[0]
            heap = pop(times, payloads, heap)
            task = payload % tasks
            if payload < tasks:
                unit = unit_of_queue[queue[task]]
                running[unit] = -1
                last_end[unit] = time
                if apart[task]:
                    continue
            arrival[task] = time
            if not counted[task]:
                received[op[task]] += size[task]
            if task < own:
                left -= 1
            for i in range(first_successor[task], first_successor[task + 1]):
                follower = successors[i]
                waiting[follower] -= 1
                if time > ready[follower]:
                    ready[follower] = time
                if queue[task] != load_queue and time > other_ready[follower]:
                    other_ready[follower] = time
    return DONE, time, start, end, arrival, waited, op_waited, sent, received
