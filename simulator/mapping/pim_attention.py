"""Attention and products with weights in a memory that multiplies: time, stalls and energy.

NeuPIMs' and AttAcc's memories do all of it, softmax and its moves included, as their controllers
issue it (`dram.pim`). In any other memory whose banks multiply in groups, the keys and values of a
head of a request lie in one channel; a product takes the closed form of its layout
(`mapping.pim_product`), and channels work on heads of their own.

Left out: windows (keys beyond one are multiplied too); AttAcc's heads of several lengths take their
shares of a pair of full waves each.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from simulator.dram.pim import aim, attacc, neupims
from simulator.dram.pim.grouped_energy import energies_j
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.pim import AimChannels, AttAccStacks, GroupUnits, NeuPimsBanks
from simulator.mapping.pim_layout import load_layout
from simulator.mapping.pim_product import Plan, Product, commands_of, plan, units_j
from simulator.mapping.pim_time import refresh_share
from simulator.mapping.policies import ASSIGNMENTS
from simulator.workload import Attention, AttentionGroup

PS_PER_S = 10**12
#: Attention by which the rate of AttAcc's units is known: many rows, several refreshes.
KEYS, HEAD = 2048, 128


class Done(NamedTuple):
    """What the memory does: in ps, of which `stalls` by cause; bytes of keys, values or weights.

    least_ps: the same multiply-accumulates at the peak of all units.
    """

    ps: int
    stalls: tuple[tuple[str, int], ...]
    read_bytes: int
    energy_j: float
    macs: int
    least_ps: int
    text: str


def longest_first(a: Attention) -> list[AttentionGroup]:
    """Return the groups of requests, those with most keys first."""
    return sorted(a.groups, key=lambda group: -group.keys)


def in_neupims(banks: NeuPimsBanks, a: Attention, assignment: str) -> Done:
    """Attend in NeuPIMs' banks, command by command."""
    if a.group_size != 1:
        raise InputError(
            f"{banks.part.name}: {a.heads} heads share {a.kv_heads} of keys and values; its rows "
            "are multiplied with one query head each (placement npu attends on the arrays)"
        )
    listed = tuple(
        (group.keys, group.channel) for group in longest_first(a) for _ in range(group.requests)
    )
    return neupims_done(banks, listed, a.heads, a.head_dim, assignment)


@lru_cache(maxsize=1024)
def neupims_done(
    banks: NeuPimsBanks,
    requests: tuple[tuple[int, int | None], ...],
    heads: int,
    head_dim: int,
    assignment: str,
) -> Done:
    """Return what NeuPIMs' banks take with requests of (keys, channel), by their commands."""
    part, hidden = banks.built, heads * head_dim
    loads = [
        neupims.estimate_ticks(part, keys, hidden=hidden, heads=heads, tp=1) for keys, _ in requests
    ]
    placed = placed_requests(requests, loads, part.channels, assignment)
    run = neupims.run_attention(part, banks.mode, placed, hidden=hidden, heads=heads, tp=1)
    ps = run.cycles * part.tick_ps
    busy = sum(run.pim_busy_cycles) * part.tick_ps // part.channels
    most = max(run.pim_busy_cycles) * part.tick_ps
    macs = sum(2 * keys * hidden for keys, _ in requests)
    rate = part.channels * part.banks * part.units.multipliers
    least = ceil(macs * part.units.cadence_ticks * part.tick_ps / rate)
    stalls = (("imbalance", most - busy), ("softmax", ps - most))
    read_bytes = macs * part.value_bytes
    energy = sum(run.energy_j.values())
    return Done(ps, stalls, read_bytes, energy, macs, least, f"{len(requests)} requests")


def placed_requests(
    requests: Sequence[tuple[int, int | None]],
    loads: Sequence[int],
    channels: int,
    assignment: str,
) -> list[tuple[int, int]]:
    """Return each request with a channel: its own, or one by the policy.

    Raises InputError for a channel that is not there.
    """
    beyond = max((channel for _, channel in requests if channel is not None), default=0)
    if beyond >= channels:
        raise InputError(f"a request is on channel {beyond}, not one of 0 to {channels - 1}")
    taken = [0] * channels
    for (_, channel), load in zip(requests, loads, strict=True):
        if channel is not None:
            taken[channel] += load
    open_ = [index for index, (_, channel) in enumerate(requests) if channel is None]
    dealt = ASSIGNMENTS[assignment]([loads[index] for index in open_], taken)
    chosen = dict(zip(open_, dealt, strict=True))
    return [
        (keys, chosen[index] if channel is None else channel)
        for index, (keys, channel) in enumerate(requests)
    ]


