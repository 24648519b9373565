"""The best layout of a matrix in a memory whose banks compute, by the closed form of its time.

Every way is tried to split outputs and inputs over channels, groups, banks and the bursts of a row
by divisors of what is there (the rest goes to rows, and a last part may be smaller), with lanes
along either, several matrices over channels or not, and results or inputs held. Kept is what is
done first; then what opens the fewest rows, then the first by name.

Sums of parts of the inputs are read, and added elsewhere; what that takes, the caller says.

Left out: what the layout means for others (`pim_storage`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil
from typing import NamedTuple, TypeAlias

from simulator.errors import InputError
from simulator.hardware.equations import PimTicks
from simulator.mapping.pim_layout import (
    Dimension,
    Geometry,
    Layout,
    Level,
    Placement,
    Shape,
    Split,
    placed,
    values_of_row,
)
from simulator.mapping.pim_nest import HELD, Held
from simulator.mapping.pim_program import Counts, partial_sums, turns_of
from simulator.mapping.pim_time import program_ticks

#: Values of a burst along each dimension, the innermost first.
Lanes: TypeAlias = tuple[tuple[Dimension, int], ...]
#: A level, a dimension and a factor.
Digit: TypeAlias = tuple[Level, Dimension, int]
_ALONG: tuple[Dimension, ...] = ("outputs", "inputs")
_OVER: tuple[Level, ...] = ("bank", "group", "channel")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A layout and what is held.

    program_ticks: of the slowest channel. ticks: those of the additions that are left, which are
    `partial_sums`, too. counts: of all channels.
    """

    placement: Placement
    held: Held
    program_ticks: float
    ticks: float
    counts: Counts
    partial_sums: int

    @property
    def order(self) -> tuple[float, int, str, str]:
        """What points are compared by."""
        return self.ticks, self.counts.openings, self.placement.layout.name, self.held


class Found(NamedTuple):
    """The best point, and how many were tried."""

    best: Point
    points: int


def search(
    shape: Shape,
    geometry: Geometry,
    ticks: Callable[[int], PimTicks],
    *,
    vectors: int = 1,
    vectors_held: int = 1,
    sum_ticks: float = 0.0,
    lanes: Lanes | None = None,
    held: Held | None = None,
) -> Found:
    """Return the best layout of a matrix that is multiplied with vectors.

    ticks: for so many groups in turn, as `ticks_of` has them. sum_ticks: of an addition that is
    left to somebody. lanes, held: the only ones to try. Raises InputError for what does not fit
    the banks, and for a buffer or sums that no layout can multiply with.
    """
    _refuse_large(shape, geometry)
    best, points, refused = None, 0, None
    kept_ticks = cache(ticks)
    for layout in layouts(shape, geometry, lanes):
        try:
            placement = placed(layout, shape, geometry)
            for each in HELD if held is None else (held,):
                point = evaluate(
                    placement,
                    kept_ticks,
                    each,
                    vectors=vectors,
                    vectors_held=vectors_held,
                    sum_ticks=sum_ticks,
                )
                points += 1
                if best is None or point.order < best.order:
                    best = point
        except InputError as error:
            refused = error
    if best is None:
        raise refused or InputError(f"no layout of {shape.words()}")
    return Found(best, points)


def evaluate(
    placement: Placement,
    ticks: Callable[[int], PimTicks],
    held: Held,
    *,
    vectors: int = 1,
    vectors_held: int = 1,
    sum_ticks: float = 0.0,
) -> Point:
    """Return what a placement takes; arguments as of `search`, errors as of `program`."""
    total, slowest = Counts(), 0.0
    between = ticks(placement.groups)
    for sizes, many in placement.channel_sizes().items():
        turns = turns_of(placement, sizes, vectors=vectors, vectors_held=vectors_held, held=held)
        for turn in turns:
            total = total.plus(turn, many)
        slowest = max(slowest, sum(program_ticks(turn, between) for turn in turns))
    sums = partial_sums(placement, total, vectors)
    return Point(
        placement=placement,
        held=held,
        program_ticks=slowest,
        ticks=slowest + sums * sum_ticks,
        counts=total,
        partial_sums=sums,
    )


