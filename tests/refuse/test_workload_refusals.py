"""Is a wrong model, graph, step or topology refused, and with which words?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator import formats
from simulator.config import dump_yaml, load_part
from simulator.errors import InputError
from simulator.workload import (
    Attention,
    AttentionGroup,
    Gemm,
    Graph,
    Model,
    Op,
    OpKind,
    Role,
    Segment,
    Tensor,
    decode_step,
    from_hf_config,
    gemm,
    mixed_step,
    prefill,
    read_topology,
    write_topology,
)

FP16 = formats.get("fp16")
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
GEMMA2 = {**LLAMA, "model_type": "gemma2", "head_dim": 16, "num_key_value_heads": 4}
OPT = {**LLAMA, "model_type": "opt", "ffn_dim": 256}
BLOOM = {"model_type": "bloom", "n_embed": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100}


def refusal(call: Callable[[], object]) -> str:
    """Return the message with which a call is refused."""
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def model(name: str = "llama-2-7b") -> Model:
    """Load a shipped model."""
    return load_part(Model, name, "workloads/models", noun="model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0, "context": 8}, "batch must be >= 1, got 0"),
        ({"batch": -3, "context": 8}, "batch must be >= 1, got -3"),
        ({"batch": 2.5, "context": 8}, "batch must be an integer, got 2.5"),
        ({"batch": True, "context": 8}, "batch must be an integer, got True"),
        ({"context": 0}, "context must be >= 1, got 0"),
        ({"context": "2048"}, "context must be an integer, got '2048'"),
        ({"context": 5000}, "context 5000 is beyond llama-2-7b's limit of 4096"),
        (
            {"context": [8, 9000, 5000]},
            "context 5000 is beyond llama-2-7b's limit of 4096\n"
            "context 9000 is beyond llama-2-7b's limit of 4096",
        ),
        ({"context": []}, "context is an empty list; give one number a request"),
        ({"batch": 3, "context": [1, 2]}, "batch is 3, but context has 2 entries"),
        ({"context": 8, "channels": 3}, "channels must be a list, one number a request, got 3"),
        ({"context": [1, 2], "channels": [0]}, "channels has 1 entries, but the batch is 2"),
        ({"context": 8, "batch": 2, "channels": []}, "channels has 0 entries, but the batch is 2"),
        ({"context": 8, "channels": [-1]}, "channels must be >= 0, got -1"),
        ({"context": 8, "channels": [True]}, "channels must be an integer, got True"),
        (
            {"context": 8, "weights": "int44"},
            "unknown format 'int44'; did you mean 'int4'?",
        ),
    ],
)
def test_decode_arguments(arguments: dict[str, Any], message: str) -> None:
    """Sizes and formats of a decode step."""
    assert refusal(lambda: decode_step(model(), **arguments)) == message


def test_prefill_arguments() -> None:
    """Lengths of a prefill, and a mask that the model does not allow."""
    beyond = refusal(lambda: prefill(model(), sequence=4097))
    assert beyond == "sequence 4097 is beyond llama-2-7b's limit of 4096"
    assert refusal(lambda: prefill(model(), sequence=0)) == "sequence must be >= 1, got 0"
    full = refusal(lambda: prefill(model("mistral-7b"), sequence=8, causal=False))
    assert full == "mistral-7b has a sliding window, which needs causal attention"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": []}, "prompts is an empty list; give one number a request"),
        ({"contexts": [8, 0]}, "contexts must be >= 1, got 0"),
        ({"prompts": 4097}, "prompts 4097 is beyond llama-2-7b's limit of 4096"),
        ({"kv": "int44"}, "unknown format 'int44'; did you mean 'int4'?"),
        ({"pipeline_parallel": 33}, "pipeline_parallel (33) is beyond layers (32)"),
    ],
)
def test_mixed_arguments(arguments: dict[str, Any], message: str) -> None:
    """Lengths of both, formats, devices."""
    given = {"prompts": 8, "contexts": 8, **arguments}
    assert refusal(lambda: mixed_step(model(), **given)) == message


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "llama-2-7b",
            {"tensor_parallel": 3},
            "heads (32) must be a multiple of tensor_parallel (3)\n"
            "ffn (11008) must be a multiple of tensor_parallel (3)\n"
            "kv_heads (32) must be a multiple of tensor_parallel (3)",
        ),
        (
            "llama-3-8b",
            {"tensor_parallel": 12},
            "heads (32) must be a multiple of tensor_parallel (12)\n"
            "ffn (14336) must be a multiple of tensor_parallel (12)\n"
            "tensor_parallel (12) must be a multiple of kv_heads (8)",
        ),
        (
            "bitnet-b1.58-3b",
            {"tensor_parallel": 2},
            "sub_norms go over rows that tensor_parallel (2) cuts",
        ),
        ("gpt-2", {"pipeline_parallel": 13}, "pipeline_parallel (13) is beyond layers (12)"),
        ("gpt-2", {"tensor_parallel": 0}, "tensor_parallel must be >= 1, got 0"),
        ("gpt-2", {"pipeline_parallel": 2.0}, "pipeline_parallel must be an integer, got 2.0"),
    ],
)
def test_models_that_cannot_be_cut(name: str, arguments: dict[str, Any], message: str) -> None:
    """In a decode step and in a prefill."""
    assert refusal(lambda: decode_step(model(name), context=8, **arguments)) == message
    assert refusal(lambda: prefill(model(name), sequence=8, **arguments)) == message


def test_unknown_model() -> None:
    """The nearest name and all names."""
    assert refusal(lambda: model("llama-2-7")) == (
        "unknown model 'llama-2-7'; did you mean 'llama-2-7b'? known: bitnet-b1.58-3b, gpt-2, "
        "gpt-2-2.5b, gpt-2-large, gpt-2-medium, gpt-2-xl, gpt-2-xl-24-heads, gpt-3-175b, gpt3-13b, "
        "gpt3-30b, gpt3-7b, llama-2-70b, llama-2-7b, llama-3-70b, llama-3-8b, llama-65b, "
        "mistral-7b, mt-nlg-530b, opt-6.7b, opt-66b"
    )


def test_model_file_problems_come_at_once(tmp_path: Path) -> None:
    """A misspelt key, a wrong kind, a negative size, a missing value."""
    text = dump_yaml(model()).replace("kv_heads:", "kv_head:").replace("ffn: 11008", "ffn: -1")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("activation: silu", "activation: sillu"))
    assert refusal(lambda: load_part(Model, file, "workloads/models")).splitlines() == [
        f"{file}: kv_heads: missing",
        f"{file}: ffn: must be >= 1, got -1",
        f"{file}: activation: unknown activation 'sillu'; did you mean 'silu'? "
        "known: gelu, gelu_tanh, relu, silu",
        f"{file}: kv_head: unknown key; did you mean 'kv_heads'?",
    ]


def test_model_cross_field_rules(tmp_path: Path) -> None:
    """Heads that do not divide, a rotary part beyond the head, two window rules."""
    text = dump_yaml(model()).replace("\nkv_heads: 32", "\nkv_heads: 5")
    text = text.replace("rotary_dim: null", "rotary_dim: 256")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert refusal(lambda: load_part(Model, file, "workloads/models")) == (
        f"{file}: heads (32) must be a multiple of kv_heads (5); "
        "rotary_dim (256) is beyond head_dim (128)"
    )


SMALL = """
name: tiny
family: gpt2
hidden: 1024
layers: 1
heads: 8
ffn: 4096
vocab: 50257
max_context: 2048
"""
#: What a family that is not known must have written out.
FIXED = [
    f"{field}: missing"
    for field in (
        *("kv_heads", "head_dim", "gated_ffn", "activation", "norm", "position"),
        *("tie_embedding", "source"),
    )
]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "heads: 8",
            "heads: 3",
            ["hidden (1024) must be a multiple of heads (3), or head_dim be given"],
        ),
        ("heads: 8\n", "", ["heads: missing"]),
        ("hidden: 1024", "hidden: 0", ["hidden: must be >= 1, got 0"]),
        ("ffn:", "fnn:", ["ffn: missing", "fnn: unknown key; did you mean 'ffn'?"]),
        ("family: gpt2\n", "", ["summary: missing", "family: missing", *FIXED]),
        ("gpt2", "gpt5", ["summary: missing", *FIXED]),
        (
            "family: gpt2",
            "family: [gpt2]",
            ["summary: missing", "family: expected text, got ['gpt2']", *FIXED],
        ),
        ("gpt2", "llama", ["kv_heads: missing", "tie_embedding: missing"]),
    ],
)
def test_small_models(old: str, new: str, lines: list[str], tmp_path: Path) -> None:
    """What a family does not fix, or fixes wrongly, is asked for; nothing else is."""
    file = tmp_path / "tiny.yaml"
    file.write_text(SMALL.replace(old, new))
    found = refusal(lambda: load_part(Model, file, "workloads/models")).splitlines()
    assert found == [f"{file}: {line}" for line in lines]


def config_refusal(folder: Path, config: object) -> list[str]:
    """Return the lines with which a config.json is refused, without its path."""
    file = folder / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    lines = refusal(lambda: from_hf_config(file)).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        (
            {"model_type": "mixtral"},
            [
                "model_type 'mixtral' is not supported; supported: bloom, gemma2, gpt2, llama, "
                "mistral, opt, phi3, qwen2"
            ],
        ),
        (
            {},
            [
                "model_type: missing; supported: bloom, gemma2, gpt2, llama, mistral, opt, phi3, "
                "qwen2"
            ],
        ),
        (
            {"model_type": "llama", "num_attention_heads": 0, "vocab_size": "32k"},
            [
                "hidden_size: missing",
                "num_attention_heads: must be >= 1, got 0",
                "num_hidden_layers: missing",
                "intermediate_size: missing",
                "vocab_size: expected an integer, got '32k'",
                "max_position_embeddings: missing",
            ],
        ),
        (
            {**LLAMA, "num_local_experts": 8},
            ["num_local_experts: a mixture of experts is not supported"],
        ),
        ({**LLAMA, "kv_lora_rank": 512}, ["kv_lora_rank: latent attention is not supported"]),
        (
            {**LLAMA, "architectures": ["LlamaForSequenceClassification"]},
            [
                "architectures: unknown architecture 'LlamaForSequenceClassification'; known: "
                "BitnetForCausalLM, LlamaForCausalLM, LlamaModel"
            ],
        ),
        (
            {**LLAMA, "hidden_act": "relu2"},
            [
                "hidden_act: unknown activation 'relu2'; did you mean 'relu'? known: gelu, "
                "gelu_fast, gelu_new, gelu_pytorch_tanh, relu, silu, swish"
            ],
        ),
        (
            {**LLAMA, "num_key_value_heads": 3},
            ["heads (4) must be a multiple of kv_heads (3)"],
        ),
        (
            {**LLAMA, "num_attention_heads": 5},
            ["hidden_size: 64 is not a multiple of the 5 attention heads"],
        ),
        ({**LLAMA, "mlp_bias": "no"}, ["mlp_bias: expected true or false, got 'no'"]),
        (
            {**LLAMA, "partial_rotary_factor": 1.5},
            ["partial_rotary_factor: must be within 0 and 1, got 1.5"],
        ),
        (
            {**LLAMA, "model_type": "gemma2"},
            ["num_key_value_heads: missing", "head_dim: missing"],
        ),
        (
            {**GEMMA2, "layer_types": ["full_attention"]},
            ["layer_types: does not fit the layers or the sliding_window"],
        ),
        (
            {
                **GEMMA2,
                "num_hidden_layers": 3,
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            },
            ["layer_types: windows are supported from one layer up or in every second"],
        ),
        (
            {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
            [
                "word_embed_proj_dim: 32 differs from hidden_size 64; projected embeddings (as in "
                "opt-350m) are not supported",
                "do_layer_norm_before: norms after the blocks are not supported",
            ],
        ),
        (
            {**BLOOM, "n_inner": 100},
            ["n_inner: must be 4 x the hidden size 64, as BLOOM's code has it"],
        ),
        ("[1, 2]", ["expected a mapping of keys to values at the top of the file"]),
        (
            '{"model_type": "llama", "hidden',
            ["not valid JSON: Unterminated string starting at (line 1, column 25)"],
        ),
        ('{"a": 1, "a": 2}', ["not valid JSON: key 'a' is given twice"]),
        ("[" * 100_000, ["not valid JSON: nested too deeply"]),
        (" " * (2**20 + 1), ["is larger than 1 MiB"]),
    ],
)
def test_hugging_face_configs(config: object, lines: list[str], tmp_path: Path) -> None:
    """Other families, missing and wrong values, features that are not modelled, broken files."""
    assert config_refusal(tmp_path, config) == lines


def test_unreadable_hugging_face_files(tmp_path: Path) -> None:
    """No file, a folder without a config, bytes that are not text."""
    missing = tmp_path / "none.json"
    assert refusal(lambda: from_hf_config(missing)) == f"{missing}: no such file"
    assert refusal(lambda: from_hf_config(tmp_path)) == (
        f"{tmp_path / 'config.json'}: no such file"
    )
    missing.write_bytes(b'{"a": "\xff"}')
    assert refusal(lambda: from_hf_config(missing)) == f"{missing}: is not UTF-8 text (at byte 7)"


def tensors(*names: str) -> tuple[Tensor, ...]:
    """Small activation tensors."""
    return tuple(Tensor(name, 2, 4, FP16) for name in names)


def copy(name: str, source: str, target: str) -> Op:
    """An operation with one input and one output."""
    return Op(name, OpKind.ACTIVATION, (source,), (target,))


def test_graph_names() -> None:
    """Names given twice or unknown."""
    ops = (copy("a", "x", "y"), copy("a", "y", "zz"))
    assert refusal(lambda: Graph(tensors("x", "x", "y"), ops, ("x",), ("y",))).splitlines() == [
        "tensor 'x' is given twice",
        "op 'a' is given twice",
        "op 'a': unknown tensor 'zz'",
    ]


def test_graph_flow() -> None:
    """Made twice, by nobody, for nobody; inputs and outputs that are not."""
    ops = (copy("a", "x", "y"), copy("b", "x", "y"), copy("c", "lost", "waste"))
    found = refusal(
        lambda: Graph(tensors("x", "y", "lost", "waste", "idle"), ops, ("x", "p", "y"), ("x", "y"))
    )
    assert found.splitlines() == [
        "tensor 'y' is made by more than one op",
        "input 'p' is not a tensor",
        "input 'y' is made by an op of the graph",
        "output 'x' is made by no op",
        "tensor 'lost' is made by no op and is not an input",
        "tensor 'waste' is never read and is not an output",
        "tensor 'idle' is made by no op and is not an input",
        "tensor 'idle' is never read and is not an output",
    ]


def test_graph_cycle_names_its_ops() -> None:
    """The way around."""
    ops = (copy("a", "x", "y"), copy("b", "y", "x"))
    message = refusal(lambda: Graph(tensors("x", "y"), ops))
    assert message == "ops form a cycle: a -> b -> a"


def test_a_weight_is_not_made() -> None:
    """Weights and tables are held, not computed."""
    held = (Tensor("x", 2, 4, FP16), Tensor("w", 2, 4, FP16, Role.WEIGHT))
    message = refusal(lambda: Graph(held, (copy("a", "x", "w"),), ("x",), ("w",)))
    assert message == "tensor 'w' is a weight but is made by an op"


def test_gemm_shapes_and_missing_parts() -> None:
    """A product's tensors follow from M, N and K; kinds need their parts."""
    parts = (
        Tensor("x", 2, 4, FP16),
        Tensor("w", 3, 5, FP16, Role.WEIGHT),
        Tensor("y", 2, 3, FP16),
    )

    def built(**changes: Any) -> Graph:
        given = {"kind": OpKind.LINEAR, "inputs": ("x", "w"), "outputs": ("y",), **changes}
        return Graph(parts, (Op("fc", **given),), ("x",), ("y",))

    assert refusal(lambda: built(gemm=Gemm(1, 2, 3, 4))) == (
        "op 'fc': tensor 'w' is 3 x 5, expected 3 x 4"
    )
    assert refusal(built) == "op 'fc': a matrix product needs a gemm"
    assert refusal(lambda: built(kind=OpKind.QK)) == "op 'fc': qk needs an attention"
    assert refusal(lambda: built(kind=OpKind.EMBEDDING)) == "op 'fc': an embedding needs rows_read"
    assert refusal(lambda: built(kind=OpKind.KV_APPEND)) == (
        "op 'fc': a kv_append needs rows_written"
    )
    assert refusal(lambda: built(kind=OpKind.ADD, vector_work=(("sqrt", 3),))) == (
        "op 'fc': unknown vector function 'sqrt'"
    )
    assert refusal(lambda: built(kind=OpKind.ADD, devices=2)) == (
        "op 'fc': devices belong to an all_reduce, not to add"
    )


