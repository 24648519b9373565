"""The loops of a channel that multiplies a placed matrix, and what it gives up at which step.

A channel goes through its rows, in each row through the groups, and in both through the bursts, so
that a row is opened once for each time that the program runs. What is outside decides which parts
of the vectors and which sums are given up and needed again. With `results` held, outputs are
outside, and as many of them inside the loop over inputs as a bank keeps sums: sums are read once,
inputs are loaded again for other outputs. With `inputs` held it is the other way round: inputs are
loaded once, and sums over parts of them are read, which somebody has to add.

The buffer of a channel has what its banks need of the vectors until the next load; of banks with
buffers of their own each has what it needs itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from math import ceil, prod
from typing import Literal, NamedTuple, TypeAlias, get_args

from simulator.config import unknown
from simulator.errors import InputError
from simulator.mapping.pim_layout import (
    DIMENSIONS,
    Digit,
    Dimension,
    Geometry,
    Level,
    Placement,
    Sizes,
    without,
)

Held: TypeAlias = Literal["results", "inputs"]
HELD: tuple[Held, ...] = get_args(Held)
Predicate: TypeAlias = Callable[[Digit], bool]
#: Loops, the outermost first.
_OUTPUTS_OUTSIDE: tuple[Dimension, ...] = ("matrices", "outputs", "inputs")
_INPUTS_OUTSIDE: tuple[Dimension, ...] = ("matrices", "inputs", "outputs")
_OF_VECTORS: tuple[Dimension, ...] = ("inputs", "matrices")
_OF_SUMS: tuple[Dimension, ...] = ("outputs", "matrices")
#: What a tally does with a digit.
_APART, _COUNTED, _ANY = range(3)


class Nest(NamedTuple):
    """Loops of a channel, the outermost first.

    digits: of each dimension, innermost first, lanes and banks included, by indexes that count only
    what the channel has. loads, reads: the loops at each step of which the buffer is filled, and
    sums are read.
    """

    digits: dict[Dimension, tuple[Digit, ...]]
    loops: tuple[Digit, ...]
    loads: frozenset[Digit]
    reads: frozenset[Digit]


@lru_cache(maxsize=1024)
def nest_of(placement: Placement, vectors_held: int, held: Held) -> Nest:
    """Return the loops of a program; errors as of `program`."""
    if held not in HELD:
        raise InputError(unknown("held", held, HELD))
    digits = [digit for digit in placement.channel_digits() if digit.factor > 1]
    room, sums = _room(placement, digits, vectors_held)
    outside = _OUTPUTS_OUTSIDE if held == "results" else _INPUTS_OUTSIDE
    inside = list[Digit]()
    if any(digit.level == "row" and digit.dimension == outside[2] for digit in digits):
        together = room if held == "inputs" else sums
        counted = _OF_VECTORS if held == "inputs" else _OF_SUMS
        levels = (
            (*_buffered(placement.geometry), "group", "burst") if held == "inputs" else ("burst",)
        )
        digits, inside = _held_together(digits, outside[1], together, counted, levels)
    spatial = _buffered(placement.geometry)
    fits = prod(
        d.factor for d in digits if d.dimension in _OF_VECTORS and d.level in (*spatial, "burst")
    )
    in_rows = _OUTPUTS_OUTSIDE if fits <= room else _INPUTS_OUTSIDE

    def order(digit: Digit) -> tuple[int, ...]:
        level = ("row", "group", "burst").index(digit.level)
        within = len(outside) if digit in inside else 0
        listed = in_rows if digit.level == "burst" else outside
        return level, within, listed.index(digit.dimension), -digit.stride

    loops = sorted((d for d in digits if d.level not in ("lane", "bank")), key=order)
    at_once = [d for d in digits if d.level in ("lane", "bank")]
    used = prod(d.factor for d in at_once if d.dimension in _OF_VECTORS and d.level in spatial)
    while True:
        before = len(loops)
        loads = _given_up(loops, at_once, used, room, _OF_VECTORS)
        reads = _given_up(loops, at_once, 1, sums, _OF_SUMS)
        if len(loops) == before:
            break
    found = sorted([*at_once, *loops], key=lambda digit: digit.stride)
    return Nest(
        digits={each: tuple(d for d in found if d.dimension == each) for each in DIMENSIONS},
        loops=tuple(loops),
        loads=loads,
        reads=reads,
    )


def of_rows(digit: Digit) -> bool:
    """Tell whether a digit is of rows of groups."""
    return digit.level in ("row", "group")


def of_loads(nest: Nest) -> tuple[Predicate, Predicate]:
    """Return which digits tell fillings of the buffer apart, and which are of its values."""
    return (
        lambda digit: digit in nest.loads,
        lambda digit: digit.dimension in _OF_VECTORS,
    )


def of_sums(nest: Nest, geometry: Geometry) -> tuple[Predicate, Predicate]:
    """Return which digits tell readings of sums of a group apart, and which are of its sums."""
    return (
        lambda digit: digit in nest.reads or digit.level == "group",
        lambda digit: _has_sums(digit, geometry),
    )


def _has_sums(digit: Digit, geometry: Geometry) -> bool:
    """Tell whether each step of a digit has sums of its own: lanes that are added up have not."""
    spatial = digit.level == "bank" or (digit.level == "lane" and not geometry.lanes_added)
    return spatial or digit.dimension in _OF_SUMS


def tally(nest: Nest, sizes: Sizes, apart: Predicate, counted: Predicate) -> dict[int, int]:
    """Return how many values of the digits `apart` have as many values of those that are counted.

    Digits that are apart are not counted; of others any value will do.
    """
    total = {1: 1}
    for dimension, size in zip(DIMENSIONS, sizes, strict=True):
        uses = tuple(
            (digit.factor, _APART if apart(digit) else _COUNTED if counted(digit) else _ANY)
            for digit in nest.digits[dimension]
        )
        found = dict[int, int]()
        for each, many in _tally_of_one(size, uses):
            for before, many_before in total.items():
                found[before * each] = found.get(before * each, 0) + many * many_before
        total = found
    return total


@lru_cache(maxsize=65536)
def _tally_of_one(size: int, uses: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Return the tally of one dimension. uses: factor and what for, innermost first."""
    chosen, stride = list[tuple[int, bool]](), 1
    for factor, use in uses:
        if use == _ANY:
            size = without(size, stride, factor, 0)
        else:
            chosen.append((factor, use == _COUNTED))
            stride *= factor
    return tuple((each, many) for (each,), many in _shares((size,), tuple(chosen)))


