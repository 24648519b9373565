"""SK hynix AiM: commands of all 16 banks of a channel at once, and a matrix times a vector.

Modelled after arkhadem/aim_simulator (GDDR6.cpp @c2f8ab6, controller and DMA @0f28a07), whose
recorded cycles these are (jeongyoon-kang/PIM_SW @1813144, cent_linear_2026-09-29). A unit in each
bank multiplies a burst of its open row with one of the channel's global buffer, or of a neighbour,
which costs the same, and adds to an accumulator. In `run_gemv` a row of a bank holds the weights of
one output and of as many inputs as the buffer: for every group of outputs and piece of inputs the
buffer is written, each accumulator takes its row (`latches` of them one after the other), and at
the end they are read, from all channels at once or, as recorded, from one after the other.

Left out: commands of single banks beside those of all; sums of partial results on the way back
(CENT's other order can be given to `run_program`); the host before the DMA, whose buffers never
starve a channel; element-wise addition, which takes no time; the thread bit of the accumulators.
Energy is by the command, and by how long rows are open; a refresh takes what standing by does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.config import Part, load_part, unknown
from simulator.dram import standard as dram
from simulator.dram.channel import TRACE, Trace
from simulator.dram.channel import Command as Issued
from simulator.dram.channels import Named
from simulator.dram.pim.run import PimRun
from simulator.dram.standard import (
    Constraint,
    NonNegative,
    Positive,
    Role,
    Standard,
    Text,
    tables,
)
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.aim_kernel import Machine, State

Ints = NDArray[np.int64]
Figure = Annotated[float, Field(ge=0)]
PIM_FOLDER = "hw_configs/parts/pim"
#: What a command does: it opens or closes all banks, needs a row, needs one and closes it, moves
#: data of registers or the buffer, changes the mode, refreshes. In the kernel's order.
Kind: TypeAlias = Literal[
    "open", "close", "row", "row_close", "register_write", "register_read", "mode", "refresh"
]
#: Each as a role of a standard with one bank, for its table and checker; `sync_read` is that which
#: leaves banks alone.
_ROLES: dict[Kind, Role] = {
    "open": "open",
    "close": "close",
    "row": "read",
    "row_close": "write_close",
    "register_write": "sync_read",
    "register_read": "sync_read",
    "mode": "sync_read",
    "refresh": "refresh",
}
_ONCE: tuple[Kind, ...] = ("open", "close", "mode", "refresh")
#: Commands that a refresh waits for, and that wait for it: what was begun, two changes of the mode,
#: a closing, itself, an opening.
WAY = 6
#: Commands of `run_gemv`.
WRITE_BUFFER, MULTIPLY, READ_SUMS = "WRGB", "MAC16", "RDMAC16"


class Units(Part):
    """Lanes of the unit of a bank, and the buffer of a channel."""

    lanes: Positive
    operand_bytes: Positive
    buffer_bytes: Positive
    source: Text


class Latency(Part):
    """Ticks from a read of registers until it calls back."""

    register_read_ticks: Positive
    source: Text


class Refresh(Part):
    """Whether channels are refreshed, by the memory's command and interval."""

    mode: Literal["none", "all_bank"]
    source: Text


class Energy(Part):
    """pJ of each command on one channel, and mW of a channel with and without a row open."""

    pj_per_command: dict[str, Figure]
    open_mw: Figure
    closed_mw: Figure
    source: Text


