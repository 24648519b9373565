"""How fast are formats and datapaths? Ratios to a library on the same data in the same run.

Times are those of the process on one core (`process_time`; matrix products of numpy may use more).
Nothing asserts on time; what is asserted is that the timed work was done.
"""

from collections.abc import Callable
from time import process_time

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.formats import get
from simulator.formats.block import MXFP4
from simulator.numerics.bit_serial import gemm_planes
from simulator.numerics.block_dot import gemm_blocks
from simulator.numerics.exact import gemm_exact
from simulator.numerics.lut import gemm_lut
from simulator.numerics.mac_tree import gemm_tree
from simulator.numerics.shift_add import gemm_w4a8

Figure = Callable[[str], None]
Floats = NDArray[np.float32]


@pytest.fixture
def elements(request: pytest.FixtureRequest) -> int:
    """Return how many values to convert: few where nothing is timed."""
    return 1 << 14 if request.config.getoption("benchmark_disable") else 1 << 24


@pytest.fixture
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    """Return M, N, K of a product: a small one where nothing is timed."""
    small = request.config.getoption("benchmark_disable")
    return (2, 32, 64) if small else (16, 2048, 4096)


def seconds(work: Callable[[], object]) -> float:
    """Return the least time of three runs, after one that may compile."""
    work()
    times = []
    for _ in range(3):
        start = process_time()
        work()
        times.append(process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("fp8_e4m3fn", ml_dtypes.float8_e4m3fn), ("fp4_e2m1fn", ml_dtypes.float4_e2m1fn)],
)
def test_quantising_to_minifloats(
    benchmark: BenchmarkFixture, figure: Figure, elements: int, name: str, theirs: DTypeLike
) -> None:
    values = np.random.default_rng(0).standard_normal(elements).astype(np.float32)
    codes = benchmark.pedantic(get(name).encode, (values,), rounds=3, warmup_rounds=1)
    assert (codes == values.astype(theirs).view(np.uint8)).all()
    ours = seconds(lambda: get(name).encode(values)) * 1e9 / elements
    library = seconds(lambda: values.astype(theirs)) * 1e9 / elements
    figure(f"{name}: {ours:.2f} ns/element, ml_dtypes {library:.2f}: {library / ours:.1f} x")


def test_quantising_to_mxfp4(benchmark: BenchmarkFixture, figure: Figure, elements: int) -> None:
    values = np.random.default_rng(0).standard_normal((8, elements // 8)).astype(np.float32)
    blocks = benchmark.pedantic(MXFP4.encode, (values,), rounds=3, warmup_rounds=1)
    assert np.abs(blocks.values() - values).max() < 2
    ours = seconds(lambda: MXFP4.encode(values)) * 1e9 / elements
    figure(f"mxfp4: {ours:.2f} ns/element")


def integers(shape: tuple[int, int, int]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    random, (m, n, k) = np.random.default_rng(0), shape
    activations = random.integers(-128, 128, (m, k)).astype(np.int8)
    return activations, random.integers(-8, 8, (n, k)).astype(np.int8)


def test_integer_products(
    benchmark: BenchmarkFixture, figure: Figure, shape: tuple[int, int, int]
) -> None:
    x, w = integers(shape)
    exact = benchmark.pedantic(gemm_exact, (x, w), rounds=3, warmup_rounds=1)
    left, right = x.astype(np.float32), w.astype(np.float32)
    macs = float(np.prod(shape)) / 1e9
    sgemm = seconds(lambda: left @ right.T)
    codes = (w.astype(np.int64) + 8).astype(np.uint8)
    works: dict[str, Callable[[], NDArray[np.signedinteger]]] = {
        "exact blocks": lambda: gemm_exact(x, w),
        "shift and add": lambda: gemm_w4a8(x, w),
        "bit planes": lambda: gemm_planes(x, w, 8, 4),
    }
    for name, work in works.items():
        assert (work() == exact).all()
        took = seconds(work)
        figure(f"INT8 x INT4, {name}: {macs / took:.1f} GMAC/s, {sgemm / took:.2f} of sgemm")
    took = seconds(lambda: gemm_lut(x, codes, 4))
    figure(f"INT8 x INT4, half tables: {macs / took:.1f} GMAC/s")


@pytest.mark.parametrize(("kind", "dtype"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_trees_of_a_pim_bank(
    benchmark: BenchmarkFixture,
    figure: Figure,
    shape: tuple[int, int, int],
    kind: str,
    dtype: DTypeLike,
) -> None:
    random, (m, n, k) = np.random.default_rng(0), shape
    x, w = (
        random.standard_normal(size).astype(dtype).astype(np.float32) for size in ((m, k), (n, k))
    )
    kinds = (kind, kind, kind)
    found = benchmark.pedantic(gemm_tree, (x, w, 16, kinds), rounds=3, warmup_rounds=1)
    assert np.abs(found - x @ w.T).max() < 0.05 * k
    took = seconds(lambda: gemm_tree(x, w, 16, kinds))
    figure(f"PIM tree {kind}: {m * n * k / took / 1e9:.2f} GMAC/s")


def test_blocks_of_mxfp4(
    benchmark: BenchmarkFixture, figure: Figure, shape: tuple[int, int, int]
) -> None:
    random, (m, n, k) = np.random.default_rng(0), shape
    x, w = (
        MXFP4.encode(random.standard_normal(size).astype(np.float32))
        for size in ((16 * m, k), (n, k))
    )
    found = benchmark.pedantic(gemm_blocks, (x, w), rounds=3, warmup_rounds=1)
    np.testing.assert_allclose(found, x.values() @ w.values().T, atol=1e-3, rtol=1e-4)
    took = seconds(lambda: gemm_blocks(x, w))
    figure(f"MXFP4 x MXFP4: {16 * m * n * k / took / 1e9:.1f} GMAC/s")
