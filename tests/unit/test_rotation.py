"""Hadamard rotation: matrices exact, the fast transform theirs, products kept."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats.rotation import hadamard, rotate, rotate_one
from simulator.formats.rounding import random_24
from simulator.formats.scaling import rtn
from simulator.numerics.data import random_matrix

#: The least order of its kind, and the primes that it is made of, for each construction.
FIRST = {12: 11, 20: 19, 44: 43, 60: 59, 104: 103, 108: 107, 140: 139, 312: 311}
SECOND = {28: 13, 36: 17, 76: 37, 148: 73}
SIZES = (1, 2, 4, 8, 64, 12, 24, 96, 20, 40, 28, 56, 36, 60, 104)
#: Reduction sizes of Llama, Mixtral and Qwen models that the paper's rotation meets.
REAL = (1536, 2560, 3584, 4096, 5120, 6656, 8192, 13824, 14336, 17920, 18944, 28672)


def legendre(number: int, prime: int) -> int:
    power = pow(number, (prime - 1) // 2, prime)
    return power - prime if power > 1 else power


def sylvester(size: int) -> list[list[int]]:
    return [[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)]


def paley_first(prime: int) -> list[list[int]]:
    core = [[1 if i == j else legendre(i - j, prime) for j in range(prime)] for i in range(prime)]
    return [[1, *[-1] * prime], *[[1, *row] for row in core]]


def paley_second(prime: int) -> list[list[int]]:
    size = 2 * (prime + 1)
    rows = [[0] * size for _ in range(size)]
    for i in range(size):
        for j in range(size):
            a, b = i // 2, j // 2
            if a == b:
                rows[i][j] = -1 if i % 2 or j % 2 else 1
                continue
            conference = 1 if a == 0 or b == 0 else legendre(a - b, prime)
            rows[i][j] = -conference if i % 2 and j % 2 else conference
    return rows


def integers(shape: tuple[int, ...], largest: int, dtype: Any) -> Any:
    return np.random.default_rng(4).integers(-largest, largest + 1, shape).astype(dtype)


@pytest.mark.parametrize("size", [*SIZES, *FIRST, *SECOND, 320, 512])
def test_rows_are_orthogonal_exactly(size: int) -> None:
    matrix = hadamard(size).astype(np.int64)
    assert (np.abs(matrix) == 1).all()
    assert (matrix @ matrix.T == size * np.eye(size, dtype=np.int64)).all()


def test_powers_of_two_are_sylvesters() -> None:
    for size in (1, 2, 4, 8, 32, 128):
        assert hadamard(size).tolist() == sylvester(size)


def test_small_matrices_are_paleys() -> None:
    for size, prime in FIRST.items():
        assert hadamard(size).tolist() == paley_first(prime)
    for size, prime in SECOND.items():
        assert hadamard(size).tolist() == paley_second(prime)
    assert hadamard(12)[1].tolist() == [1, 1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1]


def test_others_are_a_paley_matrix_times_sylvesters() -> None:
    assert hadamard(48).tolist() == np.kron(paley_first(11), sylvester(4)).tolist()
    assert hadamard(56).tolist() == np.kron(paley_second(13), sylvester(2)).tolist()
    # 52 = 51 + 1 = 2 (25 + 1) is of no prime, 104 = 103 + 1 is.
    assert hadamard(208).tolist() == np.kron(paley_first(103), sylvester(2)).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [*SIZES, 320])
def test_integers_are_transformed_exactly(size: int, dtype: Any) -> None:
    values = integers((5, size), 100, dtype)
    expected = values.astype(np.int64) @ hadamard(size).T.astype(np.int64)
    rotated = rotate(values)
    assert rotated.dtype == dtype
    assert (rotated == expected.astype(dtype) / dtype(np.sqrt(size))).all()


@pytest.mark.parametrize("seed", [None, 0, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_arrays_are_the_specification_to_the_bit(size: int, dtype: Any, seed: int | None) -> None:
    values = (np.random.default_rng(size).standard_normal((3, size)) * 1e3).astype(dtype)
    values[0, ::2] = -0.0
    expected = np.array([rotate_one(list(row), seed) for row in values], dtype)
    assert rotate(values, seed=seed).tobytes() == expected.tobytes()


def test_python_floats_are_doubles_in_the_specification() -> None:
    values = np.random.default_rng(2).standard_normal(24)
    assert rotate_one(values.tolist(), 3) == rotate(values, seed=3).tolist()


def test_signs_come_from_the_seed_and_the_element() -> None:
    signs = [-1 if random_24(6, i) >= 1 << 23 else 1 for i in range(24)]
    assert {-1, 1} == set(signs)
    values = integers((2, 24), 9, np.float64)
    assert (rotate(values, seed=6) == rotate(values * signs)).all()
    assert (rotate(values, seed=6) != rotate(values, seed=7)).any()
    # Blocks do not repeat their signs.
    blocks = [rotate(values[:, i : i + 8] * signs[i : i + 8]) for i in (0, 8, 16)]
    assert (rotate(values, block=8, seed=6) == np.concatenate(blocks, axis=1)).all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.none() | st.integers(0, 2**40), st.integers(0, 2**32))
def test_the_product_is_kept_within_rounding(size: int, seed: int | None, data: int) -> None:
    generator = np.random.default_rng(data)
    left, right = generator.standard_normal((4, size)), generator.standard_normal((6, size))
    product = rotate(left, seed=seed) @ rotate(right, seed=seed).T
    np.testing.assert_allclose(product, left @ right.T, rtol=0, atol=1e-13 * size)


@pytest.mark.parametrize("block", [1, 4, 12, 24])
def test_blocks_are_rotated_alone_and_keep_the_product(block: int) -> None:
    left, right = integers((2, 3, 24), 50, np.float64), integers((5, 24), 50, np.float64)
    rotated = rotate(left, block=block)
    for start in range(0, 24, block):
        part = slice(start, start + block)
        assert (rotated[..., part] == rotate(left[..., part].copy())).all()
    product = rotated @ rotate(right, block=block).T
    np.testing.assert_allclose(product, left @ right.T, rtol=0, atol=1e-9)


def test_a_whole_block_is_the_whole_axis() -> None:
    values = integers((3, 40), 9, np.float32)
    assert rotate(values, block=40).tobytes() == rotate(values).tobytes()


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("size", [512, 5120])
def test_an_outlier_is_spread_over_all_channels(size: int, seed: int | None) -> None:
    one = np.zeros((1, size))
    one[0, 7] = 3.0
    rotated = rotate(one, seed=seed)
    assert (np.abs(rotated) == 3 / np.sqrt(size)).all()
    values = random_matrix("outlier_channels", 8, size, np.random.default_rng(1))
    peaks = [
        np.abs(each).max() / np.sqrt(np.square(each).mean()) for each in (values, rotate(values))
    ]
    assert peaks[1] < peaks[0] / 3


def test_int4_of_outlier_channels_is_better_after_rotation() -> None:
    values = random_matrix("outlier_channels", 16, 512, np.random.default_rng(1))
    errors = [
        np.square(rtn(each, 4, "token").values() - each).sum()
        for each in (values, rotate(values, seed=2))
    ]
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("size", REAL)
def test_hidden_sizes_of_real_models_are_met(size: int) -> None:
    one = np.zeros(size)
    one[size // 3] = 1
    column = rotate(one)
    assert (np.abs(column) == 1 / np.sqrt(size)).all()


@pytest.mark.parametrize("shape", [(0, 8), (2, 0, 12), (1,), (3, 1)])
def test_nothing_and_one_channel_stay_what_they_are(shape: tuple[int, ...]) -> None:
    values = np.full(shape, 2.5, np.float32)
    assert rotate(values).tolist() == values.tolist()
    assert rotate(values).shape == shape


def test_operands_are_left_as_they_are_and_may_be_strided() -> None:
    values = integers((24, 8), 9, np.float32)
    before = values.copy()
    assert (rotate(values.T, seed=1) == rotate(values.T.copy(), seed=1)).all()
    assert (values == before).all()


TABLE = (
    "sizes are 2^k, or m * 2^k with m <= 512 of Paley (12, 20, 28, 36, 44, 60 ...); the largest "
    "block of a power of two is"
)


@pytest.mark.parametrize(
    ("size", "power"), [(11008, 256), (6, 2), (3, 1), (52, 4), (92 * 11, 4), (516, 4), (4 * 511, 4)]
)
def test_sizes_without_a_matrix_are_refused_with_what_would_do(size: int, power: int) -> None:
    for function, what in ((hadamard, "hadamard"), (rotate_one, "rotate_one"), (rotate, "rotate")):
        operand: Any = {"hadamard": size, "rotate_one": [1.0] * size}.get(what, np.ones((1, size)))
        with pytest.raises(InputError) as refused:
            function(operand)
        words = f"{what}: no Hadamard matrix of size {size} here: {TABLE} {power}"
        assert str(refused.value) == words
    assert rotate(np.ones((1, size)), block=power).shape == (1, size)


@pytest.mark.parametrize(
    ("values", "block", "words"),
    [
        (np.ones((2, 12)), 8, "rotate: a block of 8 does not divide an axis of 12"),
        (np.ones((2, 12)), 0, "rotate: a size must be at least 1, got 0"),
        (np.ones((2, 12)), -4, "rotate: a size must be at least 1, got -4"),
        (np.ones((2, 0)), None, "rotate: a size must be at least 1, got 0"),
        (np.float64(1) * np.ones(()), None, "rotate: values must have at least one axis"),
        (np.ones(4, int), None, "rotate: values must be float16, float32 or float64, got int64"),
        (np.array([1, np.inf]), None, "rotate: 1 of 2 values are NaN or infinite"),
        (np.ones((2, 12)), 2.0, "rotate: a size must be an integer, got 2.0"),
        (
            np.full((1, 8), 3e38, np.float32),
            None,
            "rotate: 4 of 8 sums are beyond float32",
        ),
        (np.full((2, 4), 1.7e308), 2, "rotate: 4 of 8 sums are beyond float64"),
    ],
)
def test_what_cannot_be_rotated_is_refused(values: Any, block: int | None, words: str) -> None:
    with pytest.raises(InputError) as refused:
        rotate(np.asarray(values), block=block)
    assert str(refused.value) == words


def test_a_size_and_a_seed_are_integers() -> None:
    with pytest.raises(InputError, match=r"^hadamard: a size must be an integer, got 1\.5$"):
        hadamard(1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^rotate: seed must be an integer, got 1\.5$"):
        rotate(np.ones(4), seed=1.5)  # type: ignore[arg-type]


def test_lists_small_floats_and_foreign_bytes_are_values_too() -> None:
    values = np.random.default_rng(3).standard_normal((2, 8)).astype(np.float16)
    expected = rotate(values.astype(np.float32))
    for same in (values, values.astype(">f4"), values.astype("<f4")):
        assert rotate(same).tobytes() == expected.tobytes()
    assert rotate(values.tolist()).dtype == np.float64


def test_nothing_has_no_matrix() -> None:
    with pytest.raises(InputError, match=r"^hadamard: a size must be at least 1, got 0$"):
        hadamard(0)
    with pytest.raises(InputError, match=r"^rotate_one: a size must be at least 1, got 0$"):
        rotate_one([])
