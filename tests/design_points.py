"""Random designs for the analytic rung, and what `simulate` says of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator import load_device, load_model, simulate
from simulator.config import replace
from simulator.cost import load_profile
from simulator.engine.energy import area_mm2
from simulator.engine.points import (
    Designs,
    Points,
    designs_of,
    run_designs,
    why_infeasible,
)
from simulator.engine.run import Engine
from simulator.engine.schedule import Setting, schedule
from simulator.errors import InfeasibleError
from simulator.hardware import Device
from simulator.hardware.variants import Variants
from simulator.mapping import sheet, sheet_plan
from simulator.mapping.capacity import outside_bytes
from simulator.mapping.policies import Policies
from simulator.mapping.sheet import Sheet, sheet_of
from simulator.mapping.target import Target
from simulator.mapping.tiling import ORDERS
from simulator.workload import Workload, decode_step, prefill

MODEL = load_model("llama-3-8b")
#: Nothing is free there: what this profile prices at 0, the device's own does not tell apart.
PROFILE = "jouppi_7nm"
NPU = replace(load_device("generic_npu_128"), {"energy": PROFILE})
TREE = replace(
    NPU,
    {
        "matrix": {
            "kind": "adder_tree",
            "pe": {
                "name": "dot16",
                "formats": {"int8xint8": 1, "fp16xfp16": 2},
                "micro_tile": [1, 1, 16],
                "latency_cycles": 5,
                "source": "test",
            },
            "rows": 4,
            "columns": 8,
            "conversions_per_cycle": 2,
            "source": "test",
        }
    },
)
LANES = replace(NPU, {"vector.gemv": True})
#: With a link, and a die of stated area.
GPU = load_device("a100")
#: Cores with and without a network and its multicast; more of them than heads.
TPU = replace(load_device("tpu_v4"), {"vector.gemv": True})
ONNXIM = load_device("onnxim_4core")
FEW_HEADS = replace(MODEL, {"kv_heads": 2})
APART = replace(NPU, {"cores": 3})
#: Memories of channels, alone and before cores that multicast.
HBM = replace(load_device("npu_hbm2"), {"energy": PROFILE})
GDDR = load_device("npu_mem")
IDEAL = replace(NPU, {"memory": {"kind": "ideal", "capacity": "64 GB", "source": "test"}})

#: Devices and workloads that together ask for all that is planned: no widening, widening with and
#: without zero points, integers, rows of one on the lanes, attention with cuts of queries.
CASES = (
    (NPU, decode_step(MODEL, batch=8, context=2048)),
    (NPU, decode_step(MODEL, batch=1, context=512, weights="int4-g128")),
    (NPU, decode_step(MODEL, batch=64, context=1000, weights="int4-g128-asym", kv="int8")),
    (NPU, prefill(MODEL, sequence=300)),
    (LANES, decode_step(MODEL, batch=1, context=700)),
    (TREE, decode_step(MODEL, batch=8, context=600, weights="int8", activations="int8", kv="int8")),
    (GPU, decode_step(MODEL, batch=4, context=800, kv="int8")),
    (TPU, decode_step(MODEL, batch=8, context=700)),
    (TPU, decode_step(MODEL, batch=1, context=900, weights="int4-g128")),
    (ONNXIM, prefill(MODEL, sequence=300, weights="int8-channel")),
    (APART, decode_step(FEW_HEADS, batch=1, context=500)),
    (HBM, decode_step(MODEL, batch=4, context=900, weights="int4-g128")),
    (HBM, prefill(MODEL, sequence=200)),
    (GDDR, decode_step(MODEL, batch=2, context=300, weights="int8", activations="bf16", kv="bf16")),
    (IDEAL, decode_step(MODEL, batch=2, context=100)),
)


def drawn(device: Device, workload: Workload, draw: np.random.Generator) -> dict[str, Any]:
    """Return values of a design; some scratchpads are too small for much, some memories full."""

    def one_of(*values: Any) -> Any:
        return values[draw.integers(len(values))]

    # A memory that is nearly full beside a scratchpad from which much spills.
    held = workload.weight_bytes + workload.kv_bytes + outside_bytes(workload)
    full = held + one_of(-1, 0, 50_000, 100_000, 200_000, 400_000)
    memory, stationary = one_of(*[64 * 10**9] * 4, full), one_of("weight", "output")
    small = memory == full or draw.random() < 0.2
    values = {
        "vector.lanes": one_of(64, 128, 2048),
        "vector.cycles_per_operation.mul": one_of(1, 3),
        "scratchpad.capacity": int(2 ** (draw.uniform(13, 20) if small else draw.uniform(20, 26))),
        "scratchpad.port_width": one_of(64, 128, 512),
        "clock": int(draw.uniform(0.4, 2.5) * 1e6) * 1000,
        "dma.burst": one_of(1, 32, 64),
        "dma.in_flight": one_of(None, 4096, 10**6),
        "dma.descriptor_cycles": one_of(0, 1, 16),
        "memory.capacity": memory,
    }
    if device.memory.kind == "dram":
        values |= {
            "memory.bandwidth": int(2 ** draw.uniform(33, 42)),
            "memory.efficiency": float(draw.uniform(0.6, 1)),
            # Long beside a layer, so that loads ahead decide.
            "memory.latency": one_of(0, 100_000, 1_000_000, 50_000_000),
        }
    if device.memory.kind == "channels":
        values |= {
            "memory.channels": one_of(16, 32),
            "memory.interleave": one_of(256, 4096),
            "memory.latency": one_of(0, 1_000_000),
            "memory.capacity": min(memory, 16 * device.memory.standard.capacity_bytes),
        }
    if device.matrix.kind == "throughput":
        values |= {"matrix.macs": one_of(1000, 4096, 2**17), "matrix.efficiency": one_of(0.7, 1.0)}
    else:
        values |= {
            "matrix.rows": one_of(16, 48, 64, 128, 256),
            "matrix.columns": one_of(16, 32, 96, 128, 512),
        }
    if device.matrix.kind == "systolic":
        values |= {
            "matrix.weight_load_rows_per_cycle": one_of(1, 2, 4),
            "matrix.weight_buffers": one_of(1, 2),
            "matrix.fold_overlap": one_of(True, False),
            "matrix.dataflow": f"{stationary}_stationary",
        }
        if stationary == "output":
            values["matrix.accumulators"] = None
    return values


@dataclass(frozen=True)
class Judged:
    """Designs in columns, and what came of them."""

    sheet: Sheet
    designs: Designs
    points: Points


def in_columns(device: Device, workload: Workload, changes: list[dict[str, Any]]) -> Judged:
    """Run a workload on designs in columns."""
    profile = load_profile(device.energy)
    made = sheet_of(workload, Target(device, profile))
    designs = designs_of(Variants(device, changes), profile, made.units)
    return Judged(made, designs, run_designs(made, designs, ~designs.refused))


def told(judged: Judged, place: int, workload: Workload, design: Device) -> dict[str, Any]:
    """Return what columns say of a design."""
    points = judged.points
    if points.infeasible[place]:
        return vars(why_infeasible(points, place, judged.sheet, workload, design))
    assert points.judged[place]
    ops = [op for op in range(len(judged.sheet.names)) if _is_done(judged, place, op)]
    rows = points.rows[place][ops]
    return {
        "latency_ps": points.latency_ps[place],
        "tilings": [_tiling(judged, place, op) for op in ops],
        "bytes": rows[:, [sheet_plan.LOAD_BYTES, sheet_plan.STORE_BYTES]].tolist(),
        "pipelines": rows[:, :11].tolist(),
        "energy_j": points.energy_j[place],
        "breakdown_j": {
            name: np.broadcast_to(each, len(points.judged))[place]
            for name, each in points.breakdown_j.items()
        },
        "area_mm2": judged.designs.rated.area_mm2[place],
        "busy_ps": [each[place] for each in (points.matrix_ps, points.vector_ps, points.dram_ps)],
        "stalled_ps": points.stalled_ps[place],
        "dram_bytes": points.dram_bytes[place],
        "cores": [points.cores[place], *points.done[place, ops, sheet_plan.CORES]],
        "instances": points.instances[place],
    }


def simulated(design: Device, workload: Workload) -> dict[str, Any]:
    """Return the same of `simulate`."""
    profile = load_profile(design.energy)
    setting = Setting(design, profile, Engine(design), True, True, Policies(), False)
    try:
        result = simulate(design, workload, "analytic")
        plan = schedule(workload, setting).plan
    except InfeasibleError as error:
        return vars(error)
    ops = [op for segment in plan.segments for op in segment.ops]
    units = {unit.name: unit for unit in result.units}
    return {
        "latency_ps": result.latency_ps,
        "tilings": [op.tiling for op in ops],
        "bytes": [[op.load_bytes, op.store_bytes] for op in ops],
        "pipelines": [list(op.pipeline) for op in ops],
        "energy_j": result.energy_j,
        "breakdown_j": result.energy_breakdown_j,
        "area_mm2": area_mm2(design, profile),
        "busy_ps": [units[name].busy_ps for name in ("matrix", "vector", "dram")],
        "stalled_ps": sum(units["matrix"].stall_ps.values()),
        "dram_bytes": result.bytes["dram"],
        "cores": [plan.cores, *(op.cores for op in ops)],
        "instances": units["matrix"].instances,
    }


def _kind(judged: Judged, op: int) -> int:
    return int(judged.sheet.tables[0].ops[op, sheet.KIND])


def _is_done(judged: Judged, place: int, op: int) -> bool:
    """Tell whether a plan has an operation: a gathering only of what is on chip."""
    gathers = _kind(judged, op) == sheet.GATHER
    return not gathers or bool(judged.points.done[place, op, sheet_plan.CORES] > 0)


def _tiling(judged: Judged, place: int, op: int) -> str:
    """Write the tiling of an operation as plans do."""
    done, cores = judged.points.done[place, op], judged.points.cores[place]
    tiles = done[sheet_plan.TILES :][:4]
    match _kind(judged, op):
        case sheet.STREAM:
            return f"{judged.points.rows[place, op, 0]} pieces"
        case sheet.GATHER:
            return f"ring of {cores}"
        case sheet.PRODUCT:
            grid = f"; cores {done[sheet_plan.GRID_M]}x{done[sheet_plan.GRID_N]}x1"
            text = f"m {tiles[0]}, n {tiles[1]}, k {tiles[2]}; {ORDERS[tiles[3]]}"
            return text + (grid if cores > 1 else "")
        case _:
            held = ", keys and values held" if tiles[2] else ""
            return f"queries {tiles[0]}, keys {tiles[1]}{held}"


def differences(count: int, seed: int) -> tuple[list[str], int, int]:
    """Compare so many designs of all cases; return what differs, the designs judged and not."""
    draw, wrong, judged_count = np.random.default_rng(seed), list[str](), 0
    for case, (device, workload) in enumerate(CASES):
        share = count // len(CASES) + (case < count % len(CASES))
        changes = [drawn(device, workload, draw) for _ in range(share)]
        judged = in_columns(device, workload, changes)
        for place, own in enumerate(changes):
            design = replace(device, own)
            found, expected = told(judged, place, workload, design), simulated(design, workload)
            judged_count += "reason" not in found
            if found != expected:
                names = [name for name in expected if found.get(name) != expected[name]]
                wrong.append(f"{device.name}, {workload.name}, {own}: {', '.join(names)}")
    return wrong, judged_count, count - judged_count
