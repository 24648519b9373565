"""A unit on the columns of a memory: how often it takes one, what that costs, what bounds it.

A column is multiplied at the earliest when the memory has the next one, when the unit is through
with it, and when all banks of a stack stay within a cap of their power: the latest counts.

Left out: row openings, refresh and background in the cap; columns side by side in one unit, so that
passes of a bit-serial element are never hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Literal, TypeAlias

from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.matrix import ProcessingElement
from simulator.hardware.pim_unit import Columns, PimUnit, Tiles, tiles_of, uses
from simulator.hardware.pim_unit_cost import Range, areas_mm2, energies_pj, scalers, total

Limit: TypeAlias = Literal["column", "unit", "power"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A unit on the columns of a memory, for `vectors` vectors.

    cycles: of the unit, for a column. cadence_ticks: from one column to the next; bound_by: what
    sets it. scalers: multiply-adds for scales of groups. areas_mm2: of one bank, by part.
    energies_pj: of one column of one bank, by part, its read not included.
    """

    columns: Columns
    tiles: Tiles
    vectors: int
    cycles: int
    cadence_ticks: int
    bound_by: Limit
    scalers: int
    areas_mm2: Mapping[str, Range]
    energies_pj: Mapping[str, Range]

    @property
    def area_mm2(self) -> Range:
        """Area of the unit of one bank."""
        return total(self.areas_mm2)

    @property
    def unit_pj(self) -> Range:
        """Energy of the unit of one bank for a column."""
        return total(self.energies_pj)

    @property
    def cadence_ps(self) -> int:
        """Time from one column to the next."""
        return self.cadence_ticks * self.columns.tick_ps

    @property
    def power_w(self) -> Range:
        """Power of the unit of one bank at the cadence, its reads not included."""
        return Range(*(pj / self.cadence_ps for pj in self.unit_pj))

    @property
    def stack_power_w(self) -> Range:
        """Power of all units of a stack and of the reads that feed them."""
        banks, read_pj = self.columns.banks, self.columns.read_pj
        return Range(*(banks * (read_pj + pj) / self.cadence_ps for pj in self.unit_pj))

    @property
    def macs(self) -> int:
        """Useful MACs of a column."""
        return self.tiles.values * self.vectors


@lru_cache(maxsize=4096)
def fit(
    unit: PimUnit, columns: Columns, weights: Format, activations: Format, vectors: int = 1
) -> Fit:
    """Return what a unit does with columns of weights and `vectors` vectors; remembered.

    Errors: InputError for more vectors than the unit holds, and as `pim_unit.tiles_of`.
    """
    if not 1 <= vectors <= unit.vectors_held:
        raise InputError(
            f"PIM unit '{unit.name}' holds 1 to {unit.vectors_held} vectors, got {vectors}"
        )
    tiles = tiles_of(unit, columns, weights, activations)
    cycles = unit_cycles(unit.pe, tiles, vectors)
    energies = energies_pj(unit, tiles, vectors)
    cadence, bound_by = cadence_of(unit, columns, cycles, total(energies).nominal)
    return Fit(
        columns=columns,
        tiles=tiles,
        vectors=vectors,
        cycles=cycles,
        cadence_ticks=cadence,
        bound_by=bound_by,
        scalers=scalers(unit.pe, tiles),
        areas_mm2=areas_mm2(unit, tiles),
        energies_pj=energies,
    )


def unit_cycles(pe: ProcessingElement, tiles: Tiles, vectors: int) -> int:
    """Return the cycles of a unit for a column and so many vectors.

    A micro-tile takes its passes or, if they are more, its share of those in which the element
    multiplies a group's sum by a scale.
    """
    passes = Fraction(pe.passes(tiles.pair))
    if tiles.stored.group is not None:
        chunks = -(-tiles.stored.group // pe.micro_tile[2])
        passes = max(passes, Fraction(pe.scale_passes(tiles.pair), chunks))
    turns = -(-uses(pe, vectors) // tiles.rows)
    return ceil(tiles.steps * turns * passes)


def cadence_of(unit: PimUnit, columns: Columns, cycles: int, unit_pj: float) -> tuple[int, Limit]:
    """Return the ticks from one column to the next, and what sets them.

    The memory where nothing is slower. unit_pj: of one unit for a column, nominal.
    """
    ticks: int = columns.cadence_ticks
    bound_by: Limit = "column"
    busy = -(-cycles * 2 * PICOSECONDS_PER_SECOND // (unit.clock.hz * columns.longest_tick_half_ps))
    if busy > ticks:
        ticks, bound_by = busy, "unit"
    if unit.power_cap is not None:
        stack_pj = columns.banks * (columns.read_pj + unit_pj)
        # A watt is a picojoule a picosecond.
        capped = ceil(stack_pj / (unit.power_cap.stack_w * columns.tick_ps))
        if capped > ticks:
            ticks, bound_by = capped, "power"
    return ticks, bound_by
