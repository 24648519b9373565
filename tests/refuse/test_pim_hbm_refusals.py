"""Are HBM-PIM and AiM parts, kernels and programs that are wrong refused, and with which words?"""

from collections.abc import Callable
from typing import Any

import pytest

from simulator.config import replace
from simulator.dram.pim import aim, hbm_pim
from simulator.dram.pim.aim import Instruction
from simulator.dram.pim.hbm_pim import Call
from simulator.errors import InputError

HBM, AIM = hbm_pim.load_hbm_pim(), aim.load_aim()


def refused(action: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        action()
    return caught.value.problems


# fmt: off
@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"kernel": "gemm"}, ["unknown kernel 'gemm'; did you mean 'gemv'? known: add, gemv, mul, relu"]),
        ({"out": 0, "inputs": -1}, ["out must be >= 1, got 0", "inputs must be >= 1, got -1"]),
        ({"batch": 0, "matrices": 0, "heads": 0}, ["batch must be >= 1, got 0", "matrices must be >= 1, got 0", "heads must be >= 1, got 0"]),
        ({"kernel": "add", "out": 1, "inputs": 2, "batch": 2}, ["add has as many outputs as inputs, got 1 and 2", "batch is of gemv only, add has 1, got 2"]),
        ({"kernel": "relu", "matrices": 2, "heads": 3}, ["matrices is of gemv only, relu has 1, got 2", "heads is of gemv only, relu has 1, got 3"]),
    ],
)
def test_a_call_that_is_wrong(given: dict[str, Any], messages: list[str]) -> None:
    whole = {"kernel": "gemv", "out": 8, "inputs": 8} | given
    assert refused(lambda: Call(**whole)) == tuple(messages)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        # 6 x 1,250 input tiles of 64 bursts in two banks, and 6 x 8 bursts of results.
        (Call(kernel="gemv", out=24576, inputs=160000), "gemv of 24576 x 160000 needs 7502 rows of each bank, 4096 are there"),
        (Call(kernel="gemv", out=4096, inputs=4096, matrices=125), "gemv of 4096 x 4096 needs 4125 rows of each bank, 4096 are there"),
        (Call(kernel="gemv", out=64, inputs=64, heads=3), "heads must divide 64 channels, got 3"),
        (Call(kernel="add", out=100, inputs=100), "add takes whole tiles of 131072 elements, got 100; nearest: 131072"),
        (Call(kernel="mul", out=200000, inputs=200000), "mul takes whole tiles of 131072 elements, got 200000; nearest: 131072 and 262144"),
        (Call(kernel="relu", out=513 << 17, inputs=513 << 17), "relu of 67239936 elements needs 129 rows of each bank for an operand, 128 are there"),
    ],
)
def test_a_call_that_the_part_cannot_do(call: Call, message: str) -> None:
    assert refused(lambda: hbm_pim.run_calls(HBM, [call])) == (message,)
    assert refused(lambda: hbm_pim.run_calls(HBM, [])) == ("calls must be >= 1, got 0",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": "gemv", "out": 1, "inputs": 1, "pim": False, "batch": 2}, "batch needs PIM, got 2"),
        ({"kernel": "gemv", "out": 100000, "inputs": 100000, "pim": False}, "gemv of 100000 x 100000 needs 19074 rows of each bank, 16384 are there"),
        ({"kernel": "dot", "out": 1, "inputs": 1}, "unknown kernel 'dot'; known: add, gemv, mul, relu"),
    ],
)
def test_a_kernel_that_is_wrong(given: dict[str, Any], message: str) -> None:
    assert refused(lambda: hbm_pim.run_kernel(HBM, **given)) == (message,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels: must be >= 1, got 0"),
        ({"units.lanes": 8}, "units: 8 lanes of 2 bytes need a burst of 16 bytes, hbm2_pim_samsung has 32"),
        ({"units.blocks": 4}, "units: 4 blocks serve 8 banks, hbm2_pim_samsung has 16"),
        ({"units.registers": 5}, "units: registers must divide the 32 bursts of a row, got 5"),
        ({"modes.hab_banks": [0, 16]}, "modes.hab_banks: must be different banks below 16, got [0, 16]; modes.exit_banks: must be of hab_banks, no others open in HAB"),
        ({"modes.enter_banks": []}, "modes.enter_banks: must be different banks below 16, got []"),
        ({"modes.exit_banks": [0, 2]}, "modes.exit_banks: must be of hab_banks, no others open in HAB"),
        ({"modes.exit_row": 6143}, "modes: rows must differ and follow the parking row, got [6143, 6143, 16383, 4096]"),
        ({"parking.row": 7000}, "modes: rows must differ and follow the parking row, got [6143, 8191, 16383, 7000]"),
        ({"modes.control_row": 16384}, "modes: hbm2_pim_samsung has 16384 rows, got 16384"),
        ({"queue.entries": 0}, "queue.entries: must be >= 1, got 0"),
        ({"memory.buses": "row and column"}, "memory: hbm2_pim_samsung must have one command bus"),
        ({"memory.levels.Channel": 2}, "memory: hbm2_pim_samsung must be one PseudoChannel of one channel"),
        ({"memory.constraints.0": ["PseudoChannel", ["RD"], ["RD"], 2, 4]}, "memory: hbm2_pim_samsung must have no windows, siblings: [0] PseudoChannel RD -> RD 2 ticks, window 4"),
        ({"memory": "hbm2"}, "memory: unknown DRAM standard 'hbm2'"),
    ],
)
def test_a_part_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    (problem,) = refused(lambda: replace(HBM, changes))
    assert problem.split("; did you mean")[0] == message


