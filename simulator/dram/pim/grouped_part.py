"""A PIM of any DRAM standard as data: groups of banks that compute at once, and their commands.

The files are in `hw_configs/parts/pim_groups`. Beside the commands of its memory, a channel has
five that are of a group of banks, by their roles: `open` and `close` its rows, `multiply` a burst
of each of its banks, `buffer_write` brings a burst to the channel's buffer of vectors,
`result_read` takes results away. What they do when, says `grouped`.

What a command is of: an `open` of its equal part of a group's banks, `close` and `multiply` of all
of them, `buffer_write` and `result_read` of all banks of the channel. A row `[level, [before],
[after], ticks]` holds for every instance of its level in which both commands have a bank. The rows
of the memory hold among its own commands as they stand, and a command that holds its bus for more
than a tick does so against the commands of groups too; these hold it for one tick.
"""

from collections.abc import Mapping
from functools import cached_property
from itertools import product
from math import prod
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from simulator.config import Bytes, Part, load_part, unknown
from simulator.dram.channels import Named
from simulator.dram.energy import Currents
from simulator.dram.pim.validators import one_of_each
from simulator.dram.standard import (
    Command,
    Constraint,
    NonNegative,
    Positive,
    Standard,
    Text,
    refuse,
    wrong_row,
)

PIM_FOLDER = "hw_configs/parts/pim_groups"
#: Kinds of the entries of a program: buffer writes, a row and its multiplications, result reads,
#: the end of a section.
LOAD, ROW, RESULT, END = range(4)
#: Columns of a program.
KIND, GROUP, ROW_NUMBER, COUNT = range(4)
FIELDS = 4
#: What a command of groups does.
GroupRole: TypeAlias = Literal["open", "close", "multiply", "buffer_write", "result_read"]
GROUP_ROLES: tuple[GroupRole, ...] = get_args(GroupRole)
_ON_COLUMN_BUS: tuple[GroupRole, ...] = ("multiply", "buffer_write", "result_read")
#: Roles of a memory whose commands need more than a row to be open or closed.
_UNSUPPORTED = ("open_first", "sync_read", "sync_write")
#: Parameters of a memory that energies by currents are made of.
_AMPERE_TIMING = ("nBL", "nRAS", "nRP")

Picojoules = Annotated[float, Field(ge=0)]


class Ladder(Part):
    """pJ a bit of each step from a cell outwards, and the steps that bits of each command take.

    A multiplication moves a burst of each bank of the group. activation_pj: of a row of a bank.
    """

    pj_per_bit: dict[str, Picojoules]
    activation_pj: Picojoules = 0.0
    multiply_path: tuple[str, ...]
    buffer_path: tuple[str, ...]
    result_path: tuple[str, ...]
    request_path: tuple[str, ...]
    source: Text


class Amperes(Part):
    """Currents of the memory, and the reads whose energy a multiplication of a group takes."""

    currents: Currents
    multiply_reads: Annotated[float, Field(gt=0)]
    source: Text


class GroupedEnergy(Part):
    """What commands cost: exactly one of bits and currents; currents as in `dram.energy`."""

    bits: Ladder | None = None
    amperes: Amperes | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.bits is None) == (self.amperes is None):
            raise ValueError("needs either bits or amperes")
        if self.bits is not None:
            refuse(_wrong_paths(self.bits))
        return self


class _AtBank(NamedTuple):
    """The level at which a command of groups takes part in rows: all of them."""

    level: str = "Bank"


