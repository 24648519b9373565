"""What designs take: mm2 and W of arrays and of the units in banks, and the best of a budget.

Arrays are counted as the device's profile has elements (7 nm), units in banks by gates in a DRAM's
process (`hardware.pim_unit_cost`). What all designs share is counted in neither: scratchpad, vector
lanes, memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator import api
from simulator.config import replace
from simulator.cost import Bound
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.pim_product import columns_of

HERE = Path(__file__).parent
DEVICE = HERE / "npu_pim.yaml"
#: A design as fast as the fastest but for this is as good, and the smallest of them is taken.
AS_GOOD = 1.001

#: Context and batch.
Cell = tuple[int, int]


@dataclass(frozen=True)
class Design:
    """A design and what it takes of one resource, in banks and in arrays; time of a decode step.

    elements: of each bank, 0 where nothing multiplies there. cap_w: of a stack.
    """

    elements: int
    cap_w: float
    arrays: int
    banks: float
    matrix: float
    latency_s: float
    energy_j: float

    @property
    def all(self) -> float:
        """What both take."""
        return self.banks + self.matrix

    @property
    def share(self) -> float:
        """The banks' part of it."""
        return self.banks / self.all


@cache
def device() -> Device:
    """Return the frame."""
    return api.load_device(str(DEVICE))


@cache
def bank_mm2(elements: int, bound: Bound = "nominal") -> float:
    """Return the area of the unit of a bank."""
    pim = replace(device(), {"pim.unit.elements": elements}).pim
    fp16 = get("fp16")
    ends = fit(pim.unit, columns_of(pim.part), fp16, fp16, pim.unit.vectors_held).area_mm2
    return float(getattr(ends, bound))


def banks() -> int:
    """Return the banks with units, of all stacks."""
    pim = device().pim
    return int(pim.sets * columns_of(pim.part).banks * pim.part.stacks)


def array_mm2() -> float:
    """Return the area of one array."""
    matrix, profile = device().matrix, api.profile_of(device())
    return matrix.rows * matrix.columns * profile.areas.pe_mm2.nominal


def array_w() -> float:
    """Return the power of the MACs of one array that is busy."""
    matrix, profile = device().matrix, api.profile_of(device())
    macs_per_s = matrix.rows * matrix.columns * device().clock_hz
    return macs_per_s * profile.mac_pj("fp16xfp16") * 1e-12


def by_cell(
    rows: Iterable[dict[str, Any]], of: str, bound: Bound = "nominal"
) -> dict[Cell, list[Design]]:
    """Return the designs of each cell of a study; of: "area" in mm2 or "power" in W."""
    cells: dict[Cell, list[Design]] = {}
    for row in rows:
        if row["state"] == "OK":
            cell = int(row["workload.context"]), int(row["workload.batch"])
            cells.setdefault(cell, []).append(_design(row, of, bound))
    return cells


def _design(row: dict[str, Any], of: str, bound: Bound) -> Design:
    inside, arrays = row["run.placement"] != "npu", int(row["device.matrix.arrays"])
    elements = int(row["device.pim.unit.elements"]) if inside else 0
    cap = _watts(row.get("device.pim.unit.power_cap.stack")) if inside else 0.0
    if of == "area":
        taken = banks() * bank_mm2(elements, bound) if inside else 0.0, arrays * array_mm2()
    else:
        taken = cap * device().pim.stacks, arrays * array_w()
    return Design(elements, cap, arrays, *taken, row["latency_s"], row["energy_j"])


def _watts(text: object) -> float:
    return float(text.removesuffix(" W")) if isinstance(text, str) else 0.0


def best(designs: Iterable[Design], budget: float) -> Design:
    """Return the fastest design within a budget, the smallest of those that are as good.

    ValueError where none is within it.
    """
    within = [each for each in designs if each.all <= budget]
    least = min(each.latency_s for each in within)
    return min((d for d in within if d.latency_s <= AS_GOOD * least), key=lambda d: d.all)


def alone(designs: Iterable[Design], budget: float) -> Design:
    """Return the best design without units in banks."""
    return best((each for each in designs if not each.banks), budget)


def gain(designs: Sequence[Design], budget: float) -> float:
    """Return the time of arrays alone over that of the best design, both within the budget."""
    return alone(designs, budget).latency_s / best(designs, budget).latency_s


def gain_in_turns(designs: Sequence[Design], budget: float) -> float:
    """Return the same where banks and arrays may each take all of the budget."""
    within = [d.latency_s for d in designs if max(d.banks, d.matrix) <= budget]
    return alone(designs, budget).latency_s / min(within)


def least_budget(designs: Sequence[Design]) -> float:
    """Return from which budget on banks get anything; ValueError where arrays stay ahead."""
    return min(d.all for d in designs if d.banks and gain(designs, d.all) > AS_GOOD)
