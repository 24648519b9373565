"""The command that runs a stream of requests on one channel of a memory, command by command."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TextIO

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram import Command, Run, Standard
    from simulator.report.memory_picture import FirstCommands

#: Requests of a stream unless told.
REQUESTS = 100_000
#: What a picture shows.
DRAWN_S = 1e-6
#: Policies of simulators, FR-FCFS both.
CONTROLLERS = ("ramulator", "dramsim3")
Taker = Callable[[Iterable["Command"]], object]


def memory(
    preset: Annotated[
        str | None,
        typer.Argument(metavar="[PRESET]", help="Name or YAML file; without: the list."),
    ] = None,
    stream: Annotated[
        str, typer.Option("--stream", metavar="NAME", help="Stream of requests.")
    ] = "seq_bg",
    requests: Annotated[
        int | None,
        typer.Option("--requests", metavar="N", help=f"Of the stream. [default: {REQUESTS:,}]"),
    ] = None,
    refresh: Annotated[
        str | None,
        typer.Option(
            "--refresh", metavar="KIND", help="all_bank, per_bank or none. [default: all_bank]"
        ),
    ] = None,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Refresh nothing.")] = False,
    controller: Annotated[
        str,
        typer.Option("--controller", metavar="|".join(CONTROLLERS), help="Whose policy schedules."),
    ] = CONTROLLERS[0],
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Serve requests in order, in one queue.")
    ] = False,
    page: Annotated[
        str | None,
        typer.Option("--page", metavar="open|closed", help="Close rows that no request wants."),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="FILE", help="Requests of a file, not of a stream."),
    ] = None,
    commands_out: Annotated[
        Path | None,
        typer.Option("--commands-out", metavar="FILE.csv", help="Write every command there."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.png|.pdf|.svg",
            help=f"Draw the first {1e6 * DRAWN_S:g} us, bank by bank.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve requests on one DRAM channel, command by command.

    Streams: seq_row, seq_bg, conflict, random, mix21_seq, mix21_random (every third a write).
    """
    if preset is None:
        _list(as_json)
        return
    from simulator.dram import load_standard

    if replay is not None and requests is not None:
        raise InputError("give --replay or --requests, not both")
    standard = load_standard(preset)
    if no_refresh and refresh is not None:
        raise InputError("give --refresh or --no-refresh, not both")
    refresh = "none" if no_refresh else refresh or "all_bank"
    serve = _controller(controller, refresh=refresh, in_order=in_order, page=page)
    drawn = None if picture is None else _first(picture, standard)
    began = time.perf_counter()
    with ExitStack() as open_files:
        takers: list[Taker] = [] if drawn is None else [drawn]
        if commands_out is not None:
            takers.append(_Writer(open_files.enter_context(_opened(commands_out)), standard))
        given = replay or (stream, REQUESTS if requests is None else requests)
        run = _served(standard, serve, given, takers)
    wall_s = time.perf_counter() - began
    if picture is not None and drawn is not None:
        _draw(drawn, stream if replay is None else str(replay), picture)
    if as_json:
        output.show_json(_record(run, standard, wall_s))
    else:
        output.show(_table(run, standard, "" if replay else stream, wall_s))


class _Serve(NamedTuple):
    """How a controller serves a stream, and listed requests."""

    stream: "Callable[..., Run]"
    requests: "Callable[..., Run]"
    settings: Any


def _controller(name: str, *, refresh: Any, in_order: bool, page: Any) -> _Serve:
    from simulator.config import unknown

    if name == "ramulator":
        from simulator.dram import Settings, run_requests, run_stream

        order: Any = "in_order" if in_order else "fr_fcfs"
        given = Settings(order=order, page=page or "open", refresh=refresh)
        return _Serve(run_stream, run_requests, given)
    if name == "dramsim3":
        from simulator.dram import Dramsim3Settings, run_dramsim3, run_dramsim3_requests

        for option, value in (("--in-order", in_order), ("--page", page)):
            if value:
                raise InputError(
                    f"{option} is of controller ramulator; dramsim3 has no such policy"
                )
        return _Serve(run_dramsim3, run_dramsim3_requests, Dramsim3Settings(refresh=refresh))
    raise InputError(unknown("--controller", name, CONTROLLERS))


def _served(
    standard: "Standard", serve: _Serve, given: Path | tuple[str, int], takers: list[Taker]
) -> "Run":
    from simulator.dram import named_stream, read_requests

    def trace(commands: "Iterable[Command]") -> None:
        block = list(commands)
        for taker in takers:
            taker(block)

    wanted = trace if takers else None
    if isinstance(given, Path):
        writes, levels = read_requests(given, standard)
        return serve.requests(writes, levels, standard, serve.settings, wanted)
    name, count = given
    return serve.stream(named_stream(name, standard), standard, count, serve.settings, wanted)


