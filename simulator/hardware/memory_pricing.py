"""What a device's memories cost: its scratchpad by a table of SRAM macros, its DRAM by name.

A scratchpad is as many equal macros as it has read ports, each with one read and one write port of
the port's width: two ports of 1 MiB are two macros of 512 KiB. Bits are priced as their share of an
access of full width.
"""

from simulator.cost import (
    Bound,
    Constant,
    DramEnergy,
    EnergyProfile,
    SramTable,
    sram_cost,
)
from simulator.errors import InputError
from simulator.hardware.device import Device, IdealMemory

_BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
_MIB, _GIB = 2**20, 2**30


def priced_by_sram(profile: EnergyProfile, device: Device, table: SramTable) -> EnergyProfile:
    """Return a profile in which the scratchpad's bits and area are those of a device's macros.

    In the profile's node; everything else stays that of `profile`. Errors: InputError for macros
    that the table neither holds nor scales to, for more write than read ports, and for a capacity
    that the read ports do not share evenly.
    """
    pad = device.scratchpad
    macros = pad.read_ports
    if pad.write_ports > macros or pad.capacity_bytes % macros:
        raise InputError(
            f"{pad.capacity_bytes} bytes with {macros} read and {pad.write_ports} write ports are "
            "not equal macros of one read and one write port, one for each read port"
        )
    width = 8 * pad.port_width_bytes
    low, nominal, high = (
        sram_cost(table, pad.capacity_bytes // macros, width, profile.technology_nm, bound=bound)
        for bound in _BOUNDS
    )
    source = f"{macros} macros of {width} bits in SRAM table '{table.name}'"

    def constant(place: int, each: float) -> Constant:
        ends = (low[place] * each, nominal[place] * each, high[place] * each)
        return Constant(low=ends[0], nominal=ends[1], high=ends[2], source=source)

    area = constant(2, macros * _MIB / pad.capacity_bytes)
    return profile.model_copy(
        update={
            "scratchpad_read_pj_per_bit": constant(0, 1 / width),
            "scratchpad_write_pj_per_bit": constant(1, 1 / width),
            "areas": profile.areas.model_copy(update={"scratchpad_mm2_per_mib": area}),
        }
    )


def priced_by_dram(profile: EnergyProfile, device: Device, dram: DramEnergy) -> EnergyProfile:
    """Return a profile with the DRAM of another paper; everything else stays that of `profile`.

    The standing power of a whole memory is spread over the capacity of the device's. Errors:
    InputError for a device without DRAM.
    """
    if isinstance(device.memory, IdealMemory):
        raise InputError(f"{device.name}: has no DRAM that '{dram.name}' could price")
    standing = dram.background_w_per_gib
    if dram.static_w is not None:
        gib = device.memory.capacity_bytes / _GIB
        low, nominal, high = (dram.static_w.at(bound) / gib for bound in _BOUNDS)
        source = f"{dram.static_w.source}, over {gib:.3g} GiB"
        standing = Constant(low=low, nominal=nominal, high=high, source=source)
    return profile.model_copy(
        update={
            "dram_read_pj_per_bit": dram.read_pj_per_bit,
            "dram_write_pj_per_bit": dram.write_pj_per_bit,
            "dram_background_w_per_gib": standing,
        }
    )
