"""The roofline: each op kind as a point under the matrix peak and the DRAM bandwidth.

Model: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. One MAC is two operations;
intensity is operations per DRAM byte, both summed over the kind; the achieved rate is over the
time in which an op of the kind was under way, prefetch included, so no point can lie above the
roof. Kinds without DRAM bytes or without MACs have no place on the axes and are listed beside.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.report.style import FAINT, FONT_PT, INK, SMALL_PT, colours, footer, marker
from simulator.results import KindRow, Result, by_kind, engineering

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPS_PER_MAC = 2
WHOLE = "whole run"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One op kind (or the whole run) on the axes; `time_share` is of the latency, 0 to 1."""

    kind: str
    ops_per_byte: float
    ops_per_s: float
    time_share: float


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An op kind without a place on the axes."""

    kind: str
    time_share: float


@dataclass(frozen=True, kw_only=True)
class RooflineInfo:
    """All that the picture shows; a memory that takes no time has no ceiling (None)."""

    peak_ops_per_s: float
    dram_bytes_per_s: float | None
    points: tuple[Point, ...]
    on_chip: tuple[Beside, ...]
    no_macs: tuple[Beside, ...]
    footer: str

    @property
    def ridge_ops_per_byte(self) -> float | None:
        """Where the two ceilings meet."""
        return self.peak_ops_per_s / self.dram_bytes_per_s if self.dram_bytes_per_s else None


def roofline_info(result: Result) -> RooflineInfo:
    """Gather the numbers of the roofline of `result`."""
    rows = by_kind(result)
    points = [_point(row, result) for row in rows if row.macs_useful and row.bytes_moved]
    moved = sum(row.bytes_moved for row in rows)
    if points and result.latency_ps:
        points.append(
            Point(
                kind=WHOLE,
                ops_per_byte=OPS_PER_MAC * result.macs / moved,
                ops_per_s=OPS_PER_MAC * result.macs / result.latency_s,
                time_share=1.0,
            )
        )
    peak = float(OPS_PER_MAC * result.peaks.macs_per_s)
    dram = result.peaks.dram_bytes_per_s
    return RooflineInfo(
        peak_ops_per_s=peak,
        dram_bytes_per_s=None if dram is None else float(dram),
        points=tuple(points),
        on_chip=tuple(
            Beside(kind=row.kind, time_share=_share(row, result))
            for row in rows
            if row.macs_useful and not row.bytes_moved
        ),
        no_macs=tuple(
            Beside(kind=row.kind, time_share=_share(row, result))
            for row in rows
            if not row.macs_useful
        ),
        footer=footer(result),
    )


def _share(row: KindRow, result: Result) -> float:
    return row.advance_ps / result.latency_ps if result.latency_ps else 0.0


def _point(row: KindRow, result: Result) -> Point:
    ops = OPS_PER_MAC * row.macs_useful
    return Point(
        kind=row.kind,
        ops_per_byte=ops / row.bytes_moved,
        ops_per_s=ops * 1e12 / max(row.active_ps, 1),
        time_share=_share(row, result),
    )


def draw_roofline(info: RooflineInfo, axes: "Axes") -> None:
    """Draw the ceilings, the points, the legend beside them and the footer on empty axes."""
    low, high, bottom, top = _limits(info)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, top))
    ridge, peak = info.ridge_ops_per_byte, info.peak_ops_per_s
    axes.plot([low if ridge is None else ridge, high], [peak, peak], color=INK, lw=1)
    _label_peak(info, axes)
    if ridge is not None and info.dram_bytes_per_s is not None:
        axes.plot([low, ridge], [low * info.dram_bytes_per_s, peak], color=INK, lw=1)
        axes.plot([ridge, ridge], [bottom, top], color=FAINT, lw=0.6, ls=":")
        _label_memory(axes, low, ridge, info.dram_bytes_per_s)
    _draw_points(info, axes)
    _dress(info, axes)


def _draw_points(info: RooflineInfo, axes: "Axes") -> None:
    """Draw the largest share of time first and each next one smaller: points at one place nest."""
    palette = colours(point.kind for point in info.points if point.kind != WHOLE)
    ordered = sorted(info.points, key=lambda point: -point.time_share)
    kinds = [point for point in ordered if point.kind != WHOLE]
    for rank, point in enumerate(kinds):
        axes.plot(
            [point.ops_per_byte],
            [point.ops_per_s],
            ls="",
            marker=marker(point.kind),
            ms=max(3.0, 8.5 - 2.0 * rank),
            mfc=palette[point.kind],
            mec="white",
            mew=0.4,
            zorder=3,
            label=_entry(point.kind, point.time_share),
        )
    for point in (point for point in ordered if point.kind == WHOLE):
        place = [point.ops_per_byte], [point.ops_per_s]
        style: dict[str, Any] = {"marker": "*", "ms": 11, "mfc": "none", "mec": INK, "mew": 0.7}
        axes.plot(*place, ls="", zorder=4, label=WHOLE, **style)


def _limits(info: RooflineInfo) -> tuple[float, float, float, float]:
    """Return limits of x and y that hold all points and the ridge, with room for the labels."""
    ridge = info.ridge_ops_per_byte
    intensities = [point.ops_per_byte for point in info.points] or [1.0]
    rates = [info.peak_ops_per_s, *(point.ops_per_s for point in info.points)]
    if ridge is None or info.dram_bytes_per_s is None:
        return min(intensities) / 12, max(intensities) * 16, min(rates) / 5, max(rates) * 4
    low, high = min(ridge, *intensities) / 12, max(ridge, *intensities) * 16
    low = min(low, ridge / (high / ridge) ** 0.6)
    bottom = min(min(rates) / 5, low * info.dram_bytes_per_s)
    return low, high, bottom, max(rates) * 4


def _label_peak(info: RooflineInfo, axes: "Axes") -> None:
    """Name the upper ceiling where no point can lie: above it."""
    _, high, _, _ = _limits(info)
    peak = info.peak_ops_per_s
    axes.annotate(
        f"peak {engineering(peak, 'op/s', 3)}",
        (high, peak),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        size=FONT_PT,
    )


def _label_memory(axes: "Axes", low: float, ridge: float, bytes_per_s: float) -> None:
    """Name the slanting ceiling, from `low` to `ridge`, and the ridge: above the roof too."""
    place = low * (ridge / low) ** 0.75
    axes.annotate(
        f"DRAM {engineering(bytes_per_s, 'B/s', 3)}",
        (place, place * bytes_per_s),
        xytext=(-7, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        size=FONT_PT,
    )
    axes.annotate(
        f"ridge {engineering(ridge, 'op/B', 3)}",
        (ridge, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        size=FONT_PT,
    )


def _entry(kind: str, share: float) -> str:
    return f"{kind} ({100 * share:.1f} % of time)"


def _dress(info: RooflineInfo, axes: "Axes") -> None:
    """Add labels with units, the grid, the legend with the kinds beside, and the footer."""
    from matplotlib.lines import Line2D

    axes.set_xlabel("operational intensity (op per DRAM byte)", size=FONT_PT)
    axes.set_ylabel("achieved rate (op/s)", size=FONT_PT)
    axes.tick_params(which="both", labelsize=FONT_PT, width=0.5)
    axes.grid(which="major", color=FAINT, lw=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    handles: list[Any] = list(axes.get_legend_handles_labels()[0])
    lists = (("on chip, no DRAM bytes:", info.on_chip), ("no MACs:", info.no_macs))
    for title, kinds in lists:
        names = ["", title, *(_entry(one.kind, one.time_share) for one in kinds)]
        handles += [Line2D([], [], ls="", label=name or " ") for name in names if kinds]
    legend = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        fontsize=FONT_PT,
        frameon=False,
        handlelength=1.0,
        labelspacing=0.35,
    )
    for text in legend.get_texts():
        text.set_fontstyle("italic" if text.get_text().endswith(":") else "normal")
    axes.annotate(
        info.footer,
        (0, 0),
        xycoords="axes fraction",
        xytext=(-32, -28),
        textcoords="offset points",
        va="top",
        size=SMALL_PT,
        color=FAINT,
    )
