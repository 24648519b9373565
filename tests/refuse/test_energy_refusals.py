"""Which points are refused as columns, and with which words."""

import numpy as np
import pytest
from plans import variant

from simulator.config import replace, resolved
from simulator.cost import load_profile
from simulator.engine.energy import CountColumns, profile_columns, rated, rated_columns
from simulator.errors import InputError

PROFILE = load_profile("jouppi_7nm")
DEVICE = variant("generic_npu_128")
FP16 = {"pe": {"name": "fp16", "formats": {"fp16xfp16": 1}, "source": "test"}}
BESIDE = replace(
    DEVICE, {"matrix": resolved(DEVICE.matrix) | FP16, "beside": resolved(DEVICE.matrix)}
)


def test_counts_below_zero_at_any_point() -> None:
    wrong, right = np.array([3, -1]), np.array([3, 0])
    counts = {"macs": (("int8xint8", wrong),), "dram_read_bits": wrong, "dram_write_bits": right}
    with pytest.raises(InputError) as error:
        CountColumns(**counts)
    assert str(error.value) == (
        "dram_read_bits must be >= 0 at every point\nint8xint8 must be >= 0 at every point"
    )


@pytest.mark.parametrize("others", [(DEVICE, variant("tpu_v4")), (BESIDE,)])
def test_devices_that_are_no_columns(others: tuple[object, ...]) -> None:
    message = "^points in columns need equal cores and operand pairs, one matrix unit$"
    with pytest.raises(InputError, match=message):
        rated_columns([rated(device, PROFILE) for device in others], [0])


def test_profiles_that_price_different_things() -> None:
    less = replace(PROFILE, {"vector_pj": {"default": {"nominal": 1.0, "source": "test"}}})
    with pytest.raises(InputError, match=r"^profiles in columns must price the same$"):
        profile_columns([PROFILE, less], [0, 1])
