"""A DRAM standard as data: levels, commands with their roles, and timing constraints as rows.

The files are hw_configs/parts/memory. A row `[level, before, after, ticks, window, sibling]` says:
within one instance of the level, no `after` earlier than `ticks` after the `window`-th last issue
of each `before`, every command counted by itself; with `sibling`, within the other instances of the
same parent. Rows are those of Ramulator 2.1 (CMU-SAFARI/ramulator2 @c5b1c3a), whose reading of a
window this is. Every command holds its bus for its cycles, one bus a channel, or one for columns
and one for rows; where that is more than a tick, rows of the Channel must say so.

Left out: power-down, self-refresh, mode registers, training, temperature.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    get_args,
)

from pydantic import Field, ValidationInfo, field_validator, model_serializer, model_validator

from simulator.config import Part, load_part, names, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEMORY_FOLDER = "hw_configs/parts/memory"
PS_PER_S = 10**12

#: What a command does to the banks of its level: `open_first` is the first half of a split
#: activation, `sync_*` starts the data clock, `refresh` needs closed banks and keeps them closed.
Role: TypeAlias = Literal[
    "open_first",
    "open",
    "close",
    "read",
    "write",
    "read_close",
    "write_close",
    "sync_read",
    "sync_write",
    "refresh",
]
ROLES: tuple[Role, ...] = get_args(Role)
#: Roles by number, as in `Tables.roles`.
(
    OPEN_FIRST,
    OPEN,
    CLOSE,
    READ,
    WRITE,
    READ_CLOSE,
    WRITE_CLOSE,
    SYNC_READ,
    SYNC_WRITE,
    REFRESH,
) = range(len(ROLES))
#: Buses by number, as in `Tables.buses`; with one bus, all commands are on the first.
ROW_BUS, COLUMN_BUS = 0, 1

_COLUMN_ROLES: tuple[Role, ...] = ("read", "write", "read_close", "write_close")
_ON_COLUMN_BUS: tuple[Role, ...] = (*_COLUMN_ROLES, "sync_read", "sync_write")
_NEEDED: tuple[Role, ...] = ("open", "close", "read", "write")
_AT_BANK: tuple[Role, ...] = ("open_first", "open", *_ON_COLUMN_BUS)

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class Command(Part):
    """A command, in YAML `[role, level, cycles]`.

    level: the innermost level that it addresses as a whole, one of Channel to Bank. cycles: ticks
    for which it holds its command bus.
    """

    role: Role
    level: str
    cycles: Positive

    @model_validator(mode="before")
    @classmethod
    def _row(cls, given: Any) -> Any:
        return _named(given, ("role", "level", "cycles"), least=3)

    @model_serializer
    def _as_row(self) -> list[Any]:
        return [self.role, self.level, self.cycles]


class Constraint(Part):
    """A row of the table, in YAML `[level, [before], [after], ticks, window, sibling]`."""

    level: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    ticks: int
    window: int = 1
    sibling: bool = False

    @model_validator(mode="before")
    @classmethod
    def _row(cls, given: Any) -> Any:
        return _named(given, ("level", "before", "after", "ticks", "window", "sibling"), least=4)

    @model_serializer
    def _as_row(self) -> list[Any]:
        row = [self.level, list(self.before), list(self.after), self.ticks]
        if self.sibling:
            return [*row, self.window, True]
        return row if self.window == 1 else [*row, self.window]

    def words(self) -> str:
        """Return the row in words: "Rank ACT -> ACT 34 ticks, window 4"."""
        text = f"{self.level} {'/'.join(self.before)} -> {'/'.join(self.after)} {self.ticks} ticks"
        window = f", window {self.window}" if self.window > 1 else ""
        return f"{text}{window}{', sibling' if self.sibling else ''}"


class Refresh(Part):
    """The refresh command that every instance of its level gets once an interval."""

    command: str
    interval_ticks: Positive


class BankRefresh(Part):
    """Refresh bank by bank: each instance of `level` refreshes one bank an interval, in turn."""

    command: str
    level: str
    interval_ticks: Positive
    source: Text


class DataClock(Part):
    """How long the data clock runs on after a read and after a write; `sync_*` restarts it."""

    read_ticks: Positive
    write_ticks: Positive
    source: Text


class Standard(Part):
    """One DRAM standard in one organisation and speed; times in ticks of `tick_ps`.

    levels: instances of each level in its parent, Channel first, then to Bank, Row and Column.
    prefetch: columns of one burst. channel_width_bits: what one burst moves on. read_latency_ticks:
    from a read command to its last beat. timing: the named parameters from which the rows were
    made, as information. open_within_ticks: most ticks from `open_first` to `open`.
    """

    name: str
    summary: str
    source: Text
    tick_ps: Positive
    levels: dict[str, Positive]
    prefetch: Positive
    channel_width_bits: Positive
    read_latency_ticks: Positive
    buses: Literal["one", "row and column"]
    commands: dict[str, Command]
    timing: dict[str, NonNegative]
    constraints: tuple[Constraint, ...]
    refresh: Refresh
    bank_refresh: BankRefresh | None = None
    open_within_ticks: Positive | None = None
    data_clock: DataClock | None = None

    @field_validator("levels")
    @classmethod
    def _levels_in_order(cls, levels: dict[str, int]) -> dict[str, int]:
        listed = list(levels)
        if listed[:1] != ["Channel"] or listed[-3:] != ["Bank", "Row", "Column"]:
            raise ValueError(f"must start with Channel and end in Bank, Row, Column, got {listed}")
        return levels

    @field_validator("prefetch")
    @classmethod
    def _bursts_fill_a_row(cls, prefetch: int, info: ValidationInfo) -> int:
        columns = info.data.get("levels", {}).get("Column", prefetch)
        if columns % prefetch:
            raise ValueError(f"must divide the {columns} columns of a row, got {prefetch}")
        return prefetch

    @field_validator("channel_width_bits")
    @classmethod
    def _whole_bytes(cls, width: int, info: ValidationInfo) -> int:
        bits = width * info.data.get("prefetch", 8)
        if bits % 8:
            raise ValueError(f"a burst must be whole bytes, got {bits} bits")
        return width

    @field_validator("commands")
    @classmethod
    def _commands_complete(
        cls, commands: dict[str, Command], info: ValidationInfo
    ) -> dict[str, Command]:
        levels = info.data.get("levels")
        problems = [] if levels is None else _wrong_levels(commands, levels)
        refuse([*problems, *_wrong_roles(commands)])
        return commands

    @field_validator("constraints")
    @classmethod
    def _rows_known_and_complete(
        cls, rows: tuple[Constraint, ...], info: ValidationInfo
    ) -> tuple[Constraint, ...]:
        levels, commands = info.data.get("levels"), info.data.get("commands")
        if levels is not None and commands is not None:
            problems = [
                f"[{index}]{problem}"
                for index, row in enumerate(rows)
                for problem in wrong_row(row, commands, _banked(levels))
            ]
            problems += _missing_rows(rows, commands, _banked(levels))
            two_buses = info.data.get("buses") == "row and column"
            refuse([*problems, *_missing_bus_rows(rows, commands, two_buses)])
        return rows

    @field_validator("refresh")
    @classmethod
    def _refresh_known(cls, refresh: Refresh, info: ValidationInfo) -> Refresh:
        commands: Mapping[str, Command] | None = info.data.get("commands")
        if commands is not None:
            refuse(_wrong_refresh(refresh.command, commands))
        return refresh

    @field_validator("bank_refresh")
    @classmethod
    def _bank_refresh_known(
        cls, refresh: BankRefresh | None, info: ValidationInfo
    ) -> BankRefresh | None:
        levels, commands = info.data.get("levels"), info.data.get("commands")
        if refresh is not None and levels is not None and commands is not None:
            refuse(_wrong_bank_refresh(refresh, commands, _banked(levels)))
        return refresh

    @model_validator(mode="after")
    def _extras_have_commands(self) -> Self:
        problems = [
            f"{field} is given, but no command has role '{role}'"
            for field, role in (("open_within_ticks", "open_first"), ("data_clock", "sync_read"))
            if getattr(self, field) is not None and not _holders(self.commands, role)
        ]
        if _holders(self.commands, "sync_read") and self.data_clock is None:
            problems.append("commands start a data clock, but there is no data_clock")
        refuse(problems)
        return self

    @property
    def banked_levels(self) -> tuple[str, ...]:
        """Names of the levels from Channel to Bank."""
        return _banked(self.levels)

    @property
    def counts(self) -> tuple[int, ...]:
        """Instances of each level in its parent, Channel to Column."""
        return tuple(self.levels.values())

    @property
    def access_bytes(self) -> int:
        """Bytes of one burst."""
        return self.channel_width_bits * self.prefetch // 8

    @property
    def bursts_per_row(self) -> int:
        """Bursts of one row."""
        return self.levels["Column"] // self.prefetch

    @property
    def banks_per_channel(self) -> int:
        """Banks of one channel."""
        return prod(self.levels[level] for level in self.banked_levels[1:])

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all channels."""
        return prod(self.counts) // self.prefetch * self.access_bytes

    @property
    def refresh_level(self) -> str:
        """The level of which every instance is refreshed."""
        return self.commands[self.refresh.command].level

    @property
    def peak_bytes_per_s(self) -> float:
        """Most that reads can move on all channels, by the rows and the command bus.

        The tick is whole picoseconds: 0.2 % above the pins' own figure where a period was rounded.
        """
        (read,) = self.with_role("read")
        rates = [Fraction(1, self.commands[read].cycles)]
        for row in self.constraints:
            if read in row.before and read in row.after and row.ticks and not row.sibling:
                depth = self.banked_levels.index(row.level) + 1
                rates.append(prod(self.counts[1:depth]) * Fraction(row.window, row.ticks))
        bursts_per_tick = min(rates) * self.levels["Channel"]
        return float(bursts_per_tick * self.access_bytes * PS_PER_S / self.tick_ps)

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Return the commands that have a role, in order."""
        return tuple(_holders(self.commands, role))


class Tables(NamedTuple):
    """A standard for compiled code, arrays of int64; commands and levels (Channel = 0) by number.

    counts: instances in their parent, Channel to Bank. offsets: where the instances of each level
    start, if those of all levels stand in one array, outermost first. roles, scopes (levels),
    buses, cycles: one entry a command. level, before, after, ticks, window, sibling: one entry for
    each pair of commands of a row, equal ones merged to the longest, those of no ticks left out.
    open_within_ticks, sync_read_ticks, sync_write_ticks: 0 where the standard has none, as is
    bank_refresh_interval_ticks, and bank_refresh_command and bank_refresh_level are then -1.
    """

    counts: "NDArray[np.int64]"
    offsets: "NDArray[np.int64]"
    roles: "NDArray[np.int64]"
    scopes: "NDArray[np.int64]"
    buses: "NDArray[np.int64]"
    cycles: "NDArray[np.int64]"
    level: "NDArray[np.int64]"
    before: "NDArray[np.int64]"
    after: "NDArray[np.int64]"
    ticks: "NDArray[np.int64]"
    window: "NDArray[np.int64]"
    sibling: "NDArray[np.int64]"
    read_latency_ticks: int
    refresh_command: int
    refresh_level: int
    refresh_interval_ticks: int
    open_within_ticks: int
    sync_read_ticks: int
    sync_write_ticks: int
    bank_refresh_command: int
    bank_refresh_level: int
    bank_refresh_interval_ticks: int


def load_standard(name_or_path: str) -> Standard:
    """Load a standard by name from `hw_configs/parts/memory`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return _known(name_or_path) if name_or_path in standard_names() else _load(name_or_path)


