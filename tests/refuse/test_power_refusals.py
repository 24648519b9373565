"""Is too much power refused, with which words, and where nothing helps?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator import config
from simulator.api import load_device, simulate
from simulator.cli import app
from simulator.errors import InfeasibleError, InputError
from simulator.hardware import Device
from simulator.workload import gemm

WORK = gemm(2048, 2048, 2048)


def device(tdp: str) -> Device:
    return config.replace(load_device("a100"), {"tdp": tdp})


def infeasible(tdp: str, choice: str) -> InfeasibleError:
    with pytest.raises(InfeasibleError) as caught:
        simulate(device(tdp), WORK, power=choice)
    return caught.value


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("throtle", "unknown power 'throtle'; did you mean 'throttle'?"),
        ("", "unknown power ''; known: report, throttle, refuse"),
    ],
)
def test_unknown_choice(choice: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(device("200 W"), WORK, power=choice)
    assert str(caught.value) == message


def test_refused() -> None:
    error = infeasible("200 W", "refuse")
    average = simulate(device("500 W"), WORK).power.average_w
    assert (error.resource, error.demand, error.bound, error.unit) == ("power", average, 200, "W")
    assert str(error) == f"a100 takes {average:.4g} W on average, its TDP is 200 W"


def test_static_power_alone_is_too_much() -> None:
    error = infeasible("50 W", "throttle")
    assert str(error) == "a100: leakage and refresh alone take 115.8 W, its TDP is 50 W"
    assert (error.resource, error.bound) == ("power", 50)


def test_no_clock_that_is_tried_is_low_enough() -> None:
    """All that moves and multiplies would have to take 0.01 W."""
    error = infeasible("115.83 W", "throttle")
    assert str(error).startswith("a100 takes 11")
    assert str(error).endswith(" W on average at 5.628 MHz still, its TDP is 115.8 W")
    assert error.demand > error.bound


def test_on_the_command_line(tmp_path: Path) -> None:
    line = ("run", "a100", "gpt-2", "--phase", "decode", "--context", "64")
    options = ("--set", "tdp=100 W", "--power", "refuse", "--json", "--out", str(tmp_path))
    done = CliRunner().invoke(app, [*line, *options])
    assert done.exit_code == 3
    assert " W on average, its TDP is 100 W" in done.stderr
    saved = json.loads((tmp_path / "result.json").read_text())
    assert (saved["state"], saved["resource"], saved["bound"]) == ("INFEASIBLE", "power", 100)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"stack": "0 W", "source": "test"}, "pim.stack_limit.stack: must be positive, got '0 W'"),
        ({"stack": "9 W"}, "pim.stack_limit.source: missing"),
        ({"stack": "9 W", "source": " "}, "pim.stack_limit.source: must not be empty"),
    ],
)
def test_limit_of_a_stack(limit: dict[str, str], message: str) -> None:
    banks = {
        "kind": "groups",
        "part": "hbm3_banks",
        "unit": "fp16_in_bank",
        "sets": 1,
        "policy": "blocked",
        "multiplies": ["weights"],
        "keys": "aim",
        "values": "aim",
        "stack_limit": limit,
        "source": "test",
    }
    with pytest.raises(InputError) as caught:
        config.replace(load_device("npu_hbm2"), {"pim": banks})
    assert str(caught.value) == message