def in_attacc(stacks: AttAccStacks, a: Attention, value_bytes: int, assignment: str) -> Done:
    """Attend in stacks of AttAcc: of each channel, head after head, in pairs of waves.

    Heads of one length take what the controller takes; of several lengths, each its share of a pair
    of full waves of its own length, dealt out to channels. Heads that share keys share nothing.
    """
    heads = [(g.keys, g.requests * a.heads) for g in longest_first(a)]
    if len(heads) == 1:
        keys, count = heads[0]
        run = _attacc_run(stacks, keys, ceil(count / stacks.stacks), a.head_dim, value_bytes)
        ps, energy = run.cycles * stacks.part.tick_ps, stacks.stacks * sum(run.energy_j.values())
    else:
        ps, energy = _mixed_attacc(stacks, heads, a.head_dim, value_bytes, assignment)
    part = stacks.part
    macs = sum(2 * keys * count * a.head_dim for keys, count in heads)
    units = part.units[stacks.level]
    full = _attacc_run(stacks, heads[0][0], 2 * part.channels, a.head_dim, value_bytes)
    lanes = full.operations_per_burst * part.channels * stacks.stacks
    # A multiplication of a channel takes at least the cadence of the column bus.
    least = ceil(macs * _cadence_ticks(stacks, units.multiply) * part.tick_ps / lanes)
    read_bytes = macs * value_bytes
    text = f"{sum(count for _, count in heads)} heads on {stacks.channels} channels"
    return Done(ps, (), read_bytes, energy, macs, min(least, ps), text)


def product_in_attacc(stacks: AttAccStacks, macs: int, value_bytes: int) -> Done:
    """Multiply vectors one after the other, weights being read for each, as fast as heads attend.

    That is the rate of `KEYS` keys of two full waves of heads of `HEAD` values, whose commands have
    the row switches, refreshes and moves of a product.
    """
    run = _attacc_run(stacks, KEYS, 2 * stacks.part.channels, HEAD, value_bytes)
    part, done = stacks.part, stacks.stacks * run.operations
    ps = ceil(macs * run.cycles * part.tick_ps / done)
    cadence = _cadence_ticks(stacks, part.units[stacks.level].multiply)
    lanes = run.operations_per_burst * stacks.channels
    least = ceil(macs * cadence * part.tick_ps / lanes)
    energy = macs / run.operations * sum(run.energy_j.values())
    return Done(ps, (), macs * value_bytes, energy, macs, min(least, ps), "")


def _cadence_ticks(stacks: AttAccStacks, multiply: str) -> int:
    rows = stacks.part.rows(power_limit=stacks.power_limit)
    own = [row.ticks for row in rows if multiply in row.before and multiply in row.after]
    return max(1, *own) if own else 1


@lru_cache(maxsize=4096)
def _attacc_run(
    stacks: AttAccStacks, keys: int, heads: int, head_dim: int, value_bytes: int
) -> attacc.AttentionRun:
    return attacc.run_attention(
        stacks.part,
        stacks.level,
        context=keys,
        heads=heads,
        head_dim=head_dim,
        bytes_per_value=value_bytes,
        power_limit=stacks.power_limit,
    )


