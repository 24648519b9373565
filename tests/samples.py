"""A synthetic result for tests of tables and pictures: a decode of a transformer, balanced books.

A list schedule of three units in order: weights stream in through `dma_in` as far ahead as they
can, `matrix` or `vector` computes once the operands are there, `dma_out` appends to the cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.results import (
    Intervals,
    OpRecord,
    Peaks,
    Provenance,
    Result,
    Spill,
    Traffic,
    UnitRecord,
)

UNITS = ("dma_in", "matrix", "vector", "dma_out")
DRAM_BYTES_PER_PS = 1
PREFETCH_PS = 60_000_000
"""How far before the start of an op its weights may be on chip."""

LAYER = (
    ("norm_attention", "norm", 0, 2),
    ("q_proj", "linear", 16, 9),
    ("k_proj", "linear", 16, 9),
    ("v_proj", "linear", 16, 9),
    ("rope", "rope", 0, 2),
    ("kv_append", "kv_append", 0, 0),
    ("qk", "qk", 40, 12),
    ("softmax", "softmax", 0, 14),
    ("pv", "pv", 40, 12),
    ("o_proj", "linear", 16, 9),
    ("residual_attention", "add", 0, 1),
    ("norm_ffn", "norm", 0, 2),
    ("gate_proj", "linear", 45, 23),
    ("up_proj", "linear", 45, 23),
    ("activation", "activation", 0, 5),
    ("down_proj", "linear", 45, 23),
    ("residual_ffn", "add", 0, 1),
)
"""Name, kind, MB read from DRAM, microseconds of computing."""

ON_MATRIX = {"linear", "qk", "pv"}


@dataclass(frozen=True)
class Task:
    """Work of one unit for one op."""

    unit: int
    op: int
    start_ps: int
    end_ps: int


def _unit_of(kind: str) -> str:
    if kind in ON_MATRIX:
        return "matrix"
    return "dma_out" if kind == "kv_append" else "vector"


def _ops(layers: int) -> list[tuple[str, int, str, str, int, int]]:
    """Return segment, layer, name, kind, bytes read, picoseconds of computing."""
    ops = [("embedding", -1, "embedding", "embedding", 65_536, 1_000_000)]
    for layer in range(layers):
        for name, kind, megabytes, microseconds in LAYER:
            ops.append(
                ("layer", layer, name, kind, megabytes * 10**6, microseconds * 10**6 + 100_000)
            )
    ops.append(("head", -1, "norm_final", "norm", 0, 2_000_000))
    ops.append(("head", -1, "lm_head", "linear", 131_000_000, 60_000_000))
    return ops


def _tasks(layers: int) -> list[Task]:
    loaded = computed = 0
    tasks = []
    for index, (_, _, _, kind, read, compute) in enumerate(_ops(layers)):
        if read:
            start = max(loaded, computed - PREFETCH_PS)
            loaded = start + read // DRAM_BYTES_PER_PS
            tasks.append(Task(UNITS.index("dma_in"), index, start, loaded))
        for part in range(4):
            ready = loaded - read * (3 - part) // 4 if read else 0
            start = max(computed, ready)
            computed = start + compute // 4
            tasks.append(Task(UNITS.index(_unit_of(kind)), index, start, computed))
    return tasks


def _unit(index: int, tasks: list[Task], latency_ps: int) -> UnitRecord:
    """Book the gaps of a unit as stalls where it computes, as idle where it moves data."""
    busy = stalled = free = 0
    for task in tasks:
        if task.unit == index:
            stalled += task.start_ps - free
            busy += task.end_ps - task.start_ps
            free = task.end_ps
    waits = UNITS[index] in {"matrix", "vector"}
    causes = {"dram": stalled - stalled // 3, "operand": stalled // 3} if waits else {}
    return UnitRecord(
        name=UNITS[index],
        busy_ps=busy,
        stall_ps=causes,
        idle_ps=latency_ps - busy - sum(causes.values()),
    )


def _record(index: int, op: tuple[str, int, str, str, int, int], tasks: list[Task]) -> OpRecord:
    segment, layer, name, kind, read, compute = op
    mine = [task for task in tasks if task.op == index]
    start = min(task.start_ps for task in mine)
    end = max(task.end_ps for task in mine)
    macs = 8 * read if kind in ON_MATRIX else 0
    written = 32_768 if kind == "kv_append" else 0
    energy = {
        "matrix": macs * 0.2e-12,
        "vector": compute * 1e-13 if kind not in ON_MATRIX else 0.0,
        "dram": (read + written) * 40e-12,
    }
    return OpRecord(
        name=name,
        kind=kind,
        segment=segment,
        layer=layer,
        unit=_unit_of(kind),
        start_ps=start,
        latency_ps=end - start,
        macs_useful=macs,
        macs_issued=macs + macs // 8 if kind in {"qk", "pv"} else macs,
        bytes_read=read,
        bytes_written=written,
        energy_j=energy["matrix"] + energy["vector"] + energy["dram"],
        bound_by="dram" if read > compute else _unit_of(kind),
        energy_by_component={name: part for name, part in energy.items() if part},
    )


def _breakdown(
    records: tuple[OpRecord, ...], traffic: Traffic, shared: Mapping[str, float]
) -> dict[str, float]:
    """Count the energy by component from the totals, not from the ops where it can be."""
    vector = sum(record.energy_by_component.get("vector", 0.0) for record in records)
    macs = sum(record.macs_useful for record in records)
    dram = traffic.bytes_sent * 40e-12
    return {"matrix": macs * 0.2e-12, "vector": vector, "dram": dram, **shared}


def _by_state(breakdown: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Hand each component to the unit that it is of; the vector unit idles."""
    return {
        "matrix": {"active": breakdown["matrix"]},
        "vector": {"active": breakdown["vector"], "idle": breakdown["idle"]},
        "dram": {"active": breakdown["dram"], "background": breakdown["dram_background"]},
        "chip": {"leakage": breakdown["leakage"]},
    }


