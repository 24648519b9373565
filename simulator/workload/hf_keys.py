"""Typed look-ups in the mapping of a Hugging Face `config.json`, gathering every problem."""

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.config import unknown

MAX_BYTES = 2**20

#: What transformers' activation names compute, in the names of `Model.activation`.
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


class Keys:
    """The keys of one config; each look-up returns a usable value and notes what is wrong.

    After a problem the value returned is a stand-in (1 for an integer), so that all problems of a
    file are found; a caller must not use the values while `problems` is not empty. A key that is
    null counts as absent, as in transformers, except in `optional_integer` and `given`.
    """

    def __init__(self, label: str, data: Mapping[str, Any]) -> None:
        """Read `data`; problems start with `label`."""
        self.problems: list[str] = []
        self._label = label
        self._data = data

    def problem(self, key: str, sentence: str) -> None:
        """Note a problem of a key."""
        line = f"{self._label}: {key}: {sentence}"
        if line not in self.problems:
            self.problems.append(line)

    def _first(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if self._data.get(name) is not None), None)

    def require(self, *names: str) -> None:
        """Note each name that is absent."""
        for name in names:
            if self._data.get(name) is None:
                self.problem(name, "missing")

    def integer(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """Return the first of `names` that is given; with no default, one must be."""
        name = self._first(names)
        if name is None:
            if default is None:
                self.problem(names[0], "missing")
            return 1 if default is None else default
        value = self._data[name]
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(name, f"expected an integer, got {value!r}")
            return 1
        if value < least:
            self.problem(name, f"must be >= {least}, got {value}")
            return 1
        return value

    def optional_integer(self, name: str, *, default: int | None) -> int | None:
        """Return an integer, None where the key is null, the default where it is absent."""
        if name not in self._data:
            return default
        return None if self._data[name] is None else self.integer(name)

    def given(self, name: str, *, default: bool) -> bool:
        """Tell whether a key is there and not null; absent: the default."""
        return self._data[name] is not None if name in self._data else default

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(name, f"expected true or false, got {value!r}")
            return default
        return value

    def text(self, name: str, default: str | None) -> str | None:
        """Return a text."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problem(name, f"expected text, got {value!r}")
            return default
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; absent: empty."""
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.problem(name, f"expected a list of text, got {value!r}")
            return []
        return value

    def described(self, name: str, keys: Sequence[str]) -> str | None:
        """Return what a mapping says under some keys, in words; absent or null: None."""
        value = self._data.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.problem(name, f"expected a mapping, got {value!r}")
            return None
        said = [f"{key} {value[key]}" for key in keys if value.get(key) not in (None, False)]
        return ", ".join(said) or "how, it does not say"

    def activation(self, name: str, default: str) -> str:
        """Return the name of `Model.activation` for a transformers activation."""
        value = self.text(name, default) or default
        if value not in _ACTIVATIONS:
            self.problem(name, unknown("activation", value, _ACTIVATIONS))
            return "silu"
        return _ACTIVATIONS[value]

    def quotient(self, name: str, value: int, divisor: int) -> int:
        """Return value / divisor, the head size; a remainder is a problem unless it is given."""
        if value % divisor and self._data.get("head_dim") is None and not self.problems:
            self.problem(name, f"{value} is not a multiple of the {divisor} attention heads")
        return max(1, value // divisor)

    def rotary_dim(self, head_dim: int) -> int | None:
        """Return int(head_dim x partial_rotary_factor), None where all is turned."""
        inner = self._data.get("rope_parameters")
        nested = inner.get("partial_rotary_factor") if isinstance(inner, dict) else None
        factor = self._data.get("partial_rotary_factor", nested)
        if factor is None or factor == 1:
            return None
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            self.problem("partial_rotary_factor", f"expected a number, got {factor!r}")
            return None
        if not 0 < factor < 1 or int(head_dim * factor) < 1:
            self.problem("partial_rotary_factor", f"must be within 0 and 1, got {factor}")
            return None
        return int(head_dim * factor)

    def windows(
        self, window: int | None, *, first: int = 0, alternate: bool = False
    ) -> dict[str, Any]:
        """Return the window fields of `Model`.

        The layers with `window` are those from `first` up, or every second one from the first;
        `layer_types`, where given, says which.
        """
        kinds = self.texts("layer_types")
        if kinds:
            return self._pattern(window, kinds)
        if window is None:
            return {"sliding_window": None}
        if alternate:
            return {"sliding_window": window, "window_layers": "alternate"}
        return {"sliding_window": window, "first_window_layer": first}

    def _pattern(self, window: int | None, kinds: Sequence[str]) -> dict[str, Any]:
        """Recognise no windows, windows from a layer up, or in every second layer."""
        sliding = [kind == "sliding_attention" for kind in kinds]
        strange = set(kinds) - {"sliding_attention", "full_attention"}
        fits = len(kinds) == self.integer("num_hidden_layers")
        if strange or not fits or (any(sliding) and window is None):
            self.problem("layer_types", "does not fit the layers or the sliding_window")
        if not any(sliding):
            return {"sliding_window": None}
        first = sliding.index(True)
        if all(sliding[first:]):
            return {"sliding_window": window, "first_window_layer": first}
        if sliding != [layer % 2 == 0 for layer in range(len(sliding))]:
            self.problem(
                "layer_types", "windows are supported from one layer up or in every second"
            )
        return {"sliding_window": window, "window_layers": "alternate"}

    def refuse(self, name: str, reason: str) -> None:
        """Note a feature that is not modelled, where the key is set."""
        if self._data.get(name):
            self.problem(name, reason)

    def expect(self, name: str, value: bool, reason: str) -> None:
        """Note a flag that is not `value` (its default)."""
        if self.flag(name, value) is not value:
            self.problem(name, reason)

    def architecture(self, known: Sequence[str]) -> None:
        """Note architectures that are none of the family's language models."""
        for name in self.texts("architectures"):
            if name not in known:
                self.problem("architectures", unknown("architecture", name, known))
