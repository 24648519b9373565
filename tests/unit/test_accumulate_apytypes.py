"""Do accumulators round as those of apytypes, a library of other authors, in every bit?

apytypes rounds the products of an inner product, and each sum, to the format of the accumulator, in
order of K from +0: the same semantics. Its conventions are ours too: subnormals are kept, overflow
gives infinity and a sum of zero is +0. Three things differ:

- NaN: apytypes always gives the positive one, here its sign and payload are those of the processor.
  Any NaN equals any other.
- apytypes 0.5.1 keeps only multiples of 2^-142 of a subnormal FP32 product of BF16 operands, and
  does not round to the nearest: 147.3 x 2^-149 becomes 128 x 2^-149. With the same operands as FP32
  it gives 147 x 2^-149, as IEEE 754 does, so that is how they are given to an FP32 accumulator.
- Its cast from BF16 to FP16 is wrong for +-127.5 x 2^-24 alone: 2^-14, where a carry out of the 7
  bits of BF16 reaches the exponent, not the subnormal 2^-17. From FP32 it is right.
"""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from apytypes import APyFloatAccumulatorContext, APyFloatArray, QuantizationMode

from simulator.numerics.accumulate import dot_ordered, gemm_ordered, split_order
from simulator.numerics.mac_tree import ROUNDED, dot_tree, gemm_tree

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}
#: Bits of exponent and mantissa.
SIZES = {"fp16": (5, 10), "bf16": (8, 7), "fp32": (8, 23)}
#: Formats of operands and of the accumulator.
PAIRS = [
    ("fp16", "fp16"),
    ("bf16", "bf16"),
    ("fp32", "fp32"),
    ("fp16", "fp32"),
    ("bf16", "fp32"),
    ("fp16", "bf16"),
    ("bf16", "fp16"),
]
#: 256 outputs, with a K that no tile divides.
ROWS, COLUMNS, DEPTH = 16, 16, 203
Operands = tuple[np.ndarray, np.ndarray]


def of_format(kind: str, values: np.ndarray) -> np.ndarray:
    """Return values of a format as float32."""
    return values.astype(np.float32).astype(DTYPES[kind]).astype(np.float32)


def drawn(kind: str, accumulator: str, exponent: int = 0) -> Operands:
    """Return values of very different sizes, their products around 4^exponent."""
    random = np.random.default_rng(11)
    sizes = 2.0 ** random.integers(-6, 3, (ROWS + COLUMNS, DEPTH))
    values = random.standard_normal(sizes.shape) * sizes * 2.0**exponent
    return of_format(kind, values[:ROWS]), of_format(kind, values[ROWS:])


def cancelling(kind: str, accumulator: str) -> Operands:
    """Return values that come with both signs, so that sums shrink to the errors of earlier ones.

    The second half of K takes the first away again, in the same order.
    """
    x, w = drawn(kind, accumulator)
    half = DEPTH // 2
    x[:, half : 2 * half] = -x[:, :half]
    w[:, half : 2 * half] = w[:, :half]
    return x, w


def overflowing(kind: str, accumulator: str) -> Operands:
    """Return values of which some outputs overflow, midway, to infinities of both signs or NaN."""
    return drawn(kind, accumulator, 6 if "fp16" in (kind, accumulator) else 62)


def small(kind: str, accumulator: str) -> Operands:
    """Return values of which many products and sums are subnormal or zero."""
    return drawn(kind, accumulator, -10 if "fp16" in (kind, accumulator) else -66)


DATA = (drawn, cancelling, overflowing, small)
Data = Callable[[str, str], Operands]


def held_by_apytypes(kind: str, values: np.ndarray) -> APyFloatArray:
    exponent_bits, mantissa_bits = SIZES[kind]
    return APyFloatArray.from_array(values.astype(np.float64), exponent_bits, mantissa_bits)


def by_apytypes(x: np.ndarray, w: np.ndarray, own: str, accumulator: str) -> APyFloatArray:
    exponent_bits, mantissa_bits = SIZES[accumulator]
    given = "fp32" if accumulator == "fp32" else own
    with APyFloatAccumulatorContext(
        exp_bits=exponent_bits, man_bits=mantissa_bits, quantization=QuantizationMode.TIES_EVEN
    ):
        return held_by_apytypes(given, x) @ held_by_apytypes(given, w.T.copy())


