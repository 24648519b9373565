"""What operands look like to an energy model: how many bits are 1, how many values are 0.

A bit-serial unit skips zeros, an AND-popcount unit's adders see the ones, and switching in a
multiplier follows both. Codes are counted as they are stored: integers in two's complement (ternary
ones as two bits), anything else by its bit pattern; scales and zero points are not operands of the
multipliers and are left out. A value is 0 where what it stands for is 0, -0 included.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.formats.format import ceil_of


@dataclass(frozen=True)
class Activity:
    """Fractions from 0 to 1 of an operand: stored bits that are 1, and values that are 0."""

    bit_density: float
    zero_fraction: float


def activity(form: Format, encoded: Encoded | NDArray[Any]) -> Activity:
    """Return the activity of what `form.encode` gave; both fractions are 0 of nothing."""
    codes = encoded.codes if isinstance(encoded, Encoded) else encoded
    if not codes.size:
        return Activity(0.0, 0.0)
    bits = ceil_of(form.value_bits)
    stored = codes.astype(np.int64) & ((1 << bits) - 1)
    ones = int(np.bitwise_count(stored).sum())
    zeros = int(np.count_nonzero(form.decode(encoded) == 0))
    return Activity(ones / (bits * codes.size), zeros / codes.size)
