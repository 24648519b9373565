"""Energy and area: profiles of constants with their sources, and the accounting over counts."""

from simulator.cost.energy import COMPONENTS, Counts, Static, UnitState, added, energy_breakdown
from simulator.cost.profile import (
    PROFILE_FOLDER,
    VECTOR_FUNCTIONS,
    Areas,
    Bound,
    Constant,
    EnergyProfile,
    load_profile,
)

__all__ = [
    "COMPONENTS",
    "PROFILE_FOLDER",
    "VECTOR_FUNCTIONS",
    "Areas",
    "Bound",
    "Constant",
    "Counts",
    "EnergyProfile",
    "Static",
    "UnitState",
    "added",
    "energy_breakdown",
    "load_profile",
]
