"""Multiplication of floats by adding their bit patterns as integers, with a correction constant.

A pattern without its sign, (exponent + bias) 2^m + mantissa, is nearly a logarithm (Mitchell,
1962), so that the sum of two is nearly the pattern of the product. For an activation A and a weight
W of m and m_w mantissa bits the pattern of the result, in the activation's format, is

    R = A + (W << m - m_w) - (bias_w << m) + C,      its sign the exclusive or of both signs

- L-Mul (Luo and Sun, "Addition is All You Need", arXiv 2410.00907): both of one format, and
  C = 2^(m - l(m)); l(m) = m up to 3, 3 for 4, 4 beyond (`l_mul`).
- AxCore (MICRO 2025): FP16 or BF16 activations and FP4 weights (`axcore`).

With mantissas x and y, c = C 2^-m and s = x + y + c, the factor beside 2^(exponents) is 1 + s for
s < 1, and 2 s for 1 <= s < 2, as the carry walks into the exponent. L-Mul's published formula has
1 + s throughout: its mean error of -6.3 % (BF16) is the formula's; the sum of patterns has +0.4 %.

Exact: the sum. Nothing is rounded in a product (C stands for what is left out); sums over K are, in
float32, in order, at every addition. A result below the smallest normal value becomes +0, one
beyond the largest finite value that value with its sign. A zero gives +0. Subnormal operands become
0 ("flush"), or get exponents below the field's range ("normalise": exact, as AxCore's conversion of
FP4 E2M1). NaN and infinity are refused.

assumed: saturation and flushing, as neither paper's text at hand fixes them; AxCore's C is an
argument, for its values are not at hand. Left out: AxCore's random conversion of a subnormal .01
(here exact), its accumulator; L-Mul on FP32.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Minifloat, table
from simulator.formats.presets import FP4_E2M1FN, FP16
from simulator.numerics.exact import check_operands
from simulator.numerics.word import Number

Subnormals = Literal["flush", "normalise"]
#: A pattern so low that no other lifts it to a normal result: that of 0.
NOTHING = -(1 << 24)


@dataclass(frozen=True)
class AddedPatterns:
    """A multiplier: formats of activations (and results) and weights, and C in their last place.

    Errors: InputError for formats without sign or zero, weights of more mantissa bits than
    activations, an unknown rule for subnormals, C beyond one step of the exponent.
    """

    activation: Minifloat
    weight: Minifloat
    correction: int = 0
    subnormals: Subnormals = "flush"

    def __post_init__(self) -> None:
        """Refuse what cannot be, all of it in one error."""
        problems = [
            f"{form.name}: a sign and a zero are needed"
            for form in dict.fromkeys((self.activation, self.weight))
            if not (form.signed and form.has_zero)
        ]
        if self.shift < 0:
            problems.append(
                f"weights of {self.weight.mantissa_bits} mantissa bits do not fit activations of "
                f"{self.activation.mantissa_bits}"
            )
        if self.subnormals not in ("flush", "normalise"):
            problems.append(f"subnormals must be flush or normalise, got {self.subnormals}")
        if abs(self.correction) > self.least:
            problems.append(f"correction: at most {self.least} either way, got {self.correction}")
        if problems:
            raise InputError(problems)

    @property
    def shift(self) -> int:
        """Places that the weight's mantissa lies below the activation's."""
        return self.activation.mantissa_bits - self.weight.mantissa_bits

    @property
    def least(self) -> int:
        """The pattern of the smallest normal result, which is one step of the exponent."""
        return 1 << self.activation.mantissa_bits

    @property
    def constant(self) -> int:
        """What is added to the two patterns: the correction less the weight's bias."""
        return self.correction - (self.weight.bias << self.activation.mantissa_bits)

    def pattern(self, form: Minifloat, code: int) -> int | None:
        """Return the pattern of a finite code, below 0 for small subnormals; None for zero."""
        size = code & ~form.sign_code
        if size >> form.mantissa_bits:
            return size
        if size == 0 or self.subnormals == "flush":
            return None
        places = form.mantissa_bits + 1 - size.bit_length()
        return (size << places) - (places << form.mantissa_bits)

    def sum_of(self, activation: Number, weight: Number) -> Number:
        """Return the sum of two patterns and the constant: two additions, a shift (wires)."""
        return activation + (weight << self.shift) + self.constant

    def product(self, activation: int, weight: int) -> int:
        """Return the code of the product of two codes of finite values."""
        a, w = self.pattern(self.activation, activation), self.pattern(self.weight, weight)
        if a is None or w is None:
            return 0
        total = int(self.sum_of(a, w))
        if total < self.least:
            return 0
        negative = bool(activation & self.activation.sign_code) ^ bool(
            weight & self.weight.sign_code
        )
        sign = self.activation.sign_code if negative else 0
        return min(total, self.activation.largest) | sign


