"""Are elements compared on one area, at one price, and do rows say what they mean?"""

from math import inf, isfinite
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.api import load_device, load_model, simulate
from simulator.compare import LANES, Row, chosen, compared, table, workload_named
from simulator.config import dump_yaml, replace
from simulator.cost import load_profile, load_technology
from simulator.design import (
    BESIDE,
    FRAME,
    TECHNOLOGY,
    Terms,
    design,
    does_attention,
    element_names,
    formats_of,
    load_element,
    priced,
)
from simulator.errors import InfeasibleError, InputError
from simulator.hardware.area import area_of, edges_um2
from simulator.hardware.matrix import SystolicArray
from simulator.hardware.priced import priced_for
from simulator.hardware.pricing import element_area_um2, mac_pj

FRAME_DEVICE = load_device(FRAME)
TECH = load_technology(TECHNOLOGY)
TERMS = Terms(rung="analytic")
ROWS, COLUMNS = 12, 64
FMA_UM2 = element_area_um2(load_element("fp16_fma"), TECH)
BUDGET_MM2 = ROWS * COLUMNS * FMA_UM2 / 1e6
#: Columns of FP16 elements beside what cannot multiply FP16.
ASIDE = 16
HIDDEN, FFN, VOCAB = 256, 1024, 512
#: MACs of a token: Q, K, V, O and two products of the FFN in two layers, and the LM head.
MACS = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * FFN) + HIDDEN * VOCAB
DECODE = "tiny.yaml/decode/1"


@pytest.fixture(autouse=True)
def _tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a model of two small layers."""
    sizes = {
        **{"name": "tiny", "hidden": HIDDEN, "layers": 2, "ffn": FFN, "vocab": VOCAB},
        **{"heads": 4, "kv_heads": 4, "head_dim": 64, "tie_embedding": False},
    }
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(dump_yaml(replace(load_model("gpt-2"), sizes)))


def row(name: str, workload: str = DECODE, pair: str = "", **options: Any) -> Row:
    """Return an element's row, of its first pair unless another is given, by the analytic rung."""
    pe = load_element(name)
    chosen_pair = pair or next(iter(pe.formats))
    return compared(pe, chosen_pair, workload, Terms(rung="analytic", **options))


def test_a_row_by_hand() -> None:
    made = row("fp16_fma")
    assert (made.pe, made.weights, made.activations) == ("fp16_fma", "fp16", "fp16")
    assert (made.workload, made.elements, made.infeasible) == (DECODE, 768, "")
    assert made.array_mm2 == pytest.approx(BUDGET_MM2)
    # Weights, keys and values of 256 tokens, 2 B each; the rest (embedding, logits) is small.
    moved = 2 * (MACS + 2 * 2 * 256 * HIDDEN)
    assert made.dram_j == pytest.approx(moved * 8 * 12.5e-12, rel=0.01)
    assert made.latency_s == pytest.approx(moved / 32e9, rel=0.1)
    # Operands pass from element to element at 0.0046 pJ a bit: a little more than the MACs.
    macs_j = 12 * MACS * mac_pj(load_element("fp16_fma"), "fp16xfp16", TECH) * 1e-12
    assert made.mac_j == pytest.approx(macs_j / 12, rel=0.1)
    assert made.tokens_per_s == pytest.approx(1 / made.latency_s)
    assert made.edp_js == pytest.approx(made.energy_j * made.latency_s)
    assert made.bound_by == "dram"


def test_the_parts_of_the_energy_are_parts() -> None:
    made = row("figna")
    assert 0 < made.dram_j + made.mac_j + made.attention_mac_j < made.energy_j


