"""MixPE: products of 4-bit weights by shifts and additions, dequantisation after the group.

Zhang et al., "MixPE" (arXiv 2411.16158), equation 5:

    x w^T = sum over groups of  s_G sum_j q_j x_j - s_G z_G sum_j x_j

W4A8 (INT4 x INT8): the product is a sum of shifted copies of x, one a bit of the weight, the sign
bit's subtracted. Exact in integers: a product has 12 bits, a group of 128 sums to 19. Scales and
zero points follow in `operands`.

W4A16 (INT4 x FP16) has two admissible semantics, as the paper fixes none: `exact` multiplies the
11-bit significand by the weight in integers and rounds the product once; `chain` adds the four
partial products, each a change of exponent, in FP16 additions that round each time. They differ for
12 % of random pairs by up to 4.3e-3 (reference: golden identity 2b).
Left out: the micro-architecture of the published element, which its text does not give.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.word import Number, bit, masked

WEIGHT_BITS = 4


def product_w4a8(weight: Number, activation: Number) -> Number:
    """Return an INT4 in two's complement times an integer, by shift and add."""
    total = masked(activation, bit(weight, 0))
    for place in range(1, WEIGHT_BITS - 1):
        total = total + masked(activation << place, bit(weight, place))
    sign = WEIGHT_BITS - 1
    return total - masked(activation << sign, bit(weight, sign))


def product_w4a16(weight: int, activation: float, *, chain: bool) -> float:
    """Return weight x activation of an INT4 and an FP16 value, as FP16; see the module.

    Overflow gives infinity, as FP16 does; NaN and infinity go through.
    """
    if not chain:
        # Both factors and the exact product fit in float64; one rounding to FP16 remains.
        return float(np.float16(weight * activation))
    total = np.float16(0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for place in range(WEIGHT_BITS - 1):
            if bit(weight, place):
                total = np.float16(total + np.float16(activation * 2.0**place))
        if bit(weight, WEIGHT_BITS - 1):
            total = np.float16(total - np.float16(activation * 2.0 ** (WEIGHT_BITS - 1)))
    return float(total)


def gemm_w4a8(activations: NDArray[np.int8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return activations (M, K) x weights (N, K) transposed, exactly, by the shift-add kernel.

    weights: INT4 values -8..7. Errors: InputError for other dtypes, shapes that do not fit, weights
    out of range, K beyond what 32 bits hold.
    """
    _check(activations, weights)
    from simulator.numerics.shift_add_kernel import shift_add

    return shift_add(np.ascontiguousarray(activations), weights.T.copy())


def _check(activations: NDArray[Any], weights: NDArray[Any]) -> None:
    problems = refusals.dtypes(np.int8, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    if weights.size and not -8 <= int(weights.min()) <= int(weights.max()) <= 7:
        problems.append("weights: must be -8 to 7")
    if activations.shape[-1:] > (2**31 // 2**11,):
        problems.append(f"K: at most {2**31 // 2**11}, got {activations.shape[1]}")
    if problems:
        raise InputError(problems)
