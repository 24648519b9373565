"""Do the commands run, print what they promise, and leave stdout to the one JSON object?"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import simulator
from simulator import api
from simulator.cli import app, output
from simulator.cli import run as run_module
from simulator.errors import CheckError, DeadlockError

HEAVY = ("numpy", "numba", "scipy", "pandas", "pyarrow", "matplotlib", "pydantic", "networkx")
KEYS = {
    "device",
    "workload",
    "rung",
    "latency_s",
    "cycles",
    "tokens_per_s",
    "energy_j",
    "energy_breakdown_j",
    "roofline_bound_s",
    "utilisation",
    "stalls_s",
    "bytes",
    "macs",
    "wall_time_s",
    "provenance",
}
DECODE = ("--phase", "decode", "--context", "64")
GPT2 = ("run", "tpu_v4", "gpt-2", *DECODE)


def nibblesim(*arguments: str) -> Result:
    """Run a command in this process; it must succeed."""
    result = CliRunner().invoke(app, list(arguments), prog_name="nibblesim")
    assert result.exit_code == 0, result.stderr
    return result


def parsed(*arguments: str) -> dict[str, Any]:
    """Run a command with --json; stdout holds one object and stderr nothing."""
    result = nibblesim(*arguments, "--json")
    assert result.stderr == ""
    content = json.loads(result.stdout)
    assert isinstance(content, dict)
    return content


def process(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on the package under test, from another folder."""
    root = str(Path(simulator.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command() -> None:
    text = nibblesim("--help").stdout
    for command in (
        "devices",
        "models",
        "formats",
        "describe",
        "run",
        "gemm",
        "topology",
        "export-topology",
        "verify",
        "compare",
        "explain",
        "reproduce",
    ):
        assert f"\n  {command} " in text
    assert "..." not in text.split("Commands:")[1]
    assert nibblesim("-h").stdout == text


def test_version() -> None:
    assert nibblesim("--version").stdout == f"nibblesim {version('nibblesim')}\n"
    assert simulator.__version__ == version("nibblesim")


def test_help_starts_fast_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, simulator\n"
        "assert [name for name in sys.modules if name.startswith('simulator')] == ['simulator']\n"
        "import simulator.cli\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    assert process("-c", code, folder=tmp_path).stdout == "[]\n"
    times = []
    for _ in range(3):
        began = os.times()
        shown = process("-m", "simulator", "--help", folder=tmp_path)
        ended = os.times()
        # Of the process alone, so that a busy machine does not fail it.
        spent = (ended.children_user, ended.children_system)
        times.append(sum(spent) - began.children_user - began.children_system)
        assert shown.returncode == 0
        assert shown.stdout.startswith("Usage: nibblesim ")
    assert min(times) < 0.5


def test_public_names_of_the_package() -> None:
    for name in simulator.__all__:
        assert getattr(simulator, name) is not None
    assert simulator.simulate is api.simulate
    assert set(simulator.__all__) <= set(dir(simulator))
    with pytest.raises(AttributeError) as error:
        _ = simulator.simulat  # type: ignore[attr-defined]
    assert str(error.value) == "module 'simulator' has no attribute 'simulat'"


def test_devices_and_models_one_line_each() -> None:
    lines = nibblesim("devices").stdout.splitlines()
    assert [line.split()[0] for line in lines] == api.device_names()
    for line in lines:
        device = api.load_device(line.split()[0])
        assert line.endswith(f"  {device.summary} [{device.fidelity}]")
    lines = nibblesim("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == api.model_names()
    assert any("6,738,415,616 parameters  Llama 2, 7 billion" in line for line in lines)


def test_devices_and_models_as_json() -> None:
    devices = parsed("devices")["devices"]
    assert [device["name"] for device in devices] == api.device_names()
    assert all(device["fidelity"] and device["source"] for device in devices)
    sizes = {model["name"]: model["parameters"] for model in parsed("models")["models"]}
    assert sizes["llama-2-7b"] == 6_738_415_616


def test_formats_give_exact_bits() -> None:
    rows = {
        line.split()[0]: line.split() for line in nibblesim("formats").stdout.splitlines() if line
    }
    assert rows["mxfp4"][-1] == "4.25"
    assert rows["ternary"][-1] == "1.6"
    assert rows["bitmod3"][-1] == "3.078125"
    assert rows["w4a8kv4"][1:3] == ["int4-g128-asym", "4.15625"]
    assert rows["w4a8kv4"][-4:] == ["int4-token-asym", "4", "+", "20/K"]


def test_formats_of_given_names() -> None:
    content = parsed("formats", "int4-g64-asym", "ternary", "w4a16")
    assert [one["bits_per_value_exact"] for one in content["formats"]] == ["69/16", "8/5"]
    assert content["formats"][0]["bits_per_value"] == 4.3125
    assert content["shorthands"] == {
        "w4a16": {"weights": "int4-g128", "activations": "fp16", "kv": "fp16"}
    }


def test_describe_device_derives_peaks() -> None:
    text = nibblesim("describe", "tpu_v4").stdout
    assert text.startswith("tpu_v4\n  summary   Google TPU v4")
    assert "  bandwidth   1.2 TB/s\n" in text
    # 2 TensorCores x 4 arrays x 128 x 128 MACs at 1.05 GHz; 2 op a MAC over 1.2 TB/s.
    row = next(line.split() for line in text.splitlines() if line.startswith("  int8xint8"))
    assert row == [
        "int8xint8", "137.6", "TMAC/s", "275.3", "Top/s", "229.4", "op/B", "263.7", "op/B",
    ]  # fmt: skip
    assert "  memory, sustained  1.044 TB/s\n" in text
    content = parsed("describe", "tpu_v4")
    peak = 2 * 4 * 128 * 128 * 1_050_000_000
    assert content["kind"] == "device"
    assert content["derived"]["peak_macs_per_s"]["int8xint8"] == peak
    assert content["derived"]["ridge_ops_per_byte"]["int8xint8"] == 2 * peak / 1.2e12
    assert content["description"]["memory"]["capacity"] == "32 GiB"


def test_describe_device_with_channels() -> None:
    text = nibblesim("describe", "npu_hbm2").stdout
    assert "  standard    hbm2_2000: HBM2, 8 Gb, 2000 MT/s" in text
    assert "  memory, peak       1.024 TB/s\n" in text
    assert "Memory by stream, on rungs without commands\n" in text
    runs = parsed("describe", "npu_hbm2")["derived"]["memory_by_run"]
    assert [run["run_bytes"] for run in runs] == [32 * 8**i for i in range(7)]
    # Refresh takes 350 of 3,900 ticks.
    assert 0.89 < runs[-1]["reads"] / 1.024e12 < 0.91
    assert runs[1]["scattered_reads"] < 0.5 * runs[1]["reads"]
    assert parsed("describe", "tpu_v4")["derived"]["memory_by_run"] == []


def test_describe_device_without_a_memory_limit(tmp_path: Path) -> None:
    lines = nibblesim("describe", "generic_npu_128", "--yaml").stdout.splitlines()
    limits = ("  bandwidth:", "  efficiency:", "  latency:")
    kept = [line.replace("kind: dram", "kind: ideal") for line in lines]
    path = tmp_path / "ideal.yaml"
    path.write_text("\n".join(line for line in kept if not line.startswith(limits)))
    assert "  memory, peak       no limit\n" in nibblesim("describe", str(path)).stdout
    content = parsed("describe", str(path))
    assert content["derived"]["memory_bytes_per_s"] is None
    assert content["derived"]["ridge_ops_per_byte"]["int8xint8"] is None


@pytest.mark.parametrize("name", ["tpu_v4", "llama-2-7b"])
def test_described_yaml_describes_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    path.write_text(nibblesim("describe", name, "--yaml").stdout)
    assert nibblesim("describe", str(path)).stdout == nibblesim("describe", name).stdout


def test_describe_model() -> None:
    text = nibblesim("describe", "llama-2-7b").stdout
    assert "  parameters                      6,738,415,616\n" in text
    sizes = parsed("describe", "llama-2-7b")["derived"]["sizes"]
    assert sizes["w16a16"]["weight_bytes"] == 2 * 6_738_415_616
    assert sizes["w16a16"]["kv_bytes_per_token"] == 2 * 32 * 4096 * 2
    assert sizes["w16a16"]["kv_bytes_at_max_context"] == 4096 * 2 * 32 * 4096 * 2


def test_describe_finds_out_what_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text("base: tpu_v4\nname: mine\n")
    (tmp_path / "model.yaml").write_text("base: llama-2-7b\nname: small\nlayers: 2\n")
    config = {
        "model_type": "llama",
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "vocab_size": 1000,
        "max_position_embeddings": 128,
    }
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    kinds = {
        file: parsed("describe", str(tmp_path / file))["kind"]
        for file in ("device.yaml", "model.yaml", "tiny.json")
    }
    assert kinds == {"device.yaml": "device", "model.yaml": "model", "tiny.json": "model"}


def test_describe_takes_the_folder_of_a_hugging_face_model(tmp_path: Path) -> None:
    folder = tmp_path / "my_gpt"
    folder.mkdir()
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 100, "n_positions": 128}
    config = {"model_type": "gpt2", **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    assert parsed("describe", str(folder))["name"] == "my_gpt"


def test_run_prints_the_summary() -> None:
    text = nibblesim(*GPT2).stdout
    assert text.startswith(
        "gpt-2 decode batch=1 context=64 w=fp16 a=fp16 kv=fp16 on tpu_v4 (rung tile)"
    )
    assert "Conservation laws that hold" in text
    assert "Files" not in text


@pytest.mark.parametrize("rung", ["roofline", "analytic", "tile"])
def test_run_as_json_on_every_rung(rung: str) -> None:
    content = parsed(*GPT2, "--rung", rung)
    assert content.keys() >= KEYS
    assert content["rung"] == rung
    assert content["latency_s"] >= content["roofline_bound_s"] > 0


def test_run_formats_by_shorthand_and_one_by_one() -> None:
    shorthand = parsed(*GPT2, "--format", "w4a8kv4", "--rung", "analytic")
    assert shorthand["workload"].endswith("w=int4-g128-asym a=int8-token kv=int4-token-asym")
    options = ("--format", "w4a8kv4", "--kv-format", "int8", "--rung", "analytic")
    assert parsed(*GPT2, *options)["workload"].endswith("w=int4-g128-asym a=int8-token kv=int8")


def test_run_prefill_and_ragged_decode() -> None:
    prefill = parsed("run", "tpu_v4", "gpt-2", "--phase", "prefill", "--sequence", "32")
    assert prefill["tokens"] == 32
    command = ("run", "tpu_v4", "gpt-2", "--phase", "decode")
    ragged = parsed(*command, "--context", "64,128,256")
    assert ragged["tokens"] == 3
    whole = parsed(*command, "--batch", "3", "--context", "256")
    assert ragged["bytes"]["dram"] < whole["bytes"]["dram"]


def test_head_and_logits_are_chosen_on_the_command_line() -> None:
    command = (
        "run",
        "tpu_v4",
        "gpt-2",
        "--phase",
        "prefill",
        "--sequence",
        "32",
        "--format",
        "w4a8",
    )
    last, every = parsed(*command), parsed(*command, "--all-logits")
    assert every["macs"] - last["macs"] == 31 * 768 * 50257
    wide = parsed(*command, "--embedding-format", "fp16")
    # The head is a table of 50,257 x 768: 16 bits in place of 4 and their scales and zero points.
    assert wide["bytes"]["dram"] > last["bytes"]["dram"] + 50257 * 768 * 11 // 8


def test_set_changes_the_device() -> None:
    options = (
        "--rung",
        "roofline",
        "--set",
        "memory.bandwidth=600 GB/s",
        "--set",
        "memory.latency=0 ns",
    )
    slow, fast = parsed(*GPT2, *options), parsed(*GPT2, "--rung", "roofline")
    assert slow["roofline_bound_s"] == pytest.approx(2 * fast["roofline_bound_s"])
    assert slow["resolved"]["device"]["memory"]["bandwidth"] == "600 GB/s"


def test_run_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    text = nibblesim(*GPT2, "--out", str(out)).stdout
    listed = text.split("\nFiles\n")[1].split()
    assert [Path(path).name for path in listed] == [
        "result.json",
        "ops.parquet",
        "intervals.parquet",
        "timeline.png",
        "roofline.png",
        "trace.json",
    ]
    assert sorted(out.iterdir()) == sorted(Path(path) for path in listed)
    assert simulator.load_result(out).check()
    ops = len(json.loads((out / "trace.json").read_text())["traceEvents"])
    nibblesim(*GPT2, "--out", str(out), "--trace")
    assert len(json.loads((out / "trace.json").read_text())["traceEvents"]) > ops
    nibblesim(*GPT2, "--out", str(out), "--rung", "analytic")
    assert not (out / "timeline.png").exists()


def test_json_beside_files(tmp_path: Path) -> None:
    printed = parsed(*GPT2, "--out", str(tmp_path))
    assert printed == json.loads((tmp_path / "result.json").read_text())


def test_a_trace_beyond_what_viewers_take_holds_ops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "TRACED_TILES", 10)
    result = nibblesim(*GPT2, "--out", str(tmp_path), "--trace")
    assert result.stderr.startswith("trace.json holds ops: ")
    assert result.stderr.endswith(" tiles are more than the 10 that viewers take\n")
    traced = (tmp_path / "trace.json").read_bytes()
    nibblesim(*GPT2, "--out", str(tmp_path))
    assert (tmp_path / "trace.json").read_bytes() == traced


@pytest.mark.parametrize(
    ("dataflow", "meant"),
    [
        ("ws", "weight_stationary"),
        ("os", "output_stationary"),
        ("is", "input_stationary"),
        ("output_stationary", "output_stationary"),
    ],
)
def test_gemm_on_every_dataflow(dataflow: str, meant: str) -> None:
    formats = ("--weight-format", "int8", "--activation-format", "int8")
    size = ("gemm", "generic_npu_128", "32", "256", "512")
    content = parsed(*size, *formats, "--dataflow", dataflow)
    assert content.keys() >= KEYS
    assert content["macs"] == 32 * 256 * 512
    assert content["resolved"]["device"]["matrix"]["dataflow"] == meant


def test_topology_out_and_in(tmp_path: Path) -> None:
    path = tmp_path / "gpt-2.csv"
    command = ("export-topology", "gpt-2", str(path), *DECODE, "--batch", "2")
    written = parsed(*command)
    assert written["file"] == str(path)
    assert path.read_text().count("\n") == written["gemms"] + 1
    text = nibblesim(*command).stdout
    assert text == f"{path}: {written['gemms']} matrix products of {written['workload']}\n"
    read = parsed("topology", str(path), "tpu_v4", "--weight-format", "int8")
    direct = parsed("run", "tpu_v4", "gpt-2", *DECODE, "--batch", "2")
    assert read["macs"] == direct["macs"]
    assert read["workload"] == "gpt-2 w=int8 a=fp16"


def test_pipe_that_closes_early_is_no_traceback(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "command = [sys.executable, '-m', 'simulator', *sys.argv[1:]]\n"
        "done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)\n"
        "print(done.returncode, done.stderr)\n"
    )
    for arguments in (("formats",), ("--help",), ("describe", "tpu_v5", "--json")):
        shown = process("-c", code, *arguments, folder=tmp_path).stdout
        assert shown.startswith("1 b")
        assert "Traceback" not in shown
        assert "BrokenPipe" not in shown


def test_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with output.progress(2) as tick:
        assert tick is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.progress(2) as tick:
        assert tick is not None
        assert tick.__self__.total == 2  # type: ignore[attr-defined]
        tick()
        assert tick.__self__.n == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "state"),
    [(CheckError("books\n  MACs: 1 lost"), "CHECK_FAILED"), (DeadlockError("stuck"), "FAILED")],
)
def test_faults_of_ours_have_exit_code_1(
    error: Exception, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(api, "simulate", fail)
    result = CliRunner().invoke(app, [*GPT2, "--json"])
    assert result.exit_code == 1
    assert result.stderr == f"{error}\n"
    assert json.loads(result.stdout) == {"state": state, "problems": str(error).splitlines()}


def test_unexpected_exceptions_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(api, "simulate", fail)
    result = CliRunner().invoke(app, list(GPT2))
    assert isinstance(result.exception, ZeroDivisionError)
    assert isinstance(app, typer.Typer)
    assert not app.pretty_exceptions_enable


def test_verify_prints_a_row_and_an_object() -> None:
    command = ("verify", "mixpe", "--shape", "4x6x256", "--weight-format", "int4-g64")
    text = nibblesim(*command).stdout
    assert text.startswith("Datapaths, 4 x 6 x 256\n")
    assert "mixpe     yes" in text
    (found,) = parsed(*command)["checks"]
    assert found["bit_exact"] is True
    assert found["reference"] == "specification (24)"
    assert set(found) >= {"name", "sqnr_db", "max_ulp", "max_relative_error", "seconds"}


def test_verify_all_checks_every_datapath() -> None:
    checks = parsed("verify", "--all", "--shape", "2x3x64")["checks"]
    listed = parsed("verify")["datapaths"]
    assert [one["name"] for one in checks] == [one["name"] for one in listed]
    assert all(one["bit_exact"] for one in checks)
    assert nibblesim("verify").stdout.count("\n") == len(listed)


def test_a_datapath_that_is_not_bit_exact_ends_in_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.numerics import verify

    monkeypatch.setattr(verify, "_same", lambda one, other: False)
    command = ["verify", "mixpe", "--shape", "2x3x64"]
    result = CliRunner().invoke(app, command, prog_name="nibblesim")
    assert result.exit_code == 1
    assert "mixpe     NO" in result.stdout
