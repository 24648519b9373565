"""Does a search find more of a front than random points do, at equal budgets? See README.md.

Writes claims.csv, volumes.csv (each run's volume by number of points) and the figure
search_against_random.pdf and .png to --out.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.results import prepare_folder
from simulator.search.analysis import Box, Study, attainment
from simulator.search.front import values_of
from simulator.search.records import Outcome
from simulator.search.runner import costs_of
from simulator.search.space import Point, key_of
from simulator.search.strategies import strategy
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import Case, case_of, evaluate, header_of

HERE = Path(__file__).parent
#: Best and worst of each objective over the grid, rounded outwards: where volumes are measured.
BOXES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "array": ((0.0388, 0.9, 0.99), (0.822, 224, 1.081)),
    "formats": ((0.0428, 3.52, 73.7), (0.671, 27.2, 2.85)),
    "pim": ((0.0141, 1129, 4.57), (0.61, 4.31, 465)),
}
STRATEGIES = {"random": "C7", "sobol": "C2", "nsga2": "C0", "tpe": "C1"}
SEEDS, POINTS, LONG = 10, 128, 1024
#: Where wins are counted before the end: after the first generations, which are drawn at random.
EARLY = 32
#: What the small form runs, and the full form cuts out of its runs.
SMALL_SPACE, SMALL_STRATEGIES, SMALL_SEEDS, SMALL_POINTS = "array", ("random", "nsga2"), 3, 48
#: By strategy: volumes, [seeds, points].
Volumes = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Space:
    """A space with what its points came to so far: each is simulated once for all strategies."""

    name: str
    sweep: Sweep
    case: Case
    known: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, point: Point) -> Outcome:
        """Return what a point comes to."""
        key = key_of(point)
        if key not in self.known:
            self.known[key] = evaluate(self.case, point)
        return self.known[key]

    @property
    def box(self) -> Box:
        """Where volumes are measured."""
        return Box(self.sweep.objectives, *BOXES[self.name])


def load(name: str) -> Space:
    """Return a space by the name of its file."""
    sweep = load_sweep(HERE / f"{name}.yaml")
    return Space(name, sweep, case_of(sweep))


def asked(space: Space, name: str, seed: int, points: int) -> Iterator[Outcome]:
    """Yield what the points of a search come to, in the order in which it asks for them."""
    objectives = space.sweep.objectives
    chosen = strategy(name, space.sweep.space, objectives, seed=seed, trials=points)
    while generation := chosen.ask():
        outcomes = [space.outcome(point) for point in generation]
        yield from outcomes
        chosen.tell(generation, [costs_of(outcome, objectives) for outcome in outcomes])


def volumes(space: Space, name: str, seeds: int, points: int) -> NDArray[np.float64]:
    """Return the volume after each point of the searches of several seeds, [seeds, points]."""
    rows = [
        {"strategy": name, "seed": seed, "state": outcome.state, "key": "", **outcome.metrics}
        for seed in range(seeds)
        for outcome in asked(space, name, seed, points)
    ]
    study = Study(space.name, header_of(space.sweep, space.case), pd.DataFrame(rows))
    found = np.empty((seeds, points))
    for each in attainment(study, space.box):
        # What was attained stays until more is; a search that runs dry keeps its last volume.
        places = np.searchsorted(each.points, np.arange(1, points + 1), side="right") - 1
        found[each.seed] = np.array(each.volume)[places]
    return found


def grid_box(space: Space) -> tuple[Box, float]:
    """Return the box of the whole grid, to see that `BOXES` holds it, and the grid's volume."""
    outcomes = [space.outcome(point) for point in space.sweep.space.grid()]
    rows = pd.DataFrame([each.metrics for each in outcomes if each.state == "OK"])
    objectives = space.sweep.objectives
    return Box.around(objectives, rows), space.box.volume(values_of(rows, objectives))


def compared(found: Volumes, prefix: str, grid: float) -> Iterator[tuple[str, float]]:
    """Yield medians in shares of the grid's volume, and each strategy against random."""
    last = {name: volume[:, -1] for name, volume in found.items()}
    for name, volume in last.items():
        yield f"{prefix}.{name}.median", float(np.median(volume)) / grid
        if name == "random":
            continue
        early = found[name][:, EARLY - 1] > found["random"][:, EARLY - 1]
        yield f"{prefix}.{name}.early", float(early.sum())
        yield f"{prefix}.{name}.wins", float((volume > last["random"]).sum())
        test = mannwhitneyu(volume, last["random"], alternative="greater")
        yield f"{prefix}.{name}.p", float(test.pvalue)


