"""What all models of a family have in common, so that a small model need not say it.

Only what the family fixes stands here: the models of llama differ in key-value heads and in tied
tables, so each says them itself. Model files that come with the package say everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """The fields that a family fixes; `equal_heads`: each query head has its own keys and values.

    The head dimension is hidden / heads in every family of the table.
    """

    fields: Mapping[str, Any]
    equal_heads: bool
    source: str


FAMILIES = {
    "gpt2": Family(
        {
            "gated_ffn": False,
            "activation": "gelu_tanh",
            "norm": "layernorm",
            "position": "learned",
            "tie_embedding": True,
            "qkv_bias": True,
            "output_bias": True,
            "ffn_bias": True,
        },
        equal_heads=True,
        source="Radford et al. 2019, section 2.3, as in src/model.py of openai/gpt-2",
    ),
    "llama": Family(
        {"gated_ffn": True, "activation": "silu", "norm": "rmsnorm", "position": "rope"},
        equal_heads=False,
        source="Touvron et al. 2023, arXiv 2302.13971, section 2.2",
    ),
}


def filled_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with what its family fixes where it says nothing; as it is for other families.

    Errors: ValueError where the head dimension is not given and heads do not divide hidden.
    """
    name = data.get("family")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        return dict(data)
    filled = {
        "summary": "not given",
        "source": f"sizes: not given; the rest is that of {name}: {family.source}",
        **family.fields,
    }
    if family.equal_heads:
        filled["kv_heads"] = _size(data, "heads") or 1
    if "head_dim" not in data:
        filled["head_dim"] = _head_dim(_size(data, "hidden"), _size(data, "heads"))
    return {**filled, **data}


def _size(data: Mapping[str, Any], name: str) -> int | None:
    """Return a size, None where it is missing or wrong: the model is refused for that alone."""
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _head_dim(hidden: int | None, heads: int | None) -> int:
    if hidden is None or heads is None:
        return 1
    if hidden % heads:
        raise ValueError(
            f"hidden ({hidden}) must be a multiple of heads ({heads}), or head_dim be given"
        )
    return hidden // heads
