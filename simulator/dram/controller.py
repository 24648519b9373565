"""One channel of a memory: a stream of requests in, ticks, row hits, latencies and commands out.

The rules are those of `controller_kernel`. Without a trace, `repeats` jumps over what repeats.

Left out: postponed refreshes, precharges that a column command brings with it.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.dram import channel
from simulator.dram.channel import BACKLOG, Ints, Run, Trace
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
PAGES = ("open", "closed")
REFRESHES = (*channel.REFRESHES, "per_bank")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a controller is set up.

    order: "fr_fcfs" (ready first, then oldest) or "in_order", in one queue. page: rows stay "open",
    or are "closed" when no request wants them. refresh: "all_bank", "per_bank" (one after the
    other) or "none". queue: entries of each of the two queues. high, low: parts of the queue of
    writes at which writing begins and ends.
    """

    order: Literal["fr_fcfs", "in_order"] = "fr_fcfs"
    page: Literal["open", "closed"] = "open"
    refresh: Literal["all_bank", "none", "per_bank"] = "all_bank"
    queue: int = 32
    high: float = 0.8
    low: float = 0.2

    def __post_init__(self) -> None:
        """Raise InputError for what is unknown or out of range, all at once."""
        problems = [
            f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
            for name, known in (("order", ORDERS), ("page", PAGES), ("refresh", REFRESHES))
            if getattr(self, name) not in known
        ]
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
    does not fit the standard, fewer than one request, one that is not of channel 0, and refresh
    bank by bank of a standard without.
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

    machine = machine_of(standard, settings or Settings())
    state, (period, moved) = state_of(machine), repeats
    repeated = 0 < period <= channel.BLOCK
    step = ceil(PERIOD / period) * period if repeated else channel.BLOCK
    search = Repeats(machine, period, moved, standard.levels["Row"])
    start = 0
    while start < requests:
        count = min(step, requests - start)
        block, last = blocks(start, count), start + count == requests
        channel.serve(kernel, standard, (machine, state), block, last, trace)
        start = int(state.k[kernel.OFFERED])
        if repeated and start < requests:
            # At least one is left to offer, so that the stream ends as it would.
            start += search.skip(state, requests - start - 1)
    return run_of(standard, machine, state)


def run_of(standard: Standard, machine: "Machine", state: "State") -> Run:
    """Return what a channel did that has done all."""
    from simulator.dram import controller_kernel as kernel

    ranks = len(np.unique(machine.nodes[:, machine.fixed[kernel.RANK_LEVEL]]))
    k, still_open = state.k, np.count_nonzero(state.banks[kernel.OPEN_BANKS])
    active = k[kernel.ACTIVE_TICKS] + still_open * (k[kernel.LAST] + 1)
    commands = zip(machine.commands.tolist(), state.counts.tolist(), strict=True)
    fields = channel.summary(kernel, standard, state, commands, int(active), ranks)
    return Run(requests=int(k[kernel.DONE]), **fields)


def machine_of(standard: Standard, settings: Settings) -> "Machine":
    """Return a channel for the kernel; InputError where it has no refresh bank by bank."""
    from simulator.dram import controller_kernel as kernel

    if settings.refresh == "per_bank" and standard.bank_refresh is None:
        raise InputError(f"{standard.name} has no bank_refresh, which refresh per_bank needs")
    table = tables(standard)
    uses = _uses(table, settings.refresh)
    banks = np.arange(standard.banks_per_channel)
    spans = len(banks) // np.cumprod([1, *table.counts[1:]])
    nodes = banks[:, None] // spans * spans
    rows, starts = _rows(table, uses, spans)
    scopes, at_once, span, interval = _refreshed(table, settings.refresh, nodes, spans)
    fixed = {
        kernel.QUEUE: settings.queue,
        # More than high, fewer than low, as whole requests.
        kernel.HIGH: floor(settings.high * settings.queue),
        kernel.LOW: ceil(settings.low * settings.queue),
        kernel.TWO_BUSES: standard.buses != "one",
        kernel.IN_ORDER: settings.order == "in_order",
        kernel.READ_LATENCY: table.read_latency_ticks,
        kernel.INTERVAL: interval,
        kernel.READ_SYNC: table.sync_read_ticks,
        kernel.WRITE_SYNC: table.sync_write_ticks,
        kernel.OPEN_WITHIN: table.open_within_ticks,
        kernel.RANK_LEVEL: table.refresh_level,
        kernel.REFRESHED_BANKS: span,
        kernel.REFRESHED_AT_ONCE: at_once,
        kernel.CLOSED_PAGE: settings.page == "closed",
    }
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes=nodes,
        rows=rows,
        starts=starts,
        commands=uses,
        scopes=scopes,
    )


