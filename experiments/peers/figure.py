"""The figure: where the decode layer's cycles go, and the prefill layer's energy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from simulator.report.claims import Claim
from simulator.report.paper import paper_figure
from simulator.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SETTINGS = {"free": "no array edge", "double": "double-buffered", "scalesim": "SCALE-Sim's array"}
CAUSES = {
    "busy": ("multiplies", "#4477aa"),
    "memory": ("waits for memory", "#ee7733"),
    "weight_load": ("loads weights", "#ddbb33"),
    "fill_drain": ("fills and drains", "#aa3377"),
}
ENERGIES = {
    "energy.prefill.layer": "ours, whole layer",
    "energy.prefill.alone": "ours, each GEMM",
    "energy.prefill.accelforge": "by AccelForge's count",
    "energy.prefill.zigzag_columns": "ZigZag's, accumulators",
    "energy.prefill.zigzag": "ZigZag's, none",
}
COMPONENTS = {
    "matrix": ("MACs", "#4477aa"),
    "registers": ("PE registers", "#66ccee"),
    "scratchpad": ("scratchpad", "#aa3377"),
    "dram": ("DRAM", "#ee7733"),
}


class HasResult(Protocol):
    """A GEMM's run."""

    @property
    def result(self) -> Result:
        """Its result."""


def causes(runs: Sequence[HasResult]) -> dict[str, float]:
    """Return Mcycles of the matrix unit by what it did; waiting for memory is all the rest."""
    found = dict.fromkeys(CAUSES, 0.0)
    for run in runs:
        result = run.result
        matrix = next(unit for unit in result.units if unit.name == "matrix")
        scale = result.clock_hz / 1e18
        own = {
            "busy": matrix.busy_ps + matrix.stall_ps.get("operand", 0),
            "weight_load": matrix.stall_ps.get("weight_load", 0),
            "fill_drain": matrix.stall_ps.get("fill_drain", 0),
        }
        own["memory"] = result.latency_ps - sum(own.values())
        for name, ps in own.items():
            found[name] += ps * scale
    return found


def bars(
    axes: "Axes",
    rows: Mapping[str, Mapping[str, float]],
    legend: Mapping[str, tuple[str, str]],
    published: Mapping[str, Sequence[float]],
) -> None:
    """Draw one stacked bar a row, and published values as diamonds on it."""
    for place, (label, parts) in enumerate(rows.items()):
        left = 0.0
        for name, (_, colour) in legend.items():
            axes.barh(place, parts.get(name, 0.0), left=left, color=colour, height=0.62)
            left += parts.get(name, 0.0)
        points = published.get(label, ())
        axes.plot(points, [place] * len(points), "D", color="black", mfc="white", ms=4, zorder=3)
        text = f"{left:.3g}" if left < 10 else f"{left:.1f}"
        axes.annotate(
            text, (max([left, *points]), place), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.margins(x=0.16)
    handles = [axes.barh(0, 0, color=colour, label=name) for name, colour in legend.values()]
    handles += axes.plot([], [], "D", color="black", mfc="white", ms=4, label="published")
    axes.legend(handles=handles, loc="upper right", handlelength=1.0, labelspacing=0.3)


def draw(
    decode: Mapping[str, Sequence[HasResult]],
    energies: Mapping[str, Mapping[str, float]],
    claims: Sequence[Claim],
    folder: Path,
) -> None:
    """Write peers.pdf and peers.png to `folder`."""
    published: dict[str, list[float]] = {}
    for claim in claims:
        if claim.source.startswith("identity"):
            continue
        published.setdefault(claim.key, []).append(claim.published)
    with paper_figure(folder, "peers", height_in=3.1) as figure:
        top, bottom = figure.subplots(2, 1, height_ratios=(3, 5))
        bars(
            top,
            {label: causes(decode[setting]) for setting, label in SETTINGS.items()},
            CAUSES,
            {label: published.get(f"decode.{name}.alone", []) for name, label in SETTINGS.items()},
        )
        top.set_xlabel("decode layer, each GEMM alone (Mcycle)")
        own = {label: published[key] for key, label in ENERGIES.items() if "ours" not in label}
        bars(bottom, {label: energies[key] for key, label in ENERGIES.items()}, COMPONENTS, own)
        bottom.set_xlabel("prefill layer, energy (mJ)")
