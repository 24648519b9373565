"""INT4 weights that become INT8 before an integer multiplier, without sign extension.

COMET (Liu et al., arXiv 2410.12168) moves a nibble to the upper half of a byte and leaves zeros
below: the byte, read in two's complement, is 16 w. The scale is divided by 16 instead, which is
exact in FP16 unless it becomes subnormal. Two codes of a byte cost a mask and a shift.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.word import Number


def high_nibble(code: Number) -> Number:
    """Return the byte, as a signed integer, of the 4-bit pattern of a weight: 16 w."""
    byte = int(code) % 16 << 4
    return byte - 256 if byte >= 128 else byte


def unpacked(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return 16 w of two INT4 weights a byte, the lower nibble first: (..., n) gives (..., 2 n).

    Errors: InputError for anything but uint8.
    """
    if packed.dtype != np.uint8 or packed.ndim == 0:
        raise InputError(f"packed: expected an array of uint8, got {packed.dtype}")
    both = np.stack([packed << np.uint8(4), packed & np.uint8(0xF0)], axis=-1)
    return both.view(np.int8).reshape(*packed.shape[:-1], -1)
