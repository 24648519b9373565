"""One of AttAcc's channels as compiled code: which command at which tick.

The behaviour of scale-snu/attacc_simulator (its Ramulator 2 with hbm3_pim_controller.cpp,
pim_scheduler.cpp, all_bank_refresh_hbm3.cpp @c1540de) as its recorded cycles show it, by these
rules; timing is in the rows of the table alone:

1. The queue is filled before every tick, as far as there is room; barriers take room too.
2. One command a tick, of rows or of columns.
3. A barrier at the head of the queue leaves it, at no cost.
4. The first request whose next command may go is served: that of a multiplication is an activation
   if its bank has no row open, and a precharge if another; all others are moves.
5. Past a barrier nothing goes, or, with `ROWS_PASS`, activations and precharges do.
6. A move or a precharge that is not at the head waits while any queued multiplication is of the row
   that its bank has open.
7. Refreshes of all pseudo-channels fall due together. While one is waiting nothing else is issued:
   all banks are closed, then one after the other is refreshed. What waits for none of it goes on in
   between, so moves do while rows cannot be opened.

The released controller can issue a second command in a tick; the records are without it. Ticks at
which nothing can happen are skipped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
#: The row of a bank that has none open.
CLOSED = -1
#: The command of a barrier, which is none.
BARRIER = -1
#: Columns of a run: `COUNT` requests alike, whose place in the banks counts from `FIRST` in the
#: digits of `ORDER`, from row `FIRST_ROW`, on as many channels as `HEADS`.
COMMAND, COUNT, FIRST, FIRST_ROW, ORDER, HEADS = range(6)
#: Of a digit of an order, fastest first: how many there are, and banks from one to the next.
SIZE, BANKS = range(2)
#: Rows of the queue; its first is `COMMAND`.
BANK, ROW, CHANNELS = range(1, 4)
#: Columns of the rows of the table.
LEVEL, AFTER, TICKS = range(3)
#: What a part fixes: commands; refreshes of an interval, and banks from one to the next.
(
    OPENER, CLOSER, MULTIPLIER, ALL_CLOSER, REFRESHER,
    INTERVAL, REFRESHES, REFRESH_BANKS, ROWS_PASS,
) = range(9)  # fmt: skip
#: Scalars. `LAST`: tick of the last command. `RUN`, `WITHIN`: the request that is next. `QUEUED`:
#: requests in the queue. `WAITING`: refreshes that are due. `OPEN`: banks with a row. `SHARED`:
#: channels that the last activation was on.
TICK, LAST, RUN, WITHIN, QUEUED, WAITING, REFRESH_AT, OPEN, SHARED, TRACED = range(10)
SCALARS = 10
#: Columns of a trace: tick, command, bank, row.
TRACE_FIELDS = 4


class Machine(NamedTuple):
    """What a part and a level of its units fix for a channel.

    fixed: by OPENER and so on. nodes: (banks, levels), the instance of each level in one array of
    all, the channel first. rows: of the table, by the command before; starts: where those of a
    command start. scopes: the level down to which rows hold a command back.
    """

    fixed: Ints
    nodes: Ints
    rows: Ints
    starts: Ints
    scopes: Ints


class State(NamedTuple):
    """A channel in the middle of a program.

    k: scalars, by TICK and so on. ready: (commands, nodes), the tick that allows a command. opened:
    the row of each bank. queue: (4, entries). counts: commands, on all channels.
    """

    k: Ints
    ready: Ints
    opened: Ints
    queue: Ints
    counts: Ints


@inlined
def _earliest(machine: Machine, state: State, command: int, bank: int, now: int) -> int:
    """Return the first tick from now on that the rows allow to a command."""
    tick = now
    for level in range(machine.scopes[command] + 1):
        tick = max(tick, state.ready[command, machine.nodes[bank, level]])
    return tick


@inlined
def _issue(
    machine: Machine, state: State, command: int, bank: int, row: int, channels: int, trace: Ints
) -> None:
    """Issue a command at this tick: put it into all rows of the table that it stands before."""
    k = state.k
    tick = k[TICK]
    for i in range(machine.starts[command], machine.starts[command + 1]):
        node, after = machine.nodes[bank, machine.rows[i, LEVEL]], machine.rows[i, AFTER]
        allowed = tick + machine.rows[i, TICKS]
        state.ready[after, node] = max(state.ready[after, node], allowed)
    state.counts[command] += channels
    k[LAST] = tick
    if len(trace):
        line = k[TRACED]
        trace[line, 0], trace[line, 1], trace[line, 2], trace[line, 3] = tick, command, bank, row
        k[TRACED] += 1


@inlined
def _fill(state: State, runs: Ints, orders: Ints) -> None:
    """Take requests from the runs into the queue, as far as there is room."""
    k, queue = state.k, state.queue
    while k[QUEUED] < queue.shape[1] and k[RUN] < len(runs):
        run, at = k[RUN], k[QUEUED]
        index, bank, order = runs[run, FIRST] + k[WITHIN], 0, runs[run, ORDER]
        for digit in range(orders.shape[1]):
            size = orders[order, digit, SIZE]
            if size > 1:
                bank += index % size * orders[order, digit, BANKS]
                index //= size
        queue[COMMAND, at], queue[BANK, at] = runs[run, COMMAND], bank
        queue[ROW, at], queue[CHANNELS, at] = runs[run, FIRST_ROW] + index, runs[run, HEADS]
        k[QUEUED] += 1
        k[WITHIN] += 1
        if k[WITHIN] == runs[run, COUNT]:
            k[RUN] += 1
            k[WITHIN] = 0


@inlined
def _remove(state: State, place: int) -> None:
    """Take a request out of the queue."""
    k, queue = state.k, state.queue
    k[QUEUED] -= 1
    for field in range(queue.shape[0]):
        for i in range(place, k[QUEUED]):
            queue[field, i] = queue[field, i + 1]


@inlined
def _is_hit(machine: Machine, state: State, place: int) -> bool:
    """Tell whether a request is a multiplication of the row that its bank has open."""
    queue = state.queue
    multiplies = queue[COMMAND, place] == machine.fixed[MULTIPLIER]
    return bool(multiplies and state.opened[queue[BANK, place]] == queue[ROW, place])


@inlined
def _needed(machine: Machine, state: State, place: int) -> int:
    """Return the next command on the way to a request."""
    fixed, command = machine.fixed, state.queue[COMMAND, place]
    if command != fixed[MULTIPLIER] or _is_hit(machine, state, place):
        return int(command)
    closed = state.opened[state.queue[BANK, place]] == CLOSED
    return int(fixed[OPENER] if closed else fixed[CLOSER])


@inlined
def _waits_for_hits(machine: Machine, state: State, place: int, command: int) -> bool:
    """Tell whether rule 6 keeps a request back, of which `command` is next."""
    if place == 0 or command == machine.fixed[MULTIPLIER]:
        return False
    for other in range(state.k[QUEUED]):
        same = state.queue[BANK, other] == state.queue[BANK, place]
        if same and _is_hit(machine, state, other):
            return True
    return False


@inlined
def _choose(machine: Machine, state: State) -> tuple[int, int, int]:
    """Return what goes next if the queue stays as it is: place, command, tick."""
    fixed, k, queue = machine.fixed, state.k, state.queue
    chosen, issued, best = 0, BARRIER, NEVER
    fenced = False
    for place in range(k[QUEUED]):
        if queue[COMMAND, place] == BARRIER:
            if not fixed[ROWS_PASS]:
                break
            fenced = True
            continue
        command = _needed(machine, state, place)
        if fenced and command == queue[COMMAND, place]:
            continue
        tick = _earliest(machine, state, command, queue[BANK, place], k[TICK])
        if tick < best and not _waits_for_hits(machine, state, place, command):
            chosen, issued, best = place, command, tick
            if best == k[TICK]:
                break
    return chosen, issued, best


@inlined
def _serve(machine: Machine, state: State, place: int, command: int, trace: Ints) -> None:
    """Issue the next command on the way to a request, which leaves the queue if it is its own."""
    k, fixed, queue = state.k, machine.fixed, state.queue
    bank, row, channels = queue[BANK, place], queue[ROW, place], queue[CHANNELS, place]
    _issue(machine, state, command, bank, row, channels, trace)
    if command == fixed[OPENER]:
        state.opened[bank] = row
        k[OPEN] += 1
        k[SHARED] = channels
    elif command == fixed[CLOSER]:
        state.opened[bank] = CLOSED
        k[OPEN] -= 1
    else:
        _remove(state, place)


@inlined
def _refresh(machine: Machine, state: State, channels: int, trace: Ints) -> None:
    """Issue the next command on the way to the first refresh that waits."""
    k, fixed = state.k, machine.fixed
    command, bank = fixed[ALL_CLOSER], 0
    if not k[OPEN]:
        command, bank = fixed[REFRESHER], -k[WAITING] % fixed[REFRESHES] * fixed[REFRESH_BANKS]
    k[TICK] = _earliest(machine, state, command, bank, k[TICK])
    if k[OPEN]:
        _issue(machine, state, command, bank, 0, k[SHARED], trace)
        state.opened[:] = CLOSED
        k[OPEN] = 0
    else:
        _issue(machine, state, command, bank, 0, channels, trace)
        k[WAITING] -= 1


@compiled(counted=False)
def advance(
    machine: Machine, state: State, runs: Ints, orders: Ints, channels: int, trace: Ints
) -> bool:
    """Serve runs until they are done, or the trace is full; tell whether done.

    orders: (orders, digits, 2). channels: all that are refreshed. trace: room for commands, or
    none; the caller empties it and sets `TRACED` to 0.
    """
    k, fixed = state.k, machine.fixed
    while len(trace) == 0 or k[TRACED] < len(trace):
        _fill(state, runs, orders)
        if k[QUEUED] == 0 and k[WAITING] == 0:
            return True
        k[TICK] += 1
        while k[TICK] >= k[REFRESH_AT]:
            k[WAITING] += fixed[REFRESHES]
            k[REFRESH_AT] += fixed[INTERVAL]
        if k[WAITING]:
            _refresh(machine, state, channels, trace)
            continue
        until = k[REFRESH_AT] - 1
        if state.queue[COMMAND, 0] == BARRIER:
            _remove(state, 0)
            # Its room is filled before the next tick.
            until = k[TICK]
        place, command, tick = _choose(machine, state)
        k[TICK] = min(tick, until)
        if tick <= until:
            _serve(machine, state, place, command, trace)
    return False
