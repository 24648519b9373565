"""A chain of fused multiply-adds in FP16, in order of K: a product and its addition round once.

    total = FP16(x w + total)

What a GPU without tensor cores does with FP16 operands (`HFMA`). The kernel adds in float64, which
is exact whenever the rounding can go either way: a product of FP16 values has 22 bits, and a sum
that needs more than 53 bits has a product far below half of the last place of the total, or a total
far below that of the product. NaN and infinity go through, overflow gives infinity, subnormals are
kept. An FMA that adds in FP32 is `mac_tree` with one lane in FP32, as these products are exact.
"""

from collections.abc import Iterable
from math import copysign, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.word import Real, nearest_even, value_of

Halves = NDArray[np.float16]

#: Places below the point that FP16 has, and their unit's inverse.
PLACES, UNIT, SIGNIFICAND_BITS = 24, 2.0**24, 11


def fused_one(x: float, w: float, total: float) -> float:
    """Return x w + total of FP16 values, rounded once to FP16, to nearest even."""
    if not (isfinite(x) and isfinite(w) and isfinite(total)):
        return x * w + total
    # In integers: FP16 values are multiples of 2^-24, products of 2^-48.
    exact = int(x * UNIT) * int(w * UNIT) + (int(total * UNIT) << PLACES)
    if exact == 0:
        # The sign of a zero is that of float64's rules.
        return x * w + total
    drop = max(abs(exact).bit_length() - SIGNIFICAND_BITS, PLACES)
    kept = int(nearest_even(exact, drop)) << drop
    # What rounds to zero keeps its sign.
    rounded = copysign(kept / UNIT / UNIT, exact)
    return rounded if abs(rounded) < 2.0**16 else copysign(inf, rounded)


def dot_fused(x: Iterable[Any], w: Iterable[Any]) -> float:
    """Return the dot product of FP16 values by fused multiply-adds: the specification."""
    total = 0.0
    for left, right in zip(x, w, strict=True):
        total = fused_one(float(left), float(right), total)
        if isinstance(left, Real):
            left.done("fma fp16", value_of(left))
    return total


def gemm_fused(activations: Halves, weights: Halves) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed by chains of fused multiply-adds.

    The values are those of FP16. Errors: InputError for other dtypes or shapes that do not fit.
    """
    problems = refusals.dtypes(np.float16, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    if problems:
        raise InputError(problems)
    from simulator.numerics.fused_kernel import chain

    return chain(activations.astype(np.float64), weights.T.astype(np.float32, order="C"))
