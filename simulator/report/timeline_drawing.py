"""Drawing of the timeline: the panels, the names on the blocks, the legend and the footer."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.report.style import FAINT, FONT_PT, INK, SMALL_PT, colours
from simulator.report.timeline import BINS, Block, Coarse, Detail, TimelineInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COARSE_ROW_IN = 0.26
DETAIL_ROW_IN = 0.48
LEGEND_ROW_IN = 0.17
HEAD_IN = 0.28
AXIS_IN = 0.36
FOOTER_IN = 0.3
LEGEND_COLUMNS = 6
PALE = 0.3
"""Opacity of the part of a block in which the unit did not work."""

LEAST_WIDTH = 0.0015
"""Width of the narrowest block drawn, as a part of the panel: work stays visible."""


def timeline_height_in(info: TimelineInfo) -> float:
    """Return the height in inches that the rows, the legend and the footer need."""
    coarse = HEAD_IN + AXIS_IN + COARSE_ROW_IN * len(info.units) if info.coarse else 0.0
    detail = HEAD_IN + AXIS_IN + DETAIL_ROW_IN * len(info.units)
    return coarse + detail + LEGEND_ROW_IN * _legend_rows(info) + FOOTER_IN


def draw_timeline(info: TimelineInfo, figure: "Figure") -> None:
    """Draw the panels, the legend and the footer on an empty figure of the right height."""
    width, height = figure.get_size_inches()
    left = 0.2 + 0.062 * max(len(name) for name in info.units)
    top = height
    if info.coarse:
        axes = _panel(figure, info, left, top, COARSE_ROW_IN)
        _draw_coarse(info, info.coarse, axes)
        top -= HEAD_IN + AXIS_IN + COARSE_ROW_IN * len(info.units)
    _draw_detail(info, _panel(figure, info, left, top, DETAIL_ROW_IN))
    _draw_legend(info, figure)
    figure.text(0.1 / width, 0.05 / height, info.footer, size=SMALL_PT, color=FAINT)


def _panel(figure: "Figure", info: TimelineInfo, left: float, top: float, row: float) -> "Axes":
    """Add axes with one row a unit, the first on top; sizes in inches, `top` from below."""
    width, height = figure.get_size_inches()
    size = row * len(info.units)
    box = (left / width, (top - HEAD_IN - size) / height, 1 - (left + 0.15) / width, size / height)
    axes = figure.add_axes(box)
    axes.set_ylim(len(info.units), 0)
    axes.set_yticks([index + 0.5 for index in range(len(info.units))], info.units)
    axes.hlines(
        range(1, len(info.units)), 0, 1, FAINT, lw=0.3, transform=axes.get_yaxis_transform()
    )
    axes.tick_params(labelsize=FONT_PT, width=0.5, length=2)
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    return axes


def _draw_coarse(info: TimelineInfo, coarse: Coarse, axes: "Axes") -> None:
    from matplotlib.collections import PolyCollection

    scale, unit = _time_unit(float(coarse.edges_s[-1]))
    edges = coarse.edges_s * scale
    palette = colours(info.kinds)
    shapes, shades = [], []
    for row in range(len(info.units)):
        floor = np.full(BINS, row + 1.0)
        for kind, busy in zip(info.kinds, coarse.busy[row], strict=True):
            if busy.any():
                shapes.append(_steps(edges, floor, floor - 0.9 * busy))
                shades.append(palette[kind])
            floor = floor - 0.9 * busy
    axes.add_collection(PolyCollection(shapes, facecolors=shades, linewidths=0))
    window = (info.detail.start_s * scale, info.detail.end_s * scale)
    axes.axvspan(*window, facecolor="none", edgecolor=INK, lw=0.9)
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel(f"time ({unit})", size=FONT_PT, labelpad=1)
    axes.set_title(
        f"Whole run: share of time each unit works (row height = 100 %); framed: {_name(info)}",
        size=FONT_PT,
        loc="left",
        pad=3,
    )


def _steps(
    edges: NDArray[np.float64], floor: NDArray[np.float64], top: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners of the area between two step curves over the same bins."""
    x = np.repeat(edges, 2)[1:-1]
    lower = np.column_stack([x, np.repeat(floor, 2)])
    upper = np.column_stack([x, np.repeat(top, 2)])
    return np.concatenate([lower, upper[::-1]])


