"""Does a fused multiply-add in FP16 round once, and only once?"""

from fractions import Fraction

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.presets import FP16
from simulator.formats.rounding import Overflow, Rounding
from simulator.numerics.fused import dot_fused, fused_one, gemm_fused
from simulator.numerics.mac_tree import gemm_tree
from simulator.numerics.word import Tally

FP16S = ("fp16", "fp16", "fp16")


def halves(shape: tuple[int, int], seed: int, spread: int = 12) -> np.ndarray:
    """Return values of very different sizes."""
    random = np.random.default_rng(seed)
    powers = np.exp2(random.integers(-spread, 5, shape))
    return (random.standard_normal(shape) * powers).astype(np.float16)


def in_fractions(x: float, w: float, total: float) -> float:
    exact = Fraction(x) * Fraction(w) + Fraction(total)
    code = FP16.encode_one(exact, Rounding.NEAREST_EVEN, Overflow.INF)
    return FP16.decode_one(code)


@pytest.mark.parametrize("spread", [3, 12, 24])
def test_one_operation_is_that_of_fractions(spread: int) -> None:
    x, w, totals = (halves((1, 3000), seed, spread)[0].tolist() for seed in range(3))
    for each in zip(x, w, totals, strict=True):
        assert fused_one(*each) == in_fractions(*each), each


def test_ties_of_a_product_and_a_total_round_to_even_once() -> None:
    # 1 + 2^-11 is a tie of FP16: alone it goes down to even, with anything more it goes up.
    tie = (2.0**-5, 2.0**-6, 1.0)
    assert fused_one(*tie) == 1.0
    above = (2.0**-5 * (1 + 2.0**-10), 2.0**-6 * (1 - 2.0**-11), 1.0)
    assert fused_one(*above) == in_fractions(*above) == 1.0 + 2.0**-10
    # Rounded first, the product is the tie again: two roundings give another result.
    x, w = (np.array([[1.0, each]], np.float16) for each in above[:2])
    assert gemm_fused(x, w)[0, 0] == 1.0 + 2.0**-10
    assert gemm_tree(*(each.astype(np.float32) for each in (x, w)), 1, FP16S)[0, 0] == 1.0


def test_fusing_changes_results() -> None:
    x, w = halves((4, 500), 5, 6), halves((4, 500), 6, 6)
    separate = gemm_tree(*(each.astype(np.float32) for each in (x, w)), 1, FP16S)
    assert (gemm_fused(x, w) != separate).any()


@pytest.mark.parametrize("shape", [(16, 16, 333), (1, 1, 1), (3, 5, 2), (2, 0, 4), (2, 3, 0)])
def test_outputs_equal_the_specification_over_all_of_k(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x, w = halves((m, k), 1), halves((n, k), 2)
    found = gemm_fused(x, w)
    assert (found.dtype, found.shape) == (np.float32, (m, n))
    expected = [[dot_fused(a, b) for b in w.tolist()] for a in x.tolist()]
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(m, n))


def test_overflow_is_infinity_and_specials_go_through() -> None:
    x = np.array([[65504, 1], [np.inf, 1], [np.nan, 1], [np.inf, -np.inf], [-65504, -16]])
    x = x.astype(np.float16)
    w = np.array([[1, 16]], np.float16)
    found = gemm_fused(x, w)
    expected = np.array([[np.inf], [np.inf], [np.nan], [np.nan], [-np.inf]], np.float32)
    np.testing.assert_array_equal(found, expected)
    assert [dot_fused(row, w[0].tolist()) for row in x.tolist()][0::4] == [np.inf, -np.inf]
    # Half a unit below the limit stays the largest number.
    assert fused_one(65504.0, 1.0, 15.0) == 65504.0


def test_subnormals_are_kept_and_zeros_have_signs() -> None:
    least = 2.0**-24
    assert fused_one(least, 1.0, least) == 2 * least
    assert fused_one(2.0**-12, 2.0**-13, 0.0) == 0.0
    assert fused_one(2.0**-12, 2.0**-13 + 2.0**-23, 0.0) == least
    x, w = np.array([[2.0**-12]], np.float16), np.array([[2.0**-13 + 2.0**-23]], np.float16)
    assert gemm_fused(x, w)[0, 0] == np.float32(least)


def test_what_rounds_to_zero_keeps_its_sign() -> None:
    for x, w in ((-(2.0**-13), 2.0**-13), (2.0**-13, -(2.0**-13)), (2.0**-13, 2.0**-13)):
        negative = (x < 0) != (w < 0)
        assert np.signbit(fused_one(x, w, 0.0)) == negative
        found = gemm_fused(np.array([[x]], np.float16), np.array([[w]], np.float16))
        assert (found[0, 0], np.signbit(found[0, 0])) == (0, negative)


def test_an_operation_counts_once() -> None:
    tally = Tally()
    x = [tally.real(value) for value in (1.0, 2.0, 3.0)]
    assert dot_fused(x, [1.0, 1.0, 1.0]) == 6.0
    assert tally.counts == {"fma fp16": 3}


def test_what_is_refused() -> None:
    x = np.zeros((2, 3), np.float16)
    with pytest.raises(InputError) as caught:
        gemm_fused(x.astype(np.float32), x)
    assert str(caught.value) == "activations: expected float16, got float32"
    with pytest.raises(InputError) as caught:
        gemm_fused(x, x[:, :2])
    assert str(caught.value).startswith("expected activations (M, K) and weights (N, K), got")
