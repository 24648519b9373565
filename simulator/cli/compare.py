"""The commands that compare processing elements: side by side, and mechanism by mechanism."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption, RungOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.compare import Row
    from simulator.design import Iso, Terms
    from simulator.explain import Explanation
    from simulator.hardware.area import Area
    from simulator.hardware.matrix import ProcessingElement

WORKLOADS = ("llama-2-7b/decode/1", "llama-2-7b/prefill/256")
#: What the frame's element multiplies: the row that ratios are taken to.
BASELINE_PAIR = "fp16xfp16"
ISOS = ("area", "elements", "chip")
_ISO_HELP = (
    "As many elements as fit on the array's area, as many as FP16 ones, or as many as fit on the "
    "whole chip beside as many vector lanes as suit the workload."
)
IsoOption = Annotated[str, typer.Option("--iso", metavar="|".join(ISOS), help=_ISO_HELP)]
WaitingOption = Annotated[
    float | None,
    typer.Option(
        "--waiting",
        metavar="PART",
        help="Part of its active power that a waiting unit burns, 0 to 1; the profile's without.",
    ),
]
SynthesisOption = Annotated[
    str | None,
    typer.Option(
        "--synthesis",
        metavar="FILE",
        help="CSV of pe,pair,area_um2,energy_pj in place of gates for its elements.",
    ),
]
DramOption = Annotated[
    str | None,
    typer.Option("--dram", metavar="NAME", help="DRAM energy in place of the frame's, or a file."),
]
_WORKLOAD_HELP = "MODEL/prefill/SEQUENCE or MODEL/decode/BATCH, at a context of 256"


@dataclass(frozen=True)
class Compared:
    """A row and the baseline's row on the same workload."""

    row: "Row"
    baseline: "Row"

    @property
    def speed_up(self) -> float:
        """How many times faster than the baseline; 0 for what does not run."""
        return self.baseline.latency_s / self.row.latency_s

    @property
    def energy_ratio(self) -> float:
        """Energy over that of the baseline; infinite for what does not run."""
        return self.row.energy_j / self.baseline.energy_j

    @property
    def per_array_area(self) -> float:
        """Speed-up per area of the array, over the baseline's; 0 for what does not run."""
        area = self.row.array_mm2 / self.baseline.array_mm2
        return self.speed_up and self.speed_up / area

    @property
    def per_chip_area(self) -> float:
        """Speed-up per area of the chip, over the baseline's; 0 for what does not run."""
        return self.speed_up and self.speed_up / self.chip

    @property
    def chip(self) -> float:
        """Area of the chip over the baseline's."""
        return self.row.chip_mm2 / self.baseline.chip_mm2


def compare(
    elements: Annotated[
        list[str],
        typer.Argument(metavar="PE...", help="Names of processing elements, or YAML files."),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="all|NAME", help="Others to compare with."),
    ] = None,
    workloads: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            help=f"{_WORKLOAD_HELP}; repeatable. [default: {' and '.join(WORKLOADS)}]",
        ),
    ] = None,
    iso: IsoOption = "area",
    waiting: WaitingOption = None,
    synthesis: SynthesisOption = None,
    dram: DramOption = None,
    rung: RungOption = "tile",
    as_json: JsonOption = False,
) -> None:
    """Compare processing elements on one area and cost table.

    Speed, energy, SQNR, and where the silicon is. All take the place of 768 FP16 elements (device
    edge_fp16) and are priced by gates. Exit code 3 if none of the designs can run.
    """
    from simulator.compare import chosen
    from simulator.hardware.area import LEFT_OUT

    terms = _terms(iso=_iso(iso), waiting=waiting, rung=rung, synthesis=synthesis, dram=dram)
    found = _compared(chosen(elements, against), workloads or list(WORKLOADS), terms)
    if as_json:
        options = {"iso": iso, "waiting": waiting, "rung": rung}
        options |= {"synthesis": synthesis, "dram": dram}
        rows = [_record(one) for one in found]
        output.show_json({"rows": rows, "options": options, "area_left_out": LEFT_OUT})
    else:
        output.show("\n\n".join([*_tables(found), *_areas(found)]))
    if all(one.row.infeasible for one in found):
        raise typer.Exit(3)


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME[:PAIR] or FILE[:PAIR].")],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise; by default the 1st pair.")],
    workload: Annotated[
        str, typer.Option("--workload", metavar="NAME", help=_WORKLOAD_HELP)
    ] = WORKLOADS[0],
    iso: IsoOption = "area",
    waiting: WaitingOption = None,
    synthesis: SynthesisOption = None,
    dram: DramOption = None,
    rung: RungOption = "tile",
    as_json: JsonOption = False,
) -> None:
    """Explain what makes element B faster than A.

    Speed-up and energy, one mechanism at a time: each step is a design that is simulated, factors
    multiply to the whole.
    """
    from simulator.explain import STEPS
    from simulator.explain import explain as explained

    terms = _terms(iso=_iso(iso), waiting=waiting, rung=rung, synthesis=synthesis, dram=dram)
    with output.progress(STEPS, what="designs") as done:
        found = explained(first, second, workload, terms, progress=done)
    if as_json:
        totals = {"speed_up": found.speed_up, "energy_gain": found.energy_gain}
        output.show_json({**asdict(found), **totals})
    else:
        output.show(_waterfall(found))


