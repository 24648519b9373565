"""Is what a memory that multiplies cannot do refused, by a run and on the command line?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plans import tiny_model, variant
from typer.testing import CliRunner

from simulator.api import simulate
from simulator.cli import app
from simulator.cost import load_profile
from simulator.errors import InfeasibleError, InputError
from simulator.mapping.overlap import in_stages
from simulator.mapping.plan import Plan
from simulator.mapping.planner import plan
from simulator.mapping.policies import Policies
from simulator.workload import Workload, decode_step, prefill
from simulator.workload.sub_batches import sub_batches

NAME = "tiny decode batch=2 context=20..30 w=fp16 a=fp16 kv=fp16"


def step(kv_heads: int = 4, **options: Any) -> Workload:
    """Return a decode step of two requests."""
    return decode_step(tiny_model(kv_heads), **{"context": [20, 30], **options})


@pytest.mark.parametrize(
    ("policies", "problems"),
    [
        ({"placement": "fixd"}, ["unknown placement 'fixd'; did you mean 'fixed'? known: fixed, intensity, mixed, npu, predicted"]),
        ({"assignment": "min_lod"}, ["unknown assignment 'min_lod'; did you mean 'min_load'?"]),
        ({"sub_batch": "yes"}, ["unknown sub_batch 'yes'; known: auto, off, on"]),
        ({"head_pipeline": "auto"}, ["unknown head_pipeline 'auto'; known: off, on"]),
        ({"coprocess": "fnn"}, ["unknown coprocess 'fnn'; did you mean 'ffn'?"]),
        ({"sub_batch": "", "placement": "pim"}, ["unknown placement 'pim'; known: fixed, intensity, mixed, npu, predicted", "unknown sub_batch ''; known: auto, off, on"]),
    ],
)  # fmt: skip
def test_policies_that_are_not_there(policies: dict[str, str], problems: list[str]) -> None:
    with pytest.raises(InputError) as error:
        Policies(**policies)
    for found, expected in zip(error.value.problems, problems, strict=True):
        assert found.startswith(expected)


@pytest.mark.parametrize(
    ("device", "work", "policies", "message"),
    [
        ("neupims", step(2), {}, "neupims: 4 heads share 2 of keys and values; its rows are multiplied with one query head each (placement npu attends on the arrays)"),
        ("neupims", step(kv="int8"), {}, "neupims: its memory multiplies keys and values of 16 bits without scales, got int8"),
        ("npu_pim_blocked", step(kv="fp8_e4m3fn"), {}, "npu_pim_blocked: its memory multiplies keys and values of 16 bits without scales, got fp8_e4m3fn"),
        ("attacc", step(kv="int4-token"), {}, "attacc: its memory multiplies keys and values of 8 or 16 bits without scales, got int4-token"),
        ("ianus", step(weights="int8-channel"), {}, "ianus: its memory multiplies weights of 16 bits without scales, got int8-channel"),
        ("generic_npu_128", step(tensor_parallel=2), {}, "generic_npu_128: all_reduce_embedding needs a link to other devices"),
        ("neupims", step(channels=[3, 32]), {}, "a request is on channel 32, not one of 0 to 31"),
        ("npu_only", step(), {"sub_batch": "on"}, "npu_only: sub_batch needs a memory that multiplies"),
        ("neupims", prefill(tiny_model(4), sequence=20, batch=2), {"sub_batch": "on"}, "tiny prefill batch=2 sequence=20 w=fp16 a=fp16 kv=fp16: only a decode step can be split in sub-batches"),
        ("neupims", step(context=[20]), {"sub_batch": "on"}, "tiny decode batch=1 context=20 w=fp16 a=fp16 kv=fp16: sub-batches need 2 requests, got 1"),
        ("neupims", step(), {"head_pipeline": "on"}, "neupims: head_pipeline needs a memory of kind 'attacc' or 'groups', to which heads come one after the other"),
        ("attacc", step(), {"head_pipeline": "on", "sub_batch": "on"}, "attacc: head_pipeline and sub_batch exclude each other"),
        ("attacc", step(), {"placement": "npu"}, "attacc: placement 'npu' cannot attend to keys and values, which lie in a memory of their own"),
        ("duplex", step(), {"coprocess": "ffn"}, "duplex: coprocess 'ffn' needs a memory of kind 'attacc'"),
    ],
)  # fmt: skip
def test_what_a_device_does_not_do(
    device: str, work: Workload, policies: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        simulate(variant(device), work, policies=Policies(**policies))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "resource", "message"),
    [
        ({"pim.own.capacity": "64 KiB"}, "pim_memory_capacity", f"{NAME} does not fit in the AttAcc of attacc: KV cache 0.00 GB, 0.00 GB there"),
        ({"memory.capacity": "64 KiB"}, "memory_capacity", f"{NAME} does not fit in the memory of attacc: weights 0.00 GB, activations 0.00 GB: 0.00 GB in all, 0.00 GB there"),
    ],
)  # fmt: skip
def test_what_does_not_fit(changes: dict[str, Any], resource: str, message: str) -> None:
    """Caches are in a memory of their own, all else in the device's."""
    with pytest.raises(InfeasibleError) as error:
        simulate(variant("attacc", changes), step())
    assert str(error.value) == message
    assert error.value.report()["resource"] == resource
    assert error.value.demand > error.value.bound == 64 * 1024


