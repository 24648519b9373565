"""Bit Fusion: a unit of 16 bricks of 2 x 2 bits that fuse to products of wider operands.

Sharma et al., "Bit Fusion" (ISCA 2018, arXiv 1712.01507). An operand of 2, 4 or 8 bits is 2-bit
digits, the highest signed, the others not. A brick multiplies two digits, each extended to three
signed bits by an AND gate. Bricks stand in 4 x 4: along one side the digits of activations, along
the other those of weights. Four fuse to 4 x 4 bits, four of these to 8 x 8: in each of both trees

    a + b 2^s [x is fused] + c 2^s [w is fused] + d 2^s [x is fused] 2^s [w is fused],  s = 2, 4

A side whose operand has fewer digits than places takes several values: 16 products of 2 x 2 bits a
pass, 4 of 4 x 4, 2 of 4 x 8, 1 of 8 x 8, all to one partial sum. Exact.

assumed: shifts are multiplexers (they depend on the operands' bits); an adder's result keeps the
bits that the largest sum has, 9 of four bricks and 17 of all, unsigned operands included. Left out:
operands of 16 bits (four passes of the unit and shifts of 8 in time).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.exact import gemm_exact
from simulator.numerics.word import Number, like, masked, noted, shifted_where

#: Bits of a digit, bricks along each side of a unit, bits of operands that a unit takes.
DIGIT, SIDE = 2, 4
OPERAND_BITS = (2, 4, 8)
#: Bits of a brick's product (-6 to 9), of the sum of four bricks, of the sum of a unit.
PRODUCT_BITS, FOUR_BITS, UNIT_BITS = 5, 9, 17

#: A digit, and whether it is signed.
Digit = tuple[Number, bool]


def digits(word: Number, bits: int) -> list[Digit]:
    """Return the digits of a word in two's complement, the lowest first: wires."""
    count = bits // DIGIT
    return [
        (like(word, int(word) >> DIGIT * place & 3, DIGIT), place == count - 1)
        for place in range(count)
    ]


def brick(x: Digit, w: Digit) -> Number:
    """Return the product of two digits: a signed multiplier of three by three bits."""
    # Digits that do not count are few.
    plain = isinstance(x[0], int) and isinstance(w[0], int)
    return _plain_brick(x, w) if plain else _brick(x, w)


def _brick(x: Digit, w: Digit) -> Number:
    product = _extended(*x) * _extended(*w)
    return like(product, int(product), PRODUCT_BITS)


_plain_brick = lru_cache(maxsize=64)(_brick)


def _extended(digit: Number, signed: bool) -> Number:
    """Return a digit as a signed integer of three bits: its highest bit is a sign or is not."""
    sign = masked(like(digit, int(digit) >> 1, 1), int(signed))
    return like(digit, int(digit) - 4 * int(sign), DIGIT + 1)


def fused(parts: Sequence[Number], places: int, x: bool, w: bool, bits: int) -> Number:
    """Return the sum of four parts, shifted by `places` where a side's digits belong together.

    parts: the lower ones of both sides, x's upper one, w's upper one, the upper ones of both.
    """
    lowest, upper_x, upper_w, upper = parts
    upper = shifted_where(shifted_where(upper, places, x), places, w)
    left = lowest + shifted_where(upper_x, places, x)
    total = left + (shifted_where(upper_w, places, w) + upper)
    return like(total, int(total), bits)


def unit(x: Sequence[Sequence[Digit]], w: Sequence[Sequence[Digit]]) -> Number:
    """Return the sum of a pass: of as many products of values, given as digits, as it takes."""
    x_digits, w_digits = len(x[0]), len(w[0])

    def product(column: int, row: int) -> Number:
        value = column // x_digits * (SIDE // w_digits) + row // w_digits
        return brick(x[value][column % x_digits], w[value][row % w_digits])

    def four(column: int, row: int) -> Number:
        parts = [product(column + i, row + j) for j in (0, 1) for i in (0, 1)]
        return fused(parts, DIGIT, x_digits > 1, w_digits > 1, FOUR_BITS)

    fours = [four(column, row) for row in (0, 2) for column in (0, 2)]
    return fused(fours, 2 * DIGIT, x_digits > 2, w_digits > 2, UNIT_BITS)


def dot_fused_bricks(
    x: Sequence[Number], w: Sequence[Number], x_bits: int, w_bits: int, start: Number = 0
) -> Number:
    """Return start + the dot product, in passes of a unit; bits are of OPERAND_BITS."""
    values = SIDE * SIDE // (x_bits // DIGIT * (w_bits // DIGIT))
    total = start
    for first in range(0, len(x), values):
        part = slice(first, first + values)
        taken = _filled(x[part], x_bits, values), _filled(w[part], w_bits, values)
        found = unit(*taken)
        total = total + noted(found, "pass", int(found))
    return total


def _filled(words: Sequence[Number], bits: int, values: int) -> list[list[Digit]]:
    """Return the digits of so many values: of 0 where there are fewer."""
    zeros = [like(words[0], 0)] * (values - len(words))
    return [digits(word, bits) for word in (*words, *zeros)]


def gemm_bricks(
    activations: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    activation_bits: int,
    weight_bits: int,
) -> NDArray[np.int64]:
    """Return activations (M, K) x weights (N, K) transposed, a product of digits at a time.

    Bits are of OPERAND_BITS. Errors: InputError for what is no pair of integer matrices.
    """
    x, w = _planes(activations, activation_bits), _planes(weights, weight_bits)
    total = np.zeros((len(activations), len(weights)), dtype=np.int64)
    for i, x_plane in enumerate(x):
        for j, w_plane in enumerate(w):
            total += gemm_exact(x_plane, w_plane) << DIGIT * (i + j)
    return total


def _planes(values: NDArray[np.integer[Any]], bits: int) -> list[NDArray[np.int8]]:
    """Return the digits of all values, the lowest first, the highest signed."""
    wide, count = values.astype(np.int16), bits // DIGIT
    lower = [(wide >> DIGIT * place & 3).astype(np.int8) for place in range(count - 1)]
    return [*lower, (wide >> DIGIT * (count - 1)).astype(np.int8)]
