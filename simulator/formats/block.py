"""Block formats: consecutive elements along the last axis that share one scale of few bits.

`BlockFormat.encode_one` and `decode_one` are the specification, of one block; `encode` and
`Blocks.values` are arrays. Two rules give the scale of a block:

- A power of two (E8M0; OCP Microscaling, BFP): 2 to the floor(log2 amax) - emax, where emax is the
  exponent of the element's largest value; read from the bits of amax, within 2^-127 and 2^127.
  Elements are x / scale, exact, rounded once. amax just below the next power of two saturates.
- A float (E4M3; NVFP4, NVINT4): amax / largest element, rounded half to even to E4M3 and kept
  between its smallest and its largest value. With a tensor scale (FP32) amax is divided by that
  too. Quotients are computed in float64 and rounded once: exactly what float32 values round to.

- Elements beyond the largest value saturate. The last block of a vector may be short.
- NaN or infinity in a block makes its scale NaN, hence all of its values, in every format; its
  element codes are 0. OCP leaves the conversion of such blocks to the implementation.
- A block of zeros has the smallest scale. -0 keeps its sign in float elements.
- float32 subnormals are read as the values they are. Below the smallest scale elements underflow.
- Decoded values encode to the same codes, except in E4M3 blocks whose scale is subnormal (< 2^-6):
  there the scale is so coarse that the largest element need not be the largest code.

Sources: OCP Microscaling Formats v1.0 (2023); MXINT8 leaves the code of -2
unused, as it permits. NVIDIA, NVFP4 (Blackwell): block 16, E4M3 scales, tensor scale amax / (448 *
6). torchao clamps its scales at 2^-6 instead. NVINT4: Chen et al., arXiv 2510.25602. BFP: Darvish
Rouhani et al., NeurIPS 2020 (MSFP).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import frexp, isfinite, ldexp
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats import minifloat
from simulator.formats.groups import group_sizes, reduce_groups, spread
from simulator.formats.integer import Doubles, FixedPoint, refuse_dtype
from simulator.formats.minifloat import Codes, Floats, Minifloat
from simulator.formats.presets import (
    E8M0,
    FP4_E2M1FN,
    FP6_E2M3FN,
    FP6_E3M2FN,
    FP8_E4M3FN,
    FP8_E5M2,
)
from simulator.formats.rounding import Overflow, Rounding

_FP32 = np.finfo(np.float32)
#: Blocks of this size have a compiled path.
_OCP_BLOCK = 32


@dataclass(frozen=True)
class BlockFormat:
    """Blocks of `block` elements with a scale in E8M0 (a power of two) or in a signed float.

    Errors: InputError for a format that cannot be.
    """

    name: str
    element: Minifloat | FixedPoint
    block: int
    scale: Minifloat

    def __post_init__(self) -> None:
        """Refuse impossible combinations, all of them in one error."""
        problems = []
        if self.block < 1:
            problems.append(f"a block has 1 element or more, got {self.block}")
        if self.scale.nan is None:
            problems.append(f"the scale needs a NaN, {self.scale.name} has none")
        if not self.element.signed:
            problems.append("elements are signed")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @property
    def largest(self) -> float:
        """The largest finite value of an element."""
        if isinstance(self.element, FixedPoint):
            return self.element.highest
        return float(self.element.magnitude(self.element.largest))

    @property
    def emax(self) -> int:
        """The exponent of the largest value of an element."""
        return frexp(self.largest)[1] - 1

    @property
    def bits_per_value(self) -> Fraction:
        """Bits of an element and its share of a full block's scale, without a tensor scale."""
        return self.element.bits + Fraction(self.scale.bits, self.block)

    @property
    def _has_power_scale(self) -> bool:
        return not self.scale.has_zero

    @property
    def _nan_scale(self) -> int:
        return self.scale.nan or 0

    def scale_one(self, values: Sequence[float], tensor_scale: float = 1.0) -> int:
        """Return the scale code of a block; see the module for the rule."""
        if not all(isfinite(value) for value in values):
            return self._nan_scale
        amax = max(abs(value) for value in values)
        if self._has_power_scale:
            code = frexp(amax)[1] - 1 - self.emax + self.scale.bias
            return min(self.scale.largest, max(0, code)) if amax else 0
        raw = amax / (self.largest * tensor_scale)
        return max(1, self.scale.encode_one(raw, Rounding.NEAREST_EVEN, Overflow.SATURATE))

    def encode_one(
        self,
        values: Sequence[float],
        rounding: Rounding = Rounding.NEAREST_EVEN,
        randoms: Sequence[int] | None = None,
        tensor_scale: float = 1.0,
    ) -> tuple[list[int], int]:
        """Return the element codes and the scale code of one block.

        randoms: `rounding.random_24` of each element, for stochastic rounding.
        """
        scale_code = self.scale_one(values, tensor_scale)
        if scale_code == self._nan_scale:
            return [0] * len(values), scale_code
        scale = self.scale.decode_one(scale_code)
        codes = []
        for value, random in zip(values, randoms or [0] * len(values), strict=True):
            if self._has_power_scale:
                scaled = ldexp(value, 1 - frexp(scale)[1])
            else:
                scaled = value / (scale * tensor_scale)
            codes.append(self.element.encode_one(scaled, rounding, Overflow.SATURATE, random))
        return codes, scale_code

    def decode_one(
        self, codes: Sequence[int], scale_code: int, tensor_scale: float = 1.0
    ) -> list[float]:
        """Return the values of one block, exactly; InputError where a code is not one."""
        scale = self.scale.decode_one(scale_code) * tensor_scale
        return [self.element.decode_one(code) * scale for code in codes]

    def encode(
        self,
        values: Floats,
        rounding: Rounding = Rounding.NEAREST_EVEN,
        seed: int = 0,
        *,
        tensor_scale: bool = False,
    ) -> "Blocks":
        """Return the blocks of float32 or float64 values (..., n) along the last axis.

        tensor_scale: with an FP32 scale of the whole array, amax / (largest scale * largest
        element). Element i of the flattened array draws random number i of `seed`. Errors:
        InputError for another dtype, an array without axes, a tensor scale beside E8M0 scales.
        """
        refuse_dtype(self.name, values)
        sizes = group_sizes(self.name, values.shape, "group", self.block)
        if tensor_scale and self._has_power_scale:
            raise InputError(f"{self.name}: only blocks with float scales have a tensor scale")
        if self._is_compiled(values, rounding):
            from simulator.formats.block_kernel import encode_blocks

            return Blocks(self, *encode_blocks(self, values), None)
        exact, bad = self._finite(values, sizes)
        amax = reduce_groups(np.maximum, np.abs(exact), sizes)
        whole = self._tensor_scale(amax) if tensor_scale else None
        scale_codes = self._scale_codes(amax, whole or 1.0)
        scales = minifloat.decode(self.scale, scale_codes).astype(np.float64) * (whole or 1.0)
        scaled = self._scaled(exact, spread(scales, sizes, values.shape))
        codes = self._element_codes(scaled, rounding, seed)
        codes = np.where(spread(bad, sizes, values.shape), 0, codes).astype(codes.dtype)
        scale_codes = np.where(bad, self._nan_scale, scale_codes).astype(np.uint8)
        return Blocks(self, codes, scale_codes, whole)

    def _is_compiled(self, values: Floats, rounding: Rounding) -> bool:
        return (
            isinstance(self.element, Minifloat)
            and self._has_power_scale
            and self.block == _OCP_BLOCK
            and values.dtype == np.float32
            and rounding is Rounding.NEAREST_EVEN
        )

    def _finite(self, values: Floats, sizes: tuple[int, ...]) -> tuple[Doubles, NDArray[np.bool_]]:
        """Return values with 0 for what is not finite, and which blocks hold such."""
        finite = np.isfinite(values)
        bad = reduce_groups(np.logical_and, finite, sizes) == 0
        return np.where(finite, values, 0).astype(np.float64), bad

    def _tensor_scale(self, amax: Doubles) -> float:
        largest = float(amax.max(initial=0.0))
        if largest == 0:
            return 1.0
        raw = largest / (float(self.scale.magnitude(self.scale.largest)) * self.largest)
        return float(np.float32(np.clip(raw, float(_FP32.smallest_subnormal), float(_FP32.max))))

    def _scale_codes(self, amax: Doubles, tensor_scale: float) -> Codes:
        if self._has_power_scale:
            codes = np.frexp(amax)[1] - 1 - self.emax + self.scale.bias
            return np.where(amax == 0, 0, np.clip(codes, 0, self.scale.largest)).astype(np.uint8)
        raw = amax / (self.largest * tensor_scale)
        codes = minifloat.encode(self.scale, raw, Rounding.NEAREST_EVEN, Overflow.SATURATE)
        return np.maximum(codes, 1)

    def _scaled(self, values: Doubles, scales: NDArray[np.float64]) -> Doubles:
        if self._has_power_scale:
            scaled: Doubles = np.ldexp(values, 1 - np.frexp(scales)[1])
            return scaled
        return values / scales

    def _element_codes(self, scaled: Doubles, rounding: Rounding, seed: int) -> Codes:
        if isinstance(self.element, FixedPoint):
            return self.element.encode(scaled, rounding, Overflow.SATURATE, seed)
        return minifloat.encode(self.element, scaled, rounding, Overflow.SATURATE, seed)


