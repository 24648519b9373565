"""From executed steps to a `Result`: records of operations and units, energy, traffic, peaks."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import gcd

import numpy as np

from simulator.config import content_hash, resolved
from simulator.cost import (
    STATES,
    Counts,
    EnergyProfile,
    Static,
    UnitState,
    energy_breakdown,
    waiting_energy,
)
from simulator.dram import energy_of
from simulator.dram.channels import Channels
from simulator.engine.roofline import roofline
from simulator.engine.run import Step
from simulator.engine.tasks import UNITS
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.pim import AttAccStacks, NeuPimsBanks
from simulator.mapping.plan import OpPlan, Plan
from simulator.results import (
    ChannelRecord,
    Intervals,
    OpRecord,
    Peaks,
    Provenance,
    Result,
    Spill,
    StageRecord,
    Traffic,
    UnitRecord,
)
from simulator.workload import Workload

PS_PER_S = 10**12
DRAM = UNITS.index("dram")
#: Units of which each core has its own.
PER_CORE = ("matrix", "vector")
SHARED = ("leakage", "dram_background", "stalled", "idle")
#: Units whose active energy is a component of its own.
MOVED_OR_OWN = ("vector", "scratchpad", "accumulator", "dram", "noc", "pim", "link")


def _same(unit: int, op: int, times: np.ndarray) -> np.ndarray:
    """Return tiles of one unit and operation, one for each column of (start, end)."""
    count = times.shape[1]
    return np.stack([np.full(count, unit), np.full(count, op), *times])


class _Books:
    """Adds up steps: records, intervals, unit times and traffic.

    `group` is how many cores are booked together (`core_group`); `trace`: keep every tile.
    """

    def __init__(self, profile: EnergyProfile, group: int, *, trace: bool) -> None:
        self.profile = profile
        self.group = group
        self.trace = trace
        self.records: list[OpRecord] = []
        self.columns: list[np.ndarray] = []
        self.tiles: list[np.ndarray] = []
        self.waited = np.zeros(len(UNITS), dtype=np.int64)
        self.sent = np.zeros(len(UNITS), dtype=np.int64)
        self.received = self.sent.copy()
        self.carried = (0, 0)
        self.busy = np.zeros(len(UNITS), dtype=np.int64)
        self.ahead = np.zeros((2, 0), dtype=np.int64)
        self._known: dict[int, tuple[int, int, int, int, float, str, dict[str, float]]] = {}

    def priced(self, op: OpPlan) -> tuple[int, int, int, int, float, str, dict[str, float]]:
        """Return the last columns of an operation's records: what no run of it changes."""
        if id(op) not in self._known:
            parts = energy_breakdown(op.counts, self.profile)
            own = {name: joules for name, joules in parts.items() if name not in SHARED}
            work = (op.macs_useful, op.macs_issued, op.load_bytes, op.store_bytes)
            self._known[id(op)] = (*work, math.fsum(own.values()), op.bound_by(), own)
        return self._known[id(op)]

    def record(self, step: Step, op: OpPlan, start_ps: int, end_ps: int) -> None:
        """Add the record of one operation; times are absolute."""
        segment, name, layer = step.segment, op.name, -1
        if op.layer >= 0 or segment.repeat > 1 or segment.first_index > 0:
            layer = op.layer if op.layer >= 0 else step.layer
            name = f"layers.{layer}.{name}"
        timed = (name, op.kind, segment.name, layer, op.unit, start_ps, end_ps - start_ps)
        self.records.append(OpRecord(*timed, *self.priced(op)))

    def bounded(self, step: Step) -> None:
        """Add a step of the analytic rung."""
        assert step.bound is not None
        for op, window in zip(step.segment.ops, step.bound.windows, strict=True):
            start = max(0, step.start_ps + window.start_ps)
            self.record(step, op, start, step.start_ps + window.end_ps)
            self.sent[DRAM] += op.load_bytes + op.store_bytes
            self.sent[UNITS.index(op.unit)] += op.main_bytes
        self.received = self.sent

    def executed(self, step: Step) -> None:
        """Add a step that the executor ran, with the loads carried over from the one before."""
        run = step.run
        assert run is not None
        offset = len(self.records)
        first, last = run.first + step.start_ps, run.last + step.start_ps
        absent = run.first < 0
        busy = run.busy.copy()
        carried, carried_first = self.carried
        loaded = next((i for i, op in enumerate(step.segment.ops) if op.load_bytes), None)
        if carried and loaded is not None:
            busy[loaded, DRAM] += carried
            first[loaded, DRAM] = carried_first
            if self.trace:
                self.tiles.append(_same(DRAM, loaded + offset, self.ahead))
        starts = np.where(absent, np.iinfo(np.int64).max, first).min(axis=1)
        ends = np.where(absent, 0, last).max(axis=1)
        for index, op in enumerate(step.segment.ops):
            self.record(step, op, int(starts[index]), int(ends[index]))
            busy[index, UNITS.index(op.unit)] -= sum(ps for _, ps in op.stalls_ps)
        self.busy += busy.sum(axis=0)
        op_index, unit = np.nonzero(~absent)
        where = (op_index, unit)
        groups = np.array([op.cores // self.group for op in step.segment.ops])
        busy[:, : len(PER_CORE)] *= groups[:, None]
        columns = (unit, op_index + offset, first[where], last[where], busy[where])
        self.columns.append(np.stack(columns))
        if self.trace:
            tile_unit, tile_op, tile_start, tile_end = run.tiles
            times = (tile_start + step.start_ps, tile_end + step.start_ps)
            self.tiles.append(np.stack([tile_unit, tile_op + offset, *times]))
        waited = run.waited_ps.copy()
        waited[:, : len(PER_CORE)] *= groups[:, None]
        self.waited += waited.sum(axis=0)
        self.sent += run.sent
        self.received += run.received
        self.carried = (run.carried_ps, step.start_ps + run.carried_first_ps)
        self.ahead = np.stack(run.ahead) + step.start_ps

    def intervals(self, device: Device) -> Intervals:
        """Return all intervals in the order of their start, with units as in the records."""
        if not self.columns:
            return Intervals.empty()
        rows = np.concatenate(self.columns, axis=1)
        rows = rows[:, np.lexsort((rows[1], rows[0], rows[2]))]
        return Intervals(_placed(device, rows[0]), *rows[1:])

    def tile_intervals(self, device: Device) -> Intervals | None:
        """Return the interval of every task, None without events."""
        if not self.tiles:
            return None
        unit, op, start, end = np.concatenate(self.tiles, axis=1)
        return Intervals(_placed(device, unit), op, start, end, end - start)


def _executions(plan: Plan) -> Iterable[tuple[int, OpPlan]]:
    """Yield (how often, operation) over the plan."""
    for segment in plan.segments:
        for op in segment.ops:
            yield segment.repeat, op


def units_of(device: Device) -> tuple[str, ...]:
    """Return the units that a device has, in the order of their records."""
    parts = {"noc": device.network, "pim": device.pim, "link": device.link}
    return tuple(name for name in UNITS if parts.get(name, True) is not None)


def _placed(device: Device, units: np.ndarray) -> np.ndarray:
    """Return units by their place among those of the device."""
    places = [-1] * len(UNITS)
    for place, name in enumerate(units_of(device)):
        places[UNITS.index(name)] = place
    found: np.ndarray = np.array(places, dtype=np.int64)[units]
    return found


def _unit_times(plan: Plan, group: int) -> dict[str, tuple[int, dict[str, int]]]:
    """Return (useful ps, stalls by cause) of each unit, from the plan alone.

    Of units that each core has, the sum over the groups of cores that work.
    """
    busy = dict.fromkeys(UNITS, 0)
    stalls: dict[str, dict[str, int]] = {unit: {} for unit in UNITS}
    for count, op in _executions(plan):
        of_cores = count * op.cores // group
        times = of_cores if op.unit in PER_CORE else count
        busy[op.unit] += times * op.main_ps
        busy["vector"] += of_cores * op.vector_ps
        busy["dram"] += count * op.dram_ps
        for cause, ps in op.stalls_ps:
            busy[op.unit] -= times * ps
            stalls[op.unit][cause] = stalls[op.unit].get(cause, 0) + times * ps
        if op.exclusive:
            stalls["dram"]["pim"] = stalls["dram"].get("pim", 0) + count * op.main_ps
    return {unit: (busy[unit], stalls[unit]) for unit in UNITS}


def core_group(plan: Plan, device: Device) -> int:
    """Return the size of the equal groups of cores that are booked together.

    The largest that divides the cores of the device, of the plan and of every operation.
    """
    sizes = {op.cores for _, op in _executions(plan) if op.unit in PER_CORE or op.vector_ps}
    return gcd(device.cores, plan.cores, *sizes)


def _units(
    plan: Plan, device: Device, latency_ps: int, books: _Books, *, by_command: bool
) -> tuple[UnitRecord, ...]:
    """Book busy, stalled and idle time of each unit; stalls for memory as the executor saw them.

    Cores that a plan does not use are idle. by_command: how long the memory was busy is known from
    the run alone, as it is where transfers and what multiplies in the memory slow each other.
    """
    records, waited = [], books.waited
    group, times = core_group(plan, device), _unit_times(plan, core_group(plan, device))
    measured = {"dram"} if by_command else set()
    if len(books.columns) and device.pim is not None:
        measured = {"dram", "pim"}
    for name in units_of(device):
        index, (planned, causes) = UNITS.index(name), times[name]
        busy = int(books.busy[index]) if name in measured else planned
        stalls = dict(causes)
        instances = device.cores // group if name in PER_CORE else 1
        if name in PER_CORE and waited[index]:
            stalls["dram"] = int(waited[index])
        idle = instances * latency_ps - busy - sum(stalls.values())
        records.append(
            UnitRecord(name=name, busy_ps=busy, stall_ps=stalls, idle_ps=idle, instances=instances)
        )
    return tuple(records)


def area_mm2(device: Device, profile: EnergyProfile) -> float:
    """Return the silicon area: the die's where the device states it, else from the profile."""
    return sum(areas_mm2(device, profile).values())


def areas_mm2(device: Device, profile: EnergyProfile) -> dict[str, float]:
    """Return the silicon area by unit; where the device states its die's, that of the "chip".

    Both matrix units of a core are in "matrix": the profile has one area of an element.
    """
    if device.die_area_mm2 is not None:
        return {"chip": device.die_area_mm2}
    elements = sum(
        unit.arrays * getattr(unit, "rows", 0) * getattr(unit, "columns", 0)
        for unit in device.matrix_units
    )
    return profile.areas.parts_mm2(
        pes=device.cores * elements,
        scratchpad_bytes=device.cores * device.scratchpad.capacity_bytes,
        lanes=device.cores * device.vector.lanes,
    )


def _waiting(
    units: Sequence[UnitRecord], device: Device, profile: EnergyProfile, plan: Plan
) -> dict[str, UnitState]:
    """Return the states of the units that burn energy while they wait, by name.

    Two matrix units take turns: the one with most MACs waits, the other is switched off. Rows,
    columns and lanes of a busy matrix unit that have no operands wait too.
    """
    pair = _pair(plan, device)
    power = {
        "matrix": device.peak_macs_per_s[pair] * profile.mac_pj(pair) * 1e-12 if pair else 0.0,
        "vector": device.cores * device.vector.lanes * device.clock_hz
        * profile.vector_pj("add") * 1e-12,
    }  # fmt: skip
    states = {
        _matrix_unit(pair, device) if u.name == "matrix" else u.name: UnitState(
            sum(u.stall_ps.values()) / u.instances / PS_PER_S,
            u.idle_ps / u.instances / PS_PER_S,
            power[u.name],
        )
        for u in units
        if u.name in power
    }
    for unit, joules in _unfilled(plan, device, profile).items():
        states[unit] = states.get(unit, UnitState(0.0, 0.0, 0.0))._replace(unfilled_j=joules)
    return states


def _unfilled(plan: Plan, device: Device, profile: EnergyProfile) -> dict[str, float]:
    """Return by matrix unit what its parts without operands would burn, were they active.

    In busy cycles: at M of 1 that is all rows but one.
    """
    unfilled: dict[str, float] = {}
    for count, op in _executions(plan):
        if op.unit != "matrix" or not op.counts.macs:
            continue
        busy_ps = op.main_ps - sum(ps for _, ps in op.stalls_ps)
        for pair, macs in op.counts.macs:
            share = macs / sum(each for _, each in op.counts.macs)
            slots = share * busy_ps / PS_PER_S * device.peak_macs_per_s[pair]
            empty = max(0.0, slots * op.cores / device.cores - macs)
            unit = _matrix_unit(pair, device)
            joules = count * empty * profile.mac_pj(pair) * 1e-12
            unfilled[unit] = unfilled.get(unit, 0.0) + joules
    return unfilled


def _matrix_unit(pair: str, device: Device) -> str:
    """Return "beside" for a pair that only the second matrix unit multiplies, else "matrix"."""
    if device.beside is None or pair in device.matrix.pe.formats:
        return "matrix"
    return "beside" if pair in device.beside.pe.formats else "matrix"


def _shared_energy(
    states: Iterable[UnitState], device: Device, profile: EnergyProfile, seconds: float
) -> dict[str, float]:
    """Return what waiting and time burn: stalled and idle units, leakage, DRAM background."""
    memory = 0 if isinstance(device.memory, IdealMemory) else device.memory.capacity_bytes
    if isinstance(device.pim, AttAccStacks):
        memory += device.pim.own.capacity_bytes
    static = Static(seconds, area_mm2(device, profile), memory)
    return {
        name: joules
        for name, joules in energy_breakdown(Counts(), profile, states, static).items()
        if name in SHARED
    }


def _energy_by_state(
    plan: Plan,
    device: Device,
    profile: EnergyProfile,
    breakdown: Mapping[str, float],
    states: Mapping[str, UnitState],
    seconds: float,
) -> dict[str, dict[str, float]]:
    """Return the energy in J by unit and state.

    What MACs and waiting cost is counted unit by unit, apart from the breakdown; what a memory or
    the network moves is its component. Area leaks where it is.
    """
    table: dict[str, dict[str, float]] = {}

    def book(unit: str, state: str, joules: float) -> None:
        row = table.setdefault(unit, dict.fromkeys(STATES, 0.0))
        row[state] += joules

    for unit, joules in _of_macs(plan, device, profile):
        book(unit, "active", joules)
    for name in MOVED_OR_OWN:
        book(name, "active", breakdown.get(name, 0.0))
    book("dram", "background", breakdown["dram_background"])
    for unit, state in states.items():
        for name, joules in waiting_energy(state, profile).items():
            book(unit, name, joules)
    for unit, mm2 in areas_mm2(device, profile).items():
        leaking = energy_breakdown(Counts(), profile, static=Static(seconds, mm2))
        book(unit, "leakage", leaking["leakage"])
    return {unit: row for unit, row in table.items() if any(row.values())}


def _of_macs(plan: Plan, device: Device, profile: EnergyProfile) -> Iterable[tuple[str, float]]:
    """Yield (unit, J) of the MACs of each operand pair of each operation, registers included.

    Products on vector lanes are additions and multiplications of theirs, and are none of these.
    """
    for count, op in _executions(plan):
        issued = sum(macs for _, macs in op.counts.macs)
        register_pj = op.counts.register_bits * profile.array_register_pj_per_bit.nominal
        for pair, macs in op.counts.macs:
            pj = macs * (profile.mac_pj(pair) + register_pj / issued)
            yield _matrix_unit(pair, device), count * pj * 1e-12


def _pair(plan: Plan, device: Device) -> str:
    """Return the operand pair with most MACs (its power is what waiting is scaled by)."""
    macs: dict[str, int] = {}
    for count, op in _executions(plan):
        for pair, number in op.counts.macs:
            macs[pair] = macs.get(pair, 0) + count * number
    return max(macs, key=lambda pair: macs[pair], default="")


def _peak_macs_per_s(plan: Plan, device: Device) -> int:
    """Return the peak of the fastest operand pair that the run multiplies, GEMVs included."""
    used = {pair for _, op in _executions(plan) for pair, _ in op.counts.macs}
    fastest = max((device.peak_macs_per_s[pair] for pair in used), default=0.0)
    in_memory = max(
        (
            op.macs_useful * PS_PER_S // op.least_main_ps
            for _, op in _executions(plan)
            if _in_memory(op)
        ),
        default=0,
    )
    return int(fastest) + in_memory + device.gemv_macs_per_s


def _in_memory(op: OpPlan) -> bool:
    """Tell whether an operation multiplies in the memory."""
    return op.unit == "pim" and op.least_main_ps > 0


def total_counts(plan: Plan) -> Counts:
    """Return the actions of the whole run."""
    return Counts.total([(times, op.counts) for times, op in _executions(plan)])


def _traffic(plan: Plan, books: _Books, device: Device) -> dict[str, Traffic]:
    """Return what moved, at both ends and by the plan."""
    closed = dict.fromkeys(UNITS, 0)
    for times, op in _executions(plan):
        closed["dram"] += times * (op.load_bytes + op.store_bytes)
        closed[op.unit] += times * op.main_bytes
    return {
        name: Traffic(
            bytes_sent=int(books.sent[UNITS.index(name)]),
            bytes_received=int(books.received[UNITS.index(name)]),
            bytes_closed_form=closed[name],
        )
        for name in units_of(device)
        if name not in PER_CORE
    }


def _channel(plan: Plan, steps: Sequence[Step], device: Device) -> ChannelRecord | None:
    """Return what one channel did in all steps, None where none was simulated."""
    channels = device.memory
    ran = [step.run.channel for step in steps if step.run is not None and step.run.channel]
    if not ran or not isinstance(channels, Channels):
        return None
    commands = Counter[str]()
    for run in ran:
        commands.update(run.commands)
    # Equal steps share their run.
    energies = {id(run): energy_of(run, channels.standard) for run in ran}
    joules = [energies[id(run)].total_j for run in ran]
    return ChannelRecord(
        standard=channels.standard.name,
        channels=channels.channels,
        access_bytes=channels.standard.access_bytes,
        tick_ps=channels.standard.tick_ps,
        requests=sum(run.requests for run in ran),
        requests_closed_form=sum(
            count * channels.bursts(access)
            for count, op in _executions(plan)
            for access in op.accesses
        ),
        row_hits=sum(run.row_hits for run in ran),
        row_misses=sum(run.row_misses for run in ran),
        row_conflicts=sum(run.row_conflicts for run in ran),
        active_ticks=sum(run.active_ticks for run in ran),
        commands=dict(commands),
        energy_j=None if None in joules else channels.channels * math.fsum(filter(None, joules)),
        energy_reason=energies[id(ran[0])].reason,
    )


def _spills(plan: Plan) -> tuple[Spill, ...]:
    """Return each spilled tensor with the bytes that it moves over all repeats."""
    return tuple(
        Spill(tensor=tensor, op=op.name, bytes=times * size, why=why)
        for times, op in _executions(plan)
        for tensor, size, why in op.spills
    )


def _warnings(plan: Plan, device: Device, workload: Workload) -> tuple[str, ...]:
    """Return what a reader should know of how the workload was placed."""
    listed = list[str]()
    if "channels" in workload.resolved and not isinstance(device.pim, NeuPimsBanks):
        listed.append(f"channels of requests are not used: {device.name} places keys by itself")
    if plan.cores == device.cores:
        return tuple(listed)
    return (
        *listed,
        f"runs on {plan.cores} of {device.cores} cores: exchanging activations between more would "
        "cost more than they save",
    )


def assemble(
    workload: Workload,
    device: Device,
    profile: EnergyProfile,
    plan: Plan,
    steps: Sequence[Step],
    latency_ps: int,
    *,
    rung: str,
    version: str,
    run_options: dict[str, object],
    stages: tuple[tuple[StageRecord, ...], float],
    memory_energy_j: Mapping[str, float],
    trace: bool,
) -> Result:
    """Make the result of executed or bounded steps; `latency_ps` is where simulated time ended.

    stages: of a decoder block, and what it takes. memory_energy_j: as of `schedule.Scheduled`.
    """
    books = _Books(profile, core_group(plan, device), trace=trace)
    for step in steps:
        if step.run is None:
            books.bounded(step)
        else:
            books.executed(step)
    units = _units(plan, device, latency_ps, books, by_command=rung == "command")
    counts = total_counts(plan)
    states = _waiting(units, device, profile, plan)
    seconds = latency_ps / PS_PER_S
    shared = _shared_energy(states.values(), device, profile, seconds)
    breakdown = {**energy_breakdown(counts, profile), **shared}
    roof = roofline(plan, device)
    memory = None if isinstance(device.memory, IdealMemory) else device.memory
    return Result(
        device=device.name,
        workload=workload.name,
        rung=rung,
        latency_ps=latency_ps,
        clock_hz=device.clock_hz,
        tokens=workload.tokens,
        roofline_bound_ps=roof.bound_ps,
        roofline_by=roof.by,
        energy_breakdown_j=breakdown,
        shared_energy_j=shared,
        energy_by_state_j=_energy_by_state(plan, device, profile, breakdown, states, seconds),
        units=units,
        records=tuple(books.records),
        traffic=_traffic(plan, books, device),
        on_chip_bytes={
            "scratchpad": (counts.scratchpad_read_bits + counts.scratchpad_write_bits) // 8,
            "accumulators": (counts.accumulator_read_bits + counts.accumulator_write_bits) // 8,
        },
        intervals=books.intervals(device),
        peaks=Peaks(
            macs_per_s=_peak_macs_per_s(plan, device),
            dram_bytes_per_s=None if memory is None else memory.bandwidth_bytes_per_s,
        ),
        provenance=Provenance(
            version=version, device_hash=content_hash(device), workload_hash=workload.key
        ),
        spills=_spills(plan),
        channel=_channel(plan, steps, device),
        warnings=(*workload.warnings, *_warnings(plan, device, workload)),
        resolved={
            "device": resolved(device),
            "energy_profile": resolved(profile),
            "workload": dict(workload.resolved),
            "run": {**run_options, "cores_used": plan.cores},
        },
        stages=stages[0],
        block_ps=stages[1],
        memory_energy_j=memory_energy_j,
        tiles=books.tile_intervals(device),
    )
