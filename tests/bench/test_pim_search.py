"""How long does a point of a search take, and what does it find? CPU time of one process."""

from collections.abc import Callable
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.hardware.equations import PimTicks
from simulator.mapping.pim_layout import Geometry, Shape, load_layout, placed
from simulator.mapping.pim_search import Found, evaluate, search

Figure = Callable[[str], None]
#: UniNDP (thu-nics/UniNDP @b4be614, HPCA 2025), its GDDR6-AiM: 64 channels of 16 units, a buffer of
#: 2 KB; tCCDL 6, tCCDS 4, tRCDRD 26, tRP 26, tRTPL 4, RL 24. Its own figures: 9,366 cycles for 4096
#: x 4096, a gain of 1.17 x over its first mapping, 1.3 s.
GEOMETRY = Geometry(
    channels=64,
    groups=1,
    banks=16,
    rows=16384,
    bursts_per_row=64,
    burst_bytes=32,
    buffer_bytes=2048,
    sums_bytes=2,
    read_bytes=32,
)
TICKS = PimTicks(
    multiply=6,
    reopen=4 + 26 + 26,
    ahead=1,
    every_row=0,
    first=27,
    write=4,
    read=4,
    write_to_multiply=6,
    multiply_to_write=1,
    multiply_to_read=6,
    read_to_multiply=1,
    read_to_write=4,
    last_read=24,
    writes_ahead=0,
)


def ticks(_: int) -> PimTicks:
    return TICKS


@pytest.mark.parametrize("sum_ticks", [0.0, 1 / 128])
def test_a_search_on_aim(
    benchmark: BenchmarkFixture, figure: Figure, request: pytest.FixtureRequest, sum_ticks: float
) -> None:
    size = 256 if request.config.getoption("benchmark_disable") else 4096
    shape = Shape(outputs=size, inputs=size)

    def timed() -> tuple[Found, float]:
        start = process_time()
        found = search(shape, GEOMETRY, ticks, sum_ticks=sum_ticks)
        return found, process_time() - start

    found, seconds = benchmark.pedantic(timed, rounds=1, warmup_rounds=1)
    known = evaluate(placed(load_layout("aim"), shape, GEOMETRY), ticks, "results")
    assert found.best.ticks <= known.ticks
    best = found.best
    figure(
        f"PIM search, {size} x {size} on 64 channels of AiM, {sum_ticks:g} ticks an addition "
        f"elsewhere: {found.points} points in {seconds:.2f} s, "
        f"{found.points / seconds:.0f} a second; {best.ticks:.0f} ticks, row-major "
        f"{known.ticks:.0f}: {known.ticks / best.ticks:.2f} x ({best.placement.layout.name}; "
        f"{best.held} held, {best.partial_sums} additions elsewhere)"
    )
