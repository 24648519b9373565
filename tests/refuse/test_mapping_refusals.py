"""What a device that cannot multiply or hold a workload says: what was asked, what it can do."""

import pytest
from plans import tiny_model, variant

from simulator.cost import load_profile
from simulator.errors import InfeasibleError, InputError
from simulator.formats import get
from simulator.hardware import Device
from simulator.mapping.lowering import Lowered, lower, product_size
from simulator.mapping.planner import plan
from simulator.mapping.products import unfused_shape
from simulator.workload import Workload, decode_step, gemm, prefill


def device(*pairs: str) -> Device:
    """Return an array whose element multiplies these pairs only."""
    return variant("generic_npu_128", {"matrix.pe.formats": dict.fromkeys(pairs, 1)})


def refusal(weights: str, activations: str, *pairs: str) -> str:
    """Return the message about one product of these formats."""
    work = gemm(2, 3, 4, weights=weights, activations=activations)
    with pytest.raises(InputError) as error:
        lower(work.segments[0].graph, device(*pairs), fused_attention=True)
    assert error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize(
    ("weights", "activations", "pairs", "end"),
    [
        ("fp16", "fp16", ("int8xint8",), "weights fp16 with activations fp16, not even widened; it does: int8xint8"),
        ("fp16", "int8", ("int8xint8", "int4xint8"), "weights fp16 with activations int8, not even widened; it does: int8xint8, int4xint8"),
        ("mxfp4", "int8", ("int8xint8",), "weights mxfp4 with activations int8, not even widened; it does: int8xint8"),
        ("fp8_e4m3fn", "int8-token", ("int8xint8",), "weights fp8_e4m3fn with activations int8-token, not even widened; it does: int8xint8"),
        ("nf4-g64", "int8", ("int8xint8",), "weights nf4-g64 with activations int8, not even widened; it does: int8xint8"),
        ("int16", "int8", ("int8xint8",), "weights int16 with activations int8, not even widened; it does: int8xint8"),
        ("fp32", "fp16", ("fp16xfp16", "bf16xbf16"), "weights fp32 with activations fp16, not even widened; it does: fp16xfp16, bf16xbf16"),
        ("int8", "int8", ("int4xint4",), "weights int8 with activations int8, not even widened; it does: int4xint4"),
        ("uint8", "int8", ("int8xint8", "uint8xuint8"), "weights uint8 with activations int8, not even widened; it does: int8xint8, uint8xuint8"),
        ("int8", "int8", ("int4xfp16",), "weights int8 with activations int8, not even widened; it does: int4xfp16"),
    ],
)  # fmt: skip
def test_a_pair_that_nothing_holds_is_refused_with_what_the_element_does(
    weights: str, activations: str, pairs: tuple[str, ...], end: str
) -> None:
    start = "generic_npu_128: gemm: PE 'mac8' cannot multiply "
    assert refusal(weights, activations, *pairs) == start + end


