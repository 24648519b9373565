"""Processing elements side by side: one frame, one area, one cost table, one workload.

A frame is a device; each element takes the place of its array. By `iso` "area" as many elements as
fit on the area of the frame's own array, by "elements" as many as the frame has. An element that
does not multiply FP16 by FP16 gets a unit of the frame's elements beside it, for attention and
whatever else it cannot do: that unit takes `BESIDE` of the array's area. What rows share (tables of
a LUT core) is counted in the area, once a row.

All MACs are priced by gates (`hardware.pricing`) in one technology; memories, vector unit and wires
by the frame's energy profile. Ranges are those of the gates and of the DRAM's constant; time does
not depend on them.

Left out: clocks that differ by element; the area of buffers and of the vector unit, which is the
same in all; control.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_values
from functools import lru_cache
from math import inf, log10
from typing import Literal

from simulator.api import load_device, load_model, simulate
from simulator.config import load_part, names, replace, resolved, unknown
from simulator.cost import Bound, EnergyProfile, Technology, cost_of, load_profile, load_technology
from simulator.errors import InfeasibleError, InputError
from simulator.hardware import Device
from simulator.hardware.matrix import (
    PE_FOLDER,
    ProcessingElement,
    SystolicArray,
    pair_formats,
)
from simulator.hardware.pricing import element_area_um2, mac_pj, priced_by_gates, shared_cells
from simulator.numerics.verify import verify
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

FRAME, TECHNOLOGY = "edge_fp16", "scaled_28nm"
#: The part of an array's area that a unit for FP16 products gets where an element cannot do them.
BESIDE = 0.25
#: How an element's operands have their scales.
WEIGHTS = {
    **{f"int{bits}": f"int{bits}-g128" for bits in range(2, 8)},
    **{
        "int1": "int1-g128-asym",
        "int8": "int8-channel",
        "ternary": "ternary-tensor",
        "fp4_e2m1fn": "fp4_e2m1fn-g128",
    },
    **{"flint4": "flint4-g128", "pot4": "pot4-g128", "olive_int4": "olive_int4-g128"},
}
ACTIVATIONS = {
    **{"int8": "int8-token", "int4": "int4-token", "flint4": "flint4-token"},
    **{"pot4": "pot4-token", "olive_int4": "olive_int4-token"},
}
#: M, N, K of the product on which SQNR is measured, activations with outlier channels.
SAMPLE = (16, 64, 2048)

Iso = Literal["area", "elements"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An element on a workload; energy_low_j and energy_high_j: by gates' and DRAM's ranges.

    array_mm2: of the elements, the tables that rows share and the unit beside. sqnr_db: of a
    product, quantisation and datapath together. infeasible: why it does not run, else "".
    """

    pe: str
    weights: str
    activations: str
    workload: str
    elements: int
    array_mm2: float
    sqnr_db: float
    latency_s: float = inf
    tokens_per_s: float = 0.0
    energy_j: float = inf
    energy_low_j: float = inf
    energy_high_j: float = inf
    edp_js: float = inf
    bound_by: str = ""
    infeasible: str = ""


def load_element(name_or_path: str) -> ProcessingElement:
    """Load a processing element by name, or from a YAML file; InputError lists every problem."""
    return load_part(ProcessingElement, name_or_path, PE_FOLDER, noun="PE")


def element_names() -> list[str]:
    """Return the names of all elements that come with the package."""
    return names(PE_FOLDER)


def formats_of(pe: ProcessingElement, pair: str) -> tuple[str, str, str]:
    """Return the formats of weights, activations and KV cache with which a pair is compared."""
    weights, activations = pair_formats(pair)
    w, x = WEIGHTS.get(weights, weights), ACTIVATIONS.get(activations, activations)
    if pe.scale_passes(pair) and weights.startswith("int"):
        # The element multiplies by an 8-bit scale of a group.
        w = f"{weights}-g128-s8"
    return w, x, "int8-token" if x == "int8-token" else "fp16"


def workload_named(name: str, formats: tuple[str, str, str]) -> Workload:
    """Return MODEL/prefill/SEQUENCE or MODEL/decode/BATCH (at a context of 256) in formats.

    Errors: InputError for another form, and what the builders refuse.
    """
    parts = name.split("/")
    if len(parts) != 3 or not parts[2].isdecimal() or parts[1] not in ("prefill", "decode"):
        raise InputError(
            f"workload '{name}': expected MODEL/prefill/SEQUENCE or MODEL/decode/BATCH"
        )
    model, number = load_model(parts[0]), int(parts[2])
    weights, activations, kv = formats
    if parts[1] == "prefill":
        return prefill(model, sequence=number, weights=weights, activations=activations, kv=kv)
    return decode_step(
        model, batch=number, context=256, weights=weights, activations=activations, kv=kv
    )


