"""The controller of a NeuPIMs channel that the NPU reads and writes beside PIM, as compiled code.

PIM's commands are those of `neupims_kernel`. In each tick, by NewtonSim's two controllers:

1. One request is offered, in order, until its queue has room: reads and writes have one each. A
   read of what a write in the queues holds is served by it; each other takes a command.
2. A command is issued: towards a refresh that is due, beside which PIM waits; else PIM's; else one
   of the requests. The queues of the banks are tried in turn, from behind the one that issued last,
   each from its oldest request on: the first whose next command is ready. Only the oldest closes
   its bank's row, and only if none of the bank needs it or `ROW_USES` have used it.
3. Two row buffers: PIM that waits leaves its tick to requests if the slack is `LEAST_SLACK` or
   more, which is what the guard last found left before the refresh; after a refresh there is none.
   To open a row takes `OPENING` of it, to close one `CLOSING`, and needs more than what is to
   follow. The bank of a GWRITE that has not ended serves no request, nor does the row of the last
   P_HEADER, whose banks memory closes before it.
4. One row buffer: PIM goes when no bank has a request, and while it has something to do none is
   given one. Its list comes a command a tick, and so is never short before its end.
5. A request is given to its bank: of the writes while they drain, else of the reads, the oldest
   whose bank's queue has room. Draining begins when writes are full, or more than `DRAIN_ABOVE` and
   no bank has any request, or nothing else is to come, for as many as there are. Before a write the
   reads of its place are given.

NewtonSim has PIM's commands in these queues too, and gives banks one of them in ticks in which it
gives no request; it takes two requests a tick, serves reads of one place together, and forgets the
row of P_HEADER at a refresh.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import neupims_kernel, neupims_program
from simulator.dram.pim.neupims_kernel import (
    AFTER,
    CLOSED,
    FINISHED,
    FREE,
    FULL,
    HELD,
    LEVEL,
    MOST_WAITED,
    NEVER,
    NEXT,
    PIM_ROWS,
    RANK,
    STUCK,
    TICKS,
    TRACED,
    TURN,
    TURNS,
    WAITED,
    Machine,
    State,
    earliest,
    for_op,
    for_refresh,
    gemv_estimate,
    gwrite_estimate,
    issue,
)
from simulator.dram.pim.neupims_program import (
    CLOSE,
    CLOSE_PIM,
    COMPOSITE,
    COMPUTE,
    GWRITE,
    HEADER,
    OPEN,
    READ,
    REFRESH,
    ROW,
    STEPS,
    USE,
    WRITE,
)
from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
#: Columns of requests: the tick before which the NPU does not ask, whether it writes, and where.
ASKED, WRITES, OF_BANK, OF_ROW, OF_BURST = range(5)
REQUEST_FIELDS = 5
#: What a part fixes.
ROW_USES, DRAIN_ABOVE, LEAST_SLACK, OPENING, CLOSING, READ_TICKS = range(6)
#: Scalars of the queues. `LAST`: the tick after the last beat of a read, or the last write's.
#: `BESIDE`: requests served while PIM had something to do. `TRIED`: the bank that issued last.
#: `UNWRITTEN`: writes that wait. `SKIPS`: whether PIM waits for the refresh. `LOOKED`: whether the
#: guard let the next GWRITE go. `KEPT`: the row that no request gets. `PIM_DUE`: before which PIM's
#: next command is not ready.
(
    OFFERED, SERVED, BESIDE, LAST, TRIED, DRAINING, AT_BANKS, UNWRITTEN, SLACK, SKIPS, LOOKED, KEPT,
    PIM_DUE,
) = range(13)  # fmt: skip
QUEUE_SCALARS = 13
#: Of each bank: its requests, the first tick at which one of them may be ready, column commands
#: since its row was opened.
SIZE, DUE, USES = range(3)
BANK_FIELDS = 3


class Rules(NamedTuple):
    """What a part fixes for requests.

    limits: by ROW_USES and so on. siblings: rows of the table from a use to the other instances of
    a level, each a use, then LEVEL, AFTER, TICKS.
    """

    limits: Ints
    siblings: Ints


class Queues(NamedTuple):
    """Requests of a channel that wait, by their place among all.

    q: scalars, by OFFERED and so on. waiting: (2, room), reads and writes that no bank has, oldest
    first, sizes: (2,), how many. banks: (BANK_FIELDS, banks). queued: (banks, room).
    """

    q: Ints
    waiting: Ints
    sizes: Ints
    banks: Ints
    queued: Ints


@inlined
def same_place(requests: Ints, one: int, other: int) -> bool:
    """Tell whether two requests are of the same burst."""
    same = True
    for field in (OF_BURST, OF_ROW, OF_BANK):
        same = same and requests[one, field] == requests[other, field]
    return same


@inlined
def is_written(requests: Ints, queues: Queues, index: int) -> bool:
    """Tell whether a write that waits holds what a request is of."""
    found, bank = False, requests[index, OF_BANK]
    if not queues.q[UNWRITTEN]:
        return found
    for place in range(queues.sizes[1]):
        found = found or same_place(requests, queues.waiting[1, place], index)
    if queues.q[UNWRITTEN] == queues.sizes[1]:
        return found
    for place in range(queues.banks[SIZE, bank]):
        other = queues.queued[bank, place]
        found = found or (requests[other, WRITES] == 1 and same_place(requests, other, index))
    return found


@inlined
def offer(requests: Ints, queues: Queues, tick: int) -> None:
    """Take the next request, if it is asked for and its queue has room."""
    q, index = queues.q, queues.q[OFFERED]
    if index == len(requests) or requests[index, ASKED] > tick:
        return
    write = requests[index, WRITES]
    size = queues.sizes[write]
    if size == queues.waiting.shape[1]:
        return
    q[OFFERED] += 1
    if not write and is_written(requests, queues, index):
        q[SERVED] += 1
        q[LAST] = max(q[LAST], tick + 1)
        return
    queues.waiting[write, size] = index
    queues.sizes[write] = size + 1
    q[UNWRITTEN] += write


@inlined
def give(rules: Rules, requests: Ints, queues: Queues) -> None:
    """Give one waiting request to its bank."""
    q, sizes, room = queues.q, queues.sizes, queues.waiting.shape[1]
    if not q[DRAINING]:
        idle = not q[AT_BANKS] and sizes[1] > rules.limits[DRAIN_ABOVE]
        last = q[OFFERED] == len(requests) and not sizes[0]
        if sizes[1] == room or idle or last:
            q[DRAINING] = sizes[1]
    which = 1 if q[DRAINING] else 0
    for place in range(sizes[which]):
        index = queues.waiting[which, place]
        bank = requests[index, OF_BANK]
        if queues.banks[SIZE, bank] == queues.queued.shape[1]:
            continue
        taken, from_place = which, place
        if which:
            for before in range(sizes[0]):
                if taken and same_place(requests, queues.waiting[0, before], index):
                    taken, from_place = 0, before
        q[DRAINING] -= taken
        enqueue(queues, bank, taken, from_place)
        return


@inlined
def enqueue(queues: Queues, bank: int, which: int, place: int) -> None:
    """Move a request from a queue to its bank."""
    waiting, banks = queues.waiting[which], queues.banks
    queues.queued[bank, banks[SIZE, bank]] = waiting[place]
    banks[SIZE, bank] += 1
    banks[DUE, bank] = 0
    queues.q[AT_BANKS] += 1
    queues.sizes[which] -= 1
    for later in range(place, queues.sizes[which]):
        waiting[later] = waiting[later + 1]


@inlined
def may_close(rules: Rules, requests: Ints, queues: Queues, bank: int, opened: int) -> bool:
    """Tell whether a bank's open row has been used enough, or is wanted by no request."""
    if queues.banks[USES, bank] >= rules.limits[ROW_USES]:
        return True
    wanted = False
    for place in range(queues.banks[SIZE, bank]):
        wanted = wanted or requests[queues.queued[bank, place], OF_ROW] == opened
    return not wanted