def test_the_operation_of_a_model_is_named() -> None:
    work = decode_step(tiny_model(), context=8, weights="int8", activations="int8", kv="fp16")
    with pytest.raises(InputError) as error:
        lower(work.segments[1].graph, device("int8xint8"), fused_attention=True)
    assert str(error.value) == (
        "generic_npu_128: attention: PE 'mac8' cannot multiply weights fp16 with activations int8, "
        "not even widened; it does: int8xint8"
    )


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("int8xint4", "PE 'mac8' does not multiply int8xint4; did you mean 'int8xint8'? it does: int8xint8, int4xint8"),
        ("fp16xbf16", "PE 'mac8' does not multiply fp16xbf16; it does: int8xint8, int4xint8"),
    ],
)  # fmt: skip
def test_passes_of_an_unknown_pair_are_refused(pair: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        device("int8xint8", "int4xint8").matrix.pe.passes(pair)
    assert str(error.value) == message


def test_an_element_is_asked_for_formats_not_for_names() -> None:
    pe = device("int8xint8").matrix.pe
    assert pe.operand_pair(get("int4-g128"), get("int8-token")) == "int8xint8"
    with pytest.raises(InputError) as error:
        pe.operand_pair(get("bf16"), get("int8"))
    assert str(error.value) == (
        "PE 'mac8' cannot multiply weights bf16 with activations int8, not even widened; "
        "it does: int8xint8"
    )


def test_what_is_no_product_has_no_shape() -> None:
    norm = Lowered("norm", "norm", ("x",), ("y",), ())
    with pytest.raises(InputError) as error:
        product_size(norm)
    assert str(error.value) == "norm is not a product"
    with pytest.raises(InputError) as error:
        unfused_shape(norm)
    assert str(error.value) == "norm is neither a product nor attention"


def infeasible(work: Workload, on: Device) -> InfeasibleError:
    """Return the refusal of a whole workload."""
    with pytest.raises(InfeasibleError) as error:
        plan(work, on, load_profile(on.energy))
    assert error.value.exit_code == 3
    return error.value


def test_a_model_that_memory_cannot_hold_is_refused_with_its_parts() -> None:
    work = decode_step(tiny_model(), context=1000, batch=100)
    error = infeasible(work, variant("generic_npu_128", {"memory.capacity": "100 MB"}))
    weights = 2 * (2 * 1000 * 256 + 2 * (256 * (2 * 256 + 2 * 128 + 3 * 512) + 2 * 256) + 256)
    cache = 2 * 2 * 2 * 100 * 1000 * 2 * 64
    logits = 2 * 100 * 1000
    assert (error.resource, error.unit, error.bound) == ("memory_capacity", "bytes", 10**8)
    assert error.demand == weights + cache + logits
    assert str(error) == (
        f"{work.name} does not fit in the memory of generic_npu_128: weights 0.00 GB, "
        "KV cache 0.10 GB, activations 0.00 GB: 0.11 GB in all, 0.10 GB there"
    )


def test_a_product_that_no_tiling_fits_is_refused_with_what_its_smallest_tiles_need() -> None:
    """One fold of 128 x 128 weights twice, a row of activations twice, two rows of outputs."""
    work = gemm(1, 1024, 1024, weights="int8", activations="int8")
    error = infeasible(work, variant("generic_npu_128", {"scratchpad.capacity": "32 KiB"}))
    needed = 2 * (128 * 128 + 128) + 2 * 128
    assert error.report() == {
        "state": "INFEASIBLE",
        "resource": "scratchpad",
        "demand": needed,
        "bound": 32_768,
        "unit": "bytes",
        "reason": f"generic_npu_128: gemm does not fit in the scratchpad: its smallest tiles need "
        f"{needed} bytes, 32768 are free",
    }


def test_attention_that_no_tiling_fits_is_refused_too() -> None:
    work = prefill(tiny_model(), sequence=512)
    error = infeasible(work, variant("generic_npu_128", {"scratchpad.capacity": "66 KiB"}))
    assert error.resource == "scratchpad"
    assert str(error) == (
        f"generic_npu_128: attention does not fit in the scratchpad: its smallest tiles need "
        f"{error.demand} bytes, 67584 are free"
    )


def test_two_cores_without_a_network_do_not_plan_an_exchange() -> None:
    """They share work through memory: no gather, no reduction."""
    on = variant("generic_npu_128", {"cores": 2})
    made = plan(decode_step(tiny_model(), context=8), on, load_profile(on.energy))
    assert made.cores in (1, 2)
    assert {op.unit for segment in made.segments for op in segment.ops} == {"matrix", "vector"}


def test_an_operand_pair_of_no_format_is_refused() -> None:
    with pytest.raises(InputError) as error:
        device("int8xint9z")
    assert str(error.value) == (
        "matrix.pe.formats: 'int8xint9z' is not a pair WEIGHTxACTIVATION of known formats"
    )
