"""NeuPIMs' recorded decode iterations on the devices that carry its simulator's own NPU."""

from pathlib import Path

from lengths import NAMES, contexts
from systems import SPLITS, stage_of

from simulator.api import load_device, load_model, simulate
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import decode_step

HERE = Path(__file__).parent
#: The recorded runs of the small model: 32 requests of 256 keys, one on each channel.
TINY = {"context": [256] * 32, "channels": list(range(32))}
#: Mode of a recorded run -> device and sub-batches.
MODES = {
    "neupims": ("neupims_ref", "off"),
    "npu+pim": ("npu_pim_blocked_ref", "off"),
    "neupims-sb": ("neupims_ref", "on"),
    "npu-only": ("npu_only", "off"),
}


def iterations(*, small: bool) -> dict[str, float]:
    """Return cycles of blocks and stages, and energies, by key of a claim.

    small: without the sub-batches, whose two blocks take longest.
    """
    ours: dict[str, float] = {}
    for mode in MODES:
        if not (small and mode == "neupims-sb"):
            ours |= _figures(mode)
    block = {mode: ours[f"tiny.{mode}.block"] for mode in MODES if f"tiny.{mode}.block" in ours}
    ours["tiny.blocked_over_dual"] = block["npu+pim"] / block["neupims"]
    if not small:
        ours["tiny.sub_batches_over_dual"] = block["neupims-sb"] / block["neupims"]
    return ours


def large() -> dict[str, float]:
    """Return what the reference's modes gain over its NPU+PIM with GPT3-7B and 512 requests."""
    workload = decode_step(
        stage_of(SPLITS["7B"]), context=contexts(NAMES[0], 512), tensor_parallel=SPLITS["7B"].tp
    )

    def block(device: str, sub_batch: str, assignment: str) -> float:
        policies = Policies(sub_batch=sub_batch, assignment=assignment)
        return simulate(load_device(device), workload, policies=policies).cycles_per_block

    blocked = block("npu_pim_blocked_ref", "off", "round_robin")
    return {
        "large.dual": blocked / block("neupims_ref", "off", "round_robin"),
        "large.neupims": blocked / block("neupims_ref", "on", "min_load"),
    }


def _figures(mode: str) -> dict[str, float]:
    """Return the figures of a mode, by key of a claim."""
    result = _run(mode)
    found = {f"tiny.{mode}.block": result.cycles_per_block}
    if mode == "npu-only":
        return found
    cycles = {stage.name: stage.latency_ps / 1000 for stage in result.stages}
    found |= {f"tiny.{mode}.{name}": each for name, each in cycles.items()}
    return found | {
        f"tiny.{mode}.{name}_uj": 1e6 * joules for name, joules in result.memory_energy_j.items()
    }


def _run(mode: str) -> Result:
    device, sub_batch = MODES[mode]
    workload = decode_step(load_model(HERE / "tiny.yaml"), **TINY)
    result = simulate(load_device(device), workload, policies=Policies(sub_batch=sub_batch))
    result.check()
    return result
