"""The planner: lowers each segment, decides what stays on chip, tiles each operation.

Each method of `Planner` turns one lowered operation into an `OpPlan`: products and fused attention
through the tiling search, everything else as a stream through the vector unit or the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np

from simulator.cost import Counts, EnergyProfile
from simulator.errors import InfeasibleError, InputError
from simulator.formats import Format, get
from simulator.hardware.device import Device
from simulator.hardware.equations import (
    MatrixModel,
    MatrixWork,
    Pipeline,
    matrix_edges,
    matrix_work,
    pipeline_ps,
    tile_loads,
)
from simulator.hardware.models import matrix_model
from simulator.mapping.lowering import GATHERED, PRODUCTS, Lowered, added, gather, lower
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan
from simulator.mapping.residency import resident
from simulator.mapping.tiling import (
    ORDERS,
    AttentionProblem,
    AttentionTotals,
    Choice,
    GemmProblem,
    Rates,
    cycles_ps,
    padded_bytes,
    search_attention,
    search_gemm,
)
from simulator.workload import HIDDEN, HIDDEN_OUT, Gemm, Graph, OpKind, Role, Tensor, Workload

#: Vector operations stream through the scratchpad in pieces of at least this size, in at most
#: STREAM_STEPS pieces. Assumed: small enough to overlap, large enough to amortise a descriptor.
STREAM_BYTES = 65536
STREAM_STEPS = 64

cached_gemm = lru_cache(maxsize=65536)(search_gemm)


@lru_cache(maxsize=4096)
def cached_attention(
    problem: AttentionProblem, rates: Rates, groups: tuple[tuple[int, int, int], ...]
) -> tuple[Choice, AttentionTotals, tuple[int, int, int]]:
    """Search attention tiles for (requests, queries, keys) groups; remembered."""
    columns = np.array(groups, dtype=np.int64).T.copy()
    return search_attention(problem, rates, columns[0], columns[1], columns[2])


@dataclass(frozen=True, slots=True)
class _Context:
    """One operation in its segment: what is on chip, what room is left, who made its inputs."""

    graph: Graph
    op: Lowered
    kept: frozenset[str]
    outside: frozenset[str]
    producers: dict[str, int]
    room_bytes: int

    def tensor(self, name: str) -> Tensor:
        """Return a tensor; a gathered one is the tensor it gathers."""
        return self.graph.tensor(name.removesuffix(GATHERED))

    def from_memory(self, name: str) -> bool:
        """Tell whether an input or output crosses the memory."""
        return name not in self.kept

    def after(self) -> tuple[int, ...]:
        """Return the producers of inputs that are on chip."""
        found = {self.producers[n] for n in self.op.inputs if n in self.kept and n in self.producers}
        return tuple(sorted(found))

    def stored_by(self) -> tuple[int, ...]:
        """Return the producers of inputs that come back from memory."""
        found = {
            self.producers[n] for n in self.op.inputs if n not in self.kept and n in self.producers
        }
        return tuple(sorted(found))

    def least_load_bytes(self) -> int:
        """Return weights, gathered rows, past keys and values, and inputs from outside, once."""
        total = 0
        source = self.op.sources[0]
        for name in dict.fromkeys(self.op.inputs):
            t = self.tensor(name)
            if t.role is Role.TABLE:
                total += t.row_bytes(source.rows_read or 0)
            elif t.role is Role.KV and source.attention is not None:
                total += t.row_bytes(source.attention.past_rows) if source.attention.past_rows else 0
            elif t.role is not Role.ACTIVATION or name in self.outside:
                total += t.bytes
        return total

    def least_store_bytes(self) -> int:
        """Return new keys and values, and outputs that leave the device."""
        total = 0
        for name in self.op.outputs:
            t = self.tensor(name)
            if t.role is Role.KV:
                total += t.row_bytes(self.op.sources[0].rows_written or 0)
            elif name in self.outside:
                total += t.bytes
        return total

    def spills(self) -> tuple[tuple[str, int, str], ...]:
        """Return (tensor, bytes, why) of activations that cross memory for want of room."""
        return tuple(
            (name, self.tensor(name).bytes, "does not fit in the scratchpad while it lives")
            for name in (*self.op.inputs, *self.op.outputs)
            if name not in self.kept
            and name not in self.outside
            and self.tensor(name).role is Role.ACTIVATION
        )


@dataclass(frozen=True, slots=True)
class _Issue:
    """What a product really issues: on how many cores, MACs, vector work, and its tiling in words."""

    cores: int
    macs: int
    vector_work: tuple[tuple[str, int], ...]
    tiling: str


def partitions(cores: int) -> tuple[tuple[int, int], ...]:
    """Return the grids (along M, along N) over which cores may share a product."""
    sizes = sorted({1, cores, *(2**i for i in range(cores.bit_length()) if 2**i <= cores)})
    return tuple((m, n) for m in sizes for n in sizes if m * n <= cores)


class Planner:
    """Plans operations for one device, priced by one energy profile."""

    def __init__(self, device: Device, profile: EnergyProfile) -> None:
        """Derive rates from the parts."""
        self.device = device
        self.profile = profile
        common = gcd(10**12, device.clock_hz)
        fill = device.scratchpad.write_bytes_per_cycle * device.cores * device.clock_hz
        self.rates = Rates(
            cycle_ps_numerator=10**12 // common,
            cycle_ps_denominator=device.clock_hz // common,
            ps_per_byte=1e12 / min(device.memory_bytes_per_s, fill),
            latency_ps=device.memory_latency_ps,
            descriptor_ps=-(-device.dma.descriptor_cycles * 10**12 // device.clock_hz),
            burst_bytes=device.dma.burst_bytes,
            pj_per_memory_bit=profile.dram_read_pj_per_bit.nominal,
            pj_per_scratchpad_bit=profile.scratchpad_read_pj_per_bit.nominal,
        )
        if device.memory.kind == "ideal":
            self.rates = self.rates._replace(ps_per_byte=0.0, descriptor_ps=0)
        self._units: dict[str, MatrixModel] = {}

    def unit(self, pair: str) -> MatrixModel:
        """Return the matrix unit for an operand pair."""
        if pair not in self._units:
            self._units[pair] = matrix_model(self.device, pair)
        return self._units[pair]

    def segment(
        self,
        graph: Graph,
        ops: Sequence[Lowered],
        kept: frozenset[str],
        live: np.ndarray,
        outside: frozenset[str],
    ) -> tuple[OpPlan, ...]:
        """Plan the operations of one segment in order."""
        producers: dict[str, int] = {}
        plans = []
        several = self.device.cores > 1 and self.device.network is not None
        placed = tuple((op, index) for index, op in enumerate(ops))
        if several:
            placed = gather(graph, ops, kept, self.device.cores)
        held = kept | {op.outputs[0] for op, _ in placed if op.kind == "all_gather"}
        for index, (op, where) in enumerate(placed):
            room = self.device.scratchpad.capacity_bytes - int(live[where])
            context = _Context(graph, op, held, outside, dict(producers), room)
            plans.append(self.plan(context))
            producers.update(dict.fromkeys(op.outputs, index))
        return tuple(plans)

    def plan(self, c: _Context) -> OpPlan:
        """Plan one operation by its kind; a row times a matrix goes to the faster unit."""
        plan = self._plan(c)
        gemm = c.op.gemm
        if self.device.vector.gemv and gemm is not None and gemm.m == 1:
            return min(plan, self.gemv(plan, c), key=lambda made: pipeline_ps(made.pipeline))
        return plan

    def gemv(self, plan: OpPlan, c: _Context) -> OpPlan:
        """Return the same plan with the product on the vector unit: one MAC a lane a cycle."""
        lanes = self.device.vector.lanes * self.device.cores
        cycles = -(-plan.macs_issued // lanes) + self.vector_cycles(c.op.work)
        p = plan.pipeline
        main = -(-cycles_ps(self.rates, cycles) // p.steps)
        counts = replace(
            plan.counts,
            macs=(),
            vector_ops=added(plan.counts.vector_ops, (("add", plan.macs_issued), ("mul", plan.macs_issued))),
            accumulator_read_bits=0,
            accumulator_write_bits=0,
        )
        pipeline = p._replace(main=main, extra=0, post=0, every=1)
        return replace(plan, unit="vector", pipeline=pipeline, counts=counts, stalls_ps=())

    def _plan(self, c: _Context) -> OpPlan:
        match c.op.kind:
            case "attention":
                return self.attention(c)
            case "all_gather":
                return self.gather(c)
            case kind if kind in PRODUCTS or kind in (OpKind.QK, OpKind.PV):
                return self.product(c)
            case _:
                return self.stream(c)

    def memory_bits(self, c: _Context, name: str) -> int:
        """Return the bits of a tensor as packed for the memory, 0 where it is on chip."""
        if not c.from_memory(name):
            return 0
        t = c.tensor(name)
        return self.packed_bits(t.format, t.rows, t.columns, t.elements)

    def packed_bits(self, form: Format, rows: int, columns: int, elements: int | None = None) -> int:
        """Return payload in whole words plus metadata."""
        if elements is not None and elements != rows * columns:
            rows, columns = 1, elements
        payload = form.payload_bits(rows, columns, self.device.dma.word_bits)
        return payload + form.scales(rows, columns) * form.metadata_bits_per_group

    def vector_cycles(self, work: tuple[tuple[str, int], ...]) -> int:
        """Return one core's cycles for vector work that all cores share."""
        return -(-self.device.vector.cycles(work) // self.device.cores)

    # products

    def problem(self, c: _Context, grid: tuple[int, int], shape: tuple[int, int, int, int]) -> GemmProblem:
        """Return the product of one core of a grid; `shape` is (count, m, n, k) of the device."""
        op, device, cores = c.op, self.device, self.device.cores
        count, m, n, k = shape
        assert op.pair is not None
        w_name, a_name = op.pair.split("x")
        weight = c.tensor(op.inputs[1])
        packed = self.memory_bits(c, op.inputs[1])
        metadata = weight.format.scales(weight.rows, weight.columns)
        metadata *= weight.format.metadata_bits_per_group
        shared = device.network is not None and device.network.multicast
        out = op.outputs[-1]
        return GemmProblem(
            unit=self.unit(op.pair),
            count=count,
            m=-(-m // grid[0]),
            n=-(-n // grid[1]),
            k=k,
            a_bits=int(get(a_name).value_bits),
            w_bits=int(get(w_name).value_bits),
            out_bits=int(np.ceil(float(c.tensor(out).format.value_bits))),
            a_memory_bits=self.memory_bits(c, op.inputs[0]),
            w_memory_bits=packed - metadata,
            w_metadata_bits=metadata,
            out_memory_bits=self.memory_bits(c, out),
            side_memory_bits=sum(self.memory_bits(c, name) for name in op.inputs[2:]),
            a_shards=cores if count > 1 else grid[0],
            w_shards=cores if count > 1 else grid[1],
            a_copies=1 if shared else grid[1],
            w_copies=1 if shared else grid[0],
            ready_cycles=self.vector_cycles(op.widen),
            post_cycles=self.vector_cycles(op.work),
            room_bytes=c.room_bytes,
        )

    def product(self, c: _Context) -> OpPlan:
        """Plan a matrix product: the best grid of cores and the best tiles on each."""
        gemm = c.op.gemm or self.unfused_shape(c.op)
        shape = (gemm.count, gemm.m, gemm.n, gemm.k)
        cores = self.device.cores
        grids: tuple[tuple[int, int], ...] = partitions(cores) if gemm.count == 1 else ((1, 1),)
        if gemm.count > 1:
            shape = (-(-gemm.count // cores), *shape[1:])
        best = None
        for grid in grids:
            problem = self.problem(c, grid, shape)
            choice, tiles = cached_gemm(problem, self.rates)
            if choice.footprint_bytes < 0:
                continue
            order = (pipeline_ps(choice.pipeline), choice.energy_pj, choice.footprint_bytes)
            if best is None or order < best[0]:
                best = (order, grid, problem, choice, tiles)
        if best is None:
            raise self.too_small(c, choice)
        _, grid, problem, choice, tiles = best
        used = grid[0] * grid[1] if gemm.count == 1 else min(cores, gemm.count)
        work = matrix_work(
            problem.unit, problem.count, problem.m, problem.n, problem.k, choice.temporal_tiles,
            choice.k_spills, problem.a_bits, problem.w_bits, problem.out_bits,
        )  # fmt: skip
        edges = matrix_edges(problem.unit, problem.m, problem.n, problem.k, choice.temporal_tiles)
        text = f"m {tiles[0]}, n {tiles[1]}, k {tiles[2]}; {ORDERS[tiles[3]]}"
        if cores > 1:
            text += f"; cores {grid[0]}x{grid[1]}"
        passes = self.weight_passes(problem, tiles)
        issue = _Issue(used, gemm.macs, added(c.op.work, *([c.op.widen] * passes)), text)
        return self.matrix_plan(c, choice, work, edges, issue)

    @staticmethod
    def weight_passes(problem: GemmProblem, tiles: tuple[int, int, int, int]) -> int:
        """Return how often all weights are read, and so widened."""
        counts = [
            -(-size // tile) for size, tile in zip((problem.m, problem.n, problem.k), tiles, strict=False)
        ]
        return tile_loads(tiles[3], *counts)[1]

    def matrix_plan(
        self,
        c: _Context,
        choice: Choice,
        work: MatrixWork,
        edges: tuple[int, int],
        issue: _Issue,
    ) -> OpPlan:
        """Put a tiling and its cycles by cause into a plan."""
        counts = Counts(
            macs=((c.op.pair or "", issue.macs),),
            vector_ops=issue.vector_work,
            scratchpad_read_bits=work.read_bits * issue.cores + choice.store_bytes * 8,
            scratchpad_write_bits=work.write_bits * issue.cores + choice.load_bytes * 8,
            accumulator_read_bits=work.accumulator_read_bits * issue.cores,
            accumulator_write_bits=work.accumulator_write_bits * issue.cores,
            dram_read_bits=choice.load_bytes * 8,
            dram_write_bits=choice.store_bytes * 8,
        )
        causes = {
            "weight_load": work.weight_load + edges[0],
            "fill_drain": work.fill_drain + edges[1],
            "operand": work.operand,
            "conversion": work.conversion,
        }
        stalls = tuple(
            (cause, cycles_ps(self.rates, cycles)) for cause, cycles in causes.items() if cycles
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
            network_bytes=0,
            stalls_ps=stalls,
            macs_useful=c.op.macs_useful,
            macs_issued=issue.macs,
            counts=counts,
            tiling=issue.tiling,
            spills=c.spills(),
        )

    def too_small(self, c: _Context, smallest: Choice) -> InfeasibleError:
        """Return the refusal of an operation that fits in no tiling."""
        needed = smallest.needed_bytes
        return InfeasibleError(
            "scratchpad", needed, c.room_bytes, "bytes",
            f"{self.device.name}: {c.op.name} does not fit in the scratchpad: its smallest tiles "
            f"need {needed} bytes, {c.room_bytes} are free",
        )  # fmt: skip

    @staticmethod
    def unfused_shape(op: Lowered) -> Gemm:
        """Return QK or PV as one batch of equal products; ragged requests take the mean length."""
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

    # fused attention

    def attention(self, c: _Context) -> OpPlan:
        """Plan fused attention tile by tile."""
        a, op = c.op.attention, c.op
        assert a is not None
        assert op.pair is not None
        w_name, a_name = op.pair.split("x")
        key = c.tensor(op.inputs[1])
        kv_bits = 2 * self.packed_bits(key.format, 1024, a.head_dim) / 1024
        elements = 2 * a.cache_rows * a.head_dim
        problem = AttentionProblem(
            unit=self.unit(op.pair),
            cores=self.device.cores,
            kv_heads=a.kv_heads,
            group_size=a.group_size,
            head_dim=a.head_dim,
            causal=int(a.causal),
            window=a.window or 0,
            a_bits=int(get(a_name).value_bits),
            w_bits=int(get(w_name).value_bits),
            out_bits=int(np.ceil(float(c.tensor(op.outputs[0]).format.value_bits))),
            kv_memory_bits_per_key=int(np.ceil(kv_bits)),
            q_memory_bits=self.memory_bits(c, op.inputs[0]),
            out_memory_bits=self.memory_bits(c, op.outputs[0]),
            ready_cycles_per_kilokey=self._per_kilo(op.widen, elements // (2 * a.head_dim)),
            softmax_cycles_per_kiloscore=self._per_kilo(op.work, a.scores),
            vector_lanes=self.device.vector.lanes,
            room_bytes=c.room_bytes,
        )
        groups = tuple((g.requests, g.queries, g.keys) for g in a.groups)
        choice, totals, tiles = cached_attention(problem, self.rates, groups)
        if choice.footprint_bytes < 0:
            raise self.too_small(c, choice)
        return self.attention_plan(c, problem, choice, totals, tiles)

    def _per_kilo(self, work: tuple[tuple[str, int], ...], units: int) -> int:
        """Return the cycles of the whole device's lanes per 1,024 units of `work`."""
        return -(-self.device.vector.cycles(work) * 1024 // max(1, units))

    def attention_plan(
        self,
        c: _Context,
        problem: AttentionProblem,
        choice: Choice,
        totals: AttentionTotals,
        tiles: tuple[int, int, int],
    ) -> OpPlan:
        """Put the tiling of attention into a plan; appended keys and values gate the last loads."""
        a = c.op.attention
        assert a is not None
        cores = min(self.device.cores, totals.pairs)
        share = [-(-cycles // cores) for cycles in totals[4:9]]
        work = MatrixWork(*share, *(-(-bits // cores) for bits in totals[10:14]))
        edges = matrix_edges(problem.unit, tiles[0] * a.group_size, tiles[1], a.head_dim, 1)
        rescale = (("mul", totals.rescaled * (a.head_dim + 3)),)
        issued = tuple(
            (name, -(-count * totals.scores // a.scores)) for name, count in c.op.work
        )
        text = f"queries {tiles[0]}, keys {tiles[1]}"
        text += ", keys and values held" if tiles[2] else ""
        loaded = -(-totals.keys_loaded // max(1, a.cache_rows))
        vector_work = added(issued, rescale, *([c.op.widen] * loaded))
        issue = _Issue(cores, 2 * totals.scores * a.head_dim, vector_work, text)
        plan = self.matrix_plan(c, choice, work, edges, issue)
        free = choice.pipeline.steps * a.past_rows // max(1, a.cache_rows)
        return replace(plan, free_loads=free if plan.stored_by else plan.free_loads)

    # everything else

    def moved_bytes(self, c: _Context, names: Sequence[str], rows: int | None) -> tuple[int, int]:
        """Return (bytes, contiguous pieces) that cross memory for tensors; `rows` of tables and KV."""
        total, pieces = 0, 0
        for name in dict.fromkeys(names):
            t = c.tensor(name)
            if rows is not None and t.role in (Role.TABLE, Role.KV):
                bits, parts = self.packed_bits(t.format, rows, t.columns), rows
            else:
                bits, parts = self.memory_bits(c, name), 1
            total += padded_bytes(bits, parts, self.rates.burst_bytes)
            pieces += parts if bits else 0
        return total, pieces

    def stream(self, c: _Context) -> OpPlan:
        """Plan an operation of the vector unit: load what is in memory, work, store."""
        op, source = c.op, c.op.sources[0]
        load, load_pieces = self.moved_bytes(c, op.inputs, source.rows_read)
        store, store_pieces = self.moved_bytes(c, op.outputs, source.rows_written)
        most = max(load, store)
        steps = max(1, min(STREAM_STEPS, most // STREAM_BYTES), -(-4 * most // c.room_bytes))
        on_chip = sum(c.tensor(n).bits for n in (*op.inputs, *op.outputs) if n in c.kept)
        rates = self.rates
        pipeline = Pipeline(
            steps=steps,
            every=1,
            slots=max(1, min(steps, 2)),
            latency=rates.latency_ps if load else 0,
            load=self.transfer_ps(load, load_pieces, steps),
            ready=0,
            main=-(-cycles_ps(rates, self.vector_cycles(op.work)) // steps),
            extra=0,
            post=0,
            second=0,
            store=self.transfer_ps(store, store_pieces, steps),
        )
        counts = Counts(
            vector_ops=op.work,
            scratchpad_read_bits=on_chip + load * 8 + store * 8,
            scratchpad_write_bits=load * 8 + store * 8,
            dram_read_bits=load * 8,
            dram_write_bits=store * 8,
        )
        slot = -(-load // steps)
        return OpPlan(
            name=op.name,
            kind=op.kind,
            unit="vector",
            pipeline=pipeline,
            after=c.after(),
            stored_by=c.stored_by(),
            free_loads=0 if c.stored_by() else steps,
            slot_bytes=slot,
            room_bytes=max(2 * slot, c.room_bytes - 2 * -(-store // steps)),
            load_bytes=load,
            store_bytes=store,
            least_load_bytes=c.least_load_bytes(),
            least_store_bytes=c.least_store_bytes(),
            network_bytes=0,
            stalls_ps=(),
            macs_useful=0,
            macs_issued=0,
            counts=counts,
            tiling=f"{steps} pieces",
            spills=c.spills(),
        )

    def transfer_ps(self, size: int, pieces: int, steps: int) -> int:
        """Return the ps of one of `steps` equal parts of a transfer, descriptors included."""
        total = int(np.ceil(size * self.rates.ps_per_byte)) + pieces * self.rates.descriptor_ps
        return -(-total // steps)

    def gather(self, c: _Context) -> OpPlan:
        """Plan an all-gather on a ring: every core receives the shares of the others."""
        network, cores = self.device.network, self.device.cores
        assert network is not None
        size = c.op.gathered_bytes
        cycles = -(-size // network.link_width_bytes) + (cores - 1) * network.hop_cycles
        pipeline = Pipeline(1, 1, 1, 0, 0, 0, cycles_ps(self.rates, cycles), 0, 0, 0, 0)
        counts = Counts(
            noc_bit_hops=size * 8 * cores,
            scratchpad_read_bits=size * 8 * cores,
            scratchpad_write_bits=size * 8 * cores,
        )
        return OpPlan(
            name=c.op.name,
            kind=c.op.kind,
            unit="noc",
            pipeline=pipeline,
            after=c.after(),
            stored_by=(),
            free_loads=1,
            slot_bytes=0,
            room_bytes=c.room_bytes,
            load_bytes=0,
            store_bytes=0,
            least_load_bytes=0,
            least_store_bytes=0,
            network_bytes=size * cores,
            stalls_ps=(),
            macs_useful=0,
            macs_issued=0,
            counts=counts,
            tiling=f"ring of {cores}",
            spills=(),
        )


def check_capacity(workload: Workload, device: Device, spilled_bytes: int) -> None:
    """Refuse a workload whose weights, caches and spills do not fit in the device's memory."""
    demand = workload.weight_bytes + workload.kv_bytes + spilled_bytes
    bound = device.memory.capacity_bytes
    if demand > bound:
        raise InfeasibleError(
            "memory_capacity", demand, bound, "bytes",
            f"{workload.name} does not fit in the memory of {device.name}: weights "
            f"{workload.weight_bytes / 1e9:.2f} GB, KV cache {workload.kv_bytes / 1e9:.2f} GB, "
            f"spilled activations {spilled_bytes / 1e9:.2f} GB: {demand / 1e9:.2f} GB in all, "
            f"{bound / 1e9:.2f} GB there",
        )  # fmt: skip


def _residual_spilled(
    graphs: Sequence[tuple[Graph, tuple[Lowered, ...]]], device: Device
) -> frozenset[str]:
    """Return the names of the residual stream if any segment cannot keep it on chip."""
    for graph, ops in graphs:
        kept, _ = resident(graph, ops, device, _outside(graph))
        if not {HIDDEN, HIDDEN_OUT} & {*graph.inputs, *graph.outputs} <= kept:
            return frozenset((HIDDEN, HIDDEN_OUT))
    return frozenset()


def _outside(graph: Graph) -> frozenset[str]:
    """Return inputs and outputs that live in memory: all but the residual stream."""
    return frozenset((*graph.inputs, *graph.outputs)) - {HIDDEN, HIDDEN_OUT}


def plan(
    workload: Workload, device: Device, profile: EnergyProfile, *, fused_attention: bool = True
) -> Plan:
    """Plan a workload: lower each segment, decide what stays on chip, tile each operation.

    Raises InputError where the device cannot multiply a format, InfeasibleError where memory or
    scratchpad is too small.
    """
    check_capacity(workload, device, 0)
    lowered = [
        (segment.graph, lower(segment.graph, device, fused_attention=fused_attention))
        for segment in workload.segments
    ]
    residual = _residual_spilled(lowered, device)
    planner = Planner(device, profile)
    segments = []
    for segment, (graph, ops) in zip(workload.segments, lowered, strict=True):
        outside = _outside(graph)
        kept, live = resident(graph, ops, device, residual | outside)
        plans = planner.segment(graph, ops, kept, live, outside)
        segments.append(SegmentPlan(segment.name, plans, segment.repeat, segment.first_index))
    spilled = max(sum(size for op in s.ops for _, size, _ in op.spills) for s in segments)
    check_capacity(workload, device, spilled)
    return Plan(tuple(segments))
