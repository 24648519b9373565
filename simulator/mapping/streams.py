"""Plans of what is no product: streams through the vector unit, exchanges over the network."""

from numba.extending import register_jitable

from simulator.cost import Counts
from simulator.dram.channels import Access
from simulator.errors import InputError
from simulator.hardware.equations import Pipeline, ceil_div
from simulator.mapping.plan import OpPlan
from simulator.mapping.target import Context, Target
from simulator.mapping.tiling import cycles_ps

#: Vector operations stream through the scratchpad in pieces of at least this size, in at most
#: STREAM_STEPS pieces. Assumed: small enough to overlap, large enough to amortise a descriptor.
STREAM_BYTES = 65536
STREAM_STEPS = 64


@register_jitable
def stream_pipeline(
    load_bytes: int,
    store_bytes: int,
    all_ps: tuple[int, int, int],
    latency_ps: int,
    room_bytes: int,
) -> Pipeline:
    """Return the pipeline of a stream; all_ps: of all loads, of the work, and of all stores."""
    most = max(load_bytes, store_bytes)
    steps = max(1, min(STREAM_STEPS, most // STREAM_BYTES), ceil_div(4 * most, room_bytes))
    return Pipeline(
        steps,
        1,
        max(1, min(steps, 2)),
        latency_ps if load_bytes > 0 else 0,
        ceil_div(all_ps[0], steps),
        0,
        ceil_div(all_ps[1], steps),
        0,
        0,
        0,
        ceil_div(all_ps[2], steps),
    )


def plan_stream(target: Target, c: Context) -> OpPlan:
    """Plan an operation of the vector unit: load what is in memory, work, store."""
    op, source = c.op, c.op.sources[0]
    loaded = Access(False, *c.moved_bytes(op.inputs, source.rows_read), 0)
    moved = c.moved_bytes(op.outputs, source.rows_written, source.runs_written)
    stored = Access(True, *moved, 0)
    load, store = loaded.size_bytes, stored.size_bytes
    read = sum(c.tensor(n).bits for n in op.inputs if n in c.kept)
    written = sum(c.tensor(n).bits for n in op.outputs if n in c.kept)
    work_ps = cycles_ps(target.rates, target.vector_cycles(op.work))
    all_ps = target.transfer_ps(loaded, 1), work_ps, target.transfer_ps(stored, 1)
    pipeline = stream_pipeline(load, store, all_ps, target.rates.latency_ps, c.room_bytes)
    steps = pipeline.steps
    counts = Counts(
        vector_ops=op.work,
        scratchpad_read_bits=read + load * 8 + store * 8,
        scratchpad_write_bits=written + load * 8 + store * 8,
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
        main_bytes=0,
        cores=target.device.cores,
        stalls_ps=(),
        macs_useful=0,
        macs_issued=0,
        counts=counts,
        tiling=f"{steps} pieces",
        spills=c.spills(),
        accesses=tuple(access for access in (loaded, stored) if access.size_bytes),
    )


@register_jitable
def ring_cycles(size: int, ring: int, link_bytes: int, hop_cycles: int) -> int:
    """Return the cycles in which each of `ring` cores receives `size` bytes round them."""
    return ceil_div(size, link_bytes) + (ring - 1) * hop_cycles


def plan_gather(target: Target, c: Context) -> OpPlan:
    """Plan an all-gather on a ring: every core receives the shares of the others."""
    cores = target.device.cores
    return _exchange(target, c, c.op.name, c.op.kind, c.op.gathered_bytes, cores, cores)


def plan_reduction(
    target: Target, c: Context, sums_bytes: int, grid: tuple[int, int, int]
) -> OpPlan:
    """Plan a reduce-scatter of the partial sums that `grid[2]` cores hold for the same outputs.

    sums_bytes: what one core holds, at accumulator width; the links add on the way.
    """
    ring = grid[2]
    moved = sums_bytes * (ring - 1) // ring
    cores = grid[0] * grid[1] * ring
    return _exchange(target, c, f"{c.op.name}.reduce", "reduce", moved, ring, cores)


def _exchange(
    target: Target, c: Context, name: str, kind: str, size: int, ring: int, cores: int
) -> OpPlan:
    """Plan that each of `cores` receives `size` bytes round a ring of `ring` cores."""
    network = target.device.network
    if network is None:
        raise InputError(f"{target.device.name}: {name} needs a network between cores")
    cycles = ring_cycles(size, ring, network.link_width_bytes, network.hop_cycles)
    bits = size * 8 * cores
    counts = Counts(noc_bit_hops=bits, scratchpad_read_bits=bits, scratchpad_write_bits=bits)
    return OpPlan(
        name=name,
        kind=kind,
        unit="noc",
        pipeline=Pipeline(1, 1, 1, 0, 0, 0, cycles_ps(target.rates, cycles), 0, 0, 0, 0),
        after=c.after(),
        stored_by=(),
        free_loads=1,
        slot_bytes=0,
        room_bytes=c.room_bytes,
        load_bytes=0,
        store_bytes=0,
        least_load_bytes=0,
        least_store_bytes=0,
        main_bytes=size * cores,
        cores=cores,
        stalls_ps=(),
        macs_useful=0,
        macs_issued=0,
        counts=counts,
        tiling=f"ring of {ring}",
        spills=(),
        accesses=(),
    )
