"""What a profile leaves to be counted for the device simulated: its elements and its scratchpad.

A profile that names a technology of gates (`EnergyProfile.mac_gates`) has no constant for most
operand pairs: what elements and edges of arrays cost, in energy and in area, is counted from their
specifications. One that names a table of SRAM macros has the scratchpad's bits from there.
"""

from collections.abc import Mapping

from simulator.cost import (
    Constant,
    EnergyProfile,
    Synthesis,
    Technology,
    load_sram,
    load_technology,
)
from simulator.errors import InputError
from simulator.hardware.area import area_of
from simulator.hardware.device import Device
from simulator.hardware.matrix import SystolicArray
from simulator.hardware.memory_pricing import priced_by_sram
from simulator.hardware.pricing import priced_by_gates


def priced_for(profile: EnergyProfile, device: Device) -> EnergyProfile:
    """Return the profile with all that it leaves to be counted for a device.

    Errors: InputError as `priced_by_sram`, and for a technology or a table that is not there.
    """
    if profile.mac_gates is not None:
        made = with_elements(profile, device, load_technology(profile.mac_gates))
        constants = made.mac_constants | profile.mac_constants
        profile = made.model_copy(update={"mac_constants": constants})
    if profile.scratchpad_sram is None:
        return profile
    try:
        return priced_by_sram(profile, device, load_sram(profile.scratchpad_sram))
    except InputError as error:
        where = f"scratchpad of {device.name} in energy profile '{profile.name}'"
        raise InputError([f"{where}: {problem}" for problem in error.problems]) from error


def with_elements(
    profile: EnergyProfile,
    device: Device,
    technology: Technology,
    synthesis: Synthesis | None = None,
    larger: Mapping[str, float] | None = None,
) -> EnergyProfile:
    """Return a profile with the MACs of a device's matrix units, and what they leak by their area.

    Pairs without a kernel are as in the profile. The area is counted where all units are arrays of
    elements with kernels, else it stays the profile's, as does what registers between them take.
    synthesis, larger: as `area_of` takes them.
    """
    units = device.matrix_units
    made = priced_by_gates(profile, units, technology, synthesis)
    made = made.model_copy(update={"mac_gates": None})
    arrays = [unit for unit in units if isinstance(unit, SystolicArray)]
    if len(arrays) < len(units) or any(
        set(unit.pe.formats) - set(unit.pe.kernels) for unit in arrays
    ):
        return made
    elements = device.cores * sum(unit.arrays * unit.rows * unit.columns for unit in arrays)
    area = area_of(device, profile.areas, technology, larger, synthesis)
    source = f"elements and edges by gates in {technology.name}"
    each = Constant(nominal=area.array_mm2 / elements, source=source)
    areas = profile.areas.model_copy(update={"pe_mm2": each})
    # Operands pass from register to register of the elements, whose clocks and data are counted.
    registers = Constant(nominal=0.0, source=source)
    return made.model_copy(update={"areas": areas, "array_register_pj_per_bit": registers})
