"""Successive halving against random search of equal time, replayed over outcomes that are known.

A strategy asks for points and is told what the studies hold of them, so that ten seeds of many
budgets cost nothing, and no outcome depends on the machine. What a point costs is `COST`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from agreement import costs, volume
from ladder import RUNGS, Ladder, pinned

from simulator.search.front import RUNG
from simulator.search.halving import ETA, least_trials
from simulator.search.objectives import Objective
from simulator.search.runner import costs_of
from simulator.search.space import key_of
from simulator.search.strategies import strategy

SEEDS = range(10)
BUDGETS = (16, 32, 64, 128)
#: Rungs that halving climbs, by the highest one.
CLIMBS = {
    "tile": (("analytic", "tile"), ("roofline", "tile")),
    "command": (("analytic", "tile", "command"), ("analytic", "command"), ("roofline", "command")),
}
#: About what a point takes on each rung, as a multiple of the analytic one (README).
COST = {"roofline": 1, "analytic": 1, "tile": 4, "command": 20}
FASTEST = (Objective("latency_s", "min"),)


class Searched(NamedTuple):
    """What searches of one budget found, over the seeds.

    search: "halving", or "random" on the highest rung at its cost. rungs: those of halving. goal:
    "latency" or "front". points: on all rungs, and on the highest. cost: as a share of all
    designs on the highest rung. mean, worst: regret of the latency, or share of the hypervolume
    that is lost. hits: seeds with none.
    """

    space: str
    search: str
    rungs: str
    goal: str
    trials: int
    points: float
    highest: float
    cost: float
    mean: float
    worst: float
    hits: int


def searches(ladder: Ladder, budgets: Sequence[int] = BUDGETS) -> Iterator[Searched]:
    """Yield halving by each climb and budget, each followed by random search of equal cost."""
    # What random search asks depends on nothing told: a shorter search is the start of a longer.
    drawn = [asked(ladder, (ladder.top,), FASTEST, len(ladder.designs), seed) for seed in SEEDS]
    for climbed in CLIMBS[ladder.top]:
        for goal, objectives in (("latency", FASTEST), ("front", ladder.sweep.objectives)):
            for trials in budgets:
                most = len(ladder.designs) * sum(ETA**-rung for rung in range(len(climbed)))
                if not least_trials(len(climbed)) <= trials <= most:
                    continue
                found = [asked(ladder, climbed, objectives, trials, seed) for seed in SEEDS]
                yield _summed(ladder, ("halving", *climbed), goal, trials, found)
                equal = [_equal(ladder, points) for points in found]
                same = [order[:count] for order, count in zip(drawn, equal, strict=True)]
                yield _summed(ladder, ("random", *climbed), goal, trials, same)


def asked(
    ladder: Ladder,
    climbed: Sequence[str],
    objectives: Sequence[Objective],
    trials: int,
    seed: int,
) -> list[tuple[str, str]]:
    """Return rung and design of each point that a strategy asks: halving, random on one rung."""
    space = pinned(ladder.sweep, {RUNG: tuple(climbed)}).space
    name = "halving" if len(climbed) > 1 else "random"
    search = strategy(name, space, objectives, seed=seed, trials=trials, rungs=RUNGS)
    points: list[tuple[str, str]] = []
    while asks := search.ask():
        places = [
            (str(p[RUNG]), key_of({path: v for path, v in p.items() if path != RUNG})) for p in asks
        ]
        told = [costs_of(ladder.outcomes[rung][key], objectives) for rung, key in places]
        search.tell(asks, told)
        points += places
    return points


def _equal(ladder: Ladder, points: Sequence[tuple[str, str]]) -> int:
    """Return how many points on the highest rung cost as much as some on several."""
    return max(1, round(_cost(points) / COST[ladder.top]))


def _cost(points: Sequence[tuple[str, str]]) -> int:
    return sum(COST[rung] for rung, _ in points)


def _summed(
    ladder: Ladder,
    search: Sequence[str],
    goal: str,
    trials: int,
    found: Sequence[Sequence[tuple[str, str]]],
) -> Searched:
    lost = [(_regret if goal == "latency" else _lost)(ladder, points) for points in found]
    whole = COST[ladder.top] * len(ladder.designs)
    return Searched(
        ladder.name, search[0], "-".join(search[1:]), goal, trials,
        float(np.mean([len(points) for points in found])),
        float(np.mean([len(_highest(ladder, points)) for points in found])),
        float(np.mean([_cost(points) for points in found])) / whole,
        float(np.mean(lost)), float(max(lost)), sum(each < 1e-12 for each in lost),
    )  # fmt: skip


def _highest(ladder: Ladder, points: Sequence[tuple[str, str]]) -> list[str]:
    return [key for rung, key in points if rung == ladder.top]


def _regret(ladder: Ladder, points: Sequence[tuple[str, str]]) -> float:
    """Return how much slower the fastest design found is than the fastest of all."""
    latency = {k: each.metrics["latency_s"] for k, each in ladder.outcomes[ladder.top].items()}
    return min(latency[key] for key in _highest(ladder, points)) / min(latency.values()) - 1


def _lost(ladder: Ladder, points: Sequence[tuple[str, str]]) -> float:
    """Return the share of the hypervolume that the designs found do not have."""
    whole = costs(ladder, ladder.top, list(ladder.designs))
    return 1 - volume(costs(ladder, ladder.top, _highest(ladder, points)), whole)
