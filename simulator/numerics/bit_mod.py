"""BitMoD: four weights' bit-serial terms times four FP16 activations a cycle, one scale a group.

Chen et al., "BitMoD" (HPCA 2025, arXiv 2411.11745). A weight is a sum of terms

    (-1)^sign x 2^exp x man x 2^bsig,    man 0 or 1, bsig shared by the lanes of a cycle

INT8 has 4 (radix-4 Booth), INT6 3, FP4 and FP3 with their special values 2 (leading ones; no value
has three: golden identity 5). In each cycle: (1) exponents of activation and term are added, the
largest is found; (2) 11-bit significands with 3 extra bits are shifted right to it, and added;
(3) times 2^bsig, the sum goes into the accumulator of the group. (4) At the end of the group the
accumulator is multiplied by the 8-bit scale, a bit a cycle, and added to the output.

Exact: terms, exponents, the sum of a cycle. Rounded: bits shifted beyond the extra ones; to
float32, nearest even, each addition into the accumulator, of the scale's multiples and of groups.
The paper does not fix these; assumed: the last of the 3 extra bits is sticky (guard, round and
sticky are what rounding to nearest even needs); terms of 0 and activations of 0 do not take part in
the largest exponent; the accumulator is FP32; a term's cycle comes after all lanes' former one of
the same four weights; scales are unsigned and multiplied from the highest bit; exponents of FP4
terms are 0 to 4 with bsig -1 (a weight of 8 needs the 4, where the paper has two bits).
Left out: special values of three ones (7 = 8 - 1), the FP scale of a channel.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.formats.codebook import bitmod
from simulator.numerics import refusals
from simulator.numerics.word import Number, Word, bit, largest, like, masked, noted, signed

#: Lanes of an element, bits that alignment keeps below a significand, bits of a scale.
LANES, EXTRA, SCALE_BITS = 4, 3, 8
#: Terms of a weight, by its type.
TERMS = {"int8": 4, "int6": 3, "fp4": 2, "fp3": 2}
#: An FP16 number is its significand times 2 to the exponent field less this.
BIAS = 25


#: Sign, magnitude of a significand, exponent.
Lane: TypeAlias = tuple[int, Number, Number]


class Term(NamedTuple):
    """Sign, exponent and mantissa bit of a term."""

    negative: int
    exponent: int
    man: int


ZERO = Term(0, 0, 0)


def bsig(kind: str, place: int) -> int:
    """Return the shared exponent of the terms at one place."""
    match kind:
        case "int8" | "int6":
            return 2 * place
        case "fp4":
            return -1
        case "fp3":
            return 0
        case _:
            raise InputError(_unknown(kind))


def booth_terms(weight: Number, count: int) -> list[Term]:
    """Return the radix-4 Booth digits of an integer of 2 `count` bits, the lowest first.

    A digit of bits b2 b1 b0 is b0 + b1 - 2 b2: one where b1 and b0 differ, else two (or minus two)
    where b2 differs from them.
    """
    terms = []
    for place in range(0, 2 * count, 2):
        low = like(weight, bit(weight, place - 1) if place else 0, 1)
        middle, high = (like(weight, bit(weight, place + more), 1) for more in range(2))
        one = middle ^ low
        two = masked(high ^ middle, 1 - int(one))
        man = one ^ two
        terms.append(Term(int(high) & int(man), int(two), int(man)))
    return terms


def leading_one_terms(weight: Number) -> list[Term]:
    """Return the two leading ones of an integer in sign and magnitude, the larger first."""
    rest, terms = like(weight, abs(int(weight))), []
    for _ in range(TERMS["fp4"]):
        # `bit_length` of 0 is 0: no one is left.
        exponent = max(int(rest.bit_length()) - 1, 0)
        terms.append(Term(int(int(weight) < 0), exponent, 1) if int(rest) else ZERO)
        rest = noted(rest, "mask", int(rest) & ~(1 << exponent))
    return terms


@lru_cache(maxsize=1024)
def terms_of(kind: str, weight: float) -> tuple[Term, ...]:
    """Return the terms of a value of a type: an integer, or a value of FP3 or FP4."""
    if kind.startswith("int"):
        return tuple(booth_terms(int(weight), TERMS[kind]))
    return tuple(leading_one_terms(int(weight * 2 ** -bsig(kind, 0))))


def product_of_terms(activation: Number, terms: list[Term], kind: str) -> Number:
    """Return 2^(-bsig of place 0) weight x activation, exactly: one addition a term."""
    total: Number = 0
    for place, term in enumerate(terms):
        amount = term.exponent + bsig(kind, place) - bsig(kind, 0)
        # A pass of the element is one term of its weights.
        shifted = masked(activation << amount, term.man)
        shifted = noted(shifted, "pass", int(shifted))
        total = total - shifted if term.negative else total + shifted
    return total


def product_of_scale(total: Number, scale: int) -> Number:
    """Return total x scale of 8 bits, exactly: a mask, a shift and an addition a bit."""
    result: Number = 0
    for place in reversed(range(SCALE_BITS)):
        kept = masked(total, bit(scale, place))
        result = (result << 1) + noted(kept, "pass", int(kept))
    return result


def parts_of(activation: np.float16) -> tuple[int, int]:
    """Return (significand with sign, exponent field, that of subnormals 1) of an FP16 number."""
    bits = int(activation.view(np.uint16))
    field = bits >> 10 & 31
    size = (bits & 1023) | (1024 if field else 0)
    return (-size if bits >> 15 else size), max(field, 1)


def aligned(significand: Number, shift: Number) -> Number:
    """Return a magnitude with its extra bits, shifted right, the last bit sticky."""
    wide = significand << EXTRA
    kept = wide >> shift
    if isinstance(kept, Word):
        # The sticky bit is an or of all that falls out: as many gates as a mask.
        return masked(kept, 1)
    return kept | int(int(kept) << int(shift) != int(wide))


def cycle_sum(activations: list[np.float16], terms: list[Term]) -> tuple[int, int]:
    """Return (sum, exponent) of the lanes' products, sum x 2^(exponent - BIAS - EXTRA)."""
    lanes: list[Lane] = []
    for activation, term in zip(activations, terms, strict=True):
        size, field = parts_of(activation)
        if size and term.man:
            lanes.append((int((size < 0) ^ term.negative), abs(size), field + term.exponent))
    if not lanes:
        return 0, 0
    total, top = lane_sum(lanes)
    return int(total), int(top)


