"""Do the standards hold the sourced parameters, and do the derived figures and tables follow?"""

import json
import os
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any

import pytest

from simulator.config import content_hash, dump_yaml, replace
from simulator.dram.energy import load_memory_energy
from simulator.dram.mapping import abbreviation
from simulator.dram.standard import (
    COLUMN_BUS,
    ROLES,
    ROW_BUS,
    Standard,
    load_standard,
    standard_names,
    tables,
)
from simulator.kernels import compiled

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data"))
PRESETS = (
    *("ddr4_2400", "ddr4_3200", "ddr5_4800", "lpddr5_6400", "gddr6_14000"),
    *("hbm2_2000", "hbm3_6400"),
)
#: Bytes of a burst, banks of a channel, peak GB/s with the tick as it is rounded, refreshed level.
FIGURES = {
    "ddr4_2400": (64, 16, 64e3 / (4 * 833), "Rank"),
    "ddr4_3200": (64, 16, 25.6, "Rank"),
    "ddr5_4800": (64, 32, 64e3 / (8 * 416), "Rank"),
    "lpddr5_6400": (32, 16, 12.8, "Rank"),
    "gddr6_14000": (32, 16, 32e3 / (2 * 570), "Channel"),
    "hbm2_2000": (32, 32, 32.0, "PseudoChannel"),
    # The channel's column bus takes a read every second tick.
    "hbm3_6400": (32, 64, 32e3 / (2 * 312), "PseudoChannel"),
}


def recorded() -> dict[str, Any]:
    file = DATA / "simulators" / "ramulator2_timing.json"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set NIBBLESIM_DATA (CMU-SAFARI/ramulator2 @c5b1c3a)")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_the_presets_are_there() -> None:
    assert set(PRESETS) <= set(standard_names())
    assert set(FIGURES) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_ramulator_resolves(name: str) -> None:
    theirs, ours = recorded()[name.upper()], load_standard(name)
    assert ours.levels == dict(zip(theirs["levels"], theirs["count"], strict=True))
    assert list(ours.levels) == theirs["levels"]
    assert {**ours.timing, "tCK_ps": ours.tick_ps} == theirs["timing_ticks"]
    assert ours.refresh.interval_ticks == theirs["timing_ticks"]["nREFI"]
    bank = ours.bank_refresh.interval_ticks if ours.bank_refresh else None
    assert bank == theirs["timing_ticks"].get("nREFIpb")
    assert (ours.prefetch, ours.channel_width_bits, ours.read_latency_ticks) == (
        theirs["prefetch"],
        theirs["channel_width"],
        theirs["read_latency"],
    )
    cycles = {command: each.cycles for command, each in ours.commands.items()}
    assert cycles == dict(zip(theirs["commands"], theirs["command_cycles"], strict=True))
    assert list(ours.commands) == theirs["commands"]
    for row, (level, before, after, ticks, *rest) in zip(
        ours.constraints, theirs["timing_constraints"], strict=True
    ):
        assert row.level == theirs["levels"][level]
        assert row.before == tuple(theirs["commands"][each] for each in before)
        assert row.after == tuple(theirs["commands"][each] for each in after)
        assert (row.ticks, row.window, row.sibling) == (ticks, *[*rest, *(1, False)[len(rest) :]])


@pytest.mark.parametrize("name", standard_names())
def test_a_dumped_standard_loads_equal(name: str, tmp_path: Path) -> None:
    standard, file = load_standard(name), tmp_path / "again.yaml"
    assert standard.name == name
    file.write_text(dump_yaml(standard), encoding="utf-8")
    again = load_standard(str(file))
    assert again == standard
    assert list(again.levels) == list(standard.levels)
    assert list(again.commands) == list(standard.commands)
    assert content_hash(again) == content_hash(standard)


@pytest.mark.parametrize("name", PRESETS)
def test_derived_figures(name: str) -> None:
    standard = load_standard(name)
    access, banks, peak, refreshed = FIGURES[name]
    assert standard.access_bytes == access
    assert standard.banks_per_channel == banks
    assert standard.peak_bytes_per_s == pytest.approx(peak * 1e9, rel=1e-12)
    assert standard.refresh_level == refreshed
    bits = prod(standard.counts) * standard.channel_width_bits
    assert standard.capacity_bytes == bits // 8


