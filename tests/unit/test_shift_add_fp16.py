"""Do INT4 x FP16 products round as stated, and do groups of them add up in order?"""

from fractions import Fraction

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.shift_add import product_w4a8, product_w4a16
from simulator.numerics.shift_add_fp16 import (
    ACCUMULATORS,
    dot_group,
    dot_w4a16,
    gemm_w4a16,
    product_exact,
    significand_of,
    sum_group,
)
from simulator.numerics.word import Tally

ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
INT4 = np.arange(-8, 8, dtype=np.int8)


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    """Compare values: NaN equals NaN, and the zeros of both signs are one."""
    return np.array_equal(found.astype(np.float64), expected.astype(np.float64), equal_nan=True)


def by_kernel(chain: bool) -> np.ndarray:
    """Return all products, (activations, weights): sums of one product."""
    scales = np.ones((16, 1), dtype=np.float32)
    x = ALL.astype(np.float32)[:, None]
    return gemm_w4a16(x, INT4[:, None], scales, None, 1, chain=chain)


def by_numpy(chain: bool) -> np.ndarray:
    """Return all products by NumPy's float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not chain:
            return ALL[:, None] * INT4.astype(np.float16)
        total = np.zeros((ALL.size, 16), dtype=np.float16)
        for place in range(4):
            partial = ALL * np.float16(1 << place)
            sign = np.float16(-1 if place == 3 else 1)
            taken = (INT4 >> place & 1).astype(bool)
            total = np.where(taken, total + (sign * partial)[:, None], total)
        return total


def by_specification(chain: bool, step: int) -> np.ndarray:
    """Return the products of every `step`-th activation by the scalar specification."""
    with np.errstate(over="ignore", invalid="ignore"):
        products = [
            [product_w4a16(weight, x, chain=chain) for weight in range(-8, 8)]
            for x in ALL[::step].astype(np.float64).tolist()
        ]
    return np.array(products)


@pytest.mark.parametrize("chain", [False, True])
def test_all_products_of_the_kernel_are_those_of_numpy(chain: bool) -> None:
    """65,536 FP16 x 16 weights; every 16th activation by the specification too."""
    found = by_kernel(chain)
    assert same_bits(found, by_numpy(chain))
    assert same_bits(found[::16], by_specification(chain, 16))


@pytest.mark.slow
@pytest.mark.parametrize("chain", [False, True])
def test_all_products_of_the_kernel_are_those_of_the_specification(chain: bool) -> None:
    assert same_bits(by_kernel(chain), by_specification(chain, 1))


def test_the_two_semantics_differ_as_published() -> None:
    """Golden identity 2b, over Gaussian activations: some 12 %, by at most 4.3e-3."""
    random = np.random.default_rng(1)
    x = random.standard_normal((2000, 1)).astype(np.float16).astype(np.float32)
    scales = np.ones((16, 1), dtype=np.float32)
    once, chain = (gemm_w4a16(x, INT4[:, None], scales, None, 1, chain=c) for c in (False, True))
    assert 0.10 < (once != chain).mean() < 0.14
    assert 3e-3 < (np.abs(chain - once) / np.maximum(np.abs(once), 1e-9)).max() < 4.4e-3


def test_a_chain_overflows_where_one_rounding_does_not() -> None:
    """-x is 7 x - 8 x: the second infinite from 8192 on, both from 9360, as the module says."""
    for x, chained in ((8188.0, -8192.0), (8192.0, -np.inf), (9352.0, -np.inf), (9360.0, np.nan)):
        args = (np.array([[x]], np.float32), np.array([[-1]], np.int8), np.ones((1, 1), np.float32))
        assert gemm_w4a16(*args, None, 1, chain=False)[0, 0] == -x
        found = gemm_w4a16(*args, None, 1, chain=True)
        assert np.array_equal(found[0, 0], np.float32(chained), equal_nan=True)


def test_one_rounding_of_the_integer_product_of_the_significand() -> None:
    """Every 7th finite FP16 value, subnormals among them: 11 bits and a sign in, 15 out."""
    for x in ALL[np.isfinite(ALL)][::7].astype(np.float64).tolist():
        significand, exponent = significand_of(x)
        assert Fraction(significand) * Fraction(2) ** exponent == Fraction(x)
        assert abs(significand) < 2**11
        for weight in (-8, -7, 3, 5, 7):
            exact = int(product_exact(weight, significand))
            assert exact == weight * significand
            assert abs(exact) < 2**15
            with np.errstate(over="ignore"):
                rounded = float(np.float16(exact * 2.0**exponent))
                assert rounded == product_w4a16(weight, x, chain=False)


def test_what_an_exact_product_does_does_not_depend_on_its_data() -> None:
    for weight, x in ((0, 0.0), (-8, 1.5), (7, -65504.0), (-1, 2.0**-24)):
        tally = Tally()
        product_exact(tally.word(weight), tally.word(significand_of(x)[0]))
        assert tally.counts == {"mask": 4, "shift": 3, "add": 3}
        assert int(product_exact(weight, 5)) == product_w4a8(weight, 5)


def operands(
    shape: tuple[int, int, int], group: int, asymmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return activations of very different sizes, codes, scales and zeros."""
    m, n, k = shape
    random = np.random.default_rng(sum(shape) + group)
    x = random.standard_normal((m, k)) * 2.0 ** random.integers(-6, 4, (m, k))
    codes = random.integers(-8, 8, (n, k), dtype=np.int8)
    groups = -(-k // group)
    scales = random.uniform(0.1, 2.0, (n, groups)).astype(np.float32)
    zeros = random.integers(-8, 8, (n, groups), dtype=np.int32) if asymmetric else None
    return x.astype(np.float16).astype(np.float32), codes, scales, zeros


CASES = [
    ((16, 16, 75), 32, True),
    ((16, 16, 64), 64, False),
    ((3, 5, 1), 1, True),
    ((1, 2051, 9), 4, True),
    ((2, 3, 5), 100, True),
]


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("accumulator", ACCUMULATORS)
@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_specification_over_all_of_k(
    case: tuple[tuple[int, int, int], int, bool], accumulator: str, chain: bool
) -> None:
    shape, group, _ = case
    x, codes, scales, zeros = operands(*case)
    found = gemm_w4a16(x, codes, scales, zeros, group, chain=chain, accumulator=accumulator)
    assert found.dtype == np.float32
    columns = [*range(min(shape[1], 16)), *range(2045, min(shape[1], 2051))]
    for m in range(shape[0]):
        for n in columns:
            expected = dot_w4a16(
                x[m].tolist(),
                codes[n].tolist(),
                list(scales[n]),
                None if zeros is None else zeros[n].tolist(),
                group,
                chain=chain,
                accumulator=accumulator,
            )
            assert found[m, n] == expected, (m, n)


@pytest.mark.parametrize("kind", ["low", "high", "alternating"])
@pytest.mark.parametrize("accumulator", ACCUMULATORS)
def test_ends_equal_the_specification(kind: str, accumulator: str) -> None:
    """FP16 sums overflow to infinity, and infinities of both signs meet in NaN."""
    x = np.full((1, 96), 65504.0 if kind != "low" else -65504.0, dtype=np.float32)
    codes = np.full((2, 96), -8 if kind == "low" else 7, dtype=np.int8)
    if kind == "alternating":
        codes[:, ::2] = -8
    scales, zeros = np.ones((2, 3), np.float32), np.full((2, 3), 7, np.int32)
    found = gemm_w4a16(x, codes, scales, zeros, 32, chain=False, accumulator=accumulator)
    expected = dot_w4a16(
        x[0].tolist(),
        codes[0].tolist(),
        list(scales[0]),
        zeros[0].tolist(),
        32,
        chain=False,
        accumulator=accumulator,
    )
    assert np.array_equal(found, np.full((1, 2), expected), equal_nan=True)
    assert not np.isfinite(expected)


@pytest.mark.parametrize("accumulator", ["fp16", "fp32"])
def test_sums_of_a_group_equal_a_loop_of_the_format_itself(accumulator: str) -> None:
    dtype = {"fp16": np.float16, "fp32": np.float32}[accumulator]
    x, codes, _, _ = operands((3, 40, 200), 200, False)
    total = np.zeros((3, 40), dtype=dtype)
    for k in range(200):
        product = x[:, k : k + 1].astype(np.float16) * codes[:, k].astype(np.float16)
        total = total + product.astype(dtype)
    ones = np.ones((40, 1), np.float32)
    found = gemm_w4a16(x, codes, ones, None, 200, chain=False, accumulator=accumulator)
    assert same_bits(found, total)
    assert (
        dot_group(x[0].tolist(), codes[0].tolist(), chain=False, accumulator=accumulator)
        == (total[0, 0])
    )
    assert sum_group([1.0, 2048.0, 1.0], accumulator) == {"fp16": 2048, "fp32": 2050}[accumulator]


@pytest.mark.parametrize("group", [1, 32, 300])
def test_integers_are_dequantised_exactly(group: int) -> None:
    """Equation 5 with numbers so small that no step rounds: the correction has its sign."""
    random = np.random.default_rng(group)
    x = random.integers(-7, 8, (4, 300)).astype(np.float32)
    codes = random.integers(-8, 8, (5, 300), dtype=np.int8)
    groups = -(-300 // group)
    scales = (2.0 ** random.integers(-3, 3, (5, groups))).astype(np.float32)
    zeros = random.integers(-8, 8, (5, groups), dtype=np.int32)
    weights = (codes - zeros.repeat(group, axis=1)[:, :300]) * scales.repeat(group, axis=1)[:, :300]
    for chain in (False, True):
        found = gemm_w4a16(x, codes, scales, zeros, group, chain=chain)
        assert same_bits(found, x.astype(np.float64) @ weights.astype(np.float64).T)


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0)])
def test_empty_shapes(shape: tuple[int, int, int]) -> None:
    x, codes, scales, zeros = operands(shape, 4, True)
    found = gemm_w4a16(x, codes, scales, zeros, 4, chain=True)
    assert found.shape == shape[:2]
    assert not found.any()


