"""The workload graph: operations in a directed acyclic graph, segments that repeat, and a workload.

A graph is pure model: it knows shapes and formats and no device. networkx holds the structure and
does not show through. Byte counts are compulsory: each tensor of an operation moves once, an
embedding moves the rows that it gathers, a KV append the rows that it writes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

from simulator.errors import InputError
from simulator.workload import verify
from simulator.workload.ops import Op, OpKind, Role, Tensor

if TYPE_CHECKING:
    import networkx

#: The residual stream between segments: what one makes as HIDDEN_OUT the next reads as HIDDEN.
HIDDEN, HIDDEN_OUT = "hidden", "hidden_out"


@dataclass(frozen=True)
class Graph:
    """Operations and their tensors; `inputs` come from outside, `outputs` leave.

    Errors: InputError with every problem at once: names given twice or unknown, tensors made twice,
    by nobody or for nobody, cycles, shapes that do not follow from the operation.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the graph."""
        problems = verify.name_problems(self.tensors, self.ops)
        if not problems:
            problems = verify.flow_problems(self._tensors, self.ops, self.inputs, self.outputs)
            for op in self.ops:
                problems += verify.op_problems(self._tensors, op)
            problems += self._cycle_problems()
        if problems:
            raise InputError(problems)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def _ops(self) -> dict[str, Op]:
        return {op.name: op for op in self.ops}

    @cached_property
    def _producers(self) -> dict[str, Op]:
        return {name: op for op in self.ops for name in op.outputs}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Op, ...]]:
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.inputs):
                found.setdefault(name, []).append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    @cached_property
    def _digraph(self) -> "networkx.DiGraph[str]":
        import networkx  # 0.1 s to import: wait for the first graph

        digraph: networkx.DiGraph[str] = networkx.DiGraph()
        digraph.add_nodes_from(self._ops)
        for name, producer in self._producers.items():
            digraph.add_edges_from((producer.name, op.name) for op in self.consumers(name))
        return digraph

    def _cycle_problems(self) -> list[str]:
        import networkx

        if networkx.is_directed_acyclic_graph(self._digraph):
            return []
        steps = [start for start, _ in networkx.find_cycle(self._digraph)]
        return [f"ops form a cycle: {' -> '.join([*steps, steps[0]])}"]

    @cached_property
    def _order(self) -> tuple[Op, ...]:
        import networkx

        place = {op.name: index for index, op in enumerate(self.ops)}
        names = networkx.lexicographical_topological_sort(self._digraph, key=place.__getitem__)
        return tuple(self._ops[name] for name in names)

    def order(self) -> tuple[Op, ...]:
        """Return the operations in topological order, ties in the order of insertion."""
        return self._order

    def tensor(self, name: str) -> Tensor:
        """Return a tensor by name; KeyError where there is none."""
        return self._tensors[name]

    def op(self, name: str) -> Op:
        """Return an operation by name; KeyError where there is none."""
        return self._ops[name]

    def producer(self, name: str) -> Op | None:
        """Return the operation that makes a tensor, or None."""
        return self._producers.get(name)

    def consumers(self, name: str) -> tuple[Op, ...]:
        """Return the operations that read a tensor, in the order of insertion."""
        return self._consumers.get(name, ())

    def bytes_read(self, op: Op, *roles: Role) -> int:
        """Return the bytes of each input of `op` once (of `roles` only, where given).

        An embedding reads the `rows_read` rows of its tables; qk and pv read the keys and values
        that the window leaves, which is what the cache tensors of the graph hold.
        """
        total = 0
        for name in dict.fromkeys(op.inputs):
            tensor = self._tensors[name]
            if roles and tensor.role not in roles:
                continue
            gathered = tensor.role is Role.TABLE and op.rows_read is not None
            total += tensor.row_bytes(op.rows_read or 0) if gathered else tensor.bytes
        return total

    def bytes_written(self, op: Op, *roles: Role) -> int:
        """Return the bytes of each output of `op` once (of `roles` only, where given).

        A KV append writes its `rows_written` new rows, not the cache.
        """
        total = 0
        for name in op.outputs:
            tensor = self._tensors[name]
            if roles and tensor.role not in roles:
                continue
            appended = tensor.role is Role.KV and op.rows_written is not None
            total += tensor.row_bytes(op.rows_written or 0) if appended else tensor.bytes
        return total

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights and tables that the graph holds, each once."""
        held = (Role.WEIGHT, Role.TABLE)
        return sum(tensor.bytes for tensor in self.tensors if tensor.role in held)

    @cached_property
    def key(self) -> str:
        """Content hash (32 hex digits of BLAKE2b), the same whatever ops and tensors are called.

        It covers kinds, shapes, formats, roles, counts, channels, devices, edges and the order of
        insertion of ops.
        """
        return blake2b(repr(self._canonical()).encode(), digest_size=16).hexdigest()

    def _canonical(self) -> tuple[object, ...]:
        """Return the content with tensors numbered by first use in `order()`."""
        numbers: dict[str, int] = {}
        for op in self.order():
            for name in (*op.inputs, *op.outputs):
                numbers.setdefault(name, len(numbers))
        tensors = [
            (t.rows, t.columns, t.valid, t.format.name, t.role.value)
            for t in (self._tensors[name] for name in numbers)
        ]
        ops = [
            (
                op.kind.value,
                [numbers[name] for name in op.inputs],
                [numbers[name] for name in op.outputs],
                *(op.gemm, op.attention, op.vector_work),
                *(op.rows_read, op.rows_written, op.runs_written),
                *_placed(op),
            )
            for op in self.order()
        ]
        ends = [[numbers[name] for name in names] for names in (self.inputs, self.outputs)]
        return (tensors, ops, ends)


