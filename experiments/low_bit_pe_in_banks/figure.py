"""The figure: a layer's time over the batch on both sides, then area and power of a bank's unit."""

from pathlib import Path
from typing import TYPE_CHECKING

from banks import VECTORS
from sweep import HELD, Found, units

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, INK, SMALL_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which stay apart in the common kinds of colour blindness.
COLOURS = {"FP16": "#555555", "MixPE": "#0072b2", "LUT": "#d55e00", "BitMoD": "#009e73"}
MARKS = dict(zip(HELD, "so^", strict=True))


def times(axes: "Axes", found: Found, element: str) -> None:
    """Draw a layer's time: banks with the cap and without it, pins, and where they cross."""
    rows = [
        row
        for row in found.rows
        if (row.element, row.work, row.process) == (element, "layer", "nominal")
    ]
    colour = COLOURS[element]
    for capped, held in ((True, 1), (True, VECTORS), (False, VECTORS)):
        line = [row for row in rows if (row.capped, row.held) == (capped, held)]
        axes.plot(
            [row.vectors for row in line], [row.banks_us for row in line],
            marker=MARKS[held], color=colour, ls="-" if capped else "--",
            mfc=colour if capped else "white",
            label=f"banks, {held} held{'' if capped else ', no cap'}",
        )  # fmt: skip
    pins = [row for row in rows if row.capped and row.held == VECTORS]
    axes.plot(
        [row.vectors for row in pins], [row.pins_us for row in pins], color=INK, lw=1.6,
        label="array by the pins", zorder=0,
    )  # fmt: skip
    (crossing,) = (
        each.batch
        for each in found.crossovers
        if (each.element, each.held, each.capped, each.process, each.of)
        == (element, VECTORS, True, "nominal", "time")
    )
    if crossing is not None:
        axes.axvline(crossing, color=colour, lw=0.7, ls=":")
        axes.annotate(
            f"from {crossing}", (crossing, 0.03), xycoords=("data", "axes fraction"),
            xytext=(-2, 0), textcoords="offset points", ha="right", fontsize=SMALL_PT, color=colour,
        )  # fmt: skip
    axes.set_title(element)
    axes.set(xscale="log", yscale="log", xlabel="batch")
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.grid(color=FAINT, lw=0.3, alpha=0.5)


def ranges(axes: "Axes", first: int, title: str) -> None:
    """Draw a quantity of all units with its range; first: its column of `units`."""
    labels = list(COLOURS)
    for unit in units():
        element, held = str(unit[0]), int(str(unit[1]))
        low, nominal, high = (float(str(each)) for each in unit[first : first + 3])
        y = labels.index(element) + (HELD.index(held) - 1) * 0.22
        axes.plot([low, high], [y, y], color=COLOURS[element], lw=0.8)
        axes.plot([nominal], [y], MARKS[held], color=COLOURS[element], ms=3.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set(xscale="log", xlabel=title)
    axes.grid(axis="x", color=FAINT, lw=0.3, alpha=0.5)
    axes.tick_params(axis="y", length=0)


def draw(found: Found, folder: Path) -> None:
    """Write low_bit_pe_in_banks.pdf and low_bit_pe_in_banks.png to `folder`."""
    from matplotlib.lines import Line2D

    with paper_figure(folder, "low_bit_pe_in_banks", height_in=4.0, width_in=WIDTH_IN) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(1.35, 1))
        panels = above.subplots(1, len(COLOURS), sharey=True)
        for axes, element in zip(panels, COLOURS, strict=True):
            times(axes, found, element)
        panels[0].set_ylabel("time of a layer's products (us)")
        lines = [
            Line2D([], [], color=INK, marker=MARKS[1], label="banks, 1 vector held"),
            Line2D([], [], color=INK, marker=MARKS[4], label="banks, 4 held"),
            Line2D([], [], color=INK, marker=MARKS[4], mfc="white", ls="--", label="no power cap"),
            Line2D([], [], color=INK, lw=1.6, label="array by the pins"),
        ]
        above.legend(handles=lines, loc="outside lower center", ncols=len(lines))
        area, power = below.subplots(1, 2, sharey=True)
        ranges(area, 3, "area of a bank's unit (mm2): low, nominal, high")
        ranges(power, 6, "its power at the capped cadence (mW)")
        marks = [
            Line2D([], [], color=INK, ls="", marker=MARKS[held], label=f"{held} held")
            for held in HELD
        ]
        below.legend(handles=marks, loc="outside lower center", ncols=len(marks))
