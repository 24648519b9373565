"""Quantisers that give each group of an array a scale: by its minimum and maximum.

`rtn` and `dynamic_fixed_point` return integers themselves, not their bit patterns. Every `*_one`
is the specification, of one group.

Quotients are computed in float64 and rounded once to an integer. For float32 values this is what
the exact quotient would round to: a tie of codes times a scale has at most 41 significant bits: a
float64 quotient cannot fall on a tie, or across one, by its own rounding.

- NaN and infinity are refused: they have no part in a maximum.
- A scale too small for its format becomes its smallest value; -0 is 0.

Sources: Jacob et al., CVPR 2018 (zero points; the range always holds 0). Courbariaux et al., arXiv
1412.7024 (dynamic fixed point). Ma et al., arXiv 2402.17764 (ternary). The search for ratios that
clip best is in `clipping`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import frexp

import numpy as np
from numpy.typing import ArrayLike

from simulator.errors import InputError
from simulator.formats.groups import Sharing, group_sizes, reduce_groups, spread
from simulator.formats.integer import (
    Doubles,
    Integer,
    Integers,
    round_all,
    round_one,
)
from simulator.formats.minifloat import Floats
from simulator.formats.presets import FP16
from simulator.formats.rounding import Overflow, Rounding

#: Exponents that dynamic fixed point can store in 8 bits.
EXPONENTS = (-128, 127)


@dataclass(frozen=True, eq=False)
class Scaled:
    """A quantised array: value = (code - zero) * scale of its group.

    codes: integers in the shape of the values; scales and zeros (None: symmetric): one for each
    group, with as many axes; sizes: of a group along every axis. bits: of a code and of a zero;
    scale_bits: of a scale.
    """

    codes: Integers
    scales: Floats
    zeros: Integers | None
    sizes: tuple[int, ...]
    bits: int
    scale_bits: int

    def values(self) -> Doubles:
        """Return the values that the codes stand for, exactly (float64 holds every product)."""
        whole = self.codes.astype(np.float64)
        if self.zeros is not None:
            whole = whole - spread(self.zeros, self.sizes, self.codes.shape)
        scales = spread(self.scales, self.sizes, self.codes.shape)
        return whole * scales.astype(np.float64)

    @property
    def total_bits(self) -> int:
        """Bits of all codes, scales and zero points."""
        metadata = self.scale_bits + (self.bits if self.zeros is not None else 0)
        return self.codes.size * self.bits + self.scales.size * metadata

    @property
    def bits_per_value(self) -> Fraction:
        """Mean bits of one value, scales and zero points included; 0 of nothing."""
        return Fraction(self.total_bits, max(1, self.codes.size))


def rtn(
    values: ArrayLike,
    bits: int,
    sharing: Sharing = "channel",
    group: int | tuple[int, int] | None = None,
    *,
    asymmetric: bool = False,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    scale_bits: int = 16,
    seed: int = 0,
    clip: float | Doubles = 1.0,
) -> Scaled:
    """Quantise by rounding to nearest: minimum and maximum of each group give its scale.

    Symmetric: scale = max|x| / (2^(bits-1) - 1), codes int8 or int16 of two's complement.
    Asymmetric: scale = (max - min) / (2^bits - 1) over the group's values and 0, so that the zero
    point round(-min / scale) is a code and 0 is exact; codes uint8 or uint16. The scale is rounded
    (half to even) to FP16 or FP32 before it divides, the zero point half to even whatever
    `rounding` is; codes saturate. A group of zeros has scale 1. The last group along an axis may
    be short. Element i of the flattened array draws random number i of `seed`.

    clip: minimum and maximum are multiplied by it, float64, before anything else; one ratio, or one
    for each group in the shape of the scales. What lies outside saturates, to the lowest code too.

    Errors: InputError for values that are not finite floats (`floats`), bits not 1 to 16
    (symmetric: 2 to 16), scale_bits not 16 or 32, a scale beyond its format, bad groups, ratios
    not above 0 and at most 1 or not one a group, a seed that is no integer.
    """
    _refuse_rtn(bits, asymmetric, scale_bits)
    values = floats("rtn", values)
    refuse_seed("rtn", seed)
    exact = checked("rtn", values)
    sizes = group_sizes("rtn", values.shape, sharing, group)
    low, high, top = code_range(bits, asymmetric)
    largest = reduce_groups(np.maximum, values if asymmetric else np.abs(values), sizes)
    _refuse_clip(clip, largest.shape)
    above = np.maximum(largest, 0) * clip
    if asymmetric:
        below = np.minimum(reduce_groups(np.minimum, values, sizes), 0) * clip
        with np.errstate(over="ignore"):
            span = above - below
        scales = scales_of("rtn", span, top, scale_bits)
        zeros = np.clip(np.rint(-below / scales.astype(np.float64)), low, high)
    else:
        scales = scales_of("rtn", above, top, scale_bits)
        zeros = np.zeros(scales.shape)
    quotients = exact / spread(scales, sizes, values.shape).astype(np.float64)
    codes = round_all(quotients, rounding, seed) + spread(zeros, sizes, values.shape)
    kind = f"{'u' if asymmetric else ''}int{8 if bits <= 8 else 16}"
    stored = np.clip(codes, low, high).astype(kind)
    return Scaled(
        stored, scales, zeros.astype(kind) if asymmetric else None, sizes, bits, scale_bits
    )


def rtn_one(
    values: Sequence[float],
    bits: int,
    *,
    asymmetric: bool = False,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    scale_bits: int = 16,
    randoms: Sequence[int] | None = None,
    clip: float = 1.0,
) -> tuple[list[int], float, int]:
    """Return codes, scale and zero point of one group; randoms: `rounding.random_24` of each."""
    low, high, top = code_range(bits, asymmetric)
    least, most = min(0.0, *values) * clip, max(0.0, *values) * clip
    span = most - least if asymmetric else max(most, -least)
    scale = scale_one(span / top, scale_bits)
    zero = 0
    if asymmetric:
        zero = min(high, round_one(-least / scale, Rounding.NEAREST_EVEN))
    codes = [
        min(high, max(low, round_one(value / scale, rounding, random) + zero))
        for value, random in zip(values, randoms or [0] * len(values), strict=True)
    ]
    return codes, scale, zero


def dynamic_fixed_point(
    values: ArrayLike,
    bits: int,
    sharing: Sharing = "tensor",
    group: int | tuple[int, int] | None = None,
    *,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    seed: int = 0,
) -> Scaled:
    """Quantise to two's complement with one 8-bit exponent for each group.

    The scale is the least power of two with max|x| < 2^(bits-1) * scale, from 2^-128 to 2^127 (the
    exponent comes from the bits of max|x|); 1 for a group of zeros. Codes saturate. Errors: those
    of `rtn`.
    """
    refuse_bits("dynamic_fixed_point", bits, 2)
    values = floats("dynamic_fixed_point", values)
    refuse_seed("dynamic_fixed_point", seed)
    exact = checked("dynamic_fixed_point", values)
    sizes = group_sizes("dynamic_fixed_point", values.shape, sharing, group)
    largest = reduce_groups(np.maximum, np.abs(values), sizes)
    exponents = np.clip(np.frexp(largest)[1] - (bits - 1), *EXPONENTS)
    exponents = np.where(largest == 0, 0, exponents)
    steps = np.ldexp(exact, -spread(exponents, sizes, values.shape))
    low, high, _ = code_range(bits, asymmetric=False)
    codes = np.clip(round_all(np.clip(steps, low, high), rounding, seed), low, high)
    stored = codes.astype("int8" if bits <= 8 else "int16")
    return Scaled(stored, np.ldexp(1.0, exponents), None, sizes, bits, 8)


def dynamic_fixed_point_one(
    values: Sequence[float], bits: int, rounding: Rounding = Rounding.NEAREST_EVEN
) -> tuple[list[int], int]:
    """Return the codes and the exponent of one group; stochastic rounding draws 0 for each."""
    largest = max(abs(value) for value in values)
    exponent = min(EXPONENTS[1], max(EXPONENTS[0], frexp(largest)[1] - (bits - 1)))
    exponent = exponent if largest else 0
    integer = Integer(bits)
    step = Fraction(2) ** exponent
    whole = [round_one(Fraction(value) / step, rounding) for value in values]
    return [min(integer.highest, max(integer.lowest, code)) for code in whole], exponent


def absmean(
    values: ArrayLike,
    sharing: Sharing = "tensor",
    group: int | tuple[int, int] | None = None,
    *,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    scale_bits: int = 16,
    seed: int = 0,
) -> Scaled:
    """Quantise to -1, 0 and 1 with the mean magnitude of each group as its scale (BitNet b1.58).

    The scale is rounded to FP16 or FP32 before it divides; a group of zeros has scale 1. Source: Ma
    et al., arXiv 2402.17764, equations 1 to 3 (whose epsilon of 1e-5 is left out). Errors: those of
    `rtn`.
    """
    values = floats("absmean", values)
    refuse_seed("absmean", seed)
    exact = checked("absmean", values)
    sizes = group_sizes("absmean", values.shape, sharing, group)
    counts = reduce_groups(np.add, np.ones(values.shape), sizes)
    with np.errstate(over="ignore"):
        means = reduce_groups(np.add, np.abs(exact), sizes) / counts
    scales = scales_of("absmean", means, 1, scale_bits)
    quotients = exact / spread(scales, sizes, values.shape).astype(np.float64)
    codes = np.clip(round_all(np.clip(quotients, -1, 1), rounding, seed), -1, 1)
    return Scaled(codes.astype(np.int8), scales, None, sizes, 2, scale_bits)


def absmean_one(
    values: Sequence[float], rounding: Rounding = Rounding.NEAREST_EVEN, scale_bits: int = 16
) -> tuple[list[int], float]:
    """Return the codes and the scale of one group; stochastic rounding draws 0 for each."""
    scale = scale_one(sum(abs(value) for value in values) / len(values), scale_bits)
    return [round_one(max(-1.0, min(1.0, value / scale)), rounding) for value in values], scale


def code_range(bits: int, asymmetric: bool) -> tuple[int, int, int]:
    """Return the lowest and the highest code, and how many steps the scale divides into."""
    integer = Integer(bits, signed=not asymmetric)
    return integer.lowest, integer.highest, integer.highest


def floats(what: str, values: ArrayLike) -> Floats:
    """Return floats as float32, which float16 fits into, or float64, in the machine's byte order.

    Errors: InputError, that starts with `what`, for other dtypes and rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{what}: values must be an array, got rows that do not fit") from None
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise InputError(f"{what}: values must be float16, float32 or float64, got {array.dtype}")
    return array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32, copy=False)


