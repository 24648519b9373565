"""A workload in columns of integers: what planning reads of it, on devices that lower it alike.

Read off the objects that the planner plans (`lower`, `Target.packed_bits`, `lives`), so nothing is
modelled here. A row an operation, an operand, a life of an activation, a segment; their columns are
named below. On several cores there is a row for each gathering that residency may ask for. Left
out, each with its reason (`no_sheet`): views of tensors, several products or
unlike requests in one operation, exchanges between devices.
"""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.cost import VECTOR_FUNCTIONS
from simulator.formats import get
from simulator.hardware.device import Device
from simulator.hardware.matrix import pair_formats
from simulator.mapping.capacity import outside_bytes, outside_of
from simulator.mapping.lowering import GATHERED, VIEWS, Lowered, VectorWork, gather, lower
from simulator.mapping.planner import core_counts
from simulator.mapping.products import held_bits
from simulator.mapping.residency import lives
from simulator.mapping.tables import with_tables
from simulator.mapping.target import Target
from simulator.workload import HIDDEN, HIDDEN_OUT, Graph, OpKind, Role, Tensor, Workload

Array = NDArray[np.int64]

#: Kinds of operations.
STREAM, PRODUCT, ATTENTION, GATHER = range(4)
#: Columns of an operation. unit: place of its operand pair and group in `Sheet.units`; macs: of a
#: product; widened: bits and elements of weights, or keys and values, that are widened.
KIND, UNIT, MACS, A_BITS, W_BITS, OUT_BITS, WIDENED_BITS, WIDENED = range(8)
#: Of a product; memory bits of its weights: payload, metadata.
M, N, K, W_MEMORY, W_METADATA = range(8, 13)
#: Of attention: as in `AttentionProblem` and `Attention`, and its group of equal requests.
KV_HEADS, GROUP_SIZE, HEAD_DIM, CAUSAL, WINDOW, KV_BITS_PER_KEY, CACHE_ROWS, SCORES = range(8, 16)
PAST_ROWS, REQUESTS, QUERIES, KEYS = range(16, 20)
#: Of a gathering of what cores hold in shares: the bytes of all shares.
GATHERED_BYTES = 8
#: Vector work by function: on all but weights, and on weights in each pass over them.
FUNCTIONS = tuple(sorted(VECTOR_FUNCTIONS))
WORK = 20
WIDEN = WORK + len(FUNCTIONS)
OP_COLUMNS = WIDEN + len(FUNCTIONS)

#: Columns of an operand. home: row of its life, else ALWAYS in memory, or NONE (there is no such
#: operand); bits and pieces in which they cross memory; maker: operation of the segment that makes
#: it, -1: none; spill: bytes that count as spilled where it is not kept; raw: bits without padding;
#: gatherer: operation of the segment that gathers it where it is kept, -1: none.
HOME, BITS, PIECES, MAKER, SPILL, RAW, GATHERER = range(7)
ALWAYS, NONE = -1, -2
NO_OPERAND = (NONE, 0, 1, -1, 0, 0, -1)

#: Columns of a life, in the order in which lives are kept: as `residency.keep` takes them, then
#: whether it enters or leaves the workload, is the residual stream, and enters or leaves a segment
#: as that.
BYTES, FIRST, LAST, OUTSIDE, RESIDUAL, END = range(6)
#: Columns of a segment; a last row ends the others.
FIRST_OP, FIRST_LIFE, REPEAT = range(3)


class Tables(NamedTuple):
    """The numbers of a sheet, for so many cores.

    operands: of each operation, first `inputs` places for what it reads, then those for what it
    makes.
    """

    ops: Array
    operands: Array
    lives: Array
    segments: Array
    inputs: int


class Sheet(NamedTuple):
    """A workload in numbers.

    tables: for each number of cores that a plan may use, the most first; all have the same
    operations. units: operand pair, and weights that share a scale, of the matrix models that it
    needs. names: of the operations. held_bytes: what is in memory beside spills.
    """

    tables: tuple[Tables, ...]
    cores: tuple[int, ...]
    units: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    held_bytes: int


def no_sheet(workload: Workload) -> str | None:
    """Return why a workload has no sheet; None where it has one."""
    for segment, op in workload.ops():
        if op.kind in (*VIEWS, OpKind.ALL_REDUCE, OpKind.SEND):
            return f"{op.name} is of kind '{op.kind}'"
        if op.gemm is not None and op.gemm.count > 1:
            return f"{op.name} is {op.gemm.count} products"
        if op.gemm is not None and segment.graph.tensor(op.inputs[1]).role is Role.ACTIVATION:
            return f"{op.name} multiplies two activations"
        if op.attention is not None and len(op.attention.groups) > 1:
            return f"{op.name} has requests of {len(op.attention.groups)} lengths"
    return None


