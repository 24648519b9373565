"""Fronts of points by several costs, and the volume that a front takes up.

All costs are to be made small (`Objective.cost` turns those to be made large around). The work is
that of moocore; here is what it leaves to the caller: equal points, empty sets and NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.search.objectives import Objective

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Costs: TypeAlias = NDArray[np.float64]
#: The dimension that says on which rung a point is simulated.
RUNG = "run.rung"
#: So many points fit in the cache of a processor, and most are beaten by others among them.
_PART = 32_768


@dataclass(frozen=True)
class Front:
    """Points that have results and keep all bounds, and which of them no other beats.

    values: [points, objectives], in their units. on_front: [points]. table: the rows of those on
    the front.
    """

    values: NDArray[np.float64]
    on_front: NDArray[np.bool_]
    table: "pa.Table"


def on_highest_rung(table: "pa.Table", rungs: Sequence[str]) -> "tuple[pa.Table, str]":
    """Return the points on the highest rung that has a result, and the rung.

    What a low rung says of one point cannot be held against what a high one says of another. All
    points and "" where the rung is no dimension, or nothing has a result. rungs: low to high.
    """
    import pyarrow.compute as pc

    there = _rungs_of(table)
    highest = next((rung for rung in reversed(rungs) if rung in there), "")
    return (table.filter(pc.equal(table[RUNG], highest)), highest) if highest else (table, "")


def keeps(table: "pa.Table", objectives: Sequence[Objective]) -> NDArray[np.bool_]:
    """Tell which points of a table of `Store.columns` have results and keep all bounds.

    Raises InputError where results are of several rungs: `on_highest_rung` comes first.
    """
    import pyarrow.compute as pc

    there = _rungs_of(table)
    if len(there) > 1:
        listed = ", ".join(sorted(there))
        raise InputError(f"results of several rungs have no common front: {listed}")
    kept = np.asarray(pc.equal(table["state"], "OK"), dtype=np.bool_)
    for each in objectives:
        values = np.asarray(table[each.metric], dtype=np.float64)
        kept &= (values >= each.lowest) & (values <= each.highest)
    return kept


def front_of(table: "pa.Table", objectives: Sequence[Objective]) -> Front:
    """Return the front of a table of `Store.columns`.

    Raises InputError as `keeps` does.
    """
    kept = np.flatnonzero(keeps(table, objectives))
    values = values_of(table, objectives)[kept]
    on_front = non_dominated(as_costs(values, objectives))
    return Front(values, on_front, table.take(kept[on_front]))


def values_of(
    table: "pa.Table | pd.DataFrame", objectives: Sequence[Objective]
) -> NDArray[np.float64]:
    """Return the objectives of rows, [points, objectives], in their units."""
    values = np.empty((len(table), len(objectives)))
    for place, each in enumerate(objectives):
        values[:, place] = table[each.metric]
    return values


def as_costs(values: NDArray[np.float64], objectives: Sequence[Objective]) -> Costs:
    """Return values of objectives, [points, objectives], as what is to be made small."""
    signs = np.array([each.cost(1.0) for each in objectives], dtype=np.float64)
    return np.multiply(values, signs)


def _rungs_of(table: "pa.Table") -> set[str]:
    """Return the rungs that have results, none where the rung is no dimension."""
    import pyarrow.compute as pc

    if RUNG not in table.column_names:
        return set()
    rungs = table[RUNG].filter(pc.equal(table["state"], "OK"))
    return set(rungs.drop_null().unique().to_pylist())


def non_dominated(costs: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points no other beats: none is as small in each cost and smaller in one.

    costs: [points, objectives], to be made small, of any unit; infinite ones are compared as such.
    Equal points are all kept. Returns [points]. Raises InputError for a wrong shape and for NaN.
    """
    table = _table(costs)
    if not len(table):
        return np.ones(np.shape(costs)[0], dtype=np.bool_)
    if len(table) <= _PART:
        return _unbeaten(table)
    parts = [_unbeaten(table[at : at + _PART]) for at in range(0, len(table), _PART)]
    places = np.flatnonzero(np.concatenate(parts))
    on_front = np.zeros(len(table), dtype=np.bool_)
    on_front[places[_unbeaten(table[places])]] = True
    return on_front


def _unbeaten(table: Costs) -> NDArray[np.bool_]:
    import moocore

    return np.asarray(moocore.is_nondominated(table, keep_weakly=True), dtype=np.bool_)


class Archive:
    """The front of points that come one after the other."""

    def __init__(self, objectives: int) -> None:
        """Begin without points."""
        self.costs: Costs = np.zeros((0, objectives))

    def add(self, costs: ArrayLike) -> None:
        """Take costs, [points, objectives], to be made small; equal ones count once."""
        table = np.unique(np.vstack([self.costs, _table(costs)]), axis=0)
        self.costs = table[non_dominated(table)]


def best(costs: ArrayLike, count: int) -> list[int]:
    """Return the places of the `count` best points, the best first.

    By non-dominated rank, in a rank by crowding distance, both after Deb et al. (2002), then in
    the order given. costs: as of `non_dominated`. Raises InputError as that does.
    """
    table = _table(costs)
    if not len(table):
        return []
    import moocore

    ranks = np.asarray(moocore.pareto_rank(table))
    distances = np.zeros(len(table))
    for rank in range(int(ranks.max()) + 1):
        distances[ranks == rank] = _crowding(table[ranks == rank])
    ordered = np.lexsort((-distances, ranks))
    return [int(place) for place in ordered[:count]]


def _crowding(front: Costs) -> Costs:
    """Return how far the neighbours of each point of a front are apart; its ends are infinite."""
    distances = np.zeros(len(front))
    for column in front.T:
        order = np.argsort(column, kind="stable")
        there = column[order]
        span = there[-1] - there[0]
        if 0 < span < np.inf:
            distances[order[1:-1]] += (there[2:] - there[:-2]) / span
        distances[order[[0, -1]]] = np.inf
    return distances


def hypervolume(costs: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume of what points beat, up to a reference, in the product of the units.

    costs: [points, objectives], to be made small, finite. reference: [objectives], finite; a point
    that is not smaller in each cost adds nothing. Raises InputError for wrong shapes and numbers.
    Exact, by the algorithms that moocore names.
    """
    table, corner = _table(costs), np.asarray(reference, dtype=np.float64)
    problems = []
    if corner.ndim != 1 or (len(table) and corner.shape != table.shape[1:]):
        problems.append(
            f"a reference has one number for each of {table.shape[1]} objectives,"
            f" got shape {corner.shape}"
        )
    if not np.isfinite(table).all() or not np.isfinite(corner).all():
        problems.append("a hypervolume needs finite costs and a finite reference")
    if problems:
        raise InputError(problems)
    inside = table[(table < corner).all(axis=1)] if len(table) else table
    if not len(inside):
        return 0.0
    import moocore

    return float(moocore.hypervolume(inside, ref=corner))


def _table(costs: ArrayLike) -> Costs:
    """Return costs as [points, objectives]; InputError for another shape and for NaN."""
    table = np.asarray(costs, dtype=np.float64)
    if table.size == 0 and table.ndim <= 2:
        return table.reshape(0, table.shape[1] if table.ndim == 2 else 0)
    if table.ndim != 2:
        raise InputError(f"costs are [points, objectives], got shape {table.shape}")
    wrong = np.flatnonzero(np.isnan(table).any(axis=1))
    if len(wrong):
        raise InputError(f"costs of point {wrong[0]} are not numbers: {table[wrong[0]].tolist()}")
    return table
