"""Datapaths that decode both operands to integers for `verify`: all sums are exact.

- `ant`: every value of flint4, pot4 and int is an integer of a few bits times a power of two. A
  multiplier takes the integers, a shifter the sum of both powers. Then scales, as `dequantised`
  says.
- `olive`: likewise; a code is read with its neighbour, which says whether it is an outlier, that
  is, an integer of a few bits shifted by its exponent, or a victim, which is 0.
- `two_level`: (code - zero) x scale of its group is an integer, and the sum over all of K is exact,
  as in VS-Quant and QServe. Rounded, to float32: that sum, its products with the scales of channel
  and token.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.codebook import TABLES
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.formats.outlier_victim import OLIVES, decode_pairs
from simulator.numerics.exact import gemm_exact
from simulator.numerics.operands import (
    Codes,
    Datapath,
    Operands,
    Values,
    dequantised,
    integer_activations,
    two_levels,
)
from simulator.numerics.word import Number, Word, noted

Exact = NDArray[np.int64]

ANT_TABLES = ("flint4", "pot4")


def _ant_formats(weights: Format, activations: Format) -> str:
    for what, form in (("weights", weights), ("activations", activations)):
        small = form.kind == "int" and form.value_bits <= 8 and not form.zero_bits
        if form.granularity == "none" or not (small or form.base in ANT_TABLES):
            return (
                f"{what} must be flint4, pot4 or symmetric int1 to int8, with a scale, "
                f"got {form.name}"
            )
    if activations.granularity not in ("token", "tensor"):
        return f"activations must have scales by token or tensor, got {activations.name}"
    return ""


def _integers(form: Format, codes: Codes) -> Codes:
    """Return the integers that codes stand for."""
    return np.take(TABLES[form.base].table, codes).astype(np.int8) if _is_table(form) else codes


def _is_table(form: Format) -> bool:
    return form.base in ANT_TABLES


def shifted_part(form: Format, code: Number) -> tuple[Number, Number]:
    """Return (integer, shift) of a code: what ANT's decoder hands to the integer multiplier.

    One detector of a one and one shifter, whatever the format.
    """
    if isinstance(code, Word):
        part, places = (int(each) for each in shifted_part(form, code.value))
        return noted(code, "barrel_shift", part), noted(code, "leading_one", places)
    value = int(TABLES[form.base].decode_one(code)) if _is_table(form) else code
    # The lowest one of a value; an odd integer is left.
    shift = (value & -value).bit_length() - 1 if value else 0
    return value >> shift, shift


Parts = Sequence[tuple[Number, Number]]


def dot_parts(x: Parts, w: Parts) -> int:
    """Return the dot product of (integer, shift): the specification, exact."""
    total: Number = 0
    for (left, up), (right, more) in zip(x, w, strict=True):
        total = total + (left * right << up + more)
    return int(total)


def dot_decoded(x: Sequence[Number], w: Sequence[Number], forms: tuple[Format, Format]) -> int:
    """Return the dot product of codes of two of ANT's formats."""
    left = [shifted_part(forms[0], code) for code in x]
    return dot_parts(left, [shifted_part(forms[1], code) for code in w])


def olive_parts(form: Format, codes: Sequence[int]) -> Parts:
    """Return (integer, shift) of codes in pairs: what OliVe's decoder hands to the multiplier."""
    olive, found = OLIVES[form.base], []
    for pair in zip(codes[::2], codes[1::2], strict=True):
        for value in map(int, olive.decode_pair(*pair)):
            shift = (value & -value).bit_length() - 1 if value else 0
            found.append((value >> shift, shift))
    return found


def _decoded(x: Codes, w: Codes, operands: Operands) -> Exact:
    return gemm_exact(_integers(operands.x_format, x), _integers(operands.w_format, w))


def _decoded_one(x: Codes, w: Codes, operands: Operands) -> Exact:
    forms = operands.x_format, operands.w_format
    return np.array([[dot_decoded(x[0].tolist(), w[0].tolist(), forms)]], dtype=np.int64)


def _doubles(x: Codes, w: Codes, operands: Operands) -> NDArray[np.float64]:
    """Return sums in float64: those of integers below 2^53 are exact in any order."""
    left, right = _integers(operands.x_format, x), _integers(operands.w_format, w)
    products: NDArray[np.float64] = left.astype(np.float64) @ right.T.astype(np.float64)
    return products