def checked(what: str, values: ArrayLike) -> Doubles:
    """Return values as float64; InputError where they are no finite floats."""
    array = floats(what, values)
    missing = array.size - int(np.isfinite(array).sum())
    if missing:
        raise InputError(f"{what}: {missing} of {array.size} values are NaN or infinite")
    return array.astype(np.float64)


def refuse_seed(what: str, seed: object) -> None:
    """Refuse a seed that is no integer."""
    if not isinstance(seed, int | np.integer):
        raise InputError(f"{what}: seed must be an integer, got {seed!r}")


def refuse_bits(what: str, bits: int, least: int) -> None:
    """Refuse bits of a code that are not `least` to 16."""
    if not least <= bits <= 16:
        raise InputError(f"{what}: bits must be {least} to 16, got {bits}")


def _refuse_rtn(bits: int, asymmetric: bool, scale_bits: int) -> None:
    problems = []
    least = 1 if asymmetric else 2
    if not least <= bits <= 16:
        kind = "asymmetric" if asymmetric else "symmetric"
        problems.append(f"rtn: bits must be {least} to 16 where {kind}, got {bits}")
    if scale_bits not in (16, 32):
        problems.append(f"rtn: scale_bits must be 16 or 32, got {scale_bits}")
    if problems:
        raise InputError(problems)


