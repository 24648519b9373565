"""The figure: overhead of tables, shapes of an array, changes to UNPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.report.claims import Claim
from simulator.report.paper import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from run import Shape

OURS, PUBLISHED = "#4477aa", "#bbbbbb"
OVERHEADS = {
    "mean.prefill.apart.4": "prefill,\napart",
    "mean.decode.apart.4": "decode,\napart",
    "mean.prefill.fused.4": "prefill,\nfused",
    "mean.decode.fused.4": "decode,\nfused",
}
CHANGES = {
    "ablation.reinterpreted": "half table",
    "ablation.offline": "+ offline\ncomplement",
    "ablation.fused": "+ fused\ntables",
}
#: Pairs of precisions that are drawn, and their colours.
PAIRS = {
    ("fp16", 1): "#4477aa",
    ("fp16", 4): "#77aadd",
    ("int8", 1): "#ee7733",
    ("int8", 4): "#ffbb88",
}
WIDTH = 0.38


def draw(shapes: "Sequence[Shape]", claims: Sequence[Claim], folder: Path) -> None:
    """Write lut_tensor_core.pdf and .png."""
    found = {claim.key: claim for claim in claims}
    with paper_figure(folder, "lut_tensor_core", height_in=5.2) as figure:
        above, middle, below = figure.subplots(3, 1)
        _pairs(above, found, OVERHEADS)
        above.set_ylabel("longer layer, %\n(LUT at 4 x FP16's rate)")
        above.legend(loc="upper right")
        _shapes(middle, shapes)
        _pairs(below, found, {f"{k}.density": label for k, label in CHANGES.items()}, "area")
        _pairs(below, found, {f"{k}.efficiency": v for k, v in CHANGES.items()}, "energy", 3)
        below.set_ylim(1.0, 1.55)
        below.axvline(2.5, color="black", lw=0.4)
        below.set_ylabel("better than UNPU, times")


def _pairs(
    axes: "Axes",
    found: Mapping[str, Claim],
    labels: Mapping[str, str],
    title: str = "",
    start: int = 0,
) -> None:
    """Draw published and ours beside each other."""
    for place, key in enumerate(labels, start=start):
        claim, first = found[key], place == 0
        names = ("published", "ours") if first else (None, None)
        values = (claim.published or 0.0, claim.ours)
        for side, value, colour, name in zip(
            (-1, 1), values, (PUBLISHED, OURS), names, strict=True
        ):
            at = place + side * WIDTH / 2
            axes.bar(at, value, WIDTH, color=colour, label=name)
            axes.annotate(
                f"{value:.3g}", (at, value), (0, 1), textcoords="offset points", ha="center",
                fontsize=6,
            )  # fmt: skip
    old = [] if not start else [text.get_text() for text in axes.get_xticklabels()]
    axes.set_xticks(range(start + len(labels)), [*old, *labels.values()])
    if title:
        axes.annotate(title, (start + 1, 1.5), ha="center")


def _shapes(axes: "Axes", shapes: "Sequence[Shape]") -> None:
    """Draw area times energy over that of the best shape, for each K the best M and N."""
    for (activation, bits), colour in PAIRS.items():
        own = [x for x in shapes if (x.activation, x.weight_bits) == (activation, bits)]
        least = min(x.product for x in own)
        fours = sorted((x for x in own if x.tile[2] == 4), key=lambda x: x.tile[0])
        axes.plot(
            range(len(fours)),
            [x.product / least for x in fours],
            "o-",
            color=colour,
            label=f"W{bits}, {activation}",
        )
    axes.set_xticks(
        range(len(fours)), [f"{m}\u00d7{n}" for m, n, _ in (x.tile for x in fours)], rotation=30
    )
    axes.set_yscale("log", base=2)
    axes.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes.set_ylim(0.9, 10)
    axes.set_xlabel("M x N of an array, K = 4")
    axes.set_ylabel("area x energy, of best")
    axes.legend(loc="upper left", ncols=2)
