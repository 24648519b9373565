"""The pass of the grouped PIM's checker over commands as compiled code; see `grouped_checker`.

Banks count within the channel. What a command is of is a set of banks; a node is an instance of a
level, those of all levels in one array, Channel first. An instance is one of the refresh's level.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim.grouped_part import COUNT, END, GROUP, KIND, LOAD, RESULT, ROW, ROW_NUMBER
from simulator.dram.standard import CLOSE, OPEN, READ, REFRESH, ROLES, WRITE
from simulator.kernels import compiled

Ints = NDArray[np.int64]

#: Roles of the commands of groups, after those of a memory.
GROUP_OPEN, GROUP_CLOSE, MULTIPLY, BUFFER_WRITE, RESULT_READ = range(len(ROLES), len(ROLES) + 5)
#: Columns of `Rules.commands`: role; bus; ticks on it; whether it is of groups, of an instance, and
#: used at all.
ROLE, BUS, CYCLES, OF_GROUPS, OF_INSTANCE, USED = range(6)
#: Columns of `Rules.rows`: number of the row; command before; level; ticks.
NUMBER, BEFORE, LEVEL, TICKS = range(4)
#: Entries of `Rules.fixed`: row buffers, banks of a part of a group, rows opened ahead, whether
#: double-buffered, exclusive and guarded, bursts of a row, the interval of the refresh.
BUFFERS, PART_BANKS, OPEN_AHEAD, DOUBLE, EXCLUSIVE, GUARDED, BURSTS, INTERVAL = range(8)
#: And what the guard counts, from the first open of a row: to its close without multiplications,
#: to that with one, and each more.
TO_CLOSE, WITH_ONE, EACH_MORE = range(8, 11)
#: And the most ticks from when a refresh is due to it.
CLOSING = 11
#: Columns of a block: command, tick, set or less than 0 for none, its first bank, row, burst.
COMMAND, TICK, SET, BANK, IN_ROW, BURST = range(6)
#: Columns of requests.
NOT_BEFORE, WRITES, OF_BANK, OF_ROW, OF_BURST = range(5)
#: Entries of `State.k`: all that was found; what of it is listed; the command at hand; the last
#: tick, and that of commands of groups; the entry of the program that is next; that of the LOADs
#: that are next; requests in the queue; the request that comes next; whether a group was opened
#: since a refresh; the last tick of the section before; the tick in which requests let this start.
BROKEN, LISTED, AT, LAST, LAST_OF_GROUPS, HEAD, LOADS = range(7)
QUEUED, COMING, OPENED, SECTION_END, RUNS_FROM = range(7, 12)
SCALARS = 12
NEVER = -(1 << 61)
#: No row; no entry of the program; no request of the queue.
CLOSED = NONE = -1
#: Columns of what is listed: place of the command, kind, and what the kind says.
PLACE, WHAT, FIRST, SECOND = range(4)
#: Kinds of what is found.
(
    EARLY,
    ORDER,
    BUS_HELD,
    NOT_USED,
    NO_SET,
    REFRESH_DUE,
    NOT_DUE,
    TOO_LATE,
    UNITS_OPEN,
    REQUESTS_OPEN,
    NOT_CLOSED,
    NOT_OPEN,
    OTHER_PART,
    NONE_OPEN,
    NOT_NEXT,
    OTHER_BURST,
    NOT_WANTED,
    NO_REASON,
    TURN,
    UNGUARDED,
    NOT_ASKED,
    OTHER_WAY,
    HELD,
    IN_SECTION,
    BEFORE_SECTION,
) = range(25)


class Rules(NamedTuple):
    """What is checked, arrays of int64.

    rows: of command c, those from row_starts[c] up to the next. nodes: of set s at a level, from
    node_starts[s, level] up to the next. banks: of set s, from bank_starts[s] up to the next.
    groups: banks of each, in order. group_of, instance_of: of a bank. whole: whether a group is of
    whole instances. program, requests: as run.
    """

    commands: Ints
    rows: Ints
    row_starts: Ints
    nodes: Ints
    node_starts: Ints
    banks: Ints
    bank_starts: Ints
    groups: Ints
    group_of: Ints
    instance_of: Ints
    whole: Ints
    fixed: Ints
    program: Ints
    requests: Ints


class State(NamedTuple):
    """What was issued so far, arrays of int64.

    last: the tick of a command in a node. free: of each bus, the tick from which commands of memory
    leave it, and those of groups. rows: open in each bank, of requests and of the units. refreshed:
    refreshes of each instance. left: of each entry of the program. queue: requests, oldest first.
    """

    k: Ints
    found: Ints
    last: Ints
    free: Ints
    rows: Ints
    refreshed: Ints
    left: Ints
    queue: Ints


#: Rows of `State.rows`, columns of `State.free`.
REQUESTS, UNITS = range(2)


@compiled(counted=False)
def note(state: State, kind: int, first: int, second: int) -> None:
    """Count what was found, and list it while there is room."""
    k, found = state.k, state.found
    k[BROKEN] += 1
    if k[LISTED] < len(found):
        found[k[LISTED], PLACE] = k[AT]
        found[k[LISTED], WHAT] = kind
        found[k[LISTED], FIRST] = first
        found[k[LISTED], SECOND] = second
        k[LISTED] += 1


@compiled(counted=False)
def check_ticks(rules: Rules, state: State, issued: Ints) -> None:
    """Hold a command against the rows, the order of ticks and its bus, beside memory's own."""
    command, tick, of = issued[COMMAND], issued[TICK], issued[SET]
    info, k = rules.commands[command], state.k
    for i in range(rules.row_starts[command], rules.row_starts[command + 1]):
        row = rules.rows[i]
        since = NEVER
        for j in range(rules.node_starts[of, row[LEVEL]], rules.node_starts[of, row[LEVEL] + 1]):
            since = max(since, state.last[row[BEFORE], rules.nodes[j]])
        if tick < since + row[TICKS]:
            note(state, EARLY, row[NUMBER], since + row[TICKS] - tick)
    last = k[LAST] if info[OF_GROUPS] else k[LAST_OF_GROUPS]
    if tick < last:
        note(state, ORDER, last, 0)
    free = state.free[info[BUS], UNITS]
    if info[OF_GROUPS]:
        free = max(free, state.free[info[BUS], REQUESTS])
    if tick < free:
        note(state, BUS_HELD, free - tick, 0)


