"""MAC trees and sequential accumulation in FP16, BF16 or FP32, rounding at every operation.

The processing unit of a DRAM bank (Lee et al., "Hardware Architecture and Software Stack for PIM
Based on Commercial DRAM Technology", ISCA 2021; He et al., "Newton", MICRO 2020) multiplies the
lanes of one burst, adds the products in a tree and accumulates the sum, burst by burst in the order
of the bank:

    acc = acc + (((p0 + p1) + (p2 + p3)) + ...)

With one lane it is a sequential accumulation. Products, tree and accumulator round to formats of
their own, from narrow to wide: the kernel adds in float32, and wider values would round twice on
their way to FP16 or BF16. For the same reason products in FP16 or BF16 are of values of at most 12
significant bits, and those in BF16 below 2^-126 of at most 8. FP32 products are rounded to FP32; a
fused multiply-add is not modelled here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import copysign, frexp, inf, isfinite, ldexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.word import Real, Scalar, counting

#: Formats that an operation may round to.
ROUNDED = ("fp16", "bf16", "fp32")
#: Formats of the trees of a `Bank`, and the significant bits that its operands have at most.
_BANKED = {"fp16": 12, "bf16": 8}
#: What rounds to infinity in float32.
_FP32_LIMIT = 2.0**128 - 2.0**103


@dataclass(frozen=True, eq=False)
class Bank:
    """Weights (columns, depth) laid out as a bank streams them, once for many activations.

    kind: what the trees of the bank round to, "fp16" or "bf16". tiles: (columns / 64, depth / 64,
    64 x 64), padded with zeros; K comes first in a tile.
    """

    kind: str
    tiles: NDArray[np.float32]
    columns: int
    depth: int

    @classmethod
    def of(cls, weights: NDArray[np.float32], kind: str) -> "Bank":
        """Lay out weights (N, K), float32 that hold values of the operands' own format.

        Errors: InputError for other dtypes, shapes and kinds, values of too many significant bits.
        """
        problems = refusals.accumulators([kind], _BANKED)
        problems += refusals.dtypes(np.float32, weights=weights)
        if weights.ndim != 2:
            problems.append(f"weights: expected (N, K), got shape {weights.shape}")
        problems = problems or refusals.significant_bits(_BANKED[kind], kind, weights=weights)
        if problems:
            raise InputError(problems)
        from simulator.numerics.mac_tree_kernel import TILE, turned

        return cls(kind, turned(_padded(weights, TILE, TILE)), *weights.shape)


def rounded_one(value: float, kind: str) -> np.float32:
    """Return a float64 rounded once to a format, as float32; to nearest even."""
    match kind:
        case "fp32":
            beyond = abs(value) >= _FP32_LIMIT
            return np.float32(copysign(inf, value) if beyond else value)
        case "fp16":
            return _rounded(value, 11, -13, 2.0**16)
        case "bf16":
            # float32 first would round twice.
            return _rounded(value, 8, -125, 2.0**128)
        case _:
            raise InputError(refusals.accumulators([kind], ROUNDED))


def _rounded(value: float, bits: int, least: int, beyond: float) -> np.float32:
    """Round to `bits` of a significand; exponents (of frexp) below `least` are subnormal."""
    if value == 0 or not isfinite(value):
        return np.float32(value)
    _, exponent = frexp(value)
    step = ldexp(1.0, max(exponent, least) - bits)
    size = abs(round(value / step) * step)
    return np.float32(copysign(size if size < beyond else inf, value))


#: The same for counting operands too.
rounded = counting(rounded_one)


def dot_tree(
    x: Iterable[Any], w: Iterable[Any], lanes: int, kinds: tuple[str, str, str]
) -> np.float32:
    """Return the dot product of two vectors, burst by burst; kinds: of product, tree, accumulator.

    The specification: one operation at a time, each exact in float64 and rounded once. A last burst
    is padded with zeros, whose operations do not count.
    """
    product, tree, accumulator = kinds
    left, right = ([v if isinstance(v, Real) else float(v) for v in row] for row in (x, w))
    total: Scalar = 0.0
    for start in range(0, len(left), lanes):
        pairs = zip(left[start : start + lanes], right[start : start + lanes], strict=True)
        level = [rounded(a * b, product) for a, b in pairs]
        level += [0.0] * (lanes - len(level))
        while len(level) > 1:
            level = [rounded(a + b, tree) for a, b in zip(level[::2], level[1::2], strict=True)]
        total = rounded(total + level[0], accumulator)
    return np.float32(float(total))


def gemm_tree(
    activations: NDArray[np.float32],
    weights: NDArray[np.float32] | Bank,
    lanes: int,
    kinds: tuple[str, str, str],
) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed by MAC trees of `lanes` lanes.

    kinds: format that products, the tree and the accumulator round to. Operands are float32 and
    hold values of the operands' own formats. Weights in a `Bank` save laying them out each time;
    they are for 16 lanes that are FP16 or BF16 throughout. Errors: InputError for other dtypes,
    shapes that do not fit, lanes that are no power of two up to 64, unknown formats, formats from
    wide to narrow or from FP16 to BF16, values of more significant bits than the module says, a
    Bank for other trees.
    """
    if isinstance(weights, Bank):
        if lanes != 16 or {*kinds} != {weights.kind}:
            raise InputError(
                f"this Bank is for 16 lanes of {weights.kind}, got {lanes} of {', '.join(kinds)}"
            )
        return _banked(activations, weights)
    _check(activations, weights, lanes, kinds)
    if lanes == 16 and len({*kinds}) == 1 and _fit_a_bank(activations, weights, kinds[0]):
        return _banked(activations, Bank.of(weights, kinds[0]))
    from simulator.numerics.mac_tree_kernel import BLOCK, KINDS, tree_sums

    product, tree, accumulator = (KINDS[kind] for kind in kinds)
    x, w = _padded(activations, 1, lanes), _padded(weights, 1, lanes)
    result = np.empty((len(x), len(w)), dtype=np.float32)
    for start in range(0, len(w), BLOCK):
        block = w[start : start + BLOCK].T.copy()
        nodes = np.empty((2 * lanes, block.shape[1]), dtype=np.float32)
        sums = np.zeros((len(x), block.shape[1]), dtype=np.float32)
        tree_sums(x, block, lanes, product, tree, accumulator, nodes, sums)
        result[:, start : start + BLOCK] = sums
    return result


