"""What the dimensions of a study do to its metrics: shares of variance, main effects, tornado.

A share is of the variance of a metric that a dimension explains alone: the first-order index of
Sobol (Math. Model. Comput. Exp. 1, 1993) or main effect of the functional ANOVA (Hutter, Hoos,
Leyton-Brown, ICML 2014), from means at each value of the dimension, over the points that have
results, on logarithms of a metric that is positive and else on ranks. On a full grid it is exact
(eta squared). On fewer points means vary by themselves, which is taken off (epsilon squared,
Kelley, PNAS 21, 1935); dimensions of many numbers are cut into bins of equal counts first (Plischke
et al., EJOR 226, 2013). It says little where a search chose the points, and `Sample` says so.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import log, prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError
from simulator.search.analysis import ABSENT, Study, costs_of
from simulator.search.records import Header
from simulator.units import DIMENSIONS, parse_quantity

if TYPE_CHECKING:
    import pandas as pd

#: Numbers of a dimension from which on they are put into so many bins.
MOST_LEVELS = 32
#: So improbable must the values of a dimension be, if drawn evenly, to be taken as chosen.
UNEVEN_P = 0.001
#: Points a value, of up to as many values, below which counts say nothing of how these were asked.
LEAST_A_VALUE = 10

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """The values of a dimension: each once, numbers and quantities ascending; which each point has.

    values: as text for people where they are bins or absent. codes: [points].
    """

    name: str
    values: tuple[Any, ...]
    codes: NDArray[np.int64]


def levels_of(study: Study, *, bins: int | None = None) -> tuple[Levels, ...]:
    """Return the levels of each dimension over all points; bins: at most so many of numbers."""
    return tuple(_levels(study.table, study.header, name, bins) for name in study.header.dimensions)


def _levels(table: "pd.DataFrame", header: Header, name: str, bins: int | None) -> Levels:
    import pandas as pd

    column, kind = table[name], header.dimensions[name]
    numeric = kind in ("int", "float")
    # 1 and true are two values, and pandas takes them for one.
    keys = column.map(repr) if kind == "mixed" else column
    codes, _ = pd.factorize(keys, sort=numeric)
    there, first = np.unique(codes, return_index=True)
    values = [_plain(value) for value in column.iloc[first[there >= 0]]]
    if kind == "text" and (sizes := _quantities(values)):
        order = np.argsort(sizes, kind="stable")
        values = [values[place] for place in order]
        codes = np.where(codes < 0, -1, np.argsort(order)[codes])
    if numeric and bins is not None and len(values) > bins:
        codes, values = _binned(codes, values, bins)
    if (codes < 0).any():
        codes = np.where(codes < 0, len(values), codes)
        values.append(ABSENT)
    return Levels(name, tuple(values), codes.astype(np.int64))


def _quantities(texts: Sequence[str]) -> list[float]:
    """Return texts such as "8 MiB" as numbers of one base unit; nothing where they are none."""
    for dimension in DIMENSIONS:
        with suppress(ValueError):
            return [parse_quantity(text, dimension) for text in texts]
    return []


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _binned(
    codes: NDArray[np.int64], values: list[Any], bins: int
) -> tuple[NDArray[np.int64], list[Any]]:
    """Put levels in bins of nearly equal counts of points, named by their ends."""
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    middles = (np.cumsum(counts) - counts / 2) / counts.sum()
    bin_of = np.unique((middles * bins).astype(int), return_inverse=True)[1]
    ends = [np.flatnonzero(bin_of == each)[[0, -1]] for each in range(bin_of.max() + 1)]
    named = [f"{values[low]:.4g} to {values[high]:.4g}" for low, high in ends]
    return np.where(codes < 0, -1, bin_of[codes]), named


@dataclass(frozen=True)
class Sample:
    """How the points of a study lie in their space.

    kind: "full": each combination of values has a result; "even": some have, each value about as
    often as others; "uneven": some values are asked far more often, as by a search that learns or
    under constraints; "chosen": a lower rung chose them; "few": too few to tell. combinations: of
    all values seen, None where one is a float. uneven: how probable such counts are in an even
    draw, of the dimensions where they are not.
    """

    kind: Literal["full", "even", "uneven", "chosen", "few"]
    points: int
    combinations: int | None
    uneven: Mapping[str, float]

    @property
    def text(self) -> str:
        """What it means for shares of variance, in a sentence."""
        whole = "" if self.combinations is None else f" of {self.combinations} combinations"
        some = f"{self.points} points with results{whole}"
        match self.kind:
            case "full":
                return f"{some}, a full grid: shares are exact."
            case "even":
                return (
                    f"{some}, values asked evenly as far as such counts tell: shares are estimates."
                )
            case "chosen":
                return (
                    f"{some}, chosen on a lower rung: shares and effects are of the points looked "
                    "at, not of the space."
                )
            case "few":
                return (
                    f"{some}, too few to tell whether a search chose them: if one did, shares and "
                    "effects are of these points and not of the space."
                )
            case _:
                named = ", ".join(f"{name} (p = {p:.0e})" for name, p in self.uneven.items())
                return (
                    f"{some}, a biased sample: values of {named} are not asked evenly, as a search "
                    "that learns or constraints leave them. Shares and effects are of the points "
                    "looked at, not of the space."
                )


def sample_of(study: Study) -> Sample:
    """Say how the points of a study lie in their space."""
    levels = levels_of(study)
    floats = [each.name for each in levels if study.header.dimensions[each.name] == "float"]
    whole = None if floats else prod(len(each.values) for each in levels)
    if whole == len(study.kept):
        return Sample("full", len(study.kept), whole, {})
    chances = {each.name: _chance(study, each) for each in levels}
    uneven = {name: p for name, p in chances.items() if p < UNEVEN_P / len(levels)}
    values = max(min(len(each.values), LEAST_A_VALUE) for each in levels)
    kind: Literal["even", "uneven", "chosen", "few"] = "even"
    if study.chosen:
        kind = "chosen"
    elif uneven:
        kind = "uneven"
    elif len(study.table) < LEAST_A_VALUE * values:
        kind = "few"
    return Sample(kind, len(study.kept), whole, uneven)


def _chance(study: Study, levels: Levels) -> float:
    """Return how probable values are, drawn evenly: by chi squared, or Kolmogorov of many numbers.

    What is even in the number or in its logarithm is even.
    """
    from scipy.stats import chisquare, kstest

    if len(levels.values) <= MOST_LEVELS or study.header.dimensions[levels.name] == "text":
        return float(chisquare(np.bincount(levels.codes)).pvalue)
    values = study.table[levels.name].dropna().to_numpy(dtype=np.float64)
    forms = [values, np.log(values)] if values.min() > 0 else [values]
    return max(
        float(kstest((each - each.min()) / np.ptp(each), "uniform").pvalue) for each in forms
    )


@dataclass(frozen=True)
class Effect:
    """A metric at each value of a dimension, over the points with results that have it.

    points: how many. mean: geometric where the metric is positive everywhere. low, high: quartiles.
    Values without any such point are left out.
    """

    dimension: str
    values: tuple[Any, ...]
    points: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Effects:
    """What the dimensions do to a metric.

    on: "log" or "ranks", what the variance is of. shares: by dimension, what each explains alone,
    0 to 1, empty where the metric is the same everywhere. together: what is left, by values of
    several dimensions together; below 0 where dimensions vary together.
    """

    metric: str
    on: Literal["log", "ranks"]
    shares: Mapping[str, float]
    together: float
    effects: tuple[Effect, ...]


def effects_of(study: Study, metric: str) -> Effects:
    """Return shares of variance and main effects of each dimension on a metric.

    Raises InputError for a metric that the study does not have, or that none of its points has.
    """
    rows, values = measured(study, metric)
    exact = sample_of(study).kind == "full" and len(values) == len(study.kept)
    positive = bool((values > 0).all())
    heights = np.log(values) if positive else _ranks(values)
    levels = levels_of(study, bins=MOST_LEVELS)
    shares: dict[str, float] = {}
    if np.ptp(heights) > 0:
        shares = {each.name: _share(each.codes[rows], heights, exact=exact) for each in levels}
    return Effects(
        metric=metric,
        on="log" if positive else "ranks",
        shares=shares,
        together=1 - sum(shares.values()) if shares else 0.0,
        effects=tuple(_effect(each, each.codes[rows], values, positive) for each in levels),
    )


def measured(study: Study, metric: str) -> tuple[NDArray[np.int64], Numbers]:
    """Return which kept rows have a metric, and its values; InputError as of `effects_of`."""
    if metric not in study.header.metrics:
        raise InputError(unknown("metric", metric, study.header.metrics))
    values = study.kept[metric].to_numpy(dtype=np.float64)
    there = np.isfinite(values)
    if not there.any():
        raise InputError(f"no point of '{study.name}' has metric '{metric}'")
    return study.kept.index.to_numpy()[there], values[there]


def _ranks(values: Numbers) -> Numbers:
    from scipy.stats import rankdata

    ranks: Numbers = rankdata(values)
    return ranks


def _share(codes: NDArray[np.int64], heights: Numbers, *, exact: bool) -> float:
    """Return the share of the variance between levels; not exact: less what chance gives."""
    codes = np.unique(codes, return_inverse=True)[1]
    counts = np.bincount(codes)
    heights = heights - heights.mean()
    between = float((np.bincount(codes, heights) ** 2 / counts).sum())
    total = float((heights**2).sum())
    within, free = total - between, len(heights) - len(counts)
    if exact or free == 0:
        return between / total
    return max(0.0, (between - (len(counts) - 1) * within / free) / total)


def _effect(levels: Levels, codes: NDArray[np.int64], values: Numbers, positive: bool) -> Effect:
    groups = [(each, values[codes == code]) for code, each in enumerate(levels.values)]
    groups = [(each, group) for each, group in groups if len(group)]
    low, high = (
        tuple(float(np.quantile(group, part)) for _, group in groups) for part in (0.25, 0.75)
    )
    return Effect(
        dimension=levels.name,
        values=tuple(each for each, _ in groups),
        points=tuple(len(group) for _, group in groups),
        mean=tuple(
            float(np.exp(np.log(group).mean()) if positive else group.mean()) for _, group in groups
        ),
        low=low,
        high=high,
    )


@dataclass(frozen=True)
class Fates:
    """What became of the points at a value of a dimension; out_of_bounds: OK, but of no use."""

    dimension: str
    value: Any
    points: int
    kept: int
    out_of_bounds: int
    infeasible: int
    failed: int


def fates_of(study: Study) -> tuple[Fates, ...]:
    """Count what became of the points, by each value of each dimension."""
    states = study.table["state"].to_numpy()
    kept = study.is_kept
    marks = (kept, (states == "OK") & ~kept, states == "INFEASIBLE", states == "FAILED")
    fates = []
    for levels in levels_of(study, bins=MOST_LEVELS):
        counts = [
            np.bincount(levels.codes, each, len(levels.values)).astype(int).tolist()
            for each in (np.ones(len(states)), *marks)
        ]
        fates += [
            Fates(levels.name, value, *numbers)
            for value, *numbers in zip(levels.values, *counts, strict=True)
        ]
    return tuple(fates)


@dataclass(frozen=True)
class Swing:
    """How metrics move over the values of one dimension from a point, all else as it is there.

    values: those stored with results, the point's own among them; metrics: at each. without: values
    whose point is stored but has no result or breaks a bound. missing: values that the study has
    elsewhere alone, the first `MOST_LEVELS` of missing_count.
    """

    dimension: str
    values: tuple[Any, ...]
    metrics: Mapping[str, tuple[float, ...]]
    without: tuple[Any, ...]
    missing: tuple[Any, ...]
    missing_count: int


@dataclass(frozen=True)
class Tornado:
    """The swings around a point of a study, the widest in its first metric first."""

    key: str
    point: Mapping[str, Any]
    metrics: Mapping[str, float]
    swings: tuple[Swing, ...]


def tornado(study: Study, metrics: Sequence[str], key: str | None = None) -> Tornado:
    """Return how metrics move from a point over each dimension, from stored points alone.

    key: of a point with results; by default the best in the first metric if that is an objective,
    else in the first objective. Where a dimension makes others apply, its swing misses what has
    these. Raises InputError for unknown metrics and keys.
    """
    for metric in metrics:
        measured(study, metric)
    base = _place(study, key) if key is not None else _best_place(study, metrics[0])
    levels = levels_of(study)
    codes = np.stack([each.codes for each in levels], axis=1)
    differs = codes != codes[base]
    single = differs.sum(axis=1)
    kept = study.is_kept
    swings = []
    for at, each in enumerate(levels):
        rows = np.flatnonzero((single == 0) | ((single == 1) & differs[:, at]))
        rows = rows[np.argsort(codes[rows, at], kind="stable")]
        found = codes[rows, at]
        lacking = np.setdiff1d(np.arange(len(each.values)), found)
        swings.append(
            Swing(
                dimension=each.name,
                values=tuple(each.values[code] for code in found[kept[rows]]),
                metrics={
                    name: tuple(study.table[name].iloc[rows[kept[rows]]].tolist())
                    for name in metrics
                },
                without=tuple(each.values[code] for code in found[~kept[rows]]),
                missing=tuple(each.values[code] for code in lacking[:MOST_LEVELS]),
                missing_count=len(lacking),
            )
        )
    row = study.table.iloc[base]
    return Tornado(
        key=str(row["key"]),
        point={each.name: each.values[codes[base, at]] for at, each in enumerate(levels)},
        metrics={name: float(row[name]) for name in metrics},
        swings=tuple(sorted(swings, key=lambda swing: -_width(swing.metrics[metrics[0]]))),
    )


def _place(study: Study, key: str) -> int:
    there = np.flatnonzero(study.table["key"].to_numpy() == key)
    if not len(there):
        raise InputError(f"no point of '{study.name}' has key '{key}'")
    if not study.is_kept[there[0]]:
        raise InputError(f"point '{key}' of '{study.name}' has no result, or breaks a bound")
    return int(there[0])


def _best_place(study: Study, metric: str) -> int:
    names = [each.metric for each in study.objectives]
    objective = study.objectives[names.index(metric) if metric in names else 0]
    least = int(np.argmin(costs_of(study.kept, [objective])[:, 0]))
    return int(study.kept.index[least])


def _width(values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return log(high / low) if low > 0 else high - low
