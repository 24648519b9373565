"""Decoder blocks on the NPU of NeuPIMs' own simulator, as plans.

Blocks take what `dram.pim.neupims_npu` says; here its operations become those of a plan, each one
step of load, main and store that follows the one before, so that a stage lasts as long as there to
the cycle. Loads and stores have what their lines take at the memory's peak, main the rest: what of
it is more than the unit's peak needs is stalled. Attention is one operation beside them, as long as
it was beside the NPU's. All blocks are as the first one, or with sub-batches as the first two.

A workload does not keep the order of its requests: of a channel every second one is listed first,
the longest first, so that halves are alike.

Left out: what scores and outputs that attention stores take of the plan's bytes; what devices
exchange; the appending of keys and values.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil

from simulator.cost import Counts
from simulator.dram.pim import neupims
from simulator.dram.pim.neupims_npu import IterationRun, IterationStage, Operation, run_iteration
from simulator.errors import InputError
from simulator.hardware.device import Device
from simulator.hardware.equations import Pipeline
from simulator.hardware.pim import NeuPimsBanks
from simulator.mapping.overlap import (
    AFTER,
    BEFORE,
    WITHIN,
    Piece,
    Stage,
    around,
    layer_of,
    stages_of_one,
    stages_of_two,
)
from simulator.mapping.pim_attention import longest_first, placed_requests
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan
from simulator.mapping.policies import Policies
from simulator.workload import Attention, Graph, OpKind, Workload, vector

FJ_PER_J = 10**15
PAIR = "fp16xfp16"
#: The first operation of what comes before attention.
FIRST_BEFORE = "norm_attention"
#: Operations of a layer that it knows, and those that take no time in it.
_KNOWN = (
    *(FIRST_BEFORE, "q_proj", "k_proj", "v_proj", "qk", "softmax", "pv", "o_proj"),
    *("residual_attention", "norm_ffn", "up_proj", "activation", "down_proj", "residual_ffn"),
)
_NOT_THERE = ("kv_append", "all_reduce_attention", "all_reduce_ffn")
_KIND_OF = {
    "ln": OpKind.NORM,
    "matmul": OpKind.LINEAR,
    "add": OpKind.ADD,
    "gelu": OpKind.ACTIVATION,
}


def is_reference(device: Device) -> bool:
    """Tell whether blocks run on the NPU of NeuPIMs' own simulator."""
    return isinstance(device.pim, NeuPimsBanks) and device.pim.npu == "reference"


def refuse_others(device: Device, workload: Workload, policies: Policies, *, fused: bool) -> None:
    """Raise InputError for what the reference does not run, all problems at once."""
    problems = []
    if workload.of_requests is None:
        problems.append(f"runs decode steps only, got {workload.name}")
    others = {use: form for use, form in workload.formats.items() if form != "fp16"}
    if others:
        listed = ", ".join(f"{form} {use}" for use, form in others.items())
        problems.append(f"computes with fp16 only, got {listed}")
    if not fused:
        problems.append("runs attention 'fused' only")
    if policies.placement not in ("mixed", "fixed"):
        problems.append(f"runs placement 'mixed' or 'fixed', got '{policies.placement}'")
    if not problems:
        problems += _wrong_layer(workload)
    if problems:
        raise InputError([f"{device.name}: NeuPIMs' own NPU {each}" for each in problems])


def _wrong_layer(workload: Workload) -> list[str]:
    """Return what of a layer is none of NeuPIMs'."""
    ops = {op.name: op for op in _layer(workload).ops}
    other = [name for name in ops if name not in (*_KNOWN, *_NOT_THERE)]
    lacking = [name for name in _KNOWN if name not in ops]
    problems = []
    if other or lacking:
        listed = [*other, *(f"no {name}" for name in lacking)]
        problems.append(
            f"runs layers of GPT-2's operations only; {workload.model} has {', '.join(listed)}"
        )
    elif len(ops[FIRST_BEFORE].inputs) < 3:
        problems.append(f"normalises with gain and bias only; {workload.model} has no bias")
    attention = ops["qk"].attention if "qk" in ops else None
    if attention is not None and attention.group_size != 1:
        problems.append(
            f"attends with one head to each of keys and values, {attention.heads} heads share "
            f"{attention.kv_heads}"
        )
    return problems


