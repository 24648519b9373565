"""DRAMsim3's controller of one channel as compiled code: which command at which tick.

By the rules of umd-memsys/DRAMsim3 @2981759 (open page, a command queue for each bank):

1. In each tick from 1 one request is offered, in order, until its queue has room: reads and writes
   have one each. A write is done a tick later, and so is a read of what a write holds. A read of
   what another read waits for is served with it, a write of what another holds is dropped.
2. Then a command is issued. The queues of the banks are tried in turn, from behind the one that
   issued last, each from its oldest request on: the first whose command is ready.
3. Only the oldest request of a bank may close its row, and only if none of its requests needs the
   open row or 4 have used it.
4. With a row and a column bus, the next ready command is issued too if it goes on the other bus;
   if it does not, the turn has passed to its bank all the same.
5. Refreshes of the ranks are due in turn. While one waits, its banks are closed one by one and
   serve nothing.
6. Then one request moves on: the oldest whose bank's queue has room, of the writes while they
   drain, else of the reads. Draining begins when writes are full, or more than 8 and no bank has
   any request, for as many as there are, and ends early before a place that is still to be read.

A bank keeps the earliest tick at which it may issue (`DUE`), which only grows until its row or its
queue changes; ticks at which nothing can happen are skipped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
#: The row of a bank that has none open.
CLOSED = -1
#: The two queues of requests that no bank has yet.
READS, WRITES = range(2)
#: Of each request; `KEY`: its place as one number. `CLOSING`: a row was closed for it.
BANK, ROW, COLUMN, KEY, ARRIVAL, IS_WRITE, CLOSING = range(7)
FIELDS = 7
#: Of each bank: its open row, column commands since it was opened, its requests, and the earliest
#: tick at which it may issue, NEVER without a request.
OPENED, USES, SIZE, DUE = range(4)
#: Of each rank: its open banks, ticks with any before the tick of the last change, that tick.
OPEN_BANKS, ACTIVE, SINCE = range(3)
#: Of each row of the table.
LEVEL, AFTER, WINDOW, TICKS, SIBLING = range(5)
#: Commands by what the controller uses them for.
OPEN, CLOSE, REFRESH, READ, WRITE = range(5)
#: Of each queue of requests: how many, and at how many from the oldest on the banks are full.
COUNT, BLOCKED = range(2)
#: Places by a part of their number, a power of two, in counts of what waits for them.
HASHES = 1 << 10
#: What a standard and settings fix.
TURNS, READ_LATENCY, INTERVAL, ROW_USES, DRAIN_ABOVE = range(5)
#: The scalars of a channel's state.
(
    TICK, NEXT, OFFERED, READS_LEFT, LAST, DRAINING, QUEUED, REFRESH_AT, REFRESH_RANK,
    REFRESH_FIRST, REFRESHES, TURN, HITS, MISSES, CONFLICTS, LATENCY_SUM, LATENCY_MOST, READS_DONE,
    FOLLOWERS, FREE_SLOTS, TRACED,
) = range(21)  # fmt: skip
SCALARS = 21
#: Reads that may wait for a read of the same place.
MOST_FOLLOWERS = 1024
#: Ticks of latency that are counted apart.
LATENCIES = 1 << 15
#: Whether requests are done, more have to be offered, the trace is full, or nothing can move.
FINISHED, MORE, FULL, STUCK = range(4)


class Machine(NamedTuple):
    """A channel for the kernel: what its standard and settings fix.

    fixed: by TURNS and so on. nodes: of each bank, its instance at each level (all instances in one
    array). parents: of each instance, that of the level above. rows: by the command before, with
    fields LEVEL and so on; starts: where those of a command start. commands, buses, cycles: by use;
    buses of their own only where there are two. rank_of: of each bank, what is refreshed with it.
    """

    fixed: Ints
    nodes: Ints
    parents: Ints
    rows: Ints
    starts: Ints
    commands: Ints
    buses: Ints
    cycles: Ints
    rank_of: Ints


class State(NamedTuple):
    """A channel in the middle of a stream: arrays that the kernel changes.

    k: scalars, by TICK and so on. ready: by use and instance, the tick that allows it. history,
    rings: issue times of rows with windows, and where the next goes. free: by bus, when it is.
    requests: by slot and field; slots: those that are free, a stack. waiting: by queue, slots of
    requests that no bank has, oldest first; sizes: by field and queue. banks, ranks: by field.
    queues: by bank, slots. held: by read or write and hash, requests that wait. pending: ranks to
    be refreshed. followers: key and arrival of reads that another serves. counts: by use.
    latencies: of reads, a histogram.
    """

    k: Ints
    ready: Ints
    history: Ints
    rings: Ints
    free: Ints
    requests: Ints
    slots: Ints
    waiting: Ints
    sizes: Ints
    banks: Ints
    ranks: Ints
    queues: Ints
    held: Ints
    pending: Ints
    followers: Ints
    counts: Ints
    latencies: Ints


@inlined
def _earliest(nodes: Ints, buses: Ints, ready: Ints, free: Ints, use: int, bank: int) -> int:
    """Return the tick from which a command to a bank is allowed, were its state right."""
    due: int = free[buses[use]]
    for level in range(nodes.shape[1]):
        due = max(due, ready[use, nodes[bank, level]])
    return due


@inlined
def _may_close(fixed: Ints, banks: Ints, requests: Ints, queues: Ints, bank: int) -> bool:
    """Tell whether a bank's open row has been used enough, or is wanted by no request."""
    wanted = False
    for place in range(banks[SIZE, bank]):
        wanted = wanted or requests[queues[bank, place], ROW] == banks[OPENED, bank]
    return not wanted or banks[USES, bank] >= fixed[ROW_USES]


