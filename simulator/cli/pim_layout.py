"""The command that says what a layout of a matrix costs in a memory that computes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption

if TYPE_CHECKING:
    from simulator.mapping.pim_layout import Placement
    from simulator.mapping.pim_storage import SharedWeights


def layout(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A layout.")],
    out: Annotated[int, typer.Option("--out", metavar="N", help="Outputs; of keys, tokens.")],
    inputs: Annotated[int, typer.Option("--in", metavar="N", help="Inputs; of values, tokens.")],
    matrices: Annotated[int, typer.Option("--matrices", metavar="H", help="Of heads.")] = 1,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Of values.")] = "fp16",
    part: Annotated[
        str, typer.Option("--part", metavar="NAME|FILE", help="A memory that computes.")
    ] = "hbm3_banks",
    tile: Annotated[
        int, typer.Option("--tile", metavar="N", help="Of an NPU that reads it too, each way.")
    ] = 128,
    as_json: JsonOption = False,
) -> None:
    """What a layout costs: rows, row hits, appends of a token, reads of an NPU."""
    from simulator import formats
    from simulator.dram.pim.grouped_part import load_grouped
    from simulator.engine.in_memory import append_ticks
    from simulator.mapping.pim_layout import Geometry, Shape, load_layout, placed
    from simulator.mapping.pim_storage import append, shared_weights

    given, memory = formats.get(form), load_grouped(part)
    shape = Shape(
        outputs=out,
        inputs=inputs,
        matrices=matrices,
        value_bits=given.value_bits,
        scale_bits=given.bits_per_value - given.value_bits,
    )
    placement = placed(load_layout(name), shape, Geometry.of(memory))
    appends = {
        "output": append(placement, "outputs", out - 1),
        "input": append(placement, "inputs", inputs - 1),
    }
    ticks = {
        "output": append_ticks(memory, placement, "outputs", out - 1),
        "input": append_ticks(memory, placement, "inputs", inputs - 1),
    }
    shared = shared_weights(placement, tile, tile)
    record = {
        "layout": placement.layout.name,
        "part": memory.name,
        "rows_per_bank": placement.rows,
        "rows_of_bank": placement.geometry.rows,
        "multiplies": placement.bursts,
        # Each row is opened once.
        "row_hit_rate": 1 - placement.rows_used / placement.bursts,
        "padding": placement.padding,
        "append": {name: vars(each) | {"ticks": ticks[name]} for name, each in appends.items()},
        "tick_ps": memory.memory.tick_ps,
        "shared_weights": vars(shared),
    }
    if as_json:
        output.show_json(record)
    else:
        output.show(_table(placement, record, shared))


def _table(placement: "Placement", record: dict[str, Any], shared: "SharedWeights") -> str:
    from simulator.results import Table, engineering

    rows = [
        ("rows", f"{placement.rows:,} of {placement.geometry.rows:,} of each bank"),
        ("multiplies", f"{placement.bursts:,}, {record['row_hit_rate']:.1%} of them in open rows"),
        ("padding", f"{placement.padding:.1%} of what they reach"),
    ]
    for name, each in record["append"].items():
        time_s = each["ticks"] * record["tick_ps"] * 1e-12
        rows.append(
            (
                f"append an {name}",
                f"{engineering(time_s, 's', 3)}: {each['bursts']:,} bursts, "
                f"{each['bursts_partly']:,} read first; rows {each['rows']:,}, banks "
                f"{each['banks']:,}, channels {each['channels']:,}",
            )
        )
    rows += [
        (
            "read by an NPU",
            f"{shared.run_bursts:.3g} bursts on end, {shared.row_hit_rate:.1%} row hits, "
            f"{shared.useful:.1%} of use",
        ),
        (
            "a copy for it",
            f"{shared.own_run_bursts:.3g} bursts on end for {engineering(shared.copy_bytes, 'B')}, "
            f"{shared.copy_rows:,} rows of each bank, and "
            f"{engineering(shared.conversion_bytes, 'B')} moved",
        ),
    ]
    title = f"{placement.layout.name}, {placement.shape.words()} in {record['part']}"
    return Table(title, ("", ""), tuple(rows), "<<", "").text()
