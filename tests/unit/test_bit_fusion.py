"""Do fused bricks multiply, and how many products does a pass make?"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.bit_fusion import (
    FOUR_BITS,
    OPERAND_BITS,
    PRODUCT_BITS,
    UNIT_BITS,
    brick,
    digits,
    dot_fused_bricks,
    gemm_bricks,
    unit,
)
from simulator.numerics.word import Tally, width_of

PAIRS = list(product(OPERAND_BITS, OPERAND_BITS))


@pytest.mark.parametrize("bits", OPERAND_BITS)
def test_digits_are_the_value(bits: int) -> None:
    for value in range(-(1 << bits - 1), 1 << bits - 1):
        found = [(int(digit), signed) for digit, signed in digits(value, bits)]
        assert [signed for _, signed in found] == [False] * (bits // 2 - 1) + [True]
        read = [digit - 4 * (signed and digit > 1) for digit, signed in found]
        assert sum(digit << 2 * place for place, digit in enumerate(read)) == value


def test_a_brick_multiplies_signed_and_unsigned_digits_in_five_bits() -> None:
    products = []
    for x, w, x_signed, w_signed in product(range(4), range(4), (False, True), (False, True)):
        left, right = (d - 4 * (s and d > 1) for d, s in ((x, x_signed), (w, w_signed)))
        products.append(int(brick((x, x_signed), (w, w_signed))))
        assert products[-1] == left * right
    assert (min(products), max(products)) == (-6, 9)
    assert max(width_of(min(products)), width_of(max(products)) + 1) == PRODUCT_BITS


def test_sums_keep_the_bits_of_the_largest_unsigned_operands() -> None:
    assert width_of(15 * 15) + 1 == FOUR_BITS
    assert width_of(255 * 255) + 1 == UNIT_BITS
    eight = [[(3, False)] * 4]
    assert unit(eight, eight) == 255 * 255


@pytest.mark.parametrize("pair", PAIRS)
@given(st.integers(1, 40), st.data())
@settings(max_examples=25)
def test_dot_products_of_any_length(
    pair: tuple[int, int], length: int, data: st.DataObject
) -> None:
    x, w = (
        data.draw(
            st.lists(
                st.integers(-(1 << bits - 1), (1 << bits - 1) - 1), min_size=length, max_size=length
            )
        )
        for bits in pair
    )
    expected = sum(a * b for a, b in zip(x, w, strict=True))
    assert dot_fused_bricks(x, w, *pair, start=-5) == expected - 5
    found = gemm_bricks(np.array([x]), np.array([w]), *pair)
    assert found.tolist() == [[expected]]


@pytest.mark.parametrize(
    ("x_bits", "w_bits", "products"),
    [
        # Section III: 16 products of 2 x 2 bits, 4 of 4 x 4 or 8 x 2, 1 of 8 x 8.
        (2, 2, 16), (4, 4, 4), (8, 2, 4), (2, 8, 4), (8, 4, 2), (4, 2, 8), (8, 8, 1),
    ],
)  # fmt: skip
def test_a_pass_makes_the_products_that_were_published(
    x_bits: int, w_bits: int, products: int
) -> None:
    tally = Tally()
    x, w = ([tally.word(-(1 << bits - 1), bits)] * 16 for bits in (x_bits, w_bits))
    dot_fused_bricks(x, w, x_bits, w_bits, tally.word(0, 32))
    assert 16 / tally.counts["pass"] == products
    # A pass has 16 bricks, whatever they multiply.
    assert tally.counts["mul"] == 16 * tally.counts["pass"]
    assert tally.sizes["mul", (3, 3)] == tally.counts["mul"]


def test_a_pass_is_the_same_hardware_for_all_operands() -> None:
    found = []
    for x_bits, w_bits in PAIRS:
        tally = Tally()
        values = 64 // (x_bits * w_bits)
        x, w = ([tally.word(0, bits)] * values for bits in (x_bits, w_bits))
        dot_fused_bricks(x, w, x_bits, w_bits, tally.word(0, 32))
        assert tally.counts["pass"] == 1
        found.append(tally.sizes)
    assert all(each == found[0] for each in found)
    # Five trees of four: three additions and four places that may shift; the accumulator.
    assert sum(n for (name, _), n in found[0].items() if name == "add") == 5 * 3 + 1
    assert sum(n for (name, _), n in found[0].items() if name == "barrel_shift") == 5 * 4


def test_what_is_no_pair_of_integer_matrices_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        gemm_bricks(np.zeros((2, 3), np.int8), np.zeros((2, 4), np.int8), 4, 4)
    assert str(caught.value) == (
        "expected activations (M, K) and weights (N, K), got shapes (2, 3) and (2, 4)"
    )
