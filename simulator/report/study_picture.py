"""The analysis of a study as one page: sections of panels, words and tables.

`.html` has them one below the other and needs nothing else; `.pdf`, `.png` and `.svg` are one
figure of all panels, without the tables. What is drawn is given: this file has no model.
"""

import base64
import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count, cycle
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.report.style import (
    DPI,
    FAINT,
    FONT_PT,
    INK,
    METADATA,
    SMALL_PT,
    WIDTH_IN,
    apart,
    drawable,
    picture_suffix,
)
from simulator.results import Table, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import FigureBase

SUFFIXES = (".html", ".pdf", ".png", ".svg")
#: Colours that stay apart in the common kinds of colour blindness (after Paul Tol's schemes).
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
PANEL_IN = 1.9
ROW_IN = 0.17
TITLE_IN = 0.3
#: Letters of a name, of a title, and of a line along the width of the page and a panel's height.
_LONGEST, _TITLE, _ACROSS, _UP = 34, 90, 102, 26
#: Sizes of a letter of a name, as wide as most, and the part of a panel's width that axes have.
LETTER_PT, LEADING_PT, AXES_SHARE = 0.6 * SMALL_PT, 1.3 * SMALL_PT, 0.7
#: Marks of a series up to which each is a shape of its own; more are drawn as pixels.
MOST_SHAPES = 2000
#: Numbers along an axis that stay apart in a third of the width.
TICKS = 4

_LINES: dict[str, dict[str, Any]] = {
    "steps": {"drawstyle": "steps-post"},
    "roof": {},
    "low_roof": {"linestyle": "--"},
}
_MARKS: dict[str, dict[str, Any]] = {
    "line": {"marker": "o", "lw": 1, "ms": 3},
    "dots": {"marker": "o", "ls": "", "ms": 3.5, "zorder": 3},
    "rings": {"marker": "o", "ls": "", "ms": 6, "fillstyle": "none", "zorder": 2},
    "cloud": {"marker": "o", "ls": "", "ms": 1.5, "zorder": 1},
}
_FIXED_COLOURS = {"roof": INK, "low_roof": INK, "cloud": FAINT}

Style = Literal["line", "steps", "dots", "rings", "cloud", "bars", "roof", "low_roof"]
Numbers: TypeAlias = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of a panel and how they are drawn; low and high: a band around y.

    Bars are horizontal: x their lengths, y their places, high lengths of their outlines. A cloud is
    small and faint; rings are seen around the dots on them.
    """

    label: str
    x: Numbers
    y: Numbers
    style: Style = "line"
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A pair of axes; names in place of numbers stand at 0, 1, ... of an axis."""

    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_names: tuple[str, ...] = ()
    y_names: tuple[str, ...] = ()
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None
    legend: bool = False

    def height_in(self, columns: int) -> float:
        """How much room it takes: by its names, where it has a row for each or they stand upright.

        columns: of panels beside each other.
        """
        rows = 0.6 + ROW_IN * len(self.y_names) * self._in_a_row
        letters = min(_LONGEST, max(map(len, self.x_names))) if self.upright(columns) else 0
        return max(PANEL_IN, rows) + letters * LETTER_PT / 72

    def upright(self, columns: int) -> bool:
        """Whether names along x do not stand side by side."""
        letters = sum(len(name) + 1 for name in self.x_names)
        return letters * LETTER_PT > _room_pt(columns)

    def every(self, columns: int) -> int:
        """Which names along x are shown: each, each second, ... so that they stay apart."""
        return max(1, ceil(len(self.x_names) * LEADING_PT / _room_pt(columns)))

    @property
    def _in_a_row(self) -> int:
        return max(1, sum(each.style == "bars" for each in self.series))


@dataclass(frozen=True, kw_only=True)
class Section:
    """A title with words, panels in so many columns, and tables."""

    title: str
    words: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    columns: int = 1
    tables: tuple[Table, ...] = ()

    @property
    def heights_in(self) -> list[float]:
        """The height of each row of panels."""
        rows = range(0, len(self.panels), self.columns)
        return [
            max(each.height_in(self.columns) for each in self.panels[at : at + self.columns])
            for at in rows
        ]


def _room_pt(columns: int) -> float:
    return 72 * WIDTH_IN / columns * AXES_SHARE


