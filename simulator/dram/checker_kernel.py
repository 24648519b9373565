"""The checker's pass over a block of commands as compiled code; what it checks, `checker` says.

An instance of a level is numbered within the whole memory, outermost level first; those of an inner
level follow their parent's. A history holds, for every instance of a level, the last ticks of one
command, as many as the window of the rows that ask; it is a ring, whose next place is the oldest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.standard import (
    CLOSE,
    OPEN,
    OPEN_FIRST,
    READ_CLOSE,
    REFRESH,
    SYNC_READ,
    SYNC_WRITE,
    WRITE_CLOSE,
)
from simulator.kernels import compiled

Ints = NDArray[np.int64]

#: Columns of `Rules.commands`: role; levels of the path to what it addresses; levels of its address
#: that are used; bus; ticks on it; ticks that the data clock runs on, 0 where it does not start it.
ROLE, DEPTH, USED, BUS, CYCLES, CLOCK = range(6)
#: Columns of `Rules.rows`: row of the standard; level, Channel 0; ticks; whether of siblings; the
#: history of the command before.
ROW, LEVEL, TICKS, SIBLING, HISTORY = range(5)
#: Columns of `Rules.histories`: level, window, where its ticks start, and its counts of issues.
AT, WINDOW, START, SEEN = range(4)
#: Entries of `Rules.fixed`: most ticks from the first half of an activation to the second, 0 for no
#: limit; whether activations have two halves; the command that is due every interval, -1 for none,
#: the level at which it is, the interval, and intervals that it may be late.
OPEN_WITHIN, SPLIT, DUE, DUE_LEVEL, INTERVAL, LATE = range(6)
#: Entries of `State.k`: all that was found; what of it is listed; the last tick.
BROKEN, LISTED, LAST = range(3)
#: Rows of `State.banks`: 1 with an open row, 1 half open; the rows; the tick of the first half.
OPENED, HALF, OPEN_ROW, HALF_ROW, SINCE = range(5)
#: The tick that a row counts from where there were fewer issues than its window.
NEVER = -(1 << 62)
#: Columns of what is listed: place in the block, kind, and what the kind says.
PLACE, KIND, FIRST, SECOND = range(4)
#: Kinds, each with what it says. A row of the table: row, ticks too early. In order of rules:
#: last tick; level, value; ticks too early; -; -; open row; banks; -; row; ticks; -; count, ticks.
(
    EARLY,
    ORDER,
    RANGE,
    BUS_HELD,
    NOT_CLOSED,
    NO_ROW,
    OTHER_ROW,
    BANKS_OPEN,
    NO_FIRST,
    FIRST_OF,
    TOO_LATE,
    NO_CLOCK,
    REFRESH_LATE,
) = range(13)


class Rules(NamedTuple):
    """What is checked and noted, arrays of int64.

    rows, notes (histories): of command c, those from starts[0 or 1, c] up to the next. counts:
    instances in their parent, Channel to Column. spans: banks of an instance, Channel to Bank.
    """

    commands: Ints
    rows: Ints
    notes: Ints
    starts: Ints
    histories: Ints
    counts: Ints
    spans: Ints
    fixed: Ints


class State(NamedTuple):
    """What was issued so far, arrays of int64.

    ticks, seen: of the histories. free: the ticks from which the two buses of a channel are free.
    clock: those to which its data clock runs. channels: 1 where there was a command. refreshed:
    refreshes of each instance where one is due. path: the instances of the present command.
    """

    k: Ints
    ticks: Ints
    seen: Ints
    banks: Ints
    free: Ints
    clock: Ints
    channels: Ints
    refreshed: Ints
    path: Ints


@compiled(counted=False)
def note(state: State, found: Ints, place: int, kind: int, first: int, second: int) -> None:
    """Count what was found, and list it while there is room."""
    k = state.k
    k[BROKEN] += 1
    if k[LISTED] < len(found):
        found[k[LISTED], PLACE] = place
        found[k[LISTED], KIND] = kind
        found[k[LISTED], FIRST] = first
        found[k[LISTED], SECOND] = second
        k[LISTED] += 1


@compiled(counted=False)
def counted_from(rules: Rules, state: State, history: int, instance: int) -> int:
    """Return the tick that a row counts from, in one instance; else NEVER."""
    histories = rules.histories
    window = histories[history, WINDOW]
    seen = state.seen[histories[history, SEEN] + instance]
    if seen < window:
        return NEVER
    tick: int = state.ticks[histories[history, START] + instance * window + seen % window]
    return tick


@compiled(counted=False)
def check_rows(
    rules: Rules, state: State, command: int, place: int, tick: int, found: Ints
) -> None:
    """Hold a command against every row of the table that it is the later command of."""
    for i in range(rules.starts[0, command], rules.starts[0, command + 1]):
        row = rules.rows[i]
        level, history = row[LEVEL], row[HISTORY]
        instance = state.path[level]
        if row[SIBLING]:
            first = instance - instance % rules.counts[level]
            since = NEVER
            for other in range(first, first + rules.counts[level]):
                if other != instance:
                    since = max(since, counted_from(rules, state, history, other))
        else:
            since = counted_from(rules, state, history, instance)
        if tick < since + row[TICKS]:
            note(state, found, place, EARLY, row[ROW], since + row[TICKS] - tick)


@compiled(counted=False)
def is_there(rules: Rules, command: int, address: Ints) -> bool:
    """Tell whether what a command addresses, down to the bank, is in the memory."""
    there = True
    for level in range(rules.commands[command, DEPTH]):
        there &= 0 <= address[level] < rules.counts[level]
    return there


@compiled(counted=False)
def check_range(
    rules: Rules, state: State, command: int, place: int, address: Ints, found: Ints
) -> None:
    """Hold an address against the levels that are there, as far as it is used."""
    for level in range(rules.commands[command, USED]):
        if not 0 <= address[level] < rules.counts[level]:
            note(state, found, place, RANGE, level, address[level])


@compiled(counted=False)
def not_closed(rules: Rules, state: State, level: int) -> int:
    """Return the banks of the addressed instance of a level that are open, and half open."""
    span = rules.spans[level]
    first = state.path[level] * span
    banks = state.banks
    count = 0
    for bank in range(first, first + span):
        count += banks[OPENED, bank] + banks[HALF, bank]
    return count


@compiled(counted=False)
def check_open(
    rules: Rules, state: State, place: int, tick: int, bank: int, row: int, found: Ints
) -> None:
    """Hold an activation, or its second half, against the state of its bank."""
    banks, most = state.banks, rules.fixed[OPEN_WITHIN]
    if banks[OPENED, bank]:
        note(state, found, place, NOT_CLOSED, 0, 0)
    if not rules.fixed[SPLIT]:
        return
    if not banks[HALF, bank]:
        note(state, found, place, NO_FIRST, 0, 0)
        return
    if banks[HALF_ROW, bank] != row:
        note(state, found, place, FIRST_OF, banks[HALF_ROW, bank], 0)
    if most and tick - banks[SINCE, bank] > most:
        note(state, found, place, TOO_LATE, tick - banks[SINCE, bank], 0)


@compiled(counted=False)
def check_state(
    rules: Rules, state: State, command: int, place: int, tick: int, address: Ints, found: Ints
) -> None:
    """Hold a command against the states of the banks that it addresses, and the data clock."""
    role, banked = rules.commands[command, ROLE], len(rules.spans)
    bank = state.path[banked - 1]
    if role == OPEN_FIRST:
        if not_closed(rules, state, banked - 1):
            note(state, found, place, NOT_CLOSED, 0, 0)
    elif role == OPEN:
        check_open(rules, state, place, tick, bank, address[banked], found)
    elif role == REFRESH:
        count = not_closed(rules, state, rules.commands[command, DEPTH] - 1)
        if count:
            note(state, found, place, BANKS_OPEN, count, 0)
    elif role not in (CLOSE, SYNC_READ, SYNC_WRITE):
        if not state.banks[OPENED, bank]:
            note(state, found, place, NO_ROW, 0, 0)
        elif state.banks[OPEN_ROW, bank] != address[banked]:
            note(state, found, place, OTHER_ROW, state.banks[OPEN_ROW, bank], 0)
        if rules.commands[command, CLOCK] and tick >= state.clock[address[0]]:
            note(state, found, place, NO_CLOCK, 0, 0)


@compiled(counted=False)
def check_refresh(rules: Rules, state: State, place: int, tick: int, found: Ints) -> None:
    """Hold a refresh against the interval that it is of: the n-th is due after n intervals."""
    fixed = rules.fixed
    instance = state.path[fixed[DUE_LEVEL]]
    state.refreshed[instance] += 1
    over = tick - (state.refreshed[instance] + fixed[LATE]) * fixed[INTERVAL]
    if over > 0:
        note(state, found, place, REFRESH_LATE, state.refreshed[instance], over)


@compiled(counted=False)
def take(rules: Rules, state: State, command: int, tick: int, address: Ints) -> None:
    """Put a command into its histories, on its bus and the data clock, and to its banks."""
    info, histories, banked = rules.commands[command], rules.histories, len(rules.spans)
    for i in range(rules.starts[1, command], rules.starts[1, command + 1]):
        history = histories[rules.notes[i]]
        instance, window = state.path[history[AT]], history[WINDOW]
        seen = state.seen[history[SEEN] + instance]
        state.ticks[history[START] + instance * window + seen % window] = tick
        state.seen[history[SEEN] + instance] += 1
    channel = address[0]
    state.channels[channel] = 1
    state.free[channel, info[BUS]] = tick + info[CYCLES]
    state.k[LAST] = max(tick, state.k[LAST])
    if info[CLOCK]:
        state.clock[channel] = max(state.clock[channel], tick + info[CLOCK])
    role, banks, bank = info[ROLE], state.banks, state.path[banked - 1]
    if role == OPEN_FIRST:
        banks[HALF, bank] = 1
        banks[HALF_ROW, bank] = address[banked]
        banks[SINCE, bank] = tick
    elif role == OPEN:
        banks[HALF, bank] = 0
        banks[OPENED, bank] = 1
        banks[OPEN_ROW, bank] = address[banked]
    elif role in (CLOSE, READ_CLOSE, WRITE_CLOSE):
        level = info[DEPTH] - 1
        first = state.path[level] * rules.spans[level]
        banks[: HALF + 1, first : first + rules.spans[level]] = 0


@compiled(counted=False)
def check(rules: Rules, state: State, block: Ints, found: Ints) -> None:
    """Check a block of commands, one after the other, each against all before it.

    block: rows of command, tick and levels, Channel to Column. found: (room, 4), PLACE to SECOND.
    """
    for place in range(len(block)):
        command, tick, address = block[place, 0], block[place, 1], block[place, 2:]
        info = rules.commands[command]
        instance = 0
        for level in range(info[DEPTH]):
            instance = instance * rules.counts[level] + address[level]
            state.path[level] = instance
        outside = not is_there(rules, command, address)
        if not outside:
            check_rows(rules, state, command, place, tick, found)
        if tick < state.k[LAST]:
            note(state, found, place, ORDER, state.k[LAST], 0)
        check_range(rules, state, command, place, address, found)
        if outside:
            continue
        free = state.free[address[0], info[BUS]]
        if tick < free:
            note(state, found, place, BUS_HELD, free - tick, 0)
        check_state(rules, state, command, place, tick, address, found)
        if command == rules.fixed[DUE]:
            check_refresh(rules, state, place, tick, found)
        take(rules, state, command, tick, address)
