"""Are reads and writes of the NPU served beside PIM by the rules, and cost what they should?"""

import csv
import os
from dataclasses import replace as with_fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config import replace, resolved
from simulator.dram.channel import Command
from simulator.dram.dramsim3 import Dramsim3Settings, run_dramsim3_requests
from simulator.dram.pim import neupims
from simulator.dram.pim.neupims import AttentionRun, Traffic, run_attention, sequential_reads
from simulator.dram.pim.neupims_checker import PimChecker, check_pim_commands
from simulator.dram.pim.neupims_part import Issued, NeuPims, load_neupims
from simulator.dram.standard import Standard, load_standard

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PART = load_neupims()
MODES = ("dual", "blocked")
TINY = {"hidden": 1024, "heads": 8, "tp": 1}
SMALL = {"hidden": 128, "heads": 2, "tp": 1}
GPT3_7B = {"hidden": 4096, "heads": 32, "tp": 4}
#: Requests of the recorded tiny iterations: one a channel; sub-batches have every other channel.
EACH = [(256, channel) for channel in range(32)]
#: Behind all keys and values of these tests.
BEHIND = 16_384
MOVES = ("RD", "WR")


def drawn(
    seed: int, count: int, *, gap: int, rows: int, writes: float, banks: int = 32, bursts: int = 16
) -> Traffic:
    """Return requests to places in the first rows, banks and bursts, up to `gap` ticks apart."""
    draw = np.random.default_rng(seed)
    return Traffic(
        np.cumsum(draw.integers(0, gap + 1, count)),
        draw.random(count) < writes,
        draw.integers(0, banks, count),
        draw.integers(0, rows, count),
        draw.integers(0, bursts, count),
    )


def asked(*places: tuple[int, str, int, int, int]) -> Traffic:
    """Return requests: tick, RD or WR, bank, row, burst."""
    ticks, names, *where = (list(column) for column in zip(*places, strict=True))
    writes = np.array([name == "WR" for name in names])
    banks, rows, bursts = (np.array(column) for column in where)
    return Traffic(np.array(ticks), writes, banks, rows, bursts)


def traced(
    mode: str,
    traffic: Traffic,
    tokens: int = 300,
    part: NeuPims = PART,
    start_tick: int = 0,
    **model: int,
) -> tuple[AttentionRun, list[Issued]]:
    """Run a request and traffic on channel 0."""
    commands = list[Issued]()
    run = run_attention(
        part, mode, [(tokens, 0)], **(model or TINY), start_tick=start_tick,
        traffic=[traffic, *[None] * 31], trace=commands.extend,
    )  # fmt: skip
    return run, [each for each in commands if each.address[0] == 0]


def iteration() -> dict[str, tuple[int, int, float]]:
    """Return cycles, PIM-busy cycles and the share of the bus of each stage with sub-batches."""
    path = DATA / "neupims_iterations.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (casys-kaist/NeuPIMs @f299af3)")
    with path.open(newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["mode"] == "neupims-sb")
    stages = dict(each.split("=") for each in row["stages"].split(";"))
    return {
        name: (
            int(text.split("(")[0]),
            int(text.split("pim ")[1].split(",")[0]),
            float(text.split("bw ")[1].rstrip("%)")) / 100,
        )
        for name, text in stages.items()
    }


