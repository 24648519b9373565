"""The silicon of what multiplies in or under a device's memory, beside the die of the device.

Units of `hardware.pim_unit` are counted by gates, as large as the formats of a workload need; of
others the area is what a source states. Left out: row buffers, TSVs, and buffers and logic of a
channel that are in no unit.
"""

from collections.abc import Mapping

from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.device import Device
from simulator.hardware.pim import AttAccStacks, GroupUnits
from simulator.hardware.pim_unit_fit import fit
from simulator.workload.layers import formats_of


def pim_area_mm2(device: Device, formats: Mapping[str, str]) -> float:
    """Return the mm2 of all units of a device's memories, on DRAM dies or logic dies.

    formats: of a workload, by use. Errors: InputError where nothing multiplies there, or no source
    states the area, and for formats of which the units multiply none.
    """
    if reason := no_pim_area(device):
        raise InputError(reason)
    pim = device.pim
    if isinstance(pim, GroupUnits):
        return _counted_mm2(pim, formats)
    assert isinstance(pim, AttAccStacks)
    area = pim.part.units[pim.level].area
    assert area is not None
    return pim.stacks * area.stack_mm2


def no_pim_area(device: Device) -> str:
    """Return why the area is not known whatever the formats, "" where it is."""
    match device.pim:
        case None:
            return f"{device.name}: nothing multiplies in its memory"
        case GroupUnits():
            return ""
        case AttAccStacks(part=part, level=level):
            if part.units[level].area is not None:
                return ""
            units = f"{part.name} at level '{level}'"
        case pim:
            units = pim.part.name
    return f"{device.name}: no source states the area of the units of {units}"


def _counted_mm2(pim: GroupUnits, formats: Mapping[str, str]) -> float:
    """Return the area of all units, each for the pair of formats that takes most."""
    # It loads Numba.
    from simulator.mapping.pim_product import columns_of

    columns, areas, problems = columns_of(pim.part), list[float](), list[str]()
    for stored, vectors in _multiplied(pim, formats):
        try:
            unit = fit(pim.unit, columns, stored, vectors, pim.unit.vectors_held)
        except InputError as error:
            problems += error.problems
        else:
            areas.append(unit.area_mm2.nominal)
    if not areas:
        raise InputError(problems)
    return pim.stacks * columns.banks * max(areas)


def _multiplied(pim: GroupUnits, formats: Mapping[str, str]) -> list[tuple[Format, Format]]:
    """Return what lies in the memory and what it is multiplied with."""
    # Bare products have no keys and values.
    used = formats_of(formats["weights"], formats["activations"], formats.get("kv", "fp16"), None)
    pairs = {
        "weights": (used.weights, used.activations),
        "attention": (used.kv, used.attention),
    }
    return [pairs[what] for what in pim.multiplies]
