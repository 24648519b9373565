"""Planning a sheet, compiled: what `planner.plan_on` does, in rows of integers.

Tiles, their prices and pipelines are those of `tiling`, `attention`, `streams` and `products`; here
stands what each operation is planned with. Left out as in `sheet`; so are cores that share the K of
a product.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.hardware.equations import (
    MatrixModel,
    MatrixWork,
    Pipeline,
    ceil_div,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    total_cycles,
)
from simulator.mapping import attention as att
from simulator.mapping import sheet, tiling
from simulator.mapping.attention import (
    AttentionProblem,
    AttentionTraffic,
    Room,
    Speeds,
    add_totals,
    attention_price,
    attention_traffic,
    key_grain,
    totals_of,
)
from simulator.mapping.products import Product, gemm_problem
from simulator.mapping.residency import keep
from simulator.mapping.served import Memory, ps_per_byte
from simulator.mapping.sheet import FUNCTIONS, Array, Tables
from simulator.mapping.streams import ring_cycles, stream_pipeline
from simulator.mapping.tiling import (
    FOOTPRINT,
    FOUND,
    MAX_TILES,
    TIME,
    Edges,
    GemmProblem,
    Rates,
    Tile,
    Traffic,
    a_moved,
    best_of,
    cuts,
    cycles_ps,
    energy_of,
    gemm_pipeline,
    gemm_steps,
    gemm_traffic,
    gemm_work,
    granules,
    held_sum_bytes,
    out_moved,
    padded_bytes,
    scan_gemm,
    spilled_sum_bytes,
    stages_of,
    temporal_pieces,
    tile_of,
    tile_size,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Columns of a design in whole numbers: four of `Striped`; last the cycles of each function on a
#: lane.
CLOCK_HZ, LATENCY_PS, DESCRIPTOR_PS, BURST_BYTES, LANES, GEMV, SCRATCHPAD, MEMORY = range(8)
STRIPED, CYCLES = 8, 12
WHOLE = CYCLES + len(FUNCTIONS)
#: Columns of a design in other numbers.
READ_PS_PER_BYTE, LEAST_PS_PER_BYTE, PJ_PER_MEMORY_BIT, PJ_PER_SCRATCHPAD_BIT = range(4)

#: Columns of a planned operation, as `engine.bound` reads them: those of its pipeline, and behind.
STEPS, EVERY, SLOTS, MAIN = 0, 1, 2, 6
LOAD_BYTES, STORE_BYTES, FREE_LOADS, UNIT, ASIDE, EXCLUSIVE = range(11, 17)
ROW = 17
#: Numbers that a product is tiled for, beside what it is by itself.
ASKED, ASKED_SPEEDS = 13, 4
#: Units, as `engine.bound` counts them.
MATRIX, VECTOR, NETWORK = 0, 1, 3
#: Columns of what it does. tiles: of a product (m, n, k, order), of attention (queries, keys,
#: hold); stalled: by all causes; read, written: bits of the scratchpad, held_*: of accumulators;
#: passes: over weights, of all cores; scores, rescaled: vector work of attention; macs: of the
#: matrix unit; cores: how many work on it; network: bits times links passed; grid: of cores
#: that share a product, along M and N.
TILES, STALLED_PS, READ, WRITTEN, HELD_READ, HELD_WRITTEN = (0, *range(4, 9))
PASSES, SCORES, RESCALED, MACS, CORES, NETWORK_BITS, GRID_M, GRID_N = range(9, 17)
DONE = 17

#: Columns of a product tiled on a grid of cores, behind TIME and FOOTPRINT: its tiles, which grid.
TILE_M, TILE_N, TILE_K, ORDER, GRID = range(tiling.TILES, tiling.TILES + 5)
TILED = FOUND + 1

_MUL = FUNCTIONS.index("mul")


class Cores(NamedTuple):
    """Cores that share a plan: how many, and their network.

    grids: in which they may share a product; shares: of the scratchpad, to try for activations.
    """

    used: int
    multicast: int
    link_bytes: int
    hop_cycles: int
    grids: Array
    shares: Floats


class Bench(NamedTuple):
    """Arrays to work in.

    kept, barred: lives on chip, and those that must be in memory; live: bytes at each operation;
    needed: the bytes that one which does not fit needs at least.
    cuts, found, energies, a_ps, out_ps: of `scan_gemm`. By operation: what its product was last
    tiled for (asked, asked_speeds), the best on each grid of cores (tiled, as `found`), which of
    them, or -1 and the bytes that it needs (answers). tiled_pj: as `energies`. tilings, totals: of
    attention, by operation; counted: how many there are, and for which models, from 1 on; lengths:
    requests, queries and keys of its one group.
    """

    kept: Bools
    barred: Bools
    live: Array
    needed: Array
    cuts: Array
    found: Array
    energies: Floats
    a_ps: Floats
    out_ps: Floats
    asked: Array
    asked_speeds: Floats
    answers: Array
    tiled: Array
    tiled_pj: Floats
    tilings: Array
    totals: Array
    counted: Array
    lengths: Array
    room: Room


@register_jitable
def keep_share(t: Tables, capacity: int, share: float, bench: Bench) -> int:
    """Keep what fits into a share of the scratchpad, as `planner.residency`; return its most."""
    most = 0
    for residual in range(2):
        whole = True
        bench.live[:] = 0
        for i in range(t.segments.shape[0] - 1):
            op, end = t.segments[i, sheet.FIRST_OP], t.segments[i + 1, sheet.FIRST_OP]
            life, last = t.segments[i, sheet.FIRST_LIFE], t.segments[i + 1, sheet.FIRST_LIFE]
            for row in range(life, last):
                stream = residual == 1 and t.lives[row, sheet.RESIDUAL] == 1
                bench.barred[row] = stream or t.lives[row, sheet.OUTSIDE] == 1
            keep(
                t.lives[life:last],
                bench.barred[life:last],
                int(capacity * share),
                bench.live[op:end],
                bench.kept[life:last],
            )
            for row in range(life, last):
                if t.lives[row, sheet.END] == 1 and not bench.kept[row]:
                    whole = False
        if whole:
            break
    for index in range(bench.live.size):
        most = max(most, bench.live[index])
    return most


@register_jitable
def crosses(operands: Array, place: int, kept: Bools) -> bool:
    """Tell whether an operand crosses the memory."""
    home = operands[place, sheet.HOME]
    return home == sheet.ALWAYS or (home >= 0 and not kept[home])


@register_jitable
def gathers(operands: Array, kept: Bools, cores: int) -> bool:
    """Tell whether a gathering has anything to do: it is of what cores hold in shares."""
    return cores > 1 and not crosses(operands, 0, kept)


@register_jitable
def bits_of(operands: Array, place: int, kept: Bools) -> int:
    """Return the bits in which an operand crosses the memory, 0 where it does not."""
    return operands[place, sheet.BITS] if crosses(operands, place, kept) else 0


@register_jitable
def lane_cycles(op: Array, first: int, whole: Array) -> int:
    """Return the cycles of vector work, whose counts by function stand from column `first` on."""
    slots = 0
    for function in range(len(FUNCTIONS)):
        slots += op[first + function] * whole[CYCLES + function]
    return ceil_div(slots, whole[LANES])


@register_jitable
def moved(
    operands: Array, first: int, last: int, kept: Bools, rates: Rates, memory: Memory, cores: int
) -> tuple[int, int, int]:
    """Return bytes and ps of operands that cross the memory, and raw bits of others.

    Operands are what is read, from the first on, or what is made.
    """
    size = runs = raw = 0
    for place in range(first, last):
        if crosses(operands, place, kept):
            bits, pieces = operands[place, sheet.BITS], operands[place, sheet.PIECES]
            size += padded_bytes(bits, pieces, rates.burst_bytes)
            runs += pieces if bits > 0 else 0
        else:
            raw += operands[place, sheet.RAW]
    if size == 0:
        return 0, 0, raw
    moving = size * ps_per_byte(memory, first > 0, size, runs, 0)
    return size, int(np.ceil(moving)) + ceil_div(runs, cores) * rates.descriptor_ps, raw


@register_jitable
def put(row: Array, pipeline: Pipeline, load: int, store: int) -> None:
    """Put a pipeline and what it moves into the row of an operation."""
    for field in range(len(pipeline)):
        row[field] = pipeline[field]
    row[LOAD_BYTES], row[STORE_BYTES] = load, store


@register_jitable
def plan_stream(
    op: Array, operands: Array, inputs: int, whole: Array, rates: Rates, memory: Memory,
    kept: Bools, cores: int, room: int, row: Array, done: Array,
) -> None:  # fmt: skip
    """Plan an operation of the vector unit, as `streams.plan_stream`."""
    load, load_ps, read = moved(operands, 0, inputs, kept, rates, memory, cores)
    store, store_ps, written = moved(
        operands, inputs, operands.shape[0], kept, rates, memory, cores
    )
    work_ps = cycles_ps(rates, ceil_div(lane_cycles(op, sheet.WORK, whole), cores))
    all_ps = (load_ps, work_ps, store_ps)
    put(row, stream_pipeline(load, store, all_ps, rates.latency_ps, room), load, store)
    row[UNIT] = VECTOR
    done[READ], done[WRITTEN] = read + (load + store) * 8, written + (load + store) * 8
    done[CORES] = cores


@register_jitable
def plan_gather(
    op: Array, operands: Array, rates: Rates, kept: Bools, cores: Cores, row: Array, done: Array
) -> None:
    """Plan an all-gather, as `streams.plan_gather`; of what is not on chip it is nothing."""
    row[STEPS] = row[EVERY] = row[SLOTS] = 1
    row[UNIT] = NETWORK
    if not gathers(operands, kept, cores.used):
        return
    size = op[sheet.GATHERED_BYTES] * (cores.used - 1) // cores.used
    cycles = ring_cycles(size, cores.used, cores.link_bytes, cores.hop_cycles)
    row[MAIN] = cycles_ps(rates, cycles)
    done[READ] = done[WRITTEN] = done[NETWORK_BITS] = size * 8 * cores.used
    done[CORES] = cores.used


@register_jitable
def product_of(op: Array, operands: Array, inputs: int, whole: Array, kept: Bools) -> Product:
    """Return the numbers of a product, as `products.product_of`."""
    side = 0
    for place in range(2, inputs):
        side += bits_of(operands, place, kept)
    return Product(
        1, op[sheet.M], op[sheet.N], op[sheet.K],
        op[sheet.A_BITS], op[sheet.W_BITS], op[sheet.OUT_BITS],
        bits_of(operands, 0, kept), op[sheet.W_MEMORY], op[sheet.W_METADATA],
        bits_of(operands, inputs, kept), side,
        lane_cycles(op, sheet.WIDEN, whole), lane_cycles(op, sheet.WORK, whole),
    )  # fmt: skip


@register_jitable
def stalled_ps(w: MatrixWork, edges: tuple[int, int], rates: Rates) -> int:
    """Return the ps that a matrix unit waits, by all causes, as `products.matrix_plan`."""
    total = cycles_ps(rates, w.weight_load + edges[0]) + cycles_ps(rates, w.fill_drain + edges[1])
    total += cycles_ps(rates, w.operand) + cycles_ps(rates, w.conversion)
    return total + cycles_ps(rates, w.dequantisation)


@register_jitable
def book(
    done: Array, op: Array, w: MatrixWork, edges: tuple[int, int], rates: Rates, passes: int,
    cores: int,
) -> None:  # fmt: skip
    """Put into `done` what the matrix units of so many cores and the widening of weights do.

    w, edges: of one core; passes: of all.
    """
    done[STALLED_PS], done[PASSES], done[CORES] = stalled_ps(w, edges, rates), passes, cores
    done[READ] = w.read_bits * cores + passes * op[sheet.WIDENED_BITS]
    done[WRITTEN] = w.write_bits * cores + passes * op[sheet.W_BITS] * op[sheet.WIDENED]
    done[HELD_READ] = w.accumulator_read_bits * cores
    done[HELD_WRITTEN] = w.accumulator_write_bits * cores


@register_jitable
def edges_of(p: GemmProblem, rates: Rates, memory: Memory, tiles_n: int, tiles_k: int) -> Edges:
    """Return what a byte takes where so many tiles cut the rows of activations and outputs."""
    if memory.striped.channels == 0:
        ps = memory.least_ps_per_byte
        return Edges(ps if p.a_memory_bits > 0 else 0.0, ps if p.out_memory_bits > 0 else 0.0)
    a_bytes, a_runs = a_moved(p, rates, tiles_k)
    out_bytes, out_runs = out_moved(p, rates, tiles_n)
    return Edges(
        ps_per_byte(memory, False, a_bytes, a_runs, tiles_k),
        ps_per_byte(memory, True, out_bytes, out_runs, tiles_n),
    )


@register_jitable
def price_cuts(p: GemmProblem, rates: Rates, memory: Memory, bench: Bench) -> None:
    """Write what a byte takes by the cut of K and of N, as `tiling.search_gemm`."""
    if memory.striped.channels == 0:
        # Nothing depends on cuts.
        edges = edges_of(p, rates, memory, 1, 1)
        bench.a_ps[:] = edges.a_ps_per_byte
        bench.out_ps[:] = edges.out_ps_per_byte
        return
    _, grain_n, grain_k = granules(p.unit)
    folds_n, folds_k = ceil_div(p.n, grain_n), ceil_div(p.k, grain_k)
    cuts_n, cuts_k = cuts(folds_n), cuts(folds_k)
    for cut in range(max(cuts_n, cuts_k)):
        n, k = min(cut, cuts_n - 1), min(cut, cuts_k - 1)
        tiles_n = ceil_div(p.n, tile_size(p.n, folds_n, grain_n, n))
        tiles_k = ceil_div(p.k, tile_size(p.k, folds_k, grain_k, k))
        edges = edges_of(p, rates, memory, tiles_n, tiles_k)
        bench.out_ps[n], bench.a_ps[k] = edges.out_ps_per_byte, edges.a_ps_per_byte


@register_jitable
def traffic_of(
    p: GemmProblem, rates: Rates, memory: Memory, tiles: tuple[int, int, int, int]
) -> tuple[Tile, Traffic]:
    """Return what a tiling (m, n, k, order) moves and holds."""
    m, n, k, order = tiles
    edges = edges_of(p, rates, memory, ceil_div(p.n, n), ceil_div(p.k, k))
    tile = tile_of(p, rates, edges, m, n, k)
    sums = spilled_sum_bytes(p, m, n, tile.k, order, held_sum_bytes(p.unit))
    return tile, gemm_traffic(p, rates, edges, tile, order, sums, gemm_steps(p))


@register_jitable
def on_grid(unit: MatrixModel, product: Product, cores: Cores, grid: int, room: int) -> GemmProblem:
    """Return what one core has of a product on a grid of cores."""
    g = cores.grids[grid]
    return gemm_problem(unit, product, (g[0], g[1], g[2]), cores.used, cores.multicast, room)


@register_jitable
def tile_product(
    i: int, unit: MatrixModel, product: Product, cores: Cores, rates: Rates, memory: Memory,
    room: int, bench: Bench,
) -> int:  # fmt: skip
    """Tile a product on each grid of cores; return the best of `tiled`, -1 where none fits.

    As `products.tiled_product`.
    """
    tiled, count, grids = bench.tiled[i], 0, len(cores.grids)
    for grid in range(grids):
        p = on_grid(unit, product, cores, grid, room)
        price_cuts(p, rates, memory, bench)
        tiles, time = scan_gemm(
            p, rates, bench.a_ps, bench.out_ps, bench.cuts, bench.found, bench.energies
        )
        row = tiled[count]
        row[TIME], row[GRID] = time, grid
        row[TILE_M], row[TILE_N], row[TILE_K], row[ORDER] = tiles
        if grids == 1 and time >= 0:
            return 0
        tile, t = traffic_of(p, rates, memory, tiles)
        if time < 0:
            bench.needed[0] = t.needed_bytes
            continue
        bits = gemm_work(p, temporal_pieces(p, tile.m, tile.n, tile.k), t.k_spills)[1]
        bench.tiled_pj[count] = energy_of(t.load_bytes, tile.store_bytes, t.fill_bytes, bits, rates)
        count += 1
    return best_of(tiled, bench.tiled_pj, count) if count > 0 else -1


@register_jitable
def as_before(known: Array | Floats, asked: tuple[float, ...]) -> bool:
    """Write what is asked over what is known; tell whether it was the same."""
    same = True
    for place in range(len(asked)):
        same = same and known[place] == asked[place]
        known[place] = asked[place]
    return same


@register_jitable
def known_product(
    bench: Bench, i: int, model: int, product: Product, room: int, rates: Rates, memory: Memory
) -> bool:
    """Tell whether a product was last tiled for the same.

    Designs that differ elsewhere, and shares of the scratchpad, often ask for the same. What the
    product is by itself, and the cores, are those of the bench.
    """
    asked = (
        model + 1, product.a_memory_bits, product.out_memory_bits, product.side_memory_bits,
        product.ready_cycles, product.post_cycles, room, rates.clock_hz, rates.latency_ps,
        rates.descriptor_ps, rates.burst_bytes, memory.striped.channels,
        memory.striped.interleave_bytes,
    )  # fmt: skip
    speeds = (
        rates.read_ps_per_byte, memory.least_ps_per_byte, rates.pj_per_memory_bit,
        rates.pj_per_scratchpad_bit,
    )  # fmt: skip
    same = as_before(bench.asked[i], asked)
    return as_before(bench.asked_speeds[i], speeds) and same


@register_jitable
def plan_product(
    i: int, op: Array, operands: Array, inputs: int, unit: MatrixModel, model: int, whole: Array,
    rates: Rates, memory: Memory, cores: Cores, room: int, bench: Bench, row: Array, done: Array,
) -> bool:  # fmt: skip
    """Plan a product, as `products.plan_product`; tell whether it fits.

    model: number of the design's matrix models.
    """
    product = product_of(op, operands, inputs, whole, bench.kept)
    if not known_product(bench, i, model, product, room, rates, memory):
        unknown = memory.served.asked[0]
        bench.answers[i, 0] = tile_product(i, unit, product, cores, rates, memory, room, bench)
        bench.answers[i, 1] = bench.needed[0]
        if memory.served.asked[0] > unknown:
            # Tiled for shapes that are still to be served: no answer.
            bench.asked[i, 0] = 0
    best, bench.needed[0] = bench.answers[i, 0], bench.answers[i, 1]
    if best < 0:
        return False
    tiled = bench.tiled[i, best]
    grid, time = cores.grids[tiled[GRID]], tiled[TIME]
    m, n, k, order = tiled[TILE_M], tiled[TILE_N], tiled[TILE_K], tiled[ORDER]
    p = on_grid(unit, product, cores, tiled[GRID], room)
    tile, t = traffic_of(p, rates, memory, (m, n, k, order))
    pieces = temporal_pieces(p, tile.m, tile.n, tile.k)
    ends = matrix_edges(unit, p.m, p.n, p.k, pieces)
    work = matrix_work(
        unit, 1, p.m, p.n, p.k, pieces, t.k_spills, p.a_bits, p.w_bits, p.out_bits,
        ends[0] + ends[1],
    )  # fmt: skip
    ready_ps = cycles_ps(rates, p.ready_cycles * t.w_loads)
    main_ps = cycles_ps(rates, total_cycles(work) + ends[0] + ends[1])
    post_ps = cycles_ps(rates, p.post_cycles)
    stages = stages_of(t.outputs, t.every, ready_ps, main_ps, post_ps, tile.store_ps)
    pipeline = gemm_pipeline(rates, t, stages)
    put(row, pipeline, t.load_bytes, tile.store_bytes)
    # Cores that share M each widen the same weights.
    book(done, op, work, ends, rates, t.w_loads * grid[0], grid[0] * grid[1])
    done[READ] += tile.store_bytes * 8
    done[WRITTEN] += t.fill_bytes * 8
    done[GRID_M], done[GRID_N] = grid[0], grid[1]
    done[NETWORK_BITS] = (t.fill_bytes - t.load_bytes) * 8
    for place in range(2, inputs):
        if not crosses(operands, place, bench.kept):
            done[READ] += operands[place, sheet.RAW]
    done[TILES], done[TILES + 1], done[TILES + 2], done[TILES + 3] = m, n, k, order
    done[MACS] = op[sheet.MACS]
    if whole[GEMV] == 1 and p.m == 1:
        lanes = on_lanes(op, whole, rates, pipeline, cores.used)
        if pipeline_ps(lanes) < time:
            put(row, lanes, t.load_bytes, tile.store_bytes)
            row[UNIT], done[CORES] = VECTOR, cores.used
            done[STALLED_PS] = done[HELD_READ] = done[HELD_WRITTEN] = done[MACS] = 0
    return True


@register_jitable
def on_lanes(op: Array, whole: Array, rates: Rates, p: Pipeline, cores: int) -> Pipeline:
    """Return the pipeline of a product of one row whose MACs the lanes do, as `products.gemv`."""
    cycles = ceil_div(op[sheet.MACS], whole[LANES] * cores)
    cycles += ceil_div(lane_cycles(op, sheet.WORK, whole), cores)
    main = ceil_div(cycles_ps(rates, cycles), p.steps) + p.ready
    return Pipeline(p.steps, p.every, p.slots, p.latency, p.load, 0, main, 0, 0, p.second, p.store)


@register_jitable
def attention_problem(
    op: Array, operands: Array, inputs: int, unit: MatrixModel, whole: Array, kept: Bools,
    cores: int, room: int,
) -> AttentionProblem:  # fmt: skip
    """Return the numbers of fused attention, as `fused.plan_attention`."""
    # Cores without a head do nothing.
    used = min(cores, op[sheet.REQUESTS] * op[sheet.KV_HEADS])
    ready = lane_cycles(op, sheet.WIDEN, whole) * 1024
    softmax = lane_cycles(op, sheet.WORK, whole) * 1024
    return AttentionProblem(
        unit, used, op[sheet.KV_HEADS], op[sheet.GROUP_SIZE], op[sheet.HEAD_DIM], op[sheet.CAUSAL],
        op[sheet.WINDOW], op[sheet.A_BITS], op[sheet.W_BITS], op[sheet.OUT_BITS],
        op[sheet.KV_BITS_PER_KEY], bits_of(operands, 0, kept), bits_of(operands, inputs, kept),
        ceil_div(ready, max(1, op[sheet.CACHE_ROWS])), ceil_div(softmax, max(1, op[sheet.SCORES])),
        whole[LANES], whole[CYCLES + _MUL], room,
    )  # fmt: skip


@register_jitable
def put_tilings(p: AttentionProblem, keys: int, queries: int, small: bool, tilings: Array) -> int:
    """Write the tilings to look at, as `attention.candidates`; return how many.

    small: those of more than QUERY_TILES query tiles.
    """
    grain, count = key_grain(p.unit), 0
    folds = ceil_div(keys, grain)
    for cut in range(cuts(queries)):
        if small == (1 << cut <= att.QUERY_TILES):
            continue
        q_tile = tile_size(queries, queries, 1, cut)
        for key_cut in range(cuts(folds)):
            for hold in range(2 if q_tile < queries else 1):
                tilings[count, 0] = q_tile
                tilings[count, 1] = tile_size(keys, folds, grain, key_cut)
                tilings[count, 2] = hold
                count += 1
    return count


@register_jitable
def speeds_of(moved: AttentionTraffic, memory: Memory) -> Speeds:
    """Return what a byte takes of what attention moves, as `attention.attention_choice`."""
    if memory.striped.channels == 0:
        ps = memory.least_ps_per_byte
        return Speeds(ps, ps, ps)
    queries = moved.load_bytes - moved.kv_bytes
    return Speeds(
        ps_per_byte(memory, False, moved.kv_bytes, moved.kv_runs, 0),
        ps_per_byte(memory, False, queries, 1, 1),
        ps_per_byte(memory, True, moved.store_bytes, 1, 1),
    )


@register_jitable
def best_attention(
    p: AttentionProblem, op: Array, rates: Rates, memory: Memory, tilings: Array, totals: Array,
    bench: Bench,
) -> int:  # fmt: skip
    """Return the best of some tilings, -1 where none fits, as `attention.search_attention`."""
    heads, longest = op[sheet.REQUESTS] * p.kv_heads, op[sheet.KEYS]
    fitting = 0
    for i in range(len(tilings)):
        t = totals_of(totals[i, 0], totals[i, 1])
        if t.pairs > MAX_TILES * heads:
            continue
        q_tile, kv_tile, hold = tilings[i, 0], tilings[i, 1], tilings[i, 2]
        held_keys = longest if hold == 1 else kv_tile
        traffic = attention_traffic(p, t, rates, heads, held_keys)
        price = attention_price(
            p, t, rates, traffic, speeds_of(traffic, memory), heads, (q_tile, kv_tile), held_keys
        )
        if price.needed_bytes > p.room_bytes:
            if bench.needed[0] < 0 or price.needed_bytes < bench.needed[0]:
                bench.needed[0] = price.needed_bytes
            continue
        bench.found[fitting, TIME] = pipeline_ps(price.pipeline)
        bench.found[fitting, FOOTPRINT] = price.needed_bytes
        bench.found[fitting, 2] = i
        bench.energies[fitting] = price.energy_pj
        fitting += 1
    if fitting == 0:
        return -1
    return int(bench.found[best_of(bench.found, bench.energies, fitting), 2])


@register_jitable
def count_attention(
    p: AttentionProblem, op: Array, small: bool, model: int, tilings: Array, totals: Array,
    counted: Array, bench: Bench,
) -> int:  # fmt: skip
    """Count what tilings issue, unless that is known of these models; return how many there are."""
    if not small and counted[1] == model + 1:
        return int(counted[0])
    count = put_tilings(p, op[sheet.KEYS], op[sheet.QUERIES], small, tilings)
    totals[:count] = 0
    lengths = bench.lengths
    lengths[0], lengths[1], lengths[2] = op[sheet.REQUESTS], op[sheet.QUERIES], op[sheet.KEYS]
    add_totals(p, lengths[:1], lengths[1:2], lengths[2:], tilings[:count], totals, bench.room)
    counted[0], counted[1] = count, 0 if small else model + 1
    return count


@register_jitable
def plan_attention(
    i: int, op: Array, operands: Array, inputs: int, unit: MatrixModel, model: int, whole: Array,
    rates: Rates, memory: Memory, cores: int, room: int, bench: Bench, row: Array, done: Array,
) -> bool:  # fmt: skip
    """Plan fused attention, as `fused.attention_plan`; tell whether it fits.

    model: number of the design's matrix models.
    """
    p = attention_problem(op, operands, inputs, unit, whole, bench.kept, cores, room)
    tilings, totals, best = bench.tilings[i], bench.totals[i], -1
    bench.needed[0] = -1
    for small in range(2):
        count = count_attention(p, op, small == 1, model, tilings, totals, bench.counted[i], bench)
        best = best_attention(p, op, rates, memory, tilings[:count], totals, bench)
        if best >= 0:
            break
    if best < 0:
        return False
    q_tile, kv_tile, hold = tilings[best, 0], tilings[best, 1], tilings[best, 2]
    t = totals_of(totals[best, 0], totals[best, 1])
    heads = op[sheet.REQUESTS] * p.kv_heads
    held_keys = op[sheet.KEYS] if hold == 1 else kv_tile
    traffic = attention_traffic(p, t, rates, heads, held_keys)
    price = attention_price(
        p, t, rates, traffic, speeds_of(traffic, memory), heads, (q_tile, kv_tile), held_keys
    )
    put(row, price.pipeline, traffic.load_bytes, traffic.store_bytes)
    work = MatrixWork(
        t.busy, t.weight_load, t.fill_drain, t.operand, t.conversion,
        ceil_div(t.read_bits, p.cores), ceil_div(t.write_bits, p.cores),
        ceil_div(t.accumulator_read_bits, p.cores), ceil_div(t.accumulator_write_bits, p.cores), 0,
    )  # fmt: skip
    ends = matrix_edges(unit, q_tile * p.group_size, kv_tile, p.head_dim, 1)
    passes = ceil_div(t.keys_loaded, max(1, op[sheet.CACHE_ROWS]))
    book(done, op, work, ends, rates, passes, p.cores)
    done[READ] += traffic.store_bytes * 8 + t.scores * unit.accumulator_bits
    done[WRITTEN] += traffic.load_bytes * 8 + t.scores * p.a_bits
    done[TILES], done[TILES + 1], done[TILES + 2] = q_tile, kv_tile, hold
    done[SCORES], done[RESCALED] = t.scores, t.rescaled * (p.head_dim + 3)
    done[MACS] = 2 * t.scores * p.head_dim
    return True


@register_jitable
def free_loads(op: Array, operands: Array, inputs: int, kept: Bools, steps: int) -> int:
    """Return the loads that need not wait for a store, as `OpPlan.free_loads`."""
    for place in range(inputs):
        if operands[place, sheet.MAKER] >= 0 and crosses(operands, place, kept):
            if op[sheet.KIND] == sheet.ATTENTION:
                return steps * int(op[sheet.PAST_ROWS]) // max(1, int(op[sheet.CACHE_ROWS]))
            return 0
    return steps


@register_jitable
def spilled(operands: Array, kept: Bools) -> int:
    """Return the bytes of activations of an operation that are in memory for want of room."""
    size = 0
    for place in range(operands.shape[0]):
        if crosses(operands, place, kept):
            size += operands[place, sheet.SPILL]
    return size
