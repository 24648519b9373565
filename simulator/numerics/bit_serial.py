"""Products plane by plane: two's complement, bipolar and ternary operands as rows of bits.

- ABQ-LLM (Zeng et al., arXiv 2408.08554): y = sum_ij c_ij popcount(X_i AND W_j), c_ij = 2^(i+j),
  negative where exactly one of the two planes is a sign. p x q passes for p and q bits.
- Bipolar integers (APT-LLM, arXiv 2508.19087; `formats.integer`): every bit is +1 or -1, so that
  all planes are alike: y = sum_ij 2^(i+j) (K - 2 popcount(X_i XOR W_j)).
- Ternary weights (BitNet b1.58, Ma et al. 2024): add, subtract or skip; no multiplication.

All are exact; the golden identities 3 and 6 of the reference. On counting operands a pass is over
all of K, in words of 64 bits. Left out: packing for a
machine's own bit-matrix instructions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.exact import check_operands
from simulator.numerics.word import Number, masked, noted, plane

#: Bits that one word of a plane holds.
WORD_BITS = 64


def plane_weight(place: int, bits: int, *, signed: bool) -> int:
    """Return what a plane of a two's complement number counts."""
    return -(1 << place) if signed and place == bits - 1 else 1 << place


def dot_planes(
    x: Sequence[Number],
    w: Sequence[Number],
    x_bits: int,
    w_bits: int,
    start: Number = 0,
    *,
    signed: bool = True,
) -> int:
    """Return start + the dot product of two vectors by the AND of bits, plane by plane."""
    total = start
    x_planes, w_planes = _word_planes(x, x_bits), _word_planes(w, w_bits)
    for i, x_words in enumerate(x_planes):
        for j, w_words in enumerate(w_planes):
            ones = _ones([a & b for a, b in zip(x_words, w_words, strict=True)])
            sign = plane_weight(i, x_bits, signed=signed) * plane_weight(j, w_bits, signed=signed)
            # The adder subtracts where one of the planes is a sign.
            total = total + (ones << i + j) if sign > 0 else total - (ones << i + j)
    return int(total)


def dot_bipolar(
    x: Sequence[Number], w: Sequence[Number], x_bits: int, w_bits: int, start: Number = 0
) -> int:
    """Return start + the dot product of two vectors of bipolar codes by the XOR of bits."""
    total = start
    x_planes, w_planes = _word_planes(x, x_bits), _word_planes(w, w_bits)
    for i, x_words in enumerate(x_planes):
        for j, w_words in enumerate(w_planes):
            unlike = _ones([a ^ b for a, b in zip(x_words, w_words, strict=True)])
            total = total + (len(x) - (unlike << 1) << i + j)
    return int(total)


def _word_planes(codes: Sequence[Number], bits: int) -> list[list[Number]]:
    """Return each plane of a vector as words of WORD_BITS."""
    parts = [codes[start : start + WORD_BITS] for start in range(0, len(codes), WORD_BITS)]
    return [[plane(part, place) for part in parts] for place in range(bits)]


def _ones(words: list[Number]) -> Number:
    """Return how many bits of a pair of planes are 1: one pass over it."""
    total: Number = 0
    for word in words:
        total = total + word.bit_count()
    return noted(total, "pass", int(total))


def ternary_product(weight: int, activation: Number) -> Number:
    """Return -activation, 0 or activation: one inversion, one mask, the carry of the sum."""
    kept = masked(activation, int(weight != 0))
    # Minus is the inverted word and a carry in: the exclusive or is all that the element adds.
    return (kept ^ (-1 if weight < 0 else 0)) + (1 if weight < 0 else 0)


def planes(codes: NDArray[np.integer[Any]], bits: int) -> NDArray[np.uint64]:
    """Return bit planes (bits, rows, words) of codes (rows, K): bit k % 64 of word k // 64."""
    rows, depth = codes.shape
    words = -(-depth // WORD_BITS)
    padded = np.zeros((bits, rows, words * WORD_BITS), dtype=np.uint8)
    wide = codes.astype(np.int64)
    for place in range(bits):
        padded[place, :, :depth] = wide >> place & 1
    packed = np.packbits(padded, axis=2, bitorder="little")
    return packed.reshape(bits, rows, words * 8).view("<u8").reshape(bits, rows, words)


def gemm_planes(
    activations: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    activation_bits: int,
    weight_bits: int,
    *,
    signed: bool = True,
) -> NDArray[np.int64]:
    """Return activations (M, K) x weights (N, K) transposed by AND and popcount, exactly.

    Errors: InputError for what is no pair of integer matrices, values that their bits do not hold.
    """
    check_operands(activations, weights)
    _check_range("activations", activations, activation_bits, signed)
    _check_range("weights", weights, weight_bits, signed)
    from simulator.numerics.bit_serial_kernel import and_popcount

    x, w = planes(activations, activation_bits), planes(weights, weight_bits)
    factors = [
        np.array([plane_weight(i, bits, signed=signed) for i in range(bits)], dtype=np.int64)
        for bits in (activation_bits, weight_bits)
    ]
    return and_popcount(x, w, *factors)


def gemm_bipolar(
    activations: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    activation_bits: int,
    weight_bits: int,
) -> NDArray[np.int64]:
    """Return the product of matrices of bipolar codes, by XOR and popcount, exactly.

    Errors: as `gemm_planes`; codes are unsigned.
    """
    check_operands(activations, weights)
    _check_range("activations", activations, activation_bits, False)
    _check_range("weights", weights, weight_bits, False)
    from simulator.numerics.bit_serial_kernel import xor_popcount

    x, w = planes(activations, activation_bits), planes(weights, weight_bits)
    return xor_popcount(x, w, activations.shape[1])


def _check_range(name: str, values: NDArray[Any], bits: int, signed: bool) -> None:
    if not 1 <= bits <= 16:
        raise InputError(f"{name}: bits must be 1 to 16, got {bits}")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if values.size and not low <= int(values.min()) <= int(values.max()) <= high:
        raise InputError(f"{name}: {bits} bits hold {low} to {high}")
