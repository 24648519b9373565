"""Op records grouped by kind: what the summary table and the roofline picture show.

Ops overlap (the weights of the next are prefetched), so two times are kept for a kind:
`advance_ps`, by how much its ops moved the end of the run, which adds up to the latency over all
kinds, and `active_ps`, during which at least one of its ops was under way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.results.records import OpRecord

if TYPE_CHECKING:
    from simulator.results.result import Result


@dataclass(frozen=True, kw_only=True)
class KindRow:
    """All ops of one kind: sums over them, and the resource that bound most of their time.

    `bound_share` is the share of the op time (windows summed) that `bound_by` bounds.
    """

    kind: str
    count: int
    advance_ps: int
    active_ps: int
    macs_useful: int
    macs_issued: int
    bytes_moved: int
    energy_j: float
    bound_by: str
    bound_share: float


def by_kind(result: "Result") -> tuple[KindRow, ...]:
    """Group the ops of `result` by kind, in the order of their first appearance."""
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(result.records):
        groups.setdefault(record.kind, []).append(index)
    advance = _advance(result.records)
    windows = _windows(result)
    return tuple(_row(result, kind, members, advance, windows) for kind, members in groups.items())


def _row(
    result: "Result",
    kind: str,
    members: list[int],
    advance: list[int],
    windows: list[tuple[int, int]],
) -> KindRow:
    records = [result.records[index] for index in members]
    bound_by, bound_share = _majority(records)
    return KindRow(
        kind=kind,
        count=sum(record.count for record in records),
        advance_ps=sum(advance[index] for index in members),
        active_ps=_covered(windows[index] for index in members),
        macs_useful=sum(record.macs_useful for record in records),
        macs_issued=sum(record.macs_issued for record in records),
        bytes_moved=sum(record.bytes_moved for record in records),
        energy_j=sum(record.energy_j for record in records),
        bound_by=bound_by,
        bound_share=bound_share,
    )


def _advance(records: tuple[OpRecord, ...]) -> list[int]:
    """Return by how much each op moved the latest end, in the order of the ends."""
    advance = [0] * len(records)
    latest = 0
    for index in sorted(range(len(records)), key=lambda index: records[index].end_ps):
        advance[index] = records[index].end_ps - latest
        latest = records[index].end_ps
    return advance


def _windows(result: "Result") -> list[tuple[int, int]]:
    """Return when each op was under way: its own window widened to its intervals."""
    start = np.array([record.start_ps for record in result.records], dtype=np.int64)
    end = np.array([record.end_ps for record in result.records], dtype=np.int64)
    np.minimum.at(start, result.intervals.op, result.intervals.start_ps)
    np.maximum.at(end, result.intervals.op, result.intervals.end_ps)
    return list(zip(start.tolist(), end.tolist(), strict=True))


def _covered(windows: Iterable[tuple[int, int]]) -> int:
    """Return the length of the union of `windows`."""
    covered = 0
    latest = 0
    for start, end in sorted(windows):
        covered += max(0, end - max(start, latest))
        latest = max(latest, end)
    return covered


def _majority(records: list[OpRecord]) -> tuple[str, float]:
    """Return the bound with most op time, and its share of the op time of the kind."""
    time: dict[str, int] = {}
    for record in records:
        time[record.bound_by] = time.get(record.bound_by, 0) + record.latency_ps
    total = sum(time.values())
    name = min(time, key=lambda name: (-time[name], name))
    return name, time[name] / total if total else 1.0
