"""What do the laws and the deadlock report say when the engine is broken in one place?

`test_conservation.py` asks whether faults are noticed; here the whole message is compared, on a
product small enough to know each number by hand: 256 x 128 by 128 x 128 in int8, in two steps.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from plans import variant

from simulator.api import load_device, load_model, simulate
from simulator.engine import executor, tasks
from simulator.engine.tasks import LOAD, MAIN, STORE, TaskGraph
from simulator.errors import CheckError, DeadlockError
from simulator.mapping.plan import OpPlan
from simulator.results import Result
from simulator.workload import Workload, decode_step, gemm

Change = Callable[[TaskGraph], TaskGraph]
#: Ports that take more than the memory gives, so that loads run at its 1 TB/s.
WIDE_PORTS = {"scratchpad.write_ports": 4}


@cache
def decode() -> Workload:
    """Return a decode step of gpt-2: twelve equal layers between an embedding and a head."""
    return decode_step(load_model("gpt-2"), context=32)


def run_product() -> Result:
    work = gemm(256, 128, 128, weights="int8", activations="int8")
    return simulate(variant("generic_npu_128", WIDE_PORTS), work)


def run_decode(**options: bool) -> Result:
    return simulate(load_device("tpu_v4i"), decode(), **options)


def inject(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Change every task graph before it is run."""
    expand = tasks.expand

    def broken(ops: Sequence[OpPlan], following: OpPlan | None, *, prefetch: bool) -> TaskGraph:
        return change(expand(ops, following, prefetch=prefetch))

    monkeypatch.setattr(tasks, "expand", broken)


def scaled(column: str, queue: int, numerator: int, denominator: int = 1) -> Change:
    """Return a fault: the last own task of a queue has another duration or size."""

    def change(graph: TaskGraph) -> TaskGraph:
        last = np.flatnonzero(graph.queue[: graph.own] == queue)[-1:]
        values = getattr(graph, column).copy()
        values[last] = values[last] * numerator // denominator
        return graph._replace(**{column: values})

    return change


def lost(source_queue: int, target_queue: int) -> Change:
    """Return a fault: the first edge from one queue to another, if there is one, never fires."""

    def change(graph: TaskGraph) -> TaskGraph:
        sources = np.repeat(np.arange(len(graph.queue)), np.diff(graph.first_successor))
        is_edge = graph.queue[sources] == source_queue
        is_edge &= graph.queue[graph.successors] == target_queue
        edge = np.flatnonzero(is_edge)[:1]
        gone = np.bincount(sources[edge], minlength=len(graph.queue))
        first = graph.first_successor - np.concatenate([[0], np.cumsum(gone)])
        successors = np.delete(graph.successors, edge)
        return graph._replace(first_successor=first, successors=successors)

    return change


def violated(lines: list[str]) -> set[str]:
    """Return the names of the laws that lines of a message are about."""
    return {line.split(":")[0] for line in lines}


def violations(result: Result) -> list[str]:
    """Return the lines below the head of the message of a result whose books do not balance."""
    with pytest.raises(CheckError) as caught:
        result.check()
    head, *indented = str(caught.value).splitlines()
    lines = [line.strip() for line in indented]
    count = len(violated(lines))
    noun = "law" if count == 1 else "laws"
    assert head == (
        f"{result.workload} on {result.device} (tile): {count} conservation {noun} violated"
    )
    return lines


def test_a_dropped_store(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, scaled("size", STORE, 0))
    # 32,768 B of activations, 16,384 B of weights, 32,768 B of results in two stores.
    assert violations(run_product()) == [
        "traffic: dram: sent 65536 B, received 65536 B, closed form 81920 B",
        "op bytes: ops read and write 81920 B, DRAM moved 65536 B",
    ]


def test_a_doubled_load(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, scaled("size", LOAD, 2))
    assert violations(run_product()) == [
        "traffic: dram: sent 106496 B, received 106496 B, closed form 81920 B",
        "op bytes: ops read and write 81920 B, DRAM moved 106496 B",
    ]


def test_one_doubled_load_in_one_of_many_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = run_decode().bytes["dram"]
    calls = 0

    def fifth(graph: TaskGraph) -> TaskGraph:
        nonlocal calls
        calls += 1
        return scaled("size", LOAD, 2)(graph) if calls == 5 else graph

    inject(monkeypatch, fifth)
    broken = run_decode(memo=False)
    # One core has no rival plans to execute: each of the fourteen segments runs once.
    assert calls == 14
    sent = broken.bytes["dram"]
    assert sent > moved
    assert violations(broken) == [
        f"traffic: dram: sent {sent} B, received {sent} B, closed form {moved} B",
        f"op bytes: ops read and write {moved} B, DRAM moved {sent} B",
    ]


def test_an_arrival_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = executor.tables

    def forgetful(graph: TaskGraph) -> executor.Tables:
        made = tables(graph)
        made.state[np.flatnonzero(graph.queue == LOAD)[0], executor.COUNTED] = 1
        return made

    monkeypatch.setattr(executor, "tables", forgetful)
    assert violations(run_product()) == [
        "traffic: dram: sent 81920 B, received 57344 B, closed form 81920 B"
    ]


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 2), (0, 1), (3, 2)])
def test_a_changed_duration(
    monkeypatch: pytest.MonkeyPatch, numerator: int, denominator: int
) -> None:
    inject(monkeypatch, scaled("duration", MAIN, numerator, denominator))
    # 256 useful cycles and 382 of filling and draining, in two steps of 319,000 ps each.
    events = 256_000 - 319_000 + 319_000 * numerator // denominator
    lines = violations(run_product())
    assert f"events: matrix: busy 256000 ps, its events last {events} ps" in lines
    assert violated(lines) <= {"events", "unit time"}


def test_tasks_that_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, lambda graph: graph._replace(duration=0 * graph.duration))
    lines = violations(run_product())
    assert lines[0] == "roofline: latency 0 ps is below the roofline bound 256000 ps (matrix)"
    assert violated(lines) == {"roofline", "unit time", "events", "peaks"}


def test_a_lost_event(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, lost(LOAD, MAIN))
    with pytest.raises(DeadlockError) as caught:
        run_product()
    # By then both loads are there: 49,152 B at 1 TB/s.
    assert str(caught.value) == (
        "nothing can start at 49152 ps:\n"
        "  store of gemm waits for main of gemm\n"
        "  main of gemm waits for a lost event"
    )


def test_a_lost_event_between_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """New keys and values are stored, but the attention that reads them is never told."""
    inject(monkeypatch, lost(STORE, LOAD))
    with pytest.raises(DeadlockError) as caught:
        simulate(load_device("tpu_v4"), decode())
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("nothing can start at ")
    assert lines == [
        "  load of attention waits for a lost event",
        "  vector of attention waits for main of attention",
        "  main of attention waits for load of attention",
        "  second of attention waits for main of attention",
        "  network of gather_attended waits for second of attention",
    ]


def test_tiles_of_a_unit_never_overlap_and_every_operation_has_some() -> None:
    result = run_decode(trace=True)
    tiles = result.tiles
    assert tiles is not None
    for index in range(len(result.units)):
        own = tiles.unit == index
        start, end = tiles.start_ps[own], tiles.end_ps[own]
        order = np.lexsort((end, start))
        assert (start[order][1:] >= end[order][:-1]).all()
    assert set(tiles.op.tolist()) == set(range(len(result.records)))
