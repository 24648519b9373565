"""Binary-coded values: arrays against fractions, every code, and fits that only get better."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats import get
from simulator.formats.binary_coded import (
    BinaryCoded,
    codes_of,
    decode,
    decode_one,
    encode,
    encode_one,
    fit,
    power_of_two,
    terms_of,
)

POWERS = st.lists(st.integers(-6, 6).map(lambda exponent: 2.0**exponent), min_size=1, max_size=4)


def weights(groups: int = 12, count: int = 40) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(groups, count)).astype(np.float32)


def squared_error(values: np.ndarray, coded: BinaryCoded) -> np.ndarray:
    return np.square(decode(coded) - values).sum(axis=1)


def is_power_of_two(values: np.ndarray) -> bool:
    return bool((np.frexp(values)[0] == 0.5).all())


def test_codes_of_one_group_are_sums_of_signed_alphas() -> None:
    sums = [decode_one((4.0, 2.0, 1.0), code) for code in range(8)]
    assert sums == [-7.0, 1.0, -3.0, 5.0, -5.0, 3.0, -1.0, 7.0]


def test_signs_are_packed_most_significant_value_first() -> None:
    coded = encode(np.array([[2.0, 1.0]]), np.array([[3.0, 1, -1, -3, 3, 3, 3, 3, -3, 1]]))
    assert coded.signs.tolist() == [[[0b11001111, 0b01000000], [0b10101111, 0b00000000]]]
    assert codes_of(coded).tolist() == [[3, 1, 2, 0, 3, 3, 3, 3, 0, 1]]
    assert decode(coded).tolist() == [[3.0, 1, -1, -3, 3, 3, 3, 3, -3, 1]]


@pytest.mark.parametrize("planes", range(1, 9))
def test_every_code_round_trips(planes: int) -> None:
    alphas = np.array([2.0 ** np.arange(planes)[::-1], 3.0 ** np.arange(planes)])
    values = [[decode_one(row.tolist(), code) for code in range(1 << planes)] for row in alphas]
    coded = encode(alphas, np.array(values))
    assert codes_of(coded).tolist() == [list(range(1 << planes))] * 2
    assert decode(coded).tolist() == values


@given(POWERS, st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=20))
def test_array_encode_equals_encode_one(alphas: list[float], values: list[float]) -> None:
    coded = encode(np.array([alphas]), np.array([values]))
    assert codes_of(coded)[0].tolist() == [encode_one(alphas, value) for value in values]


@given(POWERS, st.floats(-200, 200, width=32))
def test_the_nearest_sum_is_found_in_fractions(alphas: list[float], value: float) -> None:
    sums = [Fraction(decode_one(alphas, code)) for code in range(1 << len(alphas))]
    found = sums[encode_one(alphas, value)]
    assert abs(found - Fraction(value)) == min(abs(each - Fraction(value)) for each in sums)


def test_ties_go_to_the_larger_sum_and_equal_sums_to_the_lowest_code() -> None:
    coded = encode(np.array([[1.0, 1.0]]), np.array([[0.0, 1.0, -1.0, 0.9]]))
    assert codes_of(coded).tolist() == [[1, 3, 1, 1]]
    assert [encode_one((1.0, 1.0), value) for value in (0.0, 1.0, -1.0, 0.9)] == [1, 3, 1, 1]


@given(st.lists(st.floats(-200, 200, width=32), min_size=2, max_size=20))
def test_encoding_is_monotone(values: list[float]) -> None:
    ordered = np.sort(np.array([values]))
    assert (np.diff(decode(encode(np.array([[5.0, 3.0, 0.5]]), ordered))) >= 0).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0.0),
        (1.0, 1.0),
        (1.41, 1.0),
        (1.42, 2.0),
        (-3.0, -4.0),
        (0.3, 0.25),
        (np.nextafter(8.0, 0.0), 8.0),
        (5e-324, 5e-324),
        # The two float64 around sqrt(2), which is below the one that `sqrt` gives.
        (sqrt(2), 2.0),
        (np.nextafter(sqrt(2), 0.0), 1.0),
    ],
)
def test_a_power_of_two_is_the_nearest_in_the_logarithm(value: float, expected: float) -> None:
    assert power_of_two(np.array([value])).tolist() == [expected]


def test_more_terms_are_powers_of_two_of_what_is_left() -> None:
    # 7 = 8 - 1, 11 = 8 + 4 - 1 (3 is nearer to 4 than to 2 in the logarithm).
    values = np.array([7.0, 11.0, 0.0, -11.0])
    assert power_of_two(values, 1).tolist() == [8.0, 8.0, 0.0, -8.0]
    assert power_of_two(values, 2).tolist() == [7.0, 12.0, 0.0, -12.0]
    assert power_of_two(values, 3).tolist() == [7.0, 11.0, 0.0, -11.0]


@given(st.floats(2.0**-200, 2.0**200))
def test_each_term_leaves_less_than_half(value: float) -> None:
    rests = [abs(Fraction(value) - Fraction(power_of_two(np.array([value]), n)[0])) for n in (1, 2)]
    assert rests[0] < Fraction(value) / 2
    assert rests[1] <= rests[0] / 2


@pytest.mark.parametrize("terms", [0, 1, 3])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_more_rounds_never_have_a_larger_error_in_any_group(planes: int, terms: int) -> None:
    values = weights()
    errors = [squared_error(values, fit(values, planes, terms, rounds)) for rounds in (0, 1, 4, 15)]
    for earlier, later in pairwise(errors):
        assert (later <= earlier).all()
    if planes > 1:
        assert errors[-1].sum() < errors[0].sum()


@pytest.mark.parametrize("terms", [0, 1, 3])
def test_more_planes_have_a_smaller_error(terms: int) -> None:
    values = weights()
    errors = [squared_error(values, fit(values, planes, terms)).sum() for planes in range(1, 6)]
    assert errors == sorted(errors, reverse=True)


def test_one_plane_is_the_mean_magnitude() -> None:
    coded = fit(np.array([[1.0, -3.0, 2.0, -2.0]]), 1)
    assert coded.alphas.tolist() == [[2.0]]
    assert decode(coded).tolist() == [[2.0, -2.0, 2.0, -2.0]]


def test_fit_finds_a_binary_code_again() -> None:
    alphas = np.array([[4.0, 2.0, 1.0]])
    values = np.array([[decode_one(alphas[0].tolist(), code) for code in range(8)]])
    for terms in (0, 1):
        coded = fit(values, 3, terms)
        np.testing.assert_allclose(coded.alphas, alphas, rtol=1e-12)
        np.testing.assert_allclose(decode(coded), values, rtol=1e-12)
    assert decode(fit(values, 3, 1)).tolist() == values.tolist()


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 8])
def test_alphas_of_one_term_are_powers_of_two_and_sums_exact(planes: int) -> None:
    coded = fit(weights(), planes, terms=1)
    assert is_power_of_two(coded.alphas)
    codes = codes_of(coded)
    exact = [
        [
            sum(Fraction(a) if code >> i & 1 else -Fraction(a) for i, a in enumerate(row))
            for code in each.tolist()
        ]
        for row, each in zip(coded.alphas.tolist(), codes, strict=True)
    ]
    assert decode(coded).tolist() == exact


def test_alphas_of_three_terms_are_sums_of_three_powers_of_two() -> None:
    alphas = fit(weights(), 3, terms=3).alphas
    np.testing.assert_array_equal(power_of_two(alphas, 3), alphas)
    assert not is_power_of_two(alphas)


def test_what_fit_gives_is_the_nearest_code_of_its_alphas() -> None:
    values = weights()
    for terms in (0, 1, 3):
        coded = fit(values, 3, terms)
        np.testing.assert_array_equal(encode(coded.alphas, values).signs, coded.signs)
        assert (np.diff(coded.alphas, axis=1) <= 0).all()


def test_groups_are_fitted_independently() -> None:
    values = weights()
    together = fit(values, 3, terms=1)
    for index in range(len(values)):
        alone = fit(values[index : index + 1], 3, terms=1)
        np.testing.assert_array_equal(alone.signs[0], together.signs[index])
        np.testing.assert_array_equal(alone.alphas[0], together.alphas[index])


@pytest.mark.parametrize("terms", [0, 1])
def test_constant_groups_and_groups_of_zeros_are_exact(terms: int) -> None:
    values = np.array([[0.0] * 5, [2.0] * 5, [-2.0] * 5])
    coded = fit(values, 3, terms)
    np.testing.assert_allclose(decode(coded), values, atol=1e-12)


def test_no_groups_fit() -> None:
    coded = fit(np.zeros((0, 8)), 3)
    assert decode(coded).shape == (0, 8)
    assert coded.signs.shape == (0, 3, 1)


def test_bits_per_value_count_signs_and_alphas() -> None:
    coded = fit(weights(2, 128), 3)
    assert coded.bits_per_value() == 3 + Fraction(3 * 16, 128)
    assert coded.bits_per_value(alpha_bits=8) == 3 + Fraction(3, 16)
    # Ten values need two bytes in a plane, of which ten bits count.
    assert fit(weights(2, 10), 2).bits_per_value(1) == 2 + Fraction(2, 10)


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        call()
    return error.value.problems


def test_impossible_codes_are_refused_with_all_problems() -> None:
    signs = np.zeros((2, 3, 1), np.uint8)
    assert refused(lambda: BinaryCoded(np.array([[np.nan]]), signs.astype(np.int8), 0)) == (
        "binary code: count must be >= 1, got 0",
        "binary code: alphas must be finite",
        "binary code: signs must be uint8, got int8",
        "binary code: signs must have shape (1, 1, 0), got (2, 3, 1)",
    )
    assert refused(lambda: BinaryCoded(np.ones((2, 9)), np.zeros((2, 9, 1), np.uint8), 8)) == (
        "binary code: alphas must be (groups, 1 to 8 planes), got (2, 9)",
    )


def test_impossible_fits_are_refused_with_all_problems() -> None:
    assert refused(lambda: fit(weights(), 0, -1, -2)) == (
        "binary code: planes must be 1 to 8, got 0",
        "binary code: terms must be >= 0, got -1",
        "binary code: rounds must be >= 0, got -2",
    )
    assert refused(lambda: fit(weights(), 9)) == ("binary code: planes must be 1 to 8, got 9",)
    assert refused(lambda: fit(np.array([np.nan, np.inf, 1.0]), 2)) == (
        "binary code: values must be (groups, count >= 1), got shape (3,)",
        "binary code: 2 of 3 values are not finite",
    )
    assert refused(lambda: fit(np.zeros((4, 0)), 2)) == (
        "binary code: values must be (groups, count >= 1), got shape (4, 0)",
    )


def test_alphas_that_do_not_fit_the_values_are_refused() -> None:
    assert refused(lambda: encode(np.ones((3, 2)), np.ones((2, 5)))) == (
        "binary code: alphas of shape (3, 2) do not fit 2 groups",
    )
    assert refused(lambda: encode(np.full((2, 9), np.inf), np.ones((2, 5)))) == (
        "binary code: alphas must be (groups, 1 to 8 planes), got (2, 9)",
        "binary code: alphas must be finite",
    )


def test_terms_and_alpha_bits_below_one_are_refused() -> None:
    assert refused(lambda: power_of_two(np.ones(2), 0)) == (
        "power_of_two: terms must be >= 1, got 0",
    )
    assert refused(lambda: fit(weights(), 2).bits_per_value(0)) == (
        "binary code: alpha_bits must be >= 1, got 0",
    )


def test_terms_add_up_to_alphas_and_are_those_that_rounding_found() -> None:
    """All mantissas count: a sum of the nearest powers has the same powers once more."""
    values = np.concatenate([np.linspace(1, 2, 100_001), [0.0, 3e-5]])
    alphas = power_of_two(values, 3)
    terms = terms_of(alphas, 3)
    assert terms.shape == (*alphas.shape, 3)
    assert (terms.sum(axis=-1) == alphas).all()
    assert (np.isin(np.frexp(terms)[0], (0.5, -0.5)) | (terms == 0)).all()
    assert terms_of(np.array([5.75]), 3).tolist() == [[8.0, -2.0, -0.25]]
    with pytest.raises(InputError) as caught:
        terms_of(np.array([1.0, 1.3]), 2)
    assert str(caught.value) == "binary code: alphas must be sums of 2 powers of two"


@pytest.mark.parametrize("name", ["bcq2", "bcq3-g50", "bcq3-channel"])
def test_a_named_format_is_the_fit_of_each_group(name: str) -> None:
    form, values = get(name), np.random.default_rng(3).standard_normal((4, 300)).astype(np.float32)
    encoded = form.encode(values)
    decoded, group = form.decode(encoded), form.group or 300
    planes = int(form.value_bits)
    for start in range(0, 300, group):
        own = fit(values[:, start : start + group], planes, terms=3)
        np.testing.assert_array_equal(decoded[:, start : start + group], decode(own))
    assert encoded.bits_per_value == planes + Fraction(24 * planes * -(-300 // group), 300)


def test_a_named_format_has_the_bits_of_its_groups() -> None:
    values = np.random.default_rng(4).standard_normal((4, 128))
    assert get("bcq3").bits_per_value == fit(values, 3, terms=3).bits_per_value(24)


def test_named_formats_refuse_what_a_fit_does_not_take() -> None:
    with pytest.raises(InputError) as caught:
        get("bcq3").encode(np.ones((1, 4), np.float32), rounding="floor")
    assert str(caught.value) == "bcq3: codes round to nearest_even only, got floor"
    encoded = get("bcq3").encode(np.ones((2, 4), np.float32))
    with pytest.raises(InputError) as caught:
        dataclasses.replace(encoded, terms=None)
    assert str(caught.value) == "bcq3: terms: expected shape (2, 1, 3, 3), got None"
