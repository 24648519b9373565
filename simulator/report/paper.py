"""Figures for papers: one column wide, small type, PDF with embedded fonts and PNG to look at.

`with paper_figure(folder, name) as figure:` draws inside the style, then writes both files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.report.style import DPI, FONT_PT, METADATA, SMALL_PT
from simulator.results import prepare_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_IN = 3.5
"""Width of one column of a two-column paper, in inches."""

_STYLE: dict[Any, Any] = {
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT,
    "axes.labelsize": FONT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "legend.columnspacing": 1.0,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "pdf.fonttype": 42,  # TrueType, as most publishers ask
}


@contextmanager
def paper_figure(
    folder: str | Path, name: str, *, height_in: float = 2.2, width_in: float = COLUMN_IN
) -> "Iterator[Figure]":
    """Give an empty figure in paper style; write `name`.pdf and `name`.png to `folder` on leaving.

    The folder is made if absent. Raises InputError where it cannot be written to.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure
        path = prepare_folder(folder)
        for kind in ("pdf", "png"):
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA[f".{kind}"])
            write_atomically(path / f"{name}.{kind}", buffer.getvalue())
