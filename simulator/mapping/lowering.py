"""Lowering: the operations of a workload graph become the operations that this device carries out.

Passes, in order: attention is fused (FlashAttention, Dao et al. 2022) where asked; elementwise
operations join the product before them; each product gets the operand pair that the matrix unit
really multiplies, with the widening and scaling that formats need. Each pass is list -> list. On
several cores, activations on chip that a product needs whole are gathered over the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from simulator.cost import added
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.device import Device
from simulator.hardware.matrix import pair_formats
from simulator.workload import Attention, Gemm, Graph, Op, OpKind, Tensor

VectorWork = tuple[tuple[str, int], ...]
ELEMENTWISE = (OpKind.ACTIVATION, OpKind.ADD)
PRODUCTS = (OpKind.LINEAR, OpKind.GEMM)
#: What only names rows of a tensor: no unit does it.
VIEWS = (OpKind.SPLIT, OpKind.JOIN)
#: What joins which operation before it, if nobody else reads what that makes.
JOINS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ELEMENTWISE, PRODUCTS),
    # Both take whole rows.
    OpKind.QUANTISE: (OpKind.NORM,),
    OpKind.TABLES: (OpKind.NORM, OpKind.QUANTISE, *PRODUCTS),
}
#: Ends the name of the copy of an activation that every core holds whole.
GATHERED = "@all"


@dataclass(frozen=True, slots=True)
class Lowered:
    """One operation on the device.

    `sources` are the workload operations it carries out. `pair` is the operand pair multiplied
    (None: no product). `widen` is vector work per pass over the weights (or keys and values),
    `work` the vector work on everything else. `gathered` is the bytes that cross the network.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[Op, ...]
    work: VectorWork = ()
    widen: VectorWork = ()
    pair: str | None = None
    gathered_bytes: int = 0

    @property
    def gemm(self) -> Gemm | None:
        """The product of a linear operation."""
        return self.sources[0].gemm if self.sources else None

    @property
    def attention(self) -> Attention | None:
        """The attention that the operation is or belongs to."""
        return self.sources[0].attention if self.sources else None

    @property
    def macs_useful(self) -> int:
        """Useful MACs of all its sources."""
        return sum(op.macs_useful for op in self.sources)


def lower(
    graph: Graph, device: Device, *, fused_attention: bool, fused_tables: bool = True
) -> tuple[Lowered, ...]:
    """Lower one graph for a device; InputError where the device cannot multiply a format pair.

    fused_tables: whether tables (`tables.with_tables`) are made by who makes the activation.
    """
    ops = [
        Lowered(op.name, op.kind.value, op.inputs, op.outputs, (op,), op.vector_work)
        for op in graph.order()
    ]
    if fused_attention:
        ops = fuse_attention(graph, ops)
    joins = JOINS if fused_tables else {**JOINS, OpKind.TABLES: ()}
    ops = fuse_elementwise(graph, ops, joins)
    ops = [choose_pair(graph, op, device) for op in ops]
    return tuple(add_group_sums(graph, ops, device))


def fuse_attention(graph: Graph, ops: list[Lowered]) -> list[Lowered]:
    """Join qk, softmax and pv: scores never leave the core."""
    fused: list[Lowered] = []
    waiting: dict[str, list[Lowered]] = {}
    for op in ops:
        if op.kind == OpKind.QK:
            waiting[op.outputs[0]] = [op]
        elif op.kind == OpKind.SOFTMAX and op.inputs[0] in waiting:
            waiting[op.outputs[0]] = [*waiting.pop(op.inputs[0]), op]
        elif op.kind == OpKind.PV and op.inputs[0] in waiting:
            parts = [*waiting.pop(op.inputs[0]), op]
            fused.append(
                Lowered(
                    parts[0].name.replace("qk", "attention"),
                    "attention",
                    (*parts[0].inputs, *op.inputs[1:]),
                    op.outputs,
                    tuple(part.sources[0] for part in parts),
                    added(*(part.work for part in parts)),
                )
            )
        else:
            fused.append(op)
    return fused


def fuse_elementwise(
    graph: Graph, ops: list[Lowered], joined: Mapping[str, tuple[str, ...]] = JOINS
) -> list[Lowered]:
    """Join operations by `joined`: an elementwise one to the product that made its last input.

    The vector unit then works on each output tile as it leaves the array.
    """
    fused: list[Lowered] = []
    for op in ops:
        last = fused[-1] if fused else None
        joins = (
            last is not None
            and last.kind in joined.get(op.kind, ())
            and last.outputs[0] in op.inputs
            and last.outputs[0] not in graph.outputs
            and len(graph.consumers(last.outputs[0])) == 1
        )
        if last is None or not joins:
            fused.append(op)
            continue
        others = tuple(name for name in op.inputs if name != last.outputs[0])
        fused[-1] = replace(
            last,
            inputs=(*last.inputs, *others),
            outputs=op.outputs,
            sources=(*last.sources, *op.sources),
            work=added(last.work, op.work),
        )
    return fused


