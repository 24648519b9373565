"""Do units in a memory keep up with its columns, and cost what their parts do?"""

from dataclasses import replace as changed
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from simulator.config import names, replace, resolved
from simulator.cost import cost_of, load_technology
from simulator.cost.gates import mux, register
from simulator.formats import get
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement, pair_formats
from simulator.hardware.pim_unit import PIM_UNIT_FOLDER, Columns, PimUnit, load_pim_unit
from simulator.hardware.pim_unit_fit import Fit, fit
from simulator.hardware.pricing import (
    column_cells,
    element_area_um2,
    held_bits,
    mac_pj,
    row_cells,
)

UNITS = names(PIM_UNIT_FOLDER)
#: Columns of 32 bytes: of HBM-PIM each tCCDL, of GDDR6-AiM, of HBM3 at 5.2 Gb/s each tCCDL.
HBM_PIM = Columns(column_bytes=32, tick_ps=1000, cadence_ticks=4)
AIM = Columns(column_bytes=32, tick_ps=500, cadence_ticks=2)
HBM3 = Columns(column_bytes=32, tick_ps=769, cadence_ticks=4, banks=1024, read_pj=140.8)
FP16, INT8 = get("fp16"), get("int8-token")
INT4 = get("int4-g128")
GATES = load_technology("scaled_28nm")


def unit_of(pe: str, **changes: object) -> PimUnit:
    """Return a unit in banks without a cap, with an element of the package."""
    free = {"pe": pe, "power_cap": None, "buffer.capacity": "4 KiB"}
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return replace(load_pim_unit("fp16_in_bank"), {**free, **dotted})


def element(name: str) -> ProcessingElement:
    return unit_of(name).pe


def fp16(columns: Columns, vectors: int = 1, **changes: object) -> Fit:
    return fit(unit_of("fp16_fma", **changes), columns, FP16, FP16, vectors)


def is_fed(name: str, pair: str) -> bool:
    """Tell whether a micro-tile's weights have a place in a column of 32 bytes."""
    _, n, k = element(name).micro_tile
    return n * k * get(pair_formats(pair)[0]).value_bits <= 256


PAIRS = [(name, pair) for name in names(PE_FOLDER) for pair in element(name).formats]
FED = [each for each in PAIRS if is_fed(*each)]


@pytest.mark.parametrize("name", UNITS)
def test_units_bear_the_names_of_their_files(name: str) -> None:
    assert load_pim_unit(name).name == name


def test_units_in_banks_differ_by_their_elements_alone() -> None:
    in_banks = [resolved(load_pim_unit(name)) for name in UNITS if name.endswith("_in_bank")]
    own = {"name", "summary", "pe"}
    rest = [{key: value for key, value in each.items() if key not in own} for each in in_banks]
    assert len(rest) == 4
    assert all(each == rest[0] for each in rest)


def test_lanes_of_hbm_pim_take_a_column_each_tccdl_at_300_mhz() -> None:
    """16 FP16 lanes, a cycle of 3.33 ns, a column of 32 bytes each 4 ns."""
    done = fp16(HBM_PIM, clock__frequency="300 MHz", elements=16)
    assert (done.tiles.values, done.cycles, done.cadence_ticks) == (16, 1, 4)
    assert (done.bound_by, done.macs, done.tiles.inputs, done.tiles.outputs) == (
        "column",
        16,
        1,
        16,
    )
    slow = fp16(HBM_PIM, clock__frequency="240 MHz", elements=16)
    assert (slow.cadence_ticks, slow.bound_by) == (5, "unit")
    assert fp16(HBM_PIM, clock__frequency="300 MHz").tiles.elements == 16


