"""The four systems of the paper, the models that it runs on them, and what a decode step takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Model, decode_step

#: Layers of a stage that are simulated: all are alike, and these say what one takes.
LAYERS = 8
#: NeuPIMs' A100, which has 40 GB.
A100_40GB = {"memory.capacity": "40 GB", "memory.bandwidth": "1555 GB/s"}
SYSTEMS = ("gpu_only", "npu_only", "npu_pim", "neupims")


@dataclass(frozen=True)
class Split:
    """A model with the devices that share a layer, and the stages of its layers."""

    model: str
    tp: int
    pp: int


#: As NeuPIMs' own runs.
SPLITS = {
    "7B": Split("gpt3-7b", 4, 1),
    "13B": Split("gpt3-13b", 4, 1),
    "30B": Split("gpt3-30b", 4, 2),
    "175B": Split("gpt-3-175b", 8, 4),
}


@lru_cache
def device_of(system: str) -> Device:
    """Return the device of a system."""
    match system:
        case "gpu_only":
            return replace(load_device("a100"), A100_40GB)
        case "npu_pim":
            return load_device("npu_pim_blocked")
        case _:
            return load_device(system)


@lru_cache
def stage_of(split: Split) -> Model:
    """Return a model of which each stage has `LAYERS` layers."""
    return replace(load_model(split.model), {"layers": LAYERS * split.pp})


def step(
    system: str, split: Split, requests: Sequence[int], policies: Policies | None = None
) -> Result:
    """Simulate a decode step of one stage; the paper's baseline deals requests out in turn."""
    if policies is None:
        turn = "round_robin" if system == "npu_pim" else "min_load"
        policies = Policies(assignment=turn)
    workload = decode_step(
        stage_of(split),
        context=list(requests),
        tensor_parallel=split.tp,
        pipeline_parallel=split.pp,
    )
    result = simulate(device_of(system), workload, policies=policies)
    result.check()
    return result


def layer_us(result: Result) -> float:
    """Return what a layer takes, embedding and head left out."""
    records = [record for record in result.records if record.layer >= 0]
    start = min(record.start_ps for record in records)
    return (max(record.end_ps for record in records) - start) / LAYERS / 1e6
