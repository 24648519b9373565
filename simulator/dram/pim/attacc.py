"""AttAcc: attention of one token for each head, by units in banks, bank groups or the buffer die.

Modelled after scale-snu/attacc_simulator @c1540de (ASPLOS 2024, doi 10.1145/3620665.3640422), whose
recorded cycles these are; programs after its gen_trace_attacc_{bank,bg,buffer}.py, when commands
are issued says `attacc_kernel`. A head is on one channel, as many at a time as there are channels:
a wave. Of a head, the tokens of its context lie in different banks of those that work at once and,
where all banks do, its dimensions over the banks of a group. In every unit:

- score: for every token a multiplication a column of its key; after each segment of tokens the
  results move to the softmax unit.
- softmax: one command, of no time of its own, and the weights move to the units.
- output: for every column of the head a multiplication a token; the results move out after each.

Two waves are a pair: moves and softmax of one run beside the multiplications of the other. A last
wave without another one is not pipelined: its softmax, and the moves of its weights, are written
after every segment of scores, and once more. That is as recorded; so is that the outputs of the
second wave of a pair are written as those of the first, and that moves are left out which do not
fill the shares that are spread over the segments.

Two schedulers made the records. The default is the released one, whose activations and precharges
pass barriers: all of the bank-group and buffer runs, and the bank runs of 3, 116, 159, 396 and 584
heads. With `queue.rows_pass_barrier` false: all other bank runs; those of 130 heads with the power
limit are recorded of both. From 512 tokens on, the other one is off by at most 5.3 % of those, 17 %
for a lone wave alone. It is what a scheduler may do; nothing in it is fitted.

Energy is by the path of each column, multiplication or move, and by multiply-add. Left out: that of
softmax, of activations beside the figure by bit, of refresh and of standing by; the second command
that the released controller can issue in a tick, and the records do not have; keys and values of a
new token; heads that share keys; reads and writes beside, by which channels could get out of step.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, prod
from operator import mul
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_serializer, model_validator

from simulator.config import Bytes, Part, load_part, unknown
from simulator.dram.channel import TRACE, Command, Trace
from simulator.dram.pim.run import PimRun
from simulator.dram.standard import Constraint, Refresh
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.attacc_kernel import Machine, State

Ints = NDArray[np.int64]
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


class Units(Part):
    """The commands of units at one level, and where they have their operands.

    at_once: levels all of whose instances one command serves; `order` are the other ones and the
    column, that which changes first in front. queries_to, weights_to, scores_from, outputs_from:
    levels whose instances need a move each, in the same order. read_path: of the energy ladder.
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
        if tuple(levels) != LEVELS:
            raise ValueError(f"must be {', '.join(LEVELS)}, got {', '.join(levels) or 'none'}")
        return levels

    @field_validator("commands")
    @classmethod
    def _commands_complete(cls, commands: dict[str, PimCommand]) -> dict[str, PimCommand]:
        problems = []
        for role in _ONCE:
            found = [name for name, command in commands.items() if command.role == role]
            if len(found) != 1:
                listed = ", ".join(found) or "none"
                problems.append(f"needs one command of role '{role}', got {listed}")
        for name, command in commands.items():
            if command.level not in BANKED:
                problems.append(f"{name}: {unknown('level', command.level, BANKED)}")
        closers = [name for name, command in commands.items() if _closes_all(command)]
        if len(closers) != 1:
            problems.append(f"needs one command that closes a Channel, got {len(closers)}")
        _refuse(problems)
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
        _refuse(problems or _missing_rows(self))
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


@dataclass(frozen=True, kw_only=True)
class AttentionRun(PimRun):
    """The attention of one layer on one memory.

    cycles: until the last command. commands: row commands as of the first channel, on those that
    have a head in the wave. energy_j: read, arithmetic, query, move, of all channels.
    """

    level: str
    power_limit: bool
    energy_j: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One token of each head with its context."""

    context: int
    heads: int
    head_dim: int
    bytes_per_value: int

    def __post_init__(self) -> None:
        """Raise InputError for sizes below 1."""
        _refuse_input(
            f"{name} must be >= 1, got {size}" for name, size in vars(self).items() if size < 1
        )

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulates of scores and outputs."""
        return 2 * self.context * self.head_dim * self.heads


