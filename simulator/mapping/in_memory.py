"""Plans of what is done in the memory, and of what crosses a link of the device.

Attention in NeuPIMs' or AttAcc's memory is one operation; in any other, scores, softmax and outputs
follow each other part by part. Vectors and results in memory are loaded and stored; those of a
memory with a link of its own cross it before and after.

Left out: prefill in the memory, what vectors and results take of the memory's bus beside a
concurrent program (`interference` says it of all together).
"""

from dataclasses import replace
from math import ceil

from simulator.cost import Counts
from simulator.dram.channels import Access
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.equations import Pipeline, pipeline_ps
from simulator.hardware.pim import (
    AimChannels,
    AttAccStacks,
    GroupUnits,
    NeuPimsBanks,
    OwnMemory,
    Pim,
    RingLink,
)
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.interference import interference
from simulator.mapping.parts import part_of
from simulator.mapping.pim_attention import (
    Done,
    in_attacc,
    in_groups,
    in_neupims,
    product_in_aim,
    product_in_attacc,
    product_in_memory,
)
from simulator.mapping.pim_product import columns_of
from simulator.mapping.plan import OpPlan
from simulator.mapping.target import Context, Target
from simulator.mapping.tiling import cycles_ps

PS_PER_S, FJ_PER_J = 10**12, 10**15
#: Parts in which operations follow each other, and meet transfers.
PARTS = 16
#: The product of which AttAcc takes rows, where it takes columns of others.
ROWS_SHARED = "down_proj"
#: Inputs of the products by which interference is measured where there is no attention.
HEAD = 128


def does_in_memory(target: Target, c: Context) -> bool:
    """Tell whether the memory can do an operation at all."""
    pim = target.device.pim
    if pim is None:
        return False
    if c.op.attention is not None and c.op.kind == "attention":
        decode = all(group.queries == 1 for group in c.op.attention.groups)
        return decode and "attention" in pim.multiplies
    return c.op.gemm is not None and c.op.gemm.count == 1 and "weights" in pim.multiplies


def peak_intensity(target: Target, c: Context) -> float:
    """Return the multiply-accumulates a byte up to which the units keep up with their reads."""
    pim, stored = target.device.pim, c.tensor(c.op.inputs[1]).format
    if not isinstance(pim, GroupUnits):
        # One multiply-accumulate for each value that is read.
        return 8 / float(stored.value_bits)
    vectors, columns = c.tensor(c.op.inputs[0]).format, columns_of(pim.part)
    held = fit(pim.unit, columns, stored, vectors, pim.unit.vectors_held)
    return held.macs / columns.column_bytes * columns.cadence_ticks / held.cadence_ticks


def plan_in_memory(target: Target, c: Context) -> tuple[OpPlan, ...]:
    """Plan attention of a decode step, or a product with weights, in the memory.

    Raises InputError for formats and heads that the memory does not multiply, InfeasibleError where
    keys and values do not fit its rows.
    """
    a, pim = c.op.attention, target.device.pim
    assert pim is not None
    vector, stored = (c.tensor(name).format for name in c.op.inputs[:2])
    made = _made(target, c, pim, vector, stored)
    target.slowed = interference(pim, stored, vector, HEAD if a is None else a.head_dim)
    return made


def _made(
    target: Target, c: Context, pim: Pim, vector: Format, stored: Format
) -> tuple[OpPlan, ...]:
    """Plan by the kind of the memory."""
    a, assignment = c.op.attention, target.policies.assignment
    if a is None:
        return (_product(target, c, pim),)
    match pim:
        case NeuPimsBanks():
            _value_bits(target, c, 16)
            return (_main(target, c, in_neupims(pim, a, assignment)),)
        case AttAccStacks():
            value_bytes = _value_bits(target, c, 8, 16) // 8
            done = in_attacc(pim, a, value_bytes, assignment)
            return _across_link(target, c, pim.own, done)
        case _:
            assert isinstance(pim, GroupUnits)
            scores, outputs = in_groups(pim, a, stored, vector, assignment)
            return _in_parts(target, c, scores, outputs)


def _value_bits(target: Target, c: Context, *known: int) -> int:
    """Return the bits of stored values; InputError for formats that no units are there for."""
    form = c.tensor(c.op.inputs[1]).format
    bits = int(form.value_bits)
    if form.granularity != "none" or bits not in known:
        what = "weights" if c.op.attention is None else "keys and values"
        raise InputError(
            f"{target.device.name}: its memory multiplies {what} of "
            f"{' or '.join(map(str, known))} bits without scales, got {form.name}"
        )
    return bits


