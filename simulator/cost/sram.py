"""SRAM macros from tables of points, as CACTI gives them: energy of an access, and area.

A table (hw_configs/parts/sram, or what CACTI 7 wrote: `cacti.py`) holds macros of one node and one
set of ports. Between two neighbouring points of one capacity, of one width, or of a table whose
capacities and widths rise together, a macro is interpolated; `leave_one_out` says how well. Another
capacity, node or number of ports takes the scaling that the table names for it, with its range;
without one it is refused.

Left out: leakage (the profile's, by area), accesses of part of a word, temperature, voltage.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from math import log
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

from simulator.config import Bytes, Part, load_part, names
from simulator.cost.profile import Bound, Constant, Source
from simulator.errors import InputError
from simulator.units import format_quantity

SRAM_FOLDER = "hw_configs/parts/sram"


def _known_ports(text: str) -> str:
    if not re.fullmatch("[1-9]RW|[1-9]R[1-9]W", text):
        raise ValueError(f"expected ports such as '1R1W' or '1RW', got '{text}'")
    return text


Positive = Annotated[float, Field(gt=0)]
#: How many ports of which kind: read and write ports, or ports that do either.
Ports = Annotated[str, AfterValidator(_known_ports)]
#: In numbers, or in logarithms of both (a power law).
Law: TypeAlias = Literal["linear", "log"]


class SramPoint(Part):
    """A macro: its capacity, banks included, energy of an access of its width, and area."""

    capacity_bytes: Bytes = Field(alias="capacity")
    width_bits: Annotated[int, Field(ge=1)]
    read_pj: Positive
    write_pj: Positive
    area_mm2: Positive
    access_ns: Positive | None = None


class SramCost(NamedTuple):
    """Energy of one access of full width, and area of the macro."""

    read_pj: float
    write_pj: float
    area_mm2: float


class Factors(NamedTuple):
    """What a scaling multiplies by."""

    energy: float = 1.0
    area: float = 1.0


class PowerLaw(Part):
    """Scaling with a ratio to the table's own: ratio ** exponent, for ratios least to most."""

    name: str
    energy_exponent: Constant
    area_exponent: Constant
    least: Positive
    most: Positive
    source: Source

    def covers(self, ratio: float) -> bool:
        """Tell whether the source holds for a ratio."""
        return self.least <= ratio <= self.most

    def factors(self, ratio: float, bound: Bound) -> Factors:
        """Return the factors at one end of the range of the exponents."""
        end = bound if ratio >= 1 else _OTHER_END[bound]
        return Factors(
            *(ratio ** each.at(end) for each in (self.energy_exponent, self.area_exponent))
        )


_OTHER_END: dict[Bound, Bound] = {"low": "high", "nominal": "nominal", "high": "low"}


class PortScaling(Part):
    """Factors from the table's own ports to others."""

    name: str
    ports: Ports
    energy: Constant
    area: Constant
    source: Source


class Scalings(Part):
    """What a table says of macros that it does not hold; nothing by default."""

    capacity: PowerLaw | None = None
    node: PowerLaw | None = None
    ports: tuple[PortScaling, ...] = ()


class SramTable(Part):
    """Macros of one node and one set of ports."""

    name: str
    summary: str
    technology_nm: Positive
    ports: Ports
    interpolation: Law
    source: Source
    points: Annotated[tuple[SramPoint, ...], Field(min_length=1)]
    scalings: Scalings = Scalings()

    @field_validator("points")
    @classmethod
    def _each_once(cls, points: tuple[SramPoint, ...]) -> tuple[SramPoint, ...]:
        seen = [(point.capacity_bytes, point.width_bits) for point in points]
        for capacity, width in seen:
            if seen.count((capacity, width)) > 1:
                raise ValueError(f"{_size(capacity)} of {width} bits is there more than once")
        return tuple(sorted(points, key=_place))

    @model_validator(mode="after")
    def _ports_of_others(self) -> Self:
        if self.ports in [each.ports for each in self.scalings.ports]:
            raise ValueError(f"scalings.ports: {self.ports} are the table's own ports")
        return self


