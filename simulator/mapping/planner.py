"""The planner: lowers each segment, decides what stays on chip, plans each operation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from simulator import config
from simulator.cost import EnergyProfile
from simulator.errors import InfeasibleError, InputError
from simulator.hardware.device import Device
from simulator.hardware.equations import pipeline_ps
from simulator.hardware.pim import AttAccStacks
from simulator.mapping.capacity import FFN, check_capacity, outside_of, share_apart
from simulator.mapping.fused import plan_attention
from simulator.mapping.in_memory import (
    does_in_memory,
    peak_intensity,
    plan_append,
    plan_exchange,
    plan_in_memory,
    plan_shared,
)
from simulator.mapping.interference import Slowed
from simulator.mapping.lowering import PRODUCTS, VIEWS, Lowered, gather, lower
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan
from simulator.mapping.policies import PLACEMENTS, Estimate, Policies
from simulator.mapping.products import gemv, plan_product
from simulator.mapping.residency import ACTIVATION_SHARES, HALVES, LAST_RESORT, resident
from simulator.mapping.streams import plan_gather, plan_stream
from simulator.mapping.tables import with_tables
from simulator.mapping.target import Context, Target
from simulator.workload import HIDDEN, HIDDEN_OUT, Graph, OpKind, Workload

#: Up to so many cores, every number of them is tried.
ALL_COUNTS = 8
#: The longest run in s. Time in ps fits into 64 bits up to 9.2e6 s; a run takes some multiple of
#: its least time.
LONGEST_S = 10_000


def chains(c: Context) -> tuple[tuple[OpPlan, ...], ...]:
    """Plan one operation as what goes on beside each other: a product of the FFN may be shared."""
    made, target = plan_op(c), c.target
    shared = target.policies.coprocess == "ffn" and isinstance(target.device.pim, AttAccStacks)
    if shared and c.op.gemm is not None and c.op.name.endswith(FFN):
        return plan_shared(target, c, made)
    return (made,)


def plan_op(c: Context) -> tuple[OpPlan, ...]:
    """Plan one operation by its kind; a row times a matrix goes to the faster unit."""
    pim = c.target.device.pim
    if c.op.kind in (OpKind.ALL_REDUCE, OpKind.SEND):
        return (plan_exchange(c.target, c),)
    if c.op.kind == OpKind.KV_APPEND and isinstance(pim, AttAccStacks):
        return (plan_append(c.target, c, pim.own),)
    if does_in_memory(c.target, c) and _in_memory(c):
        return plan_in_memory(c.target, c)
    return plan_on_npu(c)


def _in_memory(c: Context) -> bool:
    """Ask the policy of placement whether an operation is done in the memory.

    What lies in a memory of its own is multiplied there alone: InputError where it is not to be.
    """
    device, placement = c.target.device, c.target.policies.placement
    if isinstance(device.pim, AttAccStacks):
        if placement == "npu":
            raise InputError(
                f"{device.name}: placement 'npu' cannot attend to keys and values, which lie in a "
                "memory of their own"
            )
        return True
    stored = sum(c.tensor(name).bytes for name in c.op.inputs[1:])
    estimate = Estimate(
        intensity=c.op.macs_useful / stored,
        peak_intensity=peak_intensity(c.target, c),
        npu_ps=lambda: _alone_ps(plan_on_npu(c)),
        pim_ps=lambda: _alone_ps(plan_in_memory(c.target, c)),
        weights=c.op.attention is None,
    )
    return PLACEMENTS[placement](estimate) == "pim"


def plan_on_npu(c: Context) -> tuple[OpPlan, ...]:
    """Plan one operation on the units of the cores."""
    match c.op.kind:
        case "attention":
            return (plan_attention(c.target, c),)
        case "all_gather":
            return (plan_gather(c.target, c),)
        case kind if kind in PRODUCTS or kind in (OpKind.QK, OpKind.PV):
            made = plan_product(c.target, c)
        case _:
            return (plan_stream(c.target, c),)
    if c.target.device.vector.gemv and c.op.gemm is not None and c.op.gemm.m == 1:
        return min(made, (gemv(c.target, c),), key=_alone_ps)
    return made


def _alone_ps(plans: Sequence[OpPlan]) -> int:
    """Return the time of operations one after the other."""
    return sum(pipeline_ps(plan.pipeline) for plan in plans)


def plan_segment(
    target: Target,
    graph: Graph,
    ops: Sequence[Lowered],
    kept: frozenset[str],
    live: np.ndarray,
    outside: frozenset[str],
) -> tuple[OpPlan, ...]:
    """Plan the operations of one segment in order."""
    device = target.device
    placed = tuple((op, index) for index, op in enumerate(ops))
    if device.cores > 1 and device.network is not None:
        placed = gather(graph, ops, kept, device.cores)
    held = kept | {op.outputs[0] for op, _ in placed if op.kind == "all_gather"}
    producers: dict[str, tuple[int, ...]] = {}
    plans: list[OpPlan] = []
    for op, where in placed:
        if op.kind in VIEWS:
            made = tuple(index for name in op.inputs for index in producers.get(name, ()))
            producers.update(dict.fromkeys(op.outputs, made))
            continue
        room = device.scratchpad.capacity_bytes - int(live[where])
        ends = []
        context = Context(target, graph, op, held, outside, dict(producers), room)
        for first, *rest in chains(context):
            plans.append(first)
            for follower in rest:
                last = len(plans) - 1
                plans.append(following(follower, last))
            ends.append(len(plans) - 1)
        producers.update(dict.fromkeys(op.outputs, tuple(ends)))
    return tuple(plans)


def following(follower: OpPlan, last: int) -> OpPlan:
    """Return an operation that goes on after another: what is aside follows it part by part."""
    if follower.aside:
        return replace(follower, paced_by=(*follower.paced_by, last))
    return replace(follower, after=(*follower.after, last))


def check_duration(workload: Workload, device: Device, macs_ps: float) -> None:
    """Refuse a run so long that its picoseconds would not fit into 64 bits, with room to spare."""
    bytes_s = (workload.weight_bytes_read + workload.kv_bytes_read) / device.memory_bytes_per_s
    least_s = max(macs_ps / 1e12, bytes_s, device.memory_profile.latency_ps / 1e12)
    if least_s > LONGEST_S:
        raise InputError(
            f"{workload.name} takes at least {least_s:.3g} s on {device.name}; simulated time ends "
            f"at {LONGEST_S:,} s: is a clock, a bandwidth or a latency off by its unit?"
        )


LoweredGraphs = Sequence[tuple[Graph, tuple[Lowered, ...]]]
#: Per segment: the activations kept on chip, the live bytes at each operation.
Residency = Sequence[tuple[frozenset[str], np.ndarray]]


def residency(graphs: LoweredGraphs, device: Device, share: float) -> Residency:
    """Return what stays on chip; the residual stream does only if every segment can keep it."""
    found = [resident(graph, ops, device, outside_of(graph), share) for graph, ops in graphs]
    for (graph, _), (kept, _) in zip(graphs, found, strict=True):
        if not {HIDDEN, HIDDEN_OUT} & {*graph.inputs, *graph.outputs} <= kept:
            residual = frozenset((HIDDEN, HIDDEN_OUT))
            return [
                resident(graph, ops, device, outside_of(graph) | residual, share)
                for graph, ops in graphs
            ]
    return found


def one_after_another_ps(plan: Plan) -> int:
    """Return the time of all operations of a plan, none overlapping another."""
    return sum(segment.repeat * _alone_ps(segment.ops) for segment in plan.segments)


def plan(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    *,
    fused_attention: bool = True,
    fused_tables: bool = True,
    policies: Policies | None = None,
    bound_ps: Callable[[Plan], int] = one_after_another_ps,
    duration_ps: Callable[[Plan], int] | None = None,
) -> Plan:
    """Plan a workload on as many cores, with as much on chip, as make it fastest.

    More cores share work but exchange activations; small or memory-bound workloads may do best on
    few. Activations on chip save traffic, but several cores have to gather them, and they leave
    less room for tiles. Candidates are `core_counts` and, of the scratchpad,
    ACTIVATION_SHARES (HALVES on several cores, down to nothing). For
    each number of cores the plan with the least `bound_ps` is looked at; among these, the one with
    the least `duration_ps` is taken, which is never below its bound. Raises InputError where the
    device cannot multiply a format, InfeasibleError where memory or scratchpad is too small.
    """
    check_capacity(workload, device, 0)
    graphs = [with_tables(segment.graph, device) for segment in workload.segments]
    lowered = [
        (each, lower(each, device, fused_attention=fused_attention, fused_tables=fused_tables))
        for each in graphs
    ]
    macs_ps = least_matrix_ps(workload, lowered, device)
    check_duration(workload, device, macs_ps)
    refusals: list[InfeasibleError] = []
    for shares in (ACTIVATION_SHARES, LAST_RESORT):
        best: tuple[int, Plan] | None = None
        tried = candidates(lowered, device, shares)
        for cores, homes in groupby(tried, key=lambda candidate: candidate[0].cores):
            if best is not None and macs_ps * device.cores / cores >= best[0]:
                continue
            found = fastest(workload, lowered, profile, policies, homes, bound_ps, refusals)
            if found is not None and (best is None or found[0] < best[0]):
                taken = found[0]
                if duration_ps is not None and device.cores > 1:
                    taken = duration_ps(found[1])
                if best is None or taken < best[0]:
                    best = taken, found[1]
        if best is not None:
            return best[1]
    raise refusals[-1]


def fastest(
    workload: Workload,
    lowered: LoweredGraphs,
    profile: EnergyProfile,
    policies: Policies | None,
    homes: Iterable[tuple[Device, Residency]],
    bound_ps: Callable[[Plan], int],
    refusals: list[InfeasibleError],
) -> tuple[int, Plan] | None:
    """Return the plan with the least bound, and that; less is kept on chip as long as that helps.

    It cannot help where computing alone takes as long. What cannot be planned is added to
    `refusals`.
    """
    best: tuple[int, Plan] | None = None
    for used, home in homes:
        try:
            made = plan_on(workload, lowered, used, profile, policies, home)
        except InfeasibleError as error:
            refusals.append(error)
            continue
        found = bound_ps(made), made
        if best is not None and found[0] >= best[0]:
            break
        best = found
        if found[0] <= made.compute_ps:
            break
    return best


def least_matrix_ps(workload: Workload, graphs: LoweredGraphs, device: Device) -> float:
    """Return the least time of all products on all cores; 0 where other units may help."""
    if device.vector.gemv or device.pim is not None:
        return 0.0
    return 1e12 * sum(
        segment.repeat * op.macs_useful / device.peak_macs_per_s[op.pair]
        for segment, (_, ops) in zip(workload.segments, graphs, strict=True)
        for op in ops
        if op.pair is not None
    )


def core_counts(cores: int) -> list[int]:
    """Return how many cores a plan may use: any number up to 8; beyond, halves of all of them."""
    counts = {min(cores, count) for count in range(1, ALL_COUNTS + 1)}
    while cores > ALL_COUNTS:
        counts.add(cores)
        cores //= 2
    return sorted(counts)


def candidates(
    graphs: LoweredGraphs, device: Device, shares: Sequence[float]
) -> Iterator[tuple[Device, Residency]]:
    """Yield the device with fewer or all cores, and each way of keeping activations on chip."""
    for cores in reversed(core_counts(device.cores)):
        used = device if cores == device.cores else config.replace(device, {"cores": cores})
        held = used.scratchpad.capacity_bytes
        for share in shares_on(used, shares):
            if int(share * used.scratchpad.capacity_bytes) < held:
                home = residency(graphs, used, share)
                held = max(int(live.max(initial=0)) for _, live in home)
                yield used, home


def shares_on(device: Device, shares: Sequence[float]) -> Sequence[float]:
    """Return the shares of the scratchpad to try for activations; `shares` are those of one core.

    Memory may be a faster way from core to core than the network: keep less and less, down to
    nothing. Without a network, memory is the only way.
    """
    if device.cores == 1:
        return shares
    return LAST_RESORT if device.network is None else (*HALVES, *LAST_RESORT)


def slowed(op: OpPlan, by: Slowed) -> OpPlan:
    """Return an operation with what transfers and the memory cost each other."""
    if by == Slowed(0, 0):
        return op
    if op.unit == "pim":
        op = replace(op, slowed_by_transfers_ppm=by.pim_ppm)
    return replace(op, slowed_by_pim_ppm=by.transfers_ppm)


def plan_on(
    workload: Workload,
    lowered: LoweredGraphs,
    device: Device,
    profile: EnergyProfile,
    policies: Policies | None,
    home: Residency,
) -> Plan:
    """Plan a lowered workload on all cores of a device, with `home` on chip."""
    target = Target(device, profile, policies)
    target.apart = share_apart(workload, device)
    segments = []
    for segment, (graph, ops), (kept, live) in zip(workload.segments, lowered, home, strict=True):
        plans = plan_segment(target, graph, ops, kept, live, outside_of(graph))
        plans = tuple(slowed(op, target.slowed) for op in plans)
        segments.append(SegmentPlan(segment.name, plans, segment.repeat, segment.first_index))
    spilled = max(sum(size for op in s.ops for _, size, _ in op.spills) for s in segments)
    check_capacity(workload, device, spilled)
    return Plan(tuple(segments), device.cores)
