"""Does a nibble in the upper half of a byte stand for sixteen times the weight?"""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.exact import gemm_exact
from simulator.numerics.widening import high_nibble, unpacked


def test_every_weight_becomes_sixteen_times_itself() -> None:
    assert [high_nibble(w) for w in range(-8, 8)] == [16 * w for w in range(-8, 8)]


def test_all_bytes_hold_two_weights() -> None:
    packed = np.arange(256, dtype=np.uint8)
    signed = [code - 16 if code >= 8 else code for code in range(16)]
    expected = [16 * signed[nibble] for byte in range(256) for nibble in (byte & 15, byte >> 4)]
    assert unpacked(packed).tolist() == expected
    assert unpacked(packed).dtype == np.int8
    assert unpacked(packed.reshape(4, 64)).shape == (4, 128)


def test_products_are_sixteen_times_those_of_the_weights() -> None:
    random = np.random.default_rng(5)
    x = random.integers(-128, 128, (3, 64)).astype(np.int8)
    w = random.integers(-8, 8, (5, 64)).astype(np.int8)
    packed = (w[:, 0::2] & 15 | w[:, 1::2] << 4).astype(np.uint8)
    assert (gemm_exact(x, unpacked(packed)) == 16 * gemm_exact(x, w)).all()
    # A scale divided by 16 gives the same values: the division is exact in FP16.
    scales = np.abs(random.standard_normal(5)).astype(np.float16)
    values = unpacked(packed) * (scales / np.float16(16)).astype(np.float64)[:, None]
    assert (values == w * scales.astype(np.float64)[:, None]).all()


@pytest.mark.parametrize("packed", [np.zeros(4, np.int8), np.zeros((), np.uint8)])
def test_what_is_no_array_of_bytes_is_refused(packed: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        unpacked(packed)
    assert str(caught.value) == f"packed: expected an array of uint8, got {packed.dtype}"
