"""The space that a search walks: dimensions with domains, conditions and constraints.

A point gives each dimension that applies a plain value. Values are told apart by type: 1, 1.0 and
true are three. Three views of a space agree: the grid, the unit cube (samplers draw one share a
dimension) and the check of a point from elsewhere. Constraints are predicates of complete points.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import exp, isfinite, log
from typing import TypeAlias

from simulator.config import did_you_mean, unknown
from simulator.errors import InputError
from simulator.units import DIMENSIONS, format_quantity, parse_quantity

Value: TypeAlias = bool | int | float | str | None
#: By name of dimension, in the order of the space; a dimension that does not apply is absent.
Point: TypeAlias = Mapping[str, Value]

MOST_DIMENSIONS = 100
MOST_CHOICES = 10_000
#: So that the middle of each part of the unit interval is exact enough to lead back to its value.
MOST_INTEGERS = 2**40
#: What a store keeps in a column of integers.
_INT64 = range(-(2**63), 2**63)
#: Steps of counting a grid whose conditions hang together, before it is given up.
_MOST_STATES = 20_000
_MOST_SHOWN = 8
_BELOW_ONE = 1 - 2**-53
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(point: Point) -> str:
    """Return 16 hex digits that depend on the names, values and types of a point, not on order.

    Raises ValueError for NaN and infinity, which no domain has.
    """
    canonical = _CANONICAL.encode(dict(point))
    return blake2b(canonical.encode(), digest_size=8).hexdigest()


class _Listed(ABC):
    """What domains of finitely many values share: each value has an equal part of [0, 1)."""

    @property
    @abstractmethod
    def _each(self) -> Sequence[Value]: ...

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self._each)

    def __iter__(self) -> Iterator[Value]:
        """Give the values one by one, in order."""
        return iter(self._each)

    def values(self) -> tuple[Value, ...]:
        """Return all values in order."""
        return tuple(self._each)

    def at(self, share: float) -> Value:
        """Return the value in whose part of [0, 1) the share lies."""
        _check_share(share)
        each = self._each
        return each[min(int(share * len(each)), len(each) - 1)]

    def share(self, value: Value) -> float:
        """Return the middle of a value's part; `InputError` for a value that is not there."""
        _check_inside(self, value)
        return (self._place(value) + 0.5) / self.size

    @abstractmethod
    def refusal(self, value: object) -> str:
        """Return why a value is not of this domain, "" if it is."""

    def _place(self, value: Value) -> int:
        return self._each.index(value)


@dataclass(frozen=True)
class Int(_Listed):
    """The integers low, low + step, low + 2 step, ... that are <= high; bounds of 64 bits."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no range of integers, or a longer one than can be drawn from."""
        problems = _bounds_problems(self.low, self.high)
        if not _is_int64(self.step) or self.step < 1:
            problems.append(f"step must be an integer >= 1, got {self.step!r}")
        elif not problems and (self.high - self.low) // self.step >= MOST_INTEGERS:
            problems.append(f"must have at most 2^40 integers, got {self.low} to {self.high}")
        elif not problems and 0 < self.high - self.low < self.step:
            problems.append(
                f"step must be at most {self.high - self.low}, from low to high, got {self.step}"
            )
        if problems:
            raise InputError(problems)

    @cached_property
    def _each(self) -> Sequence[int]:
        return range(self.low, self.high + 1, self.step)

    def refusal(self, value: object) -> str:
        """Return why a value is not of this domain, "" if it is."""
        if type(value) is not int:
            return f"expected an integer, got {value!r}"
        if value in self._each:
            return ""
        steps = "" if self.step == 1 else f" in steps of {self.step}"
        return f"must be {self.low} to {self.high}{steps}, got {value}"


