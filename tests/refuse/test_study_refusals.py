"""Is what no study could be refused before its first point, in exact words?"""

from collections.abc import Callable
from pathlib import Path

import pytest
from plans import tiny_model

from simulator.config import dump_yaml
from simulator.errors import InputError
from simulator.search.sweep_file import load_sweep
from simulator.study import case_of

SWEEP = """\
name: small
device: generic_npu_128
workload: {model: MODEL, batch: 2, context: 30}
workloads:
  p: {phase: prefill, sequence: 24}
  d: {phase: decode}
rung: analytic
space: {device.matrix.rows: [64]}
objectives: {d.tbt_s: min}
"""
Problems = Callable[..., list[str]]


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """Return what tells the problems of the sweep with some texts changed."""
    path, model = tmp_path / "sweep.yaml", tmp_path / "tiny.yaml"
    model.write_text(dump_yaml(tiny_model()))

    def found(*changes: tuple[str, str]) -> list[str]:
        text = SWEEP
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text.replace("MODEL", str(model)))
        with pytest.raises(InputError) as error:
            case_of(load_sweep(path))
        return list(error.value.problems)

    return found


#: A space in which one workload is of two phases.
MIXED = (
    "space: {workload.d.phase: [decode, mixed], "
    "workload.d.context: {choice: [30], when: {workload.d.phase: [decode]}}, "
    "workload.d.prompts: {choice: [4], when: {workload.d.phase: [mixed]}}, "
    "workload.d.contexts: {choice: [30], when: {workload.d.phase: [mixed]}}, "
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("rung: analytic", "rung: analytic\nrun: {rung: null}"),
            ["unknown rung 'None'; known: roofline, analytic, tile, command"],
        ),
        (("batch: 2", "contekst: 2"), ["unknown workload option 'contekst'; did you mean 'context'?"]),
        (("context: 30", "prompts: 30"), ["unknown workload option 'prompts'"]),
        (("sequence: 24", "context: 24"), ["workloads.p: unknown workload option 'context'", "workloads.p: workload.sequence: missing, which phase 'prefill' needs"]),
        (("phase: decode", "phase: decod"), ["workloads.d: unknown workload.phase 'decod'; did you mean 'decode'?"]),
        ((", batch: 2", ", batch: 0"), ["workloads.p: batch must be", "workloads.d: batch must be"]),
        (("{device.matrix.rows: [64]}", "{workload.q.batch: [1]}"), ["unknown workload option 'q.batch'"]),
        (("{device.matrix.rows: [64]}", "{workload.d.sequence: [1]}"), ["workloads.d: unknown workload option 'sequence'"]),
        (("{device.matrix.rows: [64]}", "{workload.contexts: [1]}"), ["unknown workload option 'contexts'; did you mean 'context'?"]),
        (("d.tbt_s", "tbt_s"), ["unknown metric 'tbt_s'; did you mean 'd.tbt_s'?"]),
        (("d.tbt_s", "d.area_mm2"), ["unknown metric 'd.area_mm2'"]),
    ],
)  # fmt: skip
def test_what_no_workload_takes_is_refused(
    problems: Problems, change: tuple[str, str], words: list[str]
) -> None:
    found = problems(change)
    assert len(found) == len(words)
    assert all(problem.startswith(start) for problem, start in zip(found, words, strict=True)), (
        found
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([("d.tbt_s", "d.ttft_s")], "objective 'd.ttft_s': only phase 'prefill' has it, and that of workload 'd' is 'decode'"),
        ([("d.tbt_s", "d.ttft_s"), (", context: 30", ""), ("space: {", MIXED)], "objective 'd.ttft_s': only phase 'prefill' has it, and that of workload 'd' is 'decode or mixed'"),
        ([("d.tbt_s", "p.dram_busy"), ("analytic", "roofline")], "objective 'p.dram_busy': rung 'roofline' has no shares of time"),
        ([("d.tbt_s", "cost_usd"), ("generic_npu_128", "neupims")], "objective 'cost_usd': neupims: "),
    ],
)  # fmt: skip
def test_an_objective_that_no_point_can_have_is_refused(
    problems: Problems, changes: list[tuple[str, str]], problem: str
) -> None:
    found = problems(*changes)
    assert len(found) == 1
    assert found[0].startswith(problem)