def same(found: np.ndarray, expected: APyFloatArray, kind: str) -> bool:
    """Tell whether all bits are the same: of the format, into which `found` must go exactly."""
    narrow = found.astype(DTYPES[kind])
    assert np.array_equal(narrow.astype(np.float32), found, equal_nan=True)
    unsigned = np.uint32 if kind == "fp32" else np.uint16
    equal = narrow.view(unsigned) == expected.to_bits(numpy=True)
    return bool((equal | (np.isnan(found) & np.isnan(expected.to_numpy()))).all())


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("own", "accumulator"), PAIRS)
def test_256_sequential_accumulations_equal_apytypes(
    own: str, accumulator: str, data: Data
) -> None:
    x, w = data(own, accumulator)
    expected = by_apytypes(x, w, own, accumulator)
    kinds = (accumulator, accumulator, accumulator)
    assert same(gemm_tree(x, w, 1, kinds), expected, accumulator)
    order = split_order(-(-DEPTH // 8), 1)
    assert same(gemm_ordered(x, w, 8, order, kinds[:2]), expected, accumulator)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", ROUNDED)
def test_the_specifications_equal_apytypes(kind: str, data: Data) -> None:
    x, w = (values[:3] for values in data(kind, kind))
    expected = by_apytypes(x, w, kind, kind)
    order = split_order(-(-DEPTH // 8), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        trees = [[dot_tree(a, b, 1, (kind, kind, kind)) for b in w] for a in x]
        tiles = [[dot_ordered(a, b, 8, order, (kind, kind)) for b in w] for a in x]
    assert same(np.array(trees), expected, kind)
    assert same(np.array(tiles), expected, kind)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("stored", ROUNDED)
@pytest.mark.parametrize("accumulator", ROUNDED)
def test_partial_sums_stored_and_added_equal_apytypes(
    accumulator: str, stored: str, data: Data
) -> None:
    """Three splits, each an inner product of apytypes, cast and added by it."""
    x, w = data("fp16", accumulator)
    order = split_order(-(-DEPTH // 9), 3, interleaved=True)
    exponent_bits, mantissa_bits = SIZES[stored]
    nearest = QuantizationMode.TIES_EVEN
    total = held_by_apytypes(stored, np.zeros((ROWS, COLUMNS)))
    for split in order:
        places = [k for tile in split for k in range(9 * tile, min(9 * tile + 9, DEPTH))]
        partial = by_apytypes(x[:, places], w[:, places], "fp16", accumulator)
        partial = partial.cast(*SIZES["fp32"], quantization=nearest)
        total = total + partial.cast(exponent_bits, mantissa_bits, quantization=nearest)
    assert same(gemm_ordered(x, w, 9, order, (accumulator, stored)), total, stored)


@pytest.mark.parametrize("kind", ROUNDED)
def test_overflow_begins_half_a_unit_beyond_the_largest_value(kind: str) -> None:
    limits = ml_dtypes.finfo(DTYPES[kind])
    largest, half = float(limits.max), 2.0 ** (int(limits.maxexp) - 2 - SIZES[kind][1])
    x = of_format(kind, np.array([[largest, half], [largest, half / 2], [-largest, -half]]))
    w = np.ones((1, 2), np.float32)
    expected = by_apytypes(x, w, kind, kind)
    found = gemm_tree(x, w, 1, (kind, kind, kind))
    assert found.ravel().tolist() == [np.inf, largest, -np.inf]
    assert same(found, expected, kind)
    assert same(gemm_ordered(x, w, 1, split_order(2, 1), (kind, kind)), expected, kind)


@pytest.mark.parametrize("kind", ROUNDED)
def test_the_data_reach_the_edges(kind: str) -> None:
    """Overflows of both signs, NaN where they meet, subnormal and zero results, cancellation."""
    kinds = (kind, kind, kind)
    large = gemm_tree(*overflowing(kind, kind), 1, kinds)
    assert (large == np.inf).any()
    assert (large == -np.inf).any()
    assert np.isfinite(large).any()
    assert np.isnan(large).any()
    tiny = np.abs(gemm_tree(*small(kind, kind), 1, kinds))
    least = 2.0**-14 if kind == "fp16" else 2.0**-126
    assert ((tiny > 0) & (tiny < least)).any()
    x, w = cancelling(kind, kind)
    sizes = np.abs(x) @ np.abs(w).T
    assert np.median(np.abs(gemm_tree(x, w, 1, kinds)) / sizes) < 0.02