def test_data_between_devices() -> None:
    """One activation in, the same out; one device has nothing to sum up with."""
    parts = (
        Tensor("x", 2, 4, FP16),
        Tensor("w", 2, 4, FP16, Role.WEIGHT),
        Tensor("y", 2, 4, FP16),
        Tensor("z", 2, 5, formats.get("int8")),
    )

    def lines(kind: OpKind, inputs: str, outputs: str, devices: int | None) -> list[str]:
        op = Op("m", kind, tuple(inputs), tuple(outputs), devices=devices)
        named = [part for part in parts if part.name in inputs + outputs]
        ends = tuple(name for name in inputs if name != "w")
        return refusal(lambda: Graph(tuple(named), (op,), ends, tuple(outputs))).splitlines()

    reduce, send = OpKind.ALL_REDUCE, OpKind.SEND
    for devices in (None, 0, 1):
        assert lines(reduce, "x", "y", devices) == [
            f"op 'm': all_reduce needs two or more devices, got {devices}"
        ]
    assert lines(send, "x", "y", 2) == ["op 'm': devices belong to an all_reduce, not to send"]
    for kind, devices in ((reduce, 4), (send, None)):
        one = [f"op 'm': {kind} has one input and one output"]
        assert lines(kind, "xw", "y", devices) == lines(kind, "x", "yz", devices) == one
        assert lines(kind, "x", "z", devices) == [
            "op 'm': tensor 'z' is 2 x 5, expected 2 x 4",
            "op 'm': tensor 'z' is int8, expected fp16",
        ]
        assert lines(kind, "w", "y", devices) == [
            f"op 'm': {kind} moves activations, but 'w' is a weight"
        ]


