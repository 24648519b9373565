"""One channel of a memory: a stream of requests in, ticks, row hits, latencies and commands out.

The rules are those of `controller_kernel`. Without a trace, `repeats` jumps over what repeats.

Left out: closed pages, refresh bank by bank, postponed refreshes, gaps between requests.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.dram import channel
from simulator.dram.channel import BACKLOG, REFRESHES, Ints, Run, Trace
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

#: Least requests after which a channel is compared with what it was.
PERIOD = 256
ORDERS = ("fr_fcfs", "in_order")


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
        # There are never fewer writes than none: writing would not end.
        if not 0 < self.low <= self.high <= 1:
            problems.append(f"needs 0 < low <= high <= 1, got {self.low:g} and {self.high:g}")
        if problems:
            raise InputError(problems)


def run_stream(
    stream: "Stream",
    standard: Standard,
    requests: int,
    settings: Settings | None = None,
    trace: Trace = None,
) -> Run:
    """Serve the first requests of a stream on one channel.

    trace: is given all commands, in order, block by block. Errors: InputError for a stream that
    does not fit the standard, fewer than one request, or one that is not of channel 0.
    """
    from simulator.dram.streams import period

    blocks = channel.of_stream(stream, standard, requests)
    repeats = period(stream, standard) if trace is None else (0, 0)
    return _run(standard, requests, blocks, repeats, settings, trace)


def run_requests(
    writes: NDArray[np.bool_],
    levels: Ints,
    standard: Standard,
    settings: Settings | None = None,
    trace: Trace = None,
) -> Run:
    """Serve requests of which `writes` (count,) write, at `levels` (count, levels).

    As `run_stream`. Levels are Channel to Column, the column the first of a burst.
    """
    blocks = channel.of_requests(writes, levels, standard)
    return _run(standard, len(writes), blocks, (0, 0), settings, trace)


def _run(
    standard: Standard,
    requests: int,
    blocks: channel.Blocks,
    repeats: tuple[int, int],
    settings: Settings | None,
    trace: Trace,
) -> Run:
    """Serve requests.

    repeats: after how many they repeat, and the rows by which they have then moved on.
    """
    from simulator.dram import controller_kernel as kernel
    from simulator.dram.repeats import Repeats

    machine = _machine(standard, settings or Settings())
    state, (period, moved) = _state(machine), repeats
    periods = ceil(PERIOD / period) if 0 < period <= channel.BLOCK else 0
    step = periods * period or channel.BLOCK
    search = Repeats(machine, step, periods * moved, standard.levels["Row"])
    start = 0
    while start < requests:
        count = min(step, requests - start)
        block, start = blocks(start, count), start + count
        channel.serve(kernel, standard, (machine, state), block, start == requests, trace)
        if periods and count == step and start < requests:
            # At least one is left to offer, so that the stream ends as it would.
            start += search.skip(state, requests - start - 1)
    commands = zip(machine.commands.tolist(), state.counts.tolist(), strict=True)
    fields = channel.summary(kernel, standard, state, commands)
    return Run(requests=int(state.k[kernel.DONE]), **fields)


def _machine(standard: Standard, settings: Settings) -> "Machine":
    from simulator.dram import controller_kernel as kernel

    table, refreshes = tables(standard), settings.refresh != "none"
    uses = _uses(standard, table, refreshes)
    banks = np.arange(standard.banks_per_channel)
    spans = len(banks) // np.cumprod([1, *table.counts[1:]])
    nodes = banks[:, None] // spans * spans
    rows, starts = _rows(table, uses, spans)
    fixed = {
        kernel.QUEUE: settings.queue,
        # More than high, fewer than low, as whole requests.
        kernel.HIGH: floor(settings.high * settings.queue),
        kernel.LOW: ceil(settings.low * settings.queue),
        kernel.TWO_BUSES: standard.buses != "one",
        kernel.IN_ORDER: settings.order == "in_order",
        kernel.READ_LATENCY: table.read_latency_ticks,
        kernel.INTERVAL: table.refresh_interval_ticks if refreshes else 0,
        kernel.READ_SYNC: table.sync_read_ticks,
        kernel.WRITE_SYNC: table.sync_write_ticks,
        kernel.OPEN_WITHIN: table.open_within_ticks,
        kernel.SCOPE_SPAN: int(spans[table.refresh_level]),
    }
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes=nodes,
        rows=rows,
        starts=starts,
        commands=uses,
        scopes=np.unique(nodes[:, table.refresh_level]),
    )


def _uses(standard: Standard, table: Tables, refreshes: bool) -> Ints:
    """Return the command for each use of the kernel, -1 where there is none."""
    from simulator.dram import controller_kernel as kernel

    uses = np.full(kernel.USES, -1, np.int64)
    of_role = {
        OPEN_FIRST: kernel.OPEN_FIRST, OPEN: kernel.OPEN, READ: kernel.READ, WRITE: kernel.WRITE,
        SYNC_READ: kernel.SYNC_READ, SYNC_WRITE: kernel.SYNC_WRITE,
    }  # fmt: skip
    for command, role in enumerate(table.roles.tolist()):
        if role in of_role:
            uses[of_role[role]] = command
        if role == CLOSE and table.scopes[command] == len(table.counts) - 1:
            uses[kernel.CLOSE] = command
        if role == CLOSE and table.scopes[command] == table.refresh_level and refreshes:
            uses[kernel.CLOSE_ALL] = command
    if refreshes:
        uses[kernel.REFRESH] = table.refresh_command
    return uses


def _rows(table: Tables, uses: Ints, spans: Ints) -> tuple[Ints, Ints]:
    """Return the rows between commands that are used, by the use before, and their starts.

    Rows of instances with the same banks, as a channel and its only rank, become one, as do a row
    without a window and one with.
    """
    from simulator.dram import controller_kernel as kernel

    merged: dict[tuple[int, int, int, int], dict[int, int]] = {}
    columns = (table.level, table.before, table.after, table.ticks, table.window, table.sibling)
    banks, uses_of = spans.tolist(), dict[int, list[int]]()
    for use, command in enumerate(uses.tolist()):
        uses_of.setdefault(command, []).append(use)
    for level, before, after, ticks, window, sibling in np.stack(columns, axis=1).tolist():
        if sibling and table.counts[level] == 1:
            continue
        # The outermost level with these banks; of siblings, the level itself.
        outer = level if sibling else banks.index(banks[level])
        around = banks[level - 1] if sibling else 0
        for use, then in product(uses_of.get(before, ()), uses_of.get(after, ())):
            # Levels inside of what a command addresses have no say.
            if then < kernel.CLOSE_ALL or level <= table.refresh_level:
                windows = merged.setdefault((use, outer, then, around), {})
                windows[window] = max(windows.get(window, 0), ticks)
    rows = list[tuple[int, ...]]()
    for (use, level, then, around), windows in sorted(merged.items()):
        least = windows.pop(1, 0)
        for window, ticks in sorted(windows.items()) or [(1, 0)]:
            rows.append((use, level, then, banks[level], around, least, window, ticks))
    table_of_rows = np.array(rows, np.int64)
    starts = np.searchsorted(table_of_rows[:, 0], np.arange(kernel.USES + 1)).astype(np.int64)
    return table_of_rows[:, 1:].copy(), starts


def _state(machine: "Machine") -> "State":
    from simulator.dram import controller_kernel as kernel

    banks, queue = len(machine.nodes), int(machine.fixed[kernel.QUEUE])
    windows = int(machine.rows[:, kernel.WINDOW].max())
    # Two queues, and what is active: at most one for each time that its bank was opened.
    places = 2 * queue + max(queue, banks) + 1
    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        floor=np.zeros(kernel.USES, np.int64),
        ready=np.zeros((kernel.USES, banks), np.int64),
        history=np.full((len(machine.rows), banks, windows), -kernel.NEVER, np.int64),
        rings=np.zeros((len(machine.rows), banks), np.int64),
        banks=np.zeros((4, banks), np.int64),
        ends=np.full((2, 3, banks), -1, np.int64),
        sizes=np.zeros(3, np.int64),
        keys=np.full((3, kernel.NEEDS, banks), kernel.NEVER, np.int64),
        wait=np.zeros((3, kernel.NEEDS), np.int64),
        requests=np.zeros((places, 8), np.int64),
        free=np.arange(places),
        pending=np.zeros(BACKLOG * len(machine.scopes), np.int64),
        counts=np.zeros(kernel.USES, np.int64),
        latencies=np.zeros(kernel.LATENCIES, np.int64),
    )
    state.k[kernel.REFRESH_AT] = machine.fixed[kernel.INTERVAL]
    state.k[kernel.FREE] = places
    state.k[kernel.CLOCK_UNTIL] = -1 if machine.fixed[kernel.READ_SYNC] else kernel.NEVER
    state.banks[kernel.OPENED] = kernel.CLOSED
    return state
