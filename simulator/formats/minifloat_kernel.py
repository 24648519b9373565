"""The conversion of float32 to minifloats in integer arithmetic, compiled by Numba.

A float32 is the integer `significand` times a power of two. Shifted to the grid of the format, the
bits that stay are the code and those that fall out decide the rounding; a carry out of the mantissa
walks into the exponent by itself, and infinity, read as 2^128, is beyond the largest code of every
format. Equal to `Minifloat.encode_one` on every input (tests), without a table. Not here: float64
and formats without a zero (`minifloat.encode_by_table`).

Every step is cast to int32 and every variable shift is taken modulo 32: Numba would compute in 64
bits, in half as many lanes. No element branches, for the same reason. One thread does the work.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.formats import rounding as roundings
from simulator.formats.minifloat import Codes, Minifloat, storage
from simulator.formats.rounding import FIRST_MIX, RANDOM_BITS, SECOND_MIX, Rounding, seed_word
from simulator.kernels import compiled

Int = np.int32
Bits = NDArray[np.int32]

ZERO, ONE = Int(0), Int(1)
#: Parts of a float32: all but the sign; infinity, above which is NaN; the lowest exponent bit,
#: which is also the place of the hidden bit; the mantissa bits.
SIZE, INFINITY, HIDDEN, MANTISSA_BITS = Int(0x7FFFFFFF), Int(0x7F800000), Int(1 << 23), Int(23)
#: So far out that nothing of a significand stays, and what falls out is less than half of a step.
FAR = Int(25)
#: Mask of the shifts of a lane, and the shift that leaves only copies of the sign.
LANE = Int(31)
#: Stands for a code that the format lacks; no code has this bit.
REFUSED = Int(1 << 20)
FIRST_FACTOR, SECOND_FACTOR, RANDOM = np.uint32(FIRST_MIX), np.uint32(SECOND_MIX), Int(RANDOM_BITS)


class Target(NamedTuple):
    """A format in the numbers that the conversion works with.

    mantissa_bits; least_out: the bits that fall out of a normal value; lowest: the exponent field,
    from 0, of float32 at the smallest normal value; largest: its code; over, nan: what overflow and
    NaN become; sign, sign_shift: the sign's bit, and how far it moves to it; first_signed: the
    smallest code that keeps its sign.
    """

    mantissa_bits: Int
    least_out: Int
    lowest: Int
    largest: Int
    over: Int
    nan: Int
    sign: Int
    sign_shift: Int
    first_signed: Int


class Rule(NamedTuple):
    """What a rounding adds to a significand before it is cut: masks, YES or NO, and a number.

    nearly_half: the most that is less than half of a step; one: the number that makes it half;
    one_less: 1 less if negative; whole: the most that is less than a step, if negative.
    """

    nearly_half: Int
    one: Int
    one_less: Int
    whole: Int


YES, NO = Int(-1), ZERO
RULES = {
    Rounding.HALF_AWAY: Rule(nearly_half=YES, one=ONE, one_less=NO, whole=NO),
    Rounding.HALF_UP: Rule(nearly_half=YES, one=ONE, one_less=YES, whole=NO),
    Rounding.TOWARD_ZERO: Rule(nearly_half=NO, one=ZERO, one_less=NO, whole=NO),
    Rounding.FLOOR: Rule(nearly_half=NO, one=ZERO, one_less=NO, whole=YES),
}


@register_jitable
def split(bits: Int, to: Target) -> tuple[Int, Int, Int]:
    """Return the significand, how many of its bits fall out (uncapped), and the code of the rest.

    The code lacks what stays of the significand, whose hidden bit counts one exponent.
    """
    size = Int(bits & SIZE)
    # Subnormals have the exponent of the smallest normal values, and no hidden bit to leave.
    exponent = max(Int(Int(size - HIDDEN) >> MANTISSA_BITS), ZERO)
    significand = Int(size - Int(exponent << MANTISSA_BITS))
    above = Int(exponent - to.lowest)
    out = max(Int(to.least_out - above), to.least_out)
    return significand, out, Int(max(above, ZERO) << Int(to.mantissa_bits & LANE))


@register_jitable
def finished(bits: Int, code: Int, to: Target) -> Int:
    """Return a rounded code with its sign, or what stands for overflow and NaN."""
    sign = Int(Int(bits >> Int(to.sign_shift & LANE)) & to.sign)
    sign = sign if code >= to.first_signed else ZERO
    code = to.over if code > to.largest else code
    return to.nan if Int(bits & SIZE) > INFINITY else Int(code | sign)


@compiled(roundings)
def encode_nearest_even(values: Bits, codes: Codes, to: Target) -> Int:
    """Write the codes of the bits of float32 values; return the union of the bits of all codes."""
    met = ZERO
    for i in range(values.size):
        significand, out, code = split(values[i], to)
        out = min(out, FAR)
        nearly_half = Int(Int(Int(ONE << Int(out & LANE)) - ONE) >> ONE)
        # Of the whole code: without mantissa bits its last bit is one of the exponent.
        odd = Int(Int(code + Int(significand >> Int(out & LANE))) & ONE)
        raised = Int(Int(significand + nearly_half) + odd)
        code = finished(values[i], Int(code + Int(raised >> Int(out & LANE))), to)
        codes[i] = code
        met = Int(met | code)
    return met


@compiled(roundings)
def encode_by_rule(values: Bits, codes: Codes, to: Target, rule: Rule) -> Int:
    """Do as `encode_nearest_even` by a rule that does not look at the code below."""
    met = ZERO
    for i in range(values.size):
        significand, out, code = split(values[i], to)
        out = min(out, FAR)
        whole = Int(Int(ONE << Int(out & LANE)) - ONE)
        negative = Int(values[i] >> LANE)
        raised = Int(Int(significand + Int(Int(whole >> ONE) & rule.nearly_half)) + rule.one)
        raised = Int(raised + Int(Int(Int(whole & rule.whole) | rule.one_less) & negative))
        code = finished(values[i], Int(code + Int(raised >> Int(out & LANE))), to)
        codes[i] = code
        met = Int(met | code)
    return met


@compiled(roundings)
def encode_stochastic(values: Bits, codes: Codes, to: Target, seed: np.uint32) -> Int:
    """Do as `encode_nearest_even` with `rounding.random_24`; `seed` is a `rounding.seed_word`."""
    met = ZERO
    for i in range(values.size):
        significand, out, code = split(values[i], to)
        near = min(out, FAR)
        rest = Int(significand & Int(Int(ONE << Int(near & LANE)) - ONE))
        # What falls out in units of 2^-24 of a step: exactly, or the next integer above.
        rest = Int(rest << Int(max(Int(RANDOM - near), ZERO) & LANE))
        further = min(max(Int(out - RANDOM), ZERO), FAR)
        rest = Int(Int(rest + Int(Int(ONE << Int(further & LANE)) - ONE)) >> Int(further & LANE))
        raised = ONE if draw(np.uint32(i), seed) < rest else ZERO
        whole = Int(Int(significand >> Int(near & LANE)) + raised)
        code = finished(values[i], Int(code + whole), to)
        codes[i] = code
        met = Int(met | code)
    return met


@register_jitable
def draw(index: np.uint32, seed: np.uint32) -> Int:
    """Return `rounding.random_24` of an element."""
    x = np.uint32(index ^ seed)
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * FIRST_FACTOR)
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) * SECOND_FACTOR)
    return Int(np.uint32(x ^ np.uint32(x >> np.uint32(15))) >> np.uint32(8))


def target(form: Minifloat, over_code: int) -> Target:
    """Return a format, with the unsigned code that overflow becomes, for the kernels."""
    return Target(
        mantissa_bits=Int(form.mantissa_bits),
        least_out=Int(23 - form.mantissa_bits),
        lowest=Int(127 - form.bias),
        largest=Int(form.largest),
        over=Int(over_code),
        nan=REFUSED if form.nan is None else Int(form.nan),
        sign=Int(form.sign_code),
        sign_shift=Int(32 - form.bits),
        first_signed=ZERO if form.has_negative_zero else ONE,
    )


def encode_float32(
    form: Minifloat,
    values: NDArray[np.float32],
    rounding: Rounding,
    over_code: int,
    seed: int = 0,
) -> tuple[Codes, bool]:
    """Return the codes of values of any shape, and whether one has no code (then they are void).

    over_code: the unsigned code of overflow. Without a code are NaN in a format that has none and
    negative values in an unsigned one. The format has a zero. Read-only arrays are a
    type of their own to Numba, compiled when first met.
    """
    bits = np.ascontiguousarray(values).reshape(-1).view(Int)
    codes = np.empty(bits.size, dtype=storage(form.bits))
    to = target(form, over_code)
    match rounding:
        case Rounding.NEAREST_EVEN:
            met = encode_nearest_even(bits, codes, to)
        case Rounding.STOCHASTIC:
            met = encode_stochastic(bits, codes, to, np.uint32(seed_word(seed)))
        case Rounding.HALF_AWAY | Rounding.HALF_UP | Rounding.TOWARD_ZERO | Rounding.FLOOR:
            met = encode_by_rule(bits, codes, to, RULES[rounding])
        case _:
            raise ValueError(f"unknown rounding {rounding!r}")
    refused = bool(met & REFUSED) or (not form.signed and bool((values < 0).any()))
    return codes.reshape(values.shape), refused
