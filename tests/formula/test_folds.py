"""Do the cycles of a systolic array equal the published form and an event model of its folds?"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from plans import variant

from simulator.api import simulate
from simulator.hardware import Device
from simulator.hardware.equations import (
    MatrixModel,
    array_cycles,
    edge_cycles,
    matrix_edges,
    matrix_work,
    systolic_cycles,
)
from simulator.hardware.models import matrix_model
from simulator.workload import gemm

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")


def published(dataflow: str, rows: int, columns: int, shape: tuple[int, int, int]) -> int:
    """Return folds x (2R + C + T - 2) (Samajdar et al., arXiv 1811.02883, equation 1)."""
    m, n, k = shape
    across, along, temporal = {
        "output_stationary": (m, n, k),
        "weight_stationary": (k, n, m),
        "input_stationary": (k, m, n),
    }[dataflow]
    folds = -(-across // rows) * -(-along // columns)
    return folds * (2 * rows + columns + temporal - 2)


def array(dataflow: str, rows: int = 128, columns: int = 128, passes: int = 1) -> Device:
    """Return an array with one weight plane, full folds, no overlap; nothing else limits."""
    return variant(
        "generic_npu_128",
        {
            "memory": {"kind": "ideal", "capacity": "1 TB", "source": "test"},
            "scratchpad.capacity": "1 GiB",
            "scratchpad.port_width": "1 MiB",
            "matrix.dataflow": dataflow,
            "matrix.rows": rows,
            "matrix.columns": columns,
            "matrix.weight_buffers": 1,
            "matrix.fold_overlap": False,
            "matrix.partial_fold_cost": "full",
            "matrix.conversions_per_cycle": None,
            "matrix.accumulators.entries_per_column": 10**9,
            "matrix.pe.formats": {"int8xint8": passes},
        },
    )


def cycles(unit: MatrixModel, m: int, n: int, k: int) -> int:
    """Return all cycles of one product on an array, what is paid once included."""
    work = matrix_work(unit, 1, m, n, k, 1, 0, 8, 8, 8)
    first, last = matrix_edges(unit, m, n, k, 1)
    return work.busy + work.weight_load + work.fill_drain + first + last


def random_shapes(seed: int, count: int, limit: int) -> list[tuple[int, int, int]]:
    """Return random (m, n, k), small ones as likely as large ones."""
    draw = np.exp(np.random.default_rng(seed).uniform(0, np.log(limit), (count, 3)))
    return [(int(m), int(n), int(k)) for m, n, k in draw]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_folds_cost_the_published_form_on_1000_shapes(dataflow: str) -> None:
    unit = matrix_model(array(dataflow, 32, 64), "int8xint8")
    for shape in random_shapes(1, 1000, 20_000):
        work = matrix_work(unit, 1, *shape, 1, 0, 8, 8, 8)
        assert work.operand == work.conversion == 0
        assert cycles(unit, *shape) == published(dataflow, 32, 64, shape), shape


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_simulated_products_cost_the_published_form(dataflow: str, rung: str) -> None:
    device = array(dataflow)
    for shape in random_shapes(2, 30, 5000):
        result = simulate(device, gemm(*shape, weights="int8", activations="int8"), rung)
        result.check()
        expected = published(dataflow, 128, 128, shape)
        matrix = next(unit for unit in result.units if unit.name == "matrix")
        assert result.cycles == expected, shape
        assert result.latency_ps == expected * 1000
        assert matrix.busy_ps + sum(matrix.stall_ps.values()) == expected * 1000
        assert set(matrix.stall_ps) <= {"weight_load", "fill_drain"}


@dataclass(frozen=True)
class Array:
    """An array of the event model below, and how its folds follow each other."""

    rows: int
    columns: int
    load_rows: int
    planes: int
    overlap: bool
    occupied: bool


def folds_of(a: Array, used_rows: int, used_columns: int) -> list[tuple[int, int]]:
    """Return the (rows, columns) that each fold pays for, row by row."""
    sizes = []
    for top in range(0, used_rows, a.rows):
        for left in range(0, used_columns, a.columns):
            part = (min(a.rows, used_rows - top), min(a.columns, used_columns - left))
            sizes.append(part if a.occupied else (a.rows, a.columns))
    return sizes


def brute_force(a: Array, folds: list[tuple[int, int]], stream: int) -> int:
    """Walk through the folds: load a plane, stream through it, let the skew run out.

    A plane is loaded when the fold that used it is done: with one plane the fold before, with two
    the fold before that (so the load starts with the fold before at the earliest).
    """
    loaded = started = done = skew = 0
    for index, (high, wide) in enumerate(folds):
        free = 0 if index == 0 else (done if a.planes == 1 else started)
        loaded = max(loaded, free) + -(-high // a.load_rows)
        started = max(loaded, done)
        skew = high + wide - 2
        done = started + stream + (0 if a.overlap else skew)
    return done + (skew if a.overlap else 0)


def equation(a: Array, used_rows: int, used_columns: int, stream: int) -> int:
    """Return the same by the equations of the package."""
    arguments = (
        a.rows, a.columns, used_rows, used_columns, stream, a.load_rows, a.planes, int(a.overlap),
        int(a.occupied),
    )  # fmt: skip
    return sum(systolic_cycles(*arguments)) + sum(edge_cycles(*arguments))


SIZES = [(rows, columns) for rows in (1, 3, 4, 5, 8, 11) for columns in (1, 2, 3, 6, 7)]
STREAMS = (1, 2, 4, 6, 7, 8, 20)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("load_rows", [1, 3])
def test_full_folds_equal_the_event_model(planes: int, overlap: bool, load_rows: int) -> None:
    a = Array(4, 3, load_rows, planes, overlap, occupied=False)
    for size in SIZES:
        for stream in STREAMS:
            expected = brute_force(a, folds_of(a, *size), stream)
            assert equation(a, *size, stream) == expected, (size, stream)


@pytest.mark.parametrize("load_rows", [1, 3])
def test_occupied_folds_with_one_plane_equal_the_event_model(load_rows: int) -> None:
    a = Array(4, 3, load_rows, planes=1, overlap=False, occupied=True)
    for size in SIZES:
        for stream in STREAMS:
            assert equation(a, *size, stream) == brute_force(a, folds_of(a, *size), stream)


@pytest.mark.parametrize("planes", [1, 2])
def test_occupied_folds_that_overlap_differ_by_the_last_skew_only(planes: int) -> None:
    """The drain that is paid once is taken as that of a whole fold, the last may be smaller."""
    a = Array(4, 3, 1, planes, overlap=True, occupied=True)
    for size in SIZES:
        folds = folds_of(a, *size)
        rest = sum(folds[0]) - sum(folds[-1])
        for stream in STREAMS:
            found = equation(a, *size, stream)
            assert found - brute_force(a, folds, stream) == rest, (size, stream)


def test_occupied_folds_behind_two_planes_are_within_one_skew_each() -> None:
    """A load hides behind the fold before it; the equation takes that for as long as its own."""
    a = Array(4, 3, 1, planes=2, overlap=False, occupied=True)
    for size in SIZES:
        folds = folds_of(a, *size)
        changes = sum(abs(sum(x) - sum(y)) for x, y in pairwise(folds))
        for stream in STREAMS:
            difference = equation(a, *size, stream) - brute_force(a, folds, stream)
            assert abs(difference) <= changes, (size, stream)


@pytest.mark.parametrize("occupied", ["full", "occupied"])
@pytest.mark.parametrize("planes", [1, 2])
def test_second_plane_overlap_and_occupied_folds_never_cost(occupied: str, planes: int) -> None:
    worst = matrix_model(array("weight_stationary", 32, 64), "int8xint8")
    better = worst._replace(buffers=planes, occupied=int(occupied == "occupied"))
    for shape in random_shapes(3, 200, 2000):
        single = cycles(better, *shape)
        assert single <= cycles(worst, *shape)
        assert cycles(better._replace(overlap=1), *shape) <= single


def test_pieces_of_the_temporal_dimension_pass_through_all_folds() -> None:
    unit = matrix_model(array("weight_stationary", 8, 8), "int8xint8")
    for m, pieces in ((10, 3), (16, 4), (7, 7), (5, 1)):
        lengths = [len(part) for part in np.array_split(np.arange(m), pieces)]
        busy, move, skew, scale = array_cycles(unit, 2, m, 20, 30, pieces)
        folds = 2 * 3 * 4
        assert busy == folds * sum(lengths)
        assert move == folds * 8 * pieces
        assert skew == folds * 14 * pieces
        assert scale == 0


def test_folds_are_dealt_to_arrays() -> None:
    """Five equal folds on two arrays take as long as three."""
    one = matrix_model(array("weight_stationary", 8, 8), "int8xint8")
    two = one._replace(arrays=2)
    assert array_cycles(one, 1, 16, 40, 8, 1) == (80, 40, 70, 0)
    assert array_cycles(two, 1, 16, 40, 8, 1) == (48, 24, 42, 0)


def test_passes_stretch_the_stream_only() -> None:
    unit = matrix_model(array("weight_stationary", passes=3), "int8xint8")
    assert array_cycles(unit, 1, 50, 128, 128, 1) == (150, 128, 254, 0)
