"""What each unit of the published tables consists of, as cells.

Operations are counted by running scalar specifications on counting operands of the widths that the
hardware has, one cycle of them; registers, and what no specification of ours does on words, are
listed here, in the function that says so. Nothing is chosen to meet a published number.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from simulator.cost import FLOATS, Bound, Cells, Cost, Technology, cells_of, cost_of
from simulator.cost.gates import adder, float_adder, float_multiplier, lut_storage, register
from simulator.formats.minifloat import Minifloat
from simulator.numerics.added_patterns import axcore, l_mul
from simulator.numerics.lut import ENTRIES, GROUP, dot_lut, half_table
from simulator.numerics.mac_tree import dot_tree
from simulator.numerics.pre_aligned import dot_integers
from simulator.numerics.shift_add import product_w4a8
from simulator.numerics.word import Number, Tally, largest, looked_up, masked, signed

SIGN = Cells(xor2=1)
FP16, FP32 = 16, 32
#: FIGNA's and FIGLUT's aligned significands with their sign. assumed: 3 bits below FP16's 11.
ALIGNED = 15
NO_CELLS = Cells()


@dataclass(frozen=True)
class Unit:
    """Cells of one unit, and those that it shares with others, so many in all."""

    own: Cells
    shared: Cells = NO_CELLS
    sharers: int = 1

    def cost(self, technology: Technology, bound: Bound = "nominal") -> Cost:
        """Return what synthesis would report: cells without placement, its part of the shared."""
        own = cost_of(self.own, technology, bound, placed=False)
        shared = cost_of(self.shared, technology, bound, placed=False)
        return Cost(*(one + part / self.sharers for one, part in zip(own, shared, strict=True)))


def counted(run: Callable[[Tally], object], *, fast: bool = False) -> Cells:
    """Return the cells of the operations that a specification leaves in a tally."""
    tally = Tally()
    run(tally)
    return cells_of(tally.operations(), fast=fast)


def words(tally: Tally, number: int, bits: int) -> list[Number]:
    """Return so many words of a width."""
    return [tally.word(0, bits) for _ in range(number)]


def sum_of_patterns(form: Minifloat) -> Unit:
    """L-Mul: two patterns and a constant in fast adders (0.36 to 0.55 ns), and the sign."""
    unit, bits = l_mul(form), form.bits - 1
    return Unit(counted(lambda tally: unit.sum_of(*words(tally, 2, bits)), fast=True) + SIGN)


def sum_of_fp32_patterns() -> Unit:
    """L-Mul on FP32, which `added_patterns` leaves out: its expression on words of 31 bits."""
    constant = (1 << 23 - 4) - (127 << 23)

    def run(tally: Tally) -> object:
        return tally.word(0, 31) + (tally.word(0, 31) << 0) + constant

    return Unit(counted(run, fast=True) + SIGN)


def ieee(name: str) -> Unit:
    """IEEE multiplier of a format, subnormals included."""
    return Unit(float_multiplier(FLOATS[name], subnormals=True))


def pipelined(unit: Unit, bits: int) -> Unit:
    """A unit between registers of operands and result; how many stages is not published."""
    return replace(unit, own=unit.own + register(3 * bits))


def tree(lanes: int, kinds: tuple[str, str, str]) -> Cells:
    """Multipliers, a tree of adders, an accumulator: one burst of `mac_tree`."""
    return counted(lambda tally: dot_tree([tally.real(1.0)] * lanes, [1.0] * lanes, lanes, kinds))


def fp16_pe() -> Unit:
    """FP16 multiplier, FP32 accumulation; registers of both operands and of the sum."""
    return Unit(tree(1, ("fp16", "fp16", "fp32")) + register(2 * FP16 + FP32))


def four_terms(tally: Tally) -> Number:
    """BitMoD's steps 1 and 2 on four lanes: `bit_mod.cycle_sum` in words of its widths.

    Exponents of 5 bits and terms of 2, significands of 11 with 3 extra bits below.
    """
    exponents = [tally.word(0, 5) + tally.word(0, 2) for _ in range(4)]
    top = largest(exponents)
    lanes = [signed((masked(tally.word(0, 11), 1) << 3) >> top - each, 0) for each in exponents]
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])


def bit_mod_pe() -> Unit:
    """BitMoD: four terms a cycle, FP32 accumulation; 8 elements of a column share the rest.

    Registers: four activations and terms of 4 bits, the shared exponent of 3, the sum. Shared: the
    mask and addition of a bit of the scale and the output's register (`bit_mod.rescaled`).
    """

    def accumulate(tally: Tally) -> object:
        return tally.real(np.float32(0)) + np.float32(1)

    def scale(tally: Tally) -> object:
        masked(tally.word(0, FP32), 1)
        return accumulate(tally)

    own = counted(four_terms) + counted(accumulate) + register(4 * (FP16 + 4) + 3 + FP32)
    return Unit(own, counted(scale) + register(FP32), 8)


def fpc_pe() -> Unit:
    """AxCore's FPC: FP16 multiplier, FP16 accumulation; registers of operands and sum."""
    return Unit(tree(1, ("fp16", "fp16", "fp16")) + register(3 * FP16))


