"""Does AiM take the cycles that aim_simulator recorded, and issue only what is allowed?"""

from collections import Counter
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from dram_cases import uncollected
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import dump_yaml, replace
from simulator.dram import Command
from simulator.dram.checker import Checker, Report, check_commands
from simulator.dram.pim import aim
from simulator.dram.pim.aim import Aim, Instruction, load_aim, run_gemv, run_program

PART = load_aim()
MEMORY = PART.memory
#: GDDR6.cpp @c2f8ab6: what the ticks of each row of the part are the sum of, in its order.
READ_TO_WRITE = ("nCLREG", "nBL", "nWPRE")
FORMULAS: list[tuple[int, tuple[str, ...], str | None]] = [
    (0, ("nBL",), None),
    (0, ("nBL",), None),
    (0, ("nCCDS",), None),
    (0, ("nCCDS",), None),
    (0, ("nCCDL",), None),
    (0, ("nCCDL",), None),
    (3, READ_TO_WRITE, "nCWL"),
    (3, READ_TO_WRITE, "nCWLGB"),
    (3, READ_TO_WRITE, "nCWLREG"),
    (0, ("nCWL", "nBL", "nWTRL"), None),
    (0, ("nCWLGB", "nBL", "nWTRS"), None),
    (0, ("nCWLREG", "nBL", "nWTRL"), None),
    (0, ("nRTP",), None),
    (0, ("nCWL", "nWR"), None),
    (0, ("nRRDL",), None),
    (0, ("nRAS",), None),
    (0, ("nRP",), None),
    (0, ("nRCDRDMAC",), None),
    (0, ("nRCDRDAF",), None),
    (0, ("nRCDEWMUL",), None),
    (0, ("nRCDWR",), None),
    (0, ("nCWL", "nBL", "nWR", "nRP"), None),
    (0, ("nRC",), None),
    (0, ("nRFC",), None),
    (0, ("nMODCH",), None),
]
TIMING = {**MEMORY.timing, **PART.timing}
#: jeongyoon-kang/PIM_SW @1813144, docs/log/cent_linear_2026-09-29/run/aim.yaml: ticks of a board.
BOARD = {
    "nRCDRDMAC": 105, "nRCDEWMUL": 105, "nRCDRDAF": 105, "nRCDWR": 105, "nCCDL": 14, "nCCDS": 14,
    "nRTP": 28, "nRAS": 238, "nRP": 119, "nMODCH": 210, "nRRDS": 28, "nRRDL": 28, "nWR": 188,
}  # fmt: skip
#: results.csv beside it (aim_simulator @0f28a07, two channels): outputs, inputs, latches, cycles.
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


def row_ticks(timing: dict[str, int]) -> list[int]:
    return [
        constant + sum(timing[name] for name in added) - (timing[less] if less else 0)
        for constant, added, less in FORMULAS
    ]


def board() -> Aim:
    """Return the part with the ticks of the board; the memory's own rows between PREab too."""
    timing = {**TIMING, **BOARD}
    memory = MEMORY.model_copy(
        update={
            "constraints": tuple(
                row.model_copy(update={"ticks": timing["nRP"]})
                if row.level == "Channel" and "PREab" in row.before
                else row
                for row in MEMORY.constraints
            )
        }
    )
    rows = [
        row.model_copy(update={"ticks": ticks})
        for row, ticks in zip(PART.constraints, row_ticks(timing), strict=True)
    ]
    return PART.model_copy(update={"memory": memory, "constraints": tuple(rows), "channels": 2})


def test_rows_are_the_sums_of_their_source() -> None:
    assert [row.ticks for row in PART.constraints] == row_ticks(TIMING)


@pytest.mark.parametrize(("out", "inputs", "latches", "cycles"), RECORDED)
def test_recorded_cycles(out: int, inputs: int, latches: int, cycles: int) -> None:
    assert run_gemv(board(), out, inputs, latches=latches).cycles == cycles


def timing(*names: str) -> int:
    return sum(TIMING[name] for name in names)


COLUMN = max(timing("nCCDS"), timing("nCCDL"))
#: Ticks of the commands of a row but for the first, and from the last one of a row to the first of
#: the next.
ROW = 63 * COLUMN
REOPENED = timing("nRTP", "nRP", "nRCDRDMAC")


@pytest.mark.parametrize("rows", [1, 2, 512])
def test_rows_alone_take_their_closed_form(rows: int) -> None:
    one = replace(PART, {"channels": 1})
    run = run_program(one, [Instruction("MAC16", 64, row=row) for row in range(rows)])
    expected = 1 + timing("nRCDRDMAC") + ROW + (rows - 1) * (REOPENED + ROW) + 2
    assert run.cycles == expected == 185 + 226 * (rows - 1)
    assert run.bursts == 64 * rows
    assert run.utilisation == 1