def test_parts_of_rows() -> None:
    """Rows of two or more parts are those of the whole; columns and format stay."""
    tensors = (
        Tensor("x", 5, 4, FP16),
        Tensor("a", 2, 4, FP16),
        Tensor("b", 3, 4, FP16),
        Tensor("c", 2, 5, formats.get("int8")),
        Tensor("w", 3, 4, FP16, Role.WEIGHT),
    )

    def lines(inputs: str, outputs: str, kind: OpKind) -> list[str]:
        op = Op("m", kind, tuple(inputs), tuple(outputs))
        named = tuple(tensor for tensor in tensors if tensor.name in inputs + outputs)
        ends = tuple(name for name in inputs if name != "w")
        return refusal(lambda: Graph(named, (op,), ends, tuple(outputs))).splitlines()

    for kind in (OpKind.SPLIT, OpKind.JOIN):
        turn = 1 if kind is OpKind.SPLIT else -1
        few = [f"op 'm': {kind} is between one tensor and two or more parts of it"]
        assert lines(*("x", "a")[::turn], kind) == few
        assert lines(*("xb", "ac")[::turn], kind) == few
        assert lines(*("x", "ac")[::turn], kind) == [
            "op 'm': tensor 'x' is 5 x 4, expected 4 x 4",
            "op 'm': tensor 'c' is 2 x 5, expected 2 x 4",
            "op 'm': tensor 'c' is int8, expected fp16",
        ]
    assert lines("aw", "x", OpKind.JOIN) == ["op 'm': join moves activations, but 'w' is a weight"]


