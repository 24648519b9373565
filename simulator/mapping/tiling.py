"""The search for tiles: a matrix product cut to fit the scratchpad.

Each candidate is priced by the closed forms of `hardware/equations.py`; the fastest in the steady
state wins, among equals the one with the least energy, then the one that is fastest alone. Tile
counts are powers of two (and the whole), tiles of one operation differ by at most one fold. Loop
orders are those of `equations.tile_loads`.

A tile is what is reused from the scratchpad; a step is what the pipeline hands on. Steps are finer
than tiles (a product can start when the operands of its first folds are there) and as many for
every tiling of an operation, so that tilings differ by traffic and stalls, not by how they start.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from simulator.hardware import equations
from simulator.hardware.equations import (
    INPUT_STATIONARY,
    OUTPUT_STATIONARY,
    WEIGHT_STATIONARY,
    MatrixModel,
    Pipeline,
    accumulator_pieces,
    ceil_div,
    edges_ps,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    tile_loads,
)
from simulator.kernels import compiled

#: Most tiles of one operation: what needs more is refused as too large for the scratchpad.
MAX_TILES = 262_144
#: Steps of one operation: so many, in pieces of its outputs and, if these are few, of K. Assumed:
#: fine enough for tiles of scratchpads from 128 KiB on, coarse enough to simulate in no time.
MAX_STEPS = 4096
#: Extent of a piece of a dimension that streams through the array.
STREAMED = 128
ORDERS = ("n k m", "m k n", "m n k", "n m k")


class Rates(NamedTuple):
    """Speeds and prices that tilings are judged by.

    ps_per_byte is of the memory as the device sustains it. Energies are pJ per bit and only break
    ties.
    """

    clock_hz: int
    ps_per_byte: float
    latency_ps: int
    descriptor_ps: int
    burst_bytes: int
    pj_per_memory_bit: float
    pj_per_scratchpad_bit: float


class GemmProblem(NamedTuple):
    """`products` products of m x k by k x n on each core, and what crosses memory for all cores.

    a_memory_bits, out_memory_bits: 0 where the tensor stays on chip. side_memory_bits: what joined
    operations read, once. *_shards: cores among which an operand is cut; *_copies: cores that read
    the same part one by one. ready_cycles: vector cycles to widen all weights once; post_cycles:
    vector cycles on all outputs. room_bytes: scratchpad left beside resident activations.
    """

    unit: MatrixModel
    products: int
    m: int
    n: int
    k: int
    a_bits: int
    w_bits: int
    out_bits: int
    a_memory_bits: int
    w_memory_bits: int
    w_metadata_bits: int
    out_memory_bits: int
    side_memory_bits: int
    a_shards: int
    w_shards: int
    a_copies: int
    w_copies: int
    ready_cycles: int
    post_cycles: int
    room_bytes: int


class Choice(NamedTuple):
    """One tiling and everything that follows from it; footprint -1 where it does not fit.

    needed_bytes: what it takes at least; slot_bytes: scratchpad that one load step takes;
    ring_bytes: scratchpad that all load steps in flight may take.
    """

    footprint_bytes: int
    needed_bytes: int
    energy_pj: float
    load_bytes: int
    store_bytes: int
    slot_bytes: int
    ring_bytes: int
    temporal_tiles: int
    k_spills: int
    pipeline: Pipeline


@register_jitable
def cycles_ps(rates: Rates, cycles: int) -> int:
    """Return the ps that `cycles` last, rounded up.

    In steps of a million, so that cycles x 10^12 need not fit into 64 bits.
    """
    hz = rates.clock_hz
    seconds, rest = cycles // hz, cycles % hz
    micros, rest = rest * 1_000_000 // hz, rest * 1_000_000 % hz
    return seconds * 10**12 + micros * 1_000_000 + ceil_div(rest * 1_000_000, hz)


@register_jitable
def padded_bytes(bits: int, pieces: int, burst: int) -> int:
    """Return the bytes of a stream in `pieces` contiguous parts, each padded to whole bursts."""
    if bits == 0:
        return 0
    return pieces * ceil_div(ceil_div(bits, 8 * pieces), burst) * burst


@register_jitable
def granules(unit: MatrixModel) -> tuple[int, int, int]:
    """Return the smallest useful tile (m, n, k) of a matrix unit."""
    if unit.kind == WEIGHT_STATIONARY:
        return unit.temporal, unit.columns, unit.rows
    if unit.kind == OUTPUT_STATIONARY:
        return unit.rows, unit.columns, unit.temporal
    if unit.kind == INPUT_STATIONARY:
        return unit.columns, unit.temporal, unit.rows
    return unit.rows, unit.columns, unit.temporal


@register_jitable
def temporal_pieces(p: GemmProblem, tiles_m: int, tiles_n: int, tiles_k: int) -> int:
    """Return the pieces of the temporal dimension: its tiles, or what the accumulators hold."""
    unit = p.unit
    if unit.kind == OUTPUT_STATIONARY:
        return tiles_k
    if unit.kind != WEIGHT_STATIONARY and unit.kind != INPUT_STATIONARY:
        return 1
    tiles, length = (tiles_m, p.m) if unit.kind == WEIGHT_STATIONARY else (tiles_n, p.n)
    return max(tiles, accumulator_pieces(unit, length, p.k))


@register_jitable
def partial_sum_bytes(p: GemmProblem, order: int, tile_m: int, tile_n: int) -> int:
    """Return the bytes of partial sums that live while K tiles pass, at accumulator width."""
    height = p.m if order == 0 else tile_m
    width = p.n if order == 1 else tile_n
    return ceil_div(height * width * p.unit.accumulator_bits, 8)


@register_jitable
def gemm_steps(p: GemmProblem) -> tuple[int, int]:
    """Return (pieces of the outputs, pieces of K) that a product is handed on in."""
    grain_m, grain_n, grain_k = granules(p.unit)
    pieces = (
        p.products * ceil_div(p.m, max(grain_m, STREAMED)) * ceil_div(p.n, max(grain_n, STREAMED))
    )
    outputs = min(pieces, MAX_STEPS)
    return outputs, min(ceil_div(p.k, grain_k), ceil_div(MAX_STEPS, outputs))


@register_jitable
def gemm_choice(
    p: GemmProblem, rates: Rates, tile_m: int, tile_n: int, tile_k: int, order: int
) -> Choice:
    """Price one tiling of a product; see the classes for units."""
    unit = p.unit
    tiles_m, tiles_n = ceil_div(p.m, tile_m), ceil_div(p.n, tile_n)
    tiles_k = ceil_div(p.k, tile_k)
    outputs, every = gemm_steps(p)
    a_loads, w_loads = tile_loads(order, tiles_m, tiles_n, tiles_k)
    burst = rates.burst_bytes
    a_pieces = p.products * (p.m * tiles_k if tiles_k > 1 else tiles_m)
    w_pieces = p.products * tiles_n * tiles_k
    a_once = padded_bytes(p.a_memory_bits, a_pieces * p.a_shards, burst)
    w_once = padded_bytes(p.w_memory_bits, w_pieces * p.w_shards, burst)
    w_once += padded_bytes(p.w_metadata_bits, w_pieces * p.w_shards, burst)
    out_pieces = p.products * (p.m * tiles_n if tiles_n > 1 else tiles_m)
    store = padded_bytes(p.out_memory_bits, out_pieces, burst)
    side = padded_bytes(p.side_memory_bits, p.products * tiles_m * tiles_n, burst)
    load = a_loads * p.a_copies * a_once + w_loads * p.w_copies * w_once + side
    a_core, w_core = ceil_div(a_once, p.a_shards), ceil_div(w_once, p.w_shards)
    tile = ceil_div(w_core, w_pieces) + ceil_div(a_core, p.products * tiles_m * tiles_k)
    core = a_loads * a_core + w_loads * w_core + ceil_div(side, max(p.a_shards, p.w_shards))

    static = 2 * ceil_div(tile_m * tile_n * p.out_bits, 8) if store > 0 else 0
    if p.ready_cycles > 0:
        static += 2 * ceil_div(tile_k * tile_n * p.w_bits, 8)
    k_spills = 0
    if tiles_k > 1 and unit.kind != OUTPUT_STATIONARY:
        held = partial_sum_bytes(p, order, tile_m, tile_n)
        own = unit.accumulator_entries * unit.columns * unit.arrays * unit.accumulator_bits // 8
        if held > own:
            static += held
            k_spills = tiles_k - 1
    free = p.room_bytes - static - tile
    if free < ceil_div(core, outputs * every):
        # A small scratchpad: hand on each tile as it comes.
        outputs, every = max(outputs, p.products * tiles_m * tiles_n), max(every, tiles_k)
    steps = outputs * every
    slot = ceil_div(core, steps)
    slots = steps if slot == 0 else 1 + free // slot
    pieces = temporal_pieces(p, tiles_m, tiles_n, tiles_k)
    work = matrix_work(
        unit, p.products, p.m, p.n, p.k, pieces, k_spills, p.a_bits, p.w_bits, p.out_bits
    )
    first, last = matrix_edges(unit, p.m, p.n, p.k, pieces)
    cycles = work.busy + work.weight_load + work.fill_drain + work.operand + work.conversion
    main = cycles_ps(rates, cycles + first + last)

    descriptors = 0
    if a_once > 0:
        descriptors += a_loads * p.products * tiles_m * tiles_k
    if w_once > 0:
        descriptors += w_loads * w_pieces
    load_ps = int(np.ceil(load * rates.ps_per_byte)) + descriptors * rates.descriptor_ps
    store_ps = int(np.ceil(store * rates.ps_per_byte))
    if store > 0:
        store_ps += p.products * tiles_m * tiles_n * rates.descriptor_ps
    pipeline = Pipeline(
        steps,
        every,
        max(1, min(slots, steps)),
        rates.latency_ps if load > 0 else 0,
        ceil_div(load_ps, steps),
        ceil_div(cycles_ps(rates, p.ready_cycles * w_loads), steps),
        main // steps,
        main - main // steps * steps,
        ceil_div(cycles_ps(rates, p.post_cycles), outputs),
        0,
        ceil_div(store_ps, outputs),
    )
    needed = static + tile + (max(tile, slot) if steps > 1 else 0)
    energy = (load + store) * 8 * (rates.pj_per_memory_bit + rates.pj_per_scratchpad_bit)
    energy += (work.read_bits + work.write_bits) * rates.pj_per_scratchpad_bit
    footprint = needed if needed <= p.room_bytes else -1
    room = free + slot
    return Choice(footprint, needed, energy, load, store, slot, room, pieces, k_spills, pipeline)


class Rank(NamedTuple):
    """What tilings are compared by: time in the steady state, energy, time alone, footprint."""

    steady_ps: int
    energy_pj: float
    time_ps: int
    footprint_bytes: int


@register_jitable
def rank_of(choice: Choice) -> Rank:
    """Return the rank of a choice: starting a few ns earlier is not worth more traffic."""
    time = pipeline_ps(choice.pipeline)
    steady = time - edges_ps(choice.pipeline)
    return Rank(steady, choice.energy_pj, time, choice.footprint_bytes)


@register_jitable
def better(rank: Rank, best: Rank) -> bool:
    """Tell whether a rank beats the best so far; a best time of -1 is none."""
    if best.time_ps < 0 or rank.steady_ps != best.steady_ps:
        return best.time_ps < 0 or rank.steady_ps < best.steady_ps
    if rank.energy_pj != best.energy_pj:
        return rank.energy_pj < best.energy_pj
    if rank.time_ps != best.time_ps:
        return rank.time_ps < best.time_ps
    return rank.footprint_bytes < best.footprint_bytes


@compiled(equations)
def search_gemm(  # noqa: C901 - one loop a dimension, and the two reasons to skip a candidate
    p: GemmProblem, rates: Rates
) -> tuple[Choice, tuple[int, int, int, int], int]:
    """Return the best tiling, its (tile_m, tile_n, tile_k, order) and its time alone in ps.

    Tiles of fewer than STREAMED rows are looked at only if nothing else fits. Where nothing fits at
    all, the tiling that needs least and -1.
    """
    grain_m, grain_n, grain_k = granules(p.unit)
    folds_m, folds_n = ceil_div(p.m, grain_m), ceil_div(p.n, grain_n)
    folds_k = ceil_div(p.k, grain_k)
    tiles = (min(p.m, grain_m), min(p.n, grain_n), min(p.k, grain_k), 2)
    best = Rank(0, 0.0, -1, 0)
    least_needed = -1
    w_bits = p.w_memory_bits / (p.w_shards * p.products * p.n * p.k)
    cut_m = 1
    tile_m = p.m
    while cut_m < 2 * folds_m and (cut_m == 1 or tile_m > STREAMED or best.time_ps < 0):
        tile_m = min(p.m, ceil_div(folds_m, min(cut_m, folds_m)) * grain_m)
        cut_n = 1
        while cut_n < 2 * folds_n:
            tile_n = min(p.n, ceil_div(folds_n, min(cut_n, folds_n)) * grain_n)
            cut_k = 1
            while cut_k < 2 * folds_k:
                tile_k = min(p.k, ceil_div(folds_k, min(cut_k, folds_k)) * grain_k)
                count = ceil_div(p.m, tile_m) * ceil_div(p.n, tile_n) * ceil_div(p.k, tile_k)
                if count > MAX_TILES:
                    break
                cut_k *= 2
                if tile_n * tile_k * w_bits > 8 * p.room_bytes:
                    continue
                for order in range(4 if tile_k < p.k else 2):
                    choice = gemm_choice(p, rates, tile_m, tile_n, tile_k, order)
                    if choice.footprint_bytes < 0:
                        if least_needed < 0 or choice.needed_bytes < least_needed:
                            least_needed = choice.needed_bytes
                            if best.time_ps < 0:
                                tiles = (tile_m, tile_n, tile_k, order)
                        continue
                    rank = rank_of(choice)
                    if better(rank, best):
                        best = rank
                        tiles = (tile_m, tile_n, tile_k, order)
            cut_n *= 2
        cut_m *= 2
    # Only the tiles are kept on the way: whole choices would take Numba seconds to compile.
    return gemm_choice(p, rates, tiles[0], tiles[1], tiles[2], tiles[3]), tiles, best.time_ps
