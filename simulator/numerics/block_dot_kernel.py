"""Dot units of block formats on whole matrices, compiled by Numba.

Vectorised over outputs: a block's sums are exact in any order, blocks follow each other in theirs.
Elements are integers in steps of their formats, K a multiple of the block; scales of weights hold
both steps. Products of two scales, and sums times them, are exact in float64.
"""

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Doubles = NDArray[np.float64]
Shorts = NDArray[np.int16]
Longs = NDArray[np.int64]
Elements = NDArray[Any]
Codes = NDArray[np.unsignedinteger[Any]]
Result = NDArray[np.float32]

#: Outputs that are worked on together: one block of their weights stays in the first cache.
WIDTH = 256
#: Products that one pass over them adds up in int16: it divides the block.
PASS = 8
#: Bits of the lower limb of an element in a wide sum, and what is dropped of a large upper sum.
LIMB, DROPPED = np.int64(16), np.int64(4)
LIMB_MASK, DROPPED_MASK = np.int64((1 << 16) - 1), np.int64((1 << 4) - 1)
#: Upper sums below this keep every bit: with a limb they fit into the 53 bits of a float64.
SMALL = np.int64(1 << 36)


@register_jitable
def decode_tile(tile: Elements, codes: Codes, table: Elements) -> None:
    """Set (block, WIDTH) to the elements that codes are."""
    for j in range(codes.shape[0]):
        for n in range(WIDTH):
            tile[j, n] = table[codes[j, n]]


@register_jitable
def accumulate(total: Result, sums: Elements, scale: np.float64, factors: Doubles) -> None:
    """Add sums of a block, scaled and rounded to FP32, to the accumulators."""
    for n in range(WIDTH):
        total[n] += np.float32(np.float64(sums[n]) * (scale * factors[n]))


@register_jitable
def add_pass(sums: Shorts, x: Shorts, tile: Shorts, j: int) -> None:
    """Add PASS products from j on to sums of a block: int16 never wraps, as the whole sum fits."""
    x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
    x4, x5, x6, x7 = x[j + 4], x[j + 5], x[j + 6], x[j + 7]
    for n in range(WIDTH):
        total = np.int16(np.int16(x0 * tile[j, n]) + np.int16(x1 * tile[j + 1, n]))
        total = np.int16(total + np.int16(x2 * tile[j + 2, n]))
        total = np.int16(total + np.int16(x3 * tile[j + 3, n]))
        total = np.int16(total + np.int16(x4 * tile[j + 4, n]))
        total = np.int16(total + np.int16(x5 * tile[j + 5, n]))
        total = np.int16(total + np.int16(x6 * tile[j + 6, n]))
        total = np.int16(total + np.int16(x7 * tile[j + 7, n]))
        sums[n] = np.int16(sums[n] + total)


@compiled()
def sum_int16(
    x: Shorts,
    codes: Codes,
    table: Shorts,
    x_scales: Doubles,
    w_scales: Doubles,
    tile: Shorts,
    result: Result,
) -> None:
    """Add elements (M, K) x codes (panels, K, WIDTH) of weights to result (M, panels x WIDTH).

    Scales are (M, blocks) and (panels, blocks, WIDTH); tile (block + 1, WIDTH) is to work in. Sums
    of a block are in int16, which holds them; PASS divides the block.
    """
    block = tile.shape[0] - 1
    sums = tile[block]
    for panel in range(codes.shape[0]):
        for index in range(x_scales.shape[1]):
            start = index * block
            factors = w_scales[panel, index]
            decode_tile(tile, codes[panel, start : start + block], table)
            for m in range(x.shape[0]):
                sums[:] = 0
                part = x[m, start : start + block]
                for j in range(0, block, PASS):
                    add_pass(sums, part, tile, j)
                total = result[m, panel * WIDTH : (panel + 1) * WIDTH]
                accumulate(total, sums, x_scales[m, index], factors)


@compiled()
def sum_blocks(
    x: Elements,
    codes: Codes,
    table: Elements,
    x_scales: Doubles,
    w_scales: Doubles,
    tile: Elements,
    result: Result,
) -> None:
    """Do the same with sums of a block in float32 or float64, as x, the table and the tile are."""
    block = tile.shape[0] - 1
    sums = tile[block]
    for panel in range(codes.shape[0]):
        for index in range(x_scales.shape[1]):
            start = index * block
            factors = w_scales[panel, index]
            decode_tile(tile, codes[panel, start : start + block], table)
            for m in range(x.shape[0]):
                sums[:] = 0
                for j in range(block):
                    factor = x[m, start + j]
                    for n in range(WIDTH):
                        sums[n] += factor * tile[j, n]
                total = result[m, panel * WIDTH : (panel + 1) * WIDTH]
                accumulate(total, sums, x_scales[m, index], factors)


@register_jitable
def to_odd(high: np.int64, low: np.int64) -> np.float64:
    """Return high x 2^16 + low; what 53 bits do not hold marks the last bit (rounding to odd)."""
    upper, lower = high + (low >> LIMB), low & LIMB_MASK
    if -SMALL < upper < SMALL:
        return np.float64((upper << LIMB) | lower)
    lost = np.int64(((upper & DROPPED_MASK) | lower) != 0)
    return np.float64((upper >> DROPPED) | lost) * 2.0**20


@compiled()
def sum_wide(
    x: Longs,
    codes: Codes,
    table: Longs,
    x_scales: Doubles,
    w_scales: Doubles,
    tile: Longs,
    result: Result,
) -> None:
    """Do the same for scales that are powers of two and sums of up to 70 bits, in two limbs.

    Rounding to odd makes the rounding to FP32 that of the exact sum.
    """
    block = tile.shape[0] - 1
    high, low = tile[block], np.zeros(WIDTH, dtype=np.int64)
    sums = np.zeros(WIDTH, dtype=np.float64)
    for panel in range(codes.shape[0]):
        for index in range(x_scales.shape[1]):
            start = index * block
            factors = w_scales[panel, index]
            decode_tile(tile, codes[panel, start : start + block], table)
            for m in range(x.shape[0]):
                high[:] = 0
                low[:] = 0
                for j in range(block):
                    upper, lower = x[m, start + j] >> LIMB, x[m, start + j] & LIMB_MASK
                    for n in range(WIDTH):
                        high[n] += upper * tile[j, n]
                        low[n] += lower * tile[j, n]
                for n in range(WIDTH):
                    sums[n] = to_odd(high[n], low[n])
                total = result[m, panel * WIDTH : (panel + 1) * WIDTH]
                accumulate(total, sums, x_scales[m, index], factors)
