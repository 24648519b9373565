"""What an impossible minifloat, a value without a code and a number that is no code are told."""

from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.minifloat import Minifloat, decode, encode, overflow_code
from simulator.formats.presets import BF16, E8M0, FP4_E2M1FN, FP8_E4M3FN, FP8_E5M2, UE4M3
from simulator.formats.rounding import Overflow, Rounding, rounds_up, rounds_up_all

NEAREST, SATURATE = Rounding.NEAREST_EVEN, Overflow.SATURATE
NO_INFINITY = "fp8_e4m3fn has no infinity to overflow to; use overflow='saturate'"
NO_NAN = "fp4_e2m1fn has no NaN to overflow to; use overflow='saturate'"


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ((0, 3, 7), ["exponent_bits must be 1 to 8, got 0"]),
        ((9, 3, 7), ["exponent_bits must be 1 to 8, got 9"]),
        ((8, 8, 127), ["a minifloat has 3 to 16 bits, or TF32's 19, got 17"]),
        ((1, 0, 1, "none"), ["a minifloat has 3 to 16 bits, or TF32's 19, got 2"]),
        ((4, -1, 7, "fn"), ["mantissa_bits must be >= 0, got -1"]),
        ((4, 3, 128), ["bias must be -126 to 127, got 128"]),
        ((4, 3, -127), ["bias must be -126 to 127, got -127"]),
        ((4, 0, 7), ["infinity and NaN cannot be told apart without mantissa bits"]),
        ((4, 3, 7, "fnuz", False), ["an unsigned format has no code of -0 to be NaN"]),
        ((8, 0, 127, "fn", True, False), ["only an unsigned format without mantissa can be without zero"]),
        ((8, 1, 127, "fn", False, False), ["only an unsigned format without mantissa can be without zero"]),
        ((8, 7, 127, "fn"), ["the largest exponent must be <= 127, as float32's, got 128"]),
        ((8, 7, 126), ["the largest exponent must be <= 127, as float32's, got 128"]),
        ((2, 1, -125, "none"), ["the largest exponent must be <= 127, as float32's, got 128"]),
        ((0, 0, 200), ["exponent_bits must be 1 to 8, got 0", "a minifloat has 3 to 16 bits, or TF32's 19, got 1", "bias must be -126 to 127, got 200", "infinity and NaN cannot be told apart without mantissa bits"]),
    ],
)  # fmt: skip
def test_an_impossible_format_is_refused(fields: Any, problems: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        Minifloat("x", *fields)
    assert refusal.value.problems == tuple(f"x: {problem}" for problem in problems)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("form", "values", "overflow", "problems"),
    [
        (FP4_E2M1FN, [1, np.nan, np.nan], SATURATE, ["fp4_e2m1fn has no NaN: 2 of 3 values are NaN"]),
        (UE4M3, [1, -1, -1e-30, -0.0], SATURATE, ["ue4m3 is unsigned: 2 of 4 values are negative"]),
        (UE4M3, [-np.inf], SATURATE, ["ue4m3 is unsigned: 1 of 1 values are negative"]),
        (E8M0, [-2], SATURATE, ["e8m0 is unsigned: 1 of 1 values are negative"]),
        (FP8_E4M3FN, [1000], Overflow.INF, [NO_INFINITY]),
        (FP8_E4M3FN, [1], Overflow.INF, [NO_INFINITY]),
        (FP8_E4M3FN, [], Overflow.INF, [NO_INFINITY]),
        (FP4_E2M1FN, [1], Overflow.NAN, [NO_NAN]),
        (E8M0, [1], Overflow.INF, ["e8m0 has no infinity to overflow to; use overflow='saturate'"]),
        (FP4_E2M1FN, [np.nan], Overflow.NAN, ["fp4_e2m1fn has no NaN: 1 of 1 values are NaN", NO_NAN]),
        (UE4M3, [-1], Overflow.INF, ["ue4m3 is unsigned: 1 of 1 values are negative", "ue4m3 has no infinity to overflow to; use overflow='saturate'"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rounding", Rounding)
def test_values_without_a_code_are_refused(
    form: Minifloat,
    values: list[float],
    overflow: Overflow,
    problems: list[str],
    dtype: Any,
    rounding: Rounding,
) -> None:
    with pytest.raises(InputError) as refusal:
        encode(form, np.array(values, dtype), rounding, overflow)
    assert refusal.value.problems == tuple(problems)


@pytest.mark.parametrize(
    ("form", "value", "overflow", "message"),
    [
        (FP4_E2M1FN, float("nan"), SATURATE, "fp4_e2m1fn has no NaN"),
        (UE4M3, -1e-30, SATURATE, "ue4m3 is unsigned, got -1e-30"),
        (UE4M3, -float("inf"), SATURATE, "ue4m3 is unsigned, got -inf"),
        (FP8_E4M3FN, 1.0, Overflow.INF, NO_INFINITY),
        (FP8_E4M3FN, 1000.0, Overflow.INF, NO_INFINITY),
        (FP4_E2M1FN, 1.0, Overflow.NAN, NO_NAN),
    ],
)
def test_a_value_without_a_code_is_refused(
    form: Minifloat, value: float, overflow: Overflow, message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        form.encode_one(value, NEAREST, overflow)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros(3, np.int64), "int64"),
        (np.zeros(3, bool), "bool"),
        (np.zeros(3, complex), "complex128"),
        (np.zeros(3, object), "object"),
    ],
)
def test_values_that_are_not_floats_are_refused(values: Any, kind: str) -> None:
    with pytest.raises(InputError) as refusal:
        encode(FP8_E5M2, values, NEAREST, SATURATE)
    expected = f"fp8_e5m2: values must be float16, float32 or float64, got {kind}"
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    ("form", "codes", "message"),
    [
        (FP4_E2M1FN, np.array([3, 16]), "fp4_e2m1fn: codes must be 0 to 15"),
        (FP4_E2M1FN, np.array([-1]), "fp4_e2m1fn: codes must be 0 to 15"),
        (FP8_E5M2, np.array([256], np.uint16), "fp8_e5m2: codes must be 0 to 255"),
        (BF16, np.array([1 << 16]), "bf16: codes must be 0 to 65535"),
        (UE4M3, np.array([128], np.uint8), "ue4m3: codes must be 0 to 127"),
        (FP8_E5M2, np.array([1.0]), "fp8_e5m2: codes must be integers, got float64"),
        (FP8_E5M2, np.array([True]), "fp8_e5m2: codes must be integers, got bool"),
    ],
)
def test_numbers_that_are_no_codes_are_refused(form: Minifloat, codes: Any, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        decode(form, codes)
    assert str(refusal.value) == message


@pytest.mark.parametrize("code", [-1, 16])
def test_a_number_that_is_no_code_is_refused(code: int) -> None:
    with pytest.raises(InputError) as refusal:
        FP4_E2M1FN.decode_one(code)
    assert str(refusal.value) == f"fp4_e2m1fn: code {code} is not of 4 bits"


def test_unknown_choices_are_faults_of_the_caller() -> None:
    unknown: Any = "upwards"
    zeros = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="unknown rounding 'upwards'"):
        encode(FP8_E5M2, zeros, unknown, SATURATE)
    with pytest.raises(ValueError, match="unknown rounding 'upwards'"):
        encode(FP8_E5M2, zeros.astype(np.float64), unknown, SATURATE)
    with pytest.raises(ValueError, match="unknown rounding 'upwards'"):
        FP8_E5M2.encode_one(0.0, unknown, SATURATE)
    with pytest.raises(ValueError, match="unknown rounding 'upwards'"):
        rounds_up_all(zeros.astype(np.float64), zeros > 0, zeros > 0, unknown)
    with pytest.raises(ValueError, match="unknown overflow 'upwards'"):
        overflow_code(FP8_E5M2, unknown)
    with pytest.raises(ValueError, match="unknown rounding 'upwards'"):
        rounds_up(unknown, odd=False, negative=False, rounding=unknown)
