"""MixPE W4A16: products INT4 x FP16, summed in order, dequantised after the group.

Zhang et al., "MixPE" (arXiv 2411.16158), equation 5; the two semantics of a product, `exact` and
`chain`, are those of `shift_add.product_w4a16`, as the paper fixes none.

Exact: the zero-point correction reads one sum of activations a group, which all outputs of a row
share. Rounded, each time to nearest even: products to FP16 (once, or in a chain); each addition
over K, in order from 0, of products and of that shared sum, to the accumulator's format; and in
float32 the four operations of a group: zero x sum, its subtraction, the product with the scale, and
the addition to the total, in order of groups. assumed: the correction comes before the scale, which
then multiplies once; the paper writes two terms and gives no datapath.
NaN and infinity go through. A chain may overflow where its product does not: -x is 7 x - 8 x, which
is infinite from |x| = 8192 and, both terms infinite, NaN from 9360.
Left out: UINT4 weights (take 8 from codes and zeros alike: equation 5 stays), and BF16
accumulators: FP16 products have more bits, so that float32 carriers would round sums twice.
"""

from collections.abc import Sequence
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.mac_tree import rounded
from simulator.numerics.shift_add import WEIGHT_BITS, product_w4a8, product_w4a16
from simulator.numerics.word import Number, Real, Scalar, in_float32, value_of

#: Formats of `mac_tree.ROUNDED` that sums over K may have here.
ACCUMULATORS = ("fp16", "fp32")
SIGNIFICAND_BITS, EXPONENT_BITS, FP16_BITS = 11, 5, 16
#: Integers up to this magnitude are exact in float32.
EXACT = 2**24
Floats = NDArray[np.float32]


def significand_of(activation: float) -> tuple[int, int]:
    """Return (integer of 11 bits and a sign, exponent): the finite FP16 value is i x 2^e."""
    fraction, exponent = frexp(activation)
    return int(fraction * (1 << SIGNIFICAND_BITS)), exponent - SIGNIFICAND_BITS


def product_exact(weight: Number, significand: Number) -> Number:
    """Return what `exact` rounds once: the significand times an INT4, by shift and add, exactly.

    15 bits and a sign hold it; the exponent of the activation is untouched.
    """
    return product_w4a8(weight, significand)


def product(weight: int, activation: Real, *, chain: bool) -> Real:
    """Return `product_w4a16` of a counting activation.

    `exact`: those of `product_exact`, then a rounding. `chain`: partial products have a mask each,
    and all but the first an addition to the exponent; the three FP16 additions join them.
    """
    tally = activation.tally
    if chain:
        for place in range(WEIGHT_BITS):
            tally.note("mask", FP16_BITS)
            if place:
                tally.note("add", EXPONENT_BITS)
                tally.counts["add fp16"] += 1
    else:
        product_exact(weight, tally.word(0, SIGNIFICAND_BITS + 1))
        tally.counts["round fp16"] += 1
    return Real(product_w4a16(weight, activation.value, chain=chain), activation.tally)


def dot_group(x: Sequence[Scalar], codes: Sequence[int], *, chain: bool, accumulator: str) -> Any:
    """Return the sum of products of one group, in order, in float32; the specification."""
    total: Scalar = 0.0
    multiply: Any = product if isinstance(x[0], Real) else product_w4a16
    with np.errstate(over="ignore", invalid="ignore"):
        for value, code in zip(x, codes, strict=True):
            total = rounded(total + multiply(code, value, chain=chain), accumulator)
    return in_float32(total)


def sum_group(x: Sequence[Scalar], accumulator: str) -> Any:
    """Return the sum of the activations of one group, in order, in float32; the specification."""
    total: Scalar = 0.0
    for value in x:
        total = rounded(total + value, accumulator)
    return in_float32(total)


def dot_w4a16(
    x: Sequence[Scalar],
    codes: Sequence[int],
    scales: Sequence[np.float32],
    zeros: Sequence[int] | None,
    group: int,
    *,
    chain: bool,
    accumulator: str,
) -> np.float32:
    """Return one output, one operation at a time: the specification of `gemm_w4a16`."""
    total: Any = np.float32(0)
    with np.errstate(over="ignore", invalid="ignore"):
        for index, start in enumerate(range(0, len(x), group)):
            part = slice(start, start + group)
            inner = dot_group(x[part], codes[part], chain=chain, accumulator=accumulator)
            if zeros is not None:
                inner = inner - np.float32(zeros[index]) * sum_group(x[part], accumulator)
            total = total + inner * scales[index]
    return np.float32(value_of(total))


