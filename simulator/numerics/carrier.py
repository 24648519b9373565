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

_EXPONENT, _SIGN = np.uint32(0x7F800000), np.uint32(0x80000000)
_NAN = np.float32(np.nan)
#: The bits of 2^-14, the least normal FP16; what becomes infinity; a factor that makes it so.
_LEAST_NORMAL = np.uint32(0x38800000)
_FP16_LIMIT, _INFINITE = np.float32(65520.0), np.float32(2.0**127)
_LIFT = np.float32(1.5 * 2**13)


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


@intrinsic
def multiply_add(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x y + z where x y is exact, so that one instruction or two give the same bits."""
    del typing_context

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FloatType()
        name, signature = "llvm.fmuladd", ir.FunctionType(kind, [kind] * 3)
        return builder.call(builder.module.declare_intrinsic(name, [kind], signature), arguments)

    return types.float32(types.float32, types.float32, types.float32), build


@intrinsic
def widest_vectors(typing_context: Any) -> Any:
    """Let loops of the calling function use vectors of 512 bits where the processor has them.

    LLVM prefers 256. llvmlite has no name for this attribute: it is put into its set as text.
    """
    del typing_context

    def build(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), build


@register_jitable
def sum_to_bf16(value: np.float32) -> np.float32:
    """Return a float32 rounded to BF16, to nearest even; the last 16 bits of a NaN must be 0.

    Those of sums of BF16 values are: a NaN is one of the operands, or the processor's own.
    """
    bits = bits_of(value)  # type: ignore[call-arg, var-annotated]
    half = np.uint32(0x8000) if bits & np.uint32(0x10000) else np.uint32(0x7FFF)
    return float_of((bits + half) & np.uint32(0xFFFF0000))


@register_jitable
def to_bf16(value: np.float32) -> np.float32:
    """Return a float32 rounded to BF16, to nearest even; any NaN gives a NaN of BF16."""
    rounded = sum_to_bf16(value)
    return rounded if value == value else _NAN


@register_jitable
def to_fp16(value: np.float32) -> np.float32:
    """Return a float32 rounded to FP16, to nearest even.

    The sum with 1.5 x 2^13 times the value's own power of two has its last bit where FP16 has it,
    as the sum with that of the least normal value has for subnormals: the addition rounds.
    """
    bits = bits_of(value)  # type: ignore[call-arg, var-annotated]
    power = float_of(max(bits & _EXPONENT, _LEAST_NORMAL))
    lifted = multiply_add(power, _LIFT, value)
    size = multiply_add(power, -_LIFT, lifted)
    # A difference of 0 is +0, whatever the sign of the value.
    rounded = float_of(bits_of(size) | (bits & _SIGN))
    return value * _INFINITE if abs(value) >= _FP16_LIMIT else rounded


Row = NDArray[np.float32]


@register_jitable
def copy_row(out: Row, row: Row) -> None:
    """Set out to a row; an assignment to a slice would compile the words of its error for 3 s."""
    for n in range(out.size):
        out[n] = row[n]


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
    """Set out to the sum of two rows of such values; each loop is vectorised."""
    if kind == FP16:
        for n in range(out.size):
            out[n] = to_fp16(left[n] + right[n])
    elif kind == BF16:
        for n in range(out.size):
            out[n] = sum_to_bf16(left[n] + right[n])
    else:
        for n in range(out.size):
            out[n] = left[n] + right[n]
