"""What a run burns, by component and by unit and state, and the area that leaks.

Everything here is sums and products of numbers: of one run, or of columns, arrays with one number
for each design point. Both go through the same operations in the same order, so a column holds bit
for bit what the run of its point gives, as long as its integers are exact as floats (below 2^53).
The prices themselves are `cost.energy_breakdown`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import fsum
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from simulator.config import Part
from simulator.cost import (
    STATES,
    Counts,
    EnergyProfile,
    Static,
    UnitState,
    energy_breakdown,
    waiting_energy,
)
from simulator.cost.energy import BITS
from simulator.cost.profile import Constant
from simulator.engine.tasks import UNITS
from simulator.errors import InputError
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.pim import AttAccStacks
from simulator.mapping.plan import Plan

#: A number of one run, or an array with one for each point.
Number: TypeAlias = Any

PS_PER_S = 10**12
#: Units of which each core has its own.
PER_CORE = ("matrix", "vector")
#: Components that are of no operation.
SHARED = ("leakage", "dram_background", "stalled", "idle")
#: Units whose active energy is a component of its own.
MOVED_OR_OWN = ("vector", "scratchpad", "accumulator", "dram", "noc", "pim", "link")


@dataclass(frozen=True)
class CountColumns(Counts):
    """Actions at many points: each count an array with one number for each."""

    def __post_init__(self) -> None:
        """Refuse negative counts, as numbers beyond 64 bits become."""
        tallies = (*self.macs, *self.vector_ops, *self.own_fj)
        counted = [*((name, getattr(self, name)) for name in BITS), *tallies]
        wrong = [name for name, count in counted if np.min(count) < 0]
        if wrong:
            raise InputError([f"{name} must be >= 0 at every point" for name in wrong])

    @classmethod
    def total(cls, parts: Sequence[tuple[int, Counts]]) -> "CountColumns":
        """Return the sum of (how often, actions); what is 0 stays listed."""

        def tally(name: str) -> tuple[tuple[str, Number], ...]:
            found: dict[str, Number] = {}
            for number, counts in parts:
                for key, count in getattr(counts, name):
                    found[key] = found.get(key, 0) + number * count
            return tuple((key, found[key]) for key in sorted(found))

        moved = {
            name: sum(number * getattr(counts, name) for number, counts in parts) for name in BITS
        }
        return cls(tally("macs"), tally("vector_ops"), own_fj=tally("own_fj"), **moved)


class Work(NamedTuple):
    """What an operation does each of the `times` that it runs, by unit and cause; see `OpPlan`."""

    times: int
    unit: str
    cores: Number
    main_ps: Number
    vector_ps: Number
    dram_ps: Number
    stalls_ps: tuple[tuple[str, Number], ...]
    exclusive: bool
    counts: Counts


class Waited(NamedTuple):
    """How long all instances of a unit together were stalled and idle."""

    stalled_ps: Number
    idle_ps: Number
    instances: Number


class Rated(NamedTuple):
    """What energy needs of a device beside prices.

    macs_per_s, units: its peak for each operand pair, and which matrix unit multiplies it.
    lane_operations_per_s: of all lanes. memory_bytes: of what is refreshed.
    """

    cores: int
    macs_per_s: Mapping[str, Number]
    units: Mapping[str, str]
    lane_operations_per_s: Number
    area_mm2: Number
    memory_bytes: Number


def works_of(plan: Plan) -> tuple[Work, ...]:
    """Return what each operation of a plan does."""
    return tuple(
        Work(
            segment.repeat, op.unit, op.cores, op.main_ps, op.vector_ps, op.dram_ps, op.stalls_ps,
            op.exclusive, op.counts,
        )
        for segment in plan.segments
        for op in segment.ops
    )  # fmt: skip


def rated(device: Device, profile: EnergyProfile) -> Rated:
    """Return what energy needs of a device."""
    memory = 0 if isinstance(device.memory, IdealMemory) else device.memory.capacity_bytes
    if isinstance(device.pim, AttAccStacks):
        memory += device.pim.own.capacity_bytes
    return Rated(
        cores=device.cores,
        macs_per_s=device.peak_macs_per_s,
        units={pair: _matrix_unit(pair, device) for pair in device.peak_macs_per_s},
        lane_operations_per_s=device.cores * device.vector.lanes * device.clock_hz,
        area_mm2=area_mm2(device, profile),
        memory_bytes=memory,
    )


def _matrix_unit(pair: str, device: Device) -> str:
    """Return "beside" for a pair that only the second matrix unit multiplies, else "matrix"."""
    if device.beside is None or pair in device.matrix.pe.formats:
        return "matrix"
    return "beside" if pair in device.beside.pe.formats else "matrix"


def profile_columns(profiles: Sequence[EnergyProfile], where: Sequence[int]) -> EnergyProfile:
    """Return profiles as one whose nominal values are columns.

    where: which of them is that of each point. Raises InputError where they price other things.
    """
    found: EnergyProfile = _in_columns(profiles, np.asarray(where))
    return found


def _in_columns(parts: Sequence[Any], where: np.ndarray) -> Any:
    """Return parts that price the same as one; what prices nothing is that of the first."""
    first = parts[0]
    if isinstance(first, Constant):
        column = np.array([part.nominal for part in parts])[where]
        return first.model_copy(update={"nominal": column})
    if isinstance(first, dict):
        if any(part.keys() != first.keys() for part in parts):
            raise InputError("profiles in columns must price the same")
        return {name: _in_columns([part[name] for part in parts], where) for name in first}
    if isinstance(first, Part):
        names = type(first).model_fields
        each = {name: [getattr(part, name) for part in parts] for name in names}
        return first.model_copy(
            update={name: _in_columns(values, where) for name, values in each.items()}
        )
    return first


def area_mm2(device: Device, profile: EnergyProfile) -> float:
    """Return the silicon area: the die's where the device states it, else from the profile."""
    return sum(areas_mm2(device, profile).values())


