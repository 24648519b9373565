"""`Format.encode` and `.decode` for every name, against the functions of its kind and oracles."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats import ALL, Overflow, Rounding, get
from simulator.formats.codebook import bitmod, choose
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.formats.scaling import absmean, absmean_one, rtn
from simulator.formats.two_level import vs_quant

UNSIGNED = ("e8m0", "ue5m3", "ue4m3")
SCALED = (
    *("int4-g128", "int4-g128-asym", "int4-g128-s8", "int8-token", "int8-tensor", "int2-g64-s32"),
    *("uint4-channel", "uint8-g32-asym", "fp8_e4m3fn-channel", "fp16-tensor", "fp4_e2m1fn-g32"),
    *("nf4-g64", "flint4-g32-s32", "pot4-channel", "bitmod4-s16", "bitmod3-g64", "bitmod4-tensor"),
    *("ternary-tensor", "ternary-g128", "ternary-channel-s32"),
)


def matrix(rows: int = 5, columns: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def values_for(name: str) -> np.ndarray:
    return np.abs(matrix()) if name in UNSIGNED else matrix()


#: The scale of a group of these follows from values that are on another grid once decoded.
NOT_STABLE = ("nvfp4", "nvint4", "bitmod3", "bitmod4")


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in ALL if name not in NOT_STABLE),
        *(n for n in SCALED if get(n).kind == "float"),
    ],
)
def test_what_is_decoded_is_encoded_to_the_same_values(name: str) -> None:
    form = get(name)
    once = form.decode(form.encode(values_for(name)))
    np.testing.assert_array_equal(form.decode(form.encode(once)), once)


@pytest.mark.parametrize("name", [name for name in SCALED if get(name).kind == "int"])
def test_integers_with_a_scale_are_within_half_a_step(name: str) -> None:
    encoded = get(name).encode(matrix())
    step = np.broadcast_to(spread(encoded.scales, encoded.sizes, (5, 300)), (5, 300))
    error = np.abs(encoded.values() - matrix()) / step
    # Scales of 8 and 16 bits cut off a little of the largest values, zero points half a step.
    limit = {"int4-g128-asym": 1.01, "int4-g128-s8": 0.55}.get(name, 0.51)
    assert 0.3 < error.max() <= limit


@pytest.mark.parametrize("name", [name for name in ALL if get(name).granularity == "none"])
def test_every_code_of_plain_formats_round_trips(name: str) -> None:
    form = get(name)
    bits = {"fp32": 16, "tf32": 19, "int32": 16}.get(name, int(form.value_bits))
    codes = np.arange(3) if name == "ternary" else np.arange(1 << bits)
    values = form.decode(codes)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(form.decode(form.encode(values[finite])), values[finite])


@pytest.mark.parametrize("name", SCALED)
def test_the_bits_of_what_is_encoded_are_those_that_the_format_counts(name: str) -> None:
    form, encoded = get(name), get(name).encode(matrix())
    assert isinstance(encoded, Encoded)
    assert encoded.bits_per_value == form.value_bits + Fraction(form.metadata_bits(5, 300), 5 * 300)
    assert encoded.scales.size == form.scales(5, 300)


@given(st.integers(0, 2**32 - 1))
def test_bf16_and_fp16_are_the_conversions_of_others(bits: int) -> None:
    value = np.array([bits], np.uint32).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        half, brain = value.astype(np.float16), value.astype(ml_dtypes.bfloat16)
    for name, theirs in (("fp16", half), ("bf16", brain)):
        ours = get(name).decode(get(name).encode(value, overflow="inf"))
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))


def test_tf32_drops_13_bits_to_nearest_even() -> None:
    values = matrix(1, 4096)
    ours = get("tf32").decode(get("tf32").encode(values))
    # Veltkamp's splitting leaves 11 bits of significand, rounded to nearest.
    wide = values.astype(np.float64)
    large = wide * (2.0**42 + 1)
    np.testing.assert_array_equal(ours, (large - (large - wide)).astype(np.float32))


def test_integers_are_those_of_round_to_nearest() -> None:
    values = matrix()
    ours = get("int4-g128-asym").encode(values)
    theirs = rtn(values, 4, "group", 128, asymmetric=True)
    assert isinstance(ours, Encoded)
    assert ours.zeros is not None
    assert theirs.zeros is not None
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    np.testing.assert_array_equal(ours.zeros, theirs.zeros)
    np.testing.assert_array_equal(ours.values(), theirs.values())


def test_scales_of_8_bits_are_those_of_vs_quant() -> None:
    values = matrix()
    np.testing.assert_array_equal(
        get("int4-g128-s8").encode(values).values(), vs_quant(values, 4, 128, scale_bits=8).values()
    )


def test_unsigned_integers_without_a_zero_point_take_the_positive_half() -> None:
    encoded = get("uint4-channel").encode(matrix())
    assert encoded.zeros is None
    decoded = encoded.values()
    assert decoded.min() == 0
    largest = matrix().max(axis=1)
    np.testing.assert_allclose(decoded.max(axis=1), largest, rtol=2**-11)


@pytest.mark.parametrize("bits", [3, 4])
def test_bitmod_takes_the_best_table_of_each_group(bits: int) -> None:
    values = matrix(40, 256)
    encoded = get(f"bitmod{bits}-s32").encode(values)
    expected = choose(bitmod(bits), values.reshape(40, 2, 128))
    np.testing.assert_array_equal(encoded.selectors, expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    for row in range(40):
        for group in range(2):
            part = slice(group * 128, group * 128 + 128)
            table = bitmod(bits)[expected[row, group]].table
            np.testing.assert_array_equal(
                encoded.values()[row, part],
                table[encoded.codes[row, part]] * encoded.scales.astype(float)[row, group],
            )


def test_a_group_gets_the_largest_value_of_a_float() -> None:
    values = matrix()
    encoded = get("fp8_e4m3fn-channel-s32").encode(values)
    np.testing.assert_allclose(encoded.scales[:, 0], np.abs(values).max(axis=1) / 448, rtol=1e-7)
    assert (np.abs(encoded.values()) <= np.abs(values).max(axis=1, keepdims=True) * 1.000001).all()


def test_ternary_takes_the_mean_magnitude() -> None:
    values = np.array([[4.0, -1.0, 0.5, 2.5]], np.float32)
    encoded = get("ternary-tensor").encode(values)
    assert encoded.scales.tolist() == [[2.0]]
    # 0.5 / 2 rounds to 0, -1 / 2 is a tie and goes to even.
    assert encoded.codes.tolist() == [[1, 0, 0, 1]]


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9),
    st.sampled_from([each for each in Rounding if each is not Rounding.STOCHASTIC]),
)
def test_absmean_of_arrays_is_that_of_one_group(values: list[float], rounding: Rounding) -> None:
    scaled = absmean(np.array(values, np.float32), rounding=rounding)
    codes, scale = absmean_one(values, rounding)
    assert scaled.codes.tolist() == codes
    assert scaled.scales.tolist() == [scale]


@pytest.mark.parametrize("name", [name for name in SCALED if "tensor" not in name])
def test_rows_do_not_know_each_other(name: str) -> None:
    values = matrix()
    together = get(name).encode(values).values()
    for row in range(5):
        np.testing.assert_array_equal(
            get(name).encode(values[row : row + 1]).values()[0], together[row]
        )


@pytest.mark.parametrize("name", [*ALL, *SCALED])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_nothing_stays_nothing(name: str, shape: tuple[int, ...]) -> None:
    form = get(name)
    assert form.decode(form.encode(np.zeros(shape, np.float32))).shape == shape


@pytest.mark.parametrize("name", SCALED)
def test_zeros_stay_zeros(name: str) -> None:
    assert not get(name).encode(np.zeros((2, 200), np.float32)).values().any()


def test_names_of_roundings_and_overflows_serve_as_members() -> None:
    values = np.array([1e9, -1e9, 1.1])
    form = get("fp8_e5m2")
    for rounding in Rounding:
        for overflow in Overflow:
            np.testing.assert_array_equal(
                form.encode(values, str(rounding), str(overflow), seed=3),
                form.encode(values, rounding, overflow, seed=3),
            )


def test_fp32_rounds_float64_and_overflows_as_told() -> None:
    values = np.array([1e39, -1e39, 0.1])
    form = get("fp32")
    most = float(np.finfo(np.float32).max)
    tenth = float(np.float32(0.1))
    assert form.decode(form.encode(values)).tolist() == [most, -most, tenth]
    assert form.decode(form.encode(values, overflow="inf")).tolist() == [np.inf, -np.inf, tenth]
    assert np.isnan(form.decode(form.encode(values, overflow="nan"))).tolist() == [1, 1, 0]


def test_half_precision_arrays_are_values_like_others() -> None:
    half = matrix().astype(np.float16)
    np.testing.assert_array_equal(
        get("int4-g128").encode(half).values(),
        get("int4-g128").encode(half.astype(np.float32)).values(),
    )


def test_tables_are_spread_over_their_groups() -> None:
    encoded = get("nf4-g64").encode(matrix())
    assert encoded.scales.shape == (5, 5)
    assert spread(encoded.scales, encoded.sizes, (5, 300)).shape == (5, 300)


NARROW = "no arithmetic with 8-bit scales; they are for symmetric integers in groups and for bitmod"
ZEROS = np.zeros(2)


@pytest.mark.parametrize(
    ("name", "values", "options", "message"),
    [
        (
            "int4",
            np.zeros(2, int),
            {},
            "int4: values must be float16, float32 or float64, got int64",
        ),
        (
            "fp16",
            ZEROS,
            {"rounding": "nearest"},
            "unknown rounding 'nearest'; did you mean 'nearest_even'?",
        ),
        (
            "fp16",
            ZEROS,
            {"rounding": "half_awy"},
            "unknown rounding 'half_awy'; did you mean 'half_away'?",
        ),
        ("fp16", ZEROS, {"overflow": "clip"}, "unknown overflow 'clip'; known: saturate, inf, nan"),
        (
            "int8",
            ZEROS,
            {"overflow": "inf"},
            "int8: only plain floats overflow to inf; use overflow='saturate'",
        ),
        (
            "mxfp4",
            ZEROS,
            {"overflow": "nan"},
            "mxfp4: only plain floats overflow to nan; use overflow='saturate'",
        ),
        (
            "fp32",
            ZEROS,
            {"rounding": "floor"},
            "fp32: float64 is rounded to nearest_even only, got floor",
        ),
        ("int4-g128-asym-s8", ZEROS, {}, f"int4-g128-asym-s8: {NARROW}"),
        ("nf4-g64-s8", ZEROS, {}, f"nf4-g64-s8: {NARROW}"),
        ("int4-g4", np.array([np.nan, 1]), {}, "rtn: 1 of 2 values are NaN or infinite"),
        ("nf4-g4", np.array([np.inf, 1]), {}, "nf4-g4: 1 of 2 values are NaN or infinite"),
        ("ternary", np.array([np.nan, 1]), {}, "ternary has no NaN: 1 of 2 values are NaN"),
        ("int1-g8", ZEROS, {}, "rtn: bits must be 2 to 16 where symmetric, got 1"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    name: str, values: np.ndarray, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        get(name).encode(values, **options)
    assert str(error.value) == message


def test_what_cannot_be_decoded_is_refused() -> None:
    grouped = get("int4-g128")
    for form, given_codes, message in (
        (get("int8-token"), grouped.encode(matrix()), "int8-token: encoded as int4-g128"),
        (
            grouped,
            np.zeros(3, int),
            "int4-g128: expected what encode gave, with its scales; got an array",
        ),
        (get("nf4"), np.array([16]), "nf4: codes must be 0 to 15"),
        (get("nf4"), np.zeros(2), "nf4: codes must be integers, got float64"),
        (get("ternary"), np.array([3]), "ternary: codes must be 0 to 2"),
    ):
        with pytest.raises(InputError) as error:
            form.decode(given_codes)
        assert str(error.value) == message
