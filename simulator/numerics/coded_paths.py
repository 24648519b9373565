"""Datapaths of coded weights and FP16 activations for `verify`.

- `bit_mod`: weights of BitMoD, or integers for its Booth terms, with 8-bit scales of groups.
  assumed: the FP16 scale of a channel, which `bit_mod` leaves out, multiplies the finished output
  in float32, and rounds once.
- `shift_add_llm`, and `shift_add_llm_4` with tables of four activations: binary code (`bcq3`),
  whose alphas are sums of three powers of two; nothing follows. Or integers: one of b bits is,
  exactly, half the sum of +-2^i, i from 0 to b - 1, less 1/2 (how LUT-GEMM has uniform codes): b
  sign planes with alphas that are powers of two, and one more that is minus throughout. The scale
  of a group multiplies its sum (`scaled_groups`).
- `axcore`: FP4 weights; the scale of a group multiplies its sum likewise.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.binary_coded import BinaryCoded
from simulator.formats.codebook import bitmod
from simulator.formats.conversion import Encoded
from simulator.numerics.added_patterns import axcore, dot_added, gemm_added
from simulator.numerics.bit_mod import dot_bit_mod, gemm_bit_mod
from simulator.numerics.operands import (
    Codes,
    Datapath,
    Operands,
    Row,
    Values,
    fp16_activations,
    scaled_groups,
    scaled_one,
    two_levels,
)
from simulator.numerics.shift_add_llm import Terms, dot_floats, gemm_floats

#: BitMoD's name of the type of a base format.
BIT_MOD = MappingProxyType({"bitmod3": "fp3", "bitmod4": "fp4", "int6": "int6", "int8": "int8"})
AXCORE = axcore()


def _bit_mod_formats(weights: Format, activations: Format) -> str:
    two_level = weights.scale_bits == 8 and not weights.power_scales
    if weights.base not in BIT_MOD or not two_level or weights.zero_bits:
        return f"weights must be of {', '.join(BIT_MOD)} with 8-bit scales, got {weights.name}"
    return fp16_activations(weights, activations)


def _bit_mod(operands: Operands) -> Values:
    w = operands.w
    assert not isinstance(operands.x, Encoded)
    assert isinstance(w, Encoded)
    scales, channels = two_levels(w)
    selectors, kind = w.by_group().selectors, BIT_MOD[w.format.base]
    x = operands.x.view(np.float16)
    return gemm_bit_mod(x, w.codes, scales, selectors, kind, w.sizes[1]) * channels[:, 0]


def _bit_mod_one(operands: Operands) -> float:
    assert not isinstance(operands.x, Encoded)
    w, form = Row.of(operands.w), operands.w_format
    weights: list[float] = [*w.codes]
    if form.selector_bits:
        tables = [book.values for book in bitmod(int(form.value_bits))]
        weights = [tables[w.selectors[k // w.group]][code] for k, code in enumerate(w.codes)]
    scales = [round(scale / w.outer) for scale in w.scales]
    x = list(operands.x.view(np.float16)[0])
    output = dot_bit_mod(x, weights, scales, BIT_MOD[form.base], w.group)
    return float(output * np.float32(w.outer))


def binary_code(codes: Codes, bits: int) -> BinaryCoded:
    """Return integers of two's complement (N, K), a group each row, as sums of +-2^i / 2."""
    unsigned = codes.astype(np.int64) + (1 << bits - 1)
    planes = [unsigned >> place & 1 for place in range(bits)] + [np.zeros_like(unsigned)]
    alphas = [2.0 ** (place - 1) for place in range(bits)] + [0.5]
    signs = np.packbits(np.stack(planes, axis=1).astype(np.uint8), axis=-1)
    return BinaryCoded(np.tile(alphas, (len(codes), 1)), signs, codes.shape[1])


def _code_of(w: Encoded) -> tuple[BinaryCoded, Terms]:
    """Return weights of binary code (N, K) and the terms of their alphas, short groups filled."""
    depth, group = w.codes.shape[1], w.sizes[1]
    codes = np.pad(w.codes, ((0, 0), (0, -depth % group))).reshape(-1, group)
    planes = [codes >> place & 1 for place in range(int(w.format.value_bits))]
    signs = np.packbits(np.stack(planes, axis=1), axis=-1)
    assert w.terms is not None
    terms = w.terms.reshape(-1, *w.terms.shape[2:])
    return BinaryCoded(terms.sum(axis=-1), signs, group), terms


