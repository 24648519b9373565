"""Do the closed forms of a workload equal loops that count one operation at a time?"""

import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import formats
from simulator.config import replace
from simulator.workload import (
    Attention,
    AttentionGroup,
    Model,
    OpKind,
    Role,
    Tensor,
    VectorWork,
    Workload,
    decode_step,
    gemm,
    prefill,
    vector,
)

TINY = Model(
    name="tiny",
    summary="for loops",
    family="test",
    hidden=12,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=3,
    ffn=10,
    vocab=17,
    max_context=40,
    gated_ffn=True,
    activation="silu",
    norm="rmsnorm",
    position="rope",
    tie_embedding=False,
    source="made up",
)
VARIANTS = (
    TINY,
    replace(TINY, {"sliding_window": 3}),
    replace(TINY, {"sliding_window": 3, "window_layers": "alternate", "post_norms": True}),
    replace(TINY, {"sliding_window": 5, "first_window_layer": 2, "qkv_bias": True}),
    replace(TINY, {"gated_ffn": False, "norm": "layernorm", "position": "learned"}),
    replace(TINY, {"position": "alibi", "tie_embedding": True, "embedding_norm": True}),
    replace(TINY, {"sub_norms": True, "output_bias": True, "ffn_bias": True, "kv_heads": 4}),
)


def windows(model: Model) -> list[int | None]:
    """The window of each layer, written out."""
    found: list[int | None] = []
    for layer in range(model.layers):
        window = model.sliding_window
        if model.window_layers == "alternate" and layer % 2:
            window = None
        found.append(None if layer < model.first_window_layer else window)
    return found


def seen(position: int, window: int | None) -> range:
    """The keys that the token at `position` attends to."""
    return range(0 if window is None else max(0, position - window + 1), position + 1)


def looped_macs(model: Model, requests: list[tuple[int, int]], logit_rows: int) -> int:
    """MACs of (queries, keys) requests, counted request by request and key by key."""
    m, total = model, 0
    per_token = m.hidden * m.heads * m.head_dim * 2 + m.hidden * m.kv_heads * m.head_dim * 2
    per_token += m.hidden * m.ffn * (3 if m.gated_ffn else 2)
    for window in windows(model):
        for queries, keys in requests:
            for position in range(keys - queries, keys):
                total += per_token
                for _key in seen(position, window):
                    total += 2 * m.heads * m.head_dim
    return total + logit_rows * m.hidden * m.vocab


@pytest.mark.parametrize("model", VARIANTS)
@pytest.mark.parametrize("last", [True, False])
def test_prefill_macs_equal_loops(model: Model, last: bool) -> None:
    """Linear layers, causal attention with grouped heads and windows, and the LM head."""
    workload = prefill(model, batch=2, sequence=7, last_token_logits=last)
    assert workload.macs_useful == looped_macs(model, [(7, 7)] * 2, 2 if last else 14)


@pytest.mark.parametrize("model", VARIANTS)
def test_ragged_decode_macs_equal_loops(model: Model) -> None:
    """Each request of a ragged batch pays for its own context."""
    contexts = [1, 9, 4, 9, 30]
    workload = decode_step(model, context=contexts)
    assert workload.macs_useful == looped_macs(model, [(1, keys) for keys in contexts], 5)


@pytest.mark.parametrize("model", VARIANTS)
def test_ragged_prefill_macs_equal_loops(model: Model) -> None:
    """Prompts of different lengths in one batch."""
    workload = prefill(model, sequence=[3, 8, 8])
    assert workload.macs_useful == looped_macs(model, [(3, 3), (8, 8), (8, 8)], 3)


def test_full_attention_counts_the_rectangle() -> None:
    """Without a mask every token sees the whole prompt."""
    causal = prefill(TINY, sequence=6).macs_useful
    full = prefill(TINY, sequence=6, causal=False).macs_useful
    masked_pairs = 6 * 5 // 2
    assert full - causal == TINY.layers * masked_pairs * 2 * TINY.heads * TINY.head_dim


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    """Any small attention, causal, windowed or full, ragged or not."""
    groups = []
    for _ in range(draw(st.integers(1, 3))):
        queries = draw(st.integers(1, 9))
        keys = queries + draw(st.integers(0, 9))
        groups.append(AttentionGroup(draw(st.integers(1, 3)), queries, keys))
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    causal = draw(st.booleans())
    window = draw(st.none() | st.integers(1, 20)) if causal else None
    return Attention(heads, kv_heads, 5, tuple(groups), causal, window)


