"""Are MACs and dot units of integers and floats counted as the experiment says, and compared so?"""

import csv
from pathlib import Path

import numpy as np
import pytest
from experiments_loaded import loaded

from simulator.cost import CELLS, FLOATS, Cells, Cost, Float, cells_of, cost_of, load_technology
from simulator.cost.gates import (
    adder,
    barrel_shifter,
    float_adder,
    float_rounder,
    multiplier,
    negater,
    normaliser,
    register,
)
from simulator.formats import get
from simulator.numerics.metrics import sqnr_db
from simulator.numerics.word import Tally

FOLDER = Path(__file__).parents[2] / "experiments" / "int_vs_fp"
NAMES = ("units", "figure", "run")

units, _, run = loaded("int_vs_fp", NAMES)
TECHNOLOGY = load_technology("scaled_28nm")
FP32 = FLOATS["fp32"]
POWER = units.Scale(2, 8)


def less(one: Cells, other: Cells) -> Cells:
    return Cells(*(getattr(one, name) - getattr(other, name) for name in CELLS))


def point(name: str, family: str, area: float, sqnr: float) -> object:
    return run.Point(name, family, Cost(area, area), {"plain": sqnr})


def after_the_sum(sum_bits: int, element_bits: int) -> Cells:
    """What a dot unit of two elements with scales of powers of two has after its sum."""
    scales = adder(9) + adder(10)
    rounded = normaliser(sum_bits, 8) + float_rounder(FP32)
    return rounded + scales + float_adder(FP32) + register(32 + 2 * element_bits * 2)


def test_an_integer_mac_is_a_product_and_a_sum() -> None:
    bare = multiplier(8, 8, signed=True) + adder(32)
    assert units.int_mac(8, registers=False) == bare
    assert units.int_mac(8, registers=True) == bare + register(8 + 8 + 32)


def test_a_float_mac_is_an_exact_product_and_a_rounded_sum() -> None:
    bare = units.float_mac(FLOATS["fp8_e4m3"], FLOATS["fp16"], registers=False)
    assert bare == multiplier(4, 4) + adder(5) + Cells(xor2=1) + float_adder(FLOATS["fp16"])
    held = less(units.float_mac(FLOATS["fp8_e4m3"], FLOATS["fp16"], registers=True), bare)
    assert held == register(8 + 8 + 16)


def test_a_tree_adds_pairs_and_grows_a_bit_a_level() -> None:
    tally = Tally()
    total = units.tree([tally.word(value, 6) for value in (1, 2, 3, 4, 5, 6, 7, 8)])
    assert (int(total), total.bits) == (36, 9)
    assert tally.operations() == {("add", 6): 4, ("add", 7): 2, ("add", 8): 1}


def test_a_dot_unit_of_integers() -> None:
    products = 2 * cells_of({("mul", (4, 4)): 1}) + adder(8)
    assert units.int_block(4, POWER) == products + after_the_sum(9, 4)


def test_a_dot_unit_of_floats_keeps_all_bits_of_e2m1() -> None:
    """A product of 4 bits goes up by 0 to 4 places: 8 bits, then a sign."""
    one = cells_of({("mul", (2, 2)): 1}) + adder(2) + barrel_shifter(8, 3) + negater(8)
    assert units.fixed(Float(2, 2), POWER) == 2 * one + adder(9) + after_the_sum(10, 4)


def test_a_dot_unit_aligns_to_the_largest_exponent() -> None:
    one = cells_of({("mul", (4, 4)): 1}) + adder(4)
    larger = cells_of({("compare", 5): 1})
    shifted = adder(5) + barrel_shifter(units.WINDOW, 6) + negater(units.WINDOW)
    expected = 2 * (one + shifted) + larger + adder(units.WINDOW + 1)
    expected += after_the_sum(units.WINDOW + 2, 8)
    assert units.aligned(Float(4, 4), POWER) == expected


@pytest.mark.parametrize(("form", "way"), [(Float(2, 4), "fixed"), (Float(5, 3), "aligned")])
def test_the_smaller_way_is_taken(form: Float, way: str) -> None:
    scale = run.E8M0
    taken = units.float_block(form, scale, TECHNOLOGY)
    assert taken == getattr(units, way)(form, scale)
    areas = [cost_of(one(form, scale), TECHNOLOGY).area_um2 for one in (units.fixed, units.aligned)]
    assert cost_of(taken, TECHNOLOGY).area_um2 == min(areas)


def test_scales_with_a_significand_multiply() -> None:
    power, scaled = units.Scale(16, 4).product(), units.Scale(16, 4, 4).product()
    assert power == adder(5) + adder(10)
    assert less(scaled, power) == multiplier(4, 4) + multiplier(24, 8) + float_rounder(FP32)


