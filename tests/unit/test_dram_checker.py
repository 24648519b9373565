"""Does the checker pass what Ramulator issued, and find every kind of fault that is planted?"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import replace
from simulator.dram.checker import (
    MOST_LISTED,
    Checker,
    Issued,
    Report,
    check_commands,
    read_commands,
)
from simulator.dram.standard import Constraint, Standard, load_standard, standard_names
from simulator.dram.streams import STREAM_NAMES

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data"))
RECORDED = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000")
DDR4 = load_standard("ddr4_3200")
LPDDR5 = load_standard("lpddr5_6400")
#: Bank 0 of bank group 0, row 5, its first burst; another row; another bank.
HERE, THERE, ELSEWHERE = (0, 0, 0, 0, 5, 0), (0, 0, 0, 0, 6, 0), (0, 0, 1, 1, 5, 0)


def recorded_trace(name: str, stream: str) -> list[Issued]:
    file = DATA / "simulators" / "ramulator2_commands" / f"{name.upper()}_{stream}_1000.csv.gz"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set NIBBLESIM_DATA (CMU-SAFARI/ramulator2 @c5b1c3a)")
    return list(read_commands(file, load_standard(name)))


def rules_of(report: Report) -> list[str]:
    return [violation.rule for violation in report.violations]


def rules(trace: Iterable[Issued], standard: Standard = DDR4, late: int | None = None) -> list[str]:
    return rules_of(check_commands(standard, trace, late))


@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_traces_pass(name: str, stream: str) -> None:
    trace = recorded_trace(name, stream)
    report = check_commands(load_standard(name), trace)
    assert report.violations == ()
    assert report.passed
    assert report.checked == len(trace)
    assert report.commands["RD"] + report.commands.get("WR", 0) == 1000


def sooner(trace: list[Issued], index: int) -> list[Issued]:
    """Return the trace with one command a tick earlier, in its place by tick."""
    tick, name, address = trace[index]
    before = index
    while before and trace[before - 1][0] > tick - 1:
        before -= 1
    moved = (tick - 1, name, address)
    return [*trace[:before], moved, *trace[before:index], *trace[index + 1 :]]


#: Rows that hold some command of the recorded traces up to the tick, and so are found when it
#: comes a tick sooner: at least one of each kind.
BINDING = {
    "ddr4_3200": {
        "Rank RD/RDA -> RD/RDA 4 ticks",
        "Rank RD/RDA -> WR/WRA 12 ticks",
        "Rank ACT -> ACT 4 ticks",
        "Rank ACT -> ACT 34 ticks, window 4",
        "BankGroup RD/RDA -> RD/RDA 8 ticks",
        "BankGroup WR/WRA -> RD/RDA 32 ticks",
        "BankGroup ACT -> ACT 8 ticks",
        "Bank ACT -> ACT 74 ticks",
        "Bank ACT -> RD/WR/RDA/WRA 22 ticks",
        "Bank ACT -> PREpb 52 ticks",
        "Bank PREpb -> ACT 22 ticks",
        "Bank WR -> PREpb 44 ticks",
    },
    "ddr5_4800": {
        "Channel ACT/RD/WR/RDA/WRA -> ACT/PREpb/PREab/RD/WR/RDA/WRA/REFab 2 ticks",
        "Rank ACT -> ACT 48 ticks, window 4",
        "BankGroup WR/WRA -> WR/WRA 48 ticks",
    },
    "gddr6_14000": {"Channel ACT -> ACT 8 ticks", "Bank ACT -> WR/WRA 16 ticks"},
    "hbm2_2000": {
        "Channel ACT -> ACT/PREpb/PREab/REFab/REFpb 2 ticks",
        "PseudoChannel ACT -> ACT 4 ticks",
        "PseudoChannel WR/WRA -> RD/RDA 13 ticks",
        "Bank ACT -> RD/RDA 15 ticks",
    },
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_command_a_tick_sooner_is_found(name: str) -> None:
    standard, found = load_standard(name), set[str]()
    for stream in STREAM_NAMES:
        trace = recorded_trace(name, stream)[:240]
        for index in range(1, len(trace)):
            report = check_commands(standard, sooner(trace, index)[: index + 1])
            found |= {
                standard.constraints[each.row].words()
                for each in report.violations
                if each.row is not None
            }
    assert found >= BINDING[name]


def two_of_each(name: str) -> Standard:
    """Return a standard with at least two instances of each level, so that all have siblings."""
    standard = load_standard(name)
    changes = {f"levels.{level}": max(2, count) for level, count in standard.levels.items()}
    return replace(standard, changes)


ROWS = [
    (name, index)
    for name in standard_names()
    for index in range(len(load_standard(name).constraints))
]


def broken_rows(
    standard: Standard, row: Constraint, before: str, after: str, tick: int, instance: int
) -> set[int | None]:
    """Return the rows that `after` breaks at a tick in an instance of the row's level."""
    address = [0] * len(standard.levels)
    there = address.copy()
    there[standard.banked_levels.index(row.level)] = instance
    trace = [(each, before, tuple(address)) for each in range(row.window)]
    last = max(tick, row.window - 1)
    report = check_commands(standard, [*trace, (last, after, tuple(there))])
    return {each.row for each in report.violations if each.tick == last and each.command == after}


