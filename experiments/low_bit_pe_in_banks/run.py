"""Low-bit elements in the banks of one HBM3 stack, and an array beside it: where do they cross?

Writes claims.csv, table.csv (each work by both sides), crossovers.csv, units.csv (area and power of
a bank's unit with their ranges) and the figure low_bit_pe_in_banks.pdf and .png to --out.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from banks import VECTORS, Design, in_banks
from cases import ELEMENTS, square
from figure import draw
from papers import of_papers
from pins import by_pins
from sweep import Crossover, Found, Row, sweep, units

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
UNITS = (
    *("element", "vectors_held", "elements_a_bank"),
    *("area_mm2_low", "area_mm2", "area_mm2_high"),
    *("power_mw_low", "power_mw", "power_mw_high"),
)


def _write(columns: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        for row in rows:
            out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)


def of_units() -> Iterator[tuple[str, float]]:
    """Yield area and power of units that hold as many vectors as the one that ships."""
    for element, held, _, _, area, _, _, power, _ in units():
        if held == VECTORS:
            yield f"{element}.area", float(str(area))
            yield f"{element}.power", float(str(power))


def of_arrays() -> Iterator[tuple[str, float]]:
    """Yield what a row of weights a cycle costs the array, and the closed form beside commands."""
    for label, element in ELEMENTS.items():
        one, whole = (by_pins(element, square(element, 1), rows) for rows in (1, 0))
        yield f"{label}.row", one.time_s / whole.time_s
        closed, issued = (
            in_banks(element, square(element, VECTORS), Design(), rung)
            for rung in ("analytic", "command")
        )
        yield f"{label}.closed", closed.time_s / issued.time_s


def of_rows(rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """Yield gains in the banks, by work and vectors."""
    for row in rows:
        if row.held != VECTORS or row.process != "nominal":
            continue
        key = f"{row.element}.{row.work}.{row.vectors}{'' if row.capped else '.free'}"
        yield f"{key}.time", row.faster
        yield f"{key}.energy", row.thriftier


def of_crossovers(found: Iterable[Crossover]) -> Iterator[tuple[str, float]]:
    """Yield batches from which the pins are as good, where there are any."""
    for each in found:
        if each.batch is not None:
            cap = "" if each.capped else ".free"
            yield f"{each.element}.{each.held}.{each.process}{cap}.{each.of}", float(each.batch)


def numbers(found: Found, asked: set[str]) -> dict[str, float]:
    """Return ours by key, of those that are asked for."""
    ours = {
        **of_papers(),
        **dict(of_units()),
        **dict(of_arrays()),
        **dict(of_rows(found.rows)),
        **dict(of_crossovers(found.crossovers)),
    }
    if "FP16.1.nominal.time" in ours:
        ours["ianus.crossover"] = ours["FP16.1.nominal.time"]
    return {key: value for key, value in ours.items() if key in asked}


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; --small takes one matrix and few designs, and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one matrix, few designs, no figure")
    parser.add_argument(
        "--out", type=Path, default=Path("out/low_bit_pe_in_banks"), help="folder for results"
    )
    args = parser.parse_args(argv)
    found = sweep(args.small)
    _write(Row._fields, found.rows, args.out / "table.csv")
    _write(Crossover._fields, found.crossovers, args.out / "crossovers.csv")
    _write(UNITS, units(), args.out / "units.csv")
    if not args.small:
        draw(found, args.out)
    published = HERE / "published.csv"
    with published.open(newline="", encoding="utf-8") as file:
        asked = {row["key"] for row in csv.DictReader(file)}
    claims = read_claims(published, numbers(found, asked))
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("low-bit elements in banks", claims))


if __name__ == "__main__":
    main()