@given(attentions())
@settings(max_examples=200, deadline=None)
def test_attention_counts_equal_loops(attention: Attention) -> None:
    """Scores, score rows, keys touched, keys that were there before."""
    scores = rows = touched_rows = past = 0
    for group in attention.groups:
        for _request in range(group.requests):
            touched: set[int] = set()
            for position in range(group.keys - group.queries, group.keys):
                keys = seen(position, attention.window)
                keys = keys if attention.causal else range(group.keys)
                touched |= set(keys)
                scores += attention.heads * len(keys)
                rows += attention.heads
            new = {key for key in touched if key >= group.keys - group.queries}
            touched_rows += attention.kv_heads * len(touched)
            past += attention.kv_heads * len(touched - new)
    assert attention.scores == scores
    assert attention.score_rows == rows
    assert attention.cache_rows == touched_rows
    assert attention.past_rows == past


@given(attentions())
@settings(max_examples=50, deadline=None)
def test_attention_gemms_cover_the_rectangles(attention: Attention) -> None:
    """The products of qk and pv issue each unmasked score once, in heads that share keys."""
    for kind in (OpKind.QK, OpKind.PV):
        macs = sum(gemm.macs for gemm in attention.gemms(kind))
        rows = [(g.tokens, attention.keys_touched(g)) for g in attention.groups]
        assert macs == attention.heads * attention.head_dim * sum(n * keys for n, keys in rows)
        assert macs >= attention.scores * attention.head_dim


class Meter:
    """Carries out scalar operations and counts them by function."""

    def __init__(self) -> None:
        """Start at zero."""
        self.counts: Counter[str] = Counter()

    def __call__(self, function: str, *values: float) -> float:
        """Do one operation."""
        self.counts[function] += 1
        match function:
            case "add":
                return values[0] + values[1]
            case "mul":
                return values[0] * values[1]
            case "div":
                return values[0] / values[1]
            case "max":
                return max(values)
            case "exp":
                return math.exp(values[0])
            case "tanh":
                return math.tanh(values[0])
            case "rsqrt":
                return 1 / math.sqrt(values[0])
            case _:
                return values[0]

    def total(self, values: list[float]) -> float:
        """Sum with one addition a value."""
        result = 0.0
        for value in values:
            result = self("add", result, value)
        return result

    @property
    def work(self) -> VectorWork:
        """The counts as a workload has them."""
        return vector.work(**self.counts)


ROWS = [[0.5, -1.0, 2.0, 0.25], [1.5, 1.0, -3.0, 0.75]]


def test_rms_norm_formula() -> None:
    """Square, sum, mean, epsilon, reciprocal root, scale, gain."""
    meter = Meter()
    for row in ROWS:
        mean = meter("mul", meter.total([meter("mul", x, x) for x in row]), 1 / len(row))
        scale = meter("rsqrt", meter("add", mean, 1e-6))
        out = [meter("mul", meter("mul", x, scale), 1.0) for x in row]
        assert sum(x * x for x in out) == pytest.approx(len(row), rel=1e-5)
    assert vector.rms_norm(2, 4) == meter.work


def test_layer_norm_formula() -> None:
    """Mean, centre, variance, epsilon, reciprocal root, scale, gain, bias."""
    meter = Meter()
    for row in ROWS:
        mean = meter("mul", meter.total(row), 1 / len(row))
        centred = [meter("add", x, -mean) for x in row]
        squares = [meter("mul", x, x) for x in centred]
        variance = meter("mul", meter.total(squares), 1 / len(row))
        scale = meter("rsqrt", meter("add", variance, 1e-5))
        out = [meter("add", meter("mul", meter("mul", x, scale), 1.0), 0.0) for x in centred]
        assert sum(out) == pytest.approx(0.0, abs=1e-9)
    assert vector.layer_norm(2, 4) == meter.work


def metered_softmax(meter: Meter, row: list[float], alibi: bool, softcap: bool) -> list[float]:
    """Softmax of one row, with the options of BLOOM and Gemma 2."""
    if softcap:
        row = [meter("mul", 50.0, meter("tanh", meter("mul", x, 1 / 50))) for x in row]
    if alibi:
        row = [meter("add", x, -0.5 * place) for place, x in enumerate(row)]
    highest = -math.inf
    for x in row:
        highest = meter("max", highest, x)
    powers = [meter("exp", meter("add", x, -highest)) for x in row]
    scale = meter("div", 1.0, meter.total(powers))
    return [meter("mul", power, scale) for power in powers]


@pytest.mark.parametrize("alibi", [True, False])
@pytest.mark.parametrize("softcap", [True, False])
def test_softmax_formula(alibi: bool, softcap: bool) -> None:
    """Ragged rows, as a causal mask leaves them."""
    meter, rows = Meter(), [[1.0], [0.5, 2.0], [3.0, 1.0, 0.0]]
    for row in rows:
        assert sum(metered_softmax(meter, row, alibi, softcap)) == pytest.approx(1.0)
    assert vector.softmax(6, 3, alibi=alibi, softcap=softcap) == meter.work


