"""How fast are runs whose transfers are served by commands? CPU time of one process.

Nothing asserts on time; what is asserted is that the timed work was done.
"""

from collections.abc import Callable
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator import decode_step, load_device, load_model, prefill, simulate
from simulator.config import replace
from simulator.dram import profile
from simulator.dram.channels import Access, Channels
from simulator.dram.transfers import drained, transfers
from simulator.dram.transfers_kernel import serve

Figure = Callable[[str], None]
BATCH, CONTEXT = 32, 2048


def layer_streams() -> list[Access]:
    """Return what one layer of Llama-2-7B reads and writes in a decode step, all FP16.

    Weights end to end; keys and values of each request and head apart; those of the new tokens.
    """
    model = load_model("llama-2-7b")
    requests_heads = BATCH * model.kv_heads
    past = 2 * 2 * requests_heads * CONTEXT * model.head_dim
    new = 2 * 2 * requests_heads * model.head_dim
    return [
        Access(False, 2 * model.layer_parameters, 1, 1),
        Access(False, past, 2 * requests_heads, 0),
        Access(True, new, 2 * requests_heads, 0),
    ]


@pytest.mark.parametrize("channels", [32, 8])
def test_weights_and_keys_and_values_of_a_decode_layer(
    benchmark: BenchmarkFixture, figure: Figure, channels: int
) -> None:
    device = replace(
        load_device("npu_hbm2"), {"memory.channels": channels, "memory.capacity": "8 GiB"}
    )
    memory, accesses = device.memory, layer_streams()
    assert isinstance(memory, Channels)

    def run() -> float:
        start = process_time()
        served = transfers(memory, accesses)
        for stream in range(len(accesses)):
            serve(served, stream, stream + 1, 0, 1, 0)
        assert drained(memory, served).requests == sum(map(memory.bursts, accesses))
        return process_time() - start

    times = list[float]()
    benchmark.pedantic(lambda: times.append(run()), rounds=3, warmup_rounds=1)
    bursts = sum(map(memory.bursts, accesses))
    figure(
        f"weight and KV streams of a decode layer (batch {BATCH}, context {CONTEXT}, FP16), HBM2 x "
        f"{channels}: {min(times):.3f} s, {bursts} bursts a channel, "
        f"{bursts / min(times) / 1e6:.1f} M/s"
    )


def test_a_decode_step_by_commands(benchmark: BenchmarkFixture, figure: Figure) -> None:
    device, model = load_device("npu_hbm2"), load_model("llama-2-7b")
    step = decode_step(model, batch=BATCH, context=CONTEXT)
    result = benchmark.pedantic(simulate, (device, step, "command"), rounds=3, warmup_rounds=1)
    result.check()
    figure(f"Llama-2-7B decode step on npu_hbm2 by commands: {result.wall_time_s:.2f} s wall")


def test_constants_of_a_memory(
    benchmark: BenchmarkFixture, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefill whose activations come and go asks for most shapes."""
    device = replace(load_device("npu_hbm2"), {"scratchpad.capacity": "4 MiB"})
    step, times, known = prefill(load_model("llama-2-7b"), sequence=512), list[float](), 0

    def run() -> None:
        nonlocal known
        shapes = dict[tuple[object, ...], profile.Shapes]()
        monkeypatch.setattr(profile, "_SHAPES", shapes)
        monkeypatch.setattr(profile, "_SERVED", {})
        start = process_time()
        simulate(replace(device, {}), step, "analytic").check()
        times.append(process_time() - start)
        (found,) = shapes.values()
        known = len(found)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    figure(f"prefill of 512 tokens, 4 MiB, analytic, {known} shapes unknown: {min(times):.2f} s")
