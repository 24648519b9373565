"""Does every device run small workloads, in every format, on every rung, with balanced books?"""

import math
from functools import cache

import pytest

from simulator.api import device_names, load_device, load_model, simulate
from simulator.cost import load_profile
from simulator.dram.channels import Channels
from simulator.errors import InfeasibleError
from simulator.hardware import Device
from simulator.mapping.plan import Plan
from simulator.mapping.planner import plan
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

RUNGS = ("roofline", "analytic", "tile")
RAGGED = (5, 64, 200)
#: Formats of weights, activations, and keys and values.
FORMATS = {
    "fp16": ("fp16", "fp16", "fp16"),
    "int8": ("int8", "int8", "int8"),
    "int4-g128": ("int4-g128", "fp16", "fp16"),
    "ternary": ("ternary-tensor", "int8", "int8"),
}
PHASES = ("prefill", "decode", "ragged")
#: The only cases that have to be refused: 13.5 GB of weights against 8 GiB.
TOO_LARGE = {("tpu_v4i", "llama-2-7b", "fp16")}


#: Devices that differ from another by numbers alone: one model, one set of formats.
ALIKE = {
    **dict.fromkeys(("h100", "t4", "dgx_a100a", "duplex_xpu"), "a100"),
    "npu_only": "npu_hbm2",
    "npu_mem": "onnxim_4core",
}


def cases() -> list[tuple[str, str, str]]:
    """Return device, model and formats of all that is run.

    Devices whose memory multiplies are in tests/unit/test_pim_devices.py: keys and values do not
    leave theirs.
    """
    names = [name for name in device_names() if load_device(name).pim is None]
    return [
        (name, model, formats)
        for name in names
        for model in ("gpt-2", "llama-2-7b")
        for formats in FORMATS
        if name not in ALIKE or (model, formats) == ("gpt-2", "fp16")
    ]


CASES = cases()


@cache
def workload(model: str, phase: str, formats: str) -> Workload:
    """Return a prefill of 64 tokens, or a decode step of three requests, equal or ragged."""
    weights, activations, kv = FORMATS[formats]
    shared = {"weights": weights, "activations": activations, "kv": kv}
    match phase:
        case "prefill":
            return prefill(load_model(model), sequence=64, **shared)
        case "decode":
            return decode_step(load_model(model), batch=3, context=100, **shared)
        case "ragged":
            return decode_step(load_model(model), batch=3, context=RAGGED, **shared)
        case _:
            raise ValueError(phase)


def check_books(result: Result, work: Workload) -> None:
    """Compare what a result says of itself with the workload and with its own operations."""
    assert len(result.check()) == 12 + (result.rung == "command")
    assert result.macs == work.macs_useful
    assert sum(record.bytes_moved for record in result.records) == result.bytes["dram"]
    assert result.bytes["dram"] >= work.compulsory_bytes
    assert result.tokens == work.tokens
    assert result.tokens_per_s == pytest.approx(work.tokens / result.latency_s, rel=1e-12)
    assert math.isfinite(result.energy_j)
    assert result.energy_j > 0


def least_bytes(made: Plan) -> int:
    """Return the bytes that the plan cannot avoid, over all repeats."""
    return sum(
        segment.repeat * sum(op.least_load_bytes + op.least_store_bytes for op in segment.ops)
        for segment in made.segments
    )


def check_refusal(device: Device, work: Workload, attention: str) -> None:
    """Every rung refuses what does not fit, with the same report."""
    for rung in RUNGS:
        with pytest.raises(InfeasibleError) as caught:
            simulate(device, work, rung, attention=attention)
        report = caught.value.report()
        assert report["state"] == "INFEASIBLE"
        assert report["resource"] == "memory_capacity"
        assert caught.value.demand > caught.value.bound == device.memory.capacity_bytes


@pytest.mark.parametrize("attention", ["fused", "unfused"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("name", "model", "formats"), CASES)
def test_runs_with_balanced_books_or_is_refused(
    name: str, model: str, formats: str, phase: str, attention: str
) -> None:
    device, work = load_device(name), workload(model, phase, formats)
    if (name, model, formats) in TOO_LARGE:
        check_refusal(device, work, attention)
        return

    made = plan(work, device, load_profile(device.energy), fused_attention=attention == "fused")
    assert least_bytes(made) == work.compulsory_bytes

    results = {rung: simulate(device, work, rung, attention=attention) for rung in RUNGS}
    for result in results.values():
        check_books(result, work)
    roofline, analytic, tile = (results[rung].latency_ps for rung in RUNGS)
    assert roofline <= analytic <= tile
    assert results["roofline"].bytes["dram"] == work.compulsory_bytes
    assert {results[rung].roofline_bound_ps for rung in RUNGS} == {roofline}
    if isinstance(device.memory, Channels):
        command = simulate(device, work, "command", attention=attention)
        check_books(command, work)
        assert command.latency_ps >= roofline
        assert command.latency_ps == pytest.approx(tile, rel=0.05)


def test_the_refused_cases_are_cases_of_the_matrix() -> None:
    assert len(device_names()) >= 5
    assert set(CASES) >= TOO_LARGE
    assert {*ALIKE, *ALIKE.values()} <= set(device_names())
