"""Minifloats: every code against outside oracles, every conversion against its specification."""

from fractions import Fraction
from typing import Any

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from simulator.formats.minifloat import (
    Minifloat,
    decode,
    encode,
    encode_by_table,
    grid,
    overflow_code,
    storage,
)
from simulator.formats.presets import PRESETS
from simulator.formats.rounding import (
    Overflow,
    Rounding,
    random_24,
    random_24_all,
    rounds_up,
    rounds_up_all,
)

Floats = NDArray[np.float32]

#: Beyond the presets: the edges of what can be, in bits, bias and special codes.
ODD = [
    Minifloat("e1m1", 1, 1, 1, "none"),
    Minifloat("e1m14", 1, 14, 127, "none"),
    Minifloat("e2m1_tiny", 2, 1, 127, "fn"),
    Minifloat("e3m2_huge", 3, 2, -120, "none"),
    Minifloat("e4m3", 4, 3, 7, "ieee"),
    Minifloat("e4m3b11fnuz", 4, 3, 11, "fnuz"),
    Minifloat("e8m1", 8, 1, 127, "ieee"),
    Minifloat("e8m4", 8, 4, 127, "ieee"),
    Minifloat("ue3m2", 3, 2, 3, "ieee", signed=False),
    Minifloat("ue4m12", 4, 12, 7, "none", signed=False),
]
FORMS = {form.name: form for form in (*PRESETS.values(), *ODD)}
#: The type of ml_dtypes that has the same codes, and what it does beyond the largest value.
SAME: dict[str, tuple[DTypeLike, Overflow]] = {
    "fp8_e4m3fn": (ml_dtypes.float8_e4m3fn, Overflow.NAN),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, Overflow.INF),
    "fp8_e3m4": (ml_dtypes.float8_e3m4, Overflow.INF),
    "fp8_e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, Overflow.NAN),
    "fp8_e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, Overflow.NAN),
    "e4m3": (ml_dtypes.float8_e4m3, Overflow.INF),
    "e4m3b11fnuz": (ml_dtypes.float8_e4m3b11fnuz, Overflow.NAN),
    "fp6_e3m2fn": (ml_dtypes.float6_e3m2fn, Overflow.SATURATE),
    "fp6_e2m3fn": (ml_dtypes.float6_e2m3fn, Overflow.SATURATE),
    "fp4_e2m1fn": (ml_dtypes.float4_e2m1fn, Overflow.SATURATE),
    "bf16": (ml_dtypes.bfloat16, Overflow.INF),
    "fp16": (np.float16, Overflow.INF),
}
GFLOAT = {
    "fp8_e4m3fn": gfloat.formats.format_info_ocp_e4m3,
    "fp8_e5m2": gfloat.formats.format_info_ocp_e5m2,
    "fp6_e3m2fn": gfloat.formats.format_info_ocp_e3m2,
    "fp6_e2m3fn": gfloat.formats.format_info_ocp_e2m3,
    "fp4_e2m1fn": gfloat.formats.format_info_ocp_e2m1,
    "e8m0": gfloat.formats.format_info_ocp_e8m0,
    "bf16": gfloat.formats.format_info_bfloat16,
    "fp16": gfloat.formats.format_info_binary16,
}
#: Every overflow that a format has a code for.
OVERFLOWS = [
    (name, overflow)
    for name, form in FORMS.items()
    for overflow in Overflow
    if overflow_code(form, overflow) is not None
]
WITH_ZERO = [name for name, form in FORMS.items() if form.has_zero]
FP8, FP4 = FORMS["fp8_e4m3fn"], FORMS["fp4_e2m1fn"]
NEAREST, SATURATE = Rounding.NEAREST_EVEN, Overflow.SATURATE


def all_codes(form: Minifloat) -> NDArray[np.unsignedinteger]:
    return np.arange(1 << form.bits).astype(storage(form.bits))


def floats_of_bits(bits: NDArray[np.integer[Any]]) -> Floats:
    return bits.astype(np.uint32).view(np.float32)


def same_bits(left: Floats, right: Floats) -> bool:
    """Whether arrays are equal in every bit but those of NaN."""
    both = np.isnan(left) & np.isnan(right)
    return bool((both | (left.view(np.uint32) == right.view(np.uint32))).all())


