"""Transfers between a device and its channels, command by command.

One channel stands for all, which have equal shares of every access. Accesses lie one after the
other through the capacity, each from another bank on, as an allocator or a hash of addresses
spreads them. The channel starts with closed rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from simulator.dram import controller, controller_kernel
from simulator.dram.channel import Run
from simulator.dram.channels import Access, Channels
from simulator.dram.controller_kernel import (
    INTERVAL,
    NEVER,
    REFRESH,
    REFRESH_AT,
    REFRESHED_AT_ONCE,
    Machine,
    State,
)
from simulator.dram.streams import Stream, Strided, block_tables
from simulator.dram.streams_kernel import COUNT, SEED
from simulator.dram.transfers_kernel import Transfers

#: Loops of a stream at most, and requests that a controller is handed at once.
LOOPS, BLOCK = 4, 1 << 12
#: Entries of `StreamTables.numbers`.
NUMBERS = SEED + 1
PS_PER_S = 10**12


def transfers(
    channels: Channels, accesses: Sequence[Access], since_refresh: float = 0.5
) -> Transfers:
    """Return a channel that has done nothing yet, and the streams of all accesses.

    since_refresh: intervals since the last refresh, from 0 to below 1.
    """
    bursts = [channels.bursts(access) for access in accesses]
    streams = [
        channels.stream(channels.shape(access), count, base)
        for access, count, base in zip(accesses, bursts, _bases(channels, bursts), strict=True)
    ]
    return of_streams(channels, streams, bursts, since_refresh)


def of_streams(
    channels: Channels,
    streams: Sequence[Stream],
    bursts: Sequence[int],
    since_refresh: float = 0.5,
) -> Transfers:
    """Return a channel that has done nothing yet, and streams of so many bursts each."""
    standard = channels.standard
    machine = controller.machine_of(standard, channels.settings)
    state = controller.state_of(machine)
    if state.k[REFRESH_AT] < NEVER:
        state.k[REFRESH_AT] -= int(since_refresh * state.k[REFRESH_AT])
    tables = [block_tables(stream, standard) for stream in streams]
    order = block_tables(Strided(channels.order, standard.access_bytes), standard)
    loops = np.zeros((len(tables), LOOPS, 2), np.int64)
    # Loops that a stream lacks go round once.
    loops[:, :, COUNT] = 1
    for row, table in zip(loops, tables, strict=True):
        row[LOOPS - len(table.loops) :] = table.loops
    return Transfers(
        machine=tuple(machine),
        state=tuple(state),
        numbers=np.array([table.numbers for table in tables], np.int64).reshape(-1, NUMBERS),
        digits=order.digits,
        loops=loops,
        bursts=np.array(bursts, np.int64),
        tick_ps=standard.tick_ps,
        burst_ps=standard.access_bytes * PS_PER_S / standard.peak_bytes_per_s,
        block=np.zeros((BLOCK, 5), np.int64),
        trace=np.zeros((0, 5), np.int64),
    )


def drained(channels: Channels, t: Transfers, until_ps: int = 0) -> Run:
    """Wait for what is still queued; return what the channel did in all.

    until_ps: if that is later, ranks stand by until then, and are refreshed when that is due.
    """
    machine, state = Machine(*t.machine), State(*t.state)
    controller_kernel.advance(*machine, *state, t.block[:0], True, t.trace)
    run = controller.run_of(channels.standard, machine, state)
    idle = until_ps // t.tick_ps - run.ticks
    if idle <= 0:
        return run
    commands, interval = dict(run.commands), int(machine.fixed[INTERVAL])
    if interval and (late := run.ticks + idle - int(state.k[REFRESH_AT])) >= 0:
        name = list(channels.standard.commands)[machine.commands[REFRESH]]
        due = (1 + late // interval) * int(machine.fixed[REFRESHED_AT_ONCE])
        commands[name] = commands.get(name, 0) + due
    ranks = (run.active_ticks + run.idle_ticks) // max(1, run.ticks)
    return replace(
        run, ticks=run.ticks + idle, idle_ticks=run.idle_ticks + ranks * idle, commands=commands
    )


def _bases(channels: Channels, bursts: Sequence[int]) -> list[int]:
    """Return where each access starts in a channel, around the capacity.

    Each starts another part of a stripe, a row of every bank, further on: in turn 0, 5, 2, 7, 4,
    1, 6, 3 eighths.
    """
    burst, stripe = channels.standard.access_bytes, channels.stripe_bytes
    bases, end, stripes = list[int](), 0, channels.standard.capacity_bytes // stripe
    for index, count in enumerate(bursts):
        size = ceil(count * burst / stripe) + 1
        if end + size > stripes:
            end = 0
        bases.append(end * stripe + index * 5 % 8 * stripe // 8 // burst * burst)
        end += size
    return bases
