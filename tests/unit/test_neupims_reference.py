"""Do devices with NeuPIMs' own NPU run blocks as its replica does, to the cycle?"""

from pathlib import Path

import pytest

from simulator import load_device, load_model, load_result, simulate
from simulator.config import replace
from simulator.mapping.neupims_reference import iteration
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Workload, decode_step

SMALL = replace(
    load_model("gpt-3-175b"),
    {"name": "small", "hidden": 256, "heads": 2, "kv_heads": 2, "head_dim": 128, "ffn": 512,
     "layers": 3, "vocab": 512},
)  # fmt: skip
DEVICE, BLOCKED = load_device("neupims_ref"), load_device("npu_pim_blocked_ref")


def step(layers: int = 3) -> Workload:
    model = replace(SMALL, {"layers": layers})
    return decode_step(model, context=[40, 90, 200, 70], channels=[0, 0, 1, 5])


def run(sub_batch: str, layers: int = 3, rung: str = "tile") -> Result:
    result = simulate(DEVICE, step(layers), rung, policies=Policies(sub_batch=sub_batch))
    result.check()
    return result


@pytest.mark.parametrize("name", ["neupims_ref", "npu_pim_blocked_ref"])
def test_stages_last_as_long_as_in_the_replica(name: str) -> None:
    device = load_device(name)
    result = simulate(device, step(), policies=Policies(sub_batch="off"))
    result.check()
    whole = iteration(device, step(), "min_load", sub_batches=False)
    assert [(stage.name, stage.runs, stage.latency_ps) for stage in result.stages] == [
        (stage.name, 3, 1000 * stage.cycles) for stage in whole.stages
    ]
    assert result.cycles_per_block == whole.cycles
    assert result.memory_energy_j == whole.energy_j
    attention = next(stage for stage in result.stages if stage.name == "B")
    assert attention.pim_ps == attention.latency_ps
    # All that the NPU moves, and nothing else, is in the operations of the stages.
    moved = [stage.dram_bytes for stage in result.stages]
    assert moved == [whole.stages[0].bytes, 0, whole.stages[2].bytes]


@pytest.mark.parametrize("layers", [1, 3])
def test_with_sub_batches_a_block_is_half_of_two(layers: int) -> None:
    result = run("on", layers)
    whole = iteration(DEVICE, step(), "min_load", sub_batches=True)
    assert {stage.name: stage.latency_ps for stage in result.stages} == {
        stage.name: 1000 * stage.cycles for stage in whole.stages
    }
    assert result.cycles_per_block == whole.cycles / 2
    assert result.memory_energy_j == whole.energy_j
    cycles = {stage.name: stage.cycles for stage in whole.stages}
    blocks = sum(cycles[name] for name in "ABEF") + (layers - 1) * (cycles["C"] + cycles["D"])
    of_layers = [each for each in result.records if each.segment in cycles]
    last, first = max(each.end_ps for each in of_layers), min(each.start_ps for each in of_layers)
    assert last - first == 1000 * blocks
    assert {each.layer for each in of_layers} == set(range(layers))


def test_auto_has_sub_batches_where_they_are_faster() -> None:
    times = {asked: run(asked).latency_ps for asked in ("on", "off", "auto")}
    assert times["auto"] == min(times.values())


def test_the_bound_is_no_longer_than_the_run() -> None:
    tile, analytic, roofline = (
        run("off", rung=rung).latency_ps for rung in ("tile", "analytic", "roofline")
    )
    assert roofline <= analytic <= tile


def test_what_the_commands_cost_is_shown_and_kept(tmp_path: Path) -> None:
    result = run("off")
    assert set(result.memory_energy_j) == {
        *("act", "read", "write", "ref", "gwrite", "gact", "comp", "readres", "background"),
    }
    assert "Energy of the memory's commands" in str(result.summary())
    assert load_result(result.save(tmp_path / "run")).to_dict() == result.to_dict()
    plain = simulate(load_device("neupims"), step(), policies=Policies(sub_batch="off"))
    assert plain.memory_energy_j == {}
    assert "commands" not in str(plain.summary())


def test_devices_of_a_group_share_a_block() -> None:
    """Each has half of the heads and of the FFN, and all of the norms."""
    workload = decode_step(
        SMALL, context=[40, 90, 200, 70], channels=[0, 0, 1, 5], tensor_parallel=2
    )
    result = simulate(DEVICE, workload, policies=Policies(sub_batch="off"))
    result.check()
    whole = iteration(DEVICE, step(), "min_load", sub_batches=False)
    assert result.cycles_per_block < whole.cycles
    macs = {each.name: each.macs_useful for each in result.records if each.layer == 0}
    assert macs["layers.0.up_proj"] == 4 * 256 * 256
    assert macs["layers.0.qkv_proj"] == 4 * 256 * 3 * 128
