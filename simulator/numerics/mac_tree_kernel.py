"""MAC trees on whole matrices, compiled by Numba: vectorised over outputs, never along K."""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import KINDS, add_rows, multiply_row

__all__ = ["KINDS", "tree_sums"]

#: Outputs that are worked on together: their lanes stay in the first cache.
BLOCK = 512


@compiled(carrier)
def tree_sums(
    activations: NDArray[np.float32],
    weights: NDArray[np.float32],
    lanes: int,
    product: int,
    tree: int,
    accumulator: int,
) -> NDArray[np.float32]:
    """Return (M, K) x (K, N), K a multiple of `lanes`; formats by carrier.KINDS."""
    rows, depth = activations.shape
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.float32)
    # Sums go to other rows than they come from: in place, `add_rows` is not vectorised.
    level = np.zeros((lanes, BLOCK), dtype=np.float32)
    above = np.zeros((lanes, BLOCK), dtype=np.float32)
    sums = np.zeros(BLOCK, dtype=np.float32)
    for first in range(0, columns, BLOCK):
        width = min(BLOCK, columns - first)
        for start in range(0, depth, lanes):
            # A burst of weights serves all rows while it is in the cache.
            for m in range(rows):
                for lane in range(lanes):
                    row = weights[start + lane, first : first + width]
                    multiply_row(level[lane, :width], activations[m, start + lane], row, product)
                count = lanes
                while count > 1:
                    count //= 2
                    for pair in range(count):
                        left, right = level[2 * pair, :width], level[2 * pair + 1, :width]
                        add_rows(above[pair, :width], left, right, tree)
                    level, above = above, level
                total = result[m, first : first + width]
                add_rows(sums[:width], total, level[0, :width], accumulator)
                total[:] = sums[:width]
    return result
