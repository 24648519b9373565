"""Does the tensor core align, cut and sum blocks as the hardware was found to?"""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats.minifloat import Minifloat, decode
from simulator.formats.presets import BF16, FP8_E4M3FN, FP8_E5M2, FP16
from simulator.formats.rounding import Overflow, Rounding
from simulator.numerics.tensor_core import (
    ADA_FP8,
    ADA_FP16,
    HOPPER_FP8,
    HOPPER_FP16,
    TensorCore,
    add_aligned,
    block_fma,
    dot_tensor_core,
    exponent,
    gemm_tensor_core,
)
from simulator.numerics.word import Tally

E4M3, E5M2 = FP8_E4M3FN, FP8_E5M2
Forms = tuple[Minifloat, Minifloat]
#: What mmaemu 0.1.0 (`model.chain.chain_gemm`, torch 2.14.1) gives for `random_codes` of (3, 70)
#: with seed 1 and (4, 70) with seed 2: the bits of FP32.
RECORDED = [
    (
        HOPPER_FP8,
        (E4M3, E4M3),
        "c682f000 4764d800 c7b68c00 c6465400 45376800 4740e800 "
        "c71bcc00 465be400 482e8800 470f6400 c711bc00 c50f4400",
    ),
    (
        HOPPER_FP8,
        (E5M2, E5M2),
        "cd3e5000 4eb42400 cf0e5800 cc401000 4a18c800 4dafcc00 "
        "cdbf6400 4b07d000 cc04fc00 4dbf6400 cc818400 4d773000",
    ),
    (
        HOPPER_FP8,
        (E4M3, E5M2),
        "caa88400 4b20a400 cb5f8c00 49c0cc00 c853b400 4a2c2400 "
        "cac01800 47c4d800 c93b6c00 4a535000 c9c20000 c9ecf800",
    ),
    (
        ADA_FP8,
        (E4M3, E4M3),
        "c682e800 4764d800 c7b68c00 c6467800 45377400 4740ec00 "
        "c71bd000 465be400 482e8c00 470f6400 c711bc00 c50f8800",
    ),
    (
        ADA_FP8,
        (E5M2, E5M2),
        "cd3e4c00 4eb42400 cf0e5800 cc401000 4a18c800 4dafc800 "
        "cdbf6800 4b07cc00 cc04fc00 4dbf6400 cc818400 4d773000",
    ),
    (
        ADA_FP8,
        (E4M3, E5M2),
        "caa88000 4b20a800 cb5f8c00 49c0c800 c853b400 4a2c2400 "
        "cac01800 47c4d800 c93b6c00 4a535000 c9c20000 c9ecf800",
    ),
]
CASES = [
    (HOPPER_FP8, (E4M3, E5M2)),
    (ADA_FP8, (E5M2, E4M3)),
    (HOPPER_FP16, (FP16, FP16)),
    (ADA_FP16, (FP16, FP16)),
]


def random_codes(form: Minifloat, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return finite codes, all equally likely: what is not finite loses its exponent."""
    kind = np.uint8 if form.bits == 8 else np.uint16
    codes = np.random.default_rng(seed).integers(0, 1 << form.bits, shape, dtype=kind)
    top = 0x7F if form is E4M3 else form.infinity
    kept = 0x83 if form.bits == 8 else 0x83FF
    return np.where((codes & top) == top, codes & kept, codes).astype(kind)


def encoded(form: Minifloat, values: list[float]) -> np.ndarray:
    over = Overflow.INF if form.infinity else Overflow.SATURATE
    codes = [form.encode_one(value, Rounding.NEAREST_EVEN, over) for value in values]
    return np.array([codes], dtype=np.uint8 if form.bits == 8 else np.uint16)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether all bits are the same, those of NaN apart."""
    equal = found.view(np.uint32) == expected.view(np.uint32)
    return bool((equal | (np.isnan(found) & np.isnan(expected))).all())


def by_specification(x: np.ndarray, w: np.ndarray, forms: Forms, core: TensorCore) -> np.ndarray:
    rows, columns = decode(forms[0], x).tolist(), decode(forms[1], w).tolist()
    return np.array(
        [[dot_tensor_core(a, b, forms, core) for b in columns] for a in rows], dtype=np.float32
    ).reshape(len(rows), len(columns))


@pytest.mark.parametrize(("core", "forms", "bits"), RECORDED)
def test_outputs_equal_those_of_mmaemu(core: TensorCore, forms: Forms, bits: str) -> None:
    x, w = random_codes(forms[0], (3, 70), 1), random_codes(forms[1], (4, 70), 2)
    expected = np.array([int(one, 16) for one in bits.split()], dtype=np.uint32).reshape(3, 4)
    assert (gemm_tensor_core(x, w, forms, core).view(np.uint32) == expected).all()
    assert (by_specification(x, w, forms, core).view(np.uint32) == expected).all()


@pytest.mark.parametrize(("core", "forms"), CASES, ids=lambda case: getattr(case, "name", None))
def test_256_outputs_equal_the_specification_over_all_of_k(core: TensorCore, forms: Forms) -> None:
    x, w = random_codes(forms[0], (16, 83), 3), random_codes(forms[1], (16, 83), 4)
    assert same(gemm_tensor_core(x, w, forms, core), by_specification(x, w, forms, core))


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 0, 8), (2, 3, 0), (1, 1, 1), (2, 5, 33)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x, w = random_codes(E4M3, (m, k), 5), random_codes(E4M3, (n, k), 6)
    found = gemm_tensor_core(x, w, (E4M3, E4M3), HOPPER_FP8)
    assert found.shape == (m, n)
    assert same(found, by_specification(x, w, (E4M3, E4M3), HOPPER_FP8))


