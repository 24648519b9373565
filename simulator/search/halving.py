"""Successive halving over the rungs of a simulator: many points on a low one, the best on higher.

After Jamieson and Talwalkar (2016), whose budget of an arm is here the rung that a point is
simulated on: of the points of a rung the best 1/eta go on to the next. Eta is 3, as Li et al.
(2018) advise (3 or 4): a rung three times as slow as the one below costs no more than that. Best
is by non-dominated rank, then by crowding distance (`front.best`), then by turn; a point that is
infeasible, failed, or breaks a constraint on the next rung does not go on.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simulator.config import unknown
from simulator.search.front import RUNG, best
from simulator.search.generations import Costs, Generations
from simulator.search.space import Choice, Point, Space

ETA = 3


class Halving(Generations):
    """Rounds of successive halving, as many as `trials` have room for.

    lowest: draws the points of the lowest rung. What a round leaves, because too few points were
    feasible, is spent on another one with new points.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        objectives: int,
        rungs: Sequence[str],
        lowest: Generations,
        *,
        trials: int,
        generation: int,
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._rungs = rungs_of(space, rungs)
        self._lowest = lowest
        # Before the first round it is as after one.
        self._rung = len(self._rungs) - 1
        self._sizes: list[int] = []
        self._queue: list[Point] = []
        self._told: list[tuple[Point, Costs]] = []

    def _draw(self, count: int) -> list[Point]:
        if not self._queue:
            self._queue = self._promoted() or self._new_round()
        points, self._queue = self._queue[:count], self._queue[count:]
        return points

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, in its order."""
        super().tell(points, costs)
        self._told += zip(points, costs, strict=True)

    def _promoted(self) -> list[Point]:
        """Return the best points of this rung on the next one, empty after the highest."""
        if self._rung + 1 == len(self._rungs):
            return []
        self._rung += 1
        count = min(self._sizes[self._rung], max(1, len(self._told) // ETA))
        higher = {RUNG: self._rungs[self._rung]}
        able = [
            ({**point, **higher}, costs)
            for point, costs in self._told
            if costs is not None and self._space.holds({**point, **higher})
        ]
        self._told = []
        if not able:
            return []
        return [able[place][0] for place in best(np.array([costs for _, costs in able]), count)]

    def _new_round(self) -> list[Point]:
        """Return the points that begin a round, empty where no round has room or nothing is new."""
        assert self._left is not None
        if self._left < least_trials(len(self._rungs)):
            return []
        self._sizes = sizes(self._left, len(self._rungs))
        self._rung, self._told = 0, []
        return self._lowest.draw(self._sizes[0])


def rungs_of(space: Space, rungs: Sequence[str]) -> list[str]:
    """Return the rungs of a space, low to high."""
    domain = space.by_name[RUNG].domain
    assert isinstance(domain, Choice)
    return [each for each in rungs if each in domain.values()]


def lowest_of(space: Space, rungs: Sequence[str]) -> Space:
    """Return the part of a space that is on its lowest rung."""
    pinned = Choice((rungs_of(space, rungs)[0],))
    dimensions = [
        replace(each, domain=pinned) if each.name == RUNG else each for each in space.dimensions
    ]
    return Space(tuple(dimensions), space.constraints)


def least_trials(rungs: int) -> int:
    """Return how many points a round needs for one of them to come to the highest rung."""
    return sum(ETA**rung for rung in range(rungs))


def sizes(trials: int, rungs: int) -> list[int]:
    """Return how many points of `trials` are for each rung, from the lowest.

    Each rung has 1/ETA of the one below, rounded down; the lowest also has what is over.
    """

    def higher(first: int) -> list[int]:
        return [first // ETA**rung for rung in range(1, rungs)]

    first = int(trials / sum(ETA**-rung for rung in range(rungs)))
    while first + 1 + sum(higher(first + 1)) <= trials:
        first += 1
    return [trials - sum(higher(first)), *higher(first)]


def halving_problems(space: Space, rungs: Sequence[str], trials: int | None) -> list[str]:
    """Return what keeps a space from successive halving with so many points."""
    dimension = space.by_name.get(RUNG)
    if dimension is None:
        return [
            f"strategy 'halving' needs a dimension {RUNG}: the rungs that points climb, "
            "such as [analytic, tile]"
        ]
    if not isinstance(dimension.domain, Choice):
        return [f"{RUNG}: must be a choice of rungs"]
    values = dimension.domain.values()
    problems = [unknown("rung", str(each), rungs) for each in values if each not in rungs]
    if len(values) < 2:
        problems.append(f"strategy 'halving' needs two rungs in {RUNG}, got {values[0]} alone")
    if dimension.when:
        problems.append(f"{RUNG}: strategy 'halving' needs it at every point, without 'when'")
    problems += [
        f"{each.name}: strategy 'halving' needs it on every rung, not when {RUNG} has some value"
        for each in space.dimensions
        if RUNG in each.when
    ]
    if isinstance(trials, int) and 1 <= trials < (least := least_trials(len(values))):
        problems.append(
            f"strategy 'halving' needs trials >= {least} for {len(values)} rungs, got {trials}"
        )
    return problems
