"""From a placed matrix to the programs of channels, and in closed form to what they count.

Which loops there are, says `pim_nest`. `vectors_held` vectors are there at a time and multiplied
with each burst (one command, as long as the caller says); for others the program runs again, as a
section of its own.

Left out: the addition of sums of several banks or channels on the way.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from simulator.dram.pim.grouped_part import END, FIELDS, LOAD, RESULT, ROW
from simulator.errors import InputError
from simulator.mapping.pim_layout import (
    DIMENSIONS,
    Digit,
    Dimension,
    Ints,
    Level,
    Placement,
    Sizes,
    kept,
)
from simulator.mapping.pim_nest import (
    Held,
    Nest,
    Predicate,
    nest_of,
    of_loads,
    of_rows,
    of_sums,
    tally,
)


class ChannelProgram(NamedTuple):
    """A program, and how many channels run it. entries: (n, 4), of kind, group, row and count."""

    entries: Ints
    channels: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a channel, or several together, do.

    multiplies: commands, those of scales included. openings: of rows of groups. loads, stops: how
    often the buffer is filled, and sums are read; writes, reads: the commands for that. results:
    sums that are read, each of one vector.
    """

    multiplies: int = 0
    openings: int = 0
    loads: int = 0
    writes: int = 0
    stops: int = 0
    reads: int = 0
    results: int = 0

    def plus(self, other: "Counts", many: int = 1) -> "Counts":
        """Return these counts and those of many others."""
        return Counts(**{name: n + many * getattr(other, name) for name, n in vars(self).items()})

    @property
    def row_hit_rate(self) -> float:
        """Share of the multiplies whose row is open already."""
        return 1 - self.openings / self.multiplies


def program(
    placement: Placement, *, vectors: int = 1, vectors_held: int = 1, held: Held = "results"
) -> list[ChannelProgram]:
    """Return the programs of the channels that have a part, that of the most channels first.

    vectors: of each matrix. Raises InputError for sizes below 1, an unknown `held`, and a buffer or
    sums that are too small for one multiply.
    """
    found = Counter[bytes]()
    passes = _passes(vectors, vectors_held)
    for sizes, many in placement.channel_sizes().items():
        made = {count: _entries(placement, sizes, count, held) for count in {*passes}}
        found[np.concatenate([made[count] for count in passes]).tobytes()] += many
    return [
        ChannelProgram(np.frombuffer(entries, np.int64).reshape(-1, FIELDS), many)
        for entries, many in found.most_common()
    ]


def turns_of(
    placement: Placement,
    sizes: Sizes,
    *,
    vectors: int = 1,
    vectors_held: int = 1,
    held: Held = "results",
) -> tuple[Counts, ...]:
    """Return in closed form what a channel with some sizes does in full turns of vectors, and last.

    A last turn of fewer vectors is apart. sizes: one of `Placement.channel_sizes`. Errors as above.
    """
    passes = Counter(_passes(vectors, vectors_held))
    nest = nest_of(placement, max(passes), held)
    rows = tally(nest, sizes, lambda d: d.level == "group", lambda d: d.level == "row")
    found = list[Counts]()
    for vectors_of_pass, many in passes.items():
        counts = Counts().plus(_counts(placement, sizes, vectors_of_pass, held), many)
        # A group's only row stays open from one run of the program to the next.
        again = many if found else many - 1
        found.append(counts.plus(Counts(openings=-rows.get(1, 0)), again))
    return tuple(found)


def channel_counts(
    placement: Placement,
    sizes: Sizes,
    *,
    vectors: int = 1,
    vectors_held: int = 1,
    held: Held = "results",
) -> Counts:
    """Return in closed form what a channel does for all vectors; arguments and errors as above."""
    total = Counts()
    for turn in turns_of(placement, sizes, vectors=vectors, vectors_held=vectors_held, held=held):
        total = total.plus(turn)
    return total


def counts_of(
    placement: Placement, *, vectors: int = 1, vectors_held: int = 1, held: Held = "results"
) -> Counts:
    """Return in closed form what all channels do together; errors as above."""
    total = Counts()
    for sizes, many in placement.channel_sizes().items():
        each = channel_counts(
            placement, sizes, vectors=vectors, vectors_held=vectors_held, held=held
        )
        total = total.plus(each, many)
    return total


def partial_sums(placement: Placement, counts: Counts, vectors: int = 1) -> int:
    """Return how many additions are left to whoever gets the sums of all channels."""
    return counts.results - placement.shape.outputs * placement.shape.matrices * vectors


def _passes(vectors: int, vectors_held: int) -> list[int]:
    """Return the vectors of each run of the program."""
    given = {"vectors": vectors, "vectors_held": vectors_held}
    problems = [f"{name} must be >= 1, got {size}" for name, size in given.items() if size < 1]
    if problems:
        raise InputError(problems)
    whole, rest = divmod(vectors, vectors_held)
    return [vectors_held] * whole + [rest] * (rest > 0)