@pytest.mark.parametrize("latches", [1, 2])
def test_a_piece_takes_its_closed_form(latches: int) -> None:
    """A buffer is written, mode changes included, and each latch takes its row."""
    one = replace(PART, {"channels": 1})
    cycles = [run_gemv(one, 16, 1024 * n, latches=latches).cycles for n in (4, 5, 6)]
    write = 63 * max(timing("nBL"), timing("nCCDS"))
    mode = timing("nMODCH") + 1
    piece = (
        write + mode + timing("nRP", "nRCDRDMAC") + ROW + mode + (latches - 1) * (REOPENED + ROW)
    )
    assert [then - before for before, then in pairwise(cycles)] == [piece, piece]


def test_reading_all_channels_at_once_is_quicker() -> None:
    each, both = (run_gemv(PART, 4096, 4096, reads=reads) for reads in ("each", "all"))  # type: ignore[arg-type]
    assert each.commands["RDMAC16"] == both.commands["RDMAC16"] == 8 * 32
    assert each.cycles > both.cycles
    assert len(set(both.channel_cycles)) == 1
    assert max(each.channel_cycles) < each.cycles <= max(each.channel_cycles) + 3


@given(
    out=st.integers(1, 500),
    inputs=st.integers(1, 3000),
    batch=st.integers(1, 2),
    latches=st.integers(1, 3),
    channels=st.integers(1, 3),
    reads=st.sampled_from(["each", "all"]),
    refresh=st.sampled_from(["none", "all_bank"]),
)
def test_of_any_matrix_no_row_or_mode_is_broken(
    out: int, inputs: int, batch: int, latches: int, channels: int, reads: str, refresh: str
) -> None:
    """And the run is the one without a trace, and every weight is read once a vector."""
    part = replace(PART, {"channels": channels, "refresh.mode": refresh})
    commands = list[Command]()
    given = {"batch": batch, "latches": latches, "reads": reads}
    run = run_gemv(part, out, inputs, **given, trace=commands.extend)  # type: ignore[arg-type]
    assert run == run_gemv(part, out, inputs, **given)  # type: ignore[arg-type]
    report = check_commands(part.one_bank(), commands, 1 if refresh == "all_bank" else None)
    assert report.violations == ()
    assert report.commands == run.commands
    assert broken_modes(commands) == []
    places = Counter(each.address for each in commands if each.name == "MAC16")
    groups = ceil(out / (16 * channels * latches))
    bursts = ceil(inputs / 16)
    assert set(places.values()) == {batch}
    assert len(places) == groups * latches * channels * bursts
    assert run.bursts == batch * len(places)
    assert run.operations == out * inputs * batch