def _refreshed(table: Tables, refresh: str, nodes: Ints, spans: Ints) -> tuple[Ints, int, int, int]:
    """Return first banks of what is refreshed, how many are at once, of how many banks, and when.

    Bank by bank, one bank of each instance of a level has its turn, the same one in all.
    """
    if refresh == "per_bank":
        firsts = np.unique(nodes[:, table.bank_refresh_level])
        turns = np.arange(spans[table.bank_refresh_level])
        scopes = (turns[:, None] + firsts).ravel()
        return scopes, len(firsts), 1, table.bank_refresh_interval_ticks
    scopes, span = np.unique(nodes[:, table.refresh_level]), int(spans[table.refresh_level])
    return scopes, len(scopes), span, table.refresh_interval_ticks if refresh != "none" else 0


def _uses(table: Tables, refresh: str) -> Ints:
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
        if role == CLOSE and table.scopes[command] == table.refresh_level and refresh != "none":
            uses[kernel.CLOSE_ALL] = command
    if refresh == "all_bank":
        uses[kernel.REFRESH] = table.refresh_command
    if refresh == "per_bank":
        uses[kernel.REFRESH], uses[kernel.CLOSE_ALL] = (
            table.bank_refresh_command,
            uses[kernel.CLOSE],
        )
    return uses


def _rows(table: Tables, uses: Ints, spans: Ints) -> tuple[Ints, Ints]:
    """Return the rows between commands that are used, by the use before, and their starts.

    Rows of instances with the same banks, as a channel and its only rank, become one, as do a row
    without a window and one with.
    """
    from simulator.dram import controller_kernel as kernel

    merged: dict[tuple[int, int, int, int], dict[int, int]] = {}
    banks = spans.tolist()
    for level, use, then, ticks, window, sibling in channel.rows_between(table, uses):
        # The outermost level with these banks; of siblings, the level itself.
        outer = level if sibling else banks.index(banks[level])
        around = banks[level - 1] if sibling else 0
        # Levels inside of what a command addresses have no say.
        if level <= table.scopes[uses[then]]:
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


def state_of(machine: "Machine") -> "State":
    """Return a channel that has done nothing yet."""
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
        banks=np.zeros((kernel.BANK_FIELDS, banks), np.int64),
        ends=np.full((2, 3, banks), -1, np.int64),
        sizes=np.zeros(3, np.int64),
        keys=np.full((3, kernel.NEEDS, banks), kernel.NEVER, np.int64),
        wait=np.zeros((3, kernel.NEEDS), np.int64),
        requests=np.zeros((places, 8), np.int64),
        free=np.arange(places),
        pending=np.zeros(BACKLOG * machine.fixed[kernel.REFRESHED_AT_ONCE], np.int64),
        counts=np.zeros(kernel.USES, np.int64),
        latencies=np.zeros(kernel.LATENCIES, np.int64),
    )
    state.k[kernel.STOP_AT] = kernel.NEVER
    state.k[kernel.REFRESH_AT] = machine.fixed[kernel.INTERVAL] or kernel.NEVER
    state.k[kernel.FREE] = places
    state.k[kernel.CLOCK_UNTIL] = -1 if machine.fixed[kernel.READ_SYNC] else kernel.NEVER
    state.banks[kernel.OPENED] = kernel.CLOSED
    return state
