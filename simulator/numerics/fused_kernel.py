"""Chains of FP16 fused multiply-adds on whole matrices, compiled by Numba.

Vectorised over outputs, never along K.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled

_EXPONENT, _SIGN = np.uint64(0x7FF << 52), np.uint64(1 << 63)
#: The bits of 2^-14, the least normal FP16; what becomes infinity; a factor that makes it so.
_LEAST_NORMAL = np.uint64((1023 - 14) << 52)
_LIMIT, _INFINITE = np.float64(65520.0), np.float64(2.0**1023)
#: As in `carrier.to_fp16`: the sum has its last bit where FP16 has it.
_LIFT = np.float64(1.5 * 2**42)


def _bits(typing_context: Any, value: Any) -> Any:
    """Return the bits of a float64 as uint64."""
    del typing_context

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), build


def _value(typing_context: Any, value: Any) -> Any:
    """Return the float64 of uint64 bits."""
    del typing_context

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), build


bits_of: Any = intrinsic(_bits)
float_of: Any = intrinsic(_value)


@register_jitable
def to_fp16(value: np.float64) -> np.float64:
    """Return a float64 rounded to FP16, to nearest even; subnormals too."""
    bits = bits_of(value)
    lift = float_of(max(bits & _EXPONENT, _LEAST_NORMAL)) * _LIFT
    rounded = float_of(bits_of((value + lift) - lift) | (bits & _SIGN))
    return value * _INFINITE if abs(value) >= _LIMIT else rounded


@compiled()
def chain(activations: NDArray[np.float64], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (M, K) x (K, N); products are exact in float64."""
    rows, depth = activations.shape
    columns = weights.shape[1]
    result = np.zeros((rows, columns), dtype=np.float32)
    for m in range(rows):
        total = result[m]
        for k in range(depth):
            x, row = activations[m, k], weights[k]
            for n in range(columns):
                total[n] = np.float32(to_fp16(x * np.float64(row[n]) + np.float64(total[n])))
    return result
