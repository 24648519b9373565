"""Are cells counted as by hand, and do area and energy follow from them?"""

from collections.abc import Callable
from typing import Any

import pytest

from simulator.config import names, replace
from simulator.cost import (
    CELLS,
    FLOATS,
    TECHNOLOGY_FOLDER,
    Bound,
    Cells,
    Float,
    Technology,
    cells_of,
    cost_of,
    gates,
    load_technology,
)
from simulator.errors import InputError
from simulator.numerics.shift_add import product_w4a8
from simulator.numerics.word import Tally

FP16 = FLOATS["fp16"]
TINY = Float(2, 2)
BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
TECHNOLOGIES = ("nangate_45nm", "scaled_28nm")


@pytest.fixture(scope="module", params=TECHNOLOGIES)
def technology(request: pytest.FixtureRequest) -> Technology:
    """Each shipped technology in turn."""
    return load_technology(str(request.param))


#: Small widths, counted by hand.
BY_HAND: dict[str, tuple[Cells, Cells]] = {
    "adder": (gates.adder(4), Cells(full_adder=4)),
    # Levels of 2 nodes: places 1 and 3, then 2 and 3.
    "prefix_adder": (gates.prefix_adder(4), Cells(half_adder=4, xor2=4, and2=8, or2=4)),
    "prefix_adder_of_5": (gates.prefix_adder(5), Cells(half_adder=5, xor2=5, and2=10, or2=5)),
    "incrementer": (gates.incrementer(3), Cells(half_adder=3)),
    "negater": (gates.negater(3), Cells(half_adder=3, xor2=3)),
    "comparator": (gates.comparator(3), Cells(full_adder=3, inv=3)),
    "mux": (gates.mux(8, 2), Cells(mux2=14)),
    "mux_of_one": (gates.mux(1, 2), Cells()),
    "and_row": (gates.and_row(3), Cells(and2=3)),
    "xor_row": (gates.xor_row(3), Cells(xor2=3)),
    "register": (gates.register(3), Cells(dff=3)),
    "multiplier_2x2": (gates.multiplier(2, 2), Cells(half_adder=2, and2=4)),
    "multiplier_3x2": (gates.multiplier(3, 2), Cells(full_adder=1, half_adder=2, and2=6)),
    "multiplier_2x3": (gates.multiplier(2, 3), Cells(full_adder=1, half_adder=2, and2=6)),
    # n (n - 2) full and n half adders.
    "multiplier_4x4": (gates.multiplier(4, 4), Cells(full_adder=8, half_adder=4, and2=16)),
    "multiplier_signed": (
        gates.multiplier(4, 4, signed=True),
        Cells(full_adder=8, half_adder=6, and2=16),
    ),
    "barrel_shifter": (gates.barrel_shifter(8), Cells(mux2=24)),
    "barrel_shifter_of_5": (gates.barrel_shifter(5), Cells(mux2=15)),
    "barrel_shifter_near": (gates.barrel_shifter(8, 2), Cells(mux2=16)),
    # Two bits of the amount are above 7: joined by an OR, they clear all 8 places.
    "barrel_shifter_far": (gates.barrel_shifter(8, 5), Cells(mux2=24, and2=8, inv=1, or2=1)),
    "leading_one_2": (gates.leading_one(2), Cells(or2=1)),
    "leading_one_3": (gates.leading_one(3), Cells(or2=2, mux2=1)),
    "leading_one_4": (gates.leading_one(4), Cells(or2=3, mux2=1)),
    "leading_one_8": (gates.leading_one(8), Cells(or2=7, mux2=4)),
    "popcount_1": (gates.popcount(1), Cells()),
    "popcount_2": (gates.popcount(2), Cells(half_adder=1)),
    "popcount_3": (gates.popcount(3), Cells(full_adder=1)),
    "popcount_4": (gates.popcount(4), Cells(full_adder=1, half_adder=2)),
    # 2^k - 1 bits take 2^k - 1 - k full adders.
    "popcount_15": (gates.popcount(15), Cells(full_adder=11)),
    "divider": (gates.divider(3, 2), Cells(full_adder=9, xor2=9)),
    "lut_read": (gates.lut_read(16, 8), Cells(mux2=112)),
    "lut_storage": (gates.lut_storage(16, 8), Cells(dff=128)),
    "float_rounder": (gates.float_rounder(TINY), Cells(half_adder=4, or2=2)),
    "normaliser": (gates.normaliser(4, 3), Cells(full_adder=3, mux2=1 + 8, or2=3)),
    # Compare 3, swap 2 x 3, exponents 2; align 5 by 2 bits, sticky 2; add 5; normalise 6; round.
    "float_adder": (
        gates.float_adder(TINY),
        Cells(
            full_adder=3 + 2 + 5 + 2,
            half_adder=4,
            mux2=6 + 10 + 4 + 18,
            xor2=5 + 1,
            or2=2 + 5 + 2,
            inv=3,
        ),
    ),
    # Multiply 2 x 2, exponents 3 and 4, a place of 5 bits, round.
    "float_multiplier": (
        gates.float_multiplier(TINY),
        Cells(full_adder=3 + 4, half_adder=2 + 4, mux2=5, xor2=1, and2=4, or2=2),
    ),
    "float_multiplier_of_two": (
        gates.float_multiplier(TINY, Float(2, 1)),
        Cells(full_adder=3 + 4, half_adder=4, mux2=5, xor2=1, and2=2, or2=2),
    ),
    # The product of 4 bits is normalised with 4 bits of exponent, then shifted: 5 by 2 bits.
    "float_multiplier_subnormals": (
        gates.float_multiplier(TINY, subnormals=True),
        Cells(full_adder=3 + 4 + 4, half_adder=6, mux2=1 + 8 + 10, xor2=1, and2=4, or2=2 + 3),
    ),
    "float_comparator": (
        gates.float_comparator(TINY),
        Cells(full_adder=4, mux2=4, xor2=1, inv=4),
    ),
    "float_divider": (
        gates.float_divider(TINY),
        Cells(full_adder=12 + 3 + 4, half_adder=4, mux2=4, xor2=12 + 1, or2=2),
    ),
    "float_conversion": (gates.float_conversion(TINY), Cells(full_adder=3, half_adder=4, or2=2)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_cells_are_those_by_hand(name: str) -> None:
    found, expected = BY_HAND[name]
    assert found == expected


def test_a_one_bit_multiplier_is_an_and() -> None:
    assert gates.multiplier(1, 1) == gates.and_row(1) == Cells(and2=1)
    assert gates.multiplier(1, 8, signed=True) == gates.multiplier(8, 1) == Cells(and2=8)


@pytest.mark.parametrize(("places", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3)])
def test_an_amount_has_as_many_bits_as_it_needs(places: int, bits: int) -> None:
    assert gates.stages(places) == bits


#: Components by one width.
WIDENED: dict[str, Callable[[int], Cells]] = {
    **gates.ONE_WIDTH,
    "prefix_adder": gates.prefix_adder,
    "mul": lambda bits: gates.multiplier(bits, bits, signed=True),
    "mul_by_4": lambda bits: gates.multiplier(bits, 4),
    "barrel_shift_by_5": lambda bits: gates.barrel_shifter(bits, 5),
    "div": lambda bits: gates.divider(bits, bits),
    "look_up": lambda bits: gates.lut_read(bits, 8),
    "entries": lambda entries: gates.lut_read(4, entries),
    "float_add": lambda bits: gates.float_adder(Float(5, bits)),
    "float_mul": lambda bits: gates.float_multiplier(Float(5, bits), subnormals=True),
    "exponent": lambda bits: gates.float_adder(Float(bits, 5)),
}


@pytest.mark.parametrize("name", WIDENED)
def test_a_wider_word_never_takes_less(name: str, technology: Technology) -> None:
    areas = [cost_of(WIDENED[name](bits), technology).area_um2 for bits in range(1, 40)]
    assert areas == sorted(areas)
    assert areas[-1] > areas[0]


def test_operations_are_added_up() -> None:
    operations = {
        ("add", 8): 2,
        ("mul", (4, 8)): 1,
        ("barrel_shift", (8, 2)): 1,
        ("barrel_shift", 8): 1,
        ("look_up", (16, 8)): 3,
        ("compare", 5): 1,
        ("shift", 9): 7,
        ("pass", None): 4,
        ("mul", "fp16"): 1,
        ("add", "fp32"): 2,
    }
    expected = (
        2 * gates.adder(8)
        + gates.multiplier(4, 8, signed=True)
        + gates.barrel_shifter(8, 2)
        + gates.barrel_shifter(8)
        + 3 * gates.lut_read(16, 8)
        + gates.comparator(5)
        + gates.mux(2, 5)
        + gates.float_multiplier(FP16)
        + 2 * gates.float_adder(FLOATS["fp32"])
    )
    assert cells_of(operations) == expected
    swifter = cells_of(operations, fast=True)
    assert swifter + 2 * gates.adder(8) == expected + 2 * gates.prefix_adder(8)


@pytest.mark.parametrize(
    ("operation", "size", "expected"),
    [
        ("negate", 3, gates.negater(3)),
        ("and", 3, gates.and_row(3)),
        ("mask", 3, gates.and_row(3)),
        ("xor", 3, gates.xor_row(3)),
        ("popcount", 3, gates.popcount(3)),
        ("leading_one", 3, gates.leading_one(3)),
        ("round", 3, gates.incrementer(3)),
        ("store", 3, gates.register(3)),
        ("div", (3, 2), gates.divider(3, 2)),
        ("div", "fp16", gates.float_divider(FP16)),
        ("compare", "fp16", gates.float_comparator(FP16)),
        ("round", "fp16", gates.float_conversion(FP16)),
        ("scale", "fp16", gates.adder(5)),
    ],
)
def test_an_operation_is_its_component(operation: str, size: Any, expected: Cells) -> None:
    assert cells_of({(operation, size): 1}) == expected


def test_each_integer_operation_that_a_word_counts_has_gates() -> None:
    tally = Tally()
    one, two = tally.word(5, 4), tally.word(3, 2)
    for _ in ((one + two) * one // two, -one, one & two, one ^ two, one >> two, one << 1):
        pass
    for _ in (one.bit_count(), one.bit_length()):
        pass
    assert cells_of(tally.operations()).full_adder > 0


def test_cost_is_the_sum_of_cells_by_hand() -> None:
    technology = load_technology("nangate_45nm")
    cells = Cells(full_adder=2, dff=1)
    bare = cost_of(cells, technology, placed=False)
    assert bare.area_um2 == pytest.approx(2 * 4.256 + 4.522)
    assert bare.energy_pj == pytest.approx((2 * 3.125 + 9.0 * 1.3) / 1000)
    placed = cost_of(cells, technology)
    assert placed.area_um2 == pytest.approx(1.43 * bare.area_um2)
    assert placed.energy_pj == pytest.approx(1.5 * bare.energy_pj)
    low, high = (cost_of(cells, technology, bound) for bound in ("low", "high"))
    assert low.area_um2 == pytest.approx(0.66 * 1.25 * bare.area_um2)
    assert high.area_um2 == pytest.approx(3.35 * 1.67 * bare.area_um2)
    assert low.energy_pj == pytest.approx(0.8 * 1.2 * (2 * 1.56 + 3.32) / 1000)
    assert high.energy_pj == pytest.approx(2.1 * 2.0 * (2 * 3.75 + 9.0 * 2) / 1000)


@pytest.mark.parametrize("placed", [False, True])
def test_bounds_are_in_order(technology: Technology, placed: bool) -> None:
    for cell in CELLS:
        costs = [cost_of(Cells(**{cell: 1}), technology, b, placed=placed) for b in BOUNDS]
        areas, energies = zip(*costs, strict=True)
        assert list(areas) == sorted(areas)
        assert list(energies) == sorted(energies)
        assert areas[0] > 0
        assert energies[0] > 0


def test_the_cost_of_a_specification_moves_with_it(technology: Technology) -> None:
    def cost(product: Callable[[Any, Any], Any], bits: int = 8) -> float:
        tally = Tally()
        product(0, tally.word(0, bits))
        return cost_of(tally.operations(), technology).area_um2

    def edited(weight: int, activation: Any) -> Any:
        return product_w4a8(weight, activation) + activation

    assert cost(edited) > cost(product_w4a8)
    assert cost(product_w4a8, 9) > cost(product_w4a8)
    tally = Tally()
    product_w4a8(0, tally.word(0, 8))
    before = cost_of(tally.operations(), technology)
    tally.note("xor", 8)
    after = cost_of(tally.operations(), technology)
    assert (after.area_um2, after.energy_pj) > before
    assert after.area_um2 - before.area_um2 == pytest.approx(
        cost_of(Cells(xor2=8), technology).area_um2
    )


def test_28_nm_is_45_nm_scaled() -> None:
    large, small = (load_technology(name) for name in TECHNOLOGIES)
    for cell, cost in small.cells.items():
        of_45 = large.cells[cell]
        assert cost.area_um2.nominal == pytest.approx(0.377 * of_45.area_um2.nominal, rel=1e-3)
        assert cost.area_um2.at("high") == pytest.approx(0.46 * of_45.area_um2.nominal, rel=1e-3)
        for bound, factor in zip(BOUNDS, (0.421, 0.507, 0.641), strict=True):
            scaled = factor * of_45.energy_fj.at(bound)
            assert cost.energy_fj.at(bound) == pytest.approx(scaled, rel=1e-3)


def test_all_technologies_are_tested() -> None:
    assert tuple(names(TECHNOLOGY_FOLDER)) == TECHNOLOGIES


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ({("addd", 8): 1}, "no gates for operation 'addd' on words; did you mean 'add'?"),
        ({("exp", "fp32"): 1}, "no gates for operation 'exp' on floats"),
        (
            {("mul", "fp17"): 1},
            "operation 'mul': no gates for format 'fp17'; did you mean 'fp16'?",
        ),
        ({("mul", "exact"): 1}, "operation 'mul': no gates for format 'exact'"),
        ({("add", None): 1}, "operation 'add' needs one width, got None"),
        ({("add", (8, 8)): 1}, "operation 'add' needs one width, got (8, 8)"),
        ({("mul", 8): 1}, "operation 'mul' needs two widths, got 8"),
        ({("add", 0): 1}, "bits must be >= 1, got 0"),
        ({("add", -3): 1}, "bits must be >= 1, got -3"),
        ({("mul", (8, -1)): 1}, "bits must be >= 1, got -1"),
        ({("look_up", (8, 0)): 1}, "inputs must be >= 1, got 0"),
        ({("barrel_shift", (8, 0)): 1}, "amount_bits must be >= 1, got 0"),
        ({("add", 8): -1}, "'add' of size 8: number must be >= 0, got -1"),
    ],
)
def test_what_has_no_gates_is_refused(operations: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        cells_of(operations)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cells(mux2=-1, dff=-2), "mux2 must be >= 0, got -1\ndff must be >= 0, got -2"),
        (lambda: gates.prefix_adder(0), "bits must be >= 1, got 0"),
        (lambda: gates.leading_one(0), "bits must be >= 1, got 0"),
        (lambda: gates.popcount(0), "bits must be >= 1, got 0"),
        (lambda: gates.divider(0, 2), "bits must be >= 1, got 0"),
        (lambda: gates.divider(2, 0), "bits must be >= 1, got 0"),
        (lambda: gates.lut_storage(0, 8), "bits must be >= 1, got 0"),
        (lambda: gates.lut_storage(8, 0), "entries must be >= 1, got 0"),
        (lambda: gates.float_adder(Float(0, 3)), "exponent bits must be >= 1, got 0"),
        (lambda: gates.float_adder(Float(3, 0)), "significand bits must be >= 1, got 0"),
        (lambda: gates.float_multiplier(TINY, Float(0, 3)), "exponent bits must be >= 1, got 0"),
    ],
)
def test_impossible_components_are_refused(make: Callable[[], Cells], message: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message


def test_a_technology_without_a_cell_is_refused() -> None:
    technology = load_technology("nangate_45nm")
    cells = {name: cost for name, cost in technology.cells.items() if name != "inv"}
    with pytest.raises(InputError) as error:
        replace(technology, {"cells": cells})
    assert str(error.value) == (
        "cells: needs exactly these cells: full_adder, half_adder, mux2, xor2, and2, or2, inv, dff"
    )


def test_an_unknown_technology_is_refused() -> None:
    with pytest.raises(InputError, match="unknown technology 'nangate_45'"):
        load_technology("nangate_45")
