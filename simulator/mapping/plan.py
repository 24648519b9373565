"""The plan of a workload on a device: each lowered operation tiled, with all that it will cost.

A plan holds integers only: durations of the pipeline's stages in ps, bytes, counts. The analytic
rung and the tile executor both read it; neither decides anything.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from simulator.cost import Counts
from simulator.dram.channels import Access
from simulator.hardware.equations import Pipeline, main_ps, memory_ps, vector_ps

PPM = 1_000_000
#: Units whose main steps move bytes of their own and compute nothing.
MOVERS = ("noc", "link")


@dataclass(frozen=True, slots=True)
class OpPlan:
    """One operation, ready to run; all durations in ps, for one step of its pipeline.

    unit: who does `main` ("matrix", "vector", "noc", "pim" or "link"). after: operations whose
    results `main` needs on chip. stored_by: operations whose stores the loads from step
    `free_loads` on need, or `main` where nothing is loaded. paced_by: operations whose main steps
    those of this one follow part by part. room_bytes: scratchpad for loads in flight. cores: how
    many work on it. least_*_bytes: what no on-chip memory can avoid. main_bytes: what main steps
    move, over the network or a link, or from banks to what multiplies there.
    stalls_ps: how much of all main (and second) steps is not useful, by cause. accesses: what loads
    and stores move, by operand, each step its share of every one.
    aside: it keeps no order with operations that are not. exclusive: main steps of pim have the
    memory to themselves; else, slowed_by_pim_ppm and slowed_by_transfers_ppm say how much longer
    transfers take beside pim, and pim beside transfers.
    least_main_ps: of pim, what its main steps take at its peak. layer: of the model, -1 where the
    segment says it.
    """

    name: str
    kind: str
    unit: str
    pipeline: Pipeline
    after: tuple[int, ...]
    stored_by: tuple[int, ...]
    free_loads: int
    slot_bytes: int
    room_bytes: int
    load_bytes: int
    store_bytes: int
    least_load_bytes: int
    least_store_bytes: int
    main_bytes: int
    cores: int
    stalls_ps: tuple[tuple[str, int], ...]
    macs_useful: int
    macs_issued: int
    counts: Counts
    tiling: str
    spills: tuple[tuple[str, int, str], ...]
    accesses: tuple[Access, ...]
    paced_by: tuple[int, ...] = ()
    aside: bool = False
    exclusive: bool = False
    slowed_by_pim_ppm: int = 0
    slowed_by_transfers_ppm: int = 0
    least_main_ps: int = 0
    layer: int = -1

    @property
    def outputs(self) -> int:
        """How often post, second and store run."""
        return self.pipeline.steps // self.pipeline.every

    @property
    def key(self) -> str:
        """All that the executor reads of the operation, as text."""
        return repr(
            (
                self.unit, tuple(self.pipeline), self.after, self.stored_by, self.free_loads,
                self.slot_bytes, self.room_bytes, self.load_bytes, self.store_bytes,
                self.main_bytes, self.accesses, self.aside, self.exclusive, self.paced_by,
                self.slowed_by_pim_ppm, self.slowed_by_transfers_ppm,
            )
        )  # fmt: skip

    @property
    def dram_ps(self) -> int:
        """Time that the memory is busy with the operation's loads and stores."""
        return memory_ps(self.pipeline)

    @property
    def main_ps(self) -> int:
        """Time of the main unit: `main` steps and, on the same unit, `second` steps."""
        return main_ps(self.pipeline)

    @property
    def vector_ps(self) -> int:
        """Time of the vector unit for widening and for work on outputs."""
        return vector_ps(self.pipeline)

    def bound_by(self) -> str:
        """Name what limits the operation: a unit, or the stall that dominates the matrix unit."""
        totals = {"dram": self.dram_ps, self.unit: self.main_ps}
        totals["vector"] = totals.get("vector", 0) + self.vector_ps
        bound = max(totals, key=lambda name: totals[name])
        stalled = sum(ps for _, ps in self.stalls_ps)
        if bound != self.unit or self.unit != "matrix" or 2 * stalled <= self.main_ps:
            return bound
        return max(self.stalls_ps, key=lambda item: item[1])[0]


@dataclass(frozen=True)
class SegmentPlan:
    """The plan of one segment, run `repeat` times in a row."""

    name: str
    ops: tuple[OpPlan, ...]
    repeat: int
    first_index: int

    @cached_property
    def key(self) -> str:
        """Content hash of all that the executor reads."""
        content = "".join(op.key for op in self.ops)
        return blake2b(content.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All segments of a workload, planned for `cores` of the device's cores."""

    segments: tuple[SegmentPlan, ...]
    cores: int

    @property
    def compute_ps(self) -> int:
        """Time of all main stages one after the other; memory, network and links left out."""
        return sum(
            segment.repeat * sum(op.main_ps for op in segment.ops if op.unit not in MOVERS)
            for segment in self.segments
        )
