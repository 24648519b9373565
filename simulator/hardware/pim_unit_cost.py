"""What a unit in a memory costs: gates (`hardware.pricing`) times factors for a DRAM's process.

Elements and edges do all their pairs, energy is that of one. Where neither element nor decoder
multiplies by scales of groups, scalers of the unit do: an FP32 multiply-add an output and group,
and one for each sum that has to be taken off besides (a zero point's holds one of them). Buffers
are flip-flops, with a multiplexer for each row of elements. A micro-tile is charged in full, also
where it is short of vectors.

Left out: loads of the buffer; leakage; control.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, prod
from typing import NamedTuple

from simulator.cost import FLOATS, Bound, Cells, Constant, cost_of
from simulator.cost.gates import (
    float_adder,
    float_multiplier,
    float_rounder,
    mux,
    normaliser,
    register,
    stages,
)
from simulator.hardware.area import edges_um2
from simulator.hardware.matrix import ProcessingElement
from simulator.hardware.pim_unit import PimUnit, Tiles, uses
from simulator.hardware.pricing import (
    BOUNDS,
    column_cells,
    element_area_um2,
    held_bits,
    mac_pj,
    row_cells,
)

#: A sum over groups, and the bits of a sum of one.
SUM = FLOATS["fp32"]
SUM_BITS = 32
UM2_PER_MM2 = 1e6


class Range(NamedTuple):
    """A quantity with every constant at the low end of its range, nominal, and at the high end."""

    low: float
    nominal: float
    high: float


def _scale_turns(pe: ProcessingElement, tiles: Tiles) -> Fraction:
    """Return the multiply-adds for a MAC that scalers do, once or more an output and group."""
    form = tiles.stored
    own = pe.decodes_scales(tiles.pair, form) or pe.scale_passes(tiles.pair) > 0
    if form.group is None or own or form.kind in ("block", "binary"):
        return Fraction(0)
    return Fraction(1 + max(int(form.zero_bits > 0), pe.corrections(tiles.pair)), form.group)


def scalers(pe: ProcessingElement, tiles: Tiles) -> int:
    """Return as many scalers as keep up with all elements."""
    macs = Fraction(tiles.elements * prod(pe.micro_tile), pe.passes(tiles.pair))
    return ceil(macs * _scale_turns(pe, tiles))


def _scaler_cells() -> Cells:
    """A sum becomes FP32, is multiplied by an FP16 scale, and added to the sum over groups."""
    converted = normaliser(SUM_BITS, SUM.exponent) + float_rounder(SUM)
    return converted + float_multiplier(SUM, FLOATS["fp16"]) + float_adder(SUM)


def _sum_cells(unit: PimUnit, tiles: Tiles) -> Cells:
    """Return the registers of sums beside those in elements, and what chooses among them.

    Of vectors that take turns and, with scalers, of sums over groups.
    """
    m, n, _ = unit.pe.micro_tile
    turns = -(-uses(unit.pe, unit.vectors_held) // tiles.rows)
    sums = tiles.elements * held_bits(unit.pe, tiles.pair)[1]
    cells = mux(turns, sums) + sums * (turns - 1) * register(1)
    if _scale_turns(unit.pe, tiles):
        cells += register(turns * tiles.elements * m * n * SUM_BITS)
    return cells


def _word_bits(unit: PimUnit, tiles: Tiles) -> int:
    """Return the bits that a row of elements takes from the buffer at a time."""
    m, _, k = unit.pe.micro_tile
    return ceil(m * k * tiles.input_bits)


def _words(unit: PimUnit, tiles: Tiles) -> int:
    """Return the words of the buffer."""
    return max(1, 8 * unit.buffer.capacity_bytes // _word_bits(unit, tiles))


def areas_mm2(unit: PimUnit, tiles: Tiles) -> dict[str, Range]:
    """Return the mm2 of the parts of a unit; elements and edges do all their pairs."""
    buffer = register(8 * unit.buffer.capacity_bytes)
    buffer += tiles.rows * mux(_words(unit, tiles), _word_bits(unit, tiles))
    cells = {
        "sums": _sum_cells(unit, tiles),
        "buffer": buffer,
        "scalers": scalers(unit.pe, tiles) * _scaler_cells(),
    }

    def um2(bound: Bound) -> dict[str, float]:
        row, column = edges_um2(unit.pe, unit.technology, bound)
        element = element_area_um2(unit.pe, unit.technology, bound)
        return {
            "elements": tiles.elements * element,
            "edges": tiles.rows * row + tiles.lanes * column,
            **{part: cost_of(each, unit.technology, bound)[0] for part, each in cells.items()},
        }

    return _ranges(um2, unit.area_factor, 1 / UM2_PER_MM2)


def energies_pj(unit: PimUnit, tiles: Tiles, vectors: int) -> dict[str, Range]:
    """Return the pJ of the parts of a unit for a column and so many vectors.

    Edges work on inputs once a step and use, and on weights once; a read of the buffer is one path
    through its multiplexer.
    """
    pe = unit.pe
    times = uses(pe, vectors)
    macs = tiles.micro_tiles * times * prod(pe.micro_tile)
    reads = times * tiles.steps
    path = Cells(mux2=_word_bits(unit, tiles) * stages(_words(unit, tiles)))
    scalings = float(tiles.values * vectors * _scale_turns(pe, tiles))

    def pj(bound: Bound) -> dict[str, float]:
        inputs, weights, buffer, scaler = (
            cost_of(cells, unit.technology, bound).energy_pj
            for cells in (
                row_cells(pe, tiles.pair),
                column_cells(pe, tiles.pair),
                path,
                _scaler_cells(),
            )
        )
        return {
            "elements": macs * mac_pj(pe, tiles.pair, unit.technology, bound),
            "edges": reads * inputs + tiles.micro_tiles * weights,
            "buffer": reads * buffer,
            "scalers": scalings * scaler,
        }

    return _ranges(pj, unit.energy_factor)


def _ranges(
    of: Callable[[Bound], dict[str, float]], factor: Constant, unit: float = 1.0
) -> dict[str, Range]:
    """Return parts at all three bounds, times a factor of the process at the same."""
    ends = [
        {part: unit * factor.at(bound) * x for part, x in of(bound).items()} for bound in BOUNDS
    ]
    return {part: Range(*(end[part] for end in ends)) for part in ends[0]}


def total(parts: Mapping[str, Range]) -> Range:
    """Return the sum of all parts."""
    return Range(*(sum(ends) for ends in zip(*parts.values(), strict=True)))
