"""The records that a simulation leaves behind: one per unit, op, memory, spill and busy interval.

All are frozen and hold integers in base units (picoseconds, bytes, MACs) or energies in joules.
They only state what was counted; `checks.py` proves that the counts agree with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """Where the time of one kind of unit went, in picoseconds.

    `instances` equal units (for example one per core) are booked together; their busy, stalled
    and idle times add up to `instances` times the makespan. `stall_ps` is by cause
    (`weight_load`, `fill_drain`, `operand`, `dram`, ...).
    """

    name: str
    busy_ps: int
    stall_ps: Mapping[str, int]
    idle_ps: int
    instances: int = 1


class OpRecord(NamedTuple):
    """One executed op; a tuple because a run of a large model makes thousands.

    `start_ps` to `start_ps + latency_ps` is the window in which a unit works or waits for the op;
    windows of neighbouring ops overlap where transfers are prefetched. `bytes_read` and
    `bytes_written` are DRAM bytes. `layer` is the index of the layer, -1 outside the layers;
    `segment` is the name of the segment of the workload. `energy_by_component` adds up to
    `energy_j`. `bound_by` names the resource that set the latency of the op.
    """

    name: str
    kind: str
    segment: str
    layer: int
    unit: str
    start_ps: int
    latency_ps: int
    macs_useful: int
    macs_issued: int
    bytes_read: int
    bytes_written: int
    energy_j: float
    bound_by: str
    energy_by_component: Mapping[str, float]
    count: int = 1  # type: ignore[assignment]  # hides tuple.count, which means nothing here

    @property
    def end_ps(self) -> int:
        """Time at which the last work for the op ends."""
        return self.start_ps + self.latency_ps

    @property
    def bytes_moved(self) -> int:
        """DRAM bytes read and written."""
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes through one memory or network: as sent, as received, and by the closed form."""

    bytes_sent: int
    bytes_received: int
    bytes_closed_form: int


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage of a decoder block, or all of it, as the mean of its runs.

    pim_ps: in which the memory multiplies, or waits for what belongs to it. dram_bytes: that
    transfers move.
    """

    name: str
    runs: int
    latency_ps: int
    pim_ps: int
    dram_bytes: int


@dataclass(frozen=True, kw_only=True)
class Spill:
    """An activation that is not kept on chip: `bytes` moved to or from DRAM for `op`, and why."""

    tensor: str
    op: str
    bytes: int
    why: str


@dataclass(frozen=True, kw_only=True)
class SampledProduct:
    """A tile of one distinct product of the workload, computed bit by bit on seeded data.

    `ops` name where the product occurs, each once a segment; `m`, `n`, `k` are the product's, of
    which a tile of `tile_m` x `tile_n` outputs was computed over all of `k`. `datapath` computed it
    and `reference` says what it was compared with; errors are against float64, None where they are
    not finite (no error at all has no SQNR). `*_bit_density` and `*_zero_fraction` are those of the
    codes of the sampled operands.
    """

    ops: tuple[str, ...]
    m: int
    n: int
    k: int
    tile_m: int
    tile_n: int
    weight_format: str
    activation_format: str
    datapath: str
    bit_exact: bool
    reference: str
    sqnr_db: float | None
    max_ulp: float | None
    max_relative_error: float | None
    weight_bit_density: float
    weight_zero_fraction: float
    activation_bit_density: float
    activation_zero_fraction: float


@dataclass(frozen=True, kw_only=True)
class ChannelRecord:
    """What one channel of the memory did where each transfer was served by its commands.

    All `channels` have equal shares of every access. `requests` are bursts of `access_bytes`;
    `requests_closed_form` those of the plan. Rows as the first command of a request found them;
    requests without one were served from a queued write. `energy_j` is of all channels, by their
    commands, None with a reason; the energy of the result is by its profile. `tick_ps` and
    `active_ticks` (a row is open, summed over ranks) are of one channel.
    """

    standard: str
    channels: int
    access_bytes: int
    tick_ps: int
    requests: int
    requests_closed_form: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    active_ticks: int
    commands: Mapping[str, int]
    energy_j: float | None
    energy_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What the device can do at most: MACs per second of all units together, DRAM bytes/s.

    `dram_bytes_per_s` is None for a memory that takes no time.
    """

    macs_per_s: int
    dram_bytes_per_s: int | None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a result was made from: version of nibblesim, content hashes of the inputs, seed."""

    version: str
    device_hash: str
    workload_hash: str
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Intervals:
    """When which unit worked for which op, as columns of equal length.

    `unit` (int16) indexes the units of the result and `op` (int32) its op records. The unit
    worked `busy_ps` (int64) of the time from `start_ps` to `end_ps` (int64) for the op. Intervals
    of one unit may overlap when ops interleave on it.
    """

    unit: NDArray[np.integer[Any]]
    op: NDArray[np.integer[Any]]
    start_ps: NDArray[np.integer[Any]]
    end_ps: NDArray[np.integer[Any]]
    busy_ps: NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        """Fix the dtypes; columns of different lengths are a fault of the caller."""
        dtypes = {"unit": np.int16, "op": np.int32}
        shape = (len(self.unit),)
        for name in self.columns():
            column = np.ascontiguousarray(getattr(self, name), dtype=dtypes.get(name, np.int64))
            if column.shape != shape:
                raise ValueError(f"column {name} has shape {column.shape}, unit has {shape}")
            object.__setattr__(self, name, column)

    @staticmethod
    def columns() -> tuple[str, ...]:
        """Names of the columns, in order."""
        return ("unit", "op", "start_ps", "end_ps", "busy_ps")

    @classmethod
    def empty(cls) -> Self:
        """Return no intervals: what a rung without events has."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none.astype(np.int16), none.astype(np.int32), none, none, none)

    @classmethod
    def merged(
        cls,
        unit: NDArray[np.integer[Any]],
        op: NDArray[np.integer[Any]],
        start_ps: NDArray[np.integer[Any]],
        end_ps: NDArray[np.integer[Any]],
    ) -> Self:
        """Merge the events of single tasks to one interval per unit and op.

        The columns have one entry per task; the busy time of an interval is the sum of the
        durations of its tasks. Intervals come out ordered by start, then unit, then op.
        """
        if len(unit) == 0:
            return cls.empty()
        pairs = np.stack([np.asarray(unit, dtype=np.int64), np.asarray(op, dtype=np.int64)])
        keys, where = np.unique(pairs, axis=1, return_inverse=True)
        where = where.reshape(-1)
        size = keys.shape[1]
        first = np.full(size, np.iinfo(np.int64).max, dtype=np.int64)
        last = np.zeros(size, dtype=np.int64)
        busy = np.zeros(size, dtype=np.int64)
        np.minimum.at(first, where, start_ps)
        np.maximum.at(last, where, end_ps)
        np.add.at(busy, where, np.asarray(end_ps) - np.asarray(start_ps))
        order = np.lexsort((keys[1], keys[0], first))
        return cls(
            keys[0][order].astype(np.int16),
            keys[1][order].astype(np.int32),
            first[order],
            last[order],
            busy[order],
        )

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self.unit)

    def __eq__(self, other: object) -> bool:
        """Compare all columns by value."""
        if not isinstance(other, Intervals):
            return NotImplemented
        names = self.columns()
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]  # arrays inside: compared by value, not hashed
