"""The dot unit of block formats (MX, NVFP4): exact sums of a block, scaled, accumulated in FP32.

OCP Microscaling Formats v1.0 (2023), section 6.2: the dot product of two blocks is the product of
their scales times the sum of the products of their elements; that of vectors adds up their blocks.
Elements are integers times the format's step, so that a block is an integer dot product.

- Exact: products of elements, their sum over a block, and that sum times both scales.
- Rounded, to FP32 and to nearest even: the scaled sum of a block (once; it is exact for FP4 x FP4
  unless it underflows), each addition to the accumulator, from +0, in order of blocks.
- assumed: tensor scales (NVFP4) multiply the finished accumulator, as one FP32 factor, itself the
  rounded product of the two: what GEMM libraries do in their epilogue; the format says no more.
- A NaN scale makes every output of its vector NaN. Elements that are NaN or infinity go through as
  IEEE 754 has it. Overflow gives infinity, subnormals are kept. A short last block is padded with
  zeros.

Left out: partial sums narrower than a block's sum, which OCP permits and some hardware has; for
those see `numerics.tensor_core`.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.block import BlockFormat, Blocks
from simulator.formats.integer import FixedPoint
from simulator.formats.minifloat import decode
from simulator.numerics import refusals
from simulator.numerics.word import Number, Tally, value_of

#: Bits of the integers that a float64 holds exactly, and that the two limbs of a wide sum hold.
DOUBLE_BITS, WIDE_BITS = 53, 70
INT16_BITS, FLOAT_BITS = 15, 24
#: Bits of an element times the block, such that 16 bits more fit into int64.
WIDE_ROW_BITS = 47
_FP32_BITS, _FP32_LEAST = 24, -149


def step_of(form: BlockFormat) -> Fraction:
    """Return the power of two of which every element of a format is a multiple."""
    if isinstance(form.element, FixedPoint):
        return Fraction(2) ** -form.element.fraction_bits
    return form.element.magnitude(1)


def block_sum(left: Sequence[Number], right: Sequence[int]) -> Number:
    """Return the dot product of the integers of two blocks, of one element or more."""
    total, *products = [a * b for a, b in zip(left, right, strict=True)]
    for product in products:
        total = total + product
    return total


def to_fp32(value: Fraction) -> np.float32:
    """Return a value with a power of two as denominator rounded once to FP32, to nearest even."""
    if value == 0:
        return np.float32(0)
    # Denominators are powers of two: the difference of the lengths is the exponent.
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    step = Fraction(2) ** max(exponent - _FP32_BITS + 1, _FP32_LEAST)
    rounded = round(value / step) * step
    with np.errstate(over="ignore"):
        return np.float32(float(rounded))


def dot_blocks(left: Blocks, right: Blocks, tally: Tally | None = None) -> np.float32:
    """Return the dot product of two vectors: the specification, block by block, in fractions.

    tally: where operations count, if anywhere.
    """
    total: Any = np.float32(0) if tally is None else tally.real(np.float32(0))
    size, steps = left.form.block, (float(step_of(left.form)), float(step_of(right.form)))
    elements = left.elements().tolist(), right.elements().tolist()
    scales = [decode(one.form.scale, one.scales).tolist() for one in (left, right)]
    for index, (x_scale, w_scale) in enumerate(zip(*scales, strict=True)):
        part = slice(index * size, (index + 1) * size)
        term = _scaled_sum(elements[0][part], elements[1][part], (x_scale, w_scale), steps, tally)
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + term
    factor = tensor_factor(left, right)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.float32(value_of(total if factor is None else total * factor))


def _scaled_sum(
    left: list[float],
    right: list[float],
    scales: tuple[float, float],
    steps: tuple[float, float],
    tally: Tally | None,
) -> np.float32:
    """Return the dot product of two blocks, rounded once to FP32."""
    if not all(isfinite(value) for value in (*scales, *left, *right)):
        # NaN or infinity, whatever the finite ones are.
        plain = sum(a * b for a, b in zip(left, right, strict=True))
        return np.float32(plain * (scales[0] * scales[1]))
    x, w = (
        [int(value / step) for value in row] for row, step in zip((left, right), steps, strict=True)
    )
    total = block_sum(x if tally is None else [tally.word(value) for value in x], w)
    if tally is not None:
        # Both scales are multiplied, the exact sum by their product, which is then rounded.
        tally.counts.update(("mul exact", "mul fp32"))
    factor = Fraction(scales[0]) * Fraction(scales[1]) * Fraction(steps[0]) * Fraction(steps[1])
    return to_fp32(int(total) * factor)


def tensor_factor(left: Blocks, right: Blocks) -> np.float32 | None:
    """Return the FP32 product of the tensor scales, None where neither operand has one."""
    if left.tensor_scale is None and right.tensor_scale is None:
        return None
    scales = [1.0 if one.tensor_scale is None else one.tensor_scale for one in (left, right)]
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(scales[0]) * np.float32(scales[1])


def sum_bits(left: BlockFormat, right: BlockFormat) -> int:
    """Return the bits of the magnitude of the largest sum of a block, in steps."""
    largest = [Fraction(form.largest) / step_of(form) for form in (left, right)]
    return int(left.block * largest[0] * largest[1]).bit_length()


def gemm_blocks(activations: Blocks, weights: Blocks) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed by dot units; see the module.

    Both operands are in blocks along K, of formats that may differ but for the size of the block.
    Errors: InputError for shapes or blocks that do not fit, and for formats whose sums take more
    than 53 bits with the significands of their scales (E5M2 x FP8), unless both scales are powers
    of two, the sums take at most 70 bits, and every element is finite.
    """
    wide = _check(activations, weights)
    from simulator.numerics.block_dot_kernel import PASS, WIDTH, sum_blocks, sum_int16, sum_wide

    forms = activations.form, weights.form
    unit = float(step_of(forms[0]) * step_of(forms[1]))
    kind: type[Any] = np.int64 if wide else np.float64
    if not wide and sum_bits(*forms) <= FLOAT_BITS:
        kind = np.float32
        if sum_bits(*forms) <= INT16_BITS and _all_finite(*forms) and forms[0].block % PASS == 0:
            kind = np.int16
    kernel: Any = sum_wide if wide else sum_int16 if kind is np.int16 else sum_blocks
    codes, block = _panels(_whole(weights), WIDTH), forms[0].block
    total = np.zeros((len(activations.codes), len(codes) * WIDTH), dtype=np.float32)
    kernel(
        np.take(_table(forms[0], kind), _whole(activations), mode="clip"),
        codes,
        _table(forms[1], kind),
        decode(forms[0].scale, activations.scales).astype(np.float64),
        _panels(decode(forms[1].scale, weights.scales).astype(np.float64) * unit, WIDTH),
        np.empty((block + 1, WIDTH), dtype=kind),
        total,
    )
    total = total[:, : weights.codes.shape[0]]
    factor = tensor_factor(activations, weights)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return total.copy() if factor is None else total * factor


