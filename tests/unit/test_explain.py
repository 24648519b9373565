"""Does the way from one element to another switch one mechanism at a time, and add up?"""

from itertools import pairwise
from math import prod
from pathlib import Path

import pytest
from plans import tiny_model

from simulator import compare
from simulator.api import load_device
from simulator.compare import compared, workload_named
from simulator.config import dump_yaml, replace
from simulator.cost import load_technology
from simulator.design import FRAME, TECHNOLOGY, Iso, Terms, load_element
from simulator.errors import InfeasibleError, InputError
from simulator.explain import (
    NUMBER,
    STEPS,
    Carried,
    Explanation,
    bare_workload,
    carried,
    explain,
    pairs_of,
    side_of,
)
from simulator.formats import ALL, get
from simulator.hardware import Device
from simulator.hardware.pricing import element_area_um2, mac_pj
from simulator.mapping.lowering import lower
from simulator.workload import Workload

DECODE, PREFILL = "tiny.yaml/decode/1", "tiny.yaml/prefill/256"
NAMES = ("off", "formats in memory", "cycles of a MAC", "elements on the area", "energy of a MAC")


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where tiny.yaml is; no product is computed for its SQNR, which nothing here reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "_sqnr_db", lambda kernel, formats: 1.0)
    Path("tiny.yaml").write_text(dump_yaml(tiny_model()), encoding="utf-8")


def way(a: str, b: str, workload: str = PREFILL) -> Explanation:
    return explain(a, b, workload, Terms(rung="analytic"))


@pytest.mark.parametrize("workload", [DECODE, PREFILL])
@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_the_ends_are_rows_of_compare_and_factors_multiply_to_the_whole(
    workload: str, rung: str
) -> None:
    found = explain("int8_mac", "bitmod:bitmod4xfp16", workload, Terms(rung=rung))
    assert len(found.steps) == STEPS
    rows = [
        compared(load_element(name), pair, workload, Terms(rung=rung))
        for name, pair in (("int8_mac", "int8xint8"), ("bitmod", "bitmod4xfp16"))
    ]
    for step, row in zip((found.steps[0], found.steps[-1]), rows, strict=True):
        assert (step.elements, step.latency_s) == (row.elements, row.latency_s)
        assert step.energy_j == row.energy_j
    assert found.speed_up == pytest.approx(rows[0].latency_s / rows[1].latency_s, rel=1e-12)
    assert found.energy_gain == pytest.approx(rows[0].energy_j / rows[1].energy_j, rel=1e-12)
    assert found.speed_up == prod(step.speed_up for step in found.steps)
    assert (found.a, found.b) == ("int8_mac:int8xint8", "bitmod:bitmod4xfp16")


@pytest.mark.parametrize("iso", ["elements", "chip"])
def test_ends_and_bare_designs_follow_what_is_equal(iso: Iso) -> None:
    found = explain("int8_mac", "lut_w2a8:int2xint8", PREFILL, Terms(rung="analytic", iso=iso))
    rows = [
        compared(load_element(name), pair, PREFILL, Terms(rung="analytic", iso=iso))
        for name, pair in (("int8_mac", "int8xint8"), ("lut_w2a8", "int2xint8"))
    ]
    first, *bare, last = found.steps
    for step, row in zip((first, last), rows, strict=True):
        assert (step.elements, step.latency_s, step.energy_j) == (
            *(row.elements, row.latency_s),
            row.energy_j,
        )
    assert len(found.steps) == STEPS
    assert bare[3].mechanism == NUMBER[iso]
    if iso == "elements":
        assert {step.elements for step in found.steps} == {768}
        assert bare[3].speed_up == 1
        assert bare[3].design.startswith("as many elements of lut_w2a8, which take ")
        return
    technology, frame = load_technology(TECHNOLOGY), load_device(FRAME)
    fma = element_area_um2(frame.matrix.pe, technology)
    for step, row in zip((bare[0], bare[-1]), rows, strict=True):
        area = 768 * fma + (64 - row.lanes) * 9300
        each = 12 * element_area_um2(load_element(row.pe), technology)
        assert step.elements == 12 * int(area / each)
    assert bare[3].design.endswith(f"; {rows[1].lanes} lanes, not {rows[0].lanes}")


def test_bare_designs_wait_at_what_is_asked() -> None:
    free, full = (
        explain("int8_mac", "fp16_fma", DECODE, Terms(rung="analytic", waiting=part)).steps
        for part in (0.0, 1.0)
    )
    for one, other in zip(free, full, strict=True):
        assert one.latency_s == other.latency_s
        assert one.energy_j < other.energy_j


