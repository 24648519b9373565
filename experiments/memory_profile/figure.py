"""The figure: errors of the constants, streams by memory above, whole runs below."""

from collections.abc import Sequence
from pathlib import Path

from streams import MEMORIES, SAME_BANK, Scored
from whole_runs import MIXING, NPU, Compared

from simulator.report.paper import paper_figure

NAMES = {
    "hbm2_2000": "HBM2",
    "hbm3_6400": "HBM3",
    "gddr6_14000": "GDDR6",
    "ddr4_3200": "DDR4",
    "ddr5_4800": "DDR5",
    "lpddr5_6400": "LPDDR5",
    NPU: "NPU, HBM2",
}
GROUPS = {
    "regular": ("o", "#228833"),
    "scattered": ("s", "#4477aa"),
    "pairs": ("D", "#ee7733"),
    SAME_BANK: ("d", "#bbbbbb"),
}
LABELS = {SAME_BANK: "pairs, same bank"}
#: Marks of runs: the one that mixes stands out.
PLAIN, MIXED = ("o", "#228833", "fits on chip"), ("D", "#ee7733", MIXING)


def draw(scored: Sequence[Scored], runs: Sequence[Compared], folder: Path) -> None:
    """Write memory_profile.pdf and memory_profile.png to `folder`."""
    with paper_figure(folder, "memory_profile", height_in=3.9) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
        names = list(MEMORIES)
        for number, (group, (mark, colour)) in enumerate(GROUPS.items()):
            each = [one for one in scored if one.case.group == group]
            heights = [names.index(one.memory) + (number - 1.5) * 0.2 for one in each]
            label = LABELS.get(group, group)
            errors = [one.error for one in each]
            top.plot(errors, heights, mark, color=colour, ms=2.5, mew=0, alpha=0.8, label=label)
        devices = list(dict.fromkeys(run.device for run in runs))
        for mixes, (mark, colour, label) in ((False, PLAIN), (True, MIXED)):
            compared = [run for run in runs if (run.run == MIXING) == mixes]
            heights = [float(devices.index(run.device)) for run in compared]
            errors = [run.error for run in compared]
            bottom.plot(errors, heights, mark, color=colour, ms=3, mew=0, alpha=0.8, label=label)
        for axes, shown, title in (
            (top, names, "streams: profile against commands"),
            (bottom, devices, "Llama-2-7B: tile rung against command rung"),
        ):
            axes.axvline(0.0, color="black", lw=0.6, zorder=0)
            axes.set_yticks(range(len(shown)), [NAMES[name] for name in shown])
            axes.set_ylim(len(shown) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.set_title(title)
            axes.legend(loc="lower left", handletextpad=0.1)
        bottom.set_xlabel("error of time (%); below 0: too short")
