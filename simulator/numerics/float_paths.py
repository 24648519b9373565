"""Datapaths with floating point for `verify`: what is rounded where stands in the module of each.

Where a module leaves scales of groups to its caller (FIGNA), float32 multiplies by the scale of the
group and adds up groups in order, each rounding once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.formats.presets import BF16
from simulator.formats.rounding import Rounding
from simulator.numerics.accumulate import dot_ordered, gemm_ordered, split_order
from simulator.numerics.added_patterns import dot_added, gemm_added, l_mul
from simulator.numerics.fused import dot_fused, gemm_fused
from simulator.numerics.mac_tree import dot_tree, gemm_tree
from simulator.numerics.operands import (
    Codes,
    Datapath,
    Operands,
    Row,
    Values,
    fp16_activations,
    int4_and_fp16,
    plain,
    scaled_groups,
    scaled_one,
    signed_weights,
    symmetric_and_fp16,
)
from simulator.numerics.pre_aligned import dot_pre_aligned, gemm_pre_aligned
from simulator.numerics.shift_add_fp16 import dot_w4a16, gemm_w4a16
from simulator.numerics.t_mac import Setting, dot_quantised, gemm_t_mac

#: Bits of an aligned activation: assumed, the 11 of FP16 and 3 more.
ALIGNED_BITS = 14
#: Values of K in a tile of an ordered accumulation, and parts of split-K.
TILE, SPLITS = 64, 4


def _floats(operands: Operands) -> Sequence[Values]:
    """Return both operands in float32, which holds their plain formats exactly."""
    return [each.astype(np.float32) for each in (operands.x_values(), operands.w_values())]


def _tree_path(name: str, summary: str, kind: str, mantissa_bits: int) -> Datapath:
    kinds = (kind, kind, kind)

    def run(operands: Operands) -> Values:
        x, w = _floats(operands)
        return gemm_tree(x, w, 16, kinds)

    def one(operands: Operands) -> float:
        x, w = _floats(operands)
        return float(dot_tree(x[0], w[0], 16, kinds))

    return Datapath(name, summary, kind, kind, plain(kind), run, one, None, mantissa_bits)


def _plain_halves(operands: Operands) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    x, w = operands.x, operands.w
    assert not isinstance(x, Encoded)
    assert not isinstance(w, Encoded)
    return x.view(np.float16), w.view(np.float16)


def _ordered_path(
    name: str, summary: str, kind: str, kinds: tuple[str, str], mantissa_bits: int, splits: int = 1
) -> Datapath:
    """Return a sequential accumulation; kinds: of accumulators and of stored partial sums."""

    def given(operands: Operands) -> tuple[Values, Values, list[list[int]]]:
        x, w = _floats(operands)
        return x, w, split_order(-(-x.shape[1] // TILE), splits)

    def run(operands: Operands) -> Values:
        x, w, order = given(operands)
        return gemm_ordered(x, w, TILE, order, kinds)

    def one(operands: Operands) -> float:
        x, w, order = given(operands)
        return float(dot_ordered(x[0].tolist(), w[0].tolist(), TILE, order, kinds))

    return Datapath(name, summary, kind, kind, plain(kind), run, one, None, mantissa_bits)


def _grouped_weights(
    operands: Operands,
) -> tuple[NDArray[np.int8], Values, NDArray[np.int64] | None, int]:
    """Return codes in two's complement, scales, zero points and group of INT4 weights."""
    assert isinstance(operands.w, Encoded)
    w = operands.w.by_group()
    codes, offset = signed_weights(w.codes, operands)
    zeros = None if w.zeros is None else w.zeros.astype(np.int64) - offset
    return codes.astype(np.int8), w.scales.astype(np.float32), zeros, w.sizes[1]


def _halved(operands: Operands) -> int:
    """Return what takes unsigned codes of weights to two's complement: 0 of symmetric ones."""
    form = operands.w_format
    return 1 << int(form.value_bits) - 1 if form.zero_bits else 0


def _fp16_path(name: str, summary: str, *, chain: bool) -> Datapath:
    def run(operands: Operands) -> Values:
        x = operands.x_values().astype(np.float32)
        codes, scales, zeros, group = _grouped_weights(operands)
        return gemm_w4a16(x, codes, scales, zeros, group, chain=chain)

    def one(operands: Operands) -> float:
        x, w, less = operands.x_values()[0].tolist(), Row.of(operands.w), _halved(operands)
        codes = [code - less for code in w.codes]
        scales = [np.float32(scale) for scale in w.scales]
        zeros = [zero - less for zero in w.zeros] if less else None
        result = dot_w4a16(x, codes, scales, zeros, w.group, chain=chain, accumulator="fp32")
        return float(result)

    return Datapath(name, summary, "int4-g128", "fp16", int4_and_fp16, run, one, None)


