"""Does the second controller do what DRAMsim3 did, and only what the standard allows?"""

import configparser
import csv
import os
from collections import Counter
from functools import cache
from itertools import product, takewhile
from pathlib import Path

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
    Standard,
    channel,
    load_standard,
    named_stream,
    standard_names,
)
from simulator.dram.checker import check_commands
from simulator.dram.dramsim3 import (
    Dramsim3Settings,
    run_dramsim3,
    run_dramsim3_requests,
)
from simulator.dram.streams import addresses
from simulator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PRESETS = {
    "DDR4_3200": "dramsim3_ddr4_3200",
    "HBM2_8Gb": "dramsim3_hbm2_8gb",
    "GDDR6_8Gb_x16": "dramsim3_gddr6_8gb_x16",
}
#: Standards that the controller takes.
TAKEN = [name for name in standard_names() if name != "lpddr5_6400"]
STILL = Dramsim3Settings(refresh="none")


def recorded(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (umd-memsys/DRAMsim3 @2981759)")
    return path


@cache
def rows() -> dict[tuple[str, str, str, int], dict[str, str]]:
    """Return the recorded runs by device, refresh, stream and requests."""
    with recorded("dramsim3_streams.csv").open(newline="") as file:
        return {
            (row["config"], row["refresh"], row["stream"], int(row["requests"])): row
            for row in csv.DictReader(file)
        }


RUNS = list(product(PRESETS, ("noref", "ref"), STREAM_NAMES, (1_000, 10_000, 100_000)))


def traced(
    stream: str, standard: Standard, count: int, given: Dramsim3Settings | None = None
) -> tuple[Run, list[Command]]:
    """Return a run of a named stream and its commands."""
    commands = list[Command]()
    run = run_dramsim3(named_stream(stream, standard), standard, count, given, commands.extend)
    return run, commands


@pytest.mark.parametrize(("device", "refresh", "stream", "count"), RUNS)
def test_totals_are_those_of_dramsim3(device: str, refresh: str, stream: str, count: int) -> None:
    """To the tick: ticks, commands, row hits, latencies, times of standing by."""
    row, standard = rows()[device, refresh, stream, count], load_standard(PRESETS[device])
    given = Dramsim3Settings(refresh="all_bank" if refresh == "ref" else "none")
    run = run_dramsim3(named_stream(stream, standard), standard, count, given)
    assert (run.ticks, run.requests) == (int(row["ticks"]), int(row["done"]))
    columns = {"ACT": "acts", "PREpb": "pres", "RD": "reads", "WR": "writes", "REFab": "refs"}
    assert run.commands == {name: int(row[key]) for name, key in columns.items() if int(row[key])}
    assert run.row_hits == int(row["read_row_hits"]) + int(row["write_row_hits"])
    served = run.commands["RD"] + run.commands.get("WR", 0)
    assert run.row_hits + run.row_misses + run.row_conflicts == served
    assert run.latency_avg_ticks == pytest.approx(float(row["lat_avg"]), abs=6e-4)
    assert run.latency_max_ticks == int(row["lat_max"])
    gigabytes = float(row["bw_GBps"])
    assert run.bandwidth_bytes_per_s == pytest.approx(1e9 * gigabytes, rel=1e-4)
    assert run.active_ticks + run.idle_ticks == run.ticks


@pytest.mark.parametrize("device", PRESETS)
def test_a_preset_is_what_dramsim3_derives(device: str) -> None:
    """Rows of commands that it issues, derived anew from its file; so are sizes and refresh."""
    text = recorded(f"dramsim3_configs/{device}_ref.ini").read_text()
    # One comment of the file runs into its first section.
    text = text.replace("prefetch[dram_structure]", "prefetch\n[dram_structure]")
    ini = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
    ini.read_string(text.replace("; ", " ; "))
    shape, times = ini["dram_structure"], {k: float(v) for k, v in ini["timing"].items()}
    t = {name: int(value) for name, value in times.items()}
    t = {"trtp": 5, "trtrs": 2, "trcdrd": t.get("trcd", 0), "trcdwr": t.get("trcd", 0), **t}
    groups, length = shape.getint("bankgroups"), shape.getint("bl")
    banks = groups * shape.getint("banks_per_group")
    groups = groups if shape.getboolean("bankgroup_enable", True) else 1
    gddr, hbm = shape["protocol"] == "GDDR6", shape["protocol"] == "HBM"
    burst = length // 16 if gddr else length // 2
    columns = shape.getint("columns") * (length if gddr else 2 if hbm else 1)
    long = "s" if groups == 1 else "l"
    to_close = {"RD": t["trtp"], "WR": t["cwl"] + burst + t["twr"]}
    rank = {
        ("RD", "RD", 1): max(burst, t["tccd_s"]),
        ("WR", "WR", 1): max(burst, t["tccd_s"]),
        ("RD", "WR", 1): t["cl"] + burst - t["cwl"] + t["trtrs"],
        ("WR", "RD", 1): t["cwl"] + burst + t["twtr_s"],
        ("ACT", "ACT", 1): t["trrd_s"],
        ("ACT", "ACT", 4): t["tfaw"],
        **({("ACT", "ACT", 32): t["t32aw"], ("PREpb", "PREpb", 1): t["tppd"]} if gddr else {}),
        ("PREpb", "REFab", 1): t["trp"],
        ("REFab", "ACT", 1): t["trfc"],
        ("REFab", "REFab", 1): t["trfc"],
    }
    group = {
        ("RD", "RD", 1): max(burst, t[f"tccd_{long}"]),
        ("WR", "WR", 1): max(burst, t[f"tccd_{long}"]),
        ("WR", "RD", 1): t["cwl"] + burst + t[f"twtr_{long}"],
        ("ACT", "ACT", 1): t[f"trrd_{long}"],
    }
    bank = {
        ("ACT", "ACT", 1): t["tras"] + t["trp"],
        ("ACT", "RD", 1): t["trcdrd"],
        ("ACT", "WR", 1): t["trcdwr"],
        ("ACT", "PREpb", 1): t["tras"],
        ("PREpb", "ACT", 1): t["trp"],
        **{(name, "PREpb", 1): ticks for name, ticks in to_close.items()},
    }
    standard = load_standard(PRESETS[device])
    levels = {"Rank": rank, **({"BankGroup": group} if groups > 1 else {}), "Bank": bank}
    assert {
        (row.level, before, after, row.window): row.ticks
        for row in standard.constraints
        for before, after in product(row.before, row.after)
        if "PREab" not in (before, after)
    } == {(level, *key): ticks for level, found in levels.items() for key, ticks in found.items()}
    assert standard.tick_ps == round(1000 * times["tck"])
    assert tuple(standard.levels.values()) == (
        *(1, 1, groups, banks // groups, shape.getint("rows"), columns),
    )
    assert (standard.prefetch, standard.read_latency_ticks) == (length, t["cl"] + burst)
    assert standard.channel_width_bits == ini["system"].getint("bus_width")
    assert standard.refresh.interval_ticks == t["trefi"]
    assert (standard.buses == "row and column") == hbm


@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize("name", TAKEN)
def test_no_constraint_is_broken(name: str, stream: str) -> None:
    standard = load_standard(name)
    run, commands = traced(stream, standard, 4000)
    report = check_commands(standard, commands, refreshes_late=1)
    assert report.violations == ()
    assert report.commands == run.commands


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(TAKEN),
    seed=st.integers(0, 2**32),
    write_every=st.integers(0, 4),
    queue=st.integers(1, 64),
    bank_queue=st.integers(1, 16),
    row_uses=st.integers(1, 8),
)
def test_no_random_stream_breaks_a_constraint(
    name: str, seed: int, write_every: int, queue: int, bank_queue: int, row_uses: int
) -> None:
    standard, commands = load_standard(name), list[Command]()
    given_settings = Dramsim3Settings(queue=queue, bank_queue=bank_queue, row_uses=row_uses)
    stream = Random(write_every=write_every, seed=seed)
    run = run_dramsim3(stream, standard, 500, given_settings, commands.extend)
    assert check_commands(standard, commands, refreshes_late=1).violations == ()
    assert run.requests == 500
    writes = 500 // write_every if write_every else 0
    assert 500 - writes - 5 <= run.commands.get("RD", 0) <= 500 - writes
    # Writes that are left at the end wait in the queue or at their banks.
    waits = queue + bank_queue * standard.banks_per_channel
    assert max(0, writes - waits - 5) <= run.commands.get("WR", 0) <= writes


def places(*given: tuple[str, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return requests (R or W, bank of group 0, row, burst) of DDR4."""
    writes = np.array([kind == "W" for kind, *_ in given])
    levels = np.array([(0, 0, 0, bank, row, 8 * burst) for _, bank, row, burst in given])
    return writes, levels


def served(
    *given: tuple[str, int, int, int], settings: Dramsim3Settings = STILL
) -> tuple[Run, list[Command]]:
    commands = list[Command]()
    standard = load_standard("dramsim3_ddr4_3200")
    run = run_dramsim3_requests(*places(*given), standard, settings, commands.extend)
    return run, commands


@pytest.mark.parametrize("name", PRESETS.values())
def test_an_unloaded_read_takes_a_tick_an_activation_and_the_read_latency(name: str) -> None:
    standard = load_standard(name)
    opens = standard.timing.get("nRCD", standard.timing.get("nRCDRD"))
    assert opens is not None
    run, commands = traced("seq_row", standard, 1, STILL)
    assert [(each.tick, each.name) for each in commands] == [(2, "ACT"), (2 + opens, "RD")]
    assert run.ticks == run.latency_max_ticks == 2 + opens + standard.read_latency_ticks


def test_a_write_is_done_when_it_is_taken() -> None:
    run, commands = served(("W", 0, 1, 0))
    assert (run.ticks, commands, run.latency_avg_ticks) == (2, [], 0.0)


def test_a_read_of_what_a_write_holds_is_done_a_tick_later() -> None:
    run, commands = served(("W", 0, 1, 0), ("R", 0, 1, 0))
    assert (run.ticks, commands, run.latency_max_ticks) == (3, [], 2)


def test_a_read_of_what_is_to_be_read_comes_with_it() -> None:
    one, _ = served(("R", 0, 1, 0))
    run, _ = served(*[("R", 0, 1, 0)] * 4)
    assert (run.ticks, run.requests, run.commands["RD"]) == (one.ticks, 4, 1)
    assert run.latency_avg_ticks == one.latency_avg_ticks - 1.5


def test_a_second_write_of_a_place_is_dropped() -> None:
    reads = [("R", 1, row, 0) for row in range(8)]
    # The ninth that differs makes them drain.
    run, _ = served(*[("W", 0, 1, burst) for burst in (*range(8), *range(8), 8)], *reads)
    assert (run.requests, run.commands["WR"]) == (8 + 8 + 1 + 8, 9)


def test_writes_drain_only_when_more_than_eight_wait_for_idle_banks() -> None:
    reads = [("R", 1, row, 0) for row in range(8)]
    few, _ = served(*[("W", 0, 1, burst) for burst in range(8)], *reads)
    more, _ = served(*[("W", 0, 1, burst) for burst in range(9)], *reads)
    assert (few.commands.get("WR", 0), more.commands["WR"]) == (0, 9)


def test_a_row_is_closed_after_four_uses_though_others_want_it() -> None:
    spread = [("R", bank, row, burst) for burst in range(30) for bank in range(4) for row in (1, 2)]

    def switches(uses: int) -> int:
        run, _ = served(*spread, settings=Dramsim3Settings(refresh="none", row_uses=uses))
        return run.commands["PREpb"]

    assert switches(4) > switches(100)


def test_a_write_waits_for_the_read_of_its_place() -> None:
    reads = [("R", 0, row, 0) for row in range(1, 8)]
    run, commands = served(
        *reads, *[("W", 0, row, 0) for row in range(7, 0, -1)],
        *[("W", 1, 1, burst) for burst in range(40)], *[("R", 2, row, 0) for row in range(30)],
    )  # fmt: skip
    first = {(each.name, each.address[3:]): each.tick for each in reversed(commands)}
    both = [each for name, each in first if name == "WR" and ("RD", each) in first]
    assert len(both) >= 5
    assert all(first["RD", each] < first["WR", each] for each in both)
    assert run.requests == 7 + 7 + 40 + 30


def test_banks_with_open_rows_take_turns() -> None:
    _, commands = served(*[("R", bank, 1, burst) for bank in range(4) for burst in range(8)])
    reads = [each.address[3] for each in commands if each.name == "RD"]
    # From where all four are open, until the first has none left.
    turns = reads[reads.index(3) : reads.index(3) + 12]
    assert turns == [3, 0, 1, 2] * 3


def test_two_buses_take_two_commands_a_tick_and_one_takes_one() -> None:
    for name, most in (("dramsim3_ddr4_3200", 1), ("dramsim3_hbm2_8gb", 2)):
        _, commands = traced("random", load_standard(name), 1000)
        assert max(Counter(each.tick for each in commands).values()) == most


def test_ranks_are_refreshed_in_turn() -> None:
    standard = load_standard("hbm2_2000")
    _, commands = traced("random", standard, 10_000)
    half, found = standard.refresh.interval_ticks // 2, list[tuple[int, int]]()
    for tick, name, address in commands:
        if name == "REFab":
            found.append((tick // half, address[1]))
    assert len(found) > 8
    assert found == [(turn + 1, turn % 2) for turn in range(len(found))]


def test_a_waiting_refresh_stops_its_banks() -> None:
    standard = load_standard("dramsim3_ddr4_3200")
    _, commands = traced("random", standard, 10_000)
    due = standard.refresh.interval_ticks + 1
    after = [each.name for each in commands if each.tick >= due]
    closing = list(takewhile(lambda name: name != "REFab", after))
    before = Counter(each.name for each in commands if each.tick < due)
    assert closing == ["PREpb"] * (before["ACT"] - before["PREpb"])
    assert len(closing) > 8


def test_blocks_of_any_size_and_requests_of_a_list_give_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standard = load_standard("dramsim3_hbm2_8gb")
    whole = traced("mix21_random", standard, 3000)
    monkeypatch.setattr(channel, "BLOCK", 7)
    monkeypatch.setattr(channel, "TRACE", 5)
    assert traced("mix21_random", standard, 3000) == whole
    listed = addresses(named_stream("mix21_random", standard), standard, 0, 3000)
    assert run_dramsim3_requests(*listed, standard) == whole[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"refresh": "some"}, "refresh must be one of all_bank, none, got 'some'"),
        ({"queue": 0}, "queue must be 1 to 64, got 0"),
        ({"bank_queue": 65}, "bank_queue must be 1 to 64, got 65"),
        ({"row_uses": 0}, "row_uses must be 1 to 1073741824, got 0"),
        ({"drain_above": -1}, "drain_above must be 0 to 64, got -1"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Dramsim3Settings(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_what_the_controller_cannot_run_is_refused() -> None:
    standard = load_standard("dramsim3_ddr4_3200")

    def refused(standard: Standard, count: int) -> str:
        with pytest.raises(InputError) as caught:
            run_dramsim3(named_stream("random", standard), standard, count)
        return str(caught.value)

    def listed(*levels: tuple[int, ...]) -> str:
        found = np.array(levels, np.int64).reshape(-1, 6)
        with pytest.raises(InputError) as caught:
            run_dramsim3_requests(np.zeros(len(levels), np.bool_), found, standard)
        return str(caught.value)

    assert refused(standard, 0) == "requests must be >= 1, got 0"
    assert listed() == "requests must be >= 1, got 0"
    assert listed((1, 0, 0, 0, 0, 0)) == "requests of a channel must be of channel 0"
    assert refused(load_standard("lpddr5_6400"), 1) == (
        "lpddr5_6400: DRAMsim3's controller has no split activation and no data clock"
    )
    hasty = replace(standard, {"refresh.interval_ticks": 20})
    assert refused(hasty, 100) == (
        "dramsim3_ddr4_3200: no command can follow; is a constraint wrong?"
    )
