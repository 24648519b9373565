"""The figure: ours over published, by group of claims."""

from collections.abc import Sequence
from pathlib import Path

from simulator.report.claims import Claim
from simulator.report.paper import paper_figure

GROUPS = {
    "horowitz": ("Horowitz, 45 nm", "#4477aa"),
    "l_mul": ("L-Mul, 45 nm", "#ee7733"),
    "bitmod": ("BitMoD, 28 nm", "#228833"),
    "axcore": ("AxCore, 28 nm", "#aa3377"),
    "lut_tc": ("LUT Tensor Core, 28 nm", "#ddbb33"),
}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
#: Energies and powers are drawn apart from areas and densities.
ENERGIES = ("energy", "power")


def draw(claims: Sequence[Claim], folder: Path) -> None:
    """Write gates.pdf and gates.png: one mark a claim, filled for areas, empty for energies."""
    with paper_figure(folder, "gates", height_in=2.4) as figure:
        axes = figure.subplots()
        axes.axhspan(0.5, 2.0, color="#eeeeee", lw=0)
        axes.axhline(1.0, color="black", lw=0.6)
        place = 0
        for group, (label, colour) in GROUPS.items():
            for claim in (c for c in claims if c.key.startswith(f"{group}.")):
                face = "white" if claim.key.endswith(ENERGIES) else colour
                axes.plot(place, claim.ratio, "o", color=colour, mfc=face)
                place += 1
            axes.plot([], [], "o", color=colour, label=label)
            place += 1
        axes.plot([], [], "o", color="black", mfc="white", label="energy or power")
        axes.set_yscale("log")
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.set_yticks([], minor=True)
        axes.set_xticks([])
        axes.set_ylabel("ours / published")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2)
