"""What a point of a study comes to, in metrics."""

from simulator import api
from simulator.hardware import Device
from simulator.results import Result
from simulator.workload import Workload

#: What comes of a point, with units. Those of tokens are absent where there are none.
METRICS = {
    "latency_s": "s",
    "tokens_per_s": "tokens/s",
    "energy_j": "J",
    "energy_per_token_j": "J",
    "power_w": "W",
    "edp_js": "J s",
    "area_mm2": "mm2",
    "tops": "TOPS",
    "tops_per_w": "TOPS/W",
    "tops_per_mm2": "TOPS/mm2",
    "tokens_per_s_per_w": "tokens/s/W",
    "memory_bytes": "bytes",
}


def metrics_of(result: Result, device: Device, workload: Workload) -> dict[str, float]:
    """Return the metrics of a run by name; operations are two a useful MAC."""
    from simulator.engine.assemble import area_mm2

    seconds, joules = result.latency_s, result.energy_j
    area, power = area_mm2(device, api.profile_of(device)), joules / seconds
    tops = 2 * result.macs / seconds / 1e12
    metrics = {
        "latency_s": seconds,
        "energy_j": joules,
        "power_w": power,
        "edp_js": joules * seconds,
        "area_mm2": area,
        "tops": tops,
        "tops_per_w": tops / power,
        "memory_bytes": float(workload.weight_bytes + workload.kv_bytes),
    }
    if area:
        metrics["tops_per_mm2"] = tops / area
    if result.tokens:
        metrics["tokens_per_s"] = result.tokens_per_s
        metrics["energy_per_token_j"] = joules / result.tokens
        metrics["tokens_per_s_per_w"] = result.tokens_per_s / power
    return metrics
