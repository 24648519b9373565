"""Are dot products of pre-aligned mantissas what they state: exact in integers, rounded twice?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats.rounding import Rounding
from simulator.numerics.pre_aligned import (
    ROUNDINGS,
    WIDEST,
    align,
    align_rows,
    dot_integers,
    dot_pre_aligned,
    fields,
    gemm_pre_aligned,
    to_float32,
)
from simulator.numerics.word import Tally

TRUNCATED, ROUNDED = ROUNDINGS


def bits_of(values: np.ndarray) -> list[int]:
    """Return the bits of FP16 values."""
    return [int(code) for code in values.view(np.uint16)]


def wide_values(shape: tuple[int, int], seed: int, spread: int = 29) -> np.ndarray:
    """Return FP16 values whose exponents are `spread` apart, some of them 0 or subnormal."""
    random = np.random.default_rng(seed)
    fields = 30 - random.integers(0, spread + 1, shape)
    if spread == 29:
        fields -= random.integers(0, 2, shape)
    codes = random.integers(0, 2, shape) << 15 | fields << 10 | random.integers(0, 1024, shape)
    codes[random.random(shape) < 0.05] = 0
    return codes.astype(np.uint16).view(np.float16)


def exact_dot(x: np.ndarray, w: np.ndarray) -> Fraction:
    """Return the dot product in rational numbers."""
    return sum((Fraction(float(a)) * int(b) for a, b in zip(x, w, strict=True)), Fraction(0))


def nearest_float32(value: Fraction) -> float:
    """Return the FP32 value nearest to a fraction, of two the one with the even last bit."""
    guess = np.float32(float(value))
    near = [
        np.nextafter(guess, np.float32(-np.inf)),
        guess,
        np.nextafter(guess, np.float32(np.inf)),
    ]
    best = min(near, key=lambda one: (abs(Fraction(float(one)) - value), int(one.view("u4")) & 1))
    return float(best)


def test_fields_give_every_finite_fp16_value() -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    values = codes.view(np.float16)
    for code in codes[np.isfinite(values)].tolist():
        sign, exponent, significand = fields(code)
        size = float(np.ldexp(float(significand), exponent - 25))
        assert (-size if sign else size) == float(values[code])


def test_the_vector_is_aligned_as_stated() -> None:
    """1.5, 1 + 2^-10 and a quarter of it, in 11 bits: the quarter loses its last two bits."""
    values = np.array([-1.5, 1 + 2**-10, 0.25 + 2**-12, 0.25 + 3 * 2**-12, 0.0], np.float16)
    assert align(bits_of(values), 11, TRUNCATED) == ([-1536, 1025, 256, 256, 0], -10)
    assert align(bits_of(values), 11, ROUNDED) == ([-1536, 1025, 256, 257, 0], -10)
    assert align(bits_of(values), 13, TRUNCATED) == ([-6144, 4100, 1025, 1027, 0], -12)
    assert align([], 11, TRUNCATED)[0] == []


def test_ties_go_to_even_and_truncation_toward_zero() -> None:
    values = np.array([1.0, 2**-11, 3 * 2**-11, -(2**-11), -3 * 2**-11], np.float16)
    assert align(bits_of(values), 11, ROUNDED)[0] == [1024, 0, 2, 0, -2]
    assert align(bits_of(values), 11, TRUNCATED)[0] == [1024, 0, 1, 0, -1]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("width", [11, 12, 14, 22, 34, WIDEST])
def test_rows_are_aligned_as_vectors_are(width: int, rounding: Rounding) -> None:
    x = wide_values((20, 60), width)
    integers, units = align_rows(x, width, rounding)
    assert int(abs(integers).max()) < 1 << width
    for row, found, unit in zip(x, integers.tolist(), units.tolist(), strict=True):
        assert (found, unit) == align(bits_of(row), width, rounding)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("width", [11, 14, 25, WIDEST])
def test_256_outputs_equal_the_specification_over_all_of_k(width: int, rounding: Rounding) -> None:
    x = wide_values((16, 200), 1)
    w = np.random.default_rng(2).integers(-128, 128, (16, 200), dtype=np.int8)
    found = gemm_pre_aligned(x, w, width, rounding)
    assert found.dtype == np.float32
    for m in range(16):
        codes = bits_of(x[m])
        for n in range(16):
            assert found[m, n] == dot_pre_aligned(codes, w[n].tolist(), width, rounding)


@pytest.mark.parametrize(("spread", "width"), [(0, 11), (3, 14), (29, WIDEST)])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_wide_enough_integer_gives_the_dot_product_rounded_once(
    spread: int, width: int, rounding: Rounding
) -> None:
    """The statement of exactness: spread of exponents <= width - 11."""
    x = wide_values((8, 200), 3, spread)
    w = np.random.default_rng(4).integers(-8, 8, (9, 200), dtype=np.int8)
    found = gemm_pre_aligned(x, w, width, rounding)
    for m in range(8):
        for n in range(9):
            assert found[m, n] == nearest_float32(exact_dot(x[m], w[n]))


def test_one_bit_less_is_not_exact() -> None:
    x = np.array([[1.0, 2**-4 + 2**-14]], dtype=np.float16)
    w = np.ones((1, 2), dtype=np.int8)
    assert gemm_pre_aligned(x, w, 15)[0, 0] == 1 + 2**-4 + 2**-14
    assert gemm_pre_aligned(x, w, 14)[0, 0] - 1 == 2**-4


@pytest.mark.parametrize(("rounding", "units"), [(TRUNCATED, 1.0), (ROUNDED, 0.5)])
@pytest.mark.parametrize("width", [11, 16])
def test_an_output_is_off_by_a_unit_of_each_weight_at_most(
    width: int, rounding: Rounding, units: float
) -> None:
    x = wide_values((8, 128), 5)
    w = np.random.default_rng(6).integers(-8, 8, (8, 128), dtype=np.int8)
    found = gemm_pre_aligned(x, w, width, rounding)
    largest = np.frexp(abs(x).max(axis=1).astype(np.float64))[1]
    worst = 0.0
    for m in range(8):
        unit = 2.0 ** (int(largest[m]) - width)
        for n in range(8):
            weight = float(abs(w[n].astype(int)).sum())
            error = abs(float(exact_dot(x[m], w[n])) - float(found[m, n])) / (unit * weight)
            assert error <= units + 2**-10
            worst = max(worst, error)
    assert worst > 0


@pytest.mark.parametrize("value", [65504.0, -65504.0, 2.0**-24, -(2.0**-24)])
@pytest.mark.parametrize("weight", [-128, 127, -8, 7])
@pytest.mark.parametrize("width", [11, 20, WIDEST])
def test_the_ends_are_exact(value: float, weight: int, width: int) -> None:
    """Largest sums of 4,096 equal and alternating products, in int32 and in int64."""
    x = np.full((2, 4096), value, dtype=np.float16)
    x[1, ::2] *= -1
    w = np.full((2, 4096), weight, dtype=np.int8)
    w[1, ::2] = 1
    expected = x.astype(np.float64) @ w.T.astype(np.float64)
    assert (gemm_pre_aligned(x, w, width) == expected.astype(np.float32)).all()


def test_sums_leave_32_bits_where_they_must() -> None:
    """8,191 products below 2^18 fit for sure; 8,200 of the largest are beyond 2^31."""
    for depth in (8191, 8192, 8200):
        x = np.full((1, depth), 65504.0, dtype=np.float16)
        w = np.full((1, depth), -128, dtype=np.int8)
        assert gemm_pre_aligned(x, w, 11)[0, 0] == np.float32(-128 * 65504.0 * depth)


@given(st.integers(-(2**62), 2**62), st.integers(-53, 5))
@settings(max_examples=200)
def test_the_conversion_rounds_once(total: int, unit: int) -> None:
    """Against the hardware's conversion from int64, and rational numbers."""
    found = to_float32(total, unit)
    assert found == float(np.ldexp(np.float64(np.float32(np.int64(total))), unit))
    assert found == nearest_float32(total * Fraction(2) ** unit)


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0), (1, 1, 1), (2, 65, 17)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x = wide_values((m, k), 7, 3)
    w = np.random.default_rng(8).integers(-8, 8, (n, k), dtype=np.int8)
    expected = x.astype(np.float64) @ w.T.astype(np.float64)
    found = gemm_pre_aligned(x, w, 14)
    assert found.shape == (m, n)
    assert (found == expected.astype(np.float32)).all()


