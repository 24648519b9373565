"""Are BitMoD's terms the weights, and do its cycles align and round as the specification says?"""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.codebook import bitmod
from simulator.numerics.bit_mod import (
    TERMS,
    Term,
    aligned,
    booth_terms,
    bsig,
    cycle_sum,
    cycles,
    dot_bit_mod,
    gemm_bit_mod,
    leading_one_terms,
    packed_terms,
    parts_of,
    product_of_scale,
    product_of_terms,
    rescaled,
    terms_of,
    values_of,
)
from simulator.numerics.word import Tally


def all_values(kind: str) -> list[float]:
    """Return every value of a type."""
    bits = int(kind.lstrip("intfp"))
    if kind.startswith("int"):
        return [*range(-(1 << bits - 1), 1 << bits - 1)]
    return sorted({value for book in bitmod(bits) for value in book.values})


def value_of(terms: list[Term], kind: str) -> float:
    """Return what terms stand for."""
    return sum(
        (-1) ** term.negative * 2.0**term.exponent * term.man * 2.0 ** bsig(kind, place)
        for place, term in enumerate(terms)
    )


@pytest.mark.parametrize("kind", TERMS)
def test_the_terms_of_every_value_are_the_value(kind: str) -> None:
    """Golden identity 5: 4 Booth strings, 3 for INT6, at most two ones with special values."""
    for value in all_values(kind):
        terms = terms_of(kind, value)
        assert len(terms) == TERMS[kind]
        assert value_of(terms, kind) == value
    assert TERMS == {"int8": 4, "int6": 3, "fp4": 2, "fp3": 2}


def test_special_values_are_among_those_of_the_types() -> None:
    assert {5, -5, 8, -8} < set(all_values("fp4"))
    assert {3, -3, 6, -6} < set(all_values("fp3"))


def test_the_code_of_minus_0_is_the_special_value_that_the_group_selects() -> None:
    codes = np.array([[4, 5, 4], [4, 1, 4]])
    found = values_of("fp3", codes, np.array([[0, 2], [1, 3]]), 2)
    assert found.tolist() == [[3, -1, 6], [-3, 1, -6]]
    found = values_of("fp4", np.full((1, 4), 8), np.array([[0, 1, 2, 3]]), 1)
    assert found.tolist() == [[5, -5, 8, -8]]


def test_exponents_have_one_bit_with_booth_and_reach_4_in_fp4() -> None:
    largest = {
        kind: max(term.exponent for value in all_values(kind) for term in terms_of(kind, value))
        for kind in TERMS
    }
    assert largest == {"int8": 1, "int6": 1, "fp4": 4, "fp3": 2}


def test_booth_digits_and_leading_ones_by_hand() -> None:
    # 7 = 2 x 4 - 1; -128 = -2 x 64; 5 = 4 + 1.
    assert booth_terms(7, 3) == [Term(1, 0, 1), Term(0, 1, 1), Term(0, 0, 0)]
    assert booth_terms(-128, 4) == [Term(0, 0, 0)] * 3 + [Term(1, 1, 1)]
    assert leading_one_terms(-5) == [Term(1, 2, 1), Term(1, 0, 1)]
    assert leading_one_terms(8) == [Term(0, 3, 1), Term(0, 0, 0)]


@pytest.mark.parametrize("kind", TERMS)
def test_a_product_takes_an_addition_a_term(kind: str) -> None:
    unit = 2.0 ** -bsig(kind, 0)
    for value in all_values(kind):
        tally = Tally()
        found = product_of_terms(tally.word(-1365), terms_of(kind, value), kind)
        assert int(found) == -1365 * value * unit
        count = TERMS[kind]
        assert tally.counts == {**{"add": count, "shift": count, "mask": count, "pass": count}}


def test_a_scale_takes_an_addition_a_bit_and_every_scale_is_exact() -> None:
    for scale in range(256):
        tally = Tally()
        assert int(product_of_scale(tally.word(-12345), scale)) == -12345 * scale
        # The first shift is of nothing.
        assert tally.counts == {"add": 8, "shift": 7, "mask": 8, "pass": 8}
        assert rescaled(np.float32(-12345), scale) == -12345 * scale


def test_a_scale_is_multiplied_from_the_highest_bit_and_rounds() -> None:
    total = np.float32(2**24 - 1)
    # 5 x: 2 x (2 x) + x, rounded once, to even.
    assert rescaled(total, 5) == np.float32(5 * (2**24 - 1))
    # 7 x: 3 x is rounded before it is doubled.
    once = np.float32(np.float32(3 * (2**24 - 1)) * np.float32(2) + total)
    assert rescaled(total, 7) == once


