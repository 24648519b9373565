"""How a workload is laid out in time: its plan, its stages, its sub-batches.

The planner plans operations; here the policies of a run and the device's own way (`staged`) turn
layers into stages or into two interleaved sub-batches. What a run of two layers of these takes is
what a decoder block takes, twice.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from simulator import config
from simulator.cost import EnergyProfile
from simulator.engine.run import Engine, Step
from simulator.engine.tasks import UNITS
from simulator.errors import InputError
from simulator.hardware.device import Device
from simulator.mapping.overlap import blocks, in_stages, interleaved
from simulator.mapping.plan import Plan
from simulator.mapping.planner import plan
from simulator.mapping.policies import Policies
from simulator.results import StageRecord
from simulator.workload import Workload
from simulator.workload.sub_batches import sub_batches

#: Layers of the run that says what a block takes, where two sub-batches take turns.
TWO = 2


class Options(NamedTuple):
    """How operations are lowered, and by which policies they are placed."""

    fused_attention: bool
    fused_tables: bool
    policies: Policies


class Scheduled(NamedTuple):
    """A plan, and two layers of it where it has sub-batches."""

    plan: Plan
    two_layers: Plan | None


def schedule(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    engine: Engine,
    options: Options,
    *,
    events: bool,
) -> Scheduled:
    """Plan a workload with the policies of a run.

    events: whether the tile executor says how long plans take, or their bound does. Errors as of
    `planner.plan`; InputError where sub-batches are asked for and cannot be.
    """
    whole = _planned(workload, device, profile, engine, options, events=events)
    staged = in_stages(whole) if device.staged and _has_attention(workload) else whole
    asked = options.policies.sub_batch
    if asked == "off" or (asked == "auto" and not _can_split(workload, device, options)):
        return Scheduled(staged, None)
    if device.pim is None:
        raise InputError(f"{device.name}: sub_batch needs a memory that multiplies")
    half = config.replace(device, {"scratchpad.capacity": device.scratchpad.capacity_bytes // 2})
    halves = [
        _planned(each, half, profile, engine, options, events=events)
        for each in sub_batches(workload)
    ]
    split = Scheduled(
        interleaved(halves, staged=device.staged),
        interleaved(halves, staged=device.staged, layers=TWO),
    )
    if asked == "auto" and _duration_ps(engine, staged, events) <= _duration_ps(
        engine, split.plan, events
    ):
        return Scheduled(staged, None)
    return split


def _planned(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    engine: Engine,
    options: Options,
    *,
    events: bool,
) -> Plan:
    return plan(
        workload,
        device,
        profile,
        fused_attention=options.fused_attention,
        fused_tables=options.fused_tables,
        policies=options.policies,
        bound_ps=lambda made: engine.analytic_steps(made)[1],
        duration_ps=(lambda made: engine.tile_steps(made)[1]) if events else None,
    )


def _has_attention(workload: Workload) -> bool:
    return any(op.attention is not None for _, op in workload.ops())


def _can_split(workload: Workload, device: Device, options: Options) -> bool:
    """Tell whether two sub-batches could gain anything."""
    alike = sum(segment.name == "layer" for segment in workload.segments) == 1
    shared = device.pim is not None and not device.pim.exclusive
    decode = workload.of_requests is not None and workload.batch > 1
    return alike and shared and decode and options.fused_attention


def _duration_ps(engine: Engine, made: Plan, events: bool) -> int:
    return (engine.tile_steps if events else engine.analytic_steps)(made)[1]


def stages_of(
    scheduled: Scheduled,
    steps: Sequence[Step],
    run: Callable[[Plan], tuple[list[Step], int]],
) -> tuple[tuple[StageRecord, ...], float]:
    """Return the stages of a decoder block, each as the mean of its runs, and the ps of a block.

    steps: of the run itself. run: runs two layers, where there are sub-batches.
    """
    made, layers = scheduled.plan, 1
    if scheduled.two_layers is not None:
        made, layers = scheduled.two_layers, TWO
        steps = run(made)[0]
    own = {id(segment) for segment in blocks(made)}
    found: dict[str, list[Step]] = {}
    for step in steps:
        if id(step.segment) in own:
            found.setdefault(step.segment.name, []).append(step)
    stages = tuple(_stage(name, listed) for name, listed in found.items())
    if scheduled.two_layers is None:
        layers = max((len(listed) for listed in found.values()), default=1)
    total = sum(step.makespan_ps for listed in found.values() for step in listed)
    return stages, total / layers


def _stage(name: str, steps: Sequence[Step]) -> StageRecord:
    """Return the mean of the runs of a stage."""
    busy = [
        0 if step.run is None else int(step.run.busy[:, UNITS.index("pim")].sum()) for step in steps
    ]
    moved = [sum(op.load_bytes + op.store_bytes for op in step.segment.ops) for step in steps]
    return StageRecord(
        name=name,
        runs=len(steps),
        latency_ps=sum(step.makespan_ps for step in steps) // len(steps),
        pim_ps=sum(busy) // len(steps),
        dram_bytes=sum(moved) // len(steps),
    )
