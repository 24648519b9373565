"""NeuPIMs: attention of one token for each request, in the memory that holds its keys and values.

Modelled after casys-kaist/NeuPIMs @f299af3 (ASPLOS'24, arXiv 2403.00579) and its NewtonSim. All of
a request is on one channel: where and by which commands, `neupims_program` says; when they are
issued, `neupims_kernel`.

The NPU sends the scores of all requests, turns those of a head to probabilities when all are there,
and stores them; when all are stored it sends the outputs of all, adds up the chunks of each tile,
and stores those. Its vector unit and its stores each start one thing a tick, in order. The vector
unit counts bytes as values, as NeuPIMs' does.

Energies are NewtonSim's: E_act = VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP), E_read = VDD (IDD4R -
IDD3N) tBL; a GWRITE is as many reads as a row has bursts, G_ACT an activation of each of its banks,
a step of a GEMV four reads, a result the reads of what it moves.

What the NPU reads and writes for something else meanwhile, `neupims_traffic` says, and what that
costs PIM `neupims_traffic_kernel`.

Left out: what the NPU's own stores cost PIM; rows that are open at the start; sub-batches; PIM's
place in the queues, which holds up nothing when PIM is alone; keys and values of a new token;
layers beside the one; energy of reads, writes, refresh and of standing by.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.config import csv_rows
from simulator.dram.pim import neupims_program as program
from simulator.dram.pim.neupims_part import BANKED, Issued, NeuPims, Role, load_neupims
from simulator.dram.pim.neupims_program import Shape, Stage, shape_of, stages
from simulator.dram.pim.neupims_traffic import (
    Given,
    Traffic,
    TrafficRun,
    by_channel,
    queues_of,
    requests_of,
    rules_of,
    sequential_reads,
)
from simulator.dram.pim.run import PimRun
from simulator.dram.request_file import MOST_PROBLEMS, text_lines
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.neupims_kernel import Machine, State
    from simulator.dram.pim.neupims_traffic_kernel import Queues, Rules

__all__ = [
    "AttentionRun",
    "Issued",
    "NeuPims",
    "Traffic",
    "TrafficRun",
    "assign_channels",
    "estimate_ticks",
    "load_neupims",
    "read_requests",
    "run_attention",
    "sequential_reads",
]

Ints = NDArray[np.int64]
#: Tokens that a request attends to, and its channel, None for one of `assign_channels`' choice.
Request: TypeAlias = tuple[int, int | None]
#: What is given all commands, in order on each channel, block by block.
Trace: TypeAlias = Callable[[Iterable[Issued]], object] | None
#: Commands of a block of a trace.
_BLOCK = 1 << 14


@dataclass(frozen=True, kw_only=True)
class AttentionRun(PimRun):
    """The attention of one layer.

    cycles: until all is stored. commands: refreshes of all channels until then are among them, and
    with traffic all until that is served. channel_cycles: those in which a channel has PIM commands
    to issue. energy_j: gwrite, gact, comp and readres of all channels.
    """

    mode: str
    energy_j: dict[str, float]
    traffic: TrafficRun | None = None

    @property
    def mha_cycles(self) -> int:
        """Cycles until all is stored."""
        return self.cycles

    @property
    def pim_busy_cycles(self) -> tuple[int, ...]:
        """Cycles in which each channel has PIM commands to issue."""
        return self.channel_cycles


def run_attention(
    part: NeuPims,
    mode: str,
    requests: Sequence[Request],
    *,
    hidden: int,
    heads: int,
    tp: int,
    start_tick: int = 0,
    traffic: Given | None = None,
    trace: Trace = None,
) -> AttentionRun:
    """Attend with one token of each request to its keys and values.

    requests: (tokens, channel), in order. hidden, heads: of the model; tp: devices that share it,
    of which this is one. start_tick: where the stage starts between refreshes, whose ticks are
    counted from 0. traffic: what the NPU reads and writes meanwhile, all of which is served. trace:
    is given all commands.
    Raises InputError for an unknown mode, a model that the rows do not take, requests or traffic
    that are wrong, and a part in which nothing can move; InfeasibleError for more keys and values
    than a channel holds.
    """
    shape, how = shape_of(part, hidden, heads, tp), part.mode(mode)
    if start_tick < 0:
        raise InputError(f"start_tick must be >= 0, got {start_tick}")
    placed = requests_by_channel(part, assigned_requests(part, shape, requests))
    every = 1 if how.sends == "one_a_tick" else 0
    streams = by_channel(part, traffic) if traffic is not None else None
    memory = _Memory(part, mode, start_tick, streams, trace)
    now, busy = start_tick, np.zeros(part.channels, np.int64)
    for stage in stages(part, mode, shape, placed):
        now, stage_busy = _run_stage(memory, stage, now, every)
        busy += stage_busy
    # The stage is seen to be over one tick after the last of it.
    now += 1
    memory.finish(now)
    commands, steps = memory.counted()
    return AttentionRun(
        part=part.name,
        cycles=now - start_tick,
        tick_ps=part.tick_ps,
        channels=part.channels,
        commands=commands,
        bursts=steps,
        operations=sum(2 * tokens * shape.own_hidden for tokens, _ in requests),
        operations_per_burst=part.units.multipliers * part.banks,
        channel_cycles=tuple(busy.tolist()),
        mode=mode,
        energy_j=energies_of(part, commands, steps),
        traffic=memory.traffic(start_tick, int(busy.sum())),
    )


def estimate_ticks(part: NeuPims, tokens: int, *, hidden: int, heads: int, tp: int) -> int:
    """Return Algorithm 1's estimate of the attention of a request; errors as `run_attention`."""
    shape = shape_of(part, hidden, heads, tp)
    _refuse_requests(part, [(tokens, None)])
    return _estimate(part, shape, tokens)


