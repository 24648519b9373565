"""Does the controller issue what Ramulator issued, and only what the standard allows?"""

import csv
import gzip
import os
from collections.abc import Iterable
from functools import partial
from itertools import product
from math import prod
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
    controller_kernel,
    load_standard,
    named_stream,
    read_requests,
    run_requests,
    run_stream,
    standard_names,
)
from simulator.dram.checker import Report, check_commands
from simulator.dram.repeats import Repeats
from simulator.dram.streams import addresses
from simulator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
RECORDED = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000")
STILL = Settings(refresh="none")
#: Memories whose banks can be refreshed one by one, and every memory, page and refresh.
BY_BANK = [name for name in standard_names() if load_standard(name).bank_refresh]
CHOICES = [
    (name, page, refresh)
    for name, page, refresh in product(standard_names(), controller.PAGES, controller.REFRESHES)
    if refresh != "per_bank" or name in BY_BANK
]


def made(**given: Any) -> Settings:
    """Return settings whose texts are drawn."""
    return Settings(**given)


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


def checked(name: str, choice: Settings, commands: list[Command]) -> Report:
    """Return what the checker says of a run; no refresh may be late by more than an interval."""
    late = None if choice.refresh == "none" else 1
    by_bank = choice.refresh == "per_bank"
    return check_commands(load_standard(name), commands, late, bank_by_bank=by_bank)


@pytest.mark.parametrize("order", controller.ORDERS)
@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize(("name", "page", "refresh"), CHOICES)
def test_no_constraint_is_broken(
    name: str, page: str, refresh: str, stream: str, order: str
) -> None:
    choice = made(order=order, page=page, refresh=refresh)
    run, commands = traced(stream, load_standard(name), 1000, choice)
    report = checked(name, choice, commands)
    assert report.violations == ()
    assert report.commands == run.commands


@settings(max_examples=50, deadline=None)
@given(
    choice=st.sampled_from(CHOICES),
    seed=st.integers(0, 2**32),
    write_every=st.integers(0, 4),
    order=st.sampled_from(controller.ORDERS),
    queue=st.integers(1, 64),
)
def test_no_random_stream_breaks_a_constraint(
    choice: tuple[str, str, str], seed: int, write_every: int, order: str, queue: int
) -> None:
    (name, page, refresh), commands = choice, list[Command]()
    chosen = made(order=order, queue=queue, page=page, refresh=refresh)
    stream = Random(write_every=write_every, seed=seed)
    run = run_stream(stream, load_standard(name), 500, chosen, commands.extend)
    assert checked(name, chosen, commands).violations == ()
    assert run.requests == 500
    # Every request is served once, but for reads of what a write holds.
    assert 495 <= run.commands.get("RD", 0) + run.commands.get("WR", 0) <= 500


def bank_row(standard: Standard, before: str, after: str) -> int:
    """Return the ticks that a row of the bank has between two commands."""
    return max(
        row.ticks for row in standard.constraints
        if row.level == "Bank" and before in row.before and after in row.after
    )  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_closed_page_is_precharged_as_soon_as_it_may_be(name: str) -> None:
    """After the only read of its row, which it is open for as short as can be."""
    standard, commands = load_standard(name), list[Command]()
    machine = controller.machine_of(standard, Settings(refresh="none", page="closed"))
    state, block = controller.state_of(machine), channel.of_stream(
        named_stream("seq_row", standard), standard, 2
    )  # fmt: skip
    serve = partial(channel.serve, controller_kernel, standard, (machine, state))
    serve(block(0, 1), False, commands.extend)
    state.k[controller_kernel.NOT_BEFORE] = 1000
    serve(block(1, 1), True, commands.extend)
    reads = 1 + bank_row(standard, "ACT", "RD")
    closes = max(1 + bank_row(standard, "ACT", "PREpb"), reads + bank_row(standard, "RD", "PREpb"))
    found = [(each.tick, each.name, each.address[:-2]) for each in commands]
    bank = found[0][2]
    assert found[:3] == [(1, "ACT", bank), (reads, "RD", bank), (closes, "PREpb", bank)]
    assert found[3] == (1000, "ACT", bank)


