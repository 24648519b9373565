"""Do products plane by plane equal products?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats.integer import Integer
from simulator.numerics.bit_serial import (
    dot_bipolar,
    dot_planes,
    gemm_bipolar,
    gemm_planes,
    planes,
    ternary_product,
)
from simulator.numerics.word import Tally


def test_bipolar_codes_are_the_odd_integers() -> None:
    assert [Integer(1, bipolar=True).decode_one(code) for code in range(2)] == [-1, 1]
    assert [Integer(3, bipolar=True).decode_one(code) for code in range(8)] == [
        -7,
        -5,
        -3,
        -1,
        1,
        3,
        5,
        7,
    ]
    for code in range(16):
        assert Integer(4, bipolar=True).decode_one(code) == sum(
            (2 * (code >> i & 1) - 1) << i for i in range(4)
        )


def test_ternary_weights_add_subtract_or_skip() -> None:
    assert [ternary_product(w, x) for w in (-1, 0, 1) for x in (-128, 5)] == [
        128,
        -5,
        0,
        0,
        -128,
        5,
    ]
    tally = Tally()
    ternary_product(-1, tally.word(7))
    assert tally.counts == {"mask": 1, "xor": 1, "add": 1}


@st.composite
def operands(draw: st.DrawFn) -> tuple[list[int], list[int], int, int, bool]:
    """Draw two vectors of one length in a few bits."""
    p, q, signed = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.booleans())
    length = draw(st.integers(1, 20))
    found = []
    for bits in (p, q):
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        found.append(draw(st.lists(st.integers(low, high), min_size=length, max_size=length)))
    return found[0], found[1], p, q, signed


@given(operands())
@settings(max_examples=200)
def test_dot_products_by_planes(drawn: tuple[list[int], list[int], int, int, bool]) -> None:
    x, w, p, q, signed = drawn
    assert dot_planes(x, w, p, q, signed=signed) == sum(a * b for a, b in zip(x, w, strict=True))
    if not signed:
        values = zip(
            (Integer(p, bipolar=True).decode_one(a) for a in x),
            (Integer(q, bipolar=True).decode_one(b) for b in w),
            strict=True,
        )
        assert dot_bipolar(x, w, p, q) == sum(a * b for a, b in values)


SHAPES = [(1, 1, 1), (3, 5, 63), (2, 3, 64), (4, 4, 65), (5, 7, 300), (2, 2, 0), (0, 3, 5)]


@pytest.mark.parametrize(("p", "q"), [(8, 4), (8, 2), (4, 4), (1, 1), (8, 8), (16, 3)])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_equal_integer_products_on_any_shape(
    shape: tuple[int, int, int], p: int, q: int
) -> None:
    m, n, k = shape
    random = np.random.default_rng(p * 17 + q + k)
    for signed in (True, False):
        bounds = [(-(1 << b - 1), 1 << b - 1) if signed else (0, 1 << b) for b in (p, q)]
        x = random.integers(*bounds[0], (m, k), dtype=np.int32)
        w = random.integers(*bounds[1], (n, k), dtype=np.int32)
        expected = x.astype(np.int64) @ w.astype(np.int64).T
        assert (gemm_planes(x, w, p, q, signed=signed) == expected).all()
    values = [Integer(bits, bipolar=True).decode(codes) for codes, bits in ((x, p), (w, q))]
    assert (gemm_bipolar(x, w, p, q) == values[0] @ values[1].T).all()


@pytest.mark.parametrize("fill", [-128, 127, 0])
def test_kernels_are_exact_at_the_ends(fill: int) -> None:
    x = np.full((2, 1000), fill, dtype=np.int8)
    x[1, ::2] = -fill - 1
    w = np.full((2, 1000), -8, dtype=np.int8)
    w[1, 1::2] = 7
    assert (gemm_planes(x, w, 8, 4) == x.astype(np.int64) @ w.astype(np.int64).T).all()


def test_outputs_of_the_kernel_equal_the_specification_over_all_of_k() -> None:
    random = np.random.default_rng(5)
    x = random.integers(-128, 128, (16, 130), dtype=np.int8)
    w = random.integers(-2, 2, (16, 130), dtype=np.int8)
    found = gemm_planes(x, w, 8, 2)
    for m in range(16):
        for n in range(16):
            assert found[m, n] == dot_planes(x[m].tolist(), w[n].tolist(), 8, 2)


def test_planes_hold_bit_k_of_word_k_over_64() -> None:
    codes = np.zeros((1, 70), dtype=np.int8)
    codes[0, [0, 63, 64]] = (1, 2, -1)
    found = planes(codes, 2)
    assert found.shape == (2, 1, 2)
    assert found[:, 0].tolist() == [[1, 1], [1 << 63, 1]]


@pytest.mark.parametrize(
    ("bits", "value", "message"),
    [
        ((8, 4), 8, "weights: 4 bits hold -8 to 7"),
        ((0, 4), 0, "activations: bits must be 1 to 16, got 0"),
        ((8, 17), 0, "weights: bits must be 1 to 16, got 17"),
    ],
)
def test_operands_that_are_refused(bits: tuple[int, int], value: int, message: str) -> None:
    x, w = np.zeros((1, 4), np.int8), np.full((1, 4), value, np.int8)
    with pytest.raises(InputError) as error:
        gemm_planes(x, w, *bits)
    assert str(error.value) == message