def _olive_formats(weights: Format, activations: Format) -> str:
    for what, form in (("weights", weights), ("activations", activations)):
        if form.base not in OLIVES or form.granularity == "none":
            return f"{what} must be of {', '.join(OLIVES)} with a scale, got {form.name}"
    if activations.granularity not in ("token", "tensor"):
        return f"activations must have scales by token or tensor, got {activations.name}"
    return ""


def _pairs(form: Format, codes: Codes) -> NDArray[np.int32]:
    return decode_pairs(OLIVES[form.base], codes).astype(np.int32)


def _olive(x: Codes, w: Codes, operands: Operands) -> Exact:
    return gemm_exact(_pairs(operands.x_format, x), _pairs(operands.w_format, w))


def _olive_one(x: Codes, w: Codes, operands: Operands) -> Exact:
    left = olive_parts(operands.x_format, x[0].tolist())
    right = olive_parts(operands.w_format, w[0].tolist())
    return np.array([[dot_parts(left, right)]], dtype=np.int64)


def _olive_doubles(x: Codes, w: Codes, operands: Operands) -> NDArray[np.float64]:
    left, right = _pairs(operands.x_format, x), _pairs(operands.w_format, w)
    products: NDArray[np.float64] = left.astype(np.float64) @ right.T.astype(np.float64)
    return products


def _integer_scales(weights: Format, activations: Format) -> str:
    small = weights.kind == "int" and weights.value_bits <= 8
    symmetric = not weights.zero_bits or weights.outer == "channel"
    eight = weights.scale_bits == 8 and not weights.power_scales
    if not (small and symmetric and eight and weights.granularity == "group"):
        return (
            f"weights must be qserve, or int2 to int8 in groups with 8-bit scales, "
            f"got {weights.name}"
        )
    return integer_activations(weights, activations)


def dot_two_level(x: Sequence[Number], w: Sequence[Number], scales: Sequence[int]) -> int:
    """Return the dot product with weights times integer scales: the specification, exact."""
    total: Number = 0
    for a, b, scale in zip(x, w, scales, strict=True):
        total = total + a * (b * scale)
    return int(total)


def _two_level(operands: Operands, sums: Callable[[Codes, Codes, Codes], NDArray[Any]]) -> Values:
    """Return sums (of activations, codes and scales spread over codes) times both FP16 scales."""
    x, w = operands.x, operands.w
    assert isinstance(x, Encoded)
    assert isinstance(w, Encoded)
    scales, channels = two_levels(w)
    by_code = spread(scales.astype(np.int32), w.sizes, w.codes.shape)
    codes = w.codes.astype(np.int32)
    if w.zeros is not None:
        codes -= spread(w.zeros, w.sizes, w.codes.shape)
    total = sums(x.codes, codes, np.broadcast_to(by_code, codes.shape)).astype(np.float32)
    return total * channels[:, 0] * x.scales.astype(np.float32)


def _two_level_run(operands: Operands) -> Values:
    return _two_level(operands, lambda x, w, scales: gemm_exact(x, w * scales))


def _two_level_one(operands: Operands) -> float:
    def sums(x: Codes, w: Codes, scales: Codes) -> Exact:
        value = dot_two_level(x[0].tolist(), w[0].tolist(), scales[0].tolist())
        return np.array([[value]], dtype=np.int64)

    return float(_two_level(operands, sums)[0, 0])


def _two_level_doubles(operands: Operands) -> Values:
    def sums(x: Codes, w: Codes, scales: Codes) -> NDArray[np.float64]:
        products: NDArray[np.float64] = x.astype(np.float64) @ (w * scales).T.astype(np.float64)
        return products

    return _two_level(operands, sums)


DECODED_PATHS = (
    Datapath(
        "ant",
        "ANT: flint and powers of two decoded for integer multiply-add",
        "flint4-g128",
        "flint4-token",
        _ant_formats,
        lambda operands: dequantised(operands, _decoded),
        lambda operands: float(dequantised(operands, _decoded_one)[0, 0]),
        lambda operands: dequantised(operands, _doubles),
    ),
    Datapath(
        "olive",
        "OliVe: pairs of codes decoded for integer multiply-add",
        "olive_int4-g128",
        "olive_int4-token",
        _olive_formats,
        lambda operands: dequantised(operands, _olive),
        lambda operands: float(dequantised(operands, _olive_one)[0, 0]),
        lambda operands: dequantised(operands, _olive_doubles),
    ),
    Datapath(
        "two_level",
        "VS-Quant, QServe: integer scales of groups, one FP16 scale of a channel",
        "int4-g128-s8",
        "int8-token",
        _integer_scales,
        _two_level_run,
        _two_level_one,
        _two_level_doubles,
    ),
)
