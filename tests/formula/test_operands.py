"""Do operands and partial sums cross the scratchpad as often as a walk over all folds says?"""

from itertools import product

import numpy as np
import pytest
from plans import variant

from simulator.hardware.equations import MatrixModel, matrix_work, operand_bits, spatial
from simulator.hardware.models import DATAFLOWS, matrix_model

A_BITS, W_BITS, OUT_BITS, WIDE = 8, 4, 16, 32
SHAPES = [(1, 1, 1), (5, 7, 9), (8, 8, 8), (3, 20, 33), (17, 4, 12), (16, 24, 40)]


def systolic(dataflow: str) -> MatrixModel:
    """Return an 8 x 4 array without accumulators."""
    changes = {
        "matrix.dataflow": dataflow,
        "matrix.rows": 8,
        "matrix.columns": 4,
        "matrix.accumulators": None,
    }
    return matrix_model(variant("generic_npu_128", changes), "int8xint8")


def walk(unit: MatrixModel, shape: tuple[int, int, int], pieces: int) -> tuple[int, int, int, int]:
    """Count elements read of both operands, and sums read and written, fold by fold.

    Each fold reads what it holds and what streams through it; where its outputs have sums of
    earlier folds it reads those, and it writes its own.
    """
    height, width, length = spatial(unit.kind, *shape)
    a = w = sums_in = sums_out = 0
    seen: set[tuple[int, int]] = set()
    parts = np.array_split(np.arange(length), pieces)
    tops, lefts = range(0, height, unit.rows), range(0, width, unit.columns)
    for part, top, left in product(parts, tops, lefts):
        rows = np.arange(top, min(top + unit.rows, height))
        columns = np.arange(left, min(left + unit.columns, width))
        match unit.kind:
            case 0:  # weight-stationary: rows are K, columns N, M streams
                ms, ns, ks = part, columns, rows
            case 1:  # output-stationary: rows are M, columns N, K streams
                ms, ns, ks = rows, columns, part
            case _:  # input-stationary: rows are K, columns M, N streams
                ms, ns, ks = columns, part, rows
        a += len(ms) * len(ks)
        w += len(ks) * len(ns)
        outputs = set(product(ms.tolist(), ns.tolist()))
        sums_in += len(outputs & seen)
        sums_out += len(outputs)
        seen |= outputs
    return a, w, sums_in, sums_out


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_accumulators_sums_cross_the_scratchpad_at_their_width(
    dataflow: str, pieces: int, shape: tuple[int, int, int]
) -> None:
    """All but the last of each output; those of an output-stationary array stay in its elements."""
    unit = systolic(dataflow)
    pieces = min(pieces, spatial(unit.kind, *shape)[2])
    a, w, sums_in, sums_out = walk(unit, shape, pieces)
    found = operand_bits(unit, 3, *shape, pieces, 0, A_BITS, W_BITS, OUT_BITS)
    read, written = a * A_BITS + w * W_BITS, shape[0] * shape[1] * OUT_BITS
    inside = 3 * sums_out * WIDE if dataflow == "output_stationary" else 0
    if not inside:
        read += sums_in * WIDE
        written += (sums_out - shape[0] * shape[1]) * WIDE
    assert found == (3 * read, 3 * written, inside, inside)


@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
@pytest.mark.parametrize("shape", SHAPES)
def test_accumulators_take_the_sums(dataflow: str, shape: tuple[int, int, int]) -> None:
    """Each fold writes its sums; they are read to be added to, and once more at the end."""
    unit = systolic(dataflow)._replace(accumulator_entries=1000)
    a, w, sums_in, sums_out = walk(unit, shape, 1)
    outputs = shape[0] * shape[1]
    assert operand_bits(unit, 1, *shape, 1, 0, A_BITS, W_BITS, OUT_BITS) == (
        a * A_BITS + w * W_BITS,
        outputs * OUT_BITS,
        (sums_in + outputs) * WIDE,
        sums_out * WIDE,
    )


def test_three_settings_of_one_array_cost_what_peers_say() -> None:
    """4096 x 4096 weights, 32 rows: no edge limit, two planes at a row a cycle, SCALE-Sim's form.

    1,024 folds of 32, of max(32, 128) and of 2 x 128 + 128 + 32 - 2 cycles.
    """
    single = {"matrix.weight_buffers": 1, "matrix.fold_overlap": False}
    settings: tuple[tuple[dict[str, object], int], ...] = (
        ({"matrix.weight_load_rows_per_cycle": 128}, 32),
        ({}, 128),
        (dict(single), 2 * 128 + 128 + 32 - 2),
    )
    for changes, fold in settings:
        unit = matrix_model(variant("generic_npu_128", changes), "int8xint8")
        work = matrix_work(unit, 1, 32, 4096, 4096, 1, 0, 8, 8, 8)
        assert work.busy == 1024 * 32
        assert work.busy + work.weight_load + work.fill_drain == 1024 * fold
