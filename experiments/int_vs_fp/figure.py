"""The figure: SQNR over area of a MAC, integers and floats, without and with rotation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.report.paper import paper_figure
from simulator.report.style import FONT_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from run import Point

COLOURS = {"int": "#4477aa", "fp": "#ee7733"}
LABELS = {"int": "INT, 3 to 8 bits", "fp": "FP, 3 to 8 bits"}
TITLES = {"plain": "outlier channels", "rotated": "after Hadamard"}
#: Formats of standards: mark, and where their names stand, in points.
STANDARDS = {
    "mxint8": ("D", (-4, 4)),
    "mxfp8_e4m3": ("D", (2, -10)),
    "nvint4": ("s", (-13, 4)),
    "nvfp4": ("s", (17, -4)),
}
NAMES = {"mxint8": "MXINT8", "mxfp8_e4m3": "MXFP8", "nvint4": "NVINT4", "nvfp4": "NVFP4"}


def draw(points: "Sequence[Point]", folder: Path) -> None:
    """Write int_vs_fp.pdf and .png."""
    with paper_figure(folder, "int_vs_fp", height_in=2.6) as figure:
        both = figure.subplots(1, 2, sharey=True, sharex=True)
        for axes, (kind, title) in zip(both, TITLES.items(), strict=True):
            for family in COLOURS:
                _family(axes, points, family, kind)
            _standards(axes, points, kind)
            axes.set_title(title)
        both[0].set_xlim(60, 510)
        both[0].set_ylabel("SQNR of a product, dB")
        figure.supxlabel("area of a MAC at 28 nm, um$^2$", fontsize=FONT_PT)
        handles, labels = both[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)


def _family(axes: "Axes", points: "Sequence[Point]", family: str, kind: str) -> None:
    """Draw the formats of one family with a scale for 32 elements, the best of them joined."""
    own = [p for p in points if p.family == family and p.name.endswith("-g32")]
    own.sort(key=lambda p: p.cost.area_um2)
    nearest, best = float("-inf"), []
    for point in own:
        if point.sqnr_db[kind] > nearest:
            nearest = point.sqnr_db[kind]
            best.append(point)
    colour = COLOURS[family]
    axes.plot([p.cost.area_um2 for p in best], [p.sqnr_db[kind] for p in best], color=colour)
    where = [p.cost.area_um2 for p in own], [p.sqnr_db[kind] for p in own]
    axes.plot(*where, "o", color=colour, label=LABELS[family])


def _standards(axes: "Axes", points: "Sequence[Point]", kind: str) -> None:
    for point in points:
        if point.name in STANDARDS:
            mark, shift = STANDARDS[point.name]
            at = point.cost.area_um2, point.sqnr_db[kind]
            axes.plot(*at, mark, color=COLOURS[point.family], mfc="white", ms=4)
            axes.annotate(
                NAMES[point.name], at, shift, textcoords="offset points", fontsize=6, ha="center"
            )