def test_factors_are_those_of_neighbours_and_the_first_is_one() -> None:
    steps = way("fp16_fma", "mixpe_w4a8").steps
    assert (steps[0].mechanism, steps[0].speed_up, steps[0].energy_gain) == ("start", 1, 1)
    for before, step in pairwise(steps):
        assert step.speed_up == before.latency_s / step.latency_s
        assert step.energy_gain == before.energy_j / step.energy_j
    assert all(name in step.mechanism for name, step in zip(NAMES, steps[1:], strict=False))
    assert steps[-1].mechanism == "lowering of mixpe_w4a8 on"


def test_from_an_element_to_itself_nothing_is_gained() -> None:
    steps = way("lut_w2a8:int4xint8", "lut_w2a8:int4xint8").steps
    for step in steps[2:-1]:
        assert (step.speed_up, step.energy_gain) == (1, 1)
    # Lowering is taken off and put on again: tables, scales, the unit beside.
    assert steps[1].speed_up > 1
    assert steps[1].speed_up * steps[-1].speed_up == pytest.approx(1, rel=1e-12)
    assert steps[-1].latency_s == steps[0].latency_s


def test_lowering_adds_nothing_to_the_baseline() -> None:
    start, off, *_ = way("fp16_fma", "int8_mac").steps
    assert (off.elements, off.latency_s) == (start.elements, start.latency_s)
    assert off.energy_j == pytest.approx(start.energy_j, rel=1e-12)


def test_formats_alone_set_the_gain_of_a_decode_bound_by_memory() -> None:
    _, _, formats, *_ = way("fp16_fma", "figna:int4xfp16", "llama-2-7b/decode/1").steps
    # Weights of 4.125 bits, a short cache in FP16 as before.
    assert formats.speed_up == pytest.approx(16 / 4.125, rel=0.03)
    assert "4.125 bits a weight" in formats.design


def test_cycles_alone_set_the_gain_of_a_prefill_bound_by_elements() -> None:
    _, _, formats, cycles, elements, *_ = way("fp16_fma", "bitmod:bitmod4xfp16").steps
    assert formats.speed_up == pytest.approx(1, rel=0.05)
    assert cycles.elements == formats.elements == 768
    assert cycles.speed_up == pytest.approx(4 / 2, rel=0.1)
    assert cycles.design == "4 MAC in 2 cycles an element, not 1 MAC in 1 cycle"
    assert elements.speed_up == pytest.approx(elements.elements / 768, rel=0.1)


def test_elements_are_as_many_as_the_area_holds() -> None:
    technology, frame = load_technology(TECHNOLOGY), load_device(FRAME)
    steps = way("int8_mac", "olive").steps
    assert frame.matrix.kind == "systolic"
    area = 12 * 64 * element_area_um2(frame.matrix.pe, technology)
    columns = [
        int(area / (12 * element_area_um2(load_element(name), technology)))
        for name in ("int8_mac", "olive")
    ]
    expected = [12 * columns[0]] * 3 + [12 * columns[1]] * 2
    assert [step.elements for step in steps[1:-1]] == expected


def test_energy_of_a_mac_costs_no_time_and_what_it_says() -> None:
    technology = load_technology(TECHNOLOGY)
    *_, before, energy, _ = way("fp16_fma", "int8_mac").steps
    assert energy.speed_up == 1
    prices = [
        mac_pj(load_element(name), pair, technology)
        for name, pair in (("fp16_fma", "fp16xfp16"), ("int8_mac", "int8xint8"))
    ]
    macs = workload_named(PREFILL, ("int8-channel", "int8-token", "int8-token")).macs_useful
    least = macs * (prices[0] - prices[1]) * 1e-12
    # Masked products, stalls and empty rows come on top.
    assert least < before.energy_j - energy.energy_j < 1.5 * least
    assert energy.design == f"{prices[1]:.3g} pJ, not {prices[0]:.3g} pJ"


def test_the_way_back_has_the_inverse_product_and_other_factors() -> None:
    there, back = way("fp16_fma", "lut_w2a8", DECODE), way("lut_w2a8", "fp16_fma", DECODE)
    assert there.speed_up * back.speed_up == pytest.approx(1, rel=1e-12)
    assert there.energy_gain * back.energy_gain == pytest.approx(1, rel=1e-12)
    factors = there.steps[3].speed_up * back.steps[3].speed_up
    assert abs(factors - 1) > 0.01