def test_zeros_give_zero_of_either_sign_alike() -> None:
    x = np.array([[-0.0, 0.0]], dtype=np.float16)
    found = gemm_pre_aligned(x, np.ones((1, 2), np.int8), 11)
    assert found[0, 0] == 0
    assert not np.signbit(found[0, 0])


def test_what_a_dot_product_does_does_not_depend_on_its_data() -> None:
    for values in ([0, 0, 0], [1024, -2047, 5]):
        tally = Tally()
        total = dot_integers([tally.word(v) for v in values], [7, -8, 0])
        assert int(total) == 7 * values[0] - 8 * values[1]
        assert tally.counts == {"mul": 3, "add": 3}


X, W = np.zeros((2, 3), np.float16), np.zeros((2, 3), np.int8)


@pytest.mark.parametrize(
    ("x", "w", "width", "rounding", "message"),
    [
        (X.astype(np.float32), W, 11, TRUNCATED, "activations: expected float16, got float32"),
        (X, W.astype(np.int16), 11, TRUNCATED, "weights: expected int8, got int16"),
        (
            X, W[:, :2], 11, TRUNCATED,
            "expected activations (M, K) and weights (N, K), got shapes (2, 3) and (2, 2)",
        ),
        (X + np.float16(np.inf), W, 11, TRUNCATED, "activations: must be finite"),
        (X * np.float16(np.nan), W, 11, TRUNCATED, "activations: must be finite"),
        (X, W, 10, TRUNCATED, "width must be 11 to 40, got 10"),
        (X, W, 41, TRUNCATED, "width must be 11 to 40, got 41"),
        (
            X, W, 11, Rounding.FLOOR,
            "rounding must be toward_zero or nearest_even, got floor",
        ),
        (
            np.zeros((1, 2**15 + 1), np.float16), np.zeros((1, 2**15 + 1), np.int8), 40, TRUNCATED,
            "K: at most 32768, got 32769",
        ),
    ],
)  # fmt: skip
def test_operands_that_are_refused(
    x: np.ndarray, w: np.ndarray, width: int, rounding: Rounding, message: str
) -> None:
    with pytest.raises(InputError) as error:
        gemm_pre_aligned(x, w, width, rounding)
    assert str(error.value) == message
