"""The commands of studies: sweep or search a space, export what was found, draw its front."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.search.records import Outcome
    from simulator.search.runner import Tally

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE.yaml", help="Device, workload, space, objectives.")
]
StoreArgument = Annotated[Path, typer.Argument(metavar="S.db", help="What a study has kept.")]
StudyOption = Annotated[
    Path,
    typer.Option("--study", metavar="S.db", help="Where outcomes are kept; goes on if it exists."),
]
WorkersOption = Annotated[int, typer.Option("--workers", metavar="N", help="Processes.")]
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
    workers: WorkersOption = 1,
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
        workers=workers,
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
            help="random, sobol, nsga2, tpe or cmaes. [default: the file's, else nsga2]",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="K", help="The same, the same points.")
    ] = 0,
    workers: WorkersOption = 1,
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
        workers=workers,
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
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html|pdf", help="What to write.")],
    as_json: JsonOption = False,
) -> None:
    """Draw the points that no other beats.

    In all objectives of the study; as HTML with a table of them.
    """
    from simulator.report.front_picture import Axis, front_info, write_front
    from simulator.search.front import front_of
    from simulator.search.store import Store

    with Store(study, read_only=True) as store:
        header, found = store.header, front_of(store.table(), store.header.objectives)
    axes = [
        Axis(
            name=each.metric,
            unit=header.metrics[each.metric],
            goal=each.goal,
            values=found.table[each.metric].tolist(),
        )
        for each in header.objectives
    ]
    kept = found.table[found.on_front]
    names = [*header.dimensions, *(each.metric for each in header.objectives)]
    front = front_info(f"{study.name}: front of {len(found.table)} points", axes, found.on_front)
    ordered = kept.sort_values(axes[0].name)[names].itertuples(index=False, name=None)
    write_front(front, [dict(zip(names, row, strict=True)) for row in ordered], out)
    if as_json:
        output.show_json({"front": len(kept), "points": len(found.table), "file": str(out)})
    else:
        output.show(f"{len(kept)} of {len(found.table)} points on the front, in {out}")


def _run(
    file: Path, study: Path, *, memory_limit: float | None, as_json: bool, **options: Any
) -> None:
    """Run a study and say what came of it."""
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
    with _bar(loaded.space.size if options.get("trials") is None else options["trials"]) as seen:
        try:
            tally = run(loaded, study, seen=seen, **options)
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
    if as_json:
        output.show_json(found)
        return
    output.show(
        f"{tally.stored} points in {study}; of {tally.points} asked for, {tally.new} new: "
        f"{tally.ok} simulated, {tally.infeasible} infeasible, {tally.failed} failed"
    )


@contextmanager
def _bar(points: int | None) -> "Iterator[Callable[[Tally, Outcome], object] | None]":
    """Yield what to call after each point: a bar with rate, end and failures on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=points, unit=" points", delay=1, leave=False) as bar:

        def seen(tally: "Tally", _: "Outcome") -> None:
            bar.n = tally.points
            bar.set_postfix_str(f"{tally.infeasible} infeasible, {tally.failed} failed")

        yield seen
