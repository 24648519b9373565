"""Do the rungs bound each other, and do time and energy scale as physics says?"""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import resident_product, tiny_model, variant

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.results import Result
from simulator.workload import Workload, decode_step, gemm, prefill

RUNGS = ("roofline", "analytic", "tile")
#: Devices and models of each kind; others differ from one of them by numbers. Those whose memory
#: multiplies are in tests/unit/test_pim_devices.py.
KINDS = (
    "a100", "edge_fp16", "generic_npu_128", "npu_hbm2", "onnxim_4core", "tpu_v4", "tpu_v4i",
)  # fmt: skip
MODELS = (
    "bitnet-b1.58-3b", "gpt-2", "gpt-3-175b", "llama-2-70b", "llama-2-7b", "llama-3-8b",
    "mistral-7b", "opt-6.7b",
)  # fmt: skip
FORMATS = (
    ("fp16", "fp16", "fp16"),
    ("int8", "int8", "int8"),
    ("int4-g128-asym", "int8-token", "int4-token-asym"),
    ("int3-g64", "fp16", "int8"),
    ("ternary-tensor", "int8-token", "fp16"),
    ("mxfp4", "fp16", "fp16"),
)


def ladder(device: Device, work: Workload, attention: str = "fused") -> list[int]:
    """Run all rungs; their books balance and none is below the one before. Return latencies."""
    results = [simulate(device, work, rung, attention=attention) for rung in RUNGS]
    for result in results:
        result.check()
    latencies = [result.latency_ps for result in results]
    assert latencies == sorted(latencies), (device.name, work.name)
    assert latencies[0] == results[2].roofline_bound_ps
    return latencies


@pytest.mark.parametrize("attention", ["fused", "unfused"])
@pytest.mark.parametrize("name", KINDS)
def test_every_rung_bounds_the_next_for_all_models_and_formats(name: str, attention: str) -> None:
    """Formats in turn, so that each model and each format meet both phases."""
    device, ran = load_device(name), 0
    for index, model in enumerate(map(load_model, MODELS)):
        for phase in range(2):
            weights, activations, kv = FORMATS[(index + 3 * phase) % len(FORMATS)]
            used: dict[str, Any] = {"weights": weights, "activations": activations, "kv": kv}
            work = (
                prefill(model, sequence=96, batch=2, **used)
                if phase == 0
                else decode_step(model, context=[70, 300, 300], **used)
            )
            if work.weight_bytes + work.kv_bytes > device.memory.capacity_bytes:
                continue
            ladder(device, work, attention)
            ran += 1
    assert ran >= 8


SIZE = st.one_of(st.integers(1, 40), st.integers(1, 3000), st.sampled_from((128, 256, 1024)))
DEVICES = st.sampled_from(("generic_npu_128", "tpu_v4", "onnxim_4core", "tpu_v4i", "a100"))


@st.composite
def tiny_workloads(draw: st.DrawFn) -> Workload:
    """Draw a tiny model's prefill or decode step, in formats of all kinds."""
    model = tiny_model(draw(st.sampled_from((1, 2, 4))), draw(st.sampled_from((None, 30))))
    weights, activations, kv = draw(st.sampled_from(FORMATS))
    if draw(st.booleans()):
        return prefill(
            model,
            sequence=draw(st.integers(1, 150)),
            batch=draw(st.integers(1, 3)),
            weights=weights,
            activations=activations,
            kv=kv,
        )
    contexts = draw(st.lists(st.integers(1, 400), min_size=1, max_size=4))
    return decode_step(model, context=contexts, weights=weights, activations=activations, kv=kv)


@settings(max_examples=60)
@given(DEVICES, tiny_workloads(), st.sampled_from(("fused", "unfused")), st.integers(0, 3))
def test_every_rung_bounds_the_next_for_random_graphs(
    name: str, work: Workload, attention: str, shrink: int
) -> None:
    """Small scratchpads spill; what does not fit at all is refused on every rung."""
    device = load_device(name)
    capacity = max(2**18, device.scratchpad.capacity_bytes >> (2 * shrink))
    ladder(variant(name, {"scratchpad.capacity": capacity}), work, attention)


@settings(max_examples=60)
@given(DEVICES, SIZE, SIZE, SIZE, st.sampled_from(FORMATS), st.sampled_from((1, 1, 7)))
def test_every_rung_bounds_the_next_for_random_products(
    name: str, m: int, n: int, k: int, formats: tuple[str, str, str], count: int
) -> None:
    work = gemm(m, n, k, count=count, weights=formats[0], activations=formats[1])
    ladder(load_device(name), work)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("weights", ["int8", "int8-channel"])
def test_one_product_alone_is_equal_on_both_rungs(name: str, weights: str) -> None:
    """On one core, so that nothing is exchanged: weights in, nothing out; and all in, all out."""
    device = replace(load_device(name), {"cores": 1})
    for shape in ((1, 4096, 4096), (32, 4096, 11008), (100, 300, 500), (2048, 512, 640), (7, 5, 3)):
        for work in (resident_product(*shape, weights=weights), gemm(*shape, weights=weights)):
            latencies = ladder(device, work)
            assert latencies[1] == latencies[2], shape


