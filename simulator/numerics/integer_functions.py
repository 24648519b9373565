"""Non-linear functions in integers alone: I-ViT's shift-based ones, HAWQ-V3's requantisation.

- HAWQ-V3 (Yao et al., ICML 2021): a real scale becomes m / 2^e, m of 31 bits; a product and a shift
  with rounding requantise (`Dyadic`).
- I-ViT (Li and Gu, ICCV 2023): Shiftmax, ShiftGELU and I-LayerNorm. The authors' code computes in
  float32, whose integers end at 2^24; here everything is int64 and exact, so that results differ
  from theirs by about one output code at most.

Each function works on the last axis of an int64 array; `*_one` is the specification, of one row in
Python integers. Both give the same: no step overflows 64 bits for inputs of up to 24 bits and rows
of up to 2^20. Division is by floor. Sums of exponentials are clamped to 2^31 - 1, as published: a
row whose sum is beyond it (many values near the largest, a fine scale) comes out too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.word import Number, larger, largest, like, nearest_even, smaller

Integers = NDArray[np.int64]

#: I-ViT's constants: shifts of the exponential of Shiftmax and of ShiftGELU; the numerator that
#: quotients are taken of; steps of the square root.
SHIFTMAX_N, SHIFTGELU_N = 15, 23
NUMERATOR = 2**31 - 1
ROOT_STEPS = 10


@dataclass(frozen=True)
class Dyadic:
    """A positive real factor as `mantissa` / 2^`shift`, the mantissa of 31 bits."""

    mantissa: int
    shift: int

    @classmethod
    def of(cls, scale: float) -> "Dyadic":
        """Return the dyadic of a scale; InputError unless 2^-30 <= scale < 2^30."""
        if not 2.0**-30 <= scale < 2.0**30:
            raise InputError(f"scale must be 2^-30 to 2^30, got {scale!r}")
        fraction, exponent = frexp(scale)
        return cls(int(np.floor(fraction * 2**31 + 0.5)), 31 - exponent)

    def times(self, values: Integers, bits: int | None = None) -> Integers:
        """Return values x mantissa / 2^shift, rounded to nearest even; clamped to `bits` if given.

        Errors: InputError for values beyond 32 bits.
        """
        wide = _int64(values)
        if wide.size and max(-int(wide.min()), int(wide.max())) >= 2**31:
            raise InputError("values must be of 32 bits")
        product = wide * self.mantissa
        below = product >> self.shift
        rest = product - (below << self.shift)
        half = 1 << self.shift - 1
        up = (rest > half) | ((rest == half) & (below & 1 == 1))
        rounded: Integers = below + up
        if bits is None:
            return rounded
        return np.clip(rounded, -(1 << bits - 1), (1 << bits - 1) - 1)


def requantised_one(row: Sequence[Number], mantissa: int, shift: int, bits: int) -> list[int]:
    """Return row x mantissa / 2^shift to nearest even, clamped: the specification."""
    most, found = (1 << bits - 1) - 1, []
    for value in row:
        whole = nearest_even(value * mantissa, shift)
        found.append(int(smaller(larger(whole, -most - 1), most)))
    return found


def shift_exp(x: Integers, unit: int, n: int) -> Integers:
    """Return 2^n exp(x S) for x <= 0 as integers, by shifts; `unit` is floor(1 / S).

    exp(y) = 2^(y log2 e), log2 e taken as 1 + 1/2 - 1/16; between powers of two the line 1 + r/2.
    """
    x = x + (x >> 1) - (x >> 4)
    x = np.maximum(x, -n * unit)
    whole = -x // unit
    rest = x + whole * unit
    # ((rest / 2) + unit) 2^(n - whole), floor as in the authors' code.
    scaled = (rest + 2 * unit) << (n - whole)
    exponentials: Integers = np.maximum(scaled >> 1, np.int64(0))
    return exponentials


def exp_one(x: Number, unit: int, n: int) -> Number:
    """Return 2^n exp(x / unit) for x <= 0: the specification of `shift_exp`."""
    x = larger(x + (x >> 1) - (x >> 4), -n * unit)
    whole, left = divmod(-x, unit)
    return larger((2 * unit - left << n - whole) >> 1, 0)


def shiftmax(x: Integers, scale: float, bits: int = 8) -> Integers:
    """Return softmax over the last axis in units of 2^-(bits - 1).

    x: integers of step `scale`. Errors: InputError for a scale outside 2^-20 .. 1, bits outside
    2 .. 16, values beyond 24 bits.
    """
    x, unit = _checked(x, scale, bits), int(1 / scale)
    exponents = shift_exp(x - x.max(axis=-1, keepdims=True), unit, SHIFTMAX_N)
    total = np.minimum(exponents.sum(axis=-1, keepdims=True), NUMERATOR)
    shares: Integers = exponents * (NUMERATOR // total) >> 31 - bits + 1
    return shares


def shiftmax_one(row: Sequence[Number], step: float, bits: int) -> list[int]:
    """Return Shiftmax of a row: the specification."""
    most, unit = largest(row), int(1 / step)
    parts = [exp_one(value - most, unit, SHIFTMAX_N) for value in row]
    factor = NUMERATOR // smaller(sum(parts), NUMERATOR)
    return [int(part * factor >> 32 - bits) for part in parts]


def shift_gelu(x: Integers, scale: float, bits: int = 8) -> Integers:
    """Return x sigmoid(1.702 x) as integers of step scale / 2^(bits - 1); arguments as `shiftmax`.

    The sigmoid is exp(x - m) / (exp(x - m) + exp(-m)), m the largest of the row.
    """
    x = _checked(x, scale, bits)
    unit = int(1 / (scale * 1.702))
    most = x.max(axis=-1, keepdims=True)
    # exp takes arguments up to 0: where a whole row is negative, 0 is the largest.
    most = np.maximum(most, 0)
    above, below = (shift_exp(part, unit, SHIFTGELU_N) for part in (x - most, -most))
    total = np.minimum(above + below, NUMERATOR)
    sigmoid: Integers = above * (NUMERATOR // np.maximum(total, 1)) >> 31 - bits + 1
    return x * sigmoid


def shift_gelu_one(row: Sequence[Number], step: float, bits: int) -> list[int]:
    """Return ShiftGELU of a row: the specification."""
    most, unit = larger(largest(row), 0), int(1 / (step * 1.702))
    below = exp_one(-most, unit, SHIFTGELU_N)
    found = []
    for value in row:
        above = exp_one(value - most, unit, SHIFTGELU_N)
        factor = NUMERATOR // larger(smaller(above + below, NUMERATOR), 1)
        found.append(int(value * (above * factor >> 32 - bits)))
    return found


def integer_root(value: Integers) -> Integers:
    """Return about the square root of positive integers, in ROOT_STEPS of Newton from 2^16.

    As published: what is below 2^14 has not arrived by then (1 gives 64), so that rows whose
    squares sum up to less come out too small.
    """
    root = np.full(value.shape, 2**16, dtype=np.int64)
    for _ in range(ROOT_STEPS):
        root = np.maximum((root + value // root) >> 1, 1)
    return root


def integer_layer_norm(x: Integers) -> Integers:
    """Return (x - mean) / standard deviation over the last axis, in units of sqrt(n) 2^-30.

    The variance is not divided by n: sqrt(n) stands in the unit. A constant row gives 0. Errors:
    InputError for values beyond 24 bits, or an empty row.
    """
    x = _int64(x)
    _refuse_wide(x, 24)
    count = x.shape[-1]
    # The mean rounded half up, in integers.
    mean = (2 * x.sum(axis=-1, keepdims=True) + count) // (2 * count)
    centred = x - mean
    variance = (centred**2).sum(axis=-1, keepdims=True)
    factor = NUMERATOR // integer_root(np.maximum(variance, np.int64(1)))
    normed: Integers = centred * factor >> 1
    return normed


def layer_norm_one(row: Sequence[Number]) -> list[int]:
    """Return I-LayerNorm of a row: the specification."""
    mean = ((sum(row) << 1) + len(row)) // (2 * len(row))
    centred = [value - mean for value in row]
    square, root = larger(sum(value * value for value in centred), 1), like(row[0], 2**16)
    for _ in range(ROOT_STEPS):
        root = larger(root + square // root >> 1, 1)
    factor = NUMERATOR // root
    return [int(value * factor >> 1) for value in centred]


def _int64(x: NDArray[Any]) -> Integers:
    if not np.issubdtype(x.dtype, np.integer):
        raise InputError(f"expected integers, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise InputError(f"expected rows of at least one value, got shape {x.shape}")
    return x.astype(np.int64)


def _refuse_wide(x: Integers, bits: int) -> None:
    if x.size and not -(1 << bits - 1) <= int(x.min()) <= int(x.max()) < 1 << bits - 1:
        raise InputError(f"values must be of {bits} bits")


def _checked(x: NDArray[Any], scale: float, bits: int) -> Integers:
    problems = []
    if not 2.0**-20 <= scale < 0.5:
        problems.append(f"scale must be 2^-20 to 1/2, got {scale!r}")
    if not 2 <= bits <= 16:
        problems.append(f"bits must be 2 to 16, got {bits}")
    if problems:
        raise InputError(problems)
    wide = _int64(x)
    _refuse_wide(wide, 24)
    return wide
