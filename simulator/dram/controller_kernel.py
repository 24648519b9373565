"""The controller of one channel as compiled code: which command at which tick.

Ramulator 2.1's FR-FCFS (CMU-SAFARI/ramulator2 @c5b1c3a), by these rules:

1. In each tick from 1 one request is offered, in order, until its queue has room; then a command is
   issued, or a column command and then a row command where these have buses of their own.
2. Requests whose activation was issued are served first, the oldest that is ready.
3. Else refreshes that are due, in order, each with the precharge that it needs, when none of its
   banks has an active request; while one waits, nothing is served but what is active. Due are all
   ranks once an interval, or bank by bank the next bank of each instance of a level.
4. Else reads or writes, the oldest that is ready. Writes begin when there are more than the high
   mark or no reads, and end when there are fewer than the low mark and there are reads.
5. No bank is precharged for a request that waits while one of its requests is active.
6. A read of what a queued write holds is served from there.
7. Closed page: in a tick in which nothing else goes on the bus, nor a refresh waits, the bank is
   precharged that may be first of those whose open row no request wants, queued or active.

Rule 7 is not Ramulator's, whose closed page is a cap: it precharges after 4 column commands, wanted
or not, and holds up all queues for it.

All requests of a bank that need the same command become ready at once, so only the oldest of them
stands for them (`keys`); the ticks that allow a command are kept by bank (`ready`). Ticks at which
nothing can happen are skipped, and so are commands that nobody can take yet (`wait`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
#: Rows of a bank that has none open, and whose activation is half done.
CLOSED, HALF_OPEN = -1, -2
#: Lists of requests: reads and writes that wait, and those whose row was opened for them.
READS, WRITES, ACTIVE = range(3)
#: Commands by what the controller uses them for; requests need one of the first five, reads and
#: writes after a start of the data clock where it does not run.
OPEN_FIRST, OPEN, CLOSE, READ, WRITE, SYNC_READ, SYNC_WRITE, CLOSE_ALL, REFRESH = range(9)
USES, NEEDS = 9, 5
#: Of each request. `REQUEST`: its number; `SEEN`: whether a command was issued for it; `FOLLOWER`:
#: the next younger one of its bank in its list, -1 for none.
BANK, ROW, COLUMN, IS_WRITE, REQUEST, ARRIVAL, SEEN, FOLLOWER = range(8)
#: A key is the number of a request and its place, so that the least is that of the oldest.
SLOT_BITS = 16
SLOT_MASK = (1 << SLOT_BITS) - 1
#: Of each bank: its open row, its active requests, of a half activation the row and the tick; of
#: the first of a rank or pseudo-channel, how many of its banks have a row open.
OPENED, BUSY, HALF_ROW, HALF_SINCE, OPEN_BANKS = range(5)
BANK_FIELDS = 5
#: Of each row of the table. `SPAN`: banks of an instance; `AROUND`: of its parent if the row is of
#: siblings, else 0. `WINDOW` 1 is none.
LEVEL, AFTER, SPAN, AROUND, TICKS, WINDOW, WINDOW_TICKS = range(7)
#: What a standard and settings fix; marks of writes are numbers of requests.
(
    QUEUE, HIGH, LOW, TWO_BUSES, IN_ORDER, READ_LATENCY, INTERVAL, READ_SYNC, WRITE_SYNC,
    OPEN_WITHIN, RANK_LEVEL, REFRESHED_BANKS, REFRESHED_AT_ONCE, CLOSED_PAGE,
) = range(14)  # fmt: skip
#: The scalars of a channel's state. `FREE`: places for requests that are free; `CLOCK_UNTIL`: when
#: the data clock stops; `NOT_BEFORE`: the first tick at which a request may be offered, by the
#: caller; `ACTIVE_TICKS`: see `_count_open`; `REFRESH_NEXT`: which of the scopes is due next;
#: `STOP_AT`: when to stop before the next refresh, if then a multiple of `PERIOD` is offered.
(
    TICK, NEXT, OFFERED, DONE, LAST, WRITING, REFRESH_AT, REFRESH_FIRST, REFRESHES,
    HITS, MISSES, CONFLICTS, LATENCY_SUM, LATENCY_MOST, READS_DONE, LAST_READ, TRACED,
    FREE, CLOCK_UNTIL, NOT_BEFORE, ACTIVE_TICKS, REFRESH_NEXT, STOP_AT, PERIOD,
) = range(24)  # fmt: skip
SCALARS = 24
#: Ticks of latency that are counted apart.
LATENCIES = 1 << 14
#: Whether requests are done, more have to be offered (stopped at `STOP_AT`, of the same block), the
#: trace is full, or nothing can move.
FINISHED, MORE, FULL, STUCK = range(4)
#: Which commands a turn may issue.
ROWS, COLUMNS, ALL = range(3)


class Machine(NamedTuple):
    """A channel for the kernel: what its standard and settings fix.

    fixed: by QUEUE and so on. nodes: of each bank and level, the first bank of the instance. rows:
    of the commands used, by the use before, with fields LEVEL and so on; starts: where those of a
    use start. commands: by use, -1 where the standard has none. scopes: the first banks of what
    is refreshed, in turn.
    """

    fixed: Ints
    nodes: Ints
    rows: Ints
    starts: Ints
    commands: Ints
    scopes: Ints


class State(NamedTuple):
    """A channel in the middle of a stream: arrays that the kernel changes.

    k: scalars, by TICK and so on. floor: by use, the tick that allows it by rows that hold for
    all banks; ready: by use and bank, by the others. history, rings:
    issue times of rows with windows, and where the next goes, by the first bank. banks: by field.
    ends: first and last request of each list and bank. sizes: of the lists. keys: the oldest
    request of each list that needs a command of a bank, NEVER for none; wait: by list and need, a
    tick before which no bank can take it. requests: by place, with fields BANK and so on; free: the
    places that are free, a stack. pending: scopes to be refreshed. counts: by use. latencies: of
    reads, a histogram.
    """

    k: Ints
    floor: Ints
    ready: Ints
    history: Ints
    rings: Ints
    banks: Ints
    ends: Ints
    sizes: Ints
    keys: Ints
    wait: Ints
    requests: Ints
    free: Ints
    pending: Ints
    counts: Ints
    latencies: Ints


@inlined
def _oldest_of(
    ready: Ints, keys: Ints, which: int, need: int, use: int, tick: int
) -> tuple[int, int, int]:
    """Return (least key of a bank that is ready, how many are, tick at which another one is)."""
    best, many, soon = NEVER, 0, NEVER
    # Without branches: this loop becomes vector code.
    for bank in range(keys.shape[2]):
        key, at = keys[which, need, bank], ready[use, bank]
        best = min(best, key if at <= tick else NEVER)
        many += (at <= tick) & (key < NEVER)
        soon = min(soon, at if (at > tick) & (key < NEVER) else NEVER)
    return best, many, soon


@inlined
def _first_ready(
    floor: Ints, ready: Ints, keys: Ints, wait: Ints, which: int, tick: int, bus: int,
    clock_until: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (key, use) of the oldest request of a list that is ready, and when one may be.

    It will be served. clock_until: NEVER where there is no data clock. Of nothing ready the key is
    NEVER.
    """
    best, best_need, best_use, after, soon = NEVER, 0, 0, 0, NEVER
    first, end = (READ if bus == COLUMNS else 0), (READ if bus == ROWS else NEEDS)
    for need in range(first, end):
        if wait[which, need] > tick:
            soon = min(soon, wait[which, need])
            continue
        use, stops = need, NEVER
        if need >= READ:
            use, stops = _with_clock(need, tick, clock_until)
        if floor[use] > tick:
            soon = min(soon, floor[use], stops)
            continue
        key, many, near = _oldest_of(ready, keys, which, need, use, tick)
        near = min(near, stops) if near < NEVER else NEVER
        if key < best:
            best, best_need, best_use = key, need, use
            after = near if many == 1 else 0
        if key == NEVER:
            wait[which, need] = near
        soon = min(soon, near)
    if best < NEVER:
        wait[which, best_need] = after
    return best, best_use, soon