X, Q = np.zeros((2, 8), np.float32), np.zeros((3, 8), np.int8)
S, Z = np.ones((3, 2), np.float32), np.zeros((3, 2), np.int32)


@pytest.mark.parametrize(
    ("x", "codes", "scales", "zeros", "group", "accumulator", "message"),
    [
        (X.astype(np.float64), Q, S, Z, 4, "fp16", "activations: expected float32, got float64"),
        (X + np.float32(1e-9), Q, S, Z, 4, "fp16", "activations: 16 of 16 are no FP16 values"),
        (X + np.float32(1e9), Q, S, Z, 4, "fp16", "activations: 16 of 16 are no FP16 values"),
        (X, Q.astype(np.int16), S, Z, 4, "fp16", "codes: expected int8, got int16"),
        (X, Q + np.int8(8), S, Z, 4, "fp16", "codes: must be -8 to 7"),
        (X, Q - np.int8(9), S, Z, 4, "fp16", "codes: must be -8 to 7"),
        (X, Q, S, Z, 4, "fp17", "unknown accumulator 'fp17'; did you mean 'fp16'?"),
        (X, Q, S, Z, 4, "quad", "unknown accumulator 'quad'; known: fp16, fp32"),
        (
            X[:, :7],
            Q,
            S,
            Z,
            4,
            "fp16",
            "expected activations (M, K) and codes (N, K), got shapes (2, 7) and (3, 8)",
        ),
        (X, Q, S, Z, 0, "fp16", "group must be >= 1, got 0"),
        (X, Q, S, Z, 3, "fp16", "scales: expected shape (3, 3), got (3, 2)\n"
         "zeros: expected shape (3, 3), got (3, 2)"),
        (X, Q, S.astype(np.float16), Z, 4, "fp16", "scales: expected float32, got float16"),
        (X, Q, S, S, 4, "fp16", "zeros: expected integers, got float32"),
        (X, Q, S, Z - 2**24 - 1, 4, "fp16", "zeros: must be -16777216 to 16777216"),
    ],
)  # fmt: skip
def test_what_is_refused(
    x: np.ndarray,
    codes: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
    group: int,
    accumulator: str,
    message: str,
) -> None:
    with pytest.raises(InputError) as error:
        gemm_w4a16(x, codes, scales, zeros, group, chain=True, accumulator=accumulator)
    assert str(error.value) == message
