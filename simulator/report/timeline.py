"""The timeline: which unit did what, and when.

The upper panel shows the whole run in bins: how much of each bin a unit worked, by op kind. The
lower panel shows one layer in detail, the middle one of the segment with the most ops: a block
from the first to the last work of a unit for an op, solid as high as the share of that time in
which the unit worked. A run of one layer (or of one GEMM) has the lower panel only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.report.lanes import Stack, stacks
from simulator.report.style import footer
from simulator.results import Intervals, Result

BINS = 280
"""Bins of the upper panel: about one per 1.5 points of paper width."""


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """The whole run in bins: `busy[unit, kind, bin]` is the share of the bin's time, 0 to 1."""

    edges_s: NDArray[np.float64]
    busy: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Work of one unit for one op.

    From `edges_s[i]` to `edges_s[i + 1]` the block reaches from `low[i]` to `high[i]` of the row of
    its unit, 0 to 1: blocks that overlap share the height.
    """

    unit: int
    kind: str
    label: str
    edges_s: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    busy_share: float


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One layer: its title, its window in the run, and the blocks that lie in the window."""

    title: str
    start_s: float
    end_s: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class TimelineInfo:
    """All that the picture shows; `coarse` is None where one layer is the whole run."""

    units: tuple[str, ...]
    kinds: tuple[str, ...]
    coarse: Coarse | None
    detail: Detail
    footer: str


def timeline_info(result: Result) -> TimelineInfo:
    """Gather the numbers of the timeline of `result`."""
    kinds = tuple(dict.fromkeys(record.kind for record in result.records))
    groups = {(record.segment, record.layer) for record in result.records}
    return TimelineInfo(
        units=tuple(unit.name for unit in result.units),
        kinds=kinds,
        coarse=_coarse(result, kinds) if len(groups) > 1 else None,
        detail=_detail(result),
        footer=footer(result),
    )


def _coarse(result: Result, kinds: Sequence[str]) -> Coarse:
    """Spread the busy time of each interval evenly over its length and cut it into bins.

    Where intervals of a unit overlap, spreading evenly can put more than a bin of work into a bin;
    such a bin is drawn as full.
    """
    intervals = result.intervals
    edges = np.linspace(0.0, float(result.latency_ps), BINS + 1)
    number = {kind: index for index, kind in enumerate(kinds)}
    kind = np.array([number[record.kind] for record in result.records], dtype=np.int64)
    instances = [unit.instances for unit in result.units]
    busy = np.zeros((len(result.units), len(kinds), BINS))
    for unit in range(len(result.units)):
        for index in range(len(kinds)):
            rows = np.flatnonzero((intervals.unit == unit) & (kind[intervals.op] == index))
            start, end = intervals.start_ps[rows], intervals.end_ps[rows]
            length = np.maximum(end - start, 1)
            done = np.clip((edges[:, None] - start) / length, 0.0, 1.0) @ intervals.busy_ps[rows]
            busy[unit, index] = np.diff(done) / (np.diff(edges) * instances[unit])
    busy /= np.maximum(busy.sum(axis=1, keepdims=True), 1.0)
    return Coarse(edges_s=edges / 1e12, busy=busy)


def _detail(result: Result) -> Detail:
    segment, layer, title = _middle_layer(result)
    start, end = _window(result, segment, layer)
    intervals = result.intervals
    inside = np.flatnonzero((intervals.end_ps > start) & (intervals.start_ps < end))
    columns = (getattr(intervals, name)[inside] for name in Intervals.columns())
    places = stacks(Intervals(*columns))
    return Detail(
        title=title,
        start_s=start / 1e12,
        end_s=end / 1e12,
        blocks=tuple(
            _block(result, row, place) for row, place in zip(inside.tolist(), places, strict=True)
        ),
    )


def _middle_layer(result: Result) -> tuple[str, int, str]:
    """Return segment, layer and title of the middle layer of the segment with most ops."""
    layers: dict[str, list[int]] = {}
    for record in result.records:
        layers.setdefault(record.segment, []).append(record.layer)
    segment = max(layers, key=lambda name: len(layers[name]))
    distinct = sorted(set(layers[segment]))
    layer = distinct[len(distinct) // 2]
    if len(distinct) == 1:
        return segment, layer, segment
    return segment, layer, f"{segment} {layer} (one of {len(distinct)})"


def _window(result: Result, segment: str, layer: int) -> tuple[int, int]:
    """Return from the end of the ops before the layer to the end of the layer.

    Work for the layer that was done ahead (prefetch) lies in the windows of the layers before.
    """
    members = [
        index
        for index, record in enumerate(result.records)
        if record.segment == segment and record.layer == layer
    ]
    before = (record.end_ps for record in result.records[: members[0]])
    return max(before, default=0), max(result.records[index].end_ps for index in members)


def _block(result: Result, row: int, place: Stack) -> Block:
    intervals = result.intervals
    unit = int(intervals.unit[row])
    record = result.records[int(intervals.op[row])]
    length = int(intervals.end_ps[row] - intervals.start_ps[row]) * result.units[unit].instances
    return Block(
        unit=unit,
        kind=record.kind,
        label=record.name.rpartition(f"layers.{record.layer}.")[2],
        edges_s=place.edges_ps / 1e12,
        low=place.low,
        high=place.high,
        busy_share=int(intervals.busy_ps[row]) / length if length else 0.0,
    )
