"""Tensors and operations of a workload graph: what is computed, not where or when.

Counts are closed forms of the shapes. They follow the usual definitions: a GEMM (M x K) x (K x N)
is M N K multiply-accumulates; attention counts one score per query and key that the mask leaves
(Vaswani et al. 2017, section 3.2.1; the sliding window as in Mistral 7B, section 2). Left out: the
work that a device adds (dequantisation, padding, masked tiles that are issued); lowering adds it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from simulator.errors import InputError
from simulator.formats import Format

VECTOR_FUNCTIONS = frozenset(
    {"add", "mul", "max", "exp", "rsqrt", "div", "tanh", "copy", "convert", "compare"}
)

VectorWork = tuple[tuple[str, int], ...]


class OpKind(StrEnum):
    """What an operation does."""

    EMBEDDING = "embedding"
    NORM = "norm"
    LINEAR = "linear"
    ROPE = "rope"
    KV_APPEND = "kv_append"
    QUANTISE = "quantise"
    TABLES = "tables"
    QK = "qk"
    SOFTMAX = "softmax"
    PV = "pv"
    ACTIVATION = "activation"
    ADD = "add"
    GEMM = "gemm"
    ALL_REDUCE = "all_reduce"
    SEND = "send"
    SPLIT = "split"
    JOIN = "join"


class Role(StrEnum):
    """What a tensor holds; a TABLE is gathered by rows and never read whole."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    KV = "kv"
    TABLE = "table"


def _require(**counts: int) -> None:
    """Refuse counts below one, all in one error."""
    bad = [f"{name} must be >= 1, got {value}" for name, value in counts.items() if value < 1]
    if bad:
        raise InputError(bad)


