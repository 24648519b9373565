"""Do the elements that come with the package do what their papers say, in arrays of them?"""

from typing import Any

import pytest
import yaml

from simulator.api import load_device, simulate
from simulator.config import dump_yaml, load_part, names, replace
from simulator.cost import load_profile
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.hardware.equations import matrix_work
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement, pair_formats
from simulator.hardware.models import matrix_model
from simulator.hardware.pricing import element_cells
from simulator.mapping.lowering import lower
from simulator.workload import gemm

PARTS = names(PE_FOLDER)
PAIRS = [
    (part, pair)
    for part in PARTS
    for pair in load_part(ProcessingElement, part, PE_FOLDER).formats
]  # fmt: skip


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an energy profile that prices every pair: time is what is looked at here."""
    data = yaml.safe_load(dump_yaml(load_profile("horowitz_45nm")))
    data["mac_pj"] |= {pair: {"nominal": 1.0, "source": "test"} for _, pair in PAIRS}
    path = tmp_path_factory.mktemp("profile") / "priced.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


def array(part: str, **changes: Any) -> Device:
    """Return an array of 4 x 8 elements without ports, latency or memory in its way."""
    matrix = {
        **{"kind": "adder_tree", "pe": part, "rows": 4, "columns": 8, "source": "test"},
        **changes,
    }
    wide = {"scratchpad.port_width": "1 MB", "scratchpad.capacity": "1 GiB"}
    memory = {"memory": {"kind": "ideal", "capacity": "64 GB", "source": "test"}}
    return replace(load_device("generic_npu_128"), {"matrix": matrix, **wide, **memory})


@pytest.mark.parametrize(("part", "pair"), PAIRS)
@pytest.mark.parametrize("shape", [(4, 8, 64), (5, 17, 100), (1, 1, 1), (64, 64, 4096)])
def test_cycles_are_tiles_times_chunks_times_passes(
    part: str, pair: str, shape: tuple[int, int, int]
) -> None:
    m, n, k = shape
    device = array(part)
    pe = device.matrix.pe
    bits = 8, 8, 32
    work = matrix_work(matrix_model(device, pair), 1, m, n, k, 1, 0, *bits)
    rows, columns, depth = 4 * pe.micro_tile[0], 8 * pe.micro_tile[1], pe.micro_tile[2]
    expected = -(-m // rows) * -(-n // columns) * -(-k // depth) * pe.passes(pair)
    assert work.busy == expected
    assert work.dequantisation == work.operand == 0


@pytest.mark.parametrize(
    ("pair", "group", "stalls"),
    [
        # A group of 8 is two steps of 4 lanes: 4 passes of 2 terms and 6 of 3 are fewer than 8.
        ("bitmod4xfp16", 8, 4), ("bitmod3xfp16", 8, 4), ("int6xfp16", 8, 2), ("int8xfp16", 8, 0),
        ("bitmod4xfp16", 128, 0), ("int6xfp16", 128, 0), ("bitmod4xfp16", 16, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["adder_tree", "systolic"])
def test_scales_of_short_groups_make_bitmod_wait(
    kind: str, pair: str, group: int, stalls: int
) -> None:
    systolic = {
        **{"kind": "systolic", "dataflow": "output_stationary", "weight_buffers": 2},
        "fold_overlap": True,
    }
    device = array("bitmod", **(systolic if kind == "systolic" else {}))
    unit = matrix_model(device, pair, group)
    groups = 256 // group
    work = matrix_work(unit, 1, 4, 8, 256, 1, 0, 16, 8, 32)
    # All wait, the last for the fold that follows.
    assert work.dequantisation == groups * stalls
    assert work.busy == 256 // 4 * device.matrix.pe.passes(pair)
    # Pieces along K make none go away.
    for pieces in (2, 8, groups):
        cut = matrix_work(unit, 1, 4, 8, 256, pieces, 0, 16, 8, 32)
        assert cut.dequantisation >= groups * stalls


def test_waiting_for_scales_is_a_stall_of_the_run(priced: str) -> None:
    device = replace(array("bitmod", rows=16, columns=16), {"energy": priced})
    short, long = (
        simulate(device, gemm(16, 16, 4096, weights=f"bitmod4-g{group}", activations="fp16"))
        for group in (8, 128)
    )
    assert short.stalls_s["matrix"]["dequantisation"] > 0
    assert "dequantisation" not in long.stalls_s["matrix"]
    assert short.latency_ps > 1.9 * long.latency_ps
    short.check()


def test_weights_that_are_stationary_do_not_wait_for_scales() -> None:
    systolic = {
        **{"kind": "systolic", "dataflow": "weight_stationary", "weight_buffers": 2},
        "fold_overlap": True,
    }
    unit = matrix_model(array("bitmod", **systolic), "bitmod4xfp16", 8)
    assert (unit.group, unit.scale_cycles) == (0, 0)


def test_a_unit_beside_multiplies_what_the_first_one_does_not(priced: str) -> None:
    first = replace(array("mixpe_w4a16"), {"energy": priced})
    beside = {"kind": "adder_tree", "pe": "fp16_fma", "rows": 2, "columns": 8, "source": "test"}
    device = replace(first, {"beside": beside})
    assert device.unit_of("int4xfp16").pe.name == "mixpe_w4a16"
    assert device.unit_of("fp16xfp16").pe.name == "fp16_fma"
    low = simulate(device, gemm(8, 64, 256, weights="int4-g128", activations="fp16"))
    full = simulate(device, gemm(8, 64, 256, weights="fp16", activations="fp16"))
    # The second one has half the rows.
    assert full.latency_ps > 1.5 * low.latency_ps
    peaks = device.peak_macs_per_s
    assert peaks["int4xfp16"] == 2 * peaks["fp16xfp16"]
    with pytest.raises(InputError) as caught:
        simulate(first, gemm(8, 64, 256, weights="fp16", activations="fp16"))
    assert "PE 'mixpe_w4a16' cannot multiply weights fp16 with activations fp16" in str(
        caught.value
    )


def test_elements_are_given_by_name_or_refused() -> None:
    assert array("bitmod").matrix.pe.micro_tile == (1, 1, 4)
    with pytest.raises(InputError) as caught:
        array("bitmd")
    assert "unknown PE 'bitmd'; did you mean 'bitmod'?" in str(caught.value)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_summary_a_source_and_a_kernel_for_each_pair(part: str) -> None:
    pe = load_part(ProcessingElement, part, PE_FOLDER)
    assert pe.name == part
    assert pe.summary
    assert pe.source
    assert set(pe.kernels) == set(pe.formats)
    assert set(pe.formats.values()) == {"counted"}
    assert all(len(pair_formats(pair)) == 2 for pair in pe.formats)


def test_counted_passes_need_a_kernel() -> None:
    with pytest.raises(InputError) as caught:
        replace(array("int8_mac"), {"matrix.pe.kernels": {}})
    assert "int8xint8: counted passes need a kernel in kernels" in str(caught.value)


def test_another_energy_profile_can_be_given(priced: str) -> None:
    device, product = array("int8_mac"), gemm(8, 64, 256, weights="int8", activations="int8")
    own = simulate(device, product)
    other = simulate(device, product, energy=load_profile(priced))
    assert other.latency_ps == own.latency_ps
    assert other.energy_breakdown_j["matrix"] != own.energy_breakdown_j["matrix"]
    assert other.resolved["energy_profile"]["name"] == "horowitz_45nm"


@pytest.mark.parametrize(
    ("part", "weights", "activations", "left"),
    [
        # Both scales of a block are the element's; so is BitMoD's of a group, bit by bit.
        ("mx_dot", "mxfp4", "mxfp4", {}),
        ("nv_dot", "nvfp4", "nvfp4", {}),
        ("bitmod", "bitmod4-g128", "fp16", {}),
        # One multiplication an output and group, and their sums.
        ("fp16_fma", "fp16", "fp16", {}),
        ("mixpe_w4a16", "int4-g128", "fp16", {"mul": 2 * 16 * 64, "add": 2 * 16 * 64}),
    ],
)
def test_scales_that_the_element_applies_are_no_work_of_the_vector_unit(
    part: str, weights: str, activations: str, left: dict[str, int]
) -> None:
    graph = gemm(16, 64, 256, weights=weights, activations=activations).segments[0].graph
    (op,) = lower(graph, array(part), fused_attention=True)
    assert dict(op.work) == left


def test_weights_of_two_levels_are_decoded_at_the_edge_at_its_rate(priced: str) -> None:
    device = replace(array("qserve", rows=16, columns=16), {"energy": priced})
    product = gemm(64, 256, 4096, weights="qserve", activations="int8-token")
    (op,) = lower(product.segments[0].graph, device, fused_attention=True)
    # The scales of channels and of tokens are left.
    assert dict(op.work) == {"mul": 2 * 64 * 256}
    free = simulate(device, product)
    free.check()
    assert "dequantisation" not in free.stalls_s["matrix"]
    # 256 x 4,096 weights enter for each of four tiles of 16 rows, and are multiplied at 16 a cycle.
    hidden = simulate(replace(device, {"matrix.dequantised_per_cycle": 16}), product)
    assert hidden.latency_ps == free.latency_ps
    slow = simulate(replace(device, {"matrix.dequantised_per_cycle": 4}), product)
    slow.check()
    least_s = 4 * 256 * 4096 / 4 / device.clock_hz
    assert slow.latency_s == pytest.approx(least_s, rel=0.02)
    assert slow.stalls_s["matrix"]["dequantisation"] > 0
    # An element without a decoder does not wait for one.
    plain = replace(array("int8_mac"), {"matrix.dequantised_per_cycle": 1, "energy": priced})
    eight = gemm(64, 256, 4096, weights="int8", activations="int8")
    assert "dequantisation" not in simulate(plain, eight).stalls_s["matrix"]


@pytest.mark.parametrize("part", ["ant", "olive", "bitmod", "qserve"])
def test_decoders_stand_at_the_edge(part: str) -> None:
    pe = load_part(ProcessingElement, part, PE_FOLDER)
    assert pe.decodes_weights(next(iter(pe.formats)))
    assert not load_part(ProcessingElement, "fp16_fma", PE_FOLDER).decodes_weights("fp16xfp16")


@pytest.mark.parametrize(
    ("weights", "left"),
    [
        # Scales of groups and zero points are in what dequantisers hand on.
        ("int4-g128", {}), ("int4-g128-asym", {}), ("int8-channel", {}), ("fp16", {}),
    ],
)  # fmt: skip
def test_dequantisers_leave_nothing_to_the_lanes(weights: str, left: dict[str, int]) -> None:
    graph = gemm(16, 64, 256, weights=weights, activations="fp16").segments[0].graph
    (op,) = lower(graph, array("fp16_dequant"), fused_attention=True)
    assert {name: count for name, count in op.work if count} == left
    assert op.pair == f"{weights.split('-')[0]}xfp16"


def test_dequantisers_hide_at_their_own_rate_or_stall(priced: str) -> None:
    device = replace(array("fp16_dequant", rows=16, columns=16), {"energy": priced})
    product = gemm(16, 256, 4096, weights="int4-g128", activations="fp16")
    slow = simulate(replace(device, {"matrix.dequantised_per_cycle": 2}), product)
    slow.check()
    assert slow.latency_s == pytest.approx(256 * 4096 / 2 / device.clock_hz, rel=0.02)
    # Weights that come as FP16 wait for none.
    plain = gemm(16, 256, 4096, weights="fp16", activations="fp16")
    free = simulate(replace(device, {"matrix.dequantised_per_cycle": 2}), plain)
    assert "dequantisation" not in free.stalls_s["matrix"]


def test_upper_halves_cost_wires_and_a_wider_multiplier() -> None:
    comet = load_part(ProcessingElement, "comet", PE_FOLDER)
    assert not comet.decodes_weights("int4xint8")
    cells = [element_cells(comet, pair) for pair in ("int4xint8", "int8xint8")]
    assert cells[0] == cells[1]
