"""How fast is the simulator itself? `make bench` times, `make test` runs each of these once.

Nothing here asserts on time: machines differ. What is asserted is that the timed work was done.
The targets are in benchmarks/README.md, with the figures of one machine.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import decode_step, load_device, load_model, prefill, simulate
from simulator.config import replace
from simulator.cost import load_profile
from simulator.engine.run import Engine
from simulator.mapping.fused import cached_attention
from simulator.mapping.planner import plan
from simulator.mapping.products import cached_gemm
from simulator.workload import Model, Workload

Figure = Callable[[str], None]
ROOT = Path(__file__).parents[2]
INT8 = {"weights": "int8", "activations": "int8", "kv": "int8"}
DEVICE = "generic_npu_128"
COLD = """
import json
from simulator import decode_step, load_device, load_model, prefill, simulate
device, model = load_device("generic_npu_128"), load_model("llama-2-7b")
int8 = {"weights": "int8", "activations": "int8", "kv": "int8"}
steps = prefill(model, sequence=2048, **int8), decode_step(model, batch=32, context=2048, **int8)
wall = sum(simulate(device, step).wall_time_s for step in steps)
# Of this process alone: getrusage also tells what the parent had when it forked.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_kib = int(status["VmHWM"].split()[0])
print(json.dumps({"wall_time_s": wall, "peak_mb": peak_kib * 1024 / 1e6}))
"""


def forget() -> None:
    """Forget all tilings that were found, as in a new process."""
    cached_gemm.cache_clear()
    cached_attention.cache_clear()


def main_job(model: Model) -> tuple[Workload, Workload]:
    """Return the main job: prefill of 2,048 tokens, and one decode step of 32 requests."""
    first = prefill(model, sequence=2048, **INT8)
    return first, decode_step(model, batch=32, context=2048, **INT8)


def python(*arguments: str, **environment: str) -> str:
    """Run a new interpreter on the checkout; return what it printed."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=found, check=True
    )
    return done.stdout


class Clock:
    """Runs workloads and keeps, for each run, `wall_time_s` and the time of the whole call."""

    def __init__(self, *steps: Workload, rung: str) -> None:
        self.device, self.steps, self.rung = load_device(DEVICE), steps, rung
        self.walls: list[float] = []
        self.calls: list[float] = []
        self()  # compiles or loads the kernels

    def __call__(self) -> None:
        began = perf_counter()
        results = [simulate(self.device, step, rung=self.rung) for step in self.steps]
        self.calls.append(perf_counter() - began)
        self.walls.append(sum(result.wall_time_s for result in results))

    def best(self) -> dict[str, float]:
        """Return the best run but the first, in seconds."""
        return {"wall_time_s": min(self.walls[1:]), "call_s": min(self.calls[1:])}


def test_main_job_tile(benchmark: BenchmarkFixture, figure: Figure) -> None:
    job = Clock(*main_job(load_model("llama-2-7b")), rung="tile")
    benchmark.pedantic(job, setup=forget, rounds=5)
    best = job.best()
    benchmark.extra_info.update(best)
    figure(
        f"prefill 2048 + decode 32 x 2048, tile, kernels cached: {best['wall_time_s']:.3f} s "
        f"wall_time_s, {best['call_s']:.3f} s for the two calls"
    )
    assert len(job.walls) > 1


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("searched", ["new", "known"])
def test_analytic(benchmark: BenchmarkFixture, figure: Figure, phase: str, searched: str) -> None:
    job = Clock(main_job(load_model("llama-2-7b"))[phase == "decode"], rung="analytic")
    benchmark.pedantic(job, setup=forget if searched == "new" else None, rounds=20)
    best = job.best()
    benchmark.extra_info.update(best)
    figure(
        f"{phase}, analytic, tilings {searched}: {best['wall_time_s'] * 1e3:.2f} ms wall_time_s, "
        f"{best['call_s'] * 1e3:.2f} ms for the call"
    )
    assert len(job.walls) > 1


@pytest.mark.slow
def test_cold_start(benchmark: BenchmarkFixture, figure: Figure, tmp_path: Path) -> None:
    lines: list[str] = []

    def job() -> None:
        lines.append(python("-c", COLD, NUMBA_CACHE_DIR=str(tmp_path / "kernels")))

    began = perf_counter()
    benchmark.pedantic(job, rounds=1)
    whole = perf_counter() - began
    told = json.loads(lines[0])
    benchmark.extra_info.update(told)
    figure(
        f"main job in a new process, kernel cache empty: {told['wall_time_s']:.2f} s wall_time_s, "
        f"{whole:.2f} s whole process, {told['peak_mb']:.0f} MB peak"
    )
    assert any((tmp_path / "kernels").rglob("*.nbi"))


def test_warm_process(benchmark: BenchmarkFixture, figure: Figure) -> None:
    lines: list[str] = []
    python("-c", COLD)
    benchmark.pedantic(lambda: lines.append(python("-c", COLD)), rounds=3)
    told = [json.loads(line) for line in lines]
    wall, peak = min(t["wall_time_s"] for t in told), max(t["peak_mb"] for t in told)
    benchmark.extra_info.update(wall_time_s=wall, peak_mb=peak)
    figure(
        f"main job in a new process, kernels cached: {wall:.2f} s wall_time_s, {peak:.0f} MB peak"
    )
    assert wall > 0


def test_help(benchmark: BenchmarkFixture, figure: Figure) -> None:
    texts: list[str] = []
    times: list[float] = []

    def job() -> None:
        began = perf_counter()
        texts.append(python("-m", "simulator", "--help"))
        times.append(perf_counter() - began)

    job()
    benchmark.pedantic(job, rounds=5)
    figure(f"--help: {min(times[1:]):.2f} s")
    assert "Usage" in texts[0]


def test_layers(benchmark: BenchmarkFixture, figure: Figure) -> None:
    device, model = load_device(DEVICE), load_model("llama-2-7b")
    walls: dict[int, list[float]] = {32: [], 96: []}

    def job() -> None:
        for layers, found in walls.items():
            step = decode_step(replace(model, {"layers": layers}), batch=32, context=512, **INT8)
            found.append(simulate(device, step).wall_time_s)

    job()
    benchmark.pedantic(job, setup=forget, rounds=5)
    ratio = min(walls[96][1:]) / min(walls[32][1:])
    benchmark.extra_info["ratio"] = ratio
    figure(f"96 equal layers cost {ratio:.2f} times what 32 cost")
    assert len(walls[96]) == len(walls[32])


def test_executor(benchmark: BenchmarkFixture, figure: Figure) -> None:
    device = load_device(DEVICE)
    profile = load_profile(device.energy)
    plans = [plan(step, device, profile) for step in main_job(load_model("llama-2-7b"))]
    tasks: list[int] = []
    times: list[float] = []

    def job() -> None:
        engine = Engine(device, memo=False)
        began = perf_counter()
        runs = [step.run for made in plans for step in engine.tile_steps(made)[0]]
        times.append(perf_counter() - began)
        tasks.append(sum(len(run.tiles[0]) for run in runs if run is not None))

    job()
    benchmark.pedantic(job, rounds=3)
    rate = tasks[0] / min(times[1:])
    benchmark.extra_info.update(tasks=tasks[0], tasks_per_s=rate)
    figure(f"{tasks[0]:,} tasks of 68 segments, none remembered: {rate / 1e6:.2f} M tasks/s")
    assert tasks[0] > 0