@pytest.mark.parametrize("name", element_names())
def test_the_area_is_kept_and_all_but_a_column_is_used(name: str) -> None:
    pe = load_element(name)
    device, elements, area = design(pe, TERMS)
    each = element_area_um2(pe, TECH)
    row_um2, column_um2 = edges_um2(pe, TECH)
    aside = 0 if all(does_attention(pe, pair) for pair in pe.formats) else ASIDE
    assert area <= BUDGET_MM2 * (1 + 1e-12)
    array, units = device.matrix, device.matrix_units
    assert isinstance(array, SystolicArray)
    assert array.rows * array.columns == elements
    assert array.weight_load_rows_per_cycle == array.rows
    assert area + (array.rows * each + column_um2) / 1e6 > BUDGET_MM2
    edges = array.rows * row_um2 + array.columns * column_um2
    assert area == pytest.approx((elements * each + edges + ROWS * aside * FMA_UM2) / 1e6)
    assert [unit.pe.name for unit in units] == [name, "fp16_fma"][: 1 + bool(aside)]
    sizes = [unit.rows * unit.columns for unit in units if isinstance(unit, SystolicArray)]
    assert sizes == [elements, ROWS * aside][: 1 + bool(aside)]


def test_equal_elements_are_as_many_as_the_frame_has() -> None:
    for name in ("fp16_fma", "ternary_adder", "abq_planes"):
        assert design(load_element(name), Terms(iso="elements"))[1] == ROWS * COLUMNS
    assert round(BESIDE * COLUMNS) == ASIDE


def test_on_the_area_of_a_larger_fp16_element_more_of_another_fit() -> None:
    pe = load_element("int8_mac")
    low, nominal, high = (
        design(pe, Terms(frame_area=bound)) for bound in ("low", "nominal", "high")
    )
    ratio = TECH.overheads.between_elements.at("high")
    assert low[1] < nominal[1] < high[1]
    assert high[1] == pytest.approx(ratio * nominal[1], rel=0.01)
    assert high[2] == pytest.approx(ratio * nominal[2], rel=0.01)
    fma = load_element("fp16_fma")
    assert design(fma, Terms(frame_area="high"))[1] == ROWS * COLUMNS


@pytest.mark.parametrize("name", ["fp16_fma", "int8_mac", "figna"])
def test_low_nominal_and_high_are_in_order(name: str) -> None:
    made = row(name)
    assert 0 < made.energy_low_j < made.energy_j < made.energy_high_j < inf
    assert 0 < made.mac_low_j < made.mac_j < made.mac_high_j < inf


def test_ends_of_the_energy_are_those_of_gates_and_dram() -> None:
    made = row("fp16_fma")
    pe = load_element("fp16_fma")
    price = {bound: mac_pj(pe, "fp16xfp16", TECH, bound) for bound in ("low", "nominal", "high")}
    # What the array burns while it waits is a part of what its MACs do.
    matrix = made.mac_j + made.attention_mac_j + made.matrix_stalled_j + made.matrix_idle_j
    rest = made.energy_j - made.dram_j - matrix
    for bound, dram, found in (
        ("low", 0.629, made.energy_low_j),
        ("high", 18.75, made.energy_high_j),
    ):
        macs = matrix * price[bound] / price["nominal"]
        written = made.dram_write_j * (0.766 if bound == "low" else dram) / 12.5
        read = (made.dram_j - made.dram_write_j) * dram / 12.5
        assert found == pytest.approx(rest + read + written + macs)


def test_attention_is_priced_by_the_unit_that_does_it() -> None:
    """Integer keys go to an element that multiplies INT8, or else to the FP16 unit beside it."""
    ternary, integers = row("ternary_adder"), row("int8_mac")
    beside = row("figna")
    assert ternary.attention_mac_j == pytest.approx(beside.attention_mac_j)
    assert integers.attention_mac_j < ternary.attention_mac_j