@dataclass(frozen=True)
class Tensor:
    """A two-dimensional tensor of `rows` vectors, each `columns` long.

    Scale groups of `format` run along the columns, so a linear layer's weight is (N, K). `valid` is
    the number of elements that exist where rows are ragged or masked (attention scores); absent,
    all do. With `valid`, scale groups are counted for rows of the mean length.
    Errors: InputError for sizes below one or `valid` beyond rows x columns.
    """

    name: str
    rows: int
    columns: int
    format: Format
    role: Role = Role.ACTIVATION
    valid: int | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        _require(rows=self.rows, columns=self.columns)
        if self.valid is not None and not 1 <= self.valid <= self.rows * self.columns:
            raise InputError(
                f"valid must be within 1 and {self.rows * self.columns}, got {self.valid}"
            )

    @property
    def elements(self) -> int:
        """Number of values held."""
        return self.rows * self.columns if self.valid is None else self.valid

    @cached_property
    def bits(self) -> int:
        """Bits of values and metadata (scales, zero points), without padding."""
        if self.valid is None:
            return self.format.bits(self.rows, self.columns)
        mean_columns = -(-self.valid // self.rows)
        metadata = self.format.metadata_bits(self.rows, mean_columns)
        return self.format.payload_bits(1, self.valid) + metadata

    @property
    def bytes(self) -> int:
        """Whole bytes of `bits`."""
        return -(-self.bits // 8)

    def row_bytes(self, rows: int) -> int:
        """Return the bytes of `rows` of the rows, with their scales."""
        return -(-self.format.bits(rows, self.columns) // 8)


@dataclass(frozen=True)
class Gemm:
    """`count` independent products (M x K) x (K x N)."""

    count: int
    m: int
    n: int
    k: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        _require(count=self.count, m=self.m, n=self.n, k=self.k)

    @property
    def macs(self) -> int:
        """Multiply-accumulates: count M N K."""
        return self.count * self.m * self.n * self.k


@dataclass(frozen=True)
class AttentionGroup:
    """`requests` equal requests with `queries` new tokens each, over `keys` positions.

    `keys` counts the new tokens' own keys too, so that the last query is at position `keys` - 1.
    `channel` is the channel of the memory that holds their keys and values (None: not chosen).
    """

    requests: int
    queries: int
    keys: int
    channel: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the sizes."""
        _require(requests=self.requests, queries=self.queries, keys=self.keys)
        if self.keys < self.queries:
            raise InputError(
                f"keys must be >= queries, got {self.keys} keys, {self.queries} queries"
            )
        if self.channel is not None and self.channel < 0:
            raise InputError(f"channel must be >= 0, got {self.channel}")

    @property
    def tokens(self) -> int:
        """New tokens of all requests of the group."""
        return self.requests * self.queries


def _valid_scores(queries: int, keys: int, causal: bool, window: int | None) -> int:
    """Return sum over queries i of min(keys - queries + i + 1, window), or queries x keys."""
    if not causal:
        return queries * keys
    first, last = keys - queries + 1, keys
    if window is None or window >= last:
        return queries * (first + last) // 2
    if window <= first:
        return queries * window
    growing = (first + window) * (window - first + 1) // 2
    return growing + (last - window) * window


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention of a batch: `heads` query heads share `kv_heads` key-value heads.

    `window`: each query sees at most this many keys, its own included (causal only). A causal query
    at position p sees keys 0..p. Errors: InputError where heads do not divide or `window` is < 1.
    """

    heads: int
    kv_heads: int
    head_dim: int
    groups: tuple[AttentionGroup, ...]
    causal: bool = True
    window: int | None = None

    def __post_init__(self) -> None:
        """Check sizes and cross-field rules."""
        _require(heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim)
        _require(groups=len(self.groups), window=1 if self.window is None else self.window)
        if self.heads % self.kv_heads:
            raise InputError(f"{self.heads} heads cannot share {self.kv_heads} kv_heads equally")
        if self.window is not None and not self.causal:
            raise InputError("a window is modelled for causal attention only")

    @property
    def channels(self) -> tuple[int | None, ...]:
        """The channel of each group's keys and values."""
        return tuple(group.channel for group in self.groups)

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head."""
        return self.heads // self.kv_heads

    @property
    def tokens(self) -> int:
        """New tokens of the batch."""
        return sum(group.tokens for group in self.groups)

    @property
    def score_rows(self) -> int:
        """Rows of softmax: one per head and new token."""
        return self.heads * self.tokens

    @cached_property
    def scores(self) -> int:
        """Scores that the mask leaves: heads x sum over requests and queries of the keys seen."""
        return self.heads * sum(
            g.requests * _valid_scores(g.queries, g.keys, self.causal, self.window)
            for g in self.groups
        )

    def keys_touched(self, group: AttentionGroup) -> int:
        """Return the keys that at least one query of a request of `group` sees."""
        if self.window is None:
            return group.keys
        return min(group.keys, group.queries + self.window - 1)

    @cached_property
    def cache_rows(self) -> int:
        """Rows of the key (and of the value) tensor that is read: kv_heads x keys touched."""
        return self.kv_heads * sum(g.requests * self.keys_touched(g) for g in self.groups)

    @cached_property
    def past_rows(self) -> int:
        """The part of `cache_rows` that was in the cache before this step."""
        return self.cache_rows - self.kv_heads * self.tokens

    @cached_property
    def longest(self) -> int:
        """Keys touched by the longest request."""
        return max(self.keys_touched(group) for group in self.groups)

    def gemms(self, kind: OpKind) -> tuple[Gemm, ...]:
        """Return QK or PV as GEMMs, one entry a group, one product a request and kv head.

        The query heads that share a key-value head are stacked along M. The products are whole
        rectangles: the mask is not applied. Errors: InputError for another kind.
        """
        found = []
        for group in self.groups:
            count, m = group.requests * self.kv_heads, group.queries * self.group_size
            match kind:
                case OpKind.QK:
                    found.append(Gemm(count, m, self.keys_touched(group), self.head_dim))
                case OpKind.PV:
                    found.append(Gemm(count, m, self.head_dim, self.keys_touched(group)))
                case _:
                    raise InputError(f"attention has GEMMs in qk and pv, not in {kind}")
        return tuple(found)


@dataclass(frozen=True)
class Op:
    """One operation; `inputs` and `outputs` are tensor names of the graph that holds it.

    `vector_work` is pairs (function, element operations). `rows_read` is the number of rows that
    are gathered from each TABLE input, `rows_written` that of rows written into each KV output,
    `runs_written` the contiguous runs that these lie in. Data that moves between devices is an
    operation of each of them: `devices` sum up in an all_reduce; a send is here the arrival. A
    split gives parts of the rows of a tensor names of their own, a join is the reverse; neither
    moves anything.
    """

    name: str
    kind: OpKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    gemm: Gemm | None = None
    attention: Attention | None = None
    vector_work: VectorWork = ()
    note: str = ""
    rows_read: int | None = None
    rows_written: int | None = None
    runs_written: int | None = None
    devices: int | None = None

    @property
    def macs_useful(self) -> int:
        """Multiply-accumulates that the result needs; causal and windowed attention exactly."""
        if self.gemm is not None:
            return self.gemm.macs
        if self.attention is not None and self.kind in (OpKind.QK, OpKind.PV):
            return self.attention.scores * self.attention.head_dim
        return 0

    @property
    def vector_ops(self) -> int:
        """Element operations of all functions."""
        return sum(count for _, count in self.vector_work)
