"""Are T-MAC's constants and tables exact, and its quantised sums those of the specification?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.t_mac import (
    Product,
    Setting,
    alphas,
    averaged,
    dot_quantised,
    dot_twice,
    gemm_t_mac,
    gemm_t_mac_exact,
    index_of,
    indices,
    moved_zeros,
    quantised_tables,
    signed_sums,
    sum_16,
    wrapped,
)
from simulator.numerics.word import Tally


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_alphas_and_a_bias_of_a_half_give_every_weight(bits: int) -> None:
    """Golden identity 4: q - 2^(b-1) = sum alpha_i s_i - 1/2."""
    assert alphas(bits) == [0.5, 1.0, 2.0, 4.0][:bits]
    for q in range(1 << bits):
        signs = [2 * (q >> place & 1) - 1 for place in range(bits)]
        total = sum(alpha * sign for alpha, sign in zip(alphas(bits), signs, strict=True))
        assert total - 0.5 == q - 2 ** (bits - 1)


def test_a_table_has_every_signed_sum_and_its_entry_0_is_minus_the_sum() -> None:
    values = [1, 20, 300, 4000]
    table = signed_sums(list(values))
    for index in range(16):
        signs = [1 if index >> k & 1 else -1 for k in range(4)]
        assert table[index] == sum(s * v for s, v in zip(signs, values, strict=True))
    assert table[0] == -sum(values)


def test_a_pair_of_tables_is_indexed_by_a_byte_with_the_first_weight_lowest() -> None:
    codes = np.array([[1, 0, 0, 2, 0, 3, 0, 0]], dtype=np.uint8)
    assert indices(codes, 2).tolist() == [[[0b0010_0001]], [[0b0010_1000]]]
    assert [index_of(codes[0, :4].tolist(), place) for place in range(2)] == [1, 8]


@given(st.integers(1, 4), st.integers(1, 5), st.data())
@settings(max_examples=100)
def test_dot_products_by_full_tables_are_exact(bits: int, fours: int, data: st.DataObject) -> None:
    length = 4 * fours
    x = data.draw(st.lists(st.integers(-128, 127), min_size=length, max_size=length))
    q = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=length, max_size=length))
    expected = sum(a * (2 * b - (1 << bits)) for a, b in zip(x, q, strict=True))
    assert int(dot_twice(list(x), q, bits)) == expected


def test_a_bit_of_four_weights_takes_one_look_up_and_one_addition() -> None:
    """The table itself: 8 entries of 3 additions, 8 mirrored; one addition for the bias."""
    for bits in (1, 2, 4):
        tally = Tally()
        dot_twice([tally.word(value) for value in (5, -6, 7, 8)], [0] * 4, bits)
        assert tally.counts == {"look_up": bits, "shift": bits, "add": 8 * 3 + 8 + 1 + bits}


SHAPES = [(1, 1, 1), (3, 5, 4), (2, 33, 130), (16, 40, 300), (2, 3, 0), (0, 3, 8), (2, 0, 8)]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_exact_kernel_equals_integer_products_on_any_shape(
    shape: tuple[int, int, int], bits: int
) -> None:
    m, n, k = shape
    random = np.random.default_rng(bits + k)
    x = random.integers(-128, 128, (m, k), dtype=np.int8)
    q = random.integers(0, 1 << bits, (n, k), dtype=np.uint8)
    found = gemm_t_mac_exact(x, q, bits)
    assert found.dtype == np.int32
    assert (found == x.astype(np.int64) @ (q.astype(np.int64) - (1 << bits - 1)).T).all()


@pytest.mark.parametrize("fill", [-128, 127])
def test_the_exact_kernel_at_the_ends(fill: int) -> None:
    x = np.full((2, 4096), fill, dtype=np.int8)
    x[1, ::2] = -fill - 1
    q = np.full((2, 4096), 15, dtype=np.uint8)
    q[1, 1::2] = 0
    expected = x.astype(np.int64) @ (q.astype(np.int64) - 8).T
    assert (gemm_t_mac_exact(x, q, 4) == expected).all()


def test_outputs_of_the_exact_kernel_equal_the_specification() -> None:
    random = np.random.default_rng(9)
    x = random.integers(-128, 128, (16, 132), dtype=np.int8)
    q = random.integers(0, 16, (16, 132), dtype=np.uint8)
    found = gemm_t_mac_exact(x, q, 4)
    for m in range(16):
        for n in range(16):
            assert 2 * found[m, n] == int(dot_twice(x[m].tolist(), q[n].tolist(), 4))


def test_tables_are_scaled_to_127_and_rounded_to_even() -> None:
    """Scale 1: the largest sum of magnitudes is 127; ties are entries such as 0.5 and 1.5."""
    four = [100.0, 20.0, 6.0, 1.0]
    ties = [0.25, 0.25, 1.0, 1.0]
    tables = quantised_tables([np.float32(a) for a in four + ties + [0.0] * 56])
    assert tables.scale == 1
    assert tables.bias == -129.5
    assert tables.entries[0] == signed_sums([100, 20, 6, 1])
    # -0.5, 0, 0, 0.5 with the large ones against each other: 0; with both: 1.5 is 2, 2.5 is 2.
    assert tables.entries[1][4:8] == [0, 0, 0, 0]
    assert tables.entries[1][12:] == [2, 2, 2, 2]
    assert [tables.entries[1][index] for index in (0, 1, 3)] == [-2, -2, -2]
    assert tables.entries[2] == [0] * 16


def test_a_group_of_zeros_has_scale_0_and_no_entries() -> None:
    tables = quantised_tables([np.float32(0)] * 64)
    assert (tables.scale, tables.bias) == (0, 0)
    assert tables.entries == [[0] * 16] * 16


def test_biases_are_added_by_eight_tables() -> None:
    """Eight tables of 1 each are not lost against 2^24, one by one they would be."""
    tables = quantised_tables([np.float32(2**24), *[np.float32(0)] * 31] + [np.float32(0.25)] * 32)
    assert tables.bias == -(2**24 + 8)


@pytest.mark.parametrize(
    ("total", "kept"), [(32767, 32767), (32768, -32768), (-32768, -32768), (-32769, 32767)]
)
def test_16_bits_wrap(total: int, kept: int) -> None:
    assert wrapped(total) == (kept, total != kept)


def test_sums_in_16_bits_count_their_overflows() -> None:
    """258 entries of 127 are 32,766; two more are beyond, and wrap."""
    assert sum_16([127] * 258) == (32766, 0)
    assert sum_16([127] * 260) == (260 * 127 - 65536, 1)
    assert sum_16([-127] * 260) == (65536 - 260 * 127, 1)


def test_counts_of_a_sum_and_of_a_tree_of_16_entries() -> None:
    for fast in (False, True):
        tally = Tally()
        entries = [tally.word(value) for value in range(16)]
        assert int(averaged(entries) if fast else sum_16(entries)[0]) == (8 if fast else 120)
        assert tally.counts == {"add": 15}


def test_a_tree_rounds_halves_up_at_every_level() -> None:
    assert averaged([-3, 0]) == -1
    assert averaged([1, 2]) == 2
    assert averaged([0, 1, 0, 0]) == 1
    assert averaged([-128] * 16) == -128


def test_the_mean_error_of_a_tree_is_a_quarter_of_a_step_a_level() -> None:
    random = np.random.default_rng(0)
    entries = random.integers(-64, 64, (4000, 16))
    errors = [int(averaged(row)) - sum(row) / 16 for row in entries.tolist()]
    assert np.mean(errors) == pytest.approx(1.0, abs=0.05)
    # As an integer division: nothing for 8 tables, 1 for 16 to 128, 2 for 256 and more.
    biases = [Setting(1, 4096, size, fast=True).tree_bias for size in (32, 64, 512, 1024, 4096)]
    assert biases == [0, 1, 1, 2, 2]
    assert [Setting(bits, fast=True).tree_bias for bits in (1, 2, 3, 4)] == [1, 3, 7, 15]


def operands(
    shape: tuple[int, int, int], setting: Setting, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return activations, codes, scales and zeros."""
    m, n, k = shape
    random = np.random.default_rng(seed)
    x = random.standard_normal((m, k)).astype(np.float32)
    q = random.integers(0, 1 << setting.bits, (n, k), dtype=np.uint8)
    groups = -(-k // setting.group)
    scales = random.uniform(0.5, 2, (n, groups)).astype(np.float32)
    zeros = random.integers(0, 1 << setting.bits, (n, groups), dtype=np.uint8)
    return x, q, scales, zeros


def specified(
    x: np.ndarray, q: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, setting: Setting
) -> Product:
    """Return the product by the specification, output by output."""
    padding = [np.float32(0)] * (-x.shape[1] % setting.activation_group)
    moved = scales * 0 if zeros is None else moved_zeros(zeros, scales, setting.bits)
    values = np.zeros((len(x), len(q)), dtype=np.float32)
    overflows = 0
    for m in range(len(x)):
        for n in range(len(q)):
            left, right = [*x[m], *padding], q[n].tolist() + [0] * len(padding)
            found = dot_quantised(left, right, [*scales[n]], [*moved[n]], setting)
            values[m, n] = found[0]
            overflows += found[1]
    return Product(values, overflows)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("bits", "group", "size", "shape"),
    [
        (4, 128, 64, (4, 64, 300)),
        (3, 64, 64, (2, 9, 130)),
        (2, 128, 32, (2, 9, 200)),
        (1, 128, 128, (2, 9, 257)),
        (2, 64, 32, (1, 1, 1)),
    ],
)
def test_outputs_equal_the_specification_over_all_of_k(
    bits: int, group: int, size: int, shape: tuple[int, int, int], fast: bool
) -> None:
    setting = Setting(bits, group, size, fast)
    x, q, scales, zeros = operands(shape, setting, seed=bits)
    x[0, :64] = 0
    # Scale 1 and quarters: entries that are ties.
    x[-1] = np.rint(4 * x[-1]) / 4
    for place, value in enumerate((127, 0, 0, 0)):
        x[-1, place::32] = value
    for given_zeros in (zeros, None) if bits == 2 else (zeros,):
        expected = specified(x, q, scales, given_zeros, setting)
        found = gemm_t_mac(x, q, scales, given_zeros, setting)
        assert found.values.dtype == np.float32
        assert (found.values == expected.values).all()
        assert found.overflows == expected.overflows == 0


