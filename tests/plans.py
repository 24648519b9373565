"""Plans and devices that tests of mapping and engine share: one-operation plans, a tiny model."""

from collections.abc import Mapping, Sequence
from functools import cache

from simulator.api import load_device, load_model
from simulator.config import replace
from simulator.cost import Counts
from simulator.engine.bound import bound_plan
from simulator.engine.run import Entry, SegmentRun, run_segment
from simulator.hardware import Device
from simulator.hardware.equations import Pipeline
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan
from simulator.workload import (
    HIDDEN,
    HIDDEN_OUT,
    Gemm,
    Graph,
    Model,
    Op,
    OpKind,
    Role,
    Tensor,
    Workload,
)
from simulator.workload import Segment as WorkloadSegment

NO_ROOM_LIMIT = 2**40


def op_plan(
    pipeline: Pipeline,
    *,
    name: str = "op",
    unit: str = "matrix",
    load_bytes: int | None = None,
    store_bytes: int | None = None,
    main_bytes: int = 0,
    after: Sequence[int] = (),
    stored_by: Sequence[int] = (),
    free_loads: int | None = None,
    slot_bytes: int = 1,
    room_bytes: int = NO_ROOM_LIMIT,
) -> OpPlan:
    """Return a plan around a pipeline; loads and stores move 1,000 bytes where they take time."""
    loads = load_bytes if load_bytes is not None else 1000 * (pipeline.load > 0)
    stores = store_bytes if store_bytes is not None else 1000 * (pipeline.store > 0)
    return OpPlan(
        name=name,
        kind="linear",
        unit=unit,
        pipeline=pipeline,
        after=tuple(after),
        stored_by=tuple(stored_by),
        free_loads=pipeline.steps if free_loads is None else free_loads,
        slot_bytes=slot_bytes if loads else 0,
        room_bytes=room_bytes,
        load_bytes=loads,
        store_bytes=stores,
        least_load_bytes=loads,
        least_store_bytes=stores,
        main_bytes=main_bytes,
        cores=1,
        stalls_ps=(),
        macs_useful=0,
        macs_issued=0,
        counts=Counts(),
        tiling="",
        spills=(),
        accesses=(),
    )


def execute(
    ops: Sequence[OpPlan],
    following: OpPlan | None = None,
    entry: Entry | None = None,
    *,
    prefetch: bool = True,
) -> SegmentRun:
    """Run operations as one segment from time 0."""
    segment = SegmentPlan("segment", tuple(ops), 1, 0)
    return run_segment(segment, following, Entry() if entry is None else entry, prefetch=prefetch)


def bounded_ps(*segments: Sequence[OpPlan]) -> int:
    """Return how long operations take at least, segment after segment, on the analytic rung."""
    made = tuple(SegmentPlan("segment", tuple(ops), 1, 0) for ops in segments)
    return bound_plan(Plan(made, 1)).end_ps


def variant(name: str, changes: Mapping[str, object] | None = None) -> Device:
    """Return a device of ours with other values at some YAML paths."""
    device = load_device(name)
    return replace(device, dict(changes)) if changes else device


@cache
def tiny_model(kv_heads: int = 2, window: int | None = None) -> Model:
    """Return a llama of two layers with 4 heads of 64, 256 wide, 512 in the middle."""
    changes: dict[str, object] = {
        "name": "tiny",
        "hidden": 256,
        "heads": 4,
        "kv_heads": kv_heads,
        "head_dim": 64,
        "ffn": 512,
        "layers": 2,
        "vocab": 1000,
    }
    if window is not None:
        changes["sliding_window"] = window
    return replace(load_model("llama-2-7b"), changes)


def resident_product(m: int, n: int, k: int, weights: str = "int8") -> Workload:
    """Return one product between two parts of the residual stream: only its weights move."""
    from simulator import formats

    int8 = formats.get("int8")
    tensors = (
        Tensor(HIDDEN, m, k, int8),
        Tensor("w", n, k, formats.get(weights), Role.WEIGHT),
        Tensor(HIDDEN_OUT, m, n, int8),
    )
    op = Op("proj", OpKind.LINEAR, (HIDDEN, "w"), (HIDDEN_OUT,), Gemm(1, m, n, k))
    graph = Graph(tensors, (op,), (HIDDEN,), (HIDDEN_OUT,))
    return Workload(
        name=f"proj {m}x{n}x{k}",
        model="proj",
        phase="gemm",
        segments=(WorkloadSegment("proj", graph),),
        batch=1,
        tokens=m,
        formats={},
        weight_bytes=n * k,
        kv_bytes=0,
        resolved={},
    )
