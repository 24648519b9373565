"""Which points are refused as columns, and with which words."""

import numpy as np
import pytest

from simulator.config import replace
from simulator.cost import load_profile
from simulator.engine.energy import CountColumns, profile_columns
from simulator.errors import InputError

PROFILE = load_profile("jouppi_7nm")


def test_counts_below_zero_at_any_point() -> None:
    wrong, right = np.array([3, -1]), np.array([3, 0])
    counts = {"macs": (("int8xint8", wrong),), "dram_read_bits": wrong, "dram_write_bits": right}
    with pytest.raises(InputError) as error:
        CountColumns(**counts)
    assert str(error.value) == (
        "dram_read_bits must be >= 0 at every point\nint8xint8 must be >= 0 at every point"
    )


def test_profiles_that_price_different_things() -> None:
    less = replace(PROFILE, {"vector_pj": {"default": {"nominal": 1.0, "source": "test"}}})
    with pytest.raises(InputError, match=r"^profiles in columns must price the same$"):
        profile_columns([PROFILE, less], [0, 1])
