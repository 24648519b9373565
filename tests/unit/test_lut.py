"""Do sums from half tables equal products, and take a look-up a bit?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.lut import (
    ENTRIES,
    address_of,
    dot_lut,
    gemm_lut,
    half_table,
    reinterpreted,
)
from simulator.numerics.word import Tally


def signed_sum(values: list[int], bits: int) -> int:
    """Return sum of +-a_k, plus where bit k is 1."""
    return sum(value if bits >> k & 1 else -value for k, value in enumerate(values))


def test_half_a_table_and_a_sign_give_every_signed_sum() -> None:
    values = [1, 20, 300, 4000]
    table = half_table(list(values))
    assert len(table) == ENTRIES == 8
    for bits in range(16):
        address, sign = address_of(bits)
        entry = int(table[address])
        assert (-entry if sign else entry) == signed_sum(values, bits)


def test_the_table_is_odd() -> None:
    for bits in range(16):
        assert address_of(bits)[0] == address_of(bits ^ 15)[0]
        assert address_of(bits)[1] != address_of(bits ^ 15)[1]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_reinterpreted_weights_are_the_same_numbers(bits: int) -> None:
    """s (q - z) = s' (q' - z') exactly."""
    for zero in (0, 1, (1 << bits) - 1):
        scale, moved = reinterpreted(0.375, zero, bits)
        for q in range(1 << bits):
            odd = 2 * q - ((1 << bits) - 1)
            assert Fraction(0.375) * (q - zero) == Fraction(scale) * (odd - moved)


@given(st.integers(1, 4), st.integers(1, 5), st.data())
@settings(max_examples=100)
def test_dot_products_by_look_up(bits: int, fours: int, data: st.DataObject) -> None:
    length = 4 * fours
    x = data.draw(st.lists(st.integers(-128, 127), min_size=length, max_size=length))
    q = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=length, max_size=length))
    expected = sum(a * (2 * b - ((1 << bits) - 1)) for a, b in zip(x, q, strict=True))
    assert int(dot_lut(list(x), q, bits)) == expected


def test_a_bit_of_four_weights_takes_one_look_up_and_one_addition() -> None:
    """The table itself: 8 entries of 4 additions each, whatever the bits."""
    for bits in (1, 2, 4):
        tally = Tally()
        dot_lut([tally.word(value) for value in (5, -6, 7, 8)], [0] * 4, bits)
        assert tally.counts == {"look_up": bits, "shift": bits, "add": 8 * 4 + bits}


SHAPES = [(1, 1, 1), (3, 5, 4), (2, 33, 130), (16, 40, 300), (2, 3, 0), (0, 3, 8), (2, 0, 8)]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_integer_products_on_any_shape(
    shape: tuple[int, int, int], bits: int
) -> None:
    m, n, k = shape
    random = np.random.default_rng(bits + k)
    x = random.integers(-128, 128, (m, k), dtype=np.int8)
    q = random.integers(0, 1 << bits, (n, k), dtype=np.uint8)
    odd = 2 * q.astype(np.int64) - ((1 << bits) - 1)
    found = gemm_lut(x, q, bits)
    assert found.dtype == np.int32
    assert (found == x.astype(np.int64) @ odd.T).all()


def test_outputs_of_the_kernel_equal_the_specification_over_all_of_k() -> None:
    random = np.random.default_rng(9)
    x = random.integers(-128, 128, (16, 132), dtype=np.int8)
    q = random.integers(0, 16, (16, 132), dtype=np.uint8)
    found = gemm_lut(x, q, 4)
    for m in range(16):
        for n in range(16):
            assert found[m, n] == int(dot_lut(x[m].tolist(), q[n].tolist(), 4))


@pytest.mark.parametrize("fill", [-128, 127])
def test_the_kernel_is_exact_at_the_ends(fill: int) -> None:
    x = np.full((2, 4096), fill, dtype=np.int8)
    x[1, ::2] = -fill - 1
    q = np.full((2, 4096), 15, dtype=np.uint8)
    q[1, 1::2] = 0
    odd = 2 * q.astype(np.int64) - 15
    assert (gemm_lut(x, q, 4) == x.astype(np.int64) @ odd.T).all()


@pytest.mark.parametrize(
    ("bits", "code", "activation", "message"),
    [
        (0, 0, 1, "bits must be 1 to 8, got 0"),
        (2, 4, 1, "weights: 2 bits hold 0 to 3"),
        (2, 0, 40_000, "activations: at most 16 bits, got 40000"),
        (8, 0, 32_767, "K: sums of 1024 products do not fit into 32 bits"),
    ],
)
def test_operands_that_are_refused(bits: int, code: int, activation: int, message: str) -> None:
    x, q = np.full((1, 1024), activation, np.int32), np.full((1, 1024), code, np.int32)
    with pytest.raises(InputError) as error:
        gemm_lut(x, q, bits)
    assert str(error.value) == message
