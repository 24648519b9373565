"""Strategies: which points of a space a study asks for next, by what it was told of the last ones.

All stand behind one interface. They ask a generation, are told its costs in the same order, and so
on until they ask nothing. No point is asked twice, each keeps the constraints, and what is asked
depends on the space, the arguments and what was told alone: a study that tells the same goes on
where another was ended. The grid goes in order; `random` and `sobol` draw from the unit cube
(Sobol points scrambled after Owen, by SciPy). The samplers NSGA-II (Deb 2002), TPE (Bergstra 2011,
multivariate, several objectives) and CMA-ES (Hansen) are Optuna's, in a study in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf, isnan
from typing import TYPE_CHECKING, Protocol, TypeAlias

from simulator.config import unknown
from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Dimension, Point, Space, key_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

#: What is to be made small, one number an objective; None: infeasible or failed.
Costs: TypeAlias = Sequence[float] | None

GENERATION = 16
#: Of strategies that learn nothing from costs: between generations workers wait for the last.
LONG_GENERATION = 256
#: Draws in a row that give no new point before a strategy takes the space to hold no more.
MOST_MISSES = 10_000
#: The same for Optuna's samplers, whose draws cost a thousand times as much.
MOST_SAMPLER_MISSES = 500
#: Grids up to here are walked first, so that a strategy knows when nothing is left.
MOST_COUNTED = 10_000
#: Seeds of NumPy's older generator, which Optuna draws from.
MOST_SEED = 2**32 - 1
_BELOW_ONE = 1 - 2**-53


class Strategy(Protocol):
    """Asks for points and learns from what they cost."""

    name: str

    def ask(self) -> list[Point]:
        """Return the next generation; empty: done. InputError before the last one was told."""

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, in its order; InputError for another."""


