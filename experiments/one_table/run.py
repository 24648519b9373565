"""Every low-bit element on one area, one cost table and the same models: one table.

Writes claims.csv (published and ours), holds.csv (published claims beside our intervals), table.csv
(all rows, gains over FP16 as intervals), ranking.csv (ranks by speed, and by energy at every DRAM)
and the figure one_table.pdf and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from figure import draw
from gains import of_elements, of_papers, of_waiting, questions, rungs
from intervals import Interval, energy_gain, load_of, speed_up
from ranking import Place, places
from rows import Entry, baselines, elements, entries, precision

from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.results import Table, prepare_folder

HERE = Path(__file__).parent
MODELS = ("llama-2-7b", "llama-3-8b", "opt-6.7b")
POINTS = ("prefill/256", "decode/1", "decode/16", "decode/64")
SMALL = ("fp16_fma", "mixpe_w4a8", "figna", "axcore", "l_mul", "ternary_adder")
SMALL_WORKLOADS = ("llama-2-7b/decode/1", "llama-2-7b/prefill/256")
TABLE = (
    *("iso", "workload", "precision", "pe", "weights", "activations"),
    *("elements", "array_mm2", "sqnr_db"),
    *("latency_s", "tokens_per_s", "energy_j", "energy_low_j", "energy_high_j"),
    *("dram_j", "dram_write_j", "dram_background_j", "mac_j", "attention_mac_j"),
    *("matrix_stalled_j", "matrix_idle_j", "edp_js"),
    *("speed_up", "speed_up_low", "speed_up_high"),
    *("energy_gain", "energy_gain_low", "energy_gain_high", "edp_gain"),
    *("bound_by", "priced_by", "infeasible"),
)
RANKING = (
    *("iso", "workload", "by", "dram", "dram_pj_per_bit", "among", "rank"),
    *("pe", "weights", "activations", "sqnr_db", "seconds_or_joules"),
    *("gain", "gain_low", "gain_high", "rank_best", "rank_worst", "flips"),
)
HOLDS = ("claim", "source", "published", "ours", "low", "high", "ratio", "holds", "why")


def _write(columns: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        # Six digits are more than a range of gates can bear, and equal on every machine.
        for row in rows:
            out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)


def table_rows(made: Sequence[Entry]) -> Iterable[Sequence[object]]:
    """Return the rows of table.csv; what does not run has no numbers."""
    bases = {point: load_of(entry) for point, entry in baselines(made).items()}
    for entry in made:
        row = entry.row
        head = (
            *(entry.iso, row.workload, precision(entry.pair), *entry.name),
            *(row.elements, row.array_mm2, row.sqnr_db),
        )
        if row.infeasible:
            yield *head, *[""] * 21, row.priced_by, row.infeasible
            continue
        pair = load_of(entry), bases[entry.point]
        speed, energy = speed_up([pair]), energy_gain([pair])
        yield (
            *head,
            *(row.latency_s, row.tokens_per_s),
            *(row.energy_j, row.energy_low_j, row.energy_high_j),
            *(row.dram_j, row.dram_write_j, row.dram_background_j, row.mac_j, row.attention_mac_j),
            *(row.matrix_stalled_j, row.matrix_idle_j, row.edp_js),
            *(*speed, *energy, speed.nominal * energy.nominal),
            *(row.bound_by, row.priced_by, ""),
        )


def ranking_rows(ranked: Iterable[Place]) -> Iterable[Sequence[object]]:
    """Return the rows of ranking.csv."""
    for place in ranked:
        entry, dram = place.entry, place.dram
        by = ("speed", "", "") if dram is None else ("energy", dram.name, dram.pj_per_bit)
        yield (
            *(*entry.point, *by, place.among, place.rank, *entry.name, entry.row.sqnr_db),
            *(place.value, *place.gain, place.best, place.worst, place.flips),
        )


def holds_rows(
    claims: Iterable[Claim], ours: Mapping[str, Interval | float]
) -> Iterable[tuple[object, ...]]:
    """Return the rows of holds.csv: published claims, and whether our interval has them."""
    for claim in claims:
        found = ours[claim.key]
        if claim.published is not None and isinstance(found, Interval):
            holds = "yes" if found.holds(claim.published) else "no"
            numbers = (claim.published, *found, claim.ratio)
            yield claim.claim, claim.source, *numbers, holds, claim.why


def holds_text(claims: Sequence[Claim], rows: Iterable[Sequence[object]]) -> str:
    """Return the rows of holds.csv as a table; reasons are those of the claim's number."""
    numbers = {(c.claim, c.source): str(i) for i, c in enumerate(claims, start=1)}
    cells = tuple(
        (
            *(numbers[str(claim), str(source)], str(claim)),
            *(f"{each:.3g}" if isinstance(each, float) else str(each) for each in rest),
        )
        for claim, source, *rest, _ in rows
    )
    heads = ("", "claim", *HOLDS[2:-1])
    return Table("published claims within our intervals", heads, cells, "><>>>>><").text()


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
        SMALL if args.small else elements(), SMALL_WORKLOADS if args.small else workloads
    )
    ranked = places(made)
    ours: dict[str, Interval | float] = {**of_elements()}
    if not args.small:
        ours |= of_papers(made, MODELS)
        ours |= questions(made, ranked) | rungs(workloads) | of_waiting()
        draw(made, args.out)
    numbers = {k: each.nominal if isinstance(each, Interval) else each for k, each in ours.items()}
    claims = read_claims(HERE / "published.csv", numbers)
    held = list(holds_rows(claims, ours))
    write_claims(claims, args.out / "claims.csv")
    _write(HOLDS, held, args.out / "holds.csv")
    _write(TABLE, table_rows(made), args.out / "table.csv")
    _write(RANKING, ranking_rows(ranked), args.out / "ranking.csv")
    print(claims_text("low-bit elements on one table", claims))
    print(holds_text(claims, held))


if __name__ == "__main__":
    main()
