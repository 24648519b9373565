"""FIGLUT: sums of four aligned FP16 activations from half a table, a bit of the weights at a time.

Park et al., "FIGLUT" (HPCA 2025, arXiv 2503.06862), the variant with integers: activations are
aligned as in FIGNA (`pre_aligned`), so that tables and sums are integers. A generator beside the
array makes the half table of four; flip-flops hold it for the read-accumulate units that share it.
Each takes a key of four weights' bits, +1 or -1: its first bit is the sign, and where that is 1 the
unit inverts the other three (the decoder) and what it reads. Weights are uniform, the binary code
whose scales are powers of two:

    q - z = (sum_j 2^j b_j - z') / 2,   b_j = +-1,   z' of `lut.reinterpreted`

b passes add up 2^j LUT_j; z' times the sum of the activations is taken away. All integers are
exact; rounded are the activations, toward zero, and the sum of a group, once, to FP32 (to nearest
even): the numbers of FIGNA, whose kernel computes them. Its product with the scale, then the
addition of groups, each round to FP32.

assumed: four activations a table, the aligned width; each entry is summed by itself, as in `lut`.
Left out: scales of planes that are no powers of two, which take a product a plane and output; the
variant that adds up floats.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats.rounding import Rounding
from simulator.numerics.lut import ENTRIES, GROUP, half_table, reinterpreted
from simulator.numerics.pre_aligned import align, gemm_pre_aligned, to_float32
from simulator.numerics.word import Number, bit, like, looked_up, noted, stored

Floats = NDArray[np.float32]


def read(table: Sequence[Number], key: int) -> Number:
    """Return what a key reads: its sign inverts the address and the entry, with a carry."""
    sign = key & 1
    address = like(table[0], key >> 1, GROUP - 1) ^ (ENTRIES - 1 if sign else 0)
    entry = looked_up(table, int(address))
    # The carry of an inverted entry is that of the adder.
    return noted(entry, "xor", -int(entry) if sign else int(entry))


def dot_tables(
    integers: Sequence[Number], weights: Sequence[int], bits: int, start: Number = 0
) -> Number:
    """Return start + sum of i_k q'_k, q' = 2 q - (2^b - 1): b reads for each four activations.

    The length is a multiple of GROUP; weights are unsigned codes of `bits` bits.
    """
    total = start
    for first in range(0, len(integers), GROUP):
        table = stored(half_table(list(integers[first : first + GROUP])))
        four = weights[first : first + GROUP]
        for place in range(bits):
            entry = read(table, sum(bit(q, place) << k for k, q in enumerate(four)))
            # A pass is one bit of the weights.
            total = total + (noted(entry, "pass", int(entry)) << place)
    return total


def dot_group(
    codes: Sequence[Number], weights: Sequence[int], zero: int, bits: int, width: int
) -> float:
    """Return the dot product of FP16 bits with q - zero of one group, as FP32: the specification.

    width: of an aligned activation, without its sign.
    """
    padding = [0] * (-len(codes) % GROUP)
    integers, unit = align([*codes, *padding], width, Rounding.TOWARD_ZERO)
    twice = dot_tables(integers, [*weights, *padding], bits)
    _, moved = reinterpreted(1.0, zero, bits)
    return to_float32(twice - sum(integers) * moved, unit - 1)


def gemm_figlut(
    activations: NDArray[np.float16],
    weights: NDArray[np.integer[Any]],
    scales: Floats,
    zeros: NDArray[np.integer[Any]],
    group: int,
    width: int,
) -> Floats:
    """Return activations (M, K) x dequantised weights (N, K) transposed; see the module.

    weights: unsigned codes q of scale (q - zero), of at most 4 bits; scales, zeros: (N, groups).
    Errors: InputError as `gemm_pre_aligned` says.
    """
    total = np.zeros((len(activations), len(weights)), dtype=np.float32)
    for index in range(scales.shape[1]):
        part = slice(index * group, (index + 1) * group)
        moved = (weights[:, part] - zeros[:, index, None]).astype(np.int8)
        total += gemm_pre_aligned(activations[:, part], moved, width) * scales[:, index]
    return total
