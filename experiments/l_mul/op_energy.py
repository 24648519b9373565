"""What L-Mul saves: from energies of single operations, with registers, and as synthesised.

Sources: M. Horowitz, ISSCC 2014, table of rough energy costs at 45 nm, through the cost profile
horowitz_45nm; a register bit of that profile; a synthesis in FreePDK45 (`synthesis.csv`,
second-hand).

Exact: the arithmetic. assumed: L-Mul is one integer addition as wide as its operands (the constant
is folded into it); registers are those of two operands and the result, once each, and of the sum in
a dot product; a unit of the synthesis does one operation in its delay, at the power given. Left
out: reading operands from memory, control, clock tree.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simulator.cost import EnergyProfile

#: pJ of an integer addition by its bits: same table as horowitz_45nm, which lists none by itself.
INTEGER_ADD_PJ = {8: 0.03, 16: 0.05, 32: 0.1}


def operation_pj(profile: EnergyProfile) -> dict[str, float]:
    """Return pJ of single operations of horowitz_45nm.

    Its fp16 MAC is the product and an fp32 sum, in the low case an fp16 sum.
    """
    add = profile.vector_pj("add")
    multiply = profile.mac_pj("fp16xfp16") - add
    return {
        **{f"int{bits}_add": pj for bits, pj in INTEGER_ADD_PJ.items()},
        "fp16_add": profile.mac_pj("fp16xfp16", "low") - multiply,
        "fp32_add": add,
        "fp16_mul": multiply,
        "fp32_mul": profile.vector_pj("mul"),
        "register_bit": profile.array_register_pj_per_bit.at("nominal"),
    }


@dataclass(frozen=True)
class Pair:
    """pJ of an operation by L-Mul and by an IEEE multiplier."""

    l_mul: float
    ieee: float

    @property
    def saved(self) -> float:
        """Per cent of energy that L-Mul saves."""
        return 100 * (1 - self.l_mul / self.ieee)

    def plus(self, both: float) -> "Pair":
        """Return the pair with what both need besides."""
        return Pair(self.l_mul + both, self.ieee + both)


def product(pj: Mapping[str, float], bits: int) -> Pair:
    """Return one product of floats of 16 or 32 bits."""
    return Pair(pj[f"int{bits}_add"], pj[f"fp{bits}_mul"])


def registered(pj: Mapping[str, float], bits: int) -> Pair:
    """Return one product with the registers of two operands and the result."""
    return product(pj, bits).plus(3 * bits * pj["register_bit"])


@dataclass(frozen=True)
class Synthesis:
    """A multiplier: um2, mW, ns."""

    area_um2: float
    power_mw: float
    delay_ns: float

    @property
    def energy_pj(self) -> float:
        """Power x delay."""
        return self.power_mw * self.delay_ns


def read_synthesis(path: Path) -> dict[tuple[str, str], Synthesis]:
    """Return the multipliers of `synthesis.csv` by unit and form."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["unit"], row["form"]): Synthesis(
                float(row["area_um2"]), float(row["power_mw"]), float(row["delay_ns"])
            )
            for row in csv.DictReader(file)
        }
