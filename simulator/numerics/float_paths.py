"""Datapaths with floating point for `verify`: what is rounded where stands in the module of each.

Where a module leaves scales of groups to its caller (FIGNA), float32 multiplies by the scale of the
group and adds up groups in order, each rounding once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.formats.presets import BF16
from simulator.formats.rounding import Rounding
from simulator.numerics.added_patterns import dot_added, gemm_added, l_mul
from simulator.numerics.mac_tree import dot_tree, gemm_tree
from simulator.numerics.operands import (
    Datapath,
    Operands,
    Values,
    fp16_activations,
    int4_and_fp16,
    plain,
    signed_weights,
)
from simulator.numerics.pre_aligned import dot_pre_aligned, gemm_pre_aligned
from simulator.numerics.shift_add_fp16 import dot_w4a16, gemm_w4a16
from simulator.numerics.t_mac import Setting, dot_quantised, gemm_t_mac, moved_zeros

#: Bits of an aligned activation: assumed, the 11 of FP16 and 3 more.
ALIGNED_BITS = 14


def _tree_path(name: str, summary: str, kind: str, mantissa_bits: int) -> Datapath:
    kinds = (kind, kind, kind)

    def run(operands: Operands) -> Values:
        x, w = (each.astype(np.float32) for each in (operands.x_values(), operands.w_values()))
        return gemm_tree(x, w, 16, kinds)

    def one(operands: Operands) -> float:
        x, w = (each.astype(np.float32) for each in (operands.x_values(), operands.w_values()))
        return float(dot_tree(x[0], w[0], 16, kinds))

    return Datapath(name, summary, kind, kind, plain(kind), run, one, None, mantissa_bits)


def _halves(operands: Operands) -> Sequence[Values]:
    """Return both operands in FP16, weights rounded to it once they are dequantised."""
    with np.errstate(over="ignore"):
        return [
            each.astype(np.float16).astype(np.float32)
            for each in (operands.x_values(), operands.w_values())
        ]


def _dequantise_run(operands: Operands) -> Values:
    x, w = _halves(operands)
    return gemm_tree(x, w, 1, ("fp32", "fp32", "fp32"))


def _dequantise_one(operands: Operands) -> float:
    x, w = _halves(operands)
    return float(dot_tree(x[0], w[0], 1, ("fp32", "fp32", "fp32")))


def _grouped_weights(
    operands: Operands,
) -> tuple[NDArray[np.int8], Values, NDArray[np.int64] | None, int]:
    """Return codes in two's complement, scales, zero points and group of INT4 weights."""
    w = operands.w
    assert isinstance(w, Encoded)
    codes, offset = signed_weights(w.codes, operands)
    group = w.sizes[1] if w.sizes[1] > 1 else max(1, codes.shape[1])
    shape = (len(codes), -(-codes.shape[1] // group))
    scales = np.broadcast_to(w.scales, shape).astype(np.float32)
    zeros = None if w.zeros is None else np.broadcast_to(w.zeros, shape).astype(np.int64) - offset
    return codes.astype(np.int8), scales, zeros, group


def _fp16_path(name: str, summary: str, *, chain: bool) -> Datapath:
    def run(operands: Operands) -> Values:
        x = operands.x_values().astype(np.float32)
        codes, scales, zeros, group = _grouped_weights(operands)
        return gemm_w4a16(x, codes, scales, zeros, group, chain=chain)

    def one(operands: Operands) -> float:
        x = operands.x_values()[0].tolist()
        codes, scales, zeros, group = _grouped_weights(operands)
        given = None if zeros is None else zeros[0].tolist()
        result = dot_w4a16(
            x, codes[0].tolist(), list(scales[0]), given, group, chain=chain, accumulator="fp32"
        )
        return float(result)

    return Datapath(name, summary, "int4-g128", "fp16", int4_and_fp16, run, one, None)


def _symmetric(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > 8:
        return f"weights must be int2 to int8 with a scale, got {weights.name}"
    if weights.zero_bits:
        return f"weights must be symmetric, got {weights.name}"
    return fp16_activations(weights, activations)


def _halves_of(operands: Operands) -> NDArray[np.float16]:
    assert not isinstance(operands.x, Encoded)
    return operands.x.view(np.float16)


def _pre_aligned(operands: Operands) -> Values:
    x = _halves_of(operands)
    codes, scales, _, group = _grouped_weights(operands)
    total = np.zeros((len(x), len(codes)), dtype=np.float32)
    for index in range(scales.shape[1]):
        part = slice(index * group, (index + 1) * group)
        total += gemm_pre_aligned(x[:, part], codes[:, part], ALIGNED_BITS) * scales[:, index]
    return total


def _pre_aligned_one(operands: Operands) -> float:
    x = _halves_of(operands)[0].view(np.uint16).tolist()
    codes, scales, _, group = _grouped_weights(operands)
    w, total = codes[0].tolist(), np.float32(0)
    for index, start in enumerate(range(0, len(x), group)):
        part = slice(start, start + group)
        inner = dot_pre_aligned(x[part], w[part], ALIGNED_BITS, Rounding.TOWARD_ZERO)
        total += np.float32(inner) * scales[0, index]
    return float(total)


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
    codes, scales, zeros = _tables(operands)
    setting = _setting(operands)
    moved = np.zeros_like(scales) if zeros is None else moved_zeros(zeros, scales, setting.bits)
    padding = (0, -codes.shape[1] % setting.activation_group)
    x = np.pad(operands.x_values()[0].astype(np.float32), padding)
    w = np.pad(codes[0], padding).tolist()
    return float(dot_quantised(list(x), w, list(scales[0]), list(moved[0]), setting)[0])


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
    Datapath(
        "dequantise",
        "weights to FP16 first, then FP32 multiply-add in order of K",
        INT4,
        "fp16",
        fp16_activations,
        _dequantise_run,
        _dequantise_one,
        None,
    ),
    _fp16_path("mixpe", "MixPE: INT4 x FP16, exact product, one rounding", chain=False),
    _fp16_path("mixpe_chain", "MixPE: INT4 x FP16, chain of FP16 additions", chain=True),
    Datapath(
        "figna",
        f"FIGNA: activations aligned to integers of {ALIGNED_BITS} bits",
        INT4,
        "fp16",
        _symmetric,
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
)