@dataclass(frozen=True)
class Log2(_Listed):
    """The integers low, 2 low, 4 low, ... high; low >= 1, 64 bits."""

    low: int
    high: int

    def __post_init__(self) -> None:
        """Refuse what cannot be doubled up to its end."""
        problems = _bounds_problems(self.low, self.high)
        if not problems and self.low < 1:
            problems.append(f"low must be >= 1, got {self.low}")
        elif not problems and self.high != (last := self._each[-1]):
            problems.append(
                f"high must be low times a power of two, got {self.low} and {self.high}; write "
                f"{last} or {2 * last}"
            )
        if problems:
            raise InputError(problems)

    @cached_property
    def _each(self) -> Sequence[int]:
        return tuple(self.low << n for n in range((self.high // self.low).bit_length()))

    def refusal(self, value: object) -> str:
        """Return why a value is not of this domain, "" if it is."""
        if type(value) is not int:
            return f"expected an integer, got {value!r}"
        return "" if value in self._each else _not_one_of(self._each, value)


@dataclass(frozen=True)
class Float:
    """The numbers from low to high, even in the number or, with `log`, in its logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse an interval without an inside, and a logarithm of what is not positive."""
        problems = [
            f"{name} must be a finite number, got {bound!r}"
            for name, bound in (("low", self.low), ("high", self.high))
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound)
        ]
        if not problems and not self.low < self.high:
            problems.append(f"low must be < high, got {self.low} and {self.high}")
        if not problems and self.log and not self.low > 0:
            problems.append(f"low must be > 0 with log, got {self.low}")
        if problems:
            raise InputError(problems)

    @property
    def size(self) -> None:
        """There is no end of them."""
        return

    def at(self, share: float) -> float:
        """Return the number at this share of the way from low to high."""
        _check_share(share)
        low, high = self._scale(self.low), self._scale(self.high)
        # Not low + share * (high - low): the difference of two large numbers can be infinite.
        there = low * (1 - share) + high * share
        return float(min(max(exp(there) if self.log else there, self.low), self.high))

    def share(self, value: Value) -> float:
        """Return the share whose number this is, to rounding; `InputError` for one outside."""
        _check_inside(self, value)
        assert isinstance(value, float)
        # By halves, so that no difference is infinite.
        low, here, high = (self._scale(end) / 2 for end in (self.low, value, self.high))
        return min((here - low) / (high - low), _BELOW_ONE)

    def refusal(self, value: object) -> str:
        """Return why a value is not of this domain, "" if it is."""
        if not isinstance(value, float):
            return f"expected a float, got {value!r}"
        inside = self.low <= value <= self.high
        return "" if inside else f"must be {self.low} to {self.high}, got {value!r}"

    def _scale(self, number: float) -> float:
        return log(number) if self.log else float(number)


@dataclass(frozen=True)
class Choice(_Listed):
    """Plain values in the order given, no two the same."""

    options: tuple[Value, ...]

    def __post_init__(self) -> None:
        """Refuse an empty choice, too many values, one given twice, and what is no plain value."""
        # Text would be taken for its letters.
        if not isinstance(self.options, tuple):
            raise InputError(f"a choice is a tuple of values, got {self.options!r}")
        if not 1 <= len(self.options) <= MOST_CHOICES:
            raise InputError(f"a choice has 1 to {MOST_CHOICES} values, got {len(self.options)}")
        problems = [problem for value in self.options if (problem := not_plain(value))]
        times = Counter(map(repr, self.options))
        problems += [f"{shown} is given {n} times" for shown, n in times.items() if n > 1]
        if problems:
            raise InputError(problems)

    @property
    def _each(self) -> Sequence[Value]:
        return self.options

    @cached_property
    def _places(self) -> dict[str, int]:
        return {repr(value): place for place, value in enumerate(self.options)}

    def refusal(self, value: object) -> str:
        """Return why a value is not of this domain, "" if it is."""
        if repr(value) in self._places:
            return ""
        words = [option for option in self.options if isinstance(option, str)]
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        return _not_one_of(self.options, value) + near

    def _place(self, value: Value) -> int:
        return self._places[repr(value)]


Domain: TypeAlias = Int | Log2 | Float | Choice


@dataclass(frozen=True)
class Dimension:
    """One thing to vary: a dotted path and its domain.

    when: it applies only where each dimension named here applies and has one of these values; they
    stand earlier in the space. quantity: of what a range is in base units, by its name in
    `units.DIMENSIONS`, so that the path is known to take it; "" where it is of plain numbers.
    """

    name: str
    domain: Domain
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    quantity: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty name, an unknown quantity, and a condition that nothing meets."""
        problems = [] if self.name else ["a dimension needs a name"]
        if self.quantity and self.quantity not in DIMENSIONS:
            problems.append(unknown("quantity", self.quantity, DIMENSIONS))
        problems += [
            f"when.{name}: expected a tuple of values, got {values!r}"
            for name, values in self.when.items()
            if not isinstance(values, tuple) or not values
        ]
        if problems:
            raise InputError(problems)

    def applies(self, point: Point) -> bool:
        """Tell whether it applies, by the values of the earlier dimensions."""
        return all(
            name in point and repr(point[name]) in wanted for name, wanted in self._wanted.items()
        )

    def written(self, value: Value) -> Value:
        """Return a value as a file of a device has it: that of a quantity with its unit."""
        if not self.quantity or not isinstance(value, int | float):
            return value
        return format_quantity(value, self.quantity)

    def read(self, value: Value) -> Value:
        """Return a value in base units as points have it; InputError for one of another unit."""
        if not self.quantity or not isinstance(value, str):
            return value
        try:
            return parse_quantity(value, self.quantity)
        except ValueError as error:
            raise InputError(str(error)) from None

    @cached_property
    def _wanted(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(map(repr, values)) for name, values in self.when.items()}


@dataclass(frozen=True)
class Constraint:
    """A named predicate of a complete point, in which what does not apply is absent.

    text: what it demands, for messages. A study on several processes needs `holds` to be pickled: a
    function of a module or an object, no lambda.
    """

    name: str
    holds: Callable[[Point], bool]
    text: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty name."""
        if not self.name:
            raise InputError("a constraint needs a name")


@dataclass(frozen=True)
class Space:
    """Dimensions and what their values must keep together; InputError lists every problem."""

    dimensions: tuple[Dimension, ...]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names given twice, and conditions on what is unknown, later or impossible."""
        count = len(self.dimensions)
        if not 1 <= count <= MOST_DIMENSIONS:
            raise InputError(f"a space has 1 to {MOST_DIMENSIONS} dimensions, got {count}")
        problems = [
            *_twice("dimension", (each.name for each in self.dimensions)),
            *_twice("constraint", (each.name for each in self.constraints)),
        ]
        for index, dimension in enumerate(self.dimensions):
            problems += self._condition_problems(index, dimension)
        if problems:
            raise InputError(problems)

    @cached_property
    def by_name(self) -> Mapping[str, Dimension]:
        """The dimensions by name, in order."""
        return {dimension.name: dimension for dimension in self.dimensions}

    @property
    def size(self) -> int | None:
        """How many points the grid has before constraints; None where a dimension is a float.

        The values that no condition names are counted at once. Raises InputError where conditions
        hang together in too many ways to be counted.
        """
        # How many ways lead to each set of dimensions that, by what was chosen, do not apply.
        ways: Counter[frozenset[str]] = Counter({frozenset(): 1})
        for dimension in self._parents_first():
            kinds = self._kinds(dimension)
            if kinds is None:
                return None
            if len(ways) * len(kinds) > _MOST_STATES:
                raise InputError("the conditions of this space are too entangled to count its grid")
            ways = _with_dimension(ways, dimension.name, kinds, self._children[dimension.name])
        return ways.total()

    def grid(self) -> Iterator[Point]:
        """Give all points that keep the constraints, one by one, the last dimension fastest.

        Raises InputError where a dimension is a float.
        """
        endless = [each.name for each in self.dimensions if isinstance(each.domain, Float)]
        if endless:
            raise InputError(
                f"a float has no grid: {', '.join(endless)}; give a choice of numbers, or search"
            )
        return filter(self.holds, self._walk(0, {}))

    def at(self, shares: Sequence[float]) -> Point | None:
        """Return the point at a place of the unit cube, one share in [0, 1) for each dimension.

        Shares of dimensions that do not apply have no effect. None where a constraint fails.
        """
        if len(shares) != len(self.dimensions):
            raise InputError(f"expected {len(self.dimensions)} shares, got {len(shares)}")
        point: dict[str, Value] = {}
        for dimension, share in zip(self.dimensions, shares, strict=True):
            if dimension.applies(point):
                point[dimension.name] = dimension.domain.at(share)
        return point if self.holds(point) else None

    def shares(self, point: Point) -> list[float]:
        """Return a place where `at` gives this point; 0.5 for what does not apply.

        Raises InputError for a point that does not fit the dimensions.
        """
        if problems := self._misfits(point):
            raise InputError(problems)
        return [
            each.domain.share(point[each.name]) if each.name in point else 0.5
            for each in self.dimensions
        ]

    def refuse(self, point: Point) -> list[str]:
        """Return the problems of a point: of its names and values, or else constraints by name."""
        return self._misfits(point) or [
            f"constraint {each.name!r} does not hold" + (f": {each.text}" if each.text else "")
            for each in self.constraints
            if not each.holds(point)
        ]

    def holds(self, point: Point) -> bool:
        """Tell whether all constraints hold in a point that fits the dimensions."""
        return all(constraint.holds(point) for constraint in self.constraints)

    def _walk(self, index: int, point: dict[str, Value]) -> Iterator[dict[str, Value]]:
        if index == len(self.dimensions):
            yield point
            return
        dimension = self.dimensions[index]
        if not dimension.applies(point):
            yield from self._walk(index + 1, point)
            return
        assert not isinstance(dimension.domain, Float)
        for value in dimension.domain:
            yield from self._walk(index + 1, {**point, dimension.name: value})

    def _misfits(self, point: Point) -> list[str]:
        problems = [
            unknown("dimension", name, self.by_name) for name in point if name not in self.by_name
        ]
        for dimension in self.dimensions:
            name, applies = dimension.name, dimension.applies(point)
            if name in point and not applies:
                problems.append(f"{name}: does not apply here")
            elif name in point and (problem := dimension.domain.refusal(point[name])):
                problems.append(f"{name}: {problem}")
            elif applies and name not in point:
                problems.append(f"{name}: missing")
        return problems

    def _condition_problems(self, index: int, dimension: Dimension) -> list[str]:
        earlier = {each.name: each.domain for each in self.dimensions[:index]}
        later = {each.name for each in self.dimensions[index:]}
        problems = []
        for name, values in dimension.when.items():
            if name in earlier:
                problems += [f"when.{name}: {each}" for each in not_met(earlier[name], values)]
            elif name in later:
                problems.append(f"when.{name}: must stand before this dimension")
            else:
                problems.append(f"when: {no_dimension(name, earlier)}")
        return [f"{dimension.name}: {problem}" for problem in problems]

    @cached_property
    def _children(self) -> dict[str, frozenset[str]]:
        """The dimensions whose condition names a dimension, by its name."""
        return {
            name: frozenset(each.name for each in self.dimensions if name in each.when)
            for name in self.by_name
        }

    def _parents_first(self) -> list[Dimension]:
        """Return the dimensions so that conditions stand soon after what they name."""
        ordered: dict[str, Dimension] = {}

        def visit(dimension: Dimension) -> None:
            if dimension.name in ordered:
                return
            for parent in dimension.when:
                visit(self.by_name[parent])
            ordered[dimension.name] = dimension

        for dimension in sorted(self.dimensions, key=lambda each: not each.when):
            visit(dimension)
        return list(ordered.values())

    def _kinds(self, dimension: Dimension) -> Counter[frozenset[str]] | None:
        """Count the values by the dimensions that they rule out; None for a float."""
        if dimension.domain.size is None:
            return None
        wanted = {name: self.by_name[name]._wanted for name in self._children[dimension.name]}
        by_child = {name: conditions[dimension.name] for name, conditions in wanted.items()}
        named = frozenset[str]().union(*by_child.values())
        kinds = Counter(
            frozenset(name for name, met in by_child.items() if value not in met) for value in named
        )
        kinds[frozenset(by_child)] += dimension.domain.size - len(named)
        return +kinds


def not_plain(value: object) -> str:
    """Return why a value is none that a point can have, "" if it is one."""
    if value is None or type(value) in (bool, str):
        return ""
    if type(value) is int:
        return "" if value in _INT64 else f"must be an integer of 64 bits, got {value}"
    if type(value) is float:
        return "" if isfinite(value) else f"must be finite, got {value}"
    return f"expected true, false, a number, text or null, got {value!r}"


def no_dimension(name: str, known: Collection[str]) -> str:
    """Say that a space has no dimension of a name: it may be mistyped here, or in the space."""
    near = did_you_mean(name, known)
    if not near:
        return unknown("dimension", name, known)
    typo = f"{near.removesuffix('?')}, or is that a typo in the space?"
    return f"unknown dimension {name!r}{typo} known: {', '.join(sorted(known))}"


def not_met(domain: Domain, values: Iterable[Value]) -> list[str]:
    """Return why a condition on these values of a domain can never be met, a line for each."""
    if isinstance(domain, Float):
        return ["is a float, which has no single values to name"]
    return [problem for value in values if (problem := domain.refusal(value))]


def _with_dimension(
    ways: Counter[frozenset[str]],
    name: str,
    kinds: Counter[frozenset[str]],
    children: frozenset[str],
) -> Counter[frozenset[str]]:
    """Count the ways after one more dimension, whose values rule out what `kinds` says."""
    after: Counter[frozenset[str]] = Counter()
    for ruled_out, number in ways.items():
        if name in ruled_out:
            after[(ruled_out - {name}) | children] += number
            continue
        for also, values in kinds.items():
            after[ruled_out | also] += number * values
    return after


def _twice(noun: str, names: Iterable[str]) -> list[str]:
    times = Counter(names)
    return [f"{noun} {name!r} is given {n} times" for name, n in times.items() if n > 1]


def _bounds_problems(low: int, high: int) -> list[str]:
    problems = [
        f"{name} must be an integer of 64 bits, got {bound!r}"
        for name, bound in (("low", low), ("high", high))
        if not _is_int64(bound)
    ]
    if not problems and low > high:
        problems.append(f"low must be <= high, got {low} and {high}")
    return problems


def _is_int64(value: object) -> bool:
    return type(value) is int and value in _INT64


def _not_one_of(values: Sequence[Value], value: object) -> str:
    shown = ", ".join(map(repr, values[:_MOST_SHOWN]))
    more = f" and {len(values) - _MOST_SHOWN} more" if len(values) > _MOST_SHOWN else ""
    return f"must be one of {shown}{more}, got {value!r}"


def _check_inside(domain: Domain | _Listed, value: Value) -> None:
    if problem := domain.refusal(value):
        raise InputError(problem)


def _check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise InputError(f"a share must be >= 0 and < 1, got {share!r}")
