"""The loop of a study: a strategy asks, what is not known is evaluated, all is kept, it is told.

An outcome is committed as soon as it is there, in whatever order points end; a strategy is told in
the order in which it asked. So a study that is ended at any time loses what was under way, and the
same call goes on: the strategy asks the same points, and those that are known are told at once.
What another call has stored meanwhile is not evaluated again, unless both have it under way.
Points that can be evaluated many at once are handed out and committed in blocks; a block that has
no outcomes is handed out again point by point.
"""

import random
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from simulator.search.front import RUNG, Archive
from simulator.search.generations import Costs, Strategy
from simulator.search.objectives import Objective
from simulator.search.pool import NoWorkerError, WorkerLostError
from simulator.search.records import ABSENT, Absent, Outcome, Outcomes, Row
from simulator.search.space import Point, Value, key_of
from simulator.search.store import Store

Evaluate: TypeAlias = Callable[[Point], Future[Outcome]]
#: What came of points, each on its own or in columns.
AnyOutcomes: TypeAlias = Outcomes | Sequence[Outcome]
#: Points handed out at a time, for each that ends: workers never wait, and little is under way.
AHEAD = 64
#: Points of a block. Assumed: a fifth of a second of work, of which a hundredth is to begin it.
BLOCK = 1024
#: Points of a generation with which blocks begin to be handed out. The first time, who evaluates
#: them compiles for about as long as a thousand take one by one.
ENOUGH = 1024


@dataclass(frozen=True)
class Blocks:
    """Points that may be evaluated many at once.

    evaluate: starts them, and has an outcome of each. takes: tells which ones they are.
    """

    evaluate: Callable[[Sequence[Point]], Future[Outcomes]]
    takes: Callable[[Point], bool]


@dataclass
class Tally:
    """What a call has come to: points asked for by state, and those that it evaluated.

    stored: points in the study when the call ended. expected: points that will be asked for at
    most, None where that is not known. fronts: of the points asked for, by rung ("" where that is
    no dimension), kept where somebody watches. kept: those that are OK and keep all bounds.
    """

    stored: int = 0
    expected: int | None = None
    fronts: dict[str, Archive] = field(default_factory=dict)
    ok: int = 0
    infeasible: int = 0
    failed: int = 0
    new: int = 0
    kept: int = 0

    @property
    def points(self) -> int:
        """All points that were asked for."""
        return self.ok + self.infeasible + self.failed

    def count(self, states: Mapping[str, int], *, kept: int, new: int) -> None:
        """Count points by their states."""
        self.new += new
        self.kept += kept
        self.ok += states.get("OK", 0)
        self.infeasible += states.get("INFEASIBLE", 0)
        self.failed += states.get("FAILED", 0)

    def watch(self, points: Iterable[Point], costs: Iterable[Costs]) -> None:
        """Take points into the front of their rung."""
        by_rung: dict[str, list[Sequence[float]]] = {}
        for point, each in zip(points, costs, strict=True):
            if each is not None:
                by_rung.setdefault(str(point.get(RUNG, "")), []).append(each)
        for rung, table in by_rung.items():
            self.fronts.setdefault(rung, Archive(len(table[0]))).add(table)


def run_study(
    strategy: Strategy,
    store: Store,
    objectives: Sequence[Objective],
    evaluate: Evaluate,
    *,
    seed: int,
    limit: int | None = None,
    ahead: int = AHEAD,
    blocks: Blocks | None = None,
    retry_failed: bool = False,
    seen: Callable[[Tally], object] | None = None,
) -> Tally:
    """Run a study to its end, or until it has `limit` points, those already there counted.

    evaluate: starts a point, as `submit` of an executor. ahead: calls under way at most.
    blocks: where many points are asked, how those that it takes are evaluated many at once.
    retry_failed: points that FAILED are evaluated again and replaced. seen: called with
    the tally so far whenever points have come. Errors as of the store's.
    """
    bounds = [each for each in (strategy.trials, limit) if each is not None]
    tally, asked = Tally(expected=min(bounds, default=None)), 0
    loop = _Loop(
        tally, store, objectives, evaluate, strategy.name, seed, ahead, blocks, retry_failed, seen
    )
    while points := strategy.ask():
        keys = [key_of(point) for point in points]
        known, whole = loop.generation(points, keys, asked, limit)
        if not whole:
            break
        strategy.tell(points, [known[key] for key in keys])
        asked += len(points)
    tally.stored = store.count()
    return tally


