"""Reads and writes of others beside a program of groups: a stream of `dram.streams`, at a pace.

A stream is of any kind that a controller takes, by name or written out. Requests come evenly, at a
share of the most that a channel can read, and lie from a row on, apart from those of the program.
"""

import numpy as np

from simulator.dram.pim.grouped import Ints
from simulator.dram.pim.grouped_part import GroupedPim
from simulator.dram.streams import Stream, addresses, named_stream
from simulator.errors import InputError

PS_PER_S = 10**12


def paced(
    part: GroupedPim, stream: Stream | str, ticks: int, *, load: float, first_row: int | None = None
) -> Ints:
    """Return the requests of a stream that come in so many ticks, as `grouped` has them.

    load: share of the most that a channel reads at which they come; one at the least. first_row:
    that stands for row 0 of the stream, by default the first of the upper half; after the last row
    it starts there again. Raises InputError for an unknown stream, a load that is not above 0 and
    at most 1, ticks below 1 and a row that is not there.
    """
    memory, rows = part.memory, part.memory.levels["Row"]
    first = rows // 2 if first_row is None else first_row
    problems = []
    if not 0 < load <= 1:
        problems.append(f"load must be above 0 and at most 1, got {load:g}")
    if ticks < 1:
        problems.append(f"ticks must be >= 1, got {ticks}")
    if not 0 <= first < rows:
        problems.append(f"first_row must be 0 to {rows - 1}, got {first}")
    if problems:
        raise InputError(problems)
    given = named_stream(stream, memory) if isinstance(stream, str) else stream
    apart = ticks_of_burst(part) / load
    count = max(1, round(ticks / apart))
    writes, places = addresses(given, memory, 0, count)
    bank = np.ravel_multi_index(places[:, 1:-2].T, memory.counts[1:-2])
    requests = np.zeros((count, 5), np.int64)
    requests[:, 0] = np.arange(count) * apart
    requests[:, 1], requests[:, 2] = writes, bank
    requests[:, 3] = first + places[:, -2] % (rows - first)
    requests[:, 4] = places[:, -1] // memory.prefetch
    return requests


def ticks_of_burst(part: GroupedPim) -> float:
    """Return the ticks of a burst at the most that a channel reads."""
    memory = part.memory
    bursts_per_s = memory.peak_bytes_per_s / memory.access_bytes
    return PS_PER_S / bursts_per_s / memory.tick_ps
