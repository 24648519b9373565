"""What silicon and memory cost in dollars: a price list, dies of a wafer, how many of them work.

Dies are cut from a round wafer (its area over theirs, less those that the edge cuts: de Vries, IEEE
Trans. Semiconductor Manufacturing 18(1), 2005, as Hennessy and Patterson, Computer Architecture,
section 1.6) and work as in the negative binomial model of clustered defects (Stapper, IBM J. R&D
27(6), 1983). Prices are a part of their own (hw_configs/parts/price), as they move by factors in a
few years. What a device costs: `hardware.bill`.

Left out: parts of dies that are switched off where they do not work, the reticle (26 mm x 33 mm:
larger dies are priced as if they could be made), the yield of packaging, design, masks, margins.
"""

from typing import Annotated, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from simulator.config import Part, load_part, unknown
from simulator.cost.profile import Bound, Constant, FractionConstant, Source
from simulator.errors import InputError

PRICE_FOLDER = "hw_configs/parts/price"

Positive = Annotated[float, Field(gt=0)]
#: One number, or one a design.
Numbers = TypeVar("Numbers", float, NDArray[np.float64])


class Wafer(Part):
    """What all processes have in common: a round wafer, its unused edge, lanes between dies."""

    diameter_mm: Positive
    edge_mm: Constant
    lane_mm: Constant


class Process(Part):
    """A process: its nodes in nm, the price of a wafer, defects, and how they cluster (alpha)."""

    nodes_nm: tuple[Positive, ...]
    wafer_usd: Constant
    defects_per_cm2: Constant
    clustering: Annotated[int, Field(ge=1)]
    source: Source


class Package(Part):
    """A package: assembly, package and test as a share of the price of the die, and an interposer.

    interposed: the memories that need an interposer of `interposer_usd`.
    """

    share_of_die: FractionConstant
    interposer_usd: Constant
    interposed: tuple[str, ...]


class PriceList(Part):
    """Prices of wafers by process, of memory by kind ($ a GB of 10^9 bytes), and of packages."""

    name: str
    summary: str
    source: Source
    wafer: Wafer
    processes: dict[str, Process]
    memory_usd_per_gb: dict[str, Constant]
    package: Package

    @field_validator("processes")
    @classmethod
    def _a_node_once(cls, processes: dict[str, Process]) -> dict[str, Process]:
        nodes = [node for process in processes.values() for node in process.nodes_nm]
        if twice := sorted({node for node in nodes if nodes.count(node) > 1}):
            raise ValueError(f"nodes of more than one process: {', '.join(map(_nm, twice))}")
        return processes

    @model_validator(mode="after")
    def _known_interposed(self) -> Self:
        for kind in self.package.interposed:
            if kind not in self.memory_usd_per_gb:
                raise ValueError(unknown("memory", kind, self.memory_usd_per_gb))
        return self

    def process(self, name: str) -> Process:
        """Return a process by name; InputError for another."""
        if name not in self.processes:
            raise InputError(f"{self.name}: {unknown('process', name, self.processes)}")
        return self.processes[name]

    def process_of(self, node_nm: float) -> Process:
        """Return the process of a node; InputError where none is, as none is scaled."""
        for process in self.processes.values():
            if node_nm in process.nodes_nm:
                return process
        known = sorted(node for each in self.processes.values() for node in each.nodes_nm)
        has = ", ".join(map(_nm, known))
        raise InputError(f"{self.name}: no price of a wafer at {_nm(node_nm)}; it has: {has}")

    def memory_usd(self, kind: str, capacity_bytes: int, bound: Bound = "nominal") -> float:
        """Return the price of a memory; InputError for a kind that the list does not have."""
        if kind not in self.memory_usd_per_gb:
            raise InputError(f"{self.name}: {unknown('memory', kind, self.memory_usd_per_gb)}")
        return self.memory_usd_per_gb[kind].at(bound) * capacity_bytes / 1e9


def _nm(node: float) -> str:
    return f"{node:g} nm"


def dies_per_wafer(area_mm2: Numbers, wafer: Wafer, bound: Bound = "nominal") -> Numbers:
    """Return how many dies a wafer has on average; 0 where none fits. Dies are square."""
    diameter = wafer.diameter_mm - 2 * wafer.edge_mm.at(bound)
    side = np.sqrt(area_mm2) + wafer.lane_mm.at(bound)
    cut = side * side
    whole = np.pi * (diameter / 2) ** 2 / cut - np.pi * diameter / np.sqrt(2 * cut)
    dies: Numbers = np.maximum(whole, 0.0)
    return dies


def die_yield(area_mm2: Numbers, process: Process, bound: Bound = "nominal") -> Numbers:
    """Return the share of dies that work: (1 + area x defects / alpha) ** -alpha."""
    defects = area_mm2 / 100 * process.defects_per_cm2.at(bound)
    base = 1 + defects / process.clustering
    power = base
    # Products, not a power: the same floats for one area as for an array of them.
    for _ in range(process.clustering - 1):
        power = power * base
    share: Numbers = 1 / power
    return share


def die_usd(area_mm2: Numbers, wafer: Wafer, process: Process, bound: Bound = "nominal") -> Numbers:
    """Return the price of a die that works, one area or many; infinite where none fits a wafer."""
    good = dies_per_wafer(area_mm2, wafer, bound) * die_yield(area_mm2, process, bound)
    with np.errstate(divide="ignore"):
        price: Numbers = np.divide(process.wafer_usd.at(bound), good)
    return price


def load_prices(name_or_path: str) -> PriceList:
    """Load a price list by name from `hw_configs/parts/price`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(PriceList, name_or_path, PRICE_FOLDER, noun="price list")
