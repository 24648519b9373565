"""Half tables and their look-ups on whole matrices, compiled by Numba.

Both halves of the table lie one after the other, the second negated, so that an address of either
sign is an index: a gather, vectorised over outputs.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.kernels import compiled

#: As in `lut`: activations of a table, entries of half a table.
GROUP, ENTRIES = 4, 8


@compiled()
def look_up_all(activations: NDArray[np.int32], addresses: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return (M, N) sums of activations (M, K); addresses (bits, K / 4, N), ~a is minus entry a."""
    rows = activations.shape[0]
    bits, groups, columns = addresses.shape
    result = np.zeros((rows, columns), dtype=np.int32)
    # Index ENTRIES + a for a in 0..7, ENTRIES + ~a = ENTRIES - 1 - a for minus.
    table = np.zeros(2 * ENTRIES, dtype=np.int32)
    for m in range(rows):
        total = result[m]
        for g in range(groups):
            for a in range(ENTRIES):
                entry = -activations[m, GROUP * g]
                for place in range(GROUP - 1):
                    value = activations[m, GROUP * g + 1 + place]
                    entry += value if a >> place & 1 else -value
                table[ENTRIES + a] = entry
                table[ENTRIES - 1 - a] = -entry
            for place in range(bits):
                for n in range(columns):
                    total[n] += table[ENTRIES + addresses[place, g, n]] << np.int32(place)
    return result
