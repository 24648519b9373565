"""Which activations stay in the scratchpad, by liveness; the rest spills to memory.

An activation lives from the operation that makes it to the last one that reads it. Small ones are
kept first; one that would push the live bytes over the budget at any time of its life is spilled:
its producer writes it, each reader reads it. Keys, values and weights always live in memory. Parts
of a tensor (`lowering.VIEWS`) are where it is.
Left out: partial residency of one tensor, eviction and reload.
"""

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

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


#: Read, or written too, in Python; or an array in compiled code.
Read: TypeAlias = Sequence[Any] | NDArray[Any]
Written: TypeAlias = MutableSequence[Any] | NDArray[Any]


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


@register_jitable
def keep(rows: Read, barred: Read, budget_bytes: int, live: Written, kept: Written) -> None:
    """Say which tensors stay on chip, and add them to the live bytes at each operation.

    rows: (bytes, first, last) of each life, in the order in which they are kept, that of (bytes,
    first); barred: those that must live in memory. `live` starts with what is there anyway.
    """
    for row in range(len(rows)):
        size, first, last = rows[row][0], rows[row][1], rows[row][2]
        most = 0
        for index in range(first, last + 1):
            most = max(most, live[index])
        kept[row] = not barred[row] and most + size <= budget_bytes
        if kept[row]:
            for index in range(first, last + 1):
                live[index] += size


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
    found = sorted(
        lives(graph, ops, device.cores).items(), key=lambda item: (item[1].bytes, item[1].first)
    )
    rows = [(life.bytes, life.first, life.last) for _, life in found]
    barred = [name in spilled for name, _ in found]
    live, stays = [0] * len(ops), [False] * len(found)
    keep(rows, barred, int(device.scratchpad.capacity_bytes * share), live, stays)
    kept = {name for (name, _), held in zip(found, stays, strict=True) if held}
    kept |= {part for part, whole in wholes(ops).items() if whole in kept}
    return frozenset(kept), np.array(live, dtype=np.int64)
