"""What does a specification count? Tallies by hand, whatever the data; results as without them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.formats.block import BLOCK_FORMATS, Blocks
from simulator.formats.presets import FP8_E4M3FN
from simulator.formats.rounding import Rounding
from simulator.numerics.accumulate import dot_ordered
from simulator.numerics.bit_serial import dot_bipolar, dot_planes
from simulator.numerics.block_dot import dot_blocks
from simulator.numerics.decoded_paths import dot_decoded, dot_two_level, scaled_weight
from simulator.numerics.integer_functions import (
    layer_norm_one,
    requantised_one,
    shift_gelu_one,
    shiftmax_one,
)
from simulator.numerics.mac_tree import dot_tree
from simulator.numerics.pre_aligned import dot_pre_aligned
from simulator.numerics.shift_add_fp16 import dot_w4a16
from simulator.numerics.softmax import softmax_online, softmax_three_pass, softmax_two_pass
from simulator.numerics.t_mac import Setting, dot_quantised
from simulator.numerics.tensor_core import HOPPER_FP8, dot_tensor_core
from simulator.numerics.word import (
    Real,
    Tally,
    Word,
    bits_of,
    larger,
    like,
    looked_up,
    magnitude,
    masked,
    nearest_even,
    noted,
    plane,
    shifted_where,
    signed,
    smaller,
    stored,
    width_of,
)

Random = np.random.Generator
Case = Callable[[Random, Tally | None], Any]
SEEDS = range(4)
SMALL = np.random.default_rng(1)


def words(values: Any, tally: Tally | None) -> list[Any]:
    return [int(value) if tally is None else tally.word(int(value)) for value in values]


def reals(values: Any, tally: Tally | None) -> list[Any]:
    """Return values as they are, float32 among them, or as they count."""
    return [value if tally is None else tally.real(value) for value in values]


def planes(random: Random, tally: Tally | None) -> int:
    x, w = random.integers(-4, 4, 100), random.integers(-2, 2, 100)
    return dot_planes(words(x, tally), words(w, tally), 3, 2)


def bipolar(random: Random, tally: Tally | None) -> int:
    x, w = random.integers(0, 8, 100), random.integers(0, 4, 100)
    return dot_bipolar(words(x, tally), words(w, tally), 3, 2)


def tensor_core(random: Random, tally: Tally | None) -> float:
    codes = random.integers(0, 127, (2, 32)) + 128 * random.integers(0, 2, (2, 32))
    x, w = ([FP8_E4M3FN.decode_one(int(code)) for code in row] for row in codes)
    return dot_tensor_core(reals(x, tally), w, (FP8_E4M3FN, FP8_E4M3FN), HOPPER_FP8)


def figna(rounding: Rounding) -> Case:
    def case(random: Random, tally: Tally | None) -> float:
        codes = random.standard_normal(5).astype(np.float16).view(np.uint16)
        weights = random.integers(-8, 8, 5).tolist()
        return dot_pre_aligned(words(codes, tally), weights, 14, rounding)

    return case


def blocks(tensor_scale: float | None) -> Case:
    def case(random: Random, tally: Tally | None) -> float:
        form = BLOCK_FORMATS["nvfp4"]
        codes = random.integers(0, 16, (2, 32), dtype=np.uint8)
        scales = random.integers(1, 127, (2, 2), dtype=np.uint8)
        left, right = (
            Blocks(form, *each, tensor_scale) for each in zip(codes, scales, strict=True)
        )
        return float(dot_blocks(left, right, tally))

    return case


def split_k(random: Random, tally: Tally | None) -> float:
    x, w = random.standard_normal((2, 8)).astype(np.float16).tolist()
    return float(dot_ordered(reals(x, tally), w, 2, [[0, 1], [2, 3]], ("fp32", "fp16")))


def w4a16(*, chain: bool, zeros: list[int] | None) -> Case:
    def case(random: Random, tally: Tally | None) -> float:
        x = reals(random.standard_normal(8).astype(np.float16).tolist(), tally)
        scales = list(random.random(2, dtype=np.float32))
        weights = random.integers(-8, 8, 8).tolist()
        return float(dot_w4a16(x, weights, scales, zeros, 4, chain=chain, accumulator="fp32"))

    return case


def t_mac(random: Random, tally: Tally | None) -> tuple[float, int]:
    x = random.standard_normal(64).astype(np.float32)
    scales, moved = (list(random.random(1, dtype=np.float32)) for _ in range(2))
    weights = random.integers(0, 4, 64).tolist()
    value, overflows = dot_quantised(
        reals(x, tally), weights, scales, moved, Setting(2, 64, activation_group=64)
    )
    return float(value), overflows


def ant(random: Random, tally: Tally | None) -> int:
    x, w = random.integers(0, 16, 3), random.integers(-8, 8, 3)
    return dot_decoded(words(x, tally), words(w, tally), (get("flint4-token"), get("int4-g128")))


def two_level(random: Random, tally: Tally | None) -> int:
    x, w, scales = random.integers(-8, 8, (3, 5))
    weights = [
        scaled_weight(w, 0, scale)
        for w, scale in zip(words(w, tally), scales.tolist(), strict=True)
    ]
    return dot_two_level(words(x, tally), weights)


def on_words(function: Callable[[list[Any]], list[int]]) -> Case:
    return lambda random, tally: function(words(random.integers(-100, 100, 3), tally))


def on_reals(function: Callable[[list[Any]], list[float]]) -> Case:
    def case(random: Random, tally: Tally | None) -> list[float]:
        return function(reals(random.standard_normal(3).astype(np.float32).tolist(), tally))

    return case


#: Two words of 64 bits a plane, 3 x 2 planes.
PASSES = {"pass": 6, "popcount": 12}
#: 16 tables of 16 entries: 3 additions for each size and each entry that is built, 2 bits looked up
#: in every table, 8 pairs of which 7 are added to the first.
T_MAC = {
    "add fp32": 16 * 3 + 16 * 8 * 3 + (16 + 2) + 1 + 3 + 3 + 2,
    "mul fp32": 16 * 16 + 2 + 4 + 2,
    "div fp32": 2,
    "compare fp32": 15,
    "round int8": 256,
    "look_up": 2 * 16,
    "add": 2 * 15,
    "round fp32": 2,
}
FIGNA = {
    "shift": 5,
    # Distances and signs, the unit, sums, then places and exponent of the result.
    "add": 5 + 5 + 1 + 5 + 2,
    "xor": 5,
    "barrel_shift": 5 + 1,
    "mul": 5,
    "compare": 4 + 1,
    "leading_one": 1,
    "negate": 2,
    "round": 1,
}
W4A16 = {"mask": 32, "shift": 24, "add": 24, "round fp16": 8, "add fp32": 10, "mul fp32": 2}
CASES: dict[str, tuple[Case, dict[str, int]]] = {
    "planes": (planes, PASSES | {"and": 12, "add": 12 + 6, "shift": 6}),
    "bipolar": (bipolar, PASSES | {"xor": 12, "add": 12 + 2 * 6, "shift": 2 * 6}),
    "tensor_core": (
        tensor_core,
        {
            "mul": 32,
            # Exponents, distances, the sum with c, the unit; then places of the result.
            "add": 32 + 33 + 32 + 1 + 5,
            "compare": 32 + 1 + 2,
            "shift": 2 * 33,
            "barrel_shift": 33 + 1,
            "negate": 33 + 2,
            "leading_one": 1,
        },
    ),
    "figna": (figna(Rounding.TOWARD_ZERO), FIGNA),
    "figna_rounded": (figna(Rounding.NEAREST_EVEN), FIGNA | {"round": 6}),
    "blocks": (
        blocks(None),
        {"mul": 32, "add": 30, "mul exact": 2, "mul fp32": 2, "add fp32": 2},
    ),
    "blocks_of_a_scaled_tensor": (
        blocks(0.5),
        {"mul": 32, "add": 30, "mul exact": 2, "mul fp32": 3, "add fp32": 2},
    ),
    "split_k": (split_k, {"mul fp32": 8, "add fp32": 8, "round fp16": 2, "add fp16": 2}),
    "w4a16": (w4a16(chain=False, zeros=None), W4A16),
    "w4a16_zeros": (
        w4a16(chain=False, zeros=[3, -2]),
        W4A16 | {"add fp32": 10 + 8 + 2, "mul fp32": 4},
    ),
    "w4a16_chain": (
        w4a16(chain=True, zeros=None),
        {"mask": 32, "add": 24, "add fp16": 24, "add fp32": 10, "mul fp32": 2},
    ),
    "t_mac": (t_mac, T_MAC),
    "ant": (ant, {"leading_one": 6, "barrel_shift": 6 + 3, "mul": 3, "add": 3 + 3}),
    "two_level": (two_level, {"mul": 10, "add": 5}),
    "requantise": (
        on_words(lambda row: requantised_one(row, 77, 5, 8)),
        {"mul": 3, "shift": 3, "round": 3, "compare": 6},
    ),
    "shiftmax": (
        on_words(lambda row: shiftmax_one(row, 0.0625, 8)),
        {
            "add": 3 + 3 * 4 + 3,
            "compare": 2 + 3 * 2 + 1,
            "shift": 3 * 3 + 3,
            "negate": 3,
            "div": 3 + 1,
            "barrel_shift": 3,
            "mul": 3,
        },
    ),
    "shift_gelu": (
        on_words(lambda row: shift_gelu_one(row, 0.0625, 8)),
        {
            "add": 4 * 4 + 3 + 3,
            "compare": 3 + 4 * 2 + 3 * 2,
            "shift": 4 * 3 + 3,
            "negate": 1 + 4,
            "div": 4 + 3,
            "barrel_shift": 4,
            "mul": 6,
        },
    ),
    "layer_norm": (
        on_words(layer_norm_one),
        {"add": 4 + 3 + 3 + 10, "shift": 1 + 10 + 3, "div": 12, "mul": 6, "compare": 11},
    ),
    "softmax_three_pass": (
        on_reals(softmax_three_pass),
        {"pass": 3, "compare fp32": 3, "add fp32": 9, "exp fp32": 6, "div fp32": 3},
    ),
    "softmax_online": (
        on_reals(lambda row: softmax_online(row, 2)),
        {
            "pass": 2,
            "compare fp32": 3 + 2,
            "add fp32": 6 + 2 * 3 + 3,
            "exp fp32": 3 + 2 * 2 + 3,
            "mul fp32": 4,
            "div fp32": 3,
        },
    ),
    "softmax_two_pass": (
        on_reals(softmax_two_pass),
        {
            "pass": 2,
            "exp fp32": 6,
            "compare": 3 * 3 + 3,
            "add": 2 * 3 + 3,
            "scale fp32": 2 * 3 + 3,
            "add fp32": 3,
            "div fp32": 3,
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_tally_is_that_by_hand_for_any_data(name: str) -> None:
    case, expected = CASES[name]
    for seed in SEEDS:
        tally = Tally()
        case(np.random.default_rng(seed), tally)
        assert tally.counts == expected, seed


@pytest.mark.parametrize("name", CASES)
def test_results_are_the_same_without_counting(name: str) -> None:
    case, _ = CASES[name]
    for seed in SEEDS:
        found = case(np.random.default_rng(seed), Tally())
        assert found == case(np.random.default_rng(seed), None), seed


@pytest.mark.parametrize("kinds", [("fp16", "fp16", "fp16"), ("bf16", "bf16", "fp32")])
def test_a_tree_of_16_lanes_counts_its_nodes(kinds: tuple[str, str, str]) -> None:
    x, w = (SMALL.integers(-8, 8, (2, 32)) / 8).astype(np.float32)
    tally = Tally()
    found = dot_tree([tally.real(float(value)) for value in x], w, 16, kinds)
    product, tree, accumulator = kinds
    expected = Counter({f"mul {product}": 32})
    expected += Counter({f"add {tree}": 30}) + Counter({f"add {accumulator}": 2})
    assert tally.counts == expected
    assert found == dot_tree(x, w, 16, kinds)


def test_a_shift_by_a_word_is_a_barrel_shift() -> None:
    tally = Tally()
    one, two = tally.word(1), tally.word(2)
    found = [one << 3, one << two, two >> 1, two >> one, 8 >> two, 8 << two]
    assert [int(each) for each in found] == [8, 4, 1, 1, 2, 32]
    assert tally.counts == {"shift": 2, "barrel_shift": 4}


def test_either_operand_of_a_comparison_counts() -> None:
    for sides in ((5, 7), (7, 5)):
        tally = Tally()
        left, right = sides
        for pair in ((tally.word(left), right), (left, tally.word(right))):
            assert (int(larger(*pair)), int(smaller(*pair))) == (7, 5)
            assert isinstance(larger(*pair), Word)
        assert tally.counts == {"compare": 6}
        assert (larger(*sides), smaller(*sides)) == (7, 5)


@pytest.mark.parametrize("shift", range(4))
def test_rounding_is_to_nearest_even(shift: int) -> None:
    for value in range(-40, 41):
        assert nearest_even(value, shift) == round(value / 2**shift)


def test_numpy_numbers_round_and_count_at_once() -> None:
    tally = Tally()
    half, single = tally.real(np.float16(2048)), tally.real(np.float32(2**24))
    assert float(half + np.float16(1)) == 2048.0
    assert float(np.float32(1) + single) == 2.0**24
    assert float(np.float32(1) / single) == 2.0**-24
    assert tally.counts == {"add fp16": 1, "add fp32": 1, "div fp32": 1}


def test_a_float_waits_for_its_rounding() -> None:
    tally = Tally()
    exact = tally.real(3.0) * 5.0 + 1.0
    assert tally.counts == {"mul exact": 1}
    rounded = exact.rounded("bf16", 16.0)
    assert (float(rounded), isinstance(rounded, Real)) == (16.0, True)
    rounded.rounded("fp16", 16.0)
    assert tally.counts == {"mul exact": 1, "add bf16": 1, "round fp16": 1}


def test_a_change_of_sign_counts_nothing() -> None:
    tally = Tally()
    assert (float(0 - tally.real(3.0)), float(abs(tally.real(-3.0)))) == (-3.0, 3.0)
    assert not tally.counts
    assert float(1 - tally.real(np.float32(3.0))) == -2.0
    assert tally.counts == {"add fp32": 1}


@pytest.mark.parametrize(
    ("value", "bits"),
    [(0, 1), (1, 1), (2, 2), (7, 3), (8, 4), (-1, 1), (-2, 2), (-8, 4), (-9, 5)],
)
def test_an_integer_has_the_bits_of_its_value(value: int, bits: int) -> None:
    assert width_of(value) == bits_of(value) == Tally().word(value).bits == bits
    assert Tally().word(value, bits).bits == bits
    assert Tally().word(value, 9).bits == 9


#: Operations on words of 8 and 5 bits: width of the result, what is counted.
WIDTHS: dict[str, tuple[Callable[[Any, Any], Any], int, dict[Any, int]]] = {
    "add": (lambda a, b: a + b, 9, {("add", 8): 1}),
    "add_narrow_first": (lambda a, b: b + a, 9, {("add", 8): 1}),
    "add_a_constant": (lambda a, b: b + 1000, 11, {("add", 10): 1}),
    "constant_first": (lambda a, b: 1 + b, 6, {("add", 5): 1}),
    "sub": (lambda a, b: a - b, 9, {("add", 8): 1}),
    "from_a_constant": (lambda a, b: 1000 - a, 11, {("add", 10): 1}),
    "negate": (lambda a, b: -a, 9, {("negate", 8): 1}),
    "mul": (lambda a, b: a * b, 13, {("mul", (8, 5)): 1}),
    "mul_a_constant": (lambda a, b: 6 * b, 8, {("mul", (5, 3)): 1}),
    "div": (lambda a, b: a // b, 8, {("div", (8, 5)): 1}),
    "div_a_constant": (lambda a, b: 100 // b, 7, {("div", (7, 5)): 1}),
    "quotient": (lambda a, b: divmod(a, b)[0], 8, {("div", (8, 5)): 1}),
    "rest": (lambda a, b: divmod(a, b)[1], 5, {("div", (8, 5)): 1}),
    "left": (lambda a, b: a << 3, 11, {("shift", 8): 1}),
    "right": (lambda a, b: a >> 3, 5, {("shift", 8): 1}),
    "far_right": (lambda a, b: a >> 30, 1, {("shift", 8): 1}),
    "left_by_a_word": (lambda a, b: a << b, 8 + 31, {("barrel_shift", (8, 5)): 1}),
    "right_by_a_word": (lambda a, b: a >> b, 8, {("barrel_shift", (8, 5)): 1}),
    "constant_left": (lambda a, b: 6 << b, 3 + 31, {("barrel_shift", (3, 5)): 1}),
    "constant_right": (lambda a, b: 6 >> b, 3, {("barrel_shift", (3, 5)): 1}),
    "and": (lambda a, b: b & a, 8, {("and", 8): 1}),
    "xor": (lambda a, b: a ^ b, 8, {("xor", 8): 1}),
    "popcount": (lambda a, b: a.bit_count(), 4, {("popcount", 8): 1}),
    "leading_one": (lambda a, b: a.bit_length(), 4, {("leading_one", 8): 1}),
    "mask": (lambda a, b: masked(a, 1), 8, {("mask", 8): 1}),
    "magnitude": (lambda a, b: magnitude(a), 8, {("negate", 8): 1}),
    "sign": (lambda a, b: signed(a, 1), 9, {("negate", 8): 1}),
    "larger": (lambda a, b: larger(b, a), 8, {("compare", 8): 1}),
    "smaller_of_a_constant": (lambda a, b: smaller(1000, b), 10, {("compare", 10): 1}),
    "round": (lambda a, b: nearest_even(a, 3), 6, {("shift", 8): 1, ("round", 5): 1}),
    "round_by_a_word": (
        lambda a, b: nearest_even(a, b),
        9,
        {("barrel_shift", (8, 5)): 1, ("round", 8): 1},
    ),
    "look_up": (lambda a, b: looked_up([a, a, b], 1), 8, {("look_up", (8, 3)): 1}),
    "store": (lambda a, b: stored([a])[0], 8, {("store", 8): 1}),
    "left_or_not": (lambda a, b: shifted_where(a, 3, True), 11, {("barrel_shift", (11, 1)): 1}),
    "not_left": (lambda a, b: shifted_where(a, 3, False), 11, {("barrel_shift", (11, 1)): 1}),
    "wires": (lambda a, b: like(a, 3), 8, {}),
    "narrower_wires": (lambda a, b: like(a, 3, 2), 2, {}),
    "plane": (lambda a, b: plane([a, b, a], 0), 3, {}),
    "noted": (lambda a, b: noted(a, "leading_one", 3), 8, {("leading_one", 8): 1}),
    "noted_narrower": (lambda a, b: noted(a, "leading_one", 3, 4), 4, {("leading_one", 8): 1}),
}


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("values", [(3, 2), (200, 30), (-128, -16), (0, 1)])
def test_widths_follow_the_worst_case(name: str, values: tuple[int, int]) -> None:
    run, bits, sizes = WIDTHS[name]
    if "word" in name or "constant_" in name:
        values = values[0], abs(values[1])
    tally = Tally()
    found = run(tally.word(values[0], 8), tally.word(values[1], 5))
    assert found.bits == bits
    assert tally.sizes == sizes
    assert tally.counts == Counter(operation for operation, _ in sizes)


def test_every_sum_and_product_fits_its_width() -> None:
    for left in range(-8, 16):
        for right in range(-4, 8):
            one, two = Tally().word(left, 4), Tally().word(right, 3)
            for found in (one + two, one - two, one * two, -one, one << 2, one >> 2):
                assert width_of(found.value) <= found.bits
            assert ((one + two).bits, (one * two).bits, (-one).bits) == (5, 7, 5)


def test_a_shift_by_more_than_hardware_has_is_no_wider() -> None:
    tally = Tally()
    assert (tally.word(1, 4) << tally.word(0, 64)).bits == 4 + (1 << 16) - 1


def test_a_word_that_its_value_needs_is_as_wide() -> None:
    tally = Tally()
    assert Word(300, tally, 4).bits == noted(tally.word(1, 2), "add", 300).bits == 9  # type: ignore[union-attr]


def test_operations_are_listed_by_size_and_format() -> None:
    tally = Tally()
    tally.word(1, 4) + tally.word(1, 6)
    tally.real(np.float16(1)) + np.float16(1)
    tally.counts["add"] += 2
    tally.counts["mul exact"] += 1
    assert tally.operations() == {
        ("add", 6): 1,
        ("add", "fp16"): 1,
        ("add", None): 2,
        ("mul", "exact"): 1,
    }


@pytest.mark.parametrize(("value", "needs", "bits"), [(8, 4, 3), (-9, 5, 4), (0, 1, 0), (1, 1, -2)])
def test_a_word_that_is_too_narrow_is_refused(value: int, needs: int, bits: int) -> None:
    with pytest.raises(InputError) as error:
        Tally().word(value, bits)
    assert str(error.value) == f"{value} needs {needs} bits, got {bits}"
