"""A million commands of every controller on every memory through the checker, on drawn streams.

Marked slow, not in the usual run: `make exhaustive`, some seconds a case.
"""

import pytest
from dram_cases import Case, cases, check_streams


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_million_commands_break_no_rule(case: Case) -> None:
    check_streams(case, examples=100, requests=25_000, commands=10**6)