def load_attacc(name_or_path: str = "attacc") -> AttAcc:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(AttAcc, name_or_path, PIM_FOLDER, noun="AttAcc part")


def run_attention(
    part: AttAcc,
    level: str,
    *,
    context: int,
    heads: int,
    head_dim: int,
    bytes_per_value: int,
    power_limit: bool = False,
    trace: Trace = None,
) -> AttentionRun:
    """Attend with one token of each head to its context, all heads on one memory.

    level: of the units, one of `part.units`. heads: of all requests; they share nothing. trace: is
    given the commands of the first channel, with levels Channel to Row, in order, block by block.
    Raises InputError for an unknown level, sizes below 1, values of which a column does not hold
    whole ones, and keys that do not fit the rows.
    """
    given = Attention(
        context=context, heads=heads, head_dim=head_dim, bytes_per_value=bytes_per_value
    )
    program = program_of(part, level, given)
    ticks, counts = _issue(part, level, program, power_limit, trace)
    bursts = program.issued[part.units[level].multiply]
    commands = {
        name: program.issued[name] or counts[name] for name in part.commands if counts[name]
    }
    at_once = prod(part.levels[each] for each in part.units[level].at_once)
    return AttentionRun(
        part=part.name,
        cycles=ticks,
        tick_ps=part.tick_ps,
        channels=part.channels,
        commands=commands,
        bursts=bursts,
        operations=given.multiply_adds,
        operations_per_burst=at_once * (part.column_bytes // bytes_per_value),
        level=level,
        power_limit=power_limit,
        energy_j=_energies(part, level, program.issued, at_once, given.multiply_adds),
    )


def program_of(part: AttAcc, level: str, given: Attention) -> "ChannelProgram":
    """Return the commands of a channel; errors as of `run_attention`."""
    if level not in part.units:
        raise InputError(f"{part.name}: {unknown('level', level, part.units)}")
    if part.column_bytes % given.bytes_per_value:
        raise InputError(
            f"bytes_per_value must divide a column of {part.column_bytes} bytes, got "
            f"{given.bytes_per_value}"
        )
    program = ChannelProgram(part, level, given)
    _refuse_large(part, given, program)
    waves = program.waves
    for even in range(0, waves - 1, 2):
        _pair(program, even, even + 1)
    if waves % 2:
        _lone(program, waves - 1)
    return program


# Programs.


class Moves(NamedTuple):
    """Moves of a head: the command, how many, and the digits of their places (see the kernel)."""

    command: str
    many: int
    order: tuple[tuple[int, int], ...]


class ChannelProgram:
    """Commands of the first channel as runs of the kernel, and how many all channels issue."""

    def __init__(self, part: AttAcc, level: str, given: Attention) -> None:
        """Take the sizes of a head; there are no commands yet."""
        self.issued = Counter[str]()
        self._part, self._units, self._heads = part, part.units[level], given.heads
        self._ids = {name: i for i, name in enumerate(part.commands)}
        self._runs = list[tuple[int, ...]]()
        self._orders = dict[tuple[tuple[int, int], ...], int]()
        values, levels = part.column_bytes // given.bytes_per_value, part.levels
        at_once = {each: levels[each] for each in self._units.at_once}
        split = at_once.pop("Bank", 1)
        apart = prod(at_once.values())
        #: Tokens of a bank; columns of a token or head in a bank; segments of tokens.
        self.tokens = ceil(given.context / apart)
        self.columns = ceil(given.head_dim / (split * values))
        self.segments = ceil(self.tokens / part.program.segment_tokens)
        self.waves = ceil(given.heads / part.channels)
        weights = ceil(given.context / (apart * values))
        units = self._units
        self.query = self._moves("query_in", units.queries_to, repeat=self.columns)
        self.scores = self._moves("result_out", units.scores_from)
        self.weights = self._moves("weights_in", units.weights_to, repeat=weights)
        self.outputs = self._moves("result_out", units.outputs_from)
        self._order = self._digits(units.order)
        #: Rows of a bank from the keys of a wave to those of the next, and from keys to values. As
        #: recorded that is by a byte a value: of larger ones, the ends of long heads share rows.
        self.wave_rows = ceil(
            part.program.longest_context * given.head_dim / part.banks / part.row_bytes
        )
        if given.context > part.program.longest_context:
            self.wave_rows = max(self.wave_rows, self.rows)
        self.value_row = levels["Row"] // 2

    @property
    def rows(self) -> int:
        """Rows that the keys of a wave take in a bank."""
        shared = prod(size for size, _ in self._order)
        return ceil(self.tokens * self.columns / shared)

    def arrays(self) -> tuple[Ints, Ints]:
        """Return runs and orders for the kernel."""
        digits = max(map(len, self._orders))
        padded = [[*order, *[(1, 0)] * (digits - len(order))] for order in self._orders]
        orders = np.array(padded, np.int64).reshape(len(padded), digits, 2)
        return np.array(self._runs, np.int64), orders

    def heads(self, wave: int) -> int:
        """Return the heads of a wave, each on a channel."""
        return min(self._part.channels, self._heads - wave * self._part.channels)

    def barrier(self) -> None:
        """Let all before be done before anything after it."""
        from simulator.dram.pim.attacc_kernel import BARRIER

        self._runs.append((BARRIER, 1, 0, 0, self._number(()), 0))

    def score(self, wave: int, segment: int) -> None:
        """Multiply the keys of a segment of tokens with the query."""
        size = self._part.program.segment_tokens
        first, end = segment * size, min((segment + 1) * size, self.tokens)
        count = (end - first) * self.columns
        self._multiply(wave, count, first * self.columns, wave * self.wave_rows)

    def open_first_row(self, wave: int) -> None:
        """Multiply the first column of the keys, ahead of the scores."""
        self._multiply(wave, 1, 0, wave * self.wave_rows)

    def output(self, wave: int, column: int) -> None:
        """Multiply a column of the values of all tokens with their weights."""
        row = wave * self.wave_rows + self.value_row
        self._multiply(wave, self.tokens, column * self.tokens, row)

    def softmax(self, wave: int) -> None:
        """Start the softmax of a wave."""
        self.move(wave, self._moves("softmax", ()))

    def move(self, wave: int, moves: Moves) -> None:
        """Issue all moves of a wave."""
        heads = self.heads(wave)
        self._put(moves.command, moves.many, 0, 0, moves.order, heads, moves.many * heads)

    def share(self, wave: int, moves: Moves, step: int, steps: int) -> None:
        """Issue one of `steps` equal shares of the moves of a wave; what is left over is not.

        Shares are of the list of all channels, which take turns in it; the first channel starts.
        """
        heads = self.heads(wave)
        stride = moves.many * heads // steps
        first, end = (ceil(bound * stride / heads) for bound in (step, step + 1))
        self._put(moves.command, end - first, first, 0, moves.order, heads, stride)

    def _multiply(self, wave: int, count: int, first: int, row: int) -> None:
        heads = self.heads(wave)
        self._put(self._units.multiply, count, first, row, self._order, heads, count * heads)

    def _put(
        self,
        command: str,
        count: int,
        first: int,
        row: int,
        order: tuple[tuple[int, int], ...],
        heads: int,
        issued: int,
    ) -> None:
        """Add commands of the first channel, of which all together issue so many."""
        self.issued[command] += issued
        if count:
            run = (self._ids[command], count, first, row, self._number(order), heads)
            self._runs.append(run)

    def _moves(self, role: Role, levels: tuple[str, ...], *, repeat: int = 1) -> Moves:
        """Return `repeat` moves to each instance of levels, one instance after the other."""
        digits = self._digits(levels)
        count = repeat * prod(size for size, _ in digits)
        return Moves(self._part.command(role), count, ((repeat, 0), *digits))

    def _digits(self, levels: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
        """Return sizes of levels, and banks from one instance to the next."""
        part = self._part
        return tuple((part.levels[level], _spans(part).get(level, 0)) for level in levels)

    def _number(self, order: tuple[tuple[int, int], ...]) -> int:
        return self._orders.setdefault(order, len(self._orders))


def _pair(program: ChannelProgram, even: int, odd: int) -> None:
    """Write two waves, moves and softmax of one beside multiplications of the other."""
    segments, columns = program.segments, program.columns
    program.move(even, program.query)
    if even == 0:
        program.open_first_row(even)
    program.barrier()
    for segment in range(segments):
        program.score(even, segment)
        if segment:
            program.move(even, program.scores)
        program.share(odd, program.query, segment, segments)
        program.barrier()
    program.move(even, program.scores)
    for segment in range(segments):
        program.score(odd, segment)
        if segment:
            program.move(odd, program.scores)
        _softmax_beside(program, even, segment, segments)
        program.barrier()
    program.move(odd, program.scores)
    for column in range(columns):
        program.output(even, column)
        if column:
            program.move(even, program.outputs)
        _softmax_beside(program, odd, column, columns)
        program.barrier()
    program.move(even, program.outputs)
    # As recorded: the second wave's outputs are written as those of the first.
    _outputs(program, even)


def _softmax_beside(program: ChannelProgram, wave: int, step: int, steps: int) -> None:
    """Write a step of a softmax beside others' work: the weights move in its second half."""
    if step == 0:
        program.softmax(wave)
    half = steps // 2
    if step >= half:
        program.share(wave, program.weights, step - half, steps - half)


def _outputs(program: ChannelProgram, wave: int) -> None:
    for column in range(program.columns):
        program.output(wave, column)
        if column:
            program.move(wave, program.outputs)
        program.barrier()
    program.move(wave, program.outputs)


def _lone(program: ChannelProgram, wave: int) -> None:
    """Write a wave that has no other beside it."""
    program.move(wave, program.query)
    program.barrier()
    for segment in range(program.segments):
        program.score(wave, segment)
        if segment:
            program.move(wave, program.scores)
        program.barrier()
        _softmax_alone(program, wave)
    program.move(wave, program.scores)
    _softmax_alone(program, wave)
    _outputs(program, wave)


def _softmax_alone(program: ChannelProgram, wave: int) -> None:
    program.softmax(wave)
    program.move(wave, program.weights)
    program.barrier()


def _spans(part: AttAcc) -> dict[str, int]:
    """Return the banks of an instance of each level."""
    sizes = [part.levels[level] for level in BANKED]
    outwards = [*accumulate(reversed(sizes[1:]), mul, initial=1)]
    return dict(zip(reversed(BANKED), outwards, strict=True))


def _refuse_large(part: AttAcc, given: Attention, program: ChannelProgram) -> None:
    needed = program.waves * max(program.rows, program.wave_rows)
    if needed > program.value_row:
        raise InputError(
            f"attention of {given.heads} heads of {given.head_dim} x {given.bytes_per_value} bytes "
            f"to {given.context} tokens needs {needed} rows of each bank for keys, "
            f"{program.value_row} are there"
        )


# The channel.


def _issue(
    part: AttAcc, level: str, program: ChannelProgram, power_limit: bool, trace: Trace
) -> tuple[int, Counter[str]]:
    """Issue a program on a channel; return the tick of the last command, and those issued."""
    from simulator.dram.pim import attacc_kernel as kernel

    runs, orders = program.arrays()
    machine, state = _machine(part, level, power_limit), _state(part)
    room = np.zeros((TRACE if trace is not None else 0, kernel.TRACE_FIELDS), np.int64)
    done = False
    while not done:
        done = kernel.advance(machine, state, runs, orders, part.channels, room)
        if trace is not None:
            trace(_traced(part, room[: state.k[kernel.TRACED]]))
            state.k[kernel.TRACED] = 0
    counts = dict(zip(part.commands, state.counts.tolist(), strict=True))
    return int(state.k[kernel.LAST]), Counter(counts)


def _traced(part: AttAcc, rows: Ints) -> Iterator[Command]:
    """Yield the commands of a trace of the kernel."""
    names, counts = list(part.commands), [part.levels[level] for level in BANKED[1:]]
    banks = np.stack(np.unravel_index(rows[:, 2], counts), axis=1).tolist()
    for (tick, command, _, row), bank in zip(rows.tolist(), banks, strict=True):
        yield Command(tick, names[command], (0, *bank, row))


def _machine(part: AttAcc, level: str, power_limit: bool) -> "Machine":
    from simulator.dram.pim import attacc_kernel as kernel

    units, spans = part.units[level], _spans(part)
    ids = {name: i for i, name in enumerate(part.commands)}
    refreshed = spans[part.commands[part.refresh.command].level]
    fixed = {
        kernel.OPENER: ids[units.open],
        kernel.CLOSER: ids[units.close],
        kernel.MULTIPLIER: ids[units.multiply],
        kernel.ALL_CLOSER: ids[part.closes_all],
        kernel.REFRESHER: ids[part.refresh.command],
        kernel.INTERVAL: part.refresh.interval_ticks,
        kernel.REFRESHES: part.banks // refreshed,
        kernel.REFRESH_BANKS: refreshed,
        kernel.ROWS_PASS: int(part.queue.rows_pass_barrier),
    }
    rows = sorted(
        (ids[before], BANKED.index(row.level), ids[after], row.ticks)
        for row in part.rows(power_limit=power_limit)
        for before in row.before
        for after in row.after
    )
    table = np.array(rows, np.int64)
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes=_nodes(part),
        rows=table[:, 1:].copy(),
        starts=np.searchsorted(table[:, 0], np.arange(len(ids) + 1)).astype(np.int64),
        scopes=np.array([BANKED.index(each.level) for each in part.commands.values()], np.int64),
    )


def _nodes(part: AttAcc) -> Ints:
    """Return (banks, levels): the instance of each level in one array of all, the channel first."""
    banks, spans = np.arange(part.banks), _spans(part)
    instances = [part.banks // spans[level] for level in BANKED]
    first = accumulate(instances, initial=0)
    columns = [start + banks // spans[level] for start, level in zip(first, BANKED, strict=False)]
    return np.stack(columns, axis=1).astype(np.int64)


def _state(part: AttAcc) -> "State":
    from simulator.dram.pim import attacc_kernel as kernel

    k = np.zeros(kernel.SCALARS, np.int64)
    k[kernel.REFRESH_AT] = part.refresh.interval_ticks
    return kernel.State(
        k=k,
        ready=np.zeros((len(part.commands), int(_nodes(part).max()) + 1), np.int64),
        opened=np.full(part.banks, kernel.CLOSED, np.int64),
        queue=np.zeros((4, part.queue.entries), np.int64),
        counts=np.zeros(len(part.commands), np.int64),
    )


def _energies(
    part: AttAcc, level: str, issued: Mapping[str, int], at_once: int, multiply_adds: int
) -> dict[str, float]:
    """Return the joules of all channels by what takes them; a move is of one column."""
    energy, units, bits = part.energy, part.units[level], 8 * part.column_bytes

    def column(path: tuple[str, ...]) -> float:
        return bits * sum(energy.ladder_pj_per_bit[step] for step in path) * 1e-12

    moves = issued[part.command("weights_in")] + issued[part.command("result_out")]
    return {
        "read": issued[units.multiply] * at_once * column(units.read_path),
        "arithmetic": multiply_adds * energy.multiply_add_pj * 1e-12,
        "query": issued[part.command("query_in")] * column(energy.query_path),
        "move": moves * column(energy.move_path),
    }


# What is refused.


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))


def _refuse_input(problems: Iterator[str]) -> None:
    if listed := [*problems]:
        raise InputError(listed)


def _closes_all(command: PimCommand) -> bool:
    return command.role == "close" and command.level == "Channel"


def _wrong_row(row: Constraint, commands: Mapping[str, PimCommand]) -> list[str]:
    problems = []
    if row.level not in BANKED:
        problems.append(f".level: {unknown('level', row.level, BANKED)}")
    for side, listed in (("before", row.before), ("after", row.after)):
        problems += [] if listed else [f".{side}: must name a command"]
        for name in listed:
            if name not in commands:
                problems.append(f".{side}: {unknown('command', name, commands)}")
            elif row.level in BANKED and not _reaches(commands[name].level, row.level):
                problems.append(f".{side}: {name} addresses no single {row.level}")
    if row.window != 1 or row.sibling or row.ticks < 0:
        problems.append(f" must be of no window, siblings or negative ticks, got {row.words()}")
    return problems


def _reaches(command_level: str, level: str) -> bool:
    return BANKED.index(command_level) >= BANKED.index(level)


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
