"""What tests of the grouped PIM's checker share: the parts that are shipped, programs drawn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config.loading import data_root
from simulator.dram import Command
from simulator.dram.checker import Issued, Report
from simulator.dram.pim.grouped import (
    END,
    LOAD,
    RESULT,
    ROW,
    GroupedPim,
    GroupedRun,
    load_grouped,
    run_program,
)
from simulator.dram.pim.grouped_checker import GroupedChecker, check_grouped_commands
from simulator.dram.pim.grouped_part import PIM_FOLDER

Ints = NDArray[np.int64]
#: Shipped parts, and one of them with one row buffer.
SHIPPED = sorted(
    path.stem
    for path in (data_root() / PIM_FOLDER).glob("*.yaml")
    if "\nat_once:" in path.read_text()
)
PARTS = (*SHIPPED, "newton_one_buffer")
POLICIES, REFRESHES = ("concurrent", "exclusive"), ("all_bank", "none")


@cache
def part_of(name: str) -> GroupedPim:
    if name == "newton_one_buffer":
        return load_grouped("newton_hbm2").model_copy(update={"row_buffers": 1})
    return load_grouped(name)


def refreshed_every(part: GroupedPim, ticks: int) -> GroupedPim:
    """Return a part whose refresh comes more often."""
    refresh = part.memory.refresh.model_copy(update={"interval_ticks": ticks})
    return part.model_copy(update={"memory": part.memory.model_copy(update={"refresh": refresh})})


@dataclass(frozen=True)
class Case:
    """A part, a program and how it is run."""

    part: GroupedPim
    program: Ints
    how: Mapping[str, Any]

    def run(self, trace: Any = None) -> GroupedRun:
        return run_program(self.part, self.program, **self.how, trace=trace)

    def trace(self) -> list[Command]:
        commands = list[Command]()
        self.run(commands.extend)
        return commands

    def checked(self) -> Report:
        """Return what the checker says of a run; its commands are those that the run counts."""
        checker = GroupedChecker(self.part, self.program, **self.how)
        run = self.run(checker)
        report = checker.report()
        assert report.commands == run.commands
        return report

    def check(self, trace: Iterable[Issued]) -> Report:
        return check_grouped_commands(self.part, self.program, trace, **self.how)

    def with_part(self, **changes: Any) -> "Case":
        return replace(self, part=self.part.model_copy(update=changes))


def drawn(
    part: GroupedPim, seed: int, *, entries: int, requests: int, rows: int = 8, most: int = 40,
    apart: int = 20, **how: Any,
) -> Case:  # fmt: skip
    """Draw a program of `most` commands an entry, and requests of some ticks from one to the next.

    Of groups and banks the first `rows` rows are used.
    """
    rng = np.random.default_rng(seed)
    program = np.stack(
        [
            rng.choice([LOAD, ROW, RESULT, END], entries, p=[0.2, 0.5, 0.2, 0.1]),
            rng.integers(part.groups, size=entries),
            rng.integers(rows, size=entries),
            rng.integers(1, most, entries, endpoint=True),
        ],
        axis=1,
    )
    memory = part.memory
    asked = np.stack(
        [
            np.cumsum(rng.integers(apart, size=requests)),
            rng.integers(2, size=requests),
            rng.integers(memory.banks_per_channel, size=requests),
            rng.integers(rows, size=requests),
            rng.integers(memory.bursts_per_row, size=requests),
        ],
        axis=1,
    )
    return Case(part, program.astype(np.int64), {"requests": asked.astype(np.int64), **how})


def varied(part: GroupedPim, seed: int, entries: int, requests: int, **how: Any) -> Case:
    """Draw a case of another shape, and of a part with other buffers, queues and guard."""
    rng = np.random.default_rng((seed, entries, requests))
    changes = {
        "open_ahead": int(rng.integers(4)),
        "refresh_guard": bool(rng.integers(2)),
        "double_buffered": bool(rng.integers(2)),
        "queue_entries": int(rng.integers(1, 64)),
    }
    return drawn(
        part.model_copy(update=changes),
        seed,
        entries=entries,
        requests=requests,
        rows=int(rng.integers(1, 12)),
        most=int(rng.choice([3, 20, 200])),
        apart=int(rng.choice([2, 5, 30, 150])),
        cadence_ticks=int(rng.choice([0, 0, 3, 9])),
        **how,
    )
