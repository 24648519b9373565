"""Integer datapaths for `verify`: exact sums of codes in a group, then dequantisation.

What follows the sums is common to all of them (equation 5 of MixPE): the sum of activations times
the zero point is subtracted in integers, then float32 multiplies by the scale of the group, adds up
groups in order, and multiplies by the scale of the token. Each of these three operations rounds
once; the integers before are exact.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.numerics.accumulate import dot_finite, gemm_finite
from simulator.numerics.bit_fusion import OPERAND_BITS, dot_fused_bricks, gemm_bricks
from simulator.numerics.bit_serial import (
    dot_bipolar,
    dot_planes,
    gemm_bipolar,
    gemm_planes,
    ternary_product,
)
from simulator.numerics.exact import gemm_exact
from simulator.numerics.lut import GROUP, dot_lut, gemm_lut
from simulator.numerics.lut_full import Table, dot_full, full_table, held_table
from simulator.numerics.operands import (
    Codes,
    Datapath,
    Operands,
    Product,
    dequantised,
    dequantised_one,
    integer_weights,
    signed_weights,
    ternary_weights,
)
from simulator.numerics.shift_add import gemm_w4a8, product_w4a8
from simulator.numerics.t_mac import GROUP as TABLE
from simulator.numerics.t_mac import dot_twice, gemm_t_mac_exact
from simulator.numerics.widening import high_nibble

#: Bits of an accumulator that may be too narrow: what SIMD instructions on INT8 have.
NARROW_BITS = 16

Exact = NDArray[np.int64]


def operand_bits(operands: Operands) -> tuple[int, int]:
    """Return the bits of activations and weights; those of ternary weights in two's complement."""
    w = operands.w_format
    return int(operands.x_format.value_bits), 2 if w.kind == "ternary" else int(w.value_bits)


def _output(dot: Callable[[list[int], list[int], Operands], int], operands: Operands) -> float:
    """Return one output of a scalar dot product of two's complement weights: the specification."""
    w = operands.w_format
    offset = 1 << int(w.value_bits) - 1 if w.zero_bits else 0

    def inner(x: Sequence[int], codes: list[int]) -> int:
        return dot(list(x), [code - offset for code in codes], operands) + offset * sum(x)

    return dequantised_one(operands, inner)


def _centred(product: Product) -> Product:
    """Return a product of two's complement weights for unsigned ones: the offset is added back."""

    def inner(x: Codes, w: Codes, operands: Operands) -> Exact:
        signed, offset = signed_weights(w, operands)
        sums = product(x, signed, operands)
        added: Exact = sums + offset * x.sum(axis=1, dtype=np.int64)[:, None]
        return added

    return inner


def _shift_add(x: Codes, w: Codes, _operands: Operands) -> Exact:
    return gemm_w4a8(x.astype(np.int8), w.astype(np.int8)).astype(np.int64)


def _shift_add_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return sum(int(product_w4a8(q, value)) for value, q in zip(x, w, strict=True))


def _planes(x: Codes, w: Codes, operands: Operands) -> Exact:
    return gemm_planes(x, w, *operand_bits(operands))


def _planes_one(x: list[int], w: list[int], operands: Operands) -> int:
    return dot_planes(x, w, *operand_bits(operands))


def _odd(sums: Exact, x: Codes, w: Codes) -> Exact:
    """Return sum x w from the sum of (2 x + 1)(2 w + 1), which is what bipolar planes hold."""
    shared = 2 * x.sum(axis=1, dtype=np.int64)[:, None] + 2 * w.sum(axis=1, dtype=np.int64)
    products: Exact = (sums - shared - x.shape[1]) // 4
    return products


def _bipolar(x: Codes, w: Codes, operands: Operands) -> Exact:
    x_bits, w_bits = operand_bits(operands)
    x_codes = x.astype(np.int64) + (1 << x_bits - 1)
    w_codes = w.astype(np.int64) + (1 << w_bits - 1)
    return _odd(gemm_bipolar(x_codes, w_codes, x_bits, w_bits), x, w)


def _bipolar_one(x: list[int], w: list[int], operands: Operands) -> int:
    x_bits, w_bits = operand_bits(operands)
    x_codes = [value + (1 << x_bits - 1) for value in x]
    w_codes = [value + (1 << w_bits - 1) for value in w]
    sums = dot_bipolar(x_codes, w_codes, x_bits, w_bits)
    return (sums - 2 * sum(x) - 2 * sum(w) - len(x)) // 4


def _ternary_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return sum(int(ternary_product(q, value)) for value, q in zip(x, w, strict=True))


def _look_up(x: Codes, w: Codes, operands: Operands) -> Exact:
    bits = operand_bits(operands)[1]
    codes = w.astype(np.int64) + (1 << bits - 1)
    # Tables hold sums for 2 w + 1: the shared sum of activations is taken away.
    twice = gemm_lut(x, codes, bits).astype(np.int64) - x.sum(axis=1, dtype=np.int64)[:, None]
    products: Exact = twice // 2
    return products


def _look_up_one(x: list[int], w: list[int], operands: Operands) -> int:
    bits, padding = operand_bits(operands)[1], -len(x) % GROUP
    codes = [value + (1 << bits - 1) for value in w] + [0] * padding
    return (int(dot_lut([*x, *[0] * padding], codes, bits)) - sum(x)) // 2


