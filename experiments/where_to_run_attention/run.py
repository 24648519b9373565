"""Where attention of a decode step is fastest: xPU, banks, logic die, or not stored at all.

Writes claims.csv, table.csv (seconds at each place, and the winner, of every point) and the figure
where_to_run_attention.pdf and .png to --out. README.md says what is left out.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from places import PLACES, Point, fits, seconds, winner

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.results import prepare_folder

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle

HERE = Path(__file__).parent
GROUPS, BATCHES, CONTEXTS = (1, 2, 4, 8, 16), (1, 4, 16, 64, 256), (1024, 4096, 16384)
BITS, TREES = (16, 4), (1, 4, 16)
#: Trees among which crossings are looked for.
TRIED = (1, 2, 4, 8, 16, 32, 64)
DRAWN = 4096
COLOURS = {
    "xpu": "#e69f00",
    "bank": "#56b4e9",
    "logic": "#0072b2",
    "recompute": "#009e73",
    "none": "#dddddd",
}
LABELS = {
    "xpu": "xPU",
    "bank": "banks",
    "logic": "logic die",
    "recompute": "recompute keys and values",
    "none": "nothing fits",
}


def points() -> list[Point]:
    """Return the grid."""
    return [
        Point(group, batch, context, bits, tree)
        for bits in BITS
        for tree in TREES
        for context in CONTEXTS
        for batch in BATCHES
        for group in GROUPS
    ]


def crossings() -> dict[str, float]:
    """Return from which group, tree and batch on a place wins, by key of a claim."""

    def first(values: Sequence[int], place: str, **fixed: int) -> float:
        name = next(iter({"group", "tree"} - fixed.keys()))
        base = {"batch": 16, "context": DRAWN, "bits": 16}
        won = [each for each in values if winner(Point(**{**base, **fixed, name: each})) == place]
        return float(won[0]) if won else float("inf")

    at = {bits: seconds(Point(8, 16, DRAWN, bits, 1)) for bits in BITS}
    alone = seconds(Point(1, 1, DRAWN, 16, 1))
    return {
        "logic.group": first(GROUPS, "logic", tree=1),
        "xpu.tree.group8": first(TRIED, "xpu", group=8),
        "xpu.tree.group1": first(TRIED, "xpu", group=1),
        "bank.mha": alone["xpu"] / alone["bank"],
        "logic.group8": at[16]["xpu"] / at[16]["logic"],
        "bits.xpu": at[16]["xpu"] / at[4]["xpu"],
        "bits.bank": at[16]["bank"] / at[4]["bank"],
        "bits.logic": at[16]["logic"] / at[4]["logic"],
    }


def counts(grid: Sequence[Point]) -> dict[str, float]:
    """Return how many points each place wins, by key of a claim."""
    won = Counter(winner(point) for point in grid)
    return {f"won.{place}": float(won[place]) for place in (*PLACES, "none")}


def write_table(grid: Sequence[Point], folder: Path) -> None:
    """Write a row for every point; seconds of what does not fit stay empty."""
    path = prepare_folder(folder) / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*Point._fields, *(f"{place}_us" for place in PLACES), "winner"))
        for point in grid:
            found = seconds(point)
            us = [f"{1e6 * found[p]:.3f}" if fits(point, p) else "" for p in PLACES]
            writer.writerow((*point, *us, winner(point)))


def draw(folder: Path) -> None:
    """Draw the winner over batch and group, a panel for each number of bits and each tree."""
    with paper_figure(folder, "where_to_run_attention", height_in=2.9) as figure:
        axes = figure.subplots(len(BITS), len(TREES), sharex=True, sharey=True)
        for row, bits in enumerate(BITS):
            for column, tree in enumerate(TREES):
                plot = axes[row, column]
                for x, batch in enumerate(BATCHES):
                    for y, group in enumerate(GROUPS):
                        place = winner(Point(group, batch, DRAWN, bits, tree))
                        plot.add_patch(_tile(x, y, COLOURS[place]))
                plot.set_xlim(-0.5, len(BATCHES) - 0.5)
                plot.set_ylim(-0.5, len(GROUPS) - 0.5)
                plot.set_xticks(range(len(BATCHES)), [str(each) for each in BATCHES])
                plot.set_yticks(range(len(GROUPS)), [str(each) for each in GROUPS])
                plot.tick_params(length=0)
                tokens = "1 token" if tree == 1 else f"tree of {tree}"
                plot.set_title(f"{bits} bits, {tokens}", fontsize=7)
        figure.supxlabel(f"requests (context {DRAWN})", fontsize=7)
        figure.supylabel("query heads a key-value head", fontsize=7)
        handles = [_tile(0, 0, COLOURS[place]) for place in LABELS]
        figure.legend(
            handles, list(LABELS.values()), loc="outside upper center", ncols=3, handlelength=1.0
        )


def _tile(x: float, y: float, colour: str) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", lw=0.8)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the map; --small computes the crossings only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="crossings only, no figure")
    default = Path("out/where_to_run_attention")
    parser.add_argument("--out", type=Path, default=default, help="folder for results")
    args = parser.parse_args(argv)
    ours = crossings()
    if not args.small:
        grid = points()
        ours |= counts(grid)
        write_table(grid, args.out)
        draw(args.out)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("Where attention of a decode step is fastest", claims))


if __name__ == "__main__":
    main()
