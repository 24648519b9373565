"""What a point of a study comes to, in metrics: numbers of one point, or arrays over many alike.

What was measured stands in `Design` and `Ran`; all metrics follow from it in `derived`, so that a
simulation and the analytic rung over many points at once share every formula.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator import api
from simulator.cost import EnergyProfile
from simulator.cost.dollars import Numbers, PriceList, load_prices
from simulator.errors import InputError
from simulator.hardware import Device, IdealMemory
from simulator.hardware.bill import PRICES, cost_usd, unpriced
from simulator.hardware.pim import AttAccStacks
from simulator.mapping.pim_area import pim_area_mm2
from simulator.results import Result
from simulator.results.result import PS_PER_S
from simulator.workload import Workload

#: A number of a point, or an array of as many as there are points; NaN where there is none.
Number: TypeAlias = float | NDArray[np.float64]

#: Shares of the latency of a run.
SHARES = ("matrix_busy", "matrix_stalled", "vector_busy", "dram_busy")
#: What comes of a workload of a point, with units. Operations are two a useful MAC; those of tokens
#: are absent where there are none, shares of time at the roofline rung.
OF_RUN = {
    "latency_s": "s",
    "ttft_s": "s",
    "tbt_s": "s",
    "tokens_per_s": "tokens/s",
    "energy_j": "J",
    "energy_per_token_j": "J",
    "power_w": "W",
    "edp_js": "J s",
    "tops": "TOPS",
    "tops_per_w": "TOPS/W",
    "tops_per_mm2": "TOPS/mm2",
    "tokens_per_s_per_w": "tokens/s/W",
    "ops_per_byte": "1/byte",
    **dict.fromkeys(SHARES, "1"),
    "memory_bytes": "bytes",
    "bits_per_weight": "bits",
    "sqnr_db": "dB",
    "devices": "1",
    "group_power_w": "W",
    "group_cost_usd": "$",
    "pim_area_mm2": "mm2",
}
#: What is of one device of a group, or one stage of a pipeline, and what is of all in its place.
OF_DEVICE = {
    "energy_j": ("energy_per_token_j",),
    "power_w": ("group_power_w",),
    "edp_js": ("energy_per_token_j",),
    "tops": ("tokens_per_s",),
    "cost_usd": ("group_cost_usd",),
}
OF_STAGE = {"latency_s": ("ttft_s", "tbt_s")}
#: What a design has whatever it runs.
OF_DESIGN = {
    "area_mm2": "mm2",
    "cost_usd": "$",
    "peak_tops": "TOPS",
    "memory_bytes_per_s": "bytes/s",
    "memory_capacity_bytes": "bytes",
}
METRICS = OF_RUN | OF_DESIGN
#: The phase that alone has a metric: the time to the first token of a fixed batch, the time between
#: tokens.
PHASE_OF = {"ttft_s": "prefill", "tbt_s": "decode"}


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is known of a device before it runs.

    peak_macs_per_s: of the operand pair that it multiplies fastest. memory_bytes_per_s: sustained,
    of the best stream; NaN of a memory that takes no time.
    """

    area_mm2: Number
    cost_usd: Number
    peak_macs_per_s: Number
    memory_bytes_per_s: Number
    memory_capacity_bytes: Number


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What was measured of a workload on a device.

    phase, stages (of the pipeline of devices), devices (that share the tokens, alike), tokens and
    what follows up to sqnr_db are the workload's; sqnr_db is that of its format of weights on
    Gaussian ones. energy_j, macs: of one device, of those of a pipeline that which has most to do.
    group_energy_j: of all devices. dram_bytes: moved between memory and chip. busy,
    stalled: shares of the latency; matrix_stalled is what the matrix unit waits for weights,
    operands and sums of its own, not for the memory. pim_area_mm2: of what multiplies in the memory
    of one device, as large as the formats need; NaN where nothing does, or nobody knows.
    """

    phase: str
    stages: int
    devices: int
    tokens: Number
    memory_bytes: Number
    bits_per_weight: Number
    sqnr_db: Number
    latency_ps: Number
    energy_j: Number
    group_energy_j: Number
    macs: Number
    dram_bytes: Number
    matrix_busy: Number
    matrix_stalled: Number
    vector_busy: Number
    dram_busy: Number
    pim_area_mm2: Number = nan


def design_of(device: Device) -> Design:
    """Return what is known of a device."""
    from simulator.engine.energy import area_mm2

    ideal, capacity = isinstance(device.memory, IdealMemory), device.memory.capacity_bytes
    if isinstance(device.pim, AttAccStacks):
        capacity += device.pim.own.capacity_bytes
    profile = api.profile_of(device)
    area = area_mm2(device, profile)
    return Design(
        area_mm2=area,
        cost_usd=cost_of(device, area, profile),
        peak_macs_per_s=max(device.peak_macs_per_s.values()),
        memory_bytes_per_s=nan if ideal else device.memory_bytes_per_s,
        memory_capacity_bytes=float(capacity),
    )


def cost_of(device: Device, area_mm2: Numbers, profile: EnergyProfile) -> Numbers | float:
    """Return what a device of an area, or of many, costs in dollars; NaN where it has no price."""
    if unpriced(device, profile, _prices()):
        return nan
    return cost_usd(device, area_mm2, profile, _prices())


def no_cost(device: Device) -> str:
    """Return why a device has no cost in dollars, "" where it has one."""
    return unpriced(device, api.profile_of(device), _prices()) or ""


def ran(result: Result, workload: Workload, device: Device) -> Ran:
    """Return what a simulation of a workload on a device measured."""
    busy = {"dram": 0.0, **result.utilisation}
    (matrix,) = (unit for unit in result.units if unit.name == "matrix")
    stalled = sum(ps for cause, ps in matrix.stall_ps.items() if cause not in ("dram", "pim"))
    timed = result.rung != "roofline"
    return ran_of(
        workload,
        latency_ps=float(result.latency_ps),
        energy_j=result.energy_j,
        group_energy_j=_group_energy_j(result, workload),
        dram_bytes=float(result.bytes.get("dram", 0)),
        matrix_busy=busy["matrix"] if timed else nan,
        matrix_stalled=stalled / (result.latency_ps * matrix.instances) if timed else nan,
        vector_busy=busy["vector"] if timed else nan,
        dram_busy=busy["dram"] if timed else nan,
        pim_area_mm2=_pim_area_mm2(device, workload),
    )


def ran_of(workload: Workload, **measured: Number) -> Ran:
    """Return what was measured of a workload, with what it brings itself."""
    tensor, stages = _group(workload)
    return Ran(
        phase=workload.phase,
        stages=stages,
        devices=tensor * stages,
        tokens=float(workload.tokens),
        memory_bytes=float(workload.weight_bytes + workload.kv_bytes),
        bits_per_weight=workload.bits_per_weight,
        sqnr_db=_sqnr_db(workload.formats["weights"]),
        macs=float(workload.macs_useful),
        **measured,
    )


def _group(workload: Workload) -> tuple[int, int]:
    """Return among how many devices each layer is cut, and how many stages there are."""
    settings = workload.resolved
    return settings.get("tensor_parallel", 1), settings.get("pipeline_parallel", 1)


def _group_energy_j(result: Result, workload: Workload) -> float:
    """Return the energy of all devices: each layer and the head once, what waits and leaks of each.

    Of a pipeline the last stage was simulated, which has the head and as many layers as any. Left
    out: the embedding; that other stages wait while this one does the head.
    """
    tensor, stages = _group(workload)
    if stages == 1:
        return tensor * result.energy_j
    layers = workload.resolved["model"]["layers"]
    times = {"head": 1, "receive": stages - 1}
    of_layer = layers / -(-layers // stages)
    done = sum(times.get(each.segment, of_layer) * each.energy_j for each in result.records)
    return float(tensor * (stages * sum(result.shared_energy_j.values()) + done))


def derived(design: Design, runs: Mapping[str, Ran]) -> dict[str, Number]:
    """Return all metrics by column: of a workload behind its name and a dot, of the design bare.

    runs: by name of workload, "" for one without. NaN where there is none.
    """
    columns = {
        column(name, metric): value
        for name, run in runs.items()
        for metric, value in _of_run(run, design).items()
    }
    return {
        **columns,
        "area_mm2": design.area_mm2,
        "cost_usd": _finite(design.cost_usd),
        "peak_tops": 2 * design.peak_macs_per_s / 1e12,
        "memory_bytes_per_s": design.memory_bytes_per_s,
        "memory_capacity_bytes": design.memory_capacity_bytes,
    }


def metrics_of(
    results: Mapping[str, Result], device: Device, workloads: Mapping[str, Workload]
) -> dict[str, float]:
    """Return the metrics of a point by column, without those that it has not."""
    runs = {name: ran(result, workloads[name], device) for name, result in results.items()}
    columns = derived(design_of(device), runs).items()
    return {name: float(value) for name, value in columns if not np.isnan(value)}


def units_of(phases: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the unit of each column of a study, given the phases that each workload may have."""
    columns = {
        column(name, metric): unit
        for name, known in phases.items()
        for metric, unit in OF_RUN.items()
        if PHASE_OF.get(metric, "") in ("", *known)
    }
    return columns | OF_DESIGN