def _placed(op: Op) -> tuple[tuple[str, object], ...]:
    """Return devices and channels where they are chosen; without them keys are as ever."""
    found: list[tuple[str, object]] = []
    if op.devices is not None:
        found.append(("devices", op.devices))
    if op.attention is not None and any(c is not None for c in op.attention.channels):
        found.append(("channels", op.attention.channels))
    return tuple(found)


@dataclass(frozen=True)
class Segment:
    """A graph that runs `repeat` times in a row; `first_index` is its first layer's number.

    The output `hidden_out` of one run is the input `hidden` of the next.
    """

    name: str
    graph: Graph
    repeat: int = 1
    first_index: int = 0

    def __post_init__(self) -> None:
        """Check the count."""
        if self.repeat < 1:
            raise InputError(f"segment '{self.name}': repeat must be >= 1, got {self.repeat}")


#: Keys of a request, and its channel.
Request: TypeAlias = tuple[int, int | None]


@dataclass(frozen=True)
class Workload:
    """Segments in the order in which they run, with what a report needs to know of them.

    `tokens` are those that tokens/s counts: the batch of a decode step, all tokens of a prefill,
    one a request of both together. `weight_bytes` holds every weight and table once, tied ones
    once; `kv_bytes` is the cache that stands at the end of the step. Of several devices all counts
    but `batch` and `tokens` are those of one. `resolved` is for provenance: plain values.
    `warnings` go into the result. `of_requests` makes the same decode step of other requests, None
    where it is no decode step.
    """

    name: str
    model: str
    phase: str
    segments: tuple[Segment, ...]
    batch: int
    tokens: int
    formats: dict[str, str] = field(hash=False)
    weight_bytes: int
    kv_bytes: int
    resolved: dict[str, Any] = field(hash=False, compare=False, repr=False)
    warnings: tuple[str, ...] = ()
    of_requests: "Callable[[Sequence[Request]], Workload] | None" = field(
        default=None, hash=False, compare=False, repr=False
    )

    @cached_property
    def key(self) -> str:
        """Content hash over the segments' graphs and counts, whatever they are called."""
        content = [(segment.graph.key, segment.repeat) for segment in self.segments]
        return blake2b(repr(content).encode(), digest_size=16).hexdigest()

    def ops(self) -> Iterator[tuple[Segment, Op]]:
        """Yield each distinct operation with its segment, which says how often it runs."""
        for segment in self.segments:
            for op in segment.graph.order():
                yield segment, op

    def _total(self, counts: Iterable[tuple[Segment, int]]) -> int:
        return sum(segment.repeat * count for segment, count in counts)

    @property
    def bits_per_weight(self) -> float:
        """Bits of a weight on average as stored, metadata, tables and norms included; 0 of none.

        A table that the embedding and the head share counts once.
        """
        held = [(s, t) for s in self.segments for t in s.graph.tensors]
        tables = {tensor.name for _, tensor in held if tensor.role is Role.TABLE}
        weights = self._total(
            (segment, tensor.elements)
            for segment, tensor in held
            if tensor.role is Role.TABLE
            or (tensor.role is Role.WEIGHT and tensor.name not in tables)
        )
        return 8 * self.weight_bytes / weights if weights else 0.0

    @cached_property
    def macs_useful(self) -> int:
        """Multiply-accumulates that the result needs."""
        return self._total((segment, op.macs_useful) for segment, op in self.ops())

    @cached_property
    def vector_ops(self) -> int:
        """Element operations of all functions."""
        return self._total((segment, op.vector_ops) for segment, op in self.ops())

    @cached_property
    def weight_bytes_read(self) -> int:
        """Bytes of weights that one run reads: all of each weight, the gathered rows of tables."""
        roles = (Role.WEIGHT, Role.TABLE)
        return self._total((s, s.graph.bytes_read(op, *roles)) for s, op in self.ops())

    @cached_property
    def kv_bytes_read(self) -> int:
        """Bytes read of keys and values cached before this step; new ones may stay on chip."""
        return self._total((s, _past_kv_bytes(s.graph, op)) for s, op in self.ops())

    @cached_property
    def kv_bytes_written(self) -> int:
        """Bytes of new keys and values."""
        return self._total((s, s.graph.bytes_written(op, Role.KV)) for s, op in self.ops())

    @cached_property
    def compulsory_bytes(self) -> int:
        """Main-memory traffic that no on-chip memory can avoid, one run.

        Weights and past keys and values read, new keys and values written, and what enters and
        leaves the workload (the logits; the inputs and outputs of a bare GEMM). The residual
        stream between segments can stay on chip and is not counted.
        """
        kv_bytes = self.kv_bytes_read + self.kv_bytes_written
        return self.weight_bytes_read + kv_bytes + self._end_bytes

    @property
    def _end_bytes(self) -> int:
        """Bytes of the inputs and outputs that no other segment makes or reads."""
        counts = []
        for index, segment in enumerate(self.segments):
            first, last = index == 0, index == len(self.segments) - 1
            names = [name for name in segment.graph.inputs if first or name != HIDDEN]
            names += [name for name in segment.graph.outputs if last or name != HIDDEN_OUT]
            counts.append((segment, sum(segment.graph.tensor(name).bytes for name in names)))
        return self._total(counts)


def _past_kv_bytes(graph: Graph, op: Op) -> int:
    """Return the bytes of cache rows older than this step that `op` reads."""
    if op.attention is None or op.kind not in (OpKind.QK, OpKind.PV):
        return 0
    past = op.attention.past_rows
    caches = (graph.tensor(name) for name in op.inputs)
    return sum(t.row_bytes(past) for t in caches if t.role is Role.KV and past)