@inlined
def follows_read(requests: Ints, queues: Queues, bank: int, place: int) -> bool:
    """Tell whether a write is behind a read of its place."""
    found, index = False, queues.queued[bank, place]
    for before in range(place):
        other = queues.queued[bank, before]
        found = found or (requests[other, WRITES] == 0 and same_place(requests, other, index))
    return found


@inlined
def to_open(
    machine: Machine, state: State, requests: Ints, queues: Queues, bank: int, tick: int
) -> tuple[int, int, int]:
    """Return (place, use, tick) of what opens a closed bank; without any the place is -1."""
    for place in range(queues.banks[SIZE, bank]):
        row = requests[queues.queued[bank, place], OF_ROW]
        if row != queues.q[KEPT]:
            use = OPEN
            if machine.fixed[PIM_ROWS] and state.opened[1, bank] == row:
                use = CLOSE_PIM
            return place, use, earliest(machine, state, use, bank, tick)
    return -1, OPEN, NEVER


@inlined
def of_bank(
    machine: Machine, state: State, rules: Rules, requests: Ints, queues: Queues, bank: int,
    tick: int, slack: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (place, use, tick) of a bank's next command; none is ready where the place is -1."""
    opened, kept, limits = state.opened[0, bank], queues.q[KEPT], rules.limits
    if opened == CLOSED:
        place, use, due = to_open(machine, state, requests, queues, bank, tick)
        ready = due <= tick and (use != OPEN or slack > limits[OPENING])
        return place if ready else -1, use, due
    soon, oldest = NEVER, requests[queues.queued[bank, 0], OF_ROW]
    if oldest not in (opened, kept) and may_close(rules, requests, queues, bank, opened):
        soon = earliest(machine, state, CLOSE, bank, tick)
        if soon <= tick and slack > limits[CLOSING] + limits[OPENING]:
            return 0, CLOSE, soon
    if opened == kept:
        return -1, CLOSE, soon
    reads = earliest(machine, state, READ, bank, tick)
    writes = earliest(machine, state, WRITE, bank, tick)
    if min(reads, writes) <= tick:
        for place in range(queues.banks[SIZE, bank]):
            index = queues.queued[bank, place]
            write = requests[index, WRITES]
            ready = requests[index, OF_ROW] == opened and (writes if write else reads) <= tick
            if ready and not (write and follows_read(requests, queues, bank, place)):
                return place, WRITE if write else READ, tick
    return -1, CLOSE, min(soon, reads, writes)


@inlined
def next_request(
    machine: Machine, state: State, rules: Rules, requests: Ints, queues: Queues, tick: int,
    slack: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (bank, place, use) of the next command that is ready; of none the place is -1."""
    q, banks, bank, ranks = queues.q, queues.banks, queues.q[TRIED], machine.nodes[:, RANK]
    refreshed = -1
    if tick >= (state.k[TURNS] + 1) * machine.fixed[TURN]:
        refreshed = ranks[0] + state.k[TURNS] % (ranks[-1] - ranks[0] + 1)
    # The buffer of vectors is filled from the first bank.
    filling = q[LOOKED] or tick < state.k[HELD]
    for _ in range(banks.shape[1]):
        bank = bank + 1 if bank + 1 < banks.shape[1] else 0
        if not banks[SIZE, bank] or banks[DUE, bank] > tick or (filling and bank == 0):
            continue
        if ranks[bank] == refreshed:
            continue
        place, use, due = of_bank(machine, state, rules, requests, queues, bank, tick, slack)
        if place >= 0:
            return bank, place, use
        banks[DUE, bank] = due
    return 0, -1, 0


@inlined
def note_siblings(
    machine: Machine, state: State, rules: Rules, use: int, bank: int, tick: int
) -> None:
    """Put a command into the rows that are of other instances of a level."""
    for i in range(len(rules.siblings)):
        if rules.siblings[i, 0] != use:
            continue
        row = rules.siblings[i, 1:]
        level, node = row[LEVEL], machine.nodes[bank, row[LEVEL]]
        above = machine.nodes[bank, max(0, level - 1)]
        for other in range(len(machine.nodes)):
            there = machine.nodes[other, level]
            if there != node and machine.nodes[other, max(0, level - 1)] == above:
                ready = state.ready[row[AFTER], there]
                state.ready[row[AFTER], there] = max(ready, tick + row[TICKS])


@inlined
def is_let(machine: Machine, state: State, queues: Queues, op: Ints, tick: int) -> bool:
    """Tell whether the guard lets PIM's next go on, and keep the slack that it found."""
    q = queues.q
    if op[USE] == HEADER:
        estimate = gemv_estimate(machine, state, op)
    elif op[USE] == GWRITE and not q[LOOKED]:
        estimate = gwrite_estimate(machine, state, op)
    else:
        return True
    slack = machine.fixed[TURN] - (tick + 1) % machine.fixed[TURN] - estimate
    q[SLACK], q[SKIPS] = max(0, slack), slack <= 0
    if slack > 0:
        q[LOOKED] = op[USE] == GWRITE
        if op[USE] == HEADER and machine.fixed[PIM_ROWS]:
            q[KEPT] = op[ROW]
    return bool(slack > 0)


@inlined
def for_pim(
    machine: Machine, state: State, queues: Queues, op: Ints, tick: int
) -> tuple[int, int, int]:
    """Return PIM's next command: use, bank, and the tick at which it may go, later than now or not.

    op: what is to be done, for which PIM need not wait.
    """
    q, held = queues.q, max(state.k[HELD], queues.q[PIM_DUE])
    if tick < held:
        return op[USE], 0, held
    if not is_let(machine, state, queues, op, tick):
        return op[USE], 0, NEVER
    use, bank, at = for_op(machine, state, op, tick)
    if use == HEADER and machine.fixed[PIM_ROWS]:
        for other in range(len(machine.nodes)):
            if state.opened[0, other] == op[ROW]:
                closes = earliest(machine, state, CLOSE, other, tick)
                if use == HEADER or closes < at:
                    use, bank, at = CLOSE, other, closes
    if op[USE] != HEADER:
        q[PIM_DUE] = at
    return use, bank, at


@inlined
def issue_for_pim(
    machine: Machine, state: State, queues: Queues, ops: Ints, issued: Ints, use: int, bank: int,
    tick: int, waits: bool, trace: Ints,
) -> None:  # fmt: skip
    """Issue a command of PIM or of a refresh; waits: whether PIM has something to do."""
    k, q, banks = state.k, queues.q, queues.banks
    refreshes = tick >= (k[TURNS] + 1) * machine.fixed[TURN]
    row = steps = 0
    if not refreshes:
        row, steps = ops[k[NEXT], ROW], ops[k[NEXT], STEPS] if use in (COMPUTE, COMPOSITE) else 0
    issue(machine, state, use, bank, row, steps, tick, trace)
    q[PIM_DUE], banks[DUE] = 0, 0
    if use in (OPEN, CLOSE):
        banks[USES, bank] = 0
    if use == REFRESH:
        q[SLACK] = q[SKIPS] = 0
        k[WAITED] += waits or queues.sizes[0] + queues.sizes[1] + q[AT_BANKS] > 0
    elif not refreshes and use == ops[k[NEXT], USE]:
        issued[k[NEXT]] = tick
        k[NEXT] += 1
        k[WAITED] = q[LOOKED] = 0
        if k[NEXT] == len(ops):
            q[KEPT] = CLOSED


@inlined
def book(
    machine: Machine, state: State, rules: Rules, queues: Queues, bank: int, place: int, use: int,
    tick: int,
) -> None:  # fmt: skip
    """Take a request that is read or written out of its bank's queue."""
    q, banks, queued = queues.q, queues.banks, queues.queued[bank]
    note_siblings(machine, state, rules, use, bank, tick)
    q[SERVED] += 1
    q[AT_BANKS] -= 1
    q[UNWRITTEN] -= use == WRITE
    q[LAST] = max(q[LAST], tick + (rules.limits[READ_TICKS] if use == READ else 1))
    state.k[WAITED] = 0
    banks[USES, bank] += 1
    banks[SIZE, bank] -= 1
    for later in range(place, banks[SIZE, bank]):
        queued[later] = queued[later + 1]


@inlined
def issue_for_request(
    machine: Machine, state: State, rules: Rules, requests: Ints, queues: Queues, tick: int,
    waits: bool, trace: Ints,
) -> int:  # fmt: skip
    """Issue the next command of the requests, if one is ready; waits: whether PIM does.

    Returns the request that is read or written by it, -1 where none is.
    """
    q, banks, limits = queues.q, queues.banks, rules.limits
    limited = machine.fixed[PIM_ROWS] and waits and q[SLACK] > 0
    slack = q[SLACK] if limited else NEVER
    bank, place, use = next_request(machine, state, rules, requests, queues, tick, slack)
    if place < 0:
        return -1
    index = queues.queued[bank, place]
    issue(machine, state, use, bank, requests[index, OF_ROW], 0, tick, trace)
    q[TRIED], banks[DUE, bank] = bank, 0
    if use in (READ, WRITE):
        q[BESIDE] += waits
        book(machine, state, rules, queues, bank, place, use, tick)
        return int(index)
    banks[USES, bank] = 0
    if limited:
        q[SLACK] -= limits[OPENING] if use == OPEN else limits[CLOSING]
    return -1


@inlined
def next_tick(requests: Ints, queues: Queues, tick: int, soon: int, gives: bool, left: bool) -> int:
    """Return the next tick at which something may happen, when nothing does at this one.

    soon: that of PIM and refreshes. gives: whether banks are given requests. left: whether the tick
    is left to requests.
    """
    q, sizes, banks = queues.q, queues.sizes, queues.banks
    if (gives and sizes[0] + sizes[1]) or (q[AT_BANKS] and not left):
        return tick + 1
    for bank in range(banks.shape[1]):
        if banks[SIZE, bank]:
            soon = min(soon, banks[DUE, bank])
    index = q[OFFERED]
    if index < len(requests) and sizes[requests[index, WRITES]] < queues.waiting.shape[1]:
        soon = min(soon, requests[index, ASKED])
    return max(tick + 1, soon)


@inlined
def for_channel(
    machine: Machine, state: State, queues: Queues, ops: Ints, sent: int, tick: int
) -> tuple[int, int, int]:
    """Return the next command of a refresh that is due or of PIM: use, bank, tick.

    sent: when PIM's next comes. Without a command that may go, the tick is when to look again.
    """
    k, q = state.k, queues.q
    if tick >= (k[TURNS] + 1) * machine.fixed[TURN]:
        return for_refresh(machine, state)
    if q[SKIPS]:
        return REFRESH, 0, NEVER
    if sent <= tick and (machine.fixed[PIM_ROWS] or not q[AT_BANKS]):
        return for_pim(machine, state, queues, ops[k[NEXT]], tick)
    return REFRESH, 0, max(sent, tick + 1)


@inlined
def is_left(
    machine: Machine, state: State, rules: Rules, queues: Queues, waits: bool, tick: int
) -> bool:
    """Tell whether a tick that PIM does not use is left to requests."""
    q, refreshes = queues.q, tick >= (state.k[TURNS] + 1) * machine.fixed[TURN]
    if not machine.fixed[PIM_ROWS] or not waits or q[SKIPS] or refreshes:
        return True
    return bool(q[SLACK] >= rules.limits[LEAST_SLACK])


@compiled(neupims_kernel, neupims_program, counted=False)
def serve_beside(
    machine: Machine, state: State, rules: Rules, queues: Queues, requests: Ints, ops: Ints,
    first: int, every: int, until: int, issued: Ints, trace: Ints,
) -> int:  # fmt: skip
    """Serve a list as `neupims_kernel.serve`, and requests meanwhile.

    requests: (count, REQUEST_FIELDS), of which `OFFERED` are taken. until: 0 to end with the list;
    else, without a list, all requests and refreshes that are due before are served.
    """
    k, q = state.k, queues.q
    while True:
        done, due = k[NEXT] == len(ops), (k[TURNS] + 1) * machine.fixed[TURN]
        if done and (not until or (q[SERVED] == len(requests) and due >= until)):
            return FINISHED
        if len(trace) and k[TRACED] == len(trace):
            return FULL
        if k[WAITED] > MOST_WAITED:
            return STUCK
        tick, sent = k[FREE], NEVER if done else first + every * k[NEXT]
        waits = sent <= tick
        offer(requests, queues, tick)
        use, bank, at = for_channel(machine, state, queues, ops, sent, tick)
        left = is_left(machine, state, rules, queues, waits, tick)
        if at <= tick:
            issue_for_pim(machine, state, queues, ops, issued, use, bank, tick, waits, trace)
        elif left and q[AT_BANKS]:
            issue_for_request(machine, state, rules, requests, queues, tick, waits, trace)
        gives = machine.fixed[PIM_ROWS] or not waits
        if k[FREE] == tick:
            soon = min(at, due) if tick < due else at
            k[FREE] = next_tick(requests, queues, tick, soon, gives, left)
        if gives:
            give(rules, requests, queues)
