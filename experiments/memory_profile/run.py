"""How far off are a memory's constants, one a shape of stream, where streams mix?

Writes claims.csv, streams.csv (each case), runs.csv (each whole run) and the figure
memory_profile.pdf and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from figure import draw
from streams import (
    DRAWS,
    KIB,
    MEMORIES,
    SAME_BANK,
    STEP,
    STEPS,
    Scored,
    drawn_ps,
    memory,
    row_cycle_ns,
    score,
    step_ns,
    turn_idle_ns,
)
from whole_runs import (
    MIXING,
    Compared,
    Split,
    compare,
    fast_device,
    mixing_split,
    npu_runs,
    points,
    whole_runs,
)

from simulator.config import replace
from simulator.dram import load_standard
from simulator.report.claims import read_claims, write_claims
from simulator.results import Table, prepare_folder

HERE = Path(__file__).parent
GROUPS = ("regular", "scattered", "pairs", SAME_BANK)
#: KiB of scattered runs that are drawn again.
DRAWN = (3, 48)
SMALL, SMALL_RUN = ("hbm2_2000", "ddr4_3200"), "decode, batch 1"
STREAM_COLUMNS = (
    "memory", "group", "case", "step_bytes", "commands_ps", "profile_ps", "error_percent",
    "bandwidth_of_peak", "bus_held", "conflicts_per_1000", "turns_per_1000",
)  # fmt: skip
RUN_COLUMNS = (
    "device", "run", "tile_ms", "command_ms", "error_percent", "conflicts_per_1000", "writes",
)  # fmt: skip


def find(found: Sequence[Scored], group: str, name: str, step: int = STEP) -> Scored:
    """Return a case at one size of steps."""
    (one,) = (each for each in found if (*each.case[:2], each.step) == (group, name, step))
    return one


def turn_ns(found: Sequence[Scored]) -> float:
    """Return what a turn costs: reads and writes against reads, in different banks.

    At the smallest steps, in which next to nothing but turns differs.
    """
    mixed = find(found, "pairs", "read + write 1:1", STEPS[0])
    reads = find(found, "pairs", "two reads", STEPS[0])
    return (mixed.commands_ps - reads.commands_ps) / mixed.turns / 1e3


def draws_percent(name: str, size: int) -> float:
    """Return by how much it varies where scattered runs lie: standard deviation of time in percent.

    Without refresh: one more or less would hide it.
    """
    drawn = drawn_ps(replace(memory(name), {"refresh": "none"}), size)
    return 100 * stdev(drawn) / fmean(drawn)


def stream_numbers(name: str, found: Sequence[Scored]) -> dict[str, float]:
    """Return what is asked of the streams of one memory, by key of a claim."""
    ours = dict[str, float]()
    for group in GROUPS:
        errors = [abs(each.error) for each in found if each.case.group == group]
        ours |= {f"{name}.{group}.mean": fmean(errors), f"{name}.{group}.worst": max(errors)}
    for group in ("pairs", SAME_BANK):
        for pair in ("two reads", "read + write 1:1"):
            ours[f"{name}.{group}.{pair}"] = find(found, group, pair).error
    return ours | {
        **{f"{name}.draws.{size}": draws_percent(name, size * KIB) for size in DRAWN},
        f"{name}.turn.ns": turn_ns(found),
        f"{name}.turn.table": turn_idle_ns(load_standard(name)),
    }


def stream_rows(found: Iterable[Scored]) -> list[tuple[object, ...]]:
    """Return the rows of streams.csv."""
    return [
        (
            each.memory, each.case.group, each.case.name, each.step, each.commands_ps,
            round(each.profile_ps), f"{each.error:.2f}", f"{each.data:.4f}", f"{each.bus:.4f}",
            f"{each.conflicts:.1f}", f"{1e3 * each.turns / each.run.requests:.1f}",
        )
        for each in found
    ]  # fmt: skip


def run_rows(found: Iterable[Compared]) -> list[tuple[object, ...]]:
    """Return the rows of runs.csv; writes: their part of all bursts."""
    rows = list[tuple[object, ...]]()
    for each in found:
        channel = each.command.channel
        assert channel is not None
        conflicts = 1e3 * channel.row_conflicts / channel.requests
        writes = channel.commands.get("WR", 0) / channel.requests
        times = [f"{1e3 * result.latency_s:.4f}" for result in (each.tile, each.command)]
        rows.append(
            (each.device, each.run, *times, f"{each.error:.2f}", f"{conflicts:.1f}",
             f"{writes:.3f}")
        )  # fmt: skip
    return rows


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows below their columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def table_by_group(found: Mapping[str, list[Scored]], ours: Mapping[str, float]) -> Table:
    """Return mean and worst error of each group, a line a memory."""
    kinds = [f"{group}.{kind}" for group in GROUPS for kind in ("mean", "worst")]
    rows = tuple((name, *(f"{ours[f'{name}.{kind}']:.1f}" for kind in kinds)) for name in found)
    heads = ("memory", *(kind.replace(".", " ") for kind in kinds))
    return Table("Error of the constants, absolute, %", heads, rows, "<" + ">" * len(kinds))


def table_by_case(found: Mapping[str, list[Scored]]) -> Table:
    """Return the error of each case at each size of steps, a column a memory."""
    first = next(iter(found.values()))
    rows = tuple(
        (each.case.group, each.case.name, f"{each.step // KIB}",
         *(f"{find(scored, *each.case[:2], each.step).error:.1f}" for scored in found.values()))
        for each in first
    )  # fmt: skip
    heads = ("group", "case", "step KiB", *found)
    return Table("Error of each case, %", heads, rows, "<<" + ">" * (len(found) + 1))


def table_of_reasons(found: Mapping[str, list[Scored]], ours: Mapping[str, float]) -> Table:
    """Return what two reads are in each other's way, what turns cost, and what draws matter."""
    rows = []
    draws = [f"draws.{size}" for size in DRAWN]
    for name, scored in found.items():
        channels = memory(name)
        alone = find(scored, "regular", "sequential read")
        pair, same = (find(scored, group, "two reads") for group in ("pairs", SAME_BANK))
        rows.append(
            (name, f"{step_ns(channels, STEP):.0f}", f"{same.lost_ns:.0f}",
             f"{row_cycle_ns(channels.standard):.0f}",
             *(f"{each.conflicts:.0f}" for each in (alone, pair, same)),
             *(f"{100 * each.bus:.0f}" for each in (pair, same)),
             *(f"{ours[f'{name}.{key}']:.1f}" for key in ("turn.ns", "turn.table", *draws)))
        )  # fmt: skip
    heads = ("memory", "step ns", "lost", "row ns", "conflicts", "pair", "same", "bus %", "same",
             "turn ns", "by table", "draws %", "%")  # fmt: skip
    return Table(
        "Reasons",
        heads,
        tuple(rows),
        "<" + ">" * (len(heads) - 1),
        f"step: {STEP // KIB} KiB at the peak; what two reads from the same bank lose in it; a row "
        "cycle; conflicts in 1,000 bursts of one read, of two, and from the same bank; time for "
        f"which the busier command bus is held; turns at steps of {STEPS[0] // KIB} KiB; runs of "
        f"{DRAWN[0]} and {DRAWN[1]} KiB drawn {DRAWS} times, standard deviation of time",
    )