@pytest.mark.parametrize("name", ALL)
def test_carried_formats_have_all_bits_and_no_scales_to_apply(name: str) -> None:
    form = get(name)
    bare = carried(form)
    for rows, reduction in ((1, 1), (3, 130), (64, 4096)):
        assert bare.bits(rows, reduction) == form.bits(rows, reduction)
        assert bare.scales(rows, reduction) == form.scales(rows, reduction)
        assert bare.payload_bits(rows, reduction, 64) == form.payload_bits(rows, reduction, 64)
    assert bare.metadata_bits_per_group == form.metadata_bits_per_group
    assert (bare.granularity, bare.group, bare.zero_bits) == ("none", None, 0)
    assert (bare.base, bare.kind, bare.value_bits) == (form.base, form.kind, form.value_bits)
    assert isinstance(bare, Carried)
    assert bare.name != form.name


def test_bare_workloads_move_the_same_bytes_and_lower_without_work_for_formats() -> None:
    formats = ("int4-g128-asym", "int8-token", "int8-token")
    whole = workload_named(PREFILL, formats)
    bare = bare_workload(whole)
    assert bare.compulsory_bytes == whole.compulsory_bytes
    assert bare.vector_ops == whole.vector_ops
    pairs = pairs_of(bare)
    # Activations that no product reads are FP16, those that one reads INT8.
    bases = ("fp16", "int4", "int8")
    assert pairs == [f"{held}x{moving}" for held in bases for moving in ("fp16", "int8")]
    plain = {"matrix.pe.formats": dict.fromkeys(pairs, 1), "matrix.pe.kernels": {}}
    device = replace(load_device(FRAME), plain)
    assert _work(bare, device) == sum(op.vector_ops for _, op in bare.ops())
    assert _work(whole, device) > _work(bare, device)


def _work(workload: Workload, device: Device) -> int:
    """Return all vector work of one run of each lowered graph."""
    graphs = [segment.graph for segment in workload.segments]
    ops = [op for graph in graphs for op in lower(graph, device, fused_attention=True)]
    return sum(count for op in ops for _, count in (*op.work, *op.widen))


def test_progress_is_told_of_every_design() -> None:
    ticks = list[int]()
    explain(
        "fp16_fma", "int8_mac", DECODE, Terms(rung="analytic"), progress=lambda: ticks.append(1)
    )
    assert len(ticks) == STEPS


def test_sides_are_names_or_files_with_or_without_a_pair() -> None:
    assert str(side_of("bitmod")) == "bitmod:bitmod3xfp16"
    assert str(side_of("bitmod:int8xfp16")) == "bitmod:int8xfp16"
    mine = replace(load_element("lut_w2a8"), {"name": "mine"})
    Path("mine.yaml").write_text(dump_yaml(mine), encoding="utf-8")
    assert side_of("mine.yaml").pe == mine
    assert str(side_of("mine.yaml:int4xint8")) == "mine:int4xint8"
    assert side_of("mine.yaml:int4xint8").formats == ("int4-g128", "int8-token", "int8-token")


def test_unknown_pairs_and_elements_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        side_of("mixpe_w4a8:int4xint4")
    assert str(caught.value) == (
        "unknown pair of PE 'mixpe_w4a8' 'int4xint4'; did you mean 'int4xint8'? known: int4xint8"
    )
    with pytest.raises(InputError) as caught:
        side_of("bitmd:int8xfp16")
    assert "unknown PE 'bitmd'; did you mean 'bitmod'?" in str(caught.value)
    with pytest.raises(InputError) as caught:
        way("bitmod", "int8_mac", "tiny.yaml/decode")
    assert str(caught.value) == (
        "workload 'tiny.yaml/decode': expected MODEL/prefill/SEQUENCE or MODEL/decode/BATCH"
    )


def test_an_element_larger_than_the_array_is_infeasible() -> None:
    large = replace(load_element("int8_mac"), {"name": "large", "micro_tile": [64, 64, 8]})
    Path("large.yaml").write_text(dump_yaml(large), encoding="utf-8")
    with pytest.raises(InfeasibleError) as caught:
        way("fp16_fma", "large.yaml")
    assert caught.value.resource == "array area"
    assert str(caught.value).startswith("PE 'large': a column takes ")
    assert caught.value.demand > caught.value.bound


def test_a_unit_beside_that_leaves_no_room_is_infeasible() -> None:
    """Without a unit beside a column fits, with it none."""
    technology = load_technology(TECHNOLOGY)
    budget = 64 * element_area_um2(load_element("fp16_fma"), technology)
    one = element_area_um2(load_element("mixpe_w4a8"), technology)
    n = int(0.9 * budget / one)
    wide = replace(load_element("mixpe_w4a8"), {"name": "wide", "micro_tile": [1, n, 1]})
    Path("wide.yaml").write_text(dump_yaml(wide), encoding="utf-8")
    with pytest.raises(InfeasibleError) as caught:
        way("fp16_fma", "wide.yaml")
    assert caught.value.resource == "design"
    assert str(caught.value).startswith("PE 'wide': a column takes ")