@pytest.mark.parametrize("name", standard_names())
def test_no_row_is_closed_that_a_queued_request_wants(name: str) -> None:
    """A sequential stream always wants its row, until the last request of it is served."""
    standard = load_standard(name)
    stream, closed = named_stream("seq_row", standard), made(page="closed", refresh="none")
    run = run_stream(stream, standard, 2000, closed)
    assert run.row_conflicts == 0
    assert run.row_misses == -(-2000 // standard.bursts_per_row)
    assert run.ticks <= run_stream(stream, standard, 2000, STILL).ticks


@pytest.mark.parametrize("name", RECORDED)
def test_a_closed_page_turns_conflicts_into_misses(name: str) -> None:
    standard = load_standard(name)
    stream = named_stream("random", standard)
    opened, closed = (
        run_stream(stream, standard, 5000, made(page=page, refresh="none", queue=1))
        for page in controller.PAGES
    )
    assert opened.row_conflicts == 5000 - standard.banks_per_channel
    assert closed.row_conflicts < 0.25 * opened.row_conflicts
    assert closed.ticks < opened.ticks
    assert closed.active_ticks / closed.ticks < opened.active_ticks / opened.ticks


@pytest.mark.parametrize("name", BY_BANK)
def test_a_refresh_of_a_bank_takes_its_time_from_that_bank_only(name: str) -> None:
    """One bank, a new row each time."""
    standard = load_standard(name)
    stream, refresh = named_stream("conflict", standard), standard.bank_refresh
    assert refresh is not None
    still = run_stream(stream, standard, 20_000, STILL)
    run = run_stream(stream, standard, 20_000, made(refresh="per_bank"))
    inside = standard.banked_levels[standard.banked_levels.index(refresh.level) + 1 :]
    turns = prod(standard.levels[level] for level in inside)
    at_once = standard.banks_per_channel // turns
    assert run.commands["REFpb"] == pytest.approx(
        at_once * run.ticks / refresh.interval_ticks, abs=2 * at_once
    )
    # As long as a refresh lasts in all of its turns, and at most a tick of the bus in others.
    once, rounds = standard.timing["nRFCpb"], run.ticks / (turns * refresh.interval_ticks)
    longer = run.ticks - still.ticks
    assert (rounds - 1) * once <= longer <= (rounds + 1) * once + run.commands["REFpb"]


def test_refresh_bank_by_bank_needs_a_standard_that_has_it() -> None:
    standard = load_standard("ddr4_3200")
    with pytest.raises(InputError) as caught:
        run_stream(named_stream("random", standard), standard, 8, made(refresh="per_bank"))
    assert str(caught.value) == "ddr4_3200 has no bank_refresh, which refresh per_bank needs"


@pytest.mark.parametrize("name", RECORDED)
def test_an_unloaded_read_takes_an_activation_and_the_read_latency(name: str) -> None:
    standard = load_standard(name)
    opens = bank_row(standard, "ACT", "RD")
    run = run_stream(named_stream("seq_row", standard), standard, 1, STILL)
    assert run.ticks == 1 + opens + standard.read_latency_ticks
    assert run.latency_max_ticks == run.ticks


@pytest.mark.parametrize("tracing", [False, True])
@pytest.mark.parametrize("name", standard_names())
def test_a_late_request_waits_while_the_channel_goes_on(name: str, tracing: bool) -> None:
    """Its refreshes come due in the gap, and it takes what a read takes that nothing delays."""
    standard, commands = load_standard(name), list[Command]()
    interval = standard.refresh.interval_ticks
    trace = commands.extend if tracing else None
    stream = named_stream("seq_row", standard)
    alone = run_stream(stream, standard, 1, STILL).ticks
    machine = controller.machine_of(standard, Settings())
    state, block = controller.state_of(machine), channel.of_stream(stream, standard, 2)
    serve = partial(channel.serve, controller_kernel, standard, (machine, state))
    serve(block(0, 1), False, trace)
    # Half an interval after the last refresh that is due in the gap.
    late = 7 * interval // 2
    state.k[controller_kernel.NOT_BEFORE] = late
    serve(block(1, 1), True, trace)
    assert state.k[controller_kernel.LAST] == late - 1 + alone
    assert state.latencies.nonzero()[0].tolist() == [alone]
    assert state.counts[controller_kernel.REFRESH] == 3 * len(machine.scopes)
    if tracing:
        assert check_commands(standard, commands).violations == ()
        refreshes = [each.tick for each in commands if each.name == standard.refresh.command]
        assert len(refreshes) == 3 * len(machine.scopes)
        assert all(interval <= tick < late for tick in refreshes)


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
        ({"page": "shut"}, "page must be one of open, closed, got 'shut'"),
        ({"refresh": "some"}, "refresh must be one of all_bank, none, per_bank, got 'some'"),
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
@pytest.mark.parametrize(("name", "page", "refresh"), CHOICES)
def test_what_repeats_is_jumped_over_to_the_same_result(
    name: str, page: str, refresh: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the scheduler gives it request by request, at lengths that are no whole rounds."""
    standard, given = load_standard(name), made(page=page, refresh=refresh)
    walk = named_stream(stream, standard)
    counts = (30_001, 40_960)
    fast = [run_stream(walk, standard, count, given) for count in counts]
    monkeypatch.setattr(Repeats, "skip", lambda *_: 0)
    assert fast == [run_stream(walk, standard, count, given) for count in counts]


@pytest.mark.parametrize(
    ("stream", "refresh"),
    [("seq_row", "none"), ("seq_bg", "none"), ("conflict", "none"), ("conflict", "all_bank")],
)
@pytest.mark.parametrize("name", standard_names())
def test_regular_streams_are_jumped_over(
    name: str, stream: str, refresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few requests are served one by one, whatever the length."""
    standard, done = load_standard(name), 0
    serve = channel.serve

    def counted(*given: Any) -> None:
        nonlocal done
        k = given[2][1].k
        before = k[controller_kernel.OFFERED]
        serve(*given)
        done += k[controller_kernel.OFFERED] - before

    monkeypatch.setattr(channel, "serve", counted)
    run = run_stream(named_stream(stream, standard), standard, 10_000_000, made(refresh=refresh))
    assert run.requests == 10_000_000
    assert done < 30_000


@settings(max_examples=25, deadline=None)
@given(
    stride=st.integers(1, 5000),
    write_every=st.integers(0, 3),
    rows=st.integers(1, 40),
    queue=st.integers(1, 40),
    page=st.sampled_from(controller.PAGES),
    refresh=st.sampled_from(controller.REFRESHES),
)
def test_any_stride_is_jumped_over_to_the_same_result(
    stride: int, write_every: int, rows: int, queue: int, page: str, refresh: str
) -> None:
    """Of few rows too, around the last of which a stream goes many times."""
    standard = replace(load_standard("hbm2_2000"), {"levels.Row": rows})
    given = made(page=page, refresh=refresh, queue=queue)
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