def _iso(text: str) -> "Iso":
    from simulator.config import unknown

    match text:
        case "area" | "elements" | "chip":
            return text
        case _:
            raise InputError(unknown("--iso", text, ISOS))


def _terms(*, synthesis: str | None, dram: str | None, **options: Any) -> "Terms":
    """Return the terms of a comparison; files are read."""
    from simulator.cost import load_dram_energy, load_synthesis
    from simulator.design import Terms

    return Terms(
        synthesis=None if synthesis is None else load_synthesis(synthesis),
        dram=None if dram is None else load_dram_energy(dram),
        **options,
    )


def _compared(
    elements: list["ProcessingElement"], workloads: list[str], terms: "Terms"
) -> list[Compared]:
    """Return the rows of all pairs of all elements, workload by workload."""
    from simulator.compare import compared
    from simulator.hardware.pricing import check_synthesis, element_cells

    baseline = terms.array.pe
    if terms.synthesis is not None:
        check_synthesis(terms.synthesis, [*elements, baseline])
    jobs = [(pe, pair) for pe in elements for pair in pe.formats]
    for pe, pair in jobs:
        # What cannot be priced is refused before anything is simulated.
        element_cells(pe, pair)
    found = []
    with output.progress(len(workloads) * (1 + len(jobs)), "comparing", "designs") as done:

        def row(pe: "ProcessingElement", pair: str, workload: str) -> "Row":
            made = compared(pe, pair, workload, terms)
            if done is not None:
                done()
            return made

        for workload in workloads:
            first = row(baseline, BASELINE_PAIR, workload)
            found += [Compared(row(pe, pair, workload), first) for pe, pair in jobs]
    return found


def _record(one: Compared) -> dict[str, Any]:
    """Return a row for JSON, where infinity is null."""
    ratios = {
        "speed_up": one.speed_up,
        "energy_ratio": one.energy_ratio,
        "speed_up_per_array_area": one.per_array_area,
        "speed_up_per_chip_area": one.per_chip_area,
    }
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value
        for key, value in {**asdict(one.row), **ratios}.items()
    }


def _tables(found: list[Compared]) -> list[str]:
    """Return a table a workload; what the columns mean stands below the last."""
    workloads = dict.fromkeys(one.row.workload for one in found)
    by_workload = [[one for one in found if one.row.workload == each] for each in workloads]
    return [_table(rows, last=rows is by_workload[-1]) for rows in by_workload]


