"""A thousand random designs on the analytic rung in columns, each against `simulate`.

Marked slow, not in the usual run: `make exhaustive`, a minute or two.
"""

import pytest
from design_points import differences


@pytest.mark.slow
def test_a_thousand_designs_equal_simulate() -> None:
    wrong, judged, infeasible = differences(1000, seed=11)
    assert wrong == []
    assert judged >= 600
    assert infeasible >= 100
