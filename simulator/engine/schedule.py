"""How a workload is laid out in time: its plan, its stages, its sub-batches.

The planner plans operations; here the policies of a run and the device's own way (`staged`) turn
layers into stages or into two interleaved sub-batches. What a run of two layers of these takes is
what a decoder block takes, twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from simulator.mapping.overlap import blocks, in_stages, interleaved
from simulator.mapping.plan import Plan
from simulator.mapping.planner import plan
from simulator.mapping.policies import Policies
from simulator.results import StageRecord
from simulator.workload import Workload
from simulator.workload.sub_batches import sub_batches

#: Layers of the run that says what a block takes, where two sub-batches take turns.
TWO = 2


class Setting(NamedTuple):
    """What a workload is planned for: a device with its prices and its engine, and the choices.

    events: whether the tile executor says how long plans take, or their bound does.
    """

    device: Device
    profile: EnergyProfile
    engine: Engine
    fused_attention: bool
    fused_tables: bool
    policies: Policies
    events: bool

    def planned(self, workload: Workload) -> Plan:
        """Return a workload's operations, planned; errors as of `planner.plan`."""
        engine = self.engine
        return plan(
            workload,
            self.device,
            self.profile,
            fused_attention=self.fused_attention,
            fused_tables=self.fused_tables,
            policies=self.policies,
            bound_ps=engine.bound_ps,
            duration_ps=(lambda made: engine.tile_steps(made)[1]) if self.events else None,
        )

    def halves(self, workload: Workload) -> list[Plan]:
        """Return two sub-batches, each planned with half the scratchpad."""
        size = self.device.scratchpad.capacity_bytes // 2
        half = self._replace(device=config.replace(self.device, {"scratchpad.capacity": size}))
        return [half.planned(each) for each in sub_batches(workload)]

    def duration_ps(self, made: Plan) -> int:
        """Return how long a plan takes."""
        engine = self.engine
        return engine.tile_steps(made)[1] if self.events else engine.bound_ps(made)

    def can_split(self, workload: Workload) -> bool:
        """Tell whether two sub-batches could gain anything."""
        pim = self.device.pim
        alike = sum(segment.name == "layer" for segment in workload.segments) == 1
        shared = pim is not None and not pim.exclusive
        decode = workload.of_requests is not None and workload.batch > 1
        return alike and shared and decode and self.fused_attention


class Scheduled(NamedTuple):
    """A plan, and two layers of it where it has sub-batches.

    memory_energy_j: of the memory's commands in a block, or two, where they are all known.
    """

    plan: Plan
    two_layers: Plan | None
    memory_energy_j: Mapping[str, float] = MappingProxyType({})


def schedule(workload: Workload, setting: Setting) -> Scheduled:
    """Plan a workload with the policies of a run.

    Errors as of `planner.plan`; InputError where a policy is asked for that cannot be followed.
    """
    policies = setting.policies
    if policies.coprocess == "off":
        return _scheduled(workload, setting)
    if not isinstance(setting.device.pim, AttAccStacks):
        raise InputError(f"{setting.device.name}: coprocess 'ffn' needs a memory of kind 'attacc'")
    # What a share gains is predicted without what is fetched ahead; the runs decide.
    alone = setting._replace(policies=replace(policies, coprocess="off"))
    return _faster((_scheduled(workload, each) for each in (alone, setting)), setting)


def _scheduled(workload: Workload, setting: Setting) -> Scheduled:
    """Return the stages, heads or sub-batches of a workload in time."""
    device, policies = setting.device, setting.policies
    if is_reference(device):
        return _on_reference(workload, setting)
    if policies.head_pipeline == "on":
        heads = _heads(workload, setting)
        return Scheduled(in_heads(setting.planned(workload), heads), None)
    if policies.sub_batch == "on":
        if device.pim is None:
            raise InputError(f"{device.name}: sub_batch needs a memory that multiplies")
        return _in_turns(workload, setting)
    whole = setting.planned(workload)
    staged = device.staged and _has_attention(workload)
    one = Scheduled(in_stages(whole) if staged else whole, None)
    if policies.sub_batch == "off" or not setting.can_split(workload):
        return one
    return _faster((one, _in_turns(workload, setting)), setting)


def _in_turns(workload: Workload, setting: Setting) -> Scheduled:
    """Return two sub-batches that take turns."""
    halves, staged = setting.halves(workload), setting.device.staged
    return Scheduled(
        interleaved(halves, staged=staged), interleaved(halves, staged=staged, layers=TWO)
    )


def _faster(both: Iterable[Scheduled], setting: Setting) -> Scheduled:
    """Return what takes less time, the first of equals."""
    return min(both, key=lambda each: setting.duration_ps(each.plan))


def _on_reference(workload: Workload, setting: Setting) -> Scheduled:
    """Return blocks as NeuPIMs' own simulator runs them, between what the planner plans."""
    device, policies = setting.device, setting.policies
    refuse_others(device, workload, policies, fused=setting.fused_attention)
    if policies.head_pipeline == "on":
        _heads(workload, setting)
    one, asked = None, policies.sub_batch
    if asked != "on":
        run = iteration(device, workload, policies.assignment, sub_batches=False)
        made = in_reference([setting.planned(workload)], device, run)
        one = Scheduled(made, None, run.energy_j)
        if asked == "off" or not setting.can_split(workload):
            return one
    run = iteration(device, workload, policies.assignment, sub_batches=True)
    halves = setting.halves(workload)
    two = Scheduled(
        in_reference(halves, device, run),
        in_reference(halves, device, run, layers=TWO),
        run.energy_j,
    )
    if one is None:
        return two
    return _faster((one, two), setting)


def _heads(workload: Workload, setting: Setting) -> int:
    """Return the key-value heads; InputError where head-level pipelining cannot be."""
    device = setting.device
    if not isinstance(device.pim, AttAccStacks | GroupUnits):
        raise InputError(
            f"{device.name}: head_pipeline needs a memory of kind 'attacc' or 'groups', to which "
            "heads come one after the other"
        )
    if device.staged or setting.policies.sub_batch == "on":
        other = "stages" if device.staged else "sub_batch"
        raise InputError(f"{device.name}: head_pipeline and {other} exclude each other")
    found = (op.attention.kv_heads for _, op in workload.ops() if op.attention is not None)
    return max(found, default=1)


def _has_attention(workload: Workload) -> bool:
    return any(op.attention is not None for _, op in workload.ops())


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
