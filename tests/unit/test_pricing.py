"""Is an element priced by the operations of its specification, and by nothing typed beside it?"""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import pytest

from simulator.api import load_device
from simulator.config import names, replace, resolved
from simulator.cost import Bound, Cells, Technology, cost_of, gates, load_profile, load_technology
from simulator.design import FRAME, load_element
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware import pricing
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement, Throughput
from simulator.hardware.pricing import (
    BOUNDS,
    column_cells,
    edge_pj,
    element_area_um2,
    element_cells,
    element_cost,
    held_bits,
    mac_pj,
    of_a_pass,
    priced_by_gates,
    row_cells,
    scale_cells,
)
from simulator.numerics import element as elements
from simulator.numerics.element import Work, work
from simulator.numerics.lut_full import full_table
from simulator.numerics.word import Tally, bits_of

PARTS = names(PE_FOLDER)
PAIRS = [(part, pair) for part in PARTS for pair in load_element(part).formats]


def at_the_edge(name: str) -> ProcessingElement:
    """Return an element that makes tables itself, at the array's edge."""
    return replace(load_element(name), {"shared_at": "edge"})


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
    lut = replace(at_the_edge("lut_w2a8"), {"micro_tile": [1, 1, 4]})
    done = work("lut", 4, get("int2"), get("int8"))
    assert done.shared
    assert row_cells(lut, "int2xint8") == gates.cells_of(done.shared)
    rows = replace(lut, {"micro_tile": [3, 1, 4]})
    assert row_cells(rows, "int2xint8") == 3 * gates.cells_of(done.shared)
    columns = replace(lut, {"micro_tile": [1, 3, 4]})
    assert row_cells(columns, "int2xint8") == gates.cells_of(done.shared)
    assert row_cells(load_element("int8_mac"), "int8xint8") == Cells()


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
    # A pass reads an entry of 12 bits of 8 and adds it to the partial sum; 2 x 16 outputs hold two
    # tables, 16 columns of weights and their sums.
    one = gates.mux(8, 12) + gates.adder(32)
    held = gates.register(16 * 4 * passes + 2 * 8 * 12 + 32 * 32)
    assert element_cells(pe, pair) == 32 * one + held


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


def test_what_is_stored_stays_through_all_passes() -> None:
    operations = Counter({("add", 8): 4, ("store", 11): 4, ("store", 9): 1})
    passed = Counter({("add", 8): 2, ("store", 11): 4, ("store", 9): 1})
    assert of_a_pass(Work(2, operations, Counter())) == passed


@pytest.mark.parametrize(("pair", "passes"), [("int1xint8", 1), ("int4xint8", 4)])
def test_a_table_in_an_element_is_there_once_a_row_of_its_tile(pair: str, passes: int) -> None:
    pe = replace(load_element("unpu"), {"micro_tile": [2, 16, 4]})
    output = gates.mux(16, 11) + gates.adder(32)
    # Of 11, 5 and 1 additions of 8, 9 and 10 bits every fourth, in four passes; 16 entries.
    sums = {1: [8] * 11 + [9] * 5 + [10], 4: [10, 9, 8, 8, 8]}[passes]
    table = sum(map(gates.adder, sums), gates.register(16 * 11))
    held = gates.register(16 * 4 * passes + 2 * 4 * 8 + 2 * 16 * 32)
    assert element_cells(pe, pair) == 2 * 16 * output + 2 * table + held
    assert row_cells(pe, pair) == Cells()


def test_a_full_table_outside_is_shared_and_its_element_reads_twice_the_entries() -> None:
    one = {"micro_tile": [1, 1, 4]}
    full = replace(at_the_edge("lut_conventional"), one)
    half = replace(load_element("lut_w2a8"), one)
    # The entries of a full table are as wide as they are.
    bits = sum(bits_of(each) for each in full_table([Tally().word(-128, 8)] * 4))
    held = gates.register(4 * 2 + bits + 32)
    assert element_cells(full, "int2xint8") == gates.mux(16, 11) + gates.adder(32) + held
    sums = 11 * gates.adder(8) + 5 * gates.adder(9) + gates.adder(10)
    assert row_cells(full, "int2xint8") == sums
    ours, theirs = (element_cells(pe, "int2xint8").mux2 for pe in (half, full))
    assert (ours, theirs) == (7 * 12, 15 * 11)


