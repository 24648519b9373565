"""Reads and writes of the NPU on NeuPIMs' channels: streams of them, and what came of them.

A channel takes them as `neupims_traffic_kernel` says. NeuPIMs' NPU reads what it computes with
burst by burst, its address map rorabgbachco with the channel innermost: of each channel the bursts
of a row, then those of the next bank, of all banks row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim.neupims_part import BANKED, NeuPims
from simulator.dram.request_file import MOST_PROBLEMS
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.neupims_traffic_kernel import Queues, Rules

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Traffic:
    """Requests of the NPU to a channel, in the order in which it asks; all arrays are (count,).

    ticks: from the start of the run, before which it does not ask, never less than the one before.
    writes: whether it writes. banks: in the channel, rank by rank and group by group. bursts: of
    the row.
    """

    ticks: Ints
    writes: NDArray[np.bool_]
    banks: Ints
    rows: Ints
    bursts: Ints

    def __post_init__(self) -> None:
        """Raise InputError for arrays that do not fit together, all problems at once."""
        problems = []
        for name, array in vars(self).items():
            kind, word = ("b", "booleans") if name == "writes" else ("iu", "integers")
            if array.dtype.kind not in kind:
                problems.append(f"{name}: expected {word}, got {array.dtype}")
            if array.shape != (len(self),):
                problems.append(f"{name}: expected shape ({len(self)},), got {array.shape}")
        if not problems and len(self):
            if self.ticks[0] < 0:
                problems.append(f"ticks[0]: must be >= 0, got {self.ticks[0]}")
            falls = np.flatnonzero(np.diff(self.ticks) < 0) + 1
            problems += [
                f"ticks[{at}]: must be >= {self.ticks[at - 1]}, the one before, got "
                f"{self.ticks[at]}"
                for at in falls[:1]
            ]
        if problems:
            raise InputError(problems)

    def __len__(self) -> int:
        """Return how many requests there are."""
        return self.ticks.size


#: Requests to each channel: the same to all, or each its own, None for none.
Given: TypeAlias = Traffic | Sequence[Traffic | None]


@dataclass(frozen=True, kw_only=True)
class TrafficRun:
    """What all channels did with requests.

    requests: that were served. cycles: from the start of the run until the last read has its data
    or the last write its command. busy_bus_share: of the time of the channels' data buses while
    they have PIM commands to issue, the part in which requests use them.
    """

    requests: int
    cycles: int
    busy_bus_share: float


def sequential_reads(
    part: NeuPims, count: int, share: float, *, first_row: int, first_tick: int = 0
) -> Traffic:
    """Return reads of one burst after the other, asked for at a share of the peak of the data bus.

    first_row: of which the first bank is read first. Raises InputError for fewer than one, a share
    that is not above 0 and at most 1, and more than there are rows.
    """
    bursts = part.row_bytes // part.burst_bytes
    place = np.arange(max(count, 0))
    rows = first_row + place // (bursts * part.banks)
    problems = [] if count >= 1 else [f"count must be >= 1, got {count}"]
    if not 0 < share <= 1:
        problems.append(f"share must be > 0 and <= 1, got {share:g}")
    if first_row < 0:
        problems.append(f"first_row must be >= 0, got {first_row}")
    elif count >= 1 and rows[-1] >= part.levels["Row"]:
        last = part.levels["Row"] - 1
        problems.append(f"{count} reads from row {first_row} on end in row {rows[-1]}, not {last}")
    if problems:
        raise InputError(problems)
    ticks = first_tick + (place * part.timing["nBL"] / share).astype(np.int64)
    return Traffic(
        ticks, np.zeros(count, np.bool_), place // bursts % part.banks, rows, place % bursts
    )


def by_channel(part: NeuPims, given: Given) -> list[Traffic | None]:
    """Return the requests of each channel.

    Raises InputError for other than one stream or one for each channel, and for places that a
    channel does not have, the first of each array.
    """
    if isinstance(given, Traffic):
        problems = _misplaced(part, given, "traffic")
        streams: list[Traffic | None] = [given] * part.channels
    else:
        streams, problems = list(given), list[str]()
        if len(streams) != part.channels:
            problems.append(
                f"traffic: expected a stream, or one for each of {part.channels} channels, got "
                f"{len(streams)}"
            )
        for channel, stream in enumerate(streams):
            if stream is not None:
                problems += _misplaced(part, stream, f"traffic[{channel}]")
    if problems:
        raise InputError(problems[:MOST_PROBLEMS])
    return streams


def _misplaced(part: NeuPims, stream: Traffic, label: str) -> list[str]:
    """Return the first place of each array that a channel does not have."""
    counts = {
        "banks": part.banks,
        "rows": part.levels["Row"],
        "bursts": part.row_bytes // part.burst_bytes,
    }
    beyond = {
        name: np.flatnonzero((getattr(stream, name) < 0) | (getattr(stream, name) >= count))[:1]
        for name, count in counts.items()
    }
    return [
        f"{label}.{name}[{at}]: {getattr(stream, name)[at]} is not within 0 to {counts[name] - 1}"
        for name, places in beyond.items()
        for at in places
    ]


def requests_of(stream: Traffic | None, start_tick: int) -> Ints:
    """Return a stream as the kernel takes it, for a run that starts at a tick."""
    from simulator.dram.pim import neupims_traffic_kernel as kernel

    if stream is None:
        return np.zeros((0, kernel.REQUEST_FIELDS), np.int64)
    columns = stream.ticks + start_tick, stream.writes, stream.banks, stream.rows, stream.bursts
    return np.stack(columns, axis=1).astype(np.int64)


def rules_of(part: NeuPims, mode: str, uses: dict[str, int]) -> "Rules":
    """Return what a part and a mode fix for requests; uses: of each command that is issued."""
    from simulator.dram.pim import neupims_traffic_kernel as kernel

    asked = part.requests
    limits = {
        kernel.ROW_USES: asked.row_uses,
        kernel.DRAIN_ABOVE: asked.drain_above,
        kernel.LEAST_SLACK: asked.least_slack_ticks,
        kernel.OPENING: part.timing["nRCDWR"],
        kernel.CLOSING: part.timing["nRP"],
        kernel.READ_TICKS: part.read_ticks,
    }
    siblings = [
        (uses[before], BANKED.index(row.level), uses[after], row.ticks)
        for row in part.rows(mode)
        for before in row.before
        for after in row.after
        if row.sibling
    ]
    return kernel.Rules(
        limits=np.array([limits[i] for i in range(len(limits))], np.int64),
        siblings=np.array(siblings, np.int64).reshape(-1, 4),
    )


def queues_of(part: NeuPims) -> "Queues":
    """Return the empty queues of a channel."""
    from simulator.dram.pim import neupims_traffic_kernel as kernel
    from simulator.dram.pim.neupims_kernel import CLOSED

    asked, q = part.requests, np.zeros(kernel.QUEUE_SCALARS, np.int64)
    q[kernel.KEPT] = CLOSED
    return kernel.Queues(
        q=q,
        waiting=np.zeros((2, asked.queue), np.int64),
        sizes=np.zeros(2, np.int64),
        banks=np.zeros((kernel.BANK_FIELDS, part.banks), np.int64),
        queued=np.zeros((part.banks, asked.bank_queue), np.int64),
    )
