"""LUT arrays, and the tensor cores that they are compared with, as cells.

An array of M x N outputs holds a table for each of M rows and K activations, and K weights of each
column; every cycle all outputs look up one bit of their weights (`numerics.lut`, the released RTL).
Additions of a table are counted by running its specification on counting operands. Left out: wires
and buffers that take a table to N columns, control, what is shared beyond an array.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from simulator.cost import FLOATS, Cells, Float, cells_of
from simulator.cost.gates import adder, float_adder, mux, register, stages, xor_row
from simulator.numerics.lut import ENTRIES, GROUP, half_table
from simulator.numerics.lut_full import full_table
from simulator.numerics.mac_tree import dot_tree
from simulator.numerics.pre_aligned import dot_integers
from simulator.numerics.word import Number, Tally

Tile = tuple[int, int, int]
SIGN = Cells(xor2=1)
SUM_BITS = 32
FP16 = FLOATS["fp16"]
#: (M, N, K) of the paper, and the one-bit MACs a cycle of all shapes that are compared.
TILE: Tile = (2, 64, 4)
MACS = prod(TILE)
#: Outputs of a tensor core that share an operand's register. assumed, as in the experiment `gates`.
SHARERS = 8


@dataclass(frozen=True)
class Entry:
    """A table's entries: integers of so many bits, or floats with the format of their sum."""

    bits: int
    float_sum: Float | None = None

    @property
    def sum_bits(self) -> int:
        """Bits of a sum."""
        return SUM_BITS if self.float_sum is None else sum(self.float_sum)

    def accumulator(self) -> Cells:
        """Return what adds or subtracts an entry: its sign, or an XOR a bit and a carry."""
        if self.float_sum is None:
            return xor_row(self.bits) + adder(SUM_BITS)
        return SIGN + float_adder(self.float_sum)


def entry_of(activation: str, k: int) -> Entry:
    """Return the entries of a table of k activations; sums of integers are log2 k bits wider."""
    if activation in FLOATS:
        return Entry(sum(FLOATS[activation]), FP16)
    return Entry(int(activation.removeprefix("int")) + stages(k))


def table_bits(tile: Tile, bits: int) -> int:
    """Return the size of an array's half tables: M x 2^(K-1) entries of so many bits."""
    m, _, k = tile
    return m * (1 << k - 1) * bits


def shapes() -> list[Tile]:
    """Return all shapes of powers of two with `MACS` one-bit MACs a cycle and K up to 8."""
    powers = [1 << place for place in range(MACS.bit_length())]
    return [(m, MACS // (m * k), k) for k in powers if k <= 8 for m in powers if m * k <= MACS]


def array(
    tile: Tile, weight_bits: int, entry: Entry, *, half: bool = True, complement: bool = False
) -> Cells:
    """Return an array whose tables are computed elsewhere.

    half: tables of half the sums. complement: the addresses of negative ones are inverted here, an
    XOR a bit, not beforehand.
    """
    m, n, k = tile
    entries = 1 << k - half
    output = mux(entries, entry.bits) + entry.accumulator() + register(entry.sum_bits)
    if complement:
        output += xor_row(k - 1)
    return m * n * output + register(m * entries * entry.bits + n * k * weight_bits)


def table_adders(bits: int, *, half: bool) -> Cells:
    """Return the adders of one table of four integers, each addition with its own."""
    tally = Tally()
    four: list[Number] = [tally.word(0, bits) for _ in range(GROUP)]
    (half_table if half else full_table)(four)
    return cells_of(tally.operations())


def fp16_table_additions() -> int:
    """Return the additions of one half table of four floats; a change of sign is a wire."""
    tally = Tally()
    four: list[Any] = [tally.real(np.float16(1)) for _ in range(GROUP)]
    half_table(four)
    return tally.counts["add fp16"]


def ablation(weight_bits: int = 2, activation_bits: int = 8) -> dict[str, Cells]:
    """Return UNPU's array in the paper's shape, then with one change after another.

    UNPU: full tables, built inside. Reinterpretation: half of it, addresses complemented inside;
    then complemented beforehand; then tables are built elsewhere.
    """
    m, entry = TILE[0], entry_of(f"int{activation_bits}", GROUP)
    built = {half: m * table_adders(activation_bits, half=half) for half in (False, True)}
    return {
        "unpu": array(TILE, weight_bits, entry, half=False) + built[False],
        "reinterpreted": array(TILE, weight_bits, entry, complement=True) + built[True],
        "offline": array(TILE, weight_bits, entry) + built[True],
        "fused": array(TILE, weight_bits, entry),
    }


def fp16_dot() -> Cells:
    """Four FP16 products and FP32 sums, of `SHARERS` outputs, with their operands' registers."""
    return SHARERS * _tree("fp32") + register(2 * GROUP * 16 + SHARERS * SUM_BITS)


def int8_dot() -> Cells:
    """Four INT8 products and a sum of 32 bits, likewise."""
    tally = Tally()
    left, right = ([tally.word(0, 8) for _ in range(GROUP)] for _ in range(2))
    dot_integers(left, right)
    one = cells_of(tally.operations()) + adder(SUM_BITS)
    return SHARERS * one + register(2 * GROUP * 8 + SHARERS * SUM_BITS)


def dp4_mac() -> Cells:
    """DP4 of FP16 by multipliers, all in FP16, without registers."""
    return _tree("fp16")


def dp4_lut() -> Cells:
    """DP4 of one-bit weights by a look-up in a table that comes from outside."""
    return mux(ENTRIES, 16) + SIGN + float_adder(FP16)


def _tree(sums: str) -> Cells:
    tally = Tally()
    dot_tree([tally.real(1.0)] * GROUP, [1.0] * GROUP, GROUP, ("fp16", sums, sums))
    return cells_of(tally.operations())
