"""Points evaluated and stored many at once: the same study, whatever happens to a block."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.search.objectives import Objective
from simulator.search.pool import NoWorkerError, WorkerLostError
from simulator.search.records import Header, Outcome, Outcomes, Row
from simulator.search.runner import BLOCK, ENOUGH, Blocks, Tally, run_study
from simulator.search.space import Choice, Dimension, Int, Point, Space, key_of
from simulator.search.store import Store
from simulator.search.strategies import strategy

COST = (Objective("latency_s", "min", at_most=0.05), Objective("area_mm2", "max"))
SPACE = Space(
    (Dimension("rung", Choice(("tile", "analytic"))), Dimension("rows", Int(1, ENOUGH + 50)))
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.db") as opened:
        opened.study(
            Header(
                dimensions={"rung": "text", "rows": "int"},
                metrics={"latency_s": "s", "area_mm2": "mm2"},
                objectives=COST,
                defined_by="test",
                text="test",
            )
        )
        yield opened


def outcome(point: Point) -> Outcome:
    """Return an outcome that depends on the point alone."""
    rows = point["rows"]
    assert isinstance(rows, int)
    if rows % 50 == 0:
        return Outcome(
            state="INFEASIBLE", reason="too small", resource="room", demand=2.0, bound=1.0
        )
    if rows % 77 == 0:
        return Outcome(state="FAILED", reason="no", traceback="Traceback: no")
    metrics = {"latency_s": 1 / rows}
    return Outcome(state="OK", metrics={**metrics, "area_mm2": 2.0} if rows % 2 else metrics)


def in_columns(outcomes: Sequence[Outcome]) -> Outcomes:
    """Return outcomes with those that are OK in columns."""
    metrics = ("area_mm2", "latency_s")
    ok = {at: each for at, each in enumerate(outcomes) if each.state == "OK"}
    table = [[each.metrics.get(name, nan) for name in metrics] for each in ok.values()]
    others = {at: each for at, each in enumerate(outcomes) if at not in ok}
    return Outcomes([*ok], metrics, np.array(table), 0.0, others)


def done(value: object) -> Future[Any]:
    """Return a future that has ended, with a value or an error."""
    future: Future[Any] = Future()
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


class Handed:
    """What was handed out: points one by one, and blocks; `fault` is what becomes of the second."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.single: list[Point] = []
        self.many: list[list[Point]] = []
        self._fault = fault

    def one(self, point: Point) -> Future[Outcome]:
        self.single.append(point)
        return done(outcome(point))

    def block(self, points: Sequence[Point]) -> Future[Outcomes]:
        self.many.append(list(points))
        if self._fault is not None and len(self.many) == 2:
            return done(self._fault)
        return done(in_columns([outcome(point) for point in points]))

    def run(self, store: Store, *, limit: int | None = None, blocks: bool = True) -> Tally:
        grid = strategy("grid", SPACE, COST, seed=0)
        taken = Blocks(self.block, lambda point: point["rung"] == "analytic") if blocks else None
        return run_study(grid, store, COST, self.one, seed=0, limit=limit, blocks=taken)


def _sizes(count: int) -> list[int]:
    """Return the sizes of the blocks of so many points."""
    return [min(BLOCK, count - first) for first in range(0, count, BLOCK)]


def contents(store: Store) -> list[tuple[object, ...]]:
    """Return all that is told of each point, in the order in which they were asked."""
    return [
        (row.number, row.key, dict(row.point), row.outcome.state, row.outcome.reason,
         dict(row.outcome.metrics), row.outcome.traceback, str(row.outcome.demand))
        for row in store.rows()
    ]  # fmt: skip


def test_blocks_are_what_the_runner_says(store: Store) -> None:
    handed = Handed()
    tally = handed.run(store)
    assert [len(block) for block in handed.many] == _sizes(ENOUGH + 50)
    assert {point["rung"] for block in handed.many for point in block} == {"analytic"}
    assert {point["rung"] for point in handed.single} == {"tile"}
    assert tally.new == tally.points == tally.stored == 2 * (ENOUGH + 50)
    assert {row.strategy for row in store.rows()} == {"grid"}


