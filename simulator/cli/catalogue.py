"""Commands that list what there is: devices, models, formats."""

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption

if TYPE_CHECKING:
    from simulator.formats import Format


def devices(as_json: JsonOption = False) -> None:
    """List the devices and how faithful each is."""
    from simulator.api import device_names, load_device

    rows = [load_device(name) for name in device_names()]
    if as_json:
        keys = ("name", "summary", "fidelity", "source")
        output.show_json({"devices": [{key: getattr(row, key) for key in keys} for row in rows]})
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        output.show(f"{row.name:<{width}}  {row.summary} [{row.fidelity}]")


def models(as_json: JsonOption = False) -> None:
    """List the models and their parameters."""
    from simulator.api import load_model, model_names

    rows = [load_model(name) for name in model_names()]
    if as_json:
        keys = ("name", "summary", "parameters", "max_context", "source")
        output.show_json({"models": [{key: getattr(row, key) for key in keys} for row in rows]})
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        output.show(f"{row.name:<{width}}  {row.parameters:>15,} parameters  {row.summary}")


def formats(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Formats, as int4-g64-asym, or shorthands."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List number formats and exact bits per value.

    Scales, zero points and other metadata are included.
    """
    from simulator.formats import ALL, SHORTHANDS, get

    chosen = names or [*ALL, *SHORTHANDS]
    listed = [get(name) for name in chosen if name not in SHORTHANDS]
    shorthands = {name: SHORTHANDS[name] for name in chosen if name in SHORTHANDS}
    if as_json:
        parts = ("weights", "activations", "kv")
        expanded = {key: dict(zip(parts, used, strict=True)) for key, used in shorthands.items()}
        content = {"formats": [_record(one) for one in listed], "shorthands": expanded}
        output.show_json(content)
        return
    tables = [_format_table(listed)] if listed else []
    tables += [_shorthand_table(shorthands)] if shorthands else []
    output.show("\n\n".join(tables))


def _record(one: "Format") -> dict[str, Any]:
    bits = one.bits_per_value
    return {
        "name": one.name,
        "kind": one.kind,
        "granularity": one.granularity,
        "group": one.group,
        "value_bits": float(one.value_bits),
        "metadata_bits_per_group": one.metadata_bits_per_group,
        "outer": one.outer,
        "outer_bits": one.outer_bits,
        "bits_per_value": float(bits),
        "bits_per_value_exact": str(bits),
    }


def _format_table(listed: list["Format"]) -> str:
    from simulator.formats import PATTERNS
    from simulator.results import Table

    rows = [
        (
            one.name,
            one.kind,
            exact(one.value_bits),
            str(one.metadata_bits_per_group or ""),
            "" if one.granularity == "none" else str(one.group or one.granularity),
            bits_text(one),
        )
        for one in listed
    ]
    heads = ("format", "kind", "payload", "metadata", "shared by", "bits per value")
    note = (
        "suffixes: -gN group, -channel, -token, -tensor, then -asym, -s8, -s32; K: length of the "
        f"reduction; families, of which a few are listed: {PATTERNS}"
    )
    return Table("Formats", heads, tuple(rows), "<<>>>>", note).text()


def _shorthand_table(shorthands: dict[str, tuple[str, str, str]]) -> str:
    from simulator.formats import get
    from simulator.results import Table

    rows = []
    for name, parts in shorthands.items():
        cells = [cell for part in parts for cell in (part, bits_text(get(part)))]
        rows.append((name, *cells))
    heads = ("shorthand", "weights", "bits", "activations", "bits", "KV cache", "bits")
    return Table("Shorthands", heads, tuple(rows), "<<><><>").text()


def bits_text(one: "Format") -> str:
    """Write the exact bits per value; a scale per vector is spread over its K values."""
    text = exact(one.bits_per_value)
    if one.granularity in ("channel", "token"):
        text += f" + {one.metadata_bits_per_group}/K"
    return f"{text} + {one.outer_bits}/K" if one.outer == "channel" else text


def exact(value: Fraction) -> str:
    """Write a fraction as a decimal where that ends within six places, else as a fraction."""
    scaled = value * 10**6
    return f"{float(value):.6f}".rstrip("0").rstrip(".") if scaled.denominator == 1 else str(value)