def _filled(operands: Operands, group: int) -> NDArray[np.float32]:
    """Return activations in float32 for whole groups: what is added is 0."""
    x = operands.x_values().astype(np.float32)
    return np.pad(x, ((0, 0), (0, -x.shape[1] % group)))


def _shift_add(operands: Operands, size: int) -> Values:
    if operands.w_format.kind != "binary":
        return _binary_coded(operands, size)
    assert isinstance(operands.w, Encoded)
    coded, terms = _code_of(operands.w)
    x = _filled(operands, coded.count)
    return gemm_floats(x, coded, len(operands.w.codes), terms, size)


def _shift_add_one(operands: Operands, size: int) -> float:
    if operands.w_format.kind != "binary":
        return _binary_coded_one(operands, size)
    assert isinstance(operands.w, Encoded)
    coded, terms = _code_of(operands.w)
    x = list(_filled(operands, coded.count)[0])
    return float(dot_floats(x, coded, range(len(coded.alphas)), terms, size=size))


def _shift_add_path(name: str, size: int) -> Datapath:
    return Datapath(
        name,
        f"ShiftAddLLM: binary codes, sums of {size} activations looked up and shifted",
        "bcq3",
        "fp16",
        _binary_or_integers,
        lambda operands: _shift_add(operands, size),
        lambda operands: _shift_add_one(operands, size),
        None,
    )


def _binary_or_integers(weights: Format, activations: Format) -> str:
    whole = weights.kind == "int" and weights.granularity != "none" and weights.value_bits <= 7
    if weights.kind != "binary" and not whole:
        return f"weights must be binary code or int2 to int7 with a scale, got {weights.name}"
    if weights.zero_bits:
        return f"weights must be symmetric, got {weights.name}"
    return fp16_activations(weights, activations)


def _binary_coded(operands: Operands, size: int) -> Values:
    def inner(x: NDArray[Any], w: Codes) -> Values:
        coded = binary_code(w, int(operands.w_format.value_bits))
        return gemm_floats(x, coded, len(w), size=size)

    return scaled_groups(operands.x_values().astype(np.float32), operands, inner)


def _binary_coded_one(operands: Operands, size: int) -> float:
    def inner(x: Sequence[np.float32], w: list[int]) -> Any:
        coded = binary_code(np.array([w]), int(operands.w_format.value_bits))
        return dot_floats(list(x), coded, [0], size=size)

    x = [np.float32(value) for value in operands.x_values()[0].tolist()]
    return float(scaled_one(x, Row.of(operands.w), inner))


def _fp4_and_fp16(weights: Format, activations: Format) -> str:
    if weights.base != "fp4_e2m1fn" or weights.granularity == "none":
        return f"weights must be fp4_e2m1fn with a scale, got {weights.name}"
    return fp16_activations(weights, activations)


def _axcore(operands: Operands) -> Values:
    assert not isinstance(operands.x, Encoded)
    return scaled_groups(operands.x, operands, lambda x, w: gemm_added(x, w, AXCORE))


def _axcore_one(operands: Operands) -> float:
    assert not isinstance(operands.x, Encoded)

    def inner(x: Sequence[int], w: list[int]) -> float:
        return dot_added(list(x), w, AXCORE)

    return float(scaled_one(operands.x[0].tolist(), Row.of(operands.w), inner))


CODED_PATHS = (
    Datapath(
        "bit_mod",
        "BitMoD: bit-serial terms of weights, FP16 activations",
        "bitmod4",
        "fp16",
        _bit_mod_formats,
        _bit_mod,
        _bit_mod_one,
        None,
    ),
    _shift_add_path("shift_add_llm", 8),
    _shift_add_path("shift_add_llm_4", 4),
    Datapath(
        "axcore",
        "AxCore: bit patterns of FP4 and FP16 added in place of a product",
        "fp4_e2m1fn-g128",
        "fp16",
        _fp4_and_fp16,
        _axcore,
        _axcore_one,
        None,
    ),
)
