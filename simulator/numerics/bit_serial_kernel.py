"""AND or XOR of bit planes with a count of ones, compiled by Numba."""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

Planes = NDArray[np.uint64]

_PAIRS, _NIBBLES, _BYTES = (
    np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F),
)  # fmt: skip
_SUM = np.uint64(0x0101010101010101)


@register_jitable
def ones(x: np.uint64) -> np.int64:
    """Return the ones of a word, added up in pairs, nibbles and bytes (LLVM makes it popcnt)."""
    x -= (x >> np.uint64(1)) & _PAIRS
    x = (x & _NIBBLES) + ((x >> np.uint64(2)) & _NIBBLES)
    x = (x + (x >> np.uint64(4))) & _BYTES
    return np.int64((x * _SUM) >> np.uint64(56))


@compiled()
def and_popcount(
    x: Planes, w: Planes, x_factors: NDArray[np.int64], w_factors: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return sum over planes of factors x popcount(x AND w), for planes (bits, rows, words)."""
    result = np.zeros((x.shape[1], w.shape[1]), dtype=np.int64)
    for m in range(x.shape[1]):
        for n in range(w.shape[1]):
            total = np.int64(0)
            for i in range(x.shape[0]):
                for j in range(w.shape[0]):
                    count = np.int64(0)
                    for word in range(x.shape[2]):
                        count += ones(x[i, m, word] & w[j, n, word])
                    total += x_factors[i] * w_factors[j] * count
            result[m, n] = total
    return result


@compiled()
def xor_popcount(x: Planes, w: Planes, depth: int) -> NDArray[np.int64]:
    """Return sum over planes of 2^(i+j) (depth - 2 popcount(x XOR w)); padding bits are equal."""
    result = np.zeros((x.shape[1], w.shape[1]), dtype=np.int64)
    for m in range(x.shape[1]):
        for n in range(w.shape[1]):
            total = np.int64(0)
            for i in range(x.shape[0]):
                for j in range(w.shape[0]):
                    count = np.int64(0)
                    for word in range(x.shape[2]):
                        count += ones(x[i, m, word] ^ w[j, n, word])
                    total += (np.int64(depth) - 2 * count) << np.int64(i + j)
            result[m, n] = total
    return result
