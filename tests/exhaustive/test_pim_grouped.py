"""A million commands of every grouped part that is shipped through the checker, drawn from seeds.

Marked slow, not in the usual run: `make exhaustive`, some seconds a case.
"""

from itertools import count, product

import pytest
from dram_cases import uncollected
from pim_grouped_draws import PARTS, POLICIES, REFRESHES, drawn, part_of, varied

COMMANDS = 10**6
CASES = list(product(PARTS, POLICIES, REFRESHES))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy", "refresh"), CASES)
def test_a_million_commands_break_no_rule(name: str, policy: str, refresh: str) -> None:
    part, checked = part_of(name), 0
    with uncollected():
        for seed in count():
            how = {"policy": policy, "refresh": refresh}
            made = drawn(part, seed, entries=2000, requests=20_000, apart=12, **how)
            report = made.checked()
            assert report.violations == (), seed
            checked += report.checked
            if checked >= COMMANDS:
                return


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy", "refresh"), CASES)
def test_parts_with_other_buffers_break_no_rule(name: str, policy: str, refresh: str) -> None:
    part, checked = part_of(name), 0
    with uncollected():
        for seed in count():
            made = varied(part, seed, entries=300, requests=2000, policy=policy, refresh=refresh)
            report = made.checked()
            assert report.violations == (), (seed, made.part.open_ahead)
            checked += report.checked
            if checked >= COMMANDS:
                return