def test_a_study_in_blocks_is_the_study_point_by_point(store: Store, tmp_path: Path) -> None:
    told = Handed().run(store)
    with Store(tmp_path / "other.db") as other:
        other.study(store.header)
        alone = Handed()
        assert alone.run(other, blocks=False) == told
        assert alone.many == []
        assert contents(store) == contents(other)
    # Some break a bound, and some lack what an objective is of.
    assert 0 < told.kept < told.ok < told.points


def test_outcomes_in_columns_are_those_of_each_point() -> None:
    outcomes = [outcome({"rows": rows}) for rows in range(1, 120)]
    columns = in_columns(outcomes)
    assert len(columns) == len(outcomes)
    assert [*map(repr, columns)] == [
        repr(replace(each, metrics=dict(sorted(each.metrics.items())))) for each in outcomes
    ]


@pytest.mark.parametrize("fault", [WorkerLostError("killed"), RuntimeError("a fault of ours")])
def test_of_a_block_that_is_lost_each_point_is_evaluated_alone(
    store: Store, fault: BaseException
) -> None:
    handed = Handed(fault)
    tally = handed.run(store)
    assert [len(block) for block in handed.many] == _sizes(ENOUGH + 50)
    assert all(point in handed.single for point in handed.many[1])
    assert len(handed.single) == ENOUGH + 50 + len(handed.many[1])
    assert tally.points == tally.stored == 2 * (ENOUGH + 50)


@pytest.mark.parametrize("retry_failed", [False, True])
def test_what_another_call_stored_of_a_block_meanwhile_is_taken_from_it(
    store: Store, tmp_path: Path, retry_failed: bool
) -> None:
    """One point: the others of the block are new, also those that FAILED."""
    handed, theirs = Handed(), Outcome("OK", {"latency_s": 0.01, "area_mm2": 7.0})

    def block(points: Sequence[Point]) -> Future[Outcomes]:
        if not handed.many:
            with Store(tmp_path / "s.db") as other:
                other.add([Row(key_of(points[0]), points[0], theirs, 0, 99_999)])
        return handed.block(points)

    tally = run_study(
        strategy("grid", SPACE, COST, seed=0),
        store,
        COST,
        handed.one,
        seed=0,
        blocks=Blocks(block, lambda point: point["rung"] == "analytic"),
        retry_failed=retry_failed,
    )
    assert tally.stored == tally.points == tally.new + 1 == 2 * (ENOUGH + 50)
    first = key_of(handed.many[0][0])
    assert store.known([first])[first].outcome.metrics == theirs.metrics


def test_without_processes_a_study_ends_and_keeps_what_it_has(store: Store) -> None:
    with pytest.raises(NoWorkerError, match="no process"):
        Handed(NoWorkerError("no process can be started")).run(store)
    again = Handed()
    tally = again.run(store)
    assert tally.stored == 2 * (ENOUGH + 50)
    assert sum(map(len, again.many)) + len(again.single) == tally.new < tally.stored


def test_once_there_were_enough_points_the_rest_come_in_blocks_too(store: Store) -> None:
    handed = Handed()
    grid = strategy("grid", SPACE, COST, seed=0, generation=2 * ENOUGH + 60)
    blocks = Blocks(handed.block, lambda point: True)
    run_study(grid, store, COST, handed.one, seed=0, blocks=blocks)
    assert [len(block) for block in handed.many] == [*_sizes(2 * ENOUGH + 60), 40]


def test_few_points_are_handed_out_one_by_one(store: Store) -> None:
    handed = Handed()
    tally = handed.run(store, limit=ENOUGH + 50 + 100)
    assert handed.many == []
    assert tally.stored == ENOUGH + 150
    # What is known is not asked again, and the rest are enough for blocks of their own.
    handed = Handed()
    assert handed.run(store).stored == 2 * (ENOUGH + 50)
    assert len(handed.single) + sum(map(len, handed.many)) == ENOUGH - 50
