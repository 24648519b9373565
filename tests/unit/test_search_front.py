"""Are fronts and hypervolumes those of their definitions, ties and all?"""

from itertools import pairwise, product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.search.front import Archive, best, front_of, hypervolume, non_dominated
from simulator.search.objectives import Objective


@st.composite
def tables(draw: st.DrawFn, least: int = 0) -> NDArray[np.float64]:
    """Few whole numbers, so that ties and equal points are common."""
    objectives = draw(st.integers(1, 4))
    row = st.lists(st.integers(-2, 3), min_size=objectives, max_size=objectives)
    rows = draw(st.lists(row, min_size=least, max_size=12))
    return np.array(rows, dtype=np.float64).reshape(len(rows), objectives)


def _beats(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((one <= other).all() and (one < other).any())


def _volume(table: NDArray[np.float64], corner: NDArray[np.float64]) -> float:
    """Sum the cells, between all coordinates that there are, that some point beats."""
    axes = [
        sorted({*(x for x in table[:, axis] if x < corner[axis]), corner[axis]})
        for axis in range(len(corner))
    ]
    total = 0.0
    for cell in product(*(list(pairwise(axis)) for axis in axes)):
        low, high = np.array(cell).T
        if any((point <= low).all() for point in table):
            total += float(np.prod(high - low))
    return total


@given(tables(), st.sampled_from([2, 5, 12]))
def test_front_is_what_no_point_beats(table: NDArray[np.float64], part: int) -> None:
    expected = [not any(_beats(other, each) for other in table) for each in table]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.search.front._PART", part)
        assert non_dominated(table).tolist() == expected


def test_without_objectives_no_point_beats_another() -> None:
    assert non_dominated(np.empty((2, 0))).tolist() == [True, True]


def test_the_front_of_a_table_has_its_rows() -> None:
    columns = {
        "state": ["OK", "FAILED", "OK", "OK", "OK", "OK"],
        "name": ["a", "b", "c", "d", "e", "f"],
        "cost": [1.0, 0.5, 2.0, 3.0, 4.0, None],
        "speed": [1.0, 9.0, 2.0, 1.5, 8.0, 9.0],
    }
    goals = [Objective("cost", "min", at_most=3.0), Objective("speed", "max")]
    found = front_of(pa.table(columns), goals)
    assert found.values.tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 1.5]]
    assert found.on_front.tolist() == [True, True, False]
    assert found.table["name"].to_pylist() == ["a", "c"]


@given(tables(least=1), st.integers(0, 4))
def test_hypervolume_is_the_sum_of_beaten_cells(table: NDArray[np.float64], at: int) -> None:
    corner = np.arange(table.shape[1]) % 2 + float(at)
    assert hypervolume(table, corner) == pytest.approx(_volume(table, corner), abs=1e-9)


@given(tables(least=1))
def test_the_front_alone_has_the_whole_hypervolume(table: NDArray[np.float64]) -> None:
    corner = np.full(table.shape[1], 5.0)
    front = table[non_dominated(table)]
    assert hypervolume(front, corner) == pytest.approx(hypervolume(table, corner), rel=1e-12)


def _ranks(table: NDArray[np.float64]) -> list[int]:
    """Take one front after the other away."""
    ranks, left = [-1] * len(table), set(range(len(table)))
    for rank in range(len(table)):
        front = {n for n in left if not any(_beats(table[other], table[n]) for other in left)}
        for place in front:
            ranks[place] = rank
        left -= front
    return ranks


@given(tables(), st.integers(0, 12))
def test_the_best_points_are_those_of_the_lowest_ranks(
    table: NDArray[np.float64], count: int
) -> None:
    ranks, chosen = _ranks(table), best(table, count)
    assert len(set(chosen)) == len(chosen) == min(count, len(table))
    assert [ranks[place] for place in chosen] == sorted(ranks)[: len(chosen)]


def test_of_one_front_the_ends_come_first_then_what_stands_apart() -> None:
    front = [[0, 10], [1, 9], [2, 8], [6, 5], [10, 0]]
    # Neighbours apart, in parts of the spans: 0.2 + 0.2, 0.5 + 0.4, 0.8 + 0.8.
    assert best(front, 5) == [0, 4, 3, 2, 1]
    assert best([*front, [10, 10]], 6)[-1] == 5
    assert best([[2.0], [1.0], [1.0], [3.0]], 3) == [1, 2, 0]
    assert best([[1, np.inf], [np.inf, 1], [2, 2]], 2) == [0, 1]
    assert best([], 3) == []


@given(tables(least=1))
def test_an_archive_has_the_front_of_all_that_came(table: NDArray[np.float64]) -> None:
    archive = Archive(table.shape[1])
    for at in range(0, len(table), 2):
        archive.add(table[at : at + 2])
    assert archive.costs.tolist() == np.unique(table[non_dominated(table)], axis=0).tolist()


def test_infinite_costs_are_compared() -> None:
    inf = float("inf")
    assert non_dominated([[1, inf], [inf, 1], [inf, inf]]).tolist() == [True, True, False]


def test_nothing_has_no_front_and_no_volume() -> None:
    assert non_dominated(np.zeros((0, 3))).tolist() == []
    assert non_dominated([]).tolist() == []
    assert hypervolume([], [1.0, 2.0]) == 0.0


def test_a_point_on_the_reference_adds_nothing() -> None:
    assert hypervolume([[1, 4], [2, 2]], [4, 4]) == 4.0


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([1.0, 2.0], "costs are [points, objectives], got shape (2,)"),
        ([[1.0, 2.0], [float("nan"), 1.0]], "costs of point 1 are not numbers: [nan, 1.0]"),
    ],
)
def test_what_has_no_front_is_refused(costs: list[object], message: str) -> None:
    with pytest.raises(InputError) as error:
        non_dominated(costs)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("costs", "reference", "message"),
    [
        ([[1, 2]], [3], "a reference has one number for each of 2 objectives, got shape (1,)"),
        ([[1, 2]], 3.0, "a reference has one number for each of 2 objectives, got shape ()"),
        (
            [[1, float("inf")]],
            [3, 3],
            "a hypervolume needs finite costs and a finite reference",
        ),
    ],
)
def test_what_has_no_volume_is_refused(costs: object, reference: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        hypervolume(costs, reference)
    assert str(error.value) == message
