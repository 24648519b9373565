"""Ratios of two elements as intervals, at every DRAM, from the parts of rows: nothing is simulated.

What is uncertain is split in four. The area of the frame's FP16 element beside others
(`between_elements`) moves how many others fit, so time and what burns by time. What all elements
share (energies of cells, placement, clock) moves all MACs together; what synthesis makes of counted
cells moves each element's MACs on its own, and those of attention with the element that does them.
What an array burns while it waits moves with its MACs, as it is a part of what they burn; so does
the little that an FP16 unit beside burns, of which rows do not tell.
DRAM's constants are those of one of `DRAMS`. Energy is linear in all but the first, for which rows
are simulated at both ends: a ratio has its extremes at corners.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from math import inf
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rows import BASELINE, Entry

from simulator.api import load_device
from simulator.compare import Row
from simulator.cost import dram_energy_names, load_dram_energy, load_profile, load_technology
from simulator.design import FRAME, TECHNOLOGY
from simulator.hardware.memory_pricing import priced_by_dram

_SYNTHESIS = load_technology(TECHNOLOGY).overheads.synthesis_energy
#: What synthesis may make of an element's energy, over what is counted.
OWN = (_SYNTHESIS.at("low"), _SYNTHESIS.at("high"))
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A ratio and the ends of its range."""

    nominal: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the range."""
        return self.low <= value <= self.high


class Dram(NamedTuple):
    """A DRAM: its read, write and standing power are factors on those of the frame's profile."""

    name: str
    pj_per_bit: float
    read: float = 1.0
    write: float = 1.0
    standing: float = 1.0


def _drams() -> tuple[Dram, ...]:
    """Return the DRAM of the frame's profile, then all named ones, the cheapest bits first."""
    frame = load_device(FRAME)
    own = load_profile(frame.energy)
    read, write, standing = (
        constant.nominal
        for constant in (
            own.dram_read_pj_per_bit,
            own.dram_write_pj_per_bit,
            own.dram_background_w_per_gib,
        )
    )
    named = []
    for name in dram_energy_names():
        other = priced_by_dram(own, frame, load_dram_energy(name))
        bit = other.dram_read_pj_per_bit.nominal
        factors = bit / read, other.dram_write_pj_per_bit.nominal / write
        named.append(Dram(name, bit, *factors, other.dram_background_w_per_gib.nominal / standing))
    return Dram(own.name, read), *sorted(named, key=lambda dram: dram.pj_per_bit)


DRAMS = _drams()
FRAME_DRAM = DRAMS[0]


class Load(NamedTuple):
    """Work on an element, a line for each end of the area of the frame's element.

    joules: what is fixed; DRAM's reads, writes and standing by; MACs of weights with what the array
    burns while it waits, then MACs of attention, each at the low, nominal and high end of what all
    elements share.
    """

    pe: str
    own_attention: bool
    seconds: Floats
    joules: Floats


def load_of(entry: Entry) -> Load:
    """Return the work of an entry; inf where it does not run."""
    mac = entry.row.mac_j
    common = (entry.row.mac_low_j / mac / OWN[0], 1.0, entry.row.mac_high_j / mac / OWN[1])
    seconds = np.array([row.latency_s for row in entry.rows])
    joules = np.array([_parts(row, common) for row in entry.rows])
    return Load(entry.row.pe, entry.own_attention, seconds, joules)


def _parts(row: Row, common: Sequence[float]) -> list[float]:
    if row.infeasible:
        return [inf] + 9 * [0.0]
    dram = row.dram_j - row.dram_write_j, row.dram_write_j, row.dram_background_j
    burnt = row.mac_j + row.matrix_stalled_j + row.matrix_idle_j, row.attention_mac_j
    rest = row.energy_j - row.dram_j - row.dram_background_j - sum(burnt)
    macs = [each * factor for each in burnt for factor in common]
    return [rest, *dram, *macs]


