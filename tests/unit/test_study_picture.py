"""Is the page of a study whole, the same whenever it is written, and safe with strangers' names?"""

from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.report.study_picture import Panel, Section, Series, write_study
from simulator.report.style import drawable, spans_decades
from simulator.results import Table

STEPS = Series(label="seed $0$ \u4e2d", x=[1, 2, 3], y=[0.1, 0.5, 0.6], style="steps")
BAND = Series(label="mean", x=[0, 1], y=[2.0, 30.0], low=[1.0, 20.0], high=[3.0, 50.0])
BARS = Series(label="time <s>", x=[0.4, 0.1], y=[0, 1], style="bars")
CLOUD = Series(label="points", x=[1.0, 20.0], y=[3.0, 5000.0], style="cloud")
DOTS = Series(label="front", x=[1.0], y=[3.0], style="dots")
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
                series=(CLOUD, DOTS, ROOF),
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
    first, second = SECTIONS[0].panels[0], SECTIONS[0].panels[2]
    assert SECTIONS[0].heights_in == [first.height_in, second.height_in]
    tall = Panel(x_label="", y_label="", series=(BARS, BARS), y_names=("x",) * 20)
    assert tall.height_in > 20 * 2 * 0.15
    assert Section(title="", panels=(first, tall), columns=2).heights_in == [tall.height_in]


def test_axes_are_logarithmic_from_a_decade_on() -> None:
    assert spans_decades([1.0, 10.5])
    assert not spans_decades([1.0, 10.0])
    assert not spans_decades([-1.0, 100.0])
    assert not spans_decades([])


def test_names_are_no_formulas() -> None:
    assert drawable("$x$ \u4e2d") == r"\$x\$ ?"


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an analysis ends in \.html, \.pdf, \.png, \.svg"):
        write_study("s", SECTIONS, tmp_path / "p.gif")
