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

Costs: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """Points that have results and keep all bounds, and which of them no other beats."""

    table: "pd.DataFrame"
    on_front: list[bool]


def front_of(table: "pd.DataFrame", objectives: Sequence[Objective]) -> Front:
    """Return the front of a table of `Store.table`."""
    kept = table[table["state"] == "OK"]
    for each in objectives:
        kept = kept[kept[each.metric].map(each.within).astype(bool)]
    columns = [kept[each.metric].map(each.cost) for each in objectives]
    costs = np.array(columns, dtype=np.float64).reshape(len(objectives), len(kept)).T
    return Front(kept, non_dominated(costs).tolist())


def non_dominated(costs: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points no other beats: none is as small in each cost and smaller in one.

    costs: [points, objectives], to be made small, of any unit; infinite ones are compared as such.
    Equal points are all kept. Returns [points]. Raises InputError for a wrong shape and for NaN.
    """
    table = _table(costs)
    if not len(table):
        return np.zeros(0, dtype=np.bool_)
    import moocore

    return np.asarray(moocore.is_nondominated(table, keep_weakly=True), dtype=np.bool_)


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
