"""Are blocks multiplied exactly, scaled, and accumulated in FP32 in order of blocks?"""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.block import (
    BLOCK_FORMATS,
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT8,
    NVFP4,
    NVINT4,
    BlockFormat,
    Blocks,
    bfp,
)
from simulator.formats.minifloat import Minifloat
from simulator.formats.presets import FP8_E4M3FN, FP8_E5M2
from simulator.formats.rounding import Overflow, Rounding
from simulator.numerics.block_dot import (
    block_sum,
    dot_blocks,
    gemm_blocks,
    step_of,
    sum_bits,
    tensor_factor,
    to_fp32,
)
from simulator.numerics.word import Tally

ODD = BlockFormat("e2m1-b5", MXFP4.element, 5, MXFP4.scale)
PAIRS = [
    (MXFP4, MXFP4),
    (NVFP4, NVFP4),
    (NVFP4, NVINT4),
    (MXFP6_E2M3, MXFP4),
    (MXFP6_E3M2, MXFP6_E3M2),
    (MXINT8, MXFP4),
    (MXFP8_E4M3, MXFP4),
    (MXFP8_E4M3, MXFP8_E4M3),
    (MXFP8_E5M2, MXFP4),
    (MXFP8_E5M2, MXFP8_E4M3),
    (MXFP8_E5M2, MXFP8_E5M2),
    (ODD, ODD),
    (bfp(7, 16), bfp(3, 16)),
]
WIDE = PAIRS[9:11]