def _refuse_clip(clip: float | Doubles, shape: tuple[int, ...]) -> None:
    ratios = np.asarray(clip)
    problems = []
    if ratios.shape not in ((), shape):
        problems.append(f"rtn: clip must be one ratio or of shape {shape}, got {ratios.shape}")
    if not ((ratios > 0) & (ratios <= 1)).all():
        problems.append("rtn: clip must be above 0 and at most 1")
    if problems:
        raise InputError(problems)


def scales_of(what: str, spans: Doubles, steps: int, scale_bits: int) -> Floats:
    """Return spans / steps in FP16 or FP32; 1 where the span is 0, never 0 otherwise."""
    kind = np.float16 if scale_bits == 16 else np.float32
    with np.errstate(over="ignore"):
        scales = (spans / steps).astype(kind)
    if not np.isfinite(scales).all():
        raise InputError(
            f"{what}: a scale of {float(spans.max() / steps):.4g} is beyond FP{scale_bits}"
        )
    smallest = np.finfo(kind).smallest_subnormal
    return np.where(spans == 0, kind(1), np.maximum(scales, smallest))


def scale_one(raw: float, scale_bits: int) -> float:
    """Return a scale in FP16 or FP32; 1 for 0, never 0 otherwise."""
    if raw == 0:
        return 1.0
    if scale_bits == 16:
        code = FP16.encode_one(raw, Rounding.NEAREST_EVEN, Overflow.INF)
        return FP16.decode_one(max(1, code))
    return float(np.maximum(np.float32(raw), np.finfo(np.float32).smallest_subnormal))
