"""The analytic rung over many designs at once: what `simulate(rung="analytic")` says of each.

Designs are variants of one device. What differs is read off the house's own parts and functions,
once for all designs that are alike there, and runs through the compiled planner and bound as
columns; energy is priced in columns too. Equal to the last bit, tilings included, or left to
`simulate`: what columns cannot do is told by `not_vectorised`, and designs that are infeasible, or
whose times are beyond what a float tells apart, are not `judged`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.cost import EnergyProfile
from simulator.dram.channels import Channels
from simulator.dram.profile import LONG, Shapes
from simulator.dram.shapes import Striped
from simulator.engine.bound import KNOWN, QUEUES, TIMES
from simulator.engine.energy import (
    CountColumns,
    Rated,
    Work,
    core_group,
    elements_of,
    planned_j,
    profile_columns,
    total_j,
    unit_times,
)
from simulator.engine.points_kernel import Bounding, run_points
from simulator.errors import InfeasibleError
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.equations import Pipeline, main_ps, memory_ps, vector_ps
from simulator.hardware.models import matrix_model
from simulator.hardware.priced import priced_for
from simulator.hardware.variants import Variants
from simulator.mapping import sheet as columns
from simulator.mapping import sheet_plan as plan
from simulator.mapping.attention import TOTALS, room_for
from simulator.mapping.capacity import check_capacity
from simulator.mapping.planner import core_counts, shares_on
from simulator.mapping.policies import Policies
from simulator.mapping.products import partitions, passed_on
from simulator.mapping.residency import ACTIVATION_SHARES, LAST_RESORT
from simulator.mapping.served import MOST_ASKED, Served, key_of, shape_of
from simulator.mapping.sheet import FUNCTIONS, Array, Sheet, Tables, no_sheet
from simulator.mapping.sheet_plan import Bench, Cores, Floats
from simulator.mapping.target import rates_of, too_small
from simulator.mapping.tiling import FOUND, OF_CUT, cuts
from simulator.workload import Workload

#: Times in ps from here on are left to `simulate`: quotients of whole numbers above 2^53 would be
#: rounded twice. Work that takes a tenth of that at the device's peaks is not begun.
MOST_PS = 9 * 10**15
#: Options of `simulate` with which designs may run in columns, and their values.
OPTIONS = {"rung": ("analytic",), "attention": ("fused",), "tables": ("fused", "apart"),
           "power": ("report",), "policies": (None, Policies())}  # fmt: skip


#: The paths of a device, or what they begin with, that each piece of a design depends on.
PATHS = {
    "units": (
        "matrix",
        *(f"scratchpad.{each}" for each in ("read_ports", "write_ports", "port_width")),
    ),
    "lanes": ("vector",),
    "transfers": (
        "clock",
        *(f"memory.{each}" for each in ("bandwidth", "efficiency", "latency")),
        *(f"memory.{each}" for each in ("channels", "interleave")),
        "dma",
    ),
    "scratchpad": ("scratchpad.capacity",),
    "memory": ("memory.capacity",),
    # Where the profile leaves something to be counted: elements of arrays, macros of scratchpads.
    "prices": ("matrix", "vector", "scratchpad"),
}


def not_vectorised(device: Device, workload: Workload, options: Mapping[str, Any]) -> str | None:
    """Return why variants of a device are left to `simulate`; None where they run in columns.

    options: of `simulate`.
    """
    for name, value in options.items():
        if value not in OPTIONS.get(name, ()):
            return f"{name} is {value!r}"
    # A link is for exchanges between devices, of which a sheet has none.
    parts = {"pim": device.pim, "beside": device.beside}
    named = [f"{device.name} has a part '{name}'" for name, part in parts.items() if part]
    if device.network is not None and device.network.reduction:
        named.append(f"the network of {device.name} adds up partial sums")
    if device.staged:
        named.append(f"{device.name} is staged")
    return named[0] if named else no_sheet(workload)


class _Units(NamedTuple):
    """What is read of a design's matrix unit and the ports of its scratchpad.

    passed: bits from PE to PE in a pass of a micro-tile, and its MACs.
    """

    models: tuple[tuple[int, ...], ...]
    passed: tuple[tuple[int, int], ...]
    macs_per_cycle: dict[str, float]
    elements: int


class _Transfers(NamedTuple):
    """What is read of a design's clock, memory and DMA.

    ps_per_byte: of a long read, and at least, by number of cores.
    """

    whole: tuple[int, int, int, int]
    striped: Striped
    ps_per_byte: tuple[tuple[float, float], ...]
    bytes_per_s: float


class _Lanes(NamedTuple):
    """What is read of a design's vector unit."""

    lanes: int
    gemv: int
    cycles: tuple[int, ...]


