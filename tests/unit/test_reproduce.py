"""`nibblesim reproduce`: which experiments it runs, how, what it joins, draws and refuses."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

import simulator
from simulator.cli import app
from simulator.errors import InputError
from simulator.report import summary
from simulator.report.claims import COLUMNS
from simulator.report.summary import SUMMARY_COLUMNS, experiment_names, question, ratios, read_rows
from simulator.report.summary_picture import (
    Strip,
    draw_summary,
    summary_info,
    write_summary_picture,
)

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TOLERANCE = 1e-6
HEAD = ",".join(COLUMNS)
#: An experiment that waits until its neighbour has begun, prints, and writes two claims.
SCRIPT = '''
import sys, time
from pathlib import Path

small, out = "--small" in sys.argv, Path(sys.argv[sys.argv.index("--out") + 1])
here = Path(__file__).parent
(here / "begun").touch()
deadline = time.monotonic() + WAIT
while time.monotonic() < deadline and not (here.parent / "NEIGHBOUR" / "begun").exists():
    time.sleep(0.01)
assert (here.parent / "NEIGHBOUR" / "begun").exists(), "alone"
form = "small" if small else "full"
print("Größe of NAME", form)
(out / form).touch()
(out / "claims.csv").write_text("""HEAD
"speed, NAME (x)",a paper,2,1.0,0.5000,"slower, by half"
how fast?,none,,0.1,,nobody says
""")
'''
LINES = [
    '{0},"speed, {0} (x)",a paper,2,1.0,0.5000,"slower, by half"',
    "{0},how fast?,none,,0.1,,nobody says",
]


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reproduce", *arguments], prog_name="nibblesim")


def add(root: Path, name: str, script: str, neighbour: str = "", wait: float = 0) -> None:
    """Write an experiment; without a neighbour it waits for nobody."""
    folder = root / "experiments" / name
    folder.mkdir(parents=True)
    values = {"NEIGHBOUR": neighbour or name, "NAME": name, "HEAD": HEAD, "WAIT": f"{wait}"}
    for word, value in values.items():
        script = script.replace(word, value)
    (folder / "run.py").write_text(script, encoding="utf-8")
    readme = f"# Title\n\nWhat is arXiv 2411.1 of\n{name}? A second sentence.\n\nMore.\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, beside a data root with the experiments a and b."""
    data, here = tmp_path / "data", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(summary, "data_root", lambda: data)
    add(data, "b", SCRIPT)
    add(data, "a", SCRIPT)
    (data / "experiments" / "no_experiment").mkdir()
    return data


