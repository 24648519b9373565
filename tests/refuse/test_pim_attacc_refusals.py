"""Are AttAcc parts and attentions that are wrong refused, with which words?"""

from collections.abc import Callable
from typing import Any

import pytest

from simulator.config import replace
from simulator.dram.pim.attacc import AttAcc, load_attacc, run_attention
from simulator.errors import InputError

PART = load_attacc()
SIZES = {"context": 512, "heads": 16, "head_dim": 128, "bytes_per_value": 2}
#: Rows by what they say.
ROW_AT = {row.words(): i for i, row in enumerate(PART.constraints)}


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


@pytest.mark.parametrize(
    ("level", "changes", "messages"),
    [
        ("bnak", {}, ["attacc: unknown level 'bnak'; did you mean 'bank'? known: bank, bank_group, buffer"]),
        ("bank", {"context": 0}, ["context must be >= 1, got 0"]),
        ("bank", {"heads": -1, "head_dim": 0, "bytes_per_value": 0}, ["heads must be >= 1, got -1", "head_dim must be >= 1, got 0", "bytes_per_value must be >= 1, got 0"]),
        ("buffer", {"bytes_per_value": 3}, ["bytes_per_value must divide a column of 32 bytes, got 3"]),
        ("bank", {"bytes_per_value": 64}, ["bytes_per_value must divide a column of 32 bytes, got 64"]),
        ("bank", {"heads": 16 * 1025}, ["attention of 16400 heads of 128 x 2 bytes to 512 tokens needs 8200 rows of each bank for keys, 8192 are there"]),
        ("bank", {"context": 2_100_000}, ["attention of 16 heads of 128 x 2 bytes to 2100000 tokens needs 8204 rows of each bank for keys, 8192 are there"]),
        ("bank_group", {"context": 4096, "heads": 8209}, ["attention of 8209 heads of 128 x 2 bytes to 4096 tokens needs 8224 rows of each bank for keys, 8192 are there"]),
    ],
)  # fmt: skip
def test_refused_attention(level: str, changes: dict[str, int], messages: list[str]) -> None:
    assert [*refused(lambda: run_attention(PART, level, **{**SIZES, **changes}))] == messages


@pytest.mark.parametrize("bytes_per_value", [1, 2, 4, 8, 16, 32])
def test_whole_values_of_a_column_are_taken(bytes_per_value: int) -> None:
    sizes = {**SIZES, "bytes_per_value": bytes_per_value}
    assert run_attention(PART, "bank", **sizes).operations_per_burst == 64 * 32 // bytes_per_value


def test_the_largest_that_fits_is_taken() -> None:
    """16 tokens, but of heads that lie as far apart as those of 4,096."""
    sizes = {"context": 16, "head_dim": 128, "bytes_per_value": 2}
    assert run_attention(PART, "bank", heads=16 * 1024, **sizes).cycles > 0


