"""The independent checker of command traces: does a trace break a row of its standard's table?

It reads the standard's rows as they stand and keeps, per command and instance of a level, when the
command was last issued; it shares nothing with the controllers but the standard. Checked are: every
row (windows and siblings included), buses held for a command's cycles, order of ticks, addresses,
states of banks (open a closed bank, read and write its open row, refresh closed banks; closing a
closed bank is allowed), the second half of a split activation in time, the data clock, and whether
refresh is late.

Not checked: what no row says (the data bus beyond them), and whether the commands serve what was
requested.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeAlias

from simulator.config import unknown
from simulator.dram.request_file import text_lines
from simulator.dram.standard import Role, Standard
from simulator.errors import InputError

#: A command of a trace: tick, name, levels Channel to Column; those below its own may be anything.
Issued: TypeAlias = tuple[int, str, tuple[int, ...]]
_INTEGER = re.compile("-?[0-9]{1,18}")
#: Violations that a report lists; all are counted.
MOST_LISTED = 100

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


def check_commands(
    standard: Standard,
    trace: Iterable[Issued],
    refreshes_late: int | None = None,
    *,
    bank_by_bank: bool = False,
) -> Report:
    """Check a trace, command by command, in constant memory.

    refreshes_late: by how many intervals a refresh may be late at most; None where refresh is off.
    bank_by_bank: it is each bank that needs its `bank_refresh`, once in as many intervals as there
    are banks that take turns; else each instance of the level of `refresh`.
    Raises InputError for a command that the standard does not have, an address that is too short,
    and a standard without `bank_refresh`; whatever else is wrong is in the report.
    """
    due = None if refreshes_late is None else _due(standard, refreshes_late, bank_by_bank)
    checker = _Checker(standard, due)
    for issued in trace:
        checker.take(issued)
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


#: Ticks of the last issues of a command, the newest last, per path of an instance.
_Issues: TypeAlias = dict[tuple[int, ...], deque[int]]


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


class _Rule(NamedTuple):
    """A row as the command that it holds up sees it: one pair of commands."""

    row: int
    depth: int
    ticks: int
    window: int
    sibling: bool
    issues: _Issues


@dataclass(frozen=True)
class _Plan:
    """What is to be checked and noted for one command of the standard.

    depth: levels in the path of what it addresses. limits: names and counts of those it uses.
    noted: depth, window and issues of every history that its own issues go into.
    """

    role: Role
    depth: int
    limits: tuple[tuple[str, int], ...]
    on_column_bus: bool
    cycles: int
    clock_ticks: int
    rules: tuple[_Rule, ...]
    noted: tuple[tuple[int, int, _Issues], ...]


def _plans(standard: Standard) -> dict[str, _Plan]:
    """Return a plan for each command; histories are shared between who notes and who asks."""
    histories: dict[tuple[str, int, int], _Issues] = {}
    rules: dict[str, list[_Rule]] = {name: [] for name in standard.commands}
    for index, row in enumerate(standard.constraints):
        depth = standard.banked_levels.index(row.level) + 1
        if row.sibling and standard.levels[row.level] == 1:
            continue
        for before in row.before:
            issues = histories.setdefault((before, depth, row.window), {})
            rule = _Rule(index, depth, row.ticks, row.window, row.sibling, issues)
            for after in row.after:
                rules[after].append(rule)
    plans = {}
    for name, command in standard.commands.items():
        noted = [(key[1], key[2], each) for key, each in histories.items() if key[0] == name]
        depth = standard.banked_levels.index(command.level) + 1
        plans[name] = _Plan(
            role=command.role,
            depth=depth,
            limits=tuple(standard.levels.items())[: depth + _LEVELS_BELOW.get(command.role, 0)],
            on_column_bus=standard.buses == "row and column" and command.role in _ON_COLUMN_BUS,
            cycles=command.cycles,
            clock_ticks=_clock_ticks(standard, command.role),
            rules=tuple(rules[name]),
            noted=tuple(noted),
        )
    return plans


def _clock_ticks(standard: Standard, role: Role) -> int:
    """Return how long the data clock runs on after a command; 0 if it does not start it."""
    if standard.data_clock is None or role not in _ON_COLUMN_BUS:
        return 0
    return standard.data_clock.read_ticks if role in _READS else standard.data_clock.write_ticks


def _last_of_siblings(rule: _Rule, path: tuple[int, ...]) -> int | None:
    """Return the latest tick that the rule counts from, in the other instances of the parent."""
    ticks = (
        kept[0]
        for other, kept in rule.issues.items()
        if other != path and other[:-1] == path[:-1] and len(kept) == rule.window
    )
    return max(ticks, default=None)


class _Checker:
    """The state of a check: last issues (in the plans), buses, banks."""

    def __init__(self, standard: Standard, due: _Due | None) -> None:
        self.standard = standard
        self.due = due
        self.plans = _plans(standard)
        #: Per command, the rules that have any issue to count from.
        self.asked: dict[str, list[_Rule]] = {name: [] for name in self.plans}
        self.banked = len(standard.banked_levels)
        self.split = bool(standard.with_role("open_first"))
        self.bus_free: dict[tuple[int, bool], int] = {}
        self.open_rows: dict[tuple[int, ...], int] = {}
        #: Banks with the first half of an activation: its row and tick.
        self.half_open: dict[tuple[int, ...], tuple[int, int]] = {}
        self.clock_runs_until: dict[int, int] = {}
        self.refreshed: Counter[tuple[int, ...]] = Counter()
        self.channels: set[int] = set()
        self.last_tick = 0
        self.counted: Counter[str] = Counter()
        self.broken = 0
        self.listed: list[Violation] = []

    def take(self, issued: Issued) -> None:
        """Check one command against all before it, then count it among them."""
        tick, name, address = issued
        plan = self.plans.get(name)
        if plan is None:
            raise InputError(f"tick {tick}: {unknown('command', name, self.plans)}")
        if len(address) < len(plan.limits):
            raise InputError(f"tick {tick}: {name} needs {len(plan.limits)} levels, got {address}")
        paths = [address[:depth] for depth in range(plan.depth + 1)]
        for rule in self.asked[name]:
            row, depth, ticks, window, sibling, issues = rule
            if sibling:
                since = _last_of_siblings(rule, paths[depth])
            else:
                kept = issues.get(paths[depth])
                since = kept[0] if kept and len(kept) == window else None
            if since is not None and tick < since + ticks:
                words = self.standard.constraints[row].words()
                text = f"too early by {since + ticks - tick}: [{row}] {words}"
                self._break(Violation(tick, name, address, text, row))
        for problem in self._broken_rules(plan, tick, address):
            self._break(Violation(tick, name, address, problem))
        if self.due is not None and name == self.due.command:
            self._check_refresh(issued, self.due)
        self._note(plan, tick, paths)
        self._change_banks(plan, tick, paths[-1], address)
        self.counted[name] += 1

    def report(self) -> Report:
        """Return what was found, with refreshes that never came."""
        if self.due is not None:
            self._check_missing(self.due)
        return Report(dict(self.counted), self.broken, tuple(self.listed))

    def _break(self, violation: Violation) -> None:
        self.broken += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(violation)

    def _broken_rules(self, plan: _Plan, tick: int, address: tuple[int, ...]) -> list[str]:
        """Return what a command breaks that is no row of the table."""
        problems = []
        if tick < self.last_tick:
            problems.append(f"comes after a command of tick {self.last_tick}")
        for (level, count), value in zip(plan.limits, address, strict=False):
            if not 0 <= value < count:
                problems.append(f"{level} {value} is not within 0 to {count - 1}")
        free = self.bus_free.get((address[0], plan.on_column_bus), 0)
        if tick < free:
            problems.append(f"too early by {free - tick}: the command bus is held")
        return problems + self._wrong_state(plan, tick, address)

    def _wrong_state(self, plan: _Plan, tick: int, address: tuple[int, ...]) -> list[str]:
        """Return what is wrong with the states of the banks, and with the data clock."""
        match plan.role:
            case "open_first":
                return ["the bank is not closed"] * bool(self._not_closed(address[: self.banked]))
            case "open":
                return self._wrong_open(tick, address)
            case "read" | "write" | "read_close" | "write_close":
                return self._wrong_column(plan, tick, address)
            case "refresh":
                count = len(self._not_closed(address[: plan.depth]))
                return [f"{count} of its banks are not closed"] * bool(count)
            case "close" | "sync_read" | "sync_write":
                return []
            case _:
                raise InputError(f"unknown role '{plan.role}'")

    def _not_closed(self, path: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the banks of an instance that are open or half open."""
        banks = [*self.open_rows, *self.half_open]
        return [bank for bank in banks if bank[: len(path)] == path]

    def _wrong_open(self, tick: int, address: tuple[int, ...]) -> list[str]:
        bank, row = address[: self.banked], address[self.banked]
        problems = ["the bank is not closed"] if bank in self.open_rows else []
        if not self.split:
            return problems
        if bank not in self.half_open:
            return [*problems, "the first half of the activation is missing"]
        half_row, since = self.half_open[bank]
        if half_row != row:
            problems.append(f"the first half was of row {half_row}")
        most = self.standard.open_within_ticks
        if most is not None and tick - since > most:
            problems.append(f"comes {tick - since} ticks after its first half, {most} at most")
        return problems

    def _wrong_column(self, plan: _Plan, tick: int, address: tuple[int, ...]) -> list[str]:
        open_row, problems = self.open_rows.get(address[: self.banked]), []
        if open_row is None:
            problems.append("the bank has no open row")
        elif open_row != address[self.banked]:
            problems.append(f"row {open_row} is open")
        if plan.clock_ticks and tick >= self.clock_runs_until.get(address[0], 0):
            problems.append("the data clock does not run")
        return problems

    def _note(self, plan: _Plan, tick: int, paths: list[tuple[int, ...]]) -> None:
        """Put the tick into every history of the command, its bus and the data clock."""
        for depth, window, issues in plan.noted:
            kept = issues.get(paths[depth])
            if kept is None:
                issues[paths[depth]] = deque([tick], maxlen=window)
                self._ask_rules()
            else:
                kept.append(tick)
        channel = paths[-1][0]
        self.channels.add(channel)
        self.bus_free[channel, plan.on_column_bus] = tick + plan.cycles
        self.last_tick = max(tick, self.last_tick)
        if plan.clock_ticks:
            until = self.clock_runs_until.get(channel, 0)
            self.clock_runs_until[channel] = max(until, tick + plan.clock_ticks)

    def _ask_rules(self) -> None:
        for name, plan in self.plans.items():
            self.asked[name] = [rule for rule in plan.rules if rule.issues]

    def _change_banks(
        self, plan: _Plan, tick: int, path: tuple[int, ...], address: tuple[int, ...]
    ) -> None:
        match plan.role:
            case "open_first":
                self.half_open[path] = (address[self.banked], tick)
            case "open":
                self.half_open.pop(path, None)
                self.open_rows[path] = address[self.banked]
            case "close" | "read_close" | "write_close":
                for bank in [path] if len(path) == self.banked else self._not_closed(path):
                    self.open_rows.pop(bank, None)
                    self.half_open.pop(bank, None)
            case _:
                pass

    def _check_refresh(self, issued: Issued, due: _Due) -> None:
        """Hold a refresh against the interval that it is of: the n-th is due after n intervals."""
        tick, name, address = issued
        path = address[: due.depth]
        self.refreshed[path] += 1
        count = self.refreshed[path]
        over = tick - (count + due.late) * due.interval_ticks
        if over > 0:
            words = f"refresh {count} is {over} ticks later than {due.late} intervals"
            self._break(Violation(tick, name, address, words))

    def _check_missing(self, due: _Due) -> None:
        inner = (range(count) for count in self.standard.counts[1 : due.depth])
        least = self.last_tick // due.interval_ticks - due.late
        for path in product(sorted(self.channels), *inner):
            done = self.refreshed[path]
            if done < least:
                words = f"{done} refreshes by the end, {least} were due {due.late} intervals before"
                self._break(Violation(self.last_tick, due.command, path, words))
