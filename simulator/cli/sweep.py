"""The commands of studies: sweep or search a space, export what was found, draw its front."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.search.objectives import Objective
    from simulator.search.runner import Tally
    from simulator.search.space import Space

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE.yaml", help="Device, workload, space, objectives.")
]
StoreArgument = Annotated[Path, typer.Argument(metavar="S.db", help="What a study has kept.")]
StudyOption = Annotated[
    Path,
    typer.Option("--study", metavar="S.db", help="Where outcomes are kept; goes on if it exists."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Processes. [default: 1]")
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="Workers of this dask scheduler in their place."
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Simulate points that FAILED again.")
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", help="Points in the study at most, old ones counted."),
]
TimeOption = Annotated[
    float | None,
    typer.Option("--time-limit", metavar="S", help="Seconds of a point, after which it FAILED."),
]
MemoryOption = Annotated[
    float | None,
    typer.Option("--memory-limit", metavar="GIB", help="Memory of a process, likewise."),
]
GIB = MOST_GIB = 2**30


def sweep(
    file: FileArgument,
    study: StudyOption,
    retry_failed: RetryOption = False,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    limit: LimitOption = None,
    time_limit: TimeOption = None,
    memory_limit: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate every point of a grid.

    In processes; the same command goes on where one was ended.
    """
    _run(
        file,
        study,
        strategy="grid",
        retry_failed=retry_failed,
        workers=workers,
        cluster=cluster,
        limit=limit,
        time_limit_s=time_limit,
        memory_limit=memory_limit,
        as_json=as_json,
    )


def search(
    file: FileArgument,
    study: StudyOption,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Points to ask for.")],
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="random, sobol, nsga2, tpe, cmaes or halving. [default: the file's, else nsga2]",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="K", help="The same seed asks the same points.")
    ] = 0,
    retry_failed: RetryOption = False,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    time_limit: TimeOption = None,
    memory_limit: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for the best points of a space.

    In processes; the same command goes on where one was ended.
    """
    _run(
        file,
        study,
        strategy=strategy,
        trials=trials,
        seed=seed,
        retry_failed=retry_failed,
        workers=workers,
        cluster=cluster,
        time_limit_s=time_limit,
        memory_limit=memory_limit,
        as_json=as_json,
    )


def export(
    study: StoreArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet|csv", help="What to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write the points of a study as a table.

    One row a point: dimensions, state, metrics with units.
    """
    from simulator.search.store import Store

    with Store(study, read_only=True) as store:
        store.export(out)
        points = store.count()
    if as_json:
        output.show_json({"points": points, "file": str(out)})
    else:
        output.show(f"{points} points in {out}")


