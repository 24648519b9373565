"""The controller of one of NeuPIMs' channels as compiled code: which command at which tick.

A channel has a list of PIM commands, served in order by these rules; timing is in the rows of the
table alone, but for what rules 2, 3 and 7 say:

1. One command a tick, each at the first tick that its rows allow.
2. GWRITE needs its row open in the memory's buffer: the bank is closed and opened for it. Until
   `GWRITE_TICKS` later no other PIM command goes.
3. COMPS_READRES of k steps is followed by another no earlier than `CADENCE` (max(k, `ADDER_STEPS`)
   + 1) later; READRES comes `FIRST_TO_RESULT` after the first COMP at the earliest.
4. P_HEADER waits until all banks are closed or on its row; those on another one are closed, the
   first that may be first.
5. A step or a result needs all banks open: groups with a closed bank are opened, the first that may
   be first.
6. The ranks are refreshed in turn. While a refresh is due, PIM issues nothing: the banks of its
   rank are closed, of both buffers, then it goes.
7. The guard: P_HEADER, GWRITE and what they close and open go only if the GEMVs to come, or the
   GWRITE, are estimated to take less than is left to the next refresh. Else PIM waits for it. Steps
   and results have no guard: a refresh closes their rows, and they are opened again.

With one row buffer, the memory's and the units' are the same. Ticks at which nothing can happen are
skipped. With reads and writes of the NPU meanwhile it is `neupims_traffic_kernel`'s.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import neupims_program
from simulator.dram.pim.neupims_program import (
    CLOSE,
    CLOSE_PIM,
    COMPOSITE,
    COMPUTE,
    GWRITE,
    HEADER,
    OPEN,
    OPEN_GROUP,
    REFRESH,
    RESULT,
    RESULTS,
    ROW,
    STEPS,
    USE,
)
from simulator.kernels import compiled

Ints = NDArray[np.int64]
NEVER = 1 << 60
#: The row of a bank that has none open.
CLOSED = -1
#: Columns of the rows of the table.
LEVEL, AFTER, TICKS, WINDOW = range(4)
#: Levels of a command.
CHANNEL, RANK, GROUP, BANK = range(4)
#: What a part and a mode fix. `PIM_ROWS`: which of the two buffers the units use. `TURN`: from one
#: refresh to the next. Those from `GUARD_CLOSE` on are terms of the guard's estimates.
(
    PIM_ROWS, TURN, GWRITE_TICKS, CADENCE, ADDER_STEPS, FIRST_TO_RESULT,
    GUARD_CLOSE, GUARD_GROUPS, GUARD_OPEN, GUARD_RESULT, GUARD_MISS,
) = range(11)  # fmt: skip
#: Scalars of a channel's state. `FREE`: the first tick without a command. `HELD`: the first at
#: which PIM may go on. `TURNS`: refreshes so far, of all ranks and from tick 0. `NEXT`: what of the
#: list is next. `STEPPED`: whether there was a COMP since the last READRES. `STEPS_DONE`: of all
#: GEMVs. `TRACED`: commands in the trace. `WAITED`: refreshes since the last of the list that was
#: done, or could first be issued.
FREE, HELD, TURNS, NEXT, STEPPED, STEPS_DONE, TRACED, WAITED = range(8)
SCALARS = 8
#: Whether the list and refreshes are done, the trace is full, or nothing can move.
FINISHED, FULL, STUCK = range(3)
#: Refreshes after which what has not gone will never go.
MOST_WAITED = 64
#: Columns of a trace: tick, use, bank, row, steps.
TRACE_FIELDS = 5


class Machine(NamedTuple):
    """What a part and a mode fix for a channel.

    fixed: by PIM_ROWS and so on. nodes: (banks, levels), the instance of each level in one array of
    all, the channel first. rows: those between commands that are issued, by the use before; starts:
    where those of a use start. scopes: the level of each use.
    """

    fixed: Ints
    nodes: Ints
    rows: Ints
    starts: Ints
    scopes: Ints


class State(NamedTuple):
    """A channel in the middle of a run.

    k: scalars, by FREE and so on. ready: (uses, nodes), the tick that allows a use. history, rings:
    ticks of rows with a window, and where the next goes, by row and node. opened: (2, banks), the
    rows of memory and of the units. counts: by use.
    """

    k: Ints
    ready: Ints
    history: Ints
    rings: Ints
    opened: Ints
    counts: Ints


@compiled(neupims_program, counted=False)
def earliest(machine: Machine, state: State, use: int, bank: int, now: int) -> int:
    """Return the first tick from now on that the rows allow to a command."""
    tick = now
    for level in range(machine.scopes[use] + 1):
        tick = max(tick, state.ready[use, machine.nodes[bank, level]])
    return tick


@compiled(neupims_program, counted=False)
def note(machine: Machine, state: State, use: int, bank: int, tick: int) -> None:
    """Put a command into all rows of the table that it stands before."""
    for i in range(machine.starts[use], machine.starts[use + 1]):
        row = machine.rows[i]
        node, since, window = machine.nodes[bank, row[LEVEL]], tick, row[WINDOW]
        if window > 1:
            place = state.rings[i, node]
            state.history[i, node, place] = tick
            state.rings[i, node] = (place + 1) % window
            since = state.history[i, node, state.rings[i, node]]
        after = row[AFTER]
        state.ready[after, node] = max(state.ready[after, node], since + row[TICKS])


@compiled(neupims_program, counted=False)
def for_gwrite(machine: Machine, state: State, op: Ints, now: int) -> tuple[int, int, int]:
    """Return the next command towards a GWRITE: use, bank, tick."""
    use, row = GWRITE, state.opened[0, 0]
    if row != op[ROW]:
        use = OPEN if row == CLOSED else CLOSE
    return use, 0, earliest(machine, state, use, 0, now)


@compiled(neupims_program, counted=False)
def for_header(machine: Machine, state: State, op: Ints, now: int) -> tuple[int, int, int]:
    """Return the next command towards a header: use, bank, tick."""
    pim_rows = machine.fixed[PIM_ROWS]
    use, closing, best = HEADER, -1, NEVER
    for bank in range(len(machine.nodes)):
        row = state.opened[pim_rows, bank]
        if row not in (CLOSED, op[ROW]):
            use = CLOSE_PIM if pim_rows else CLOSE
            tick = earliest(machine, state, use, bank, now)
            if tick < best:
                closing, best = bank, tick
            if tick == now:
                break
    if closing < 0:
        return HEADER, 0, earliest(machine, state, HEADER, 0, now)
    return use, closing, best


@compiled(neupims_program, counted=False)
def for_gemv(machine: Machine, state: State, op: Ints, now: int) -> tuple[int, int, int]:
    """Return the next command towards a step or a result: use, bank, tick."""
    opening, best = -1, NEVER
    for bank in range(len(machine.nodes)):
        if state.opened[machine.fixed[PIM_ROWS], bank] == CLOSED:
            tick = earliest(machine, state, OPEN_GROUP, bank, now)
            if tick < best:
                opening, best = bank, tick
    if opening < 0:
        return op[USE], 0, earliest(machine, state, op[USE], 0, now)
    return OPEN_GROUP, opening, best


@compiled(neupims_program, counted=False)
def gwrite_estimate(machine: Machine, state: State, op: Ints) -> int:
    """Return the guard's estimate of a GWRITE, with what brings its row into the buffer."""
    fixed, row = machine.fixed, state.opened[0, 0]
    estimate: int = fixed[GWRITE_TICKS]
    if row != op[ROW]:
        estimate += fixed[GUARD_MISS]
        if row != CLOSED:
            estimate += fixed[GUARD_CLOSE]
    return estimate


