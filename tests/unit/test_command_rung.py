"""Is a run served by commands what its channels allow, and are its books right?"""

from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from plans import variant

from simulator.api import load_model, simulate
from simulator.dram import Strided, run_stream
from simulator.dram.channels import Channels
from simulator.errors import CheckError
from simulator.hardware import Device
from simulator.results import Result, load
from simulator.workload import Workload, decode_step, gemm

#: Weights of 32 MiB, which all multiply 16 rows.
WORK = gemm(16, 8192, 4096, weights="int8", activations="int8")
#: A matrix unit that never waits for weights: what takes time is memory.
FAST = {
    "kind": "throughput",
    "macs": 1 << 20,
    "efficiency": 1.0,
    "pe": {"name": "fast", "formats": {"int8xint8": 1}, "source": "test"},
    "source": "test",
}


def device(**changes: Any) -> Device:
    """Return npu_hbm2 with a matrix unit that never waits, and values changed; "__" is a dot."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return variant("npu_hbm2", {"matrix": FAST, **named})


def run(work: Workload = WORK, *, memo: bool = True, **changes: Any) -> Result:
    result = simulate(device(**changes), work, "command", memo=memo)
    result.check()
    return result


def small_decode() -> Workload:
    return decode_step(
        load_model("gpt-2"), batch=2, context=64, weights="int8", activations="int8", kv="int8"
    )


def test_a_product_takes_as_long_as_its_weights_in_the_channels() -> None:
    """The channels serve one stream of weights, interrupted by a few reads and writes."""
    made, result = device(), run()
    channels = made.memory
    assert isinstance(channels, Channels)
    bursts = -(-(8192 * 4096) // (32 * channels.channels))
    stream = Strided(channels.order, 32)
    alone = run_stream(stream, channels.standard, bursts, channels.settings).time_s
    assert alone < result.latency_s < 1.06 * alone


def test_pieces_are_whole_bursts_of_the_channels() -> None:
    """npu_hbm2's DMA would move single bytes; a burst has 32."""
    odd = run(gemm(3, 77, 50, weights="int8", activations="int8"))
    assert all(record.bytes_moved % 32 == 0 for record in odd.records)
    assert device(dma__burst="64 B").burst_bytes == 64
    assert device().burst_bytes == 32


def test_the_channel_served_what_the_plan_moves() -> None:
    result = run()
    channel = result.channel
    assert channel is not None
    assert channel.channels * channel.access_bytes * channel.requests >= result.bytes["dram"]
    assert channel.commands["RD"] + channel.commands["WR"] == channel.requests
    assert channel.row_hits + channel.row_misses + channel.row_conflicts == channel.requests
    assert channel.energy_j is not None
    assert channel.energy_j > 0
    tile = simulate(device(), WORK, "tile")
    assert tile.channel is None
    assert tile.bytes == result.bytes


def test_a_burst_too_few_is_found() -> None:
    result = run()
    assert result.channel is not None
    fewer = changed(result.channel, requests=result.channel.requests - 1)
    with pytest.raises(CheckError, match=r"channel: \d+ bursts, closed form \d+"):
        changed(result, channel=fewer).check()


def test_memory_of_equal_segments_changes_nothing() -> None:
    first = run(small_decode())
    assert run(small_decode()).canonical_bytes() == first.canonical_bytes()
    assert run(small_decode(), memo=False).canonical_bytes() == first.canonical_bytes()


def test_a_saved_run_comes_back(tmp_path: Path) -> None:
    result = run()
    assert load(result.save(tmp_path / "out")) == result
    text = str(result.summary())
    assert "One of 32 channels of hbm2_2000" in text
    assert "hits" in text


def test_refresh_takes_its_part() -> None:
    with_it, without = run(), run(memory__refresh="none")
    assert with_it.channel is not None
    assert without.channel is not None
    assert "REFab" not in without.channel.commands
    # 350 of 3,900 ticks, as long as rows are then opened again.
    assert 1.09 < with_it.latency_ps / without.latency_ps < 1.13


def test_policies_of_the_controller_are_the_devices() -> None:
    """A stream in order waits for the bank that is refreshed; closed pages are opened again."""
    usual, per_bank = run(), run(memory__refresh="per_bank")
    closed = run(memory__page="closed")
    assert usual.channel is not None
    assert per_bank.channel is not None
    assert closed.channel is not None
    assert "REFab" not in per_bank.channel.commands
    assert per_bank.channel.commands["REFpb"] > 0
    assert 1 < per_bank.latency_ps / usual.latency_ps < 1.1
    assert closed.channel.row_conflicts < usual.channel.row_conflicts / 2
    assert closed.channel.row_misses > usual.channel.row_misses


def test_bytes_in_flight_hold_commands_back_too() -> None:
    slow = device(dma__in_flight="4 KiB")
    limit = 4096 * 1e12 / slow.memory_profile.latency_ps  # of a read that waits for nobody
    result = simulate(slow, WORK, "command")
    result.check()
    assert result.bytes["dram"] / result.latency_s <= limit
    assert result.latency_ps == pytest.approx(simulate(slow, WORK, "tile").latency_ps, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 1024, 1700), (64, 64, 64), (3, 5000, 77)])
def test_small_products_are_no_faster_than_the_peak(shape: tuple[int, int, int]) -> None:
    """A product before the first refresh is faster than the memory is in the long run."""
    for changes in ({}, {"dma__in_flight": "64 B"}, {"memory__channels": 1000}):
        run(gemm(*shape, weights="int8", activations="int8"), **changes)


def test_short_segments_are_refreshed_as_often_as_long_ones() -> None:
    result = run(small_decode(), memory__channels=128)
    assert result.channel is not None
    interval_ps = 3_900_000
    due = 2 * result.latency_ps / interval_ps
    assert due - 2 <= result.channel.commands.get("REFab", 0) <= due + 2


def test_more_channels_are_faster_and_descriptors_take_their_time() -> None:
    sixteen = run(memory__channels=16, memory__capacity="16 GiB")
    assert 1.9 < sixteen.latency_ps / run().latency_ps < 2.05
    described = run(dma__descriptor_cycles=200)
    tile = simulate(device(dma__descriptor_cycles=200), WORK, "tile")
    assert described.latency_ps == pytest.approx(tile.latency_ps, rel=0.03)
    assert described.latency_ps > run().latency_ps


def test_commands_are_near_the_constants_of_the_tile_rung() -> None:
    """On one long stream, the profile was made from the same controller."""
    assert run().latency_ps == pytest.approx(simulate(device(), WORK, "tile").latency_ps, rel=0.05)
