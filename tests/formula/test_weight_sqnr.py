"""Is the SQNR of weights in a format what closed forms and tables of optimal quantisers say?"""

from math import erf, log10, sqrt

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.weights import SHAPE, weight_sqnr_db

#: Mean squared error of the best quantiser of a Gaussian with 2^bits levels: J. Max, "Quantizing
#: for minimum distortion", IRE Trans. Information Theory 6(1), 1960, table I.
MAX = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002499}


def mean_square_of_the_largest(count: int) -> float:
    """Return E[max |x|^2] of `count` Gaussian values: the integral of 1 - F^count over x^2."""
    x = np.linspace(0.0, 8.0, 80_001)
    beyond = 1 - np.array([erf(value / sqrt(2)) for value in x]) ** count
    return float(np.sum(2 * x * beyond) * (x[1] - x[0]))


@pytest.mark.parametrize("bits", [6, 8, 10])
@pytest.mark.parametrize(("sharing", "count"), [("channel", SHAPE[1]), ("g128", 128)])
def test_integers_are_a_uniform_quantiser(bits: int, sharing: str, count: int) -> None:
    """Noise is step^2 / 12, the step the largest of those that share it over 2^(bits - 1) - 1."""
    step_square = mean_square_of_the_largest(count) / (2 ** (bits - 1) - 1) ** 2
    # Sixteen channels say what their largest is to some 3 per cent.
    assert weight_sqnr_db(f"int{bits}-{sharing}") == pytest.approx(
        10 * log10(12 / step_square), abs=0.3
    )


@pytest.mark.parametrize(
    ("name", "mantissa_bits"), [("fp16", 10), ("bf16", 7), ("fp10_e5m4ieee", 4)]
)
def test_floats_lose_a_share_of_each_value(name: str, mantissa_bits: int) -> None:
    """Noise is step^2 / 12 with a step of 2^-m of the power of two below a value."""
    x = np.random.default_rng(1).standard_normal(400_000)
    steps = 2.0 ** (np.floor(np.log2(np.abs(x))) - mantissa_bits)
    expected = 10 * log10(np.mean(x**2) / np.mean(steps**2 / 12))
    assert weight_sqnr_db(name) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *((f"int{bits}", bits) for bits in MAX if bits > 1),
        *((name, 4) for name in ("int4-channel", "nf4", "flint4", "pot4", "apot4", "fp4_e2m1fn")),
    ],
)
def test_no_quantiser_with_a_fixed_grid_beats_maxs(name: str, bits: int) -> None:
    assert weight_sqnr_db(name) < -10 * log10(MAX[bits])


@pytest.mark.parametrize(
    "name",
    [
        *("int4-g128", "int4-g128-asym", "mxfp4", "nvfp4", "nvint4", "nf4-g64", "bitmod3"),
        *("bitmod4", "ant4", "qserve", "bcq2", "ternary", "olive_int4", "bfp3_b16", "mxint8"),
        "fp32",
    ],
)
def test_no_format_beats_the_rate_distortion_bound(name: str) -> None:
    """A Gaussian at R bits a value has at most 20 R log10(2) dB (Shannon, 1959)."""
    bound = 20 * log10(2) * float(get(name).bits_per_value)
    assert 0 < weight_sqnr_db(name) < bound


@pytest.mark.parametrize("name", ["uint8", "ufix8_0", "uint4-g128"])
def test_unsigned_formats_hold_no_weights(name: str) -> None:
    with pytest.raises(InputError) as caught:
        weight_sqnr_db(name)
    assert str(caught.value) == f"{name} holds no signed weights"


@pytest.mark.parametrize("name", ["int8", "nf4", "ternary", "bipolar4"])
def test_codes_alone_have_one_scale(name: str) -> None:
    assert weight_sqnr_db(name) == weight_sqnr_db(f"{name}-tensor")
