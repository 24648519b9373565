"""Scales in two levels: small integer scales of groups under one FP16 scale of the channel.

Codes are the integers themselves. Every `*_one` is the specification; NaN, infinity and roundings
of quotients are as in `scaling`.

Sources: Lin et al., QServe, MLSys 2025, github.com/mit-han-lab/qserve. Dai et al., VS-Quant, MLSys
2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.groups import group_sizes, reduce_groups, spread
from simulator.formats.integer import Doubles, Integers, round_all, round_one
from simulator.formats.minifloat import Floats
from simulator.formats.rounding import Rounding
from simulator.formats.scaling import checked, code_range, refuse_bits, scale_one, scales_of

#: The largest magnitude of QServe's first level that its second level cannot carry beyond INT8.
QSERVE_CLIP = 119


@dataclass(frozen=True, eq=False)
class TwoLevel:
    """A quantised array with integer scales: value = (code - zero) * scale * channel_scale.

    scales (uint8) and zeros (uint8, None: symmetric): one for every group along the last axis;
    channel_scales: FP16, one for every vector along it, with an axis of length 1.
    """

    codes: Integers
    scales: NDArray[np.uint8]
    zeros: NDArray[np.uint8] | None
    channel_scales: NDArray[np.float16]
    group: int
    bits: int
    scale_bits: int

    def integers(self) -> NDArray[np.int64]:
        """Return (code - zero) * scale: what an integer dot product of the channel adds up."""
        sizes = (*[1] * (self.codes.ndim - 1), self.group)
        whole = self.codes.astype(np.int64)
        if self.zeros is not None:
            whole = whole - spread(self.zeros.astype(np.int64), sizes, self.codes.shape)
        scales: NDArray[np.int64] = spread(self.scales.astype(np.int64), sizes, self.codes.shape)
        return whole * scales

    def values(self) -> Doubles:
        """Return the values that the codes stand for, exactly."""
        return self.integers().astype(np.float64) * self.channel_scales.astype(np.float64)

    @property
    def total_bits(self) -> int:
        """Bits of all codes, zero points and scales of both levels."""
        metadata = self.scale_bits + (self.bits if self.zeros is not None else 0)
        groups = self.scales.size * metadata
        return self.codes.size * self.bits + groups + 16 * self.channel_scales.size

    @property
    def bits_per_value(self) -> Fraction:
        """Mean bits of one value, everything included; 0 of nothing."""
        return Fraction(self.total_bits, max(1, self.codes.size))


def qserve(values: Floats, group: int = 128) -> TwoLevel:
    """Quantise weights (..., K) as QServe does: INT8 by channel, then UINT4 by group of it.

    Level 1: scale FP16 of max|w| / 119 for every vector, w8 = RNE(w / scale) within +-119, the
    protective range. Level 2: `qserve_second_level`. Bits: 4 + (8 + 4) / group + 16 / K.
    Errors: those of `rtn`.
    """
    exact = checked("qserve", values)
    group_sizes("qserve", values.shape, "group", group)
    sizes = group_sizes("qserve", values.shape, "channel", None)
    largest = reduce_groups(np.maximum, np.abs(values), sizes)
    channels = scales_of("qserve", largest, QSERVE_CLIP, 16)
    wide = np.rint(exact / channels.astype(np.float64))
    eight = np.clip(wide, -QSERVE_CLIP, QSERVE_CLIP).astype(np.int8)
    codes, scales, zeros = qserve_second_level(eight, group)
    return TwoLevel(codes, scales, zeros, channels.astype(np.float16), group, 4, 8)


def qserve_second_level(
    eight: NDArray[np.int8], group: int = 128
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the UINT4 codes of INT8 weights (..., K), and scale and zero of every group.

    scale = RNE((max - min) / 15), at least 1, over the group's weights and 0; zero =
    RNE(-min / scale); code = RNE(w8 / scale) + zero, both within 0 to 15. The kernel computes
    (code - zero) * scale in INT8: weights within +-119 give at most +-121, 120 gives up to 128.
    """
    sizes = group_sizes("qserve", eight.shape, "group", group)
    below = np.minimum(reduce_groups(np.minimum, eight, sizes), 0)
    above = np.maximum(reduce_groups(np.maximum, eight, sizes), 0)
    scales = np.maximum(1, np.rint((above - below) / 15))
    zeros = np.clip(np.rint(-below / scales), 0, 15)
    quotients = np.rint(eight / spread(scales, sizes, eight.shape))
    codes = np.clip(quotients + spread(zeros, sizes, eight.shape), 0, 15)
    return codes.astype(np.uint8), scales.astype(np.uint8), zeros.astype(np.uint8)


