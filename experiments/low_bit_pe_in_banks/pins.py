"""The side beside the memory: an array of the same elements that reads the same stack by its pins.

`generic_npu_128` with another element, the stack's 16 channels, and a scratchpad whose macros have
a price. Weights enter the array as fast as it needs them, which favours it: as it ships, with a row
a cycle, a single vector would wait for the array. Energies are of what is active, DRAM by AttAcc's
ladder as in the banks, elements and edges by the gates of the units in banks, without their factor.
"""

from functools import cache
from math import fsum
from typing import NamedTuple

from cases import Element, Work

from simulator.api import load_device, simulate
from simulator.config import replace, resolved
from simulator.cost import load_dram_energy, load_profile
from simulator.design import load_element
from simulator.hardware import Device
from simulator.hardware.memory_pricing import priced_by_dram
from simulator.workload import gemm

DEVICE, STANDARD, CHANNELS = "generic_npu_128", "hbm3_5200", 16
PROFILE, DRAM = "edge_28nm", "attacc_hbm"


class Ran(NamedTuple):
    """What work took, all products together."""

    time_s: float
    energy_j: float


@cache
def device(element: Element, rows_per_cycle: int) -> Device:
    """Return the array of an element with the stack; rows_per_cycle: of weights that enter it."""
    pe = load_element(element.pe)
    outputs = pe.micro_tile[0] * pe.micro_tile[1]
    return replace(
        load_device(DEVICE),
        {
            "name": f"{DEVICE}_{element.pe}",
            "matrix.pe": resolved(pe),
            "matrix.rows": element.rows,
            "matrix.columns": element.columns,
            "matrix.weight_load_rows_per_cycle": rows_per_cycle,
            # A column takes all outputs of an element at once.
            "matrix.accumulators.ports": outputs,
            "scratchpad.capacity": "8 MiB",
            "scratchpad.read_ports": 8,
            "scratchpad.write_ports": 8,
            "scratchpad.port_width": "128 B",
            "memory": {
                "kind": "channels",
                "standard": STANDARD,
                "channels": CHANNELS,
                "interleave": "256 B",
                "capacity": "16 GiB",
                "latency": "0 ns",
                "source": "the stack of the units in banks; interleaving assumed",
            },
            "energy": PROFILE,
        },
    )


@cache
def by_pins(element: Element, work: Work, rows_per_cycle: int = 0) -> Ran:
    """Do work on the array; rows_per_cycle: 0 for all of its rows."""
    made = device(element, rows_per_cycle or element.rows)
    profile = priced_by_dram(load_profile(PROFILE), made, load_dram_energy(DRAM))
    time_s, energy_j = 0.0, 0.0
    for each in work.matrices:
        product = gemm(work.vectors, each.outputs, each.inputs, count=each.many, weights=each.form)
        result = simulate(made, product, "tile", energy=profile)
        result.check()
        time_s += result.latency_s
        states = result.energy_by_state_j.values()
        energy_j += fsum(each.get("active", 0.0) for each in states)
    return Ran(time_s, energy_j)