@dataclass(frozen=True)
class Designs:
    """Variants of a device in columns, for workloads that need the same matrix models.

    models: rows of those that differ, model_of: which is whose, passed: as of `_Units`, by design
    and unit. cores: that a plan may use, the most first. whole, speeds: as `sheet_plan` takes them,
    speeds by number of cores. shapes: what streams of all their memories were found to take; None
    where all take the same. refused: what a part or a price refuses; its columns are another's.
    """

    refused: NDArray[np.bool_]
    models: Array
    model_of: Array
    passed: Array
    whole: Array
    speeds: tuple[Floats, ...]
    cores: tuple[Cores, ...]
    shapes: Shapes | None
    rated: Rated
    profile: EnergyProfile
    memory_bytes_per_s: Floats


def designs_of(
    variants: Variants, profile: EnergyProfile, units: Sequence[tuple[str, int]]
) -> Designs:
    """Return variants of a device in columns.

    profile: of energy, with all that it leaves to be counted left so; units: of a sheet. Raises
    InputError where there is no design left.
    """
    base = variants.device()
    ideal = isinstance(base.memory, IdealMemory)
    counted = profile.mac_gates is not None or profile.scratchpad_sram is not None
    priced = variants.pieces(PATHS["prices"] if counted else (), lambda d: priced_for(profile, d))
    own_units = variants.pieces(PATHS["units"], lambda d: _units(d, units))
    lanes = variants.pieces(PATHS["lanes"], _lanes)
    counts = core_counts(base.cores)[::-1]
    transfers = variants.pieces(PATHS["transfers"], lambda d: _transfers(d, profile, counts))
    sizes = variants.pieces(PATHS["scratchpad"], lambda d: d.scratchpad.capacity_bytes)
    held = variants.pieces(PATHS["memory"], lambda d: d.memory.capacity_bytes)
    prices = priced[0][0]
    if len(priced[0]) > 1:
        prices = profile_columns(priced[0], priced[1].tolist())
    moved = _column([each.whole for each in transfers[0]], transfers[1])
    lane_counts = _column([each.lanes for each in lanes[0]], lanes[1])
    scratchpad, memory = _column(*sizes), _column(*held)
    clock = moved[:, 0]
    whole = np.column_stack(
        [
            moved,
            lane_counts,
            _column([each.gemv for each in lanes[0]], lanes[1]),
            scratchpad,
            memory,
            _column([each.striped for each in transfers[0]], transfers[1]),
            _column([each.cycles for each in lanes[0]], lanes[1]),
        ]
    )
    pj_per_bit = [
        np.broadcast_to(each.nominal, variants.count)
        for each in (prices.dram_read_pj_per_bit, prices.scratchpad_read_pj_per_bit)
    ]
    ps_per_byte = _column([each.ps_per_byte for each in transfers[0]], transfers[1])
    elements = _column([each.elements for each in own_units[0]], own_units[1])
    parts = prices.areas.parts_mm2(
        pes=base.cores * elements,
        scratchpad_bytes=base.cores * scratchpad,
        lanes=base.cores * lane_counts,
    )
    area = sum(parts.values()) if base.die_area_mm2 is None else base.die_area_mm2
    rated = Rated(
        cores=base.cores,
        # As `Device.peak_macs_per_s`.
        macs_per_s={
            pair: _column([each.macs_per_cycle[pair] for each in own_units[0]], own_units[1])
            * (clock * base.cores)
            for pair in own_units[0][0].macs_per_cycle
        },
        units=dict.fromkeys(own_units[0][0].macs_per_cycle, "matrix"),
        lane_operations_per_s=base.cores * lane_counts * clock,
        area_mm2=np.broadcast_to(area, variants.count),
        memory_bytes=np.zeros_like(memory) if ideal else memory,
    )
    return Designs(
        refused=variants.refused.copy(),
        models=np.array([each.models for each in own_units[0]], dtype=np.int64),
        model_of=own_units[1],
        passed=_column([each.passed for each in own_units[0]], own_units[1]),
        whole=np.ascontiguousarray(whole),
        speeds=tuple(
            np.column_stack([ps_per_byte[:, place], *pj_per_bit]) for place in range(len(counts))
        ),
        shapes=base.memory_profile.shapes,
        cores=tuple(_cores(_fewer(base, count)) for count in counts),
        rated=rated,
        profile=prices,
        memory_bytes_per_s=_column([each.bytes_per_s for each in transfers[0]], transfers[1]),
    )


