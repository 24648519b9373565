"""Devices and their parts, and the equations of their timing."""

from simulator.hardware.device import (
    Device,
    Dma,
    Dram,
    IdealMemory,
    Network,
    Scratchpad,
    VectorUnit,
)
from simulator.hardware.matrix import (
    Accumulators,
    AdderTree,
    ProcessingElement,
    SystolicArray,
    Throughput,
)

__all__ = [
    "Accumulators",
    "AdderTree",
    "Device",
    "Dma",
    "Dram",
    "IdealMemory",
    "Network",
    "ProcessingElement",
    "Scratchpad",
    "SystolicArray",
    "Throughput",
    "VectorUnit",
]
