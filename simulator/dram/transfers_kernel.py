"""Transfers on one channel as compiled code: shares of streams, each from some tick on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram import controller_kernel, mapping, streams_kernel
from simulator.dram.controller_kernel import DONE, NOT_BEFORE, OFFERED, STUCK, TICK, advance
from simulator.dram.streams_kernel import fill_block
from simulator.kernels import compiled

Ints = NDArray[np.int64]


class Transfers(NamedTuple):
    """A channel in the middle of its work, and the streams that it serves parts of.

    machine, state: the arrays of the controller's `Machine` and `State`. numbers (streams, 6),
    loops (streams, loops, 2), digits: as in `StreamTables`, digits for all. bursts: of each stream.
    tick_ps: of the channel; burst_ps: what a burst takes by its peak. block: room for some
    requests. trace: room for none.
    """

    machine: tuple[Any, ...]
    state: tuple[Any, ...]
    numbers: Ints
    digits: Ints
    loops: Ints
    bursts: Ints
    tick_ps: int
    burst_ps: float
    block: Ints
    trace: Ints


@compiled(controller_kernel, streams_kernel, mapping)
def serve(t: Transfers, first: int, end: int, share: int, shares: int, time_ps: int) -> int:
    """Offer a share of the streams `first` to `end` - 1, one after the other, from a time on.

    Of each stream, share i of n begins where share i - 1 ended. Returns when the last burst was
    taken, which may then wait in the queue, but no sooner than by `burst_ps`; -1 where nothing can
    move.
    """
    k, moved = t.state[0], 0
    k[NOT_BEFORE] = time_ps // t.tick_ps + 1
    for stream in range(first, end):
        start = t.bursts[stream] * share // shares
        stop = t.bursts[stream] * (share + 1) // shares
        while start < stop:
            some = min(stop - start, t.block.shape[0])
            block = t.block[:some]
            fill_block(t.numbers[stream], t.digits, t.loops[stream], start, block)
            arguments = (*t.machine, *t.state, block, False, t.trace)
            if advance(*arguments) == STUCK:
                return -1
            start += some
            moved += some
    least = time_ps + int(np.ceil(moved * t.burst_ps))
    return max(least, k[TICK] * t.tick_ps) if moved else time_ps


@compiled(controller_kernel, streams_kernel, mapping)
def queued_ps(t: Transfers) -> int:
    """Return how long the bursts that were taken and are not done take at the peak."""
    k = t.state[0]
    return int(np.ceil((k[OFFERED] - k[DONE]) * t.burst_ps))