@pytest.mark.parametrize(("name", "index"), ROWS)
def test_every_pair_of_every_row_holds_to_the_tick(
    name: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The commands that fill a long window break rows too: all are listed.
    monkeypatch.setattr("simulator.dram.checker.MOST_LISTED", 10_000)
    standard = two_of_each(name)
    row = standard.constraints[index]
    same, other = (1, 0) if row.sibling else (0, 1)
    for before, after in product(row.before, row.after):
        pair = (standard, row, before, after)
        if row.ticks >= row.window:
            assert index in broken_rows(*pair, row.ticks - 1, same)
        assert index not in broken_rows(*pair, row.ticks, same)
        assert index not in broken_rows(*pair, row.ticks - 1, other)


def test_a_window_counts_back_as_many_issues() -> None:
    banks = [(0, 0, group, bank, 5, 0) for bank in range(2) for group in range(4)]
    trace = [(100 * i, "ACT", bank) for i, bank in enumerate(banks[:4])]
    trace = [*trace[:1], (90, "ACT", banks[1]), (94, "ACT", banks[2]), (98, "ACT", banks[3])]
    # Four within 98 ticks, the first far back: the fifth is free, the sixth is not.
    fifth, sixth = (102, "ACT", banks[4]), (106, "ACT", banks[5])
    assert rules([*trace, fifth]) == []
    assert "too early by 18: [11] Rank ACT -> ACT 34 ticks, window 4" in rules(
        [*trace, fifth, sixth]
    )


def brute_force(standard: Standard, trace: list[Issued]) -> set[tuple[int, int]]:
    """Return (command, row) of all that is too early, by the rows' definition, pair by pair."""
    found = set()
    for index, (tick, name, address) in enumerate(trace):
        for number, row in enumerate(standard.constraints):
            depth = standard.banked_levels.index(row.level) + 1
            if name not in row.after:
                continue
            instances = [address[:depth]]
            if row.sibling:
                count = standard.counts[depth - 1]
                instances = [(*address[: depth - 1], each) for each in range(count)]
                instances.remove(address[:depth])
            for before in row.before:
                for instance in instances:
                    ticks = [t for t, c, a in trace[:index] if (c, a[:depth]) == (before, instance)]
                    if len(ticks) >= row.window and tick < ticks[-row.window] + row.ticks:
                        found.add((index, number))
    return found


@st.composite
def traces(draw: st.DrawFn, standard: Standard) -> list[Issued]:
    """Draw commands in the order of their ticks, at addresses of few instances."""
    tick, trace = 0, []
    for _ in range(draw(st.integers(2, 40))):
        tick += draw(st.integers(1, 30))
        address = [draw(st.integers(0, min(2, count) - 1)) for count in standard.counts[:-1]]
        name = draw(st.sampled_from(list(standard.commands)))
        trace.append((tick, name, (*address, 0)))
    return trace


@pytest.mark.parametrize("name", ["hbm3_6400", "ddr4_3200", "gddr6_14000"])
@given(data=st.data())
def test_rows_equal_their_definition_pair_by_pair(name: str, data: st.DataObject) -> None:
    standard = two_of_each(name)
    trace = data.draw(traces(standard))
    place = {(tick, command): index for index, (tick, command, _) in enumerate(trace)}
    checked = check_commands(standard, trace)
    found = {
        (place[each.tick, each.command], each.row)
        for each in checked.violations
        if each.row is not None
    }
    expected = brute_force(standard, trace)
    if checked.broken <= MOST_LISTED:
        assert found == expected
    else:
        assert found <= expected


@pytest.mark.parametrize("name", ["hbm2_2000", "lpddr4_3200", "lpddr5_6400"])
@given(data=st.data(), pieces=st.lists(st.integers(0, 40), min_size=1), block=st.integers(1, 7))
def test_a_trace_may_come_in_pieces(
    name: str, data: st.DataObject, pieces: list[int], block: int
) -> None:
    """What is found, and what is remembered of the commands before, knows no border."""
    standard = two_of_each(name)
    trace = data.draw(traces(standard))
    checker, rest = Checker(standard, 1, bank_by_bank=True), iter(trace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.dram.checker._BLOCK", block)
        for piece in [*pieces, len(trace)]:
            checker(islice(rest, piece))
    assert checker.report() == check_commands(standard, trace, 1, bank_by_bank=True)


def test_what_is_not_in_the_memory_is_held_against_nothing_else() -> None:
    outside = (0, 0, 4, 0, 5, 0)
    trace = [(0, "ACT", outside), (0, "ACT", outside), (1, "ACT", HERE), (2, "PREab", (0, 9))]
    assert rules(trace) == [
        "BankGroup 4 is not within 0 to 3",
        "BankGroup 4 is not within 0 to 3",
        "Rank 9 is not within 0 to 0",
    ]


@pytest.mark.parametrize(
    ("trace", "rule"),
    [
        ([(0, "ACT", HERE), (200, "ACT", THERE)], "the bank is not closed"),
        ([(0, "RD", HERE)], "the bank has no open row"),
        ([(0, "ACT", HERE), (100, "RD", THERE)], "row 5 is open"),
        ([(0, "ACT", HERE), (100, "PREpb", HERE), (200, "WR", HERE)], "the bank has no open row"),
        ([(0, "ACT", HERE), (100, "RDA", HERE), (200, "RD", HERE)], "the bank has no open row"),
        ([(0, "ACT", HERE), (100, "PREab", HERE), (200, "RD", HERE)], "the bank has no open row"),
        ([(0, "ACT", HERE), (100, "REFab", (0, 0))], "1 of its banks are not closed"),
        ([(5, "PREpb", HERE), (5, "ACT", ELSEWHERE)], "too early by 1: the command bus is held"),
        ([(0, "ACT", (0, 0, 4, 0, 5, 0))], "BankGroup 4 is not within 0 to 3"),
        ([(0, "ACT", (0, 0, 0, 0, -1, 0))], "Row -1 is not within 0 to 65535"),
        ([(0, "ACT", HERE), (100, "RD", (*HERE[:5], 1024))], "Column 1024 is not within 0 to 1023"),
    ],
)  # fmt: skip
def test_faults_that_are_no_row(trace: list[Issued], rule: str) -> None:
    assert rules(trace) == [rule]


def test_ticks_in_order() -> None:
    first = [(5, "PREpb", HERE), (2, "PREpb", HERE)]
    found = ["comes after a command of tick 5", "too early by 4: the command bus is held"]
    assert rules(first) == found
    # The latest tick counts, not the last one.
    assert rules([*first, (4, "PREpb", HERE)]) == [*found, "comes after a command of tick 5"]


@pytest.mark.parametrize("first", [(0, 2), (2, 0)])
def test_of_siblings_the_latest_counts(first: tuple[int, int]) -> None:
    """Six ticks after a read of another rank; there are three."""
    standard = replace(DDR4, {"levels.Rank": 3})
    banks = [(0, rank, 0, 0, 5, 0) for rank in range(3)]
    opened = [(100 * rank, "ACT", bank) for rank, bank in enumerate(banks)]
    reads = [(400 + 20 * i, "RD", banks[rank]) for i, rank in enumerate(first)]
    assert rules([*opened, *reads, (426, "RD", banks[1])], standard) == []
    (late,) = rules([*opened, *reads, (425, "RD", banks[1])], standard)
    assert late.startswith("too early by 1:")
    assert late.endswith("Rank RD/RDA -> RD/WR/RDA/WRA 6 ticks, sibling")
    # One that was not read has no say.
    assert rules([*opened, reads[0], (405, "RD", banks[1])], standard) == [late]


def test_what_is_allowed() -> None:
    assert rules([(0, "PREpb", HERE), (50, "PREab", (0, 0, -1, -1, -1, -1))]) == []
    assert rules([(0, "ACT", HERE), (100, "PREab", (0, 0)), (200, "REFab", (0, 0))]) == []
    closed = [(0, "ACT", HERE), (100, "WRA", HERE), (300, "ACT", THERE), (400, "RD", THERE)]
    assert rules(closed) == []


def test_two_buses_take_a_command_each_in_one_tick() -> None:
    hbm2 = load_standard("hbm2_2000")
    here, there = (0, 0, 0, 0, 5, 0), (0, 1, 0, 0, 5, 0)
    opened = [(0, "ACT", here), (100, "RD", here)]
    assert rules([*opened, (100, "ACT", there)], hbm2) == []
    held = rules([*opened, (100, "ACT", there), (101, "PREpb", (0, 1, 1, 1, 0, 0))], hbm2)
    assert "too early by 1: the command bus is held" in held
    # One bus: the same tick is one too many.
    one = hbm2.model_copy(update={"buses": "one"})
    assert rules([*opened, (100, "ACT", there)], one) == ["too early by 1: the command bus is held"]


ACT1, ACT2 = (0, "ACT1", HERE), (4, "ACT2", HERE)
CAS_RD, CAS_WR = (20, "CAS_RD", HERE), (20, "CAS_WR", HERE)
STOPPED = "the data clock does not run"


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ([ACT1, ACT2, CAS_RD, (21, "RD", HERE), (40, "RD", HERE)], []),
        ([ACT1, ACT2, (20, "RD", HERE)], [STOPPED]),
        ([ACT1, ACT2, CAS_RD, (21, "RD", HERE), (41, "RD", HERE)], [STOPPED]),
        ([ACT1, ACT2, CAS_WR, (21, "WR", HERE), (33, "WR", HERE)], [STOPPED]),
        # A later command of the shorter kind does not stop the clock sooner.
        ([ACT1, ACT2, CAS_RD, (21, "RD", HERE), (25, "CAS_WR", HERE), (40, "RD", HERE)], []),
        ([ACT2], ["the first half of the activation is missing"]),
        ([ACT1, (8, "ACT2", HERE)], []),
        ([ACT1, (9, "ACT2", HERE)], ["comes 9 ticks after its first half, 8 at most"]),
        ([ACT1, (4, "ACT2", THERE)], ["the first half was of row 5"]),
        ([ACT1, (100, "ACT1", HERE)], ["the bank is not closed"]),
        ([ACT1, (100, "REFab", HERE)], ["1 of its banks are not closed"]),
        ([ACT1, (100, "PREpb", HERE), (200, "REFpb", HERE)], []),
    ],
)  # fmt: skip
def test_split_activation_and_data_clock(trace: list[Issued], expected: list[str]) -> None:
    assert rules(trace, LPDDR5) == expected


