"""Rounding and overflow: the two choices that every conversion to fewer bits makes, by name.

A value is rounded on the grid of a format's codes, in order of their values. `position` is exact:
how far the value lies above the code below it, as a fraction of the step to the code above.
Stochastic rounding is seeded and counter-based: element i of an array draws the same number in any
order, on any number of threads (a 32-bit mix of seed and index; Mueller's `hash32`, the "lowbias32"
constants of Wellons, 2018).
"""

from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


class Rounding(StrEnum):
    """How a value between two codes becomes one of them."""

    NEAREST_EVEN = "nearest_even"
    HALF_AWAY = "half_away"
    HALF_UP = "half_up"
    TOWARD_ZERO = "toward_zero"
    FLOOR = "floor"
    STOCHASTIC = "stochastic"


class Overflow(StrEnum):
    """What a value beyond the largest finite code becomes."""

    SATURATE = "saturate"
    INF = "inf"
    NAN = "nan"


#: Bits of the random number that stochastic rounding compares with: probabilities are multiples of
#: 2^-24.
RANDOM_BITS = 24
#: Odd factors of the mix: of the seed (the golden ratio's), and of the two rounds.
SEED_MIX, FIRST_MIX, SECOND_MIX = 0x9E3779B9, 0x21F0AAAD, 0xD35A2D97


def seed_word(seed: int) -> int:
    """Return the 32 bits that a seed adds to every index; any integer is a seed."""
    return seed * SEED_MIX & 0xFFFFFFFF


def random_24(seed: int, index: int) -> int:
    """Return the 24-bit random number of one element; indices repeat after 2^32."""
    x = (index & 0xFFFFFFFF) ^ seed_word(seed)
    x = ((x ^ x >> 16) * FIRST_MIX) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * SECOND_MIX) & 0xFFFFFFFF
    return (x ^ x >> 15) >> 8


def rounds_up(
    position: Fraction, *, odd: bool, negative: bool, rounding: Rounding, random: int = 0
) -> bool:
    """Tell whether a magnitude goes to the code above it rather than to the one below.

    position: 0 <= position < 1 between the two; odd: the code below is; negative: the sign of the
    value, of which only the magnitude is rounded here; random: `random_24`, for STOCHASTIC.
    """
    half = Fraction(1, 2)
    match rounding:
        case Rounding.NEAREST_EVEN:
            return position > half or (position == half and odd)
        case Rounding.HALF_AWAY:
            return position >= half
        case Rounding.HALF_UP:
            return position > half or (position == half and not negative)
        case Rounding.TOWARD_ZERO:
            return False
        case Rounding.FLOOR:
            return negative and position > 0
        case Rounding.STOCHASTIC:
            return random < position * (1 << RANDOM_BITS)
        case _:
            raise ValueError(f"unknown rounding {rounding!r}")


def random_24_all(seed: int, count: int) -> NDArray[np.uint32]:
    """Return `random_24` of the elements 0..count-1 of an array."""
    x = np.arange(count).astype(np.uint32) ^ np.uint32(seed_word(seed))
    x = (x ^ x >> np.uint32(16)) * np.uint32(FIRST_MIX)
    x = (x ^ x >> np.uint32(15)) * np.uint32(SECOND_MIX)
    return (x ^ x >> np.uint32(15)) >> np.uint32(8)


def rounds_up_all(
    position: NDArray[np.float64],
    odd: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    rounding: Rounding,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Return `rounds_up` of arrays of one shape; positions are exact as far as they matter."""
    up: NDArray[np.bool_]
    match rounding:
        case Rounding.NEAREST_EVEN:
            up = (position > 0.5) | ((position == 0.5) & odd)
        case Rounding.HALF_AWAY:
            up = position >= 0.5
        case Rounding.HALF_UP:
            up = (position > 0.5) | ((position == 0.5) & ~negative)
        case Rounding.TOWARD_ZERO:
            up = np.zeros(position.shape, dtype=bool)
        case Rounding.FLOOR:
            up = negative & (position > 0)
        case Rounding.STOCHASTIC:
            random = random_24_all(seed, position.size).reshape(position.shape)
            up = random < position * (1 << RANDOM_BITS)
        case _:
            raise ValueError(f"unknown rounding {rounding!r}")
    return up
