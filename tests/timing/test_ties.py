"""Who goes first when several things happen at one time, and what is said when nothing can."""

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


def graph_of(made: list[Task], edges: list[tuple[int, int]] | None = None) -> TaskGraph:
    """Return a task graph of (queue, duration) with edges (from, to)."""
    pairs = sorted(edges or [])
    sources = np.array([a for a, _ in pairs], dtype=np.int64)
    targets = np.array([b for _, b in pairs], dtype=np.int64)
    first = np.zeros(len(made) + 1, dtype=np.int64)
    np.cumsum(np.bincount(sources, minlength=len(made)), out=first[1:])
    return TaskGraph(
        queue=np.array([queue for queue, _ in made]),
        duration=np.array([duration for _, duration in made]),
        latency=np.zeros(len(made), dtype=np.int64),
        size=np.zeros(len(made), dtype=np.int64),
        op=np.zeros(len(made), dtype=np.int64),
        waits_for=np.bincount(targets, minlength=len(made)).astype(np.int64),
        first_successor=first,
        successors=targets,
        own=len(made),
        ops=1,
    )


NO_OP = op_plan(Pipeline(1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0), name="proj")
Run = Callable[[TaskGraph], SegmentRun]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that executes a task graph made by hand."""

    def execute_graph(graph: TaskGraph) -> SegmentRun:
        monkeypatch.setattr(tasks, "expand", lambda *_, **__: graph)
        return execute([NO_OP])

    return execute_graph


def starts(found: SegmentRun) -> list[int]:
    """Return the start of each task."""
    return [int(time) for time in found.tiles[2]]


@pytest.mark.parametrize(
    ("unit", "queues"),
    [(DRAM, (STORE, LOAD)), (MATRIX, (SECOND, MAIN)), (VECTOR_UNIT, (VECTOR, READY))],
)
def test_later_stages_go_first_in_a_tie(run: Run, unit: int, queues: tuple[int, int]) -> None:
    """Both can start at time 0: the stage that drains the pipeline does."""
    late, early = queues
    found = run(graph_of([(early, 5), (late, 5)]))
    assert found.tiles[0].tolist() == [unit, unit]
    assert starts(found) == [5, 0]
    assert starts(run(graph_of([(late, 5), (early, 5)]))) == [0, 5]


def test_the_head_that_was_ready_first_goes_before_a_later_stage(run: Run) -> None:
    """At 10 the unit is free: the load waits since 4, the store since 6."""
    made = [(STORE, 10), (VECTOR, 4), (NETWORK, 6), (LOAD, 3), (STORE, 3)]
    found = run(graph_of(made, [(1, 3), (2, 4)]))
    assert starts(found) == [0, 0, 0, 10, 13]


def test_a_task_waits_since_it_became_head_not_since_its_data_came(run: Run) -> None:
    """The second store could go at 0 but is head from 8 only; the load waits since 5."""
    made = [(LOAD, 8), (STORE, 4), (STORE, 4), (LOAD, 4), (VECTOR, 2), (NETWORK, 5)]
    found = run(graph_of(made, [(4, 1), (5, 3)]))
    assert starts(found) == [0, 8, 16, 12, 0, 0]


def test_a_queue_issues_in_order(run: Run) -> None:
    """The second load is ready, the first is not: the second waits."""
    found = run(graph_of([(VECTOR, 7), (LOAD, 2), (LOAD, 2)], [(0, 1)]))
    assert starts(found) == [0, 7, 9]


def test_ends_of_one_time_all_happen_before_anything_starts(run: Run) -> None:
    """Vector and network end at 5: both the store and the load are there when the memory looks."""
    made = [(NETWORK, 5), (VECTOR, 5), (LOAD, 1), (STORE, 1)]
    assert starts(run(graph_of(made, [(0, 2), (1, 3)]))) == [0, 0, 6, 5]
    assert starts(run(graph_of(made, [(1, 2), (0, 3)]))) == [0, 0, 6, 5]


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
    assert (with_nothing.waited_ps == without.waited_ps).all()
    assert with_nothing.sent_bytes == without.sent_bytes


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
