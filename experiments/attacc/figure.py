"""The figure: tokens a second of each system, released and ours, by model."""

from collections.abc import Mapping
from pathlib import Path

from simulator.report.paper import paper_figure

SYSTEMS = {
    "base": "GPUs",
    "large": "GPUs of\n160 GiB",
    "naive": "AttAcc",
    "pipelined": "and heads\npipelined",
    "full": "and FFN\nshared",
}
MODELS = {"gpt": "GPT-3 175B", "llama": "LLaMA-65B", "mt": "MT-NLG 530B INT8"}
#: What is drawn, its colour and its place beside the others.
SOURCES = {
    "released": ("released simulator", "#bbbbbb"),
    "ours": ("ours, all one memory", "#4477aa"),
}
APART = ("ours, memories apart", "#ee7733")
WIDTH = 0.38


def draw(found: Mapping[str, float], folder: Path) -> None:
    """Write attacc.pdf and attacc.png to `folder`; rates by key of a claim, over those of GPUs."""
    with paper_figure(folder, "attacc", height_in=2.4, width_in=7.0) as figure:
        grid = figure.subplots(1, len(MODELS))
        for axes, (model, title) in zip(grid, MODELS.items(), strict=True):
            for number, (source, (_, colour)) in enumerate(SOURCES.items()):
                rates = [found[f"{source}.{model}.2048.2048.{system}"] for system in SYSTEMS]
                places = [place + (number - 0.5) * WIDTH for place in range(len(SYSTEMS))]
                bars = axes.bar(places, rates, WIDTH, color=colour)
                axes.bar_label(bars, [f"{rate / rates[0]:.2f}" for rate in rates], fontsize=4.5)
            apart = found[f"ours.{model}.2048.2048.apart"]
            axes.plot(len(SYSTEMS) - 1 + WIDTH / 2, apart, "D", color=APART[1], mec="white", ms=4)
            axes.set_xticks(range(len(SYSTEMS)), list(SYSTEMS.values()))
            axes.tick_params(axis="x", labelsize=5)
            axes.set_title(title)
        grid[0].set_ylabel("tokens/s (over bars: times GPUs)")
        handles = [
            grid[0].bar(0, 0, color=colour, label=label) for label, colour in SOURCES.values()
        ]
        handles += grid[0].plot([], [], "D", color=APART[1], ms=3.5, label=APART[0])
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