def _table(found: list[Compared], *, last: bool) -> str:
    from simulator.results import Table, engineering

    baseline = found[0].baseline
    heads = ("PE", "number", "SQNR", "latency", "x", "energy", "x", "bound by", "formats")
    note = (
        "number: of elements in the array; SQNR in dB, of a product: quantisation and datapath;\n"
        "   x: speed-up over the FP16 baseline, and energy over its; ranges, states, EDP: --json"
    )
    title = (
        f"{baseline.workload}; FP16 baseline: {baseline.elements:,} of {baseline.pe}, "
        f"{engineering(baseline.latency_s, 's', 3)}, {engineering(baseline.energy_j, 'J', 3)}"
    )
    cells = tuple(_cells(one) for one in found)
    return Table(title, heads, cells, "<>>>>>><<", note if last else "").text()


def _cells(one: Compared) -> tuple[str, ...]:
    from simulator.results import engineering

    row = one.row
    number, sqnr = str(row.elements), f"{row.sqnr_db:.1f}"
    formats = f"{row.weights} x {row.activations}"
    if not row.priced_by.startswith("gates"):
        formats += f"; priced by {row.priced_by}"
    if row.infeasible:
        return (row.pe, number, sqnr, *5 * ("-",), f"{formats}; infeasible: {row.infeasible}")
    return (
        *(row.pe, number, sqnr),
        engineering(row.latency_s, "s", 3),
        f"{one.speed_up:.2f}",
        engineering(row.energy_j, "J", 3),
        f"{one.energy_ratio:.2f}",
        *(row.bound_by, formats),
    )


def _areas(found: list[Compared]) -> list[str]:
    """Return the table of areas: a line a design, the baseline first; none if nothing fits."""
    from simulator.hardware.area import LEFT_OUT
    from simulator.results import Table

    rows = (*(one.baseline for one in found), *(one.row for one in found))
    priced = [(row, row.area) for row in rows if row.area is not None]
    if not priced:
        return []
    # A design of several pairs and workloads has one line; by "chip" an element may be in several.
    lines = dict.fromkeys(_area_cells(row, area) for row, area in priced)
    factor = priced[0][1].placement_factor
    heads = (
        *("PE", "number", "logic", "regs", "sums", "edges", "beside", "array"),
        *("lanes", "vector", "SRAM", "chip"),
    )
    left_out = "\n".join(f"   {part}: {why}" for part, why in LEFT_OUT.items())
    note = (
        f"logic to beside: gates, placed (x {factor:g}); regs: of operands; sums: accumulators;\n"
        "   vector: lanes; SRAM: buffers; speed-up per area: --json; left out of the chip:\n"
    )
    return [Table("Area, mm2", heads, tuple(lines), "<>>>>>>>>>>>", note + left_out).text()]


def _area_cells(row: "Row", area: "Area") -> tuple[str, ...]:
    gates = (area.logic, area.operand_registers, area.accumulators, area.edges, area.beside)
    return (
        *(row.pe, str(row.elements)),
        *(f"{mm2:.3f}" if mm2 else "" for mm2 in gates),
        *(f"{area.array_mm2:.3f}", str(row.lanes)),
        *(f"{mm2:.3f}" for mm2 in (area.vector_unit, area.buffers, area.chip_mm2)),
    )


def _waterfall(found: "Explanation") -> str:
    from simulator.results import Table, engineering

    rows = [
        (
            step.mechanism,
            str(step.elements),
            engineering(step.latency_s, "s", 3),
            f"{step.speed_up:.3f}" if number else "",
            engineering(step.energy_j, "J", 3),
            f"{step.energy_gain:.3f}" if number else "",
            step.design,
        )
        for number, step in enumerate(found.steps)
    ]
    whole = (f"{found.speed_up:.3f}", "", f"{found.energy_gain:.3f}", f"{found.b} over {found.a}")
    heads = ("switched", "number", "latency", "x", "energy", "x", "design simulated")
    note = (
        "number: of elements in the array; x: times faster, or less energy, than the line above;\n"
        "   factors multiply to the whole and depend on the order of the lines"
    )
    title = f"From {found.a} to {found.b}, {found.workload}"
    return Table(title, heads, (*rows, ("product", "", "", *whole)), "<>>>>><", note).text()
