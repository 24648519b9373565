"""Sums of bit patterns on whole matrices, compiled by Numba: vectorised over outputs."""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import float_of

ONE, ZERO = np.int32(1), np.int32(0)
#: FP32's bias and the place of its sign.
BIAS, SIGN_PLACE = 127, np.int32(31)


@compiled(carrier)
def add_patterns(
    activations: NDArray[np.int32], weights: NDArray[np.int32], limits: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return (M, K) x (K, N) of packed patterns, see `added_patterns.packed`, summed in float32.

    limits: the smallest normal and the largest pattern of a result, its mantissa bits, its bias.
    """
    rows, depth = activations.shape
    columns = weights.shape[1]
    least, largest = limits[0], limits[1]
    # A normal result becomes FP32's pattern by a shift and the difference of the two biases.
    # The mask tells the compiler that 32 bits are enough for the shift.
    places, rebias = np.int32(23 - limits[2]) & 31, np.int32((BIAS - limits[3]) << 23)
    result = np.zeros((rows, columns), dtype=np.float32)
    for m in range(rows):
        total = result[m]
        for k in range(depth):
            x = activations[m, k]
            for n in range(columns):
                w = weights[k, n]
                pattern = np.int32((x >> ONE) + (w >> ONE))
                size = np.int32((min(pattern, largest) << places) + rebias)
                kept = size if pattern >= least else ZERO
                sign = np.int32(((x ^ w) & ONE) << SIGN_PLACE)
                total[n] += float_of(np.uint32(kept | sign))  # type: ignore[call-arg]
    return result