def test_elements_are_as_wide_as_their_formats() -> None:
    for one in run.CANDIDATES:
        bits = one.element if isinstance(one.element, int) else sum(one.element)
        form = get(one.name)
        assert (form.value_bits, form.group) == (bits, one.scale.block)
        assert one.family == ("int" if isinstance(one.element, int) else "fp")
        # The hidden bit of a significand stands for the sign, which scales do not use.
        assert form.scale_bits == one.scale.exponent + one.scale.significand


def test_fp8_is_dearer_by_the_accumulator() -> None:
    ours = run.macs(TECHNOLOGY)
    base = cost_of(units.int_mac(8, registers=False), TECHNOLOGY)
    dear = cost_of(units.float_mac(Float(4, 4), FP32, registers=False), TECHNOLOGY)
    expected = 100 * (dear.energy_pj / base.energy_pj - 1)
    assert ours["mac.fp8_e4m3.fp32.energy_pj"] == pytest.approx(expected)
    areas = [
        ours[f"mac.{f}.{a}.area_um2"] for f in ("fp8_e4m3", "fp8_e5m2") for a in ("fp16", "fp32")
    ]
    assert (ours["mac.least"], ours["mac.most"]) == (min(areas), max(areas))
    assert ours["mac.least"] == ours["mac.fp8_e5m2.fp16.area_um2"]
    assert ours["mac.most"] == ours["mac.fp8_e4m3.fp32.area_um2"]


def test_the_front_has_what_nothing_beats() -> None:
    some = [
        point("dear", "fp", 3.0, 9.0),
        point("beaten", "fp", 4.0, 9.0),
        point("cheap", "int", 1.0, 5.0),
        point("twin", "int", 1.0, 4.0),
        point("worse", "fp", 2.0, 5.0),
    ]
    assert [p.name for p in run.front(some, "plain", "area_um2")] == ["cheap", "dear"]


def test_a_mac_costs_its_share_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "product_sqnr_db", lambda name, rotated: 7.0 + rotated)
    made = {p.name: p for p in run.points(TECHNOLOGY, ("plain", "rotated"))}
    assert list(made) == [one.name for one in run.CANDIDATES]
    whole = cost_of(units.int_block(4, run.E4M3), TECHNOLOGY)
    assert made["nvint4"].cost == Cost(whole.area_um2 / 16, whole.energy_pj / 16)
    assert made["nvint4"].sqnr_db == {"plain": 7.0, "rotated": 8.0}


def test_only_formats_of_one_scale_make_the_front() -> None:
    some = [
        point("int4-g32", "int", 2.0, 5.0),
        point("fp4_e2m1fn-g32", "fp", 3.0, 6.0),
        point("fp3_e2m0-g32", "fp", 4.0, 6.5),
        *(point(name, "int", 1.0, 2.0) for name in ("mxint8", "nvint4")),
        *(point(name, "fp", 4.0, 9.0) for name in ("mxfp8_e4m3", "nvfp4")),
    ]
    ours = run.compared(some, ("plain",))
    assert ours["front.plain.area_um2"] == pytest.approx(100 / 3)
    assert ours["mxint8.energy_pj"] == 0.25
    assert ours["nvint4.plain.sqnr"] == -7


def test_rotation_turns_both_operands_alike() -> None:
    (x, w), (turned_x, turned_w) = run.operands(False), run.operands(True)
    assert x.shape == w.shape == (64, 4096)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    assert sqnr_db(exact, turned_x.astype(np.float64) @ turned_w.T.astype(np.float64)) > 100
    assert np.abs(x).max() > 5 * np.abs(turned_x).max()


def test_integers_gain_by_rotation_and_floats_do_not() -> None:
    by = {
        (name, turned): run.product_sqnr_db(name, turned)
        for name in ("nvint4", "nvfp4")
        for turned in (False, True)
    }
    assert by["nvint4", False] < by["nvfp4", False]
    assert by["nvint4", True] > by["nvfp4", True] + 1


def test_sqnr_is_that_of_the_product() -> None:
    x, w = (each.astype(np.float64) for each in run.operands(False))
    form = get("int6-g32")
    decoded = [np.asarray(form.decode(form.encode(each)), np.float64) for each in (x, w)]
    error = x @ w.T - decoded[0] @ decoded[1].T
    expected = 10 * np.log10(np.sum((x @ w.T) ** 2) / np.sum(error**2))
    assert run.product_sqnr_db("int6-g32", False) == pytest.approx(expected, abs=1e-4)


def test_the_committed_table_has_the_macs_of_this_run() -> None:
    with (FOLDER / "expected.csv").open(newline="", encoding="utf-8") as file:
        committed = {row["claim"]: float(row["ours"]) for row in csv.DictReader(file)}
    assert len(committed) == 30
    for claim in run.read_claims(FOLDER / "published.csv", run.macs(TECHNOLOGY)):
        assert committed[claim.claim] == pytest.approx(claim.ours, rel=1e-6)