def _first(picture: Path, standard: "Standard") -> "FirstCommands":
    """Return what collects the commands of a picture, which can be kept."""
    from simulator.report.memory_picture import FirstCommands
    from simulator.report.style import picture_suffix
    from simulator.results import prepare_folder

    picture_suffix(picture)
    prepare_folder(picture.parent)
    return FirstCommands(standard, DRAWN_S)


def _draw(drawn: "FirstCommands", stream: str, picture: Path) -> None:
    from simulator.api import version
    from simulator.report.memory_picture import write_commands

    title = f"{drawn.standard.name}, {stream}; nibblesim {version()}"
    write_commands(drawn, title, picture)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="ascii", newline="")
    except OSError as error:
        raise InputError(f"--commands-out {path}: cannot be written: {error.strerror}") from error


class _Writer:
    """Writes commands in the format of recorded traces."""

    def __init__(self, file: TextIO, standard: "Standard") -> None:
        self.file = file
        file.write(",".join(("clock", "command", *standard.levels, "type", "source")) + "\n")

    def __call__(self, commands: Iterable["Command"]) -> None:
        """Write a block of commands."""
        for tick, name, address in commands:
            self.file.write(f"{tick},{name},{','.join(map(str, address))},0,-1\n")


def _list(as_json: bool) -> None:
    """Print the standards that come with the package."""
    from simulator.dram import load_standard, standard_names
    from simulator.results import Table, engineering

    found = [load_standard(name) for name in standard_names()]
    if as_json:
        records = [
            {
                "name": each.name,
                "summary": each.summary,
                "peak_bytes_per_s": each.peak_bytes_per_s,
                "access_bytes": each.access_bytes,
            }
            for each in found
        ]
        output.show_json({"memories": records})
        return
    cells = tuple(
        (
            each.name,
            engineering(each.peak_bytes_per_s, "B/s", 3),
            str(each.access_bytes),
            each.summary,
        )
        for each in found
    )
    heads = ("memory", "peak", "B a burst", "one channel")
    output.show(Table("Memories", heads, cells, "<>><", "").text())


def _record(run: "Run", standard: "Standard", wall_s: float) -> dict[str, Any]:
    from simulator.dram import energy_of

    energy = energy_of(run, standard)
    return {
        "standard": run.standard,
        "requests": run.requests,
        "ticks": run.ticks,
        "time_s": run.time_s,
        "bandwidth_bytes_per_s": run.bandwidth_bytes_per_s,
        "peak_bytes_per_s": standard.peak_bytes_per_s,
        "row_hits": run.row_hits,
        "row_misses": run.row_misses,
        "row_conflicts": run.row_conflicts,
        "latency_avg_ticks": run.latency_avg_ticks,
        "latency_p50_ticks": run.latency_p50_ticks,
        "latency_p99_ticks": run.latency_p99_ticks,
        "latency_max_ticks": run.latency_max_ticks,
        "energy_j": energy.total_j,
        "energy_by_component_j": energy.components,
        "energy_reason": energy.reason,
        "energy_source": energy.source,
        "commands": run.commands,
        "wall_time_s": wall_s,
    }


def _table(run: "Run", standard: "Standard", stream: str, wall_s: float) -> str:
    from simulator.dram import energy_of
    from simulator.results import Table, engineering

    energy = energy_of(run, standard)
    joules = energy.reason or engineering(energy.total_j or 0.0, "J", 4)
    part = run.bandwidth_bytes_per_s / standard.peak_bytes_per_s
    tick_s = run.tick_ps * 1e-12
    latencies = (run.latency_avg_ticks, run.latency_p50_ticks, run.latency_p99_ticks)
    rows = (
        ("requests", f"{run.requests:,} of {run.access_bytes} B"),
        ("time", f"{run.ticks:,} ticks, {engineering(run.time_s, 's', 4)}"),
        (
            "bandwidth",
            f"{engineering(run.bandwidth_bytes_per_s, 'B/s', 4)}, {part:.1%} of the peak",
        ),
        (
            "rows",
            f"{run.row_hits:,} hits, {run.row_misses:,} misses, {run.row_conflicts:,} conflicts",
        ),
        (
            "read latency",
            ", ".join(engineering(ticks * tick_s, "s", 3) for ticks in latencies)
            + " (mean, median, 99 %)",
        ),
        ("commands", ", ".join(f"{name} {count:,}" for name, count in run.commands.items())),
        ("energy", joules),
        ("wall time", engineering(wall_s, "s", 3)),
    )
    return Table(
        f"{run.standard}, one channel, {stream or 'replayed'}", ("", ""), rows, "<<", ""
    ).text()
