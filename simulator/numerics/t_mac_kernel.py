"""T-MAC's tables and look-ups on whole matrices, compiled by Numba: vectorised over outputs.

Two neighbouring tables become one of 256 sums (or halves), at which a byte of eight weights' bits
points: the first addition of `t_mac.sum_16` and of `t_mac.averaged` is in the table.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

#: As in `t_mac`: activations of a table.
GROUP = 4
#: Outputs that are worked on together: their sums stay in the first cache.
BLOCK = 512


@compiled()
def exact_sums(activations: NDArray[np.int32], indices: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return (M, N) sums of activations (M, K); indices (bits, K / 8, N)."""
    rows = activations.shape[0]
    bits, pairs, columns = indices.shape
    result = np.zeros((rows, columns), dtype=np.int32)
    table = np.zeros((2, 16), dtype=np.int32)
    both = np.zeros(256, dtype=np.int32)
    for m in range(rows):
        total = result[m]
        bias = np.int32(0)
        for p in range(pairs):
            for half in range(2):
                first = 8 * p + GROUP * half
                for index in range(16):
                    entry = np.int32(0)
                    for k in range(GROUP):
                        value = activations[m, first + k]
                        entry += value if index >> k & 1 else -value
                    table[half, index] = entry
            bias += table[0, 0] + table[1, 0]
            for index in range(256):
                both[index] = table[0, index & 15] + table[1, index >> 4]
            for place in range(bits):
                for n in range(columns):
                    total[n] += both[indices[place, p, n]] << np.int32(place)
        for n in range(columns):
            # Twice the sum, thus even.
            total[n] = (total[n] + bias) >> np.int32(1)
    return result


@register_jitable
def fill_table(x: NDArray[np.float32], first: int, table: NDArray[np.float32]) -> None:
    """Set the 16 signed sums of four activations, each addition rounded."""
    for index in range(1, 16, 2):
        entry = x[first]
        for k in range(1, GROUP):
            value = x[first + k]
            entry = entry + value if index >> k & 1 else entry - value
        table[index] = entry
        table[15 - index] = np.float32(0) - entry


@compiled()
def row_tables(
    activations: NDArray[np.float32], inverses: NDArray[np.float32], tables: int, fast: bool
) -> NDArray[np.int32]:
    """Return pairs (groups, tables / 2, 256) of the quantised tables of a row (K).

    inverses (groups) of the scales that `tables` share.
    """
    groups = inverses.size
    both = np.zeros((groups, tables // 2, 256), dtype=np.int32)
    table = np.zeros(16, dtype=np.float32)
    codes = np.zeros((2, 16), dtype=np.int32)
    carry = np.int32(fast)
    for t in range(groups * tables):
        group, place = t // tables, t % tables
        fill_table(activations, GROUP * t, table)
        for index in range(16):
            codes[t % 2, index] = np.int32(np.rint(table[index] * inverses[group]))
        if t % 2:
            for index in range(256):
                total = codes[0, index & 15] + codes[1, index >> 4]
                both[group, place // 2, index] = total + carry >> carry
    return both


@register_jitable
def sum_16(
    both: NDArray[np.int32], indices: NDArray[np.uint8], first: int, total: NDArray[np.int32]
) -> int:
    """Set the sums of looked-up pairs, in 16 bits that wrap; return how many overflowed."""
    width = min(BLOCK, indices.shape[1] - first)
    overflows = 0
    for n in range(width):
        total[n] = both[0, indices[0, first + n]]
    for p in range(1, both.shape[0]):
        entries, row = both[p], indices[p, first : first + width]
        over = 0
        for n in range(width):
            exact = total[n] + entries[row[n]]
            kept = np.int32(np.int16(exact))
            over += exact != kept
            total[n] = kept
        overflows += over
    return overflows


@register_jitable
def averaged(
    both: NDArray[np.int32],
    indices: NDArray[np.uint8],
    first: int,
    level: NDArray[np.int32],
) -> None:
    """Set the trees of rounding-halving additions of looked-up pairs, in the first row."""
    width = min(BLOCK, indices.shape[1] - first)
    count = both.shape[0]
    for p in range(count):
        entries, row, out = both[p], indices[p, first : first + width], level[p]
        for n in range(width):
            out[n] = entries[row[n]]
    while count > 1:
        count //= 2
        for p in range(count):
            left, right, out = level[2 * p], level[2 * p + 1], level[p]
            for n in range(width):
                out[n] = left[n] + right[n] + np.int32(1) >> np.int32(1)


@compiled()
def row_plane(
    both: NDArray[np.int32],
    indices: NDArray[np.uint8],
    scales: NDArray[np.float32],
    offsets: NDArray[np.float32],
    fast: bool,
    level: NDArray[np.int32],
    out: NDArray[np.float32],
) -> int:
    """Add up one plane over the activation groups of one weight group; return overflows.

    both, scales, offsets: of the groups; indices (groups x tables / 2, N); level (tables / 2,
    BLOCK): to work in; out (N), zero before.
    """
    groups, half, _ = both.shape
    total = level[0]
    overflows = 0
    for first in range(0, out.size, BLOCK):
        width = min(BLOCK, out.size - first)
        for a in range(groups):
            found = indices[a * half : (a + 1) * half]
            if fast:
                averaged(both[a], found, first, level)
            else:
                overflows += sum_16(both[a], found, first, total)
            for n in range(width):
                out[first + n] += np.float32(total[n]) * scales[a] + offsets[a]
    return overflows
