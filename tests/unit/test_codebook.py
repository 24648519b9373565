"""Codebooks and pairs: every table, every rounding, arrays against fractions, published values."""

from fractions import Fraction
from itertools import pairwise, product
from math import inf, nan, nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats import minifloat
from simulator.formats.codebook import (
    BITMOD_SPECIALS,
    FLINT4,
    FLINT5,
    FP3,
    FP4,
    INT4,
    NF4,
    POT4,
    TABLES,
    Codebook,
    apot,
    bitmod,
    choose,
    decode,
    encode,
    pot,
    scale_to,
)
from simulator.formats.minifloat import Minifloat
from simulator.formats.outlier_victim import (
    INT8,
    OLIVE_FLINT4,
    OLIVE_INT4,
    OLIVE_INT8,
    OutlierVictim,
    abfloat,
    decode_pairs,
    encode_pairs,
)
from simulator.formats.rounding import Overflow, Rounding, random_24

NEAREST = (Rounding.NEAREST_EVEN, Rounding.HALF_AWAY, Rounding.HALF_UP)
#: No zero, no symmetry, midpoints that are no float64, and the ends of what a table may hold.
AWKWARD = Codebook("awkward", (0.1, -0.7, nextafter(0.1, 1.0), 3.0))
BIPOLAR = Codebook("bipolar", (-3.0, -1.0, 1.0, 3.0))
EXTREME = Codebook("extreme", (-1e300, 5e-324, 0.0, 1e300))
BOOKS = (
    *TABLES.values(),
    *bitmod(3),
    *bitmod(4),
    *(pot(bits) for bits in (2, 3, 5, 8)),
    *(apot(bits) for bits in range(3, 8)),
    AWKWARD,
    BIPOLAR,
    EXTREME,
)
ALL_BOOKS = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
SMALL_BOOKS = pytest.mark.parametrize(
    "book", [book for book in BOOKS if book.bits < 6], ids=lambda book: book.name
)
ALL_ROUNDINGS = pytest.mark.parametrize("rounding", Rounding)
OLIVES = (
    OLIVE_INT4,
    OLIVE_FLINT4,
    OLIVE_INT8,
    OutlierVictim("first", INT4, both="first"),
    OutlierVictim("released", INT8, both="first"),
)
ALL_OLIVES = pytest.mark.parametrize("form", OLIVES, ids=lambda form: form.name)


def around(book: Codebook) -> np.ndarray:
    """Values, midpoints and quarters of a table, their float64 neighbours, and specials."""
    ordered = sorted(set(book.values))
    points = [*ordered, 0.0, -0.0, inf, -inf, 1e-30, -1e-30]
    for low, high in pairwise(ordered):
        points += [(low * (4 - part) + high * part) / 4 for part in (1, 2, 3)]
    points += [nextafter(point, end) for point in points for end in (-inf, inf)]
    return np.array(points)


def signed(magnitudes: list[float]) -> set[float]:
    return {sign * value for value in magnitudes for sign in (1, -1)}


def test_nf4_has_the_sixteen_published_constants() -> None:
    # QLoRA's appendix E and bitsandbytes' `create_normal_map`, which are float32 values.
    published = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453]
    published += [-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0]
    published += [0.07958029955625534, 0.16093020141124725, 0.24611230194568634]
    published += [0.33791524171829224, 0.44070982933044434, 0.5626170039176941]
    published += [0.7229568362236023, 1.0]
    assert list(NF4.values) == published
    assert decode(NF4, np.arange(16)).dtype == np.float32


def test_ant_tables_are_the_published_code_books() -> None:
    assert set(FLINT4.values) == signed([0, 1, 2, 3, 4, 6, 8, 16])
    assert set(FLINT5.values) == signed([*range(8), 8, 10, 12, 14, 16, 24, 32, 64])
    assert set(POT4.values) == signed([0, 1, 2, 4, 8, 16, 32, 64])
    assert sorted(INT4.values) == list(range(-8, 8))
    assert [book.bits for book in (FLINT4, FLINT5, POT4, INT4)] == [4, 5, 4, 4]


