"""Do GEMMs survive the way to SCALE-Sim's file and back?"""

from pathlib import Path

from simulator.config import load_part
from simulator.workload import (
    Gemm,
    Model,
    OpKind,
    Workload,
    decode_step,
    gemm,
    read_topology,
    write_topology,
)


def products(workload: Workload) -> dict[str, Gemm]:
    """GEMMs of a workload by operation name."""
    return {op.name: op.gemm for _, op in workload.ops() if op.gemm is not None}


def test_gemm_is_one_op() -> None:
    """Inputs a and b, output c."""
    workload = gemm(32, 4096, 1024, weights="int4-g128", activations="int8", count=3)
    (segment,) = workload.segments
    (op,) = segment.graph.ops
    assert (op.kind, op.inputs, op.outputs) == (OpKind.GEMM, ("a", "b"), ("c",))
    assert op.gemm == Gemm(3, 32, 4096, 1024)
    shapes = [(t.name, t.rows, t.columns, t.format.name) for t in segment.graph.tensors]
    assert shapes == [
        ("a", 96, 1024, "int8"),
        ("b", 12288, 1024, "int4-g128"),
        ("c", 96, 4096, "int8"),
    ]
    assert workload.name == "gemm 32x4096x1024 x3 w=int4-g128 a=int8"
    assert workload.tokens == 0


def test_reads_scale_sims_gemm_file(tmp_path: Path) -> None:
    """Header, trailing commas, blank lines, sparsity 1:1, a count in the name."""
    file = tmp_path / "net.csv"
    file.write_text("Layer, M, N, K,\nQKT,1024,1024,64,\n\nfc one, 8, 16, 32, 1:1,\nqk_x12,1,5,6\n")
    workload = read_topology(file, weights="int8", activations="int8")
    assert products(workload) == {
        "QKT": Gemm(1, 1024, 1024, 64),
        "fc one": Gemm(1, 8, 16, 32),
        "qk": Gemm(12, 1, 5, 6),
    }
    assert [segment.name for segment in workload.segments] == ["QKT", "fc one", "qk"]
    assert workload.name == "net w=int8 a=int8"
    assert workload.formats == {"weights": "int8", "activations": "int8"}
    assert (
        workload.compulsory_bytes == 1024 * (64 + 64 + 1024) + 8 * 32 + 16 * 32 + 8 * 16 + 12 * 41
    )


def test_writes_every_product_with_its_count(tmp_path: Path) -> None:
    """Layers, heads and requests multiply; grouped heads share a product; groups are ragged."""
    file = tmp_path / "decode.csv"
    model = load_part(Model, "llama-2-70b", "workloads/models")
    write_topology(decode_step(model, context=[100, 100, 300]), file)
    lines = file.read_text().splitlines()
    assert lines[:8] == [
        "Layer, M, N, K,",
        "layer.q_proj_x80, 3, 8192, 8192,",
        "layer.k_proj_x80, 3, 1024, 8192,",
        "layer.v_proj_x80, 3, 1024, 8192,",
        "layer.qk.g0_x1280, 8, 100, 128,",
        "layer.qk.g1_x640, 8, 300, 128,",
        "layer.pv.g0_x1280, 8, 128, 100,",
        "layer.pv.g1_x640, 8, 128, 300,",
    ]
    assert lines[-1] == "head.lm_head, 3, 32000, 8192,"


def test_macs_survive_the_round_trip(tmp_path: Path) -> None:
    """A decode step has no masked scores, so that all MACs are in the file."""
    file = tmp_path / "step.csv"
    model = load_part(Model, "gpt-2", "workloads/models")
    workload = decode_step(model, batch=4, context=77)
    write_topology(workload, file)
    assert read_topology(file).macs_useful == workload.macs_useful


def test_a_topology_written_again_is_the_same_file(tmp_path: Path) -> None:
    """Read, write, read: equal text and equal workloads."""
    first, second = tmp_path / "a.csv", tmp_path / "b" / "a.csv"
    second.parent.mkdir()
    model = load_part(Model, "llama-2-7b", "workloads/models")
    write_topology(decode_step(model, batch=2, context=64), first)
    read = read_topology(first)
    write_topology(read, second)
    assert second.read_text() == first.read_text()
    assert read_topology(second) == read
