"""Does each strategy keep what the interface promises? One suite that all must pass."""

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest

from simulator.search import strategies
from simulator.search.objectives import Objective
from simulator.search.space import (
    Choice,
    Constraint,
    Dimension,
    Float,
    Int,
    Log2,
    Point,
    Space,
    key_of,
)
from simulator.search.strategies import STRATEGIES, Strategy, strategy

Costs: TypeAlias = list[float] | None
Cost: TypeAlias = Callable[[Point], Costs]

TRIALS, GENERATION = 24, 8
FINITE = ("grid", "random", "sobol")


def _few_macs(point: Point) -> bool:
    rows, columns = point["rows"], point["columns"]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    return rows * columns <= 1024


#: Each kind of domain but floats, a dimension of one value, a condition and a constraint.
SPACE = Space(
    (
        Dimension("rows", Log2(8, 256)),
        Dimension("columns", Int(4, 64, step=4)),
        Dimension("dataflow", Choice(("weight", "output", None))),
        Dimension("buffers", Int(1, 3), when={"dataflow": ("weight",)}),
        Dimension("banks", Int(4, 4)),
    ),
    (Constraint("macs", _few_macs),),
)
WITH_FLOAT = Space((*SPACE.dimensions, Dimension("clock", Float(0.5, 2.0))), SPACE.constraints)
SIX = Space((Dimension("rows", Int(1, 3)), Dimension("double", Choice((False, True)))))


def _space_of(name: str) -> Space:
    return SPACE if name == "grid" else WITH_FLOAT


def _made(name: str, space: Space, *, seed: int = 3, trials: int = TRIALS) -> Strategy:
    goals = [Objective("latency_s", "min"), Objective("area_mm2", "min")]
    count = 1 if name == "cmaes" else 2
    return strategy(name, space, goals[:count], seed=seed, trials=trials, generation=GENERATION)


def _cost_for(name: str) -> Cost:
    """Make a smooth trade of two costs, a part of which is infeasible."""

    def cost(point: Point) -> Costs:
        place = sum(WITH_FLOAT.shares({"clock": 1.0, **point}))
        if key_of(point)[0] in "0123":
            return None
        return [(place - 2) ** 2, (place - 3) ** 2][: 1 if name == "cmaes" else 2]

    return cost


def _nowhere(point: Point) -> Costs:
    return None


def _run(
    made: Strategy, cost: Cost, between: Callable[[], object] = lambda: None
) -> list[list[Point]]:
    generations = []
    while points := made.ask():
        between()
        made.tell(points, [cost(point) for point in points])
        generations.append(points)
        assert len(generations) <= 200, "it does not end"
    return generations


def _points(generations: Sequence[Sequence[Point]]) -> list[Point]:
    return [point for generation in generations for point in generation]


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_asks_new_points_of_the_space_up_to_trials(name: str) -> None:
    space = _space_of(name)
    made = _made(name, space)
    generations = _run(made, _cost_for(name))
    points = _points(generations)
    assert made.name == name
    assert len(points) == TRIALS
    assert len({key_of(point) for point in points}) == TRIALS
    assert all(len(each) <= GENERATION for each in generations)
    assert [problem for point in points for problem in space.refuse(point)] == []


def test_points_are_in_the_order_of_the_space(name: str) -> None:
    space = _space_of(name)
    order = [each.name for each in space.dimensions]
    for point in _points(_run(_made(name, space, trials=12), _cost_for(name))):
        assert list(point) == [each for each in order if each in point]


def test_both_sides_of_a_condition_are_asked(name: str) -> None:
    # The grid has all of one side first.
    trials = 500 if name == "grid" else TRIALS
    points = _points(_run(_made(name, _space_of(name), trials=trials), _cost_for(name)))
    assert {"buffers" in point for point in points} == {False, True}


def test_same_seed_same_points_whatever_happens_between(name: str) -> None:
    def disturb() -> None:
        np.random.seed(5)
        random.seed(5)
        _made(name, _space_of(name), seed=9).ask()

    first = _run(_made(name, _space_of(name)), _cost_for(name))
    second = _run(_made(name, _space_of(name)), _cost_for(name), disturb)
    assert first == second


def test_other_seed_other_points(name: str) -> None:
    space = _space_of(name)
    first, second = (_run(_made(name, space, seed=seed), _cost_for(name)) for seed in (1, 2))
    assert (first == second) == (name == "grid")