def column(workload: str, metric: str) -> str:
    """Return the column of a metric of a workload."""
    return f"{workload}.{metric}" if workload else metric


def _of_run(run: Ran, design: Design) -> dict[str, Number]:
    """Return the metrics of one workload by name."""
    seconds = run.latency_ps / PS_PER_S
    power, group_power = run.energy_j / seconds, run.group_energy_j / seconds
    tops = 2 * run.macs / seconds / 1e12
    rate = run.tokens * PS_PER_S / run.latency_ps
    by_phase = {name: run.stages * seconds for name, of in PHASE_OF.items() if of == run.phase}
    return {
        "latency_s": seconds,
        **by_phase,
        "tokens_per_s": _where(run.tokens, rate),
        "energy_j": run.energy_j,
        "energy_per_token_j": _over(run.group_energy_j, run.tokens),
        "power_w": power,
        "edp_js": run.energy_j * seconds,
        "tops": tops,
        "tops_per_w": tops / power,
        "tops_per_mm2": _over(tops, design.area_mm2),
        "tokens_per_s_per_w": _where(run.tokens, rate / group_power),
        "ops_per_byte": _over(2 * run.macs, run.dram_bytes),
        "matrix_busy": run.matrix_busy,
        "matrix_stalled": run.matrix_stalled,
        "vector_busy": run.vector_busy,
        "dram_busy": run.dram_busy,
        "memory_bytes": run.memory_bytes,
        "bits_per_weight": run.bits_per_weight,
        "sqnr_db": run.sqnr_db,
        "devices": float(run.devices),
        "group_power_w": group_power,
        "group_cost_usd": _finite(run.devices * design.cost_usd),
        "pim_area_mm2": run.pim_area_mm2,
    }


def _pim_area_mm2(device: Device, workload: Workload) -> float:
    try:
        return pim_area_mm2(device, workload.formats)
    except InputError:
        return nan


@lru_cache(maxsize=1)
def _prices() -> PriceList:
    return load_prices(PRICES)


@lru_cache(maxsize=256)
def _sqnr_db(weights: str) -> float:
    """Return the SQNR of a format of weights; NaN of one that holds none of either sign."""
    from simulator.numerics.weights import weight_sqnr_db

    try:
        return weight_sqnr_db(weights)
    except InputError:
        return nan


def _over(above: Number, below: Number) -> Number:
    """Return a ratio, NaN where it is of nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.equal(below, 0), nan, np.divide(above, below))


def _finite(value: Number) -> Number:
    return _where(np.isfinite(value), value)


def _where(there: ArrayLike, value: Number) -> Number:
    return np.where(np.equal(there, 0), nan, value)
