"""AttAcc as data: commands with their roles, rows between them, units at three levels, energies.

The files are in `hw_configs/parts/pim`; rows are of the form of a DRAM standard's, which this is
none of, as it has no commands of single banks.
"""

from collections.abc import Mapping
from itertools import accumulate
from math import prod
from operator import mul
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_serializer, model_validator

from simulator.config import Bytes, Part, SquareMillimetres, load_part, unknown
from simulator.dram.pim.validators import levels_in_order, one_of_each
from simulator.dram.standard import Constraint, Refresh, refuse, wrong_row

PIM_FOLDER = "hw_configs/parts/pim"
LEVELS = ("Channel", "PseudoChannel", "Rank", "BankGroup", "Bank", "Row", "Column")
#: The levels down to which a row can hold a command back.
BANKED = LEVELS[:-2]
#: What a command does: it opens or closes banks, multiplies a column of each with what its unit
#: holds, brings queries or attention weights to the units, takes results out of them, starts
#: softmax, refreshes.
Role: TypeAlias = Literal[
    "open",
    "close",
    "multiply",
    "query_in",
    "weights_in",
    "result_out",
    "softmax",
    "refresh",
]
#: Roles of which a part has one command.
_ONCE: tuple[Role, ...] = ("query_in", "weights_in", "result_out", "softmax", "refresh")
#: Rows one after the other that a refresh, and a request after it, may wait for.
WAY = 6

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Picojoules = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
BelowChannel = Literal["PseudoChannel", "Rank", "BankGroup", "Bank"]