class LeftOut(NamedTuple):
    """A point and what interpolation between the others makes of it, over it, less 1."""

    point: SramPoint
    read: float
    write: float
    area: float


def load_sram(name_or_path: str) -> SramTable:
    """Load a table by name from `hw_configs/parts/sram`, a YAML file, or an out.csv of CACTI 7.

    An out.csv does not say its ports: 1R1W (`cacti.load_cacti` takes others). Raises InputError
    with every problem of the file.
    """
    # It makes a table of this module.
    from simulator.cost.cacti import load_cacti

    if name_or_path.endswith(".csv"):
        return load_cacti(name_or_path)
    return _known(name_or_path) if name_or_path in names(SRAM_FOLDER) else _load(name_or_path)


def _load(name_or_path: str) -> SramTable:
    return load_part(SramTable, name_or_path, SRAM_FOLDER, noun="SRAM table")


@lru_cache(maxsize=16)
def _known(name: str) -> SramTable:
    return _load(name)


def sram_cost(
    table: SramTable,
    capacity_bytes: int,
    width_bits: int,
    node_nm: float,
    ports: str = "1R1W",
    bound: Bound = "nominal",
) -> SramCost:
    """Return energy of an access of full width and area of a macro.

    bound: an end of the ranges of the scalings used and, for what is interpolated, of the largest
    error of `leave_one_out`. A point of the table has no range.
    Raises InputError, with every reason, for what the table neither holds nor scales to.
    """
    problems: list[str] = []
    found, by_capacity = _at(table, capacity_bytes, width_bits, bound)
    by_node, by_ports = _by_node(table, node_nm, bound), _by_ports(table, ports, bound)
    if found is None:
        problems.append(_no_macro(table, capacity_bytes, width_bits))
    if by_node is None:
        problems.append(_no_node(table, node_nm))
    if by_ports is None:
        known = " and ".join(each.ports for each in table.scalings.ports)
        problems.append(
            f"SRAM table '{table.name}' has {table.ports} macros and "
            f"{f'scales to {known}' if known else 'no scaling of ports'}, not to {ports}"
        )
    if found is None or by_node is None or by_ports is None:
        raise InputError(problems)
    energy = by_capacity.energy * by_node.energy * by_ports.energy
    area = by_capacity.area * by_node.area * by_ports.area
    return SramCost(found.read_pj * energy, found.write_pj * energy, found.area_mm2 * area)


def leave_one_out(table: SramTable) -> tuple[LeftOut, ...]:
    """Return each point that lies between others, and the error with which they give it."""
    found = []
    for point in table.points:
        others = [each for each in table.points if each is not point]
        given = _interpolated(others, *_place(point), table.interpolation)
        if given is not None:
            pairs = zip(given, _cost(point), strict=True)
            found.append(LeftOut(point, *(ours / own - 1 for ours, own in pairs)))
    return tuple(found)


def _at(
    table: SramTable, capacity: int, width: int, bound: Bound
) -> tuple[SramCost | None, Factors]:
    """Return a macro of the table's node and ports, and what its capacity is scaled by."""
    found = _within(table, capacity, width, bound)
    scaling = table.scalings.capacity
    if found is not None or scaling is None:
        return found, Factors()
    own = min({p.capacity_bytes for p in table.points}, key=lambda c: (abs(log(capacity / c)), c))
    if not scaling.covers(capacity / own):
        return None, Factors()
    return _within(table, own, width, bound), scaling.factors(capacity / own, bound)


def _within(table: SramTable, capacity: int, width: int, bound: Bound) -> SramCost | None:
    """Return a point of the table, or what lies between two, at one end of its error."""
    for point in table.points:
        if _place(point) == (capacity, width):
            return _cost(point)
    found = _interpolated(table.points, capacity, width, table.interpolation)
    if found is None or bound == "nominal":
        return found
    side = -1.0 if bound == "low" else 1.0
    ends = zip(found, _worst(table), strict=True)
    return SramCost(*(value * (1 + side * error) for value, error in ends))


def _worst(table: SramTable) -> tuple[float, float, float]:
    """Return the largest error of read, write and area when a point is left out; 0 if none can."""
    left = leave_one_out(table)
    return (
        max((abs(each.read) for each in left), default=0.0),
        max((abs(each.write) for each in left), default=0.0),
        max((abs(each.area) for each in left), default=0.0),
    )