class GroupedPim(Part):
    """A memory of `channels` channels of one standard, whose banks multiply group by group.

    stacks: that the channels are of, equally, each with a limit of power. at_once: instances of
    each level below Channel that a group takes of their parent, 1 where not
    given. Groups are the aligned blocks of those; they count by the blocks of each level, the
    outermost level slowest. openings: `open` commands that open a group, each an equal part of its
    banks in order. row_buffers: 2 where groups have rows open beside those of requests.
    constraints: rows in which a command of groups takes part; one_buffer_constraints: those beside
    them with one row buffer. open_ahead: rows that are opened ahead, of other groups, beside the
    program's next. refresh_guard: whether a row is only opened if it can be used and closed before
    the next refresh. double_buffered: whether the buffer is filled again while what it holds is
    multiplied. buffer_bytes: of vectors, one half where double-buffered. result_bytes: that a bank
    holds of results. queue_entries: requests that wait.
    """

    name: str
    summary: str
    source: Text
    memory: Named
    channels: Positive
    stacks: Positive = 1
    at_once: dict[str, Positive]
    openings: Positive
    commands: dict[str, GroupRole]
    row_buffers: Literal[1, 2]
    open_ahead: NonNegative
    refresh_guard: bool
    double_buffered: bool
    buffer_bytes: Bytes = Field(alias="buffer")
    result_bytes: Bytes = Field(alias="results")
    queue_entries: Positive
    units_source: Text
    timing: dict[str, NonNegative]
    constraints: tuple[Constraint, ...]
    one_buffer_constraints: tuple[Constraint, ...] = ()
    energy: GroupedEnergy | None = None

    @field_validator("memory")
    @classmethod
    def _memory_simple(cls, memory: Standard) -> Standard:
        problems = []
        if memory.levels["Channel"] != 1:
            problems.append(f"{memory.name} must be of one channel; say how many with channels")
        problems += [
            f"{memory.name} has a command of role '{role}', which groups do not have"
            for role in _UNSUPPORTED
            if any(command.role == role for command in memory.commands.values())
        ]
        refuse(problems)
        return memory

    @field_validator("stacks")
    @classmethod
    def _stacks_divide(cls, stacks: int, info: ValidationInfo) -> int:
        channels = info.data.get("channels")
        if channels is not None and channels % stacks:
            raise ValueError(f"must divide the {channels} channels, got {stacks}")
        return stacks

    @field_validator("at_once")
    @classmethod
    def _at_once_divides(cls, at_once: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        memory: Standard | None = info.data.get("memory")
        if memory is not None:
            refuse(_wrong_at_once(at_once, memory))
        return at_once

    @field_validator("openings")
    @classmethod
    def _openings_divide(cls, openings: int, info: ValidationInfo) -> int:
        at_once = info.data.get("at_once")
        banks = prod((at_once or {}).values())
        if at_once is not None and banks % openings:
            raise ValueError(f"must divide the {banks} banks of a group, got {openings}")
        return openings

    @field_validator("commands")
    @classmethod
    def _one_command_a_role(
        cls, commands: dict[str, GroupRole], info: ValidationInfo
    ) -> dict[str, GroupRole]:
        memory: Standard | None = info.data.get("memory")
        problems = one_of_each(commands, GROUP_ROLES)
        if memory is not None:
            problems += [
                f"{name} is a command of {memory.name}"
                for name in commands
                if name in memory.commands
            ]
        refuse(problems)
        return commands

    @field_validator("constraints", "one_buffer_constraints")
    @classmethod
    def _rows_known(
        cls, rows: tuple[Constraint, ...], info: ValidationInfo
    ) -> tuple[Constraint, ...]:
        memory: Standard | None = info.data.get("memory")
        commands: Mapping[str, GroupRole] | None = info.data.get("commands")
        if memory is not None and commands is not None:
            problems = [
                f"[{index}]{problem}"
                for index, row in enumerate(rows)
                for problem in _wrong_row(row, commands, memory)
            ]
            refuse(problems)
        return rows

    @model_validator(mode="after")
    def _complete(self) -> Self:
        problems = _missing_rows(self)
        amperes = self.energy.amperes if self.energy else None
        lacking = [name for name in _AMPERE_TIMING if name not in self.memory.timing]
        if amperes and lacking:
            problems.append(
                f"energy: amperes need timing {', '.join(lacking)}, which {self.memory.name} lacks"
            )
        refuse(problems)
        return self

    @property
    def rows(self) -> tuple[Constraint, ...]:
        """The rows that hold with its row buffers, beside the memory's own."""
        more = self.one_buffer_constraints if self.row_buffers == 1 else ()
        return (*self.constraints, *more)

    @cached_property
    def groups(self) -> int:
        """Groups of a channel."""
        return self.memory.banks_per_channel // self.banks_at_once

    @property
    def banks_at_once(self) -> int:
        """Banks of a group."""
        return prod(self.at_once.values())

    @cached_property
    def banks_of_groups(self) -> tuple[tuple[int, ...], ...]:
        """The banks of each group, by their number in the channel, in order."""
        levels = self.memory.banked_levels[1:]
        blocks = [self.memory.levels[level] // self.at_once.get(level, 1) for level in levels]
        return tuple(
            tuple(self._bank(place) for place in product(*self._instances(block)))
            for block in product(*map(range, blocks))
        )

    @property
    def result_read_bytes(self) -> int:
        """Bytes of a result read: a burst of each pseudo-channel, where there are any."""
        return self.memory.access_bytes * self.memory.levels.get("PseudoChannel", 1)

    def command(self, role: GroupRole) -> str:
        """Return the command of groups that has a role."""
        return next(name for name, each in self.commands.items() if each == role)

    def on_column_bus(self, name: str) -> bool:
        """Tell whether a command of groups is a column command, where buses are two."""
        return self.commands[name] in _ON_COLUMN_BUS

    def _instances(self, block: tuple[int, ...]) -> list[range]:
        """Return the instances of each level of a group, by its block of each."""
        sizes = [self.at_once.get(level, 1) for level in self.memory.banked_levels[1:]]
        return [range(at * n, (at + 1) * n) for at, n in zip(block, sizes, strict=True)]

    def _bank(self, place: tuple[int, ...]) -> int:
        bank = 0
        for at, level in zip(place, self.memory.banked_levels[1:], strict=True):
            bank = bank * self.memory.levels[level] + at
        return bank


def load_grouped(name_or_path: str) -> GroupedPim:
    """Load a part by name from `hw_configs/parts/pim_groups`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(GroupedPim, name_or_path, PIM_FOLDER, noun="grouped PIM part")


def _wrong_at_once(at_once: Mapping[str, int], memory: Standard) -> list[str]:
    known, problems = memory.banked_levels[1:], []
    for level, number in at_once.items():
        if level not in known:
            problems.append(unknown("level", level, known))
        elif memory.levels[level] % number:
            problems.append(f"{level}: must divide {memory.levels[level]}, got {number}")
    return problems


def _wrong_row(row: Constraint, commands: Mapping[str, GroupRole], memory: Standard) -> list[str]:
    known: dict[str, Command | _AtBank] = {**memory.commands}
    known |= dict.fromkeys(commands, _AtBank())
    problems = wrong_row(row, known, memory.banked_levels)
    if row.window > 1 or row.sibling:
        problems.append(f" must be of no window or siblings, got {row.words()}")
    if not {*row.before, *row.after} & {*commands}:
        problems.append(f" is of no command of groups: {row.words()}")
    return problems


def _missing_rows(part: GroupedPim) -> list[str]:
    """Return what no row says of opening, multiplying, closing and refreshing."""
    opens, closes = part.command("open"), part.command("close")
    multiplies = part.command("multiply")
    refresh = part.memory.refresh.command
    pairs = [
        (opens, multiplies),
        (opens, closes),
        (multiplies, multiplies),
        (multiplies, closes),
        (closes, opens),
        (closes, refresh),
        (refresh, opens),
    ]
    if part.row_buffers == 1:
        pairs += [(closes, name) for name in part.memory.with_role("open")]
        pairs += [(name, opens) for name in part.memory.with_role("close")]
    return [
        f"missing constraint: no row from {before} to {after}"
        for before, after in pairs
        if not any(before in row.before and after in row.after for row in part.rows)
    ]


def _wrong_paths(bits: Ladder) -> list[str]:
    paths = ("multiply_path", "buffer_path", "result_path", "request_path")
    return [
        f"{path}: {unknown('step', step, bits.pj_per_bit)}"
        for path in paths
        for step in getattr(bits, path)
        if step not in bits.pj_per_bit
    ]
