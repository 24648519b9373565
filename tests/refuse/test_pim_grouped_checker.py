"""Does the grouped PIM's checker refuse what is no command, and how it is not run?"""

import numpy as np
import pytest

from simulator.dram.checker import Issued
from simulator.dram.pim.grouped import load_grouped
from simulator.dram.pim.grouped_checker import GroupedChecker, check_grouped_commands
from simulator.errors import InputError

PART = load_grouped("duplex_logic")
NOTHING = np.zeros((0, 4), np.int64)


@pytest.mark.parametrize(
    ("issued", "words"),
    [
        (
            (7, "ALL_PRF", (0, 0, 0, 0, 0, 5, 0)),
            "tick 7: unknown command 'ALL_PRF'; did you mean 'ALL_PRE'? known: ACT, ALL_ACT, "
            "ALL_PRE, ALL_RD, PREab, PREpb, RD, RDBUF, REFab, WR, WRBUF",
        ),
        ((7, "ALL_PRE", (0, 0, 0)), "tick 7: ALL_PRE needs 7 levels, got (0, 0, 0)"),
        ((7, "RD", (0, 0, 0, 0, 0, 5)), "tick 7: RD needs 7 levels, got (0, 0, 0, 0, 0, 5)"),
    ],
)
def test_what_is_no_command_is_refused(issued: Issued, words: str) -> None:
    with pytest.raises(InputError) as error:
        check_grouped_commands(PART, NOTHING, [issued])
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            {"policy": "exclusiv"},
            "unknown policy 'exclusiv'; did you mean 'exclusive'? known: concurrent, exclusive",
        ),
        (
            {"refresh": "al_bank"},
            "unknown refresh 'al_bank'; did you mean 'all_bank'? known: all_bank, none",
        ),
    ],
)
def test_how_no_program_is_run_is_refused(how: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as error:
        GroupedChecker(PART, NOTHING, **how)  # type: ignore[arg-type]
    assert str(error.value) == words
