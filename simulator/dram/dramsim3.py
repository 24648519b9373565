"""One channel of a memory under DRAMsim3's controller: as `controller`, by the other policy.

The rules are those of `dramsim3_kernel`. Writes are posted: done when they are taken. A run ends
with its last request, when some writes may wait that no command has served.

Left out: closed pages, refresh bank by bank or of all ranks at once, self-refresh, one queue for
reads and writes, command queues by rank.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.dram import channel
from simulator.dram.channel import BACKLOG, REFRESHES, Ints, Run, Trace
from simulator.dram.standard import Standard, Tables, tables
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.dramsim3_kernel import Machine, State
    from simulator.dram.streams import Stream


@dataclass(frozen=True, kw_only=True)
class Dramsim3Settings:
    """How the controller is set up.

    refresh: "all_bank" (rank after rank) or "none". queue: entries of each of the two queues of
    requests. bank_queue: those of each bank. row_uses: column commands after which a row may be
    closed before others that want it. drain_above: writes above which they drain when banks idle.
    """

    refresh: Literal["all_bank", "none"] = "all_bank"
    queue: int = 32
    bank_queue: int = 8
    row_uses: int = 4
    drain_above: int = 8

    def __post_init__(self) -> None:
        """Raise InputError for what is unknown or out of range, all at once."""
        problems = []
        if self.refresh not in REFRESHES:
            problems.append(f"refresh must be one of {', '.join(REFRESHES)}, got {self.refresh!r}")
        for name, least, most in (
            *(("queue", 1, 64), ("bank_queue", 1, 64)),
            *(("row_uses", 1, 1 << 30), ("drain_above", 0, 64)),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                problems.append(f"{name} must be {least} to {most}, got {value}")
        if problems:
            raise InputError(problems)


def run_dramsim3(
    stream: "Stream",
    standard: Standard,
    requests: int,
    settings: Dramsim3Settings | None = None,
    trace: Trace = None,
) -> Run:
    """Serve the first requests of a stream on one channel, by DRAMsim3's rules.

    Of the run, ticks: until the last request is done, the last write when it was taken. row_hits:
    column commands after another of the same opened row; row_conflicts: others for which a row was
    closed.
    trace: is given all commands, in order, block by block. Errors: InputError for a stream that
    does not fit the standard, fewer than one request, one that is not of channel 0, and a standard
    with split activations or a data clock.
    """
    blocks = channel.of_stream(stream, standard, requests)
    return _run(standard, requests, blocks, settings, trace)


def run_dramsim3_requests(
    writes: NDArray[np.bool_],
    levels: Ints,
    standard: Standard,
    settings: Dramsim3Settings | None = None,
    trace: Trace = None,
) -> Run:
    """Serve requests of which `writes` (count,) write, at `levels` (count, levels).

    As `run_dramsim3`. Levels are Channel to Column, the column the first of a burst.
    """
    blocks = channel.of_requests(writes, levels, standard)
    return _run(standard, len(writes), blocks, settings, trace)


def _run(
    standard: Standard,
    requests: int,
    blocks: channel.Blocks,
    settings: Dramsim3Settings | None,
    trace: Trace,
) -> Run:
    from simulator.dram import dramsim3_kernel as kernel

    settings = settings or Dramsim3Settings()
    machine = _machine(standard, settings)
    state = _state(machine, settings)
    rows, columns = standard.counts[-2:]
    for start in range(0, requests, channel.BLOCK):
        block = blocks(start, min(channel.BLOCK, requests - start))
        # The kernel knows a request by its place in the channel.
        block[:, 4] = (block[:, 1] * rows + block[:, 2]) * columns + block[:, 3]
        last = start + len(block) == requests
        channel.serve(kernel, standard, (machine, state), block, last, trace)
    return _summary(standard, machine, state)


def _uses(standard: Standard) -> tuple[str, ...]:
    """Return the commands that the controller uses, in the kernel's order."""
    refused = [standard.with_role("open_first"), standard.with_role("sync_read")]
    if any(refused):
        raise InputError(
            f"{standard.name}: DRAMsim3's controller has no split activation and no data clock"
        )
    closes = standard.with_role("close")
    (close,) = (name for name in closes if standard.commands[name].level == "Bank")
    (opens,), (read,) = standard.with_role("open"), standard.with_role("read")
    (write,) = standard.with_role("write")
    return (opens, close, standard.refresh.command, read, write)


