"""Who goes first on a unit that several tasks want, and what is said when nothing can."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from plans import execute, op_plan

from simulator.engine import tasks
from simulator.engine.run import SegmentRun
from simulator.engine.tasks import LOAD, MAIN, NETWORK, READY, SECOND, STORE, VECTOR, TaskGraph
from simulator.errors import DeadlockError
from simulator.hardware.equations import Pipeline
from simulator.mapping.plan import OpPlan

MATRIX, VECTOR_UNIT, DRAM, NOC = range(4)
#: Queue and duration.
Task = tuple[int, int]


def graph_of(
    made: list[Task],
    edges: list[tuple[int, int]] | None = None,
    *,
    turns: list[int] | None = None,
    ops: list[int] | None = None,
) -> TaskGraph:
    """Return a task graph of (queue, duration) with edges (from, to); turns as listed, one op."""
    pairs = sorted(edges or [])
    sources = np.array([a for a, _ in pairs], dtype=np.int64)
    targets = np.array([b for _, b in pairs], dtype=np.int64)
    first = np.zeros(len(made) + 1, dtype=np.int64)
    np.cumsum(np.bincount(sources, minlength=len(made)), out=first[1:])
    return TaskGraph(
        queue=np.array([queue for queue, _ in made]),
        turn=np.array(turns if turns is not None else range(len(made))),
        duration=np.array([duration for _, duration in made]),
        latency=np.zeros(len(made), dtype=np.int64),
        size=np.zeros(len(made), dtype=np.int64),
        op=np.array(ops if ops is not None else [0] * len(made)),
        beside=np.zeros(len(made), dtype=np.int64),
        exclusive=np.zeros(len(made), dtype=np.int64),
        waits_for=np.bincount(targets, minlength=len(made)).astype(np.int64),
        first_successor=first,
        successors=targets,
        own=len(made),
        ops=2,
    )


NO_OP = op_plan(Pipeline(1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0), name="proj")
Run = Callable[[TaskGraph], SegmentRun]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that executes a task graph made by hand."""

    def execute_graph(graph: TaskGraph) -> SegmentRun:
        monkeypatch.setattr(tasks, "expand", lambda *_, **__: graph)
        return execute([NO_OP, NO_OP])

    return execute_graph


def starts(found: SegmentRun) -> list[int]:
    """Return the start of each task."""
    return [int(time) for time in found.tiles[2]]


PAIRS = [(DRAM, LOAD, STORE), (MATRIX, MAIN, SECOND), (VECTOR_UNIT, READY, VECTOR)]


@pytest.mark.parametrize(("unit", "early", "late"), PAIRS)
def test_stages_of_an_operation_go_by_turn(run: Run, unit: int, early: int, late: int) -> None:
    """Both can start at time 0: the lower turn does, whatever its stage."""
    found = run(graph_of([(early, 5), (late, 5)], turns=[1, 0]))
    assert found.tiles[0].tolist() == [unit, unit]
    assert starts(found) == [5, 0]
    assert starts(run(graph_of([(early, 5), (late, 5)], turns=[0, 1]))) == [0, 5]


@pytest.mark.parametrize(("unit", "early", "late"), PAIRS)
def test_a_unit_waits_for_the_turn(run: Run, unit: int, early: int, late: int) -> None:
    """The second could start at 0; its turn comes after the first, which waits until 7."""
    found = run(graph_of([(NETWORK, 7), (late, 2), (early, 3)], [(0, 1)]))
    assert unit in found.tiles[0]
    assert starts(found) == [0, 7, 9]


@pytest.mark.parametrize(("unit", "early", "late"), PAIRS)
def test_a_unit_goes_on_with_the_next_operation(run: Run, unit: int, early: int, late: int) -> None:
    """While the first operation waits until 4, the next one's work is done; then the first goes."""
    made = [(NETWORK, 4), (late, 2), (early, 3), (early, 3)]
    found = run(graph_of(made, [(0, 1)], ops=[0, 0, 1, 1]))
    assert unit in found.tiles[0]
    assert starts(found) == [0, 6, 0, 3]


@pytest.mark.parametrize(("unit", "early", "late"), PAIRS)
def test_of_two_operations_the_earlier_goes_first(
    run: Run, unit: int, early: int, late: int
) -> None:
    """Turns only count within an operation."""
    found = run(graph_of([(early, 3), (late, 2)], turns=[0, 9], ops=[1, 0]))
    assert unit in found.tiles[0]
    assert starts(found) == [2, 0]


def test_a_queue_issues_in_order(run: Run) -> None:
    """The second load is ready, the first is not: the second waits."""
    found = run(graph_of([(VECTOR, 7), (LOAD, 2), (LOAD, 2)], [(0, 1)]))
    assert starts(found) == [0, 7, 9]