def test_leakage_is_that_of_the_array_not_of_as_many_fp16_elements() -> None:
    leaky = yaml.safe_load(dump_yaml(load_profile(FRAME_DEVICE.energy)))
    leaky["leakage_w_per_mm2"] = {"nominal": 1e6, "source": "test"}
    Path("leaky.yaml").write_text(yaml.safe_dump(leaky))
    frame = replace(FRAME_DEVICE, {"energy": "leaky.yaml"})
    for name in ("ternary_adder", "fp16_fma"):
        pe = load_element(name)
        made = compared(pe, next(iter(pe.formats)), DECODE, Terms(frame=frame, rung="analytic"))
        # Two macros of 512 KiB and 64 lanes leak too.
        area = made.array_mm2 + 2 * 1.570672 + 64 * 0.0093
        assert made.energy_j == pytest.approx(1e6 * area * made.latency_s, rel=1e-4)


def test_what_matrix_units_burn_while_they_wait_is_a_part() -> None:
    """768 elements at 1 GHz wait for most of a decode step, at all of their power or less."""
    pe = load_element("fp16_fma")
    nominal, free, full = (
        compared(pe, "fp16xfp16", DECODE, Terms(rung="analytic", waiting=part))
        for part in (None, 0, 1)
    )
    power_w = 768e9 * mac_pj(pe, "fp16xfp16", TECH) * 1e-12
    # With one token one row of twelve works: the others wait, as does all when DRAM is the bound.
    waits_s = nominal.latency_s - (MACS + 2 * 2 * 256 * HIDDEN) / 768e9
    assert full.matrix_stalled_j + full.matrix_idle_j == pytest.approx(power_w * waits_s, rel=0.03)
    assert (free.matrix_stalled_j, free.matrix_idle_j) == (0, 0)
    profile = load_profile(FRAME_DEVICE.energy)
    for state in ("stalled", "idle"):
        part = getattr(profile, f"{state}_fraction").nominal
        burnt = part * getattr(full, f"matrix_{state}_j")
        assert getattr(nominal, f"matrix_{state}_j") == pytest.approx(burnt, rel=1e-9)
    assert free.energy_j < nominal.energy_j < full.energy_j
    assert free.mac_j == nominal.mac_j == full.mac_j


def test_in_decode_the_gain_over_fp16_hinges_on_waiting() -> None:
    """An element of less power burns less while it waits; the memory costs both the same."""

    def gain(waiting: float) -> float:
        base, narrow = (
            row(name, DECODE, pair, iso="elements", waiting=waiting)
            for name, pair in (("fp16_fma", "fp16xfp16"), ("mixpe_w4a8", "int4xint8"))
        )
        return base.energy_j / narrow.energy_j

    assert gain(1) > 1.1 * gain(0)


@pytest.mark.parametrize("waiting", [-0.1, 1.5, float("nan")])
def test_parts_of_power_beyond_all_of_it_are_refused(waiting: float) -> None:
    with pytest.raises(InputError) as caught:
        Terms(waiting=waiting)
    assert str(caught.value) == f"waiting must be between 0 and 1, got {waiting:g}"


def test_rows_have_the_areas_of_their_parts() -> None:
    made = row("figna")
    assert made.area is not None
    assert made.area.array_mm2 == pytest.approx(made.array_mm2)
    assert (
        made.chip_mm2
        == made.area.chip_mm2
        == pytest.approx(made.array_mm2 + 2 * 1.570672 + 64 * 0.0093)
    )
    assert made.lanes == 64
    larger = row("figna", DECODE, "int4xfp16", frame_area="high")
    assert larger.area is not None
    assert larger.area.array_mm2 == pytest.approx(larger.array_mm2)


