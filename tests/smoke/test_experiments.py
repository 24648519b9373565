"""Does each experiment run in small form, and give the numbers that are committed beside it?"""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
CLAIMS = ["claim", "source", "published", "ours", "ratio", "why"]
TOLERANCE = 1e-6
#: Lines of a first script to copy from.
SHORT = 75
#: Each experiment, and the rows of claims that it makes in small form.
ROWS = {
    "attacc": 25,
    "batch_sweep": 16,
    "bitmod": 64,
    "duplex": 28,
    "fidelity_ladder": 10,
    "gates": 32,
    "ianus": 8,
    "int_vs_fp": 26,
    "l_mul": 40,
    "low_bit_pe_in_banks": 28,
    "lut_tensor_core": 25,
    "memory_profile": 33,
    "mixpe": 7,
    "neupims": 36,
    "npu_pim_split": 10,
    "one_table": 17,
    "onnxim": 7,
    "pe_array_front": 10,
    "peers": 23,
    "pim_gpt": 10,
    "search_against_random": 5,
    "shiftaddllm": 26,
    "where_to_run_attention": 8,
}
SWEEP = ["device", "batch", "context", "tokens_per_s", "millijoule_per_token", "infeasible"]


def run(name: str, out: Path) -> None:
    """Run an experiment in small form in a process of its own, as a user does."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    script = EXPERIMENTS / name / "run.py"
    subprocess.run(
        [sys.executable, "-W", "error", script, "--small", "--out", out],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=out.parent,
        stdout=subprocess.DEVNULL,
    )


def table(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Read a CSV and check its columns."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == columns
        return list(reader)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of an experiment in small form, run once."""
    folder = tmp_path_factory.mktemp("small")

    @cache
    def run_once(name: str) -> Path:
        run(name, folder / name)
        return folder / name

    return run_once


def test_every_experiment_is_here() -> None:
    assert sorted(ROWS) == sorted(path.parent.name for path in EXPERIMENTS.glob("*/run.py"))


@pytest.mark.parametrize(("name", "rows"), ROWS.items())
def test_claims(name: str, rows: int, made: Callable[[str], Path]) -> None:
    expected = {
        (row["claim"], row["source"]): row
        for row in table(EXPERIMENTS / name / "expected.csv", CLAIMS)
    }
    claims = table(made(name) / "claims.csv", CLAIMS)
    assert len(claims) == rows
    for row in claims:
        committed = expected[row["claim"], row["source"]]
        if committed["ours"]:
            assert float(row["ours"]) == pytest.approx(float(committed["ours"]), rel=TOLERANCE)
            committed = {**committed, "ours": row["ours"]}
        assert row == committed
        assert row["why"]


@pytest.mark.parametrize("name", ROWS)
def test_every_published_number_has_its_claim(name: str) -> None:
    with (EXPERIMENTS / name / "published.csv").open(newline="", encoding="utf-8") as file:
        published = [(row["claim"], row["source"]) for row in csv.DictReader(file)]
    committed = table(EXPERIMENTS / name / "expected.csv", CLAIMS)
    assert [(row["claim"], row["source"]) for row in committed] == published
    assert len(set(published)) == len(published)


def test_the_sweep_keeps_points_that_do_not_fit(made: Callable[[str], Path]) -> None:
    folder = made("batch_sweep")
    assert sorted(path.name for path in folder.iterdir()) == [
        "batch_sweep.csv", "batch_sweep.pdf", "batch_sweep.png", "claims.csv",
    ]  # fmt: skip
    rows = table(folder / "batch_sweep.csv", SWEEP)
    assert len(rows) == 12
    infeasible = [tuple(row[name] for name in SWEEP[:3]) for row in rows if row["infeasible"]]
    assert infeasible == [
        ("tpu_v4", "32", "4096"),
        ("tpu_v4", "256", "512"),
        ("tpu_v4", "256", "4096"),
        ("a100", "256", "4096"),
    ]
    for row in rows:
        where = f"does not fit in the memory of {row['device']}: weights 6.74 GB, KV cache "
        assert bool(row["infeasible"]) == (where in row["infeasible"])
        assert bool(row["infeasible"]) == (row["tokens_per_s"] == "")
        assert bool(row["infeasible"]) == (row["millijoule_per_token"] == "")


def test_the_sweep_is_a_short_script() -> None:
    text = (EXPERIMENTS / "batch_sweep" / "run.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= SHORT