def refreshes(ticks: Iterable[int], end: int) -> Iterator[Issued]:
    for tick in ticks:
        yield tick, "REFab", (0, 0, -1, -1, -1, -1)
    yield end, "PREpb", HERE


def test_refresh_that_is_late_or_missing() -> None:
    interval = DDR4.refresh.interval_ticks
    assert rules(refreshes([], 10 * interval)) == []
    on_time = [interval, 2 * interval, 3 * interval]
    assert rules(refreshes(on_time, 4 * interval - 1), late=0) == []
    assert rules(refreshes(on_time, 4 * interval), late=0) == [
        "3 refreshes by the end, 4 were due 0 intervals before"
    ]
    assert rules(refreshes(on_time, 4 * interval), late=1) == []
    slow = [interval, 2 * interval + 7]
    assert rules(refreshes(slow, 3 * interval - 1), late=0) == [
        "refresh 2 is 7 ticks later than 0 intervals"
    ]
    assert rules(refreshes(slow, 3 * interval - 1), late=1) == []


def test_every_instance_needs_its_refresh() -> None:
    hbm2 = load_standard("hbm2_2000")
    interval = hbm2.refresh.interval_ticks
    first, second = (interval, "REFab", (0, 0)), (interval + 1, "REFab", (0, 1))
    end = (2 * interval - 1, "PREpb", (0, 0, 0, 0, 0, 0))
    assert rules([first, (interval + 1, "REFab", (0, 1)), end], hbm2, 1) == []
    assert rules([first, end], hbm2, 0) == ["0 refreshes by the end, 1 were due 0 intervals before"]
    assert rules([first, second, end], hbm2, 0) == ["refresh 1 is 1 ticks later than 0 intervals"]