def test_a_part_that_is_not_there() -> None:
    assert refused(lambda: hbm_pim.load_hbm_pim("hbm_pmi"))[0].startswith("unknown HBM-PIM part 'hbm_pmi'; did you mean 'hbm_pim'? known: ")
# fmt: on


def test_a_program_that_cannot_go_on() -> None:
    """A memory that closes all banks at once, when the last write into HAB still waits."""
    rows = tuple(
        row.model_copy(update={"ticks": 10**6})
        if "ACT" in row.before and "WR" in row.after
        else row
        for row in HBM.memory.constraints
    )
    memory = HBM.memory.model_copy(update={"constraints": rows})
    faulty = HBM.model_copy(update={"memory": memory})
    assert refused(lambda: hbm_pim.run_kernel(faulty, "gemv", 64, 64)) == (
        "hbm_pim: no command can follow; is a row or a bank wrong?",
    )


# fmt: off
@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"out": 0, "inputs": 0, "batch": 0, "latches": 0}, ["out must be >= 1, got 0", "inputs must be >= 1, got 0", "batch must be >= 1, got 0", "latches must be >= 1, got 0"]),
        ({"reads": "some"}, ["unknown reads 'some'; known: all, each"]),
        ({"out": 512 * 64, "inputs": 1024 * 300}, ["gemv of 32768 x 307200 needs 19200 rows of each bank, 16384 are there"]),
    ],
)
def test_a_gemv_that_aim_cannot_do(given: dict[str, Any], messages: list[str]) -> None:
    whole = {"out": 16, "inputs": 16} | given
    assert refused(lambda: aim.run_gemv(AIM, **whole)) == tuple(messages)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (Instruction("MAC"), "unknown command 'MAC'; did you mean 'MAC16'? known: AF16, EWMUL16, MAC16, RDAF16, RDMAC16, WRA16, WRGB, WRMAC16"),
        (Instruction("TMOD"), "unknown command 'TMOD'; known: AF16, EWMUL16, MAC16, RDAF16, RDMAC16, WRA16, WRGB, WRMAC16"),
        (Instruction("MAC16", 0), "bursts must be 1 to 64, got 0"),
        (Instruction("WRGB", 65), "bursts must be 1 to 64, got 65"),
        (Instruction("RDMAC16", 1, 32), "channel must be 0 to 31, got 32"),
        (Instruction("MAC16", row=16384), "row must be 0 to 16383, got 16384"),
    ],
)
def test_an_instruction_that_aim_does_not_have(instruction: Instruction, message: str) -> None:
    sound = Instruction("MAC16")
    assert refused(lambda: aim.run_program(AIM, [sound, instruction])) == (f"program[1]: {message}",)
    assert refused(lambda: aim.run_program(AIM, [])) == ("program must have >= 1 instructions, got 0",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels: must be >= 1, got 0"),
        ({"units.lanes": 32}, "units: 32 lanes of 2 bytes need a burst of 64 bytes, gddr6_aim has 32"),
        ({"units.buffer_bytes": 4096}, "units: the buffer must be whole bursts of 32 bytes, at most a row of 2048 bytes, got 4096"),
        ({"units.buffer_bytes": 100}, "units: the buffer must be whole bursts of 32 bytes, at most a row of 2048 bytes, got 100"),
        ({"commands.WRGB": "row"}, "commands: WRGB must be of kind 'register_write', got 'row'"),
        ({"commands.WRA16": "open"}, "commands: one must be of kind 'open', got ['ACT16', 'WRA16']"),
        ({"commands.MAC16": "mac"}, "commands.MAC16: unknown MAC16 'mac'; known: close, mode, open, refresh, register_read, register_write, row, row_close"),
        ({"memory.levels.Channel": 2}, "memory: gddr6_aim must be of one channel; say how many here"),
        ({"constraints.0": ["Channel", ["MAC"], ["MAC16"], 2]}, "constraints: [0]: unknown command 'MAC'; did you mean 'MAC16'? known: ACT16, AF16, EWMUL16, MAC16, PREab, RDAF16, RDMAC16, REFab, TMOD, WRA16, WRGB, WRMAC16"),
        ({"constraints.0": ["Bank", ["MAC16"], ["MAC16"], 2]}, "constraints: [0]: must be of the Channel, of no window, siblings or negative ticks, got Bank MAC16 -> MAC16 2 ticks"),
        ({"constraints.0": ["Channel", ["MAC16"], ["MAC16"], 2, 4]}, "constraints: [0]: must be of the Channel, of no window, siblings or negative ticks, got Channel MAC16 -> MAC16 2 ticks, window 4"),
        ({"refresh.mode": "all_bank", "memory.refresh.interval_ticks": 1260}, "refresh: an interval of 1260 ticks is no longer than 6 rows of 210 ticks, which a refresh may wait for"),
        ({"refresh.mode": "per_bank"}, "refresh.mode: unknown mode 'per_bank'; did you mean 'all_bank'? known: all_bank, none"),
    ],
)
def test_an_aim_part_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert refused(lambda: replace(AIM, changes)) == (message,)
# fmt: on
