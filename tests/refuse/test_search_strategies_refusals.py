"""Are strategies that cannot be, and costs that belong to nothing, refused, with which words?"""

from typing import Any

import pytest

from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.space import Dimension, Float, Int, Space
from simulator.search.strategies import Strategy, strategy

SPACE = Space((Dimension("device.rows", Int(1, 3)), Dimension("device.columns", Int(1, 3))))
LATENCY, AREA = Objective("latency_s", "min"), Objective("area_mm2", "min")


def _made(name: str = "random", **changes: Any) -> Strategy:
    arguments: dict[str, Any] = {"seed": 0, "trials": 9, "generation": 4, **changes}
    space = arguments.pop("space", SPACE)
    return strategy(name, space, arguments.pop("objectives", [LATENCY]), **arguments)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "sobel",
            {},
            "unknown strategy 'sobel'; did you mean 'sobol'? known: cmaes, grid, nsga2, random, sobol, tpe",
        ),
        (
            "cmaes",
            {"objectives": [LATENCY, AREA]},
            "strategy 'cmaes' takes one objective, got 2: latency_s, area_mm2",
        ),
        ("grid", {"objectives": []}, "a strategy needs at least one objective"),
        ("random", {"seed": -1}, "seed must be an integer from 0 to 4294967295, got -1"),
        ("random", {"seed": 2**32}, "seed must be an integer from 0 to 4294967295, got 4294967296"),
        ("random", {"seed": True}, "seed must be an integer from 0 to 4294967295, got True"),
        ("random", {"trials": 0}, "trials must be an integer >= 1, got 0"),
        ("grid", {"trials": 1.5}, "trials must be an integer >= 1, got 1.5"),
        ("tpe", {"trials": None}, "strategy 'tpe' needs trials: how many points it asks for"),
        ("grid", {"generation": 0}, "generation must be an integer >= 1, got 0"),
        ("cmaes", {"generation": 3}, "generation must be an integer >= 4, got 3"),
        ("nsga2", {"generation": 1}, "generation must be an integer >= 2, got 1"),
    ],
)
def test_strategy_that_cannot_be(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        _made(name, **changes)
    assert error.value.problems == (message,)


def test_all_problems_are_listed() -> None:
    with pytest.raises(InputError) as error:
        _made("cmaes", objectives=[], seed=-1, trials=0, generation=1)
    assert len(error.value.problems) == 4


def test_a_float_has_no_grid() -> None:
    space = Space((Dimension("device.clock", Float(1.0, 2.0)),))
    with pytest.raises(InputError) as error:
        _made("grid", space=space)
    assert (
        str(error.value) == "a float has no grid: device.clock; give a choice of numbers, or sample"
    )


@pytest.mark.parametrize("name", ["grid", "random", "nsga2"])
def test_a_generation_is_told_before_the_next(name: str) -> None:
    made = _made(name)
    made.ask()
    with pytest.raises(InputError) as error:
        made.ask()
    assert str(error.value) == "the last generation must be told before the next is asked"


@pytest.mark.parametrize("name", ["grid", "random", "nsga2"])
def test_what_is_told_must_fit_what_was_asked(name: str) -> None:
    made = _made(name)
    points = made.ask()
    right = [[1.0]] * len(points)
    told: list[tuple[Any, Any, str]] = [
        (
            points[:-1],
            right[:-1],
            "the points told are not those of the last generation, in its order",
        ),
        (points[::-1], right, "the points told are not those of the last generation, in its order"),
        (points, right[:-1], f"expected costs of {len(points)} points, got {len(points) - 1}"),
        (points, [[1.0, 2.0], *right[1:]], "expected 1 costs of a point, got 2"),
        (points, [[float("nan")], *right[1:]], "a cost must be a number, got [nan]"),
    ]
    for some, costs, message in told:
        with pytest.raises(InputError) as error:
            made.tell(some, costs)
        assert str(error.value) == message
    # What was refused has changed nothing.
    made.tell(points, right)
    assert made.ask()
