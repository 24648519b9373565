"""Does the controller issue what Ramulator issued, and only what the standard allows?"""

import csv
import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config import replace
from simulator.dram import (
    STREAM_NAMES,
    Command,
    Random,
    Run,
    Settings,
    Standard,
    Strided,
    channel,
    controller,
    load_standard,
    named_stream,
    read_requests,
    run_requests,
    run_stream,
    standard_names,
)
from simulator.dram.checker import check_commands
from simulator.dram.repeats import Repeats
from simulator.dram.streams import addresses
from simulator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
RECORDED = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000")
STILL = Settings(refresh="none")


def recorded(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (CMU-SAFARI/ramulator2 @c5b1c3a)")
    return path


def traced(
    stream: str, standard: Standard, count: int, given: Settings
) -> tuple[Run, list[Command]]:
    """Return a run of a named stream and its commands."""
    commands = list[Command]()
    run = run_stream(named_stream(stream, standard), standard, count, given, commands.extend)
    return run, commands


@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize("name", RECORDED)
def test_the_same_command_at_the_same_clock(name: str, stream: str) -> None:
    """Of the requests in the recorded file, as of the stream in closed form."""
    label, standard = f"{name.upper()}_{stream}_1000", load_standard(name)
    with gzip.open(recorded(f"ramulator2_commands/{label}.csv.gz"), "rt") as file:
        header, *rows = csv.reader(file)
    assert header == ["clock", "command", *standard.levels, "type", "source"]
    theirs = [(int(row[0]), row[1], tuple(map(int, row[2:-2]))) for row in rows]
    _, ours = traced(stream, standard, 1000, STILL)
    assert ours == theirs
    writes, levels = read_requests(recorded(f"ramulator2_requests/{label}.txt.gz"), standard)
    replayed = list[Command]()
    run_requests(writes, levels, standard, STILL, replayed.extend)
    assert replayed == theirs


def totals() -> Iterable[tuple[str, str, str, int]]:
    """Name every recorded run."""
    for name in RECORDED:
        for refresh in ("noref", "ref"):
            for stream in STREAM_NAMES:
                for count in (1_000, 10_000, 100_000):
                    yield name, refresh, stream, count


@pytest.mark.parametrize(("name", "refresh", "stream", "count"), list(totals()))
def test_totals_are_those_of_ramulator(name: str, refresh: str, stream: str, count: int) -> None:
    """Ticks, rows, commands and latencies, with refresh too."""
    with recorded("ramulator2_streams.csv").open(newline="") as file:
        key = (name.upper(), refresh, stream, str(count))
        (row,) = (
            each for each in csv.DictReader(file)
            if (each["standard"], each["refresh"], each["stream"], each["requests"]) == key
        )  # fmt: skip
    standard = load_standard(name)
    given = Settings(refresh="all_bank" if refresh == "ref" else "none")
    run = run_stream(named_stream(stream, standard), standard, count, given)
    assert run.ticks == int(row["ticks"])
    assert run.requests == count
    rows = (run.row_hits, run.row_misses, run.row_conflicts)
    assert rows == tuple(int(row[f"row_{each}"]) for each in ("hits", "misses", "conflicts"))
    expected = dict(each.split("=") for each in row["cmds"].split(";"))
    assert run.commands == {command: int(number) for command, number in expected.items()}
    assert run.latency_avg_ticks == pytest.approx(float(row["lat_avg_ticks"]), abs=1e-4)
    gigabytes = float(row["bw_GBps"])
    assert run.bandwidth_bytes_per_s == pytest.approx(1e9 * gigabytes, rel=1e-3)


@pytest.mark.parametrize("order", controller.ORDERS)
@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize("name", standard_names())
def test_no_constraint_is_broken(name: str, stream: str, order: str) -> None:
    standard = load_standard(name)
    run, commands = traced(stream, standard, 2000, Settings(order=order))  # type: ignore[arg-type]
    report = check_commands(standard, commands)
    assert report.violations == ()
    assert report.commands == run.commands


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(standard_names()),
    seed=st.integers(0, 2**32),
    write_every=st.integers(0, 4),
    order=st.sampled_from(controller.ORDERS),
    queue=st.integers(1, 64),
)
def test_no_random_stream_breaks_a_constraint(
    name: str, seed: int, write_every: int, order: str, queue: int
) -> None:
    standard, commands = load_standard(name), list[Command]()
    given_settings = Settings(order=order, queue=queue)  # type: ignore[arg-type]
    stream = Random(write_every=write_every, seed=seed)
    run = run_stream(stream, standard, 500, given_settings, commands.extend)
    assert check_commands(standard, commands).violations == ()
    assert run.requests == 500
    # Every request is served once, but for reads of what a write holds.
    assert 495 <= run.commands.get("RD", 0) + run.commands.get("WR", 0) <= 500


