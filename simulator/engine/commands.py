"""The memory of the command rung: what a segment's transfers are to the channels.

A load or store step moves its share of every access of its operation. It is over for the memory
when its last burst is taken into the controllers' queues, no sooner than the peak and the DMA's
bytes in flight allow. Data come the latency later, and as much as what is queued before them takes
at the peak. What is still queued when a segment ends is not in the way of the next one.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram import transfers
from simulator.dram.channel import Run
from simulator.dram.channels import Channels
from simulator.dram.transfers_kernel import Transfers
from simulator.engine.tasks import LOAD, STORE, TaskGraph
from simulator.hardware import Device
from simulator.mapping.plan import OpPlan

Array = NDArray[np.int64]


#: Columns of `Commanded.tasks`: the streams of a task's operation and direction; which part of them
#: it moves, SHARE of SHARES; the ps of its descriptors, and those that bytes in flight allow.
FIRST_STREAM, END_STREAM, SHARE, SHARES, DESCRIBED, IN_FLIGHT = range(6)
#: Parts of an interval of refresh that are told apart when a segment starts.
PHASES = 8


class Commanded(NamedTuple):
    """The channels, and what each load and store of a segment moves; tasks: a row a task."""

    transfers: Transfers
    tasks: Array


def commanded(
    device: Device, graph: TaskGraph, ops: Sequence[OpPlan], following: OpPlan | None, phase: int
) -> Commanded:
    """Return the memory of a segment whose task graph is `graph`, of a device with channels.

    phase: parts of an interval since the last refresh.
    """
    channels, profile = device.memory, device.memory_profile
    assert isinstance(channels, Channels)
    planned = [*ops, *([following] if following is not None else [])]
    accesses = [access for op in planned for access in op.accesses]
    columns = np.zeros((6, len(graph.queue)), np.int64)
    columns[IN_FLIGHT] = np.ceil(graph.size * device.in_flight_ps_per_byte)
    place = 0
    for index, op in enumerate(planned):
        for queue, write in ((LOAD, False), (STORE, True)):
            moved = [access for access in op.accesses if access.write == write]
            tasks = np.flatnonzero((graph.op == index) & (graph.queue == queue))
            steps = op.pipeline.steps if queue == LOAD else op.outputs
            columns[FIRST_STREAM, tasks], columns[END_STREAM, tasks] = place, place + len(moved)
            columns[SHARE, tasks], columns[SHARES, tasks] = np.arange(len(tasks)), steps
            planned_ps = op.pipeline.load if queue == LOAD else op.pipeline.store
            moving = sum(profile.ps(access) for access in moved)
            # What a step takes beside moving its bytes.
            columns[DESCRIBED, tasks] = max(0, planned_ps - ceil(ceil(moving) / steps))
            place += len(moved)
    memory = transfers.transfers(channels, accesses, phase / PHASES)
    return Commanded(memory, columns.T.copy())


def phase_of(device: Device, ops: Sequence[OpPlan], time_ps: int) -> int:
    """Return the phase of refresh at which a segment starts; of long ones, half of it.

    Where there are tens of refreshes it matters little when the first one is, and equal segments
    are equal.
    """
    assert isinstance(device.memory, Channels)
    standard = device.memory.standard
    interval_ps = standard.refresh.interval_ticks * standard.tick_ps
    if sum(op.dram_ps for op in ops) > 4 * PHASES * interval_ps:
        return PHASES // 2
    return time_ps % interval_ps * PHASES // interval_ps


def channel_run(device: Device, memory: Commanded, makespan_ps: int) -> Run:
    """Return what one channel did in a segment of so many ps."""
    assert isinstance(device.memory, Channels)
    return transfers.drained(device.memory, memory.transfers, makespan_ps)
