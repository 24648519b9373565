"""The search for the tiles of fused attention: QK^T, softmax and PV in one pass over the keys.

The scheme of FlashAttention-2 (Dao, 2023): query tiles outside, key tiles inside, scores never
leave the core; key tiles that the mask hides are skipped. A head's keys and values are read once
for all query tiles where they fit (`hold`), else for each query tile.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.dram.channels import Access
from simulator.dram.profile import Profile
from simulator.hardware import equations
from simulator.hardware.equations import (
    INPUT_STATIONARY,
    MatrixModel,
    Pipeline,
    accumulator_pieces,
    ceil_div,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    total_cycles,
)
from simulator.kernels import compiled
from simulator.mapping import tiling
from simulator.mapping.tiling import (
    MAX_STEPS,
    MAX_TILES,
    STREAMED,
    Choice,
    Rates,
    best_of,
    cuts,
    cycles_ps,
    energy_of,
    padded_bytes,
    tile_size,
)

Array = NDArray[np.int64]
#: (q_tile, kv_tile, hold).
Tiles = tuple[int, int, int]

#: Pieces into which the queries of a request are cut; more only where nothing fits.
QUERY_TILES = 64


class AttentionProblem(NamedTuple):
    """Fused attention of a whole device: QK^T, softmax and PV tile by tile (FlashAttention).

    kv_memory_bits_per_key: payload and metadata bits of one key and its value in one head;
    q_memory_bits, out_memory_bits: 0 where on chip. ready_cycles, softmax_cycles: vector cycles per
    1,024 keys and values loaded (one head), and per 1,024 scores issued. vector_lanes, mul_cycles
    (of one lane for one multiplication): for the rescaling of outputs between key tiles.
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
    mul_cycles: int
    room_bytes: int


class AttentionTotals(NamedTuple):
    """What a tiling of attention issues over all heads and requests.

    From `busy` to `rescaled_most`: on the core that has most to do.
    """

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
    scores_most: int
    keys_most: int
    rescaled_most: int
    read_bits: int
    write_bits: int
    accumulator_read_bits: int
    accumulator_write_bits: int


class AttentionTraffic(NamedTuple):
    """What a tiling of attention loads and stores.

    kv_bytes, kv_runs: of keys and values, and their contiguous runs; load_bytes: queries too.
    """

    kv_bytes: int
    kv_runs: int
    load_bytes: int
    store_bytes: int


class Speeds(NamedTuple):
    """ps of a byte of keys and values, of queries, and of outputs, as a tiling moves them."""

    kv_ps_per_byte: float
    q_ps_per_byte: float
    out_ps_per_byte: float


class AttentionPrice(NamedTuple):
    """What a tiling of attention takes; see `Choice`."""

    needed_bytes: int
    energy_pj: float
    slot_bytes: int
    ring_bytes: int
    pipeline: Pipeline


#: What `add_group` counts: the fields of `MatrixWork`, then its own.
BUSY, MOVE, SKEW, OPERAND, CONVERSION, READ, WRITE, HELD_READ, HELD_WRITE, SCALE = range(10)
SCORE_CYCLES, PAIRS, SCORES, KEYS, RESCALED = range(10, 15)
TOTALS = 15


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


class Room(NamedTuple):
    """Arrays to work in: Numba would take a second to compile their making.

    costs: cycles of one head of each group; load: cycles of each core; dealt: heads by core and
    group.
    """

    costs: Array
    load: Array
    dealt: Array


def room_for(cores: int, groups: int) -> Room:
    """Return room for so many cores and groups of equal requests."""
    return Room(
        costs=np.zeros(groups, dtype=np.int64),
        load=np.zeros(cores, dtype=np.int64),
        dealt=np.zeros((cores, groups), dtype=np.int64),
    )


