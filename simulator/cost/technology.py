"""What elementary cells cost in a technology: area and energy of each, and what layout adds.

A technology is a part of its own (hw_configs/parts/gates), every constant with its source and,
where figures differ, its range. Energies are those of a cell in a datapath that works on random
operands every cycle, wires to its neighbours included: that activity is part of the number.

Left out: voltage and temperature; leakage; glitches beyond those in the sources; what a fast clock
makes of cells, which are the smallest of their library.
"""

from typing import Annotated, NamedTuple

from pydantic import Field, field_validator

from simulator.config import Part, load_part
from simulator.cost.gates import CELLS, Cells, Operations, cells_of
from simulator.cost.profile import Bound, Constant, Source

TECHNOLOGY_FOLDER = "hw_configs/parts/gates"


class CellCost(Part):
    """Area of a cell, and energy of a cycle in which it works."""

    area_um2: Constant
    energy_fj: Constant


class Overheads(Part):
    """Factors on the counted cells.

    synthesis_*: what synthesis for a clock makes of them (larger cells, other structures);
    between_elements: of that, what two elements need not share, on the ratio of their areas;
    placement_*: what placing and wiring adds; clock_energy: the tree that clocks flip-flops, on
    their energy alone.
    """

    synthesis_area: Constant
    synthesis_energy: Constant
    between_elements: Constant
    placement_area: Constant
    placement_energy: Constant
    clock_energy: Constant


class Cost(NamedTuple):
    """Area in um2 and energy in pJ of a cycle."""

    area_um2: float
    energy_pj: float


class Technology(Part):
    """Cells of a technology; `cells` has an entry for each of `gates.CELLS`."""

    name: str
    summary: str
    technology_nm: Annotated[float, Field(gt=0)]
    source: Source
    cells: dict[str, CellCost]
    overheads: Overheads

    @field_validator("cells")
    @classmethod
    def _all_cells(cls, cells: dict[str, CellCost]) -> dict[str, CellCost]:
        if set(cells) != set(CELLS):
            raise ValueError(f"needs exactly these cells: {', '.join(CELLS)}")
        return cells


def cost_of(
    counted: Cells | Operations,
    technology: Technology,
    bound: Bound = "nominal",
    *,
    placed: bool = True,
) -> Cost:
    """Return area and energy of a cycle of cells, or of operations that each have their own.

    `bound` takes every constant at one end of its range. `placed`: with what placing and wiring
    adds; without, what synthesis reports. Raises InputError as
    `gates.cells_of` does.
    """
    cells = counted if isinstance(counted, Cells) else cells_of(counted)
    factors = technology.overheads
    area = factors.synthesis_area.at(bound)
    energy = factors.synthesis_energy.at(bound)
    if placed:
        area *= factors.placement_area.at(bound)
        energy *= factors.placement_energy.at(bound)
    um2, fj = 0.0, 0.0
    for name, cell in technology.cells.items():
        number = getattr(cells, name)
        clock = factors.clock_energy.at(bound) if name == "dff" else 1.0
        um2 += number * cell.area_um2.at(bound)
        fj += number * cell.energy_fj.at(bound) * clock
    return Cost(area * um2, energy * fj / 1000)


def load_technology(name_or_path: str) -> Technology:
    """Load a technology by name from `hw_configs/parts/gates`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(Technology, name_or_path, TECHNOLOGY_FOLDER, noun="technology")