@pytest.mark.parametrize("name", RECORDED)
def test_an_unloaded_read_takes_an_activation_and_the_read_latency(name: str) -> None:
    standard = load_standard(name)
    opens = max(
        row.ticks for row in standard.constraints
        if row.level == "Bank" and "ACT" in row.before and "RD" in row.after
    )  # fmt: skip
    run = run_stream(named_stream("seq_row", standard), standard, 1, STILL)
    assert run.ticks == 1 + opens + standard.read_latency_ticks
    assert run.latency_max_ticks == run.ticks


@pytest.mark.parametrize("name", RECORDED)
def test_a_sequential_stream_reaches_the_peak_and_refresh_takes_its_part(name: str) -> None:
    standard = load_standard(name)
    stream = named_stream("seq_bg", standard)
    still = run_stream(stream, standard, 50_000, STILL)
    assert 0.99 < still.bandwidth_bytes_per_s / standard.peak_bytes_per_s <= 1
    refreshed = run_stream(stream, standard, 50_000)
    # A refresh blocks its banks for nRFC, and what is open has to be closed and opened again.
    blocked = standard.timing.get("nRFC", standard.timing.get("nRFCab", 0))
    least = 1 - (blocked + 150) / standard.refresh.interval_ticks
    part = refreshed.bandwidth_bytes_per_s / still.bandwidth_bytes_per_s
    assert least < part < 1 - 0.9 * blocked / standard.refresh.interval_ticks


def test_conflicts_take_a_cycle_of_the_bank_each() -> None:
    for name, ticks in (("ddr4_3200", 74), ("ddr5_4800", 113), ("hbm2_2000", 48)):
        standard = load_standard(name)
        stream = named_stream("conflict", standard)
        one, two = (run_stream(stream, standard, count, STILL).ticks for count in (1000, 2000))
        assert two - one == 1000 * ticks


def test_blocks_of_any_size_give_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    standard = load_standard("hbm2_2000")
    whole = traced("mix21_random", standard, 3000, Settings())
    monkeypatch.setattr(channel, "BLOCK", 7)
    monkeypatch.setattr(channel, "TRACE", 5)
    assert traced("mix21_random", standard, 3000, Settings()) == whole


def test_in_order_serves_the_oldest_first() -> None:
    standard = load_standard("ddr4_3200")
    _, commands = traced("random", standard, 400, Settings(order="in_order", refresh="none"))
    served = [each.address for each in commands if each.name == "RD"]
    _, levels = controller_addresses(standard, 400)
    assert served == [tuple(each) for each in levels.tolist()]
    fast = run_stream(named_stream("random", standard), standard, 400, STILL)
    slow = run_stream(
        named_stream("random", standard), standard, 400, Settings(order="in_order", refresh="none")
    )
    assert fast.ticks < slow.ticks / 2


