"""Is an element priced by the operations of its specification, and by nothing typed beside it?"""

from collections import Counter
from collections.abc import Iterator

import pytest

from simulator.compare import load_element
from simulator.config import names, replace
from simulator.cost import Bound, Cells, Technology, cost_of, gates, load_profile, load_technology
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware import pricing
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement
from simulator.hardware.pricing import (
    BOUNDS,
    element_area_um2,
    element_cells,
    element_cost,
    mac_pj,
    of_a_pass,
    priced_by_gates,
    shared_cells,
)
from simulator.numerics import element as elements
from simulator.numerics.element import Work, work
from simulator.numerics.word import Tally

PARTS = names(PE_FOLDER)
PAIRS = [(part, pair) for part in PARTS for pair in load_element(part).formats]


@pytest.fixture(scope="module")
def technology() -> Technology:
    """The technology in which elements are compared."""
    return load_technology("scaled_28nm")


@pytest.fixture
def recounted() -> Iterator[None]:
    """Forget what was counted, before and after a test that edits a specification."""
    caches = (elements._counted, pricing._cells)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_an_int8_mac_is_a_multiplier_an_adder_and_registers() -> None:
    expected = gates.multiplier(8, 8, signed=True) + gates.adder(32) + gates.register(8 + 8 + 32)
    assert element_cells(load_element("int8_mac"), "int8xint8") == expected
    assert expected == Cells(full_adder=48 + 32, half_adder=10, and2=64, dff=48)


def test_a_ternary_adder_negates_masks_and_adds() -> None:
    pe = load_element("ternary_adder")
    done = work("ternary", 1, get("ternary"), get("int8"))
    # 8/5 bits of a weight take two flip-flops.
    expected = gates.cells_of(done.operations) + gates.register(2 + 8 + 32)
    assert element_cells(pe, "ternaryxint8") == expected
    assert done.operations["add", 32] == 1


def test_a_micro_tile_has_the_cells_of_its_outputs_and_shares_operands() -> None:
    one = load_element("int8_mac")
    tile = replace(one, {"micro_tile": [2, 3, 4]})
    # One adder a product: k of them in an element of k.
    mac = gates.multiplier(8, 8, signed=True) + gates.adder(32)
    held = gates.register(3 * 4 * 8 + 2 * 4 * 8 + 2 * 3 * 32)
    assert element_cells(tile, "int8xint8") == 2 * 3 * 4 * mac + held


def test_what_outputs_share_is_counted_once_a_row_and_not_in_the_element() -> None:
    lut = load_element("lut_w2a8")
    done = work("lut", 4, get("int2"), get("int8"))
    assert done.shared
    assert shared_cells(lut, "int2xint8") == gates.cells_of(done.shared)
    rows = replace(lut, {"micro_tile": [3, 1, 4]})
    assert shared_cells(rows, "int2xint8") == 3 * gates.cells_of(done.shared)
    columns = replace(lut, {"micro_tile": [1, 3, 4]})
    assert shared_cells(columns, "int2xint8") == gates.cells_of(done.shared)
    assert shared_cells(load_element("int8_mac"), "int8xint8") == Cells()


@pytest.mark.parametrize(("part", "pair"), PAIRS)
def test_low_nominal_and_high_are_in_order(part: str, pair: str, technology: Technology) -> None:
    pe = load_element(part)
    low, nominal, high = (element_cost(pe, pair, technology, bound) for bound in BOUNDS)
    assert 0 < low.area_um2 <= nominal.area_um2 <= high.area_um2
    assert 0 < low.energy_pj <= nominal.energy_pj <= high.energy_pj
    energies = [mac_pj(pe, pair, technology, bound) for bound in BOUNDS]
    assert energies == sorted(energies)
    assert energies[0] < energies[2]


@pytest.mark.parametrize(
    ("pair", "passes"), [("int1xint8", 1), ("int2xint8", 2), ("int4xint8", 4), ("int8xint8", 8)]
)
def test_elements_of_several_passes_have_the_hardware_of_one(pair: str, passes: int) -> None:
    pe = load_element("lut_w2a8")
    assert pe.passes(pair) == passes
    # A pass reads an entry of 12 bits of 8 and adds it to the partial sum.
    one = gates.mux(8, 12) + gates.adder(32)
    assert element_cells(pe, pair) == one + gates.register(4 * passes + 4 * 8 + 32)


def test_a_pass_has_the_widest_of_each_turn() -> None:
    operations = Counter(
        {("add", 9): 2, ("add", 12): 1, ("mul", (3, 4)): 3, ("add", "fp32"): 1, ("xor", 2): 4}
    )
    passed = of_a_pass(Work(2, operations, Counter()))
    # Adders of 12, 9 and 9 bits in two turns: 12 does two, 9 one. Floats are apart.
    assert passed == Counter(
        {("add", 12): 1, ("add", 9): 1, ("mul", (3, 4)): 2, ("add", "fp32"): 1, ("xor", 2): 2}
    )
    assert of_a_pass(Work(1, operations, Counter())) == operations


