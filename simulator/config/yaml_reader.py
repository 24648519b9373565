"""Strict reading of one YAML file: plain mappings, lists and scalars, every doubt refused.

The file is read event by event, so that nesting, anchors and tags are met before anything is
built. Scalars follow a small subset of YAML 1.2: what PyYAML would quietly turn into something
else (`no`, `012`, `1:30`, `1e9`, dates) stays text, and the schema then says what to write.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

import yaml

from simulator.errors import InputError

#: A value as YAML and JSON can hold it.
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

MAX_BYTES = 2**20
MAX_NESTING = 32

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]{0,39})\.[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+][0-9]+)?"
)
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Document:
    """What one file says, and the problems met in reading it (one line each, with the file)."""

    label: str
    data: dict[str, Plain]
    problems: list[str] = field(default_factory=list)


def read_yaml(path: Path, label: str | None = None) -> Document:
    """Read the mapping in `path`; messages call the file `label` (default: the path as given).

    Twice-given keys go to `problems`; what makes the rest unreadable raises `InputError`.
    """
    name = str(path) if label is None else label
    text = _text(path, name)
    try:
        return _Reader(name, text).document()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        words = ": ".join(part for part in (error.context, error.problem) if part)
        raise InputError(f"{name}{line}: not valid YAML: {words}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from error


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder, not a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{name}: is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not UTF-8 text (at byte {error.start})") from error


class _Reader:
    """Builds the plain value of one document from the parser's events, top down."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._problems: list[str] = []

    def document(self) -> Document:
        """Read the stream: exactly one document, a mapping that is not empty."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise InputError(f"{self._name}: is empty")
        first = next(self._events)
        data = self._node(first, 0)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "a second document; give one document a file")
        if data is None:
            raise InputError(f"{self._name}: is empty")
        if not isinstance(data, dict):
            self._refuse(first, "expected a mapping of keys to values at the top of the file")
        return Document(self._name, data, self._problems)

    def _node(self, event: yaml.Event, depth: int) -> Plain:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event, "anchors and aliases (& and *) are not supported; write it out")
        if tag := getattr(event, "tag", None):
            self._refuse(event, f"tag {tag!r} is not supported; write plain values")
        if depth > MAX_NESTING:
            self._refuse(event, f"nested deeper than {MAX_NESTING} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        if not isinstance(event, yaml.ScalarEvent):
            raise TypeError(f"the YAML parser gave {event!r}")
        return plain_scalar(event.value) if event.implicit[0] else str(event.value)

    def _sequence(self, depth: int) -> list[Plain]:
        items: list[Plain] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Plain]:
        mapping: dict[str, Plain] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._node(event, depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, "a key must be a plain word")
            key, line = event.value, _line(event)
            value = self._node(next(self._events), depth + 1)
            if key in lines:
                self._problems.append(
                    f"{self._name}:{line}: key {key!r} is given twice (first on line {lines[key]})"
                )
                continue
            lines[key] = line
            mapping[key] = value
        return mapping

    def _refuse(self, event: yaml.Event, problem: str) -> NoReturn:
        raise InputError([*self._problems, f"{self._name}:{_line(event)}: {problem}"])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def plain_scalar(text: str) -> bool | int | float | str | None:
    """Give the value of an unquoted scalar; what is not surely a number or a word stays text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
