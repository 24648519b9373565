"""How a workload is laid out in time: its plan, its stages, its sub-batches.

The planner plans operations; here the policies of a run and the device's own way (`staged`) turn
layers into stages or into two interleaved sub-batches. What a run of two layers of these takes is
what a decoder block takes, twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from simulator import config
from simulator.cost import EnergyProfile
from simulator.engine.run import Engine, Step
from simulator.engine.tasks import UNITS
from simulator.errors import InputError
from simulator.hardware.device import Device
from simulator.hardware.pim import AttAccStacks, GroupUnits
from simulator.mapping.head_pipeline import in_heads
from simulator.mapping.neupims_reference import (
    in_reference,
    is_reference,
    iteration,
    refuse_others,
)
from simulator.mapping.overlap import blocks, in_stages, interleaved, layer_of, with_layers
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
    """A plan, and two layers of it where it has sub-batches.

    memory_energy_j: of the memory's commands in a block, or two, where they are all known.
    """

    plan: Plan
    two_layers: Plan | None
    memory_energy_j: Mapping[str, float] = MappingProxyType({})


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
    `planner.plan`; InputError where a policy is asked for that cannot be followed.
    """

    def planned(policies: Policies) -> Scheduled:
        chosen = options._replace(policies=policies)
        return _scheduled(workload, device, profile, engine, chosen, events=events)

    policies = options.policies
    if policies.coprocess == "off":
        return planned(policies)
    if not isinstance(device.pim, AttAccStacks):
        raise InputError(f"{device.name}: coprocess 'ffn' needs a memory of kind 'attacc'")
    # What a share gains is predicted without what is fetched ahead; the runs decide.
    both = planned(replace(policies, coprocess="off")), planned(policies)
    return min(both, key=lambda each: _duration_ps(engine, each.plan, events))


def _scheduled(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    engine: Engine,
    options: Options,
    *,
    events: bool,
) -> Scheduled:
    """Return the stages, heads or sub-batches of a workload in time."""
    if is_reference(device):
        return _on_reference(workload, device, profile, engine, options, events=events)
    whole = _planned(workload, device, profile, engine, options, events=events)
    if options.policies.head_pipeline == "on":
        return Scheduled(in_heads(whole, _heads(workload, device, options)), None)
    staged = in_stages(whole) if device.staged and _has_attention(workload) else whole
    asked = options.policies.sub_batch
    if asked == "off" or (asked == "auto" and not _can_split(workload, device, options)):
        return Scheduled(staged, None)
    if device.pim is None:
        raise InputError(f"{device.name}: sub_batch needs a memory that multiplies")
    halves = _halves(workload, device, profile, engine, options, events=events)
    split = Scheduled(
        interleaved(halves, staged=device.staged),
        interleaved(halves, staged=device.staged, layers=TWO),
    )
    if asked == "auto" and not _gains(whole, halves, device, engine, events):
        return Scheduled(staged, None)
    return split


def _gains(
    whole: Plan, halves: Sequence[Plan], device: Device, engine: Engine, events: bool
) -> bool:
    """Tell whether sub-batches are faster, by what two layers more take than two."""
    count = layer_of(whole).repeat
    if count <= 2 * TWO:
        split = interleaved(halves, staged=device.staged)
        one = in_stages(whole) if device.staged else whole
        return _duration_ps(engine, split, events) < _duration_ps(engine, one, events)

    def more_ps(few: Plan, many: Plan) -> int:
        first, last = (_duration_ps(engine, each, events) for each in (few, many))
        return last + (count - 2 * TWO) // TWO * (last - first)

    split_ps = more_ps(
        *(interleaved(halves, staged=device.staged, layers=n) for n in (TWO, 2 * TWO))
    )
    shorter = (with_layers(whole, n) for n in (TWO, 2 * TWO))
    return split_ps < more_ps(*(in_stages(e) if device.staged else e for e in shorter))


def _on_reference(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    engine: Engine,
    options: Options,
    *,
    events: bool,
) -> Scheduled:
    """Return blocks as NeuPIMs' own simulator runs them, between what the planner plans."""
    policies = options.policies
    refuse_others(device, workload, policies, fused=options.fused_attention)
    if policies.head_pipeline == "on":
        _heads(workload, device, options)
    one, asked = None, policies.sub_batch
    if asked != "on":
        whole = _planned(workload, device, profile, engine, options, events=events)
        run = iteration(device, workload, policies.assignment, sub_batches=False)
        one = Scheduled(in_reference([whole], device, run), None, run.energy_j)
        if asked == "off" or not _can_split(workload, device, options):
            return one
    run = iteration(device, workload, policies.assignment, sub_batches=True)
    halves = _halves(workload, device, profile, engine, options, events=events)
    two = Scheduled(
        in_reference(halves, device, run),
        in_reference(halves, device, run, layers=TWO),
        run.energy_j,
    )
    if one is None:
        return two
    return min((one, two), key=lambda each: _duration_ps(engine, each.plan, events))


def _halves(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    engine: Engine,
    options: Options,
    *,
    events: bool,
) -> list[Plan]:
    """Plan two sub-batches, each with half the scratchpad."""
    half = config.replace(device, {"scratchpad.capacity": device.scratchpad.capacity_bytes // 2})
    return [
        _planned(each, half, profile, engine, options, events=events)
        for each in sub_batches(workload)
    ]


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


def _heads(workload: Workload, device: Device, options: Options) -> int:
    """Return the key-value heads; InputError where head-level pipelining cannot be."""
    if not isinstance(device.pim, AttAccStacks | GroupUnits):
        raise InputError(
            f"{device.name}: head_pipeline needs a memory of kind 'attacc' or 'groups', to which "
            "heads come one after the other"
        )
    if device.staged or options.policies.sub_batch == "on":
        other = "stages" if device.staged else "sub_batch"
        raise InputError(f"{device.name}: head_pipeline and {other} exclude each other")
    found = (op.attention.kv_heads for _, op in workload.ops() if op.attention is not None)
    return max(found, default=1)


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