def l_mul(form: Minifloat) -> AddedPatterns:
    """Return L-Mul on a format: C is 2^-l(m) of the exponent's step."""
    m = form.mantissa_bits
    places = m if m <= 3 else 3 if m == 4 else 4
    return AddedPatterns(form, form, 1 << m - places)


def axcore(
    activation: Minifloat = FP16, weight: Minifloat = FP4_E2M1FN, correction: int = 0
) -> AddedPatterns:
    """Return AxCore's multiplier of activations with FP4 weights, their subnormals converted."""
    return AddedPatterns(activation, weight, correction, "normalise")


def dot_added(activations: list[int], weights: list[int], unit: AddedPatterns) -> float:
    """Return the dot product of codes, summed up in float32 in order: the specification."""
    values, total = table(unit.activation), np.float32(0)
    with np.errstate(over="ignore"):
        for a, w in zip(activations, weights, strict=True):
            total += values[unit.product(a, w)]
    return float(total)


def gemm_added(
    activations: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], unit: AddedPatterns
) -> NDArray[np.float32]:
    """Return codes of activations (M, K) x codes of weights (N, K) transposed, summed in order.

    Errors: InputError for what is no pair of integer matrices, codes that their formats have not,
    NaN and infinity among them.
    """
    check_operands(activations, weights)
    _refuse_codes("activations", activations, unit.activation)
    _refuse_codes("weights", weights, unit.weight)
    from simulator.numerics.added_patterns_kernel import add_patterns

    form = unit.activation
    x = np.take(packed(unit, form, 0, 0), activations)
    w = np.take(packed(unit, unit.weight, unit.shift, unit.constant), weights.T)
    limits = np.array([unit.least, form.largest, form.mantissa_bits, form.bias], dtype=np.int32)
    return add_patterns(x, w, limits)


@lru_cache(maxsize=64)
def packed(unit: AddedPatterns, form: Minifloat, shift: int, constant: int) -> NDArray[np.int32]:
    """Return (pattern << shift) + constant of every code, twice, plus its sign in the last bit."""
    codes, m = np.arange(1 << form.bits), form.mantissa_bits
    size = codes & ~form.sign_code
    # The exponent of an integer is how many bits it has; normal codes have m + 1 and more.
    places = np.maximum(m + 1 - np.frexp(size)[1], 0)
    nothing = (size == 0) | ((places > 0) & (unit.subnormals == "flush"))
    pattern = (size << places) - (places << m)
    placed = np.where(nothing, NOTHING, (pattern << shift) + constant)
    patterns = (2 * placed + (codes & form.sign_code > 0)).astype(np.int32)
    patterns.flags.writeable = False
    return patterns


def _refuse_codes(name: str, codes: NDArray[Any], form: Minifloat) -> None:
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < 1 << form.bits:
        raise InputError(f"{name}: codes of {form.name} are 0 to {(1 << form.bits) - 1}")
    wide = codes.astype(np.int64)
    beyond = (wide & ~form.sign_code) > form.largest
    if form.specials == "fnuz":
        beyond |= wide == form.sign_code
    if beyond.any():
        raise InputError(f"{name}: must be finite")
