"""Half tables and their look-ups on whole matrices, compiled by Numba: vectorised over outputs.

A byte holds the addresses and signs of two neighbouring tables, so that packed weights have as many
bits as the weights have. A look-up is a tree of selections among eight entries, all in registers:
faster than a gather. Every step is cast to the width of its operands, as Numba would compute in 64
bits, in a quarter of the lanes. A block of addresses serves all rows while it is in a cache.
"""

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.kernels import compiled
from simulator.numerics import carrier
from simulator.numerics.carrier import KINDS, add_rows, copy_row, to_fp16

__all__ = ["KINDS", "fp16_tables", "integer_tables", "look_up_all", "look_up_rounded", "pack_words"]

#: As in `lut`: activations of a table, entries of half a table.
GROUP, ENTRIES = 4, 8
#: Outputs that are worked on together: their sums stay in the first cache.
BLOCK = 4096
#: Weights, and words of eight of them (a cache line), that are transposed together.
TILE, LINE = 512, 8

Byte, Word = np.uint8, np.uint64
NONE, LOW, SECOND, THIRD, SIGN = Byte(0), Byte(1), Byte(2), Byte(4), Byte(8)
HALF, NIBBLE = Byte(4), Byte(15)
#: Both halves of a byte: the bits of the first weights, the places of addresses.
FIRSTS, ADDRESSES, COMPLEMENT = Byte(0x11), Byte(0x77), Byte(7)
#: The lowest bit of every byte; times the second they stand in order in the top byte.
LOWEST, IN_ORDER, TOP = Word(0x0101010101010101), Word(0x0102040810204080), Word(56)


@compiled()
def pack_words(words: NDArray[np.uint64], bits: int) -> NDArray[np.uint8]:
    """Return (bits, K / 8, N) of words (N, K / 8) of eight weights, the first in the low byte.

    In each half of a byte: three bits of address, complemented where the fourth, the sign, is 1.
    """
    rows, pairs = words.shape
    packed = np.empty((bits, pairs, rows), dtype=np.uint8)
    tile = np.empty((LINE, TILE), dtype=np.uint64)
    for first in range(0, rows, TILE):
        width = min(TILE, rows - first)
        for start in range(0, pairs, LINE):
            count = min(LINE, pairs - start)
            for n in range(width):
                for p in range(count):
                    tile[p, n] = words[first + n, start + p]
            for place in range(bits):
                for p in range(count):
                    row, out = tile[p], packed[place, start + p, first : first + width]
                    for n in range(width):
                        plane = ((row[n] >> Word(place)) & LOWEST) * IN_ORDER >> TOP
                        out[n] = Byte(plane)
                    for n in range(width):
                        sign = Byte(out[n] & FIRSTS)
                        address = Byte(Byte(out[n] >> LOW) & ADDRESSES)
                        out[n] = Byte(Byte(address ^ Byte(sign * COMPLEMENT)) | Byte(sign * SIGN))
    return packed


