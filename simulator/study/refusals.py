"""Values of a space that no point can have, refused before the first run.

A value is tried in a point that can be made, the first one of the space if that can. One that is
refused there may go with others, as the capacity of a memory goes with its channels: then points
that have it are drawn, until one can be made. What is made is the device, the workloads or the
options, whichever the value is of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from simulator.errors import InputError
from simulator.search.space import Choice, Dimension, Float, Point, Space, Value
from simulator.study.case import ROOMS, Case, by_room

#: By dimension, values that a point may have.
Wanted: TypeAlias = Mapping[str, tuple[Value, ...]]

#: Points that are drawn for a value, no two alike in what is made, and draws that these may take.
MOST_POINTS = 64
MOST_DRAWS = 1024
#: Values of a dimension that are refused: to look for others that go with each takes a second.
MOST_REFUSED = 8


@dataclass(frozen=True)
class _Try:
    """A value in a point, and why that cannot be made; own: the problems that come from it."""

    dimension: Dimension
    value: Value
    problems: tuple[str, ...]
    own: tuple[str, ...]

    def told(self, problems: Sequence[str]) -> list[str]:
        """Return problems with the value before them."""
        name, value = self.dimension.name, self.dimension.written(self.value)
        return [f"{name} = {value}: {each.removeprefix(f'{name}: ')}" for each in problems]


def refuse(case: Case, space: Space) -> None:
    """Raise InputError with the values that go with no others; of a range, both ends are tried."""
    by_room(dict.fromkeys(space.by_name))
    problems = [problem for room in ROOMS for problem in _Trial(case, space, room).problems()]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))


def made_with(case: Case, space: Space, room: str, dimension: Dimension, value: Value) -> Point:
    """Return a point with a value, of which what is in a room can be made; InputError if none."""
    for point in _points(space, room, _wanted(space, dimension, value)):
        if not case.problems(point, room):
            return point
    raise InputError(f"{dimension.name} = {value}: no combination with it can be made")


class _Trial:
    """The values of a space that are of one room: of the device, the workloads or the run."""

    def __init__(self, case: Case, space: Space, room: str) -> None:
        """Try each value in a point that can be made, or else in the first one."""
        self._case, self._space, self._room = case, space, room
        self._made = next((p for p in _points(space, room, {}) if not self._problems(p)), None)
        self._tries = [
            self._try(each, value)
            for each in space.dimensions
            if each.name.startswith(room)
            for value in _ends(each)
        ]

    def problems(self) -> list[str]:
        """Return what is wrong whatever the values, and the values that go with no others."""
        if not self._tries:
            return list(self._problems({}))
        always = set.intersection(*(set(each.problems) for each in self._tries))
        problems, refused = self._general(always), Counter[str]()
        for each in self._tries:
            own, name = [own for own in each.own if own not in always], each.dimension.name
            if own and refused[name] == MOST_REFUSED:
                problems.append(f"{name}: others of its values may be wrong, too")
            elif own and (found := self._refused(each, own, always)):
                problems += found
                refused[name] += 1
        return problems

    def _problems(self, point: Point) -> tuple[str, ...]:
        """Return why a point cannot be made; with units, which only their own paths take."""
        written = {name: self._space.by_name[name].written(each) for name, each in point.items()}
        return self._case.problems(written, self._room)

    def _try(self, dimension: Dimension, value: Value) -> _Try:
        point = _filled(self._space, _wanted(self._space, dimension, value), self._made or {})
        problems = self._problems(point)
        if self._made is not None or not problems:
            return _Try(dimension, value, problems, problems)
        # Where nothing can be made, those are of a value that are gone without it.
        without = {name: each for name, each in point.items() if name != dimension.name}
        left = self._problems(without)
        return _Try(dimension, value, problems, tuple(p for p in problems if p not in left))

    def _general(self, always: set[str]) -> list[str]:
        """Return what comes from no value, and what is wrong in all tries, of a dimension once."""
        blamed = {problem for each in self._tries for problem in each.own}
        found = dict.fromkeys(problem for each in self._tries for problem in each.problems)
        first = dict[str, _Try]()
        for each in self._tries:
            first.setdefault(each.dimension.name, each)
        of_values = [each.told([p for p in each.own if p in always]) for each in first.values()]
        return [*(each for each in found if each not in blamed), *chain(*of_values)]

    def _refused(self, tried: _Try, own: Sequence[str], always: set[str]) -> list[str]:
        """Return a value's own problems, if no point that has it is without such."""
        wanted = _wanted(self._space, tried.dimension, tried.value)
        goes = any(
            set(self._problems(point)) <= always
            for point in _points(self._space, self._room, wanted)
        )
        return [] if goes else tried.told(own)