def test_parts_are_those_of_every_fp16_number() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = bits.view(np.float16)[np.isfinite(bits.view(np.float16))]
    for number in numbers[::7]:
        significand, field = parts_of(number)
        assert abs(significand) < 2048
        assert significand * 2.0 ** (field - 25) == number


def test_alignment_keeps_three_bits_the_last_of_them_sticky() -> None:
    assert aligned(0b1011, 0) == 0b1011000
    assert aligned(0b1011, 3) == 0b1011
    assert aligned(0b1011, 4) == 0b101
    assert aligned(0b1011, 5) == 0b11
    assert aligned(0b1000, 5) == 0b10
    assert aligned(1, 60) == 1
    assert aligned(0, 60) == 0


def test_the_lanes_of_a_cycle_by_hand() -> None:
    """1 and 2^-14: 14 places lower, all of it in the sticky bit."""
    one, tiny = np.float16(1), np.float16(2.0**-14)
    plus, minus = Term(0, 0, 1), Term(1, 0, 1)
    assert cycle_sum([one, tiny], [plus, plus]) == ((1024 << 3) + 1, 15)
    assert cycle_sum([one, tiny], [plus, minus]) == ((1024 << 3) - 1, 15)
    # Neither a term of 0 nor an activation of 0 moves the others.
    assert cycle_sum([one, tiny], [Term(0, 0, 0), plus]) == (1024 << 3, 1)
    assert cycle_sum([np.float16(-0.0), tiny], [Term(0, 4, 1), plus]) == (1024 << 3, 1)
    assert cycle_sum([one, one], [Term(0, 0, 0)] * 2) == (0, 0)


Operands = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