def test_a_table_of_figlut_is_held_by_its_units() -> None:
    pe = load_element("figlut")
    _, outputs, k = pe.micro_tile
    read = gates.xor_row(3) + gates.mux(8, 19) + gates.xor_row(19) + gates.adder(32)
    # The table's flip-flops hold the activations.
    held = gates.register(outputs * k * 4 + outputs * 32)
    assert element_cells(pe, "int4xfp16") == outputs * read + gates.register(8 * 19) + held
    # Alignment and sums are made once for a row of elements.
    assert row_cells(pe, "int4xfp16").dff == 0
    assert row_cells(pe, "int4xfp16") == row_cells(pe, "int1xfp16")


def test_a_unit_of_bit_fusion_has_sixteen_bricks_and_five_trees() -> None:
    pe = load_element("bit_fusion")
    bricks = 16 * gates.multiplier(3, 3, signed=True) + 32 * gates.and_row(1)
    four = (gates.adder(7) + gates.adder(9) + gates.adder(10)) + 3 * gates.barrel_shifter(7, 1)
    four += gates.barrel_shifter(9, 1)
    top = (gates.adder(13) + gates.adder(17) + gates.adder(18)) + 3 * gates.barrel_shifter(13, 1)
    top += gates.barrel_shifter(17, 1)
    unit = bricks + 4 * four + top + gates.adder(32)
    # A pass takes 16 pairs of 2 bits, 4 of 4 or 1 of 8: registers for all 16 values would be more.
    for pair, operands in (("int2xint2", 64), ("int4xint4", 32), ("int8xint8", 16)):
        assert element_cells(pe, pair) == unit + gates.register(operands + 32)


def test_energy_of_a_mac_is_its_share_of_all_passes(technology: Technology) -> None:
    pe = replace(load_element("lut_w2a8"), {"micro_tile": [2, 3, 4]})
    one = element_cost(pe, "int4xint8", technology).energy_pj
    # Operands hold still after the first of four passes.
    still = cost_of(gates.register(held_bits(pe, "int4xint8")[0]), technology).energy_pj
    expected = (4 * one - 3 * still) / 24
    assert mac_pj(pe, "int4xint8", technology) == pytest.approx(expected, rel=1e-12)
    assert mac_pj(pe, "int2xint8", technology) < mac_pj(pe, "int4xint8", technology)
    slow = replace(pe, {"initiation_interval": 3})
    expected = (12 * one - 11 * still) / 24
    assert mac_pj(slow, "int4xint8", technology) == pytest.approx(expected, rel=1e-12)
    # Those of Bit Fusion are new in each.
    streams = load_element("bit_fusion")
    one = element_cost(streams, "int8xint8", technology).energy_pj
    assert mac_pj(streams, "int8xint8", technology) == pytest.approx(16 * one / 16, rel=1e-12)


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
    units = [Throughput(kind="throughput", pe=pe, macs=1, source="test") for pe in (lut, mac)]
    priced = priced_by_gates(profile, units, technology)
    assert set(priced.mac_constants) == {*lut.formats, *mac.formats}
    for bound in BOUNDS:
        # Both multiply int8xint8: the first one's price.
        assert priced.mac_pj("int8xint8", bound) == mac_pj(lut, "int8xint8", technology, bound)
    assert priced.mac_constants["int2xint8"].source == "PE 'lut_w2a8' by gates in scaled_28nm"
    swapped = priced_by_gates(profile, units[::-1], technology)
    assert swapped.mac_pj("int8xint8") == mac_pj(mac, "int8xint8", technology)
    assert priced.model_copy(update={"mac_constants": profile.mac_constants}) == profile


