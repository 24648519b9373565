"""Ranks by energy at every DRAM constant, and whether they hold within the range of the gates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rows import DRAM_PJ, OWN, Entry, Interval, baselines, energy_gain


@dataclass(frozen=True)
class Place:
    """An entry's rank by energy among all of its point at a DRAM constant.

    best, worst: its ranks with its own MACs at one end of what synthesis may make of them and all
    others' at the other end. flips: "gates" where these differ, "dram" where the rank is another
    one at another DRAM constant, both or nothing.
    """

    entry: Entry
    dram_pj: float
    rank: int
    best: int
    worst: int
    energy_j: float
    gain: Interval
    flips: str = ""


def places(made: Sequence[Entry]) -> list[Place]:
    """Return the places of all feasible entries, by point, DRAM constant and rank."""
    points: dict[tuple[str, str], list[Entry]] = {}
    for entry in made:
        if not entry.row.infeasible:
            points.setdefault(entry.point, []).append(entry)
    bases = baselines(made)
    return [place for point, group in points.items() for place in _of_point(group, bases[point])]


def _of_point(group: Sequence[Entry], base: Entry) -> Iterator[Place]:
    found = [place for dram in DRAM_PJ for place in _at(group, base, dram)]
    ranks: dict[tuple[str, str, str], set[int]] = {}
    for place in found:
        ranks.setdefault(place.entry.pair, set()).add(place.rank)
    for place in found:
        causes = {
            "gates": place.best < place.worst,
            "dram": len(ranks[place.entry.pair]) > 1,
        }
        yield replace(place, flips=" ".join(name for name, holds in causes.items() if holds))


def _at(group: Sequence[Entry], base: Entry, dram: float) -> list[Place]:
    ends: Mapping[float, list[float]] = {
        own: [entry.energy_j(dram, own) for entry in group] for own in OWN
    }
    low, nominal, high = (ends[own] for own in OWN)
    order = sorted(range(len(group)), key=lambda i: nominal[i])
    return [
        Place(
            entry=group[i],
            dram_pj=dram,
            rank=rank,
            best=1 + sum(high[j] < low[i] for j in order if j != i),
            worst=1 + sum(low[j] < high[i] for j in order if j != i),
            energy_j=nominal[i],
            gain=energy_gain(group[i], base, dram),
        )
        for rank, i in enumerate(order, start=1)
    ]
