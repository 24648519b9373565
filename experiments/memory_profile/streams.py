"""Streams on one channel of a memory: served by commands, and by the constants of the profile.

Regular are streams that go end to end or by columns, scattered are those whose runs lie anywhere:
one at a time, each with a constant of its own shape. Pairs are two streams that take turns at every
step of a transfer, placed as the command rung does. Same bank are contiguous pairs again, both from
the first bank on: the worst for streams that are equally fast.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram import Run, Standard
from simulator.dram.channels import Access, Channels, Shape
from simulator.dram.controller_kernel import TRACED
from simulator.dram.profile import REQUESTS, profile_of
from simulator.dram.transfers import drained, of_streams, transfers
from simulator.dram.transfers_kernel import Transfers, serve

KIB = 1024
SAME_BANK = "same bank"
#: Standard -> how many channels: about what one device of its kind has.
MEMORIES = {
    "hbm2_2000": 32,
    "hbm3_6400": 16,
    "gddr6_14000": 8,
    "ddr4_3200": 2,
    "ddr5_4800": 4,
    "lpddr5_6400": 4,
}
ASSUMED = "assumed: one controller a channel, no latency beside its own"
#: Bytes of a step: all streams of a case get their share of each.
STEPS = (16 * KIB, 64 * KIB, 256 * KIB)
#: That of streams by themselves, for which it hardly matters, and of figures for one size.
STEP = 64 * KIB
#: Bytes that a case moves on each channel: some tens of refreshes, whose phase then counts little.
PER_CHANNEL = 4096 * KIB
#: Room of a trace: more commands than any request of these standards needs.
COMMANDS_A_REQUEST = 8
#: Seeds by which scattered runs are drawn again.
DRAWS = 12


class Case(NamedTuple):
    """Streams that take turns."""

    group: str
    name: str
    accesses: tuple[Access, ...]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A case at one size of steps: times, and what the channel did.

    turns: from reads to writes or back. bus: part of the time for which the busier command bus is
    held. data: bandwidth over the peak.
    """

    memory: str
    case: Case
    step: int
    commands_ps: int
    profile_ps: float
    run: Run
    turns: int
    bus: float
    data: float

    @property
    def error(self) -> float:
        """Percent by which the profile's time is off; negative where it is too short."""
        return 100 * (self.profile_ps / self.commands_ps - 1)

    @property
    def conflicts(self) -> float:
        """Row conflicts in 1,000 bursts."""
        return 1e3 * self.run.row_conflicts / self.run.requests

    @property
    def lost_ns(self) -> float:
        """Ns by which a step takes longer than by the profile."""
        steps = sum(access.size_bytes for access in self.case.accesses) // self.step
        return (self.commands_ps - self.profile_ps) / steps / 1e3


def memory(standard: str) -> Channels:
    """Return a memory of which streams use a part."""
    return Channels(
        kind="channels",
        standard=standard,
        channels=MEMORIES[standard],
        interleave="256 B",
        capacity="1 GiB",
        latency="0 ns",
        source=ASSUMED,
    )


def cases(total: int) -> Iterator[Case]:
    """Yield all cases, each of about `total` bytes."""

    def moved(size: int, run: int = 0, columns: int = 0, *, write: bool = False) -> Access:
        runs = size // run if run else 1
        return Access(write, runs * (run or size), runs, columns)

    half, third = total // 2, total // 3
    yield Case("regular", "sequential read", (moved(total),))
    yield Case("regular", "sequential write", (moved(total, write=True),))
    yield Case("regular", "every 8th run of 4 KiB", (moved(total, 4 * KIB, 8),))
    yield Case("regular", "every 5th run of 3 KiB", (moved(total, 3 * KIB, 5),))
    yield Case("regular", "every 3rd run of 48 KiB", (moved(total, 48 * KIB, 3),))
    yield Case("regular", "every 32nd run of 512 B", (moved(total, 512, 32),))
    yield Case("regular", "every 32nd of 512 B, write", (moved(total, 512, 32, write=True),))
    yield Case("scattered", "scattered runs of 3 KiB", (moved(total, 3 * KIB),))
    yield Case("scattered", "scattered runs of 48 KiB", (moved(total, 48 * KIB),))
    yield Case("scattered", "scattered runs of 64 KiB", (moved(total, 64 * KIB),))
    yield Case("scattered", "scattered runs of 100 KiB", (moved(total, 100 * KIB),))
    for run in (64, 256):
        keys = moved(half, run * KIB)
        yield Case("pairs", f"weights + KV, {run} KiB runs", (moved(half), keys))
    for group in ("pairs", SAME_BANK):
        yield Case(group, "two reads", (moved(half), moved(half)))
        yield Case(group, "two reads 2:1", (moved(2 * third), moved(third)))
        yield Case(group, "read + write 2:1", (moved(2 * third), moved(third, write=True)))
        yield Case(group, "read + write 1:1", (moved(half), moved(half, write=True)))


