"""Are standards, streams, mappings, requests and traces that are wrong refused, with which words?"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.config import dump_yaml, replace
from simulator.dram.checker import check_commands, read_commands
from simulator.dram.mapping import parse_mapping
from simulator.dram.request_file import read_requests
from simulator.dram.standard import Constraint, load_standard
from simulator.dram.streams import (
    Gather,
    Random,
    Strided,
    Tile,
    addresses,
    named_stream,
    stream_tables,
)
from simulator.errors import InputError

DDR4 = load_standard("ddr4_3200")
COMMANDS = "ACT, PREab, PREpb, RD, RDA, REFab, WR, WRA"


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


def row_of(words: str) -> int:
    return [row.words() for row in DDR4.constraints].index(words)


ACT_TO_COLUMN = row_of("Bank ACT -> RD/WR/RDA/WRA 22 ticks")
ACT_TO_PRE = row_of("Bank ACT -> PREpb 52 ticks")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timing.nCL": -22}, "timing.nCL: must be >= 0, got -22"),
        ({"tick_ps": 0}, "tick_ps: must be >= 1, got 0"),
        ({"levels.Bank": 0}, "levels.Bank: must be >= 1, got 0"),
        ({"levels": {"Rank": 1, "Bank": 4, "Row": 8, "Column": 64}}, "levels: must start with Channel and end in Bank, Row, Column, got ['Rank', 'Bank', 'Row', 'Column']"),
        ({"prefetch": 3}, "prefetch: must divide the 1024 columns of a row, got 3"),
        ({"channel_width_bits": 63, "prefetch": 4}, "channel_width_bits: a burst must be whole bytes, got 252 bits"),
        ({"buses": "two"}, "buses: unknown buses 'two'; known: one, row and column"),
        ({"refresh.interval_ticks": 0}, "refresh.interval_ticks: must be >= 1, got 0"),
        ({"refresh.command": "REFsb"}, "refresh: command: unknown command of role refresh 'REFsb'; did you mean 'REFab'? known: REFab"),
        ({"commands.REFab": ["refresh", "BankGroup", 1], "constraints.18": ["BankGroup", ["REFab"], ["ACT"], 1], "constraints.14": ["Bank", ["ACT"], ["ACT"], 1], "constraints.15": ["Bank", ["ACT"], ["ACT"], 1], "constraints.16": ["Bank", ["ACT"], ["ACT"], 1], "constraints.17": ["Bank", ["ACT"], ["ACT"], 1]}, "refresh: command: no command closes the banks of a BankGroup before REFab"),
        ({"commands.ACT": ["open", "Rnak", 1]}, "commands: ACT: unknown level 'Rnak'; did you mean 'Rank'? known: Bank, BankGroup, Channel, Rank"),
        ({"commands.ACT": ["open", "Rank", 1]}, "commands: ACT: role 'open' is of a Bank, not a Rank"),
        ({"commands.ACT": ["open", "Bank", 0]}, "commands.ACT.cycles: must be >= 1, got 0"),
        ({"commands.ACT": ["opens", "Bank", 1]}, "commands.ACT.role: unknown role 'opens'; did you mean 'open'? known: close, open, open_first, read, read_close, refresh, sync_read, sync_write, write, write_close"),
        ({"commands.ACT": ["open", "Bank"]}, "commands.ACT: expected 3 entries (role, level, cycles), got 2"),
        ({"commands.RD": ["read_close", "Bank", 1]}, "commands: no command has role 'read'; RD and RDA both have role 'read_close' at the same level"),
        ({"commands.PREpb": ["close", "Channel", 1]}, "commands: no command closes one Bank"),
        ({"constraints.3": ["Bnak", ["WR"], ["WR"], 4]}, "constraints: [3].level: unknown level 'Bnak'; did you mean 'Bank'? known: Bank, BankGroup, Channel, Rank"),
        ({"constraints.3": ["Row", ["WR"], ["WR"], 4]}, "constraints: [3].level: unknown level 'Row'; known: Bank, BankGroup, Channel, Rank"),
        ({"constraints.3": ["Bank", ["WR"], ["WRB"], 4]}, f"constraints: [3].after: unknown command 'WRB'; did you mean 'WR'? known: {COMMANDS}"),
        ({"constraints.3": ["Bank", ["REFab"], ["WR"], 4]}, "constraints: [3].before: REFab addresses no single Bank"),
        ({"constraints.3": ["Bank", [], ["WR"], 4]}, "constraints: [3].before: must name a command"),
        ({"constraints.3": ["Bank", ["WR"], ["WR"], -4]}, "constraints: [3].ticks: must be >= 0, got -4"),
        ({"constraints.3": ["Bank", ["WR"], ["WR"], 4, 0]}, "constraints: [3].window: must be >= 1, got 0"),
        ({"constraints.3": ["Bank", ["WR"], ["WR"]]}, "constraints[3]: expected 4 to 6 entries (level, before, after, ticks, window, sibling), got 3"),
        ({"constraints.3": ["Bank", "WR", ["WR"], 4]}, "constraints[3].before: expected a list, got 'WR'"),
        ({"constraints.3": ["Bank", ["WR"], ["WR"], 4.5]}, "constraints[3].ticks: expected an integer, got 4.5"),
        ({"open_within_ticks": 8}, "open_within_ticks is given, but no command has role 'open_first'"),
        ({"data_clock": {"read_ticks": 1, "write_ticks": 1, "source": "here"}}, "data_clock is given, but no command has role 'sync_read'"),
        ({"source": ""}, "source: string should have at least 1 character, got ''"),
    ],
)  # fmt: skip
def test_a_standard_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert refused(lambda: replace(DDR4, changes)) == (message,)


@pytest.mark.parametrize(
    ("index", "row", "missing"),
    [
        (ACT_TO_COLUMN, ["Bank", ["ACT"], ["RD", "RDA", "WRA"], 22], "no row of Bank from ACT to WR"),
        (ACT_TO_COLUMN, ["Bank", ["ACT"], ["WR", "RDA", "WRA"], 22], "no row of Bank from ACT to RD"),
        (ACT_TO_COLUMN, ["BankGroup", ["ACT"], ["RD", "WR", "RDA", "WRA"], 22, 1, True], "no row of Bank from ACT to RD; missing constraint: no row of Bank from ACT to WR; missing constraint: no row of Bank from ACT to RDA; missing constraint: no row of Bank from ACT to WRA"),
        (ACT_TO_PRE, ["Bank", ["RD"], ["PREpb"], 52], "no row of Bank from ACT to PREpb"),
        (row_of("Bank PREpb -> ACT 22 ticks"), ["Bank", ["RD"], ["PREpb"], 22], "no row of Bank from PREpb to ACT"),
        (row_of("Rank ACT -> PREab 52 ticks"), ["Bank", ["RD"], ["PREpb"], 22], "no row of Rank from ACT to PREab"),
        (row_of("Rank REFab -> ACT/PREab 576 ticks"), ["Rank", ["REFab"], ["PREab"], 576], "no row of Rank from REFab to ACT"),
    ],
)  # fmt: skip
def test_a_constraint_that_is_missing(index: int, row: list[Any], missing: str) -> None:
    problems = refused(lambda: replace(DDR4, {f"constraints.{index}": row}))
    assert problems == (f"constraints: missing constraint: {missing}",)


ROW_COMMANDS = ["ACT", "PREpb", "PREab", "REFab", "REFpb"]


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        (["Channel", ["ACT"], ROW_COMMANDS[:-1], 2], ["REFpb"]),
        (["Channel", ["ACT"], ROW_COMMANDS, 1], ROW_COMMANDS),
        (["Channel", ["ACT"], ROW_COMMANDS, 2, 2], ROW_COMMANDS),
        (["Channel", ["ACT"], ROW_COMMANDS, 2, 1, True], ROW_COMMANDS),
        (["PseudoChannel", ["ACT"], ROW_COMMANDS, 2], ROW_COMMANDS),
    ],
)
def test_a_bus_that_is_held_for_longer_needs_rows(row: list[Any], missing: list[str]) -> None:
    """HBM2's ACT holds the row bus for two ticks; RD and WR are on the other one."""
    words = "no row of Channel from ACT to {} of the 2 ticks that ACT holds its bus"
    problems = "; ".join(f"missing constraint: {words.format(after)}" for after in missing)
    hbm2 = load_standard("hbm2_2000")
    assert refused(lambda: replace(hbm2, {"constraints.0": row})) == (f"constraints: {problems}",)


