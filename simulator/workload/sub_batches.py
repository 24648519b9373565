"""A decode step in two halves, of which one can be in the memory while the other is not."""

from itertools import count

from simulator.errors import InputError
from simulator.workload.graph import Workload


def sub_batches(workload: Workload) -> tuple[Workload, Workload]:
    """Return two decode steps of half the requests each.

    Of each channel every second request, the longest first; where a channel has an odd number, the
    one that is left goes to each half in turn (NeuPIMs, arXiv 2403.00579, algorithm 3, splits each
    channel in the middle). Requests without a channel are split as if they were on one.
    Raises InputError for what is no decode step, and for fewer than two requests.
    """
    if workload.of_requests is None:
        raise InputError(f"{workload.name}: only a decode step can be split in sub-batches")
    if workload.batch < 2:
        raise InputError(f"{workload.name}: sub-batches need 2 requests, got {workload.batch}")
    by_channel: dict[int | None, list[int]] = {}
    for keys, channel in requests_of(workload):
        by_channel.setdefault(channel, []).append(keys)
    halves: tuple[list[tuple[int, int | None]], ...] = ([], [])
    first = count()
    for channel, listed in by_channel.items():
        start = next(first) % 2 if len(listed) % 2 else 0
        for index, keys in enumerate(sorted(listed, reverse=True)):
            halves[(start + index) % 2].append((keys, channel))
    one, other = (workload.of_requests(half) for half in halves)
    return one, other


def requests_of(workload: Workload) -> list[tuple[int, int | None]]:
    """Return keys and channel of each request of a decode step."""
    found = next(op.attention for _, op in workload.ops() if op.attention is not None)
    return [(group.keys, group.channel) for group in found.groups for _ in range(group.requests)]
