"""What do studies cost beside the simulations? CPU and wall time; none is asserted."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import load_device
from simulator.search.pool import Pool
from simulator.search.records import Header
from simulator.search.runner import BLOCK, Tally
from simulator.search.space import Point, key_of
from simulator.search.store import Store
from simulator.search.sweep_file import load_sweep
from simulator.study import METRICS, Case, evaluate, run

CASE = Case(
    load_device("generic_npu_128"),
    {"model": "llama-3-8b", "phase": "decode", "batch": 8, "context": 2048},
    {"rung": "tile"},
)

SWEEP = """
name: columns
device: generic_npu_128
workload: {model: llama-3-8b, phase: decode, batch: 8, context: 2048}
run: {rung: analytic}
objectives: {latency_s: min, area_mm2: min, energy_j: min}
space:
  device.matrix.rows: {log2: [16, 256]}
  device.matrix.columns: {log2: [16, 256]}
  device.vector.lanes: [64, 128, 512]
  device.scratchpad.capacity: {log2: [524288, 16777216]}
  device.memory.bandwidth: [100 GB/s, 200 GB/s, 400 GB/s, 800 GB/s, 1600 GB/s]
  device.clock: [1 GHz, 1.1 GHz, 1.2 GHz, 1.3 GHz, 1.4 GHz, 1.5 GHz, 2 GHz]
"""


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
    # In turns, as the speed of a shared machine changes from one minute to the next.
    rounds = [(rate(1, count), rate(2, count)) for count in ([40] * 5 if timed else [2])]
    one, two = (median(each) for each in zip(*rounds, strict=True))
    times = sorted(twice / once for once, twice in rounds)
    benchmark.pedantic(lambda: None)
    figure(
        f"tile rung, Llama-3-8B decode: {one:.1f} points/s with one worker, {two:.1f} with two: "
        f"{median(times):.2f} times, median of {len(times)} ({times[0]:.2f} to {times[-1]:.2f})"
    )


def test_a_sweep_in_columns(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Asked, evaluated by two processes, stored: the rate from the first outcomes to the last."""
    timed = not request.config.getoption("benchmark_disable")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    came: list[tuple[float, int]] = []

    def seen(tally: Tally) -> None:
        came.append((time.perf_counter(), tally.points))

    limit = None if timed else 2
    sweep = load_sweep(tmp_path / "sweep.yaml")
    for name in ("compiles.db", "timed.db") if timed else ("timed.db",):
        came.clear()
        tally = run(sweep, tmp_path / name, workers=2, limit=limit, seen=seen)
    benchmark.pedantic(lambda: None)
    (began, first), (ended, last) = came[0], came[-1]
    figure(
        f"a sweep of {tally.points:,} points on the analytic rung, Llama-3-8B decode, two workers: "
        f"{(last - first) / (ended - began):,.0f} points/s asked, evaluated and stored"
    )


def test_stored_points(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """A million in blocks as of the runner, read as a table and filtered."""
    timed = not request.config.getoption("benchmark_disable")
    count, block = (1024 * BLOCK, BLOCK) if timed else (1_000, 500)
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
                dict.fromkeys(METRICS, np.array(numbers) + 0.5),
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