def together(loads: Sequence[tuple[int, Load]]) -> Load:
    """Return the work of loads on one element, each so many times."""
    first = loads[0][1]
    return Load(
        *(first.pe, first.own_attention),
        sum((times * load.seconds for times, load in loads), np.zeros(3)),
        sum((times * load.joules for times, load in loads), np.zeros((3, 10))),
    )


class Corners(NamedTuple):
    """Ends of what is uncertain, a line for each: of `one` element and an `other`.

    frames: by line of `Load`, of one and of the other. dram: factors on what is fixed, read,
    written and on standing by. common: 1 at the end that is taken. own: of synthesis on one, the
    other and FP16.
    """

    frames: NDArray[np.int64]
    dram: Floats
    common: Floats
    own: Floats


@lru_cache(maxsize=256)
def corners(one: bool, other: bool, drams: tuple[Dram, ...]) -> Corners:
    """Return all corners; one, other: are they FP16, the frame's element?

    Where the frame's element is another size, both of a pair see that; of two others only one is
    moved against the other, as their ratio has no more range than that of each to FP16.
    """
    frames = [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)]
    if one or other:
        frames = [(0, 0), (1, 1), (2, 2)]
    own = [
        ends for ends in product(OWN, repeat=3)
        if (not one or ends[0] == ends[2]) and (not other or ends[1] == ends[2])
    ]  # fmt: skip
    return _corners(product(frames, drams, range(3), own))


@lru_cache(maxsize=256)
def nominal(dram: Dram) -> Corners:
    """Return the one corner at which nothing is at an end."""
    return _corners([((0, 0), dram, 1, (1.0, 1.0, 1.0))])


def _corners(found: Iterable[tuple[tuple[int, int], Dram, int, tuple[float, ...]]]) -> Corners:
    frames, drams, common, own = zip(*found, strict=True)
    factors = [(1.0, dram.read, dram.write, dram.standing) for dram in drams]
    return Corners(np.array(frames), np.array(factors), np.eye(3)[list(common)], np.array(own))


def energies(load: Load, at: Corners, which: int = 0) -> Floats:
    """Return the energy of a load in J at each corner; which: it is `one` (0) or the `other`."""
    joules = load.joules[at.frames[:, which]]
    own = at.own[:, which]
    attention = own if load.own_attention else at.own[:, 2]
    found: Floats = (
        (joules[:, :4] * at.dram).sum(axis=1)
        + own * (joules[:, 4:7] * at.common).sum(axis=1)
        + attention * (joules[:, 7:] * at.common).sum(axis=1)
    )
    return found


Pair = tuple[Load, Load]


def energy_gain(pairs: Sequence[Pair], drams: tuple[Dram, ...] = DRAMS) -> Interval:
    """Return the energy of the other over that of one, mean of pairs (one, other).

    Nominal at the first DRAM; the range is over all of them.
    """

    def gains(at: Corners) -> Floats:
        ratios = [energies(other, at, 1) / energies(one, at) for one, other in pairs]
        mean: Floats = np.mean(ratios, axis=0)
        return mean

    every = gains(corners(*_frames_own(pairs), drams))
    return Interval(float(gains(nominal(drams[0]))[0]), float(every.min()), float(every.max()))


def speed_up(pairs: Sequence[Pair]) -> Interval:
    """Return the time of the other over that of one, mean of pairs (one, other)."""
    frames = corners(*_frames_own(pairs), DRAMS[:1]).frames
    ratios = [
        fmean(float(other.seconds[b] / one.seconds[a]) for one, other in pairs)
        for a, b in {(int(a), int(b)) for a, b in frames}
    ]
    at_nominal = fmean(float(other.seconds[0] / one.seconds[0]) for one, other in pairs)
    return Interval(at_nominal, min(ratios), max(ratios))


def _frames_own(pairs: Sequence[Pair]) -> tuple[bool, bool]:
    one, other = pairs[0]
    return one.pe == BASELINE, other.pe == BASELINE
