"""The roofline rung: nothing but peaks.

A workload takes at least its useful MACs at the peak of the unit that does them (products with one
row may run on the vector unit) and its compulsory bytes at the memory's sustained rate (Williams et
al., CACM 2009); the largest sum is the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from simulator.engine.bound import SegmentBound, Window
from simulator.engine.tasks import UNITS
from simulator.hardware.device import Device
from simulator.hardware.equations import Pipeline
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan

PS_PER_S = 10**12


@dataclass(frozen=True, slots=True)
class Roofline:
    """The least times that the peaks allow: products by unit, and compulsory memory traffic."""

    matrix_ps: int
    vector_ps: int
    dram_ps: int
    pim_ps: int = 0

    @property
    def bound_ps(self) -> int:
        """The largest of all."""
        return max(self.times.values())

    @property
    def by(self) -> str:
        """The peak that sets the bound."""
        return max(self.times, key=lambda unit: self.times[unit])

    @property
    def times(self) -> dict[str, int]:
        """The least times by unit."""
        return {
            "matrix": self.matrix_ps,
            "vector": self.vector_ps,
            "dram": self.dram_ps,
            "pim": self.pim_ps,
        }


def _times(op: OpPlan, device: Device) -> tuple[int, int, int]:
    """Return the ps of an operation's useful MACs, compulsory loads and compulsory stores."""
    main = op.least_main_ps
    if op.macs_useful and op.unit != "pim":
        main = ceil(op.macs_useful * PS_PER_S / _macs_per_s(op, device))
    load, store = (
        ceil(moved * device.bound_ps_per_byte)
        for moved in (op.least_load_bytes, op.least_store_bytes)
    )
    return main, load, store


def _macs_per_s(op: OpPlan, device: Device) -> float:
    """Return the peak of the unit that multiplies in an operation."""
    if op.unit == "matrix":
        return device.peak_macs_per_s[op.counts.macs[0][0]]
    return device.gemv_macs_per_s


def _bare(op: OpPlan, device: Device) -> OpPlan:
    """Return an operation that costs its useful MACs and compulsory bytes only."""
    main, load, store = _times(op, device)
    counts = replace(
        op.counts,
        dram_read_bits=8 * op.least_load_bytes,
        dram_write_bits=8 * op.least_store_bytes,
    )
    return replace(
        op,
        pipeline=Pipeline(1, 1, 1, 0, load, 0, main, 0, 0, 0, store),
        load_bytes=op.least_load_bytes,
        store_bytes=op.least_store_bytes,
        main_bytes=0,
        stalls_ps=(),
        counts=counts,
        spills=(),
        exclusive=False,
    )


def bare_plan(plan: Plan, device: Device) -> Plan:
    """Return the plan reduced to what the roofline counts."""
    return Plan(
        tuple(
            replace(segment, ops=tuple(_bare(op, device) for op in segment.ops))
            for segment in plan.segments
        ),
        plan.cores,
    )


def roofline(plan: Plan, device: Device) -> Roofline:
    """Return the roofline of a plan (bare or not)."""
    computing = dict.fromkeys(UNITS, 0)
    dram = 0
    for segment in plan.segments:
        for op in segment.ops:
            computed, loaded, stored = _times(op, device)
            computing[op.unit] += segment.repeat * computed
            dram += segment.repeat * (loaded + stored)
    return Roofline(computing["matrix"], computing["vector"], dram, computing["pim"])


def shares(plan: Plan, bound_ps: int) -> list[tuple[SegmentPlan, int, int, SegmentBound]]:
    """Deal the bound out to operations in proportion to their own rooflines.

    Returns (segment, layer, start in ps, windows) of each execution of a bare plan.
    """
    weights = [[max(op.main_ps, op.dram_ps) for op in s.ops] for s in plan.segments]
    whole = sum(s.repeat * sum(w) for s, w in zip(plan.segments, weights, strict=True)) or 1
    dealt: list[tuple[SegmentPlan, int, int, SegmentBound]] = []
    before = 0
    for segment, weight in zip(plan.segments, weights, strict=True):
        for turn in range(segment.repeat):
            start = bound_ps * before // whole
            windows = _windows(weight, before, bound_ps, whole)
            before += sum(weight)
            length = bound_ps * before // whole - start
            bound = SegmentBound(length, windows)
            dealt.append((segment, segment.first_index + turn, start, bound))
    return dealt


def _windows(weight: Sequence[int], before: int, bound_ps: int, whole: int) -> tuple[Window, ...]:
    start = bound_ps * before // whole
    edges = [bound_ps * (before + sum(weight[:i])) // whole - start for i in range(len(weight) + 1)]
    return tuple(Window(a, b) for a, b in pairwise(edges))
