"""Is the page of a study whole, the same whenever it is written, and safe with strangers' names?"""

from math import inf
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.report.study_picture import (
    AXES_SHARE,
    LEADING_PT,
    LETTER_PT,
    PANEL_IN,
    Panel,
    Section,
    Series,
    _lines,
    write_study,
)
from simulator.report.style import WIDTH_IN, apart, drawable, spans_decades
from simulator.results import Table

STEPS = Series(label="seed $0$ \u4e2d", x=[1, 2, 3], y=[0.1, 0.5, 0.6], style="steps")
BAND = Series(label="mean", x=[0, 1], y=[2.0, 30.0], low=[1.0, 20.0], high=[3.0, 50.0])
BARS = Series(label="time <s>", x=[0.4, 0.0], y=[0, 1], high=[0.0, 0.2], style="bars")
CLOUD = Series(label="points", x=[1.0, 20.0], y=[3.0, 5000.0], style="cloud")
DOTS = Series(label="front", x=[1.0], y=[3.0], style="dots")
RINGS = Series(label="front", x=[1.0], y=[3.0], style="rings")
LOW = Series(label="lowest roof", x=[1.0, 20.0], y=[1.0, 6.0], style="low_roof")
ROOF = Series(label="memory", x=[1.0, 20.0], y=[3.0, 60.0], style="roof")
SECTIONS = [
    Section(
        title="Over <time>",
        words=("a < b",),
        panels=(
            Panel(x_label="points", y_label="volume", series=(STEPS,), y_range=(0, 1), legend=True),
            Panel(
                x_label="w", y_label="s", series=(BAND,), x_names=("fp16", "$x" * 30), y_log=True
            ),
            Panel(x_label="share", y_label="", series=(BARS,), y_names=("rows", "columns")),
        ),
        columns=2,
        tables=(Table("T", ("a",), (("<script>",),), "<"),),
    ),
    Section(
        title="Roofline",
        panels=(
            Panel(
                x_label="op/B",
                y_label="TOPS",
                series=(CLOUD, DOTS, RINGS, ROOF, LOW),
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Section(title="Words alone", words=("nothing is drawn",)),
]


@pytest.mark.parametrize("suffix", ["html", "pdf"])
def test_files_are_the_same_whenever_they_are_written(suffix: str, tmp_path: Path) -> None:
    paths = [write_study("s <1>.db", SECTIONS, tmp_path / f"{n}.{suffix}") for n in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_page_has_all_sections_and_runs_nothing(tmp_path: Path) -> None:
    page = write_study("s <1>.db", SECTIONS, tmp_path / "p.html").read_text()
    assert "<title>s &lt;1&gt;.db</title>" in page
    assert "<h2>Over &lt;time&gt;</h2>\n<p>a &lt; b</p>" in page
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<p>nothing is drawn</p>" in page


def test_rows_are_as_high_as_their_highest_panel() -> None:
    first, named, second = SECTIONS[0].panels
    assert SECTIONS[0].heights_in == [named.height_in(2), second.height_in(2)]
    assert named.height_in(2) > first.height_in(2)
    tall = Panel(x_label="", y_label="", series=(BARS, BARS), y_names=("x",) * 20)
    assert tall.height_in(1) > 20 * 2 * 0.15
    assert Section(title="", panels=(first, tall), columns=2).heights_in == [tall.height_in(2)]


def test_names_stand_apart_whatever_their_number_and_length() -> None:
    few, many, long = (
        Panel(x_label="", y_label="", series=(), x_names=names)
        for names in (("32", "64"), ("5 to 9",) * 40, ("x" * 30, "y" * 300))
    )
    for columns in (1, 2, 3):
        room_pt = 72 * WIDTH_IN / columns * AXES_SHARE
        assert (few.upright(columns), few.every(columns)) == (False, 1)
        assert few.height_in(columns) == PANEL_IN
        shown = len(many.x_names[:: many.every(columns)])
        assert 0.4 * room_pt < shown * LEADING_PT <= room_pt + LEADING_PT
        assert long.upright(columns)
        # Room for as much of a name as is shown.
        assert long.height_in(columns) == pytest.approx(PANEL_IN + 34 * LETTER_PT / 72)


@pytest.mark.parametrize("lines", [2, 3])
def test_a_label_of_any_length_has_its_unit(lines: int) -> None:
    for workload in ("", "decode.", "prefill_of_long_texts."):
        label = f"best {workload}tokens_per_s_per_w (tokens/s/W)"
        shown = _lines(label, 26, lines).split("\n")
        assert len(shown) <= lines
        assert max(map(len, shown)) <= 26
        assert shown[-1].endswith("(tokens/s/W)")


def test_axes_are_logarithmic_from_a_decade_on() -> None:
    assert spans_decades([1.0, 10.5])
    assert not spans_decades([1.0, 10.0])
    assert not spans_decades([-1.0, 100.0])
    assert not spans_decades([])


def test_points_that_fall_together_are_seen_once() -> None:
    x, y = [1.0, 1.0 + 1e-6, 5.0, 10.0, 1.0], [2.0, 2.0, 9.0, 3.0, 4.0]
    assert apart(x, y, x_log=False, y_log=False).tolist() == [0, 2, 3, 4]
    # On logarithms small ones are told apart.
    small = [1e-9, 1e-6, 1.0]
    assert apart(small, [1.0] * 3, x_log=False, y_log=False).tolist() == [0, 2]
    assert apart(small, [1.0] * 3, x_log=True, y_log=True).tolist() == [0, 1, 2]
    assert apart([], [], x_log=True, y_log=False).tolist() == []
    # What is infinite has no place, and the others keep theirs.
    assert apart([1.0, inf, 2.0], [1.0, 1.0, 1.0], x_log=True, y_log=False).tolist() == [0, 2]


def test_names_are_no_formulas() -> None:
    assert drawable("$x$ \u4e2d") == r"\$x\$ ?"


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an analysis ends in \.html, \.pdf, \.png, \.svg"):
        write_study("s", SECTIONS, tmp_path / "p.gif")
