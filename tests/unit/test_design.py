"""Does an array keep its area, its edges and its prices, whatever element takes its turn?"""

from pathlib import Path
from typing import Any

import pytest

from simulator.api import simulate
from simulator.compare import compared
from simulator.config import replace
from simulator.cost import load_dram_energy, load_profile, load_synthesis
from simulator.design import (
    Terms,
    areas_of,
    attention_pair,
    design,
    does_attention,
    formats_of,
    load_element,
    priced,
    profile_of,
)
from simulator.hardware.matrix import SystolicArray
from simulator.hardware.pricing import check_synthesis
from simulator.workload import gemm

TERMS = Terms(rung="analytic")
FRAME = TERMS.frame


def array_of(name: str, **options: Any) -> SystolicArray:
    """Return the array of an element's design."""
    array = design(load_element(name), Terms(rung="analytic", **options)).device.matrix
    assert isinstance(array, SystolicArray)
    return array


def narrow(bytes_: int | None) -> Any:
    """Return the frame with an edge for weights of another width."""
    return replace(FRAME, {"matrix.weight_edge_width": bytes_ and f"{bytes_} B"})


def test_the_array_of_the_frame_is_its_own() -> None:
    array = array_of("fp16_fma")
    assert (array.rows, array.columns) == (12, 64)
    # 64 weights of FP16 a cycle are all that its edge takes.
    assert array.weight_edge_bytes == 128 == 64 * 2


def test_rows_double_where_the_edge_would_starve_columns() -> None:
    """187 columns of 4-bit weights fit through 128 B; the same elements of 8 bits need 24 rows."""
    for name in ("mixpe_w4a8", "int8_mac", "ternary_adder"):
        free, bound = array_of(name, frame=narrow(None)), array_of(name)
        assert free.rows == 12
        weights = max(each.split("x")[0] for each in bound.pe.formats)
        bits = 8 if weights == "int8" else 4 if weights == "int4" else 2
        wanted = free.columns * bits / (8 * 128)
        assert (bound.rows > 12) == (wanted > 1), (name, free.columns)
        assert bound.rows * bound.columns == pytest.approx(free.rows * free.columns, rel=0.05)


def test_narrower_edges_make_longer_arrays() -> None:
    rows = [array_of("int8_mac", frame=narrow(each)).rows for each in (256, 128, 64, 32)]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1]


