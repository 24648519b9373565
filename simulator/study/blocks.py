"""Evaluating many points of a study at once: on the analytic rung, designs run in columns.

Points that differ in no more than numbers of the device (`variants.may_vary`) are a group: one
workload, one device, many designs. What columns cannot do, or do not judge, is evaluated point by
point, so that outcomes are those of `evaluate` whatever the way.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from itertools import chain
from math import nan
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.config import names
from simulator.cost import PROFILE_FOLDER, EnergyProfile, load_profile
from simulator.errors import InputError
from simulator.hardware import IdealMemory
from simulator.hardware.variants import Variants, may_vary
from simulator.search.records import Outcome, Outcomes
from simulator.search.space import Point
from simulator.study.case import DEVICE, Case
from simulator.study.evaluation import evaluate, infeasible
from simulator.study.metrics import Design, Ran, cost_of, derived, ran_of
from simulator.workload import Workload

if TYPE_CHECKING:
    from simulator.engine.points import Designs, Points
    from simulator.mapping.sheet import Sheet

Record = TypeVar("Record", Design, Ran)

#: Fewer points of a group are evaluated one by one: columns begin with the work of two or three.
LEAST = 4
#: Points in columns at a time: more gain nothing, and take 4 KB each.
MOST = 4096


def evaluate_many(case: Case, points: Sequence[Point]) -> Outcomes:
    """Return what `evaluate` returns of each point, but for the wall time: an equal share each."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, point in enumerate(points):
        fixed = tuple(
            (name, type(value), value) for name, value in point.items() if not _varies(name)
        )
        groups.setdefault(fixed, []).append(index)
    found = [
        _in_columns(case, points, np.array(group[first : first + MOST]))
        for group in groups.values()
        for first in range(0, len(group) if len(group) >= LEAST else 0, MOST)
    ]
    judged = {*chain.from_iterable((*each.places, *each.others) for each in found)}
    alone = [index for index in range(len(points)) if index not in judged]
    return _joined(found, {index: evaluate(case, points[index]) for index in alone})


def _joined(found: Sequence[Outcomes], alone: Mapping[int, Outcome]) -> Outcomes:
    """Return the outcomes of groups, and of points on their own, as those of one."""
    metrics = list(dict.fromkeys(chain.from_iterable(each.metrics for each in found)))
    table = np.full((sum(len(each.places) for each in found), len(metrics)), nan)
    others, first, spent_s = dict(alone), 0, 0.0
    for each in found:
        rows = slice(first, first + len(each.places))
        table[rows, [metrics.index(name) for name in each.metrics]] = each.table
        others |= each.others
        first, spent_s = rows.stop, spent_s + each.wall_time_s * len(each.places)
    places = [*chain.from_iterable(each.places for each in found)]
    return Outcomes(places, metrics, table, spent_s / max(1, len(places)), others)


@lru_cache(maxsize=4096)
def _varies(name: str) -> bool:
    return name.startswith(DEVICE) and may_vary(name.removeprefix(DEVICE))


def _in_columns(case: Case, every: Sequence[Point], group: NDArray[np.int64]) -> Outcomes:
    """Return the outcomes of those points of a group that columns judge; group: their places."""
    from simulator.engine.points import designs_of, not_vectorised, run_designs
    from simulator.mapping.sheet import sheet_of, with_units
    from simulator.mapping.target import Target

    began, points = time.perf_counter(), [every[place] for place in group.tolist()]
    nothing = Outcomes((), (), np.zeros((0, 0)), 0.0, {})
    fixed = {name: value for name, value in points[0].items() if not _varies(name)}
    try:
        device, workloads, options = case.at(fixed)
        if any(not_vectorised(device, each, options) for each in workloads.values()):
            return nothing
        profile = _unpriced(device.energy)
        target = Target(device, profile)
        fused = options.get("tables", "fused") == "fused"
        sheets = [sheet_of(each, target, fused_tables=fused) for each in workloads.values()]
        units = tuple(dict.fromkeys(unit for sheet in sheets for unit in sheet.units))
        variants = Variants(device, [_changes(point) for point in points])
        designs = designs_of(variants, profile, units)
        judged, refused, runs = ~designs.refused, dict[int, dict[str, Any]](), {}
        for (name, workload), sheet in zip(workloads.items(), sheets, strict=True):
            came = run_designs(with_units(sheet, units), designs, judged)
            refused |= _refused(variants, name, workload, sheet, came)
            judged = came.judged
            runs[name] = _ran(came, workload)
        ok = np.flatnonzero(judged)
        metrics, table = _metrics(_design(variants, designs), runs, ok)
    except InputError:
        # Of all points, or of a price: each says it in its own words.
        return nothing
    each_s = (time.perf_counter() - began) / len(points)
    others = {
        int(group[place]): Outcome(wall_time_s=each_s, **own) for place, own in refused.items()
    }
    return Outcomes(group[ok].tolist(), metrics, table, each_s, others)


