"""Does a step hold the operations, tensors and segments that the model's layers have?"""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from simulator.config import load_part, replace
from simulator.workload import Model, OpKind, Workload, decode_step, mixed_step, prefill

LAYER = [
    "norm_attention",
    "q_proj",
    "k_proj",
    "v_proj",
    "rope",
    "kv_append",
    "qk",
    "softmax",
    "pv",
    "o_proj",
    "residual_attention",
    "norm_ffn",
    "gate_proj",
    "up_proj",
    "activation",
    "down_proj",
    "residual_ffn",
]


def model(name: str) -> Model:
    """Load a shipped model."""
    return load_part(Model, name, "workloads/models", noun="model")


def gemma() -> Model:
    """A model that uses every option of Gemma 2, small."""
    changes = {
        "layers": 5,
        "sliding_window": 16,
        "window_layers": "alternate",
        "post_norms": True,
        "embedding_scale": True,
        "attention_softcap": True,
        "logit_softcap": True,
        "tie_embedding": True,
    }
    return replace(model("llama-2-7b"), changes)


def op_names(workload: Workload, segment: str) -> list[str]:
    """Names of the operations of a segment, in order."""
    found = [part for part in workload.segments if part.name == segment]
    return [op.name for op in found[0].graph.order()]


def test_llama_decode_is_three_segments() -> None:
    """Embedding, one layer that repeats, head."""
    workload = decode_step(model("llama-2-7b"), batch=8, context=2048)
    parts = [(s.name, s.repeat, s.graph.inputs, s.graph.outputs) for s in workload.segments]
    assert parts == [
        ("embedding", 1, (), ("hidden_out",)),
        ("layer", 32, ("hidden",), ("hidden_out",)),
        ("head", 1, ("hidden",), ("logits",)),
    ]
    assert op_names(workload, "embedding") == ["embedding"]
    assert op_names(workload, "layer") == LAYER
    assert op_names(workload, "head") == ["norm_final", "lm_head"]
    assert (workload.batch, workload.tokens, workload.phase) == (8, 8, "decode")
    assert workload.name == "llama-2-7b decode batch=8 context=2048 w=fp16 a=fp16 kv=fp16"


def test_plain_ffn_has_no_gate_and_learned_positions_no_rope() -> None:
    """GPT-2: biases, LayerNorm with gain and bias, two tables."""
    workload = decode_step(model("gpt-2"), context=10)
    expected = [name for name in LAYER if name not in ("rope", "gate_proj")]
    assert op_names(workload, "layer") == expected
    layer = workload.segments[1].graph
    assert layer.op("q_proj").inputs == ("normed_attention", "q_proj.weight", "q_proj.bias")
    assert layer.op("norm_ffn").inputs == ("hidden_middle", "norm_ffn.gain", "norm_ffn.bias")
    assert layer.op("qk").inputs == ("q", "k_cache")
    embedding = workload.segments[0].graph.op("embedding")
    assert embedding.inputs == ("embedding_table", "position_table")
    assert embedding.rows_read == 1


def test_bitnet_has_norms_before_output_projections() -> None:
    """inner_attn_ln and ffn_layernorm."""
    workload = decode_step(
        model("bitnet-b1.58-3b"), context=10, weights="ternary", embedding="fp16"
    )
    found = op_names(workload, "layer")
    assert found[found.index("o_proj") - 1] == "norm_attention_sub"
    assert found[found.index("down_proj") - 1] == "norm_ffn_sub"
    head = workload.segments[-1].graph
    assert head.tensor("embedding_table").format.name == "fp16"
    assert workload.formats["weights"] == "ternary"


def test_gemma_segments_hold_two_layers_and_an_odd_one() -> None:
    """Local and global attention in turn, norms on both sides, caps, a scaled embedding."""
    workload = decode_step(gemma(), context=100)
    shapes = [(s.name, s.repeat, s.first_index) for s in workload.segments]
    assert shapes == [
        ("embedding", 1, 0),
        ("layer_pair", 2, 0),
        ("layer_last", 1, 4),
        ("head", 1, 0),
    ]
    pair = workload.segments[1].graph
    names = [op.name for op in pair.order()]
    assert names[0] == "local.norm_attention"
    assert names[-1] == "global.residual_ffn"
    assert "local.norm_attention_post" in names
    assert "global.norm_ffn_post" in names
    local, wide = pair.op("local.qk").attention, pair.op("global.qk").attention
    assert local is not None
    assert wide is not None
    assert (local.window, local.cache_rows) == (16, 16 * 32)
    assert (wide.window, wide.cache_rows) == (None, 100 * 32)
    assert op_names(workload, "head") == ["norm_final", "lm_head", "logit_softcap"]