def operands(graph: Graph, op: Lowered) -> tuple[Tensor, Tensor]:
    """Return (activation, weight) tensors of a product; keys and values count as weights."""
    tensors = [graph.tensor(name) for name in op.inputs]
    return tensors[0], tensors[1]


def choose_pair(graph: Graph, op: Lowered, device: Device) -> Lowered:
    """Choose the operand pair of a product and add the vector work that its formats need."""
    if op.kind not in (*PRODUCTS, OpKind.QK, OpKind.PV, "attention"):
        return op
    activation, weight = operands(graph, op)
    try:
        pair = device.operand_pair(weight.format, activation.format, cached=op.gemm is None)
    except InputError as error:
        raise InputError(f"{device.name}: {op.name}: {error}") from error
    multiplied = pair_formats(pair)
    widen, scale = weight_work(op, weight.format, multiplied[0])
    scale = added(scale, corrections_of(op, pair, weight.format, device))
    if scales_itself(device, pair, weight.format):
        # Of two levels the upper one is left, of a channel or the tensor.
        outer = weight.format.outer != "none"
        scale = added((("mul", product_size(op).weight_scaled * outer),))
    rest = activation_work(op, activation.format, multiplied[1])
    if activation.format.kind == "block" and activation.format.base == multiplied[1]:
        # A unit for blocks applies both scales.
        rest = ()
    return replace(op, pair=pair, widen=widen, work=added(op.work, scale, rest))


def scales_itself(device: Device, pair: str, form: Format) -> bool:
    """Tell whether the array applies scales and zero points of groups or blocks of weights.

    An element for blocks or binary codes does, one that multiplies by scales bit by bit, and some
    decoders at the edge do (`pe.decodes_scales`).
    """
    if form.base != pair_formats(pair)[0]:
        return False
    pe = device.unit_of(pair).pe
    own = pe.decodes_scales(pair, form) or pe.scale_passes(pair) > 0
    return form.kind in ("block", "binary") or own


def add_group_sums(graph: Graph, ops: list[Lowered], device: Device) -> list[Lowered]:
    """Sum up activations whose products have to be corrected by their sums: once for all users.

    For zero points of weights, and for elements that multiply by 2 w + 1 (`pe.corrections`).
    Who makes an activation sums it up, an addition a value; where nobody does in this graph, or in
    attention, whose operands have one user, it is the first product itself.
    """
    makers = {name: index for index, op in enumerate(ops) for name in op.outputs}
    work: dict[int, int] = {}
    done: set[tuple[str, int | None]] = set()
    for index, op in enumerate(ops):
        if op.pair is None:
            continue
        activation, weight = operands(graph, op)
        form, key = weight.format, (activation.name, weight.format.group)
        odd = device.unit_of(op.pair).pe.corrections(op.pair) > 0
        zero = form.zero_bits > 0 and form.base == pair_formats(op.pair)[0]
        if not (odd or zero) or key in done:
            continue
        if scales_itself(device, op.pair, form):
            continue
        done.add(key)
        maker = index if op.gemm is None else makers.get(activation.name, index)
        work[maker] = work.get(maker, 0) + product_size(op).activations
    return [
        replace(op, work=added(op.work, (("add", work.get(index, 0)),)))
        for index, op in enumerate(ops)
    ]


def weight_work(op: Lowered, form: Format, multiplied: str) -> tuple[VectorWork, VectorWork]:
    """Return (widening of all weights, work on what scales reach) that a weight format asks for.

    A format that is not multiplied as it is converts once per element read, where its zero point is
    subtracted; if the target is a float, scales are applied there too. Otherwise scales multiply
    outputs (those of values: probabilities), once each, or once each and group, with an addition. A
    zero point of weights that are not widened is corrected by the sums of the activations
    (`add_group_sums`): multiplied and added once an output (and group), as in MixPE, arXiv
    2411.16158, equation 5.
    """
    size = product_size(op)
    scaled = form.granularity != "none"
    zeros = form.zero_bits > 0
    if form.base != multiplied:
        widen = added((("convert", size.weights),), (("add", size.weights * zeros),))
        if scaled and multiplied.startswith(("fp", "bf")):
            return added(widen, (("mul", size.weights),)), ()
        return widen, scaling(form, size.weight_scaled, size.reduction)
    corrections = size.weight_scaled * groups_of(form, size.reduction)
    sums = (("add", corrections), ("mul", corrections))
    own = scaling(form, size.weight_scaled, size.reduction)
    return (), added(own, sums if zeros else ())


