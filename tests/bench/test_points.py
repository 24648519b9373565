"""How many designs does the analytic rung plan, bound and price a second? None is asserted.

Counted three ways, because "layer" means three things: designs; decoder layers of a model that a
design executes (32 of Llama-3-8B, all equal, so planned once); operations that are planned one by
one (of one layer, the embedding and the head). Peers search one layer and phase in so many CPU
seconds: measured by us on two cores of an EPYC, the products of a layer of Llama-2-7B on an array
of 128 x 128, 2,048 tokens of prefill or decode of 32 requests.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import load_device
from simulator.search.pool import Pool
from simulator.search.runner import BLOCK
from simulator.search.space import Point
from simulator.study import Case
from simulator.study.blocks import evaluate_many

LAYERS, OPERATIONS, WORKERS = 32, 15, 2
FORMATS = {
    "fp16": {},
    "int4-g128": {"weights": "int4-g128"},
    "int8": {"weights": "int8", "activations": "int8", "kv": "int8"},
}
#: CPU seconds of one layer and phase: (least, most).
PEERS = {"AccelForge 1.0.467": (17, 22), "ZigZag 3.9.1": (23, 27)}


def case_of(formats: dict[str, str]) -> Case:
    """Return Llama-3-8B decode in some formats on the analytic rung."""
    workload = {"model": "llama-3-8b", "phase": "decode", "batch": 8, "context": 2048, **formats}
    return Case(load_device("generic_npu_128"), workload, {"rung": "analytic"})


def drawn() -> Iterator[Point]:
    """Yield designs no two of which are alike in clock, scratchpad or bandwidth."""
    draw = np.random.default_rng(5)
    while True:
        yield {
            "device.matrix.rows": int(2 ** draw.integers(4, 9)),
            "device.matrix.columns": int(2 ** draw.integers(4, 9)),
            "device.clock": int(draw.uniform(0.5, 2) * 1e6) * 1000,
            "device.scratchpad.capacity": int(2 ** draw.uniform(19, 25)),
            "device.memory.bandwidth": int(2 ** draw.uniform(35, 42)),
        }


def grid() -> Iterator[Point]:
    """Yield the designs of a grid, in its order."""
    values: dict[str, list[Any]] = {
        "device.matrix.rows": [16, 32, 64, 128, 256],
        "device.matrix.columns": [16, 32, 64, 128, 256],
        "device.vector.lanes": [64, 128, 512],
        "device.scratchpad.capacity": [2**19, 2**20, 2**22, 2**24],
        "device.memory.bandwidth": [10**11, 2 * 10**11, 4 * 10**11, 8 * 10**11, 16 * 10**11],
        "device.clock": [10**9, 15 * 10**8, 2 * 10**9],
    }
    for each in product(*values.values()):
        yield dict(zip(values, each, strict=True))


def core_us(case: Case, points: list[Point]) -> float:
    """Return the CPU time of one core a design in us, the least of three blocks."""
    spent = []
    for first in range(0, min(len(points), 3 * BLOCK), BLOCK):
        block = points[first : first + BLOCK]
        began = time.process_time()
        evaluate_many(case, block)
        spent.append((time.process_time() - began) / len(block))
    return 1e6 * min(spent)


def rate(case: Case, points: list[Point]) -> float:
    """Return designs a second in processes that have started and compiled."""
    blocks = [points[first : first + BLOCK] for first in range(0, len(points), BLOCK)]
    with Pool(WORKERS) as pool:
        warm = [pool.submit(evaluate_many, case, points[:8]) for _ in range(4 * WORKERS)]
        assert {each.state for future in warm for each in future.result()} == {"OK"}
        began = time.perf_counter()
        for future in [pool.submit(evaluate_many, case, block) for block in blocks]:
            future.result()
        return len(points) / (time.perf_counter() - began)


@pytest.mark.parametrize("study", [grid, drawn], ids=["grid", "random"])
@pytest.mark.parametrize(
    "formats",
    # One format tells whether it runs.
    [pytest.param(each, marks=() if each == "fp16" else pytest.mark.slow) for each in FORMATS],
)
def test_designs_on_the_analytic_rung(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    study: Callable[[], Iterator[Point]],
    formats: str,
) -> None:
    """Llama-3-8B decode, batch 8: a block after the other in two processes."""
    timed = not request.config.getoption("benchmark_disable")
    # Two points are evaluated one by one: nobody compiles where nothing is timed.
    points = list(islice(study(), 16 * BLOCK if timed else 2))
    case = case_of(FORMATS[formats])
    found, spent = rate(case, points), core_us(case, points)
    benchmark.pedantic(lambda: None)
    figure(
        f"analytic rung, {formats}, {request.node.callspec.id.split('-')[-1]}, two cores: "
        f"{spent:,.0f} us of a core a design; by the clock {found:,.0f} designs/s, "
        f"{LAYERS * found:,.0f} executed decoder layers/s, "
        f"{OPERATIONS * found:,.0f} distinct operations/s"
    )


def test_peers(benchmark: BenchmarkFixture, figure: Callable[[str], None]) -> None:
    """What the same two cores do with peers."""
    benchmark.pedantic(lambda: None)
    for name, (least, most) in PEERS.items():
        figure(
            f"{name}: {least}-{most} CPU s a layer and phase, on two cores "
            f"{WORKERS / most:.2f}-{WORKERS / least:.2f} distinct layers/s"
        )
