"""Where the silicon of a device is: the parts that are counted, and those that are not.

Elements, their registers and what they share are counted in gates of a technology, placed
(`pricing`); buffers and vector lanes have the areas of the device's energy profile. What has no
area here, and why, is `LEFT_OUT`: it is printed wherever areas are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.cost import Areas, Bound, Synthesis, Technology, cost_of
from simulator.cost.gates import register
from simulator.errors import InputError
from simulator.hardware.device import Device
from simulator.hardware.matrix import AdderTree, ProcessingElement, SystolicArray, Throughput
from simulator.hardware.pricing import (
    column_cells,
    element_area_um2,
    element_cost,
    held_bits,
    row_cells,
)

#: Parts of a chip that no area is counted for, and why.
LEFT_OUT = {
    "dequantisers": "decoders at the edges; else elements or vector lanes apply scales",
    "NoC": "0: no source; a device of one core has none",
    "memory PHY": "0: no source; equal in all designs",
    "control, clock, I/O": "0 but for what the profile has as fixed",
}


@dataclass(frozen=True, kw_only=True)
class Area:
    """Areas in mm2 of the parts of a chip; those of gates hold `placement_factor` already.

    logic: of the elements, without registers; edges: what elements of a row or a column share
    (tables of a LUT core, alignment, decoders); beside: all of the second matrix unit; fixed: what
    the profile gives any chip. Of an element of a user's synthesis registers are in the logic.
    """

    logic: float
    operand_registers: float
    accumulators: float
    edges: float
    beside: float
    buffers: float
    vector_unit: float
    fixed: float
    placement_factor: float

    @property
    def array_mm2(self) -> float:
        """Area of the matrix units: elements, registers, edges, the unit beside."""
        parts = (self.logic, self.operand_registers, self.accumulators, self.edges, self.beside)
        return sum(parts)

    @property
    def chip_mm2(self) -> float:
        """Area of all that is counted."""
        return self.array_mm2 + self.buffers + self.vector_unit + self.fixed


def area_of(
    device: Device,
    areas: Areas,
    technology: Technology,
    larger: Mapping[str, float] | None = None,
    synthesis: Synthesis | None = None,
) -> Area:
    """Return the areas of a device whose matrix units are arrays of elements priced by gates.

    larger: factors on the area of elements, by name. synthesis: elements of a user's own.

    Errors: InputError for a matrix unit that is no array of elements, or an element that gates do
    not price.
    """
    given = device, technology, larger or {}, synthesis
    logic, operands, sums, edges = _array(device.matrix, *given)
    beside = 0.0 if device.beside is None else sum(_array(device.beside, *given))
    memory = device.cores * device.scratchpad.capacity_bytes
    rest = areas.parts_mm2(pes=0, scratchpad_bytes=memory, lanes=device.cores * device.vector.lanes)
    return Area(
        logic=logic,
        operand_registers=operands,
        accumulators=sums,
        edges=edges,
        beside=beside,
        buffers=rest["scratchpad"],
        vector_unit=rest["vector"],
        fixed=rest["rest"],
        placement_factor=technology.overheads.placement_area.nominal,
    )


def edges_um2(
    pe: ProcessingElement, technology: Technology, bound: Bound = "nominal"
) -> tuple[float, float]:
    """Return the area at the edge of a row and of a column: of the pairs that need most."""
    row, column = (
        max(cost_of(cells(pe, pair), technology, bound).area_um2 for pair in pe.formats)
        for cells in (row_cells, column_cells)
    )
    return row, column


def _array(
    unit: SystolicArray | AdderTree | Throughput,
    device: Device,
    technology: Technology,
    larger: Mapping[str, float],
    synthesis: Synthesis | None,
) -> tuple[float, float, float, float]:
    """Return the mm2 of logic, operand registers, accumulators and edges of all its arrays."""
    if not isinstance(unit, SystolicArray):
        raise InputError(f"{device.name}: only a systolic array has elements to count the area of")
    pe = unit.pe
    registers = [0.0, 0.0]
    if synthesis is None or not synthesis.covers(pe.name):
        pair = max(pe.formats, key=lambda each: element_cost(pe, each, technology).area_um2)
        registers = [cost_of(register(bits), technology).area_um2 for bits in held_bits(pe, pair)]
    logic = element_area_um2(pe, technology, "nominal", synthesis) - sum(registers)
    arrays = device.cores * unit.arrays
    scale = arrays * unit.rows * unit.columns * larger.get(pe.name, 1.0) / 1e6
    row, column = edges_um2(pe, technology)
    edges = arrays * (unit.rows * row + unit.columns * column) / 1e6
    return scale * logic, scale * registers[0], scale * registers[1], edges
