"""Does HBM-PIM take the cycles that PIMSimulator recorded, and issue only what is allowed?

`Twin` is a second controller, tick by tick and without arrays, by the rules that `hbm_pim_kernel`
states; `Modes` checks modes by what a trace shows, and shares nothing with either but the part.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dram_cases import uncollected
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config import dump_yaml, replace
from simulator.dram import Command, Standard
from simulator.dram.checker import Checker, Report, check_commands
from simulator.dram.pim import hbm_pim, hbm_pim_kernel, hbm_pim_program
from simulator.dram.pim.hbm_pim import Call, HbmPim, load_hbm_pim, run_calls, run_kernel

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PART = load_hbm_pim()
MODES, PARK = PART.modes, PART.parking.row
#: SAITPublic/PIMSimulator @b464dde, system_hbm_64ch.ini with ini/HBM2_samsung_2M_16B_x64.ini, by
#: PIMBenchTestCases: kernel, outputs, inputs, cycles without and with PIM. 1,024 outputs lose.
RECORDED = [
    ("gemv", 4096, 4096, 36082, 13166),
    ("gemv", 8192, 4096, 71527, 26337),
    ("gemv", 4096, 1024, 9042, 3662),
    ("gemv", 1024, 4096, 9038, 13166),
    ("gemv", 1024, 1024, 2494, 3662),
    ("add", 1 << 20, 1 << 20, 6651, 3349),
    ("mul", 1 << 21, 1 << 21, 13255, 5926),
    ("relu", 1 << 22, 1 << 22, 17504, 7665),
]


@pytest.mark.parametrize(("kernel", "out", "inputs", "without", "with_pim"), RECORDED)
def test_recorded_cycles(kernel: str, out: int, inputs: int, without: int, with_pim: int) -> None:
    assert run_kernel(PART, kernel, out, inputs, pim=False).cycles == without
    assert run_kernel(PART, kernel, out, inputs).cycles == with_pim


def test_recorded_cycles_of_the_file() -> None:
    path = DATA / "pimsimulator_kernels.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (SAITPublic/PIMSimulator @b464dde)")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["kernel"] for row in rows} == {*hbm_pim.KERNELS}
    for row in rows:
        part = replace(PART, {"channels": int(row["channels"])})
        sizes = (row["kernel"], int(row["out_dim"]), int(row["in_dim"]))
        runs = {pim: run_kernel(part, *sizes, pim=pim) for pim in (False, True)}
        assert runs[False].cycles == int(row["cycles_no_pim"])
        assert runs[True].cycles == int(row["cycles_pim"])
        speedup = runs[False].time_s / runs[True].time_s
        assert speedup == pytest.approx(float(row["speedup"]), abs=5e-6)


def traced(kernel: str, out: int, inputs: int, part: HbmPim = PART, **given: Any) -> list[Command]:
    commands = list[Command]()
    run = run_kernel(part, kernel, out, inputs, **given, trace=commands.extend)
    assert run == run_kernel(part, kernel, out, inputs, **given)
    counts = Counter(each.name for each in commands)
    assert run.commands == {name: part.channels * count for name, count in counts.items()}
    return commands


def bank_of(command: Command) -> int:
    return command.address[2] * PART.memory.levels["Bank"] + command.address[3]


def test_a_tile_takes_what_the_table_says() -> None:
    """The ticks between the first writes of inputs: of an even bank, and of an odd one.

    64 reads in two rows, a write of 8 inputs, and the turns of the bus between; the row of the
    inputs, in the odd bank, is opened meanwhile or has to be opened.
    """
    ticks = {
        (row.level, row.before[0], name): row.ticks
        for row in PART.memory.constraints
        for name in row.after
    }
    column, write = ticks["BankGroup", "RD", "RD"], ticks["BankGroup", "WR", "WR"]
    of = {name: ticks["Bank", *name.split()] for name in
          ("RD PREpb", "WR PREpb", "PREpb ACT", "ACT RD", "ACT WR")}  # fmt: skip
    reopened = of["RD PREpb"] + of["PREpb ACT"] + of["ACT RD"]
    reads = 2 * 31 * column + reopened
    turns = {kind: ticks["PseudoChannel", *kind.split()] for kind in ("RD WR", "WR RD")}
    even = reads + turns["RD WR"] + 7 * write + turns["WR RD"]
    odd = (
        reads + of["RD PREpb"] + of["PREpb ACT"] + of["ACT WR"]
        + 7 * write + of["WR PREpb"] + of["PREpb ACT"] + of["ACT RD"]
    )  # fmt: skip
    assert (even, odd) == (341, 388)
    first = hbm_pim_program.INPUT_COLUMN * PART.memory.prefetch
    commands = traced("gemv", 4096, 4096)
    starts = [
        each.tick
        for each in commands
        if each.name == "WR" and each.address[4:] == (MODES.control_row, first)
    ]
    refreshed = [each.tick for each in commands if each.name == "REFab"]
    apart = [
        then - start
        for start, then in pairwise(starts)
        if not any(start - 100 < tick < then for tick in refreshed)
    ]
    assert len(starts) == 32
    assert set(apart) >= {even, odd}
    assert sum(each in (even, odd) for each in apart) >= len(apart) - 2


def test_pim_loses_below_half_a_tile_of_outputs() -> None:
    """All 4,096 outputs of a tile are computed, wanted or not; weights alone are read."""
    gains = {
        out: run_kernel(PART, "gemv", out, 4096, pim=False).cycles
        / run_kernel(PART, "gemv", out, 4096).cycles
        for out in (1024, 1536, 4096, 4097)
    }
    assert gains[1024] < 0.7
    assert gains[1536] == pytest.approx(1.027, abs=1e-3)
    assert gains[4096] > 2.7
    assert gains[4097] == pytest.approx(gains[4096] / 2, rel=0.01)
    assert run_kernel(PART, "gemv", 1024, 4096).utilisation == 0.25


def test_bursts_and_operations() -> None:
    run = run_kernel(PART, "gemv", 4000, 4000, batch=3)
    assert run.operations == 3 * 4000 * 4000
    # 4,096 outputs, 32 input tiles of 128.
    assert run.bursts == 3 * 4096 * 4096 // (PART.units.blocks * PART.units.lanes)
    assert run.utilisation == pytest.approx(4000**2 / 4096**2)
    added = run_kernel(PART, "add", 1 << 20, 1 << 20)
    assert added.operations == added.bursts * added.operations_per_burst == 1 << 20
    assert added.time_s == pytest.approx(3349e-9)


@settings(max_examples=25)
@given(
    out=st.integers(1, 200),
    inputs=st.integers(1, 1000),
    batch=st.integers(1, 3),
    matrices=st.integers(1, 3),
    channels=st.integers(1, 3),
)
def test_every_weight_is_read_once_a_vector_and_results_have_their_own_place(
    out: int, inputs: int, batch: int, matrices: int, channels: int
) -> None:
    part, commands = replace(PART, {"channels": channels}), list[Command]()
    call = Call(kernel="gemv", out=out, inputs=inputs, batch=batch, matrices=matrices)
    run_calls(part, [call], trace=commands.extend)
    data = [each for each in commands if each.name in ("RD", "WR") and each.address[4] < PARK]
    places = {
        name: Counter((bank_of(each), *each.address[4:]) for each in data if each.name == name)
        for name in ("RD", "WR")
    }
    tiles = ceil(out / (channels * 64)), ceil(ceil(inputs / 16) / 8)
    assert set(places["RD"].values()) == {batch}
    assert len(places["RD"]) == matrices * 64 * tiles[0] * tiles[1]
    assert set(places["WR"].values()) == {1}
    assert len(places["WR"]) == matrices * 8 * tiles[0] * batch
    assert not places["RD"].keys() & places["WR"].keys()
    assert {bank for bank, *_ in places["RD"]} <= {*MODES.hab_banks}


def test_calls_follow_one_another() -> None:
    calls = [
        Call(kernel="gemv", out=4096, inputs=512),
        Call(kernel="relu", out=1 << 18, inputs=1 << 18),
        Call(kernel="gemv", out=300, inputs=128, batch=2, matrices=3, heads=32),
    ]
    commands = list[Command]()
    run = run_calls(PART, calls, trace=commands.extend)
    assert run == run_calls(PART, calls)
    assert run.operations == sum(call.operations for call in calls)
    assert run.operations == 4096 * 512 + (1 << 18) + 300 * 128 * 2 * 3 * 32
    alone = [run_calls(PART, [call]) for call in calls]
    assert run.bursts == sum(each.bursts for each in alone)
    # But for refreshes, which come at other places.
    assert abs(run.cycles - sum(each.cycles for each in alone)) < 3 * 384
    assert check_commands(PART.memory, commands, 1).violations == ()
    assert broken_modes(commands) == []


def test_a_part_that_is_written_loads_equal(tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(dump_yaml(PART), encoding="utf-8")
    assert load_hbm_pim(str(file)) == PART


# The second controller.


class Twin:
    """One channel by the rules of `hbm_pim_kernel`, a tick at a time."""

    def __init__(self, part: HbmPim, runs: Any, watched: bool) -> None:
        self.part, self.memory, self.watched = part, part.memory, watched
        self.waiting = list(self.commands_of(runs))
        self.queue: list[tuple[int, ...]] = []
        self.open: dict[int, int] = {}
        self.last: dict[tuple[str, int, str], int] = {}
        self.issued: list[tuple[int, str, int]] = []
        self.hab = False
        self.entering: set[int] = set()
        self.leaving: set[int] = set()
        self.next_mode: tuple[int, bool] | None = None
        self.pending = ""
        self.turn = self.tick = self.done = 0

    @staticmethod
    def commands_of(runs: Any) -> Iterator[tuple[int, ...]]:
        """Yield (write, bank, row, barrier, phase)."""
        for write, bank, row, _, count, barrier, _, phase in runs.tolist():
            for i in range(count):
                yield write, bank, row, int(barrier and i == count - 1), phase

    def place(self, level: str, bank: int) -> int:
        return {"Bank": bank, "BankGroup": bank // 4}.get(level, 0)

    def may(self, name: str, bank: int) -> bool:
        return all(
            self.tick >= self.last[level, place, before] + row.ticks
            for row in self.memory.constraints
            if name in row.after
            for level, place in [(row.level, self.place(row.level, bank))]
            for before in row.before
            if (level, place, before) in self.last
        )

    def issue(self, name: str, bank: int) -> bool:
        for level in self.memory.banked_levels:
            self.last[level, self.place(level, bank), name] = self.tick
        self.issued.append((self.tick, name, bank))
        return True

    def close(self, bank: int) -> bool:
        row = self.open.pop(bank)
        if self.hab and row == MODES.exit_row:
            self.leaving |= {bank} & {*MODES.exit_banks}
            if self.leaving == {*MODES.exit_banks}:
                self.next_mode, self.leaving = (self.tick + 1, False), set()
        return self.issue("PREpb", bank)

    def refresh(self) -> bool:
        if self.pending == "other":
            self.pending = ""
            return True
        for bank in sorted(self.open):
            if self.may("PREpb", bank):
                return self.close(bank)
        if self.open or not self.may("REFab", 0):
            return False
        self.pending = ""
        return self.issue("REFab", 0)

    def column(self) -> bool:
        for i, (write, bank, row, barrier, _) in enumerate(self.queue):
            name = "WR" if write else "RD"
            if barrier and i:
                return False
            if self.open.get(bank) == row and self.may(name, bank):
                latency = self.part.latency
                reads = latency.command_ticks + self.memory.read_latency_ticks + 1
                self.done = max(
                    self.done, self.tick + (latency.write_ticks + 1 if write else reads)
                )
                del self.queue[i]
                return self.issue(name, bank)
            if barrier:
                return False
        return False

    def activate(self) -> bool:
        for i, (_, bank, row, barrier, _) in enumerate(self.queue):
            if barrier and i:
                return False
            allowed = not self.hab or bank in MODES.hab_banks
            if bank not in self.open and allowed and self.may("ACT", bank):
                self.open[bank] = row
                if self.watched and not self.hab and row == MODES.enter_row:
                    self.entering |= {bank} & {*MODES.enter_banks}
                    if self.entering == {*MODES.enter_banks}:
                        self.next_mode, self.entering = (self.tick + 1, True), set()
                return self.issue("ACT", bank)
        return False

    def tidy(self) -> bool:
        upto = next((i for i, each in enumerate(self.queue) if each[3]), len(self.queue))
        wanted = {each[1:3] for each in self.queue[: upto + 1]}
        for i in range(16):
            bank = (self.turn + i) % 16
            unwanted = bank in self.open and (bank, self.open[bank]) not in wanted
            if unwanted and self.may("PREpb", bank):
                self.turn = bank
                return self.close(bank)
        return False

    def run(self) -> int:
        """Return the cycles."""
        interval, refresh = self.memory.refresh.interval_ticks, self.part.refresh
        for phase in sorted({each[4] for each in self.waiting}):
            here = [each for each in self.waiting if each[4] == phase]
            while here or self.queue or self.tick < self.done:
                if self.next_mode and self.tick == self.next_mode[0]:
                    self.hab, self.next_mode = self.next_mode[1], None
                for name, first in (
                    ("own", refresh.first_tick),
                    ("other", refresh.other_rank_first_tick),
                ):
                    if first and self.tick >= first and (self.tick - first) % interval == 0:
                        self.pending = name
                if not (self.pending and self.refresh()):
                    _ = self.column() or self.activate() or self.tidy()
                if here and len(self.queue) < self.part.queue.entries:
                    self.queue.append(here.pop(0))
                self.tick += 1
        return self.tick


def equals_twin(part: HbmPim, kernel: str, out: int, inputs: int, batch: int, pim: bool) -> None:
    call = Call(kernel=kernel, out=out, inputs=inputs, batch=batch)
    runs = (
        hbm_pim_program.call_runs(part, call, 0) if pim else hbm_pim_program.stream_runs(part, call)
    )
    twin = Twin(part, runs, pim)
    cycles = twin.run()
    commands = traced(kernel, out, inputs, part, batch=batch, pim=pim)
    assert [(each.tick, each.name, bank_of(each)) for each in commands] == twin.issued
    assert run_kernel(part, kernel, out, inputs, batch=batch, pim=pim).cycles == cycles


@pytest.mark.parametrize("pim", [True, False])
@pytest.mark.parametrize(("kernel", "out", "inputs"), [each[:3] for each in RECORDED[3:6]])
def test_the_twin_issues_the_same(kernel: str, out: int, inputs: int, pim: bool) -> None:
    equals_twin(PART, kernel, out, inputs, 1, pim)


@settings(max_examples=12)
@given(
    kernel=st.sampled_from([*hbm_pim.KERNELS]),
    pim=st.booleans(),
    size=st.integers(1, 4),
    inputs=st.integers(1, 700),
    batch=st.integers(1, 2),
    first=st.integers(1, 3900),
    other=st.integers(1, 3900),
    entries=st.integers(1, 64),
)
def test_the_twin_issues_the_same_of_anything(
    kernel: str,
    pim: bool,
    size: int,
    inputs: int,
    batch: int,
    first: int,
    other: int,
    entries: int,
) -> None:
    """Refreshes come at other places, and queues are as short as can be."""
    changes = {"first_tick": first, "other_rank_first_tick": other}
    part = replace(
        PART,
        {
            "channels": 2,
            "queue.entries": entries,
            **{f"refresh.{name}": tick for name, tick in changes.items()},
        },
    )
    elements = size * part.tile_elements
    if kernel == "gemv":
        equals_twin(part, kernel, 50 * size, inputs, batch if pim else 1, pim)
    else:
        equals_twin(part, kernel, elements, elements, 1, pim)


@settings(max_examples=150)
@given(
    groups=st.lists(
        st.tuples(
            st.integers(0, 1),  # write
            st.sampled_from([0, 1, 2, 5, 10]),  # bank
            st.integers(0, 2),  # row
            st.integers(1, 5),  # count
            st.booleans(),  # barrier
            st.integers(0, 1),  # a new phase
        ),
        min_size=1,
        max_size=25,
    ),
    entries=st.integers(1, 12),
    first=st.integers(1, 400),
)
def test_the_twin_issues_the_same_of_any_program(
    groups: list[tuple[int, ...]], entries: int, first: int
) -> None:
    """With short queues, what enters late matters."""
    part = replace(PART, {"queue.entries": entries, "refresh.first_tick": first})
    phases = np.cumsum([group[-1] for group in groups])
    runs = np.array(
        [
            (write, bank, row, 0, count, barrier, 0, phase)
            for (write, bank, row, count, barrier, _), phase in zip(groups, phases, strict=True)
        ],
        np.int64,
    )
    twin, commands = Twin(part, runs, False), list[Command]()
    cycles = twin.run()
    run = hbm_pim._run(part, runs, 0, watched=False, trace=commands.extend)
    assert [(each.tick, each.name, bank_of(each)) for each in commands] == twin.issued
    assert run.cycles == cycles
    assert hbm_pim._run(part, runs, 0, watched=False, trace=None) == run
    assert check_commands(PART.memory, commands).violations == ()


# Rows of the table.


def loosened(standard: Standard, before: str, after: str) -> Standard:
    """Return a standard with all rows between two commands a tick less; nobody checks it."""
    rows = tuple(
        row.model_copy(update={"ticks": row.ticks - 1})
        if before in row.before and after in row.after
        else row
        for row in standard.constraints
    )
    assert rows != standard.constraints
    return standard.model_copy(update={"constraints": rows})


def reported(kernel: str, elements: int, pim: bool, part: HbmPim = PART) -> Report:
    """Return what the checker says; streams overwrite refreshes that wait for longer."""
    checker = Checker(PART.memory, 2)
    run_kernel(part, kernel, elements, elements, pim=pim, trace=checker)
    return checker.report()


@pytest.mark.parametrize("pim", [True, False])
@pytest.mark.parametrize("kernel", hbm_pim.KERNELS)
def test_no_row_is_broken(kernel: str, pim: bool) -> None:
    report = reported(kernel, 4096 if kernel == "gemv" else 1 << 20, pim)
    assert report.violations == ()
    assert report.checked > 300


#: Commands before and after of rows, and a kernel that waits for them.
FAULTS = [
    ("RD", "RD", "gemv", 1024, True),
    ("RD", "RD", "gemv", 1024, False),
    ("WR", "WR", "relu", 1 << 19, False),
    ("WR", "WR", "gemv", 1024, True),
    ("RD", "WR", "gemv", 1024, True),
    ("WR", "RD", "add", 1 << 18, True),
    ("ACT", "ACT", "gemv", 1024, True),
    ("REFab", "ACT", "gemv", 1024, True),
    ("ACT", "RD", "gemv", 1024, True),
    ("ACT", "WR", "add", 1 << 18, True),
    ("ACT", "PREpb", "gemv", 1024, True),
    ("PREpb", "ACT", "gemv", 1024, True),
    ("RD", "PREpb", "relu", 1 << 19, False),
    ("WR", "PREpb", "add", 1 << 18, True),
]


@pytest.mark.parametrize(("before", "after", "kernel", "elements", "pim"), FAULTS)
def test_an_engine_with_a_row_of_a_tick_less_is_found(
    before: str, after: str, kernel: str, elements: int, pim: bool
) -> None:
    assert reported(kernel, elements, pim).violations == ()
    faulty = PART.model_copy(update={"memory": loosened(PART.memory, before, after)})
    rules = [each.rule for each in reported(kernel, elements, pim, faulty).violations]
    assert any("too early by 1: " in rule and f"{before} -> {after} " in rule for rule in rules)


@pytest.mark.slow
@pytest.mark.parametrize("pim", [True, False])
def test_a_million_commands_break_no_row(pim: bool) -> None:
    """A decode layer of Llama-2-7B, batch 32; and, without PIM, a large matrix."""
    # A stream that keeps banks open loses refreshes, one to the next.
    checker, modes = Checker(PART.memory, 2 if pim else None), Modes(PART)

    def both(commands: Iterable[Command]) -> None:
        block = list(commands)
        checker(block)
        if pim:
            modes(block)

    with uncollected():
        if pim:
            run_calls(PART, decode_layer(), trace=both)
        else:
            run_kernel(PART, "gemv", 16384, 65536, pim=False, trace=both)
    assert checker.report().violations == ()
    assert checker.report().checked >= 10**6
    assert modes.broken == []


def decode_layer() -> list[Call]:
    """Return one layer of Llama-2-7B, batch 32, context 2048: weights, then keys and values."""
    weights = [*[(4096, 4096)] * 4, *[(11008, 4096)] * 2, (4096, 11008)]
    return [
        *(Call(kernel="gemv", out=out, inputs=inputs, batch=32) for out, inputs in weights),
        Call(kernel="gemv", out=2048, inputs=128, matrices=32, heads=32),
        Call(kernel="gemv", out=128, inputs=2048, matrices=32, heads=32),
    ]


# Modes.


class Modes:
    """Which mode a channel is in, by its commands; `broken` lists those that the mode forbids.

    PIMSimulator, Rank.cpp and PIMRank.cpp @b00e73a: HAB begins after the activation of all four
    banks, SB after the precharge of both; in HAB only two banks may be opened, and no data outside.
    """

    def __init__(self, part: HbmPim) -> None:
        self.part, self.hab, self.changes = part, False, list[int]()
        self.rows: dict[int, int] = {}
        self.seen: set[int] = set()
        self.changes_at: int | None = None
        self.broken: list[str] = []

    def __call__(self, commands: Iterable[Command]) -> None:
        """Follow commands, in order."""
        for command in commands:
            if self.changes_at is not None and command.tick >= self.changes_at:
                self.hab, self.changes_at = not self.hab, None
                self.changes.append(command.tick)
            self.take(command)

    def take(self, command: Command) -> None:
        """Follow one."""
        modes, bank, row = self.part.modes, bank_of(command), command.address[4]
        words = f"tick {command.tick}: {command.name} bank {bank} row {row}"
        if command.name == "ACT":
            if self.hab and bank not in modes.hab_banks:
                self.broken.append(f"{words}: opens in HAB")
            self.rows[bank] = row
            if not self.hab and row == modes.enter_row:
                self.note(command.tick, bank, modes.enter_banks)
        elif command.name == "PREpb":
            if self.hab and self.rows[bank] == modes.exit_row:
                self.note(command.tick, bank, modes.exit_banks)
        elif command.name in ("RD", "WR"):
            # The writes that follow activations into HAB come before it or in it.
            if row != modes.enter_row and (row == self.part.parking.row) == self.hab:
                self.broken.append(f"{words}: in {'HAB' if self.hab else 'SB'}")
            if self.hab and bank not in modes.hab_banks and row != modes.enter_row:
                self.broken.append(f"{words}: outside of HAB")

    def note(self, tick: int, bank: int, banks: tuple[int, ...]) -> None:
        """Note one of the commands that change the mode together."""
        self.seen |= {bank} & {*banks}
        if self.seen == {*banks}:
            self.changes_at, self.seen = tick + 1, set()


def broken_modes(commands: list[Command]) -> list[str]:
    modes = Modes(PART)
    modes(commands)
    return modes.broken


@pytest.mark.parametrize(("kernel", "elements"), [("gemv", 4096), ("mul", 1 << 19)])
def test_modes_change_twice_and_nothing_is_opened_that_may_not(kernel: str, elements: int) -> None:
    modes, commands = Modes(PART), traced(kernel, elements, elements)
    modes(commands)
    assert modes.broken == []
    assert len(modes.changes) == 2
    assert not modes.hab
    outside = [each.tick for each in commands if each.address[4] == PARK and each.name == "RD"]
    first, last = modes.changes
    assert sorted(outside) == outside
    assert outside[15] < first < last <= outside[16]
    assert len(outside) == 32


#: Flags of banks that an engine has wrong: it opens any bank in HAB; leaves it after one precharge
#: of two; never enters it.
WRONG_FLAGS = {
    "any bank": (hbm_pim_kernel.HAB_BANK, slice(None), 1),
    "one precharge": (hbm_pim_kernel.LEAVES, 1, 0),
    "never": (hbm_pim_kernel.ENTERS, 10, 1),
}


@pytest.mark.parametrize("wrong", WRONG_FLAGS)
def test_an_engine_with_wrong_modes_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last parking comes too soon, of any bank by the 33 cycles that it has to wait."""
    sound, machine = run_kernel(PART, "gemv", 4096, 4096).cycles, hbm_pim._machine
    flag, bank, value = WRONG_FLAGS[wrong]

    def faulty(part: HbmPim, watched: bool) -> hbm_pim_kernel.Machine:
        made = machine(part, watched)
        made.banks[flag, bank] = value
        return made

    monkeypatch.setattr(hbm_pim, "_machine", faulty)
    broken = broken_modes(traced("gemv", 4096, 4096))
    assert broken
    assert broken[0].endswith("row 4096: opens in HAB")
    if wrong == "any bank":
        assert run_kernel(PART, "gemv", 4096, 4096).cycles == sound - 33


def test_a_planted_command_is_found() -> None:
    """An activation of another bank, and a read of the parking row, in the middle."""
    commands = traced("gemv", 4096, 128)
    middle = len(commands) // 2
    for name, bank, words in (("ACT", 3, "opens in HAB"), ("RD", 0, "in HAB")):
        planted = Command(commands[middle].tick, name, (0, 0, 0, bank, PARK, 0))
        broken = broken_modes([*commands[:middle], planted, *commands[middle:]])
        assert broken == [f"tick {planted.tick}: {name} bank {bank} row {PARK}: {words}"]
    assert broken_modes(commands) == []


def test_arrays_are_of_one_type() -> None:
    """The kernel is compiled once."""
    runs = hbm_pim_program.call_runs(PART, Call(kernel="gemv", out=1, inputs=1), 0)
    machine, state = hbm_pim._machine(PART, True), hbm_pim._state(PART, runs)
    assert {array.dtype for array in (*machine, *state, runs)} == {np.dtype(np.int64)}
