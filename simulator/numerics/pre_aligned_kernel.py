"""Integer products of aligned activations, compiled by Numba: vectorised over outputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled


@compiled()
def add_up(
    integers: NDArray[np.signedinteger[Any]],
    weights: NDArray[np.int8],
    sums: NDArray[np.signedinteger[Any]],
) -> None:
    """Add (M, K) x (K, N) to `sums`, which hold it: int32 or int64, as the integers are."""
    rows, depth = integers.shape
    columns = weights.shape[1]
    for m in range(rows):
        total = sums[m]
        for k in range(depth):
            x = integers[m, k]
            for n in range(columns):
                # Numba multiplies in 64 bits; what is stored takes the low bits of both alone.
                total[n] += x * weights[k, n]
