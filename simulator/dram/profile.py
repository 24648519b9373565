"""How long accesses take in a memory: a constant, or one for each shape of stream of its channels.

A shape is a direction, the bursts of a run on one channel, and the runs between two of them (or
that they lie anywhere). When one is first asked for, the controller serves it alone, command by
command, with refresh. Several streams at a time are in no shape: how far the constants are off
there is what experiments/memory_profile shows.
"""

from dataclasses import dataclass, replace

from simulator.dram.channels import Access, Channels, Shape
from simulator.dram.standard import Standard

#: Requests from which a constant is made, at least three refreshes; of contiguous streams more.
REQUESTS, CONTIGUOUS = 1 << 14, 1 << 17
#: Parts of them, at whose ends a measurement may start and end.
SHARES = 1 << 8
#: Accesses that are contiguous: what the rates of reads and writes are named after.
LONG = (Access(False, 1 << 30, 1, 1), Access(True, 1 << 30, 1, 1))


@dataclass(frozen=True)
class Profile:
    """What a memory sustains, and the time from a request to its data.

    least_ps_per_byte: of the best stream, all channels together. latency_ps: of a read that waits
    for nobody. shapes: None where all take the least.
    """

    least_ps_per_byte: float
    latency_ps: int
    shapes: "Shapes | None" = None

    def ps_per_byte(self, access: Access) -> float:
        """Return the ps that a byte of an access takes."""
        if self.shapes is None:
            return self.least_ps_per_byte
        return max(self.least_ps_per_byte, self.shapes.ps_per_byte(access))

    def ps(self, access: Access) -> float:
        """Return the ps that an access takes."""
        return access.size_bytes * self.ps_per_byte(access)

    def at_least(self, ps_per_byte: float) -> "Profile":
        """Return a profile in which no stream is faster than that."""
        if ps_per_byte <= self.least_ps_per_byte:
            return self
        return replace(self, least_ps_per_byte=ps_per_byte)


_SHAPES: dict[tuple[object, ...], "Shapes"] = {}
_SERVED: dict[tuple[object, ...], dict[Shape, float]] = {}


def profile_of(channels: Channels) -> Profile:
    """Return the profile of a memory; what equal channels sustain is found once in a process."""
    channel = channels.alike
    key = (*channel, channels.channels, channels.interleave_bytes)
    if key not in _SHAPES:
        _SHAPES[key] = Shapes(channels, _SERVED.setdefault(channel, {}))
    shapes = _SHAPES[key]
    least = min(map(shapes.ps_per_byte, LONG))
    return Profile(least, unloaded_ps(channels.standard) + channels.latency_ps, shapes)


def unloaded_ps(standard: Standard) -> int:
    """Return the time of a read that finds its bank closed and nothing else to do."""
    opens = [*standard.with_role("open_first"), *standard.with_role("open")]
    (read,) = standard.with_role("read")
    opening = max(
        row.ticks
        for row in standard.constraints
        if read in row.after and set(opens) & set(row.before) and not row.sibling
    )
    return (opening + standard.read_latency_ticks) * standard.tick_ps


class Shapes:
    """The shapes of a memory's streams that were asked for so far."""

    def __init__(self, channels: Channels, served: dict[Shape, float]) -> None:
        """Start with what equal channels served: ps of a burst."""
        self._channels, self._served = channels, served

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._served)

    def known(self) -> dict[Shape, float]:
        """Return the ps of a burst of the shapes that were asked for."""
        return dict(self._served)

    def burst_ps(self, shape: Shape) -> float:
        """Return the ps of a burst of a shape."""
        if shape not in self._served:
            self._served[shape] = _burst_ps(self._channels, shape)
        return self._served[shape]

    def ps_per_byte(self, access: Access) -> float:
        """Return the ps of a byte; what is smaller than a burst takes a burst."""
        channels = self._channels
        return self.burst_ps(channels.shape(access)) * channels.bursts(access) / access.size_bytes


def _burst_ps(channels: Channels, shape: Shape) -> float:
    """Serve a shape on one channel; return the ps of a burst between two refreshes."""
    from simulator.dram.transfers import of_streams
    from simulator.dram.transfers_kernel import serve

    standard = channels.standard
    requests = REQUESTS if shape.run_bursts else CONTIGUOUS
    # More rows than are asked for: a stream goes on below its last block anyway.
    stream = channels.stream(shape, requests * max(1, shape.columns))
    served, ends = of_streams(channels, [stream], [requests]), [0]
    for share in range(SHARES):
        ends.append(serve(served, 0, 1, share, SHARES, ends[-1]))
    first, last = _window(ends, standard.refresh.interval_ticks * standard.tick_ps)
    return (ends[last] - ends[first]) / (requests * (last - first) // SHARES)


def _window(ends_ps: list[int], interval_ps: int) -> tuple[int, int]:
    """Return the parts after the first interval and after the last whole one, by when they end."""
    whole = ends_ps[-1] // interval_ps
    if whole < 2:
        return 0, len(ends_ps) - 1

    def nearest(time: int) -> int:
        return min(range(len(ends_ps)), key=lambda part: abs(ends_ps[part] - time))

    return nearest(interval_ps), nearest(whole * interval_ps)