def lane_sum(lanes: Sequence[Lane]) -> tuple[Number, Number]:
    """Return (sum, largest exponent) of lanes, shifted right to the largest exponent, in a tree."""
    top = largest([exponent for _, _, exponent in lanes])
    level = [signed(aligned(size, top - exponent), sign) for sign, size, exponent in lanes]
    while len(level) > 1:
        pairs = zip(level[::2], [*level[1::2], 0], strict=False)
        level = [left + right for left, right in pairs]
    return level[0], top


def dot_bit_mod(
    activations: list[np.float16], weights: list[float], scales: list[int], kind: str, group: int
) -> np.float32:
    """Return one output: values of the type times activations, by group times its scale."""
    output = np.float32(0)
    for index, start in enumerate(range(0, len(activations), group)):
        total = np.float32(0)
        for first in range(start, min(start + group, len(activations)), LANES):
            here = slice(first, min(first + LANES, start + group))
            terms = [terms_of(kind, weight) for weight in weights[here]]
            for place in range(TERMS[kind]):
                inner, top = cycle_sum(activations[here], [each[place] for each in terms])
                total = total + np.float32(inner * 2.0 ** (top - BIAS - EXTRA + bsig(kind, place)))
        output = output + rescaled(total, scales[index])
    return output


def rescaled(total: np.float32, scale: int) -> np.float32:
    """Return total x scale bit by bit, the highest first, each addition rounded to float32."""
    result = np.float32(0)
    for place in reversed(range(SCALE_BITS)):
        added = total if bit(scale, place) else np.float32(0)
        result = result + result + added
    return result