def test_lanes_of_aim_take_a_column_a_nanosecond_at_1_ghz() -> None:
    done = fp16(AIM, clock__frequency="1 GHz", elements=16)
    assert (done.cycles, done.cadence_ticks, done.bound_by) == (1, 2, "column")
    half = fp16(AIM, clock__frequency="1 GHz", elements=8)
    assert (half.cycles, half.cadence_ticks, half.bound_by) == (2, 4, "unit")
    assert (half.tiles.inputs, half.tiles.outputs) == (2, 8)


def test_the_logic_die_of_duplex_has_its_published_peak() -> None:
    """21.3 TFLOPS of a stack's 32 pseudo-channels of 8 banks, 8 operations a byte."""
    columns = changed(HBM3, banks=256)
    done = fit(load_pim_unit("fp16_on_logic_die"), columns, FP16, FP16, 8)
    assert (done.tiles.lanes, done.tiles.rows, done.cycles) == (16, 4, 2)
    # Two cycles of 650 MHz are four ticks of 1300 MHz, which is not quite 769 ps.
    assert (done.cadence_ticks, done.bound_by) == (4, "column")
    assert 2 * 256 * done.tiles.elements * 650e6 == pytest.approx(21.3e12, rel=2e-3)
    assert 2 * 256 * done.macs / (done.cadence_ps * 1e-12) == pytest.approx(21.3e12, rel=2e-3)
    assert 2 * done.macs / 32 == 8


@pytest.mark.parametrize(
    ("pe", "weights", "values", "unused"),
    [
        ("fp16_fma", "fp16", 16, 0),
        ("mixpe_w4a8", "int4-g128", 64, 0),
        ("lut_w2a8", "int2-g128", 128, 0),
        # 85 values of 3 bits would fit, in elements of 64.
        ("lut_w2a8", "int3-g128", 64, 64),
        ("bitmod", "bitmod3", 84, 4),
        # 8 / 5 bits a value.
        ("ternary_adder", "ternary-tensor", 160, 0),
        # Widened, and so stored.
        ("fp16_fma", "int4-g128", 16, 0),
        ("int8_mac", "int4-g128", 32, 0),
    ],
)
def test_a_column_has_as_many_weights_as_fit_in_whole_micro_tiles(
    pe: str, weights: str, values: int, unused: int
) -> None:
    activations = INT8 if any(pair.endswith("xint8") for pair in element(pe).formats) else FP16
    tiles = fit(unit_of(pe), HBM3, get(weights), activations).tiles
    assert (tiles.values, tiles.unused_bits) == (values, unused)


@pytest.mark.parametrize(
    ("pe", "weights", "expected"),
    [
        ("mixpe_w4a8", "int4-g128", Fraction(1, 32)),
        ("mixpe_w4a8", "int4-g128-asym", Fraction(5, 128)),
        ("mixpe_w4a8", "int4-channel", Fraction(0)),
        ("bitmod", "bitmod4", Fraction(64 * 10, 128 * 256)),
        ("bitmod", "bitmod3", Fraction(84 * 10, 128 * 256)),
        ("mx_dot", "mxfp4", Fraction(64 * 8, 32 * 256)),
        # Stored with scales and zero points applied; of integers, with zero points.
        ("fp16_fma", "int4-g128-asym", Fraction(0)),
        ("int8_mac", "int4-g128-asym", Fraction(32 * 16, 128 * 256)),
    ],
)
def test_scales_take_columns_of_their_own(pe: str, weights: str, expected: Fraction) -> None:
    form = get(weights)
    activations = form if form.kind == "block" else FP16 if pe in ("bitmod", "fp16_fma") else INT8
    assert fit(unit_of(pe), HBM3, form, activations).tiles.scale_columns == expected


