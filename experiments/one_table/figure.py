"""The figure: speed-up against energy gain over FP16, intervals as lines, SQNR as colour."""

import re
from collections.abc import Sequence
from math import hypot, log
from pathlib import Path
from typing import TYPE_CHECKING

from rows import Entry, baselines, energy_gain, speed_up

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODEL = "llama-2-7b"
PANELS = {"decode/1": "decode, batch 1", "prefill/256": "prefill, 256 tokens"}
#: Name, with the bits of its weights if it takes one width only, and marker of each element.
ELEMENTS = {
    "fp16_fma": ("FP16 FMA", "s"),
    "int8_mac": ("INT8 MAC", "o"),
    "mixpe_w4a8": ("MixPE W4A8", "^"),
    "mixpe_w4a16": ("MixPE W4A16", "v"),
    "lut_w2a8": ("LUT core", "D"),
    "bitmod": ("BitMoD", "P"),
    "ant": ("ANT (4 bits)", "<"),
    "olive": ("OliVe (4 bits)", ">"),
    "figna": ("FIGNA", "h"),
    "axcore": ("AxCore (4 bits)", "X"),
    "l_mul": ("L-Mul (16 bits)", "d"),
    "ternary_adder": ("ternary adder", "*"),
    "abq_planes": ("ABQ planes", "p"),
}
#: SQNR in dB at the ends of the colours: 0 is noise as strong as the product.
SQNR_DB = (0.0, 40.0)
#: The elements of several widths: their points are labelled.
LABELLED = ("lut_w2a8", "bitmod", "figna", "abq_planes")
#: Equal labels nearer than this (natural logarithm of the ratio) are written once.
NEAR = 0.1


def bits(weights: str) -> str:
    """Return the bits of an integer or BitMoD weight format, by its name."""
    found = re.search(r"(?:int|bitmod)(\d+)", weights)
    return found[1] if found else ""


def panel(axes: "Axes", made: Sequence[Entry], base: Entry) -> None:
    """Draw all entries of a point; a number is the bits of the weights."""
    labels: list[tuple[float, float, str]] = []
    for entry in made:
        speed, energy = speed_up(entry, base), energy_gain(entry, base)
        x, y = speed.nominal, energy.nominal
        axes.plot([speed.low, speed.high], [y, y], color=FAINT, lw=0.5, zorder=1)
        axes.plot([x, x], [energy.low, energy.high], color=FAINT, lw=0.5, zorder=1)
        axes.scatter(
            *(x, y, 26, entry.row.sqnr_db),
            cmap="viridis",
            vmin=SQNR_DB[0],
            vmax=SQNR_DB[1],
            marker=ELEMENTS[entry.row.pe][1],
            edgecolors="black",
            linewidths=0.4,
            zorder=2,
        )
        text = bits(entry.row.weights)
        near = (hypot(log(x / a), log(y / b)) < NEAR for a, b, same in labels if same == text)
        if entry.row.pe in LABELLED and not any(near):
            labels.append((x, y, text))
            axes.annotate(text, (x, y), (3, 2.5), textcoords="offset points", fontsize=5)


def style(axes: "Axes", title: str) -> None:
    """Make both axes logarithmic, with plain numbers, and mark where nothing is gained."""
    axes.set(xscale="log", yscale="log", title=title, xlabel="speed-up over FP16")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{each:g}" for each in ticks])
        axis.set_ticks([], minor=True)
    axes.axline((1, 1), (2, 2), color="black", lw=0.5, ls=":", zorder=0)
    axes.axhline(1, color=FAINT, lw=0.4, zorder=0)
    axes.axvline(1, color=FAINT, lw=0.4, zorder=0)


def draw(made: Sequence[Entry], folder: Path) -> None:
    """Write one_table.pdf and one_table.png to `folder`: equal area, one model."""
    bases = baselines(made)
    with paper_figure(folder, "one_table", height_in=3.4, width_in=WIDTH_IN) as figure:
        panels = figure.subplots(1, len(PANELS))
        for axes, (point, title) in zip(panels, PANELS.items(), strict=True):
            where = ("area", f"{MODEL}/{point}")
            own = [e for e in made if e.point == where and not e.row.infeasible]
            panel(axes, own, bases["area", f"{MODEL}/{point}"])
            style(axes, title)
        panels[0].set_ylabel("energy gain over FP16")
        colours = panels[-1].collections[-1]
        figure.colorbar(colours, ax=panels, label="SQNR of a product (dB)", pad=0.01, aspect=30)
        handles = [
            panels[0].plot([], [], marker, color="white", mec="black", mew=0.5, ms=4, label=name)[0]
            for name, marker in ELEMENTS.values()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=7, handlelength=1.0)