def sheet_of(workload: Workload, target: Target, *, fused_tables: bool = True) -> Sheet:
    """Return a workload in numbers, lowered with fused attention.

    `no_sheet` has to be None. Raises InputError as `lower`.
    """
    device, placed = target.device, []
    for segment in workload.segments:
        graph = with_tables(segment.graph, device)
        lowered = lower(graph, device, fused_attention=True, fused_tables=fused_tables)
        placed.append(Placed(graph, lowered, _gathered(graph, lowered, device), segment.repeat))
    units: dict[tuple[str, int], int] = {}
    cores = tuple(reversed(core_counts(device.cores)))
    tables = tuple(_tables(placed, target, count, units) for count in cores)
    names = tuple(op.name for each in placed for op, _ in each.ops)
    held = workload.weight_bytes + workload.kv_bytes + outside_bytes(workload)
    return Sheet(tables, cores, tuple(units), names, held)


class Placed(NamedTuple):
    """A segment lowered, and its operations and gatherings, each with where it stands there."""

    graph: Graph
    lowered: tuple[Lowered, ...]
    ops: tuple[tuple[Lowered, int], ...]
    repeat: int


def _gathered(
    graph: Graph, ops: tuple[Lowered, ...], device: Device
) -> tuple[tuple[Lowered, int], ...]:
    """Return operations with all gatherings that there may be, as `planner.plan_segment`."""
    if device.cores == 1 or device.network is None:
        return tuple((op, index) for index, op in enumerate(ops))
    inside = frozenset(lives(graph, ops, 1)) - outside_of(graph)
    return gather(graph, ops, inside, device.cores)


def _tables(
    segments: Sequence[Placed], target: Target, cores: int, units: dict[tuple[str, int], int]
) -> Tables:
    """Return the numbers of lowered segments on so many cores; units as of `_op`."""
    ops: list[list[int]] = []
    operands: list[tuple[list[Sequence[int]], list[Sequence[int]]]] = []
    alive: list[list[int]] = []
    bounds: list[list[int]] = []
    for placed in segments:
        bounds.append([len(ops), len(alive), placed.repeat])
        homes, rows = _lives(placed, cores, len(alive))
        alive += rows
        makers: dict[str, int] = {}
        for index, (op, _) in enumerate(placed.ops):
            ops.append(_op(placed.graph, op, target, units))
            operands.append(_operands(placed.graph, op, target, homes, makers))
            makers.update(dict.fromkeys(op.outputs, index))
    bounds.append([len(ops), len(alive), 0])
    inputs = max(len(read) for read, _ in operands)
    outputs = max(len(made) for _, made in operands)
    stacked = [_filled(read, inputs) + _filled(made, outputs) for read, made in operands]
    return Tables(_array(ops), _array(stacked), _array(alive), _array(bounds), inputs)


def _array(rows: Sequence[Any]) -> Array:
    return np.array(rows, dtype=np.int64)


def with_units(sheet: Sheet, units: tuple[tuple[str, int], ...]) -> Sheet:
    """Return a sheet whose units are among others, all of `units`."""
    places = np.array([units.index(unit) for unit in sheet.units])

    def moved(t: Tables) -> Tables:
        ops = t.ops.copy()
        ops[:, UNIT] = places[ops[:, UNIT]]
        return t._replace(ops=ops)

    return sheet._replace(tables=tuple(map(moved, sheet.tables)), units=units)


def _filled(rows: list[Sequence[int]], places: int) -> list[Sequence[int]]:
    return rows + [NO_OPERAND] * (places - len(rows))


def _lives(placed: Placed, cores: int, before: int) -> tuple[dict[str, int], list[list[int]]]:
    """Return the rows of a segment's lives, and which one is whose; `before` stand before them."""
    graph = placed.graph
    found = lives(graph, placed.lowered, cores)
    ordered = sorted(found.items(), key=lambda item: (item[1].bytes, item[1].first))
    outside, residual = outside_of(graph), (HIDDEN, HIDDEN_OUT)
    ends = set(residual) & {*graph.inputs, *graph.outputs}
    # A gathering has the room of the operation that it stands before.
    places = [where for _, where in placed.ops]
    rows = [
        [
            life.bytes, places.index(life.first), len(places) - 1 - places[::-1].index(life.last),
            name in outside, name in residual, name in ends,
        ]
        for name, life in ordered
    ]  # fmt: skip
    return {name: before + place for place, (name, _) in enumerate(ordered)}, rows


