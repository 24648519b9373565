"""The controller of one channel as compiled code: which command at which tick.

Ramulator 2.1's FR-FCFS (CMU-SAFARI/ramulator2 @c5b1c3a), by these rules:

1. In each tick from 1 one request is offered, in order, until its queue has room; then a command is
   issued, or a column command and then a row command where these have buses of their own.
2. Requests whose activation was issued are served first, the oldest that is ready.
3. Else refreshes that are due, in order, each with the precharge that it needs; while one waits,
   nothing is served but what is active.
4. Else reads or writes, the oldest that is ready. Writes begin when there are more than the high
   mark or no reads, and end when there are fewer than the low mark and there are reads.
5. No bank is precharged for a request that waits while one of its requests is active.
6. A read of what a queued write holds is served from there.

A request keeps the earliest tick at which it may be served (`due`), which only grows until a bank's
row changes; ticks at which nothing can happen are skipped.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Ints = NDArray[np.int64]
#: Calls cost as much as what they do.
inlined = register_jitable(forceinline=True)
NEVER = 1 << 60
#: Rows of a bank that has none open, and whose activation is half done.
CLOSED, HALF_OPEN = -1, -2
#: Lists of requests: reads and writes that wait, and those whose row was opened for them.
READS, WRITES, ACTIVE = range(3)
#: Of each request in a list; `DUE`: the earliest tick at which it may be served.
DUE, BANK, ROW, REQUEST, IS_WRITE = range(5)
#: Of each request by its number, modulo SLOTS; `SEEN`: whether a command was issued for it.
COLUMN, ARRIVAL, SEEN = range(3)
#: Of each bank: its open row, its active requests, until when its data clock runs, its refresh,
#: and of a half activation the row and the tick.
OPENED, BUSY, SYNCED, SCOPE, HALF_ROW, HALF_SINCE = range(6)
#: Of each row of the table.
LEVEL, AFTER, WINDOW, TICKS, SIBLING = range(5)
#: Commands by what the controller uses them for; -1 where the standard has none.
OPEN_FIRST, OPEN, CLOSE, CLOSE_ALL, REFRESH, READ, WRITE, SYNC_READ, SYNC_WRITE = range(9)
#: What a standard and settings fix; marks of writes are numbers of requests.
(
    QUEUE, HIGH, LOW, TWO_BUSES, IN_ORDER, READ_LATENCY, INTERVAL, READ_SYNC, WRITE_SYNC,
    OPEN_WITHIN,
) = range(10)  # fmt: skip
#: The scalars of a channel's state.
(
    TICK, NEXT, OFFERED, DONE, LAST, WRITING, REFRESH_AT, REFRESH_FIRST, REFRESHES,
    HITS, MISSES, CONFLICTS, LATENCY_SUM, LATENCY_MOST, READS_DONE, LAST_READ, TRACED,
) = range(17)  # fmt: skip
SCALARS = 17
#: Requests that a channel can know at a time, a power of two: queues, and what is active.
SLOTS = 512
SLOT_MASK = SLOTS - 1
#: Ticks of latency that are counted apart.
LATENCIES = 1 << 14
#: Whether requests are done, more have to be offered, the trace is full, or nothing can move.
FINISHED, MORE, FULL, STUCK = range(4)


class Machine(NamedTuple):
    """A channel for the kernel: what its standard and settings fix.

    fixed: by QUEUE and so on. nodes: of each bank, its instance at each level (all instances in one
    array). parents: of each instance, that of the level above. rows: of the commands used, by the
    command before, with fields LEVEL and so on; starts: where those of a command start. commands:
    by use. scopes: the instances that are refreshed.
    """

    fixed: Ints
    nodes: Ints
    parents: Ints
    rows: Ints
    starts: Ints
    commands: Ints
    scopes: Ints


class State(NamedTuple):
    """A channel in the middle of a stream: arrays that the kernel changes.

    k: scalars, by TICK and so on. ready: by command and instance, the tick that allows it.
    history, rings: issue times of rows with windows, and where the next goes. banks, lists,
    requests: by field; lists are oldest first, sizes long. pending: scopes to be refreshed. counts:
    by command. latencies: of reads, a histogram.
    """

    k: Ints
    ready: Ints
    history: Ints
    rings: Ints
    banks: Ints
    lists: Ints
    sizes: Ints
    requests: Ints
    pending: Ints
    counts: Ints
    latencies: Ints


@inlined
def _first_ready(  # noqa: C901 - a call for each request would cost more than the rest
    fixed: Ints, nodes: Ints, commands: Ints, ready: Ints, banks: Ints, lists: Ints, sizes: Ints,
    which: int, tick: int, bus: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (place, use) of the first request of a list that is ready, and when one may be.

    bus: 0 for rows, 1 for columns, 2 for either. Of nothing ready the place is -1.
    """
    soon = NEVER
    synced, opener = fixed[READ_SYNC], OPEN if commands[OPEN_FIRST] < 0 else OPEN_FIRST
    looked_at = min(sizes[which], 1) if fixed[IN_ORDER] else sizes[which]
    for place in range(looked_at):
        due = lists[DUE, which, place]
        if due > tick:
            soon = min(soon, due)
            continue
        bank = lists[BANK, which, place]
        opened = banks[OPENED, bank]
        if opened == lists[ROW, which, place]:
            use = READ + lists[IS_WRITE, which, place]
            if synced and banks[SYNCED, bank] <= tick:
                use += SYNC_READ - READ
        elif opened == CLOSED:
            use = opener
        elif opened == HALF_OPEN:
            use = OPEN
        elif which != ACTIVE and banks[BUSY, bank] > 0:
            lists[DUE, which, place] = NEVER
            continue
        else:
            use = CLOSE
        due, command = 0, commands[use]
        for level in range(nodes.shape[1]):
            due = max(due, ready[command, nodes[bank, level]])
        if due > tick:
            if synced and READ <= use <= WRITE:
                due = min(due, banks[SYNCED, bank])
            lists[DUE, which, place] = due
            soon = min(soon, due)
        elif bus == 2 or (use >= READ) == (bus == 1):
            return place, use, soon
        else:
            soon = tick + 1
    return -1, 0, soon


