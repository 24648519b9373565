"""All published claims in one picture: ours over published, one strip an experiment.

The axis is logarithmic and ends at a tenth and at ten; a ratio beyond it, or one of the other sign,
stands at the end as a triangle. Equal ratios are spread over the height of the strip, so that their
number is seen; at the right stands how many of an experiment's claims are within 10 %.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import InputError
from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, INK, SMALL_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST, HIGHEST = 0.1, 10.0
#: The band within which ours counts as near: 10 %.
NEAR = (0.9, 1.1)
#: Points of one bin (of so many a decade) are spread over at most `SPREAD` of a strip's height.
BINS, STEP, SPREAD = 40, 0.06, 0.76
#: Heights in inches of a strip and of what stands around them all.
STRIP_IN, AROUND_IN = 0.24, 0.72
INSIDE, BEYOND = "#4477aa", "#cc3311"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One experiment: ratios within the axis with their offsets, and what is beyond either end."""

    name: str
    ratios: tuple[float, ...]
    offsets: tuple[float, ...]
    below: int
    above: int
    near: int

    @property
    def count(self) -> int:
        """Return how many claims there are."""
        return len(self.ratios) + self.below + self.above


def summary_info(ratios: Mapping[str, Sequence[float]]) -> tuple[Strip, ...]:
    """Gather the strips, one an experiment; InputError where there is no ratio at all."""
    if not any(ratios.values()):
        raise InputError("no published claims to draw")
    return tuple(_strip(name, sorted(each)) for name, each in ratios.items())


def _strip(name: str, ratios: Sequence[float]) -> Strip:
    inside = tuple(ratio for ratio in ratios if LOWEST <= ratio <= HIGHEST)
    return Strip(
        name=name,
        ratios=inside,
        offsets=_offsets(inside),
        below=sum(ratio < LOWEST for ratio in ratios),
        above=sum(ratio > HIGHEST for ratio in ratios),
        near=sum(NEAR[0] <= ratio <= NEAR[1] for ratio in ratios),
    )


def _offsets(ratios: Sequence[float]) -> tuple[float, ...]:
    """Spread points of one bin evenly around the middle of the strip, which is 0."""
    bins = [floor(BINS * log10(ratio) + 0.5) for ratio in ratios]
    sizes, seen, offsets = Counter(bins), Counter[int](), []
    for each in bins:
        step = min(STEP, SPREAD / sizes[each])
        offsets.append(step * (seen[each] - (sizes[each] - 1) / 2))
        seen[each] += 1
    return tuple(offsets)


def draw_summary(strips: Sequence[Strip], axes: "Axes") -> None:
    """Draw the strips on empty axes, the first at the top."""
    axes.axvspan(*NEAR, color="#dddddd", lw=0, zorder=0)
    axes.axvline(1, color=INK, lw=0.6, zorder=1)
    for place, strip in enumerate(strips):
        heights = [place + offset for offset in strip.offsets]
        axes.plot(strip.ratios, heights, "o", color=INSIDE, ms=2.2, mew=0, alpha=0.6)
        for count, end, mark in ((strip.below, LOWEST, "<"), (strip.above, HIGHEST, ">")):
            if count:
                axes.plot(end, place, mark, color=BEYOND, ms=3.5, mew=0, clip_on=False)
                _beside(axes, f"{count}", end, place, mark)
        axes.annotate(
            f"{strip.near} of {strip.count}",
            (1.03, place),
            xycoords=("axes fraction", "data"),
            va="center",
            size=SMALL_PT,
        )
    axes.annotate(
        "within 10 %", (1.03, -0.62), xycoords=("axes fraction", "data"), size=SMALL_PT, va="bottom"
    )
    axes.set_xscale("log")
    axes.set_xlim(LOWEST, HIGHEST)
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", color=FAINT, lw=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(strips)), [strip.name for strip in strips])
    axes.set_ylim(len(strips) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("ours / published (triangles: beyond the axis, or of the other sign)")


def _beside(axes: "Axes", text: str, end: float, place: int, mark: str) -> None:
    """Write how many ratios a triangle stands for, towards the middle of the axes."""
    inward = 5 if mark == "<" else -5
    axes.annotate(
        text,
        (end, place),
        xytext=(inward, 0),
        textcoords="offset points",
        ha="left" if mark == "<" else "right",
        va="center",
        size=SMALL_PT,
        color=BEYOND,
    )


def write_summary_picture(ratios: Mapping[str, Sequence[float]], folder: str | Path) -> None:
    """Draw the ratios by experiment into `summary.pdf` and `summary.png` of a folder.

    Raises:
        InputError: there is no ratio at all, or the files cannot be written.
    """
    strips = summary_info(ratios)
    height = AROUND_IN + STRIP_IN * len(strips)
    with paper_figure(folder, "summary", height_in=height) as figure:
        draw_summary(strips, figure.subplots())
