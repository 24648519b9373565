"""Are the ones and the zeros of operands counted right?"""

import numpy as np
import pytest

from simulator.formats import get
from simulator.formats.conversion import Encoded
from simulator.numerics.activity import Activity, activity


def ones_of_text(codes: list[int], bits: int) -> int:
    """Count ones in the binary numerals of codes, independent of any bit trick."""
    return sum(format(code % (1 << bits), f"0{bits}b").count("1") for code in codes)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int4-g32", 4), ("int8-token", 8), ("int3-channel-asym", 3), ("uint8-tensor", 8),
        ("fp16", 16), ("bf16", 16), ("fp8_e4m3fn", 8), ("nf4-g64", 4), ("mxfp4", 4), ("bitmod4", 4),
        ("ternary-tensor", 2), ("fp32", 32),
    ],
)  # fmt: skip
def test_ones_and_zeros_are_those_of_the_codes(name: str, bits: int) -> None:
    form = get(name)
    values = np.random.default_rng(3).standard_normal((4, 256)).astype(np.float32)
    values[:, ::5] = 0
    encoded = form.encode(values)
    codes = encoded.codes if isinstance(encoded, Encoded) else encoded
    found = activity(form, encoded)
    assert found.bit_density == ones_of_text(codes.ravel().tolist(), bits) / (bits * 1024)
    decoded = np.asarray(form.decode(encoded)).ravel().tolist()
    assert found.zero_fraction == sum(value == 0 for value in decoded) / 1024


def test_minus_one_is_all_ones_and_minus_zero_is_a_zero() -> None:
    int4, fp16 = get("int4"), get("fp16")
    assert activity(int4, int4.encode(np.full((1, 7), -1.0))) == Activity(1.0, 0.0)
    assert activity(fp16, fp16.encode(np.array([[-0.0]]))) == Activity(1 / 16, 1.0)


def test_nothing_has_no_activity() -> None:
    form = get("int8-token")
    assert activity(form, form.encode(np.zeros((0, 4), np.float32))) == Activity(0.0, 0.0)
