"""Request i of a stream as compiled code: a function of i alone, without state or lists.

A stream's bursts are numbered by a loop nest (strides, tiles), by runs at places that a hash of the
run's number gives (gather), or drawn level by level (random); the mapping's digits then split the
number into levels. Draw j is output j of splitmix64 (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, OOPSLA 2014), which is a function of seed and j.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram import mapping
from simulator.dram.mapping import PLACE, RADIX, SCALE, SHIFT
from simulator.kernels import compiled

#: How a stream numbers its bursts.
NEST, GATHER, RANDOM = range(3)
#: Entries of `StreamTables.numbers`: NEST, GATHER or RANDOM; every which request is a write, 0 for
#: none; the first burst; bursts of a gathered run, places where one may start; the seed.
KIND, WRITE_EVERY, BASE, RUN, PLACES, SEED = range(6)
#: Columns of `StreamTables.loops`.
COUNT, STRIDE = range(2)

Ints = NDArray[np.int64]
Word = np.uint64
GAMMA, FIRST, SECOND = Word(0x9E3779B97F4A7C15), Word(0xBF58476D1CE4E5B9), Word(0x94D049BB133111EB)
SHIFT_30, SHIFT_27, SHIFT_31 = Word(30), Word(27), Word(31)


class StreamTables(NamedTuple):
    """A stream on a standard for compiled code, arrays of int64.

    numbers: KIND to SEED. digits: those of the mapping; for RANDOM, of the draws, in their order.
    loops: (loops, 2), counts and strides in bursts, innermost first, the outermost without end.
    Kernels take the arrays one by one: to hand over a tuple of them takes longer than a request.
    """

    numbers: Ints
    digits: Ints
    loops: Ints


@compiled(counted=False)
def draw(seed: int, j: int) -> np.uint64:
    """Return output j, from 0, of splitmix64 seeded with `seed`, a uint64."""
    state = Word(seed) + (Word(j) + Word(1)) * GAMMA
    mixed = (state ^ (state >> SHIFT_30)) * FIRST
    mixed = (mixed ^ (mixed >> SHIFT_27)) * SECOND
    return mixed ^ (mixed >> SHIFT_31)


@compiled(counted=False)
def burst_of(numbers: Ints, loops: Ints, i: int) -> int:
    """Return the number of the burst of request i, of a NEST or GATHER."""
    burst: int = numbers[BASE]
    if numbers[KIND] == GATHER:
        run = numbers[RUN]
        place = np.int64(draw(numbers[SEED], i // run) % Word(numbers[PLACES]))
        burst += place * run + i % run
        return burst
    last = len(loops) - 1
    for loop in range(last):
        burst += i % loops[loop, COUNT] * loops[loop, STRIDE]
        i //= loops[loop, COUNT]
    burst += i * loops[last, STRIDE]
    return burst


@compiled(mapping, counted=False)
def split(digits: Ints, burst: int, address: Ints) -> None:
    """Add the levels of a burst to `address`; beyond the last it starts again."""
    for digit in range(len(digits)):
        radix, shift = digits[digit, RADIX], digits[digit, SHIFT]
        if shift >= 0:
            value = burst & (radix - 1)
            burst >>= shift
        else:
            value = burst % radix
            burst //= radix
        address[digits[digit, PLACE]] += value * digits[digit, SCALE]


@compiled(mapping, counted=False)
def request(numbers: Ints, digits: Ints, loops: Ints, i: int, address: Ints) -> bool:
    """Write the levels of request i into `address`, Channel to Column; tell if it is a write."""
    address[:] = 0
    if numbers[KIND] == RANDOM:
        draws = len(digits)
        for k in range(draws):
            radix, drawn = digits[k, RADIX], draw(numbers[SEED], i * draws + k)
            if digits[k, SHIFT] >= 0:
                value = np.int64(drawn & Word(radix - 1))
            else:
                value = np.int64(drawn % Word(radix))
            address[digits[k, PLACE]] += value * digits[k, SCALE]
    else:
        split(digits, burst_of(numbers, loops, i), address)
    every: int = numbers[WRITE_EVERY]
    return every > 0 and i % every == every - 1


@compiled(mapping, counted=False)
def fill(
    numbers: Ints, digits: Ints, loops: Ints, start: int, writes: NDArray[np.bool_], levels: Ints
) -> None:
    """Write requests from `start` on into `writes` (count) and `levels` (count, levels)."""
    for i in range(len(writes)):
        writes[i] = request(numbers, digits, loops, start + i, levels[i])


@compiled(mapping, counted=False)
def fill_block(numbers: Ints, digits: Ints, loops: Ints, start: int, block: Ints) -> None:
    """Write requests from `start` on into `block` (count, 5): write, bank, row, column, channel.

    digits: their places are those of a row of the block, and banks add up.
    """
    for i in range(len(block)):
        write = request(numbers, digits, loops, start + i, block[i])
        block[i, 0] = write