@pytest.mark.parametrize(("name", "pair"), FED)
def test_elements_are_fed_by_a_column(name: str, pair: str) -> None:
    """Those that a column does not feed are in tests/refuse."""
    weights, activations = (get(each) for each in pair_formats(pair))
    unit = unit_of(name)
    _, n, k = unit.pe.micro_tile
    done = fit(unit, HBM3, weights, activations)
    tiles = done.tiles
    assert tiles.values % (n * k) == 0
    assert tiles.values * weights.value_bits + tiles.unused_bits == 256
    assert tiles.unused_bits < n * k * weights.value_bits
    assert tiles.lanes * tiles.steps * n * k >= tiles.values
    assert (tiles.inputs, tiles.outputs) == (tiles.steps * k, tiles.lanes * n)
    for found in (done.area_mm2, done.unit_pj, done.power_w, done.stack_power_w):
        assert 0 < found.low < found.nominal < found.high
    keeps_up = done.cycles * 1e12 / unit.clock.hz <= done.cadence_ps * (1 + 1e-3)
    assert keeps_up
    assert (done.bound_by == "column") == (done.cadence_ticks == 4)


@pytest.mark.parametrize(
    ("pe", "weights", "activations", "elements"),
    [
        # Two cycles of 666 MHz in four ticks of 769 ps.
        ("fp16_fma", "fp16", "fp16", 8),
        ("mixpe_w4a8", "int4-g128", "int8-token", 32),
        ("bitmod", "bitmod4", "fp16", 16),
        ("lut_w2a8", "int2-g128", "int8-token", 2),
        ("bitmod", "bitmod3", "fp16", 21),
    ],
)
def test_matched_elements_are_the_fewest_that_keep_up(
    pe: str, weights: str, activations: str, elements: int
) -> None:
    def at(count: int | str) -> Fit:
        unit = unit_of(pe, elements=count)
        return fit(unit, HBM3, get(weights), get(activations))

    matched = at("matched")
    assert (matched.tiles.elements, matched.bound_by) == (elements, "column")
    kept = [at(count).bound_by == "column" for count in range(1, elements + 1)]
    assert kept == [False] * (elements - 1) + [True]


def test_an_element_that_is_slower_than_a_column_is_matched_by_all_that_it_feeds() -> None:
    """Four passes of INT4 in an element that takes a whole column; two cycles are there."""
    done = fit(unit_of("lut_w2a8"), HBM3, INT4, INT8)
    assert (done.tiles.elements, done.cycles) == (1, 4)
    # 6.006 ns.
    assert (done.cadence_ticks, done.bound_by) == (8, "unit")
    planes = fit(unit_of("abq_planes"), HBM3, get("int4-channel"), INT8)
    assert (planes.tiles.elements, planes.cycles, planes.bound_by) == (1, 32, "unit")


def test_an_element_of_two_vectors_serves_both_in_a_pass() -> None:
    unit = unit_of("lut_w2a8")
    one, two, three, four = (fit(unit, HBM3, INT4, INT8, vectors) for vectors in (1, 2, 3, 4))
    assert [each.cycles for each in (one, two, three, four)] == [4, 4, 8, 8]
    # Charged in full; scalers work for the vectors that are there.
    assert one.energies_pj["elements"] == two.energies_pj["elements"]
    assert four.energies_pj["elements"] == pytest.approx(
        [2 * end for end in two.energies_pj["elements"]]
    )
    assert two.energies_pj["scalers"].nominal == 2 * one.energies_pj["scalers"].nominal


def test_vectors_share_a_column_and_not_its_read() -> None:
    one, four = fp16(HBM3), fp16(HBM3, 4)
    assert (one.cycles, four.cycles) == (2, 8)
    # 12.01 ns in ticks of 769 ps.
    assert (one.cadence_ticks, four.cadence_ticks) == (4, 16)
    assert four.macs == 4 * one.macs
    each = [done.columns.read_pj + done.unit_pj.nominal for done in (one, four)]
    assert each[1] < 4 * each[0]
    rows = fp16(HBM3, 4, elements=32)
    assert (rows.tiles.lanes, rows.tiles.rows, rows.cycles) == (16, 2, 2)
    assert (rows.cadence_ticks, rows.bound_by) == (4, "column")


