"""Errors against a reference: figures worked out by hand, and what numpy says of a last place."""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.metrics import (
    beyond_range,
    max_relative_error,
    max_ulp,
    not_finite,
    sqnr_db,
    ulp_errors,
    ulp_histogram,
    zeroed_fraction,
)


def test_sqnr_of_an_error_of_a_tenth_is_20_db() -> None:
    exact = np.array([1.0, -2.0, 4.0])
    assert sqnr_db(exact, exact * 1.1) == pytest.approx(20)


def test_equal_arrays_have_no_error() -> None:
    exact = np.array([0.0, 3.0])
    assert sqnr_db(exact, exact) == float("inf")
    assert max_relative_error(exact, exact) == max_ulp(exact, exact) == 0


def test_an_error_without_a_signal_is_all_noise() -> None:
    assert sqnr_db(np.zeros(2), np.ones(2)) == float("-inf")


def test_relative_errors_leave_out_what_should_be_zero() -> None:
    assert max_relative_error(np.array([0.0, -2.0]), np.array([9.0, -1.5])) == 0.25
    assert max_relative_error(np.zeros(1), np.ones(1)) == 0


@pytest.mark.parametrize("value", [1.0, 1.5, -3.0, 1e30, 2.0**-126, 2.0**-130])
def test_one_step_of_float32_is_one_ulp(value: float) -> None:
    exact = np.array([value], dtype=np.float32)
    assert max_ulp(exact, exact + np.spacing(np.abs(exact))) == 1


def test_the_last_place_is_that_of_the_format_of_the_result() -> None:
    assert max_ulp(np.array([1.0]), np.array([1.0 + 2.0**-9]), mantissa_bits=10) == 2


def test_nothing_has_no_error() -> None:
    empty = np.zeros((0, 3))
    assert max_ulp(empty, empty) == max_relative_error(empty, empty) == 0


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError) as error:
        sqnr_db(np.zeros(2), np.zeros((2, 1)))
    assert str(error.value) == "reference has shape (2,), found (2, 1)"


def test_integers_have_a_last_place_of_one() -> None:
    exact, found = np.array([10.25, -3.0]), np.array([10.0, -5.0])
    assert ulp_errors(exact, found, None).tolist() == [0.25, 2.0]
    assert max_ulp(exact, found, None) == 2


def test_a_histogram_has_a_bin_for_none_one_an_octave_and_one_for_the_rest() -> None:
    errors = [0.0, 2.0**-9, 2.0**-8, 1.0, 1.5, 2.0, 2.0**24 - 1, 2.0**24, np.inf, np.nan]
    found = ulp_histogram(np.zeros(len(errors)), np.array(errors), None)
    assert found.edges == (0.0, *(2.0**e for e in range(-8, 25)))
    filled = {found.edges[i]: count for i, count in enumerate(found.counts) if count}
    assert filled == {0: 2, 2.0**-8: 1, 1: 2, 2: 1, 2.0**23: 1, 2.0**24: 3}
    assert len(found.counts) == len(found.edges)


def test_what_was_zero_before_was_not_zeroed() -> None:
    assert zeroed_fraction(np.array([0.0, 1, 2, 3, -4]), np.array([0.0, 0, 2, 0, -4])) == 0.5
    assert zeroed_fraction(np.zeros(3), np.zeros(3)) == 0


def test_results_that_should_be_finite_are_counted() -> None:
    exact = np.array([1.0, 2, 3, np.inf])
    assert not_finite(exact, np.array([np.inf, np.nan, 3, np.inf])) == 2


@pytest.mark.parametrize(
    ("name", "values", "count"),
    [
        # The largest FP16 is 65504, the next one below 32 less: 65520 would round beyond.
        ("fp16", [65519.0, 65520.0, -65520.0, np.inf, np.nan], 2),
        ("fp8_e4m3fn", [448.0, 463.0, 464.0, -1e9], 2),
        ("int8", [127.0, 127.4, 127.5, -300.0], 2),
        # One block, scale 1: E2M1 ends at 6, below which is 4.
        ("mxfp4", [7.5, 6.9, -7.0, 4.0], 2),
        # Scale 1/64 of 2^0: 127 of them, and half a one.
        ("mxint8", [127 / 64, 1.99, -127.5 / 64, 0.5], 1),
        ("int4-g4", [100.0, 3.0, -99.0, 0.0], 0),
        ("int4-g4-asym", [100.0, 3.0, -99.0, 0.0], 0),
        ("nf4-g4", [100.0, 3.0, -99.0, 0.0], 0),
        # Plain tables saturate: 1 is the largest of NF4, the next one below 0.7229568.
        ("nf4", [1.0, 1.13, 1.14, -9.0], 2),
        ("pot3", [4.0, 4.9, 5.0, -np.inf], 1),
        # 64 and 96 are the two largest outliers.
        ("olive_int4", [96.0, 111.0, 112.0, 1.0], 1),
        # Mean and 3 deviations are 47.1: 112 / 7 of them are 754, beyond which is 1000.
        ("olive_int4-tensor", [1000.0, *[0.0] * 4095], 1),
        ("olive_int4-tensor", [20.0, *[0.0] * 15], 0),
        # Mean magnitude 2.5: beyond 3.75 the digit would be 2.
        ("ternary-tensor", [1.0, -1.0, 4.0, 4.0], 2),
        ("mxfp4", [0.0, 0.0], 0),
    ],
)
def test_values_beyond_the_range_of_a_format_are_counted(
    name: str, values: list[float], count: int
) -> None:
    original, form = np.array([values], np.float32), get(name)
    with np.errstate(invalid="ignore"):
        assert beyond_range(original, form, form.encode(original)) == count