def test_a_quick_experiment_that_ships(tmp_path: Path) -> None:
    result = nibblesim("mixpe", "--small", "--out", str(tmp_path / "out"), "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    claims = json.loads(result.stdout)["claims"]
    expected = {row["claim"]: row for row in read_rows("mixpe", EXPERIMENTS / "mixpe/expected.csv")}
    assert len(claims) == 7
    for claim in claims:
        committed = expected[claim["claim"]]
        assert set(claim) == set(SUMMARY_COLUMNS)
        assert claim["ours"] == pytest.approx(float(committed["ours"]), rel=TOLERANCE)
        assert claim["published"] == float(committed["published"])
        assert claim["ratio"] == float(committed["ratio"])


def test_the_list_has_one_line_an_experiment(root: Path) -> None:
    result = nibblesim()
    assert result.stdout == "a  What is arXiv 2411.1 of a?\nb  What is arXiv 2411.1 of b?\n"
    assert json.loads(nibblesim("--json").stdout)["experiments"] == [
        {"name": name, "question": f"What is arXiv 2411.1 of {name}?"} for name in "ab"
    ]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", experiment_names())
def test_experiments_that_ship_begin_with_a_sentence(name: str) -> None:
    text = question(name)
    assert text[0].isupper()
    assert text[-1] in ".?"
    assert "\n" not in text
    assert len(text) > 30


def test_a_readme_without_a_full_stop_gives_its_paragraph(root: Path) -> None:
    (root / "experiments/a/README.md").write_text("# Title\n\nfirst\nsecond\n\nthird.\n")
    assert question("a") == "first second"


@pytest.mark.parametrize(("options", "form"), [((), "full"), (("--small",), "small")])
def test_one_prints_what_it_printed(root: Path, options: tuple[str, ...], form: str) -> None:
    result = nibblesim("a", *options, "--out", "new/folder")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"Größe of a {form}\n"
    assert sorted(path.name for path in Path("new/folder").iterdir()) == ["claims.csv", form]
    assert not (root / "experiments/b/begun").exists()


def test_results_stand_in_out_and_the_name_by_default(root: Path) -> None:
    assert nibblesim("a").exit_code == 0
    assert Path("out/a/claims.csv").exists()
    assert nibblesim("--all").exit_code == 0
    assert Path("out/b/claims.csv").exists()
    assert Path("out/summary.csv").exists()


def test_json_of_one_has_numbers_and_nulls(root: Path) -> None:
    result = nibblesim("a", "--json")
    assert json.loads(result.stdout) == {
        "claims": [
            {
                "experiment": "a", "claim": "speed, a (x)", "source": "a paper", "published": 2.0,
                "ours": 1.0, "ratio": 0.5, "why": "slower, by half",
            },
            {
                "experiment": "a", "claim": "how fast?", "source": "none", "published": None,
                "ours": 0.1, "ratio": None, "why": "nobody says",
            },
        ]
    }  # fmt: skip


def test_it_runs_the_same_python_and_nibblesim(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "theirs")
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    add(root, "c", 'import os, sys\nprint(sys.executable, os.environ["PYTHONPATH"])\n' + SCRIPT)
    package = Path(simulator.__file__).parents[1]
    assert nibblesim("c").stdout.splitlines() == [
        f"{sys.executable} {package}{os.pathsep}theirs",
        "Größe of c full",
    ]


def test_all_run_two_at_a_time_and_are_joined_by_name(root: Path) -> None:
    for name, neighbour in (("c", "d"), ("d", "c")):
        add(root, name, SCRIPT, neighbour, wait=30)
    result = nibblesim("--all", "--small", "--out", "made")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.format(name) for name in "abcd" for line in LINES]
    text = "\n".join([",".join(SUMMARY_COLUMNS), *lines, ""])
    assert Path("made/summary.csv").read_bytes() == text.encode()
    assert (
        sorted(path.name for path in Path("made").glob("*/*")) == ["claims.csv"] * 4 + ["small"] * 4
    )
    printed = [line.split() for line in result.stdout.splitlines()]
    assert [line[:-1] for line in printed[2:6]] == [[name, "2", "1", "0"] for name in "abcd"]
    assert printed[6:] == [["Files"], *([f"made/summary.{kind}"] for kind in ("csv", "pdf", "png"))]
    assert Path("made/summary.png").read_bytes().startswith(b"\x89PNG")
    assert Path("made/summary.pdf").read_bytes().startswith(b"%PDF")


