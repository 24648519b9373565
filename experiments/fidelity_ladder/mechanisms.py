"""Why the analytic rung misleads most in decode: the design again, operation by operation."""

from collections.abc import Iterator, Mapping

from ladder import Ladder

from simulator import simulate
from simulator.config import replace
from simulator.results import Result
from simulator.search.front import RUNG
from simulator.study import case_of

#: Between cores, so that activations need not go through memory.
NETWORK = {
    "link_width": "256 B",
    "hop_cycles": 1,
    "multicast": True,
    "source": "assumed: a port's width, to see what stores to memory do",
}


def mechanisms(ladder: Ladder) -> Iterator[tuple[str, float]]:
    """Yield what attention has of the gap between analytic and tile rung, and that gap, by key.

    Of the design where it is widest; then with a network between its cores.
    """
    analytic, tile = ladder.outcomes["analytic"], ladder.outcomes["tile"]

    def gap(key: str) -> float:
        return tile[key].metrics["latency_s"] / analytic[key].metrics["latency_s"]

    worst = max(ladder.designs, key=gap)
    low, high = _both(ladder, worst, {})
    whole = high.latency_ps - low.latency_ps
    yield "gap.attention", (_attention_ps(high) - _attention_ps(low)) / whole
    low, high = _both(ladder, worst, {"network": NETWORK})
    yield "gap.network", high.latency_ps / low.latency_ps


def _both(ladder: Ladder, key: str, changes: Mapping[str, object]) -> list[Result]:
    """Return a design's results on both rungs, its device changed."""
    results = []
    for rung in ("analytic", "tile"):
        device, workloads, options = case_of(ladder.sweep).at({**ladder.designs[key], RUNG: rung})
        (workload,) = workloads.values()
        results.append(simulate(replace(device, changes), workload, **options))
    return results


def _attention_ps(result: Result) -> int:
    return sum(each.latency_ps for each in result.records if each.kind == "attention")
