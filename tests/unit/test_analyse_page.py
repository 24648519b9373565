"""Does the page of an analysis show what there is, and no more than can be read?"""

from pathlib import Path

import pytest

from simulator.cli.analyse import _analysed
from simulator.cli.analyse_page import MOST_LISTED, sections
from simulator.report.study_picture import Section
from simulator.search.objectives import Objective
from simulator.search.records import Header
from simulator.search.store import Store

HEADER = Header(
    dimensions={"rows": "int", "columns": "int"},
    metrics={
        "time_s": "s",
        "area_mm2": "mm2",
        "ops_per_byte": "1",
        "tops": "TOPS",
        "peak_tops": "TOPS",
        "memory_bytes_per_s": "B/s",
    },
    defined_by="0",
    text="",
    objectives=(Objective("time_s", "min"), Objective("area_mm2", "min")),
)


def page(path: Path, count: int, *, peaks: int = 1, against: Path | None = None) -> list[Section]:
    """Return the page of points that no other beats, asked by two strategies of one seed."""
    with Store(path) as store:
        store.study(HEADER)
        for first, strategy in ((0, "sobol"), (1, "tpe")):
            numbers = range(first, count, 2)
            store.add_block(
                [f"k{number}" for number in numbers],
                {
                    "rows": list(numbers),
                    "columns": [number // 2 % 2 for number in numbers],
                },
                {
                    "time_s": [1.0 + number for number in numbers],
                    "area_mm2": [1.0 + count - number for number in numbers],
                    "ops_per_byte": [4.0] * len(numbers),
                    "tops": [1.0] * len(numbers),
                    "peak_tops": [2.0 * (1 + number % peaks) for number in numbers],
                    "memory_bytes_per_s": [1e12] * len(numbers),
                },
                numbers=numbers,
                seed=0,
                strategy=strategy,
                wall_time_s=0.0,
            )
    return sections(_analysed(path, against, None, None))


def section(found: list[Section], title: str) -> Section:
    return next(each for each in found if each.title == title)


def test_of_a_long_front_some_points_are_listed_from_end_to_end(tmp_path: Path) -> None:
    count = MOST_LISTED + 200
    found = section(page(tmp_path / "s.db", count), "Why these points are on the front")
    rows = found.tables[0].rows
    assert len(rows) == MOST_LISTED
    assert [rows[0][0], rows[-1][0]] == ["1", str(count)]
    assert "1000 of them are listed, evenly from end to end; --json has all." in found.words
    # The picture has all of them.
    assert len(found.panels[0].series[1].x) == count
    few = section(page(tmp_path / "t.db", 5), "Why these points are on the front")
    assert [row[0] for row in few.tables[0].rows] == ["1", "2", "3", "4", "5"]


def test_each_search_has_its_curve(tmp_path: Path) -> None:
    volume = page(tmp_path / "s.db", 7)[0].panels[0]
    assert [(each.label, len(each.x)) for each in volume.series] == [
        ("sobol seed 0", 4),
        ("tpe seed 0", 3),
    ]


def test_a_share_that_chance_may_give_is_a_bound_and_an_outline(tmp_path: Path) -> None:
    found = section(page(tmp_path / "s.db", 40), "Which dimensions matter")
    assert [row[0] for row in found.tables[0].rows] == ["rows", "columns", "together"]
    (first, second, _) = (row[1] for row in found.tables[0].rows)
    assert not first.startswith("<")
    assert second.startswith("< ")
    time, _ = found.panels[0].series
    assert (time.x[0] > 0.9, time.x[1], time.high[0]) == (True, 0.0, 0.0)
    assert f"< {100 * time.high[1]:.2g} %" == second
    # No more than there is room for.
    assert time.x[0] + time.high[1] <= 1
    assert "too few points to tell from chance what these do: columns" in found.words[2]


@pytest.mark.parametrize(
    ("peaks", "roofs"),
    [
        (1, {"roof": [2.0, 2.0, 2.0]}),
        (2, {"highest roof": [2.0, 4.0, 4.0], "lowest roof": [2.0, 2.0, 2.0]}),
    ],
)
def test_a_roofline_has_its_roofs(
    tmp_path: Path, peaks: int, roofs: dict[str, list[float]]
) -> None:
    """At 4 operations a byte, between 2 and 8, over 1 TB/s: the highest one bends at 4."""
    panel = section(page(tmp_path / "s.db", 6, peaks=peaks), "Roofline").panels[0]
    drawn = {each.label: list(each.y) for each in panel.series if "roof" in each.style}
    assert drawn == roofs
    if peaks == 2:
        assert list(panel.series[0].x) == [2.0, 4.0, 8.0]


def test_two_equal_fronts_are_both_seen(tmp_path: Path) -> None:
    page(tmp_path / "t.db", 6)
    found = page(tmp_path / "s.db", 6, against=tmp_path / "t.db")[-1]
    first, second = found.panels[0].series
    assert [(each.label, each.style) for each in (first, second)] == [
        ("front of s.db", "rings"),
        ("front of t.db", "dots"),
    ]
    assert list(first.x) == list(second.x)


def test_what_has_one_value_has_no_row(tmp_path: Path) -> None:
    for count, names in ((8, ("rows", "columns")), (2, ("rows",))):
        found = page(tmp_path / f"{count}.db", count)
        (shares,) = section(found, "Which dimensions matter").panels
        assert shares.y_names == names
        drawn = [each.x_label for each in section(found, "Main effects").panels]
        assert drawn == [name for name in names for _ in ("time_s", "area_mm2")]
