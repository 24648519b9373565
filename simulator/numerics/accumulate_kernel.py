"""Accumulation in parts, and in integers of finite width, on whole matrices, compiled by Numba.

Vectorised over outputs, never along K. A sum in floating point goes to another row than it comes
from: in place, the loops of `carrier.add_rows` are not vectorised.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import KINDS, add_rows, copy_row, multiply_row

__all__ = ["KINDS", "finite_sums", "split_sums"]

#: Outputs that are worked on together: their sums stay in a cache.
BLOCK = 2048


@compiled(carrier)
def split_sums(
    activations: NDArray[np.float32],
    weights: NDArray[np.float32],
    ends: NDArray[np.int64],
    accumulator: int,
    stored: int,
) -> NDArray[np.float32]:
    """Return (M, K) x (K, N); ends: of each split, where in K it ends. Formats: carrier.KINDS."""
    rows = activations.shape[0]
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.float32)
    buffers = np.zeros((4, BLOCK), dtype=np.float32)
    for m in range(rows):
        for first in range(0, columns, BLOCK):
            width = min(BLOCK, columns - first)
            product, partial = buffers[0, :width], buffers[1, :width]
            other, total = buffers[2, :width], buffers[3, :width]
            total[:] = 0
            start = 0
            for end in ends:
                partial[:] = 0
                for k in range(start, end):
                    row = weights[k, first : first + width]
                    multiply_row(product, activations[m, k], row, accumulator)
                    add_rows(other, partial, product, accumulator)
                    partial, other = other, partial
                start = end
                # Times one: the rounding of what is stored.
                multiply_row(product, np.float32(1), partial, stored)
                add_rows(other, total, product, stored)
                total, other = other, total
            copy_row(result[m, first : first + width], total)
    return result


@compiled()
def finite_sums(
    activations: NDArray[np.int64], weights: NDArray[np.int32], limit: int, saturate: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sums of (M, K) x (K, N) within -limit..limit - 1, and how often each overflowed.

    limit: a power of two so small that a sum and a product fit into 64 bits.
    """
    rows, depth = activations.shape
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.int64)
    overflows = np.zeros((rows, columns), dtype=np.int64)
    mask = 2 * limit - 1
    for m in range(rows):
        total, count = result[m], overflows[m]
        for k in range(depth):
            x, row = activations[m, k], weights[k]
            if saturate:
                for n in range(columns):
                    wide = total[n] + x * np.int64(row[n])
                    total[n] = min(max(wide, -limit), limit - 1)
                    count[n] += wide != total[n]
            else:
                for n in range(columns):
                    wide = total[n] + x * np.int64(row[n])
                    total[n] = ((wide + limit) & mask) - limit
                    count[n] += wide != total[n]
    return result, overflows
