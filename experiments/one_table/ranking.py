"""Ranks by energy at every DRAM and by speed, and whether they hold within the gates' range."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from intervals import (
    DRAMS,
    OWN,
    Dram,
    Interval,
    Load,
    energies,
    energy_gain,
    load_of,
    nominal,
    speed_up,
)
from rows import Entry, baselines, precision

#: All elements, or those of one precision: these have a chance to be as accurate.
ALL = "all"


@dataclass(frozen=True)
class Place:
    """An entry's rank among `among` at its point; dram: of ranks by energy, None by speed.

    best, worst: its ranks by energy with its own MACs at one end of what synthesis may make of them
    and all others' at the other end; by speed with the frame's element at one end beside it and
    nominal beside all others. flips: "gates" where these differ, "dram" where the rank is another
    one at another DRAM, both or nothing.
    """

    entry: Entry
    among: str
    dram: Dram | None
    rank: int
    best: int
    worst: int
    value: float
    gain: Interval
    flips: str = ""


@dataclass(frozen=True)
class _Item:
    """What is ranked: the nominal value and its ends, and those that it meets others' at."""

    entry: Entry
    value: float
    ends: tuple[float, float]
    others: tuple[float, float]
    gain: Interval


def places(made: Sequence[Entry]) -> list[Place]:
    """Return the places of all feasible entries, by point, measure, DRAM, group and rank."""
    points: dict[tuple[str, str], list[tuple[Entry, Load]]] = {}
    for entry in made:
        if not entry.row.infeasible:
            points.setdefault(entry.point, []).append((entry, load_of(entry)))
    bases = baselines(made)
    return [
        place
        for point, group in points.items()
        for place in _of_point(group, load_of(bases[point]))
    ]


def _of_point(group: Sequence[tuple[Entry, Load]], base: Load) -> Iterator[Place]:
    found = list(_grouped([_by_speed(*each, base) for each in group], None))
    for dram in DRAMS:
        found += _grouped([_by_energy(*each, base, dram) for each in group], dram)
    ranks: dict[tuple[str, ...], set[int]] = {}
    for place in found:
        if place.dram is not None:
            ranks.setdefault((*place.entry.name, place.among), set()).add(place.rank)
    for place in found:
        elsewhere = place.dram is not None and len(ranks[*place.entry.name, place.among]) > 1
        causes = {"gates": place.best < place.worst, "dram": elsewhere}
        yield replace(place, flips=" ".join(name for name, holds in causes.items() if holds))


def _by_energy(entry: Entry, load: Load, base: Load, dram: Dram) -> _Item:
    at = nominal(dram)
    low, high = (float(energies(load, at._replace(own=at.own * [own, 1.0, 1.0]))[0]) for own in OWN)
    value = float(energies(load, at)[0])
    return _Item(entry, value, (low, high), (low, high), energy_gain([(load, base)], (dram,)))


def _by_speed(entry: Entry, load: Load, base: Load) -> _Item:
    value, ends = float(load.seconds[0]), (float(min(load.seconds)), float(max(load.seconds)))
    return _Item(entry, value, ends, (value, value), speed_up([(load, base)]))


def _grouped(items: Sequence[_Item], dram: Dram | None) -> Iterator[Place]:
    groups = {ALL: list(items)}
    for item in items:
        groups.setdefault(precision(item.entry.pair), []).append(item)
    for among, group in groups.items():
        yield from _ranked(group, among, dram)


def _ranked(group: Sequence[_Item], among: str, dram: Dram | None) -> Iterator[Place]:
    for rank, item in enumerate(sorted(group, key=lambda each: each.value), start=1):
        others = [each for each in group if each is not item]
        yield Place(
            entry=item.entry,
            among=among,
            dram=dram,
            rank=rank,
            best=1 + sum(each.others[1] < item.ends[0] for each in others),
            worst=1 + sum(each.others[0] < item.ends[1] for each in others),
            value=item.value,
            gain=item.gain,
        )
