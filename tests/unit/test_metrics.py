"""Errors against a reference: figures worked out by hand, and what numpy says of a last place."""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.metrics import max_relative_error, max_ulp, sqnr_db


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