def _shares(
    sizes: tuple[int, ...], digits: tuple[tuple[int, bool], ...]
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return, for values of the digits that are not counted, how many indexes below each size.

    digits: factor and whether it is counted, innermost first. Each element has the numbers of
    indexes and how many values have as many; not those of which there are none at all.
    """
    if not digits:
        return ((sizes, 1),)
    (factor, counted), inner = digits[-1], digits[:-1]
    span = prod(each for each, _ in inner)
    found = Counter[tuple[int, ...]]()
    if counted:
        for (full, *parts), many in _shares((span, *(size % span for size in sizes)), inner):
            found[tuple(s // span * full + p for s, p in zip(sizes, parts, strict=True))] += many
    else:
        whole = [size // span for size in sizes]
        bounds = sorted({0, factor, *whole, *(each + 1 for each in whole if each < factor)})
        for first, end in pairwise(bounds):
            left = tuple(min(max(size - first * span, 0), span) for size in sizes)
            for each, many in _shares(left, inner):
                found[each] += many * (end - first)
    return tuple((each, many) for each, many in found.items() if any(each))


def _room(placement: Placement, digits: Iterable[Digit], vectors: int) -> tuple[int, int]:
    """Return the values of each vector that the buffer holds, and the sums of it of a bank."""
    geometry, name = placement.geometry, placement.layout.name
    room = geometry.buffer_bytes // (geometry.input_bytes * vectors)
    lanes = prod(d.factor for d in digits if d.level == "lane" and _has_sums(d, geometry))
    sums_bytes = geometry.result_bytes * lanes * vectors
    sums = geometry.sums_bytes // sums_bytes
    levels = _buffered(geometry)
    needed = prod(d.factor for d in digits if d.dimension in _OF_VECTORS and d.level in levels)
    problems = []
    if room < needed:
        problems.append(
            f"layout {name}: a multiply needs {needed} values of each of {vectors} "
            f"vectors, a buffer of {geometry.buffer_bytes} bytes holds {room}"
        )
    if sums < 1:
        problems.append(
            f"layout {name}: a multiply needs {sums_bytes} bytes for sums of {vectors} "
            f"vectors, a bank keeps {geometry.sums_bytes}"
        )
    if problems:
        raise InputError(problems)
    return room, sums


def _buffered(geometry: Geometry) -> tuple[Level, ...]:
    """Return the levels whose instances have values side by side in one buffer."""
    return ("lane",) if geometry.buffer_in_banks else ("lane", "bank")


def _held_together(
    digits: list[Digit],
    dimension: Dimension,
    room: int,
    counted: tuple[Dimension, ...],
    levels: tuple[Level, ...],
) -> tuple[list[Digit], list[Digit]]:
    """Return digits, and what rows of a dimension are held together as far as room allows.

    levels: that take room. A digit that is held in part is now two.
    """
    room //= prod(d.factor for d in digits if d.dimension in counted and d.level in levels)
    inside = list[Digit]()
    for digit in [d for d in digits if d.dimension == dimension and d.level == "row"]:
        pieces = _pieces(digit, room, digits)
        if len(pieces) == 1 and digit.factor > room:
            break
        i = digits.index(digit)
        digits = [*digits[:i], *pieces, *digits[i + 1 :]]
        inside.append(pieces[0])
        room //= pieces[0].factor
        if len(pieces) > 1:
            break
    return digits, inside


def _pieces(digit: Digit, room: int, digits: Iterable[Digit]) -> list[Digit]:
    """Return a digit in two, the inner one at most `room`; as it is if that would be 1 or all.

    The outermost digit of a dimension takes any inner one, others a divisor.
    """
    outermost = not any(d.dimension == digit.dimension and d.stride > digit.stride for d in digits)
    inner = min(max(room, 1), digit.factor)
    if not outermost:
        inner = next(each for each in range(inner, 0, -1) if digit.factor % each == 0)
    if inner in (1, digit.factor):
        return [digit]
    outer = digit._replace(
        stride=digit.stride * inner, factor=ceil(digit.factor / inner), apart=digit.apart * inner
    )
    return [digit._replace(factor=inner), outer]


def _given_up(
    loops: list[Digit],
    spatial: list[Digit],
    used: int,
    room: int,
    dimensions: tuple[Dimension, ...],
) -> frozenset[Digit]:
    """Return the loops from the outermost to the one at each step of which what is held changes.

    used: what one step of all loops takes of the room. A loop that is held in part is made two.
    Sums of groups are in banks of their own, the buffer is one.
    """
    for i in reversed(range(len(loops))):
        digit = loops[i]
        own = digit.level == "group" and dimensions == _OF_SUMS
        if digit.dimension not in dimensions or own:
            continue
        if used * digit.factor > room:
            pieces = _pieces(digit, room // used, [*spatial, *loops])
            loops[i : i + 1] = reversed(pieces)
            return frozenset(loops[: i + 1])
        used *= digit.factor
    return frozenset()
