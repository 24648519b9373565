"""Do the equations of the matrix units give what a hand count gives?"""

from typing import Any

import pytest
from plans import variant

from simulator.api import load_device, profile_of, simulate
from simulator.cost import load_profile
from simulator.hardware import Device
from simulator.hardware.equations import (
    ADDER_TREE,
    INPUT_STATIONARY,
    OUTPUT_STATIONARY,
    THROUGHPUT,
    WEIGHT_STATIONARY,
    MatrixModel,
    ceil_div,
    edge_cycles,
    fold_excess,
    matrix_edges,
    matrix_work,
    operand_bits,
    pipeline_ps,
    spatial,
    systolic_cycles,
    total_cycles,
)
from simulator.hardware.models import matrix_model
from simulator.mapping.plan import OpPlan
from simulator.mapping.planner import plan
from simulator.mapping.target import Target
from simulator.mapping.tiling import GemmProblem, search_gemm
from simulator.workload import Workload, gemm

SYSTOLIC: dict[str, Any] = {
    "kind": "systolic",
    "dataflow": "weight_stationary",
    "rows": 8,
    "columns": 4,
    "weight_buffers": 2,
    "fold_overlap": True,
    "source": "test",
    "pe": {"name": "mac", "formats": {"int8xint8": 1, "int4xint8": 3}, "source": "test"},
}
TREE: dict[str, Any] = {
    "kind": "adder_tree",
    "rows": 4,
    "columns": 2,
    "arrays": 3,
    "source": "test",
    "pe": {
        "name": "dot",
        "micro_tile": [1, 1, 16],
        "formats": {"int8xint8": 1, "int4xint8": 2},
        "latency_cycles": 5,
        "source": "test",
    },
}
PEAK: dict[str, Any] = {
    "kind": "throughput",
    "macs": 1000,
    "efficiency": 0.5,
    "source": "test",
    "pe": {"name": "core", "formats": {"int8xint8": 1, "fp16xfp16": 2}, "source": "test"},
}


def model(matrix: dict[str, Any], pair: str = "int8xint8", /, **changes: object) -> MatrixModel:
    """Return a matrix unit as the equations see it, behind ports that never stall."""
    device = variant("generic_npu_128", {"matrix": matrix, "scratchpad.port_width": "1 MiB"})
    return matrix_model(device, pair)._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("a", "b", "expected"), [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2)])
def test_ceil_div(a: int, b: int, expected: int) -> None:
    assert ceil_div(a, b) == expected


@pytest.mark.parametrize(
    ("stream", "buffers", "overlap", "expected"),
    [
        # A move of 10 rows, a skew of 7. One plane: all of the move in every fold.
        (4, 1, 0, (10, 7)),
        (100, 1, 0, (10, 7)),
        (4, 1, 1, (10, 0)),
        # Two planes: what is left of the move after the fold before, its drain included.
        (1, 2, 0, (2, 7)),
        (3, 2, 0, (0, 7)),
        (4, 2, 1, (6, 0)),
        (10, 2, 1, (0, 0)),
        (11, 2, 1, (0, 0)),
    ],
)
def test_what_a_fold_adds(
    stream: int, buffers: int, overlap: int, expected: tuple[int, int]
) -> None:
    assert fold_excess(stream, 10, 7, buffers, overlap) == expected


@pytest.mark.parametrize(
    ("settings", "steady", "once"),
    [
        # 10 x 5 on an array of 8 x 4: folds of 8x4, 8x1, 2x4, 2x1; 3 rows a cycle, streams of 2.
        # (buffers, overlap, occupied). Full folds: move 3, skew 10, four times.
        ((1, 0, 0), (8, 12, 40), (0, 0)),
        ((1, 1, 0), (8, 12, 0), (0, 10)),
        ((2, 0, 0), (8, 0, 40), (3, 0)),
        ((2, 1, 0), (8, 4, 0), (2, 10)),
        # Occupied folds: moves 3, 3, 1, 1; skews 10, 7, 4, 1.
        ((1, 0, 1), (8, 8, 22), (0, 0)),
        ((2, 1, 1), (8, 2, 0), (2, 10)),
    ],
)
def test_folds_of_an_uneven_operand(
    settings: tuple[int, int, int], steady: tuple[int, int, int], once: tuple[int, int]
) -> None:
    assert systolic_cycles(8, 4, 10, 5, 2, 3, *settings) == steady
    assert edge_cycles(8, 4, 10, 5, 2, 3, *settings) == once


