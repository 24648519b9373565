"""Fixtures that tests of several rooms use."""

import pytest
from samples import decode_result

from simulator.results import Result


@pytest.fixture(scope="session")
def decode() -> Result:
    """Return the synthetic decode step of `samples.py`; it is frozen, so tests may share it."""
    return decode_result()
