"""NeuPIMs' NPU and the channels of its memory as compiled code, an operation at a time.

A channel takes the requests of the NPU by the rules of `neupims_traffic_kernel`, and by those that
it leaves out:

1. Two requests of the NPU are offered in a tick, and two of the stores of attention, which have a
   list of their own.
2. A read of what another read waits for takes no command; both have their data at once.
3. A write of what a read waits for ends draining; if that read has no bank yet, reads are given
   until it has.
4. In a tick in which a command of PIM is issued, no request is given to a bank. Writes that are not
   enough to drain stay.

The NPU asks for all loads of an operation when it starts, in order. What it computes, it does in
order, each when the data of it and of all before are there:

5. A product starts `PRELOAD` after the one before where it comes with new weights, else `ISSUE`; in
   an idle array `COLD` after it is issued, or at once. It ends `LATENCY` after that, one in a tick.
6. A vector instruction takes its own ticks, one is issued in a tick.
7. A store is sent when what it stores is there, one in a tick, and asked for behind all loads.

What a channel does is felt elsewhere no sooner than `WINDOW` ticks later: so long channels run each
for itself. Ticks at which nothing can happen are skipped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import neupims_kernel, neupims_program, neupims_traffic_kernel
from simulator.dram.pim.neupims_kernel import (
    CLOSED,
    FREE,
    MOST_WAITED,
    NEVER,
    NEXT,
    PIM_ROWS,
    RANK,
    TURN,
    TURNS,
    Machine,
    State,
)
from simulator.dram.pim.neupims_program import COMPOSITE, RESULT, USE
from simulator.dram.pim.neupims_program import ITEM as OP_ITEM
from simulator.dram.pim.neupims_traffic_kernel import (
    ASKED,
    AT_BANKS,
    DRAIN_ABOVE,
    DRAINING,
    DUE,
    OF_BANK,
    READ_TICKS,
    SERVED,
    SIZE,
    UNWRITTEN,
    WRITES,
    Queues,
    Rules,
    enqueue,
    for_channel,
    is_left,
    is_written,
    issue_for_pim,
    issue_for_request,
    same_place,
)
from simulator.kernels import compiled, inlined

Ints = NDArray[np.int64]
#: Columns of requests beside those of `neupims_traffic_kernel`: the instruction that asks, in place
#: of the tick; whether another one asks for the place before; the next read that is served with it.
INSTRUCTION = ASKED
TWICE, TWIN = 5, 6
REQUEST_FIELDS = 7
#: Columns of instructions: the tick before which it does not ask, its lines that are still to come
#: or to be taken, and when the last was.
ASKS, LEFT, SEEN = range(3)
#: The lists of requests of a channel, and of each its next and its end.
OF_NPU, OF_PIM = range(2)
UPCOMING, STOP = range(2)
#: What is open in a channel: since when, ranks by buffer, and ticks of ranks so far by buffer; and
#: the waiting read that is to be given before writes, -1 for none.
SINCE, OPEN_NOW, OPEN_TICKS, LOCKED = 0, 1, 3, 5
STANDBY_FIELDS = 6
#: What the NPU fixes, `POSTED`: from when a write is taken to its answer.
PRELOAD, ISSUE, LATENCY, COLD, REQUEST, ANSWER, POSTED, OFFERS, WINDOW = range(9)
LIMITS = 9
#: The NPU's scalars. `OWN`: the first instruction of the operation. `LOADS`: how many load.
#: `WANTED`: lines of the operation that are still to come or to be taken, `ENDED`: when the last
#: was. `COMPUTED`, `STORED`: instructions that were. `ISSUED`, `STARTED`, `POPPED`: of the last
#: product, `SENT`: of the last store. `NOW`: before which all channels have run. `NEWS`: whether
#: channels have to look again. `WORKING`, `ATTENDING`: whether an operation and a part of attention
#: are under way. `MOVED`: when anything was last served. Of the vector unit in attention, `ITEM`:
#: the next, `ITEMS`: up to which the part goes, `PLACED`: up to which stores have addresses,
#: `PASSED`, `KEPT`: when the last was begun, and stored, `FIRST_STORE`: the instruction that stores
#: the first. `RESULTED`: when the last result was there.
(
    OWN, LOADS, WANTED, ENDED, COMPUTED, STORED, ISSUED, STARTED, POPPED, SENT, NOW, NEWS, WORKING,
    ATTENDING, MOVED, ITEM, ITEMS, PLACED, PASSED, KEPT, FIRST_STORE, RESULTED,
) = range(22)  # fmt: skip
SCALARS = 22
#: Columns of items of the vector unit in attention: results that it waits for, when the last was
#: there, its ticks.
RESULTS_LEFT, THERE, ITEM_TICKS = range(3)
#: Columns of what is computed: three loads that it needs, its ticks, of products 1 for new weights.
NEEDS, TICKS = 3, 3
#: Why the kernel returns.
OPERATED, ATTENDED, STORES, REACHED, STUCK = range(5)


class Memory(NamedTuple):
    """All channels: each array has one more axis, the first, than that of a channel.

    lists: (channels, 2, 2), by OF_NPU and UPCOMING. standby: (channels, STANDBY_FIELDS).
    """

    states: State
    queues: Queues
    lists: Ints
    standby: Ints


class Attention(NamedTuple):
    """Commands of PIM, channel by channel, where those of each start, and how far to go.

    ops: (count, FIELDS). sends, issued: (count,), ticks. firsts: (channels + 1,). goals:
    (channels,). items: (count, 3), of the vector unit.
    """

    ops: Ints
    sends: Ints
    issued: Ints
    firsts: Ints
    goals: Ints
    items: Ints


class Work(NamedTuple):
    """An operation of the NPU, and the requests of all channels, channel by channel.

    requests: (count, REQUEST_FIELDS). firsts: (channels + 1,). instructions: (count, 3). computes:
    (count, NEEDS + 1). popped: (count,), when each ended. stores: what each of them waits for.
    product: 1 where it is one.
    """

    requests: Ints
    firsts: Ints
    instructions: Ints
    computes: Ints
    popped: Ints
    stores: Ints
    product: int


@inlined
def arrives(requests: Ints, instructions: Ints, npu: Ints, index: int, tick: int) -> None:
    """Book a read, and those that are served with it, or a write that was taken."""
    while index >= 0:
        one = requests[index, INSTRUCTION]
        instructions[one, LEFT] -= 1
        instructions[one, SEEN] = max(instructions[one, SEEN], tick)
        if one >= npu[OWN]:
            npu[WANTED] -= 1
            npu[ENDED] = max(npu[ENDED], tick)
        index = requests[index, TWIN]


@inlined
def read(requests: Ints, instructions: Ints, npu: Ints, index: int, tick: int) -> None:
    """Book a request that a command was issued for, if it is a read, whose data come at a tick."""
    if index >= 0 and not requests[index, WRITES]:
        arrives(requests, instructions, npu, index, tick)


@inlined
def results(items: Ints, npu: Ints, op: Ints, tick: int) -> None:
    """Book what a command of PIM makes, if it makes a result, which is there at a tick."""
    if op[USE] not in (RESULT, COMPOSITE):
        return
    npu[RESULTED] = max(npu[RESULTED], tick)
    item = op[OP_ITEM]
    if item >= 0:
        items[item, RESULTS_LEFT] -= 1
        items[item, THERE] = max(items[item, THERE], tick)


@inlined
def waiting_read(requests: Ints, queues: Queues, index: int) -> int:
    """Return the read of a place that waits, -1 for none."""
    found, bank = -1, requests[index, OF_BANK]
    for place in range(queues.sizes[0]):
        if same_place(requests, queues.waiting[0, place], index):
            found = queues.waiting[0, place]
    for place in range(queues.banks[SIZE, bank]):
        other = queues.queued[bank, place]
        if requests[other, WRITES] == 0 and same_place(requests, other, index):
            found = other
    return found


@inlined
def offer(
    requests: Ints, instructions: Ints, queues: Queues, listed: Ints, limits: Ints, npu: Ints,
    tick: int,
) -> None:  # fmt: skip
    """Take the next of a list, if it is asked for and its queue has room."""
    q, index = queues.q, listed[UPCOMING]
    if index == listed[STOP] or instructions[requests[index, INSTRUCTION], ASKS] > tick:
        return
    write = requests[index, WRITES]
    size = queues.sizes[write]
    if size == queues.waiting.shape[1]:
        return
    listed[UPCOMING] += 1
    if write:
        arrives(requests, instructions, npu, index, tick + limits[POSTED] + limits[ANSWER])
    if is_written(requests, queues, index):
        q[SERVED] += 1
        if not write:
            arrives(requests, instructions, npu, index, tick + 1 + limits[ANSWER])
        return
    if requests[index, TWICE]:
        other = waiting_read(requests, queues, index)
        if other >= 0:
            requests[index, TWIN] = requests[other, TWIN]
            requests[other, TWIN] = index
            q[SERVED] += 1
            return
    queues.waiting[write, size] = index
    queues.sizes[write] = size + 1
    q[UNWRITTEN] += write


@inlined
def drains(rules: Rules, queues: Queues, standby: Ints) -> bool:
    """Tell whether writes are to be given, or begin to be."""
    size, limit = queues.sizes[1], rules.limits[DRAIN_ABOVE]
    full = size == queues.waiting.shape[1] or (size > limit and not queues.q[AT_BANKS])
    return bool(standby[LOCKED] < 0 and (queues.q[DRAINING] or full))


@inlined
def waits_for_read(requests: Ints, queues: Queues, standby: Ints, index: int) -> bool:
    """Tell whether a read waits of what a write is of, and look to it that it gets a bank."""
    found, bank = False, requests[index, OF_BANK]
    for place in range(queues.sizes[0]):
        other = queues.waiting[0, place]
        if same_place(requests, other, index):
            found, standby[LOCKED] = True, other
    for place in range(queues.banks[SIZE, bank]):
        other = queues.queued[bank, place]
        found = found or (requests[other, WRITES] == 0 and same_place(requests, other, index))
    return found


@inlined
def give(rules: Rules, requests: Ints, queues: Queues, standby: Ints) -> None:
    """Give one waiting request to its bank."""
    q, sizes = queues.q, queues.sizes
    which = 1 if drains(rules, queues, standby) else 0
    if which and not q[DRAINING]:
        q[DRAINING] = sizes[1]
    for place in range(sizes[which]):
        index = queues.waiting[which, place]
        bank = requests[index, OF_BANK]
        if queues.banks[SIZE, bank] == queues.queued.shape[1]:
            continue
        if which and waits_for_read(requests, queues, standby, index):
            q[DRAINING] = 0
            return
        if index == standby[LOCKED] and not which:
            standby[LOCKED] = -1
        q[DRAINING] -= which
        enqueue(queues, bank, which, place)
        return


@inlined
def next_tick(
    requests: Ints, instructions: Ints, rules: Rules, queues: Queues, lists: Ints, standby: Ints,
    tick: int, soon: int, gives: bool, left: bool,
) -> int:  # fmt: skip
    """Return the next tick at which something may happen, as that of `neupims_traffic_kernel`."""
    q, sizes, banks = queues.q, queues.sizes, queues.banks
    if gives and (sizes[0] or (sizes[1] and drains(rules, queues, standby))):
        return tick + 1
    if q[AT_BANKS] and not left:
        return tick + 1
    for bank in range(banks.shape[1]):
        if banks[SIZE, bank]:
            soon = min(soon, banks[DUE, bank])
    for of in range(2):
        index = lists[of, UPCOMING]
        if index < lists[of, STOP] and sizes[requests[index, WRITES]] < queues.waiting.shape[1]:
            soon = min(soon, instructions[requests[index, INSTRUCTION], ASKS])
    return max(tick + 1, soon)


@inlined
def note_open(machine: Machine, state: State, standby: Ints, tick: int) -> None:
    """Count what was open until a tick, and look what is open from then on."""
    ranks = machine.nodes[:, RANK]
    for buffer in range(2):
        standby[OPEN_TICKS + buffer] += standby[OPEN_NOW + buffer] * (tick - standby[SINCE])
        count, last = 0, -1
        for bank in range(len(ranks)):
            if state.opened[buffer, bank] != CLOSED and ranks[bank] != last:
                count, last = count + 1, ranks[bank]
        standby[OPEN_NOW + buffer] = count
    standby[SINCE] = tick


@compiled(neupims_kernel, neupims_program, neupims_traffic_kernel, counted=False)
def advance(
    machine: Machine, state: State, rules: Rules, queues: Queues, lists: Ints, standby: Ints,
    requests: Ints, instructions: Ints, ops: Ints, sends: Ints, issued: Ints, items: Ints,
    limits: Ints, npu: Ints, end: int,
) -> None:  # fmt: skip
    """Run a channel until a tick."""
    k, q, none = state.k, queues.q, requests[:0]
    served = q[SERVED] + k[NEXT]
    while k[FREE] < end:
        tick, due, before = k[FREE], (k[TURNS] + 1) * machine.fixed[TURN], k[NEXT]
        sent = NEVER if before == len(ops) else sends[before]
        waits = sent <= tick
        for of in range(2 * limits[OFFERS]):
            offer(requests, instructions, queues, lists[of % 2], limits, npu, tick)
        use, bank, at = for_channel(machine, state, queues, ops, sent, tick)
        left = is_left(machine, state, rules, queues, waits, tick)
        moved, data = -1, tick + rules.limits[READ_TICKS] + limits[ANSWER]
        if at <= tick:
            issue_for_pim(machine, state, queues, ops, issued, use, bank, tick, waits, none)
            if k[NEXT] != before:
                results(items, npu, ops[before], data)
        elif left and q[AT_BANKS]:
            moved = issue_for_request(machine, state, rules, requests, queues, tick, waits, none)
            read(requests, instructions, npu, moved, data)
        gives = not waits or (machine.fixed[PIM_ROWS] > 0 and k[NEXT] == before)
        if k[FREE] == tick:
            soon = min(at, due if tick < due else NEVER)
            k[FREE] = next_tick(
                requests, instructions, rules, queues, lists, standby, tick, soon, gives, left
            )
        elif moved < 0:
            note_open(machine, state, standby, tick)
        if gives:
            give(rules, requests, queues, standby)
    if q[SERVED] + k[NEXT] != served:
        npu[MOVED] = end


@inlined
def compute(work: Work, limits: Ints, npu: Ints) -> None:
    """Compute what has its data, and send what can be stored."""
    asks = work.instructions
    for i in range(npu[COMPUTED], len(work.computes)):
        ready, lacks = np.int64(0), np.int64(0)
        for need in range(NEEDS):
            one = work.computes[i, need]
            lacks += asks[one, LEFT]
            ready = max(ready, asks[one, SEEN])
        if lacks:
            break
        npu[ISSUED] = max(npu[ISSUED] + 1, ready)
        ticks, ends = work.computes[i, TICKS], np.int64(0)
        if work.product:
            if npu[POPPED] <= npu[ISSUED]:
                npu[STARTED] = npu[ISSUED] + (limits[COLD] if ticks else 0)
            else:
                npu[STARTED] += limits[PRELOAD] if ticks else limits[ISSUE]
            ends = max(npu[STARTED] + limits[LATENCY], npu[ISSUED] + 1)
        else:
            ends = npu[ISSUED] + ticks
        npu[POPPED] = max(ends, npu[POPPED] + 1)
        work.popped[i] = npu[POPPED]
        npu[COMPUTED] += 1
    for i in range(npu[STORED], len(work.stores)):
        if work.stores[i] >= npu[COMPUTED]:
            break
        npu[SENT] = max(npu[SENT] + 1, work.popped[work.stores[i]] + 1)
        asks[npu[OWN] + npu[LOADS] + i, ASKS] = npu[SENT] + limits[REQUEST]
        npu[STORED] += 1
        npu[NEWS] = 1


@inlined
def attend(work: Work, items: Ints, limits: Ints, npu: Ints) -> None:
    """Compute the items of attention that have their results, in order, and send what they store.

    One is begun in a tick, and one is stored.
    """
    for i in range(npu[ITEM], npu[ITEMS]):
        if items[i, RESULTS_LEFT]:
            break
        npu[PASSED] = max(npu[PASSED] + 1, items[i, THERE])
        npu[KEPT] = max(npu[KEPT] + 1, npu[PASSED] + items[i, ITEM_TICKS])
        asked = npu[KEPT] + limits[REQUEST]
        work.instructions[npu[FIRST_STORE] + i, ASKS] = asked
        npu[ITEM] += 1


@inlined
def is_over(work: Work, npu: Ints) -> bool:
    """Tell whether all of an operation is computed, and all its lines have come or are taken."""
    return bool(npu[STORED] == len(work.stores) and not npu[WANTED])


@inlined
def has_attended(memory: Memory, attention: Attention, npu: Ints) -> bool:
    """Tell whether all channels have issued their commands up to the goals, and all is computed."""
    over = npu[ITEM] == npu[ITEMS]
    for channel in range(len(attention.goals)):
        over = over and memory.states.k[channel, NEXT] >= attention.goals[channel]
    return bool(over)


@inlined
def advance_all(
    machine: Machine, rules: Rules, memory: Memory, attention: Attention, work: Work, limits: Ints,
    npu: Ints, end: int,
) -> None:  # fmt: skip
    """Run the channels until a tick, that have anything to do until then."""
    s, q, begin, news = memory.states, memory.queues, npu[NOW], npu[NEWS]
    npu[NEWS] = 0
    for c in range(len(memory.lists)):
        if news:
            s.k[c, FREE] = begin
        if s.k[c, FREE] >= end:
            continue
        here, there = work.firsts[c], work.firsts[c + 1]
        own, stop = attention.firsts[c], attention.firsts[c + 1]
        advance(
            machine,
            State(s.k[c], s.ready[c], s.history[c], s.rings[c], s.opened[c], s.counts[c]),
            rules,
            Queues(q.q[c], q.waiting[c], q.sizes[c], q.banks[c], q.queued[c]),
            memory.lists[c], memory.standby[c],
            work.requests[here:there], work.instructions,
            attention.ops[own:stop], attention.sends[own:stop], attention.issued[own:stop],
            attention.items, limits, npu, end,
        )  # fmt: skip


@inlined
def next_now(memory: Memory, npu: Ints, end: int, until: int) -> int:
    """Return the tick before which nothing happens, at which all channels are."""
    if npu[NEWS]:
        return end
    first = until
    for channel in range(len(memory.lists)):
        first = min(first, memory.states.k[channel, FREE])
    return max(end, first)


@compiled(neupims_kernel, neupims_program, neupims_traffic_kernel, counted=False)
def run(
    machine: Machine, rules: Rules, memory: Memory, attention: Attention, work: Work, limits: Ints,
    npu: Ints, until: int,
) -> int:  # fmt: skip
    """Run all channels until the operation or the part of attention is over, or a tick is reached.

    Returns OPERATED, ATTENDED, STORES where items of attention are to get addresses, REACHED, or
    STUCK where nothing can move.
    """
    while npu[NOW] < until:
        end = min(npu[NOW] + limits[WINDOW], until)
        advance_all(machine, rules, memory, attention, work, limits, npu, end)
        npu[NOW] = end
        if npu[WORKING]:
            compute(work, limits, npu)
            if is_over(work, npu):
                return OPERATED
        if npu[ATTENDING]:
            attend(work, attention.items, limits, npu)
            if npu[PLACED] < npu[ITEM]:
                return STORES
            if has_attended(memory, attention, npu):
                return ATTENDED
        if end - npu[MOVED] > MOST_WAITED * machine.fixed[TURN] and until == NEVER:
            return STUCK
        npu[NOW] = next_now(memory, npu, end, until)
    return REACHED