@compiled(counted=False)
def is_due(rules: Rules, state: State, tick: int, instance: int) -> bool:
    """Tell whether an instance has to be refreshed."""
    due: bool = state.refreshed[instance] < tick // rules.fixed[INTERVAL]
    return due


@compiled(counted=False)
def any_due(rules: Rules, state: State, tick: int) -> bool:
    """Tell whether any instance has to be refreshed."""
    due = False
    for instance in range(len(state.refreshed)):
        due |= is_due(rules, state, tick, instance)
    return due


@compiled(counted=False)
def check_refresh(rules: Rules, state: State, issued: Ints) -> None:
    """Hold a command against the refreshes that are due: nothing else but closing goes on."""
    info, tick = rules.commands[issued[COMMAND]], issued[TICK]
    role = info[ROLE]
    if role == REFRESH:
        instance = rules.instance_of[issued[BANK]]
        late = tick - (state.refreshed[instance] + 1) * rules.fixed[INTERVAL]
        if late < 0:
            note(state, NOT_DUE, -late, 0)
        elif late > rules.fixed[CLOSING]:
            note(state, TOO_LATE, late, rules.fixed[CLOSING])
        return
    closes = role == GROUP_CLOSE or (role == CLOSE and info[OF_INSTANCE])
    if not closes and any_due(rules, state, tick):
        note(state, REFRESH_DUE, 0, 0)


@compiled(counted=False)
def count_open(rules: Rules, state: State, of: int, whose: int) -> int:
    """Return how many banks of a set have a row open, of requests or of the units."""
    count = 0
    for i in range(rules.bank_starts[of], rules.bank_starts[of + 1]):
        count += state.rows[whose, rules.banks[i]] != CLOSED
    return count


@compiled(counted=False)
def count_row(rules: Rules, state: State, of: int, whose: int, row: int) -> int:
    """Return how many banks of a set have this row open, of requests or of the units."""
    count = 0
    for i in range(rules.bank_starts[of], rules.bank_starts[of + 1]):
        count += state.rows[whose, rules.banks[i]] == row
    return count


