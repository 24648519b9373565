"""Tables of a few activations and their look-ups on whole matrices, compiled by Numba.

One kernel serves int64 and float32 operands. A shift by an alpha is a product with a power of two,
exact in both. Vectorised over outputs: sums over K stay in order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled


@compiled()
def look_up_all(
    activations: NDArray[Any], patterns: NDArray[np.uint8], powers: NDArray[Any], size: int
) -> NDArray[Any]:
    """Return (M, N) of activations (M, tables x size), in the dtype of activations and powers.

    patterns: (planes, tables, N), of 2^size. powers: (planes, groups, N); a group has tables /
    groups tables.
    """
    rows = activations.shape[0]
    planes, tables, columns = patterns.shape
    result = np.zeros((rows, columns), dtype=activations.dtype)
    table = np.zeros(1 << size, dtype=activations.dtype)
    each = tables // max(powers.shape[1], 1)
    for m in range(rows):
        total = result[m]
        for t in range(tables):
            # Entries of j activations lie at 0..2^j - 1; from the last on, each becomes two.
            table[0] = 0
            for place in range(size):
                value = activations[m, size * t + place]
                for entry in range((1 << place) - 1, -1, -1):
                    before = table[entry]
                    table[2 * entry] = before - value
                    table[2 * entry + 1] = before + value
            for plane in range(planes):
                row = patterns[plane, t]
                power = powers[plane, t // each]
                for n in range(columns):
                    total[n] += table[row[n]] * power[n]
    return result
