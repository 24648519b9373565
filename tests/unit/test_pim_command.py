"""Does `nibblesim pim` print what scripts rely on, and refuse what cannot be?"""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from simulator.cli import app

HBM_PIM = ("pim", "hbm_pim", "--kernel", "gemv", "--out", "4096", "--in", "1024")
ATTACC = ("pim", "attacc", "--context", "512", "--heads", "16", "--head-dim", "128")


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="nibblesim")


def parsed(*arguments: str) -> dict[str, Any]:
    result = nibblesim(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Return a file of one request on channel 3."""
    path = tmp_path / "requests.csv"
    path.write_text("seq_len,ch_idx\n128,3\n", encoding="ascii")
    return path


def test_hbm_pim() -> None:
    """4,096 outputs of 1,024 inputs: as PIMSimulator (SAITPublic/PIMSimulator @b464dde) prints."""
    run = parsed(*HBM_PIM)
    assert run["cycles"] == 3662
    assert run["channels"] == 64
    assert run["utilisation"] == 1.0
    assert parsed(*HBM_PIM, "--no-pim")["cycles"] == 9042


def test_attacc() -> None:
    cycles = {
        level: parsed(*ATTACC, "--level", level, "--bytes", "2")["cycles"]
        for level in ("bank", "bank_group", "buffer")
    }
    assert cycles["bank"] < cycles["bank_group"] < cycles["buffer"]
    assert parsed(*ATTACC, "--power-limit")["cycles"] > cycles["bank"]


def test_neupims(requests: Path) -> None:
    model = ("--hidden", "1024", "--heads", "8", "--tp", "1")
    runs = {
        mode: parsed("pim", "neupims", "--mode", mode, "--requests", str(requests), *model)
        for mode in ("dual", "blocked")
    }
    assert runs["dual"]["mha_cycles"] < runs["blocked"]["mha_cycles"]
    busy = runs["dual"]["pim_busy_cycles"]
    assert len(busy) == 32
    assert [channel for channel, cycles in enumerate(busy) if cycles] == [3]


def test_aim() -> None:
    run = parsed("pim", "aim", "--out", "512", "--in", "1024")
    assert run["commands"]["MAC16"] == run["bursts"]


def test_the_table_says_what_was_done() -> None:
    text = nibblesim(*HBM_PIM).stdout
    assert text.startswith("hbm_pim, 64 channels\n")
    assert "3,662 cycles" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("pim", "hbm_pim", "--kernel", "gem", "--out", "4096"),
            "unknown kernel 'gem'; did you mean 'gemv'? known: add, gemv, mul, relu",
        ),
        (
            (*ATTACC, "--level", "rank"),
            "attacc: unknown level 'rank'; did you mean 'bank'? known: bank, bank_group, buffer",
        ),
    ],
)
def test_refused(arguments: tuple[str, ...], message: str) -> None:
    result = nibblesim(*arguments)
    assert result.exit_code == 2
    assert result.stderr == message + "\n"


def test_a_file_of_requests_that_is_not_there() -> None:
    result = nibblesim(
        "pim", "neupims", "--requests", "none.csv", "--hidden", "1024", "--heads", "8"
    )
    assert result.exit_code == 2
    assert "none.csv" in result.stderr