@compiled(neupims_program, counted=False)
def gemv_estimate(machine: Machine, state: State, op: Ints) -> int:
    """Return the guard's estimate of the GEMVs that a header announces, with all openings.

    The groups of the ranks open side by side.
    """
    fixed, nodes = machine.fixed, machine.nodes
    banks, groups, last = 0, 0, -1
    for bank in range(len(nodes)):
        row = state.opened[fixed[PIM_ROWS], bank]
        if row != op[ROW]:
            banks += row != CLOSED
            groups += nodes[bank, GROUP] != last
            last = nodes[bank, GROUP]
    ranks = nodes[len(nodes) - 1, RANK] - nodes[0, RANK] + 1
    return int(
        fixed[GUARD_CLOSE] * banks
        + fixed[GUARD_GROUPS] * (groups // ranks - 1)
        + fixed[GUARD_OPEN]
        + fixed[CADENCE] * max(op[STEPS], fixed[ADDER_STEPS])
        + fixed[GUARD_RESULT] * (op[RESULTS] - 1)
    )


@compiled(neupims_program, counted=False)
def goes_on(machine: Machine, state: State, op: Ints, now: int, tick: int) -> bool:
    """Tell whether the guard lets a command go that is looked at now and may go at a tick."""
    looked, estimate = tick, -NEVER
    if op[USE] == HEADER:
        # It is looked at in every tick until it goes, and what is left gets less.
        estimate = gemv_estimate(machine, state, op)
    elif op[USE] == GWRITE:
        # NewtonSim looks at it once; opening its bank takes no longer than the estimate has for it.
        looked, estimate = now, gwrite_estimate(machine, state, op)
    return bool(estimate < machine.fixed[TURN] - (looked + 1) % machine.fixed[TURN])


@compiled(neupims_program, counted=False)
def open_group(machine: Machine, state: State, bank: int, row: int) -> None:
    """Open a row in the banks of a group; one that is open is on it, and NewtonSim leaves it so."""
    rows, groups = state.opened[machine.fixed[PIM_ROWS]], machine.nodes[:, GROUP]
    for other in range(len(groups)):
        if groups[other] == groups[bank] and rows[other] == CLOSED:
            rows[other] = row


@compiled(neupims_program, counted=False)
def take_gemv(machine: Machine, state: State, use: int, steps: int, tick: int) -> None:
    """Put a GEMV, or a part of one, into the units."""
    k, ready, fixed = state.k, state.ready, machine.fixed
    k[STEPS_DONE] += steps
    if use == COMPOSITE:
        busy = fixed[CADENCE] * (max(steps, fixed[ADDER_STEPS]) + 1)
        ready[use, 0] = max(ready[use, 0], tick + busy)
    elif use == COMPUTE and not k[STEPPED]:
        ready[RESULT, 0] = max(ready[RESULT, 0], tick + fixed[FIRST_TO_RESULT])
    k[STEPPED] = use == COMPUTE


@compiled(neupims_program, counted=False)
def issue(
    machine: Machine, state: State, use: int, bank: int, row: int, steps: int, tick: int,
    trace: Ints,
) -> None:  # fmt: skip
    """Issue a command: into the table, the buffers and the trace, which may have no room."""
    k, opened = state.k, state.opened
    note(machine, state, use, bank, tick)
    state.counts[use] += 1
    k[FREE] = tick + 1
    if use == OPEN:
        opened[0, bank] = row
    elif use in (CLOSE, CLOSE_PIM):
        buffer = 1 if use == CLOSE_PIM else 0
        row = opened[buffer, bank]
        opened[buffer, bank] = CLOSED
    elif use == OPEN_GROUP:
        open_group(machine, state, bank, row)
    elif use == REFRESH:
        k[TURNS] += 1
    elif use == GWRITE:
        k[HELD] = tick + machine.fixed[GWRITE_TICKS]
    elif use in (COMPUTE, RESULT, COMPOSITE):
        take_gemv(machine, state, use, steps, tick)
    if len(trace):
        place = trace[k[TRACED]]
        place[0], place[1], place[2], place[3], place[4] = tick, use, bank, row, steps
        k[TRACED] += 1


@compiled(neupims_program, counted=False)
def for_refresh(machine: Machine, state: State) -> tuple[int, int, int]:
    """Return the next command towards the next refresh, when it is due: use, bank, tick."""
    k, nodes = state.k, machine.nodes
    now = max(k[FREE], (k[TURNS] + 1) * machine.fixed[TURN])
    ranks = nodes[len(nodes) - 1, RANK] - nodes[0, RANK] + 1
    span = len(nodes) // ranks
    first = k[TURNS] % ranks * span
    use, closing, best = REFRESH, first, NEVER
    for bank in range(first, first + span):
        if state.opened[0, bank] == CLOSED and state.opened[1, bank] == CLOSED:
            continue
        closes = CLOSE if state.opened[0, bank] != CLOSED else CLOSE_PIM
        tick = earliest(machine, state, closes, bank, now)
        if tick < best:
            use, closing, best = closes, bank, tick
    if use == REFRESH:
        best = earliest(machine, state, use, first, now)
    return use, closing, best


@compiled(neupims_program, counted=False)
def for_op(machine: Machine, state: State, op: Ints, now: int) -> tuple[int, int, int]:
    """Return the next command towards what is to be done: use, bank, tick."""
    if op[USE] == GWRITE:
        return for_gwrite(machine, state, op, now)
    if op[USE] == HEADER:
        return for_header(machine, state, op, now)
    return for_gemv(machine, state, op, now)


@compiled(neupims_program, counted=False)
def serve(
    machine: Machine, state: State, ops: Ints, first: int, every: int, until: int, issued: Ints,
    trace: Ints,
) -> int:  # fmt: skip
    """Serve a list, which `k[NEXT]` says how far is done, and then refreshes due before `until`.

    ops: (count, columns USE to ITEM), of which the first may be issued at tick `first` and each
    other one `every` ticks after the one before. issued: (count,), gets the tick of each. trace:
    (room, TRACE_FIELDS), of which `k[TRACED]` are used. Returns FINISHED, FULL or STUCK.
    """
    k = state.k
    while True:
        done, due = k[NEXT] == len(ops), (k[TURNS] + 1) * machine.fixed[TURN]
        if done and due >= until:
            return FINISHED
        if len(trace) and k[TRACED] == len(trace):
            return FULL
        if k[WAITED] > MOST_WAITED:
            return STUCK
        sent = NEVER if done else first + every * k[NEXT]
        now, tick = max(k[FREE], k[HELD], sent), NEVER
        if now < due:
            op = ops[k[NEXT]]
            use, bank, tick = for_op(machine, state, op, now)
            row, steps = op[ROW], op[STEPS] if use in (COMPUTE, COMPOSITE) else 0
            if not goes_on(machine, state, op, now, tick):
                tick = NEVER
        if tick >= due:
            use, bank, tick = for_refresh(machine, state)
            row, steps = 0, 0
            k[WAITED] += use == REFRESH and sent < due
        elif use == ops[k[NEXT], USE]:
            issued[k[NEXT]] = tick
            k[NEXT] += 1
            k[WAITED] = 0
        issue(machine, state, use, bank, row, steps, tick, trace)
