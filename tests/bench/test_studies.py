"""What do studies cost beside the simulations? CPU and wall time; none is asserted."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import load_device
from simulator.search.pool import Pool
from simulator.search.records import Header
from simulator.search.space import Point, key_of
from simulator.search.store import Store
from simulator.study import METRICS, Case, evaluate

CASE = Case(
    load_device("generic_npu_128"),
    {"model": "llama-3-8b", "phase": "decode", "batch": 8, "context": 2048},
    {"rung": "tile"},
)


def points(count: int) -> list[Point]:
    """Return designs of about the same work."""
    return [{"device.matrix.rows": 64 + index} for index in range(count)]


def rate(workers: int, count: int) -> float:
    """Return points a second of a pool whose processes have started."""
    with Pool(workers) as pool:
        for warm in [pool.submit(evaluate, CASE, {}) for _ in range(2 * workers)]:
            warm.result()
        began = time.perf_counter()
        futures = [pool.submit(evaluate, CASE, point) for point in points(count)]
        assert {future.result().state for future in futures} == {"OK"}
        return count / (time.perf_counter() - began)


def test_points_at_the_tile_rung(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
) -> None:
    """Llama-3-8B decode on arrays of 64 rows and more: one worker, and two."""
    timed = not request.config.getoption("benchmark_disable")
    one, two = (rate(workers, 40 if timed else 2) for workers in (1, 2))
    benchmark.pedantic(lambda: None)
    figure(
        f"tile rung, Llama-3-8B decode: {one:.1f} points/s with one worker, {two:.1f} with two: "
        f"{two / one:.2f} times"
    )


def test_stored_points(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """A million in blocks, read as a table and filtered."""
    timed = not request.config.getoption("benchmark_disable")
    count, block = (1_000_000, 50_000) if timed else (1_000, 500)
    header = Header(
        dimensions={"device.matrix.rows": "int", "workload.weights": "text"},
        metrics=METRICS,
        defined_by="",
        text="",
    )
    with Store(tmp_path / "s.db") as store:
        store.study(header)
        began = time.perf_counter()
        for first in range(0, count, block):
            numbers = range(first, first + block)
            store.add_block(
                [f"{number:016x}" for number in numbers],
                {"device.matrix.rows": list(numbers), "workload.weights": ["fp16"] * block},
                {name: [number + 0.5 for number in numbers] for name in METRICS},
                numbers=numbers,
                seed=0,
                wall_time_s=0.0,
            )
        stored_us = 1e6 * (time.perf_counter() - began) / count

        def fast() -> int:
            table = store.table()
            return len(table[table["latency_s"] < count / 2])

        found = benchmark.pedantic(fast, rounds=1)
    assert found == count // 2
    keyed = time.perf_counter()
    for point in points(1_000):
        key_of(point)
    key_us = 1e3 * (time.perf_counter() - keyed)
    figure(
        f"{count:,} points in blocks of {block:,}: {stored_us:.1f} us a point stored, read and "
        f"filtered in {benchmark.stats['mean'] if timed else 0:.2f} s; a key {key_us:.1f} us"
    )
