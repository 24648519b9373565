"""Builds the workload of one prefill or one decode step of a decoder-only transformer.

Three kinds of graph: the embedding, a layer (equal layers are one segment that repeats), the head.
Left out: tensor parallelism (a mapping), sampling, dropout, chunked prefill.
"""

from collections.abc import Sequence
from typing import Any

from simulator.config import resolved
from simulator.errors import InputError
from simulator.formats import Format
from simulator.workload import vector
from simulator.workload.graph import HIDDEN, HIDDEN_OUT, Graph, Segment, Workload
from simulator.workload.layers import Block, Formats, formats_of
from simulator.workload.lengths import grouped_lengths
from simulator.workload.model import LayerRun, Model
from simulator.workload.ops import Attention, AttentionGroup, OpKind, Role


def _embedding_graph(model: Model, used: Formats, tokens: int) -> Graph:
    """Gather one row of each table a token; learned positions add, BLOOM normalises."""
    block = Block(model, used)
    b, h = block.graph, model.hidden
    tables = [b.held("embedding_table", model.vocab, h, used.embedding, Role.TABLE)]
    learned = model.position == "learned"
    if learned:
        tables.append(b.held("position_table", model.position_rows, h, used.embedding, Role.TABLE))
    work = vector.embedding(tokens, h, learned=learned, scaled=model.embedding_scale)
    out = b.activation("embedded" if model.embedding_norm else HIDDEN_OUT, tokens, h)
    b.op("embedding", OpKind.EMBEDDING, tables, (out,), work, rows_read=tokens)
    if model.embedding_norm:
        block.norm("norm_embedding", out, HIDDEN_OUT)
    return b.build((), (HIDDEN_OUT,))


def _layer_graph(
    model: Model, used: Formats, run: LayerRun, groups: tuple[AttentionGroup, ...], causal: bool
) -> Graph:
    """Build the layers of one run; with two, names start with 'local.' and 'global.'."""
    block = Block(model, used)
    tokens = sum(group.tokens for group in groups)
    x = block.graph.external(HIDDEN, tokens, model.hidden)
    longest = max(group.keys for group in groups)
    for place, window in enumerate(run.windows):
        last = place == len(run.windows) - 1
        out = block.graph.external(HIDDEN_OUT if last else "hidden_between", tokens, model.hidden)
        if len(run.windows) > 1:
            block.graph.prefix = "global." if window is None else "local."
        seen = window if window is not None and window < longest else None
        shape = (model.heads, model.kv_heads, model.head_dim, groups, causal, seen)
        x = block.layer(x, out, Attention(*shape))
    return block.graph.build((HIDDEN,), (HIDDEN_OUT,))


def _head_graph(model: Model, used: Formats, tokens: int) -> Graph:
    """Final norm and LM head over `tokens` rows of the residual stream."""
    block = Block(model, used)
    b = block.graph
    x = block.norm("norm_final", b.external(HIDDEN, tokens, model.hidden), "normed_final")
    name = "embedding_table" if model.tie_embedding else "lm_head.weight"
    weight = b.held(name, model.vocab, model.hidden, used.embedding, Role.WEIGHT)
    x = block.quantised(x, used.activations)
    y = b.linear("lm_head", x, weight, "logits_raw" if model.logit_softcap else "logits")
    if model.logit_softcap:
        out = b.activation("logits", tokens, model.vocab)
        work = vector.softcap(tokens * model.vocab)
        b.op("logit_softcap", OpKind.ACTIVATION, (y,), (out,), work)
    return b.build((HIDDEN,), ("logits",))


def _segments(
    model: Model,
    used: Formats,
    groups: tuple[AttentionGroup, ...],
    causal: bool,
    logit_rows: int,
) -> tuple[Segment, ...]:
    tokens = sum(group.tokens for group in groups)
    layers = [
        Segment(
            run.name, _layer_graph(model, used, run, groups, causal), run.repeat, run.first_index
        )
        for run in model.layer_runs
    ]
    embedding = Segment("embedding", _embedding_graph(model, used, tokens))
    return (embedding, *layers, Segment("head", _head_graph(model, used, logit_rows)))


def _weight_bytes(model: Model, segments: Sequence[Segment]) -> int:
    """Sum all weights and tables; a tied table stands in two graphs and counts once."""
    total = sum(segment.repeat * segment.graph.weight_bytes for segment in segments)
    if model.tie_embedding:
        total -= segments[-1].graph.tensor("embedding_table").bytes
    return total


