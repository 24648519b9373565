"""Reads a Hugging Face `config.json` of one of eight families as a `Model`.

Key names, and the defaults of absent keys, are those of the configuration classes in
huggingface/transformers (src/transformers/models/<family>/configuration_<family>.py). A size that
has no sensible default must be given. Settings that change neither shapes nor operation counts
(token ids, dropout, RoPE base and scaling, dtype) are not read. How a checkpoint is quantised is
noted, not followed: the formats of a workload are arguments.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.config.problems import describe
from simulator.errors import InputError
from simulator.workload.hf_keys import MAX_BYTES, Keys
from simulator.workload.model import Model

#: The context that BLOOM was trained with (Le Scao et al. 2022, table 3); ALiBi itself has no limit
#: and most of its config files state none.
BLOOM_CONTEXT = 2048

#: Heads of a causal language model by family; a config may also name no architecture.
_ARCHITECTURES = {
    "bloom": ("BloomForCausalLM", "BloomModel"),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Model"),
    "gpt2": ("GPT2LMHeadModel", "GPT2Model"),
    "llama": ("LlamaForCausalLM", "LlamaModel", "BitnetForCausalLM"),
    "mistral": ("MistralForCausalLM", "MistralModel"),
    "opt": ("OPTForCausalLM", "OPTModel"),
    "phi3": ("Phi3ForCausalLM", "Phi3Model"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Model"),
}

#: What a quantised checkpoint says of itself.
_QUANTISATION = ("quant_method", "bits", "group_size", "load_in_4bit", "load_in_8bit", "fmt")

_REFUSED = {
    "num_local_experts": "a mixture of experts is not supported",
    "num_experts": "a mixture of experts is not supported",
    "n_routed_experts": "a mixture of experts is not supported",
    "kv_lora_rank": "latent attention is not supported",
    "is_encoder_decoder": "encoder-decoder models are not supported",
    "add_cross_attention": "cross attention is not supported",
    "use_bidirectional_attention": "only causal attention is supported",
}


def from_hf_config(path: str | Path) -> Model:
    """Read `path`, a config.json or the folder that holds one, as a model.

    The model is named after the file, or after its folder where the file is `config.json`. Raises
    one InputError with a line for each problem: unreadable or truncated JSON, another model_type,
    missing or wrong values, features that are not modelled.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    keys = Keys(str(file), _read_json(file, str(file)))
    family = keys.text("model_type", None)
    if family not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        given = f"model_type '{family}' is not supported" if family else "model_type: missing"
        raise InputError(f"{file}: {given}; supported: {known}")
    for key, reason in _REFUSED.items():
        keys.refuse(key, reason)
    keys.architecture(_ARCHITECTURES[family])
    fields = _FAMILIES[family](keys)
    fields["quantised"] = keys.described("quantization_config", _QUANTISATION)
    if keys.problems:
        raise InputError(keys.problems)
    name = file.resolve().parent.name if file.name == "config.json" else file.stem
    about = {
        "name": name,
        "summary": f"read from a Hugging Face config.json ({family})",
        "family": family,
        "source": f"Hugging Face config.json of {name}",
    }
    try:
        return Model.model_validate({**about, **fields})
    except ValidationError as error:
        raise InputError(describe(error, Model, str(file))) from error


