"""What MACs and dot units of integer and floating-point elements consist of, as cells.

A MAC takes one product a cycle. A dot unit takes a block: exact products, an exact sum, that sum
rounded once to FP32, times the scales, added in FP32 (`numerics.block_dot`). Integer elements go as
they are. Products of floating-point elements become integers, in the smaller one of two ways:

- fixed: each is shifted by its exponents, all bits are kept;
- aligned: each is shifted to the largest exponent of the block, `WINDOW` bits are kept, as tensor
  cores do. What is below is cut: that sum is not exact.

Operations on words are counted by running small specifications on counting operands. Left out:
pipeline registers within a unit, NaN; subnormals, but for the hidden bit of 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.cost import FLOATS, Cells, Float, Technology, cells_of, cost_of
from simulator.cost.gates import (
    adder,
    float_adder,
    float_rounder,
    multiplier,
    normaliser,
    register,
)
from simulator.numerics.word import Number, Tally, Word, largest, signed

SIGN = Cells(xor2=1)
FP32 = FLOATS["fp32"]
#: Bits of the sum of an integer MAC.
SUM_BITS = 32
#: Bits of an aligned product: FP32's significand, guard and sticky bit.
WINDOW = 26

#: From a tally, where it counts, to the sum of a block.
Sum = Callable[[Tally], Word]


@dataclass(frozen=True)
class Scale:
    """How many elements share a scale, and its format; a power of two has no significand."""

    block: int
    exponent: int
    significand: int = 0

    def product(self) -> Cells:
        """Return what multiplies an FP32 sum by the scales of both operands."""
        exponents = adder(self.exponent + 1) + adder(FP32.exponent + 2)
        if not self.significand:
            return exponents
        both = multiplier(self.significand, self.significand)
        times = multiplier(FP32.significand, 2 * self.significand)
        return exponents + both + times + float_rounder(FP32)


def int_mac(bits: int, *, registers: bool) -> Cells:
    """Integer product and a sum of 32 bits; `registers` of both operands and of the sum."""
    held = register(2 * bits + SUM_BITS) if registers else Cells()
    return multiplier(bits, bits, signed=True) + adder(SUM_BITS) + held


def float_mac(form: Float, accumulator: Float, *, registers: bool) -> Cells:
    """Exact product of floats, and the accumulator's addition, which rounds."""
    held = register(2 * sum(form) + sum(accumulator)) if registers else Cells()
    product = multiplier(form.significand, form.significand) + adder(form.exponent + 1) + SIGN
    return product + float_adder(accumulator) + held


def int_block(bits: int, scale: Scale) -> Cells:
    """Dot unit of integers."""

    def run(tally: Tally) -> Word:
        pairs = [(tally.word(0, bits), tally.word(0, bits)) for _ in range(scale.block)]
        return tree([x * w for x, w in pairs])

    return _block(run, bits, scale)


def float_block(form: Float, scale: Scale, technology: Technology) -> Cells:
    """Dot unit of floats, fixed or aligned: the one of less area."""
    ways = [fixed(form, scale), aligned(form, scale)]
    return min(ways, key=lambda cells: cost_of(cells, technology).area_um2)


def fixed(form: Float, scale: Scale) -> Cells:
    """Dot unit of floats that keeps all bits."""
    # An exponent of 0 has the place of 1.
    most = 2 * ((1 << form.exponent) - 2)

    def run(tally: Tally) -> Word:
        terms = []
        for _ in range(scale.block):
            product, exponent = _product(tally, form)
            width = product.bits + most
            tally.note("barrel_shift", (width, exponent.bits))
            terms.append(tally.word(0, width))
        return tree(_signed(terms))

    return _block(run, sum(form), scale)


def aligned(form: Float, scale: Scale) -> Cells:
    """Dot unit of floats that aligns products to the largest exponent."""

    def run(tally: Tally) -> Word:
        products, exponents = zip(*(_product(tally, form) for _ in range(scale.block)), strict=True)
        top = largest(exponents)
        kept = [tally.word(0, max(WINDOW, product.bits)) for product in products]
        return tree(_signed([w >> top - e for w, e in zip(kept, exponents, strict=True)]))

    return _block(run, sum(form), scale)


def tree(terms: Sequence[Number]) -> Word:
    """Return the sum of words, added in pairs."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=True)
        terms = [left + right for left, right in pairs]
    (total,) = terms
    assert isinstance(total, Word)
    return total


def _product(tally: Tally, form: Float) -> tuple[Word, Word]:
    """Return the product of two significands, and the sum of their exponents."""
    product = tally.word(0, form.significand) * tally.word(0, form.significand)
    return product, tally.word(0, form.exponent) + tally.word(0, form.exponent)


def _signed(terms: Sequence[Number]) -> list[Number]:
    return [signed(each, 0) for each in terms]


def _block(run: Sum, bits: int, scale: Scale) -> Cells:
    """Return a dot unit: its sum, operands' and sum's registers, the scales, FP32 accumulation."""
    tally = Tally()
    total = run(tally)
    rounded = normaliser(total.bits, FP32.exponent) + float_rounder(FP32)
    accumulated = scale.product() + float_adder(FP32) + register(sum(FP32))
    # Signs of floats are wires but for one exclusive or a product, which is left out.
    return cells_of(tally.operations()) + rounded + accumulated + register(2 * bits * scale.block)
