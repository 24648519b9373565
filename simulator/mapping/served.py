"""What a byte takes in a memory by the shape of its stream, compiled: as `dram.profile.Profile`.

A shape that nobody has served yet is asked for: what is made of it until then means nothing.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.dram import shapes
from simulator.dram.channels import Shape
from simulator.dram.shapes import Striped
from simulator.kernels import compiled

Array = NDArray[np.int64]

run_bursts = register_jitable(shapes.run_bursts)
bursts = register_jitable(shapes.bursts)
shape = register_jitable(shapes.shape)

#: Most shapes that are asked for at a time.
MOST_ASKED = 1024


class Served(NamedTuple):
    """ps of a burst by the key of its shape, in the order of keys; and what is asked for.

    asked: how often, of how many shapes, and their keys.
    """

    keys: Array
    burst_ps: NDArray[np.float64]
    asked: Array


class Memory(NamedTuple):
    """The memory of a design."""

    striped: Striped
    least_ps_per_byte: float
    served: Served


@register_jitable
def key_of(write: bool, run: int, columns: int) -> int:
    """Return a shape as one number."""
    return (columns << 32) | (run << 1) | (1 if write else 0)


def shape_of(key: int) -> Shape:
    """Return the shape of a key."""
    return Shape(bool(key & 1), (key & 0xFFFFFFFF) >> 1, key >> 32)


@register_jitable
def ask(asked: Array, key: int) -> None:
    """Ask for a shape, once."""
    asked[0] += 1
    count = asked[1]
    for i in range(2, count + 2):
        if asked[i] == key:
            return
    if count < MOST_ASKED:
        asked[1], asked[count + 2] = count + 1, key


@register_jitable
def served_ps(served: Served, key: int) -> float:
    """Return the ps of a burst; 0 where that is asked for."""
    low, high = 0, len(served.keys)
    while low < high:
        middle = (low + high) // 2
        if served.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < len(served.keys) and served.keys[low] == key:
        return float(served.burst_ps[low])
    ask(served.asked, key)
    return 0.0


@compiled(shapes, counted=False)
def shaped_ps(memory: Memory, write: bool, size: int, runs: int, columns: int) -> float:
    """Return the ps that a byte of an access takes by its shape; arguments as of `Access`."""
    run, cut = shape(memory.striped, size, runs, columns)
    burst_ps = served_ps(memory.served, key_of(write, run, cut))
    return max(memory.least_ps_per_byte, burst_ps * bursts(memory.striped, size, runs) / size)


@register_jitable
def ps_per_byte(memory: Memory, write: bool, size: int, runs: int, columns: int) -> float:
    """Return the ps that a byte of an access takes, as `Profile.ps_per_byte`; 0 where it has none.

    Arguments as of `Access`.
    """
    if size == 0:
        return 0.0
    if memory.striped.channels == 0:
        return memory.least_ps_per_byte
    return shaped_ps(memory, write, size, runs, columns)