class Aim(Part):
    """A memory of `channels` channels of one standard, with commands of all banks of a channel.

    constraints: rows as a standard's, of the Channel, between these commands; the memory's own are
    added for commands that it has too. timing: what they were made from beside the memory's.
    """

    name: str
    summary: str
    source: Text
    memory: Named
    channels: Positive
    units: Units
    latency: Latency
    refresh: Refresh
    commands: dict[str, Kind]
    timing: dict[str, NonNegative]
    constraints: tuple[Constraint, ...]
    energy: Energy

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = [*_wrong_commands(self), *_wrong_rows(self), *_wrong_energy(self)]
        memory, units = self.memory, self.units
        if units.lanes * units.operand_bytes != memory.access_bytes:
            problems.append(
                f"units: {units.lanes} lanes of {units.operand_bytes} bytes need a burst of "
                f"{units.lanes * units.operand_bytes} bytes, {memory.name} has "
                f"{memory.access_bytes}"
            )
        row = memory.bursts_per_row * memory.access_bytes
        if units.buffer_bytes % memory.access_bytes or units.buffer_bytes > row:
            problems.append(
                f"units: the buffer must be whole bursts of {memory.access_bytes} bytes, at most a "
                f"row of {row} bytes, got {units.buffer_bytes}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def operations_per_burst(self) -> int:
        """Multiply-accumulates of a command of all banks."""
        return self.memory.banks_per_channel * self.units.lanes

    def one_bank(self) -> Standard:
        """Return a standard that has these commands, and all banks of a channel as one.

        For tables and the checker; it cannot be loaded, since it has no commands of single banks.
        """
        memory, known = self.memory, self.commands
        rows = [
            row.model_copy(update={"before": before, "after": after})
            for row in memory.constraints
            if row.level == "Channel"
            if (before := tuple(name for name in row.before if name in known))
            if (after := tuple(name for name in row.after if name in known))
        ]
        levels = {name: memory.levels[name] for name in ("Row", "Column")}
        return memory.model_copy(
            update={
                "name": self.name,
                "levels": {"Channel": self.channels, "Bank": 1, **levels},
                "commands": {
                    name: dram.Command(role=_ROLES[kind], level="Bank", cycles=1)
                    for name, kind in known.items()
                },
                "constraints": (*rows, *self.constraints),
            }
        )


@dataclass(frozen=True, kw_only=True)
class AimRun(PimRun):
    """A program on AiM. energy_j: of all channels, by command, and standing by."""

    energy_j: dict[str, float]


class Instruction(NamedTuple):
    """A command of a part as the host sends it: bursts, to one channel or all, and to which row.

    It is issued once a burst; row is that of commands that need one.
    """

    command: str
    bursts: int = 1
    channel: int | None = None
    row: int = 0


def load_aim(name_or_path: str = "aim") -> Aim:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file; raises InputError."""
    return load_part(Aim, name_or_path, PIM_FOLDER, noun="AiM part")


def run_gemv(
    part: Aim,
    out: int,
    inputs: int,
    *,
    batch: int = 1,
    latches: int = 1,
    reads: Literal["each", "all"] = "each",
    trace: Trace = None,
) -> AimRun:
    """Multiply a matrix with `batch` vectors, one after the other.

    latches: accumulators of a bank, each of an output. reads: results of "each" channel by an
    instruction of its own, which all others wait for, or of "all" by one. trace: is given the
    commands of all channels, by tick, block by block. Raises InputError for sizes below 1, unknown
    reads, and a matrix that does not fit the rows.
    """
    program = _gemv(part, out, inputs, batch, latches, reads)
    return run_program(part, program, operations=out * inputs * batch, trace=trace)


def run_program(
    part: Aim,
    program: Iterable[Instruction],
    *,
    operations: int | None = None,
    trace: Trace = None,
) -> AimRun:
    """Run instructions, the end of the program included, on all channels.

    operations: what was wanted of the bursts, by default all. Raises InputError for an unknown
    command, and for bursts, a channel or a row that are not there.
    """
    from simulator.dram.pim import aim_kernel as kernel

    runs = _runs(part, list(program))
    machine, state = _machine(part), _state(part)
    _serve(part, machine, state, runs, trace)
    names = list(part.commands)
    counts = {names[i]: count for i, count in enumerate(state.counts.tolist()) if count}
    bursts = sum(counts.get(name, 0) for name, kind in part.commands.items() if kind == "row")
    clocks = state.channels[kernel.CLOCK]
    per_burst = part.operations_per_burst
    # The end is sent a tick after the last command, and calls back another one later.
    cycles = max(int(state.k[kernel.FREE]), int(clocks.max()) + 1) + 1
    return AimRun(
        part=part.name,
        cycles=cycles,
        tick_ps=part.memory.tick_ps,
        channels=part.channels,
        commands=counts,
        bursts=bursts,
        operations=bursts * per_burst if operations is None else operations,
        operations_per_burst=per_burst,
        channel_cycles=tuple((clocks + 1).tolist()),
        energy_j=_energies(part, counts, cycles, state),
    )


def _wrong_commands(part: Aim) -> list[str]:
    problems = []
    for kind in _ONCE:
        names = [name for name, each in part.commands.items() if each == kind]
        if len(names) != 1:
            problems.append(f"commands: one must be of kind '{kind}', got {names}")
    needed: dict[str, Kind] = {
        WRITE_BUFFER: "register_write",
        MULTIPLY: "row",
        READ_SUMS: "register_read",
        part.memory.refresh.command: "refresh",
    }
    problems += [
        f"commands: {name} must be of kind '{kind}', got {part.commands.get(name)!r}"
        for name, kind in needed.items()
        if part.commands.get(name) != kind
    ]
    if part.memory.levels["Channel"] != 1:
        problems.append(f"memory: {part.memory.name} must be of one channel; say how many here")
    return problems


def _wrong_rows(part: Aim) -> list[str]:
    problems = []
    for index, row in enumerate(part.constraints):
        problems += [
            f"constraints: [{index}]: {unknown('command', name, part.commands)}"
            for name in (*row.before, *row.after)
            if name not in part.commands
        ]
        if row.level != "Channel" or row.window != 1 or row.sibling or row.ticks < 0:
            problems.append(
                f"constraints: [{index}]: must be of the Channel, of no window, siblings or "
                f"negative ticks, got {row.words()}"
            )
    longest = max((row.ticks for row in part.constraints), default=0)
    if 0 < _interval(part) <= WAY * longest:
        problems.append(
            f"refresh: an interval of {_interval(part)} ticks is no longer than {WAY} rows of "
            f"{longest} ticks, which a refresh may wait for"
        )
    return problems


def _wrong_energy(part: Aim) -> list[str]:
    return [
        f"energy.pj_per_command: {unknown('command', name, part.commands)}"
        for name in part.energy.pj_per_command
        if name not in part.commands
    ]


def _energies(part: Aim, counts: dict[str, int], cycles: int, state: "State") -> dict[str, float]:
    """Return the joules of all channels; mW x ps are fJ."""
    from simulator.dram.pim import aim_kernel as kernel

    energy, channels = part.energy, state.channels
    is_open = channels[kernel.OPENED] != kernel.CLOSED
    last = (cycles - channels[kernel.OPENED_AT])[is_open]
    open_ticks = int(channels[kernel.OPEN_TICKS].sum() + last.sum())
    closed_ticks = cycles * part.channels - open_ticks
    standing = open_ticks * energy.open_mw + closed_ticks * energy.closed_mw
    by_command = energy.pj_per_command.items()
    return {
        **{name: counts[name] * pj * 1e-12 for name, pj in by_command if name in counts},
        "standby": standing * part.memory.tick_ps * 1e-15,
    }


def _gemv(
    part: Aim, out: int, inputs: int, batch: int, latches: int, reads: str
) -> Iterator[Instruction]:
    """Yield the program of a matrix and vectors; see the module."""
    sizes = {"out": out, "inputs": inputs, "batch": batch, "latches": latches}
    problems = [f"{name} must be >= 1, got {size}" for name, size in sizes.items() if size < 1]
    if reads not in ("each", "all"):
        problems.append(unknown("reads", reads, ("each", "all")))
    if problems:
        raise InputError(problems)
    memory, lanes = part.memory, part.units.lanes
    piece = part.units.buffer_bytes // part.units.operand_bytes
    pieces = ceil(inputs / piece)
    groups = ceil(out / (memory.banks_per_channel * part.channels * latches))
    needed = groups * latches * pieces
    if needed > memory.levels["Row"]:
        raise InputError(
            f"gemv of {out} x {inputs} needs {needed} rows of each bank, "
            f"{memory.levels['Row']} are there"
        )
    channels = range(part.channels) if reads == "each" else [None]
    for _ in range(batch):
        for group in range(groups):
            outputs = range(group * latches, (group + 1) * latches)
            for i in range(pieces):
                bursts = ceil(min(piece, inputs - i * piece) / lanes)
                yield Instruction(WRITE_BUFFER, bursts)
                for output in outputs:
                    yield Instruction(MULTIPLY, bursts, row=output * pieces + i)
            yield from (Instruction(READ_SUMS, 1, channel) for _ in outputs for channel in channels)


def _runs(part: Aim, program: Sequence[Instruction]) -> Ints:
    """Return a program for the kernel."""
    names, problems = {name: i for i, name in enumerate(part.commands)}, list[str]()
    for i, each in enumerate(program):
        problems += [f"program[{i}]: {problem}" for problem in _wrong_instruction(part, each)]
    if not program:
        problems.append("program must have >= 1 instructions, got 0")
    if problems:
        raise InputError(problems)
    rows = [
        (names[command], bursts, -1 if channel is None else channel, row)
        for command, bursts, channel, row in program
    ]
    return np.array(rows, np.int64)


def _wrong_instruction(part: Aim, given: Instruction) -> list[str]:
    sent = [name for name, kind in part.commands.items() if kind not in _ONCE]
    if given.command not in sent:
        return [unknown("command", given.command, sent)]
    kind, problems = part.commands[given.command], list[str]()
    most = part.memory.bursts_per_row
    if kind in ("register_write", "register_read"):
        most = part.units.buffer_bytes // part.memory.access_bytes
    if not 1 <= given.bursts <= most:
        problems.append(f"bursts must be 1 to {most}, got {given.bursts}")
    if given.channel is not None and not 0 <= given.channel < part.channels:
        problems.append(f"channel must be 0 to {part.channels - 1}, got {given.channel}")
    if not 0 <= given.row < part.memory.levels["Row"]:
        problems.append(f"row must be 0 to {part.memory.levels['Row'] - 1}, got {given.row}")
    return problems


def _serve(part: Aim, machine: "Machine", state: "State", runs: Ints, trace: Trace) -> None:
    """Serve a program, and give its commands to a trace by tick.

    Channels are served one after the other. Of a channel nothing more comes before its next tick,
    nor before the DMA can send again or it is refreshed: what is earlier on all is complete.
    """
    from simulator.dram.pim import aim_kernel as kernel

    if trace is None:
        kernel.advance(machine, state, runs, np.zeros((0, 5), np.int64))
        return
    most = int(runs[:, kernel.COUNT].max()) * kernel.MOST_TRACED
    room, kept = np.zeros((max(TRACE, most), 5), np.int64), np.zeros((0, 5), np.int64)
    done = False
    while not done:
        done = kernel.advance(machine, state, runs, room)
        kept = np.concatenate([kept, room[: state.k[kernel.TRACED]]])
        state.k[kernel.TRACED] = 0
        kept = kept[np.lexsort((kept[:, 1], kept[:, 0]))]
        until = np.full(part.channels, state.k[kernel.FREE])
        if _interval(part):
            until = np.minimum(until, state.channels[kernel.REFRESH_AT])
        until = np.maximum(until, state.channels[kernel.CLOCK] + 1)
        complete = len(kept) if done else int(np.searchsorted(kept[:, 0], until.min()))
        trace(_commands(part, kept[:complete]))
        kept = kept[complete:]


def _commands(part: Aim, rows: Ints) -> Iterator[Issued]:
    """Yield the commands of a trace of the kernel, all banks of a channel as bank 0."""
    names, prefetch = list(part.commands), part.memory.prefetch
    for tick, channel, command, row, burst in rows.tolist():
        yield Issued(tick, names[command], (channel, 0, row, burst * prefetch))


def _machine(part: Aim) -> "Machine":
    from simulator.dram.pim import aim_kernel as kernel

    table, names = tables(part.one_bank()), list(part.commands)
    columns = (table.after, table.before, table.ticks)
    rows = np.stack(columns, axis=1)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    kinds = get_args(Kind)
    only = {kind: names.index(name) for name, kind in part.commands.items() if kind in _ONCE}
    fixed = {
        kernel.OPENER: only["open"],
        kernel.CLOSER: only["close"],
        kernel.MODER: only["mode"],
        kernel.REFRESHER: only["refresh"],
        kernel.READ_TICKS: part.latency.register_read_ticks,
        kernel.INTERVAL: _interval(part),
    }
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        kinds=np.array([kinds.index(kind) for kind in part.commands.values()], np.int64),
        rows=rows[:, 1:].copy(),
        starts=np.searchsorted(rows[:, 0], np.arange(len(names) + 1)).astype(np.int64),
    )


def _interval(part: Aim) -> int:
    return part.memory.refresh.interval_ticks if part.refresh.mode == "all_bank" else 0


def _state(part: Aim) -> "State":
    from simulator.dram.pim import aim_kernel as kernel

    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        channels=np.zeros((kernel.CHANNEL_SCALARS, part.channels), np.int64),
        last=np.full((part.channels, len(part.commands)), -kernel.NEVER, np.int64),
        counts=np.zeros(len(part.commands), np.int64),
    )
    state.k[kernel.FREE] = 1
    state.channels[kernel.OPENED] = kernel.CLOSED
    state.channels[kernel.REFRESH_AT] = _interval(part)
    return state