def _pre_aligned(operands: Operands) -> Values:
    assert not isinstance(operands.x, Encoded)

    def inner(x: NDArray[Any], w: Codes) -> Values:
        return gemm_pre_aligned(x, w.astype(np.int8), ALIGNED_BITS)

    return scaled_groups(operands.x.view(np.float16), operands, inner)


def _pre_aligned_one(operands: Operands) -> float:
    assert not isinstance(operands.x, Encoded)

    def inner(x: Sequence[int], w: list[int]) -> float:
        return dot_pre_aligned(list(x), w, ALIGNED_BITS, Rounding.TOWARD_ZERO)

    return float(scaled_one(operands.x[0].tolist(), Row.of(operands.w), inner))


def _table_groups(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.value_bits > 4 or weights.granularity != "group":
        return f"weights must be int1 to int4 in groups, got {weights.name}"
    if (weights.group or 0) % 64:
        return f"groups must be multiples of 64, got {weights.name}"
    return fp16_activations(weights, activations)


def _tables(operands: Operands) -> tuple[NDArray[np.int64], Values, NDArray[np.int64] | None]:
    """Return unsigned codes, scales and zero points of weights."""
    codes, scales, zeros, _ = _grouped_weights(operands)
    offset = 1 << int(operands.w_format.value_bits) - 1
    return codes.astype(np.int64) + offset, scales, None if zeros is None else zeros + offset


def _setting(operands: Operands) -> Setting:
    return Setting(int(operands.w_format.value_bits), operands.w_format.group or 0)


def _t_mac(operands: Operands) -> Values:
    codes, scales, zeros = _tables(operands)
    x = operands.x_values().astype(np.float32)
    return gemm_t_mac(x, codes, scales, zeros, _setting(operands)).values


def _t_mac_one(operands: Operands) -> float:
    w, setting = Row.of(operands.w), _setting(operands)
    half = 1 << setting.bits - 1
    less = half - _halved(operands)
    scales = [np.float32(scale) for scale in w.scales]
    # Symmetric weights have their zero at half of the range: nothing is left to move.
    moved = [
        np.float32(0) if less else np.float32(zero - half) * scale
        for zero, scale in zip(w.zeros, scales, strict=True)
    ]
    padding = [0] * (-len(w.codes) % setting.activation_group)
    x = [np.float32(value) for value in [*operands.x_values()[0].tolist(), *padding]]
    codes = [*(code + less for code in w.codes), *padding]
    return float(dot_quantised(x, codes, scales, moved, setting)[0])


def _l_mul(operands: Operands) -> Values:
    assert not isinstance(operands.x, Encoded)
    assert not isinstance(operands.w, Encoded)
    return gemm_added(operands.x, operands.w, l_mul(BF16))


def _l_mul_one(operands: Operands) -> float:
    assert not isinstance(operands.x, Encoded)
    assert not isinstance(operands.w, Encoded)
    return dot_added(operands.x[0].tolist(), operands.w[0].tolist(), l_mul(BF16))


INT4 = "int4-g128"
FLOAT_PATHS = (
    _fp16_path("mixpe", "MixPE: INT4 x FP16, exact product, one rounding", chain=False),
    _fp16_path("mixpe_chain", "MixPE: INT4 x FP16, chain of FP16 additions", chain=True),
    Datapath(
        "figna",
        f"FIGNA: activations aligned to integers of {ALIGNED_BITS} bits",
        INT4,
        "fp16",
        symmetric_and_fp16(8),
        _pre_aligned,
        _pre_aligned_one,
        None,
    ),
    Datapath(
        "t_mac",
        "T-MAC: tables rounded to INT8",
        INT4,
        "fp16",
        _table_groups,
        _t_mac,
        _t_mac_one,
        None,
    ),
    Datapath(
        "l_mul",
        "L-Mul: bit patterns of BF16 added in place of a product",
        "bf16",
        "bf16",
        plain("bf16"),
        _l_mul,
        _l_mul_one,
        None,
    ),
    _tree_path("pim_fp16", "PIM bank: 16 lanes, everything rounded to FP16", "fp16", 10),
    _tree_path("pim_bf16", "PIM bank: 16 lanes, everything rounded to BF16", "bf16", 7),
    _ordered_path("chain_fp16", "FP16 multiply, then FP16 add", "fp16", ("fp16", "fp16"), 10),
    Datapath(
        "fma_fp16",
        "FP16 fused multiply-add, in order of K",
        "fp16",
        "fp16",
        plain("fp16"),
        lambda operands: gemm_fused(*_plain_halves(operands)),
        lambda operands: dot_fused(*(each[0].tolist() for each in _plain_halves(operands))),
        None,
        10,
    ),
    _ordered_path("chain_bf16", "BF16 multiply, then BF16 add", "bf16", ("bf16", "bf16"), 7),
    _ordered_path(
        "split_k",
        f"split-K: {SPLITS} sums in FP32, stored and added up in FP16",
        "fp16",
        ("fp32", "fp16"),
        10,
        SPLITS,
    ),
)
