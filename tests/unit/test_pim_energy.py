"""Is the energy of HBM-PIM and AiM that of their commands, counted anew from the trace?"""

from collections import Counter

import pytest

from simulator.config import replace
from simulator.dram import Command
from simulator.dram.pim.aim import Instruction, load_aim, run_gemv, run_program
from simulator.dram.pim.hbm_pim import Call, HbmPim, load_hbm_pim, run_calls, run_kernel

HBM, AIM = load_hbm_pim(), load_aim()
CHANNELS = 64
#: Of a pseudo-channel at 1 ns a tick, pJ: V x devices x (mA x ticks).
ACTIVATE = 0.6 * (65 * 47 - 55 * 33 - 40 * 14)
READ, WRITE = 0.6 * (390 - 55) * 2, 0.6 * (500 - 55) * 2
REFRESH = 0.6 * (250 - 55) * 350
#: Rows and banks that set the mode, and the row from which nothing is executed.
ENTER, EXIT, PARKING = (0x17FF, 4), (0x1FFF, 2), 0x1000


def counted(commands: list[Command]) -> Counter[str]:
    """Count activations alone and in HAB, columns moved and executed, refreshes."""
    found, hab, since = Counter[str](), False, 0
    for _, name, (*_, row, _) in commands:
        column = {"RD": "read", "WR": "write"}.get(name)
        if name == "ACT":
            found["in all" if hab else "alone"] += 1
        elif column:
            found[f"execute {column}" if hab and row < PARKING else column] += 1
        elif name == "REFab":
            found["refresh"] += 1
        row_of, banks = EXIT if hab else ENTER
        since += name == ("PREpb" if hab else "ACT") and row == row_of
        if since == banks:
            hab, since = not hab, 0
    assert not hab
    return found


def expected(found: Counter[str]) -> dict[str, float]:
    each = {
        "activate": ACTIVATE * (found["alone"] + 8 * found["in all"]),
        "read": READ * found["read"],
        "write": WRITE * found["write"],
        "execute": 2 * (READ * found["execute read"] + WRITE * found["execute write"]),
        "refresh": REFRESH * found["refresh"],
    }
    return {name: CHANNELS * pj * 1e-12 for name, pj in each.items()}


@pytest.mark.parametrize(
    ("kernel", "out", "inputs", "pim"),
    [
        ("gemv", 4096, 4096, True),
        ("gemv", 64, 5000, True),
        ("add", 1 << 20, 1 << 20, True),
        ("relu", 1 << 20, 1 << 20, True),
        ("gemv", 1024, 1024, False),
        ("mul", 1 << 20, 1 << 20, False),
    ],
)
def test_hbm_pim_takes_what_its_commands_take(
    kernel: str, out: int, inputs: int, pim: bool
) -> None:
    commands = list[Command]()
    run = run_kernel(HBM, kernel, out, inputs, pim=pim, trace=commands.extend)
    assert run == run_kernel(HBM, kernel, out, inputs, pim=pim)
    assert run.energy_j == pytest.approx(expected(counted(commands)))
    assert (run.energy_j["execute"] > 0) == pim


def test_every_call_adds_its_columns() -> None:
    call = Call(kernel="gemv", out=4096, inputs=1024)
    one, two = (run_calls(HBM, [call] * count).energy_j for count in (1, 2))
    for name in ("read", "write", "execute"):
        assert two[name] == pytest.approx(2 * one[name])


def energy(part: HbmPim) -> dict[str, float]:
    return run_kernel(part, "gemv", 4096, 1024).energy_j


def test_an_executed_column_takes_as_many_reads_as_the_part_says() -> None:
    more = energy(replace(HBM, {"energy.execute_columns": 3}))
    known = energy(HBM)
    assert more.pop("execute") == pytest.approx(1.5 * known.pop("execute"))
    assert more == known


def test_a_gemv_on_the_blocks_takes_less_than_reading_its_weights() -> None:
    """By a third of what four times the bandwidth at the same power gives."""
    alone, pim = (
        sum(run_kernel(HBM, "gemv", 4096, 4096, pim=pim).energy_j.values()) for pim in (False, True)
    )
    assert 2.5 < alone / pim < 4


#: Every command that has an energy, and refreshes between.
MIXED = [
    Instruction("WRGB", 64), Instruction("MAC16", 64, row=1), Instruction("EWMUL16", 3, row=2),
    Instruction("AF16", 2, row=2), Instruction("WRMAC16"), Instruction("RDMAC16", 1, 1),
    Instruction("RDAF16", 2), Instruction("WRA16", 2, row=3), Instruction("MAC16", 9, row=5),
] * 20  # fmt: skip


def open_ticks(commands: list[Command], cycles: int) -> int:
    """Return the ticks for which channels have a row open, all together."""
    since, total = dict[int, int](), 0
    for tick, name, (channel, *_) in commands:
        if name == "ACT16":
            since[channel] = tick
        elif name in ("PREab", "WRA16") and channel in since:
            total += tick - since.pop(channel)
    return total + sum(cycles - tick for tick in since.values())


@pytest.mark.parametrize("refresh", ["none", "all_bank"])
@pytest.mark.parametrize("mixed", [True, False])
def test_aim_takes_what_its_commands_take(mixed: bool, refresh: str) -> None:
    part = replace(AIM, {"channels": 3, "refresh.mode": refresh})
    commands = list[Command]()
    if mixed:
        run = run_program(part, MIXED, trace=commands.extend)
        assert run == run_program(part, MIXED)
        assert {*run.energy_j} == {*AIM.energy.pj_per_command, "standby"}
    else:
        run = run_gemv(part, 1000, 3000, trace=commands.extend)
        assert run == run_gemv(part, 1000, 3000)
    counts = Counter(name for _, name, _ in commands)
    pj_of = AIM.energy.pj_per_command
    expected = {name: counts[name] * pj * 1e-12 for name, pj in pj_of.items() if counts[name]}
    is_open = open_ticks(commands, run.cycles)
    assert 0 < is_open < 3 * run.cycles
    standby = (is_open * 263.75 + (3 * run.cycles - is_open) * 183.15) * 500e-15
    assert run.energy_j == pytest.approx({**expected, "standby": standby})


def test_aim_commands_are_the_powers_of_their_source() -> None:
    """Yufeng98/CENT @863bd7d, cent_power_calculator.py: mW, ns and pJ a bit of 256."""
    activate, read, write, pins = 132.6 / 2 * 44.5, 876.3 / 2 * 1.25, 1106.3 / 2 * 1.25, 5.5 * 256
    mac, buffer = 3 * 876.3 / 2 * 1.0, 0.3254884575 / 2
    assert AIM.energy.pj_per_command == pytest.approx(
        {
            "ACT16": 16 * activate,
            "MAC16": mac,
            "EWMUL16": mac / 4,
            "AF16": 16 * read,
            "WRA16": 16 * write + pins,
            "WRMAC16": write + pins,
            "WRGB": buffer + pins,
            "RDMAC16": read + pins,
            "RDAF16": read + pins,
        },
        rel=1e-5,
    )