@register_jitable
def busiest(requests: Array, heads: int, cores: int, room: Room) -> int:
    """Deal whole heads out to cores; return the core that has most to do.

    requests: in each group; heads: of a request. Each goes to the core that has least: with the
    longest requests first, Graham's rule of the longest processing time.
    """
    for core in range(cores):
        room.load[core] = 0
    for g in range(requests.size):
        # The first group goes round evenly as often as it can.
        even = requests[g] * heads // cores if g == 0 else 0
        for core in range(cores):
            room.dealt[core, g] = even
            room.load[core] += even * room.costs[g]
        for _ in range(requests[g] * heads - even * cores):
            least = 0
            for core in range(cores):
                if room.load[core] < room.load[least]:
                    least = core
            room.dealt[least, g] += 1
            room.load[least] += room.costs[g]
    most = 0
    for core in range(cores):
        if room.load[core] > room.load[most]:
            most = core
    return most


@register_jitable
def add_group(
    p: AttentionProblem,
    heads: int,
    queries: int,
    keys: int,
    tiles: tuple[int, int, int],
    totals: Array,
) -> int:
    """Add what `heads` equal heads issue to `totals`; return their cycles.

    tiles: of queries, of keys, and whether a head's keys and values stay on chip for all its query
    tiles.
    """
    q_tile, kv_tile, hold = tiles
    cycles = 0
    # What lies before the window of a request's first query is not even in the cache.
    base, _ = keys_seen(p.causal, p.window, queries, keys, 0, 1)
    first = 0
    while first < queries:
        last = min(first + q_tile, queries)
        low, high = keys_seen(p.causal, p.window, queries, keys, first, last)
        low, high = tiled_keys(low, high, base, kv_tile, keys)
        repeat = 1
        if p.causal == 0 and last - first == q_tile:
            repeat = queries // q_tile
        m, seen, count = (last - first) * p.group_size, high - low, heads * repeat
        for product in range(2):
            n, k, out = seen, p.head_dim, p.unit.accumulator_bits
            if product == 1:
                n, k, out = p.head_dim, seen, p.out_bits
            pieces = accumulator_pieces(p.unit, streamed(p.unit, m, n), k)
            work = matrix_work(p.unit, count, m, n, k, pieces, 0, p.a_bits, p.w_bits, out, 0)
            for field in range(len(work)):
                totals[BUSY + field] += work[field]
            cycles += total_cycles(work)
            if product == 0:
                totals[SCORE_CYCLES] += total_cycles(work)
        totals[PAIRS] += count * ceil_div(seen, kv_tile)
        totals[SCORES] += count * m * seen
        totals[RESCALED] += count * m * (ceil_div(seen, kv_tile) - 1)
        if hold == 0:
            totals[KEYS] += count * seen
        first += (last - first) * repeat
    if hold == 1:
        totals[KEYS] += heads * (keys - base)
    return cycles


@compiled(equations, tiling)
def add_totals(
    p: AttentionProblem,
    requests: Array,
    queries: Array,
    keys: Array,
    tilings: Array,
    totals: Array,
    room: Room,
) -> None:
    """Put into `totals` what each of `tilings` issues: of all heads, and of the busiest core.

    Masked key tiles are skipped. Groups stand in order of length, the longest first.
    """
    for i in range(tilings.shape[0]):
        tiles = (tilings[i, 0], tilings[i, 1], tilings[i, 2])
        for g in range(requests.size):
            heads = requests[g] * p.kv_heads
            cycles = add_group(p, heads, queries[g], keys[g], tiles, totals[i, 0])
            room.costs[g] = ceil_div(cycles, heads)
        if p.cores == 1:
            for field in range(TOTALS):
                totals[i, 1, field] = totals[i, 0, field]
            continue
        core = busiest(requests, p.kv_heads, p.cores, room)
        for g in range(requests.size):
            if room.dealt[core, g] > 0:
                add_group(p, room.dealt[core, g], queries[g], keys[g], tiles, totals[i, 1])


@register_jitable
def totals_of(whole: Sequence[int] | Array, most: Sequence[int] | Array) -> AttentionTotals:
    """Return two rows of `add_totals` by name: of all heads, and of the busiest core."""
    return AttentionTotals(
        whole[PAIRS], whole[SCORES], whole[KEYS], whole[RESCALED],
        most[BUSY], most[MOVE], most[SKEW], most[OPERAND], most[CONVERSION],
        most[SCORE_CYCLES], most[SCORES], most[KEYS], most[RESCALED],
        whole[READ], whole[WRITE], whole[HELD_READ], whole[HELD_WRITE],
    )  # fmt: skip


