"""Power over the time of a run: its average, and the most of any window of a microsecond.

The energy of an op is spent while its units work for it: what a memory, a network, a link or the
vector unit spends in the intervals of that unit, all else in those of the op's own. Energy of no op
(leakage, background, stalled and idle units) is spent evenly over the run. Left out: how power
changes within an interval, which is that of an op on a unit; where the intervals of ops overlap on
a unit, a window may hold more than the unit could do in it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.results.records import Intervals

if TYPE_CHECKING:
    from simulator.results.result import Result

PS_PER_S = 10**12
WINDOW_PS = 10**6

#: Components that a unit of the same name spends; the op's unit spends the rest.
_OF_THEIR_UNIT = ("vector", "dram", "noc", "pim", "link")

Array = NDArray[np.float64]
Chosen = Collection[str] | None


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power of a run in W: the average, and the largest average over `window_s` seconds.

    The window with most starts at `peak_at_s`; both are None where the rung has no events. A run
    that is shorter than a microsecond is one window.
    """

    average_w: float
    peak_w: float | None
    peak_at_s: float | None
    window_s: float


@dataclass(frozen=True)
class Spent:
    """Energy in J spent before each of some rising times in ps; linear between them."""

    time_ps: Array
    energy_j: Array

    def before(self, time_ps: Array) -> Array:
        """Return the energy in J that was spent before each time."""
        return np.interp(time_ps, self.time_ps, self.energy_j)


def power_of(result: "Result", components: Chosen = None) -> Power:
    """Return the power of a run, or of the components of its energy that are named."""
    window = min(WINDOW_PS, result.latency_ps)
    energy = fsum(_chosen(result.energy_breakdown_j, components).values())
    average = energy / result.latency_s if window else 0.0
    spent = spent_of(result, components)
    if spent is None:
        return Power(average_w=average, peak_w=None, peak_at_s=None, window_s=window / PS_PER_S)
    # A sliding window holds most where power changes at one of its ends.
    starts = np.concatenate([spent.time_ps, spent.time_ps - window])
    starts = np.clip(starts, 0, result.latency_ps - window)
    held = spent.before(starts + window) - spent.before(starts)
    most = int(held.argmax())
    return Power(
        average_w=average,
        peak_w=float(held[most]) * PS_PER_S / window,
        peak_at_s=float(starts[most]) / PS_PER_S,
        window_s=window / PS_PER_S,
    )


def spent_of(result: "Result", components: Chosen = None) -> Spent | None:
    """Return when a run spends its energy, or the components of it that are named.

    None without events, or where the run takes no time.
    """
    if not (result.latency_ps and len(result.intervals)):
        return None
    intervals = _with_windows(result)
    where = (intervals.op, intervals.unit)
    busy = np.zeros((len(result.records), len(result.units) + 1))
    np.add.at(busy, where, intervals.busy_ps)
    energy = _by_op_and_unit(result, busy > 0, components)[where]
    worked = intervals.busy_ps > 0
    energy = np.divide(energy * intervals.busy_ps, busy[where], np.zeros(len(energy)), where=worked)
    shared = fsum(_chosen(result.shared_energy_j, components).values())
    return _spread(
        np.append(intervals.start_ps, 0),
        np.append(intervals.end_ps, result.latency_ps),
        np.append(energy, shared),
        result.latency_ps,
    )


def _chosen(energy_j: Mapping[str, float], components: Chosen) -> Mapping[str, float]:
    if components is None:
        return energy_j
    return {name: joules for name, joules in energy_j.items() if name in components}


def _with_windows(result: "Result") -> Intervals:
    """Return the intervals, and after them each op's window as that of one more unit."""
    ops = len(result.records)
    start = np.array([op.start_ps for op in result.records], dtype=np.int64)
    end = np.array([op.end_ps for op in result.records], dtype=np.int64)
    windows = (np.full(ops, len(result.units)), np.arange(ops), start, end, np.ones(ops))
    found = (getattr(result.intervals, name) for name in Intervals.columns())
    return Intervals(*(np.append(*pair) for pair in zip(found, windows, strict=True)))


def _by_op_and_unit(result: "Result", worked: NDArray[np.bool_], components: Chosen) -> Array:
    """Return the energy of each op by the unit that spends it; what none does stands last."""
    places = {unit.name: place for place, unit in enumerate(result.units)}
    nobody, ops = len(places), np.arange(len(result.records))
    main = np.array([places.get(op.unit, nobody) for op in result.records], dtype=np.int64)
    parts = [_chosen(op.energy_by_component, components) for op in result.records]
    energy = np.zeros(worked.shape)
    # Sorted, as a loaded result has them in another order.
    for name in sorted({name for part in parts for name in part}):
        own = places.get(name, nobody) if name in _OF_THEIR_UNIT else nobody
        unit = np.where(worked[ops, main], main, nobody)
        if own != nobody:
            unit = np.where(worked[:, own], own, unit)
        energy[ops, unit] += np.array([part.get(name, 0.0) for part in parts])
    return energy


def _spread(start_ps: Array, end_ps: Array, energy_j: Array, latency_ps: int) -> Spent:
    """Spend each energy evenly from its start to its end; what takes no time, in one window."""
    window = min(WINDOW_PS, latency_ps)
    at_once = start_ps == end_ps
    start = np.where(at_once, np.minimum(start_ps, latency_ps - window), start_ps).astype(float)
    end = np.where(at_once, start + window, end_ps)
    power = energy_j / (end - start)
    times = np.concatenate([start, end])
    order = np.argsort(times, kind="stable")
    times = times[order]
    powers = np.cumsum(np.concatenate([power, -power])[order])
    energy = np.cumsum(powers[:-1] * np.diff(times))
    return Spent(times, np.concatenate([[0.0], energy]))