def decode_result(layers: int = 32) -> Result:
    """Return a decode step of a model with `layers` layers on a device with four units."""
    tasks = _tasks(layers)
    latency_ps = max(task.end_ps for task in tasks)
    ops = _ops(layers)
    by_op: list[list[Task]] = [[] for _ in ops]
    for task in tasks:
        by_op[task.op].append(task)
    records = tuple(_record(index, op, by_op[index]) for index, op in enumerate(ops))
    moved = sum(op[4] for op in ops) + 32_768 * layers
    dram = Traffic(bytes_sent=moved, bytes_received=moved, bytes_closed_form=moved)
    shared = {"leakage": latency_ps * 5e-12, "dram_background": latency_ps * 2e-12, "idle": 0.001}
    breakdown = _breakdown(records, dram, shared)
    columns = np.array([[task.unit, task.op, task.start_ps, task.end_ps] for task in tasks])
    return Result(
        device="sample_npu",
        workload="sample-7b decode batch 8 context 2048",
        rung="tile",
        latency_ps=latency_ps,
        clock_hz=1_000_000_000,
        tokens=8,
        roofline_bound_ps=moved // DRAM_BYTES_PER_PS,
        roofline_by="dram",
        energy_breakdown_j=breakdown,
        shared_energy_j=shared,
        energy_by_state_j=_by_state(breakdown),
        units=tuple(_unit(index, tasks, latency_ps) for index in range(len(UNITS))),
        records=records,
        traffic={
            "dram": dram,
            "scratchpad": Traffic(
                bytes_sent=3 * moved, bytes_received=3 * moved, bytes_closed_form=3 * moved
            ),
        },
        intervals=Intervals.merged(*columns.T),
        peaks=Peaks(macs_per_s=16_384 * 10**9, dram_bytes_per_s=DRAM_BYTES_PER_PS * 10**12),
        provenance=Provenance(
            version="0.1.0", device_hash="00aa11bb22cc33dd", workload_hash="44ee55ff66007711"
        ),
        spills=(
            Spill(tensor="scores", op="qk", bytes=65_536, why="does not fit beside the weights"),
        ),
        warnings=("sample data: no constant in it has a source",),
        resolved={"device": {"name": "sample_npu"}, "workload": {"layers": layers}},
        wall_time_s=0.25,
        host={"system": "none"},
    )