@pytest.mark.parametrize("share", [None, 1.0])
def test_sub_batches_are_as_busy_as_recorded(share: float | None) -> None:
    """Within 5 %, reading at the share recorded of each stage, or as much as the bus takes.

    At that share: -0.03, -2.4, 1.6, 0.4 %. Without reads they are 5 to 7.5 % less busy.
    """
    start, stages = 0, iteration()
    for name, first in (("A", -1), ("B", 0), ("C", 1), ("D", 0), ("E", 1)):
        cycles, busy, recorded = stages[name]
        if first >= 0:
            count = int(cycles * (share or recorded)) // PART.timing["nBL"]
            reads = sequential_reads(PART, count, share or recorded, first_row=BEHIND)
            run = run_attention(
                PART, "dual", EACH[first::2], **TINY, start_tick=start, traffic=reads
            )
            assert sum(run.pim_busy_cycles) // PART.channels == pytest.approx(busy, rel=0.05)
            assert run.traffic is not None
            assert run.traffic.requests == count * PART.channels
        start += cycles


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=10)
@given(
    requests=st.lists(st.tuples(st.integers(1, 700), st.integers(0, 2)), min_size=1, max_size=3),
    start_tick=st.integers(0, 8000),
)
def test_without_requests_it_is_the_run_without_traffic(
    mode: str, requests: list[tuple[int, int]], start_tick: int
) -> None:
    none = drawn(1, 0, gap=1, rows=1, writes=0)
    alone = run_attention(PART, mode, requests, **SMALL, start_tick=start_tick)
    beside = run_attention(PART, mode, requests, **SMALL, start_tick=start_tick, traffic=none)
    assert with_fields(beside, traffic=None) == alone
    assert beside.traffic == neupims.TrafficRun(requests=0, cycles=0, busy_bus_share=0)


def memory_of_the_part() -> Standard:
    """Return DRAMsim3's HBM2 as NeuPIMs has it: two ranks, rows of 1 KiB, one bus of commands."""
    hbm2 = load_standard("dramsim3_hbm2_8gb")
    between_ranks = [
        ["Channel", ["RD"], ["WR"], 14],
        ["Rank", ["RD"], ["RD"], 4, 1, True],
        ["Rank", ["WR"], ["WR"], 2, 1, True],
    ]
    levels = {**resolved(hbm2)["levels"], "Rank": 2, "Column": 64}
    rows = [*resolved(hbm2)["constraints"], *between_ranks]
    return replace(hbm2, {"buses": "one", "levels": levels, "constraints": rows})


@pytest.mark.parametrize(
    ("writes", "rows"), [(None, 24), (0, 24), (0, 4000), (0.3, 24), (0.3, 4000), (1, 4000)]
)
def test_a_channel_without_pim_does_what_the_controller_of_dramsim3_does(
    writes: float | None, rows: int
) -> None:
    """Command by command, but for writes at the end, which DRAMsim3 may leave; None: in order.

    Each place is asked for once: DRAMsim3 serves reads of one place together. Its ticks start at 1.
    """
    count, draw = 12_000, np.random.default_rng(4)
    places_of = np.arange(count)
    if writes is not None:
        places_of = draw.choice(32 * rows * 16, count, replace=False)
    row, banks, bursts = np.unravel_index(places_of, (rows, 32, 16))
    write = draw.random(count) < (writes or 0)
    part = replace(PART, {"requests.bank_queue": 64})
    ours, theirs = list[Issued](), list[Command]()
    stream = Traffic(np.zeros(count, np.int64), write, banks, row, bursts)
    # A request on another channel, as there is no run without.
    run_attention(
        part, "dual", [(1, 1)], **SMALL, traffic=[stream, *[None] * 31], trace=ours.extend
    )
    levels = np.stack((0 * banks, banks // 16, banks // 4 % 4, banks % 4, row, 4 * bursts), axis=1)
    run_dramsim3_requests(
        write, levels, memory_of_the_part(), Dramsim3Settings(bank_queue=64), theirs.extend
    )
    # A refresh has a rank alone.
    issued, expected = (
        [
            (each.tick + late, each.name, each.address[: 2 if each.name == "REFab" else 4])
            for each in commands
            if each.address[0] == 0
        ]
        for commands, late in ((ours, 1), (theirs, 0))
    )
    moved = [name for _, name, _ in issued if name in MOVES]
    assert moved.count("WR") == write.sum() == count - moved.count("RD")
    same = len(expected) * 9 // 10 if writes else len(expected)
    assert same > count
    assert issued[:same] == expected[:same]


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 1 << 30),
    gap=st.integers(0, 8),
    rows=st.sampled_from([1, 3, 40, 32_768]),
    writes=st.sampled_from([0.0, 0.2, 1.0]),
    tokens=st.integers(1, 600),
    start_tick=st.integers(0, 8000),
)
def test_drawn_traffic_is_served_and_breaks_no_rule(
    mode: str, seed: int, gap: int, rows: int, writes: float, tokens: int, start_tick: int
) -> None:
    """Rows of keys and values, of vectors and of others: all are served, by at most a command."""
    traffic = drawn(seed, 700, gap=gap, rows=rows, writes=writes)
    checker = PimChecker(PART, mode, start_tick)
    run = run_attention(
        PART, mode, [(tokens, 0), (5, 2)], **SMALL, start_tick=start_tick,
        traffic=[traffic, None, traffic, *[None] * 29], trace=checker,
    )  # fmt: skip
    report = checker.report()
    assert report.violations == ()
    assert report.commands == run.commands
    assert run.traffic is not None
    assert run.traffic.requests == 2 * 700
    moved = [run.commands.get(name, 0) for name in MOVES]
    assert moved[1] == 2 * int(traffic.writes.sum())
    assert moved[0] <= 2 * 700 - moved[1]
    assert (sum(moved) == 2 * 700) or (rows <= 40 and 0 < writes < 1)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "count"), [("dual", 165), ("blocked", 96)])
