"""Do the commands of studies work from the file to the table and the picture?"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from simulator.api import load_model
from simulator.cli import app
from simulator.cli.sweep import _first_reason
from simulator.config import dump_yaml, replace
from simulator.search.objectives import Objective
from simulator.search.space import Dimension, Int, Point, Space
from simulator.search.store import Header, Kind, Outcome, Row, Store

SWEEP = """\
name: small
summary: two arrays and two formats
device: generic_npu_128
workload: {model: tiny.yaml, phase: decode, batch: 2, context: 40}
rung: analytic
space:
  device.matrix.rows: {log2: [64, 128]}
  workload.weights: [fp16, int8-channel]
objectives: {latency_s: min, memory_bytes: min, tokens_per_s_per_w: max}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a sweep and its model."""
    tiny = replace(load_model("gpt-2"), {"layers": 2, "vocab": 1000})
    (tmp_path / "tiny.yaml").write_text(dump_yaml(tiny))
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_from_a_file_to_a_front(folder: Path) -> None:
    found = json.loads(run("sweep", "sweep.yaml", "--study", "s.db", "--limit", "3", "--json"))
    assert (found["points"], found["new"], found["ok"]) == (3, 3, 3)
    assert run("sweep", "sweep.yaml", "--study", "s.db") == (
        "4 points in s.db; of 4 asked for, 1 new: 4 OK, 0 infeasible, 0 failed\n"
    )
    run("export", "s.db", "--out", "p.parquet")
    table = pd.read_parquet(folder / "p.parquet")
    assert list(table.columns[:5]) == [
        *("device.matrix.rows", "workload.weights", "state", "reason", "latency_s"),
    ]
    assert list(table.columns[-3:]) == ["seed", "wall_time_s", "key"]
    assert table["device.matrix.rows"].tolist() == [64, 64, 128, 128]
    shown = json.loads(run("pareto", "s.db", "--out", "f.html", "--json"))
    least = table["memory_bytes"] == table["memory_bytes"].min()
    assert 1 <= shown["front"] <= 4
    page = (folder / "f.html").read_text()
    assert page.count("<tr>") == 1 + shown["front"]
    assert "data:image/png;base64," in page
    assert table[least]["workload.weights"].iloc[0] in page
    run("pareto", "s.db", "--out", "f.pdf")
    assert (folder / "f.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("folder")
def test_several_workloads() -> None:
    two = """workload: {model: tiny.yaml, batch: 2}
