"""Does a DPU take the cycles that its rules, and measured ones, say?"""

import json
from collections import deque
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from simulator.cli import app
from simulator.config import dump_yaml, replace
from simulator.dram.pim import upmem
from simulator.dram.pim import upmem_kernel as kernel
from simulator.dram.pim.upmem import load_upmem, run_gemv, transfer_s

PART = load_upmem()
APART, STAGES = 11, 14
#: Bits of the smaller of two factors, each any of 0 to 49 as PrIM's host makes them: the mean.
PRIM_BITS = sum(max(1, min(a, b).bit_length()) for a in range(50) for b in range(50)) / 2500
#: DPUs, rows of 64 INT32, ms of the kernel as measured on UPMEM's hardware
#: (VIA-Research/uPIMulator @870d916, tools/upmem_reg_model/data/input.xlsx).
MEASURED = [
    (1, [(8192, 36.41532)]),
    (4, [(2048, 2.55262), (8192, 9.33351), (32768, 36.13945), (65536, 72.40335)]),
    (16, [(2048, 0.76295), (8192, 2.46533), (32768, 9.16545)]),
    (64, [(2048, 0.33607), (8192, 0.7663), (24576, 1.89355)]),
]


@pytest.mark.parametrize(("dpus", "measured"), MEASURED)
def test_a_row_takes_nearly_what_was_measured(dpus: int, measured: list[tuple[int, float]]) -> None:
    """Of rows more: launching takes about 0.2 ms, which the model leaves out."""
    runs = [run_gemv(PART, m, 64, bits=32, dpus=dpus, value_bits=PRIM_BITS) for m, _ in measured]
    times = [
        (0.0, 0.0),
        *((run.time_s, ms * 1e-3) for run, (_, ms) in zip(runs, measured, strict=True)),
    ]
    more = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(times)]
    assert all(0.86 < ratio < 0.96 for ratio in more[1:] or more)


def exact(segments: list[tuple[int, int]], rows: list[int], group: int) -> int:
    """Return the cycles of a DPU that issues every instruction, cycle by cycle."""
    programs = [
        deque(
            each
            for row in range(count)
            for place, each in enumerate(segments)
            if place < len(segments) - 1 or (row + 1) % group == 0 or row + 1 == count
        )
        for count in rows
    ]
    ready, left, running = [0] * len(rows), [0] * len(rows), deque[int]()
    waiting, moving, until, now, done = deque[tuple[int, int]](), None, 0, 0, 0

    def go_on(tasklet: int) -> None:
        nonlocal done
        if not programs[tasklet]:
            done += 1
            return
        kind, amount = programs[tasklet].popleft()
        if kind == kernel.RUN:
            left[tasklet] = amount
            running.append(tasklet)
        else:
            waiting.append((tasklet, amount))

    for tasklet in range(len(rows)):
        go_on(tasklet)
    while done < len(rows):
        if moving is not None and now >= until:
            moving, moved = None, moving
            go_on(moved)
        if moving is None and waiting:
            moving, amount = waiting.popleft()
            until = now + amount
        issued = next((tasklet for tasklet in running if ready[tasklet] <= now), None)
        if issued is not None:
            running.remove(issued)
            ready[issued] = now + APART
            left[issued] -= 1
            if left[issued]:
                running.append(issued)
            else:
                go_on(issued)
        now += 1
    return now


@pytest.mark.parametrize(
    ("tasklets", "rows", "inputs", "bits"),
    [(1, 4, 100, 8), (4, 15, 100, 8), (11, 44, 200, 16), (16, 40, 600, 8), (24, 100, 64, 32)],
)
def test_shares_of_the_pipeline_are_near_to_instructions(
    tasklets: int, rows: int, inputs: int, bits: int
) -> None:
    segments, _ = upmem._row(PART, inputs, bits, bits)
    dealt = upmem._dealt(PART, rows, tasklets)
    whole = [(int(kind), int(amount)) for kind, amount in segments.tolist()]
    assert [list(each) for each in whole] == segments.tolist()
    counted = exact(whole, dealt.tolist(), PART.group_outputs) + STAGES - 1
    assert upmem._cycles(PART, segments, dealt) == pytest.approx(counted, rel=3e-3)


@pytest.mark.parametrize(("bits", "each"), [(8, 10), (16, 16), (32, 48)])
def test_one_tasklet_takes_its_closed_form(bits: int, each: int) -> None:
    """Two blocks of 1 KB and 8 bytes more of each row; two rows are written at once."""
    inputs = 2056 * 8 // bits
    run = run_gemv(PART, 4, inputs, bits=bits, tasklets=1, dpus=1)
    last = 8 * 8 // bits
    instructions = 4 * (3 * 20 + 20 + inputs * each + last)
    reads = 4 * 2 * (2 * (77 + 512) + 77 + 4)
    assert run.cycles == APART * instructions + reads + 2 * (61 + 4) + STAGES - 1
    assert run.commands == {"instruction": instructions, "mram_read": 4 * 6, "mram_write": 2}


