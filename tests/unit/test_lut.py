"""Do sums from half tables equal products, and take a look-up a bit?"""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.lut import (
    ACCUMULATORS,
    ENTRIES,
    TABLES,
    Setting,
    address_of,
    dot_lut,
    dot_lut_float,
    gemm_lut,
    gemm_lut_float,
    gemm_packed,
    half_table,
    pack,
    reinterpreted,
    rounded_fp8,
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
        assert tally.counts == {
            **{"look_up": bits, "shift": bits, "pass": bits, "add": 8 * 4 + bits}
        }


SHAPES = [
    (1, 1, 1),
    (3, 5, 4),
    (2, 513, 77),
    (2, 33, 130),
    (16, 40, 300),
    (2, 3, 0),
    (0, 3, 8),
    (2, 0, 8),
]


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


def test_packed_weights_serve_any_activations() -> None:
    random = np.random.default_rng(3)
    q = random.integers(0, 8, (70, 75), dtype=np.int64)
    packed = pack(q, 3)
    assert (packed.bits, packed.depth, packed.indices.nbytes) == (3, 75, 3 * 10 * 70)
    for dtype, size in ((np.int8, 128), (np.int16, 4095), (np.int16, 4096), (np.int64, 32_767)):
        x = random.integers(-size, size, (4, 75)).astype(dtype)
        x[0] = size - 1
        assert (gemm_packed(x, packed) == x.astype(np.int64) @ (2 * q - 7).T).all()


def test_a_byte_holds_two_addresses_and_their_signs() -> None:
    q = np.arange(256)[:, None] >> np.arange(8) & 1
    indices = pack(q, 1).indices[0, 0].tolist()
    for bits, found in enumerate(indices):
        (low, minus), (high, other) = address_of(bits & 15), address_of(bits >> 4)
        assert found == low | minus << 3 | high << 4 | other << 7


@pytest.mark.parametrize("size", [4095, 4096])
def test_partial_sums_fit_at_the_ends(size: int) -> None:
    """16 bits hold one pair of tables of 4095, none of 4096."""
    x = np.full((1, 64), size, dtype=np.int32)
    q = np.array([[3] * 64, [0] * 64], dtype=np.uint8)
    assert gemm_lut(x, q, 2).tolist() == [[3 * 64 * size, -3 * 64 * size]]
    x[0, 0] = 0
    assert gemm_lut(-x, q, 2).tolist() == [[-3 * 63 * size, 3 * 63 * size]]


def test_other_activations_than_packed_weights_take_are_refused() -> None:
    packed = pack(np.zeros((2, 8), np.uint8), 4)
    for x, message in (
        (np.zeros((1, 7), np.int8), "activations: expected shape (M, 8), got (1, 7)"),
        (np.zeros((1, 8), np.float32), "activations: expected integers, got float32"),
    ):
        with pytest.raises(InputError) as error:
            gemm_packed(x, packed)
        assert str(error.value) == message
    with pytest.raises(InputError) as error:
        pack(np.zeros(8, np.uint8), 4)
    assert str(error.value) == "weights: expected (N, K), got shape (8,)"


def floats(
    shape: tuple[int, int, int], setting: Setting
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return activations of very different sizes, codes, scales and zeros."""
    m, n, k = shape
    random = np.random.default_rng(k + setting.bits)
    x = random.standard_normal((m, k)) * 2.0 ** random.integers(-6, 4, (m, k))
    q = random.integers(0, 1 << setting.bits, (n, k), dtype=np.uint8)
    groups = -(-k // setting.group)
    scales = random.uniform(0.1, 2.0, (n, groups)).astype(np.float32)
    zeros = random.integers(0, 1 << setting.bits, (n, groups))
    return x.astype(np.float16), q, scales, zeros


SETTINGS = [(4, 32), (1, 20), (3, 7), (2, 100)]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("accumulator", ACCUMULATORS)
@pytest.mark.parametrize(("bits", "group"), SETTINGS)
def test_rounded_outputs_equal_the_specification_over_all_of_k(
    table: str, accumulator: str, bits: int, group: int
) -> None:
    setting = Setting(bits, group, table, accumulator)
    x, q, scales, zeros = floats((16, 16, 75), setting)
    x[1], x[2, :40], x[3, ::2] = 0, 2.0**-24, -(2.0**-15)
    x[4, 3], x[5, 5], x[6] = np.inf, np.nan, 30_000
    found = gemm_lut_float(x, q, scales, zeros, setting)
    assert found.dtype == np.float32
    expected = [
        [
            dot_lut_float(row.tolist(), q[n].tolist(), list(scales[n]), zeros[n].tolist(), setting)
            for n in range(16)
        ]
        for row in x
    ]
    assert np.array_equal(found, np.array(expected), equal_nan=True)


def by_numpy(x: np.ndarray, q: np.ndarray, bits: int, table: str, kind: type) -> np.ndarray:
    """Return sums (N) of one group by loops of numpy and ml_dtypes: signs, no addresses."""
    fours = x.reshape(-1, 4)
    signs = 2 * (q[:, None, :] >> np.arange(bits)[:, None] & 1).astype(np.float16) - 1
    signs = signs.reshape(len(q), bits, -1, 4)
    entries = signs[..., 0] * fours[:, 0]
    for k in range(1, 4):
        entries = entries + signs[..., k] * fours[:, k]
    entries = entries.astype(np.float32)
    scale = np.float32(1)
    if table != "fp16":
        largest = np.abs(entries_of_all(fours)).max().astype(np.float32)
        scale = largest / np.float32({"fp8": 448, "int8": 127}[table])
        entries = entries / scale
        as_fp8 = entries.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
        entries = as_fp8 if table == "fp8" else np.round(entries)
    total = np.zeros(len(q), dtype=kind)
    for g in range(len(fours)):
        for place in range(bits):
            total = (total + entries[:, place, g] * np.float32(2**place)).astype(kind)
    shared = kind(0)
    for value in x:
        shared = kind(shared + kind(value))
    return total.astype(np.float32) * scale - np.float32(shared)


def entries_of_all(fours: np.ndarray) -> np.ndarray:
    """Return the sums of all 16 signs of every four activations."""
    signs = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float16) - 1
    total = signs[:, 0, None] * fours[:, 0]
    for k in range(1, 4):
        total = total + signs[:, k, None] * fours[:, k]
    return total


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("accumulator", ACCUMULATORS)
def test_rounded_outputs_equal_loops_of_numpy(table: str, accumulator: str) -> None:
    """256 outputs; without zeros z' is 1; a scale of 2 makes s' 1."""
    setting = Setting(4, 128, table, accumulator)
    x, q, scales, _ = floats((4, 64, 128), setting)
    found = gemm_lut_float(x, q, np.full_like(scales, 2), None, setting)
    for row, each in zip(x, found, strict=True):
        assert np.array_equal(each, by_numpy(row, q, 4, table, ACCUMULATORS[accumulator]))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_where_nothing_rounds_floats_equal_integers(bits: int, table: str) -> None:
    """Tables of -1, 0, 1 and an entry of the scaled formats' largest value: their scale is 1."""
    random = np.random.default_rng(bits)
    x = random.integers(-1, 2, (6, 48), dtype=np.int8).astype(np.int64)
    x[:, :4] = {"fp16": 5, "fp8": 112, "int8": 0}[table]
    x[:, 0] += {"fp16": 0, "fp8": 0, "int8": 127}[table]
    # Entries are 448, 224 and 0, or 127: all of the format.
    q = random.integers(0, 1 << bits, (40, 48), dtype=np.uint8)
    zeros = random.integers(0, 1 << bits, (40, 1))
    setting = Setting(bits, 48, table, "fp32")
    ones = np.ones((40, 1), np.float32)
    found = gemm_lut_float(x.astype(np.float16), q, ones, zeros, setting)
    moved = 2 * zeros[:, 0] + 1 - (1 << bits)
    twice = gemm_lut(x, q, bits) - x.sum(axis=1)[:, None] * moved
    assert (2 * found == twice).all()
    assert (2 * found == 2 * x @ (q - zeros.astype(np.int64)).T).all()


def test_fp8_is_rounded_as_ml_dtypes_does() -> None:
    """All FP16 values that E4M3 rounds to a finite one, and NaN."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = values[~(np.abs(values) >= 464)]
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    found = np.array([rounded_fp8(value) for value in values.tolist()])
    assert np.array_equal(found, expected, equal_nan=True)


def test_settings_that_are_refused() -> None:
    with pytest.raises(InputError) as error:
        Setting(9, 0, "fp9", "bf16")
    assert list(error.value.problems) == [
        "bits must be 1 to 8, got 9",
        "group must be >= 1, got 0",
        "unknown table 'fp9'; did you mean 'fp8'? known: fp16, fp8, int8",
        "unknown accumulator 'bf16'; did you mean 'fp16'?",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: np.zeros((2, 8), np.float32)}, "activations: expected float16, got float32"),
        (
            {1: np.zeros((3, 7), np.uint8)},
            "expected activations (M, K) and weights (N, K), got shapes (2, 8) and (3, 7)",
        ),
        ({1: np.full((3, 8), 16)}, "weights: 4 bits hold 0 to 15"),
        ({2: np.ones((3, 2))}, "scales: expected float32, got float64"),
        ({2: np.ones((3, 1), np.float32)}, "scales: expected shape (3, 2), got (3, 1)"),
        ({3: np.zeros((3, 1), np.int8)}, "zeros: expected shape (3, 2), got (3, 1)"),
        ({3: np.full((3, 2), -1)}, "zeros: 4 bits hold 0 to 15"),
    ],
)
def test_rounded_operands_that_are_refused(changed: dict[int, np.ndarray], message: str) -> None:
    given = [np.zeros((2, 8), np.float16), np.zeros((3, 8), np.uint8)]
    given += [np.ones((3, 2), np.float32), np.zeros((3, 2), np.int8)]
    given = [changed.get(index, array) for index, array in enumerate(given)]
    with pytest.raises(InputError) as error:
        gemm_lut_float(*given, Setting(4, 4))
    assert str(error.value) == message
