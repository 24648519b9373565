"""How much transfers and a concurrent memory that multiplies slow each other, by their commands.

The tile executor does not issue commands. What it takes instead is measured once for a part: one
channel attends to `KEYS` keys of as many heads as fill a row, alone and with reads at the highest
rate beside it, and the same reads go without it. Both shares are of those times; less traffic slows
less. Where requests and units are in groups of banks apart, the units find what they read in the
first half of the groups, and the reads go to the other.
Left out: writes, other shapes of stream, policies of a controller that differ from the part's.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simulator.dram.channel import Command
from simulator.dram.pim import neupims
from simulator.dram.pim.grouped import Ints, run_program
from simulator.dram.pim.grouped_part import GROUP, KIND, ROW, ROW_NUMBER, GroupedPim
from simulator.dram.pim.grouped_requests import paced
from simulator.formats import Format
from simulator.hardware.pim import AimChannels, AttAccStacks, GroupUnits, NeuPimsBanks, Pim
from simulator.mapping.pim_layout import load_layout
from simulator.mapping.pim_product import Product, plan
from simulator.mapping.pim_program import program
from simulator.mapping.plan import PPM

#: Keys of the head that is attended to: many rows, several refreshes of each rank.
KEYS = 2048
#: Columns of requests (`dram.pim.grouped`).
TICK, _, BANK = range(3)


class Slowed(NamedTuple):
    """How much longer a transfer takes beside a memory that multiplies, and that beside reads."""

    transfers_ppm: int
    pim_ppm: int


@lru_cache(maxsize=256)
def interference(pim: Pim, stored: Format, vectors: Format, head_dim: int) -> Slowed:
    """Return what a memory and transfers cost each other; nothing where they exclude each other."""
    if pim.exclusive or isinstance(pim, AttAccStacks | AimChannels):
        return Slowed(0, 0)
    if isinstance(pim, NeuPimsBanks):
        return _in_neupims(pim, head_dim)
    return _in_groups(pim, stored, vectors, head_dim)


def _slowed(requests: tuple[int, int], work: tuple[int, int]) -> Slowed:
    """Return the shares of (alone, beside) times of requests and of work."""
    transfers, pim = (max(0, (beside - alone) * PPM // alone) for alone, beside in (requests, work))
    return Slowed(transfers, pim)


def _in_neupims(banks: NeuPimsBanks, head_dim: int) -> Slowed:
    part = banks.built
    part = part.model_copy(update={"levels": {**part.levels, "Channel": 1}})

    def run(keys: int, count: int) -> neupims.AttentionRun:
        first_row = part.levels["Row"] // 2
        reads = neupims.sequential_reads(part, max(1, count), 1.0, first_row=first_row)
        return neupims.run_attention(
            part,
            banks.mode,
            [(keys, 0)],
            hidden=part.row_values,
            heads=part.row_values // head_dim,
            tp=1,
            traffic=reads if count else None,
        )

    alone = run(KEYS, 0).cycles
    count = alone // part.timing["nBL"]
    beside, reads = run(KEYS, count), run(1, count)
    assert beside.traffic is not None
    assert reads.traffic is not None
    return _slowed((reads.traffic.cycles, beside.traffic.cycles), (alone, beside.cycles))


def _in_groups(units: GroupUnits, stored: Format, vectors: Format, head_dim: int) -> Slowed:
    part = units.part
    product = Product(outputs=KEYS, inputs=head_dim, weights=stored, activations=vectors)
    made = plan(part, units.unit, product, layout=load_layout(units.keys), channels=1)
    entries = program(made.point.placement, held=made.point.held)[0].entries
    if units.policy == "apart":
        entries = _in_first_half(part, entries)
    cadence = made.fit.cadence_ticks
    alone = run_program(part, entries, cadence_ticks=cadence).program_cycles
    requests = _reads(units, alone)
    reads, served = part.memory.with_role("read"), list[int]()

    def note(commands: Iterable[Command]) -> None:
        served.extend(each.tick for each in commands if each.name in reads)

    beside = run_program(part, entries, cadence_ticks=cadence, requests=requests, trace=note)
    # Of what is read at the peak while the program goes on, some is read beside it.
    by_itself = run_program(part, entries[:0], requests=requests)
    peak = beside.program_cycles * len(requests) / by_itself.request_cycles
    meanwhile = sum(tick < beside.program_cycles for tick in served)
    transfers = int(PPM * (peak / max(1, meanwhile) - 1))
    _, pim = _slowed((1, 1), (alone, beside.program_cycles))
    return Slowed(max(0, transfers), pim)


def _in_first_half(part: GroupedPim, entries: Ints) -> Ints:
    """Return a program with the rows of the second half of the groups in the first half."""
    half, moved = part.groups // 2, entries.copy()
    rows = moved[:, KIND] == ROW
    group = moved[rows, GROUP]
    moved[rows, GROUP] = group % half
    moved[rows, ROW_NUMBER] = 2 * moved[rows, ROW_NUMBER] + group // half
    return moved


def _reads(units: GroupUnits, ticks: int) -> Ints:
    """Return reads at the highest rate in so many ticks, from the banks that requests use."""
    part = units.part
    reads = paced(part, "seq_bg", ticks, load=1.0)
    if units.policy != "apart":
        return reads
    banks = [bank for group in part.banks_of_groups[part.groups // 2 :] for bank in group]
    # Of twice as many, half are there.
    more = paced(part, "seq_bg", 2 * ticks, load=1.0)
    apart = more[np.isin(more[:, BANK], banks)][: len(reads)]
    apart[:, TICK] = reads[: len(apart), TICK]
    return apart
