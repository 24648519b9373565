"""Is the front drawn in order, with what it is of, and refused where there is none?"""

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


@pytest.mark.parametrize("suffix", ["pdf", "png", "svg", "html"])
def test_files_are_the_same_whenever_they_are_written(suffix: str, tmp_path: Path) -> None:
    front = front_info("study <1>", [TIMES, SPEEDS], ON_FRONT)
    rows = [{"a<b": "<script>", "latency_s": 1.0}]
    written = [write_front(front, rows, tmp_path / f"{n}.{suffix}").read_bytes() for n in range(2)]
    assert written[0] == written[1]
    if suffix == "html":
        page = written[0].decode()
        assert "<script>" not in page
        assert "<td>&lt;script&gt;</td><td>1</td>" in page
        assert "<title>study &lt;1&gt;</title>" in page


def test_dollars_are_no_formulas(tmp_path: Path) -> None:
    costs = Axis(name="$x^$", unit="$", goal="min", values=SPEEDS.values)
    front = front_info("$\\frac{$", [TIMES, costs], ON_FRONT)
    page = write_front(front, [], tmp_path / "front.svg").read_text()
    assert "<!-- $x^$ ($), least is best -->" in page


def test_what_has_no_front_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a front needs two objectives, got 1"):
        front_info("study", [TIMES], ON_FRONT)
    with pytest.raises(InputError, match="there is no front"):
        front_info("study", [TIMES, SPEEDS], [False] * 4)
    front = front_info("study", [TIMES, SPEEDS], ON_FRONT)
    with pytest.raises(InputError, match=r"a front ends in \.html, \.pdf, \.png, \.svg"):
        write_front(front, [], tmp_path / "f.gif")
