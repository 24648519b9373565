"""Energy and area: profiles of constants with their sources, and the accounting over counts."""

from simulator.cost.dram_energy import (
    DRAM_FOLDER,
    DramEnergy,
    dram_energy_names,
    load_dram_energy,
)
from simulator.cost.energy import (
    COMPONENTS,
    STATES,
    Counts,
    Static,
    UnitState,
    added,
    energy_breakdown,
    waiting_energy,
)
from simulator.cost.gates import CELLS, FLOATS, Cells, Float, cells_of
from simulator.cost.profile import (
    PROFILE_FOLDER,
    VECTOR_FUNCTIONS,
    Areas,
    Bound,
    Constant,
    EnergyProfile,
    FractionConstant,
    load_profile,
)
from simulator.cost.sram import (
    SRAM_FOLDER,
    SramCost,
    SramTable,
    leave_one_out,
    load_sram,
    sram_cost,
)
from simulator.cost.synthesis import Synthesis, load_synthesis
from simulator.cost.technology import (
    TECHNOLOGY_FOLDER,
    Cost,
    Technology,
    cost_of,
    load_technology,
)

__all__ = [
    "CELLS",
    "COMPONENTS",
    "DRAM_FOLDER",
    "FLOATS",
    "PROFILE_FOLDER",
    "SRAM_FOLDER",
    "STATES",
    "TECHNOLOGY_FOLDER",
    "VECTOR_FUNCTIONS",
    "Areas",
    "Bound",
    "Cells",
    "Constant",
    "Cost",
    "Counts",
    "DramEnergy",
    "EnergyProfile",
    "Float",
    "FractionConstant",
    "SramCost",
    "SramTable",
    "Static",
    "Synthesis",
    "Technology",
    "UnitState",
    "added",
    "cells_of",
    "cost_of",
    "dram_energy_names",
    "energy_breakdown",
    "leave_one_out",
    "load_dram_energy",
    "load_profile",
    "load_sram",
    "load_synthesis",
    "load_technology",
    "sram_cost",
    "waiting_energy",
]
