"""Do sums from full tables equal products, and what do they take that half tables do not?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.numerics.lut import dot_lut
from simulator.numerics.lut_full import dot_full, full_table, held_table
from simulator.numerics.word import Number, Tally


def test_a_full_table_has_the_sum_of_every_subset() -> None:
    values = [1, 20, 300, 4000]
    expected = [
        sum(value for place, value in enumerate(values) if address >> place & 1)
        for address in range(16)
    ]
    assert full_table(list(values)) == held_table(list(values)) == expected


@given(st.integers(1, 8), st.integers(1, 4), st.data())
@settings(max_examples=100)
def test_dot_products_by_look_up(bits: int, fours: int, data: st.DataObject) -> None:
    length, half = 4 * fours, 1 << bits - 1
    x = data.draw(st.lists(st.integers(-128, 127), min_size=length, max_size=length))
    w = data.draw(st.lists(st.integers(-half, half - 1), min_size=length, max_size=length))
    expected = 7 + sum(a * b for a, b in zip(x, w, strict=True))
    assert dot_full(x, w, bits, 7) == expected
    assert dot_full(x, w, bits, 7, held_table) == expected


def counts(held: bool, bits: int) -> Tally:
    tally = Tally()
    words: list[Number] = [tally.word(-128, 8) for _ in range(4)]
    dot_full(words, [-1] * 4, bits, tally.word(0, 32), held_table if held else full_table)
    return tally


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_a_bit_of_four_weights_takes_one_look_up_and_one_addition(bits: int) -> None:
    """Of the table, subsets of 2, 3 and 4 of four take 6, 4 x 2 and 3 additions."""
    table = {"add": 17 + bits, "look_up": bits, "shift": bits, "pass": bits}
    assert counts(False, bits).counts == table
    # An element that holds its table writes 16 entries, however many bits a weight has.
    assert counts(True, bits).counts == {**table, "store": 16}
    assert counts(True, bits).sizes["store", 11] == 16


def test_a_full_table_has_twice_the_entries_of_half_a_table() -> None:
    full, half = counts(False, 1), Tally()
    words: list[Number] = [half.word(-128, 8) for _ in range(4)]
    dot_lut(words, [0] * 4, 1, half.word(0, 32))
    assert [size[1] for (name, size), _ in full.sizes.items() if name == "look_up"] == [16]
    assert [size[1] for (name, size), _ in half.sizes.items() if name == "look_up"] == [8]


def test_what_a_weight_is_does_not_change_the_counts() -> None:
    tallies = []
    for w in ([0, 0, 0, 0], [-4, 3, 1, -2]):
        tally = Tally()
        dot_full([tally.word(v, 8) for v in (5, -6, 7, 8)], w, 3, tally.word(0, 32), held_table)
        tallies.append(tally.sizes)
    assert tallies[0] == tallies[1]
