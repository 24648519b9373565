"""What the dimensions of a study do to its metrics: shares of variance, main effects, tornado.

A share is of the variance of a metric that a dimension explains alone: the first-order index of
Sobol (Math. Model. Comput. Exp. 1, 1993) or main effect of the functional ANOVA (Hutter, Hoos,
Leyton-Brown, ICML 2014), from means at each value of the dimension, over the points that have
results, on logarithms of a metric that is positive and else on ranks. On a full grid it is exact
(eta squared). On fewer points means vary by themselves, which is taken off (epsilon squared,
Kelley, PNAS 21, 1935); dimensions of many numbers are cut into bins of equal counts first (Plischke
et al., EJOR 226, 2013). What chance alone gives all the same is told beside each share (the F-test,
Fisher 1925), so that few points do not look like a finding. A share says little where a search
chose the points, and `Sample` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError
from simulator.search.analysis import Study, costs_of
from simulator.search.levels import MOST_LEVELS, Levels
from simulator.search.strategies import DRAWN, LEARNING

#: So improbable must the values of a dimension be, if drawn evenly, to be taken as chosen.
UNEVEN_P = 0.001
#: Points a value, of up to as many values, below which counts say nothing of how these were asked.
LEAST_A_VALUE = 10
#: How often a dimension that does nothing may look as if it did.
CHANCE_P = 0.01
#: Of a sum of shares.
_ROUNDING = 1e-9

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """How the points of a study lie in their space.

    kind: "chosen": a search that learns, or a lower rung, chose them; "full": each combination of
    values has a result; "even": some have, each value about as often as others; "uneven": some
    values are asked far more often, as by a search that learns or under constraints; "few": too few
    to tell. combinations: of all values seen, None where one is a float. uneven: how probable such
    counts are in an even draw, of the dimensions where they are not. asked: points by the strategy
    that asked them, "" where the file does not say.
    """

    kind: Literal["full", "even", "uneven", "chosen", "few"]
    points: int
    combinations: int | None
    uneven: Mapping[str, float]
    asked: Mapping[str, int]

    @property
    def text(self) -> str:
        """What it means for shares of variance, in a sentence."""
        whole = "" if self.combinations is None else f" of {self.combinations} combinations"
        by = "" if "" in self.asked else f", asked by {' and '.join(self.asked)}"
        some = f"{self.points} points with results{whole}{by}"
        match self.kind:
            case "full":
                return f"{some}, a full grid: shares are exact."
            case "even":
                return (
                    f"{some}, values asked evenly as far as such counts tell: shares are estimates."
                )
            case "chosen":
                how = "by their results" if _learning(self.asked) else "on a lower rung"
                return (
                    f"{some}, chosen {how}: shares and effects are of the points looked at, not of "
                    "the space."
                )
            case "few":
                return (
                    f"{some}, too few to tell whether values are asked evenly: if they are not, as "
                    "where a search chose, shares and effects are of these points and not of the "
                    "space."
                )
            case _:
                named = ", ".join(f"{name} (p = {p:.0e})" for name, p in self.uneven.items())
                cause = "constraints or a grid cut short" if by else "a search or constraints"
                return (
                    f"{some}, a biased sample: values of {named} are not asked evenly, as {cause} "
                    "leave them. Shares and effects are of the points looked at, not of the space."
                )


def sample_of(study: Study) -> Sample:
    """Say how the points of a study lie in their space."""
    asked = {
        str(name): int(count) for name, count in study.table["strategy"].value_counts().items()
    }
    chances = {each.name: _chance(study, each) for each in study.levels}
    uneven = {name: p for name, p in chances.items() if p < UNEVEN_P / len(chances)}
    values = max(min(len(each.values), LEAST_A_VALUE) for each in study.levels)
    kind: Literal["full", "even", "uneven", "chosen", "few"] = "even"
    full = _is_full(study)
    if _learning(asked) or (study.chosen and "" in asked):
        kind = "chosen"
    elif full:
        kind, uneven = "full", {}
    elif uneven:
        kind = "uneven"
    elif len(study.table) < LEAST_A_VALUE * values and not set(asked) <= set(DRAWN):
        kind = "few"
    whole = len(study.kept) if full else _combinations(study)
    return Sample(kind, len(study.kept), whole, uneven, asked)


def _learning(asked: Mapping[str, int]) -> bool:
    """Tell whether results had a say in which points were asked."""
    return not set(asked).isdisjoint(LEARNING)


def _combinations(study: Study) -> int | None:
    """Return how many there are of all values seen.

    None where one is a float, or some do not apply everywhere: under which conditions, a study
    does not know.
    """
    if any(each.kind == "float" or each.present < len(each.values) for each in study.levels):
        return None
    return prod(len(each.values) for each in study.levels)


def _is_full(study: Study) -> bool:
    """Tell whether each combination of values has a result.

    Whether a dimension applies hangs on earlier ones: after each beginning of a point there are all
    values of the next dimension, or it does not apply.
    """
    whole = _combinations(study)
    if whole is not None or any(each.kind == "float" for each in study.levels):
        return whole == len(study.kept)
    rows = study.kept.index.to_numpy()
    beginnings = np.zeros(len(rows), dtype=np.int64)
    for each in study.levels:
        count = len(each.values)
        longer, beginnings = np.unique(beginnings * count + each.codes[rows], return_inverse=True)
        applies = longer % count < each.present
        # How many values there are after each beginning, and how often the dimension is absent.
        values, absent = (np.bincount(longer // count, some) for some in (applies, ~applies))
        if not np.where(absent, values == 0, values == each.present).all():
            return False
    # None of them twice.
    return int(beginnings.max()) + 1 == len(rows)


def _chance(study: Study, levels: Levels) -> float:
    """Return how probable values are, drawn evenly: by chi squared, or Kolmogorov of many numbers.

    What is even in the number or in its logarithm is even.
    """
    # A second less to load than scipy.stats, which has the whole tests.
    from scipy.special import chdtrc

    if len(levels.values) <= MOST_LEVELS or levels.kind not in ("int", "float"):
        counts = np.bincount(levels.codes)[: levels.present]
        even = counts.mean()
        return float(chdtrc(len(counts) - 1, np.square(counts - even).sum() / even))
    values = np.sort(study.table[levels.name].dropna().to_numpy(dtype=np.float64))
    forms = [values, np.log(values)] if values[0] > 0 else [values]
    return max(_kolmogorov((each - each[0]) / (each[-1] - each[0])) for each in forms)


def _kolmogorov(shares: Numbers) -> float:
    """Return how probable ascending numbers are, drawn evenly from 0 to 1, if they are many."""
    from scipy.special import kolmogorov

    steps = np.arange(len(shares) + 1) / len(shares)
    farthest = max((steps[1:] - shares).max(), (shares - steps[:-1]).max())
    return float(kolmogorov(np.sqrt(len(shares)) * farthest))


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
    0 to 1, empty where the metric is the same everywhere. chance: what a dimension of as many
    values that does nothing is given at most, in 99 of 100 such studies; a smaller share is not
    told from nothing. together: what the told ones leave, by values of several dimensions together;
    below 0 where dimensions vary together.
    """

    metric: str
    on: Literal["log", "ranks"]
    shares: Mapping[str, float]
    chance: Mapping[str, float]
    together: float
    effects: tuple[Effect, ...]

    @property
    def told(self) -> dict[str, float]:
        """The shares that are told from chance."""
        return {name: share for name, share in self.shares.items() if share >= self.chance[name]}

    def most(self, dimension: str) -> float:
        """Return what a dimension that is not told may explain at most.

        What chance gives, or what the told ones leave. Where these vary together, shares do not
        add up, and what they leave is not known.
        """
        left, chance = self.together, self.chance[dimension]
        return chance if left < -_ROUNDING else min(chance, left if left > _ROUNDING else 0.0)

    def limit(self, dimension: str) -> str:
        """Return what it may explain at most, in words."""
        return f"{float(f'{100 * self.most(dimension):.2g}'):g} %"

    @property
    def text(self) -> str:
        """Which shares say nothing, in a sentence; "" where all of them say something."""
        lost = ", ".join(
            f"{name} ({self.limit(name)})"
            for name in self.shares
            if name not in self.told and self.most(name)
        )
        return lost and (
            f"{self.metric}: too few points to tell from chance what these do: {lost}. In brackets "
            "what they explain at most: the share that chance alone gives, but for "
            f"{100 * CHANCE_P:g} of 100 such studies, or what the others leave."
        )


