"""Do MAC trees round where and how the specification does?"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.mac_tree import ROUNDED, dot_tree, gemm_tree, rounded_one

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


def test_overflow_is_infinity_and_specials_go_through() -> None:
    x = np.array([[60_000.0, 60_000.0], [np.inf, 1.0], [np.nan, 1.0]], dtype=np.float32)
    w = np.ones((1, 2), dtype=np.float32)
    found = gemm_tree(x, w, 1, ("fp16", "fp16", "fp16"))
    assert found[0, 0] == found[1, 0] == np.inf
    assert np.isnan(found[2, 0])
    assert gemm_tree(x[:1], w, 1, ("fp32", "fp32", "fp32"))[0, 0] == 120_000.0


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


def test_values_that_would_round_twice_are_refused() -> None:
    fine, precise = np.full((1, 4), 1 + 2.0**-11), np.full((1, 4), 1 + 2.0**-12)
    x, w = fine.astype(np.float32), precise.astype(np.float32)
    assert gemm_tree(w, w, 4, ("fp32", "fp32", "fp32")).shape == (1, 1)
    assert gemm_tree(x, x, 4, ("bf16", "bf16", "bf16"))[0, 0] == 4
    with pytest.raises(InputError) as error:
        gemm_tree(x, w, 4, ("bf16", "bf16", "bf16"))
    assert str(error.value) == "weights: bf16 products are of values of at most 12 significant bits"