def _refused(
    variants: Variants, name: str, workload: Workload, sheet: "Sheet", came: "Points"
) -> dict[int, dict[str, Any]]:
    """Return what comes of the designs on which a workload is infeasible."""
    from simulator.engine.points import PATHS, why_infeasible

    memories, which = variants.pieces(PATHS["memory"], lambda device: device)
    return {
        place: infeasible(
            name, why_infeasible(came, place, sheet, workload, memories[which[place]])
        )
        for place in np.flatnonzero(came.infeasible).tolist()
    }


@lru_cache(maxsize=32)
def _known(name: str) -> EnergyProfile:
    return load_profile(name)


def _unpriced(name: str) -> EnergyProfile:
    """Return an energy profile with what it leaves to be counted left so; files each time."""
    return _known(name) if name in names(PROFILE_FOLDER) else load_profile(name)


def _changes(point: Point) -> dict[str, Any]:
    return {name.removeprefix(DEVICE): value for name, value in point.items() if _varies(name)}


def _ran(came: "Points", workload: Workload) -> Ran:
    """Return what was measured of a workload, in columns."""
    latency = came.latency_ps.astype(np.float64)
    of_cores = came.latency_ps * came.instances
    return ran_of(
        workload,
        latency_ps=latency,
        energy_j=came.energy_j,
        # What has a sheet is of one device alone.
        group_energy_j=came.energy_j,
        dram_bytes=came.dram_bytes.astype(np.float64),
        matrix_busy=came.matrix_ps / of_cores,
        matrix_stalled=came.stalled_ps / of_cores,
        vector_busy=came.vector_ps / of_cores,
        dram_busy=came.dram_ps / latency,
    )


def _design(variants: Variants, designs: "Designs") -> Design:
    """Return what is known of designs before they run, in columns."""
    from simulator.engine.points import PATHS

    area = designs.rated.area_mm2
    costs = np.empty(variants.count)
    memories, which = variants.pieces(PATHS["memory"], lambda device: device)
    for place, device in enumerate(memories):
        own = which == place
        costs[own] = cost_of(device, area[own], designs.profile)
    ideal = isinstance(memories[0].memory, IdealMemory)
    capacities = np.array([float(each.memory.capacity_bytes) for each in memories])
    return Design(
        area_mm2=area,
        cost_usd=costs,
        peak_macs_per_s=np.max(list(designs.rated.macs_per_s.values()), axis=0),
        memory_bytes_per_s=nan if ideal else designs.memory_bytes_per_s,
        memory_capacity_bytes=capacities[which],
    )


def _metrics(
    design: Design, runs: Mapping[str, Ran], places: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the metrics of designs that are judged, by column, without those that none has."""
    columns = derived(
        _taken(design, places), {name: _taken(run, places) for name, run in runs.items()}
    )
    table = np.empty((len(places), len(columns)))
    for place, column in enumerate(columns.values()):
        table[:, place] = column
    there = np.flatnonzero(~np.isnan(table).all(axis=0))
    return [list(columns)[place] for place in there], table[:, there]


def _taken(record: Record, places: NDArray[np.int64]) -> Record:
    """Return a record of the designs at some places of its columns."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    taken: dict[str, Any] = {
        name: each[places] for name, each in values.items() if isinstance(each, np.ndarray)
    }
    return replace(record, **taken)
