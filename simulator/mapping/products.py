"""Plans of matrix products: the best grid of cores, the best tiles on each, who does a GEMV."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from simulator.cost import Counts, added
from simulator.errors import InputError
from simulator.formats import Format, get
from simulator.hardware.equations import (
    MatrixModel,
    MatrixWork,
    ceil_div,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    tile_loads,
    total_cycles,
)
from simulator.hardware.matrix import AdderTree, SystolicArray, Throughput, pair_formats
from simulator.mapping.lowering import Lowered, VectorWork
from simulator.mapping.plan import OpPlan
from simulator.mapping.streams import plan_reduction, plan_stream
from simulator.mapping.target import Context, Target
from simulator.mapping.tiling import (
    ORDERS,
    Choice,
    GemmProblem,
    cycles_ps,
    search_gemm,
    slack_ps,
)
from simulator.mapping.unfused import MaskedProblem, search_bands
from simulator.workload import Gemm, OpKind

cached_gemm = lru_cache(maxsize=65536)(search_gemm)


@dataclass(frozen=True, slots=True)
class Issue:
    """What a product really issues: cores, MACs, vector work, and its tiling in words.

    vector_bits: what the vector unit reads and writes in the scratchpad beside the product.
    """

    cores: int
    macs: int
    vector_work: VectorWork
    vector_bits: tuple[int, int]
    tiling: str


Grid = tuple[int, int, int]
STATIONARY = {
    "weight_stationary": "weights",
    "output_stationary": "sums",
    "input_stationary": "activations",
}


def partitions(cores: int, *, reduction: bool) -> tuple[Grid, ...]:
    """Return the grids (along M, N, K) over which cores may share a product."""
    sizes = sorted({1, cores, *(2**i for i in range(cores.bit_length()) if 2**i <= cores)})
    depths = sizes if reduction else [1]
    return tuple((m, n, k) for m in sizes for n in sizes for k in depths if m * n * k <= cores)


class Product(NamedTuple):
    """`products` products of m x k by k x n, before cores share them; the rest as in `GemmProblem`.

    ready_cycles, post_cycles: of one vector unit for all of it.
    """

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
    ready_cycles: int
    post_cycles: int


@register_jitable
def cores_of(grid: Grid, count: int, cores: int) -> int:
    """Return how many cores work on a product: those of a grid, or one for each of several."""
    return min(cores, count) if count > 1 else grid[0] * grid[1] * grid[2]


@register_jitable
def gemm_problem(
    unit: MatrixModel, p: Product, grid: Grid, cores: int, multicast: int, room_bytes: int
) -> GemmProblem:
    """Return what one core has of a product: its share of a grid, or of several products.

    Cores that share K leave partial sums at accumulator width on chip, for the reduction.
    multicast: whether cores receive what they share at once.
    """
    used, partial = cores_of(grid, p.products, cores), grid[2] > 1
    a_shards, w_shards, products = grid[0] * grid[2], grid[1] * grid[2], 1
    if p.products > 1:
        a_shards, w_shards, products = used, used, ceil_div(p.products, used)
    return GemmProblem(
        unit,
        products,
        ceil_div(p.m, grid[0]),
        ceil_div(p.n, grid[1]),
        ceil_div(p.k, grid[2]),
        p.a_bits,
        p.w_bits,
        unit.accumulator_bits if partial else p.out_bits,
        p.a_memory_bits,
        p.w_memory_bits,
        p.w_metadata_bits,
        0 if partial else p.out_memory_bits,
        0 if partial else p.side_memory_bits,
        a_shards,
        w_shards,
        grid[1],
        grid[0],
        1 if multicast else grid[1],
        1 if multicast else grid[0],
        ceil_div(p.ready_cycles, w_shards),
        0 if partial else ceil_div(p.post_cycles, used),
        room_bytes,
    )


def product_of(target: Target, c: Context, gemm: Gemm) -> Product:
    """Return the numbers of a product, before cores share it."""
    op, vector = c.op, target.device.vector
    assert op.pair is not None
    w_name, a_name = pair_formats(op.pair)
    weight, out = c.tensor(op.inputs[1]), op.outputs[-1]
    metadata = weight.format.metadata_bits(weight.rows, weight.columns)
    return Product(
        products=gemm.count,
        m=gemm.m,
        n=gemm.n,
        k=gemm.k,
        a_bits=held_bits(c.tensor(op.inputs[0]).format, a_name),
        w_bits=int(get(w_name).value_bits),
        out_bits=int(np.ceil(float(c.tensor(out).format.value_bits))),
        a_memory_bits=c.memory_bits(op.inputs[0]),
        w_memory_bits=c.memory_bits(op.inputs[1]) - metadata,
        w_metadata_bits=metadata,
        out_memory_bits=c.memory_bits(out),
        side_memory_bits=sum(c.memory_bits(name) for name in op.inputs[2:]),
        ready_cycles=vector.cycles(op.widen),
        post_cycles=vector.cycles(op.work),
    )


def held_bits(form: Format, multiplied: str) -> int:
    """Return the bits of a value at the array's edge: as it is held, tables too, or converted."""
    return ceil((form if form.base == multiplied else get(multiplied)).value_bits)


