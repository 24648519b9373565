"""Do groups of banks do what their rules say, and what others recorded of such devices?"""

import csv
import os
from collections import Counter, defaultdict
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pim_grouped_cases import Ints, Twin, random_program, random_requests, small

from simulator.config import names, replace
from simulator.dram import Command, load_standard
from simulator.dram.pim.aim import Aim, load_aim, run_gemv
from simulator.dram.pim.attacc import load_attacc
from simulator.dram.pim.attacc_program import Attention, program_of
from simulator.dram.pim.grouped import (
    END,
    LOAD,
    RESULT,
    ROW,
    GroupedPim,
    load_grouped,
    run_program,
)
from simulator.dram.pim.grouped_part import PIM_FOLDER
from simulator.dram.standard import Constraint

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "attacc"
NAMES = ("duplex_bank", "duplex_bank_group", "duplex_logic", "gddr6_banks", "hbm3_banks",
         "newton_hbm2")  # fmt: skip
BANKS = load_grouped("hbm3_banks")
NO_REQUESTS = np.zeros((0, 5), np.int64)


def program(*entries: tuple[int, ...]) -> Ints:
    return np.array(entries, np.int64).reshape(len(entries), 4)


def rows(count: int, multiplications: int, groups: int = 1) -> Ints:
    """Return a ROW after the other, round the groups."""
    return program(*((ROW, i % groups, i // groups, multiplications) for i in range(count)))


def traced(part: GroupedPim, *given: Ints, **options: object) -> list[Command]:
    commands = list[Command]()
    run_program(part, *given, trace=commands.extend, **options)
    return commands


# Parts.


@pytest.mark.parametrize("name", NAMES)
def test_groups_part_the_banks(name: str) -> None:
    part = load_grouped(name)
    banks = sorted(bank for group in part.banks_of_groups for bank in group)
    assert banks == [*range(part.memory.banks_per_channel)]
    assert {len(group) for group in part.banks_of_groups} == {part.banks_at_once}
    assert len(part.banks_of_groups) == part.groups


def test_all_parts_are_looked_at() -> None:
    grouped = []
    for name in names(PIM_FOLDER):
        text = (ROOT / PIM_FOLDER / f"{name}.yaml").read_text()
        grouped += [name] if "\nat_once:" in text else []
    assert sorted(grouped) == sorted(NAMES)


def test_a_bundle_is_half_of_the_banks_of_a_rank() -> None:
    """Two banks of each bank group, of both pseudo-channels: ranks are 16 banks apart."""
    part = load_grouped("duplex_logic")
    half = [4 * group + bank for group in range(4) for bank in (0, 1)]
    assert part.banks_of_groups[0] == tuple(half + [32 + bank for bank in half])
    assert part.banks_of_groups[1] == tuple(bank + 2 for bank in part.banks_of_groups[0])
    assert part.banks_of_groups[2] == tuple(bank + 16 for bank in part.banks_of_groups[0])


@pytest.mark.parametrize(
    ("name", "times"),
    [("duplex_logic", 4), ("duplex_bank_group", 4), ("duplex_bank", 16), ("hbm3_banks", 16)],
)
def test_units_read_as_many_times_what_requests_do_as_is_published(name: str, times: int) -> None:
    """Duplex (arXiv 2409.01141) section 4, AttAcc (ASPLOS 2024), by the engine."""
    part = load_grouped(name)
    run = run_program(part, rows(1, 4000), refresh="none")
    moved = run.bursts * part.banks_at_once * part.memory.access_bytes
    rate = moved / run.time_s
    assert rate / part.memory.peak_bytes_per_s == pytest.approx(times, rel=0.005)


def test_newton_reads_what_neupims_does() -> None:
    """NeuPIMs: 32 channels x 32 banks x 32 bytes each 2 ns."""
    part = load_grouped("newton_hbm2")
    run = run_program(part, rows(1, 4000), refresh="none")
    rate = run.bursts * part.banks_at_once * part.memory.access_bytes / run.time_s
    assert rate * part.channels == pytest.approx(16.4e12, rel=0.03)


def test_rows_of_hbm3_are_the_sums_of_their_source() -> None:
    """scale-snu/attacc_simulator, HBM3-PIM.cpp @c1540de."""
    memory = load_standard("hbm3_5200")
    t = memory.timing
    sums = {
        ("PseudoChannel", "RD", "WR"): t["nBL"],
        ("PseudoChannel", "RD", "PREab"): t["nRTPS"],
        ("PseudoChannel", "WR", "PREab"): t["nCWL"] + t["nBL"] + t["nWR"],
        ("PseudoChannel", "REFab", "ACT"): t["nRFC"],
        ("PseudoChannel", "PREpb", "REFab"): t["nRP"],
        ("Sid", "RD", "WR"): t["nCL"] + t["nBL"] + 2 - t["nCWL"],
        ("Sid", "WR", "RD"): t["nCWL"] + t["nBL"] + t["nWTRS"],
        ("BankGroup", "WR", "RD"): t["nCWL"] + t["nBL"] + t["nWTRL"],
        ("BankGroup", "ACT", "ACT"): t["nRRDL"],
        ("Bank", "ACT", "ACT"): t["nRC"],
        ("Bank", "ACT", "RD"): t["nRCDRD"],
        ("Bank", "ACT", "PREpb"): t["nRAS"],
        ("Bank", "PREpb", "ACT"): t["nRP"],
        ("Bank", "RD", "PREpb"): t["nRTPL"],
    }
    for (level, before, after), ticks in sums.items():
        found = [
            row.ticks
            for row in memory.constraints
            if row.level == level and before in row.before and after in row.after
        ]
        assert max(found) == ticks
    assert memory.peak_bytes_per_s * 16 == pytest.approx(670e9, rel=0.01)


def test_gddr6_has_the_rows_of_aim() -> None:
    aim, part = load_aim(), load_grouped("gddr6_banks")
    own = longest(part.constraints)
    for (before, after), ticks in longest(of_aim(aim)).items():
        assert own.get((before, after), 0) == ticks


# A second controller, and runs of commands at once.


def cases() -> list[tuple[str, GroupedPim]]:
    return [
        ("banks", small("hbm3_banks")),
        ("one buffer of vectors", small("hbm3_banks", double_buffered=False)),
        ("bundles", small("duplex_logic")),
        ("two ahead", small("duplex_logic", open_ahead=2)),
        ("bank groups", small("duplex_bank_group")),
        ("newton", small("newton_hbm2", openings=2)),
        ("newton, one", small("newton_hbm2", row_buffers=1, openings=4, refresh_guard=False)),
        ("halves", small("newton_hbm2", openings=2, at_once={"BankGroup": 2}, open_ahead=1)),
        ("guarded", small("hbm3_banks", refresh_guard=True, interval=900)),
        ("gddr6", small("gddr6_banks")),
        ("gddr6, quarters", small("gddr6_banks", at_once={"Bank": 2}, open_ahead=1)),
        ("gddr6, two", small("gddr6_banks", row_buffers=2, double_buffered=True)),
    ]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(("name", "part"), cases(), ids=[name for name, _ in cases()])
def test_the_kernel_is_the_twin(name: str, part: GroupedPim, exclusive: bool) -> None:
    same_as_twin(part, np.random.default_rng([5, exclusive, *name.encode()]), exclusive, 2)


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(("name", "part"), cases(), ids=[name for name, _ in cases()])
def test_the_kernel_is_the_twin_a_hundred_times(
    name: str, part: GroupedPim, exclusive: bool
) -> None:
    same_as_twin(part, np.random.default_rng([6, exclusive, *name.encode()]), exclusive, 100)


def same_as_twin(part: GroupedPim, rng: np.random.Generator, exclusive: bool, times: int) -> None:
    counts = [part.memory.levels[level] for level in part.memory.banked_levels[1:]]
    for _ in range(times):
        given = random_program(part, rng, int(rng.integers(1, 60)))
        requests = random_requests(part, rng, int(rng.choice([0, 20, 80])), 2500)
        cadence, refresh = int(rng.choice([0, 7])), bool(rng.integers(2))
        twin = Twin(
            part,
            given,
            requests,
            exclusive=exclusive,
            cadence_ticks=cadence,
            refresh=refresh,
        ).run()
        options: dict[str, Any] = {
            "requests": requests,
            "policy": "exclusive" if exclusive else "concurrent",
            "cadence_ticks": cadence,
            "refresh": "all_bank" if refresh else "none",
        }
        commands = list[Command]()
        run = run_program(part, given, trace=commands.extend, **options)
        assert run == run_program(part, given, **options)
        ours = [
            (each.tick, each.name, int(np.ravel_multi_index(each.address[1:-2], counts)),
             each.address[-2], each.address[-1] // part.memory.prefetch)
            for each in commands
        ]  # fmt: skip
        assert ours == twin


@pytest.mark.parametrize("name", NAMES)
def test_the_same_run_twice_is_the_same(name: str) -> None:
    part, rng = load_grouped(name), np.random.default_rng(2)
    given, requests = random_program(part, rng, 300), random_requests(part, rng, 300, 9000)
    assert traced(part, given, requests=requests) == traced(part, given, requests=requests)


# Closed forms, without refresh.


@pytest.mark.parametrize("name", ["hbm3_banks", "gddr6_banks", "duplex_bank"])
@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("multiplications", [1, 9, 32])
def test_rows_of_one_group_take_their_closed_form(
    name: str, count: int, multiplications: int
) -> None:
    part = load_grouped(name)
    opened, used, stays, cadence, after, closed = row_ticks(part)
    last = used + (multiplications - 1) * cadence
    period = max(opened, max(last + after, stays) + closed)
    run = run_program(part, rows(count, multiplications), refresh="none")
    assert run.program_cycles == 1 + (count - 1) * period + last


def row_ticks(part: GroupedPim) -> list[int]:
    """Return RC, RCD, RAS, the cadence, RTP and RP of a group."""
    found, memory = longest(part.constraints), part.memory
    opens, closes, multiply = (part.command(r) for r in ("open", "close", "multiply"))
    assert memory.levels["Channel"] == 1
    pairs = [(opens, opens), (opens, multiply), (opens, closes), (multiply, multiply),
             (multiply, closes), (closes, opens)]  # fmt: skip
    return [found[pair] for pair in pairs]


@pytest.mark.parametrize("multiplications", [24, 32])
def test_rows_of_two_bundles_hide_each_other(multiplications: int) -> None:
    """Opened ahead, the next row is ready when the last multiplication of this one is issued."""
    part = load_grouped("duplex_logic")
    run = run_program(part, rows(40, multiplications, groups=2), refresh="none")
    assert run.program_cycles == 1 + 19 + (40 * multiplications - 1) * 4
    alone = replace(part, {"open_ahead": 0})
    late = run_program(alone, rows(40, multiplications, groups=2), refresh="none")
    # Closed first, from the second row of each on, as soon as the other's last column is issued.
    assert late.program_cycles == run.program_cycles + (19 - 4) + 38 * (19 + 19 - 4)


def test_a_slower_unit_sets_the_cadence() -> None:
    run = run_program(BANKS, rows(1, 100), refresh="none", cadence_ticks=11)
    assert run.program_cycles == 1 + 19 + 99 * 11


def test_the_buffer_is_filled_beside_multiplications_where_it_is_double() -> None:
    entries = [(LOAD, 0, 0, 8), (ROW, 0, 0, 32)] * 20
    double = run_program(BANKS, program(*entries), refresh="none")
    single = replace(BANKS, {"double_buffered": False})
    one = run_program(single, program(*entries), refresh="none")
    # After the first 8 of 4 ticks, only multiplications count; else the other fillings too.
    assert double.program_cycles == 1 + 7 * 4 + 1 + (20 * 32 - 1) * 4
    assert one.program_cycles == double.program_cycles + 19 * (1 + 7 * 4 + 1 - 4)


def test_nothing_is_done_ahead_of_the_end_of_a_section() -> None:
    part = load_grouped("duplex_logic")
    entries = [(ROW, 0, 0, 32), (END, 0, 0, 0), (LOAD, 0, 0, 4), (ROW, 1, 0, 32)]
    for listed, ahead in ((entries, False), (entries[:1] + entries[2:], True)):
        ticks = defaultdict[str, list[int]](list)
        for each in traced(part, program(*listed), refresh="none"):
            ticks[each.name].append(each.tick)
        last_of_first = ticks["ALL_RD"][31]
        assert (ticks["WRBUF"][0] < last_of_first) is ahead
        assert (ticks["ALL_ACT"][1] < last_of_first) is ahead


@pytest.mark.parametrize("name", NAMES)
def test_refresh_takes_the_time_that_it_closes_banks(name: str) -> None:
    """Of each interval: a refresh, and what closes and opens the row again."""
    part = load_grouped(name)
    memory = part.memory
    interval, busy = memory.refresh.interval_ticks, memory.timing["nRFC"]
    given = rows(1, 200_000)
    run = run_program(part, given)
    alone = run_program(part, given, refresh="none")
    refreshes = run.commands[memory.refresh.command] / memory.levels.get("PseudoChannel", 1)
    assert refreshes == run.cycles // interval
    lost = (run.cycles - alone.cycles) / refreshes
    assert busy < lost < busy + 250


# What is counted.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(NAMES), st.booleans())
def test_nothing_is_lost(seed: int, name: str, exclusive: bool) -> None:
    rng, part = np.random.default_rng(seed), load_grouped(name)
    given = random_program(part, rng, int(rng.integers(1, 80)))
    requests = random_requests(part, rng, int(rng.integers(80)), 6000)
    run_of = {"requests": requests, "policy": "exclusive" if exclusive else "concurrent"}
    commands = traced(part, given, **run_of)
    counts = Counter(each.name for each in commands)
    run = run_program(part, given, **run_of)
    assert run.commands == counts
    for kind, role in ((LOAD, "buffer_write"), (ROW, "multiply"), (RESULT, "result_read")):
        assert counts[part.command(role)] == given[given[:, 0] == kind, 3].sum()
    assert run.bursts == counts[part.command("multiply")]
    asked = Counter(map(tuple, requests[:, 1:].tolist()))
    assert served(part, commands) == asked
    assert run.requests == len(requests)
    assert run.cycles == max(run.program_cycles, run.request_cycles)
    ticks = [each.tick for each in commands]
    assert ticks == sorted(ticks)


def served(part: GroupedPim, commands: list[Command]) -> Counter[tuple[int, ...]]:
    """Return how often each burst was written and read: write, bank, row, burst."""
    memory, found = part.memory, Counter[tuple[int, ...]]()
    counts = [memory.levels[level] for level in memory.banked_levels[1:]]
    kinds = {memory.with_role("read")[0]: 0, memory.with_role("write")[0]: 1}
    for each in commands:
        if each.name in kinds:
            bank = int(np.ravel_multi_index(each.address[1:-2], counts))
            row, column = each.address[-2:]
            found[kinds[each.name], bank, row, column // memory.prefetch] += 1
    return found


def test_requests_of_one_burst_keep_their_order() -> None:
    part, rng = small("hbm3_banks"), np.random.default_rng(9)
    requests = random_requests(part, rng, 400, 2000)
    requests[:, 2:] %= 2
    done, seen = defaultdict[tuple[int, ...], list[int]](list), list[int]()
    for each in traced(part, rows(0, 1), requests=requests):
        if each.name in ("RD", "WR"):
            done[each.address[1:]].append(int(each.name == "WR"))
    for (*_, bank, row, column), writes in done.items():
        same = [*map(int, requests[(requests[:, 2] == bank) & (requests[:, 3] == row)
                                   & (requests[:, 4] == column // 8), 1])]  # fmt: skip
        assert writes == same
        seen += writes
    assert len(seen) == 400


def test_channels_that_do_the_same_are_added_up() -> None:
    given = program((LOAD, 0, 0, 8), (ROW, 0, 5, 32), (RESULT, 0, 0, 8))
    one = run_program(BANKS, given)
    all_of_them = run_program(BANKS, given, channels=16, operations=5000, operations_per_burst=16)
    assert all_of_them.cycles == one.cycles
    assert all_of_them.commands == {name: 16 * n for name, n in one.commands.items()}
    assert all_of_them.bursts == 16 * one.bursts
    assert all_of_them.utilisation == 5000 / (16 * 16 * 32)
    assert one.utilisation == 1
    for name, joules in all_of_them.energy_j.items():
        assert joules == pytest.approx(16 * one.energy_j[name])


def test_energy_by_hand_in_bits() -> None:
    """Of 64 banks 256 bits of 0.44 pJ, rows of 8,192 of 0.11; moves 256 of 3.04, 512 of 2.74 pJ."""
    given = program((LOAD, 0, 0, 8), (ROW, 0, 5, 32), (RESULT, 0, 0, 8))
    run = run_program(BANKS, given, requests=np.array([[0, 0, 3, 7, 1]], np.int64))
    assert run.energy_j == pytest.approx(
        {
            "activate": (64 + 1) * 8192 * 0.11e-12,
            "multiply": 32 * 64 * 256 * 0.44e-12,
            "buffer_write": 8 * 256 * 3.04e-12,
            "result_read": 8 * 512 * 2.74e-12,
            "request": 256 * 3.48e-12,
        }
    )


@pytest.mark.parametrize(
    ("name", "banks", "column_nj"),
    [("duplex_logic", 16, 0.464), ("duplex_bank_group", 16, 0.686), ("duplex_bank", 64, 0.187)],
)
def test_energy_by_hand_of_duplex(name: str, banks: int, column_nj: float) -> None:
    """Duplex (arXiv 2409.01141): 0.909 nJ an activation, 0.891 nJ a column for the xPU."""
    requests = np.array([[0, 0, 63, 7, 1], [0, 1, 63, 7, 1]], np.int64)
    run = run_program(load_grouped(name), rows(3, 10), requests=requests)
    assert run.energy_j["activate"] == pytest.approx((3 * banks + 1) * 0.909e-9)
    assert run.energy_j["multiply"] == pytest.approx(30 * banks * column_nj * 1e-9, rel=2e-3)
    assert run.energy_j["request"] == pytest.approx(2 * 0.891e-9, rel=2e-3)


def test_energy_by_hand_in_amperes() -> None:
    """NewtonSim: VDD (IDD0 48 - IDD3N 34 - IDD2N 14), a COMP as 4 reads of VDD (390 - 55) 2."""
    given = program((LOAD, 0, 0, 8), (ROW, 0, 5, 32), (RESULT, 0, 0, 3))
    run = run_program(load_grouped("newton_hbm2"), given)
    activation, read = 1.2 * (65 * 48 - 55 * 34 - 40 * 14), 1.2 * (390 - 55) * 2
    assert run.energy_j == pytest.approx(
        {
            "activate": 32 * activation * 1e-12,
            "multiply": 32 * 4 * read * 1e-12,
            "buffer_write": 8 * 1.2 * (500 - 55) * 2 * 1e-12,
            "result_read": 3 * 2 * read * 1e-12,
            "request": 0,
        }
    )


# Reads and writes beside.


def sections(count: int, rows_each: int, group: int = 0) -> Ints:
    """Return sections, each of a filling, rows and results."""
    one = [(LOAD, group, 0, 4), *((ROW, group, 900 + i, 32) for i in range(rows_each)),
           (RESULT, group, 0, 4), (END, 0, 0, 0)]  # fmt: skip
    return program(*one * count)


def reads(count: int, span: int, banks: range) -> Ints:
    """Return reads of whole rows, a bank after the other within a burst."""
    at = np.arange(count)
    place = at // len(banks)
    return np.stack(
        [at * span // count, 0 * at, banks[0] + at % len(banks), place // 32, place % 32], axis=1
    )


def test_exclusive_sections_and_requests_take_turns() -> None:
    given, requests = sections(20, 4), reads(4000, 12_000, range(64))
    commands = traced(BANKS, given, requests=requests, policy="exclusive")
    columns, done, ended = 0, 0, 0
    for each in commands:
        within = columns % (4 + 4 * 32 + 4)
        if each.name in ("WRGB", "MACAB", "MVSB"):
            # What had come when the section before ended is served.
            assert within or done >= (requests[:, 0] <= ended).sum()
            columns, ended = columns + 1, each.tick
        elif each.name in ("RD", "ACT"):
            assert not within
            done += each.name == "RD"
    assert (columns, done) == (20 * (4 + 4 * 32 + 4), 4000)
    alone = run_program(BANKS, given)
    run = run_program(BANKS, given, requests=requests, policy="exclusive")
    assert run.program_cycles > alone.program_cycles


def test_two_row_buffers_serve_requests_beside_the_program_and_one_does_not() -> None:
    two, given = load_grouped("newton_hbm2"), sections(40, 8)
    requests = reads(2000, 30_000, range(32))
    alone = run_program(two, given[:0], requests=requests)
    beside = run_program(two, given, requests=requests)
    assert beside.request_cycles < 1.01 * alone.request_cycles
    assert alone.read_latency_avg_ticks <= beside.read_latency_avg_ticks < 150
    one = replace(two, {"row_buffers": 1})
    waits = run_program(one, given, requests=requests)
    assert waits.request_cycles > waits.program_cycles
    served_at = [c.tick for c in traced(one, given, requests=requests) if c.name == "RD"]
    assert min(served_at) > waits.program_cycles - two.memory.read_latency_ticks


def test_requests_of_other_bundles_are_served_beside_the_program() -> None:
    part, given = load_grouped("duplex_logic"), sections(40, 8)
    alone = run_program(part, given)
    elsewhere = reads(8000, 30_000, range(16, 32))
    beside = run_program(part, given, requests=elsewhere)
    assert beside.request_cycles < 31_000 < alone.program_cycles
    assert beside.program_cycles < 1.02 * alone.program_cycles
    same = reads(8000, 30_000, range(2))
    assert run_program(part, given, requests=same).request_cycles > beside.program_cycles


def test_the_same_row_is_in_one_buffer_only() -> None:
    part = load_grouped("newton_hbm2")
    requests = np.array([[0, 0, 0, 900, 0], [3000, 0, 1, 900, 0], [3100, 0, 1, 7, 0]], np.int64)
    commands = traced(part, sections(1, 1), requests=requests)
    names = [each.name for each in commands]
    # Of the first two no bank is opened while the group is; the third has a row of its own.
    assert names.index("PIM_PRECHARGE") > names.index("COMP")
    for at, each in enumerate(commands):
        if each.name == "ACT":
            opened = names[:at].count("G_ACT") > 8 * names[:at].count("PIM_PRECHARGE")
            assert each.address[-2] == 7 or not opened
    assert names.count("RD") == 3


def test_the_refresh_guard_opens_no_row_that_the_refresh_would_close() -> None:
    part = load_grouped("hbm3_banks")
    guarded = replace(part, {"refresh_guard": True})
    given = rows(300, 32)
    opened = [run_program(each, given).rows_opened for each in (part, guarded)]
    assert opened[0] > opened[1] == 300


def test_a_row_that_no_interval_has_room_for_goes_on_after_a_refresh() -> None:
    guarded = replace(load_grouped("hbm3_banks"), {"refresh_guard": True})
    assert run_program(guarded, rows(2, 5000)).bursts == 10_000


# What others recorded: AttAcc's units in banks.


@cache
def recorded() -> dict[tuple[bool, int, int, int, int], list[int]]:
    """Return cycles by power limit, context, heads, head size and bytes of a value."""
    path = DATA / "pim_attention_cycles.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (scale-snu/attacc_simulator @c600051)")
    found = defaultdict[tuple[bool, int, int, int, int], list[int]](list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            sizes = [int(row[name]) for name in ("L", "nhead", "dhead", "dbyte")]
            if row["pim_type"] == "BA" and sizes[0] >= 512:
                context, heads, head_dim, size = sizes
                limited = row["power_constraint"] == "True"
                found[limited, context, heads, head_dim, size].append(int(row["cycle"]))
    return dict(found)


def attention(context: int, heads: int, head_dim: int, bytes_per_value: int) -> Ints:
    """Return AttAcc's program for its units in banks without its barriers and softmax."""
    part = load_attacc()
    asked = Attention(
        context=context, heads=heads, head_dim=head_dim, bytes_per_value=bytes_per_value
    )
    kinds = {"MACAB": ROW, "WRGB": LOAD, "MVGB": LOAD, "MVSB": RESULT}
    entries, commands = list[tuple[int, ...]](), list(part.commands)
    for command, count, first, row, _, _ in program_of(part, "bank", asked).arrays()[0].tolist():
        kind = kinds.get(commands[command]) if command >= 0 else None
        if kind == ROW:
            ends = [*range(first - first % 32 + 32, first + count, 32), first + count]
            for start, end in zip([first, *ends], ends, strict=False):
                entries.append((ROW, 0, row + start // 32, end - start))
        elif kind is not None:
            entries.append((kind, 0, 0, count))
    return program(*entries)


def power_limited() -> GroupedPim:
    """Return the part with nCCDAB of 6 ticks."""
    changed = [
        row.model_copy(update={"ticks": 6}) if row.before == row.after == ("MACAB",) else row
        for row in BANKS.constraints
    ]
    return replace(BANKS, {"constraints": tuple(changed)})


def test_recorded_cycles_of_attacc() -> None:
    """By rules of its own: no queue of 33, no barriers, results before multiplications after."""
    parts = {True: power_limited(), False: BANKS}
    keys, rng = sorted(recorded()), np.random.default_rng(4)
    errors = []
    for i in rng.choice(len(keys), 100, replace=False):
        limited, *sizes = keys[i]
        cycles = run_program(parts[limited], attention(*sizes)).program_cycles
        each = [cycles / record - 1 for record in recorded()[keys[i]]]
        errors.append(min(each, key=abs))
    assert np.mean(np.abs(errors)) < 0.012
    assert -0.065 < min(errors) <= max(errors) < 0.035


# What others recorded: AiM.


def of_aim(aim: Aim) -> list[Constraint]:
    """Return AiM's rows between commands that groups have too; a mode lasts nMODCH and a TMOD."""
    known = {name: name for name in ("ACT16", "MAC16", "WRGB", "RDMAC16", "REFab")}
    known |= {"PREab": "PREA16"}
    found, mode = list[Constraint](), max(r.ticks for r in aim.constraints if "TMOD" in r.before)
    for row in aim.one_bank().constraints:
        before, after = (
            tuple(known[name] for name in side if name in known) for side in (row.before, row.after)
        )
        if before and after and {*before, *after} != {"REFab"}:
            found.append(Constraint(level="Channel", before=before, after=after, ticks=row.ticks))
    rows, registers = ("ACT16", "PREA16", "MAC16"), ("WRGB", "RDMAC16")
    for before, after in ((rows, registers), (registers, rows)):
        found.append(Constraint(level="Channel", before=before, after=after, ticks=mode + 1))
    return found


def longest(constraints: object) -> dict[tuple[str, str], int]:
    """Return the most ticks of each pair, whatever the level."""
    found = dict[tuple[str, str], int]()
    for row in constraints:
        for before in row.before:
            for after in row.after:
                found[before, after] = max(row.ticks, found.get((before, after), 0))
    return {pair: ticks for pair, ticks in found.items() if ticks}


def gemv(part: GroupedPim, out: int, inputs: int, latches: int, channels: int) -> Ints:
    """Return AiM's program of a matrix and a vector on one of some channels."""
    piece, entries = part.buffer_bytes // 2, list[tuple[int, ...]]()
    pieces = ceil(inputs / piece)
    for group in range(ceil(out / (part.banks_at_once * channels * latches))):
        for i in range(pieces):
            bursts = ceil(min(piece, inputs - i * piece) / 16)
            entries.append((LOAD, 0, 0, bursts))
            outputs = range(group * latches, (group + 1) * latches)
            entries += [(ROW, 0, output * pieces + i, bursts) for output in outputs]
        entries.append((RESULT, 0, 0, latches))
    return program(*entries)


#: jeongyoon-kang/PIM_SW @1813144, docs/log/cent_linear_2026-09-29: ticks of a board, and its
#: results (aim_simulator @0f28a07, two channels): outputs, inputs, latches, cycles.
BOARD = {"nRCDRDMAC": 105, "nCCDL": 14, "nRTP": 28, "nRAS": 238, "nRP": 119, "nMODCH": 210,
         "nRRDL": 28}  # fmt: skip
RECORDED = [
    (2048, 2048, 1, 323229),
    (512, 2048, 1, 80877),
    (8192, 2048, 1, 1292637),
    (2048, 8192, 1, 1248669),
    (2048, 2048, 2, 234685),
    (512, 2048, 2, 58741),
    (8192, 2048, 2, 938461),
    (2048, 8192, 2, 915133),
]


def of_the_board() -> GroupedPim:
    """Return the part with the ticks of the board."""
    part, t = load_grouped("gddr6_banks"), BOARD
    ticks = {
        ("ACT16", "MAC16"): t["nRCDRDMAC"], ("ACT16", "PREA16"): t["nRAS"],
        ("MAC16", "PREA16"): t["nRTP"], ("PREA16", "ACT16"): t["nRP"],
        ("PREA16", "PREA16"): t["nRP"], ("PREA16", "REFab"): t["nRP"],
        ("ACT16", "ACT16"): t["nRRDL"], ("MAC16", "MAC16"): t["nCCDL"],
        ("WRGB", "WRGB"): t["nCCDL"], ("MAC16", "WRGB"): t["nMODCH"] + 1,
        ("WRGB", "MAC16"): t["nMODCH"] + 1,
    }  # fmt: skip
    changed = [
        row.model_copy(update={"ticks": max(row.ticks, *(of_row or [0]))})
        for row in part.constraints
        for of_row in [[ticks.get((b, a), 0) for b in row.before for a in row.after]]
    ]
    return replace(part, {"constraints": tuple(changed)})


@pytest.mark.parametrize(("out", "inputs", "latches", "cycles"), RECORDED)
def test_recorded_cycles_of_aim(out: int, inputs: int, latches: int, cycles: int) -> None:
    """Less: rows are opened beside buffer writes, results do not wait for the other channel's."""
    part = of_the_board()
    ours = run_program(part, gemv(part, out, inputs, latches, 2), refresh="none").cycles
    assert -0.08 < ours / cycles - 1 < -0.025


@pytest.mark.parametrize("inputs", [1024, 4096])
@pytest.mark.parametrize("latches", [1, 2])
def test_cycles_of_the_engine_of_aim(inputs: int, latches: int) -> None:
    """Less, again: its rows are opened in order, when the buffer is full."""
    part, aim = load_grouped("gddr6_banks"), replace(load_aim(), {"channels": 1})
    ours = run_program(part, gemv(part, 1024, inputs, latches, 1), refresh="none").cycles
    exact = run_gemv(aim, 1024, inputs, latches=latches, reads="all").cycles
    assert -0.16 < ours / exact - 1 < 0