def test_a_chip_is_split_between_elements_and_lanes() -> None:
    """All chips have the frame's area, but for a column; fewer lanes leave room for elements."""
    pe = load_element("mixpe_w4a8")
    column = 2 * ROWS * element_area_um2(pe, TECH) / 1e6
    chip = row("fp16_fma").chip_mm2
    lane = 0.0093
    for lanes in LANES:
        device, elements, area = design(pe, Terms(iso="chip"), lanes)
        assert device.vector.lanes == lanes
        room = BUDGET_MM2 + (64 - lanes) * lane
        assert room - column < area <= room * (1 + 1e-12)
        assert elements == device.matrix.columns * device.matrix.rows  # type: ignore[union-attr]
        areas = priced_for(load_profile(FRAME_DEVICE.energy), FRAME_DEVICE).areas
        made = area_of(device, areas, TECH)
        assert chip - column < made.chip_mm2 <= chip * (1 + 1e-12)


@pytest.mark.parametrize("name", ["fp16_fma", "mixpe_w4a8"])
def test_a_chip_has_the_split_by_which_the_workload_is_fastest(name: str) -> None:
    long, pe = "tiny.yaml/prefill/512", load_element(name)
    pair = next(iter(pe.formats))
    made = row(name, long, iso="chip")
    times = {}
    for lanes in LANES:
        made_of = design(pe, Terms(iso="chip"), lanes)
        work, profile = workload_named(long, formats_of(pe, pair)), priced(made_of, TERMS)
        times[lanes] = simulate(made_of.device, work, "analytic", energy=profile).latency_s
    assert made.latency_s == min(times.values())
    assert times[made.lanes] == made.latency_s < max(times.values())
    assert made.latency_s <= row(name, long).latency_s


def test_a_chip_without_room_is_a_row() -> None:
    pe = replace(load_element("int8_mac"), {"micro_tile": [256, 256, 1]})
    made = compared(pe, "int8xint8", DECODE, Terms(iso="chip"))
    # An element for 512 rows needs one row.
    each, lanes = element_area_um2(pe, TECH), (64 - LANES[0]) * 9300
    left = ROWS * COLUMNS * FMA_UM2 + lanes
    assert made.infeasible == (
        f"PE 'int8_mac': a column takes {each:,.0f} um2, {left:,.0f} are left"
    )


def test_a_model_of_a_workload_may_be_a_path() -> None:
    Path("models").mkdir()
    Path("tiny.yaml").rename("models/mine.yaml")
    formats = ("fp16", "fp16", "fp16")
    for name in ("models/mine.yaml", f"{Path.cwd()}/models/mine.yaml"):
        assert workload_named(f"{name}/prefill/16", formats).name.startswith("tiny prefill")
    assert row("fp16_fma", "models/mine.yaml/decode/1").workload == "models/mine.yaml/decode/1"


def test_decode_is_bound_by_bits_and_prefill_by_elements() -> None:
    base, narrow = row("fp16_fma"), row("mixpe_w4a8")
    assert base.latency_s / narrow.latency_s > 2
    long = "tiny.yaml/prefill/512"
    base, narrow = (row(name, long, iso="elements") for name in ("fp16_fma", "mixpe_w4a8"))
    # W4A8 also converts its activations.
    assert base.bound_by == "matrix"
    assert 0.6 < base.latency_s / narrow.latency_s < 1


def test_sqnr_falls_with_the_bits_of_the_weights() -> None:
    base, eight, four = row("fp16_fma"), row("figna", pair="int8xfp16"), row("figna")
    assert base.sqnr_db > 60 > eight.sqnr_db > 35 > 25 > four.sqnr_db > 10
    assert isfinite(base.sqnr_db)


def test_a_design_without_room_is_a_row() -> None:
    pe = replace(load_element("int8_mac"), {"micro_tile": [256, 256, 1]})
    with pytest.raises(InfeasibleError) as caught:
        design(pe, TERMS)
    each, fma = element_area_um2(pe, TECH), ROWS * COLUMNS * FMA_UM2
    expected = f"PE 'int8_mac': a column takes {each:,.0f} um2, {fma:,.0f} are left"
    assert str(caught.value) == expected
    made = compared(pe, "int8xint8", DECODE)
    assert (made.elements, made.array_mm2, made.infeasible) == (0, 0.0, expected)
    assert (made.latency_s, made.energy_j, made.tokens_per_s) == (inf, inf, 0.0)


