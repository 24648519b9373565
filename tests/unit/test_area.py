"""Is every part of a chip counted once, and are the parts those of the prices?"""

import pytest

from simulator.api import load_device
from simulator.config import replace
from simulator.cost import Constant, cost_of, load_profile, load_technology
from simulator.cost.gates import register
from simulator.design import FRAME, TECHNOLOGY, Terms, design, element_names, load_element
from simulator.errors import InputError
from simulator.hardware.area import LEFT_OUT, Area, area_of, edges_um2
from simulator.hardware.matrix import SystolicArray
from simulator.hardware.pricing import column_cells, element_area_um2, row_cells

DEVICE = load_device(FRAME)
TECH = load_technology(TECHNOLOGY)
TERMS = Terms()
AREAS = load_profile(DEVICE.energy).areas
FMA_MM2 = element_area_um2(load_element("fp16_fma"), TECH) / 1e6


def test_the_baseline_by_hand() -> None:
    """768 elements with two FP16 operands and a sum of 32 bits; a MiB; 64 lanes."""
    area = area_of(DEVICE, AREAS, TECH)
    flip_flops = 768 * cost_of(register(32), TECH).area_um2 / 1e6
    assert area.operand_registers == pytest.approx(flip_flops)
    assert area.accumulators == pytest.approx(flip_flops)
    assert area.logic == pytest.approx(768 * FMA_MM2 - 2 * flip_flops)
    assert (area.edges, area.beside, area.fixed) == (0, 0, 0)
    assert area.buffers == pytest.approx(AREAS.scratchpad_mm2_per_mib.nominal)
    assert area.vector_unit == pytest.approx(64 * AREAS.vector_lane_mm2.nominal)
    assert area.placement_factor == TECH.overheads.placement_area.nominal


@pytest.mark.parametrize("name", element_names())
def test_parts_add_up_to_the_array_that_compare_prices(name: str) -> None:
    device, elements, array_mm2 = design(load_element(name), TERMS)
    area = area_of(device, AREAS, TECH)
    parts = (area.logic, area.operand_registers, area.accumulators)
    each = element_area_um2(load_element(name), TECH) / 1e6
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(elements * each)
    assert area.array_mm2 == pytest.approx(array_mm2)
    rest = area.buffers + area.vector_unit
    assert area.chip_mm2 == pytest.approx(array_mm2 + rest)


@pytest.mark.parametrize("name", ["lut_w2a8", "figna", "ant", "bitmod", "int8_mac"])
def test_what_rows_and_columns_share_is_counted_once_each(name: str) -> None:
    pe = load_element(name)
    device = design(pe, TERMS)[0]
    array = device.matrix
    assert isinstance(array, SystolicArray)
    row, column = (
        max(cost_of(cells(pe, pair), TECH).area_um2 for pair in pe.formats)
        for cells in (row_cells, column_cells)
    )
    assert edges_um2(pe, TECH) == (row, column)
    area = area_of(device, AREAS, TECH)
    assert area.edges == pytest.approx((array.rows * row + array.columns * column) / 1e6)
    assert (area.edges > 0) == (name != "int8_mac")


def test_decoders_of_weights_stand_at_columns_and_those_of_both_at_both_edges() -> None:
    assert edges_um2(load_element("ant"), TECH)[0] == edges_um2(load_element("ant"), TECH)[1] > 0
    rows, columns = edges_um2(load_element("bitmod"), TECH)
    assert rows == 0 < columns


def test_a_unit_beside_is_a_part_of_its_own() -> None:
    area = area_of(design(load_element("figna"), TERMS)[0], AREAS, TECH)
    assert area.beside == pytest.approx(12 * 16 * FMA_MM2)
    doubled = area_of(design(load_element("figna"), TERMS)[0], AREAS, TECH, {"fp16_fma": 2})
    assert doubled.beside == pytest.approx(2 * area.beside)
    assert doubled.logic == area.logic


def test_arrays_and_cores_multiply_and_what_is_fixed_does_not() -> None:
    one = area_of(DEVICE, AREAS, TECH)
    fixed = AREAS.model_copy(update={"fixed_mm2": Constant(nominal=5, source="test")})
    two = area_of(replace(DEVICE, {"matrix.arrays": 2}), fixed, TECH)
    assert two.logic == pytest.approx(2 * one.logic)
    assert (two.buffers, two.vector_unit, two.fixed) == (one.buffers, one.vector_unit, 5)
    assert two.chip_mm2 == pytest.approx(one.chip_mm2 + one.array_mm2 + 5)
    # Cores need a network, which has no area.
    ring = {"link_width": "64 B", "hop_cycles": 1, "multicast": True, "source": "test"}
    four = area_of(replace(DEVICE, {"cores": 4, "network": ring}), AREAS, TECH)
    assert four.chip_mm2 == pytest.approx(4 * one.chip_mm2)


def test_what_is_left_out_is_said() -> None:
    assert set(LEFT_OUT) == {"dequantisers", "NoC", "memory PHY", "control, clock, I/O"}
    assert all(why for why in LEFT_OUT.values())


def test_units_without_elements_are_refused() -> None:
    tree = {"kind": "adder_tree", "pe": "fp16_fma", "rows": 4, "columns": 8, "source": "test"}
    with pytest.raises(InputError) as caught:
        area_of(replace(DEVICE, {"matrix": tree}), AREAS, TECH)
    assert str(caught.value) == (
        "edge_fp16: only a systolic array has elements to count the area of"
    )


def test_areas_are_plain_numbers() -> None:
    area = Area(
        **dict.fromkeys(("logic", "operand_registers", "accumulators", "edges", "beside"), 1.0),
        **dict.fromkeys(("buffers", "vector_unit", "fixed"), 10.0),
        placement_factor=100.0,
    )
    assert (area.array_mm2, area.chip_mm2) == (5, 35)
