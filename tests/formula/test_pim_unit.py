"""Do the cycles of a unit in a memory equal a walk over the micro-tiles of its column?"""

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import replace
from simulator.formats import get
from simulator.hardware.pim_unit import Columns, load_pim_unit
from simulator.hardware.pim_unit_fit import Fit, fit

UNIT = replace(
    load_pim_unit("fp16_in_bank"),
    {"vectors_held": 6, "buffer.capacity": "4 KiB", "power_cap": None},
)
TICKS = {"tick_ps": 1000, "cadence_ticks": 4}
CASES = {"fp16_fma": ("fp16", "fp16"), "bitmod": ("bitmod3", "fp16"), "lut_w2a8": ("int2", "int8")}


def walk(done: Fit, tile: tuple[int, int, int], passes: int) -> tuple[int, Counter[int]]:
    """Return cycles, and how many products each output got, pass by pass.

    In a turn each lane takes a micro-tile of its outputs, each row a set of vectors; all lanes of a
    row have the same inputs.
    """
    m, n, k = tile
    tiles, made = done.tiles, Counter[int]()
    cycles = 0
    waiting = [(t, v) for v in range(0, done.vectors, m) for t in range(tiles.micro_tiles)]
    while waiting:
        first_tile, first_vector = waiting[0]
        begin = first_tile - first_tile % tiles.lanes
        taken = {
            (t, v)
            for t, v in waiting
            if begin <= t < begin + tiles.lanes
            and first_vector <= v < first_vector + tiles.rows * m
        }
        assert len(taken) <= tiles.elements
        for (t, v), output, _ in product(taken, range(n), range(k)):
            for vector in range(v, min(v + m, done.vectors)):
                made[vector * tiles.outputs + t % tiles.lanes * n + output] += 1
        waiting = [each for each in waiting if each not in taken]
        cycles += passes
    return cycles, made


@pytest.mark.parametrize("pe", CASES)
@given(data=st.data())
def test_cycles_and_macs_are_those_of_a_walk(pe: str, data: st.DataObject) -> None:
    weights, activations = (get(name) for name in CASES[pe])
    columns = Columns(column_bytes=data.draw(st.sampled_from([16, 32, 64, 100])), **TICKS)
    unit = replace(UNIT, {"pe": pe, "elements": 1})
    m, n, k = unit.pe.micro_tile
    tiles = fit(unit, columns, weights, activations).tiles.micro_tiles
    rows = data.draw(st.integers(1, -(-6 // m)))
    elements = rows * tiles if rows > 1 else data.draw(st.integers(1, tiles))
    vectors = data.draw(st.integers(1, 6))
    unit = replace(unit, {"elements": elements})
    done = fit(unit, columns, weights, activations, vectors)
    cycles, made = walk(done, (m, n, k), unit.pe.passes(done.tiles.pair))
    assert done.cycles == cycles
    assert sum(made.values()) == done.macs
    assert len(made) == vectors * done.tiles.outputs
    # An output has no more inputs than the buffer is asked for.
    assert max(made.values()) == done.tiles.inputs


@given(
    hz=st.integers(100_000, 2_000_000).map(lambda khz: 1000 * khz),
    tick_ps=st.integers(250, 1500),
    ticks=st.integers(1, 20),
    elements=st.integers(1, 16),
    vectors=st.integers(1, 6),
)
def test_a_cadence_is_the_least_that_is_long_enough(
    hz: int, tick_ps: int, ticks: int, elements: int, vectors: int
) -> None:
    """To half a picosecond a tick, by which it is rounded."""
    unit = replace(UNIT, {"clock.frequency": hz, "elements": elements})
    columns = Columns(column_bytes=32, tick_ps=tick_ps, cadence_ticks=ticks)
    done = fit(unit, columns, get("fp16"), get("fp16"), vectors)
    needed_ps, longest_ps = Fraction(done.cycles * 10**12, hz), tick_ps + Fraction(1, 2)
    assert done.cadence_ticks * longest_ps >= needed_ps
    assert done.cadence_ticks >= ticks
    if done.cadence_ticks > ticks:
        assert done.bound_by == "unit"
        assert (done.cadence_ticks - 1) * longest_ps < needed_ps


@given(banks=st.integers(1, 4096), cap_w=st.floats(0.5, 100), read_pj=st.floats(0, 500))
def test_a_capped_cadence_is_the_least_within_the_cap(
    banks: int, cap_w: float, read_pj: float
) -> None:
    unit = replace(UNIT, {"power_cap": {"stack": f"{cap_w:.3f} W", "source": "test"}})
    columns = Columns(column_bytes=32, banks=banks, read_pj=read_pj, **TICKS)
    done = fit(unit, columns, get("fp16"), get("fp16"))
    cap_w = float(f"{cap_w:.3f}")
    assert done.stack_power_w.nominal <= cap_w * (1 + 1e-9)
    if done.bound_by == "power":
        before = done.stack_power_w.nominal * done.cadence_ticks / (done.cadence_ticks - 1)
        assert before > cap_w * (1 - 1e-9)
    else:
        assert done.cadence_ticks == 4
