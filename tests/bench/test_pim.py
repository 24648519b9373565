"""How long does a decode layer on HBM-PIM take? CPU time of one process; no time is asserted."""

from collections.abc import Callable
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.dram.pim.aim import load_aim, run_gemv
from simulator.dram.pim.hbm_pim import Call, load_hbm_pim, run_calls
from simulator.dram.pim.run import PimRun

Figure = Callable[[str], None]
#: Llama-2-7B: hidden size, inner size, heads and their size.
HIDDEN, INNER, HEADS, HEAD = 4096, 11008, 32, 128


def layer(batch: int, context: int) -> list[Call]:
    """Return one decode layer in FP16: Q, K, V, O, gate, up, down, then scores and contexts.

    Weights are on all channels, each head on channels of its own with a matrix a request.
    """
    weights = [*[(HIDDEN, HIDDEN)] * 4, *[(INNER, HIDDEN)] * 2, (HIDDEN, INNER)]
    heads = {"kernel": "gemv", "matrices": batch, "heads": HEADS}
    return [
        *(Call(kernel="gemv", out=out, inputs=inputs, batch=batch) for out, inputs in weights),
        Call(out=context, inputs=HEAD, **heads),  # type: ignore[arg-type]
        Call(out=HEAD, inputs=context, **heads),  # type: ignore[arg-type]
    ]


def least_time(run: Callable[[], PimRun]) -> tuple[PimRun, float]:
    """Return a run and the least CPU time of five."""
    times = []
    for _ in range(5):
        start = process_time()
        made = run()
        times.append(process_time() - start)
    return made, min(times)


def test_a_decode_layer_on_hbm_pim(
    benchmark: BenchmarkFixture, figure: Figure, request: pytest.FixtureRequest
) -> None:
    part, timed = load_hbm_pim(), not request.config.getoption("benchmark_disable")
    batch, context = (32, 2048) if timed else (1, 64)
    calls = layer(batch, context)
    run, seconds = benchmark.pedantic(
        lambda: least_time(lambda: run_calls(part, calls)), rounds=1, warmup_rounds=1
    )
    assert run.operations == sum(call.operations for call in calls)
    assert run.bursts >= run.wanted_bursts > 0
    figure(
        f"HBM-PIM, Llama-2-7B decode layer, batch {batch}, context {context}, FP16: "
        f"{run.bursts / 1e6:.2f} M MAC commands on {run.channels} channels, "
        f"{run.wanted_bursts / 1e6:.2f} M before padding; "
        f"{run.cycles} cycles, {run.time_s * 1e3:.3f} ms; simulated in {seconds:.3f} s"
    )


def test_a_matrix_on_aim(
    benchmark: BenchmarkFixture, figure: Figure, request: pytest.FixtureRequest
) -> None:
    part = load_aim()
    size = 64 if request.config.getoption("benchmark_disable") else HIDDEN
    run, seconds = benchmark.pedantic(
        lambda: least_time(lambda: run_gemv(part, size, size, batch=32)), rounds=1, warmup_rounds=1
    )
    assert run.operations == 32 * size**2
    commands = sum(run.commands.values())
    figure(
        f"AiM, {size} x {size}, 32 vectors: {commands / 1e6:.2f} M commands on {run.channels} "
        f"channels, {run.time_s * 1e3:.3f} ms; simulated in {seconds:.3f} s"
    )
