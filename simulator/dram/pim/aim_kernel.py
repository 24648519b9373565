"""AiM channels behind one DMA as compiled code: which command at which tick.

The behaviour of arkhadem/aim_simulator (AiM_dram_controller.cpp, aim_DRAM_system.cpp @0f28a07), by
these rules:

1. A channel serves its commands in order, one a tick, each at the first tick that the table allows.
2. A command that needs a row: if another is open, all banks are closed; if none is, all are opened.
3. Commands of registers and the buffer need the register mode, all others need it off. When the
   command of rule 2 could be issued in the wrong mode, the mode changes instead.
4. A read of registers blocks the DMA: what follows is sent a tick after all have called back.
5. Refresh, where there is one, comes with all banks closed, when it is due or after the command
   that was begun before. This is not in aim_simulator.

Without a trace, commands alike are issued at once, up to the next refresh.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
NEVER = 1 << 60
CLOSED = -1
#: Kinds of commands.
OPEN, CLOSE, NEEDS_ROW, ROW_CLOSE, REGISTER_WRITE, REGISTER_READ, MODE, REFRESH = range(8)
#: Columns of a run: `COUNT` commands alike on one channel, or on all where it is -1.
COMMAND, COUNT, CHANNEL, ROW = range(4)
#: Columns of `Machine.rows`.
BEFORE, TICKS = range(2)
#: What a part fixes: the commands that the rules add; ticks from a read of registers to its call
#: back; the refresh interval, 0 for none.
OPENER, CLOSER, MODER, REFRESHER, READ_TICKS, INTERVAL = range(6)
#: Rows of `State.channels`: tick of the last command, open row, mode, the next refresh; the tick at
#: which the row was opened, and ticks for which those before it were open.
CLOCK, OPENED, IN_REGISTERS, REFRESH_AT, OPENED_AT, OPEN_TICKS = range(6)
CHANNEL_SCALARS = 6
#: The scalars: the run that is next, and of it the channel; the tick from which the DMA can send;
#: that at which all that was sent has called back.
NEXT, AT, FREE, CALLED_BACK, TRACED = range(5)
SCALARS = 5
#: Commands of a trace at most for one of a run, two refreshes on the way included.
MOST_TRACED = 16


class Machine(NamedTuple):
    """Channels for the kernel. kinds: of each command; rows: of the table, by the command after."""

    fixed: Ints
    kinds: Ints
    rows: Ints
    starts: Ints


class State(NamedTuple):
    """Channels in the middle of a program.

    k: scalars. channels: by CLOCK and so on. last: tick of the last of each command, by channel.
    counts: commands of all channels.
    """

    k: Ints
    channels: Ints
    last: Ints
    counts: Ints


@inlined
def _ready(machine: Machine, state: State, channel: int, command: int) -> int:
    """Return the first tick at which a channel can issue a command."""
    tick = state.channels[CLOCK, channel] + 1
    for i in range(machine.starts[command], machine.starts[command + 1]):
        before = machine.rows[i, BEFORE]
        tick = max(tick, state.last[channel, before] + machine.rows[i, TICKS])
    return int(tick)


@inlined
def _needed(machine: Machine, state: State, channel: int, command: int, row: int) -> int:
    """Return what comes first of a command and what its row needs."""
    kind, opened = machine.kinds[command], state.channels[OPENED, channel]
    if kind in (NEEDS_ROW, ROW_CLOSE):
        if opened == CLOSED:
            return int(machine.fixed[OPENER])
        if opened != row:
            return int(machine.fixed[CLOSER])
    elif kind == REFRESH and opened != CLOSED:
        return int(machine.fixed[CLOSER])
    return command


@inlined
def _issue(
    machine: Machine, state: State, channel: int, command: int, row: int, column: int, trace: Ints
) -> int:
    """Issue the next command on the way to one, and return it."""
    kind = machine.kinds[command]
    issued = _needed(machine, state, channel, command, row)
    tick = _ready(machine, state, channel, issued)
    registers = kind in (REGISTER_WRITE, REGISTER_READ)
    if registers != (state.channels[IN_REGISTERS, channel] != 0):
        issued = machine.fixed[MODER]
        state.channels[IN_REGISTERS, channel] = registers
    state.last[channel, issued] = tick
    state.channels[CLOCK, channel] = tick
    state.counts[issued] += 1
    if machine.kinds[issued] == OPEN:
        state.channels[OPENED, channel] = row
        state.channels[OPENED_AT, channel] = tick
    elif machine.kinds[issued] in (CLOSE, ROW_CLOSE):
        state.channels[OPENED, channel] = CLOSED
        state.channels[OPEN_TICKS, channel] += tick - state.channels[OPENED_AT, channel]
    if len(trace):
        line = state.k[TRACED]
        trace[line, 0], trace[line, 1], trace[line, 2] = tick, channel, issued
        trace[line, 3], trace[line, 4] = max(row, 0), column
        state.k[TRACED] += 1
    return int(issued)


@inlined
def _refresh(machine: Machine, state: State, channel: int, trace: Ints) -> None:
    """Refresh a channel, not before it is due."""
    refresh, due = machine.fixed[REFRESHER], state.channels[REFRESH_AT, channel]
    state.channels[CLOCK, channel] = max(state.channels[CLOCK, channel], due - 1)
    while _issue(machine, state, channel, refresh, 0, 0, trace) != refresh:
        pass
    state.channels[REFRESH_AT, channel] += machine.fixed[INTERVAL]


@inlined
def _is_due(machine: Machine, state: State, channel: int, command: int, row: int) -> bool:
    """Tell whether a refresh comes before the next command on the way to one."""
    if machine.fixed[INTERVAL] == 0:
        return False
    needed = _needed(machine, state, channel, command, row)
    at = _ready(machine, state, channel, needed)
    return bool(at >= state.channels[REFRESH_AT, channel])


@inlined
def _repeat(machine: Machine, state: State, channel: int, command: int, many: int) -> int:
    """Issue commands alike after one of them at once; return how many it could."""
    tick = state.channels[CLOCK, channel]
    step = _ready(machine, state, channel, command) - tick
    if machine.fixed[INTERVAL]:
        many = min(many, (state.channels[REFRESH_AT, channel] - 1 - tick) // step)
    state.channels[CLOCK, channel] += many * step
    state.last[channel, command] += many * step
    state.counts[command] += many
    return int(many)


@inlined
def _serve(
    machine: Machine, state: State, channel: int, command: int, count: int, row: int, trace: Ints
) -> None:
    """Serve commands alike on a channel."""
    alike = machine.kinds[command] != ROW_CLOSE and len(trace) == 0
    done = 0
    while done < count:
        while _is_due(machine, state, channel, command, row):
            _refresh(machine, state, channel, trace)
        if _issue(machine, state, channel, command, row, done, trace) == command:
            done += 1
            if alike:
                done += _repeat(machine, state, channel, command, count - done)


@inlined
def _has_room(state: State, trace: Ints, commands: int) -> bool:
    return bool(len(trace) == 0 or state.k[TRACED] + MOST_TRACED * commands <= len(trace))


@compiled(counted=False)
def advance(machine: Machine, state: State, runs: Ints, trace: Ints) -> bool:
    """Serve runs until they are done, or the trace has no room for more; tell whether done.

    trace: room for rows of tick, channel, command, row, place in the run; of each channel in order,
    at least as much as the longest run needs. The caller empties it and sets `TRACED` to 0.
    """
    k, channels = state.k, state.channels
    while k[NEXT] < len(runs):
        command, count, which, row = runs[k[NEXT]]
        end = which + 1 if which >= 0 else channels.shape[1]
        blocks = machine.kinds[command] == REGISTER_READ
        for channel in range(max(which, k[AT]), end):
            k[AT] = channel
            while machine.fixed[INTERVAL] and channels[REFRESH_AT, channel] < k[FREE]:
                if not _has_room(state, trace, 1):
                    return False
                _refresh(machine, state, channel, trace)
            if not _has_room(state, trace, count):
                return False
            channels[CLOCK, channel] = max(channels[CLOCK, channel], k[FREE] - 1)
            _serve(machine, state, channel, command, count, row, trace)
            after = machine.fixed[READ_TICKS] if blocks else 1
            k[CALLED_BACK] = max(k[CALLED_BACK], channels[CLOCK, channel] + after)
        if blocks:
            k[FREE] = k[CALLED_BACK] + 1
        k[AT] = 0
        k[NEXT] += 1
    return True