def _column(values: Sequence[Any], which: Array) -> Any:
    """Return the values of designs as one array; which: whose is which."""
    return np.array(values)[which]


def _units(device: Device, units: Sequence[tuple[str, int]]) -> _Units:
    matrix = device.matrix
    return _Units(
        models=tuple(tuple(matrix_model(device, *unit)) for unit in units),
        passed=tuple(passed_on(matrix, pair) for pair, _ in units),
        macs_per_cycle={pair: matrix.macs_per_cycle(pair) for pair in matrix.formats},
        elements=elements_of(device),
    )


def _transfers(device: Device, profile: EnergyProfile, counts: Sequence[int]) -> _Transfers:
    fewer = [_fewer(device, count) for count in counts]
    first, memory = rates_of(fewer[0], profile), device.memory
    whole = (first.clock_hz, first.latency_ps, first.descriptor_ps, first.burst_bytes)
    profiles = [each.memory_profile for each in fewer]
    return _Transfers(
        whole,
        memory.striped if isinstance(memory, Channels) else Striped(0, 0, 1, 0),
        tuple((each.ps_per_byte(LONG[0]), each.least_ps_per_byte) for each in profiles),
        fewer[0].memory_bytes_per_s,
    )


def _fewer(device: Device, cores: int) -> Device:
    """Return a device from which nothing is derived yet with so many of its cores."""
    return device if cores == device.cores else device.model_copy(update={"cores": cores})


def _cores(device: Device) -> Cores:
    """Return the cores of a device."""
    network = device.network
    return Cores(
        used=device.cores,
        multicast=int(network is not None and network.multicast),
        link_bytes=1 if network is None else network.link_width_bytes,
        hop_cycles=0 if network is None else network.hop_cycles,
        grids=np.array(partitions(device.cores, reduction=False), dtype=np.int64),
        shares=np.array(shares_on(device, ACTIVATION_SHARES)),
    )


def _lanes(device: Device) -> _Lanes:
    vector = device.vector
    cycles = tuple(vector.cycles_per_operation.get(name, 1) for name in FUNCTIONS)
    return _Lanes(vector.lanes, int(vector.gemv), cycles)


@dataclass(frozen=True)
class Points:
    """What the analytic rung says of designs, in columns.

    judged: the others are infeasible, or refused, or left to `simulate` for their times; most means
    nothing there. refusals: of those infeasible, as of `run_points`. matrix_ps, vector_ps, dram_ps:
    useful time; stalled_ps: of the matrix unit; instances: of the matrix and of the vector unit,
    whose times are sums. cores: that the plan uses.
    rows, done: the plan, as of `sheet_plan`, by design and operation.
    """

    judged: NDArray[np.bool_]
    infeasible: NDArray[np.bool_]
    refusals: Array
    latency_ps: Array
    breakdown_j: Mapping[str, Floats]
    dram_bytes: Array
    matrix_ps: Array
    vector_ps: Array
    dram_ps: Array
    stalled_ps: Array
    instances: Array
    cores: Array
    rows: Array
    done: Array

    @property
    def energy_j(self) -> Floats:
        """Energy in joules: the sum of the breakdown."""
        total: Floats = total_j(self.breakdown_j)
        return total


