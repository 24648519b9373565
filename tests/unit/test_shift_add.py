"""Do products by shift and add equal products, and say what they do?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.exact import block_length, gemm_exact
from simulator.numerics.shift_add import gemm_w4a8, product_w4a8, product_w4a16
from simulator.numerics.word import Tally

INT4, INT8 = range(-8, 8), range(-128, 128)


def test_every_int4_times_every_int8_is_exact() -> None:
    """All 4,096 pairs."""
    assert all(product_w4a8(w, x) == w * x for w in INT4 for x in INT8)


def test_a_product_and_a_group_sum_take_the_bits_that_are_stated() -> None:
    largest = max(abs(product_w4a8(w, x)) for w in INT4 for x in INT8)
    assert 2**10 <= largest < 2**11
    assert 2**17 <= 128 * largest < 2**18


def test_what_a_product_does_does_not_depend_on_its_data() -> None:
    """Four masks, three shifts (wires), three additions: never a multiplication."""
    for w, x in ((0, 0), (-1, -128), (7, 127), (-8, 1)):
        tally = Tally()
        product_w4a8(tally.word(w), tally.word(x))
        assert tally.counts == {"mask": 4, "shift": 3, "add": 3}


SHAPES = [(1, 1, 1), (3, 5, 7), (2, 128, 129), (16, 33, 300), (1, 4, 0), (0, 4, 8), (4, 0, 8)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_integer_products_on_any_shape(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    random = np.random.default_rng(sum(shape))
    x = random.integers(-128, 128, (m, k), dtype=np.int8)
    w = random.integers(-8, 8, (n, k), dtype=np.int8)
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    found = gemm_w4a8(x, w)
    assert found.dtype == np.int32
    assert (found == expected).all()
    assert (gemm_exact(x, w) == expected).all()


@pytest.mark.parametrize("weight", [-8, 7, -1, 0])
@pytest.mark.parametrize("activation", [-128, 127])
def test_the_kernel_is_exact_at_the_ends(weight: int, activation: int) -> None:
    """Largest sums of 4,096 products, equal signs and alternating ones."""
    x = np.full((2, 4096), activation, dtype=np.int8)
    x[1, ::2] = -1
    w = np.full((3, 4096), weight, dtype=np.int8)
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    assert (gemm_w4a8(x, w) == expected).all()
    assert (gemm_exact(x, w) == expected).all()


def test_256_outputs_equal_the_specification_over_all_of_k() -> None:
    random = np.random.default_rng(3)
    x = random.integers(-128, 128, (16, 300), dtype=np.int8)
    w = random.integers(-8, 8, (16, 300), dtype=np.int8)
    found = gemm_w4a8(x, w)
    for m in range(16):
        for n in range(16):
            products = (product_w4a8(int(a), int(b)) for a, b in zip(w[n], x[m], strict=True))
            assert found[m, n] == sum(int(p) for p in products)


@given(st.integers(1, 40), st.integers(1, 3), st.data())
@settings(max_examples=50)
def test_exact_products_of_wide_integers(k: int, scale: int, data: st.DataObject) -> None:
    """Blocks of K get short as operands get wide; beyond 24 bits of a product there is none."""
    bound = (2**7, 2**11, 2**14)[scale - 1]
    values = st.lists(st.integers(-bound, bound), min_size=k, max_size=k)
    x = np.array([data.draw(values), data.draw(values)], dtype=np.int32)
    w = np.array([data.draw(values)], dtype=np.int32)
    expected = [[sum(int(a) * int(b) for a, b in zip(row, w[0], strict=True))] for row in x]
    assert gemm_exact(x, w).tolist() == expected


def test_blocks_are_as_long_as_float32_is_exact() -> None:
    full = np.array([[-128]], dtype=np.int8)
    assert block_length(full, np.array([[-8]], dtype=np.int8)) == 2**24 // 1024
    assert block_length(full, full) == 1024
    wide = np.array([[2**20]], dtype=np.int32)
    assert block_length(wide, wide) == 0
    assert gemm_exact(wide, wide).tolist() == [[2**40]]


def test_w4a16_rounds_once_or_in_a_chain() -> None:
    """Golden identity 2b: some 12 % of random pairs differ, by at most 4.3e-3."""
    random = np.random.default_rng(0)
    weights = random.integers(-8, 8, 20_000)
    values = random.standard_normal(20_000).astype(np.float16)
    differ, worst = 0, 0.0
    for w, x in zip(weights.tolist(), values.tolist(), strict=True):
        once, chain = (product_w4a16(w, x, chain=c) for c in (False, True))
        assert once == float(np.float16(Fraction(w) * Fraction(x)))
        differ += once != chain
        worst = max(worst, abs(chain - once) / abs(once) if once else 0.0)
    assert 0.10 < differ / 20_000 < 0.14
    assert worst < 4.4e-3


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (
            np.zeros((2, 3), np.float32),
            np.zeros((2, 3), np.int8),
            "activations: expected int8, got float32",
        ),
        (
            np.zeros((2, 3), np.int8),
            np.zeros((2, 4), np.int8),
            "expected activations (M, K) and weights (N, K), got shapes (2, 3) and (2, 4)",
        ),
        (np.zeros((2, 3), np.int8), np.full((2, 3), 8, np.int8), "weights: must be -8 to 7"),
    ],
)  # fmt: skip
def test_operands_that_are_refused(x: np.ndarray, w: np.ndarray, message: str) -> None:
    with pytest.raises(InputError) as error:
        gemm_w4a8(x, w)
    assert str(error.value) == message


def test_exact_products_are_of_integers() -> None:
    with pytest.raises(InputError) as error:
        gemm_exact(np.zeros((2, 8)), np.zeros((3, 8), np.int8))
    assert str(error.value) == "activations: expected integers, got float64"