def figna_pe() -> Unit:
    """FIGNA, W4-FP16: an aligned significand times INT4, added up in 32 bits.

    `pre_aligned.dot_integers` of one weight, whose addition is of 19 bits; the carry goes on to 32.
    Alignment and conversion stand at the edges of the array, left out. Registers: both operands,
    sum.
    """
    step = counted(lambda tally: dot_integers(words(tally, 1, ALIGNED), words(tally, 1, 4)))
    return Unit(step + adder(FP32 - ALIGNED - 4) + register(ALIGNED + 4 + FP32))


def figlut_pe() -> Unit:
    """FIGLUT: a look-up for four aligned activations and one bit, added up in 32 bits.

    `lut.dot_lut` less its `half_table`, which 32 readers share, its registers too (assumed: 32).
    Four bits of a weight take four cycles for four products: one a cycle. Registers: four bits of
    weights, the sum.
    """
    build = counted(lambda tally: half_table(words(tally, GROUP, ALIGNED)))
    whole = counted(lambda tally: dot_lut(words(tally, GROUP, ALIGNED), [0] * GROUP, 1))
    read = Cells(*(getattr(whole, n) - getattr(build, n) for n in vars(whole)))
    entry = ALIGNED + GROUP
    own = read + adder(FP32 - entry) + SIGN + register(GROUP + FP32)
    return Unit(own, build + lut_storage(entry, ENTRIES), 32)


def axcore_pe() -> Unit:
    """AxCore, W4-FP16: FP4 weights added to FP16 patterns, FP16 accumulation.

    `added_patterns.sum_of`, whose constant a row shares (32 elements, assumed); its adder without
    normalisation is not modelled: a whole FP16 adder. Registers: activation, weight, sum.
    """
    unit = axcore()
    whole = counted(lambda tally: unit.sum_of(tally.word(0, FP16 - 1), tally.word(0, 3)))
    constant = adder(FP16)
    own = Cells(whole.full_adder - constant.full_adder) + SIGN + float_adder(FLOATS["fp16"])
    return Unit(own + register(FP16 + 4 + FP16), constant, 32)


def mac_dp4() -> Unit:
    """LUT Tensor Core's DP4 of FP16: four multipliers, three adders and the accumulator."""
    return Unit(tree(4, ("fp16", "fp16", "fp16")))


def add_dp4() -> Unit:
    """DP4 of one-bit weights by adders: four signs, three adders and the accumulator, FP16."""
    return Unit(4 * SIGN + 4 * float_adder(FLOATS["fp16"]))


def lut_dp4() -> Unit:
    """DP4 of one-bit weights by a look-up: a multiplexer of 8 words, a sign, the accumulator.

    The table comes from outside, as in the released RTL.
    """

    def step(tally: Tally) -> object:
        looked_up(words(tally, ENTRIES, FP16), 0)
        return tally.real(np.float16(0)) + np.float16(1)

    return Unit(counted(step) + SIGN)


def fp16_dp4() -> Unit:
    """A100's FP16 tensor core, a DP4 of it: FP16 products, FP32 sums, registers of both operands.

    The operands' registers are shared by the 8 DP4 of a row or column (assumed), the sum's are own.
    """
    own = tree(4, ("fp16", "fp32", "fp32")) + register(FP32)
    return Unit(own, register(2 * GROUP * FP16), 8)


def int8_dp4() -> Unit:
    """The same in INT8 with a sum of 32 bits: `pre_aligned.dot_integers` of four bytes."""
    step = counted(lambda tally: dot_integers(words(tally, GROUP, 8), words(tally, GROUP, 8)))
    return Unit(step + adder(FP32) + register(FP32), register(2 * GROUP * 8), 8)


def lut_int8() -> Unit:
    """LUT tensor core W2A8, one output: a look-up in an INT8 table for four activations and a bit.

    An exclusive or a bit for the sign, a shift by a fixed place, a sum of 32 bits; the look-up is
    that of `lut.dot_lut`. The 128 outputs of M2N64K4 share a table a row and the weights of each
    column, which both rows read: the array of the experiment `lut_tensor_core`.
    """
    m, n = 2, 64

    def step(tally: Tally) -> object:
        entry = looked_up(words(tally, ENTRIES, 8), 0)
        return tally.word(0, FP32) + (entry ^ -1 << 1)

    shared = m * lut_storage(8, ENTRIES) + n * register(GROUP * 2)
    return Unit(counted(step) + register(FP32), shared, m * n)


def shift_add_pe() -> Unit:
    """MixPE, W4A8: `shift_add.product_w4a8`, without accumulation or registers."""
    return Unit(counted(lambda tally: product_w4a8(0, tally.word(0, 8))))