#: JESD209-4 at 3200 MT/s and 8 Gb a channel: ns of each parameter, ticks where it has those.
LPDDR4_NS = {
    "nRCD": 18, "nRP": 18, "nRPab": 21, "nRAS": 42, "nRRD": 10, "nFAW": 40, "nWR": 18, "nWTR": 10,
    "nRTP": 7.5, "nDQSCK": 3.5, "nRFC": 280, "nRFCpb": 140,
}  # fmt: skip
LPDDR4_TICKS = {
    "nBL": 8, "nCL": 28, "nCWL": 14, "nCCD": 8, "nPPD": 4, "nWPRE": 2, "nRPST": 0, "nRTRS": 1,
}  # fmt: skip


def test_lpddr4_has_the_times_of_its_standard() -> None:
    standard = load_standard("lpddr4_3200")
    times = standard.timing
    assert {name: times[name] for name in LPDDR4_NS} == {
        name: ceil(1000 * ns / standard.tick_ps) for name, ns in LPDDR4_NS.items()
    }
    assert {name: times[name] for name in LPDDR4_TICKS} == LPDDR4_TICKS
    assert times["nRC"] == times["nRAS"] + times["nRP"]
    # Refresh comes every 3,904 ns at most.
    assert times["nREFI"] == standard.refresh.interval_ticks == 3_904_000 // 625
    assert standard.bank_refresh is not None
    assert times["nREFIpb"] == standard.bank_refresh.interval_ticks == 3_904_000 // 625 // 8
    assert set(times) == {
        *LPDDR4_NS, *LPDDR4_TICKS, "rate", "nRC", "nREFI", "nREFIpb",
    }  # fmt: skip
    assert standard.peak_bytes_per_s == 3200e6 * 16 / 8
    # 8 Gb, in rows of 2 KiB.
    assert standard.capacity_bytes == 2**30
    assert standard.bursts_per_row * standard.access_bytes == 2048
    assert standard.read_latency_ticks == 3 + times["nCL"] + times["nDQSCK"] + times["nBL"]


def test_lpddr4_rows_are_those_of_dramsys() -> None:
    """From one start of a command to the next: ACT, RD and WR take 4 ticks, PRE and REF 2."""
    standard = load_standard("lpddr4_3200")
    t = {name[1:]: ticks for name, ticks in standard.timing.items()}
    read_to_close = t["RTP"] + t["BL"] - 6
    write_to_close = t["CWL"] + t["BL"] + 1 + t["WR"] + 2
    read_to_write = t["CL"] + t["DQSCK"] + t["BL"] - t["CWL"] + t["WPRE"] + t["RPST"]
    write_to_read = t["CWL"] + 1 + t["BL"] + t["WTR"]
    columns = {"RD": "RD", "RDA": "RD", "WR": "WR", "WRA": "WR"}
    turn = {("RD", "WR"): read_to_write, ("WR", "RD"): write_to_read}
    across = {("RD", "WR"): t["CL"] + t["BL"] + t["RTRS"] - t["CWL"], ("WR", "RD"): 0}
    expected = {
        ("Rank", "ACT", "ACT", 1): t["RRD"],
        ("Rank", "ACT", "ACT", 4): t["FAW"],
        ("Rank", "PREpb", "PREpb", 1): t["PPD"],
        ("Rank", "PREpb", "PREab", 1): t["PPD"],
        ("Rank", "ACT", "PREab", 1): t["RAS"] + 2,
        ("Rank", "PREab", "ACT", 1): t["RPab"] - 2,
        ("Rank", "ACT", "REFab", 1): t["RC"] + 2,
        ("Rank", "RDA", "REFab", 1): read_to_close + t["RP"],
        ("Rank", "WRA", "REFab", 1): write_to_close + t["RP"],
        ("Rank", "PREpb", "REFab", 1): t["RP"],
        ("Rank", "PREab", "REFab", 1): t["RPab"],
        ("Rank", "PREab", "REFpb", 1): t["RPab"],
        ("Rank", "REFab", "ACT", 1): t["RFC"] - 2,
        ("Rank", "REFab", "REFab", 1): t["RFC"],
        ("Rank", "REFab", "REFpb", 1): t["RFC"],
        ("Rank", "REFpb", "PREab", 1): t["RFCpb"],
        ("Rank", "REFpb", "REFab", 1): t["RFCpb"],
        ("Rank", "REFpb", "REFpb", 1): t["RFCpb"],
        ("Rank", "REFpb", "ACT", 1): t["RRD"] - 2,
        ("Rank", "ACT", "REFpb", 1): t["RRD"] + 2,
        ("Rank", "ACT", "REFpb", 4): t["FAW"] + 2,
        ("Bank", "ACT", "ACT", 1): t["RC"],
        ("Bank", "ACT", "PREpb", 1): t["RAS"] + 2,
        ("Bank", "PREpb", "ACT", 1): t["RP"] - 2,
        ("Bank", "RD", "PREpb", 1): read_to_close,
        ("Bank", "WR", "PREpb", 1): write_to_close,
        ("Bank", "WR", "RDA", 1): write_to_close - read_to_close,
        ("Bank", "RDA", "ACT", 1): t["RTP"] + t["BL"] - 8 + t["RP"],
        ("Bank", "WRA", "ACT", 1): write_to_close - 2 + t["RP"],
        ("Bank", "REFpb", "ACT", 1): t["RFCpb"] - 2,
        ("Bank", "ACT", "REFpb", 1): t["RC"] + 2,
        ("Bank", "PREpb", "REFpb", 1): t["RP"],
        ("Bank", "RDA", "REFpb", 1): read_to_close + t["RP"],
        ("Bank", "WRA", "REFpb", 1): write_to_close + t["RP"],
    }
    for before, kind in columns.items():
        expected["Bank", "ACT", before, 1] = t["RCD"]
        expected["Rank", before, "PREab", 1] = read_to_close if kind == "RD" else write_to_close
        for after, other in columns.items():
            expected["Rank", before, after, 1] = turn.get((kind, other), t["BL"])
            expected["sibling", before, after, 1] = across.get((kind, other), t["BL"] + t["RTRS"])
    for before, held in standard.commands.items():
        for after in standard.commands:
            expected["Channel", before, after, 1] = held.cycles
    found = {
        ("sibling" if row.sibling else row.level, before, after, row.window): row.ticks
        for row in standard.constraints
        for before, after in product(row.before, row.after)
    }
    assert found == {key: ticks for key, ticks in expected.items() if ticks}
    long = {"ACT", "RD", "WR", "RDA", "WRA"}
    assert {name: each.cycles for name, each in standard.commands.items()} == {
        name: 4 if name in long else 2 for name in standard.commands
    }