@pytest.mark.parametrize("core", [HOPPER_FP8, ADA_FP8])
def test_what_is_beyond_the_fraction_bits_is_cut_toward_zero(core: TensorCore) -> None:
    """256 beside 2^-5 is exact, beside 2^-6 nothing, of either sign: 13 bits below 2^8."""
    forms = (E5M2, E5M2)
    for sign in (1.0, -1.0):
        w = [1.0, sign * 2.0**-5, sign * 2.0**-6, sign * 2.0**-6]
        x = [256.0, 1.0, 1.0, 1.0]
        expected = 256 + sign * 2.0**-5
        # Below 256 the unit of the result is half as large: nothing more is cut.
        assert block_fma(x, w, 0.0, forms, core) == expected
        found = gemm_tensor_core(encoded(E5M2, x), encoded(E5M2, w), forms, core)
        assert found.tolist() == [[expected]]


def test_the_accumulator_takes_part_in_the_alignment() -> None:
    """2^16 in one block leaves no product below 2^3 in the next; the other way they remain."""
    large, small = [256.0] + [0.0] * 31, [1.0] * 32
    x, first = np.array(large + small), np.array(small + large)
    forms = (E5M2, E5M2)
    for values, expected in ((x, 2.0**16), (first, 2.0**16 + 32)):
        codes = encoded(E5M2, values.tolist())
        found = gemm_tensor_core(codes, codes, forms, HOPPER_FP8)
        assert found.tolist() == [[expected]]


def test_the_result_is_cut_to_its_own_bits() -> None:
    """Two times 1 and two times 1 - 2^-13 sum to 4 - 2^-12, which keeps 13 bits below 2."""
    x = [1.0, 1.0, 1.0, 1.0]
    core = TensorCore("narrow", 4, 13, 3, -132)
    assert block_fma([1.75, 1.75, 1.75, 0.0625], x, 0.0, (E4M3, E4M3), core) == 5.0
    assert block_fma([-1.75, -1.75, -1.75, -0.0625], x, 0.0, (E4M3, E4M3), core) == -5.0


def test_exponents_are_those_of_the_operands() -> None:
    """1.75 x 1.75 > 2 aligns to 2^0; a subnormal operand to the smallest normal exponent."""
    assert exponent(1.75, E4M3) == 0
    assert exponent(2.0**-9, E4M3) == exponent(2.0**-6, E4M3) == -6
    assert exponent(2.0**-9, E5M2) == -9
    core = TensorCore("two", 2, 2, 20, -132)
    assert block_fma([1.75, 0.25], [1.75, 1.0], 0.0, (E4M3, E4M3), core) == 3.25
    # Each is 2^-9 in steps of 2^-6 / 4 = 2^-8: cut to nothing, but kept in E5M2.
    pair = ([2.0**-9, 2.0**-9], [1.0, 1.0], 0.0)
    assert block_fma(*pair, (E4M3, E4M3), core) == 0.0
    assert block_fma(*pair, (E5M2, E5M2), core) == 2.0**-8
    for form, expected in ((E4M3, 0.0), (E5M2, 2.0**-8)):
        x, w = encoded(form, [2.0**-9, 2.0**-9]), encoded(form, [1.0, 1.0])
        assert gemm_tensor_core(x, w, (form, form), core).tolist() == [[expected]]


def test_products_of_zero_do_not_align() -> None:
    x, w = encoded(E5M2, [0.0, 2.0**-16]), encoded(E5M2, [57344.0, 2.0**-16])
    forms = (E5M2, E5M2)
    assert gemm_tensor_core(x, w, forms, HOPPER_FP8)[0, 0] == 2.0**-32
    assert block_fma([0.0, 2.0**-16], [57344.0, 2.0**-16], 0.0, forms, HOPPER_FP8) == 2.0**-32


@pytest.mark.parametrize("core", [HOPPER_FP8, ADA_FP8])
def test_a_result_of_zero_is_positive(core: TensorCore) -> None:
    x, w = encoded(E4M3, [-(2.0**-9), -0.0]), encoded(E4M3, [0.0, 1.0])
    found = gemm_tensor_core(x, w, (E4M3, E4M3), core)
    assert found.view(np.uint32).tolist() == [[0]]


