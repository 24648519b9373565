"""Does the search find the best of what it tries, and is that better on the engine too?"""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dram.pim.grouped import load_grouped, run_program
from simulator.hardware.equations import PimTicks
from simulator.mapping.pim_layout import Geometry, Shape, load_layout, placed
from simulator.mapping.pim_nest import HELD
from simulator.mapping.pim_program import program
from simulator.mapping.pim_search import Point, evaluate, layouts, search
from simulator.mapping.pim_time import ticks_of

PART = load_grouped("hbm3_banks")
GEOMETRY = Geometry.of(PART)
SMALL = Geometry(**{**vars(GEOMETRY), "channels": 2, "groups": 2, "banks": 4, "bursts_per_row": 6})


def between(groups: int) -> PimTicks:
    return ticks_of(PART, groups)


def on_engine(point: Point) -> int:
    made = program(point.placement, held=point.held)
    return max(run_program(PART, each.entries).program_cycles for each in made)


@settings(max_examples=15)
@given(
    outputs=st.integers(1, 300),
    inputs=st.integers(1, 300),
    matrices=st.integers(1, 3),
    scale_bits=st.sampled_from([Fraction(0), Fraction(1, 8)]),
)
def test_what_is_found_is_the_best_of_all(
    outputs: int, inputs: int, matrices: int, scale_bits: Fraction
) -> None:
    shape = Shape(outputs=outputs, inputs=inputs, matrices=matrices, scale_bits=scale_bits)
    tried = list(layouts(shape, SMALL))
    assert len({layout.splits for layout in tried}) == len(tried)
    points = [
        evaluate(placed(layout, shape, SMALL), between, held)
        for layout, held in product(tried, HELD)
    ]
    found = search(shape, SMALL, between)
    assert found.points == len(points)
    assert found.best == min(points, key=lambda point: point.order)


MATRICES = [Shape(outputs=4096, inputs=4096), Shape(outputs=1024, inputs=4096)]
HEADS = Shape(outputs=2048, inputs=128, matrices=32)


@pytest.mark.parametrize("shape", [*MATRICES, HEADS], ids=Shape.words)
def test_what_is_found_is_no_slower_on_the_engine(shape: Shape) -> None:
    found = search(shape, GEOMETRY, between)
    for name in ("aim", "pim_gpt"):
        known = evaluate(placed(load_layout(name), shape, GEOMETRY), between, "results")
        assert found.best.ticks <= known.ticks
        assert on_engine(found.best) <= on_engine(known)


def test_additions_elsewhere_keep_inputs_together() -> None:
    shape = Shape(outputs=256, inputs=16384)
    free, dear = (search(shape, GEOMETRY, between, sum_ticks=ticks).best for ticks in (0.0, 10.0))
    assert free.partial_sums > dear.partial_sums
    assert free.ticks < dear.ticks
    shape = Shape(outputs=4096, inputs=1024)
    kept = search(shape, GEOMETRY, between, sum_ticks=10.0).best
    assert kept.partial_sums == 0


def test_ties_are_broken_by_rows_then_by_name() -> None:
    def nothing(_: int) -> PimTicks:
        return PimTicks(*([0] * len(PimTicks._fields)))

    shape = Shape(outputs=256, inputs=256)
    found = search(shape, SMALL, nothing).best
    all_of = [
        evaluate(placed(layout, shape, SMALL), nothing, held)
        for layout, held in product(layouts(shape, SMALL), HELD)
    ]
    assert len({point.ticks for point in all_of}) == 1
    fewest = min(point.counts.openings for point in all_of)
    assert found.counts.openings == fewest
    names = [each.placement.layout.name for each in all_of if each.counts.openings == fewest]
    assert found.placement.layout.name == min(names)
    assert found == search(shape, SMALL, nothing).best


def test_vectors_that_are_held_save_multiplies() -> None:
    shape = Shape(outputs=1024, inputs=1024)
    one = search(shape, GEOMETRY, between, vectors=4).best
    held = search(shape, GEOMETRY, between, vectors=4, vectors_held=4).best
    assert one.counts.multiplies == 4 * held.counts.multiplies
    assert held.ticks < one.ticks
