"""Do times, stalls and energies of a result follow from numbers worked out by hand?

The product is 256 x 128 by 128 x 128 in int8 on one 128 x 128 weight-stationary array at 1 GHz:
one fold of 256 cycles, 128 cycles for the first weights, 128 + 128 - 2 to drain, in two steps of
128 rows. At 1 TB/s a byte takes 1 ps; 49,152 B come in two loads, 32,768 B leave in two stores.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from plans import tiny_model, variant

from simulator.api import load_device, load_model, simulate
from simulator.config import dump_yaml, replace, resolved
from simulator.cost import load_profile
from simulator.engine.energy import area_mm2
from simulator.hardware import Device
from simulator.mapping.planner import plan
from simulator.results import Result, UnitRecord
from simulator.workload import Workload, gemm, prefill

IDEAL = {"memory": {"kind": "ideal", "capacity": "64 GB", "source": "test"}}
#: Ports that take more than the memory gives, so that loads run at its 1 TB/s.
WIDE_PORTS = {"scratchpad.write_ports": 4}

ROWS, SIDE = 256, 128
BUSY, WEIGHTS, DRAIN = 256_000, 128_000, 254_000
STEP = (BUSY + WEIGHTS + DRAIN) // 2
LOADED, STORED = ROWS * SIDE + SIDE * SIDE, ROWS * SIDE


def npu(**changes: object) -> Device:
    return variant("generic_npu_128", {**WIDE_PORTS, **changes})


def product() -> Workload:
    return gemm(ROWS, SIDE, SIDE, weights="int8", activations="int8")


def units(result: Result) -> dict[str, UnitRecord]:
    return {unit.name: unit for unit in result.units}


@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_times_of_a_product(rung: str) -> None:
    result = simulate(npu(), product(), rung)
    assert result.latency_ps == LOADED // 2 + 2 * STEP + STORED // 2 == 678_960
    assert result.cycles == 679
    assert result.roofline_bound_ps == BUSY
    assert result.roofline_by == "matrix"
    found = units(result)
    assert list(found) == ["matrix", "vector", "dram"]
    assert found["matrix"].busy_ps == BUSY
    assert found["vector"].busy_ps == 0
    assert found["dram"].busy_ps == LOADED + STORED
    assert found["dram"].stall_ps == found["vector"].stall_ps == {}
    assert result.utilisation == {
        "matrix": BUSY / 678_960,
        "vector": 0.0,
        "dram": (LOADED + STORED) / 678_960,
    }
    assert result.bytes["dram"] == LOADED + STORED


def test_stalls_of_a_product_by_cause() -> None:
    """The executor also sees that the array waits for the first load, the closed form does not."""
    own = {"weight_load": WEIGHTS, "fill_drain": DRAIN}
    analytic = units(simulate(npu(), product(), "analytic"))["matrix"]
    tile = units(simulate(npu(), product()))["matrix"]
    assert analytic.stall_ps == own
    assert tile.stall_ps == {**own, "dram": LOADED // 2}
    assert analytic.idle_ps == LOADED // 2 + STORED // 2
    assert tile.idle_ps == STORED // 2


def test_the_record_and_the_intervals_of_a_product() -> None:
    result = simulate(npu(), product(), trace=True)
    (record,) = result.records
    assert (record.name, record.kind, record.unit, record.layer) == ("gemm", "gemm", "matrix", -1)
    assert (record.start_ps, record.end_ps) == (0, 678_960)
    assert (record.bytes_read, record.bytes_written) == (LOADED, STORED)
    assert record.macs_useful == record.macs_issued == ROWS * SIDE * SIDE
    assert record.bound_by == "fill_drain"
    assert result.tiles is not None
    tiles = zip(
        (result.units[unit].name for unit in result.tiles.unit),
        result.tiles.start_ps.tolist(),
        result.tiles.end_ps.tolist(),
        strict=True,
    )
    load, store = LOADED // 2, STORED // 2
    assert sorted(tiles) == [
        ("dram", 0, load),
        ("dram", load, 2 * load),
        ("dram", load + STEP, load + STEP + store),
        ("dram", load + 2 * STEP, load + 2 * STEP + store),
        ("matrix", load, load + STEP),
        ("matrix", load + STEP, load + 2 * STEP),
    ]


def test_the_dma_is_as_fast_as_the_memory_whatever_ports_the_array_has() -> None:
    """One port of 256 B a cycle for the array; loads and stores still go at 1 TB/s."""
    result = simulate(variant("generic_npu_128", {"scratchpad.write_ports": 1}), product())
    assert units(result)["dram"].busy_ps == LOADED + STORED
    assert result.roofline_bound_ps == BUSY


@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_memory_that_takes_no_time_leaves_the_array_alone(rung: str) -> None:
    result = simulate(npu(**IDEAL), product(), rung)
    assert result.latency_ps == BUSY + WEIGHTS + DRAIN
    found = units(result)
    assert found["matrix"].stall_ps == {"weight_load": WEIGHTS, "fill_drain": DRAIN}
    assert found["matrix"].idle_ps == 0
    assert found["dram"].busy_ps == 0
    assert result.bytes["dram"] == LOADED + STORED
    assert result.energy_breakdown_j["dram_background"] == 0
    assert len(result.check()) == 12


def test_energy_of_a_product_is_its_actions_times_their_price() -> None:
    profile = load_profile("accelforge_tpu_v4i")
    result = simulate(npu(), product())
    outputs = 8 * ROWS * SIDE
    read = 8 * LOADED + 8 * STORED  # operands by the array, results by the DMA
    written = outputs + 8 * LOADED  # results by the array, operands by the DMA
    expected = {
        "matrix": ROWS * SIDE * SIDE * profile.mac_pj("int8xint8"),
        "scratchpad": read * profile.scratchpad_read_pj_per_bit.nominal
        + written * profile.scratchpad_write_pj_per_bit.nominal,
        "dram": 8 * (LOADED + STORED) * profile.dram_read_pj_per_bit.nominal,
    }
    for name, joules in result.energy_breakdown_j.items():
        assert joules == pytest.approx(expected.get(name, 0.0) * 1e-12, rel=1e-12), name
    assert result.records[0].energy_j == pytest.approx(result.energy_j, rel=1e-12)
    assert result.bytes["scratchpad"] == (read + written) // 8
    assert result.bytes["accumulators"] == 2 * 4 * ROWS * SIDE


@dataclass(frozen=True)
class Waiting:
    """What the units of the product burn while they wait, in J at a fraction of 1."""

    stalled: float
    idle: float


def waiting(device: Device, result: Result) -> Waiting:
    """Return the active power of matrix and vector units times their times, by hand."""
    profile = load_profile("jouppi_7nm")
    matrix_w = SIDE * SIDE * 1e9 * profile.mac_pj("int8xint8") * 1e-12
    vector_w = device.vector.lanes * 1e9 * profile.vector_pj("add") * 1e-12
    stalled = (WEIGHTS + DRAIN + LOADED // 2) * 1e-12 * matrix_w
    idle = STORED // 2 * 1e-12 * matrix_w + result.latency_s * vector_w
    return Waiting(stalled, idle)


@pytest.mark.parametrize(("stalled", "idle"), [(0.3, 0.05), (0.0, 0.0), (1.0, 0.5)])
def test_waiting_burns_a_fraction_of_active_power(
    stalled: float, idle: float, tmp_path: Path
) -> None:
    changes = {"stalled_fraction.nominal": stalled, "idle_fraction.nominal": idle}
    bounds = {f"{name.split('.')[0]}.{end}": None for name in changes for end in ("low", "high")}
    profile = replace(load_profile("jouppi_7nm"), {**changes, **bounds})
    path = tmp_path / "waiting.yaml"
    path.write_text(dump_yaml(profile))
    device = npu(energy=str(path))
    result = simulate(device, product())
    whole = waiting(device, result)
    shared = result.shared_energy_j
    assert shared["stalled"] == pytest.approx(stalled * whole.stalled, rel=1e-12, abs=0)
    assert shared["idle"] == pytest.approx(idle * whole.idle, rel=1e-12, abs=0)
    assert set(shared) == {"leakage", "dram_background", "stalled", "idle"}


def test_energy_by_unit_and_state_is_that_of_its_times() -> None:
    profile = load_profile("jouppi_7nm")
    device = npu(energy="jouppi_7nm")
    result = simulate(device, product())
    table, parts = result.energy_by_state_j, result.energy_breakdown_j
    whole = waiting(device, result)
    idle_w = profile.idle_fraction.nominal * device.vector.lanes * 1e-3
    vector_j = idle_w * profile.vector_pj("add") * result.latency_s
    leakage_w = (
        profile.leakage_w_per_mm2.nominal * 20 * profile.areas.scratchpad_mm2_per_mib.nominal
    )
    expected = {
        ("matrix", "active"): parts["matrix"],
        ("matrix", "stalled"): profile.stalled_fraction.nominal * whole.stalled,
        ("vector", "active"): 0.0,
        ("vector", "stalled"): 0.0,
        ("vector", "idle"): vector_j,
        ("scratchpad", "leakage"): leakage_w * result.latency_s,
        ("dram", "active"): parts["dram"],
        ("dram", "background"): parts["dram_background"],
    }
    for (unit, state), joules in expected.items():
        assert table[unit][state] == pytest.approx(joules, rel=1e-12), (unit, state)
    booked = sum(sum(row.values()) for row in table.values())
    assert booked == pytest.approx(result.energy_j, rel=1e-12)
    assert list(table) == ["matrix", "vector", "scratchpad", "accumulator", "dram"]


def test_a_die_whose_area_is_stated_leaks_as_a_whole() -> None:
    result = simulate(load_device("tpu_v4i"), product())
    leaking = {unit: row["leakage"] for unit, row in result.energy_by_state_j.items()}
    assert leaking.pop("chip") == pytest.approx(result.energy_breakdown_j["leakage"], rel=1e-12)
    assert set(leaking.values()) == {0}


def test_the_second_matrix_unit_has_a_row_of_its_own() -> None:
    """A product in INT8 beside an array for FP16: what waits is what multiplies."""
    device = npu()
    fp16 = {"pe": {"name": "fp16", "formats": {"fp16xfp16": 1}, "source": "test"}}
    both = replace(
        device, {"matrix": resolved(device.matrix) | fp16, "beside": resolved(device.matrix)}
    )
    alone, shared = simulate(device, product()), simulate(both, product())
    assert shared.check()
    one, other = alone.energy_by_state_j["matrix"], shared.energy_by_state_j["beside"]
    for state in ("active", "stalled", "idle"):
        assert other[state] == pytest.approx(one[state], rel=1e-12)
    assert shared.energy_by_state_j.get("matrix", {"active": 0.0})["active"] == 0


def test_a_product_on_the_vector_unit_is_energy_of_that() -> None:
    row = gemm(1, 256, 256, weights="int8", activations="int8")
    changes = {"vector.gemv": True, "vector.lanes": 10**5, "energy": "jouppi_7nm"}
    result = simulate(npu(**changes), row)
    assert result.records[0].unit == "vector"
    assert result.energy_by_state_j["matrix"]["active"] == 0
    assert result.energy_by_state_j["vector"]["active"] == result.energy_breakdown_j["vector"] > 0
    assert result.check()


def test_leakage_is_area_times_time_and_background_capacity_times_time() -> None:
    profile = load_profile("jouppi_7nm")
    device = npu(energy="jouppi_7nm")
    areas = profile.areas
    expected = (
        SIDE * SIDE * areas.pe_mm2.nominal
        + 20 * areas.scratchpad_mm2_per_mib.nominal
        + 2048 * areas.vector_lane_mm2.nominal
        + areas.fixed_mm2.nominal
    )
    assert area_mm2(device, profile) == pytest.approx(expected, rel=1e-12)
    result = simulate(device, product())
    leakage_w = expected * profile.leakage_w_per_mm2.nominal
    background_w = 64e9 / 2**30 * profile.dram_background_w_per_gib.nominal
    assert result.shared_energy_j["leakage"] == pytest.approx(leakage_w * 678_960e-12, rel=1e-12)
    assert result.shared_energy_j["dram_background"] == pytest.approx(
        background_w * 678_960e-12, rel=1e-12
    )


def test_a_die_area_that_is_stated_is_the_one_that_leaks() -> None:
    device = load_device("tpu_v4i")
    profile = load_profile(device.energy)
    assert area_mm2(device, profile) == 400
    result = simulate(device, product())
    leakage_w = 400 * profile.leakage_w_per_mm2.nominal
    assert result.shared_energy_j["leakage"] == pytest.approx(
        leakage_w * result.latency_s, rel=1e-12
    )


def test_area_counts_the_elements_of_all_arrays_and_cores() -> None:
    profile = load_profile("jouppi_7nm")
    one = area_mm2(npu(), profile)
    fixed = profile.areas.fixed_mm2.nominal
    assert area_mm2(npu(cores=3), profile) - fixed == pytest.approx(3 * (one - fixed), rel=1e-12)
    more = area_mm2(npu(**{"matrix.arrays": 2}), profile)
    assert more - one == pytest.approx(SIDE * SIDE * profile.areas.pe_mm2.nominal, rel=1e-9)


@pytest.mark.parametrize("name", ["tpu_v4", "onnxim_4core"])
@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_cores_gather_what_a_product_needs_whole(name: str, rung: str) -> None:
    """Each of C cores receives C - 1 of C shares of the inputs of q/k/v, o, gate/up and down."""
    device = load_device(name)
    result = simulate(device, prefill(load_model("gpt-2"), sequence=64), rung)
    cores = result.resolved["run"]["cores_used"]
    assert cores > 1
    gathers = [record for record in result.records if record.kind == "all_gather"]
    per_layer = ["normed_attention", "attended", "normed_ffn", "active"]
    names = [f"layers.{i}.gather_{tensor}" for i in range(12) for tensor in per_layer]
    assert [record.name for record in gathers][: len(names)] == names
    assert len(gathers) == len(names) + 1
    assert all(record.unit == "noc" and record.bytes_moved == 0 for record in gathers)
    # fp16 values of 64 tokens: 768 wide and 3,072 wide; the head takes the last token only.
    values = 12 * 64 * (3 * 768 + 3072) + 768
    noc = result.traffic["noc"]
    assert noc.bytes_sent == noc.bytes_received == noc.bytes_closed_form
    # Where shares are no whole bytes, each gather rounds down by less than a byte a core.
    assert 0 <= (cores - 1) * 2 * values - noc.bytes_sent < cores * len(gathers)
    assert result.bytes["noc"] == noc.bytes_sent
    # Copies of weights that a multicast makes on its way pass a link too.
    price = load_profile(device.energy).noc_pj_per_bit_hop.nominal
    gathered = sum(record.energy_by_component["noc"] for record in gathers)
    assert gathered == pytest.approx(8 * noc.bytes_sent * price * 1e-12, rel=1e-9)
    assert result.energy_breakdown_j["noc"] >= gathered * (1 - 1e-9)
    assert len(result.check()) == 12


@pytest.mark.parametrize(
    ("dataflow", "micro_tile", "bits"),
    [
        # Of activations (8 bits), weights (8) and sums (32), the one that stays does not move.
        ("weight_stationary", [1, 1, 1], 8 + 32),
        ("output_stationary", [1, 1, 1], 8 + 8),
        ("input_stationary", [1, 1, 1], 8 + 32),
        # 16 products add up to one sum; each takes an activation.
        ("weight_stationary", [1, 1, 16], 8 + 2),
        # A weight serves 4 rows, an activation 2 columns.
        ("output_stationary", [4, 2, 1], 4 + 2),
    ],
)
def test_what_moves_from_element_to_element(
    dataflow: str, micro_tile: list[int], bits: int
) -> None:
    """Seen by its price: a profile in which only registers cost."""
    prices = {"matrix.dataflow": dataflow, "matrix.pe.micro_tile": micro_tile}
    made = plan(product(), npu(**prices), load_profile("jouppi_7nm"))
    [op] = made.segments[0].ops
    assert op.counts.register_bits == bits * op.macs_issued


def test_new_keys_and_values_are_written_in_one_run_a_head_and_request() -> None:
    """2 key-value heads, 3 prompts of 64: 6 descriptors for keys, 6 for values, not 64 of each."""
    work = prefill(tiny_model(), sequence=64, batch=3)
    slow = {"dma.descriptor_cycles": 10_000, "scratchpad.capacity": "20 MiB"}
    made = plan(work, npu(**slow), load_profile("jouppi_7nm"))
    [append] = [op for op in made.segments[1].ops if op.name == "kv_append"]
    p = append.pipeline
    bytes_ps = append.store_bytes
    assert p.steps * p.store == pytest.approx(bytes_ps + 2 * 2 * 3 * 10_000_000, rel=1e-3)


def test_an_operation_on_some_of_the_cores_leaves_the_others_idle() -> None:
    """A product bound by memory takes two of four cores: half of the matrix time is idle."""
    device = load_device("onnxim_4core")
    work = gemm(32, 4096, 4096)
    [op] = plan(work, device, load_profile(device.energy)).segments[0].ops
    assert op.cores == 2
    result = simulate(device, work)
    matrix = units(result)["matrix"]
    assert matrix.instances == 2
    assert matrix.busy_ps * 2 == pytest.approx(32 * 4096 * 4096 / (128 * 128) * 1000, rel=0.02)
    assert matrix.idle_ps >= result.latency_ps
    assert matrix.stall_ps["dram"] <= result.latency_ps
    result.check()


def test_a_product_on_the_vector_units_takes_all_cores() -> None:
    device = replace(load_device("tpu_v4"), {"vector.gemv": True})
    [op] = plan(gemm(1, 256, 256), device, load_profile(device.energy)).segments[0].ops
    assert (op.unit, op.cores) == ("vector", device.cores)


def test_a_product_on_the_vector_unit_has_a_roofline_of_its_own() -> None:
    device = npu(**{"vector.gemv": True, "vector.lanes": 128})
    work = gemm(1, 256, 256, weights="int8", activations="int8")
    result = simulate(device, work, "roofline")
    assert len(result.check()) == 12
    # 65,536 MACs on 128 lanes at the clock of the device.
    at_peak = 65_536 / 128 * 1e12 / device.clock_hz
    assert result.latency_ps == pytest.approx(at_peak, rel=1e-6)
    assert result.roofline_by == "vector"


def test_one_core_has_no_network() -> None:
    result = simulate(npu(), prefill(tiny_model(), sequence=16))
    assert "noc" not in result.traffic
    assert "noc" not in units(result)
    assert result.energy_breakdown_j["noc"] == 0


def test_fewer_cores_than_there_are_is_a_warning() -> None:
    """A network of one byte a cycle: exchanging activations costs more than a core saves."""
    slow = variant("tpu_v4", {"network.link_width": "1 B", "network.hop_cycles": 10_000})
    result = simulate(slow, prefill(tiny_model(), sequence=16))
    assert result.resolved["run"]["cores_used"] == 1
    assert result.warnings == (
        "runs on 1 of 2 cores: exchanging activations between more would cost more than they save",
    )
    assert result.traffic["noc"].bytes_sent == 0
    assert len(result.check()) == 12


def deep(*, reduction: bool) -> Result:
    """Run a product with few outputs and a long K on two cores."""
    work = gemm(8, 128, 65536, weights="int8", activations="int8")
    result = simulate(variant("tpu_v4", {"network.reduction": reduction}), work)
    assert len(result.check()) == 12
    return result


def test_cores_share_k_where_the_network_adds() -> None:
    with_sums, without = deep(reduction=True), deep(reduction=False)
    assert [record.name for record in without.records] == ["gemm"]
    assert [(r.name, r.kind, r.unit) for r in with_sums.records] == [
        ("gemm", "gemm", "matrix"),
        ("gemm.reduce", "reduce", "noc"),
        ("gemm.finish", "finish", "vector"),
    ]
    assert with_sums.latency_ps < 0.6 * without.latency_ps
    assert with_sums.macs == without.macs == 8 * 128 * 65536
    assert with_sums.bytes["dram"] == without.bytes["dram"]
    assert with_sums.roofline_bound_ps == without.roofline_bound_ps


def test_what_sharing_k_sends_and_writes() -> None:
    result = deep(reduction=True)
    product, reduction, finish = result.records
    # Each of two cores receives half of 8 x 128 sums of 4 B; one of them writes 1 B each.
    assert result.bytes["noc"] == 2 * (8 * 128 * 4 // 2)
    # 2,048 B at 512 B a cycle and one hop of 10 cycles, at 1,050 MHz.
    assert reduction.latency_ps == -(-14 * 10**6 // 1050)
    assert (reduction.bytes_moved, finish.bytes_read, finish.bytes_written) == (0, 0, 8 * 128)
    assert (product.bytes_read, product.bytes_written) == (8 * 65536 + 128 * 65536, 0)
    assert product.end_ps <= reduction.start_ps
    assert reduction.end_ps <= finish.end_ps == result.latency_ps
