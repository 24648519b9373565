"""The rows of the table, two processes at a time, and their gains over FP16 as intervals.

What is uncertain is split in three: what all elements share (energies of cells, placement, clock)
moves all MACs together; what synthesis makes of counted cells moves each element's MACs on its own;
DRAM's constant is one of `DRAM_PJ`. Attention runs on FP16 elements nearly everywhere, so its MACs
move with those of FP16.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from multiprocessing import get_context
from typing import NamedTuple

from simulator.api import load_device
from simulator.compare import FRAME, TECHNOLOGY, Iso, Row, compared, load_element
from simulator.cost import load_profile, load_technology

PROCESSES = 2
RUNG = "analytic"
BASELINE = "fp16_fma"
ISOS: tuple[Iso, ...] = ("area", "elements")
#: DRAM's pJ/bit in papers on low-bit elements; 7.03 is AccelForge's for a TPU v4i.
DRAM_PJ = (0.63, 7.03, 12.5, 18.75)

_TECHNOLOGY = load_technology(TECHNOLOGY)
_SYNTHESIS = _TECHNOLOGY.overheads.synthesis_energy
#: What synthesis may make of an element's energy, over what is counted.
OWN = (_SYNTHESIS.at("low"), _SYNTHESIS.nominal, _SYNTHESIS.at("high"))
NOMINAL_DRAM_PJ = load_profile(load_device(FRAME).energy).dram_read_pj_per_bit.nominal


class Interval(NamedTuple):
    """A ratio and the ends of its range."""

    nominal: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """A row by one measure of equality.

    fastest_s, slowest_s: the time on the area of the largest and of the smallest FP16 element.
    """

    iso: Iso
    row: Row
    fastest_s: float
    slowest_s: float

    @property
    def pair(self) -> tuple[str, str, str]:
        """The element and the formats of its operands."""
        return self.row.pe, self.row.weights, self.row.activations

    @property
    def point(self) -> tuple[str, str]:
        """By what is equal, and the workload."""
        return self.iso, self.row.workload

    def energy_j(
        self, dram_pj: float, own: float = 1.0, common: float = 1.0, fp16: float = 1.0
    ) -> float:
        """Return the energy at a DRAM constant and factors on the element's and on FP16's MACs."""
        row = self.row
        if row.infeasible:
            return inf
        rest = row.energy_j - row.dram_j - row.mac_j - row.attention_mac_j
        macs = own * row.mac_j + fp16 * row.attention_mac_j
        return rest + row.dram_j * dram_pj / NOMINAL_DRAM_PJ + common * macs

    @property
    def common(self) -> tuple[float, float, float]:
        """Factors on its MACs of what all elements share: low, nominal, high."""
        row = self.row
        return row.mac_low_j / row.mac_j / OWN[0], 1.0, row.mac_high_j / row.mac_j / OWN[2]


Task = tuple[str, str, tuple[str, ...]]


def rows_of(task: Task) -> list[Entry]:
    """Return the entries of one operand pair of one element on all workloads."""
    name, pair, workloads = task
    pe, frame = load_element(name), load_device(FRAME)
    found = []
    for iso, workload in product(ISOS, workloads):
        row, *ends = (
            compared(
                pe, pair, workload,
                frame=frame, technology=_TECHNOLOGY, iso=iso, rung=RUNG, frame_area=bound,
            )
            for bound in (("nominal", "low", "high") if iso == "area" else ("nominal",))
        )  # fmt: skip
        times = [each.latency_s for each in (row, *ends)]
        found.append(Entry(iso, row, min(times), max(times)))
    return found


def entries(elements: Sequence[str], workloads: Sequence[str]) -> list[Entry]:
    """Return the entries of all pairs of all elements, in that order."""
    tasks = [
        (name, pair, tuple(workloads)) for name in elements for pair in load_element(name).formats
    ]
    with get_context("spawn").Pool(PROCESSES) as pool:
        return [entry for made in pool.imap(rows_of, tasks) for entry in made]


def baselines(made: Sequence[Entry]) -> dict[tuple[str, str], Entry]:
    """Return FP16's entry of each point."""
    return {entry.point: entry for entry in made if entry.row.pe == BASELINE}


def speed_up(entry: Entry, base: Entry) -> Interval:
    """Return the speed-up over FP16; its range is that of the area of the FP16 element."""
    time = base.row.latency_s
    return Interval(time / entry.row.latency_s, time / entry.slowest_s, time / entry.fastest_s)


def energy_gain(entry: Entry, base: Entry, dram_pj: float | None = None) -> Interval:
    """Return the energy of FP16 over the entry's at a DRAM constant; the range is the gates'.

    Without a constant: at the profile's, and the range is over all of `DRAM_PJ` too.
    """
    at = NOMINAL_DRAM_PJ if dram_pj is None else dram_pj
    ratios = [
        base.energy_j(dram, fp16, base.common[end], fp16)
        / entry.energy_j(dram, own, entry.common[end], fp16)
        for dram, end, own, fp16 in _corners(entry, DRAM_PJ if dram_pj is None else (dram_pj,))
    ]
    return Interval(base.energy_j(at) / entry.energy_j(at), min(ratios), max(ratios))


def _corners(entry: Entry, drams: Sequence[float]) -> Iterator[tuple[float, int, float, float]]:
    """Return all ends: a ratio of two linear functions has its extremes there."""
    is_base = entry.row.pe == BASELINE
    for dram, end, own, fp16 in product(drams, range(3), OWN, OWN):
        if not is_base or own == fp16:
            yield dram, end, own, fp16