@compiled(counted=False)
def units_row(rules: Rules, state: State, group: int) -> int:
    """Return the row that a group has open, in its first part that is; CLOSED for none."""
    banks = rules.groups[group]
    for i in range(0, len(banks), rules.fixed[PART_BANKS]):
        if state.rows[UNITS, banks[i]] != CLOSED:
            row: int = state.rows[UNITS, banks[i]]
            return row
    return CLOSED


@compiled(counted=False)
def check_memory_state(rules: Rules, state: State, issued: Ints) -> None:
    """Hold a command of memory against the rows of the units; of requests, those it closes."""
    info, of = rules.commands[issued[COMMAND]], issued[SET]
    role, one = info[ROLE], rules.fixed[BUFFERS] == 1
    units = count_open(rules, state, of, UNITS)
    if role == OPEN and not one:
        units = count_row(rules, state, of, UNITS, issued[IN_ROW])
    # With two row buffers, what is of a bank and its open row leaves the units alone.
    apart = not one and role in (READ, WRITE, CLOSE) and not info[OF_INSTANCE]
    if units and not apart:
        note(state, UNITS_OPEN, units, 0)
    if role == CLOSE and not count_open(rules, state, of, REQUESTS):
        note(state, NONE_OPEN, 0, 0)


@compiled(counted=False)
def check_group_state(rules: Rules, state: State, issued: Ints) -> None:
    """Hold a command of a group against the open rows of its banks."""
    role, of, row = rules.commands[issued[COMMAND], ROLE], issued[SET], issued[IN_ROW]
    if role == GROUP_OPEN:
        check_opening(rules, state, issued)
    elif role == GROUP_CLOSE:
        if not count_open(rules, state, of, UNITS):
            note(state, NONE_OPEN, 0, 0)
    elif role == MULTIPLY:
        banks = rules.bank_starts[of + 1] - rules.bank_starts[of]
        others = banks - count_row(rules, state, of, UNITS, row)
        if others:
            note(state, NOT_OPEN, others, row)


@compiled(counted=False)
def check_opening(rules: Rules, state: State, issued: Ints) -> None:
    """See that banks of a part are closed, and what else is open lets it be opened."""
    of, row = issued[SET], issued[IN_ROW]
    units = count_open(rules, state, of, UNITS)
    open_row = units_row(rules, state, rules.group_of[issued[BANK]])
    if units:
        note(state, NOT_CLOSED, units, 0)
    elif open_row not in (CLOSED, row):
        note(state, OTHER_PART, open_row, 0)
    requests = count_row(rules, state, of, REQUESTS, row)
    if rules.fixed[BUFFERS] == 1:
        requests = count_open(rules, state, of, REQUESTS)
    if requests:
        note(state, REQUESTS_OPEN, requests, 0)


@compiled(counted=False)
def may_start(rules: Rules, state: State) -> bool:
    """Tell whether the section at the head may run, as far as requests are about."""
    k = state.k
    if k[HEAD] == len(rules.program):
        return False
    if not rules.fixed[EXCLUSIVE]:
        return True
    oldest = state.queue[0] if k[QUEUED] else k[COMING]
    if oldest == len(rules.requests):
        return True
    later: bool = rules.requests[oldest, NOT_BEFORE] > k[SECTION_END]
    return later


@compiled(counted=False)
def in_section(rules: Rules, state: State, tick: int) -> bool:
    """Tell whether an exclusive section runs, since before this tick."""
    started = rules.fixed[EXCLUSIVE] and may_start(rules, state)
    within: bool = started and tick > state.k[RUNS_FROM]
    return within


@compiled(counted=False)
def wanted(rules: Rules, state: State, group: int) -> int:
    """Return the entry of the program that row commands of a group are about, or NONE."""
    if not may_start(rules, state):
        return NONE
    rows = rules.fixed[OPEN_AHEAD] + 1
    for entry in range(state.k[HEAD], len(rules.program)):
        kind = rules.program[entry, KIND]
        if kind == END or not rows:
            break
        if kind == ROW:
            rows -= 1
            if rules.program[entry, GROUP] == group:
                return entry
    return NONE


