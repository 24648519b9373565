"""Does the checker see a scheduler that ignores one constraint?"""

import pytest

from simulator.dram import Command, Settings, Standard, load_standard, named_stream, run_stream
from simulator.dram.checker import check_commands

DDR4 = load_standard("ddr4_3200")
#: Level, before and after of a row that the scheduler is made to ignore, and a stream that asks.
FAULTS = [
    ("Rank", "ACT", "ACT", 4, "mix21_random"),
    ("Rank", "ACT", "ACT", 1, "mix21_random"),
    ("BankGroup", "ACT", "ACT", 1, "seq_row"),
    ("Bank", "ACT", "PREpb", 1, "conflict"),
    ("Bank", "ACT", "RD", 1, "seq_row"),
    ("Bank", "PREpb", "ACT", 1, "mix21_seq"),
    ("Rank", "PREab", "REFab", 1, "seq_row"),
    ("Rank", "RD", "PREab", 1, "seq_row"),
    ("Rank", "RD", "WR", 1, "mix21_seq"),
    ("BankGroup", "RD", "RD", 1, "seq_row"),
    ("Bank", "RD", "PREpb", 1, "mix21_random"),
    ("Rank", "WR", "PREab", 1, "mix21_seq"),
    ("Rank", "WR", "RD", 1, "mix21_seq"),
    ("BankGroup", "WR", "RD", 1, "mix21_seq"),
    ("BankGroup", "WR", "WR", 1, "mix21_random"),
    ("Bank", "WR", "PREpb", 1, "mix21_random"),
    ("Rank", "REFab", "ACT", 1, "seq_row"),
]


def without(standard: Standard, level: str, before: str, after: str, window: int) -> Standard:
    """Return a standard whose rows say nothing of a pair of commands; nobody checks it."""
    rows = tuple(
        row.model_copy(update={"ticks": 0})
        if row.level == level and before in row.before and after in row.after
        and row.window == window and not row.sibling
        else row
        for row in standard.constraints
    )  # fmt: skip
    assert rows != standard.constraints
    return standard.model_copy(update={"constraints": rows})


@pytest.mark.parametrize(("level", "before", "after", "window", "stream"), FAULTS)
def test_a_scheduler_without_a_constraint_is_found(
    level: str, before: str, after: str, window: int, stream: str
) -> None:
    commands = list[Command]()
    faulty = without(DDR4, level, before, after, window)
    run_stream(named_stream(stream, faulty), faulty, 3000, Settings(), commands.extend)
    report = check_commands(DDR4, commands)
    assert not report.passed
    rules = {violation.rule for violation in report.violations}
    assert any(f"{level} " in rule and before in rule and after in rule for rule in rules), rules
    # With it nothing is wrong.
    sound = list[Command]()
    run_stream(named_stream(stream, DDR4), DDR4, 3000, Settings(), sound.extend)
    assert check_commands(DDR4, sound).passed
