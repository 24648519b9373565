"""From executed steps to a `Result`: records of operations and units, energy, traffic, peaks."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from simulator.config import content_hash, resolved
from simulator.cost import Counts, EnergyProfile, energy_breakdown
from simulator.dram import energy_of
from simulator.dram.channels import Channels
from simulator.engine.energy import (
    PER_CORE,
    PS_PER_S,
    SHARED,
    Waited,
    Work,
    breakdown_j,
    by_state_j,
    core_group,
    rated,
    unit_times,
    waiting,
    works_of,
)
from simulator.engine.roofline import roofline
from simulator.engine.run import Step
from simulator.engine.tasks import UNITS
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.pim import NeuPimsBanks
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

DRAM = UNITS.index("dram")


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


def _units(
    works: Sequence[Work], device: Device, latency_ps: int, books: _Books, *, by_command: bool
) -> tuple[UnitRecord, ...]:
    """Book busy, stalled and idle time of each unit; stalls for memory as the executor saw them.

    Cores that a plan does not use are idle. by_command: how long the memory was busy is known from
    the run alone, as it is where transfers and what multiplies in the memory slow each other.
    """
    records, waited = [], books.waited
    group, times = books.group, unit_times(works, books.group)
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
    works = works_of(plan)
    books = _Books(profile, int(core_group(works, plan.cores, device.cores)), trace=trace)
    for step in steps:
        if step.run is None:
            books.bounded(step)
        else:
            books.executed(step)
    units = _units(works, device, latency_ps, books, by_command=rung == "command")
    waits = {
        unit.name: Waited(sum(unit.stall_ps.values()), unit.idle_ps, unit.instances)
        for unit in units
        if unit.name in PER_CORE
    }
    counts, numbers = total_counts(plan), rated(device, profile)
    states = waiting(works, waits, numbers, profile)
    breakdown = breakdown_j(counts, states.values(), numbers, profile, latency_ps)
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
        shared_energy_j={name: breakdown[name] for name in SHARED},
        energy_by_state_j=by_state_j(
            works, states, device, profile, breakdown, latency_ps / PS_PER_S
        ),
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
