"""The figure: what OPT-6.7B's energy consists of, and what is saved with the codes read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from released_model import MODELS, Cost, codes_mj

from simulator.report.paper import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = {
    "gptq": "GPTQ, 3 b",
    "lut_gemm": "LUT-GEMM, 3 b",
    "3b": "ShiftAdd, 3 b",
    "mix": "mix, 2.17 b",
}
#: Bits of the codes that the released model does not read; None is the mix.
CODES: dict[str, int | None] = {"lut_gemm": 3, "3b": 3, "mix": None}
PARTS = {
    "FP_Mult": ("multiply", "#4477aa"),
    "FP_Shift": ("shift", "#ee7733"),
    "FP_Add": ("add", "#228833"),
    "LUT-Build": ("build tables", "#aa3377"),
    "LookUp": ("look up", "#ddbb33"),
}
NAMES = {
    "opt-125m": "OPT-125M",
    "opt-1.3b": "OPT-1.3B",
    "opt-6.7b": "OPT-6.7B",
    "llama2-7b": "LLaMA2-7B",
}
SAVED = {
    "3b.saved": ("as released", "o", "#ee7733"),
    "3b.codes.saved": ("codes read too", "o", "white"),
    "3b.on_chip.saved": ("codes read, looked-up values on chip", "D", "white"),
    "gptq.saved": ("GPTQ, 3 b", "x", "#4477aa"),
}


def stack(axes: "Axes", costs: Mapping[str, Cost]) -> None:
    """Draw a bar for each method, the codes that are not charged behind it."""
    for place, key in enumerate(BARS):
        left = 0.0
        for part, (_, colour) in PARTS.items():
            mj = costs[key].parts_mj[part]
            axes.barh(place, mj, 0.6, left, color=colour)
            left += mj
        axes.annotate(f"{left:.0f}", (left, place + 0.33), ha="right", va="top", fontsize=5)
        if key in CODES:
            mj = codes_mj(MODELS["opt-6.7b"], CODES[key])
            axes.barh(place, mj, 0.6, left, color="white", ec="#777777", lw=0.5, hatch="////")
    axes.set_yticks(range(len(BARS)), list(BARS.values()))
    axes.set_ylim(len(BARS) - 0.3, -0.6)
    axes.set_xlabel(f"OPT-6.7B, mJ a token (FP16: {costs['fp16'].energy_mj:,.0f})")
    for label, colour in PARTS.values():
        axes.bar(0, 0, color=colour, label=label)
    axes.bar(0, 0, color="white", ec="#777777", lw=0.5, hatch="////", label="codes, not charged")


def saved(axes: "Axes", ours: Mapping[str, float]) -> None:
    """Draw per cent saved over FP16, by model."""
    axes.axhline(80, color="black", lw=0.6, ls=":")
    axes.annotate("claimed", (3.45, 80.3), ha="right", va="bottom", fontsize=5)
    for key, (label, mark, face) in SAVED.items():
        values = [ours[f"{name}.{key}"] for name in NAMES]
        edge = "#4477aa" if mark == "x" else "#ee7733"
        axes.plot(range(len(NAMES)), values, mark, color=edge, mfc=face, ms=4, label=label)
    axes.set_xticks(range(len(NAMES)), list(NAMES.values()))
    axes.set_xlim(-0.5, 3.5)
    axes.set_ylabel("saved over FP16, %")


def draw(costs: Mapping[str, Cost], ours: Mapping[str, float], folder: Path) -> None:
    """Write shiftaddllm.pdf and .png."""
    with paper_figure(folder, "shiftaddllm", height_in=3.9) as figure:
        above, below = figure.subplots(2, 1)
        stack(above, costs)
        saved(below, ours)
        for axes, columns in ((above, 3), (below, 2)):
            axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=columns)