def test_a_window_that_nobody_reaches_is_no_window() -> None:
    """Mistral within its window has the graph of a model without one."""
    mistral = model("mistral-7b")
    full = replace(mistral, {"sliding_window": None})
    assert decode_step(mistral, context=4096).key == decode_step(full, context=4096).key
    assert decode_step(mistral, context=4097).key != decode_step(full, context=4097).key


def test_prefill_head_sees_the_last_token_unless_asked() -> None:
    """Logits of the last token of each prompt, or of all."""
    llama = model("llama-2-7b")
    last = prefill(llama, batch=2, sequence=16).segments[-1].graph
    every = prefill(llama, batch=2, sequence=16, last_token_logits=False).segments[-1].graph
    assert (last.tensor("logits").rows, every.tensor("logits").rows) == (2, 32)
    assert prefill(llama, batch=2, sequence=16).tokens == 32


def test_formats_reach_their_tensors() -> None:
    """Weights, activations, keys and values; gains stay in fp16 beside integer weights."""
    workload = decode_step(
        model("llama-2-7b"), context=8, weights="int4-g128", activations="int8", kv="int8-token"
    )
    layer = workload.segments[1].graph
    names = {
        name: layer.tensor(name).format.name
        for name in ("q_proj.weight", "q", "scores", "k_cache", "norm_ffn.gain")
    }
    assert names == {
        "q_proj.weight": "int4-g128",
        "q": "int8",
        "scores": "int8",
        "k_cache": "int8-token",
        "norm_ffn.gain": "fp16",
    }
    whole = decode_step(model("llama-2-7b"), context=8, weights="fp32").segments[1].graph
    assert whole.tensor("norm_ffn.gain").format.name == "fp32"


def test_weight_bytes_of_int8_llama() -> None:
    """One byte a parameter, and one more for each of the 266,240 gains, which stay in fp16."""
    workload = decode_step(model("llama-2-7b"), context=8, weights="int8")
    assert workload.weight_bytes == 6_738_415_616 + 65 * 4096


def test_kv_bytes_of_grouped_queries() -> None:
    """Llama-2-70B: 8 key-value heads of 128 in 80 layers, 320 KiB a token in fp16."""
    workload = decode_step(model("llama-2-70b"), batch=4, context=1000)
    assert workload.kv_bytes == 4 * 1000 * 320 * 1024


def test_ragged_batches_group_equal_contexts_whatever_their_order() -> None:
    """Two requests at 5 are one group; a list of one value is the uniform batch."""
    llama = model("llama-2-7b")
    ragged = decode_step(llama, context=[5, 9, 5])
    attention = ragged.segments[1].graph.op("qk").attention
    assert attention is not None
    assert [(g.requests, g.queries, g.keys) for g in attention.groups] == [(2, 1, 5), (1, 1, 9)]
    assert ragged.key == decode_step(llama, context=[9, 5, 5]).key
    assert ragged.name.startswith("llama-2-7b decode batch=3 context=5..9 ")
    assert decode_step(llama, context=[7, 7]) == decode_step(llama, batch=2, context=7)
    assert decode_step(llama, context=np.array([5, 9, 5])) == ragged  # type: ignore[arg-type]


def test_a_huge_batch_is_one_group() -> None:
    """Requests are counted, not listed."""
    workload = decode_step(model("llama-2-7b"), batch=10**9, context=4096)
    assert workload.kv_bytes == 10**9 * 4096 * 512 * 1024


def test_context_may_equal_the_limit() -> None:
    """The last position of the model is usable."""
    assert decode_step(model("llama-2-7b"), context=4096).kv_bytes == 4096 * 512 * 1024
    assert prefill(model("gpt-2"), sequence=1024).tokens == 1024


def test_resolved_says_what_was_asked() -> None:
    """Plain values for provenance."""
    resolved = decode_step(model("gpt-2"), context=[3, 4], kv="int8").resolved
    assert resolved["phase"] == "decode"
    assert resolved["requests"] == [[1, 1, 3], [1, 1, 4]]
    assert resolved["formats"]["kv"] == "int8"
    assert resolved["model"]["hidden"] == 768


