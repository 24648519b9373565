"""The command that runs the experiments that ship, one or all, and joins their claims.

Each runs as a user would start it: `run.py` in a process of its own, by the same Python and with
the same nibblesim as the command.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError, NibblesimError

if TYPE_CHECKING:
    from simulator.report.summary import Row

WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one experiment left: its folder, what it printed and complained of, its exit code."""

    name: str
    folder: Path
    printed: str
    complained: str
    exit_code: int
    seconds: float


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Experiment; without one: the list."),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="All of them, two at a time, and a summary as table and figure."
        ),
    ] = False,
    small: Annotated[bool, typer.Option("--small", help="Small form: seconds, for tests.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="What the experiment writes; with --all a folder for each. "
            "[default: out/NAME, with --all out]",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run experiments: our numbers beside published ones.

    Exit code 1 if an experiment fails.
    """
    from simulator.report.summary import experiment_folder

    if name is None and not every:
        _list(small, out, as_json)
        return
    if name is not None and every:
        raise InputError("give an experiment or --all, not both")
    if out is not None and not out:
        raise InputError("--out is empty: name a folder")
    if name is None:
        _all(small, Path(out or "out"), as_json)
        return
    script = experiment_folder(name) / "run.py"
    found = run_experiment(script, Path(out or f"out/{name}"), small)
    rows = _rows([found])
    if as_json:
        output.show_json({"claims": [_record(row) for row in rows]})
    else:
        output.show(found.printed)


def _list(small: bool, out: str | None, as_json: bool) -> None:
    """Show the experiments; refuse what only a run could use."""
    from simulator.report.summary import experiment_names, question

    useless = {"--small": small, "--out": out is not None}
    if any(useless.values()):
        raise InputError(
            [f"{option} needs an experiment or --all" for option, given in useless.items() if given]
        )
    rows = [(name, question(name)) for name in experiment_names()]
    if as_json:
        output.show_json({"experiments": [{"name": n, "question": text} for n, text in rows]})
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        output.show(f"{name:<{width}}  {text}")


def run_experiment(script: Path, folder: Path, small: bool) -> Run:
    """Run an experiment's `run.py` into `folder`, which is made.

    Raises:
        InputError: `folder` cannot be written to.
    """
    import simulator
    from simulator.results import prepare_folder

    prepare_folder(folder)
    package = str(Path(simulator.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, script, *(["--small"] if small else []), "--out", folder],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Run(
        name=script.parent.name,
        folder=folder,
        printed=done.stdout.rstrip(),
        complained=done.stderr.rstrip(),
        exit_code=done.returncode,
        seconds=time.perf_counter() - began,
    )


def _rows(found: list[Run]) -> list["Row"]:
    """Return the claims of experiments, and pass their warnings on.

    Raises:
        NibblesimError: some failed; with the words of each.
    """
    from simulator.report.summary import read_rows

    problems = [
        f"experiment '{one.name}' failed with exit code {one.exit_code}:\n{one.complained}"
        for one in found
        if one.exit_code
    ]
    if problems:
        raise NibblesimError("\n".join(problems))
    for one in found:
        if one.complained:
            output.warn(one.complained)
    return [row for one in found for row in read_rows(one.name, one.folder / "claims.csv")]


def _all(small: bool, folder: Path, as_json: bool) -> None:
    """Run all experiments, write summary.csv, .pdf and .png, and show what came out."""
    from simulator.report.summary import ratios, write_summary
    from simulator.report.summary_picture import write_summary_picture
    from simulator.results import prepare_folder

    prepare_folder(folder)
    found = _run_all(small, folder)
    rows = _rows(found)
    write_summary(rows, folder / "summary.csv")
    write_summary_picture(ratios(rows), folder)
    if as_json:
        output.show_json({"claims": [_record(row) for row in rows]})
    else:
        output.show(_table(found, rows))
        files = [f"  {folder / 'summary'}.{kind}" for kind in ("csv", "pdf", "png")]
        output.show("\n".join(["Files", *files]))


def _run_all(small: bool, folder: Path) -> list[Run]:
    """Run all experiments, two at a time, each into a folder of its name; sorted by name."""
    from simulator.report.summary import experiment_folder, experiment_names

    names = experiment_names()
    with (
        output.progress(len(names), "reproducing", "experiments") as done,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        running = [
            workers.submit(run_experiment, experiment_folder(name) / "run.py", folder / name, small)
            for name in names
        ]
        for _ in as_completed(running):
            if done is not None:
                done()
    return [each.result() for each in running]


def _record(row: "Row") -> dict[str, Any]:
    """Return a row for JSON: numbers as numbers, null where there is none."""
    numbers = {key: float(row[key]) if row[key] else None for key in ("published", "ours", "ratio")}
    return {**row, **numbers}


def _table(found: list[Run], rows: list["Row"]) -> str:
    from simulator.report.summary import ratios
    from simulator.report.summary_picture import summary_info
    from simulator.results import Table

    strips = {strip.name: strip for strip in summary_info(ratios(rows))}
    lines = []
    for one in found:
        asked, strip = sum(row["experiment"] == one.name for row in rows), strips.get(one.name)
        counts = (f"{strip.count}", f"{strip.near}") if strip else ("0", "")
        lines.append((one.name, f"{asked}", *counts, f"{one.seconds:.1f}"))
    heads = ("experiment", "claims", "published", "within 10 %", "s")
    return Table("Experiments", heads, tuple(lines), "<>>>>").text()