@dataclass(frozen=True, slots=True)
class Tiled:
    """A product on one grid of cores: its tiling, and the time in ps of what follows it."""

    grid: Grid
    problem: GemmProblem
    choice: Choice
    tiles: tuple[int, int, int, int]
    rest_ps: int

    @property
    def time_ps(self) -> int:
        """Time of the product and of what follows it."""
        return pipeline_ps(self.choice.pipeline) + self.rest_ps


def tiled_product(target: Target, c: Context, gemm: Gemm, *, share_k: bool) -> Tiled:
    """Return the best grid of cores and the best tiles on each; InfeasibleError where none fits."""
    cores, network = target.device.cores, target.device.network
    grids: tuple[Grid, ...] = ((1, 1, 1),)
    # The heads of attention are dealt out whole.
    if gemm.count == 1 and c.op.gemm is not None:
        reduction = share_k and network is not None and network.reduction
        grids = partitions(cores, reduction=reduction)
    assert c.op.pair is not None
    group = 0 if c.op.gemm is None else c.tensor(c.op.inputs[1]).format.group or 0
    unit, product = target.unit(c.op.pair, group), product_of(target, c, gemm)
    multicast = int(network is not None and network.multicast)
    found = []
    for grid in grids:
        problem = gemm_problem(unit, product, grid, cores, multicast, c.room_bytes)
        choice, tiles, time = cached_gemm(problem, target.rates, target.memory)
        if time >= 0:
            rest = sum(pipeline_ps(p.pipeline) for p in after_partials(target, c, grid, problem))
            found.append(Tiled(grid, problem, choice, tiles, rest))
    if not found:
        raise c.too_small(choice)
    fastest = min(tiled.time_ps for tiled in found)
    equal = [tiled for tiled in found if tiled.time_ps <= fastest + slack_ps(fastest)]
    return min(equal, key=lambda tiled: (tiled.choice.energy_pj, tiled.time_ps))


def plan_product(target: Target, c: Context, *, share_k: bool = True) -> tuple[OpPlan, ...]:
    """Plan a matrix product; where cores share K, a reduction and the work on its sums follow."""
    gemm = c.op.gemm or unfused_shape(c.op)
    tiled = tiled_product(target, c, gemm, share_k=share_k)
    grid, problem, tiles = tiled.grid, tiled.problem, tiled.tiles
    cores = target.device.cores
    used = cores_of(grid, gemm.count, cores)
    edges = matrix_edges(problem.unit, problem.m, problem.n, problem.k, tiled.choice.temporal_tiles)
    text = f"m {tiles[0]}, n {tiles[1]}, k {tiles[2]}; {ORDERS[tiles[3]]}"
    if cores > 1:
        text += f"; cores {grid[0]}x{grid[1]}x{grid[2]}"
    if c.op.gemm is None:
        work, macs, bands = masked_work(target, c, problem, tiled.choice)
        choice = timed(target, tiled.choice, work, edges)
        text += f"; {bands} bands of queries" if bands > 1 else ""
    else:
        work = gemm_work(problem, tiled.choice, sum(edges))
        macs, choice = gemm.macs, tiled.choice
    passes = weight_passes(problem, tiles)
    own = () if grid[2] > 1 else c.op.work
    # Cores that share M each widen the same weights.
    widenings = passes * grid[0]
    sides = sum(c.tensor(name).bits for name in c.op.inputs[2:] if name in c.kept)
    read, written = c.widened_bits(widenings, problem.w_bits)
    vector_work = added(own, *([c.op.widen] * widenings))
    issue = Issue(used, macs, vector_work, (read + sides, written), text)
    product = matrix_plan(target, c, choice, work, edges, issue)
    return product, *after_partials(target, c, grid, problem)


