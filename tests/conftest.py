"""Fixtures that tests of several rooms use, and how pytest gathers the tests."""

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings
from samples import decode_result

from simulator.results import Result

# The same examples in every run and on every machine; the first one may compile a kernel.
settings.register_profile("nibblesim", deadline=None, derandomize=True, database=None)
settings.load_profile("nibblesim")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Gather the tests without the garbage collector, and keep it off what was gathered.

    It took a third of the time: thousands of tests stay, and each of its rounds walks over them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def decode() -> Result:
    """Return the synthetic decode step of `samples.py`; it is frozen, so tests may share it."""
    return decode_result()