def test_attention_shapes() -> None:
    """Scores of one head and two tokens over two keys are 2 x 2."""
    attention = Attention(1, 1, 4, (AttentionGroup(1, 2, 2),))
    parts = (
        Tensor("q", 2, 4, FP16),
        Tensor("k", 2, 4, FP16, Role.KV),
        Tensor("s", 2, 3, FP16),
    )
    op = Op("qk", OpKind.QK, ("q", "k"), ("s",), attention=attention)
    message = refusal(lambda: Graph(parts, (op,), ("q",), ("s",)))
    assert message == "op 'qk': tensor 's' is 2 x 3, expected 2 x 2"


def test_sizes_of_parts() -> None:
    """Nothing is empty, heads divide, a window is causal, keys hold the queries."""
    assert (
        refusal(lambda: Tensor("x", 0, -2, FP16))
        == "rows must be >= 1, got 0\ncolumns must be >= 1, got -2"
    )
    assert (
        refusal(lambda: Tensor("x", 2, 2, FP16, valid=5)) == "valid must be within 1 and 4, got 5"
    )
    assert refusal(lambda: Gemm(1, 0, 2, 3)) == "m must be >= 1, got 0"
    assert (
        refusal(lambda: AttentionGroup(1, 3, 2)) == "keys must be >= queries, got 2 keys, 3 queries"
    )
    assert refusal(lambda: AttentionGroup(1, 1, 1, -1)) == "channel must be >= 0, got -1"
    group = (AttentionGroup(1, 1, 1),)
    assert refusal(lambda: Attention(6, 4, 8, group)) == "6 heads cannot share 4 kv_heads equally"
    assert refusal(lambda: Attention(4, 4, 8, ())) == "groups must be >= 1, got 0"
    assert refusal(lambda: Attention(4, 4, 8, group, causal=False, window=3)) == (
        "a window is modelled for causal attention only"
    )
    assert refusal(lambda: Attention(4, 4, 8, group).gemms(OpKind.SOFTMAX)) == (
        "attention has GEMMs in qk and pv, not in softmax"
    )
    graph = gemm(1, 1, 1).segments[0].graph
    assert refusal(lambda: Segment("s", graph, 0)) == "segment 's': repeat must be >= 1, got 0"


