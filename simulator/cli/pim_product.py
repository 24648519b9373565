"""The command that multiplies with any element in the banks of any memory that computes."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.engine.in_memory import Beside, InMemoryRun

POLICIES = ("concurrent", "exclusive")
RUNGS = ("analytic", "command")


def product(
    out: Annotated[int, typer.Option("--out", metavar="N", help="Outputs.")],
    inputs: Annotated[int, typer.Option("--in", metavar="N", help="Inputs.")],
    part: Annotated[
        str, typer.Option("--part", metavar="NAME|FILE", help="A memory that computes.")
    ] = "hbm3_banks",
    unit: Annotated[
        str, typer.Option("--unit", metavar="NAME|FILE", help="What multiplies at its banks.")
    ] = "fp16_in_bank",
    pe: Annotated[
        str | None, typer.Option("--pe", metavar="NAME|FILE", help="An element for the unit.")
    ] = None,
    weights: Annotated[str, typer.Option("--weights", metavar="FORMAT")] = "fp16",
    activations: Annotated[str, typer.Option("--activations", metavar="FORMAT")] = "fp16",
    vectors: Annotated[
        int, typer.Option("--vectors", metavar="B", help="Of each matrix: a batch, a group.")
    ] = 1,
    matrices: Annotated[int, typer.Option("--matrices", metavar="H", help="Of heads.")] = 1,
    layout: Annotated[
        str | None, typer.Option("--layout", metavar="NAME|FILE", help="Else the fastest found.")
    ] = None,
    load: Annotated[
        float, typer.Option("--load", metavar="L", help="Share of the bus that others ask for.")
    ] = 0.0,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="NAME", help="What they do, as of `memory`; else seq_bg."),
    ] = None,
    policy: Annotated[
        str, typer.Option("--policy", metavar="|".join(POLICIES), help="Who waits for whom.")
    ] = POLICIES[0],
    rung: Annotated[str, typer.Option("--rung", metavar="|".join(RUNGS))] = RUNGS[1],
    as_json: JsonOption = False,
) -> None:
    """Any element in the banks of any memory: a product, alone or beside reads and writes."""
    from simulator import formats
    from simulator.dram.pim.grouped_part import load_grouped
    from simulator.engine.in_memory import run_beside, run_product
    from simulator.hardware.pim_unit import load_pim_unit
    from simulator.mapping.pim_layout import load_layout
    from simulator.mapping.pim_product import Product

    began = time.perf_counter()
    wanted = Product(
        outputs=out,
        inputs=inputs,
        weights=formats.get(weights),
        activations=formats.get(activations),
        vectors=vectors,
        matrices=matrices,
    )
    memory, elements = load_grouped(part), load_pim_unit(unit, pe)
    laid = None if layout is None else load_layout(layout)
    waits: Any = {"policy": policy}
    how: Any = {"layout": laid, "rung": rung, **waits}
    run, beside = run_product(memory, elements, wanted, **how), None
    run.check()
    if stream is not None and not load:
        raise InputError("--stream needs --load")
    if load:
        chosen = stream or "seq_bg"
        beside = run_beside(memory, elements, run, load=load, stream=chosen, **waits)
        beside.product.check()
    wall_s = time.perf_counter() - began
    if as_json:
        output.show_json({**_record(run), **_of_requests(beside), "wall_time_s": wall_s})
    else:
        output.show(_table(run, beside, wall_s))


def _record(run: "InMemoryRun") -> dict[str, Any]:
    fit, point = run.plan.fit, run.plan.point
    return {
        "part": run.part,
        "unit": run.unit,
        "pe": run.pe,
        "weights": run.plan.product.weights.name,
        "activations": run.plan.product.activations.name,
        "stored": fit.tiles.stored.name,
        "values_per_column": fit.tiles.values,
        "layout": point.placement.layout.name,
        "held": point.held,
        "rung": run.rung,
        "cycles": run.cycles,
        "tick_ps": run.tick_ps,
        "time_s": run.time_s,
        "operations": run.plan.product.macs,
        "channels": run.channels,
        "utilisation": run.utilisation,
        "cadence_ticks": fit.cadence_ticks,
        "bound_by": fit.bound_by,
        "elements_per_bank": fit.tiles.elements,
        "area_per_bank_mm2": fit.area_mm2._asdict(),
        "power_per_bank_w": fit.power_w._asdict(),
        "commands": run.issued,
        "row_hit_rate": run.counts.row_hit_rate,
        "additions": point.partial_sums,
        "energy_j": run.energy_j,
    }


def _of_requests(beside: "Beside | None") -> dict[str, Any]:
    if beside is None:
        return {}
    return {
        "beside": {
            "cycles": beside.product.cycles,
            "slowdown": beside.slowdown,
            "requests": beside.requests,
            "requests_cycles": beside.request_cycles,
            "requests_alone_cycles": beside.alone_cycles,
            "read_latency_s": beside.read_latency_s,
            "energy_j": beside.product.energy_j,
        }
    }


def _table(run: "InMemoryRun", beside: "Beside | None", wall_s: float) -> str:
    from simulator.results import Table, engineering

    fit, point = run.plan.fit, run.plan.point
    area, power, given = fit.area_mm2, fit.power_w, run.plan.product
    rows = [
        ("time", f"{run.cycles:,} cycles, {engineering(run.time_s, 's', 4)}"),
        ("rate", engineering(run.plan.product.macs / run.time_s, "MAC/s", 4)),
        (
            "used",
            f"{run.channels} of {point.placement.geometry.channels} channels, "
            f"{run.utilisation:.1%} of what their multiplications could do",
        ),
        (
            "column",
            f"{fit.tiles.values} values of {fit.tiles.stored.name}, for {given.weights.name} x "
            f"{given.activations.name}; {fit.cadence_ticks} ticks, bound by the {fit.bound_by}",
        ),
        ("layout", f"{point.placement.layout.name}, lanes as the unit has them; {point.held} held"),
        ("commands", ", ".join(f"{name} {count:,}" for name, count in run.issued.items())),
        ("row hits", f"{run.counts.row_hit_rate:.1%}; {point.partial_sums:,} sums left to add"),
        (
            "unit",
            f"{fit.tiles.elements} x {run.pe}, {area.nominal:.3g} mm2 ({area.low:.2g} to "
            f"{area.high:.2g}) and {power.nominal * 1e3:.3g} mW a bank",
        ),
    ]
    rows.append(("energy", _joules(run.energy_j)))
    if beside is not None:
        rows += [
            (
                "beside",
                f"{beside.requests:,} requests: {beside.product.cycles:,} cycles, "
                f"{beside.slowdown:.3f} x",
            ),
            (
                "requests",
                f"done in {beside.request_cycles:,} cycles, {beside.alone_cycles:,} alone; a read "
                f"takes {engineering(beside.read_latency_s, 's', 3)}",
            ),
            ("energy of both", _joules(beside.product.energy_j)),
        ]
    rows.append(("wall time", engineering(wall_s, "s", 3)))
    return Table(f"{run.part}, {run.unit}, {run.rung}", ("", ""), tuple(rows), "<<", "").text()


def _joules(energies: dict[str, float]) -> str:
    from simulator.results import engineering

    return ", ".join(f"{name} {engineering(each, 'J', 3)}" for name, each in energies.items())
