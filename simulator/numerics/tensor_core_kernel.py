"""Tensor-core block FMA on whole matrices, compiled by Numba: vectorised over outputs, never K.

Products, aligned terms and their sums are exact in float64. Powers of two are made from their bits.
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
def exponent_of(value: np.float64, least: np.int64) -> np.int64:
    """Return the exponent of a float64, at least `least`."""
    # Numba takes a view only of what is cast on the spot.
    return max(((np.float64(value).view(np.int64) >> FIELD) & MASK) - BIAS, least)


@register_jitable
def power_of_two(exponent: np.int64) -> np.float64:
    """Return 2^exponent, of a normal float64."""
    return np.int64((exponent + BIAS) << FIELD).view(np.float64)


@register_jitable
def truncated(value: np.float64, bits: np.int64) -> np.float64:
    """Return a sum cut to `bits` bits below its own exponent, or to FP32's subnormals."""
    unit = exponent_of(value, LEAST_RESULT) - bits
    # The addition makes -0 +0; what FP32 does not hold becomes infinity.
    cut = np.trunc(value * power_of_two(-unit)) * power_of_two(unit) + 0.0
    return np.float64(np.float32(cut))


@compiled()
def block_sums(
    x: Doubles,
    w: Doubles,
    x_exponents: Longs,
    w_exponents: Longs,
    rows: Doubles,
    largest: Longs,
    products: np.int64,
    fraction_bits: np.int64,
    result_bits: np.int64,
    least: np.int64,
) -> None:
    """Set rows[0] to (K) x (K, N), K a multiple of the products of a block.

    exponents: of the elements; rows (3, N), 0 before, and largest (N): to work in; the others are
    those of `tensor_core.TensorCore`.
    """
    total, plain, grow = rows[0], rows[1], rows[2]
    for start in range(0, x.size, products):
        for n in range(total.size):
            largest[n] = exponent_of(total[n], least)
        for k in range(start, start + products):
            own = x_exponents[k]
            for n in range(total.size):
                largest[n] = max(largest[n], own + w_exponents[k, n])
        for n in range(total.size):
            grow[n] = power_of_two(fraction_bits - largest[n])
            plain[n] = total[n]
            total[n] = np.trunc(total[n] * grow[n])
        for k in range(start, start + products):
            value = x[k]
            for n in range(total.size):
                product = value * w[k, n]
                plain[n] += product
                total[n] += np.trunc(product * grow[n])
        for n in range(total.size):
            unit = power_of_two(largest[n] - fraction_bits)
            kept = truncated(total[n] * unit, result_bits)
            # NaN and infinity are those of the plain sum.
            total[n] = kept if np.isfinite(plain[n]) else plain[n]
