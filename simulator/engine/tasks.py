"""The task graph of one segment in flat arrays: what the tile executor runs.

Each stage of each step of an operation is a task with a queue, a turn, a duration, a latency and a
size. A queue issues its tasks in order; a unit serves up to two queues, which take turns within an
operation. Edges are: data (load before main),
buffers (two between neighbouring stages; as many loads as the scratchpad holds), and results
(producers before consumers). Weights, and keys and values of the past, are fetched ahead across
operations as far as the scratchpad allows; at the end of a segment, the loads of the next one's
first loaded operation may start (foreign tasks).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.equations import load_before_store, pieces_of_post, steps_behind
from simulator.mapping.plan import OpPlan

Array = NDArray[np.int64]

LOAD, STORE, READY, VECTOR, MAIN, SECOND, NETWORK = range(7)
QUEUES = ("load", "store", "ready", "vector", "main", "second", "network")
UNITS = ("matrix", "vector", "dram", "noc")
#: Unit that serves each queue, as an index into UNITS.
UNIT_OF_QUEUE = np.array([2, 2, 1, 1, 0, 0, 3], dtype=np.int64)


class TaskGraph(NamedTuple):
    """Tasks of one segment; times in ps, sizes in bytes.

    The successors of task t are successors[first_successor[t]:first_successor[t + 1]]; waits_for is
    how many tasks it waits for. Tasks 0..own-1 are the segment's, the rest are foreign.
    op is an index into the segment's operations, len(ops) for foreign tasks, which stand last. Of
    two tasks of one operation on one unit, the one with the lower turn goes first.
    """

    queue: Array
    turn: Array
    duration: Array
    latency: Array
    size: Array
    op: Array
    waits_for: Array
    first_successor: Array
    successors: Array
    own: int
    ops: int


@dataclass
class _Builder:
    """Collects tasks and edges block by block."""

    queue: list[Array] = field(default_factory=list)
    turn: list[Array] = field(default_factory=list)
    duration: list[Array] = field(default_factory=list)
    latency: list[Array] = field(default_factory=list)
    size: list[Array] = field(default_factory=list)
    op: list[Array] = field(default_factory=list)
    sources: list[Array] = field(default_factory=list)
    targets: list[Array] = field(default_factory=list)
    count: int = 0

    def block(
        self,
        queue: int,
        op: int,
        turn: Array,
        duration: int,
        latency: int = 0,
        total_bytes: int = 0,
    ) -> Array:
        """Add a task a turn, the last with the bytes that do not divide; return their ids."""
        count = len(turn)
        sizes = np.full(count, total_bytes // count, dtype=np.int64)
        sizes[-1] += total_bytes - total_bytes // count * count
        self.queue.append(np.full(count, queue, dtype=np.int64))
        self.turn.append(turn)
        self.duration.append(np.full(count, duration, dtype=np.int64))
        self.latency.append(np.full(count, latency, dtype=np.int64))
        self.size.append(sizes)
        self.op.append(np.full(count, op, dtype=np.int64))
        ids = np.arange(self.count, self.count + count, dtype=np.int64)
        self.count += count
        return ids

    def edge(self, sources: Array, targets: Array) -> None:
        """Add edges source -> target, pair by pair."""
        self.sources.append(np.atleast_1d(sources))
        self.targets.append(np.atleast_1d(targets))

    def graph(self, own: int, ops: int) -> TaskGraph:
        """Close the arrays."""
        sources = np.concatenate([*self.sources, np.zeros(0, dtype=np.int64)])
        targets = np.concatenate([*self.targets, np.zeros(0, dtype=np.int64)])
        order = np.argsort(sources, kind="stable")
        counts = np.bincount(sources, minlength=self.count)
        first = np.zeros(self.count + 1, dtype=np.int64)
        np.cumsum(counts, out=first[1:])
        return TaskGraph(
            queue=np.concatenate(self.queue),
            turn=np.concatenate(self.turn),
            duration=np.concatenate(self.duration),
            latency=np.concatenate(self.latency),
            size=np.concatenate(self.size),
            op=np.concatenate(self.op),
            waits_for=np.bincount(targets, minlength=self.count).astype(np.int64),
            first_successor=first,
            successors=targets[order],
            own=own,
            ops=ops,
        )


@dataclass(frozen=True)
class _Stages:
    """Task ids of one operation: its loads, main steps, the steps that free a slot, its ends."""

    loads: Array
    main: Array
    frees: Array
    result: int
    stored: int


def main_queue(op: OpPlan) -> int:
    """Return the queue of an operation's main stage."""
    match op.unit:
        case "matrix":
            return MAIN
        case "vector":
            return VECTOR
        case "noc":
            return NETWORK
        case _:
            raise ValueError(f"no queue for unit {op.unit!r}")


