"""Do several threads compute the same bits as one?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.accumulate import gemm_ordered, split_order
from simulator.numerics.bit_serial import gemm_planes
from simulator.numerics.exact import gemm_exact
from simulator.numerics.lut import gemm_lut
from simulator.numerics.mac_tree import gemm_tree
from simulator.numerics.parallel import over_columns
from simulator.numerics.shift_add import gemm_w4a8

M, N, K = 5, 37, 200
RANDOM = np.random.default_rng(7)
X = RANDOM.integers(-128, 128, (M, K)).astype(np.int8)
W = RANDOM.integers(-8, 8, (N, K)).astype(np.int8)
HALVES = [
    RANDOM.standard_normal(size).astype(np.float16).astype(np.float32) for size in ((M, K), (N, K))
]
FP16 = ("fp16", "fp16", "fp16")
ORDER = split_order(4, 2)

PRODUCTS: dict[str, Callable[[slice], NDArray[Any]]] = {
    "exact": lambda part: gemm_exact(X, W[part]),
    "shift and add": lambda part: gemm_w4a8(X, W[part]),
    "planes": lambda part: gemm_planes(X, W[part], 8, 4),
    "tables": lambda part: gemm_lut(X, W[part] + 8, 4),
    "tree": lambda part: gemm_tree(HALVES[0], HALVES[1][part], 16, FP16),
    "split K": lambda part: gemm_ordered(HALVES[0], HALVES[1][part], 50, ORDER, ("fp16", "fp32")),
}


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
@pytest.mark.parametrize("name", PRODUCTS)
def test_threads_change_no_bit(name: str, threads: int) -> None:
    product = PRODUCTS[name]
    found, alone = over_columns(product, N, threads), product(slice(0, N))
    assert found.tobytes() == alone.tobytes()
    assert found.dtype == alone.dtype


@pytest.mark.parametrize("threads", [1, 2, 4, None])
def test_every_column_is_computed_once_and_in_its_place(threads: int | None) -> None:
    seen: list[int] = []

    def product(part: slice) -> NDArray[np.int64]:
        columns = np.arange(N)[part]
        seen.extend(columns.tolist())
        return columns[None, :]

    assert over_columns(product, N, threads).tolist() == [list(range(N))]
    assert sorted(seen) == list(range(N))


def test_no_columns_give_no_outputs() -> None:
    assert over_columns(lambda part: gemm_exact(X, W[part]), 0, 2).shape == (M, 0)


def test_errors_of_a_product_reach_the_caller() -> None:
    with pytest.raises(InputError, match="bits must be 1 to 8, got 9"):
        over_columns(lambda part: gemm_lut(X, W[part], 9), N, 2)


def test_fewer_than_one_thread_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        over_columns(PRODUCTS["exact"], N, 0)
    assert str(caught.value) == "threads must be >= 1, got 0"
