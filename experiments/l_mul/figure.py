"""The figure: what L-Mul saves as more of the unit is counted, and how far off its products are."""

from collections.abc import Mapping
from pathlib import Path

from errors import FORMATS

from simulator.report.paper import paper_figure

#: Key -> (label, colour): blue is from single operations, orange the synthesis table.
SAVED = {
    "op.product.16": ("one operation: product", "#4477aa"),
    "op.dot.32.sum32": ("fp32 product + fp32 sum", "#4477aa"),
    "op.dot.16.sum32": ("fp16 product + fp32 sum", "#4477aa"),
    "reg.product.16": ("with registers: product", "#77aadd"),
    "reg.dot.16.sum32": ("fp16 product + fp32 sum", "#77aadd"),
    "synthesis.bf16.power_saved": ("synthesis, bf16: combinational", "#ee7733"),
    "synthesis.bf16_pipelined.energy_saved": ("pipelined, power x delay", "#ee7733"),
    "synthesis.bf16_pipelined.power_saved": ("pipelined, power", "#ee7733"),
}
CLAIMS = {"product": (95, "-"), "dot": (80, ":")}
ERRORS = {
    "formula": ("formula, no carry", "o", "#ee7733"),
    "sum": ("sum of patterns", "s", "#4477aa"),
}


def draw(ours: Mapping[str, float], folder: Path) -> None:
    """Write l_mul.pdf and .png."""
    with paper_figure(folder, "l_mul", height_in=3.5) as figure:
        above, below = figure.subplots(2, 1, height_ratios=(3, 2))
        for place, (key, (_, colour)) in enumerate(SAVED.items()):
            above.barh(place, ours[key], 0.65, color=colour)
            above.annotate(
                f"{ours[key]:.1f}", (2, place), va="center", color="white", weight="bold"
            )
        for name, (percent, style) in CLAIMS.items():
            above.axvline(percent, color="black", lw=0.7, ls=style, label=f"claimed, {name}")
        above.set_yticks(range(len(SAVED)), [label for label, _ in SAVED.values()])
        above.set_ylim(len(SAVED) - 0.5, -0.5)
        above.set_xlim(0, 100)
        above.set_xlabel("energy or power saved, %")
        above.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
        for name, (label, mark, colour) in ERRORS.items():
            for kind, face in (("rms", colour), ("mean", "white")):
                sign = -1 if kind == "mean" else 1
                values = [sign * ours[f"error.{m}.{name}.{kind}"] for m in FORMATS]
                below.plot(
                    range(len(FORMATS)),
                    values,
                    mark,
                    color=colour,
                    mfc=face,
                    ms=4,
                    label=f"{label}, {kind}",
                )
        below.axhline(0, color="black", lw=0.6)
        below.set_xticks(range(len(FORMATS)), [f"{m}" for m in FORMATS])
        below.set_xlabel("mantissa bits")
        below.set_ylabel("relative error, %")
        below.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
