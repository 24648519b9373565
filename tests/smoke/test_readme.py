"""Is the README true: do its commands and its Python run, and do they print what it shows?

Every `nibblesim` command of a `sh` block, every `python` block and every `yaml` block is tried in
an empty folder, where `my_device.yaml` is the first YAML block and `my_pe.yaml` the last; the `py`
block is `my_pe.py`.
"""

import csv
import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from simulator import load_device
from simulator.cli import app
from simulator.search.sweep_file import load_sweep
from simulator.study import case_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAIN_JOB = "--out out/"


def blocks(language: str) -> list[str]:
    """Return the code blocks of the README in a language."""
    return [text for name, text in BLOCK.findall(README) if name == language]


COMMANDS = [
    line for block in blocks("sh") for line in block.splitlines() if line.startswith("nibblesim ")
]
DEVICE, *VARIANTS, ELEMENT, SWEEP = blocks("yaml")
(ARITHMETIC,) = blocks("py")


def run(command: str) -> Result:
    """Run a command line of the README in this process."""
    return CliRunner().invoke(app, shlex.split(command)[1:], prog_name="nibblesim")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder with what the README says to have: device, element, topology."""
    monkeypatch.chdir(tmp_path)
    Path("my_device.yaml").write_text(DEVICE, encoding="utf-8")
    Path("my_pe.yaml").write_text(ELEMENT, encoding="utf-8")
    Path("my_pe.py").write_text(ARITHMETIC, encoding="utf-8")
    export = next(command for command in COMMANDS if "export-topology" in command)
    assert run(export).exit_code == 0
    return tmp_path


def test_the_readme_shows_the_commands_of_each_kind() -> None:
    shown = {command.split()[1] for command in COMMANDS}
    assert shown == {
        "devices", "models", "formats", "describe", "run", "gemm", "topology", "export-topology",
        "verify"
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.replace("/", ""))
def test_commands_run(command: str) -> None:
    result = run(command)
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_the_main_job_prints_what_is_shown_and_writes_what_is_promised(folder: Path) -> None:
    result = run(next(command for command in COMMANDS if MAIN_JOB in command))
    assert result.exit_code == 0, result.stderr
    (shown,) = (text for text in blocks("text") if text.startswith("llama-2-7b"))
    printed = result.stdout.replace("out/", "out/demo/").splitlines()
    for line in shown.splitlines():
        assert line == "..." or line in printed
    written = {path.name for path in (folder / "out").iterdir()}
    assert written >= {
        "result.json", "ops.parquet", "timeline.png", "roofline.png", "trace.json"
    }  # fmt: skip


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs_and_prints(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[number], f"README python {number}", "exec"), {})
    out = capsys.readouterr().out
    assert "llama-2-7b" in out or out.count("tokens/s") == 3 or out.endswith("True\n")


def test_the_own_device_has_forty_lines() -> None:
    assert len(DEVICE.splitlines()) == 40


def test_the_own_element_has_thirty_lines() -> None:
    lines = [line for text in (ELEMENT, ARITHMETIC) for line in text.splitlines() if line]
    assert len(lines) <= 30


def test_the_own_element_gains_room_and_loses_what_is_said() -> None:
    quick = "--workload gpt-2/decode/1 --rung roofline --json"
    printed = run(f"nibblesim compare my_pe.yaml --against mixpe_w4a8 {quick}")
    own, mixpe = json.loads(printed.stdout)["rows"]
    assert (own["pe"], mixpe["pe"]) == ("truncated", "mixpe_w4a8")
    assert 1 < own["elements"] / mixpe["elements"] < 1.1
    assert round(mixpe["sqnr_db"] - own["sqnr_db"]) == 15


def test_the_sweep_runs() -> None:
    Path("sweep.yaml").write_text(SWEEP, encoding="utf-8")
    result = run("nibblesim sweep sweep.yaml --study s.db --limit 2 --json")
    assert (json.loads(result.stdout)["points"], json.loads(result.stdout)["ok"]) == (2, 2)


@pytest.mark.parametrize("text", VARIANTS)
def test_variants_load(text: str) -> None:
    Path("variant.yaml").write_text(text, encoding="utf-8")
    assert load_device("variant.yaml").name in text


@pytest.mark.parametrize(
    ("experiment", "claim", "shown"),
    [
        ("peers", "decode, no array edge, each GEMM alone (Mcycle)", "0.939"),
        ("peers", "decode, double-buffered weights, each GEMM alone (Mcycle)", "5.778"),
        ("peers", "decode, SCALE-Sim's array, each GEMM alone (Mcycle)", "17.66"),
        ("peers", "prefill, accumulators, each GEMM alone (Mcycle)", "27.40"),
        ("peers", "decode energy, ours, each GEMM alone (mJ)", "51.5"),
        ("peers", "prefill energy, ours, each GEMM alone (mJ)", "107.0"),
        ("onnxim", "1024 x 1024 x 1024 on four cores (cycles)", "27.5"),
        ("onnxim", "32 x 4096 x 4096 on four cores (cycles)", "89.7"),
        ("onnxim", "512 x 512 x 512 on one core (input x inner x output, cycles)", "8.73"),
        ("onnxim", "OPT-125m, one layer: prefill and decode (cycles)", "77.5"),
    ],
)
def test_comparisons_show_the_expected_numbers(experiment: str, claim: str, shown: str) -> None:
    file = ROOT / "experiments" / experiment / "expected.csv"
    with file.open(newline="", encoding="utf-8") as table:
        ours = {float(row["ours"]) for row in csv.DictReader(table) if row["claim"] == claim}
    (number,) = ours
    number /= 1000 if claim.endswith("cycles)") else 1
    digits = len(shown.partition(".")[2])
    assert shown == f"{number:.{digits}f}"
    assert f"| {shown} |" in README


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version('nibblesim')}\n" in citation


def test_notebooks_are_stored_without_outputs() -> None:
    notebooks = [json.loads(path.read_text()) for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert notebooks
    cells = [cell for notebook in notebooks for cell in notebook["cells"]]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_to_files(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_page_on_studies_is_true() -> None:
    found = BLOCK.findall((ROOT / "docs" / "studies.md").read_text(encoding="utf-8"))
    (space,) = (text for name, text in found if name == "yaml")
    Path("ladder.yaml").write_text(space, encoding="utf-8")
    assert case_of(load_sweep("ladder.yaml")).names == ("prefill", "decode")
    ours = [text for name, text in found if name == "python" and "SLURM" not in text]
    printed = ""
    for number, text in enumerate(ours):
        Path(f"script{number}.py").write_text(text, encoding="utf-8")
        printed += subprocess.check_output([sys.executable, f"script{number}.py"], text=True)
    assert "ok=12, infeasible=0, failed=0, new=12" in printed
    assert "'device.matrix.rows': 0." in printed
