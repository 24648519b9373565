"""The search for tiles: a matrix product cut to fit the scratchpad.

Each candidate is priced by the closed forms of `hardware/equations.py`; the fastest wins, and of
those that are as fast within a ten thousandth the one with the least energy. The folds of each
dimension are cut by powers of two, rounded up to whole folds. Loop orders are those of
`equations.tile_loads`.

A tile is what is reused from the scratchpad; a step is what the pipeline hands on. Steps are finer
than tiles (a product can start when the operands of its first folds are there) and, but for small
scratchpads, as many for every tiling of an operation, so that tilings differ by traffic and stalls,
not by how they start.
"""

from math import prod
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.dram.channels import Access
from simulator.dram.profile import Profile
from simulator.hardware import equations
from simulator.hardware.equations import (
    INPUT_STATIONARY,
    OUTPUT_STATIONARY,
    WEIGHT_STATIONARY,
    MatrixModel,
    Pipeline,
    accumulator_pieces,
    ceil_div,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    tile_loads,
    total_cycles,
)
from simulator.kernels import compiled, inlined

#: Most tiles of one operation: what needs more is refused as too large for the scratchpad.
MAX_TILES = 262_144
#: Steps of one operation: so many, in pieces of its outputs and, if these are few, of K. Assumed:
#: fine enough for tiles of scratchpads from 128 KiB on, coarse enough to simulate in no time.
MAX_STEPS = 4096
#: Tilings within one part in so many of the fastest count as equally fast.
EQUALLY_FAST = 10_000
#: Extent of a piece of a dimension that streams through the array.
STREAMED = 128
ORDERS = ("n k m", "m k n", "m n k", "n m k")


class Rates(NamedTuple):
    """Speeds and prices that tilings are judged by.

    read_ps_per_byte is of what lies in one piece; what does not is priced by the memory's profile.
    Energies are pJ per bit and only break ties.
    """

    clock_hz: int
    read_ps_per_byte: float
    latency_ps: int
    descriptor_ps: int
    burst_bytes: int
    pj_per_memory_bit: float
    pj_per_scratchpad_bit: float