@pytest.mark.parametrize(
    ("pe", "weights", "turns"),
    [
        ("mixpe_w4a8", "int4-g128", 1),
        ("mixpe_w4a8", "int4-g128-asym", 2),
        ("mixpe_w4a8", "int4-channel", 0),
        # Its weights are 2 w + 1: a sum of activations is taken off.
        ("lut_w2a8", "int2-g128", 2),
        ("lut_w2a8", "int2-g128-asym", 2),
        # These multiply by scales themselves, or their decoders do.
        ("bitmod", "bitmod4", 0),
        ("qserve", "qserve", 0),
        ("fp16_dequant", "int4-g128", 0),
        ("mx_dot", "mxfp4", 0),
        ("shift_add_llm", "bcq4-g128", 0),
        # Widened: zero points are in what is stored, and to a float scales too.
        ("int8_mac", "int4-g128-asym", 1),
        ("fp16_fma", "int4-g128", 0),
    ],
)
def test_the_unit_scales_where_its_element_does_not(pe: str, weights: str, turns: int) -> None:
    form = get(weights)
    fp16_pes = ("bitmod", "fp16_dequant", "shift_add_llm", "fp16_fma")
    activations = form if form.kind == "block" else FP16 if pe in fp16_pes else INT8
    done = fit(unit_of(pe), HBM3, form, activations)
    assert (done.scalers > 0) == (turns > 0)
    assert (done.areas_mm2["scalers"].nominal > 0) == (turns > 0)
    if turns:
        wide = fit(unit_of(pe), HBM3, changed(form, name="wide", group=256), activations)
        each = done.energies_pj["scalers"].nominal
        assert each == pytest.approx(2 * wide.energies_pj["scalers"].nominal)
        one = fit(unit_of("mixpe_w4a8"), HBM3, INT4, INT8).energies_pj["scalers"].nominal / 64
        assert each == pytest.approx(turns * done.tiles.values * one)


def test_scalers_keep_up_with_elements() -> None:
    """32 MACs a cycle, a multiply-add each 128, 16, 8 of them."""
    unit = unit_of("mixpe_w4a8")
    counts = [fit(unit, HBM3, get(f"int4-g{group}"), INT8).scalers for group in (128, 32, 16, 8)]
    assert counts == [1, 1, 2, 4]


def test_a_scale_that_takes_longer_than_its_group_takes_time() -> None:
    """BitMoD multiplies in 8 passes; 16 values take 4 micro-tiles of 3 passes, 4 values one."""
    unit = unit_of("bitmod", elements=10)
    cycles = [fit(unit, HBM3, get(f"int6-g{group}"), FP16).cycles for group in (128, 16, 8, 4)]
    # 10 micro-tiles, one a lane.
    assert cycles == [3, 3, 4, 8]
    # Of 3 micro-tiles 8 passes, of 4 in a row 32 / 3.
    short = changed(get("bitmod4"), name="short", group=12)
    assert fit(unit_of("bitmod", elements=4), HBM3, short, FP16).cycles == 11


@pytest.mark.parametrize("banks", [1, 256, 1024])
def test_a_cap_sets_the_earliest_tick_within_it(banks: int) -> None:
    unit = unit_of("fp16_fma", power_cap={"stack": "30 W", "source": "test"})
    columns = changed(HBM3, banks=banks)
    done = fit(unit, columns, FP16, FP16)
    pj = banks * (140.8 + done.unit_pj.nominal)
    assert done.stack_power_w.nominal == pytest.approx(pj / (done.cadence_ticks * 769))
    assert done.stack_power_w.nominal <= 30
    assert done.bound_by == ("power" if banks == 1024 else "column")
    if banks == 1024:
        assert pj / ((done.cadence_ticks - 1) * 769) > 30
        assert fp16(HBM3).stack_power_w.nominal > 30


