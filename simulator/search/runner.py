"""The loop of a study: a strategy asks, what is not known is evaluated, all is kept, it is told.

An outcome is committed as soon as it is there, in whatever order points end; a strategy is told in
the order in which it asked. So a study that is ended at any time loses what was under way, and the
same call goes on: the strategy asks the same points, and those that are known are told at once.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TypeAlias

from simulator.search.objectives import Objective
from simulator.search.pool import NoWorkerError, WorkerLostError
from simulator.search.records import Outcome, Row
from simulator.search.space import Point, key_of
from simulator.search.store import Store
from simulator.search.strategies import Strategy

Evaluate: TypeAlias = Callable[[Point], Future[Outcome]]
#: Points handed out at a time, for each that ends: workers never wait, and little is under way.
AHEAD = 64


@dataclass
class Tally:
    """What a call has come to: points asked for by state, and those that it evaluated.

    stored: points in the study when the call ended.
    """

    stored: int = 0
    ok: int = 0
    infeasible: int = 0
    failed: int = 0
    new: int = 0

    @property
    def points(self) -> int:
        """All points that were asked for."""
        return self.ok + self.infeasible + self.failed

    def count(self, outcome: Outcome, *, new: bool) -> None:
        """Count a point."""
        self.new += new
        match outcome.state:
            case "OK":
                self.ok += 1
            case "INFEASIBLE":
                self.infeasible += 1
            case _:
                self.failed += 1


def run_study(
    strategy: Strategy,
    store: Store,
    objectives: Sequence[Objective],
    evaluate: Evaluate,
    *,
    seed: int,
    limit: int | None = None,
    seen: Callable[[Tally, Outcome], object] | None = None,
) -> Tally:
    """Run a study to its end, or until it has `limit` points, those already there counted.

    evaluate: starts a point, as `submit` of an executor. seen: called after each point with the
    tally so far. Errors as of the store's.
    """
    tally, asked = Tally(), 0
    while points := strategy.ask():
        keys = [key_of(point) for point in points]
        known = {key: row.outcome for key, row in store.known(keys).items()}
        for outcome in known.values():
            tally.count(outcome, new=False)
        wanted = [index for index, key in enumerate(keys) if key not in known]
        room = len(wanted) if limit is None else max(0, limit - store.count())
        for index, outcome in _evaluated(points, wanted[:room], evaluate):
            row = Row(keys[index], points[index], outcome, seed, asked + index)
            store.add([row])
            known[keys[index]] = outcome
            tally.count(outcome, new=True)
            if seen is not None:
                seen(tally, outcome)
        if room < len(wanted):
            break
        strategy.tell(points, [costs_of(known[key], objectives) for key in keys])
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


def _evaluated(
    points: Sequence[Point], wanted: Sequence[int], evaluate: Evaluate
) -> Iterator[tuple[int, Outcome]]:
    """Yield index and outcome of points as they end."""
    left, running = list(reversed(wanted)), dict[Future[Outcome], int]()
    while left or running:
        while left and len(running) < AHEAD:
            index = left.pop()
            running[evaluate(points[index])] = index
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(ended, key=running.__getitem__):
            yield running.pop(future), _outcome(future)


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
