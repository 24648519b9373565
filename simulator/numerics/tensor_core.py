"""Tensor-core block FMA: products and accumulator aligned to one exponent, cut, summed, cut again.

The model of Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor Cores" (arXiv 2512.07004; the
toolbox MATLAB-tensor-core), in the reading of mmaemu 0.1.0, which equals recorded outputs of cuBLAS
on H100 PCIe (hopper) and of mma.sync on RTX 4060 (ada). A step adds `products` products to c:

- Exact: every product. Its exponent is the sum of those of its operands, each at least that of the
  smallest normal number of its format; products of zero have none.
- Truncated toward zero: every product and c, to `fraction_bits` bits below the largest exponent of
  them all. They are then summed exactly.
- Truncated toward zero: the sum, to `result_bits` bits below its own exponent, or to the grid of
  FP32 subnormals. There is no rounding to nearest. A result of zero is +0.

K is walked in order, in blocks of `products`, c being the result of the block before, +0 at first;
a short last block is padded with zeros. NaN and infinity among the operands give what IEEE 754 has
for the sum; an overflow gives infinity.

assumed: parameters for FP16 are those of the toolbox (H100TC.m, AdaTC.m: 2 and 1 extra bits for
alignment beyond 23, truncated to FP32), which nothing here was recorded from.
Left out: outputs in FP16, the sm_90 mma.sync instruction on FP8 (a different unit), split-K and the
restart of slow accumulation every 128 elements, which are the library's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, isfinite, ldexp, trunc
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Codes, Minifloat, decode
from simulator.numerics import refusals
from simulator.numerics.word import (
    Number,
    Scalar,
    larger,
    largest,
    like,
    like_real,
    magnitude,
    signed,
)

#: The smallest normal exponent of FP32, and the bits below its leading one.
LEAST_RESULT, RESULT_BITS = -126, 23
#: Exponent of zero, below every other, and of sums of two.
NONE = -1000
#: Whether a number is negative, an integer for its size, and its exponent.
Fields: TypeAlias = tuple[bool, Number, Number]


@dataclass(frozen=True)
class TensorCore:
    """A block FMA: see the module. least_exponent: what alignment does not go below.

    Errors: InputError for bits beyond what float64 sums exactly.
    """

    name: str
    products: int
    fraction_bits: int
    result_bits: int
    least_exponent: int

    def __post_init__(self) -> None:
        """Refuse impossible parameters, all of them in one error."""
        problems = []
        if not 1 <= self.products <= 1024:
            problems.append(f"products must be 1 to 1024, got {self.products}")
        if not 1 <= self.fraction_bits <= 40:
            problems.append(f"fraction_bits must be 1 to 40, got {self.fraction_bits}")
        if not 1 <= self.result_bits <= 23:
            problems.append(f"result_bits must be 1 to 23, got {self.result_bits}")
        if not -200 <= self.least_exponent <= 0:
            problems.append(f"least_exponent must be -200 to 0, got {self.least_exponent}")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])


HOPPER_FP8 = TensorCore("hopper_fp8", 32, 13, 13, -132)
ADA_FP8 = TensorCore("ada_fp8", 16, 13, 13, -132)
HOPPER_FP16 = TensorCore("hopper_fp16", 16, 25, 23, -133)
ADA_FP16 = TensorCore("ada_fp16", 8, 24, 23, -133)


def exponent(value: float, form: Minifloat) -> int:
    """Return the exponent of a value, at least the smallest normal one of its format."""
    return max(frexp(value)[1] - 1, 1 - form.bias)


def add_aligned(terms: Sequence[Number], accumulator: Number) -> Number:
    """Return the sum of aligned integers: what the adder tree of a block does."""
    total = accumulator
    for term in terms:
        total = term + total
    return total


def fields(value: Scalar, own: int, bits: int) -> Fields:
    """Return a value of exponent `own` in sign, integer of `bits` bits below the one, exponent."""
    size = trunc(ldexp(abs(float(value)), bits - own))
    # Zero has no part in the largest exponent.
    return float(value) < 0, like(value, size), like(value, own if size else NONE)


def product(a: Scalar, b: Scalar, forms: tuple[Minifloat, Minifloat]) -> Fields:
    """Return the product of two values: an integer one, and a sum of exponents."""
    (minus, size, power), (other_minus, other_size, other_power) = (
        fields(value, exponent(float(value), form), form.mantissa_bits)
        for value, form in zip((a, b), forms, strict=True)
    )
    return minus != other_minus, size * other_size, power + other_power


def aligned(term: Fields, bits: int, top: Number, core: TensorCore) -> Number:
    """Return a term in units of the last bit kept below the largest exponent, truncated."""
    minus, size, power = term
    return signed((size << core.fraction_bits >> bits) >> top - power, minus)


def block_fma(
    x: Sequence[Scalar],
    w: Sequence[Scalar],
    c: Scalar,
    forms: tuple[Minifloat, Minifloat],
    core: TensorCore,
) -> Scalar:
    """Return the products of a block plus c, as one step of a tensor core: the specification."""
    plain = sum(float(a) * float(b) for a, b in zip(x, w, strict=True)) + float(c)
    if not isfinite(plain):
        return like_real(c, plain)
    terms = [product(a, b, forms) for a, b in zip(x, w, strict=True)]
    before = fields(c, frexp(float(c))[1] - 1, RESULT_BITS)
    top = larger(largest([power for _, _, power in (*terms, before)]), core.least_exponent)
    bits = forms[0].mantissa_bits + forms[1].mantissa_bits
    integers = [aligned(term, bits, top, core) for term in terms]
    total = add_aligned(integers, aligned(before, RESULT_BITS, top, core))
    return like_real(c, truncated(total, top - core.fraction_bits, core))


def truncated(total: Number, unit: Number, core: TensorCore) -> float:
    """Return total x 2^unit cut to the bits of a result, or to the grid of FP32 subnormals."""
    size = magnitude(total)
    most = larger(size.bit_length() - 1 + unit, LEAST_RESULT) - core.result_bits
    cut = larger(most - unit, 0)
    kept = signed(size >> cut, int(total) < 0)
    with np.errstate(over="ignore"):
        return float(np.float32(ldexp(int(kept), int(cut + unit))))


def dot_tensor_core(
    x: Sequence[Scalar], w: Sequence[Scalar], forms: tuple[Minifloat, Minifloat], core: TensorCore
) -> float:
    """Return the dot product of two vectors of values, block by block."""
    total: Scalar = 0.0
    for start in range(0, len(x), core.products):
        part = slice(start, start + core.products)
        total = block_fma(x[part], w[part], like_real(x[start], float(total)), forms, core)
    return float(total)


def gemm_tensor_core(
    activations: Codes, weights: Codes, forms: tuple[Minifloat, Minifloat], core: TensorCore
) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed by a tensor core.

    Operands are codes of the two formats. Errors: InputError for shapes that do not fit, what is
    not a code, formats whose products float64 does not hold with room for the alignment.
    """
    if problems := refusals.shapes(activations, weights):
        raise InputError(problems)
    if any(form.exponent_bits > 5 for form in forms):
        raise InputError(
            f"formats of at most 5 exponent bits, got {forms[0].name} and {forms[1].name}"
        )
    from simulator.numerics.tensor_core_kernel import block_sums

    padding = -activations.shape[1] % core.products
    x, w = (np.pad(codes, ((0, 0), (0, padding))) for codes in (activations, weights))
    values = [
        decode(form, codes).astype(np.float64) for form, codes in zip(forms, (x, w), strict=True)
    ]
    powers = [_exponents(form, one) for form, one in zip(forms, values, strict=True)]
    columns, column_powers = values[1].T.copy(), powers[1].T.copy()
    fields = (core.products, core.fraction_bits, core.result_bits, core.least_exponent)
    sizes = [np.int64(field) for field in fields]
    result = np.empty((len(x), len(w)), dtype=np.float32)
    largest = np.empty(len(w), dtype=np.int64)
    for out, row, row_powers in zip(result, values[0], powers[0], strict=True):
        rows = np.zeros((3, len(w)))
        block_sums(row, columns, row_powers, column_powers, rows, largest, *sizes)
        out[:] = rows[0]
    return result


def _exponents(form: Minifloat, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return `exponent` of every value, NONE of zeros."""
    found = np.maximum(np.frexp(values)[1] - 1, 1 - form.bias)
    return np.where(values == 0, NONE, found).astype(np.int64)
