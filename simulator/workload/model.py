"""The hyper-parameters of a decoder-only transformer, and what follows from them alone.

Models by name stand in `workloads/models`, one file each with its source. Left out: mixture of
experts, encoder-decoder models, latent attention, positions other than those of `position`.
"""

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from simulator.config import Part
from simulator.workload.families import filled_in

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class LayerRun(NamedTuple):
    """`repeat` equal runs of consecutive layers, one window (or None) for each layer of a run."""

    name: str
    windows: tuple[int | None, ...]
    repeat: int
    first_index: int


class Model(Part):
    """One decoder-only transformer: an embedding, `layers` equal layers, a norm and an LM head.

    `max_context` is the most positions that a request may have. `position_offset` is the number of
    rows that a learned position table has beyond it (OPT: 2); `rotary_dim` the part of each head
    that rotary positions turn (absent: all). `sliding_window` is the number of keys that a token
    sees, itself included, in layers `first_window_layer` and up, or in every second layer from the
    first (`window_layers: alternate`). `post_norms` normalise the outputs of attention and FFN too
    (Gemma 2), `sub_norms` the inputs of their output projections (BitNet b1.58). Soft caps are
    c tanh(x / c) on attention scores and on logits. `quantised` says how the checkpoint stores its
    weights, where that is no plain float; the formats of a workload are its own. What a known
    `family` has in all its models need not be given (`families`).
    """

    name: str
    summary: str
    family: str
    hidden: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    ffn: PositiveInt
    vocab: PositiveInt
    max_context: PositiveInt
    gated_ffn: bool
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"]
    norm: Literal["rmsnorm", "layernorm"]
    position: Literal["rope", "alibi", "learned"]
    tie_embedding: bool
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    position_offset: NonNegativeInt = 0
    rotary_dim: PositiveInt | None = None
    sliding_window: PositiveInt | None = None
    window_layers: Literal["all", "alternate"] = "all"
    first_window_layer: NonNegativeInt = 0
    post_norms: bool = False
    sub_norms: bool = False
    embedding_norm: bool = False
    embedding_scale: bool = False
    attention_softcap: bool = False
    logit_softcap: bool = False
    quantised: str | None = None
    source: str

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_family(cls, data: Any) -> Any:
        """Fill in what the family has in all its models, where it is not given."""
        return filled_in(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _check_heads_and_windows(self) -> Self:
        """Check the rules that tie fields to each other."""
        problems = []
        if self.heads % self.kv_heads:
            problems.append(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        if self.rotary_dim is not None and self.rotary_dim > self.head_dim:
            problems.append(f"rotary_dim ({self.rotary_dim}) is beyond head_dim ({self.head_dim})")
        if self.window_layers == "alternate" and self.first_window_layer:
            problems.append("first_window_layer cannot be combined with alternate window_layers")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def query_width(self) -> int:
        """Elements of one token's queries: heads x head_dim."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of one token's keys (and of its values) in a layer: kv_heads x head_dim."""
        return self.kv_heads * self.head_dim

    @property
    def position_rows(self) -> int:
        """Rows of the learned position table, 0 without one."""
        return self.max_context + self.position_offset if self.position == "learned" else 0

    def _norm_parameters(self, width: int) -> int:
        return width if self.norm == "rmsnorm" else 2 * width

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: projections, biases and norms."""
        h, q, kv, f = self.hidden, self.query_width, self.kv_width, self.ffn
        branches = 2 if self.gated_ffn else 1
        attention = h * q + 2 * h * kv + q * h
        attention += self.qkv_bias * (q + 2 * kv) + self.output_bias * h
        ffn = (branches + 1) * h * f + self.ffn_bias * (branches * f + h)
        norms = (4 if self.post_norms else 2) * self._norm_parameters(h)
        norms += self.sub_norms * (self._norm_parameters(q) + self._norm_parameters(f))
        return attention + ffn + norms

    @property
    def parameters(self) -> int:
        """All parameters: tables, biases and norms included, a tied table once."""
        tables = self.vocab * (1 if self.tie_embedding else 2) + self.position_rows
        norms = self._norm_parameters(self.hidden) * (2 if self.embedding_norm else 1)
        return tables * self.hidden + norms + self.layers * self.layer_parameters

    @property
    def layer_runs(self) -> tuple[LayerRun, ...]:
        """The layers as runs of equal ones, in order."""
        return self.runs_from(0)

    def runs_from(self, first: int) -> tuple[LayerRun, ...]:
        """Return the layers `first` and up as runs of equal ones, in order."""
        window, count = self.sliding_window, self.layers - first
        start = max(self.first_window_layer - first, 0)
        if window is None or start >= count:
            return (LayerRun("layer", (None,), count, first),)
        if self.window_layers == "all":
            full = (LayerRun("layer_full", (None,), start, first),) if start else ()
            name = "layer_window" if start else "layer"
            return (*full, LayerRun(name, (window,), count - start, first + start))
        pairs, odd = divmod(count, 2)
        pair = (None, window) if first % 2 else (window, None)
        runs = (LayerRun("layer_pair", pair, pairs, first),) if pairs else ()
        return (*runs, LayerRun("layer_last", pair[:1], 1, self.layers - 1)) if odd else runs