def activation_work(op: Lowered, form: Format, multiplied: str) -> VectorWork:
    """Return the work that an activation format asks for: conversion, scaling of the outputs.

    A zero point is subtracted in the conversion; without one, it is corrected by the sums of the
    weights, which are known: a multiplication and an addition an output (and group).
    """
    size = product_size(op)
    zeros = form.zero_bits > 0
    own = scaling(form, size.outputs, size.reduction)
    if form.base != multiplied:
        convert = (("convert", size.activations), ("add", size.activations * zeros))
        return added(convert, own)
    corrections = zeros * size.outputs * groups_of(form, size.reduction)
    return added(own, (("add", corrections), ("mul", corrections)))


def corrections_of(op: Lowered, pair: str, form: Format, device: Device) -> VectorWork:
    """Return the additions that take sums of operands off the outputs, an output and group each.

    Of elements that multiply by 2 w + 1; halving is a shift. Where weights have zero points their
    correction holds this one.
    """
    each = device.unit_of(pair).pe.corrections(pair)
    if form.zero_bits and form.base == pair_formats(pair)[0]:
        each = max(0, each - 1)
    size = product_size(op)
    return added((("add", each * size.weight_scaled * groups_of(form, size.reduction)),))


def groups_of(form: Format, reduction: int) -> int:
    """Return the scale groups along a reduction."""
    return -(-reduction // form.group) if form.granularity == "group" and form.group else 1


def scaling(form: Format, elements: int, reduction: int) -> VectorWork:
    """Return the multiplications of elements by the scales of an operand; groups add up too."""
    if form.granularity == "none":
        return ()
    each = elements * groups_of(form, reduction)
    return added((("mul", each),), (("add", each),) if form.granularity == "group" else ())


class ProductSize(NamedTuple):
    """Elements of a product or of attention.

    weight_scaled: what the scales of weights multiply; reduction: the length along which a scale
    group of an operand lies.
    """

    weights: int
    activations: int
    outputs: int
    weight_scaled: int
    reduction: int


def product_size(op: Lowered) -> ProductSize:
    """Return the sizes of a product or of attention; InputError for anything else."""
    if op.gemm is not None:
        g = op.gemm
        outputs = g.count * g.m * g.n
        return ProductSize(g.count * g.n * g.k, g.count * g.m * g.k, outputs, outputs, g.k)
    a = op.attention
    if a is None:
        raise InputError(f"{op.name} is not a product")
    rows, queries = a.cache_rows * a.head_dim, a.tokens * a.heads * a.head_dim
    # A scale of values lies along the keys, the reduction of PV: it multiplies the probabilities.
    qk = ProductSize(rows, queries, a.scores, a.scores, a.head_dim)
    pv = ProductSize(rows, a.scores, queries, a.scores, a.head_dim)
    match op.kind:
        case OpKind.QK:
            return qk
        case OpKind.PV:
            return pv
        case "attention":
            return ProductSize(
                qk.weights + pv.weights,
                qk.activations + pv.activations,
                qk.outputs + pv.outputs,
                qk.weight_scaled + pv.weight_scaled,
                a.head_dim,
            )
        case _:
            raise InputError(f"{op.name} is not a product")


def gather(
    graph: Graph, ops: Sequence[Lowered], kept: frozenset[str], cores: int
) -> tuple[tuple[Lowered, int], ...]:
    """Put an all-gather before products that read activations which the cores hold in shares.

    `kept` are the activations on chip. Returns (operation, index of the operation in `ops` at which
    it stands): a gathered copy takes the place that residency has reserved for it.
    """
    done: dict[str, str] = {}
    result: list[tuple[Lowered, int]] = []
    for index, op in enumerate(ops):
        name = op.inputs[0] if op.inputs else ""
        if op.kind in PRODUCTS and name in kept:
            if name not in done:
                done[name] = f"{name}{GATHERED}"
                missing = graph.tensor(name).bytes * (cores - 1) // cores
                step = (f"gather_{name}", "all_gather", (name,), (done[name],), ())
                result.append((Lowered(*step, gathered_bytes=missing), index))
            op = replace(op, inputs=(done[name], *op.inputs[1:]))
        result.append((op, index))
    return tuple(result)
