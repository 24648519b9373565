"""Block formats: arrays equal the specification, elements and scales equal outside oracles."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulator.errors import InputError
from simulator.formats import get, minifloat
from simulator.formats.block import (
    BLOCK_FORMATS,
    MXFP4,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT8,
    NVFP4,
    NVINT4,
    BlockFormat,
    Blocks,
    bfp,
)
from simulator.formats.integer import FixedPoint
from simulator.formats.presets import E8M0, FP4_E2M1FN, FP8_E4M3FN, PRESETS, UE4M3
from simulator.formats.rounding import Overflow, Rounding, random_24

EVEN = Rounding.NEAREST_EVEN
FORMATS = [*BLOCK_FORMATS.values(), bfp(3, 16), bfp(15, 5), bfp(1, 1)]
OCP = [form for form in BLOCK_FORMATS.values() if form.block == 32]
OCP_FLOATS = [form for form in OCP if form is not MXINT8]
Array = np.ndarray[Any, np.dtype[np.float32]]

form_of = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def ragged(seed: int = 0, rows: int = 40, length: int = 77) -> Array:
    """Return rows of very different sizes, with zeros, -0, ties, subnormals, blocks of 0."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, length)).astype(np.float32)
    exponents = rng.integers(-149, 125, (rows, 1)) + rng.integers(-12, 1, (rows, length))
    values = np.ldexp(values, exponents.astype(np.int32)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = 0.0
    values[rng.random(values.shape) < 0.05] *= np.float32(-0.0)
    ties = np.round(rng.uniform(-16, 16, (rows, length)) * 4) / 4
    values[::4] = ties[::4] * 2.0 ** rng.integers(-60, 60)
    values[1, :40] = 0.0
    return values


def in_ordinary_range(values: Array) -> Array:
    """Return the same rows where float scales do not saturate."""
    largest = np.abs(values).max(axis=-1, keepdims=True).astype(float)
    return (values / np.where(largest, largest, 1) * 100).astype(np.float32)


def blocks_of(form: BlockFormat, values: Array) -> list[tuple[int, int, slice]]:
    starts = range(0, values.shape[-1], form.block)
    return [
        (row, i, slice(start, start + form.block))
        for row in range(values.shape[0])
        for i, start in enumerate(starts)
    ]


def assert_specified(
    form: BlockFormat, values: Any, rounding: Rounding, tensor_scale: bool = False
) -> Blocks:
    blocks = form.encode(values, rounding, 9, tensor_scale=tensor_scale)
    decoded, scale = blocks.values(), blocks.tensor_scale or 1.0
    for row, i, part in blocks_of(form, values):
        one = values[row, part].tolist()
        first = row * values.shape[1] + part.start
        randoms = [random_24(9, first + k) for k in range(len(one))]
        codes, scale_code = form.encode_one(one, rounding, randoms, scale)
        assert blocks.codes[row, part].tolist() == codes
        assert blocks.scales[row, i] == scale_code
        again = form.decode_one(codes, scale_code, scale)
        assert np.array_equal(decoded[row, part], again, equal_nan=True)
    return blocks


@form_of
@pytest.mark.parametrize("rounding", Rounding)
def test_arrays_are_encoded_as_the_specification(form: BlockFormat, rounding: Rounding) -> None:
    values = ragged(length=50, rows=12)
    assert_specified(form, values, rounding)
    assert_specified(form, values.astype(np.float64), rounding)
    assert_specified(form, in_ordinary_range(values), rounding)


@pytest.mark.parametrize("form", [NVFP4, NVINT4], ids=lambda form: form.name)
@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e30])
def test_tensor_scale_is_the_largest_over_what_scale_and_element_reach(
    form: BlockFormat, factor: float
) -> None:
    values = (in_ordinary_range(ragged(rows=8)) * np.float32(factor)).astype(np.float32)
    blocks = assert_specified(form, values, EVEN, tensor_scale=True)
    assert blocks.tensor_scale == np.float32(float(np.abs(values).max()) / (448 * form.largest))
    assert blocks.scales.max() == FP8_E4M3FN.largest
    assert blocks.total_bits == form.encode(values).total_bits + 32
    zeros = form.encode(np.zeros((1, 4), np.float32), tensor_scale=True)
    assert (zeros.tensor_scale, zeros.values().tolist()) == (1.0, [[0.0] * 4])


@pytest.mark.parametrize("form", OCP_FLOATS, ids=lambda form: form.name)
@given(arrays.arrays(np.uint32, st.integers(1, 70)))
def test_compiled_blocks_are_the_array_path_on_any_bits(form: BlockFormat, bits: Any) -> None:
    values = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        expected = form.encode(values.astype(np.float64))
    blocks = form.encode(values)
    assert blocks.codes.tolist() == expected.codes.tolist()
    assert blocks.scales.tolist() == expected.scales.tolist()