def test_the_cap_of_units_in_banks_is_attaccs() -> None:
    """Its MACs of 0.32 pJ keep 6 ticks; by 5 they would be above it."""
    unit = load_pim_unit("fp16_in_bank")
    assert unit.power_cap is not None
    stack_pj = 1024 * (256 * 0.55 + 16 * 0.32)
    assert stack_pj / (6 * 769) == pytest.approx(unit.power_cap.stack_w, rel=1e-3)
    assert stack_pj / (5 * 769) > unit.power_cap.stack_w


def test_the_slowest_limit_is_named() -> None:
    cap = {"stack": "30 W", "source": "test"}
    unit = unit_of("fp16_fma", elements=1, power_cap=cap)
    done = fit(unit, HBM3, FP16, FP16)
    # 16 cycles of 1.5 ns: 31.2 ticks.
    assert (done.cycles, done.cadence_ticks, done.bound_by) == (16, 32, "unit")
    idle = fit(unit, changed(HBM3, cadence_ticks=32), FP16, FP16)
    assert (idle.cadence_ticks, idle.bound_by) == (32, "column")


def test_the_area_of_an_fp16_unit_by_hand() -> None:
    unit = load_pim_unit("fp16_in_bank")
    areas = fit(unit, HBM3, FP16, FP16).areas_mm2
    factor = unit.area_factor.nominal / 1e6
    # 8 lanes; sums of three vectors more, and the choice of one of four; 512 bytes, a word a value.
    sums = register(3 * 8 * 32) + mux(4, 8 * 32)
    buffer = register(4096) + mux(256, 16)
    um2 = {
        "elements": 8 * element_area_um2(unit.pe, GATES),
        "edges": 0.0,
        "sums": cost_of(sums, GATES).area_um2,
        "buffer": cost_of(buffer, GATES).area_um2,
        "scalers": 0.0,
    }
    assert {part: each.nominal for part, each in areas.items()} == pytest.approx(
        {part: factor * each for part, each in um2.items()}
    )
    high = 8 * element_area_um2(unit.pe, GATES, "high") * unit.area_factor.at("high") / 1e6
    assert areas["elements"].high == pytest.approx(high)


def test_sums_over_groups_are_held_beside_those_of_a_group() -> None:
    """32 lanes, 4 vectors: 3 sums of integers beside the element's own, 4 in FP32."""
    grouped = fit(unit_of("mixpe_w4a8"), HBM3, INT4, INT8).areas_mm2["sums"].nominal
    whole = fit(unit_of("mixpe_w4a8"), HBM3, get("int4-channel"), INT8).areas_mm2["sums"].nominal
    factor = unit_of("mixpe_w4a8").area_factor.nominal / 1e6
    assert grouped - whole == pytest.approx(factor * cost_of(register(4 * 32 * 32), GATES).area_um2)


@pytest.mark.parametrize(("pe", "weights"), [("figna", "int4-g128"), ("figlut", "int2-g128")])
def test_what_lanes_share_stands_once_a_row(pe: str, weights: str) -> None:
    row = cost_of(row_cells(element(pe), f"{get(weights).base}xfp16"), GATES)
    unit = unit_of(pe)
    done = fit(unit, HBM3, get(weights), FP16)
    factors = unit.area_factor.nominal / 1e6, unit.energy_factor.nominal
    assert done.areas_mm2["edges"].nominal == pytest.approx(factors[0] * row.area_um2)
    assert done.energies_pj["edges"].nominal == pytest.approx(
        factors[1] * done.tiles.steps * row.energy_pj
    )
    two = fit(unit, HBM3, get(weights), FP16, 2)
    assert two.energies_pj["edges"].nominal == pytest.approx(2 * done.energies_pj["edges"].nominal)


