"""Does `simulate` refuse what it cannot do, in words that say what to change?"""

from pathlib import Path
from typing import Any

import pytest
from plans import variant

from simulator.api import load_device, load_model, simulate
from simulator.config import dump_yaml, replace
from simulator.cost import load_profile
from simulator.engine.assemble import total_counts
from simulator.errors import InfeasibleError, InputError
from simulator.mapping.planner import plan
from simulator.results import RUNGS
from simulator.workload import Workload, decode_step, gemm, prefill

SMALL = {"m": 64, "n": 512, "k": 512, "weights": "int8", "activations": "int8"}


def product(weights: str, activations: str) -> Workload:
    return gemm(8, 64, 64, weights=weights, activations=activations)


@pytest.mark.parametrize(
    ("rung", "message"),
    [
        ("tiles", "unknown rung 'tiles'; did you mean 'tile'?"),
        ("", "unknown rung ''; known: roofline, analytic, tile, command"),
        ("Tile", "unknown rung 'Tile'; did you mean 'tile'?"),
        (
            "cycle-accurate",
            "unknown rung 'cycle-accurate'; known: roofline, analytic, tile, command",
        ),
        (
            "command",
            "rung 'command' needs a memory of kind 'channels', tpu_v4 has one of kind 'dram'; use 'tile', or a device with a DRAM standard",
        ),
    ],
)
def test_rung(rung: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(load_device("tpu_v4"), product("int8", "int8"), rung)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ("flash", "unknown attention 'flash'; known: fused, unfused"),
        ("fuse", "unknown attention 'fuse'; did you mean 'fused'?"),
        ("un-fused", "unknown attention 'un-fused'; did you mean 'unfused'?"),
    ],
)
def test_attention(attention: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(load_device("tpu_v4"), product("int8", "int8"), attention=attention)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("fp32", "fp16"), ("fp16", "fp32"), ("tf32", "fp16"), ("int32", "int8")],
)
@pytest.mark.parametrize("rung", ["roofline", "analytic", "tile"])
def test_what_is_wider_than_the_element_multiplies(
    weights: str, activations: str, rung: str
) -> None:
    with pytest.raises(InputError) as caught:
        simulate(load_device("onnxim_4core"), product(weights, activations), rung)
    assert str(caught.value) == (
        f"onnxim_4core: gemm: PE 'mac16' cannot multiply weights {weights} with activations "
        f"{activations}, not even widened; it does: fp16xfp16"
    )


def test_the_first_operation_that_cannot_be_multiplied_is_named() -> None:
    model = load_model("gpt-2")
    with pytest.raises(InputError) as caught:
        simulate(load_device("onnxim_4core"), decode_step(model, context=32, kv="fp32"))
    assert str(caught.value) == (
        "onnxim_4core: attention: PE 'mac16' cannot multiply weights fp32 with activations fp16, "
        "not even widened; it does: fp16xfp16"
    )


@pytest.mark.parametrize(
    ("weights", "activations", "widened"),
    [
        ("fp16", "fp16", 0),
        ("int8", "int8", 64 * 64),
        ("int4-g128", "fp16", 64 * 64),
        ("ternary-tensor", "int8", 64 * 64),
        ("fp8_e4m3fn", "fp16", 64 * 64),
    ],
)
def test_what_is_narrower_is_widened_and_paid_for(
    weights: str, activations: str, widened: int
) -> None:
    """A device of fp16 MACs converts narrower operands on its vector unit.

    Weights once on each core that reads them, activations once.
    """
    device = load_device("onnxim_4core")
    counts = total_counts(plan(product(weights, activations), device, load_profile(device.energy)))
    assert [pair for pair, _ in counts.macs] == ["fp16xfp16"]
    converted = dict(counts.vector_ops).get("convert", 0)
    converted -= 8 * 64 if activations == "int8" else 0
    assert converted in (widened, 2 * widened, 4 * widened)


@pytest.mark.parametrize("rung", ["roofline", "analytic", "tile"])
def test_weights_that_do_not_fit_in_the_memory(rung: str) -> None:
    work = decode_step(load_model("llama-2-7b"), context=128)
    with pytest.raises(InfeasibleError) as caught:
        simulate(load_device("tpu_v4i"), work, rung)
    reason = (
        "llama-2-7b decode batch=1 context=128 w=fp16 a=fp16 kv=fp16 does not fit in the memory of "
        "tpu_v4i: weights 13.48 GB, KV cache 0.07 GB, activations 0.00 GB: 13.54 GB in all, "
        "8.59 GB there"
    )
    assert str(caught.value) == reason
    assert caught.value.exit_code == 3
    # 6,738,415,616 parameters and 128 keys and values of 4,096 in 32 layers, 2 B each; 32,000 logits.
    demand = 2 * 6_738_415_616 + 2 * 2 * 128 * 4096 * 32 + 2 * 32_000
    assert caught.value.report() == {
        "state": "INFEASIBLE",
        "resource": "memory_capacity",
        "demand": demand,
        "bound": 8 * 2**30,
        "unit": "bytes",
        "reason": reason,
    }


