"""FP16 and BF16 values in float32 carriers, rounded after each operation; for compiled kernels.

Numba has no 16-bit floats. A float32 holds every value of both, and one multiplication or addition
in float32 followed by one rounding gives what the 16-bit operation gives: 24 bits are at least
2 p + 2 for p = 11 and p = 8, so the first rounding never changes the second (Figueroa, 1995). Two
exceptions: products of BF16 below 2^-126, where float32 itself is subnormal (rounded twice), and a
fused multiply-add, which is not to be built from these.
NaN and infinity go through; overflow gives infinity; subnormals are kept.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

FP16, BF16, FP32 = range(3)
KINDS = {"fp16": FP16, "bf16": BF16, "fp32": FP32}

#: Twice the smallest normal FP16's unit, as a float32 whose last bit is the last of a subnormal.
_SUBNORMAL = np.float32(0.75)
_LEAST_NORMAL = np.float32(2.0**-14)
_FP16_LIMIT = np.float32(65520.0)
_INFINITY = np.float32(np.inf)


@intrinsic
def bits_of(typing_context: Any, value: Any) -> Any:
    """Return the bits of a float32 as uint32."""
    del typing_context

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), build


@intrinsic
def float_of(typing_context: Any, value: Any) -> Any:
    """Return the float32 of uint32 bits."""
    del typing_context

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), build


@register_jitable
def to_bf16(value: np.float32) -> np.float32:
    """Return a float32 rounded to BF16, to nearest even."""
    bits = bits_of(value)  # type: ignore[call-arg, var-annotated]
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = float_of((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000))
    return rounded if value == value else value


@register_jitable
def to_fp16(value: np.float32) -> np.float32:
    """Return a float32 rounded to FP16, to nearest even."""
    bits = bits_of(value)  # type: ignore[call-arg, var-annotated]
    odd = (bits >> np.uint32(13)) & np.uint32(1)
    normal = float_of((bits + np.uint32(0xFFF) + odd) & np.uint32(0xFFFFE000))
    size = abs(value)
    # The sum with 0.75 has its last bit where a subnormal has it: the addition rounds.
    small = (size + _SUBNORMAL) - _SUBNORMAL
    small = -small if bits >> np.uint32(31) else small
    limited = -_INFINITY if value < 0 else _INFINITY
    rounded = small if size < _LEAST_NORMAL else normal
    rounded = limited if size >= _FP16_LIMIT else rounded
    return rounded if value == value else value


Row = NDArray[np.float32]


@register_jitable
def multiply_row(out: Row, x: np.float32, row: Row, kind: int) -> None:
    """Set out to x times a row, rounded to FP16, BF16 or FP32; each loop is vectorised."""
    if kind == FP16:
        for n in range(out.size):
            out[n] = to_fp16(x * row[n])
    elif kind == BF16:
        for n in range(out.size):
            out[n] = to_bf16(x * row[n])
    else:
        for n in range(out.size):
            out[n] = x * row[n]


@register_jitable
def add_rows(out: Row, left: Row, right: Row, kind: int) -> None:
    """Set out to the sum of two rows, rounded to FP16, BF16 or FP32; each loop is vectorised."""
    if kind == FP16:
        for n in range(out.size):
            out[n] = to_fp16(left[n] + right[n])
    elif kind == BF16:
        for n in range(out.size):
            out[n] = to_bf16(left[n] + right[n])
    else:
        for n in range(out.size):
            out[n] = left[n] + right[n]
