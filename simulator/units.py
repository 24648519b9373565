"""Quantities with units: text such as "819.2 GB/s" to a number in a base unit, and back.

GB is 1e9 and GiB is 2^30, nothing else. All arithmetic is on fractions, so that "1.2 TB/s" is the
integer 1200000000000 and the way back is exact. Faults are `ValueError`; config adds the path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

#: A number of at most 400 digits and a two-digit exponent (no number bombs), then anything else.
_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][-+]?\d{1,2})?)"
    r"\s*((?:[^\d\s.].*)?)"
)

_BYTES: dict[str, int] = {
    "B": 1,
    "kB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
    "TB": 10**12,
    "TiB": 2**40,
}


@dataclass(frozen=True)
class Dimension:
    """A kind of quantity: its units as multiples of the base unit and the numbers it admits."""

    name: str
    units: Mapping[str, Fraction]
    example: str
    whole: bool = False
    multiple_of: int = 1

    @property
    def base(self) -> str:
        """Symbol of the base unit."""
        return next(symbol for symbol, factor in self.units.items() if factor == 1)


def _dimension(
    name: str,
    units: Mapping[str, int | Fraction],
    example: str,
    *,
    whole: bool = False,
    multiple_of: int = 1,
) -> Dimension:
    exact = {symbol: Fraction(factor) for symbol, factor in units.items()}
    return Dimension(name, exact, example, whole, multiple_of)


def _milli(power: int) -> Fraction:
    return Fraction(1, 10**power)


#: Every dimension by name; the base unit is the one with factor 1. A clock is a multiple of 1 kHz.
DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        _dimension("bytes", _BYTES, "MiB", whole=True),
        _dimension("bytes_per_s", {f"{u}/s": f for u, f in _BYTES.items()}, "GB/s", whole=True),
        _dimension(
            "hertz",
            {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9},
            "MHz",
            whole=True,
            multiple_of=1000,
        ),
        _dimension(
            "picoseconds",
            {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12},
            "ns",
            whole=True,
        ),
        _dimension(
            "picojoules",
            {"fJ": _milli(3), "pJ": 1, "nJ": 10**3, "uJ": 10**6, "mJ": 10**9, "J": 10**12},
            "pJ",
        ),
        _dimension("square_millimetres", {"um2": _milli(6), "mm2": 1}, "mm2"),
        _dimension("watts", {"uW": _milli(6), "mW": _milli(3), "W": 1}, "W"),
    )
}


def dimension_named(name: str) -> Dimension:
    """Return the dimension called `name`; `ValueError` lists what there is."""
    if name not in DIMENSIONS:
        raise ValueError(f"unknown dimension {name!r}; known: {', '.join(DIMENSIONS)}")
    return DIMENSIONS[name]


def dimension_of(text: str) -> str:
    """Return the name of the dimension whose unit a number ends with; "" for text without a unit.

    Raises `ValueError` for a unit that no dimension has.
    """
    match = _QUANTITY.fullmatch(text)
    symbol = match.group(2).strip() if match else ""
    if not symbol[:1].isalpha():
        return ""
    for dimension in DIMENSIONS.values():
        if symbol in dimension.units:
            return dimension.name
    known = ", ".join(unit for dimension in DIMENSIONS.values() for unit in dimension.units)
    raise ValueError(f"{text!r}: unknown unit {symbol!r}; known: {known}")


def parse_quantity(text: str, dimension: str) -> int | float:
    """Read a number with a unit; the result is in the base unit of `dimension`.

    Bytes, bytes/s, hertz and picoseconds come back as int and are refused when not whole;
    picojoules, square millimetres and watts as float. Raises `ValueError`.
    """
    known = dimension_named(dimension)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity; write for example '20 {known.example}'")
    number, symbol = match.group(1), match.group(2).strip()
    if not symbol:
        raise ValueError(f"{text!r} has no unit; write for example '{number} {known.example}'")
    if symbol not in known.units:
        raise ValueError(f"{text!r}: unknown unit {symbol!r}; known: {', '.join(known.units)}")
    exact = Fraction(number) * known.units[symbol]
    if not known.whole:
        return _as_float(exact, text)
    if exact.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of {known.base}")
    if exact.numerator % known.multiple_of:
        raise ValueError(f"{text!r} is not a multiple of {known.multiple_of} {known.base}")
    return exact.numerator


@lru_cache(maxsize=1024)
def format_quantity(value: int | float, dimension: str) -> str:
    """Write a number of base units with the unit that makes it shortest (the larger on a tie).

    `parse_quantity` of the answer gives `value` again, exactly.
    """
    known = dimension_named(dimension)
    exact = Fraction(Decimal(repr(value)))
    units = sorted(known.units.items(), key=lambda unit: unit[1], reverse=True)
    fitting = [unit for unit in units if unit[1] <= abs(exact)] or [(known.base, Fraction(1))]
    if 0 < abs(exact) < units[-1][1]:
        fitting = units[-1:]
    written = [(_decimal(exact / factor), symbol) for symbol, factor in fitting]
    number, symbol = min(written, key=lambda pair: len(pair[0]))
    return f"{number} {symbol}"


def _as_float(exact: Fraction, text: str) -> float:
    try:
        return float(exact)
    except OverflowError:
        raise ValueError(f"{text!r} is too large") from None


def _decimal(value: Fraction) -> str:
    """Write a fraction whose denominator has only the factors 2 and 5, without an exponent."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs((value * 10**places).numerator)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"
