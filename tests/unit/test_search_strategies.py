"""Does each strategy keep what the interface promises? One suite that all must pass."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest

from simulator.search import strategies
from simulator.search.front import best
from simulator.search.generations import Strategy
from simulator.search.halving import least_trials, sizes
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
from simulator.search.strategies import STRATEGIES, strategy

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
RUNGS = ("roofline", "analytic", "tile", "command")


def _with_rungs(space: Space, *rungs: str) -> Space:
    """Put the rung among the dimensions, not the first of them and not in the order of cost."""
    first, *others = space.dimensions
    return Space((first, Dimension("run.rung", Choice(rungs)), *others), space.constraints)


def _for(name: str, space: Space) -> Space:
    return _with_rungs(space, "tile", "analytic") if name == "halving" else space


def _space_of(name: str) -> Space:
    return _for(name, SPACE if name == "grid" else WITH_FLOAT)


def _made(name: str, space: Space, *, seed: int = 3, trials: int = TRIALS) -> Strategy:
    goals = [Objective("latency_s", "min"), Objective("area_mm2", "min")]
    count = 1 if name == "cmaes" else 2
    given = {"seed": seed, "trials": trials, "generation": GENERATION}
    return strategy(name, space, goals[:count], rungs=RUNGS, **given)


def _cost_for(name: str) -> Cost:
    """Make a smooth trade of two costs, a part of which is infeasible."""

    def cost(point: Point) -> Costs:
        plain = {key: value for key, value in point.items() if key != "run.rung"}
        place = sum(WITH_FLOAT.shares({"clock": 1.0, **plain}))
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
    points = _points(_run(_made(name, _space_of(name)), _nowhere))
    # Halving does not begin a round that cannot come to its highest rung.
    assert TRIALS - (3 if name == "halving" else 0) <= len(points) <= TRIALS


def test_constraints_that_nothing_keeps_ask_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "MOST_MISSES", 20)
    monkeypatch.setattr(strategies, "MOST_SAMPLER_MISSES", 20)
    monkeypatch.setattr(strategies, "MOST_COUNTED", 100)
    never = Constraint("never", lambda point: False)
    # What is not counted is given up after so many misses.
    made = _made(name, Space(_space_of(name).dimensions, (never,)))
    assert made.ask() == []
    assert made.ask() == []


def test_a_small_space_is_exhausted(name: str) -> None:
    points = _points(_run(_made(name, _for(name, SIX)), _cost_for_six(name)))
    keys = {key_of(point) for point in points}
    # Of halving, those of the lowest rung and the best third of them.
    assert len(keys) == len(points) == (8 if name == "halving" else 6)


def _cost_for_six(name: str) -> Cost:
    count = 1 if name == "cmaes" else 2
    return lambda point: [float(len(repr(point)))] * count


def test_a_done_strategy_stays_done(name: str) -> None:
    made = _made(name, _space_of(name), trials=4)
    assert len(_points(_run(made, _cost_for(name)))) == made.trials == 4
    assert [made.ask(), made.ask()] == [[], []]
    made.tell([], [])


def test_a_space_of_one_point(name: str) -> None:
    one = _for(name, Space((Dimension("rows", Int(4, 4)),)))
    points = _points(_run(_made(name, one), _cost_for_six(name)))
    rungs = [{"run.rung": "analytic"}, {"run.rung": "tile"}] if name == "halving" else [{}]
    assert points == [{"rows": 4, **rung} for rung in rungs]


def test_one_dimension_and_smallest_generation(name: str) -> None:
    space = _for(name, Space((Dimension("rows", Int(1, 1000)),)))
    goals = [Objective("latency_s", "min")]
    least = {"nsga2": 2, "cmaes": 4}.get(name, 1)
    made = strategy(name, space, goals, seed=0, trials=9, generation=least, rungs=RUNGS)
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


def test_a_sampler_that_has_converged_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """CMA-ES gives the best point of a grid for ever; all points are asked all the same."""
    monkeypatch.setattr(strategies, "MOST_SAMPLER_MISSES", 60)
    grid = Space((Dimension("x", Int(0, 7)), Dimension("y", Int(0, 7))))
    made = strategy("cmaes", grid, [Objective("latency_s", "min")], seed=2, trials=48)
    cost = lambda point: [sum((share - 0.5) ** 2 for share in grid.shares(point))]  # noqa: E731
    points = _points(_run(made, cost))
    assert len({key_of(point) for point in points}) == len(points) == 48


LADDER = _with_rungs(WITH_FLOAT, "analytic", "tile", "command")


def _halved(cost: Cost, space: Space = LADDER, trials: int = 39) -> dict[str, list[Point]]:
    goals = [Objective("latency_s", "min"), Objective("area_mm2", "min")]
    made = strategy("halving", space, goals, seed=4, trials=trials, generation=8, rungs=RUNGS)
    points = _points(_run(made, cost))
    return {rung: [p for p in points if p["run.rung"] == rung] for rung in RUNGS}


def _two_costs(point: Point) -> Costs:
    """Make a trade in which a point of share 0.5 and below beats all others."""
    clock = point["clock"]
    assert isinstance(clock, float)
    return [clock, 1 / clock if clock < 1 else 2 * clock]


def _design(point: Point) -> str:
    return key_of({name: value for name, value in point.items() if name != "run.rung"})


def test_halving_takes_the_best_third_of_each_rung_to_the_next() -> None:
    by_rung = _halved(_two_costs)
    assert [len(by_rung[rung]) for rung in RUNGS] == [0, 27, 9, 3]
    for low, high in (("analytic", "tile"), ("tile", "command")):
        costs = [_two_costs(point) for point in by_rung[low]]
        taken = {_design(by_rung[low][place]) for place in best(costs, len(by_rung[high]))}
        assert {_design(point) for point in by_rung[high]} == taken


def test_halving_takes_no_infeasible_point_on_and_spends_what_is_left() -> None:
    def cost(point: Point) -> Costs:
        return [1.0, 2.0] if _design(point)[0] in "01" else None

    by_rung = _halved(cost, trials=120)
    assert 120 >= sum(map(len, by_rung.values())) > 120 - least_trials(3)
    assert len(by_rung["analytic"]) > sizes(120, 3)[0]
    assert all(cost(point) for rung in ("tile", "command") for point in by_rung[rung])
    assert by_rung["command"]


def test_halving_keeps_constraints_of_higher_rungs() -> None:
    slow = Constraint("slow", lambda p: p["run.rung"] == "analytic" or p["dataflow"] != "weight")
    by_rung = _halved(_two_costs, Space(LADDER.dimensions, (*LADDER.constraints, slow)))
    assert {p["dataflow"] for p in by_rung["analytic"]} >= {"weight"}
    assert by_rung["command"]
    assert "weight" not in {p["dataflow"] for p in (*by_rung["tile"], *by_rung["command"])}


@pytest.mark.parametrize("rungs", [2, 3, 4])
def test_rungs_of_halving_use_all_trials(rungs: int) -> None:
    for trials in range(least_trials(rungs), 300):
        shared = sizes(trials, rungs)
        assert sum(shared) == trials
        assert shared[-1] >= 1
        assert all(high <= low // 3 for low, high in pairwise(shared))
