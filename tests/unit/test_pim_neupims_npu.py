"""Do decode iterations take what NeuPIMs' own simulator recorded, stage by stage, NPU included?"""

import csv
import os
from functools import cache
from pathlib import Path

import pytest

from simulator.dram.pim import neupims_npu, neupims_npu_kernel
from simulator.dram.pim.neupims import read_requests
from simulator.dram.pim.neupims_npu import IterationRun, run_iteration
from simulator.dram.pim.neupims_part import load_neupims

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PART = load_neupims()
TINY = {"hidden": 1024, "heads": 8, "ffn": 4096, "tp": 1}
GPT3_7B = {"hidden": 4096, "heads": 32, "ffn": 16384, "tp": 4}
#: Requests of the recorded tiny iterations: one a channel.
EACH = [(256, channel) for channel in range(32)]
#: Recorded modes: the mode here, whether there are sub-batches.
MODES = {"neupims": ("dual", False), "npu+pim": ("blocked", False), "neupims-sb": ("dual", True)}
#: Total cycles and lines of the tiny iterations (casys-kaist/NeuPIMs @f299af3, run once).
TOTALS = {
    "neupims": (48_539, 422_996),
    "npu+pim": (86_336, 422_996),
    "neupims-sb": (150_817, 1_634_384),
}