@pytest.mark.parametrize("form", OCP_FLOATS, ids=lambda form: form.name)
def test_compiled_blocks_are_the_array_path_on_a_large_sample(form: BlockFormat) -> None:
    values = ragged(seed=4, rows=500, length=96)
    blocks, expected = form.encode(values), form.encode(values.astype(np.float64))
    assert (blocks.codes == expected.codes).all()
    assert (blocks.scales == expected.scales).all()
    turned = form.encode(values.T)
    assert (turned.codes == form.encode(np.ascontiguousarray(values.T)).codes).all()


@pytest.mark.parametrize("form", OCP, ids=lambda form: form.name)
def test_gfloat_decodes_to_the_same_values(form: BlockFormat) -> None:
    oracle = {info.name: info for info in gfloat.formats.all_block_formats}[
        "mxfp4_e2m1" if form is MXFP4 else form.name
    ]
    values = ragged(rows=24, length=64).astype(np.float64)
    decoded = form.encode(values).values()
    for row, _, part in blocks_of(form, decoded):
        expected = gfloat.quantize_block(oracle, values[row, part], gfloat.compute_scale_amax)
        if form is MXINT8:
            # gfloat uses the code of -2, which MXINT8 may leave unused.
            scale = gfloat.compute_scale_amax(0.0, values[row, part])
            expected = np.maximum(expected, -127 / 64 * scale)
        assert decoded[row, part].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        ("mxfp8_e4m3", ml_dtypes.float8_e4m3fn),
        ("mxfp8_e5m2", ml_dtypes.float8_e5m2),
        ("mxfp6_e3m2", ml_dtypes.float6_e3m2fn),
        ("mxfp6_e2m3", ml_dtypes.float6_e2m3fn),
        ("mxfp4", ml_dtypes.float4_e2m1fn),
        ("nvfp4", ml_dtypes.float4_e2m1fn),
    ],
)
def test_elements_have_the_codes_of_ml_dtypes(form: str, dtype: Any) -> None:
    block = BLOCK_FORMATS[form]
    values = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    blocks = block.encode(values)
    scales = np.repeat(blocks.scale_values(), block.block, axis=1)
    scaled = np.clip(values / scales, -block.largest, block.largest)
    assert (blocks.codes == scaled.astype(dtype).view(np.uint8)).all()
    own = ml_dtypes.float8_e4m3fn if form == "nvfp4" else ml_dtypes.float8_e8m0fnu
    assert (blocks.scales.view(own).astype(float) == blocks.scale_values()).all()


def test_nvfp4_scales_are_the_e4m3_of_a_sixth_of_the_maximum() -> None:
    values = np.random.default_rng(2).standard_normal((64, 48)).astype(np.float32) * 30
    amax = np.abs(values.reshape(64, 3, 16)).max(axis=-1).astype(np.float64)
    expected = (amax / 6).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    assert (NVFP4.encode(values).scales == expected).all()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("fp8_e4m3fn", ml_dtypes.float8_e4m3fn),
        ("fp8_e5m2", ml_dtypes.float8_e5m2),
        ("fp8_e3m4", ml_dtypes.float8_e3m4),
        ("fp8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz),
        ("fp8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz),
        ("fp6_e3m2fn", ml_dtypes.float6_e3m2fn),
        ("fp6_e2m3fn", ml_dtypes.float6_e2m3fn),
        ("fp4_e2m1fn", ml_dtypes.float4_e2m1fn),
        ("e8m0", ml_dtypes.float8_e8m0fnu),
        ("bf16", ml_dtypes.bfloat16),
        ("fp16", np.float16),
    ],
)
def test_presets_decode_as_ml_dtypes(name: str, dtype: Any) -> None:
    form = PRESETS[name]
    codes = np.arange(1 << form.bits, dtype=np.uint16 if form.bits == 16 else np.uint8)
    expected = codes.view(dtype).astype(np.float32)
    assert np.array_equal(minifloat.decode(form, codes), expected, equal_nan=True)


def test_presets_that_no_library_has() -> None:
    fp3, ue5m3 = PRESETS["fp3_e2m0"], PRESETS["ue5m3"]
    assert [fp3.decode_one(code) for code in range(8)] == [0, 1, 2, 4, 0, -1, -2, -4]
    assert (ue5m3.bits, ue5m3.decode_one(254), ue5m3.decode_one(1)) == (8, 114688.0, 2.0**-17)
    codes = np.arange(128, dtype=np.uint8)
    same = minifloat.decode(FP8_E4M3FN, codes)
    assert np.array_equal(minifloat.decode(UE4M3, codes), same, equal_nan=True)
    assert all(form.name == name for name, form in PRESETS.items())


