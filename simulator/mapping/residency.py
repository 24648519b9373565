"""Which activations stay in the scratchpad, by liveness; the rest spills to memory.

An activation lives from the operation that makes it to the last one that reads it. Small ones are
kept first; one that would push the live bytes over the budget at any time of its life is spilled:
its producer writes it, each reader reads it. Keys, values and weights always live in memory. Parts
of a tensor (`lowering.VIEWS`) are where it is.
Left out: partial residency of one tensor, eviction and reload.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.hardware.device import Device
from simulator.mapping.lowering import PRODUCTS, VIEWS, Lowered
from simulator.workload import Graph, OpKind, Role

#: Shares of the scratchpad that activations may hold; the rest is for tiles in flight. The planner
#: tries each: what stays on chip saves traffic, but has to be gathered, and leaves small tiles.
#: Assumed; halves, so that twice the scratchpad offers what the scratchpad did. The last resort
#: is to keep nothing.
ACTIVATION_SHARES = (0.85, 0.425, 0.2125, 0.10625, 0.053125)
HALVES = tuple(ACTIVATION_SHARES[0] / 2**i for i in range(24))
LAST_RESORT = (0.0,)


@dataclass(frozen=True, slots=True)
class Life:
    """When a tensor is held on chip: operation indices first..last, bytes on one core."""

    first: int
    last: int
    bytes: int


def needed_whole(ops: Sequence[Lowered]) -> frozenset[str]:
    """Return the activations that every core holds all of, because a product reads them."""
    return frozenset(op.inputs[0] for op in ops if op.kind in PRODUCTS)


def wholes(ops: Sequence[Lowered]) -> dict[str, str]:
    """Return of each part of a tensor that tensor."""
    found: dict[str, str] = {}
    for op in ops:
        if op.kind in VIEWS:
            split = op.kind == OpKind.SPLIT
            (whole,), parts = (op.inputs, op.outputs) if split else (op.outputs, op.inputs)
            found |= dict.fromkeys(parts, whole)
    return found


def lives(graph: Graph, ops: Sequence[Lowered], cores: int) -> dict[str, Life]:
    """Return the life of each activation of a lowered graph, graph inputs and outputs included.

    Parts of a tensor are uses of it.
    """
    found: dict[str, Life] = {}
    whole, whole_of = needed_whole(ops), wholes(ops)
    for index, op in enumerate(ops):
        for used in (*op.inputs, *op.outputs):
            name = whole_of.get(used, used)
            tensor = graph.tensor(name)
            if tensor.role is not Role.ACTIVATION:
                continue
            first = found[name].first if name in found else index
            if name in graph.inputs:
                first = 0
            last = len(ops) - 1 if name in graph.outputs else index
            size = tensor.bytes if name in whole else -(-tensor.bytes // cores)
            found[name] = Life(first, last, size)
    return found


def resident(
    graph: Graph,
    ops: Sequence[Lowered],
    device: Device,
    spilled: frozenset[str] = frozenset(),
    share: float = ACTIVATION_SHARES[0],
) -> tuple[frozenset[str], np.ndarray]:
    """Return the activations kept on chip and the live bytes at each operation (one core).

    `spilled` names tensors that must live in memory (a neighbouring segment cannot keep them);
    `share` is the part of the scratchpad that activations may hold.
    """
    budget = int(device.scratchpad.capacity_bytes * share)
    live = np.zeros(len(ops), dtype=np.int64)
    kept: set[str] = set()
    found = lives(graph, ops, device.cores)
    for name, life in sorted(found.items(), key=lambda item: (item[1].bytes, item[1].first)):
        span = slice(life.first, life.last + 1)
        if name not in spilled and live[span].max(initial=0) + life.bytes <= budget:
            live[span] += life.bytes
            kept.add(name)
    kept |= {part for part, whole in wholes(ops).items() if whole in kept}
    return frozenset(kept), live