def test_all_as_json_has_the_rows_of_the_summary(root: Path) -> None:
    claims = json.loads(nibblesim("--all", "--json").stdout)["claims"]
    with Path("out/summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [claim["experiment"] for claim in claims] == ["a", "a", "b", "b"]
    assert [claim["claim"] for claim in claims] == [row["claim"] for row in rows]


def test_warnings_of_an_experiment_are_passed_on(root: Path) -> None:
    add(root, "c", SCRIPT + 'print("careful", file=sys.stderr)\n')
    for arguments in (("c",), ("--all",)):
        result = nibblesim(*arguments)
        assert (result.exit_code, result.stderr) == (0, "careful\n")


def test_an_experiment_that_fails_says_why(root: Path) -> None:
    add(root, "c", SCRIPT + 'sys.exit("broken")\n')
    message = "experiment 'c' failed with exit code 1:\nbroken\n"
    for arguments in (("c",), ("--all",)):
        result = nibblesim(*arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", message)
    assert Path("out/b/claims.csv").exists()
    assert not Path("out/summary.csv").exists()


def test_all_that_fail_are_named(root: Path) -> None:
    for name, code in (("c", 3), ("d", 2)):
        add(root, name, f"import sys\nprint('{name} broke', file=sys.stderr)\nsys.exit({code})\n")
    result = nibblesim("--all", "--json")
    problems = [
        "experiment 'c' failed with exit code 3:", "c broke",
        "experiment 'd' failed with exit code 2:", "d broke",
    ]  # fmt: skip
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"state": "FAILED", "problems": problems}
    assert result.stderr.splitlines() == problems


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "out/c/claims.csv: cannot be read: No such file or directory"),
        ("a,b\n1,2\n", f"out/c/claims.csv: the columns must be {', '.join(COLUMNS)}"),
        ("", f"out/c/claims.csv: the columns must be {', '.join(COLUMNS)}"),
    ],
)  # fmt: skip
def test_claims_that_cannot_be_joined_are_refused(
    root: Path, written: str | None, message: str
) -> None:
    script = "" if written is None else f"open('out/c/claims.csv', 'w').write({written!r})"
    add(root, "c", script)
    result = nibblesim("c")
    assert (result.exit_code, result.stderr) == (2, f"{message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("aa",), "unknown experiment 'aa'; did you mean 'a'? known: a, b"),
        (("zzz",), "unknown experiment 'zzz'; known: a, b"),
        (("../experiments/a",), "unknown experiment '../experiments/a'; known: a, b"),
        (("no_experiment",), "unknown experiment 'no_experiment'; known: a, b"),
        (("a", "--all"), "give an experiment or --all, not both"),
        (("a", "--out", ""), "--out is empty: name a folder"),
        (("--all", "--out", ""), "--out is empty: name a folder"),
        (("--small",), "--small needs an experiment or --all"),
        (("--out", "x"), "--out needs an experiment or --all"),
        (
            ("--small", "--out", ""),
            "--small needs an experiment or --all\n--out needs an experiment or --all",
        ),
        (("a", "--out", "file"), "cannot write to 'file': it is a file, not a folder"),
        (("--all", "--out", "file"), "cannot write to 'file': it is a file, not a folder"),
    ],
)  # fmt: skip
def test_refusals(root: Path, arguments: tuple[str, ...], message: str) -> None:
    Path("file").touch()
    result = nibblesim(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{message}\n")
    assert not (root / "experiments/a/begun").exists()


def test_the_committed_summary_is_that_of_the_committed_tables() -> None:
    """`make reproduce` writes it."""
    with (EXPERIMENTS / "summary.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == SUMMARY_COLUMNS
        committed = list(reader)
    names = sorted(path.parent.name for path in EXPERIMENTS.glob("*/run.py"))
    expected = [
        row for name in names for row in read_rows(name, EXPERIMENTS / name / "expected.csv")
    ]
    assert [{**row, "ours": ""} for row in committed] == [{**row, "ours": ""} for row in expected]
    for row, other in zip(committed, expected, strict=True):
        assert (row["ours"] == "") == (other["ours"] == "")
        if row["ours"]:
            assert float(row["ours"]) == pytest.approx(float(other["ours"]), rel=TOLERANCE)
        assert row["why"]
        assert (row["published"] == "") == (row["source"] == "none")
        assert (row["ratio"] == "") == ("" in (row["published"], row["ours"]))
    assert (EXPERIMENTS / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_ratios_leave_questions_out() -> None:
    rows = [
        {"experiment": name, "ratio": ratio}
        for name, ratio in (("b", "0.5"), ("a", ""), ("b", ""), ("b", "2"))
    ]
    assert ratios(rows) == {"b": [0.5, 2.0]}


def test_strips_count_what_is_near_and_what_is_beyond_the_axis() -> None:
    near, far = [0.8999, 0.9, 1.0, 1.1, 1.1001], [0.0999, -3.0, 0.1, 10.0, 10.1]
    strip, other = summary_info({"x": near + far, "y": [1.0]})
    assert strip.ratios == (0.1, 0.8999, 0.9, 1.0, 1.1, 1.1001, 10.0)
    assert (strip.below, strip.above, strip.near, strip.count) == (2, 1, 3, 10)
    expected = Strip(name="y", ratios=(1.0,), offsets=(0.0,), below=0, above=0, near=1)
    assert other == expected


def test_equal_ratios_are_spread_over_the_strip_and_stay_in_it() -> None:
    few, many = summary_info({"few": [1.0, 2.0, 1.01, 0.99], "many": [1.0] * 77})
    assert few.ratios == (0.99, 1.0, 1.01, 2.0)
    assert few.offsets == pytest.approx((-0.06, 0, 0.06, 0))
    assert (min(many.offsets), max(many.offsets)) == pytest.approx((-0.38, 0.38), abs=0.01)
    assert len(set(many.offsets)) == 77


@pytest.mark.parametrize("nothing", [{}, {"a": []}])
def test_a_picture_of_nothing_is_refused(nothing: dict[str, list[float]]) -> None:
    with pytest.raises(InputError) as error:
        summary_info(nothing)
    assert str(error.value) == "no published claims to draw"


def test_the_picture_shows_points_ends_and_counts() -> None:
    axes = Figure().subplots()
    draw_summary(summary_info({"x": [0.5, 1.0, -2.0, 0.01, 20.0], "y": [1.0, 1.05]}), axes)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["x", "y"]
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1 of 5", "2 of 2", "within 10 %"]
    points = [
        (line.get_marker(), list(map(float, line.get_xdata())))
        for line in axes.lines
        if line.get_marker() in "o<>"
    ]
    assert points == [("o", [0.5, 1.0]), ("<", [0.1]), (">", [10.0]), ("o", [1.0, 1.05])]
    assert axes.get_xlim() == (0.1, 10.0)
    assert axes.get_xscale() == "log"
    assert axes.get_ylim() == (1.5, -0.5)


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_summary_picture({"x": [0.5, 1.0]}, tmp_path / folder)
    for name in ("summary.pdf", "summary.png"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
        assert first == second