def standard_names() -> list[str]:
    """Return the names of all standards that come with the package."""
    return names(MEMORY_FOLDER)


def tables(standard: Standard) -> Tables:
    """Return a standard as arrays for compiled code."""
    import numpy as np

    def array(values: Iterable[int]) -> "NDArray[np.int64]":
        return np.array(list(values), dtype=np.int64)

    levels, ids = standard.banked_levels, {name: i for i, name in enumerate(standard.commands)}
    counts = standard.counts[: len(levels)]
    instances = [prod(counts[: depth + 1]) for depth in range(len(counts))]
    commands, merged = standard.commands.values(), _merged(standard, ids)
    clock, bank = standard.data_clock, standard.bank_refresh
    return Tables(
        counts=array(counts),
        offsets=array(sum(instances[:depth]) for depth in range(len(counts))),
        roles=array(ROLES.index(each.role) for each in commands),
        scopes=array(levels.index(each.level) for each in commands),
        buses=array(_bus(standard, each) for each in commands),
        cycles=array(each.cycles for each in commands),
        level=array(key[0] for key in merged),
        before=array(key[1] for key in merged),
        after=array(key[2] for key in merged),
        ticks=array(merged.values()),
        window=array(key[3] for key in merged),
        sibling=array(key[4] for key in merged),
        read_latency_ticks=standard.read_latency_ticks,
        refresh_command=ids[standard.refresh.command],
        refresh_level=levels.index(standard.refresh_level),
        refresh_interval_ticks=standard.refresh.interval_ticks,
        open_within_ticks=standard.open_within_ticks or 0,
        sync_read_ticks=clock.read_ticks if clock else 0,
        sync_write_ticks=clock.write_ticks if clock else 0,
        bank_refresh_command=ids[bank.command] if bank else -1,
        bank_refresh_level=levels.index(bank.level) if bank else -1,
        bank_refresh_interval_ticks=bank.interval_ticks if bank else 0,
    )


