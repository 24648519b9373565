"""Are integer products exact on every path: bytes of few rows, blocks in float32, int64?"""

import numpy as np
import pytest

from simulator.numerics.exact import DEPTH, FEW_ROWS, gemm_exact


@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("depth", [1, 63, 64, 1000])
@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_products_are_those_of_int64(rows: int, depth: int, kind: str) -> None:
    random = np.random.default_rng(rows + depth)
    x, w = (random.integers(-128, 128, (n, depth)).astype(kind) for n in (rows, 9))
    found = gemm_exact(x, w)
    assert found.dtype == np.int64
    assert (found == x.astype(np.int64) @ w.astype(np.int64).T).all()


@pytest.mark.parametrize("depth", [DEPTH, DEPTH + 1])
@pytest.mark.parametrize("value", [127, -128])
def test_the_largest_sums_are_exact(depth: int, value: int) -> None:
    x, w = np.full((1, depth), -128, np.int8), np.full((2, depth), value, np.int8)
    assert gemm_exact(x, w).tolist() == [[-128 * value * depth] * 2]


def test_rows_and_columns_may_lie_apart() -> None:
    whole = np.random.default_rng(1).integers(-128, 128, (40, 90)).astype(np.int8)
    x, w = whole[::13, 1::2], whole.T[:45, :7].T
    assert (gemm_exact(x, w) == x.astype(np.int64) @ w.astype(np.int64).T).all()


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_nothing_adds_up_to_nothing(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    found = gemm_exact(np.zeros((m, k), np.int8), np.zeros((n, k), np.int8))
    assert found.shape == (m, n)
    assert not found.any()
