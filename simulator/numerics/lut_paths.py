"""Datapaths of look-ups with FP16 activations for `verify`: `lut` and `figlut` say what rounds.

LUT tensor core: FP16 tables go with the FP16 sums of the published code, scaled ones with FP32.
FIGLUT: tables of activations that are aligned as FIGNA's.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.numerics.figlut import dot_group, gemm_figlut
from simulator.numerics.float_paths import ALIGNED_BITS
from simulator.numerics.lut import Setting, dot_lut_float, gemm_lut_float
from simulator.numerics.operands import Codes, Datapath, Operands, Row, Values, fp16_activations


def _integer_weights(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > 8:
        return f"weights must be int2 to int8 with a scale, got {weights.name}"
    return fp16_activations(weights, activations)


def _four_bits(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > 4:
        return f"weights must be int1 to int4 with a scale, got {weights.name}"
    return fp16_activations(weights, activations)


def _weights(operands: Operands) -> tuple[Codes, Values, NDArray[np.int64], int]:
    """Return unsigned codes, scales and zero points by group, and the group."""
    assert isinstance(operands.w, Encoded)
    w = operands.w.by_group()
    middle = 1 << int(operands.w_format.value_bits) - 1
    codes = w.codes.astype(np.int64) + (0 if operands.w_format.zero_bits else middle)
    zeros = np.full(w.scales.shape, middle) if w.zeros is None else w.zeros.astype(np.int64)
    return codes, w.scales.astype(np.float32), zeros, w.sizes[1]


def _path(table: str, accumulator: str) -> Datapath:
    def setting(operands: Operands, group: int) -> Setting:
        return Setting(int(operands.w_format.value_bits), group, table, accumulator)

    def run(operands: Operands) -> Values:
        codes, scales, zeros, group = _weights(operands)
        x = operands.x_values().astype(np.float16)
        return gemm_lut_float(x, codes, scales, zeros, setting(operands, group))

    def one(operands: Operands) -> float:
        w, asymmetric = Row.of(operands.w), operands.w_format.zero_bits
        half = 0 if asymmetric else 1 << int(operands.w_format.value_bits) - 1
        codes = [code + half for code in w.codes]
        by_group = [np.float32(scale) for scale in w.scales], [zero + half for zero in w.zeros]
        x = operands.x_values()[0].tolist()
        return float(dot_lut_float(x, codes, *by_group, setting(operands, w.group)))

    summary = f"LUT tensor core: {table.upper()} tables, sums in {accumulator.upper()}"
    return Datapath(f"lut_{table}", summary, "int4-g128", "fp16", _integer_weights, run, one, None)


def _figlut(operands: Operands) -> Values:
    assert not isinstance(operands.x, Encoded)
    return gemm_figlut(operands.x.view(np.float16), *_weights(operands), ALIGNED_BITS)


def _figlut_one(operands: Operands) -> float:
    assert not isinstance(operands.x, Encoded)
    x, w, bits = operands.x[0].tolist(), Row.of(operands.w), int(operands.w_format.value_bits)
    half = 0 if operands.w_format.zero_bits else 1 << bits - 1
    total = np.float32(0)
    for index, start in enumerate(range(0, len(w.codes), w.group)):
        part = slice(start, start + w.group)
        codes, zero = [code + half for code in w.codes[part]], w.zeros[index] + half
        inner = np.float32(dot_group(x[part], codes, zero, bits, ALIGNED_BITS))
        total = total + inner * np.float32(w.scales[index])
    return float(total)


LUT_PATHS = (
    _path("fp16", "fp16"),
    _path("fp8", "fp32"),
    _path("int8", "fp32"),
    Datapath(
        "figlut",
        f"FIGLUT: half tables of activations aligned to integers of {ALIGNED_BITS} bits",
        "int4-g128",
        "fp16",
        _four_bits,
        _figlut,
        _figlut_one,
        None,
    ),
)
