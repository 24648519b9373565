"""NeuPIMs' four systems on first principles, and its own simulator's recorded iterations.

Writes claims.csv, cases.csv (a layer of every model, data set and batch on every system) and the
figure neupims.pdf and .png to --out. README.md says what was assumed.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lengths import NAMES, contexts
from reference import iterations, large
from systems import SPLITS, SYSTEMS, layer_us, step

from simulator.dram.pim.neupims import estimate_ticks, load_neupims
from simulator.mapping.policies import Policies, min_load, round_robin
from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.results import Result, prepare_folder

HERE = Path(__file__).parent
BATCHES = (64, 128, 256, 384, 512)
SHAREGPT = NAMES[0]
#: The points of the ablation and of the small run.
ABLATED, SMALL = ("7B", SHAREGPT), (64, 256)
COLOURS = dict(zip(SYSTEMS, ("#bbbbbb", "#e69f00", "#56b4e9", "#0072b2"), strict=True))
LABELS = dict(zip(SYSTEMS, ("GPU", "NPU", "NPU+PIM", "NeuPIMs"), strict=True))
CASES = ("model", "lengths", "batch", "system", "layer_us", "npu", "pim", "dram", "joules")


class Case(NamedTuple):
    """A model, the data set of its requests, and how many there are in all stages."""

    model: str
    lengths: str
    batch: int


def requests_of(case: Case) -> list[int]:
    """Return the contexts of the requests of one stage."""
    return contexts(case.lengths, case.batch // SPLITS[case.model].pp)


def run_case(case: Case) -> dict[str, Result]:
    """Return a decode step on every system."""
    return {system: step(system, SPLITS[case.model], requests_of(case)) for system in SYSTEMS}


def over(found: dict[str, Result], slower: str, faster: str = "neupims") -> float:
    """Return how much faster one system is than another."""
    return layer_us(found[slower]) / layer_us(found[faster])


def averages(cases: dict[Case, dict[str, Result]]) -> dict[str, float]:
    """Return the headline ratios, over all cases, and their extremes, by key of a claim."""
    pim = [over(found, "npu_pim") for found in cases.values()]
    share = {case: found for case, found in cases.items() if case.lengths == SHAREGPT}
    ours = {
        "avg.gpu": fmean(over(found, "gpu_only") for found in cases.values()),
        "avg.npu": fmean(over(found, "npu_only") for found in cases.values()),
        "avg.pim": fmean(pim),
        "avg.pim_over_npu": fmean(over(found, "npu_only", "npu_pim") for found in cases.values()),
        "least.pim": min(pim),
        "most.pim": max(pim),
        "most.npu": max(over(found, "npu_only") for found in cases.values()),
        "sharegpt.npu": fmean(over(found, "npu_only") for found in share.values()),
        "sharegpt.pim": fmean(over(found, "npu_pim") for found in share.values()),
        "sharegpt.pim_over_npu": fmean(
            over(found, "npu_only", "npu_pim") for found in share.values()
        ),
        "energy.npu": fmean(
            found["neupims"].energy_j / found["npu_only"].energy_j for found in cases.values()
        ),
    }
    used = cases[Case("30B", SHAREGPT, 256)]
    return ours | {
        "util.npu_pim.npu": used["npu_pim"].utilisation["matrix"],
        "util.neupims.npu": used["neupims"].utilisation["matrix"],
        "util.neupims.pim": used["neupims"].utilisation["pim"],
    }


def ablation(batches: Iterable[int]) -> dict[str, float]:
    """Return what each of the three ideas gains at each batch, by key of a claim."""
    ours: dict[str, float] = {}
    for batch in batches:
        case = Case(*ABLATED, batch)

        def layer(system: str, assignment: str, sub_batch: str, case: Case = case) -> float:
            policies = Policies(assignment=assignment, sub_batch=sub_batch)
            return layer_us(step(system, SPLITS[case.model], requests_of(case), policies))

        blocked = layer("npu_pim", "round_robin", "off")
        dual = layer("neupims", "round_robin", "off")
        dealt, split = (layer("neupims", "min_load", each) for each in ("off", "on"))
        ours |= {
            f"gain.{batch}.dual": blocked / dual,
            f"gain.{batch}.min_load": dual / dealt,
            f"gain.{batch}.sub_batch": dealt / split,
        }
    return ours


def imbalance() -> dict[str, float]:
    """Return the most loaded channel over the mean, by Algorithm 1, of our sample of 512."""
    part = load_neupims()
    shape = {"hidden": 1024, "heads": 8, "tp": 1}
    loads = [estimate_ticks(part, each, **shape) for each in contexts(SHAREGPT, 512)]
    found = {}
    for name, policy in (("round_robin", round_robin), ("min_load", min_load)):
        taken = [0] * part.channels
        for channel, load in zip(policy(loads, taken[:]), loads, strict=True):
            taken[channel] += load
        found[f"imbalance.{name}"] = max(taken) / fmean(taken)
    return found


def write_cases(cases: dict[Case, dict[str, Result]], folder: Path) -> None:
    """Write a row for every case and system."""
    path = prepare_folder(folder) / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CASES)
        for case, found in cases.items():
            for system, result in found.items():
                used = result.utilisation
                shares = [round(used.get(unit, 0.0), 4) for unit in ("matrix", "pim", "dram")]
                joules = round(result.energy_j, 6)
                writer.writerow((*case, system, round(layer_us(result), 3), *shares, joules))


def draw(cases: dict[Case, dict[str, Result]], folder: Path) -> None:
    """Draw requests a second of every system over those of NPU-only, by model and batch."""
    with paper_figure(folder, "neupims", height_in=4.6) as figure:
        axes = figure.subplots(len(SPLITS), len(NAMES), sharex=True, sharey=True)
        for row, model in enumerate(SPLITS):
            for column, name in enumerate(NAMES):
                plot = axes[row, column]
                for index, system in enumerate(SYSTEMS):
                    gains = [
                        over(cases[Case(model, name, batch)], "npu_only", system)
                        for batch in BATCHES
                    ]
                    places = [place + 0.2 * (index - 1.5) for place in range(len(BATCHES))]
                    plot.bar(places, gains, 0.2, color=COLOURS[system], label=LABELS[system])
                plot.axhline(1.0, color="black", lw=0.5)
                plot.set_title(f"{model}, {name.split('_')[0]}", fontsize=7)
                plot.set_xticks(range(len(BATCHES)), [str(batch) for batch in BATCHES])
        for plot in axes[-1]:
            plot.set_xlabel("requests")
        figure.supylabel("tokens/s over NPU-only", fontsize=7)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=1.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small takes two batches, the tiny iterations and no figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="two batches, tiny model, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/neupims"), help="folder for results")
    args = parser.parse_args(argv)
    ours = imbalance() | ablation(SMALL if args.small else BATCHES)
    ours |= iterations(small=args.small)
    if not args.small:
        cases = {
            case: run_case(case)
            for case in (
                Case(model, name, batch) for model in SPLITS for name in NAMES for batch in BATCHES
            )
        }
        ours |= averages(cases) | large()
        gains = [ours[f"gain.{batch}.dual"] for batch in BATCHES]
        ours["gain.dual"] = fmean(gains)
        write_cases(cases, args.out)
        draw(cases, args.out)
    claims: list[Claim] = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("NeuPIMs: four systems, and its simulator's own iterations", claims))


if __name__ == "__main__":
    main()
