"""Do the planner's formulas give the same compiled as in Python? Kernels over points call them."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from plans import variant

from simulator.cost import load_profile
from simulator.hardware.equations import MatrixModel
from simulator.hardware.models import matrix_model
from simulator.mapping.attention import (
    TOTALS,
    AttentionPrice,
    AttentionProblem,
    AttentionTraffic,
    Speeds,
    attention_price,
    attention_traffic,
    totals_of,
)
from simulator.mapping.products import Product, gemm_problem, partitions
from simulator.mapping.residency import keep
from simulator.mapping.streams import stream_pipeline
from simulator.mapping.target import rates_of
from simulator.mapping.tiling import Rates

DEVICE = variant("generic_npu_128")
UNIT: MatrixModel = matrix_model(DEVICE, "int8xint8")
RATES = rates_of(DEVICE, load_profile(DEVICE.energy))
CASES = 300


class Draw:
    """Numbers at random, small ones as often as large ones."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(8)

    def between(self, low: int, high: int) -> int:
        return int(np.exp(self.random.uniform(np.log(low), np.log(high + 1))))

    def below(self, high: int) -> int:
        """Return 0 too."""
        return self.between(1, high) - 1


@pytest.fixture
def draw() -> Draw:
    return Draw()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return numba.njit(error_model="numpy")(function)


def attention(
    p: AttentionProblem,
    rows: np.ndarray,
    rates: Rates,
    speeds: Speeds,
    heads: int,
    tiles: tuple[int, int],
    held_keys: int,
) -> tuple[AttentionTraffic, AttentionPrice]:
    totals = totals_of(rows[0], rows[1])
    moved = attention_traffic(p, totals, rates, heads, held_keys)
    return moved, attention_price(p, totals, rates, moved, speeds, heads, tiles, held_keys)


def test_attention(draw: Draw) -> None:
    kernel, n = compiled(attention), draw.between
    for _ in range(CASES):
        p = AttentionProblem(
            UNIT, n(1, 8), n(1, 32), n(1, 16), n(8, 256), draw.below(2), draw.below(5000),
            n(2, 16), n(2, 16), n(8, 32), n(64, 9000), draw.below(10**9), draw.below(10**9),
            draw.below(10**6), n(1, 10**5), n(1, 4096), n(1, 8), n(1000, 10**8),
        )  # fmt: skip
        rows = [[n(1, 10**11) for _ in range(TOTALS)] for _ in range(2)]
        speeds = Speeds(*draw.random.uniform(0, 5, 3).tolist())
        given = RATES, speeds, n(1, 1000), (n(1, 4096), n(1, 10**5)), n(1, 10**5)
        assert kernel(p, np.array(rows), *given) == attention(p, rows, *given)


def test_streams(draw: Draw) -> None:
    kernel, n = compiled(stream_pipeline), draw.between
    for _ in range(CASES):
        all_ps = draw.below(10**12), n(1, 10**12), draw.below(10**12)
        given = draw.below(10**9), draw.below(10**9), all_ps, draw.below(10**6), n(100, 10**8)
        assert kernel(*given) == stream_pipeline(*given)


def test_products(draw: Draw) -> None:
    kernel, n = compiled(gemm_problem), draw.between
    shared = 0
    for _ in range(CASES):
        bits = [draw.below(10**9) for _ in range(5)]
        product = Product(
            n(1, 2) * n(1, 3), n(1, 10**5), n(1, 10**5), n(1, 10**5), 8, n(2, 8), n(8, 16),
            *bits, draw.below(10**9), draw.below(10**9),
        )  # fmt: skip
        grids = partitions(8, reduction=True)
        grid = grids[draw.random.integers(len(grids))] if product.products == 1 else (1, 1, 1)
        given = UNIT, product, grid, n(1, 8), draw.below(2), n(1, 10**8)
        assert kernel(*given) == gemm_problem(*given)
        shared += grid[2] > 1
    assert shared > CASES // 10


def test_what_stays_on_chip(draw: Draw) -> None:
    kernel, n = compiled(keep), draw.between
    spilled = 0
    for _ in range(CASES):
        ops = n(1, 12)
        spans = [sorted(draw.random.integers(0, ops, 2).tolist()) for _ in range(n(1, 14))]
        rows = sorted((n(1, 10**5), *span) for span in spans)
        barred, budget = [draw.below(3) == 2 for _ in rows], draw.below(10**6)
        live, kept = [0] * ops, [False] * len(rows)
        keep(rows, barred, budget, live, kept)
        live_column, kept_column = np.zeros(ops, np.int64), np.zeros(len(rows), np.bool_)
        kernel(np.array(rows), np.array(barred), budget, live_column, kept_column)
        assert (live_column.tolist(), kept_column.tolist()) == (live, kept)
        spilled += not all(kept)
    assert 0 < spilled < CASES
