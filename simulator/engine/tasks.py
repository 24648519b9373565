"""The task graph of one segment in flat arrays: what the tile executor runs.

Each stage of each step of an operation is a task with a queue, a turn, a duration, a latency and a
size. A queue issues its tasks in order; a unit serves up to three queues, which take turns within
an operation; one of them is of what goes on aside, beside the order of all else. Edges are: data
(load before main), buffers (two between neighbouring stages; as many loads as the scratchpad
holds), and results (producers before consumers). Weights, and keys and values of the past, are
fetched ahead across operations as far as the scratchpad allows; at the end of a segment, the loads
of the next one's first loaded operation may start (foreign tasks).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.equations import load_before_store, pieces_of_post, steps_behind
from simulator.mapping.plan import PPM, OpPlan

Array = NDArray[np.int64]

LOAD, STORE, READY, VECTOR, MAIN, SECOND, NETWORK, PIM, LINK, MOVED_ASIDE, VECTOR_ASIDE = range(11)
QUEUES = (
    "load", "store", "ready", "vector", "main", "second", "network", "pim", "link", "moved aside",
    "vector aside",
)  # fmt: skip
UNITS = ("matrix", "vector", "dram", "noc", "pim", "link")
#: Unit that serves each queue, as an index into UNITS.
UNIT_OF_QUEUE = np.array([2, 2, 1, 1, 0, 0, 3, 4, 5, 2, 1], dtype=np.int64)
#: Queue of the main stage of an operation, by its unit.
MAIN_QUEUE = {"matrix": MAIN, "vector": VECTOR, "noc": NETWORK, "pim": PIM, "link": LINK}
#: Queue of what is aside, so that it and what is not never wait for each other's turn.
ASIDE = {LOAD: MOVED_ASIDE, STORE: MOVED_ASIDE, VECTOR: VECTOR_ASIDE}


class TaskGraph(NamedTuple):
    """Tasks of one segment; times in ps, sizes in bytes.

    The successors of task t are successors[first_successor[t]:first_successor[t + 1]]; waits_for is
    how many tasks it waits for. Tasks 0..own-1 are the segment's, the rest are foreign.
    op is an index into the segment's operations, len(ops) for foreign tasks, which stand last. Of
    two tasks of one operation on one unit, the one with the lower turn goes first. beside: how much
    longer a transfer takes that starts while pim works, or pim that starts beside a transfer.
    exclusive: 1 for pim that has the memory to itself.
    """

    queue: Array
    turn: Array
    duration: Array
    latency: Array
    size: Array
    op: Array
    beside: Array
    exclusive: Array
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
    beside: list[Array] = field(default_factory=list)
    exclusive: list[Array] = field(default_factory=list)
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
        beside: int = 0,
        exclusive: bool = False,
        aside: bool = False,
    ) -> Array:
        """Add a task a turn, the last with the bytes that do not divide; return their ids."""
        queue = ASIDE.get(queue, queue) if aside else queue
        count = len(turn)
        sizes = np.full(count, total_bytes // count, dtype=np.int64)
        sizes[-1] += total_bytes - total_bytes // count * count
        self.queue.append(np.full(count, queue, dtype=np.int64))
        self.turn.append(turn)
        self.duration.append(np.full(count, duration, dtype=np.int64))
        self.latency.append(np.full(count, latency, dtype=np.int64))
        self.size.append(sizes)
        self.op.append(np.full(count, op, dtype=np.int64))
        self.beside.append(np.full(count, beside, dtype=np.int64))
        self.exclusive.append(np.full(count, exclusive, dtype=np.int64))
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
            beside=np.concatenate(self.beside),
            exclusive=np.concatenate(self.exclusive),
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


def _stages(b: _Builder, index: int, op: OpPlan) -> _Stages:
    """Add the tasks of one operation with the edges inside its steps.

    Turns are even where a stage takes the lead, odd where it follows what has the turn before.
    """
    p = op.pipeline
    steps, outputs = np.arange(p.steps), np.arange(op.outputs)
    behind = steps_behind(p)
    loads = _loads(b, index, op, steps, op.load_bytes) if op.load_bytes else None
    ready_turns = 2 * (steps - 1 - behind) + 1
    ready = b.block(READY, index, ready_turns, p.ready) if p.ready else None
    beside = p.main * op.slowed_by_transfers_ppm // PPM
    main = b.block(
        MAIN_QUEUE[op.unit], index, 2 * steps, p.main, 0, op.main_bytes, beside, op.exclusive,
        op.aside,
    )  # fmt: skip
    b.duration[-1][-1] += p.extra
    if ready is not None:
        b.edge(ready, main)
        b.edge(main[:-2], ready[2:])
    if loads is not None:
        b.edge(loads, main if ready is None else ready)
    # By output: the first and the last task of each stage.
    stages = [(main[:: p.every], main[p.every - 1 :: p.every])]
    if p.post:
        turns, post = _post(b, index, op)
        pieces = pieces_of_post(p)
        stages.append((post[::pieces], post[pieces - 1 :: pieces]))
        if ready is not None:
            # The unit has no turns for what is behind work of an earlier operation in its queue.
            before = np.searchsorted(turns, ready_turns)
            b.edge(post[before[before > 0] - 1], ready[before > 0])
    if p.second:
        second = b.block(SECOND, index, 2 * (outputs + behind) + 1, p.second)
        stages.append((second, second))
    result = int(stages[-1][1][-1])
    frees = stages[-1][1] if p.second else main
    if op.store_bytes:
        turn = 2 * (load_before_store(p) + p.every * outputs) + 1
        beside = p.store * op.slowed_by_pim_ppm // PPM
        store = b.block(STORE, index, turn, p.store, 0, op.store_bytes, beside, aside=op.aside)
        stages.append((store, store))
    for (starts, ends), (next_starts, next_ends) in pairwise(stages):
        b.edge(ends, next_starts)
        b.edge(next_ends[:-2], starts[2:])
    none = np.zeros(0, dtype=np.int64)
    return _Stages(none if loads is None else loads, main, frees, result, int(stages[-1][1][-1]))


def _loads(b: _Builder, index: int, op: OpPlan, steps: Array, size: int) -> Array:
    """Add the loads of some steps, `size` bytes in all."""
    p = op.pipeline
    beside = p.load * op.slowed_by_pim_ppm // PPM
    return b.block(LOAD, index, 2 * steps, p.load, p.latency, size, beside, aside=op.aside)


def _post(b: _Builder, index: int, op: OpPlan) -> tuple[Array, Array]:
    """Add the vector work on outputs; return turns and tasks of its pieces."""
    p = op.pipeline
    pieces = pieces_of_post(p)
    shown = (1 + np.arange(op.outputs)) * p.every - 1
    turn = 2 * (shown[:, None] + np.arange(pieces)).ravel()
    tasks = b.block(VECTOR, index, turn, p.post // pieces, aside=op.aside)
    b.duration[-1][pieces - 1 :: pieces] += p.post - p.post // pieces * pieces
    return turn, tasks


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
        if not prefetch:
            b.edge(self.tasks[-1][-1:], loads[:1])
            return
        needed = self.taken + (np.arange(len(loads)) + 1) * op.slot_bytes - (self.room or 0)
        while self.freed[0][-1] < min(int(needed[0]), self.taken):
            # What is loaded from now on needs later steps than these.
            del self.freed[0], self.tasks[0]
        step = np.searchsorted(np.concatenate(self.freed), np.minimum(needed, self.taken))
        held = needed > 0
        b.edge(np.concatenate(self.tasks)[step[held]], loads[held])

    def take(self, op: OpPlan, frees: Array) -> None:
        """Book the loads of `op` and the steps that free them."""
        count = len(frees)
        self.freed.append(self.taken + (np.arange(count, dtype=np.int64) + 1) * op.slot_bytes)
        self.tasks.append(frees)
        self.taken += count * op.slot_bytes


def _paces(producer: Array, steps: int) -> Array:
    """Return the step of a producer that each of so many steps waits for, part by part."""
    parts = -(-(np.arange(steps) + 1) * len(producer) // steps)
    return producer[parts - 1]


def foreign_loads(op: OpPlan | None, prefetch: bool) -> int:
    """Return how many loads of the next segment's first loaded operation may start early."""
    if op is None or not prefetch:
        return 0
    return min(op.pipeline.slots, op.free_loads, op.pipeline.steps)


def first_loaded(ops: Sequence[OpPlan]) -> OpPlan | None:
    """Return the first operation of a segment that loads from memory."""
    return next((op for op in ops if op.load_bytes and not op.aside), None)


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
            if not op.aside:
                ring.wait(b, op, loads, prefetch=prefetch)
                ring.take(op, stages.frees)
        gated = loads[min(op.free_loads, len(loads) - 1)] if len(loads) else stages.main[0]
        for producer in op.stored_by:
            b.edge(np.array([done[producer].stored]), gated)
        for producer in op.after:
            b.edge(np.array([done[producer].result]), stages.main[0])
        for producer in op.paced_by:
            b.edge(_paces(done[producer].main, len(stages.main)), stages.main)
        done.append(stages)
    own = b.count
    count = foreign_loads(following, prefetch)
    if count and following is not None:
        p = following.pipeline
        step_bytes = following.load_bytes // p.steps
        loads = _loads(b, len(ops), following, np.arange(count), step_bytes * count)
        if count == p.steps:
            b.size[-1][-1] += following.load_bytes - step_bytes * count
        ring.pass_by(following)
        ring.wait(b, following, loads, prefetch=True)
    return b.graph(own, len(ops))