def assign_channels(
    part: NeuPims, requests: Sequence[Request], *, hidden: int, heads: int, tp: int
) -> list[tuple[int, int]]:
    """Return requests with a channel each: Algorithm 2, for those that have none.

    The longest first, each to the channel with the least estimate so far, the first of equals.
    Errors as `run_attention`.
    """
    return assigned_requests(part, shape_of(part, hidden, heads, tp), requests)


def read_requests(path: Path) -> list[Request]:
    """Return the requests of a CSV file with columns seq_len and ch_idx, which may be left out.

    Raises InputError with the line of every problem, 20 at most.
    """
    text = "\n".join(line for _, line in text_lines(path))
    requests, problems, columns = list[Request](), list[str](), list[str]()
    for number, cells in csv_rows(text, str(path)):
        if not columns:
            columns = cells
            if columns not in (["seq_len", "ch_idx"], ["seq_len"]):
                given = ",".join(cells)[:80]
                raise InputError(f"{path}:{number}: expected seq_len[,ch_idx], got {given}")
            continue
        wrong = _wrong_cells(cells, columns)
        if wrong:
            problems.append(f"{path}:{number}: {wrong}")
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        requests.append((int(cells[0]), int(cells[1]) if len(cells) > 1 else None))
    if problems:
        raise InputError(problems)
    if not requests:
        raise InputError(f"{path}: has no requests")
    return requests


def _wrong_cells(cells: list[str], columns: list[str]) -> str:
    """Return what is wrong with the cells of a request, "" for nothing."""
    if len(cells) != len(columns):
        return f"expected {len(columns)} cells, got {len(cells)}"
    for name, cell in zip(columns, cells, strict=True):
        if not (cell.isascii() and cell.removeprefix("-").isdecimal() and len(cell) < 10):
            return f"{name}: expected an integer, got {cell!r}"
    for name, cell, least in zip(columns, cells, (1, 0), strict=False):
        if int(cell) < least:
            return f"{name}: must be >= {least}, got {int(cell)}"
    return ""


def _refuse_requests(part: NeuPims, requests: Sequence[Request]) -> None:
    problems = [] if requests else ["requests must be >= 1, got 0"]
    for index, (tokens, channel) in enumerate(requests):
        if tokens < 1:
            problems.append(f"requests[{index}]: seq_len must be >= 1, got {tokens}")
        if channel is not None and not 0 <= channel < part.channels:
            problems.append(
                f"requests[{index}]: channel {channel} is not within 0 to {part.channels - 1}"
            )
    if problems:
        raise InputError(problems[:MOST_PROBLEMS])


