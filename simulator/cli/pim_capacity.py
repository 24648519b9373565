"""The command that says how long a context a memory that computes has room for."""

from typing import Annotated

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption


def capacity(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Whose keys and values.")],
    keys: Annotated[str, typer.Option("--keys", metavar="NAME|FILE", help="Their layout.")],
    values: Annotated[str, typer.Option("--values", metavar="NAME|FILE", help="Their layout.")],
    requests: Annotated[int, typer.Option("--requests", metavar="N", help="Equally long.")] = 1,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Of both.")] = "fp16",
    part: Annotated[
        str, typer.Option("--part", metavar="NAME|FILE", help="A memory that computes.")
    ] = "hbm3_banks",
    rows_taken: Annotated[
        int, typer.Option("--rows-taken", metavar="N", help="Of each bank, by weights.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """The longest context whose keys and values fit, by their layouts."""
    from simulator import formats
    from simulator.api import load_model
    from simulator.dram.pim.grouped_part import load_grouped
    from simulator.mapping.pim_layout import Geometry, load_layout
    from simulator.mapping.pim_storage import KeysAndValues, most_tokens, rows_of

    wanted, given, memory = load_model(model), formats.get(form), load_grouped(part)
    cached = KeysAndValues(
        layers=wanted.layers,
        heads=wanted.kv_heads,
        head_dim=wanted.head_dim,
        value_bits=given.value_bits,
        scale_bits=given.bits_per_value - given.value_bits,
    )
    laid = load_layout(keys), load_layout(values)
    geometry = Geometry.of(memory)
    tokens = most_tokens(*laid, cached, geometry, requests=requests, rows_taken=rows_taken)
    rows = rows_of(*laid, cached, geometry, tokens, requests) if tokens else 0
    if as_json:
        record = {"model": wanted.name, "part": memory.name, "requests": requests}
        output.show_json(record | {"tokens": tokens, "rows_per_bank": rows})
    else:
        output.show(
            f"{requests} x {tokens:,} tokens of {wanted.name} in {memory.name}, "
            f"{rows:,} rows of each bank"
        )
