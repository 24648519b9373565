"""How far a lower rung agrees with a higher one: ranks, ratios, and what a choice by it costs."""

from collections.abc import Iterator, Sequence
from math import comb, log, nan
from typing import NamedTuple

import numpy as np
from ladder import Ladder
from numpy.typing import NDArray

from simulator.search.front import hypervolume, non_dominated

Array = NDArray[np.float64]
#: Metrics by which designs are ranked, and whether small is good.
METRICS = {"latency_s": True, "energy_j": True, "edp_js": True, "tops_per_mm2": False}
OBJECTIVES = ("latency_s", "energy_j", "area_mm2")
FEW_CHOSEN = 5


class Agreement(NamedTuple):
    """Two rungs over the designs of a space by one metric.

    median, worst: of the higher rung's value over the lower's; worst is farthest from one.
    regret_1, regret_5: what the best of those chosen by the lower rung has more (or less) than the
    best design, both on the higher rung, over the best; where the lower rung calls designs equal,
    the mean over all choices among them. equal: designs that share their value on the lower rung.
    reversed: of two designs in one order on the lower rung and in the other on the higher, by how
    much they differ on the lower at most; what differs by more is in order.
    """

    space: str
    low: str
    high: str
    metric: str
    designs: int
    spearman: float
    kendall: float
    median: float
    worst: float
    regret_1: float
    regret_5: float
    equal: int
    reversed: float


class Fronts(NamedTuple):
    """The front by latency, energy and area that the lower rung picks, seen from the higher one.

    lost: share of the hypervolume, of logarithms up to the worst of each objective.
    """

    space: str
    low: str
    high: str
    picked: int
    true: int
    common: int
    lost: float


def agreements(ladder: Ladder) -> Iterator[Agreement]:
    """Yield the agreement of all pairs of rungs by all metrics."""
    for low, high in ladder.pairs:
        for metric, small_is_good in METRICS.items():
            x, y = np.array(ladder.values(metric, (low, high))).T
            ratio = y / x
            worst = ratio[np.argmax(np.abs(np.log(ratio)))]
            cost = (x, y) if small_is_good else (1 / x, 1 / y)
            yield Agreement(
                ladder.name, low, high, metric, len(x),
                *_ranked(x, y),
                float(np.median(ratio)), float(worst),
                regret(*cost, 1), regret(*cost, FEW_CHOSEN),
                len(x) - int((np.unique(x, return_counts=True)[1] == 1).sum()),
                farthest_reversed(*cost)[0],
            )  # fmt: skip


def _ranked(x: Array, y: Array) -> tuple[float, float]:
    """Return Spearman's and Kendall's coefficients; NaN where one calls all designs equal."""
    from scipy.stats import kendalltau, spearmanr

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return nan, nan
    return float(spearmanr(x, y).statistic), float(kendalltau(x, y).statistic)


def farthest_reversed(low: Array, high: Array) -> tuple[float, int, int]:
    """Return the most that two designs in opposite order differ by on the lower rung, and the two.

    The first is the better one by the lower rung. 0 and twice the first design where none are.
    """
    ratio = np.where(high[:, None] > high, low / low[:, None] - 1, 0.0)
    first, second = np.unravel_index(np.argmax(ratio), ratio.shape)
    found = float(ratio[first, second])
    return (found, int(first), int(second)) if found > 0 else (0.0, 0, 0)


def regret(chosen_by: Array, true: Array, count: int) -> float:
    """Return the true cost of the best of `count` designs that are best by another, less one.

    Over the true best; the mean over all choices where the last of them are equal.
    """
    last = np.sort(chosen_by)[count - 1]
    sure, tied = true[chosen_by < last], np.sort(true[chosen_by == last])
    drawn, ways = count - len(sure), comb(len(tied), count - len(sure))
    # Of `drawn` from the tied, the i-th best is the best in so many of all ways.
    chances = [comb(len(tied) - i - 1, drawn - 1) / ways for i in range(len(tied))]
    best = min(sure, default=np.inf)
    mean = sum(p * min(best, each) for p, each in zip(chances, tied, strict=True))
    return float(mean / true.min() - 1)


def fronts(ladder: Ladder) -> Iterator[Fronts]:
    """Yield what fronts that a lower rung picks are worth on a higher one."""
    for low, high in ladder.pairs:
        keys = ladder.common((low, high))
        by_low, by_high = (costs(ladder, rung, keys) for rung in (low, high))
        picked, true = non_dominated(by_low), non_dominated(by_high)
        yield Fronts(
            ladder.name, low, high, int(picked.sum()), int(true.sum()), int((picked & true).sum()),
            1 - volume(by_high[picked], by_high),
        )  # fmt: skip


def costs(ladder: Ladder, rung: str, keys: Sequence[str]) -> Array:
    """Return the logarithms of the objectives of some designs on a rung, [designs, objectives]."""
    found = [ladder.outcomes[rung][key].metrics for key in keys]
    return np.array([[log(each[name]) for name in OBJECTIVES] for each in found])


def volume(chosen: Array, all_costs: Array) -> float:
    """Return the hypervolume of chosen designs as a share of that of all."""
    corner = all_costs.max(axis=0)
    # Where nothing is lost, rounding must not leave a rest.
    return round(hypervolume(chosen, corner) / hypervolume(all_costs, corner), 9)