@inlined
def _first_in_bank(
    fixed: Ints, nodes: Ints, buses: Ints, ready: Ints, free: Ints, requests: Ints, banks: Ints,
    queues: Ints, bank: int, tick: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (place, use) of a bank's first request that is ready, or -1, and when one may be."""
    opened, size = banks[OPENED, bank], banks[SIZE, bank]
    if opened == CLOSED:
        return 0, OPEN, _earliest(nodes, buses, ready, free, OPEN, bank)
    soon = NEVER
    oldest = requests[queues[bank, 0], ROW]
    if oldest != opened and _may_close(fixed, banks, requests, queues, bank):
        soon = _earliest(nodes, buses, ready, free, CLOSE, bank)
        if soon <= tick:
            return 0, CLOSE, soon
    for place in range(size):
        slot = queues[bank, place]
        if requests[slot, ROW] == opened:
            write = requests[slot, IS_WRITE]
            due = _earliest(nodes, buses, ready, free, READ + write, bank)
            if due <= tick:
                return place, READ + write, due
            soon = min(soon, due)
    return -1, 0, soon


@inlined
def _next_bank(
    fixed: Ints, nodes: Ints, buses: Ints, rank_of: Ints, k: Ints, ready: Ints, free: Ints,
    requests: Ints, banks: Ints, queues: Ints, refreshed: int, tick: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Return (bank, place, use) of the next command that is ready, and when one may be.

    refreshed: the rank that serves nothing, or -1. Of nothing ready the bank is -1.
    """
    soon, count = NEVER, banks.shape[1]
    bank = k[TURN]
    for _ in range(count):
        bank = bank + 1 if bank + 1 < count else 0
        due = banks[DUE, bank]
        if refreshed >= 0 and rank_of[bank] == refreshed:
            continue
        if due <= tick:
            place, use, due = _first_in_bank(
                fixed, nodes, buses, ready, free, requests, banks, queues, bank, tick
            )
            if due <= tick:
                k[TURN] = bank
                return bank, place, use, due
            banks[DUE, bank] = due
        soon = min(soon, due)
    return -1, 0, 0, soon


@inlined
def _refresh_command(
    nodes: Ints,
    buses: Ints,
    rank_of: Ints,
    ready: Ints,
    free: Ints,
    banks: Ints,
    rank: int,
    tick: int,
) -> tuple[int, int, int]:
    """Return (bank, use) of what a refresh of a rank needs next, and when it may be issued."""
    bank, soon, opened = -1, 0, NEVER
    for other in range(banks.shape[1]):
        if rank_of[other] != rank:
            continue
        bank = other
        if banks[OPENED, other] != CLOSED:
            due = _earliest(nodes, buses, ready, free, CLOSE, other)
            if due <= tick:
                return other, CLOSE, due
            opened = min(opened, due)
        else:
            soon = max(soon, _earliest(nodes, buses, ready, free, REFRESH, other))
    if opened < NEVER:
        return bank, CLOSE, opened
    return bank, REFRESH, soon


@inlined
def _note(
    nodes: Ints, parents: Ints, rows: Ints, starts: Ints, buses: Ints, cycles: Ints, ready: Ints,
    history: Ints, rings: Ints, free: Ints, counts: Ints, use: int, bank: int, tick: int,
) -> None:  # fmt: skip
    """Note a command on its bus and in all rows of the table that it stands before."""
    counts[use] += 1
    # That a bus takes one command a tick is seen to by `advance`.
    free[buses[use]] = tick + cycles[use] if cycles[use] > 1 else tick
    for index in range(starts[use], starts[use + 1]):
        level, after, window = rows[index, LEVEL], rows[index, AFTER], rows[index, WINDOW]
        node, until = nodes[bank, level], tick + rows[index, TICKS]
        if window > 1:
            place = rings[index, node]
            history[index, node, place] = tick
            place = place + 1 if place + 1 < window else 0
            rings[index, node] = place
            until = history[index, node, place] + rows[index, TICKS]
        if rows[index, SIBLING]:
            for other in range(parents.shape[0]):
                if other != node and parents[other] == parents[node]:
                    ready[after, other] = max(ready[after, other], until)
        elif ready[after, node] < until:
            ready[after, node] = until


@inlined
def _read_done(k: Ints, latencies: Ints, arrival: int, tick: int) -> None:
    """Book a read whose last beat comes at a tick."""
    latency = tick - arrival + 1
    k[LAST] = max(k[LAST], tick)
    k[READS_DONE] += 1
    k[LATENCY_SUM] += latency
    k[LATENCY_MOST] = max(k[LATENCY_MOST], latency)
    latencies[min(latency, LATENCIES - 1)] += 1


@inlined
def _serve(
    fixed: Ints, k: Ints, requests: Ints, slots: Ints, sizes: Ints, banks: Ints, queues: Ints,
    held: Ints, followers: Ints, latencies: Ints, bank: int, place: int, tick: int,
) -> None:  # fmt: skip
    """Take a request out of a bank's queue, and book it with those that it serves."""
    slot = queues[bank, place]
    key, write = requests[slot, KEY], requests[slot, IS_WRITE]
    if banks[USES, bank]:
        k[HITS] += 1
    elif requests[slot, CLOSING]:
        k[CONFLICTS] += 1
    else:
        k[MISSES] += 1
    banks[USES, bank] += 1
    if not write:
        done = tick + fixed[READ_LATENCY]
        _read_done(k, latencies, requests[slot, ARRIVAL], done)
        k[READS_LEFT] -= 1
        kept = 0
        for index in range(k[FOLLOWERS]):
            if followers[0, index] == key:
                _read_done(k, latencies, followers[1, index], done)
            else:
                followers[0, kept], followers[1, kept] = followers[0, index], followers[1, index]
                kept += 1
        k[FOLLOWERS] = kept
    held[write, key & (HASHES - 1)] -= 1
    slots[k[FREE_SLOTS]] = slot
    k[FREE_SLOTS] += 1
    k[QUEUED] -= 1
    banks[SIZE, bank] -= 1
    sizes[BLOCKED, READS] = sizes[BLOCKED, WRITES] = 0
    for index in range(place, banks[SIZE, bank]):
        queues[bank, index] = queues[bank, index + 1]


@inlined
def _toggle(rank_of: Ints, banks: Ints, ranks: Ints, bank: int, row: int, tick: int) -> None:
    """Open a row of a bank, or close it, and keep the time that its rank has any open."""
    rank = rank_of[bank]
    if ranks[OPEN_BANKS, rank]:
        ranks[ACTIVE, rank] += tick - ranks[SINCE, rank]
    ranks[SINCE, rank] = tick
    ranks[OPEN_BANKS, rank] += -1 if row == CLOSED else 1
    banks[OPENED, bank], banks[USES, bank] = row, 0


@inlined
def _trace(k: Ints, trace: Ints, tick: int, command: int, bank: int, row: int, column: int) -> None:
    """Note a command, if a trace is kept."""
    if trace.shape[0]:
        place = k[TRACED]
        trace[place, 0], trace[place, 1], trace[place, 2] = tick, command, bank
        trace[place, 3], trace[place, 4] = row, column
        k[TRACED] = place + 1


@inlined
def _holds(
    requests: Ints, waiting: Ints, sizes: Ints, banks: Ints, queues: Ints, held: Ints, which: int,
    bank: int, key: int,
) -> bool:  # fmt: skip
    """Tell whether a read (or write) of a place waits, in a queue or at its bank."""
    found = False
    if held[which, key & (HASHES - 1)]:
        for place in range(sizes[COUNT, which]):
            found = found or requests[waiting[which, place], KEY] == key
        for place in range(banks[SIZE, bank]):
            slot = queues[bank, place]
            found = found or (requests[slot, KEY] == key and requests[slot, IS_WRITE] == which)
    return found


@inlined
def _offer(
    k: Ints, requests: Ints, slots: Ints, waiting: Ints, sizes: Ints, banks: Ints, queues: Ints,
    held: Ints, followers: Ints, latencies: Ints, block: Ints, index: int, tick: int,
) -> None:  # fmt: skip
    """Take a request of the block, if its queue has room."""
    write, bank, key = block[index, 0], block[index, 1], block[index, 4]
    full = sizes[COUNT, write] >= waiting.shape[1]
    if full or (not write and k[FOLLOWERS] >= MOST_FOLLOWERS):
        return
    k[OFFERED] += 1
    served = _holds(requests, waiting, sizes, banks, queues, held, WRITES, bank, key)
    if write:
        k[LAST] = max(k[LAST], tick + 1)
    elif served:
        _read_done(k, latencies, tick, tick + 1)
    elif _holds(requests, waiting, sizes, banks, queues, held, READS, bank, key):
        place = k[FOLLOWERS]
        followers[0, place], followers[1, place] = key, tick
        k[FOLLOWERS] = place + 1
        served = True
    if not served:
        k[READS_LEFT] += 1 - write
        k[FREE_SLOTS] -= 1
        slot = slots[k[FREE_SLOTS]]
        requests[slot, BANK], requests[slot, ROW] = bank, block[index, 2]
        requests[slot, COLUMN], requests[slot, KEY] = block[index, 3], key
        requests[slot, ARRIVAL], requests[slot, IS_WRITE] = tick, write
        requests[slot, CLOSING] = 0
        held[write, key & (HASHES - 1)] += 1
        waiting[write, sizes[COUNT, write]] = slot
        sizes[COUNT, write] += 1


@inlined
def _move_on(
    fixed: Ints, k: Ints, requests: Ints, waiting: Ints, sizes: Ints, banks: Ints, queues: Ints,
    held: Ints,
) -> bool:  # fmt: skip
    """Give one waiting request to its bank; tell whether anything changed."""
    writes = sizes[COUNT, WRITES]
    if k[DRAINING] == 0:
        idle = k[QUEUED] == 0 and writes > fixed[DRAIN_ABOVE]
        if writes >= waiting.shape[1] or idle:
            k[DRAINING] = writes
    which = WRITES if k[DRAINING] > 0 else READS
    for place in range(sizes[BLOCKED, which], sizes[COUNT, which]):
        slot = waiting[which, place]
        bank = requests[slot, BANK]
        there = banks[SIZE, bank]
        if there >= queues.shape[1]:
            continue
        sizes[BLOCKED, which] = place
        if which == WRITES:
            key = requests[slot, KEY]
            if _holds(requests, waiting, sizes, banks, queues, held, READS, bank, key):
                k[DRAINING] = 0
                return True
            k[DRAINING] -= 1
        sizes[COUNT, which] -= 1
        for index in range(place, sizes[COUNT, which]):
            waiting[which, index] = waiting[which, index + 1]
        queues[bank, there] = slot
        banks[SIZE, bank] = there + 1
        banks[DUE, bank] = 0
        k[QUEUED] += 1
        return True
    sizes[BLOCKED, which] = sizes[COUNT, which]
    return False


@inlined
def _next_tick(fixed: Ints, k: Ints, waiting: Ints, sizes: Ints, offers: bool, write: int) -> int:
    """Return the next tick at which something may happen."""
    tick: int = k[TICK] + 1
    if not (offers and sizes[COUNT, write] < waiting.shape[1]):
        tick = max(tick, k[NEXT])
        if fixed[INTERVAL]:
            tick = min(tick, max(k[TICK] + 1, k[REFRESH_AT]))
    return tick


@compiled()
def advance(  # noqa: C901 - calls that hand on the state cost as much as what they do
    fixed: Ints, nodes: Ints, parents: Ints, rows: Ints, starts: Ints, commands: Ints, buses: Ints,
    cycles: Ints, rank_of: Ints, k: Ints, ready: Ints, history: Ints, rings: Ints, free: Ints,
    requests: Ints, slots: Ints, waiting: Ints, sizes: Ints, banks: Ints, ranks: Ints,
    queues: Ints, held: Ints, pending: Ints, followers: Ints, counts: Ints, latencies: Ints,
    block: Ints, last: bool, trace: Ints,
) -> int:  # fmt: skip
    """Run until the block is offered, or to the end of the stream if it is the last.

    After `Machine` and `State`, block: rows of write, bank, row, column, key, the first of which is
    request `OFFERED`. trace: room for rows of tick, command, bank, row, column; the caller empties
    it and sets `TRACED` to 0. The end is the tick at which the last request is done: writes that
    wait then are not issued. Returns FINISHED, MORE, FULL or STUCK.
    """
    first = k[OFFERED]
    end = first + block.shape[0]
    while True:
        if not last and k[OFFERED] == end:
            return MORE
        if trace.shape[0] and k[TRACED] + 2 > trace.shape[0]:
            return FULL
        offers = k[OFFERED] < end
        write = block[k[OFFERED] - first, 0] if offers else 0
        tick = _next_tick(fixed, k, waiting, sizes, offers, write)
        if k[OFFERED] == end and k[READS_LEFT] == 0 and tick > k[LAST]:
            return FINISHED
        if tick >= NEVER or k[REFRESHES] == len(pending):
            return STUCK
        k[TICK] = tick
        if offers:
            at = k[OFFERED] - first
            _offer(
                k, requests, slots, waiting, sizes, banks, queues, held, followers, latencies,
                block, at, tick,
            )  # fmt: skip
        if fixed[INTERVAL] and tick == k[REFRESH_AT]:
            k[REFRESH_AT] += fixed[INTERVAL]
            pending[(k[REFRESH_FIRST] + k[REFRESHES]) % len(pending)] = k[REFRESH_RANK]
            k[REFRESHES] += 1
            k[REFRESH_RANK] = (k[REFRESH_RANK] + 1) % ranks.shape[1]
        soon, refreshed, bus, turn = NEVER, -1, -1, 0
        if k[REFRESHES]:
            refreshed = pending[k[REFRESH_FIRST] % len(pending)]
        while turn < fixed[TURNS]:
            bank, place, use, due = -1, -1, 0, NEVER
            if turn == 0 and refreshed >= 0:
                bank, use, due = _refresh_command(
                    nodes, buses, rank_of, ready, free, banks, refreshed, tick
                )
                if due > tick:
                    soon, bank = due, -1
            if bank < 0:
                bank, place, use, due = _next_bank(
                    fixed, nodes, buses, rank_of, k, ready, free, requests, banks, queues,
                    refreshed, tick,
                )  # fmt: skip
                soon = min(soon, due)
            if bank < 0 or buses[use] == bus:
                break
            bus = buses[use]
            _note(
                nodes, parents, rows, starts, buses, cycles, ready, history, rings, free, counts,
                use, bank, tick,
            )  # fmt: skip
            slot = queues[bank, place] if place >= 0 else 0
            row = requests[slot, ROW] if place >= 0 else 0
            column = requests[slot, COLUMN] if place >= 0 else 0
            _trace(k, trace, tick, commands[use], bank, row, column)
            if use == OPEN:
                _toggle(rank_of, banks, ranks, bank, row, tick)
            elif use == CLOSE:
                _toggle(rank_of, banks, ranks, bank, CLOSED, tick)
                if place >= 0:
                    requests[slot, CLOSING] = 1
            elif use == REFRESH:
                k[REFRESH_FIRST] += 1
                k[REFRESHES] -= 1
                refreshed = -1
            else:
                _serve(
                    fixed, k, requests, slots, sizes, banks, queues, held, followers, latencies,
                    bank, place, tick,
                )  # fmt: skip
            banks[DUE, bank] = 0 if banks[SIZE, bank] else NEVER
            turn += 1
        moved = _move_on(fixed, k, requests, waiting, sizes, banks, queues, held)
        k[NEXT] = tick + 1 if moved or turn else soon
