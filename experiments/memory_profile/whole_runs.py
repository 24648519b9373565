"""Whole runs of Llama-2-7B: the tile rung by the constants, the command rung by commands.

The matrix unit and scratchpad are the A100's, each memory in place of its own: fast enough that
memory is the bound of decode everywhere. `npu_hbm2` stands for a device that its products bound.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import NamedTuple

from streams import ASSUMED, MEMORIES, from_the_same_bank

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.cost import load_profile
from simulator.dram import load_standard
from simulator.dram.channels import Access, Channels
from simulator.dram.profile import profile_of
from simulator.dram.transfers import transfers
from simulator.dram.transfers_kernel import Transfers, serve
from simulator.hardware import Device
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

#: Puts accesses into a memory.
Place = Callable[[Channels, list[Access]], Transfers]
#: Channels are as many as streams are scored on, or what the model needs.
CAPACITY_GIB = 16
NPU = "npu_hbm2"
#: The run whose activations do not fit on chip, so that all operands come and go.
MIXING = "prefill 512, 4 MiB on chip"
INT8 = {"weights": "int8", "activations": "int8", "kv": "int8"}


class Point(NamedTuple):
    """A workload, and the scratchpad on the fast device."""

    workload: Workload
    scratchpad: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run by both rungs."""

    device: str
    run: str
    tile: Result
    command: Result

    @property
    def error(self) -> float:
        """Percent by which the tile rung's latency is off; negative where it is too short."""
        return 100 * (self.tile.latency_s / self.command.latency_s - 1)


class Split(NamedTuple):
    """Memory time of all operations of a run, one after the other, in ps.

    profile: by the constants. alone: each stream of an operation by itself, by commands. reads: its
    reads step by step, its writes alone. together: all step by step. same_bank: from the same bank.
    """

    profile: float
    alone: float
    reads: float
    together: float
    same_bank: float

    def errors(self) -> dict[str, float]:
        """Return percent of error of constants for streams alone, and of these for each other."""
        turning = {"reads": self.reads, "pairs": self.together, "same bank": self.same_bank}
        constants = {"shapes": 100 * (self.profile / self.alone - 1)}
        return constants | {key: 100 * (self.alone / time - 1) for key, time in turning.items()}


def points() -> dict[str, Point]:
    """Return the runs by name."""
    model = load_model("llama-2-7b")
    int4 = {**INT8, "weights": "int4-g128"}
    prompt = prefill(model, batch=1, sequence=512, **INT8)
    return {
        "decode, batch 1": Point(decode_step(model, batch=1, context=512, **int4), "40 MiB"),
        "decode, batch 8": Point(decode_step(model, batch=8, context=2048, **INT8), "40 MiB"),
        "prefill 512": Point(prompt, "40 MiB"),
        MIXING: Point(prompt, "4 MiB"),
    }


def fast_device(standard: str, scratchpad: str) -> Device:
    """Return the A100's matrix unit with a memory of a standard."""
    needed = ceil(CAPACITY_GIB * 2**30 / load_standard(standard).capacity_bytes)
    a100 = load_device("a100")
    kept = a100.scratchpad.model_dump(mode="json", by_alias=True)
    return replace(
        a100,
        {
            "name": f"a100_{standard}",
            "scratchpad": {**kept, "capacity": scratchpad},
            "memory": {
                "kind": "channels",
                "standard": standard,
                "channels": max(MEMORIES[standard], needed),
                "interleave": "256 B",
                "capacity": f"{CAPACITY_GIB} GiB",
                "latency": "0 ns",
                "source": ASSUMED,
            },
        },
    )


def compare(name: str, device: Device, run: str, workload: Workload) -> Compared:
    """Run a workload by both rungs; their books must balance."""
    tile, command = (simulate(device, workload, rung) for rung in ("tile", "command"))
    tile.check()
    command.check()
    return Compared(device=name, run=run, tile=tile, command=command)


def split(device: Device, workload: Workload) -> Split:
    """Serve the streams of all operations of a run by themselves, and as they take turns."""
    from simulator.engine.run import Engine
    from simulator.hardware.priced import priced_for
    from simulator.mapping.planner import plan

    channels, engine = device.memory, Engine(device)
    assert isinstance(channels, Channels)
    made = plan(
        workload,
        device,
        priced_for(load_profile(device.energy), device),
        fused_attention=True,
        fused_tables=True,
        bound_ps=lambda each: engine.analytic_steps(each)[1],
        duration_ps=lambda each: engine.tile_steps(each)[1],
    )
    profile, total = profile_of(channels), Split(*[0.0] * 5)

    @cache
    def served(accesses: tuple[Access, ...], loads: int, stores: int, place: Place) -> int:
        return in_turns(channels, accesses, loads, stores, place)

    for segment in made.segments:
        for op in segment.ops:
            steps = op.pipeline.steps, op.outputs
            reads = tuple(access for access in op.accesses if not access.write)
            alone = {access: served((access,), *steps, transfers) for access in op.accesses}
            writes = sum(alone[access] for access in op.accesses if access.write)
            ours = (
                sum(profile.ps(access) for access in op.accesses),
                sum(alone[access] for access in op.accesses),
                served(reads, *steps, transfers) + writes,
                served(op.accesses, *steps, transfers),
                served(op.accesses, *steps, from_the_same_bank),
            )
            total = Split(*(a + segment.repeat * b for a, b in zip(total, ours, strict=True)))
    return total


def in_turns(
    channels: Channels, accesses: tuple[Access, ...], loads: int, stores: int, place: Place
) -> int:
    """Return the ps of an operation's streams: reads in so many steps, outputs between them."""
    if not accesses:
        return 0
    ordered = sorted(accesses, key=lambda access: access.write)
    reads = sum(not access.write for access in ordered)
    served, now = place(channels, ordered), 0
    for step in range(loads):
        now = serve(served, 0, reads, step, loads, now)
        for output in range(step * stores // loads, (step + 1) * stores // loads):
            now = serve(served, reads, len(ordered), output, stores, now)
    return now


def whole_runs(standard: str) -> Iterator[Compared]:
    """Yield all runs on the fast device with one memory."""
    for run, point in points().items():
        yield compare(standard, fast_device(standard, point.scratchpad), run, point.workload)


def mixing_split(standard: str) -> Split:
    """Return the parts of the run that mixes streams most."""
    point = points()[MIXING]
    return split(fast_device(standard, point.scratchpad), point.workload)


def npu_runs() -> Iterator[Compared]:
    """Yield the runs on `npu_hbm2`, with its own scratchpad."""
    device = load_device(NPU)
    for run, point in points().items():
        if run != MIXING:
            yield compare(NPU, device, run, point.workload)
