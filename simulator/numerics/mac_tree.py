"""MAC trees and sequential accumulation in FP16, BF16 or FP32, rounding at every operation.

The processing unit of a DRAM bank (Lee et al., "Hardware Architecture and Software Stack for PIM
Based on Commercial DRAM Technology", ISCA 2021; He et al., "Newton", MICRO 2020) multiplies the
lanes of one burst, adds the products in a tree and accumulates the sum, burst by burst in the order
of the bank:

    acc = acc + (((p0 + p1) + (p2 + p3)) + ...)

With one lane it is a sequential accumulation. Products, tree and accumulator round to formats of
their own, from narrow to wide: the kernel adds in float32, and wider values would round twice on
their way to FP16 or BF16. For the same reason products in FP16 or BF16 are of values of at most 12
significant bits. FP32 products are rounded to FP32; a fused multiply-add is not modelled here.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals

#: Formats that an operation may round to.
ROUNDED = ("fp16", "bf16", "fp32")


def rounded_one(value: float, kind: str) -> np.float32:
    """Return a float64 rounded once to a format, as float32; to nearest even."""
    match kind:
        case "fp32":
            return np.float32(value)
        case "fp16":
            with np.errstate(over="ignore"):
                return np.float32(np.float16(value))
        case "bf16":
            # float32 first would round twice: the 53 bits are cut to 24, the last one sticky.
            return _bf16(value)
        case _:
            raise InputError(refusals.accumulators([kind], ROUNDED))


def _bf16(value: float) -> np.float32:
    """Return a float64 rounded once to BF16: 8 bits of significand, the exponents of float32."""
    if value == 0 or not np.isfinite(value):
        return np.float32(value)
    mantissa, exponent = np.frexp(value)
    # Below 2^-126 the step stays that of the smallest normal number.
    step = 2.0 ** (max(int(exponent), -125) - 8)
    del mantissa
    with np.errstate(over="ignore"):
        return np.float32(np.round(value / step) * step)


def dot_tree(
    x: NDArray[np.float32], w: NDArray[np.float32], lanes: int, kinds: tuple[str, str, str]
) -> np.float32:
    """Return the dot product of two vectors, burst by burst; kinds: of product, tree, accumulator.

    The specification: one operation at a time, each exact in float64 and rounded once. A last burst
    is padded with zeros.
    """
    product, tree, accumulator = kinds
    total = np.float32(0)
    for start in range(0, len(x), lanes):
        pairs = zip(x[start : start + lanes], w[start : start + lanes], strict=True)
        level = [rounded_one(float(a) * float(b), product) for a, b in pairs]
        level += [np.float32(0)] * (lanes - len(level))
        while len(level) > 1:
            level = [
                rounded_one(float(a) + float(b), tree)
                for a, b in zip(level[::2], level[1::2], strict=True)
            ]
        total = rounded_one(float(total) + float(level[0]), accumulator)
    return total


def gemm_tree(
    activations: NDArray[np.float32],
    weights: NDArray[np.float32],
    lanes: int,
    kinds: tuple[str, str, str],
) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed by MAC trees of `lanes` lanes.

    kinds: format that products, the tree and the accumulator round to. Operands are float32 and
    hold values of the operands' own formats. Errors: InputError for other dtypes, shapes that do
    not fit, lanes that are no power of two up to 64, unknown formats, formats from wide to narrow
    or from FP16 to BF16, values of more than 12 significant bits where products are not FP32.
    """
    _check(activations, weights, lanes, kinds)
    from simulator.numerics.mac_tree_kernel import KINDS, tree_sums

    padding = -activations.shape[1] % lanes
    x = np.pad(activations, ((0, 0), (0, padding)))
    w = np.pad(weights, ((0, 0), (0, padding))).T.copy()
    product, tree, accumulator = (KINDS[kind] for kind in kinds)
    return tree_sums(x, w, lanes, product, tree, accumulator)


def _check(
    activations: NDArray[Any], weights: NDArray[Any], lanes: int, kinds: tuple[str, str, str]
) -> None:
    problems = refusals.dtypes(np.float32, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    if lanes not in (1, 2, 4, 8, 16, 32, 64):
        problems.append(f"lanes must be a power of two from 1 to 64, got {lanes}")
    problems += refusals.accumulators(kinds, ROUNDED)
    if problems:
        raise InputError(problems)
    for before, after in pairwise(kinds):
        if after not in (before, "fp32"):
            problems.append(f"sums of {before} values would round twice to {after}")
    problems += refusals.precision(kinds[0], activations=activations, weights=weights)
    if problems:
        raise InputError(problems)
