"""Minifloats: 3 to 16 bits (and the 19 of TF32), with or without infinities and NaN.

The codes of a format, read as integers without their sign, stand in the order of their values, so a
conversion rounds on the grid of codes: exactly, from float32 or float64, with one rounding.
`decode_one` and `encode_one` are the specification, in fractions; `decode` and `encode` are arrays.

- NaN encodes as the (positive, quiet) NaN of the format; a format without one refuses it.
- Infinity overflows as any value does that rounds beyond the largest finite code. An overflow that
  the format has no code for is refused as an argument, whether or not a value overflows.
- -0 keeps its sign where the format has one; without it (fnuz, unsigned) it is 0, and so is what
  rounds to it. An unsigned format refuses negative values.
- Subnormals are represented and rounded to; float32 subnormals are read as the values they are.

Sources: OCP 8-bit Floating Point Specification v1.0 (2023): E4M3, E5M2. OCP Microscaling Formats
v1.0 (2023): E3M2, E2M3, E2M1, E8M0. Noune et al., arXiv 2206.02915: fnuz. IEEE 754-2019: binary16.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import copysign, isinf, isnan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.rounding import Overflow, Rounding, rounds_up, rounds_up_all

Specials = Literal["ieee", "fn", "fnuz", "none"]
Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.unsignedinteger[Any]]

#: A position above a code that no rounding tells from a smaller one.
SMALL = 2.0**-100


@dataclass(frozen=True)
class Minifloat:
    """A format of `exponent_bits` and `mantissa_bits`.

    specials: "ieee" (the largest exponent field holds infinity and NaN), "fn" (only the code of all
    ones is NaN), "fnuz" (the code of -0 is NaN), "none" (every code is finite). Without mantissa
    bits and sign (E8M0) there is no zero: every code is a power of two, and "fn" its NaN.
    Errors: InputError for a format that cannot be.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Specials = "ieee"
    signed: bool = True
    has_zero: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible combinations, all of them in one error."""
        problems = []
        if not 1 <= self.exponent_bits <= 8:
            problems.append(f"exponent_bits must be 1 to 8, got {self.exponent_bits}")
        if self.mantissa_bits < 0:
            problems.append(f"mantissa_bits must be >= 0, got {self.mantissa_bits}")
        if self.bits not in (*range(3, 17), 19):
            problems.append(f"a minifloat has 3 to 16 bits, or TF32's 19, got {self.bits}")
        if not -126 <= self.bias <= 127:
            problems.append(f"bias must be -126 to 127, got {self.bias}")
        if self.specials == "ieee" and self.mantissa_bits == 0:
            problems.append("infinity and NaN cannot be told apart without mantissa bits")
        if self.specials == "fnuz" and not self.signed:
            problems.append("an unsigned format has no code of -0 to be NaN")
        if not self.has_zero and (self.signed or self.mantissa_bits):
            problems.append("only an unsigned format without mantissa can be without zero")
        if not problems and (self.largest >> self.mantissa_bits) - self.bias > 127:
            most = (self.largest >> self.mantissa_bits) - self.bias
            problems.append(f"the largest exponent must be <= 127, as float32's, got {most}")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.signed + self.exponent_bits + self.mantissa_bits

    @property
    def sign_code(self) -> int:
        """The bit of the sign, 0 without one."""
        return 1 << self.bits - 1 if self.signed else 0

    @cached_property
    def largest(self) -> int:
        """The code of the largest finite value."""
        top = (1 << self.exponent_bits + self.mantissa_bits) - 1
        match self.specials:
            case "ieee":
                return top - (1 << self.mantissa_bits)
            case "fn":
                return top - 1
            case _:
                return top

    @property
    def infinity(self) -> int | None:
        """The code of +infinity, None without one."""
        return self.largest + 1 if self.specials == "ieee" else None

    @property
    def nan(self) -> int | None:
        """The code that NaN encodes as, None without one."""
        match self.specials:
            case "ieee":
                # The quiet bit, the first of the mantissa.
                return self.largest + 1 + (1 << self.mantissa_bits - 1)
            case "fn":
                return self.largest + 1
            case "fnuz":
                return self.sign_code
            case _:
                return None

    @property
    def has_negative_zero(self) -> bool:
        """Whether -0 has a code of its own."""
        return self.signed and self.specials != "fnuz"

    def magnitude(self, code: int) -> Fraction:
        """Return the value of an unsigned code as if every code were finite."""
        return _magnitude(self.mantissa_bits, self.bias, self.has_zero, code)

    def decode_one(self, code: int) -> float:
        """Return the value of a code; InputError where it is not one."""
        if not 0 <= code < 1 << self.bits:
            raise InputError(f"{self.name}: code {code} is not of {self.bits} bits")
        negative, magnitude = bool(code & self.sign_code), code & ~self.sign_code
        if self.specials == "fnuz" and code == self.sign_code:
            return float("nan")
        if magnitude == self.infinity:
            return float("-inf") if negative else float("inf")
        if magnitude > self.largest:
            return float("nan")
        value = float(self.magnitude(magnitude))
        return -value if negative else value

    def encode_one(
        self, value: float, rounding: Rounding, overflow: Overflow, random: int = 0
    ) -> int:
        """Return the code of a value; see the module for special values.

        random: `rounding.random_24`, for stochastic rounding. Errors: InputError for NaN
        without a code, negative values without a sign, an overflow that the format cannot show.
        """
        over = overflow_code(self, overflow)
        if over is None:
            raise InputError(_no_overflow(self, overflow))
        if isnan(value):
            if self.nan is None:
                raise InputError(f"{self.name} has no NaN")
            return self.nan
        negative = copysign(1, value) < 0
        if negative and not self.signed and value != 0:
            raise InputError(f"{self.name} is unsigned, got {value}")
        magnitude = self.largest + 1
        if not isinf(value):
            magnitude = self._rounded(abs(Fraction(value)), negative, rounding, random)
        sign = self.sign_code if negative and (magnitude > 0 or self.has_negative_zero) else 0
        return (magnitude if magnitude <= self.largest else over) | sign

    def _rounded(self, value: Fraction, negative: bool, rounding: Rounding, random: int) -> int:
        """Return the magnitude code that a value rounds to; beyond the largest: overflow."""
        low, high = 0, self.largest + 1
        if value >= self.magnitude(high):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.magnitude(middle) <= value else (low, middle)
        below, above = self.magnitude(low), self.magnitude(high)
        if value < below:
            # Without a zero, what is below the smallest power of two becomes it.
            return 0
        position = (value - below) / (above - below)
        up = rounds_up(
            position, odd=low % 2 == 1, negative=negative, rounding=rounding, random=random
        )
        return low + up


@lru_cache(maxsize=1 << 16)
def _magnitude(mantissa_bits: int, bias: int, has_zero: bool, code: int) -> Fraction:
    exponent, mantissa = code >> mantissa_bits, code & (1 << mantissa_bits) - 1
    if has_zero and exponent == 0:
        return mantissa * _power(1 - bias - mantissa_bits)
    whole = (1 << mantissa_bits) + mantissa
    return whole * _power(exponent - bias - mantissa_bits)


def _power(exponent: int) -> Fraction:
    """Return 2 to the power of an exponent of either sign."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def storage(bits: int) -> type[np.unsignedinteger[Any]]:
    """Return the unsigned integer that holds codes of so many bits."""
    if bits > 16:
        return np.uint32
    return np.uint8 if bits <= 8 else np.uint16


