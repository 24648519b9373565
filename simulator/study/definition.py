"""What a study is of: its case, out of a sweep, and the header that tells it from others."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from simulator import api
from simulator.config import Part, code_hash, content_hash, unknown
from simulator.cost import EnergyProfile, load_profile, load_sram, load_technology
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.mapping.pim_area import no_pim_area
from simulator.search.records import Header, kind_of
from simulator.search.space import Choice, Dimension, Space, Value
from simulator.search.sweep_file import Sweep
from simulator.study.case import DEVICE, Case, model_of
from simulator.study.metrics import PHASE_OF, SHARES, no_cost, units_of
from simulator.study.misleading import same_everywhere
from simulator.study.refusals import made_with, refuse

#: Where users read which metrics there are.
LISTED = "see Metrics in docs/studies.md"
#: Folders of the package that no outcome of a point depends on.
_ASIDE = ("cli", "report", "search")
#: What may change whether a device has a price.
_PRICED_BY = ("device.price", "device.energy", "device.memory", "device.pim")
#: What may change what an energy profile counts for a device (`hardware.priced`).
_ENERGY_BY = tuple(
    f"device.{part}" for part in ("energy", "matrix", "beside", "cores", "scratchpad")
)
#: Metrics that not all devices have: what says why, and what may change it.
_KNOWN: dict[str, tuple[Callable[[Device], str], tuple[str, ...]]] = {
    "cost_usd": (no_cost, _PRICED_BY),
    "group_cost_usd": (no_cost, _PRICED_BY),
    "pim_area_mm2": (no_pim_area, ("device.pim",)),
}


def case_of(sweep: Sweep) -> Case:
    """Return what a sweep simulates; InputError for what its device, workload or run cannot be.

    Also for objectives that are no metrics, that are given twice, that no point can have, or that
    all points have alike, and for a device that its energy profile cannot price where nothing that
    it prices varies.
    """
    case = Case(
        device=api.load_device(sweep.device),
        workload=sweep.workload,
        run={"rung": sweep.rung, **sweep.run},
        workloads=sweep.workloads,
    )
    refuse(case, sweep.space)
    if not any(each.name.startswith(_ENERGY_BY) for each in sweep.space.dimensions):
        # What its profile cannot price, no point has.
        api.profile_of(case.device)
    known = units_of(case.phases(sweep.space))
    metrics = [each.metric for each in sweep.objectives]
    problems = [
        f"objective '{each}': given twice"
        for each in sorted(set(metrics))
        if metrics.count(each) > 1
    ]
    for objective in sweep.objectives:
        metric = objective.metric
        if reason := (
            _never(metric, case, sweep.space)
            or same_everywhere(objective, case.device, sweep.space)
        ):
            problems.append(f"objective '{metric}': {reason}")
        elif metric not in known:
            problems.append(unknown("metric", metric, known, listed=LISTED))
    if problems:
        raise InputError(problems)
    return case


def header_of(sweep: Sweep, case: Case) -> Header:
    """Return what tells a study from others: all that outcomes depend on beside the point."""
    settings = [{**case.workload, **own} for own in (case.workloads.values() or ({},))]
    models = [model_of(each["model"]) for each in settings if "model" in each]
    profile = load_profile(case.device.energy)
    lines = [
        f"device: {case.device.name} {content_hash(case.device)}",
        f"energy: {profile.name} {_priced_by(profile)}",
        *dict.fromkeys(f"model: {model.name} {content_hash(model)}" for model in models),
        f"workload: {json.dumps(dict(case.workload), sort_keys=True)}",
        *(
            f"workload {name}: {json.dumps(dict(own), sort_keys=True)}"
            for name, own in case.workloads.items()
        ),
        f"run: {json.dumps(dict(case.run), sort_keys=True)}",
        *_files(case, sweep.space),
        f"nibblesim: {api.version()}, code and data files {code_of_outcomes()}",
    ]
    text = "\n".join(lines)
    return Header(
        dimensions={each.name: kind_of(each.domain) for each in sweep.space.dimensions},
        metrics=units_of(case.phases(sweep.space)),
        objectives=sweep.objectives,
        defined_by=blake2b(text.encode(), digest_size=8).hexdigest(),
        text=text,
    )


def code_of_outcomes() -> str:
    """Return 16 hex digits that depend on the code and data files that outcomes depend on."""
    return code_hash(*_ASIDE)


def _never(metric: str, case: Case, space: Space) -> str:
    """Say why no point of a study has a metric; "" if some may, or where it is none."""
    workload, _, own = metric.rpartition(".")
    phases = case.phases(space).get(workload, ())
    if own in PHASE_OF and phases and PHASE_OF[own] not in phases:
        of = f"that of workload '{workload}'" if workload else "the workload's"
        return f"only phase '{PHASE_OF[own]}' has it, and {of} is '{' or '.join(phases)}'"
    if own in SHARES and set(_values(space, "run.rung") or (case.run.get("rung"),)) == {"roofline"}:
        return "rung 'roofline' has no shares of time"
    if own not in _KNOWN:
        return ""
    why, changed_by = _KNOWN[own]
    varied = any(each.name.startswith(changed_by) for each in space.dimensions)
    return "" if varied else why(case.device)


def _files(case: Case, space: Space) -> list[str]:
    """Return a line for each file that dimensions name, which changes with what it holds.

    Its base and the files that it names are of that. What comes with the package is in its hash.
    """
    lines = set()
    for each in space.dimensions:
        for value in _values(space, each.name):
            if not isinstance(value, str):
                continue
            if _is_model(each):
                if value not in api.model_names():
                    lines.add(f"model file: {value} {content_hash(model_of(value))}")
            elif each.name.startswith(DEVICE) and _is_file(value):
                lines.add(f"file: {value} {_content(case, space, each, value)}")
    return sorted(lines)


def _is_file(value: str) -> bool:
    return (value.endswith((".yaml", ".yml")) or "/" in value) and Path(value).is_file()


def _content(case: Case, space: Space, dimension: Dimension, name: str) -> str:
    """Return what changes with all that a file of a device holds."""
    path = dimension.name.removeprefix(DEVICE)
    if path == "energy":
        # A device knows its profile by name alone.
        return _priced_by(load_profile(name))
    point = made_with(case, space, DEVICE, dimension, name)
    return content_hash(case.device_at(point), path)


def _priced_by(profile: EnergyProfile) -> str:
    """Return what changes with all that a profile and the files that it names hold.

    Not with what they come to for one device: other points are of other elements and buffers.
    """
    held: list[Part] = [profile]
    if profile.mac_gates is not None:
        held.append(load_technology(profile.mac_gates))
    if profile.scratchpad_sram is not None:
        held.append(load_sram(profile.scratchpad_sram))
    return " ".join(map(content_hash, held))


def _is_model(dimension: Dimension) -> bool:
    return dimension.name.startswith("workload.") and dimension.name.endswith(".model")


def _values(space: Space, name: str) -> tuple[Value, ...]:
    """Return the values of a dimension that is a choice, none of another."""
    domain = space.by_name[name].domain if name in space.by_name else None
    return domain.values() if isinstance(domain, Choice) else ()
