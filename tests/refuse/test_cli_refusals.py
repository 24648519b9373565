"""Are wrong command lines refused, with which words, and with which exit code?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from simulator import api
from simulator.cli import app
from simulator.errors import InfeasibleError
from simulator.results import load

RUN = ("run", "generic_npu_128", "gpt-2")
DECODE = (*RUN, "--phase", "decode", "--context", "64")
GEMM = ("gemm", "generic_npu_128", "32", "64", "64")
DEVICES = ", ".join(api.device_names())
MODELS = ", ".join(api.model_names())
ALL = ", ".join(sorted([*api.device_names(), *api.model_names()]))

REFUSALS = {
    "unknown device": (
        ("run", "tpu_v5", "gpt-2", "--phase", "decode", "--context", "64"),
        f"unknown device 'tpu_v5'; did you mean 'tpu_v4'? known: {DEVICES}",
    ),
    "unknown model": (
        ("run", "tpu_v4", "gpt2", "--phase", "decode", "--context", "64"),
        f"unknown model 'gpt2'; did you mean 'gpt-2'? known: {MODELS}",
    ),
    "unknown name": (
        ("describe", "tpu_v5"),
        f"unknown device or model 'tpu_v5'; did you mean 'tpu_v4'? known: {ALL}",
    ),
    "missing file": (("describe", "none/my.yaml"), "none/my.yaml: no such file"),
    "two ways to describe": (
        ("describe", "tpu_v4", "--yaml"),
        "give --yaml or --json, not both",
    ),
    "unknown weight format": (
        (*DECODE, "--weight-format", "int44"),
        "unknown format 'int44'; did you mean 'int4'?",
    ),
    "unknown kv format": (
        (*DECODE, "--kv-format", "int8-row"),
        "format 'int8-row': unknown suffix '-row'; known: -gN, -channel, -token, -tensor, -asym, "
        "-s8, -s16, -s32",
    ),
    "unknown shorthand": (
        (*DECODE, "--format", "w4a9"),
        "unknown shorthand 'w4a9'; did you mean 'w4a8'?",
    ),
    "format that cannot be listed": (
        ("formats", "int4-asym"),
        "format 'int4-asym': -asym needs a granularity: -gN, -channel, -token or -tensor",
    ),
    "zero batch": ((*DECODE, "--batch", "0"), "batch must be >= 1, got 0"),
    "zero context": (
        (*RUN, "--phase", "decode", "--context", "0"),
        "context must be >= 1, got 0",
    ),
    "context beyond the limit": (
        (*RUN, "--phase", "decode", "--context", "1025"),
        "context 1025 is beyond gpt-2's limit of 1024",
    ),
    "sequence beyond the limit": (
        (*RUN, "--phase", "prefill", "--sequence", "4096"),
        "sequence 4096 is beyond gpt-2's limit of 1024",
    ),
    "batch against contexts": (
        (*RUN, "--phase", "decode", "--context", "64,65", "--batch", "3"),
        "batch is 3, but context has 2 entries",
    ),
    "context that is no number": (
        (*RUN, "--phase", "decode", "--context", "64,"),
        "--context must be a whole number, or several with commas between, got '64,'",
    ),
    "sequence that is no whole number": (
        (*RUN, "--phase", "prefill", "--sequence", "1e3"),
        "--sequence must be a whole number, or several with commas between, got '1e3'",
    ),
    "decode without context": (
        (*RUN, "--phase", "decode"),
        "--phase decode needs --context",
    ),
    "decode with sequence": (
        (*RUN, "--phase", "decode", "--sequence", "64"),
        "--phase decode takes --context, not --sequence",
    ),
    "decode with both": (
        (*DECODE, "--sequence", "64"),
        "--phase decode takes --context, not --sequence",
    ),
    "prefill without sequence": (
        (*RUN, "--phase", "prefill"),
        "--phase prefill needs --sequence",
    ),
    "prefill with context": (
        (*RUN, "--phase", "prefill", "--context", "64"),
        "--phase prefill takes --sequence, not --context",
    ),
    "unknown phase": (
        (*RUN, "--phase", "decod", "--context", "64"),
        "unknown phase 'decod'; did you mean 'decode'? known: decode, prefill",
    ),
    "unknown rung": (
        (*DECODE, "--rung", "tyle"),
        "unknown rung 'tyle'; did you mean 'tile'?",
    ),
    "command rung": (
        (*DECODE, "--rung", "command"),
        "rung 'command' needs a memory of kind 'channels', generic_npu_128 has one of kind "
        "'dram'; use 'tile', or a device with a DRAM standard",
    ),
    "unknown attention": (
        (*DECODE, "--attention", "flash"),
        "unknown attention 'flash'; known: fused, unfused",
    ),
    "trace without a folder": (
        (*DECODE, "--trace"),
        "--trace needs --out FOLDER, where trace.json goes",
    ),
    "all logits of a decode step": (
        (*DECODE, "--all-logits"),
        "--all-logits is for --phase prefill",
    ),
    "unknown embedding format": (
        (*DECODE, "--embedding-format", "fp17"),
        "unknown format 'fp17'; did you mean 'fp16'?",
    ),
    "out without a name": ((*DECODE, "--out", ""), "--out is empty: name a folder"),
    "run beyond the end of time": (
        (*DECODE, "--set", "memory.bandwidth=1 B/s"),
        "gpt-2 decode batch=1 context=64 w=fp16 a=fp16 kv=fp16 takes at least 2.5e+08 s on "
        "generic_npu_128; simulated time ends at 10,000 s: is a clock, a bandwidth or a latency "
        "off by its unit?",
    ),
    "set without a value": (
        (*DECODE, "--set", "matrix.rows"),
        "--set 'matrix.rows': expected PATH=VALUE",
    ),
    "set of nothing": (
        (*DECODE, "--set", "matix.rows=64"),
        "--set matix.rows: nothing at 'matix'; did you mean 'matrix'?",
    ),
    "set of an unknown key": (
        (*DECODE, "--set", "matrix.weight_bufers=1"),
        "--set matrix.weight_bufers: unknown key; did you mean 'weight_buffers'?",
    ),
    "set of a wrong type": (
        (*DECODE, "--set", "matrix.rows=many"),
        "--set matrix.rows: expected an integer, got 'many'",
    ),
    "set beyond a range": (
        (*DECODE, "--set", "matrix.rows=-4"),
        "--set matrix.rows: must be >= 1, got -4",
    ),
    "set of a quantity without a unit": (
        (*DECODE, "--set", "memory.bandwidth=1200"),
        "--set memory.bandwidth: '1200' has no unit; it would mean '1.2 kB/s'",
    ),
    "set of an absent quantity without a unit": (
        (*DECODE, "--set", "dma.in_flight=4096"),
        "--set dma.in_flight: '4096' has no unit; it would mean '4 KiB'",
    ),
    "set twice": (
        (*DECODE, "--set", "cores=2", "--set", "cores=4"),
        "--set cores: given twice",
    ),
    "zero gemm": (("gemm", "generic_npu_128", "0", "64", "64"), "m must be >= 1, got 0"),
    "unknown dataflow": (
        (*GEMM, "--dataflow", "row_stationary"),
        "unknown dataflow 'row_stationary'; did you mean 'weight_stationary'? known: "
        "input_stationary, is, os, output_stationary, weight_stationary, ws",
    ),
    "device without a dataflow": (
        ("gemm", "a100", "32", "64", "64", "--dataflow", "ws"),
        "a100 has a matrix unit of kind 'throughput', which has no dataflow; --dataflow needs kind "
        "'systolic'",
    ),
    "missing topology": (
        ("topology", "none/t.csv", "tpu_v4"),
        "none/t.csv: cannot be read: No such file or directory",
    ),
    "topology in no folder": (
        ("export-topology", "gpt-2", "none/t.csv", "--phase", "decode", "--context", "8"),
        "none/t.csv: cannot be written: No such file or directory",
    ),
    "datapath and --all": (("verify", "lut", "--all"), "give a datapath or --all, not both"),
    "shape of a product": (
        ("verify", "lut", "--shape", "512x4096"),
        "--shape: expected MxNxK, as 512x4096x4096, got '512x4096'",
    ),
    "formats of a datapath": (
        ("verify", "mixpe", "--weight-format", "nf4-g64"),
        "mixpe: weights must be int4 with a scale, got nf4-g64",
    ),
    "data of a datapath": (
        ("verify", "mixpe", "--data", "gausian"),
        "unknown data 'gausian'; did you mean 'gaussian'? known: gaussian, outlier_channels, "
        "student_t",
    ),
}


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="nibblesim")


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_as_json(case: str) -> None:
    arguments, message = REFUSALS[case]
    result = nibblesim(*arguments, "--json")
    assert result.stderr == f"{message}\n"
    assert json.loads(result.stdout) == {"state": "INPUT_ERROR", "problems": [message]}
    assert result.exit_code == 2


@pytest.mark.parametrize("case", ["unknown device", "zero batch", "unknown rung"])
def test_refused_in_words(case: str) -> None:
    arguments, message = REFUSALS[case]
    result = nibblesim(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"{message}\n", "")


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("base: tpu_v4\nmemory:\n  bandwith: 1 TB/s\ncores: four\n")
    result = nibblesim("describe", str(path), "--json")
    problems = [
        f"{path}: cores: expected an integer, got 'four'",
        f"{path}: memory.bandwith: unknown key; did you mean 'bandwidth'?",
    ]
    assert json.loads(result.stdout)["problems"] == problems
    assert result.stderr == "\n".join(problems) + "\n"
    assert result.exit_code == 2


def test_all_problems_of_set_at_once() -> None:
    result = nibblesim(*DECODE, "--set", "matrix.rows=0", "--set", "cores=few")
    assert result.stderr.splitlines() == [
        "--set cores: expected an integer, got 'few'",
        "--set matrix.rows: must be >= 1, got 0",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*RUN, "--context", "64"), "Missing option '--phase'."),
        ((*DECODE, "--contxt", "64"), "No such option: --contxt"),
        ((*DECODE, "--batch", "many"), "Invalid value for '--batch'"),
        (("run", "tpu_v4"), "Missing argument 'MODEL'."),
        (("rum",), "No such command 'rum'."),
    ],
)
def test_usage_errors_are_bad_input(arguments: tuple[str, ...], words: str) -> None:
    result = nibblesim(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert "Usage: nibblesim" in result.stderr
    assert "│" not in result.stderr
    result = nibblesim(*arguments, "--json")
    assert result.exit_code == 2
    content = json.loads(result.stdout)
    assert content["state"] == "INPUT_ERROR"
    assert content["problems"][0].startswith(words)


def test_weights_that_do_not_fit_are_infeasible() -> None:
    arguments = ("run", "tpu_v4i", "llama-2-7b", "--phase", "decode", "--context", "2048")
    # 6,738,415,616 parameters of 2 bytes, keys and values of 2048 tokens in 32 layers, the logits.
    demand = 2 * 6_738_415_616 + 2048 * 2 * 32 * 4096 * 2 + 2 * 32_000
    reason = (
        "llama-2-7b decode batch=1 context=2048 w=fp16 a=fp16 kv=fp16 does not fit in the memory "
        "of tpu_v4i: weights 13.48 GB, KV cache 1.07 GB, activations 0.00 GB: 14.55 GB in "
        "all, 8.59 GB there"
    )
    result = nibblesim(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (3, f"{reason}\n", "")
    result = nibblesim(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (3, f"{reason}\n")
    assert json.loads(result.stdout) == {
        "state": "INFEASIBLE",
        "resource": "memory_capacity",
        "demand": demand,
        "bound": 8 * 2**30,
        "unit": "bytes",
        "reason": reason,
    }


def test_an_infeasible_run_is_recorded_in_place_of_an_earlier_one(tmp_path: Path) -> None:
    arguments = ("run", "tpu_v4i", "llama-2-7b", "--phase", "decode", "--context", "64")
    out = tmp_path / "out"
    assert nibblesim(*arguments, "--format", "w8a8", "--out", str(out)).exit_code == 0
    assert len(list(out.iterdir())) == 6
    result = nibblesim(*arguments, "--json", "--out", str(out))
    assert result.exit_code == 3
    assert [file.name for file in out.iterdir()] == ["result.json"]
    record = json.loads((out / "result.json").read_text())
    run = {"device": "tpu_v4i", "rung": "tile", "workload": record["workload"]}
    assert record == {**json.loads(result.stdout), **run}
    with pytest.raises(InfeasibleError) as error:
        load(out)
    assert error.value.report() == json.loads(result.stdout)


def test_unwritable_folder_is_refused_before_the_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(*_arguments: object, **_options: object) -> None:
        raise AssertionError("simulated although the folder cannot be written to")

    monkeypatch.setattr(api, "simulate", simulate)
    (tmp_path / "taken").write_text("mine")
    for folder, reason in (
        (tmp_path / "taken", "it is a file, not a folder"),
        (tmp_path / "taken" / "out", "Not a directory"),
    ):
        result = nibblesim(*DECODE, "--out", str(folder))
        message = f"cannot write to '{folder}': {reason}\n"
        assert (result.exit_code, result.stderr, result.stdout) == (2, message, "")
    assert (tmp_path / "taken").read_text() == "mine"
