"""Codebooks: a value for every code, rounding on them, and the published tables.

A value is rounded between its two neighbours in the table. Ties of NEAREST_EVEN go to the even
rank, counted from the zero of the table (from the lowest value of a table without zero): symmetric
tables round symmetrically, INT and E2M1 tables as integers and minifloats do. The other roundings
go by value: away from zero is to the neighbour of larger magnitude and toward zero to that of
smaller magnitude; of -x and x, neighbours in a table without zero, x counts as the larger.

`Codebook.encode_one` is the specification, in fractions; `encode` is for arrays. They are equal for
all float32 and float64 values: midpoints are exact. Only STOCHASTIC has positions in float64, where
a probability may be 2^-24 off if it lies within 2^-52 of a multiple of 2^-24; none does where
values, table and the step between neighbours are multiples of one quantum and the step is at most
2^29 of them.

- Beyond the ends, infinity included, values saturate. NaN is refused.
- Where a table has 0 and -0, a negative value that rounds to zero is -0.

Sources: each table names its own. Left out: scales (`scale_to` is the plain one; no clip search),
and the bits that hardware gives to a code where the table below only states an order (flint).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise, product
from math import copysign, inf, isnan, nextafter
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Codes, Floats, storage
from simulator.formats.rounding import Rounding, rounds_up, rounds_up_all

_MOST_VALUES = 1 << 16
_LARGEST_VALUE = 1e300


class Grid:
    """The distinct values of a table in order, and what exact rounding among them needs."""

    def __init__(self, values: Sequence[float]) -> None:
        """Take at least two distinct finite values in any order; 0 and -0 are one."""
        self.sorted = sorted(set(values))
        self.values = np.array(self.sorted, np.float64)
        origin = bisect_left(self.sorted, 0.0) if 0.0 in self.sorted else 0
        self.odd = (np.arange(len(self.sorted)) - origin) % 2 == 1
        #: Between two neighbours one rounds as with magnitudes, from the smaller one to the larger
        #: one: downward among negative values.
        self.downward = np.abs(self.values[1:]) < np.abs(self.values[:-1])

    @cached_property
    def middles(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The midpoints between neighbours, rounded down, and whether they are float64.

        Comparing a float64 with one is comparing it with the exact midpoint.
        """
        pairs = [_midpoint(low, high) for low, high in pairwise(self.sorted)]
        return np.array([middle for middle, _ in pairs]), np.array([exact for _, exact in pairs])

    def rank_one(self, value: float, rounding: Rounding, random: int = 0) -> int:
        """Return the rank of the value that a number rounds to; not for NaN."""
        inside = min(max(value, self.sorted[0]), self.sorted[-1])
        low = bisect_right(self.sorted, inside) - 1
        if self.sorted[low] == inside:
            return low
        downward = bool(self.downward[low])
        near, far = (low + 1, low) if downward else (low, low + 1)
        start, end = Fraction(self.sorted[near]), Fraction(self.sorted[far])
        position = (Fraction(inside) - start) / (end - start)
        odd = bool(self.odd[near])
        up = rounds_up(position, odd=odd, negative=downward, rounding=rounding, random=random)
        return far if up else near

    @cached_property
    def thresholds(self) -> dict[Rounding, NDArray[np.float64]]:
        """The least float64 that is rounded beyond each rank but the last, without chance."""
        return {each: self._thresholds(each) for each in Rounding if each != Rounding.STOCHASTIC}

    def _thresholds(self, rounding: Rounding) -> NDArray[np.float64]:
        near = np.arange(self.downward.size) + self.downward

        def goes_up(place: float) -> NDArray[np.bool_]:
            position = np.where(self.downward, 1 - place, place)
            away = rounds_up_all(position, self.odd[near], self.downward, rounding)
            return away ^ self.downward

        middles, exact = self.middles
        least = np.where(goes_up(0.75), np.nextafter(middles, inf), self.values[1:])
        least = np.where(goes_up(0.5) & exact, middles, least)
        return np.where(goes_up(0.25), np.nextafter(self.values[:-1], inf), least)

    def ranks(self, values: Floats, rounding: Rounding, seed: int = 0) -> NDArray[np.intp]:
        """Return `rank_one` of every value; element i draws random number i of `seed`."""
        exact = np.asarray(values, np.float64)
        if rounding is Rounding.STOCHASTIC:
            return self._drawn_ranks(exact, seed)
        return np.asarray(np.searchsorted(self.thresholds[rounding], exact, side="right"), np.intp)

    def _drawn_ranks(self, values: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
        inside = np.clip(values, self.values[0], self.values[-1])
        at = np.searchsorted(self.values, inside, side="right") - 1
        low = np.minimum(at, self.downward.size - 1)
        downward = self.downward[low]
        near = low + downward
        position = np.abs(inside - self.values[near]) / (self.values[low + 1] - self.values[low])
        # A position is rounded to float64, but never to 0.
        position = np.maximum(position, np.finfo(np.float64).tiny)
        up = rounds_up_all(position, self.odd[near], downward, Rounding.STOCHASTIC, seed)
        return np.where(self.values[at] == inside, at, low + (up ^ downward))


def _midpoint(low: float, high: float) -> tuple[float, bool]:
    exact = (Fraction(low) + Fraction(high)) / 2
    middle = float(exact)
    if Fraction(middle) > exact:
        middle = nextafter(middle, -inf)
    return middle, Fraction(middle) == exact


@dataclass(frozen=True)
class Codebook:
    """A table: `values[code]` is the value of a code.

    Errors: InputError for a table that is not of 2, 4, 8 ... 65536 different values from -1e300 to
    1e300; 0 and -0 may both be there.
    """

    name: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse impossible tables, all problems in one error."""
        count = len(self.values)
        problems = []
        if not 2 <= count <= _MOST_VALUES:
            problems.append(f"a codebook has 2 to {_MOST_VALUES} values, got {count}")
        elif count & (count - 1):
            problems.append(f"the number of values must be a power of two, got {count}")
        seen: dict[str, int] = {}
        for code, value in enumerate(self.values):
            # So that no step between two values is beyond float64.
            if not abs(value) <= _LARGEST_VALUE:
                problems.append(f"values must be within +-1e300, got {value} at code {code}")
                continue
            first = seen.setdefault(repr(float(value)), code)
            if first != code:
                problems.append(f"{value} has two codes, {first} and {code}")
        if count and not any(self.values):
            problems.append("at least one value must not be zero")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return len(self.values).bit_length() - 1

    @cached_property
    def largest(self) -> float:
        """The largest magnitude."""
        return float(max(abs(value) for value in self.values))

    @cached_property
    def grid(self) -> Grid:
        """The table in order of its values."""
        return Grid(self.values)

    @cached_property
    def codes_of_ranks(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The code of every rank, for positive and for negative numbers: 0 or -0."""
        rank = {value: index for index, value in enumerate(self.grid.sorted)}
        positive = np.full(len(rank), -1)
        negative = np.full(len(rank), -1)
        for code, value in enumerate(self.values):
            at, below = rank[value], copysign(1.0, value) < 0
            # The zero of the right sign wins, the other one serves where it is alone.
            if positive[at] < 0 or not below:
                positive[at] = code
            if negative[at] < 0 or below:
                negative[at] = code
        return positive, negative

    @cached_property
    def table(self) -> NDArray[np.floating[Any]]:
        """The values by code: float32 where it holds all of them exactly, else float64."""
        wide = np.array(self.values, dtype=np.float64)
        with np.errstate(over="ignore", under="ignore"):
            narrow = wide.astype(np.float32)
        table = narrow if np.array_equal(narrow, wide) else wide
        table.flags.writeable = False
        return table

    def decode_one(self, code: int) -> float:
        """Return the value of a code; InputError where it is not one."""
        if not 0 <= code < len(self.values):
            raise InputError(f"{self.name}: code {code} is not of {self.bits} bits")
        return float(self.values[code])

    def encode_one(self, value: float, rounding: Rounding, random: int = 0) -> int:
        """Return the code of a value; see the module. InputError for NaN.

        random: `rounding.random_24`, for stochastic rounding.
        """
        if isnan(value):
            raise InputError(f"{self.name} has no NaN")
        rank = self.grid.rank_one(value, rounding, random)
        positive, negative = self.codes_of_ranks
        return int(negative[rank] if copysign(1.0, value) < 0 else positive[rank])


def decode(book: Codebook, codes: NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
    """Return the values of codes (dtype: `Codebook.table`); InputError where one is none."""
    refuse_codes(book.name, codes, len(book.values))
    return np.take(book.table, codes)


def encode(book: Codebook, values: Floats, rounding: Rounding, seed: int = 0) -> Codes:
    """Return the codes of float32 or float64 values, in the shape of `values`.

    Element i of the flattened array draws random number i of `seed`. Errors: InputError for NaN.
    """
    refuse_nan(book.name, values)
    ranks = book.grid.ranks(values, rounding, seed)
    positive, negative = book.codes_of_ranks
    codes = np.where(np.signbit(values), negative[ranks], positive[ranks])
    return codes.astype(storage(book.bits))


def scale_to(book: Codebook, values: Floats) -> NDArray[np.float64]:
    """Return the scale of each group (the last axis): its largest magnitude on the book's.

    A group of zeros has scale 1. BitMoD's code also limits scales to 1e-5 .. 1e4 and computes in
    FP16; this is float64 without limits. Errors: InputError for empty groups.
    """
    if values.ndim == 0 or values.shape[-1] == 0:
        raise InputError(f"{book.name}: groups must not be empty, got shape {values.shape}")
    largest = np.max(np.abs(np.asarray(values, np.float64)), axis=-1) / book.largest
    return np.where(largest > 0, largest, 1.0)


def choose(
    books: Sequence[Codebook],
    values: Floats,
    rounding: Rounding = Rounding.NEAREST_EVEN,
) -> NDArray[np.intp]:
    """Return the index of the book with the least squared error, for each group (the last axis).

    Every book has its own scale, `scale_to`; errors are float64 sums, ties go to the first book.
    With `bitmod(bits)` this is BitMoD's Algorithm 1 (whose code rounds ties down), with ANT's
    types its selection without the clip search. Shape: that of `values` without the last axis.
    Errors: InputError for no books, empty groups and values that are not finite.
    """
    problems = []
    if not books:
        problems.append("choose: at least one codebook is needed")
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        problems.append(f"choose: {wrong} of {values.size} values are not finite")
    if problems:
        raise InputError(problems)
    exact = np.asarray(values, np.float64)
    errors = [_squared_error(book, exact, rounding) for book in books]
    return np.asarray(np.argmin(errors, axis=0), np.intp)


def _squared_error(
    book: Codebook, values: NDArray[np.float64], rounding: Rounding
) -> NDArray[np.float64]:
    scale = scale_to(book, values)[..., None]
    rounded = decode(book, encode(book, values / scale, rounding)).astype(np.float64)
    # Squares beyond float64 are of values beyond every scale's format, which is refused later.
    with np.errstate(over="ignore"):
        error: NDArray[np.float64] = np.square(rounded * scale - values).sum(axis=-1)
    return error


def refuse_nan(name: str, values: Floats) -> None:
    """Refuse values that are NaN."""
    missing = int(np.isnan(values).sum())
    if missing:
        raise InputError(f"{name} has no NaN: {missing} of {values.size} values are NaN")


def refuse_codes(name: str, codes: NDArray[np.integer[Any]], count: int) -> None:
    """Refuse codes that are not 0 to `count` - 1."""
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= count):
        raise InputError(f"{name}: codes must be 0 to {count - 1}")


def _signed(magnitudes: Sequence[float]) -> tuple[float, ...]:
    """Return a sign-magnitude table: the top bit of a code is the sign."""
    positive = [float(magnitude) for magnitude in magnitudes]
    return (*positive, *(-magnitude for magnitude in positive))


def pot(bits: int) -> Codebook:
    """Return the signed powers of two, 0, +-1, +-2 ... +-2^(2^(bits-1) - 2), in sign and magnitude.

    Source: ANT-Quantization, `pot_value`; with bits = 4 it is ANT's PoT4. Errors: InputError.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"pot: bits must be 2 to 8, got {bits}")
    exponents = (1 << bits - 1) - 1
    return Codebook(f"pot{bits}", _signed([0, *(2.0**exponent for exponent in range(exponents))]))


#: Negated exponents of the terms of APoT, by bits of the magnitude; 0 is in every term.
_APOT_TERMS = MappingProxyType(
    {
        2: ((1, 2, 3),),
        3: ((1, 2, 4), (3,)),
        4: ((1, 3, 5), (2, 4, 6)),
        5: ((1, 3, 6), (2, 4, 7), (5,)),
        6: ((1, 4, 7), (2, 5, 8), (3, 6, 9)),
    }
)


def apot(bits: int) -> Codebook:
    """Return additive powers of two, in sign and magnitude, magnitudes in order of their value.

    A magnitude is a sum of one choice per term. Source: Li et al., ICLR 2020, and the terms for odd
    bits from the authors' `build_power_value`, whose normalisation to a largest value of 1 is left
    to the scale, so that every value here is a dyadic fraction. Errors: InputError.
    """
    if bits - 1 not in _APOT_TERMS:
        raise InputError(f"apot: bits must be 3 to 7, got {bits}")
    terms = [(0.0, *(2.0**-exponent for exponent in term)) for term in _APOT_TERMS[bits - 1]]
    return Codebook(f"apot{bits}", _signed(sorted(sum(choice) for choice in product(*terms))))


#: QLoRA's NF4 (Dettmers et al., 2023), the constants of bitsandbytes; code 7 is zero.
NF4 = Codebook(
    "nf4",
    (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ),
)

#: ANT (Guo et al., MICRO 2022; ANT-Quantization, `flint_value`, `int_value`). Flint codes are sign
#: and rank of the magnitude, int4 is in two's complement and has -8.
FLINT4 = Codebook("flint4", _signed([0, 1, 2, 3, 4, 6, 8, 16]))
FLINT5 = Codebook("flint5", _signed([*range(8), 8, 10, 12, 14, 16, 24, 32, 64]))
POT4 = pot(4)
INT4 = Codebook("int4", tuple(map(float, (*range(8), *range(-8, 0)))))

#: BitMoD (Chen et al., HPCA 2025): the basic FP3 and FP4 (E2M1), in sign and magnitude.
FP3 = Codebook("fp3", _signed([0, 1, 2, 4]))
FP4 = Codebook("fp4", _signed([0, 0.5, 1, 1.5, 2, 3, 4, 6]))

#: The special values by bits, in the order of the selector in the authors' `search_datatype`:
#: extra resolution, positive and negative, then extra asymmetry.
BITMOD_SPECIALS: MappingProxyType[int, tuple[float, ...]] = MappingProxyType(
    {3: (3.0, -3.0, 6.0, -6.0), 4: (5.0, -5.0, 8.0, -8.0)}
)

TABLES: MappingProxyType[str, Codebook] = MappingProxyType(
    {book.name: book for book in (NF4, FLINT4, FLINT5, POT4, INT4, FP3, FP4)}
)

#: ANT's choice for each tensor, here each group, in the order of the selector.
ANT4 = (INT4, FLINT4, POT4)


@lru_cache(maxsize=32)
def tables(name: str) -> tuple[Codebook, ...]:
    """Return the tables that `formats.names` calls so, by selector; one where there is none."""
    match re.split(r"(?=\d)", name, maxsplit=1):
        case ["bitmod", bits]:
            return bitmod(int(bits))
        case ["ant", _]:
            return ANT4
        case ["pot", bits]:
            return (pot(int(bits)),)
        case ["apot", bits]:
            return (apot(int(bits)),)
        case _:
            return (TABLES[name],)


def bitmod(bits: int) -> tuple[Codebook, ...]:
    """Return BitMoD's four tables of 3 or 4 bits by selector: the special value has the code of -0.

    Errors: InputError for other bits.
    """
    if bits not in BITMOD_SPECIALS:
        raise InputError(f"bitmod: bits must be 3 or 4, got {bits}")
    base, sign = (FP3 if bits == 3 else FP4).values, 1 << bits - 1
    return tuple(
        Codebook(f"bitmod{bits}({special:+g})", (*base[:sign], special, *base[sign + 1 :]))
        for special in BITMOD_SPECIALS[bits]
    )