def test_ends_of_one_time_all_happen_before_anything_starts(run: Run) -> None:
    """Vector and network end at 5: both the store and the load are there when the memory looks."""
    made = [(NETWORK, 5), (VECTOR, 5), (LOAD, 1), (STORE, 1)]
    ops = [0, 0, 1, 0]
    assert starts(run(graph_of(made, [(0, 2), (1, 3)], ops=ops))) == [0, 0, 6, 5]
    assert starts(run(graph_of(made, [(1, 2), (0, 3)], ops=ops))) == [0, 0, 6, 5]


def test_data_arrive_after_their_latency_while_the_unit_goes_on(run: Run) -> None:
    graph = graph_of([(LOAD, 3), (LOAD, 3), (MAIN, 1), (MAIN, 1)], [(0, 2), (1, 3)])
    found = run(graph._replace(latency=np.array([10, 10, 0, 0])))
    assert starts(found) == [0, 3, 13, 16]


def test_a_unit_does_not_interrupt_a_task(run: Run) -> None:
    found = run(graph_of([(READY, 100), (VECTOR, 1), (NETWORK, 1)], [(2, 1)]))
    assert starts(found) == [0, 100, 0]


def two_ops() -> list[OpPlan]:
    """Return a product with loads, work on outputs and stores, and one that reads its result."""
    first = op_plan(Pipeline(6, 2, 3, 4, 5, 2, 3, 1, 4, 0, 6), name="first")
    second = op_plan(Pipeline(4, 1, 4, 4, 7, 0, 3, 0, 0, 0, 2), name="second", after=[0])
    return [first, second]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_operation_that_does_nothing_changes_nothing(place: int) -> None:
    """No bytes, no time: all other tasks start when they did."""
    ops = two_ops()
    nothing = op_plan(Pipeline(1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), name="nothing", unit="vector")
    moved = [replace(op, after=tuple(i + (place <= i) for i in op.after)) for op in ops]
    with_nothing = execute([*moved[:place], nothing, *moved[place:]])
    without = execute(ops)
    assert with_nothing.makespan_ps == without.makespan_ps
    kept = with_nothing.tiles[1] != place
    for column in (0, 2, 3):
        assert with_nothing.tiles[column][kept].tolist() == without.tiles[column].tolist()
    assert (np.delete(with_nothing.waited_ps, place, axis=0) == without.waited_ps).all()
    assert (with_nothing.sent == without.sent).all()


def test_equal_input_gives_equal_schedules() -> None:
    one, two = execute(two_ops()), execute(two_ops())
    assert all((a == b).all() for a, b in zip(one.tiles, two.tiles, strict=True))


def test_deadlock_of_tasks_that_wait_for_each_other(run: Run) -> None:
    """A load for a main step that waits for it, and it for the load."""
    with pytest.raises(DeadlockError) as error:
        run(graph_of([(LOAD, 5), (MAIN, 3), (STORE, 2)], [(0, 1), (1, 0), (1, 2)]))
    assert str(error.value) == (
        "nothing can start at 0 ps:\n"
        "  load of proj waits for main of proj\n"
        "  store of proj waits for main of proj\n"
        "  main of proj waits for load of proj"
    )
    assert error.value.exit_code == 1


def test_deadlock_of_a_lost_event(run: Run) -> None:
    """The second main step waits for two events, of which one never comes."""
    graph = graph_of([(LOAD, 5), (MAIN, 3), (MAIN, 3), (STORE, 2)], [(0, 1), (1, 2), (2, 3)])
    lost = graph.waits_for + np.array([0, 0, 1, 0])
    with pytest.raises(DeadlockError) as error:
        run(graph._replace(waits_for=lost))
    assert str(error.value) == (
        "nothing can start at 8 ps:\n"
        "  store of proj waits for main of proj\n"
        "  main of proj waits for a lost event"
    )


def test_deadlock_of_the_order_in_a_queue(run: Run) -> None:
    """The store that could go stands behind one that waits for the load behind both."""
    with pytest.raises(DeadlockError) as error:
        run(graph_of([(STORE, 1), (STORE, 1), (MAIN, 2)], [(1, 2), (2, 0)]))
    assert str(error.value) == (
        "nothing can start at 0 ps:\n"
        "  store of proj waits for main of proj\n"
        "  main of proj waits for store of proj"
    )


def test_deadlock_of_turns(run: Run) -> None:
    """The load could go, but the store has its turn before it, and waits for the load's data."""
    with pytest.raises(DeadlockError) as error:
        run(graph_of([(LOAD, 1), (MAIN, 2), (STORE, 1)], [(0, 1), (1, 2)], turns=[1, 0, 0]))
    assert str(error.value) == (
        "nothing can start at 0 ps:\n"
        "  load of proj waits for store of proj\n"
        "  store of proj waits for main of proj\n"
        "  main of proj waits for load of proj"
    )
