"""The search for clip ratios: the least squared error of the grid, in every group."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulator.errors import InputError
from simulator.formats.clipping import RATIOS, clip_search, clip_search_one
from simulator.formats.rounding import Rounding, random_24
from simulator.formats.scaling import Scaled, rtn, rtn_one

SHARINGS: list[tuple[Any, Any]] = [
    ("tensor", None), ("channel", None), ("token", None), ("group", 4), ("block", (2, 5)),
]  # fmt: skip
FEW = (1.0, 0.9, 0.75, 0.6, 0.4)


def tailed(shape: tuple[int, ...], seed: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)


def parts(scaled: Scaled) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    return [
        (where, tuple(slice(i * n, (i + 1) * n) for i, n in zip(where, scaled.sizes, strict=True)))
        for where in np.ndindex(*scaled.scales.shape)
    ]


def exact_error(values: Any, scaled: Scaled) -> Fraction:
    pairs = zip(values.ravel().tolist(), scaled.values().ravel().tolist(), strict=True)
    return sum(((Fraction(x) - Fraction(y)) ** 2 for x, y in pairs), Fraction(0))


def same(left: Scaled, right: Scaled) -> bool:
    zeros = (left.zeros is None) == (right.zeros is None)
    if left.zeros is not None and right.zeros is not None:
        zeros = left.zeros.tobytes() == right.zeros.tobytes()
    return (
        zeros
        and left.codes.tobytes() == right.codes.tobytes()
        and left.scales.tobytes() == right.scales.tobytes()
        and (left.sizes, left.bits, left.scale_bits) == (right.sizes, right.bits, right.scale_bits)
    )


def test_the_grid_is_that_of_gptq() -> None:
    assert RATIOS[:2] == (1.0, 0.99)
    assert all(wide > narrow for wide, narrow in pairwise(RATIOS))
    assert len(RATIOS) == 80
    assert RATIOS[-1] == pytest.approx(0.21)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("scale_bits", [16, 32])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_groups_are_quantised_as_the_specification(
    bits: int, asymmetric: bool, scale_bits: int, rounding: Rounding
) -> None:
    values = tailed((3, 21)) * np.float32(10) ** np.array([[-6], [0], [3]], np.float32)
    values[1, :8] = 0
    values[2, 8:16] = -np.abs(values[2, 8:16])
    values[2, 16:] = np.abs(values[2, 16:])
    scaled, ratios = clip_search(
        values, bits, "group", 8, ratios=FEW, asymmetric=asymmetric, rounding=rounding,
        scale_bits=scale_bits, seed=5,
    )  # fmt: skip
    assert ratios.shape == scaled.scales.shape
    for (row, group), part in parts(scaled):
        one = values[part].ravel()
        codes, scale, zero, ratio = clip_search_one(
            one.tolist(), bits, ratios=FEW, asymmetric=asymmetric, rounding=rounding,
            scale_bits=scale_bits, randoms=[random_24(5, row * 21 + 8 * group + i)
            for i in range(one.size)],
        )  # fmt: skip
        assert ratios[row, group] == ratio
        assert scaled.codes[part].ravel().tolist() == codes
        assert float(scaled.scales[row, group]) == scale
        assert (0 if scaled.zeros is None else scaled.zeros[row, group]) == zero


@pytest.mark.parametrize(("sharing", "group"), SHARINGS)
@pytest.mark.parametrize("asymmetric", [False, True])
def test_no_ratio_of_the_grid_is_better_in_any_group(
    sharing: Any, group: Any, asymmetric: bool
) -> None:
    values = tailed((3, 11))
    grid = RATIOS[::3]
    scaled, ratios = clip_search(values, 3, sharing, group, ratios=grid, asymmetric=asymmetric)
    for where, part in parts(scaled):
        tried = {
            ratio: exact_error(
                values[part], rtn(values[part], 3, "tensor", asymmetric=asymmetric, clip=ratio)
            )
            for ratio in grid
        }
        least = min(tried.values())
        assert ratios[where] == max(ratio for ratio, error in tried.items() if error == least)
        alone = rtn(values[part], 3, "tensor", asymmetric=asymmetric, clip=float(ratios[where]))
        assert (scaled.codes[part] == alone.codes).all()
        assert exact_error(values[part], alone) == least


@pytest.mark.parametrize(("sharing", "group"), SHARINGS)
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("rounding", [Rounding.NEAREST_EVEN, Rounding.STOCHASTIC])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_grid_of_one_is_rtn_in_every_bit(
    sharing: Any, group: Any, asymmetric: bool, rounding: Rounding, dtype: Any
) -> None:
    values = tailed((4, 2, 13)).astype(dtype)
    keywords: Any = {"asymmetric": asymmetric, "rounding": rounding, "scale_bits": 32, "seed": 7}
    scaled, ratios = clip_search(values, 5, sharing, group, ratios=(1.0,), **keywords)
    assert same(scaled, rtn(values, 5, sharing, group, **keywords))
    assert (ratios == 1).all()


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from([2, 4, 8]),
    st.booleans(),
)
def test_the_error_is_never_above_that_of_rtn(values: Any, bits: int, asymmetric: bool) -> None:
    found, _ = clip_search(values, bits, "group", 7, ratios=FEW, asymmetric=asymmetric)
    plain = rtn(values, bits, "group", 7, asymmetric=asymmetric)
    for _, part in parts(plain):
        errors = [
            np.square(scaled.values()[part] - values[part].astype(float)).sum()
            for scaled in (found, plain)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-14)


def test_the_search_helps_more_the_fewer_the_bits() -> None:
    values = np.random.default_rng(3).standard_normal((16, 256)).astype(np.float32)
    for bits, gain in ((2, 3), (3, 1.6), (4, 1.2)):
        found, _ = clip_search(values, bits, "group", 64)
        errors = [
            np.square(scaled.values() - values).sum()
            for scaled in (rtn(values, bits, "group", 64), found)
        ]
        assert errors[0] > gain * errors[1]


def test_ratios_and_codes_by_hand() -> None:
    # -4 is code -2 of scale 2, which only clipping by half can reach.
    scaled, ratios = clip_search(np.array([[-4.0, 2.0], [4.0, 2.0]], np.float32), 2)
    assert ratios.tolist() == [[0.5], [RATIOS[25]]]
    assert scaled.codes.tolist() == [[-2, 1], [1, 1]]
    assert scaled.scales.tolist() == [[2.0], [3.0]]


@pytest.mark.parametrize("ratios", [(0.5, 1.0, 0.7), (1.0, 0.7, 0.5), (0.7, 0.5, 1.0)])
def test_the_largest_of_equal_ratios_is_kept_in_any_order(ratios: tuple[float, ...]) -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert clip_search(zeros, 4, ratios=ratios)[1].tolist() == [[1.0], [1.0]]
    assert clip_search_one([0.0] * 3, 4, ratios=ratios) == ([0, 0, 0], 1.0, 0, 1.0)
    # Below FP16's smallest scale all ratios have the same codes.
    tiny = np.array([1e-9, -1e-9], np.float32)
    assert clip_search(tiny, 8, ratios=ratios)[1].tolist() == [1.0]


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_nothing_is_quantised_to_nothing(shape: tuple[int, ...]) -> None:
    scaled, ratios = clip_search(np.zeros(shape, np.float32), 4)
    assert scaled.codes.shape == shape
    assert ratios.shape == scaled.scales.shape


def test_one_value_is_met_by_a_group_of_its_own() -> None:
    scaled, ratios = clip_search(np.array([[7.0], [-3.5]], np.float32), 4, ratios=FEW)
    assert scaled.values().tolist() == [[7.0], [-3.5]]
    assert ratios.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("asymmetric", [False, True])
def test_rtn_clips_each_group_by_its_own_ratio(asymmetric: bool) -> None:
    values = tailed((2, 10))
    ratios = np.array([[1.0, 0.5, 0.25], [0.3, 0.9, 0.01]])
    scaled = rtn(values, 4, "group", 4, asymmetric=asymmetric, clip=ratios)
    for where, part in parts(scaled):
        codes, scale, zero = rtn_one(
            values[part].ravel().tolist(), 4, asymmetric=asymmetric, clip=float(ratios[where])
        )
        assert scaled.codes[part].ravel().tolist() == codes
        assert float(scaled.scales[where]) == scale
        assert (0 if scaled.zeros is None else scaled.zeros[where]) == zero


def test_clipped_codes_by_hand() -> None:
    values = np.array([-14.0, 14.0, 7.0, 1.0], np.float32)
    scaled = rtn(values, 4, clip=0.5)
    assert (scaled.scales.tolist(), scaled.codes.tolist()) == ([1.0], [-8, 7, 7, 1])
    scaled = rtn(np.array([-10.0, 20.0, 6.0], np.float32), 4, asymmetric=True, clip=0.5)
    assert scaled.zeros is not None
    assert (scaled.scales.tolist(), scaled.zeros.tolist()) == ([1.0], [5])
    assert scaled.codes.tolist() == [0, 15, 11]


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (0.0, "rtn: clip must be above 0 and at most 1"),
        (1.01, "rtn: clip must be above 0 and at most 1"),
        (float("nan"), "rtn: clip must be above 0 and at most 1"),
        (np.ones(2), "rtn: clip must be one ratio or of shape (2, 1), got (2,)"),
        (
            np.zeros(1),
            "rtn: clip must be one ratio or of shape (2, 1), got (1,)\n"
            "rtn: clip must be above 0 and at most 1",
        ),
    ],
)
def test_ratios_that_cannot_be_are_refused(clip: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        rtn(tailed((2, 3)), 4, clip=clip)
    assert str(refused.value) == words


def test_a_search_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        clip_search(tailed((2, 3)), 4, ratios=())
    assert str(refused.value) == "clip_search: ratios must not be empty"
    with pytest.raises(InputError, match=r"^rtn: clip must be above 0 and at most 1$"):
        clip_search(tailed((2, 3)), 4, ratios=(1.0, -0.5))
    with pytest.raises(InputError, match=r"^rtn: bits must be 2 to 16 where symmetric, got 1$"):
        clip_search(tailed((2, 3)), 1)
    with pytest.raises(InputError, match=r"^rtn: 1 of 2 values are NaN or infinite$"):
        clip_search(np.array([1, np.nan], np.float32), 4)


def test_lists_small_floats_and_foreign_bytes_are_values_too() -> None:
    values = np.random.default_rng(7).standard_normal((3, 8)).astype(np.float16)
    expected, ratios = clip_search(values.astype(np.float32), 4)
    for same in (values, values.astype(">f4"), values.tolist()):
        found, others = clip_search(same, 4)
        np.testing.assert_array_equal(found.codes, expected.codes)
        np.testing.assert_array_equal(others, ratios)