def test_a_starved_array_waits_for_operands() -> None:
    """With as many elements as before behind an edge of a few bytes, bytes bound the time."""
    made = design(load_element("int8_mac"), TERMS)
    product = gemm(256, 4096, 4096, weights="int8", activations="int8")
    profile = priced(made, TERMS)
    wide = simulate(made.device, product, "analytic", energy=profile)
    slim = simulate(
        replace(made.device, {"matrix.weight_edge_width": "4 B"}),
        product, "analytic", energy=profile,
    )  # fmt: skip
    array = made.device.matrix
    assert isinstance(array, SystolicArray)
    folds = -(-256 // array.rows)
    least_s = folds * 4096 * 4096 / 4 / made.device.clock_hz
    assert slim.latency_s == pytest.approx(least_s, rel=0.05)
    assert slim.latency_s > 2 * wide.latency_s
    assert slim.stalls_s["matrix"]["operand"] > 0


def test_areas_are_those_of_the_design() -> None:
    for name in ("fp16_fma", "figna", "lut_w2a8", "ant"):
        made = design(load_element(name), TERMS)
        assert areas_of(made, TERMS).array_mm2 == pytest.approx(made.array_mm2)


def test_a_users_synthesis_takes_the_place_of_gates(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("pe,pair,area_um2,energy_pj\nint8_mac,int8xint8,200,0.1\n", encoding="utf-8")
    terms = Terms(rung="analytic", synthesis=load_synthesis(path))
    check_synthesis(terms.synthesis, [load_element("int8_mac")])  # type: ignore[arg-type]
    pe = load_element("int8_mac")
    by_file, by_gates = design(pe, terms), design(pe, TERMS)
    assert by_file.elements > by_gates.elements
    assert by_file.array_mm2 == pytest.approx(200 * by_file.elements / 1e6)
    assert priced(by_file, terms).mac_pj("int8xint8") == 0.1
    made = compared(pe, "int8xint8", "gpt-2/decode/1", terms)
    assert made.priced_by == f"synthesis {path}"
    assert made.area is not None
    # Its registers are within what was synthesised.
    assert made.area.operand_registers == made.area.accumulators == 0
    other = compared(load_element("mixpe_w4a8"), "int4xint8", "gpt-2/decode/1", terms)
    assert other.priced_by == "gates in scaled_28nm"


def test_a_synthesis_of_the_frames_element_leaves_no_range_of_its_area(tmp_path: Path) -> None:
    path = tmp_path / "fma.csv"
    path.write_text("pe,pair,area_um2,energy_pj\nfp16_fma,fp16xfp16,2000,1\n", encoding="utf-8")
    synthesis = load_synthesis(path)
    sizes = {
        bound: Terms(synthesis=synthesis, frame_area=bound).budget_um2 for bound in ("low", "high")
    }
    assert sizes == dict.fromkeys(("low", "high"), 768 * 2000)
    assert Terms(frame_area="high").larger == pytest.approx(1.47)


def test_another_dram_costs_what_its_part_says() -> None:
    hbm = load_dram_energy("hwcomponents_hbm2")
    profile = profile_of(FRAME, Terms(dram=hbm))
    own = load_profile(FRAME.energy)
    assert profile.dram_read_pj_per_bit.nominal < own.dram_read_pj_per_bit.nominal
    pe = load_element("fp16_fma")
    ours, theirs = (
        compared(pe, "fp16xfp16", "gpt-2/decode/1", terms)
        for terms in (TERMS, Terms(rung="analytic", dram=hbm))
    )
    assert theirs.energy_j < ours.energy_j
    assert theirs.latency_s == ours.latency_s
    read = profile.dram_read_pj_per_bit.nominal / own.dram_read_pj_per_bit.nominal
    moved = ours.dram_j - ours.dram_write_j, theirs.dram_j - theirs.dram_write_j
    assert moved[1] == pytest.approx(read * moved[0])


def test_elements_that_decode_two_levels_have_weights_of_two_levels() -> None:
    assert formats_of(load_element("qserve"), "int4xint8")[0] == "qserve"
    assert formats_of(load_element("mixpe_w4a8"), "int4xint8")[0] == "int4-g128"


@pytest.mark.parametrize(
    ("name", "pair", "attention", "alone"),
    [
        ("fp16_fma", "fp16xfp16", "fp16xfp16", True),
        ("int8_mac", "int8xint8", "int8xint8", True),
        ("l_mul", "bf16xbf16", "bf16xbf16", True),
        ("unpu", "int2xint8", "int8xint8", True),
        # Nobody makes tables of queries.
        ("lut_w2a8", "int2xint8", "int8xint8", False),
        ("mixpe_w4a8", "int4xint8", "int8xint8", False),
        ("figna", "int4xfp16", "fp16xfp16", False),
        ("ant", "flint4xflint4", "fp16xfp16", False),
    ],
)
def test_who_does_attention_needs_no_unit_beside(
    name: str, pair: str, attention: str, alone: bool
) -> None:
    pe = load_element(name)
    assert attention_pair(pe, pair) == attention
    assert does_attention(pe, pair) is alone
    assert (design(pe, TERMS).device.beside is None) is alone
    made = compared(pe, pair, "gpt-2/decode/1", TERMS)
    assert made.area is not None
    assert (made.area.beside == 0) is alone


def test_elements_of_several_rows_have_fewer_of_them() -> None:
    lut = array_of("lut_w2a8")
    assert lut.pe.micro_tile[0] * lut.rows == 12