class PimCommand(Part):
    """A command, in YAML `[role, level]`; level: the innermost one that it addresses.

    The first instances of those that it serves at once are what it addresses, and counts as.
    """

    role: Role
    level: str

    @model_validator(mode="before")
    @classmethod
    def _row(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        if len(given) != 2:
            raise ValueError(f"expected 2 entries (role, level), got {len(given)}")
        return dict(zip(("role", "level"), given, strict=True))

    @model_serializer
    def _as_row(self) -> list[str]:
        return [self.role, self.level]


class Cadences(Part):
    """Rows beside those of all runs, without and with the limit of power."""

    full: tuple[Constraint, ...]
    power_limited: tuple[Constraint, ...]


class Queue(Part):
    """Requests of a channel, barriers included, and whether row commands pass a barrier."""

    entries: Positive
    rows_pass_barrier: bool
    source: Text


class UnitsArea(Part):
    """Silicon of all units of a stack, in mm2, whatever dies they are on."""

    stack_mm2: SquareMillimetres = Field(alias="stack")
    source: Text


class Units(Part):
    """The commands of units at one level, and where they have their operands.

    at_once: levels all of whose instances one command serves; `order` are the other ones and the
    column, that which changes first in front. queries_to, weights_to, scores_from, outputs_from:
    levels whose instances need a move each, in the same order. read_path: of the energy ladder.
    area: absent where no source states one.
    """

    open: str
    close: str
    multiply: str
    at_once: tuple[BelowChannel, ...]
    order: tuple[Literal[BelowChannel, "Column"], ...]
    queries_to: tuple[BelowChannel, ...]
    scores_from: tuple[BelowChannel, ...]
    weights_to: tuple[BelowChannel, ...]
    outputs_from: tuple[BelowChannel, ...]
    read_path: tuple[str, ...]
    area: UnitsArea | None = None
    source: Text

    @field_validator("order")
    @classmethod
    def _order_complete(cls, order: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        at_once = info.data.get("at_once")
        rest = {*BANKED[1:], "Column"} - {*(at_once or ())}
        if at_once is not None and (len(order) != len(rest) or {*order} != rest):
            raise ValueError(f"must be {', '.join(sorted(rest))}, got {', '.join(order)}")
        return order


class Program(Part):
    """Tokens of a bank between two moves of scores, and the context that heads have room for."""

    segment_tokens: Positive
    longest_context: Positive
    source: Text


class Energy(Part):
    """pJ a bit of each step from a cell outwards, what moves take of them, pJ a multiply-add."""

    ladder_pj_per_bit: dict[str, Picojoules]
    query_path: tuple[str, ...]
    move_path: tuple[str, ...]
    multiply_add_pj: Picojoules
    source: Text


class AttAcc(Part):
    """A memory that computes by AttAcc's commands; times in ticks of `tick_ps`.

    column_bytes: of a bank, which a unit multiplies at once. timing: the named parameters from
    which the rows were made. constraints: rows of all runs, as a standard's (`dram.standard`).
    units: by level.
    """

    name: str
    summary: str
    source: Text
    tick_ps: Positive
    levels: dict[str, Positive]
    column_bytes: Bytes = Field(alias="column")
    commands: dict[str, PimCommand]
    timing: dict[str, NonNegative]
    constraints: tuple[Constraint, ...]
    cadences: Cadences
    refresh: Refresh
    queue: Queue
    units: dict[str, Units]
    program: Program
    energy: Energy

    @field_validator("levels")
    @classmethod
    def _levels_in_order(cls, levels: dict[str, int]) -> dict[str, int]:
        return levels_in_order(levels, LEVELS)

    @field_validator("commands")
    @classmethod
    def _commands_complete(cls, commands: dict[str, PimCommand]) -> dict[str, PimCommand]:
        roles = {name: command.role for name, command in commands.items()}
        problems = one_of_each(roles, _ONCE)
        for name, command in commands.items():
            if command.level not in BANKED:
                problems.append(f"{name}: {unknown('level', command.level, BANKED)}")
        closers = [name for name, command in commands.items() if _closes_all(command)]
        if len(closers) != 1:
            problems.append(f"needs one command that closes a Channel, got {len(closers)}")
        refuse(problems)
        return commands

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = [
            f"{where}[{index}]{problem}"
            for where, rows in (
                ("constraints", self.constraints),
                ("cadences.full", self.cadences.full),
                ("cadences.power_limited", self.cadences.power_limited),
            )
            for index, row in enumerate(rows)
            for problem in _wrong_row(row, self.commands)
        ]
        problems += [*_wrong_units(self), *_wrong_refresh(self), *_wrong_paths(self)]
        refuse(problems or _missing_rows(self))
        return self

    @property
    def channels(self) -> int:
        """Channels of the memory, and heads of a wave."""
        return self.levels["Channel"]

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return prod(self.levels[level] for level in BANKED[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a bank."""
        return self.levels["Column"] * self.column_bytes

    def command(self, role: Role) -> str:
        """Return the first command that has a role."""
        return next(name for name, command in self.commands.items() if command.role == role)

    @property
    def closes_all(self) -> str:
        """The command that closes all banks of a channel."""
        return next(name for name, command in self.commands.items() if _closes_all(command))

    def rows(self, *, power_limit: bool) -> tuple[Constraint, ...]:
        """Return the rows of a run."""
        cadences = self.cadences
        return (*self.constraints, *(cadences.power_limited if power_limit else cadences.full))


def load_attacc(name_or_path: str = "attacc") -> AttAcc:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(AttAcc, name_or_path, PIM_FOLDER, noun="AttAcc part")


def spans_of(part: AttAcc) -> dict[str, int]:
    """Return the banks of an instance of each level."""
    sizes = [part.levels[level] for level in BANKED]
    outwards = [*accumulate(reversed(sizes[1:]), mul, initial=1)]
    return dict(zip(reversed(BANKED), outwards, strict=True))


def _closes_all(command: PimCommand) -> bool:
    return command.role == "close" and command.level == "Channel"


def _wrong_row(row: Constraint, commands: Mapping[str, PimCommand]) -> list[str]:
    problems = wrong_row(row, commands, BANKED)
    if row.window > 1 or row.sibling:
        problems.append(f" must be of no window or siblings, got {row.words()}")
    return problems


def _missing_rows(part: AttAcc) -> list[str]:
    """Return what no row says of opening, multiplying, closing and refreshing."""
    problems = []
    for level, units in part.units.items():
        pairs = [
            (units.open, units.multiply),
            (units.open, units.close),
            (units.multiply, units.multiply),
            (units.multiply, units.close),
            (units.close, units.open),
            (part.refresh.command, units.open),
        ]
        problems += [
            f"units.{level}: missing constraint: no row from {before} to {after}"
            for before, after in pairs
            if not all(
                any(before in row.before and after in row.after for row in rows)
                for rows in (part.rows(power_limit=False), part.rows(power_limit=True))
            )
        ]
    return problems


def _wrong_units(part: AttAcc) -> list[str]:
    problems = [] if part.units else ["units: needs at least one level"]
    for level, units in part.units.items():
        needed: dict[Role, str] = {
            "open": units.open,
            "close": units.close,
            "multiply": units.multiply,
        }
        for role, name in needed.items():
            known = [each for each, command in part.commands.items() if command.role == role]
            if name not in known:
                problems.append(
                    f"units.{level}.{role}: {unknown(f'command of role {role}', name, known)}"
                )
    return problems


def _wrong_refresh(part: AttAcc) -> list[str]:
    problems, refresh = [], part.refresh
    if refresh.command != part.command("refresh"):
        problems.append(f"refresh.command must be {part.command('refresh')}, got {refresh.command}")
    longest = max(row.ticks for row in (*part.rows(power_limit=True), *part.cadences.full))
    if refresh.interval_ticks <= WAY * longest:
        problems.append(
            f"refresh.interval_ticks must be > {WAY} rows of {longest} ticks, got "
            f"{refresh.interval_ticks}"
        )
    return problems


def _wrong_paths(part: AttAcc) -> list[str]:
    energy = part.energy
    paths = {"energy.query_path": energy.query_path, "energy.move_path": energy.move_path}
    paths |= {f"units.{level}.read_path": units.read_path for level, units in part.units.items()}
    return [
        f"{where}: {unknown('step', step, energy.ladder_pj_per_bit)}"
        for where, path in paths.items()
        for step in path
        if step not in energy.ladder_pj_per_bit
    ]