def test_a_maximum_just_below_a_power_of_two_keeps_its_exponent() -> None:
    below = np.nextafter(np.float32(16), np.float32(0))
    for dtype in (np.float32, np.float64):
        blocks = MXFP4.encode(np.array([below, 1.1], dtype=dtype))
        assert blocks.scales.tolist() == [127 + 1]
        assert blocks.values().tolist() == [12.0, 1.0]
    assert MXFP4.encode(np.array([16.0, 1.1], np.float32)).values().tolist() == [16.0, 2.0]


@pytest.mark.parametrize("form", OCP, ids=lambda form: form.name)
def test_the_scale_is_right_on_both_sides_of_every_power_of_two(form: BlockFormat) -> None:
    powers = np.ldexp(np.float32(1), np.arange(-126, 128)).astype(np.float32)
    below = np.nextafter(powers, np.float32(0))
    scales = form.encode(np.stack([powers, below])[..., None]).scales[..., 0]
    exponents = np.arange(-126, 128) - form.emax + 127
    assert (scales[0] == np.clip(exponents, 0, 254)).all()
    assert (scales[1] == np.clip(exponents - 1, 0, 254)).all()


@pytest.mark.parametrize("name", [name for name in BLOCK_FORMATS if name != "nvint4"])
def test_bits_per_value_are_those_of_the_name(name: str) -> None:
    form = BLOCK_FORMATS[name]
    assert form.bits_per_value == get(name).bits_per_value
    blocks = form.encode(np.ones((3, 64), np.float32))
    assert blocks.bits_per_value == form.bits_per_value
    short = form.encode(np.ones((3, 33), np.float32))
    assert short.total_bits == get(name).bits(3, 33)


def test_bits_of_other_blocks() -> None:
    assert NVINT4.bits_per_value == Fraction(9, 2)
    assert bfp(3, 16).bits_per_value == 4 + Fraction(8, 16)
    assert (bfp(3, 16).name, bfp(3, 16).largest, bfp(7, 32).emax) == ("bfp3-b16", 1.75, 0)


@form_of
def test_decoded_values_encode_to_the_same_codes(form: BlockFormat) -> None:
    values = in_ordinary_range(ragged(rows=100))
    if not form.scale.has_zero:
        values = ragged(rows=100)
    blocks = form.encode(values)
    again = form.encode(blocks.values())
    ordinary = blocks.scales >= (8 if form.scale.has_zero else 0)
    assert ordinary.mean() > 0.5
    assert (again.scales[ordinary] == blocks.scales[ordinary]).all()
    elements = np.repeat(ordinary, form.block, axis=1)[:, : values.shape[1]]
    assert (again.codes[elements] == blocks.codes[elements]).all()


@form_of
@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(1, 256, width=32)),
    st.integers(-3, 0),
)
def test_powers_of_two_pass_through(form: BlockFormat, values: Any, exponent: int) -> None:
    factor = 2.0**exponent
    plain, scaled = form.encode(values), form.encode((values * factor).astype(np.float32))
    assert (plain.codes == scaled.codes).all()
    assert (plain.values() * factor == scaled.values()).all()


@form_of
@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**20), 2.0**20, width=32))
)
def test_values_go_to_the_nearest_element_unless_saturated(form: BlockFormat, values: Any) -> None:
    blocks = form.encode(values)
    scales = np.repeat(blocks.scale_values(), form.block)[: values.size]
    scaled = np.abs(values) / scales
    codes = np.arange(1 << form.element.bits - 1)
    grid = np.unique(np.abs(Blocks(form, codes, np.zeros(0, np.uint8)).elements()))
    grid = grid[np.isfinite(grid)]
    above = np.clip(np.searchsorted(grid, scaled), 1, grid.size - 1)
    nearest = np.minimum(np.abs(grid[above] - scaled), np.abs(grid[above - 1] - scaled))
    error = np.abs(np.abs(blocks.elements()) - scaled)
    free = scaled <= form.largest
    assert (error[free] == nearest[free]).all()
    assert (np.abs(blocks.elements())[~free] == form.largest).all()
    assert (np.signbit(blocks.values()) <= np.signbit(values)).all()