def gemm_work(p: GemmProblem, choice: Choice, edges: int) -> MatrixWork:
    """Return what one core issues of a product, beside `edges` cycles at its ends."""
    return matrix_work(
        p.unit, p.products, p.m, p.n, p.k, choice.temporal_tiles, choice.k_spills, p.a_bits,
        p.w_bits, p.out_bits, edges,
    )  # fmt: skip


def masked_work(
    target: Target, c: Context, p: GemmProblem, choice: Choice
) -> tuple[MatrixWork, int, int]:
    """Return what the fullest core issues of QK or PV; the MACs of all, the bands of queries."""
    a = c.op.attention
    assert a is not None
    masked = MaskedProblem(
        unit=p.unit,
        cores=target.device.cores,
        scores=int(c.op.kind == OpKind.QK),
        kv_heads=a.kv_heads,
        group_size=a.group_size,
        head_dim=a.head_dim,
        causal=int(a.causal),
        window=a.window or 0,
        k_spills=choice.k_spills,
        a_bits=p.a_bits,
        w_bits=p.w_bits,
        out_bits=p.out_bits,
    )
    issued = search_bands(masked, [(g.requests, g.queries, g.keys) for g in a.groups])
    return issued.work, issued.macs, issued.bands


def timed(target: Target, choice: Choice, work: MatrixWork, edges: tuple[int, int]) -> Choice:
    """Return a tiling whose main steps take as long as the work that is really issued."""
    main = cycles_ps(target.rates, total_cycles(work) + sum(edges))
    steps = choice.pipeline.steps
    pipeline = choice.pipeline._replace(main=main // steps, extra=main % steps)
    return choice._replace(pipeline=pipeline)


def after_partials(
    target: Target, c: Context, grid: Grid, problem: GemmProblem
) -> tuple[OpPlan, ...]:
    """Return what follows a product whose K cores share: the reduction, the work on sums."""
    if grid[2] == 1:
        return ()
    sums = -(-problem.m * problem.n * problem.unit.accumulator_bits // 8)
    reduction = plan_reduction(target, c, sums, grid)
    op = replace(c.op, name=f"{c.op.name}.finish", kind="finish", inputs=c.op.inputs[2:], widen=())
    finish = plan_stream(target, replace(c, op=op))
    return reduction, replace(finish, least_load_bytes=0, least_store_bytes=0, spills=())


def weight_passes(problem: GemmProblem, tiles: tuple[int, int, int, int]) -> int:
    """Return how often all weights are read, and so widened."""
    counts = [
        -(-size // tile)
        for size, tile in zip((problem.m, problem.n, problem.k), tiles, strict=False)
    ]
    return tile_loads(tiles[3], *counts)[1]


def register_bits(target: Target, c: Context, macs: int) -> int:
    """Return the bits that pass from PE to PE."""
    if c.op.pair is None:
        return 0
    bits, macs_each = passed_on(target.device.unit_of(c.op.pair), c.op.pair)
    return macs * bits // macs_each


def passed_on(matrix: SystolicArray | AdderTree | Throughput, pair: str) -> tuple[int, int]:
    """Return the bits that pass from PE to PE in one pass of a micro-tile, and its MACs.

    Of a micro-tile (m, n, k), two of its m k activations, n k weights and m n partial sums move on;
    the third is stationary.
    """
    m, n, k = matrix.pe.micro_tile
    if not isinstance(matrix, SystolicArray):
        return 0, m * n * k
    weight, activation = (int(get(name).value_bits) for name in pair_formats(pair))
    moving = {
        "activations": m * k * activation,
        "weights": n * k * weight,
        "sums": m * n * matrix.pe.accumulator_bits,
    }
    del moving[STATIONARY[matrix.dataflow]]
    return sum(moving.values()), m * n * k


def matrix_plan(
    target: Target,
    c: Context,
    choice: Choice,
    work: MatrixWork,
    edges: tuple[int, int],
    issue: Issue,
) -> OpPlan:
    """Put a tiling and its cycles by cause into a plan."""
    counts = Counts(
        macs=((c.op.pair or "", issue.macs),),
        vector_ops=issue.vector_work,
        scratchpad_read_bits=work.read_bits * issue.cores
        + choice.store_bytes * 8
        + issue.vector_bits[0],
        scratchpad_write_bits=work.write_bits * issue.cores
        + choice.fill_bytes * 8
        + issue.vector_bits[1],
        register_bits=register_bits(target, c, issue.macs),
        accumulator_read_bits=work.accumulator_read_bits * issue.cores,
        accumulator_write_bits=work.accumulator_write_bits * issue.cores,
        dram_read_bits=choice.load_bytes * 8,
        dram_write_bits=choice.store_bytes * 8,
        # Copies that a multicast makes on its way, one link further each.
        noc_bit_hops=(choice.fill_bytes - choice.load_bytes) * 8,
    )
    causes = {
        "weight_load": work.weight_load + edges[0],
        "fill_drain": work.fill_drain + edges[1],
        "operand": work.operand,
        "conversion": work.conversion,
        "dequantisation": work.dequantisation,
    }
    stalls = tuple(
        (cause, cycles_ps(target.rates, cycles)) for cause, cycles in causes.items() if cycles
    )
    return OpPlan(
        name=c.op.name,
        kind=c.op.kind,
        unit="matrix",
        pipeline=choice.pipeline,
        after=c.after(),
        stored_by=c.stored_by(),
        free_loads=0 if c.stored_by() else choice.pipeline.steps,
        slot_bytes=choice.slot_bytes,
        room_bytes=choice.ring_bytes,
        load_bytes=choice.load_bytes,
        store_bytes=choice.store_bytes,
        least_load_bytes=c.least_load_bytes(),
        least_store_bytes=c.least_store_bytes(),
        main_bytes=0,
        cores=issue.cores,
        stalls_ps=stalls,
        macs_useful=c.op.macs_useful,
        macs_issued=issue.macs,
        counts=counts,
        tiling=issue.tiling,
        spills=c.spills(),
        accesses=choice.accesses,
    )


def unfused_shape(op: Lowered) -> Gemm:
    """Return QK or PV as one batch of equal products of mean length: what tiles are chosen for."""
    if op.attention is None:
        raise InputError(f"{op.name} is neither a product nor attention")
    gemms = op.attention.gemms(OpKind(op.kind))
    count = sum(g.count for g in gemms)
    m = -(-sum(g.count * g.m for g in gemms) // count)
    if op.kind == OpKind.QK:
        n = -(-sum(g.count * g.m * g.n for g in gemms) // (count * m))
        return Gemm(count, m, n, gemms[0].k)
    k = -(-sum(g.count * g.m * g.k for g in gemms) // (count * m))
    return Gemm(count, m, gemms[0].n, k)


def gemv(target: Target, c: Context) -> OpPlan:
    """Plan a product with one row on the vector unit: one MAC a lane a cycle, no core shares K."""
    [plan] = plan_product(target, c, share_k=False)
    lanes = target.device.vector.lanes * target.device.cores
    cycles = -(-plan.macs_issued // lanes) + target.vector_cycles(c.op.work)
    p = plan.pipeline
    main = -(-cycles_ps(target.rates, cycles) // p.steps)
    counts = replace(
        plan.counts,
        macs=(),
        register_bits=0,
        vector_ops=added(
            plan.counts.vector_ops, (("add", plan.macs_issued), ("mul", plan.macs_issued))
        ),
        accumulator_read_bits=0,
        accumulator_write_bits=0,
    )
    pipeline = p._replace(ready=0, main=main + p.ready, extra=0, post=0)
    cores = target.device.cores
    return replace(plan, unit="vector", pipeline=pipeline, counts=counts, stalls_ps=(), cores=cores)
