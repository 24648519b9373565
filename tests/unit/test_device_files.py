"""Do the shipped devices have the peaks that were published, and a profile that can price them?"""

import pytest

from simulator.config import load_part, names
from simulator.cost import load_profile
from simulator.hardware.device import Device, Dram
from simulator.hardware.priced import priced_for

FOLDER = "hw_configs/devices"


def load(name: str) -> Device:
    """Load a shipped device."""
    return load_part(Device, name, FOLDER, noun="device")


@pytest.mark.parametrize("name", names(FOLDER))
def test_a_device_bears_its_files_name_and_its_profile_prices_all_that_it_multiplies(
    name: str,
) -> None:
    device = load(name)
    profile = priced_for(load_profile(device.energy), device)
    assert device.name == name
    assert len(device.fidelity) <= 100
    for pair in device.matrix.formats:
        assert profile.mac_pj(pair) > 0


@pytest.mark.parametrize(
    ("name", "pair", "tera_ops"),
    [
        ("generic_npu_128", "int8xint8", 32.768),
        ("tpu_v4", "bf16xbf16", 275),
        ("tpu_v4", "int8xint8", 275),
        ("tpu_v4i", "bf16xbf16", 138),
        ("onnxim_4core", "fp16xfp16", 131.072),
        ("a100", "fp16xfp16", 312),
        ("a100", "bf16xbf16", 312),
        ("a100", "int8xint8", 624),
        ("a100", "int4xint4", 1248),
        ("dgx_a100a", "fp16xfp16", 312),
        ("h100", "fp16xfp16", 989.4),
        ("h100", "bf16xbf16", 989.4),
        ("h100", "int8xint8", 1979),
        ("ianus", "bf16xbf16", 184),
        ("npu_mem", "bf16xbf16", 184),
        ("t4", "fp16xfp16", 65),
        ("t4", "int8xint8", 130),
        ("t4", "int4xint4", 260),
    ],
)
def test_derived_peaks_are_the_published_ones(name: str, pair: str, tera_ops: float) -> None:
    assert 2 * load(name).peak_macs_per_s[pair] / 1e12 == pytest.approx(tera_ops, rel=0.003)


@pytest.mark.parametrize(
    ("name", "gigabytes_per_s", "capacity_bytes"),
    [
        ("generic_npu_128", 1000, 64 * 10**9),
        ("tpu_v4", 1200, 32 * 2**30),
        ("tpu_v4i", 614, 8 * 2**30),
        ("onnxim_4core", 614.4, 16 * 2**30),
        ("a100", 2039, 80 * 10**9),
        ("dgx_a100a", 3352, 80 * 2**30),
        ("h100", 3352, 80 * 10**9),
        ("t4", 320, 16 * 10**9),
    ],
)
def test_memories_are_the_published_ones(
    name: str, gigabytes_per_s: float, capacity_bytes: int
) -> None:
    memory = load(name).memory
    assert isinstance(memory, Dram)
    assert memory.bandwidth_bytes_per_s == gigabytes_per_s * 1e9
    assert memory.capacity_bytes == capacity_bytes


def test_the_one_calibrated_constant_is_listed_with_the_data_that_it_saw() -> None:
    memory = load("onnxim_4core").memory
    assert isinstance(memory, Dram)
    assert memory.efficiency == 0.624
    assert "calibrated on the recorded OPT-125m layer" in memory.source
