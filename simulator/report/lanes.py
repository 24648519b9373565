"""Lanes for busy intervals that overlap on one unit, so that each can be seen."""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from simulator.results import Intervals


def lanes(intervals: Intervals) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lane of each interval and the lanes that its group of overlapping ones needs.

    Intervals of one unit that overlap get different lanes, the lowest free one each; a group is a
    set of intervals that hang together by overlaps. Without overlap the answer is (0, 1).
    """
    lane = np.zeros(len(intervals), dtype=np.int64)
    count = np.ones(len(intervals), dtype=np.int64)
    order = np.lexsort((intervals.op, intervals.start_ps, intervals.unit))
    for rows in np.split(order, np.flatnonzero(np.diff(intervals.unit[order])) + 1):
        _assign(intervals, rows, lane, count)
    return lane, count


def _assign(
    intervals: Intervals,
    rows: NDArray[np.int64],
    lane: NDArray[np.int64],
    count: NDArray[np.int64],
) -> None:
    """Give lanes to the intervals `rows` of one unit, which are ordered by start."""
    running: list[tuple[int, int]] = []
    free: list[int] = []
    group: list[int] = []
    used = 0
    starts, ends = intervals.start_ps[rows].tolist(), intervals.end_ps[rows].tolist()
    for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
        while running and running[0][0] <= start:
            heappush(free, heappop(running)[1])
        if not running:
            count[group] = used
            free, group, used = [], [], 0
        if not free:
            heappush(free, used)
            used += 1
        lane[row] = heappop(free)
        heappush(running, (end, int(lane[row])))
        group.append(row)
    count[group] = used
