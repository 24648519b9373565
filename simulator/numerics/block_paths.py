"""Datapaths of block formats and of tensor cores for `verify`: see `block_dot` and `tensor_core`.

A block format's scales are part of its dot unit. Tensor cores take plain FP8 codes: scales of
tensors are the epilogue's, and left out.
"""

from collections.abc import Callable

import numpy as np

from simulator.formats import Format, minifloat
from simulator.formats.block import BLOCK_FORMATS, BlockFormat, Blocks
from simulator.formats.conversion import Encoded
from simulator.formats.minifloat import Codes, Minifloat
from simulator.formats.presets import PRESETS
from simulator.formats.rounding import Overflow, Rounding
from simulator.numerics.block_dot import dot_blocks, gemm_blocks
from simulator.numerics.operands import Datapath, Operands, Row, Values
from simulator.numerics.tensor_core import (
    ADA_FP8,
    HOPPER_FP8,
    TensorCore,
    dot_tensor_core,
    gemm_tensor_core,
)

MX = tuple(name for name in BLOCK_FORMATS if name.startswith("mx"))
NV = tuple(name for name in BLOCK_FORMATS if name.startswith("nv"))
FP8 = ("fp8_e4m3fn", "fp8_e5m2")


def _among(names: tuple[str, ...]) -> Callable[[Format, Format], str]:
    """Return a check that both operands are of some formats."""

    def refused(weights: Format, activations: Format) -> str:
        wrong = next((each.name for each in (weights, activations) if each.name not in names), "")
        return f"both operands must be of {', '.join(names)}, got {wrong}" if wrong else ""

    return refused


def _blocks(array: Encoded | Codes) -> Blocks:
    """Return an array in blocks with codes of scales, whose values those in `Encoded` are."""
    assert isinstance(array, Encoded)
    form = BLOCK_FORMATS[array.format.base]
    scales = minifloat.encode(
        form.scale, array.scales, Rounding.NEAREST_EVEN, Overflow.SATURATE
    ).astype(np.uint8)
    return Blocks(form, array.codes.astype(np.uint8), scales)


def _block_run(operands: Operands) -> Values:
    return gemm_blocks(_blocks(operands.x), _blocks(operands.w))


def _block_one(operands: Operands) -> float:
    left, right = (
        _block_row(BLOCK_FORMATS[form.base], Row.of(each))
        for form, each in ((operands.x_format, operands.x), (operands.w_format, operands.w))
    )
    return float(dot_blocks(left, right))


def _block_row(form: BlockFormat, row: Row) -> Blocks:
    """Return one row in blocks with codes of scales."""
    scales = [
        form.scale.encode_one(scale, Rounding.NEAREST_EVEN, Overflow.SATURATE)
        for scale in row.scales
    ]
    return Blocks(form, np.array(row.codes, np.uint8), np.array(scales, np.uint8))


def _tensor_core_path(name: str, summary: str, core: TensorCore) -> Datapath:
    def forms(operands: Operands) -> tuple[Minifloat, Minifloat]:
        return PRESETS[operands.x_format.base], PRESETS[operands.w_format.base]

    def run(operands: Operands) -> Values:
        x, w = operands.x, operands.w
        assert not isinstance(x, Encoded)
        assert not isinstance(w, Encoded)
        return gemm_tensor_core(x, w, forms(operands), core)

    def one(operands: Operands) -> float:
        x, w = operands.x_values()[0].tolist(), operands.w_values()[0].tolist()
        return dot_tensor_core(x, w, forms(operands), core)

    bits = core.result_bits
    return Datapath(name, summary, FP8[0], FP8[0], _among(FP8), run, one, None, bits)


BLOCK_PATHS = (
    Datapath(
        "mx_dot",
        "MX dot unit: a block exactly, FP32 accumulator",
        "mxfp4",
        "mxfp8_e4m3",
        _among(MX),
        _block_run,
        _block_one,
        None,
    ),
    Datapath(
        "nv_dot",
        "NVFP4 dot unit: a block of 16 exactly, FP32 accumulator",
        "nvfp4",
        "nvfp4",
        _among(NV),
        _block_run,
        _block_one,
        None,
    ),
    _tensor_core_path(
        "tensor_core_hopper", "Hopper tensor core: 32 products of FP8, truncated", HOPPER_FP8
    ),
    _tensor_core_path("tensor_core_ada", "Ada tensor core: 16 products of FP8, truncated", ADA_FP8),
)
