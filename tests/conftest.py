"""Fixtures that tests of several rooms use."""

import pytest
from hypothesis import settings
from samples import decode_result

from simulator.results import Result

# The same examples in every run and on every machine; the first one may compile a kernel.
settings.register_profile("nibblesim", deadline=None, derandomize=True, database=None)
settings.load_profile("nibblesim")


@pytest.fixture(scope="session")
def decode() -> Result:
    """Return the synthetic decode step of `samples.py`; it is frozen, so tests may share it."""
    return decode_result()
