"""The conservation laws of a result: what was counted at one end equals what was at the other.

Times, bytes and MACs are compared exactly, energies within a relative 1e-9 (they are sums of
floats in different orders). NaN satisfies no law. Each law is a function of the result that yields
its violations, with the numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.results.power import spent_of

if TYPE_CHECKING:
    from simulator.results.result import Result

ENERGY_TOLERANCE = 1e-9
"""Relative difference of two energies that are sums of the same terms."""

LISTED = 5
"""Violations of one law that are written out; the others are counted."""

_OF_STATE = {
    "stalled": "stalled",
    "idle": "idle",
    "leakage": "leakage",
    "background": "dram_background",
}
"""The component of each state but the active one, which has the rest."""

_MOVERS = ("scratchpad", "accumulator", "dram", "noc", "pim", "link")
"""Units whose active energy is a component of its own."""


@dataclass(frozen=True)
class Law:
    """A conservation law, what it says of this result, and how it is violated (if it is)."""

    name: str
    statement: str
    violations: tuple[str, ...]


Violations = Iterator[str]


def laws(result: "Result") -> tuple[Law, ...]:
    """Judge every conservation law on `result`, and its arithmetic where that was sampled."""
    asked = [*_LAWS]
    asked += [_NUMERICS] if result.numerics else []
    asked += [_CHANNEL] if result.channel is not None else []
    return tuple(
        Law(name, statement(result), _listed(check(result))) for name, statement, check in asked
    )


def _listed(violations: Violations) -> tuple[str, ...]:
    listed = list(islice(violations, LISTED))
    rest = sum(1 for _ in violations)
    return (*listed, f"and {rest} more") if rest else tuple(listed)


def _roofline(result: "Result") -> Violations:
    if not 0 <= result.roofline_bound_ps <= result.latency_ps:
        yield (
            f"latency {result.latency_ps} ps is below the roofline bound "
            f"{result.roofline_bound_ps} ps ({result.roofline_by})"
        )


def _unit_time(result: "Result") -> Violations:
    for unit in result.units:
        parts = [unit.busy_ps, *unit.stall_ps.values(), unit.idle_ps]
        stalled = sum(unit.stall_ps.values())
        whole = result.latency_ps * unit.instances
        if sum(parts) != whole or min(parts) < 0:
            yield (
                f"{unit.name}: busy {unit.busy_ps} + stalled {stalled} + idle {unit.idle_ps} = "
                f"{sum(parts)} ps, makespan x {unit.instances} = {whole} ps"
            )


def _events(result: "Result") -> Violations:
    """Compare the busy time that units booked with that of the events of their ops."""
    intervals = result.intervals
    if not len(intervals):
        return
    busy = np.zeros(len(result.units), dtype=np.int64)
    np.add.at(busy, intervals.unit, intervals.busy_ps)
    for unit, of_events in zip(result.units, busy.tolist(), strict=True):
        if unit.busy_ps != of_events:
            yield f"{unit.name}: busy {unit.busy_ps} ps, its events last {of_events} ps"
    yield from _bad_intervals(result)


def _bad_intervals(result: "Result") -> Violations:
    intervals = result.intervals
    instances = np.array([unit.instances for unit in result.units], dtype=np.int64)
    length = intervals.end_ps - intervals.start_ps
    bad: NDArray[np.bool_] = (intervals.start_ps < 0) | (length < 0)
    bad |= intervals.end_ps > result.latency_ps
    bad |= (intervals.busy_ps < 0) | (intervals.busy_ps > length * instances[intervals.unit])
    for row in np.flatnonzero(bad).tolist():
        unit = result.units[int(intervals.unit[row])].name
        op = result.records[int(intervals.op[row])].name
        yield (
            f"{unit}: {op} busy {intervals.busy_ps[row]} ps between {intervals.start_ps[row]} and "
            f"{intervals.end_ps[row]} ps of {result.latency_ps} ps"
        )


def _op_windows(result: "Result") -> Violations:
    for op in result.records:
        if op.start_ps < 0 or op.latency_ps < 0 or op.end_ps > result.latency_ps:
            yield f"{op.name}: {op.start_ps} to {op.end_ps} ps, makespan {result.latency_ps} ps"
    last = max((op.end_ps for op in result.records), default=0)
    if result.records and last < result.latency_ps:
        yield f"the last op ends at {last} ps, makespan {result.latency_ps} ps"


def _traffic(result: "Result") -> Violations:
    for name, traffic in result.traffic.items():
        sent, received, closed = (
            traffic.bytes_sent,
            traffic.bytes_received,
            traffic.bytes_closed_form,
        )
        if not sent == received == closed:
            yield f"{name}: sent {sent} B, received {received} B, closed form {closed} B"


def _op_bytes(result: "Result") -> Violations:
    if "dram" not in result.traffic:
        return
    of_ops = sum(op.bytes_moved for op in result.records)
    sent = result.traffic["dram"].bytes_sent
    if of_ops != sent:
        yield f"ops read and write {of_ops} B, DRAM moved {sent} B"
    for op in result.records:
        if op.bytes_read < 0 or op.bytes_written < 0:
            yield f"{op.name}: read {op.bytes_read} B, written {op.bytes_written} B"


def _macs(result: "Result") -> Violations:
    for op in result.records:
        if not 0 <= op.macs_useful <= op.macs_issued:
            yield f"{op.name}: {op.macs_useful} useful MACs, {op.macs_issued} issued"


def _op_energy(result: "Result") -> Violations:
    for op in result.records:
        parts = fsum(op.energy_by_component.values())
        if not _equal(parts, op.energy_j):
            yield f"{op.name}: components {parts:.12g} J, energy {op.energy_j:.12g} J"


def _energy(result: "Result") -> Violations:
    by_component: dict[str, list[float]] = {}
    for op in result.records:
        for name, energy in op.energy_by_component.items():
            by_component.setdefault(name, []).append(energy)
    for name, energy in result.shared_energy_j.items():
        by_component.setdefault(name, []).append(energy)
    for name in sorted(by_component.keys() | result.energy_breakdown_j.keys()):
        parts = fsum(by_component.get(name, ()))
        total = result.energy_breakdown_j.get(name, 0.0)
        if not (_equal(parts, total) and total >= 0):
            yield f"{name}: ops and shared {parts:.12g} J, breakdown {total:.12g} J"


def _energy_by_state(result: "Result") -> Violations:
    """Compare the energy by state with the components, and that of memories one by one."""
    table, parts = result.energy_by_state_j, result.energy_breakdown_j
    moving = fsum(joules for name, joules in parts.items() if name not in _OF_STATE.values())
    expected = {"active": moving}
    expected |= {state: parts.get(name, 0.0) for state, name in _OF_STATE.items()}
    for state in sorted({*expected, *(state for row in table.values() for state in row)}):
        found = fsum(row.get(state, 0.0) for row in table.values())
        whole = expected.get(state, 0.0)
        if not _equal(found, whole):
            yield f"{state}: units {found:.12g} J, breakdown {whole:.12g} J"
    for unit, row in table.items():
        active = row.get("active", 0.0)
        if unit in _MOVERS and not _equal(active, parts.get(unit, 0.0)):
            yield f"{unit}: active {active:.12g} J, breakdown {parts.get(unit, 0.0):.12g} J"
        for state, joules in row.items():
            if not joules >= 0:
                yield f"{unit}: {state} {joules:.12g} J"


def _power(result: "Result") -> Violations:
    """Compare what was spent within the run with what the run spends."""
    spent = spent_of(result)
    if spent is None:
        return
    before, after = spent.before(np.array([0, result.latency_ps])).tolist()
    if not _equal(after - before, result.energy_j):
        yield f"over time {after - before:.12g} J, breakdown {result.energy_j:.12g} J"


def _peaks(result: "Result") -> Violations:
    for name, share in result.utilisation.items():
        if not share <= 1:
            yield f"{name}: utilisation {share:.12g}"
    peaks = result.peaks
    dram = result.traffic["dram"].bytes_sent if "dram" in result.traffic else 0
    rate = peaks.dram_bytes_per_s
    if rate is not None and dram * 10**12 > rate * result.latency_ps:
        yield (f"DRAM moved {dram} B in {result.latency_ps} ps, peak {rate} B/s")
    if result.macs * 10**12 > peaks.macs_per_s * result.latency_ps:
        yield f"{result.macs} MACs in {result.latency_ps} ps, peak {peaks.macs_per_s} MAC/s"


def _numerics(result: "Result") -> Violations:
    for product in result.numerics:
        if not product.bit_exact:
            yield (
                f"{', '.join(product.ops)}: {product.datapath} differs from {product.reference} on "
                f"{product.weight_format} x {product.activation_format}"
            )


def _channel(result: "Result") -> Violations:
    channel = result.channel
    assert channel is not None
    if channel.requests != channel.requests_closed_form:
        yield f"{channel.requests} bursts, closed form {channel.requests_closed_form}"
    moved = channel.requests * channel.access_bytes * channel.channels
    sent = result.traffic["dram"].bytes_sent
    if moved < sent:
        yield f"bursts of all channels move {moved} B, DRAM moved {sent} B"
    served = channel.row_hits + channel.row_misses + channel.row_conflicts
    if served > channel.requests:
        yield f"{served} bursts found a row hit, miss or conflict, {channel.requests} were served"


def _equal(first: float, second: float) -> bool:
    return abs(first - second) <= ENERGY_TOLERANCE * max(abs(first), abs(second))


def _events_statement(result: "Result") -> str:
    if not len(result.intervals):
        return "no events on this rung"
    return f"busy time of units = that of their {len(result.intervals)} intervals"


def _power_statement(result: "Result") -> str:
    if not len(result.intervals):
        return "no power over time on this rung"
    return "power over time adds up to the energy"


_Judged = tuple[str, Callable[["Result"], str], Callable[["Result"], Violations]]
_LAWS: tuple[_Judged, ...] = (
    ("roofline", lambda r: "latency >= roofline bound", _roofline),
    (
        "unit time",
        lambda r: f"busy + stalled + idle = makespan for {len(r.units)} units",
        _unit_time,
    ),
    ("events", _events_statement, _events),
    ("op windows", lambda r: f"{len(r.records)} ops lie in the makespan and fill it", _op_windows),
    (
        "traffic",
        lambda r: f"bytes sent = received = closed form for {', '.join(sorted(r.traffic))}",
        _traffic,
    ),
    ("op bytes", lambda r: "bytes of ops = bytes of DRAM", _op_bytes),
    ("MACs", lambda r: "issued MACs >= useful MACs for every op", _macs),
    ("op energy", lambda r: "energy of every op = sum of its components", _op_energy),
    ("energy", lambda r: "ops + shared = breakdown for every energy component", _energy),
    (
        "energy by state",
        lambda r: f"energy of {len(r.energy_by_state_j)} units in all states = breakdown",
        _energy_by_state,
    ),
    ("power", _power_statement, _power),
    ("peaks", lambda r: "achieved <= peak for units, DRAM and MACs", _peaks),
)
_NUMERICS: _Judged = (
    "numerics",
    lambda r: f"sampled tiles of {len(r.numerics)} distinct products are bit-exact",
    _numerics,
)
_CHANNEL: _Judged = (
    "channel",
    lambda r: "bursts served by a channel = those of its share of every access",
    _channel,
)