class _Generations(ABC):
    """What all strategies share: no more than `trials` points, none twice, told in order."""

    def __init__(
        self, name: str, space: Space, objectives: int, *, trials: int | None, generation: int
    ) -> None:
        self.name = name
        self._space = space
        self._objectives = objectives
        self._left = trials
        self._generation = generation
        self._keys: set[str] = set()
        self._waiting: list[str] = []

    def ask(self) -> list[Point]:
        """Return the next generation; empty: done. InputError before the last one was told."""
        if self._waiting:
            raise InputError("the last generation must be told before the next is asked")
        count = self._generation if self._left is None else min(self._generation, self._left)
        points = self._draw(count) if count else []
        if self._left is not None:
            # Where nothing new was found, nothing is asked from here on.
            self._left = self._left - len(points) if points else 0
        self._waiting = [key_of(point) for point in points]
        return points

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, in its order; InputError for another."""
        if [key_of(point) for point in points] != self._waiting:
            raise InputError("the points told are not those of the last generation, in its order")
        if len(costs) != len(points):
            raise InputError(f"expected costs of {len(points)} points, got {len(costs)}")
        problems = [problem for each in costs if (problem := self._refusal(each))]
        if problems:
            raise InputError(problems)
        self._waiting = []

    def _refusal(self, costs: Costs) -> str:
        """Return why these are not the costs of a point, "" if they are."""
        if costs is None:
            return ""
        if len(costs) != self._objectives:
            return f"expected {self._objectives} costs of a point, got {len(costs)}"
        return f"a cost must be a number, got {list(costs)}" if any(map(isnan, costs)) else ""

    def _is_new(self, point: Point) -> bool:
        """Tell whether a point was never asked, and take it as asked."""
        before = len(self._keys)
        self._keys.add(key_of(point))
        return len(self._keys) > before

    @abstractmethod
    def _draw(self, count: int) -> list[Point]:
        """Return up to `count` (>= 1) new points; fewer only where a sampler repeats itself."""


class _Grid(_Generations):
    """All points of the grid in order."""

    def __init__(
        self, name: str, space: Space, objectives: int, *, trials: int | None, generation: int
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._grid = space.grid()

    def _draw(self, count: int) -> list[Point]:
        return list(islice(self._grid, count))


class _Drawn(_Generations):
    """Points of the unit cube that depend on nothing told; repeats and misses are dropped."""

    def __init__(
        self,
        name: str,
        space: Space,
        objectives: int,
        shares: Iterator[Sequence[float]],
        *,
        trials: int,
        generation: int,
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._shares = shares

    def _draw(self, count: int) -> list[Point]:
        points: list[Point] = []
        misses = 0
        while len(points) < count and misses < MOST_MISSES:
            point = self._space.at(next(self._shares))
            if point is not None and self._is_new(point):
                points.append(point)
                misses = 0
            else:
                misses += 1
        return points


class _Sampled(_Generations):
    """Points of a sampler of Optuna.

    The sampler always gives a generation of its own size, as NSGA-II and CMA-ES need. What it
    gives again is not asked again but answered with the costs told before, so fewer points may be
    asked. All dimensions are sampled, those that do not apply are dropped.

    A point found infeasible is told as complete, as it must teach where not to go: at infinite
    costs, which CMA-ES ranks last, and with a broken constraint, which NSGA-II and TPE rank behind
    all others. A draw that breaks a constraint of the space is told to TPE at once in the same
    way; left untold, it would draw there for ever. Populations of NSGA-II and CMA-ES must not fill
    up with such draws: for these they are failed, which no population counts.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        objectives: int,
        sampler: BaseSampler,
        *,
        trials: int,
        generation: int,
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._study = _study(sampler, objectives)
        self._distributions = {
            each.name: _distribution(each, share_alone=name == "cmaes")
            for each in space.dimensions
            if each.domain.size != 1
        }
        self._known: dict[str, Costs] = {}
        self._sampled: list[tuple[Trial, str]] = []

    def _draw(self, count: int) -> list[Point]:
        misses = 0
        while misses < MOST_SAMPLER_MISSES:
            points, misses = self._sample(count, misses)
            if points:
                return points
            self._answer()
        return []

    def _sample(self, count: int, misses: int) -> tuple[list[Point], int]:
        """Return the new points of one generation of the sampler, and misses since the last."""
        points: list[Point] = []
        while (
            len(points) < count
            and len(self._sampled) < self._generation
            and misses < MOST_SAMPLER_MISSES
        ):
            trial = self._study.ask(dict(self._distributions))
            point = self._space.at([self._share(trial, each) for each in self._space.dimensions])
            if point is None:
                self._miss(trial)
                misses += 1
                continue
            self._sampled.append((trial, key_of(point)))
            if self._is_new(point):
                points.append(point)
                misses = 0
            else:
                misses += 1
        return points, misses

    def _share(self, trial: Trial, dimension: Dimension) -> float:
        """Return the share of a dimension that a trial has sampled, as share or as place."""
        if dimension.name not in self._distributions:
            return 0.5
        sampled: int | float = trial.params[dimension.name]
        size = dimension.domain.size
        return sampled if isinstance(sampled, float) or size is None else (sampled + 0.5) / size

    def _miss(self, trial: Trial) -> None:
        """Tell the sampler of a draw that breaks a constraint of the space."""
        from optuna.trial import TrialState

        if self.name == "tpe":
            self._tell(trial, None)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _tell(self, trial: Trial, costs: Costs) -> None:
        # CMA-ES knows no constraints, and warns of them.
        if self.name != "cmaes":
            trial.set_constraint("feasible", 1.0 if costs is None else 0.0)
        self._study.tell(trial, [inf] * self._objectives if costs is None else list(costs))

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, and hand them to the sampler."""
        super().tell(points, costs)
        self._known.update(zip(map(key_of, points), costs, strict=True))
        self._answer()

    def _answer(self) -> None:
        """Tell the sampler what its last generation costs, in its order."""
        for trial, key in self._sampled:
            self._tell(trial, self._known[key])
        self._sampled = []


def _study(sampler: BaseSampler, objectives: int) -> Study:
    """Return a study in memory that reports nothing of its own."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)
    finally:
        optuna.logging.set_verbosity(before)


def _distribution(dimension: Dimension, *, share_alone: bool) -> BaseDistribution:
    """Return how Optuna sees a dimension: a share, a place in an order, or a category.

    share_alone: for CMA-ES, which knows neither categories nor steps; it keeps the share itself.
    """
    from optuna import distributions

    size = dimension.domain.size
    if size is None or share_alone:
        return distributions.FloatDistribution(0.0, _BELOW_ONE)
    if isinstance(dimension.domain, Choice):
        return distributions.CategoricalDistribution(tuple(range(size)))
    return distributions.IntDistribution(0, size - 1)


