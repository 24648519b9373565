"""`Format.encode` and `.decode` for every name, against the functions of its kind and oracles."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.formats import ALL, Overflow, Rounding, get
from simulator.formats.block import NVFP4, NVINT4, BlockFormat, bfp
from simulator.formats.codebook import FLINT4, INT4, POT4, bitmod, choose
from simulator.formats.conversion import Encoded
from simulator.formats.groups import Sharing, spread
from simulator.formats.scaling import absmean, absmean_one, dynamic_fixed_point, rtn
from simulator.formats.ternary import TERNARY_2BIT
from simulator.formats.two_level import qserve as two_level_qserve
from simulator.formats.two_level import vs_quant
from simulator.numerics.operands import Operands

UNSIGNED = ("e8m0", "ue5m3", "ue4m3")
SCALED = (
    *("int4-g128", "int4-g128-asym", "int4-g128-s8", "int8-token", "int8-tensor", "int2-g64-s32"),
    *("uint4-channel", "uint8-g32-asym", "fp8_e4m3fn-channel", "fp16-tensor", "fp4_e2m1fn-g32"),
    *("nf4-g64", "flint4-g32-s32", "pot4-channel", "bitmod4-s16", "bitmod3-g64", "bitmod4-tensor"),
    *("ternary-tensor", "ternary-g128", "ternary-channel-s32", "ternary2-g64", "pot3-g32"),
    *("fp5_e2m2-g32", "fp12_e4m7fnuz-channel", "flint5-g64", "apot4-channel", "bipolar3-g64"),
    *("dfp8-g16", "dfp4-channel", "dfp16", "dfp3-token", "ant4", "ant4-tensor", "ant4-channel-s32"),
    *("ant4-g64-s8", "qserve", "qserve-g64", "nvfp4_t32", "nvint4_t32", "bfp3_b16", "bfp15_b7"),
    *("bcq2-g64", "bcq3-g50", "bcq3-channel"),
)


def matrix(rows: int = 5, columns: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def values_for(name: str) -> np.ndarray:
    return np.abs(matrix()) if name in UNSIGNED else matrix()


#: The scale of a group of these follows from values that are on another grid once decoded; alphas
#: of binary code from a fit that starts elsewhere.
NOT_STABLE = (
    "nvfp4",
    "nvint4",
    "nvfp4_t32",
    "nvint4_t32",
    "bitmod3",
    "bitmod4",
    "qserve",
    "bcq3",
    "bcq4",
)

#: Every minifloat of up to 8 bits, and some of more.
MINIFLOATS = tuple(
    f"fp{1 + x + y}_e{x}m{y}{specials}"
    for x in range(1, 8)
    for y in range(0, 8 - x)
    for specials in ("", "fn", "ieee", "fnuz")
    if x + y > 1 and (y or specials != "ieee")
)
FAMILIES = (
    *MINIFLOATS,
    *("fp16_e5m10", "fp16_e8m7ieee", "fp14_e6m7fn", "fp12_e7m4fnuz", "fp16_e1m14"),
    *("fix8_4", "fix1_1", "fix16_0", "fix5_9", "ufix8_0", "ufix16_16", "fix8_64"),
    *(f"bipolar{bits}" for bits in (1, 2, 3, 8, 15, 16)),
    *(f"pot{bits}" for bits in (2, 5, 8)),
    *(f"apot{bits}" for bits in range(3, 8)),
)


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


@pytest.mark.parametrize(
    "name",
    [name for name in SCALED if get(name).base == name.split("-")[0] and get(name).kind == "int"],
)
def test_integers_with_a_scale_are_within_half_a_step(name: str) -> None:
    encoded = get(name).encode(matrix())
    step = np.broadcast_to(spread(encoded.scales, encoded.sizes, (5, 300)), (5, 300))
    error = np.abs(encoded.values() - matrix()) / step
    # Scales of 8 and 16 bits cut off a little of the largest values, zero points half a step.
    limit = {"int4-g128-asym": 1.01, "int4-g128-s8": 0.55}.get(name, 0.51)
    assert 0.3 < error.max() <= limit


@pytest.mark.parametrize(
    "name",
    [*(name for name in ALL if get(name).granularity == "none"), *FAMILIES],
)
def test_every_code_of_plain_formats_round_trips(name: str) -> None:
    form = get(name)
    bits = {"fp32": 16, "tf32": 19, "int32": 16}.get(name, int(form.value_bits))
    few = {"ternary": [0, 1, 2], "ternary2": [0, 1, 3]}
    codes = np.array(few.get(name, range(1 << bits)))
    values = form.decode(codes)
    finite = np.isfinite(values)
    again = form.decode(form.encode(values[finite]))
    np.testing.assert_array_equal(again, values[finite])
    np.testing.assert_array_equal(np.signbit(again), np.signbit(values[finite]))
    if name in FAMILIES:
        np.testing.assert_array_equal(form.encode(values[finite]), codes[finite])


@pytest.mark.parametrize("name", SCALED)
def test_the_bits_of_what_is_encoded_are_those_that_the_format_counts(name: str) -> None:
    form, encoded = get(name), get(name).encode(matrix())
    assert isinstance(encoded, Encoded)
    assert encoded.bits_per_value == form.value_bits + Fraction(form.metadata_bits(5, 300), 5 * 300)
    assert encoded.scales.size == form.scales(5, 300)
    if encoded.selectors is not None:
        assert encoded.selectors.shape == encoded.scales.shape


@pytest.mark.parametrize("name", [*SCALED, *(n for n in ALL if get(n).granularity != "none")])
def test_one_row_of_each_operand_has_the_values_of_its_row(name: str) -> None:
    form = get(name)
    encoded = form.encode(matrix())
    both = Operands(encoded, encoded, form, form)
    decoded = form.decode(encoded)
    for m, n in ((0, 4), (3, 1)):
        row = both.rows(m, n)
        np.testing.assert_array_equal(row.x_values(), decoded[m : m + 1])
        np.testing.assert_array_equal(row.w_values(), decoded[n : n + 1])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fp16_e5m10ieee", np.float16),
        ("fp16_e8m7ieee", ml_dtypes.bfloat16),
        ("fp8_e4m3ieee", ml_dtypes.float8_e4m3),
        ("fp8_e3m4ieee", ml_dtypes.float8_e3m4),
        ("fp8_e5m2ieee", ml_dtypes.float8_e5m2),
        ("fp6_e3m2", ml_dtypes.float6_e3m2fn),
        ("fp6_e2m3", ml_dtypes.float6_e2m3fn),
        ("fp4_e2m1", ml_dtypes.float4_e2m1fn),
    ],
)
def test_minifloats_by_their_bits_are_those_of_others(name: str, kind: type) -> None:
    form = get(name)
    codes = np.arange(1 << int(form.value_bits))
    theirs = codes.astype(f"uint{8 if codes.size <= 256 else 16}").view(kind).astype(np.float32)
    ours = form.decode(codes)
    np.testing.assert_array_equal(ours, theirs)
    zeros = theirs == 0
    np.testing.assert_array_equal(np.signbit(ours[zeros]), np.signbit(theirs[zeros]))


def test_what_stands_after_a_minifloat_is_where_infinity_and_nan_are() -> None:
    codes = np.arange(64)
    plain, fn, ieee, fnuz = (
        get(f"fp6_e3m2{after}").decode(codes) for after in ("", "fn", "ieee", "fnuz")
    )
    # fp6_e3m2fn is the OCP format, in which every code is finite.
    np.testing.assert_array_equal(fn, plain)
    assert np.flatnonzero(np.isnan(get("fp6_e2m3").decode(codes))).tolist() == []
    assert np.flatnonzero(np.isnan(get("fp7_e3m3fn").decode(np.arange(128)))).tolist() == [63, 127]
    assert np.flatnonzero(np.isinf(ieee)).tolist() == [28, 60]
    assert np.flatnonzero(np.isnan(ieee)).tolist() == [29, 30, 31, 61, 62, 63]
    assert np.flatnonzero(np.isnan(fnuz)).tolist() == [32]
    # The bias is one more.
    np.testing.assert_array_equal(fnuz[:32], plain[:32] / 2)
    assert plain[1] == 2.0**-4
    assert get("fp3_e1m1").decode(np.arange(8)).tolist() == [0, 1, 2, 3, 0, -1, -2, -3]


@pytest.mark.parametrize(
    ("name", "floor", "up"),
    [
        ("pot3", [-4, -2, -1, 1, 2], [-2, -1, 0, 2, 4]),
        ("fix8_8", [-4, -2, -1, 1, 2], [-3, -1, 0, 2, 3]),
        ("ternary", [-1, -1, -1, 1, 1], [-1, -1, 0, 1, 1]),
        ("ternary2", [-1, -1, -1, 1, 1], [-1, -1, 0, 1, 1]),
        ("bipolar3", [-5, -3, -1, 1, 1], [-3, -1, 1, 3, 3]),
    ],
)
def test_roundings_reach_every_kind(name: str, floor: list[int], up: list[int]) -> None:
    form, values = get(name), np.array([-3.75, -1.75, -0.25, 1.75, 2.75])
    assert form.decode(form.encode(values, "floor")).tolist() == floor
    drawn = {tuple(form.decode(form.encode(values, "stochastic", seed=n))) for n in range(400)}
    for place, pair in enumerate(zip(floor, up, strict=True)):
        assert {row[place] for row in drawn} == set(pair)


def test_minifloats_overflow_and_keep_nan_and_the_sign_of_zero() -> None:
    values = np.array([1e9, -np.inf, -0.0])
    for name, most in (("fp5_e2m2", 7.0), ("fp7_e3m3fn", 28.0), ("fp10_e5m4ieee", 63488.0)):
        decoded = get(name).decode(get(name).encode(values))
        assert decoded.tolist() == [most, -most, 0.0]
        assert np.signbit(decoded[2])
    assert not np.signbit(get("fp12_e4m7fnuz").decode(get("fp12_e4m7fnuz").encode(values))[2])
    ieee = get("fp10_e5m4ieee")
    assert ieee.decode(ieee.encode(values, overflow="inf"))[:2].tolist() == [np.inf, -np.inf]
    for name in ("fp7_e3m3fn", "fp10_e5m4ieee", "fp12_e4m7fnuz"):
        assert np.isnan(get(name).decode(get(name).encode(np.array([np.nan])))).all()


def test_fixed_point_has_its_step_and_its_range() -> None:
    values = np.array([0.3, -0.03125, 100.0, -100.0, np.inf, -np.inf, -0.0])
    decoded = get("fix8_4").decode(get("fix8_4").encode(values))
    assert decoded.tolist() == [0.3125, 0.0, 7.9375, -8.0, 7.9375, -8.0, 0.0]
    assert not np.signbit(decoded[-1])
    assert get("fix8_4").encode(np.array([-0.0625])).tolist() == [255]
    unsigned = get("ufix8_0")
    top = 255 / 256
    assert unsigned.decode(unsigned.encode(values)).tolist() == [0.30078125, 0, top, 0, top, 0, 0]
    assert get("fix4_6").decode(np.arange(16)).tolist() == [*range(0, 32, 4), *range(-32, 0, 4)]


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_bipolar_integers_are_odd(bits: int) -> None:
    form, most = get(f"bipolar{bits}"), (1 << bits) - 1
    assert form.decode(np.arange(1 << bits)).tolist() == list(range(-most, most + 1, 2))
    values = np.array([1e9, -np.inf, 0.0, -0.0, -0.25])
    assert form.decode(form.encode(values)).tolist() == [most, -most, 1, 1, -1]


def test_bipolar_integers_take_a_scale_and_make_no_zeros() -> None:
    encoded = get("bipolar2-channel-s32").encode(np.array([[6.0, 1.0, -3.0], [0, 0, 0]]))
    assert encoded.scales.tolist() == [[2.0], [1.0]]
    assert encoded.codes.tolist() == [[3, 2, 1], [2, 2, 2]]
    assert encoded.values().tolist() == [[6, 2, -2], [1, 1, 1]]


def test_ternary2_has_two_bits_of_twos_complement() -> None:
    form = get("ternary2")
    codes = form.encode(np.array([-1.0, -0.0, 1.0, -7.0, np.inf, 0.5, 0.6]))
    assert codes.tolist() == [3, 0, 1, 3, 1, 0, 1]
    assert codes.dtype == np.uint8
    packed = TERNARY_2BIT.pack(form.decode(codes).astype(np.int8))
    assert packed.tolist() == [3 | 1 << 4 | 3 << 6, 1 | 1 << 4]


@pytest.mark.parametrize(
    ("name", "bits", "sharing", "group"),
    [
        ("dfp8", 8, "tensor", None),
        ("dfp4-channel", 4, "channel", None),
        ("dfp16-g16", 16, "group", 16),
    ],
)
def test_dynamic_fixed_point_is_that_of_scaling(
    name: str, bits: int, sharing: Sharing, group: int | None
) -> None:
    encoded = get(name).encode(matrix(), "floor", seed=3)
    theirs = dynamic_fixed_point(matrix(), bits, sharing, group, rounding=Rounding.FLOOR)
    np.testing.assert_array_equal(encoded.codes, theirs.codes)
    np.testing.assert_array_equal(encoded.scales, theirs.scales)
    assert encoded.bits_per_value == theirs.bits_per_value
    assert (np.frexp(encoded.scales)[0] == 0.5).all()


def test_ant_takes_the_best_type_of_each_group() -> None:
    values = np.random.default_rng(2).standard_t(2, (40, 256)).astype(np.float32)
    values[:, :64] = np.random.default_rng(3).uniform(-1, 1, (40, 64))
    encoded = get("ant4-g64-s32").encode(values)
    expected = choose((INT4, FLINT4, POT4), values.reshape(40, 4, 64))
    np.testing.assert_array_equal(encoded.selectors, expected)
    assert set(np.unique(expected)) == {0, 1, 2}
    for row, group in np.ndindex(40, 4):
        part, book = slice(group * 64, group * 64 + 64), (INT4, FLINT4, POT4)[expected[row, group]]
        scale = np.float32(np.abs(values[row, part]).max() / np.float64(book.largest))
        assert encoded.scales[row, group] == scale
        np.testing.assert_array_equal(
            encoded.values()[row, part],
            book.table[encoded.codes[row, part]] * np.float64(scale),
        )


def test_block_floating_point_is_that_of_block() -> None:
    for mantissa, block in ((1, 1), (3, 16), (15, 7)):
        encoded = get(f"bfp{mantissa}_b{block}").encode(matrix(), "stochastic", seed=5)
        theirs = bfp(mantissa, block).encode(matrix(), Rounding.STOCHASTIC, 5)
        np.testing.assert_array_equal(encoded.codes, theirs.codes)
        np.testing.assert_array_equal(encoded.values(), theirs.values())
        assert encoded.bits_per_value == theirs.bits_per_value


@pytest.mark.parametrize("name", ["bfp3_b2", "nvfp4_t32"])
def test_a_block_with_nan_or_infinity_is_nan(name: str) -> None:
    values = np.zeros((1, 48), np.float32)
    values[0, [5, 20]] = np.nan, np.inf
    group = get(name).group or 0
    bad = np.flatnonzero(np.isnan(get(name).encode(values).values()))
    assert set(bad // group) == {5 // group, 20 // group}


@pytest.mark.parametrize(("name", "block"), [("nvfp4", NVFP4), ("nvint4", NVINT4)])
def test_t32_is_a_scale_of_the_tensor(name: str, block: BlockFormat) -> None:
    values = matrix() * 1e-6
    encoded = get(f"{name}_t32").encode(values)
    theirs = block.encode(values, tensor_scale=True)
    np.testing.assert_array_equal(encoded.codes, theirs.codes)
    np.testing.assert_array_equal(encoded.values(), theirs.values())
    assert encoded.bits_per_value == theirs.bits_per_value
    # Without it the scales of such values underflow.
    assert not np.allclose(get(name).encode(values).values(), encoded.values(), rtol=0.5)


def test_qserve_is_that_of_two_levels() -> None:
    for name, group in (("qserve", 128), ("qserve-g64", 64)):
        encoded, theirs = get(name).encode(matrix()), two_level_qserve(matrix(), group)
        np.testing.assert_array_equal(encoded.codes, theirs.codes)
        np.testing.assert_array_equal(encoded.zeros, theirs.zeros)
        np.testing.assert_array_equal(encoded.values(), theirs.values())
        assert encoded.bits_per_value == theirs.bits_per_value


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


@pytest.mark.parametrize(
    "name",
    [name for name in SCALED if name != "dfp16" and "tensor" not in name and "t32" not in name],
)
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


@pytest.mark.parametrize("name", [name for name in SCALED if get(name).kind != "bipolar"])
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
        ("ternary2", np.array([np.nan, 1]), {}, "ternary2 has no NaN: 1 of 2 values are NaN"),
        ("fp5_e2m2", np.array([np.nan, 1]), {}, "fp5_e2m2 has no NaN: 1 of 2 values are NaN"),
        ("fix8_4", np.array([np.nan, 1]), {}, "int8 has no NaN: 1 of 2 values are NaN"),
        ("bipolar2", np.array([np.nan, 1]), {}, "bipolar2 has no NaN: 1 of 2 values are NaN"),
        ("apot4", np.array([np.nan, 1]), {}, "apot4 has no NaN: 1 of 2 values are NaN"),
        (
            "dfp8",
            np.array([np.inf, 1]),
            {},
            "dynamic_fixed_point: 1 of 2 values are NaN or infinite",
        ),
        ("ant4", np.array([np.nan, 1]), {}, "ant4: 1 of 2 values are NaN or infinite"),
        (
            "bipolar2-g2",
            np.array([np.inf, 1]),
            {},
            "bipolar2-g2: 1 of 2 values are NaN or infinite",
        ),
        ("qserve", np.array([np.inf, 1]), {}, "qserve: 1 of 2 values are NaN or infinite"),
        (
            "qserve",
            ZEROS,
            {"rounding": "floor"},
            "qserve: its two levels round to nearest_even only, got floor",
        ),
        (
            "fix8_4",
            ZEROS,
            {"overflow": "inf"},
            "fix8_4: only plain floats overflow to inf; use overflow='saturate'",
        ),
        (
            "fp5_e2m2",
            ZEROS,
            {"overflow": "nan"},
            "fp5_e2m2 has no NaN to overflow to; use overflow='saturate'",
        ),
        ("fp32-channel", ZEROS, {}, "fp32-channel: no arithmetic with scales of fp32"),
        (
            "int1-g8",
            ZEROS,
            {},
            "int1-g8: no arithmetic with scales of int1, which holds 0 and -1; use bipolar1, "
            "or -asym",
        ),
        *(
            (
                name,
                ZEROS,
                {},
                f"{name}: no arithmetic with scales of int32; integers with scales have 16 bits "
                "at most",
            )
            for name in ("int32-g4", "int32-tensor-asym")
        ),
        ("uint4-g4-s8", ZEROS, {}, f"uint4-g4-s8: {NARROW}"),
        ("int4-channel-s8", ZEROS, {}, f"int4-channel-s8: {NARROW}"),
        (
            "int8",
            [[1.0, 2.0], [3.0]],
            {},
            "int8: values must be an array, got rows that do not fit",
        ),
        *(
            (
                name,
                ZEROS,
                {"rounding": "stochastic", "seed": seed},
                f"{name}: seed must be an integer, got {seed!r}",
            )
            for name in ("int8", "fp8_e4m3fn", "int8-tensor", "mxfp4", "nf4", "bitmod4")
            for seed in ("x", None, 1.5)
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    name: str, values: Any, options: dict[str, Any], message: str
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
        (get("ternary"), np.array([3]), "ternary: codes must be 0, 1 or 2"),
        (get("ternary"), np.array([-1]), "ternary: codes must be 0, 1 or 2"),
        (get("ternary2"), np.array([2]), "ternary2: codes must be 0, 1 or 3"),
        (get("pot3"), np.array([8]), "pot3: codes must be 0 to 7"),
        (get("fp5_e2m2"), np.array([32]), "fp5_e2m2: codes must be 0 to 31"),
        (get("bipolar2"), np.array([4]), "bipolar2: codes must be 0 to 3"),
        (get("fp32"), np.array([1 << 32]), "fp32: codes must be 0 to 4294967295"),
        (get("fp32"), np.array([-1]), "fp32: codes must be 0 to 4294967295"),
    ):
        with pytest.raises(InputError) as error:
            form.decode(given_codes)
        assert str(error.value) == message


def codes_of(name: str) -> Encoded:
    encoded = get(name).encode(matrix(2, 8))
    assert isinstance(encoded, Encoded)
    return encoded


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("int4-g4", {"codes": np.full((2, 8), 8)}, "int4-g4: codes must be -8 to 7"),
        ("int4-g4", {"codes": np.full((2, 8), -9)}, "int4-g4: codes must be -8 to 7"),
        ("int4-g4-asym", {"codes": np.full((2, 8), -1)}, "int4-g4-asym: codes must be 0 to 15"),
        ("int4-g4-asym", {"zeros": np.full((2, 2), 16)}, "int4-g4-asym: zeros must be 0 to 15"),
        ("uint4-g4", {"codes": np.full((2, 8), 16)}, "uint4-g4: codes must be 0 to 15"),
        ("ternary-g4", {"codes": np.full((2, 8), 2)}, "ternary-g4: codes must be -1 to 1"),
        ("nf4-g4", {"codes": np.full((2, 8), 16)}, "nf4-g4: codes must be 0 to 15"),
        ("mxfp4", {"codes": np.full((2, 8), -1)}, "mxfp4: codes must be 0 to 15"),
        ("bitmod4", {"codes": np.full((2, 8), 16)}, "bitmod4: codes must be 0 to 15"),
        ("bitmod4", {"selectors": np.full((2, 1), 4)}, "bitmod4: selectors must be 0 to 3"),
        ("ant4", {"selectors": np.full((2, 1), 3)}, "ant4: selectors must be 0 to 2"),
        (
            "int4-g4",
            {"codes": np.zeros((2, 13), np.int8)},
            "int4-g4: scales: expected shape (2, 4) for codes of shape (2, 13), got (2, 2)",
        ),
        (
            "int4-g4-asym",
            {"scales": np.ones((1, 2)), "zeros": np.zeros((2, 1), int)},
            "int4-g4-asym: scales: expected shape (2, 2) for codes of shape (2, 8), got (1, 2)\n"
            "int4-g4-asym: zeros: expected shape (2, 2) for codes of shape (2, 8), got (2, 1)",
        ),
        (
            "bitmod4",
            {"selectors": np.zeros((2, 2), np.uint8), "outer_scales": np.ones((2, 2))},
            "bitmod4: selectors: expected shape (2, 1) for codes of shape (2, 8), got (2, 2)\n"
            "bitmod4: outer_scales: expected shape (2, 1) or (1, 1), got (2, 2)",
        ),
        ("int4-g4", {"sizes": (4,)}, "int4-g4: codes of shape (2, 8) do not fit groups of (4,)"),
    ],
)
def test_codes_and_metadata_that_do_not_fit_are_refused(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        replace(codes_of(name), **changes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "name",
    ["int4-g3", "int4-g1-asym", "int8-tensor", "int8-channel-asym", "bitmod4-tensor", "qserve-g3",
     "mxfp4", "ternary-g100", "nvfp4_t32"],
)  # fmt: skip
def test_groups_of_their_own_have_the_same_values(name: str) -> None:
    encoded = codes_of(name)
    own = encoded.by_group()
    np.testing.assert_array_equal(own.values(), encoded.values())
    groups = -(-8 // encoded.sizes[1])
    assert own.scales.shape == (2, groups)
    assert own.sizes == (1, encoded.sizes[1])
    for metadata in (own.zeros, own.selectors):
        assert metadata is None or metadata.shape == (2, groups)
    assert own.outer_scales is None or own.outer_scales.shape == (2, 1)


@pytest.mark.parametrize("name", ["bitmod4", "bitmod4-tensor", "qserve", "nvfp4_t32"])
def test_groups_of_nothing_are_nothing(name: str) -> None:
    for shape in ((2, 0), (0, 8)):
        encoded = get(name).encode(np.zeros(shape))
        assert isinstance(encoded, Encoded)
        assert encoded.by_group().values().shape == shape


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["fp32", "fp16", "tf32"])
def test_infinity_overflows_as_told_whatever_it_came_in(name: str, kind: type) -> None:
    form, values = get(name), np.array([np.inf, -np.inf, 1.0, np.nan]).astype(kind)
    largest = {"fp32": 2.0**128 - 2.0**104, "fp16": 65504.0, "tf32": 2.0**128 - 2.0**117}[name]
    for overflow, size in (("saturate", largest), ("inf", np.inf), ("nan", np.nan)):
        found = form.decode(form.encode(values, overflow=overflow))
        np.testing.assert_array_equal(found, [size, -size, 1.0, np.nan])


@pytest.mark.parametrize("name", ["bf16", "tf32", "fp16", "fp32", "int8", "nf4"])
def test_a_single_value_is_an_array_without_axes(name: str) -> None:
    form = get(name)
    codes = form.encode(np.float32(1.0))
    assert np.shape(codes) == ()
    assert form.decode(codes) == 1.0
    assert form.decode(np.asarray(codes)).shape == ()


@pytest.mark.parametrize("name", ["olive_int4", "olive_flint4", "olive_int8"])
def test_no_pairs_and_small_codes_of_pairs_may_be_signed(name: str) -> None:
    assert get(name).decode(np.zeros(0, np.int8)).shape == (0,)
    np.testing.assert_array_equal(get(name).decode(np.array([1, 0], np.int8)), [1.0, 0.0])


@pytest.mark.parametrize("name", ["int4", "fp16", "fp32", "mxfp4", "int4-g4", "nf4-g4", "ternary"])
def test_foreign_bytes_are_values_too(name: str) -> None:
    form, values = get(name), matrix(2, 8)
    expected = form.decode(form.encode(values))
    np.testing.assert_array_equal(form.decode(form.encode(values.astype(">f4"))), expected)


@pytest.mark.parametrize("name", ["apot4-tensor", "ternary-g2", "ternary-tensor-s32", "bitmod4"])
def test_scales_beyond_their_format_are_refused_without_a_warning(name: str) -> None:
    with pytest.raises(InputError, match=r"a scale of .* is beyond FP"):
        get(name).encode(np.array([[1.7e308, -1.7e308, 1e300, 0.0]]))