def pareto(
    study: StoreArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.html|png|pdf", help="What to write; or .svg.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Draw the points that no other beats.

    In all objectives of the study; as HTML with a table of them. Of a study on several rungs, those
    of the highest alone.
    """
    from simulator.report.front_picture import Axis, front_info, write_front
    from simulator.results import RUNGS
    from simulator.search.export import words
    from simulator.search.front import front_of, on_highest_rung
    from simulator.search.store import Store

    with Store(study, read_only=True) as store:
        header = store.header
        if not store.count():
            raise InputError(f"'{study}' has no points yet")
        names = [*header.dimensions, *(each.metric for each in header.objectives)]
        results, rung = on_highest_rung(store.columns([*names, "state"], state="OK"), RUNGS)
    found = front_of(results, header.objectives)
    axes = [
        Axis(name=each.metric, unit=header.metrics[each.metric], goal=each.goal, values=values)
        for each, values in zip(header.objectives, found.values.T, strict=True)
    ]
    at = f" at rung {rung}" if rung else ""
    title = f"{study.name}: front of {len(found.values):,} points{at}"
    front = front_info(title, axes, found.on_front)
    table = found.table.sort_by(axes[0].name).select(names)
    write_front(front, words(table, header), out)
    if as_json:
        shown = {"front": len(table), "points": len(found.values), "file": str(out)}
        output.show_json({**shown, "rung": rung} if rung else shown)
    else:
        output.show(f"{len(table)} of {len(found.values)} points{at} on the front, in {out}")


def _run(
    file: Path, study: Path, *, memory_limit: float | None, as_json: bool, **options: Any
) -> None:
    """Run a study and say what came of it; exit code 1 where every point FAILED."""
    from simulator.search.sweep_file import load_sweep
    from simulator.study import run

    began = time.perf_counter()
    loaded = load_sweep(file)
    if memory_limit is not None:
        if not 0 < memory_limit < MOST_GIB:
            raise InputError(f"--memory-limit must be above 0 and below 2^30, got {memory_limit}")
        options["memory_limit_bytes"] = round(memory_limit * GIB)
    if options["strategy"] is None:
        options["strategy"] = loaded.strategy or "nsga2"
    with _bar(loaded.objectives[0]) as seen:
        try:
            tally = run(loaded, study, seen=seen, warn=output.warn, **options)
        except KeyboardInterrupt:
            output.warn(f"{study} keeps what has ended; the same command goes on")
            raise
    found = {
        "study": str(study),
        "points": tally.stored,
        "asked": tally.points,
        "new": tally.new,
        "ok": tally.ok,
        "infeasible": tally.infeasible,
        "failed": tally.failed,
        "wall_time_s": time.perf_counter() - began,
    }
    reason = "" if tally.ok or not tally.points else _first_reason(study, loaded.space)
    if as_json:
        output.show_json({**found, "reason": reason} if reason else found)
    else:
        _show(study, tally, options)
    if reason:
        output.warn(f"no point has a result; the first one: {reason}")
    if tally.points and tally.failed == tally.points:
        raise typer.Exit(1)


def _first_reason(study: Path, space: "Space") -> str:
    """Return why the first point of a space that a study asked for has no result."""
    from simulator.search.store import Store

    with Store(study, read_only=True) as store:
        lost = (row for row in store.rows() if row.outcome.state != "OK")
        first = next((row for row in lost if not space.refuse(row.point)), None)
    # Of a reason of several lines the first one; all are in the study.
    return first.outcome.reason.partition("\n")[0] if first else ""


def _show(study: Path, tally: "Tally", options: Mapping[str, Any]) -> None:
    """Say what a study has come to."""
    output.show(
        f"{tally.stored} points in {study}; of {tally.points} asked for, {tally.new} new: "
        f"{tally.ok} OK, {tally.infeasible} infeasible, {tally.failed} failed"
    )
    if tally.ok and not tally.kept:
        output.show("none of them keeps the bounds of the objectives: there will be no front")
    if tally.failed:
        output.show(f"why points failed: column reason of `nibblesim export {study}`")
    if options.get("limit") is None and tally.points < (tally.expected or 0):
        output.show(
            f"{tally.expected} were wanted, but strategy '{options['strategy']}' finds no more "
            "to ask for"
        )


@contextmanager
def _bar(first: "Objective") -> "Iterator[Callable[[Tally], object] | None]":
    """Yield what to call when points have come: on a terminal, a bar of what a study comes to."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=" points", delay=1, leave=False) as bar:

        def seen(tally: "Tally") -> None:
            bar.total = tally.expected
            bar.set_postfix_str(_come_to(tally, first), refresh=False)
            bar.update(tally.points - bar.n)

        yield seen


def _come_to(tally: "Tally", first: "Objective") -> str:
    """Say what is best so far, of the highest rung, and what has no result."""
    from simulator.results import RUNGS

    states = {"infeasible": tally.infeasible, "failed": tally.failed}
    words = [f"{count} {state}" for state, count in states.items() if count]
    if tally.fronts:
        rung = max(tally.fronts, key=lambda each: RUNGS.index(each) if each else 0)
        costs = tally.fronts[rung].costs
        # The cost of a cost is the value again.
        best = first.cost(float(costs[:, 0].min()))
        at = f" at rung {rung}" if rung else ""
        words.insert(0, f"best {first.metric} {best:.4g}, front of {len(costs)}{at}")
    return ", ".join(words)