def cycles(kind: str, length: int, group: int) -> int:
    """Return the cycles of an output of one element, up to its last term.

    The multiplication by a group's scale hides behind the next group, which waits where it is
    shorter.
    """
    sizes = [min(group, length - start) for start in range(0, length, group)]
    needed = [-(-size // LANES) * TERMS[kind] for size in sizes]
    return sum(needed[:1]) + sum(max(each, SCALE_BITS) for each in needed[1:])


def values_of(
    kind: str, codes: NDArray[np.integer[Any]], selectors: NDArray[np.integer[Any]], group: int
) -> NDArray[np.float32]:
    """Return the values of FP3 or FP4 codes (N, K), of tables by selectors (N, groups)."""
    tables = np.array([book.table for book in bitmod(int(kind[2:]))], dtype=np.float32)
    by_weight = np.repeat(selectors, group, axis=1)[:, : codes.shape[1]]
    values: NDArray[np.float32] = tables[by_weight, codes]
    return values


def packed_terms(kind: str, weights: NDArray[Any]) -> NDArray[np.int8]:
    """Return the terms (terms, N, K) of values (N, K): 0, or +-(exponent + 1)."""
    distinct, inverse = np.unique(weights, return_inverse=True)
    table = np.zeros((TERMS[kind], max(distinct.size, 1)), dtype=np.int8)
    for column, weight in enumerate(distinct.tolist()):
        for place, term in enumerate(terms_of(kind, weight)):
            size = (term.exponent + 1) * term.man
            table[place, column] = -size if term.negative else size
    return table[:, inverse.reshape(weights.shape)]


def gemm_bit_mod(
    activations: NDArray[np.float16],
    weights: NDArray[np.integer[Any]],
    scales: NDArray[np.uint8],
    selectors: NDArray[np.integer[Any]] | None,
    kind: str,
    group: int = 128,
) -> NDArray[np.float32]:
    """Return activations (M, K) x scaled weights (N, K) transposed by BitMoD's elements.

    kind: of weights, "int8" or "int6" (values, no selectors), "fp4" or "fp3" (codes, with selectors
    of special values as in `formats.codebook.bitmod`); scales, selectors: (N, groups), the last
    group may be short. Errors: InputError for other dtypes and kinds, shapes that do not fit, a
    group below 1, weights and selectors out of range, activations that are not finite.
    """
    _check_kinds(activations, weights, scales, selectors, kind, group)
    _check_shapes(activations, weights, scales, selectors, group)
    _check_ranges(activations, weights, selectors, kind)
    from simulator.numerics.bit_mod_kernel import group_sums, rescale

    values = weights if selectors is None else values_of(kind, weights, selectors, group)
    shifts = np.array([bsig(kind, place) for place in range(TERMS[kind])], dtype=np.int32)
    result = np.zeros((len(activations), len(weights)), dtype=np.float32)
    for index in range(scales.shape[1]):
        part = slice(index * group, (index + 1) * group)
        padding = -activations[:, part].shape[1] % LANES
        x = np.pad(activations[:, part], ((0, 0), (0, padding)))
        terms = np.pad(packed_terms(kind, values[:, part]), ((0, 0), (0, 0), (0, padding)))
        by_lane = np.ascontiguousarray(terms.transpose(0, 2, 1))
        total = group_sums(np.ascontiguousarray(x).view(np.uint16), by_lane, shifts)
        rescale(total, np.ascontiguousarray(scales[:, index]), result)
    return result


def _unknown(kind: str) -> str:
    near = did_you_mean(kind, TERMS) or f"; known: {', '.join(TERMS)}"
    return f"unknown type '{kind}'{near}"


def _check_kinds(
    activations: NDArray[Any],
    weights: NDArray[Any],
    scales: NDArray[Any],
    selectors: NDArray[Any] | None,
    kind: str,
    group: int,
) -> None:
    problems = refusals.dtypes(np.float16, activations=activations)
    problems += refusals.dtypes(np.uint8, scales=scales)
    problems += refusals.dtypes(np.integer, weights=weights, selectors=selectors)
    if kind not in TERMS:
        problems.append(_unknown(kind))
    elif kind.startswith("fp") != (selectors is not None):
        problems.append(
            f"{kind}: selectors are {'missing' if selectors is None else 'for FP3, FP4'}"
        )
    if group < 1:
        problems.append(f"group must be >= 1, got {group}")
    if problems:
        raise InputError(problems)


def _check_shapes(
    activations: NDArray[Any],
    weights: NDArray[Any],
    scales: NDArray[Any],
    selectors: NDArray[Any] | None,
    group: int,
) -> None:
    if problems := refusals.shapes(activations, weights):
        raise InputError(problems)
    expected = (weights.shape[0], -(-weights.shape[1] // group))
    if problems := refusals.metadata(expected, scales=scales, selectors=selectors):
        raise InputError(problems)


def _check_ranges(
    activations: NDArray[Any], weights: NDArray[Any], selectors: NDArray[Any] | None, kind: str
) -> None:
    bits = int(kind.removeprefix("int").removeprefix("fp"))
    signed = kind.startswith("int")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    problems = []
    if weights.size and not low <= int(weights.min()) <= int(weights.max()) <= high:
        problems.append(f"weights: {kind} holds {low} to {high}")
    if selectors is not None and not np.isin(selectors, range(4)).all():
        problems.append("selectors: must be 0 to 3")
    wrong = int((~np.isfinite(activations)).sum())
    if wrong:
        problems.append(f"activations: {wrong} of {activations.size} values are not finite")
    if problems:
        raise InputError(problems)
