"""Are the derived values of a device right, and does its YAML come back as the same device?"""

from pathlib import Path
from typing import Any

import pytest
from plans import variant

from simulator.api import device_names, load_device
from simulator.config import content_hash, dump_yaml, load_part, replace, resolved
from simulator.cost import load_profile
from simulator.dram.channels import Access
from simulator.dram.profile import Profile
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware import Device, ProcessingElement, VectorUnit
from simulator.mapping.target import Target, rates_of

FOLDER = "hw_configs/devices"
NETWORK = {"link_width": "64 B", "hop_cycles": 1, "multicast": True, "source": "test"}


def npu(**changes: Any) -> Device:
    """Return the 128 x 128 device with values changed; "__" stands for a dot."""
    return variant(
        "generic_npu_128", {key.replace("__", "."): value for key, value in changes.items()}
    )


def test_memory_gives_its_bandwidth_times_its_efficiency() -> None:
    assert npu().memory_bytes_per_s == 1e12
    assert npu(memory__efficiency=0.75).memory_bytes_per_s == 0.75e12


@pytest.mark.parametrize(
    ("in_flight", "latency", "bytes_per_s"),
    [
        ("50 kB", "100 ns", 0.5e12),
        ("100 kB", "100 ns", 0.9e12),
        ("90 kB", "100 ns", 0.9e12),
        ("1 B", "0 ns", 0.9e12),
        (None, "100 ns", 0.9e12),
        ("64 B", "400 ps", 0.16e12),
    ],
)
def test_bytes_in_flight_over_latency_limit_the_bandwidth(
    in_flight: str | None, latency: str, bytes_per_s: float
) -> None:
    device = npu(memory__efficiency=0.9, memory__latency=latency, dma__in_flight=in_flight)
    assert device.memory_bytes_per_s == pytest.approx(bytes_per_s)
    latencies = {"100 ns": 100_000, "0 ns": 0, "400 ps": 400}
    assert device.memory_profile.latency_ps == latencies[latency]


def test_each_core_has_bytes_in_flight_of_its_own() -> None:
    few = {"memory__latency": "100 ns", "dma__in_flight": "20 kB", "network": NETWORK}
    assert npu(cores=1, **few).memory_bytes_per_s == pytest.approx(0.2e12)
    assert npu(cores=3, **few).memory_bytes_per_s == pytest.approx(0.6e12)
    assert npu(cores=8, **few).memory_bytes_per_s == 1e12


def test_an_ideal_memory_answers_at_once() -> None:
    memory = {"kind": "ideal", "capacity": "1 TB", "source": "test"}
    device = npu(memory=memory, dma__in_flight="1 B", dma__descriptor_cycles=7)
    assert device.memory_bytes_per_s == float("inf")
    rates = rates_of(device, load_profile(device.energy))
    assert device.memory_profile == Profile(0.0, 0)
    assert (rates.latency_ps, rates.descriptor_ps) == (0, 0)


def test_rates_of_a_device() -> None:
    device = npu(clock="940 MHz", dma__descriptor_cycles=3, dma__burst="64 B")
    rates = rates_of(device, load_profile(device.energy))
    assert rates.clock_hz == 940_000_000
    assert rates.descriptor_ps == 3192  # 3 / 0.94 GHz is 3,191.49 ps
    assert rates.burst_bytes == 64
    assert rates.read_ps_per_byte == device.memory_profile.least_ps_per_byte == 1.0
    slow = npu(memory__latency="10 ns", dma__in_flight="5 kB")
    assert rates_of(slow, load_profile(slow.energy)).read_ps_per_byte == 2.0


@pytest.mark.parametrize(
    ("changes", "macs_per_cycle"),
    [
        ({}, 128 * 128),
        ({"matrix__arrays": 4}, 4 * 128 * 128),
        ({"matrix__rows": 64, "cores": 2, "network": NETWORK}, 2 * 64 * 128),
        ({"matrix__pe__micro_tile": [2, 3, 4]}, 128 * 128 * 24),
        ({"matrix__pe__formats": {"int8xint8": 4}}, 128 * 128 / 4),
        ({"matrix__pe__initiation_interval": 2}, 128 * 128 / 2),
    ],
)
def test_peak_macs_follow_from_the_parts(changes: dict[str, Any], macs_per_cycle: float) -> None:
    device = npu(clock="500 MHz", **changes)
    assert device.peak_macs_per_s["int8xint8"] == macs_per_cycle * 5e8
    assert set(device.peak_macs_per_s) == set(device.matrix.formats)


