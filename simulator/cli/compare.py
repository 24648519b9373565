"""The commands that compare processing elements: side by side, and mechanism by mechanism."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption, RungOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.compare import Iso, Row
    from simulator.explain import Explanation
    from simulator.hardware.matrix import ProcessingElement

WORKLOADS = ("llama-2-7b/decode/1", "llama-2-7b/prefill/256")
#: What the frame's element multiplies: the row that ratios are taken to.
BASELINE_PAIR = "fp16xfp16"
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
    iso: Annotated[
        str,
        typer.Option(
            "--iso",
            metavar="area|elements",
            help="As many elements as fit on the area, or as many as FP16 ones.",
        ),
    ] = "area",
    rung: RungOption = "tile",
    as_json: JsonOption = False,
) -> None:
    """Compare processing elements on one area and cost table.

    Speed, energy, SQNR. All take the place of 768 FP16 elements (device edge_fp16) and are priced
    by gates. Exit code 3 if none of the designs can run.
    """
    from simulator.compare import chosen

    found = _compared(chosen(elements, against), workloads or list(WORKLOADS), _iso(iso), rung)
    if as_json:
        output.show_json({"rows": [_record(one) for one in found]})
    else:
        output.show("\n\n".join(_tables(found)))
    if all(one.row.infeasible for one in found):
        raise typer.Exit(3)


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME[:PAIR] or FILE[:PAIR].")],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise; by default the 1st pair.")],
    workload: Annotated[
        str, typer.Option("--workload", metavar="NAME", help=_WORKLOAD_HELP)
    ] = WORKLOADS[0],
    rung: RungOption = "tile",
    as_json: JsonOption = False,
) -> None:
    """Explain what makes element B faster than A.

    Speed-up and energy, one mechanism at a time: each step is a design that is simulated, factors
    multiply to the whole.
    """
    from simulator.explain import STEPS
    from simulator.explain import explain as explained

    with output.progress(STEPS, what="designs") as done:
        found = explained(first, second, workload, rung=rung, progress=done)
    if as_json:
        totals = {"speed_up": found.speed_up, "energy_gain": found.energy_gain}
        output.show_json({**asdict(found), **totals})
    else:
        output.show(_waterfall(found))


def _iso(text: str) -> "Iso":
    from simulator.config import unknown

    match text:
        case "area" | "elements":
            return text
        case _:
            raise InputError(unknown("--iso", text, ("area", "elements")))


def _compared(
    elements: list["ProcessingElement"], workloads: list[str], iso: "Iso", rung: str
) -> list[Compared]:
    """Return the rows of all pairs of all elements, workload by workload."""
    from simulator.api import load_device
    from simulator.compare import FRAME, compared
    from simulator.hardware.pricing import element_cells

    baseline = load_device(FRAME).matrix.pe
    jobs = [(pe, pair) for pe in elements for pair in pe.formats]
    for pe, pair in jobs:
        # What cannot be priced is refused before anything is simulated.
        element_cells(pe, pair)
    found = []
    with output.progress(len(workloads) * (1 + len(jobs)), "comparing", "designs") as done:

        def row(pe: "ProcessingElement", pair: str, workload: str) -> "Row":
            made = compared(pe, pair, workload, iso=iso, rung=rung)
            if done is not None:
                done()
            return made

        for workload in workloads:
            first = row(baseline, BASELINE_PAIR, workload)
            found += [Compared(row(pe, pair, workload), first) for pe, pair in jobs]
    return found


def _record(one: Compared) -> dict[str, Any]:
    """Return a row for JSON, where infinity is null."""
    ratios = {"speed_up": one.speed_up, "energy_ratio": one.energy_ratio}
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
        "   x: speed-up over the FP16 baseline, and energy over its; ranges, area, EDP: --json"
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
