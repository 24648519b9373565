"""The independent checker of NeuPIMs' command traces: does a trace break a rule of its part?

It reads the part's rows as they stand and keeps when each command was last issued in each instance
of a level; it shares nothing with the controller but the part. Checked are, on each channel:

- every row, windows and siblings included; one command a tick; addresses; commands of the mode
- memory's rows: a closed bank is opened, the open row read, written and copied by GWRITE
- the units' rows: G_ACT opens closed banks, next to others on its row; COMP, READRES and
  COMPS_READRES have all banks open on the row of the last P_HEADER, which came when no bank was on
  another one; no row is open in both buffers of a bank. With one buffer they are memory's, which is
  not read, written or opened inside a GEMV
- the steps of a GEMV: COMPS_READRES after one of k steps, READRES after the first COMP
- while GWRITE copies no PIM command, nor (but for a refresh) a precharge of the row that it copies
  or of the units' row of that bank
- refresh: of ranks in turn, of closed banks, of both buffers; neither before it is due nor more
  than a turn late

Not checked: whether the commands compute what was asked for, and the guard before refreshes.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, prod
from typing import NamedTuple

from simulator.config import unknown
from simulator.dram.checker import MOST_LISTED, Report, Violation
from simulator.dram.pim.neupims_part import BANKED, LEVELS, Issued, NeuPims, Role
from simulator.dram.standard import Constraint
from simulator.errors import InputError

#: Commands that wait for the end of a GWRITE.
_HELD: tuple[Role, ...] = (
    *("write_buffer", "open_group", "announce"),
    *("compute", "read_result", "compute_and_read"),
)
#: Commands that name a row.
_NAME_A_ROW: tuple[Role, ...] = ("open", "read", "write", *_HELD)


class _Rule(NamedTuple):
    """A row of the table as the later command meets it."""

    number: int
    row: Constraint
    depth: int


class _Kind(NamedTuple):
    """A command: its role, the levels down to what it addresses, the rows that it is the later of.

    kept: by depth, how many of its ticks are kept.
    """

    role: Role
    depth: int
    rules: list[_Rule]
    kept: dict[int, int]


@dataclass
class _Channel:
    """What a channel has done. rows: of memory and of the units, by bank, None for closed."""

    memory: list[int | None]
    units: list[int | None]
    turn: int
    last: int = -1
    #: When the last GWRITE was, and of which bank.
    gwrite: int | None = None
    copied: tuple[int, ...] = ()
    header: int | None = None
    #: The last composite GEMV and its steps, the first COMP since the last READRES.
    composite: tuple[int, int] | None = None
    first_step: int | None = None
    issued: dict[tuple[str, tuple[int, ...]], deque[int]] = field(default_factory=dict)


class PimChecker:
    """Checks a trace, command by command: give it as a `trace`.

    start_tick: as of the run; a refresh that is due then is still to come.
    """

    def __init__(self, part: NeuPims, mode: str, start_tick: int = 0) -> None:
        """Take note of nothing yet; raises InputError for a mode that the part does not have."""
        self._part, self._how = part, part.mode(mode)
        self._first_turn = max(0, ceil(start_tick / part.turn_ticks) - 1)
        self._kinds = {
            name: _Kind(command.role, BANKED.index(command.level) + 1, [], {})
            for name, command in part.commands.items()
        }
        for number, row in enumerate(part.rows(mode)):
            depth = BANKED.index(row.level) + 1
            for before in row.before:
                kept = self._kinds[before].kept
                kept[depth] = max(row.window, kept.get(depth, 1))
            for after in row.after:
                self._kinds[after].rules.append(_Rule(number, row, depth))
        self._channels = dict[int, _Channel]()
        self._counted = Counter[str]()
        self._listed = list[Violation]()
        self._broken = 0

    def __call__(self, commands: Iterable[Issued]) -> None:
        """Check commands, those of a channel in order, each against all before it.

        Raises InputError for a command that the part does not have, and an address that is too
        short; whatever else is wrong is in the report.
        """
        for issued in commands:
            self._counted[issued.name] += 1
            if issued.name not in self._kinds:
                known = unknown("command", issued.name, self._kinds)
                raise InputError(f"tick {issued.tick}: {known}")
            if len(issued.address) != len(LEVELS):
                raise InputError(
                    f"tick {issued.tick}: {issued.name} needs {len(LEVELS)} levels, got "
                    f"{issued.address}"
                )
            kind = self._kinds[issued.name]
            wrong = list(self._out_of_range(issued, kind))
            for rule, row in wrong or self._broken_by(issued, kind, self._channel(issued)):
                self._note(issued, rule, row)
            if not wrong:
                self._take(issued, kind, self._channel(issued))

    def report(self) -> Report:
        """Return what was found, with refreshes that never came."""
        missing = []
        for number, channel in sorted(self._channels.items()):
            least = channel.last // self._part.turn_ticks - 1
            if channel.turn < least:
                rule = f"{channel.turn} refreshes by the end, {least} were due a turn before"
                name = self._part.command("refresh")
                missing.append(Violation(channel.last, name, (number,), rule))
        listed = [*self._listed, *missing][:MOST_LISTED]
        return Report(dict(self._counted), self._broken + len(missing), tuple(listed))

    def _note(self, issued: Issued, rule: str, row: int | None = None) -> None:
        self._broken += 1
        if len(self._listed) < MOST_LISTED:
            violation = Violation(issued.tick, issued.name, issued.address, rule, row)
            self._listed.append(violation)

    def _channel(self, issued: Issued) -> _Channel:
        number, banks = issued.address[0], self._part.banks
        if number not in self._channels:
            memory: list[int | None] = [None] * banks
            units = memory if self._how.row_buffers == 1 else memory.copy()
            self._channels[number] = _Channel(memory, units, self._first_turn)
        return self._channels[number]

    def _out_of_range(self, issued: Issued, kind: _Kind) -> Iterator[tuple[str, None]]:
        """Yield what the part does not have of an address, as far as it is used."""
        used = [*range(kind.depth), *([len(BANKED)] if kind.role in _NAME_A_ROW else [])]
        for place in used:
            level, value = LEVELS[place], issued.address[place]
            if not 0 <= value < self._part.levels[level]:
                yield f"{level} {value} is not within 0 to {self._part.levels[level] - 1}", None

    def _broken_by(
        self, issued: Issued, kind: _Kind, channel: _Channel
    ) -> Iterator[tuple[str, int | None]]:
        role = kind.role
        if issued.tick <= channel.last:
            yield f"comes after a command of tick {channel.last}", None
        if role in self._how.unused_roles:
            yield "is no command of this mode", None
        yield from self._early_by_rows(issued, kind, channel)
        for early in self._early_by_steps(issued, role, channel):
            yield early, None
        for rule in self._wrong_state(issued, channel, role):
            yield rule, None

    def _early_by_rows(
        self, issued: Issued, kind: _Kind, channel: _Channel
    ) -> Iterator[tuple[str, int]]:
        """Yield the rows of the table that a command comes too early for."""
        for number, row, depth in kind.rules:
            ticks = [
                history[-row.window]
                for before in row.before
                for path in self._instances(issued.address[:depth], row.sibling)
                if len(history := channel.issued.get((before, path), ())) >= row.window
            ]
            if ticks and issued.tick < max(ticks) + row.ticks:
                early = max(ticks) + row.ticks - issued.tick
                yield f"too early by {early}: [{number}] {row.words()}", number

    def _early_by_steps(self, issued: Issued, role: Role, channel: _Channel) -> Iterator[str]:
        """Yield what a command comes too early for that takes longer than a row says."""
        units, until = self._part.units, dict[str, int]()
        if channel.gwrite is not None and self._is_held(issued, role, channel):
            until["while GWRITE copies"] = channel.gwrite + self._part.gwrite_ticks
        if role == "compute_and_read" and channel.composite is not None:
            tick, steps = channel.composite
            busy = units.cadence_ticks * (max(steps, units.adder_steps) + 1)
            until[f"after one of {steps} steps"] = tick + busy
        if role == "read_result" and channel.first_step is not None:
            until["after the first step"] = channel.first_step + units.first_step_to_result_ticks
        for words, tick in until.items():
            if issued.tick < tick:
                yield f"too early by {tick - issued.tick}: {words}"

    def _is_held(self, issued: Issued, role: Role, channel: _Channel) -> bool:
        """Tell whether a command waits for the end of a GWRITE.

        With two row buffers requests may close rows of the units that they need, of other banks.
        """
        due = (channel.turn + 1) * self._part.turn_ticks
        if self._how.row_buffers == 1:
            closes = role == "close"
        else:
            closes = role == "close_pim" and issued.address[: len(BANKED)] == channel.copied
        return role in _HELD or (closes and issued.tick < due)

    def _instances(self, path: tuple[int, ...], sibling: bool) -> list[tuple[int, ...]]:
        """Return the instances of a level that a row speaks of: one, or its siblings."""
        if not sibling:
            return [path]
        count = self._part.levels[BANKED[len(path) - 1]]
        return [(*path[:-1], other) for other in range(count) if other != path[-1]]

    def _wrong_state(self, issued: Issued, channel: _Channel, role: Role) -> Iterator[str]:
        match role:
            case "open" | "read" | "write" | "write_buffer":
                yield from self._wrong_row(issued, channel, role)
            case "refresh":
                yield from self._wrong_refresh(issued, channel)
            case "open_group":
                yield from self._wrong_group(issued, channel)
            case "announce":
                yield from self._wrong_header(channel, issued.address[-1])
            case "compute" | "read_result" | "compute_and_read":
                yield from self._wrong_gemv(issued, channel, role)
            case "close" | "close_pim":
                pass

    def _wrong_row(self, issued: Issued, channel: _Channel, role: Role) -> Iterator[str]:
        (bank,), row = self._banks(issued), issued.address[-1]
        opened = channel.memory[bank]
        if self._how.row_buffers == 1 and channel.first_step is not None:
            yield "a GEMV has no result yet"
        if role == "open" and opened is not None:
            yield "the bank is not closed"
        elif role == "open" and channel.units[bank] == row:
            yield f"the units have row {row} open"
        elif role != "open" and opened != row:
            yield "the bank has no open row" if opened is None else f"row {opened} is open"

    def _wrong_refresh(self, issued: Issued, channel: _Channel) -> Iterator[str]:
        turn, turn_ticks = channel.turn, self._part.turn_ticks
        banks = self._banks(issued)
        opened = [bank for bank in banks if channel.memory[bank] is not None]
        opened += [bank for bank in banks if channel.units[bank] is not None]
        if opened:
            yield f"{len(set(opened))} of its banks are not closed"
        if issued.address[1] != turn % self._part.levels["Rank"]:
            yield "it is not the turn of this rank"
        due = (turn + 1) * turn_ticks
        if issued.tick < due:
            yield f"comes {due - issued.tick} ticks before it is due"
        if issued.tick > due + turn_ticks:
            yield f"comes {issued.tick - due - turn_ticks} ticks later than a turn"

    def _wrong_group(self, issued: Issued, channel: _Channel) -> Iterator[str]:
        banks, row = self._banks(issued), issued.address[-1]
        rows = [channel.units[bank] for bank in banks]
        if None not in rows:
            yield "no bank of the group is closed"
        if any(other not in (None, row) for other in rows):
            yield "a bank of the group is open on another row"
        if self._how.row_buffers == 2 and row in [channel.memory[bank] for bank in banks]:
            yield f"memory has row {row} open"

    def _wrong_header(self, channel: _Channel, row: int) -> Iterator[str]:
        others = sum(other not in (None, row) for other in channel.units)
        if others:
            yield f"{others} banks are open on another row"
        if channel.first_step is not None:
            yield "a GEMV has no result yet"

    def _wrong_gemv(self, issued: Issued, channel: _Channel, role: Role) -> Iterator[str]:
        row = issued.address[-1]
        others = sum(other != row for other in channel.units)
        if others:
            yield f"{others} banks are not open on row {row}"
        if channel.header != row:
            yield f"the last header was of row {channel.header}"
        if role == "read_result" and channel.first_step is None:
            yield "there was no step"
        most = self._part.row_values // self._part.units.multipliers
        if role == "compute_and_read" and not 1 <= issued.steps <= most:
            yield f"has {issued.steps} steps, not 1 to {most}"

    def _banks(self, issued: Issued) -> range:
        """Return the banks that a command addresses, numbered in the channel."""
        depth = self._kinds[issued.name].depth
        counts = [self._part.levels[level] for level in BANKED]
        first = 0
        for value, count in zip(issued.address[1:depth], counts[1:depth], strict=True):
            first = first * count + value
        span = prod(counts[depth:])
        return range(first * span, first * span + span)

    def _take(self, issued: Issued, kind: _Kind, channel: _Channel) -> None:
        """Put a command into the histories, the buffers and the units."""
        role = kind.role
        channel.last = max(channel.last, issued.tick)
        for depth, window in kind.kept.items():
            key = issued.name, issued.address[:depth]
            channel.issued.setdefault(key, deque(maxlen=window)).append(issued.tick)
        self._take_rows(issued, channel, role)
        match role:
            case "refresh":
                channel.turn += 1
            case "write_buffer":
                channel.gwrite, channel.copied = issued.tick, issued.address[: len(BANKED)]
            case "announce":
                channel.header = issued.address[-1]
            case "compute_and_read":
                channel.composite = issued.tick, issued.steps
            case "compute":
                if channel.first_step is None:
                    channel.first_step = issued.tick
            case "read_result":
                channel.first_step = None
            case _:
                pass

    def _take_rows(self, issued: Issued, channel: _Channel, role: Role) -> None:
        row = issued.address[-1]
        for bank in self._banks(issued):
            match role:
                case "open":
                    channel.memory[bank] = row
                case "close":
                    channel.memory[bank] = None
                case "open_group":
                    channel.units[bank] = row
                case "close_pim":
                    channel.units[bank] = None
                case _:
                    pass


def check_pim_commands(
    part: NeuPims, mode: str, trace: Iterable[Issued], start_tick: int = 0
) -> Report:
    """Return what a `PimChecker` says of a whole trace; errors and the rest are its."""
    checker = PimChecker(part, mode, start_tick)
    checker(trace)
    return checker.report()
