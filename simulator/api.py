"""The way in: load a device and a model, build a workload, simulate it.

`simulate(device, workload)` plans the workload on the device and runs the plan on the rung asked
for. Everything else in the package serves these few functions.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from simulator.config import did_you_mean, load_part, names
from simulator.cost import PROFILE_FOLDER, EnergyProfile, load_profile
from simulator.dram.channels import Channels
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.results import RUNGS, Result
from simulator.workload import Model, Workload, from_hf_config

DEVICE_FOLDER = "hw_configs/devices"
MODEL_FOLDER = "workloads/models"
#: Rungs that simulate events.
EVENTS = ("tile", "command")
ATTENTION = ("fused", "unfused")
TABLES = ("fused", "apart")
#: What is done about a device that takes more power than it may.
POWER = ("report", "throttle", "refuse")


@lru_cache(maxsize=1)
def version() -> str:
    """Return the version of the installed package."""
    return metadata.version("nibblesim")


def load_device(name_or_path: str | Path) -> Device:
    """Load a device by name, or from a YAML file; InputError lists every problem."""
    return load_part(Device, str(name_or_path), DEVICE_FOLDER, noun="device")


def load_model(name_or_path: str | Path) -> Model:
    """Load a model by name, from a YAML file, or from a Hugging Face `config.json` or its folder.

    A name that comes with the package is never taken for a folder. InputError lists every problem.
    """
    text = str(name_or_path)
    is_folder = text != "" and text not in names(MODEL_FOLDER) and Path(text).is_dir()
    if text.endswith(".json") or is_folder:
        return from_hf_config(text)
    return load_part(Model, str(name_or_path), MODEL_FOLDER, noun="model")


@lru_cache(maxsize=32)
def _known_profile(name: str) -> EnergyProfile:
    return load_profile(name)


def _profile(name_or_path: str) -> EnergyProfile:
    """Load an energy profile; those of the package once, files each time."""
    if name_or_path in names(PROFILE_FOLDER):
        return _known_profile(name_or_path)
    return load_profile(name_or_path)


def profile_of(device: Device, energy: EnergyProfile | None = None) -> EnergyProfile:
    """Return the energy profile of a device, with what it leaves to be counted.

    energy: in place of the one that the device names.
    """
    from simulator.hardware.priced import priced_for

    return priced_for(energy or _profile(device.energy), device)


def device_names() -> list[str]:
    """Return the names of all devices that come with the package."""
    return names(DEVICE_FOLDER)


def model_names() -> list[str]:
    """Return the names of all models that come with the package."""
    return names(MODEL_FOLDER)


def check_choice(noun: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InputError for a value that is not one of those known."""
    if value not in known:
        near = did_you_mean(str(value), known)
        raise InputError(f"unknown {noun} '{value}'{near or '; known: ' + ', '.join(known)}")


def _check_type(name: str, value: object, kind: type, makers: str) -> None:
    if not isinstance(value, kind):
        raise InputError(f"{name}: expected what {makers} makes, got {value!r:.80}")


