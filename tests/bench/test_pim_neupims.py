"""How long does the attention of 512 requests in NeuPIMs' memory take to simulate?

NeuPIMs took 94 s for that decode iteration, attention and all else. Nothing asserts on time; what
is asserted is that the timed work was done.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.dram.pim.neupims import (
    AttentionRun,
    load_neupims,
    run_attention,
    sequential_reads,
)

Figure = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"


def sample() -> list[tuple[int, int]]:
    path = DATA / "neupims_sample_7b_requests.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (casys-kaist/NeuPIMs @f299af3)")
    with path.open(newline="") as file:
        return [(int(row["seq_len"]), int(row["ch_idx"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("mode", ["dual", "blocked"])
def test_512_requests_of_a_7b_model(benchmark: BenchmarkFixture, figure: Figure, mode: str) -> None:
    part, requests, times = load_neupims(), sample(), list[float]()

    def run() -> AttentionRun:
        start = process_time()
        done = run_attention(part, mode, requests, hidden=4096, heads=32, tp=4)
        times.append(process_time() - start)
        return done

    done = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert done.operations == 2 * 1024 * sum(tokens for tokens, _ in requests)
    commands = sum(done.commands.values())
    figure(
        f"NeuPIMs, {mode}, {len(requests)} requests, 7B: {commands} commands in "
        f"{min(times):.2f} s of CPU time, {done.mha_cycles} cycles"
    )


@pytest.mark.parametrize("mode", ["dual", "blocked"])
def test_a_tiny_model_beside_reads(benchmark: BenchmarkFixture, figure: Figure, mode: str) -> None:
    """Reads of 0.65 of the bus, of 320,000 ticks, on each of 32 channels."""
    part, requests, times = (
        load_neupims(),
        [(1024, channel) for channel in range(32)] * 3,
        list[float](),
    )
    reads = sequential_reads(part, 100_000, 0.65, first_row=16_384)

    def run() -> AttentionRun:
        start = process_time()
        done = run_attention(part, mode, requests, hidden=1024, heads=8, tp=1, traffic=reads)
        times.append(process_time() - start)
        return done

    done = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert done.commands["RD"] == 32 * len(reads)
    commands, least = sum(done.commands.values()), min(times)
    figure(
        f"NeuPIMs, {mode}, 96 requests beside {done.commands['RD']} reads: {commands} commands in "
        f"{least:.2f} s of CPU time, {commands / least / 1e6:.2f} M a second"
    )