def test_lpddr4_currents_are_those_of_both_supplies() -> None:
    """(VDD1 mA, VDD2 mA) of DRAMSys, at 1.8 V and 1.1 V."""
    both = {
        "idd0_ma": (3.5, 45), "idd2n_ma": (2, 27), "idd3n_ma": (2.25, 30),
        "idd4r_ma": (2.25, 275), "idd4w_ma": (2.25, 210), "idd5ab_ma": (10, 90),
    }  # fmt: skip
    amps = load_memory_energy("lpddr4_3200").currents
    assert amps is not None
    found = amps.model_dump()
    assert (found.pop("devices"), found.pop("vdd_v")) == (1, 1.1)
    assert found == {
        name: pytest.approx(second + first * 1.8 / 1.1, abs=5e-4)
        for name, (first, second) in both.items()
    }


def test_peak_takes_the_tightest_of_bus_window_and_rows() -> None:
    standard = load_standard("hbm2_2000")
    base = standard.peak_bytes_per_s
    rows = [*standard.constraints]

    def peak(**changes: Any) -> float:
        return standard.model_copy(update=changes).peak_bytes_per_s

    slow = standard.commands["RD"].model_copy(update={"cycles": 3})
    assert peak(commands={**standard.commands, "RD": slow}) == pytest.approx(base / 3)
    row = rows[1].model_copy(update={"level": "Channel", "ticks": 32, "window": 4})
    assert peak(constraints=(*rows, row)) == pytest.approx(base / 8)
    assert peak(constraints=(*rows, row.model_copy(update={"sibling": True}))) == base
    assert peak(levels={**standard.levels, "Channel": 8}) == pytest.approx(8 * base)