def recorded(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (casys-kaist/NeuPIMs @f299af3)")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def energies_of(workload: str, mode: str) -> dict[str, float]:
    """Return the recorded energies in J, those that are not 0."""
    rows = recorded("neupims_iterations.csv")
    (row,) = (row for row in rows if (row["workload"], row["mode"]) == (workload, mode))
    pairs = (each.split("=") for each in row["energy_sums"].split(";"))
    found = {name.removesuffix("_energy"): float(value) * 1e-12 for name, value in pairs}
    return {name: joules for name, joules in found.items() if joules}


@cache
def tiny(mode: str) -> IterationRun:
    built, sub_batches = MODES[mode]
    return run_iteration(PART, built, EACH, **TINY, sub_batches=sub_batches)


def cycles(run: IterationRun) -> dict[str, int]:
    return {stage.name: stage.cycles for stage in run.stages}


@pytest.mark.parametrize("mode", MODES)
def test_tiny_iterations_take_what_was_recorded(mode: str) -> None:
    run, (total, lines) = tiny(mode), TOTALS[mode]
    assert run.cycles == pytest.approx(total, rel=0.03)
    assert run.cycles == sum(cycles(run).values())
    assert run.requests == lines
    if mode != "neupims-sb":
        assert run.cycles == pytest.approx(total, rel=0.002)
    # Modes stand to each other as recorded.
    against = run.cycles / tiny("neupims").cycles
    assert against == pytest.approx(total / TOTALS["neupims"][0], rel=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_tiny_iterations_burn_what_was_recorded(mode: str) -> None:
    energies = energies_of("tiny-b32-s256", mode)
    assert tiny(mode).energy_j == {
        name: pytest.approx(joules, rel=0.05) for name, joules in energies.items()
    }


def test_stages_are_of_operations_and_attention() -> None:
    stages = {stage.name: stage for stage in tiny("neupims").stages}
    assert [op.name for op in stages["A"].operations] == ["norm_attention", "qkv_proj"]
    assert [op.kind for op in stages["E"].operations] == [
        *("matmul", "add", "ln", "matmul", "gelu", "matmul", "add"),
    ]
    assert not stages["B"].operations
    for name in "AE":
        ops = stages[name].operations
        # One after the other, and nothing between them.
        assert sum(op.cycles for op in ops) == stages[name].cycles
        assert sum(op.read_lines + op.written_lines for op in ops) == stages[name].requests
    assert stages["B"].attention_cycles == stages["B"].cycles
    # Recorded to the cycle: attention (test_pim_neupims), and the mean of busy channels, 11402.
    assert stages["B"].pim_busy_cycles == pytest.approx(11_402, abs=2)
    assert stages["A"].attention_cycles == stages["A"].pim_busy_cycles == 0
    # Products write no more than their transposed indices leave: 32 rows of 128 columns at most.
    product = stages["E"].operations[0]
    assert product.macs == 32 * 1024 * 1024
    assert product.written_lines == 32 * 128 * 2 // 64 + 1


def test_two_sub_batches_hide_attention_and_read_weights_twice() -> None:
    one, two = tiny("neupims"), tiny("neupims-sb")
    stages = {stage.name: stage for stage in two.stages}
    assert list(stages) == [*"ABCDEF"]
    for name, attends in zip("ABCDEF", (0, 1, 1, 1, 1, 0), strict=True):
        assert bool(stages[name].attention_cycles) == bool(attends)
        assert stages[name].cycles >= stages[name].attention_cycles
    assert two.operations == 2 * one.operations
    assert 3.8 < two.requests / one.requests < 3.9


def test_a_narrow_model_reads_what_it_should() -> None:
    """An FFN that is not four times as wide; lines by hand, one more for each instruction."""
    run = run_iteration(
        PART, "dual", [(64, 0)], hidden=256, heads=2, ffn=384, tp=1, sub_batches=False
    )
    ops = {op.name: op for stage in run.stages for op in stage.operations}

    def lines(*values: int) -> int:
        return sum(values) * PART.value_bytes // PART.burst_bytes

    # A block of bias; 128 x 128 weights in 2 x 3 blocks; the row in 2 blocks.
    blocks = lines(128) + 1 + 6 * (lines(128 * 128) + 1) + 2 * (lines(128) + 1)
    assert ops["up_proj"].read_lines == pytest.approx(blocks, abs=9)
    assert ops["up_proj"].macs == 256 * 384
    assert ops["activation"].read_lines == lines(384) + 1


@pytest.mark.parametrize("mode", ["dual", "blocked"])
def test_channels_may_run_each_for_itself(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tick by tick on all channels it is the same run, up to the writes that its end leaves."""
    requests = [(600, 0), (40, 0), (300, 7), (100, 9)]
    shape = {"hidden": 256, "heads": 2, "ffn": 512, "tp": 1, "sub_batches": mode == "dual"}
    ahead = run_iteration(PART, mode, requests, **shape)
    limits = neupims_npu._limits(PART)
    assert limits[neupims_npu_kernel.WINDOW] > 1
    limits[neupims_npu_kernel.WINDOW] = 1
    monkeypatch.setattr(neupims_npu, "_limits", lambda part: limits)
    by_tick = run_iteration(PART, mode, requests, **shape)
    assert by_tick.stages == ahead.stages
    for name in ("RD", "GWRITE", "REFab", "P_HEADER"):
        assert by_tick.commands[name] == ahead.commands[name]


@pytest.mark.parametrize(("mode", "tokens"), [("dual", 512), ("blocked", 2000)])
def test_a_request_alone_takes_what_was_recorded(mode: str, tokens: int) -> None:
    rows = recorded("neupims_single_request.csv")
    (row,) = (row for row in rows if row["mode"] == mode and int(row["context"]) == tokens)
    run = run_iteration(PART, mode, [(tokens, 0)], **TINY, sub_batches=False)
    columns = ("qkv_stage_cycles", "mha_stage_cycles", "projection_ffn_stage_cycles")
    for stage, column in zip(run.stages, columns, strict=True):
        assert stage.cycles == pytest.approx(int(row[column]), rel=0.035)


@pytest.mark.slow
def test_gpt3_7b_takes_what_was_recorded() -> None:
    rows = recorded("neupims_iterations.csv")
    (row,) = (row for row in rows if row["workload"] == "sample-7B-tp4-bs512")
    sample = DATA / "neupims_sample_7b_requests.csv"
    run = run_iteration(PART, "dual", read_requests(sample), **GPT3_7B, sub_batches=False)
    assert run.cycles == pytest.approx(int(row["total_cycles"]), rel=0.03)
    assert run.requests == int(row["mem_requests"])
    for each in row["stages"].split(";"):
        name, text = each.split("=")
        assert cycles(run)[name] == pytest.approx(int(text.split("(")[0]), rel=0.03)
    energies = energies_of("sample-7B-tp4-bs512", "neupims")
    assert run.energy_j == {
        name: pytest.approx(joules, rel=0.05) for name, joules in energies.items()
    }
