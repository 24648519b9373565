"""Are NeuPIMs' parts, models, requests and traces that are wrong refused, with which words?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.config import replace
from simulator.dram.pim.neupims import (
    Traffic,
    assign_channels,
    estimate_ticks,
    read_requests,
    run_attention,
    sequential_reads,
)
from simulator.dram.pim.neupims_checker import PimChecker, check_pim_commands
from simulator.dram.pim.neupims_part import Issued, load_neupims
from simulator.errors import InfeasibleError, InputError

PART = load_neupims()
TINY = {"hidden": 1024, "heads": 8, "tp": 1}
COMMANDS = "ACT, COMP, COMPS_READRES, GWRITE, G_ACT, PIM_PRECHARGE, PREpb, P_HEADER, RD, READRES, REFab, WR"
ROLES = "announce, close, close_pim, compute, compute_and_read, open, open_group, read, read_result, refresh, write, write_buffer"


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


def row_of(words: str, mode: str | None = None) -> int:
    rows = PART.modes[mode].constraints if mode else PART.constraints
    return [row.words() for row in rows].index(words)


REFRESHED = row_of("Rank REFab -> ACT/G_ACT/REFab 260 ticks")
CLOSED = row_of("BankGroup PIM_PRECHARGE -> G_ACT 14 ticks", "dual")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tick_ps": 0}, "tick_ps: must be >= 1, got 0"),
        ({"levels": {"Channel": 32, "Bank": 4, "Row": 8}}, "levels: must be Channel, Rank, BankGroup, Bank, Row, got Channel, Bank, Row"),
        ({"levels": {}}, "levels: must be Channel, Rank, BankGroup, Bank, Row, got none"),
        ({"row": "1000 B"}, "row must be whole steps of 32 bytes, got 1000 bytes; row must be whole bursts of 64 bytes, got 1000 bytes"),
        ({"value": "8 B"}, "units: 16 multipliers take 128 bytes a step, a burst has 64"),
        ({"units.multipliers": 33}, "units: 33 multipliers take 66 bytes a step, a burst has 64; row must be whole steps of 66 bytes, got 1024 bytes"),
        ({"timing": {"nBL": 2, "nFAW": 30, "nRAS": 34}}, "timing: lacks nCCDL, nRCDRD, nRCDWR, nRP, nRTP"),
        ({"commands.ACT": ["open"]}, "commands.ACT: expected 2 entries (role, level), got 1"),
        ({"commands.ACT": ["opens", "Bank"]}, f"commands.ACT.role: unknown role 'opens'; did you mean 'open'? known: {ROLES}"),
        ({"commands.ACT": ["open", "Rank"]}, "commands: ACT: role 'open' is of a Bank, not a Rank"),
        ({"commands.RD": ["write", "Bank"]}, "commands: needs one command of role 'read', got none; needs one command of role 'write', got RD, WR"),
        ({"refresh.command": "PREpb"}, "refresh.command must be REFab, got PREpb"),
        ({"refresh.interval_ticks": 3901}, "refresh.interval_ticks must be a multiple of the 2 ranks, which take turns, got 3901"),
        ({"constraints.0": ["Chanel", ["RD"], ["WR"], 14]}, "constraints: [0].level: unknown level 'Chanel'; did you mean 'Channel'? known: Bank, BankGroup, Channel, Rank"),
        ({"constraints.0": ["Channel", ["RDD"], ["WR"], 14]}, f"constraints: [0].before: unknown command 'RDD'; did you mean 'RD'? known: {COMMANDS}"),
        ({"constraints.0": ["Channel", [], ["WR"], -1, 0]}, "constraints: [0].before: must name a command; [0].ticks: must be >= 0, got -1; [0].window: must be >= 1, got 0"),
        ({"constraints.0": ["Bank", ["RD"], ["COMP"], 14]}, "constraints: [0].after: COMP addresses no single Bank"),
        ({"constraints.0": ["Rank", ["RD"], ["ACT"], 14, 1, True]}, "constraints: [0].sibling: is of reads and writes only, not of ACT"),
        ({"modes": {}}, "modes: needs at least one"),
        ({"modes.dual.row_buffers": 3}, "modes.dual.row_buffers: must be one of 1, 2, got 3"),
        ({"modes.dual.gemv": "fused"}, "modes.dual.gemv: unknown gemv 'fused'; known: composite, separate"),
        ({"modes.dual.sends": "never"}, "modes.dual.sends: unknown sends 'never'; known: at_once, one_a_tick"),
        ({"modes.dual.constraints.0": ["Bank", ["COMP"], ["RD"], 2]}, "modes: dual: constraints[0].before: COMP addresses no single Bank"),
        ({f"modes.dual.constraints.{CLOSED}": ["Bank", ["RD"], ["RD"], 0]}, "modes: dual: missing constraint: no row from PIM_PRECHARGE to G_ACT"),
        ({f"constraints.{REFRESHED}": ["Rank", ["REFab"], ["REFab"], 260]}, "modes: dual: missing constraint: no row from REFab to ACT; dual: missing constraint: no row from REFab to G_ACT; blocked: missing constraint: no row from REFab to ACT; blocked: missing constraint: no row from REFab to G_ACT"),
        ({"units.cadence_ticks": 0}, "units.cadence_ticks: must be >= 1, got 0"),
        ({"constraints.3": ["Rank", ["RD"], ["RD"], 4, 2, True]}, "constraints: [3].window: must be 1 with siblings, got 2"),
        ({"requests.queue": 0}, "requests.queue: must be >= 1, got 0"),
        ({"requests.least_slack_ticks": -1}, "requests.least_slack_ticks: must be >= 0, got -1"),
        ({"npu.vector_width": 1}, "npu.vector_width: must be >= 2, got 1"),
        ({"energy.step_reads": 0}, "energy.step_reads: must be > 0.0, got 0"),
    ],
)  # fmt: skip
def test_a_part_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert refused(lambda: replace(PART, changes)) == (message,)


def test_a_part_that_is_not_there() -> None:
    (problem,) = refused(lambda: load_neupims("neupim"))
    assert problem.startswith("unknown NeuPIMs part 'neupim'; did you mean 'neupims'? known: ")


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"hidden": 0, "heads": -1, "tp": 0}, ("hidden must be >= 1, got 0", "heads must be >= 1, got -1", "tp must be >= 1, got 0")),
        ({"hidden": 1000}, ("a head of 125 values must be a multiple of 16 and divide the 512 values of a row",)),
        ({"hidden": 1001}, ("hidden must be a multiple of 8 heads, got 1001",)),
        ({"tp": 3}, ("heads must be a multiple of tp 3, got 8",)),
        ({"hidden": 1024, "heads": 128}, ("a head of 8 values must be a multiple of 16 and divide the 512 values of a row",)),
        ({"hidden": 1024, "heads": 1}, ("a head of 1024 values must be a multiple of 16 and divide the 512 values of a row",)),
        ({"mode": "single"}, ("neupims: unknown mode 'single'; known: blocked, dual",)),
        ({"requests": []}, ("requests must be >= 1, got 0",)),
        ({"requests": [(5, 0), (0, 32), (3, -1)]}, ("requests[1]: seq_len must be >= 1, got 0", "requests[1]: channel 32 is not within 0 to 31", "requests[2]: channel -1 is not within 0 to 31",)),
        ({"start_tick": -1}, ("start_tick must be >= 0, got -1",)),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be(given: dict[str, Any], problems: tuple[str, ...]) -> None:
    chosen: dict[str, Any] = {"mode": "dual", "requests": [(5, 0)], **TINY, **given}
    assert refused(lambda: run_attention(PART, **chosen)) == problems


def test_estimates_and_assignments_refuse_the_same() -> None:
    assert refused(lambda: estimate_ticks(PART, 0, **TINY)) == (
        "requests[0]: seq_len must be >= 1, got 0",
    )
    assert refused(lambda: assign_channels(PART, [(5, 99)], **TINY)) == (
        "requests[0]: channel 99 is not within 0 to 31",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"timing.nFAW": 2000},
        {"gwrite_ticks": 2000},
        {"constraints.13": ["Bank", ["ACT"], ["RD", "WR", "GWRITE"], 1 << 20]},
        {"constraints.25": ["Channel", ["G_ACT"], ["COMP", "READRES", "COMPS_READRES"], 3000]},
    ],
)  # fmt: skip
def test_a_part_in_which_nothing_can_move(changes: dict[str, Any]) -> None:
    """The guard never lets go, or a refresh always comes before."""
    part = replace(PART, changes)
    assert refused(lambda: run_attention(part, "dual", [(99, 0)], **TINY)) == (
        "neupims: no command can follow; is a row wrong?",
    )


def test_keys_and_values_that_do_not_fit() -> None:
    """Rows of a request: ceil(L / 32) 2 + ceil(L / 512) 32; the first row is of vectors."""
    with pytest.raises(InfeasibleError) as caught:
        run_attention(PART, "dual", [(9, 3), (262_144, 3)], **TINY)
    assert caught.value.report() == {
        "state": "INFEASIBLE",
        "resource": "rows of channel 3",
        "demand": 32_768 + 34,
        "bound": 32_767,
        "unit": "rows",
        "reason": "neupims: keys and values of channel 3 take 32802 rows of each bank, which has 32767 beside the one of vectors",
    }


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", (": has no requests",)),
        ("seq_len,ch_idx\n", (": has no requests",)),
        ("len,ch\n1,2\n", (":1: expected seq_len[,ch_idx], got len,ch",)),
        ("seq_len,ch_idx\n5\n7,0\n1,2,3\n", (":2: expected 2 cells, got 1", ":4: expected 2 cells, got 3")),
        ("seq_len\n5\n0\n-3\n1.5\n", (":3: seq_len: must be >= 1, got 0", ":4: seq_len: must be >= 1, got -3", ":5: seq_len: expected an integer, got '1.5'",)),
        ("seq_len,ch_idx\n5,a\n12345678901,0\n", (":2: ch_idx: expected an integer, got 'a'", ":3: seq_len: expected an integer, got '12345678901'",)),
        ("seq_len\n" + "x\n" * 30, tuple(f":{line}: seq_len: expected an integer, got 'x'" for line in range(2, 22))),
    ],
)  # fmt: skip
def test_a_file_of_requests_that_is_wrong(
    text: str, problems: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "requests.csv"
    file.write_text(text, encoding="ascii")
    assert refused(lambda: read_requests(file)) == tuple(f"{file}{each}" for each in problems)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "no.csv"
    assert refused(lambda: read_requests(file)) == (
        f"{file}: cannot be read: No such file or directory",
    )


def test_a_trace_of_something_else() -> None:
    assert refused(lambda: PimChecker(PART, "single")) == (
        "neupims: unknown mode 'single'; known: blocked, dual",
    )
    unknown = [Issued(3, "ACT2", (0, 0, 0, 0, 1))]
    assert refused(lambda: check_pim_commands(PART, "dual", unknown)) == (
        f"tick 3: unknown command 'ACT2'; did you mean 'ACT'? known: {COMMANDS}",
    )
    short = [Issued(3, "ACT", (0, 0, 0, 0))]
    assert refused(lambda: check_pim_commands(PART, "dual", short)) == (
        "tick 3: ACT needs 5 levels, got (0, 0, 0, 0)",
    )


ZERO = np.zeros(2, np.int64)
WRITES = np.zeros(2, np.bool_)


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"ticks": np.array([3, 2])}, ("ticks[1]: must be >= 3, the one before, got 2",)),
        ({"ticks": np.array([-1, 2])}, ("ticks[0]: must be >= 0, got -1",)),
        ({"ticks": np.array([0.5, 2])}, ("ticks: expected integers, got float64",)),
        ({"writes": ZERO}, ("writes: expected booleans, got int64",)),
        ({"banks": ZERO[:1], "rows": np.zeros((2, 2), np.int64)}, ("banks: expected shape (2,), got (1,)", "rows: expected shape (2,), got (2, 2)")),
    ],
)  # fmt: skip
def test_traffic_that_is_wrong(changes: dict[str, Any], problems: tuple[str, ...]) -> None:
    arrays = {"ticks": ZERO, "writes": WRITES, "banks": ZERO, "rows": ZERO, "bursts": ZERO}
    assert refused(lambda: Traffic(**{**arrays, **changes})) == problems


@pytest.mark.parametrize(
    ("traffic", "problems"),
    [
        (Traffic(ZERO, WRITES, ZERO + 32, ZERO - 1, ZERO), ("traffic.banks[0]: 32 is not within 0 to 31", "traffic.rows[0]: -1 is not within 0 to 32767")),
        (Traffic(ZERO, WRITES, ZERO, np.array([0, 32_768]), ZERO + 16), ("traffic.rows[1]: 32768 is not within 0 to 32767", "traffic.bursts[0]: 16 is not within 0 to 15")),
        ([None] * 31, ("traffic: expected a stream, or one for each of 32 channels, got 31",)),
        ([*[None] * 31, Traffic(ZERO, WRITES, ZERO, ZERO, ZERO + 99)], ("traffic[31].bursts[0]: 99 is not within 0 to 15",)),
    ],
)  # fmt: skip
def test_traffic_that_the_channels_do_not_take(traffic: Any, problems: tuple[str, ...]) -> None:
    assert (
        refused(lambda: run_attention(PART, "dual", [(5, 0)], **TINY, traffic=traffic)) == problems
    )


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ((0, 0.5, 0), ("count must be >= 1, got 0",)),
        ((5, 0, -1), ("share must be > 0 and <= 1, got 0", "first_row must be >= 0, got -1")),
        ((5, 1.5, 0), ("share must be > 0 and <= 1, got 1.5",)),
        ((5, float("nan"), 0), ("share must be > 0 and <= 1, got nan",)),
        ((513, 1, 32_767), ("513 reads from row 32767 on end in row 32768, not 32767",)),
    ],
)  # fmt: skip
def test_sequential_reads_that_cannot_be(
    given: tuple[int, float, int], problems: tuple[str, ...]
) -> None:
    count, share, row = given
    assert refused(lambda: sequential_reads(PART, count, share, first_row=row)) == problems
    assert refused(
        lambda: sequential_reads(PART, 5, 0.5, first_row=0, first_tick=-1)
    ) == ("ticks[0]: must be >= 0, got -1",)  # fmt: skip


@pytest.mark.parametrize("mode", ["dual", "blocked"])
@pytest.mark.parametrize(
    "changes",
    [
        {"gwrite_ticks": 2000},
        {"constraints.13": ["Bank", ["ACT"], ["RD", "WR", "GWRITE"], 1 << 20]},
        {"constraints.13": ["Bank", ["ACT"], ["RD", "WR", "GWRITE"], 4000]},
        {"constraints.25": ["Channel", ["G_ACT"], ["COMP", "READRES", "COMPS_READRES"], 3000]},
    ],
)  # fmt: skip
def test_a_part_in_which_nothing_can_move_beside_traffic(
    changes: dict[str, Any], mode: str
) -> None:
    """Neither PIM, nor reads when it is done."""
    reads = sequential_reads(PART, 100, 0.5, first_row=9000)
    part = replace(PART, changes)
    assert refused(lambda: run_attention(part, mode, [(99, 0)], **TINY, traffic=reads)) == (
        "neupims: no command can follow; is a row wrong?",
    )
