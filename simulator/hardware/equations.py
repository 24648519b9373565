"""The one set of equations: cycles, refetches and pipelines as pure functions of integers.

The tiling search calls them on candidate tilings, the analytic rung on operations; the tile
executor runs the pipelines that come out. They hold no objects and compile under Numba as they
stand (`register_jitable` leaves the Python function usable). All times are integers: cycles of the
core clock, or ps.

Sources: systolic folds, Samajdar et al., "SCALE-Sim: Systolic CNN Accelerator Simulator"
(arXiv 1811.02883), equation for one fold 2R + C + T - 2; the cases with double-buffered weights and
overlapping folds follow from when the stationary plane is free. Pipeline: the critical paths of a
flow shop whose steps are equal.

Steps of an operation are taken as equal: its last tiles may be smaller, and each step carries the
mean. Totals (cycles, bytes, folds) are exact; which step is the short one is
not modelled.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import inlined

WEIGHT_STATIONARY, OUTPUT_STATIONARY, INPUT_STATIONARY, ADDER_TREE, THROUGHPUT = range(5)


class MatrixModel(NamedTuple):
    """What the equations need of one core's matrix unit, for one operand pair; plain integers.

    rows, columns: extent of one array in elements of its spatial dimensions, row_grain and
    column_grain of them in one PE; temporal: elements of the temporal dimension taken per step of
    `passes` cycles. move_rows_per_cycle counts rows of PEs. accumulator_entries: partial sums that
    a column of PEs holds (0: no accumulators), accumulator_ports: how many it adds up in a cycle.
    dequantised_per_cycle: weights that are decoded at the array's edge in a cycle;
    activation_edge_bits, weight_edge_bits: what it takes of each operand in a cycle. group:
    elements of the temporal dimension that share a scale which a PE multiplies by itself, in
    scale_cycles (0: it does not). Rates are per cycle; a limit of 0 is none.
    """

    kind: int
    rows: int
    columns: int
    row_grain: int
    column_grain: int
    temporal: int
    passes: int
    move_rows_per_cycle: int
    buffers: int
    overlap: int
    occupied: int
    arrays: int
    latency: int
    accumulator_entries: int
    accumulator_ports: int
    accumulator_bits: int
    conversions_per_cycle: int
    dequantised_per_cycle: int
    activation_edge_bits: int
    weight_edge_bits: int
    read_bits_per_cycle: int
    write_bits_per_cycle: int
    macs_per_megacycle: int
    group: int
    scale_cycles: int


class MatrixWork(NamedTuple):
    """Cycles of one matrix operation on one core, by cause, and the bits that it moves on chip."""

    busy: int
    weight_load: int
    fill_drain: int
    operand: int
    conversion: int
    read_bits: int
    write_bits: int
    accumulator_read_bits: int
    accumulator_write_bits: int
    dequantisation: int


@register_jitable
def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up, for a >= 0 and b > 0."""
    return -(-a // b)


@register_jitable
def fold_excess(stream: int, move: int, skew: int, buffers: int, overlap: int) -> tuple[int, int]:
    """Return the cycles that one fold adds to its `stream` cycles: (for the move, for the skew).

    One plane: the move of the stationary operand is paid in each fold. Two planes: only what does
    not hide behind the previous fold. Without overlap each fold also fills and drains (`skew`).
    """
    drain = 0 if overlap else skew
    if buffers == 1:
        return move, drain
    return max(0, move - stream - drain), drain


@register_jitable
def systolic_cycles(
    rows: int,
    columns: int,
    used_rows: int,
    used_columns: int,
    stream: int,
    move_rows_per_cycle: int,
    buffers: int,
    overlap: int,
    occupied: int,
) -> tuple[int, int, int]:
    """Return (busy, move, skew) cycles of all folds of used_rows x used_columns, steady state.

    rows, columns: the array in PEs; used_rows, used_columns: the PEs that the operand takes;
    stream: cycles of one fold's temporal dimension. The first move of a double-buffered array and
    the last skew of an overlapping one are paid once per operation: `edge_cycles`.
    """
    row_folds = ceil_div(used_rows, rows)
    column_folds = ceil_div(used_columns, columns)
    move_total = 0
    skew_total = 0
    for last_row in range(2):
        row_count = 1 if last_row else row_folds - 1
        high = used_rows - (row_folds - 1) * rows if last_row and occupied else rows
        for last_column in range(2):
            column_count = 1 if last_column else column_folds - 1
            wide = (
                used_columns - (column_folds - 1) * columns if last_column and occupied else columns
            )
            move = ceil_div(high, move_rows_per_cycle)
            excess, drain = fold_excess(stream, move, high + wide - 2, buffers, overlap)
            move_total += row_count * column_count * excess
            skew_total += row_count * column_count * drain
    return row_folds * column_folds * stream, move_total, skew_total


@register_jitable
def edge_cycles(
    rows: int,
    columns: int,
    used_rows: int,
    used_columns: int,
    stream: int,
    move_rows_per_cycle: int,
    buffers: int,
    overlap: int,
    occupied: int,
) -> tuple[int, int]:
    """Return the (move, skew) cycles that an operation pays once: first move in, last drain out.

    Double-buffered arrays wait in full for the first move, whatever of it the steady state booked
    as excess; overlapping folds drain once.
    """
    high = min(rows, used_rows) if occupied else rows
    wide = min(columns, used_columns) if occupied else columns
    move = ceil_div(high, move_rows_per_cycle)
    skew = high + wide - 2
    excess, _ = fold_excess(stream, move, skew, buffers, overlap)
    return (move - excess if buffers == 2 else 0), (skew if overlap else 0)


@register_jitable
def spatial(kind: int, m: int, n: int, k: int) -> tuple[int, int, int]:
    """Return (rows, columns, temporal) extents of a GEMM under a dataflow, as in SCALE-Sim."""
    if kind == WEIGHT_STATIONARY:
        return k, n, m
    if kind == OUTPUT_STATIONARY:
        return m, n, k
    return k, m, n


@register_jitable
def placed(unit: MatrixModel, m: int, n: int, k: int) -> tuple[int, int, int]:
    """Return the rows and columns of PEs that a GEMM takes, and its temporal extent in elements."""
    rows, columns, length = spatial(unit.kind, m, n, k)
    return ceil_div(rows, unit.row_grain), ceil_div(columns, unit.column_grain), length


@register_jitable
def accumulator_pieces(unit: MatrixModel, length: int, k: int) -> int:
    """Return into how many pieces the accumulators' depth cuts a temporal dimension of `length`.

    A column of PEs holds `column_grain` sums for each element of it. Only partial sums of several
    K folds have to wait there; output-stationary PEs keep their own.
    """
    stationary = unit.kind == WEIGHT_STATIONARY or unit.kind == INPUT_STATIONARY
    if not stationary or unit.accumulator_entries == 0 or k <= unit.rows:
        return 1
    return ceil_div(length * unit.column_grain, unit.accumulator_entries)


@register_jitable
def stream_cycles(unit: MatrixModel, length: int) -> tuple[int, int]:
    """Return the cycles of `length` temporal elements, and those in which a scale is waited for.

    The product with the scale of a group hides behind the passes of what follows: the next group,
    or the next fold or piece of the product, taken to be as long. Where those are shorter, they
    wait.
    """
    if unit.group == 0:
        return ceil_div(length, unit.temporal) * unit.passes, 0
    whole, rest = length // unit.group, length % unit.group
    each = ceil_div(unit.group, unit.temporal) * unit.passes
    last = ceil_div(rest, unit.temporal) * unit.passes
    waits = whole * max(0, unit.scale_cycles - each)
    if rest > 0:
        waits += max(0, unit.scale_cycles - last)
    return whole * each + last, waits


@register_jitable
def array_cycles(
    unit: MatrixModel, count: int, m: int, n: int, k: int, temporal_tiles: int
) -> tuple[int, int, int, int]:
    """Return (busy, move, skew, scale) cycles of `count` GEMMs on the unit's arrays, without edges.

    temporal_tiles: into how many nearly equal pieces the temporal dimension is cut; each piece
    passes through all folds. scale: the cycles in which scales of groups are waited for.
    """
    used_rows, used_columns, length = placed(unit, m, n, k)
    rows, columns = unit.rows // unit.row_grain, unit.columns // unit.column_grain
    short = length // temporal_tiles
    longer = length - short * temporal_tiles
    busy = 0
    move = 0
    skew = 0
    scale = 0
    folds = ceil_div(used_rows, rows) * ceil_div(used_columns, columns)
    for piece in range(2):
        pieces = longer if piece else temporal_tiles - longer
        own, waits = stream_cycles(unit, short + piece)
        stream = own + waits
        if pieces == 0 or stream == 0:
            continue
        b, w, s = systolic_cycles(
            rows,
            columns,
            used_rows,
            used_columns,
            stream,
            unit.move_rows_per_cycle,
            unit.buffers,
            unit.overlap,
            unit.occupied,
        )
        busy += pieces * count * (b - folds * waits)
        move += pieces * count * w
        skew += pieces * count * s
        scale += pieces * count * folds * waits
    if unit.arrays > 1:
        # Folds are dealt to the arrays, the fullest of which sets the time: its share of them, but
        # no less than the largest fold.
        own, waits = stream_cycles(unit, short + (1 if longer > 0 else 0))
        stream = own + waits
        largest = systolic_cycles(
            rows,
            columns,
            min(used_rows, rows),
            min(used_columns, columns),
            stream,
            unit.move_rows_per_cycle,
            unit.buffers,
            unit.overlap,
            unit.occupied,
        )
        all_folds = folds * count * temporal_tiles
        most = ceil_div(all_folds, unit.arrays)
        busy = max(largest[0] - waits, ceil_div(busy * most, all_folds))
        move = max(largest[1], ceil_div(move * most, all_folds))
        skew = max(largest[2], ceil_div(skew * most, all_folds))
        scale = max(waits, ceil_div(scale * most, all_folds))
    return busy, move, skew, scale


@register_jitable
def operand_reads(
    unit: MatrixModel, m: int, n: int, k: int, temporal_tiles: int
) -> tuple[int, int, int]:
    """Return how often activations and weights are read, once for each fold, and the folds of K."""
    if unit.kind == OUTPUT_STATIONARY or unit.kind == ADDER_TREE:
        a_reads, w_reads = ceil_div(n, unit.columns), ceil_div(m, unit.rows)
        k_folds = temporal_tiles if unit.kind == OUTPUT_STATIONARY else 1
    elif unit.kind == WEIGHT_STATIONARY:
        a_reads, w_reads, k_folds = (
            ceil_div(n, unit.columns),
            temporal_tiles,
            ceil_div(k, unit.rows),
        )
    elif unit.kind == INPUT_STATIONARY:
        a_reads, w_reads, k_folds = (
            temporal_tiles,
            ceil_div(m, unit.columns),
            ceil_div(k, unit.rows),
        )
    else:
        a_reads, w_reads, k_folds = 1, 1, 1
    return a_reads, w_reads, k_folds


@register_jitable
def operand_bits(
    unit: MatrixModel,
    count: int,
    m: int,
    n: int,
    k: int,
    temporal_tiles: int,
    k_spills: int,
    a_bits: int,
    w_bits: int,
    out_bits: int,
) -> tuple[int, int, int, int]:
    """Return scratchpad (read, write) and accumulator (read, write) bits of `count` GEMMs.

    An operand is read once for each fold that needs it again. Partial sums stay in the
    accumulators where there are any, else each K fold reads and writes them in the scratchpad at
    accumulator width. k_spills: how often a K tile hands partial sums on through the scratchpad.
    """
    a, w, out = m * k, k * n, m * n
    a_reads, w_reads, k_folds = operand_reads(unit, m, n, k, temporal_tiles)
    wide = unit.accumulator_bits
    read = a * a_reads * a_bits + w * w_reads * w_bits + out * k_spills * wide
    write = out * out_bits + out * k_spills * wide
    held_read = 0
    held_write = 0
    if unit.accumulator_entries > 0 or unit.kind == OUTPUT_STATIONARY:
        held_read, held_write = out * k_folds * wide, out * k_folds * wide
    else:
        spilled = max(0, k_folds - 1 - k_spills)
        read += out * spilled * wide
        write += out * spilled * wide
    return count * read, count * write, count * held_read, count * held_write


@register_jitable
def matrix_work(
    unit: MatrixModel,
    count: int,
    m: int,
    n: int,
    k: int,
    temporal_tiles: int,
    k_spills: int,
    a_bits: int,
    w_bits: int,
    out_bits: int,
    edges: int = 0,
) -> MatrixWork:
    """Return cycles by cause and on-chip bits of `count` GEMMs of m x k by k x n on one core.

    The operand stall is what the scratchpad's ports, the accumulators' ports and the array's edges
    need beyond its own cycles; the dequantisation stall what decoding each weight that enters needs
    beyond both, besides waiting for scales; the conversion stall what the output converters need
    beyond all. `edges`: the cycles of `matrix_edges`, in which ports and converters work too. A
    unit known by its peak alone has no operand stall.
    """
    read, write, held_read, held_write = operand_bits(
        unit, count, m, n, k, temporal_tiles, k_spills, a_bits, w_bits, out_bits
    )
    move = 0
    skew = 0
    scale = 0
    edge = 0
    if unit.kind == THROUGHPUT:
        # In two steps, so that no product of an operation is beyond 64 bits.
        passed, rate = count * m * n * k * unit.passes, unit.macs_per_megacycle
        busy = passed // rate * 1_000_000 + ceil_div(passed % rate * 1_000_000, rate)
    elif unit.kind == ADDER_TREE:
        tiles = count * ceil_div(m, unit.rows) * ceil_div(n, unit.columns)
        stream, waits = stream_cycles(unit, k)
        busy = ceil_div(tiles * stream, unit.arrays)
        scale = ceil_div(tiles * waits, unit.arrays)
    else:
        busy, move, skew, scale = array_cycles(unit, count, m, n, k, temporal_tiles)
    own = busy + move + skew + scale + edges
    a_reads, w_reads, _ = operand_reads(unit, m, n, k, temporal_tiles)
    if unit.activation_edge_bits > 0:
        edge = ceil_div(count * m * k * a_reads * a_bits, unit.activation_edge_bits)
    if unit.weight_edge_bits > 0:
        edge = max(edge, ceil_div(count * k * n * w_reads * w_bits, unit.weight_edge_bits))
    if unit.accumulator_entries > 0:
        columns = unit.columns // unit.column_grain
        column_bits = columns * unit.arrays * unit.accumulator_ports * unit.accumulator_bits
        edge = max(edge, ceil_div(held_write, column_bits))
    needed = max(
        ceil_div(read, unit.read_bits_per_cycle), ceil_div(write, unit.write_bits_per_cycle), edge
    )
    operand = 0 if unit.kind == THROUGHPUT else max(0, needed - own)
    if unit.dequantised_per_cycle > 0:
        decoding = ceil_div(count * k * n * w_reads, unit.dequantised_per_cycle)
        scale += max(0, decoding - own - operand)
        own = max(own, decoding - operand)
    conversion = 0
    if unit.conversions_per_cycle > 0:
        conversion = max(0, ceil_div(count * m * n, unit.conversions_per_cycle) - own - operand)
    return MatrixWork(
        busy, move, skew, operand, conversion, read, write, held_read, held_write, scale
    )


@register_jitable
def total_cycles(w: MatrixWork) -> int:
    """Return the cycles of all causes."""
    return w.busy + w.weight_load + w.fill_drain + w.operand + w.conversion + w.dequantisation


@register_jitable
def matrix_edges(unit: MatrixModel, m: int, n: int, k: int, temporal_tiles: int) -> tuple[int, int]:
    """Return the (weight_load, fill_drain) cycles that an operation pays once on this unit."""
    if unit.kind == THROUGHPUT:
        return 0, 0
    if unit.kind == ADDER_TREE:
        return 0, unit.latency
    used_rows, used_columns, length = placed(unit, m, n, k)
    own, waits = stream_cycles(unit, length // temporal_tiles)
    stream = own + waits
    return edge_cycles(
        unit.rows // unit.row_grain,
        unit.columns // unit.column_grain,
        used_rows,
        used_columns,
        stream,
        unit.move_rows_per_cycle,
        unit.buffers,
        unit.overlap,
        unit.occupied,
    )


@register_jitable
def tile_loads(order: int, tiles_m: int, tiles_n: int, tiles_k: int) -> tuple[int, int]:
    """Return how often the activations and the weights cross from memory, for a loop order.

    Orders, outermost first: 0 n k m (each weight once), 1 m k n (each activation once), 2 m n k,
    3 n m k (partial sums leave once). An operand that is one tile, or whose loop is innermost and
    alone, stays.
    """
    alone = tiles_k == 1
    if order == 0:
        return (1 if tiles_m == 1 and alone else tiles_n), 1
    if order == 1:
        return 1, (1 if tiles_n == 1 and alone else tiles_m)
    if order == 2:
        return (1 if alone else tiles_n), (1 if tiles_n == 1 and alone else tiles_m)
    return (1 if tiles_m == 1 and alone else tiles_n), (1 if alone else tiles_m)


class Pipeline(NamedTuple):
    """One operation as a pipeline of equal steps; all durations in ps.

    load, ready, main occur in each of `steps`; post, second (the matrix unit again, as in fused
    attention) and store in every `every`-th. extra is what the last main step takes longer (the
    remainder of an integer division). latency: from the end of a load's transfer to its data;
    slots: loads in flight or held before main frees one.
    """

    steps: int
    every: int
    slots: int
    latency: int
    load: int
    ready: int
    main: int
    extra: int
    post: int
    second: int
    store: int


@register_jitable
def memory_ps(p: Pipeline) -> int:
    """Return how long the memory is busy with loads and stores."""
    return p.steps * p.load + p.steps // p.every * p.store


@register_jitable
def main_ps(p: Pipeline) -> int:
    """Return how long the main unit is busy: `main` steps and, on the same unit, `second` steps."""
    return p.steps * p.main + p.extra + p.steps // p.every * p.second


@register_jitable
def vector_ps(p: Pipeline) -> int:
    """Return how long the vector unit is busy, widening and with work on outputs."""
    return p.steps * p.ready + p.steps // p.every * p.post


class Times(NamedTuple):
    """When parts of an operation are done, in ps: its last load, main step, post, result, store."""

    loaded: int
    main: int
    posted: int
    result: int
    stored: int


#: Rows of the work array of `flow_times`: when each step of a stage ends; the last never limits.
LOAD, MAIN, POST, SECOND, RESULT, STORE, NOTHING = FLOW_ROWS = range(7)


@register_jitable
def followers(p: Pipeline) -> tuple[int, int, int]:
    """Return which stage takes over from main, from post and from second."""
    third = STORE if p.store > 0 else NOTHING
    second = SECOND if p.second > 0 else third
    first = POST if p.post > 0 else second
    return first, second, third


@register_jitable
def steps_behind(p: Pipeline) -> int:
    """Return how many main steps post and second let go first: none if a slot waits for them."""
    return 1 if p.slots > 1 else 0


@register_jitable
def pieces_of_post(p: Pipeline) -> int:
    """Return the pieces that the vector work on one output is done in.

    Where the vector unit also makes operands ready, the work on an output gives way to that between
    as many pieces as the output has steps: the matrix unit would starve behind the whole of it.
    """
    return p.every if p.ready > 0 and p.post > 0 else 1


@register_jitable
def load_before_store(p: Pipeline) -> int:
    """Return the number of the load that the first store comes after; `every` more for each next.

    So many loads are ahead that the memory need not wait for the output, nor main for the store:
    those that the latency and a store hide, one that is made ready and one that main works on.
    Work on outputs after main has the time of one more output.
    """
    shown = (2 if p.post > 0 else 1) * p.every - 1
    return shown + min(p.slots, 2 + ceil_div(p.latency + p.store, max(1, p.load)))


@register_jitable
def flow_times(  # noqa: C901 - all stages of a step read best in one place
    p: Pipeline,
    begin: int,
    gated: int,
    gate: int,
    main_from: int,
    vector_from: int,
    apart: int,
    ends: NDArray[np.int64],
) -> Times:
    """Return when one operation is done, step by step: a flow shop with its buffers.

    Loads start at `begin`, load number `gated` at `gate`, main steps at `main_from`, post at
    `vector_from`, all at the earliest. Between neighbouring stages stand two buffers, for loads
    `slots`. Stages on one unit take turns in a fixed order: the memory by `load_before_store`, the
    vector unit with post `steps_behind` main and ready two steps before it, the matrix unit with
    second `steps_behind` main. With `apart` 1, loads and stores each have a memory of their own: a
    lower bound where stores of other operations are still to come before these. With `second`,
    `every` is 1. `ends` is room to work in, `flow_room`.
    """
    after_main, after_post, after_second = followers(p)
    freeing = SECOND if p.second > 0 else MAIN
    behind, pieces, outputs = steps_behind(p), pieces_of_post(p), p.steps // p.every
    # Of most stages, only what is two steps before the first is read before it is written.
    ends[:, :2] = min(begin, 0)
    for i in range(p.steps + 2):
        ends[STORE, i] = ends[NOTHING, i] = min(begin, 0)
    loaded = memory = writing = vector = posted = result = begin
    matrix = main_end = main_from
    loads, stores = 0 if p.load > 0 else p.steps, 0 if p.store > 0 else outputs
    ahead = load_before_store(p)
    freed = finished = 0
    output, piece, length = 0, 1 - p.every - behind, p.post // pieces
    for turn in range(p.steps + p.every + 1):
        # The memory goes on in its order as far as what is done by now allows.
        while loads < p.steps or (stores < outputs and apart == 0):
            if stores < outputs and apart == 0 and (loads == p.steps or ahead < loads):
                if stores == finished:
                    break
                memory = max(memory, ends[RESULT, 2 + stores]) + p.store
                ends[STORE, 2 + stores] = memory
                stores += 1
                ahead += p.every
            else:
                if loads - p.slots >= freed:
                    break
                if loads >= p.slots:
                    memory = max(memory, ends[freeing, 2 + loads - p.slots])
                if loads == gated:
                    memory = max(memory, gate)
                memory += p.load
                loaded = memory
                ends[LOAD, 2 + loads] = loaded
                loads += 1
        if turn < p.steps:
            there = ends[LOAD, 2 + turn] + p.latency if p.load > 0 else begin
            if p.ready > 0:
                vector = max(there, vector, ends[MAIN, turn]) + p.ready
                there = vector
            if turn % p.every == 0:
                there = max(there, ends[after_main, turn // p.every])
            matrix = max(there, matrix) + p.main
            if turn == p.steps - 1:
                matrix += p.extra
            main_end = matrix
            ends[MAIN, 2 + turn] = matrix
            if p.second == 0:
                freed += 1
        # Which piece of which output is next, `behind` main.
        if turn > 0:
            piece += 1
            if piece == p.every:
                output, piece = output + 1, 0
        if piece < 0 or piece >= pieces or output >= outputs:
            continue
        result = ends[MAIN, 1 + (1 + output) * p.every]
        if p.post > 0:
            vector = max(result, vector, vector_from, ends[after_post, output]) + length
            if piece < pieces - 1:
                continue
            vector += p.post - length * pieces
            result = posted = vector
            ends[POST, 2 + output] = vector
        if p.second > 0:
            matrix = max(result, matrix, ends[after_second, output]) + p.second
            result = matrix
            ends[SECOND, 2 + output] = matrix
            freed += 1
        ends[RESULT, 2 + output] = result
        finished += 1
        if p.store > 0 and apart == 1:
            writing = max(writing, result) + p.store
            ends[STORE, 2 + output] = writing
    done = result
    if p.store > 0:
        done = memory if apart == 0 else writing
    return Times(loaded, main_end, posted if p.post > 0 else main_end, result, done)


def flow_room(steps: int) -> NDArray[np.int64]:
    """Return the room that `flow_times` works in for up to so many steps."""
    return np.empty((len(FLOW_ROWS), steps + 2), dtype=np.int64)


def flow_ps(p: Pipeline) -> int:
    """Return the makespan of one operation alone, step by step."""
    return flow_times(p, 0, 0, 0, 0, 0, 0, flow_room(p.steps)).stored


@inlined
def pipeline_ps(p: Pipeline) -> int:
    """Return the makespan of one operation alone, prologue and epilogue included, in closed form.

    Never above `flow_ps` where that is exact, and equal to it but for near ties (of the order of
    one step); elsewhere a lower bound that counts what stages on one unit take from each other:
    loads and stores, `ready` and `post`, `main` and `second`.
    """
    head = p.load + p.latency + p.ready + p.main
    pace = max(p.load, p.ready, p.main)
    outputs = p.steps // p.every
    first = head + (p.every - 1) * pace + (p.extra if outputs == 1 else 0)
    last = head + (p.steps - 1) * pace + p.extra
    if p.load > 0 and head > p.slots * pace:
        # Too few slots to cover the latency: a load waits for the main step that frees its slot.
        loops = (p.steps - 1) // p.slots
        rest = (p.steps - 1) - loops * p.slots
        last = max(last, (loops + 1) * head + rest * pace + p.extra)
    after = last + p.post
    if p.post > 0:
        after = max(after, first + outputs * p.post)
        if outputs > 2:
            after = max(after, first + (outputs - 1) * p.post + p.every * p.main + p.extra)
    total = after + p.second + p.store
    total = max(total, first + p.post + outputs * p.second + p.store)
    total = max(total, first + p.post + p.second + outputs * p.store)
    total = max(total, p.steps * p.load + outputs * p.store)
    total = max(total, p.load + p.latency + p.steps * p.ready + outputs * p.post)
    both = p.steps * p.main + p.extra + outputs * p.second
    return max(total, p.load + p.latency + p.ready + both + p.store)


class PimTicks(NamedTuple):
    """Ticks between commands of a channel whose banks multiply, group by group.

    multiply: from a multiplication to the next. reopen: from when the next row can be prepared to
    its first multiplication: that is the last multiplication of the row `ahead` rows before it.
    every_row: least from a row to the next. first: from the start to the first multiplication.
    write, read: to the next write of the buffer and read of results. *_to_*: between two kinds;
    last_read: from a read to its last beat. writes_ahead: 1 if the buffer is written behind
    multiplications.
    """

    multiply: int
    reopen: int
    ahead: int
    every_row: int
    first: int
    write: int
    read: int
    write_to_multiply: int
    multiply_to_write: int
    multiply_to_read: int
    read_to_multiply: int
    read_to_write: int
    last_read: int
    writes_ahead: int


@register_jitable
def pim_program_ticks(
    multiplies: int,
    openings: int,
    loads: int,
    writes: int,
    stops: int,
    reads: int,
    t: PimTicks,
) -> float:
    """Return the ticks of a program of a channel alone, without refresh, from its totals.

    loads: fillings of the buffer, of `writes` writes in all; stops: for results, of `reads` reads.
    A row is opened while results are read and the buffer is written; of rows, loads and stops, the
    rarer fall where the more frequent do. All rows are taken as of equally many multiplications,
    all loads and stops as equally long.
    """
    of_row = multiplies / openings * t.multiply
    opening = max(0, t.reopen - t.multiply - (t.ahead - 1) * of_row, t.every_row - of_row)
    of_load = writes / max(loads, 1)
    load = t.write_to_multiply + (of_load - 1) * t.write
    of_stop = reads / max(stops, 1)
    read = t.multiply_to_read + (of_stop - 1) * t.read
    stop = read + t.read_to_multiply - t.multiply
    if t.writes_ahead:
        # Writes go on while what was written before is multiplied, but for reads on the same bus.
        uncovered = of_load * t.write - multiplies * t.multiply / max(loads, 1)
        alone = max(0, uncovered)
        both = max(stop, uncovered + of_stop * t.read)
    else:
        alone = max(0, t.multiply_to_write + load - t.multiply)
        both = read + t.read_to_write + load - t.multiply
    # The first row and load, and the last stop, are no gap between multiplications.
    rows, loaded, stopped = openings - 1, loads - 1, stops - 1
    total = max(t.first, load + 1) + (multiplies - 1) * t.multiply + read + t.last_read
    together = min(loaded, stopped)
    for count, bus in (
        (together, both),
        (loaded - together, alone),
        (stopped - together, stop),
    ):
        with_row = min(rows, count)
        rows -= with_row
        total += with_row * max(opening, bus) + (count - with_row) * bus
    return total + rows * opening
