"""What a study has found, as numbers: volumes over time, and one study beside another.

Pure functions of the table and the header of a store. Volumes are shares of a box: from the best to
the worst value of each objective, of the points that have results and keep the bounds, in
logarithms where an objective is positive and spans more than a factor of ten. They are what the
staircase of the picture encloses, and have no unit; a study of its own box ends below 1, and only
volumes in one box may be compared. C-metric: Zitzler, Thiele, IEEE Trans. Evol. Comput. 3(4), 1999.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.search.front import (
    RUNG,
    Costs,
    as_costs,
    hypervolume,
    keeps,
    non_dominated,
    values_of,
)
from simulator.search.levels import ABSENT, Levels, levels_of
from simulator.search.objectives import Objective
from simulator.search.records import Header

if TYPE_CHECKING:
    import pandas as pd

#: From so large a span on, an objective is measured in logarithms.
LOG_SPAN = 10.0
#: Numbers of points at which a volume is computed.
MOST_PLACES = 256


@dataclass(frozen=True)
class Study:
    """A table of `Store.table`, rows 0, 1, ..., with its header; `name` is for messages.

    chosen: points of lower rungs are left out, which may have chosen these. Raises InputError where
    no objective is known, or no point has results and keeps the bounds.
    """

    name: str
    header: Header
    table: "pd.DataFrame"
    chosen: bool = False

    def __post_init__(self) -> None:
        """Refuse what there is nothing to say of."""
        if not self.header.objectives:
            raise InputError(f"'{self.name}' has no objectives")
        if not len(self.kept):
            counts = self.table["state"].value_counts().to_dict()
            states = ", ".join(f"{count} {state}" for state, count in counts.items())
            raise InputError(
                f"no point of '{self.name}' has a result and keeps the bounds"
                f" ({states or 'it is empty'}): there is nothing to analyse"
            )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What was looked for."""
        return self.header.objectives

    @cached_property
    def kept(self) -> "pd.DataFrame":
        """The rows that have results in all objectives and keep the bounds."""
        import pyarrow as pa

        names = {"state", RUNG, *(each.metric for each in self.objectives)}
        own = [name for name in self.table if name in names]
        kept = keeps(pa.Table.from_pandas(self.table[own], preserve_index=False), self.objectives)
        return self.table[kept & np.isfinite(values_of(self.table, self.objectives)).all(axis=1)]

    @cached_property
    def is_kept(self) -> NDArray[np.bool_]:
        """Which rows of the table are kept."""
        is_kept = np.zeros(len(self.table), dtype=np.bool_)
        is_kept[self.kept.index.to_numpy()] = True
        return is_kept

    @cached_property
    def front(self) -> "pd.DataFrame":
        """Those of the kept rows that no other beats, from the best in the first objective on."""
        front = self.kept.loc[non_dominated(costs_of(self.kept, self.objectives))]
        first = self.objectives[0]
        return front.sort_values(first.metric, ascending=first.goal == "min", kind="stable")

    @cached_property
    def levels(self) -> tuple[Levels, ...]:
        """The levels of each dimension over all points."""
        return tuple(
            levels_of(self.table[name], name, kind) for name, kind in self.header.dimensions.items()
        )

    @cached_property
    def binned(self) -> tuple[Levels, ...]:
        """The same, of many numbers in bins."""
        return tuple(each.binned() for each in self.levels)