def test_a_million_mixed_commands_break_no_rule(mode: str, count: int) -> None:
    lengths = np.random.default_rng(6).integers(1, 1024, count).tolist()
    reads = sequential_reads(PART, 9000, 0.6, first_row=20_000)
    mixed = drawn(7, 9000, gap=6, rows=64, writes=0.25)
    checker = PimChecker(PART, mode)
    run = run_attention(
        PART, mode, [(each, None) for each in lengths], **GPT3_7B, traffic=[reads, mixed] * 16,
        trace=checker,
    )  # fmt: skip
    report = checker.report()
    assert report.checked > 10**6
    assert report.commands["RD"] > 200_000
    assert report.commands["WR"] > 30_000
    assert report.violations == ()
    assert report.commands == run.commands
    assert run.traffic is not None
    assert run.traffic.requests == 32 * 9000


def loosened(mode: str, words: str) -> tuple[int, NeuPims]:
    """Return a row, and a part in which it is a tick shorter; nobody checks it."""
    rows = list(PART.rows(mode))
    number = [row.words() for row in rows].index(words)
    rows[number] = rows[number].model_copy(update={"ticks": rows[number].ticks - 1})
    how = PART.modes[mode].model_copy(update={"constraints": tuple(rows)})
    return number, PART.model_copy(update={"constraints": (), "modes": {mode: how}})


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("dual", "Channel RD -> COMPS_READRES 2 ticks"),
        ("dual", "Channel WR -> COMPS_READRES 12 ticks"),
        ("dual", "Channel COMPS_READRES -> RD 4 ticks"),
        ("dual", "Channel COMPS_READRES -> WR 14 ticks"),
        ("dual", "Rank ACT -> G_ACT 4 ticks"),
        ("dual", "Rank G_ACT -> ACT/G_ACT 30 ticks"),
        ("dual", "Rank ACT -> ACT 30 ticks, window 4"),
        ("dual", "Rank RD -> RD 4 ticks, sibling"),
        ("dual", "Rank WR -> WR 2 ticks, sibling"),
        ("dual", "Channel RD -> WR 14 ticks"),
        ("dual", "Rank WR -> RD 12 ticks"),
        ("dual", "Bank RD -> PREpb 5 ticks"),
        ("dual", "Bank WR -> PREpb 22 ticks"),
        ("blocked", "Bank ACT -> RD/WR/GWRITE 14 ticks"),
        ("blocked", "Channel RD -> WR 14 ticks"),
        ("blocked", "Bank PREpb -> ACT 14 ticks"),
    ],
)
def test_a_row_that_is_a_tick_shorter_is_found(mode: str, words: str) -> None:
    number, faulty = loosened(mode, words)
    traffic = drawn(3, 4000, gap=3, rows=400, writes=0.3)
    _, commands = traced(mode, traffic, 600, faulty)
    report = check_pim_commands(PART, mode, commands)
    assert report.broken > 0
    assert {violation.row for violation in report.violations} == {number}
    assert all("too early by 1: " in violation.rule for violation in report.violations)


