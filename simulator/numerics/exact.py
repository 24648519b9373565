"""Exact integer products of matrices: the reference of every integer datapath.

The fast path multiplies float32 copies in blocks of K so short that every partial sum is below
2^24, which float32 holds exactly: BLAS may add them up in any order. Blocks are summed in int64.
With few rows the copies would take longer than the product: INT8 operands are then multiplied as
they are, at the rate at which memory delivers the weights.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals

#: Integers up to this magnitude are exact in float32.
EXACT = 2**24
#: Rows up to which INT8 operands are not copied, and the depth whose sums fit into 32 bits.
FEW_ROWS, DEPTH = 16, 2**31 // 2**14 - 1
Integers = NDArray[np.integer[Any]]


def check_operands(activations: NDArray[Any], weights: NDArray[Any]) -> None:
    """Refuse what is not activations (M, K) and weights (N, K) of integers."""
    problems = refusals.dtypes(np.integer, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    if problems:
        raise InputError(problems)


def block_length(activations: Integers, weights: Integers) -> int:
    """Return how many products of these operands float32 adds up exactly, 0 if not even one."""
    largest = _largest(activations) * _largest(weights)
    return EXACT // largest if largest else activations.shape[1] or 1


def gemm_exact(activations: Integers, weights: Integers) -> NDArray[np.int64]:
    """Return activations (M, K) x weights (N, K) transposed, exactly, as int64.

    Errors: InputError for operands that are no integers, or do not fit. Sums beyond 64 bits are the
    caller's affair: they need operands of more than 28 bits.
    """
    check_operands(activations, weights)
    if _few_bytes(activations, weights):
        from simulator.numerics.exact_kernel import dots

        return dots(np.ascontiguousarray(activations), np.ascontiguousarray(weights))
    depth, length = activations.shape[1], block_length(activations, weights)
    if length == 0:
        wide: NDArray[np.int64] = activations.astype(np.int64) @ weights.astype(np.int64).T
        return wide
    total = np.zeros((activations.shape[0], weights.shape[0]), dtype=np.int64)
    for start in range(0, depth, length):
        part = slice(start, start + length)
        left = activations[:, part].astype(np.float32)
        right = weights[:, part].astype(np.float32)
        total += np.matmul(left, right.T).astype(np.int64)
    return total


def _few_bytes(activations: Integers, weights: Integers) -> bool:
    rows, depth = activations.shape
    return activations.dtype == weights.dtype == np.int8 and rows <= FEW_ROWS and depth <= DEPTH


def _largest(values: Integers) -> int:
    """Return the largest magnitude, as a Python integer: -128 has one in 8 bits."""
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0