def _product(target: Target, c: Context, pim: Pim) -> OpPlan:
    """Return a product with what follows it on the vector unit."""
    gemm = c.op.gemm
    assert gemm is not None
    vector, stored = (c.tensor(name).format for name in c.op.inputs[:2])
    if isinstance(pim, AimChannels):
        _value_bits(target, c, 8 * pim.part.units.operand_bytes)
        done = product_in_aim(pim, gemm.n, gemm.k, gemm.m)
    else:
        assert isinstance(pim, GroupUnits)
        done = product_in_memory(pim, gemm.n, gemm.k, stored, vector, gemm.m)
    main = _main(target, c, done)
    post = cycles_ps(target.rates, target.vector_cycles(c.op.work))
    counts = replace(main.counts, vector_ops=c.op.work)
    # Sums come all at once at the end: the program holds them, or reads them turn by turn.
    steps, store = main.pipeline.steps, main.pipeline.store
    pipeline = main.pipeline._replace(every=steps, post=post, store=steps * store)
    return replace(main, pipeline=pipeline, counts=counts)


def _in_parts(target: Target, c: Context, scores: Done, outputs: Done) -> tuple[OpPlan, ...]:
    """Return scores, softmax and outputs, each of which follows the one before part by part."""
    query = _main(target, c, scores, name=f"{c.op.name}.qk", stores=False)
    attended = _main(target, c, outputs, name=f"{c.op.name}.pv", loads=False)
    ps = cycles_ps(target.rates, target.vector_cycles(c.op.work))
    softmax = replace(
        query,
        name=f"{c.op.name}.softmax",
        unit="vector",
        pipeline=_parts(ps),
        load_bytes=0,
        slot_bytes=0,
        least_load_bytes=0,
        main_bytes=0,
        stalls_ps=(),
        macs_useful=0,
        macs_issued=0,
        least_main_ps=0,
        exclusive=False,
        counts=Counts(vector_ops=c.op.work),
        spills=(),
        accesses=(),
    )
    return query, softmax, attended


def _across_link(target: Target, c: Context, own: OwnMemory, done: Done) -> tuple[OpPlan, ...]:
    """Return attention in a memory of its own: queries come over its link, outputs go back.

    Queries come behind the new keys and values, as a link keeps the order of what it is given.
    """
    main = _main(target, c, done)
    there, back = (
        _crossing(main, f"{c.op.name}.{word}", c.tensor(name).bytes, own)
        for word, name in (("in", c.op.inputs[0]), ("out", c.op.outputs[0]))
    )
    return there, replace(main, after=()), replace(back, after=())