def needs(found: Volumes, long: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    """Yield the points that random needs for the median volume of the others, if `LONG` do."""
    median = np.median(long, axis=0)
    for name, volume in found.items():
        reached = np.flatnonzero(median >= np.median(volume[:, -1]))
        if name != "random" and len(reached):
            yield f"{name}.random_needs", float(reached[0] + 1)


def small(found: Volumes) -> dict[str, float]:
    """Return what the small form finds, out of its own runs or of the full ones."""
    cut = {name: found[name][:SMALL_SEEDS, :SMALL_POINTS] for name in SMALL_STRATEGIES}
    return dict(compared(cut, f"small.{SMALL_SPACE}", 1.0))


def draw(found: Mapping[str, Volumes], grids: Mapping[str, float], out: Path) -> None:
    """Draw medians and quartiles by number of points, in shares of the grid's volume."""
    with paper_figure(out, "search_against_random", width_in=7.0, height_in=2.3) as figure:
        for axes, (space, by_name) in zip(
            figure.subplots(1, len(found)), found.items(), strict=True
        ):
            for name, colour in STRATEGIES.items():
                shares = by_name[name] / grids[space]
                low, middle, high = np.quantile(shares, (0.25, 0.5, 0.75), axis=0)
                points = np.arange(1, len(middle) + 1)
                axes.plot(points, middle, color=colour, label=name)
                axes.fill_between(points, low, high, color=colour, alpha=0.2, lw=0)
            ticks = [2**power for power in range(3, POINTS.bit_length())]
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, map(str, ticks))
            axes.set(title=space, xlabel="points", xlim=(ticks[0], POINTS))
            worst = by_name["random"][:, ticks[0] - 1] / grids[space]
            axes.set_ylim(float(np.quantile(worst, 0.25)), 1.005)
        figure.axes[0].set_ylabel("volume, share of the whole grid's")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4
        )


def write(found: Mapping[str, Volumes], path: Path) -> None:
    """Write each volume by space, strategy, seed and number of points."""
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("space", "strategy", "seed", "points", "volume"))
        for space, by_name in found.items():
            for name, volume in by_name.items():
                out.writerows(
                    (space, name, seed, point + 1, f"{value:.6g}")
                    for (seed, point), value in np.ndenumerate(volume)
                )


def full(out: Path) -> tuple[dict[str, Volumes], dict[str, float]]:
    """Run everything and draw it; return volumes and ours by key."""
    found: dict[str, Volumes] = {}
    grids: dict[str, float] = {}
    ours: dict[str, float] = {}
    for name in BOXES:
        space = load(name)
        box, grids[name] = grid_box(space)
        print(f"{name}: {len(space.known)} points, best {box.best}, worst {box.worst}", flush=True)
        found[name] = {each: volumes(space, each, SEEDS, POINTS) for each in STRATEGIES}
        long = volumes(space, "random", SEEDS, LONG)
        ours |= dict(compared(found[name], name, grids[name]))
        ours |= {f"{name}.{key}": value for key, value in needs(found[name], long)}
        ours[f"{name}.grid"] = grids[name]
    draw(found, grids, out)
    return found, ours | small(found[SMALL_SPACE])


def main(argv: Sequence[str] | None = None) -> None:
    """Search; --small takes one space, two strategies and few points, and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few points, no figure")
    parser.add_argument(
        "--out", type=Path, default=Path("out/search_against_random"), help="folder for results"
    )
    args = parser.parse_args(argv)
    if args.small:
        space = load(SMALL_SPACE)
        runs = {each: volumes(space, each, SMALL_SEEDS, SMALL_POINTS) for each in SMALL_STRATEGIES}
        found, ours = {SMALL_SPACE: runs}, small(runs)
    else:
        found, ours = full(args.out)
    write(found, args.out / "volumes.csv")
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("search against random", claims))


if __name__ == "__main__":
    main()