def test_a_row_of_an_outer_level_covers_the_bank() -> None:
    row = ["Rank", ["ACT"], ["RD", "WR", "RDA", "WRA"], 22]
    assert replace(DDR4, {f"constraints.{ACT_TO_COLUMN}": row}) != DDR4


def test_a_data_clock_needs_its_times() -> None:
    changes = {"data_clock": None}
    assert refused(lambda: replace(load_standard("lpddr5_6400"), changes)) == (
        "commands start a data clock, but there is no data_clock",
    )


BANKS = {"command": "REFab", "level": "Bnak", "interval_ticks": 9, "source": "here"}


def test_a_refresh_bank_by_bank_that_is_none() -> None:
    assert refused(lambda: replace(load_standard("hbm2_2000"), {"bank_refresh": BANKS})) == (
        "bank_refresh: command: unknown command that refreshes a Bank 'REFab'; did you mean 'REFpb'? known: REFpb; level: unknown level 'Bnak'; did you mean 'Bank'? known: Bank, BankGroup, Channel, PseudoChannel",
    )
    assert refused(lambda: check_commands(DDR4, [], 0, bank_by_bank=True)) == (
        "ddr4_3200 has no bank_refresh",
    )


def test_every_problem_of_a_file_comes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    text = dump_yaml(DDR4).replace("nCL: 22", "nCL: -22").replace("prefetch: 8", "prefetch: 7")
    text = text.replace("interval_ticks: 12480", "interval_ticks: 0").replace("tick_ps", "tick_fs")
    text = text.replace("- - Rank", "- - Rnak", 1)
    file.write_text(text, encoding="utf-8")
    assert refused(lambda: load_standard(str(file))) == (
        f"{file}: tick_ps: missing",
        f"{file}: prefetch: must divide the 1024 columns of a row, got 7",
        f"{file}: timing.nCL: must be >= 0, got -22",
        f"{file}: constraints: [2].level: unknown level 'Rnak'; did you mean 'Rank'? known: Bank, BankGroup, Channel, Rank",
        f"{file}: refresh.interval_ticks: must be >= 1, got 0",
        f"{file}: tick_fs: unknown key; did you mean 'tick_ps'?",
    )