@dataclass(frozen=True, eq=False)
class Blocks:
    """An array in a block format: element codes, scale codes, and the tensor scale if it has one.

    codes: in the shape (..., n) of the values; scales: (..., ceil(n / block)), codes of the scale.
    """

    form: BlockFormat
    codes: NDArray[np.unsignedinteger[Any]]
    scales: NDArray[np.unsignedinteger[Any]]
    tensor_scale: float | None = None

    def scale_values(self) -> Doubles:
        """Return the values of the scales, the tensor scale included, exactly."""
        own = minifloat.decode(self.form.scale, self.scales).astype(np.float64)
        return own if self.tensor_scale is None else own * self.tensor_scale

    def elements(self) -> Doubles:
        """Return the values of the elements before they are scaled."""
        element = self.form.element
        if isinstance(element, FixedPoint):
            return element.decode(self.codes)
        return minifloat.decode(element, self.codes).astype(np.float64)

    def values(self) -> Doubles:
        """Return the values (..., n), exactly: float64 holds every product."""
        sizes = (*[1] * (self.codes.ndim - 1), self.form.block)
        scales: Doubles = spread(self.scale_values(), sizes, self.codes.shape)
        return self.elements() * scales

    @property
    def total_bits(self) -> int:
        """Bits of all codes and scales, the FP32 tensor scale included."""
        blocks = self.codes.size * self.form.element.bits + self.scales.size * self.form.scale.bits
        return blocks + (0 if self.tensor_scale is None else 32)

    @property
    def bits_per_value(self) -> Fraction:
        """Mean bits of one value, every scale included; 0 of nothing."""
        return Fraction(self.total_bits, max(1, self.codes.size))


