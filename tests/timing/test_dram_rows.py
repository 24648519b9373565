"""Does the controller wait for a row of the table to the tick: not sooner, and no longer?

A trace is checked against a table of one tick more: a row that is broken then held up a command to
the very tick. With one tick less in a row that holds commands up by itself, the controller takes
the tick, and the checker finds it. `tests/unit/test_dram_checker.py` has every pair of every row.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import pytest

from simulator.dram import (
    STREAM_NAMES,
    Gather,
    Settings,
    Standard,
    Strided,
    load_standard,
    named_stream,
    run_stream,
    standard_names,
)
from simulator.dram.checker import Checker, Report
from simulator.dram.standard import Role
from simulator.dram.streams import Stream


class Run(NamedTuple):
    """A stream, how many of its requests, and how they are served."""

    stream: str
    requests: int
    order: str = "fr_fcfs"
    page: str = "open"
    refresh: str = "all_bank"


#: Runs that between them have waited for every row that any run waits for.
RUNS = (
    Run("mix21_random", 1000),
    Run("seq_row", 1000),
    Run("conflict", 1000),
    Run("pairs", 1000),
    Run("long_runs", 2000, "in_order"),
    Run("seq_row", 4000, "in_order"),
    Run("all_writes", 4000, "in_order"),
    Run("conflict", 1000, refresh="per_bank"),
    Run("mix21_random", 2000, refresh="per_bank"),
    Run("seq_bg", 6000, page="closed", refresh="per_bank"),
)
#: Roles before and after of rows that hold commands up every day, and whether within one bank.
EVERYDAY: dict[str, tuple[Role, Role, bool]] = {
    "tRCD of reads": ("open", "read", True),
    "tRCD of writes": ("open", "write", True),
    "tRP": ("close", "open", True),
    "tRAS": ("open", "close", True),
    "tRTP": ("read", "close", True),
    "tWR": ("write", "close", True),
    "tRRD": ("open", "open", False),
    "tCCD": ("read", "read", False),
    "tRTW": ("read", "write", False),
    "tWTR": ("write", "read", False),
    "tRP before a refresh": ("close", "refresh", False),
    "tRFC": ("refresh", "open", False),
}
#: Pairs of commands between which nothing ever waits: all banks are closed only before a refresh, a
#: refresh is far from the next, and it is of all banks or of each in turn.
NEVER = {
    *(("PREab", "ACT"), ("PREab", "ACT1"), ("REFab", "PREab"), ("REFab", "REFab")),
    *(("REFpb", "REFpb"), ("REFpb", "PREab"), ("REFpb", "REFab"), ("REFab", "REFpb")),
}
#: And rows: in GDDR6 and HBM3 of 5.2 Gb/s, tRC is less than tRAS + tRP; four activations take
#: longer by tRRD.
NEVER_ALONE = {
    "Bank ACT -> ACT 63 ticks",
    "PseudoChannel ACT -> REFab 63 ticks",
    "Bank ACT -> ACT 79 ticks",
    "Rank ACT -> ACT 32 ticks, window 4",
    "Channel ACT -> ACT/REFpb 29 ticks, window 4",
    "PseudoChannel ACT -> ACT 15 ticks, window 4",
}
#: The tables of AiM and HBM-PIM.
OF_PIM = {"gddr6_aim", "hbm2_pim_samsung", "ianus_gddr6"}
#: All but the tables of PIM parts: their simulators have no tFAW, and other rows at other levels
#: (`tests/unit/test_pim_hbm.py`, `test_pim_aim.py`).
MEMORIES = [name for name in standard_names() if name not in OF_PIM]
#: Memories in which four activations take as long by tFAW as by tRRD, or longer by tRRD.
NO_WINDOW = ("gddr6_14000", "hbm2_2000", "lpddr4_3200", "lpddr5_6400")


def changed(standard: Standard, by: int, only: int | None = None) -> Standard:
    """Return a standard with other ticks in all rows, or in one; nobody checks it."""
    rows = tuple(
        row.model_copy(update={"ticks": row.ticks + by}) if only in (None, index) else row
        for index, row in enumerate(standard.constraints)
    )
    return standard.model_copy(update={"constraints": rows})


def stream_of(name: str, standard: Standard) -> Stream:
    """Return a named stream, row by row in writes, or runs at places all over the memory."""
    if name in STREAM_NAMES:
        return named_stream(name, standard)
    order = ("Channel", "Row", *standard.banked_levels[1:], "Column")
    if name == "all_writes":
        return Strided(order, standard.access_bytes, write_every=1)
    run, write_every = {"pairs": (2, 2), "long_runs": (32, 0)}[name]
    return Gather(
        mapping=order,
        run_bytes=run * standard.access_bytes,
        table_bytes=standard.capacity_bytes,
        write_every=write_every,
    )


def report_of(served: Standard, run: Run, held_against: Standard) -> Report:
    """Return what the checker says of a run on one standard by the rows of another."""
    checker = Checker(held_against)
    given = Settings(order=run.order, page=run.page, refresh=run.refresh)  # type: ignore[arg-type]
    run_stream(stream_of(run.stream, served), served, run.requests, given, checker)
    return checker.report()


def broken_by_a_tick(report: Report) -> set[int]:
    return {
        each.row for each in report.violations
        if each.row is not None and each.rule.startswith("too early by 1:")
    }  # fmt: skip


@cache
def waited_for(name: str) -> tuple[dict[int, list[Run]], set[str]]:
    """Return the rows that a command waited for to the tick, in which runs; and all commands."""
    standard, found, issued = load_standard(name), dict[int, list[Run]](), set[str]()
    later = changed(standard, 1)
    for run in RUNS:
        if run.refresh == "per_bank" and standard.bank_refresh is None:
            continue
        report = report_of(standard, run, later)
        issued |= set(report.commands)
        for row in broken_by_a_tick(report):
            found.setdefault(row, []).append(run)
    return found, issued


@pytest.fixture(autouse=True)
def _all_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.dram.checker.MOST_LISTED", 10**6)


@pytest.mark.parametrize("name", MEMORIES)
def test_a_command_comes_as_soon_as_each_row_allows(name: str) -> None:
    standard = load_standard(name)
    found, issued = waited_for(name)
    expected = {
        row.words()
        for row in standard.constraints
        if row.ticks and row.words() not in NEVER_ALONE
        if not (row.sibling and standard.levels[row.level] == 1)
        if any(
            {before, after} <= issued and (before, after) not in NEVER
            for before, after in product(row.before, row.after)
        )
    }
    assert {standard.constraints[row].words() for row in found} == expected


def everyday_rows(standard: Standard, before: Role, after: Role, of_bank: bool) -> list[int]:
    """Return the rows between two roles; of an activation in two halves, the first."""
    split = bool(standard.with_role("open_first"))
    first, then = (
        {
            name
            for name in standard.with_role("open_first" if split and role == "open" else role)
            if not of_bank or standard.commands[name].level == "Bank"
        }
        for role in (before, after)
    )
    return [
        index
        for index, row in enumerate(standard.constraints)
        if first & {*row.before} and then & {*row.after}
        if row.window == 1 and not row.sibling and (row.level == "Bank") == of_bank
    ]


@pytest.mark.parametrize("what", [*EVERYDAY, "tFAW"])
@pytest.mark.parametrize("name", MEMORIES)
def test_a_command_comes_a_tick_sooner_if_the_row_is(name: str, what: str) -> None:
    """Of the rows between two commands at least one holds them up without another's help."""
    standard, found = load_standard(name), waited_for(name)[0]
    if what == "tFAW":
        rows = [i for i, row in enumerate(standard.constraints) if row.window > 1]
    else:
        rows = everyday_rows(standard, *EVERYDAY[what])
    assert rows
    alone = any(
        row in broken_by_a_tick(report_of(changed(standard, -1, row), run, standard))
        for row in rows
        for run in found.get(row, ())
    )
    assert alone == (what != "tFAW" or name not in NO_WINDOW)
