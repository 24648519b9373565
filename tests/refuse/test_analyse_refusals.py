"""Is a study of which nothing can be said refused, with which words?"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.search.objectives import Objective
from simulator.search.records import Header, Outcome, Row
from simulator.search.store import Store

TIME, AREA, SPEED = (
    Objective("time_s", "min"),
    Objective("area_mm2", "min", at_most=5),
    Objective("speed", "max"),
)
GOOD = Outcome(state="OK", metrics={"time_s": 1.0, "area_mm2": 4.0})
WIDE = Outcome(state="OK", metrics={"time_s": 1.0, "area_mm2": 9.0})
LACKING = Outcome(state="INFEASIBLE", reason="too small")


def make(name: str, outcomes: Sequence[Outcome], *objectives: Objective) -> None:
    """Write a study with a point for each outcome."""
    header = Header(
        dimensions={"rows": "int"},
        metrics={"time_s": "s", "area_mm2": "mm2", "speed": "1/s"},
        defined_by="0",
        text="",
        objectives=objectives,
    )
    with Store(name) as store:
        store.study(header)
        store.add([Row(f"k{at}", {"rows": at}, each, 0, at) for at, each in enumerate(outcomes)])


@pytest.fixture(autouse=True)
def _studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make("s.db", [GOOD, WIDE, LACKING], TIME, AREA)
    make("none.db", [GOOD])
    make("empty.db", [], TIME)
    make("lost.db", [WIDE, WIDE, LACKING], TIME, AREA)
    make("fast.db", [Outcome(state="OK", metrics={"speed": 1.0})], SPEED)
    make("slow.db", [GOOD], Objective("time_s", "max"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("none.db", "'none.db' has no objectives"),
        ("empty.db", "no point of 'empty.db' has a result and keeps the bounds (it is empty): there is nothing to analyse"),
        ("lost.db", "no point of 'lost.db' has a result and keeps the bounds (2 OK, 1 INFEASIBLE): there is nothing to analyse"),
        ("s.db --metric time", "unknown metric 'time'; did you mean 'time_s'? known: area_mm2, speed, time_s"),
        ("s.db --metric speed", "no point of 's.db' has metric 'speed'"),
        ("s.db --point k9", "no point of 's.db' has key 'k9'; export writes all keys"),
        ("s.db --point k1", "point 'k1' of 's.db' has no result, or breaks a bound"),
        ("s.db --point k2", "point 'k2' of 's.db' has no result, or breaks a bound"),
        ("s.db --against fast.db", "'s.db' and 'fast.db' have no objective in common: time_s (s, min), area_mm2 (mm2, min) and speed (1/s, max)"),
        ("s.db --against slow.db", "'s.db' and 'slow.db' have no objective in common: time_s (s, min), area_mm2 (mm2, min) and time_s (s, max)"),
        ("s.db --out f.gif", "f.gif: an analysis ends in .html, .pdf, .png, .svg"),
    ],
)  # fmt: skip
def test_words(arguments: str, words: str) -> None:
    out = [] if "--out" in arguments else ["--out", "f.html"]
    done = CliRunner().invoke(app, ["analyse", *arguments.split(), *out, "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["problems"] == [words]
    assert not Path("f.html").exists()


def test_a_study_that_is_not_there_is_not_made() -> None:
    for arguments in (["gone.db"], ["s.db", "--against", "gone.db"]):
        done = CliRunner().invoke(app, ["analyse", *arguments, "--out", "f.html"])
        assert done.exit_code == 2
        assert not Path("gone.db").exists()
