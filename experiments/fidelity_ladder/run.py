"""What does a low rung say of the designs that a high rung prefers? See README.md.

Writes claims.csv, agreement.csv, fronts.csv, searches.csv, misled.csv, the studies (NAME.db) and
the figure fidelity_ladder.pdf and .png to --out.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from agreement import Agreement, Fronts, agreements, farthest_reversed, fronts
from figure import draw
from halving import BUDGETS, Searched, searches
from ladder import FEW, RUNGS, SPACES, Ladder, climb
from mechanisms import mechanisms

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
#: The part has a budget of its own, as its small form must be quick.
BUDGETS_OF = {**dict.fromkeys(SPACES, BUDGETS), "few": BUDGETS[:1]}
SHARES = ("matrix_busy", "matrix_stalled", "dram_busy")
MISLED = ("space", "low", "high", "which", "design", *(f"{rung}_us" for rung in RUNGS), *SHARES)


def _write(columns: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        for row in rows:
            out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)


def misled(ladder: Ladder) -> Iterator[tuple[object, ...]]:
    """Yield for each pair of rungs the designs that show best where they differ.

    The fastest by each, the one they differ on most, and of those in opposite order the two that
    the lower rung has farthest apart.
    """
    for low, high in ladder.pairs:
        keys = ladder.common((low, high))
        latency = dict(zip(keys, ladder.values("latency_s", (low, high)), strict=True))
        by, first, second = farthest_reversed(*np.array(list(latency.values())).T)
        named = {
            "fastest by the lower": min(keys, key=lambda key: latency[key][0]),
            "fastest by the higher": min(keys, key=lambda key: latency[key][1]),
            "farthest apart": max(keys, key=lambda key: abs(latency[key][1] / latency[key][0] - 1)),
        }
        if by > 0:
            named |= {
                "reversed: faster by the lower": keys[first],
                "reversed: faster by the higher": keys[second],
            }
        for which, key in named.items():
            found = {rung: each.get(key) for rung, each in ladder.outcomes.items()}
            us = [1e6 * each.metrics["latency_s"] if each else "" for each in found.values()]
            shares = [ladder.outcomes[high][key].metrics[name] for name in SHARES]
            yield (ladder.name, low, high, which, _named(ladder, key), *us, *shares)


def _named(ladder: Ladder, key: str) -> str:
    """Return what of a design differs within its space."""
    varied = [each.name for each in ladder.sweep.space.dimensions if each.domain.size != 1]
    design = ladder.designs[key]
    return " ".join(f"{name.split('.')[-1]}={design[name]}" for name in varied if name in design)


def numbers(
    found: Iterable[Agreement], picked: Iterable[Fronts], searched: Iterable[Searched]
) -> Iterator[tuple[str, float]]:
    """Yield ours by key."""
    for each in found:
        key = f"{each.space}.{each.low}.{each.high}.{each.metric}"
        for name in ("spearman", "kendall", "median", "worst", "regret_1", "regret_5", "reversed"):
            yield f"{key}.{name}", getattr(each, name)
    for front in picked:
        yield f"{front.space}.{front.low}.{front.high}.lost", front.lost
    for search in searched:
        key = f"{search.space}.{search.search}.{search.rungs}.{search.goal}.{search.trials}"
        yield f"{key}.mean", search.mean


def main(argv: Sequence[str] | None = None) -> None:
    """Climb; --small takes 16 designs of one space on three rungs, and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="16 designs, no commands, no figure")
    parser.add_argument(
        "--out", type=Path, default=Path("out/fidelity_ladder"), help="folder for results"
    )
    args = parser.parse_args(argv)
    prepare_folder(args.out)
    if args.small:
        ladders = {"few": climb("decode", args.out, small=True)}
    else:
        ladders = {name: climb(name, args.out) for name in SPACES}
        ladders["few"] = ladders["decode"].part("few", FEW, RUNGS[:3])
    found = [each for ladder in ladders.values() for each in agreements(ladder)]
    picked = [each for ladder in ladders.values() for each in fronts(ladder)]
    searched = [each for name in ladders for each in searches(ladders[name], BUDGETS_OF[name])]
    _write(Agreement._fields, found, args.out / "agreement.csv")
    _write(Fronts._fields, picked, args.out / "fronts.csv")
    _write(Searched._fields, searched, args.out / "searches.csv")
    wrong = [row for ladder in ladders.values() for row in misled(ladder)]
    _write(MISLED, wrong, args.out / "misled.csv")
    if not args.small:
        draw({name: ladders[name] for name in SPACES}, searched, args.out)
    published = HERE / "published.csv"
    with published.open(newline="", encoding="utf-8") as file:
        asked = {row["key"] for row in csv.DictReader(file)}
    ours = dict(numbers(found, picked, searched))
    if not args.small:
        ours |= mechanisms(ladders["decode"])
    claims = read_claims(published, {key: ours[key] for key in ours if key in asked})
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("a ladder of rungs", claims))
    for name, ladder in ladders.items():
        times = ", ".join(f"{rung} {ladder.seconds(rung):.2g}" for rung in ladder.outcomes)
        print(f"{name}: about this many seconds a design, planning included: {times}")


if __name__ == "__main__":
    main()
