"""What DRAM costs, by the paper or tool that says so: energy of a bit, and power of standing by.

Constants differ by 30 x between papers on low-bit elements (hw_configs/parts/dram_energy), so that
a comparison is repeated under each (`hardware.memory_pricing.priced_by_dram`).
"""

from typing import Self

from pydantic import model_validator

from simulator.config import Part, load_part, names
from simulator.cost.profile import Constant, Source

DRAM_FOLDER = "hw_configs/parts/dram_energy"


class DramEnergy(Part):
    """Energy of a bit that is read or written; standing power by capacity, or of the whole memory.

    Exactly one of background_w_per_gib and static_w.
    """

    name: str
    summary: str
    source: Source
    read_pj_per_bit: Constant
    write_pj_per_bit: Constant
    background_w_per_gib: Constant | None = None
    static_w: Constant | None = None

    @model_validator(mode="after")
    def _one_standing_power(self) -> Self:
        if (self.background_w_per_gib is None) == (self.static_w is None):
            raise ValueError("needs either background_w_per_gib or static_w")
        return self


def load_dram_energy(name_or_path: str) -> DramEnergy:
    """Load a DRAM by name from `hw_configs/parts/dram_energy`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(DramEnergy, name_or_path, DRAM_FOLDER, noun="DRAM energy")


def dram_energy_names() -> list[str]:
    """Return the names of all DRAMs that come with the package."""
    return names(DRAM_FOLDER)
