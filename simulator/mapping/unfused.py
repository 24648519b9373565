"""QK^T and PV as operations of their own: what they issue where masked tiles are skipped.

Each request's queries are cut into bands; a band multiplies the key tiles that any of its queries
sees, so that causal attention issues little more than its lower triangle, and each request of a
ragged batch has its own length. The number of bands is the one that takes least time: many bands
skip more, but pay for more folds. Scores between the two products cross the scratchpad or the
memory as the graph's tensors do. Left out: bands of different height.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.hardware import equations
from simulator.hardware.equations import (
    MatrixModel,
    MatrixWork,
    accumulator_pieces,
    ceil_div,
    matrix_work,
)
from simulator.kernels import compiled
from simulator.mapping import attention, tiling
from simulator.mapping.attention import (
    QUERY_TILES,
    key_grain,
    keys_seen,
    streamed,
    tiled_keys,
)


class MaskedProblem(NamedTuple):
    """QK^T (`scores` 1) or PV (0) of a batch; k_spills as in `equations.matrix_work`."""

    unit: MatrixModel
    scores: int
    kv_heads: int
    group_size: int
    head_dim: int
    causal: int
    window: int
    k_spills: int
    a_bits: int
    w_bits: int
    out_bits: int


class Issued(NamedTuple):
    """What a product issues over all heads and requests: cycles and bits, MACs, its bands."""

    work: MatrixWork
    macs: int
    bands: int


@register_jitable
def total_cycles(w: MatrixWork) -> int:
    """Return the cycles of all causes."""
    return w.busy + w.weight_load + w.fill_drain + w.operand + w.conversion


@register_jitable
def both(a: MatrixWork, b: MatrixWork) -> MatrixWork:
    """Return the sum of two works."""
    return MatrixWork(
        a.busy + b.busy,
        a.weight_load + b.weight_load,
        a.fill_drain + b.fill_drain,
        a.operand + b.operand,
        a.conversion + b.conversion,
        a.read_bits + b.read_bits,
        a.write_bits + b.write_bits,
        a.accumulator_read_bits + b.accumulator_read_bits,
        a.accumulator_write_bits + b.accumulator_write_bits,
    )


@register_jitable
def banded(
    p: MaskedProblem,
    requests: NDArray[np.int64],
    queries: NDArray[np.int64],
    keys: NDArray[np.int64],
    bands: int,
) -> Issued:
    """Return what is issued where the queries of each request are cut into `bands`."""
    grain = key_grain(p.unit)
    work = MatrixWork(0, 0, 0, 0, 0, 0, 0, 0, 0)
    macs = 0
    for g in range(requests.size):
        count = requests[g] * p.kv_heads
        height = ceil_div(queries[g], bands)
        base, _ = keys_seen(p.causal, p.window, queries[g], keys[g], 0, 1)
        for first in range(0, queries[g], height):
            last = min(first + height, queries[g])
            low, high = keys_seen(p.causal, p.window, queries[g], keys[g], first, last)
            low, high = tiled_keys(low, high, base, grain, keys[g])
            seen = high - low
            m = (last - first) * p.group_size
            n, k = (seen, p.head_dim) if p.scores == 1 else (p.head_dim, seen)
            pieces = accumulator_pieces(p.unit, streamed(p.unit, m, n), k)
            made = matrix_work(
                p.unit, count, m, n, k, pieces, p.k_spills, p.a_bits, p.w_bits, p.out_bits
            )
            work = both(work, made)
            macs += count * m * n * k
    return Issued(work, macs, bands)


@compiled(equations, tiling, attention)
def search_bands(
    p: MaskedProblem,
    requests: NDArray[np.int64],
    queries: NDArray[np.int64],
    keys: NDArray[np.int64],
    most: int,
) -> Issued:
    """Return the fastest cut into bands, the fewest among equals; most: queries of a request."""
    best = banded(p, requests, queries, keys, 1)
    bands = 2
    while p.causal == 1 and bands <= min(most, QUERY_TILES):
        tried = banded(p, requests, queries, keys, bands)
        if total_cycles(tried.work) < total_cycles(best.work):
            best = tried
        bands *= 2
    return best
