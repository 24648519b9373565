"""Pre-aligned mantissas: FP16 activations as integers of one exponent, integer dot products.

Jang et al., "FIGNA" (HPCA 2024): the activations of a vector are aligned once to its largest
exponent, so that products with integer weights and their sum are integer arithmetic and one
conversion at the end gives a float again. An activation +-m 2^(e - 25), m its 11-bit significand
and e its exponent field (1 for subnormals), becomes +-i, i of `width` bits without the sign:

    i = m 2^(width - 11) / 2^(E - e),   E the largest e;   sum of i w;   times 2^(E - width - 14)

Rounded: i, toward zero or to nearest even on the magnitude, where bits are shifted out; the sum,
once, to FP32 (to nearest even). Products and sums are exact. So the result is the dot product
rounded once if E - e <= width - 11 for every activation that is not 0 (or if the bits shifted out
are 0): always with 40 bits. Otherwise each activation is off by less than one unit of
2^(E - width - 14) when truncated, by half of one at most when rounded.

assumed: sign and magnitude, so that truncation is toward zero, as in the emulation of FIGNA by the
authors of AxCore (34 bits and a sign); FIGNA's own text was not at hand. Left out: widths below the
significand, which would round the largest activation too; scales of weight groups, which come after
the conversion; NaN and infinity, which are refused.
"""

from collections.abc import Sequence
from math import ldexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.rounding import Rounding
from simulator.numerics import refusals
from simulator.numerics.word import (
    Number,
    Word,
    larger,
    largest,
    like,
    magnitude,
    nearest_even,
    signed,
)

#: Bits of FP16's significand, the hidden one included, and of FP32's.
SIGNIFICAND_BITS, RESULT_BITS = 11, 24
#: The width that holds every FP16 value beside every other: exponent fields are 1 to 30.
WIDEST = SIGNIFICAND_BITS + 29
ROUNDINGS = (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN)


def fields(code: Number) -> tuple[int, Number, Number]:
    """Return (sign, exponent, significand) of the bits of a finite FP16 value: wires."""
    bits = int(code)
    field, mantissa = bits >> 10 & 31, bits & 1023
    significand = mantissa + (1024 if field else 0)
    if isinstance(code, Word):
        return bits >> 15, like(code, max(field, 1), 5), like(code, significand, SIGNIFICAND_BITS)
    return bits >> 15, max(field, 1), significand


def align(codes: Sequence[Number], width: int, rounding: Rounding) -> tuple[list[Number], Number]:
    """Return the integers of a vector of FP16 bits and the exponent of their unit."""
    parts = [fields(code) for code in codes]
    top = largest([exponent for _, exponent, _ in parts]) if parts else 1
    integers = []
    # A negative sign inverts the bits and carries in a 1.
    for sign, exponent, significand in parts:
        size = shifted_out(significand << width - SIGNIFICAND_BITS, top - exponent, rounding)
        integers.append((size ^ -sign) + sign)
    return integers, top - (width + 14)


def shifted_out(size: Number, shift: Number, rounding: Rounding) -> Number:
    """Return a magnitude shifted to the right, truncated or rounded to nearest even."""
    return size >> shift if rounding == Rounding.TOWARD_ZERO else nearest_even(size, shift)


def dot_integers(
    integers: Sequence[Number], weights: Sequence[Number], start: Number = 0
) -> Number:
    """Return start + the integer dot product: a multiplication and an addition for each weight."""
    total = start
    for integer, weight in zip(integers, weights, strict=True):
        total = integer * weight + total
    return total


def to_float32(total: Number, unit: Number) -> float:
    """Return total x 2^unit as FP32: the leading 24 bits, rounded to nearest even."""
    size = magnitude(total)
    dropped = larger(size.bit_length() - RESULT_BITS, 0)
    kept = signed(nearest_even(size, dropped), int(total) < 0)
    return ldexp(int(kept), int(dropped + unit))


def dot_pre_aligned(
    codes: Sequence[Number], weights: Sequence[Number], width: int, rounding: Rounding
) -> float:
    """Return the dot product of FP16 bits with integer weights, as FP32: the specification."""
    integers, unit = align(codes, width, rounding)
    return to_float32(dot_integers(integers, weights), unit)


def align_rows(
    activations: NDArray[np.float16], width: int, rounding: Rounding
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the integers (M, K) of finite activations and the exponents (M,) of their units."""
    codes = np.ascontiguousarray(activations).view(np.uint16).astype(np.int64)
    field = codes >> 10 & 31
    exponent = np.maximum(field, 1)
    largest = exponent.max(axis=1, initial=1)
    shift = largest[:, None] - exponent
    size = ((codes & 1023) + (field > 0) * 1024) << width - SIGNIFICAND_BITS
    below = size >> shift
    if rounding == Rounding.NEAREST_EVEN:
        # Twice the rest against the unit: without a shift both are told apart too.
        rest = (size - (below << shift)) * 2 - (1 << shift)
        below += (rest > 0) | ((rest == 0) & (below & 1 == 1))
    return np.where(codes >> 15 == 1, -below, below), largest - width - 14


def gemm_pre_aligned(
    activations: NDArray[np.float16],
    weights: NDArray[np.int8],
    width: int,
    rounding: Rounding = Rounding.TOWARD_ZERO,
) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed, each row aligned once; see the module.

    weights: INT4 or INT8 values. Sums are int32 where they fit, else int64. Errors: InputError for
    other dtypes, shapes that do not fit, activations that are not finite, a width outside 11 to 40,
    roundings but toward zero and nearest even, K beyond what 64 bits hold.
    """
    _check(activations, weights, width, rounding)
    from simulator.numerics.pre_aligned_kernel import add_up

    integers, units = align_rows(activations, width, rounding)
    largest = max(abs(int(weights.max())), abs(int(weights.min()))) if weights.size else 0
    fits = (largest * activations.shape[1]) << width < 1 << 31
    dtype = np.int32 if fits else np.int64
    sums = np.zeros((activations.shape[0], weights.shape[0]), dtype=dtype)
    add_up(integers.astype(dtype), weights.T.copy(), sums)
    # One rounding, from the integer; the power of two is exact: no result is subnormal in FP32.
    return np.ldexp(sums.astype(np.float32), units[:, None]).astype(np.float32)


def _check(
    activations: NDArray[Any], weights: NDArray[Any], width: int, rounding: Rounding
) -> None:
    problems = refusals.dtypes(np.float16, activations=activations)
    problems += refusals.dtypes(np.int8, weights=weights)
    problems += refusals.shapes(activations, weights)
    if not np.isfinite(activations).all():
        problems.append("activations: must be finite")
    if not SIGNIFICAND_BITS <= width <= WIDEST:
        problems.append(f"width must be {SIGNIFICAND_BITS} to {WIDEST}, got {width}")
    elif activations.shape[-1:] > (1 << 55 - width,):
        problems.append(f"K: at most {1 << 55 - width}, got {activations.shape[1]}")
    if rounding not in ROUNDINGS:
        problems.append(f"rounding must be {' or '.join(ROUNDINGS)}, got {rounding}")
    if problems:
        raise InputError(problems)
