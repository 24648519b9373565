"""LUT arrays, and the tensor cores that they are compared with, as cells.

An array of M x N outputs holds a table for each of M rows and K activations, and K weights of each
column; every cycle all outputs look up one bit of their weights (`numerics.lut`, the released RTL).
Additions of a table are counted by running its specification on counting operands. Left out: wires
and buffers that take a table to N columns, control.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from simulator.cost import FLOATS, Cells, Float, cells_of
from simulator.cost.gates import adder, float_adder, mux, register, stages, xor_row
from simulator.numerics.lut import GROUP, half_table
from simulator.numerics.mac_tree import dot_tree
from simulator.numerics.pre_aligned import dot_integers
from simulator.numerics.word import Number, Tally, bit

SIGN = Cells(xor2=1)
SUM_BITS = 32
#: (M, N, K) of the paper, and one-bit MACs a cycle of all shapes that are compared.
TILE = (2, 64, 4)
MACS = prod(TILE)


@dataclass(frozen=True)
class Entry:
    """A table's entries: integers of so many bits, or floats with the format of their sum."""

    bits: int
    float_sum: Float | None = None

    @property
    def sum_bits(self) -> int:
        """Bits of a sum: of an integer 32."""
        return SUM_BITS if self.float_sum is None else sum(self.float_sum)

    def accumulate(self) -> Cells:
        """Return what adds or subtracts an entry: a sign bit, or an XOR a bit and a carry."""
        if self.float_sum is None:
            return xor_row(self.bits) + adder(SUM_BITS)
        return SIGN + float_adder(self.float_sum)


def entry_of(activation: str, k: int) -> Entry:
    """Return the entries of a table of k activations; sums of integers are log2 k bits wider."""
    match activation:
        case "int8" | "int16":
            return Entry(int(activation[3:]) + stages(k))
        case "fp8":
            return Entry(8, FLOATS["fp16"])
        case "fp16":
            return Entry(16, FLOATS["fp16"])
        case _:
            raise ValueError(activation)


def table_bits(tile: tuple[int, int, int], entry: Entry) -> int:
    """Return the size of an array's half tables: M x 2^(K-1) entries."""
    m, _, k = tile
    return m * (1 << k - 1) * entry.bits


def array(tile: tuple[int, int, int], weight_bits: int, entry: Entry) -> Cells:
    """Return an array with half tables that are computed elsewhere."""
    m, n, k = tile
    output = mux(1 << k - 1, entry.bits) + entry.accumulate() + register(entry.sum_bits)
    return m * n * output + register(table_bits(tile, entry) + n * k * weight_bits)


def full_table(activations: list[Number]) -> list[Number]:
    """Return the sums of all subsets, as a conventional table has them; weights are 0 or 1."""
    entries: list[Number] = []
    for address in range(1 << len(activations)):
        chosen = [value for place, value in enumerate(activations) if bit(address, place)]
        total: Number = 0
        if chosen:
            total, *rest = chosen
            for value in rest:
                total = total + value
        entries.append(total)
    return entries


def build(activation_bits: int, *, half: bool) -> Cells:
    """Return the adders of one table of four integers, each addition on its own."""
    tally = Tally()
    four: list[Number] = [tally.word(0, activation_bits) for _ in range(GROUP)]
    (half_table if half else full_table)(four)
    return cells_of(tally.operations())


def table_additions(kind: str = "half") -> int:
    """Return the additions of one table of four activations."""
    tally = Tally()
    four: list[Number] = [tally.word(0, 8) for _ in range(GROUP)]
    (half_table if kind == "half" else full_table)(four)
    return tally.counts["add"]


def ablation(weight_bits: int = 2, activation_bits: int = 8) -> dict[str, Cells]:
    """Return UNPU's array (bit-serial, full tables built inside), then with one change after another.

    All have the shape of the paper's tile. Planes of two's complement subtract the last one, so a
    sum takes a sign in all of them. Reinterpretation: half the table, and the address of a negative
    entry is complemented, an XOR a bit; offline: it is so beforehand; fused: tables are built
    elsewhere.
    """
    m, n, k = TILE
    entry = Entry(activation_bits + stages(k))
    last = array(TILE, weight_bits, entry)
    built = last + m * build(activation_bits, half=True)
    more = m * n * (mux(1 << k, entry.bits) + -1 * mux(1 << k - 1, entry.bits))
    return {}


def fp16_core(macs: int) -> Cells:
    """FP16 products, FP32 sums, four a dot product; registers of sums and operands."""
    tally = Tally()
    dot_tree([tally.real(1.0)] * GROUP, [1.0] * GROUP, GROUP, ("fp16", "fp32", "fp32"))
    dot = cells_of(tally.operations()) + register(SUM_BITS)
    return macs // GROUP * dot