def test_int4_codes_are_twos_complement() -> None:
    assert [INT4.decode_one(code) for code in (0, 7, 8, 15)] == [0.0, 7.0, -8.0, -1.0]


def test_flint_magnitudes_follow_from_the_leading_one_rule_of_ants_code() -> None:
    # `flint_value` of ANT-Quantization: exponents -(i + 1), then 0, then up, then the largest.
    def magnitudes(bits: int) -> set[Fraction]:
        values = {Fraction(0), Fraction(2 ** (bits - 1))}
        exponents = [(-(i + 1), bits - i - 2) for i in range(bits)]
        exponents += [(i, bits - i - 2) for i in range(bits - 1)]
        for exponent, mantissa in exponents:
            steps = 2**mantissa if mantissa >= 0 else 0
            values |= {Fraction(2) ** exponent * (1 + Fraction(j, steps)) for j in range(steps)}
        return {value * 2**bits / 2 for value in values}

    assert {value for value in FLINT4.values if value >= 0} == magnitudes(3)
    assert {value for value in FLINT5.values if value >= 0} == magnitudes(4)


def test_apot_tables_are_sums_of_the_published_terms() -> None:
    four = [0, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8]
    assert apot(4).values[:8] == tuple(four)
    five = {a + b for a in (0, 1 / 2, 1 / 8, 1 / 32) for b in (0, 1 / 4, 1 / 16, 1 / 64)}
    assert set(apot(5).values) == signed(sorted(five))
    assert [len(set(apot(bits).values)) for bits in range(3, 8)] == [7, 15, 31, 63, 127]
    assert set(apot(3).values) == signed([0, 1 / 8, 1 / 4, 1 / 2])