def bfp(mantissa_bits: int, block: int) -> BlockFormat:
    """Return block floating point: a sign, `mantissa_bits` (1 to 15) and a shared exponent.

    The values are those of sign and magnitude, 1.xx steps below 2; codes are two's complement
    without the most negative. Errors: InputError.
    """
    name = f"bfp{mantissa_bits}-b{block}"
    if not 1 <= mantissa_bits <= 15:
        raise InputError(f"{name}: mantissa_bits must be 1 to 15, got {mantissa_bits}")
    return BlockFormat(name, FixedPoint(mantissa_bits + 1, 2, narrow=True), block, E8M0)


MXFP8_E4M3 = BlockFormat("mxfp8_e4m3", FP8_E4M3FN, 32, E8M0)
MXFP8_E5M2 = BlockFormat("mxfp8_e5m2", FP8_E5M2, 32, E8M0)
MXFP6_E3M2 = BlockFormat("mxfp6_e3m2", FP6_E3M2FN, 32, E8M0)
MXFP6_E2M3 = BlockFormat("mxfp6_e2m3", FP6_E2M3FN, 32, E8M0)
MXFP4 = BlockFormat("mxfp4", FP4_E2M1FN, 32, E8M0)
#: Steps of 1/64, from -127/64 to 127/64.
MXINT8 = BlockFormat("mxint8", FixedPoint(8, 2, narrow=True), 32, E8M0)
NVFP4 = BlockFormat("nvfp4", FP4_E2M1FN, 16, FP8_E4M3FN)
#: Integers from -7 to 7.
NVINT4 = BlockFormat("nvint4", FixedPoint(4, 4, narrow=True), 16, FP8_E4M3FN)

#: Every block format with a name of its own.
BLOCK_FORMATS: MappingProxyType[str, BlockFormat] = MappingProxyType(
    {
        form.name: form
        for form in (
            MXFP8_E4M3,
            MXFP8_E5M2,
            MXFP6_E3M2,
            MXFP6_E2M3,
            MXFP4,
            MXINT8,
            NVFP4,
            NVINT4,
        )
    }
)


@lru_cache(maxsize=1024)
def block_format(name: str) -> BlockFormat:
    """Return the block format that `formats.names` calls so: one of the above, or `bfpM_bN`."""
    if name in BLOCK_FORMATS:
        return BLOCK_FORMATS[name]
    mantissa_bits, block = name.removeprefix("bfp").split("_b")
    return bfp(int(mantissa_bits), int(block))