def _random_shares(dimensions: int, seed: int) -> Iterator[Sequence[float]]:
    """Yield places of the unit cube, each independent of the others."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    while True:
        yield generator.random(dimensions).tolist()


def _sobol_shares(dimensions: int, seed: int) -> Iterator[Sequence[float]]:
    """Yield a scrambled Sobol sequence; it is drawn in powers of two, which keep its balance."""
    import numpy as np
    from scipy.stats import qmc

    # Bits for more points than anyone asks, and few enough that no share is rounded up to one.
    sequence = qmc.Sobol(dimensions, bits=50, rng=np.random.default_rng(seed))
    while True:
        yield from sequence.random(64).tolist()


def _nsga2(seed: int, generation: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=generation, seed=seed)


def _tpe(seed: int, generation: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(n_startup_trials=generation, seed=seed)


def _cmaes(seed: int, generation: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(popsize=generation, seed=seed)


_SHARES: Mapping[str, Callable[[int, int], Iterator[Sequence[float]]]] = {
    "random": _random_shares,
    "sobol": _sobol_shares,
}
_SAMPLERS: Mapping[str, Callable[[int, int], BaseSampler]] = {
    "nsga2": _nsga2,
    "tpe": _tpe,
    "cmaes": _cmaes,
}
#: NSGA-II crosses two parents; CMA-ES recombines the better half, which must be two or more.
_LEAST_GENERATION = {"nsga2": 2, "cmaes": 4}
STRATEGIES = ("grid", *_SHARES, *_SAMPLERS)


def strategy(
    name: str,
    space: Space,
    objectives: Sequence[Objective],
    *,
    seed: int,
    trials: int | None = None,
    generation: int | None = None,
) -> Strategy:
    """Return a strategy that asks for at most `trials` points, `generation` of them at a time.

    generation: by default `GENERATION` for samplers, `LONG_GENERATION` for the others. trials:
    None for all of a grid; the others must be told. Raises InputError that lists every problem:
    unknown names, wrong numbers, several objectives for CMA-ES, a float in a grid.
    """
    if generation is None:
        generation = GENERATION if name in _SAMPLERS else LONG_GENERATION
    problems = _problems(name, objectives, seed, trials, generation)
    if problems:
        raise InputError(problems)
    count = len(objectives)
    if name == "grid":
        return _Grid(name, space, count, trials=trials, generation=generation)
    assert trials is not None
    trials = min(trials, _most_points(space, trials))
    if name in _SHARES:
        shares = _SHARES[name](len(space.dimensions), seed)
        return _Drawn(name, space, count, shares, trials=trials, generation=generation)
    sampler = _SAMPLERS[name](seed, generation)
    return _Sampled(name, space, count, sampler, trials=trials, generation=generation)


def _problems(
    name: str,
    objectives: Sequence[Objective],
    seed: int,
    trials: int | None,
    generation: int,
) -> list[str]:
    """Return what keeps a strategy from being made."""
    problems = []
    if name not in STRATEGIES:
        problems.append(unknown("strategy", name, STRATEGIES))
    if not objectives:
        problems.append("a strategy needs at least one objective")
    if name == "cmaes" and len(objectives) > 1:
        named = ", ".join(each.metric for each in objectives)
        problems.append(f"strategy 'cmaes' takes one objective, got {len(objectives)}: {named}")
    if not _is_integer(seed) or not 0 <= seed <= MOST_SEED:
        problems.append(f"seed must be an integer from 0 to {MOST_SEED}, got {seed!r}")
    if trials is None:
        if name != "grid":
            problems.append(f"strategy '{name}' needs trials: how many points it asks for")
    elif not _is_integer(trials) or trials < 1:
        problems.append(f"trials must be an integer >= 1, got {trials!r}")
    least = _LEAST_GENERATION.get(name, 1)
    if not _is_integer(generation) or generation < least:
        problems.append(f"generation must be an integer >= {least}, got {generation!r}")
    return problems


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _most_points(space: Space, trials: int) -> int:
    """Return how many points there are to ask for, `trials` where that is not counted."""
    if any(each.domain.size is None for each in space.dimensions):
        return trials
    whole = list(islice(Space(space.dimensions).grid(), MOST_COUNTED + 1))
    return trials if len(whole) > MOST_COUNTED else sum(map(space.holds, whole))