def _machine(standard: Standard, settings: Dramsim3Settings) -> "Machine":
    from simulator.dram import dramsim3_kernel as kernel

    table, names = tables(standard), list(standard.commands)
    commands = np.array([names.index(name) for name in _uses(standard)], np.int64)
    counts = table.counts.tolist()
    levels, banks = range(len(counts)), np.arange(prod(counts))
    nodes = np.stack([table.offsets[i] + banks // prod(counts[i + 1 :]) for i in levels], axis=1)
    parents = np.full(int(nodes.max()) + 1, -1, np.int64)
    for level in levels[1:]:
        parents[nodes[:, level]] = nodes[:, level - 1]
    rows, starts = _rows(table, commands)
    rank_of = nodes[:, table.refresh_level] - nodes[0, table.refresh_level]
    interval = max(1, table.refresh_interval_ticks // int(rank_of[-1] + 1))
    fixed = {
        kernel.TURNS: 1 if standard.buses == "one" else 2,
        kernel.READ_LATENCY: table.read_latency_ticks,
        kernel.INTERVAL: interval if settings.refresh != "none" else 0,
        kernel.ROW_USES: settings.row_uses,
        kernel.DRAIN_ABOVE: settings.drain_above,
    }
    return kernel.Machine(
        np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes, parents, rows, starts, commands, table.buses[commands], table.cycles[commands],
        rank_of,
    )  # fmt: skip


def _rows(table: Tables, commands: Ints) -> tuple[Ints, Ints]:
    """Return the rows between commands that are used, by the one before, and their starts."""
    found = sorted(
        (use, level, then, window, ticks, sibling)
        for level, use, then, ticks, window, sibling in channel.rows_between(table, commands)
    )
    befores = [row[0] for row in found]
    starts = np.searchsorted(befores, np.arange(len(commands) + 1)).astype(np.int64)
    return np.array([row[1:] for row in found], np.int64), starts


def _state(machine: "Machine", settings: Dramsim3Settings) -> "State":
    from simulator.dram import dramsim3_kernel as kernel

    banks, nodes = len(machine.nodes), len(machine.parents)
    ranks = int(machine.rank_of[-1]) + 1
    slots = 2 * settings.queue + banks * settings.bank_queue
    uses, windows = len(machine.commands), int(machine.rows[:, kernel.WINDOW].max())
    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        ready=np.zeros((uses, nodes), np.int64),
        history=np.full((len(machine.rows), nodes, windows), -kernel.NEVER, np.int64),
        rings=np.zeros((len(machine.rows), nodes), np.int64),
        free=np.zeros(2, np.int64),
        requests=np.zeros((slots, kernel.FIELDS), np.int64),
        slots=np.arange(slots),
        waiting=np.zeros((2, settings.queue), np.int64),
        sizes=np.zeros((2, 2), np.int64),
        banks=np.zeros((4, banks), np.int64),
        ranks=np.zeros((3, ranks), np.int64),
        queues=np.zeros((banks, settings.bank_queue), np.int64),
        held=np.zeros((2, kernel.HASHES), np.int64),
        pending=np.zeros(BACKLOG * ranks, np.int64),
        followers=np.zeros((2, kernel.MOST_FOLLOWERS), np.int64),
        counts=np.zeros(uses, np.int64),
        latencies=np.zeros(kernel.LATENCIES, np.int64),
    )
    # A tick is one more than DRAMsim3's clock, which refreshes at whole intervals.
    state.k[kernel.REFRESH_AT] = machine.fixed[kernel.INTERVAL] + 1
    state.k[kernel.FREE_SLOTS] = slots
    state.banks[kernel.OPENED] = kernel.CLOSED
    state.banks[kernel.DUE] = kernel.NEVER
    return state


def _summary(standard: Standard, machine: "Machine", state: "State") -> Run:
    from simulator.dram import dramsim3_kernel as kernel

    ranks, ticks = state.ranks, int(state.k[kernel.LAST])
    still_open = ranks[kernel.OPEN_BANKS] > 0
    active = ranks[kernel.ACTIVE] + still_open * (ticks + 1 - ranks[kernel.SINCE])
    commands = zip(machine.commands.tolist(), state.counts.tolist(), strict=True)
    fields = channel.summary(kernel, standard, state, commands, int(active.sum()), len(active))
    return Run(requests=int(state.k[kernel.OFFERED]), **fields)