def adversarial(tables: int, signs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activations and codes that look up 127 in every table, or -127 in every second."""
    x = np.ones((1, 4 * tables), dtype=np.float32)
    q = np.ones((3, 4 * tables), dtype=np.uint8)
    q[1] = 0
    q[2].reshape(tables, 4)[::signs] = 0
    return x, q


def test_sums_of_more_than_258_tables_overflow_and_are_counted() -> None:
    setting = Setting(1, 2048, 2048)
    x, q = adversarial(512, 2)
    scales = np.ones((3, 1), dtype=np.float32)
    found = gemm_t_mac(x, q, scales, None, setting)
    expected = specified(x, q, scales, None, setting)
    # All plus: beyond at the 130th pair, 65,024 less 65,536 at the end; all minus likewise.
    assert found.overflows == expected.overflows == 2
    assert (found.values == expected.values).all()
    step = np.float32(4) / np.float32(127)
    inner = np.float32([-512, 512, 0]) * step - np.float32(2048)
    assert (found.values == np.float32(0.5) * inner).all()


@pytest.mark.parametrize("fast", [False, True])
def test_up_to_256_tables_never_overflow(fast: bool) -> None:
    x, q = adversarial(256, 1)
    found = gemm_t_mac(x, q, np.ones((3, 1), np.float32), None, Setting(1, 1024, 1024, fast))
    assert found.overflows == 0


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_tables_of_whole_numbers_give_exact_products(bits: int) -> None:
    """Scale 1 in every group of activations: no rounding is left, the zero points included."""
    setting = Setting(bits)
    _, q, _, zeros = operands((6, 700, 384), setting, seed=20)
    random = np.random.default_rng(21)
    x = random.integers(-31, 32, (6, 384)).astype(np.float32)
    x[:, ::64], x[:, 1::64], x[:, 2::64], x[:, 3::64] = 100, -20, 6, 1
    scales = np.full((700, 3), 0.25, dtype=np.float32)
    found = gemm_t_mac(x, q, scales, zeros, setting)
    whole = q.astype(np.int64) - np.repeat(zeros.astype(np.int64), 128, axis=1)
    assert (found.values == 0.25 * (x.astype(np.int64) @ whole.T)).all()


def test_errors_are_those_of_int8_tables_and_larger_with_the_tree() -> None:
    errors = {}
    for fast in (False, True):
        setting = Setting(4, fast=fast)
        x, q, scales, zeros = operands((4, 200, 1024), setting, seed=30)
        whole = q.astype(np.float64) - np.repeat(zeros.astype(np.float64), 128, axis=1)
        exact = x.astype(np.float64) @ (whole * np.repeat(scales, 128, axis=1)).T
        error = gemm_t_mac(x, q, scales, zeros, setting).values - exact
        errors[fast] = 10 * np.log10(np.square(exact).sum() / np.square(error).sum())
    assert 45 < errors[False] < 50
    assert 30 < errors[True] < 38


@pytest.mark.parametrize("shape", [(2, 3, 0), (0, 3, 8), (2, 0, 8), (1, 513, 5)])
def test_shapes_without_outputs_or_products_and_more_than_a_block(
    shape: tuple[int, int, int],
) -> None:
    setting = Setting(2)
    x, q, scales, zeros = operands(shape, setting, seed=1)
    found = gemm_t_mac(x, q, scales, zeros, setting)
    assert found.values.shape == shape[:2]
    assert (found.values == specified(x, q, scales, zeros, setting).values).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "bits must be 1 to 4, got 0"),
        ((5,), "bits must be 1 to 4, got 5"),
        ((4, 128, 48), "activation_group must be a power of two from 32 to 4096, got 48"),
        ((4, 96, 64), "group must be a multiple of 64 activations, got 96"),
        ((4, 0, 64), "group must be a multiple of 64 activations, got 0"),
    ],
)
def test_settings_that_are_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError) as error:
        Setting(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("bits", "code", "activation", "message"),
    [
        (5, 0, 1, "bits must be 1 to 4, got 5"),
        (2, 4, 1, "weights: 2 bits hold 0 to 3"),
        (4, 0, 1 << 17, "K: sums of 1024 products do not fit into 32 bits"),
    ],
)
def test_exact_operands_that_are_refused(
    bits: int, code: int, activation: int, message: str
) -> None:
    x, q = np.full((1, 1024), activation, np.int32), np.full((1, 1024), code, np.int32)
    with pytest.raises(InputError) as error:
        gemm_t_mac_exact(x, q, bits)
    assert str(error.value) == message


def refused(**changes: np.ndarray) -> str:
    """Return what is said of operands of which some are wrong."""
    setting = Setting(2)
    x, q, scales, zeros = operands((2, 3, 130), setting, seed=1)
    given = {"activations": x, "weights": q, "scales": scales, "zeros": zeros} | changes
    with pytest.raises(InputError) as error:
        gemm_t_mac(**given, setting=setting)
    return str(error.value)


def test_operands_that_are_refused() -> None:
    floats = np.zeros((3, 130))
    assert refused(activations=floats) == "activations: expected float32, got float64"
    assert refused(weights=floats) == "weights: expected integers, got float64"
    assert refused(scales=floats, zeros=floats) == (
        "scales: expected float32, got float64\nzeros: expected integers, got float64"
    )
    assert refused(activations=np.zeros((2, 64), np.float32)) == (
        "expected activations (M, K) and weights (N, K), got shapes (2, 64) and (3, 130)"
    )
    assert refused(scales=np.ones((3, 1), np.float32), zeros=np.ones((2, 2), np.int8)) == (
        "scales: expected shape (3, 2), got (3, 1)\nzeros: expected shape (3, 2), got (2, 2)"
    )
    assert refused(weights=np.full((3, 130), 4)) == "weights: 2 bits hold 0 to 3"
    x = np.zeros((2, 130), np.float32)
    x[0, :4] = 1e-30, 2e-31, np.nan, np.inf
    assert refused(activations=x) == (
        "activations: magnitudes must be 0 or 1e-30 to 1e30; 3 of 260 are not"
    )
