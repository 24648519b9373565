"""Does a study on a cluster come to what processes come to, whichever worker or scheduler dies?

A scheduler and workers of their own, all on this machine; as they take seconds to start, one after
the other is killed in a single test.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from plans import tiny_model

from simulator.config import code_hash, dump_yaml, identity
from simulator.errors import InputError
from simulator.search import cluster as cluster_room
from simulator.search.cluster import Cluster
from simulator.search.pool import NoWorkerError, WorkerLostError
from simulator.search.store import Store
from simulator.search.sweep_file import load_sweep
from simulator.study import case_of, evaluate, run

SWEEP = """\
name: small
summary: a small sweep
device: generic_npu_128
workload: {{model: {model}, phase: decode, batch: 2, context: 40}}
rung: analytic
space:
  device.matrix.rows: {{log2: [16, 128]}}
  workload.weights: [fp16, int8-channel]
  device.scratchpad.capacity: [8 KiB, 4 MiB]
objectives: {{latency_s: min, area_mm2: min}}
"""


def square(number: int) -> int:
    return number * number


def refuse(_: int) -> int:
    raise InputError("no such number")


def linger(number: int) -> int:
    time.sleep(0.2)
    return number


def die(_: int) -> int:
    os._exit(3)


def _dask(*arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    changes = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        # A point is given up when the second worker that has it is lost.
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    void = subprocess.DEVNULL
    return subprocess.Popen(command, env={**os.environ, **changes}, stdout=void, stderr=void)


class Machines:
    """A scheduler with its address, and workers."""

    def __init__(self, folder: Path) -> None:
        file = folder / "scheduler.json"
        self.scheduler = _dask("scheduler", "--port", "0", "--scheduler-file", str(file))
        self.workers: list[subprocess.Popen[bytes]] = []
        while not file.exists() or not file.read_text().endswith("}"):
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = str(json.loads(file.read_text())["address"])

    def add(self, workers: int) -> None:
        options = ("--nthreads", "1", "--no-nanny")
        self.workers += [_dask("worker", self.address, *options) for _ in range(workers)]

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def _machines(folder: Path) -> Iterator[Machines]:
    made = Machines(folder)
    try:
        yield made
    finally:
        made.end()


def test_what_dies_costs_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _machines(tmp_path) as machines:
        monkeypatch.setattr(cluster_room, "START_S", 0.1)
        with pytest.raises(
            NoWorkerError, match=r"no worker has come to the scheduler at .* in 0\.1 s"
        ):
            Cluster(machines.address)
        monkeypatch.undo()
        machines.add(3)
        _a_worker_is_killed_in_a_study(machines, tmp_path)
        _other_code_is_told(machines, monkeypatch)
        with Cluster(machines.address) as cluster:
            assert list(cluster.map(square, range(20))) == [n * n for n in range(20)]
            with pytest.raises(InputError, match="no such number"):
                cluster.submit(refuse, 1).result()
            _a_call_that_ends_workers_is_given_up(cluster)
            _the_scheduler_is_killed(machines, cluster)


def _a_worker_is_killed_in_a_study(machines: Machines, folder: Path) -> None:
    """All points are simulated, to the same outcomes as anywhere."""
    (folder / "tiny.yaml").write_text(dump_yaml(tiny_model()))
    (folder / "sweep.yaml").write_text(SWEEP.format(model=folder / "tiny.yaml"))
    sweep = load_sweep(folder / "sweep.yaml")
    killed = machines.workers.pop()

    def kill(*_: object) -> None:
        if killed.poll() is None:
            killed.send_signal(signal.SIGKILL)
            killed.wait()

    tally = run(sweep, folder / "cluster.db", cluster=machines.address, seen=kill)
    assert killed.returncode == -signal.SIGKILL
    assert (tally.points, tally.new, tally.failed) == (16, 16, 0)
    case = case_of(sweep)
    with Store(folder / "cluster.db") as store:
        rows = list(store.rows())
    assert [dict(row.point) for row in rows] == [dict(point) for point in sweep.space.grid()]
    for row in rows:
        alone = evaluate(case, row.point)
        assert (row.outcome.state, row.outcome.reason) == (alone.state, alone.reason)
        assert row.outcome.metrics == alone.metrics


def _other_code_is_told(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and by a worker that comes later."""
    with Cluster(machines.address) as cluster:
        cluster._code = "0" * 16
        with pytest.raises(
            NoWorkerError, match=r"worker tcp://\S+ runs another nibblesim, its code"
        ):
            cluster.submit(square, 1).result()
    monkeypatch.setattr(identity, "data_root", lambda: Path("nowhere"))
    code_hash.cache_clear()
    with pytest.raises(NoWorkerError, match=r"worker tcp://\S+ runs another nibblesim, its code"):
        Cluster(machines.address)
    monkeypatch.undo()
    code_hash.cache_clear()


def _a_call_that_ends_workers_is_given_up(cluster: Cluster) -> None:
    fatal = cluster.submit(die, 1)
    with pytest.raises(WorkerLostError, match="2 workers that had it were lost, the last one tcp"):
        fatal.result()


def _the_scheduler_is_killed(machines: Machines, cluster: Cluster) -> None:
    running = [cluster.submit(linger, n) for n in range(4)]
    machines.scheduler.send_signal(signal.SIGKILL)
    words = f"the cluster at {machines.address} does not go on"
    with pytest.raises(NoWorkerError, match=words):
        running[-1].result()
    with pytest.raises(NoWorkerError, match=words):
        _until_refused(cluster)


def _until_refused(cluster: Cluster) -> None:
    while True:
        cluster.submit(linger, 1).result()