def _interpolated(
    points: Sequence[SramPoint], capacity: int, width: int, law: Law
) -> SramCost | None:
    """Return what lies on the line between two neighbours; None where no line passes."""
    for line in _lines(points, capacity, width):
        for a, b in pairwise(line):
            share = _share(a, b, capacity, width, law)
            if share is not None:
                ends = zip(_cost(a), _cost(b), strict=True)
                return SramCost(*(_between(low, high, share, law) for low, high in ends))
    return None


def _lines(points: Sequence[SramPoint], capacity: int, width: int) -> Iterator[Sequence[SramPoint]]:
    """Yield the points of the capacity, those of the width, and all if both rise together."""
    yield [point for point in points if point.capacity_bytes == capacity]
    yield [point for point in points if point.width_bits == width]
    if all(a.width_bits <= b.width_bits for a, b in pairwise(points)):
        yield points


def _share(a: SramPoint, b: SramPoint, capacity: int, width: int, law: Law) -> float | None:
    """Return how far from a to b a macro lies; None if it is not on the line, to a whole bit."""
    along = 0 if a.capacity_bytes != b.capacity_bytes else 1
    start, end, here = _place(a)[along], _place(b)[along], (capacity, width)[along]
    if not start <= here <= end:
        return None
    steps = (
        (here - start, end - start) if law == "linear" else (log(here / start), log(end / start))
    )
    share = steps[0] / steps[1]
    ends = zip(_place(a), _place(b), strict=True)
    on_line = tuple(round(_between(low, high, share, law)) for low, high in ends)
    return share if on_line == (capacity, width) else None


def _between(start: float, end: float, share: float, law: Law) -> float:
    match law:
        case "linear":
            return start + (end - start) * share
        case "log":
            return float(start * (end / start) ** share)
        case _:
            raise InputError(f"unknown interpolation '{law}'; known: linear, log")


def _by_node(table: SramTable, node_nm: float, bound: Bound) -> Factors | None:
    if node_nm == table.technology_nm:
        return Factors()
    scaling, ratio = table.scalings.node, node_nm / table.technology_nm
    if scaling is None or not scaling.covers(ratio):
        return None
    return scaling.factors(ratio, bound)


def _by_ports(table: SramTable, ports: str, bound: Bound) -> Factors | None:
    if ports == table.ports:
        return Factors()
    for each in table.scalings.ports:
        if each.ports == ports:
            return Factors(each.energy.at(bound), each.area.at(bound))
    return None


def _no_macro(table: SramTable, capacity: int, width: int) -> str:
    by_capacity: dict[int, list[str]] = {}
    for point in table.points:
        by_capacity.setdefault(point.capacity_bytes, []).append(str(point.width_bits))
    has = "; ".join(f"{_size(c)} of {', '.join(w)} bits" for c, w in by_capacity.items())
    text = f"SRAM table '{table.name}' has no {_size(capacity)} of {width} bits; it has {has}"
    scaling = table.scalings.capacity
    if scaling is None:
        return f"{text}, and what lies between neighbours"
    times = f"{scaling.least:g} to {scaling.most:g} times the capacity"
    return f"{text}, what lies between neighbours, and {times}"


def _no_node(table: SramTable, node_nm: float) -> str:
    text = f"SRAM table '{table.name}' is of {table.technology_nm:g} nm"
    scaling = table.scalings.node
    if scaling is None:
        return f"{text} and has no scaling to {node_nm:g} nm"
    ends = (scaling.least * table.technology_nm, scaling.most * table.technology_nm)
    return f"{text} and scales to {ends[0]:.3g} to {ends[1]:.3g} nm, not to {node_nm:g} nm"


def _place(point: SramPoint) -> tuple[int, int]:
    return point.capacity_bytes, point.width_bits


def _cost(point: SramPoint) -> SramCost:
    return SramCost(point.read_pj, point.write_pj, point.area_mm2)


def _size(capacity: int) -> str:
    return format_quantity(capacity, "bytes")