def simulate(
    device: Device,
    workload: Workload,
    rung: str = "tile",
    *,
    attention: str = "fused",
    tables: str = "fused",
    trace: bool = False,
    memo: bool = True,
    energy: EnergyProfile | None = None,
    policies: Policies | None = None,
    power: str = "report",
    verify: bool = False,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Result:
    """Simulate a workload on a device.

    rung: "roofline" (peaks only), "analytic" (a lower bound by recurrence), "tile" (events),
    "command" (events, each transfer by the commands of a memory of kind "channels").
    attention: "fused" (scores stay in the core) or "unfused". tables: those that a LUT core wants
    are made by what makes the activation, "fused", or "apart". trace: keep the interval of every
    tile. memo: remember equal segments (the result is the same either way). energy: a profile in
    place of the one that the device names, with what it leaves to be counted (`priced_for`).
    policies: who multiplies, where requests lie, sub-batches; by default as `Policies`.
    power: a device that takes more than its TDP or the limit of a stack of its memory is warned of,
    "report"; lowers its clock until its average is within the TDP, "throttle", of which up to eight
    more runs find the highest; or is infeasible, "refuse".
    verify: also compute a tile of every distinct product bit by bit, on data of `seed`
    (`Result.numerics`); what is not exact fails `Result.check`. progress: called once per segment.

    Raises InputError for what the device cannot multiply or an unknown option, InfeasibleError
    where memory or scratchpad is too small, or too much power would be taken.
    """
    _check_type("device", device, Device, "load_device")
    _check_type("workload", workload, Workload, "prefill, decode_step or gemm")
    check_choice("rung", rung, RUNGS)
    check_choice("attention", attention, ATTENTION)
    check_choice("tables", tables, TABLES)
    check_choice("power", power, POWER)
    if rung == "command" and not isinstance(device.memory, Channels):
        raise InputError(
            f"rung 'command' needs a memory of kind 'channels', {device.name} has one of kind "
            f"'{device.memory.kind}'; use 'tile', or a device with a DRAM standard"
        )
    # Numba is imported here: it is slow to import, and only a simulation needs it.
    from simulator.engine.assemble import assemble
    from simulator.engine.limits import within_limits
    from simulator.engine.roofline import bare_plan, roofline
    from simulator.engine.run import Engine
    from simulator.engine.schedule import Setting, schedule, stages_of
    from simulator.mapping.neupims_reference import is_reference

    if rung == "command" and is_reference(device):
        raise InputError(
            f"rung 'command': {device.name} knows its transfers as part of its operations, which "
            "are served by commands on every rung; use 'tile'"
        )
    began = time.perf_counter()
    profile = profile_of(device, energy)
    engine = Engine(device, memo=memo)
    policies = policies or Policies()
    if rung == "roofline":
        # Nothing waits there for what sub-batches would hide.
        policies = replace(policies, sub_batch="off")
    fused = attention == "fused", tables == "fused"
    setting = Setting(device, profile, engine, *fused, policies, rung in EVENTS)
    scheduled = schedule(workload, setting)
    made = scheduled.plan
    match rung:
        case "tile":
            steps, latency_ps = engine.tile_steps(made, progress)
        case "command":
            engine = Engine(device, memo=memo, by_command=True)
            steps, latency_ps = engine.tile_steps(made, progress)
        case "analytic":
            steps, latency_ps = engine.analytic_steps(made)
        case _:
            made = bare_plan(made, device)
            scheduled = scheduled._replace(plan=made)
            steps, latency_ps = engine.roofline_steps(made, roofline(made, device).bound_ps)
    stages = stages_of(
        scheduled, steps, engine.tile_steps if rung in EVENTS else engine.analytic_steps
    )
    result = assemble(
        workload,
        device,
        profile,
        made,
        steps,
        latency_ps,
        rung=rung,
        version=version(),
        run_options={
            "rung": rung,
            "attention": attention,
            "tables": tables,
            **({} if device.pim is None else {"policies": asdict(policies)}),
        },
        stages=stages,
        memory_energy_j=scheduled.memory_energy_j,
        trace=trace,
    )

    def again(slower: Device) -> Result:
        return simulate(
            slower,
            workload,
            rung,
            attention=attention,
            tables=tables,
            trace=trace,
            memo=memo,
            energy=energy,
            policies=policies,
        )

    result = within_limits(result, device, power, again)
    if verify:
        from simulator.engine.sampled import sampled_products

        sampled = sampled_products(
            workload, device, fused_attention=attention == "fused", seed=seed
        )
        seeded = replace(result.provenance, seed=seed)
        result = replace(result, numerics=sampled, provenance=seeded)
    host = {"python": platform.python_version(), "machine": platform.machine()}
    return replace(result, wall_time_s=time.perf_counter() - began, host=host)