def score(standard: str) -> Iterator[Scored]:
    """Yield every case on one memory: pairs at every size of steps, what is alone at one."""
    channels = memory(standard)
    total = channels.channels * PER_CHANNEL
    for case in cases(total):
        for step in STEPS if len(case.accesses) > 1 else (STEP,):
            yield scored(channels, case, step, total // step)


def scored(channels: Channels, case: Case, step: int, steps: int) -> Scored:
    """Serve a case in steps, on a channel that has done nothing yet."""
    standard, profile = channels.standard, profile_of(channels)
    served = placed(channels, case)
    requests = int(served.bursts.sum())
    # A trace takes time; a stream of one direction never turns.
    turning = len({access.write for access in case.accesses}) > 1
    room = np.zeros((COMMANDS_A_REQUEST * requests if turning else 0, 5), np.int64)
    served = served._replace(trace=room)
    now = 0
    for share in range(steps):
        now = serve(served, 0, len(case.accesses), share, steps, now)
    run = drained(channels, served)
    if now < 0 or run.requests != requests:
        raise RuntimeError(f"{standard.name}, {case.name}: {run.requests} of {requests} served")
    return Scored(
        memory=standard.name,
        case=case,
        step=step,
        commands_ps=run.ticks * run.tick_ps,
        profile_ps=sum(profile.ps(access) for access in case.accesses),
        run=run,
        turns=turns(standard, room[: served.state[0][TRACED], 1]),
        bus=bus(standard, run),
        data=run.bandwidth_bytes_per_s / standard.peak_bytes_per_s,
    )


def placed(channels: Channels, case: Case) -> Transfers:
    """Return the streams of a case where its group has them.

    One by itself is half the banks on from that of a constant: another start, or other draws.
    """
    if len(case.accesses) == 1:
        return starting(channels, case.accesses, [channels.stripe_bytes // 2])
    place = from_the_same_bank if case.group == SAME_BANK else transfers
    return place(channels, case.accesses)


def from_the_same_bank(channels: Channels, accesses: Sequence[Access]) -> Transfers:
    """Return accesses one after the other, each from the first bank on."""
    bases = [0]
    for access in accesses:
        size = channels.bursts(access) * channels.standard.access_bytes
        bases.append(bases[-1] + (size // channels.stripe_bytes + 1) * channels.stripe_bytes)
    return starting(channels, accesses, bases[:-1])


def starting(channels: Channels, accesses: Sequence[Access], bases: Sequence[int]) -> Transfers:
    """Return accesses that start at bytes of a channel."""
    bursts = [channels.bursts(access) for access in accesses]
    streams = [
        channels.stream(channels.shape(access), count, base)
        for access, count, base in zip(accesses, bursts, bases, strict=True)
    ]
    return of_streams(channels, streams, bursts)


def drawn_ps(channels: Channels, size: int) -> list[int]:
    """Return the ps of scattered runs, as many as make a constant, by one draw after the other.

    size: bytes of a run in all channels.
    """
    shape = Shape(False, channels.run_bursts(size), 0)
    drawn = [channels.stream(shape, REQUESTS, draw) for draw in range(DRAWS)]
    return [serve(of_streams(channels, [each], [REQUESTS]), 0, 1, 0, 1, 0) for each in drawn]


def turns(standard: Standard, commands: NDArray[np.int64]) -> int:
    """Return how often a trace of commands, by number, turns between reads and writes."""
    roles = [command.role for command in standard.commands.values()]
    moving = np.array([role in ("read", "write") for role in roles])[commands]
    writes = np.array([role == "write" for role in roles])[commands][moving]
    return int((writes[1:] != writes[:-1]).sum())


def bus(standard: Standard, run: Run) -> float:
    """Return for which part of the time the busier command bus is held."""
    held = {"row": 0, "column": 0}
    for name, count in run.commands.items():
        command = standard.commands[name]
        rows = standard.buses == "one" or command.role.startswith(("open", "close", "refresh"))
        held["row" if rows else "column"] += count * command.cycles
    return max(held.values()) / run.ticks


def turn_idle_ns(standard: Standard) -> float:
    """Return for how long a turn leaves the data pins idle, by the rows of the standard's table.

    The mean of both directions, from a command to one in any other bank group, less the burst.
    """
    (read,), (write,) = standard.with_role("read"), standard.with_role("write")
    wide = standard.levels.keys() - {"BankGroup", "Bank"}
    ticks = [
        max(
            row.ticks
            for row in standard.constraints
            if row.level in wide and not row.sibling and first in row.before and then in row.after
        )
        for first, then in ((read, write), (write, read))
    ]
    return sum(ticks) / 2 * standard.tick_ps / 1e3 - burst_ns(standard)


def burst_ns(standard: Standard) -> float:
    """Return how long a burst takes at the peak."""
    return standard.access_bytes / standard.peak_bytes_per_s * 1e9


def step_ns(channels: Channels, step: int) -> float:
    """Return how long a channel's part of a step takes at the peak."""
    return step / channels.channels / channels.standard.peak_bytes_per_s * 1e9


def row_cycle_ns(standard: Standard) -> float:
    """Return the time from one row of a bank to the next."""
    return standard.timing["nRC"] * standard.tick_ps / 1e3