@dataclass(frozen=True)
class Box:
    """Where volumes are measured: from the best to the worst value of each objective."""

    objectives: tuple[Objective, ...]
    best: tuple[float, ...]
    worst: tuple[float, ...]

    @classmethod
    def around(cls, objectives: Sequence[Objective], *tables: "pd.DataFrame") -> Self:
        """Return the box of all rows of tables, which are finite and not all empty."""
        costs = np.concatenate([costs_of(table, objectives) for table in tables])
        ends = costs.min(axis=0).tolist(), costs.max(axis=0).tolist()
        # Costs are negated values for "max", and the other way round.
        best, worst = (
            tuple(each.cost(cost) for each, cost in zip(objectives, end, strict=True))
            for end in ends
        )
        return cls(tuple(objectives), best, worst)

    @property
    def logarithmic(self) -> tuple[bool, ...]:
        """Whether each objective is measured in logarithms."""
        ends = [sorted(pair) for pair in zip(self.best, self.worst, strict=True)]
        return tuple(low > 0 and high > LOG_SPAN * low for low, high in ends)

    def places(self, values: ArrayLike) -> Costs:
        """Return values, [points, objectives], as places from 0, the best, to 1, the worst."""
        scaled = [np.array(each, dtype=np.float64) for each in (values, self.best, self.worst)]
        logs = np.array(self.logarithmic)
        for each in scaled:
            each[..., logs] = np.log(each[..., logs])
        given, best, worst = scaled
        span = worst - best
        # An objective that is the same everywhere has no say.
        flat = span == 0
        return np.where(flat, 0.0, (given - best) / np.where(flat, 1.0, span))

    def volume(self, values: ArrayLike) -> float:
        """Return the share of the box that values, [points, objectives], beat: 0 to 1."""
        return hypervolume(self.places(values), np.ones(len(self.objectives)))


@dataclass(frozen=True)
class Attainment:
    """What the points of one search, a strategy and its seed, had attained after so many of them.

    strategy: "" where the file does not say. points: how many were stored, of whatever state.
    volume: share of the box. best: of each objective, NaN before the first point that has results.
    """

    strategy: str
    seed: int
    points: tuple[int, ...]
    volume: tuple[float, ...]
    best: Mapping[str, tuple[float, ...]]


def attainment(study: Study, box: Box | None = None) -> tuple[Attainment, ...]:
    """Return what each search attained over its points, at up to `MOST_PLACES` places.

    box: by default the study's own. What an earlier search in the same file had asked for is its
    own and is missing from the later one's.
    """
    box = box or Box.around(study.objectives, study.kept)
    searches = study.table.groupby(["strategy", "seed"])
    search_of = searches.ngroup().to_numpy()
    rows = [np.flatnonzero(search_of == each) for each in range(searches.ngroups)]
    return tuple(_attained(study, own, box) for own in rows)


def _attained(study: Study, rows: NDArray[np.int64], box: Box) -> Attainment:
    """Return what the rows of a search attain; the front of each part goes on to the next."""
    places = np.unique(np.linspace(1, len(rows), min(len(rows), MOST_PLACES)).round().astype(int))
    values, kept = values_of(study.table, box.objectives)[rows], study.is_kept[rows]
    front = np.empty((0, len(box.objectives)))
    volumes, best, begin = list[float](), list[list[float]](), 0
    for end in places.tolist():
        new = values[begin:end][kept[begin:end]]
        if len(new):
            front = np.concatenate([front, new])
            front = front[non_dominated(as_costs(front, box.objectives))]
        volumes.append(volumes[-1] if volumes and not len(new) else box.volume(front))
        best.append(_best(front, box.objectives))
        begin = end
    columns = {
        each.metric: tuple(row[at] for row in best) for at, each in enumerate(box.objectives)
    }
    asked = study.table.iloc[rows[0]]
    strategy, seed = str(asked["strategy"]), int(asked["seed"])
    return Attainment(strategy, seed, tuple(places.tolist()), tuple(volumes), columns)