def _mixed_attacc(
    stacks: AttAccStacks,
    heads: Sequence[tuple[int, int]],
    head_dim: int,
    value_bytes: int,
    assignment: str,
) -> tuple[int, float]:
    """Return ps and joules of heads of several lengths."""
    pair = 2 * stacks.part.channels
    runs = {keys: _attacc_run(stacks, keys, pair, head_dim, value_bytes) for keys, _ in heads}
    loads = [runs[keys].cycles // 2 for keys, count in heads for _ in range(count)]
    dealt = ASSIGNMENTS[assignment](loads, [0] * stacks.channels)
    ticks = [0] * stacks.channels
    for channel, load in zip(dealt, loads, strict=True):
        ticks[channel] += load
    energy = sum(count / pair * sum(runs[keys].energy_j.values()) for keys, count in heads)
    return max(ticks) * stacks.part.tick_ps, energy


def in_groups(
    units: GroupUnits, a: Attention, keys_format: Format, vectors: Format, assignment: str
) -> tuple[Done, Done]:
    """Return the scores and the outputs of heads that lie in channels of their own."""
    heads = [(group.keys, group.requests * a.kv_heads) for group in longest_first(a)]
    layouts = units.keys, units.values
    scores, outputs = (
        {
            keys: in_channel(units, *shape, keys_format, vectors, a.group_size, layout)
            for keys, shape in shapes.items()
        }
        for shapes, layout in zip(
            (
                {keys: (keys, a.head_dim) for keys, _ in heads},
                {keys: (a.head_dim, keys) for keys, _ in heads},
            ),
            layouts,
            strict=True,
        )
    )
    return (
        _dealt(units, heads, scores, assignment),
        _dealt(units, heads, outputs, assignment),
    )


@lru_cache(maxsize=16384)
def in_channel(
    units: GroupUnits,
    outputs: int,
    inputs: int,
    stored: Format,
    vectors: Format,
    count: int,
    layout: str,
) -> Done:
    """Return one matrix of keys or values times `count` vectors, in one channel."""
    product = Product(
        outputs=outputs, inputs=inputs, weights=stored, activations=vectors, vectors=count
    )
    made = plan(units.part, units.unit, product, layout=load_layout(layout), channels=1)
    return _done(units, made, 1)


@lru_cache(maxsize=1024)
def product_in_aim(channels: AimChannels, outputs: int, inputs: int, count: int) -> Done:
    """Return a matrix of weights times `count` vectors one after the other, on AiM's commands."""
    part, macs = channels.part, outputs * inputs
    run = aim.run_program(part, _aim_program(part, outputs, inputs), operations=macs)
    ps = run.cycles * part.memory.tick_ps
    rows = [row for row in part.constraints if aim.MULTIPLY in (set(row.before) & set(row.after))]
    cadence_ps = max((row.ticks for row in rows), default=1) * part.memory.tick_ps
    return Done(
        ps=count * ps,
        stalls=(),
        read_bytes=macs * part.units.operand_bytes,
        # What stands by is the background of the device's memory.
        energy_j=count * sum(run.energy_j[name] for name in run.commands if name in run.energy_j),
        macs=count * macs,
        least_ps=count * macs * cadence_ps // (part.channels * part.operations_per_burst),
        text=f"{ceil(outputs / (part.channels * part.memory.banks_per_channel))} outputs a bank",
    )


def _aim_program(part: aim.Aim, outputs: int, inputs: int) -> Iterator[aim.Instruction]:
    """Yield the instructions of one vector: all inputs of some outputs, then of the next ones.

    The buffer is written where it does not hold the inputs already.
    """
    piece = part.units.buffer_bytes // part.units.operand_bytes
    pieces = ceil(inputs / piece)
    for group in range(ceil(outputs / (part.memory.banks_per_channel * part.channels))):
        for i in range(pieces):
            bursts = ceil(min(piece, inputs - i * piece) / part.units.lanes)
            if pieces > 1 or group == 0:
                yield aim.Instruction(aim.WRITE_BUFFER, bursts)
            yield aim.Instruction(aim.MULTIPLY, bursts, row=group * pieces + i)
        yield aim.Instruction(aim.READ_SUMS)


def product_in_memory(
    units: GroupUnits, outputs: int, inputs: int, stored: Format, vectors: Format, count: int
) -> Done:
    """Return a matrix of weights times `count` vectors, its outputs dealt out to all sets."""
    product = Product(
        outputs=ceil(outputs / units.sets),
        inputs=inputs,
        weights=stored,
        activations=vectors,
        vectors=count,
    )
    layout = None if units.weights is None else load_layout(units.weights)
    made = plan(units.part, units.unit, product, layout=layout)
    # Sets have as many outputs each, of which those beyond the last are of no use.
    return _done(units, made, units.sets)._replace(macs=outputs * inputs * count)


def _done(units: GroupUnits, made: Plan, sets: int) -> Done:
    """Return what a plan takes, lengthened by refreshes, on so many sets of the part."""
    part, product = units.part, made.product
    ps = ceil(made.point.ticks / (1 - refresh_share(part)) * part.memory.tick_ps)
    energy = sum(energies_j(part, commands_of(part, made.point.counts)).values())
    energy += units_j(part, units.unit, made)
    channels = made.point.placement.channel_sizes().total()
    # Of all units, each with as many vectors as it holds.
    rate = channels * part.banks_at_once * made.fit.macs / made.fit.cadence_ps
    stored = product.weights.bits(product.outputs, product.inputs)
    return Done(
        ps=ps,
        stalls=(),
        read_bytes=sets * -(-stored // 8),
        energy_j=sets * energy,
        macs=sets * product.macs,
        least_ps=int(product.macs / rate),
        text=f"layout {made.point.placement.layout.name}, {made.point.held} held",
    )


def _dealt(
    units: GroupUnits,
    heads: Sequence[tuple[int, int]],
    jobs: Mapping[int, Done],
    assignment: str,
) -> Done:
    """Return what channels take to do a job for each head of each length, dealt out."""
    loads = [jobs[keys].ps for keys, count in heads for _ in range(count)]
    taken = [0] * units.channels
    for channel, ps in zip(ASSIGNMENTS[assignment](loads, taken), loads, strict=True):
        taken[channel] += ps
    mean = sum(taken) // units.channels

    def total(name: str) -> int:
        return sum(count * getattr(jobs[keys], name) for keys, count in heads)

    return Done(
        ps=max(taken),
        stalls=(("imbalance", max(taken) - mean),),
        read_bytes=total("read_bytes"),
        energy_j=sum(count * jobs[keys].energy_j for keys, count in heads),
        macs=total("macs"),
        least_ps=total("least_ps") // units.channels,
        text=f"{len(loads)} heads on {units.channels} channels",
    )
