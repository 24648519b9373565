"""Does the checker see a scheduler that ignores one constraint?"""

import pytest

from simulator.dram import Command, Settings, Standard, load_standard, named_stream, run_stream
from simulator.dram.checker import check_commands
from simulator.dram.controller import PAGES

DDR4, HBM2 = load_standard("ddr4_3200"), load_standard("hbm2_2000")
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


#: The same of refreshes bank by bank.
OF_BANKS = [
    ("Bank", "REFpb", "ACT", 1, "conflict"),
    ("Bank", "PREpb", "REFpb", 1, "seq_row"),
    ("PseudoChannel", "REFpb", "ACT", 1, "random"),
    ("PseudoChannel", "ACT", "REFpb", 1, "random"),
]


@pytest.mark.parametrize(("level", "before", "after", "window", "stream"), FAULTS)
def test_a_scheduler_without_a_constraint_is_found(
    level: str, before: str, after: str, window: int, stream: str
) -> None:
    faulty = without(DDR4, level, before, after, window)
    check_both(DDR4, faulty, stream, Settings(), (level, before, after))


@pytest.mark.parametrize(("level", "before", "after", "window", "stream"), OF_BANKS)
@pytest.mark.parametrize("page", PAGES)
def test_one_that_refreshes_bank_by_bank_is_found(
    level: str, before: str, after: str, window: int, stream: str, page: str
) -> None:
    faulty = without(HBM2, level, before, after, window)
    given = Settings(refresh="per_bank", page=page)  # type: ignore[arg-type]
    check_both(HBM2, faulty, stream, given, (level, before, after))


def check_both(
    sound: Standard, faulty: Standard, stream: str, given: Settings, row: tuple[str, str, str]
) -> None:
    """See that commands by the faulty standard break the row, and by the sound one nothing."""
    reports = []
    for standard in (faulty, sound):
        commands = list[Command]()
        run_stream(named_stream(stream, standard), standard, 3000, given, commands.extend)
        reports.append(check_commands(sound, commands))
    assert not reports[0].passed
    rules = {violation.rule for violation in reports[0].violations}
    level, before, after = row
    assert any(f"{level} " in rule and before in rule and after in rule for rule in rules), rules
    assert reports[1].passed