def areas_mm2(device: Device, profile: EnergyProfile) -> dict[str, float]:
    """Return the silicon area by unit; where the device states its die's, that of the "chip".

    Both matrix units of a core are in "matrix": the profile has one area of an element.
    """
    if device.die_area_mm2 is not None:
        return {"chip": device.die_area_mm2}
    return profile.areas.parts_mm2(
        pes=device.cores * elements_of(device),
        scratchpad_bytes=device.cores * device.scratchpad.capacity_bytes,
        lanes=device.cores * device.vector.lanes,
    )


def elements_of(device: Device) -> int:
    """Return the processing elements of a core."""
    return sum(
        unit.arrays * getattr(unit, "rows", 0) * getattr(unit, "columns", 0)
        for unit in device.matrix_units
    )


def core_group(works: Iterable[Work], cores: Number, device_cores: int) -> Number:
    """Return the size of the equal groups of cores that are booked together.

    The largest that divides the cores of the device, of the plan and of every operation.
    """
    sizes = [w.cores for w in works if w.unit in PER_CORE or np.any(w.vector_ps)]
    return reduce(np.gcd, (device_cores, cores, *sizes))


def unit_times(works: Iterable[Work], group: Number) -> dict[str, tuple[Number, dict[str, Number]]]:
    """Return (useful ps, stalls by cause) of each unit, from the plan alone.

    Of units that each core has, the sum over the groups of `group` cores that work.
    """
    busy: dict[str, Number] = dict.fromkeys(UNITS, 0)
    stalls: dict[str, dict[str, Number]] = {unit: {} for unit in UNITS}
    for work in works:
        of_cores = work.times * work.cores // group
        times = of_cores if work.unit in PER_CORE else work.times
        busy[work.unit] += times * work.main_ps
        busy["vector"] += of_cores * work.vector_ps
        busy["dram"] += work.times * work.dram_ps
        causes = stalls[work.unit]
        for cause, ps in work.stalls_ps:
            busy[work.unit] -= times * ps
            causes[cause] = causes.get(cause, 0) + times * ps
        if work.exclusive:
            stalls["dram"]["pim"] = stalls["dram"].get("pim", 0) + work.times * work.main_ps
    return {unit: (busy[unit], stalls[unit]) for unit in UNITS}


def waiting(
    works: Sequence[Work], waits: Mapping[str, Waited], device: Rated, profile: EnergyProfile
) -> dict[str, UnitState]:
    """Return the states of the units that burn energy while they wait, by name.

    waits: of PER_CORE units. Two matrix units take turns: the one with most MACs waits, the other
    is switched off. Rows, columns and lanes of a busy matrix unit that have no operands wait too.
    """
    unit, matrix_w = _most_multiplied(works, device, profile)
    lanes_w = device.lane_operations_per_s * profile.vector_pj("add") * 1e-12
    powers = {"matrix": (unit, matrix_w), "vector": ("vector", lanes_w)}
    states = {}
    for name, (stalled_ps, idle_ps, instances) in waits.items():
        to, watts = powers[name]
        states[to] = UnitState(
            stalled_ps / instances / PS_PER_S, idle_ps / instances / PS_PER_S, watts
        )
    for name, joules in _unfilled(works, device, profile).items():
        states[name] = states.get(name, UnitState(0.0, 0.0, 0.0))._replace(unfilled_j=joules)
    return states


