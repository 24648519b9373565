"""The errors of checked datapaths as a picture: one small histogram for each check.

Bins are absolute errors in ULP of the result, one an octave (`metrics.Histogram`); the first holds
all below 2^-8, no error at all included, the last all from 2^24 up and what is not finite. All
panels share the horizontal axis; the bars of each are shares of its own outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import InputError
from simulator.numerics.metrics import FIRST_OCTAVE, LAST_OCTAVE
from simulator.numerics.verify import Check
from simulator.report.style import FAINT, FONT_PT, INK, SMALL_PT, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels side by side; heights in inches of a row of them and of what stands around them all.
COLUMNS, ROW_IN, AROUND_IN = 4, 0.98, 0.75
ERROR_BAR, NO_ERROR_BAR, LAST_BAR = "#4477aa", "#228833", "#cc3311"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One check: shares of its outputs (0 to 1) in each bin."""

    title: str
    subtitle: str
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ErrorsInfo:
    """All that the picture shows."""

    panels: tuple[Panel, ...]
    footer: str


def errors_info(checks: Sequence[Check], version: str) -> ErrorsInfo:
    """Gather the numbers of the picture; InputError without any check. version: of nibblesim."""
    if not checks:
        raise InputError("no checks to draw")
    m, n, k = checks[0].shape
    size = f"{m} x {n} x {k}"
    return ErrorsInfo(
        panels=tuple(_panel(one) for one in checks),
        footer=f"{size}, errors against float64 on the quantised operands; nibblesim {version}",
    )


def _panel(one: Check) -> Panel:
    total = sum(one.errors.counts)
    decibels = "no error" if isinf(one.sqnr_db) and one.sqnr_db > 0 else f"{one.sqnr_db:.1f} dB"
    formats = [each for each in (one.weight_format, one.activation_format) if each]
    return Panel(
        title=f"{one.name}: {decibels}" + ("" if one.bit_exact else " (NOT EXACT)"),
        subtitle=" x ".join(formats),
        shares=tuple(count / total for count in one.errors.counts),
    )


def errors_height_in(info: ErrorsInfo) -> float:
    """Return the height of the picture in inches."""
    return AROUND_IN + ROW_IN * -(-len(info.panels) // COLUMNS)


def draw_errors(info: ErrorsInfo, figure: "Figure") -> None:
    """Draw the panels on an empty figure."""
    columns = min(COLUMNS, len(info.panels))
    rows = -(-len(info.panels) // columns)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(info.panels):
            axes.remove()
            continue
        _draw_panel(info.panels[index], axes)
        below = index + columns >= len(info.panels)
        axes.tick_params(labelbottom=below)
    figure.supxlabel(
        "absolute error in ULP of the result, one bin an octave; "
        "green: below $2^{-8}$ or none, red: from $2^{24}$ up or not finite\n" + info.footer,
        size=FONT_PT,
    )
    figure.supylabel("share of outputs (%)", size=FONT_PT)


def _draw_panel(panel: Panel, axes: "Axes") -> None:
    # Bin i of the octaves stands at its lower exponent; what is below them stands one before.
    places = range(FIRST_OCTAVE - 1, LAST_OCTAVE + 1)
    inner = [ERROR_BAR] * (len(panel.shares) - 2)
    bars = [NO_ERROR_BAR, *inner, LAST_BAR]
    heights = [100 * share for share in panel.shares]
    axes.bar(list(places), heights, width=1.0, align="edge", color=bars, ec="white", lw=0.2)
    axes.set_xlim(FIRST_OCTAVE - 1.5, LAST_OCTAVE + 1.5)
    axes.set_ylim(0, 1.15 * max(heights))
    ticks = range(FIRST_OCTAVE, LAST_OCTAVE + 1, 8)
    axes.set_xticks(list(ticks), [f"$2^{{{each}}}$" for each in ticks])
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(labelsize=SMALL_PT, width=0.5, length=2)
    axes.grid(axis="x", color=FAINT, lw=0.3, alpha=0.6)
    axes.axvline(0, color=FAINT, lw=0.6, ls=":")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("left", "bottom"))
    axes.set_title(panel.title, size=SMALL_PT, color=INK, loc="left", pad=7)
    axes.annotate(
        panel.subtitle,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 1),
        textcoords="offset points",
        size=SMALL_PT - 1,
        color=FAINT,
    )


def write_errors(checks: Sequence[Check], path: str | Path, version: str) -> Path:
    """Draw the errors of checks of a version of nibblesim into a `.png`, `.pdf` or `.svg` file.

    Raises:
        InputError: another suffix, no checks, or the file cannot be written.
    """
    info = errors_info(checks, version)
    return write_picture(lambda figure: draw_errors(info, figure), errors_height_in(info), path)