def random_blocks(form: BlockFormat, shape: tuple[int, int], seed: int) -> Blocks:
    """Return finite codes of every size, and scales near 1."""
    random = np.random.default_rng(seed)
    every = np.arange(1 << form.element.bits, dtype=np.uint16)
    finite = every[np.isfinite(Blocks(form, every, every[:0]).elements())]
    one = int(form.scale.encode_one(1.0, Rounding.NEAREST_EVEN, Overflow.SATURATE))
    scales = random.integers(one - 12, one + 13, (shape[0], -(-shape[1] // form.block)))
    return Blocks(form, random.choice(finite, shape).astype(np.uint8), scales.astype(np.uint8))


def row(blocks: Blocks, index: int) -> Blocks:
    return Blocks(blocks.form, blocks.codes[index], blocks.scales[index], blocks.tensor_scale)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether all bits are the same, those of NaN apart."""
    return bool(
        (
            (found.view(np.uint32) == expected.view(np.uint32))
            | (np.isnan(found) & np.isnan(expected))
        ).all()
    )


def by_specification(x: Blocks, w: Blocks) -> np.ndarray:
    return np.array(
        [
            [dot_blocks(row(x, m), row(w, n)) for n in range(w.codes.shape[0])]
            for m in range(x.codes.shape[0])
        ],
        dtype=np.float32,
    )


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_256_outputs_equal_the_specification_over_all_of_k(
    pair: tuple[BlockFormat, BlockFormat],
) -> None:
    x, w = random_blocks(pair[0], (16, 83), 1), random_blocks(pair[1], (16, 83), 2)
    assert same(gemm_blocks(x, w), by_specification(x, w))


@pytest.mark.parametrize("shape", [(2, 300, 1), (1, 256, 32), (1, 257, 31), (3, 1, 65)])
@pytest.mark.parametrize("form", [MXFP4, NVFP4, MXFP8_E4M3, MXFP8_E5M2])
def test_every_output_of_any_shape(shape: tuple[int, int, int], form: BlockFormat) -> None:
    m, n, k = shape
    x, w = random_blocks(form, (m, k), 3), random_blocks(form, (n, k), 4)
    assert same(gemm_blocks(x, w), by_specification(x, w))


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0)])
def test_nothing_gives_nothing_or_zeros(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    for form in (MXFP4, MXFP8_E4M3, MXFP8_E5M2):
        found = gemm_blocks(random_blocks(form, (m, k), 5), random_blocks(form, (n, k), 6))
        assert found.dtype == np.float32
        assert (found == np.zeros((m, n))).all()


@pytest.mark.parametrize(
    ("form", "outside"),
    [
        (MXFP8_E4M3, ml_dtypes.float8_e4m3fn),
        (MXFP8_E5M2, ml_dtypes.float8_e5m2),
        (MXFP4, ml_dtypes.float4_e2m1fn),
    ],
)
def test_every_product_of_fp4_and_fp8_is_exact(form: BlockFormat, outside: type) -> None:
    """All codes, NaN and infinities too, against ml_dtypes; one element a block."""
    left = np.arange(1 << form.element.bits, dtype=np.uint8)
    right = np.arange(16, dtype=np.uint8)
    x, w = (
        Blocks(one, codes[:, None], np.full((codes.size, 1), 127, dtype=np.uint8))
        for one, codes in ((form, left), (MXFP4, right))
    )
    a, b = left.view(outside), right.view(ml_dtypes.float4_e2m1fn)
    with np.errstate(invalid="ignore"):
        expected = a.astype(np.float64)[:, None] * b.astype(np.float64)
    found = gemm_blocks(x, w)
    assert ((found == expected) | (np.isnan(found) & np.isnan(expected))).all()
    assert same(found, by_specification(x, w))


@pytest.mark.parametrize("pair", [(MXFP4, MXFP4), (NVFP4, NVFP4), (MXFP8_E4M3, MXFP4)])
def test_all_outputs_equal_sums_of_float64_accumulated_block_by_block(
    pair: tuple[BlockFormat, BlockFormat],
) -> None:
    """Values and sums of a block are exact in float64, whatever order they are added in."""
    x, w = random_blocks(pair[0], (40, 500), 7), random_blocks(pair[1], (310, 500), 8)
    total = np.zeros((40, 310), dtype=np.float32)
    for start in range(0, 500, pair[0].block):
        part = slice(start, start + pair[0].block)
        total += (x.values()[:, part] @ w.values()[:, part].T).astype(np.float32)
    assert (gemm_blocks(x, w) == total).all()


@pytest.mark.parametrize("form", sorted(BLOCK_FORMATS))
def test_the_largest_elements_are_summed_exactly(form: str) -> None:
    """All largest, all smallest, and alternating: the ends of the sums of a block."""
    blocks = BLOCK_FORMATS[form]
    every = np.arange(1 << blocks.element.bits, dtype=np.uint16)
    values = Blocks(blocks, every, every[:0]).elements()
    ends = [int(np.flatnonzero(values == sign * blocks.largest)[0]) for sign in (1, -1)]
    size = blocks.block
    codes = np.array([[ends[0]] * size, [ends[1]] * size, ends * (size // 2)], dtype=np.uint8)
    one = int(blocks.scale.encode_one(1.0, Rounding.NEAREST_EVEN, Overflow.SATURATE))
    x = Blocks(blocks, codes, np.full((3, 1), one, dtype=np.uint8))
    largest = float(np.float32(size * blocks.largest**2))
    expected = [[largest, -largest, 0], [-largest, largest, 0], [0, 0, largest]]
    assert (gemm_blocks(x, x) == np.array(expected)).all()


def test_the_sum_of_a_block_takes_a_product_an_element_and_one_addition_less() -> None:
    tally = Tally()
    total = block_sum([tally.word(k - 16) for k in range(32)], [5] * 32)
    assert int(total) == 5 * sum(range(-16, 16))
    assert tally.counts == {"mul": 32, "add": 31}


def test_sums_have_the_bits_that_the_largest_elements_need() -> None:
    """FP4 in steps of 1/2 is at most 12: 32 x 144 = 4608."""
    assert step_of(MXFP4) == Fraction(1, 2)
    assert step_of(MXINT8) == Fraction(1, 64)
    assert sum_bits(MXFP4, MXFP4) == 13
    assert sum_bits(NVFP4, NVFP4) == 12
    assert sum_bits(MXFP8_E5M2, MXFP8_E5M2) == 69


def test_one_rounding_to_fp32_is_that_of_numpy() -> None:
    random = np.random.default_rng(9)
    size = 2.0 ** random.integers(-152, 130, 4000).astype(np.float64)
    with np.errstate(over="ignore"):
        for value in random.standard_normal(4000) * size:
            assert to_fp32(Fraction(value)) == np.float32(value)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("low", [1, -1, 0])
@pytest.mark.parametrize("pair", WIDE, ids=["e5m2-e4m3", "e5m2-e5m2"])
def test_wide_sums_are_rounded_once(
    sign: int, low: int, pair: tuple[BlockFormat, BlockFormat]
) -> None:
    """A tie of FP32, and the smallest product beside it: 2^24 + 1 and what 53 bits do not hold."""
    left = [4096.0 * 4, 1.0, 2.0**-16]
    least = 2.0**-16 if pair[1] is MXFP8_E5M2 else 2.0**-9
    right = [4096.0 / 16 * sign, 0.25 * sign, least * low]
    codes = []
    for form, values in ((FP8_E5M2, left), (pair[1].element, right)):
        encoded = [form.encode_one(v, Rounding.NEAREST_EVEN, Overflow.SATURATE) for v in values]
        assert [form.decode_one(code) for code in encoded] == values
        codes.append(np.array([encoded], dtype=np.uint8))
    scale = np.array([[127]], dtype=np.uint8)
    x, w = Blocks(pair[0], codes[0], scale), Blocks(pair[1], codes[1], scale)
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(left, right, strict=True))
    tie = sign * (2.0**22 + 0.25)
    assert exact == Fraction(tie) + Fraction(low * 2.0**-16) * Fraction(least)
    up = low == sign
    assert gemm_blocks(x, w)[0, 0] == sign * (2.0**22 + (0.5 if up else 0))
    assert same(gemm_blocks(x, w), by_specification(x, w))


@pytest.mark.parametrize("low", [2.0**-16, 2.0**-8])
def test_large_wide_sums_keep_what_decides_a_tie(low: float) -> None:
    """2^30 and half of its unit in FP32, 2^6, beside a product of 2^-32 or 2^-16."""
    codes = [
        [FP8_E5M2.encode_one(v, Rounding.NEAREST_EVEN, Overflow.SATURATE) for v in values]
        for values in ([2.0**15, 2.0**10, low], [2.0**15, 2.0**-4, low])
    ]
    scale = np.array([[127]], dtype=np.uint8)
    x, w = (Blocks(MXFP8_E5M2, np.array([one], dtype=np.uint8), scale) for one in codes)
    assert gemm_blocks(x, w)[0, 0] == 2.0**30 + 2.0**7
    even = Blocks(MXFP8_E5M2, w.codes * np.array([1, 1, 0], dtype=np.uint8), scale)
    assert gemm_blocks(x, even)[0, 0] == 2.0**30


def test_sums_beyond_24_bits_are_not_rounded_on_the_way() -> None:
    """Steps of 3 twice, beside 30 products of 448 x 6, whose unit in FP32 is 8 steps."""
    values = [448.0] * 30 + [3 * 2.0**-9] * 2, [6.0] * 30 + [0.5] * 2
    codes = [
        [form.element.encode_one(v, Rounding.NEAREST_EVEN, Overflow.SATURATE) for v in row_]
        for form, row_ in zip((MXFP8_E4M3, MXFP4), values, strict=True)
    ]
    scale = np.array([[127]], dtype=np.uint8)
    x = Blocks(MXFP8_E4M3, np.array(codes[:1], dtype=np.uint8), scale)
    w = Blocks(MXFP4, np.array(codes[1:], dtype=np.uint8), scale)
    assert gemm_blocks(x, w)[0, 0] == 30 * 448 * 6 + 8 * 2.0**-10


def test_nan_of_a_format_with_small_sums_goes_through() -> None:
    form = BlockFormat("e2m1fn-b32", Minifloat("e2m1fn", 2, 1, 1, "fn"), 32, MXFP4.scale)
    x = random_blocks(form, (2, 64), 22)
    x.codes[1, 40] = 7
    assert (np.isnan(gemm_blocks(x, x)) == [[False, True], [True, True]]).all()


def test_blocks_are_accumulated_in_order_and_rounded_each_time() -> None:
    """1 is lost beside 2^24, and kept where 2^24 and its negative come first."""
    one, minus = MXFP4.element.encode_one(1.0, Rounding.NEAREST_EVEN, Overflow.SATURATE), 10
    codes = np.zeros((2, 96), dtype=np.uint8)
    codes[0, [0, 32, 64]] = one, one, minus
    codes[1, [0, 32, 64]] = one, minus, one
    scales = np.array([[151, 127, 151], [151, 151, 127]], dtype=np.uint8)
    ones = Blocks(MXFP4, np.full((1, 96), one, np.uint8), np.full((1, 3), 127, np.uint8))
    assert gemm_blocks(Blocks(MXFP4, codes, scales), ones).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("form", [MXFP4, NVFP4, MXFP8_E4M3, MXFP8_E5M2])
def test_a_nan_scale_makes_the_outputs_of_its_vector_nan(form: BlockFormat) -> None:
    x, w = random_blocks(form, (3, 70), 10), random_blocks(form, (4, 70), 11)
    x.scales[1, 1] = form.scale.nan
    w.scales[2, 0] = form.scale.nan
    found = gemm_blocks(x, w)
    expected = np.zeros((3, 4), dtype=bool)
    expected[1], expected[:, 2] = True, True
    assert (np.isnan(found) == expected).all()
    assert same(found, by_specification(x, w))


def test_nan_even_where_all_elements_are_zero() -> None:
    zeros = np.zeros((1, 32), dtype=np.uint8)
    x = Blocks(MXFP4, zeros, np.array([[255]], dtype=np.uint8))
    w = Blocks(MXFP4, zeros, np.array([[127]], dtype=np.uint8))
    assert np.isnan(gemm_blocks(x, w)).all()


@pytest.mark.parametrize(("left", "right"), [(254, 254), (0, 0), (0, 103), (2, 100), (254, 0)])
def test_scales_at_the_ends_overflow_and_underflow_as_fp32_does(left: int, right: int) -> None:
    for form in (MXFP4, MXFP8_E4M3, MXFP8_E5M2):
        x, w = random_blocks(form, (8, 64), 12), random_blocks(form, (8, 64), 13)
        x.scales[:], w.scales[:] = left, right
        assert same(gemm_blocks(x, w), by_specification(x, w))
        assert not np.isnan(gemm_blocks(x, w)[0, 0]) or left + right == 508


def test_tensor_scales_multiply_the_accumulator_once() -> None:
    x, w = random_blocks(NVFP4, (16, 64), 14), random_blocks(NVFP4, (16, 64), 15)
    plain = gemm_blocks(x, w)
    left = Blocks(NVFP4, x.codes, x.scales, float(np.float32(0.3)))
    right = Blocks(NVFP4, w.codes, w.scales, float(np.float32(1.7)))
    assert tensor_factor(x, w) is None
    assert tensor_factor(left, right) == np.float32(0.3) * np.float32(1.7)
    assert same(gemm_blocks(left, w), plain * np.float32(0.3))
    assert same(gemm_blocks(left, right), plain * (np.float32(0.3) * np.float32(1.7)))
    assert same(gemm_blocks(left, right), by_specification(left, right))


def test_encoded_values_give_what_their_products_give() -> None:
    random = np.random.default_rng(16)
    a, b = random.standard_normal((8, 128)), random.standard_normal((9, 128))
    x, w = NVFP4.encode(a, tensor_scale=True), NVFP4.encode(b, tensor_scale=True)
    exact = x.values() @ w.values().T
    assert np.allclose(gemm_blocks(x, w), exact, rtol=1e-5, atol=1e-5)


def test_operands_that_do_not_fit_are_refused_all_in_one() -> None:
    x, w = random_blocks(MXFP4, (2, 64), 17), random_blocks(NVFP4, (2, 48), 18)
    x.codes[0, 0] = 16
    wrong = Blocks(MXFP4, x.codes, x.scales[:, :1])
    with pytest.raises(InputError) as error:
        gemm_blocks(wrong, w)
    assert error.value.problems == (
        "activations: expected scales (2, 2), got (2, 1)",
        "expected activations (M, K) and weights (N, K), got shapes (2, 64) and (2, 48)",
        "activations: codes must be 0 to 15",
        "blocks must be of one size, got 32 and 16",
    )
    with pytest.raises(InputError) as error:
        gemm_blocks(row(x, 1), row(x, 1))
    assert str(error.value) == (
        "expected activations (M, K) and weights (N, K), got shapes (64,) and (64,)"
    )


def test_sums_that_are_not_exact_are_refused() -> None:
    wide = BlockFormat("e5m2-e4m3-b16", FP8_E5M2, 16, FP8_E4M3FN)
    x = random_blocks(wide, (1, 16), 19)
    with pytest.raises(InputError) as error:
        gemm_blocks(x, x)
    assert str(error.value) == (
        "e5m2-e4m3-b16 x e5m2-e4m3-b16: sums of 68 bits and scales of 8 are not exact"
    )
    huge = random_blocks(BlockFormat("e5m2-b256", FP8_E5M2, 256, MXFP4.scale), (1, 16), 20)
    with pytest.raises(InputError) as error:
        gemm_blocks(huge, huge)
    assert str(error.value) == (
        "e5m2-b256 x e5m2-b256: sums of 72 bits and scales of 0 are not exact"
    )
    x = random_blocks(MXFP8_E5M2, (1, 16), 21)
    infinite = Blocks(MXFP8_E5M2, np.full_like(x.codes, 0x7C), x.scales)
    with pytest.raises(InputError) as error:
        gemm_blocks(x, infinite)
    assert str(error.value) == "weights: sums of 69 bits take finite elements only"
