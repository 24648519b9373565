"""The command that checks datapaths bit for bit."""

import re
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.numerics.verify import Check

_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")


def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Datapath; without one: the list.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All datapaths.")] = False,
    shape: Annotated[
        str, typer.Option("--shape", metavar="MxNxK", help="Size of the product.")
    ] = "64x1024x4096",
    weight_format: Annotated[
        str | None,
        typer.Option("--weight-format", metavar="F", help="[default: what the datapath is for]"),
    ] = None,
    activation_format: Annotated[
        str | None,
        typer.Option("--activation-format", metavar="F", help="[default: likewise]"),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="KIND|FILE.npy",
            help="outlier_channels, gaussian, student_t, or weights (N, K) from a file.",
        ),
    ] = "outlier_channels",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of random operands.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check a datapath bit for bit against its specification.

    Prints how far its results are from float64. Exit code 1 if a bit differs.
    """
    from simulator.numerics.datapaths import DATAPATHS
    from simulator.numerics.verify import verify as check

    if every and name is not None:
        raise InputError("give a datapath or --all, not both")
    if not every and name is None:
        _list(as_json)
        return
    sizes = _sizes(shape)
    names = list(DATAPATHS) if every else [name or ""]
    found = []
    with output.progress(len(names), "checking", "datapaths") as done:
        for each in names:
            found.append(check(each, sizes, weight_format, activation_format, data, seed))
            if done is not None:
                done()
    if as_json:
        output.show_json({"checks": [_record(one) for one in found]})
    else:
        output.show(_table(found))
    if not all(one.bit_exact for one in found):
        raise typer.Exit(1)


def _sizes(text: str) -> tuple[int, int, int]:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise InputError(f"--shape: expected MxNxK, as 512x4096x4096, got {text!r}")
    m, n, k = (int(part) for part in match.groups())
    return m, n, k


def _list(as_json: bool) -> None:
    from simulator.numerics.datapaths import DATAPATHS

    keys = ("name", "summary", "weight_format", "activation_format")
    rows = [{key: getattr(path, key) for key in keys} for path in DATAPATHS.values()]
    if as_json:
        output.show_json({"datapaths": rows})
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        formats = f"{row['weight_format']} x {row['activation_format']}"
        output.show(f"{row['name']:<{width}}  {row['summary']} [{formats}]")


def _record(one: "Check") -> dict[str, Any]:
    """Return a check for JSON, where infinity (no error at all) is null."""
    return {
        "name": one.name,
        "bit_exact": one.bit_exact,
        "reference": one.reference,
        "sqnr_db": one.sqnr_db if isfinite(one.sqnr_db) else None,
        "max_ulp": one.max_ulp if isfinite(one.max_ulp) else None,
        "max_relative_error": (
            one.max_relative_error if isfinite(one.max_relative_error) else None
        ),
        "seconds": one.seconds,
        "shape": list(one.shape),
        "weight_format": one.weight_format,
        "activation_format": one.activation_format,
    }


def _table(found: list["Check"]) -> str:
    from simulator.results import Table

    rows = [
        (
            one.name,
            "yes" if one.bit_exact else "NO",
            f"{one.sqnr_db:.1f}",
            f"{one.max_ulp:.3g}",
            f"{one.max_relative_error:.3g}",
            f"{one.seconds:.2f}",
            f"{one.weight_format} x {one.activation_format}",
            one.reference,
        )
        for one in found
    ]
    heads = ("datapath", "exact", "SQNR dB", "ULP", "relative", "s", "formats", "compared with")
    m, n, k = found[0].shape
    note = (
        "exact: equal in every bit to its scalar specification at so many outputs; SQNR, largest "
        "error in ULP of the result and relative: against float64"
    )
    return Table(f"Datapaths, {m} x {n} x {k}", heads, tuple(rows), "<<>>>><<", note).text()
