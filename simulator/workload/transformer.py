"""Builds the workload of one prefill, decode step or both of a decoder-only transformer.

Three kinds of graph: the embedding, a layer (equal layers are one segment that repeats), the head.
Of several devices the workload is that of one, with the sums over all as operations (`parallel`).
Left out: sampling, dropout, chunked prefill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from simulator.config import resolved
from simulator.errors import InputError
from simulator.formats import Format
from simulator.workload import vector
from simulator.workload.graph import HIDDEN, HIDDEN_OUT, Graph, Request, Segment, Workload
from simulator.workload.layers import Block, Formats, formats_of
from simulator.workload.lengths import grouped_requests
from simulator.workload.model import LayerRun, Model
from simulator.workload.ops import Attention, AttentionGroup, OpKind, Role
from simulator.workload.parallel import Share, share

#: Groups of requests whose attentions are operations of their own, by what names of these end in.
Parts: TypeAlias = Mapping[str, tuple[AttentionGroup, ...]]
#: Words of a workload's name for settings that are written short there.
_SHORT = {"tensor_parallel": "tp", "pipeline_parallel": "pp"}


def _embedding_graph(part: Share, used: Formats, tokens: int) -> Graph:
    """Gather one row of each table a token; learned positions add, BLOOM normalises.

    A device with a part of the vocabulary reads a row for every token and sets those of other
    parts to zero, as Megatron's does.
    """
    model = part.model
    block = Block(model, used, part.tensor_parallel)
    b, h = block.graph, model.hidden
    tables = [b.held("embedding_table", model.vocab, h, used.embedding, Role.TABLE)]
    learned = model.position == "learned"
    if learned:
        tables.append(b.held("position_table", model.position_rows, h, used.embedding, Role.TABLE))
    work = vector.embedding(tokens, h, learned=learned, scaled=model.embedding_scale)
    whole = "embedded" if model.embedding_norm else HIDDEN_OUT
    out = b.activation(whole if part.tensor_parallel == 1 else "embedded_part", tokens, h)
    b.op("embedding", OpKind.EMBEDDING, tables, (out,), work, rows_read=tokens)
    out = block.reduced("all_reduce_embedding", out, whole)
    if model.embedding_norm:
        block.norm("norm_embedding", out, HIDDEN_OUT)
    return b.build((), (HIDDEN_OUT,))


def _receive_graph(part: Share, used: Formats, tokens: int) -> Graph:
    """Take the residual stream from the stage before."""
    b = Block(part.model, used).graph
    x = b.external("received", tokens, part.model.hidden)
    b.op("receive", OpKind.SEND, (x,), (b.activation(HIDDEN_OUT, tokens, part.model.hidden),))
    return b.build((x,), (HIDDEN_OUT,))


def _layer_graph(part: Share, used: Formats, run: LayerRun, parts: Parts, causal: bool) -> Graph:
    """Build the layers of one run; with two, names start with 'local.' and 'global.'."""
    model = part.model
    block = Block(model, used, part.tensor_parallel)
    tokens = _tokens(parts)
    x = block.graph.external(HIDDEN, tokens, model.hidden)
    for place, window in enumerate(run.windows):
        last = place == len(run.windows) - 1
        out = block.graph.external(HIDDEN_OUT if last else "hidden_between", tokens, model.hidden)
        if len(run.windows) > 1:
            block.graph.prefix = "global." if window is None else "local."
        attentions = {
            end: _attention(model, groups, causal, window) for end, groups in parts.items()
        }
        x = block.layer(x, out, attentions)
    return block.graph.build((HIDDEN,), (HIDDEN_OUT,))


def _attention(
    model: Model, groups: tuple[AttentionGroup, ...], causal: bool, window: int | None
) -> Attention:
    """Return the attention of some requests; a window that none exceeds is none."""
    longest = max(group.keys for group in groups)
    seen = window if window is not None and window < longest else None
    return Attention(model.heads, model.kv_heads, model.head_dim, groups, causal, seen)


def _tokens(parts: Parts) -> int:
    return sum(group.tokens for groups in parts.values() for group in groups)


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
    part: Share,
    used: Formats,
    parts: Parts,
    causal: bool,
    logit_rows: int,
) -> tuple[Segment, ...]:
    tokens = _tokens(parts)
    layers = [
        Segment(run.name, _layer_graph(part, used, run, parts, causal), run.repeat, run.first_index)
        for run in part.runs
    ]
    if part.pipeline_parallel == 1:
        first = Segment("embedding", _embedding_graph(part, used, tokens))
    else:
        first = Segment("receive", _receive_graph(part, used, tokens))
    return (first, *layers, Segment("head", _head_graph(part.model, used, logit_rows)))


def _weight_bytes(part: Share, segments: Sequence[Segment]) -> int:
    """Sum all weights and tables; a tied table that stands in two graphs counts once."""
    total = sum(segment.repeat * segment.graph.weight_bytes for segment in segments)
    if part.model.tie_embedding and part.pipeline_parallel == 1:
        total -= segments[-1].graph.tensor("embedding_table").bytes
    return total


def _kv_bytes(part: Share, used: Formats, groups: Sequence[AttentionGroup]) -> int:
    """Sum what the caches keep after the step: min(keys, window) positions in each layer."""
    model, total = part.model, 0
    for run in part.runs:
        for window in run.windows:
            kept = sum(g.requests * min(g.keys, window or g.keys) for g in groups)
            bits = used.kv.bits(kept * model.kv_heads, model.head_dim)
            total += run.repeat * 2 * -(-bits // 8)
    return total


def _workload(
    part: Share,
    used: Formats,
    parts: Parts,
    settings: dict[str, Any],
    *,
    causal: bool,
    logit_rows: int,
    tokens: int,
) -> Workload:
    """Assemble; `settings` are the phase, the batch and the lengths as provenance has them."""
    model, settings = part.whole, {**settings, **part.settings}
    segments = _segments(part, used, parts, causal, logit_rows)
    groups = tuple(group for each in parts.values() for group in each)
    words = [f"{_SHORT.get(key, key)}={value}" for key, value in settings.items() if key != "phase"]
    channels = [group.channel for group in groups if group.channel is not None]
    return Workload(
        name=" ".join([model.name, settings["phase"], *words, used.short]),
        model=model.name,
        phase=settings["phase"],
        segments=segments,
        batch=settings["batch"],
        tokens=tokens,
        formats=used.names,
        weight_bytes=_weight_bytes(part, segments),
        kv_bytes=_kv_bytes(part, used, groups),
        resolved={
            **settings,
            "requests": [[group.requests, group.queries, group.keys] for group in groups],
            **({"channels": channels} if channels else {}),
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
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> Workload:
    """Return the workload that processes `batch` prompts of `sequence` tokens in one pass.

    `sequence` may be a list with one length a prompt. `embedding` is the format of the embedding
    tables and the LM head (absent: as `weights`). The LM head sees the last token of each prompt,
    or with `last_token_logits=False` all. `causal=False` lets every token see the whole prompt.
    `tensor_parallel` and `pipeline_parallel` as in `decode_step`.
    Errors: InputError for sizes below one, a sequence beyond the model's limit, unknown formats,
    a model that cannot be cut so, and for `causal=False` with a sliding window.
    """
    lengths = grouped_requests(model.name, model.max_context, "sequence", sequence, batch)
    if not causal and model.sliding_window is not None:
        raise InputError(f"{model.name} has a sliding window, which needs causal attention")
    groups = tuple(AttentionGroup(count, length, length) for length, _, count in lengths)
    settings = _settings("prefill", "sequence", groups)
    rows = sum(group.requests if last_token_logits else group.tokens for group in groups)
    used = formats_of(weights, activations, kv, embedding)
    part = share(model, tensor_parallel, pipeline_parallel)
    parts = {"": groups}
    return _workload(
        part, used, parts, settings, causal=causal, logit_rows=rows, tokens=_tokens(parts)
    )


def decode_step(
    model: Model,
    *,
    context: int | Sequence[int],
    batch: int | None = None,
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
    kv: str | Format = "fp16",
    embedding: str | Format | None = None,
    channels: Sequence[int] | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> Workload:
    """Return the workload that makes one token for each of `batch` requests.

    `context` counts the keys that the token attends to, its own included; a list gives one context
    a request (a ragged batch; equal contexts are grouped, their order does not matter). `embedding`
    as in `prefill`. `channels` gives the channel of the memory that holds the keys and values of
    each request, in the order of `context`; groups are then of equal context and channel.

    With `tensor_parallel` T the workload is what one of T devices does: 1/T of heads, FFN and
    vocabulary (rounded up), norms and residual sums whole, and an all_reduce after the embedding,
    the output projection and the FFN. Biases and positions within these sums are added by one
    device, this one. The gather of logits is left out. With `pipeline_parallel` P it is what the
    last of P stages does, the busiest where layers are alike: ceil(layers / P) layers and the head,
    behind a `receive`. P such batches are under way at a time: tokens/s is that of the whole
    pipeline, the latency that of one stage.
    Errors: InputError for sizes below one, a context beyond the model's limit, unknown formats,
    channels that are not one a request, and a model that cannot be cut so.
    """
    lengths = grouped_requests(model.name, model.max_context, "context", context, batch, channels)
    groups = tuple(AttentionGroup(count, 1, length, channel) for length, channel, count in lengths)
    settings = _settings("decode", "context", groups)
    used = formats_of(weights, activations, kv, embedding)
    part = share(model, tensor_parallel, pipeline_parallel)
    rows = settings["batch"]
    made = _workload(part, used, {"": groups}, settings, causal=True, logit_rows=rows, tokens=rows)

    def of_requests(requests: Sequence[Request]) -> Workload:
        placed = [channel for _, channel in requests if channel is not None]
        return decode_step(
            model,
            context=[keys for keys, _ in requests],
            weights=weights,
            activations=activations,
            kv=kv,
            embedding=embedding,
            channels=placed or None,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
        )

    return replace(made, of_requests=of_requests)


def mixed_step(
    model: Model,
    *,
    prompts: int | Sequence[int],
    contexts: int | Sequence[int],
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
    kv: str | Format = "fp16",
    embedding: str | Format | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> Workload:
    """Return a stage of continuous batching: prompts are processed beside a decode step.

    `prompts` are lengths as `sequence` of `prefill`, `contexts` keys as `context` of `decode_step`,
    one or a list each. Linear layers see the tokens of both. Attention is apart: operations whose
    names end in `_decode` and `_prefill`, of which neither needs the other; on one unit the decode
    step's goes first. The LM head sees the last token of each prompt and all of the decode step;
    these are the tokens that count. The other arguments as in `decode_step`. Errors: InputError as
    of both.
    """
    prefills, decodes = (
        grouped_requests(model.name, model.max_context, name, value, None)
        for name, value in (("prompts", prompts), ("contexts", contexts))
    )
    decode = tuple(AttentionGroup(count, 1, n) for n, _, count in decodes)
    prompt = tuple(AttentionGroup(count, n, n) for n, _, count in prefills)
    parts = {"_decode": decode, "_prefill": prompt}
    requests = sum(group.requests for group in (*decode, *prompt))
    spans = {"prompts": _span(prompt), "contexts": _span(decode)}
    settings = {"phase": "mixed", "batch": requests, **spans}
    used = formats_of(weights, activations, kv, embedding)
    part = share(model, tensor_parallel, pipeline_parallel)
    return _workload(part, used, parts, settings, causal=True, logit_rows=requests, tokens=requests)


def _settings(phase: str, length: str, groups: Sequence[AttentionGroup]) -> dict[str, Any]:
    """Return phase, batch and lengths as provenance has them."""
    requests = sum(group.requests for group in groups)
    return {"phase": phase, "batch": requests, length: _span(groups)}


def _span(groups: Sequence[AttentionGroup]) -> int | str:
    """Return the common length, or shortest..longest."""
    shortest, longest = groups[0].keys, groups[-1].keys
    return shortest if shortest == longest else f"{shortest}..{longest}"