FAULTS: list[tuple[str, str, dict[str, object], str]] = [
    ("dual", "RD", {"address": (0, 0, 0, 1, 9)}, "row 16384 is open"),
    ("dual", "RD", {"name": "GWRITE"}, "too early by"),
    ("dual", "ACT", {"address": (0, 1, 3, 3, 1)}, "memory has row 1 open"),
    ("blocked", "READRES", {"name": "RD", "address": (0, 0, 0, 0, 1)}, "a GEMV has no result yet"),
]


@pytest.mark.parametrize(("mode", "name", "fields", "words"), FAULTS)
def test_a_planted_fault_is_found(
    mode: str, name: str, fields: dict[str, object], words: str
) -> None:
    reads = asked(*((0, "RD", 1, BEHIND, burst) for burst in range(16)))
    _, commands = traced(mode, reads, 90)
    assert check_pim_commands(PART, mode, commands).passed
    place = max(i for i, each in enumerate(commands[:200]) if each.name == name)
    commands[place] = commands[place]._replace(**fields)  # type: ignore[arg-type]
    report = check_pim_commands(PART, mode, commands)
    assert any(words in violation.rule for violation in report.violations)


def places(commands: list[Issued], *names: str) -> list[int]:
    return [i for i, each in enumerate(commands) if each.name in names]


def test_pim_leaves_no_tick_inside_a_gemv_that_a_refresh_cut() -> None:
    """Its slack is 0 until the next P_HEADER is looked at, when the last GEMV has gone.

    The guard's estimates are short of opening and closing, the rows of the table as they are.
    """
    part = replace(PART, {"timing.nFAW": 1, "timing.nRTP": 0})
    reads, cut = sequential_reads(PART, 4000, 1, first_row=BEHIND), 0
    for start_tick in range(0, PART.turn_ticks, 30):
        _, commands = traced("dual", reads, 200, part, start_tick)
        for refresh in places(commands, "REFab"):
            rest = commands[refresh + 1 :]
            rest = rest[: [*places(rest, "REFab", "PIM_PRECHARGE", "P_HEADER", "GWRITE"), 0][0]]
            if places(rest, "G_ACT"):
                assert not places(rest[: places(rest, "COMPS_READRES")[-1]], *MOVES, "ACT")
                cut += 1
    assert cut > 20


def opened_in_tiles(part: NeuPims) -> list[int]:
    """Return how many rows are opened from each P_HEADER to the last of its GEMVs."""
    _, commands = traced("dual", drawn(5, 6000, gap=8, rows=9000, writes=0), 900, part)
    counts = []
    for header in places(commands, "P_HEADER"):
        tile = commands[header + 1 :]
        tile = tile[: [*places(tile, "REFab", "PIM_PRECHARGE", "GWRITE"), len(tile)][0]]
        counts.append(len(places(tile[: places(tile, "COMPS_READRES")[-1]], "ACT")))
    return counts


def test_requests_take_what_opens_a_row_out_of_the_slack() -> None:
    """There are at most 1950 ticks; each takes `nRCDWR` and needs more, the rows are the same."""
    opened = {
        ticks: opened_in_tiles(replace(PART, {"timing.nRCDWR": ticks})) for ticks in (14, 500, 2000)
    }
    assert max(opened[14]) > 5
    assert max(opened[500]) == 3
    assert max(opened[2000]) == 0


def test_requests_go_beside_pim_only_with_the_least_slack() -> None:
    traffic = drawn(5, 6000, gap=8, rows=9000, writes=0)
    none = replace(PART, {"requests.least_slack_ticks": 2000})
    some, few = (traced("dual", traffic, 900, part)[0] for part in (PART, none))
    assert some.traffic is not None
    assert few.traffic is not None
    assert few.traffic.busy_bus_share < some.traffic.busy_bus_share / 2


def test_the_row_of_a_header_is_not_served_before_the_next() -> None:
    """Row 1 of the first tile is asked for after its header, and served when row 3 has come."""
    reads = asked((150, "RD", 9, 1, 0), (150, "RD", 9, 1, 1))
    _, commands = traced("dual", reads, 96)
    first, second, *_ = places(commands, "P_HEADER")
    moved = places(commands, "RD")
    assert commands[first].tick < 150 < commands[second].tick
    assert second < moved[0] < moved[1]
    assert check_pim_commands(PART, "dual", commands).passed


