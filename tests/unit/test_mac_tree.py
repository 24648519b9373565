"""Do MAC trees round where and how the specification does?"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.mac_tree import ROUNDED, Bank, dot_tree, gemm_tree, rounded_one

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}
SAME = [(kind, kind, kind) for kind in ROUNDED]
MIXED = [("fp16", "fp32", "fp32"), ("bf16", "bf16", "fp32"), ("fp16", "fp16", "fp32")]


@given(st.floats(allow_nan=False, width=64))
@settings(max_examples=300)
def test_one_rounding_to_fp16_is_that_of_numpy(value: float) -> None:
    with np.errstate(over="ignore"):
        assert rounded_one(value, "fp16") == np.float32(np.float16(value))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@settings(max_examples=300)
def test_one_rounding_to_bf16_is_that_of_ml_dtypes(value: float) -> None:
    """From float32, which ml_dtypes rounds once."""
    expected = np.float32(np.float32(value).astype(ml_dtypes.bfloat16))
    assert rounded_one(value, "bf16") == expected


def test_bf16_is_rounded_once_from_float64() -> None:
    """Just above a tie: in float32 it is the tie, which would go down to even."""
    above = 1.0 + 2.0**-8 + 2.0**-40
    assert rounded_one(above, "bf16") == np.float32(1.0 + 2.0**-7)
    assert rounded_one(1.0 + 2.0**-8, "bf16") == np.float32(1.0)


def random_values(kind: str, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return values of a format, of very different sizes, as float32."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) * 2.0 ** random.integers(-6, 3, shape)
    return values.astype(np.float32).astype(DTYPES[kind]).astype(np.float32)


@pytest.mark.parametrize("kinds", SAME + MIXED)
@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_256_outputs_equal_the_specification_over_all_of_k(
    kinds: tuple[str, str, str], lanes: int
) -> None:
    x, w = random_values("fp16", (16, 100), 1), random_values("fp16", (16, 100), 2)
    found = gemm_tree(x, w, lanes, kinds)
    for m in range(16):
        for n in range(16):
            assert found[m, n] == dot_tree(x[m], w[n], lanes, kinds), (m, n)


def test_more_outputs_than_are_worked_on_together() -> None:
    x, w = random_values("fp16", (2, 9), 1), random_values("fp16", (1100, 9), 2)
    kinds = ("fp16", "fp16", "fp32")
    found = gemm_tree(x, w, 4, kinds)
    for n in (0, 511, 512, 1023, 1024, 1099):
        assert [found[m, n] for m in range(2)] == [dot_tree(x[m], w[n], 4, kinds) for m in range(2)]


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_a_sequential_accumulation_equals_a_loop_of_the_format_itself(kind: str) -> None:
    """NumPy's float16 and ml_dtypes' bfloat16, one operation at a time."""
    x, w = random_values(kind, (3, 200), 3), random_values(kind, (40, 200), 4)
    dtype = DTYPES[kind]
    total = np.zeros((3, 40), dtype=dtype)
    for k in range(200):
        products = x[:, k : k + 1].astype(dtype) * w[:, k].astype(dtype)
        total = total + products
    assert (gemm_tree(x, w, 1, (kind, kind, kind)) == total.astype(np.float32)).all()


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_a_tree_equals_a_tree_of_the_format_itself(kind: str) -> None:
    x, w = random_values(kind, (2, 160), 5), random_values(kind, (70, 160), 6)
    dtype = DTYPES[kind]
    total = np.zeros((2, 70), dtype=dtype)
    for start in range(0, 160, 16):
        left = x[:, None, start : start + 16].astype(dtype)
        level = left * w[None, :, start : start + 16].astype(dtype)
        while level.shape[-1] > 1:
            level = level[..., ::2] + level[..., 1::2]
        total = total + level[..., 0]
    assert (gemm_tree(x, w, 16, (kind, kind, kind)) == total.astype(np.float32)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 65, 17), (3, 64, 64), (2, 130, 100)])
@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_bursts_of_16_equal_those_of_the_format_with_specials_and_subnormals(
    kind: str, shape: tuple[int, int, int]
) -> None:
    m, n, k = shape
    random, dtype = np.random.default_rng(9), DTYPES[kind]
    x, w = random_values(kind, (m, k), 10), random_values(kind, (n, k), 11)
    w *= np.float32(2.0) ** random.choice([-12, 0, 11], (n, 1)).astype(np.float32)
    w[n // 2 :, 0] = random.choice(np.array([np.nan, np.inf, -np.inf, -0.0]), n - n // 2)
    # A NaN of which float32 keeps every bit: a carry out of it would be a number.
    w.view(np.uint32)[-1, -1] = 0x7FFFFFFF
    w = np.where(np.isnan(w), w, w.astype(dtype).astype(np.float32))
    left, right = (np.pad(one, ((0, 0), (0, -k % 16))).astype(dtype) for one in (x, w))
    total = np.zeros((m, n), dtype=dtype)
    with np.errstate(all="ignore"):
        for start in range(0, left.shape[1], 16):
            level = left[:, None, start : start + 16] * right[None, :, start : start + 16]
            while level.shape[-1] > 1:
                level = level[..., ::2] + level[..., 1::2]
            total = total + level[..., 0]
    found = gemm_tree(x, w, 16, (kind, kind, kind))
    assert found.shape == (m, n)
    np.testing.assert_array_equal(found, total.astype(np.float32))


def test_overflow_is_infinity_and_specials_go_through() -> None:
    x = np.array([[60_000.0, 60_000.0], [np.inf, 1.0], [np.nan, 1.0]], dtype=np.float32)
    w = np.ones((1, 2), dtype=np.float32)
    found = gemm_tree(x, w, 1, ("fp16", "fp16", "fp16"))
    assert found[0, 0] == found[1, 0] == np.inf
    assert np.isnan(found[2, 0])
    assert gemm_tree(x[:1], w, 1, ("fp32", "fp32", "fp32"))[0, 0] == 120_000.0


@pytest.mark.parametrize("lanes", [4, 16])
def test_a_sum_halfway_to_65536_is_infinite_before_it_is_added_to(lanes: int) -> None:
    x = np.array([[65504.0, 16.0, -65504.0, 0.0]], dtype=np.float32)
    ones = np.ones((1, 4), dtype=np.float32)
    assert gemm_tree(x, ones, lanes, ("fp16", "fp16", "fp16"))[0, 0] == np.inf


def test_subnormals_of_fp16_are_kept() -> None:
    least = np.float32(2.0**-24)
    x, w = np.array([[least, least]], dtype=np.float32), np.array([[0.5, 1.5]], dtype=np.float32)
    # 0.5 and 1.5 of the least subnormal are ties: to 0 and to 2 of it.
    assert gemm_tree(x, w, 1, ("fp16", "fp16", "fp16"))[0, 0] == 2 * least


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0), (1, 65, 17), (2, 130, 1)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x, w = random_values("fp16", (m, k), 7), random_values("fp16", (n, k), 8)
    found = gemm_tree(x, w, 16, ("fp32", "fp32", "fp32"))
    assert found.shape == (m, n)
    assert np.allclose(found, x @ w.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("lanes", "kinds", "message"),
    [
        (3, SAME[0], "lanes must be a power of two from 1 to 64, got 3"),
        (4, ("fp16", "fp17", "fp32"), "unknown accumulator 'fp17'; did you mean 'fp16'?"),
        (1, ("fp16", "fp16", "bf16"), "sums of fp16 values would round twice to bf16"),
        (1, ("fp32", "fp32", "fp16"), "sums of fp32 values would round twice to fp16"),
    ],
)
def test_what_is_refused(lanes: int, kinds: tuple[str, str, str], message: str) -> None:
    x = np.zeros((1, 4), dtype=np.float32)
    with pytest.raises(InputError) as error:
        gemm_tree(x, x, lanes, kinds)
    assert str(error.value) == message
    with pytest.raises(InputError) as error:
        gemm_tree(x.astype(np.float64), x, 4, SAME[0])
    assert str(error.value) == "activations: expected float32, got float64"


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_values_that_would_round_twice_are_refused(kind: str) -> None:
    fine, precise = (np.full((1, 4), 1 + 2.0**-each, np.float32) for each in (11, 12))
    assert gemm_tree(precise, precise, 4, ("fp32", "fp32", "fp32")).shape == (1, 1)
    for lanes in (4, 16):
        kinds = (kind, kind, kind)
        assert gemm_tree(fine, fine, lanes, kinds) == dot_tree(fine[0], fine[0], lanes, kinds)
        with pytest.raises(InputError) as error:
            gemm_tree(fine, precise, lanes, kinds)
        message = f"weights: {kind} products are of values of at most 12 significant bits"
        assert str(error.value) == message


@pytest.mark.parametrize(("kind", "bits"), [("fp16", 12), ("bf16", 8)])
def test_a_bank_holds_values_of_its_kind(kind: str, bits: int) -> None:
    fine, precise = (np.full((1, 4), 1 + 2.0**-each, np.float32) for each in (bits - 1, bits))
    bank = Bank.of(fine, kind)
    words = f"{kind} products are of values of at most {bits} significant bits"
    with pytest.raises(InputError) as error:
        Bank.of(precise, kind)
    assert str(error.value) == f"weights: {words}"
    with pytest.raises(InputError) as error:
        gemm_tree(precise, bank, 16, (kind, kind, kind))
    assert str(error.value) == f"activations: {words}"


def test_long_values_with_subnormal_products_are_refused_for_bf16() -> None:
    x, w = (np.full((1, 1), size, np.float32) for size in ((1 + 2.0**-8) * 2.0**-64, 2.0**-62))
    bf16 = ("bf16", "bf16", "bf16")
    assert gemm_tree(x, w, 1, bf16)[0, 0] == rounded_one(float(x[0, 0]) * float(w[0, 0]), "bf16")
    with pytest.raises(InputError) as error:
        gemm_tree(x, w / 2, 1, bf16)
    assert str(error.value) == (
        "bf16 products below 2^-126 are of values of at most 8 significant bits"
    )


def test_products_of_bf16_in_the_carriers_subnormals_round_once() -> None:
    """Just above half of the least BF16: in float32 all 16 bits of the product are there."""
    x, w = np.float32(255 * 2.0**-75), np.float32(129 * 2.0**-74)
    exact = float(x) * float(w)
    assert 2.0**-135 < exact < 2.0**-133
    found = gemm_tree(x.reshape(1, 1), w.reshape(1, 1), 1, ("bf16", "bf16", "bf16"))
    assert found[0, 0] == rounded_one(exact, "bf16") == np.float32(2.0**-133)


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
@pytest.mark.parametrize("shape", [(3, 5, 40), (1, 130, 64), (2, 64, 200), (2, 0, 8), (0, 3, 8)])
def test_a_bank_serves_any_activations(kind: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    w = random_values(kind, (n, k), 3)
    bank, kinds = Bank.of(w, kind), (kind, kind, kind)
    for seed in (4, 5):
        x = random_values(kind, (m, k), seed)
        found = gemm_tree(x, bank, 16, kinds)
        assert found.tobytes() == gemm_tree(x, w, 16, kinds).tobytes()
        assert found.shape == (m, n)


def test_what_a_bank_refuses() -> None:
    x = np.zeros((2, 8), np.float32)
    bank = Bank.of(x, "fp16")
    wrong = [
        (lambda: Bank.of(x, "fp32"), "unknown accumulator 'fp32'; known: fp16, bf16"),
        (lambda: Bank.of(x[0], "fp16"), "weights: expected (N, K), got shape (8,)"),
        (lambda: Bank.of(x.astype(int), "fp16"), "weights: expected float32, got int64"),
        (
            lambda: gemm_tree(x, bank, 8, ("fp16", "fp16", "fp16")),
            "this Bank is for 16 lanes of fp16, got 8 of fp16, fp16, fp16",
        ),
        (
            lambda: gemm_tree(x, bank, 16, ("fp16", "fp16", "fp32")),
            "this Bank is for 16 lanes of fp16, got 16 of fp16, fp16, fp32",
        ),
        (
            lambda: gemm_tree(x[:, :7], bank, 16, ("fp16", "fp16", "fp16")),
            "activations: expected (M, 8), got shape (2, 7)",
        ),
    ]
    for work, message in wrong:
        with pytest.raises(InputError) as error:
            work()
        assert str(error.value) == message