@inlined
def _overdue(fixed: Ints, banks: Ints, lists: Ints, sizes: Ints, tick: int) -> tuple[int, int, int]:
    """Return (list, place) of the request whose activation has to be ended now, and when else.

    The place is -1 where there is none; the tick is the next at which there will be one.
    """
    soon = NEVER
    for bank in range(banks.shape[1]):
        if banks[OPENED, bank] == HALF_OPEN:
            due = banks[HALF_SINCE, bank] + fixed[OPEN_WITHIN] - 1
            if due > tick:
                soon = min(soon, due)
                continue
            for which in range(ACTIVE):
                for place in range(sizes[which]):
                    same_row = lists[ROW, which, place] == banks[HALF_ROW, bank]
                    if lists[BANK, which, place] == bank and same_row:
                        return which, place, tick
    return READS, -1, soon


@inlined
def _issue(
    nodes: Ints, parents: Ints, rows: Ints, starts: Ints, ready: Ints, history: Ints, rings: Ints,
    counts: Ints, command: int, bank: int, tick: int,
) -> None:  # fmt: skip
    """Note a command in all rows of the table that it stands before."""
    counts[command] += 1
    for index in range(starts[command], starts[command + 1]):
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
def _drop(lists: Ints, sizes: Ints, which: int, place: int) -> None:
    """Take a request out of a list."""
    sizes[which] -= 1
    for field in range(lists.shape[0]):
        for index in range(place, sizes[which]):
            lists[field, which, index] = lists[field, which, index + 1]


@inlined
def _put(
    lists: Ints, sizes: Ints, which: int, bank: int, row: int, request: int, write: int
) -> None:
    """Put a request into a list, by age."""
    place = sizes[which]
    sizes[which] = place + 1
    while place > 0 and lists[REQUEST, which, place - 1] > request:
        for field in range(lists.shape[0]):
            lists[field, which, place] = lists[field, which, place - 1]
        place -= 1
    lists[DUE, which, place], lists[BANK, which, place], lists[ROW, which, place] = 0, bank, row
    lists[REQUEST, which, place], lists[IS_WRITE, which, place] = request, write


@inlined
def _wake(lists: Ints, sizes: Ints, bank: int, count: int) -> None:
    """Let requests of a bank, or of all if it is -1, be looked at again, in `count` lists."""
    for which in range(count):
        for place in range(sizes[which]):
            if bank < 0 or lists[BANK, which, place] == bank:
                lists[DUE, which, place] = 0


@inlined
def _done(k: Ints, requests: Ints, latencies: Ints, request: int, write: int, tick: int) -> None:
    """Book a request that is done at a tick."""
    k[DONE] += 1
    k[LAST] = max(k[LAST], tick)
    if not write:
        latency = tick - requests[ARRIVAL, request & SLOT_MASK] + 1
        k[READS_DONE] += 1
        k[LAST_READ] = tick
        k[LATENCY_SUM] += latency
        k[LATENCY_MOST] = max(k[LATENCY_MOST], latency)
        latencies[min(latency, LATENCIES - 1)] += 1


@inlined
def _trace(k: Ints, trace: Ints, tick: int, command: int, bank: int, row: int, column: int) -> None:
    """Note a command, if a trace is kept."""
    if trace.shape[0]:
        place = k[TRACED]
        trace[place, 0], trace[place, 1], trace[place, 2] = tick, command, bank
        trace[place, 3], trace[place, 4] = row, column
        k[TRACED] = place + 1


