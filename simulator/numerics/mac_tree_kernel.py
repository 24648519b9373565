"""MAC trees on whole matrices, compiled by Numba: vectorised over outputs, never along K.

`tree_sums` does any tree; SUMS_OF_16_LANES are several times faster and do those of 16 lanes that
round to FP16 or to BF16 all along.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import (
    KINDS,
    add_rows,
    copy_row,
    multiply_row,
    sum_to_bf16,
    to_bf16,
    to_fp16,
    widest_vectors,
)

__all__ = ["BLOCK", "KINDS", "SUMS_OF_16_LANES", "TILE", "tree_sums", "turned"]

Row = NDArray[np.float32]
Rounding = Callable[[np.float32], np.float32]

#: Outputs to work on together: their nodes stay in a cache.
BLOCK = 512
#: The same of 16 lanes, and values of K whose weights are turned together.
TILE = WIDTH = 64


@compiled(carrier)
def tree_sums(
    activations: NDArray[np.float32],
    weights: NDArray[np.float32],
    lanes: int,
    product: int,
    tree: int,
    accumulator: int,
    nodes: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Set result, 0 before, to (M, K) x (K, N), K a multiple of `lanes`; formats by carrier.KINDS.

    nodes: (2 x lanes, N), level after level of the tree, the products first. The sum of the last
    one, the root, and a result is the last node: in place, `add_rows` is not vectorised.
    """
    root = 2 * lanes - 2
    for start in range(0, activations.shape[1], lanes):
        # A burst of weights serves all rows while it is in the cache.
        for m in range(activations.shape[0]):
            for lane in range(lanes):
                x, row = activations[m, start + lane], weights[start + lane]
                multiply_row(nodes[lane], x, row, product)
            for pair in range(0, 2 * lanes, 2):
                left, right, kind = nodes[pair], nodes[pair + 1], tree
                if pair == root:
                    right, kind = result[m], accumulator
                add_rows(nodes[lanes + pair // 2], left, right, kind)
            copy_row(result[m], nodes[root + 1])


@compiled()
def turned(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N / WIDTH, K / TILE, TILE x WIDTH) of weights (N, K), multiples of both."""
    columns, depth = weights.shape[0] // WIDTH, weights.shape[1] // TILE
    tiles = np.empty((columns, depth, TILE * WIDTH), dtype=np.float32)
    for first in range(columns):
        for start in range(depth):
            tile = tiles[first, start]
            part = weights[first * WIDTH : (first + 1) * WIDTH, start * TILE : (start + 1) * TILE]
            for n in range(WIDTH):
                for k in range(TILE):
                    tile[k * WIDTH + n] = part[n, k]
    return tiles


def unrolled(product: Rounding, total: Rounding) -> Any:
    """Return the kernel of trees of 16 lanes, by the roundings of one format.

    No sum of the tree is ever stored. Both formats in one kernel would take twice as long to
    compile, of which only one is used.
    """

    @compiled(carrier)
    def add_bursts(
        activations: NDArray[np.float32], weights: NDArray[np.float32], result: NDArray[np.float32]
    ) -> None:
        """Add (M, K / 16, 16) x `turned` weights (K / 16, 16 x WIDTH) to result (M, WIDTH)."""
        widest_vectors()  # type: ignore[call-arg]
        for burst in range(weights.shape[0]):
            w = weights[burst]
            for m in range(activations.shape[0]):
                x, sums = activations[m, burst], result[m]
                x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
                x8, x9, xa, xb, xc = x[8], x[9], x[10], x[11], x[12]
                xd, xe, xf = x[13], x[14], x[15]
                for n in range(WIDTH):
                    s0 = total(product(x0 * w[n]) + product(x1 * w[WIDTH + n]))
                    s1 = total(product(x2 * w[2 * WIDTH + n]) + product(x3 * w[3 * WIDTH + n]))
                    s2 = total(product(x4 * w[4 * WIDTH + n]) + product(x5 * w[5 * WIDTH + n]))
                    s3 = total(product(x6 * w[6 * WIDTH + n]) + product(x7 * w[7 * WIDTH + n]))
                    s4 = total(product(x8 * w[8 * WIDTH + n]) + product(x9 * w[9 * WIDTH + n]))
                    s5 = total(product(xa * w[10 * WIDTH + n]) + product(xb * w[11 * WIDTH + n]))
                    s6 = total(product(xc * w[12 * WIDTH + n]) + product(xd * w[13 * WIDTH + n]))
                    s7 = total(product(xe * w[14 * WIDTH + n]) + product(xf * w[15 * WIDTH + n]))
                    left = total(total(s0 + s1) + total(s2 + s3))
                    right = total(total(s4 + s5) + total(s6 + s7))
                    sums[n] = total(sums[n] + total(left + right))

    return add_bursts


#: By the format of all roundings.
SUMS_OF_16_LANES: dict[str, Any] = {
    "fp16": unrolled(to_fp16, to_fp16),
    "bf16": unrolled(to_bf16, sum_to_bf16),
}
