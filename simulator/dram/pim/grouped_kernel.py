"""A channel whose banks also compute, as compiled code: which command at which tick.

`grouped` states the rules. Every command is of a place: a part of a group, a group, the channel, a
bank, or what a refresh is of. All rows between two places are one number of ticks (`ticks`), so
that a command that is issued only moves the ticks that allow others (`ready`); rows with a window
are of the memory's commands alone. Ticks at which nothing can happen are skipped, and column
commands alike are issued at once as far as nothing else can come between them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import grouped_part
from simulator.dram.pim.grouped_part import COUNT, END, GROUP, KIND, LOAD, ROW, ROW_NUMBER
from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
#: The row of a bank or group that has none open, and what is not there.
CLOSED = NONE = -1
#: Commands by what they are used for, those of groups first.
(
    OPEN, CLOSE, MULTIPLY, BUFFER_WRITE, RESULT_READ,
    ACTIVATE, PRECHARGE, READ, WRITE, PRECHARGE_ALL, REFRESH,
) = range(11)  # fmt: skip
USES = 11
#: What a part and a run fix. `BURSTS`: of a row. `GUARD`: whether there is one; then, of the ticks
#: from an opening to the closing after n multiplications: those before the first and after the last
#: one, from one to the next, and the least of all.
(
    TWO_BUSES, READ_LATENCY, INTERVAL, OPENINGS, DOUBLE_BUFFERED, TWO_ROW_BUFFERS, EXCLUSIVE,
    CLEAR_ALL, BURSTS, GUARD, GUARD_ENDS, GUARD_STEP, GUARD_LEAST,
) = range(13)  # fmt: skip
#: Scalars of a run. `NOW`: tick of the last command, or when refreshes fell due. `FREE_ROW`,
#: `FREE_COLUMN`: next ticks of the buses. `AT`, `DONE`: the entry at the head, and how many of its
#: count are done. `IN_SECTION`: whether a section runs. `FILLING`: whether the head was at a LOAD.
#: `FILL_AT`, `FILL_DONE`: as `AT` and `DONE`, of the LOADs ahead. `GATE`: requests that are served
#: before the next section. `REQUEST_ROWS`: open rows of requests. `DUE`: whether refreshes are.
#: `FRESH`: whether no row was opened for the program since. `IDLE`: refreshes without a column
#: command between them, while something waits.
(
    NOW, FREE_ROW, FREE_COLUMN, AT, DONE, IN_SECTION, FILLING, FILL_AT, FILL_DONE, GATE,
    ADMITTED, QUEUED, SERVED, REQUEST_ROWS, REFRESH_AT, DUE, FRESH, IDLE, LAST_PROGRAM,
    LAST_REQUEST, HITS, READS, READ_TICKS, ROWS_OPENED, TRACED,
) = range(25)  # fmt: skip
SCALARS = 25
#: Columns of requests.
NOT_BEFORE, IS_WRITE, BANK, REQUEST_ROW, BURST = range(5)
REQUEST_FIELDS = 5
#: Of each request in the queue, oldest first: its number, when it came, whether a command was
#: issued for it, and the request that it has to wait for.
NUMBER, ARRIVED, SEEN, AFTER = range(4)
QUEUE_FIELDS = 4
#: Of each entry: the next ROW and the next LOAD after it, of its section.
NEXT_ROW, NEXT_LOAD = range(2)
#: Of each row with a window: the command after, ticks, window.
W_AFTER, W_TICKS, W_WINDOW = range(3)
#: Whether all is done, the trace is full, or nothing can move.
FINISHED, FULL, STUCK = range(3)
#: Refreshes after which what has not gone will never go.
MOST_IDLE = 64
#: Columns of a trace: tick, use, bank, row, burst.
TRACE_FIELDS = 5


class Machine(NamedTuple):
    """What a part and the settings of a run fix.

    fixed: by TWO_BUSES and so on. base: the first place of each use, and the end. on_column: by
    use. starts, targets, ticks: of each place, the places that its command holds back, and for how
    long. own: of each place, ticks from its command to the same again. windows: rows with a window;
    members: of those and each place, the instance that it is in, -1 where the command is in no such
    row. first_bank: of each place. group_of: of each bank. touches: (groups, scopes), whether they
    share a bank; a scope is what one refresh is of. clears: (groups, places), of what closes rows
    of requests in a group, by CLEAR_ALL a scope or a bank. in_scope: (scopes, banks of one),
    in_group: (groups, banks of one).
    """

    fixed: Ints
    base: Ints
    on_column: Ints
    starts: Ints
    targets: Ints
    ticks: Ints
    own: Ints
    windows: Ints
    members: Ints
    first_bank: Ints
    group_of: Ints
    touches: Ints
    clears: Ints
    in_scope: Ints
    in_group: Ints


class State(NamedTuple):
    """A channel in the middle of a run.

    k: scalars. ready: by place, the tick that allows its command. history, rings: of rows with a
    window, by row and instance. group_row, parts: the row of each group, and how many of its parts
    are open; part_open: which. leaders: the entries whose rows are opened, in order, -1 for none;
    wanted: by group, the row that is opened, -1 for none. opened: by bank, the row of requests.
    refreshed: by scope. queue: (fields, entries). served: by request. counts: by use.
    """

    k: Ints
    ready: Ints
    history: Ints
    rings: Ints
    group_row: Ints
    parts: Ints
    part_open: Ints
    leaders: Ints
    wanted: Ints
    opened: Ints
    refreshed: Ints
    queue: Ints
    served: Ints
    counts: Ints


@compiled(grouped_part, counted=False)
def link(program: Ints, links: Ints) -> None:
    """Find the next ROW and the next LOAD of each entry in its section."""
    row = load = NONE
    for at in range(len(program) - 1, -1, -1):
        kind = program[at, KIND]
        if kind == END:
            row = load = NONE
        links[at, NEXT_ROW], links[at, NEXT_LOAD] = row, load
        if kind == ROW:
            row = at
        elif kind == LOAD:
            load = at


@inlined
def _note(machine: Machine, state: State, use: int, place: int, tick: int) -> None:
    """Put a command into all rows that it stands before."""
    flat = machine.base[use] + place
    for i in range(machine.starts[flat], machine.starts[flat + 1]):
        target, allowed = machine.targets[i], tick + machine.ticks[i]
        state.ready[target] = max(state.ready[target], allowed)
    for row in range(len(machine.windows)):
        node = machine.members[row, 0, flat]
        if node != NONE:
            turn, window = state.rings[row, node], machine.windows[row, W_WINDOW]
            state.history[row, node, turn] = tick
            turn = (turn + 1) % window
            state.rings[row, node] = turn
            allowed = state.history[row, node, turn] + machine.windows[row, W_TICKS]
            after = machine.windows[row, W_AFTER]
            for target in range(machine.base[after], machine.base[after + 1]):
                if machine.members[row, 1, target] == node:
                    state.ready[target] = max(state.ready[target], allowed)


@inlined
def _tick_of(machine: Machine, state: State, use: int, place: int) -> int:
    """Return the first tick at which the rows and the bus allow a command."""
    free = state.k[FREE_COLUMN] if machine.on_column[use] else state.k[FREE_ROW]
    tick: int = max(state.k[NOW], free, state.ready[machine.base[use] + place])
    return tick


@inlined
def _choose(state: State, program: Ints, links: Ints) -> None:
    """Choose the entries whose rows are opened: the next ROW, and some after it."""
    at = state.k[AT]
    if program[at, KIND] != ROW:
        at = links[at, NEXT_ROW]
    state.wanted[:] = NONE
    for i in range(len(state.leaders)):
        state.leaders[i] = NONE
        if at != NONE:
            group = program[at, GROUP]
            if state.wanted[group] == NONE:
                state.leaders[i] = at
                state.wanted[group] = program[at, ROW_NUMBER]
            at = links[at, NEXT_ROW]


@inlined
def _end_section(state: State, requests: Ints) -> None:
    """End a section: no row is opened, and requests that have come are let in."""
    k = state.k
    k[IN_SECTION] = 0
    state.wanted[:] = NONE
    state.leaders[:] = NONE
    while k[GATE] < len(requests) and requests[k[GATE], NOT_BEFORE] <= k[NOW]:
        k[GATE] += 1


@inlined
def _take_filling(k: Ints) -> bool:
    """Take over at a LOAD what was done of it ahead; tell whether that is all."""
    k[FILLING] = 1
    if k[AT] == k[FILL_AT]:
        k[DONE], k[FILL_AT] = k[FILL_DONE], NONE
    return bool(k[AT] < k[FILL_AT])


@inlined
def _settle(machine: Machine, state: State, program: Ints, links: Ints, requests: Ints) -> None:
    """Let the head pass what takes no command: ends of sections, and fillings done ahead."""
    k, moves = state.k, True
    while moves and k[AT] < len(program):
        if not k[IN_SECTION]:
            if machine.fixed[EXCLUSIVE] and k[SERVED] < k[GATE]:
                return
            k[IN_SECTION] = k[FILLING] = 1
            k[FILL_AT] = NONE
            _choose(state, program, links)
        kind = program[k[AT], KIND]
        moves = kind == END
        if moves:
            _end_section(state, requests)
        elif kind == LOAD:
            moves = _take_filling(k)
        elif k[FILLING]:
            k[FILLING] = k[FILL_DONE] = 0
            k[FILL_AT] = links[k[AT], NEXT_LOAD] if machine.fixed[DOUBLE_BUFFERED] else NONE
        k[AT] += moves
    if k[AT] == len(program):
        if k[IN_SECTION]:
            _end_section(state, requests)
        k[GATE] = len(requests)


@inlined
def _head_column(machine: Machine, state: State, program: Ints) -> tuple[int, int, int]:
    """Return the column command of the head: tick, use, place."""
    k = state.k
    if not k[IN_SECTION]:
        return NEVER, NONE, 0
    kind, group = program[k[AT], KIND], program[k[AT], GROUP]
    use, place = BUFFER_WRITE, 0
    if kind == ROW:
        use, place = MULTIPLY, group
        if (
            state.parts[group] < machine.fixed[OPENINGS]
            or state.group_row[group] != program[k[AT], ROW_NUMBER]
        ):
            return NEVER, use, place
    elif kind != LOAD:
        use = RESULT_READ
    return _tick_of(machine, state, use, place), use, place


@inlined
def _fill_ahead(machine: Machine, state: State, program: Ints) -> int:
    """Return the tick of the next buffer write of the filling ahead."""
    k = state.k
    at = k[FILL_AT]
    if k[FILLING] or at == NONE or at >= len(program) or program[at, KIND] != LOAD:
        return NEVER
    return _tick_of(machine, state, BUFFER_WRITE, 0)


@inlined
def _in_the_way(machine: Machine, state: State, group: int, row: int) -> tuple[int, int]:
    """Return what closes the next row of requests that a group cannot be opened beside.

    Returns use and place, the use -1 for none.
    """
    if machine.fixed[TWO_ROW_BUFFERS]:
        for i in range(machine.in_group.shape[1]):
            bank = machine.in_group[group, i]
            if state.opened[bank] == row:
                return PRECHARGE, bank
        return NONE, 0
    for i in range(machine.clears.shape[1]):
        place = machine.clears[group, i]
        if machine.fixed[CLEAR_ALL]:
            if _any_open(machine, state, place):
                return PRECHARGE_ALL, place
        elif state.opened[place] != CLOSED:
            return PRECHARGE, place
    return NONE, 0


@inlined
def _any_open(machine: Machine, state: State, scope: int) -> bool:
    """Tell whether requests have a row open in a scope."""
    found = False
    for i in range(machine.in_scope.shape[1]):
        found |= state.opened[machine.in_scope[scope, i]] != CLOSED
    return found


@inlined
def _guarded(machine: Machine, state: State, program: Ints, at: int, tick: int) -> bool:
    """Tell whether a row that would be opened at a tick could not be done before the refresh."""
    k, fixed = state.k, machine.fixed
    left = program[at, COUNT] - (k[DONE] if at == k[AT] else 0)
    takes = max(fixed[GUARD_LEAST], fixed[GUARD_ENDS] + (left - 1) * fixed[GUARD_STEP])
    return bool(not k[FRESH] and tick + takes > k[REFRESH_AT])


@inlined
def _next_part(machine: Machine, state: State, group: int) -> int:
    """Return the part of a group that may be opened first."""
    openings, best, best_part = machine.fixed[OPENINGS], NEVER, 0
    for part in range(group * openings, (group + 1) * openings):
        tick = _tick_of(machine, state, OPEN, part)
        if not state.part_open[part] and tick < best:
            best, best_part = tick, part
    return best_part


@inlined
def _program_row(machine: Machine, state: State, program: Ints) -> tuple[int, int, int]:
    """Return the next row command of the program: tick, use, place."""
    best, best_use, best_place = NEVER, NONE, 0
    openings = machine.fixed[OPENINGS]
    for i in range(len(state.leaders)):
        at = state.leaders[i]
        if at == NONE:
            continue
        group, row = program[at, GROUP], program[at, ROW_NUMBER]
        parts, use, place = state.parts[group], NONE, 0
        if parts and state.group_row[group] != row:
            use, place = CLOSE, group
        elif parts == openings:
            continue
        elif not parts and state.k[REQUEST_ROWS]:
            use, place = _in_the_way(machine, state, group, row)
        if use == NONE:
            use, place = OPEN, _next_part(machine, state, group)
        tick = _tick_of(machine, state, use, place)
        first = use == OPEN and not parts
        if first and machine.fixed[GUARD] and _guarded(machine, state, program, at, tick):
            continue
        if tick < best:
            best, best_use, best_place = tick, use, place
    return best, best_use, best_place


@inlined
def _held(machine: Machine, state: State, bank: int, row: int) -> bool:
    """Tell whether the program keeps a row of requests from being open in a bank."""
    group = machine.group_of[bank]
    if machine.fixed[TWO_ROW_BUFFERS]:
        return bool(
            state.wanted[group] == row or (state.parts[group] and state.group_row[group] == row)
        )
    return bool(state.wanted[group] != NONE or state.parts[group])


@inlined
def _request_column(machine: Machine, state: State, requests: Ints) -> tuple[int, int]:
    """Return the oldest request that is first to be read or written: tick, place in the queue."""
    best, best_at = NEVER, NONE
    for at in range(state.k[QUEUED]):
        request = requests[state.queue[NUMBER, at]]
        bank, row, after = request[BANK], request[REQUEST_ROW], state.queue[AFTER, at]
        if (
            state.opened[bank] == row
            and (after == NONE or state.served[after])
            and not _held(machine, state, bank, row)
        ):
            tick = _tick_of(machine, state, READ + request[IS_WRITE], bank)
            tick = max(tick, state.queue[ARRIVED, at])
            if tick < best:
                best, best_at = tick, at
    return best, best_at


@inlined
def _wanted_by_older(state: State, requests: Ints, at: int, bank: int) -> bool:
    """Tell whether an older request of the queue is of the row that a bank has open."""
    found = False
    for i in range(at):
        request = requests[state.queue[NUMBER, i]]
        found |= request[BANK] == bank and request[REQUEST_ROW] == state.opened[bank]
    return found


@inlined
def _request_row(machine: Machine, state: State, requests: Ints) -> tuple[int, int, int, int]:
    """Return the row command of the request that is first: tick, use, place, in the queue."""
    best, best_use, best_place, best_at = NEVER, NONE, 0, NONE
    for at in range(state.k[QUEUED]):
        request = requests[state.queue[NUMBER, at]]
        bank, row = request[BANK], request[REQUEST_ROW]
        use, place, group = ACTIVATE, bank, machine.group_of[bank]
        if _held(machine, state, bank, row):
            if state.wanted[group] != NONE:
                continue
            use, place = CLOSE, group
        elif state.opened[bank] == row:
            continue
        elif state.opened[bank] != CLOSED:
            if _wanted_by_older(state, requests, at, bank):
                continue
            use = PRECHARGE
        tick = max(_tick_of(machine, state, use, place), state.queue[ARRIVED, at])
        if tick < best:
            best, best_use, best_place, best_at = tick, use, place, at
    return best, best_use, best_place, best_at


@inlined
def _for_refresh(machine: Machine, state: State) -> tuple[int, int, int]:
    """Return the next command towards refreshes: tick, use, place."""
    best, best_use, best_place = NEVER, NONE, 0
    for group in range(len(state.parts)):
        tick = _tick_of(machine, state, CLOSE, group)
        if state.parts[group] and tick < best:
            best, best_use, best_place = tick, CLOSE, group
    for use in (PRECHARGE_ALL, REFRESH):
        for scope in range(len(state.refreshed)):
            needs = PRECHARGE_ALL if _any_open(machine, state, scope) else REFRESH
            holds = False
            for group in range(len(state.parts)):
                holds |= state.parts[group] > 0 and machine.touches[group, scope] > 0
            tick = _tick_of(machine, state, use, scope)
            if use != needs or state.refreshed[scope] or holds:
                continue
            if tick < best:
                best, best_use, best_place = tick, use, scope
    return best, best_use, best_place


@inlined
def _arrival(machine: Machine, state: State, program: Ints, requests: Ints) -> int:
    """Return when the next request comes into the queue, NEVER while none can."""
    k, limit = state.k, len(requests)
    if machine.fixed[EXCLUSIVE] and k[AT] < len(program):
        limit = k[GATE] if not k[IN_SECTION] else 0
    if k[ADMITTED] >= limit or k[QUEUED] == state.queue.shape[1]:
        return NEVER
    tick: int = max(requests[k[ADMITTED], NOT_BEFORE], k[NOW] + 1)
    return tick


@inlined
def _admit(state: State, requests: Ints, tick: int) -> None:
    """Put the next request into the queue; it waits for the youngest of the same burst."""
    k, queue = state.k, state.queue
    number, at = k[ADMITTED], k[QUEUED]
    request, after = requests[number], NONE
    for i in range(at):
        older = requests[queue[NUMBER, i]]
        same = older[BANK] == request[BANK] and older[BURST] == request[BURST]
        if same and older[REQUEST_ROW] == request[REQUEST_ROW]:
            after = queue[NUMBER, i]
    queue[NUMBER, at], queue[ARRIVED, at] = number, tick
    queue[SEEN, at], queue[AFTER, at] = 0, after
    k[ADMITTED] += 1
    k[QUEUED] += 1


@inlined
def _serve(state: State, requests: Ints, at: int, tick: int, latency: int) -> None:
    """Take a request whose column command was issued out of the queue."""
    k, queue = state.k, state.queue
    number = queue[NUMBER, at]
    last = tick if requests[number, IS_WRITE] else tick + latency
    if not requests[number, IS_WRITE]:
        k[READS] += 1
        k[READ_TICKS] += last - requests[number, NOT_BEFORE]
    k[LAST_REQUEST] = max(k[LAST_REQUEST], last)
    state.served[number] = 1
    k[SERVED] += 1
    k[QUEUED] -= 1
    for i in range(at, k[QUEUED]):
        for field in range(QUEUE_FIELDS):
            queue[field, i] = queue[field, i + 1]


@inlined
def _see(state: State, at: int, hit: int) -> None:
    """Note the first command of a request."""
    if not state.queue[SEEN, at]:
        state.queue[SEEN, at] = 1
        state.k[HITS] += hit


@inlined
def _set_row(state: State, bank: int, row: int) -> None:
    """Note the row of requests of a bank."""
    state.k[REQUEST_ROWS] += (row != CLOSED) - (state.opened[bank] != CLOSED)
    state.opened[bank] = row


@inlined
def _change(machine: Machine, state: State, use: int, place: int, row: int) -> None:
    """Note what a row command or a refresh does to rows."""
    k, openings = state.k, machine.fixed[OPENINGS]
    if use == OPEN:
        group = place // openings
        state.group_row[group] = row
        state.part_open[place] = 1
        state.parts[group] += 1
        k[ROWS_OPENED] += state.parts[group] == openings
        k[FRESH] = 0
    elif use == CLOSE:
        state.group_row[place] = CLOSED
        state.parts[place] = 0
        state.part_open[place * openings : (place + 1) * openings] = 0
    elif use == ACTIVATE:
        _set_row(state, place, row)
    elif use == PRECHARGE:
        _set_row(state, place, CLOSED)
    elif use == PRECHARGE_ALL:
        for i in range(machine.in_scope.shape[1]):
            _set_row(state, machine.in_scope[place, i], CLOSED)
    elif use == REFRESH:
        state.refreshed[place] = 1


@inlined
def _progress(state: State, program: Ints, links: Ints, count: int, ahead: bool) -> None:
    """Note column commands of the program."""
    k = state.k
    if ahead:
        k[FILL_DONE] += 1
        if k[FILL_DONE] == program[k[FILL_AT], COUNT]:
            k[FILL_AT] += 1
            k[FILL_DONE] = 0
        return
    k[DONE] += count
    at = k[AT]
    if k[DONE] == program[at, COUNT]:
        k[AT] += 1
        k[DONE] = 0
        if program[at, KIND] == ROW and k[AT] < len(program):
            _choose(state, program, links)


@inlined
def _end_refresh(machine: Machine, state: State, program: Ints) -> None:
    """Start the next interval, once all is refreshed."""
    k, left = state.k, 0
    for scope in range(len(state.refreshed)):
        left += state.refreshed[scope] == 0
    if not left:
        state.refreshed[:] = 0
        k[DUE] = 0
        k[FRESH] = 1
        k[REFRESH_AT] += machine.fixed[INTERVAL]
        k[IDLE] += k[QUEUED] > 0 or (k[IN_SECTION] and k[AT] < len(program))


@compiled(grouped_part, counted=False)
def advance(  # noqa: C901 - one tick, in the order of the rules
    machine: Machine, state: State, program: Ints, links: Ints, requests: Ints, trace: Ints
) -> int:
    """Run until all is done, or the trace is full; returns FINISHED, FULL or STUCK.

    program, links: of a channel. requests: in order of their first tick. trace: room for rows of
    tick, use, bank, row, burst; the caller empties it and sets `TRACED` to 0.
    """
    k, fixed, tracing = state.k, machine.fixed, len(trace) > 0
    while True:
        if tracing and k[TRACED] == len(trace):
            return FULL
        _settle(machine, state, program, links, requests)
        if k[AT] == len(program) and k[SERVED] == len(requests):
            return FINISHED
        if k[IDLE] > MOST_IDLE:
            return STUCK
        row, burst, count, slot, ahead, others = 0, 0, 1, NONE, False, NEVER
        if k[DUE]:
            tick, use, place = _for_refresh(machine, state)
        else:
            # Each in turn, if it may go before all so far.
            tick, use, place = _head_column(machine, state, program)
            fill = _fill_ahead(machine, state, program)
            others = fill
            if fill < tick:
                tick, use, place, ahead = fill, BUFFER_WRITE, 0, True
            soon, what, where = _program_row(machine, state, program)
            others = min(others, soon)
            if soon < tick:
                tick, use, place, ahead = soon, what, where, False
            if k[QUEUED] and not (fixed[EXCLUSIVE] and k[IN_SECTION]):
                soon, at = _request_column(machine, state, requests)
                others = min(others, soon)
                if soon < tick:
                    request = requests[state.queue[NUMBER, at]]
                    tick, place, slot, ahead = soon, request[BANK], at, False
                    use = READ + request[IS_WRITE]
                soon, what, where, at = _request_row(machine, state, requests)
                others = min(others, soon)
                if soon < tick:
                    tick, use, place, slot, ahead = soon, what, where, at, False
            comes = _arrival(machine, state, program, requests)
            others = min(others, comes, k[REFRESH_AT])
            if comes <= tick and comes < k[REFRESH_AT]:
                _admit(state, requests, comes)
                continue
            if k[REFRESH_AT] <= tick and k[REFRESH_AT] < NEVER:
                k[DUE], k[NOW] = 1, k[REFRESH_AT]
                continue
        if tick >= NEVER:
            return STUCK
        if use == OPEN:
            row = state.wanted[place // fixed[OPENINGS]]
        elif slot != NONE:
            row, burst = requests[state.queue[NUMBER, slot], REQUEST_ROW], 0
            if use >= READ:
                burst = requests[state.queue[NUMBER, slot], BURST]
        elif use == MULTIPLY:
            row, burst = program[k[AT], ROW_NUMBER], k[DONE] % fixed[BURSTS]
        last = tick
        in_program = slot == NONE and MULTIPLY <= use <= RESULT_READ
        if in_program and not ahead and not tracing:
            # As many as can go before anything else.
            step = machine.own[machine.base[use] + place]
            count = min(program[k[AT], COUNT] - k[DONE], max(0, others - 1 - tick) // step + 1)
            last = tick + (count - 1) * step
        _note(machine, state, use, place, last)
        state.counts[use] += count
        k[NOW] = last
        k[IDLE] = 0 if machine.on_column[use] else k[IDLE]
        if machine.on_column[use] or not fixed[TWO_BUSES]:
            k[FREE_COLUMN] = last + 1
        if not machine.on_column[use] or not fixed[TWO_BUSES]:
            k[FREE_ROW] = last + 1
        if tracing:
            line = k[TRACED]
            trace[line, 0], trace[line, 1] = tick, use
            trace[line, 2] = machine.first_bank[machine.base[use] + place]
            trace[line, 3], trace[line, 4] = row, burst
            k[TRACED] += 1
        if in_program:
            k[LAST_PROGRAM] = last + (fixed[READ_LATENCY] if use == RESULT_READ else 0)
            _progress(state, program, links, count, ahead)
        elif slot != NONE and use >= READ:
            _see(state, slot, 1)
            _serve(state, requests, slot, tick, fixed[READ_LATENCY])
        else:
            _change(machine, state, use, place, row)
            if slot != NONE:
                _see(state, slot, 0)
            if use == REFRESH:
                _end_refresh(machine, state, program)
