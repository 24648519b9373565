"""Designs that are compared: one frame, in whose array each processing element takes its turn.

A frame is a device; each element takes the place of its array. By `iso` "area" as many elements as
fit on the area of the frame's own array, by "elements" as many as the frame has, by "chip" as many
as fit on the frame's whole chip, beside fewer or more vector lanes. An element that cannot do
attention for all of its pairs (`does_attention`) gets a unit of the frame's elements beside it:
that unit takes `BESIDE` of the array's area. What stands at the array's edges, once a row (tables,
alignment, decoders) or once a column (decoders of weights), takes area too.

An array takes as many rows of activations as the frame's (an element of several has fewer rows),
doubled as long as its edges would starve the elements: more rows of fewer columns take fewer
weights a cycle, and more activations.

Elements and edges are priced by gates in one technology (`hardware.pricing`), or by a user's own
synthesis; memories, vector unit and wires by the frame's energy profile; leakage by the array's own
area. A unit that waits burns the profile's fraction of its active power, or `waiting` of it: papers
that charge nothing in cycles bound by memory have 0.

Left out: clocks that differ by element; other buffers by "chip"; what `hardware.area.LEFT_OUT` has.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Literal, NamedTuple

from simulator.api import load_device
from simulator.config import load_part, names, replace, resolved
from simulator.cost import (
    Bound,
    DramEnergy,
    EnergyProfile,
    FractionConstant,
    Synthesis,
    Technology,
    load_profile,
    load_technology,
)
from simulator.errors import InfeasibleError, InputError
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.area import Area, area_of, edges_um2
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement, SystolicArray, pair_formats
from simulator.hardware.memory_pricing import priced_by_dram
from simulator.hardware.priced import priced_for, with_elements
from simulator.hardware.pricing import element_area_um2

FRAME, TECHNOLOGY = "edge_fp16", "scaled_28nm"
#: The part of an array's area that a unit for FP16 products gets where an element cannot do them.
BESIDE = 0.25
#: How often the rows of an array are doubled at most.
DOUBLINGS = 4
#: How an element's operands have their scales.
WEIGHTS = {
    **{f"int{bits}": f"int{bits}-g128" for bits in range(2, 8)},
    **{
        "int1": "int1-g128-asym",
        "int8": "int8-channel",
        "ternary": "ternary-tensor",
        "fp4_e2m1fn": "fp4_e2m1fn-g128",
    },
    **{"flint4": "flint4-g128", "pot4": "pot4-g128", "olive_int4": "olive_int4-g128"},
}
ACTIVATIONS = {
    **{f"int{bits}": f"int{bits}-token" for bits in (2, 4, 8)},
    "flint4": "flint4-token",
    **{"pot4": "pot4-token", "olive_int4": "olive_int4-token"},
}

Iso = Literal["area", "elements", "chip"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all designs of a comparison have in common.

    frame_area: the frame's own element has the area that is counted, or that at an end of how
    differently synthesis may treat two elements (`between_elements` of the technology), while
    others have what is counted. waiting: part of its active power that a unit burns while it waits,
    0 to 1; None: the profile's fractions. dram: in place of the profile's.
    """

    frame: Device = field(default_factory=lambda: load_device(FRAME))
    technology: Technology = field(default_factory=lambda: load_technology(TECHNOLOGY))
    iso: Iso = "area"
    rung: str = "tile"
    frame_area: Bound = "nominal"
    waiting: float | None = None
    synthesis: Synthesis | None = None
    dram: DramEnergy | None = None

    def __post_init__(self) -> None:
        """Refuse a part of the power outside 0 to 1, and a frame whose array is not systolic."""
        if self.waiting is not None and not 0 <= self.waiting <= 1:
            raise InputError(f"waiting must be between 0 and 1, got {self.waiting:g}")
        if not isinstance(self.frame.matrix, SystolicArray):
            raise InputError(f"{self.frame.name}: elements are compared in a systolic array")

    @property
    def array(self) -> SystolicArray:
        """The frame's own array."""
        assert isinstance(self.frame.matrix, SystolicArray)
        return self.frame.matrix

    @property
    def larger(self) -> float:
        """The factor on the area of the frame's own element."""
        if self.synthesis is not None and self.synthesis.covers(self.array.pe.name):
            return 1.0
        return self.technology.overheads.between_elements.at(self.frame_area)

    @property
    def factors(self) -> dict[str, float]:
        """Factors on the area of elements, by name."""
        return {self.array.pe.name: self.larger}

    def element_um2(self, pe: ProcessingElement) -> float:
        """Return the area of an element; of the frame's own with its factor."""
        area = element_area_um2(pe, self.technology, "nominal", self.synthesis)
        return area * self.larger if pe == self.array.pe else area

    @property
    def budget_um2(self) -> float:
        """The area of the frame's own array."""
        return self.array.rows * self.array.columns * self.element_um2(self.array.pe)


class Design(NamedTuple):
    """A device, the elements of its first matrix unit, and the area of all its matrix units."""

    device: Device
    elements: int
    array_mm2: float


def load_element(name_or_path: str) -> ProcessingElement:
    """Load a processing element by name, or from a YAML file; InputError lists every problem."""
    return load_part(ProcessingElement, name_or_path, PE_FOLDER, noun="PE")


def element_names() -> list[str]:
    """Return the names of all elements that come with the package."""
    return names(PE_FOLDER)


