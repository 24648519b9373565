"""Why a point is on the front: what it leads in, what the next points cost, what binds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.search.analysis import Box, Study, costs_of
from simulator.search.front import Costs, values_of
from simulator.search.levels import Levels

if TYPE_CHECKING:
    import pandas as pd

#: Ends of metrics that are shares of latency, of a unit; a workload's name and a dot may be before.
SHARES = ("busy", "stalled")
#: Points whose distances to the others are found in one call.
TOGETHER = 256
UNITS = {"matrix": "matrix units", "vector": "vector units", "dram": "memory"}


@dataclass(frozen=True)
class Step:
    """The nearest point of the front, by places in the box, that is better in an objective.

    changed: dimensions that differ, as pairs of values here and there. objectives: values there.
    """

    better_in: str
    key: str
    changed: Mapping[str, tuple[Any, Any]]
    objectives: Mapping[str, float]


@dataclass(frozen=True)
class Reason:
    """A point of the front and why it is there.

    leads: the objectives in which no point is better. shares: of the latency, 0 to 1, in which
    units are busy or stalled, by workload ("" where there is one) and metric; empty where the study
    has none.
    """

    key: str
    point: Mapping[str, Any]
    objectives: Mapping[str, float]
    leads: tuple[str, ...]
    steps: tuple[Step, ...]
    shares: Mapping[str, Mapping[str, float]]

    @property
    def bound(self) -> str:
        """The largest share of each workload, in words; "" where nothing is known of it."""
        return "; ".join(
            f"{workload + ': ' if workload else ''}{_largest(shares)}"
            for workload, shares in self.shares.items()
        )


def _largest(shares: Mapping[str, float]) -> str:
    name = max(shares, key=lambda name: shares[name])
    unit, _, how = name.rpartition("_")
    return f"{UNITS.get(unit, unit)} {100 * shares[name]:.0f} % {how}"


def reasons(study: Study) -> tuple[Reason, ...]:
    """Return the points of the front with their reasons, the best in the first objective first."""
    front, names = study.front, [each.metric for each in study.objectives]
    values, costs = values_of(front, study.objectives), costs_of(front, study.objectives)
    places = Box.around(study.objectives, study.kept).places(values)
    codes = np.stack([each.codes[front.index] for each in study.levels], axis=1)
    points = [_point(study.levels, own) for own in codes.tolist()]
    objectives = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    keys, leads = front["key"].tolist(), costs == costs.min(axis=0)
    steps, shares = _next(costs, places).tolist(), _shares(front, study.header.metrics)

    def step(better_in: str, here: int, there: int) -> Step:
        differ = np.flatnonzero(codes[here] != codes[there]).tolist()
        changed = [study.levels[column].name for column in differ]
        return Step(
            better_in=better_in,
            key=keys[there],
            changed={name: (points[here][name], points[there][name]) for name in changed},
            objectives=objectives[there],
        )

    return tuple(
        Reason(
            key=key,
            point=points[at],
            objectives=objectives[at],
            leads=tuple(names[column] for column in np.flatnonzero(leads[at]).tolist()),
            steps=tuple(
                step(name, at, there)
                for name, there in zip(names, steps[at], strict=True)
                if there >= 0
            ),
            shares=shares[at],
        )
        for at, key in enumerate(keys)
    )


def _point(levels: Sequence[Levels], codes: Sequence[int]) -> dict[str, Any]:
    return {each.name: each.values[code] for each, code in zip(levels, codes, strict=True)}


def _next(costs: Costs, places: Costs) -> NDArray[np.int64]:
    """Return, for each point and objective, the nearest point that is better; -1 where none is."""
    from scipy.spatial.distance import cdist

    nearest = np.full(costs.shape, -1)
    for column, cost in enumerate(costs.T):
        order = np.argsort(cost, kind="stable")
        better = np.searchsorted(cost[order], cost[order])
        for first in range(0, len(order), TOGETHER):
            some, counts = order[first : first + TOGETHER], better[first : first + TOGETHER]
            distances = cdist(places[some], places[order[: counts[-1]]], "sqeuclidean")
            for at, count, apart in zip(some, counts, distances, strict=True):
                if count:
                    nearest[at, column] = order[np.argmin(apart[:count])]
    return nearest


def _shares(front: "pd.DataFrame", metrics: Mapping[str, str]) -> list[dict[str, dict[str, float]]]:
    """Return the shares of units of each point by workload, of those that were measured."""
    found: list[dict[str, dict[str, float]]] = [{} for _ in range(len(front))]
    for name in metrics:
        workload, _, metric = name.rpartition(".")
        if metric.rpartition("_")[2] in SHARES:
            values = front[name].to_numpy(dtype=np.float64)
            for at in np.flatnonzero(np.isfinite(values)).tolist():
                found[at].setdefault(workload, {})[metric] = float(values[at])
    return found


@dataclass(frozen=True)
class Roofline:
    """Achieved rates over intensities of the kept points, of a workload or ("") the only one.

    on_front: of each point. roof_tops, memory_tbytes_per_s: what the least and the most able of the
    designs can do at most, None where the study does not have it.
    """

    workload: str
    ops_per_byte: tuple[float, ...]
    tops: tuple[float, ...]
    on_front: tuple[bool, ...]
    roof_tops: tuple[float, float] | None
    memory_tbytes_per_s: tuple[float, float] | None


def rooflines(study: Study) -> tuple[Roofline, ...]:
    """Return the roofline of each workload whose intensities and rates the study has."""
    found = []
    for name in study.header.metrics:
        workload, dot, metric = name.rpartition(".")
        names = [name, f"{workload}{dot}tops"]
        if metric != "ops_per_byte" or names[1] not in study.header.metrics:
            continue
        rows = study.kept.loc[np.asarray((study.kept[names] > 0).all(axis=1), dtype=np.bool_)]
        if len(rows):
            found.append(
                Roofline(
                    workload=workload,
                    ops_per_byte=tuple(rows[names[0]].tolist()),
                    tops=tuple(rows[names[1]].tolist()),
                    on_front=tuple(rows.index.isin(study.front.index).tolist()),
                    roof_tops=_ends(rows, "peak_tops", 1.0),
                    memory_tbytes_per_s=_ends(rows, "memory_bytes_per_s", 1e12),
                )
            )
    return tuple(found)


def _ends(rows: "pd.DataFrame", metric: str, unit: float) -> tuple[float, float] | None:
    """Return the least and the most of a metric, None where not all rows have it."""
    if metric not in rows:
        return None
    values = rows[metric].to_numpy(dtype=np.float64) / unit
    return (float(values.min()), float(values.max())) if np.isfinite(values).all() else None
