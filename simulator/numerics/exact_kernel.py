"""Products of INT8 matrices of few rows, compiled by Numba: a weight is read once, as one byte.

Integer sums are exact in any order, so that the loop along K is vectorised.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled


@compiled()
def dots(activations: NDArray[np.int8], weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return (M, K) x (N, K) transposed; sums fit into 32 bits."""
    rows, depth = activations.shape
    columns = weights.shape[0]
    result = np.empty((rows, columns), dtype=np.int64)
    for n in range(columns):
        row = weights[n]
        for m in range(rows):
            x = activations[m]
            total = np.int32(0)
            for k in range(depth):
                # Left to itself Numba adds up in 64 bits, in half as many lanes.
                total = np.int32(total + np.int32(np.int32(x[k]) * np.int32(row[k])))
            result[m, n] = total
    return result
