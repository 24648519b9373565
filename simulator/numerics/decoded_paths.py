"""Datapaths that decode both operands to integers for `verify`: all sums are exact.

- `ant`: every value of flint4, pot4 and int is an integer of a few bits times a power of two. A
  multiplier takes the integers, a shifter the sum of both powers. Then scales, as `dequantised`
  says.
- `two_level`: (code x scale of its group) is an integer, and the sum over all of K is exact, as in
  VS-Quant and QServe. Rounded, to float32: that sum, its products with the scales of channel and
  token. Left out: QServe's zero points.

Left out: OliVe (`formats.outlier_victim`) and QServe, for which no format has a name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.codebook import TABLES
from simulator.formats.conversion import Encoded
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


def dot_decoded(x: Sequence[Number], w: Sequence[Number], forms: tuple[Format, Format]) -> int:
    """Return the dot product of codes of two formats: the specification, exact."""
    total: Number = 0
    for a, b in zip(x, w, strict=True):
        (left, up), (right, more) = shifted_part(forms[0], a), shifted_part(forms[1], b)
        total = total + (left * right << up + more)
    return int(total)


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


def _integer_scales(weights: Format, activations: Format) -> str:
    symmetric = weights.kind == "int" and weights.value_bits <= 8 and not weights.zero_bits
    eight = weights.scale_bits == 8 and not weights.power_scales
    if not symmetric or weights.granularity != "group" or not eight:
        return f"weights must be int2 to int8 in groups with 8-bit scales, got {weights.name}"
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
    spread = np.repeat(scales.astype(np.int32), w.sizes[1], axis=1)[:, : w.codes.shape[1]]
    total = sums(x.codes, w.codes, spread).astype(np.float32)
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
        "two_level",
        "VS-Quant: integer scales of groups, one FP16 scale of a channel",
        "int4-g128-s8",
        "int8-token",
        _integer_scales,
        _two_level_run,
        _two_level_one,
        _two_level_doubles,
    ),
)