def test_an_unknown_standard() -> None:
    (problem,) = refused(lambda: load_standard("hbm2_200"))
    assert problem.startswith("unknown DRAM standard 'hbm2_200'; did you mean 'hbm2_2000'? known: ")


def test_a_constraint_by_itself_names_its_class() -> None:
    problems = refused(lambda: Constraint(level="Bank", before=("RD",), after=("RD",), ticks="4"))  # type: ignore[arg-type]
    assert problems == ("Constraint: ticks: expected an integer, got '4'",)


@pytest.mark.parametrize(
    ("mapping", "problems"),
    [
        ("RoBaBgCoCx", ("mapping 'RoBaBgCoCx': unknown level 'Cx'; known: Ba, Bg, Ch, Co, Ra, Ro",)),
        ("RoBaBgCoC", ("mapping 'RoBaBgCoC': unknown level 'C'; did you mean 'Co'? known: Ba, Bg, Ch, Co, Ra, Ro",)),
        ("RoBaBgBaCoRo", ("mapping 'RoBaBgBaCoRo': Bank is named twice", "mapping 'RoBaBgBaCoRo': Row is named twice")),
        ("RoBaCoCh", ("mapping 'RoBaCoCh': does not cover the address: BankGroup missing",)),
        ("", ("mapping '': does not cover the address: BankGroup, Bank, Row, Column missing",)),
        (["Row", "Bnk", "Column"], ("mapping ['Row', 'Bnk', 'Column']: unknown level 'Bnk'; did you mean 'Bank'? known: Bank, BankGroup, Channel, Column, Rank, Row",)),
        (["Row", "Bank"], ("mapping ['Row', 'Bank']: does not cover the address: BankGroup, Column missing",)),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit(mapping: str | list[str], problems: tuple[str, ...]) -> None:
    assert refused(lambda: parse_mapping(mapping, DDR4)) == problems


MAP = "RoBaBgCo"


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (lambda: Strided(MAP, 0, -1), ("Strided: stride_bytes must be an integer from 1 to 2**63 - 1, got 0", "Strided: base_bytes must be an integer from 0 to 2**63 - 1, got -1")),
        (lambda: Strided(MAP, 64, write_every=-2), ("Strided: write_every must be an integer from 0 to 2**63 - 1, got -2",)),
        (lambda: Tile(MAP, 0, 64, 2, 256), ("Tile: tile_rows must be an integer from 1 to 2**63 - 1, got 0",)),
        (lambda: Tile(MAP, 4, 64, 5, 256), ("Tile: 5 columns of 64 bytes are more than pitch_bytes 256",)),
        (lambda: Gather(MAP, 128, 320), ("Gather: table_bytes 320 is no multiple of run_bytes 128",)),
        (lambda: Gather(MAP, 0, 320), ("Gather: run_bytes must be an integer from 1 to 2**63 - 1, got 0",)),
        (lambda: Random(seed=2**63), (f"Random: seed must be an integer from 0 to 2**63 - 1, got {2**63}",)),
        (lambda: Random(seed=1.5), ("Random: seed must be an integer from 0 to 2**63 - 1, got 1.5",)),  # type: ignore[arg-type]
        (lambda: stream_tables(Strided(MAP, 65, 3), DDR4), ("Strided: base_bytes 3 is no multiple of the 64 bytes of a burst of ddr4_3200", "Strided: stride_bytes 65 is no multiple of the 64 bytes of a burst of ddr4_3200")),
        (lambda: stream_tables(Tile(MAP, 1, 32, 1, 100), DDR4), ("Tile: tile_bytes 32 is no multiple of the 64 bytes of a burst of ddr4_3200", "Tile: pitch_bytes 100 is no multiple of the 64 bytes of a burst of ddr4_3200")),
        (lambda: stream_tables(Gather(MAP, 64, 2**33, 64), DDR4), (f"Gather: ends at byte {2**33 + 64}, ddr4_3200 has {2**33} bytes",)),
        (lambda: stream_tables(Strided(MAP, 64, 2**33), DDR4), (f"Strided: ends at byte {2**33 + 64}, ddr4_3200 has {2**33} bytes",)),
        (lambda: stream_tables(Strided("RoBaCo", 64), DDR4), ("mapping 'RoBaCo': does not cover the address: BankGroup missing",)),
        (lambda: named_stream("seq_rows", DDR4), ("unknown stream 'seq_rows'; did you mean 'seq_row'? known: conflict, mix21_random, mix21_seq, random, seq_bg, seq_row",)),
        (lambda: addresses(Random(), DDR4, -1, 4), ("requests are numbered from 0, got 4 from -1",)),
    ],
)  # fmt: skip
def test_a_stream_that_is_wrong(make: Callable[[], object], problems: tuple[str, ...]) -> None:
    assert refused(make) == problems


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("X 0,0,0,0,0,0", "1: expected 'R ' or 'W ', got 'X '"),
        ("R0,0,0,0,0,0", "1: expected 'R ' or 'W ', got 'R0'"),
        ("", "1: expected 'R ' or 'W ', got ''"),
        ("R 0,0,0,0,0", "3: expected 6 levels (Channel,Rank,BankGroup,Bank,Row,Column), got 5"),
        ("R 0,0,4,0,0,0", "7: BankGroup 4 is not below 4"),
        ("W 0,0,3,x,0,0", "9: Bank: expected an integer, got 'x'"),
        ("W 0,0,3,-1,0,0", "9: Bank: expected an integer, got '-1'"),
        ("W 0,0,3,1,70000,0", "11: Row 70000 is not below 65536"),
        ("W 0,0,3,1,12,1025", "14: Column 1025 is not below 1024"),
        ("W 0,0,3,1,12,12", "14: Column 12 is not the first of a burst of 8"),
        ("W 0,0,3,1,12, 8", "14: Column: expected an integer, got ' 8'"),
    ],
)
def test_a_request_that_is_wrong(line: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "requests.txt"
    file.write_text(f"R 0,0,0,0,0,0\n{line}\n", encoding="ascii")
    assert refused(lambda: read_requests(file, DDR4)) == (f"{file}:2:{problem}",)


def test_problems_of_requests_come_at_once_up_to_twenty(tmp_path: Path) -> None:
    file = tmp_path / "requests.txt"
    file.write_text("R 1,0,0,0,0,0\n" * 30, encoding="ascii")
    expected = [f"{file}:{line}:3: Channel 1 is not below 1" for line in range(1, 21)]
    assert refused(lambda: read_requests(file, DDR4)) == tuple(expected)


def test_request_files_that_are_none(tmp_path: Path) -> None:
    empty, absent, packed = tmp_path / "empty.txt", tmp_path / "no.txt", tmp_path / "bad.txt.gz"
    empty.write_text("", encoding="ascii")
    packed.write_bytes(gzip.compress(b"R 0,0,0,0,0,0\n" * 99)[:-9])
    assert refused(lambda: read_requests(empty, DDR4)) == (f"{empty}: has no requests",)
    assert refused(lambda: read_requests(absent, DDR4)) == (
        f"{absent}: cannot be read: No such file or directory",
    )
    assert refused(lambda: read_requests(packed, DDR4)) == (
        f"{packed}: cannot be read: Compressed file ended before the end-of-stream marker was reached",
    )


HEADER = "clock,command,Channel,Rank,BankGroup,Bank,Row,Column"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": is empty"),
        ("clock,command,Channel,Bank\n", f":1: expected columns {HEADER}, got clock,command,Channel,Bank"),
        (f"{HEADER},type\n1,ACT,0,0,0,0,5,0\n", ":2: expected 9 cells, got 8"),
        (f"{HEADER},type\n1,ACT,0,0,0,0,5,0,0\n2,RD,0,0,a,0,5,0,0\n", ":3: expected integers, got 2,0,0,a,0,5,0"),
    ],
)  # fmt: skip
def test_a_trace_that_is_wrong(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "commands.csv"
    file.write_text(text, encoding="ascii")
    assert refused(lambda: list(read_commands(file, DDR4))) == (f"{file}{problem}",)


def test_commands_that_the_standard_does_not_have() -> None:
    assert refused(lambda: check_commands(DDR4, [(1, "ACT2", (0, 0, 0, 0, 5, 0))])) == (
        f"tick 1: unknown command 'ACT2'; did you mean 'ACT'? known: {COMMANDS}",
    )
    assert refused(lambda: check_commands(DDR4, [(7, "ACT", (0, 0, 0, 0))])) == (
        "tick 7: ACT needs 5 levels, got (0, 0, 0, 0)",
    )
