"""Are parts of groups of banks, programs and requests that are wrong refused, with which words?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simulator.config import replace
from simulator.dram import load_standard
from simulator.dram.pim.grouped import LOAD, RESULT, ROW, load_grouped, run_program
from simulator.errors import InputError

PART = load_grouped("hbm3_banks")
#: Rows by what they say.
ROW_AT = {row.words(): i for i, row in enumerate(PART.constraints)}
GIVEN = np.array([(LOAD, 0, 0, 1), (ROW, 0, 1, 1), (RESULT, 0, 0, 1)], np.int64)
ASKED = np.array([(0, 0, 0, 0, 0), (5, 1, 63, 16383, 31)], np.int64)


def refused(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return [*caught.value.problems]


def changed(array: np.ndarray, row: int, column: int, value: int) -> np.ndarray:
    array = array.copy()
    array[row, column] = value
    return array


def without(*words: str) -> dict[str, Any]:
    """Return the rows but some, by what they say."""
    rows = [row for row in PART.constraints if row.words() not in words]
    assert len(rows) + len(words) == len(PART.constraints)
    return {"constraints": tuple(rows)}


def with_row(*row: Any) -> dict[str, Any]:
    """Return another row in place of that from ACTAB to MACAB."""
    return {f"constraints.{ROW_AT[OPENED]}": [*row]}


OPENED = "Bank ACTAB -> MACAB 19 ticks"


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"at_once": {"Bnak": 2}}, ["at_once: unknown level 'Bnak'; did you mean 'Bank'? known: Bank, BankGroup, PseudoChannel, Sid"]),
        ({"at_once": {"Channel": 1}}, ["at_once: unknown level 'Channel'; did you mean 'PseudoChannel'? known: Bank, BankGroup, PseudoChannel, Sid"]),
        ({"at_once": {"Bank": 3, "Sid": 4}}, ["at_once: Bank: must divide 4, got 3; Sid: must divide 2, got 4"]),
        ({"openings": 5}, ["openings: must divide the 64 banks of a group, got 5"]),
        ({"openings": 128}, ["openings: must divide the 64 banks of a group, got 128"]),
        ({"commands.SFM": "multiply"}, ["commands: needs one command of role 'multiply', got MACAB, SFM"]),
        ({"commands": {"ACTAB": "open"}}, ["commands: needs one command of role 'close', got none; needs one command of role 'multiply', got none; needs one command of role 'buffer_write', got none; needs one command of role 'result_read', got none"]),
        ({"commands.ACTAB": "opens"}, ["commands.ACTAB: unknown ACTAB 'opens'; did you mean 'open'? known: buffer_write, close, multiply, open, result_read"]),
        ({"commands": {"ACT": "open", "PREA": "close", "MACAB": "multiply", "WRGB": "buffer_write", "MVSB": "result_read"}}, ["commands: ACT is a command of hbm3_5200"]),
        ({"row_buffers": 3}, ["row_buffers: must be one of 1, 2, got 3"]),
        ({"open_ahead": -1}, ["open_ahead: must be >= 0, got -1"]),
        ({"queue_entries": 0}, ["queue_entries: must be >= 1, got 0"]),
        (with_row("Bnak", ["ACTAB"], ["MACAB"], 19), [f"constraints: [{ROW_AT[OPENED]}].level: unknown level 'Bnak'; did you mean 'Bank'? known: Bank, BankGroup, Channel, PseudoChannel, Sid"]),
        (with_row("Bank", ["ACTAC"], ["MACAB"], 19), [f"constraints: [{ROW_AT[OPENED]}].before: unknown command 'ACTAC'; did you mean 'ACTAB'? known: ACT, ACTAB, MACAB, MVSB, PREA, PREab, PREpb, RD, REFab, WR, WRGB"]),
        (with_row("Bank", ["ACTAB"], ["MACAB"], -1), [f"constraints: [{ROW_AT[OPENED]}].ticks: must be >= 0, got -1"]),
        (with_row("Bank", ["ACTAB"], ["MACAB"], 19, 4), [f"constraints: [{ROW_AT[OPENED]}] must be of no window or siblings, got Bank ACTAB -> MACAB 19 ticks, window 4"]),
        (with_row("Bank", ["ACTAB"], ["MACAB"], 19, 1, True), [f"constraints: [{ROW_AT[OPENED]}] must be of no window or siblings, got Bank ACTAB -> MACAB 19 ticks, sibling"]),
        (with_row("Bank", ["REFab"], ["MACAB"], 19), [f"constraints: [{ROW_AT[OPENED]}].before: REFab addresses no single Bank"]),
        (with_row("Bank", ["ACT"], ["RD"], 19), [f"constraints: [{ROW_AT[OPENED]}] is of no command of groups: Bank ACT -> RD 19 ticks"]),
        (without(OPENED), ["missing constraint: no row from ACTAB to MACAB"]),
        (without("Bank MACAB -> MACAB 4 ticks"), ["missing constraint: no row from MACAB to MACAB"]),
        (without("PseudoChannel REFab -> ACTAB 456 ticks"), ["missing constraint: no row from REFab to ACTAB"]),
        (without("PseudoChannel PREA -> REFab 19 ticks"), ["missing constraint: no row from PREA to REFab"]),
        (without("PseudoChannel PREab -> ACTAB 19 ticks"), ["missing constraint: no row from PREab to ACTAB"]),
        ({"energy.bits.multiply_path": ("colum",)}, ["energy: multiply_path: unknown step 'colum'; did you mean 'column'? known: bank_group, column, global_io, interposer, tsv"]),
        ({"energy.bits": None}, ["energy: needs either bits or amperes"]),
        ({"memory": load_standard("lpddr5_6400")}, ["memory: lpddr5_6400 has a command of role 'open_first', which groups do not have; lpddr5_6400 has a command of role 'sync_read', which groups do not have; lpddr5_6400 has a command of role 'sync_write', which groups do not have"]),
    ],
)  # fmt: skip
def test_refused_parts(changes: dict[str, Any], messages: list[str]) -> None:
    found = refused(lambda: replace(PART, changes))
    assert [*found] == messages


@pytest.mark.parametrize(
    ("program", "options", "messages"),
    [
        (changed(GIVEN, 1, 0, 4), {}, ["program[1]: kind must be 0 to 3, got 4"]),
        (changed(GIVEN, 1, 0, -1), {}, ["program[1]: kind must be 0 to 3, got -1"]),
        (changed(GIVEN, 1, 1, 1), {}, ["program[1]: group must be 0 to 0, got 1"]),
        (changed(GIVEN, 1, 2, 16384), {}, ["program[1]: row must be 0 to 16383, got 16384"]),
        (changed(GIVEN, 0, 3, 0), {}, [f"program[0]: count must be 1 to {1 << 40}, got 0"]),
        (changed(changed(GIVEN, 0, 3, 0), 2, 0, 9), {}, ["program[2]: kind must be 0 to 3, got 9", f"program[0]: count must be 1 to {1 << 40}, got 0"]),
        (GIVEN[:, :3], {}, ["program must be int64 of shape (n, 4), got int64 (3, 3)"]),
        (GIVEN.astype(float), {}, ["program must be int64 of shape (n, 4), got float64 (3, 4)"]),
        (GIVEN[0], {}, ["program must be int64 of shape (n, 4), got int64 (4,)"]),
        (GIVEN[:0], {}, ["program must have >= 1 entries where there are no requests, got 0"]),
        (GIVEN, {"requests": ASKED[:, 1:]}, ["requests must be int64 of shape (n, 5), got int64 (2, 4)"]),
        (GIVEN, {"requests": changed(ASKED, 0, 0, -1)}, [f"requests[0]: tick must be 0 to {1 << 40}, got -1"]),
        (GIVEN, {"requests": changed(ASKED, 0, 0, 6)}, ["requests[1]: must be in order of ticks, got 5 after 6"]),
        (GIVEN, {"requests": changed(ASKED, 1, 1, 2)}, ["requests[1]: write must be 0 to 1, got 2"]),
        (GIVEN, {"requests": changed(ASKED, 1, 2, 64)}, ["requests[1]: bank must be 0 to 63, got 64"]),
        (GIVEN, {"requests": changed(ASKED, 1, 3, 16384)}, ["requests[1]: row must be 0 to 16383, got 16384"]),
        (GIVEN, {"requests": changed(ASKED, 1, 4, 32)}, ["requests[1]: burst must be 0 to 31, got 32"]),
        (GIVEN, {"policy": "exclusiv"}, ["unknown policy 'exclusiv'; did you mean 'exclusive'? known: concurrent, exclusive"]),
        (GIVEN, {"refresh": "per_bank"}, ["unknown refresh 'per_bank'; did you mean 'all_bank'? known: all_bank, none"]),
        (GIVEN, {"cadence_ticks": -1}, [f"cadence_ticks must be 0 to {1 << 40}, got -1"]),
        (GIVEN, {"channels": 0}, ["channels must be 1 to 16, got 0"]),
        (GIVEN, {"channels": 17}, ["channels must be 1 to 16, got 17"]),
        (GIVEN, {"operations_per_burst": 0}, [f"operations_per_burst must be 1 to {1 << 40}, got 0"]),
        (GIVEN, {"operations": -1}, [f"operations must be 0 to {1 << 40}, got -1"]),
    ],
)  # fmt: skip
def test_refused_runs(program: np.ndarray, options: dict[str, Any], messages: list[str]) -> None:
    assert refused(lambda: run_program(PART, program, **options)) == messages


def test_what_no_interval_has_room_for_is_refused_by_what_waits() -> None:
    """A row of 9,000 ticks until a multiplication, in intervals of 5,070."""
    rows = [
        row.model_copy(update={"ticks": 9000}) if row.words() == OPENED else row
        for row in PART.constraints
    ]
    slow = PART.model_copy(update={"constraints": tuple(rows)})
    assert refused(lambda: run_program(slow, GIVEN)) == [
        "hbm3_banks: MACAB of program[1] never goes: a row is longer than from refresh to refresh"
    ]
    assert run_program(slow, GIVEN, refresh="none").bursts == 1


def test_an_unknown_part_is_refused() -> None:
    (message,) = refused(lambda: load_grouped("hbm3_bank"))
    assert message.startswith("unknown grouped PIM part 'hbm3_bank'; did you mean 'hbm3_banks'?")


def test_a_part_of_another_kind_is_refused() -> None:
    assert refused(lambda: load_grouped("aim")) == [
        "unknown grouped PIM part 'aim'; known: duplex_bank, duplex_bank_group, duplex_logic, "
        "gddr6_banks, hbm3_banks, newton_hbm2"
    ]
