"""Integer-only functions and softmax for `verify`: each works on the rows of a matrix (M, N).

What each computes stands in `integer_functions` and `softmax`. Integer functions take the matrix in
integers of one step for all of it: 8 bits for Shiftmax and ShiftGELU, whose shifts are made for
them, 16 for the others (assumed, after I-ViT's activations). The step is at most 1/16, as the
exponentials need; what lies beyond 8 bits of it saturates. Results are compared in output codes,
so that the unit of the last place is one code. Reference functions are in float64 on the same
quantised input.

I-LayerNorm's results have far more bits than its root is good for: its errors in codes are large.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simulator.formats import get
from simulator.numerics.integer_functions import (
    Dyadic,
    Integers,
    integer_layer_norm,
    layer_norm_one,
    requantised_one,
    shift_gelu,
    shift_gelu_one,
    shiftmax,
    shiftmax_one,
)
from simulator.numerics.softmax import (
    Method,
    softmax,
    softmax_online,
    softmax_three_pass,
    softmax_two_pass,
)

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Row = list[int] | list[float]

#: Bits of the output of integer functions; values of a block of online softmax.
OUTPUT_BITS, BLOCK = 8, 64
#: The steps of the input that the integer functions take.
LEAST_STEP, MOST_STEP = 2.0**-20, 2.0**-4
#: Requantisation takes the largest code of 16 bits to that of 8.
SHRINK = 127 / 32767
_DYADIC = Dyadic.of(SHRINK)
_INT8, _INT16, _FLOATS = "int8-tensor", "int16-tensor", "fp32"


@dataclass(frozen=True)
class FunctionInput:
    """A matrix (M, N): int64 codes of a step, or float32 values of step 1."""

    codes: Integers | Floats
    step: float

    def values(self) -> Doubles:
        """Return the values."""
        return self.codes.astype(np.float64) * self.step


@dataclass(frozen=True)
class FunctionPath:
    """A function of rows: `run` on all, `one` on one row of codes, `exact` in float64.

    Results are in codes of the output where it has integers: mantissa_bits is None then.
    """

    name: str
    summary: str
    activation_format: str
    run: Callable[[FunctionInput], Integers | Floats]
    one: Callable[[Row, float], Row]
    exact: Callable[[FunctionInput], Doubles]
    mantissa_bits: int | None

    def taken(self, matrix: Floats) -> FunctionInput:
        """Return a float32 matrix as the function takes it."""
        if self.activation_format == _FLOATS:
            return FunctionInput(matrix, 1.0)
        most = (1 << int(get(self.activation_format).value_bits) - 1) - 1
        step = min(max(float(np.abs(matrix).max()) / most, LEAST_STEP), MOST_STEP)
        codes = np.rint(matrix.astype(np.float64) / step).clip(-most, most)
        return FunctionInput(codes.astype(np.int64), step)

    def saturated(self, matrix: Floats) -> int:
        """Return how many values of a matrix lie beyond what `taken` holds, by half a step."""
        given = self.taken(matrix)
        return int(np.count_nonzero(np.abs(matrix - given.values()) > 0.5000001 * given.step))


def _softmax_of(values: Doubles) -> Doubles:
    parts = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Doubles = parts / parts.sum(axis=-1, keepdims=True)
    return shares


def _sigmoid_gelu(given: FunctionInput) -> Doubles:
    values = given.values()
    # In units of the result, step / 2^7; exp of a negative argument alone cannot overflow.
    small = np.exp(-1.702 * np.abs(values))
    sigmoid = np.where(values >= 0, 1.0, small) / (1 + small)
    gelu: Doubles = values * sigmoid * (2 ** (OUTPUT_BITS - 1) / given.step)
    return gelu


def _layer_norm(given: FunctionInput) -> Doubles:
    centred = given.values() - given.values().mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    normed: Doubles = 2.0**30 * centred / np.where(deviation == 0, 1, deviation)
    return normed


def _integer_path(
    name: str,
    summary: str,
    activation_format: str,
    run: Callable[[Integers, float], Integers],
    one: Callable[[list[int], float], list[int]],
    exact: Callable[[FunctionInput], Doubles],
) -> FunctionPath:
    return FunctionPath(
        name,
        summary,
        activation_format,
        lambda given: run(given.codes.astype(np.int64), given.step),
        lambda row, step: one([int(value) for value in row], step),
        exact,
        None,
    )


def _softmax_path(method: Method, summary: str, one: Callable[[list[float]], Row]) -> FunctionPath:
    return FunctionPath(
        f"softmax_{method}",
        summary,
        _FLOATS,
        lambda given: softmax(
            given.codes.astype(np.float32), method, BLOCK if method == Method.ONLINE else None
        ),
        lambda row, _step: one([float(value) for value in row]),
        lambda given: _softmax_of(given.values()),
        23,
    )


FUNCTIONS: MappingProxyType[str, FunctionPath] = MappingProxyType(
    {
        path.name: path
        for path in (
            _integer_path(
                "hawq_requantise",
                "HAWQ-V3: a dyadic product and a shift to INT8",
                _INT16,
                lambda codes, _step: _DYADIC.times(codes, OUTPUT_BITS),
                lambda row, _step: requantised_one(
                    row, _DYADIC.mantissa, _DYADIC.shift, OUTPUT_BITS
                ),
                lambda given: given.codes.astype(np.float64) * SHRINK,
            ),
            _integer_path(
                "shiftmax",
                "I-ViT: softmax by shifts, against exp",
                _INT8,
                lambda codes, step: shiftmax(codes, step, OUTPUT_BITS),
                lambda row, step: shiftmax_one(row, step, OUTPUT_BITS),
                lambda given: _softmax_of(given.values()) * 2 ** (OUTPUT_BITS - 1),
            ),
            _integer_path(
                "shift_gelu",
                "I-ViT: x sigmoid(1.702 x) by shifts, against exp",
                _INT8,
                lambda codes, step: shift_gelu(codes, step, OUTPUT_BITS),
                lambda row, step: shift_gelu_one(row, step, OUTPUT_BITS),
                _sigmoid_gelu,
            ),
            _integer_path(
                "i_layernorm",
                "I-ViT: layer normalisation, Newton's root in integers",
                _INT16,
                lambda codes, _step: integer_layer_norm(codes),
                lambda row, _step: layer_norm_one(row),
                _layer_norm,
            ),
            _softmax_path(Method.THREE_PASS, "softmax in three passes", softmax_three_pass),
            _softmax_path(Method.TWO_PASS, "softmax in two passes", softmax_two_pass),
            _softmax_path(
                Method.ONLINE,
                f"softmax online, in blocks of {BLOCK}",
                partial(softmax_online, block=BLOCK),
            ),
        )
    }
)
