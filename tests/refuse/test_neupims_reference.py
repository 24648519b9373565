"""Is what NeuPIMs' own NPU does not run refused, with which words?"""

from collections.abc import Callable
from typing import Any

import pytest

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.dram.pim.neupims_npu import run_iteration
from simulator.dram.pim.neupims_part import load_neupims
from simulator.errors import InfeasibleError, InputError
from simulator.mapping.policies import Policies
from simulator.workload import decode_step, gemm, prefill

PART = load_neupims()
DEVICE, BLOCKED = load_device("neupims_ref"), load_device("npu_pim_blocked_ref")
GPT = replace(
    load_model("gpt-3-175b"),
    {"name": "small", "hidden": 256, "heads": 2, "kv_heads": 2, "head_dim": 128, "ffn": 512,
     "layers": 1, "vocab": 512},
)  # fmt: skip
SMALL: dict[str, Any] = {"hidden": 256, "heads": 2, "ffn": 512, "tp": 1, "sub_batches": False}
WHOSE = "neupims_ref: NeuPIMs' own NPU"


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (prefill(GPT, sequence=8), f"{WHOSE} runs decode steps only, got small prefill batch=1 sequence=8 w=fp16 a=fp16 kv=fp16"),
        (gemm(8, 8, 8), f"{WHOSE} runs decode steps only, got gemm 8x8x8 w=fp16 a=fp16"),
        (decode_step(GPT, context=8, weights="int8"), f"{WHOSE} computes with fp16 only, got int8 weights, int8 embedding"),
        (decode_step(GPT, context=8, kv="int8"), f"{WHOSE} computes with fp16 only, got int8 kv"),
        (decode_step(replace(GPT, {"kv_heads": 1}), context=8), f"{WHOSE} attends with one head to each of keys and values, 2 heads share 1"),
        (decode_step(load_model("llama-2-7b"), context=8), f"{WHOSE} runs layers of GPT-2's operations only; llama-2-7b has rope, gate_proj"),
    ],
)  # fmt: skip
def test_workloads(workload: Any, message: str) -> None:
    assert message in refused(lambda: simulate(DEVICE, workload))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "unfused"}, f"{WHOSE} runs attention 'fused' only"),
        ({"policies": Policies(placement="npu")}, f"{WHOSE} runs placement 'mixed' or 'fixed', got 'npu'"),
        ({"policies": Policies(head_pipeline="on")}, "neupims_ref: head_pipeline needs a memory of kind 'attacc' or 'groups', to which heads come one after the other"),
        ({"rung": "command"}, "rung 'command': neupims_ref knows its transfers as part of its operations, which are served by commands on every rung; use 'tile'"),
    ],
)  # fmt: skip
def test_options(options: dict[str, Any], message: str) -> None:
    step = decode_step(GPT, context=8, batch=2)
    assert refused(lambda: simulate(DEVICE, step, **options)) == (message,)


def test_sub_batches_with_one_row_buffer() -> None:
    step = decode_step(GPT, context=8, batch=2)
    problems = refused(lambda: simulate(BLOCKED, step, policies=Policies(sub_batch="on")))
    assert problems == ("neupims: sub-batches need two row buffers, mode 'blocked' has one",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ffn": 0}, "ffn must be a multiple of tp 1, got 0"),
        ({"ffn": 513, "tp": 2}, "ffn must be a multiple of tp 2, got 513"),
        ({"heads": 3}, "hidden must be a multiple of 3 heads, got 256"),
        ({"sub_batches": True}, "sub-batches need 2 requests, got 1"),
        ({"ffn": 1 << 20}, "neupims: up_proj of 1 x 256 x 1048576 takes 805371904 bytes, half of the NPU's buffer has 68719616: its operations of several tiles are left out"),
    ],
)  # fmt: skip
def test_models(changes: dict[str, Any], message: str) -> None:
    given = {**SMALL, **changes}
    assert refused(lambda: run_iteration(PART, "dual", [(8, 0)], **given)) == (message,)


def test_modes_and_requests() -> None:
    assert refused(lambda: run_iteration(PART, "duel", [(8, 0)], **SMALL)) == (
        "neupims: unknown mode 'duel'; did you mean 'dual'? known: blocked, dual",
    )
    assert refused(lambda: run_iteration(PART, "dual", [(0, 32)], **SMALL)) == (
        "requests[0]: seq_len must be >= 1, got 0",
        "requests[0]: channel 32 is not within 0 to 31",
    )
    with pytest.raises(InfeasibleError, match="keys and values of channel 3 take"):
        run_iteration(PART, "dual", [(2_000_000, 3)], **SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"npu.core.array": 0}, "npu.core.array: must be >= 1, got 0"),
        ({"npu.core.buffer": "0 KiB"}, "npu.core.buffer: must be positive, got '0 KiB'"),
        ({"npu.core.offers": 0}, "npu.core.offers: must be >= 1, got 0"),
    ],
)
def test_parts(changes: dict[str, Any], message: str) -> None:
    (problem,) = refused(lambda: replace(PART, changes))
    assert problem == message


def test_whose_npu() -> None:
    (problem,) = refused(lambda: replace(DEVICE, {"pim.npu": "theirs"}))
    assert problem == "pim.npu: unknown npu 'theirs'; known: own, reference"