def test_peak_macs_of_adder_trees_and_throughputs() -> None:
    pe = {"name": "dot", "micro_tile": [1, 2, 16], "formats": {"int8xint8": 2}, "source": "test"}
    tree = {"kind": "adder_tree", "rows": 8, "columns": 4, "arrays": 3, "pe": pe, "source": "test"}
    assert npu(matrix=tree).peak_macs_per_s == {"int8xint8": 3 * 8 * 4 * 2 * 16 / 2 * 1e9}
    core = {**pe, "micro_tile": [1, 1, 1]}
    peak = {"kind": "throughput", "macs": 4096, "efficiency": 0.5, "pe": core, "source": "test"}
    assert npu(matrix=peak).peak_macs_per_s == {"int8xint8": 4096 / 2 * 1e9}


def test_lanes_add_macs_only_where_they_do_gemvs() -> None:
    assert npu().gemv_macs_per_s == 0
    device = npu(vector__gemv=True, vector__lanes=100, cores=3, network=NETWORK)
    assert device.gemv_macs_per_s == 3 * 100 * 10**9


@pytest.mark.parametrize(
    ("work", "cycles"),
    [
        ((), 0),
        ((("add", 1),), 1),
        ((("add", 10), ("mul", 10)), 2),
        ((("add", 10), ("mul", 11)), 3),
        ((("exp", 10),), 4),
        ((("exp", 3), ("div", 1), ("add", 1)), 3),
    ],
)
def test_lanes_take_a_cycle_an_operation_or_what_the_table_says(
    work: tuple[tuple[str, int], ...], cycles: int
) -> None:
    unit = VectorUnit(lanes=10, cycles_per_operation={"exp": 4, "div": 16}, source="test")
    assert unit.cycles(work) == cycles


def test_cores_share_vector_work() -> None:
    device = npu(vector__lanes=10, cores=4, network=NETWORK)
    target = Target(device, load_profile(device.energy))
    assert target.vector_cycles((("add", 100),)) == 3
    assert target.transfer_ps(Access(False, 1000, 2, 0), 3) == 334


def test_ports_of_a_scratchpad_add_up() -> None:
    pad = npu(scratchpad__read_ports=3, scratchpad__port_width="32 B").scratchpad
    assert (pad.read_bytes_per_cycle, pad.write_bytes_per_cycle) == (96, 64)


@pytest.mark.parametrize(
    ("weight", "activation", "pair"),
    [
        ("int8", "bf16", "bf16xbf16"),
        ("uint8", "bf16", "bf16xbf16"),
        ("int9", "bf16", "bf16xbf16"),
        ("int10", "bf16", None),
        ("int12", "fp16", "fp16xfp16"),
        ("uint12", "fp16", None),
        ("int16", "int16", None),
    ],
)
def test_a_float_holds_integers_of_the_bits_of_its_significand(
    weight: str, activation: str, pair: str | None
) -> None:
    """bf16 has 8 bits, fp16 11; the sign is apart: -2^n is a power of two."""
    formats = {"bf16xbf16": 1} if activation == "bf16" else {"fp16xfp16": 1}
    pe = ProcessingElement(name="pe", formats=formats, source="test")
    if pair is None:
        with pytest.raises(InputError, match="not even widened"):
            pe.operand_pair(get(weight), get(activation))
    else:
        assert pe.operand_pair(get(weight), get(activation)) == pair


@pytest.mark.parametrize("name", device_names())
def test_the_dump_of_a_device_loads_as_the_same_device(name: str, tmp_path: Path) -> None:
    device = load_device(name)
    path = tmp_path / "again.yaml"
    path.write_text(dump_yaml(device))
    again = load_part(Device, path, FOLDER, noun="device")
    assert again == device
    assert dump_yaml(again) == dump_yaml(device)
    assert content_hash(again) == content_hash(device)
    assert resolved(again) == resolved(device)


@pytest.mark.parametrize("name", device_names())
def test_a_changed_device_has_another_hash_and_back_again_the_same(name: str) -> None:
    device = load_device(name)
    changed = replace(device, {"scratchpad.capacity": "1 MB"})
    assert content_hash(changed) != content_hash(device)
    capacity = device.scratchpad.capacity_bytes
    assert replace(changed, {"scratchpad.capacity": capacity}) == device