def formats_of(pe: ProcessingElement, pair: str) -> tuple[str, str, str]:
    """Return the formats of weights, activations and KV cache with which a pair is compared."""
    weights, activations = pair_formats(pair)
    w, x = WEIGHTS.get(weights, weights), ACTIVATIONS.get(activations, activations)
    if pe.scale_passes(pair) and weights.startswith("int"):
        # The element multiplies by an 8-bit scale of a group.
        w = f"{weights}-g128-s8"
    if pe.kernels.get(pair) == "two_level" and weights == "int4":
        w = "qserve"
    return w, x, x if x in ("int8-token", "bf16") else "fp16"


def attention_pair(pe: ProcessingElement, pair: str) -> str:
    """Return what attention multiplies beside products of a pair, where the element can do it."""
    kv = get(formats_of(pe, pair)[2]).base
    return f"{kv}x{kv}"


def does_attention(pe: ProcessingElement, pair: str) -> bool:
    """Tell whether an element multiplies keys and values too.

    Not where what makes the activation makes tables: nothing makes them of queries.
    """
    return attention_pair(pe, pair) in pe.formats and pe.shared_at == "edge"


def design(pe: ProcessingElement, terms: Terms, lanes: int | None = None) -> Design:
    """Return the frame with another element in its array.

    lanes: of the vector unit, the frame's by default; the array has the area of those that are left
    away.

    Errors: InfeasibleError where not one column fits.
    """
    array, frame = terms.array, terms.frame
    budget = terms.budget_um2
    changes: dict[str, object] = {}
    if lanes is not None:
        lane = load_profile(frame.energy).areas.vector_lane_mm2.nominal
        budget += 1e6 * (frame.vector.lanes - lanes) * lane
        changes["vector.lanes"] = lanes
    alone = all(does_attention(pe, pair) for pair in pe.formats)
    beside = 0 if alone else max(1, round(BESIDE * array.columns))
    aside = beside * array.rows * terms.element_um2(array.pe)
    rows, columns = _shape(pe, terms, budget - aside)
    changes |= {"matrix.pe": resolved(pe), "matrix.rows": rows, "matrix.columns": columns}
    changes["matrix.weight_load_rows_per_cycle"] = rows
    if beside:
        changes["beside"] = {**resolved(array), "columns": beside}
    row_um2, column_um2 = edges_um2(pe, terms.technology)
    used = rows * columns * terms.element_um2(pe) + rows * row_um2 + columns * column_um2 + aside
    return Design(replace(frame, changes), rows * columns, used / 1e6)


def _shape(pe: ProcessingElement, terms: Terms, room_um2: float) -> tuple[int, int]:
    """Return rows and columns of an array: of the shapes that starve least, that of fewest rows."""
    shapes, least = [], max(1, terms.array.rows // pe.micro_tile[0])
    for doubled in range(DOUBLINGS + 1):
        rows = least * 2**doubled
        columns = _columns(pe, terms, room_um2, rows)
        if columns >= 1:
            shapes.append((_starved(pe, terms.array, rows, columns), rows, columns))
    if not shapes:
        row_um2, column_um2 = edges_um2(pe, terms.technology)
        needed, left = least * terms.element_um2(pe) + column_um2, room_um2 - least * row_um2
        raise InfeasibleError(
            *("array area", needed, left, "um2"),
            f"PE '{pe.name}': a column takes {needed:,.0f} um2, {left:,.0f} are left",
        )
    return min(shapes)[1:]


def _columns(pe: ProcessingElement, terms: Terms, room_um2: float, rows: int) -> int:
    if terms.iso == "elements":
        return max(1, terms.array.rows * terms.array.columns // rows)
    row_um2, column_um2 = edges_um2(pe, terms.technology)
    return int((room_um2 - rows * row_um2) / (rows * terms.element_um2(pe) + column_um2))


def _starved(pe: ProcessingElement, array: SystolicArray, rows: int, columns: int) -> float:
    """Return the bits that a full array wants over those that its edges take, at least 1."""
    m, n, k = pe.micro_tile
    worst = 1.0
    for pair in pe.formats:
        weight, activation = (get(name).value_bits for name in pair_formats(pair))
        activation = pe.table_bits(pair) or activation
        wanted = (rows * m * k * ceil(activation), columns * n * k * ceil(weight))
        taken = (array.activation_edge_bytes, array.weight_edge_bytes)
        for bits, edge in zip(wanted, taken, strict=True):
            if edge is not None:
                worst = max(worst, bits / (8 * edge * pe.passes(pair)))
    return worst


def areas_of(made: Design, terms: Terms) -> Area:
    """Return where the silicon of a design is."""
    areas = priced_for(load_profile(made.device.energy), made.device).areas
    return area_of(made.device, areas, terms.technology, terms.factors, terms.synthesis)


def priced(made: Design, terms: Terms) -> EnergyProfile:
    """Return the frame's energy profile with a design's elements and edges, and their leakage."""
    profile = profile_of(made.device, terms)
    given = made.device, terms.technology, terms.synthesis, terms.factors
    return with_elements(profile, *given)


def profile_of(device: Device, terms: Terms) -> EnergyProfile:
    """Return a device's energy profile on the terms of a comparison: what waiting and DRAM cost."""
    profile = load_profile(device.energy)
    if terms.waiting is not None:
        part = FractionConstant(nominal=terms.waiting, source="assumed: as asked for")
        update = {"stalled_fraction": part, "idle_fraction": part}
        profile = profile.model_copy(update=update)
    return profile if terms.dram is None else priced_by_dram(profile, device, terms.dram)
