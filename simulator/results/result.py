"""The result of one simulation: headline metrics derived from its records, never stored twice.

Times are integers of picoseconds inside; the properties ending in `_s` are seconds. The canonical
part of a result (`canonical_bytes`) is the same in every process for the same input; wall time
and host stand beside it and take no part in comparisons.
"""

import builtins
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.clock import ClockDomain
from simulator.errors import CheckError
from simulator.results.checks import laws
from simulator.results.power import Power, power_of
from simulator.results.records import (
    ChannelRecord,
    Intervals,
    OpRecord,
    Peaks,
    Provenance,
    SampledProduct,
    Spill,
    StageRecord,
    Traffic,
    UnitRecord,
)

if TYPE_CHECKING:
    import pandas as pd

    from simulator.results.summary import Summary

SCHEMA_VERSION = 3
#: How closely a result was simulated, from the coarsest on.
RUNGS = ("roofline", "analytic", "tile", "command")
"""Raised when the layout of `result.json` changes."""

PS_PER_S = 10**12


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """What one workload did on one device.

    `tokens` are the tokens produced (0 where the workload has none, such as a single GEMM).
    `energy_breakdown_j` is by component, from the counts of the whole run; `shared_energy_j` is the
    part of it that belongs to no op (leakage, DRAM background, idle and stalled units).
    `energy_by_state_j` is the same energy by unit, then by what the unit was in: active, stalled,
    idle, leakage, background (refresh of DRAM).
    `roofline_bound_ps` is the least time that the peaks allow and `roofline_by` the peak that sets
    it. `traffic` is counted at both ends by the engine; `on_chip_bytes` (scratchpad, accumulators)
    by the plan alone. `resolved` holds the complete description of what was run, in plain JSON
    types. `numerics` are the products whose arithmetic was checked, none unless asked for.
    `channel` is what a channel of the memory did on the command rung. `stages` are those of a
    decoder block, which takes `block_ps`. `memory_energy_j`
    is what the memory's commands of a decoder block cost, by name, where all of them are known (of
    two blocks with sub-batches); it is no part of the energy above. `tiles` are the busy intervals
    of single tasks where the run was traced; they are not saved.
    """

    device: str
    workload: str
    rung: str
    latency_ps: int
    clock_hz: int
    tokens: int
    roofline_bound_ps: int
    roofline_by: str
    energy_breakdown_j: Mapping[str, float]
    shared_energy_j: Mapping[str, float]
    energy_by_state_j: Mapping[str, Mapping[str, float]]
    units: tuple[UnitRecord, ...]
    records: tuple[OpRecord, ...]
    traffic: Mapping[str, Traffic]
    intervals: Intervals
    peaks: Peaks
    provenance: Provenance
    on_chip_bytes: Mapping[str, int] = field(default_factory=dict)
    spills: tuple[Spill, ...] = ()
    warnings: tuple[str, ...] = ()
    numerics: tuple[SampledProduct, ...] = ()
    channel: ChannelRecord | None = None
    stages: tuple[StageRecord, ...] = ()
    block_ps: float = 0.0
    memory_energy_j: Mapping[str, float] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    wall_time_s: float = field(default=0.0, compare=False)
    host: Mapping[str, str] = field(default_factory=dict, compare=False)
    tiles: Intervals | None = field(default=None, compare=False, repr=False)

    @property
    def latency_s(self) -> float:
        """Time from start to end of the run, in seconds."""
        return self.latency_ps / PS_PER_S

    @property
    def cycles(self) -> int:
        """Cycles of the device clock that cover the latency."""
        return ClockDomain(self.clock_hz).cycles_at(self.latency_ps)

    @property
    def cycles_per_block(self) -> float:
        """Cycles of the device clock for a decoder block, without embedding and head.

        With two sub-batches, half of what two blocks take.
        """
        return self.block_ps * self.clock_hz / PS_PER_S

    @property
    def roofline_bound_s(self) -> float:
        """Least time that the peaks of the device allow, in seconds."""
        return self.roofline_bound_ps / PS_PER_S

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second; 0 where the workload produces none."""
        return self.tokens * PS_PER_S / self.latency_ps if self.latency_ps else 0.0

    @property
    def energy_j(self) -> float:
        """Energy of the run in joules: the sum of the breakdown."""
        return fsum(self.energy_breakdown_j.values())

    @cached_property
    def power(self) -> Power:
        """Power of the run: its average, and the most of any microsecond."""
        return power_of(self)

    @property
    def utilisation(self) -> dict[str, float]:
        """Busy time over makespan by unit, 0 to 1."""
        return {unit.name: self._share(unit, unit.busy_ps) for unit in self.units}

    @property
    def stalls_s(self) -> dict[str, dict[str, float]]:
        """Stalled seconds by unit and cause, the mean of the instances of the unit."""
        return {
            unit.name: {c: ps / unit.instances / PS_PER_S for c, ps in unit.stall_ps.items()}
            for unit in self.units
        }

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes moved by memory or network: as sent, and on chip as the plan counts them."""
        sent = {name: traffic.bytes_sent for name, traffic in self.traffic.items()}
        return {**sent, **self.on_chip_bytes}

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return sum(record.macs_useful for record in self.records)

    @property
    def macs_issued(self) -> int:
        """Multiply-accumulates issued: the useful ones and those that a mask throws away."""
        return sum(record.macs_issued for record in self.records)

    @property
    def ops(self) -> "pd.DataFrame":
        """One row an executed op; times in seconds, bytes of DRAM, energy in joules."""
        from simulator.results.store import ops_frame

        return ops_frame(self.records)

    def check(self) -> tuple[str, ...]:
        """Prove the conservation laws; return one sentence for each that holds.

        Raises:
            CheckError: lists every law that is violated, with its numbers.
        """
        found = laws(self)
        broken = [law for law in found if law.violations]
        if broken:
            noun = "law" if len(broken) == 1 else "laws"
            head = (
                f"{self.workload} on {self.device} ({self.rung}): "
                f"{len(broken)} conservation {noun} violated"
            )
            lines = [f"  {law.name}: {text}" for law in broken for text in law.violations]
            raise CheckError("\n".join([head, *lines]))
        return tuple(law.statement for law in found)

    def summary(self) -> "Summary":
        """Return the tables that a user reads; `str` gives text, a notebook shows HTML."""
        from simulator.results.summary import summarise

        return summarise(self)

    def __repr__(self) -> str:
        """Say in one line what was run and how long it took."""
        return (
            f"<Result {self.workload} on {self.device} ({self.rung}): {self.latency_s:.6g} s, "
            f"{self.energy_j:.6g} J>"
        )

    def _repr_html_(self) -> str:
        """Show the summary in a notebook."""
        return self.summary()._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but ops and intervals in plain JSON types."""
        return {
            "device": self.device,
            "workload": self.workload,
            "rung": self.rung,
            "latency_s": self.latency_s,
            "cycles": self.cycles,
            "tokens_per_s": self.tokens_per_s,
            "energy_j": self.energy_j,
            "energy_breakdown_j": dict(self.energy_breakdown_j),
            "roofline_bound_s": self.roofline_bound_s,
            "utilisation": self.utilisation,
            "stalls_s": self.stalls_s,
            "bytes": self.bytes,
            "macs": self.macs,
            "wall_time_s": self.wall_time_s,
            "provenance": self._provenance(),
            "macs_issued": self.macs_issued,
            "tokens": self.tokens,
            "latency_ps": self.latency_ps,
            "clock_hz": self.clock_hz,
            "roofline_bound_ps": self.roofline_bound_ps,
            "roofline_by": self.roofline_by,
            "shared_energy_j": dict(self.shared_energy_j),
            "average_power_w": self.power.average_w,
            "peak_power_w": self.power.peak_w,
            "energy_by_state_j": {unit: dict(row) for unit, row in self.energy_by_state_j.items()},
            "units": [{**asdict(unit), "stall_ps": dict(unit.stall_ps)} for unit in self.units],
            "on_chip_bytes": dict(self.on_chip_bytes),
            "traffic": {name: asdict(traffic) for name, traffic in self.traffic.items()},
            "peaks": asdict(self.peaks),
            "spills": [asdict(spill) for spill in self.spills],
            "warnings": list(self.warnings),
            "numerics": [asdict(product) for product in self.numerics],
            "channel": None if self.channel is None else asdict(self.channel),
            "cycles_per_block": self.cycles_per_block,
            "block_ps": self.block_ps,
            "memory_energy_j": dict(self.memory_energy_j),
            "stages": [self._stage(stage) for stage in self.stages],
            "resolved": dict(self.resolved),
            "host": dict(self.host),
        }

    def canonical_bytes(self) -> builtins.bytes:
        """Return the part that depends on the input only: no wall time, no host.

        Ops and intervals are in it through `provenance.records_hash`.
        """
        content = self.to_dict()
        del content["wall_time_s"], content["host"]
        return to_json(content)

    @cached_property
    def content_hash(self) -> str:
        """Hash of `canonical_bytes`, 16 hexadecimal digits."""
        return blake2b(self.canonical_bytes(), digest_size=8).hexdigest()

    @cached_property
    def records_hash(self) -> str:
        """Hash of all op records and intervals, 16 hexadecimal digits."""
        digest = blake2b(to_json(self.records), digest_size=8)
        for name in Intervals.columns():
            column = getattr(self.intervals, name)
            digest.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write `result.json`, `ops.parquet` and `intervals.parquet` into `folder`; return it.

        Raises:
            InputError: the folder cannot be written to.
        """
        from simulator.results.store import save

        return save(self, folder)

    def _share(self, unit: UnitRecord, part_ps: int) -> float:
        whole = self.latency_ps * unit.instances
        return part_ps / whole if whole else 0.0

    def _stage(self, stage: StageRecord) -> dict[str, Any]:
        """Return a stage with cycles of the device clock, and its share of the memory's peak."""
        cycles = {
            "cycles": stage.latency_ps * self.clock_hz / PS_PER_S,
            "pim_cycles": stage.pim_ps * self.clock_hz / PS_PER_S,
        }
        peak, share = self.peaks.dram_bytes_per_s, None
        if peak and stage.latency_ps:
            share = stage.dram_bytes * PS_PER_S / (peak * stage.latency_ps)
        return {**asdict(stage), **cycles, "dram_share": share}

    def _provenance(self) -> dict[str, Any]:
        """Return the provenance with the rung, the layout and the hash of the records."""
        return {
            **asdict(self.provenance),
            "rung": self.rung,
            "schema_version": SCHEMA_VERSION,
            "records_hash": self.records_hash,
        }


def to_json(content: object) -> bytes:
    """Write JSON the canonical way: sorted keys, floats by `repr`, NaN and infinity refused."""
    return (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
