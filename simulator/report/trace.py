"""Trace of a result in the Chrome trace event format, as read by Perfetto and chrome://tracing.

One process is the device and one thread a unit; each busy interval is a complete event (`ph: X`)
with the numbers of its op as arguments. Times are in microseconds, as the format asks. Viewers
require that slices of a thread nest, so where intervals of a unit overlap, the unit gets a further
thread for each lane. Format: "Trace Event Format", Google, section "Complete Events".
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.report.lanes import lanes
from simulator.results import OpRecord, Result, write_atomically

_PROCESS = 1


def trace_events(result: Result) -> Iterator[dict[str, Any]]:
    """Yield the metadata events, then one complete event per interval, ordered by start.

    A traced run gives an event for every tile, another one for every op on every unit.
    """
    intervals = result.intervals if result.tiles is None else result.tiles
    lane = lanes(intervals)
    keys = list(zip(intervals.unit.tolist(), lane.tolist(), strict=True))
    threads = {(index, 0) for index in range(len(result.units))} | set(keys)
    ids = {key: number for number, key in enumerate(sorted(threads), start=1)}
    yield _metadata("process_name", 0, result.device)
    for (unit, number), thread in ids.items():
        name = result.units[unit].name
        yield _metadata("thread_name", thread, f"{name} ({number + 1})" if number else name)
    columns = zip(
        keys,
        intervals.op.tolist(),
        intervals.start_ps.tolist(),
        intervals.end_ps.tolist(),
        intervals.busy_ps.tolist(),
        strict=True,
    )
    arguments = [_arguments(record) for record in result.records]
    for key, op, start, end, busy in sorted(columns, key=lambda row: (row[2], row[0], row[1])):
        yield {
            "ph": "X",
            "pid": _PROCESS,
            "tid": ids[key],
            "name": result.records[op].name,
            "cat": result.records[op].kind,
            "ts": start / 1e6,
            "dur": (end - start) / 1e6,
            "args": {**arguments[op], "busy_us": busy / 1e6},
        }


def write_trace(result: Result, path: str | Path) -> Path:
    """Write the trace of `result` as one JSON object to `path`; return the path.

    Raises:
        InputError: the file cannot be written.
    """
    trace = {
        "displayTimeUnit": "ns",
        "otherData": {
            "workload": result.workload,
            "rung": result.rung,
            "version": result.provenance.version,
            "result": result.content_hash,
        },
        "traceEvents": list(trace_events(result)),
    }
    return write_atomically(path, (json.dumps(trace, separators=(",", ":")) + "\n").encode())


def _metadata(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": thread, "name": what, "args": {"name": name}}


def _arguments(record: OpRecord) -> dict[str, Any]:
    return {
        "segment": record.segment,
        "layer": record.layer,
        "macs_useful": record.macs_useful,
        "macs_issued": record.macs_issued,
        "dram_bytes_read": record.bytes_read,
        "dram_bytes_written": record.bytes_written,
        "energy_j": record.energy_j,
        "bound_by": record.bound_by,
    }
