"""Table precompute: what elements look sums of activations up in is made once, by an operation.

Mo et al., "LUT Tensor Core" (ISCA 2025, arXiv 2408.06003): tables of an activation are made once
for all products that read it, apart or fused with the operation that makes the activation
(`lowering.JOINS`). They take its place: in the scratchpad, in memory, at the array's edge. Only for
elements whose tables are made there (`ProcessingElement.shared_at`); those with a generator at the
array's edge read the activation itself. Left out: tables of attention's operands.
"""

from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from math import ceil

from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.device import Device
from simulator.hardware.matrix import ProcessingElement
from simulator.workload import Graph, Op, OpKind, Tensor

#: Ends the name of the tables of an activation.
TABLES = "@tables"


def with_tables(graph: Graph, device: Device) -> Graph:
    """Return the graph in which products read tables where the device's elements want them."""
    made: dict[str, tuple[Tensor, Op]] = {}
    ops: list[Op] = []
    for op in graph.order():
        pair = _pair(graph, op, device)
        if pair is None or not device.unit_of(pair).pe.table_bits(pair):
            ops.append(op)
            continue
        activation = op.inputs[0]
        if activation not in made:
            made[activation] = _made(graph.tensor(activation), pair, device.unit_of(pair).pe)
            ops.append(made[activation][1])
        tables, _ = made[activation]
        ops.append(replace(op, inputs=(tables.name, *op.inputs[1:])))
    if not made:
        return graph
    tensors = (*graph.tensors, *(tensor for tensor, _ in made.values()))
    return replace(graph, tensors=tensors, ops=tuple(ops))


def _pair(graph: Graph, op: Op, device: Device) -> str | None:
    """Return the pair of an operation; none for what lowering is to refuse."""
    if op.gemm is None:
        return None
    activation, weight = (graph.tensor(name).format for name in op.inputs[:2])
    try:
        return device.operand_pair(weight, activation)
    except InputError:
        return None


@dataclass(frozen=True)
class Tables(Format):
    """The format of an activation's tables: entries in its place, of so many bits each."""

    entries: Fraction = field(kw_only=True)
    entry_bits: int = field(kw_only=True)

    def __post_init__(self) -> None:
        """Nothing to refuse: the activation's format is valid."""

    def payload_bits(self, rows: int, reduction: int, word_bits: int | None = None) -> int:
        """Return the bits of all entries; with `word_bits` no entry straddles two words."""
        entries = ceil(reduction * self.entries)
        if word_bits is None:
            return rows * entries * self.entry_bits
        per_word = word_bits // self.entry_bits
        if per_word < 1:
            raise InputError(f"a word of {word_bits} bits does not hold one entry of {self.name}")
        return rows * -(-entries // per_word) * word_bits


def _format(activation: Format, pair: str, pe: ProcessingElement) -> Tables:
    kept = {each.name: getattr(activation, each.name) for each in fields(Format)}
    entries, bits = pe.table_entries(pair)
    named = {"name": f"{activation.name} tables", "value_bits": entries * bits}
    return Tables(**{**kept, **named}, entries=entries, entry_bits=bits)


def _made(activation: Tensor, pair: str, pe: ProcessingElement) -> tuple[Tensor, Op]:
    """Return the tables of an activation and the operation that makes them.

    An operation of the datapath's specification on a word is an addition of the vector unit.
    """
    name = activation.name + TABLES
    tables = replace(activation, name=name, format=_format(activation.format, pair, pe))
    additions = -(-pe.shared_operations(pair) * activation.elements // pe.micro_tile[2])
    made = Op(
        f"tables_{activation.name}",
        OpKind.TABLES,
        (activation.name,),
        (name,),
        vector_work=(("add", additions),),
    )
    return tables, made
