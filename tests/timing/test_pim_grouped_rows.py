"""Do groups of banks wait for a row of their part to the tick: not sooner, and no longer?

A trace is checked against a row of one tick more: a row that is broken then held up a command to
the very tick. With one tick less in that row alone, the engine takes the tick.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from pim_grouped_cases import Ints, broken_rows, random_requests, small

from simulator.dram import Command
from simulator.dram.pim.grouped import END, LOAD, RESULT, ROW, GroupedPim, run_program
from simulator.dram.standard import Constraint

PARTS = ("hbm3_banks", "duplex_logic", "duplex_bank_group", "newton_hbm2", "newton_one",
         "gddr6_banks")  # fmt: skip
#: Pairs by role that hold commands up every day: beside these a part may have others.
EVERYDAY = (
    ("open", "multiply"),
    ("open", "close"),
    ("multiply", "multiply"),
    ("multiply", "close"),
    ("close", "open"),
    ("refresh", "open"),
    ("buffer_write", "buffer_write"),
    ("result_read", "result_read"),
)
#: Rows of those that nothing waits for: AiM's units have read a row later than it may be closed.
HIDDEN = {("gddr6_banks", "open", "close")}
CASES = [(name, *pair) for name, pair in product(PARTS, EVERYDAY) if (name, *pair) not in HIDDEN]


@cache
def part_of(name: str) -> GroupedPim:
    if name == "newton_one":
        return small("newton_hbm2", row_buffers=1, openings=4)
    return small(name, openings=4) if name == "newton_hbm2" else small(name)


def programs(part: GroupedPim) -> Iterator[Ints]:
    """Yield a long row, rows of one multiplication, and buffer writes and results between."""
    rows = part.groups
    yield np.array([(ROW, i % rows, i, 40) for i in range(12)], np.int64)
    yield np.array([(ROW, 0, i, 1) for i in range(60)], np.int64)
    yield np.array([(ROW, i % rows, i // 8, 3) for i in range(60)], np.int64)
    mixed = [(LOAD, 0, 0, 5), (ROW, 0, 1, 2), (RESULT, 0, 0, 5), (END, 0, 0, 0)]
    yield np.array(mixed * 40, np.int64)


@cache
def traces(part_name: str, shorter: Constraint | None = None) -> list[list[Command]]:
    part = part_of(part_name)
    if shorter is not None:
        part = with_row(part, shorter, -1)
    rng, found = np.random.default_rng(3), list[list[Command]]()
    for program in programs(part):
        for count in (0, 60):
            commands = list[Command]()
            asked = random_requests(part, rng, count, 1200)
            run_program(part, program, requests=asked, trace=commands.extend)
            found.append(commands)
    return found


def with_row(part: GroupedPim, row: Constraint, more: int) -> GroupedPim:
    """Return a part of which one row has more ticks, or one tick less in all that say the same."""

    def changed(each: Constraint) -> Constraint:
        same = {*each.before} & {*row.before} and {*each.after} & {*row.after}
        if each == row or (more < 0 and same and each.ticks == row.ticks):
            return each.model_copy(update={"ticks": each.ticks + more})
        return each

    return part.model_copy(
        update={
            "constraints": tuple(map(changed, part.constraints)),
            "one_buffer_constraints": tuple(map(changed, part.one_buffer_constraints)),
        }
    )


def rows_of(part: GroupedPim, before: str, after: str) -> list[Constraint]:
    names = {role: name for name, role in part.commands.items()}
    names["refresh"] = part.memory.refresh.command
    found = [r for r in part.rows if names[before] in r.before and names[after] in r.after]
    longest = max(row.ticks for row in found)
    return [row for row in found if row.ticks == longest]


@pytest.mark.parametrize("name", PARTS)
def test_no_row_is_broken(name: str) -> None:
    for commands in traces(name):
        assert broken_rows(part_of(name), commands) == []


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_rows_are_waited_for_to_the_tick(name: str, before: str, after: str) -> None:
    part = part_of(name)
    for row in rows_of(part, before, after):
        longer = with_row(part, row, 1)
        assert any(broken_rows(longer, commands) for commands in traces(name)), row.words()


@pytest.mark.parametrize(("name", "before", "after"), sorted(HIDDEN))
def test_hidden_rows_are_hidden(name: str, before: str, after: str) -> None:
    (row,) = rows_of(part_of(name), before, after)
    longer = with_row(part_of(name), row, 1)
    assert not any(broken_rows(longer, commands) for commands in traces(name))


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_a_shorter_row_is_taken(name: str, before: str, after: str) -> None:
    part = part_of(name)
    row = rows_of(part, before, after)[0]
    assert any(broken_rows(part, commands) for commands in traces(name, row)), row.words()
