"""What all pictures share: colours of op kinds, paper sizes, the footer, writing files."""

import textwrap
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.results import Result, write_atomically

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH_IN = 7.0
"""Text width of a two-column paper, in inches."""

FONT_PT = 7.0
SMALL_PT = 6.0
DPI = 250
FOOTER_COLUMNS = 125
"""Characters of `SMALL_PT` that fit in `WIDTH_IN`."""

#: From so large a span on, an axis is logarithmic.
LOG_SPAN = 10.0
#: Places across and up that can be told apart: about two a marker.
PLACES = (500, 250)
#: Marks of a series up to which each is a shape of its own; more are drawn as pixels.
MOST_SHAPES = 2000
#: A legend over points leaves itself readable and them to be seen.
LEGEND: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.8}
INK = "#222222"
FAINT = "#999999"

#: What makes a file the same whenever it is written.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    ".svg": {"Creator": None, "Date": None},
}
_COLOURS = {
    "linear": "#4477aa",
    "gemm": "#4477aa",
    "qk": "#ee7733",
    "pv": "#cc3311",
    "softmax": "#ddbb33",
    "norm": "#228833",
    "rope": "#88ccaa",
    "activation": "#aa3377",
    "add": "#777777",
    "kv_append": "#66ccee",
    "embedding": "#332288",
    "quantise": "#999933",
    "tables": "#882255",
}
"""Colours that stay apart in the common kinds of colour blindness (after Paul Tol's schemes)."""

_OTHERS = ("#44aa99", "#ddaacc", "#111111", "#661100", "#6699cc")

_MARKERS = {"linear": "o", "gemm": "o", "qk": "s", "pv": "D", "embedding": "v", "softmax": "^"}


def drawable(text: str) -> str:
    """Return a text as matplotlib draws it: no formulas, and no letters that its fonts lack."""
    return text.encode("latin-1", "replace").decode("latin-1").replace("$", r"\$")


def spans_decades(values: ArrayLike) -> bool:
    """Tell whether an axis of these values is logarithmic."""
    numbers = np.asarray(values, dtype=np.float64)
    return bool(numbers.size and numbers.min() > 0 and numbers.max() > LOG_SPAN * numbers.min())


def dress_decades(axis: "Axis") -> None:
    """Name 1, 2 and 5 of each decade, which stay apart in a narrow panel."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = high > 1000 * low
    axis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def apart(across: ArrayLike, up: ArrayLike, *, x_log: bool, y_log: bool) -> NDArray[np.int64]:
    """Return the first of the points at each place of a picture, in order: the others hide it.

    What is infinite has no place.
    """
    x, y = (np.asarray(each, dtype=np.float64) for each in (across, up))
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    columns, rows = _places(x[finite], x_log, PLACES[0]), _places(y[finite], y_log, PLACES[1])
    place = columns * (PLACES[1] + 1) + rows
    count = len(place)
    first = np.full((PLACES[0] + 1) * (PLACES[1] + 1), count, dtype=np.int64)
    # Of all that are assigned to a place the last stays, which here is the first point.
    first[place[::-1]] = np.arange(count)[::-1]
    seen: NDArray[np.int64] = finite[np.sort(first[first < count])]
    return seen


def _places(values: ArrayLike, log: bool, count: int) -> NDArray[np.int64]:
    """Return where values are of so many places from the least to the largest."""
    numbers = np.array(values, dtype=np.float64)
    if log:
        numbers = np.log(numbers)
    if not len(numbers):
        return np.empty(0, dtype=np.int64)
    numbers -= numbers.min()
    return (numbers / (numbers.max() or 1.0) * count).astype(np.int64)


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Return a colour for each kind: its own, or the next of a reserve."""
    names = list(kinds)
    reserve = [name for name in names if name not in _COLOURS]
    return {
        name: _COLOURS.get(name) or _OTHERS[reserve.index(name) % len(_OTHERS)] for name in names
    }


def marker(kind: str) -> str:
    """Return the marker of a kind, so that points are told apart without colour too."""
    return _MARKERS.get(kind, "P")


def footer(result: Result) -> str:
    """Return what a picture was made from: device, rung, version and hash of the result."""
    text = (
        f"{result.workload} on {result.device}, rung {result.rung}, "
        f"nibblesim {result.provenance.version}, result {result.content_hash}"
    )
    # The fonts of matplotlib draw Latin script; what they lack would be a box and a warning.
    drawn = text.encode("latin-1", "replace").decode("latin-1")
    return textwrap.fill(drawn, FOOTER_COLUMNS, break_on_hyphens=False)


def picture_suffix(path: str | Path) -> str:
    """Return the suffix of a picture that can be written; InputError for another."""
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise InputError(f"{path}: a picture ends in {', '.join(METADATA)}")
    return suffix


def write_picture(draw: "Callable[[Figure], None]", height_in: float, path: str | Path) -> Path:
    """Draw on an empty figure of the text's width and write it as `.png`, `.pdf` or `.svg`.

    Raises InputError for another suffix, or where the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    suffix, buffer = picture_suffix(path), BytesIO()
    # Without a salt the names inside an SVG would be random.
    with rc_context({"svg.hashsalt": "nibblesim"}):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])
    return write_atomically(path, buffer.getvalue())


def write_png(figure: "Figure", path: Path) -> Path:
    """Write `figure` to `path` without the date or the version of the drawing library."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return write_atomically(path, buffer.getvalue())