@given(
    out=st.integers(1, 300),
    inputs=st.integers(1, 3000),
    bits=st.sampled_from([8, 16, 32]),
    tasklets=st.integers(1, 24),
    dpus=st.integers(1, 40),
)
def test_no_dpu_is_faster_than_its_pipeline_or_dma(
    out: int, inputs: int, bits: int, tasklets: int, dpus: int
) -> None:
    """Nor slower than one tasklet after the other; commands do not depend on tasklets."""
    run = run_gemv(PART, out, inputs, bits=bits, tasklets=tasklets, dpus=dpus)
    used = min(out, dpus)
    rows = ceil(out / used)
    segments, instructions = upmem._row(PART, inputs, bits, bits)
    moves = segments[segments[:, 0] == kernel.MOVE, 1]
    moved = rows * moves[:-1].sum() + ceil(rows / 2) * moves[-1]
    longest = max(upmem._dealt(PART, rows, tasklets))
    pipeline = max(rows, APART * longest) * instructions
    assert max(moved, pipeline) <= run.cycles
    assert run.cycles <= ceil(moved + APART * rows * instructions) + STAGES
    one = run_gemv(PART, out, inputs, bits=bits, tasklets=1, dpus=dpus)
    assert run.commands == one.commands
    assert run.commands["instruction"] == out * instructions
    assert run.commands["mram_read"] == out * (len(moves) - 1)
    assert (run.operations, run.channels) == (out * inputs, used)


@pytest.mark.parametrize("rows", range(1, 60))
def test_every_row_is_dealt_once_in_pairs(rows: int) -> None:
    for tasklets in (1, 2, 11, 24):
        dealt = upmem._dealt(PART, rows, tasklets)
        assert dealt.sum() == rows
        assert len(dealt) <= tasklets
        assert (dealt[:-1] % 2 == 0).all()
        assert dealt.min() > 0


def test_eleven_tasklets_fill_the_pipeline() -> None:
    cycles = [
        run_gemv(PART, 528, 512, bits=32, tasklets=tasklets, dpus=1).cycles
        for tasklets in (1, 2, 11, 22, 24)
    ]
    assert cycles[0] / cycles[1] == pytest.approx(2, rel=0.02)
    assert cycles[0] / cycles[2] == pytest.approx(11, rel=0.06)
    assert cycles[3] == pytest.approx(cycles[2], rel=0.06)


def test_small_factors_are_multiplied_sooner() -> None:
    whole, small = (
        run_gemv(PART, 64, 64, bits=32, dpus=1, value_bits=bits).commands["instruction"]
        for bits in (None, 4)
    )
    assert whole - small == 64 * 64 * 28
    assert run_gemv(PART, 64, 64, bits=8, value_bits=1) == run_gemv(PART, 64, 64, bits=8)


def test_the_host_moves_at_the_rates_that_were_measured() -> None:
    size = 10**6
    assert transfer_s(PART, "to", 1, size) == pytest.approx(size / 0.33e9)
    assert transfer_s(PART, "to", 64, size) == pytest.approx(64 * size / 6.68e9)
    assert transfer_s(PART, "from", 64, size) == pytest.approx(64 * size / 4.74e9)
    assert transfer_s(PART, "broadcast", 2560, size) == pytest.approx(2560 * size / 16.88e9)
    assert transfer_s(PART, "to", 64, size, serial=True) == pytest.approx(64 * size / 0.33e9)
    assert transfer_s(PART, "from", 3, size, serial=True) == pytest.approx(3 * size / 0.12e9)
    ranks = [transfer_s(PART, "to", 64 * ranks, size) for ranks in (1, 2, 40)]
    assert ranks == pytest.approx([ranks[0], 2 * ranks[0], 40 * ranks[0]])
    times = [transfer_s(PART, "to", dpus, size) for dpus in range(1, 66)]
    assert times == sorted(times)


def test_what_the_host_moves_for_a_gemv() -> None:
    run = run_gemv(PART, 4096, 4096, bits=8)
    assert run.transfer_s == {
        "weights": transfer_s(PART, "to", 2560, 2 * 4096),
        "inputs": transfer_s(PART, "broadcast", 2560, 4096),
        "outputs": transfer_s(PART, "from", 2560, 8),
    }


def test_chips_at_work_take_power() -> None:
    few, many = (run_gemv(PART, 128, 256, dpus=dpus) for dpus in (9, 128))
    assert few.energy_j == {"chips": pytest.approx(2 * 1.2 * few.time_s)}
    assert many.energy_j == {"chips": pytest.approx(16 * 1.2 * many.time_s)}


def test_the_command_prints_cycles_and_transfers() -> None:
    sizes = {"out": 4096, "in": 1024, "bits": 16, "tasklets": 11, "dpus": 64}
    given = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    arguments = ["pim", "upmem", *given]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    run = run_gemv(PART, 4096, 1024, bits=16, tasklets=11, dpus=64)
    assert found["cycles"] == run.cycles
    assert found["transfer_s"] == run.transfer_s
    assert found["energy_j"] == run.energy_j
    assert "host moves  weights" in CliRunner().invoke(app, arguments).stdout


def test_a_part_that_is_written_loads_equal(tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(dump_yaml(PART), encoding="utf-8")
    assert load_upmem(str(file)) == PART


def test_a_faster_clock_takes_as_many_cycles() -> None:
    given = {"bits": 16, "dpus": 4}
    slow, fast = (run_gemv(replace(PART, {"tick_ps": ps}), 64, 64, **given) for ps in (2857, 2500))  # type: ignore[arg-type]
    assert slow.cycles == fast.cycles
    assert slow.time_s / fast.time_s == pytest.approx(2857 / 2500)


def test_arrays_are_of_two_types() -> None:
    """The kernel is compiled once."""
    segments, _ = upmem._row(PART, 100, 8, 8)
    assert segments.dtype == np.float64
    assert upmem._dealt(PART, 7, 2).dtype == np.int64