@compiled(counted=False)
def is_held(rules: Rules, state: State, bank: int, row: int) -> bool:
    """Tell whether the program holds a row of a bank, so that requests wait for it."""
    group = rules.group_of[bank]
    open_row = units_row(rules, state, group)
    # An exclusive section holds everything: `in_section`.
    entry = NONE if rules.fixed[EXCLUSIVE] else wanted(rules, state, group)
    if rules.fixed[BUFFERS] == 1:
        return open_row != CLOSED or entry != NONE
    held: bool = open_row == row or (entry != NONE and rules.program[entry, ROW_NUMBER] == row)
    return held


@compiled(counted=False)
def find_request(rules: Rules, state: State, bank: int, row: int, burst: int) -> int:
    """Return the oldest place in the queue of a burst, or of a row for burst NONE; else NONE."""
    for place in range(state.k[QUEUED]):
        asked = rules.requests[state.queue[place]]
        same_row = asked[OF_BANK] == bank and asked[OF_ROW] == row
        if same_row and burst in (NONE, asked[OF_BURST]):
            return place
    return NONE


@compiled(counted=False)
def check_request(rules: Rules, state: State, issued: Ints) -> None:
    """See that an activation, a read or a write is what a request in the queue waits for."""
    role, bank, row = rules.commands[issued[COMMAND], ROLE], issued[BANK], issued[IN_ROW]
    burst = NONE if role == OPEN else issued[BURST]
    place = find_request(rules, state, bank, row, burst)
    if place == NONE:
        note(state, NOT_ASKED, 0, 0)
    elif role != OPEN:
        writes = rules.requests[state.queue[place], WRITES]
        if writes != (role == WRITE):
            note(state, OTHER_WAY, writes, 0)
    if in_section(rules, state, issued[TICK]):
        note(state, IN_SECTION, 0, 0)
    elif is_held(rules, state, bank, row):
        note(state, HELD, 0, 0)


@compiled(counted=False)
def is_in_the_way(rules: Rules, state: State, bank: int) -> bool:
    """Tell whether a row of requests is what the program closes before it opens a group."""
    group, row = rules.group_of[bank], state.rows[REQUESTS, bank]
    entry = wanted(rules, state, group)
    if entry == NONE or units_row(rules, state, group) != CLOSED:
        return False
    every: bool = rules.fixed[BUFFERS] == 1
    return every or row == rules.program[entry, ROW_NUMBER]


@compiled(counted=False)
def is_other_wanted(rules: Rules, state: State, bank: int) -> bool:
    """Tell whether a request waits for another row of a bank, and none older for the open one."""
    for place in range(state.k[QUEUED]):
        asked = rules.requests[state.queue[place]]
        if asked[OF_BANK] == bank:
            if asked[OF_ROW] == state.rows[REQUESTS, bank]:
                return False
            if not is_held(rules, state, bank, asked[OF_ROW]):
                return True
    return False


@compiled(counted=False)
def check_close(rules: Rules, state: State, issued: Ints) -> None:
    """See that a row of requests is closed for the refresh, the program or a request."""
    bank, tick = issued[BANK], issued[TICK]
    group = rules.group_of[bank]
    in_the_way = is_in_the_way(rules, state, bank)
    # Rows of whole instances are closed at once.
    at_once = rules.fixed[BUFFERS] == 1 and rules.whole[group]
    if rules.commands[issued[COMMAND], OF_INSTANCE]:
        due = is_due(rules, state, tick, rules.instance_of[bank])
        if not due and not (in_the_way and at_once):
            note(state, NO_REASON, 0, 0)
        return
    if not in_section(rules, state, tick) and is_other_wanted(rules, state, bank):
        return
    if not in_the_way or at_once:
        note(state, NO_REASON, 0, 0)
        return
    for other in rules.groups[group]:
        if other == bank:
            break
        if state.rows[REQUESTS, other] != CLOSED and is_in_the_way(rules, state, other):
            note(state, TURN, 0, 0)
            break


@compiled(counted=False)
def is_group_in_the_way(rules: Rules, state: State, group: int) -> bool:
    """Tell whether a request waits for an open group."""
    row = units_row(rules, state, group)
    for place in range(state.k[QUEUED]):
        asked = rules.requests[state.queue[place]]
        needs = rules.fixed[BUFFERS] == 1 or asked[OF_ROW] == row
        if needs and rules.group_of[asked[OF_BANK]] == group:
            return True
    return False