def costs_of(outcome: Outcome, objectives: Sequence[Objective]) -> list[float] | None:
    """Return what is to be made small, None for a point that has no result or breaks a bound."""
    if outcome.state != "OK":
        return None
    if not all(
        each.metric in outcome.metrics and each.within(outcome.metrics[each.metric])
        for each in objectives
    ):
        return None
    return [each.cost(outcome.metrics[each.metric]) for each in objectives]


def _all_costs(outcomes: AnyOutcomes, objectives: Sequence[Objective]) -> list[Costs]:
    """Return what `costs_of` returns of each."""
    if not isinstance(outcomes, Outcomes):
        return [costs_of(outcome, objectives) for outcome in outcomes]
    found = {place: costs_of(each, objectives) for place, each in outcomes.others.items()}
    metrics = list(outcomes.metrics)
    if all(each.metric in metrics for each in objectives):
        values = outcomes.table[:, [metrics.index(each.metric) for each in objectives]]
        told = [(each.lowest, each.highest, each.cost(1.0)) for each in objectives]
        lowest, highest, sign = np.reshape(told, (-1, 3)).T
        kept = np.all((values >= lowest) & (values <= highest), axis=1).tolist()
        of_each = zip(outcomes.places, kept, (values * sign).tolist(), strict=True)
        found |= {place: costs for place, fine, costs in of_each if fine}
    return [found.get(place) for place in range(len(outcomes))]


def _states(outcomes: AnyOutcomes) -> Counter[str]:
    """Return how many points are in each state."""
    if isinstance(outcomes, Outcomes):
        others = Counter(each.state for each in outcomes.others.values())
        return others + Counter(OK=len(outcomes.places))
    return Counter(outcome.state for outcome in outcomes)