def _load(name_or_path: str) -> Standard:
    return load_part(Standard, name_or_path, MEMORY_FOLDER, noun="DRAM standard")


@lru_cache(maxsize=16)
def _known(name: str) -> Standard:
    return _load(name)


def _merged(
    standard: Standard, ids: Mapping[str, int]
) -> dict[tuple[int, int, int, int, int], int]:
    """Return (level, before, after, window, sibling) -> ticks of every pair that has any."""
    merged: dict[tuple[int, int, int, int, int], int] = {}
    for row in standard.constraints:
        level = standard.banked_levels.index(row.level)
        for before in row.before:
            for after in row.after:
                key = (level, ids[before], ids[after], row.window, int(row.sibling))
                merged[key] = max(merged.get(key, 0), row.ticks)
    return {key: ticks for key, ticks in merged.items() if ticks}


def _bus(standard: Standard, command: Command) -> int:
    two = standard.buses == "row and column"
    return COLUMN_BUS if two and command.role in _ON_COLUMN_BUS else ROW_BUS


def _named(given: Any, keys: tuple[str, ...], *, least: int) -> Any:
    """Give the entries of a row their names; what is no row stays as it is."""
    if not isinstance(given, list | tuple):
        return given
    if not least <= len(given) <= len(keys):
        counts = f"{least}" if least == len(keys) else f"{least} to {len(keys)}"
        raise ValueError(f"expected {counts} entries ({', '.join(keys)}), got {len(given)}")
    entries = [tuple(entry) if isinstance(entry, list) else entry for entry in given]
    return dict(zip(keys, entries, strict=False))