def _stages(b: _Builder, index: int, op: OpPlan) -> _Stages:
    """Add the tasks of one operation with the edges inside its steps.

    Turns are even where a stage takes the lead, odd where it follows what has the turn before.
    """
    p = op.pipeline
    steps, outputs = np.arange(p.steps), np.arange(op.outputs)
    behind = steps_behind(p)
    loads = (
        b.block(LOAD, index, 2 * steps, p.load, p.latency, op.load_bytes) if op.load_bytes else None
    )
    ready = b.block(READY, index, 2 * (steps - 1 - behind) + 1, p.ready) if p.ready else None
    size = op.network_bytes if op.unit == "noc" else 0
    main = b.block(main_queue(op), index, 2 * steps, p.main, 0, size)
    b.duration[-1][-1] += p.extra
    if ready is not None:
        b.edge(ready, main)
        b.edge(main[:-2], ready[2:])
    if loads is not None:
        b.edge(loads, main if ready is None else ready)
    # By output: the first and the last task of each stage.
    stages = [(main[:: p.every], main[p.every - 1 :: p.every])]
    if p.post:
        stages.append(_post(b, index, op))
    if p.second:
        second = b.block(SECOND, index, 2 * (outputs + behind) + 1, p.second)
        stages.append((second, second))
    result = int(stages[-1][1][-1])
    frees = stages[-1][1] if p.second else main
    if op.store_bytes:
        turn = 2 * (load_before_store(p) + p.every * outputs) + 1
        store = b.block(STORE, index, turn, p.store, 0, op.store_bytes)
        stages.append((store, store))
    for (starts, ends), (next_starts, next_ends) in pairwise(stages):
        b.edge(ends, next_starts)
        b.edge(next_ends[:-2], starts[2:])
    none = np.zeros(0, dtype=np.int64)
    return _Stages(none if loads is None else loads, main, frees, result, int(stages[-1][1][-1]))


def _post(b: _Builder, index: int, op: OpPlan) -> tuple[Array, Array]:
    """Add the vector work on outputs; return the first and last task of each output."""
    p = op.pipeline
    pieces = pieces_of_post(p)
    shown = (1 + np.arange(op.outputs)) * p.every - 1
    turn = 2 * (shown[:, None] + np.arange(pieces)).ravel()
    tasks = b.block(VECTOR, index, turn, p.post // pieces)
    b.duration[-1][pieces - 1 :: pieces] += p.post - p.post // pieces * pieces
    return tasks[::pieces], tasks[pieces - 1 :: pieces]


class _Ring:
    """The scratchpad as a ring of load steps: who must be done before a load finds room.

    Loads take room in program order and the steps that consume them free it in the same order, so
    which step a load waits for is known beforehand.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.room: int | None = None
        self.freed: list[Array] = []
        self.tasks: list[Array] = []

    def pass_by(self, op: OpPlan) -> None:
        """Take the room that an operation leaves into account."""
        self.room = op.room_bytes if self.room is None else min(self.room, op.room_bytes)

    def wait(self, b: _Builder, op: OpPlan, loads: Array, *, prefetch: bool) -> None:
        """Add edges from consuming steps of earlier operations to the loads of `op`."""
        if not self.tasks:
            return
        tasks = np.concatenate(self.tasks)
        if not prefetch:
            b.edge(tasks[-1:], loads[:1])
            return
        needed = self.taken + (np.arange(len(loads)) + 1) * op.slot_bytes - (self.room or 0)
        step = np.searchsorted(np.concatenate(self.freed), np.minimum(needed, self.taken))
        held = needed > 0
        b.edge(tasks[step[held]], loads[held])

    def take(self, op: OpPlan, frees: Array) -> None:
        """Book the loads of `op` and the steps that free them."""
        count = len(frees)
        self.freed.append(self.taken + (np.arange(count, dtype=np.int64) + 1) * op.slot_bytes)
        self.tasks.append(frees)
        self.taken += count * op.slot_bytes


def foreign_loads(op: OpPlan | None, prefetch: bool) -> int:
    """Return how many loads of the next segment's first loaded operation may start early."""
    if op is None or not prefetch:
        return 0
    return min(op.pipeline.slots, op.free_loads, op.pipeline.steps)


def first_loaded(ops: Sequence[OpPlan]) -> OpPlan | None:
    """Return the first operation of a segment that loads from memory."""
    return next((op for op in ops if op.load_bytes), None)


def expand(ops: Sequence[OpPlan], following: OpPlan | None, *, prefetch: bool) -> TaskGraph:
    """Build the task graph of a segment; `following` is the first loaded operation of the next."""
    b = _Builder()
    ring = _Ring()
    done: list[_Stages] = []
    for index, op in enumerate(ops):
        stages = _stages(b, index, op)
        loads, slots = stages.loads, op.pipeline.slots
        ring.pass_by(op)
        if len(loads):
            b.edge(stages.frees[: max(0, len(loads) - slots)], loads[slots:])
            ring.wait(b, op, loads, prefetch=prefetch)
            ring.take(op, stages.frees)
            gated = loads[min(op.free_loads, len(loads) - 1)]
            for producer in op.stored_by:
                b.edge(np.array([done[producer].stored]), gated)
        for producer in op.after:
            b.edge(np.array([done[producer].result]), stages.main[0])
        done.append(stages)
    own = b.count
    count = foreign_loads(following, prefetch)
    if count and following is not None:
        p = following.pipeline
        step_bytes = following.load_bytes // p.steps
        turn = 2 * np.arange(count)
        loads = b.block(LOAD, len(ops), turn, p.load, p.latency, step_bytes * count)
        if count == p.steps:
            b.size[-1][-1] += following.load_bytes - step_bytes * count
        ring.pass_by(following)
        ring.wait(b, following, loads, prefetch=True)
    return b.graph(own, len(ops))
