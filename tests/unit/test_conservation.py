"""Does a fault planted in the engine break the books, and do equal runs give equal bytes?"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plans import tiny_model

from simulator.api import load_device, simulate
from simulator.engine import energy, executor, run, tasks
from simulator.engine.tasks import LOAD, MAIN, STORE, VECTOR, TaskGraph
from simulator.errors import CheckError, DeadlockError
from simulator.mapping.plan import OpPlan
from simulator.results import Result
from simulator.workload import decode_step, prefill

DEVICES = ("generic_npu_128", "tpu_v4", "onnxim_4core")
Edit = Callable[[TaskGraph], TaskGraph]


def decode(device: str = "tpu_v4", **options: Any) -> Result:
    """Return a decode step of a tiny model with 4-bit weights."""
    work = decode_step(tiny_model(), context=[20, 300, 300], weights="int4-g128")
    return simulate(load_device(device), work, **options)


def broken(result: Result) -> set[str]:
    """Return the names of the laws that a result says it violates."""
    with pytest.raises(CheckError) as error:
        result.check()
    lines = str(error.value).splitlines()
    assert "violated" in lines[0]
    return {line.strip().split(":")[0] for line in lines[1:]}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], None]:
    """Return a function that plants a fault into the task graph of each segment."""
    real = tasks.expand

    def planted(edit: Edit) -> None:
        def expand(ops: Sequence[OpPlan], following: OpPlan | None, *, prefetch: bool) -> TaskGraph:
            return edit(real(ops, following, prefetch=prefetch))

        monkeypatch.setattr(tasks, "expand", expand)

    return planted


def first(graph: TaskGraph, queue: int) -> int | None:
    """Return the first task of a queue that takes time, None where there is none."""
    own = np.arange(graph.own)
    found = np.flatnonzero((graph.queue[own] == queue) & (graph.duration[own] > 0))
    return int(found[0]) if len(found) else None


def changed(graph: TaskGraph, column: str, task: int | None, value: int) -> TaskGraph:
    """Return a graph with one value changed (none where there is no such task)."""
    if task is None:
        return graph
    values = getattr(graph, column).copy()
    values[task] = value
    return graph._replace(**{column: values})


def test_nothing_planted_breaks_nothing(plant: Callable[[Edit], None]) -> None:
    plant(lambda graph: graph)
    assert len(decode().check()) == 12


def test_a_dropped_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine forgets what kv_append writes."""
    real = tasks.expand

    def expand(ops: Sequence[OpPlan], following: OpPlan | None, *, prefetch: bool) -> TaskGraph:
        kept = [replace(op, store_bytes=0) if op.name == "kv_append" else op for op in ops]
        return real(kept, following, prefetch=prefetch)

    monkeypatch.setattr(tasks, "expand", expand)
    assert broken(decode()) == {"traffic", "op bytes", "events"}


def test_a_store_that_sends_nothing(plant: Callable[[Edit], None]) -> None:
    plant(lambda graph: changed(graph, "size", first(graph, STORE), 0))
    assert broken(decode()) == {"traffic", "op bytes"}


def test_a_doubled_load(plant: Callable[[Edit], None]) -> None:
    def double(graph: TaskGraph) -> TaskGraph:
        task = first(graph, LOAD)
        assert task is not None
        twice = changed(graph, "size", task, 2 * int(graph.size[task]))
        return changed(twice, "duration", task, 2 * int(graph.duration[task]))

    plant(double)
    assert broken(decode()) == {"traffic", "op bytes", "events"}


def test_data_that_arrive_but_are_not_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """One load's bytes are sent and never booked at the other end."""
    real = executor.execute

    def execute(*arguments: Any) -> Any:
        done = real(*arguments)
        received = arguments[0].books[:, executor.RECEIVED]
        received[np.flatnonzero(received)[0]] -= 1
        return done

    monkeypatch.setattr(executor, "execute", execute)
    assert broken(decode()) == {"traffic"}


def test_a_lost_arrival(plant: Callable[[Edit], None]) -> None:
    """Main steps that wait for one event more than comes: nothing can move, and it is said who."""
    plant(lambda graph: changed(graph, "waits_for", first(graph, MAIN), 99))
    with pytest.raises(DeadlockError) as error:
        decode("generic_npu_128")
    assert str(error.value).startswith("nothing can start at ")
    assert "\n  main of q_proj waits for a lost event" in str(error.value)


@pytest.mark.parametrize("queue", [LOAD, STORE, MAIN, VECTOR])
def test_a_task_that_ends_early(plant: Callable[[Edit], None], queue: int) -> None:
    """One ps of one task is missing from the events."""

    def shorten(graph: TaskGraph) -> TaskGraph:
        task = first(graph, queue)
        if task is None:
            return graph
        return changed(graph, "duration", task, int(graph.duration[task]) - 1)

    plant(shorten)
    assert "events" in broken(decode())


def test_a_run_that_stops_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The makespan of each segment is cut to half: units worked longer than the run lasted."""
    real = run.run_segment

    def halved(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        return replace(found, makespan_ps=found.makespan_ps // 2)

    monkeypatch.setattr(run, "run_segment", halved)
    assert {"unit time", "events", "op windows"} <= broken(decode())


def test_waiting_that_nobody_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit forgets what it burns while it waits, as in simulators that charge active cycles."""
    free = {"stalled": 0.0, "idle": 0.0}
    monkeypatch.setattr(energy, "waiting_energy", lambda state, profile: free)
    assert broken(decode()) == {"energy by state"}


def test_products_booked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = energy._of_macs
    monkeypatch.setattr(energy, "_of_macs", lambda *given: [*real(*given), *real(*given)])
    assert broken(decode()) == {"energy by state"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_memo_and_trace_leave_the_bytes_alone(device: str, phase: str) -> None:
    model = tiny_model()
    work = prefill(model, sequence=48) if phase == "prefill" else decode_step(model, context=300)
    made = load_device(device)
    plain = simulate(made, work)
    traced = simulate(made, work, memo=False, trace=True)
    again = simulate(made, work, memo=True, trace=True)
    assert plain.canonical_bytes() == traced.canonical_bytes() == again.canonical_bytes()
    assert plain.tiles is None
    assert traced.tiles is not None
    assert traced.tiles == again.tiles
    assert int(traced.tiles.busy_ps.sum()) > 0
    plain.check()
    traced.check()


SCRIPT = """
import sys
from plans import tiny_model
from simulator.api import load_device, simulate
from simulator.workload import decode_step
work = decode_step(tiny_model(), context=[20, 300, 300], weights="int4-g128")
sys.stdout.buffer.write(simulate(load_device(sys.argv[1]), work, memo=False).canonical_bytes())
"""


@pytest.mark.parametrize("device", DEVICES)
def test_another_process_gives_the_same_bytes(device: str) -> None:
    here = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": here}
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT, device], env=environment, check=True, capture_output=True
    )
    assert other.stdout == decode(device).canonical_bytes()


def test_tiles_of_a_trace_add_up_to_the_intervals() -> None:
    """What was traced tile by tile is what the books hold by operation, stalls apart."""
    result = decode("generic_npu_128", trace=True)
    assert result.tiles is not None
    units = [unit.name for unit in result.units]
    for index, unit in enumerate(result.units):
        mine = result.tiles.unit == index
        stalled = sum(ps for cause, ps in unit.stall_ps.items() if cause != "dram")
        assert int(result.tiles.busy_ps[mine].sum()) == unit.busy_ps + stalled, units[index]


def test_progress_is_told_once_a_segment() -> None:
    calls: list[int] = []
    decode(progress=lambda: calls.append(1))
    assert len(calls) == 4
