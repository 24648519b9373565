"""The sections of the page that `analyse` writes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.report.study_picture import Panel, Section, Series
from simulator.report.style import spans_decades
from simulator.results import Table
from simulator.search.analysis import Box, Comparison, Study, costs_of
from simulator.search.front import non_dominated, values_of

if TYPE_CHECKING:
    from simulator.cli.analyse import Analysis
    from simulator.search.effects import Effect, Effects, Swing
    from simulator.search.objectives import Objective
    from simulator.search.reasons import Roofline, Step

#: Dimensions whose main effects are drawn: those with the largest share in some metric.
MOST_DRAWN = 8
MOST_SEARCHES = 6
#: Values of a long list that are shown.
MOST_SHOWN = 8
#: Points of the front that are listed.
MOST_LISTED = 1000
GAP = 0.05


def sections(found: "Analysis") -> list[Section]:
    """Return what is on the page, in order; parts that a study says nothing of are left out."""
    parts = [
        _attainment(found),
        _importance(found),
        _effects(found),
        *([_fates(found)] if any(each.kept < each.points for each in found.fates) else []),
        _tornado(found),
        _front(found),
        *(_roofline(each) for each in found.rooflines),
    ]
    if found.against is None or found.other is None:
        return parts
    return [*parts, _comparison(found.against, found.study, found.other)]


def _attainment(found: "Analysis") -> Section:
    shown = found.attained[:MOST_SEARCHES]
    words = [f"Volume: share of a box that points beat. {_box(found.box)}"]
    if len(found.attained) > 1:
        words.append(
            "One curve a search, which is a strategy and its seed. What a search asks for and an "
            "earlier one in the file had asked for counts for the earlier one alone, so that later "
            "curves lie too low."
        )
    if len(shown) < len(found.attained):
        words.append(f"{len(shown)} of {len(found.attained)} searches are drawn.")
    names = ["volume", *(each.metric for each in found.box.objectives)]
    units = found.study.header.metrics
    panels = []
    for name in names:
        curves = [each.volume if name == "volume" else each.best[name] for each in shown]
        panels.append(
            Panel(
                x_label="points",
                y_label="volume" if name == "volume" else f"best {name} ({units[name]})",
                series=tuple(
                    Series(
                        label=f"{each.strategy} seed {each.seed}".strip(),
                        x=each.points,
                        y=curve,
                        style="steps",
                    )
                    for each, curve in zip(shown, curves, strict=True)
                ),
                y_log=name != "volume" and spans_decades(_numbers(chain(*curves))),
                y_range=(0.0, 1.02) if name == "volume" else None,
                legend=name == "volume" and len(shown) > 1,
            )
        )
    return Section(
        title="What was attained over time", words=tuple(words), panels=tuple(panels), columns=2
    )


def _numbers(values: Iterable[float]) -> list[float]:
    return [value for value in values if isfinite(value)]


def _box(box: Box) -> str:
    ends = zip(box.objectives, box.best, box.worst, box.logarithmic, strict=True)
    return (
        "From best to worst: "
        + "; ".join(
            f"{each.metric} {best:.4g} to {worst:.4g}{', in logarithms' if log else ''}"
            for each, best, worst, log in ends
        )
        + "."
    )


def _importance(found: "Analysis") -> Section:
    told = [each for each in found.effects if each.shares]
    flat = [each.metric for each in found.effects if not each.shares]
    words = [
        found.sample.text,
        "Share of the variance that each dimension explains alone (first-order Sobol index, from "
        "the means at each of its values), of "
        + ", ".join(f"{each.metric} ({each.on})" for each in told)
        + ". The rest is of values of several dimensions together, and of what is not told.",
    ]
    words += [each.text for each in told if each.text]
    words += [f"The same everywhere: {', '.join(flat)}."] if flat else []
    if not told:
        return Section(title="Which dimensions matter", words=(words[0], words[-1]))
    order = _by_share(told)
    rows = [(name, *(_share(each, name) for each in told)) for name in order]
    rows.append(("together", *(f"{100 * each.together:.1f} %" for each in told)))
    bars = tuple(
        Series(
            label=each.metric,
            x=[each.told.get(name, 0.0) for name in order],
            y=range(len(order)),
            high=[0.0 if name in each.told else each.most(name) for name in order],
            style="bars",
        )
        for each in told
    )
    lost = any(each.text for each in told)
    panel = Panel(
        x_label=f"share of variance, alone{' (outlined: not told from chance)' if lost else ''}",
        y_label="",
        series=bars,
        y_names=tuple(order),
        legend=len(bars) > 1,
    )
    heads = ("dimension", *(each.metric for each in told))
    table = Table("Shares of variance", heads, tuple(rows), "<" + ">" * len(told))
    return Section(
        title="Which dimensions matter", words=tuple(words), panels=(panel,), tables=(table,)
    )


def _share(effects: "Effects", dimension: str) -> str:
    if dimension in effects.told or not effects.most(dimension):
        return f"{100 * effects.told.get(dimension, 0.0):.1f} %"
    return f"< {effects.limit(dimension)}"


def _by_share(told: Sequence["Effects"]) -> list[str]:
    """Return dimensions of several values, the one with the largest share in some metric first."""
    names = [each.dimension for each in told[0].effects if len(each.values) > 1]
    return sorted(names, key=lambda name: -max(each.told.get(name, 0.0) for each in told))


def _effects(found: "Analysis") -> Section:
    told = [each for each in found.effects if each.shares]
    drawn = _by_share(told)[:MOST_DRAWN] if told else []
    units = found.study.header.metrics
    panels = [_effect(_of(each, name), each, units[each.metric]) for name in drawn for each in told]
    words = (
        "Mean at each value over all points with results that have it (geometric where the metric "
        "is positive), and the middle half of these points.",
        found.sample.text,
    )
    return Section(title="Main effects", words=words, panels=tuple(panels), columns=len(told) or 1)


def _of(effects: "Effects", dimension: str) -> "Effect":
    return next(each for each in effects.effects if each.dimension == dimension)


def _effect(effect: "Effect", effects: "Effects", unit: str) -> Panel:
    """Draw a main effect; the axes of a metric are the same for all dimensions."""
    ends = [value for each in effects.effects for value in (*each.low, *each.high, *each.mean)]
    low, high, log = min(ends), max(ends), spans_decades(ends)
    factor, room = ((high / low) ** GAP, 0.0) if log else (1.0, GAP * (high - low))
    return Panel(
        x_label=effect.dimension,
        y_label=f"{effects.metric} ({unit})",
        series=(
            Series(
                label="mean",
                x=range(len(effect.values)),
                y=effect.mean,
                low=effect.low,
                high=effect.high,
            ),
        ),
        x_names=tuple(map(str, effect.values)),
        y_log=log,
        y_range=(low / factor - room, high * factor + room),
    )


def _fates(found: "Analysis") -> Section:
    rows = tuple(
        (
            each.dimension,
            str(each.value),
            *map(str, (each.points, each.kept, each.out_of_bounds, each.infeasible, each.failed)),
            f"{100 * (1 - each.kept / each.points):.0f} %",
        )
        for each in found.fates
    )
    heads = ("dimension", "value", "points", "with results", "out of bounds")
    table = Table("Points by value", (*heads, "infeasible", "failed", "lost"), rows, "<<" + ">" * 6)
    return Section(
        title="What makes designs infeasible",
        words=("What became of the points at each value of each dimension.",),
        tables=(table,),
    )


def _tornado(found: "Analysis") -> Section:
    around, names = found.tornado, list(found.tornado.metrics)
    units = found.study.header.metrics
    swings = around.swings
    panels = tuple(
        Panel(
            x_label=f"{name}, from {around.metrics[name]:.4g} {units[name]}",
            y_label="",
            series=tuple(
                Series(label=each.dimension, x=each.metrics[name], y=[at] * len(each.values))
                for at, each in enumerate(swings)
            ),
            y_names=tuple(each.dimension if not at else "" for each in swings),
            x_log=spans_decades([value for each in swings for value in each.metrics[name]]),
        )
        for at, name in enumerate(names)
    )
    missing = sum(each.missing_count for each in swings)
    point = ", ".join(f"{name} {value}" for name, value in around.point.items())
    words = (
        f"From point {around.key}: {point}.",
        "Each row moves one dimension over its values, all others as they are there, from stored "
        f"points alone; {missing} of {missing + _stored(swings)} such points are not stored.",
    )
    heads = ("dimension", *names, "no result", "not stored")
    table = Table(
        "One dimension at a time",
        heads,
        tuple(_swing_row(each, names, around.metrics, units) for each in swings),
        "<" * len(heads),
    )
    return Section(
        title="From one point", words=words, panels=panels, columns=len(names), tables=(table,)
    )


def _stored(swings: Sequence["Swing"]) -> int:
    return sum(len(each.values) + len(each.without) for each in swings)


def _swing_row(
    swing: "Swing", names: Sequence[str], base: Mapping[str, float], units: Mapping[str, str]
) -> tuple[str, ...]:
    cells = [
        ", ".join(
            f"{value}: {change(metric, base[name], units[name])}"
            for value, metric in zip(swing.values, swing.metrics[name], strict=True)
        )
        for name in names
    ]
    return (
        swing.dimension,
        *cells,
        _some(swing.without),
        _some(swing.missing, swing.missing_count),
    )


def _some(values: Sequence[Any], count: int | None = None) -> str:
    shown = ", ".join(map(str, values[:MOST_SHOWN]))
    left = (len(values) if count is None else count) - MOST_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def change(value: float, base: float, unit: str) -> str:
    """Return a value beside a base: in percent, as a factor from two on, plain beside zero.

    Decibels are ratios already: their difference.
    """
    if unit == "dB":
        return f"{value - base:+.3g} dB"
    if base <= 0 or value <= 0:
        return f"{value:.4g}"
    ratio = value / base
    return f"x {ratio:.3g}" if ratio >= 2 or ratio <= 0.5 else f"{100 * (ratio - 1):+.3g} %"


def _front(found: "Analysis") -> Section:
    study, units = found.study, found.study.header.metrics
    names = [each.metric for each in study.objectives]
    bound = any(each.shares for each in found.reasons)
    dimensions = list(study.header.dimensions)
    heads = (
        *(f"{name} ({units[name]})" for name in names),
        *dimensions,
        "leads in",
        "next points",
        *(["what binds it"] if bound else []),
    )
    # Evenly along the first objective.
    count = len(found.reasons)
    places = np.linspace(0, count - 1, min(count, MOST_LISTED)).astype(int)
    listed = [found.reasons[place] for place in places]
    rows = tuple(
        (
            *(f"{each.objectives[name]:.4g}" for name in names),
            *(str(each.point[name]) for name in dimensions),
            ", ".join(each.leads),
            "; ".join(_step(step, each.objectives, units) for step in each.steps),
            *([each.bound] if bound else []),
        )
        for each in listed
    )
    words = [
        f"{len(found.reasons)} of {len(study.kept)} points with results are beaten by no other. "
        "Next: the nearest point of the front that is better in an objective, and what changes."
    ]
    if len(listed) < count:
        words.append(f"{len(listed)} of them are listed, evenly from end to end; --json has all.")
    if not bound:
        words.append("This study has no shares of busy units: what binds a point is not known.")
    align = ">" * len(names) + "<" * (len(heads) - len(names))
    panels: tuple[Panel, ...] = ()
    if len(names) > 1:
        panels = (_scatter(study.objectives, units, study),)
    return Section(
        title="Why these points are on the front",
        words=tuple(words),
        panels=panels,
        tables=(Table("The front", heads, rows, align),),
    )


def _step(step: "Step", here: Mapping[str, float], units: Mapping[str, str]) -> str:
    moves = ", ".join(
        f"{name} {change(value, here[name], units[name])}"
        for name, value in step.objectives.items()
    )
    changes = ", ".join(f"{name} {a} to {b}" for name, (a, b) in step.changed.items())
    return f"better {step.better_in}: {moves} by {changes}"


def _scatter(objectives: Sequence["Objective"], units: Mapping[str, str], *studies: Study) -> Panel:
    """Draw the first two objectives: kept points, and the front in all that are given."""
    across, up = (each.metric for each in objectives[:2])
    series = []
    for study in studies:
        of = f" of {study.name}" if len(studies) > 1 else ""
        kept = study.kept
        if not of:
            series.append(_points("points", values_of(kept, objectives), "cloud"))
        front = kept.loc[non_dominated(costs_of(kept, objectives))] if of else study.front
        # Where two fronts are equal, both are seen.
        style = "rings" if of and not series else "dots"
        series.append(_points(f"front{of}", values_of(front, objectives), style))
    xs, ys = (np.concatenate([getattr(each, axis) for each in series]) for axis in "xy")
    return Panel(
        x_label=f"{across} ({units[across]})",
        y_label=f"{up} ({units[up]})",
        series=tuple(series),
        x_log=spans_decades(xs),
        y_log=spans_decades(ys),
        legend=True,
    )


def _points(label: str, rows: NDArray[np.float64], style: Any) -> Series:
    return Series(label=label, x=rows[:, 0], y=rows[:, 1], style=style)


def _roofline(roofline: "Roofline") -> Section:
    rows = np.stack([roofline.ops_per_byte, roofline.tops], axis=1)
    on_front = np.array(roofline.on_front)
    series = [
        *_roofs(roofline),
        _points("points", rows[~on_front], "cloud"),
        _points("front", rows[on_front], "dots"),
    ]
    panel = Panel(
        x_label="operations per byte of memory",
        y_label="TOPS",
        series=tuple(series),
        x_log=True,
        y_log=True,
        legend=True,
    )
    lacking = [
        name
        for name, roof in (
            ("matrix peak", roofline.roof_tops),
            ("memory bandwidth", roofline.memory_tbytes_per_s),
        )
        if roof is None
    ]
    words = (f"No line for {' and '.join(lacking)}: not all points have it.",)
    named = f"Roofline of {roofline.workload}" if roofline.workload else "Roofline"
    return Section(title=named, words=words if lacking else (), panels=(panel,))


def _roofs(roofline: "Roofline") -> Iterator[Series]:
    """Yield the highest roof of the designs, and the lowest where they differ."""
    low, high = min(roofline.ops_per_byte) / 2, max(roofline.ops_per_byte) * 2
    peaks, rates = roofline.roof_tops, roofline.memory_tbytes_per_s
    if peaks is None and rates is None:
        return
    roofs = {
        (inf if peaks is None else peaks[at], inf if rates is None else rates[at]) for at in (0, 1)
    }
    for at, (peak, rate) in enumerate(sorted(roofs, reverse=True)):
        ends = (low, min(high, max(low, peak / rate)), high)
        yield Series(
            label=("highest roof", "lowest roof")[at] if len(roofs) > 1 else "roof",
            x=ends,
            y=[min(peak, rate * end) for end in ends],
            style="low_roof" if at else "roof",
        )


def _comparison(found: Comparison, one: Study, other: Study) -> Section:
    units = one.header.metrics
    names = [each.metric for each in found.objectives]
    words = [f"In one box of {', '.join(names)}. {_box(found.box)}"]
    if found.differ:
        words.append(f"The studies differ in {'; '.join(found.differ)}.")
    if found.left_out:
        words.append(f"Left out, as one study alone looks for it: {', '.join(found.left_out)}.")
    if found.bounds:
        words.append(f"Bounds differ, and each study keeps to its own: {'; '.join(found.bounds)}.")
    words.append(
        "Covers: share of the other's front that a point of its own equals or beats (C-metric). "
        f"{found.same} points of the fronts are the same in all of these."
    )
    rows = tuple(
        (
            side.name,
            str(side.points),
            f"{side.volume:.4f}",
            f"{100 * side.covers:.1f} %",
            str(side.front),
            str(len(side.not_beaten)),
            *(f"{side.best[name]:.5g}" for name in names),
        )
        for side in found.sides
    )
    best = (f"best {name} ({units[name]})" for name in names)
    heads = ("study", "points", "volume", "covers", "front", "of it not beaten", *best)
    panels: tuple[Panel, ...] = ()
    if len(names) > 1:
        panels = (_scatter(found.objectives, units, one, other),)
    return Section(
        title=f"{one.name} and {other.name}",
        words=tuple(words),
        panels=panels,
        tables=(Table("Two studies", heads, rows, "<" + ">" * (len(heads) - 1)),),
    )