def test_banks_take_turns() -> None:
    # Eight banks, one refreshed every 391 ticks: each bank once in 3,128.
    standard = replace(LPDDR5, {"levels.BankGroup": 2})
    banks = [(0, 0, group, bank, 0, 0) for group in range(2) for bank in range(4)]
    turns = [(391 * i, "REFpb", banks[i % 8]) for i in range(1, 24)]

    def found(trace: list[Issued]) -> list[str]:
        return rules_of(check_commands(standard, trace, 0, bank_by_bank=True))

    first = [(90, "REFpb", banks[0])]
    assert found([*first, *turns]) == []
    skipped = [each for each in turns if each[2] != banks[3]]
    assert found([*first, *skipped]) == ["0 refreshes by the end, 2 were due 0 intervals before"]
    late = [each for each in turns if each[0] not in (391 * 5, 391 * 13)]
    assert found([*first, *late]) == [
        "refresh 1 is 5083 ticks later than 0 intervals",
        "1 refreshes by the end, 2 were due 0 intervals before",
    ]


def test_channels_have_buses_of_their_own() -> None:
    standard = replace(DDR4, {"levels.Channel": 2})
    trace = [(5, "ACT", HERE), (5, "ACT", (1, *HERE[1:])), (5, "PREpb", (1, 0, 3, 3, 0, 0))]
    assert rules(trace, standard) == ["too early by 1: the command bus is held"]


def test_all_are_counted_and_the_first_are_listed() -> None:
    report = check_commands(DDR4, ((100 * i, "RD", HERE) for i in range(1, 301)))
    assert (report.checked, report.broken, len(report.violations)) == (300, 300, MOST_LISTED)
    assert not report.passed
    assert str(report.violations[0]) == "tick 100: RD 0,0,0,0,5,0: the bank has no open row"
