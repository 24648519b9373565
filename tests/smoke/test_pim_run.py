"""Do the commands that scripts rely on run memories that multiply, and print their keys?"""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli import app

MODEL = """\
name: tiny
family: gpt2
hidden: 1024
layers: 1
heads: 8
ffn: 4096
vocab: 100
max_context: 2048
"""
STAGE = {"name", "runs", "latency_ps", "pim_ps", "dram_bytes", "cycles", "pim_cycles", "dram_share"}
DEVICES = (
    *("neupims", "neupims_ref", "npu_only"),
    *("npu_pim_blocked", "npu_pim_blocked_ref"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, from which commands run, with a model and 32 requests on 16 channels."""
    (tmp_path / "tiny.yaml").write_text(MODEL)
    rows = [f"{64 + index},{index % 16}" for index in range(32)]
    (tmp_path / "requests.csv").write_text("\n".join(["seq_len,ch_idx", *rows, ""]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(device: str, *more: str) -> dict[str, Any]:
    """Run a decode step; stdout holds one object."""
    command = ["run", device, "tiny.yaml", "--phase", "decode", "--requests", "requests.csv"]
    result = CliRunner().invoke(app, [*command, *more, "--json"], prog_name="nibblesim")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("folder")
def test_the_devices_of_neupims(device: str) -> None:
    """A block is what its stages take one after the other."""
    content = run(device, "--tp", "1", "--policy", "sub_batch=off")
    assert content["tokens"] == 32
    stages = content["stages"]
    assert [set(stage) for stage in stages] == [STAGE] * len(stages)
    assert [stage["name"] for stage in stages] == (
        ["A", "B", "E"] if device.endswith("_ref") else ["layer"]
    )
    assert all(stage["runs"] == 1 for stage in stages)
    total = sum(stage["cycles"] for stage in stages)
    assert content["cycles_per_block"] == pytest.approx(total)
    assert 0 < content["cycles_per_block"] < content["cycles"]
    assert (content["bytes"].get("pim", 0) > 0) == (device != "npu_only")
    assert sum(stage["pim_cycles"] > 0 for stage in stages) == (device != "npu_only")


@pytest.mark.parametrize("device", ["neupims", "neupims_ref"])
@pytest.mark.usefixtures("folder")
def test_sub_batches_are_those_of_two_blocks_halved(device: str) -> None:
    content = run(device, "--policy", "sub_batch=on")
    names = [stage["name"] for stage in content["stages"]]
    assert names == (list("ABCDEF") if device.endswith("_ref") else ["layers"])
    total = sum(stage["cycles"] for stage in content["stages"])
    assert content["cycles_per_block"] == pytest.approx(total / 2)
    assert content["resolved"]["run"]["policies"]["sub_batch"] == "on"


@pytest.mark.usefixtures("folder")
def test_devices_that_share_a_model_exchange_sums() -> None:
    whole, part = run("neupims", "--policy", "sub_batch=off"), run("neupims", "--tp", "2")
    assert whole["bytes"]["link"] == 0
    # After embedding, attention and FFN: 2 (n - 1) / n of the sums, n = 2.
    assert part["bytes"]["link"] == 3 * 32 * 1024 * 2
    assert part["bytes"]["pim"] == whole["bytes"]["pim"] // 2


@pytest.mark.usefixtures("folder")
def test_the_channels_of_a_file_are_heeded(folder: Path) -> None:
    """All requests on one channel take as long as that one channel does."""
    spread = run("neupims", "--policy", "sub_batch=off")
    rows = [f"{64 + index},7" for index in range(32)]
    (folder / "requests.csv").write_text("\n".join(["seq_len,ch_idx", *rows, ""]))
    crowded = run("neupims", "--policy", "sub_batch=off")
    (folder / "requests.csv").write_text(
        "\n".join(["seq_len", *(row.split(",")[0] for row in rows), ""])
    )
    chosen = run("neupims", "--policy", "sub_batch=off")
    assert crowded["stages"][0]["pim_cycles"] > 8 * spread["stages"][0]["pim_cycles"]
    assert chosen["stages"][0]["pim_cycles"] <= spread["stages"][0]["pim_cycles"]