def _kv_bytes(model: Model, used: Formats, groups: Sequence[AttentionGroup]) -> int:
    """Sum what the caches keep after the step: min(keys, window) positions in each layer."""
    total = 0
    for run in model.layer_runs:
        for window in run.windows:
            kept = sum(g.requests * min(g.keys, window or g.keys) for g in groups)
            bits = used.kv.bits(kept * model.kv_heads, model.head_dim)
            total += run.repeat * 2 * -(-bits // 8)
    return total


def _workload(
    model: Model,
    used: Formats,
    groups: tuple[AttentionGroup, ...],
    settings: dict[str, Any],
    *,
    causal: bool,
    logit_rows: int,
) -> Workload:
    """Assemble; `settings` are the phase, the batch and the lengths as provenance has them."""
    segments = _segments(model, used, groups, causal, logit_rows)
    words = [f"{key}={value}" for key, value in settings.items() if key != "phase"]
    return Workload(
        name=" ".join([model.name, settings["phase"], *words, used.short]),
        model=model.name,
        phase=settings["phase"],
        segments=segments,
        batch=settings["batch"],
        tokens=sum(group.tokens for group in groups),
        formats=used.names,
        weight_bytes=_weight_bytes(model, segments),
        kv_bytes=_kv_bytes(model, used, groups),
        resolved={
            **settings,
            "requests": [[group.requests, group.queries, group.keys] for group in groups],
            "formats": used.names,
            "model": resolved(model),
        },
        warnings=_warnings(model, used),
    )


def _warnings(model: Model, used: Formats) -> tuple[str, ...]:
    """Say where the weights of a quantised checkpoint are counted as plain floats."""
    if model.quantised is None or used.weights.kind != "float":
        return ()
    return (
        f"the checkpoint of {model.name} is quantised ({model.quantised}); its weights count as "
        f"{used.weights.name} here: give their format",
    )


def prefill(
    model: Model,
    *,
    sequence: int | Sequence[int],
    batch: int | None = None,
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
    kv: str | Format = "fp16",
    embedding: str | Format | None = None,
    last_token_logits: bool = True,
    causal: bool = True,
) -> Workload:
    """Return the workload that processes `batch` prompts of `sequence` tokens in one pass.

    `sequence` may be a list with one length a prompt. `embedding` is the format of the embedding
    tables and the LM head (absent: as `weights`). The LM head sees the last token of each prompt,
    or with `last_token_logits=False` all. `causal=False` lets every token see the whole prompt.
    Errors: InputError for sizes below one, a sequence beyond the model's limit, unknown formats,
    and for `causal=False` with a sliding window.
    """
    lengths = grouped_lengths(model.name, model.max_context, "sequence", sequence, batch)
    if not causal and model.sliding_window is not None:
        raise InputError(f"{model.name} has a sliding window, which needs causal attention")
    groups = tuple(AttentionGroup(count, length, length) for length, count in lengths)
    settings = _settings("prefill", "sequence", groups)
    rows = sum(group.requests if last_token_logits else group.tokens for group in groups)
    used = formats_of(weights, activations, kv, embedding)
    return _workload(model, used, groups, settings, causal=causal, logit_rows=rows)


def decode_step(
    model: Model,
    *,
    context: int | Sequence[int],
    batch: int | None = None,
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
    kv: str | Format = "fp16",
    embedding: str | Format | None = None,
) -> Workload:
    """Return the workload that makes one token for each of `batch` requests.

    `context` counts the keys that the token attends to, its own included; a list gives one context
    a request (a ragged batch; equal contexts are grouped, their order does not matter). `embedding`
    as in `prefill`.
    Errors: InputError for sizes below one, a context beyond the model's limit, unknown formats.
    """
    lengths = grouped_lengths(model.name, model.max_context, "context", context, batch)
    groups = tuple(AttentionGroup(count, 1, length) for length, count in lengths)
    settings = _settings("decode", "context", groups)
    used = formats_of(weights, activations, kv, embedding)
    return _workload(model, used, groups, settings, causal=True, logit_rows=settings["batch"])


def _settings(phase: str, length: str, groups: Sequence[AttentionGroup]) -> dict[str, Any]:
    """Return phase, batch and the common length (or shortest..longest) as provenance has them."""
    shortest, longest = groups[0].keys, groups[-1].keys
    span = shortest if shortest == longest else f"{shortest}..{longest}"
    return {"phase": phase, "batch": sum(group.requests for group in groups), length: span}