def test_memory_is_enough_to_the_byte() -> None:
    work = product("int8", "int8")
    held = 8 * 64 + 64 * 64 + 8 * 64
    simulate(variant("tpu_v4i", {"memory.capacity": held}), work).check()
    with pytest.raises(InfeasibleError) as caught:
        simulate(variant("tpu_v4i", {"memory.capacity": held - 1}), work)
    assert (caught.value.resource, caught.value.demand) == ("memory_capacity", held)


def test_a_cache_that_does_not_fit_is_refused_though_the_weights_do() -> None:
    work = decode_step(load_model("llama-2-7b"), batch=64, context=4096, weights="int4-g128")
    with pytest.raises(InfeasibleError) as caught:
        simulate(load_device("tpu_v4"), work)
    assert caught.value.resource == "memory_capacity"
    assert "KV cache 137.44 GB" in caught.value.reason


def test_a_scratchpad_that_holds_no_tile() -> None:
    """Two weight tiles of 128 x 128, two rows of 128 activations, two of 128 results."""
    needed = 2 * (128 * 128 + 128) + 2 * 128
    with pytest.raises(InfeasibleError) as caught:
        simulate(variant("generic_npu_128", {"scratchpad.capacity": needed - 1}), gemm(**SMALL))
    reason = (
        f"generic_npu_128: gemm does not fit in the scratchpad: its smallest tiles need {needed} "
        f"bytes, {needed - 1} are free"
    )
    assert str(caught.value) == reason
    assert caught.value.exit_code == 3
    assert caught.value.report() == {
        "state": "INFEASIBLE",
        "resource": "scratchpad",
        "demand": needed,
        "bound": needed - 1,
        "unit": "bytes",
        "reason": reason,
    }


def test_a_scratchpad_that_holds_the_smallest_tiles_is_enough() -> None:
    needed = 2 * (128 * 128 + 128) + 2 * 128
    device = variant("generic_npu_128", {"scratchpad.capacity": needed})
    assert len(simulate(device, gemm(**SMALL)).check()) == 12


def test_the_operation_that_does_not_fit_is_named() -> None:
    device = variant("generic_npu_128", {"scratchpad.capacity": "4 KiB"})
    with pytest.raises(InfeasibleError) as caught:
        simulate(device, prefill(load_model("gpt-2"), sequence=64))
    assert caught.value.resource == "scratchpad"
    assert caught.value.reason.startswith("generic_npu_128: q_proj does not fit in the scratchpad:")


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung != "command"])
def test_an_energy_profile_without_the_pair(rung: str, tmp_path: Path) -> None:
    known = load_profile("jouppi_7nm")
    constant = known.mac_constants["int8xint8"].nominal
    only = {"int8xint8": {"nominal": constant, "source": "test"}}
    path = tmp_path / "only_int8.yaml"
    path.write_text(dump_yaml(replace(known, {"name": "only_int8", "mac_pj": only})))
    device = variant("generic_npu_128", {"energy": str(path)})
    simulate(device, product("int8", "int8"), rung).check()
    with pytest.raises(InputError) as caught:
        simulate(device, product("bf16", "bf16"), rung)
    assert str(caught.value) == (
        "energy profile 'only_int8' has no MAC energy for bf16xbf16; it has: int8xint8"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu_v4", gemm(1, 1, 1)), "device: expected what load_device makes, got 'tpu_v4'"),
        (
            (load_device("tpu_v4"), "gpt-2"),
            "workload: expected what prefill, decode_step or gemm makes, got 'gpt-2'",
        ),
    ],
)
def test_a_name_is_no_device_and_no_workload(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(("use", "given"), [("weights", None), ("kv", 8), ("activations", 4.0)])
def test_what_is_no_format(use: str, given: object) -> None:
    formats: dict[str, Any] = {use: given}
    with pytest.raises(InputError) as caught:
        decode_step(load_model("gpt-2"), context=8, **formats)
    assert str(caught.value) == (f"{use}: expected the name of a format or a Format, got {given!r}")


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        (
            "jouppi",
            "energy: unknown energy profile 'jouppi'; did you mean 'jouppi_7nm'? known: accelforge_tpu_v4i, edge_28nm, horowitz_45nm, jouppi_7nm",
        ),
    ],
)
def test_an_unknown_energy_profile(profile: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(variant("generic_npu_128", {"energy": profile}), product("int8", "int8"))
    assert str(caught.value) == message