def silu(meter: Meter, x: float) -> float:
    """X / (1 + exp(-x))."""
    return meter("div", x, meter("add", 1.0, meter("exp", -x)))


def gelu(meter: Meter, x: float) -> float:
    """x/2 (1 + erf(x / sqrt 2)), with tanh in the place of erf."""
    inner = meter("add", 1.0, meter("tanh", meter("mul", x, math.sqrt(0.5))))
    return meter("mul", meter("mul", 0.5, x), inner)


def gelu_tanh(meter: Meter, x: float) -> float:
    """x/2 (1 + tanh(x (c + d x^2)))."""
    c, d = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
    polynomial = meter("add", c, meter("mul", d, meter("mul", x, x)))
    inner = meter("add", 1.0, meter("tanh", meter("mul", x, polynomial)))
    return meter("mul", meter("mul", 0.5, x), inner)


def relu(meter: Meter, x: float) -> float:
    """max(x, 0)."""
    return meter("max", x, 0.0)


@pytest.mark.parametrize("function", [silu, gelu, gelu_tanh, relu])
@pytest.mark.parametrize("gated", [True, False])
def test_activation_formula(function: Callable[[Meter, float], float], gated: bool) -> None:
    """Each activation of `Model`, alone and as a gate."""
    meter = Meter()
    for x in ROWS[0]:
        y = function(meter, x)
        if gated:
            meter("mul", y, 2.0)
    assert vector.activation(function.__name__, len(ROWS[0]), gated=gated) == meter.work