@compiled()
def integer_tables(activations: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Return half tables (M, K / 4, 8) of activations (M, K), in their dtype."""
    rows, depth = activations.shape
    tables = np.empty((rows, depth // GROUP, ENTRIES), dtype=activations.dtype)
    for m in range(rows):
        for g in range(depth // GROUP):
            for address in range(ENTRIES):
                entry = -activations[m, GROUP * g]
                for place in range(GROUP - 1):
                    value = activations[m, GROUP * g + 1 + place]
                    entry += value if address >> place & 1 else -value
                tables[m, g, address] = entry
    return tables


@compiled(carrier)
def fp16_tables(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return half tables (M, K / 4, 8) of FP16 activations (M, K), each addition rounded."""
    rows, depth = activations.shape
    tables = np.empty((rows, depth // GROUP, ENTRIES), dtype=np.float32)
    for m in range(rows):
        for g in range(depth // GROUP):
            for address in range(ENTRIES):
                entry = -activations[m, GROUP * g]
                for place in range(GROUP - 1):
                    value = activations[m, GROUP * g + 1 + place]
                    entry = to_fp16(entry + (value if address >> place & 1 else -value))
                tables[m, g, address] = entry
    return tables


@register_jitable
def entry_of(found: np.uint8, table: tuple[Any, ...]) -> Any:
    """Return the entry at the low half of a byte, of its sign."""
    low, second = Byte(found & LOW) != NONE, Byte(found & SECOND) != NONE
    a = table[1] if low else table[0]
    b = table[3] if low else table[2]
    c = table[5] if low else table[4]
    d = table[7] if low else table[6]
    a, c = b if second else a, d if second else c
    a = c if Byte(found & THIRD) != NONE else a
    return -a if Byte(found & SIGN) != NONE else a


@register_jitable
def eight(table: NDArray[Any]) -> tuple[Any, ...]:
    """Return the entries of a half table as scalars, which stay in registers."""
    return (table[0], table[1], table[2], table[3], table[4], table[5], table[6], table[7])


@compiled()
def look_up_all(
    tables: NDArray[np.signedinteger[Any]],
    indices: NDArray[np.uint8],
    most: int,
    partial: NDArray[np.signedinteger[Any]],
    result: NDArray[np.int32],
) -> None:
    """Set (M, N), 0 before, to sums from tables (M, K / 4, 8) at packed indices (bits, K / 8, N).

    most: so many pairs of entries the tables' dtype adds up for certain, in partial (BLOCK).
    """
    rows = tables.shape[0]
    bits, pairs, columns = indices.shape
    for first in range(0, columns, BLOCK):
        width = min(BLOCK, columns - first)
        for start in range(0, pairs, most):
            for m in range(rows):
                total = result[m, first : first + width]
                for place in range(bits):
                    partial[:] = 0
                    for p in range(start, min(start + most, pairs)):
                        row = indices[place, p, first : first + width]
                        left, right = eight(tables[m, 2 * p]), eight(tables[m, 2 * p + 1])
                        for n in range(width):
                            entry = entry_of(row[n], left)
                            partial[n] += entry + entry_of(Byte(row[n] >> HALF), right)
                    for n in range(width):
                        total[n] += np.int32(np.int32(partial[n]) << np.int32(place))


@compiled(carrier)
def look_up_rounded(
    tables: NDArray[np.float32], indices: NDArray[np.uint8], accumulator: int
) -> NDArray[np.float32]:
    """Return (M, N) sums from tables (M, K / 4, 8), table by table and plane by plane, rounded.

    indices: packed (bits, K / 8, N). accumulator: by carrier.KINDS, FP16 or FP32.
    """
    rows = tables.shape[0]
    bits, pairs, columns = indices.shape
    result = np.zeros((rows, columns), dtype=np.float32)
    buffers = np.zeros((3, BLOCK), dtype=np.float32)
    both = np.zeros(2 * ENTRIES, dtype=np.float32)
    for m in range(rows):
        for first in range(0, columns, BLOCK):
            width = min(BLOCK, columns - first)
            picked, total, other = buffers[0, :width], buffers[1, :width], buffers[2, :width]
            total[:] = 0
            for g in range(2 * pairs):
                # Both halves, so that a nibble is an index: quicker to compile than selections.
                for address in range(ENTRIES):
                    both[address] = tables[m, g, address]
                    both[ENTRIES + address] = -tables[m, g, address]
                half = Byte(4 * (g & 1))
                for place in range(bits):
                    row = indices[place, g // 2, first : first + width]
                    weight = np.float32(1 << place)
                    for n in range(width):
                        picked[n] = both[Byte(row[n] >> half) & NIBBLE] * weight
                    # In place, the loops of `add_rows` are not vectorised.
                    add_rows(other, total, picked, accumulator)
                    total, other = other, total
            copy_row(result[m, first : first + width], total)
    return result
