"""Integers, fixed point, ternary and their scales: arrays equal the specification."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulator.errors import InputError
from simulator.formats.groups import group_sizes
from simulator.formats.integer import FixedPoint, Integer, round_all, round_one
from simulator.formats.rounding import Overflow, Rounding, random_24
from simulator.formats.scaling import (
    absmean,
    dynamic_fixed_point,
    dynamic_fixed_point_one,
    rtn,
    rtn_one,
)
from simulator.formats.ternary import TERNARY_2BIT, TERNARY_5_IN_8, TernaryPacking
from simulator.formats.two_level import (
    QSERVE_CLIP,
    qserve,
    qserve_second_level,
    qserve_second_level_one,
    vs_quant,
    vs_quant_one,
)

EVEN = Rounding.NEAREST_EVEN
INTEGERS = [
    *[Integer(bits, signed) for bits in (*range(1, 17), 32) for signed in (True, False)],
    *[Integer(bits, bipolar=True) for bits in range(1, 17)],
    *[Integer(bits, narrow=True) for bits in (2, 4, 8)],
]
FLOAT32 = st.floats(-1e4, 1e4, width=32)
VECTORS = arrays.arrays(np.float32, st.integers(1, 40), elements=FLOAT32)


def name_of(form: Integer) -> str:
    return form.name + ("_narrow" if form.narrow else "")


def normal(shape: tuple[int, ...], seed: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("form", INTEGERS, ids=name_of)
def test_every_code_decodes_and_comes_back(form: Integer) -> None:
    codes = np.arange(min(1 << form.bits, 1 << 16), dtype=np.uint32)
    values = form.decode(codes)
    assert values[::97].tolist() == [form.decode_one(int(code)) for code in codes[::97]]
    kept = values >= form.lowest
    back = form.encode(values[kept].astype(np.float64), EVEN)
    assert (back == codes[kept]).all()


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (Integer(1), [0, -1]),
        (Integer(2), [0, 1, -2, -1]),
        (Integer(2, signed=False), [0, 1, 2, 3]),
        (Integer(1, bipolar=True), [-1, 1]),
        (Integer(3, bipolar=True), [-7, -5, -3, -1, 1, 3, 5, 7]),
    ],
    ids=lambda given: given.name if isinstance(given, Integer) else "",
)
def test_the_values_of_codes_in_order(form: Integer, values: list[int]) -> None:
    assert [form.decode_one(code) for code in range(1 << form.bits)] == values


def test_every_bit_of_a_bipolar_integer_counts_plus_or_minus_its_weight() -> None:
    form = Integer(6, bipolar=True)
    for code in range(64):
        assert form.decode_one(code) == sum((2 * (code >> i & 1) - 1) << i for i in range(6))


def test_integers_of_ml_dtypes_have_the_same_codes() -> None:
    for form, other in ((Integer(4), ml_dtypes.int4), (Integer(2), ml_dtypes.int2)):
        codes = form.encode(np.arange(form.lowest, form.highest + 1).astype(np.float32), EVEN)
        assert form.decode(codes).astype(other).astype(int).tolist() == form.decode(codes).tolist()


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize(
    "form",
    [Integer(4), Integer(4, signed=False), Integer(3, bipolar=True), Integer(4, narrow=True)],
    ids=name_of,
)
def test_arrays_encode_as_the_specification(form: Integer, rounding: Rounding) -> None:
    values = np.concatenate([np.arange(-20, 20, 0.125), [-0.0, 1e300, -np.inf, np.inf, 5e-324]])
    expected = [
        form.encode_one(value, rounding, random=random_24(7, i)) for i, value in enumerate(values)
    ]
    assert form.encode(values, rounding, seed=7).tolist() == expected


@pytest.mark.parametrize("rounding", Rounding)
def test_arrays_round_as_the_specification(rounding: Rounding) -> None:
    values = np.concatenate([np.arange(-6, 6, 0.125), [0.49999999999999994, 2.0**60, -1e-300]])
    expected = [round_one(value, rounding, random_24(2, i)) for i, value in enumerate(values)]
    assert round_all(values, rounding, seed=2).tolist() == expected


@pytest.mark.parametrize(
    ("rounding", "whole"),
    [
        (Rounding.NEAREST_EVEN, [-2, -2, 0, 0, 2, 2]),
        (Rounding.HALF_AWAY, [-3, -2, -1, 1, 2, 3]),
        (Rounding.HALF_UP, [-2, -1, 0, 1, 2, 3]),
        (Rounding.TOWARD_ZERO, [-2, -1, 0, 0, 1, 2]),
        (Rounding.FLOOR, [-3, -2, -1, 0, 1, 2]),
    ],
)
def test_ties_by_rounding(rounding: Rounding, whole: list[int]) -> None:
    assert [round_one(tie, rounding) for tie in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)] == whole


def test_a_bipolar_integer_has_no_zero_and_rounds_to_odd() -> None:
    form = Integer(3, bipolar=True)
    values = np.array([-9.0, -2.0, -0.25, 0.0, 0.25, 2.0, 4.5])
    assert form.decode(form.encode(values, EVEN)).tolist() == [-7, -1, -1, 1, 1, 1, 5]
    assert form.decode(form.encode(values, Rounding.FLOOR)).tolist() == [-7, -3, -1, -1, -1, 1, 3]
    toward = form.decode(form.encode(values, Rounding.TOWARD_ZERO))
    assert toward.tolist() == [-7, -1, -1, 1, 1, 1, 3]


@pytest.mark.parametrize("form", [FixedPoint(8, 2), FixedPoint(6, -1), FixedPoint(5, 9, False)])
def test_fixed_point_counts_steps(form: FixedPoint) -> None:
    codes = np.arange(1 << form.bits)
    step = Fraction(2) ** (form.integer_bits - form.width)
    values = form.decode(codes)
    assert values.tolist() == [float(form.integer.decode_one(code) * step) for code in codes]
    assert values.tolist() == [form.decode_one(int(code)) for code in codes]
    assert form.encode(values, EVEN).tolist() == codes.tolist()
    between = values + float(step) * 0.375
    assert form.encode(between, EVEN).tolist() == [form.encode_one(v, EVEN) for v in between]


def test_fixed_point_names_and_range() -> None:
    form = FixedPoint(8, 2)
    assert (form.name, form.highest, form.decode_one(0x80)) == ("fixed<8,2>", 127 / 64, -2.0)
    assert FixedPoint(8, 8, signed=False).highest == 255.0
    assert form.decode(form.encode(np.array([1e308, -np.inf]), EVEN)).tolist() == [127 / 64, -2.0]


@pytest.mark.parametrize("packing", [TERNARY_2BIT, TERNARY_5_IN_8], ids=lambda p: p.name)
def test_every_byte_of_ternary_values_comes_back(packing: TernaryPacking) -> None:
    count = 3**packing.per_byte
    digits = np.array([[i // 3**k % 3 - 1 for k in range(packing.per_byte)] for i in range(count)])
    packed = packing.pack(digits.astype(np.int8))
    assert packed[:, 0].tolist() == [packing.pack_one(row.tolist()) for row in digits]
    assert len(set(packed[:, 0].tolist())) == count
    assert (packing.unpack(packed, packing.per_byte) == digits).all()
    assert [packing.unpack_one(int(byte)) for byte in packed[:, 0]] == digits.tolist()


def test_ternary_bits_and_patterns() -> None:
    assert (TERNARY_2BIT.bits, TERNARY_5_IN_8.bits) == (2, Fraction(8, 5))
    values = np.array([1, -1, 0, 1, -1, 1], dtype=np.int8)
    assert TERNARY_2BIT.pack(values).tolist() == [0b01001101, 0b00000111]
    assert TERNARY_5_IN_8.pack(values).tolist() == [2 + 9 + 2 * 27, 2 + 3 + 9 + 27 + 81]


@given(arrays.arrays(np.int8, arrays.array_shapes(max_dims=3), elements=st.integers(-1, 1)))
def test_ternary_arrays_come_back(values: np.ndarray[Any, np.dtype[np.int8]]) -> None:
    for packing in (TERNARY_2BIT, TERNARY_5_IN_8):
        packed = packing.pack(values)
        assert packed.shape[-1] == -(-values.shape[-1] // packing.per_byte)
        assert (packing.unpack(packed, values.shape[-1]) == values).all()


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("scale_bits", [16, 32])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_groups_are_quantised_as_the_specification(
    bits: int, asymmetric: bool, scale_bits: int, rounding: Rounding
) -> None:
    values = normal((3, 21)) * np.float32(10) ** np.array([[-9], [0], [3]], np.float32)
    values[1, :8] = 0
    scaled = rtn(
        values, bits, "group", 8, asymmetric=asymmetric, rounding=rounding,
        scale_bits=scale_bits, seed=5,
    )  # fmt: skip
    for row in range(3):
        for group, start in enumerate(range(0, 21, 8)):
            one = values[row, start : start + 8]
            randoms = [random_24(5, row * 21 + start + i) for i in range(one.size)]
            codes, scale, zero = rtn_one(
                one.tolist(), bits, asymmetric=asymmetric, rounding=rounding,
                scale_bits=scale_bits, randoms=randoms,
            )  # fmt: skip
            assert scaled.codes[row, start : start + 8].tolist() == codes
            assert float(scaled.scales[row, group]) == scale
            assert (0 if scaled.zeros is None else scaled.zeros[row, group]) == zero


def test_symmetric_scale_and_codes_by_hand() -> None:
    scaled = rtn(np.array([[7.0, -3.5, 0.5, -7.0], [0, 0, 0, 0]], np.float32), 4)
    assert scaled.codes.tolist() == [[7, -4, 0, -7], [0, 0, 0, 0]]
    assert scaled.scales.tolist() == [[1.0], [1.0]]
    assert scaled.values().tolist() == [[7.0, -4.0, 0.0, -7.0], [0.0] * 4]
    assert (scaled.codes.dtype, scaled.scales.dtype) == (np.int8, np.float16)


def test_asymmetric_range_holds_zero_so_that_the_zero_point_is_a_code() -> None:
    scaled = rtn(np.array([[-1.0, 2.0, 0.5], [30.0, 15.0, 20.0]], np.float32), 4, asymmetric=True)
    assert scaled.scales.tolist() == [[float(np.float16(0.2))], [2.0]]
    assert scaled.zeros is not None
    assert scaled.zeros.tolist() == [[5], [0]]
    assert scaled.codes.tolist() == [[0, 15, 8], [15, 8, 10]]


@pytest.mark.parametrize(
    ("sharing", "group", "shape"),
    [
        ("tensor", None, (1, 1, 1)),
        ("channel", None, (2, 5, 1)),
        ("token", None, (2, 5, 1)),
        ("group", 4, (2, 5, 3)),
        ("group", 100, (2, 5, 1)),
        ("block", (2, 4), (2, 3, 3)),
        ("block", (128, 128), (2, 1, 1)),
    ],
)
def test_every_group_has_the_scale_of_its_own_maximum(
    sharing: Any, group: Any, shape: tuple[int, ...]
) -> None:
    values = normal((2, 5, 11))
    scaled = rtn(values, 8, sharing, group, scale_bits=32)
    assert scaled.scales.shape == shape
    sizes = scaled.sizes
    for where in np.ndindex(*shape):
        part = tuple(slice(i * size, (i + 1) * size) for i, size in zip(where, sizes, strict=True))
        one = rtn(values[part], 8, "tensor", scale_bits=32)
        assert scaled.scales[where] == one.scales.item()
        assert (scaled.codes[part] == one.codes).all()
        assert (scaled.values()[part] == one.values()).all()


@pytest.mark.parametrize(
    ("keywords", "bits"),
    [
        ({"sharing": "group", "group": 128}, 4 + Fraction(16, 128)),
        ({"sharing": "group", "group": 128, "asymmetric": True}, 4 + Fraction(20, 128)),
        ({"sharing": "channel", "scale_bits": 32}, 4 + Fraction(32, 256)),
        ({"sharing": "tensor"}, 4 + Fraction(16, 512)),
        ({"sharing": "block", "group": (2, 64)}, 4 + Fraction(16, 128)),
    ],
)
def test_bits_count_scales_and_zero_points(keywords: Any, bits: Fraction) -> None:
    scaled = rtn(normal((2, 256)), 4, **keywords)
    assert scaled.bits_per_value == bits
    assert scaled.total_bits == bits * 512


@given(VECTORS, st.sampled_from([2, 3, 4, 8]), st.booleans(), st.integers(1, 12))
def test_values_are_within_half_a_step_unless_saturated(
    values: Any, bits: int, asymmetric: bool, group: int
) -> None:
    scaled = rtn(values, bits, "group", group, asymmetric=asymmetric)
    low, high = (0, 2**bits - 1) if asymmetric else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    step = np.repeat(scaled.scales.astype(float), group)[: values.size]
    free = (scaled.codes > low) & (scaled.codes < high)
    error = np.abs(scaled.values() - values.astype(float))
    assert (error[free] <= step[free] * (0.5 + 1e-12)).all()


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(0.5, 100, width=32)),
    st.integers(-3, 3),
)
def test_powers_of_two_pass_through(values: Any, exponent: int) -> None:
    factor = np.float32(2.0**exponent)
    plain, scaled = rtn(values, 8, "group", 8), rtn(values * factor, 8, "group", 8)
    assert (plain.codes == scaled.codes).all()
    assert (plain.values() * float(factor) == scaled.values()).all()


def test_a_scale_too_small_for_fp16_becomes_the_smallest() -> None:
    scaled = rtn(np.array([1e-9, -1e-9], np.float32), 8)
    assert scaled.scales.tolist() == [2.0**-24]
    assert scaled.codes.tolist() == [0, 0]
    assert rtn(np.array([1e-9], np.float32), 8, scale_bits=32).codes.tolist() == [127]


@pytest.mark.parametrize("rounding", [r for r in Rounding if r is not Rounding.STOCHASTIC])
def test_dynamic_fixed_point_shares_one_exponent(rounding: Rounding) -> None:
    values = normal((4, 10)) * np.float32(2.0) ** np.array([[-140], [0], [9], [126]], np.float32)
    values[1, :5] = 0
    scaled = dynamic_fixed_point(values, 8, "group", 5, rounding=rounding)
    for row in range(4):
        for group in range(2):
            part = slice(5 * group, 5 * group + 5)
            codes, exponent = dynamic_fixed_point_one(values[row, part].tolist(), 8, rounding)
            assert scaled.codes[row, part].tolist() == codes
            assert scaled.scales[row, group] == 2.0**exponent
    assert scaled.bits_per_value == 8 + Fraction(8, 5)


def test_dynamic_fixed_point_takes_the_exponent_from_the_bits() -> None:
    below = np.nextafter(np.float32(16), np.float32(0))
    scaled = dynamic_fixed_point(np.array([below, 1.1], np.float32), 5)
    assert (scaled.scales.tolist(), scaled.codes.tolist()) == ([1.0], [15, 1])
    assert dynamic_fixed_point(np.array([16.0], np.float32), 5).scales.tolist() == [2.0]


def worst(clip: int) -> tuple[int, int]:
    lows, highs = np.meshgrid(np.arange(-clip, clip + 1), np.arange(-clip, clip + 1))
    pairs = np.stack([lows, highs], axis=-1)[lows <= highs].astype(np.int8)
    codes, scales, zeros = qserve_second_level(pairs, 128)
    wide = (codes.astype(int) - zeros.astype(int)) * scales.astype(int)
    return int(wide.min()), int(wide.max())


def test_119_is_the_largest_clip_with_which_qserve_stays_in_int8() -> None:
    assert worst(QSERVE_CLIP) == (-121, 121)
    assert worst(QSERVE_CLIP + 1) == (-128, 128)
    assert all(worst(clip)[1] > 127 for clip in range(QSERVE_CLIP + 1, 128))


@given(st.lists(st.integers(-119, 119), min_size=1, max_size=30))
def test_qserve_groups_are_the_specification(eight: list[int]) -> None:
    codes, scale, zero = qserve_second_level_one(eight)
    arrays_of = qserve_second_level(np.array(eight, np.int8), 128)
    assert [array.tolist() for array in arrays_of] == [codes, [scale], [zero]]
    assert all(-121 <= (code - zero) * scale <= 121 for code in codes)


def test_qserve_of_a_matrix() -> None:
    values = normal((3, 300))
    two = qserve(values)
    scale = np.abs(values).max(axis=1, keepdims=True).astype(float) / 119
    assert (two.channel_scales == scale.astype(np.float16)).all()
    assert (two.scales.shape, two.codes.dtype) == ((3, 3), np.uint8)
    eight = np.rint(values / two.channel_scales.astype(float))
    steps = np.repeat(two.scales.astype(float), 128, axis=1)[:, :300]
    assert (np.abs(two.integers() - eight) <= steps).all()
    assert (two.values() == two.integers() * two.channel_scales.astype(float)).all()
    assert two.total_bits == 900 * 4 + 9 * 12 + 3 * 16
    assert qserve(np.zeros((2, 4), np.float32)).values().tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize(("bits", "scale_bits"), [(4, 4), (3, 6), (8, 8), (2, 1)])
def test_vs_quant_of_a_channel_is_the_specification(bits: int, scale_bits: int) -> None:
    values = normal((2, 35)) * np.float32([[1], [100]])
    values[0, 16:32] = 0
    two = vs_quant(values, bits, 16, scale_bits=scale_bits)
    for row in range(2):
        groups = [values[row, start : start + 16].tolist() for start in range(0, 35, 16)]
        codes, scales, channel = vs_quant_one(groups, bits, scale_bits)
        assert two.codes[row].tolist() == [code for group in codes for code in group]
        assert two.scales[row].tolist() == scales
        assert two.channel_scales[row, 0] == channel
    assert two.total_bits == 70 * bits + 6 * scale_bits + 2 * 16


@pytest.mark.parametrize("shape", [(0,), (0, 8), (3, 0)])
def test_empty_arrays_stay_empty(shape: tuple[int, ...]) -> None:
    nothing = np.zeros(shape, np.float32)
    results: list[Callable[[], Any]] = [
        lambda: rtn(nothing, 4),
        lambda: rtn(nothing, 4, "tensor", asymmetric=True),
        lambda: rtn(nothing, 4, "group", 3),
        lambda: dynamic_fixed_point(nothing, 4),
        lambda: qserve(nothing),
        lambda: vs_quant(nothing, 4),
    ]
    for result in results:
        assert result().values().shape == shape
    assert Integer(4).encode(nothing, EVEN).shape == shape
    assert rtn(nothing, 4, "group", 3).total_bits == 0
    assert TERNARY_5_IN_8.pack(nothing.astype(np.int8)).size == 0


ONES = np.ones((2, 4), np.float32)
BROKEN = np.array([1.0, np.nan, np.inf], np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Integer(0), "int0: an integer has 1 to 16 bits or 32, got 0"),
        (
            lambda: Integer(17, signed=False, bipolar=True),
            "bipolar17: an integer has 1 to 16 bits or 32, got 17\n"
            "bipolar17: a bipolar integer is signed",
        ),
        (
            lambda: Integer(1, narrow=True),
            "int1: only two's complement of 2 bits or more has a code to leave unused",
        ),
        (lambda: Integer(4).decode_one(16), "int4: code 16 is not of 4 bits"),
        (lambda: Integer(4).decode(np.array([16])), "int4: codes must be 0 to 15"),
        (lambda: Integer(4).encode_one(float("nan"), EVEN),
         "int4 has no NaN: 1 of 1 values are NaN"),
        (
            lambda: Integer(4).encode(BROKEN, EVEN, Overflow.INF),
            "int4 has no NaN: 1 of 3 values are NaN\n"
            "int4 has no infinity to overflow to; use overflow='saturate'",
        ),
        (
            lambda: Integer(4, bipolar=True).encode(ONES, EVEN, Overflow.NAN),
            "bipolar4 has no NaN to overflow to; use overflow='saturate'",
        ),
        (
            lambda: Integer(4).encode(np.ones(2, np.int64), EVEN),  # type: ignore[arg-type]
            "int4: values must be float32 or float64, got int64",
        ),
        (lambda: FixedPoint(20, 2), "int20: an integer has 1 to 16 bits or 32, got 20"),
        (lambda: FixedPoint(8, 65), "fixed<8,65>: integer_bits must be -64 to 64"),
        (lambda: rtn(ONES, 1), "rtn: bits must be 2 to 16 where symmetric, got 1"),
        (
            lambda: rtn(ONES, 17, asymmetric=True, scale_bits=8),
            "rtn: bits must be 1 to 16 where asymmetric, got 17\n"
            "rtn: scale_bits must be 16 or 32, got 8",
        ),
        (lambda: rtn(BROKEN, 4), "rtn: 2 of 3 values are NaN or infinite"),
        (
            lambda: rtn(ONES.astype(np.longdouble), 4),
            f"rtn: values must be float16, float32 or float64, got {np.dtype(np.longdouble)}",
        ),
        (lambda: rtn([[1.0], [2.0, 3.0]], 4),
         "rtn: values must be an array, got rows that do not fit"),
        (lambda: rtn(ONES, 4, rounding=Rounding.STOCHASTIC, seed="x"),  # type: ignore[arg-type]
         "rtn: seed must be an integer, got 'x'"),
        (lambda: absmean(ONES, seed=None),  # type: ignore[arg-type]
         "absmean: seed must be an integer, got None"),
        (lambda: rtn(ONES, 4, "group", 0), "rtn: group must be an integer >= 1, got 0"),
        (lambda: rtn(ONES, 4, "group"), "rtn: group must be an integer >= 1, got None"),
        (lambda: rtn(ONES, 4, "channel", 4),
         "rtn: group=4 needs sharing='group' or 'block'"),
        (
            lambda: rtn(ONES[0], 4, "block", (2, 2)),
            "rtn: a block needs two axes and group=(rows, columns), each >= 1, "
            "got (2, 2) for shape (4,)",
        ),
        (
            lambda: group_sizes("rtn", (2,), "row", None),  # type: ignore[arg-type]
            "rtn: unknown sharing 'row'; known: 'tensor', 'channel', 'token', 'group', 'block'",
        ),
        (lambda: rtn(np.float32(1).reshape(()), 4), "rtn: values must have at least one axis"),
        (lambda: rtn(ONES * 1e6, 4), "rtn: a scale of 1.429e+05 is beyond FP16"),
        (lambda: qserve(ONES, 0), "qserve: group must be an integer >= 1, got 0"),
        (lambda: vs_quant(ONES, 1), "vs_quant: bits must be 2 to 16, got 1"),
        (lambda: vs_quant(ONES, 4, scale_bits=9), "vs_quant: scale_bits must be 1 to 8, got 9"),
        (lambda: dynamic_fixed_point(ONES, 1), "dynamic_fixed_point: bits must be 2 to 16, got 1"),
        (
            lambda: TERNARY_2BIT.pack(np.array([0, 2])),
            "ternary 2-bit: values must be -1, 0 or 1",
        ),
        (
            lambda: TERNARY_5_IN_8.pack(ONES),  # type: ignore[arg-type]
            "ternary 5-in-8: values must be signed integers, got float32",
        ),
        (
            lambda: TERNARY_5_IN_8.unpack(np.array([243], np.uint8), 5),
            "ternary 5-in-8: byte 243 holds no ternary values",
        ),
        (
            lambda: TERNARY_2BIT.unpack(np.array([2], np.uint8), 4),
            "ternary 2-bit: byte 2 holds no ternary values",
        ),
        (lambda: TERNARY_2BIT.unpack_one(8), "ternary 2-bit: byte 8 holds no ternary values"),
        (
            lambda: TERNARY_2BIT.unpack(np.zeros(2, np.uint8), 4),
            "ternary 2-bit: 4 values take 1 bytes, got shape (2,)",
        ),
        (
            lambda: TERNARY_2BIT.unpack(np.zeros(1, np.int8), 4),  # type: ignore[arg-type]
            "ternary 2-bit: packed values must be uint8, got int8",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value) == message


def test_lists_small_floats_and_foreign_bytes_are_values_too() -> None:
    values = normal((4, 8)).astype(np.float16)
    wide = values.astype(np.float32)
    for quantise in (partial(rtn, bits=4), partial(dynamic_fixed_point, bits=6), absmean):
        expected = quantise(wide)
        for same in (values, values.astype(">f2"), wide.astype(">f4"), values.tolist()):
            found = quantise(same)
            np.testing.assert_array_equal(found.codes, expected.codes)
            np.testing.assert_array_equal(found.scales, expected.scales)
