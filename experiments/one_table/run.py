"""Every low-bit element on one area, one cost table and the same models: one table.

Writes claims.csv (published and ours), table.csv (all rows, gains over FP16 as intervals),
ranking.csv (ranks by energy at every DRAM constant) and the figure one_table.pdf and .png to --out.
README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from figure import ELEMENTS, draw
from gains import of_elements, of_papers, questions, rungs
from ranking import Place, places
from rows import Entry, baselines, energy_gain, entries, speed_up

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
MODELS = ("llama-2-7b", "llama-3-8b", "opt-6.7b")
POINTS = ("prefill/256", "decode/1", "decode/16", "decode/64")
SMALL = ("fp16_fma", "mixpe_w4a8", "figna", "axcore", "l_mul", "ternary_adder")
SMALL_WORKLOADS = ("llama-2-7b/decode/1", "llama-2-7b/prefill/256")
TABLE = (
    *("iso", "workload", "pe", "weights", "activations", "elements", "array_mm2", "sqnr_db"),
    *("latency_s", "tokens_per_s", "energy_j", "energy_low_j", "energy_high_j", "edp_js"),
    *("speed_up", "speed_up_low", "speed_up_high"),
    *("energy_gain", "energy_gain_low", "energy_gain_high", "edp_gain", "bound_by", "infeasible"),
)
RANKING = (
    *("iso", "workload", "dram_pj_per_bit", "rank", "pe", "weights", "activations", "sqnr_db"),
    *("energy_j", "energy_gain", "energy_gain_low", "energy_gain_high"),
    *("rank_best", "rank_worst", "flips"),
)


def _write(columns: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        # Six digits are more than a range of gates can bear, and equal on every machine.
        for row in rows:
            out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)


def table_rows(made: Sequence[Entry]) -> Iterable[Sequence[object]]:
    """Return the rows of table.csv; what does not run has no numbers."""
    bases = baselines(made)
    for entry in made:
        row, base = entry.row, bases[entry.point]
        head = (entry.iso, row.workload, *entry.pair, row.elements, row.array_mm2, row.sqnr_db)
        if row.infeasible:
            yield *head, *[""] * 14, row.infeasible
            continue
        yield (
            *head,
            *(row.latency_s, row.tokens_per_s),
            *(row.energy_j, row.energy_low_j, row.energy_high_j, row.edp_js),
            *speed_up(entry, base),
            *energy_gain(entry, base),
            *(base.row.edp_js / row.edp_js, row.bound_by, ""),
        )


def ranking_rows(ranked: Iterable[Place]) -> Iterable[Sequence[object]]:
    """Return the rows of ranking.csv."""
    for place in ranked:
        entry = place.entry
        yield (
            *(*entry.point, place.dram_pj, place.rank, *entry.pair, entry.row.sqnr_db),
            *(place.energy_j, *place.gain, place.best, place.worst, place.flips),
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Make the table; --small takes six elements, one model and two points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="six elements, one model, two points")
    parser.add_argument(
        "--out", type=Path, default=Path("out/one_table"), help="folder for results"
    )
    args = parser.parse_args(argv)
    workloads = [f"{model}/{point}" for model in MODELS for point in POINTS]
    made = entries(
        SMALL if args.small else sorted(ELEMENTS), SMALL_WORKLOADS if args.small else workloads
    )
    ranked = places(made)
    ours = of_elements()
    if not args.small:
        ours |= of_papers(made, MODELS) | questions(made, ranked) | rungs(workloads)
        draw(made, args.out)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    _write(TABLE, table_rows(made), args.out / "table.csv")
    _write(RANKING, ranking_rows(ranked), args.out / "ranking.csv")
    print(claims_text("low-bit elements on one table", claims))


if __name__ == "__main__":
    main()
