"""Processing elements side by side: one frame, one area, one cost table, one workload.

Each element is a design (`simulator.design`), simulated on the same workload. By `iso` "chip"
elements and vector lanes share what the frame's array and lanes take, in that split of `LANES` by
which the workload is fastest, the frame's own element too.

Energies have the ranges of the gates and of the DRAM's constant. Time has the range of how
differently synthesis may treat two elements (`Terms.frame_area`): were the frame's larger, more of
another would fit on its area.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_values
from functools import lru_cache
from math import inf, log10
from typing import Any

from simulator.api import load_model, simulate
from simulator.config import unknown
from simulator.cost import Bound, Constant, EnergyProfile
from simulator.design import (
    Terms,
    areas_of,
    attention_pair,
    design,
    does_attention,
    element_names,
    formats_of,
    load_element,
    priced,
)
from simulator.errors import InfeasibleError, InputError
from simulator.hardware.area import Area
from simulator.hardware.matrix import ProcessingElement
from simulator.hardware.pricing import element_cells, priced_by
from simulator.numerics.verify import verify
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

#: Numbers of vector lanes between which a chip is split.
LANES = (8, 16, 32, 64, 128)
#: M, N, K of the product on which SQNR is measured, activations with outlier channels.
SAMPLE = (16, 64, 2048)
#: Outputs of that which are held against the specification; `nibblesim verify` takes more.
CHECKED = 4
#: States in which a unit burns a part of its active power.
WAITING = ("stalled", "idle")


@dataclass(frozen=True, kw_only=True)
class Row:
    """An element on a workload; energy_low_j and energy_high_j: by gates' and DRAM's ranges.

    array_mm2: of the elements, the array's edges and the unit beside; area: by part. sqnr_db: of a
    product, quantisation and datapath together. priced_by: gates or a synthesis. Parts of energy_j:
    dram_j of DRAM traffic, dram_write_j of what is written of that, dram_background_j of its
    standing by; mac_j of products with weights (on the element and the edges, at both ends of the
    gates' range too), attention_mac_j of attention's; matrix_stalled_j, matrix_idle_j of what the
    matrix units burn while they wait. infeasible: why it does not run, else "".
    """

    pe: str
    weights: str
    activations: str
    workload: str
    elements: int
    array_mm2: float
    sqnr_db: float
    priced_by: str
    latency_s: float = inf
    tokens_per_s: float = 0.0
    energy_j: float = inf
    energy_low_j: float = inf
    energy_high_j: float = inf
    dram_j: float = inf
    dram_write_j: float = inf
    dram_background_j: float = inf
    mac_j: float = inf
    mac_low_j: float = inf
    mac_high_j: float = inf
    attention_mac_j: float = inf
    matrix_stalled_j: float = inf
    matrix_idle_j: float = inf
    edp_js: float = inf
    bound_by: str = ""
    lanes: int = 0
    chip_mm2: float = 0.0
    area: Area | None = None
    infeasible: str = ""


def workload_named(name: str, formats: tuple[str, str, str]) -> Workload:
    """Return MODEL/prefill/SEQUENCE or MODEL/decode/BATCH (at a context of 256) in formats.

    MODEL is a name or the path of a file.

    Errors: InputError for another form, and what the builders refuse.
    """
    parts = name.rsplit("/", 2)
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


def _fastest_split(pe: ProcessingElement, work: Workload, terms: Terms) -> int:
    """Return the lanes of `LANES` by which a chip of the frame's area is fastest, then thriftiest.

    By the analytic rung. Errors: InfeasibleError where none runs, that of the fewest lanes.
    """
    runs, errors = [], []
    for lanes in LANES:
        try:
            made = design(pe, terms, lanes)
            result = simulate(made.device, work, "analytic", energy=priced(made, terms))
        except InfeasibleError as error:
            errors.append(error)
        else:
            runs.append((result.latency_ps, result.energy_j, lanes))
    if not runs:
        raise errors[0]
    return min(runs)[-1]


def compared(pe: ProcessingElement, pair: str, workload: str, terms: Terms | None = None) -> Row:
    """Return an element's row on a workload (`workload_named`), multiplying one of its pairs.

    Errors: InputError for what a function above refuses. A design that is infeasible is a row that
    says so.
    """
    terms = terms or Terms()
    # Refuses a pair that the element does not multiply, or that has no kernel.
    element_cells(pe, pair)
    formats = formats_of(pe, pair)
    row = Row(
        pe=pe.name,
        weights=formats[0],
        activations=formats[1],
        workload=workload,
        elements=0,
        array_mm2=0.0,
        sqnr_db=_sqnr_db(pe.kernel(pair), formats),
        priced_by=priced_by(pe, terms.technology, terms.synthesis),
    )
    work = workload_named(workload, formats)
    try:
        lanes = _fastest_split(pe, work, terms) if terms.iso == "chip" else None
        made = design(pe, terms, lanes)
        area, profile = areas_of(made, terms), priced(made, terms)
        row = with_values(
            row,
            elements=made.elements,
            array_mm2=made.array_mm2,
            lanes=made.device.vector.lanes,
            chip_mm2=area.chip_mm2,
            area=area,
        )
        result = simulate(made.device, work, terms.rung, energy=profile)
    except InfeasibleError as error:
        return with_values(row, infeasible=str(error))
    return with_values(
        row,
        latency_s=result.latency_s,
        tokens_per_s=result.tokens_per_s,
        energy_j=result.energy_j,
        edp_js=result.energy_j * result.latency_s,
        bound_by=_bound_by(result),
        **_energies(result, profile, pair, _attention_pair(pe, pair)),
    )


def _attention_pair(pe: ProcessingElement, pair: str) -> str:
    """Return what attention multiplies, on the element or the frame's beside it."""
    return attention_pair(pe, pair) if does_attention(pe, pair) else "fp16xfp16"


def _energies(
    result: Result, profile: EnergyProfile, pair: str, attention_pair: str
) -> dict[str, Any]:
    """Return the parts of the energy and its ends: it is linear in what gates and DRAM cost.

    What an array burns while it waits is a part of what it burns active: it has the gates' range.
    """
    dram = result.energy_breakdown_j["dram"]
    linear, attention = (
        sum(
            op.count * op.energy_by_component.get("matrix", 0.0)
            for op in result.records
            if (op.kind == "linear") == of_weights
        )
        for of_weights in (True, False)
    )
    waits = {
        unit: sum(result.energy_by_state_j.get(unit, {}).get(each, 0.0) for each in WAITING)
        for unit in ("matrix", "beside")
    }
    rest = result.energy_j - dram - linear - attention - sum(waits.values())
    found = {"dram_j": dram, "mac_j": linear, "attention_mac_j": attention}
    written = sum(op.count * op.bytes_written for op in result.records)
    found["dram_write_j"] = 8e-12 * written * profile.dram_write_pj_per_bit.nominal
    found["dram_background_j"] = result.energy_breakdown_j["dram_background"]
    for state in WAITING:
        found[f"matrix_{state}_j"] = sum(
            result.energy_by_state_j.get(unit, {}).get(state, 0.0) for unit in ("matrix", "beside")
        )
    read, write = profile.dram_read_pj_per_bit, profile.dram_write_pj_per_bit
    ends: tuple[Bound, ...] = ("low", "high")
    for bound in ends:
        own, other = (
            profile.mac_pj(each, bound) / profile.mac_pj(each) for each in (pair, attention_pair)
        )
        found[f"mac_{bound}_j"] = linear * own
        moved = _scaled(dram - found["dram_write_j"], read, bound)
        moved += _scaled(found["dram_write_j"], write, bound)
        matrix = linear * own + attention * other + waits["matrix"] * own + waits["beside"] * other
        found[f"energy_{bound}_j"] = rest + moved + matrix
    return found


def _scaled(joules: float, constant: Constant, bound: Bound) -> float:
    """Return an energy at an end of what its constant may be; free stays free."""
    return joules * constant.at(bound) / constant.nominal if constant.nominal else 0.0


def _bound_by(result: Result) -> str:
    """Return what bounds most of the time of operations."""
    time: dict[str, int] = {}
    for op in result.records:
        time[op.bound_by] = time.get(op.bound_by, 0) + op.latency_ps
    return max(time, key=lambda name: time[name])


@lru_cache(maxsize=256)
def _sqnr_db(kernel: str, formats: tuple[str, str, str]) -> float:
    """Return the SQNR of a product: errors of quantisation and of the datapath add up as power."""
    check = verify(kernel, SAMPLE, formats[0], formats[1], outputs=CHECKED)
    if not check.bit_exact:
        raise InputError(
            f"{check.name}: kernel and specification disagree on {formats[0]} x {formats[1]}; "
            "nibblesim verify tells how far"
        )
    noise = [10 ** (-each / 10) for each in (check.sqnr_db, check.quantisation_sqnr_db or inf)]
    total = sum(noise)
    return -10 * log10(total) if total else inf


def table(
    elements: Iterable[ProcessingElement], workloads: Sequence[str], terms: Terms | None = None
) -> list[Row]:
    """Return the rows of all pairs of all elements on all workloads, in that order."""
    shared = terms or Terms()
    return [
        compared(pe, pair, workload, shared)
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