def controller_addresses(standard: Standard, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first requests of the random stream."""
    return addresses(named_stream("random", standard), standard, 0, count)


def test_a_read_of_what_is_to_be_written_is_served_from_there() -> None:
    standard = load_standard("ddr4_3200")
    writes = np.array([False, True, False])
    levels = np.array([[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 2, 8], [0, 0, 0, 0, 2, 8]])
    run = run_requests(writes, levels, standard, STILL)
    assert run.commands == {"ACT": 2, "PREpb": 1, "RD": 1, "WR": 1}
    assert (run.requests, run.row_hits + run.row_misses + run.row_conflicts) == (3, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": "lifo"}, "order must be one of fr_fcfs, in_order, got 'lifo'"),
        ({"refresh": "some"}, "refresh must be one of all_bank, none, got 'some'"),
        ({"queue": 0}, "queue must be 1 to 64 entries, got 0"),
        ({"low": 0.9}, "needs 0 < low <= high <= 1, got 0.9 and 0.8"),
        ({"low": 0.0}, "needs 0 < low <= high <= 1, got 0 and 0.8"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_wrong_requests_are_refused() -> None:
    standard = load_standard("ddr4_3200")
    with pytest.raises(InputError) as caught:
        run_stream(named_stream("random", standard), standard, 0)
    assert str(caught.value) == "requests must be >= 1, got 0"
    two = replace(standard, {"levels.Channel": 2})
    stream = Strided(("Row", "BankGroup", "Bank", "Rank", "Column", "Channel"), 64)
    with pytest.raises(InputError) as caught:
        run_stream(stream, two, 8)
    assert str(caught.value) == "requests of a channel must be of channel 0"


@pytest.mark.parametrize("stream", ["seq_row", "seq_bg", "conflict", "mix21_seq"])
@pytest.mark.parametrize("refresh", controller.REFRESHES)
@pytest.mark.parametrize("name", standard_names())
def test_what_repeats_is_jumped_over_to_the_same_result(
    name: str, refresh: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the scheduler gives it request by request, at lengths that are no whole rounds."""
    standard, given = load_standard(name), Settings(refresh=refresh)  # type: ignore[arg-type]
    walk = named_stream(stream, standard)
    counts = (30_001, 40_960)
    fast = [run_stream(walk, standard, count, given) for count in counts]
    monkeypatch.setattr(Repeats, "skip", lambda *_: 0)
    assert fast == [run_stream(walk, standard, count, given) for count in counts]


@pytest.mark.parametrize("stream", ["seq_row", "seq_bg", "conflict"])
@pytest.mark.parametrize("name", standard_names())
def test_regular_streams_are_jumped_over(
    name: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without refresh, few requests are served one by one, whatever the length."""
    standard, offered = load_standard(name), list[int]()
    serve = channel.serve

    def counted(*given: Any) -> None:
        offered.append(len(given[3]))
        serve(*given)

    monkeypatch.setattr(channel, "serve", counted)
    run = run_stream(named_stream(stream, standard), standard, 10_000_000, STILL)
    assert run.requests == 10_000_000
    assert sum(offered) < 20_000


@settings(max_examples=25, deadline=None)
@given(
    stride=st.integers(1, 5000),
    write_every=st.integers(0, 3),
    rows=st.integers(1, 40),
    queue=st.integers(1, 40),
    refresh=st.sampled_from(controller.REFRESHES),
)
def test_any_stride_is_jumped_over_to_the_same_result(
    stride: int, write_every: int, rows: int, queue: int, refresh: str
) -> None:
    """Of few rows too, around the last of which a stream goes many times."""
    standard = replace(load_standard("hbm2_2000"), {"levels.Row": rows})
    given = Settings(refresh=refresh, queue=queue)  # type: ignore[arg-type]
    stride_bytes = stride * standard.access_bytes
    stream = Strided("RoBaCoBgPc", stride_bytes, write_every=write_every)
    fast = run_stream(stream, standard, 5000, given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repeats, "skip", lambda *_: 0)
        assert fast == run_stream(stream, standard, 5000, given)


def test_a_write_may_wait_while_any_number_of_reads_pass() -> None:
    """Its column is still its own when it is served."""
    standard = load_standard("ddr4_3200")
    stream = Random(write_every=2000)
    commands = list[Command]()
    run_stream(stream, standard, 4000, STILL, commands.extend)
    _, levels = addresses(stream, standard, 0, 4000)
    written = [each.address for each in commands if each.name == "WR"]
    assert written == [tuple(levels[i].tolist()) for i in (1999, 3999)]
