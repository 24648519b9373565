"""From pydantic's error records to the sentences that users read: path, value, what to write.

The path is the one of the YAML file: pydantic's also names the chosen member of a union, which
is dropped by walking the schema alongside.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_LONGEST_VALUE = 60
_EXPONENT = re.compile(r"([-+]?\d+(?:\.\d*)?)[eE]([-+]?\d{1,3})")
_LEADING_ZERO = re.compile(r"[-+]?0+(\d+)")
_BASE_60 = re.compile(r"\d+(?::\d{1,2})+")
_YAML_11_BOOLEANS = ("yes", "no", "on", "off", "y", "n")
_BOUNDS = {
    "greater_than_equal": ("ge", ">="),
    "greater_than": ("gt", ">"),
    "less_than_equal": ("le", "<="),
    "less_than": ("lt", "<"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice nearest to `word`, or "" if none is near.

    One that starts with the word comes before others. What stands after the last dot of a choice
    may be near, too; all that end so are named: "did you mean 'prefill.x' or 'decode.x'?".
    """
    known: dict[str, list[str]] = {}
    for choice in sorted(choices):
        whole = choice.lower()
        for text in {whole, whole.rpartition(".")[2]}:
            known.setdefault(text, []).append(choice)
    near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.6)
    near = [text for text in near if text.startswith(word.lower())] or near
    return f"; did you mean {' or '.join(map(repr, known[near[0]]))}?" if near else ""


def unknown(noun: str, word: str, choices: Iterable[str], *, listed: str = "") -> str:
    """Return "unknown NOUN 'word'; did you mean 'x'? known: x, y".

    listed: where the choices can be read, in place of them all.
    """
    choices = sorted(choices)
    near = did_you_mean(word, choices)
    join = f"{near} " if near else "; "
    return f"unknown {noun} {word!r}{join}known: {listed or ', '.join(choices) or 'none'}"


def describe(error: ValidationError, schema: Any, label: str = "", *, root: str = "") -> list[str]:
    """Return one line for each problem in `error`, raised in making an object of `schema`.

    label: what lines begin with. root: what paths do.
    """
    lines = [_line(record, schema, root) for record in error.errors(include_url=False)]
    return [f"{label}: {line}" for line in lines] if label else lines


def _line(record: ErrorDetails, schema: Any, root: str) -> str:
    path, parent = _walk(schema, record["loc"])
    sentence = _tag_sentence(record, path) or _sentence(record, path, parent)
    shown = _dotted([root, *path] if root else path)
    return f"{shown}: {sentence}" if shown else sentence


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _tag_sentence(record: ErrorDetails, path: list[str | int]) -> str:
    """Word a wrong or absent `kind:` and point `path` at it; "" for any other problem."""
    context = record.get("ctx", {})
    if record["type"] == "union_tag_not_found":
        path.append(str(context["discriminator"]).strip("'"))
        return "missing"
    if record["type"] == "union_tag_invalid":
        path.append(str(context["discriminator"]).strip("'"))
        return unknown(str(path[-1]), str(context["tag"]), _quoted(context["expected_tags"]))
    return ""


def _sentence(record: ErrorDetails, path: Sequence[str | int], parent: Any) -> str:
    kind, value, context = record["type"], record["input"], record.get("ctx", {})
    shown = _shown(value)
    if kind == "missing":
        return "missing"
    if kind == "extra_forbidden":
        near = did_you_mean(str(path[-1]), _keys(parent))
        return f"unknown key{near or _of_kind(parent)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        return f"must be {sign} {context[name]}, got {shown}"
    if kind in ("literal_error", "enum"):
        noun = path[-1] if path and isinstance(path[-1], str) else "value"
        words = _quoted(context["expected"])
        if isinstance(value, str) and words:
            return unknown(noun, value, words)
        known = ", ".join(words) or str(context["expected"]).replace(" or ", ", ")
        return f"must be one of {known}, got {shown}"
    if kind in ("too_short", "too_long"):
        return _length(context)
    return _type_sentence(kind, value, shown) or f"{record['msg'].lower()}, got {shown}"


def _length(context: Mapping[str, Any]) -> str:
    if "min_length" in context and "max_length" not in context:
        return f"must have at least {context['min_length']} entries, got {context['actual_length']}"
    return f"must have at most {context['max_length']} entries, got {context['actual_length']}"


