"""The independent checker of command traces: does a trace break a row of its standard's table?

It reads the standard's rows as they stand and keeps, per command and instance of a level, when the
command was last issued; it shares nothing with the controllers but the standard. Checked are: every
row (windows and siblings included), buses held for a command's cycles, order of ticks, addresses,
states of banks (open a closed bank, read and write its open row, refresh closed banks; closing a
closed bank is allowed), the second half of a split activation in time, the data clock, and whether
refresh is late. A command that addresses no bank of the memory is that, and nothing else.

Not checked: what no row says (the data bus beyond them), and whether the commands serve what was
requested.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice, product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from simulator.config import unknown
from simulator.dram import checker_kernel as kernel
from simulator.dram.request_file import text_lines
from simulator.dram.standard import ROLES, Role, Standard
from simulator.errors import InputError

#: A command of a trace: tick, name, levels Channel to Column; those below its own may be anything.
Issued: TypeAlias = tuple[int, str, tuple[int, ...]]
_INTEGER = re.compile("-?[0-9]{1,18}")
#: Violations that a report lists; all are counted.
MOST_LISTED = 100
#: Commands that are checked at a time.
_BLOCK = 1 << 15
#: Kinds of violations in words.
_WORDS = {
    kernel.ORDER: "comes after a command of tick {0}",
    kernel.BUS_HELD: "too early by {0}: the command bus is held",
    kernel.NOT_CLOSED: "the bank is not closed",
    kernel.NO_ROW: "the bank has no open row",
    kernel.OTHER_ROW: "row {0} is open",
    kernel.BANKS_OPEN: "{0} of its banks are not closed",
    kernel.NO_FIRST: "the first half of the activation is missing",
    kernel.FIRST_OF: "the first half was of row {0}",
    kernel.TOO_LATE: "comes {0} ticks after its first half, {most} at most",
    kernel.NO_CLOCK: "the data clock does not run",
}

_ON_COLUMN_BUS: tuple[Role, ...] = (
    *("read", "write", "read_close", "write_close"),
    *("sync_read", "sync_write"),
)
_READS: tuple[Role, ...] = ("read", "read_close", "sync_read")
#: Levels below its own that a command's address is used for: the row, the column.
_LEVELS_BELOW: dict[Role, int] = {
    **dict.fromkeys(("open_first", "open"), 1),
    **dict.fromkeys(("read", "write", "read_close", "write_close"), 2),
}


@dataclass(frozen=True)
class Violation:
    """What a command broke: a row of the table by its index, or a rule that is no row."""

    tick: int
    command: str
    address: tuple[int, ...]
    rule: str
    row: int | None = None

    def __str__(self) -> str:
        """Return "tick 17: RD 0,0,1: too early by 3: [24] Bank ACT -> RD 14 ticks"."""
        return f"tick {self.tick}: {self.command} {','.join(map(str, self.address))}: {self.rule}"


@dataclass(frozen=True)
class Report:
    """What a check found; `violations` holds the first of `broken` ones."""

    commands: dict[str, int]
    broken: int
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        """Tell whether nothing was broken."""
        return not self.broken

    @property
    def checked(self) -> int:
        """Commands in the trace."""
        return sum(self.commands.values())


class Checker:
    """Checks a trace, command by command, in memory that does not grow: give it as a `trace`."""

    def __init__(
        self,
        standard: Standard,
        refreshes_late: int | None = None,
        *,
        bank_by_bank: bool = False,
    ) -> None:
        """Take note of nothing yet.

        refreshes_late: by how many intervals a refresh may be late at most; None where refresh is
        off. bank_by_bank: it is each bank that needs its `bank_refresh`, once in as many intervals
        as there are banks that take turns; else each instance of the level of `refresh`.
        Raises InputError for a standard without `bank_refresh`.
        """
        late = refreshes_late
        self._due = None if late is None else _due(standard, late, bank_by_bank)
        self._standard = standard
        self._names = list(standard.commands)
        self._ids = {name: i for i, name in enumerate(self._names)}
        self._rules = _rules(standard, self._due)
        self._state = _state(standard, self._rules)
        self._counted = np.zeros(len(self._names), np.int64)
        self._listed = list[Violation]()

    def __call__(self, commands: Iterable[Issued]) -> None:
        """Check commands, in order, each against all before it.

        Raises InputError for a command that the standard does not have, and an address that is too
        short; whatever else is wrong is in the report.
        """
        rest = iter(commands)
        while block := list(islice(rest, _BLOCK)):
            room = max(0, MOST_LISTED - len(self._listed))
            found = np.zeros((room, 4), np.int64)
            packed = self._packed(block)
            self._state.k[kernel.LISTED] = 0
            kernel.check(self._rules, self._state, packed, found)
            self._counted += np.bincount(packed[:, 0], minlength=len(self._names))
            for place, kind, first, second in found[: self._state.k[kernel.LISTED]].tolist():
                tick, name, address = block[place]
                row = first if kind == kernel.EARLY else None
                words = self._words(kind, first, second)
                self._listed.append(Violation(tick, name, address, words, row))

    def report(self) -> Report:
        """Return what was found, with refreshes that never came."""
        missing = [] if self._due is None else self._missing(self._due)
        listed = [*self._listed, *missing][:MOST_LISTED]
        counted = zip(self._names, self._counted.tolist(), strict=True)
        broken = int(self._state.k[kernel.BROKEN]) + len(missing)
        return Report({name: count for name, count in counted if count}, broken, tuple(listed))

    def _packed(self, block: list[Issued]) -> kernel.Ints:
        """Return rows of command, tick and levels."""
        ticks, names, addresses = zip(*block, strict=True)
        levels, known = len(self._standard.levels), self._ids
        if {*names} - {*known} or {*map(len, addresses)} != {levels}:
            addresses = tuple(self._fitted(block))
        packed = np.empty((len(block), 2 + levels), np.int64)
        packed[:, 0] = np.fromiter(map(known.__getitem__, names), np.int64, len(block))
        packed[:, 1] = ticks
        flat = np.fromiter(chain.from_iterable(addresses), np.int64, len(block) * levels)
        packed[:, 2:] = flat.reshape(len(block), levels)
        return packed

    def _fitted(self, block: list[Issued]) -> Iterator[tuple[int, ...]]:
        """Yield addresses with all levels, 0 for those that need not be given."""
        levels = len(self._standard.levels)
        for tick, name, address in block:
            if name not in self._ids:
                raise InputError(f"tick {tick}: {unknown('command', name, self._ids)}")
            needed = int(self._rules.commands[self._ids[name], kernel.USED])
            if len(address) < needed:
                raise InputError(f"tick {tick}: {name} needs {needed} levels, got {address}")
            yield (*address[:levels], *(0,) * (levels - len(address)))

    def _words(self, kind: int, first: int, second: int) -> str:
        """Return a violation in words."""
        levels = list(self._standard.levels.items())
        match kind:
            case kernel.EARLY:
                words = self._standard.constraints[first].words()
                return f"too early by {second}: [{first}] {words}"
            case kernel.RANGE:
                level, count = levels[first]
                return f"{level} {second} is not within 0 to {count - 1}"
            case kernel.REFRESH_LATE:
                assert self._due is not None
                return f"refresh {first} is {second} ticks later than {self._due.late} intervals"
            case _:
                return _WORDS[kind].format(first, most=self._standard.open_within_ticks)

    def _missing(self, due: "_Due") -> list[Violation]:
        """Return a violation for each instance that was refreshed too few times by the end."""
        inner = [range(count) for count in self._standard.counts[1 : due.depth]]
        channels = np.flatnonzero(self._state.channels).tolist()
        last = int(self._state.k[kernel.LAST])
        least = last // due.interval_ticks - due.late
        done = self._state.refreshed.reshape(self._standard.counts[: due.depth])
        return [
            Violation(
                last,
                due.command,
                path,
                f"{done[path]} refreshes by the end, {least} were due {due.late} intervals before",
            )
            for path in product(channels, *inner)
            if done[path] < least
        ]


def check_commands(
    standard: Standard,
    trace: Iterable[Issued],
    refreshes_late: int | None = None,
    *,
    bank_by_bank: bool = False,
) -> Report:
    """Return what a `Checker` says of a whole trace; errors and the rest are its."""
    checker = Checker(standard, refreshes_late, bank_by_bank=bank_by_bank)
    checker(trace)
    return checker.report()


def read_commands(path: Path, standard: Standard) -> Iterator[Issued]:
    """Yield the commands of a CSV file: clock, command, levels, then columns that are not read.

    A name that ends in .gz is decompressed. Raises InputError, with line, for another header, a
    line of another length, and what is no integer.
    """
    header = ["clock", "command", *standard.levels]
    end = len(header)
    columns = 0
    for number, line in text_lines(path):
        cells = line.split(",")
        if number == 1:
            columns = len(cells)
            if cells[:end] != header:
                raise InputError(f"{path}:1: expected columns {','.join(header)}, got {line[:80]}")
            continue
        if len(cells) != columns:
            raise InputError(f"{path}:{number}: expected {columns} cells, got {len(cells)}")
        numbers = [cells[0], *cells[2:end]]
        if not all(map(_INTEGER.fullmatch, numbers)):
            raise InputError(f"{path}:{number}: expected integers, got {','.join(numbers)}")
        clock, *address = map(int, numbers)
        yield clock, cells[1], tuple(address)
    if not columns:
        raise InputError(f"{path}: is empty")


class _Due(NamedTuple):
    """Which command every instance at a depth needs once an interval, and how late it may be."""

    command: str
    depth: int
    interval_ticks: int
    late: int


def _due(standard: Standard, late: int, bank_by_bank: bool) -> _Due:
    levels = standard.banked_levels
    if not bank_by_bank:
        depth = levels.index(standard.refresh_level) + 1
        return _Due(standard.refresh.command, depth, standard.refresh.interval_ticks, late)
    refresh = standard.bank_refresh
    if refresh is None:
        raise InputError(f"{standard.name} has no bank_refresh")
    turns = prod(standard.counts[levels.index(refresh.level) + 1 : len(levels)])
    return _Due(refresh.command, len(levels), refresh.interval_ticks * turns, late)


def _rules(standard: Standard, due: _Due | None) -> kernel.Rules:
    """Return the standard as the kernel reads it; a history is shared by the rows that ask it."""
    levels, names = standard.banked_levels, list(standard.commands)
    histories: dict[tuple[str, int, int], int] = {}
    rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for index, row in enumerate(standard.constraints):
        level = levels.index(row.level)
        if row.sibling and standard.levels[row.level] == 1:
            continue
        for before in row.before:
            history = histories.setdefault((before, level, row.window), len(histories))
            for after in row.after:
                rows[after].append((index, level, row.ticks, row.sibling, history))
    notes = {name: [i for key, i in histories.items() if key[0] == name] for name in names}
    starts = [[0, *accumulate(len(each[name]) for name in names)] for each in (rows, notes)]
    instances = [prod(standard.counts[: depth + 1]) for depth in range(len(levels))]
    sizes = [(instances[level], instances[level] * window) for _, level, window in histories]
    seen, ticks = ([0, *accumulate(column)] for column in zip(*sizes, strict=True))
    places = [(level, window, ticks[i], seen[i]) for i, (_, level, window) in enumerate(histories)]
    late = (-1, 0, 0, 0)
    if due is not None:
        late = (names.index(due.command), due.depth - 1, due.interval_ticks, due.late)
    split = bool(standard.with_role("open_first"))
    return kernel.Rules(
        commands=_ints(_command(standard, name) for name in names),
        rows=_ints(chain.from_iterable(rows.values())),
        notes=_ints(chain.from_iterable(notes.values())),
        starts=_ints(starts),
        histories=_ints(places),
        counts=_ints(standard.counts),
        spans=_ints(instances[-1] // each for each in instances),
        fixed=_ints((standard.open_within_ticks or 0, split, *late)),
    )


def _command(standard: Standard, name: str) -> tuple[int, ...]:
    """Return the columns of a command in `Rules.commands`."""
    command = standard.commands[name]
    depth = standard.banked_levels.index(command.level) + 1
    return (
        ROLES.index(command.role),
        depth,
        depth + _LEVELS_BELOW.get(command.role, 0),
        standard.buses == "row and column" and command.role in _ON_COLUMN_BUS,
        command.cycles,
        _clock_ticks(standard, command.role),
    )


def _clock_ticks(standard: Standard, role: Role) -> int:
    """Return how long the data clock runs on after a command; 0 if it does not start it."""
    if standard.data_clock is None or role not in _ON_COLUMN_BUS:
        return 0
    return standard.data_clock.read_ticks if role in _READS else standard.data_clock.write_ticks


def _state(standard: Standard, rules: kernel.Rules) -> kernel.State:
    """Return the state before the first command."""
    banked = len(standard.banked_levels)
    channels, banks = standard.levels["Channel"], prod(standard.counts[:banked])
    spans, histories = rules.spans, rules.histories
    instances = banks // spans[histories[:, kernel.AT]]
    due = rules.fixed[kernel.DUE_LEVEL]

    def zeros(*shape: int) -> kernel.Ints:
        return np.zeros(shape, np.int64)

    return kernel.State(
        k=zeros(3),
        ticks=zeros(int((instances * histories[:, kernel.WINDOW]).sum())),
        seen=zeros(int(instances.sum())),
        banks=zeros(5, banks),
        free=zeros(channels, 2),
        clock=zeros(channels),
        channels=zeros(channels),
        refreshed=zeros(banks // int(spans[due])),
        path=zeros(banked),
    )


def _ints(values: Iterable[Any]) -> kernel.Ints:
    return np.array(list(values), np.int64)
