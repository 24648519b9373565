"""What every controller does around its kernel: requests in blocks, commands out, a summary.

Requests come in blocks, and a trace leaves in blocks, so that memory does not grow with the stream.
A kernel is a module with `advance`, that of one policy; blocks are rows of write, bank, row, column
and channel.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.standard import Standard, Tables
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.streams import Stream

Ints = NDArray[np.int64]
#: Some requests: from which one, and how many.
Blocks = Callable[[int, int], Ints]
Trace = Callable[[Iterable["Command"]], object] | None
#: Requests of a block, and commands of one of a trace.
BLOCK, TRACE = 1 << 15, 1 << 15
#: Refreshes that may wait, at each place.
BACKLOG = 64
#: What every controller can refresh.
REFRESHES = ("all_bank", "none")


class Command(NamedTuple):
    """A command of a trace: its tick, its name and the levels that it addresses, Channel first."""

    tick: int
    name: str
    address: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a channel did with a stream.

    ticks: until the last request is done. Latencies: of reads, from the offer to the last beat.
    row_hits, row_misses, row_conflicts: requests by their first command: a column command, an
    activation, a precharge. active_ticks, idle_ticks: with a row open and with none, summed over
    ranks or pseudo-channels.
    """

    standard: str
    requests: int
    ticks: int
    tick_ps: int
    access_bytes: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    latency_avg_ticks: float
    latency_p50_ticks: int
    latency_p99_ticks: int
    latency_max_ticks: int
    commands: dict[str, int]
    active_ticks: int
    idle_ticks: int

    @property
    def time_s(self) -> float:
        """Time until the last request is done."""
        return self.ticks * self.tick_ps * 1e-12

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes moved over that time; 0 for nothing."""
        return self.requests * self.access_bytes / self.time_s if self.ticks else 0.0


def of_stream(stream: "Stream", standard: Standard, requests: int) -> Blocks:
    """Return blocks of a stream.

    Errors: InputError for a stream that does not fit the standard, fewer than one request, and, of
    a block, for one that is not of channel 0.
    """
    from simulator.dram.streams import block_tables
    from simulator.dram.streams_kernel import fill_block

    if requests < 1:
        raise InputError(f"requests must be >= 1, got {requests}")
    made_from = block_tables(stream, standard)

    def block(start: int, count: int) -> Ints:
        made = np.zeros((count, 5), np.int64)
        fill_block(*made_from, start, made)
        return _of_one_channel(made)

    return block


def of_requests(writes: NDArray[np.bool_], levels: Ints, standard: Standard) -> Blocks:
    """Return blocks of listed requests, of which `writes` (count,) write, at `levels`.

    Levels (count, levels) are Channel to Column, the column the first of a burst. Errors as
    `of_stream`.
    """
    if not len(writes):
        raise InputError("requests must be >= 1, got 0")
    counts = standard.counts[: len(standard.banked_levels)]

    def block(start: int, count: int) -> Ints:
        write, here = writes[start : start + count], levels[start : start + count]
        bank = np.zeros(len(here), np.int64)
        for depth, instances in enumerate(counts):
            bank = bank * instances + here[:, depth]
        columns = [write.astype(np.int64), bank, here[:, -2], here[:, -1], here[:, 0]]
        return _of_one_channel(np.stack(columns, axis=1))

    return block


def _of_one_channel(block: Ints) -> Ints:
    if block[:, 4].any():
        raise InputError("requests of a channel must be of channel 0")
    return block


def serve(
    kernel: ModuleType, standard: Standard, channel: tuple[Any, ...], block: Ints, last: bool,
    trace: Trace,
) -> None:  # fmt: skip
    """Offer a block of requests, and of the last one, wait for the end.

    channel: the kernel's machine and state, one after the other; `k` are the state's scalars.
    """
    machine, state = channel
    room = np.zeros((TRACE if trace is not None else 0, 5), np.int64)
    ended = kernel.FULL
    while ended == kernel.FULL:
        before = state.k[kernel.OFFERED]
        ended = kernel.advance(*machine, *state, block, last, room)
        block = block[state.k[kernel.OFFERED] - before :]
        if trace is not None:
            trace(_commands(standard, room[: state.k[kernel.TRACED]]))
            state.k[kernel.TRACED] = 0
    if ended == kernel.STUCK:
        raise InputError(f"{standard.name}: no command can follow; is a constraint wrong?")


def _commands(standard: Standard, rows: Ints) -> Iterator[Command]:
    """Yield the commands of a trace of a kernel."""
    names, counts = list(standard.commands), standard.counts[: len(standard.banked_levels)]
    banks = np.stack(np.unravel_index(rows[:, 2], counts), axis=1).tolist()
    for (tick, command, _, row, column), bank in zip(rows.tolist(), banks, strict=True):
        yield Command(tick, names[command], (*bank, row, column))


def rows_between(table: Tables, uses: Ints) -> Iterator[tuple[int, ...]]:
    """Yield the rows between commands that a kernel uses; uses: by use, the command.

    Each is level, use before, use after, ticks, window, sibling; none is of siblings without any.
    """
    of_command = dict[int, list[int]]()
    for use, command in enumerate(uses.tolist()):
        of_command.setdefault(command, []).append(use)
    columns = (table.level, table.before, table.after, table.ticks, table.window, table.sibling)
    for level, before, after, *rest in np.stack(columns, axis=1).tolist():
        if not rest[-1] or table.counts[level] > 1:
            for use, then in product(of_command.get(before, ()), of_command.get(after, ())):
                yield level, use, then, *rest


def summary(
    kernel: ModuleType, standard: Standard, state: Any, commands: Iterable[tuple[int, int]],
    active_ticks: int, ranks: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of `Run` but `requests`; commands: number and how often, in any order."""
    k, reads = state.k, int(state.k[kernel.READS_DONE])
    reached = np.cumsum(state.latencies)
    p50, p99 = (int(np.searchsorted(reached, part * reads)) for part in (0.5, 0.99))
    names, counts = list(standard.commands), dict[str, int]()
    for command, count in sorted(commands):
        if count:
            counts[names[command]] = counts.get(names[command], 0) + count
    return {
        "standard": standard.name,
        "ticks": int(k[kernel.LAST]),
        "tick_ps": standard.tick_ps,
        "access_bytes": standard.access_bytes,
        "row_hits": int(k[kernel.HITS]),
        "row_misses": int(k[kernel.MISSES]),
        "row_conflicts": int(k[kernel.CONFLICTS]),
        "latency_avg_ticks": int(k[kernel.LATENCY_SUM]) / reads if reads else 0.0,
        "latency_p50_ticks": p50,
        "latency_p99_ticks": p99,
        "latency_max_ticks": int(k[kernel.LATENCY_MOST]),
        "commands": counts,
        "active_ticks": active_ticks,
        "idle_ticks": ranks * int(k[kernel.LAST]) - active_ticks,
    }