def test_each_row_has_an_edge_and_a_way_out_of_the_buffer() -> None:
    """64 lanes in one row and in two; a word is an FP16 value, 2048 of them in 4 KiB."""
    one, two = (fit(unit_of("figna", elements=64 * n), HBM3, INT4, FP16) for n in (1, 2))
    assert (one.tiles.rows, two.tiles.rows) == (1, 2)
    for part in ("elements", "edges"):
        assert two.areas_mm2[part].nominal == pytest.approx(2 * one.areas_mm2[part].nominal)
    factor = unit_of("figna").area_factor.nominal / 1e6
    more = two.areas_mm2["buffer"].nominal - one.areas_mm2["buffer"].nominal
    assert more == pytest.approx(factor * cost_of(mux(2048, 16), GATES).area_um2)


def test_weights_are_decoded_once_for_all_vectors() -> None:
    unit = unit_of("bitmod")
    column = cost_of(column_cells(unit.pe, "bitmod4xfp16"), GATES)
    one, four = (fit(unit, HBM3, get("bitmod4"), FP16, vectors) for vectors in (1, 4))
    assert one.energies_pj["edges"].nominal == pytest.approx(
        unit.energy_factor.nominal * 16 * column.energy_pj
    )
    assert four.energies_pj["edges"] == one.energies_pj["edges"]
    assert one.areas_mm2["edges"].nominal == pytest.approx(
        unit.area_factor.nominal / 1e6 * 16 * column.area_um2
    )


def test_the_energy_of_an_fp16_unit_by_hand() -> None:
    unit = load_pim_unit("fp16_in_bank")
    energies = fit(unit, HBM3, FP16, FP16, 3).energies_pj
    factor = unit.energy_factor.nominal
    mac = mac_pj(unit.pe, "fp16xfp16", GATES)
    assert energies["elements"].nominal == pytest.approx(factor * 3 * 16 * mac)
    # Two values a vector, of 16 bits, through eight stages of multiplexers.
    path = cost_of(8 * 16 * mux(2, 1), GATES).energy_pj
    assert energies["buffer"].nominal == pytest.approx(factor * 3 * 2 * path)
    assert energies["edges"].nominal == energies["scalers"].nominal == 0


def test_tables_take_the_place_of_inputs() -> None:
    """8 entries of 12 bits for 4 activations; two vectors' tables a word."""
    tiles = fit(unit_of("lut_w2a8"), HBM3, INT4, INT8).tiles
    assert tiles.input_bits == 24
    assert held_bits(element("lut_w2a8"), "int4xint8")[0] == 16 * 4 * 4 + 2 * 4 * 24
    assert fit(unit_of("figna"), HBM3, INT4, FP16).tiles.input_bits == 16


def test_an_element_of_a_users_own_is_taken_from_a_file(tmp_path: Path) -> None:
    pe = {**resolved(element("int8_mac")), "name": "mine", "micro_tile": [1, 4, 2]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(pe))
    unit = {"base": "fp16_in_bank", "name": "own", "pe": str(tmp_path / "mine.yaml")}
    (tmp_path / "unit.yaml").write_text(yaml.safe_dump(unit))
    loaded = load_pim_unit(str(tmp_path / "unit.yaml"))
    done = fit(loaded, HBM3, get("int8-channel"), INT8)
    assert (loaded.pe.name, done.tiles.micro_tiles, done.tiles.lanes) == ("mine", 4, 2)
    assert (done.tiles.inputs, done.tiles.outputs) == (4, 8)


def test_units_of_one_gate_differ_by_factors_alone() -> None:
    unit = unit_of("mixpe_w4a8")
    doubled = replace(
        unit,
        {
            "area_factor": {"nominal": 2.0, "source": "test"},
            "energy_factor": {"nominal": 3.0, "source": "test"},
        },
    )
    one = {"nominal": 1.0, "source": "test"}
    plain = replace(unit, {"area_factor": one, "energy_factor": one})
    first, second = (fit(each, HBM3, INT4, INT8) for each in (plain, doubled))
    assert second.area_mm2 == pytest.approx([2 * end for end in first.area_mm2])
    assert second.unit_pj == pytest.approx([3 * end for end in first.unit_pj])