@compiled(counted=False)
def check_group_close(rules: Rules, state: State, issued: Ints) -> None:
    """See that a group is closed for the refresh, for its next row or for a request."""
    group, tick = rules.group_of[issued[BANK]], issued[TICK]
    if any_due(rules, state, tick):
        return
    entry = wanted(rules, state, group)
    if entry != NONE:
        reason = rules.program[entry, ROW_NUMBER] != units_row(rules, state, group)
    else:
        reason = is_group_in_the_way(rules, state, group) and not in_section(rules, state, tick)
    if not reason:
        note(state, NO_REASON, 0, 0)


@compiled(counted=False)
def check_group_open(rules: Rules, state: State, issued: Ints) -> None:
    """See that the program is about the row, and that it can be done before the refresh."""
    bank, fixed = issued[BANK], rules.fixed
    group = rules.group_of[bank]
    entry = wanted(rules, state, group)
    if entry == NONE or rules.program[entry, ROW_NUMBER] != issued[IN_ROW]:
        note(state, NOT_WANTED, 0, 0)
        return
    first = units_row(rules, state, group) == CLOSED
    if fixed[GUARDED] and state.k[OPENED] and first:
        more = (state.left[entry] - 1) * fixed[EACH_MORE]
        takes = max(fixed[TO_CLOSE], fixed[WITH_ONE] + more)
        remain = fixed[INTERVAL] - issued[TICK] % fixed[INTERVAL]
        if takes > remain:
            note(state, UNGUARDED, takes, remain)


@compiled(counted=False)
def entry_of(rules: Rules, state: State, issued: Ints) -> int:
    """Return the entry of the program that a column command is of, or NONE."""
    program, head = rules.program, int(state.k[HEAD])
    role = rules.commands[issued[COMMAND], ROLE]
    if head == len(program):
        return NONE
    kind = program[head, KIND]
    if role == BUFFER_WRITE:
        if kind == LOAD:
            return head
        return loads_ahead(rules, state) if rules.fixed[DOUBLE] else NONE
    if role == RESULT_READ:
        return head if kind == RESULT else NONE
    same = kind == ROW and program[head, GROUP] == rules.group_of[issued[BANK]]
    return head if same and program[head, ROW_NUMBER] == issued[IN_ROW] else NONE


@compiled(counted=False)
def loads_ahead(rules: Rules, state: State) -> int:
    """Return the entry of the next LOADs, those one after the other, that is not done, or NONE."""
    program, k = rules.program, state.k
    k[LOADS] = max(k[LOADS], k[HEAD])
    while k[LOADS] < len(program) and program[k[LOADS], KIND] in (ROW, RESULT):
        k[LOADS] += 1
    entry = int(k[LOADS])
    while entry < len(program) and program[entry, KIND] == LOAD:
        if state.left[entry]:
            return entry
        entry += 1
    return NONE


@compiled(counted=False)
def check_program(rules: Rules, state: State, issued: Ints) -> None:
    """See that a command of the program is the next of its section, which has started."""
    if not may_start(rules, state):
        over = state.k[HEAD] == len(rules.program)
        note(state, NOT_NEXT if over else BEFORE_SECTION, state.k[HEAD], 0)
    elif rules.commands[issued[COMMAND], ROLE] == GROUP_OPEN:
        check_group_open(rules, state, issued)
    else:
        entry = entry_of(rules, state, issued)
        if entry == NONE:
            note(state, NOT_NEXT, state.k[HEAD], 0)
        elif rules.commands[issued[COMMAND], ROLE] == MULTIPLY:
            done = rules.program[entry, COUNT] - state.left[entry]
            if issued[BURST] != done % rules.fixed[BURSTS]:
                note(state, OTHER_BURST, done % rules.fixed[BURSTS], 0)


@compiled(counted=False)
def check_reason(rules: Rules, state: State, issued: Ints) -> None:
    """See that the program or a request is about a command."""
    role = rules.commands[issued[COMMAND], ROLE]
    if role in (OPEN, READ, WRITE):
        check_request(rules, state, issued)
    elif role == CLOSE:
        check_close(rules, state, issued)
    elif role == GROUP_CLOSE:
        check_group_close(rules, state, issued)
    elif role != REFRESH:
        check_program(rules, state, issued)


