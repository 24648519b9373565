"""The analytic rung over designs, compiled: each is planned and bounded as `simulate` does it."""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from simulator.dram import shapes
from simulator.dram.shapes import Striped
from simulator.engine import bound, tasks
from simulator.engine.bound import bound_rows, pipeline_of
from simulator.hardware import equations, flow, periods
from simulator.hardware.equations import FLOW_ROWS, MatrixModel, main_ps
from simulator.kernels import compiled
from simulator.mapping import (
    attention,
    products,
    residency,
    served,
    sheet,
    sheet_plan,
    streams,
    tiling,
)
from simulator.mapping.served import Memory, Served
from simulator.mapping.sheet import Array, Tables
from simulator.mapping.sheet_plan import (
    BURST_BYTES,
    CLOCK_HZ,
    DESCRIPTOR_PS,
    FREE_LOADS,
    LATENCY_PS,
    LEAST_PS_PER_BYTE,
    MEMORY,
    NETWORK,
    PJ_PER_MEMORY_BIT,
    PJ_PER_SCRATCHPAD_BIT,
    READ_PS_PER_BYTE,
    SCRATCHPAD,
    STRIPED,
    UNIT,
    Bench,
    Bools,
    Cores,
    Floats,
    crosses,
    free_loads,
    gathers,
    keep_share,
    plan_attention,
    plan_gather,
    plan_product,
    plan_stream,
    spilled,
)
from simulator.mapping.tiling import Rates

ROOMS = len(FLOW_ROWS)


class Bounding(NamedTuple):
    """Arguments of `bound_rows`: what stays as it is, and room to work in.

    rows, done: the plan of one design.
    """

    rows: Array
    done: Array
    producers: Array
    first_producer: Array
    first_op: Array
    repeats: Array
    known: Array
    times: Array
    free: Array
    nothing: Array


@register_jitable
def model_of(u: Array) -> MatrixModel:
    """Return a matrix unit from its row."""
    return MatrixModel(
        u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
        u[14], u[15], u[16], u[17], u[18], u[19], u[20], u[21], u[22], u[23], u[24],
    )  # fmt: skip


@register_jitable
def rates_of(whole: Array, speeds: Floats) -> Rates:
    """Return the rates of a design."""
    return Rates(
        whole[CLOCK_HZ],
        speeds[READ_PS_PER_BYTE],
        whole[LATENCY_PS],
        whole[DESCRIPTOR_PS],
        whole[BURST_BYTES],
        speeds[PJ_PER_MEMORY_BIT],
        speeds[PJ_PER_SCRATCHPAD_BIT],
    )


@register_jitable
def memory_of(whole: Array, speeds: Floats, served: Served) -> Memory:
    """Return the memory of a design."""
    striped = Striped(whole[STRIPED], whole[STRIPED + 1], whole[STRIPED + 2], whole[STRIPED + 3])
    return Memory(striped, speeds[LEAST_PS_PER_BYTE], served)


@register_jitable
def compute_ps(t: Tables, rows: Array) -> int:
    """Return the time of all main stages one after the other, as `Plan.compute_ps`."""
    total = 0
    for s in range(len(t.segments) - 1):
        for i in range(t.segments[s, sheet.FIRST_OP], t.segments[s + 1, sheet.FIRST_OP]):
            if rows[i, UNIT] != NETWORK:
                total += t.segments[s, sheet.REPEAT] * main_ps(pipeline_of(rows, i))
    return total


@register_jitable
def most_steps(rows: Array) -> int:
    """Return the steps of the operation that has most."""
    steps = 0
    for i in range(len(rows)):
        steps = max(steps, rows[i, 0])
    return steps


@register_jitable
def copy(source: Array, target: Array) -> None:
    """Copy a table; Numba would take seconds to compile an assignment of arrays."""
    for i in range(source.shape[0]):
        for column in range(source.shape[1]):
            target[i, column] = source[i, column]


@register_jitable
def maker_of(operands: Array, place: int, kept: Bools, cores: int, from_memory: bool) -> int:
    """Return who makes an operand that is on chip, or that comes from memory; -1: nobody."""
    if crosses(operands, place, kept) != from_memory:
        return -1
    gathered = cores > 1 and not from_memory and operands[place, sheet.GATHERER] >= 0
    return int(operands[place, sheet.GATHERER if gathered else sheet.MAKER])


