"""Does the experiment split silicon and power as it says, and take the best of a budget?"""

import pytest
from experiments_loaded import loaded

from simulator import api
from simulator.config import replace
from simulator.mapping.pim_area import pim_area_mm2
from simulator.workload import decode_step

designs, _, run = loaded("npu_pim_split", ("designs", "figure", "run"))


def design(banks: float, matrix: float, latency_s: float) -> object:
    return designs.Design(int(banks > 0), 0.0, 1, banks, matrix, latency_s, 1.0)


#: Arrays alone get faster up to 40; banks need 30 and are worth it from 50 on.
MADE = [
    *(design(0.0, matrix, 10.0 / min(matrix, 40.0)) for matrix in (10.0, 20.0, 40.0, 80.0)),
    design(30.0, 10.0, 0.5),
    design(30.0, 20.0, 0.2),
    design(60.0, 20.0, 0.1999),
]


def test_the_smallest_of_the_fastest_is_best() -> None:
    assert designs.best(MADE, 40.0).share == 0.0
    assert designs.best(MADE, 50.0).share == 0.6
    # A larger one is faster by less than counts.
    assert designs.best(MADE, 100.0) == designs.best(MADE, 50.0)
    assert designs.alone(MADE, 100.0).matrix == 40.0
    with pytest.raises(ValueError, match="empty"):
        designs.best(MADE, 5.0)


def test_gains_are_over_arrays_alone() -> None:
    assert designs.gain(MADE, 40.0) == 1.0
    assert designs.gain(MADE, 50.0) == pytest.approx(0.25 / 0.2)
    assert designs.gain_in_turns(MADE, 30.0) == pytest.approx(0.5 / 0.2)
    assert designs.least_budget(MADE) == 50.0


def test_silicon_is_that_of_all_banks_and_arrays() -> None:
    """TPUv4i's four arrays are 11 % of its 400 mm2; AttAcc's units are 0.1025 mm2 a bank."""
    assert designs.banks() == 5 * 1024
    assert designs.array_mm2() == pytest.approx(0.11 * 400 / 4, rel=0.01)
    assert designs.bank_mm2(16, "low") < 0.1025 < designs.bank_mm2(16)


def test_units_are_those_of_the_studys_own_metric() -> None:
    formats = {"weights": "fp16", "activations": "fp16", "kv": "fp16"}
    frame = replace(designs.device(), {"pim.unit.elements": 8})
    ours = designs.banks() * designs.bank_mm2(8)
    assert ours == pytest.approx(pim_area_mm2(frame, formats))


def test_power_of_an_array_is_that_of_its_macs() -> None:
    assert designs.array_w() == pytest.approx(128 * 128 * 1e9 * 0.72e-12)


def test_nothing_in_the_banks_is_as_no_units() -> None:
    frame = replace(designs.device(), {"matrix.arrays": 12})
    step = decode_step(api.load_model("llama-3-8b"), batch=4, context=512)
    npu = api.Policies(placement="npu")
    with_units = api.simulate(frame, step, rung="analytic", policies=npu)
    without = api.simulate(replace(frame, {"pim": None}), step, rung="analytic")
    assert with_units.latency_s == without.latency_s


def test_a_small_study_is_of_one_cell() -> None:
    sweep = run.sweep_of("area", run.SMALL)
    points = [p for p in sweep.space.grid() if p["run.placement"] == "npu"]
    assert {(p["workload.context"], p["workload.batch"]) for p in points} == {run.SMALL}
    assert len(points) == 8