def plan_shared(
    target: Target, c: Context, on_npu: tuple[OpPlan, ...]
) -> tuple[tuple[OpPlan, ...], ...]:
    """Share a product with weights between its plan and AttAcc's units; return what each does.

    Both end together by prediction, or AttAcc has all that it has room for
    (`Target.apart`). The units have columns of the weights, of the down projection rows, whose
    partial sums are added to those of the other unit: vectors and results cross the link. What
    follows a product stays with the other unit. AttAcc's FFN co-processing; nothing to share
    (several plans, no gain) gives the plan alone.
    """
    pim, gemm = target.device.pim, c.op.gemm
    assert isinstance(pim, AttAccStacks)
    assert gemm is not None
    value_bytes = _value_bits(target, c, 8, 16) // 8
    by_rows = c.op.name.endswith(ROWS_SHARED)
    shares = gemm.k if by_rows else gemm.n
    whole = product_in_attacc(pim, gemm.macs, value_bytes)
    vectors, results = c.tensor(c.op.inputs[0]).bytes, c.tensor(c.op.outputs[0]).bytes
    fixed = _crossing_ps(vectors, pim.own) + _crossing_ps(results, pim.own)
    alone = sum(pipeline_ps(each.pipeline) for each in on_npu)
    kept = ceil(shares * (whole.ps + fixed) / (alone + whole.ps))
    kept = max(kept, shares - int(shares * target.apart), 1)
    if len(on_npu) > 1 or kept >= shares:
        return (on_npu,)
    taken = shares - kept
    done = product_in_attacc(pim, gemm.macs * taken // shares, value_bytes)
    main = _main(target, c, done, loads=False, stores=False)
    main = replace(main, after=c.after(), stored_by=c.stored_by())
    there, back = (
        _crossing(main, f"{c.op.name}.{word}", size * (taken if cut else shares) // shares, pim.own)
        for word, size, cut in (("in", vectors, by_rows), ("out", results, not by_rows))
    )
    if by_rows:
        sums = (("add", gemm.m * gemm.n),)
        post = cycles_ps(target.rates, target.vector_cycles(sums))
        counts = replace(back.counts, vector_ops=sums)
        back = replace(back, pipeline=back.pipeline._replace(post=post), counts=counts)
    main = replace(main, name=f"{c.op.name}.pim", after=(), stored_by=())
    return (part_of(on_npu[0], 0, kept, shares),), (there, main, replace(back, after=()))


def plan_append(target: Target, c: Context, own: OwnMemory) -> OpPlan:
    """Plan that new keys and values cross the link to a memory of their own."""
    size = sum(c.tensor(name).bytes for name in c.op.inputs)
    main = _main(target, c, Done(0, (), 0, 0.0, 0, 0, ""), stores=False)
    return _crossing(main, c.op.name, size, own)


def plan_exchange(target: Target, c: Context) -> OpPlan:
    """Plan what the devices of a group send each other: an all-reduce on a ring, or a hand-over.

    Of n devices each sends and receives 2 (n - 1) / n of the tensor in 2 (n - 1) steps (Patarasuk
    and Yuan, JPDC 2009). What is added on the way is the vector unit's, a share with each step.
    Raises InputError for a device without a link.
    """
    link, source = target.device.link, c.op.sources[0]
    if link is None:
        raise InputError(f"{target.device.name}: {c.op.name} needs a link to other devices")
    n, size = source.devices or 1, c.tensor(c.op.inputs[0]).bytes
    steps = 2 * (n - 1) if n > 1 else 1
    sent = -(-size * steps // n)
    main = replace(_main(target, c, Done(0, (), 0, 0.0, 0, 0, "")), unit="link", main_bytes=sent)
    added = cycles_ps(target.rates, target.vector_cycles(c.op.work))
    ps = fj = 0
    if isinstance(link, RingLink):
        ps, fj = _crossing_ps(sent, link) + link.latency_ps * (steps - 1), _link_fj(sent, link)
    # What does not stay on chip is fetched, sent and stored part by part.
    pipeline = main.pipeline._replace(main=ps // PARTS, extra=ps % PARTS, post=-(-added // PARTS))
    counts = replace(main.counts, vector_ops=c.op.work, own_fj=(("link", fj),))
    text = f"ring of {n}" if n > 1 else "hand-over"
    return replace(main, pipeline=pipeline, counts=counts, tiling=text, exclusive=False)


def _crossing_ps(size: int, link: RingLink | OwnMemory) -> int:
    return -(-size * PS_PER_S // link.bandwidth_bytes_per_s) + link.latency_ps


def _link_fj(size: int, link: RingLink | OwnMemory) -> int:
    return round(size * 8 * link.pj_per_bit * 1000)


def _crossing(main: OpPlan, name: str, size: int, link: OwnMemory) -> OpPlan:
    """Return an operation that moves bytes over a link and nothing else."""
    return replace(
        main,
        name=name,
        unit="link",
        pipeline=Pipeline(1, 1, 1, 0, 0, 0, _crossing_ps(size, link), 0, 0, 0, 0),
        after=tuple(sorted({*main.after, *main.stored_by})),
        stored_by=(),
        free_loads=1,
        slot_bytes=0,
        load_bytes=0,
        store_bytes=0,
        least_load_bytes=0,
        least_store_bytes=0,
        main_bytes=size,
        stalls_ps=(),
        macs_useful=0,
        macs_issued=0,
        least_main_ps=0,
        exclusive=False,
        slowed_by_transfers_ppm=0,
        counts=Counts(own_fj=(("link", _link_fj(size, link)),)),
        tiling="",
        spills=(),
        accesses=(),
    )


def _parts(ps: int) -> Pipeline:
    """Return a main stage in parts, all of whose vectors are loaded as soon as they may be."""
    return Pipeline(PARTS, 1, PARTS, 0, 0, 0, ps // PARTS, ps % PARTS, 0, 0, 0)


def _main(
    target: Target,
    c: Context,
    done: Done,
    *,
    name: str | None = None,
    loads: bool = True,
    stores: bool = True,
) -> OpPlan:
    """Return what the memory does, with the vectors and results that cross its bus apart."""
    pim = target.device.pim
    vectors, results = (c.op.inputs[:1] if loads else ()), (c.op.outputs if stores else ())
    loaded = Access(False, *c.moved_bytes(vectors, None), 0)
    stored = Access(True, *c.moved_bytes(results, None), 0)
    parts = _parts(done.ps)._replace(
        latency=target.rates.latency_ps if loaded.size_bytes else 0,
        load=target.transfer_ps(loaded, PARTS),
        store=target.transfer_ps(stored, PARTS),
    )
    counts = Counts(
        own_fj=(("pim", round(done.energy_j * FJ_PER_J)),),
        scratchpad_read_bits=loaded.size_bytes * 8,
        scratchpad_write_bits=stored.size_bytes * 8,
        dram_read_bits=loaded.size_bytes * 8,
        dram_write_bits=stored.size_bytes * 8,
    )
    # Of new keys and values too: they are multiplied where they are stored.
    waits = c.stored_by()
    return OpPlan(
        name=c.op.name if name is None else name,
        kind=c.op.kind,
        unit="pim",
        pipeline=parts,
        after=c.after(),
        stored_by=waits,
        free_loads=0 if waits else PARTS,
        slot_bytes=-(-loaded.size_bytes // PARTS),
        room_bytes=c.room_bytes,
        load_bytes=loaded.size_bytes,
        store_bytes=stored.size_bytes,
        least_load_bytes=0,
        least_store_bytes=0,
        main_bytes=done.read_bytes,
        cores=target.device.cores,
        stalls_ps=done.stalls,
        macs_useful=done.macs,
        macs_issued=done.macs,
        counts=counts,
        tiling=done.text,
        spills=c.spills() if name is None else (),
        accesses=tuple(access for access in (loaded, stored) if access.size_bytes),
        aside=c.op.attention is not None,
        exclusive=pim is not None and pim.exclusive,
        least_main_ps=done.least_ps,
    )
