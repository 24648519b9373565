"""Does neither refresh, nor PIM, nor a read starve in 10^7 cycles of both at their highest rates?

Marked slow, not in the usual run: `make exhaustive`, half a minute a case.
"""

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.api import load_device
from simulator.config import replace
from simulator.dram.pim import neupims
from simulator.dram.pim.grouped import run_program
from simulator.dram.pim.grouped_requests import paced
from simulator.dram.pim.neupims_part import load_neupims
from simulator.formats import get
from simulator.hardware.pim import GroupUnits
from simulator.mapping.pim_layout import load_layout
from simulator.mapping.pim_product import Product, plan
from simulator.mapping.pim_program import program

CYCLES = 10**7
#: Refresh intervals in which something of everything has to happen.
WINDOW = 10


class Watch:
    """Counts commands of channel 0 as they are issued: refreshes by rank, all others by window."""

    def __init__(self, refresh: str, interval: int, pim: Iterable[str], most: int) -> None:
        self.refresh, self.ticks = refresh, WINDOW * interval
        self.column = {name: 1 for name in pim} | {"RD": 0}
        #: Reads and PIM commands by window.
        self.seen: NDArray[np.int64] = np.zeros((most // self.ticks + 2, 2), np.int64)
        self.refreshed: dict[int, int] = {}
        self.last = 0

    def __call__(self, commands: Iterable[tuple[int, str, tuple[int, ...], int]]) -> None:
        """Take a block of commands."""
        column, seen, ticks = self.column, self.seen, self.ticks
        for tick, name, place, *_ in commands:
            if place[0]:
                continue
            at = column.get(name)
            if at is not None:
                seen[tick // ticks, at] += 1
            elif name == self.refresh:
                self.refreshed[place[1]] = self.refreshed.get(place[1], 0) + 1
                self.last = tick

    def check(self, interval: int, end: int, until: int) -> None:
        """Refreshes are as many as fall due by `end`; no window before `until` lacks anything."""
        for count in self.refreshed.values():
            assert abs(count - end // interval) <= 1
        whole = until // self.ticks
        assert whole >= 10
        assert (self.seen[:whole] > 0).all(), np.flatnonzero((self.seen[:whole] == 0).any(axis=1))


@pytest.mark.slow
def test_neupims_with_two_row_buffers() -> None:
    """Requests of 2048 on one channel; it has four times the rows, so that one run is that long."""
    part, size = load_neupims(), {"hidden": 4096, "heads": 32, "tp": 1}
    part = replace(part, {"levels.Row": 4 * part.levels["Row"]})
    once = neupims.run_attention(part, "dual", [(2048, 0)], **size).cycles
    requests = [(2048, 0)] * (CYCLES // once + 1)
    alone = neupims.run_attention(part, "dual", requests, **size)
    assert alone.cycles >= CYCLES
    count = alone.cycles // part.timing["nBL"]
    reads = neupims.sequential_reads(part, count, 1.0, first_row=part.levels["Row"] // 2)
    interval = part.timing["nREFI"]
    names = {part.command(role) for role in ("open_group", "compute_and_read", "write_buffer")}
    watch = Watch("REFab", interval, names, 3 * alone.cycles)
    nothing = [None] * (part.channels - 1)
    run = neupims.run_attention(
        part, "dual", requests, **size, traffic=[reads, *nothing], trace=watch
    )
    assert run.traffic is not None
    assert run.traffic.requests == count
    assert run.operations == alone.operations
    assert sorted(watch.refreshed) == list(range(part.levels["Rank"]))
    end = max(run.cycles, run.traffic.cycles)
    watch.check(interval, end, min(run.cycles, run.traffic.cycles))
    # Neither waits for the end of the other.
    assert run.cycles < 1.5 * alone.cycles
    assert run.traffic.cycles < 2 * alone.cycles


def long_program(units: GroupUnits) -> tuple[NDArray[np.int64], int]:
    """Return scores of heads of 2048 keys, one after the other for that long, and their cadence."""
    fp16, part = get("fp16"), units.part
    product = Product(outputs=2048, inputs=128, weights=fp16, activations=fp16)
    made = plan(part, units.unit, product, layout=load_layout(units.keys), channels=1)
    entries = program(made.point.placement, held=made.point.held)[0].entries
    cadence = made.fit.cadence_ticks
    once = run_program(part, entries, cadence_ticks=cadence).program_cycles
    return np.tile(entries, (CYCLES // once + 1, 1)), cadence


@pytest.mark.slow
def test_groups_of_banks() -> None:
    """Of four groups one multiplies; reads go to the banks of the others."""
    units = load_device("duplex").pim
    assert isinstance(units, GroupUnits)
    part, (entries, cadence) = units.part, long_program(units)
    alone = run_program(part, entries, cadence_ticks=cadence)
    requests = paced(part, "seq_bg", alone.program_cycles, load=1.0)
    refresh = part.memory.refresh
    watch = Watch(
        refresh.command,
        refresh.interval_ticks,
        {part.command(role) for role in ("multiply", "open")},
        5 * alone.program_cycles,
    )
    run = run_program(part, entries, cadence_ticks=cadence, requests=requests, trace=watch)
    assert run.requests == len(requests)
    assert run.bursts == alone.bursts
    watch.check(refresh.interval_ticks, run.cycles, min(run.program_cycles, run.request_cycles))
    assert run.cycles >= CYCLES