def around(values: NDArray[np.float64]) -> Floats:
    """Return magnitudes as float32 with both neighbours, with both signs."""
    with np.errstate(over="ignore", under="ignore"):
        middle = values.astype(np.float32)
        below = np.nextafter(middle, np.float32(0))
        above = np.nextafter(middle, np.float32(np.inf))
    size = np.concatenate([middle, below, above])
    return np.concatenate([size, -size])


def ties(form: Minifloat, most: int = 1 << 16) -> Floats:
    """Return codes and ties between them, each +-1 ulp: all, or `most` and those at the ends."""
    magnitudes = grid(form)
    if magnitudes.size > most:
        random = np.random.default_rng(form.bits)
        chosen = random.integers(0, magnitudes.size - 1, most)
        ends = [0, 1, 2, (1 << form.mantissa_bits) - 1, magnitudes.size - 3, magnitudes.size - 2]
        chosen = np.unique(np.concatenate([chosen, ends]))
    else:
        chosen = np.arange(magnitudes.size - 1)
    low, high = magnitudes[chosen], magnitudes[chosen + 1]
    steps = [low, (3 * low + high) / 4, (low + high) / 2, high]
    # Not beyond float32: the code after the largest can be 2^128.
    return around(np.minimum(np.concatenate(steps), float(np.finfo(np.float32).max)))


def edges() -> Floats:
    """Return zeros, infinities, subnormals and powers of two of float32, with neighbours."""
    powers = np.ldexp(1.0, np.arange(-149, 128))
    return np.concatenate([around(powers), np.array([0.0, -0.0, np.inf, -np.inf], np.float32)])


