"""Do partial sums add up in the stated order, and do narrow accumulators tell of overflows?"""

import ml_dtypes
import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.accumulate import (
    dot_finite,
    dot_ordered,
    gemm_finite,
    gemm_ordered,
    held,
    split_order,
)
from simulator.numerics.exact import gemm_exact
from simulator.numerics.mac_tree import ROUNDED, gemm_tree
from simulator.numerics.word import Tally

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}
KINDS = [(accumulator, stored) for accumulator in ROUNDED for stored in ROUNDED]
ORDERS = {
    "sequential": split_order(8, 1),
    "split": split_order(8, 3),
    "interleaved": split_order(8, 3, interleaved=True),
    "backwards": [[7, 6, 5, 4], [3, 2, 1, 0]],
    "each": split_order(8, 8),
    "more splits than tiles": split_order(8, 12),
}


def values_of(kind: str, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return values of a format, of very different sizes, as float32."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) * 2.0 ** random.integers(-6, 3, shape)
    return values.astype(np.float32).astype(DTYPES[kind]).astype(np.float32)


def test_splits_of_tiles() -> None:
    assert split_order(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert split_order(7, 3, interleaved=True) == [[0, 3, 6], [1, 4], [2, 5]]
    assert split_order(4, 3) == [[0, 1], [2, 3], []]
    assert split_order(0, 2) == [[], []]
    assert split_order(2, 1) == [[0, 1]]


@pytest.mark.parametrize("kinds", KINDS)
def test_256_outputs_equal_the_specification_over_all_of_k(kinds: tuple[str, str]) -> None:
    """FP16 operands and a last tile of 3 values, which comes first."""
    x, w = values_of("fp16", (16, 52), 1), values_of("fp16", (16, 52), 2)
    order = ORDERS["backwards"]
    found = gemm_ordered(x, w, 7, order, kinds)
    assert found.dtype == np.float32
    for m in range(16):
        for n in range(16):
            expected = dot_ordered(x[m].tolist(), w[n].tolist(), 7, order, kinds)
            assert found[m, n] == expected, (m, n)


@pytest.mark.parametrize("kind", ROUNDED)
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_equals_a_loop_of_the_format_itself(order: str, kind: str) -> None:
    """NumPy's float16 and ml_dtypes' bfloat16, one operation at a time."""
    own = "bf16" if kind == "bf16" else "fp16"
    x, w = values_of(own, (2, 61), 3), values_of(own, (40, 61), 4)
    dtype = DTYPES[kind]
    total = np.zeros((2, 40), dtype=dtype)
    for split in ORDERS[order]:
        partial = np.zeros((2, 40), dtype=dtype)
        for tile in split:
            for k in range(8 * tile, min(8 * tile + 8, 61)):
                partial = partial + x[:, k : k + 1].astype(dtype) * w[:, k].astype(dtype)
        total = total + partial
    found = gemm_ordered(x, w, 8, ORDERS[order], (kind, kind))
    assert (found == total.astype(np.float32)).all()


@pytest.mark.parametrize("kind", ROUNDED)
def test_one_split_in_order_is_a_sequential_accumulation(kind: str) -> None:
    x, w = values_of("bf16", (3, 100), 5), values_of("bf16", (9, 100), 6)
    sequential = gemm_tree(x, w, 1, (kind, kind, kind))
    for tile in (1, 9, 100, 1000):
        order = split_order(-(-100 // tile), 1)
        assert (gemm_ordered(x, w, tile, order, (kind, kind)) == sequential).all()


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_any_float32_is_stored_as_its_format_rounds_it(kind: str) -> None:
    """Every upper half with ties and their neighbours: NaN, infinities and subnormals too."""
    low = np.array([0, 1, 0xFFF, 0x1000, 0x1001, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    bits = (np.arange(1 << 16, dtype=np.uint32)[:, None] << 16) | low.astype(np.uint32)
    values = bits.view(np.float32).reshape(-1, 1)
    found = gemm_ordered(np.ones((1, 1), np.float32), values, 1, [[0]], ("fp32", kind))[0]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values[:, 0].astype(DTYPES[kind]).astype(np.float32)
    np.testing.assert_array_equal(found, expected)


def test_more_outputs_than_are_worked_on_together() -> None:
    x, w = values_of("fp16", (2, 9), 7), values_of("fp16", (2051, 9), 8)
    found = gemm_ordered(x, w, 2, [[4, 1], [0, 3, 2]], ("fp16", "fp32"))
    for first, last in ((0, 2040), (2040, 2051)):
        part = gemm_ordered(x, w[first:last], 2, [[4, 1], [0, 3, 2]], ("fp16", "fp32"))
        assert (found[:, first:last] == part).all()


def test_orders_differ_and_a_stored_partial_sum_is_rounded_before_it_is_added() -> None:
    x = np.array([[2048.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    w = np.ones((1, 4), dtype=np.float32)
    kinds = ("fp16", "fp16")
    assert gemm_ordered(x, w, 1, [[0, 1, 2, 3]], kinds)[0, 0] == 2048
    assert gemm_ordered(x, w, 1, [[3, 2, 1, 0]], kinds)[0, 0] == 2052
    assert gemm_ordered(x, w, 2, [[0], [1]], kinds)[0, 0] == 2050
    # In FP32 the first split is 2049, a tie of FP16: stored it is 2048.
    assert gemm_ordered(x, w, 2, [[0], [1]], ("fp32", "fp16"))[0, 0] == 2050
    assert gemm_ordered(x, w, 2, [[0], [1]], ("fp32", "fp32"))[0, 0] == 2051


def test_overflow_is_infinity_and_nan_goes_through() -> None:
    x = np.array([[60_000.0, 60_000.0], [np.nan, 1.0]], dtype=np.float32)
    w = np.ones((1, 2), dtype=np.float32)
    for kinds, expected in ((("fp16", "fp32"), np.inf), (("fp32", "fp16"), np.inf)):
        found = gemm_ordered(x, w, 2, [[0]], kinds)
        assert found[0, 0] == expected
        assert np.isnan(found[1, 0])
    assert gemm_ordered(x, w, 2, [[0]], ("fp32", "fp32"))[0, 0] == 120_000.0


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0), (2, 3, 1)])
def test_empty_and_single_shapes(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x, w = values_of("fp16", (m, k), 7), values_of("fp16", (n, k), 8)
    found = gemm_ordered(x, w, 4, split_order(-(-k // 4), 2), ("fp32", "fp32"))
    assert found.shape == (m, n)
    assert np.allclose(found, x @ w.T, rtol=1e-5)
    sums, overflows = gemm_finite(x.astype(np.int8), w.astype(np.int8), 32, saturate=True)
    assert (sums == gemm_exact(x.astype(np.int8), w.astype(np.int8))).all()
    assert overflows.shape == (m, n)
    assert not overflows.any()


def test_what_an_accumulator_keeps() -> None:
    for total, wrapped, saturated in (
        (7, 7, 7),
        (8, -8, 7),
        (-8, -8, -8),
        (-9, 7, -8),
        (25, -7, 7),
    ):
        assert held(total, 4, saturate=False) == wrapped
        assert held(total, 4, saturate=True) == saturated


def test_a_product_takes_one_multiplication_and_one_addition() -> None:
    for saturate in (False, True):
        tally = Tally()
        x, w = [tally.word(7)] * 5, [tally.word(7)] * 5
        total, overflows = dot_finite(x, w, 8, saturate=saturate)
        assert tally.counts == {"mul": 5, "add": 5} | ({"compare": 10} if saturate else {})
        assert (int(total), overflows) == ((127, 3) if saturate else (245 - 256, 1))


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("bits", [2, 9, 15, 16, 48])
def test_256_finite_outputs_equal_the_specification_over_all_of_k(
    bits: int, saturate: bool
) -> None:
    random = np.random.default_rng(bits)
    x = random.integers(-128, 128, (16, 77), dtype=np.int8)
    w = random.integers(-128, 128, (16, 77), dtype=np.int8)
    sums, overflows = gemm_finite(x, w, bits, saturate=saturate)
    for m in range(16):
        for n in range(16):
            expected = dot_finite(x[m].tolist(), w[n].tolist(), bits, saturate=saturate)
            assert (int(sums[m, n]), int(overflows[m, n])) == expected, (m, n)
    assert overflows.any() == (bits < 48)


@pytest.mark.parametrize("bits", [2, 8, 16, 17, 32, 48])
@pytest.mark.parametrize("kind", ["low", "high", "alternating", "random"])
def test_wrapped_sums_are_exact_ones_modulo_the_width(kind: str, bits: int) -> None:
    """As NumPy's integers wrap; and where nothing overflows both kinds of accumulator are exact."""
    random = np.random.default_rng(bits)
    w = random.integers(-128, 128, (5, 600), dtype=np.int8)
    if kind != "random":
        w[:] = -128 if kind == "low" else 127
    if kind == "alternating":
        w[:, ::2] = -128
    x = np.full((2, 600), -128, dtype=np.int8)
    exact = gemm_exact(x, w)
    limit = 2 ** (bits - 1)
    wrapped, overflows = gemm_finite(x, w, bits, saturate=False)
    assert (wrapped == (exact + limit) % (2 * limit) - limit).all()
    if bits == 16:
        assert (wrapped == exact.astype(np.int16)).all()
    saturated, clamped = gemm_finite(x, w, bits, saturate=True)
    assert ((overflows == 0) == (clamped == 0)).all()
    assert (saturated == exact)[clamped == 0].all()
    assert -limit <= saturated.min() <= saturated.max() < limit
    assert bits < 32 or not overflows.any()


def test_a_saturated_sum_depends_on_the_order_and_counts_each_addition() -> None:
    x = np.array([[100, 100, -100], [-100, 100, 100], [-128, -128, -128]], dtype=np.int8)
    w = np.ones((1, 3), dtype=np.int8)
    sums, overflows = gemm_finite(x, w, 8, saturate=True)
    assert sums[:, 0].tolist() == [27, 100, -128]
    assert overflows[:, 0].tolist() == [1, 0, 2]
    sums, overflows = gemm_finite(x, w, 8, saturate=False)
    assert sums[:, 0].tolist() == [100, 100, -128]
    assert overflows[:, 0].tolist() == [2, 0, 1]


def test_the_widest_operands_do_not_overflow_the_kernel_itself() -> None:
    x = np.full((1, 3), -(2**31), dtype=np.int64)
    sums, overflows = gemm_finite(x, x, 48, saturate=True)
    assert (sums[0, 0], overflows[0, 0]) == (2**47 - 1, 3)


X = np.zeros((2, 8), np.float32)


@pytest.mark.parametrize(
    ("x", "tile", "order", "kinds", "message"),
    [
        (X.astype(np.float64), 4, [[0, 1]], KINDS[0], "activations: expected float32, got float64"),
        (X[:, :7], 4, [[0, 1]], KINDS[0], "expected activations (M, K) and weights (N, K), got "
         "shapes (2, 7) and (2, 8)"),
        (X, 4, [[0, 1]], ("fp17", "fp16"), "unknown accumulator 'fp17'; did you mean 'fp16'?"),
        (X, 4, [[0, 1]], ("fp16", "quad"), "unknown accumulator 'quad'; known: fp16, bf16, fp32"),
        (X + np.float32(1 + 2**-12), 4, [[0, 1]], ("bf16", "fp32"),
         "activations: bf16 products are of values of at most 12 significant bits"),
        (X, 0, [[0, 1]], KINDS[0], "tile must be >= 1, got 0"),
        (X, 4, [[0, 1, 2]], KINDS[0], "order: each tile of 0 to 1 must stand in it once"),
        (X, 4, [[0], [0, 1]], KINDS[0], "order: each tile of 0 to 1 must stand in it once"),
        (X, 4, [[1]], KINDS[0], "order: each tile of 0 to 1 must stand in it once"),
    ],
)  # fmt: skip
def test_what_is_refused(
    x: np.ndarray, tile: int, order: list[list[int]], kinds: tuple[str, str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        gemm_ordered(x, X, tile, order, kinds)
    assert str(error.value) == message


def test_values_of_12_bits_and_more_precise_ones_in_fp32_pass() -> None:
    order = [[0, 1]]
    assert gemm_ordered(X + np.float32(1 + 2**-11), X, 4, order, ("fp16", "fp16")).shape == (2, 2)
    assert gemm_ordered(X + np.float32(1 + 2**-23), X, 4, order, ("fp32", "fp16")).shape == (2, 2)


def test_widths_and_integers_that_are_refused() -> None:
    x = np.zeros((2, 8), np.int64)
    for bits in (1, 49):
        with pytest.raises(InputError) as error:
            gemm_finite(x, x, bits, saturate=True)
        assert str(error.value) == f"bits must be 2 to 48, got {bits}"
    for value in (2**31, -(2**31) - 1):
        with pytest.raises(InputError) as error:
            gemm_finite(x, x + value, 8, saturate=True)
        assert str(error.value) == "weights: must fit into 32 bits"
    with pytest.raises(InputError) as error:
        gemm_finite(x.astype(np.float64), x, 8, saturate=True)
    assert str(error.value) == "activations: expected integers, got float64"
    with pytest.raises(InputError) as error:
        split_order(3, 0)
    assert str(error.value) == "splits must be >= 1 and tiles >= 0, got 0 and 3"