def test_a_model_that_does_not_fit_is_a_row() -> None:
    small = replace(FRAME_DEVICE, {"memory.capacity": "1 MB"})
    made = compared(load_element("fp16_fma"), "fp16xfp16", DECODE, Terms(frame=small))
    assert "does not fit in the memory of edge_fp16: weights 0.00 GB" in made.infeasible
    assert (made.elements, made.latency_s) == (768, inf)


@pytest.mark.parametrize(
    "name", ["tiny.yaml", "tiny.yaml/decode", "tiny.yaml/chat/1", "a/decode/x"]
)
def test_workloads_of_other_forms_are_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        workload_named(name, ("fp16", "fp16", "fp16"))
    assert str(caught.value) == (
        f"workload '{name}': expected MODEL/prefill/SEQUENCE or MODEL/decode/BATCH"
    )


def test_a_frame_whose_array_is_not_systolic_is_refused() -> None:
    tree = {"kind": "adder_tree", "pe": "fp16_fma", "rows": 4, "columns": 8, "source": "test"}
    frame = replace(FRAME_DEVICE, {"matrix": tree})
    with pytest.raises(InputError) as caught:
        Terms(frame=frame)
    assert str(caught.value) == "edge_fp16: elements are compared in a systolic array"


def test_a_pair_that_an_element_does_not_multiply_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        compared(load_element("mixpe_w4a8"), "int4xfp16", DECODE)
    assert str(caught.value) == "PE 'mixpe_w4a8' does not multiply int4xfp16; it does: int4xint8"


def test_formats_have_the_scales_that_an_element_can_use() -> None:
    def of(name: str, pair: str) -> tuple[str, str, str]:
        return formats_of(load_element(name), pair)

    assert of("figna", "int4xfp16") == ("int4-g128", "fp16", "fp16")
    assert of("bitmod", "int6xfp16") == ("int6-g128-s8", "fp16", "fp16")
    assert of("bitmod", "bitmod3xfp16") == ("bitmod3", "fp16", "fp16")
    assert of("mixpe_w4a8", "int4xint8") == ("int4-g128", "int8-token", "int8-token")


def test_an_element_of_ones_own_beside_others() -> None:
    own = yaml.safe_load(dump_yaml(load_element("int8_mac"))) | {"name": "mine"}
    Path("mine.yaml").write_text(yaml.safe_dump(own))
    elements = chosen(["mine.yaml"], "int8_mac")
    assert [pe.name for pe in elements] == ["mine", "int8_mac"]
    mine, theirs = table(elements, [DECODE], TERMS)
    assert (mine.pe, mine.elements, mine.energy_j) == ("mine", theirs.elements, theirs.energy_j)
    assert [pe.name for pe in chosen(["mine.yaml"], "all")] == ["mine", *element_names()]
    assert [pe.name for pe in chosen(["bitmod"], None)] == ["bitmod"]
    assert len(chosen(["bitmod"], "all")) == len(element_names())


def test_the_table_has_all_pairs_on_all_workloads_in_order() -> None:
    made = table([load_element("figna")], [DECODE, "tiny.yaml/prefill/16"], TERMS)
    assert [(row.weights, row.workload.split("/")[1]) for row in made] == [
        ("int4-g128", "decode"), ("int4-g128", "prefill"),
        ("int8-channel", "decode"), ("int8-channel", "prefill"),
    ]  # fmt: skip


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        chosen(["bitmod"], "bitmd")
    known = ", ".join(sorted(["all", *element_names()]))
    assert str(caught.value) == f"unknown PE 'bitmd'; did you mean 'bitmod'? known: {known}"
    with pytest.raises(InputError) as caught:
        load_element("int8_mc")
    assert "unknown PE 'int8_mc'; did you mean 'int8_mac'?" in str(caught.value)
