"""What a device costs in dollars: its die, its memory, its package (prices: `cost.dollars`).

The die is priced at the node of the profile that counts its area, or at the process that the device
states; one whose die area is stated must state it, as its profile may be of another node.
Left out: what `cost.dollars` leaves out, and boards, cooling, power supplies, links.
"""

from dataclasses import dataclass
from typing import Generic

from simulator.cost import Bound, EnergyProfile
from simulator.cost.dollars import Numbers, PriceList, Process, die_usd, load_prices
from simulator.dram.channels import Channels
from simulator.errors import InputError
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.matrix import Throughput

#: The price list that is taken where none is given.
PRICES = "public_estimates"


@dataclass(frozen=True)
class Bill(Generic[Numbers]):
    """Dollars by part; the die and the package may be of many areas."""

    die_usd: Numbers
    memory_usd: float
    package_usd: Numbers

    @property
    def total_usd(self) -> Numbers:
        """All parts together."""
        return self.die_usd + self.memory_usd + self.package_usd


def cost_usd(
    device: Device,
    area_mm2: Numbers,
    profile: EnergyProfile,
    prices: PriceList | None = None,
) -> Numbers:
    """Return what a device costs, for one area or for many; see `bill_of`."""
    return bill_of(device, area_mm2, profile, prices).total_usd


def bill_of(
    device: Device,
    area_mm2: Numbers,
    profile: EnergyProfile,
    prices: PriceList | None = None,
    bound: Bound = "nominal",
) -> Bill[Numbers]:
    """Return what the parts of a device cost; infinite where its die does not fit a wafer.

    area_mm2: of the die (`engine.assemble.area_mm2`); nothing else changes from area to area.
    prices: by default `PRICES`. Errors: InputError with every reason why there is no price.
    """
    known = prices or load_prices(PRICES)
    process, memory, problems = _looked_up(device, profile, known, bound)
    if process is None or problems:
        raise InputError(problems)
    die = die_usd(area_mm2, known.wafer, process, bound)
    package = die * known.package.share_of_die.at(bound)
    if memory_kind(device, known) in known.package.interposed:
        package = package + known.package.interposer_usd.at(bound)
    return Bill(die, memory, package)


def unpriced(device: Device, profile: EnergyProfile, prices: PriceList | None = None) -> str | None:
    """Return why a device has no cost, None where it has one."""
    problems = _looked_up(device, profile, prices or load_prices(PRICES), "nominal")[2]
    return "; ".join(problems) or None


def memory_kind(device: Device, prices: PriceList) -> str | None:
    """Return the kind of a device's memory: as it states, or as the name of its standard has it."""
    if device.price is not None and device.price.memory is not None:
        return device.price.memory
    if isinstance(device.memory, Channels):
        # Such as `hbm2_2000` or `ianus_gddr6`.
        words = device.memory.standard.name.split("_")
        return next((word for word in words if word in prices.memory_usd_per_gb), None)
    return None


def _looked_up(
    device: Device, profile: EnergyProfile, prices: PriceList, bound: Bound
) -> tuple[Process | None, float, list[str]]:
    """Return the process, the price of the memory, and what is missing."""
    process, memory, problems = None, 0.0, list[str]()
    try:
        process = _process(device, profile, prices)
    except InputError as error:
        problems += error.problems
    try:
        memory = _memory_usd(device, prices, bound)
    except InputError as error:
        problems += error.problems
    return process, memory, [f"{device.name}: {problem}" for problem in problems]


def _process(device: Device, profile: EnergyProfile, prices: PriceList) -> Process:
    if device.die_area_mm2 is None and isinstance(device.matrix, Throughput):
        raise InputError("nothing counts the area of its matrix unit, and die_area is not stated")
    if device.price is not None and device.price.process is not None:
        return prices.process(device.price.process)
    if device.die_area_mm2 is not None:
        raise InputError("its die area is stated, so price.process must be stated too")
    return prices.process_of(profile.technology_nm)


def _memory_usd(device: Device, prices: PriceList, bound: Bound) -> float:
    if device.pim is not None:
        raise InputError("no price of a memory that multiplies is public")
    if isinstance(device.memory, IdealMemory):
        raise InputError("an ideal memory has no price")
    kind = memory_kind(device, prices)
    if kind is None:
        known = ", ".join(prices.memory_usd_per_gb)
        raise InputError(f"the kind of its memory is not stated (price.memory): {known}")
    return prices.memory_usd(kind, device.memory.capacity_bytes, bound)
