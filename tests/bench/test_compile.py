"""How long does the first call of a kernel take? The target is 1 s of processor time for each.

A new interpreter with an empty cache calls the compiled paths of formats and datapaths, and tells
how long Numba worked on each kernel, with all that it compiles inside. Nothing here asserts on
time; what is asserted is that kernels were compiled.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Figure = Callable[[str], None]
ROOT = Path(__file__).parents[2]
LIMIT_S = 1.0
TOUR = """
import json, sys
from time import process_time
import numba
import numpy as np
from numba.core import event
from simulator.errors import InputError
from simulator.formats import ALL, get
from simulator.numerics.mac_tree import gemm_tree
from simulator.numerics.verify import NAMES, verify


class Recorder(event.Listener):
    def __init__(self):
        self.starts, self.found = [], []

    def on_start(self, told):
        self.starts.append(process_time())

    def on_end(self, told):
        took = process_time() - self.starts.pop()
        function = told.data["dispatcher"].py_func
        if not self.starts:
            self.found.append((took, f"{function.__module__}.{function.__qualname__}"))


# What the first kernel of any process costs is Numba's own.
numba.njit(lambda x: x + 1)(1)
recorder = Recorder()
event.register("numba:compile", recorder)
whole = sys.argv[1] == "all"
values = np.ones((2, 64), dtype=np.float32)
for name in NAMES if whole else []:
    verify(name, (2, 3, 64))
for name in ALL if whole else ["fp8_e4m3fn"]:
    try:
        get(name).encode(values)
    except InputError:
        pass  # a format that asks for more arguments
if whole:
    gemm_tree(values, values, 4, ("fp16", "fp16", "fp32"))
print(json.dumps(recorder.found))
"""


def compile_times(tour: str, cache: Path) -> list[tuple[float, str]]:
    """Return seconds and names of the kernels that a tour compiled, the slowest first."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", TOUR, tour],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return sorted(((took, name) for took, name in json.loads(done.stdout)), reverse=True)


def test_first_calls(
    benchmark: BenchmarkFixture, figure: Figure, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    small = request.config.getoption("benchmark_disable")
    times = benchmark.pedantic(compile_times, ("one" if small else "all", tmp_path), rounds=1)
    assert times
    assert any(tmp_path.rglob("*.nbi"))
    for took, name in times[:5]:
        figure(f"first call of {name.removeprefix('simulator.')}: {took:.2f} s")
    slow = sum(took > LIMIT_S for took, _ in times)
    figure(f"{slow} of {len(times)} kernels take more than {LIMIT_S:.0f} s to compile")