def write_study(title: str, sections: Sequence[Section], path: str | Path) -> Path:
    """Write sections as `.html`, or their panels as `.pdf`, `.png` or `.svg`.

    Raises InputError for another suffix, or where the file cannot be written.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: an analysis ends in {', '.join(SUFFIXES)}")
    if Path(path).suffix.lower() == ".html":
        return write_atomically(path, _page(title, sections).encode())
    drawn = [each for each in sections if each.panels]
    return write_atomically(path, _drawn(drawn, picture_suffix(path)[1:], titles=True))


def _page(title: str, sections: Sequence[Section]) -> str:
    """Return a page that needs nothing else."""
    shown = html.escape(title)
    body = "\n".join(_html_section(each) for each in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{shown}</title>\n'
        "<style>body{font:14px sans-serif;margin:2em;max-width:80em}img{width:100%;max-width:60em}"
        "table{border-collapse:collapse;margin:1em 0}"
        "th,td{border-bottom:1px solid #ddd;padding:.2em .6em;vertical-align:top}</style></head>\n"
        f"<body>\n<h1>{shown}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html_section(section: Section) -> str:
    words = "".join(f"<p>{html.escape(each)}</p>\n" for each in section.words)
    tables = "\n".join(each.html() for each in section.tables)
    picture = ""
    if section.panels:
        # An image and not SVG within the page: names inside would clash with those of others.
        data = base64.b64encode(_drawn([section], "svg", titles=False)).decode()
        alt = html.escape(section.title)
        picture = f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">\n'
    return f"<h2>{html.escape(section.title)}</h2>\n{words}{picture}{tables}"


def _drawn(sections: Sequence[Section], kind: str, *, titles: bool) -> bytes:
    """Return the panels as a file of a kind, the same whenever they are drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [sum(each.heights_in) + (TITLE_IN if titles else 0) for each in sections]
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "nibblesim", "font.size": FONT_PT}):
        figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained", dpi=DPI)
        parts = figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)
        for section, part in zip(sections, parts[:, 0], strict=True):
            _draw(section, part)
            if titles:
                title = _lines(section.title, _TITLE, 1)
                part.suptitle(title, x=0.01, ha="left", weight="bold")
        # Once and by itself: else all is drawn a second time to find it.
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.execute(figure)
        figure.set_layout_engine(None)
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA[f".{kind}"])
    return buffer.getvalue()


def _draw(section: Section, figure: "FigureBase") -> None:
    heights = section.heights_in
    grid = figure.subplots(
        len(heights), section.columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for at, axes in enumerate(grid.flat):
        if at < len(section.panels):
            _draw_panel(section.panels[at], section.columns, axes)
        else:
            axes.remove()


def _draw_panel(panel: Panel, columns: int, axes: "Axes") -> None:
    bars = [each for each in panel.series if each.style == "bars"]
    palette, places = cycle(COLOURS), count()
    for each in panel.series:
        colour = _FIXED_COLOURS.get(each.style) or next(palette)
        if each.style == "bars":
            _draw_bars(each, next(places), len(bars), colour, axes)
        else:
            _draw_series(each, panel, colour, axes)
    axes.set_xlabel(_lines(panel.x_label, _ACROSS // columns, 2))
    axes.set_ylabel(_lines(panel.y_label, _UP, 2))
    if panel.x_log:
        axes.set_xscale("log")
        _dress_decades(axes.xaxis)
    elif not panel.x_names:
        axes.locator_params(axis="x", nbins=TICKS)
    if panel.y_log:
        axes.set_yscale("log")
        _dress_decades(axes.yaxis)
    if panel.y_range:
        axes.set_ylim(panel.y_range)
    axes.tick_params(labelsize=SMALL_PT)
    if panel.x_names:
        shown = range(0, len(panel.x_names), panel.every(columns))
        names = [drawable(_shortened(panel.x_names[at])) for at in shown]
        axes.set_xticks(shown, names, rotation=90 if panel.upright(columns) else 0)
    if panel.y_names:
        names = [drawable(_shortened(name)) for name in panel.y_names]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(panel.y_names) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.legend:
        axes.legend(frameon=False, fontsize=SMALL_PT)


def _dress_decades(axis: "Axis") -> None:
    """Name 1, 2 and 5 of each decade, which stay apart in a narrow panel."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = high > 1000 * low
    axis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_bars(series: Series, at: int, beside: int, colour: str, axes: "Axes") -> None:
    height = 0.8 / beside
    places = [place + (at - (beside - 1) / 2) * height for place in series.y]
    axes.barh(places, series.x, height, color=colour, label=drawable(_shortened(series.label)))
    if series.high:
        axes.barh(places, series.high, height, fill=False, edgecolor=colour, lw=0.5)


def _draw_series(series: Series, panel: Panel, colour: str, axes: "Axes") -> None:
    label = drawable(_shortened(series.label))
    x, y = (np.array(each, dtype=np.float64) for each in (series.x, series.y))
    if series.style in _MARKS:
        seen = apart(x, y, x_log=panel.x_log, y_log=panel.y_log)
        looks = {**_MARKS[series.style], "rasterized": len(seen) > MOST_SHAPES}
        axes.plot(x[seen], y[seen], color=colour, label=label, **looks)
    else:
        axes.plot(x, y, color=colour, label=label, lw=1, **_LINES[series.style])
    if series.low:
        axes.fill_between(x, series.low, series.high, color=colour, alpha=0.2, lw=0)


def _lines(label: str, letters: int, most: int) -> str:
    """Return a label in so many lines at most."""
    lines = textwrap.wrap(_shortened(label, letters * most), letters, break_on_hyphens=False)
    return drawable("\n".join(lines[:most]))


def _shortened(name: str, most: int = _LONGEST) -> str:
    """Return a name of so many letters at most; its ends say more than its middle."""
    if len(name) <= most:
        return name
    head = (most - 3) // 2
    return f"{name[:head]}...{name[head + 3 - most :]}"
