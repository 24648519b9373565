"""Are elements compared on one area, at one price, and do rows say what they mean?"""

from math import inf, isfinite
from pathlib import Path

import pytest
import yaml

from simulator.api import load_device, load_model
from simulator.compare import (
    BESIDE,
    FRAME,
    TECHNOLOGY,
    Row,
    chosen,
    compared,
    design,
    element_names,
    formats_of,
    load_element,
    table,
    workload_named,
)
from simulator.config import dump_yaml, replace
from simulator.cost import cost_of, load_profile, load_technology
from simulator.errors import InfeasibleError, InputError
from simulator.hardware.matrix import SystolicArray
from simulator.hardware.pricing import element_area_um2, mac_pj, shared_cells

FRAME_DEVICE = load_device(FRAME)
TECH = load_technology(TECHNOLOGY)
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


def row(name: str, workload: str = DECODE, pair: str = "", **options: str) -> Row:
    """Return an element's row, of its first pair unless another is given, by the analytic rung."""
    pe = load_element(name)
    chosen_pair = pair or next(iter(pe.formats))
    return compared(pe, chosen_pair, workload, rung="analytic", **options)  # type: ignore[arg-type]


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
    device, elements, area = design(FRAME_DEVICE, pe, TECH)
    each = element_area_um2(pe, TECH)
    shared = max(cost_of(shared_cells(pe, pair), TECH).area_um2 for pair in pe.formats)
    aside = 0 if "fp16xfp16" in pe.formats else ASIDE
    assert area <= BUDGET_MM2 * (1 + 1e-12)
    assert area + ROWS * each / 1e6 > BUDGET_MM2
    expected = elements * each + ROWS * (shared + aside * FMA_UM2)
    assert area == pytest.approx(expected / 1e6)
    units = device.matrix_units
    assert [unit.pe.name for unit in units] == [name, "fp16_fma"][: 1 + bool(aside)]
    sizes = [unit.rows * unit.columns for unit in units if isinstance(unit, SystolicArray)]
    assert sizes == [elements, ROWS * aside][: 1 + bool(aside)]


def test_equal_elements_are_as_many_as_the_frame_has() -> None:
    for name in ("fp16_fma", "ternary_adder", "abq_planes"):
        assert design(FRAME_DEVICE, load_element(name), TECH, "elements")[1] == ROWS * COLUMNS
    assert round(BESIDE * COLUMNS) == ASIDE


def test_on_the_area_of_a_larger_fp16_element_more_of_another_fit() -> None:
    pe = load_element("int8_mac")
    low, nominal, high = (
        design(FRAME_DEVICE, pe, TECH, "area", bound) for bound in ("low", "nominal", "high")
    )
    ratio = TECH.overheads.synthesis_area.at("high") / TECH.overheads.synthesis_area.nominal
    assert low[1] < nominal[1] < high[1]
    assert high[1] == pytest.approx(ratio * nominal[1], rel=0.01)
    assert high[2] == pytest.approx(ratio * nominal[2], rel=0.01)
    fma = load_element("fp16_fma")
    assert design(FRAME_DEVICE, fma, TECH, "area", "high")[1] == ROWS * COLUMNS


@pytest.mark.parametrize("name", ["fp16_fma", "int8_mac", "figna"])
def test_low_nominal_and_high_are_in_order(name: str) -> None:
    made = row(name)
    assert 0 < made.energy_low_j < made.energy_j < made.energy_high_j < inf
    assert 0 < made.mac_low_j < made.mac_j < made.mac_high_j < inf


def test_ends_of_the_energy_are_those_of_gates_and_dram() -> None:
    made = row("fp16_fma")
    pe = load_element("fp16_fma")
    price = {bound: mac_pj(pe, "fp16xfp16", TECH, bound) for bound in ("low", "nominal", "high")}
    rest = made.energy_j - made.dram_j - made.mac_j - made.attention_mac_j
    for bound, dram, found in (
        ("low", 0.629, made.energy_low_j),
        ("high", 18.75, made.energy_high_j),
    ):
        macs = (made.mac_j + made.attention_mac_j) * price[bound] / price["nominal"]
        assert found == pytest.approx(rest + made.dram_j * dram / 12.5 + macs)


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
        made = compared(pe, next(iter(pe.formats)), DECODE, frame=frame, rung="analytic")
        # A MiB of buffers and 64 lanes leak too.
        area = made.array_mm2 + 3.2 + 64 * 0.0093
        assert made.energy_j == pytest.approx(1e6 * area * made.latency_s, rel=1e-4)


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
    pe = replace(load_element("int8_mac"), {"micro_tile": [512, 512, 1]})
    with pytest.raises(InfeasibleError) as caught:
        design(FRAME_DEVICE, pe, TECH)
    each, fma = element_area_um2(pe, TECH), ROWS * (COLUMNS - ASIDE) * FMA_UM2
    expected = f"PE 'int8_mac': a column takes {ROWS * each:,.0f} um2, {fma:,.0f} are left"
    assert str(caught.value) == expected
    made = compared(pe, "int8xint8", DECODE)
    assert (made.elements, made.array_mm2, made.infeasible) == (0, 0.0, expected)
    assert (made.latency_s, made.energy_j, made.tokens_per_s) == (inf, inf, 0.0)


def test_a_model_that_does_not_fit_is_a_row() -> None:
    small = replace(FRAME_DEVICE, {"memory.capacity": "1 MB"})
    made = compared(load_element("fp16_fma"), "fp16xfp16", DECODE, frame=small)
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
        design(frame, load_element("int8_mac"), TECH)
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
    mine, theirs = table(elements, [DECODE], rung="analytic")
    assert (mine.pe, mine.elements, mine.energy_j) == ("mine", theirs.elements, theirs.energy_j)
    assert [pe.name for pe in chosen(["mine.yaml"], "all")] == ["mine", *element_names()]
    assert [pe.name for pe in chosen(["bitmod"], None)] == ["bitmod"]
    assert len(chosen(["bitmod"], "all")) == len(element_names())


def test_the_table_has_all_pairs_on_all_workloads_in_order() -> None:
    made = table([load_element("figna")], [DECODE, "tiny.yaml/prefill/16"], rung="analytic")
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
