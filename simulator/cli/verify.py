"""The command that checks datapaths bit for bit."""

import re
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.numerics.verify import Check, Request

_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE.yaml]",
            help="Datapath or function, or all that a processing element names; without: the list.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All datapaths and functions, on all cores.")
    ] = False,
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
            metavar="KIND|FILE",
            help="outlier_channels, gaussian, student_t, or weights (N, K) from FILE.npy or "
            "FILE.safetensors[:TENSOR].",
        ),
    ] = "outlier_channels",
    tensor: Annotated[
        str | None,
        typer.Option("--tensor", metavar="NAME", help="Which tensor of FILE.safetensors."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of random operands.")] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.png|.pdf|.svg",
            help="Draw how errors are distributed, in ULP.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a datapath bit for bit against its specification.

    Prints how far its results are from float64. Exit code 1 if a bit differs.
    """
    from simulator.numerics.verify import Request

    if every and name is not None:
        raise InputError("give a datapath or --all, not both")
    if not every and name is None:
        if picture is not None:
            raise InputError("--picture needs a datapath or --all")
        _list(as_json)
        return
    file, chosen = _tensor(data, tensor)
    request = Request(_sizes(shape), weight_format, activation_format, file, seed, chosen)
    if picture is not None:
        _prepare(picture)
    found = _found(name, request)
    if picture is not None:
        _draw(found, picture)
    if as_json:
        output.show_json({"checks": [_record(one) for one in found]})
    else:
        output.show(_table(found))
    if not all(one.bit_exact for one in found):
        raise typer.Exit(1)


def _found(name: str | None, request: "Request") -> list["Check"]:
    """Return the check of a name, or of all."""
    from simulator.numerics.verify import NAMES, verify_all
    from simulator.numerics.verify import verify as check

    if name is not None and _is_element(name):
        return [check(**each) for each in _of_element(name, request)]
    if name is not None:
        return [check(name, **vars(request))]
    with output.progress(len(NAMES), "checking", "datapaths") as done:
        return verify_all(request, done)


def _is_element(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def _of_element(file: str, request: "Request") -> list[dict[str, Any]]:
    """Return the arguments of `verify` for each pair of an element, in formats as in `compare`."""
    from simulator.design import formats_of, load_element

    if request.weight_format or request.activation_format:
        raise InputError(
            f"{file}: its pairs give the formats: leave out --weight-format and --activation-format"
        )
    pe = load_element(file)
    if not pe.kernels:
        raise InputError(f"{file}: kernels names no datapath that could be checked")
    return [
        {
            **vars(request),
            "name": pe.kernel(pair),
            "weight_format": formats_of(pe, pair)[0],
            "activation_format": formats_of(pe, pair)[1],
        }
        for pair in pe.kernels
    ]


def _prepare(picture: Path) -> None:
    """Refuse a picture that could not be kept, before time is spent on what it shows."""
    from simulator.report.style import picture_suffix
    from simulator.results import prepare_folder

    picture_suffix(picture)
    prepare_folder(picture.parent)


def _draw(found: list["Check"], picture: Path) -> None:
    from simulator.api import version
    from simulator.report.errors_picture import write_errors

    write_errors(found, picture, version())


def _tensor(data: str, tensor: str | None) -> tuple[str, str | None]:
    """Return file and tensor of FILE.safetensors:TENSOR, and anything else as it is."""
    from simulator.numerics.data import is_file

    file, mark, suffix = data.partition(".safetensors:")
    if mark:
        if tensor is not None:
            raise InputError("give --data FILE.safetensors:TENSOR or --tensor, not both")
        return f"{file}.safetensors", suffix
    if tensor is not None and not is_file(data):
        raise InputError("--tensor needs --data FILE.safetensors")
    return data, tensor


def _sizes(text: str) -> tuple[int, int, int]:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise InputError(f"--shape: expected MxNxK, as 512x4096x4096, got {text!r}")
    m, n, k = (int(part) for part in match.groups())
    return m, n, k


def _list(as_json: bool) -> None:
    from simulator.numerics.datapaths import DATAPATHS
    from simulator.numerics.function_paths import FUNCTIONS

    keys = ("name", "summary", "weight_format", "activation_format")
    rows: list[dict[str, str | None]] = [
        {key: getattr(path, key, None) for key in keys}
        for path in (*DATAPATHS.values(), *FUNCTIONS.values())
    ]
    if as_json:
        output.show_json({"datapaths": rows})
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        formats = _formats(row["weight_format"], row["activation_format"])
        output.show(f"{row['name']:<{width}}  {row['summary']} [{formats}]")


def _formats(weights: str | None, activations: str | None) -> str:
    """Return both formats of a datapath, the one of a function."""
    return " x ".join(each for each in (weights, activations) if each)


def _record(one: "Check") -> dict[str, Any]:
    """Return a check for JSON, where infinity (no error at all) is null."""
    record = asdict(one)
    for key, value in record.items():
        if isinstance(value, float) and not isfinite(value):
            record[key] = None
    return record


def _table(found: list["Check"]) -> str:
    from simulator.results import Table

    rows = [
        (
            one.name,
            "yes" if one.bit_exact else "NO",
            f"{one.sqnr_db:.1f}",
            f"{one.max_ulp:.3g}",
            f"{one.max_relative_error:.3g}",
            "" if one.zeroed_fraction is None else f"{100 * one.zeroed_fraction:.3g}",
            f"{one.overflows.operands}+{one.overflows.outputs}",
            f"{one.seconds:.2f}",
            _formats(one.weight_format, one.activation_format),
            one.reference,
        )
        for one in found
    ]
    heads = (
        "datapath",
        "exact",
        "SQNR dB",
        "ULP",
        "relative",
        "zeroed %",
        "overflow",
        "s",
        "formats",
        "compared with",
    )
    m, n, k = found[0].shape
    note = (
        "exact: equal in every bit to its scalar specification at so many outputs; SQNR, largest "
        "error in ULP of the result and relative: against float64; zeroed: operands that their "
        "format made 0; overflow: operands beyond their format + results not finite"
    )
    return Table(f"Datapaths, {m} x {n} x {k}", heads, tuple(rows), "<<>>>>>><<", note).text()
