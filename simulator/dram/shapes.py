"""What one channel of a memory sees of an access, in whole numbers.

Plain functions without Numba, so that a device is read without it; `mapping.served` compiles them.
"""

from typing import NamedTuple


class Striped(NamedTuple):
    """Channels that addresses go round every so many bytes; without any, a memory has no shapes.

    access_bytes: of a burst. stripe_bytes: of one row in each bank of a channel.
    """

    channels: int
    interleave_bytes: int
    access_bytes: int
    stripe_bytes: int


def run_bursts(s: Striped, run_bytes: int) -> int:
    """Return how many bursts of a run lie one after the other on a channel."""
    whole = -(-run_bytes // s.access_bytes)
    return max(min(whole, s.interleave_bytes // s.access_bytes), whole // s.channels)


def bursts(s: Striped, size_bytes: int, runs: int) -> int:
    """Return the bursts of an access on a channel, of one short run on those that it meets."""
    run_bytes = -(-size_bytes // runs)
    per_run = -(-run_bytes // s.access_bytes)
    least = run_bursts(s, run_bytes) if runs == 1 else 1
    return max(least, -(-runs * per_run // s.channels))


def shape(s: Striped, size_bytes: int, runs: int, columns: int) -> tuple[int, int]:
    """Return the bursts of a run on a channel, 0 where all is contiguous, and the columns.

    Runs that fill a row of every bank are as good as end to end.
    """
    run = run_bursts(s, -(-size_bytes // runs))
    if runs == 1 or columns == 1 or run * s.access_bytes >= s.stripe_bytes:
        return 0, 1
    return run, columns
