"""The figure: speed-up and energy gain over FP16 of every element, by precision, as intervals."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intervals import DRAMS, FRAME_DRAM, Interval, Load, energy_gain, load_of, speed_up
from rows import PRECISIONS, Entry, baselines, precision

from simulator.report.paper import paper_figure
from simulator.report.style import FAINT, INK, SMALL_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODEL = "llama-2-7b"
POINTS = {"decode/1": "decode, batch 1", "prefill/256": "prefill, 256 tokens"}
MEASURES = ("speed-up", "energy gain")
#: How elements are written.
NAMES = {
    "int8_mac": "INT8 MAC",
    "mixpe_w4a8": "MixPE",
    "mixpe_w4a16": "MixPE, exact",
    "mixpe_chain": "MixPE, chain",
    "lut_w2a8": "LUT core",
    "lut_fp16": "LUT core, FP16",
    "bitmod": "BitMoD",
    "ant": "ANT",
    "olive": "OliVe",
    "figna": "FIGNA",
    "figlut": "FIGLUT",
    "axcore": "AxCore",
    "fp16_dequant": "dequantised FP16",
    "l_mul": "L-Mul",
    "ternary_adder": "ternary adder",
    "abq_planes": "ABQ planes",
    "bipolar": "bipolar planes",
    "bit_fusion": "Bit Fusion",
    "unpu": "UNPU",
    "lut_conventional": "full-table LUT",
    "qserve": "QServe",
    "comet": "COMET",
    "shift_add_llm": "ShiftAddLLM",
    "mx_dot": "MX dot",
    "nv_dot": "NV dot",
}
#: What is drawn of the precisions that are not asked for, for comparison.
BESIDE = {
    "int8_mac": "int8xint8",
    "l_mul": "bf16xbf16",
    "ant": "flint4xflint4",
    "olive": "olive_int4xolive_int4",
    "mx_dot": "mxfp4xmxfp4",
    "nv_dot": "nvfp4xnvfp4",
}
#: Okabe and Ito's colours, which stay apart in the common kinds of colour blindness.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7")
ROW_IN = 0.135
DOT: dict[str, Any] = {"ls": "", "marker": "o", "mec": "white", "mew": 0.4, "ms": 4, "zorder": 3}
THICK: dict[str, Any] = {"lw": 2.6, "alpha": 0.5, "zorder": 2}
THIN: dict[str, Any] = {"lw": 0.8, "zorder": 1}
_CHEAPEST, _DEAREST = DRAMS[1].pj_per_bit, DRAMS[-1].pj_per_bit
LEGEND: dict[str, dict[str, Any]] = {
    "nominal": DOT,
    f"range of the gates, DRAM at {FRAME_DRAM.pj_per_bit:g} pJ/bit": THICK,
    f"and of {len(DRAMS)} DRAMs, {_CHEAPEST:.2f} to {_DEAREST:g} pJ/bit": THIN,
    "(dB): SQNR of a product": {"lw": 0},
}


def groups(made: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yield the entries that are drawn by precision, fastest first, others last."""
    shown = [e for e in made if not e.row.infeasible]
    for name in PRECISIONS:
        yield name, _sorted([e for e in shown if precision(e.pair) == name])
    beside = [e for e in shown if e.pair == BESIDE.get(e.row.pe)]
    yield "others", _sorted(beside)


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.row.latency_s)


def label(entry: Entry, group: str) -> str:
    """Return an element's name and SQNR; with its precision where the group has several."""
    own = f" {precision(entry.pair)}" if group == "others" else ""
    return f"{NAMES[entry.row.pe]}{own} ({entry.row.sqnr_db:.0f} dB)"


def whisker(axes: "Axes", y: float, gain: Interval, inner: Interval, colour: str) -> None:
    """Draw an interval, the part `inner` of it thick, and a dot at its nominal value."""
    for (low, high), form in (((gain.low, gain.high), THIN), ((inner.low, inner.high), THICK)):
        axes.plot([low, high], [y, y], color=colour, **form)
    axes.plot([gain.nominal], [y], color=colour, **DOT)


def panel(axes: "Axes", measure: str, pairs: Sequence[tuple[float, str, Load, Load]]) -> None:
    """Draw one measure of all entries at their heights."""
    for y, colour, one, base in pairs:
        if measure == "speed-up":
            speed = speed_up([(one, base)])
            whisker(axes, y, speed, speed, colour)
        else:
            at_home = energy_gain([(one, base)], (FRAME_DRAM,))
            whisker(axes, y, energy_gain([(one, base)]), at_home, colour)
    axes.axvline(1, color=INK, lw=0.6, ls=":", zorder=0)
    axes.set(xscale="log", xlabel=f"{measure} over FP16", xlim=(0.055, 20))
    axes.xaxis.set_ticks([0.0625, 0.25, 1, 4, 16], ["1/16", "1/4", "1", "4", "16"])
    axes.xaxis.set_ticks([0.125, 0.5, 2, 8], minor=True)
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", which="both", color=FAINT, lw=0.3, alpha=0.5)
    axes.tick_params(axis="y", length=0)


def heights(found: Sequence[tuple[str, list[Entry]]]) -> list[tuple[float, str, str, Entry]]:
    """Return height, group, colour and entry of each row, from the top, a gap between groups."""
    rows, y = [], 0.0
    for (group, own), colour in zip(found, (*COLOURS, INK), strict=True):
        for entry in own:
            rows.append((y, group, colour, entry))
            y -= 1
        y -= 0.8
    return rows


def names(axes: "Axes", rows: Sequence[tuple[float, str, str, Entry]]) -> None:
    """Write the names of elements at the left, and of precisions above the first of each."""
    axes.set_yticks([y for y, *_ in rows], [label(e, group) for _, group, _, e in rows])
    axes.set_ylim(rows[-1][0] - 0.8, 1.4)
    tops = {group: (y, colour) for y, group, colour, _ in reversed(rows)}
    for group, (y, colour) in tops.items():
        axes.annotate(
            *(group, (0, y + 0.75)),
            xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points",
            fontsize=SMALL_PT, color=colour, weight="bold", va="center",
        )  # fmt: skip


def draw(made: Sequence[Entry], folder: Path) -> None:
    """Write one_table.pdf and one_table.png to `folder`: equal area, one model."""
    from matplotlib.lines import Line2D

    at = {point: [e for e in made if e.point == ("area", f"{MODEL}/{point}")] for point in POINTS}
    rows = heights(list(groups(at["prefill/256"])))
    height = ROW_IN * (1 - rows[-1][0]) + 0.9
    with paper_figure(folder, "one_table", height_in=height, width_in=WIDTH_IN) as figure:
        panels = figure.subplots(1, 2 * len(POINTS), sharey=True)
        for i, (point, title) in enumerate(POINTS.items()):
            loads = {(e.row.pe, e.pair): load_of(e) for e in at[point]}
            (base,) = (load_of(e) for e in baselines(at[point]).values())
            pairs = [(y, colour, loads[e.row.pe, e.pair], base) for y, _, colour, e in rows]
            for axes, measure in zip(panels[2 * i :], MEASURES, strict=False):
                panel(axes, measure, pairs)
                axes.set_title(title)
        names(panels[0], rows)
        lines = [Line2D([], [], label=text, color=INK, **form) for text, form in LEGEND.items()]
        figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
