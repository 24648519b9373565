"""The search for the tiles of fused attention: QK^T, softmax and PV in one pass over the keys.

The scheme of FlashAttention-2 (Dao, 2023): query tiles outside, key tiles inside, scores never
leave the core; key tiles that the mask hides are skipped. A head's keys and values are read once
for all query tiles where they fit (`hold`), else for each query tile.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.hardware import equations
from simulator.hardware.equations import (
    INPUT_STATIONARY,
    MatrixModel,
    Pipeline,
    accumulator_pieces,
    ceil_div,
    matrix_edges,
    matrix_work,
)
from simulator.kernels import compiled
from simulator.mapping import tiling
from simulator.mapping.tiling import (
    MAX_STEPS,
    MAX_TILES,
    STREAMED,
    Choice,
    Rank,
    Rates,
    better,
    cycles_ps,
    padded_bytes,
    rank_of,
)

#: Pieces into which the queries of a request are cut; more only where nothing fits.
QUERY_TILES = 64


class AttentionProblem(NamedTuple):
    """Fused attention of a whole device: QK^T, softmax and PV tile by tile (FlashAttention).

    kv_memory_bits_per_key: payload and metadata bits of one key and its value in one head;
    q_memory_bits, out_memory_bits: 0 where on chip. ready_cycles, softmax_cycles: vector cycles per
    1,024 keys and values loaded (one head), and per 1,024 scores issued. vector_lanes: for the
    rescaling of outputs between key tiles.
    """

    unit: MatrixModel
    cores: int
    kv_heads: int
    group_size: int
    head_dim: int
    causal: int
    window: int
    a_bits: int
    w_bits: int
    out_bits: int
    kv_memory_bits_per_key: int
    q_memory_bits: int
    out_memory_bits: int
    ready_cycles_per_kilokey: int
    softmax_cycles_per_kiloscore: int
    vector_lanes: int
    room_bytes: int


class AttentionTotals(NamedTuple):
    """What a tiling of attention issues over all heads and requests (all cores)."""

    pairs: int
    scores: int
    keys_loaded: int
    rescaled: int
    busy: int
    weight_load: int
    fill_drain: int
    operand: int
    conversion: int
    score_cycles: int
    read_bits: int
    write_bits: int
    accumulator_read_bits: int
    accumulator_write_bits: int


@register_jitable
def key_grain(unit: MatrixModel) -> int:
    """Return the keys of the smallest tile: what the array takes side by side."""
    return unit.columns if unit.columns > 0 else STREAMED


@register_jitable
def keys_seen(
    causal: int, window: int, queries: int, keys: int, first: int, last: int
) -> tuple[int, int]:
    """Return the key range [low, high) that queries first..last-1 of a request attend to."""
    if causal == 0:
        return 0, keys
    high = keys - queries + last
    low = 0 if window == 0 else max(0, keys - queries + first + 1 - window)
    return low, high


@register_jitable
def tiled_keys(low: int, high: int, base: int, tile: int, keys: int) -> tuple[int, int]:
    """Return the key range of the whole tiles that hold [low, high); tiles start at `base`."""
    first, last = (low - base) // tile, ceil_div(high - base, tile)
    return base + first * tile, min(base + last * tile, keys)


@register_jitable
def streamed(unit: MatrixModel, m: int, n: int) -> int:
    """Return the dimension that streams through the array while partial sums wait."""
    return n if unit.kind == INPUT_STATIONARY else m


@register_jitable
def core_share(total: int, heads: int, cores: int) -> int:
    """Return what the fullest core has of `total`: heads are dealt out whole."""
    return ceil_div(total * ceil_div(heads, cores), heads)


@register_jitable
def attention_totals(
    p: AttentionProblem,
    requests: NDArray[np.int64],
    queries: NDArray[np.int64],
    keys: NDArray[np.int64],
    q_tile: int,
    kv_tile: int,
    hold: int,
) -> AttentionTotals:
    """Sum over requests and query tiles what is issued; masked key tiles are skipped.

    hold: a head's keys and values stay on chip for all its query tiles.
    """
    pairs, scores, loaded, rescaled, score_cycles = 0, 0, 0, 0, 0
    busy, move, skew, operand, conversion = 0, 0, 0, 0, 0
    read, write, held_read, held_write = 0, 0, 0, 0
    wide = p.unit.accumulator_bits
    for g in range(requests.size):
        heads = requests[g] * p.kv_heads
        first = 0
        # What lies before the window of a request's first query is not even in the cache.
        base, _ = keys_seen(p.causal, p.window, queries[g], keys[g], 0, 1)
        while first < queries[g]:
            last = min(first + q_tile, queries[g])
            low, high = keys_seen(p.causal, p.window, queries[g], keys[g], first, last)
            low, high = tiled_keys(low, high, base, kv_tile, keys[g])
            tiles = ceil_div(high - low, kv_tile)
            repeat = 1
            if p.causal == 0 and last - first == q_tile:
                repeat = queries[g] // q_tile
            m = (last - first) * p.group_size
            count = heads * repeat
            qk_pieces = accumulator_pieces(p.unit, streamed(p.unit, m, high - low), p.head_dim)
            pv_pieces = accumulator_pieces(p.unit, streamed(p.unit, m, p.head_dim), high - low)
            qk = matrix_work(
                p.unit, count, m, high - low, p.head_dim, qk_pieces, 0, p.a_bits, p.w_bits, wide
            )
            pv = matrix_work(
                p.unit,
                count,
                m,
                p.head_dim,
                high - low,
                pv_pieces,
                0,
                p.a_bits,
                p.w_bits,
                p.out_bits,
            )
            score_cycles += qk.busy + qk.weight_load + qk.fill_drain + qk.operand + qk.conversion
            busy += qk.busy + pv.busy
            move += qk.weight_load + pv.weight_load
            skew += qk.fill_drain + pv.fill_drain
            operand += qk.operand + pv.operand
            conversion += qk.conversion + pv.conversion
            read += qk.read_bits + pv.read_bits
            write += qk.write_bits + pv.write_bits
            held_read += qk.accumulator_read_bits + pv.accumulator_read_bits
            held_write += qk.accumulator_write_bits + pv.accumulator_write_bits
            pairs += count * tiles
            scores += count * m * (high - low)
            rescaled += count * m * (tiles - 1)
            if hold == 0:
                loaded += count * (high - low)
            first += (last - first) * repeat
        if hold == 1:
            loaded += heads * (keys[g] - base)
    return AttentionTotals(
        pairs, scores, loaded, rescaled, busy, move, skew, operand, conversion, score_cycles,
        read, write, held_read, held_write,
    )  # fmt: skip


@register_jitable
def attention_choice(
    p: AttentionProblem,
    t: AttentionTotals,
    rates: Rates,
    heads: int,
    longest: int,
    q_tile: int,
    kv_tile: int,
    hold: int,
) -> Choice:
    """Price fused attention for one size of query and key tiles."""
    cores = min(p.cores, heads)
    folds = ceil_div(t.scores, STREAMED * STREAMED * cores)
    steps = max(1, min(MAX_STEPS, max(ceil_div(heads, cores), folds)))
    per_key = p.kv_memory_bits_per_key
    held_keys = longest if hold == 1 else kv_tile
    key_runs = max(1, t.keys_loaded // held_keys)
    load = padded_bytes(t.keys_loaded * per_key, key_runs, rates.burst_bytes)
    load += padded_bytes(p.q_memory_bits, heads, rates.burst_bytes)
    store = padded_bytes(p.out_memory_bits, heads, rates.burst_bytes)
    tile = ceil_div(held_keys * per_key, 8)
    rows = q_tile * p.group_size
    tile_bits = (
        kv_tile * (p.unit.accumulator_bits + p.a_bits) + p.head_dim * p.unit.accumulator_bits
    )
    static = 2 * ceil_div(rows * tile_bits, 8)
    if p.q_memory_bits > 0:
        static += 2 * ceil_div(rows * p.head_dim * p.a_bits, 8)
    if p.ready_cycles_per_kilokey > 0:
        static += 2 * ceil_div(2 * kv_tile * p.head_dim * p.w_bits, 8)
    free = p.room_bytes - static - tile
    if free < ceil_div(load, steps * cores):
        # A small scratchpad: hand on each tile as it comes.
        steps = max(steps, ceil_div(t.pairs, cores))
    slot = ceil_div(load, steps * cores)
    slots = 1 + free // slot
    move, skew = matrix_edges(p.unit, rows, kv_tile, p.head_dim, 1)
    cycles = t.busy + t.weight_load + t.fill_drain + t.operand + t.conversion
    main = cycles_ps(rates, core_share(t.score_cycles, heads, cores) + move + skew)
    both = cycles_ps(rates, core_share(cycles, heads, cores) + move + skew)
    ready = ceil_div(t.keys_loaded * p.ready_cycles_per_kilokey, 1024 * cores)
    softmax = ceil_div(t.scores * p.softmax_cycles_per_kiloscore, 1024 * cores)
    softmax += ceil_div(t.rescaled * (p.head_dim + 3), p.vector_lanes * cores)
    load_ps = int(np.ceil(load * rates.ps_per_byte))
    load_ps += ceil_div(2 * t.keys_loaded, held_keys * cores) * rates.descriptor_ps
    pipeline = Pipeline(
        steps,
        1,
        max(1, min(slots, steps)),
        rates.latency_ps if load > 0 else 0,
        ceil_div(load_ps, steps),
        ceil_div(cycles_ps(rates, ready), steps),
        main // steps,
        main - main // steps * steps,
        ceil_div(cycles_ps(rates, softmax), steps),
        ceil_div(both - main, steps),
        ceil_div(int(np.ceil(store * rates.ps_per_byte)), steps),
    )
    needed = static + tile + max(tile, slot)
    energy = (load + store) * 8 * (rates.pj_per_memory_bit + rates.pj_per_scratchpad_bit)
    energy += (t.read_bits + t.write_bits) * rates.pj_per_scratchpad_bit
    footprint = needed if needed <= p.room_bytes else -1
    room = free + slot
    return Choice(footprint, needed, energy, load, store, slot, room, 1, 0, pipeline)


@compiled(equations, tiling)
def search_attention(
    p: AttentionProblem,
    rates: Rates,
    requests: NDArray[np.int64],
    queries: NDArray[np.int64],
    keys: NDArray[np.int64],
    heads: int,
    longest: int,
    most: int,
) -> tuple[Choice, AttentionTotals, tuple[int, int, int], int]:
    """Return the best tiling, what it issues, its (q_tile, kv_tile, hold) and its time in ps.

    heads: key-value heads of all requests; longest: most keys, most: most queries of a request.
    Where nothing fits, the tiling that needs least and -1.
    """
    grain = key_grain(p.unit)
    folds = ceil_div(longest, grain)
    tiles = (most, min(longest, grain), 0)
    best = Rank(0, 0.0, -1, 0)
    least_needed = -1
    q_cut = 1
    while q_cut < 2 * most and (q_cut <= QUERY_TILES or best.time_ps < 0):
        q_tile = ceil_div(most, min(q_cut, most))
        kv_cut = 1
        while kv_cut < 2 * folds:
            kv_tile = min(longest, ceil_div(folds, min(kv_cut, folds)) * grain)
            kv_cut *= 2
            for hold in range(2 if q_tile < most else 1):
                totals = attention_totals(p, requests, queries, keys, q_tile, kv_tile, hold)
                if totals.pairs > MAX_TILES * heads:
                    continue
                choice = attention_choice(p, totals, rates, heads, longest, q_tile, kv_tile, hold)
                if choice.footprint_bytes < 0:
                    if least_needed < 0 or choice.needed_bytes < least_needed:
                        least_needed = choice.needed_bytes
                        if best.time_ps < 0:
                            tiles = (q_tile, kv_tile, hold)
                    continue
                rank = rank_of(choice)
                if better(rank, best):
                    best = rank
                    tiles = (q_tile, kv_tile, hold)
        q_cut *= 2
    # As in `search_gemm`, only the tiles are kept on the way.
    totals = attention_totals(p, requests, queries, keys, tiles[0], tiles[1], tiles[2])
    choice = attention_choice(p, totals, rates, heads, longest, tiles[0], tiles[1], tiles[2])
    return choice, totals, tiles, best.time_ps
