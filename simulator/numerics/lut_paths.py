"""Datapaths of the LUT tensor core with FP16 activations for `verify`: see `lut` for what rounds.

FP16 tables go with the FP16 sums of the published code, scaled ones with sums in FP32.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.numerics.lut import Setting, dot_lut_float, gemm_lut_float
from simulator.numerics.operands import Codes, Datapath, Operands, Row, Values, fp16_activations


def _integer_weights(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > 8:
        return f"weights must be int2 to int8 with a scale, got {weights.name}"
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


LUT_PATHS = (_path("fp16", "fp16"), _path("fp8", "fp32"), _path("int8", "fp32"))
