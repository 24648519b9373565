"""Is a product in a memory as fast as closed forms say, and no faster than its parts allow?"""

from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any

import pytest

from simulator.config import replace
from simulator.dram.pim.grouped import GroupedPim, load_grouped
from simulator.engine.in_memory import InMemoryRun, run_beside, run_plan, run_product
from simulator.formats import get
from simulator.hardware.pim_unit import PimUnit, load_pim_unit
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.pim_layout import load_layout
from simulator.mapping.pim_product import Product, columns_of, plan
from simulator.mapping.pim_time import refresh_share, ticks_of

NAMES = ("duplex_bank", "duplex_bank_group", "duplex_logic", "gddr6_banks", "hbm3_banks",
         "newton_hbm2")  # fmt: skip
PARTS = [load_grouped(name) for name in NAMES]
AIM = load_layout("aim")
#: Units with what they multiply.
UNITS = {
    "fp16_in_bank": ("fp16", "fp16"),
    "fp16_on_logic_die": ("fp16", "fp16"),
    "mixpe_in_bank": ("int4-g128", "int8-token"),
    "lut_in_bank": ("int4-g128", "int8-token"),
    "bitmod_in_bank": ("bitmod4-g128", "fp16"),
}
SIZES: list[dict[str, int]] = [
    {"outputs": 4096, "inputs": 4096},
    {"outputs": 2048, "inputs": 2048, "vectors": 6},
    {"outputs": 1024, "inputs": 128, "matrices": 32, "vectors": 4},
]
#: Share by which the closed form may be off without refresh. GDDR6 changes mode between columns of
#: units and moves, which it has no term for where the rows of both overlap; AttAcc's layout has
#: rows and loads of very different length here (32 and 3 bursts, 248 and 8 writes), of which it
#: knows the mean.
BOUND = {"gddr6_banks": 0.08}
HEADS, OTHERS = 0.2, 0.03
#: With refresh, beside one refresh.
REFRESHED = 0.05


def product_of(unit: str, **sizes: int) -> Product:
    weights, activations = (get(each) for each in UNITS[unit])
    return Product(weights=weights, activations=activations, **sizes)