def test_an_operand_smaller_than_the_array_pays_its_own_edges_where_occupied() -> None:
    assert edge_cycles(8, 4, 3, 2, 9, 1, 2, 1, 0) == (8, 10)
    assert edge_cycles(8, 4, 3, 2, 9, 1, 2, 1, 1) == (3, 3)


def test_dataflows_lay_a_product_out_as_scale_sim_does() -> None:
    assert spatial(WEIGHT_STATIONARY, 2, 3, 5) == (5, 3, 2)
    assert spatial(OUTPUT_STATIONARY, 2, 3, 5) == (2, 3, 5)
    assert spatial(INPUT_STATIONARY, 2, 3, 5) == (5, 2, 3)


@pytest.mark.parametrize(
    ("dataflow", "kind", "extent"),
    [
        # PE micro-tile 2 x 3 x 4 (m, n, k): rows, columns and the temporal step in elements.
        ("weight_stationary", WEIGHT_STATIONARY, (32, 12, 2)),
        ("output_stationary", OUTPUT_STATIONARY, (16, 12, 4)),
        ("input_stationary", INPUT_STATIONARY, (32, 8, 3)),
    ],
)
def test_micro_tiles_widen_an_array(dataflow: str, kind: int, extent: tuple[int, int, int]) -> None:
    pe = {**SYSTOLIC["pe"], "micro_tile": [2, 3, 4], "initiation_interval": 2}
    matrix = {**SYSTOLIC, "dataflow": dataflow, "pe": pe, "weight_load_rows_per_cycle": 3}
    unit = model(matrix, "int4xint8")
    assert (unit.kind, (unit.rows, unit.columns, unit.temporal)) == (kind, extent)
    assert unit.passes == 3 * 2
    # The skew and the moves of a fold are those of 8 x 4 elements, whatever each multiplies.
    assert (unit.rows // unit.row_grain, unit.columns // unit.column_grain) == (8, 4)
    assert unit.move_rows_per_cycle == 3
    device = variant("generic_npu_128", {"matrix": matrix})
    rate = unit.rows * unit.columns * unit.temporal / unit.passes
    assert device.matrix.macs_per_cycle("int4xint8") == rate == 8 * 4 * 24 / 6


def test_an_array_as_the_equations_see_it() -> None:
    matrix = {
        **SYSTOLIC,
        "arrays": 2,
        "weight_buffers": 1,
        "fold_overlap": False,
        "partial_fold_cost": "occupied",
        "conversions_per_cycle": 6,
        "accumulators": {"entries_per_column": 9, "ports": 2, "source": "test"},
        "pe": {**SYSTOLIC["pe"], "accumulator_bits": 24},
    }
    device = variant(
        "generic_npu_128",
        {
            "matrix": matrix,
            "scratchpad.read_ports": 3,
            "scratchpad.write_ports": 2,
            "scratchpad.port_width": "16 B",
        },
    )
    assert matrix_model(device, "int8xint8") == MatrixModel(
        kind=WEIGHT_STATIONARY,
        rows=8,
        columns=4,
        row_grain=1,
        column_grain=1,
        temporal=1,
        passes=1,
        move_rows_per_cycle=1,
        buffers=1,
        overlap=0,
        occupied=1,
        arrays=2,
        latency=1,
        accumulator_entries=9,
        accumulator_ports=2,
        accumulator_bits=24,
        conversions_per_cycle=6,
        dequantised_per_cycle=0,
        activation_edge_bits=0,
        weight_edge_bits=0,
        read_bits_per_cycle=3 * 128,
        write_bits_per_cycle=2 * 128,
        macs_per_megacycle=1,
        group=0,
        scale_cycles=0,
    )


def test_adder_trees_and_throughputs_as_the_equations_see_them() -> None:
    edges = {"activation_edge_width": "32 B", "weight_edge_width": "8 B"}
    tree = model({**TREE, **edges}, "int4xint8")
    extent = (tree.rows, tree.columns, tree.temporal, tree.arrays)
    assert (tree.kind, extent) == (ADDER_TREE, (4, 2, 16, 3))
    assert (tree.passes, tree.latency) == (2, 5)
    # Of all three.
    assert (tree.activation_edge_bits, tree.weight_edge_bits) == (3 * 256, 3 * 64)
    assert model(TREE).weight_edge_bits == model(TREE).activation_edge_bits == 0
    peak = model(PEAK, "fp16xfp16")
    assert (peak.kind, peak.macs_per_megacycle, peak.passes) == (THROUGHPUT, 500_000_000, 2)


def test_an_adder_tree_takes_a_cycle_a_chunk_of_k_and_its_latency_once() -> None:
    """9 x 5 outputs in tiles of 4 x 2 are 3 x 3; 40 of K in 3 chunks of 16; 27 chunks on 3."""
    work = matrix_work(model(TREE), 1, 9, 5, 40, 1, 0, 8, 8, 8)
    assert (work.busy, work.weight_load, work.fill_drain) == (9, 0, 0)
    assert (work.operand, work.conversion) == (0, 0)
    assert matrix_edges(model(TREE), 9, 5, 40, 1) == (0, 5)
    assert matrix_work(model(TREE, "int4xint8"), 1, 9, 5, 40, 1, 0, 8, 4, 8).busy == 18
    assert matrix_work(model(TREE), 2, 9, 5, 40, 1, 0, 8, 8, 8).busy == 18
    assert matrix_work(model(TREE), 1, 1, 1, 1, 1, 0, 8, 8, 8).busy == 1


@pytest.mark.parametrize(
    ("edge", "operand"),
    [
        # 9 x 40 activations enter for each of 3 tiles of columns, 1,080 bytes in 9 cycles on 3.
        ({"activation_edge_width": "40 B"}, 0),
        ({"activation_edge_width": "20 B"}, 9),
        ({"activation_edge_width": "1 B"}, 351),
        # 5 x 40 weights for each of 3 tiles of rows, 600 bytes.
        ({"weight_edge_width": "23 B"}, 0),
        ({"weight_edge_width": "10 B"}, 11),
        ({"weight_edge_width": "10 B", "activation_edge_width": "20 B"}, 11),
    ],
)
def test_what_an_edge_takes_limits_an_array(edge: dict[str, str], operand: int) -> None:
    assert matrix_work(model({**TREE, **edge}), 1, 9, 5, 40, 1, 0, 8, 8, 8).operand == operand


def test_more_passes_leave_more_time_for_the_edge() -> None:
    """int4 weights: 1,080 bytes of activations in 18 cycles on 3."""
    unit = model({**TREE, "activation_edge_width": "20 B"}, "int4xint8")
    assert matrix_work(unit, 1, 9, 5, 40, 1, 0, 8, 4, 8).operand == 0
    unit = model({**TREE, "activation_edge_width": "10 B"}, "int4xint8")
    assert matrix_work(unit, 1, 9, 5, 40, 1, 0, 8, 4, 8).operand == 18


@pytest.mark.parametrize(
    ("dataflow", "activations", "weights"),
    # An 8 x 4 array, 16 x 12 by 12 x 24: 6 or 2 x 2 or 6 times the activations, once or more the
    # weights.
    [
        ("weight_stationary", 6 * 192, 288),
        ("output_stationary", 6 * 192, 2 * 288),
        ("input_stationary", 192, 4 * 288),
    ],
)
def test_each_dataflow_has_its_own_traffic_at_the_edges(
    dataflow: str, activations: int, weights: int
) -> None:
    rows = {**SYSTOLIC, "dataflow": dataflow, "rows": 8, "columns": 4, "arrays": 1}
    for edge, values in (("activation", activations), ("weight", weights)):
        unit = model({**rows, f"{edge}_edge_width": "1 B"})
        work = matrix_work(unit, 1, 16, 24, 12, 1, 0, 8, 8, 8)
        assert total_cycles(work) == values


@pytest.mark.parametrize(("rate", "stall"), [(1000, 0), (2, 288 - 216), (1, 576 - 216)])
def test_decoding_at_the_edge_has_a_rate_of_its_own(rate: int, stall: int) -> None:
    """576 weights enter; 12 folds of 12 steps, and skew and moves: all but `stall` hides."""
    unit = model({**SYSTOLIC, "dataflow": "output_stationary", "rows": 8, "columns": 4})
    unit = unit._replace(dequantised_per_cycle=rate, arrays=1)
    plain = matrix_work(unit._replace(dequantised_per_cycle=0), 1, 16, 24, 12, 1, 0, 8, 8, 8)
    work = matrix_work(unit, 1, 16, 24, 12, 1, 0, 8, 8, 8)
    assert work.dequantisation == max(0, -(-576 // rate) - total_cycles(plain))
    assert (work.dequantisation > 0) == (stall > 0)


def test_a_throughput_takes_its_macs_at_its_efficiency() -> None:
    """1,000 MACs a cycle, half of them reached; fp16 takes two passes."""
    assert matrix_work(model(PEAK), 1, 10, 20, 50, 1, 0, 8, 8, 8).busy == 20
    assert matrix_work(model(PEAK, "fp16xfp16"), 1, 10, 20, 50, 1, 0, 16, 16, 16).busy == 40
    assert matrix_work(model(PEAK), 3, 10, 20, 50, 1, 0, 8, 8, 8).busy == 60
    assert matrix_work(model(PEAK), 1, 1, 1, 501, 1, 0, 8, 8, 8).busy == 2
    assert matrix_edges(model(PEAK), 10, 20, 50, 1) == (0, 0)


@pytest.mark.parametrize(
    ("dataflow", "a_reads", "w_reads"),
    [
        # 12 x 10 x 20 on 8 x 4, temporal dimension in 2 pieces.
        ("weight_stationary", 3, 2),
        ("output_stationary", 3, 2),
        ("input_stationary", 2, 3),
    ],
)
def test_operands_are_read_once_for_each_fold_that_needs_them(
    dataflow: str, a_reads: int, w_reads: int
) -> None:
    matrix = {**SYSTOLIC, "dataflow": dataflow}
    unit = model(matrix, accumulator_entries=100)
    read, write, held_read, held_write = operand_bits(unit, 1, 12, 10, 20, 2, 0, 8, 4, 16)
    assert read == 12 * 20 * a_reads * 8 + 10 * 20 * w_reads * 4
    assert write == 12 * 10 * 16
    folds = 2 if dataflow == "output_stationary" else 3
    assert held_read == held_write == 12 * 10 * folds * 32


def test_ports_stall_an_array_whose_operands_they_cannot_bring() -> None:
    """One fold of 8 x 4: 16 cycles of stream, 8 to move (of which 0 shows), 160 bytes to read."""
    unit = model(SYSTOLIC, accumulator_entries=100, read_bits_per_cycle=32)
    work = matrix_work(unit, 1, 16, 4, 8, 1, 0, 8, 8, 8)
    assert (work.busy, work.weight_load, work.fill_drain) == (16, 0, 0)
    assert work.read_bits == (16 * 8 + 8 * 4) * 8
    assert work.operand == 40 - 16
    wide = unit._replace(read_bits_per_cycle=64)
    assert matrix_work(wide, 1, 16, 4, 8, 1, 0, 8, 8, 8).operand == 20 - 16
    writing = unit._replace(read_bits_per_cycle=10**6, write_bits_per_cycle=16)
    assert matrix_work(writing, 1, 16, 4, 8, 1, 0, 8, 8, 8).operand == 16 * 4 * 8 // 16 - 16


def test_a_move_that_shows_hides_a_stall() -> None:
    """With one plane the array waits 8 + 10 cycles in which the ports go on."""
    unit = model(SYSTOLIC, accumulator_entries=100, read_bits_per_cycle=32, buffers=1, overlap=0)
    work = matrix_work(unit, 1, 16, 4, 8, 1, 0, 8, 8, 8)
    assert (work.busy, work.weight_load, work.fill_drain) == (16, 8, 10)
    assert work.operand == 40 - 34


@pytest.mark.parametrize(("ports", "interval", "operand"), [(1, 1, 0), (1, 2, 16), (2, 2, 0)])
def test_accumulator_ports_limit_arrays_that_make_several_sums_a_cycle(
    ports: int, interval: int, operand: int
) -> None:
    """A micro-tile of 2 rows makes 2 sums a column and cycle: 32 sums in 16 cycles."""
    pe = {**SYSTOLIC["pe"], "micro_tile": [interval, 1, 1]}
    unit = model({**SYSTOLIC, "pe": pe}, accumulator_entries=100, accumulator_ports=ports)
    work = matrix_work(unit, 1, 16 * interval, 4, 8, 1, 0, 8, 8, 8)
    assert work.busy == 16
    assert work.operand == operand


def test_output_conversion_stalls_what_makes_outputs_faster() -> None:
    """64 outputs in 16 cycles: four a cycle."""
    for rate, stall in ((4, 0), (3, 6), (1, 48), (0, 0)):
        unit = model(SYSTOLIC, accumulator_entries=100, conversions_per_cycle=rate)
        assert matrix_work(unit, 1, 16, 4, 8, 1, 0, 8, 8, 8).conversion == stall


def test_conversion_counts_beyond_the_operand_stall() -> None:
    unit = model(SYSTOLIC, accumulator_entries=100, conversions_per_cycle=1)
    unit = unit._replace(read_bits_per_cycle=32)
    work = matrix_work(unit, 1, 16, 4, 8, 1, 0, 8, 8, 8)
    assert (work.operand, work.conversion) == (24, 64 - 40)


def test_arrays_share_folds_and_each_has_its_own_accumulators() -> None:
    """Six folds on 4 arrays take two rounds; on 8, one."""
    for arrays, rounds in ((1, 6), (2, 3), (4, 2), (8, 1)):
        unit = model({**SYSTOLIC, "arrays": arrays}, accumulator_entries=100)
        work = matrix_work(unit, 1, 16, 12, 16, 1, 0, 8, 8, 8)
        assert work.busy == rounds * 16
        assert work.operand == 0


def gemv_device(lanes: int, **changes: object) -> Device:
    """Return an array behind an ideal memory, with a vector unit that may do GEMVs."""
    memory = {"kind": "ideal", "capacity": "1 TB", "source": "test"}
    base = {"memory": memory, "vector.gemv": True, "vector.lanes": lanes, "matrix.rows": 128}
    return variant("generic_npu_128", {**base, **changes})


def planned(work: Workload, device: Device) -> list[OpPlan]:
    """Return the plan of a workload's one segment."""
    made = plan(work, device, load_profile(device.energy))
    return list(made.segments[0].ops)


ROW = gemm(1, 1024, 1024, weights="int8", activations="int8")


@pytest.mark.parametrize(("lanes", "unit"), [(2048, "vector"), (129, "vector"), (120, "matrix")])
def test_a_gemv_goes_to_the_vector_unit_only_where_that_is_faster(lanes: int, unit: str) -> None:
    """The array loads 64 folds of 128 rows: 8,192 cycles and a few; lanes do 2^20 MACs."""
    [op] = planned(ROW, gemv_device(lanes))
    assert op.unit == unit
    if unit == "vector":
        assert op.main_ps == pytest.approx(2**20 / lanes * 1000, rel=0.02)
        assert op.stalls_ps == ()
        assert op.counts.macs == ()
        assert dict(op.counts.vector_ops) == {"add": 2**20, "mul": 2**20}
    assert op.macs_issued == op.macs_useful == 2**20


def test_two_rows_and_devices_that_do_not_say_gemv_stay_on_the_array() -> None:
    [op] = planned(gemm(2, 1024, 1024, weights="int8", activations="int8"), gemv_device(10**5))
    assert op.unit == "matrix"
    [op] = planned(ROW, gemv_device(10**5, **{"vector.gemv": False}))
    assert op.unit == "matrix"


def test_a_gemv_on_the_vector_unit_widens_its_weights_there_too() -> None:
    """2^20 weights converted and multiplied: two operations each on 4,096 lanes."""
    work = gemm(1, 1024, 1024, weights="int4", activations="int8")
    [op] = planned(work, gemv_device(4096))
    assert op.unit == "vector"
    assert op.main_ps == pytest.approx(2 * 2**20 / 4096 * 1000, rel=0.02)
    assert dict(op.counts.vector_ops) == {"add": 2**20, "convert": 2**20, "mul": 2**20}


def test_a_gemv_moves_the_same_bytes_on_either_unit_in_the_same_time() -> None:
    fast = {"vector.gemv": True, "vector.lanes": 10**5}
    [on_lanes] = planned(ROW, variant("generic_npu_128", fast))
    [on_array] = planned(ROW, variant("generic_npu_128"))
    assert (on_lanes.unit, on_array.unit) == ("vector", "matrix")
    assert on_lanes.dram_ps == on_array.dram_ps
    assert (on_lanes.load_bytes, on_lanes.store_bytes) == (1024 + 2**20, 1024)
    assert (on_array.load_bytes, on_array.store_bytes) == (1024 + 2**20, 1024)


def test_a_gemv_on_the_lanes_of_several_cores_shares_no_k_and_stores_its_outputs() -> None:
    network = {
        "link_width": "512 B",
        "hop_cycles": 1,
        "multicast": True,
        "reduction": True,
        "source": "test",
    }
    work = gemm(1, 128, 1 << 16, weights="int8", activations="int8")
    device = gemv_device(2 * 10**5, cores=4, network=network)
    assert [op.kind for op in planned(work, gemv_device(1, cores=4, network=network))] == [
        "gemm",
        "reduce",
        "finish",
    ]
    [op] = planned(work, device)
    assert op.unit == "vector"
    assert op.store_bytes == 128
    for rung in ("analytic", "tile"):
        simulate(device, work, rung).check()


def test_cycles_of_the_largest_products_are_the_same_compiled() -> None:
    """The scan of tilings multiplies in 64 bits, the plan of what it chose in Python's integers."""
    a100 = load_device("a100")
    target = Target(a100, profile_of(a100))
    unit = target.unit("fp16xfp16")
    tokens, outputs, inputs = 262_144, 14_336, 4_096
    problem = GemmProblem(
        *(unit, 1, tokens, outputs, inputs, 16, 16, 16),
        *(2 * tokens * inputs, 2 * outputs * inputs, 0, 2 * tokens * outputs, 0),
        *(1, 1, 1, 1, 1, 1, 0, 0, 16 << 20),
    )
    chosen, _, found_ps = search_gemm(problem, target.rates, target.memory)
    assert found_ps == pipeline_ps(chosen.pipeline)
