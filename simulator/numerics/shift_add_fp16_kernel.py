"""Products INT4 x FP16 and their sums on whole matrices, compiled by Numba.

An activation has 16 products only: each is worked out once, as `shift_add.product_w4a16` does, and
a row of weights picks from them. Vectorised over outputs: sums over K stay in order. A sum goes to
another row than it comes from: in place, the loops of `carrier.add_rows` are not vectorised.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import FP16, KINDS, add_rows, copy_row, multiply_row, to_fp16

__all__ = ["KINDS", "group_sums"]

#: Weights of 4 bits, and outputs that are worked on together: their sums stay in a cache.
CODES, BLOCK = 16, 2048


@register_jitable
def chain_of(x: np.float32, code: int) -> np.float32:
    """Return the FP16 chain of the shifted copies of x; code: the weight in two's complement."""
    total = np.float32(0)
    for place in range(3):
        if code >> place & 1:
            total = to_fp16(total + to_fp16(x * np.float32(1 << place)))
    if code >> 3 & 1:
        total = to_fp16(total - to_fp16(x * np.float32(8)))
    return total


@compiled(carrier)
def group_sums(
    activations: NDArray[np.float32],
    codes: NDArray[np.int8],
    chain: bool,
    accumulator: int,
    weights: NDArray[np.float32],
    products: NDArray[np.float32],
    rows: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Set result to (M, K) x (K, N); codes: INT4; accumulator: by carrier.KINDS, FP16 or FP32.

    weights: the values of the 16 codes; products (16), rows (3, BLOCK): to work in.
    """
    depth, columns = codes.shape
    for m in range(activations.shape[0]):
        for first in range(0, columns, BLOCK):
            width = min(BLOCK, columns - first)
            picked, total, other = rows[0, :width], rows[1, :width], rows[2, :width]
            total[:] = 0
            for k in range(depth):
                x = activations[m, k]
                if chain:
                    for code in range(CODES):
                        products[code] = chain_of(x, code)
                else:
                    # 11 bits by 4 are exact in float32: the integer product of the significand.
                    multiply_row(products, x, weights, FP16)
                row = codes[k, first : first + width]
                for n in range(width):
                    picked[n] = products[row[n] & np.int8(15)]
                add_rows(other, total, picked, accumulator)
                total, other = other, total
            copy_row(result[m, first : first + width], total)
