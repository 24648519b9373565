"""How long does the front of a large study take, and how much memory? Neither is asserted."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.search.objectives import Objective
from simulator.search.records import ABSENT, Header
from simulator.search.runner import BLOCK
from simulator.search.store import Store
from simulator.study import METRICS

OBJECTIVES = (
    Objective("latency_s", "min"),
    Objective("area_mm2", "min", at_most=1.2),
    Objective("energy_j", "min"),
)
HEADER = Header(
    dimensions={
        "device.matrix.rows": "int",
        "device.matrix.columns": "int",
        "device.clock": "int",
        "device.memory.efficiency": "float",
        "device.scratchpad.capacity": "text",
        "workload.weights": "text",
        "workload.kv": "text",
    },
    metrics=METRICS,
    defined_by="",
    text="",
    objectives=OBJECTIVES,
)
#: How far the costs of a point are from a simplex, which is all front: a million have some 16,000.
SPREAD = 0.75
COMMAND = """
import sys
from simulator.cli import app
app(sys.argv[1:], standalone_mode=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def fill(path: Path, blocks: int, size: int) -> None:
    """Store random designs in seven dimensions, of which a twentieth does not fit."""
    rng = np.random.default_rng(0)
    with Store(path) as store:
        store.study(HEADER)
        for first in range(0, blocks * size, size):
            fits = rng.random(size) >= 0.05
            costs = rng.dirichlet([1, 1, 1], size) * (1 + SPREAD * rng.random((size, 1)))
            metrics = {name: rng.random(size) for name in METRICS}
            metrics |= {each.metric: cost for each, cost in zip(OBJECTIVES, costs.T, strict=True)}
            store.add_block(
                [f"{number:016x}" for number in range(first, first + size)],
                {
                    "device.matrix.rows": rng.integers(1, 256, size).tolist(),
                    "device.matrix.columns": rng.integers(1, 256, size).tolist(),
                    "device.clock": rng.integers(5e8, 2e9, size).tolist(),
                    "device.memory.efficiency": rng.random(size).tolist(),
                    "device.scratchpad.capacity": rng.choice(["1 MiB", "16 MiB"], size).tolist(),
                    "workload.weights": rng.choice(["fp16", "int8", "int4"], size).tolist(),
                    "workload.kv": [ABSENT, "int8-token"] * (size // 2),
                },
                {name: np.where(fits, values, np.nan) for name, values in metrics.items()},
                numbers=range(first, first + size),
                seed=0,
                wall_time_s=0.0,
                state=np.where(fits, "OK", "INFEASIBLE").tolist(),
                reason=np.where(fits, "", "scratchpad: needs 9 MiB, has 1 MiB").tolist(),
            )


def test_the_front_of_a_million_points(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """`nibblesim pareto` in a process of its own, from its start to its end."""
    timed = not request.config.getoption("benchmark_disable")
    fill(tmp_path / "s.db", 1024 if timed else 1, BLOCK)

    def drawn(suffix: str) -> tuple[float, dict[str, int], float]:
        began = time.perf_counter()
        command = ["pareto", "s.db", "--out", f"front.{suffix}", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        *lines, peak_kib = done.stdout.splitlines()
        shown = json.loads("\n".join(lines))
        return time.perf_counter() - began, shown, int(peak_kib) / 2**10

    _, shown, peak_mib = benchmark.pedantic(drawn, ["html"], rounds=1)
    assert 0 < shown["front"] < shown["points"] < (1024 if timed else 1) * BLOCK
    taken = {suffix: drawn(suffix)[0] for suffix in (("html", "png", "pdf") if timed else ())}
    figure(
        f"front of {shown['front']:,} among {shown['points']:,} points, 7 dimensions, 3 "
        f"objectives: {', '.join(f'{each} {seconds:.1f} s' for each, seconds in taken.items())}; "
        f"peak {peak_mib:.0f} MiB"
    )
