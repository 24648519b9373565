"""The controller of one HBM-PIM channel as compiled code: which command at which tick.

The behaviour of SAITPublic/PIMSimulator (@b00e73a: MemoryController, CommandQueue, Rank), by these
rules; one command a tick, the first that can be issued of 3 to 6:

1. Commands wait in one queue, in order; one enters in a tick, after that tick's command was chosen.
2. A barrier is the last command of a group: it is issued when all before it are, and nothing behind
   it sooner. What they move need not have arrived.
3. A refresh that is due: precharge the lowest open bank that may be, then refresh at once. While
   neither can be issued the rules below go on, so that busy banks open again. Two ranks take turns,
   and one refresh can wait: a newer one replaces it, and a stream that keeps banks open loses
   refreshes for good. That of the idle rank takes the tick.
4. The oldest column command whose row is open, up to the first barrier; that only as the head.
5. The oldest command whose bank is closed opens it, up to the first barrier that is not the head:
   so rows of the next group open while the head is a barrier. In HAB only banks of `HAB_BANK` open.
6. A bank closes whose open row no command up to and including the first barrier wants, in turn
   from the bank that closed last.
7. HAB holds from the tick after the last of its activations, SB from that after the last precharge.
8. A phase begins when all that the one before moves has arrived.

Ticks at which nothing can happen are skipped. Without a trace, commands of a group are issued at
once, up to the next tick at which a refresh, a mode or another bank may come between: until its
barrier the head run is all that the controller sees. What enters the queue cannot matter while it
holds two barriers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import hbm_pim_program
from simulator.dram.pim.hbm_pim_program import (
    BANK,
    BARRIER,
    COLUMN,
    COUNT,
    IS_WRITE,
    PHASE,
    ROW,
)
from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
CLOSED = -1
#: Commands by what the controller uses them for; WAIT is none, SKIP the refresh of the other rank.
OPEN, CLOSE, READ, WRITE, REFRESH = range(5)
USES = 5
WAIT, SKIP = -1, -2
#: Columns of `Machine.rows`: level, use before, ticks.
LEVEL, BEFORE, TICKS = range(3)
#: Rows of `Machine.banks`: whether it may open in HAB, enters HAB, leaves it.
HAB_BANK, ENTERS, LEAVES = range(3)
#: What a part fixes. `READ_DONE`, `WRITE_DONE`: ticks from the command to the cycle after it is
#: complete. Rows are NEVER where modes do not change.
DEPTH, INTERVAL, READ_DONE, WRITE_DONE, ENTER_ROW, EXIT_ROW = range(6)
#: The scalars of a state. `END`: first run of the next phase; `TAIL`: the run that enters the
#: queue, `TAIL_IN` of it did; `RUNS`, `HELD`, `BARRIERS`: runs, commands and barriers in the queue;
#: `DONE`: the tick at which all has arrived; `LAST_CLOSED`: the bank; `MOVED`: tick of the last
#: column command.
(
    TICK, END, TAIL, TAIL_IN, RUNS, HELD, BARRIERS, DONE, HAB, HAB_AT, SB_AT, REFRESH_AT, OTHER_AT,
    REFRESH_WAITS, OTHER_WAITS, LAST_CLOSED, MOVED, TRACED,
) = range(18)  # fmt: skip
SCALARS = 18
#: Whether all is done, the trace is full, or nothing can move.
FINISHED, FULL, STUCK = range(3)
#: Refresh intervals without a column command after which nothing can move.
PATIENCE = 8


class Machine(NamedTuple):
    """A channel for the kernel.

    fixed: by DEPTH and so on. nodes: of each bank and level, its place in `State.last`. rows: of
    the table, by the use after; starts: where those of a use start. banks: by HAB_BANK and so on.
    commands: by use, its number in the standard.
    """

    fixed: Ints
    nodes: Ints
    rows: Ints
    starts: Ints
    banks: Ints
    commands: Ints


class State(NamedTuple):
    """A channel in the middle of a program: arrays that the kernel changes.

    k: scalars. last: tick of the last command, by place and use. opened: rows of the banks, or
    CLOSED. queue: numbers of the runs in it. left: of each run, commands not yet issued. marks: of
    each bank, whether it was opened to enter HAB, closed to leave it. counts: of SB, then of HAB,
    commands by use.
    """

    k: Ints
    last: Ints
    opened: Ints
    queue: Ints
    left: Ints
    marks: Ints
    counts: Ints


@inlined
def _ready(machine: Machine, state: State, use: int, bank: int) -> int:
    """Return the first tick at which the table allows a command."""
    tick, rows = 0, machine.rows
    for i in range(machine.starts[use], machine.starts[use + 1]):
        place = machine.nodes[bank, rows[i, LEVEL]]
        tick = max(tick, state.last[place, rows[i, BEFORE]] + rows[i, TICKS])
    return tick


@inlined
def _note(machine: Machine, state: State, use: int, bank: int, tick: int) -> None:
    for level in range(machine.nodes.shape[1]):
        state.last[machine.nodes[bank, level], use] = tick


@inlined
def _take_due(machine: Machine, state: State, tick: int) -> None:
    """Change the mode, and let refreshes wait, whose time has come."""
    k = state.k
    if tick >= k[HAB_AT]:
        k[HAB], k[HAB_AT] = 1, NEVER
    if tick >= k[SB_AT]:
        k[HAB], k[SB_AT] = 0, NEVER
    if tick >= k[REFRESH_AT]:
        k[REFRESH_WAITS], k[OTHER_WAITS] = 1, 0
        k[REFRESH_AT] += machine.fixed[INTERVAL]
    if tick >= k[OTHER_AT]:
        k[OTHER_WAITS], k[REFRESH_WAITS] = 1, 0
        k[OTHER_AT] += machine.fixed[INTERVAL]


@inlined
def _for_refresh(machine: Machine, state: State, tick: int) -> tuple[int, int, int]:
    """Return (use, bank, tick at which there may be one) of what a waiting refresh needs."""
    soon, closed = NEVER, True
    for bank in range(len(state.opened)):
        if state.opened[bank] != CLOSED:
            closed = False
            at = _ready(machine, state, CLOSE, bank)
            if at <= tick:
                return CLOSE, bank, NEVER
            soon = min(soon, at)
    if closed:
        at = _ready(machine, state, REFRESH, 0)
        if at <= tick:
            return REFRESH, 0, NEVER
        soon = at
    return WAIT, 0, soon


@inlined
def _is_barrier(state: State, runs: Ints, run: int) -> bool:
    """Tell whether the next command of a run is a barrier."""
    return bool(runs[run, BARRIER] != 0 and state.left[run] == 1)


@inlined
def _column(machine: Machine, state: State, runs: Ints, tick: int) -> tuple[int, int]:
    """Return (place in the queue or WAIT, tick at which there may be one)."""
    soon = NEVER
    for place in range(state.k[RUNS]):
        run = state.queue[place]
        if place > 0 and _is_barrier(state, runs, run):
            break
        bank = runs[run, BANK]
        if state.opened[bank] == runs[run, ROW]:
            at = _ready(machine, state, READ + runs[run, IS_WRITE], bank)
            if at <= tick:
                return place, NEVER
            soon = min(soon, at)
        if runs[run, BARRIER]:
            break
    return WAIT, soon


@inlined
def _opening(machine: Machine, state: State, runs: Ints, tick: int) -> tuple[int, int]:
    """Return (place in the queue or WAIT, tick at which there may be one)."""
    soon = NEVER
    for place in range(state.k[RUNS]):
        run = state.queue[place]
        is_barrier = _is_barrier(state, runs, run)
        if place > 0 and is_barrier:
            break
        bank = runs[run, BANK]
        may_open = state.k[HAB] == 0 or machine.banks[HAB_BANK, bank] != 0
        if state.opened[bank] == CLOSED and may_open:
            at = _ready(machine, state, OPEN, bank)
            if at <= tick:
                return place, NEVER
            soon = min(soon, at)
        if runs[run, BARRIER] and not is_barrier:
            break
    return WAIT, soon


@inlined
def _wanted(state: State, runs: Ints, bank: int) -> bool:
    """Tell whether a command up to the first barrier wants the open row of a bank."""
    for place in range(state.k[RUNS]):
        run = state.queue[place]
        if runs[run, BANK] == bank and runs[run, ROW] == state.opened[bank]:
            return True
        if runs[run, BARRIER]:
            break
    return False


@inlined
def _closing(machine: Machine, state: State, runs: Ints, tick: int) -> tuple[int, int]:
    """Return (bank or WAIT, tick at which there may be one)."""
    soon, banks = NEVER, len(state.opened)
    for turn in range(banks):
        bank = (state.k[LAST_CLOSED] + turn) % banks
        if state.opened[bank] == CLOSED:
            continue
        at = _ready(machine, state, CLOSE, bank)
        if at > tick:
            soon = min(soon, at)
        elif not _wanted(state, runs, bank):
            return bank, NEVER
    return WAIT, soon


@inlined
def _choose(machine: Machine, state: State, runs: Ints, tick: int) -> tuple[int, int, int, int]:
    """Return (use, bank, place in the queue, tick at which there may be a command) by rules 3-6."""
    soon = NEVER
    if state.k[OTHER_WAITS]:
        state.k[OTHER_WAITS] = 0
        return SKIP, 0, 0, NEVER
    if state.k[REFRESH_WAITS]:
        use, bank, soon = _for_refresh(machine, state, tick)
        if use != WAIT:
            return use, bank, 0, NEVER
    place, at = _column(machine, state, runs, tick)
    if place != WAIT:
        run = state.queue[place]
        return READ + runs[run, IS_WRITE], runs[run, BANK], place, NEVER
    soon = min(soon, at)
    place, at = _opening(machine, state, runs, tick)
    if place != WAIT:
        return OPEN, runs[state.queue[place], BANK], place, NEVER
    soon = min(soon, at)
    bank, at = _closing(machine, state, runs, tick)
    if bank != WAIT:
        state.k[LAST_CLOSED] = bank
        return CLOSE, bank, 0, NEVER
    return WAIT, 0, 0, min(soon, at)


@inlined
def _marked(machine: Machine, state: State, which: int, bank: int) -> bool:
    """Mark a bank, and tell whether all that change the mode are; then no mark stays."""
    if machine.banks[which, bank]:
        state.marks[which, bank] = 1
    for each in range(len(state.opened)):
        if machine.banks[which, each] and not state.marks[which, each]:
            return False
    state.marks[which, :] = 0
    return True


@inlined
def _open(machine: Machine, state: State, bank: int, row: int, tick: int) -> None:
    state.opened[bank] = row
    enters = state.k[HAB] == 0 and row == machine.fixed[ENTER_ROW]
    if enters and _marked(machine, state, ENTERS, bank):
        state.k[HAB_AT] = tick + 1


@inlined
def _close(machine: Machine, state: State, bank: int, tick: int) -> None:
    leaves = state.k[HAB] != 0 and state.opened[bank] == machine.fixed[EXIT_ROW]
    if leaves and _marked(machine, state, LEAVES, bank):
        state.k[SB_AT] = tick + 1
    state.opened[bank] = CLOSED


@inlined
def _in_queue(state: State, runs: Ints, run: int) -> int:
    """Return the commands of a run that are in the queue."""
    if run == state.k[TAIL]:
        return int(state.left[run] - runs[run, COUNT] + state.k[TAIL_IN])
    return int(state.left[run])


@inlined
def _serve(machine: Machine, state: State, runs: Ints, place: int, many: int, tick: int) -> None:
    """Take commands of a run, the last one issued at a tick, out of the queue."""
    k, run = state.k, state.queue[place]
    done = machine.fixed[WRITE_DONE] if runs[run, IS_WRITE] else machine.fixed[READ_DONE]
    k[DONE] = max(k[DONE], tick + done)
    k[MOVED] = tick
    state.left[run] -= many
    k[HELD] -= many
    if state.left[run] == 0:
        k[BARRIERS] -= runs[run, BARRIER]
    if _in_queue(state, runs, run) == 0:
        for after in range(place, k[RUNS] - 1):
            state.queue[after] = state.queue[after + 1]
        k[RUNS] -= 1


@inlined
def _enter(machine: Machine, state: State, runs: Ints, ticks: int) -> bool:
    """Let commands into the queue, one a tick, and tell whether any was."""
    k, entered = state.k, False
    while ticks > 0 and k[TAIL] < k[END] and k[HELD] < machine.fixed[DEPTH]:
        run = k[TAIL]
        if k[RUNS] == 0 or state.queue[k[RUNS] - 1] != run:
            state.queue[k[RUNS]] = run
            k[RUNS] += 1
        many = min(ticks, machine.fixed[DEPTH] - k[HELD], runs[run, COUNT] - k[TAIL_IN])
        k[TAIL_IN] += many
        k[HELD] += many
        ticks -= many
        entered = True
        if k[TAIL_IN] == runs[run, COUNT]:
            k[BARRIERS] += runs[run, BARRIER]
            k[TAIL] += 1
            k[TAIL_IN] = 0
    return entered


@inlined
def _burst(machine: Machine, state: State, runs: Ints, use: int, tick: int) -> int:
    """Issue what follows of the head run before its barrier; return the tick of the last one."""
    k, run = state.k, state.queue[0]
    bank, few = runs[run, BANK], state.left[run] - 1
    if k[RUNS] == 0 or not runs[run, BARRIER] or few < 1 or run == k[TAIL]:
        return tick
    if k[REFRESH_WAITS] or k[OTHER_WAITS]:
        return tick
    until = min(min(k[REFRESH_AT], k[OTHER_AT]), min(k[HAB_AT], k[SB_AT]))
    for other in range(len(state.opened)):
        if other != bank and state.opened[other] != CLOSED:
            until = min(until, max(tick + 1, _ready(machine, state, CLOSE, other)))
    step = max(1, _ready(machine, state, use, bank) - tick)
    many = min(few, (until - 1 - tick) // step)
    if many < 1:
        return tick
    last = tick + many * step
    _note(machine, state, use, bank, last)
    state.counts[k[HAB], use] += many
    _serve(machine, state, runs, 0, many, last)
    _enter(machine, state, runs, last - tick)
    return int(last)


@inlined
def _trace(
    machine: Machine, state: State, runs: Ints, use: int, bank: int, place: int, trace: Ints
) -> None:
    """Write the command that is about to be issued into a trace."""
    k = state.k
    row, column, line = state.opened[bank], 0, k[TRACED]
    if use == OPEN:
        row = runs[state.queue[place], ROW]
    elif use in (READ, WRITE):
        run = state.queue[place]
        column = runs[run, COLUMN] + runs[run, COUNT] - state.left[run]
    trace[line, 0], trace[line, 1], trace[line, 2] = k[TICK], machine.commands[use], bank
    trace[line, 3], trace[line, 4] = max(row, 0), column
    k[TRACED] += 1


@inlined
def _issue(machine: Machine, state: State, runs: Ints, use: int, bank: int, place: int) -> None:
    """Issue the command that was chosen."""
    tick = state.k[TICK]
    state.counts[state.k[HAB], use] += 1
    _note(machine, state, use, bank, tick)
    if use == OPEN:
        _open(machine, state, bank, runs[state.queue[place], ROW], tick)
    elif use == CLOSE:
        _close(machine, state, bank, tick)
    elif use == REFRESH:
        state.k[REFRESH_WAITS] = 0
    else:
        _serve(machine, state, runs, place, 1, tick)


@inlined
def _next_tick(state: State, quiet: bool, entered: bool, soon: int) -> int:
    """Return the next tick at which anything may happen; quiet: in this one nothing did."""
    k = state.k
    if quiet and not (entered and k[BARRIERS] < 2):
        soon = min(min(soon, min(k[REFRESH_AT], k[OTHER_AT])), min(k[HAB_AT], k[SB_AT]))
        later = max(soon, k[TICK] + 1)
    else:
        later = k[TICK] + 1
    if k[RUNS] == 0 and k[TAIL] == k[END]:
        later = min(later, k[DONE])
    return int(later)


@compiled(hbm_pim_program, counted=False)
def advance(machine: Machine, state: State, runs: Ints, trace: Ints) -> int:
    """Issue runs until they are done or the trace is full: FINISHED, FULL or STUCK.

    runs: as `hbm_pim_program` makes them. trace: room for rows of tick, command, bank, row, column;
    the caller empties it and sets `TRACED` to 0.
    """
    k = state.k
    while True:
        if k[RUNS] == 0 and k[TAIL] == k[END] and k[TICK] >= k[DONE]:
            if k[END] == len(runs):
                return FINISHED
            k[END] += 1
            while k[END] < len(runs) and runs[k[END], PHASE] == runs[k[END] - 1, PHASE]:
                k[END] += 1
            k[MOVED] = k[TICK]
        if len(trace) and k[TRACED] == len(trace):
            return FULL
        if k[TICK] > k[MOVED] + PATIENCE * machine.fixed[INTERVAL]:
            return STUCK
        _take_due(machine, state, k[TICK])
        use, bank, place, soon = _choose(machine, state, runs, k[TICK])
        if use >= 0:
            if len(trace):
                _trace(machine, state, runs, use, bank, place, trace)
            head = state.queue[0]
            _issue(machine, state, runs, use, bank, place)
            is_column = use in (READ, WRITE)
            if is_column and place == 0 and state.queue[0] == head and len(trace) == 0:
                k[TICK] = _burst(machine, state, runs, use, k[TICK])
        entered = _enter(machine, state, runs, 1)
        later = _next_tick(state, use == WAIT, entered, soon)
        _enter(machine, state, runs, later - k[TICK] - 1)
        k[TICK] = later
