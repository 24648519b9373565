"""MAC trees on whole matrices, compiled by Numba: vectorised over outputs, never along K.

`tree_sums` does any tree; `sums_of_16_lanes` is several times faster and does those of 16 lanes
that round to FP16 or to BF16 all along.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import (
    BF16,
    KINDS,
    add_rows,
    copy_row,
    multiply_row,
    sum_to_bf16,
    to_bf16,
    to_fp16,
    widest_vectors,
)

__all__ = ["KINDS", "TILE", "sums_of_16_lanes", "tree_sums", "turned"]

Row = NDArray[np.float32]
Rounding = Callable[[np.float32], np.float32]

#: Outputs that are worked on together: their lanes stay in a cache.
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
) -> NDArray[np.float32]:
    """Return (M, K) x (K, N), K a multiple of `lanes`; formats by carrier.KINDS."""
    rows, depth = activations.shape
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.float32)
    # Level after level of the tree, the products first: in place, `add_rows` is not vectorised.
    nodes = np.zeros((2 * lanes, BLOCK), dtype=np.float32)
    for first in range(0, columns, BLOCK):
        width = min(BLOCK, columns - first)
        for start in range(0, depth, lanes):
            # A burst of weights serves all rows while it is in the cache.
            for m in range(rows):
                for lane in range(lanes):
                    row = weights[start + lane, first : first + width]
                    multiply_row(nodes[lane, :width], activations[m, start + lane], row, product)
                for node in range(lanes, 2 * lanes - 1):
                    pair = 2 * (node - lanes)
                    left, right = nodes[pair, :width], nodes[pair + 1, :width]
                    add_rows(nodes[node, :width], left, right, tree)
                total = result[m, first : first + width]
                add_rows(nodes[-1, :width], total, nodes[2 * lanes - 2, :width], accumulator)
                copy_row(total, nodes[-1, :width])
    return result


def unrolled(product: Rounding, total: Rounding) -> Any:
    """Return the function that adds bursts of a tile to sums, by the roundings of one format.

    No sum of the tree is ever stored.
    """

    def add_tile(sums: Row, row: Row, tile: Row) -> None:
        widest_vectors()  # type: ignore[call-arg]
        for k in range(0, TILE, 16):
            x, w = row[k : k + 16], tile[k * WIDTH : (k + 16) * WIDTH]
            x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
            x8, x9, xa, xb, xc, xd, xe, xf = x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]
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

    return register_jitable(add_tile)


add_tile_bf16: Any = unrolled(to_bf16, sum_to_bf16)
add_tile_fp16: Any = unrolled(to_fp16, to_fp16)


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


@compiled(carrier)
def sums_of_16_lanes(
    activations: NDArray[np.float32], tiles: NDArray[np.float32], kind: int
) -> NDArray[np.float32]:
    """Return (M, K) x `turned` weights, K a multiple of TILE; kind: carrier.FP16 or BF16."""
    rows, depth = activations.shape
    result = np.zeros((rows, tiles.shape[0] * WIDTH), dtype=np.float32)
    for column in range(tiles.shape[0]):
        for part in range(depth // TILE):
            tile = tiles[column, part]
            for m in range(rows):
                total = result[m, column * WIDTH : (column + 1) * WIDTH]
                x = activations[m, part * TILE : (part + 1) * TILE]
                if kind == BF16:
                    add_tile_bf16(total, x, tile)
                else:
                    add_tile_fp16(total, x, tile)
    return result
