"""Does each experiment run in small form, and give the numbers that are committed beside it?"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
CLAIMS = ["claim", "source", "published", "ours", "ratio", "why"]
SWEEP = ["device", "batch", "context", "tokens_per_s", "millijoule_per_token", "infeasible"]
TOLERANCE = 1e-6


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


#: Experiments of claims, and the rows that they make in small form.
ROWS = {"peers": 23, "onnxim": 7, "bitmod": 54, "mixpe": 7}


@pytest.mark.parametrize(("name", "rows"), ROWS.items())
def test_claims(name: str, rows: int, tmp_path: Path) -> None:
    run(name, tmp_path / "out")
    expected = {
        (row["claim"], row["source"]): row
        for row in table(EXPERIMENTS / name / "expected.csv", CLAIMS)
    }
    made = table(tmp_path / "out" / "claims.csv", CLAIMS)
    assert len(made) == rows
    for row in made:
        committed = expected[row["claim"], row["source"]]
        assert float(row["ours"]) == pytest.approx(float(committed["ours"]), rel=TOLERANCE)
        assert {**row, "ours": ""} == {**committed, "ours": ""}
        assert row["why"]


def test_every_published_number_has_its_claim() -> None:
    for name in ROWS:
        with (EXPERIMENTS / name / "published.csv").open(newline="", encoding="utf-8") as file:
            published = [(row["claim"], row["source"]) for row in csv.DictReader(file)]
        committed = table(EXPERIMENTS / name / "expected.csv", CLAIMS)
        assert [(row["claim"], row["source"]) for row in committed] == published
        assert len(set(published)) == len(published)


def test_batch_sweep(tmp_path: Path) -> None:
    run("batch_sweep", tmp_path / "out")
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".csv", ".pdf", ".png"]
    expected = {
        tuple(row[name] for name in SWEEP[:3]): row
        for row in table(EXPERIMENTS / "batch_sweep" / "expected.csv", SWEEP)
    }
    made = table(tmp_path / "out" / "batch_sweep.csv", SWEEP)
    assert len(made) == 12
    for row in made:
        committed = expected[tuple(row[name] for name in SWEEP[:3])]
        assert row["infeasible"] == committed["infeasible"]
        assert bool(row["infeasible"]) == (row["tokens_per_s"] == "")
        for name in SWEEP[3:5] if not row["infeasible"] else ():
            assert float(row[name]) == pytest.approx(float(committed[name]), rel=TOLERANCE)
    assert any(row["infeasible"] for row in made)


def test_the_sweep_is_a_short_script() -> None:
    text = (EXPERIMENTS / "batch_sweep" / "run.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