def test_a_header_closes_its_row_in_memory() -> None:
    """Bank 9 has row 1 open, and reads of it go on, when the header of row 1 is looked at."""
    _, commands = traced("dual", asked(*((0, "RD", 9, 1, i % 16) for i in range(200))), 96)
    header = places(commands, "P_HEADER")[0]
    closed = commands[header - 1]
    looked = next(each.tick for each in commands if each.name == "GWRITE") + PART.gwrite_ticks
    assert (closed.name, closed.address[:4]) == ("PREpb", (0, 0, 2, 1))
    assert looked <= closed.tick < commands[header].tick < looked + 8
    assert 30 < len(places(commands[:header], "RD")) < 60
    assert len(places(commands, "RD")) == 200


def test_the_bank_of_a_gwrite_waits_until_it_has_ended() -> None:
    reads = asked(*((20, "RD", bank, 0, 0) for bank in (0, 1)))
    _, commands = traced("dual", reads, 96)
    start = next(each.tick for each in commands if each.name == "GWRITE")
    ticks = {each.address[3]: each.tick for each in commands if each.name == "RD"}
    assert ticks[1] < start + 40
    assert ticks[0] >= start + PART.gwrite_ticks


def test_a_gwrite_that_is_to_come_has_its_bank() -> None:
    """Row 9 is opened at tick 1 and closed 34 later: reads of it do not go on meanwhile."""
    reads = asked(*((0, "RD", 0, 9, burst % 16) for burst in range(100)))
    _, commands = traced("dual", reads, 96)
    first = [(each.tick, each.name) for each in commands[:4]]
    assert first == [(1, "ACT"), (35, "PREpb"), (49, "ACT"), (63, "GWRITE")]


def test_blocked_pim_and_requests_wait_for_each_other() -> None:
    """PIM begins when no bank has a request, and what waits then is served when a stage is over."""
    traffic = drawn(8, 3000, gap=20, rows=50, writes=0.2)
    _, commands = traced("blocked", traffic, 700)
    vectors, results = places(commands, "GWRITE"), places(commands, "READRES")
    # Of scores two chunks of 512 values, of outputs 8 heads of two chunks of 512 tokens.
    last_score = max(place for place in results if place < vectors[2])
    stages = (vectors[0], last_score), (vectors[2], results[-1])
    moved = places(commands, *MOVES)
    for first, last in stages:
        assert not [place for place in moved if first < place < last]
    assert [place for place in moved if last_score < place < vectors[2]]
    assert [place for place in moved if place > results[-1]]


def test_a_read_of_what_a_write_holds_is_served_by_it() -> None:
    run, commands = traced("dual", asked((0, "WR", 3, BEHIND, 1), (1, "RD", 3, BEHIND, 1)), 64)
    assert run.traffic is not None
    assert run.traffic.requests == 2
    assert [each.name for each in commands if each.name in MOVES] == ["WR"]


def test_a_read_goes_before_a_write_of_its_place_that_drains() -> None:
    """The four writes are full when the bank has room for one request, and three reads wait."""
    part = replace(PART, {"requests.queue": 4, "requests.bank_queue": 1})
    reads = [(0, "RD", 3, row, 0) for row in (7001, 7002, 7003, 7000)]
    writes = [(0, "WR", 3, row, 0) for row in (7000, 8001, 8002, 8003)]
    _, commands = traced("dual", asked(*reads, *writes), 64, part)
    moved = [(each.name, each.address[-1]) for each in commands if each.name in MOVES]
    assert moved.index(("RD", 7000)) + 1 == moved.index(("WR", 7000)) < moved.index(("RD", 7003))