def _ends(dimension: Dimension) -> Iterator[Value]:
    """Yield the values of a choice, the first and the last of a range."""
    domain = dimension.domain
    if isinstance(domain, Choice):
        yield from domain.values()
    elif isinstance(domain, Float):
        yield from (float(domain.low), float(domain.high))
    else:
        yield from dict.fromkeys((domain.at(0.0), domain.at(1 - 2**-53)))


def _wanted(space: Space, dimension: Dimension, *values: Value) -> Wanted:
    """Return values of a dimension with those of others for which it applies."""
    wanted = {dimension.name: values}
    for name, ways in dimension.when.items():
        wanted = {**_wanted(space, space.by_name[name], *ways), **wanted}
    return wanted


def _filled(space: Space, wanted: Wanted, others: Point) -> Point:
    """Return a point with the first values wanted and, of all else, others or the first ones."""
    point = dict[str, Value]()
    known = {**others, **{name: values[0] for name, values in wanted.items()}}
    for each in space.dimensions:
        if each.applies(point):
            point[each.name] = known.get(each.name, each.domain.at(0.0))
    return point


def _points(space: Space, room: str, wanted: Wanted) -> Iterator[Point]:
    """Yield the first point with values that are wanted, and drawn ones, the same each time.

    Drawn ones keep the constraints if any does, and no two are alike in a room.
    """
    yield _filled(space, wanted, {})
    drawn = _drawn(space, room, wanted)
    first = next(drawn, None)
    if first is None:
        # Constraints that leave too little to be drawn do not make a value wrong.
        drawn = _drawn(Space(space.dimensions), room, wanted)
    else:
        yield first
    yield from drawn


def _drawn(space: Space, room: str, wanted: Wanted) -> Iterator[Point]:
    given = {
        name: [space.by_name[name].domain.share(each) for each in values]
        for name, values in wanted.items()
    }
    seen = set[tuple[str, ...]]()
    for place in _places(len(space.dimensions)):
        shares = zip(space.by_name, place, strict=True)
        point = space.at([_of(given.get(name), share) for name, share in shares])
        if point is None:
            continue
        key = tuple(f"{name} {point[name]!r}" for name in point if name.startswith(room))
        if key not in seen:
            seen.add(key)
            yield point
        if len(seen) == MOST_POINTS:
            return


def _places(dimensions: int) -> Iterator[list[float]]:
    """Yield places of the unit cube, the same each time: Latin hypercubes of `MOST_POINTS`.

    So what goes with a single one of up to as many values of a dimension meets it.
    """
    rng = np.random.default_rng(0)
    for _ in range(MOST_DRAWS // MOST_POINTS):
        cells = rng.permuted(np.tile(np.arange(MOST_POINTS), (dimensions, 1)), axis=1)
        yield from ((cells + rng.random(cells.shape)) / MOST_POINTS).T.tolist()


def _of(places: Sequence[float] | None, share: float) -> float:
    """Return the place at a share of the way through some; the share where there are none."""
    return share if places is None else places[int(share * len(places))]