def _fit_a_bank(x: NDArray[np.float32], w: NDArray[np.float32], kind: str) -> bool:
    bits = _BANKED.get(kind)
    return bits is not None and not refusals.significant_bits(bits, kind, x=x, w=w)


def _banked(activations: NDArray[np.float32], bank: Bank) -> NDArray[np.float32]:
    problems = refusals.dtypes(np.float32, activations=activations)
    if activations.ndim != 2 or activations.shape[1] != bank.depth:
        problems.append(f"activations: expected (M, {bank.depth}), got shape {activations.shape}")
    bits = _BANKED[bank.kind]
    problems = problems or refusals.significant_bits(bits, bank.kind, activations=activations)
    if problems:
        raise InputError(problems)
    from simulator.numerics.mac_tree_kernel import SUMS_OF_16_LANES, TILE

    # Bursts of zeros after the last one change nothing: no sum is -0.
    x = _padded(activations, 1, TILE)
    rows, bursts, panels = len(x), x.shape[1] // 16, len(bank.tiles)
    x = x.reshape(rows, bursts, 16)
    result = np.zeros((panels, rows, TILE), dtype=np.float32)
    for panel, sums in zip(bank.tiles.reshape(panels, bursts, 16 * TILE), result, strict=True):
        SUMS_OF_16_LANES[bank.kind](x, panel, sums)
    return result.transpose(1, 0, 2).reshape(rows, panels * TILE)[:, : bank.columns].copy()


def _padded(matrix: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Return a matrix in C order with zeros up to multiples of rows and columns."""
    missing = -matrix.shape[0] % rows, -matrix.shape[1] % columns
    if any(missing):
        matrix = np.pad(matrix, [(0, missing[0]), (0, missing[1])])
    return np.ascontiguousarray(matrix)


def _check(
    activations: NDArray[Any], weights: NDArray[Any], lanes: int, kinds: tuple[str, str, str]
) -> None:
    problems = refusals.dtypes(np.float32, activations=activations, weights=weights)
    problems += refusals.shapes(activations, weights)
    if lanes not in (1, 2, 4, 8, 16, 32, 64):
        problems.append(f"lanes must be a power of two from 1 to 64, got {lanes}")
    problems += refusals.accumulators(kinds, ROUNDED)
    if problems:
        raise InputError(problems)
    for before, after in pairwise(kinds):
        if after not in (before, "fp32"):
            problems.append(f"sums of {before} values would round twice to {after}")
    problems += refusals.precision(kinds[0], activations=activations, weights=weights)
    if problems:
        raise InputError(problems)
