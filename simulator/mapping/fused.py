"""Plans of fused attention."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from simulator.cost import added
from simulator.dram.profile import Profile
from simulator.formats import get
from simulator.hardware.equations import MatrixWork, matrix_edges
from simulator.hardware.matrix import pair_formats
from simulator.mapping.attention import (
    AttentionProblem,
    AttentionTotals,
    search_attention,
)
from simulator.mapping.lowering import VectorWork
from simulator.mapping.plan import OpPlan
from simulator.mapping.products import Issue, matrix_plan
from simulator.mapping.target import Context, Target
from simulator.mapping.tiling import Choice, Rates


@lru_cache(maxsize=4096)
def cached_attention(
    problem: AttentionProblem,
    rates: Rates,
    memory: Profile,
    groups: tuple[tuple[int, int, int], ...],
) -> tuple[Choice, AttentionTotals, tuple[int, int, int], int]:
    """Search attention tiles for (requests, queries, keys) groups; remembered."""
    return search_attention(problem, rates, memory, groups)


def plan_attention(target: Target, c: Context) -> OpPlan:
    """Plan fused attention tile by tile."""
    a, op = c.op.attention, c.op
    assert a is not None
    assert op.pair is not None
    w_name, a_name = pair_formats(op.pair)
    key = c.tensor(op.inputs[1])
    elements = 2 * a.cache_rows * a.head_dim
    problem = AttentionProblem(
        unit=target.unit(op.pair),
        cores=target.device.cores,
        kv_heads=a.kv_heads,
        group_size=a.group_size,
        head_dim=a.head_dim,
        causal=int(a.causal),
        window=a.window or 0,
        a_bits=int(get(a_name).value_bits),
        w_bits=int(get(w_name).value_bits),
        out_bits=int(np.ceil(float(c.tensor(op.outputs[0]).format.value_bits))),
        kv_memory_bits_per_key=target.kv_bits_per_key(key.format, a.head_dim),
        q_memory_bits=c.memory_bits(op.inputs[0]),
        out_memory_bits=c.memory_bits(op.outputs[0]),
        ready_cycles_per_kilokey=_per_kilo(target, op.widen, elements // (2 * a.head_dim)),
        softmax_cycles_per_kiloscore=_per_kilo(target, op.work, a.scores),
        vector_lanes=target.device.vector.lanes,
        mul_cycles=target.device.vector.cycles_per_operation.get("mul", 1),
        room_bytes=c.room_bytes,
    )
    groups = tuple((g.requests, g.queries, g.keys) for g in a.groups)
    choice, totals, tiles, time = cached_attention(problem, target.rates, target.memory, groups)
    if time < 0:
        raise c.too_small(choice)
    return attention_plan(target, c, problem, choice, totals, tiles)


def _per_kilo(target: Target, work: VectorWork, units: int) -> int:
    """Return the cycles of the whole device's lanes per 1,024 units of `work`."""
    return -(-target.device.vector.cycles(work) * 1024 // max(1, units))


def attention_plan(
    target: Target,
    c: Context,
    problem: AttentionProblem,
    choice: Choice,
    totals: AttentionTotals,
    tiles: tuple[int, int, int],
) -> OpPlan:
    """Put the tiling of attention into a plan; appended keys and values gate the last loads."""
    a = c.op.attention
    assert a is not None
    heads = a.kv_heads * sum(group.requests for group in a.groups)
    cores = min(target.device.cores, heads)
    read, write, held_read, held_write = (-(-bits // cores) for bits in totals[-4:])
    work = MatrixWork(
        totals.busy, totals.weight_load, totals.fill_drain, totals.operand, totals.conversion,
        read, write, held_read, held_write, 0,
    )  # fmt: skip
    edges = matrix_edges(problem.unit, tiles[0] * a.group_size, tiles[1], a.head_dim, 1)
    rescale = (("mul", totals.rescaled * (a.head_dim + 3)),)
    issued = tuple((name, -(-count * totals.scores // a.scores)) for name, count in c.op.work)
    text = f"queries {tiles[0]}, keys {tiles[1]}"
    text += ", keys and values held" if tiles[2] else ""
    loaded = -(-totals.keys_loaded // max(1, a.cache_rows))
    vector_work = added(issued, rescale, *([c.op.widen] * loaded))
    widened = c.widened_bits(loaded, problem.w_bits)
    softmax = totals.scores * problem.unit.accumulator_bits, totals.scores * problem.a_bits
    moved = softmax[0] + widened[0], softmax[1] + widened[1]
    issue = Issue(cores, 2 * totals.scores * a.head_dim, vector_work, moved, text)
    plan = matrix_plan(target, c, choice, work, edges, issue)
    free = choice.pipeline.steps * a.past_rows // max(1, a.cache_rows)
    return replace(plan, free_loads=free if plan.stored_by else plan.free_loads)
