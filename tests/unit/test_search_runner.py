"""Does a study ask, keep and tell what it should, beside other calls on the same file?"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from simulator.cli.sweep import _come_to
from simulator.errors import InputError
from simulator.search.front import Archive, front_of, on_highest_rung
from simulator.search.objectives import Objective
from simulator.search.records import Header, Outcome, Row
from simulator.search.runner import Tally, run_study
from simulator.search.space import Choice, Dimension, Int, Point, Space, key_of
from simulator.search.store import Store
from simulator.search.strategies import strategy

SPACE = Space((Dimension("n", Int(0, 9)),))
COST = [Objective("cost", "min")]
HEADER = Header(dimensions={"n": "int"}, metrics={"cost": "J"}, defined_by="", text="")
Evaluate = Callable[[Point], Future[Outcome]]


def done(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def ok(point: Point) -> Future[Outcome]:
    number = point["n"]
    assert isinstance(number, int)
    return done(Outcome("OK", {"cost": float(number)}))


def odd_fail(point: Point) -> Future[Outcome]:
    number = point["n"]
    assert isinstance(number, int)
    return done(Outcome("FAILED", reason="odd")) if number % 2 else ok(point)


def row(number: int, outcome: Outcome) -> Row:
    point = {"n": number}
    return Row(key_of(point), point, outcome, 0, number)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.db") as made:
        made.study(HEADER)
        yield made


def run(store: Store, evaluate: Evaluate, **options: Any) -> Tally:
    return run_study(
        strategy("grid", SPACE, COST, seed=0), store, COST, evaluate, seed=0, **options
    )


def states(store: Store) -> list[str]:
    return [row.outcome.state for row in store.rows()]


def test_failed_points_are_kept_unless_they_are_to_be_tried_again(store: Store) -> None:
    run(store, odd_fail)
    assert states(store) == ["OK", "FAILED"] * 5
    assert run(store, ok).new == 0
    assert states(store) == ["OK", "FAILED"] * 5
    again = run(store, ok, retry_failed=True)
    assert (again.new, again.ok, again.points, store.count()) == (5, 10, 10, 10)
    assert states(store) == ["OK"] * 10
    assert [row.number for row in store.rows()] == list(range(10))


def test_points_tried_again_need_no_room(store: Store) -> None:
    run(store, odd_fail, limit=4)
    again = run(store, ok, retry_failed=True, limit=5)
    assert (again.new, store.count(), states(store)) == (3, 5, ["OK"] * 5)


def test_failed_points_of_a_block_are_replaced(store: Store) -> None:
    keys = [key_of({"n": n}) for n in range(4)]
    store.add_block(
        keys,
        {"n": [0, 1, 2, 3]},
        {"cost": [0.0, float("nan"), float("nan"), 3.0]},
        numbers=range(4),
        seed=0,
        wall_time_s=0.0,
        state=["OK", "FAILED", "FAILED", "OK"],
        reason=["", "why", "why", ""],
    )
    with Store(store.path) as other:
        assert other.count() == 4
        assert len(other.stored(keys)) == 4
        assert (
            store.add([row(n, Outcome("OK", {"cost": 9.0})) for n in (0, 1)], over_failed=True) == 1
        )
        assert [each.outcome.metrics for each in other.rows()] == [
            {"cost": 0.0},
            {"cost": 9.0},
            {},
            {"cost": 3.0},
        ]
        assert other.add([row(1, Outcome("OK", {"cost": 5.0}))]) == 0
        assert (other.count(), store.count()) == (4, 4)


def test_what_another_call_stores_meanwhile_is_not_evaluated(store: Store) -> None:
    evaluated: list[object] = []

    def evaluate(point: Point) -> Future[Outcome]:
        if not evaluated:
            with Store(store.path) as other:
                other.add([row(n, Outcome("OK", {"cost": -1.0})) for n in range(2, 7)])
        evaluated.append(point["n"])
        return ok(point)

    tally = run(store, evaluate, ahead=2)
    assert evaluated == [0, 1, 7, 8, 9]
    assert (tally.new, tally.ok) == (5, 10)


def test_two_calls_on_one_file_share_the_work(store: Store) -> None:
    """In lockstep from the start; once they have met, they hardly ever have the same point."""
    space = Space((Dimension("n", Int(0, 199)),))
    evaluated: list[object] = []

    def call(_: int) -> Tally:
        with Store(store.path) as own, ThreadPoolExecutor(1) as worker:

            def slowly(point: Point) -> Outcome:
                time.sleep(0.002)
                evaluated.append(point["n"])
                return ok(point).result()

            grid = strategy("grid", space, COST, seed=0)
            start = partial(worker.submit, slowly)
            return run_study(grid, own, COST, start, seed=0, ahead=2)

    with ThreadPoolExecutor(2) as calls:
        tallies = list(calls.map(call, range(2)))
    assert set(evaluated) == set(range(200))
    assert len(evaluated) < 260
    assert [tally.ok for tally in tallies] == [200, 200]
    assert sum(tally.new for tally in tallies) == store.count() == 200


def test_the_first_to_store_a_point_is_believed(store: Store) -> None:
    def evaluate(point: Point) -> Future[Outcome]:
        if point["n"] == 3:
            with Store(store.path) as other:
                other.add([row(3, Outcome("OK", {"cost": -1.0}))])
        return ok(point)

    shown: list[float] = []
    tally = run(store, evaluate, seen=lambda tally: shown.append(tally.fronts[""].costs[0, 0]))
    assert (tally.new, tally.ok, store.count()) == (9, 10, 10)
    assert min(shown) == -1.0
    assert [row.outcome.metrics["cost"] for row in store.rows()][3] == -1.0


def test_what_a_bar_shows(store: Store) -> None:
    shown: list[str] = []
    objective = Objective("cost", "max")

    def seen(tally: Tally) -> None:
        shown.append(f"{tally.points} of {tally.expected}: {_come_to(tally, objective)}")

    run(store, odd_fail, limit=4)
    chosen = strategy("grid", SPACE, [objective], seed=0)
    run_study(chosen, store, [objective], odd_fail, seed=0, seen=seen, ahead=1)
    assert shown[0] == "4 of 10: best cost 2, front of 1, 2 failed"
    assert shown[-1] == "10 of 10: best cost 8, front of 1, 5 failed"
    assert _come_to(Tally(failed=3), objective) == "3 failed"


def test_a_bar_shows_the_highest_rung() -> None:
    fronts = {"tile": Archive(2), "analytic": Archive(2)}
    fronts["tile"].add([[3.0, 1.0], [2.0, 2.0], [2.0, 2.0]])
    fronts["analytic"].add([[1.0, 1.0]])
    words = "best cost 2, front of 2 at rung tile"
    assert _come_to(Tally(fronts=fronts), Objective("cost", "min")) == words


def _table(rungs: Sequence[str], states: Sequence[str]) -> pa.Table:
    costs = [float(place) for place in range(len(rungs))]
    return pa.table({"run.rung": rungs, "state": states, "cost": costs})


RUNGS = ("roofline", "analytic", "tile", "command")


def test_a_front_is_of_one_rung() -> None:
    table = _table(["analytic", "tile", "tile", "command"], ["OK", "OK", "OK", "FAILED"])
    kept, rung = on_highest_rung(table, RUNGS)
    assert (kept["cost"].to_pylist(), rung) == ([1.0, 2.0], "tile")
    assert front_of(kept, COST).on_front.tolist() == [True, False]
    with pytest.raises(InputError) as error:
        front_of(table, COST)
    assert str(error.value) == "results of several rungs have no common front: analytic, tile"


def test_a_study_on_one_rung_or_without_results_is_whole() -> None:
    plain = _table(["tile"], ["OK"]).drop_columns("run.rung")
    failed = _table(["tile", "analytic"], ["FAILED", "FAILED"])
    for table in (plain, failed):
        kept, rung = on_highest_rung(table, RUNGS)
        assert (len(kept), rung) == (len(table), "")


def test_a_study_by_halving_goes_on_as_it_would_have(tmp_path: Path) -> None:
    space = Space((Dimension("run.rung", Choice(("analytic", "tile"))), Dimension("n", Int(0, 99))))
    header = Header(
        dimensions={"run.rung": "text", "n": "int"}, metrics={"cost": "J"}, defined_by="", text=""
    )
    kept = []
    for limits in ([None], [5, 17, 19, None]):
        path = tmp_path / f"{len(limits)}.db"
        for limit in limits:
            chosen = strategy("halving", space, COST, seed=1, trials=24, generation=8, rungs=RUNGS)
            with Store(path) as store:
                store.study(header)
                run_study(chosen, store, COST, ok, seed=1, limit=limit)
        with Store(path) as store:
            kept.append([(each.number, dict(each.point)) for each in store.rows()])
    assert kept[0] == kept[1]
    by_rung = {rung: [p["n"] for _, p in kept[0] if p["run.rung"] == rung] for rung in RUNGS[1:3]}
    assert len(by_rung["analytic"]) == 18
    assert by_rung["tile"] == sorted(by_rung["analytic"])[:6]