workloads:
  prefill: {phase: prefill, sequence: 24, batch: 1}
  decode: {phase: decode, context: 40}"""
    text = SWEEP.replace("workload: {model: tiny.yaml, phase: decode, batch: 2, context: 40}", two)
    wanted = "objectives: {prefill.ttft_s: min, decode.tbt_s: min, cost_usd: min}"
    Path("sweep.yaml").write_text(text[: text.index("objectives")] + wanted)
    found = json.loads(run("sweep", "sweep.yaml", "--study", "s.db", "--json"))
    assert (found["points"], found["ok"]) == (4, 4)
    run("export", "s.db", "--out", "p.csv")
    table = pd.read_csv("p.csv")
    assert (table["prefill.ttft_s"] == table["prefill.latency_s"]).all()
    assert not {"prefill.tbt_s", "decode.ttft_s", "latency_s"} & set(table.columns)
    assert json.loads(run("pareto", "s.db", "--out", "f.html", "--json"))["points"] == 4


@pytest.mark.usefixtures("folder")
def test_a_search() -> None:
    options = ("--study", "s.db", "--trials", "3", "--seed", "5", "--json")
    found = json.loads(run("search", "sweep.yaml", *options, "--strategy", "sobol"))
    assert (found["points"], found["new"]) == (3, 3)
    again = json.loads(run("search", "sweep.yaml", *options, "--strategy", "sobol"))
    assert (again["points"], again["new"]) == (3, 0)
    own = json.loads(run("search", "sweep.yaml", *options))
    assert (own["asked"], own["points"]) == (3, 3 + own["new"])


@pytest.mark.usefixtures("folder")
def test_a_search_over_rungs_has_the_front_of_the_highest() -> None:
    Path("sweep.yaml").write_text(
        SWEEP.replace("rung: analytic\nspace:", "space:\n  run.rung: [analytic, tile]")
    )
    options = ("--study", "s.db", "--trials", "8", "--strategy", "halving")
    # A round asks the four points of the lowest rung and the best of them on the other.
    assert run("search", "sweep.yaml", *options) == (
        "5 points in s.db; of 5 asked for, 5 new: 5 OK, 0 infeasible, 0 failed\n"
        "8 were wanted, but strategy 'halving' finds no more to ask for\n"
    )
    assert run("pareto", "s.db", "--out", "f.html") == (
        "1 of 1 points at rung tile on the front, in f.html\n"
    )
    shown = json.loads(run("pareto", "s.db", "--out", "f.html", "--json"))
    assert shown == {"front": 1, "points": 1, "file": "f.html", "rung": "tile"}


@pytest.mark.usefixtures("folder")
def test_a_study_in_which_nothing_fits_has_no_front() -> None:
    small = SWEEP.replace("space:", "space:\n  device.scratchpad.capacity: [1 KiB]")
    Path("sweep.yaml").write_text(small)
    # That is what the study found, and no fault of the program.
    done = CliRunner().invoke(app, ["sweep", "sweep.yaml", "--study", "s.db", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["infeasible"] == 4
    assert found["reason"].startswith("generic_npu_128: q_proj does not fit")
    assert done.stderr == f"no point has a result; the first one: {found['reason']}\n"
    done = CliRunner().invoke(app, ["pareto", "s.db", "--out", "f.pdf"])
    assert done.exit_code == 2
    assert "no point has a result and keeps the bounds" in done.stderr


@pytest.mark.usefixtures("folder")
def test_a_study_of_which_every_point_failed_ends_so() -> None:
    options = ("--study", "s.db", "--limit", "2", "--time-limit", "0.001")
    done = CliRunner().invoke(app, ["sweep", "sweep.yaml", *options])
    assert done.exit_code == 1
    assert "0 OK, 0 infeasible, 2 failed" in done.stdout
    assert done.stderr.startswith("no point has a result; the first one: killed after 0.001 s")


def test_the_first_reason_is_of_the_points_that_were_asked_for(tmp_path: Path) -> None:
    path, name = tmp_path / "s.db", "device.matrix.rows"
    header = Header(
        dimensions={name: "int"},
        metrics={"x": "s"},
        objectives=(Objective("x", "min"),),
        defined_by="0",
        text="",
    )
    outcomes = {
        # Of another range.
        1: Outcome("FAILED", reason="one"),
        2: Outcome("OK", {"x": 1.0}),
        3: Outcome("INFEASIBLE", reason="three\nand more"),
        4: Outcome("FAILED", reason="four"),
    }
    with Store(path) as store:
        store.study(header)
        store.add([Row(f"k{n}", {name: n}, each, 0, n) for n, each in outcomes.items()])
    assert _first_reason(path, Space((Dimension(name, Int(2, 4)),))) == "three"
    assert _first_reason(path, Space((Dimension(name, Int(2, 2)),))) == ""


@pytest.mark.usefixtures("folder")
def test_the_table_of_a_front_says_what_is_absent() -> None:
    """And is in the order of the first objective; a null is a value."""
    kinds: dict[str, Kind] = {"rows": "int", "share": "float", "run.overlap": "mixed"}
    header = Header(
        dimensions=kinds,
        metrics={"x": "s", "y": "J"},
        objectives=(Objective("x", "min"), Objective("y", "min")),
        defined_by="0",
        text="",
    )
    points: list[Point] = [{"rows": 2**60 + 1}, {"share": 0.5}, {"run.overlap": None}]
    with Store("s.db") as store:
        store.study(header)
        outcomes = [Outcome("OK", {"x": 3.0 - at, "y": 1.0 + at}) for at in range(3)]
        pairs = enumerate(zip(points, outcomes, strict=True))
        store.add([Row(f"k{at}", point, each, 0, at) for at, (point, each) in pairs])
    run("pareto", "s.db", "--out", "f.html")
    cells = re.findall("<td>(.*?)</td>", Path("f.html").read_text())
    assert [cells[at : at + 5] for at in range(0, len(cells), 5)] == [
        ["absent", "absent", "None", "1", "3"],
        ["absent", "0.5", "absent", "2", "2"],
        [str(2**60 + 1), "absent", "absent", "3", "1"],
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("matrix.rows", "matrix.rowz"), "matrix.rowz = 64: unknown key; did you mean 'rows'?"),
        (("latency_s", "latensy_s"), "unknown metric 'latensy_s'; did you mean 'latency_s'?"),
        (("generic_npu_128", "generic_npu"), "unknown device 'generic_npu'"),
        (("decode", "decod"), "unknown workload.phase 'decod'; did you mean 'decode'?"),
        (("analytic", "analitic"), "unknown rung 'analitic'; did you mean 'analytic'?"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_point(
    folder: Path, change: tuple[str, str], words: str
) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.replace(*change))
    done = CliRunner().invoke(app, ["sweep", "sweep.yaml", "--study", "s.db", "--json"])
    assert done.exit_code == 2
    assert words in "\n".join(json.loads(done.stdout)["problems"])
    assert not (folder / "s.db").exists()


@pytest.mark.usefixtures("folder")
def test_a_study_that_is_not_there_is_not_made() -> None:
    for command in ("export", "pareto"):
        done = CliRunner().invoke(app, [command, "none.db", "--out", "f.pdf"])
        assert done.exit_code == 2
        assert not Path("none.db").exists()


@pytest.mark.usefixtures("folder")
def test_what_an_objective_leaves_unsaid_is_told_before_anything_runs() -> None:
    text = SWEEP.replace("generic_npu_128", "tpu_v4").replace(
        "memory_bytes: min", "tops_per_mm2: max"
    )
    Path("sweep.yaml").write_text(text)
    # A strategy that takes one objective, so that nothing is run.
    options = ("--study", "s.db", "--trials", "3", "--strategy", "cmaes")
    done = CliRunner().invoke(app, ["search", "sweep.yaml", *options])
    assert done.stdout == ""
    told, refused = done.stderr.splitlines()
    assert told.startswith("objective 'tops_per_mm2': tpu_v4 states its die_area, 600 mm2")
    assert "one objective" in refused