def _where(holds: Number, one: Number, other: Number) -> Number:
    """Return one or the other, point by point where there are columns."""
    if isinstance(holds, np.ndarray):
        return np.where(holds, one, other)
    return one if holds else other


def _most_multiplied(
    works: Iterable[Work], device: Rated, profile: EnergyProfile
) -> tuple[str, Number]:
    """Return the unit of the operand pair with most MACs, and the power of that pair in W."""
    macs: dict[str, Number] = {}
    for work in works:
        for pair, number in work.counts.macs:
            macs[pair] = macs.get(pair, 0) + work.times * number
    unit, power_w, most = "matrix", 0.0, -1
    for pair, number in macs.items():
        more = number > most
        unit = device.units[pair] if np.any(more) else unit
        power_w = _where(more, device.macs_per_s[pair] * profile.mac_pj(pair) * 1e-12, power_w)
        most = _where(more, number, most)
    return unit, power_w


def _unfilled(works: Iterable[Work], device: Rated, profile: EnergyProfile) -> dict[str, Number]:
    """Return by matrix unit what its parts without operands would burn, were they active.

    In busy cycles: at M of 1 that is all rows but one.
    """
    unfilled: dict[str, Number] = {}
    for work in works:
        if work.unit != "matrix":
            continue
        busy_ps = work.main_ps - sum(ps for _, ps in work.stalls_ps)
        for pair, macs in work.counts.macs:
            share = macs / sum(each for _, each in work.counts.macs)
            slots = share * busy_ps / PS_PER_S * device.macs_per_s[pair]
            empty = slots * work.cores / device.cores - macs
            joules = work.times * _where(empty > 0, empty, 0.0) * profile.mac_pj(pair) * 1e-12
            unit = device.units[pair]
            unfilled[unit] = unfilled.get(unit, 0.0) + joules
    return unfilled


def breakdown_j(
    counts: Counts,
    states: Iterable[UnitState],
    device: Rated,
    profile: EnergyProfile,
    latency_ps: Number,
) -> dict[str, Number]:
    """Return the energy in J by component: what is done, and what waiting and time burn."""
    static = Static(latency_ps / PS_PER_S, device.area_mm2, device.memory_bytes)
    return energy_breakdown(counts, profile, states, static)


def planned_j(
    works: Sequence[Work], device: Rated, profile: EnergyProfile, latency_ps: Number, group: Number
) -> dict[str, Number]:
    """Return the energy in J by component where units wait as the plan has it: columns of points.

    On the analytic rung, where nothing else is known. group: as of `unit_times`.
    """
    times, waits, instances = unit_times(works, group), {}, device.cores // group
    for name in PER_CORE:
        busy, causes = times[name]
        stalled = sum(causes.values())
        waits[name] = Waited(stalled, instances * latency_ps - busy - stalled, instances)
    counts = CountColumns.total([(work.times, work.counts) for work in works])
    states = waiting(works, waits, device, profile)
    return breakdown_j(counts, states.values(), device, profile, latency_ps)


def total_j(breakdown: Mapping[str, Number]) -> Number:
    """Return the sum of all components in J, correctly rounded (`fsum`), whatever their order."""
    columns = np.broadcast_arrays(*breakdown.values())
    if columns[0].ndim == 0:
        return fsum(breakdown.values())
    return np.array([fsum(parts) for parts in np.stack(columns, axis=1).tolist()])


def by_state_j(
    works: Iterable[Work],
    states: Mapping[str, UnitState],
    device: Device,
    profile: EnergyProfile,
    breakdown: Mapping[str, float],
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

    for unit, joules in _of_macs(works, device, profile):
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


def _of_macs(
    works: Iterable[Work], device: Device, profile: EnergyProfile
) -> Iterable[tuple[str, float]]:
    """Yield (unit, J) of the MACs of each operand pair of each operation, registers included.

    Products on vector lanes are additions and multiplications of theirs, and are none of these.
    """
    for work in works:
        issued = sum(macs for _, macs in work.counts.macs)
        register_pj = work.counts.register_bits * profile.array_register_pj_per_bit.nominal
        for pair, macs in work.counts.macs:
            pj = macs * (profile.mac_pj(pair) + register_pj / issued)
            yield _matrix_unit(pair, device), work.times * pj * 1e-12