def operands(kind: str, shape: tuple[int, int, int], group: int, seed: int) -> Operands:
    """Return activations of very different sizes, weights, scales and selectors."""
    m, n, k = shape
    random = np.random.default_rng(seed)
    x = (random.standard_normal((m, k)) * 2.0 ** random.integers(-16, 8, (m, k))).astype(np.float16)
    bits = int(kind.lstrip("intfp"))
    low = -(1 << bits - 1) if kind.startswith("int") else 0
    weights = random.integers(low, low + (1 << bits), (n, k), dtype=np.int16)
    shape_of_groups = (n, -(-k // group))
    scales = random.integers(0, 256, shape_of_groups, dtype=np.uint8)
    selectors = random.integers(0, 4, shape_of_groups) if kind.startswith("fp") else None
    return x, weights, scales, selectors


def values(kind: str, given: Operands, group: int) -> np.ndarray:
    """Return the weights as numbers, without scales."""
    _, weights, _, selectors = given
    return weights if selectors is None else values_of(kind, weights, selectors, group)


def specified(kind: str, given: Operands, group: int) -> np.ndarray:
    """Return the product by the specification, output by output."""
    x, _, scales, _ = given
    w = values(kind, given, group).tolist()
    return np.array(
        [
            [dot_bit_mod([*row], w[n], scales[n].tolist(), kind, group) for n in range(len(w))]
            for row in x
        ],
        dtype=np.float32,
    ).reshape(len(x), len(w))


@pytest.mark.parametrize("kind", TERMS)
def test_256_outputs_equal_the_specification_over_all_of_k(kind: str) -> None:
    given = operands(kind, (4, 64, 75), 32, seed=1)
    given[0][0, :5] = 0.0, -0.0, 65504, -65504, 2.0**-24
    # The least exponent, which must not fall behind that of a 0.
    given[0][1] = np.random.default_rng(7).integers(-2047, 2048, 75) * 2.0**-24
    given[0][1, ::3] = 0
    found = gemm_bit_mod(*given, kind, 32)
    assert found.dtype == np.float32
    assert (found == specified(kind, given, 32)).all()


SHAPES = [(1, 1, 1), (2, 3, 4), (1, 17, 130), (2, 3, 0), (0, 3, 8), (2, 0, 8)]


@pytest.mark.parametrize("kind", TERMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("group", [6, 128])
def test_any_shape_equals_the_specification(
    kind: str, shape: tuple[int, int, int], group: int
) -> None:
    """With groups of 6 their last cycles have two lanes."""
    given = operands(kind, shape, group, seed=2)
    found = gemm_bit_mod(*given, kind, group)
    assert found.shape == shape[:2]
    assert (found == specified(kind, given, group)).all()


@pytest.mark.parametrize("kind", TERMS)
def test_products_of_small_whole_numbers_are_exact(kind: str) -> None:
    """Nothing is shifted out of 11 and 3 bits, all sums are below 2^24."""
    _, weights, scales, selectors = operands(kind, (8, 300, 500), 128, seed=3)
    x = np.random.default_rng(4).integers(-3, 4, (8, 500)).astype(np.float16)
    given = (x, weights, scales, selectors)
    w = values(kind, given, 128).astype(np.float64) * np.repeat(scales, 128, axis=1)[:, :500]
    assert (gemm_bit_mod(*given, kind) == x.astype(np.float64) @ w.T).all()


@pytest.mark.parametrize("kind", ["int8", "int6"])
def test_the_ends_of_integers_are_exact(kind: str) -> None:
    ends = min(all_values(kind)), max(all_values(kind))
    weights = np.empty((3, 128), dtype=np.int8)
    weights[0], weights[1] = ends
    weights[2, ::2], weights[2, 1::2] = ends
    x = np.array([[1.0], [-1.0]], dtype=np.float16) * np.ones(128, dtype=np.float16)
    scales = np.full((3, 1), 255, dtype=np.uint8)
    expected = 255 * (x.astype(np.int64) @ weights.astype(np.int64).T)
    assert (gemm_bit_mod(x, weights, scales, None, kind) == expected).all()


@pytest.mark.parametrize("kind", TERMS)
def test_errors_are_far_below_those_of_fp16_products(kind: str) -> None:
    given = operands(kind, (4, 100, 1024), 128, seed=5)
    x = np.random.default_rng(6).standard_normal((4, 1024)).astype(np.float16)
    given = (x, *given[1:])
    w = values(kind, given, 128).astype(np.float64) * np.repeat(given[2], 128, axis=1)
    exact = x.astype(np.float64) @ w.T
    error = gemm_bit_mod(*given, kind) - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 85


def test_terms_are_packed_with_sign_and_exponent() -> None:
    packed = packed_terms("fp4", np.array([[0.0, -0.5, 8.0, -5.0]]))
    assert packed.tolist() == [[[0, -1, 5, -4]], [[0, 0, 0, -2]]]


def test_the_published_cycles_and_a_scale_that_does_not_hide() -> None:
    """Length / 4 x terms, 64 cycles a group; a group of 8 has 4 cycles and waits for 8."""
    assert [cycles(kind, 4096, 128) for kind in TERMS] == [4096, 3072, 2048, 2048]
    assert cycles("fp4", 128, 128) == 64
    assert cycles("fp4", 32, 8) == 4 + 3 * 8
    assert cycles("int8", 130, 128) == 128 + 8
    assert cycles("int6", 5, 128) == 6
    assert cycles("int6", 0, 128) == 0


def refused(kind: str = "fp4", group: int = 64, **changes: np.ndarray | None) -> str:
    """Return what is said of operands of which some are wrong."""
    x, weights, scales, selectors = operands("fp4", (2, 3, 130), 64, seed=1)
    given = {"activations": x, "weights": weights, "scales": scales, "selectors": selectors}
    with pytest.raises(InputError) as error:
        gemm_bit_mod(**{**given, **changes}, kind=kind, group=group)
    return str(error.value)


def test_operands_that_are_refused() -> None:
    floats = np.zeros((3, 130))
    assert refused(activations=floats, weights=floats) == (
        "activations: expected float16, got float64\nweights: expected integers, got float64"
    )
    assert refused(scales=floats, selectors=floats) == (
        "scales: expected uint8, got float64\nselectors: expected integers, got float64"
    )
    assert refused("fp5", group=0) == (
        "unknown type 'fp5'; did you mean 'fp4'?\ngroup must be >= 1, got 0"
    )
    assert refused("bfloat") == "unknown type 'bfloat'; known: int8, int6, fp4, fp3"
    assert refused(selectors=None) == "fp4: selectors are missing"
    assert refused("int8") == "int8: selectors are for FP3, FP4"
    assert refused(activations=np.zeros((2, 64), np.float16)) == (
        "expected activations (M, K) and weights (N, K), got shapes (2, 64) and (3, 130)"
    )
    assert refused(scales=np.ones((3, 2), np.uint8), selectors=np.ones((2, 3), np.int8)) == (
        "scales: expected shape (3, 3), got (3, 2)\nselectors: expected shape (3, 3), got (2, 3)"
    )
    x = np.zeros((2, 130), np.float16)
    x[0, :2] = np.nan, np.inf
    assert refused(activations=x, weights=np.full((3, 130), 16), selectors=np.full((3, 3), 4)) == (
        "weights: fp4 holds 0 to 15\nselectors: must be 0 to 3\n"
        "activations: 2 of 260 values are not finite"
    )
    assert refused("int6", weights=np.full((3, 130), 32), selectors=None) == (
        "weights: int6 holds -32 to 31"
    )


def test_an_unknown_type_has_no_shared_exponent() -> None:
    with pytest.raises(InputError, match=r"^unknown type .int4.; did you mean .int8."):
        bsig("int4", 0)
