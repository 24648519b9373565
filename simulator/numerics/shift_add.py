"""MixPE: products of 4-bit weights by shifts and additions, dequantisation after the group.

Zhang et al., "MixPE" (arXiv 2411.16158), equation 5:

    x w^T = sum over groups of  s_G sum_j q_j x_j - s_G z_G sum_j x_j

W4A8 (INT4 x INT8): the product is a sum of shifted copies of x, one a bit of the weight, the sign
bit's subtracted. Exact in integers: a product has 12 bits, a group of 128 sums to 19.

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
#: What a product and a sum of 128 products take in two's complement.
PRODUCT_BITS, GROUP_SUM_BITS = 12, 19


def product_w4a8(weight: Number, activation: Number) -> Number:
    """Return an INT4 in two's complement times an integer, by shift and add."""
    total = masked(activation, bit(weight, 0))
    for place in range(1, WEIGHT_BITS - 1):
        total = total + masked(activation << place, bit(weight, place))
    sign = WEIGHT_BITS - 1
    return total - masked(activation << sign, bit(weight, sign))


def product_uw4a8(weight: Number, activation: Number) -> Number:
    """Return a UINT4 (its zero point apart) times an integer, by shift and add."""
    total = masked(activation, bit(weight, 0))
    for place in range(1, WEIGHT_BITS):
        total = total + masked(activation << place, bit(weight, place))
    return total


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


def gemm_w4a8(
    activations: NDArray[np.int8], weights: NDArray[np.int8], *, signed: bool = True
) -> NDArray[np.int32]:
    """Return activations (M, K) x weights (N, K) transposed, exactly, by the shift-add kernel.

    weights: INT4 values -8..7, or UINT4 0..15 where not `signed`. Errors: InputError for other
    dtypes, shapes that do not fit, weights out of range, K beyond what 32 bits hold.
    """
    _check(activations, weights, signed)
    from simulator.numerics.shift_add_kernel import shift_add

    return shift_add(np.ascontiguousarray(activations), weights.T.copy(), signed)


def gemm_grouped(
    activations: NDArray[np.int8],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    zeros: NDArray[np.int32] | None,
    group: int,
    *,
    signed: bool = True,
) -> NDArray[np.float32]:
    """Return activations x dequantised weights transposed, dequantised after each group.

    codes: INT4 (N, K); scales, zeros: (N, groups), the last group may be short. Exact: the sums of
    a group and its zero-point correction, z times the sum of its activations, which all outputs of
    a row share. Rounded, to float32: the product with the scale, and each addition of a group, in
    order of groups. Errors: InputError for shapes that do not fit, and those of `gemm_w4a8`.
    """
    _check(activations, codes, signed)
    groups = -(-activations.shape[1] // group) if group >= 1 else 0
    given = {"scales": scales} if zeros is None else {"scales": scales, "zeros": zeros}
    expected = (codes.shape[0], groups)
    problems = [
        f"{name}: expected shape {expected}, got {array.shape}"
        for name, array in given.items()
        if array.shape != expected
    ]
    if group < 1 or problems:
        raise InputError(problems if group >= 1 else f"group must be >= 1, got {group}")
    total = np.zeros((activations.shape[0], codes.shape[0]), dtype=np.float32)
    for index in range(groups):
        part = slice(index * group, (index + 1) * group)
        x, q = activations[:, part], codes[:, part]
        inner = gemm_w4a8(x, q, signed=signed).astype(np.int64)
        if zeros is not None:
            inner -= x.sum(axis=1, dtype=np.int64)[:, None] * zeros[:, index].astype(np.int64)
        total += inner.astype(np.float32) * scales[:, index].astype(np.float32)
    return total


def _check(activations: NDArray[Any], weights: NDArray[Any], signed: bool) -> None:
    problems = refusals.dtypes(np.int8, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    low, high = (-8, 7) if signed else (0, 15)
    if weights.size and not low <= int(weights.min()) <= int(weights.max()) <= high:
        problems.append(f"weights: must be {low} to {high}")
    if activations.shape[-1:] > (2**31 // 2**11,):
        problems.append(f"K: at most {2**31 // 2**11}, got {activations.shape[1]}")
    if problems:
        raise InputError(problems)
