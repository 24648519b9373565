"""The same model on sets of devices: as released, on equal arrays, and on equal area.

`repo`: the released devices. `iso-array`: 32 x 32 PEs for all, and MixPE multiplies what its name
says, 8 x 4 or 16 x 4 bits, one product a cycle and PE. `iso-array-counted`: dequantisation, too, is
counted for the batch that runs. `iso-area`: as these, with as many columns as fit the area of
INT8's, PE areas counted from gates. `iso_area` makes such a set from any table of PE areas.
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from released_model import ACCELERATORS, NETWORKS, Accelerator, Bits, Counts, Dequantise

from simulator.cost import load_technology
from simulator.design import TECHNOLOGY, load_element
from simulator.errors import InputError
from simulator.hardware.pricing import element_area_um2

EDGE = 32
"""Rows of every array, and columns of INT8's; of all arrays on equal arrays."""
AREA_COLUMNS = ("accelerator", "area_um2")
Devices = Mapping[str, Accelerator]


def honest(name: str, device: Accelerator) -> Accelerator:
    """Return the device on 32 x 32 PEs, MixPE with one product a cycle and PE.

    assumed: a PE keeps the power that the released table gives it; no other is known.
    """
    array = replace(device.array, rows=EDGE, columns=EDGE)
    if not name.startswith("MixPE"):
        return replace(device, array=array)
    width = device.array.widest
    # No precision below the activations' makes a PE take more than one product.
    return replace(device, array=replace(array, narrowest=width), bits=Bits(width, 4))


def counted(name: str, device: Accelerator) -> Accelerator:
    """Return the device with dequantisation counted for the batch of 64: see `Dequantise`."""
    return replace(device, dequantise=Dequantise(1, 128 if name.startswith("MixPE") else 64))


ISO_ARRAY = {name: honest(name, device) for name, device in ACCELERATORS.items()}
ISO_COUNTED = {name: counted(name, device) for name, device in ISO_ARRAY.items()}
#: The elements of the package that make one PE of each accelerator, which a PE's area is that of.
#: ANT's PE is four of 4 x 4 bits: it has four such products a cycle. assumed: what joins the four
#: takes nothing, and nothing takes what splits BitFusion's 8 x 8 bits; both favour the baseline.
ELEMENTS = {
    "MixPE-W4A8": (1, "mixpe_w4a8"),
    "MixPE-W4A16": (1, "mixpe_w4a16"),
    "ANT": (4, "ant"),
    "BitFusion": (1, "int8_mac"),
    "INT8": (1, "int8_mac"),
    "FP16": (1, "fp16_fma"),
}


def areas_by_gates() -> dict[str, float]:
    """Return um2 a PE by accelerator, counted from gates."""
    technology = load_technology(TECHNOLOGY)
    return {
        name: number * element_area_um2(load_element(element), technology)
        for name, (number, element) in ELEMENTS.items()
    }


def read_areas(path: str | Path) -> dict[str, float]:
    """Read um2 a PE by accelerator from a CSV with `AREA_COLUMNS`.

    Raises InputError for a file that cannot be read, other columns or a number that is none.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not rows or tuple(rows[0]) != AREA_COLUMNS:
        raise InputError(f"{path}: the columns must be {', '.join(AREA_COLUMNS)}")
    try:
        return {name: float(area) for name, area in rows[1:]}
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def iso_area(areas: Mapping[str, float]) -> Devices:
    """Return the devices of `iso-array-counted` with as many columns as fit the area of INT8's.

    `areas` is um2 a PE by accelerator, from gates or a synthesis (the released table's area is 1
    for every PE). Raises InputError for an accelerator
    without an area, an area that is not above zero, or one that leaves no column.
    """
    missing = [name for name in ACCELERATORS if name not in areas]
    if missing:
        raise InputError([f"areas: none for '{name}'" for name in missing])
    bad = [name for name in ACCELERATORS if not areas[name] > 0]
    if bad:
        raise InputError([f"areas: '{name}' must be > 0, got {areas[name]}" for name in bad])
    columns = {name: int(EDGE * areas["INT8"] / areas[name]) for name in ACCELERATORS}
    large = [name for name, count in columns.items() if not count]
    if large:
        raise InputError([f"areas: no column of '{name}' fits INT8's area" for name in large])
    return {
        name: replace(device, array=replace(device.array, columns=columns[name]))
        for name, device in ISO_COUNTED.items()
    }


PROFILES: dict[str, Devices] = {
    "repo": ACCELERATORS,
    "iso-array": ISO_ARRAY,
    "iso-array-counted": ISO_COUNTED,
    "iso-area": iso_area(areas_by_gates()),
}


def gains(devices: Devices, model: str) -> dict[str, tuple[float, float]]:
    """Return by device its time and its energy over MixPE-W4A8's on one model."""

    def measured(name: str) -> tuple[int, float]:
        """Return cycles and nJ."""
        count: Counts = devices[name].run(NETWORKS[model])
        return count.cycles, sum(count.energy(devices[name].array).values())

    cycles, energy = measured("MixPE-W4A8")
    found = {name: measured(name) for name in devices}
    return {name: (each[0] / cycles, each[1] / energy) for name, each in found.items()}


def mean_gains(devices: Devices) -> dict[str, tuple[float, float]]:
    """Return `gains` as geometric means over the four models."""
    each = [gains(devices, model) for model in NETWORKS]
    return {
        name: (geometric([g[name][0] for g in each]), geometric([g[name][1] for g in each]))
        for name in devices
    }


def geometric(values: list[float]) -> float:
    """Return the geometric mean."""
    return prod(values) ** (1 / len(values))
