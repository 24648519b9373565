"""Places for busy intervals that overlap on one unit, so that each can be seen."""

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from simulator.results import Intervals


@dataclass(frozen=True)
class Stack:
    """The place of an interval in the row of its unit: it shares the height with what overlaps it.

    From `edges_ps[i]` to `edges_ps[i + 1]` it reaches from `low[i]` to `high[i]`, 0 to 1.
    """

    edges_ps: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def stacks(intervals: Intervals) -> list[Stack]:
    """Return the place of each interval; at any time, those of one unit share its whole height."""
    found: dict[int, Stack] = {}
    order = np.lexsort((intervals.op, intervals.start_ps, intervals.unit))
    for rows in np.split(order, np.flatnonzero(np.diff(intervals.unit[order])) + 1):
        start = intervals.start_ps[rows]
        end = np.maximum(intervals.end_ps[rows], start + 1)
        marks = np.unique(np.concatenate([start, end]))
        active = (start[:, None] <= marks[:-1]) & (end[:, None] > marks[:-1])
        count = np.maximum(active.sum(axis=0), 1)
        below = active.cumsum(axis=0) - active
        for place, row in enumerate(rows.tolist()):
            spans = np.flatnonzero(active[place])
            low, high = below[place, spans], below[place, spans] + 1
            # Spans of one place are one.
            new = np.ones(len(spans), dtype=bool)
            new[1:] = (np.diff(low / count[spans]) != 0) | (np.diff(high / count[spans]) != 0)
            kept = spans[new]
            edges = np.append(marks[kept], marks[spans[-1] + 1])
            found[row] = Stack(edges, low[new] / count[kept], high[new] / count[kept])
    return [found[row] for row in range(len(intervals))]


def lanes(intervals: Intervals) -> NDArray[np.int64]:
    """Return the lane of each interval: the lowest free one where intervals of a unit overlap."""
    lane = np.zeros(len(intervals), dtype=np.int64)
    order = np.lexsort((intervals.op, intervals.start_ps, intervals.unit))
    for rows in np.split(order, np.flatnonzero(np.diff(intervals.unit[order])) + 1):
        _assign(intervals, rows, lane)
    return lane


def _assign(intervals: Intervals, rows: NDArray[np.int64], lane: NDArray[np.int64]) -> None:
    """Give lanes to the intervals `rows` of one unit, which are ordered by start."""
    running: list[tuple[int, int]] = []
    free: list[int] = []
    used = 0
    starts, ends = intervals.start_ps[rows].tolist(), intervals.end_ps[rows].tolist()
    for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
        while running and running[0][0] <= start:
            heappush(free, heappop(running)[1])
        if not free:
            heappush(free, used)
            used += 1
        lane[row] = heappop(free)
        heappush(running, (end, int(lane[row])))