def attention_totals(
    p: AttentionProblem, groups: Sequence[tuple[int, int, int]], tilings: Sequence[Tiles]
) -> list[AttentionTotals]:
    """Return what each of several (q_tile, kv_tile, hold) issues over all requests and tiles."""
    longest_first = sorted(groups, key=lambda group: group[1:], reverse=True)
    requests, queries, keys = np.array(longest_first, dtype=np.int64).T.copy()
    totals = np.zeros((len(tilings), 2, TOTALS), dtype=np.int64)
    room = room_for(p.cores, len(groups))
    add_totals(p, requests, queries, keys, np.array(tilings, dtype=np.int64), totals, room)
    return [totals_of(whole, most) for whole, most in totals.tolist()]


@register_jitable
def attention_traffic(
    p: AttentionProblem, t: AttentionTotals, rates: Rates, heads: int, held_keys: int
) -> AttentionTraffic:
    """Return what crosses the memory where so many keys of a head are on chip at a time."""
    runs = max(1, t.keys_loaded // held_keys)
    kv = padded_bytes(t.keys_loaded * p.kv_memory_bits_per_key, runs, rates.burst_bytes)
    queries = padded_bytes(p.q_memory_bits, heads, rates.burst_bytes)
    store = padded_bytes(p.out_memory_bits, heads, rates.burst_bytes)
    # Keys and values of a head lie apart.
    return AttentionTraffic(kv, 2 * runs, kv + queries, store)


@register_jitable
def static_bytes(p: AttentionProblem, q_tile: int, kv_tile: int) -> int:
    """Return the bytes of scores, outputs, queries and widened keys in flight, each twice."""
    rows = q_tile * p.group_size
    tile_bits = (
        kv_tile * (p.unit.accumulator_bits + p.a_bits) + p.head_dim * p.unit.accumulator_bits
    )
    static = 2 * ceil_div(rows * tile_bits, 8)
    if p.q_memory_bits > 0:
        static += 2 * ceil_div(rows * p.head_dim * p.a_bits, 8)
    if p.ready_cycles_per_kilokey > 0:
        static += 2 * ceil_div(2 * kv_tile * p.head_dim * p.w_bits, 8)
    return static


@register_jitable
def attention_price(
    p: AttentionProblem,
    t: AttentionTotals,
    rates: Rates,
    moved: AttentionTraffic,
    speeds: Speeds,
    heads: int,
    tiles: tuple[int, int],
    held_keys: int,
) -> AttentionPrice:
    """Price fused attention for one size of query and key tiles, (q_tile, kv_tile)."""
    cores, load, store = p.cores, moved.load_bytes, moved.store_bytes
    folds = ceil_div(t.scores, STREAMED * STREAMED * cores)
    steps = max(1, min(MAX_STEPS, max(ceil_div(heads, cores), folds)))
    tile = ceil_div(held_keys * p.kv_memory_bits_per_key, 8)
    static = static_bytes(p, tiles[0], tiles[1])
    free = p.room_bytes - static - tile
    if free < ceil_div(load, steps * cores):
        # A small scratchpad: hand on each tile as it comes.
        steps = max(steps, ceil_div(t.pairs, cores))
    slot = ceil_div(load, steps * cores)
    slots = 1 + free // slot
    move, skew = matrix_edges(p.unit, tiles[0] * p.group_size, tiles[1], p.head_dim, 1)
    cycles = t.busy + t.weight_load + t.fill_drain + t.operand + t.conversion
    main = cycles_ps(rates, t.score_cycles + move + skew)
    both = cycles_ps(rates, cycles + move + skew)
    ready = ceil_div(t.keys_most * p.ready_cycles_per_kilokey, 1024)
    softmax = ceil_div(t.scores_most * p.softmax_cycles_per_kiloscore, 1024)
    softmax += ceil_div(t.rescaled_most * (p.head_dim + 3) * p.mul_cycles, p.vector_lanes)
    kv = moved.kv_bytes
    load_ps = ceil(kv * speeds.kv_ps_per_byte + (load - kv) * speeds.q_ps_per_byte)
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
        ceil_div(ceil(store * speeds.out_ps_per_byte), steps),
    )
    energy = energy_of(load, store, load, t.read_bits + t.write_bits, rates)
    return AttentionPrice(static + tile + max(tile, slot), energy, slot, free + slot, pipeline)


