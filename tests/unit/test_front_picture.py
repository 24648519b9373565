"""Is the front drawn in order, with what it is of, and refused where there is none?"""

from dataclasses import replace
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.report.front_picture import Axis, front_info, write_front

TIMES = Axis(name="latency_s", unit="s", goal="min", values=[3.0, 1.0, 2.0, 30.0])
SPEEDS = Axis(name="tops", unit="TOPS", goal="max", values=[9.0, 1.0, 5.0, 2.0])
ON_FRONT = [True, True, True, False]


def test_points_of_the_front_are_in_order_along_it() -> None:
    front = front_info("study", [TIMES, SPEEDS], ON_FRONT)
    assert front.order == (1, 2, 0)
    assert front.axes[0].label == "latency_s (s), least is best"
    assert front.axes[1].label == "tops (TOPS), most is best"
    assert front.axes[0].logarithmic
    assert not front.axes[1].logarithmic


def test_of_three_objectives_two_are_drawn_without_a_line(tmp_path: Path) -> None:
    third = Axis(name="area_mm2", unit="mm2", goal="min", values=[1.0, 2.0, 3.0, 4.0])
    plain, more = (
        front_info("study", axes, ON_FRONT) for axes in ([TIMES, SPEEDS], [TIMES, SPEEDS, third])
    )
    assert (plain.others, more.others) == ((), ("area_mm2",))
    with_line, without = (
        write_front(each, {}, tmp_path / "front.svg").read_text() for each in (plain, more)
    )
    assert "<!-- not drawn: area_mm2 -->" in without
    assert "not drawn" not in with_line
    assert with_line.count("stroke-linecap: square") == without.count("stroke-linecap: square") + 1


def test_logarithmic_axes_have_plain_numbers(tmp_path: Path) -> None:
    front = front_info("study", [TIMES, SPEEDS], ON_FRONT)
    page = write_front(front, {}, tmp_path / "front.svg").read_text()
    assert all(f"<!-- {number} -->" in page for number in (1, 2, 5, 10, 20))
    assert "times" not in page


def test_many_points_are_pixels(tmp_path: Path) -> None:
    def drawn(count: int) -> str:
        spread = {"a_s": 1, "b_s": 31}
        axes = [
            Axis(name=name, unit="s", goal="min", values=[n * by % count for n in range(count)])
            for name, by in spread.items()
        ]
        front = front_info("study", axes, [True, *[False] * (count - 1)])
        return write_front(front, {}, tmp_path / "front.svg").read_text()

    few, many = drawn(500), drawn(3000)
    assert "<image " in many
    assert "<image " not in few
    assert many.count("<use ") < few.count("<use ")


def test_a_front_of_many_points_is_pixels(tmp_path: Path) -> None:
    places = [float(place) for place in range(8000)]
    axes = [
        Axis(name=name, unit="s", goal="min", values=[n % 89 + n / 8000 for n in places])
        for name in ("a_s", "b_s")
    ]
    front = front_info("study", [axes[0], replace(axes[1], values=places)], [True] * 8000)
    text = write_front(front, {}, tmp_path / "front.svg").read_text()
    assert text.count("<use ") < 200
    assert text.count("<image ") == 2


def test_points_that_fall_together_are_drawn_once(tmp_path: Path) -> None:
    values = [1.0, 2.0, *[1.5] * 1000]
    axes = [
        Axis(name=name, unit="s", goal="min", values=values) for name in ("latency_s", "other_s")
    ]
    front = front_info("study", axes, [True, *[False] * 1001])
    text = write_front(front, {}, tmp_path / "front.svg").read_text()
    drawn, few = (
        text.count("<use "),
        front_info(
            "study", [replace(a, values=[1.0, 2.0, 1.5]) for a in axes], [True, False, False]
        ),
    )
    assert drawn == write_front(few, {}, tmp_path / "few.svg").read_text().count("<use ")


@pytest.mark.parametrize("suffix", ["pdf", "png", "svg", "html"])
def test_files_are_the_same_whenever_they_are_written(suffix: str, tmp_path: Path) -> None:
    front = front_info("study <1>", [TIMES, SPEEDS], ON_FRONT)
    table = {"a<b": ["<script>"], "latency_s": [1.0]}
    written = [write_front(front, table, tmp_path / f"{n}.{suffix}").read_bytes() for n in range(2)]
    assert written[0] == written[1]
    if suffix == "html":
        page = written[0].decode()
        assert "<script>" not in page
        assert "<td>&lt;script&gt;</td><td>1</td>" in page
        assert "<title>study &lt;1&gt;</title>" in page


def test_dollars_are_no_formulas(tmp_path: Path) -> None:
    costs = Axis(name="$x^$", unit="$", goal="min", values=SPEEDS.values)
    front = front_info("$\\frac{$", [TIMES, costs], ON_FRONT)
    page = write_front(front, {}, tmp_path / "front.svg").read_text()
    assert "<!-- $x^$ ($), least is best -->" in page


def test_what_has_no_front_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="a front needs two objectives, got 1; analyse says the best of one"
    ):
        front_info("study", [TIMES], ON_FRONT)
    with pytest.raises(InputError, match="there is no front"):
        front_info("study", [TIMES, SPEEDS], [False] * 4)
    front = front_info("study", [TIMES, SPEEDS], ON_FRONT)
    with pytest.raises(InputError, match=r"a front ends in \.html, \.pdf, \.png, \.svg"):
        write_front(front, {}, tmp_path / "f.gif")
