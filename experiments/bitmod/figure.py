"""The figure: speed-up and energy gain over FP16 by accelerator: both versions and our rung."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.report.claims import Claim
from simulator.report.paper import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"ant": "ANT", "olive": "OliVe", "bitmod_ll": "BitMoD-LL", "bitmod_ly": "BitMoD-LY"}
KINDS = {"speed": "speed-up over FP16", "energy": "energy: FP16 / own"}
TASKS = {"discriminative": "discriminative: prefill", "generative": "generative: + 20 decode steps"}
VERSIONS = {
    "paper": ("paper's version (a902a09)", "#4477aa"),
    "HEAD": ("HEAD (e445a5f)", "#ee7733"),
    "tile rung": ("our tile rung", "#228833"),
}
WIDTH = 0.28


def panel(
    axes: "Axes",
    task: str,
    gains: Mapping[str, Mapping[str, float]],
    published: Mapping[str, float],
) -> None:
    """Draw one task's gains of each version side by side, and what the paper published on them."""
    for number, (version, (_, colour)) in enumerate(VERSIONS.items()):
        for place, name in enumerate(NAMES):
            key = f"{task}.{name}"
            where = place + (number - 1) * WIDTH
            bar = axes.bar(where, gains[version][key], WIDTH, color=colour)
            axes.bar_label(bar, fmt="%.2f", fontsize=4.2, padding=3, rotation=90)
            if f"{version}.{key}" in published:
                height = published[f"{version}.{key}"]
                axes.plot(where, height, "D", color="black", mfc="white", ms=2.5)
    axes.axhline(1.0, color="black", lw=0.5, ls=":")
    axes.set_xticks(range(len(NAMES)), list(NAMES.values()), rotation=20)


def draw(gains: Mapping[str, Mapping[str, float]], claims: Sequence[Claim], folder: Path) -> None:
    """Write bitmod.pdf and bitmod.png to `folder`; `gains` are those of each version by name."""
    published = {claim.key: claim.published for claim in claims if "HPCA" in claim.source}
    with paper_figure(folder, "bitmod", height_in=3.0) as figure:
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        for line, (kind, label) in zip(grid, KINDS.items(), strict=True):
            line[0].set_ylabel(label)
            for axes, task in zip(line, TASKS, strict=True):
                panel(axes, f"{kind}.{task}", gains, published)
        for axes, title in zip(grid[0], TASKS.values(), strict=True):
            axes.set_title(title)
        grid[0][0].set_ylim(0, 5.6)
        handles = [axes.bar(0, 0, color=colour, label=label) for label, colour in VERSIONS.values()]
        handles += axes.plot([], [], "D", color="black", mfc="white", ms=2.5, label="published")
        figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=1.0)
