"""Units that multiply in or under a memory: any processing element, fed by columns of a bank.

A unit stands at each bank that multiplies at once. A column that was read holds `values` weights,
cut into micro-tiles of the element; `lanes` elements take one micro-tile each, of outputs of their
own, and all of them the same inputs (as the lanes of Samsung's HBM-PIM do); further micro-tiles of
the column are further inputs of the same outputs. More elements than a column has micro-tiles
stand in `rows`, each with vectors of its own. A column stays for all vectors whose inputs the
unit's buffer holds (grouped queries, a batch) and is not read again for them.

Scales and zero points lie in columns of their own. How long a column takes is in `pim_unit_fit`,
what a unit costs in `pim_unit_cost`.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, isfinite
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.config import Bytes, Hertz, Part, Watts, by_name, load_part
from simulator.cost import Constant, Technology, load_technology
from simulator.cost.profile import Source
from simulator.errors import InputError
from simulator.formats import Format, get
from simulator.hardware.matrix import PE_FOLDER, Element, ProcessingElement, pair_formats

PIM_UNIT_FOLDER = "hw_configs/parts/pim_unit"
#: As many elements as keep up with one column a cadence for one vector.
MATCHED: Literal["matched"] = "matched"

PositiveInt = Annotated[int, Field(ge=1)]


def _elements(given: object) -> object:
    if given == MATCHED or (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
        return given
    raise ValueError(f"must be >= 1 or '{MATCHED}', got {given!r}")


class Clock(Part):
    """Clock of logic in a process, in Hz."""

    hz: Hertz = Field(alias="frequency")
    source: Source


class Buffer(Part):
    """Inputs that one unit holds, in bytes, of all its vectors."""

    capacity_bytes: Bytes = Field(alias="capacity")
    source: Source


class PowerCap(Part):
    """Most power, in W, of all banks of a stack that multiply at once, units and reads."""

    stack_w: Watts = Field(alias="stack")
    source: Source


if TYPE_CHECKING:
    Gates: TypeAlias = Technology
else:
    #: A technology written out, or the name or file of one; it is loaded.
    Gates = by_name(Technology, load_technology)


class PimUnit(Part):
    """A unit at one bank: its elements, clock, buffer, and what its process makes of gates.

    elements: a number, or "matched". area_factor, energy_factor: on the gates of `technology`.
    vectors_held: vectors that a column is multiplied with once it was read; the unit has inputs and
    sums of them all. power_cap: absent where no source states one.
    """

    name: str
    summary: str
    source: Source
    pe: Element
    elements: Annotated[int | Literal["matched"], BeforeValidator(_elements)]
    clock: Clock
    technology: Gates
    area_factor: Constant
    energy_factor: Constant
    vectors_held: PositiveInt
    buffer: Buffer
    power_cap: PowerCap | None = None


def load_pim_unit(name_or_path: str, pe: str | None = None) -> PimUnit:
    """Load a unit by name from `hw_configs/parts/pim_unit`, or from a YAML file.

    pe: the name or file of an element in place of its own. Raises InputError with every problem of
    the files.
    """
    unit = load_part(PimUnit, name_or_path, PIM_UNIT_FOLDER, noun="PIM unit")
    if pe is None:
        return unit
    element = load_part(ProcessingElement, pe, PE_FOLDER, noun="PE")
    return unit.model_copy(update={"pe": element})


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a memory gives the units of a stack: a column of each of `banks` banks at once.

    column_bytes: of one bank. cadence_ticks: least ticks of `tick_ps` from one column of a bank to
    the next. banks: of a stack that multiply at once. read_pj: energy of reading one column to its
    unit. Raises InputError with all that is out of range.
    """

    column_bytes: int
    tick_ps: int
    cadence_ticks: int
    banks: int = 1
    read_pj: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is not positive, all of it in one error."""
        problems = [
            f"{name} must be >= 1, got {getattr(self, name)}"
            for name in ("column_bytes", "tick_ps", "cadence_ticks", "banks")
            if getattr(self, name) < 1
        ]
        if not (isfinite(self.read_pj) and self.read_pj >= 0):
            problems.append(f"read_pj must be finite and >= 0, got {self.read_pj:g}")
        if problems:
            raise InputError(problems)

    @property
    def longest_tick_half_ps(self) -> int:
        """Half picoseconds that a tick has at most: it is rounded to whole picoseconds.

        Two cycles of 650 MHz are four of 1300 MHz, though not of 769 ps.
        """
        return 2 * self.tick_ps + 1


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a column is cut for a unit.

    pair: the operands that are multiplied. stored: the weights as they lie in the memory. values:
    weights of a column, in whole micro-tiles. unused_bits: what of a column holds no weight.
    micro_tiles: of a column. lanes, rows: elements that share inputs, and how many such sets there
    are. inputs, outputs: of a column, in full steps of all lanes. input_bits: of one input of one
    vector as it enters the unit (of its tables, where its producer makes them). scale_columns:
    columns of scales and zero points for one of weights, exactly, in full groups.
    """

    pair: str
    stored: Format
    values: int
    unused_bits: int
    micro_tiles: int
    lanes: int
    rows: int
    inputs: int
    outputs: int
    input_bits: Fraction
    scale_columns: Fraction

    @property
    def elements(self) -> int:
        """Elements of the unit."""
        return self.lanes * self.rows

    @property
    def steps(self) -> int:
        """Micro-tiles of a column that a lane takes, one after another."""
        return -(-self.micro_tiles // self.lanes)


def tiles_of(unit: PimUnit, columns: Columns, weights: Format, activations: Format) -> Tiles:
    """Return how a column is cut for a unit; weights that are widened lie widened in the memory.

    Errors: InputError for operands that the element does not multiply, a column that does not feed
    it, elements that a column does not feed, a buffer too small for the inputs of a column.
    """
    pe = unit.pe
    pair = pe.operand_pair(weights, activations)
    plain, entering = (get(name) for name in pair_formats(pair))
    _, n, k = pe.micro_tile
    bits = 8 * columns.column_bytes
    fitting = int(bits / plain.value_bits)
    micro_tiles = fitting // (n * k)
    if not micro_tiles:
        raise InputError(
            f"PE '{pe.name}' takes {n * k} weights of {plain.base} at a time, a column of "
            f"{columns.column_bytes} bytes has {fitting}"
        )
    values = micro_tiles * n * k
    lanes, rows = _placed(unit, columns, pair, micro_tiles)
    inputs = -(-micro_tiles // lanes) * k
    input_bits = pe.table_bits(pair) or entering.value_bits
    _check_buffer(unit, inputs * input_bits)
    stored = _stored(weights, plain)
    return Tiles(
        pair=pair,
        stored=stored,
        values=values,
        unused_bits=bits - ceil(values * plain.value_bits),
        micro_tiles=micro_tiles,
        lanes=lanes,
        rows=rows,
        inputs=inputs,
        outputs=lanes * n,
        input_bits=input_bits,
        scale_columns=values * (stored.bits_per_value - stored.value_bits) / bits,
    )


def uses(pe: ProcessingElement, vectors: int) -> int:
    """Return how often a micro-tile of weights is used for so many vectors."""
    return -(-vectors // pe.micro_tile[0])


def _placed(unit: PimUnit, columns: Columns, pair: str, micro_tiles: int) -> tuple[int, int]:
    """Return lanes and rows of a unit's elements."""
    if unit.elements == MATCHED:
        return _matched(unit, columns, pair, micro_tiles), 1
    most = micro_tiles * uses(unit.pe, unit.vectors_held)
    if unit.elements > most:
        raise InputError(f"PIM unit '{unit.name}': {unit.elements} elements, a column feeds {most}")
    if unit.elements > micro_tiles and unit.elements % micro_tiles:
        raise InputError(
            f"PIM unit '{unit.name}': {unit.elements} elements are no multiple of the "
            f"{micro_tiles} that a column feeds for one vector"
        )
    lanes = min(unit.elements, micro_tiles)
    return lanes, unit.elements // lanes


def _matched(unit: PimUnit, columns: Columns, pair: str, micro_tiles: int) -> int:
    """Return the fewest elements that keep up with columns, or as many as a column feeds."""
    cadence = columns.cadence_ticks * columns.longest_tick_half_ps
    cycles = cadence * unit.clock.hz // (2 * PICOSECONDS_PER_SECOND)
    turns = cycles // unit.pe.passes(pair)
    return -(-micro_tiles // turns) if turns else micro_tiles


def _check_buffer(unit: PimUnit, vector_bits: Fraction) -> None:
    """Refuse a buffer that does not hold what all vectors bring to one column."""
    needed = ceil(unit.vectors_held * vector_bits / 8)
    if needed > unit.buffer.capacity_bytes:
        raise InputError(
            f"PIM unit '{unit.name}': inputs of {unit.vectors_held} vectors for a column take "
            f"{needed} bytes, the buffer has {unit.buffer.capacity_bytes}"
        )


def _stored(weights: Format, plain: Format) -> Format:
    """Return weights as they lie in the memory: widening applies zero points, to floats scales."""
    if weights.base == plain.base:
        return weights
    if plain.kind == "float":
        return plain
    return replace(
        plain,
        granularity=weights.granularity,
        group=weights.group,
        scale_bits=weights.scale_bits,
        outer=weights.outer,
        outer_bits=weights.outer_bits,
    )