def _counts(placement: Placement, sizes: Sizes, vectors: int, held: Held) -> Counts:
    """Return the counts of a run of the program for some vectors."""
    geometry, shape = placement.geometry, placement.shape
    nest = nest_of(placement, vectors, held)
    rows = tally(nest, sizes, of_rows, lambda digit: digit.level == "burst")
    loads = tally(nest, sizes, *of_loads(nest))
    sums = tally(nest, sizes, *of_sums(nest, geometry))
    stops = tally(nest, sizes, lambda digit: digit in nest.reads, lambda digit: False)
    ratio = shape.scale_bits / shape.value_bits

    def moves(amounts: Mapping[int, int], size: int, at_once: int) -> int:
        return sum(many * -(-each * vectors * size // at_once) for each, many in amounts.items())

    return Counts(
        multiplies=sum(many * (each + ceil(each * ratio)) for each, many in rows.items()),
        openings=sum(rows.values()),
        loads=sum(loads.values()),
        writes=moves(loads, geometry.input_bytes, geometry.burst_bytes),
        stops=sum(stops.values()),
        reads=moves(sums, geometry.result_bytes, geometry.read_bytes),
        results=vectors * sum(each * many for each, many in sums.items()),
    )


def _entries(placement: Placement, sizes: Sizes, vectors: int, held: Held) -> Ints:
    """Return the program of a channel for some vectors."""
    geometry, shape = placement.geometry, placement.shape
    nest = nest_of(placement, vectors, held)
    steps = _Steps(nest, sizes)
    group, row = steps.place("group"), steps.place("row")
    fillings, readings = of_loads(nest), of_sums(nest, geometry)
    loads = _starts(steps.number(fillings[0]))
    visits = _starts(row * geometry.groups + group)
    read = steps.number(lambda digit: digit in nest.reads)
    reads = _starts(read)
    sums = np.unique(read * geometry.groups + group, return_index=True)[1]
    starts = np.unique(np.concatenate([loads, visits, reads]))
    ends = np.append(reads[1:], steps.count)[np.searchsorted(reads, sums, side="right") - 1]

    multiplies = np.diff(starts, append=steps.count)
    ratio = shape.scale_bits / shape.value_bits
    of_visits = np.diff(visits, append=steps.count)
    scales = -(-of_visits * ratio.numerator // ratio.denominator)
    multiplies[np.searchsorted(starts, visits)] += scales

    def moves(at: Ints, chosen: tuple[Predicate, Predicate], size: int, at_once: int) -> Ints:
        return -(-steps.amount(at, *chosen) * vectors * size // at_once)

    loaded = moves(loads, fillings, geometry.input_bytes, geometry.burst_bytes)
    moved = moves(sums, readings, geometry.result_bytes, geometry.read_bytes)
    listed = np.concatenate(
        [
            _listed(loads, 0, LOAD, 0, 0, loaded),
            _listed(starts, 1, ROW, group[starts], row[starts], multiplies),
            _listed(ends - 1, 2, RESULT, group[sums], 0, moved),
            _listed(np.array([steps.count]), 0, END, 0, 0, 0),
        ]
    )
    order = np.lexsort((listed[:, 3], listed[:, 1], listed[:, 0]))
    return listed[order, 2:]


def _listed(
    at: Ints, phase: int, kind: int, group: Ints | int, row: Ints | int, count: Ints | int
) -> Ints:
    """Return entries behind where they stand, and in which order of those there."""
    columns = np.broadcast_arrays(at, phase, kind, group, row, count)
    return np.stack(columns, axis=1).astype(np.int64)


class _Steps:
    """The bursts of a channel in the order in which they are multiplied."""

    def __init__(self, nest: Nest, sizes: Sizes) -> None:
        """Take the sizes of the channel."""
        self._nest, self._sizes = nest, sizes
        shape = [self._size(each, lambda d: d in nest.loops) for each in DIMENSIONS]
        self.count = prod(shape)
        values = dict[Digit, Ints]()
        for dimension, index in zip(DIMENSIONS, np.indices(shape), strict=True):
            values |= self._values(dimension, index.ravel(), lambda d: d in nest.loops)
        order = np.argsort(_number(nest.loops, values, self.count))
        self._of = {digit: each[order] for digit, each in values.items()}

    def place(self, level: Level) -> Ints:
        """Return the place of each in a level."""
        at = np.zeros(self.count, np.int64)
        for digit in self._nest.loops:
            if digit.level == level:
                at += digit.apart * self._of[digit]
        return at

    def number(self, chosen: Predicate) -> Ints:
        """Return a number for each, equal where the chosen loops are at the same step."""
        return _number([d for d in self._nest.loops if chosen(d)], self._of, self.count)

    def amount(self, at: Ints, apart: Predicate, counted: Predicate) -> Ints:
        """Return how many values the counted digits have at the steps `at` of those apart."""
        total = np.ones(len(at), np.int64)
        for dimension in DIMENSIONS:
            loops = [d for d in self._nest.digits[dimension] if apart(d)]
            size = self._size(dimension, lambda d: apart(d) or counted(d))
            values = self._values(dimension, np.arange(size), lambda d: apart(d) or counted(d))
            many = np.bincount(_number(loops, values, size))
            total *= many[_number(loops, self._of, self.count)[at]]
        return total

    def _size(self, dimension: Dimension, chosen: Predicate) -> int:
        size = self._sizes[DIMENSIONS.index(dimension)]
        return kept(size, self._nest.digits[dimension], chosen)

    def _values(self, dimension: Dimension, index: Ints, chosen: Predicate) -> dict[Digit, Ints]:
        """Return the chosen digits of indexes that count with these alone."""
        values, stride = dict[Digit, Ints](), 1
        for digit in self._nest.digits[dimension]:
            if chosen(digit):
                values[digit] = index // stride % digit.factor
                stride *= digit.factor
        return values


def _number(digits: Sequence[Digit], values: Mapping[Digit, Ints], count: int) -> Ints:
    """Return one number for the values of some digits, the first the most significant."""
    number = np.zeros(count, np.int64)
    for digit in digits:
        number = number * digit.factor + values[digit]
    return number


def _starts(number: Ints) -> Ints:
    """Return where a number is another than before."""
    return np.flatnonzero(np.diff(number, prepend=number[0] - 1))
