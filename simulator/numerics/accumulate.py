"""Accumulation of a GEMM: in parts of K, in any order of tiles, and in integers of finite width.

Floating point. K is cut into tiles; a split sums the products of its tiles, in its order, from 0:

    partial = partial + x w       total = total + partial

as split-K and stream-K kernels do, and arrays whose schedule brings tiles of K out of order.
Rounded, each time to nearest even: each product and each addition of a partial sum to the
accumulator's format; the finished partial sum to the format that it is stored in; each addition of
stored partial sums, in order of splits, to that format too. A fused multiply-add is not modelled.
NaN and infinity go through; overflow gives infinity.

Integers. An accumulator of b bits wraps or saturates after each addition, in order of K. An
addition whose sum had to be changed is an overflow; they are counted. A wrapped sum is the exact
one modulo 2^b, a saturated one depends on the order; without overflows both are exact.
Left out: products of fewer bits than they need, and stochastic rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.exact import check_operands
from simulator.numerics.mac_tree import ROUNDED, rounded
from simulator.numerics.word import Number, Scalar, larger, like, smaller

Floats = NDArray[np.float32]
Order = Sequence[Sequence[int]]

#: Widths of an integer accumulator; a DSP48 of an FPGA has 48 bits.
LEAST_BITS, MOST_BITS = 2, 48


def split_order(tiles: int, splits: int, *, interleaved: bool = False) -> list[list[int]]:
    """Return the tiles of each split, in order: consecutive ones, or every `splits`-th.

    Consecutive splits have ceil(tiles / splits) tiles each, the last ones fewer or none. Errors:
    InputError for fewer than one split or a negative number of tiles.
    """
    if splits < 1 or tiles < 0:
        raise InputError(f"splits must be >= 1 and tiles >= 0, got {splits} and {tiles}")
    if interleaved:
        return [list(range(split, tiles, splits)) for split in range(splits)]
    each = -(-tiles // splits)
    return [
        list(range(min(split * each, tiles), min((split + 1) * each, tiles)))
        for split in range(splits)
    ]


def dot_ordered(
    x: Sequence[Scalar], w: Sequence[Scalar], tile: int, order: Order, kinds: tuple[str, str]
) -> np.float32:
    """Return one output, one operation at a time, each exact in float64 and rounded once.

    kinds: formats of the accumulator and of stored partial sums. The specification.
    """
    accumulator, stored = kinds
    total: Scalar = 0.0
    for split in order:
        partial: Scalar = 0.0
        for index in split:
            part = slice(index * tile, (index + 1) * tile)
            for a, b in zip(x[part], w[part], strict=True):
                partial = rounded(partial + rounded(a * b, accumulator), accumulator)
        total = rounded(total + rounded(partial, stored), stored)
    return np.float32(float(total))


def gemm_ordered(
    activations: Floats, weights: Floats, tile: int, order: Order, kinds: tuple[str, str]
) -> Floats:
    """Return activations (M, K) x weights (N, K) transposed, accumulated in the order of tiles.

    tile: values of K in a tile, the last may be short. order: of each split, its tiles; each tile
    of K stands in it once. kinds: formats, of mac_tree.ROUNDED, of the accumulator and of stored
    partial sums. Operands are float32 and hold values of the operands' own formats. Errors:
    InputError for other dtypes, shapes that do not fit, an order that is none, unknown formats,
    operands of more than 12 significant bits (FP16 has 11) where the accumulator is not FP32.
    """
    _check_floats(activations, weights, kinds)
    _check_order(activations.shape[1], tile, order)
    from simulator.numerics.accumulate_kernel import KINDS, split_sums

    depth = activations.shape[1]
    parts = [[np.arange(t * tile, min((t + 1) * tile, depth)) for t in split] for split in order]
    ends = np.cumsum([sum(part.size for part in split) for split in parts], dtype=np.int64)
    empty = np.zeros(0, dtype=np.int64)
    places = np.concatenate([empty, *(part for split in parts for part in split)])
    x, w = activations[:, places], weights.T[places]
    accumulator, stored = (KINDS[kind] for kind in kinds)
    return split_sums(np.ascontiguousarray(x), np.ascontiguousarray(w), ends, accumulator, stored)


def held(total: Number, bits: int, *, saturate: bool) -> Number:
    """Return what an accumulator of so many bits keeps of a sum: two comparisons, or wires."""
    limit = 1 << bits - 1
    if saturate:
        return smaller(larger(total, -limit), limit - 1)
    return like(total, (int(total) + limit) % (2 * limit) - limit)


def dot_finite(
    x: Sequence[Number], w: Sequence[Number], bits: int, *, saturate: bool
) -> tuple[Number, int]:
    """Return (sum, overflows) of products in an accumulator of finite width; the specification."""
    total: Number = 0
    overflows = 0
    for a, b in zip(x, w, strict=True):
        wide = total + a * b
        total = held(wide, bits, saturate=saturate)
        overflows += int(total) != int(wide)
    return total, overflows


def gemm_finite(
    activations: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    bits: int,
    *,
    saturate: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (sums, overflows), each (M, N), of activations (M, K) x weights (N, K) transposed.

    bits: of the accumulator, 2 to 48; it wraps or, where `saturate`, saturates after each addition.
    overflows: how many additions of an output did. Errors: InputError for what is no pair of
    integer matrices, values beyond 32 bits, a width beyond 2 to 48.
    """
    check_operands(activations, weights)
    problems = [
        f"{name}: must fit into 32 bits"
        for name, array in (("activations", activations), ("weights", weights))
        if array.size and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31
    ]
    if not LEAST_BITS <= bits <= MOST_BITS:
        problems.append(f"bits must be {LEAST_BITS} to {MOST_BITS}, got {bits}")
    if problems:
        raise InputError(problems)
    from simulator.numerics.accumulate_kernel import finite_sums

    x, w = np.ascontiguousarray(activations, dtype=np.int64), weights.T.astype(np.int32, order="C")
    return finite_sums(x, w, 1 << bits - 1, saturate)


def _check_floats(activations: Floats, weights: Floats, kinds: tuple[str, str]) -> None:
    problems = refusals.dtypes(np.float32, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    problems += refusals.accumulators(kinds, ROUNDED)
    if not problems:
        problems = refusals.precision(kinds[0], activations=activations, weights=weights)
    if problems:
        raise InputError(problems)


def _check_order(depth: int, tile: int, order: Order) -> None:
    if tile < 1:
        raise InputError(f"tile must be >= 1, got {tile}")
    tiles = -(-depth // tile)
    if sorted(index for split in order for index in split) != list(range(tiles)):
        raise InputError(f"order: each tile of 0 to {tiles - 1} must stand in it once")
