"""Are volumes, coverage, shares of variance and reasons those of their definitions?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import exp, inf, log, pi, sin
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.search.analysis import Box, Study, attainment, compare, costs_of
from simulator.search.effects import (
    CHANCE_P,
    Sample,
    _share,
    effects_of,
    fates_of,
    sample_of,
    tornado,
)
from simulator.search.levels import MOST_LEVELS, levels_of
from simulator.search.objectives import Objective
from simulator.search.reasons import reasons, rooflines
from simulator.search.records import Header, Kind, Outcome, Row
from simulator.search.store import Store

TIME, AREA = Objective("time_s", "min"), Objective("area_mm2", "min")
SPEED = Objective("speed", "max")
UNITS = {"time_s": "s", "area_mm2": "mm2", "speed": "1/s"}
KINDS: dict[type, Kind] = {int: "int", float: "float", str: "text", bool: "bool"}


def study(
    points: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[float] | range],
    objectives: Sequence[Objective] = (TIME, AREA),
    *,
    name: str = "s.db",
    text: str = "",
    states: Sequence[str] = (),
    seeds: Sequence[int] = (),
    strategies: Sequence[str] = (),
) -> Study:
    """Return a study of points with metrics, all OK unless said otherwise."""
    count = len(next(iter(metrics.values())))
    points = points or [{"n": number} for number in range(count)]
    header = Header(
        dimensions={each: KINDS[type(value)] for each, value in points[0].items()},
        metrics={each: UNITS.get(each, "1") for each in metrics},
        defined_by="0",
        text=text,
        objectives=tuple(objectives),
    )
    table = pd.DataFrame(points).assign(
        **{each: np.array(values, dtype=np.float64) for each, values in metrics.items()},
        state=list(states) or "OK",
        seed=list(seeds) or 0,
        key=[f"k{number}" for number in range(count)],
        strategy=list(strategies) or "",
    )
    return Study(name, header, table)


def volume_by_corners(box: Box, values: Sequence[Sequence[float]]) -> float:
    """Return the volume by inclusion and exclusion over all sets of points."""
    places = box.places(values)
    total = 0.0
    for chosen in product((False, True), repeat=len(places)):
        if any(chosen):
            corner = places[np.array(chosen)].max(axis=0)
            total -= (-1) ** sum(chosen) * float(np.prod(np.maximum(0, 1 - corner)))
    return total


ROWS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(-3, 4), st.integers(1, 5)), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(ROWS)
def test_volume_is_that_by_inclusion_and_exclusion(rows: list[tuple[int, ...]]) -> None:
    objectives = (TIME, AREA, SPEED)
    table = pd.DataFrame(rows, columns=["time_s", "area_mm2", "speed"])
    box = Box.around(objectives, table)
    values = [list(map(float, row)) for row in rows]
    assert box.volume(values) == pytest.approx(volume_by_corners(box, values), abs=1e-12)
    assert box.places(values).min() >= 0
    assert box.places(values).max() <= 1


def test_a_box_takes_logarithms_of_what_spans_decades_alone() -> None:
    box = Box((TIME, SPEED, AREA), (1.0, 50.0, 3.0), (100.0, 5.0, 3.0))
    assert box.logarithmic == (True, False, False)
    assert Box((TIME, AREA), (1.0, 1.0), (10.0, 10.5)).logarithmic == (False, True)
    assert box.places([[10.0, 27.5, 3.0]]).tolist() == [[0.5, 0.5, 0.0]]
    # What is the same everywhere has no say: a quarter of the box of the other two.
    assert box.volume([[10.0, 27.5, 3.0]]) == 0.25


@settings(max_examples=25)
@given(ROWS, st.integers(0, 2**32 - 1))
def test_attainment_is_the_volume_of_what_came_so_far(
    rows: list[tuple[int, ...]], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    metrics = dict(zip(("time_s", "area_mm2", "speed"), np.array(rows, float).T, strict=True))
    states = ["OK", *draw.choice(["OK", "INFEASIBLE"], len(rows) - 1)]
    seeds = draw.integers(0, 2, len(rows)).tolist()
    # The same seed of two strategies is two searches.
    names = draw.choice(["random", "tpe"], len(rows)).tolist()
    done = study([], metrics, (TIME, AREA, SPEED), states=states, seeds=seeds, strategies=names)
    box = Box.around(done.objectives, done.kept)
    found = attainment(done)
    searches = list(zip(names, seeds, strict=True))
    assert [(each.strategy, each.seed) for each in found] == sorted(set(searches))
    for each in found:
        own = [at for at, of in enumerate(searches) if of == (each.strategy, each.seed)]
        assert each.points == tuple(range(1, len(own) + 1))
        for end in each.points:
            kept = [rows[at] for at in own[:end] if states[at] == "OK"]
            assert each.volume[end - 1] == pytest.approx(
                volume_by_corners(box, np.array(kept, float)) if kept else 0.0, abs=1e-12
            )
            best = max((float(row[2]) for row in kept), default=float("nan"))
            assert each.best["speed"][end - 1] == pytest.approx(best, nan_ok=True)


def test_a_long_study_is_told_at_few_places() -> None:
    times = np.linspace(2, 1, 5000)
    (found,) = attainment(study([], {"time_s": times, "area_mm2": times[::-1]}))
    assert len(found.points) == 256
    assert (found.points[0], found.points[-1]) == (1, 5000)
    assert found.best["time_s"][-1] == 1.0
    assert list(found.volume) == sorted(found.volume)
    assert found.volume[-1] == pytest.approx(0.5, abs=1e-3)


@settings(max_examples=40)
@given(ROWS, ROWS)
def test_comparison_is_that_of_its_definition(
    ones: list[tuple[int, ...]], others: list[tuple[int, ...]]
) -> None:
    names = ("time_s", "area_mm2", "speed")
    studies = [
        study([], dict(zip(names, np.array(rows, float).T, strict=True)), (TIME, AREA, SPEED))
        for rows in (ones, others)
    ]
    found = compare(*studies)
    costs = [{(a, b, -c) for a, b, c in rows} for rows in (ones, others)]

    def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    fronts = [{x for x in each if not any(beats(y, x) for y in each)} for each in costs]
    for at, side in enumerate(found.sides):
        own, theirs = (
            fronts[at],
            [
                x
                for x in map(lambda r: (r[0], r[1], -r[2]), (ones, others)[1 - at])
                if x in fronts[1 - at]
            ],
        )
        covered = [any(y == x or beats(y, x) for y in own) for x in theirs]
        assert side.covers == pytest.approx(sum(covered) / len(covered))
        kept = [
            f"k{number}"
            for number, (a, b, c) in enumerate((ones, others)[at])
            if (a, b, -c) in own and not any(beats(x, (a, b, -c)) for x in fronts[1 - at])
        ]
        assert sorted(side.not_beaten) == sorted(kept)
    assert found.same == len(fronts[0] & fronts[1])
    for side, rows in zip(found.sides, (ones, others), strict=True):
        values = np.array(rows, float)
        assert side.volume == pytest.approx(volume_by_corners(found.box, values), abs=1e-12)


def test_what_only_one_study_looks_for_is_left_out_and_bounds_are_told() -> None:
    metrics = {"time_s": [1.0, 2.0], "area_mm2": [9.0, 4.0], "speed": [1.0, 1.0]}
    one = study(
        [],
        metrics,
        (TIME, Objective("area_mm2", "min", at_most=5)),
        name="a.db",
        text="run: tile\nmodel: x: 1",
    )
    other = study(
        [], metrics, (SPEED, AREA), name="b.db", text="run: analytic\nmodel: x: 1\nseed: 2"
    )
    found = compare(one, other)
    assert found.differ == ("run tile and analytic", "seed absent and 2")
    assert found.left_out == ("time_s (min) of 'a.db'", "speed (max) of 'b.db'")
    assert found.bounds == ("area_mm2: at most 5 and free",)
    assert [side.best for side in found.sides] == [{"area_mm2": 4.0}, {"area_mm2": 4.0}]


def grid(**dimensions: Sequence[Any]) -> list[dict[str, Any]]:
    values = product(*dimensions.values())
    return [dict(zip(dimensions, each, strict=True)) for each in values]


def test_shares_of_a_grid_are_the_closed_form() -> None:
    points = grid(a=[0, 1, 2], b=[0, 1], c=[5, 6])
    # log y = 2 a + 3 b + (a - 1)(b - 1/2): variances 4 x 2/3, 9 x 1/4, 2/3 x 1/4.
    heights = [2 * p["a"] + 3 * p["b"] + (p["a"] - 1) * (p["b"] - 0.5) for p in points]
    done = study(points, {"time_s": [exp(h) for h in heights], "area_mm2": [1.0] * 12})
    found = effects_of(done, "time_s")
    parts = {"a": 8 / 3, "b": 9 / 4, "c": 0.0}
    total = 8 / 3 + 9 / 4 + 1 / 6
    assert sample_of(done).kind == "full"
    assert found.on == "log"
    assert dict(found.shares) == pytest.approx({n: v / total for n, v in parts.items()}, abs=1e-12)
    assert found.together == pytest.approx(1 / 6 / total)
    assert (set(found.chance.values()), found.told, found.text) == ({0.0}, found.shares, "")
    (effect,) = (each for each in found.effects if each.dimension == "b")
    assert effect.values == (0, 1)
    assert effect.points == (6, 6)
    # Means over a of 2 a - (a - 1) / 2 and of 2 a + 3 + (a - 1) / 2.
    assert [log(mean) for mean in effect.mean] == pytest.approx([2, 5])
    assert effects_of(done, "area_mm2").shares == {}


def test_shares_of_a_random_sample_are_those_of_ishigami() -> None:
    draw = np.random.default_rng(3)
    places = draw.uniform(-pi, pi, (6_000, 3))
    heights = [sin(x) + 7 * sin(y) ** 2 + 0.1 * z**4 * sin(x) for x, y, z in places.tolist()]
    points = [dict(zip("xyz", row, strict=True)) for row in places.tolist()]
    done = study(points, {"time_s": np.exp(heights).tolist(), "area_mm2": [1.0] * len(points)})
    assert sample_of(done).kind == "even"
    assert sample_of(done).combinations is None
    found = effects_of(done, "time_s")
    # Ishigami, Homma 1990 with 7 and 0.1: first-order indices.
    assert dict(found.shares) == pytest.approx({"x": 0.3139, "y": 0.4424, "z": 0}, abs=0.03)
    assert found.together == pytest.approx(0.2437, abs=0.05)


def test_chance_is_taken_off_shares_of_a_sample() -> None:
    draw = np.random.default_rng(1)
    shares = []
    for _ in range(20):
        points = [
            {"a": int(value), "b": number} for number, value in enumerate(draw.integers(0, 16, 64))
        ]
        done = study(points, {"time_s": draw.normal(size=64), "area_mm2": np.ones(64)})
        found = effects_of(done, "time_s")
        assert found.on == "ranks"
        shares.append(found.shares["a"])
    # By chance alone means would explain 15 / 63 = 24 %.
    assert np.median(shares) < 0.04
    assert np.mean(shares) < 0.08


def test_what_chance_gives_is_told_from_what_a_dimension_does() -> None:
    """In one of so many studies noise looks like a share, whatever the points and the values."""
    draw = np.random.default_rng(4)
    points, values, studies = 12, 3, 4_000
    codes = np.arange(points) % values
    heights = draw.normal(size=(studies, points))
    heights -= heights.mean(axis=1, keepdims=True)
    pairs = [_share(codes, each, exact=False) for each in heights]
    assert len({chance for _, chance in pairs}) == 1
    above = np.mean([share >= chance for share, chance in pairs])
    assert above == pytest.approx(CHANCE_P, abs=4 * (CHANCE_P / studies) ** 0.5)


def test_few_points_tell_a_large_share_alone() -> None:
    rows = [{"a": number % 2, "b": number % 3, "c": number, "d": 7} for number in range(12)]
    times = [exp(9 * row["a"] + number % 5) for number, row in enumerate(rows)]
    found = effects_of(study(rows, {"time_s": times, "area_mm2": [1.0] * 12}), "time_s")
    assert list(found.told) == ["a", "d"]
    assert 0.2 < found.chance["a"] < found.chance["b"] < 1
    # A value a point explains all and nothing; one that all have explains nothing for sure.
    assert (found.shares["c"], found.chance["c"]) == (0.0, 1.0)
    assert (found.shares["d"], found.chance["d"]) == (0.0, 0.0)
    assert found.together == pytest.approx(1 - found.shares["a"])
    # Less than chance would give, as there is no more room.
    left = 1 - found.told["a"]
    assert found.most("b") == found.most("c") == left < found.chance["b"]
    assert found.text == (
        "time_s: too few points to tell from chance what these do: "
        f"b ({100 * left:.2g} %), c ({100 * left:.2g} %). In brackets what they explain at most: "
        "the share that chance alone gives, but for 1 of 100 such studies, or what the others "
        "leave."
    )


def test_what_leaves_no_room_leaves_nothing_to_chance() -> None:
    rows = [{"a": number % 2, "b": number % 3} for number in range(12)]
    rows.append({"a": 0, "b": 0})
    metrics = {"time_s": [exp(row["a"]) for row in rows], "area_mm2": [1.0] * 13}
    found = effects_of(study(rows, metrics), "time_s")
    assert (found.told, found.most("b"), found.text) == ({"a": pytest.approx(1)}, 0.0, "")
    # Shares of what varies together do not add up: nothing is said of what they leave.
    rows = [{**row, "c": row["a"]} for row in rows]
    found = effects_of(study(rows, metrics), "time_s")
    assert found.together == pytest.approx(-1)
    assert found.most("b") == found.chance["b"] > 0.3


def test_a_biased_sample_is_told() -> None:
    draw = np.random.default_rng(2)
    points = [
        {"a": int(a), "b": str(b)}
        for a, b in zip(
            draw.choice(4, 200, p=[0.7, 0.1, 0.1, 0.1]), draw.choice(3, 200), strict=True
        )
    ]
    done = study(points, {"time_s": draw.random(200) + 1, "area_mm2": [1.0] * 200})
    found = sample_of(done)
    assert (found.kind, found.combinations, list(found.uneven)) == ("uneven", 12, ["a"])
    assert "a biased sample" in found.text
    assert "not of the space" in found.text
    learnt = [{"a": value} for value in draw.beta(2, 8, 300).tolist()]
    found = sample_of(study(learnt, {"time_s": [1.0] * 300, "area_mm2": [1.0] * 300}))
    assert found.kind == "uneven"
    few = study(learnt[:8], {"time_s": [1.0] * 8, "area_mm2": [1.0] * 8})
    assert sample_of(few).kind == "few"
    assert "too few to tell" in sample_of(few).text
    promoted = sample_of(replace(done, chosen=True))
    assert (promoted.kind, "chosen on a lower rung" in promoted.text) == ("chosen", True)
    spread = [{"a": exp(value)} for value in draw.uniform(0, 9, 300).tolist()]
    found = sample_of(study(spread, {"time_s": [1.0] * 300, "area_mm2": [1.0] * 300}))
    assert found.kind == "even"


@pytest.mark.parametrize(
    ("strategies", "kind", "words"),
    [
        ([""], "full", "16 points with results of 16 combinations, a full grid"),
        (["grid"], "full", "16 combinations, asked by grid, a full grid: shares are exact."),
        (["sobol", "random"], "full", "asked by sobol and random, a full grid"),
        (["nsga2"], "chosen", "asked by nsga2, chosen by their results: shares and effects are of"),
        (["grid", "tpe"], "chosen", "asked by grid and tpe, chosen by their results"),
        (["", "cmaes"], "chosen", "16 combinations, chosen by their results"),
        (["halving"], "chosen", "asked by halving, chosen by their results"),
    ],
)
def test_who_asked_says_more_than_counts(strategies: list[str], kind: str, words: str) -> None:
    points = grid(a=[1, 2, 3, 4], b=[1, 2, 3, 4])
    ones = [1.0] * 16
    asked = strategies * (16 // len(strategies))
    found = sample_of(study(points, {"time_s": ones, "area_mm2": ones}, strategies=asked))
    assert (found.kind, words in found.text) == (kind, True)
    assert found.asked == {name: 16 // len(strategies) for name in strategies}


def test_few_points_of_a_draw_are_even_and_those_of_a_grid_may_not_be() -> None:
    points, ones = grid(a=[1, 2, 3], b=[1, 2])[:5], [1.0] * 5
    kinds = {
        name: sample_of(
            study(points, {"time_s": ones, "area_mm2": ones}, strategies=[name] * 5)
        ).kind
        for name in ("", "grid", "random", "sobol", "tpe")
    }
    assert kinds == {"": "few", "grid": "few", "random": "even", "sobol": "even", "tpe": "chosen"}


def test_a_grid_on_two_rungs_is_chosen_by_nobody() -> None:
    points, ones = grid(a=[1, 2]), [1.0, 2.0]
    done = study(points, {"time_s": ones, "area_mm2": ones}, strategies=["grid"] * 2)
    assert sample_of(replace(done, chosen=True)).kind == "full"


def conditional(values: int = 3) -> list[dict[str, Any]]:
    """Return the grid in which b applies where a is 2, and c where b is "x"."""
    return [
        {"a": 1},
        *({"a": 2, "b": b} for b in ("y", "z", "w")[: values - 1]),
        *({"a": 2, "b": "x", "c": c} for c in (7, 8)),
        {"a": 3},
    ]


def test_a_full_grid_may_have_conditions() -> None:
    def sample(points: list[dict[str, Any]], **given: Any) -> Sample:
        # The first point has all dimensions.
        ordered = sorted(points, key=len, reverse=True)
        times = [exp(number) for number in range(len(points))]
        return sample_of(study(ordered, {"time_s": times, "area_mm2": times}, **given))

    found = sample(conditional())
    assert (found.kind, found.combinations) == ("full", 6)
    assert found.text == ("6 points with results of 6 combinations, a full grid: shares are exact.")
    # Without any one point that is not the last with a value it is not.
    for left_out in (1, 2):
        cut = [each for at, each in enumerate(conditional()) if at != left_out]
        more = [*cut, {"a": 3, "b": conditional()[left_out]["b"]}]
        assert sample(more).kind != "full"
    lost = sample(conditional(), states=["INFEASIBLE", *["OK"] * 5])
    assert (lost.kind, lost.combinations) == ("few", None)
    assert sample([*conditional(), {"a": 1, "b": "x", "c": 7}]).kind != "full"


def test_values_are_asked_evenly_of_the_points_to_which_they_apply() -> None:
    draw = np.random.default_rng(5)
    points = [{"a": int(a), **({"b": int(b)} if a else {})} for a, b in draw.choice(9, (400, 2))]
    points.insert(0, {"a": 1, "b": 1})
    ones = [1.0] * len(points)
    found = sample_of(study(points, {"time_s": ones, "area_mm2": ones}))
    assert (found.kind, found.combinations) == ("even", None)


def test_many_numbers_are_put_in_bins_of_like_counts() -> None:
    numbers = [*range(100), *[None] * 7, *[50] * 30]
    table = pd.DataFrame({"n": pd.array(numbers, dtype="Int64")})
    levels = levels_of(table["n"], "n", "int")
    binned = levels.binned()
    assert (len(levels.values), levels.values[-1]) == (101, "absent")
    # The value that many points have is a bin of its own, of more than its share.
    assert MOST_LEVELS - 8 < len(binned.values) <= MOST_LEVELS
    assert binned.values[-1] == "absent"
    assert binned.values[0] == "0 to 3"
    for value, code in zip(numbers, binned.codes.tolist(), strict=True):
        low, _, high = binned.values[code].partition(" to ")
        assert low == "absent" if value is None else int(low) <= value <= int(high)
    few = levels_of(table["n"][:32], "n", "int")
    assert few.binned() is few


def test_levels_keep_types_and_order(tmp_path: Path) -> None:
    kinds: dict[str, Kind] = {"rows": "int", "size": "text", "any": "mixed", "on": "bool"}
    points: list[dict[str, Any]] = [
        {"rows": 64, "size": "1 MiB", "any": 1, "on": True},
        {"rows": 8, "size": "512 KiB", "any": True, "on": False},
        {"size": "8 MiB", "any": "x"},
        {"rows": 8, "size": "1 MiB", "any": None, "on": True},
        {"rows": 8, "size": "1 MiB", "on": True},
        {"rows": 8, "size": "1 MiB", "any": 1, "on": True},
    ]
    header = Header(
        dimensions=kinds, metrics={"time_s": "s"}, defined_by="0", text="", objectives=(TIME,)
    )
    done = Outcome(state="OK", metrics={"time_s": 1.0})
    with Store(tmp_path / "s.db") as store:
        store.study(header)
        store.add([Row(f"k{at}", point, done, 0, at) for at, point in enumerate(points)])
        found = Study("s.db", header, store.table()).levels
    assert [each.values for each in found] == [
        (8, 64, "absent"),
        ("512 KiB", "1 MiB", "8 MiB"),
        (1, True, "x", None, "absent"),
        (True, False, "absent"),
    ]
    assert [type(value) for value in found[2].values] == [int, bool, str, type(None), str]
    assert [each.codes.tolist() for each in found] == [
        [1, 0, 2, 0, 0, 0], [1, 0, 2, 1, 1, 1], [0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 0, 0],
    ]  # fmt: skip


def test_fates_are_counted_by_value() -> None:
    points = grid(a=[1, 2], b=["x", "y"])
    states = ["OK", "INFEASIBLE", "OK", "FAILED"]
    bounded = Objective("area_mm2", "min", at_most=5)
    metrics = {"time_s": [1.0, inf, 2.0, inf], "area_mm2": [1.0, inf, 9.0, inf]}
    found = fates_of(study(points, metrics, (TIME, bounded), states=states))
    rows = [
        (f.dimension, f.value, f.points, f.kept, f.out_of_bounds, f.infeasible, f.failed)
        for f in found
    ]
    assert rows == [
        ("a", 1, 2, 1, 0, 1, 0),
        ("a", 2, 2, 0, 1, 0, 1),
        ("b", "x", 2, 1, 1, 0, 0),
        ("b", "y", 2, 0, 0, 1, 1),
    ]


def test_a_tornado_moves_one_dimension_and_tells_what_is_missing() -> None:
    points = grid(a=[1, 2, 4], b=["x", "y"])
    times = [1.0 * p["a"] + (p["b"] == "y") for p in points]
    areas = [10.0 / p["a"] for p in points]
    states = ["OK", "OK", "INFEASIBLE", "OK", "OK", "OK"]
    done = study(points[:5], {"time_s": times[:5], "area_mm2": areas[:5]}, states=states[:5])
    found = tornado(done, ["time_s", "area_mm2"])
    assert found.key == "k0"
    assert found.point == {"a": 1, "b": "x"}
    first, second = found.swings
    assert (first.dimension, first.values, first.without, first.missing) == ("a", (1, 4), (2,), ())
    assert dict(first.metrics) == {"time_s": (1.0, 4.0), "area_mm2": (10.0, 2.5)}
    assert (second.dimension, second.values, second.missing) == ("b", ("x", "y"), ())
    # The best in area is (4, x); (4, y) was not asked.
    there = tornado(done, ["area_mm2"])
    assert there.point == {"a": 4, "b": "x"}
    assert {each.dimension: each.missing for each in there.swings} == {"a": (), "b": ("y",)}
    assert tornado(done, ["area_mm2"], "k3").point == {"a": 2, "b": "y"}


def test_a_tornado_lists_few_of_many_missing_values() -> None:
    points = [{"x": float(number), "b": number % 2} for number in range(100)]
    done = study(points, {"time_s": range(1, 101), "area_mm2": [1.0] * 100})
    (x, b) = tornado(done, ["time_s"]).swings
    assert (x.values, len(x.missing), x.missing_count) == (
        tuple(map(float, range(0, 100, 2))),
        32,
        50,
    )
    assert (b.values, b.missing, b.missing_count) == ((0,), (1,), 1)


def test_points_of_a_front_know_their_neighbours_and_what_binds_them() -> None:
    metrics = {
        "time_s": [1.0, 2.0, 4.0, 4.0],
        "area_mm2": [8.0, 4.0, 1.0, 9.0],
        "decode.dram_busy": [0.97, 0.5, float("nan"), 1.0],
        "decode.matrix_stalled": [0.2, 0.6, float("nan"), 1.0],
    }
    points = [{"rows": r, "w": w} for r, w in ((256, "int4"), (64, "int4"), (64, "fp16"), (8, "x"))]
    first, second, third = reasons(study(points, metrics))
    assert (first.key, first.leads, first.bound) == ("k0", ("time_s",), "decode: memory 97 % busy")
    assert second.leads == ()
    assert second.bound == "decode: matrix units 60 % stalled"
    assert [(step.better_in, step.key) for step in second.steps] == [
        ("time_s", "k0"),
        ("area_mm2", "k2"),
    ]
    assert second.steps[0].changed == {"rows": (64, 256)}
    before, after = second.objectives, second.steps[0].objectives
    assert after == {"time_s": before["time_s"] / 2, "area_mm2": 2 * before["area_mm2"]}
    assert (third.leads, third.bound) == (("area_mm2",), "")
    # Both others are faster; the nearer one is next.
    assert [(step.better_in, step.key) for step in third.steps] == [("time_s", "k1")]


@settings(max_examples=40)
@given(ROWS)
def test_the_next_point_is_the_nearest_that_is_better(rows: list[tuple[int, ...]]) -> None:
    metrics = dict(zip(("time_s", "area_mm2", "speed"), np.array(rows, float).T, strict=True))
    done = study([], metrics, (TIME, AREA, SPEED))
    found = reasons(done)
    costs = {
        each.key: costs_of(done.table.loc[[int(each.key[1:])]], done.objectives)[0]
        for each in found
    }
    box = Box.around(done.objectives, done.kept)
    places = {each.key: box.places(list(each.objectives.values())) for each in found}
    for each in found:
        steps = {step.better_in: step.key for step in each.steps}
        for at, name in enumerate(each.objectives):
            better = [key for key, cost in costs.items() if cost[at] < costs[each.key][at]]
            assert (name in each.leads, name in steps) == (not better, bool(better))
            if better:
                far = {key: sum((places[key] - places[each.key]) ** 2) for key in better}
                assert far[steps[name]] == pytest.approx(min(far.values()))


def test_rooflines_have_the_roofs_of_the_least_and_the_most_able_design() -> None:
    metrics = {
        "time_s": [1.0, 2.0],
        "area_mm2": [2.0, 3.0],
        "p.ops_per_byte": [10.0, 20.0],
        "p.tops": [1.0, 2.0],
        "d.ops_per_byte": [1.0, 1.0],
        "memory_bytes_per_s": [1e12, float("nan")],
        "peak_tops": [2.0, 4.0],
    }
    (found,) = rooflines(study([], metrics))
    assert (found.workload, found.ops_per_byte, found.tops) == ("p", (10.0, 20.0), (1.0, 2.0))
    assert found.on_front == (True, False)
    assert (found.roof_tops, found.memory_tbytes_per_s) == ((2.0, 4.0), None)
