"""Does a channel get its share of an access, and serve it as it serves a stream?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import replace
from simulator.dram import run_stream
from simulator.dram.channels import Access, Channels
from simulator.dram.profile import Profile, profile_of
from simulator.dram.streams import Stream, addresses
from simulator.dram.transfers import drained, transfers
from simulator.dram.transfers_kernel import queued_ps, serve

MIB = 1 << 20
STANDARDS = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000", "hbm3_6400", "lpddr5_6400")


def memory(standard: str = "hbm2_2000", channels: int = 4, **changes: object) -> Channels:
    """Return a memory of some channels that go round every 256 bytes, without refresh."""
    return Channels.model_validate(
        {
            "kind": "channels",
            "standard": standard,
            "channels": channels,
            "interleave": "256 B",
            "refresh": "none",
            "capacity": "1 GiB",
            "latency": "0 ns",
            "source": "test",
            **changes,
        }
    )


def in_shares(channels: Channels, accesses: list[Access], shares: int) -> tuple[int, int]:
    """Return the ps at which all were taken, and the ticks at which all were done."""
    t, time = transfers(channels, accesses), 0
    for share in range(shares):
        time = serve(t, 0, len(accesses), share, shares, time)
    return time, drained(channels, t).ticks


def test_channels_share_an_access_and_what_is_smaller_than_a_burst_takes_one() -> None:
    four = memory()  # bursts of 32 bytes
    assert four.bursts(Access(False, 4096, 1, 1)) == 4096 // 32 // 4
    assert four.bursts(Access(False, 4100, 1, 1)) == 33
    assert four.bursts(Access(False, 10, 10, 0)) == 3
    assert four.bursts(Access(True, 33 * 8, 8, 0)) == 4
    # 256 bytes in one run meet one channel alone.
    assert four.bursts(Access(False, 256, 1, 1)) == 8
    assert four.bursts(Access(False, 2 * 256, 2, 0)) == 4


@pytest.mark.parametrize(
    ("run_bytes", "bursts"),
    [(1, 1), (32, 1), (100, 4), (256, 8), (512, 8), (1024, 8), (2048, 16), (8192, 64)],
)
def test_a_run_is_cut_at_the_interleaving_until_every_channel_has_more(
    run_bytes: int, bursts: int
) -> None:
    assert memory().run_bursts(run_bytes) == bursts


def stream_of(channels: Channels, access: Access, base_bytes: int = 0) -> Stream:
    """Return what one channel sees of an access."""
    return channels.stream(channels.shape(access), channels.bursts(access), base_bytes)


@pytest.mark.parametrize("access", [
    Access(False, MIB, 1, 1),
    Access(True, MIB, 64, 1),
    Access(False, MIB, 256, 8),
    Access(True, 4 * MIB, 2, 0),
])  # fmt: skip
def test_streams_write_as_their_access_and_start_where_they_are_put(access: Access) -> None:
    four = memory()
    base, count = 3 * four.stripe_bytes, four.bursts(access)
    writes, levels = addresses(stream_of(four, access, base), four.standard, 0, count)
    assert writes.all() == writes.any() == access.write
    # Three stripes are three rows of every bank; a mebibyte over four channels is eight rows.
    rows = levels[:, list(four.standard.levels).index("Row")]
    assert rows.min() == 3
    assert rows.max() < 3 + 8 * access.size_bytes // MIB
    assert len(np.unique(levels, axis=0)) == len(levels)


def test_runs_anywhere_are_elsewhere_for_each_access_and_fit_a_full_channel() -> None:
    four, access = memory(), Access(False, 1 << 40, 1 << 28, 0)
    first, second = (stream_of(four, access, base) for base in (0, four.stripe_bytes))
    places = [addresses(each, four.standard, 0, 1024)[1].tolist() for each in (first, second)]
    assert places[0] != places[1]


@pytest.mark.parametrize("name", STANDARDS)
@pytest.mark.parametrize("write", [False, True])
def test_a_transfer_is_the_stream_that_it_is(name: str, write: bool) -> None:
    channels, access = memory(name), Access(write, MIB, 1, 1)
    stream = stream_of(channels, access)
    alone = run_stream(stream, channels.standard, channels.bursts(access), channels.settings)
    t = transfers(channels, [access])
    taken = serve(t, 0, 1, 0, 1, 0)
    assert drained(channels, t) == alone
    # What is taken last waits in the queue: it is done at most a full queue later.
    peak_ps = 1e12 * channels.standard.access_bytes / channels.standard.peak_bytes_per_s
    assert taken >= channels.bursts(access) * peak_ps
    assert taken <= alone.ticks * channels.standard.tick_ps + 40 * peak_ps


@given(shares=st.integers(1, 5000))
def test_a_transfer_in_shares_takes_as_long_as_at_once(shares: int) -> None:
    """HBM2 takes a burst a tick, as it serves them: nothing is lost between shares."""
    channels, access = memory(), [Access(False, MIB, 1, 1)]
    assert in_shares(channels, access, shares) == in_shares(channels, access, 1)


def test_a_transfer_begins_when_it_is_asked_for() -> None:
    channels, access = memory(), [Access(False, 128, 4, 0)]  # a burst on each channel
    t = transfers(channels, access)
    # The next tick of 1,000 ps takes its burst, which lasts a tick.
    assert serve(t, 0, 1, 0, 1, 5_000_001) == 5_001_001
    assert drained(channels, t).requests == 1


def test_nothing_takes_no_time() -> None:
    t = transfers(memory(), [Access(False, 128, 4, 0)])
    assert serve(t, 0, 0, 0, 1, 77) == 77
    assert serve(t, 0, 1, 0, 3, 78) == 78  # one burst in three shares: the last has it


def test_what_is_taken_and_not_done_waits_in_the_queue() -> None:
    channels = memory("ddr4_3200")
    t = transfers(channels, [Access(False, MIB, 1, 1)])
    serve(t, 0, 1, 0, 8, 0)
    peak_ps = 1e12 * channels.standard.access_bytes / channels.standard.peak_bytes_per_s
    assert 0 < queued_ps(t) <= 40 * peak_ps


def test_refreshes_come_due_between_transfers() -> None:
    channels = memory(refresh="all_bank")
    interval = channels.standard.refresh.interval_ticks * channels.standard.tick_ps
    t = transfers(channels, [Access(False, 256, 1, 1)])
    serve(t, 0, 1, 0, 2, 0)
    serve(t, 0, 1, 1, 2, 10 * interval)
    # Two pseudo-channels; the first is due after half an interval.
    assert drained(channels, t).commands["REFab"] == 2 * 10
    later = drained(channels, t, 13 * interval)
    assert later.commands["REFab"] == 2 * 13
    assert later.ticks == 13 * channels.standard.refresh.interval_ticks
    assert later.active_ticks + later.idle_ticks == 2 * later.ticks


@pytest.mark.parametrize(("since", "refreshes"), [(0.0, 0), (0.5, 0), (0.875, 2)])
def test_a_channel_starts_some_time_after_a_refresh(since: float, refreshes: int) -> None:
    channels = memory(refresh="all_bank")
    t = transfers(channels, [Access(False, 100_000, 1, 1)], since)  # 782 bursts of 3,900 ticks
    serve(t, 0, 1, 0, 1, 0)
    assert drained(channels, t).commands.get("REFab", 0) == refreshes


def shape(run_bytes: int, columns: int, *, write: bool = False) -> Access:
    """Return many runs of some bytes."""
    return Access(write, 1024 * run_bytes, 1024, columns)


@pytest.mark.parametrize("name", STANDARDS)
def test_no_shape_is_faster_than_the_peak_nor_than_the_best_long_stream(name: str) -> None:
    channels = memory(name, refresh="all_bank")
    profile, peak = profile_of(channels), 1e12 / channels.bandwidth_bytes_per_s
    assert peak < profile.least_ps_per_byte < 1.3 * peak
    for size in (32, 256, 3 * 1024, 1 << 20, 1 << 24):
        for access in (shape(size, 0), shape(size, 7), shape(size, 64, write=True)):
            assert profile.ps_per_byte(access) >= profile.least_ps_per_byte
    # 256 bytes anywhere open a row for themselves; half a burst takes a burst.
    assert profile.ps_per_byte(shape(256, 0)) > 1.2 * profile.ps_per_byte(shape(256, 1))
    burst = channels.standard.access_bytes
    assert profile.ps_per_byte(shape(burst // 2, 0)) == 2 * profile.ps_per_byte(shape(burst, 0))
    assert profile.ps_per_byte(shape(1 << 24, 0)) == profile.ps_per_byte(shape(1 << 24, 1))


def test_runs_far_apart_open_rows_for_themselves() -> None:
    """A channel has 1,024 bursts in a row of every bank: 128 runs of 8 are as far apart."""
    profile = profile_of(memory(refresh="all_bank"))
    near, far = (profile.ps_per_byte(shape(256, columns)) for columns in (8, 128))
    assert near < 1.1 * profile.least_ps_per_byte
    assert far > 4 * near


@pytest.mark.parametrize("access", [
    Access(False, 64 * MIB, 1, 1),
    Access(True, 64 * MIB, 1, 1),
    Access(False, 16 * MIB, 1 << 14, 16),
    Access(True, 3 * 5 * MIB, 5 << 10, 5),
    Access(False, 16 * MIB, 1 << 8, 0),
])  # fmt: skip
def test_a_profile_is_the_controllers_own_figure(access: Access) -> None:
    channels = memory(refresh="all_bank")
    profile = profile_of(channels)
    stream = stream_of(channels, access)
    run = run_stream(stream, channels.standard, channels.bursts(access), channels.settings)
    assert profile.ps(access) == pytest.approx(run.ticks * channels.standard.tick_ps, rel=0.02)


def test_equal_memories_share_what_was_found() -> None:
    first, later = (memory(refresh="all_bank", latency=text) for text in ("0 ns", "7 ns"))
    assert profile_of(first).shapes is profile_of(later).shapes
    # tRCD and the read, 15 + 16 ticks of a nanosecond.
    assert profile_of(first).latency_ps == 31_000
    assert profile_of(later).latency_ps == 38_000
    assert profile_of(memory(channels=5)).shapes is not profile_of(first).shapes


def test_a_profile_is_no_faster_than_the_bytes_in_flight() -> None:
    profile = Profile(2.0, 5).at_least(3.0)
    assert profile == Profile(3.0, 5)
    assert profile.at_least(1.0) == profile
    assert profile.ps(shape(10, 0)) == 3 * 10 * 1024


def test_accesses_lie_apart_each_from_another_bank_and_wrap_around() -> None:
    channels = memory(channels=1, capacity="64 KiB")
    small = replace(channels, {"standard.levels.Row": 16})
    stripe = small.stripe_bytes  # of which it has 16
    t = transfers(small, [Access(False, 5 * stripe, 1, 1)] * 4)
    bases = t.numbers[:, 2] * small.standard.access_bytes
    eighths = [0, 8 * 6 + 5, 2, 8 * 6 + 7]
    assert bases.tolist() == [eighth * stripe // 8 for eighth in eighths]


def test_no_accesses_are_no_streams() -> None:
    channels = memory()
    t = transfers(channels, [])
    assert serve(t, 0, 0, 0, 1, 5) == 5
    assert drained(channels, t).requests == 0