def test_bitmod_tables_are_the_basic_ones_with_one_special_value() -> None:
    assert set(FP3.values) == signed([0, 1, 2, 4])
    assert set(FP4.values) == signed([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    for bits, basic, specials in ((3, FP3, (3, -3, 6, -6)), (4, FP4, (5, -5, 8, -8))):
        books = bitmod(bits)
        assert [set(book.values) - set(basic.values) for book in books] == [{s} for s in specials]
        assert [book.values[1 << bits - 1] for book in books] == list(specials)
        assert [len(set(book.values)) for book in books] == [1 << bits] * 4


@pytest.mark.parametrize("bits", BITMOD_SPECIALS)
def test_bitmod_codes_need_at_most_two_one_bits(bits: int) -> None:
    # Identity 5: sign-magnitude fixed point with one fraction bit, two leading-one terms.
    ones = {int(abs(value) * 2).bit_count() for book in bitmod(bits) for value in book.values}
    assert ones == {0, 1, 2}
    assert all(value * 2 == int(value * 2) for book in bitmod(bits) for value in book.values)


@ALL_BOOKS
def test_every_code_round_trips(book: Codebook) -> None:
    codes = np.arange(len(book.values))
    for rounding in Rounding:
        np.testing.assert_array_equal(encode(book, decode(book, codes), rounding, 7), codes)
        assert [book.encode_one(book.decode_one(code), rounding) for code in codes] == list(codes)


@ALL_BOOKS
def test_array_decode_equals_decode_one_with_its_zeros(book: Codebook) -> None:
    values = decode(book, np.arange(len(book.values)))
    one = [book.decode_one(code) for code in range(len(book.values))]
    np.testing.assert_array_equal(values, one)
    np.testing.assert_array_equal(np.signbit(values), np.signbit(one))


@ALL_ROUNDINGS
@ALL_BOOKS
def test_array_encode_equals_encode_one(book: Codebook, rounding: Rounding) -> None:
    values = around(book)
    codes = encode(book, values, rounding, seed=11)
    one = [
        book.encode_one(float(value), rounding, random_24(11, index))
        for index, value in enumerate(values)
    ]
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, one)


@given(st.sampled_from(BOOKS), st.sampled_from(list(Rounding)), st.floats(allow_nan=False))
def test_any_float64_encodes_as_the_scalar_says(
    book: Codebook, rounding: Rounding, value: float
) -> None:
    code = encode(book, np.array([value]), rounding, seed=3)
    assert code[0] == book.encode_one(value, rounding, random_24(3, 0))


@SMALL_BOOKS
def test_nearest_is_what_a_search_of_the_table_in_fractions_finds(book: Codebook) -> None:
    ordered = sorted(set(book.values))
    origin = ordered.index(0) if 0 in ordered else 0
    for value in np.clip(around(book), -1e308, 1e308).tolist():
        distance = {other: abs(Fraction(other) - Fraction(value)) for other in ordered}
        best = [other for other in ordered if distance[other] == min(distance.values())]
        even = min(best, key=lambda other: (ordered.index(other) - origin) % 2)
        away = max(best, key=lambda other: (abs(other), other))
        found = [book.decode_one(book.encode_one(value, rounding)) for rounding in NEAREST]
        assert found == [even, away, max(best)]


@SMALL_BOOKS
def test_floor_and_toward_zero_go_by_value(book: Codebook) -> None:
    low, high = min(book.values), max(book.values)
    for value in around(book).tolist():
        floor = book.decode_one(book.encode_one(value, Rounding.FLOOR))
        inside = min(max(value, low), high)
        assert floor == max(other for other in book.values if other <= inside)
        toward = book.decode_one(book.encode_one(value, Rounding.TOWARD_ZERO))
        above = min(other for other in book.values if other >= inside)
        assert toward == (above if abs(above) < abs(floor) else floor)


@ALL_BOOKS
def test_rounding_is_monotone(book: Codebook) -> None:
    ordered = np.sort(around(book))
    for rounding in Rounding:
        if rounding is not Rounding.STOCHASTIC:
            rounded = decode(book, encode(book, ordered, rounding))
            assert (rounded[1:] >= rounded[:-1]).all()


def test_stochastic_rounding_with_one_draw_is_monotone_in_the_magnitude() -> None:
    for sign in (1, -1):
        ordered = sign * np.linspace(0, 17, 500)
        one = [FLINT4.encode_one(value, Rounding.STOCHASTIC, 1 << 22) for value in ordered]
        assert (np.diff(sign * decode(FLINT4, np.array(one))) >= 0).all()


def test_fp4_rounds_as_the_minifloat_e2m1_does() -> None:
    form = Minifloat("fp4_e2m1fn", 2, 1, 1, "none")
    values = around(FP4)
    for rounding in Rounding:
        expected = minifloat.encode(form, values, rounding, Overflow.SATURATE, seed=2)
        np.testing.assert_array_equal(encode(FP4, values, rounding, seed=2), expected)


def test_int4_rounds_as_numpy_rounds_half_to_even() -> None:
    values = np.linspace(-9, 9, 721)
    expected = np.clip(np.rint(values), -8, 7)
    np.testing.assert_array_equal(
        decode(INT4, encode(INT4, values, Rounding.NEAREST_EVEN)), expected
    )


def test_values_beyond_the_ends_saturate() -> None:
    values = np.array([inf, 1e300, 7.4, -8.5, -1e300, -inf])
    for rounding in Rounding:
        codes = encode(INT4, values[[0, 1, 3, 4, 5]], rounding)
        np.testing.assert_array_equal(decode(INT4, codes), [7, 7, -8, -8, -8])


def test_a_midpoint_that_no_float_holds_has_no_ties() -> None:
    low, high = 0.1, nextafter(0.1, 1.0)
    book = Codebook("neighbours", (low, high))
    assert [book.encode_one(value, Rounding.HALF_AWAY) for value in (low, high)] == [0, 1]
    wide = Codebook("wide", (1.0, nextafter(2.0, 3.0)))
    # The midpoint is 1.5 + 2^-52, a float64: below, on and above it.
    middle = 1.5 + 2.0**-52
    values = np.array([nextafter(middle, 0.0), middle, nextafter(middle, 2.0)])
    np.testing.assert_array_equal(encode(wide, values, Rounding.NEAREST_EVEN), [0, 0, 1])
    np.testing.assert_array_equal(encode(wide, values, Rounding.HALF_AWAY), [0, 1, 1])
    # 1 + 2^-53, which is no float64: 1 is below it.
    close = Codebook("close", (1.0, 1.0 + 2.0**-52))
    np.testing.assert_array_equal(encode(close, np.array([1.0]), Rounding.HALF_AWAY), [0])


def test_a_difference_that_float64_rounds_does_not_make_a_tie() -> None:
    book = Codebook("far", (-1.0, 1.0))
    values = np.array([-1e-30, 0.0, 1e-30])
    np.testing.assert_array_equal(encode(book, values, Rounding.NEAREST_EVEN), [0, 0, 1])
    np.testing.assert_array_equal(encode(book, values, Rounding.HALF_AWAY), [0, 1, 1])


def test_what_rounds_to_zero_keeps_its_sign_where_the_table_has_minus_zero() -> None:
    values = np.array([-0.0, 0.0, -0.1, 0.1])
    np.testing.assert_array_equal(encode(FP4, values, Rounding.NEAREST_EVEN), [8, 0, 8, 0])
    np.testing.assert_array_equal(encode(NF4, values / 10, Rounding.NEAREST_EVEN), [7] * 4)
    only = Codebook("minus zero", (-0.0, 1.0))
    np.testing.assert_array_equal(encode(only, values, Rounding.NEAREST_EVEN), [0] * 4)


def test_stochastic_rounding_is_seeded_and_right_in_the_mean() -> None:
    values = np.full(1 << 16, 10.0)
    rounded = decode(FLINT4, encode(FLINT4, values, Rounding.STOCHASTIC, seed=1))
    assert set(rounded.tolist()) == {8.0, 16.0}
    # Standard error 8 * sqrt(3 / 16) / 256 = 0.0135.
    assert abs(rounded.mean() - 10) < 0.05
    again = decode(FLINT4, encode(FLINT4, values, Rounding.STOCHASTIC, seed=1))
    other = decode(FLINT4, encode(FLINT4, values, Rounding.STOCHASTIC, seed=2))
    np.testing.assert_array_equal(rounded, again)
    assert (rounded != other).any()


def test_a_position_that_float64_rounds_to_zero_is_still_beyond_the_draw_of_zero() -> None:
    seed, value = 0, 1e-320
    assert random_24(seed, 0) == 0
    assert encode(EXTREME, np.array([value]), Rounding.STOCHASTIC, seed).tolist() == [3]
    assert EXTREME.encode_one(value, Rounding.STOCHASTIC, 0) == 3


def test_shapes_are_kept_and_empty_arrays_encode() -> None:
    codes = encode(NF4, np.zeros((2, 0, 3), np.float32), Rounding.NEAREST_EVEN)
    assert codes.shape == (2, 0, 3)
    assert decode(NF4, codes).shape == (2, 0, 3)
    assert encode(NF4, np.zeros((2, 3)), Rounding.FLOOR).shape == (2, 3)


def test_a_user_table_of_16_bits_round_trips() -> None:
    book = Codebook("user", tuple(float(value) / 3 for value in range(-32768, 32768)))
    codes = np.arange(65536, dtype=np.uint16)
    assert book.bits == 16
    assert decode(book, codes).dtype == np.float64
    encoded = encode(book, decode(book, codes), Rounding.NEAREST_EVEN)
    assert encoded.dtype == np.uint16
    np.testing.assert_array_equal(encoded, codes)


def brute_error(book: Codebook, group: list[float], scale: Fraction) -> Fraction:
    best = Fraction(0)
    for value in group:
        options = (abs(Fraction(other) * scale - Fraction(value)) for other in book.values)
        best += min(options) ** 2
    return best


@given(st.lists(st.integers(-96, 96).filter(bool), min_size=1, max_size=8))
def test_choose_finds_the_least_error_of_a_search_in_fractions(group: list[int]) -> None:
    for books in (bitmod(3), bitmod(4), (INT4, FLINT4, POT4)):
        values = np.array(group, dtype=np.float64)
        errors = [
            brute_error(book, values.tolist(), Fraction(max(map(abs, group))) / Fraction(top))
            for book, top in ((book, book.largest) for book in books)
        ]
        found = int(choose(books, values))
        assert float(errors[found] - min(errors)) <= 1e-9


def test_choose_takes_the_special_value_that_a_group_needs() -> None:
    # With scale 1 each of them is exact with one special value only.
    groups = {3.0: 0, -3.0: 1, 6.0: 2, -6.0: 3}
    values = np.array([[4.0, 2.0, -1.0, special] for special in groups])
    np.testing.assert_array_equal(choose(bitmod(3), values), list(groups.values()))
    np.testing.assert_array_equal(scale_to(bitmod(3)[0], values), [1.0, 1.0, 1.5, 1.5])


def test_choose_gives_ties_to_the_first_and_keeps_the_shape_of_groups() -> None:
    np.testing.assert_array_equal(choose(bitmod(4), np.zeros((2, 3, 8))), np.zeros((2, 3)))
    assert int(choose((FLINT4, INT4), np.array([16.0, -16.0]))) == 0
    assert choose(bitmod(4), np.ones(8)).shape == ()


def test_choose_selects_the_type_that_fits_the_distribution_as_ant_does() -> None:
    uniform = np.arange(-7.0, 8.0)
    powers = np.array([64.0, 32, 16, 8, 4, 2, 1, -1, -2, -4])
    groups = (uniform, np.array(FLINT4.values), powers)
    assert [int(choose((INT4, FLINT4, POT4), group)) for group in groups] == [0, 1, 2]


def test_scale_of_zeros_is_one() -> None:
    np.testing.assert_array_equal(scale_to(FP3, np.zeros((2, 4))), [1.0, 1.0])


def test_olive_outliers_are_the_published_abfloat_values() -> None:
    in_int4_units = {12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0}
    assert set(OLIVE_INT4.outliers.values()) == signed(sorted(in_int4_units))
    # The released code has 48 ... 384 for both types, where int4 is times 4 and flint4 times 2.
    assert {4 * value for value in OLIVE_INT4.outliers.values()} == signed(
        [48, 64, 96, 128, 192, 256, 384]
    )
    assert {2 * value for value in OLIVE_FLINT4.outliers.values()} == signed(
        [48, 64, 96, 128, 192, 256, 384]
    )
    assert (OLIVE_INT4.bias, OLIVE_FLINT4.bias, OLIVE_INT8.bias) == (2, 3, 4)


def test_olive_outliers_of_8_bits() -> None:
    """E4M3 begins beyond 127; with 2 exponent bits the released code has E2M5 from 33 to 504."""
    sizes = sorted(value for value in OLIVE_INT8.outliers.values() if value > 0)
    assert sizes[:9] == [144, 160, 176, 192, 208, 224, 240, 256, 288]
    assert (len(sizes), sizes[-1]) == (127, 15 * 2.0**19)
    assert set(OLIVE_INT8.outliers.values()) == signed(sizes)
    released = OutlierVictim("released", INT8).outliers
    expected = [2.0**i * (1 + j / 32) for i in range(5, 9) for j in range(32)][1:]
    # int8 is times 1/4: 32 is 128.
    assert {value / 4 for value in released.values()} == signed(expected)
    assert OLIVE_INT8.decode_pair(128, 1) == (0.0, 144.0)
    assert OLIVE_INT8.decode_pair(0x89, 128) == (-9 * 2.0**5, 0.0)


@pytest.mark.parametrize("largest", [0.7, 3.0, 5.9, 6.0, 6.1, 12.0, 100.0])
@pytest.mark.parametrize(("bits", "exponent_bits"), [(4, 1), (4, 2), (8, 2), (8, 4), (8, 6)])
def test_the_bias_is_the_least_that_puts_every_outlier_beyond_the_normal_values(
    bits: int, exponent_bits: int, largest: float
) -> None:
    most = (1 << bits - 1) - 1
    magnitudes = [largest * part / most for part in range(most)] + [largest]
    book = Codebook("user", (*magnitudes, *(-value for value in magnitudes)))
    form = OutlierVictim("user", book, exponent_bits=exponent_bits)
    least = (1 << bits - 1 - exponent_bits) + 1
    assert form.largest_normal == largest
    assert least * 2.0**form.bias > largest >= least * 2.0 ** (form.bias - 1)
    assert min(abs(value) for value in form.outliers.values()) == least * 2.0**form.bias


def valid_pairs(form: OutlierVictim) -> list[tuple[int, int]]:
    """Return all pairs of 4-bit codes; of 8 bits, every 17th normal code, 0 and all outliers."""
    victim = form.identifier
    normal = [code for code in range(0, 2 * victim, 1 if victim == 8 else 17) if code != victim]
    pairs = list(product(normal, normal))
    return pairs + [pair for code in form.outliers for pair in ((code, victim), (victim, code))]


@ALL_OLIVES
def test_every_valid_pair_of_codes_round_trips(form: OutlierVictim) -> None:
    pairs = valid_pairs(form)
    assert len(pairs) == (15 * 15 + 2 * 14 if form.normal.bits == 4 else 16 * 16 + 2 * 254)
    for rounding in Rounding:
        values = decode_pairs(form, np.array(pairs))
        np.testing.assert_array_equal(encode_pairs(form, values, rounding), pairs)
        for pair, two in zip(pairs, values.tolist(), strict=True):
            assert form.decode_pair(*pair) == tuple(two)
            assert form.encode_pair(*two, rounding) == pair


def test_an_outlier_takes_the_place_of_its_neighbour() -> None:
    values = np.array([[19.0, 3.0], [-2.0, -100.0], [5.4, -6.6], [9.5, 1.0], [9.6, 1.0]])
    codes = encode_pairs(OLIVE_INT4, values, Rounding.NEAREST_EVEN)
    expected = [[16.0, 0.0], [0.0, -96.0], [5.0, -7.0], [12.0, 0.0], [12.0, 0.0]]
    np.testing.assert_array_equal(decode_pairs(OLIVE_INT4, codes), expected)
    # 9.5 is the midpoint of 7 and 12: ranks 7 and 8.
    assert OLIVE_INT4.encode_pair(9.4, 1.0, Rounding.NEAREST_EVEN) == (7, 1)


def test_of_two_outliers_the_larger_stays_or_the_first() -> None:
    values = np.array([[19.0, -39.0], [-39.0, 19.0], [30.0, -30.0]])
    larger = decode_pairs(OLIVE_INT4, encode_pairs(OLIVE_INT4, values, Rounding.NEAREST_EVEN))
    np.testing.assert_array_equal(larger, [[0.0, -32.0], [-32.0, 0.0], [32.0, 0.0]])
    first = OutlierVictim("first", INT4, both="first")
    kept = decode_pairs(first, encode_pairs(first, values, Rounding.NEAREST_EVEN))
    np.testing.assert_array_equal(kept, [[16.0, 0.0], [-32.0, 0.0], [32.0, 0.0]])


@given(
    st.sampled_from(OLIVES),
    st.sampled_from(list(Rounding)),
    st.tuples(*[st.floats(-200, 200, width=32) | st.floats(-1e7, 1e7, width=32)] * 2),
)
def test_array_pairs_equal_encode_pair(
    form: OutlierVictim, rounding: Rounding, pair: tuple[float, float]
) -> None:
    codes = encode_pairs(form, np.array(pair), rounding, seed=9)
    drawn = (random_24(9, 0), random_24(9, 1))
    assert tuple(codes.tolist()) == form.encode_pair(*pair, rounding, drawn)
    assert decode_pairs(form, codes).tolist() == list(form.decode_pair(*codes.tolist()))


@pytest.mark.parametrize("book", [INT4, INT8], ids=lambda book: book.name)
def test_olive_equals_the_released_quantiser_with_its_mask_of_victims(book: Codebook) -> None:
    first = OutlierVictim("first", book, both="first")
    limit = first.largest_normal + 1
    rng = np.random.default_rng(0)
    values = rng.standard_t(3, size=(16, 64)) * 5 / 8 * limit
    ordinary = np.arange(-first.largest_normal, limit)
    grid = np.array(sorted({*ordinary, *first.outliers.values()}), dtype=np.float64)
    nearest = grid[np.abs(values.reshape(-1, 1) - grid).argmin(axis=1)]
    # `Quantizer._forward` of olive_quantization, where the limit is 32.
    mask = np.abs(nearest) > limit
    odd = np.roll(mask, 1)
    odd[::2] = False
    even = np.roll(mask & ~odd, -1)
    even[1::2] = False
    expected = (nearest * ~(odd | even)).reshape(values.shape)
    found = decode_pairs(first, encode_pairs(first, values, Rounding.NEAREST_EVEN))
    np.testing.assert_array_equal(found, expected)
    assert (mask[0::2] & mask[1::2]).any()


def test_abfloat_is_sign_exponent_and_mantissa_with_a_bias() -> None:
    assert [abfloat(code, 2) for code in (1, 2, 7, 9, 15)] == [12.0, 16.0, 96.0, -12.0, -96.0]
    assert abfloat(1, -1) == 1.5
    assert [abfloat(code, 4, 8, 4) for code in (1, 8, 0x7F, 0x81)] == [144, 256, 15 * 2**19, -144]
    assert abfloat(33, 0, 8, 2) == 33 * 2


def refusal(problem: pytest.ExceptionInfo[InputError]) -> tuple[str, ...]:
    return problem.value.problems


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ((), ("t: a codebook has 2 to 65536 values, got 0",)),
        ((1.0,), ("t: a codebook has 2 to 65536 values, got 1",)),
        (tuple(map(float, range(65537))), ("t: a codebook has 2 to 65536 values, got 65537",)),
        ((0.0, 1.0, 2.0), ("t: the number of values must be a power of two, got 3",)),
        ((0.0, 1.0, 2.0, 1.0), ("t: 1.0 has two codes, 1 and 3",)),
        ((0.0, 0.0, -0.0, 1.0), ("t: 0.0 has two codes, 0 and 1",)),
        ((0.0, -0.0), ("t: at least one value must not be zero",)),
        (
            (0.0, nan, inf, 0.0),
            (
                "t: values must be within +-1e300, got nan at code 1",
                "t: values must be within +-1e300, got inf at code 2",
                "t: 0.0 has two codes, 0 and 3",
            ),
        ),
    ],
)
def test_an_impossible_table_is_refused_with_all_its_problems(
    values: tuple[float, ...], problems: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as error:
        Codebook("t", values)
    assert refusal(error) == problems


def test_nan_is_refused() -> None:
    with pytest.raises(InputError) as error:
        NF4.encode_one(nan, Rounding.FLOOR)
    assert refusal(error) == ("nf4 has no NaN",)
    with pytest.raises(InputError) as error:
        encode(NF4, np.array([nan, 1.0, nan]), Rounding.FLOOR)
    assert refusal(error) == ("nf4 has no NaN: 2 of 3 values are NaN",)
    with pytest.raises(InputError) as error:
        OLIVE_INT4.encode_pair(1.0, nan, Rounding.FLOOR)
    assert refusal(error) == ("olive_int4 has no NaN",)
    with pytest.raises(InputError) as error:
        encode_pairs(OLIVE_INT4, np.array([nan, 1.0]), Rounding.FLOOR)
    assert refusal(error) == ("olive_int4 has no NaN: 1 of 2 values are NaN",)


@pytest.mark.parametrize("code", [-1, 16])
def test_codes_that_are_none_are_refused(code: int) -> None:
    with pytest.raises(InputError) as error:
        NF4.decode_one(code)
    assert refusal(error) == (f"nf4: code {code} is not of 4 bits",)
    with pytest.raises(InputError) as error:
        decode(NF4, np.array([0, code]))
    assert refusal(error) == ("nf4: codes must be 0 to 15",)
    with pytest.raises(InputError) as error:
        decode_pairs(OLIVE_INT4, np.array([0, code]))
    assert refusal(error) == ("olive_int4: codes must be 0 to 15",)
    with pytest.raises(InputError) as error:
        decode_pairs(OLIVE_INT8, np.array([0, 16 * code]))
    assert refusal(error) == ("olive_int8: codes must be 0 to 255",)
    with pytest.raises(InputError) as error:
        OLIVE_INT4.decode_pair(0, code)
    assert refusal(error) == (f"int4: code {code} is not of 4 bits",)


@pytest.mark.parametrize("pair", [(8, 8), (0, 8), (8, 0)])
def test_an_identifier_without_an_outlier_is_refused(pair: tuple[int, int]) -> None:
    code = pair[1] if pair[0] == 8 else pair[0]
    with pytest.raises(InputError) as error:
        OLIVE_INT4.decode_pair(*pair)
    assert refusal(error) == (f"olive_int4: code {code} beside an identifier is no outlier",)
    with pytest.raises(InputError) as error:
        decode_pairs(OLIVE_INT4, np.array(pair))
    count = pair.count(8)
    assert refusal(error) == (f"olive_int4: {count} codes beside an identifier are 0 or 8",)
    wide = np.array(pair) * 16
    with pytest.raises(InputError) as error:
        decode_pairs(OLIVE_INT8, wide)
    assert refusal(error) == (f"olive_int8: {count} codes beside an identifier are 0 or 128",)
    with pytest.raises(InputError) as error:
        OLIVE_INT8.decode_pair(*wide.tolist())
    assert refusal(error) == (f"olive_int8: code {16 * code} beside an identifier is no outlier",)


def test_what_is_not_of_pairs_is_refused() -> None:
    words = ("olive_int4: the last axis must be of pairs, got shape (2, 3)",)
    with pytest.raises(InputError) as error:
        encode_pairs(OLIVE_INT4, np.zeros((2, 3)), Rounding.FLOOR)
    assert refusal(error) == words
    with pytest.raises(InputError) as error:
        decode_pairs(OLIVE_INT4, np.zeros((2, 3), np.uint8))
    assert refusal(error) == words


def test_impossible_pairs_of_formats_are_refused() -> None:
    with pytest.raises(InputError) as error:
        OutlierVictim("o", FP3, both="smaller")
    assert refusal(error) == (
        "o: normal values have 4 or 8 bits, got 3",
        "o: both must be 'larger' or 'first', got 'smaller'",
    )
    for book, exponent_bits, most in ((INT4, 0, 2), (INT4, 3, 2), (INT8, 7, 6)):
        with pytest.raises(InputError) as error:
            OutlierVictim("o", book, exponent_bits=exponent_bits)
        words = f"o: exponent_bits must be 1 to {most}, got {exponent_bits}"
        assert refusal(error) == (words,)


def test_choose_refuses_nothing_to_choose_from_and_values_that_are_not_finite() -> None:
    with pytest.raises(InputError) as error:
        choose((), np.array([1.0, nan, inf]))
    assert refusal(error) == (
        "choose: at least one codebook is needed",
        "choose: 2 of 3 values are not finite",
    )
    with pytest.raises(InputError) as error:
        choose(bitmod(3), np.zeros((4, 0)))
    assert refusal(error) == ("bitmod3(+3): groups must not be empty, got shape (4, 0)",)


def test_tables_that_are_not_published_are_refused() -> None:
    cases = (
        (lambda: pot(1), "pot: bits must be 2 to 8, got 1"),
        (lambda: pot(9), "pot: bits must be 2 to 8, got 9"),
        (lambda: apot(2), "apot: bits must be 3 to 7, got 2"),
        (lambda: apot(8), "apot: bits must be 3 to 7, got 8"),
        (lambda: bitmod(5), "bitmod: bits must be 3 or 4, got 5"),
        (lambda: abfloat(0, 2), "abfloat: code 0 is not 1 to 7 or 9 to 15"),
        (lambda: abfloat(8, 2), "abfloat: code 8 is not 1 to 7 or 9 to 15"),
        (lambda: abfloat(16, 2), "abfloat: code 16 is not 1 to 7 or 9 to 15"),
        (lambda: abfloat(128, 4, 8, 4), "abfloat: code 128 is not 1 to 127 or 129 to 255"),
        (lambda: abfloat(256, 4, 8, 4), "abfloat: code 256 is not 1 to 127 or 129 to 255"),
    )
    for call, words in cases:
        with pytest.raises(InputError) as error:
            call()
        assert refusal(error) == (words,)