def _panels(rows: NDArray[Any], width: int) -> NDArray[Any]:
    """Return rows (N, L), padded with zeros, as panels (N / width, L, width)."""
    panels, length = -(-rows.shape[0] // width), rows.shape[1]
    padded = np.pad(rows, ((0, -rows.shape[0] % width), (0, 0)))
    return padded.reshape(panels, width, length).transpose(0, 2, 1).copy()


def _whole(blocks: Blocks) -> NDArray[Any]:
    """Return the codes (rows, K), K padded with the code of zero to whole blocks."""
    return np.pad(blocks.codes, ((0, 0), (0, -blocks.codes.shape[1] % blocks.form.block)))


def _table(form: BlockFormat, kind: type[Any]) -> NDArray[Any]:
    """Return the element that every code is, in steps; NaN and infinity as 0 among integers."""
    every = np.arange(1 << form.element.bits, dtype=np.uint16)
    table = Blocks(form, every, every[:0]).elements() / float(step_of(form))
    if kind is np.int64:
        table[~np.isfinite(table)] = 0
    return table.astype(kind)


def _all_finite(*forms: BlockFormat) -> bool:
    """Tell whether every code of the elements is a finite number."""
    elements = (form.element for form in forms)
    return all(isinstance(one, FixedPoint) or one.specials == "none" for one in elements)


def _check(activations: Blocks, weights: Blocks) -> bool:
    """Refuse what the module does not do; tell whether the sums are wide."""
    problems = [
        f"{name}: expected scales {expected}, got {one.scales.shape}"
        for name, one in (("activations", activations), ("weights", weights))
        if one.codes.ndim == 2
        and one.scales.shape
        != (expected := (one.codes.shape[0], -(-one.codes.shape[1] // one.form.block)))
    ]
    problems += refusals.shapes(activations.codes, weights.codes)
    problems += [
        f"{name}: codes must be 0 to {(1 << one.form.element.bits) - 1}"
        for name, one in (("activations", activations), ("weights", weights))
        if int(one.codes.max(initial=0)) >> one.form.element.bits
    ]
    left, right = activations.form, weights.form
    if left.block != right.block:
        problems.append(f"blocks must be of one size, got {left.block} and {right.block}")
    bits = sum_bits(left, right)
    scales = sum(form.scale.mantissa_bits + 1 for form in (left, right) if form.scale.has_zero)
    wide = bits + scales > DOUBLE_BITS
    if wide:
        problems += _wide_problems(activations, weights, bits, scales)
    if problems:
        raise InputError(problems)
    return wide


def _wide_problems(activations: Blocks, weights: Blocks, bits: int, scales: int) -> list[str]:
    pair = f"{activations.form.name} x {weights.form.name}"
    problems = []
    forms = activations.form, weights.form
    row = max(int(form.block * Fraction(form.largest) / step_of(form)) for form in forms)
    if bits > WIDE_BITS or row.bit_length() > WIDE_ROW_BITS or scales:
        problems.append(f"{pair}: sums of {bits} bits and scales of {scales} are not exact")
    for name, one in (("activations", activations), ("weights", weights)):
        if not np.isfinite(one.elements()).all():
            problems.append(f"{name}: sums of {bits} bits take finite elements only")
    return problems
