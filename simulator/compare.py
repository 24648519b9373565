"""Processing elements side by side: one frame, one area, one cost table, one workload.

A frame is a device; each element takes the place of its array. By `iso` "area" as many elements as
fit on the area of the frame's own array, by "elements" as many as the frame has. An element that
does not multiply FP16 by FP16 gets a unit of the frame's elements beside it, for attention and
whatever else it cannot do: that unit takes `BESIDE` of the array's area. What rows share (tables of
a LUT core) is counted in the area, once a row.

All MACs are priced by gates (`hardware.pricing`) in one technology; memories, vector unit and wires
by the frame's energy profile, leakage by the array's own area. Energies have the ranges of the
gates and of the DRAM's constant. Time has the range of the frame's element: its floating-point
units are counted at their minimum (experiments/gates), and were they larger, more of another
element would fit on their area (`frame_area`).

Left out: clocks that differ by element; the area of buffers and of the vector unit, which is the
same in all; control; the energy of what rows share.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_values
from functools import lru_cache
from math import inf, log10
from typing import Any, Literal

from simulator.api import load_device, load_model, simulate
from simulator.config import load_part, names, replace, resolved, unknown
from simulator.cost import (
    Bound,
    Constant,
    EnergyProfile,
    Technology,
    cost_of,
    load_profile,
    load_technology,
)
from simulator.errors import InfeasibleError, InputError
from simulator.hardware import Device
from simulator.hardware.matrix import (
    PE_FOLDER,
    ProcessingElement,
    SystolicArray,
    pair_formats,
)
from simulator.hardware.pricing import (
    element_area_um2,
    element_cells,
    priced_by_gates,
    shared_cells,
)
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
    product, quantisation and datapath together. dram_j, mac_j, attention_mac_j: parts of energy_j,
    of DRAM traffic, of products with weights (on the element, at both ends of the gates' range
    too) and of attention's. infeasible: why it does not run, else "".
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
    dram_j: float = inf
    mac_j: float = inf
    mac_low_j: float = inf
    mac_high_j: float = inf
    attention_mac_j: float = inf
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
    frame: Device,
    pe: ProcessingElement,
    technology: Technology,
    iso: Iso = "area",
    frame_area: Bound = "nominal",
) -> tuple[Device, int, float]:
    """Return the frame with another element in its array, how many, and the array's area in mm2.

    frame_area: the frame's own element has the area that is counted, or that at an end of what
    synthesis may make of it (`technology.overheads`), while others have what is counted.

    Errors: InputError for a frame whose array is not systolic, InfeasibleError where not one column
    fits.
    """
    array = frame.matrix
    if not isinstance(array, SystolicArray):
        raise InputError(f"{frame.name}: elements are compared in a systolic array")
    synthesis = technology.overheads.synthesis_area
    larger = synthesis.at(frame_area) / synthesis.nominal
    own = element_area_um2(array.pe, technology) * larger
    budget = array.rows * array.columns * own
    beside = 0 if "fp16xfp16" in pe.formats else max(1, round(BESIDE * array.columns))
    rest = budget - beside * array.rows * own - array.rows * _shared_um2(pe, technology)
    each = own if pe == array.pe else element_area_um2(pe, technology)
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
    frame_area: Bound = "nominal",
) -> Row:
    """Return an element's row on a workload (`workload_named`), multiplying one of its pairs.

    Errors: InputError for what a function above refuses. A design that is infeasible is a row that
    says so.
    """
    frame = frame or load_device(FRAME)
    technology = technology or load_technology(TECHNOLOGY)
    # Refuses a pair that the element does not multiply, or that has no kernel.
    element_cells(pe, pair)
    formats = formats_of(pe, pair)
    blank = Row(
        pe=pe.name,
        weights=formats[0],
        activations=formats[1],
        workload=workload,
        elements=0,
        array_mm2=0.0,
        sqnr_db=_sqnr_db(pe.kernels[pair], formats),
    )
    work = workload_named(workload, formats)
    try:
        device, elements, area = design(frame, pe, technology, iso, frame_area)
        blank = with_values(blank, elements=elements, array_mm2=area)
        profile = _priced(device, area, technology)
        result = simulate(device, work, rung, energy=profile)
    except InfeasibleError as error:
        return with_values(blank, infeasible=str(error))
    return with_values(
        blank,
        latency_s=result.latency_s,
        tokens_per_s=result.tokens_per_s,
        energy_j=result.energy_j,
        edp_js=result.energy_j * result.latency_s,
        bound_by=_bound_by(result),
        **_energies(result, profile, pair, _attention_pair(pe, formats)),
    )


def _priced(device: Device, array_mm2: float, technology: Technology) -> EnergyProfile:
    """Return the device's energy profile with MACs priced by gates and the array's own area."""
    units = device.matrix_units
    profile = priced_by_gates(
        load_profile(device.energy), tuple(unit.pe for unit in units), technology
    )
    elements = sum(unit.rows * unit.columns for unit in units if isinstance(unit, SystolicArray))
    each = Constant(nominal=array_mm2 / elements, source=f"gates in {technology.name}")
    areas = profile.areas.model_copy(update={"pe_mm2": each})
    return profile.model_copy(update={"areas": areas})


def _attention_pair(pe: ProcessingElement, formats: tuple[str, str, str]) -> str:
    """Return what attention multiplies: with a KV cache of INT8 INT8 where the element can."""
    integers = formats[2] == "int8-token" and "int8xint8" in pe.formats
    return "int8xint8" if integers else "fp16xfp16"


def _energies(
    result: Result, profile: EnergyProfile, pair: str, attention_pair: str
) -> dict[str, Any]:
    """Return the parts of the energy and its ends: it is linear in what gates and DRAM cost."""
    dram = result.energy_breakdown_j["dram"]
    linear, attention = (
        sum(
            op.count * op.energy_by_component.get("matrix", 0.0)
            for op in result.records
            if (op.kind == "linear") == of_weights
        )
        for of_weights in (True, False)
    )
    rest = result.energy_j - dram - linear - attention
    found = {"dram_j": dram, "mac_j": linear, "attention_mac_j": attention}
    constant = profile.dram_read_pj_per_bit
    ends: tuple[Bound, ...] = ("low", "high")
    for bound in ends:
        own, other = (
            profile.mac_pj(each, bound) / profile.mac_pj(each) for each in (pair, attention_pair)
        )
        found[f"mac_{bound}_j"] = linear * own
        moved = dram * constant.at(bound) / constant.nominal
        found[f"energy_{bound}_j"] = rest + moved + linear * own + attention * other
    return found


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