def test_telling_the_same_again_goes_on_in_the_same_way(name: str) -> None:
    space, cost = _space_of(name), _cost_for(name)
    whole = _run(_made(name, space), cost)
    resumed = _made(name, space)
    for generation in whole[:-1]:
        assert resumed.ask() == generation
        resumed.tell(generation, [cost(point) for point in generation])
    assert resumed.ask() == whole[-1]


def test_what_is_told_steers_the_samplers_alone(name: str) -> None:
    def reverse(point: Point) -> Costs:
        costs = _cost_for(name)(point)
        return None if costs is None else [-cost for cost in costs]

    space = _space_of(name)
    same = _run(_made(name, space), _cost_for(name)) == _run(_made(name, space), reverse)
    assert same == (name in FINITE)


def test_infeasible_everywhere_ends(name: str) -> None:
    assert len(_points(_run(_made(name, _space_of(name)), _nowhere))) == TRIALS


def test_constraints_that_nothing_keeps_ask_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "MOST_MISSES", 20)
    monkeypatch.setattr(strategies, "MOST_SAMPLER_MISSES", 20)
    never = Constraint("never", lambda point: False)
    # With a float the grid cannot be counted, so draws are given up after so many misses.
    made = _made(name, Space(_space_of(name).dimensions, (never,)))
    assert made.ask() == []
    assert made.ask() == []


def test_a_small_space_is_exhausted(name: str) -> None:
    points = _points(_run(_made(name, SIX), _cost_for_six(name)))
    keys = {key_of(point) for point in points}
    assert len(keys) == len(points) <= 6
    if name in FINITE:
        assert keys == {key_of(point) for point in SIX.grid()}


def _cost_for_six(name: str) -> Cost:
    count = 1 if name == "cmaes" else 2
    return lambda point: [float(len(repr(point)))] * count


def test_a_done_strategy_stays_done(name: str) -> None:
    made = _made(name, _space_of(name), trials=3)
    assert len(_points(_run(made, _cost_for(name)))) == 3
    assert [made.ask(), made.ask()] == [[], []]
    made.tell([], [])


def test_a_space_of_one_point(name: str) -> None:
    one = Space((Dimension("rows", Int(4, 4)),))
    assert _points(_run(_made(name, one), _cost_for_six(name))) == [{"rows": 4}]


def test_one_dimension_and_smallest_generation(name: str) -> None:
    space = Space((Dimension("rows", Int(1, 1000)),))
    goals = [Objective("latency_s", "min")]
    least = {"nsga2": 2, "cmaes": 4}.get(name, 1)
    made = strategy(name, space, goals, seed=0, trials=9, generation=least)
    points = _points(_run(made, lambda point: [space.shares(point)[0]]))
    assert len(points) == 9


def test_grid_goes_in_order_and_is_cut_at_trials() -> None:
    points = _points(_run(_made("grid", SIX, trials=4), _nowhere))
    assert points == list(SIX.grid())[:4]


def test_grid_without_trials_is_whole() -> None:
    made = strategy("grid", SPACE, [Objective("latency_s", "min")], seed=0)
    assert _points(_run(made, _nowhere)) == list(SPACE.grid())


def test_sobol_is_more_even_than_random() -> None:
    square = Space((Dimension("x", Float(0.0, 1.0)), Dimension("y", Float(0.0, 1.0))))
    points = _points(_run(_made("sobol", square, trials=64), _nowhere))
    cells = {tuple(int(8 * share) for share in square.shares(point)) for point in points}
    assert len(cells) == 64


@pytest.mark.parametrize("name", ["nsga2", "tpe", "cmaes"])
def test_samplers_come_nearer_than_random_draws(name: str) -> None:
    cube = Space(tuple(Dimension(f"x{index}", Float(0.0, 1.0)) for index in range(4)))
    goal = [Objective("latency_s", "min")]

    def cost(point: Point) -> Costs:
        return [sum((share - 0.3) ** 2 for share in cube.shares(point))]

    def best(which: str, seed: int) -> float:
        made = strategy(which, cube, goal, seed=seed, trials=96, generation=8)
        return min(costs[0] for point in _points(_run(made, cost)) if (costs := cost(point)))

    seeds = range(3)
    assert sum(best(name, seed) for seed in seeds) < sum(best("random", seed) for seed in seeds)