def why_infeasible(
    points: Points, place: int, sheet: Sheet, workload: Workload, device: Device
) -> InfeasibleError:
    """Return what `simulate` refuses an infeasible design with; device: with its memory."""
    op, needed, room = points.refusals[place].tolist()
    if op >= 0:
        return too_small(f"{device.name}: {sheet.names[op]}", needed, room)
    try:
        check_capacity(workload, device, needed)
    except InfeasibleError as error:
        return error
    raise AssertionError(f"{device.name} has room for {workload.name} and {needed} bytes")


def run_designs(sheet: Sheet, designs: Designs, wanted: NDArray[np.bool_]) -> Points:
    """Run a workload on the designs that are wanted and not refused.

    Raises InputError where a price is missing.
    """
    t = sheet.tables[0]
    count, ops = len(designs.whole), len(t.ops)
    latencies, refusals = np.full(count, -1, dtype=np.int64), _room(count, 3)
    used = _room(count)
    rows = np.zeros((count, ops, plan.ROW), dtype=np.int64)
    done = np.zeros((count, ops, plan.DONE), dtype=np.int64)
    products_ps, everything = _products_ps(t, designs, sheet.units), designs.rated.cores
    asked, quick = wanted & ~designs.refused, _least_ps(t, designs, products_ps) < MOST_PS / 10
    # Without any spills: nothing is planned then.
    full = sheet.held_bytes > designs.whole[:, plan.MEMORY]
    refusals[full, 0] = -1
    # Alike designs one after the other: what is found of one is kept for the next. Most depends on
    # the matrix unit, least on the lanes.
    whole = designs.whole
    keys = (*whole[:, plan.LANES :].T, *whole[:, : plan.LANES].T, *designs.speeds[0].T)
    order = np.lexsort((*keys, whole[:, plan.SCRATCHPAD], designs.model_of))
    order = order[(asked & quick & ~full)[order]]
    benches, bounding = [_bench(t, cores) for cores in designs.cores], _bounding(t)
    unknown = np.zeros(count, dtype=np.bool_)

    def run(place: int, cores: Cores, chosen: Array) -> None:
        while len(chosen):
            shaped = _served(designs.shapes)
            run_points(
                sheet.tables[place], designs.models, designs.model_of, designs.whole,
                designs.speeds[place], sheet.held_bytes, cores, shaped, benches[place], bounding,
                chosen, latencies, used, unknown, refusals, rows, done,
            )  # fmt: skip
            chosen = chosen[unknown[chosen]]
            for key in shaped.asked[2 : shaped.asked[1] + 2].tolist():
                assert designs.shapes is not None
                designs.shapes.burst_ps(shape_of(key))

    for place, cores in enumerate(designs.cores):
        # Where computing alone takes as long, fewer cores gain nothing, unless lanes compute too.
        slow = (latencies >= 0) & (products_ps * everything / cores.used >= latencies)
        slow &= designs.whole[:, plan.GEMV] == 0
        run(place, cores, order[~slow[order]])
    # On one core; several have tried it.
    run(-1, designs.cores[-1]._replace(shares=np.array(LAST_RESORT)), order[latencies[order] < 0])
    judged = (latencies >= 0) & (latencies < MOST_PS // everything)
    infeasible = asked & (full | quick) & (latencies < 0)
    # What was not planned has no steps: any number will do.
    with np.errstate(divide="ignore", invalid="ignore"):
        works = _works(sheet, designs, used, rows, done)
        group = core_group(works, used, everything)
        least = np.maximum(latencies, 1)
        breakdown = planned_j(works, designs.rated, designs.profile, least, group)
    times = unit_times(works, group)
    repeats = _repeats(t)
    moved = rows[:, :, plan.LOAD_BYTES] + rows[:, :, plan.STORE_BYTES]
    return Points(
        judged=judged,
        infeasible=infeasible,
        refusals=refusals,
        latency_ps=latencies,
        breakdown_j=breakdown,
        dram_bytes=moved @ repeats,
        matrix_ps=times["matrix"][0],
        vector_ps=times["vector"][0],
        dram_ps=times["dram"][0],
        stalled_ps=np.asarray(sum(times["matrix"][1].values())),
        instances=everything // group,
        cores=used,
        rows=rows,
        done=done,
    )


def _served(shapes: Shapes | None) -> Served:
    """Return the shapes that are known, and room to ask for others."""
    known = {} if shapes is None else shapes.known()
    rows = sorted((key_of(*shape), burst_ps) for shape, burst_ps in known.items())
    return Served(
        keys=np.array([key for key, _ in rows], dtype=np.int64),
        burst_ps=np.array([burst_ps for _, burst_ps in rows], dtype=np.float64),
        asked=_room(2 + MOST_ASKED),
    )


def _repeats(t: Tables) -> Array:
    """Return how often each operation runs."""
    sizes = np.diff(t.segments[:, columns.FIRST_OP])
    return np.repeat(t.segments[:-1, columns.REPEAT], sizes)


def _products_ps(t: Tables, designs: Designs, units: Sequence[tuple[str, int]]) -> Floats:
    """Return what products take at the peaks of each design, as `planner.least_matrix_ps`."""
    least = np.zeros(len(designs.whole))
    for op, times in zip(t.ops.tolist(), _repeats(t).tolist(), strict=True):
        macs = op[columns.MACS]
        if op[columns.KIND] == columns.ATTENTION:
            macs = 2 * op[columns.SCORES] * op[columns.HEAD_DIM]
        if macs > 0:
            least += times * macs / designs.rated.macs_per_s[units[op[columns.UNIT]][0]]
    return least * 1e12


def _least_ps(t: Tables, designs: Designs, products_ps: Floats) -> Floats:
    """Return what products and weights take at the peaks of each design."""
    bits = t.ops[:, columns.W_MEMORY] + t.ops[:, columns.W_METADATA]
    size = _repeats(t) @ np.where(t.ops[:, columns.KIND] == columns.PRODUCT, bits, 0) / 8
    return products_ps + 1e12 * size / designs.memory_bytes_per_s


def _bench(t: Tables, cores: Cores) -> Bench:
    """Return room for planning any design on so many cores."""
    products = t.ops[t.ops[:, columns.KIND] == columns.PRODUCT][:, columns.M : columns.K + 1]
    tilings = [4 * prod(map(cuts, sizes)) for sizes in products.tolist()]
    attention = t.ops[t.ops[:, columns.KIND] == columns.ATTENTION]
    lengths = attention[:, columns.QUERIES : columns.KEYS + 1].tolist()
    of_attention = max((2 * prod(map(cuts, each)) for each in lengths), default=1)
    most = max([of_attention, *tilings])
    return Bench(
        kept=np.zeros(len(t.lives), dtype=np.bool_),
        barred=np.zeros(len(t.lives), dtype=np.bool_),
        live=_room(len(t.ops)),
        needed=_room(1),
        cuts=_room(max(map(cuts, products[:, 2].tolist()), default=1), OF_CUT),
        found=_room(most, FOUND),
        energies=np.zeros(most),
        a_ps=np.zeros(max(map(cuts, products[:, 2].tolist()), default=1)),
        out_ps=np.zeros(max(map(cuts, products[:, 1].tolist()), default=1)),
        asked=_room(len(t.ops), plan.ASKED),
        asked_speeds=np.zeros((len(t.ops), plan.ASKED_SPEEDS)),
        answers=_room(len(t.ops), 2),
        tiled=_room(len(t.ops), len(cores.grids), plan.TILED),
        tiled_pj=np.zeros(len(cores.grids)),
        tilings=_room(len(t.ops), of_attention, 3),
        totals=_room(len(t.ops), of_attention, 2, TOTALS),
        counted=_room(len(t.ops), 2),
        lengths=_room(3),
        room=room_for(cores.used, 1),
    )


def _bounding(t: Tables) -> Bounding:
    """Return the arguments of the bound of any design."""
    ops = len(t.ops)
    return Bounding(
        rows=_room(ops, plan.ROW),
        done=_room(ops, plan.DONE),
        producers=_room(ops * t.inputs),
        first_producer=_room(3 * ops + 1),
        first_op=t.segments[:, columns.FIRST_OP].copy(),
        repeats=t.segments[:-1, columns.REPEAT].copy(),
        known=_room(ops, KNOWN),
        times=_room(ops, TIMES),
        free=_room(QUEUES),
        nothing=_room(0, 2),
    )


def _room(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.int64)


def _works(sheet: Sheet, designs: Designs, used: Array, rows: Array, done: Array) -> list[Work]:
    """Return what operations do, in columns of designs; used: cores of their plans."""
    works, t = [], sheet.tables[0]
    for i, times in enumerate(_repeats(t).tolist()):
        op = t.ops[i]
        row: Any = rows[:, i]
        own: Any = done[:, i]
        p = Pipeline(*row[:, : len(Pipeline._fields)].T)
        on_lanes = row[:, plan.UNIT] == plan.VECTOR
        counts, cores = _counts(op, row, own), own[:, plan.CORES]
        if op[columns.KIND] in (columns.STREAM, columns.GATHER):
            unit = "vector" if op[columns.KIND] == columns.STREAM else "noc"
            works.append(_work(times, unit, cores, p, main_ps(p), 0, counts))
            continue
        pair, passed = sheet.units[op[columns.UNIT]][0], designs.passed[:, op[columns.UNIT]]
        macs = own[:, plan.MACS]
        counts = replace(
            counts,
            macs=((pair, macs),),
            register_bits=macs * passed[:, 0] // passed[:, 1],
            accumulator_read_bits=own[:, plan.HELD_READ],
            accumulator_write_bits=own[:, plan.HELD_WRITTEN],
        )
        main = np.where(on_lanes, 0, main_ps(p))
        works.append(_work(times, "matrix", cores, p, main, own[:, plan.STALLED_PS], counts))
        if on_lanes.any():
            each: Any = np.where(on_lanes, op[columns.MACS], 0)
            lanes = CountColumns(vector_ops=(("add", each), ("mul", each)))
            main = np.where(on_lanes, main_ps(p), 0)
            works.append(Work(times, "vector", used, main, 0, 0, (), False, lanes))
    return works


def _work(
    times: int, unit: str, cores: Any, p: Pipeline, main: Any, stalled: Any, counts: CountColumns
) -> Work:
    stalls = (("any", stalled),) if unit == "matrix" else ()
    return Work(times, unit, cores, main, vector_ps(p), memory_ps(p), stalls, False, counts)


def _counts(op: Array, row: Any, own: Any) -> CountColumns:
    """Return the actions of an operation beside those of the matrix unit."""
    passes, vector = own[:, plan.PASSES], dict[str, Any]()
    for place, name in enumerate(FUNCTIONS):
        work: Any = int(op[columns.WORK + place])
        widen = int(op[columns.WIDEN + place])
        if op[columns.KIND] == columns.ATTENTION:
            work = -(-work * own[:, plan.SCORES] // int(op[columns.SCORES]))
            if name == "mul":
                work += own[:, plan.RESCALED]
        total = work + widen * passes
        if np.any(total):
            vector[name] = total
    return CountColumns(
        vector_ops=tuple(vector.items()),
        scratchpad_read_bits=own[:, plan.READ],
        scratchpad_write_bits=own[:, plan.WRITTEN],
        dram_read_bits=row[:, plan.LOAD_BYTES] * 8,
        dram_write_bits=row[:, plan.STORE_BYTES] * 8,
        noc_bit_hops=own[:, plan.NETWORK_BITS],
    )
