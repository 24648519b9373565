"""Integers and fixed point: what codes mean, and how values become them.

`*_one` is the specification, of one value; what has its name without `_one` is the same for arrays.

- NaN is refused; infinity saturates, as do values beyond the range: integers have neither infinity
  nor NaN to overflow to.
- -0 is 0; subnormals are the values they are.

Source of bipolar integers: APT, arXiv 2409.17870.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import floor, isinf, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Codes, Floats
from simulator.formats.rounding import Overflow, Rounding, rounds_up, rounds_up_all

Doubles = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]


def round_one(value: float | Fraction, rounding: Rounding, random: int = 0) -> int:
    """Return the integer that a finite value rounds to; random: `rounding.random_24`."""
    size, negative = abs(Fraction(value)), value < 0
    low = floor(size)
    up = rounds_up(
        size - low, odd=low % 2 == 1, negative=negative, rounding=rounding, random=random
    )
    return -(low + up) if negative else low + up


def round_all(values: Doubles, rounding: Rounding, seed: int = 0) -> Doubles:
    """Return `round_one` of finite values, as floats without a fraction."""
    if rounding is Rounding.NEAREST_EVEN:
        return np.rint(values)
    size = np.abs(values)
    low = np.floor(size)
    up = rounds_up_all(size - low, low % 2 == 1, values < 0, rounding, seed)
    rounded: Doubles = np.copysign(low + up, values)
    return rounded


@dataclass(frozen=True)
class Integer:
    """An integer of 1 to 16, or 32, bits: two's complement, unsigned or bipolar.

    bipolar: every bit counts +1 or -1 times its weight, so that the values are the odd integers
    from -(2^bits - 1) to 2^bits - 1. narrow: the most negative code of two's complement is left
    unused, the range is symmetric. Errors: InputError for a format that cannot be.
    """

    bits: int
    signed: bool = True
    bipolar: bool = False
    narrow: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible combinations, all of them in one error."""
        problems = []
        if self.bits not in (*range(1, 17), 32):
            problems.append(f"an integer has 1 to 16 bits or 32, got {self.bits}")
        if self.bipolar and not self.signed:
            problems.append("a bipolar integer is signed")
        if self.narrow and (self.bipolar or not self.signed or self.bits < 2):
            problems.append("only two's complement of 2 bits or more has a code to leave unused")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @property
    def name(self) -> str:
        """The name: int4, uint4, bipolar4."""
        kind = "bipolar" if self.bipolar else "int" if self.signed else "uint"
        return f"{kind}{self.bits}"

    @property
    def highest(self) -> int:
        """The largest value."""
        return (1 << self.bits - (self.signed and not self.bipolar)) - 1

    @property
    def lowest(self) -> int:
        """The smallest value."""
        if self.bipolar or self.narrow:
            return -self.highest
        return -self.highest - 1 if self.signed else 0

    def decode_one(self, code: int) -> int:
        """Return the value of a code; InputError where it is not one."""
        if not 0 <= code < 1 << self.bits:
            raise InputError(f"{self.name}: code {code} is not of {self.bits} bits")
        if self.bipolar:
            return 2 * code - self.highest
        return code - (1 << self.bits) if code > self.highest else code

    def encode_one(
        self,
        value: float,
        rounding: Rounding,
        overflow: Overflow = Overflow.SATURATE,
        random: int = 0,
    ) -> int:
        """Return the code of a value; random: `rounding.random_24`.

        A bipolar integer has no zero: what lies between -1 and 1 goes to the nearer (0 to 1),
        under TOWARD_ZERO to the one of its sign, under FLOOR to -1. Errors: InputError for NaN
        and for an overflow other than saturation.
        """
        self._refuse(int(isnan(value)), 1, overflow)
        if isinf(value) or not self.lowest <= value <= self.highest:
            whole = self.highest if value > 0 else self.lowest
        elif self.bipolar:
            whole = self._bipolar_one(value, rounding, random)
        else:
            whole = round_one(value, rounding, random)
        return (whole + self.highest) // 2 if self.bipolar else whole & (1 << self.bits) - 1

    def _bipolar_one(self, value: float, rounding: Rounding, random: int) -> int:
        sign = -1 if value < 0 else 1
        if abs(value) >= 1:
            # The magnitudes 1, 3, 5... round as the integers 0, 1, 2... of that sign.
            signed = sign * (abs(Fraction(value)) - 1) / 2
            return 2 * round_one(signed, rounding, random) + sign
        if rounding is Rounding.TOWARD_ZERO:
            return sign
        position = (Fraction(value) + 1) / 2
        up = rounds_up(position, odd=True, negative=False, rounding=rounding, random=random)
        return 1 if up else -1

    def decode(self, codes: Integers) -> NDArray[np.int64]:
        """Return the values of codes; InputError where one is not of the format."""
        if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= 1 << self.bits):
            raise InputError(f"{self.name}: codes must be 0 to {(1 << self.bits) - 1}")
        wide = codes.astype(np.int64)
        if self.bipolar:
            return 2 * wide - self.highest
        return wide - ((wide > self.highest).astype(np.int64) << self.bits)

    def encode(
        self,
        values: Floats,
        rounding: Rounding,
        overflow: Overflow = Overflow.SATURATE,
        seed: int = 0,
    ) -> Codes:
        """Return the codes of float32 or float64 values, in the shape of `values`.

        Element i of the flattened array draws random number i of `seed`. Errors: those of
        `encode_one`, and InputError for values that are not float32 or float64.
        """
        refuse_dtype(self.name, values)
        self._refuse(int(np.isnan(values).sum()), values.size, overflow)
        exact = np.clip(values.astype(np.float64), self.lowest, self.highest)
        if self.bipolar:
            codes = (self._bipolar_all(exact, rounding, seed).astype(np.int64) + self.highest) >> 1
        else:
            codes = round_all(exact, rounding, seed).astype(np.int64) & (1 << self.bits) - 1
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return codes.astype(f"uint{width}")

    def _bipolar_all(self, values: Doubles, rounding: Rounding, seed: int) -> Doubles:
        sign = np.where(values < 0, -1.0, 1.0)
        signed = sign * np.maximum(np.abs(values) - 1, 0) / 2
        whole = 2 * round_all(signed, rounding, seed) + sign
        if rounding is Rounding.TOWARD_ZERO:
            return whole
        position = np.clip((values + 1) / 2, 0, 1)
        yes = np.ones(values.shape, dtype=bool)
        up = rounds_up_all(position, yes, ~yes, rounding, seed)
        return np.where(np.abs(values) < 1, np.where(up, 1.0, -1.0), whole)

    def _refuse(self, missing: int, size: int, overflow: Overflow) -> None:
        problems = []
        if missing:
            problems.append(f"{self.name} has no NaN: {missing} of {size} values are NaN")
        if overflow is not Overflow.SATURATE:
            what = "infinity" if overflow is Overflow.INF else "NaN"
            problems.append(f"{self.name} has no {what} to overflow to; use overflow='saturate'")
        if problems:
            raise InputError(problems)


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point number <W,I>: `width` bits, of which `integer_bits` stand before the point.

    The sign counts as an integer bit (as in ap_fixed<W,I> of AMD Vitis HLS); `integer_bits` may be
    negative or more than `width`. narrow: as in `Integer`. Errors: InputError.
    """

    width: int
    integer_bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible combinations."""
        if not -64 <= self.integer_bits <= 64:
            raise InputError(f"{self.name}: integer_bits must be -64 to 64")
        # It refuses the width.
        Integer(self.width, self.signed, narrow=self.narrow)

    @property
    def name(self) -> str:
        """The name: fixed<8,2>, ufixed<8,2>."""
        return f"{'' if self.signed else 'u'}fixed<{self.width},{self.integer_bits}>"

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.width

    @cached_property
    def integer(self) -> Integer:
        """The integer that a code is, in steps."""
        return Integer(self.width, self.signed, narrow=self.narrow)

    @property
    def fraction_bits(self) -> int:
        """Bits after the point: a step is 2 to the power of minus this."""
        return self.width - self.integer_bits

    @property
    def highest(self) -> float:
        """The largest value."""
        return float(np.ldexp(float(self.integer.highest), -self.fraction_bits))

    def decode_one(self, code: int) -> float:
        """Return the value of a code, exactly; InputError where it is not one."""
        return float(np.ldexp(float(self.integer.decode_one(code)), -self.fraction_bits))

    def encode_one(
        self,
        value: float,
        rounding: Rounding,
        overflow: Overflow = Overflow.SATURATE,
        random: int = 0,
    ) -> int:
        """Return the code of a value; errors as `Integer.encode_one`."""
        steps = float(np.ldexp(value, self.fraction_bits))
        return self.integer.encode_one(steps, rounding, overflow, random)

    def decode(self, codes: Integers) -> Doubles:
        """Return the values of codes, exactly; InputError where one is not of the format."""
        return np.ldexp(self.integer.decode(codes).astype(np.float64), -self.fraction_bits)

    def encode(
        self,
        values: Floats,
        rounding: Rounding,
        overflow: Overflow = Overflow.SATURATE,
        seed: int = 0,
    ) -> Codes:
        """Return the codes of float32 or float64 values; errors as `Integer.encode`."""
        refuse_dtype(self.name, values)
        with np.errstate(over="ignore"):
            steps = np.ldexp(values.astype(np.float64), self.fraction_bits)
        return self.integer.encode(steps, rounding, overflow, seed)


@lru_cache(maxsize=1024)
def whole_or_fixed(name: str) -> Integer | FixedPoint:
    """Return what `formats.names` calls int8, uint8, bipolar8, fix8_2 or ufix8_2."""
    kind, numbers = re.split(r"(?=\d)", name, maxsplit=1)
    first, *rest = map(int, numbers.split("_"))
    signed = not kind.startswith("u")
    if rest:
        return FixedPoint(first, rest[0], signed)
    return Integer(first, signed, bipolar=kind == "bipolar")


def refuse_dtype(what: str, values: NDArray[Any]) -> None:
    """Refuse arrays that are not float32 or float64."""
    if values.dtype not in (np.float32, np.float64):
        raise InputError(f"{what}: values must be float32 or float64, got {values.dtype}")
