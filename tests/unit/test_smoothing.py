"""SmoothQuant: the product stays, the outliers of activations do not."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulator.errors import InputError
from simulator.formats.scaling import rtn
from simulator.formats.smoothing import smooth, smoothing_factor_one
from simulator.numerics.data import random_matrix

ALPHAS = st.floats(0, 1)
LENGTHS = st.shared(st.integers(1, 9), key="channels")
MATRICES = LENGTHS.flatmap(
    lambda k: arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(k)),
        elements=st.floats(-(2.0**60), 2.0**60, width=32),
    )
)
Matrix = np.ndarray[Any, np.dtype[np.float32]]


def pair(rows: int = 32, columns: int = 256) -> tuple[Matrix, Matrix]:
    generator = np.random.default_rng(11)
    activations = random_matrix("outlier_channels", rows, columns, generator)
    return activations, random_matrix("gaussian", 48, columns, generator)


@pytest.mark.parametrize("powers_of_two", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.85, 1.0])
def test_factors_are_those_of_the_specification(alpha: float, powers_of_two: bool) -> None:
    activations, weights = pair()
    activations[:, 3] = 0
    weights[:, 5] = 0
    _, _, factors = smooth(activations, weights, alpha, powers_of_two=powers_of_two)
    assert factors.tolist() == [
        smoothing_factor_one(
            max(map(abs, activations[:, j].tolist())),
            max(map(abs, weights[:, j].tolist())),
            alpha,
            powers_of_two=powers_of_two,
        )
        for j in range(256)
    ]
    assert factors[[3, 5]].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("alpha", "factor"), [(0.0, 1 / 4), (0.25, 2**-0.5), (0.5, 2.0), (1.0, 16.0)]
)
def test_factors_by_hand(alpha: float, factor: float) -> None:
    assert smoothing_factor_one(16.0, 4.0, alpha) == pytest.approx(factor, rel=1e-15)
    activations, weights = np.array([[-16.0], [3.0]]), np.array([[4.0], [-1.0]])
    left, right, factors = smooth(activations, weights, alpha)
    assert factors == pytest.approx([factor], rel=1e-15)
    assert left.tolist() == (activations / factors).tolist()
    assert right.tolist() == (weights * factors).tolist()


def test_half_is_the_default() -> None:
    activations, weights = pair()
    given_half, default = smooth(activations, weights, 0.5), smooth(activations, weights)
    assert [each.tolist() for each in given_half] == [each.tolist() for each in default]
    assert smoothing_factor_one(9.0, 1.0) == 3.0


@pytest.mark.parametrize("exponent", [-1000, -30, -1, 0, 1, 52, 1000])
def test_powers_of_two_are_nearest_in_the_logarithm(exponent: int) -> None:
    below, root = np.nextafter(np.sqrt(0.5), 0), np.sqrt(0.5)
    for fraction, power in ((0.5, 0.5), (below, 0.5), (root, 1.0), (0.99, 1.0)):
        factor = smoothing_factor_one(
            float(np.ldexp(fraction, exponent)), 1.0, 1.0, powers_of_two=True
        )
        assert factor == np.ldexp(power, exponent)


@settings(max_examples=80, deadline=None)
@given(MATRICES, MATRICES, ALPHAS)
def test_the_product_is_kept_within_rounding(
    activations: Matrix, weights: Matrix, alpha: float
) -> None:
    left, right, _ = smooth(activations, weights, alpha)
    exact = activations.astype(float) @ weights.T.astype(float)
    size = np.abs(activations.astype(float)) @ np.abs(weights.T.astype(float))
    error = np.abs(left @ right.T - exact)
    assert (error <= 4 * (activations.shape[1] + 3) * 2.0**-53 * size).all()


@settings(max_examples=80, deadline=None)
@given(MATRICES, MATRICES, ALPHAS)
def test_every_term_of_the_product_is_kept_to_the_bit_by_powers_of_two(
    activations: Matrix, weights: Matrix, alpha: float
) -> None:
    left, right, factors = smooth(activations, weights, alpha, powers_of_two=True)
    assert (np.frexp(factors)[0] == 0.5).all()
    terms = activations[:, None].astype(float) * weights[None].astype(float)
    assert (left[:, None] * right[None]).tobytes() == terms.tobytes()
    assert (left * factors == activations).all()
    assert (right / factors == weights).all()


def test_half_makes_the_maxima_of_every_channel_equal() -> None:
    left, right, _ = smooth(*pair())
    np.testing.assert_allclose(np.abs(left).max(axis=0), np.abs(right).max(axis=0), rtol=1e-14)
    left, right, _ = smooth(*pair(), powers_of_two=True)
    ratio = np.abs(left).max(axis=0) / np.abs(right).max(axis=0)
    assert (ratio >= 0.5 - 1e-14).all()
    assert (ratio <= 2 + 1e-14).all()


@pytest.mark.parametrize(("alpha", "side"), [(0.0, 1), (1.0, 0)])
def test_the_ends_of_alpha_level_one_of_the_two_matrices(alpha: float, side: int) -> None:
    levelled = smooth(*pair(), alpha)[side]
    np.testing.assert_allclose(np.abs(levelled).max(axis=0), 1, rtol=1e-14)


@pytest.mark.parametrize("powers_of_two", [False, True])
def test_int8_of_outlier_channels_is_better_after_smoothing(powers_of_two: bool) -> None:
    activations, weights = pair()
    exact = activations.astype(float) @ weights.T.astype(float)

    def sqnr_db(left: Any, right: Any) -> float:
        product = rtn(left, 8, "token").values() @ rtn(right, 8, "channel").values().T
        return float(10 * np.log10(np.square(exact).sum() / np.square(product - exact).sum()))

    left, right, _ = smooth(activations, weights, powers_of_two=powers_of_two)
    assert sqnr_db(left, right) > sqnr_db(activations, weights) + 3


def test_stacked_layers_share_the_factors_of_their_common_maximum() -> None:
    activations, weights = pair()
    _, together, factors = smooth(activations, np.concatenate([weights, 3 * weights]))
    _, _, largest = smooth(activations, 3 * weights)
    assert factors.tolist() == largest.tolist()
    assert together[:48].tolist() == (weights * factors).tolist()


@pytest.mark.parametrize("shapes", [((0, 3), (2, 3)), ((2, 3), (0, 3)), ((2, 0), (3, 0))])
def test_nothing_has_factors_of_one(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    left, right, factors = smooth(*(np.ones(shape, np.float32) for shape in shapes))
    assert (left.shape, right.shape) == shapes
    assert factors.tolist() == [1.0] * shapes[0][1]


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("activations", "weights", "alpha", "words"),
    [
        (
            ONES, ONES[:, :2], 0.5,
            "smooth: expected activations (M, K) and weights (N, K), got shapes (2, 3) and (2, 2)",
        ),
        (
            ONES[0], ONES, 0.5,
            "smooth: expected activations (M, K) and weights (N, K), got shapes (3,) and (2, 3)",
        ),
        (
            ONES, ONES[None], 0.5,
            "smooth: expected activations (M, K) and weights (N, K), got shapes (2, 3) and "
            "(1, 2, 3)",
        ),
        (
            ONES.astype(int), ONES, 0.5,
            "smooth: activations: values must be float16, float32 or float64, got int64",
        ),
        (
            ONES, ONES * np.float32(np.inf), 0.5,
            "smooth: weights: 6 of 6 values are NaN or infinite",
        ),
        (ONES, ONES, 1.5, "smooth: alpha must be 0 to 1, got 1.5"),
        (ONES, ONES, -0.1, "smooth: alpha must be 0 to 1, got -0.1"),
        (ONES, ONES, float("nan"), "smooth: alpha must be 0 to 1, got nan"),
        (ONES, ONES, "x", "smooth: alpha must be 0 to 1, got 'x'"),
        (
            [[1.0, 2.0], [3.0]], ONES, 0.5,
            "smooth: activations: values must be an array, got rows that do not fit",
        ),
        (
            np.full((2, 3), 1e308), np.full((2, 3), 5e-324), 0.5,
            "smooth: the factor of a channel of 1e+308 and 4.941e-324 is beyond float64",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_smoothed_is_refused(
    activations: Any, weights: Any, alpha: float, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        smooth(activations, weights, alpha)
    assert str(refused.value) == words


def test_lists_small_floats_and_foreign_bytes_are_values_too() -> None:
    x, w = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float16)
    expected = smooth(x.astype(np.float32), w.astype(np.float32))
    for same in ((x, w), (x.astype(">f4"), w.astype(">f8")), (x.tolist(), w.tolist())):
        for found, wanted in zip(smooth(*same), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
