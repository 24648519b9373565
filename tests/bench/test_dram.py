"""How fast are the memory controllers? Requests and commands a second of CPU time of one process.

Ramulator's rates are those of its recorded runs, on the machine that made them. Nothing asserts on
time; what is asserted is that the timed work was done.
"""

import csv
import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.dram import STREAM_NAMES, Run, Settings, load_standard, named_stream, run_stream
from simulator.dram.repeats import Repeats

Figure = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
RECORDED = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000")
REGULAR = ("seq_row", "seq_bg", "conflict")


@pytest.fixture
def requests(request: pytest.FixtureRequest) -> int:
    """Return how many requests to serve: few where nothing is timed."""
    return 1000 if request.config.getoption("benchmark_disable") else 100_000


def timed(name: str, stream: str, requests: int, refresh: bool = False) -> tuple[Run, float]:
    """Return a run and the least CPU time of five."""
    standard = load_standard(name)
    settings = Settings(refresh="all_bank" if refresh else "none")
    times = []
    for _ in range(5):
        start = process_time()
        run = run_stream(named_stream(stream, standard), standard, requests, settings)
        times.append(process_time() - start)
    return run, min(times)


def recorded_rates(requests: int) -> dict[tuple[str, str], float]:
    """Return Ramulator's requests a second by standard and stream, without refresh."""
    path = DATA / "ramulator2_streams.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (CMU-SAFARI/ramulator2 @c5b1c3a)")
    with path.open(newline="") as file:
        return {
            (row["standard"].lower(), row["stream"]): float(row["req_per_cpu_s"])
            for row in csv.DictReader(file)
            if row["refresh"] == "noref" and int(row["requests"]) == requests
        }


@pytest.mark.parametrize("jumps", [True, False], ids=["as it is", "request by request"])
def test_six_streams_against_ramulator(
    benchmark: BenchmarkFixture,
    figure: Figure,
    requests: int,
    jumps: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Request by request: nothing that repeats is jumped over."""
    theirs = recorded_rates(requests)
    if not jumps:
        monkeypatch.setattr(Repeats, "skip", lambda *_: 0)
    rates = dict[tuple[str, str], float]()

    def run_all() -> None:
        for name in RECORDED:
            for stream in STREAM_NAMES:
                run, seconds = timed(name, stream, requests)
                assert run.requests == requests
                rates[name, stream] = requests / seconds

    benchmark.pedantic(run_all, rounds=1, warmup_rounds=1)
    label = "" if jumps else ", request by request"
    for name in RECORDED:
        each = (
            f"{stream} {rates[name, stream] / 1e6:.2f} M/s "
            f"({rates[name, stream] / theirs[name, stream]:.1f} x)"
            for stream in STREAM_NAMES
        )
        figure(f"{name}{label}: {', '.join(each)}")
    ratios = [rates[key] / theirs[key] for key in rates]
    figure(f"geometric mean{label}: {prod(ratios) ** (1 / len(ratios)):.1f} x Ramulator")


@pytest.mark.parametrize("refresh", [False, True], ids=["no refresh", "refresh"])
def test_regular_streams(
    benchmark: BenchmarkFixture, figure: Figure, requests: int, refresh: bool
) -> None:
    count, rates = 10 * requests, dict[tuple[str, str], float]()

    def run_all() -> None:
        for name in RECORDED:
            for stream in REGULAR:
                run, seconds = timed(name, stream, count, refresh)
                assert run.requests == count
                rates[name, stream] = sum(run.commands.values()) / seconds

    benchmark.pedantic(run_all, rounds=1, warmup_rounds=1)
    label = "refresh" if refresh else "no refresh"
    for stream in REGULAR:
        each = {name: rates[name, stream] / 1e6 for name in RECORDED}
        least, most = min(each, key=each.__getitem__), max(each, key=each.__getitem__)
        figure(
            f"{stream}, {count} requests, {label}: {each[least]:.1f} M commands/s ({least}) "
            f"to {each[most]:.1f} ({most})"
        )
