"""BitMoD's cycles on whole matrices, compiled by Numba: vectorised over outputs.

Everything is int32, as only then the loops become vector instructions.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import float_of

#: As in `bit_mod`.
LANES, EXTRA, SCALE_BITS, BIAS = 4, 3, 8, 25
#: Exponents of what takes no part, and of activations of 0: below all others.
NONE, NEVER = np.int32(0), np.int32(-100)
#: Shifts that leave nothing but the sticky bit of 14 bits.
ALL_OUT = np.int32(31)


@register_jitable
def parts(bits: np.uint16) -> tuple[np.int32, np.int32]:
    """Return (signed significand, exponent) of an FP16 number's bits."""
    field = np.int32(bits) >> 10 & 31
    size = (np.int32(bits) & 1023) | (1024 if field else 0)
    exponent = np.int32(field if field else 1) if size else NEVER
    return np.int32(-size if bits >> 15 else size), exponent


@register_jitable
def lane_exponent(exponent: np.int32, term: np.int32) -> np.int32:
    """Return the exponent of a product; terms are 0 or +-(exponent + 1)."""
    return np.int32(exponent + np.int32(abs(term)) - np.int32(1)) if term else NONE


@register_jitable
def lane(significand: np.int32, term: np.int32, shift: np.int32) -> np.int32:
    """Return the aligned product of a lane, the last bit sticky."""
    wide = np.int32(np.int32(abs(significand)) << EXTRA)
    by = min(shift, ALL_OUT)
    kept = np.int32(wide >> by)
    size = np.int32(kept | np.int32(np.int32(kept << by) != wide))
    negative = np.int32(significand ^ term) < np.int32(0)
    signed = np.int32(-size) if negative else size
    return signed if term else NONE


@compiled(carrier)
def group_sums(
    activations: NDArray[np.uint16], terms: NDArray[np.int8], shifts: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return (M, N) sums of one group; activations (M, K) as bits, terms (terms, K, N), bsigs.

    K is a multiple of LANES.
    """
    rows = activations.shape[0]
    count, depth, columns = terms.shape
    result = np.zeros((rows, columns), dtype=np.float32)
    for m in range(rows):
        total = result[m]
        for k in range(0, depth, LANES):
            x0, e0 = parts(activations[m, k])
            x1, e1 = parts(activations[m, k + 1])
            x2, e2 = parts(activations[m, k + 2])
            x3, e3 = parts(activations[m, k + 3])
            for place in range(count):
                moved = np.int32(127 - BIAS - EXTRA + shifts[place])
                r0, r1 = terms[place, k], terms[place, k + 1]
                r2, r3 = terms[place, k + 2], terms[place, k + 3]
                for n in range(columns):
                    t0, t1 = np.int32(r0[n]), np.int32(r1[n])
                    t2, t3 = np.int32(r2[n]), np.int32(r3[n])
                    p0, p1 = lane_exponent(e0, t0), lane_exponent(e1, t1)
                    p2, p3 = lane_exponent(e2, t2), lane_exponent(e3, t3)
                    top = max(max(p0, p1), max(p2, p3), NONE)
                    inner = np.int32(lane(x0, t0, top - p0) + lane(x1, t1, top - p1))
                    inner += np.int32(lane(x2, t2, top - p2) + lane(x3, t3, top - p3))
                    # Two to the exponent, as the bits of a float32.
                    unit = float_of(np.uint32((top + moved) << 23))  # type: ignore[call-arg, var-annotated]
                    total[n] += np.float32(np.int32(inner)) * unit
    return result


@compiled()
def rescale(
    total: NDArray[np.float32], scales: NDArray[np.uint8], out: NDArray[np.float32]
) -> None:
    """Add total (M, N) x scales (N) to out, bit by bit, each addition rounded."""
    for m in range(total.shape[0]):
        for n in range(total.shape[1]):
            result = np.float32(0)
            for bit in range(SCALE_BITS):
                kept = scales[n] >> (SCALE_BITS - 1 - bit) & 1
                result = result + result + (total[m, n] if kept else np.float32(0))
            out[m, n] += result