@inlined
def _with_clock(need: int, tick: int, clock_until: int) -> tuple[int, int]:
    """Return the use for a read or write, and the tick at which it is another one."""
    if clock_until <= tick:
        return need + SYNC_READ - READ, NEVER
    return need, clock_until


@inlined
def _head_ready(
    floor: Ints, ready: Ints, keys: Ints, ends: Ints, requests: Ints, which: int, tick: int,
    bus: int, clock_until: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return what `_first_ready` does where only the oldest request of a list may be served."""
    oldest = NEVER
    for bank in range(ends.shape[2]):
        slot = ends[0, which, bank]
        if slot >= 0:
            oldest = min(oldest, requests[slot, REQUEST] << SLOT_BITS | slot)
    if oldest == NEVER:
        return NEVER, 0, NEVER
    bank = requests[oldest & SLOT_MASK, BANK]
    for need in range(NEEDS):
        if keys[which, need, bank] == oldest:
            use, stops = need, NEVER
            if need >= READ:
                use, stops = _with_clock(need, tick, clock_until)
            due = max(floor[use], ready[use, bank])
            if due > tick:
                return NEVER, 0, min(due, stops)
            if bus == ALL or (use >= READ) == (bus == COLUMNS):
                return oldest, use, NEVER
            return NEVER, 0, tick + 1
    return NEVER, 0, NEVER


@inlined
def _overdue(
    fixed: Ints, banks: Ints, ends: Ints, requests: Ints, tick: int
) -> tuple[int, int, int]:
    """Return (list, key) of the request whose activation has to be ended now, and when else.

    The key is NEVER where there is none; the tick is the next at which there will be one.
    """
    soon = NEVER
    for bank in range(banks.shape[1]):
        if banks[OPENED, bank] == HALF_OPEN:
            due = banks[HALF_SINCE, bank] + fixed[OPEN_WITHIN] - 1
            if due > tick:
                soon = min(soon, due)
                continue
            for which in range(ACTIVE):
                slot = ends[0, which, bank]
                while slot >= 0 and requests[slot, ROW] != banks[HALF_ROW, bank]:
                    slot = requests[slot, FOLLOWER]
                if slot >= 0:
                    return which, requests[slot, REQUEST] << SLOT_BITS | slot, tick
    return READS, NEVER, soon


@inlined
def _issue(
    nodes: Ints, rows: Ints, starts: Ints, floor: Ints, ready: Ints, history: Ints, rings: Ints,
    counts: Ints, use: int, bank: int, tick: int,
) -> None:  # fmt: skip
    """Note a command in all rows of the table that it stands before."""
    counts[use] += 1
    # Masks tell the compiler that no index is negative, else it looks at each.
    for index in range(starts[use] & SLOT_MASK, starts[use + 1]):
        level, after = rows[index, LEVEL] & SLOT_MASK, rows[index, AFTER] & SLOT_MASK
        span = rows[index, SPAN]
        first, until = nodes[bank, level] & SLOT_MASK, tick + rows[index, TICKS]
        window = rows[index, WINDOW]
        if window > 1:
            place = rings[index, first] & SLOT_MASK
            history[index, first, place] = tick
            place = place + 1 if place + 1 < window else 0
            rings[index, first] = place
            until = max(until, history[index, first, place] + rows[index, WINDOW_TICKS])
        if rows[index, AROUND]:
            start = nodes[bank, level - 1] & SLOT_MASK
            for place in range(rows[index, AROUND]):
                other = start + place
                if other < first or other >= first + span:
                    ready[after, other] = max(ready[after, other], until)
        elif span == ready.shape[1]:
            floor[after] = max(floor[after], until)
        elif span == 1:
            ready[after, bank] = max(ready[after, bank], until)
        else:
            for place in range(span):
                ready[after, first + place] = max(ready[after, first + place], until)


@inlined
def _set(
    fixed: Ints, ready: Ints, keys: Ints, wait: Ints, requests: Ints, which: int, need: int,
    bank: int, slot: int,
) -> None:  # fmt: skip
    """Let a request stand for those of its bank with the same need."""
    keys[which, need, bank] = requests[slot, REQUEST] << SLOT_BITS | slot
    at = 0 if need >= READ and fixed[READ_SYNC] else ready[need, bank]
    wait[which, need] = min(wait[which, need], at)


@inlined
def _find(
    fixed: Ints, ready: Ints, banks: Ints, ends: Ints, keys: Ints, wait: Ints, requests: Ints,
    which: int, bank: int,
) -> None:  # fmt: skip
    """Find the oldest requests of a bank in a list, by what they need."""
    slot, opened = ends[0, which, bank], banks[OPENED, bank]
    if slot < 0:
        return
    for need in range(NEEDS):
        keys[which, need, bank] = NEVER
    if opened < 0:
        need = OPEN_FIRST if opened == CLOSED and fixed[OPEN_WITHIN] else OPEN
        # The second half of an activation is of the row of the first. (Ramulator 2.0 lets any
        # request of the bank issue it: CMU-SAFARI/ramulator2 @0b89cad, LPDDR5.cpp.)
        while slot >= 0 and opened == HALF_OPEN and requests[slot, ROW] != banks[HALF_ROW, bank]:
            slot = requests[slot, FOLLOWER]
        if slot >= 0:
            _set(fixed, ready, keys, wait, requests, which, need, bank, slot)
        return
    closes = which == ACTIVE or banks[BUSY, bank] == 0
    # A queue has requests of one kind, but where it is served in order.
    enough = 3 if which == ACTIVE or fixed[IN_ORDER] else 1 + closes
    while slot >= 0 and enough > 0:
        need = READ + (requests[slot, IS_WRITE] & 1) if requests[slot, ROW] == opened else CLOSE
        if (need != CLOSE or closes) and keys[which, need, bank] == NEVER:
            enough -= 1
            _set(fixed, ready, keys, wait, requests, which, need, bank, slot)
        slot = requests[slot, FOLLOWER]


@inlined
def _find_after(
    fixed: Ints,
    ready: Ints,
    keys: Ints,
    wait: Ints,
    requests: Ints,
    which: int,
    bank: int,
    need: int,
    slot: int,
) -> None:
    """Find the next request of a bank and list that a column command serves, after one of them."""
    row, write = requests[slot, ROW], requests[slot, IS_WRITE]
    keys[which, need, bank] = NEVER
    slot = requests[slot, FOLLOWER]
    while slot >= 0 and (requests[slot, ROW] != row or requests[slot, IS_WRITE] != write):
        slot = requests[slot, FOLLOWER]
    if slot >= 0:
        _set(fixed, ready, keys, wait, requests, which, need, bank, slot)


@inlined
def _find_conflict(
    fixed: Ints,
    ready: Ints,
    banks: Ints,
    ends: Ints,
    keys: Ints,
    wait: Ints,
    requests: Ints,
    which: int,
    bank: int,
) -> None:
    """Find the oldest request of a bank and list that needs another row than the open one."""
    slot = ends[0, which, bank]
    while slot >= 0 and requests[slot, ROW] == banks[OPENED, bank]:
        slot = requests[slot, FOLLOWER]
    if slot >= 0:
        _set(fixed, ready, keys, wait, requests, which, CLOSE, bank, slot)


@inlined
def _take(ends: Ints, sizes: Ints, requests: Ints, which: int, bank: int, slot: int) -> None:
    """Take a request out of a list."""
    sizes[which] -= 1
    before, each = -1, ends[0, which, bank]
    while each != slot:
        before, each = each, requests[each, FOLLOWER]
    after = requests[slot, FOLLOWER]
    if before < 0:
        ends[0, which, bank] = after
    else:
        requests[before, FOLLOWER] = after
    if after < 0:
        ends[1, which, bank] = before


@inlined
def _put(ends: Ints, sizes: Ints, requests: Ints, which: int, bank: int, slot: int) -> None:
    """Put a request into a list, by age."""
    sizes[which] += 1
    before, after = ends[1, which, bank], -1
    if before >= 0 and requests[before, REQUEST] > requests[slot, REQUEST]:
        before, after = -1, ends[0, which, bank]
        while requests[after, REQUEST] < requests[slot, REQUEST]:
            before, after = after, requests[after, FOLLOWER]
    requests[slot, FOLLOWER] = after
    if before < 0:
        ends[0, which, bank] = slot
    else:
        requests[before, FOLLOWER] = slot
    if after < 0:
        ends[1, which, bank] = slot


@inlined
def _join(
    fixed: Ints, ready: Ints, banks: Ints, ends: Ints, keys: Ints, wait: Ints, requests: Ints,
    which: int, slot: int,
) -> None:  # fmt: skip
    """Let a request that was just put into a queue stand for its bank, if it is the first."""
    bank, opened = requests[slot, BANK], banks[OPENED, requests[slot, BANK]]
    if opened == HALF_OPEN and requests[slot, ROW] != banks[HALF_ROW, bank]:
        return
    if opened == CLOSED and fixed[OPEN_WITHIN]:
        need = OPEN_FIRST
    elif opened < 0:
        need = OPEN
    elif opened == requests[slot, ROW]:
        need = READ + (requests[slot, IS_WRITE] & 1)
    else:
        need = CLOSE
        if banks[BUSY, bank] > 0:
            return
    if keys[which, need, bank] == NEVER:
        _set(fixed, ready, keys, wait, requests, which, need, bank, slot)


@inlined
def _held(ends: Ints, requests: Ints, bank: int, row: int, column: int) -> bool:
    """Tell whether a queued write holds what is to be read."""
    slot = ends[0, WRITES, bank]
    while slot >= 0 and (requests[slot, ROW] != row or requests[slot, COLUMN] != column):
        slot = requests[slot, FOLLOWER]
    return bool(slot >= 0)


@inlined
def _next_refresh(floor: Ints, ready: Ints, banks: Ints, scope: int, span: int) -> tuple[int, int]:
    """Return what a refresh of some banks needs next, and when it may be issued.

    It waits for what is active or half open.
    """
    use, due = REFRESH, 0
    for bank in range(scope, scope + span):
        if banks[OPENED, bank] != CLOSED:
            use = CLOSE_ALL
        if banks[OPENED, bank] == HALF_OPEN or banks[BUSY, bank] > 0:
            due = NEVER
    return use, max(due, floor[use], ready[use, scope])


@inlined
def _unwanted(floor: Ints, ready: Ints, banks: Ints, keys: Ints) -> tuple[int, int]:
    """Return the bank that may be closed first of those whose open row no request wants, and when.

    The tick is NEVER where there is none.
    """
    best, due = 0, NEVER
    for bank in range(banks.shape[1]):
        wanted = NEVER
        for which in range(3):
            wanted = min(wanted, keys[which, READ, bank], keys[which, WRITE, bank])
        if banks[OPENED, bank] >= 0 and wanted == NEVER and ready[CLOSE, bank] < due:
            best, due = bank, ready[CLOSE, bank]
    return best, max(due, floor[CLOSE])


@inlined
def _count_open(k: Ints, banks: Ints, rank: int, change: int, tick: int) -> None:
    """Count the open banks of a rank, and the ticks from the first open one to the last closed.

    Of a rank that is still open the tick of its end is to be added.
    """
    before = banks[OPEN_BANKS, rank]
    after = before + change
    banks[OPEN_BANKS, rank] = after
    k[ACTIVE_TICKS] += ((after == 0) - (before == 0)) * tick


@inlined
def _issue_to_all(
    fixed: Ints, nodes: Ints, rows: Ints, starts: Ints, k: Ints, floor: Ints, ready: Ints,
    history: Ints, rings: Ints, banks: Ints, ends: Ints, keys: Ints, wait: Ints, requests: Ints,
    counts: Ints, use: int, scope: int, span: int, tick: int,
) -> None:  # fmt: skip
    """Issue a command that leaves some banks closed."""
    _issue(nodes, rows, starts, floor, ready, history, rings, counts, use, scope, tick)
    closed = 0
    for bank in range(scope, scope + span):
        closed += banks[OPENED, bank] >= 0
        banks[OPENED, bank] = CLOSED
        for which in range(3):
            _find(fixed, ready, banks, ends, keys, wait, requests, which, bank)
    if closed:
        _count_open(k, banks, nodes[scope, fixed[RANK_LEVEL]], -closed, tick)


@inlined
def _trace(
    trace: Ints, place: int, tick: int, command: int, bank: int, row: int, column: int
) -> None:
    """Write a command into a row of a trace."""
    trace[place, 0], trace[place, 1], trace[place, 2] = tick, command, bank
    trace[place, 3], trace[place, 4] = row, column


@compiled(counted=False)
def advance(  # noqa: C901 - one loop, so that the scalars of the state are local variables
    fixed: Ints, nodes: Ints, rows: Ints, starts: Ints, commands: Ints, scopes: Ints,
    k: Ints, floor: Ints, ready: Ints, history: Ints, rings: Ints, banks: Ints, ends: Ints,
    sizes: Ints, keys: Ints, wait: Ints, requests: Ints, free: Ints, pending: Ints, counts: Ints,
    latencies: Ints, block: Ints, last: bool, trace: Ints,
) -> int:  # fmt: skip
    """Run until the block is offered, or to the end of the stream if it is the last.

    After `Machine` and `State`, block: rows of write, bank, row, column, channel, the first of
    which is request `OFFERED`. trace: room for rows of tick, command, bank, row, column; the caller
    empties it and sets `TRACED` to 0. Returns FINISHED, MORE, FULL or STUCK.
    """
    queue, two_buses, in_order = fixed[QUEUE], fixed[TWO_BUSES], fixed[IN_ORDER]
    read_latency = fixed[READ_LATENCY]
    rank_level, span = fixed[RANK_LEVEL] & SLOT_MASK, fixed[REFRESHED_BANKS]
    tick, soonest, offered, done = k[TICK], k[NEXT], k[OFFERED], k[DONE]
    finished_at, writing, refresh_at = k[LAST], k[WRITING], k[REFRESH_AT]
    refresh_first, refreshes, last_read = k[REFRESH_FIRST], k[REFRESHES], k[LAST_READ]
    latency_sum, latency_most, reads_done = k[LATENCY_SUM], k[LATENCY_MOST], k[READS_DONE]
    traced, unused, clock_until, not_before = k[TRACED], k[FREE], k[CLOCK_UNTIL], k[NOT_BEFORE]
    tracing, room_for = trace.shape[0] > 0, trace.shape[0] - 2
    first = offered
    end = first + block.shape[0]
    while True:
        if last and done == end:
            ended = FINISHED
            break
        if not last and offered == end:
            ended = MORE
            break
        if tracing and traced > room_for:
            ended = FULL
            break
        # When: at once if a request can be taken, else when something may happen.
        at = offered - first
        takes = held = False
        write = bank = row = 0
        if offered < end and tick + 1 >= not_before:
            write, bank, row = block[at, 0] & 1, block[at, 1] & SLOT_MASK, block[at, 2]
            held = (
                write == 0 and sizes[WRITES] > 0
                and _held(ends, requests, bank, row, block[at, 3])
            )  # fmt: skip
            takes = held or sizes[0 if in_order else write] < queue
        if takes:
            tick += 1
        else:
            if tick == k[STOP_AT] and first < offered < end and offered % k[PERIOD] == 0:
                ended = MORE
                break
            later = max(tick + 1, soonest)
            later = min(later, max(tick + 1, refresh_at))
            if tick + 1 < not_before and offered < end:
                later = min(later, not_before - 1)
            if later >= NEVER:
                ended = STUCK
                break
            tick = later
        if held:
            # Reads return in order.
            last_read = max(last_read, tick + 1)
            finished_at = max(finished_at, last_read)
            latency = last_read - tick + 1
            latency_sum += latency
            latency_most = max(latency_most, latency)
            latencies[min(latency, LATENCIES - 1)] += 1
            reads_done += 1
            done += 1
            offered += 1
        elif takes:
            unused -= 1
            slot = free[unused] & SLOT_MASK
            requests[slot, BANK], requests[slot, ROW] = bank, row
            requests[slot, COLUMN], requests[slot, IS_WRITE] = block[at, 3], write
            requests[slot, REQUEST], requests[slot, ARRIVAL] = offered, tick
            requests[slot, SEEN] = 0
            which = READS if in_order else write
            _put(ends, sizes, requests, which, bank, slot)
            _join(fixed, ready, banks, ends, keys, wait, requests, which, slot)
            offered += 1
        if tick == refresh_at:
            refresh_at += fixed[INTERVAL]
            k[STOP_AT] += fixed[INTERVAL]
            for _ in range(fixed[REFRESHED_AT_ONCE]):
                pending[(refresh_first + refreshes) % len(pending)] = scopes[k[REFRESH_NEXT]]
                k[REFRESH_NEXT] = (k[REFRESH_NEXT] + 1) % len(scopes)
                refreshes += 1
        soonest = NEVER
        for turn in range(2 if two_buses else 1):
            bus = (COLUMNS if turn == 0 else ROWS) if two_buses else ALL
            which, key, use, soon = ACTIVE, NEVER, 0, NEVER
            if fixed[OPEN_WITHIN]:
                which, key, soon = _overdue(fixed, banks, ends, requests, tick)
                soonest = min(soonest, soon)
                use = OPEN
            if key == NEVER and sizes[ACTIVE]:
                which = ACTIVE
                if in_order:
                    key, use, soon = _head_ready(
                        floor, ready, keys, ends, requests, ACTIVE, tick, bus, clock_until
                    )
                else:
                    key, use, soon = _first_ready(
                        floor, ready, keys, wait, ACTIVE, tick, bus, clock_until
                    )
            # Of a command that no request asks for: its first bank, how many, and when.
            scope, reach, due = 0, span, NEVER
            if key == NEVER and refreshes:
                if bus != COLUMNS:
                    scope = pending[refresh_first % len(pending)]
                    use, due = _next_refresh(floor, ready, banks, scope, span)
            elif key == NEVER:
                which = READS
                if not in_order:
                    if not writing:
                        if sizes[WRITES] > fixed[HIGH] or sizes[READS] == 0:
                            writing = 1
                    elif sizes[WRITES] < fixed[LOW] and sizes[READS] > 0:
                        writing = 0
                    which = WRITES if writing else READS
                    key, use, near = _first_ready(
                        floor, ready, keys, wait, which, tick, bus, clock_until
                    )
                else:
                    key, use, near = _head_ready(
                        floor, ready, keys, ends, requests, READS, tick, bus, clock_until
                    )
                soon = min(soon, near)
                if key == NEVER and fixed[CLOSED_PAGE] and bus != COLUMNS:
                    (scope, due), use, reach = _unwanted(floor, ready, banks, keys), CLOSE, 1
            if key == NEVER:
                if due <= tick:
                    _issue_to_all(
                        fixed, nodes, rows, starts, k, floor, ready, history, rings, banks, ends,
                        keys, wait, requests, counts, use, scope, reach, tick,
                    )  # fmt: skip
                    if tracing:
                        _trace(trace, traced, tick, commands[use], scope, 0, 0)
                        traced += 1
                    if use == REFRESH:
                        refresh_first += 1
                        refreshes -= 1
                    due = tick + 1
                soonest = min(soonest, soon, due)
                continue
            soonest = tick + 1
            slot = key & SLOT_MASK
            # The mask tells the compiler that no index is negative.
            bank = requests[slot, BANK] & SLOT_MASK
            row, write = requests[slot, ROW], requests[slot, IS_WRITE]
            if not requests[slot, SEEN]:
                requests[slot, SEEN] = 1
                k[HITS if use >= READ else CONFLICTS if use == CLOSE else MISSES] += 1
            _issue(nodes, rows, starts, floor, ready, history, rings, counts, use, bank, tick)
            if tracing:
                _trace(trace, traced, tick, commands[use], bank, row, requests[slot, COLUMN])
                traced += 1
            if use >= READ and fixed[READ_SYNC]:
                runs = fixed[WRITE_SYNC] if write else fixed[READ_SYNC]
                clock_until = max(clock_until, tick + runs)
            if use >= SYNC_READ:
                wait[:, READ:] = 0
            elif use >= READ:
                _take(ends, sizes, requests, which, bank, slot)
                _find_after(fixed, ready, keys, wait, requests, which, bank, use, slot)
                free[unused] = slot
                unused += 1
                done += 1
                if write:
                    finished_at = max(finished_at, tick)
                else:
                    last_read = tick + read_latency
                    finished_at = max(finished_at, last_read)
                    latency = last_read - requests[slot, ARRIVAL] + 1
                    latency_sum += latency
                    latency_most = max(latency_most, latency)
                    latencies[min(latency, LATENCIES - 1)] += 1
                    reads_done += 1
                if which == ACTIVE:
                    banks[BUSY, bank] -= 1
                    if banks[BUSY, bank] == 0:
                        _find_conflict(fixed, ready, banks, ends, keys, wait, requests, READS, bank)
                        _find_conflict(
                            fixed, ready, banks, ends, keys, wait, requests, WRITES, bank
                        )
            else:
                change = 0
                if use == OPEN:
                    banks[OPENED, bank] = row
                    change = 1
                    if which != ACTIVE:
                        keys[which, OPEN, bank] = NEVER
                        _take(ends, sizes, requests, which, bank, slot)
                        _put(ends, sizes, requests, ACTIVE, bank, slot)
                        banks[BUSY, bank] += 1
                elif use == OPEN_FIRST:
                    banks[OPENED, bank] = HALF_OPEN
                    banks[HALF_ROW, bank], banks[HALF_SINCE, bank] = row, tick
                else:
                    banks[OPENED, bank] = CLOSED
                    change = -1
                _count_open(k, banks, nodes[bank, rank_level] & SLOT_MASK, change, tick)
                for each in range(3):
                    _find(fixed, ready, banks, ends, keys, wait, requests, each, bank)
    k[TICK], k[NEXT], k[OFFERED], k[DONE] = tick, soonest, offered, done
    k[LAST], k[WRITING], k[REFRESH_AT] = finished_at, writing, refresh_at
    k[REFRESH_FIRST], k[REFRESHES], k[LAST_READ] = refresh_first, refreshes, last_read
    k[LATENCY_SUM], k[LATENCY_MOST], k[READS_DONE] = latency_sum, latency_most, reads_done
    k[TRACED], k[FREE], k[CLOCK_UNTIL] = traced, unused, clock_until
    return ended
