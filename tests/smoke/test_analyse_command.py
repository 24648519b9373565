"""Does `analyse` say what a study found, as a page, a figure and data?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.api import load_model
from simulator.cli import app
from simulator.cli.analyse_page import change
from simulator.config import dump_yaml, replace
from simulator.search.objectives import Objective
from simulator.search.records import Header, Outcome, Row
from simulator.search.store import Store

SWEEP = """\
name: small
summary: two arrays and two formats
device: generic_npu_128
workload: {model: tiny.yaml, phase: decode, batch: 2, context: 40}
rung: analytic
space:
  device.matrix.rows: {log2: [64, 128]}
  workload.weights: [fp16, int8-channel]
objectives: {latency_s: min, area_mm2: min}
"""


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_study_of_several_rungs_is_that_of_the_highest(tmp_path: Path) -> None:
    header = Header(
        dimensions={"rows": "int", "run.rung": "text"},
        metrics={"time_s": "s", "area_mm2": "mm2"},
        defined_by="0",
        text="",
        objectives=(Objective("time_s", "min"), Objective("area_mm2", "min")),
    )
    rungs = ["analytic", "analytic", "analytic", "tile", "tile"]
    rows = [
        Row(
            key=f"k{at}",
            point={"rows": at % 3, "run.rung": rung},
            outcome=Outcome(state="OK", metrics={"time_s": 1.0 + at, "area_mm2": 9.0 - at}),
            seed=0,
            number=at,
        )
        for at, rung in enumerate(rungs)
    ]
    with Store(tmp_path / "s.db") as store:
        store.study(header)
        store.add(rows)
    path = str(tmp_path / "s.db")
    found = json.loads(run("analyse", path, "--out", str(tmp_path / "a.svg"), "--json"))
    assert (found["study"], found["points"]) == ("s.db, rung tile", 2)
    assert [each["key"] for each in found["front"]] == ["k3", "k4"]


def test_from_a_study_to_its_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(load_model("gpt-2"), {"layers": 2, "vocab": 1000})
    (tmp_path / "tiny.yaml").write_text(dump_yaml(tiny))
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    run("sweep", "sweep.yaml", "--study", "s.db")
    run("sweep", "sweep.yaml", "--study", "t.db", "--limit", "2")
    found = json.loads(run("analyse", "s.db", "--against", "t.db", "--out", "a.html", "--json"))
    assert (found["points"], found["kept"], found["sample"]["kind"]) == (4, 4, "full")
    assert found["sample"]["asked"] == {"grid": 4}
    assert found["attainment"][0]["points"] == [1, 2, 3, 4]
    assert found["attainment"][0]["volume"][-1] == found["box"]["volume"]
    assert [each["metric"] for each in found["effects"]] == ["latency_s", "area_mm2"]
    # A format has no part in the area of the device.
    assert found["effects"][1]["shares"]["device.matrix.rows"] == pytest.approx(1.0)
    assert found["effects"][1]["told"] == ["device.matrix.rows", "workload.weights"]
    assert [each["missing"] for each in found["tornado"]["swings"]] == [[], []]
    assert 1 <= len(found["front"]) <= 4
    one, other = found["against"]["sides"]
    assert (one["name"], other["name"]) == ("s.db", "t.db")
    # The limit left out what the whole grid has.
    assert one["covers"] == 1.0
    page = Path("a.html").read_text()
    for title in ("What was attained over time", "Main effects", "s.db and t.db"):
        assert f"<h2>{title}</h2>" in page
    words = run("analyse", "s.db", "--metric", "energy_j", "--out", "a.png")
    assert words == f"{len(found['front'])} of 4 points on the front, the analysis in a.png\n"
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_decibels_differ_by_decibels_and_all_else_by_ratios() -> None:
    assert change(38.5, 41.0, "dB") == "-2.5 dB"
    assert change(3.0, 1.0, "s") == "x 3"
    assert change(1.5, 1.0, "s") == "+50 %"
    assert change(1.5, 0.0, "s") == "1.5"
