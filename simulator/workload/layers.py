"""The parts of a transformer layer, added to a graph one after the other.

Pre-norm attention and FFN as published (Touvron et al. 2023 for Llama; Radford et al. 2019 for
GPT-2), with the further norms of Gemma 2 (Riviere et al. 2024) and BitNet b1.58 (Ma et al. 2024).
1/sqrt(head_dim) is folded into the query weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator import formats
from simulator.formats import Format
from simulator.workload import vector
from simulator.workload.builder import GraphBuilder
from simulator.workload.model import Model
from simulator.workload.ops import Attention, OpKind, Role


@dataclass(frozen=True)
class Formats:
    """The formats of one workload; norm gains and biases are `vectors`."""

    weights: Format
    activations: Format
    kv: Format
    embedding: Format
    vectors: Format

    @property
    def dynamic(self) -> bool:
        """Whether activations have scales that are chosen as they are made, in rows or groups.

        One scale of a tensor is known before (calibrated): values are made in that format.
        """
        return self.activations.granularity not in ("none", "tensor")

    @property
    def carrier(self) -> Format:
        """The format of activations that no product reads: FP16 where products quantise theirs."""
        return formats.get("fp16") if self.dynamic else self.activations

    @property
    def attention(self) -> Format:
        """The format of queries and probabilities: quantised if keys and values are."""
        floats = self.kv.kind == "float" and self.kv.granularity == "none"
        return self.carrier if floats else self.activations

    @property
    def names(self) -> dict[str, str]:
        """Names by use, as a result records them."""
        used = ("weights", "activations", "kv", "embedding")
        return {use: getattr(self, use).name for use in used}

    @property
    def short(self) -> str:
        """One word for a workload's name."""
        return f"w={self.weights.name} a={self.activations.name} kv={self.kv.name}"


def formats_of(
    weights: str | Format,
    activations: str | Format,
    kv: str | Format,
    embedding: str | Format | None,
) -> Formats:
    """Return the formats by name or object; `embedding` absent is the weight format.

    Gains and biases stay in the weight format where that is a plain float, else in fp16.
    Errors: InputError for an unknown name.
    """
    used = {
        "weights": weights,
        "activations": activations,
        "kv": kv,
        "embedding": weights if embedding is None else embedding,
    }
    w, a, c, e = (formats.format_of(name, given) for name, given in used.items())
    plain_float = w.kind == "float" and w.granularity == "none"
    return Formats(w, a, c, e, w if plain_float else formats.get("fp16"))