def _name(info: TimelineInfo) -> str:
    return info.detail.title.split(" (")[0]


def _draw_detail(info: TimelineInfo, axes: "Axes") -> None:
    from matplotlib.collections import PolyCollection

    detail = info.detail
    scale, unit = _time_unit(detail.end_s - detail.start_s)
    palette = colours(info.kinds)
    shades = [palette[block.kind] for block in detail.blocks]
    window = (detail.end_s - detail.start_s) * scale
    whole, solid, edges = [], [], []
    for block in detail.blocks:
        x, low, high = _place(block, detail, scale)
        whole.append(_steps(x, low, high))
        solid.append(_steps(x, low, low + (high - low) * block.busy_share))
        edges.append(0.4 if x[-1] - x[0] > 3 * LEAST_WIDTH * window else 0.0)
    axes.set_xlim(0, window)
    axes.add_collection(PolyCollection(whole, facecolors=shades, alpha=PALE, linewidths=0))
    axes.add_collection(PolyCollection(solid, facecolors=shades, linewidths=0))
    axes.add_collection(
        PolyCollection(whole, facecolors="none", edgecolors="white", linewidths=edges)
    )
    for block in detail.blocks:
        x, low, high = _place(block, detail, scale)
        widest = int(np.argmax(np.diff(x)))
        _write_label(axes, (x[widest], x[widest + 1], low[widest], high[widest]), block.label)
    axes.set_xlabel(f"time since the start of {_name(info)} ({unit})", size=FONT_PT, labelpad=1)
    axes.set_title(
        f"{detail.title}: solid height = share of the block in which the unit works",
        size=FONT_PT,
        loc="left",
        pad=3,
    )


Box = tuple[float, float, float, float]
Steps = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _place(block: Block, detail: Detail, scale: float) -> Steps:
    """Return x of the edges, clipped to the window, and y of bottom and top between them."""
    x = np.clip(block.edges_s, detail.start_s, detail.end_s) - detail.start_s
    x[-1] = max(x[-1], x[0] + LEAST_WIDTH * (detail.end_s - detail.start_s))
    floor = block.unit + 0.95
    return x * scale, floor - 0.9 * block.low, floor - 0.9 * block.high


def _write_label(axes: "Axes", box: Box, label: str) -> None:
    """Write the label into its box, lying or standing, if it fits at all."""
    from matplotlib.patheffects import withStroke

    x0, x1, low, high = box
    corners = axes.transData.transform([(x0, low), (x1, high)])
    wide, tall = np.abs(corners[1] - corners[0])
    text = axes.text(
        (x0 + x1) / 2, (low + high) / 2, label, size=SMALL_PT, color=INK, ha="center", va="center"
    )
    text.set_path_effects([withStroke(linewidth=1.4, foreground="white")])
    for rotation in (0, 90):
        text.set_rotation(rotation)
        extent = text.get_window_extent()
        if extent.width <= wide - 2 and extent.height <= tall - 1:
            return
    text.remove()


def _legend_rows(info: TimelineInfo) -> int:
    return -(-len(info.kinds) // LEGEND_COLUMNS)


def _draw_legend(info: TimelineInfo, figure: "Figure") -> None:
    from matplotlib.patches import Patch

    _, height = figure.get_size_inches()
    palette = colours(info.kinds)
    columns = min(LEGEND_COLUMNS, len(info.kinds))
    by_column = [kind for first in range(columns) for kind in info.kinds[first::columns]]
    figure.legend(
        handles=[Patch(color=palette[kind], label=kind) for kind in by_column],
        loc="lower center",
        bbox_to_anchor=(0.5, FOOTER_IN / height),
        ncols=columns,
        fontsize=FONT_PT,
        frameon=False,
        borderaxespad=0,
        handlelength=1.2,
        labelspacing=0.3,
    )


def _time_unit(seconds: float) -> tuple[float, str]:
    """Return the factor and the name of the unit in which `seconds` is read best."""
    for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return factor, name
    return 1e9, "ns"