def _type_sentence(kind: str, value: object, shown: str) -> str:
    head = kind.split("_")[0]
    if head == "int":
        return f"expected an integer, got {shown}{_trap(value, 'int')}"
    if head == "float":
        return f"expected a number, got {shown}{_trap(value, 'float')}"
    if head == "bool":
        return f"expected true or false, got {shown}{_trap(value, 'bool')}"
    if kind == "finite_number":
        return f"must be finite, got {shown}"
    if kind == "string_type":
        return f"expected text, got {shown}"
    if kind in ("list_type", "tuple_type"):
        return f"expected a list, got {shown}"
    if kind in ("dict_type", "model_type", "model_attributes_type", "mapping_type"):
        return f"expected a mapping, got {shown}"
    return ""


def _trap(value: object, wanted: str) -> str:
    """Say what to write in place of text that looks like a number or a truth value."""
    if not isinstance(value, str):
        return ""
    if value.lower() in _YAML_11_BOOLEANS:
        return " (yes, no, on and off are ambiguous in YAML; write true or false)"
    if wanted != "bool" and (match := _LEADING_ZERO.fullmatch(value)):
        return f" (a leading zero is ambiguous in YAML; write {match.group(1)})"
    if _BASE_60.fullmatch(value):
        return " (YAML may read this as base 60; write one plain number)"
    if match := _EXPONENT.fullmatch(value):
        return f" (YAML reads this as text; write {_plain_number(match, wanted)})"
    return ""


def _plain_number(match: re.Match[str], wanted: str) -> str:
    mantissa, exponent = match.group(1), int(match.group(2))
    if wanted == "int" and "." not in mantissa and 0 <= exponent <= 18:
        return str(int(mantissa) * 10**exponent)
    point = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{point}e{exponent:+d}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _quoted(listed: object) -> list[str]:
    return re.findall(r"'([^']*)'", str(listed))


def _keys(parent: Any) -> list[str]:
    fields = _fields(parent)
    return [info.alias or name for name, info in fields.items()]


def _of_kind(parent: Any) -> str:
    """Say which keys the kind of a part has, where others of its kinds have others."""
    fields = _fields(parent)
    kinds = get_args(fields["kind"].annotation) if "kind" in fields else ()
    if not kinds:
        return ""
    keys = ", ".join(sorted(key for key in _keys(parent) if key != "kind"))
    return f"; kind {' or '.join(map(repr, kinds))} has: {keys}"


def _fields(schema: Any) -> dict[str, FieldInfo]:
    is_model = isinstance(schema, type) and issubclass(schema, BaseModel)
    return dict(schema.model_fields) if is_model else {}


def _walk(schema: Any, location: Sequence[str | int]) -> tuple[list[str | int], Any]:
    """Return the path as the file has it, and the schema of the mapping that its end stands in."""
    path: list[str | int] = []
    here, parent = schema, None
    for step in location:
        here = _bare(here)
        members = _members(here)
        if members:
            here = next((member for member in members if _answers(member, str(step))), None)
            continue
        if step == "[key]":
            continue
        parent = here
        path.append(step)
        here = _below(here, step)
    return path, parent


def _below(schema: Any, step: str | int) -> Any:
    """Return the schema of the value under key or index `step`, None where it is not known."""
    for name, info in _fields(schema).items():
        if step in (name, info.alias):
            return info.annotation
    arguments = [argument for argument in get_args(schema) if argument is not Ellipsis]
    if isinstance(step, int) and step < len(arguments):
        return arguments[step]
    return arguments[-1] if arguments else None


def _bare(schema: Any) -> Any:
    """Strip `Annotated`, type aliases and `| None`."""
    while True:
        if get_origin(schema) is Annotated:
            schema = get_args(schema)[0]
        elif hasattr(schema, "__value__"):
            schema = schema.__value__
        elif get_origin(schema) in (Union, UnionType) and len(_members(schema)) == 1:
            schema = _members(schema)[0]
        else:
            return schema


def _members(schema: Any) -> list[Any]:
    if get_origin(schema) not in (Union, UnionType):
        return []
    return [member for member in get_args(schema) if member is not type(None)]


def _answers(member: Any, tag: str) -> bool:
    """Tell whether `tag` is how pydantic names this member of a union."""
    member = _bare(member)
    if getattr(member, "__name__", None) == tag:
        return True
    kind = _fields(member).get("kind")
    return kind is not None and tag in get_args(kind.annotation)