class Block:
    """Adds the parts of a transformer layer to a graph; each method returns its output tensor."""

    def __init__(self, model: Model, used: Formats, devices: int = 1) -> None:
        """Start an empty graph; `model` is what one of `devices` holds of each layer."""
        self.model = model
        self.formats = used
        self.devices = devices
        self.graph = GraphBuilder(used.carrier)

    def norm(self, name: str, x: str, out: str) -> str:
        """Add a norm over the columns of `x`; its gain (and bias) are vectors."""
        b, tokens, width = self.graph, self.graph.rows(x), self.graph.columns(x)
        plain = self.model.norm == "rmsnorm"
        names = ("gain",) if plain else ("gain", "bias")
        vectors = [
            b.held(f"{name}.{kind}", 1, width, self.formats.vectors, Role.WEIGHT) for kind in names
        ]
        work = (vector.rms_norm if plain else vector.layer_norm)(tokens, width)
        y = b.activation(out, tokens, width)
        return b.op(name, OpKind.NORM, (x, *vectors), (y,), work)

    def quantised(self, x: str, form: Format) -> str:
        """Add the quantisation of an activation where products read another format; once each.

        A scale is that of a whole row or group: no product can start before its maximum is known.
        """
        b = self.graph
        if form == b.activations:
            return x
        short = x.removeprefix(b.prefix)
        name = f"{short}_quantised"
        if b.has(b.prefix + name):
            return b.prefix + name
        rows, columns = b.rows(x), b.columns(x)
        work = vector.quantise(rows * columns, rows, columns, form)
        y = b.activation(name, rows, columns, form=form)
        return b.op(f"quantise_{short}", OpKind.QUANTISE, (x,), (y,), work)

    def reduced(self, name: str, x: str, out: str) -> str:
        """Add the sum over all devices of their parts `x`; one device alone has the sum."""
        if self.devices == 1:
            return x
        b = self.graph
        y = b.activation(out, b.rows(x), b.columns(x))
        work = vector.all_reduce(b.rows(x) * b.columns(x), self.devices)
        return b.op(name, OpKind.ALL_REDUCE, (x,), (y,), work, devices=self.devices)

    def linear(self, name: str, x: str, features: int, out: str, *, bias: bool) -> str:
        """Add a linear layer whose weight (features, columns of x) is in the weight format."""
        b, form = self.graph, self.formats
        x = self.quantised(x, form.activations)
        weight = b.held(f"{name}.weight", features, b.columns(x), form.weights, Role.WEIGHT)
        vector_name = None
        if bias:
            vector_name = b.held(f"{name}.bias", 1, features, form.vectors, Role.WEIGHT)
        return b.linear(name, x, weight, out, vector_name)

    def projections(self, x: str) -> tuple[str, str, str]:
        """Add the query, key and value projections, with rotary positions where the model has."""
        m, b = self.model, self.graph
        q = self.linear("q_proj", x, m.query_width, "q", bias=m.qkv_bias)
        k = self.linear("k_proj", x, m.kv_width, "k", bias=m.qkv_bias)
        v = self.linear("v_proj", x, m.kv_width, "v", bias=m.qkv_bias)
        if m.position == "rope":
            tokens = b.rows(x)
            turned = (
                b.activation("q_rope", tokens, m.query_width),
                b.activation("k_rope", tokens, m.kv_width),
            )
            work = vector.rope(tokens, m.heads + m.kv_heads, m.rotary_dim or m.head_dim)
            b.op("rope", OpKind.ROPE, (q, k), turned, work)
            q, k = turned
        return q, k, v

    def split(self, x: str, parts: Mapping[str, Attention]) -> list[str]:
        """Name the rows of `x` that each part attends with; one part alone has all of them."""
        if len(parts) == 1:
            return [x]
        b = self.graph
        short, form = x.removeprefix(b.prefix), b.format(x)
        columns = b.columns(x)
        made = [
            b.activation(short + end, each.tokens, columns, form=form)
            for end, each in parts.items()
        ]
        b.op(f"split_{short}", OpKind.SPLIT, (x,), made)
        return made

    def joined(self, parts: Sequence[str], name: str) -> str:
        """Name rows that parts have made as one tensor."""
        if len(parts) == 1:
            return parts[0]
        b = self.graph
        whole = b.activation(name, sum(map(b.rows, parts)), b.columns(parts[0]))
        return b.op(f"join_{name}", OpKind.JOIN, parts, (whole,))

    def append(self, k: str, v: str, attention: Attention, end: str) -> tuple[str, str]:
        """Add the write of new keys and values; the caches hold what the attention reads."""
        m, b, kv = self.model, self.graph, self.formats.kv
        shape = (attention.cache_rows, m.head_dim, kv, Role.KV)
        caches = b.held(f"k_cache{end}", *shape), b.held(f"v_cache{end}", *shape)
        new_rows = attention.tokens * m.kv_heads
        values = 2 * new_rows * m.head_dim
        work = vector.kv_append(values, 2 * new_rows, m.head_dim, self.formats.carrier, kv)
        # A cache holds the rows of one request and head one after the other.
        runs = m.kv_heads * sum(group.requests for group in attention.groups)
        b.op(
            f"kv_append{end}",
            OpKind.KV_APPEND,
            (k, v),
            caches,
            work,
            rows_written=new_rows,
            runs_written=runs,
        )
        return caches

    def attended(self, q: str, caches: tuple[str, str], a: Attention, end: str) -> str:
        """Add scores, softmax and outputs of one attention; names end in `end`."""
        m, b, form = self.model, self.graph, self.formats.attention
        shape = (a.score_rows, a.longest, a.scores)
        scores = b.activation(f"scores{end}", *shape)
        weights = b.activation(f"probabilities{end}", *shape, form=form)
        b.op(f"qk{end}", OpKind.QK, (q, caches[0]), (scores,), attention=a)
        alibi = m.position == "alibi"
        work = vector.softmax(
            a.scores,
            a.score_rows,
            alibi=alibi,
            softcap=m.attention_softcap,
            # Their scale is known: the largest of a row is exp(0).
            converted=form != b.activations,
        )
        b.op(f"softmax{end}", OpKind.SOFTMAX, (scores,), (weights,), work, attention=a)
        y = b.activation(f"attended{end}", a.tokens, m.query_width)
        return b.op(f"pv{end}", OpKind.PV, (weights, caches[1]), (y,), attention=a)

    def attention(self, x: str, parts: Mapping[str, Attention]) -> str:
        """Add norm, projections, attention and output projection.

        parts: attentions of some requests each, in the order of their tokens, by what the names of
        their operations end in.
        """
        m = self.model
        q, k, v = self.projections(self.norm("norm_attention", x, "normed_attention"))
        keys, values = self.split(k, parts), self.split(v, parts)
        caches = [
            self.append(keys[place], values[place], each, end)
            for place, (end, each) in enumerate(parts.items())
        ]
        queries = self.split(self.quantised(q, self.formats.attention), parts)
        made = [
            self.attended(queries[place], caches[place], each, end)
            for place, (end, each) in enumerate(parts.items())
        ]
        y = self.joined(made, "attended")
        if m.sub_norms:
            y = self.norm("norm_attention_sub", y, "attended_normed")
        y = self.linear("o_proj", y, m.hidden, "attention_out", bias=m.output_bias)
        y = self.reduced("all_reduce_attention", y, "attention_sum")
        return self.norm("norm_attention_post", y, "attention_normed") if m.post_norms else y

    def ffn(self, x: str) -> str:
        """Add norm, gated or plain FFN and its output projection."""
        m, b = self.model, self.graph
        y = self.norm("norm_ffn", x, "normed_ffn")
        names = ("gate", "up") if m.gated_ffn else ("up",)
        branches = [self.linear(f"{n}_proj", y, m.ffn, n, bias=m.ffn_bias) for n in names]
        tokens = b.rows(x)
        active = b.activation("active", tokens, m.ffn)
        work = vector.activation(m.activation, tokens * m.ffn, gated=m.gated_ffn)
        y = b.op("activation", OpKind.ACTIVATION, branches, (active,), work)
        if m.sub_norms:
            y = self.norm("norm_ffn_sub", y, "active_normed")
        y = self.linear("down_proj", y, m.hidden, "ffn_out", bias=m.ffn_bias)
        y = self.reduced("all_reduce_ffn", y, "ffn_sum")
        return self.norm("norm_ffn_post", y, "ffn_normed") if m.post_norms else y

    def add(self, name: str, x: str, y: str, out: str) -> str:
        """Add the residual sum into the tensor `out`."""
        work = vector.add(self.graph.rows(x) * self.model.hidden)
        return self.graph.op(name, OpKind.ADD, (x, y), (out,), work)

    def layer(self, x: str, out: str, parts: Mapping[str, Attention]) -> str:
        """Add one layer that reads `x` and makes `out`; parts as in `attention`."""
        b = self.graph
        middle = b.activation("hidden_middle", b.rows(x), self.model.hidden)
        x = self.add("residual_attention", x, self.attention(x, parts), middle)
        return self.add("residual_ffn", x, self.ffn(x), out)
