"""Are clusters that are not there refused, with which words?"""

import sys
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.search import cluster as cluster_room
from simulator.search.cluster import Cluster
from simulator.search.sweep_file import load_sweep
from simulator.study import run

SWEEP = """\
name: small
device: generic_npu_128
workload: {model: gpt-2, phase: decode, context: 40}
space: {device.matrix.rows: [64]}
objectives: {latency_s: min}
"""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "missing port number in address 'nonsense'"),
        ("tcp://127.0.0.1:many", "invalid literal for int() with base 10: 'many'"),
        (
            "http://127.0.0.1:8787",
            "unknown address scheme 'http' (known schemes: ['inproc', 'tcp', 'tls', 'ucx', 'ws', 'wss'])",
        ),
    ],
)
def test_what_is_no_address(address: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        Cluster(address)
    assert str(error.value) == (
        f"'{address}' is no address of a scheduler, such as tcp://host:8786: {words}"
    )


def test_an_address_without_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_room, "ANSWER_S", 1.0)
    with pytest.raises(InputError) as error:
        Cluster("tcp://127.0.0.1:1")
    assert str(error.value) == (
        "no scheduler answers at tcp://127.0.0.1:1 in 1 s; see that it runs, and that this is the "
        "address that it prints"
    )


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError) as error:
        Cluster("tcp://127.0.0.1:1")
    assert str(error.value) == "a cluster needs dask.distributed: pip install 'nibblesim[cluster]'"


def test_limits_of_processes_are_not_those_of_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    given = {"workers": 2, "time_limit_s": 3.0, "memory_limit_bytes": 2**30}
    with pytest.raises(InputError) as error:
        run(sweep, tmp_path / "s.db", cluster="tcp://127.0.0.1:1", **given)  # type: ignore[arg-type]
    assert error.value.problems == tuple(
        f"{name} is of processes on this machine; the workers of a cluster are started with theirs, as by: dask worker ADDRESS --nworkers 8 --nthreads 1 --memory-limit 4GiB"
        for name in given
    )
    assert not (tmp_path / "s.db").exists()
