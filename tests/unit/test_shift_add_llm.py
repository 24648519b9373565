"""Do look-ups of eight activations' sums, shifted by alphas, equal products?"""

from itertools import product

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.binary_coded import BinaryCoded, decode, fit, terms_of
from simulator.numerics.exact import gemm_exact
from simulator.numerics.shift_add_llm import (
    ENTRIES,
    dot_floats,
    dot_integers,
    gemm_floats,
    gemm_integers,
    table_of,
)
from simulator.numerics.word import Tally

#: Of (M, N, K), the values in a group, planes.
CASES = [
    (1, 1, 1, 1, 1),
    (3, 5, 24, 8, 3),
    (16, 17, 60, 12, 3),
    (16, 16, 256, 128, 4),
    (2, 65, 39, 13, 8),
    (2, 3, 0, 8, 2),
    (0, 3, 16, 8, 2),
    (2, 0, 16, 8, 2),
]


def weights_of(n: int, k: int, count: int, planes: int, seed: int = 0) -> BinaryCoded:
    """Return random signs and alphas of powers of two, some of them 0."""
    random = np.random.default_rng(seed)
    groups = n * k // count
    alphas = np.ldexp(1.0, random.integers(-9, 4, (groups, planes)))
    alphas[random.random(alphas.shape) < 0.1] = 0.0
    bits = random.integers(0, 2, (groups, planes, count), dtype=np.uint8)
    return BinaryCoded(alphas, np.packbits(bits, axis=-1), count)


def integer_weights(coded: BinaryCoded, n: int, k: int, exponent: int) -> np.ndarray:
    """Return the weights (N, K) in units of 2^exponent, as integers."""
    return np.ldexp(decode(coded), -exponent).astype(np.int64).reshape(n, k)


def test_a_table_holds_every_signed_sum_at_its_address() -> None:
    """The first activation has the most significant bit, as bytes of signs have."""
    values = [3**place for place in range(8)]
    table = table_of(values)
    assert len(table) == ENTRIES == 256
    for address, signs in enumerate(product((-1, 1), repeat=8)):
        assert table[address] == sum(s * v for s, v in zip(signs, values, strict=True))


def test_a_byte_of_signs_takes_one_look_up_one_shift_and_one_addition() -> None:
    """The table: 2 + 4 + ... + 256 additions, whatever the planes and the data."""
    for planes, address in ((1, 0), (3, 255), (4, 90)):
        tally = Tally()
        words = [tally.word(value) for value in range(16)]
        dot_integers(words, [[address, address]] * planes, [2] * planes)
        assert tally.counts == {
            "add": 2 * (510 + planes),
            "look_up": 2 * planes,
            "shift": 2 * planes,
            "pass": 2 * planes,
        }


@pytest.mark.parametrize("case", CASES)
def test_integers_are_exact_on_any_shape(case: tuple[int, int, int, int, int]) -> None:
    m, n, k, count, planes = case
    coded = weights_of(n, k, count, planes, seed=k)
    x = np.random.default_rng(m).integers(-128, 128, (m, k), dtype=np.int8)
    found, exponent = gemm_integers(x, coded, n)
    assert found.shape == (m, n)
    assert found.dtype == np.int64
    used = coded.alphas[coded.alphas != 0]
    assert 2.0**exponent == (used.min() if used.size else 1.0)
    assert (found == gemm_exact(x, integer_weights(coded, n, k, exponent))).all()


@pytest.mark.parametrize("values", [(-128, -128), (127, 127), (-128, 127)])
@pytest.mark.parametrize("byte", [0, 255, 170])
def test_integers_are_exact_at_the_ends(values: tuple[int, int], byte: int) -> None:
    x = np.resize(np.array(values, dtype=np.int8), (2, 512))
    signs = np.full((12, 2, 16), byte, dtype=np.uint8)
    coded = BinaryCoded(np.tile([1.0, 2.0**20], (12, 1)), signs, 128)
    found, exponent = gemm_integers(x, coded, 3)
    assert (found == gemm_exact(x, integer_weights(coded, 3, 512, exponent))).all()
    if byte == 255:
        assert found[0, 0] == int(x[0].astype(np.int64).sum()) * (1 + 2**20)


