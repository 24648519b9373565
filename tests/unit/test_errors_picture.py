"""Does the picture of errors show the numbers of the checks?"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulator.errors import InputError
from simulator.numerics.metrics import ulp_histogram
from simulator.numerics.verify import Check, Overflows
from simulator.report.errors_picture import (
    COLUMNS,
    draw_errors,
    errors_height_in,
    errors_info,
    write_errors,
)

VERSION = "1.2.3"


def check(name: str = "lut") -> Check:
    """Return a check whose errors are 0, 1, 1 and infinite."""
    errors = ulp_histogram(np.zeros(4), np.array([0, 1, 1, np.inf]), None)
    return Check(
        name, "int4-g128", "fp16", (2, 2, 64), True, "specification (4)", 41.26, 1.0, 0.1, 0.5,
        errors, Overflows(0, 1), 0.0, 20.0,
    )  # fmt: skip


def test_the_numbers_are_those_of_the_checks() -> None:
    wrong = dataclasses.replace(check("abq"), bit_exact=False, weight_format=None)
    exact = dataclasses.replace(check("mx"), sqnr_db=float("inf"))
    info = errors_info([check(), wrong, exact], VERSION)
    titles = [panel.title for panel in info.panels]
    assert titles == ["lut: 41.3 dB", "abq: 41.3 dB (NOT EXACT)", "mx: no error"]
    subtitles = [panel.subtitle for panel in info.panels]
    assert subtitles == ["int4-g128 x fp16", "fp16", "int4-g128 x fp16"]
    shares = info.panels[0].shares
    assert (shares[0], shares[9], shares[-1]) == (0.25, 0.5, 0.25)
    assert sum(shares) == 1
    assert info.footer.startswith("2 x 2 x 64, errors against float64")


def test_bars_stand_at_their_octaves() -> None:
    info = errors_info([check()], VERSION)
    figure = Figure()
    draw_errors(info, figure)
    (axes,) = figure.axes
    bars = {bar.get_x(): bar.get_height() for bar in axes.patches if bar.get_height()}
    assert bars == {-9: 25, 0: 50, 24: 25}
    left, right = axes.get_xlim()
    assert left < -9 < 25 < right


@pytest.mark.parametrize("count", [1, 5])
def test_every_check_has_a_panel_and_the_page_holds_them(count: int) -> None:
    info = errors_info([check(f"path{index}") for index in range(count)], VERSION)
    figure = Figure()
    draw_errors(info, figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"path{index}: 41.3 dB" for index in range(count)
    ]


def test_a_page_holds_all_checks() -> None:
    heights = [
        errors_height_in(errors_info([check()] * count, VERSION)) for count in (1, COLUMNS, 34)
    ]
    assert heights[0] == heights[1] < heights[2] < 10


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_files_are_the_same_again(suffix: str, start: bytes, tmp_path: Path) -> None:
    first, second = (write_errors([check()], tmp_path / f"{n}.{suffix}", VERSION) for n in "ab")
    assert first.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()


def test_other_files_and_no_checks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        write_errors([check()], tmp_path / "a.jpg", VERSION)
    assert str(error.value) == f"{tmp_path / 'a.jpg'}: a picture ends in .png, .pdf, .svg"
    with pytest.raises(InputError) as error:
        write_errors([], tmp_path / "a.png", VERSION)
    assert str(error.value) == "no checks to draw"