@compiled(counted=False)
def enter(rules: Rules, state: State, tick: int) -> None:
    """Let requests that have come into the queue; room that a tick makes is for the next one."""
    k = state.k
    if tick <= k[LAST]:
        return
    while k[QUEUED] < len(state.queue) and k[COMING] < len(rules.requests):
        if rules.requests[k[COMING], NOT_BEFORE] > tick:
            break
        state.queue[k[QUEUED]] = k[COMING]
        k[QUEUED] += 1
        k[COMING] += 1


@compiled(counted=False)
def step(rules: Rules, state: State, tick: int) -> None:
    """Go on in the program to what is not done; an empty section ends when it may start."""
    k, program = state.k, rules.program
    while k[HEAD] < len(program):
        if program[k[HEAD], KIND] == END:
            empty = k[HEAD] == 0 or program[k[HEAD] - 1, KIND] == END
            if empty and not may_start(rules, state):
                break
            k[SECTION_END] = k[RUNS_FROM] = tick
        elif state.left[k[HEAD]]:
            break
        k[HEAD] += 1


@compiled(counted=False)
def leave(rules: Rules, state: State, issued: Ints) -> None:
    """Take the request that a read or a write serves out of the queue."""
    k, waited = state.k, not may_start(rules, state)
    place = find_request(rules, state, issued[BANK], issued[IN_ROW], issued[BURST])
    if place == NONE:
        return
    k[QUEUED] -= 1
    for other in range(place, k[QUEUED]):
        state.queue[other] = state.queue[other + 1]
    if waited and may_start(rules, state):
        k[RUNS_FROM] = issued[TICK]
        step(rules, state, issued[TICK])


@compiled(counted=False)
def take(rules: Rules, state: State, issued: Ints) -> None:
    """Put a command into its nodes, on its bus, to its banks, the program and the queue."""
    command, tick, of = issued[COMMAND], issued[TICK], issued[SET]
    info, k = rules.commands[command], state.k
    levels = rules.node_starts.shape[1] - 1
    for i in range(rules.node_starts[of, 0], rules.node_starts[of, levels]):
        state.last[command, rules.nodes[i]] = tick
    owner = UNITS if info[OF_GROUPS] else REQUESTS
    state.free[info[BUS], owner] = tick + info[CYCLES]
    k[LAST] = max(k[LAST], tick)
    if info[OF_GROUPS]:
        k[LAST_OF_GROUPS] = max(k[LAST_OF_GROUPS], tick)
    role = info[ROLE]
    if role in (OPEN, CLOSE, GROUP_OPEN, GROUP_CLOSE):
        row = CLOSED if role in (CLOSE, GROUP_CLOSE) else issued[IN_ROW]
        for i in range(rules.bank_starts[of], rules.bank_starts[of + 1]):
            state.rows[owner, rules.banks[i]] = row
    if role == REFRESH:
        state.refreshed[rules.instance_of[issued[BANK]]] += 1
        k[OPENED] = 0
    elif role in (READ, WRITE):
        leave(rules, state, issued)
    elif role == GROUP_OPEN:
        k[OPENED] = 1
    elif role in (MULTIPLY, BUFFER_WRITE, RESULT_READ):
        entry = entry_of(rules, state, issued)
        if entry != NONE:
            state.left[entry] -= 1
            step(rules, state, tick)


@compiled(counted=False)
def check(rules: Rules, state: State, block: Ints) -> None:
    """Check a block of commands, one after the other, each against all before it."""
    for place in range(len(block)):
        issued = block[place]
        state.k[AT] = place
        if not rules.commands[issued[COMMAND], USED]:
            note(state, NOT_USED, 0, 0)
        elif issued[SET] < 0:
            # Of commands of memory, its own checker says so.
            if rules.commands[issued[COMMAND], OF_GROUPS]:
                note(state, NO_SET, 0, 0)
        else:
            enter(rules, state, issued[TICK])
            check_ticks(rules, state, issued)
            check_refresh(rules, state, issued)
            if rules.commands[issued[COMMAND], OF_GROUPS]:
                check_group_state(rules, state, issued)
            else:
                check_memory_state(rules, state, issued)
            check_reason(rules, state, issued)
            take(rules, state, issued)