def test_rope_formula() -> None:
    """Pairs are turned; the part of a head beyond rotary_dim is left alone."""
    meter, tokens, heads, rotary_dim = Meter(), 2, 3, 4
    for _pair in range(tokens * heads * rotary_dim // 2):
        a, b, cosine, sine = 1.0, 2.0, 0.6, 0.8
        x = meter("add", meter("mul", a, cosine), -meter("mul", b, sine))
        y = meter("add", meter("mul", b, cosine), meter("mul", a, sine))
        assert x * x + y * y == pytest.approx(5.0)
    assert vector.rope(tokens, heads, rotary_dim) == meter.work


def work_of(workload: Workload, name: str) -> dict[str, int]:
    """The vector work of the operation called `name`, one run of it."""
    found = [op for _, op in workload.ops() if op.name == name]
    assert len(found) == 1
    return dict(found[0].vector_work)


def test_softmax_of_a_causal_prefill_counts_unmasked_scores() -> None:
    """Two requests of five tokens: 15 scores a head and request."""
    work = work_of(prefill(TINY, batch=2, sequence=5), "softmax")
    assert work["exp"] == 2 * TINY.heads * 15
    assert work["div"] == 2 * TINY.heads * 5


def test_kv_append_converts_and_finds_scales() -> None:
    """fp16 to int8 with a scale a token and head: a range, a reciprocal and a product."""
    work = work_of(decode_step(TINY, batch=3, context=8, kv="int8-token"), "kv_append")
    values, vectors = 2 * 3 * TINY.kv_heads * TINY.head_dim, 2 * 3 * TINY.kv_heads
    assert work == {"convert": values, "max": values, "mul": values, "div": vectors}
    assert work_of(decode_step(TINY, context=8, kv="int8"), "kv_append").keys() == {"convert"}
    assert work_of(decode_step(TINY, context=8), "kv_append").keys() == {"copy"}


def test_biases_embedding_and_residuals_add_once_an_element() -> None:
    """T H additions for a residual, M N for a bias, T H copies for an embedding."""
    model = replace(TINY, {"qkv_bias": True, "position": "learned", "embedding_scale": True})
    workload = decode_step(model, batch=5, context=4)
    assert work_of(workload, "residual_ffn") == {"add": 5 * 12}
    assert work_of(workload, "k_proj") == {"add": 5 * 2 * 3}
    assert work_of(workload, "embedding") == {"copy": 60, "add": 60, "mul": 60}


def test_soft_caps() -> None:
    """Gemma 2 caps scores and logits."""
    model = replace(TINY, {"attention_softcap": True, "logit_softcap": True})
    workload = decode_step(model, batch=2, context=4)
    assert work_of(workload, "softmax")["tanh"] == 2 * TINY.heads * 4
    assert work_of(workload, "logit_softcap") == {"mul": 2 * 2 * 17, "tanh": 2 * 17}


def looped_bits(rows: int, columns: int, value_bits: int, group: int, scale_bits: int) -> int:
    """Bits of a tensor, value by value and group by group."""
    total = 0
    for _row in range(rows):
        for column in range(columns):
            total += value_bits + (scale_bits if column % group == 0 else 0)
    return total


def test_weight_bytes_count_scales() -> None:
    """A grouped weight: the last group of a row is short and has its own scale."""
    workload = decode_step(TINY, context=4, weights="int4-g8", activations="int8")
    graph = workload.segments[1].graph
    expected = looped_bits(TINY.ffn, TINY.hidden, 4, 8, 16)
    assert graph.tensor("up_proj.weight").bits == expected
    read = -(-expected // 8) + graph.tensor("normed_ffn").bytes
    assert graph.bytes_read(graph.op("up_proj")) == read
    assert graph.bytes_written(graph.op("up_proj")) == TINY.ffn


def test_embedding_reads_gathered_rows_only() -> None:
    """Five tokens read five rows of each table."""
    model = replace(TINY, {"position": "learned"})
    graph = decode_step(model, batch=5, context=4).segments[0].graph
    assert graph.bytes_read(graph.op("embedding")) == 2 * 5 * TINY.hidden * 2
    assert graph.weight_bytes == (TINY.vocab + TINY.max_context) * TINY.hidden * 2


def looped_kv(model: Model, contexts: list[int]) -> tuple[int, int, int]:
    """(Values of past keys and values read, written, kept) by a decode step, layer by layer."""
    read = written = kept = 0
    width = 2 * model.kv_heads * model.head_dim
    for window in windows(model):
        for context in contexts:
            keys = seen(context - 1, window)
            read += width * (len(keys) - 1)
            written += width
            kept += width * len(keys)
    return read, written, kept


@pytest.mark.parametrize("model", VARIANTS)
def test_kv_traffic_and_capacity_equal_loops(model: Model) -> None:
    """A windowed layer reads and keeps min(keys, window) positions."""
    contexts = [2, 9, 9, 31]
    workload = decode_step(model, context=contexts, kv="int8")
    read, written, kept = looped_kv(model, contexts)
    assert workload.kv_bytes_read == read
    assert workload.kv_bytes_written == written
    assert workload.kv_bytes == kept


def test_windowed_prefill_reads_all_keys_and_keeps_the_window() -> None:
    """Early tokens need the early keys; later steps do not."""
    model = replace(TINY, {"sliding_window": 3})
    workload = prefill(model, sequence=8, kv="int8")
    graph = workload.segments[1].graph
    assert graph.tensor("k_cache").rows == 8 * TINY.kv_heads
    assert workload.kv_bytes_read == 0
    assert workload.kv_bytes == TINY.layers * 2 * 3 * TINY.kv_heads * TINY.head_dim


@pytest.mark.parametrize("model", VARIANTS)
def test_weights_of_the_graphs_are_the_parameters(model: Model) -> None:
    """In fp16 every parameter is two bytes, tied ones once; a step reads all but the tables."""
    workload = decode_step(model, context=4)
    assert workload.weight_bytes == 2 * model.parameters
    tables = model.vocab * (not model.tie_embedding) + model.position_rows
    gathered = 2 if model.position == "learned" else 1
    unread = (tables - gathered) * model.hidden
    assert workload.weight_bytes_read == 2 * (model.parameters - unread)


def test_compulsory_bytes_are_the_sum_of_their_parts() -> None:
    """Weights, past and new keys and values, and the logits; not the residual stream."""
    workload = decode_step(TINY, batch=2, context=8)
    kv = workload.kv_bytes_read + workload.kv_bytes_written
    assert workload.compulsory_bytes == workload.weight_bytes_read + kv + 2 * TINY.vocab * 2
    product = gemm(3, 5, 7, count=2, weights="int8", activations="int8")
    assert product.compulsory_bytes == 2 * (3 * 7 + 5 * 7 + 3 * 5)
    assert product.macs_useful == 2 * 3 * 5 * 7


def test_ragged_scores_tensor_counts_valid_elements() -> None:
    """Contexts 2 and 5: seven scores a head, in rows of up to five."""
    graph = decode_step(TINY, context=[2, 5], activations="int8").segments[1].graph
    scores = graph.tensor("scores")
    assert (scores.rows, scores.columns, scores.elements) == (2 * 4, 5, 7 * 4)
    assert scores.bytes == 28
    scaled = Tensor("s", 8, 5, formats.get("int8-token"), Role.ACTIVATION, 28)
    assert scaled.bits == 28 * 8 + 8 * 16


def test_vector_totals_weigh_repeats() -> None:
    """The total is the sum over layers."""
    workload = decode_step(TINY, context=4)
    once = [sum(op.vector_ops for op in segment.graph.ops) for segment in workload.segments]
    assert workload.vector_ops == once[0] + TINY.layers * once[1] + once[2]