@form_of
@pytest.mark.parametrize("special", [np.nan, -np.nan, np.inf, -np.inf])
def test_nan_and_infinity_make_their_block_nan(form: BlockFormat, special: float) -> None:
    values = np.ones((2, 3 * form.block), np.float32)
    values[1, form.block] = special
    blocks = form.encode(values)
    bad = np.zeros((2, 3), dtype=bool)
    bad[1, 1] = True
    assert (blocks.scales[bad] == form.scale.nan).all()
    assert (np.isnan(blocks.values()) == np.repeat(bad, form.block, axis=1)).all()
    assert (blocks.codes[1, form.block : 2 * form.block] == 0).all()
    codes, scale = form.encode_one(values[1, form.block : 2 * form.block].tolist())
    assert (codes, scale) == ([0] * form.block, form.scale.nan)


@form_of
def test_a_block_of_zeros_has_the_smallest_scale_and_keeps_its_signs(form: BlockFormat) -> None:
    blocks = form.encode(np.array([0.0, -0.0], np.float32))
    assert set(blocks.scales.tolist()) == {1 if form.scale.has_zero else 0}
    assert blocks.values().tolist() == [0.0, 0.0]
    kept = [False, not isinstance(form.element, FixedPoint)]
    assert np.signbit(blocks.values()).tolist() == kept


def test_float32_subnormals_are_values_like_others() -> None:
    tiny = np.float32(2.0**-140)
    values = np.array([3 * tiny, -tiny, 2.0**-149], np.float32)
    assert MXFP8_E5M2.encode(values).values().tolist() == [3 * tiny, -tiny, 0.0]
    assert MXFP8_E4M3.encode(values).values().tolist() == [0.0, -0.0, 0.0]
    step = 2.0**-127 * 0.5
    values = np.array([step, 1.5 * step, 0.5 * step, 2.0**-126], np.float32)
    assert MXFP4.encode(values).values().tolist() == [step, 2 * step, 0.0, 2.0**-126]


def test_what_is_beyond_the_scales_saturates() -> None:
    assert MXFP4.encode(np.array([1e300, -1e300])).values().tolist() == [
        6 * 2.0**127,
        -6 * 2.0**127,
    ]
    assert NVFP4.encode(np.array([1e6, 1.0], np.float32)).values().tolist() == [2688.0, 0.0]
    assert NVFP4.encode(np.array([1e-9], np.float32)).scales.tolist() == [1]
    largest = np.finfo(np.float32).max
    assert MXINT8.encode(np.array([largest, -largest])).codes.tolist() == [127, 129]


@pytest.mark.parametrize("shape", [(0,), (0, 40), (3, 0)])
@form_of
def test_empty_arrays_stay_empty(form: BlockFormat, shape: tuple[int, ...]) -> None:
    for dtype in (np.float32, np.float64):
        blocks = form.encode(np.zeros(shape, dtype), tensor_scale=form.scale.has_zero)
        assert blocks.values().shape == shape
        assert blocks.bits_per_value <= 32
        assert blocks.scales.shape == (*shape[:-1], -(-shape[-1] // form.block))


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: MXFP4.encode(ONES.astype(np.int32)),  # type: ignore[arg-type]
            "mxfp4: values must be float32 or float64, got int32",
        ),
        (
            lambda: NVFP4.encode(ONES.astype(np.float16)),
            "nvfp4: values must be float32 or float64, got float16",
        ),
        (lambda: MXFP4.encode(ONES.sum()), "mxfp4: values must have at least one axis"),
        (
            lambda: MXFP4.encode(ONES, tensor_scale=True),
            "mxfp4: only blocks with float scales have a tensor scale",
        ),
        (lambda: bfp(0, 16), "bfp0-b16: mantissa_bits must be 1 to 15, got 0"),
        (lambda: bfp(4, 0), "bfp4-b0: a block has 1 element or more, got 0"),
        (
            lambda: BlockFormat("odd", FixedPoint(4, 4, signed=False), 0, FP4_E2M1FN),
            "odd: a block has 1 element or more, got 0\n"
            "odd: the scale needs a NaN, fp4_e2m1fn has none\n"
            "odd: elements are signed",
        ),
        (lambda: MXFP4.decode_one([16], 127), "fp4_e2m1fn: code 16 is not of 4 bits"),
        (
            lambda: Blocks(MXFP4, np.array([16], np.uint8), np.array([127], np.uint8)).values(),
            "fp4_e2m1fn: codes must be 0 to 15",
        ),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value) == message


def test_e8m0_encodes_the_powers_of_two_that_scales_are() -> None:
    codes = np.arange(255, dtype=np.uint8)
    values = minifloat.decode(E8M0, codes).astype(np.float64)
    assert (minifloat.encode(E8M0, values, EVEN, Overflow.SATURATE) == codes).all()