def attention_choice(
    p: AttentionProblem,
    t: AttentionTotals,
    rates: Rates,
    memory: Profile,
    heads: int,
    longest: int,
    q_tile: int,
    kv_tile: int,
    hold: int,
) -> Choice:
    """Price fused attention for one size of query and key tiles, as its memory moves it."""
    held_keys = longest if hold == 1 else kv_tile
    moved = attention_traffic(p, t, rates, heads, held_keys)
    kv, load, store = moved.kv_bytes, moved.load_bytes, moved.store_bytes
    # Queries and outputs of all heads lie one after the other.
    accesses = (
        Access(False, kv, moved.kv_runs, 0),
        Access(False, load - kv, 1, 1),
        Access(True, store, 1, 1),
    )
    speeds = Speeds(*(memory.ps_per_byte(each) if each.size_bytes else 0.0 for each in accesses))
    price = attention_price(p, t, rates, moved, speeds, heads, (q_tile, kv_tile), held_keys)
    needed = price.needed_bytes
    return Choice(
        needed if needed <= p.room_bytes else -1,
        needed,
        price.energy_pj,
        load,
        store,
        load,
        price.slot_bytes,
        price.ring_bytes,
        1,
        0,
        price.pipeline,
        tuple(access for access in accesses if access.size_bytes),
    )


def candidates(p: AttentionProblem, longest: int, most: int) -> list[list[Tiles]]:
    """Return (q_tile, kv_tile, hold) to look at: first those of up to QUERY_TILES query tiles.

    longest: most keys, most: most queries of a request. Tiles are cut by powers of two.
    """
    grain = key_grain(p.unit)
    folds = ceil_div(longest, grain)
    key_tiles = [tile_size(longest, folds, grain, cut) for cut in range(cuts(folds))]
    usual: list[Tiles] = []
    small: list[Tiles] = []
    for cut in range(cuts(most)):
        q_tile = tile_size(most, most, 1, cut)
        holds = (0, 1) if q_tile < most else (0,)
        tiles = [(q_tile, kv_tile, hold) for kv_tile in key_tiles for hold in holds]
        (usual if 1 << cut <= QUERY_TILES else small).extend(tiles)
    return [usual, small] if small else [usual]


def search_attention(
    p: AttentionProblem,
    rates: Rates,
    memory: Profile,
    groups: Sequence[tuple[int, int, int]],
) -> tuple[Choice, AttentionTotals, Tiles, int]:
    """Return the best tiling, what it issues, its (q_tile, kv_tile, hold) and its time in ps.

    groups: (requests, queries, keys) of equal requests. More query tiles than QUERY_TILES are
    looked at only if nothing else fits. Where nothing fits at all, the tiling that needs least and
    -1. Only what loops over tiles is compiled; the price of a tiling is not worth Numba's time.
    """
    heads = sum(group[0] for group in groups) * p.kv_heads
    longest, most = max(group[2] for group in groups), max(group[1] for group in groups)
    # Cores without a head do nothing.
    p = p._replace(cores=min(p.cores, heads))
    smallest: tuple[Choice, AttentionTotals, Tiles] | None = None
    for tilings in candidates(p, longest, most):
        found: list[tuple[Choice, AttentionTotals, Tiles]] = []
        for tiles, totals in zip(tilings, attention_totals(p, groups, tilings), strict=True):
            if totals.pairs > MAX_TILES * heads:
                continue
            choice = attention_choice(p, totals, rates, memory, heads, longest, *tiles)
            if choice.footprint_bytes >= 0:
                found.append((choice, totals, tiles))
            elif smallest is None or choice.needed_bytes < smallest[0].needed_bytes:
                smallest = choice, totals, tiles
        if found:
            ranks = [(pipeline_ps(each.pipeline), each.needed_bytes) for each, *_ in found]
            energies = np.array([each.energy_pj for each, *_ in found])
            best = best_of(np.array(ranks, dtype=np.int64), energies, len(found))
            return *found[best], ranks[best][0]
    # The first tiling is one tile a head: it is never left out.
    assert smallest is not None
    return *smallest, -1
