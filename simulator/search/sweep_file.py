"""A sweep or search as a YAML file: data alone, no expressions, so that a stranger's runs no code.

The file names a device, a workload and options of a run, the space around them and what to look
for. Whether its paths, metrics and options exist is seen by those who know them, not here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from simulator.config import Part, did_you_mean, load_part
from simulator.errors import InputError
from simulator.search.front import RUNG
from simulator.search.objectives import Goal, Objective
from simulator.search.space import (
    Choice,
    Constraint,
    Dimension,
    Domain,
    Float,
    Int,
    Log2,
    Point,
    Space,
    Value,
    no_dimension,
    not_met,
    not_plain,
)
from simulator.units import DIMENSIONS, dimension_of, parse_quantity

#: What a dimension changes: a part of the device, of the workload, or an option of the run.
ROOTS = ("device", "workload", "run")
#: What `workload:` and `run:` hold.
Setting: TypeAlias = Value | list[int]

_PATH = re.compile(rf"(?:{'|'.join(ROOTS)})(?:\.[^.\s]+)+")
#: What a workload is called: before a dot in paths and columns, where these stand already.
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TAKEN = (*ROOTS, "model")
#: Where a base is looked up by name.
_FOLDER = "experiments"


@dataclass(frozen=True)
class Sweep:
    """A sweep or search, as its file or a script describes it.

    device: name or file (a sweep file's is looked for beside it first). workload, run: the settings
    of all points that no dimension changes. workloads: by name, what each of several has beside
    `workload`; empty where there is one. strategy: None where it is left open.
    """

    name: str
    device: str
    workload: Mapping[str, Setting]
    space: Space
    objectives: tuple[Objective, ...]
    summary: str = ""
    rung: str = "tile"
    run: Mapping[str, Setting] = field(default_factory=dict)
    strategy: str | None = None
    workloads: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)


@dataclass(frozen=True)
class ProductWithin:
    """Holds where the product of dimensions is within bounds, or one of them does not apply."""

    names: tuple[str, ...]
    at_least: float = -inf
    at_most: float = inf

    def __call__(self, point: Point) -> bool:
        """Tell whether it holds."""
        values = _numbers(point, self.names)
        return values is None or self.at_least <= prod(values) <= self.at_most

    def __str__(self) -> str:
        """Say what it demands."""
        lowest = "" if self.at_least == -inf else f"{self.at_least:.15g} <= "
        highest = "" if self.at_most == inf else f" <= {self.at_most:.15g}"
        return f"{lowest}{' x '.join(self.names)}{highest}"


@dataclass(frozen=True)
class InOrder:
    """Holds where no dimension is larger than the next, or one of them does not apply."""

    names: tuple[str, ...]

    def __call__(self, point: Point) -> bool:
        """Tell whether it holds."""
        values = _numbers(point, self.names)
        return values is None or all(a <= b for a, b in pairwise(values))

    def __str__(self) -> str:
        """Say what it demands."""
        return " <= ".join(self.names)


@dataclass(frozen=True)
class Forbidden:
    """Holds unless each dimension applies and has the value given."""

    together: Mapping[str, Value]

    def __call__(self, point: Point) -> bool:
        """Tell whether it holds."""
        return not all(
            name in point and repr(point[name]) == repr(value)
            for name, value in self.together.items()
        )

    def __str__(self) -> str:
        """Say what it demands."""
        return f"not {' with '.join(f'{name} {value!r}' for name, value in self.together.items())}"


@dataclass(frozen=True)
class Allowed:
    """Holds where one of several ways does: each of its dimensions has one of its values.

    Or does not apply.
    """

    ways: tuple[Mapping[str, tuple[Value, ...]], ...]

    def __call__(self, point: Point) -> bool:
        """Tell whether it holds."""
        return any(
            all(
                name not in point or repr(point[name]) in map(repr, values)
                for name, values in way.items()
            )
            for way in self.ways
        )

    def __str__(self) -> str:
        """Say what it demands."""
        names = dict.fromkeys(name for way in self.ways for name in way)
        return f"one of {len(self.ways)} combinations of {', '.join(names)}"


def _scalar(value: object) -> object:
    if problem := not_plain(value):
        raise ValueError(problem)
    return value


def _setting(value: object) -> object:
    if not isinstance(value, list):
        return _scalar(value)
    if wrong := [each for each in value if type(each) is not int or not_plain(each)]:
        raise ValueError(f"a list here has integers of 64 bits only, got {wrong[0]!r}")
    return value


def _no_domain(value: object) -> object:
    raise ValueError(
        f"expected a list of values or a range such as {{log2: [32, 256]}}, got {value!r}"
    )


def _quantity(text: str) -> str:
    # For what it refuses; what is kept is the text, which has the unit.
    parse_quantity(text, dimension_of(text))
    return text


def _how_written(number: str) -> Callable[[object], str]:
    def how(value: object) -> str:
        try:
            return "str" if isinstance(value, str) and dimension_of(value) else number
        except ValueError:
            # Of an unknown unit, which is told.
            return "str"

    return how


def _how_given(value: object) -> str:
    if isinstance(value, dict):
        return "WrittenDimension"
    return "tuple" if isinstance(value, list) else "str"


def _how_wanted(value: object) -> str:
    return "WrittenGoal" if isinstance(value, dict) else "str"


if TYPE_CHECKING:
    _Scalar: TypeAlias = Value
    _Setting: TypeAlias = Setting
    _Way: TypeAlias = dict[str, tuple[Value, ...]]
    _Whole: TypeAlias = int | str
    _Real: TypeAlias = float | str
else:
    _Scalar = Annotated[Any, AfterValidator(_scalar)]
    _Setting = Annotated[Any, AfterValidator(_setting)]
    _Way = Annotated[dict[str, tuple[_Scalar, ...]], Field(min_length=1)]
    _Text = Annotated[str, AfterValidator(_quantity), Tag("str")]
    _Whole = Annotated[Annotated[int, Tag("int")] | _Text, Discriminator(_how_written("int"))]
    _Real = Annotated[Annotated[float, Tag("float")] | _Text, Discriminator(_how_written("float"))]


class WrittenDimension(Part):
    """A domain of one kind, and the condition under which the dimension applies.

    Ends of ranges and steps are numbers, or all of them quantities of one dimension.
    """

    whole: tuple[_Whole, _Whole] | None = Field(alias="int", default=None)
    step: _Whole | None = None
    log2: tuple[_Whole, _Whole] | None = None
    real: tuple[_Real, _Real] | None = Field(alias="float", default=None)
    log: bool | None = None
    choice: tuple[_Scalar, ...] | None = None
    when: dict[str, tuple[_Scalar, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = {"int": self.whole, "log2": self.log2, "float": self.real, "choice": self.choice}
        _check_one(kinds)
        if self.step is not None and self.whole is None:
            raise ValueError("step goes with int")
        if self.log is not None and self.real is None:
            raise ValueError("log goes with float")
        return self

    def domain(self) -> tuple[Domain, str]:
        """Build the domain, and say what quantity it is of; InputError for impossible values."""
        if self.whole is not None:
            steps = () if self.step is None else (self.step,)
            ends, quantity = _in_base_units(*self.whole, *steps)
            if quantity and not steps:
                example = f"step: 1 {DIMENSIONS[quantity].example}"
                raise InputError(f"int of a quantity needs a step, such as {example}")
            return Int(*ends), quantity
        if self.log2 is not None:
            (low, high), quantity = _in_base_units(*self.log2)
            return Log2(low, high), quantity
        if self.real is not None:
            (low, high), quantity = _in_base_units(*self.real, whole=False)
            return Float(low, high, log=bool(self.log)), quantity
        return Choice(self.choice or ()), ""


class WrittenConstraint(Part):
    """What the values of dimensions must keep together, of one kind."""

    product: tuple[str, ...] | None = Field(default=None, min_length=1)
    at_least: float | None = None
    at_most: float | None = None
    values: tuple[str, ...] | None = Field(default=None, min_length=2)
    in_order: bool | None = None
    forbid: dict[str, _Scalar] | None = Field(default=None, min_length=1)
    allow: tuple[_Way, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = ("product", "values", "forbid", "allow")
        _check_one({kind: getattr(self, kind) for kind in kinds})
        bounded = self.at_least is not None or self.at_most is not None
        if bounded != (self.product is not None):
            raise ValueError("product goes with at_least, at_most or both")
        if self.in_order is not (None if self.values is None else True):
            raise ValueError("values goes with in_order: true")
        if self.allow == ():
            raise ValueError("allow needs one way or more")
        return self

    def read(self, dimensions: Mapping[str, Dimension]) -> Self:
        """Return it with the values that it names as points have them."""
        forbid = self.forbid and {
            name: _read(dimensions, name, (value,))[0] for name, value in self.forbid.items()
        }
        allow = self.allow and tuple(
            {name: _read(dimensions, name, values) for name, values in way.items()}
            for way in self.allow
        )
        return self.model_copy(update={"forbid": forbid, "allow": allow})

    def predicate(self) -> ProductWithin | InOrder | Forbidden | Allowed:
        """Build what holds or not."""
        if self.product is not None:
            at_least = -inf if self.at_least is None else self.at_least
            at_most = inf if self.at_most is None else self.at_most
            return ProductWithin(self.product, at_least, at_most)
        if self.values is not None:
            return InOrder(self.values)
        if self.allow is not None:
            return Allowed(self.allow)
        return Forbidden(self.forbid or {})

    def problems(self, domains: Mapping[str, Domain]) -> list[str]:
        """Return what is unknown, no number, or can never be."""
        compared = (*(self.product or ()), *(self.values or ()))
        told = [each for way in self.allow or () for each in way.items()]
        told.extend((name, (value,)) for name, value in (self.forbid or {}).items())
        named = dict.fromkeys((*compared, *(name for name, _ in told)))
        problems = [no_dimension(each, domains) for each in named if each not in domains]
        problems += [
            f"{name}: {problem}"
            for name in dict.fromkeys(compared)
            if name in domains and (problem := _no_number(domains[name]))
        ]
        for name, values in told:
            if name in domains:
                problems += [f"{name}: {each}" for each in not_met(domains[name], values)]
        return problems


class WrittenGoal(Part):
    """The direction of an objective, with bounds in its unit."""

    goal: Goal
    at_least: float | None = None
    at_most: float | None = None


if TYPE_CHECKING:
    _Dimension: TypeAlias = tuple[Value, ...] | WrittenDimension
    _Objective: TypeAlias = Goal | WrittenGoal
else:
    _Dimension = Annotated[
        Annotated[tuple[_Scalar, ...], Tag("tuple")]
        | Annotated[WrittenDimension, Tag("WrittenDimension")]
        | Annotated[Any, AfterValidator(_no_domain), Tag("str")],
        Discriminator(_how_given),
    ]
    _Objective = Annotated[
        Annotated[str, Tag("str")] | Annotated[WrittenGoal, Tag("WrittenGoal")],
        Discriminator(_how_wanted),
    ]


class WrittenSweep(Part):
    """The file as it stands."""

    name: str
    summary: str = ""
    device: str
    workload: dict[str, _Setting]
    workloads: dict[str, dict[str, _Setting]] = Field(default_factory=dict)
    rung: str | None = None
    run: dict[str, _Setting] = Field(default_factory=dict)
    space: dict[str, _Dimension]
    constraints: dict[str, WrittenConstraint] = Field(default_factory=dict)
    objectives: dict[str, _Objective] = Field(min_length=1)
    strategy: str | None = None


def load_sweep(path: str | Path) -> Sweep:
    """Read and check a sweep file; one `InputError` has a line for each problem.

    The device, metrics, options and strategy that it names are text here and not looked up.
    """
    written = load_part(WrittenSweep, Path(path), _FOLDER, noun="sweep")
    problems: list[str] = []
    objectives = tuple(_objectives(written, problems))
    problems += [
        f"workloads.{name}: a name is letters, digits, _ and -, and none of {', '.join(_TAKEN)}"
        for name in written.workloads
        if name in _TAKEN or not _NAME.fullmatch(name)
    ]
    problems += _rungs_problems(written)
    space = _space(written, problems)
    if problems or space is None:
        raise InputError([f"{path}: {problem}" for problem in problems])
    return Sweep(
        name=written.name,
        summary=written.summary,
        device=_found(written.device, Path(path)),
        workload=written.workload,
        rung=written.rung or Sweep.rung,
        run=written.run,
        space=space,
        objectives=objectives,
        strategy=written.strategy,
        workloads=written.workloads,
    )


def _found(device: str, sweep: Path) -> str:
    """Return a device's file that stands in the folder of the sweep from where this is run."""
    beside = sweep.parent / device
    return str(beside) if device.endswith((".yaml", ".yml")) and beside.is_file() else device


def _objectives(written: WrittenSweep, problems: list[str]) -> Iterator[Objective]:
    for name, wanted in written.objectives.items():
        with _noted(problems, f"objectives.{name}"):
            if isinstance(wanted, WrittenGoal):
                yield Objective(name, wanted.goal, wanted.at_most, wanted.at_least)
            else:
                yield Objective(name, wanted)


def _rungs_problems(written: WrittenSweep) -> list[str]:
    """Refuse what would be overruled without a word: a rung that is said more than once."""
    given = ["rung"] * (written.rung is not None) + ["run.rung"] * ("rung" in written.run)
    varied = written.space.get(RUNG)
    # Where a condition is not met, what stands at the top is needed.
    if varied is not None and not (isinstance(varied, WrittenDimension) and varied.when):
        given.append(f"space.{RUNG}")
    if len(given) < 2:
        return []
    return [f"{' and '.join(given)} each say the rung of a point: keep one"]


def _space(written: WrittenSweep, problems: list[str]) -> Space | None:
    """Build the space; None where dimensions are wrong, or what is said of them."""
    dimensions = tuple(_dimensions(written, problems))
    if len(dimensions) < len(written.space):
        return None
    by_name = {each.name: each for each in dimensions}
    domains = {each.name: each.domain for each in dimensions}
    predicates = {}
    for name, given in written.constraints.items():
        with _noted(problems, f"constraints.{name}"):
            constraint = given.read(by_name)
            problems += [f"constraints.{name}: {each}" for each in constraint.problems(domains)]
            predicates[name] = constraint.predicate()
    with _noted(problems, "space"):
        return Space(
            dimensions,
            tuple(Constraint(name, each, str(each)) for name, each in predicates.items()),
        )
    return None


def _dimensions(written: WrittenSweep, problems: list[str]) -> Iterator[Dimension]:
    made: dict[str, Dimension] = {}
    for name, given in written.space.items():
        with _noted(problems, f"space.{name}"):
            _check_path(name)
            if isinstance(given, WrittenDimension):
                when = {each: _read(made, each, values) for each, values in given.when.items()}
                domain, quantity = given.domain()
                made[name] = Dimension(name, domain, when, quantity)
            else:
                made[name] = Dimension(name, Choice(given))
            yield made[name]


def _read(
    dimensions: Mapping[str, Dimension], name: str, values: tuple[Value, ...]
) -> tuple[Value, ...]:
    """Return what is said of a dimension, if there is one, as points have it."""
    known = dimensions.get(name)
    return values if known is None else tuple(map(known.read, values))


def _in_base_units(*written: int | float | str, whole: bool = True) -> tuple[list[Any], str]:
    """Return ends and step in base units, and of which quantity they are, "" of none.

    whole: whether the range is of integers.
    """
    quantities = {dimension_of(each) if isinstance(each, str) else "" for each in written}
    shown = ", ".join(map(str, written))
    if len(quantities) > 1:
        raise InputError(f"ends and step need units of one quantity, or none of them, got {shown}")
    (quantity,) = quantities
    if not quantity:
        return list(written), ""
    known = DIMENSIONS[quantity]
    if known.whole != whole:
        no, wanted = ("", "int with step, or log2") if known.whole else ("no ", "float")
        raise InputError(f"{known.base} are {no}whole numbers; write {wanted}, got {shown}")
    return [parse_quantity(str(each), quantity) for each in written], quantity


@contextmanager
def _noted(problems: list[str], where: str) -> Iterator[None]:
    """Add the problems of what is built within to those of the file."""
    try:
        yield
    except InputError as error:
        problems += [f"{where}: {problem}" for problem in error.problems]


def _check_path(name: str) -> None:
    if not _PATH.fullmatch(name):
        root = name.split(".")[0]
        near = "" if root in ROOTS else did_you_mean(root, ROOTS)
        raise InputError(f"a path is device, workload or run and keys, joined by dots{near}")


def _check_one(kinds: Mapping[str, object]) -> None:
    """Refuse all but one kind in the same mapping."""
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"needs one of {', '.join(kinds)}, got {' and '.join(given) or 'none'}")


def _no_number(domain: Domain) -> str:
    """Return why the values of a domain cannot be compared as numbers, "" if they can."""
    if not isinstance(domain, Choice):
        return ""
    wrong = [each for each in domain.values() if type(each) not in (int, float)]
    return f"{wrong[0]!r} is no number; write base units" if wrong else ""


def _numbers(point: Point, names: tuple[str, ...]) -> list[int | float] | None:
    """Return the values of these dimensions, all floats if one is; None if one does not apply."""
    values = [point[name] for name in names if name in point]
    numbers = [each for each in values if isinstance(each, int | float)]
    if len(numbers) < len(names):
        return None
    # A product of many integers can be beyond any float, which only floats become infinite by.
    return list(map(float, numbers)) if any(isinstance(n, float) for n in numbers) else numbers
