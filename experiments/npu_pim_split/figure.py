"""The figure: the banks' share by context and batch under three budgets, and the gain by budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from designs import Cell, Design, best, by_cell, gain

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, SMALL_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Cells whose gain is drawn over the budget, with Okabe and Ito's colours.
LINES: dict[Cell, str] = {
    (512, 1): "#0072b2",
    (512, 256): "#56b4e9",
    (8192, 64): "#d55e00",
    (32_768, 16): "#009e73",
}


def _short(number: int) -> str:
    return f"{number // 1024}k" if number >= 1024 else f"{number}"


def shares(axes: "Axes", cells: dict[Cell, list[Design]], budget: float, title: str) -> None:
    """Draw the share of the best design, and its gain over arrays alone, of each cell."""
    contexts = sorted({context for context, _ in cells})
    batches = sorted({batch for _, batch in cells})
    axes.set_xlim(-0.5, len(contexts) - 0.5)
    axes.set_ylim(-0.5, len(batches) - 0.5)
    for (context, batch), designs in cells.items():
        chosen, gained = best(designs, budget), gain(designs, budget)
        x, y = contexts.index(context), batches.index(batch)
        axes.add_patch(_patch(x, y, chosen.share))
        text = f"{100 * chosen.share:.0f} %\n{gained:.1f} x" if chosen.banks else "0"
        colour = "white" if chosen.share > 0.6 else "black"
        axes.annotate(text, (x, y), ha="center", va="center", fontsize=5, color=colour)
    axes.set_xticks(range(len(contexts)), [_short(each) for each in contexts])
    axes.set_yticks(range(len(batches)), [str(each) for each in batches])
    axes.set(title=title, xlabel="context")
    axes.tick_params(length=0)


def _patch(x: int, y: int, share: float) -> Any:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, color=colormaps["Blues"](share), lw=0)


def gains(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    """Draw the gain over arrays alone by the budget of silicon, nominal and at the low end."""
    for bound, style in (("nominal", "-"), ("low", ":")):
        cells = by_cell(rows, "area", "low" if bound == "low" else "nominal")
        for cell, colour in LINES.items():
            designs = cells[cell]
            budgets = sorted({each.all for each in designs if 100 <= each.all <= 1500})
            values = [gain(designs, budget) for budget in budgets]
            label = f"{_short(cell[0])}, batch {cell[1]}" if bound == "nominal" else None
            axes.step(budgets, values, style, where="post", color=colour, lw=1.0, label=label)
    axes.set(xlabel="silicon (mm$^2$)", title="gain over arrays alone", yscale="log")
    axes.set_yticks([1, 2, 4], ["1", "2", "4"])
    axes.minorticks_off()
    axes.grid(color=FAINT, lw=0.3, alpha=0.5)
    axes.legend(fontsize=SMALL_PT - 1, loc="center right", bbox_to_anchor=(1.0, 0.72))


def draw(area: list[dict[str, Any]], power: list[dict[str, Any]], folder: Path) -> None:
    """Write npu_pim_split.pdf and npu_pim_split.png to `folder`."""
    silicon, watts = by_cell(area, "area"), by_cell(power, "power")
    with paper_figure(folder, "npu_pim_split", height_in=2.9, width_in=WIDTH_IN) as figure:
        panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
        shares(panels[0], silicon, 600, "of 600 mm$^2$")
        shares(panels[1], silicon, 1000, "of 1,000 mm$^2$")
        shares(panels[2], watts, 300, "of 300 W")
        gains(panels[3], area)
        panels[0].set_ylabel("batch")