@pytest.mark.parametrize("kind", list(OpKind))
def test_every_kind_is_made_by_some_builder(kind: OpKind) -> None:
    """No kind is dead; `gemm` alone makes bare products, and lowering tables."""
    llama, form = model("llama-2-7b"), "int8-token"
    one = decode_step(llama, context=4, activations=form, tensor_parallel=2)
    stage = decode_step(llama, context=4, pipeline_parallel=2)
    mixed = mixed_step(llama, prompts=2, contexts=3)
    made = {op.kind for step in (one, stage, mixed) for _, op in step.ops()}
    assert (kind in made) == (kind not in (OpKind.GEMM, OpKind.TABLES))


def test_products_read_activations_that_were_quantised_once() -> None:
    """A scale of a row or group is chosen from the whole of it, by an operation of its own."""
    args: dict[str, Any] = {"weights": "int4-g128", "activations": "int8-token", "kv": "int8-token"}
    graph = decode_step(model("llama-2-7b"), context=16, batch=3, **args).segments[1].graph
    quantised = [op.name for op in graph.order() if op.kind is OpKind.QUANTISE]
    assert quantised == [
        f"quantise_{name}"
        for name in ("normed_attention", "q_rope", "attended", "normed_ffn", "active")
    ]
    assert {graph.op(f"{n}_proj").inputs[0] for n in "qkv"} == {"normed_attention_quantised"}
    assert graph.tensor("normed_attention").format.name == "fp16"
    assert graph.tensor("normed_attention_quantised").format.name == "int8-token"
    # 3 tokens of 4,096: the largest magnitude, a reciprocal a token, a product, a conversion.
    work = (("convert", 12288), ("div", 3), ("max", 12288), ("mul", 12288))
    assert graph.op("quantise_normed_attention").vector_work == work
    # Keys and values quantise as they are appended; the residual stream stays FP16.
    assert dict(graph.op("kv_append").vector_work)["convert"] == 2 * 12288
    assert graph.tensor("hidden_out").format.name == "fp16"
    assert graph.tensor("probabilities").format.name == "int8-token"


@pytest.mark.parametrize(
    ("activations", "kv", "kinds", "queries"),
    [
        ("int8", "int8", 0, "int8"),
        ("int8-tensor", "int8-tensor", 0, "int8-tensor"),
        ("fp16", "int8-token", 0, "fp16"),
        # An FP16 cache: attention is that of FP16.
        ("int4-token", "fp16", 4, "fp16"),
        ("mxfp4", "mxfp4", 5, "mxfp4"),
    ],
)
def test_what_is_quantised_as_it_is_made(
    activations: str, kv: str, kinds: int, queries: str
) -> None:
    """Without scales, or with one that is known before, an activation is made as it is."""
    graph = prefill(model("llama-2-7b"), sequence=8, activations=activations, kv=kv)
    layer = graph.segments[1].graph
    assert sum(op.kind is OpKind.QUANTISE for op in layer.order()) == kinds
    assert layer.tensor(layer.op("qk").inputs[0]).format.name == queries
    assert layer.tensor("probabilities").format.name == queries


def test_a_zero_point_of_activations_takes_the_minimum_too() -> None:
    """Range from both ends, and an addition of the zero point."""
    step = decode_step(model("gpt-2"), context=4, activations="int8-token-asym")
    work = dict(step.segments[1].graph.op("quantise_normed_ffn").vector_work)
    assert work == {"convert": 768, "max": 2 * 768, "mul": 768, "div": 1, "add": 768}


def test_keys_are_the_same_in_another_process() -> None:
    """Nothing depends on the hash seed."""
    script = (
        "from simulator.config import load_part\n"
        "from simulator.workload import Model, decode_step\n"
        "model = load_part(Model, 'llama-2-7b', 'workloads/models')\n"
        "print(decode_step(model, context=[3, 9, 9], kv='int8').key, end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == decode_step(model("llama-2-7b"), context=[3, 9, 9], kv="int8").key


def test_importing_does_not_import_networkx() -> None:
    """The command line starts without it."""
    script = "import sys, simulator.workload; print('networkx' in sys.modules, end='')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False"
