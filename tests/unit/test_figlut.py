"""Do reads of half tables equal FIGNA's integer products, and what does a read take?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats.rounding import Rounding
from simulator.numerics.figlut import dot_group, dot_tables, gemm_figlut, read
from simulator.numerics.lut import half_table
from simulator.numerics.pre_aligned import WIDEST, dot_pre_aligned
from simulator.numerics.word import Number, Tally


def test_a_key_reads_every_signed_sum() -> None:
    values = [1, 20, 300, 4000]
    table = half_table(list(values))
    for key in range(16):
        expected = sum(v if key >> place & 1 else -v for place, v in enumerate(values))
        assert read(table, key) == expected


@given(st.integers(1, 4), st.data())
@settings(max_examples=100)
def test_tables_give_sums_of_odd_weights(bits: int, data: st.DataObject) -> None:
    i = data.draw(st.lists(st.integers(-(1 << 14), 1 << 14), min_size=8, max_size=8))
    q = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=8, max_size=8))
    expected = sum(a * (2 * b - ((1 << bits) - 1)) for a, b in zip(i, q, strict=True))
    assert dot_tables(list(i), q, bits, 3) == expected + 3


def random_operands(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return FP16 bits of 10 activations, codes of weights and a zero point."""
    generator = np.random.default_rng(bits)
    x = generator.standard_normal(10).astype(np.float16)
    return x.view(np.uint16), *(generator.integers(0, 1 << bits, size) for size in (10, 1))


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_group_is_figna_with_the_zero_point_taken_away(bits: int) -> None:
    codes, q, zeros = random_operands(bits)
    moved = [int(each - zeros[0]) for each in q]
    found = dot_group(codes.tolist(), q.tolist(), int(zeros[0]), bits, 14)
    assert found == dot_pre_aligned(codes.tolist(), moved, 14, Rounding.TOWARD_ZERO)


def test_with_all_bits_only_the_end_rounds() -> None:
    codes, q, zeros = random_operands(4)
    exact = sum(
        Fraction(float(x)) * int(w - zeros[0])
        for x, w in zip(codes.view(np.float16), q, strict=True)
    )
    found = dot_group(codes.tolist(), q.tolist(), int(zeros[0]), 4, WIDEST)
    assert found == float(np.float32(float(exact)))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_bit_of_four_weights_takes_one_read_and_one_addition(bits: int) -> None:
    tally = Tally()
    words: list[Number] = [tally.word(-(1 << 14), 15) for _ in range(4)]
    dot_tables(words, [3] * 4, bits, tally.word(0, 32))
    # Eight entries of a negation and three additions, which flip-flops hold.
    assert tally.counts["add"] == 8 * 4 + bits
    assert tally.sizes["store", 19] == 8
    assert tally.sizes["look_up", (19, 8)] == bits
    # The decoder inverts three bits of the key, the unit what it reads.
    assert (tally.sizes["xor", 3], tally.sizes["xor", 19]) == (bits, bits)
    assert tally.counts["pass"] == bits
    assert "mul" not in tally.counts


def test_groups_are_scaled_and_added_in_order() -> None:
    x = np.array([[1.0, 2.0, 3.0]], np.float16)
    q, zeros = np.array([[3, 1, 0]]), np.array([[2, 1]])
    scales = np.array([[0.5, 4.0]], np.float32)
    found = gemm_figlut(x, q, scales, zeros, 2, 14)
    assert found.tolist() == [[0.5 * (1 * 1 + 2 * -1) + 4.0 * (3 * -1)]]


def test_infinite_activations_are_refused() -> None:
    x, q = np.array([[np.inf]], np.float16), np.zeros((1, 1), np.int64)
    with pytest.raises(InputError) as caught:
        gemm_figlut(x, q, np.ones((1, 1), np.float32), q, 1, 14)
    assert str(caught.value) == "activations: must be finite"