@dataclass(frozen=True)
class Side:
    """A study in a comparison.

    volume: of its front in the common box. covers: share of the other's front that some point of
    its own equals or beats (C-metric). best: of each objective. front: points on its own front,
    and of these not_beaten: keys of those that no point of the other beats.
    """

    name: str
    points: int
    volume: float
    covers: float
    best: Mapping[str, float]
    front: int
    not_beaten: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Two studies by what both look for.

    differ: settings that are not the same, rung and device among them. left_out: objectives of one
    alone. bounds: what each demands where they differ; each study keeps to its own. same: points of
    the common front that both have, equal in all objectives.
    """

    objectives: tuple[Objective, ...]
    differ: tuple[str, ...]
    left_out: tuple[str, ...]
    bounds: tuple[str, ...]
    box: Box
    sides: tuple[Side, Side]
    same: int


def compare(one: Study, other: Study) -> Comparison:
    """Compare two studies by their common objectives: same metric, unit and goal.

    Raises InputError where they have none.
    """
    common, theirs = _common(one, other), {each.metric: each for each in other.objectives}
    if not common:
        raise InputError(
            f"'{one.name}' and '{other.name}' have no objective in common: "
            f"{_listed(one)} and {_listed(other)}"
        )
    box = Box.around(common, one.kept, other.kept)
    studies = (one, other)
    fronts = [
        study.kept.loc[non_dominated(costs_of(study.kept, common))].sort_values(
            common[0].metric, ascending=common[0].goal == "min", kind="stable"
        )
        for study in studies
    ]
    costs = [costs_of(front, common) for front in fronts]
    rows = [[*map(tuple, each.tolist())] for each in costs]
    same = {*rows[0]} & {*rows[1]}
    both = [np.array([row in same for row in each]) for each in rows]
    # No point of a front beats another of it: what is beaten among both is so by the other's.
    held = np.split(non_dominated(np.concatenate(costs)), [len(costs[0])])
    names = {each.metric for each in common}
    return Comparison(
        objectives=common,
        differ=_differ(one.header.text, other.header.text),
        left_out=tuple(
            f"{each.metric} ({each.goal}) of '{study.name}'"
            for study in studies
            for each in study.objectives
            if each.metric not in names
        ),
        bounds=tuple(
            f"{each.metric}: {_bounds(each)} and {_bounds(theirs[each.metric])}"
            for each in common
            if _bounds(each) != _bounds(theirs[each.metric])
        ),
        box=box,
        sides=(
            _side(one, fronts[0], held[0], ~held[1] | both[1], box),
            _side(other, fronts[1], held[1], ~held[0] | both[0], box),
        ),
        same=len(same),
    )


def _side(
    study: Study,
    front: "pd.DataFrame",
    not_beaten: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    box: Box,
) -> Side:
    """Return a side; not_beaten: of its front, covered: of the other's."""
    values = values_of(front, box.objectives)
    best = _best(values, box.objectives)
    return Side(
        name=study.name,
        points=len(study.table),
        volume=box.volume(values),
        covers=float(np.mean(covered)),
        best={each.metric: value for each, value in zip(box.objectives, best, strict=True)},
        front=len(front),
        not_beaten=tuple(front["key"][not_beaten]),
    )


def _common(one: Study, other: Study) -> tuple[Objective, ...]:
    theirs = {
        (each.metric, each.goal, other.header.metrics[each.metric]) for each in other.objectives
    }
    return tuple(
        each
        for each in one.objectives
        if (each.metric, each.goal, one.header.metrics[each.metric]) in theirs
    )


def _differ(one: str, other: str) -> tuple[str, ...]:
    """Return the lines "name: setting" of two headers that are not the same."""
    ours, theirs = (
        dict(line.partition(": ")[::2] for line in text.splitlines()) for text in (one, other)
    )
    return tuple(
        f"{name} {ours.get(name, ABSENT)} and {theirs.get(name, ABSENT)}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    )


def _listed(study: Study) -> str:
    units = study.header.metrics
    return ", ".join(f"{e.metric} ({units[e.metric]}, {e.goal})" for e in study.objectives)


def _bounds(objective: Objective) -> str:
    bounds = (("at least", objective.at_least), ("at most", objective.at_most))
    return ", ".join(f"{word} {value:g}" for word, value in bounds if value is not None) or "free"


def costs_of(table: "pd.DataFrame", objectives: Sequence[Objective]) -> Costs:
    """Return what is to be made small of rows, [points, objectives]."""
    return as_costs(values_of(table, objectives), objectives)


def _best(values: NDArray[np.float64], objectives: Sequence[Objective]) -> list[float]:
    if not len(values):
        return [float("nan")] * len(objectives)
    least = as_costs(values, objectives).min(axis=0)
    return [each.cost(float(cost)) for each, cost in zip(objectives, least, strict=True)]
