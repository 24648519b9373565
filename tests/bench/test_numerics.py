"""How fast are formats and datapaths? Ratios to a library on the same data in the same run.

Times are those of the process on all cores together (`process_time`), but where threads are
compared, which takes a clock and a quiet machine. Nothing asserts on time; what is asserted is that
the timed work was done.
"""

from collections.abc import Callable
from time import perf_counter, process_time

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
from simulator.numerics.lut import gemm_lut, gemm_packed, pack
from simulator.numerics.mac_tree import Bank, gemm_tree
from simulator.numerics.parallel import over_columns
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


def seconds(work: Callable[[], object], clock: Callable[[], float] = process_time) -> float:
    """Return the least time of five runs, after one that may compile."""
    work()
    times = []
    for _ in range(5):
        start = clock()
        work()
        times.append(clock() - start)
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
    packed, wide = pack(codes, 4), x.astype(np.int64)
    assert (gemm_packed(x, packed) == 2 * exact + wide.sum(axis=1)[:, None]).all()
    took, alone = seconds(lambda: gemm_lut(x, codes, 4)), seconds(lambda: gemm_packed(x, packed))
    figure(
        f"INT8 x INT4, half tables: {macs / took:.1f} GMAC/s, of packed weights {macs / alone:.1f}"
    )


def test_exact_products_of_many_and_of_one_row(
    benchmark: BenchmarkFixture, figure: Figure, shape: tuple[int, int, int]
) -> None:
    side = min(1024, shape[2])
    x, w = integers((side, side, side))
    benchmark.pedantic(gemm_exact, (x, w), rounds=3, warmup_rounds=1)
    left, right = x.astype(np.float32), w.astype(np.float32)
    assert (gemm_exact(x, w) == left @ right.T).all()
    took, sgemm = seconds(lambda: gemm_exact(x, w)), seconds(lambda: left @ right.T)
    rate = side**3 / took / 1e9
    figure(f"exact INT8 x INT4, {side}^3: {rate:.1f} GMAC/s, {sgemm / took:.2f} of sgemm")
    depth = shape[2]
    x, w = integers((1, depth, depth))
    read = w.view(np.int64)
    took, reading = seconds(lambda: gemm_exact(x, w)), seconds(lambda: read.max())
    figure(
        f"exact INT8 x INT4, {depth}^2 GEMV: {depth**2 / took / 1e9:.1f} GB/s of weights; "
        f"to read them: {depth**2 / reading / 1e9:.1f} GB/s"
    )


def test_two_threads(
    benchmark: BenchmarkFixture, figure: Figure, shape: tuple[int, int, int]
) -> None:
    x, w = integers(shape)
    codes = (w.astype(np.int64) + 8).astype(np.uint8)
    works: dict[str, Callable[[slice], NDArray[np.signedinteger]]] = {
        "shift and add": lambda part: gemm_w4a8(x, w[part]),
        "bit planes": lambda part: gemm_planes(x, w[part], 8, 4),
        "half tables": lambda part: gemm_lut(x, codes[part], 4),
    }
    for name, work in works.items():
        one, two = (
            seconds(lambda threads=threads: over_columns(work, len(w), threads), perf_counter)  # noqa: B023
            for threads in (1, 2)
        )
        figure(f"{name}, two threads: {one / two:.2f} x")
    found = benchmark.pedantic(over_columns, (works["shift and add"], len(w), 2), rounds=3)
    assert (found == gemm_exact(x, w)).all()


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
    bank = Bank.of(w, kind)
    assert (gemm_tree(x, bank, 16, kinds) == found).all()
    took = seconds(lambda: gemm_tree(x, w, 16, kinds))
    alone = seconds(lambda: gemm_tree(x, bank, 16, kinds))
    one = seconds(lambda: gemm_tree(x[:1], bank, 16, kinds))
    figure(
        f"PIM tree {kind}: {m * n * k / took / 1e9:.2f} GMAC/s, of a Bank "
        f"{m * n * k / alone / 1e9:.2f}, of one row {n * k / one / 1e9:.2f}"
    )


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
