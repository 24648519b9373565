"""Does any controller break a rule of any memory, on streams of all shapes?

`tests/exhaustive/test_dram.py` checks a million commands of each.
"""

import pytest
from dram_cases import Case, cases, check_streams

from simulator.dram import Random, Settings, load_standard, run_stream
from simulator.dram.checker import Checker


@pytest.mark.parametrize("case", cases(), ids=str)
def test_no_rule_is_broken(case: Case) -> None:
    check_streams(case, examples=8, requests=1000, commands=3000)


def test_both_halves_of_an_activation_are_of_one_row() -> None:
    """Also where the controller turns from reads to writes between them."""
    standard = load_standard("lpddr5_6400")
    checker = Checker(standard)
    stream = Random(write_every=2, seed=6836)
    run_stream(stream, standard, 3000, Settings(queue=29, refresh="none"), checker)
    assert checker.report().violations == ()
