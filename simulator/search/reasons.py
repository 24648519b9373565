"""Why a point is on the front: what it leads in, what the next points cost, what binds it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.search.analysis import Box, Study, costs_of, values_of
from simulator.search.effects import Levels, levels_of
from simulator.search.front import Costs

if TYPE_CHECKING:
    import pandas as pd

#: Ends of metrics that are shares of latency, of a unit; a workload's name and a dot may be before.
SHARES = ("busy", "stalled")
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
    levels = levels_of(study)
    points = [_point(levels, row) for row in front.index.tolist()]
    objectives = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    keys = front["key"].tolist()
    leads = costs == costs.min(axis=0)
    return tuple(
        Reason(
            key=key,
            point=points[at],
            objectives=objectives[at],
            leads=tuple(np.array(names)[leads[at]].tolist()),
            steps=tuple(
                Step(
                    better_in=names[column],
                    key=keys[to],
                    changed=_changed(points[at], points[to]),
                    objectives=objectives[to],
                )
                for column, to in _next(at, costs, places)
            ),
            shares=_shares(front.iloc[at], study.header.metrics),
        )
        for at, key in enumerate(keys)
    )


def _next(at: int, costs: Costs, places: Costs) -> Iterator[tuple[int, int]]:
    """Yield, for each objective in which one is better, its column and the nearest such point."""
    distance = np.square(places - places[at]).sum(axis=1)
    for column in range(costs.shape[1]):
        better = np.flatnonzero(costs[:, column] < costs[at, column])
        if len(better):
            yield column, int(better[np.argmin(distance[better])])


def _point(levels: Sequence[Levels], row: int) -> dict[str, Any]:
    return {each.name: each.values[each.codes[row]] for each in levels}


def _changed(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (value, there[name])
        for name, value in here.items()
        if repr(value) != repr(there[name])
    }


def _shares(row: "pd.Series[Any]", metrics: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the shares of units by workload, of those that were measured."""
    found: dict[str, dict[str, float]] = {}
    for name in metrics:
        workload, _, metric = name.rpartition(".")
        if metric.rpartition("_")[2] in SHARES and np.isfinite(row[name]):
            found.setdefault(workload, {})[metric] = float(row[name])
    return found


@dataclass(frozen=True)
class Roofline:
    """Achieved rates over intensities of the kept points, of a workload or ("") the only one.

    on_front: of each point. roof_tops, memory_tbytes_per_s: what the device can do at most, None
    where the points differ in it or do not have it.
    """

    workload: str
    ops_per_byte: tuple[float, ...]
    tops: tuple[float, ...]
    on_front: tuple[bool, ...]
    roof_tops: float | None
    memory_tbytes_per_s: float | None


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
            memory = _same(rows, "memory_bytes_per_s")
            found.append(
                Roofline(
                    workload=workload,
                    ops_per_byte=tuple(rows[names[0]].tolist()),
                    tops=tuple(rows[names[1]].tolist()),
                    on_front=tuple(rows.index.isin(study.front.index).tolist()),
                    roof_tops=_same(rows, "peak_tops"),
                    memory_tbytes_per_s=None if memory is None else memory / 1e12,
                )
            )
    return tuple(found)


def _same(rows: "pd.DataFrame", metric: str) -> float | None:
    """Return the value of a metric that is the same in all rows, else None."""
    if metric not in rows:
        return None
    values = rows[metric].unique()
    return float(values[0]) if len(values) == 1 and np.isfinite(values[0]) else None