def test_a_write_at_its_bank_waits_for_the_read_of_its_place() -> None:
    """A write before them lets the read come 14 ticks later, the write after it 2."""
    part = replace(PART, {"requests.drain_above": 0})
    traffic = asked((0, "WR", 19, 7000, 0), (2, "RD", 19, 7000, 1), (3, "WR", 19, 7000, 1))
    _, commands = traced("dual", traffic, 64, part)
    moved = [(each.name, each.tick) for each in commands if each.name in MOVES]
    assert moved == [("WR", 15), ("RD", 29), ("WR", 43)]


def test_writes_that_are_left_are_served_too() -> None:
    """Three are less than drain by themselves."""
    traffic = asked(*((0, "WR", bank, BEHIND, 0) for bank in range(1, 4)))
    run, _ = traced("dual", traffic, 64)
    assert run.commands["WR"] == 3
    assert run.traffic is not None
    assert run.traffic.cycles < 100


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_sequential_reads_take_their_share_of_the_bus(share: float) -> None:
    """Alone, to the latency of the last; refreshes hold up less than what is left."""
    reads = sequential_reads(PART, 10_000, share, first_row=0, first_tick=100)
    run = run_attention(PART, "dual", [(1, 31)], **SMALL, traffic=[reads, *[None] * 31])
    assert run.traffic is not None
    assert run.traffic.cycles == pytest.approx(100 + 10_000 * 2 / share, rel=0.01)
    assert (reads.ticks[0], reads.ticks[-1]) == (100, 100 + int(9_999 * 2 / share))
    place = list(zip(reads.banks.tolist(), reads.rows.tolist(), reads.bursts.tolist(), strict=True))
    assert place[15:17] == [(0, 0, 15), (1, 0, 0)]
    assert place[511:513] == [(31, 0, 15), (0, 1, 0)]


def test_more_reads_make_pim_busier_and_have_less_of_the_bus_beside_it() -> None:
    def beside(share: float) -> tuple[int, float]:
        reads = sequential_reads(PART, int(30_000 * share), share, first_row=BEHIND)
        run = run_attention(PART, "dual", EACH, **TINY, traffic=reads)
        assert run.traffic is not None
        return sum(run.pim_busy_cycles), run.traffic.busy_bus_share

    few, half, most = beside(0.1), beside(0.5), beside(1)
    alone = sum(run_attention(PART, "dual", EACH, **TINY).pim_busy_cycles)
    assert alone < few[0] < half[0] < most[0]
    assert few[1] == pytest.approx(0.1, abs=0.01)
    assert 0.4 < half[1] < 0.5 < most[1] < 0.9


def test_a_channel_waits_for_the_others_as_long_as_they_take() -> None:
    """More than 64 refreshes from its scores to its outputs, which take turns to be sent."""
    reads = sequential_reads(PART, 100, 1, first_row=BEHIND)
    given = [(64, 0), *[(2000, 1)] * 5]
    run = run_attention(PART, "blocked", given, **TINY, traffic=reads)
    alone = run_attention(PART, "blocked", given, **TINY)
    assert alone.pim_busy_cycles[1] > 2 * 64 * PART.turn_ticks
    assert run.mha_cycles == pytest.approx(alone.mha_cycles, rel=0.01)


@pytest.mark.parametrize("mode", MODES)
def test_a_trace_changes_nothing_and_comes_in_blocks(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = drawn(2, 900, gap=5, rows=60, writes=0.3)
    run, commands = traced(mode, traffic, 200)
    alone = run_attention(PART, mode, [(200, 0)], **TINY, traffic=[traffic, *[None] * 31])
    assert run == alone
    monkeypatch.setattr(neupims, "_BLOCK", 7)
    assert traced(mode, traffic, 200) == (run, commands)


def test_each_channel_has_its_own_stream() -> None:
    reads = sequential_reads(PART, 400, 0.5, first_row=BEHIND)
    part_of = [reads if channel % 4 == 0 else None for channel in range(32)]
    run = run_attention(PART, "dual", EACH, **TINY, traffic=part_of)
    all_of = run_attention(PART, "dual", EACH, **TINY, traffic=reads)
    assert (run.commands["RD"], all_of.commands["RD"]) == (8 * 400, 32 * 400)
    first = [run.pim_busy_cycles[channel] for channel in range(8)]
    assert first[0] == first[4] > max(first[1:4])
