"""The front of a study in one picture: two objectives, all points, those that no other beats.

Axes are logarithmic where values span more than a factor of ten. The front of two objectives is a
staircase: what is on its side of the line is not reached by any point. Of more objectives the
picture has the first two and no line, and says which it leaves out: a point of the front may look
beaten by another that is worse in a third. Points that nobody could tell apart are drawn once.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from simulator.errors import InputError
from simulator.report.style import (
    DPI,
    FAINT,
    FONT_PT,
    INK,
    LEGEND,
    METADATA,
    MOST_SHAPES,
    WIDTH_IN,
    apart,
    drawable,
    dress_decades,
    spans_decades,
)
from simulator.results import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN = 3.6
FRONT = "#4477aa"
SUFFIXES = (".html", ".pdf", ".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An objective: its name, unit and goal ("min" or "max"), and its value at each point."""

    name: str
    unit: str
    goal: str
    values: ArrayLike

    @property
    def label(self) -> str:
        """Return name, unit and goal in words."""
        return f"{self.name} ({self.unit}), {'least' if self.goal == 'min' else 'most'} is best"

    @cached_property
    def logarithmic(self) -> bool:
        """Tell whether the axis is logarithmic."""
        return spans_decades(self.values)


@dataclass(frozen=True, kw_only=True)
class Front:
    """What is drawn: a title, two axes, which points are on the front, in order along it.

    others: objectives that are not drawn.
    """

    title: str
    axes: tuple[Axis, Axis]
    order: tuple[int, ...]
    others: tuple[str, ...] = ()


def front_info(title: str, axes: Sequence[Axis], on_front: ArrayLike) -> Front:
    """Gather what is drawn; InputError for fewer than two objectives or no point at all."""
    if len(axes) < 2:
        raise InputError(
            f"a front needs two objectives, got {len(axes)}; analyse says the best of one"
        )
    chosen = np.flatnonzero(on_front)
    if not len(chosen):
        raise InputError("no point has a result and keeps the bounds: there is no front")
    across, up, *others = axes
    sizes = [np.asarray(axis.values, dtype=np.float64)[chosen] for axis in (up, across)]
    order = chosen[np.lexsort(sizes)].tolist()
    named = tuple(each.name for each in others)
    return Front(title=title, axes=(across, up), order=tuple(order), others=named)


def write_front(front: Front, table: Mapping[str, Sequence[object]], path: str | Path) -> Path:
    """Write the front as `.html`, with the table below it, or as `.pdf`, `.png` or `.svg`.

    table: the columns of the points of the front. Raises InputError for another suffix, or
    where the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: a front ends in {', '.join(SUFFIXES)}")
    if suffix != ".html":
        return write_atomically(path, _drawn(front, suffix[1:]))
    return write_atomically(path, _page(front, table).encode())


def _drawn(front: Front, kind: str) -> bytes:
    """Return the picture as a file of a kind, the same whenever it is drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "nibblesim", "font.size": FONT_PT}):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        _draw(front, figure)
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA[f".{kind}"])
    return buffer.getvalue()


def _draw(front: Front, figure: "Figure") -> None:
    axes = figure.add_subplot()
    across, up = front.axes
    logs = {"x_log": across.logarithmic, "y_log": up.logarithmic}
    seen = apart(across.values, up.values, **logs)
    all_points = [np.asarray(axis.values, dtype=np.float64)[seen] for axis in front.axes]
    looks: dict[str, Any] = {"color": FAINT, "markersize": 2, "rasterized": len(seen) > MOST_SHAPES}
    axes.plot(*all_points, "o", label="points", zorder=1, **looks)
    _staircase(front, axes)
    left_out = f"\nnot drawn: {', '.join(front.others)}" if front.others else ""
    axes.set_title(drawable(front.title + left_out), fontsize=FONT_PT, color=INK)
    axes.set_xlabel(drawable(across.label))
    axes.set_ylabel(drawable(up.label))
    if across.logarithmic:
        axes.set_xscale("log")
        dress_decades(axes.xaxis)
    if up.logarithmic:
        axes.set_yscale("log")
        dress_decades(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(**LEGEND)


def _staircase(front: Front, axes: "Axes") -> None:
    order = list(front.order)
    across, up = (np.array(axis.values, dtype=np.float64)[order] for axis in front.axes)
    # Between two points of the front the better one across is still reached at its height.
    steps = "steps-post" if front.axes[0].goal == "min" else "steps-pre"
    if not front.others:
        axes.plot(across, up, color=FRONT, drawstyle=steps, linewidth=1, zorder=2)
    seen = apart(across, up, x_log=front.axes[0].logarithmic, y_log=front.axes[1].logarithmic)
    looks: dict[str, Any] = {"color": FRONT, "markersize": 4, "rasterized": len(seen) > MOST_SHAPES}
    axes.plot(across[seen], up[seen], "o", label="front", zorder=3, **looks)


def _page(front: Front, table: Mapping[str, Sequence[object]]) -> str:
    """Return a page that needs nothing else: the picture and the points of the front."""
    picture = base64.b64encode(_drawn(front, "png")).decode()
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table)
    columns = [[f"<td>{html.escape(_shown(each))}</td>" for each in own] for own in table.values()]
    rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True))
    title = html.escape(front.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font:14px sans-serif;margin:2em;max-width:100em}"
        "img{max-width:60em;width:100%}table{border-collapse:collapse}"
        "th,td{border-bottom:1px solid #ddd;padding:.2em .6em;text-align:right}</style></head>\n"
        f"<body>\n<h1>{title}</h1>\n"
        f'<img alt="Points and front" src="data:image/png;base64,{picture}">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        "</body>\n</html>\n"
    )


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