def test_one_group_has_no_halves() -> None:
    banks = {"PseudoChannel": 2, "Sid": 2, "BankGroup": 4, "Bank": 4}
    with pytest.raises(InputError) as error:
        variant("duplex", {"pim.part.at_once": banks})
    assert "policy 'apart' needs two halves of groups, duplex_logic has 1 a channel" in str(
        error.value
    )


def test_more_keys_and_values_than_a_channel_has_rows() -> None:
    """All on one channel, though the memory as a whole has room for them."""
    rows = {"pim.part.levels.Row": 64}
    with pytest.raises(InfeasibleError) as error:
        simulate(variant("neupims", rows), step(context=[512] * 40, channels=[0] * 40))
    assert "channel 0" in str(error.value)


def layers_of(change: Callable[[Plan], Plan]) -> None:
    """Ask for the stages of a plan that was changed."""
    device = variant("neupims")
    in_stages(change(plan(step(), device, load_profile(device.energy))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda made: replace(made, segments=(*made.segments, made.segments[1])),
            "stages and sub-batches need layers that are all alike",
        ),
        (
            lambda made: replace(made, segments=made.segments[:1]),
            "stages and sub-batches need layers that are all alike",
        ),
        (
            lambda made: replace(
                made, segments=(replace(made.segments[1], ops=made.segments[1].ops[:3]),)
            ),
            "stages and sub-batches need attention 'fused'",
        ),
    ],
)
def test_plans_that_have_no_stages(change: Callable[[Plan], Plan], message: str) -> None:
    with pytest.raises(InputError) as error:
        layers_of(change)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (step(context=[30]), "tiny decode batch=1 context=30 w=fp16 a=fp16 kv=fp16: sub-batches need 2 requests, got 1"),
        (prefill(tiny_model(), sequence=30), "tiny prefill batch=1 sequence=30 w=fp16 a=fp16 kv=fp16: only a decode step can be split in sub-batches"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(work: Workload, message: str) -> None:
    with pytest.raises(InputError) as error:
        sub_batches(work)
    assert str(error.value) == message


MODEL = "name: tiny\nfamily: gpt2\nhidden: 1024\nlayers: 1\nheads: 8\nffn: 4096\nvocab: 100\nmax_context: 2048\n"
DECODE = ("--phase", "decode", "--requests", "r.csv")
ASKED = "--requests gives all requests; leave {} away"


@pytest.mark.parametrize(
    ("file", "arguments", "words"),
    [
        ("seq_len\n20\n", ("--phase", "prefill", "--sequence", "20", "--requests", "r.csv"), "--requests is for --phase decode"),
        ("seq_len\n20\n", (*DECODE, "--context", "20"), ASKED.format("--context")),
        ("seq_len\n20\n", (*DECODE, "--batch", "1"), ASKED.format("--batch")),
        ("seq_len\n20\n", (*DECODE, "--sequence", "20"), ASKED.format("--sequence")),
        ("seq_len\n20\n", (*DECODE, "--policy", "sub_bach=on"), "--policy: unknown policy 'sub_bach'; did you mean 'sub_batch'?"),
        ("seq_len\n20\n", (*DECODE, "--policy", "sub_batch"), "--policy 'sub_batch': expected NAME=VALUE"),
        ("seq_len\n20\n", (*DECODE, "--policy", "=on"), "--policy '=on': expected NAME=VALUE"),
        ("seq_len\n20\n", (*DECODE, "--policy", "sub_batch=on", "--policy", "sub_batch=off"), "--policy sub_batch: given twice"),
        ("seq_len\n20\n", (*DECODE, "--policy", "sub_batch=onn"), "unknown sub_batch 'onn'; did you mean 'on'?"),
        ("seq_len\n20\n", (*DECODE, "--policy", "sub_batch=on"), "sub-batches need 2 requests, got 1"),
        ("seq_len\n20\nx\n\n-3\n", DECODE, "r.csv:3: seq_len: expected an integer, got 'x'"),
        ("seq_len\n20\nx\n\n-3\n", DECODE, "r.csv:5: seq_len: must be >= 1, got -3"),
        ("seq_len,ch_idx\n20,1\n30\n", DECODE, "r.csv:3: expected 2 cells, got 1"),
        ("tokens\n20\n", DECODE, "r.csv:1: expected seq_len[,ch_idx], got tokens"),
        ("seq_len\n", DECODE, "r.csv: has no requests"),
        ("seq_len,ch_idx\n20,1\n30,32\n", DECODE, "a request is on channel 32, not one of 0 to 31"),
        ("seq_len\n4096\n", DECODE, "context 4096 is beyond tiny's limit of 2048"),
        ("seq_len\n20\n", (*DECODE, "--tp", "3"), "heads (8) must be a multiple of tensor_parallel (3)"),
        ("seq_len\n20\n", (*DECODE, "--tp", "0"), "tensor_parallel must be >= 1, got 0"),
        ("seq_len\n20\n", (*DECODE, "--pp", "2"), "pipeline_parallel"),
    ],
)  # fmt: skip
def test_command_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "tiny.yaml").write_text(MODEL)
    (tmp_path / "r.csv").write_text(file)
    monkeypatch.chdir(tmp_path)
    given = ["run", "neupims", "tiny.yaml", *arguments]
    result = CliRunner().invoke(app, given, prog_name="nibblesim")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr


def test_requests_of_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", "neupims", "tiny.yaml", *DECODE])
    assert result.exit_code == 2
    assert "r.csv: " in result.stderr
    assert "No such file" in result.stderr
