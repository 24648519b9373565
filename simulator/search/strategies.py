"""Strategies: which points of a space a study asks for next, by what it was told of the last ones.

All stand behind one interface. They ask a generation, are told its costs in the same order, and so
on until they ask nothing. No point is asked twice, each keeps the constraints, and what is asked
depends on the space, the arguments and what was told alone: a study that tells the same goes on
where another was ended. The grid goes in order; `random` and `sobol` draw from the unit cube
(Sobol points scrambled after Owen, by SciPy). The samplers NSGA-II (Deb 2002), TPE (Bergstra 2011,
multivariate, several objectives) and CMA-ES (Hansen) are Optuna's, in a study in memory. `halving`
spends most points on a low rung and takes the best of them to higher ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from simulator.config import unknown
from simulator.errors import InputError
from simulator.search.generations import Costs, Generations, Strategy
from simulator.search.halving import Halving, halving_problems, lowest_of
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Dimension, Point, Space, key_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

GENERATION = 16
#: Of strategies that learn nothing from costs: between generations, workers of a cluster wait for
#: the last point, which is to be rare.
LONG_GENERATION = 4096
#: Draws in a row that give no new point before a strategy takes the space to hold no more.
MOST_MISSES = 10_000
#: The same for Optuna's samplers, whose draws cost a thousand times as much.
MOST_SAMPLER_MISSES = 500
#: Starts anew of a sampler that give no new point before the space is taken to hold no more.
MOST_RESTARTS = 3
#: Grids up to here are walked first, for half a second, to know how many points they hold.
MOST_COUNTED = 100_000
#: Seeds of NumPy's older generator, which Optuna draws from.
MOST_SEED = 2**32 - 1
#: From the seed of a sampler to that of its next start; odd, so that all differ.
_SEED_STEP = 0x9E3779B9
_BELOW_ONE = 1 - 2**-53


class _Grid(Generations):
    """All points of the grid in order."""

    def __init__(
        self, name: str, space: Space, objectives: int, *, trials: int | None, generation: int
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._grid = space.grid()

    def _draw(self, count: int) -> list[Point]:
        return list(islice(self._grid, count))


class _Drawn(Generations):
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


class _Sampled(Generations):
    """Points of a sampler of Optuna.

    The sampler always gives a generation of its own size, as NSGA-II and CMA-ES need. What it
    gives again is not asked again but answered with the costs told before. A sampler that gives
    nothing new any more, as one that has converged on a grid, is started anew, its seed derived
    from the first. All dimensions are sampled, those that do not apply are dropped.

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
        seed: int,
        *,
        trials: int,
        generation: int,
    ) -> None:
        super().__init__(name, space, objectives, trials=trials, generation=generation)
        self._seed = seed
        self._study = self._started()
        self._distributions = {
            each.name: _distribution(each, share_alone=name == "cmaes")
            for each in space.dimensions
            if each.domain.size != 1
        }
        self._known: dict[str, Costs] = {}
        self._sampled: list[tuple[Trial, str]] = []

    def _started(self) -> Study:
        """Return a study in which nothing is known yet, its seed the next one."""
        sampler = _SAMPLERS[self.name](self._seed, self._generation)
        self._seed = (self._seed + _SEED_STEP) % (MOST_SEED + 1)
        return _study(sampler, self._objectives)

    def _draw(self, count: int) -> list[Point]:
        for _ in range(MOST_RESTARTS):
            misses = 0
            while misses < MOST_SAMPLER_MISSES:
                points, misses = self._sample(count, misses)
                if points:
                    return points
                self._answer()
            self._study = self._started()
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
#: These draw from all of the space, and these go by the results of what they asked before.
DRAWN, LEARNING = (*_SHARES,), (*_SAMPLERS, "halving")
STRATEGIES = ("grid", *DRAWN, *LEARNING)


def strategy(
    name: str,
    space: Space,
    objectives: Sequence[Objective],
    *,
    seed: int,
    trials: int | None = None,
    generation: int | None = None,
    rungs: Sequence[str] = (),
) -> Strategy:
    """Return a strategy that asks for at most `trials` points, `generation` of them at a time.

    generation: by default `GENERATION` for samplers, `LONG_GENERATION` for the others. trials:
    None for all of a grid; the others must be told. rungs: all that there are, low to high, which
    `halving` needs. Raises InputError that lists every problem: unknown names, wrong numbers,
    several objectives for CMA-ES, a float in a grid, constraints that no point keeps.
    """
    if generation is None:
        generation = GENERATION if name in _SAMPLERS else LONG_GENERATION
    problems = _problems(name, objectives, seed, trials, generation)
    if name == "halving":
        problems += halving_problems(space, rungs, trials)
    if problems:
        raise InputError(problems)
    count, points = len(objectives), counted(space)
    if points == 0:
        raise InputError(no_point(space))
    # A round of halving may be larger than what is left of its lowest rung.
    if points is not None and name != "halving":
        trials = points if trials is None else min(trials, points)
    if name == "grid":
        return _Grid(name, space, count, trials=trials, generation=generation)
    assert trials is not None
    if name in _SAMPLERS:
        return _Sampled(name, space, count, seed, trials=trials, generation=generation)
    shares = _SHARES[name if name in _SHARES else "sobol"](len(space.dimensions), seed)
    part = lowest_of(space, rungs) if name == "halving" else space
    drawn = _Drawn(name, part, count, shares, trials=trials, generation=generation)
    if name != "halving":
        return drawn
    return Halving(name, space, count, rungs, drawn, trials=trials, generation=generation)


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


def counted(space: Space) -> int | None:
    """Return how many points keep the constraints; None where that is not known cheaply."""
    if any(each.domain.size is None for each in space.dimensions):
        return None
    if not space.constraints:
        with suppress(InputError):
            return space.size
        return None
    walk = islice(Space(space.dimensions).grid(), MOST_COUNTED + 1)
    held = [space.holds(point) for point in walk]
    return None if len(held) > MOST_COUNTED else sum(held)


def no_point(space: Space) -> str:
    """Say that no point keeps the constraints, and which of them leaves out most points.

    Of a grid up to `MOST_COUNTED` points all are tried, else some random ones.
    """
    free = Space(space.dimensions)
    if counted(space) is not None:
        points = list(free.grid())
    else:
        shares = _random_shares(len(space.dimensions), 0)
        drawn = (free.at(next(shares)) for _ in range(MOST_MISSES))
        points = [point for point in drawn if point is not None]
    words = "no point of the space keeps its constraints"
    if not space.constraints:
        return words
    worst, most = max(
        ((each, sum(not each.holds(point) for point in points)) for each in space.constraints),
        key=lambda pair: pair[1],
    )
    text = f" ({worst.text})" if worst.text else ""
    return f"{words}; {worst.name!r}{text} leaves out most: {most} of {len(points)} points tried"
