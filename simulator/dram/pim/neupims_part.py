"""The schema of NeuPIMs' memory: levels, commands, rows, and what its units and its NPU take.

The files are hw_configs/parts/pim. Rows are those of `simulator.dram.standard`, some of all modes
and some of each; every command takes one tick of the one bus of its channel.
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias, get_args

from pydantic import Field, ValidationInfo, field_validator, model_serializer, model_validator

from simulator.config import Bytes, Part, load_part, unknown
from simulator.dram.energy import Currents
from simulator.dram.pim.validators import levels_in_order, one_of_each
from simulator.dram.standard import Constraint, Refresh, refuse, wrong_row
from simulator.errors import InputError

PIM_FOLDER = "hw_configs/parts/pim"
LEVELS = ("Channel", "Rank", "BankGroup", "Bank", "Row")
#: The levels that a command can address as a whole.
BANKED = LEVELS[:-1]

#: What a command does. `open` to `write` are of the rows of memory. `write_buffer` copies an open
#: row into the channel's buffer of vectors, `open_group` and `close_pim` are of the rows that the
#: units use, `announce` names the row of the GEMVs to come, of which `compute` is a step,
#: `read_result` the end, and `compute_and_read` all.
Role: TypeAlias = Literal[
    "open",
    "close",
    "refresh",
    "read",
    "write",
    "write_buffer",
    "open_group",
    "close_pim",
    "announce",
    "compute",
    "read_result",
    "compute_and_read",
]
ROLES: tuple[Role, ...] = get_args(Role)
#: The level that commands of a role address.
_LEVEL_OF: dict[Role, str] = {
    **dict.fromkeys(("open", "close", "read", "write", "write_buffer", "close_pim"), "Bank"),
    **dict.fromkeys(("announce", "compute", "read_result", "compute_and_read"), "Channel"),
    "refresh": "Rank",
    "open_group": "BankGroup",
}
#: Parameters that estimates and energies are made of.
_USED_TIMING = ("nBL", "nCCDL", "nFAW", "nRAS", "nRCDRD", "nRCDWR", "nRP", "nRTP")

Sends: TypeAlias = Literal["at_once", "one_a_tick"]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class Issued(NamedTuple):
    """A command of a trace: tick, name, levels Channel to Row, and the steps that it makes.

    Levels below its own may be anything, but for the row of a command that names one.
    """

    tick: int
    name: str
    address: tuple[int, ...]
    steps: int = 0


class PimCommand(Part):
    """A command, in YAML `[role, level]`; level: what it addresses as a whole."""

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


class Mode(Part):
    """A way to build and to use the banks.

    row_buffers: 2 where units have rows open beside those of memory. gemv: one "composite" command,
    or "separate" ones for each step and the result. sends: how the NPU hands on the commands of a
    stage, all "at_once", or "one_a_tick" of all channels. constraints: rows beside those of all
    modes.
    """

    row_buffers: Literal[1, 2]
    gemv: Literal["composite", "separate"]
    sends: Sends
    source: Text
    constraints: tuple[Constraint, ...]

    @property
    def unused_roles(self) -> tuple[Role, ...]:
        """Roles of which this mode has no command."""
        gemv: tuple[Role, ...] = ("compute_and_read",)
        if self.gemv == "composite":
            gemv = ("compute", "read_result")
        return gemv if self.row_buffers == 2 else (*gemv, "close_pim")


class Units(Part):
    """The multipliers of a bank and their adder tree.

    A composite GEMV of k steps holds the units for `cadence_ticks` (max(k, `adder_steps`) + 1); of
    separate commands, a result follows the first step after `first_step_to_result_ticks`.
    """

    multipliers: Positive
    cadence_ticks: Positive
    adder_steps: Positive
    first_step_to_result_ticks: Positive
    source: Text


class Requests(Part):
    """How a channel takes reads and writes of the NPU.

    queue: of reads, and of writes. bank_queue: of each bank. row_uses: reads and writes after which
    a row may be closed before others that want it. drain_above: writes above which they drain when
    banks idle. least_slack_ticks: of PIM's slack, from which on it leaves ticks to requests.
    """

    queue: Positive
    bank_queue: Positive
    row_uses: Positive
    drain_above: NonNegative
    least_slack_ticks: NonNegative
    source: Text


class Estimate(Part):
    """What Algorithm 1 takes for filling the buffer of vectors and for a tile of all banks."""

    gwrite_ticks: Positive
    tile_ticks: Positive
    source: Text


class Core(Part):
    """The core of NeuPIMs' own NPU, which `neupims_npu` simulates.

    array: rows and columns of the one array of products that it amounts to. From the start of a
    product to that of the next `preload_ticks` with new weights, else `issue_ticks`; `cold_ticks`
    from its issue where it comes with new weights and the array is idle; `latency_ticks` to its
    end. layer_norm_ticks, element_ticks: of an instruction of the vector unit. buffer_bytes: of two
    halves, of which an operation has one. posted_ticks: from when a write is taken to its answer.
    operation_ticks: from the end of an operation to the next. offers: requests to a channel in a
    tick.
    """

    array: Positive
    preload_ticks: Positive
    issue_ticks: Positive
    cold_ticks: Positive
    latency_ticks: Positive
    layer_norm_ticks: Positive
    element_ticks: Positive
    buffer_bytes: Bytes = Field(alias="buffer")
    posted_ticks: Positive
    operation_ticks: Positive
    offers: Positive
    source: Text


class Npu(Part):
    """What surrounds the memory in a stage of attention, and the core that computes beside it.

    vector_width: values that the vector unit takes at once. request_ticks: from the start of a
    stage to its first command. answer_ticks: from a channel to the NPU. store_ticks: from a store
    to its answer.
    """

    vector_width: Annotated[int, Field(ge=2)]
    request_ticks: Positive
    answer_ticks: Positive
    store_ticks: Positive
    core: Core
    source: Text


class PimEnergy(Part):
    """Currents, and the reads whose energy a step of a GEMV takes."""

    currents: Currents
    step_reads: Annotated[float, Field(gt=0)]
    source: Text


class NeuPims(Part):
    """A memory that computes by NeuPIMs' commands; times in ticks of `tick_ps`.

    row_bytes: of a bank. burst_bytes: of a read. value_bytes: of an element of keys, values and
    vectors. read_ticks: from a read, also of results, to its data. gwrite_ticks: for which a
    GWRITE keeps all other commands of PIM waiting. timing: named parameters. constraints: rows of
    all modes.
    """

    name: str
    summary: str
    source: Text
    tick_ps: Positive
    levels: dict[str, Positive]
    row_bytes: Bytes = Field(alias="row")
    burst_bytes: Bytes = Field(alias="burst")
    value_bytes: Bytes = Field(alias="value")
    read_ticks: Positive
    gwrite_ticks: Positive
    commands: dict[str, PimCommand]
    timing: dict[str, NonNegative]
    constraints: tuple[Constraint, ...]
    refresh: Refresh
    modes: dict[str, Mode]
    units: Units
    requests: Requests
    estimate: Estimate
    npu: Npu
    energy: PimEnergy

    @field_validator("levels")
    @classmethod
    def _levels_in_order(cls, levels: dict[str, int]) -> dict[str, int]:
        return levels_in_order(levels, LEVELS)

    @field_validator("commands")
    @classmethod
    def _one_command_a_role(cls, commands: dict[str, PimCommand]) -> dict[str, PimCommand]:
        roles = {name: command.role for name, command in commands.items()}
        problems = one_of_each(roles, ROLES)
        for name, command in commands.items():
            if command.level != _LEVEL_OF[command.role]:
                problems.append(
                    f"{name}: role '{command.role}' is of a {_LEVEL_OF[command.role]}, "
                    f"not a {command.level}"
                )
        refuse(problems)
        return commands

    @field_validator("timing")
    @classmethod
    def _timing_complete(cls, timing: dict[str, int]) -> dict[str, int]:
        lacking = [name for name in _USED_TIMING if name not in timing]
        if lacking:
            raise ValueError(f"lacks {', '.join(lacking)}")
        return timing

    @field_validator("constraints")
    @classmethod
    def _rows_known(
        cls, rows: tuple[Constraint, ...], info: ValidationInfo
    ) -> tuple[Constraint, ...]:
        refuse(_wrong_rows(rows, info.data.get("commands")))
        return rows

    @field_validator("modes")
    @classmethod
    def _modes_complete(cls, modes: dict[str, Mode], info: ValidationInfo) -> dict[str, Mode]:
        commands, common = info.data.get("commands"), info.data.get("constraints")
        problems = [] if modes else ["needs at least one"]
        for name, mode in modes.items():
            wrong = [f"constraints{each}" for each in _wrong_rows(mode.constraints, commands)]
            if not wrong and commands is not None and common is not None:
                wrong = _missing_rows((*common, *mode.constraints), commands, mode)
            problems += [f"{name}: {each}" for each in wrong]
        refuse(problems)
        return modes

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems, ranks = [], self.levels["Rank"]
        if self.refresh.command != self.command("refresh"):
            problems.append(
                f"refresh.command must be {self.command('refresh')}, got {self.refresh.command}"
            )
        if self.refresh.interval_ticks % ranks:
            problems.append(
                f"refresh.interval_ticks must be a multiple of the {ranks} ranks, which take "
                f"turns, got {self.refresh.interval_ticks}"
            )
        step = self.units.multipliers * self.value_bytes
        if step > self.burst_bytes:
            problems.append(
                f"units: {self.units.multipliers} multipliers take {step} bytes a step, a burst "
                f"has {self.burst_bytes}"
            )
        for whole, part, of in (
            (self.row_bytes, step, "steps"),
            (self.row_bytes, self.burst_bytes, "bursts"),
        ):
            if whole % part:
                problems.append(f"row must be whole {of} of {part} bytes, got {whole} bytes")
        refuse(problems)
        return self

    @property
    def channels(self) -> int:
        """Channels of the memory."""
        return self.levels["Channel"]

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return prod(self.levels[level] for level in BANKED[1:])

    @property
    def row_values(self) -> int:
        """Values in a row of a bank."""
        return self.row_bytes // self.value_bytes

    @property
    def turn_ticks(self) -> int:
        """Ticks between the refreshes of two ranks."""
        return self.refresh.interval_ticks // self.levels["Rank"]

    def command(self, role: Role) -> str:
        """Return the command that has a role."""
        return next(name for name, command in self.commands.items() if command.role == role)

    def mode(self, name: str) -> Mode:
        """Return a mode; raises InputError for one that is not there."""
        if name not in self.modes:
            raise InputError(f"{self.name}: {unknown('mode', name, self.modes)}")
        return self.modes[name]

    def rows(self, mode: str) -> tuple[Constraint, ...]:
        """Return the rows that hold in a mode; errors as of `mode`."""
        return (*self.constraints, *self.mode(mode).constraints)


def load_neupims(name_or_path: str = "neupims") -> NeuPims:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(NeuPims, name_or_path, PIM_FOLDER, noun="NeuPIMs part")


def _wrong_rows(
    rows: tuple[Constraint, ...], commands: Mapping[str, PimCommand] | None
) -> list[str]:
    known = commands or {}
    return [
        f"[{index}]{problem}"
        for index, row in enumerate(rows)
        for problem in _wrong_row(row, known)
        if commands is not None
    ]


def _wrong_row(row: Constraint, commands: Mapping[str, PimCommand]) -> list[str]:
    roles = {name: commands[name].role for name in (*row.before, *row.after) if name in commands}
    others = [name for name, role in roles.items() if role not in ("read", "write")]
    siblings = [f".sibling: is of reads and writes only, not of {name}" for name in others]
    if row.window > 1:
        siblings.append(f".window: must be 1 with siblings, got {row.window}")
    return wrong_row(row, commands, BANKED) + (siblings if row.sibling else [])


def _missing_rows(
    rows: tuple[Constraint, ...], commands: Mapping[str, PimCommand], mode: Mode
) -> list[str]:
    """Return what no row says of opening, closing, refreshing and using the banks."""
    names = {command.role: name for name, command in commands.items()}
    closes: Role = "close_pim" if mode.row_buffers == 2 else "close"
    reads: Role = "compute_and_read" if mode.gemv == "composite" else "read_result"
    computes: Role = "compute_and_read" if mode.gemv == "composite" else "compute"
    pairs: set[tuple[Role, Role]] = {
        *(("open", "close"), ("close", "open"), ("open", "write_buffer"), ("close", "refresh")),
        *(("open_group", closes), (closes, "open_group"), (closes, "refresh")),
        *(("refresh", "open"), ("refresh", "open_group"), ("refresh", "refresh")),
        *(("open_group", computes), ("write_buffer", computes), (reads, closes)),
    }
    return [
        f"missing constraint: no row from {names[before]} to {names[after]}"
        for before, after in sorted(pairs)
        if not any(names[before] in row.before and names[after] in row.after for row in rows)
    ]
