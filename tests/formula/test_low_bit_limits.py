"""Do decode speed-ups tend to what the bits in memory say, where memory is the bound?"""

import pytest

from simulator.api import load_device, load_model, simulate
from simulator.config import replace, resolved
from simulator.cost import load_profile, load_technology
from simulator.design import TECHNOLOGY, load_element
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.pricing import priced_by_gates
from simulator.workload import decode_step

MODEL = load_model("llama-2-7b")


def latency_s(part: str, weights: str, activations: str, kv: str, **lengths: int) -> float:
    """Return the latency of a decode step where arrays and vector unit never bound."""
    frame = load_device("edge_fp16")
    # A unit for FP16 products is beside it, for attention and whatever the element cannot do.
    beside = {**resolved(frame.matrix), "rows": 64, "columns": 4096}
    changes = {
        **{"matrix.pe": resolved(load_element(part)), "matrix.rows": 64, "matrix.columns": 4096},
        **{"matrix.weight_load_rows_per_cycle": 64, "beside": beside},
        **{"vector.lanes": 1 << 20, "scratchpad.capacity": "64 MiB", "memory.capacity": "64 TB"},
        **{"scratchpad.port_width": "64 KiB"},
    }
    device: Device = replace(frame, changes)
    # A profile that does not ask what SRAM such ports would have.
    profile = priced_by_gates(
        load_profile("horowitz_45nm"), device.matrix_units, load_technology(TECHNOLOGY)
    )
    step = decode_step(MODEL, weights=weights, activations=activations, kv=kv, **lengths)
    return simulate(device, step, "analytic", energy=profile).latency_s


@pytest.mark.parametrize(
    ("part", "weights", "activations"),
    [
        ("mixpe_w4a16", "int4-g128", "fp16"),
        ("mixpe_w4a8", "int4-g128", "int8-token"),
        ("bitmod", "bitmod3", "fp16"),
        ("bitmod", "bitmod4", "fp16"),
        ("lut_w2a8", "int2-g128", "int8-token"),
        ("int8_mac", "int8-channel", "int8-token"),
    ],
)
def test_a_decode_step_is_faster_by_the_bits_of_its_weights(
    part: str, weights: str, activations: str
) -> None:
    short = {"context": 16, "batch": 1}
    full = latency_s("fp16_fma", "fp16", "fp16", "fp16", **short)
    low = latency_s(part, weights, activations, "fp16", **short)
    form, width = get(weights), MODEL.hidden
    # As they lie in memory: values do not straddle words of 32 bits, so 3-bit ones lie ten a word.
    bits = (form.payload_bits(1, width, 32) + form.metadata_bits(1, width)) / width
    # Norms and the rows of the embedding are the rest.
    assert full / low == pytest.approx(16 / bits, rel=0.02)


def test_with_long_contexts_it_is_faster_by_the_bits_of_keys_and_values() -> None:
    long = {"context": 4096, "batch": 512}
    full = latency_s("fp16_fma", "fp16", "fp16", "fp16", **long)
    low = latency_s("bitmod", "bitmod3", "fp16", "int8-token", **long)
    # A scale of 16 bits for 128 values; 1 % of the bytes are weights.
    assert full / low == pytest.approx(16 / (8 + 16 / 128), rel=0.02)