@register_jitable
def link(t: Tables, kept: Bools, cores: int, b: Bounding) -> None:
    """Write who makes what each operation reads: on chip first, then what comes from memory.

    What is not gathered waits for nothing.
    """
    count = 0
    for i in range(len(t.ops)):
        idle = t.ops[i, sheet.KIND] == sheet.GATHER and not gathers(t.operands[i], kept, cores)
        for from_memory in range(2):
            b.first_producer[3 * i + from_memory] = count
            for place in range(0 if idle else t.inputs):
                maker = maker_of(t.operands[i], place, kept, cores, from_memory == 1)
                if maker >= 0:
                    b.producers[count] = maker
                    count += 1
        b.first_producer[3 * i + 2] = b.first_producer[3 * i + 3] = count


@compiled(
    attention,
    bound,
    equations,
    flow,
    periods,
    products,
    residency,
    served,
    shapes,
    sheet,
    sheet_plan,
    streams,
    tasks,
    tiling,
)
def run_points(  # noqa: C901 - what is a function of its own is optimised once more
    t: Tables,
    units: Array,
    unit_of: Array,
    whole: Array,
    speeds: Floats,
    held_bytes: int,
    cores: Cores,
    shaped: Served,
    bench: Bench,
    bounding: Bounding,
    chosen: Array,
    latencies: Array,
    used: Array,
    unknown: Bools,
    refusals: Array,
    planned: Array,
    did: Array,
) -> None:
    """Plan chosen designs on so many cores; write what is faster than it was, as `planner.plan`.

    latencies: in ps, -1 where nothing is planned yet; used: of how many cores; planned, did: the
    plans. unknown: designs that are left until what they asked `shaped` for is there. refusals: of
    the last plan that is none, the operation that does not fit, the bytes that it needs and the
    room that it has; or -1 and the bytes that spill into a memory too small.
    units: of designs that differ there; design d has the models unit_of[d]. whole, speeds: the
    other numbers of each. `bench` and `bounding` are room to work in.
    """
    rows, done = bounding.rows, bounding.done
    ends = np.empty((ROOMS, 0), dtype=np.int64)
    for d in chosen:
        w, rates = whole[d], rates_of(whole[d], speeds[d])
        memory, asked = memory_of(whole[d], speeds[d], shaped), shaped.asked[0]
        capacity = w[SCRATCHPAD]
        best, held = -1, capacity
        for share in cores.shares:
            if int(share * capacity) >= held:
                continue
            held = keep_share(t, capacity, share, bench)
            fits, most = True, 0
            for s in range(len(t.segments) - 1):
                here = 0
                for i in range(t.segments[s, sheet.FIRST_OP], t.segments[s + 1, sheet.FIRST_OP]):
                    op, operands, row, own = t.ops[i], t.operands[i], rows[i], done[i]
                    unit = model_of(units[unit_of[d], op[sheet.UNIT]])
                    room = capacity - bench.live[i]
                    row[:] = 0
                    own[:] = 0
                    if op[sheet.KIND] == sheet.STREAM:
                        plan_stream(
                            op, operands, t.inputs, w, rates, memory, bench.kept, cores.used, room,
                            row, own,
                        )  # fmt: skip
                    elif op[sheet.KIND] == sheet.GATHER:
                        plan_gather(op, operands, rates, bench.kept, cores, row, own)
                    elif op[sheet.KIND] == sheet.PRODUCT:
                        fits = plan_product(
                            i, op, operands, t.inputs, unit, unit_of[d], w, rates, memory, cores,
                            room, bench, row, own,
                        )  # fmt: skip
                    else:
                        fits = plan_attention(
                            i, op, operands, t.inputs, unit, unit_of[d], w, rates, memory,
                            cores.used, room, bench, row, own,
                        )  # fmt: skip
                    if not fits:
                        refusals[d, 0], refusals[d, 1] = i, bench.needed[0]
                        refusals[d, 2] = room
                        break
                    row[FREE_LOADS] = free_loads(op, operands, t.inputs, bench.kept, row[0])
                    here += spilled(operands, bench.kept)
                if not fits:
                    break
                most = max(most, here)
            unknown[d] = shaped.asked[0] > asked
            if unknown[d]:
                break
            if not fits:
                continue
            if held_bytes + most > w[MEMORY]:
                refusals[d, 0], refusals[d, 1] = -1, most
                continue
            steps = most_steps(rows)
            if steps + 2 > ends.shape[1]:
                ends = np.empty((ROOMS, 2 * steps + 2), dtype=np.int64)
            link(t, bench.kept, cores.used, bounding)
            time = bound_rows(
                rows, bounding.producers, bounding.first_producer, bounding.first_op,
                bounding.repeats, bounding.known, bounding.times, bounding.free, ends,
                bounding.nothing, bounding.nothing,
            )  # fmt: skip
            if best >= 0 and time >= best:
                break
            best = time
            if latencies[d] < 0 or time < latencies[d]:
                latencies[d], used[d] = time, cores.used
                copy(rows, planned[d])
                copy(done, did[d])
            if time <= compute_ps(t, rows):
                break