def test_refresh_takes_its_part() -> None:
    still, refreshed = (
        run_gemv(replace(PART, {"refresh.mode": mode}), 8192, 8192) for mode in ("none", "all_bank")
    )
    assert still.commands.get("REFab") is None
    interval, ticks = MEMORY.refresh.interval_ticks, timing("nRFC")
    assert refreshed.commands["REFab"] == PART.channels * (refreshed.cycles // interval)
    longer = refreshed.cycles / still.cycles
    # The buffer is written meanwhile; closing, opening and two changes of the mode come besides.
    assert 1 / (1 - ticks / 2 / interval) < longer < 1 / (1 - (ticks + 250) / interval)


def test_an_idle_channel_is_refreshed_when_it_is_due() -> None:
    """Channel 1 waits for the reads of channel 0, over many intervals."""
    part = replace(PART, {"channels": 2, "refresh.mode": "all_bank"})
    reads = [Instruction("RDMAC16", 64, 0) for _ in range(400)]
    commands, ends = list[Command](), Instruction("MAC16", 1, 1)
    run = run_program(part, [*reads, ends], trace=commands.extend)
    assert run == run_program(part, [*reads, ends])
    interval = MEMORY.refresh.interval_ticks
    ticks = [each.tick for each in commands if each.name == "REFab" and each.address[0] == 1]
    assert len(ticks) > 10
    assert ticks == [interval * (i + 1) for i in range(len(ticks))]
    assert check_commands(part.one_bank(), commands, 1).violations == ()


#: Every command, each after each: no run of `run_gemv` waits for all rows.
MIXED = [
    Instruction("WRMAC16"), Instruction("WRGB", 64), Instruction("MAC16", 64, row=1),
    Instruction("EWMUL16", 3, row=1), Instruction("AF16", row=2), Instruction("MAC16", row=1),
    Instruction("RDMAC16"), Instruction("RDAF16", 2), Instruction("WRGB"), Instruction("RDMAC16"),
    Instruction("WRMAC16", 2), Instruction("RDMAC16", 2, 1), Instruction("WRA16", 3, row=3),
    Instruction("EWMUL16", row=5), Instruction("RDAF16", 2), Instruction("EWMUL16", 4, row=7),
    Instruction("MAC16", 2, row=6), Instruction("EWMUL16", row=6), Instruction("EWMUL16", row=7),
    Instruction("WRA16", row=7), Instruction("RDMAC16"), Instruction("WRA16", row=8),
    Instruction("MAC16", row=3), Instruction("MAC16", row=4),
] * 12  # fmt: skip
#: Pairs of commands whose rows it waits for.
FAULTS = [
    ("RDMAC16", "RDMAC16"), ("WRGB", "WRGB"), ("MAC16", "MAC16"), ("EWMUL16", "EWMUL16"),
    ("RDMAC16", "WRGB"), ("RDAF16", "WRGB"), ("RDMAC16", "WRMAC16"), ("WRGB", "RDMAC16"),
    ("WRMAC16", "RDMAC16"), ("MAC16", "PREab"), ("EWMUL16", "PREab"), ("ACT16", "PREab"),
    ("PREab", "ACT16"), ("ACT16", "MAC16"), ("ACT16", "AF16"), ("ACT16", "EWMUL16"),
    ("ACT16", "WRA16"), ("WRA16", "ACT16"), ("ACT16", "REFab"), ("REFab", "ACT16"),
    ("TMOD", "MAC16"), ("TMOD", "RDMAC16"), ("TMOD", "WRGB"),
]  # fmt: skip


def mixed(part: Aim) -> Report:
    sound = replace(PART, {"channels": 2, "refresh.mode": "all_bank"})
    commands = list[Command]()
    assert run_program(part, MIXED, trace=commands.extend) == run_program(part, MIXED)
    return check_commands(sound.one_bank(), commands, 1)


@pytest.mark.parametrize(("before", "after"), FAULTS)
def test_an_engine_with_a_row_of_a_tick_less_is_found(before: str, after: str) -> None:
    sound = replace(PART, {"channels": 2, "refresh.mode": "all_bank"})
    rows = tuple(
        row.model_copy(update={"ticks": row.ticks - 1})
        if before in row.before and after in row.after
        else row
        for row in sound.constraints
    )
    memory = MEMORY.model_copy(
        update={
            "constraints": tuple(
                row.model_copy(update={"ticks": row.ticks - 1})
                if before in row.before and after in row.after
                else row
                for row in MEMORY.constraints
            )
        }
    )
    assert mixed(sound).violations == ()
    rules = [
        each
        for each in mixed(
            sound.model_copy(update={"constraints": rows, "memory": memory})
        ).violations
        if each.row is not None
    ]
    table = sound.one_bank().constraints
    assert any(
        each.rule.startswith("too early by 1:")
        and before in table[each.row or 0].before
        and after in table[each.row or 0].after
        for each in rules
    )


def broken_modes(commands: list[Command]) -> list[str]:
    """Return commands in the wrong mode: registers and buffer need one, all others the other."""
    registers, broken = set[int](), []
    for tick, name, (channel, *_) in commands:
        if name == "TMOD":
            registers ^= {channel}
        elif (name in ("WRGB", "WRMAC16", "RDMAC16", "RDAF16")) != (channel in registers):
            broken.append(f"tick {tick}: {name} on channel {channel}")
    return broken


def test_a_change_of_the_mode_that_is_left_out_is_found() -> None:
    commands = list[Command]()
    run_gemv(replace(PART, {"channels": 2}), 64, 2048, trace=commands.extend)
    assert broken_modes(commands) == []
    changes = [i for i, each in enumerate(commands) if each.name == "TMOD"]
    assert len(changes) > 4
    for i in changes:
        assert broken_modes([*commands[:i], *commands[i + 1 :]])


def test_a_trace_is_in_order_of_ticks() -> None:
    commands = list[Command]()
    run_gemv(replace(PART, {"channels": 5}), 1000, 2000, trace=commands.extend)
    ticks = [each.tick for each in commands]
    assert ticks == sorted(ticks)
    assert {each.address[0] for each in commands} == set(range(5))


@pytest.mark.slow
@pytest.mark.parametrize("refresh", ["none", "all_bank"])
def test_a_million_commands_break_no_row(refresh: str) -> None:
    part = replace(PART, {"refresh.mode": refresh})
    checker = Checker(part.one_bank(), 1 if refresh == "all_bank" else None)
    with uncollected():
        run_gemv(part, 11008, 4096, batch=3, trace=checker)
    assert checker.report().violations == ()
    assert checker.report().checked >= 10**6


def test_a_part_that_is_written_loads_equal(tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(dump_yaml(PART), encoding="utf-8")
    assert load_aim(str(file)) == PART


def test_arrays_are_of_one_type() -> None:
    """The kernel is compiled once."""
    arrays = (*aim._machine(PART), *aim._state(PART), aim._runs(PART, MIXED))
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}
