"""QK^T and PV as operations of their own: what they issue where masked tiles are skipped.

Each request's queries are cut into bands; a band multiplies the key tiles that any of its queries
sees, so that causal attention issues little more than its lower triangle, and each request of a
ragged batch has its own length. The number of bands is the one that takes least time: many bands
skip more, but pay for more folds. Scores between the two products cross the scratchpad or the
memory as the graph's tensors do. Left out: bands of different height.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from simulator.hardware import equations
from simulator.hardware.equations import (
    MatrixModel,
    MatrixWork,
    accumulator_pieces,
    ceil_div,
    matrix_work,
    total_cycles,
)
from simulator.kernels import compiled
from simulator.mapping import attention, tiling
from simulator.mapping.attention import (
    QUERY_TILES,
    Array,
    Room,
    busiest,
    key_grain,
    keys_seen,
    room_for,
    streamed,
    tiled_keys,
)


class MaskedProblem(NamedTuple):
    """QK^T (`scores` 1) or PV (0) of a batch; k_spills as in `equations.matrix_work`."""

    unit: MatrixModel
    cores: int
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
    """What a product issues: cycles of the busiest core, its mean bits, MACs of all, bands."""

    work: MatrixWork
    macs: int
    bands: int


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
        a.dequantisation + b.dequantisation,
    )


@register_jitable
def heads_work(
    p: MaskedProblem, heads: int, queries: int, keys: int, bands: int
) -> tuple[MatrixWork, int]:
    """Return what so many key-value heads of equal requests issue, and their MACs."""
    grain = key_grain(p.unit)
    work, macs = MatrixWork(0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0
    height = ceil_div(queries, bands)
    base, _ = keys_seen(p.causal, p.window, queries, keys, 0, 1)
    for first in range(0, queries, height):
        last = min(first + height, queries)
        low, high = keys_seen(p.causal, p.window, queries, keys, first, last)
        low, high = tiled_keys(low, high, base, grain, keys)
        m, seen = (last - first) * p.group_size, high - low
        n, k = (seen, p.head_dim) if p.scores == 1 else (p.head_dim, seen)
        pieces = accumulator_pieces(p.unit, streamed(p.unit, m, n), k)
        made = matrix_work(
            p.unit, heads, m, n, k, pieces, p.k_spills, p.a_bits, p.w_bits, p.out_bits
        )
        work = both(work, made)
        macs += heads * m * n * k
    return work, macs


@register_jitable
def banded(
    p: MaskedProblem, requests: Array, queries: Array, keys: Array, bands: int, room: Room
) -> Issued:
    """Return what is issued where the queries of each request are cut into `bands`."""
    macs = 0
    most = whole = MatrixWork(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    for g in range(requests.size):
        heads = requests[g] * p.kv_heads
        work, own = heads_work(p, heads, queries[g], keys[g], bands)
        room.costs[g] = ceil_div(total_cycles(work), heads)
        whole = both(whole, work)
        macs += own
    core = busiest(requests, p.kv_heads, p.cores, room)
    for g in range(requests.size):
        if room.dealt[core, g] > 0:
            work, _ = heads_work(p, room.dealt[core, g], queries[g], keys[g], bands)
            most = both(most, work)
    work = MatrixWork(
        most.busy,
        most.weight_load,
        most.fill_drain,
        most.operand,
        most.conversion,
        ceil_div(whole.read_bits, p.cores),
        ceil_div(whole.write_bits, p.cores),
        ceil_div(whole.accumulator_read_bits, p.cores),
        ceil_div(whole.accumulator_write_bits, p.cores),
        most.dequantisation,
    )
    return Issued(work, macs, bands)


@compiled(equations, tiling, attention)
def scan_bands(
    p: MaskedProblem, requests: Array, queries: Array, keys: Array, most: int, room: Room
) -> Issued:
    """Look at all cuts; see `search_bands`. most: queries of a request."""
    best = banded(p, requests, queries, keys, 1, room)
    bands = 2
    while p.causal == 1 and bands <= min(most, QUERY_TILES):
        tried = banded(p, requests, queries, keys, bands, room)
        if total_cycles(tried.work) < total_cycles(best.work):
            best = tried
        bands *= 2
    return best


def search_bands(p: MaskedProblem, groups: Sequence[tuple[int, int, int]]) -> Issued:
    """Return the fastest cut into bands, the fewest among equals.

    groups: (requests, queries, keys) of equal requests.
    """
    longest_first = sorted(groups, key=lambda group: group[1:], reverse=True)
    requests, queries, keys = np.array(longest_first, dtype=np.int64).T.copy()
    p = p._replace(cores=min(p.cores, int(requests.sum()) * p.kv_heads))
    room = room_for(p.cores, len(groups))
    return scan_bands(p, requests, queries, keys, int(queries.max()), room)