def _op(graph: Graph, op: Lowered, target: Target, units: dict[tuple[str, int], int]) -> list[int]:
    """Return the row of an operation; a unit that it is the first to need is added to `units`."""
    row = [0] * OP_COLUMNS
    row[KIND] = STREAM
    if op.kind == "all_gather":
        row[KIND], row[GATHERED_BYTES] = GATHER, graph.tensor(op.inputs[0]).bytes
        return row
    row[WORK:] = [*_by_function(op.work), *_by_function(op.widen)]
    if op.pair is None:
        return row
    activation, weight = (graph.tensor(_shared(name)) for name in op.inputs[:2])
    w_name, a_name = pair_formats(op.pair)
    group = 0 if op.gemm is None else weight.format.group or 0
    row[UNIT] = units.setdefault((op.pair, group), len(units))
    row[W_BITS] = int(get(w_name).value_bits)
    if op.widen:
        widened = [t for t in map(graph.tensor, op.inputs[1:]) if t.role is not Role.ACTIVATION]
        row[WIDENED_BITS] = sum(t.bits for t in widened)
        row[WIDENED] = sum(t.elements for t in widened)
    if op.gemm is not None:
        g = op.gemm
        metadata = weight.format.metadata_bits(weight.rows, weight.columns)
        row[KIND], row[MACS], row[M : K + 1] = PRODUCT, g.macs, (g.m, g.n, g.k)
        row[A_BITS] = held_bits(activation.format, a_name)
        row[OUT_BITS] = ceil(graph.tensor(op.outputs[-1]).format.value_bits)
        row[W_MEMORY], row[W_METADATA] = _packed(target, weight) - metadata, metadata
        return row
    a = op.attention
    assert a is not None
    (requests,) = a.groups
    row[KIND], row[A_BITS] = ATTENTION, int(get(a_name).value_bits)
    row[OUT_BITS] = ceil(graph.tensor(op.outputs[0]).format.value_bits)
    row[KV_HEADS : KEYS + 1] = [
        a.kv_heads, a.group_size, a.head_dim, int(a.causal), a.window or 0,
        target.kv_bits_per_key(weight.format, a.head_dim), a.cache_rows, a.scores, a.past_rows,
        requests.requests, requests.queries, requests.keys,
    ]  # fmt: skip
    return row


def _shared(name: str) -> str:
    """Return the name of what a gathered tensor gathers; any other name as it is."""
    return name.removesuffix(GATHERED)


def _by_function(work: VectorWork) -> list[int]:
    counts = dict(work)
    return [counts.get(name, 0) for name in FUNCTIONS]


def _packed(target: Target, t: Tensor) -> int:
    return target.packed_bits(t.format, t.rows, t.columns, t.elements)


def _operands(
    graph: Graph, op: Lowered, target: Target, homes: dict[str, int], makers: dict[str, int]
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Return the rows of what an operation reads and makes; of a product, its result first."""
    if op.kind == "all_gather":
        # Shares are where their whole is, and are no transfer of their own.
        name = op.inputs[0]
        return [(homes[name], 0, 1, makers.get(name, -1), 0, 0, -1)], []
    source = op.sources[0]
    stream = op.pair is None

    def rows(
        names: Sequence[str], moved: int | None, runs: int | None, times: Counter[str]
    ) -> list[Sequence[int]]:
        made: list[Sequence[int]] = []
        for used in names:
            name = _shared(used)
            t = graph.tensor(name)
            bits, pieces = _packed(target, t), 1
            if stream and moved is not None and t.role in (Role.TABLE, Role.KV):
                bits, pieces = target.packed_bits(t.format, moved, t.columns), runs or moved
            inside = t.role is Role.ACTIVATION and name not in outside
            spill = times[used] * t.bytes if inside else 0
            home, raw = homes.get(name, ALWAYS), times[used] * t.bits
            gatherer = makers.get(used, -1) if used != name else -1
            made.append((home, bits, pieces, makers.get(name, -1), spill, raw, gatherer))
        return made

    outside = outside_of(graph)
    if stream:
        # Named twice, a tensor of a stream is moved once.
        read, made = Counter(op.inputs), Counter(op.outputs)
        return (
            rows(list(read), source.rows_read, None, read),
            rows(list(made), source.rows_written, source.runs_written, made),
        )
    once = Counter(dict.fromkeys((*op.inputs, *op.outputs), 1))
    outputs = op.outputs[::-1] if op.gemm is not None else op.outputs
    return rows(op.inputs, None, None, once), rows(outputs, None, None, once)
