"""Parts of planned operations: a share of all that one does, which adds up to it with the others.

Bytes, actions and multiply-accumulates add up exactly; durations of steps are rounded up to whole
ps. Tiles stay as they were planned, a part has fewer of them, and less than one where it is small.
"""

from collections.abc import Callable
from dataclasses import replace

from simulator.cost import Counts
from simulator.cost.energy import BITS, Tally
from simulator.hardware.equations import Pipeline
from simulator.mapping.plan import OpPlan


def part_of(op: OpPlan, start: int, stop: int, whole: int) -> OpPlan:
    """Return the shares start to stop, of so many in all, of an operation."""

    def share(total: int) -> int:
        return total * stop // whole - total * start // whole

    pipeline = _pipeline(op, share)
    held = op.slot_bytes * op.pipeline.steps * (stop - start)
    return replace(
        op,
        pipeline=pipeline,
        free_loads=min(op.free_loads, pipeline.steps),
        slot_bytes=-(-held // (whole * pipeline.steps)),
        load_bytes=share(op.load_bytes),
        store_bytes=share(op.store_bytes),
        least_load_bytes=share(op.least_load_bytes),
        least_store_bytes=share(op.least_store_bytes),
        main_bytes=share(op.main_bytes),
        macs_useful=share(op.macs_useful),
        macs_issued=share(op.macs_issued),
        stalls_ps=tuple((cause, share(ps)) for cause, ps in op.stalls_ps),
        counts=_counts(op.counts, share),
        spills=tuple((tensor, share(size), why) for tensor, size, why in op.spills),
        accesses=tuple(
            access._replace(size_bytes=share(access.size_bytes), runs=max(1, share(access.runs)))
            for access in op.accesses
            if share(access.size_bytes)
        ),
        least_main_ps=share(op.least_main_ps),
    )


def _pipeline(op: OpPlan, share: Callable[[int], int]) -> Pipeline:
    """Return fewer outputs of as many steps; of less than one output, one of fewer steps."""
    p = op.pipeline
    outputs = max(1, share(op.outputs))
    steps = outputs * p.every if share(op.outputs) else max(1, share(p.steps))
    main = share(p.steps * p.main + p.extra)

    def each(total: int, count: int) -> int:
        return -(-share(total) // count)

    return p._replace(
        steps=steps,
        every=steps // outputs,
        slots=min(p.slots, steps),
        load=each(p.steps * p.load, steps),
        ready=each(p.steps * p.ready, steps),
        main=main // steps,
        extra=main % steps,
        post=each(op.outputs * p.post, outputs),
        second=each(op.outputs * p.second, outputs),
        store=each(op.outputs * p.store, outputs),
    )


def _counts(counts: Counts, share: Callable[[int], int]) -> Counts:
    """Return a share of all actions."""

    def tally(counted: Tally) -> Tally:
        return tuple((name, share(count)) for name, count in counted)

    return Counts(
        macs=tally(counts.macs),
        vector_ops=tally(counts.vector_ops),
        own_fj=tally(counts.own_fj),
        **{name: share(getattr(counts, name)) for name in BITS},
    )
