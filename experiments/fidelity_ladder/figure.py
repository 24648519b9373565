"""The figure: what each rung says of each design above, what searches find for their time below."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from halving import Searched
from ladder import Ladder

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, INK, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which stay apart in the common kinds of colour blindness.
COLOURS = {"roofline": "#d55e00", "analytic": "#0072b2", "tile": "#009e73", "command": "#cc79a7"}
MARKS = {"roofline": "^", "analytic": "o", "tile": "s", "command": "x"}
TITLES = {
    "decode": "decode, 16,384 multipliers",
    "prefill": "prefill, 16,384 multipliers",
    "memory": "prefill, memories of 102-112 GB/s",
}
TICKS_MS = {"decode": (1, 2, 5, 10, 20), "prefill": (15, 20, 25, 30, 35), "memory": (4, 5)}
TICKS_PERCENT = {"tile": (5, 10, 20, 50), "command": (2, 5, 10, 20, 50)}


def rungs(axes: "Axes", ladder: Ladder) -> None:
    """Draw the latency by each rung over that by the highest one of all designs."""
    for rung in ladder.outcomes:
        if rung == ladder.top:
            continue
        there = np.array(ladder.values("latency_s", (rung, ladder.top))).T
        axes.plot(
            there[1] * 1e3, there[0] / there[1], MARKS[rung], color=COLOURS[rung], ms=2.5,
            mew=0.6, mfc="none", label=rung,
        )  # fmt: skip
    axes.axhline(1, color=INK, lw=0.6, zorder=0)
    axes.set(xscale="log", xlabel=f"latency on the {ladder.top} rung (ms)", ylim=(0, 1.09))
    _plain(axes, TICKS_MS[ladder.name])
    axes.set_title(TITLES[ladder.name])
    axes.grid(color=FAINT, lw=0.3, alpha=0.5)


def searches(axes: "Axes", found: Sequence[Searched], top: str) -> None:
    """Draw the share of the hypervolume that is lost over the cost, a line a climb."""
    for climbed in dict.fromkeys(each.rungs for each in found):
        x, y = _line([e for e in found if (e.search, e.rungs) == ("halving", climbed)])
        low, steps = climbed.split("-")[0], climbed.count("-")
        axes.plot(
            x, y, "-" if steps == 1 else "--", marker=MARKS[low], mfc="white", color=COLOURS[low],
            label=climbed.replace("-", " > "),
        )  # fmt: skip
    x, y = _line([each for each in found if each.search == "random"])
    axes.plot(x, y, ":", marker=".", color=FAINT, label=f"random on {top}", zorder=0)
    axes.set(xscale="log", xlabel=f"cost (% of all designs on {top})")
    # Room for the legend above all lines.
    axes.set_ylim(0, 1.5 * max(100 * each.mean for each in found))
    _plain(axes, TICKS_PERCENT[top])
    axes.grid(color=FAINT, lw=0.3, alpha=0.5)
    axes.legend(loc="upper right")


def _plain(axes: "Axes", ticks: Sequence[int]) -> None:
    """Label a logarithmic axis with whole numbers."""
    axes.set_xticks(ticks, [str(each) for each in ticks])
    axes.minorticks_off()


def _line(found: Sequence[Searched]) -> tuple[list[float], list[float]]:
    """Return costs in order and what is lost, both in %."""
    points = sorted({(100 * each.cost, 100 * each.mean) for each in found})
    return [x for x, _ in points], [y for _, y in points]


def draw(ladders: Mapping[str, Ladder], found: Sequence[Searched], folder: Path) -> None:
    """Write fidelity_ladder.pdf and fidelity_ladder.png to `folder`."""
    with paper_figure(folder, "fidelity_ladder", height_in=4.2, width_in=WIDTH_IN) as figure:
        above, below = figure.subplots(2, len(ladders))
        for axes, ladder in zip(above, ladders.values(), strict=True):
            rungs(axes, ladder)
            axes.legend(loc="lower left")
        for axes, ladder in zip(below, ladders.values(), strict=True):
            searches(
                axes,
                [e for e in found if (e.space, e.goal) == (ladder.name, "front")],
                ladder.top,
            )
        above[0].set_ylabel("latency over the highest rung's")
        below[0].set_ylabel("hypervolume lost (%)")