def refuse(problems: list[str]) -> None:
    """Raise ValueError of a validator for all problems, if there are any."""
    if problems:
        raise ValueError("; ".join(problems))


def _banked(levels: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(levels)[:-2]


def _holders(commands: Mapping[str, Command], role: str) -> list[str]:
    return [name for name, command in commands.items() if command.role == role]


def _wrong_levels(commands: Mapping[str, Command], levels: Mapping[str, int]) -> list[str]:
    known, problems = _banked(levels), []
    for name, command in commands.items():
        if command.level not in known:
            problems.append(f"{name}: {unknown('level', command.level, known)}")
        elif command.role in _AT_BANK and command.level != "Bank":
            problems.append(f"{name}: role '{command.role}' is of a Bank, not a {command.level}")
    return problems


def _wrong_roles(commands: Mapping[str, Command]) -> list[str]:
    problems = [f"no command has role '{role}'" for role in _NEEDED if not _holders(commands, role)]
    seen: dict[tuple[Role, str], str] = {}
    for name, command in commands.items():
        if command.role == "refresh":
            continue
        first = seen.setdefault((command.role, command.level), name)
        if first != name:
            problems.append(f"{first} and {name} both have role '{command.role}' at the same level")
    if "Bank" not in [commands[name].level for name in _holders(commands, "close")]:
        problems += ["no command closes one Bank"] * bool(_holders(commands, "close"))
    return problems


class _Levelled(Protocol):
    """A command of a table, whatever it does."""

    @property
    def level(self) -> str: ...


def wrong_row(
    row: Constraint, commands: Mapping[str, _Levelled], levels: tuple[str, ...]
) -> list[str]:
    """Return what is wrong with a row between commands, of a PIM part's too."""
    problems = []
    if row.level not in levels:
        problems.append(f".level: {unknown('level', row.level, levels)}")
    for side in ("before", "after"):
        listed: tuple[str, ...] = getattr(row, side)
        problems += [] if listed else [f".{side}: must name a command"]
        for name in listed:
            if name not in commands:
                problems.append(f".{side}: {unknown('command', name, commands)}")
            elif row.level in levels and not _reaches(commands[name].level, row.level, levels):
                problems.append(f".{side}: {name} addresses no single {row.level}")
    problems += [f".ticks: must be >= 0, got {row.ticks}"] if row.ticks < 0 else []
    return problems + ([f".window: must be >= 1, got {row.window}"] if row.window < 1 else [])


def _reaches(command_level: str, level: str, levels: tuple[str, ...]) -> bool:
    return command_level not in levels or levels.index(command_level) >= levels.index(level)


def _missing_rows(
    rows: tuple[Constraint, ...], commands: Mapping[str, Command], levels: tuple[str, ...]
) -> list[str]:
    """Return what no row says of a bank: open to column and close, close and refresh to open."""
    opener = [*_holders(commands, "open_first"), *_holders(commands, "open")][0]
    columns = [name for role in _COLUMN_ROLES for name in _holders(commands, role)]
    pairs = [("Bank", opener, name) for name in columns]
    for name in _holders(commands, "close"):
        pairs += [(commands[name].level, opener, name), (commands[name].level, name, opener)]
    pairs += [(commands[name].level, name, opener) for name in _holders(commands, "refresh")]
    return [
        f"missing constraint: no row of {level} from {before} to {after}"
        for level, before, after in pairs
        if not any(_says(row, level, before, after, levels) for row in rows)
    ]


def _says(row: Constraint, level: str, before: str, after: str, levels: tuple[str, ...]) -> bool:
    """Tell whether a row holds within one instance of the level."""
    within = row.level in levels and _reaches(level, row.level, levels) and not row.sibling
    return within and before in row.before and after in row.after


def _missing_bus_rows(
    rows: tuple[Constraint, ...], commands: Mapping[str, Command], two_buses: bool
) -> list[str]:
    """Return commands that hold their bus for longer than the rows say; one tick needs no row."""
    said: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.level == "Channel" and row.window == 1 and not row.sibling:
            for pair in product(row.before, row.after):
                said[pair] = max(row.ticks, said.get(pair, 1))
    return [
        f"missing constraint: no row of Channel from {before} to {after} of the {held.cycles} "
        f"ticks that {before} holds its bus"
        for (before, held), (after, command) in product(commands.items(), repeat=2)
        if said.get((before, after), 1) < held.cycles
        if not two_buses or (held.role in _ON_COLUMN_BUS) == (command.role in _ON_COLUMN_BUS)
    ]


def _wrong_refresh(name: str, commands: Mapping[str, Command]) -> list[str]:
    refreshing = _holders(commands, "refresh")
    if name not in refreshing:
        return [f"command: {unknown('command of role refresh', name, refreshing)}"]
    level = commands[name].level
    if level not in [commands[close].level for close in _holders(commands, "close")]:
        return [f"command: no command closes the banks of a {level} before {name}"]
    return []


def _wrong_bank_refresh(
    refresh: BankRefresh, commands: Mapping[str, Command], levels: tuple[str, ...]
) -> list[str]:
    own = [name for name in _holders(commands, "refresh") if commands[name].level == "Bank"]
    problems = []
    if refresh.command not in own:
        problems.append(
            f"command: {unknown('command that refreshes a Bank', refresh.command, own)}"
        )
    if refresh.level not in levels:
        problems.append(f"level: {unknown('level', refresh.level, levels)}")
    return problems
