"""Tensor-core block FMA on whole matrices, compiled by Numba: vectorised over outputs, never K.

Products, aligned terms and their sums are exact in float64. Powers of two are made from their bits,
in integer arrays that share memory with float64 arrays.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

#: Fields of a float64, and the smallest normal exponent of FP32.
BIAS, FIELD, MASK = np.int64(1023), np.int64(52), np.int64(0x7FF)
LEAST_RESULT = np.int64(-126)


@register_jitable
def align(largest: Longs, up: Longs, down: Longs, bits: np.int64) -> None:
    """Set the bits of 2^(bits - exponent) and of its inverse."""
    for n in range(largest.size):
        up[n] = (bits - largest[n] + BIAS) << FIELD
        down[n] = (largest[n] - bits + BIAS) << FIELD


@register_jitable
def exponents_of(largest: Longs, fields: Longs, least: np.int64) -> None:
    """Set the exponents of float64 values, by their bits, at least `least`."""
    for n in range(largest.size):
        largest[n] = max(((fields[n] >> FIELD) & MASK) - BIAS, least)


@register_jitable
def truncate(total: Doubles, largest: Longs, up: Longs, down: Longs, bits: np.int64) -> None:
    """Truncate sums to `bits` bits below their own exponents, or to FP32's subnormals."""
    exponents_of(largest, total.view(np.int64), LEAST_RESULT)
    align(largest, up, down, bits)
    grow, shrink = up.view(np.float64), down.view(np.float64)
    for n in range(total.size):
        # The addition makes -0 +0; what FP32 does not hold becomes infinity.
        total[n] = np.float64(np.float32(np.trunc(total[n] * grow[n]) * shrink[n] + 0.0))


@register_jitable
def raise_exponents(largest: Longs, x: Longs, w: Longs) -> None:
    """Raise the exponents to align to, to those of the products of a block."""
    for k in range(x.size):
        own = x[k]
        for n in range(largest.size):
            largest[n] = max(largest[n], own + w[k, n])


@register_jitable
def add_products(total: Doubles, plain: Doubles, x: Doubles, w: Doubles, grow: Doubles) -> None:
    """Add the truncated products of a block to sums, and the products themselves to plain ones."""
    for n in range(total.size):
        plain[n] = total[n]
        total[n] = np.trunc(total[n] * grow[n])
    for k in range(x.size):
        value = x[k]
        for n in range(total.size):
            product = value * w[k, n]
            plain[n] += product
            total[n] += np.trunc(product * grow[n])


@register_jitable
def keep_specials(total: Doubles, plain: Doubles) -> None:
    """Set sums to what plain ones are where these are NaN or infinite."""
    for n in range(total.size):
        if not np.isfinite(plain[n]):
            total[n] = plain[n]


@compiled()
def block_sums(
    x: Doubles,
    w: Doubles,
    x_exponents: Longs,
    w_exponents: Longs,
    core: tuple[int, int, int, int],
) -> NDArray[np.float32]:
    """Return (M, K) x (K, N), K a multiple of the products of a block; exponents: of the elements.

    core: products, fraction bits, result bits, least exponent.
    """
    products, fraction_bits, result_bits, least = core
    rows, depth = x.shape
    columns = w.shape[1]
    result = np.zeros((rows, columns), dtype=np.float32)
    total, plain = np.zeros(columns), np.zeros(columns)
    largest = np.zeros(columns, dtype=np.int64)
    up, down = np.zeros(columns, dtype=np.int64), np.zeros(columns, dtype=np.int64)
    grow, shrink = up.view(np.float64), down.view(np.float64)
    for m in range(rows):
        total[:] = 0.0
        for start in range(0, depth, products):
            end = start + products
            exponents_of(largest, total.view(np.int64), np.int64(least))
            raise_exponents(largest, x_exponents[m, start:end], w_exponents[start:end])
            align(largest, up, down, np.int64(fraction_bits))
            add_products(total, plain, x[m, start:end], w[start:end], grow)
            for n in range(columns):
                total[n] *= shrink[n]
            truncate(total, largest, up, down, np.int64(result_bits))
            keep_specials(total, plain)
        for n in range(columns):
            result[m, n] = np.float32(total[n])
    return result
