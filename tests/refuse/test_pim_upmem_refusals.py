"""Are wrong UPMEM parts and runs, wrong energies and unknown devices refused, and how?"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.config import replace
from simulator.dram.pim import aim, hbm_pim, upmem
from simulator.errors import InputError

PART = upmem.load_upmem()
DEVICES = ("aim", "attacc", "hbm_pim", "neupims", "upmem")


def refused(action: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        action()
    return caught.value.problems


# fmt: off
@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"out": 0, "inputs": -1}, ["out must be >= 1, got 0", "inputs must be >= 1, got -1"]),
        ({"bits": 4}, ["bits must be one of 8, 16, 32, got 4"]),
        ({"tasklets": 0, "dpus": 0}, ["tasklets must be 1 to 24, got 0", "dpus must be 1 to 2560, got 0"]),
        ({"tasklets": 25, "dpus": 2561}, ["tasklets must be 1 to 24, got 25", "dpus must be 1 to 2560, got 2561"]),
        ({"value_bits": 9}, ["value_bits must be 1 to 8, got 9"]),
        ({"bits": 32, "value_bits": 0.5}, ["value_bits must be 1 to 32, got 0.5"]),
        ({"value_bits": float("nan")}, ["value_bits must be 1 to 8, got nan"]),
        ({"out": 16384, "inputs": 4096, "dpus": 1}, ["16384 rows of 4096 bytes need 67178496 bytes of MRAM, 67108864 are there"]),
    ],
)
def test_a_gemv_that_upmem_cannot_do(given: dict[str, Any], messages: list[str]) -> None:
    whole = {"out": 16, "inputs": 16} | given
    assert refused(lambda: upmem.run_gemv(PART, **whole)) == tuple(messages)


def test_blocks_that_wram_does_not_hold() -> None:
    part = replace(PART, {"kernel.block_bytes": 2048})
    assert refused(lambda: upmem.run_gemv(part, 16, 16)) == (
        "16 tasklets with two blocks of 2048 bytes need 65664 bytes of WRAM, 65536 are there",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpus": 0}, "dpus: must be >= 1, got 0"),
        ({"rank_dpus": 1}, "rank_dpus: must be >= 2, got 1"),
        ({"kernel.block_bytes": 1020}, "kernel.block_bytes: must be whole units of 8 bytes, at most 2048, got 1020"),
        ({"kernel.block_bytes": 4096}, "kernel.block_bytes: must be whole units of 8 bytes, at most 2048, got 4096"),
        ({"kernel.output_bytes": 3}, "kernel.output_bytes: must divide a unit of 8 bytes, got 3"),
        ({"instructions.by_bits": {4: {"loop": 9, "product": 1, "product_per_bit": 0, "source": "none"}}}, "instructions.by_bits: must be of 8, 16 or 32 bits, got 4"),
        ({"host.to_dpu_gb_per_s": 0}, "host.to_dpu_gb_per_s: must be > 0.0, got 0"),
        ({"energy.chip_w": -1}, "energy.chip_w: must be > 0.0, got -1"),
        ({"pipeline.apart_cycle": 11}, "pipeline.apart_cycle: unknown key; did you mean 'apart_cycles'?"),
    ],
)
def test_a_part_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert refused(lambda: replace(PART, changes)) == (message,)


def test_a_part_that_is_not_there() -> None:
    assert refused(lambda: upmem.load_upmem("upmen"))[0].startswith("unknown UPMEM part 'upmen'; did you mean 'upmem'? known: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy.pj_per_command.MAC": 1}, "energy.pj_per_command: unknown command 'MAC'; did you mean 'MAC16'? known: ACT16, AF16, EWMUL16, MAC16, PREab, RDAF16, RDMAC16, REFab, TMOD, WRA16, WRGB, WRMAC16"),
        ({"energy.pj_per_command.MAC16": -1}, "energy.pj_per_command.MAC16: must be >= 0.0, got -1"),
        ({"energy.open_mw": "much"}, "energy.open_mw: expected a number, got 'much'"),
        ({"energy.source": ""}, "energy.source: string should have at least 1 character, got ''"),
    ],
)
def test_an_energy_of_aim_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    (problem,) = refused(lambda: replace(aim.load_aim(), changes))
    assert problem == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy.execute_columns": 0}, "energy.execute_columns: must be > 0.0, got 0"),
        ({"energy.currents.idd4r_ma": -1}, "energy.currents.idd4r_ma: must be >= 0.0, got -1"),
        ({"memory.timing": {"tRAS": 33, "tRP": 14}}, "memory: hbm2_pim_samsung: timing lacks tCCDS, tRFC, which energy needs"),
    ],
)
def test_an_energy_of_hbm_pim_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    (problem,) = refused(lambda: replace(hbm_pim.load_hbm_pim(), changes))
    assert problem == message
# fmt: on


def known() -> str:
    """Return the devices that the command has: these, and what comes beside them."""
    listed = CliRunner().invoke(app, ["pim", "-h"]).stdout.split("Commands:\n")[1]
    names = sorted(line.split()[0] for line in listed.splitlines() if line.startswith("  "))
    assert set(DEVICES) <= set(names)
    return ", ".join(names)


@pytest.mark.parametrize(
    ("device", "near"), [("nonsense", "; "), ("upmen", "; did you mean 'upmem'? ")]
)
def test_a_device_that_is_unknown(device: str, near: str) -> None:
    message = f"unknown PIM command {device!r}{near}known: {known()}"
    words = CliRunner().invoke(app, ["pim", device, "--out", "16"])
    assert (words.exit_code, words.stdout, words.stderr) == (2, "", message + "\n")
    as_json = CliRunner().invoke(app, ["pim", device, "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout) == {"state": "INPUT_ERROR", "problems": [message]}
