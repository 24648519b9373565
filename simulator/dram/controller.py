"""One channel of a memory: a stream of requests in, ticks, row hits, latencies and commands out.

The rules are those of `controller_kernel`. Requests come in blocks, and a trace leaves in blocks,
so that memory does not grow with the stream.

Left out: closed pages, refresh bank by bank, postponed refreshes, gaps between requests.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.standard import (
    CLOSE,
    OPEN,
    OPEN_FIRST,
    READ,
    SYNC_READ,
    SYNC_WRITE,
    WRITE,
    Standard,
    Tables,
    tables,
)
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.controller_kernel import Machine, State
    from simulator.dram.streams import Stream

Ints = NDArray[np.int64]
#: Requests of a block, and commands of one of a trace.
BLOCK, TRACE = 1 << 15, 1 << 15
#: Refreshes that may wait, at each place.
BACKLOG = 64
ORDERS = ("fr_fcfs", "in_order")
REFRESHES = ("all_bank", "none")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a controller is set up.

    order: "fr_fcfs" (ready first, then oldest) or "in_order", in one queue. refresh: "all_bank" or
    "none". queue: entries of each of the two queues. high, low: parts of the queue of writes at
    which writing begins and ends.
    """

    order: Literal["fr_fcfs", "in_order"] = "fr_fcfs"
    refresh: Literal["all_bank", "none"] = "all_bank"
    queue: int = 32
    high: float = 0.8
    low: float = 0.2

    def __post_init__(self) -> None:
        """Raise InputError for what is unknown or out of range, all at once."""
        problems = []
        if self.order not in ORDERS:
            problems.append(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.refresh not in REFRESHES:
            problems.append(f"refresh must be one of {', '.join(REFRESHES)}, got {self.refresh!r}")
        if not 1 <= self.queue <= 64:
            problems.append(f"queue must be 1 to 64 entries, got {self.queue}")
        if not 0 <= self.low <= self.high <= 1:
            problems.append(f"needs 0 <= low <= high <= 1, got {self.low:g} and {self.high:g}")
        if problems:
            raise InputError(problems)


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
    activation, a precharge.
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

    @property
    def time_s(self) -> float:
        """Time until the last request is done."""
        return self.ticks * self.tick_ps * 1e-12

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes moved over that time; 0 for nothing."""
        return self.requests * self.access_bytes / self.time_s if self.ticks else 0.0


def run_stream(
    stream: "Stream",
    standard: Standard,
    requests: int,
    settings: Settings | None = None,
    trace: Callable[[Iterable[Command]], object] | None = None,
) -> Run:
    """Serve the first requests of a stream on one channel.

    trace: is given all commands, in order, block by block. Errors: InputError for a stream that
    does not fit the standard, fewer than one request, or one that is not of channel 0.
    """
    if requests < 1:
        raise InputError(f"requests must be >= 1, got {requests}")
    return _run(standard, _blocks(stream, standard, requests), settings, trace)


def run_requests(
    writes: NDArray[np.bool_],
    levels: Ints,
    standard: Standard,
    settings: Settings | None = None,
    trace: Callable[[Iterable[Command]], object] | None = None,
) -> Run:
    """Serve requests of which `writes` (count,) write, at `levels` (count, levels).

    As `run_stream`. Levels are Channel to Column, the column the first of a burst.
    """
    if not len(writes):
        raise InputError("requests must be >= 1, got 0")
    starts = range(0, len(writes), BLOCK)
    blocks = (_block(writes[at : at + BLOCK], levels[at : at + BLOCK], standard) for at in starts)
    return _run(standard, blocks, settings, trace)


def _blocks(stream: "Stream", standard: Standard, requests: int) -> Iterator[Ints]:
    from simulator.dram.streams import addresses

    for start in range(0, requests, BLOCK):
        writes, levels = addresses(stream, standard, start, min(BLOCK, requests - start))
        yield _block(writes, levels, standard)


def _block(writes: NDArray[np.bool_], levels: Ints, standard: Standard) -> Ints:
    """Return requests as the kernel reads them: write, bank, row, column."""
    if levels[:, 0].any():
        raise InputError("requests of a channel must be of channel 0")
    counts = standard.counts[: len(standard.banked_levels)]
    bank = np.zeros(len(levels), np.int64)
    for depth, count in enumerate(counts):
        bank = bank * count + levels[:, depth]
    return np.stack([writes.astype(np.int64), bank, levels[:, -2], levels[:, -1]], axis=1)


def _run(
    standard: Standard,
    blocks: Iterator[Ints],
    settings: Settings | None,
    trace: Callable[[Iterable[Command]], object] | None,
) -> Run:
    from simulator.dram import controller_kernel as kernel

    machine = _machine(standard, settings or Settings())
    state = _state(standard, machine)
    room = np.zeros((TRACE if trace is not None else 0, 5), np.int64)
    block = next(blocks)
    while True:
        following = next(blocks, None)
        ended = kernel.FULL
        while ended == kernel.FULL:
            before = state.k[kernel.OFFERED]
            ended = kernel.advance(*machine, *state, block, following is None, room)
            block = block[state.k[kernel.OFFERED] - before :]
            if trace is not None:
                trace(_commands(standard, room[: state.k[kernel.TRACED]]))
                state.k[kernel.TRACED] = 0
        if ended == kernel.STUCK:
            raise InputError(f"{standard.name}: no command can follow; is a constraint wrong?")
        if following is None:
            return _summary(standard, state)
        block = following


def _commands(standard: Standard, rows: Ints) -> Iterator[Command]:
    """Yield the commands of a trace of the kernel."""
    names, counts = list(standard.commands), standard.counts[: len(standard.banked_levels)]
    for tick, command, bank, row, column in rows.tolist():
        inner = list[int]()
        for count in reversed(counts):
            inner.append(bank % count)
            bank //= count
        yield Command(tick, names[command], (*reversed(inner), row, column))


def _machine(standard: Standard, settings: Settings) -> "Machine":
    from simulator.dram import controller_kernel as kernel

    table = tables(standard)
    kept, nodes, parents = _nodes(table)
    commands = _uses(standard, table)
    rows, starts = _rows(table, kept, {int(each) for each in commands if each >= 0})
    fixed = {
        kernel.QUEUE: settings.queue,
        # More than high, fewer than low, as whole requests.
        kernel.HIGH: floor(settings.high * settings.queue),
        kernel.LOW: ceil(settings.low * settings.queue),
        kernel.TWO_BUSES: standard.buses != "one",
        kernel.IN_ORDER: settings.order == "in_order",
        kernel.READ_LATENCY: table.read_latency_ticks,
        kernel.INTERVAL: table.refresh_interval_ticks if settings.refresh != "none" else 0,
        kernel.READ_SYNC: table.sync_read_ticks,
        kernel.WRITE_SYNC: table.sync_write_ticks,
        kernel.OPEN_WITHIN: table.open_within_ticks,
    }
    scopes = np.unique(nodes[:, kept[table.refresh_level]])
    return kernel.Machine(
        np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes, parents, rows, starts, commands, scopes,
    )  # fmt: skip


def _nodes(table: Tables) -> tuple[dict[int, int], Ints, Ints]:
    """Return (place of each level, nodes of each bank, parent of each node).

    Levels with the same instances, as a channel and its only rank, are one.
    """
    instances = np.cumprod(table.counts)
    distinct = list(dict.fromkeys(instances.tolist()))
    kept = {level: distinct.index(count) for level, count in enumerate(instances.tolist())}
    offsets = np.concatenate([[0], np.cumsum(distinct)[:-1]]).astype(np.int64)
    banks = np.arange(distinct[-1])
    nodes = np.stack(
        [offsets[i] + banks // (distinct[-1] // count) for i, count in enumerate(distinct)], axis=1
    )
    parents = np.full(sum(distinct), -1, np.int64)
    for level in range(1, len(distinct)):
        parents[nodes[:, level]] = nodes[:, level - 1]
    return kept, nodes, parents


def _uses(standard: Standard, table: Tables) -> Ints:
    """Return the command for each use of the kernel, -1 where there is none."""
    found = {OPEN_FIRST: -1, OPEN: -1, READ: -1, WRITE: -1, SYNC_READ: -1, SYNC_WRITE: -1}
    close = close_all = -1
    for command, role in enumerate(table.roles.tolist()):
        if role in found:
            found[role] = command
        if role == CLOSE and table.scopes[command] == len(table.counts) - 1:
            close = command
        if role == CLOSE and table.scopes[command] == table.refresh_level:
            close_all = command
    ordered = (
        *(found[OPEN_FIRST], found[OPEN], close, close_all, table.refresh_command),
        *(found[READ], found[WRITE], found[SYNC_READ], found[SYNC_WRITE]),
    )
    return np.array(ordered, np.int64)


def _rows(table: Tables, kept: dict[int, int], used: set[int]) -> tuple[Ints, Ints]:
    """Return the rows between commands that are used, by the command before, and their starts."""
    merged: dict[tuple[int, int, int, int, int], int] = {}
    sibling_of_one = (table.sibling == 1) & (table.counts[table.level] == 1)
    for index in np.flatnonzero(~sibling_of_one):
        before, after = int(table.before[index]), int(table.after[index])
        if before in used and after in used:
            key = (
                before,
                kept[int(table.level[index])],
                after,
                int(table.window[index]),
                int(table.sibling[index]),
            )
            merged[key] = max(merged.get(key, 0), int(table.ticks[index]))
    keys = sorted(merged)
    rows = [
        (level, after, window, merged[key], sibling)
        for key in keys
        for _, level, after, window, sibling in [key]
    ]
    befores = np.array([key[0] for key in keys])
    starts = np.searchsorted(befores, np.arange(len(table.roles) + 1)).astype(np.int64)
    return np.array(rows, np.int64), starts


def _state(standard: Standard, machine: "Machine") -> "State":
    from simulator.dram import controller_kernel as kernel

    commands, banks, nodes = len(standard.commands), len(machine.nodes), len(machine.parents)
    windows, queue = int(machine.rows[:, kernel.WINDOW].max()), int(machine.fixed[kernel.QUEUE])
    level = list(standard.banked_levels).index(standard.refresh_level)
    kept, of_bank, _ = _nodes(tables(standard))
    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        ready=np.zeros((commands, nodes), np.int64),
        history=np.full((len(machine.rows), nodes, windows), -kernel.NEVER, np.int64),
        rings=np.zeros((len(machine.rows), nodes), np.int64),
        banks=np.zeros((6, banks), np.int64),
        # A bank has at most one active request for each time that it was opened.
        lists=np.zeros((5, 3, max(queue, banks) + 1), np.int64),
        sizes=np.zeros(3, np.int64),
        requests=np.zeros((3, kernel.SLOTS), np.int64),
        pending=np.zeros(BACKLOG * len(machine.scopes), np.int64),
        counts=np.zeros(commands, np.int64),
        latencies=np.zeros(kernel.LATENCIES, np.int64),
    )
    state.k[kernel.REFRESH_AT] = machine.fixed[kernel.INTERVAL]
    state.banks[kernel.OPENED] = kernel.CLOSED
    state.banks[kernel.SYNCED] = -1
    state.banks[kernel.SCOPE] = of_bank[:, kept[level]]
    return state


def _summary(standard: Standard, state: "State") -> Run:
    from simulator.dram import controller_kernel as kernel

    k, done, reads = state.k, int(state.k[kernel.DONE]), int(state.k[kernel.READS_DONE])
    reached = np.cumsum(state.latencies)
    p50, p99 = (int(np.searchsorted(reached, part * reads)) for part in (0.5, 0.99))
    counts = zip(standard.commands, state.counts.tolist(), strict=True)
    return Run(
        standard=standard.name,
        requests=done,
        ticks=int(k[kernel.LAST]),
        tick_ps=standard.tick_ps,
        access_bytes=standard.access_bytes,
        row_hits=int(k[kernel.HITS]),
        row_misses=int(k[kernel.MISSES]),
        row_conflicts=int(k[kernel.CONFLICTS]),
        latency_avg_ticks=int(k[kernel.LATENCY_SUM]) / reads if reads else 0.0,
        latency_p50_ticks=p50,
        latency_p99_ticks=p99,
        latency_max_ticks=int(k[kernel.LATENCY_MOST]),
        commands={name: count for name, count in counts if count},
    )
