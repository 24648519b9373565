"""Energy and area: profiles of constants with their sources, and the accounting over counts."""

from simulator.cost.energy import COMPONENTS, Counts, Static, UnitState, added, energy_breakdown
from simulator.cost.gates import CELLS, FLOATS, Cells, Float, cells_of
from simulator.cost.profile import (
    PROFILE_FOLDER,
    VECTOR_FUNCTIONS,
    Areas,
    Bound,
    Constant,
    EnergyProfile,
    load_profile,
)
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
    "FLOATS",
    "PROFILE_FOLDER",
    "TECHNOLOGY_FOLDER",
    "VECTOR_FUNCTIONS",
    "Areas",
    "Bound",
    "Cells",
    "Constant",
    "Cost",
    "Counts",
    "EnergyProfile",
    "Float",
    "Static",
    "Technology",
    "UnitState",
    "added",
    "cells_of",
    "cost_of",
    "energy_breakdown",
    "load_profile",
    "load_technology",
]