@inlined
def _offer(
    fixed: Ints, k: Ints, lists: Ints, sizes: Ints, requests: Ints, latencies: Ints, block: Ints,
    index: int, tick: int,
) -> None:  # fmt: skip
    """Take a request of the block, if its queue has room, or serve it from a queued write."""
    write, bank, row, column = block[index, 0], block[index, 1], block[index, 2], block[index, 3]
    request, held = k[OFFERED], False
    slot = request & SLOT_MASK
    if not write:
        for place in range(sizes[WRITES]):
            if lists[BANK, WRITES, place] == bank and lists[ROW, WRITES, place] == row:
                other = lists[REQUEST, WRITES, place] & SLOT_MASK
                held = held or requests[COLUMN, other] == column
    which = READS if fixed[IN_ORDER] else write
    if held or sizes[which] < fixed[QUEUE]:
        requests[COLUMN, slot], requests[ARRIVAL, slot], requests[SEEN, slot] = column, tick, 0
        k[OFFERED] += 1
        if held:
            # Reads return in order.
            finished = max(k[LAST_READ], tick + 1)
            _done(k, requests, latencies, request, write, finished)
        else:
            _put(lists, sizes, which, bank, row, request, write)


@inlined
def _due_refresh(
    nodes: Ints, commands: Ints, ready: Ints, banks: Ints, scope: int
) -> tuple[int, int, int]:
    """Return (use, a bank, tick) of what a refresh of a scope needs next."""
    use, bank = REFRESH, -1
    for other in range(banks.shape[1]):
        if banks[SCOPE, other] == scope:
            bank = other if bank < 0 else bank
            if banks[OPENED, other] != CLOSED:
                use = CLOSE_ALL
    earliest = 0
    for level in range(nodes.shape[1]):
        # Levels inside of the scope, whose instances come later, have no say.
        if nodes[bank, level] <= scope:
            earliest = max(earliest, ready[commands[use], nodes[bank, level]])
    return use, bank, earliest


@inlined
def _first_use(k: Ints, use: int) -> None:
    """Count a request by the first command that it needs."""
    if use >= READ:
        k[HITS] += 1
    elif use == CLOSE:
        k[CONFLICTS] += 1
    else:
        k[MISSES] += 1


@inlined
def _run_clock(fixed: Ints, banks: Ints, write: int, tick: int) -> None:
    """Let the data clock run on after a column or a clock command."""
    runs = fixed[WRITE_SYNC] if write else fixed[READ_SYNC]
    for bank in range(banks.shape[1]):
        banks[SYNCED, bank] = max(banks[SYNCED, bank], tick + runs)


@inlined
def _follow(
    fixed: Ints, k: Ints, banks: Ints, lists: Ints, sizes: Ints, requests: Ints, latencies: Ints,
    which: int, place: int, use: int, tick: int,
) -> None:  # fmt: skip
    """Change the channel by a command that was issued for a request."""
    bank, row = lists[BANK, which, place], lists[ROW, which, place]
    request, write = lists[REQUEST, which, place], lists[IS_WRITE, which, place]
    if use in (READ, WRITE):
        if fixed[READ_SYNC]:
            _run_clock(fixed, banks, write, tick)
        _drop(lists, sizes, which, place)
        _done(k, requests, latencies, request, write, tick + (0 if write else fixed[READ_LATENCY]))
        if which == ACTIVE:
            banks[BUSY, bank] -= 1
            if banks[BUSY, bank] == 0:
                _wake(lists, sizes, bank, 2)
        return
    if use >= SYNC_READ:
        _run_clock(fixed, banks, write, tick)
        _wake(lists, sizes, -1, 3)
        return
    if use == OPEN:
        banks[OPENED, bank] = row
        if which != ACTIVE:
            _drop(lists, sizes, which, place)
            _put(lists, sizes, ACTIVE, bank, row, request, write)
            banks[BUSY, bank] += 1
    elif use == OPEN_FIRST:
        banks[OPENED, bank] = HALF_OPEN
        banks[HALF_ROW, bank], banks[HALF_SINCE, bank] = row, tick
    else:
        banks[OPENED, bank] = CLOSED
    _wake(lists, sizes, bank, 3)


@inlined
def _writing(fixed: Ints, k: Ints, sizes: Ints) -> int:
    """Return the list that is served, after writing began or ended."""
    if fixed[IN_ORDER]:
        return READS
    if not k[WRITING]:
        if sizes[WRITES] > fixed[HIGH] or sizes[READS] == 0:
            k[WRITING] = 1
    elif sizes[WRITES] < fixed[LOW] and sizes[READS] > 0:
        k[WRITING] = 0
    return WRITES if k[WRITING] else READS


