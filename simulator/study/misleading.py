"""Objectives that say less of a point than they seem to: refused, or told before the first run.

A die whose area is stated does not grow with its arrays and buffers, what is of one device of a
group does not grow with the group, and a die has nothing of what multiplies in its memory.
"""

from collections.abc import Iterable, Iterator, Mapping

from simulator.hardware import Device
from simulator.hardware.matrix import Throughput
from simulator.search.objectives import Objective
from simulator.search.space import Space
from simulator.search.sweep_file import Sweep
from simulator.study.case import WORKLOAD, Case
from simulator.study.metrics import OF_DEVICE, OF_STAGE, column, units_of

#: Dimensions that begin so move the area of a die that is counted (`engine.energy.areas_mm2`).
_COUNTED = (
    *("device.cores", "device.energy", "device.matrix.", "device.beside."),
    *("device.scratchpad.", "device.vector."),
)
#: What else moves a price.
_PRICED = ("device.memory", "device.price", "device.pim")
#: Metrics in which the area of the die is, by the beginnings of dimensions that move the rest.
_OF_DIE: dict[str, tuple[str, ...]] = {
    "area_mm2": (),
    "cost_usd": _PRICED,
    "group_cost_usd": (*_PRICED, WORKLOAD),
    "tops_per_mm2": ("",),
}


def same_everywhere(objective: Objective, device: Device, space: Space) -> str:
    """Say why all points have one area or price though their arrays differ; "" where they do not.

    Of an objective with a bound, which may be there for the bound, `warnings_of` tells.
    """
    own = _own(objective.metric)
    bounded = (objective.at_most, objective.at_least) != (None, None)
    if bounded or own not in _OF_DIE or _named(space, _OF_DIE[own]):
        return ""
    lost = _uncounted(device, space)
    return f"all points have the same: {_stated(device, lost)}" if lost else ""


def warnings_of(sweep: Sweep, case: Case) -> list[str]:
    """Return what the objectives of a sweep that is not refused leave unsaid."""
    return [
        f"objective '{each.metric}': {text}"
        for each in sweep.objectives
        for text in _unsaid(each.metric, sweep, case)
    ]


def _unsaid(metric: str, sweep: Sweep, case: Case) -> Iterator[str]:
    own, space = _own(metric), sweep.space
    if own in _OF_DIE and (lost := _uncounted(case.device, space)):
        yield _stated(case.device, lost)
    yield from _of_one(metric, OF_DEVICE, ("tensor_parallel", "pipeline_parallel"), case, space)
    yield from _of_one(metric, OF_STAGE, ("pipeline_parallel",), case, space)
    known = {_own(each.metric) for each in sweep.objectives}
    if own == "area_mm2" and "pim_area_mm2" not in known and _named(space, ("device.pim.",)):
        yield "it is of the die alone; pim_area_mm2 is of what multiplies in the memory"


def _of_one(
    metric: str,
    of_all: Mapping[str, tuple[str, ...]],
    ways: Iterable[str],
    case: Case,
    space: Space,
) -> Iterator[str]:
    """Yield that a metric is of one of several whose number the space varies."""
    workload, own = metric.rpartition(".")[0], _own(metric)
    names = (workload,) if workload else case.names
    paths = {f"{WORKLOAD}{column(name, way)}" for name in ("", *names) for way in ways}
    varied = [each.name for each in space.dimensions if each.name in paths]
    if own in of_all and varied:
        found = [column(name, each) for name in names for each in of_all[own]]
        known = [each for each in found if each in units_of(case.phases(space))]
        instead = f"; {' or '.join(known)} is of all" if known else ""
        sizes = ", ".join(varied)
        yield f"it is of one device of a group whose size varies ({sizes}){instead}"


def _uncounted(device: Device, space: Space) -> list[str]:
    """Return the dimensions that would move the area of the die, were it not stated."""
    if device.die_area_mm2 is None or "device.die_area" in space.by_name:
        return []
    return _named(space, _COUNTED)


def _stated(device: Device, lost: Iterable[str]) -> str:
    counted = f", or have it counted (base: {device.name}, die_area: null)"
    # Nothing counts the area of a unit that is no array of elements.
    other = "" if isinstance(device.matrix, Throughput) else counted
    return (
        f"{device.name} states its die_area, {device.die_area_mm2:g} mm2, which does not follow "
        f"{', '.join(lost)}; vary device.die_area{other}"
    )


def _named(space: Space, beginnings: tuple[str, ...]) -> list[str]:
    return [each.name for each in space.dimensions if each.name.startswith(beginnings)]


def _own(metric: str) -> str:
    """Return the name of a metric without that of a workload."""
    return metric.rpartition(".")[2]