def layouts(shape: Shape, geometry: Geometry, lanes: Lanes | None = None) -> Iterator[Layout]:
    """Yield the layouts that are tried, each once; lanes: the only ones, else along either."""
    bursts = values_of_row(shape, geometry)
    several: tuple[Dimension, ...] = ("matrices",) if shape.matrices > 1 else ()
    over_channels = list(_over(geometry.channels, (*_ALONG, *several)))
    over_groups = list(_over(geometry.groups, _ALONG))
    over_banks = list(_over(geometry.banks, _ALONG))
    over_bursts = [(each, bursts // each) for each in _steps(bursts)]
    values = geometry.burst_bytes * 8 // shape.value_bits
    either: tuple[Lanes, ...] = tuple(((along, values),) for along in _ALONG)
    seen = set[tuple[Digit, ...]]()
    for of_lanes, (inner, outer), *spread in product(
        either if lanes is None else (lanes,), over_bursts, over_banks, over_groups, over_channels
    ):
        digits: list[Digit] = [
            *(("lane", dimension, factor) for dimension, factor in of_lanes),
            ("burst", "inputs", inner),
            ("burst", "outputs", outer),
        ]
        for level, factors in zip(_OVER, spread, strict=True):
            digits += [(level, dimension, factor) for dimension, factor in factors]
        needed = _needed(shape, digits)
        if needed not in seen:
            seen.add(needed)
            yield _layout(needed)


def _over(
    many: int, dimensions: tuple[Dimension, ...]
) -> Iterator[tuple[tuple[Dimension, int], ...]]:
    """Yield all ways to split a number over dimensions."""
    first, *others = dimensions
    if not others:
        yield ((first, many),)
        return
    for factor in _divisors(many):
        for rest in _over(many // factor, tuple(others)):
            yield ((first, factor), *rest)


def _divisors(many: int) -> list[int]:
    return [each for each in range(1, many + 1) if many % each == 0]


def _steps(many: int) -> list[int]:
    """Return the largest numbers of each that go as often into a number."""
    return sorted({many // each for each in range(1, many + 1)})


def _needed(shape: Shape, digits: Iterable[Digit]) -> tuple[Digit, ...]:
    """Return digits of more than one value, none larger than what is left of its dimension."""
    rest: dict[Dimension, int] = {
        "outputs": shape.outputs,
        "inputs": shape.inputs,
        "matrices": shape.matrices,
    }
    found = list[Digit]()
    for level, dimension, most in digits:
        factor = min(most, rest[dimension])
        rest[dimension] = ceil(rest[dimension] / factor)
        if factor > 1:
            found.append((level, dimension, factor))
    return tuple(found)


def _layout(digits: tuple[Digit, ...]) -> Layout:
    """Return a layout of digits, with what is left in rows."""
    rows: tuple[Dimension, ...] = ("inputs", "outputs", "matrices")
    return Layout(
        name=", ".join(f"{level} {factor} {dimension}" for level, dimension, factor in digits)
        or "rows",
        summary="found by search",
        source="simulator.mapping.pim_search",
        splits=(
            *(Split(level=each, dimension=of, factor=factor) for each, of, factor in digits),
            *(Split(level="row", dimension=of) for of in rows),
        ),
    )


def _refuse_large(shape: Shape, geometry: Geometry) -> None:
    """Refuse what would not fit if all rows were full."""
    lanes = geometry.burst_bytes * 8 // shape.value_bits
    of_row = values_of_row(shape, geometry) * lanes
    of_rows = geometry.channels * geometry.groups * geometry.banks * of_row
    needed = -(-shape.values // of_rows) if of_rows else 0
    if needed > geometry.rows:
        raise InputError(
            f"gemv of {shape.words()} needs {needed} rows of each bank, {geometry.rows} are there"
        )
