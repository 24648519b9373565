"""What a study keeps: rows with their outcomes, and the header that says what it is of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from math import isnan, nan
from typing import TYPE_CHECKING, Any, Literal

from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Domain, Float, Int, Log2, Point, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

State = Literal["OK", "INFEASIBLE", "FAILED"]
#: The type of a dimension's values; "mixed" where they have several.
Kind = Literal["bool", "int", "float", "text", "mixed"]


class Absent(Enum):
    """What stands in a column where a dimension does not apply."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

#: What is told of a point beside its dimensions and metrics.
FIXED = {
    "number": "INTEGER NOT NULL",
    "key": "TEXT PRIMARY KEY NOT NULL",
    "state": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
    "resource": "TEXT NOT NULL",
    "demand": "REAL",
    "bound": "REAL",
    "traceback": "TEXT NOT NULL",
    "seed": "INTEGER NOT NULL",
    "wall_time_s": "REAL NOT NULL",
}
#: Which strategy asked for a point, "" where that is not known: behind all other columns, as layout
#: 2 added it, so that a file of layout 1 lacks it alone.
STRATEGY = {"strategy": "TEXT NOT NULL DEFAULT ''"}
_ROWID = ("rowid", "oid", "_rowid_")
_KIND_OF_TYPE: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
_TYPE_OF_KIND = {kind: python for python, kind in _KIND_OF_TYPE.items()}
_LINES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a point.

    reason: why it is not OK, in a sentence. resource, demand, bound: what an infeasible design
    lacks, how much is needed and how much there is, in the unit that the reason names. traceback:
    of a point that FAILED.
    """

    state: State
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    resource: str = ""
    demand: float = nan
    bound: float = nan
    traceback: str = ""
    wall_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of many points, those that are OK in columns.

    places: where rows of the table stand among the points. table: [places, metrics], NaN where a
    point has not one. wall_time_s: of each row. others: points that are not in it, by their place.
    """

    places: Sequence[int]
    metrics: Sequence[str]
    table: "NDArray[np.float64]"
    wall_time_s: float
    others: Mapping[int, Outcome]

    def __len__(self) -> int:
        return len(self.places) + len(self.others)

    def __iter__(self) -> Iterator[Outcome]:
        """Give each on its own."""
        found = dict(self.others)
        for place, row in zip(self.places, self.table.tolist(), strict=True):
            metrics = {
                name: value
                for name, value in zip(self.metrics, row, strict=True)
                if not isnan(value)
            }
            found[place] = Outcome("OK", metrics, wall_time_s=self.wall_time_s)
        return map(found.__getitem__, range(len(self)))


@dataclass(frozen=True, slots=True)
class Row:
    """A point with its key, its outcome, the seed of its search, and its turn there from 0.

    strategy: which one asked for it, "" where that is not known.
    """

    key: str
    point: Point
    outcome: Outcome
    seed: int
    number: int
    strategy: str = ""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a study is of: two runs with equal headers may share a file.

    dimensions: the kind of each by its path. metrics: the unit of each. defined_by: a hash of all
    that an outcome depends on beside the point. text: the same for people, a line a thing.
    objectives: what was last looked for; studies that differ in them alone are the same.
    """

    dimensions: Mapping[str, Kind]
    metrics: Mapping[str, str]
    defined_by: str
    text: str
    objectives: tuple[Objective, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that cannot be columns of one table."""
        problems = [
            f"{name!r} cannot name a column"
            for name in self.columns
            if not name.isprintable() or not name
        ]
        taken = {name: f"column {name!r}" for name in (*FIXED, *STRATEGY, *_ROWID)}
        for noun, names in (("dimension", self.dimensions), ("metric", self.metrics)):
            for name in names:
                other = taken.setdefault(name.lower(), f"{noun} {name!r}")
                if other != f"{noun} {name!r}":
                    problems.append(f"{noun} {name!r} has the name of {other}")
        if problems:
            raise InputError(problems)

    @property
    def columns(self) -> list[str]:
        """The names of the dimensions, then those of the metrics."""
        return [*self.dimensions, *self.metrics]

    def differences(self, other: "Header") -> list[str]:
        """Say how another study differs from this one; empty if it does not."""
        lines = []
        if self.defined_by != other.defined_by:
            lines = _changed_lines(self.text, other.text)
            lines.append(f"defined by {other.defined_by}, not {self.defined_by}")
        lines += _differences("dimension", self.dimensions, other.dimensions)
        metrics = _differences("metric", self.metrics, other.metrics)
        lines += metrics[:_LINES_SHOWN]
        if len(metrics) > _LINES_SHOWN:
            lines.append(f"and {len(metrics) - _LINES_SHOWN} metrics more")
        return lines


def kind_of(domain: Domain) -> Kind:
    """Return the kind of column that holds the values of a domain."""
    match domain:
        case Int() | Log2():
            return "int"
        case Float():
            return "float"
        case Choice():
            kinds = {_KIND_OF_TYPE.get(type(value), "mixed") for value in domain.values()}
            return kinds.pop() if len(kinds) == 1 else "mixed"


def encoded(name: str, kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a dimension as SQLite keeps them."""
    if kind == "mixed":
        return [None if value is ABSENT else json.dumps(value) for value in values]
    types = set(map(type, values))
    if types <= {_TYPE_OF_KIND[kind]}:
        return values
    if strange := types - {_TYPE_OF_KIND[kind], Absent}:
        value = next(each for each in values if type(each) in strange)
        raise InputError(f"{name}: {value!r} is no value of a dimension of kind {kind}")
    return [None if value is ABSENT else value for value in values]


def decoded(kind: Kind, value: Any) -> Value:
    """Return a value of a dimension that `encoded` gave."""
    if kind == "bool":
        return bool(value)
    if kind != "mixed":
        plain: Value = value
        return plain
    with suppress(ValueError, TypeError, RecursionError):
        parsed = json.loads(value)
        if parsed is None or isinstance(parsed, bool | int | float | str):
            return parsed
    raise InputError(f"the study is damaged: {str(value)[:40]!r} is no value of a dimension")


def storable(text: str) -> str:
    """Return a text that can be stored: half characters, as in names of files, in escapes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _differences(noun: str, here: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    lines = [f"{noun} {name!r} is not asked for" for name in here if name not in asked]
    lines += [f"{noun} {name!r} is not in it" for name in asked if name not in here]
    lines += [
        f"{noun} {name!r} is in {here[name]!r} there and in {asked[name]!r} here"
        for name in here
        if name in asked and here[name] != asked[name]
    ]
    if not lines and list(here) != list(asked):
        lines.append(f"the {noun}s stand in another order: {', '.join(here)}")
    return lines


def _changed_lines(here: str, asked: str) -> list[str]:
    """Return lines of the one that are not in the other, a few of each."""
    sides = (("stored", here, asked), ("asked", asked, here))
    return [
        f"{side}: {line}"
        for side, own, other in sides
        for line in [x for x in own.splitlines() if x not in other.splitlines()][:_LINES_SHOWN]
    ]