def _layer(workload: Workload) -> Graph:
    return next(
        segment.graph
        for segment in workload.segments
        if any(op.attention is not None for op in segment.graph.ops)
    )


def iteration(
    device: Device, workload: Workload, assignment: str, *, sub_batches: bool
) -> IterationRun:
    """Return a block of a decode step, or two with sub-batches; errors as of `run_iteration`."""
    banks, graph = device.pim, _layer(workload)
    assert isinstance(banks, NeuPimsBanks)
    a, hidden = graph.op("qk").attention, graph.tensor(graph.op(FIRST_BEFORE).inputs[0]).columns
    up = graph.op("up_proj").gemm
    assert a is not None
    assert up is not None
    tp = hidden // (a.heads * a.head_dim)
    requests = _requests(banks, a, assignment)
    return _run(banks, requests, hidden, a.heads * tp, up.n * tp, tp, sub_batches)


@lru_cache(maxsize=64)
def _run(
    banks: NeuPimsBanks,
    requests: tuple[tuple[int, int], ...],
    hidden: int,
    heads: int,
    ffn: int,
    tp: int,
    sub_batches: bool,
) -> IterationRun:
    return run_iteration(
        banks.built,
        banks.mode,
        requests,
        hidden=hidden,
        heads=heads,
        ffn=ffn,
        tp=tp,
        sub_batches=sub_batches,
    )


def _requests(banks: NeuPimsBanks, a: Attention, assignment: str) -> tuple[tuple[int, int], ...]:
    """Return tokens and channel of each request, channel by channel."""
    part, own = banks.built, a.heads * a.head_dim
    listed = [(g.keys, g.channel) for g in longest_first(a) for _ in range(g.requests)]
    loads = {
        keys: neupims.estimate_ticks(part, keys, hidden=own, heads=a.heads, tp=1)
        for keys in {keys for keys, _ in listed}
    }
    by_channel: dict[int, list[int]] = {}
    estimates = [loads[keys] for keys, _ in listed]
    for keys, channel in placed_requests(listed, estimates, part.channels, assignment):
        by_channel.setdefault(channel, []).append(keys)
    return tuple(
        (keys, channel)
        for channel, of in sorted(by_channel.items())
        for keys in (*of[::2], *of[1::2])
    )


def in_reference(
    plans: Sequence[Plan], device: Device, run: IterationRun, *, layers: int | None = None
) -> Plan:
    """Return plans of a step, or of its two sub-batches, with blocks as the reference runs them.

    layers: as many as the plans have by default.
    """
    count = layer_of(plans[0]).repeat if layers is None else layers
    stages = stages_of_one(count) if len(plans) == 1 else stages_of_two(count)
    ran = {stage.name: stage for stage in run.stages}
    made = [_segment(stage, ran[stage.name], device, run, len(plans)) for stage in stages]
    return around(plans, made)


def _segment(
    stage: Stage, ran: IterationStage, device: Device, run: IterationRun, batches: int
) -> SegmentPlan:
    """Return a stage: the NPU's operations in a row, attention beside them."""
    ops: list[OpPlan] = []
    for piece in stage.pieces:
        suffix = f"#{piece.batch + 1}" if batches > 1 else ""
        if piece.part == WITHIN:
            ops.append(_attention(ran, device, run, piece.layer, f"attention{suffix}"))
            continue
        for operation in _of_piece(ran, piece):
            before = (len(ops) - 1,) if ops else ()
            ops.append(_operation(operation, device, run, piece.layer, suffix, before))
    return SegmentPlan(stage.name, tuple(ops), 1, 0)


def _of_piece(ran: IterationStage, piece: Piece) -> Iterator[Operation]:
    """Yield the operations of a part of a block."""
    part = AFTER
    for operation in ran.operations:
        part = BEFORE if operation.name == FIRST_BEFORE else part
        if part == piece.part:
            yield operation