def _estimate(part: NeuPims, shape: Shape, tokens: int) -> int:
    """Return the estimate of a request: of each chunk, a GWRITE and its tiles."""
    scores = ceil(shape.own_hidden / part.row_values), ceil(tokens / part.banks)
    outputs = (
        ceil(tokens / part.row_values) * shape.own_heads,
        ceil(shape.head_dim / part.banks),
    )
    each = part.estimate
    return sum(
        chunks * (each.gwrite_ticks + tiles * each.tile_ticks)
        for chunks, tiles in (scores, outputs)
    )


def assigned_requests(
    part: NeuPims, shape: Shape, requests: Sequence[Request]
) -> list[tuple[int, int]]:
    """Return requests with a channel each, as `assign_channels`."""
    _refuse_requests(part, requests)
    channels = [channel for _, channel in requests]
    estimates = [_estimate(part, shape, tokens) for tokens, _ in requests]
    loads = [0] * part.channels
    for channel, estimate in zip(channels, estimates, strict=True):
        if channel is not None:
            loads[channel] += estimate
    for index in sorted(range(len(requests)), key=lambda index: -requests[index][0]):
        if channels[index] is None:
            least = loads.index(min(loads))
            channels[index] = least
            loads[least] += estimates[index]
    return [
        (tokens, channel)
        for (tokens, _), channel in zip(requests, channels, strict=True)
        if channel is not None
    ]


