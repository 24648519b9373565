"""What does `nibblesim pim layout` say of a layout, and of wrong input?"""

import json

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.dram.pim.grouped_part import load_grouped
from simulator.engine.in_memory import append_ticks
from simulator.mapping.pim_layout import Geometry, Shape, load_layout, placed

VALUES = ("attacc_v", "--out", "128", "--in", "256", "--matrices", "4")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["pim", "layout", *arguments])
    return result.exit_code, result.output


def test_json_is_what_the_layout_is() -> None:
    """Of values in 16 lanes of outputs, 4 x 16 banks: an input is 8 bursts of each of 4 heads."""
    code, text = run(*VALUES, "--json")
    assert code == 0
    record = json.loads(text)
    part = load_grouped("hbm3_banks")
    shape = Shape(outputs=128, inputs=256, matrices=4)
    placement = placed(load_layout("attacc_v"), shape, Geometry.of(part))
    assert record["rows_per_bank"] == placement.rows
    assert record["multiplies"] == placement.bursts
    assert record["append"]["input"] == {
        "bursts": 32,
        "bursts_partly": 0,
        "rows": 32,
        "banks": 16,
        "channels": 4,
        "ticks": append_ticks(part, placement, "inputs", 255),
    }
    assert record["append"]["output"]["bursts_partly"] == 4 * 256


def test_an_append_of_values_takes_least_where_a_token_is_a_burst() -> None:
    """AttAcc keeps values by columns for that; NeuPIMs writes a value into a burst of each row."""
    ticks = {}
    for name in ("attacc_v", "neupims_v"):
        record = json.loads(run(name, *VALUES[1:], "--json")[1])
        ticks[name] = record["append"]["input"]["ticks"]
    assert 20 * ticks["attacc_v"] < ticks["neupims_v"]


def test_text_has_all_of_it() -> None:
    code, text = run(*VALUES)
    assert code == 0
    assert text.startswith("attacc_v, 4 x 128 x 256 in hbm3_banks")
    for label in ("rows", "multiplies", "append an input", "read by an NPU", "a copy for it"):
        assert f"\n  {label}  " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attacc", *VALUES[1:]), "unknown layout 'attacc'; did you mean 'attacc_v'?"),
        ((*VALUES[:3], "--in", "0"), "inputs must be >= 1, got 0"),
        ((*VALUES, "--part", "hbm3_bank"), "unknown grouped PIM part 'hbm3_bank'"),
        ((*VALUES, "--format", "fp17"), "unknown format 'fp17'"),
        ((*VALUES, "--tile", "0"), "tile_outputs must be >= 1, got 0"),
    ],
)
def test_wrong_input_is_refused(arguments: tuple[str, ...], message: str) -> None:
    code, text = run(*arguments)
    assert code == 2
    assert message in text
