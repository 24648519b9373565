"""Look-ups in full tables: sums of any of four activations, one bit of the weights at a time.

The conventional LUT that LUT Tensor Core (Mo et al., ISCA 2025, arXiv 2408.06003) starts from, and
UNPU (Lee et al., JSSC 2019), which keeps such a table in its elements. A bit of a weight is 0 or 1:
the table has the sums of all subsets, twice the entries of `lut.half_table`. Weights are in two's
complement: b passes add up 2^j T_j, the plane of signs is subtracted. Exact, and the same numbers
as `lut`, whose kernel computes them.

assumed: every entry is summed by itself, as in `lut`. Left out: UNPU's own grouping (at 16 bits
345.6 GOPS are published, at 1 bit 7372, 4/3 of 16 times as many: its tables have three activations
where weights have several bits), activations of 16 bits, FP16 tables.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

from simulator.numerics.lut import GROUP
from simulator.numerics.word import Number, bit, bits_of, like, looked_up, noted, remembered, stored

Table = Callable[[list[Number]], list[Number]]


@remembered
def full_table(activations: list[Number]) -> list[Number]:
    """Return the sums of all subsets, of one width; bit i of the address: activation i is in it."""
    entries: list[Number] = []
    for address in range(1 << len(activations)):
        chosen = [value for place, value in enumerate(activations) if bit(address, place)]
        # The first one is no addition.
        entries.append(reduce(add, chosen) if chosen else 0)
    width = max(map(bits_of, entries))
    return [like(activations[0], int(entry), width) for entry in entries]


def held_table(activations: list[Number]) -> list[Number]:
    """Return a full table in the registers of an element."""
    return stored(full_table(activations))


def tables_of(activations: Sequence[Number], table_of: Table) -> list[list[Number]]:
    """Return a table for each GROUP of activations."""
    starts = range(0, len(activations), GROUP)
    return [table_of(list(activations[start : start + GROUP])) for start in starts]


def dot_full(
    activations: Sequence[Number],
    weights: Sequence[int],
    bits: int,
    start: Number = 0,
    table_of: Table = full_table,
) -> Number:
    """Return start + the dot product: b look-ups for each four activations.

    The length is a multiple of GROUP; weights are in two's complement of `bits` bits.
    """
    total = start
    for index, table in enumerate(tables_of(activations, table_of)):
        four = weights[GROUP * index : GROUP * (index + 1)]
        for place in range(bits):
            entry = looked_up(table, sum(bit(w, place) << k for k, w in enumerate(four)))
            # A pass of the array is one bit of the weights; the highest is their sign.
            entry = noted(entry, "pass", int(entry)) << place
            total = total - entry if place == bits - 1 else total + entry
    return total