REFRESHED = "PseudoChannel REFab -> ACTAB/ACTSB/ACTPB 456 ticks"
OPENED = "Channel ACTAB -> MACAB 19 ticks"


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"levels": {"Channel": 16, "Bank": 4}}, ["levels: must be Channel, PseudoChannel, Rank, BankGroup, Bank, Row, Column, got Channel, Bank"]),
        ({"tick_ps": 0}, ["tick_ps: must be >= 1, got 0"]),
        ({"commands.SFM": ["open", "Bank"]}, ["commands: needs one command of role 'softmax', got none"]),
        ({"commands.SFM": ["result_out", "Channel"]}, ["commands: needs one command of role 'result_out', got MVSB, SFM; needs one command of role 'softmax', got none"]),
        ({"commands.PREA": ["close", "Rank"]}, ["commands: needs one command that closes a Channel, got 0"]),
        ({"commands.WRGB": ["query_in", "Bnak"]}, ["commands: WRGB: unknown level 'Bnak'; did you mean 'Bank'? known: Bank, BankGroup, Channel, PseudoChannel, Rank"]),
        ({"commands.WRGB": ["query_in"]}, ["commands.WRGB: expected 2 entries (role, level), got 1"]),
        ({"commands.WRGB": ["query", "Bank"]}, ["commands.WRGB.role: unknown role 'query'; did you mean 'query_in'? known: close, multiply, open, query_in, refresh, result_out, softmax, weights_in"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Channel", ["ACTAB"], ["MACAC"], 19]}, [f"constraints[{ROW_AT[OPENED]}].after: unknown command 'MACAC'; did you mean 'MACAB'? known: ACTAB, ACTPB, ACTSB, MACAB, MACPB, MACSB, MVGB, MVSB, PREA, PREPB, PRESB, REFab, SFM, WRGB"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Channel", ["ACTAB"], [], 19]}, [f"constraints[{ROW_AT[OPENED]}].after: must name a command"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Channel", ["ACTAB"], ["ACTAB"], 19]}, ["units.bank: missing constraint: no row from ACTAB to MACAB"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Rank", ["ACTSB"], ["MACAB"], 19]}, [f"constraints[{ROW_AT[OPENED]}].after: MACAB addresses no single Rank"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Chanel", ["ACTAB"], ["MACAB"], 19]}, [f"constraints[{ROW_AT[OPENED]}].level: unknown level 'Chanel'; did you mean 'Channel'? known: Bank, BankGroup, Channel, PseudoChannel, Rank"]),
        ({f"constraints.{ROW_AT[OPENED]}": ["Channel", ["ACTAB"], ["MACAB"], 19, 4]}, [f"constraints[{ROW_AT[OPENED]}] must be of no window or siblings, got Channel ACTAB -> MACAB 19 ticks, window 4"]),
        ({f"constraints.{ROW_AT[REFRESHED]}": ["Bank", ["REFab"], ["ACTSB"], 456]}, [f"constraints[{ROW_AT[REFRESHED]}].before: REFab addresses no single Bank"]),
        ({f"constraints.{ROW_AT[REFRESHED]}": ["PseudoChannel", ["REFab"], ["ACTAB", "ACTSB"], 456]}, ["units.buffer: missing constraint: no row from REFab to ACTPB"]),
        ({"cadences.full.0": ["Channel", ["MACAB"], ["MACSB"], 4]}, ["units.bank: missing constraint: no row from MACAB to MACAB"]),
        ({"cadences.power_limited.1": ["Channel", ["MACSB"], ["MACXB"], 4]}, ["cadences.power_limited[1].after: unknown command 'MACXB'; did you mean 'MACSB'? known: ACTAB, ACTPB, ACTSB, MACAB, MACPB, MACSB, MVGB, MVSB, PREA, PREPB, PRESB, REFab, SFM, WRGB"]),
        ({"refresh.command": "REFsb"}, ["refresh.command must be REFab, got REFsb"]),
        ({"refresh.interval_ticks": 2736}, ["refresh.interval_ticks must be > 6 rows of 456 ticks, got 2736"]),
        ({"units": {}}, ["units: needs at least one level"]),
        ({"units.bank.open": "PREA"}, ["units.bank.open: unknown command of role open 'PREA'; known: ACTAB, ACTPB, ACTSB"]),
        ({"units.buffer.at_once": ["Chanel"]}, ["units.buffer.at_once[0]: unknown value 'Chanel'; did you mean 'PseudoChannel'? known: Bank, BankGroup, PseudoChannel, Rank"]),
        ({"units.buffer.order": ["Column", "Bank"]}, ["units.buffer.order: must be Bank, BankGroup, Column, Rank, got Column, Bank"]),
        ({"units.bank.order": ["Column", "Column"]}, ["units.bank.order: must be Column, got Column, Column"]),
        ({"units.bank.read_path": ["cell"]}, ["units.bank.read_path: unknown step 'cell'; known: activation, bank_group, column, global_io, interposer, tsv"]),
        ({"energy.move_path": ["tvs"]}, ["energy.move_path: unknown step 'tvs'; did you mean 'tsv'? known: activation, bank_group, column, global_io, interposer, tsv"]),
        ({"queue.entries": 0}, ["queue.entries: must be >= 1, got 0"]),
        ({"program.segment_tokens": 0}, ["program.segment_tokens: must be >= 1, got 0"]),
        ({"energy.multiply_add_pj": -1.0}, ["energy.multiply_add_pj: must be >= 0.0, got -1.0"]),
    ],
)  # fmt: skip
def test_refused_part(changes: dict[str, Any], messages: list[str]) -> None:
    found = refused(lambda: replace(PART, changes))
    assert [*found] == messages


def test_refused_name() -> None:
    (found,) = refused(lambda: load_attacc("atacc"))
    assert found.startswith("unknown AttAcc part 'atacc'; did you mean 'attacc'? known: ")


def test_a_part_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PART.tick_ps = 1  # type: ignore[misc]
    assert isinstance(PART, AttAcc)