def _operation(
    operation: Operation,
    device: Device,
    run: IterationRun,
    layer: int,
    suffix: str,
    before: tuple[int, ...],
) -> OpPlan:
    """Return an operation of the NPU; before: the one that it follows."""
    banks = device.pim
    assert isinstance(banks, NeuPimsBanks)
    part, whole = banks.part, operation.cycles * run.tick_ps
    loaded, stored = (
        lines * part.burst_bytes for lines in (operation.read_lines, operation.written_lines)
    )
    beats = part.timing["nBL"] * run.tick_ps
    load, store = (
        ceil(lines * beats / run.channels)
        for lines in (operation.read_lines, operation.written_lines)
    )
    needed = _least_ps(operation, device)
    load = min(load, max(1, whole - store - needed))
    main = whole - load - store
    work = _work(operation)
    return OpPlan(
        name=operation.name + suffix,
        kind=_KIND_OF[operation.kind].value,
        unit="matrix" if operation.macs else "vector",
        pipeline=Pipeline(1, 1, 1, 0, load, 0, main, 0, 0, 0, store),
        after=(),
        stored_by=before,
        free_loads=0 if before else 1,
        slot_bytes=loaded,
        room_bytes=loaded,
        load_bytes=loaded,
        store_bytes=stored,
        least_load_bytes=_held_values(operation) * part.value_bytes,
        least_store_bytes=0,
        main_bytes=0,
        cores=1,
        stalls_ps=(("operand", max(0, main - needed)),),
        macs_useful=operation.macs,
        macs_issued=operation.macs,
        counts=Counts(
            macs=((PAIR, operation.macs),) if operation.macs else (),
            vector_ops=work,
            scratchpad_read_bits=8 * (loaded + stored),
            scratchpad_write_bits=8 * (loaded + stored),
            dram_read_bits=8 * loaded,
            dram_write_bits=8 * stored,
        ),
        tiling="one tile",
        spills=(),
        accesses=(),
        layer=layer,
    )


def _held_values(operation: Operation) -> int:
    """Return the values of weights, or of gain and bias of a norm; it reads no whole bias else."""
    if operation.kind == "ln":
        return 2 * operation.columns
    return operation.macs // operation.rows


def _least_ps(operation: Operation, device: Device) -> int:
    """Return what the unit of an operation takes at its peak."""
    if operation.macs:
        return ceil(operation.macs * 10**12 / device.peak_macs_per_s[PAIR])
    return ceil(device.vector.cycles(_work(operation)) * 10**12 / device.clock_hz)


def _work(operation: Operation) -> tuple[tuple[str, int], ...]:
    """Return the element operations of an operation; a product's are those of its bias."""
    rows, columns = operation.rows, operation.columns
    match operation.kind:
        case "ln":
            return vector.layer_norm(rows, columns)
        case "add":
            return vector.add(rows * columns)
        case "gelu":
            return vector.activation("gelu", rows * columns, gated=False)
        case "matmul":
            return vector.bias(rows, columns)


def _attention(
    ran: IterationStage, device: Device, run: IterationRun, layer: int, name: str
) -> OpPlan:
    """Return the attention of a stage."""
    banks = device.pim
    assert isinstance(banks, NeuPimsBanks)
    whole, most = ran.attention_cycles * run.tick_ps, ran.most_busy_cycles * run.tick_ps
    macs, units = ran.attention_macs, run.channels * run.operations_per_burst
    return OpPlan(
        name=name,
        kind="attention",
        unit="pim",
        pipeline=Pipeline(1, 1, 1, 0, 0, 0, whole, 0, 0, 0, 0),
        after=(),
        stored_by=(),
        free_loads=1,
        slot_bytes=0,
        room_bytes=0,
        load_bytes=0,
        store_bytes=0,
        least_load_bytes=0,
        least_store_bytes=0,
        main_bytes=macs * banks.part.value_bytes,
        cores=1,
        stalls_ps=(
            ("imbalance", most - ran.pim_busy_cycles * run.tick_ps),
            ("softmax", whole - most),
        ),
        macs_useful=macs,
        macs_issued=macs,
        counts=Counts(own_fj=(("pim", round(ran.pim_energy_j * FJ_PER_J)),)),
        tiling=f"{run.channels} channels",
        spills=(),
        accesses=(),
        exclusive=banks.exclusive,
        least_main_ps=ceil(macs * banks.part.units.cadence_ticks * run.tick_ps / units),
        layer=layer,
    )