@pytest.mark.parametrize("name", standard_names())
def test_tables_hold_every_pair_of_every_row(name: str) -> None:
    standard, table = load_standard(name), tables(load_standard(name))
    names, levels = list(standard.commands), standard.banked_levels
    longest: dict[tuple[str, str, str, int, bool], int] = {}
    for row in standard.constraints:
        for before, after in product(row.before, row.after):
            key = (row.level, before, after, row.window, row.sibling)
            longest[key] = max(longest.get(key, 0), row.ticks)
    found = {
        (levels[level], names[before], names[after], int(window), bool(sibling)): int(ticks)
        for level, before, after, ticks, window, sibling in zip(
            *(table.level, table.before, table.after, table.ticks, table.window, table.sibling),
            strict=True,
        )
    }
    assert found == {key: ticks for key, ticks in longest.items() if ticks > 0}
    assert len(found) == len(table.level)
    for i, command in enumerate(standard.commands.values()):
        assert ROLES[table.roles[i]] == command.role
        assert (levels[table.scopes[i]], table.cycles[i]) == (command.level, command.cycles)
    assert names[table.refresh_command] == standard.refresh.command
    assert levels[table.refresh_level] == standard.refresh_level
    assert table.refresh_interval_ticks == standard.refresh.interval_ticks
    assert all(array.dtype == "int64" for array in table if hasattr(array, "dtype"))


def test_offsets_place_the_instances_of_all_levels_side_by_side() -> None:
    standard = replace(load_standard("hbm2_2000"), {"levels.Channel": 3})
    table = tables(standard)
    assert table.counts.tolist() == [3, 2, 4, 4]
    # 3 channels, 6 pseudo-channels, 24 bank groups, 96 banks.
    assert table.offsets.tolist() == [0, 3, 9, 33]


def test_equal_pairs_are_merged_to_the_longest() -> None:
    rows = [*load_standard("ddr4_3200").constraints]
    longer = rows[0].model_copy(update={"ticks": 9})
    standard = load_standard("ddr4_3200").model_copy(update={"constraints": (*rows, longer)})
    before, after = tables(load_standard("ddr4_3200")), tables(standard)
    assert len(after.ticks) == len(before.ticks)
    changed = after.ticks != before.ticks
    assert set(after.ticks[changed]) == {9}
    assert changed.sum() == 4


@pytest.mark.parametrize(
    ("name", "column"),
    [("hbm2_2000", {"RD", "WR", "RDA", "WRA"}), ("ddr4_3200", set()), ("lpddr5_6400", set())],
)
def test_only_column_commands_are_on_the_second_bus(name: str, column: set[str]) -> None:
    standard = load_standard(name)
    buses = dict(zip(standard.commands, tables(standard).buses.tolist(), strict=True))
    assert {command for command, bus in buses.items() if bus == COLUMN_BUS} == column
    assert set(buses.values()) <= {ROW_BUS, COLUMN_BUS}


def test_lpddr5_alone_splits_activation_and_starts_a_data_clock() -> None:
    for name in PRESETS:
        table = tables(load_standard(name))
        found = (table.open_within_ticks, table.sync_read_ticks, table.sync_write_ticks)
        assert found == ((8, 20, 12) if name == "lpddr5_6400" else (0, 0, 0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hbm2_2000", ("REFpb", "Channel", 122)), ("hbm3_6400", ("REFpb", "PseudoChannel", 390))],
)
def test_refresh_bank_by_bank(name: str, expected: tuple[str, str, int]) -> None:
    standard, table = load_standard(name), tables(load_standard(name))
    command = list(standard.commands)[table.bank_refresh_command]
    level = standard.banked_levels[table.bank_refresh_level]
    assert (command, level, table.bank_refresh_interval_ticks) == expected
    none = tables(load_standard("ddr4_3200"))
    assert (none.bank_refresh_command, none.bank_refresh_interval_ticks) == (-1, 0)


@compiled()
def _sum_of(table: Any) -> int:
    total = table.read_latency_ticks + table.refresh_level
    for row in range(len(table.ticks)):
        total += table.ticks[row]
    return total  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PRESETS)
def test_compiled_code_takes_tables(name: str) -> None:
    table = tables(load_standard(name))
    expected = int(table.ticks.sum()) + table.read_latency_ticks + table.refresh_level
    assert _sum_of(table) == expected


def test_abbreviations_tell_levels_apart() -> None:
    for name in standard_names():
        levels = load_standard(name).levels
        assert len({abbreviation(level).lower() for level in levels}) == len(levels)
    assert [abbreviation(level) for level in ("BankGroup", "Bank", "PseudoChannel", "Sid")] == [
        *("Bg", "Ba", "Pc", "Si")
    ]


def test_rows_in_words() -> None:
    standard: Standard = load_standard("ddr4_3200")
    words = {row.words() for row in standard.constraints}
    assert "Rank ACT -> ACT 34 ticks, window 4" in words
    assert "Rank RD/RDA -> RD/WR/RDA/WRA 6 ticks, sibling" in words
    assert "Bank ACT -> PREpb 52 ticks" in words
