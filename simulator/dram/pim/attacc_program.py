"""What AttAcc's channels are sent for the attention of a layer, wave by wave; `attacc` says how."""

from collections import Counter
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.dram.pim.attacc_part import AttAcc, Role, spans_of
from simulator.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One token of each head with its context."""

    context: int
    heads: int
    head_dim: int
    bytes_per_value: int

    def __post_init__(self) -> None:
        """Raise InputError for sizes below 1."""
        problems = [
            f"{name} must be >= 1, got {size}" for name, size in vars(self).items() if size < 1
        ]
        if problems:
            raise InputError(problems)

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulates of scores and outputs."""
        return 2 * self.context * self.head_dim * self.heads


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
        return tuple((part.levels[level], spans_of(part).get(level, 0)) for level in levels)

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


def _refuse_large(part: AttAcc, given: Attention, program: ChannelProgram) -> None:
    needed = program.waves * max(program.rows, program.wave_rows)
    if needed > program.value_row:
        raise InputError(
            f"attention of {given.heads} heads of {given.head_dim} x {given.bytes_per_value} bytes "
            f"to {given.context} tokens needs {needed} rows of each bank for keys, "
            f"{program.value_row} are there"
        )
