"""Does one of several devices do its part of a model, and say so; are channels kept apart?"""

from dataclasses import replace as changed

import pytest

from simulator.config import load_part, replace
from simulator.workload import (
    AttentionGroup,
    LayerRun,
    Model,
    Op,
    OpKind,
    Workload,
    decode_step,
    prefill,
)


def model(name: str) -> Model:
    """Load a shipped model."""
    return load_part(Model, name, "workloads/models", noun="model")


def op_names(workload: Workload, segment: str) -> list[str]:
    """Names of the operations of a segment, in order."""
    found = [part for part in workload.segments if part.name == segment]
    return [op.name for op in found[0].graph.order()]


def reductions(workload: Workload) -> list[tuple[str, Op]]:
    """The all-reduces with the segment that each stands in."""
    return [(s.name, op) for s, op in workload.ops() if op.kind is OpKind.ALL_REDUCE]


def groups(workload: Workload) -> list[tuple[int, int, int, int | None]]:
    """Requests, queries, keys and channel of each group of the first layer."""
    attention = workload.segments[1].graph.op("qk").attention
    assert attention is not None
    return [(g.requests, g.queries, g.keys, g.channel) for g in attention.groups]


def test_all_reduces_stand_behind_what_is_cut() -> None:
    """Embedding, output projection, FFN: a row of hidden values for each token."""
    step = decode_step(model("llama-2-7b"), batch=3, context=64, tensor_parallel=4)
    assert [(name, op.name, op.devices) for name, op in reductions(step)] == [
        ("embedding", "all_reduce_embedding", 4),
        ("layer", "all_reduce_attention", 4),
        ("layer", "all_reduce_ffn", 4),
    ]
    for segment, op in step.ops():
        if op.kind is OpKind.ALL_REDUCE:
            out = segment.graph.tensor(op.outputs[0])
            assert (out.rows, out.columns, out.format.name) == (3, 4096, "fp16")
            assert op.vector_work == (("add", 3 * 3 * 4096 // 4),)
            assert op.macs_useful == 0
    names = op_names(step, "layer")
    assert names[names.index("o_proj") + 1] == "all_reduce_attention"
    assert names[names.index("down_proj") + 1] == "all_reduce_ffn"


def test_all_reduces_carry_what_no_product_reads() -> None:
    """With activations of 8 bits and scales of tokens, sums stay FP16; without scales, INT8."""
    for activations, carrier in (("int8-token", "fp16"), ("int8", "int8")):
        step = decode_step(
            model("llama-2-7b"), context=8, activations=activations, tensor_parallel=2
        )
        found = {s.graph.tensor(op.outputs[0]).format.name for s, op in step.ops() if op.devices}
        assert found == {carrier}


def test_norms_of_sums_stand_behind_the_all_reduce() -> None:
    """The norm of an embedding (BLOOM) and of a block's output (Gemma 2)."""
    normed = replace(model("gpt-2"), {"embedding_norm": True, "post_norms": True})
    step = prefill(normed, sequence=8, tensor_parallel=2)
    assert op_names(step, "embedding") == ["embedding", "all_reduce_embedding", "norm_embedding"]
    names = op_names(step, "layer")
    for block, norm in (("attention", "norm_attention_post"), ("ffn", "norm_ffn_post")):
        assert names[names.index(f"all_reduce_{block}") + 1] == norm
        assert op_names(prefill(normed, sequence=8), "embedding")[-1] == "norm_embedding"


def test_shapes_of_one_of_four_devices() -> None:
    """Llama-2-7B: 8 of 32 heads, 2,752 of 11,008 columns, 8,000 of 32,000 words."""
    step = decode_step(model("llama-2-7b"), batch=2, context=16, tensor_parallel=4)
    embedding, layer, head = (segment.graph for segment in step.segments)
    shapes = {
        "q_proj.weight": (1024, 4096),
        "k_proj.weight": (1024, 4096),
        "o_proj.weight": (4096, 1024),
        "up_proj.weight": (2752, 4096),
        "down_proj.weight": (4096, 2752),
        "norm_ffn.gain": (1, 4096),
    }
    for name, shape in shapes.items():
        tensor = layer.tensor(name)
        assert (tensor.rows, tensor.columns) == shape
    assert embedding.tensor("embedding_table").rows == head.tensor("lm_head.weight").rows == 8000
    assert head.tensor("logits").columns == 8000
    whole = decode_step(model("llama-2-7b"), batch=2, context=16)
    gains = 65 * 4096 * 2
    assert step.weight_bytes == (whole.weight_bytes - gains) // 4 + gains
    assert (step.kv_bytes, step.tokens) == (whole.kv_bytes // 4, 2)
    assert whole.model == step.model


def test_the_vocabulary_is_rounded_up() -> None:
    """GPT-2's 50,257 words over two devices."""
    step = decode_step(model("gpt-2"), context=8, tensor_parallel=2)
    assert step.segments[0].graph.tensor("embedding_table").rows == 25129
    assert step.segments[0].graph.tensor("position_table").rows == 1024


def test_more_devices_than_key_value_heads_repeat_them() -> None:
    """Llama-2-70B has 8; 16 devices hold one each, so that the caches are there twice."""
    llama = model("llama-2-70b")
    eight, sixteen = (decode_step(llama, context=64, tensor_parallel=t) for t in (8, 16))
    assert eight.kv_bytes == sixteen.kv_bytes == decode_step(llama, context=64).kv_bytes // 8
    attention = sixteen.segments[1].graph.op("qk").attention
    assert attention is not None
    assert (attention.heads, attention.kv_heads, attention.head_dim) == (4, 1, 128)


def test_a_stage_has_its_layers_and_the_head() -> None:
    """Llama-2-7B in five stages: 7 of 32 layers, no embedding."""
    whole = decode_step(model("llama-2-7b"), batch=2, context=16)
    step = decode_step(model("llama-2-7b"), batch=2, context=16, pipeline_parallel=5)
    assert [(s.name, s.repeat, s.first_index) for s in step.segments] == [
        ("receive", 1, 0),
        ("layer", 7, 25),
        ("head", 1, 0),
    ]
    receive = step.segments[0].graph
    assert (receive.inputs, receive.outputs) == (("received",), ("hidden_out",))
    (op,) = receive.ops
    assert (op.kind, op.vector_ops, op.macs_useful) == (OpKind.SEND, 0, 0)
    assert receive.tensor("received").bytes == 2 * 4096 * 2
    assert [s.graph.key for s in step.segments[1:]] == [s.graph.key for s in whole.segments[1:]]
    assert step.kv_bytes * 32 == whole.kv_bytes * 7
    layer, head = (segment.graph.weight_bytes for segment in step.segments[1:])
    assert step.weight_bytes == 7 * layer + head
    # What the stage before sends enters.
    logits = 2 * 32000 * 2
    assert step.compulsory_bytes == (
        step.weight_bytes + step.kv_bytes_read + step.kv_bytes_written + 2 * 4096 * 2 + logits
    )


def test_a_tied_table_counts_once_in_the_last_stage() -> None:
    """The embedding stands in the first one."""
    step = decode_step(model("gpt-2"), context=8, pipeline_parallel=2)
    layer, head = (segment.graph.weight_bytes for segment in step.segments[1:])
    assert step.weight_bytes == 6 * layer + head


def test_stages_of_layers_with_windows() -> None:
    """The last layers, wherever windows start and whichever of a pair comes first."""
    base = replace(model("llama-2-7b"), {"layers": 7, "sliding_window": 16})
    late = replace(base, {"first_window_layer": 5})
    pairs = replace(base, {"window_layers": "alternate"})
    assert late.runs_from(3) == (
        LayerRun("layer_full", (None,), 2, 3),
        LayerRun("layer_window", (16,), 2, 5),
    )
    assert late.runs_from(6) == (LayerRun("layer", (16,), 1, 6),)
    assert pairs.runs_from(3) == (LayerRun("layer_pair", (None, 16), 2, 3),)
    assert pairs.runs_from(4) == (
        LayerRun("layer_pair", (16, None), 1, 4),
        LayerRun("layer_last", (16,), 1, 6),
    )
    assert pairs.runs_from(6) == (LayerRun("layer_last", (16,), 1, 6),)
    step = decode_step(pairs, context=40, pipeline_parallel=2, tensor_parallel=2)
    graph = step.segments[1].graph
    assert (step.segments[1].first_index, step.segments[1].repeat) == (3, 2)
    assert graph.order()[0].name == "global.norm_attention"
    assert "local.all_reduce_ffn" in [op.name for op in graph.order()]
    assert step.kv_bytes == 2 * (16 + 40) * 2 * 16 * 128 * 2


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("start", [0, 3, 9])
@pytest.mark.parametrize("alternate", [True, False])
def test_runs_from_a_layer_are_the_end_of_all_layers(
    first: int, start: int, alternate: bool
) -> None:
    """Layer by layer, with the numbers that they have."""
    rule = {"window_layers": "alternate"} if alternate else {"first_window_layer": start}
    some = replace(model("llama-2-7b"), {"layers": 7, "sliding_window": 16, **rule})

    found = [
        layer
        for run in some.runs_from(first)
        for layer in enumerate(run.windows * run.repeat, run.first_index)
    ]
    windows = [
        16 if (index % 2 == 0 if alternate else index >= start) else None for index in range(7)
    ]
    assert found == list(enumerate(windows))[first:]


def test_names_and_provenance_say_how_a_model_is_cut() -> None:
    """And say nothing of a model that is not."""
    step = decode_step(model("llama-2-7b"), context=8, tensor_parallel=4, pipeline_parallel=2)
    assert step.name == "llama-2-7b decode batch=1 context=8 tp=4 pp=2 w=fp16 a=fp16 kv=fp16"
    assert (step.resolved["tensor_parallel"], step.resolved["pipeline_parallel"]) == (4, 2)
    assert step.resolved["model"]["heads"] == 32
    alone = decode_step(model("llama-2-7b"), context=8, tensor_parallel=1, pipeline_parallel=1)
    assert alone == decode_step(model("llama-2-7b"), context=8)
    assert {"tensor_parallel", "pipeline_parallel", "channels"}.isdisjoint(alone.resolved)
    one = prefill(model("gpt-2"), sequence=8, pipeline_parallel=3)
    assert one.name == "gpt-2 prefill batch=1 sequence=8 pp=3 w=fp16 a=fp16 kv=fp16"


def test_requests_on_channels_are_groups_of_their_own() -> None:
    """Equal contexts on one channel are one group, shortest first, then by channel."""
    llama = model("llama-2-7b")
    step = decode_step(llama, context=[9, 5, 5, 5], channels=[0, 7, 2, 7])
    assert groups(step) == [(1, 1, 5, 2), (2, 1, 5, 7), (1, 1, 9, 0)]
    assert step.resolved["requests"] == [[1, 1, 5], [2, 1, 5], [1, 1, 9]]
    assert step.resolved["channels"] == [2, 7, 0]
    one = decode_step(llama, context=5, batch=3, channels=[1, 0, 1])
    assert groups(one) == [(1, 1, 5, 0), (2, 1, 5, 1)]
    assert one.kv_bytes == decode_step(llama, context=5, batch=3).kv_bytes


def test_keys_tell_channels_and_devices_apart() -> None:
    """Other channels, or more devices, are other work; without them keys are as they were."""
    llama = model("llama-2-7b")
    on = {c: decode_step(llama, context=[5, 9], channels=c).key for c in ((0, 0), (0, 1), (1, 0))}
    plain = decode_step(llama, context=[5, 9])
    assert len({*on.values(), plain.key}) == 4
    # As before requests had channels and operations devices.
    assert plain.key == "686dfcd694df4a347e3414de763b6c41"
    assert repr(AttentionGroup(1, 1, 5)) == "AttentionGroup(requests=1, queries=1, keys=5)"
    assert AttentionGroup(1, 1, 5, 0) != AttentionGroup(1, 1, 5)
    graph = decode_step(llama, context=5, tensor_parallel=2).segments[0].graph
    ops = (graph.ops[0], changed(graph.ops[1], devices=4))
    assert changed(graph, ops=ops).key != graph.key
