"""The figure: time of a decode step and of a prompt over area, for each bandwidth."""

from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, SMALL_PT, WIDTH_IN
from simulator.search.analysis import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, by format of weights.
COLOURS = {
    "fp16": "#555555",
    "int8-channel": "#0072b2",
    "int4-g128": "#d55e00",
    "bitmod4": "#009e73",
    "bitmod3": "#cc79a7",
}
MARKS = {
    "fp16_dequant": "s",
    "int8_mac": "o",
    "mixpe_w4a8": "^",
    "lut_fp16": "D",
    "bitmod": "v",
    "unpu": "P",
}
#: The most area, mm2.
LIMIT = 8.0
#: Metric, its unit in the figure, what it is called, and the marks of its axis.
ROWS = (
    ("decode.tbt_s", 1e3, "decode step, 4 requests (ms)", (40, 60, 80, 100, 150, 200, 300)),
    ("prefill.ttft_s", 1.0, "prompt of 512 tokens (s)", (0.5, 0.7, 1, 2, 3, 4, 7)),
)
#: How near two labels may be: mm2, and the logarithm of the other axis.
NEAR = 0.62, 0.14


def scattered(axes: "Axes", points: "pd.DataFrame", name: str, unit: float, *, on: bool) -> None:
    """Draw points over area, filled where they are on the front."""
    for (pe, weights), some in points.groupby(["device.matrix.pe", "workload.weights"]):
        axes.plot(
            some["area_mm2"], unit * some[name], MARKS[pe], ls="", color=COLOURS[weights],
            ms=4.0 if on else 2.2, mfc=COLOURS[weights] if on else "none", mew=0.5,
            alpha=1.0 if on else 0.35, zorder=3 if on else 1,
        )  # fmt: skip


def steps_of(points: "pd.DataFrame", name: str) -> list[dict[str, Any]]:
    """Return the points that are a hundredth faster than all on less area, by area."""
    best, steps = float("inf"), []
    for row in points.sort_values(["area_mm2", name]).to_dict("records"):
        if row[name] < 0.99 * best:
            best = row[name]
            steps.append(row)
    return steps


def stairs(axes: "Axes", points: "pd.DataFrame", name: str, unit: float) -> None:
    """Draw the best of each format up to an area, with the shapes of arrays where there is room."""
    told: list[tuple[float, float]] = []
    for weights, colour in COLOURS.items():
        steps = steps_of(points[points["workload.weights"] == weights], name)
        places = [(row["area_mm2"], unit * row[name]) for row in steps]
        areas, times = zip(*places, (LIMIT, places[-1][1]), strict=True)
        axes.step(areas, times, where="post", color=colour, lw=0.8, zorder=2)
        for row, (area, time) in zip(steps, places, strict=True):
            if any(abs(area - x) < NEAR[0] and abs(log(time / y)) < NEAR[1] for x, y in told):
                continue
            told.append((area, time))
            axes.annotate(
                f"{row['device.matrix.rows']}x{row['device.matrix.columns']}", (area, time),
                xytext=(3, 3.5), textcoords="offset points", fontsize=SMALL_PT - 1, color=colour,
                zorder=4,
            )  # fmt: skip


def draw(study: Study, folder: Path) -> None:
    """Write pe_array_front.pdf and pe_array_front.png to `folder`."""
    from matplotlib.lines import Line2D

    bandwidths = list(study.table["device.memory.bandwidth"].unique())
    with paper_figure(folder, "pe_array_front", height_in=5.2, width_in=WIDTH_IN) as figure:
        panels = figure.subplots(2, len(bandwidths), sharex=True, sharey="row")
        for (name, unit, label, marks), line in zip(ROWS, panels, strict=True):
            for bandwidth, axes in zip(bandwidths, line, strict=True):
                here = study.kept[study.kept["device.memory.bandwidth"] == bandwidth]
                on = here.index.isin(study.front.index)
                scattered(axes, here[~on], name, unit, on=False)
                scattered(axes, here[on], name, unit, on=True)
                stairs(axes, here, name, unit)
                axes.set_yscale("log")
                axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
                axes.minorticks_off()
                axes.grid(color=FAINT, lw=0.3, alpha=0.5, zorder=0)
            line[0].set_ylabel(label)
        for bandwidth, axes in zip(bandwidths, panels[0], strict=True):
            axes.set_title(bandwidth)
        for axes in panels[-1]:
            axes.set_xlabel("area (mm2)")
        formats = [Line2D([], [], color=c, lw=2, label=name) for name, c in COLOURS.items()]
        elements = [
            Line2D([], [], marker=m, ls="", color="#555555", label=name)
            for name, m in MARKS.items()
        ]
        figure.legend(handles=[*formats, *elements], loc="outside upper center", ncols=6)