def bfloat16_points() -> Floats:
    """Return all 2^16 upper halves of float32 with six lower halves, without NaN: 391,680."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = floats_of_bits((upper[:, None] | lower).reshape(-1))
    finite = (values.view(np.uint32) & 0x7F800000) != 0x7F800000
    infinite = np.isinf(values)
    return np.concatenate([values[finite], values[infinite]])


def allowed(form: Minifloat, values: Floats) -> Floats:
    """Return the values that have a sign and a NaN in the format."""
    keep = np.ones(values.shape, bool) if form.signed else ~(values < 0)
    return values[keep & ~np.isnan(values)] if form.nan is None else values[keep]


def theirs(name: str, values: Floats) -> NDArray[np.unsignedinteger]:
    """Return the codes of ml_dtypes or NumPy, which round to nearest even."""
    dtype, _ = SAME[name]
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype).view(storage(FORMS[name].bits))


# Decoding


@pytest.mark.parametrize("name", SAME)
def test_every_code_decodes_as_in_ml_dtypes_and_numpy(name: str) -> None:
    form = FORMS[name]
    codes = all_codes(form)
    assert same_bits(decode(form, codes), codes.view(SAME[name][0]).astype(np.float32))


@pytest.mark.parametrize("name", GFLOAT)
def test_every_code_decodes_as_in_gfloat(name: str) -> None:
    codes = all_codes(FORMS[name])
    expected = gfloat.decode_ndarray(GFLOAT[name], codes.astype(np.int64)).astype(np.float32)
    assert same_bits(decode(FORMS[name], codes), expected)


def test_every_code_of_e8m0_decodes_as_in_ml_dtypes() -> None:
    codes = all_codes(FORMS["e8m0"])
    expected = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    assert same_bits(decode(FORMS["e8m0"], codes), expected)


def test_the_codes_of_formats_without_an_oracle() -> None:
    fp3 = decode(FORMS["fp3_e2m0"], np.arange(8, dtype=np.uint8))
    assert fp3.tolist() == [0, 1, 2, 4, 0, -1, -2, -4]
    assert np.signbit(fp3).tolist() == [False] * 4 + [True] * 4
    e1m1 = decode(FORMS["e1m1"], np.arange(8, dtype=np.uint8))
    assert e1m1.tolist() == [0, 0.5, 1, 1.5, 0, -0.5, -1, -1.5]
    ue3m2 = decode(FORMS["ue3m2"], np.arange(32, dtype=np.uint8))
    assert ue3m2[:9].tolist() == [0, 1 / 16, 2 / 16, 3 / 16, 4 / 16, 5 / 16, 6 / 16, 7 / 16, 0.5]
    assert ue3m2[27:29].tolist() == [14.0, np.inf]
    assert np.isnan(ue3m2[29:]).all()


def test_ue4m3_is_the_positive_half_of_e4m3fn() -> None:
    half = np.arange(128, dtype=np.uint8)
    assert same_bits(decode(FORMS["ue4m3"], half), decode(FP8, half))


def test_ue5m3_decodes_by_its_formula() -> None:
    codes = np.arange(255)
    field, mantissa = codes >> 3, codes & 7
    normal = np.ldexp(1 + mantissa / 8, field - 15)
    expected = np.where(field == 0, np.ldexp(mantissa / 8, -14), normal).astype(np.float32)
    assert same_bits(decode(FORMS["ue5m3"], codes), expected)
    assert expected[-1] == 114688
    assert np.isnan(decode(FORMS["ue5m3"], np.array([255])))


@pytest.mark.parametrize(
    ("name", "largest", "smallest_normal", "smallest"),
    [
        ("fp8_e4m3fn", 448, 2**-6, 2**-9),
        ("fp8_e5m2", 57344, 2**-14, 2**-16),
        ("fp8_e3m4", 15.5, 2**-2, 2**-6),
        ("fp8_e4m3fnuz", 240, 2**-7, 2**-10),
        ("fp8_e5m2fnuz", 57344, 2**-15, 2**-17),
        ("fp6_e3m2fn", 28, 2**-2, 2**-4),
        ("fp6_e2m3fn", 7.5, 1, 2**-3),
        ("fp4_e2m1fn", 6, 1, 0.5),
        ("bf16", 255 * 2.0**120, 2**-126, 2**-133),
        ("fp16", 65504, 2**-14, 2**-24),
        ("ue4m3", 448, 2**-6, 2**-9),
        ("ue5m3", 114688, 2**-14, 2**-17),
    ],
)
def test_the_ranges_that_the_standards_state(
    name: str, largest: float, smallest_normal: float, smallest: float
) -> None:
    form = FORMS[name]
    normal = 1 << form.mantissa_bits
    assert form.decode_one(form.largest) == largest
    assert form.decode_one(normal) == smallest_normal
    assert form.decode_one(1) == smallest


@pytest.mark.parametrize("name", FORMS)
def test_scalar_and_array_decode_alike(name: str) -> None:
    form = FORMS[name]
    codes = np.unique(np.linspace(0, (1 << form.bits) - 1, 257).astype(np.int64))
    expected = np.array([form.decode_one(int(code)) for code in codes], np.float32)
    assert same_bits(decode(form, codes), expected)


# Encoding: round trips and oracles


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("name", FORMS)
def test_every_code_round_trips_under_every_rounding(name: str, rounding: Rounding) -> None:
    form = FORMS[name]
    codes = all_codes(form)
    values = decode(form, codes)
    expected = np.where(np.isnan(values), form.nan or 0, codes)
    overflow = SATURATE if form.infinity is None else Overflow.INF
    got = encode(form, values, rounding, overflow, seed=5)
    assert got.dtype == storage(form.bits)
    assert np.array_equal(got, expected)
    assert np.array_equal(encode(form, values.astype(np.float64), rounding, overflow), expected)


@pytest.mark.parametrize("name", SAME)
def test_nearest_even_is_ml_dtypes_on_every_tie(name: str) -> None:
    form = FORMS[name]
    values = np.concatenate([ties(form), edges()])
    assert np.array_equal(encode(form, values, NEAREST, SAME[name][1]), theirs(name, values))


@pytest.mark.parametrize("name", SAME)
def test_nearest_even_is_ml_dtypes_on_all_bfloat16_patterns(name: str) -> None:
    values = bfloat16_points()
    assert np.array_equal(encode(FORMS[name], values, NEAREST, SAME[name][1]), theirs(name, values))


@pytest.mark.parametrize("name", SAME)
def test_nearest_even_is_ml_dtypes_on_random_bits(name: str) -> None:
    bits = np.random.default_rng(2).integers(0, 1 << 32, 1 << 22, dtype=np.uint32)
    values = floats_of_bits(bits)
    values = values[~np.isnan(values)]
    assert np.array_equal(encode(FORMS[name], values, NEAREST, SAME[name][1]), theirs(name, values))


def test_there_are_as_many_bfloat16_points_as_stated() -> None:
    assert np.isfinite(bfloat16_points()).sum() == 391_680


@pytest.mark.parametrize("name", [n for n in SAME if FORMS[n].nan is not None])
def test_every_nan_becomes_the_one_of_the_format(name: str) -> None:
    form = FORMS[name]
    nans = floats_of_bits(np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF], np.uint32))
    expected = np.array([np.nan], SAME[name][0]).view(storage(form.bits))[0]
    assert form.nan == expected
    assert encode(form, nans, NEAREST, SATURATE).tolist() == [expected] * 4
    with np.errstate(invalid="ignore"):
        wide = nans.astype(np.float64)
    assert encode(form, wide, NEAREST, SATURATE).tolist() == [expected] * 4
    assert encode_by_table(form, nans, NEAREST, SATURATE).tolist() == [expected] * 4


def test_e8m0_rounds_between_powers_of_two() -> None:
    form = FORMS["e8m0"]
    values = np.array([1, 1.49, 1.5, 1.51, 2, 3, 2.0**-149, 0, -0.0, 2.0**127], np.float32)
    codes = encode(form, values, NEAREST, SATURATE)
    # 1.5 is a tie of 127 and 128, 3 of 128 and 129: to the even code. 0 becomes the smallest.
    assert codes.tolist() == [127, 127, 128, 128, 128, 128, 0, 0, 0, 254]
    infinite = np.array([np.inf], np.float32)
    assert encode(form, infinite, NEAREST, SATURATE).tolist() == [254]
    assert encode(form, infinite, NEAREST, Overflow.NAN).tolist() == [255]


def test_e8m0_rounding_half_away_is_that_of_ml_dtypes() -> None:
    bits = np.random.default_rng(8).integers(0x00800000, 0x7F800000, 1 << 16).astype(np.uint32)
    # Float32 subnormals are left out: ml_dtypes takes 1.19 * 2^-127 to 2^-126.
    size = grid(FORMS["e8m0"])[1:-2]
    values = np.concatenate([floats_of_bits(bits), (size * 1.5).astype(np.float32)])
    expected = values.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8)
    codes = encode(FORMS["e8m0"], values, Rounding.HALF_AWAY, Overflow.NAN)
    assert np.array_equal(codes, expected)


# Encoding: the kernel, the table and the specification


@pytest.mark.parametrize(("name", "overflow"), OVERFLOWS)
def test_kernel_table_and_specification_agree(name: str, overflow: Overflow) -> None:
    form = FORMS[name]
    values = allowed(form, np.concatenate([ties(form, most=40), edges()[::5], [np.float32("nan")]]))
    for rounding in Rounding:
        kernel = encode(form, values, rounding, overflow, seed=11)
        table = encode_by_table(form, values, rounding, overflow, seed=11)
        assert np.array_equal(kernel, table)
        scalar = [
            form.encode_one(value, rounding, overflow, random_24(11, index))
            for index, value in enumerate(values.tolist())
        ]
        assert kernel.tolist() == scalar


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("name", WITH_ZERO)
def test_kernel_is_the_table_on_all_ties_and_random_bits(name: str, rounding: Rounding) -> None:
    form = FORMS[name]
    bits = np.random.default_rng(3).integers(0, 1 << 32, 1 << 15, dtype=np.uint32)
    values = np.concatenate([ties(form, most=1 << 11), edges(), floats_of_bits(bits)])
    values = allowed(form, values)
    for overflow in [overflow for known, overflow in OVERFLOWS if known == name]:
        kernel = encode(form, values, rounding, overflow, seed=-3)
        table = encode_by_table(form, values, rounding, overflow, seed=-3)
        assert np.array_equal(kernel, table)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("name", ["fp8_e5m2", "fp4_e2m1fn", "e3m2_huge", "e1m14", "ue5m3", "e8m0"])
def test_float64_is_rounded_once(name: str, rounding: Rounding) -> None:
    form = FORMS[name]
    magnitudes = grid(form)[:40]
    middle = (magnitudes[:-1] + magnitudes[1:]) / 2
    near = [middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)]
    size = np.concatenate([*near, [5e-324, 1e-300, 1e308, np.inf]])
    values = np.concatenate([size, -size]) if form.signed else size
    got = encode(form, values, rounding, SATURATE, seed=7)
    expected = [
        form.encode_one(value, rounding, SATURATE, random_24(7, index))
        for index, value in enumerate(values.tolist())
    ]
    assert got.tolist() == expected


@pytest.mark.parametrize("rounding", Rounding)
def test_scalar_and_array_roundings_agree(rounding: Rounding) -> None:
    cases = [
        (Fraction(numerator, 64), odd, negative)
        for numerator in range(64)
        for odd in (False, True)
        for negative in (False, True)
    ]
    position, odd, negative = (np.array(column) for column in zip(*cases, strict=True))
    got = rounds_up_all(position.astype(np.float64), odd, negative, rounding, seed=9)
    expected = [
        rounds_up(where, odd=o, negative=n, rounding=rounding, random=random_24(9, index))
        for index, (where, o, n) in enumerate(cases)
    ]
    assert got.tolist() == expected


# Special values


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.NEAREST_EVEN, [0, 1, 1, 2, -0.0, -1, -1, -2]),
        (Rounding.HALF_AWAY, [0.5, 1, 1, 2, -0.5, -1, -1, -2]),
        (Rounding.HALF_UP, [0.5, 1, 1, 2, -0.0, -0.5, -1, -1.5]),
        (Rounding.TOWARD_ZERO, [0, 0.5, 1, 1.5, -0.0, -0.5, -1, -1.5]),
        (Rounding.FLOOR, [0, 0.5, 1, 1.5, -0.5, -1, -1.5, -2]),
    ],
)
def test_each_rounding_of_fp4(rounding: Rounding, expected: list[float]) -> None:
    size = np.array([0.25, 0.75, 1.2, 1.75], np.float32)
    values = decode(FP4, encode(FP4, np.concatenate([size, -size]), rounding, SATURATE))
    assert same_bits(values, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "overflow", "value", "code"),
    [
        # 464 is the tie between 448 and 480, which E4M3FN lacks; 448 is even.
        ("fp8_e4m3fn", Overflow.NAN, 464.0, 0x7E),
        ("fp8_e4m3fn", Overflow.NAN, np.nextafter(464.0, 500), 0x7F),
        ("fp8_e4m3fn", Overflow.NAN, -500.0, 0xFF),
        ("fp8_e4m3fn", Overflow.SATURATE, -np.inf, 0xFE),
        ("fp8_e5m2", Overflow.INF, 61440.0, 0x7C),
        ("fp8_e5m2", Overflow.INF, np.nextafter(61440.0, 0), 0x7B),
        ("fp8_e5m2", Overflow.SATURATE, np.inf, 0x7B),
        ("fp8_e5m2", Overflow.NAN, -np.inf, 0xFE),
        ("fp8_e4m3fnuz", Overflow.NAN, -1000.0, 0x80),
        ("fp8_e4m3fnuz", Overflow.NAN, 1000.0, 0x80),
        ("fp8_e4m3fnuz", Overflow.SATURATE, -1000.0, 0xFF),
        ("fp8_e4m3fnuz", Overflow.SATURATE, -0.0, 0),
        ("fp8_e4m3fnuz", Overflow.SATURATE, -1e-30, 0),
        ("fp8_e4m3fn", Overflow.SATURATE, -0.0, 0x80),
        ("fp8_e4m3fn", Overflow.SATURATE, -1e-30, 0x80),
        ("fp4_e2m1fn", Overflow.SATURATE, 1e30, 7),
        ("fp4_e2m1fn", Overflow.SATURATE, -6.5, 15),
        ("bf16", Overflow.INF, float(np.finfo(np.float32).max), 0x7F80),
        ("bf16", Overflow.SATURATE, float(np.finfo(np.float32).max), 0x7F7F),
        ("bf16", Overflow.INF, -np.inf, 0xFF80),
        ("bf16", Overflow.INF, 2.0**-149, 0),
        ("bf16", Overflow.INF, 2.0**-133, 1),
        ("fp16", Overflow.INF, 65519.0, 0x7BFF),
        ("fp16", Overflow.INF, 65520.0, 0x7C00),
        ("ue4m3", Overflow.SATURATE, -0.0, 0),
        ("ue5m3", Overflow.NAN, np.inf, 255),
    ],
)
def test_overflow_zeros_and_infinity(
    name: str, overflow: Overflow, value: float, code: int
) -> None:
    form = FORMS[name]
    narrow = float(np.float32(value))
    assert form.encode_one(value, NEAREST, overflow) == code
    assert encode(form, np.array([value], np.float64), NEAREST, overflow).tolist() == [code]
    expected = form.encode_one(narrow, NEAREST, overflow)
    assert encode(form, np.array([value], np.float32), NEAREST, overflow).tolist() == [expected]


# Arrays of any shape


@pytest.mark.parametrize("rounding", Rounding)
def test_views_and_shapes_encode_as_their_copies(rounding: Rounding) -> None:
    whole = np.random.default_rng(4).standard_normal((6, 10, 4)).astype(np.float32)
    frozen = whole.copy()
    frozen.flags.writeable = False
    swapped = whole.astype(">f4")
    views = [whole[::2], whole[:, ::-1], whole.T, np.asfortranarray(whole), frozen, swapped]
    views += [np.broadcast_to(whole[0, 0], (3, 4)), whole[:0], whole[:, :0], whole[0, 0, 0:1]]
    views += [np.array(1.3, np.float32)]
    for view in views:
        flat = np.array(view, np.float32).reshape(-1)
        expected = encode_by_table(FP8, flat, rounding, SATURATE, seed=2).reshape(view.shape)
        got = encode(FP8, view, rounding, SATURATE, seed=2)
        assert got.shape == view.shape
        assert got.dtype == np.uint8
        assert np.array_equal(got, expected)


def test_encoding_leaves_its_input_and_takes_float16() -> None:
    values = np.random.default_rng(5).standard_normal(1000).astype(np.float16)
    wide = values.astype(np.float32)
    before = wide.copy()
    codes = encode(FP8, wide, NEAREST, SATURATE)
    assert np.array_equal(wide, before)
    assert np.array_equal(encode(FP8, values, NEAREST, SATURATE), codes)


def test_decoding_keeps_the_shape() -> None:
    codes = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    assert decode(FP8, codes).shape == (2, 3, 4)
    assert decode(FP8, codes[:, :0]).shape == (2, 0, 4)
    assert decode(FP8, codes.T).tolist() == decode(FP8, codes).T.tolist()


# Stochastic rounding


def test_random_numbers_are_those_of_the_index() -> None:
    for seed in (0, 1, -1, 1 << 40):
        expected = [random_24(seed, index) for index in range(1000)]
        assert random_24_all(seed, 1000).tolist() == expected
    assert random_24(3, 1 << 32) == random_24(3, 0)
    # Recorded: a seed keeps its meaning from one version to the next.
    assert [random_24(0, index) for index in range(4)] == [0, 0x6D3FA, 0xDA7F4, 0xD6FDE]
    assert random_24(-7, 123456) == 0xAA3515


@pytest.mark.parametrize(("draw", "up"), [((1 << 23) - 1, True), (1 << 23, False)])
def test_a_half_goes_up_for_half_of_all_random_numbers(draw: int, up: bool) -> None:
    rounded = rounds_up(
        Fraction(1, 2), odd=False, negative=False, rounding=Rounding.STOCHASTIC, random=draw
    )
    assert rounded is up


@pytest.mark.parametrize("name", ["fp8_e4m3fn", "fp4_e2m1fn", "fp16", "fp8_e4m3fnuz"])
@pytest.mark.parametrize("part", [2**-12, 0.25, 1 / 3, 0.5, 0.9])
def test_stochastic_rounding_goes_up_as_often_as_it_should(name: str, part: float) -> None:
    form, count = FORMS[name], 1 << 18
    for low in (0, 1, form.largest - 1):
        below, above = form.decode_one(low), form.decode_one(low + 1)
        value = np.float32(below + part * (above - below))
        position = (float(value) - below) / (above - below)
        for seed, sign in ((1, 1), (2, -1)):
            values = np.full(count, sign * value, np.float32)
            codes = encode(form, values, Rounding.STOCHASTIC, SATURATE, seed) & ~np.uint16(
                form.sign_code
            )
            assert set(codes.tolist()) == {low, low + 1}
            # Five standard deviations of the mean of independent draws.
            bound = 5 * (position * (1 - position) / count) ** 0.5
            assert abs(float((codes == low + 1).mean()) - position) <= bound


@pytest.mark.parametrize("value", [2.0**-149, 2.0**-60, 2.0**-34, 1.5 * 2.0**-33])
def test_what_is_far_below_a_step_goes_up_for_the_least_random_number_alone(value: float) -> None:
    # Element 0 of seed 0 draws 0: below any probability that is not 0. Element 1 draws more.
    assert random_24(0, 0) == 0 < random_24(0, 1)
    values = np.array([value, value], np.float32)
    for form in (FP8, FP4):
        codes = encode(form, values, Rounding.STOCHASTIC, SATURATE, seed=0)
        assert codes.tolist() == [1, 0]
        assert form.encode_one(value, Rounding.STOCHASTIC, SATURATE, 0) == 1


def test_the_mean_of_stochastic_rounding_is_the_value() -> None:
    values = np.random.default_rng(6).uniform(-6, 6, 1 << 18).astype(np.float32)
    decoded = decode(FP4, encode(FP4, values, Rounding.STOCHASTIC, SATURATE, seed=3))
    # An error is at most a step of 2, so its standard deviation is at most 1; five of the mean's.
    assert abs(float((decoded.astype(np.float64) - values).mean())) <= 5 / 512


def test_stochastic_codes_depend_on_seed_and_index_alone() -> None:
    values = np.random.default_rng(7).standard_normal(10_000).astype(np.float32)
    whole = encode(FP4, values, Rounding.STOCHASTIC, SATURATE, seed=8)
    assert np.array_equal(encode(FP4, values[:77], Rounding.STOCHASTIC, SATURATE, 8), whole[:77])
    square = values.reshape(100, 100)
    assert np.array_equal(
        encode(FP4, square, Rounding.STOCHASTIC, SATURATE, 8), whole.reshape(100, 100)
    )
    one_by_one = [
        FP4.encode_one(value, Rounding.STOCHASTIC, SATURATE, random_24(8, index))
        for index, value in enumerate(values[:1000].tolist())
    ]
    assert whole[:1000].tolist() == one_by_one
    assert not np.array_equal(encode(FP4, values, Rounding.STOCHASTIC, SATURATE, 9), whole)


# Laws


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE, st.sampled_from(list(FORMS)), st.sampled_from(list(Rounding)))
def test_conversion_is_monotone(a: float, b: float, name: str, rounding: Rounding) -> None:
    form = FORMS[name]
    low, high = sorted((a, b) if form.signed else (abs(a), abs(b)))
    # Arrays of one element, so that both draw the same random number.
    small, large = (
        decode(form, encode(form, np.array([value], np.float32), rounding, SATURATE, seed=4))
        for value in (low, high)
    )
    assert small[0] <= large[0]


@given(FINITE, st.sampled_from(list(FORMS)))
def test_nearest_even_finds_the_nearest_value(value: float, name: str) -> None:
    form = FORMS[name]
    value = value if form.signed else abs(value)
    code = int(encode(form, np.array([value], np.float32), NEAREST, SATURATE)[0])
    finite = grid(form)[:-1]
    size = abs(value)
    distance = np.abs(finite - size)
    assert abs(abs(form.decode_one(code)) - size) == distance.min()
    if size < finite[-1] and (distance == distance.min()).sum() == 2:
        assert code % 2 == 0


@given(FINITE, st.sampled_from(list(FORMS)), st.sampled_from(list(Rounding)))
def test_signs_mirror_but_for_roundings_that_look_at_them(
    value: float, name: str, rounding: Rounding
) -> None:
    form = FORMS[name]
    if not form.signed or rounding in (Rounding.FLOOR, Rounding.HALF_UP):
        value, mirrored = abs(value), abs(value)
    else:
        mirrored = -value
    codes = [
        int(encode(form, np.array([v], np.float32), rounding, SATURATE)[0])
        for v in (value, mirrored)
    ]
    values = [form.decode_one(code) for code in codes]
    assert values[0] == (values[1] if mirrored == value else -values[1])