@settings(max_examples=40)
@given(SIZE, SIZE, SIZE, st.sampled_from((0, 400_000)), st.sampled_from((2**17, 2**20, 2**24)))
def test_one_random_product_alone_is_equal_on_both_rungs(
    m: int, n: int, k: int, latency_ps: int, capacity: int
) -> None:
    m = min(m, 400)
    capacity = max(capacity, 2 * m * (n + k))
    changes = {"memory.latency": latency_ps, "scratchpad.capacity": capacity}
    latencies = ladder(variant("generic_npu_128", changes), resident_product(m, n, k))
    assert latencies[1] == latencies[2]


#: Nothing but the memory limits: the array takes a whole plane a cycle, the vector unit is wide.
SLACK = {
    "matrix.arrays": 16,
    "matrix.weight_load_rows_per_cycle": 128,
    "matrix.conversions_per_cycle": None,
    "vector.lanes": 2**17,
    "scratchpad.port_width": "64 KiB",
}


def slack(changes: Mapping[str, object]) -> Result:
    """Return a decode step of llama-2-7b, batch 8, on a device that only the memory limits."""
    work = decode_step(
        load_model("llama-2-7b"),
        batch=8,
        context=1024,
        weights="int8",
        activations="int8",
        kv="int8",
    )
    result = simulate(variant("generic_npu_128", {**SLACK, **changes}), work)
    result.check()
    return result


def test_half_the_bandwidth_doubles_a_memory_bound_decode() -> None:
    whole, half = slack({}), slack({"memory.bandwidth": "500 GB/s"})
    busiest = {unit.name: unit for unit in half.units}
    for name in ("matrix", "vector"):
        stalled = sum(ps for cause, ps in busiest[name].stall_ps.items() if cause != "dram")
        assert 4 * (busiest[name].busy_ps + stalled) <= half.latency_ps  # 2x slack at full rate
    assert half.latency_ps / whole.latency_ps == pytest.approx(2, rel=0.01)
    assert whole.latency_ps == pytest.approx(whole.bytes["dram"] * 1.0, rel=0.01)
    assert half.bytes == whole.bytes


def test_efficiency_is_bandwidth() -> None:
    assert (
        slack({"memory.efficiency": 0.5}).latency_ps
        == slack({"memory.bandwidth": "500 GB/s"}).latency_ps
    )


def test_in_flight_bytes_bound_the_bandwidth() -> None:
    """64 kB in flight over 200 ns are 320 GB/s, whatever the pins could do."""
    bounded = slack({"memory.latency": "200 ns", "dma.in_flight": "64 kB"})
    slower = slack({"memory.latency": "200 ns", "memory.bandwidth": "320 GB/s"})
    assert bounded.latency_ps == slower.latency_ps


def test_loads_that_pass_by_the_stores_of_their_own_operation_are_no_later_in_the_bound() -> None:
    """Cores without a network store each activation; the next weights are loaded meanwhile."""
    changes = {
        "cores": 8, "network": None, "memory.bandwidth": "3 TB/s", "memory.latency": "0 ns",
        "scratchpad.capacity": "80 MiB", "dma.burst": "1 B", "clock": "500 MHz",
        "vector.lanes": 16, "matrix.dataflow": "input_stationary", "matrix.rows": 8,
        "matrix.columns": 64, "matrix.arrays": 2, "matrix.conversions_per_cycle": 16,
    }  # fmt: skip
    device = variant("generic_npu_128", changes)
    work = prefill(
        tiny_model(), sequence=300, batch=2, weights="int8", activations="int8", kv="int8"
    )
    times = [simulate(device, work, rung).latency_ps for rung in RUNGS]
    assert times == sorted(times)


@pytest.mark.parametrize("rung", RUNGS)
def test_twice_the_work_takes_twice_the_energy(rung: str) -> None:
    device = load_device("generic_npu_128")
    one, two = (simulate(device, gemm(256, 512, 1024, count=c), rung) for c in (8, 16))
    for name in ("matrix", "dram", "scratchpad", "accumulator"):
        assert two.energy_breakdown_j[name] == pytest.approx(
            2 * one.energy_breakdown_j[name], rel=1e-12
        ), name
    assert two.energy_j == pytest.approx(2 * one.energy_j, rel=0.02)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_each_layer_takes_the_same_energy_and_twice_the_layers_twice(phase: str) -> None:
    device = load_device("tpu_v4")
    found = []
    for layers in (2, 4):
        model = replace(tiny_model(), {"layers": layers})
        work = (
            prefill(model, sequence=64) if phase == "prefill" else decode_step(model, context=200)
        )
        result = simulate(device, work)
        found.append([r.energy_j for r in result.records if r.layer >= 0])
    assert len(found[1]) == 2 * len(found[0])
    assert found[1] == 2 * found[0]
    assert found[0][: len(found[0]) // 2] == found[0][len(found[0]) // 2 :]


def test_equal_layers_take_equal_time_once_under_way() -> None:
    """The cost of a run grows by the same time with each further layer."""
    device = load_device("generic_npu_128")
    spans = []
    for layers in (4, 5, 6):
        model = replace(tiny_model(), {"layers": layers})
        spans.append(simulate(device, decode_step(model, context=200)).latency_ps)
    assert spans[2] - spans[1] == spans[1] - spans[0] > 0