def design(
    frame: Device, pe: ProcessingElement, technology: Technology, iso: Iso = "area"
) -> tuple[Device, int, float]:
    """Return the frame with another element in its array, how many, and the array's area in mm2.

    Errors: InputError for a frame whose array is not systolic, InfeasibleError where not one column
    fits.
    """
    array = frame.matrix
    if not isinstance(array, SystolicArray):
        raise InputError(f"{frame.name}: elements are compared in a systolic array")
    own = element_area_um2(array.pe, technology)
    budget = array.rows * array.columns * own
    beside = 0 if "fp16xfp16" in pe.formats else max(1, round(BESIDE * array.columns))
    rest = budget - beside * array.rows * own - array.rows * _shared_um2(pe, technology)
    each = element_area_um2(pe, technology)
    columns = array.columns if iso == "elements" else int(rest / (array.rows * each))
    if columns < 1:
        needed = each * array.rows
        raise InfeasibleError(
            *("array area", needed, rest, "um2"),
            f"PE '{pe.name}': a column takes {needed:,.0f} um2, {rest:,.0f} are left",
        )
    changes: dict[str, object] = {"matrix.pe": resolved(pe), "matrix.columns": columns}
    if beside:
        changes["beside"] = {**resolved(array), "columns": beside}
    used = columns * array.rows * each + beside * array.rows * own
    used += array.rows * _shared_um2(pe, technology)
    return replace(frame, changes), columns * array.rows, used / 1e6


def _shared_um2(pe: ProcessingElement, technology: Technology) -> float:
    cells = (shared_cells(pe, pair) for pair in pe.formats)
    return max(cost_of(each, technology).area_um2 for each in cells)


def compared(
    pe: ProcessingElement,
    pair: str,
    workload: str,
    *,
    frame: Device | None = None,
    technology: Technology | None = None,
    iso: Iso = "area",
    rung: str = "tile",
) -> Row:
    """Return an element's row on a workload (`workload_named`), multiplying one of its pairs.

    Errors: InputError for what a function above refuses. A design that is infeasible is a row that
    says so.
    """
    frame = frame or load_device(FRAME)
    technology = technology or load_technology(TECHNOLOGY)
    formats = formats_of(pe, pair)
    device, elements, area = design(frame, pe, technology, iso)
    blank = Row(
        pe=pe.name,
        weights=formats[0],
        activations=formats[1],
        workload=workload,
        elements=elements,
        array_mm2=area,
        sqnr_db=_sqnr_db(pe.kernels[pair], formats),
    )
    units = tuple(unit.pe for unit in device.matrix_units)
    profile = priced_by_gates(load_profile(device.energy), units, technology)
    try:
        result = simulate(device, workload_named(workload, formats), rung, energy=profile)
    except InfeasibleError as error:
        return with_values(blank, infeasible=str(error))
    low, high = (_energy_at(result, profile, units, technology, end) for end in ("low", "high"))
    return with_values(
        blank,
        latency_s=result.latency_s,
        tokens_per_s=result.tokens_per_s,
        energy_j=result.energy_j,
        energy_low_j=low,
        energy_high_j=high,
        edp_js=result.energy_j * result.latency_s,
        bound_by=_bound_by(result),
    )


def _energy_at(
    result: Result,
    profile: EnergyProfile,
    units: Sequence[ProcessingElement],
    technology: Technology,
    bound: Bound,
) -> float:
    """Return the energy with gates and DRAM at one end of their ranges: both are linear in it."""
    parts = dict(result.energy_breakdown_j)
    dram = profile.dram_read_pj_per_bit
    parts["dram"] *= dram.at(bound) / dram.nominal
    pe = units[0]
    pair = next(iter(pe.formats))
    parts["matrix"] *= mac_pj(pe, pair, technology, bound) / mac_pj(pe, pair, technology)
    return sum(parts.values())


def _bound_by(result: Result) -> str:
    """Return what bounds most of the time of operations."""
    time: dict[str, int] = {}
    for op in result.records:
        time[op.bound_by] = time.get(op.bound_by, 0) + op.latency_ps
    return max(time, key=lambda name: time[name])


@lru_cache(maxsize=256)
def _sqnr_db(kernel: str, formats: tuple[str, str, str]) -> float:
    """Return the SQNR of a product: errors of quantisation and of the datapath add up as power."""
    check = verify(kernel, SAMPLE, formats[0], formats[1])
    noise = [10 ** (-each / 10) for each in (check.sqnr_db, check.quantisation_sqnr_db or inf)]
    total = sum(noise)
    return -10 * log10(total) if total else inf


def table(
    elements: Iterable[ProcessingElement],
    workloads: Sequence[str],
    *,
    iso: Iso = "area",
    rung: str = "tile",
) -> list[Row]:
    """Return the rows of all pairs of all elements on all workloads, in that order."""
    frame, technology = load_device(FRAME), load_technology(TECHNOLOGY)
    return [
        compared(pe, pair, workload, frame=frame, technology=technology, iso=iso, rung=rung)
        for pe in elements
        for pair in pe.formats
        for workload in workloads
    ]


def chosen(given: Sequence[str], against: str | None) -> list[ProcessingElement]:
    """Return elements by name or file and, `against` "all" or one name, others to compare with."""
    elements = [load_element(name) for name in given]
    if against is None:
        return elements
    if against != "all" and against not in element_names():
        raise InputError(unknown("PE", against, ["all", *element_names()]))
    others = element_names() if against == "all" else [against]
    taken = {pe.name for pe in elements}
    return elements + [load_element(name) for name in others if name not in taken]
