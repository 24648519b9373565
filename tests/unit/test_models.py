"""Do the models have the sizes of the checkpoints, from our files and from Hugging Face's?"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from simulator.api import load_model
from simulator.config import data_root, dump_yaml, load_part, names, replace, resolved
from simulator.errors import InputError
from simulator.workload import LayerRun, Model, decode_step, from_hf_config

FOLDER = "workloads/models"

#: Parameters of the checkpoints as their tensors add up (the papers' figures for GPT-3 and MT-NLG,
#: the model card's for BitNet, NeuPIMs' for its 30B), and how near ours must be.
CHECKPOINTS = {
    "llama-2-7b": (6_738_415_616, 0.0),
    "llama-2-70b": (68_976_648_192, 0.0),
    "llama-3-8b": (8_030_261_248, 0.0),
    "mistral-7b": (7_241_732_096, 0.0),
    "opt-6.7b": (6_658_473_984, 0.0),
    "gpt-2": (124_439_808, 0.0),
    "gpt-2-medium": (354_823_168, 0.0),
    "gpt-2-large": (774_030_080, 0.0),
    "gpt-2-xl": (1_557_611_200, 0.0),
    "gpt-2-xl-24-heads": (1_557_611_200, 0.08),  # of a width of 1,536, not 1,600
    "gpt-2-2.5b": (2_500_000_000, 0.005),
    "gpt-3-175b": (175_000_000_000, 0.005),
    "gpt3-7b": (6_700_000_000, 0.01),
    "gpt3-13b": (13_000_000_000, 0.015),  # of a width of 5,120, not the 5,140 that is printed
    "gpt3-30b": (30_000_000_000, 0.005),
    "llama-65b": (65_285_660_672, 0.0),
    "llama-3-70b": (70_553_706_496, 0.0),
    "mt-nlg-530b": (530_000_000_000, 0.005),
    "opt-66b": (65_719_701_504, 0.0),
    "bitnet-b1.58-3b": (3_320_000_000, 0.005),
}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_scaling": None,
    "torch_dtype": "float16",
}
QWEN2 = {
    **LLAMA,
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "sliding_window": 131072,
    "max_window_layers": 28,
    "use_sliding_window": False,
}
GEMMA2 = {
    "model_type": "gemma2",
    "architectures": ["Gemma2ForCausalLM"],
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "query_pre_attn_scalar": 256,
}
PHI3 = {
    **LLAMA,
    "model_type": "phi3",
    "architectures": ["Phi3ForCausalLM"],
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "vocab_size": 32064,
    "sliding_window": 2047,
}
OPT = {
    "model_type": "opt",
    "hidden_size": 768,
    "ffn_dim": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 50272,
    "max_position_embeddings": 2048,
    "word_embed_proj_dim": 768,
    "do_layer_norm_before": True,
}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_embd": 1600,
    "n_layer": 48,
    "n_head": 25,
    "n_positions": 1024,
    "n_inner": None,
    "vocab_size": 50257,
    "activation_function": "gelu_new",
}
BLOOM = {
    "model_type": "bloom",
    "architectures": ["BloomModel"],
    "n_embed": 1024,
    "n_layer": 24,
    "num_attention_heads": 16,
    "n_inner": None,
    "offset_alibi": 100,
    "vocab_size": 250880,
}
BITNET = {
    **LLAMA,
    "architectures": ["BitnetForCausalLM"],
    "hidden_size": 3200,
    "intermediate_size": 8640,
    "num_hidden_layers": 26,
    "vocab_size": 32002,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def shipped(name: str) -> Model:
    """Load a shipped model."""
    return load_part(Model, name, "workloads/models", noun="model")


def read(folder: Path, config: dict[str, Any]) -> Model:
    """Write a config.json and read it as a model."""
    (folder / "config.json").write_text(json.dumps(config))
    return from_hf_config(folder)


@pytest.mark.parametrize(("name", "expected"), CHECKPOINTS.items())
def test_parameters_are_those_of_the_checkpoint(name: str, expected: tuple[int, float]) -> None:
    """Norms, biases and position tables included, tied tables once."""
    parameters, tolerance = expected
    assert abs(shipped(name).parameters - parameters) <= tolerance * parameters


def test_all_shipped_models_are_checked_here_and_carry_their_name() -> None:
    """A new file needs a line in CHECKPOINTS; a file says its own name and its source."""
    assert names(FOLDER) == sorted(CHECKPOINTS)
    for name in names(FOLDER):
        model = shipped(name)
        assert model.name == name
        assert len(model.source) > 40


def test_a_dumped_model_loads_equal(tmp_path: Path) -> None:
    """Nothing is lost in YAML."""
    for name in names(FOLDER):
        model = shipped(name)
        file = tmp_path / f"{name}.yaml"
        file.write_text(dump_yaml(model))
        assert load_part(Model, file, FOLDER) == model


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (LLAMA, 6_738_415_616),
        (QWEN2, 7_615_616_512),
        (GEMMA2, 2_614_341_888),
        (PHI3, 3_821_079_552),
        (OPT, 125_239_296),
        (GPT2, 1_557_611_200),
        (BLOOM, 559_214_592),
    ],
)
def test_parameters_from_hugging_face(
    config: dict[str, Any], parameters: int, tmp_path: Path
) -> None:
    """llama-2-7b, Qwen2-7B, gemma-2-2b, Phi-3-mini, opt-125m, gpt2-xl, bloom-560m."""
    assert read(tmp_path, config).parameters == parameters


def test_hugging_face_agrees_with_the_shipped_files(tmp_path: Path) -> None:
    """The same model, whichever way it comes."""
    mistral = {
        **LLAMA,
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
    }
    for config, name in (
        (LLAMA, "llama-2-7b"),
        (mistral, "mistral-7b"),
        (BITNET, "bitnet-b1.58-3b"),
    ):
        ours, theirs = resolved(shipped(name)), resolved(read(tmp_path, config))
        for key in ("name", "summary", "family", "source"):
            del ours[key], theirs[key]
        assert ours == theirs


def test_names_come_from_the_folder_or_the_file(tmp_path: Path) -> None:
    """config.json is named after its folder."""
    folder = tmp_path / "my-llama"
    folder.mkdir()
    assert read(folder, LLAMA).name == "my-llama"
    (tmp_path / "other.json").write_text(json.dumps(LLAMA))
    model = from_hf_config(tmp_path / "other.json")
    assert (model.name, model.family) == ("other", "llama")


def test_a_folder_does_not_stand_in_for_a_model_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("llama-2-7b", "mine"):
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps(GPT2))
    assert load_model("llama-2-7b").family == "llama"
    assert load_model("mine").family == "gpt2"
    Path("config.json").write_text(json.dumps(GPT2))
    with pytest.raises(InputError, match="unknown model ''"):
        load_model("")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8-sig")
    assert from_hf_config(file).parameters == 6_738_415_616


def test_a_quantised_checkpoint_is_noted_and_its_formats_are_asked_for(tmp_path: Path) -> None:
    """The formats of a run are arguments: as floats, the result says what it did not follow."""
    how = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    model = read(tmp_path, {**LLAMA, "quantization_config": how})
    assert model.quantised == "quant_method awq, bits 4, group_size 128"
    assert decode_step(model, context=8).warnings == (
        f"the checkpoint of {model.name} is quantised (quant_method awq, bits 4, group_size 128); "
        "its weights count as fp16 here: give their format",
    )
    assert decode_step(model, context=8, weights="int4-g128").warnings == ()
    assert read(tmp_path, LLAMA).quantised is None
    with pytest.raises(InputError, match="quantization_config: expected a mapping, got 4"):
        read(tmp_path, {**LLAMA, "quantization_config": 4})


def test_defaults_of_absent_keys(tmp_path: Path) -> None:
    """What transformers fills in where a config says nothing."""
    bare = {key: LLAMA[key] for key in list(LLAMA)[2:6] if key != "num_key_value_heads"}
    bare |= {"vocab_size": 32000, "max_position_embeddings": 4096}
    llama = read(tmp_path, {"model_type": "llama", **bare})
    assert (llama.kv_heads, llama.head_dim, llama.tie_embedding) == (32, 128, False)
    assert (llama.activation, llama.qkv_bias, llama.sliding_window) == ("silu", False, None)
    mistral = read(tmp_path, {"model_type": "mistral", **bare})
    assert (mistral.kv_heads, mistral.sliding_window) == (8, 4096)
    assert (
        read(tmp_path, {"model_type": "mistral", "sliding_window": None, **bare}).sliding_window
        is None
    )
    assert read(tmp_path, {**GEMMA2}).tie_embedding
    gpt2 = read(tmp_path, GPT2)
    assert (gpt2.ffn, gpt2.tie_embedding, gpt2.activation) == (6400, True, "gelu_tanh")
    bloom = read(tmp_path, BLOOM)
    assert (bloom.ffn, bloom.max_context, bloom.embedding_norm) == (4096, 2048, True)
    assert read(tmp_path, {**BLOOM, "seq_length": 4096}).max_context == 4096


def test_gemma2_alternates_windows_and_caps(tmp_path: Path) -> None:
    """Local first, then global; soft caps only where they are set."""
    model = read(tmp_path, GEMMA2)
    assert model.layer_runs == (LayerRun("layer_pair", (4096, None), 13, 0),)
    assert model.post_norms
    assert (model.attention_softcap, model.logit_softcap) == (True, True)
    plain = read(tmp_path, {**GEMMA2, "attn_logit_softcapping": None})
    assert (plain.attention_softcap, plain.logit_softcap) == (False, True)
    odd = replace(model, {"layers": 5})
    assert odd.layer_runs[1:] == (LayerRun("layer_last", (4096,), 1, 4),)


def test_qwen2_windows_start_at_a_layer(tmp_path: Path) -> None:
    """Only with use_sliding_window, and from max_window_layers up."""
    assert read(tmp_path, QWEN2).sliding_window is None
    part = {**QWEN2, "use_sliding_window": True, "max_window_layers": 20}
    assert read(tmp_path, part).layer_runs == (
        LayerRun("layer_full", (None,), 20, 0),
        LayerRun("layer_window", (131072,), 8, 20),
    )
    none = {**part, "max_window_layers": 28}
    assert read(tmp_path, none).layer_runs == (LayerRun("layer", (None,), 28, 0),)


def test_layer_types_say_which_layers_have_a_window(tmp_path: Path) -> None:
    """The explicit list of newer files."""
    kinds = ["sliding_attention", "full_attention"] * 13
    assert read(tmp_path, {**GEMMA2, "layer_types": kinds}) == read(tmp_path, GEMMA2)
    full = {**GEMMA2, "layer_types": ["full_attention"] * 26}
    assert read(tmp_path, full).sliding_window is None
    late = {**GEMMA2, "layer_types": ["full_attention"] * 20 + ["sliding_attention"] * 6}
    assert read(tmp_path, late).first_window_layer == 20


def test_partial_rotary_positions(tmp_path: Path) -> None:
    """Phi-4-mini turns three quarters of each head."""
    assert read(tmp_path, PHI3).rotary_dim is None
    assert read(tmp_path, {**PHI3, "partial_rotary_factor": 0.75}).rotary_dim == 72
    nested = {**PHI3, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.75}}
    assert read(tmp_path, nested).rotary_dim == 72


def test_shipped_models_agree_with_the_collected_configs() -> None:
    """Against the table of hyper-parameters that was collected from public files."""
    root = Path(os.environ.get("NIBBLESIM_DATA", data_root().parent / "shared" / "data"))
    table = root / "model_configs" / "llm_configs.csv"
    if not table.is_file():
        pytest.skip(f"no {table.name}: set NIBBLESIM_DATA (sources are listed in each row)")
    with table.open(newline="") as stream:
        rows = {row["model"].lower(): row for row in csv.DictReader(stream)}
    fields = {
        **{name: name for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn")},
        **{"vocab": "vocab", "max_context": "max_ctx", "gated_ffn": "gated_ffn"},
        "tie_embedding": "tie_embed",
    }
    renamed = {"gpt-2": "gpt2", "gpt3-7b": "gpt-3-6.7b", "gpt3-13b": "gpt-3-13b"}
    renamed |= {"gpt3-30b": "gpt-3-30b(neupims)"}
    renamed |= {f"gpt-2-{size}": f"gpt2-{size}" for size in ("medium", "large", "xl")}
    not_collected = {"llama-65b", "mt-nlg-530b", "gpt-2-xl-24-heads", "gpt-2-2.5b"}
    for name in sorted({*names(FOLDER)} - not_collected):
        model, row = shipped(name), rows[renamed.get(name, name)]
        for ours, theirs in fields.items():
            assert int(getattr(model, ours)) == int(row[theirs]), (name, ours)