def free(unit: PimUnit, **changes: Any) -> PimUnit:
    """Return a unit without a cap, with room for many vectors."""
    return replace(unit, {"power_cap": None, "buffer.capacity": "64 KiB", **changes})


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(SIZES[0], id="square"),
        pytest.param(SIZES[1], id="six vectors", marks=pytest.mark.slow),
        pytest.param(SIZES[2], id="heads", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_analytic_is_command(part: GroupedPim, unit: str, sizes: dict[str, int]) -> None:
    """Without refresh to a bound.

    With refresh it is at most late by the share of refreshes, as moves go on beside them.
    """
    elements = load_pim_unit(unit)
    share, interval = refresh_share(part), part.memory.refresh.interval_ticks
    for name in ("aim", "attacc_v") if part.banks_at_once >= 64 else ("aim", "pim_gpt"):
        made = plan(part, elements, product_of(unit, **sizes), layout=load_layout(name))
        exact, expected, refreshed, later = (
            run_plan(part, elements, made, rung=rung, refresh=refresh).cycles
            for refresh in ("none", "all_bank")
            for rung in ("command", "analytic")
        )
        bound = HEADS if name == "attacc_v" else BOUND.get(part.name, OTHERS)
        assert expected == pytest.approx(exact, rel=bound), name
        assert refreshed >= exact
        assert later == pytest.approx(expected / (1 - share), rel=1e-3)
        assert later >= refreshed * (1 - bound - REFRESHED) - share * interval
        assert later <= refreshed / (1 - share) * (1 + bound) + 1


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_no_faster_than_reads_and_elements(part: GroupedPim, unit: str) -> None:
    """Bytes by the columns of all banks, MACs by the passes of all elements."""
    elements, memory = load_pim_unit(unit), part.memory
    banks = part.channels * part.banks_at_once
    bytes_per_s = banks * memory.access_bytes / (ticks_of(part).multiply * memory.tick_ps * 1e-12)
    for sizes in SIZES:
        product = product_of(unit, **sizes)
        for rung in ("command", "analytic"):
            run = run_product(part, elements, product, layout=AIM, rung=rung)
            tiles = run.plan.fit.tiles
            turns = -(-product.vectors // elements.vectors_held)
            values = product.outputs * product.inputs * product.matrices
            moved = turns * values * float(tiles.stored.bits_per_value) / 8
            assert run.time_s >= moved / bytes_per_s
            # A tick may be half a picosecond more than it says.
            hz = elements.clock.hz * (1 + 0.5 / memory.tick_ps)
            passes = elements.pe.passes(tiles.pair)
            peak = banks * tiles.elements * prod(elements.pe.micro_tile) * hz / float(passes)
            assert product.macs / run.time_s <= peak
            read = run.plan.fit.cadence_ticks * run.issued["multiply"] / part.channels
            assert run.cycles >= read - run.plan.fit.cadence_ticks


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_large_product_is_as_fast_as_its_columns(part: GroupedPim) -> None:
    """A unit that keeps up: the ticks of columns alone, but for rows that open, and refresh."""
    unit = free(load_pim_unit("fp16_in_bank"))
    ticks = ticks_of(part)
    product = product_of("fp16_in_bank", outputs=8192, inputs=8192)
    run = run_product(part, unit, product, layout=load_layout("pim_gpt"), refresh="none")
    counts, channels = run.counts, sum(run.plan.point.placement.channel_sizes().values())
    cadence = run.plan.fit.cadence_ticks
    busy = counts.multiplies / channels * cadence
    # Of each row, load and stop at most all of it is no multiplication.
    moves = counts.writes * ticks.write + counts.reads * ticks.read
    gaps = counts.loads * (ticks.multiply_to_write + ticks.write_to_multiply)
    gaps += counts.stops * (ticks.multiply_to_read + ticks.read_to_multiply + ticks.read_to_write)
    rows = counts.openings * (ticks.reopen + ticks.every_row)
    most = busy + (moves + gaps + rows) / channels + ticks.first + ticks.last_read + cadence
    assert busy - cadence <= run.cycles <= most
    assert run.utilisation == 1.0


ELEMENTS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize("vectors", [1, 4])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_twice_the_elements_never_take_a_column_later(part: GroupedPim, vectors: int) -> None:
    """Of MixPE; exactly half as late while they are what it waits for."""
    unit = load_pim_unit("mixpe_in_bank")
    columns, pair = columns_of(part), [get(each) for each in UNITS["mixpe_in_bank"]]
    fits = [fit(free(unit, elements=many), columns, *pair, vectors) for many in ELEMENTS]
    for fewer, more in pairwise(fits):
        assert more.cadence_ticks <= fewer.cadence_ticks
        assert 2 * more.cycles >= fewer.cycles
        if more.bound_by == "unit":
            assert fewer.cycles == 2 * more.cycles


@pytest.mark.parametrize("name", ["hbm3_banks", "newton_hbm2"])
def test_twice_the_elements_are_no_slower_until_they_keep_up(name: str) -> None:
    """With the layout that is found: more lanes are more sums, which a faster column pays for.

    Beyond what keeps up with a column they are not: columns are no faster, sums are more.
    """
    part, unit = load_grouped(name), load_pim_unit("mixpe_in_bank")
    product = product_of("mixpe_in_bank", outputs=4096, inputs=4096)
    enough = plan(part, free(unit), product).fit.tiles.elements
    runs = [
        run_product(part, free(unit, elements=many), product)
        for many in ELEMENTS[2:]
        if many <= enough
    ]
    assert len(runs) >= 4
    for fewer, more in pairwise(runs):
        assert more.plan.point.ticks < fewer.plan.point.ticks
        assert more.cycles < fewer.cycles


def held(part: GroupedPim, unit: PimUnit, vectors: int, refresh: Any) -> list[InMemoryRun]:
    """Return a product of some vectors of which 1, 2, 4 and 8 are held."""
    product, layout = product_of("fp16_in_bank", outputs=1024, inputs=2048, vectors=vectors), AIM
    return [
        run_product(
            part,
            replace(unit, {"vectors_held": many}),
            product,
            layout=layout,
            refresh=refresh,
        )
        for many in (1, 2, 4, 8)
    ]


@pytest.mark.parametrize("vectors", [1, 6, 8])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_twice_the_vectors_held_are_never_slower(part: GroupedPim, vectors: int) -> None:
    """Where units keep up with columns: columns and rows are as often read as there are turns."""
    fast = free(load_pim_unit("fp16_in_bank"), elements=16, **{"clock.frequency": "64 GHz"})
    runs = held(part, fast, vectors, "all_bank")
    assert {run.plan.fit.bound_by for run in runs} == {"column"}
    turns = [-(-vectors // many) for many in (1, 2, 4, 8)]
    multiplies = [run.counts.multiplies for run in runs]
    assert multiplies == [multiplies[-1] * many // turns[-1] for many in turns]
    for fewer, more in pairwise(runs):
        assert more.cycles <= fewer.cycles
        if vectors == 1:
            assert more.cycles == fewer.cycles


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_twice_the_vectors_held_gain_little_where_units_are_slow(part: GroupedPim) -> None:
    """A column of twice the vectors takes twice as long: what is saved are rows and round-ups."""
    slow = free(load_pim_unit("fp16_in_bank"), elements=1)
    runs = held(part, slow, 8, "none")
    assert {run.plan.fit.bound_by for run in runs} == {"unit"}
    rows = [run.counts.openings for run in runs]
    assert rows == [8 * rows[-1], 4 * rows[-1], 2 * rows[-1], rows[-1]]
    for fewer, more in pairwise(runs):
        assert more.cycles <= 1.001 * fewer.cycles <= 1.08 * more.cycles


@pytest.mark.parametrize("policy", ["concurrent", "exclusive"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_requests_and_a_product_take_no_longer_than_one_after_the_other(
    part: GroupedPim, policy: Any
) -> None:
    """But for a tenth, as rows that both open are opened more often."""
    unit = load_pim_unit("fp16_on_logic_die")
    product = product_of("fp16_on_logic_die", outputs=4096, inputs=1024)
    alone = run_product(part, unit, product, layout=load_layout("pim_gpt"), refresh="none")
    for load in (0.1, 0.5, 0.9):
        both = run_beside(part, unit, alone, load=load, policy=policy)
        last = max(both.product.cycles, both.request_cycles)
        assert last >= max(alone.cycles, both.alone_cycles)
        assert last <= 1.1 * (alone.cycles + both.alone_cycles)
        channels = sum(run.channels for run in both.product.runs)
        memory = part.memory
        moved = both.requests / channels * memory.access_bytes
        seconds = Fraction(both.request_cycles * memory.tick_ps, 10**12)
        assert moved / seconds <= memory.peak_bytes_per_s