def _read_json(file: Path, label: str) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{label}: no such file") from None
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{label}: is larger than {MAX_BYTES // 2**20} MiB")
    try:
        data = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise InputError(f"{label}: is not UTF-8 text (at byte {error.start})") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{label}: not valid JSON: {error.msg} ({place})") from error
    except RecursionError:
        raise InputError(f"{label}: not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{label}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{label}: expected a mapping of keys to values at the top of the file")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key '{twice}' is given twice")
    return data


def _rope_decoder(keys: Keys, *, tied: bool = False, kv_heads: int | None = None) -> dict[str, Any]:
    """Read what llama, mistral, qwen2, gemma2 and phi3 share; `kv_heads` absent: as heads."""
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    head_dim = keys.integer("head_dim", default=keys.quotient("hidden_size", hidden, heads))
    return {
        "hidden": hidden,
        "layers": keys.integer("num_hidden_layers"),
        "heads": heads,
        "kv_heads": keys.integer("num_key_value_heads", default=kv_heads or heads),
        "head_dim": head_dim,
        "ffn": keys.integer("intermediate_size"),
        "vocab": keys.integer("vocab_size"),
        "max_context": keys.integer("max_position_embeddings"),
        "gated_ffn": True,
        "norm": "rmsnorm",
        "position": "rope",
        "rotary_dim": keys.rotary_dim(head_dim),
        "tie_embedding": keys.flag("tie_word_embeddings", tied),
    }


def _llama(keys: Keys) -> dict[str, Any]:
    """`BitnetForCausalLM` (1bitLLM) is a llama with a norm before each output projection."""
    attention_bias = keys.flag("attention_bias", False)
    return {
        **_rope_decoder(keys),
        **keys.windows(None),
        "activation": keys.activation("hidden_act", "silu"),
        "qkv_bias": attention_bias,
        "output_bias": attention_bias,
        "ffn_bias": keys.flag("mlp_bias", False),
        "sub_norms": "BitnetForCausalLM" in keys.texts("architectures"),
    }


def _mistral(keys: Keys) -> dict[str, Any]:
    return {
        **_rope_decoder(keys, kv_heads=8),
        **keys.windows(keys.optional_integer("sliding_window", default=4096)),
        "activation": keys.activation("hidden_act", "silu"),
    }


def _phi3(keys: Keys) -> dict[str, Any]:
    """The fused qkv and gate-up projections have the counts of separate ones."""
    return {
        **_rope_decoder(keys),
        **keys.windows(keys.optional_integer("sliding_window", default=None)),
        "activation": keys.activation("hidden_act", "silu"),
    }


def _qwen2(keys: Keys) -> dict[str, Any]:
    """Queries, keys and values have biases; layers from `max_window_layers` up may be windowed."""
    window = None
    if keys.flag("use_sliding_window", False):
        window = keys.optional_integer("sliding_window", default=4096)
    first = keys.integer("max_window_layers", default=28, least=0)
    return {
        **_rope_decoder(keys, kv_heads=32),
        **keys.windows(window, first=first),
        "activation": keys.activation("hidden_act", "silu"),
        "qkv_bias": True,
    }


def _gemma2(keys: Keys) -> dict[str, Any]:
    """Every second layer, from the first, has the window; norms on both sides of each block."""
    keys.require("num_key_value_heads", "head_dim")
    window = keys.optional_integer("sliding_window", default=4096)
    bias = keys.flag("attention_bias", False)
    return {
        **_rope_decoder(keys, tied=True),
        **keys.windows(window, alternate=True),
        "activation": keys.activation("hidden_activation", "gelu_pytorch_tanh"),
        "qkv_bias": bias,
        "output_bias": bias,
        "post_norms": True,
        "embedding_scale": True,
        "attention_softcap": keys.given("attn_logit_softcapping", default=True),
        "logit_softcap": keys.given("final_logit_softcapping", default=True),
    }


def _biased_decoder(
    keys: Keys, hidden: int, heads: int, layers: int, ffn: int, *, bias: bool = True
) -> dict[str, Any]:
    """Describe what opt, gpt2 and bloom share: LayerNorm, equal heads, plain FFN, tied tables."""
    return {
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": keys.quotient("hidden size", hidden, heads),
        "ffn": ffn,
        "vocab": keys.integer("vocab_size"),
        "gated_ffn": False,
        "norm": "layernorm",
        "tie_embedding": keys.flag("tie_word_embeddings", True),
        "qkv_bias": bias,
        "output_bias": bias,
        "ffn_bias": bias,
    }


def _opt(keys: Keys) -> dict[str, Any]:
    """The position table has two rows more than positions."""
    hidden, heads = keys.integer("hidden_size", "d_model"), keys.integer("num_attention_heads")
    projected = keys.optional_integer("word_embed_proj_dim", default=hidden)
    if projected not in (None, hidden):
        reason = "projected embeddings (as in opt-350m) are not supported"
        sizes = f"{projected} differs from hidden_size {hidden}"
        keys.problem("word_embed_proj_dim", f"{sizes}; {reason}")
    keys.expect("do_layer_norm_before", True, "norms after the blocks are not supported")
    keys.expect("layer_norm_elementwise_affine", True, "norms without gain are not supported")
    keys.expect("_remove_final_layer_norm", False, "a final norm is assumed")
    layers, ffn = keys.integer("num_hidden_layers"), keys.integer("ffn_dim")
    bias = keys.flag("enable_bias", True)
    return {
        **_biased_decoder(keys, hidden, heads, layers, ffn, bias=bias),
        "max_context": keys.integer("max_position_embeddings"),
        "position": "learned",
        "position_offset": 2,
        "activation": keys.activation("activation_function", "relu"),
    }


def _gpt2(keys: Keys) -> dict[str, Any]:
    hidden = keys.integer("n_embd", "hidden_size")
    heads = keys.integer("n_head", "num_attention_heads")
    layers = keys.integer("n_layer", "num_hidden_layers")
    ffn = keys.integer("n_inner", default=4 * hidden)
    return {
        **_biased_decoder(keys, hidden, heads, layers, ffn),
        "max_context": keys.integer("n_positions", "max_position_embeddings"),
        "position": "learned",
        "activation": keys.activation("activation_function", "gelu_new"),
    }


def _bloom(keys: Keys) -> dict[str, Any]:
    """The FFN is 4 x hidden with the tanh form of GELU; the embedding is normalised."""
    hidden = keys.integer("hidden_size", "n_embed")
    heads = keys.integer("n_head", "num_attention_heads")
    layers = keys.integer("n_layer", "num_hidden_layers")
    if keys.optional_integer("n_inner", default=None) not in (None, 4 * hidden):
        keys.problem("n_inner", f"must be 4 x the hidden size {hidden}, as BLOOM's code has it")
    return {
        **_biased_decoder(keys, hidden, heads, layers, 4 * hidden),
        "max_context": keys.integer("seq_length", "max_position_embeddings", default=BLOOM_CONTEXT),
        "position": "alibi",
        "activation": "gelu_tanh",
        "embedding_norm": True,
    }


_FAMILIES: dict[str, Callable[[Keys], dict[str, Any]]] = {
    "bloom": _bloom,
    "gemma2": _gemma2,
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _mistral,
    "opt": _opt,
    "phi3": _phi3,
    "qwen2": _qwen2,
}