@dataclass
class _Loop:
    """What all generations of a call share."""

    tally: Tally
    store: Store
    objectives: Sequence[Objective]
    evaluate: Evaluate
    strategy: str
    seed: int
    ahead: int
    blocks: Blocks | None
    retry_failed: bool
    seen: Callable[[Tally], object] | None
    #: Whether there were enough points for blocks in a generation.
    many: bool = False

    def generation(
        self, points: Sequence[Point], keys: Sequence[str], first: int, limit: int | None
    ) -> tuple[dict[str, Costs], bool]:
        """Return the costs of points by key, and whether the limit left none of them out."""
        known = self._known(points, keys)
        wanted, whole = self._wanted(keys, known, limit)
        left = self._calls(points, wanted)
        left.reverse()
        running: dict[Future[Any], list[int]] = {}
        while left or running:
            while left and len(running) < self.ahead:
                call = left.pop()
                known |= self._known(*_taken(call, points, keys))
                call = [index for index in call if keys[index] not in known]
                if call:
                    running[self._started([points[index] for index in call])] = call
            ended = wait(running, return_when=FIRST_COMPLETED).done if running else ()
            for future in sorted(ended, key=running.__getitem__):
                call = running.pop(future)
                outcomes = _outcomes(future, len(call))
                if outcomes is None:
                    left += [[index] for index in reversed(call)]
                    continue
                own, own_keys = _taken(call, points, keys)
                new = self._kept(own, own_keys, outcomes, [first + index for index in call])
                if new < len(call):
                    # Another call has the same points under way; in another order they rarely are.
                    random.shuffle(left)
                    theirs = self._stored(own_keys)
                    pairs = zip(own_keys, outcomes, strict=True)
                    outcomes = [theirs.get(key, outcome) for key, outcome in pairs]
                costs = self._told(own, outcomes, new=new)
                known |= zip(own_keys, costs, strict=True)
        return known, whole

    def _calls(self, points: Sequence[Point], wanted: Sequence[int]) -> list[list[int]]:
        """Return the places of points that are evaluated together."""
        takes = self.blocks.takes if self.blocks is not None else None
        together = [index for index in wanted if takes is not None and takes(points[index])]
        self.many = self.many or len(together) >= ENOUGH
        if not self.many:
            return [[index] for index in wanted]
        alone = sorted(set(wanted).difference(together))
        starts = range(0, len(together), BLOCK)
        return [*(together[at : at + BLOCK] for at in starts), *([index] for index in alone)]

    def _started(self, points: Sequence[Point]) -> Future[Any]:
        if len(points) > 1 and self.blocks is not None:
            return self.blocks.evaluate(points)
        return self.evaluate(points[0])

    def _kept(
        self,
        points: Sequence[Point],
        keys: Sequence[str],
        outcomes: AnyOutcomes,
        numbers: Sequence[int],
    ) -> int:
        """Store points, those in columns as one block; return how many of them are new."""
        if isinstance(outcomes, Outcomes) and not self.retry_failed:
            stored = self._packed(points, keys, outcomes, numbers)
            single = [*outcomes.others.items()]
        else:
            stored, single = 0, [*enumerate(outcomes)]
        rows = [
            Row(keys[at], points[at], outcome, self.seed, numbers[at], self.strategy)
            for at, outcome in single
        ]
        if rows:
            stored += self.store.add(rows, over_failed=self.retry_failed)
        return stored

    def _packed(
        self,
        points: Sequence[Point],
        keys: Sequence[str],
        outcomes: Outcomes,
        numbers: Sequence[int],
    ) -> int:
        """Store the points in columns as one block; return how many of them are new."""
        if not outcomes.places:
            return 0
        own, own_keys = _taken(outcomes.places, points, keys)
        return self.store.add_block(
            own_keys,
            _columns(own),
            dict(zip(outcomes.metrics, outcomes.table.T, strict=True)),
            numbers=[numbers[at] for at in outcomes.places],
            seed=self.seed,
            strategy=self.strategy,
            wall_time_s=outcomes.wall_time_s,
        )

    def _known(self, points: Sequence[Point], keys: Sequence[str]) -> dict[str, Costs]:
        """Take those points that need not be found again as told; return their costs by key."""
        stored = self._stored(keys)
        there = [at for at, key in enumerate(keys) if key in stored]
        points, keys = _taken(there, points, keys)
        costs = self._told(points, [stored[key] for key in keys], new=0)
        return dict(zip(keys, costs, strict=True))

    def _stored(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """Return the outcomes that need not be found again, by key."""
        found = {key: row.outcome for key, row in self.store.known(keys).items()}
        if self.retry_failed:
            return {key: each for key, each in found.items() if each.state != "FAILED"}
        return found

    def _wanted(
        self, keys: Sequence[str], known: Collection[str], limit: int | None
    ) -> tuple[list[int], bool]:
        """Return the places of points to evaluate, and whether that is all that are not known."""
        wanted = [index for index, key in enumerate(keys) if key not in known]
        if limit is None:
            return wanted, True
        there = self.store.stored([keys[index] for index in wanted])
        fresh = [index for index in wanted if keys[index] not in there]
        left_out = set(fresh[max(0, limit - self.store.count()) :])
        return [index for index in wanted if index not in left_out], not left_out

    def _told(self, points: Sequence[Point], outcomes: AnyOutcomes, *, new: int) -> list[Costs]:
        """Count points, show them to whoever watches, and return their costs."""
        costs = _all_costs(outcomes, self.objectives)
        kept = sum(each is not None for each in costs)
        self.tally.count(_states(outcomes), kept=kept, new=new)
        if self.seen is not None and points:
            self.tally.watch(points, costs)
            self.seen(self.tally)
        return costs


def _taken(
    places: Sequence[int], points: Sequence[Point], keys: Sequence[str]
) -> tuple[list[Point], list[str]]:
    """Return the points at some places, and their keys."""
    return [points[at] for at in places], [keys[at] for at in places]


def _columns(points: Sequence[Point]) -> dict[str, list[Value | Absent]]:
    """Return the values of points by dimension."""
    named = dict.fromkeys(chain.from_iterable(points))
    return {name: [point.get(name, ABSENT) for point in points] for name in named}


def _outcomes(future: Future[Any], count: int) -> AnyOutcomes | None:
    """Return the outcomes of a call of so many points; None of a block that has none."""
    if count == 1:
        return [_outcome(future)]
    error = future.exception()
    if error is None:
        found: Outcomes = future.result()
        assert len(found) == count, f"{len(found)} outcomes of {count} points"
        return found
    if isinstance(error, NoWorkerError):
        raise error
    return None


def _outcome(future: Future[Outcome]) -> Outcome:
    """Return the outcome of a point; what kept it from having one is its reason."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, NoWorkerError):
        raise error
    if isinstance(error, WorkerLostError):
        return Outcome(state="FAILED", metrics={}, reason=str(error))
    listed = "".join(traceback.format_exception(error))
    return Outcome(
        state="FAILED", metrics={}, reason=f"{type(error).__name__}: {error}", traceback=listed
    )