@lru_cache(maxsize=64)
def table(form: Minifloat) -> NDArray[np.float32]:
    """Return the value of every code, in order; float32 holds every minifloat exactly."""
    values = np.array([form.decode_one(code) for code in range(1 << form.bits)], dtype=np.float32)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=64)
def grid(form: Minifloat) -> NDArray[np.float64]:
    """Return the magnitudes of all codes up to the one beyond the largest, in order."""
    finite = decode(form, np.arange(form.largest + 1)).astype(np.float64)
    magnitudes = np.append(finite, float(form.magnitude(form.largest + 1)))
    magnitudes.flags.writeable = False
    return magnitudes


def decode(form: Minifloat, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the values of integer codes in their shape; InputError where one is not a code."""
    if codes.dtype.kind not in "iu":
        raise InputError(f"{form.name}: codes must be integers, got {codes.dtype}")
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= 1 << form.bits):
        raise InputError(f"{form.name}: codes must be 0 to {(1 << form.bits) - 1}")
    layout = form.exponent_bits, form.bias, form.specials, form.signed
    if layout == (8, 127, "ieee", True):
        # The first bits of a float32: BF16, TF32.
        return _quiet((codes.astype(np.uint32) << np.uint32(32 - form.bits)).view(np.float32))
    if layout == (5, 15, "ieee", True) and form.bits == 16:
        return _quiet(codes.astype(np.uint16).view(np.float16)).astype(np.float32)
    return np.take(table(form), codes)


def _quiet(values: NDArray[Any]) -> NDArray[Any]:
    """Return values with one NaN: a signalling one would warn its readers."""
    values[np.isnan(values)] = np.nan
    return values


def encode(
    form: Minifloat, values: Floats, rounding: Rounding, overflow: Overflow, seed: int = 0
) -> Codes:
    """Return the codes of float16, float32 or float64 values, in the shape of `values`.

    Element i of the flattened array draws random number i of `seed`. Errors: those of `encode_one`,
    all in one, and another dtype.
    """
    if values.dtype.kind != "f" or not np.can_cast(values.dtype, np.float64):
        raise InputError(
            f"{form.name}: values must be float16, float32 or float64, got {values.dtype}"
        )
    over = overflow_code(form, overflow)
    if over is not None and values.dtype == np.float32 and form.has_zero:
        from simulator.formats.minifloat_kernel import encode_float32

        codes, refused = encode_float32(form, values, rounding, over, seed)
        if not refused:
            return codes
    refuse_specials(form, values, overflow)
    return encode_by_table(form, values, rounding, overflow, seed)


def overflow_code(form: Minifloat, overflow: Overflow) -> int | None:
    """Return the unsigned code of what is beyond the largest value; None: there is none."""
    match overflow:
        case Overflow.SATURATE:
            return form.largest
        case Overflow.INF:
            return form.infinity
        case Overflow.NAN:
            return form.nan
        case _:
            raise ValueError(f"unknown overflow {overflow!r}")


def refuse_specials(form: Minifloat, values: Floats, overflow: Overflow) -> None:
    """Refuse NaN, negative values and `overflow` where the format has no code for them."""
    problems = []
    missing = int(np.isnan(values).sum()) if form.nan is None else 0
    if missing:
        problems.append(f"{form.name} has no NaN: {missing} of {values.size} values are NaN")
    below = int((values < 0).sum()) if not form.signed else 0
    if below:
        problems.append(f"{form.name} is unsigned: {below} of {values.size} values are negative")
    if overflow_code(form, overflow) is None:
        problems.append(_no_overflow(form, overflow))
    if problems:
        raise InputError(problems)


def _no_overflow(form: Minifloat, overflow: Overflow) -> str:
    what = "infinity" if overflow == Overflow.INF else "NaN"
    return f"{form.name} has no {what} to overflow to; use overflow='saturate'"


def encode_by_table(
    form: Minifloat, values: Floats, rounding: Rounding, overflow: Overflow, seed: int = 0
) -> Codes:
    """Return the codes of values that `refuse_specials` let pass, by search among all magnitudes.

    It serves float64 and formats without a zero, and checks the kernel; float64 holds everything
    in it exactly.
    """
    with np.errstate(invalid="ignore"):
        # A signalling NaN is no fault of the user's.
        exact = np.asarray(values, dtype=np.float64)
    magnitudes = grid(form)
    negative = np.signbit(exact)
    size = np.minimum(np.where(np.isnan(exact), 0.0, np.abs(exact)), magnitudes[-1])
    low = np.clip(np.searchsorted(magnitudes, size, side="right") - 1, 0, form.largest)
    position = (size - magnitudes[low]) / (magnitudes[low + 1] - magnitudes[low])
    # A float64 so small that its position is 0 still lies above the code below it.
    position = np.maximum(position, np.where(size > magnitudes[low], SMALL, 0.0))
    up = rounds_up_all(position, low % 2 == 1, negative, rounding, seed)
    magnitude = np.where(size == magnitudes[-1], form.largest + 1, low + up)
    keeps_sign = negative & ((magnitude > 0) | form.has_negative_zero)
    codes = np.where(magnitude > form.largest, overflow_code(form, overflow) or 0, magnitude)
    codes = codes | np.where(keeps_sign, form.sign_code, 0)
    if form.nan is not None:
        codes = np.where(np.isnan(exact), form.nan, codes)
    return np.asarray(codes, dtype=storage(form.bits))