def test_256_outputs_equal_the_specification_of_integers_over_all_of_k() -> None:
    n, k, count = 16, 60, 12
    coded = weights_of(n, k, count, 3, seed=5)
    x = np.random.default_rng(6).integers(-32768, 32768, (16, k), dtype=np.int16)
    found, exponent = gemm_integers(x, coded, n)
    for m in range(16):
        for row in range(n):
            total = 0
            for place in range(k // count):
                group = row * (k // count) + place
                values = [int(v) for v in x[m, place * count : (place + 1) * count]] + [0] * 4
                used = [p for p in range(3) if coded.alphas[group, p]]
                shifts = [int(np.frexp(coded.alphas[group, p])[1]) - 1 - exponent for p in used]
                patterns = [coded.signs[group, p].tolist() for p in used]
                total += int(dot_integers(values, patterns, shifts))
            assert found[m, row] == total, (m, row)


def fp16_values(m: int, k: int) -> np.ndarray:
    """Return FP16 values of very different sizes, as float32."""
    random = np.random.default_rng(k)
    values = random.standard_normal((m, k)) * 2.0 ** random.integers(-12, 9, (m, k))
    return values.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_specification_of_floats_over_all_of_k(
    case: tuple[int, int, int, int, int],
) -> None:
    """256 of them in the largest case; none of a table's or a sum's additions is exact."""
    m, n, k, count, planes = case
    coded = weights_of(n, k, count, planes, seed=k)
    x = fp16_values(m, k)
    found = gemm_floats(x, coded, n)
    assert found.shape == (m, n)
    assert found.dtype == np.float32
    exact = x.astype(np.float64) @ decode(coded).reshape(n, k).T
    each = k // count
    alphas = coded.alphas.sum(axis=1).repeat(count).reshape(n, k)
    additions = 8 + each * -(-count // 8) * planes
    size = np.abs(x).astype(np.float64) @ alphas.T
    assert (np.abs(found - exact) <= additions * 2.0**-24 * size).all()
    for i in range(m):
        for j in range(min(n, 16)):
            groups = range(j * each, (j + 1) * each)
            assert found[i, j] == dot_floats(list(x[i]), coded, groups), (i, j)


def test_float_sums_round_in_the_stated_order() -> None:
    """From the first activation on; look-ups by tables, then planes."""
    half = np.float32(2.0**-24)
    one = BinaryCoded(np.array([[1.0]]), np.array([[[0xFF]]], np.uint8), 3)
    assert gemm_floats(np.array([[1.0, half, half]], np.float32), one, 1)[0, 0] == 1.0
    assert gemm_floats(np.array([[half, half, 1.0]], np.float32), one, 1)[0, 0] == 1 + 2 * half
    # Tables of 1 and 2^-24, alphas 1 and 1: (1 + 1) + 2^-24 + 2^-24, each lost; by planes as well,
    # but the other way round 2^-24 x 2 is added up first and kept.
    two = BinaryCoded(np.array([[1.0, 1.0]]), np.full((1, 2, 2), 0xFF, np.uint8), 16)
    x = np.zeros((2, 16), np.float32)
    x[0, 0], x[0, 8] = 1.0, 2 * half
    x[1, 0], x[1, 8] = 2 * half, 1.0
    assert gemm_floats(x, two, 1).tolist() == [[2.0], [2.0 + 4 * float(half)]]


def test_integers_in_floats_are_exact_and_weights_come_from_a_fit() -> None:
    random = np.random.default_rng(9)
    coded = fit(random.standard_normal((20 * 4, 32)), 3, terms=1)
    x = random.integers(-15, 16, (4, 128))
    found = gemm_floats(x.astype(np.float32), coded, 20)
    sums, exponent = gemm_integers(x, coded, 20)
    assert (found == np.ldexp(sums.astype(np.float64), exponent)).all()


def test_nan_goes_through_to_its_row() -> None:
    x = np.ones((2, 16), np.float32)
    x[0, 3] = np.nan
    found = gemm_floats(x, weights_of(3, 16, 8, 2), 3)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


X = np.zeros((2, 16), np.int8)
CODED = weights_of(3, 16, 8, 2, seed=1)


def with_alpha(alpha: float) -> BinaryCoded:
    return BinaryCoded(np.full((6, 2), alpha), np.zeros((6, 2, 1), np.uint8), 8)


@pytest.mark.parametrize(
    ("x", "coded", "outputs", "message"),
    [
        (X, with_alpha(0.75), 3, "alphas: must be powers of two or 0, 12 are not"),
        (X, with_alpha(-0.5), 3, "alphas: must be powers of two or 0, 12 are not"),
        (X, CODED, 4, "expected 8 groups of weights, got 6"),
        (X, CODED, -1, "outputs must be >= 0, got -1"),
        (X[:, :12], CODED, 3, "K: groups of 8 do not divide 12"),
        (X[0], CODED, 3, "expected activations (M, K), got shape (16,)"),
    ],
)
def test_what_is_refused(x: np.ndarray, coded: BinaryCoded, outputs: int, message: str) -> None:
    with pytest.raises(InputError) as error:
        gemm_integers(x, coded, outputs)
    assert str(error.value).splitlines()[0] == message
    with pytest.raises(InputError) as error:
        gemm_floats(x.astype(np.float32), coded, outputs)
    assert str(error.value).splitlines()[0] == message


def test_operands_and_sums_that_are_refused() -> None:
    with pytest.raises(InputError) as error:
        gemm_integers(X.astype(np.float32), CODED, 3)
    assert str(error.value) == "activations: expected integers, got float32"
    with pytest.raises(InputError) as error:
        gemm_floats(X, CODED, 3)
    assert str(error.value) == "activations: expected float32, got int8"
    for alpha in (2.0**-65, 2.0**65):
        with pytest.raises(InputError) as error:
            gemm_floats(X.astype(np.float32), with_alpha(alpha), 3)
        assert str(error.value) == "alphas: must be 2^-64 to 2^64 or 0, 12 are not"
    wide = BinaryCoded(np.array([[1.0, 2.0**50]]), np.zeros((1, 2, 1), np.uint8), 8)
    full = np.full((1, 8), 2**8, np.int64)
    assert gemm_integers(full, wide, 1)[0].tolist() == [[-(2**11) - 2**61]]
    with pytest.raises(InputError) as error:
        gemm_integers(full * 2, wide, 1)
    assert str(error.value) == "K: sums of products do not fit into 64 bits"


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("count", [4, 12, 16, 30])
def test_terms_shift_and_add_the_entry_one_after_the_other(size: int, count: int) -> None:
    groups = 3
    coded = fit(np.random.default_rng(1).standard_normal((5 * groups, count)), 3, terms=3)
    terms = terms_of(coded.alphas, 3)
    x = fp16_values(4, groups * count)
    found = gemm_floats(x, coded, 5, terms, size)
    for m in range(4):
        for n in range(5):
            own = range(n * groups, (n + 1) * groups)
            assert found[m, n] == dot_floats(list(x[m]), coded, own, terms, size=size)
    exact = x.astype(np.float64) @ decode(coded).reshape(5, -1).T
    assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()


def test_an_entry_is_looked_up_once_and_shifted_and_added_once_a_term() -> None:
    for size, additions in ((8, 509), (4, 29)):
        tally, coded = Tally(), BinaryCoded(np.full((1, 2), 3.0), np.zeros((1, 2, 1), np.uint8), 8)
        ones = [tally.real(np.float32(1))] * 8
        dot_floats(ones, coded, [0], np.ones((1, 2, 3)), tally.real(np.float32(0)), size)
        tables = 8 // size
        assert tally.counts == {
            "look_up": 2 * tables,
            "pass": 2 * tables,
            "scale fp32": 6 * tables,
            "add fp32": (additions + 6) * tables,
        }
        assert tally.sizes == {("look_up", (32, 1 << size)): 2 * tables}


def test_terms_that_are_refused() -> None:
    x, coded = X.astype(np.float32), with_alpha(0.75)
    for terms, message in (
        (np.full((6, 2, 2), 0.375), "alphas: must be powers of two or 0, 24 are not"),
        (np.full((6, 2, 2), 0.5), "terms: must add up to alphas"),
    ):
        with pytest.raises(InputError) as error:
            gemm_floats(x, coded, 3, terms)
        assert str(error.value) == message
