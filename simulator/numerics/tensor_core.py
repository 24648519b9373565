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
from fractions import Fraction
from math import frexp, isfinite, trunc

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Codes, Minifloat, decode
from simulator.numerics import refusals
from simulator.numerics.word import Number

#: The smallest normal exponent of FP32.
LEAST_RESULT = -126
#: Exponent of zero, below every other, and of sums of two.
NONE = -1000


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


def block_fma(
    x: Sequence[float],
    w: Sequence[float],
    c: float,
    forms: tuple[Minifloat, Minifloat],
    core: TensorCore,
) -> float:
    """Return the products of a block plus c, as one step of a tensor core: the specification."""
    pairs = [(a, b) for a, b in zip(x, w, strict=True) if a * b != 0]
    plain = sum(a * b for a, b in pairs) + c
    if not isfinite(plain):
        return plain
    exponents = [exponent(a, forms[0]) + exponent(b, forms[1]) for a, b in pairs]
    exponents += [frexp(c)[1] - 1] if c else []
    largest = max([core.least_exponent, *exponents])
    unit = Fraction(2) ** (largest - core.fraction_bits)
    terms = [trunc(Fraction(a) * Fraction(b) / unit) for a, b in pairs]
    total = int(add_aligned(terms, trunc(Fraction(c) / unit))) * unit
    own = max(frexp(float(total))[1] - 1, LEAST_RESULT)
    step = Fraction(2) ** (own - core.result_bits)
    result = float(trunc(total / step) * step)
    with np.errstate(over="ignore"):
        return float(np.float32(result))


def dot_tensor_core(
    x: Sequence[float], w: Sequence[float], forms: tuple[Minifloat, Minifloat], core: TensorCore
) -> float:
    """Return the dot product of two vectors of values, block by block."""
    total = 0.0
    for start in range(0, len(x), core.products):
        part = slice(start, start + core.products)
        total = block_fma(x[part], w[part], total, forms, core)
    return total


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
    return block_sums(
        values[0],
        values[1].T.copy(),
        powers[0],
        powers[1].T.copy(),
        (core.products, core.fraction_bits, core.result_bits, core.least_exponent),
    )


def _exponents(form: Minifloat, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return `exponent` of every value, NONE of zeros."""
    found = np.maximum(np.frexp(values)[1] - 1, 1 - form.bias)
    return np.where(values == 0, NONE, found).astype(np.int64)