@inlined
def _next_tick(fixed: Ints, k: Ints, sizes: Ints, offered: bool, write: int) -> int:
    """Return the next tick at which something may happen."""
    tick: int = k[TICK] + 1
    if not (offered and sizes[READS if fixed[IN_ORDER] else write] < fixed[QUEUE]):
        tick = max(tick, k[NEXT])
        if fixed[INTERVAL]:
            tick = min(tick, max(k[TICK] + 1, k[REFRESH_AT]))
    return tick


@compiled()
def advance(  # noqa: C901 - calls that hand on the state cost as much as what they do
    fixed: Ints, nodes: Ints, parents: Ints, rows: Ints, starts: Ints, commands: Ints,
    scopes: Ints, k: Ints, ready: Ints, history: Ints, rings: Ints, banks: Ints, lists: Ints,
    sizes: Ints, requests: Ints, pending: Ints, counts: Ints, latencies: Ints,
    block: Ints, last: bool, trace: Ints,
) -> int:  # fmt: skip
    """Run until the block is offered, or to the end of the stream if it is the last.

    After `Machine` and `State`, block: rows of write, bank, row, column, the first of which is
    request `OFFERED`. trace: room for rows of tick, command, bank, row, column; the caller empties
    it and sets `TRACED` to 0. Returns FINISHED, MORE, FULL or STUCK.
    """
    first = k[OFFERED]
    end = first + block.shape[0]
    while True:
        if last and k[DONE] == end:
            return FINISHED
        if not last and k[OFFERED] == end:
            return MORE
        if trace.shape[0] and k[TRACED] + 2 > trace.shape[0]:
            return FULL
        offers = k[OFFERED] < end
        write = block[k[OFFERED] - first, 0] if offers else 0
        tick = _next_tick(fixed, k, sizes, offers, write)
        if tick >= NEVER:
            return STUCK
        k[TICK] = tick
        if offers:
            at = k[OFFERED] - first
            _offer(fixed, k, lists, sizes, requests, latencies, block, at, tick)
        if fixed[INTERVAL] and tick == k[REFRESH_AT]:
            k[REFRESH_AT] += fixed[INTERVAL]
            for scope in scopes:
                pending[(k[REFRESH_FIRST] + k[REFRESHES]) % len(pending)] = scope
                k[REFRESHES] += 1
        k[NEXT] = NEVER
        for turn in range(2 if fixed[TWO_BUSES] else 1):
            bus = 1 - turn if fixed[TWO_BUSES] else 2
            which, place, use, soon = ACTIVE, -1, 0, NEVER
            if fixed[OPEN_WITHIN]:
                which, place, soon = _overdue(fixed, banks, lists, sizes, tick)
                k[NEXT] = min(k[NEXT], soon)
                use = OPEN
            if place < 0 and sizes[ACTIVE]:
                which = ACTIVE
                place, use, soon = _first_ready(
                    fixed, nodes, commands, ready, banks, lists, sizes, ACTIVE, tick, bus
                )
            if place < 0 and k[REFRESHES]:
                if bus != 1:
                    scope = pending[k[REFRESH_FIRST] % len(pending)]
                    use, bank, due = _due_refresh(nodes, commands, ready, banks, scope)
                    if due <= tick:
                        command = commands[use]
                        _issue(
                            nodes, parents, rows, starts, ready, history, rings, counts, command,
                            bank, tick,
                        )  # fmt: skip
                        _trace(k, trace, tick, command, bank, 0, 0)
                        if use == REFRESH:
                            k[REFRESH_FIRST] += 1
                            k[REFRESHES] -= 1
                        for other in range(banks.shape[1]):
                            if banks[SCOPE, other] == scope:
                                banks[OPENED, other] = CLOSED
                        _wake(lists, sizes, -1, 3)
                        due = tick + 1
                    soon = min(soon, due)
                k[NEXT] = min(k[NEXT], soon)
                continue
            if place < 0:
                which = _writing(fixed, k, sizes)
                place, use, near = _first_ready(
                    fixed, nodes, commands, ready, banks, lists, sizes, which, tick, bus
                )
                soon = min(soon, near)
            if place < 0:
                k[NEXT] = min(k[NEXT], soon)
                continue
            bank, request = lists[BANK, which, place], lists[REQUEST, which, place]
            slot, command = request & SLOT_MASK, commands[use]
            if not requests[SEEN, slot]:
                requests[SEEN, slot] = 1
                _first_use(k, use)
            _issue(nodes, parents, rows, starts, ready, history, rings, counts, command, bank, tick)
            row, column = lists[ROW, which, place], requests[COLUMN, slot]
            _trace(k, trace, tick, command, bank, row, column)
            _follow(fixed, k, banks, lists, sizes, requests, latencies, which, place, use, tick)
            k[NEXT] = tick + 1
