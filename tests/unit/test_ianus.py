"""Do IANUS' banks take few tokens, and no transfers meanwhile? Latencies are the experiment's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.dram.channels import Channels
from simulator.dram.pim.aim import run_gemv
from simulator.hardware.pim import AimChannels
from simulator.mapping.pim_attention import product_in_aim
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

IANUS, NPU_MEM = load_device("ianus"), load_device("npu_mem")
MODEL = replace(load_model("gpt-2-medium"), {"layers": 2})
BF16 = dict.fromkeys(("weights", "activations", "kv"), "bf16")
PIM = IANUS.pim
assert isinstance(PIM, AimChannels)
PART = PIM.part


def run(workload: Workload, placement: str = "predicted", rung: str = "tile") -> Result:
    result = simulate(
        IANUS, workload, rung, policies=Policies(placement=placement), trace=rung == "tile"
    )
    result.check()
    return result


def prompt(tokens: int) -> Workload:
    return prefill(MODEL, sequence=tokens, **BF16)


def units(result: Result) -> dict[str, str]:
    """Return the unit of each operation of the first layer, by its own name."""
    return {r.name.removeprefix("layers.0."): r.unit for r in result.records if r.layer == 0}


# The description.


def test_both_devices_are_the_same_but_for_the_banks() -> None:
    assert NPU_MEM.pim is None
    for name in ("clock_hz", "cores", "matrix", "vector", "scratchpad", "dma", "memory", "network"):
        assert getattr(IANUS, name) == getattr(NPU_MEM, name)


def test_bandwidths_are_the_published_ones() -> None:
    """256 GB/s on the pins, 4096 GB/s at 128 banks; a sixteenth of a row for a head of 64."""
    memory = NPU_MEM.memory
    assert isinstance(memory, Channels)
    assert memory.bandwidth_bytes_per_s == 256e9
    inside = PART.channels * memory.standard.banks_per_channel * memory.standard.peak_bytes_per_s
    assert inside == 4096e9
    assert PART.memory.bursts_per_row * PART.units.lanes == 1024


def test_transfers_reach_three_quarters_in_ianus_order_of_addresses() -> None:
    """Of each row's 64 bursts the controller's 32 requests see the next 32 ns ahead, tRCD is 36."""
    best = NPU_MEM.memory_bytes_per_s
    assert 0.7 < best / 256e9 < 0.85


# Products on the banks.


def test_a_product_of_several_pieces_takes_the_recorded_order() -> None:
    """Where the buffer is written for each row, the program is that of the recorded products."""
    done, gemv = product_in_aim(PIM, 1536, 1536, 1), run_gemv(PART, 1536, 1536, reads="all")
    assert done.ps == gemv.cycles * PART.memory.tick_ps
    assert done.read_bytes == 2 * 1536 * 1536
    assert done.energy_j == pytest.approx(sum(gemv.energy_j.values()) - gemv.energy_j["standby"])


def test_inputs_of_one_piece_are_written_once() -> None:
    # A refresh closes a row, which has to be opened again.
    pim = replace(PIM, {"part.refresh.mode": "none"})
    rows, gemv = 32, run_gemv(pim.part, 4096, 1024, reads="all")
    done = product_in_aim(pim, 4096, 1024, 1)
    saved = gemv.energy_j["WRGB"] * (rows - 1) / rows + gemv.energy_j["standby"]
    assert gemv.commands["WRGB"] == rows * 64 * PART.channels
    assert done.energy_j == pytest.approx(sum(gemv.energy_j.values()) - saved)
    assert done.ps < gemv.cycles * PART.memory.tick_ps
    assert done.least_ps == 4096 * 1024 * 1000 // (128 * 16)
    assert done.least_ps < done.ps


def test_vectors_come_one_after_the_other() -> None:
    one, three = (product_in_aim(PIM, 1024, 1024, count) for count in (1, 3))
    assert (three.ps, three.macs) == (3 * one.ps, 3 * one.macs)
    assert three.energy_j == pytest.approx(3 * one.energy_j)
    assert three.read_bytes == one.read_bytes


# Algorithm 1.


@pytest.mark.parametrize(("tokens", "unit"), [(1, "pim"), (4, "pim"), (9, "matrix")])
def test_few_tokens_go_to_the_banks_and_more_to_the_matrix_units(tokens: int, unit: str) -> None:
    found = units(run(prompt(tokens), rung="analytic"))
    assert {each for name, each in found.items() if name.endswith("_proj")} == {unit}
    assert found["attention"] == "matrix"


def test_the_prediction_is_about_as_good_as_the_better_of_both() -> None:
    for tokens in (2, 12):
        predicted, banks, matrix = (
            run(prompt(tokens), placement, "analytic").latency_s
            for placement in ("predicted", "fixed", "npu")
        )
        assert predicted < 1.02 * min(banks, matrix)


def test_scores_and_outputs_of_a_step_stay_on_the_matrix_units() -> None:
    found = units(run(decode_step(MODEL, context=256, **BF16), "fixed"))
    assert found["attention"] == "matrix"
    assert found["q_proj"] == "pim"


# One memory.


def tiles(result: Result, unit: str) -> NDArray[np.int64]:
    """Return (start, end) of each busy interval of a unit, in order."""
    place = [record.name for record in result.units].index(unit)
    assert result.tiles is not None
    mine = result.tiles.unit == place
    times = np.stack([result.tiles.start_ps[mine], result.tiles.end_ps[mine]])
    return times[:, np.argsort(times[0], kind="stable")]


def test_no_data_move_while_banks_multiply() -> None:
    result = run(decode_step(MODEL, context=256, **BF16))
    banks, pins = tiles(result, "pim"), tiles(result, "dram")
    assert banks.shape[1] > 100
    assert pins.shape[1] > 10
    # Those under way pause: what a transfer takes is without the banks' time from start to end.
    moved = 0
    for start, end in pins.T:
        assert not np.any((banks[0] < start) & (start < banks[1]))
        beside = np.minimum(banks[1], end) - np.maximum(banks[0], start)
        moved += end - start - beside[beside > 0].sum()
    by_name = {record.name: record for record in result.units}
    assert moved == by_name["dram"].busy_ps
    assert by_name["dram"].busy_ps + by_name["pim"].busy_ps <= result.latency_ps


def test_the_memory_books_the_banks_time_as_a_stall() -> None:
    result = run(decode_step(MODEL, context=256, **BF16))
    by_name = {record.name: record for record in result.units}
    assert by_name["dram"].stall_ps["pim"] == by_name["pim"].busy_ps


def test_a_step_is_several_times_as_fast_as_without_units() -> None:
    step = decode_step(MODEL, context=256, **BF16)
    plain = simulate(NPU_MEM, step)
    assert 3 < plain.latency_s / run(step).latency_s < 8
    assert run(step, "npu").latency_s == pytest.approx(plain.latency_s, rel=1e-9)