def test_where_producers_make_tables_a_row_holds_them() -> None:
    lut, edge = load_element("lut_w2a8"), at_the_edge("lut_w2a8")
    # 8 entries of 12 bits a pass for four activations.
    assert lut.table_bits("int2xint8") == Fraction(8 * 12, 4)
    assert row_cells(lut, "int2xint8") == gates.register(2 * 8 * 12)
    assert edge.table_bits("int2xint8") == 0
    assert row_cells(edge, "int2xint8").full_adder > 0


@pytest.mark.parametrize("part", ["ant", "olive", "bitmod", "qserve"])
def test_decoders_of_weights_are_at_columns_once_for_each_weight_of_a_tile(part: str) -> None:
    pe = load_element(part)
    pair = next(iter(pe.formats))
    forms = [get(name) for name in pair.split("x")]
    m, n, k = pe.micro_tile
    done = work(pe.kernels[pair], k, *forms)
    assert done.decoded
    assert column_cells(pe, pair) == n * gates.cells_of(done.decoded)
    wide = replace(pe, {"micro_tile": [m, 2 * n, k]})
    assert column_cells(wide, pair) == 2 * column_cells(pe, pair)
    assert column_cells(replace(pe, {"micro_tile": [2 * m, n, k]}), pair) == column_cells(pe, pair)


@pytest.mark.parametrize(("part", "pair"), [("figna", "int4xfp16"), ("ant", "flint4xflint4")])
def test_a_mac_pays_its_share_of_the_edges(part: str, pair: str, technology: Technology) -> None:
    pe = load_element(part)
    _, _, k = pe.micro_tile
    row, column = (
        cost_of(cells(pe, pair), technology).energy_pj for cells in (row_cells, column_cells)
    )
    share = edge_pj(pe, pair, 12, 64, technology)
    assert share == pytest.approx((row / 64 + column / 12) / k)
    assert share > 0
    array = replace(load_device(FRAME).matrix, {"pe": resolved(pe)})
    priced = priced_by_gates(load_profile("edge_28nm"), [array], technology)
    assert priced.mac_pj(pair) == pytest.approx(mac_pj(pe, pair, technology) + share)


def test_elements_without_edges_pay_for_none(technology: Technology) -> None:
    assert edge_pj(load_element("int8_mac"), "int8xint8", 12, 64, technology) == 0


@pytest.mark.parametrize(
    ("part", "pair", "operands"),
    [
        # Codes; what decoders hand on; aligned activations; tables of eight entries.
        ("int8_mac", "int8xint8", 8 + 8),
        ("qserve", "int4xint8", 8 + 8),
        ("figna", "int4xfp16", 4 + 15),
        ("lut_w2a8", "int2xint8", 16 * 4 * 2 + 2 * 8 * 12),
    ],
)
def test_operands_are_held_as_wide_as_they_enter(part: str, pair: str, operands: int) -> None:
    assert held_bits(load_element(part), pair)[0] == operands


def test_an_element_that_scales_has_the_hardware_of_a_pass_of_it(technology: Technology) -> None:
    pe, pair = load_element("bitmod"), "bitmod4xfp16"
    done = work("bit_mod", 4, get("bitmod4"), get("fp16"))
    assert done.scale_passes == 8
    scale = scale_cells(pe, pair)
    # A mask, an adder as wide as the widest, a register of the sum that waits.
    assert scale == gates.and_row(32) + gates.adder(32) + gates.register(32)
    one = element_cost(pe, pair, technology).energy_pj - cost_of(scale, technology).energy_pj
    still = cost_of(gates.register(held_bits(pe, pair)[0]), technology).energy_pj
    # Eight passes in 128 MACs.
    share = 8 * cost_of(scale, technology).energy_pj / 128
    assert mac_pj(pe, pair, technology) == pytest.approx((2 * one - still) / 4 + share)
    assert scale_cells(load_element("int8_mac"), "int8xint8") == Cells()