def requests_by_channel(part: NeuPims, requests: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the tokens of the requests of each channel, in order."""
    placed = [list[int]() for _ in range(part.channels)]
    for tokens, channel in requests:
        placed[channel].append(tokens)
    return placed


class _Side(NamedTuple):
    """What a channel is to do beside PIM."""

    rules: "Rules"
    queues: "Queues"
    requests: Ints


class _Memory:
    """The channels of a run; streams: requests of the NPU to each, None without any."""

    def __init__(
        self,
        part: NeuPims,
        mode: str,
        start_tick: int,
        streams: Sequence[Traffic | None] | None,
        trace: Trace,
    ) -> None:
        self.part = part
        self._trace = trace
        uses = uses_of(part, mode, traffic=streams is not None)
        self._names = {use: name for name, use in uses.items()}
        self._machine = machine_of(part, mode, uses)
        self._states = [state_of(self._machine, start_tick) for _ in range(part.channels)]
        self._sides = list[_Side]()
        if streams is not None:
            rules = rules_of(part, mode, uses)
            arrays = {id(each): requests_of(each, start_tick) for each in streams}
            self._sides = [_Side(rules, queues_of(part), arrays[id(each)]) for each in streams]

    def serve(self, channel: int, ops: Ints, first: int, every: int) -> Ints:
        """Return the tick of each command of a list, as `neupims_kernel.serve`."""
        return self._advance(channel, ops, first, every, until=0)

    def finish(self, tick: int) -> None:
        """Issue what is due before a tick on all channels, and serve all requests."""
        for channel in range(self.part.channels):
            self._advance(channel, np.zeros((0, program.FIELDS), np.int64), 0, 0, until=tick)

    def counted(self) -> tuple[dict[str, int], int]:
        """Return the commands of all channels by name, and the steps of all GEMVs."""
        from simulator.dram.pim import neupims_kernel as kernel

        counts = np.sum([state.counts for state in self._states], axis=0)
        steps = sum(int(state.k[kernel.STEPS_DONE]) for state in self._states)
        return {name: int(counts[use]) for use, name in self._names.items() if counts[use]}, steps

    def traffic(self, start_tick: int, busy_ticks: int) -> TrafficRun | None:
        """Return what came of requests, None without any; busy_ticks: PIM's of all channels."""
        if not self._sides:
            return None
        from simulator.dram.pim import neupims_traffic_kernel as kernel

        q = np.array([side.queues.q for side in self._sides])
        beside = int(q[:, kernel.BESIDE].sum())
        return TrafficRun(
            requests=int(q[:, kernel.SERVED].sum()),
            cycles=max(0, int(q[:, kernel.LAST].max()) - start_tick),
            busy_bus_share=beside * self.part.timing["nBL"] / busy_ticks,
        )

    def _advance(self, channel: int, ops: Ints, first: int, every: int, *, until: int) -> Ints:
        from simulator.dram.pim import neupims_kernel as kernel

        state = self._states[channel]
        state.k[kernel.NEXT] = 0
        issued = np.zeros(len(ops), np.int64)
        room = np.zeros((_BLOCK if self._trace else 0, kernel.TRACE_FIELDS), np.int64)
        ended = kernel.FULL
        while ended == kernel.FULL:
            ended = self._serve(channel, ops, first, every, until, issued, room)
            if self._trace is not None:
                self._trace(self._commands(channel, room[: state.k[kernel.TRACED]]))
                state.k[kernel.TRACED] = 0
        if ended == kernel.STUCK:
            raise InputError(f"{self.part.name}: no command can follow; is a row wrong?")
        return issued

    def _serve(
        self, channel: int, ops: Ints, first: int, every: int, until: int, issued: Ints, room: Ints
    ) -> int:
        """Serve as far as the trace has room."""
        machine, state = self._machine, self._states[channel]
        if not self._sides:
            from simulator.dram.pim.neupims_kernel import serve

            return serve(machine, state, ops, first, every, until, issued, room)
        from simulator.dram.pim.neupims_traffic_kernel import serve_beside

        rules, queues, requests = self._sides[channel]
        return serve_beside(
            machine, state, rules, queues, requests, ops, first, every, until, issued, room
        )

    def _commands(self, channel: int, block: Ints) -> Iterator[Issued]:
        """Yield the commands of a block of the kernel's trace."""
        counts = [self.part.levels[level] for level in BANKED[1:]]
        banks = np.stack(np.unravel_index(block[:, 2], counts), axis=1).tolist()
        for (tick, use, _, row, steps), bank in zip(block.tolist(), banks, strict=True):
            yield Issued(tick, self._names[use], (channel, *bank, row), steps)


def _run_stage(memory: _Memory, stage: Stage, now: int, every: int) -> tuple[int, Ints]:
    """Run a stage that starts now; return when the next may start, and busy ticks by channel.

    every: ticks from one command sent to the next, of all channels one after the other.
    """
    npu, busy = memory.part.npu, np.zeros(memory.part.channels, np.int64)
    wanted, end, sent = np.zeros(len(stage.vector_ticks), np.int64), now, 0
    for channel, ops in enumerate(stage.ops):
        if not len(ops):
            continue
        first = now + npu.request_ticks + every * sent
        issued = memory.serve(channel, ops, first, every)
        sent += len(ops)
        busy[channel] = issued[-1] - first + 1
        results = np.isin(ops[:, program.USE], (program.RESULT, program.COMPOSITE))
        seen = issued[results] + memory.part.read_ticks + npu.answer_ticks
        end = max(end, int(seen.max()))
        items = ops[results, program.ITEM]
        np.maximum.at(wanted, items[items >= 0], seen[items >= 0])
    if len(wanted):
        stored = _one_a_tick(_one_a_tick(wanted) + stage.vector_ticks) + npu.store_ticks
        end = max(end, int(stored[-1]))
    return end + 1, busy


def _one_a_tick(wanted: Ints) -> Ints:
    """Return when a queue lets each pass: in order, not before it is wanted, one a tick."""
    order = np.arange(len(wanted))
    return np.maximum.accumulate(wanted - order) + order


def energies_of(part: NeuPims, commands: dict[str, int], steps: int) -> dict[str, float]:
    """Return the joules of gwrite, gact, comp and readres; volts x mA x ps are fJ."""
    amps, timing = part.energy.currents, part.timing
    ras, rp = timing["nRAS"], timing["nRP"]
    per_tick = amps.vdd_v * amps.devices * part.tick_ps * 1e-15
    activation = amps.idd0_ma * (ras + rp) - amps.idd3n_ma * ras - amps.idd2n_ma * rp
    read = (amps.idd4r_ma - amps.idd3n_ma) * timing["nBL"]

    def count(role: Role) -> int:
        return commands.get(part.command(role), 0)

    results = count("compute_and_read") + count("read_result")
    result_reads = part.banks * part.value_bytes / part.burst_bytes
    row_reads = part.row_bytes / part.burst_bytes
    return {
        "gwrite": count("write_buffer") * row_reads * read * per_tick,
        "gact": count("open_group") * part.levels["Bank"] * activation * per_tick,
        "comp": steps * part.energy.step_reads * read * per_tick,
        "readres": results * result_reads * read * per_tick,
    }


def uses_of(part: NeuPims, mode: str, *, traffic: bool) -> dict[str, int]:
    """Return the use of each command that a mode issues, with reads and writes or without."""
    unused = (*part.mode(mode).unused_roles, *(() if traffic else ("read", "write")))
    return {part.command(role): use for role, use in program.USE_OF.items() if role not in unused}


def machine_of(part: NeuPims, mode: str, uses: dict[str, int]) -> "Machine":
    """Return what a part and a mode fix for a channel; uses: of each command that is issued."""
    from simulator.dram.pim import neupims_kernel as kernel

    units, timing = part.units, part.timing
    counts = [1, *(part.levels[level] for level in BANKED[1:])]
    instances = [prod(counts[: depth + 1]) for depth in range(len(counts))]
    banks = np.arange(part.banks)
    nodes = [
        sum(instances[:depth]) + banks // (part.banks // instances[depth])
        for depth in range(len(counts))
    ]
    fixed = {
        kernel.PIM_ROWS: part.mode(mode).row_buffers - 1,
        kernel.TURN: part.turn_ticks,
        kernel.GWRITE_TICKS: part.gwrite_ticks,
        kernel.CADENCE: units.cadence_ticks,
        kernel.ADDER_STEPS: units.adder_steps,
        kernel.FIRST_TO_RESULT: units.first_step_to_result_ticks,
        kernel.GUARD_CLOSE: timing["nRTP"],
        kernel.GUARD_GROUPS: timing["nFAW"],
        kernel.GUARD_OPEN: timing["nRCDRD"],
        kernel.GUARD_RESULT: max(timing["nBL"], timing["nCCDL"]),
        kernel.GUARD_MISS: timing["nRP"] + timing["nRCDRD"],
    }
    scopes = np.zeros(program.USES, np.int64)
    for name, use in uses.items():
        scopes[use] = BANKED.index(part.commands[name].level)
    rows = _rows(part, mode, uses)
    starts = np.searchsorted(rows[:, 0], np.arange(program.USES + 1)).astype(np.int64)
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes=np.stack(nodes, axis=1),
        rows=rows[:, 1:].copy(),
        starts=starts,
        scopes=scopes,
    )


