"""Do integer functions equal their formulas in unbounded integers, and come near the real ones?"""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.integer_functions import (
    NUMERATOR,
    Dyadic,
    integer_layer_norm,
    integer_root,
    shift_exp,
    shift_gelu,
    shiftmax,
)

ROWS = st.lists(st.integers(-300, 300), min_size=1, max_size=12)
SCALES = st.sampled_from((0.4, 0.05, 0.0123, 1 / 64))


def exp_by_formula(x: int, unit: int, n: int) -> int:
    """I-ViT's int_exp_shift in rational numbers; x0 is -unit."""
    x = x + floor(Fraction(x, 2)) - floor(Fraction(x, 16))
    x = max(x, -n * unit)
    q = floor(Fraction(x, -unit))
    r = x + unit * q
    return max(floor((Fraction(r, 2) + unit) * 2 ** (n - q)), 0)


@given(st.integers(-(2**23), 0), st.integers(2, 2**20), st.sampled_from((15, 23)))
@settings(max_examples=300)
def test_the_exponential_is_that_of_the_formula(x: int, unit: int, n: int) -> None:
    assert shift_exp(np.array([x]), unit, n).tolist() == [exp_by_formula(x, unit, n)]


@given(ROWS, SCALES, st.sampled_from((4, 8, 16)))
@settings(max_examples=200)
def test_shiftmax_is_that_of_the_formula(row: list[int], scale: float, bits: int) -> None:
    unit = floor(1 / scale)
    exponents = [exp_by_formula(x - max(row), unit, 15) for x in row]
    total = min(sum(exponents), NUMERATOR)
    expected = [(e * (NUMERATOR // total)) // 2 ** (31 - bits + 1) for e in exponents]
    assert shiftmax(np.array(row), scale, bits).tolist() == expected


@given(ROWS, SCALES, st.sampled_from((8, 16)))
@settings(max_examples=200)
def test_shift_gelu_is_that_of_the_formula(row: list[int], scale: float, bits: int) -> None:
    unit, most = floor(1 / (scale * 1.702)), max(0, *row)
    if unit == 0:
        return
    expected = []
    for x in row:
        above, below = exp_by_formula(x - most, unit, 23), exp_by_formula(-most, unit, 23)
        total = max(1, min(above + below, NUMERATOR))
        expected.append(x * ((above * (NUMERATOR // total)) // 2 ** (31 - bits + 1)))
    assert shift_gelu(np.array(row), scale, bits).tolist() == expected


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=50))
@settings(max_examples=200)
def test_layer_norm_is_that_of_the_formula(row: list[int]) -> None:
    mean = floor(Fraction(sum(row), len(row)) + Fraction(1, 2))
    centred = [x - mean for x in row]
    variance = max(1, sum(y * y for y in centred))
    root = 2**16
    for _ in range(10):
        root = max((root + variance // root) // 2, 1)
    expected = [(y * (NUMERATOR // root)) // 2 for y in centred]
    assert integer_layer_norm(np.array(row)).tolist() == expected


def test_they_come_near_the_real_functions() -> None:
    """Within the errors that the shifts bring: 0.02 of softmax, 0.15 of GELU at steps of 0.05."""
    random = np.random.default_rng(0)
    x, scale = random.integers(-128, 128, (16, 64)), 0.05
    real = np.exp(x * scale)
    real /= real.sum(axis=-1, keepdims=True)
    assert np.abs(shiftmax(x, scale) / 128 - real).max() < 0.02
    gelu = x * scale / (1 + np.exp(-1.702 * x * scale))
    assert np.abs(shift_gelu(x, scale) * scale / 128 - gelu).max() < 0.15
    normed = (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)
    assert np.abs(integer_layer_norm(x) * np.sqrt(64) / 2**30 - normed).max() < 0.01


@pytest.mark.parametrize("value", [10**6, 2**31, 2**48 - 1])
def test_the_root_is_near(value: int) -> None:
    [root] = integer_root(np.array([value])).tolist()
    assert abs(root - value**0.5) <= max(1.0, 0.01 * value**0.5)


def test_a_small_root_has_not_arrived_in_ten_steps() -> None:
    """2^16 halves ten times: the published algorithm's own limit."""
    assert integer_root(np.array([1, 2, 99])).tolist() == [64, 64, 64]


@given(st.floats(2.0**-30, 2.0**29), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=20))
@settings(max_examples=300)
def test_requantisation_rounds_the_dyadic_product_to_nearest_even(
    scale: float, values: list[int]
) -> None:
    dyadic = Dyadic.of(scale)
    assert abs(Fraction(dyadic.mantissa, 2**dyadic.shift) / Fraction(scale) - 1) <= Fraction(
        1, 2**31
    )
    if values:
        expected = [round(Fraction(v * dyadic.mantissa, 2**dyadic.shift)) for v in values]
        assert dyadic.times(np.array(values)).tolist() == expected


def test_a_dyadic_scale_hardly_differs_from_the_real_one() -> None:
    """Golden identity 7: some 5 of 20,000 values differ by one where the product is near a tie."""
    random = np.random.default_rng(1)
    differ = 0
    for scale in random.uniform(1e-4, 1e-2, 20):
        values = random.integers(-(10**6), 10**6, 1000)
        differ += int((Dyadic.of(float(scale)).times(values) != np.round(values * scale)).sum())
    assert differ <= 10


def test_requantised_values_are_clamped_where_asked() -> None:
    values = np.array([-1000, -129, -128, 127, 128, 1000])
    assert Dyadic.of(1.0).times(values).tolist() == values.tolist()
    assert Dyadic.of(1.0).times(values, bits=8).tolist() == [-128, -128, -128, 127, 127, 127]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dyadic.of(0.0), "scale must be 2^-30 to 2^30, got 0.0"),
        (lambda: Dyadic.of(1.0).times(np.array([2**31])), "values must be of 32 bits"),
        (lambda: shiftmax(np.array([1]), 0.6), "scale must be 2^-20 to 1/2, got 0.6"),
        (lambda: shiftmax(np.array([1]), 0.1, 17), "bits must be 2 to 16, got 17"),
        (lambda: shiftmax(np.array([2**23]), 0.1), "values must be of 24 bits"),
        (lambda: shiftmax(np.array([0.5]), 0.1), "expected integers, got float64"),
        (
            lambda: integer_layer_norm(np.zeros((3, 0), np.int64)),
            "expected rows of at least one value, got shape (3, 0)",
        ),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
