"""How long does a decode iteration of NeuPIMs take? CPU time of one process; none is asserted."""

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import decode_step, load_device, load_model, simulate
from simulator.dram import profile
from simulator.dram.pim.neupims import read_requests
from simulator.mapping import interference, pim_attention
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Workload

DATA = Path(os.environ.get("NIBBLESIM_DATA", Path(__file__).parents[3] / "shared/data"))
SAMPLE = DATA / "simulators/neupims_sample_7b_requests.csv"


def forget() -> None:
    """Delete what earlier runs found out about memories."""
    profile._SHAPES.clear()
    profile._SERVED.clear()
    interference.interference.cache_clear()
    pim_attention.neupims_done.cache_clear()


def iteration(workload: Workload, sub_batch: str) -> tuple[Result, float]:
    """Return a decode iteration of a device just loaded, and its CPU time."""
    forget()
    device = load_device("neupims")
    start = process_time()
    result = simulate(device, workload, policies=Policies(sub_batch=sub_batch))
    return result, process_time() - start


@pytest.mark.parametrize("sub_batch", ["off", "on", "auto"])
def test_a_decode_iteration_of_neupims(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    request: pytest.FixtureRequest,
    sub_batch: str,
) -> None:
    """GPT3-7B on 4 devices, the sample of 512 requests, all 32 layers, on the tile rung."""
    timed = not request.config.getoption("benchmark_disable") and SAMPLE.exists()
    listed = read_requests(SAMPLE) if timed else [(256, channel) for channel in range(32)]
    workload = decode_step(
        load_model("gpt3-7b"),
        context=[keys for keys, _ in listed],
        channels=[channel for _, channel in listed if channel is not None],
        tensor_parallel=4,
    )
    result, seconds = benchmark.pedantic(
        lambda: iteration(workload, sub_batch), rounds=3 if timed else 1, warmup_rounds=1
    )
    result.check()
    figure(
        f"NeuPIMs, GPT3-7B TP 4, {len(listed)} requests, sub_batch {sub_batch}: "
        f"{result.cycles_per_block:,.0f} cycles a block; simulated in {seconds:.3f} s"
    )
