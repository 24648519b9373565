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
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.dram.channel import TRACE, Command, Trace
from simulator.dram.pim.attacc_part import BANKED, AttAcc, load_attacc, spans_of
from simulator.dram.pim.attacc_program import Attention, ChannelProgram, program_of
from simulator.dram.pim.run import PimRun

if TYPE_CHECKING:
    from simulator.dram.pim.attacc_kernel import Machine, State

__all__ = ["AttAcc", "AttentionRun", "load_attacc", "run_attention"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class AttentionRun(PimRun):
    """The attention of one layer on one memory.

    cycles: until the last command. commands: row commands as of the first channel, on those that
    have a head in the wave. energy_j: read, arithmetic, query, move, of all channels.
    """

    level: str
    power_limit: bool
    energy_j: dict[str, float]


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

    units, spans = part.units[level], spans_of(part)
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
    banks, spans = np.arange(part.banks), spans_of(part)
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
