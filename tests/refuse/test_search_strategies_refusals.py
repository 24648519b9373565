"""Are strategies that cannot be, and costs that belong to nothing, refused, with which words?"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.search.generations import Strategy
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Constraint, Dimension, Float, Int, Space
from simulator.search.strategies import no_point, strategy

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
            "unknown strategy 'sobel'; did you mean 'sobol'? known: cmaes, grid, halving, nsga2, random, sobol, tpe",
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


def _ladder(*rungs: Any, **changes: Any) -> Space:
    rung = Dimension("run.rung", Choice(rungs))
    rows, columns = SPACE.dimensions
    return Space((rung, rows, replace(columns, **changes)))


@pytest.mark.parametrize(
    ("space", "trials", "messages"),
    [
        (
            SPACE,
            9,
            [
                "strategy 'halving' needs a dimension run.rung: the rungs that points climb, such as [analytic, tile]"
            ],
        ),
        (
            Space((*SPACE.dimensions, Dimension("run.rung", Int(1, 2)))),
            9,
            ["run.rung: must be a choice of rungs"],
        ),
        (
            _ladder("tile"),
            9,
            ["strategy 'halving' needs two rungs in run.rung, got tile alone"],
        ),
        (
            _ladder("tile", "analitic"),
            9,
            [
                "unknown rung 'analitic'; did you mean 'analytic'? known: analytic, command, roofline, tile"
            ],
        ),
        (
            _ladder("tile", "analytic"),
            3,
            ["strategy 'halving' needs trials >= 4 for 2 rungs, got 3"],
        ),
        (
            _ladder("roofline", "tile", "analytic"),
            12,
            ["strategy 'halving' needs trials >= 13 for 3 rungs, got 12"],
        ),
        (
            _ladder("tile", "analytic", when={"run.rung": ("tile",)}),
            9,
            [
                "device.columns: strategy 'halving' needs it on every rung, not when run.rung has some value"
            ],
        ),
        (
            Space(
                (
                    *SPACE.dimensions,
                    Dimension("run.rung", Choice(("tile", "analytic")), {"device.rows": (1,)}),
                )
            ),
            None,
            [
                "strategy 'halving' needs trials: how many points it asks for",
                "run.rung: strategy 'halving' needs it at every point, without 'when'",
            ],
        ),
    ],
)
def test_halving_that_cannot_be(space: Space, trials: int | None, messages: list[str]) -> None:
    rungs = ("roofline", "analytic", "tile", "command")
    with pytest.raises(InputError) as error:
        _made("halving", space=space, trials=trials, rungs=rungs)
    assert list(error.value.problems) == messages


def _never(_: object) -> bool:
    return False


def _rarely(point: Mapping[str, Any]) -> bool:
    return bool(point["device.rows"] == 1)


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (
            [Constraint("rare", _rarely, "rows are 1"), Constraint("never", _never, "is never so")],
            "'never' (is never so) leaves out most: 9 of 9 points tried",
        ),
        ([Constraint("mine", _never)], "'mine' leaves out most: 9 of 9 points tried"),
    ],
)
def test_constraints_that_no_point_keeps(constraints: list[Constraint], words: str) -> None:
    for name in ("grid", "random", "nsga2"):
        with pytest.raises(InputError) as error:
            _made(name, space=Space(SPACE.dimensions, tuple(constraints)))
        assert str(error.value) == f"no point of the space keeps its constraints; {words}"


def test_constraints_that_no_point_tried_keeps() -> None:
    """Where the grid is endless, so many draws are tried."""
    clock = Dimension("device.clock", Float(1.0, 2.0))
    space = Space((*SPACE.dimensions, clock), (Constraint("never", _never),))
    assert no_point(space) == (
        "no point of the space keeps its constraints; "
        "'never' leaves out most: 10000 of 10000 points tried"
    )


def test_a_float_has_no_grid() -> None:
    space = Space((Dimension("device.clock", Float(1.0, 2.0)),))
    with pytest.raises(InputError) as error:
        _made("grid", space=space)
    assert (
        str(error.value) == "a float has no grid: device.clock; give a choice of numbers, or search"
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