def test_energy_of_a_mac_is_its_share_of_all_passes(technology: Technology) -> None:
    pe = load_element("lut_w2a8")
    one = element_cost(pe, "int4xint8", technology).energy_pj
    assert mac_pj(pe, "int4xint8", technology) == pytest.approx(4 * one / 4, rel=1e-12)
    assert mac_pj(pe, "int2xint8", technology) < mac_pj(pe, "int4xint8", technology)
    tile = replace(pe, {"micro_tile": [2, 3, 4]})
    whole = element_cost(tile, "int4xint8", technology).energy_pj
    assert mac_pj(tile, "int4xint8", technology) == pytest.approx(4 * whole / 24, rel=1e-12)
    slow = replace(pe, {"initiation_interval": 3})
    assert mac_pj(slow, "int4xint8", technology) == pytest.approx(3 * one, rel=1e-12)


def test_area_is_that_of_the_largest_pair(technology: Technology) -> None:
    pe = load_element("bitmod")
    areas = {pair: element_cost(pe, pair, technology).area_um2 for pair in pe.formats}
    assert element_area_um2(pe, technology) == max(areas.values())
    assert len(set(areas.values())) > 1


@pytest.mark.parametrize("bound", BOUNDS)
def test_area_takes_its_bound(bound: Bound, technology: Technology) -> None:
    pe = load_element("int8_mac")
    expected = cost_of(element_cells(pe, "int8xint8"), technology, bound)
    assert element_area_um2(pe, technology, bound) == expected.area_um2
    assert mac_pj(pe, "int8xint8", technology, bound) == expected.energy_pj


@pytest.mark.usefixtures("recounted")
def test_editing_a_specification_moves_area_energy_and_passes(
    monkeypatch: pytest.MonkeyPatch, technology: Technology
) -> None:
    pe = load_element("mixpe_w4a8")
    before = element_cost(pe, "int4xint8", technology)
    assert pe.passes("int4xint8") == 1
    original = elements.product_w4a8

    def edited(weight: object, x: object) -> object:
        """One addition and one pass more than the specification of MixPE."""
        product = original(weight, x)  # type: ignore[arg-type, call-overload]
        product + product
        for _ in range(2):
            product.tally.counts["pass"] += 1
        return product

    monkeypatch.setattr(elements, "product_w4a8", edited)
    elements._counted.cache_clear()
    pricing._cells.cache_clear()
    after = element_cost(pe, "int4xint8", technology)
    assert pe.passes("int4xint8") == 2
    # Two passes share adders: as wide an adder as before does both turns.
    assert after != before
    assert mac_pj(pe, "int4xint8", technology) != before.energy_pj


@pytest.mark.usefixtures("recounted")
def test_an_operation_more_costs_its_gates(
    monkeypatch: pytest.MonkeyPatch, technology: Technology
) -> None:
    pe = load_element("int8_mac")
    before, cost = element_cells(pe, "int8xint8"), element_cost(pe, "int8xint8", technology)
    original = elements._accumulated

    def edited(tally: Tally, products: object) -> None:
        original(tally, products)  # type: ignore[arg-type]
        tally.word(0, 20) ^ tally.word(0, 20)

    monkeypatch.setattr(elements, "_accumulated", edited)
    elements._counted.cache_clear()
    pricing._cells.cache_clear()
    assert element_cells(pe, "int8xint8") == before + gates.xor_row(20)
    dearer = element_cost(pe, "int8xint8", technology)
    assert dearer.area_um2 > cost.area_um2
    assert dearer.energy_pj > cost.energy_pj


def test_a_pair_without_a_kernel_is_refused(technology: Technology) -> None:
    pe = ProcessingElement(name="mine", formats={"int4xint8": 1}, source="test")
    expected = "PE 'mine': int4xint8 has no kernel whose operations could be counted"
    with pytest.raises(InputError) as caught:
        element_area_um2(pe, technology)
    assert str(caught.value) == expected
    with pytest.raises(InputError) as caught:
        element_cells(pe, "int4xint8")
    assert str(caught.value) == expected


def test_a_pair_that_an_element_does_not_multiply_is_refused(technology: Technology) -> None:
    with pytest.raises(InputError) as caught:
        element_cost(load_element("int8_mac"), "fp16xfp16", technology)
    assert str(caught.value) == "PE 'int8_mac' does not multiply fp16xfp16; it does: int8xint8"


def test_a_kernel_that_is_not_counted_is_refused() -> None:
    pe = ProcessingElement(
        name="mine", formats={"int4xint8": 1}, kernels={"int4xint8": "t_mac"}, source="t"
    )
    with pytest.raises(InputError) as caught:
        element_cells(pe, "int4xint8")
    assert str(caught.value).startswith("unknown element 't_mac'")


def test_a_profile_prices_macs_by_gates_and_keeps_the_rest(technology: Technology) -> None:
    profile, lut, mac = load_profile("edge_28nm"), *map(load_element, ("lut_w2a8", "int8_mac"))
    priced = priced_by_gates(profile, (lut, mac), technology)
    assert set(priced.mac_constants) == {*lut.formats, *mac.formats}
    for bound in BOUNDS:
        # Both multiply int8xint8: the first one's price.
        assert priced.mac_pj("int8xint8", bound) == mac_pj(lut, "int8xint8", technology, bound)
    assert priced.mac_constants["int2xint8"].source == "gates of PE 'lut_w2a8' in scaled_28nm"
    swapped = priced_by_gates(profile, (mac, lut), technology)
    assert swapped.mac_pj("int8xint8") == mac_pj(mac, "int8xint8", technology)
    assert priced.model_copy(update={"mac_constants": profile.mac_constants}) == profile