def table_of_parts(parts: Mapping[str, Split]) -> Table:
    """Return what the run that mixes streams most is off by, as text."""
    rows = tuple(
        (name, *(f"{error:.1f}" for error in each.errors().values()))
        for name, each in parts.items()
    )
    heads = ("memory", "constants", "reads in turns", "all in turns", "from the same bank")
    return Table(f"{MIXING}: memory time off by, %", heads, rows, "<>>>>")


def main(argv: Sequence[str] | None = None) -> None:
    """Score streams, then whole runs; --small takes two memories, one run and no figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="two memories, one run, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/memory_profile"))
    args = parser.parse_args(argv)
    found = {name: list(score(name)) for name in (SMALL if args.small else MEMORIES)}
    parts: dict[str, Split] = {}
    if args.small:
        point = points()[SMALL_RUN]
        device = fast_device(SMALL[0], point.scratchpad)
        runs = [compare(SMALL[0], device, SMALL_RUN, point.workload)]
    else:
        runs = [each for name in MEMORIES for each in whole_runs(name)] + list(npu_runs())
        parts = {name: mixing_split(name) for name in MEMORIES}
    ours: dict[str, float] = {}
    for name, rows in found.items():
        ours |= stream_numbers(name, rows)
    ours |= {f"{each.device}.{each.run}": each.error for each in runs}
    for name, each in parts.items():
        ours |= {f"{name}.parts.{key}": error for key, error in each.errors().items()}
    folder = prepare_folder(args.out)
    write_claims(read_claims(HERE / "published.csv", ours), folder / "claims.csv")
    scored = [each for rows in found.values() for each in rows]
    write_csv(folder / "streams.csv", STREAM_COLUMNS, stream_rows(scored))
    write_csv(folder / "runs.csv", RUN_COLUMNS, run_rows(runs))
    shown = [table_by_group(found, ours), table_by_case(found), table_of_reasons(found, ours)]
    shown.append(Table("Whole runs", RUN_COLUMNS, tuple(map(texts, run_rows(runs))), "<<>>>>>"))
    if not args.small:
        shown.append(table_of_parts(parts))
        draw(scored, runs, folder)
    print("\n\n".join(table.text() for table in shown))


def texts(row: Sequence[object]) -> tuple[str, ...]:
    """Return the cells of a row as text."""
    return tuple(f"{cell}" for cell in row)


if __name__ == "__main__":
    main()