def test_gemm_sizes() -> None:
    """Sizes of a bare product."""
    assert refusal(lambda: gemm(0, 2, 3)) == "m must be >= 1, got 0"
    assert refusal(lambda: gemm(1, 2, 3, count=0)) == "count must be >= 1, got 0"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [": is empty"]),
        ("Layer, M, N, K,\n", [": has no layers below its header"]),
        (
            "Layer, M, N, K,\na, 1, 2, x,\nb, 0, 2, 3,\nc, 1,\n",
            [
                ":2: k must be an integer >= 1, got 'x'",
                ":3: m must be an integer >= 1, got '0'",
                ":4: expected Layer, M, N, K, got 2 columns",
            ],
        ),
        (
            "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
            "Num Filter, Strides,\nConv1, 230, 230, 7, 7, 3, 64, 2,\n",
            [":2: a convolution row of 8 columns; only GEMM rows (Layer, M, N, K) are read"],
        ),
        (
            "Layer,M,N,K,Sparsity,\na,1,2,3,2:4,\n",
            [":2: sparsity '2:4' is not supported; only 1:1 is"],
        ),
        (
            "a,1,2,3,\nb,4,5,6,\n",
            [":1: expected a header such as 'Layer, M, N, K,', got a row of numbers"],
        ),
        ("Layer,M,K,N,\na,1,2,3,\n", [":1: expected the columns M, N, K, got M, K, N"]),
        ("Layer,M,N,K,\na,1,2,3,\na_x4,1,2,3,\n", [":3: layer 'a' is given twice"]),
        (
            f"Layer,M,N,K,\na,1,2,{'3' * 131_073},\n",
            [":2: not valid CSV: field larger than field limit (131072)"],
        ),
    ],
)
def test_topology_files(text: str, messages: list[str], tmp_path: Path) -> None:
    """Empty files, wrong numbers, convolutions, sparsity, names given twice."""
    file = tmp_path / "net.csv"
    file.write_text(text)
    found = refusal(lambda: read_topology(file)).splitlines()
    assert found == [f"{file}{message}" for message in messages]


def test_topology_files_that_cannot_be_used(tmp_path: Path) -> None:
    """No such file, bytes that are not text, no place to write."""
    missing = tmp_path / "none.csv"
    assert refusal(lambda: read_topology(missing)) == (
        f"{missing}: cannot be read: No such file or directory"
    )
    missing.write_bytes(b"\xff\xfe\x00")
    assert refusal(lambda: read_topology(missing)).startswith(f"{missing}: is not UTF-8 text")
    nowhere = tmp_path / "no" / "a.csv"
    assert refusal(lambda: write_topology(gemm(1, 2, 3), nowhere)) == (
        f"{nowhere}: cannot be written: No such file or directory"
    )