def gemm_w4a16(
    activations: Floats,
    codes: NDArray[np.int8],
    scales: Floats,
    zeros: NDArray[np.integer[Any]] | None,
    group: int,
    *,
    chain: bool,
    accumulator: str = "fp32",
) -> Floats:
    """Return activations (M, K) x dequantised weights transposed, (M, N), in float32.

    activations: float32 that hold FP16 values. codes: INT4 values (N, K). scales, zeros: (N,
    groups), the last group may be short. chain: the semantics of a product. accumulator: one of
    ACCUMULATORS. What is rounded where: see the module. Errors: InputError for other dtypes, shapes
    that do not fit, codes and zeros out of range, activations that are no FP16 values.
    """
    _check_values(activations, codes, accumulator)
    _check_groups(activations, codes, scales, zeros, group)
    total = np.zeros((activations.shape[0], codes.shape[0]), dtype=np.float32)
    one = np.ones((1, 1), dtype=np.int8)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(scales.shape[1]):
            part = slice(index * group, (index + 1) * group)
            x = np.ascontiguousarray(activations[:, part])
            inner = _sums(x, codes[:, part].T.copy(), chain, accumulator)
            if zeros is not None:
                # The shared sum is what an output of weights 1 adds up.
                shared = _sums(x, one.repeat(x.shape[1], axis=0), chain, accumulator)
                inner -= shared * zeros[:, index].astype(np.float32)
            total += inner * scales[:, index]
    return total


def _sums(x: Floats, codes: NDArray[np.int8], chain: bool, accumulator: str) -> Floats:
    """Return the sums (M, N) of activations (M, K) times codes (K, N)."""
    from simulator.numerics.shift_add_fp16_kernel import BLOCK, KINDS, group_sums

    # In the order of the four bits, of two's complement.
    weights = np.array([*range(8), *range(-8, 0)], dtype=np.float32)
    rows = np.empty((3, BLOCK), dtype=np.float32)
    result = np.empty((len(x), codes.shape[1]), dtype=np.float32)
    products = np.empty_like(weights)
    group_sums(x, codes, chain, KINDS[accumulator], weights, products, rows, result)
    return result


def _check_values(activations: Floats, codes: NDArray[np.int8], accumulator: str) -> None:
    problems = []
    if activations.dtype != np.float32:
        problems.append(f"activations: expected float32, got {activations.dtype}")
    else:
        with np.errstate(over="ignore"):
            held = activations.astype(np.float16).astype(np.float32)
        wrong = int(((held != activations) & ~np.isnan(activations)).sum())
        if wrong:
            problems.append(f"activations: {wrong} of {activations.size} are no FP16 values")
    if codes.dtype != np.int8:
        problems.append(f"codes: expected int8, got {codes.dtype}")
    elif codes.size and not -8 <= int(codes.min()) <= int(codes.max()) <= 7:
        problems.append("codes: must be -8 to 7")
    problems += refusals.accumulators([accumulator], ACCUMULATORS)
    if problems:
        raise InputError(problems)


def _check_groups(
    activations: Floats,
    codes: NDArray[np.int8],
    scales: Floats,
    zeros: NDArray[np.integer[Any]] | None,
    group: int,
) -> None:
    problems = refusals.shapes(activations, codes, "codes")
    if problems:
        raise InputError(problems)
    if group < 1:
        raise InputError(f"group must be >= 1, got {group}")
    expected = (codes.shape[0], -(-activations.shape[1] // group))
    problems = refusals.dtypes(np.float32, scales=scales)
    problems += refusals.metadata(expected, scales=scales)
    if zeros is not None:
        problems += _zero_problems(zeros, expected)
    if problems:
        raise InputError(problems)


def _zero_problems(zeros: NDArray[Any], expected: tuple[int, int]) -> list[str]:
    problems = []
    if not np.issubdtype(zeros.dtype, np.integer):
        problems.append(f"zeros: expected integers, got {zeros.dtype}")
    elif zeros.size and max(-int(zeros.min()), int(zeros.max())) > EXACT:
        problems.append(f"zeros: must be {-EXACT} to {EXACT}")
    if zeros.shape != expected:
        problems.append(f"zeros: expected shape {expected}, got {zeros.shape}")
    return problems