def _rows(part: NeuPims, mode: str, uses: dict[str, int]) -> Ints:
    """Return use before, level, use after, ticks, window of the rows between commands in use."""
    rows = [
        (uses[before], BANKED.index(row.level), uses[after], row.ticks, row.window)
        for row in part.rows(mode)
        for before in row.before
        for after in row.after
        if before in uses and after in uses and not row.sibling
    ]
    return np.array(sorted(rows), np.int64)


def state_of(machine: "Machine", start_tick: int) -> "State":
    """Return a channel before it has done anything, at a tick."""
    from simulator.dram.pim import neupims_kernel as kernel

    nodes, windows = int(machine.nodes.max()) + 1, int(machine.rows[:, kernel.WINDOW].max())
    k = np.zeros(kernel.SCALARS, np.int64)
    turn = int(machine.fixed[kernel.TURN])
    # A refresh that is due at the start is still to come.
    k[kernel.TURNS] = max(0, ceil(start_tick / turn) - 1)
    k[kernel.FREE] = start_tick
    return kernel.State(
        k=k,
        ready=np.zeros((program.USES, nodes), np.int64),
        history=np.full((len(machine.rows), nodes, windows), -kernel.NEVER, np.int64),
        rings=np.zeros((len(machine.rows), nodes), np.int64),
        opened=np.full((2, len(machine.nodes)), kernel.CLOSED, np.int64),
        counts=np.zeros(program.USES, np.int64),
    )