def effects_of(study: Study, metric: str) -> Effects:
    """Return shares of variance and main effects of each dimension on a metric.

    Raises InputError for a metric that the study does not have, or that none of its points has.
    """
    import pandas as pd

    rows, values = measured(study, metric)
    exact = _is_full(study) and len(values) == len(study.kept)
    positive = bool((values > 0).all())
    heights = np.log(values) if positive else pd.Series(values).rank().to_numpy()
    shares: dict[str, tuple[float, float]] = {}
    if np.ptp(heights) > 0:
        heights = heights - heights.mean()
        shares = {
            each.name: _share(each.codes[rows], heights, exact=exact) for each in study.binned
        }
    told = [share for share, chance in shares.values() if share >= chance]
    return Effects(
        metric=metric,
        on="log" if positive else "ranks",
        shares={name: share for name, (share, _) in shares.items()},
        chance={name: chance for name, (_, chance) in shares.items()},
        together=1 - sum(told) if shares else 0.0,
        effects=tuple(_effect(each, each.codes[rows], values, positive) for each in study.binned),
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


def _share(codes: NDArray[np.int64], heights: Numbers, *, exact: bool) -> tuple[float, float]:
    """Return the share of the variance between levels, and what chance gives at most.

    heights: of mean 0. Not exact: the share less what chance gives on average.
    """
    counts = np.bincount(codes)
    there = counts > 0
    between = float((np.bincount(codes, heights)[there] ** 2 / counts[there]).sum())
    share = between / float((heights**2).sum())
    levels = int(there.sum())
    if exact or levels == 1:
        return share, 0.0
    free = len(heights) - levels
    if not free:
        # A value a point: whatever they do, they explain all.
        return 0.0, 1.0
    from scipy.special import fdtri

    ratio = (levels - 1) / free * float(fdtri(levels - 1, free, 1 - CHANCE_P))
    given, chance = (
        max(0.0, each - (levels - 1) * (1 - each) / free) for each in (share, ratio / (1 + ratio))
    )
    return given, chance


def _effect(levels: Levels, codes: NDArray[np.int64], values: Numbers, positive: bool) -> Effect:
    counts = np.bincount(codes, minlength=len(levels.values))
    # Small integers are sorted in one pass.
    order = np.argsort(codes.astype(np.min_scalar_type(len(counts))), kind="stable")
    groups = [group for group in np.split(values[order], np.cumsum(counts)[:-1]) if len(group)]
    quartiles = np.array([np.quantile(group, (0.25, 0.75)) for group in groups])
    return Effect(
        dimension=levels.name,
        values=tuple(each for each, count in zip(levels.values, counts, strict=True) if count),
        points=tuple(counts[counts > 0].tolist()),
        mean=tuple(
            float(np.exp(np.log(group).mean()) if positive else group.mean()) for group in groups
        ),
        low=tuple(quartiles[:, 0].tolist()),
        high=tuple(quartiles[:, 1].tolist()),
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
    for levels in study.binned:
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
    differs = [each.codes != each.codes[base] for each in study.levels]
    single = np.sum(differs, axis=0, dtype=np.int32)
    kept = study.is_kept
    swings = []
    for each, changes in zip(study.levels, differs, strict=True):
        rows = np.flatnonzero((single == 0) | ((single == 1) & changes))
        rows = rows[np.argsort(each.codes[rows], kind="stable")]
        found = each.codes[rows]
        lacks = np.ones(len(each.values), dtype=np.bool_)
        lacks[found] = False
        lacking = np.flatnonzero(lacks)
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
        point={each.name: each.values[each.codes[base]] for each in study.levels},
        metrics={name: float(row[name]) for name in metrics},
        swings=tuple(sorted(swings, key=lambda swing: -_width(swing.metrics[metrics[0]]))),
    )


def _place(study: Study, key: str) -> int:
    there = np.flatnonzero(study.table["key"].to_numpy() == key)
    if not len(there):
        raise InputError(f"no point of '{study.name}' has key '{key}'; export writes all keys")
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