def test_small_accumulators_are_cut_to_the_least_exponent_and_to_subnormals() -> None:
    fine = TensorCore("fine", 32, 13, 23, -132)
    for c, expected in ((2.0**-145, 2.0**-145), (2.0**-146, 0.0), (3 * 2.0**-146, 2.0**-145)):
        assert block_fma([0.0], [1.0], c, (E4M3, E4M3), fine) == expected
    # With 13 bits below the smallest normal exponent, -126, the unit of results is 2^-139.
    value = 1.75 * 2.0**-139
    assert block_fma([0.0], [1.0], value, (E4M3, E4M3), HOPPER_FP8) == 2.0**-139


def test_alignment_does_not_go_below_the_least_exponent() -> None:
    """13 bits below 2^-10: 3 x 2^-24 is cut to 2^-23."""
    core = TensorCore("shallow", 4, 13, 13, -10)
    x, w = encoded(E5M2, [1.5 * 2.0**-12]), encoded(E5M2, [2.0**-11])
    assert gemm_tensor_core(x, w, (E5M2, E5M2), core).tolist() == [[2.0**-23]]
    assert block_fma([1.5 * 2.0**-12], [2.0**-11], 0.0, (E5M2, E5M2), core) == 2.0**-23


def test_overflow_is_infinity() -> None:
    most = float(np.finfo(np.float32).max)
    forms = (FP16, FP16)
    assert block_fma([0.0], [1.0], most, forms, HOPPER_FP16) == most
    core = TensorCore("coarse", 2, 2, 2, -132)
    top = 1.5 * 2.0**127
    assert block_fma([2.0**15], [2.0**15], top, forms, core) == top


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([np.inf, 1.0], [1.0, 1.0], np.inf),
        ([np.inf, 1.0], [-1.0, 1.0], -np.inf),
        ([np.inf, np.inf], [-1.0, 1.0], np.nan),
        ([np.inf, 1.0], [0.0, 1.0], np.nan),
        ([np.nan, 1.0], [1.0, 1.0], np.nan),
        ([np.inf] + [1.0] * 40, [1.0] * 40 + [-np.inf], np.nan),
        ([np.inf] + [1.0] * 40, [1.0] * 40 + [-2.0], np.inf),
    ],
)
def test_nan_and_infinity_go_through(
    left: list[float], right: list[float], expected: float
) -> None:
    x, w, forms = encoded(E5M2, left), encoded(E5M2, right), (E5M2, E5M2)
    found = gemm_tensor_core(x, w, forms, ADA_FP8)
    assert same(found, np.array([[expected]], dtype=np.float32))
    assert same(found, by_specification(x, w, forms, ADA_FP8))


def test_infinity_goes_through_the_fewest_bits() -> None:
    """One bit moves its exponent out of what float64 has."""
    core = TensorCore("fewest", 2, 1, 1, -132)
    x, w = encoded(FP16, [np.inf, 1.0, 1.0]), encoded(FP16, [1.0, 1.0, 1.0])
    assert gemm_tensor_core(x, w, (FP16, FP16), core).tolist() == [[np.inf]]


def test_fp16_with_exact_sums_equals_integers() -> None:
    """Integers up to 31 times such, 4096 of them, stay below 2^24."""
    random = np.random.default_rng(7)
    a, b = random.integers(-31, 32, (5, 4096)), random.integers(-31, 32, (6, 4096))
    x, w = (one.astype(np.float16).view(np.uint16) for one in (a, b))
    for core in (HOPPER_FP16, ADA_FP16):
        assert (gemm_tensor_core(x, w, (FP16, FP16), core) == a @ b.T).all()


def test_a_block_takes_an_addition_a_product() -> None:
    tally = Tally()
    total = add_aligned([tally.word(k) for k in range(32)], tally.word(-7))
    assert int(total) == 489
    assert tally.counts == {"add": 32}


def test_what_is_refused() -> None:
    with pytest.raises(InputError) as error:
        TensorCore("x", 0, 41, 24, 1)
    assert error.value.problems == (
        "x: products must be 1 to 1024, got 0",
        "x: fraction_bits must be 1 to 40, got 41",
        "x: result_bits must be 1 to 23, got 24",
        "x: least_exponent must be -200 to 0, got 1",
    )
    codes = np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(InputError) as error:
        gemm_tensor_core(codes, codes[:, :2], (E4M3, E4M3), ADA_FP8)
    assert str(error.value) == (
        "expected activations (M, K) and weights (N, K), got shapes (2, 3) and (2, 2)"
    )
    with pytest.raises(InputError) as error:
        gemm_tensor_core(codes, codes, (BF16, E4M3), ADA_FP8)
    assert str(error.value) == "formats of at most 5 exponent bits, got bf16 and fp8_e4m3fn"