def qserve_second_level_one(eight: Sequence[int]) -> tuple[list[int], int, int]:
    """Return codes, scale and zero of one group of QServe's second level."""
    least, most = min(0, *eight), max(0, *eight)
    even = Rounding.NEAREST_EVEN
    scale = max(1, round_one(Fraction(most - least, 15), even))
    zero = min(15, round_one(Fraction(-least, scale), even))
    whole = [round_one(Fraction(weight, scale), even) + zero for weight in eight]
    return [min(15, max(0, code)) for code in whole], scale, zero


def vs_quant(
    values: Floats,
    bits: int,
    group: int = 16,
    *,
    scale_bits: int = 4,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    seed: int = 0,
) -> TwoLevel:
    """Quantise (..., K) symmetrically with an integer scale for each group (VS-Quant).

    A group's ideal scale is max|x| / (2^(bits-1) - 1); the channel's FP16 scale is the largest of
    them / (2^scale_bits - 1), and a group stores RNE(ideal / channel scale), at least 1. Codes are
    taken with the stored scales and saturate. Bits: bits + scale_bits / group + 16 / K.
    Errors: those of `rtn`, and InputError for scale_bits not 1 to 8.
    """
    refuse_bits("vs_quant", bits, 2)
    if not 1 <= scale_bits <= 8:
        raise InputError(f"vs_quant: scale_bits must be 1 to 8, got {scale_bits}")
    exact = checked("vs_quant", values)
    sizes = group_sizes("vs_quant", values.shape, "group", group)
    low, high, top = code_range(bits, asymmetric=False)
    ideal = reduce_groups(np.maximum, np.abs(values), sizes) / top
    scales, channels = integer_scales("vs_quant", ideal, scale_bits)
    stored = scales * channels.astype(np.float64)
    quotients = exact / spread(stored, sizes, values.shape)
    codes = np.clip(round_all(quotients, rounding, seed), low, high)
    return TwoLevel(
        codes.astype("int8" if bits <= 8 else "int16"),
        scales,
        None,
        channels,
        group,
        bits,
        scale_bits,
    )


def integer_scales(
    what: str, ideal: Doubles, scale_bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Return integer scales of groups (..., groups), at least 1, and the channels' FP16 scales.

    ideal: the scales that groups would like; the largest of a channel gets the largest integer.
    Errors: InputError, that starts with `what`, for a channel scale beyond FP16.
    """
    most = (1 << scale_bits) - 1
    whole = group_sizes(what, ideal.shape, "channel", None)
    channels = scales_of(what, reduce_groups(np.maximum, ideal, whole), most, 16)
    scales = np.clip(np.rint(ideal / channels.astype(np.float64)), 1, most)
    return scales.astype(np.uint8), channels.astype(np.float16)


def vs_quant_one(
    groups: Sequence[Sequence[float]], bits: int, scale_bits: int = 4
) -> tuple[list[list[int]], list[int], float]:
    """Return codes and scales of the groups of one channel, and the channel's scale."""
    low, high, top = code_range(bits, asymmetric=False)
    ideal = [max(abs(value) for value in group) / top for group in groups]
    most = (1 << scale_bits) - 1
    channel = scale_one(max(ideal) / most, 16)
    even = Rounding.NEAREST_EVEN
    scales = [min(most, max(1, round_one(scale / channel, even))) for scale in ideal]
    codes = [
        [min(high, max(low, round_one(value / (scale * channel), even))) for value in group]
        for group, scale in zip(groups, scales, strict=True)
    ]
    return codes, scales, channel