class GemmProblem(NamedTuple):
    """`products` products of m x k by k x n on each core, and what crosses memory for all cores.

    a_memory_bits, out_memory_bits: 0 where the tensor stays on chip. side_memory_bits: what joined
    operations read, once. *_shards: cores among which an operand is cut; *_readers: cores that want
    the same part; *_copies: how many of them read it one by one (without multicast). ready_cycles:
    vector cycles to widen all weights once; post_cycles: vector cycles on all outputs. room_bytes:
    scratchpad left beside resident activations.
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
    a_readers: int
    w_readers: int
    a_copies: int
    w_copies: int
    ready_cycles: int
    post_cycles: int
    room_bytes: int


class Choice(NamedTuple):
    """One tiling and everything that follows from it; footprint -1 where it does not fit.

    needed_bytes: what it takes at least; fill_bytes: what loads write into the scratchpads of all
    cores, copies included; slot_bytes: scratchpad that one load step takes; ring_bytes: scratchpad
    that all load steps in flight may take; accesses: what is loaded and stored, by operand.
    """

    footprint_bytes: int
    needed_bytes: int
    energy_pj: float
    load_bytes: int
    store_bytes: int
    fill_bytes: int
    slot_bytes: int
    ring_bytes: int
    temporal_tiles: int
    k_spills: int
    pipeline: Pipeline
    accesses: tuple[Access, ...]


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
def piece_bytes(bits: int, pieces: int, burst: int) -> int:
    """Return the bytes of one of `pieces` contiguous parts of a stream, padded to whole bursts."""
    return ceil_div(bits, 8 * pieces * burst) * burst if bits > 0 else 0


@register_jitable
def padded_bytes(bits: int, pieces: int, burst: int) -> int:
    """Return the bytes of a stream in `pieces` contiguous parts, each padded to whole bursts."""
    return pieces * piece_bytes(bits, pieces, burst)


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


class Tile(NamedTuple):
    """What a tiling moves and holds whatever the order of its loops.

    m, n, k: tiles of each dimension; a_pieces, w_pieces: contiguous parts of a core's operand.
    a_bytes, w_bytes: of an operand once, padded; a_core_bytes, w_core_bytes, side_core_bytes: a
    core's part.
    store_ps: of all stores. tile_bytes: of a tile of both operands; static_bytes: of outputs and
    widened weights in flight.
    """

    m: int
    n: int
    k: int
    a_pieces: int
    w_pieces: int
    a_bytes: int
    w_bytes: int
    a_core_bytes: int
    w_core_bytes: int
    side_bytes: int
    side_core_bytes: int
    store_bytes: int
    store_runs: int
    store_ps: int
    tile_bytes: int
    static_bytes: int


class Traffic(NamedTuple):
    """What a tiling moves and holds, before its cycles are counted; see `Choice`.

    load_ps: of all loads; w_loads: passes over the weights; slots as in `Pipeline`. a_bytes,
    a_runs: of the loads of activations, whose contiguous runs are parts of rows where K is cut.
    """

    load_bytes: int
    fill_bytes: int
    load_ps: int
    w_loads: int
    k_spills: int
    needed_bytes: int
    outputs: int
    every: int
    slots: int
    slot_bytes: int
    ring_bytes: int
    a_bytes: int
    a_runs: int


class Edges(NamedTuple):
    """ps of a byte of activations, and of outputs, as far as a tiling cuts their rows."""

    a_ps_per_byte: float
    out_ps_per_byte: float


@register_jitable
def a_moved(p: GemmProblem, rates: Rates, tiles_k: int) -> tuple[int, int]:
    """Return bytes and runs of activations whose rows are cut into so many parts."""
    runs = p.products * p.m * tiles_k * p.a_shards if tiles_k > 1 else 1
    return padded_bytes(p.a_memory_bits, runs, rates.burst_bytes), runs


@register_jitable
def out_moved(p: GemmProblem, rates: Rates, tiles_n: int) -> tuple[int, int]:
    """Return bytes and runs of outputs whose rows are cut into so many parts."""
    runs = p.products * p.m * tiles_n if tiles_n > 1 else 1
    return padded_bytes(p.out_memory_bits, runs, rates.burst_bytes), runs


def a_ps_per_byte(p: GemmProblem, rates: Rates, memory: Profile, tiles_k: int) -> float:
    """Return the ps of a byte of activations whose rows are cut into so many parts."""
    size, runs = a_moved(p, rates, tiles_k)
    return memory.ps_per_byte(Access(False, size, runs, tiles_k)) if size else 0.0


def out_ps_per_byte(p: GemmProblem, rates: Rates, memory: Profile, tiles_n: int) -> float:
    """Return the ps of a byte of outputs whose rows are cut into so many parts."""
    size, runs = out_moved(p, rates, tiles_n)
    return memory.ps_per_byte(Access(True, size, runs, tiles_n)) if size else 0.0


@register_jitable
def held_sum_bytes(unit: MatrixModel) -> int:
    """Return the bytes of partial sums that the arrays hold themselves, in PEs or accumulators."""
    held = unit.accumulator_entries * (unit.columns // unit.column_grain)
    if unit.kind == OUTPUT_STATIONARY:
        held += unit.rows * unit.columns
    return held * unit.arrays * unit.accumulator_bits // 8


@register_jitable
def tile_of(
    p: GemmProblem, rates: Rates, edges: Edges, tile_m: int, tile_n: int, tile_k: int
) -> Tile:
    """Return what tiles of a size move and hold in any order of loops."""
    m, n, k = ceil_div(p.m, tile_m), ceil_div(p.n, tile_n), ceil_div(p.k, tile_k)
    return counted_tile(p, rates, edges, (tile_m, tile_n, tile_k), (m, n, k))


@inlined
def counted_tile(
    p: GemmProblem,
    rates: Rates,
    edges: Edges,
    sizes: tuple[int, int, int],
    counts: tuple[int, int, int],
) -> Tile:
    """Return what tiles move and hold whose sizes and counts (m, n, k) are known."""
    tile_m, tile_n, tile_k = sizes
    m, n, k = counts
    burst = rates.burst_bytes
    a_pieces, w_pieces = p.products * (p.m * k if k > 1 else m), p.products * n * k
    a_piece = piece_bytes(p.a_memory_bits, a_pieces * p.a_shards, burst)
    w_piece = piece_bytes(p.w_memory_bits, w_pieces * p.w_shards, burst)
    w_piece += piece_bytes(p.w_metadata_bits, w_pieces * p.w_shards, burst)
    out_pieces = p.products * (p.m * n if n > 1 else m)
    store = padded_bytes(p.out_memory_bits, out_pieces, burst)
    side = padded_bytes(p.side_memory_bits, p.products * m * n, burst)
    store_ps = static = 0
    if store > 0:
        store_ps = int(np.ceil(store * edges.out_ps_per_byte))
        store_ps += p.products * m * n * rates.descriptor_ps
        static += 2 * ceil_div(tile_m * tile_n * p.out_bits, 8)
    if p.ready_cycles > 0:
        static += 2 * ceil_div(tile_k * tile_n * p.w_bits, 8)
    a_core, w_core = a_pieces * a_piece, w_pieces * w_piece
    side_core = ceil_div(side, max(p.a_shards, p.w_shards)) if side > 0 else 0
    # A tile of activations is one piece, or as many pieces of rows as it has rows.
    tile = w_piece + (ceil_div(p.m * a_piece, m) if k > 1 and a_piece > 0 else a_piece)
    return Tile(
        m, n, k, a_pieces, w_pieces, a_core * p.a_shards, w_core * p.w_shards, a_core, w_core, side,
        side_core, store, out_pieces if n > 1 else 1, store_ps, tile, static,
    )  # fmt: skip


@inlined
def spilled_sum_bytes(
    p: GemmProblem, tile_m: int, tile_n: int, tiles_k: int, order: int, in_arrays: int
) -> int:
    """Return the bytes of partial sums between tiles of K; 0 where `in_arrays` bytes hold them."""
    held = partial_sum_bytes(p, order, tile_m, tile_n) if tiles_k > 1 else 0
    return held if held > in_arrays else 0


@inlined
def gemm_traffic(
    p: GemmProblem,
    rates: Rates,
    edges: Edges,
    tile: Tile,
    order: int,
    sums: int,
    pieces: tuple[int, int],
) -> Traffic:
    """Return what crosses the memory and what lies in the scratchpad for one tiling.

    sums: `spilled_sum_bytes`; pieces: `gemm_steps`.
    """
    a_loads, w_loads = tile_loads(order, tile.m, tile.n, tile.k)
    a_bytes = a_loads * p.a_copies * tile.a_bytes
    load = a_bytes + w_loads * p.w_copies * tile.w_bytes + tile.side_bytes
    fill = a_loads * p.a_readers * tile.a_bytes + w_loads * p.w_readers * tile.w_bytes
    core = a_loads * tile.a_core_bytes + w_loads * tile.w_core_bytes + tile.side_core_bytes
    static = tile.static_bytes + sums
    free = p.room_bytes - static - tile.tile_bytes
    outputs, every = pieces
    steps = outputs * every
    slot = ceil_div(core, steps)
    if free < slot:
        # A small scratchpad: hand on each tile as it comes.
        outputs, every = max(outputs, p.products * tile.m * tile.n), max(every, tile.k)
        steps = outputs * every
        slot = ceil_div(core, steps)
    # Mostly there is room for all of them.
    slots = steps if slot == 0 or free >= (steps - 1) * slot else 1 + free // slot
    descriptors = 0
    if tile.a_bytes > 0:
        descriptors += a_loads * p.products * tile.m * tile.k
    if tile.w_bytes > 0:
        descriptors += w_loads * tile.w_pieces
    # Tiles of weights lie one after the other, as do whole rows; parts of rows do not.
    a_runs = a_loads * p.a_copies * tile.a_pieces * p.a_shards if tile.k > 1 else 1
    moving = a_bytes * edges.a_ps_per_byte + (load - a_bytes) * rates.read_ps_per_byte
    load_ps = int(np.ceil(moving)) + descriptors * rates.descriptor_ps
    needed = static + tile.tile_bytes + (max(tile.tile_bytes, slot) if steps > 1 else 0)
    return Traffic(
        load, fill + tile.side_bytes, load_ps, w_loads, tile.k - 1 if sums > 0 else 0, needed,
        outputs, every, max(1, min(slots, steps)), slot, free + slot, a_bytes, a_runs,
    )  # fmt: skip


@register_jitable
def gemm_work(p: GemmProblem, pieces: int, k_spills: int) -> tuple[int, int]:
    """Return the ps of all main steps, edges included, and the scratchpad bits of a product."""
    first, last = matrix_edges(p.unit, p.m, p.n, p.k, pieces)
    w = matrix_work(
        p.unit, p.products, p.m, p.n, p.k, pieces, k_spills, p.a_bits, p.w_bits, p.out_bits,
        first + last,
    )  # fmt: skip
    return total_cycles(w) + first + last, w.read_bits + w.write_bits


class Stages(NamedTuple):
    """ps of a step of the stages of a pipeline but loads, as in `Pipeline`."""

    ready: int
    main: int
    extra: int
    post: int
    store: int


@inlined
def stages_of(
    outputs: int, every: int, ready_ps: int, main_ps: int, post_ps: int, store_ps: int
) -> Stages:
    """Return the stages of a tiling that take so long in all."""
    steps = outputs * every
    return Stages(
        ceil_div(ready_ps, steps),
        main_ps // steps,
        main_ps - main_ps // steps * steps,
        ceil_div(post_ps, outputs),
        ceil_div(store_ps, outputs),
    )


@inlined
def gemm_pipeline(rates: Rates, t: Traffic, s: Stages) -> Pipeline:
    """Return the pipeline of a tiling."""
    steps = t.outputs * t.every
    latency = rates.latency_ps if t.load_bytes > 0 else 0
    load = ceil_div(t.load_ps, steps)
    return Pipeline(
        steps, t.every, t.slots, latency, load, s.ready, s.main, s.extra, s.post, 0, s.store
    )


@inlined
def energy_of(load: int, store: int, fill: int, scratchpad_bits: int, rates: Rates) -> float:
    """Return the energy in pJ by which tilings that are equally fast are told apart.

    load, store: bytes of memory; fill: bytes that loads write into scratchpads; reads stand for
    writes in the price.
    """
    memory = (load + store) * 8 * rates.pj_per_memory_bit
    return memory + (scratchpad_bits + (fill + store) * 8) * rates.pj_per_scratchpad_bit


def gemm_choice(
    p: GemmProblem,
    rates: Rates,
    memory: Profile,
    tile_m: int,
    tile_n: int,
    tile_k: int,
    order: int,
) -> Choice:
    """Price one tiling of a product; see the classes for units."""
    tiles_n, tiles_k = ceil_div(p.n, tile_n), ceil_div(p.k, tile_k)
    edges = Edges(
        a_ps_per_byte(p, rates, memory, tiles_k), out_ps_per_byte(p, rates, memory, tiles_n)
    )
    tile = tile_of(p, rates, edges, tile_m, tile_n, tile_k)
    sums = spilled_sum_bytes(p, tile_m, tile_n, tile.k, order, held_sum_bytes(p.unit))
    t = gemm_traffic(p, rates, edges, tile, order, sums, gemm_steps(p))
    pieces = temporal_pieces(p, tile.m, tile.n, tile.k)
    cycles, bits = gemm_work(p, pieces, t.k_spills)
    ready, post = p.ready_cycles * t.w_loads, p.post_cycles
    ready_ps, main_ps, post_ps = (cycles_ps(rates, each) for each in (ready, cycles, post))
    stages = stages_of(t.outputs, t.every, ready_ps, main_ps, post_ps, tile.store_ps)
    return Choice(
        t.needed_bytes if t.needed_bytes <= p.room_bytes else -1,
        t.needed_bytes,
        energy_of(t.load_bytes, tile.store_bytes, t.fill_bytes, bits, rates),
        t.load_bytes,
        tile.store_bytes,
        t.fill_bytes,
        t.slot_bytes,
        t.ring_bytes,
        pieces,
        t.k_spills,
        gemm_pipeline(rates, t, stages),
        _accesses(t, tile),
    )


def _accesses(t: Traffic, tile: Tile) -> tuple[Access, ...]:
    """Return the activations, then weights and what joined operations read, then the outputs."""
    found = (
        Access(False, t.a_bytes, t.a_runs, tile.k),
        Access(False, t.load_bytes - t.a_bytes, 1, 1),
        Access(True, tile.store_bytes, tile.store_runs, tile.n),
    )
    return tuple(access for access in found if access.size_bytes)


@register_jitable
def slack_ps(time_ps: int) -> int:
    """Return by how much more a tiling may take and still count as fast as one of `time_ps`.

    A ten thousandth: to start a few ns earlier is not worth ten times the traffic.
    """
    return time_ps // EQUALLY_FAST


#: Columns of a table of tilings that fit; the last hold the sizes of the tiles and the order.
TIME, FOOTPRINT, TILES = range(3)
FOUND = TILES + 4


#: Columns of what is known by the cut of K: tiles, and main steps with spills.
SIZE, COUNT, MAIN_PS, BITS = range(4)
OF_CUT = 4


@register_jitable
def best_of(found: NDArray[np.int64], energies: NDArray[np.float64], count: int) -> int:
    """Return which tiling has the least (energy, time, footprint) of those equally fast."""
    fastest = found[0, TIME]
    for i in range(count):
        fastest = min(fastest, found[i, TIME])
    limit = fastest + slack_ps(fastest)
    best = -1
    for i in range(count):
        if found[i, TIME] > limit:
            continue
        rank = (energies[i], found[i, TIME], found[i, FOOTPRINT])
        if best < 0 or rank < (energies[best], found[best, TIME], found[best, FOOTPRINT]):
            best = i
    return best


@register_jitable
def cuts(folds: int) -> int:
    """Return into how many different counts of tiles powers of two cut so many folds."""
    count, tiles = 1, 1
    while tiles < folds:
        count, tiles = count + 1, 2 * tiles
    return count


@register_jitable
def tile_size(extent: int, folds: int, grain: int, cut: int) -> int:
    """Return the size of a tile where `folds` are cut into 2^cut tiles, as far as they go."""
    return min(extent, ceil_div(folds, min(1 << cut, folds)) * grain)


@compiled(equations)
def scan_gemm(  # noqa: C901 - one loop a dimension, and the reasons to skip a candidate
    p: GemmProblem,
    rates: Rates,
    a_ps: NDArray[np.float64],
    out_ps: NDArray[np.float64],
    room: NDArray[np.int64],
    found: NDArray[np.int64],
    energies: NDArray[np.float64],
) -> tuple[tuple[int, int, int, int], int]:
    """Look at all tilings; see `search_gemm`. `room`, `found`, `energies` are room to work in.

    a_ps, out_ps: of a byte, by the cut of K and of N. What takes longer than `limit` in one stage
    alone can neither be the fastest nor count as equally fast, and is skipped.
    """
    grain_m, grain_n, grain_k = granules(p.unit)
    folds_m, folds_n = ceil_div(p.m, grain_m), ceil_div(p.n, grain_n)
    folds_k = ceil_div(p.k, grain_k)
    taken = (min(p.m, grain_m), min(p.n, grain_n), min(p.k, grain_k), 2)
    least_needed = limit = -1
    count = 0
    steps, in_arrays = gemm_steps(p), held_sum_bytes(p.unit)
    post_ps, known_loads, ready_ps = cycles_ps(rates, p.post_cycles), -1, 0
    # Cycles depend on how the temporal dimension is cut and on spills, none or by the cut of K.
    known_pieces, floor_ps, floor_bits = -1, 0, 0
    # Neighbours mostly differ in their loads alone.
    known_stages, stages = (-1, -1, -1, -1, -1), Stages(0, 0, 0, 0, 0)
    cuts_k = cuts(folds_k)
    for cut_k in range(cuts_k):
        room[cut_k, SIZE] = tile_size(p.k, folds_k, grain_k, cut_k)
        room[cut_k, COUNT] = ceil_div(p.k, room[cut_k, SIZE])
    # Whether tiles of N or K cut the temporal dimension too.
    cut_by_others = p.unit.kind == INPUT_STATIONARY or p.unit.kind == OUTPUT_STATIONARY
    for cut_m in range(cuts(folds_m)):
        tile_m = tile_size(p.m, folds_m, grain_m, cut_m)
        tiles_m = ceil_div(p.m, tile_m)
        pieces = temporal_pieces(p, tiles_m, 1, 1)
        for cut_n in range(cuts(folds_n)):
            tile_n = tile_size(p.n, folds_n, grain_n, cut_n)
            tiles_n = ceil_div(p.n, tile_n)
            for cut_k in range(cuts_k):
                tile_k, tiles_k = room[cut_k, SIZE], room[cut_k, COUNT]
                if tiles_m * tiles_n * tiles_k > MAX_TILES:
                    break
                if cut_by_others:
                    pieces = temporal_pieces(p, tiles_m, tiles_n, tiles_k)
                if pieces != known_pieces:
                    known_pieces = pieces
                    floor_cycles, floor_bits = gemm_work(p, pieces, 0)
                    floor_ps = cycles_ps(rates, floor_cycles)
                    room[:cuts_k, MAIN_PS] = -1
                # Spills only add to the main steps.
                if floor_ps > limit >= 0:
                    continue
                edges = Edges(a_ps[cut_k], out_ps[cut_n])
                tile = counted_tile(
                    p, rates, edges, (tile_m, tile_n, tile_k), (tiles_m, tiles_n, tiles_k)
                )
                if tile.tile_bytes + tile.static_bytes > p.room_bytes and count > 0:
                    continue
                before = one_before = two_before = (-1, -1, -1)
                # Where M or N is not cut, an inner loop over it changes nothing.
                inner = tiles_k > 1 and tiles_m > 1 and tiles_n > 1
                for order in range(4 if inner else 2):
                    a_loads, w_loads = tile_loads(order, tiles_m, tiles_n, tiles_k)
                    sums = spilled_sum_bytes(p, tile_m, tile_n, tiles_k, order, in_arrays)
                    # Orders that move and hold the same are one candidate: the first is taken.
                    same = (a_loads if tile.a_bytes > 0 else 0, w_loads, sums)
                    if same == before or same == one_before or same == two_before:  # noqa: SIM109
                        continue
                    before, one_before, two_before = same, before, one_before
                    t = gemm_traffic(p, rates, edges, tile, order, sums, steps)
                    if t.needed_bytes > p.room_bytes:
                        if least_needed < 0 or t.needed_bytes < least_needed:
                            least_needed = t.needed_bytes
                            if count == 0:
                                taken = (tile_m, tile_n, tile_k, order)
                        continue
                    if t.load_ps + tile.store_ps > limit >= 0:
                        continue
                    main_ps, bits = floor_ps, floor_bits
                    if t.k_spills > 0:
                        if room[cut_k, MAIN_PS] < 0:
                            cycles, room[cut_k, BITS] = gemm_work(p, pieces, t.k_spills)
                            room[cut_k, MAIN_PS] = cycles_ps(rates, cycles)
                        main_ps, bits = room[cut_k, MAIN_PS], room[cut_k, BITS]
                    if w_loads != known_loads:
                        known_loads, ready_ps = w_loads, cycles_ps(rates, p.ready_cycles * w_loads)
                    asked = (t.outputs, t.every, ready_ps, main_ps, tile.store_ps)
                    if asked != known_stages:
                        known_stages = asked
                        stages = stages_of(
                            t.outputs, t.every, ready_ps, main_ps, post_ps, tile.store_ps
                        )
                    time = pipeline_ps(gemm_pipeline(rates, t, stages))
                    if time > limit >= 0:
                        continue
                    if limit < 0 or time + slack_ps(time) < limit:
                        limit = time + slack_ps(time)
                    found[count, TIME], found[count, FOOTPRINT] = time, t.needed_bytes
                    found[count, TILES], found[count, TILES + 1] = tile_m, tile_n
                    found[count, TILES + 2], found[count, TILES + 3] = tile_k, order
                    energies[count] = energy_of(
                        t.load_bytes, tile.store_bytes, t.fill_bytes, bits, rates
                    )
                    count += 1
    time = -1
    if count > 0:
        i = best_of(found, energies, count)
        time = found[i, TIME]
        taken = (found[i, TILES], found[i, TILES + 1], found[i, TILES + 2], found[i, TILES + 3])
    return taken, time


def search_gemm(
    p: GemmProblem, rates: Rates, memory: Profile
) -> tuple[Choice, tuple[int, int, int, int], int]:
    """Return the best tiling, its (tile_m, tile_n, tile_k, order) and its time alone in ps.

    Where nothing fits, the tiling that needs least and -1.
    """
    _, grain_n, grain_k = grains = granules(p.unit)
    extents = zip((p.m, p.n, p.k), grains, strict=True)
    most = 4 * prod(cuts(ceil_div(extent, grain)) for extent, grain in extents)
    a_ps = [a_ps_per_byte(p, rates, memory, tiles) for tiles in tile_counts(p.k, grain_k)]
    out_ps = [out_ps_per_byte(p, rates, memory, tiles) for tiles in tile_counts(p.n, grain_n)]
    found, energies = np.empty((most, FOUND), dtype=np.int64), np.empty(most)
    # Only the tiles come out of the kernel: whole choices would take Numba seconds to compile.
    room = np.empty((len(a_ps), OF_CUT), dtype=np.int64)
    tiles, time = scan_gemm(p, rates, np.array(a_ps), np.array(out_ps), room, found, energies)
    return gemm_choice(p, rates, memory, *tiles), tiles, time


def tile_counts(extent: int, grain: int) -> list[int]:
    """Return into how many tiles each cut of a dimension cuts it."""
    folds = ceil_div(extent, grain)
    sizes = [tile_size(extent, folds, grain, cut) for cut in range(cuts(folds))]
    return [ceil_div(extent, size) for size in sizes]
