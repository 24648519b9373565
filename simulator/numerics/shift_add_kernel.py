"""The shift-add product of INT4 weights on whole matrices, compiled by Numba.

Each partial product is the activation, shifted and masked by one bit of the weight, as in
`shift_add.product_w4a8`. Vectorised over outputs: sums over K stay in order.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled

ONE, TWO, THREE = np.int32(1), np.int32(2), np.int32(3)


@compiled()
def shift_add(activations: NDArray[np.int8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return (M, K) x (K, N) as int32; weights in two's complement."""
    rows, depth = activations.shape
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.int32)
    for m in range(rows):
        total = result[m]
        for k in range(depth):
            x = np.int32(activations[m, k])
            for n in range(columns):
                w = np.int32(weights[k, n])
                p = x & -(w & ONE)
                p += (x << ONE) & -((w >> ONE) & ONE)
                p += (x << TWO) & -((w >> TWO) & ONE)
                p -= (x << THREE) & -((w >> THREE) & ONE)
                total[n] += p
    return result