def _look_up_full(table: Table) -> Callable[[list[int], list[int], Operands], int]:
    def dot(x: list[int], w: list[int], operands: Operands) -> int:
        padding = [0] * (-len(x) % GROUP)
        bits = operand_bits(operands)[1]
        return int(dot_full([*x, *padding], [*w, *padding], bits, table_of=table))

    return dot


def _bricks(x: Codes, w: Codes, operands: Operands) -> Exact:
    return gemm_bricks(x, w, *operand_bits(operands))


def _bricks_one(x: list[int], w: list[int], operands: Operands) -> int:
    return int(dot_fused_bricks(x, w, *operand_bits(operands)))


def _brick_formats(weights: Format, activations: Format) -> str:
    for what, form in (("weights", weights), ("activations", activations)):
        if form.kind == "int" and form.value_bits not in OPERAND_BITS:
            return f"{what} must be int2, int4 or int8, got {form.name}"
    return integer_weights(8)(weights, activations)


def _exactly(x: Codes, w: Codes, _operands: Operands) -> Exact:
    return gemm_exact(x, w)


def integer_path(
    name: str,
    summary: str,
    formats: tuple[str, str],
    refused: Callable[[Format, Format], str],
    product: Product,
    dot: Callable[[list[int], list[int], Operands], int],
    *,
    exact: bool = True,
) -> Datapath:
    """Return a datapath of exact sums in groups, or of integers that are not exact.

    product, dot: all outputs and the specification of one, of weights in two's complement.
    """
    kernel = _centred(product)
    return Datapath(
        name,
        summary,
        *formats,
        refused,
        lambda operands: dequantised(operands, kernel),
        lambda operands: _output(dot, operands),
        (lambda operands: dequantised(operands, _exactly)) if exact else None,
    )


def _unsigned(w: Codes, operands: Operands) -> Exact:
    return w.astype(np.int64) + (1 << operand_bits(operands)[1] - 1)


def _full_tables(x: Codes, w: Codes, operands: Operands) -> Exact:
    codes = _unsigned(w, operands)
    return gemm_t_mac_exact(x, codes, operand_bits(operands)[1]).astype(np.int64)


def _full_tables_one(x: list[int], w: list[int], operands: Operands) -> int:
    bits, padding = operand_bits(operands)[1], [0] * (-len(x) % TABLE)
    codes = [value + (1 << bits - 1) for value in w] + padding
    return int(dot_twice([*x, *padding], codes, bits)) // 2


def _saturated(x: Codes, w: Codes, _operands: Operands) -> Exact:
    return gemm_finite(x, w, NARROW_BITS, saturate=True)[0]


def _saturated_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return int(dot_finite(x, w, NARROW_BITS, saturate=True)[0])


def _upper_halves(x: Codes, w: Codes, _operands: Operands) -> Exact:
    # The bytes of codes are 16 w; their scales are divided by that.
    return gemm_exact(x, w.astype(np.int8) << 4) // 16


def _upper_halves_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return sum(value * int(high_nibble(code)) for value, code in zip(x, w, strict=True)) // 16


W4A8 = ("int4-g128", "int8-token")
INTEGER_PATHS = (
    integer_path(
        "mixpe_w4a8",
        "MixPE: INT4 x INT8 by shift and add",
        W4A8,
        integer_weights(4),
        _shift_add,
        _shift_add_one,
    ),
    integer_path(
        "lut",
        "LUT tensor core: half tables, bit by bit",
        W4A8,
        integer_weights(8),
        _look_up,
        _look_up_one,
    ),
    integer_path(
        "lut_conventional",
        "conventional LUT: full tables made outside, bit by bit",
        W4A8,
        integer_weights(8),
        _look_up,
        _look_up_full(full_table),
    ),
    integer_path(
        "unpu",
        "UNPU: full tables held in the element, bit by bit",
        W4A8,
        integer_weights(8),
        _look_up,
        _look_up_full(held_table),
    ),
    integer_path(
        "bit_fusion",
        "Bit Fusion: bricks of 2 x 2 bits, fused",
        W4A8,
        _brick_formats,
        _bricks,
        _bricks_one,
    ),
    integer_path(
        "comet",
        "COMET: INT4 weights as upper halves of INT8, multiplied as such",
        W4A8,
        integer_weights(4),
        _upper_halves,
        _upper_halves_one,
    ),
    integer_path(
        "t_mac_exact",
        "T-MAC: full tables that are not rounded",
        W4A8,
        integer_weights(4),
        _full_tables,
        _full_tables_one,
    ),
    integer_path(
        "abq",
        "ABQ: AND and popcount of bit planes",
        W4A8,
        integer_weights(8),
        _planes,
        _planes_one,
    ),
    integer_path(
        "bipolar",
        "bipolar planes: XOR and popcount",
        W4A8,
        integer_weights(8),
        _bipolar,
        _bipolar_one,
    ),
    integer_path(
        "ternary",
        "ternary weights: add, subtract or skip",
        ("ternary-tensor", "int8-token"),
        ternary_weights,
        _planes,
        _ternary_one,
    ),
    integer_path(
        "narrow",
        f"sums of a group in {NARROW_BITS} bits that saturate",
        W4A8,
        integer_weights(8),
        _saturated,
        _saturated_one,
        exact=False,
    ),
)
