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
from functools import lru_cache
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
    Row,
    Values,
    dequantised,
    dequantised_one,
    integer_activations,
    rounded,
    two_levels,
)
from simulator.numerics.word import Number, Word, like, noted

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
#: Bits of the exponent that OliVe's decoder hands on.
OUTLIER_BITS = 3


def dot_parts(x: Parts, w: Parts, start: Number = 0) -> int:
    """Return start + the dot product of (integer, shift): the specification, exact."""
    total = start
    for (left, up), (right, more) in zip(x, w, strict=True):
        total = total + (left * right << up + more)
    return int(total)


def dot_decoded(x: Sequence[Number], w: Sequence[Number], forms: tuple[Format, Format]) -> int:
    """Return the dot product of codes of two of ANT's formats."""
    return dot_parts(_ant_parts(forms[0], x), _ant_parts(forms[1], w))


def olive_part(
    form: Format, code: Number, beside: Number, *, second: bool = False
) -> tuple[Number, Number]:
    """Return (integer, shift) of a code of a pair: what OliVe's decoder hands to the multiplier.

    Guo et al., "OliVe" (ISCA 2023), section 4: a code is compared with the identifier, which makes
    it a victim of 0 and the code beside an outlier, whose exponent has a bias added.
    """
    value, victim = _olive_value(form.base, int(code), int(beside), second)
    shift = (value & -value).bit_length() - 1 if value else 0
    is_victim = noted(code, "compare", int(victim))
    part = noted(code, "mask", 0 if int(is_victim) else value >> shift)
    return part, noted(like(code, 0, OUTLIER_BITS), "add", shift)


@lru_cache(maxsize=1 << 10)
def _olive_value(base: str, code: int, beside: int, second: bool) -> tuple[int, bool]:
    """Return the value of a code of a pair, and whether it is the identifier."""
    olive, place = OLIVES[base], int(second)
    pair = (beside, code) if second else (code, beside)
    return int(olive.decode_pair(*pair)[place]), pair[place] == olive.identifier


def olive_parts(form: Format, codes: Sequence[Number]) -> Parts:
    """Return (integer, shift) of codes in pairs."""
    found = []
    for one, two in zip(codes[::2], codes[1::2], strict=True):
        found += [olive_part(form, one, two), olive_part(form, two, one, second=True)]
    return found


def _olive_formats(weights: Format, activations: Format) -> str:
    for what, form in (("weights", weights), ("activations", activations)):
        if form.base not in OLIVES or form.granularity == "none":
            return f"{what} must be of {', '.join(OLIVES)} with a scale, got {form.name}"
    if activations.granularity not in ("token", "tensor"):
        return f"activations must have scales by token or tensor, got {activations.name}"
    return ""


def _ant_integers(form: Format, codes: Codes) -> Codes:
    """Return the integers that codes stand for."""
    return np.take(TABLES[form.base].table, codes).astype(np.int8) if _is_table(form) else codes


def _olive_integers(form: Format, codes: Codes) -> Codes:
    return decode_pairs(OLIVES[form.base], codes).astype(np.int32)


def _ant_parts(form: Format, codes: Sequence[Number]) -> Parts:
    return [shifted_part(form, code) for code in codes]


Matrices = Callable[[Codes, Codes], NDArray[Any]]


def _doubles(x: Codes, w: Codes) -> NDArray[np.float64]:
    """Return sums in float64: those of integers below 2^53 are exact in any order."""
    products: NDArray[np.float64] = x.astype(np.float64) @ w.T.astype(np.float64)
    return products


def _decoded_path(
    name: str,
    summary: str,
    base: str,
    refused: Callable[[Format, Format], str],
    integers: Callable[[Format, Codes], Codes],
    parts: Callable[[Format, Sequence[int]], Parts],
) -> Datapath:
    """Return a path of codes that a decoder makes integers, in `parts` for the specification."""

    def computed(product: Matrices) -> Callable[[Operands], Values]:
        def decoded(x: Codes, w: Codes, operands: Operands) -> NDArray[Any]:
            return product(integers(operands.x_format, x), integers(operands.w_format, w))

        return lambda operands: dequantised(operands, decoded)

    def one(operands: Operands) -> float:
        def dot(x: Sequence[int], w: list[int]) -> int:
            return dot_parts(parts(operands.x_format, x), parts(operands.w_format, w))

        return dequantised_one(operands, dot)

    formats = f"{base}-g128", f"{base}-token"
    run, oracle = computed(gemm_exact), computed(_doubles)
    return Datapath(name, summary, *formats, refused, run, one, oracle)


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


def scaled_weight(code: Number, zero: Number, scale: Number) -> Number:
    """Return a weight of the second level: what is decoded before it is multiplied.

    With a zero point (QServe) it fits in 8 bits; without one (VS-Quant) none is subtracted.
    """
    if isinstance(zero, int) and not zero:
        return code * scale
    product = (code - zero) * scale
    return like(product, int(product), 8)


def dot_two_level(x: Sequence[Number], w: Sequence[Number], start: Number = 0) -> int:
    """Return start + the dot product of activations and scaled weights: exact."""
    total = start
    for a, b in zip(x, w, strict=True):
        total = total + a * b
    return int(total)


def _two_level(product: Matrices) -> Callable[[Operands], Values]:
    """Return sums of activations and weights times integer scales, times both FP16 scales."""

    def run(operands: Operands) -> Values:
        x, w = operands.x, operands.w
        assert isinstance(x, Encoded)
        assert isinstance(w, Encoded)
        scales, channels = two_levels(w)
        own = w.by_group()
        codes = own.codes.astype(np.int32)
        if own.zeros is not None:
            codes -= spread(own.zeros, own.sizes, codes.shape)
        codes *= spread(scales.astype(np.int32), own.sizes, codes.shape)
        total = product(x.codes, codes).astype(np.float32)
        return total * channels[:, 0] * x.scales.astype(np.float32)

    return run


def _two_level_one(operands: Operands) -> float:
    x, w = Row.of(operands.x), Row.of(operands.w)
    weights = [
        scaled_weight(code, w.zeros[k // w.group], round(w.scales[k // w.group] / w.outer))
        for k, code in enumerate(w.codes)
    ]
    total = rounded(dot_two_level(x.codes, weights))
    return float(total * np.float32(w.outer) * np.float32(x.scales[0]))


DECODED_PATHS = (
    _decoded_path(
        "ant",
        "ANT: flint and powers of two decoded for integer multiply-add",
        "flint4",
        _ant_formats,
        _ant_integers,
        _ant_parts,
    ),
    _decoded_path(
        "olive",
        "OliVe: pairs of codes decoded for integer multiply-add",
        "olive_int4",
        _olive_formats,
        _olive_integers,
        olive_parts,
    ),
    Datapath(
        "two_level",
        "VS-Quant, QServe: integer scales of groups, one FP16 scale of a channel",
        "int4-g128-s8",
        "int8-token",
        _integer_scales,
        _two_level(gemm_exact),
        _two_level_one,
        _two_level(_doubles),
    ),
)
