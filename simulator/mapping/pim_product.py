"""How a matrix times vectors is done in a memory that computes: its unit's fit and its layout.

The buffer and the sums of the unit, one at each bank, stand for those of the part. Sums are as wide
as accumulators. More vectors than a unit holds run the program again, at the pace of a full turn.
"""

from collections import Counter
from dataclasses import dataclass, replace
from math import ceil

from simulator.dram.pim.grouped_energy import command_energies_j
from simulator.dram.pim.grouped_part import GroupedPim
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.equations import PimTicks
from simulator.hardware.pim_unit import Columns, PimUnit, Tiles
from simulator.hardware.pim_unit_fit import Fit, fit
from simulator.mapping.pim_layout import Geometry, Layout, Shape, Split, placed
from simulator.mapping.pim_nest import HELD, Held
from simulator.mapping.pim_program import Counts
from simulator.mapping.pim_search import Lanes, Point, evaluate, search
from simulator.mapping.pim_time import ticks_of

PJ_PER_J = 10**12
#: Sums that whoever gets the results adds in a tick: a vector unit of 128 lanes (assumed).
SUMS_PER_TICK = 128


@dataclass(frozen=True, kw_only=True)
class Product:
    """Matrices of `outputs` x `inputs` weights, each times `vectors` vectors of activations.

    Raises InputError for sizes below 1.
    """

    outputs: int
    inputs: int
    weights: Format
    activations: Format
    vectors: int = 1
    matrices: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes below 1, all in one error."""
        sizes = ("outputs", "inputs", "vectors", "matrices")
        problems = [
            f"{name} must be >= 1, got {getattr(self, name)}"
            for name in sizes
            if getattr(self, name) < 1
        ]
        if problems:
            raise InputError(problems)

    @property
    def macs(self) -> int:
        """Multiply-accumulates that are wanted."""
        return self.outputs * self.inputs * self.vectors * self.matrices


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a product is done. fit: of the unit, on a column and a full turn of vectors."""

    product: Product
    fit: Fit
    point: Point


def columns_of(part: GroupedPim) -> Columns:
    """Return what a part gives the units of a stack.

    The energy of a read has its share of the opening of a row of which all columns are read.
    """
    energies = command_energies_j(part)
    opened_j = energies.get("activate", 0.0) / part.memory.bursts_per_row
    read_j = energies.get("multiply", 0.0) / part.banks_at_once + opened_j
    return Columns(
        column_bytes=part.memory.access_bytes,
        tick_ps=part.memory.tick_ps,
        cadence_ticks=ticks_of(part).multiply,
        banks=part.banks_at_once * part.channels // part.stacks,
        read_pj=read_j * PJ_PER_J,
    )


def plan(
    part: GroupedPim,
    unit: PimUnit,
    product: Product,
    *,
    layout: Layout | None = None,
    held: Held | None = None,
    channels: int | None = None,
) -> Plan:
    """Return how a product is done.

    layout: with lanes as the unit has them in place of its own; by default the fastest that is
    found. held: whether sums or inputs stay in the units, by default what is faster. channels: of
    the part that are used, all by default.

    Raises InputError for formats that the unit does not multiply, a column that does not feed it,
    and a matrix that does not fit the banks.
    """
    if part.energy is None:
        # Without the energy of reads no cap says what it allows.
        unit = unit.model_copy(update={"power_cap": None})
    turn = min(product.vectors, unit.vectors_held)
    fitted = fit(unit, columns_of(part), product.weights, product.activations, turn)
    point = _point(part, unit, product, fitted, layout, held, channels)
    return Plan(product=product, fit=fitted, point=point)


def geometry_of(part: GroupedPim, unit: PimUnit, tiles: Tiles) -> Geometry:
    """Return what layouts need of a part with a unit: its buffer, its sums, and how wide they are.

    Lanes that share an output are added up in the unit.
    """
    result_bytes = ceil(unit.pe.accumulator_bits / 8)
    return replace(
        Geometry.of(part, result_bytes=result_bytes, input_bytes=ceil(tiles.input_bits / 8)),
        buffer_bytes=unit.buffer.capacity_bytes,
        buffer_in_banks=True,
        sums_bytes=result_bytes * tiles.outputs * unit.vectors_held,
    )


def with_lanes(layout: Layout, tiles: Tiles) -> Layout:
    """Return a layout whose bursts are cut as a unit cuts them, all else as it was.

    What its lanes took all of, has its rest in rows.
    """
    last = {split.dimension: split.level for split in layout.splits}
    kept = [split for split in layout.splits if split.level != "lane"]
    kept += [Split(level="row", dimension=each) for each in last if last[each] == "lane"]
    lanes = tuple(
        Split(level="lane", dimension=dimension, factor=factor)
        for dimension, factor in _lanes(tiles)
    )
    return layout.model_copy(update={"splits": (*lanes, *kept)})


def _lanes(tiles: Tiles) -> Lanes:
    """Return how the unit cuts a burst, as far as all elements have as many micro-tiles of it."""
    outputs = tiles.outputs * (tiles.micro_tiles // tiles.steps) // tiles.lanes
    return ("inputs", tiles.inputs), ("outputs", outputs)


def _shape(product: Product, tiles: Tiles) -> Shape:
    """Return a product's matrix as it lies in the memory."""
    stored = tiles.stored
    return Shape(
        outputs=product.outputs,
        inputs=product.inputs,
        matrices=product.matrices,
        value_bits=stored.value_bits,
        scale_bits=stored.bits_per_value - stored.value_bits,
    )


def _point(
    part: GroupedPim,
    unit: PimUnit,
    product: Product,
    fitted: Fit,
    layout: Layout | None,
    held: Held | None,
    channels: int | None = None,
) -> Point:
    """Return the layout given, with what is held, or the best of both; on so many channels."""
    tiles = fitted.tiles
    shape, geometry = _shape(product, tiles), geometry_of(part, unit, tiles)
    if channels is not None:
        geometry = replace(geometry, channels=channels)
    turns = {"vectors": product.vectors, "vectors_held": unit.vectors_held}

    def ticks(groups: int) -> PimTicks:
        return ticks_of(part, groups, cadence_ticks=fitted.cadence_ticks)

    if layout is None:
        return search(
            shape,
            geometry,
            ticks,
            **turns,
            sum_ticks=1 / SUMS_PER_TICK,
            lanes=_lanes(tiles),
            held=held,
        ).best
    placement = placed(with_lanes(layout, tiles), shape, geometry)
    points = [
        evaluate(placement, ticks, each, **turns, sum_ticks=1 / SUMS_PER_TICK)
        for each in (HELD if held is None else (held,))
    ]
    return min(points, key=lambda point: point.order)


def units_j(part: GroupedPim, unit: PimUnit, plan: Plan) -> float:
    """Return the joules of all units: of bursts of values, each with the vectors of its turn."""
    product, columns = plan.product, columns_of(part)
    whole, rest = divmod(product.vectors, unit.vectors_held)
    pj = sum(
        many * fit(unit, columns, product.weights, product.activations, size).unit_pj.nominal
        for size, many in ((unit.vectors_held, whole), (rest, 1))
        if size and many
    )
    return pj * plan.point.placement.bursts * part.banks_at_once / PJ_PER_J


def commands_of(part: GroupedPim, counts: Counts) -> Counter[str]:
    """Return the commands of a closed form, by name."""
    return Counter(
        {
            part.command("open"): counts.openings * part.openings,
            part.command("multiply"): counts.multiplies,
            part.command("buffer_write"): counts.writes,
            part.command("result_read"): counts.reads,
        }
    )
