"""Jumping over what repeats: a channel that is again where it was will do the same again.

A regular stream repeats after a number of requests, its rows moved on (`streams.period`). If the
whole state of the channel is then that of before, but for time, rows and the numbers of requests,
everything that follows is that of before too, and any number of such rounds is added up at once.
It is compared every few hundred requests, and whenever the next refresh is as far off as it was.
The result is that of the scheduler, to the tick, because it is compared and not assumed.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.dram import controller_kernel as kernel

if TYPE_CHECKING:
    from simulator.dram.controller_kernel import Machine, State

Ints = NDArray[np.int64]
#: Scalars of the state that are ticks, and that count. `ACTIVE_TICKS` is without what is open,
#: which is the same each time.
_TICKS = [kernel.TICK, kernel.NEXT, kernel.LAST, kernel.REFRESH_AT, kernel.LAST_READ]
_TICKS += [kernel.CLOCK_UNTIL, kernel.STOP_AT]
_COUNTS = [kernel.DONE, kernel.HITS, kernel.MISSES, kernel.CONFLICTS, kernel.LATENCY_SUM]
_COUNTS += [kernel.READS_DONE, kernel.ACTIVE_TICKS, kernel.OFFERED]


class Repeats:
    """What a channel was like at some multiple of a period of its stream.

    rows: how many a bank has; moved: rows by which a period moves on; period: its requests.
    """

    def __init__(self, machine: "Machine", period: int, moved: int, rows: int) -> None:
        """Start without anything to compare with."""
        self._machine, self._period, self._moved, self._rows = machine, period, moved, rows
        self._outlined, self._seen, self._periods, self._next = list[int](), b"", 0, 1
        self._counts, self._tick = np.zeros(0, np.int64), 0

    def skip(self, state: "State", left: int) -> int:
        """Move a channel on by whole rounds, at most `left` requests; return how many it moved.

        The state must be at a multiple of the period. It is compared with one earlier state, taken
        at powers of two (Brent's search for a cycle), so memory is bounded.
        """
        k, periods = state.k, int(state.k[kernel.OFFERED]) // self._period
        outline = self._outline(state)
        if outline == self._outlined and self._image(state, periods) == self._seen:
            requests = (periods - self._periods) * self._period
            rounds = left // requests
            if rounds:
                ticks = int(k[kernel.TICK]) - self._tick
                self._move(state, rounds * (_counts(state) - self._counts), rounds * ticks)
            return rounds * requests
        if periods >= self._next:
            self._outlined, self._seen = outline, self._image(state, periods)
            self._counts, self._tick = _counts(state), int(k[kernel.TICK])
            self._periods, self._next = periods, 2 * periods
            # Only where as much is left until the next refresh can it be the same again.
            k[kernel.STOP_AT], k[kernel.PERIOD] = k[kernel.TICK], self._period
        return 0

    def _outline(self, state: "State") -> list[int]:
        """Return a few numbers of the image that tell most states apart."""
        sizes = state.sizes.tolist()
        return [*sizes, int(state.k[kernel.LAST] - state.k[kernel.TICK]), self._left(state)]

    def _left(self, state: "State") -> int:
        """Return the ticks that are left until the next refresh, 0 without."""
        refreshes = self._machine.fixed[kernel.INTERVAL] > 0
        return int(state.k[kernel.REFRESH_AT] - state.k[kernel.TICK]) if refreshes else 0

    def _image(self, state: "State", periods: int) -> bytes:
        """Return all that what follows depends on, relative to time, row and request."""
        k, tick, row = state.k, int(state.k[kernel.TICK]), periods * self._moved % self._rows
        opened, half_row, since = state.banks[[kernel.OPENED, kernel.HALF_ROW, kernel.HALF_SINCE]]
        half = opened == kernel.HALF_OPEN
        first, size = int(k[kernel.REFRESH_FIRST]), len(state.pending)
        pending = [state.pending[(first + i) % size] for i in range(int(k[kernel.REFRESHES]))]
        # Ticks that have passed are all the same, but for the last one at which a request was done.
        ahead = k[[kernel.LAST_READ, kernel.CLOCK_UNTIL, kernel.NEXT]]
        parts = [
            [k[kernel.WRITING], k[kernel.REFRESH_NEXT], self._left(state), k[kernel.LAST] - tick],
            np.where(ahead < kernel.NEVER, np.maximum(ahead - tick, 0), kernel.NEVER),
            np.maximum(state.floor - tick, 0),
            np.maximum(state.ready - tick, 0),
            self._windows(state, tick),
            np.where(opened >= 0, (opened - row) % self._rows, opened),
            np.where(half, (half_row - row) % self._rows, 0),
            np.where(half, since - tick, 0),
            state.banks[kernel.BUSY],
            self._live(state, tick, row),
            pending,
        ]
        return b"|".join(np.asarray(part, np.int64).tobytes() for part in parts)

    def _windows(self, state: "State", tick: int) -> Ints:
        """Return the issue times of rows with windows, oldest first, none older than matters."""
        parts = [np.zeros(0, np.int64)]
        for index, row in enumerate(self._machine.rows):
            window = int(row[kernel.WINDOW])
            if window > 1:
                order = (state.rings[index][:, None] + np.arange(window)) % window
                times = np.take_along_axis(state.history[index], order, axis=1) - tick
                parts.append(np.maximum(times, -row[kernel.WINDOW_TICKS]).ravel())
        return np.concatenate(parts)

    def _live(self, state: "State", tick: int, row: int) -> Ints:
        """Return the requests in the lists, oldest first."""
        taken = np.ones(len(state.requests), np.bool_)
        taken[state.free[: state.k[kernel.FREE]]] = False
        active = np.zeros(len(taken), np.int64)
        for slot in state.ends[0, kernel.ACTIVE].tolist():
            while slot >= 0:
                active[slot] = 1
                slot = int(state.requests[slot, kernel.FOLLOWER])
        live = np.column_stack([state.requests[taken], active[taken]])
        live = live[np.argsort(live[:, kernel.REQUEST])]
        live[:, kernel.REQUEST] -= state.k[kernel.OFFERED]
        live[:, kernel.ARRIVAL] -= tick
        live[:, kernel.ROW] = (live[:, kernel.ROW] - row) % self._rows
        live[:, kernel.FOLLOWER] = 0
        return live

    def _move(self, state: "State", counts: Ints, ticks: int) -> None:
        """Add counts, and move on time, rows and the numbers of requests."""
        k, scalars = state.k, len(_COUNTS)
        requests = int(counts[scalars - 1])
        rows = requests // self._period * self._moved
        k[_COUNTS] += counts[:scalars]
        state.counts[:] += counts[scalars : scalars + kernel.USES]
        state.latencies[:] += counts[scalars + kernel.USES :]
        k[_TICKS] = np.where(k[_TICKS] < kernel.NEVER, k[_TICKS] + ticks, k[_TICKS])
        for times in (state.floor, state.ready, state.history, state.banks[kernel.HALF_SINCE]):
            times += ticks
        state.requests[:, kernel.ARRIVAL] += ticks
        state.requests[:, kernel.REQUEST] += requests
        state.keys[state.keys < kernel.NEVER] += requests << kernel.SLOT_BITS
        state.wait[:] = 0
        opened = state.banks[kernel.OPENED]
        opened[opened >= 0] = (opened[opened >= 0] + rows) % self._rows
        for each in (state.banks[kernel.HALF_ROW], state.requests[:, kernel.ROW]):
            each[:] = (each + rows) % self._rows


def _counts(state: "State") -> Ints:
    return np.concatenate([state.k[_COUNTS], state.counts, state.latencies])
