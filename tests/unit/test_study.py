"""Is a point what its paths say, its outcome that of `simulate`, and a study all of its points?"""

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import tiny_model

import simulator
from simulator import api, decode_step, load_device, prefill, simulate
from simulator.config import code_hash, data_root, dump_yaml, replace
from simulator.errors import InputError
from simulator.hardware.bill import cost_usd
from simulator.numerics.weights import weight_sqnr_db
from simulator.search.objectives import Objective
from simulator.search.pool import NoWorkerError, WorkerLostError
from simulator.search.records import Header, Outcome
from simulator.search.runner import costs_of, run_study
from simulator.search.space import Choice, Dimension, Int, Point, Space
from simulator.search.store import Store
from simulator.search.strategies import strategy
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import (
    METRICS,
    Case,
    case_of,
    definition,
    evaluate,
    header_of,
    launch,
    metrics_of,
    run,
)
from simulator.study.case import model_of
from simulator.study.metrics import Design, Ran, derived, design_of, ran, units_of
from simulator.study.refusals import refuse

DECODE = {"phase": "decode", "batch": 2, "context": 40}
SMALL = Space((Dimension("device.matrix.rows", Int(64, 128)),))
SWEEP = """\
name: small
summary: a small sweep
device: generic_npu_128
workload: {{model: {model}, phase: decode, batch: 2, context: 40}}
rung: analytic
space:
  device.matrix.rows: {{log2: [16, 128]}}
  workload.weights: [fp16, int8-channel]
  device.scratchpad.capacity: [8 KiB, 4 MiB]
objectives:
  latency_s: min
  area_mm2: {{goal: min, at_most: 100}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a tiny model."""
    path = tmp_path_factory.mktemp("models") / "tiny.yaml"
    path.write_text(dump_yaml(tiny_model()))
    return path


@pytest.fixture
def sweep_file(model: Path, tmp_path: Path) -> Path:
    """Return a sweep of 16 points."""
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(model=model))
    return path


@pytest.fixture
def case(model: Path) -> Case:
    return Case(load_device("generic_npu_128"), {"model": str(model), **DECODE}, {"rung": "tile"})


def test_a_point_is_what_a_script_would_run(case: Case) -> None:
    point: Point = {
        "device.matrix.rows": 32,
        "workload.weights": "int8-channel",
        "workload.model.layers": 3,
        "run.rung": "analytic",
    }
    device = replace(load_device("generic_npu_128"), {"matrix.rows": 32})
    model = replace(tiny_model(), {"layers": 3})
    workload = decode_step(model, batch=2, context=40, weights="int8-channel")
    result = simulate(device, workload, rung="analytic")
    outcome = evaluate(case, point)
    assert (outcome.state, outcome.reason) == ("OK", "")
    assert outcome.metrics == metrics_of({"": result}, device, {"": workload})
    assert set(outcome.metrics) <= set(METRICS)
    found = outcome.metrics
    assert found["latency_s"] == result.latency_s
    assert found["edp_js"] == pytest.approx(found["energy_j"] * found["latency_s"])
    assert found["tops_per_w"] * found["power_w"] == pytest.approx(found["tops"])
    assert found["tokens_per_s"] * found["energy_per_token_j"] == pytest.approx(found["power_w"])


@pytest.fixture
def pair(model: Path) -> Case:
    """Return a case of two workloads."""
    return Case(
        load_device("generic_npu_128"),
        {"model": str(model), "batch": 2, "context": 30, "weights": "int8-channel"},
        {"rung": "analytic"},
        {"p": {"phase": "prefill", "sequence": 24, "batch": 1}, "d": {"phase": "decode"}},
    )


@pytest.mark.parametrize(
    ("point", "batches", "lengths"),
    [
        ({}, (1, 2), (24, 30)),
        # Of all that take it, over what one says of itself.
        ({"workload.batch": 3}, (3, 3), (24, 30)),
        ({"workload.context": 40}, (1, 2), (24, 40)),
        ({"workload.d.context": 41, "workload.context": 40}, (1, 2), (24, 41)),
        ({"workload.p.batch": 4, "workload.batch": 3}, (4, 3), (24, 30)),
    ],
)
def test_a_path_is_of_all_workloads_or_of_one(
    pair: Case, point: Point, batches: tuple[int, int], lengths: tuple[int, int]
) -> None:
    _, workloads, _ = pair.at(point)
    assert list(workloads) == ["p", "d"]
    made = {
        "p": prefill(tiny_model(), sequence=lengths[0], batch=batches[0], weights="int8-channel"),
        "d": decode_step(
            tiny_model(), context=lengths[1], batch=batches[1], weights="int8-channel"
        ),
    }
    assert workloads == made


def test_the_model_of_one_workload(pair: Case) -> None:
    _, workloads, _ = pair.at({"workload.model.layers": 3, "workload.p.model.layers": 4})
    layers = [each.resolved["model"]["layers"] for each in workloads.values()]
    assert layers == [4, 3]


def test_metrics_of_several_workloads_are_apart(pair: Case) -> None:
    device, workloads, options = pair.at({})
    outcome = evaluate(pair, {})
    results = {name: simulate(device, each, **options) for name, each in workloads.items()}
    assert outcome.metrics == metrics_of(results, device, workloads)
    for name, result in results.items():
        assert outcome.metrics[f"{name}.latency_s"] == result.latency_s
    assert outcome.metrics["p.ttft_s"] == results["p"].latency_s
    assert outcome.metrics["d.tbt_s"] == results["d"].latency_s
    assert set(outcome.metrics) <= set(units_of(pair.phases(SMALL)))
    assert not {"p.tbt_s", "d.ttft_s", "latency_s", "p.area_mm2"} & set(outcome.metrics)
    assert outcome.metrics["area_mm2"] > 0


def test_the_workload_that_does_not_fit_is_named(pair: Case) -> None:
    small = {"device.memory.capacity": "100 KiB"}
    outcome = evaluate(pair, small)
    assert outcome.state == "INFEASIBLE"
    alone = {name: value for name, value in pair.workload.items() if name != "context"}
    reason = evaluate(Case(pair.device, {**alone, **pair.workloads["p"]}, pair.run), small).reason
    assert outcome.reason == f"p: {reason}"
    # Keys and values of more requests than the prefill has.
    some = evaluate(pair, {"workload.d.batch": 64, "device.memory.capacity": "1800 kB"})
    assert some.reason.startswith("d: tiny decode batch=64")


def test_metrics_follow_from_what_was_measured(pair: Case) -> None:
    device, workloads, options = pair.at({"run.rung": "tile"})
    workload = workloads["d"]
    result = simulate(device, workload, **options)
    found = metrics_of({"": result}, device, {"": workload})
    (matrix,) = (unit for unit in result.units if unit.name == "matrix")
    busy = result.utilisation
    assert found["matrix_busy"] == busy["matrix"]
    assert found["vector_busy"] == busy["vector"]
    assert found["dram_busy"] == busy["dram"]
    own = matrix.stall_ps.get("weight_load", 0) + matrix.stall_ps.get("fill_drain", 0)
    assert found["matrix_stalled"] == pytest.approx(own / result.latency_ps)
    assert found["matrix_busy"] + found["matrix_stalled"] <= 1
    assert found["ops_per_byte"] == 2 * result.macs / result.bytes["dram"]
    assert found["tokens_per_s"] == result.tokens_per_s
    assert found["peak_tops"] == 2 * 128 * 128 * 1e9 / 1e12
    assert found["memory_bytes_per_s"] == 1e12
    assert found["memory_capacity_bytes"] == 64e9
    assert found["bits_per_weight"] == workload.bits_per_weight
    assert found["sqnr_db"] == weight_sqnr_db("int8-channel")
    area = found["area_mm2"]
    assert found["cost_usd"] == cost_usd(device, area, api.profile_of(device))


def test_metrics_of_many_points_are_those_of_each(pair: Case) -> None:
    """Arrays in place of numbers: the same floats, NaN where a point has none."""
    device, workloads, _ = pair.at({})
    designs, runs = [], []
    for rung, lanes in (("analytic", 64), ("tile", 128), ("roofline", 128)):
        each = replace(device, {"vector.lanes": lanes})
        designs.append(design_of(each))
        runs.append(ran(simulate(each, workloads["d"], rung=rung), workloads["d"], each))
    runs[1] = dataclasses.replace(runs[1], tokens=0.0, dram_bytes=0.0)
    designs[2] = dataclasses.replace(designs[2], area_mm2=0.0, cost_usd=math.inf)
    alone = [derived(d, {"": r}) for d, r in zip(designs, runs, strict=True)]

    def columns(records: Sequence[Any], plain: Sequence[str] = ()) -> dict[str, Any]:
        names = [each.name for each in dataclasses.fields(records[0])]
        return {
            name: getattr(records[0], name)
            if name in plain
            else np.array([getattr(each, name) for each in records])
            for name in names
        }

    together = derived(
        Design(**columns(designs)), {"": Ran(**columns(runs, ("phase", "stages", "devices")))}
    )
    assert list(together) == list(alone[0])
    for name, values in together.items():
        np.testing.assert_array_equal(values, [each[name] for each in alone], strict=False)
    absent = [{name for name, value in each.items() if np.isnan(value)} for each in alone]
    per_token = {"tokens_per_s", "energy_per_token_j", "tokens_per_s_per_w"}
    shares = {"matrix_busy", "matrix_stalled", "vector_busy", "dram_busy"}
    assert absent == [
        {"pim_area_mm2"},
        {"pim_area_mm2", *per_token, "ops_per_byte"},
        {"pim_area_mm2", "tops_per_mm2", "cost_usd", "group_cost_usd", *shares},
    ]


def test_a_token_goes_through_all_stages_of_a_pipeline(pair: Case) -> None:
    device, workloads, options = pair.at({})
    for name, metric in (("p", "ttft_s"), ("d", "tbt_s")):
        one = ran(simulate(device, workloads[name], **options), workloads[name], device)
        found = derived(design_of(device), {"": dataclasses.replace(one, stages=3)})
        assert found[metric] == 3 * found["latency_s"]


def test_a_token_takes_the_energy_of_all_devices_that_share_it(model: Path) -> None:
    shared = {"model": str(model), **DECODE, "tensor_parallel": 2}
    case = Case(load_device("h100"), shared, {"rung": "analytic"})
    found = evaluate(case, {}).metrics
    assert found["devices"] == 2
    assert found["energy_per_token_j"] == 2 * found["energy_j"] / 2
    assert found["tokens_per_s"] / found["tokens_per_s_per_w"] == pytest.approx(
        found["group_power_w"]
    )
    assert found["group_power_w"] == pytest.approx(2 * found["power_w"])
    assert found["group_cost_usd"] == 2 * found["cost_usd"] > 0


@pytest.mark.parametrize("tensor", [1, 2])
def test_a_pipeline_does_each_layer_and_the_head_once(model: Path, tensor: int) -> None:
    """What is done costs what it costs without stages; what waits and leaks does so in each."""
    alone, device = 0.0, load_device("h100")
    for stages in (1, 2, 3, 5):
        of_group = {"tensor_parallel": tensor, "pipeline_parallel": stages}
        settings = {"model": str(model), "model.layers": 5, **DECODE, **of_group}
        _, workloads, options = Case(device, settings, {"rung": "analytic"}).at({})
        result = simulate(device, workloads[""], **options)
        found = metrics_of({"": result}, device, workloads)
        assert found["devices"] == tensor * stages
        energy_j = found["energy_per_token_j"] * result.tokens
        assert found["group_power_w"] == pytest.approx(energy_j / result.latency_s)
        sent = sum(each.energy_j for each in result.records if each.segment == "receive")
        waited = stages * sum(result.shared_energy_j.values())
        done = energy_j - tensor * (waited + (stages - 1) * sent)
        alone = alone or done
        assert done == pytest.approx(alone, rel=0.005)


def test_phases_are_all_that_some_point_has() -> None:
    case = Case(
        load_device("generic_npu_128"),
        {"phase": "decode"},
        {},
        {"own": {"phase": "prefill"}, "other": {}},
    )
    rows = Dimension("device.matrix.rows", Choice((64, 128)))
    when = {rows.name: (64,)}
    of_all = Dimension("workload.phase", Choice(("mixed",)))
    own = Dimension("workload.own.phase", Choice(("decode",)))
    for dimensions, phases in (
        ((rows,), (("prefill",), ("decode",))),
        ((rows, of_all), (("mixed",), ("mixed",))),
        ((rows, own, of_all), (("decode",), ("mixed",))),
        ((rows, dataclasses.replace(own, when=when)), (("decode", "prefill"), ("decode",))),
        ((rows, dataclasses.replace(own, when=when), of_all), (("decode", "mixed"), ("mixed",))),
    ):
        assert tuple(case.phases(Space(dimensions)).values()) == phases


def test_what_does_not_fit_is_an_outcome(case: Case) -> None:
    outcome = evaluate(case, {"device.scratchpad.capacity": "1 KiB"})
    assert outcome.state == "INFEASIBLE"
    assert outcome.demand > outcome.bound > 0
    assert outcome.resource
    assert outcome.reason


def test_what_goes_wrong_is_an_outcome(case: Case) -> None:
    outcome = evaluate(case, {"device.matrix.rows": "many"})
    assert outcome.state == "FAILED"
    assert "matrix.rows: expected an integer, got 'many'" in outcome.reason
    assert "Traceback" in outcome.traceback


def test_a_combination_that_cannot_be_is_an_outcome(model: Path) -> None:
    """Each of its values goes with others, so that the study is not refused."""
    channels = Dimension("device.memory.channels", Choice((4, 32)))
    capacity = Dimension("device.memory.capacity", Choice(("8 GB", "64 GB")))
    space = Space((channels, capacity))
    case = Case(load_device("npu_hbm2"), {"model": str(model), **DECODE}, {"rung": "analytic"})
    refuse(case, space)
    outcomes = [evaluate(case, point) for point in space.grid()]
    assert [outcome.state for outcome in outcomes] == ["OK", "FAILED", "OK", "OK"]
    assert outcomes[1].reason == (
        "InputError: device.memory: capacity 64000000000 bytes is more than 4 channels of "
        "hbm2_2000 have, 8589934592"
    )


def test_costs_are_of_points_within_bounds() -> None:
    objectives = [Objective("latency_s", "min"), Objective("tops", "max", at_least=2.0)]
    fine = Outcome("OK", {"latency_s": 3.0, "tops": 2.5})
    assert costs_of(fine, objectives) == [3.0, -2.5]
    assert costs_of(Outcome("OK", {"latency_s": 3.0, "tops": 1.5}), objectives) is None
    assert costs_of(Outcome("OK", {"latency_s": 3.0}), objectives) is None
    assert costs_of(Outcome("FAILED"), objectives) is None


def loaded(path: Path) -> Sweep:
    return load_sweep(path)


def test_a_sweep_simulates_each_point_once(sweep_file: Path, tmp_path: Path) -> None:
    sweep, path = loaded(sweep_file), tmp_path / "s.db"
    first = run(sweep, path, limit=5)
    assert (first.points, first.new) == (5, 5)
    whole = run(sweep, path, workers=2)
    assert (whole.points, whole.new) == (16, 11)
    again = run(sweep, path)
    assert (again.points, again.new) == (16, 0)
    case = case_of(sweep)
    with Store(path, read_only=True) as store:
        rows = list(store.rows())
        assert [dict(row.point) for row in rows] == [dict(point) for point in sweep.space.grid()]
        for row in rows[::5]:
            alone = evaluate(case, row.point)
            assert (row.outcome.state, row.outcome.metrics) == (alone.state, alone.metrics)
        assert {row.outcome.state for row in rows} == {"OK", "INFEASIBLE"}


def test_a_search_goes_on_as_it_would_have(sweep_file: Path, tmp_path: Path) -> None:
    """The same points in the same order, whatever the workers, ended or not."""
    sweep = loaded(sweep_file)
    options = {"strategy": "nsga2", "trials": 12, "seed": 3}
    run(sweep, tmp_path / "a.db", workers=2, **options)  # type: ignore[arg-type]
    run(sweep, tmp_path / "b.db", limit=7, **options)  # type: ignore[arg-type]
    run(sweep, tmp_path / "b.db", **options)  # type: ignore[arg-type]
    points = []
    for path in ("a.db", "b.db"):
        with Store(tmp_path / path, read_only=True) as store:
            points.append([(row.number, dict(row.point)) for row in store.rows()])
    assert len(points[0]) == 12
    assert points[0] == points[1]


def test_another_study_is_not_mixed_in(sweep_file: Path, tmp_path: Path) -> None:
    run(loaded(sweep_file), tmp_path / "s.db", limit=1)
    sweep_file.write_text(sweep_file.read_text().replace("context: 40", "context: 50"))
    with pytest.raises(InputError, match="holds another study than the one asked for"):
        run(loaded(sweep_file), tmp_path / "s.db", limit=1)


def test_a_study_knows_the_code_that_its_outcomes_depend_on(sweep_file: Path) -> None:
    sweep = loaded(sweep_file)
    code = code_hash("cli", "report", "search")
    version = f"nibblesim: {simulator.__version__}, code and data files {code}"
    assert header_of(sweep, case_of(sweep)).text.splitlines()[-1] == version


def test_a_study_goes_on_with_the_code_that_it_began_with(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, path, edited = loaded(sweep_file), tmp_path / "s.db", "0" * 16
    run(sweep, path, limit=1)
    with monkeypatch.context() as patch:
        patch.setattr(definition, "code_of_outcomes", lambda: edited)
        with pytest.raises(InputError, match=f"asked: nibblesim: .*, code and data files {edited}"):
            run(sweep, path)
    with monkeypatch.context() as patch:
        # What processes find is not what the study began with.
        patch.setattr(launch, "code_of_outcomes", lambda: edited)
        with pytest.raises(NoWorkerError, match="was edited while the study ran"):
            run(sweep, path)
    assert run(sweep, path, limit=2).stored == 2


def test_a_study_knows_the_files_that_dimensions_name(sweep_file: Path, tmp_path: Path) -> None:
    """Another content under the same name is another study; packaged names are no files."""
    other, element = tmp_path / "other.yaml", tmp_path / "element.yaml"
    other.write_text(dump_yaml(replace(tiny_model(), {"layers": 5})))
    text = (data_root() / "hw_configs/parts/pe/int8_mac.yaml").read_text()
    element.write_text(text)
    more = f"""space:
  workload.model: [{other}, gpt-2]
  device.matrix.pe: [{element}, fp16_fma]"""
    sweep_file.write_text(sweep_file.read_text().replace("space:", more))

    def defined_by() -> str:
        model_of.cache_clear()
        sweep = loaded(sweep_file)
        return header_of(sweep, case_of(sweep)).defined_by

    first = defined_by()
    assert defined_by() == first
    other.write_text(dump_yaml(replace(tiny_model(), {"layers": 6})))
    second = defined_by()
    element.write_text(text.replace("accumulator_bits: 32", "accumulator_bits: 24"))
    assert len({first, second, defined_by()}) == 3
    sweep_file.write_text(sweep_file.read_text().replace(", gpt-2]", "]"))
    element.write_text(text)
    assert defined_by() == second


@pytest.mark.parametrize(
    ("path", "part", "old", "new"),
    [
        ("device.matrix.pe", "pe/int8_mac", "accumulator_bits: 32", "accumulator_bits: 24"),
        ("device.energy", "technology/jouppi_7nm", "name: jouppi_7nm", "name: mine"),
    ],
)
def test_a_study_knows_the_base_of_a_file(
    case: Case, tmp_path: Path, path: str, part: str, old: str, new: str
) -> None:
    """A suffix makes no file of a name; what comes with the package is in its hash."""
    file, base = tmp_path / "file.yaml", tmp_path / "base.yaml"
    file.write_text("base: ./base.yaml\nsummary: mine\n")
    text = (data_root() / f"hw_configs/parts/{part}.yaml").read_text()
    space = Space(
        (
            Dimension(path, Choice((str(file), part.partition("/")[2]))),
            Dimension("device.name", Choice(("no.yaml",))),
        )
    )
    sweep = Sweep("s", "generic_npu_128", {}, space, (Objective("latency_s", "min"),))
    found = []
    assert old in text
    for each in (text, text, text.replace(old, new)):
        base.write_text(each)
        found += [line for line in header_of(sweep, case).text.split("\n") if "file: " in line]
    assert found[0].startswith(f"file: {file} ")
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("named_by", ["device", "dimension"])
@pytest.mark.parametrize(
    ("key", "part", "old", "new"),
    [
        ("mac_gates", "gates/scaled_28nm", "nominal: 1.605", "nominal: 1.705"),
        ("scratchpad_sram", "sram/cacti7_28nm", "read_pj: ", "read_pj: 1"),
    ],
)
def test_a_study_knows_the_files_that_its_energy_profile_names(
    case: Case, tmp_path: Path, named_by: str, key: str, part: str, old: str, new: str
) -> None:
    """Also where what changed prices nothing of the first device, but may of another point."""
    profile, file = tmp_path / "profile.yaml", tmp_path / "file.yaml"
    profile.write_text(f"base: edge_28nm\nname: mine\n{key}: {file}\n")
    parts = data_root() / "hw_configs/parts"
    text = (parts / f"{part}.yaml").read_text()
    assert old in text
    device, values = case.device, ("edge_28nm", str(profile))
    if named_by == "device":
        device, values = replace(device, {"energy": str(profile)}), ("edge_28nm",)
    space = Space((Dimension("device.energy", Choice(values)),))
    sweep = Sweep("s", "generic_npu_128", {}, space, (Objective("latency_s", "min"),))
    found = []
    for each in (text, text, text.replace(old, new, 1)):
        file.write_text(each)
        found.append(header_of(sweep, dataclasses.replace(case, device=device)).defined_by)
    assert found[0] == found[1] != found[2]


def test_a_device_stands_beside_its_sweep(sweep_file: Path, tmp_path: Path) -> None:
    device = replace(load_device("generic_npu_128"), {"matrix.rows": 3})
    (tmp_path / "mine.yaml").write_text(dump_yaml(device))
    sweep_file.write_text(sweep_file.read_text().replace("generic_npu_128", "mine.yaml"))
    assert case_of(loaded(sweep_file)).device == device


def test_whatever_ends_a_point_costs_that_point(tmp_path: Path) -> None:
    """What an executor raises is the outcome of the point, and the study goes on."""
    space = Space((Dimension("n", Int(0, 9)),))

    def started(point: Point) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        match point["n"]:
            case 3:
                future.set_exception(WorkerLostError("killed after 2 s, the time limit of a point"))
            case 4:
                future.set_exception(MemoryError("too much"))
            case number:
                assert isinstance(number, int)
                future.set_result(Outcome("OK", {"cost": float(number)}))
        return future

    objectives = [Objective("cost", "min")]
    with Store(tmp_path / "s.db") as store:
        store.study(Header(dimensions={"n": "int"}, metrics={"cost": "J"}, defined_by="", text=""))
        chosen = strategy("grid", space, objectives, seed=0)
        tally = run_study(chosen, store, objectives, started, seed=0)
        rows = list(store.rows())
    assert (tally.ok, tally.failed, tally.points) == (8, 2, 10)
    assert rows[3].outcome.reason == "killed after 2 s, the time limit of a point"
    assert rows[4].outcome.reason == "MemoryError: too much"
    assert "MemoryError" in rows[4].outcome.traceback


def test_a_study_that_is_killed_goes_on(sweep_file: Path, tmp_path: Path) -> None:
    """`kill -9` at some moments: nothing that was kept is lost, no point is there twice."""
    path, kept = tmp_path / "s.db", 0
    command = [sys.executable, "-m", "simulator", "sweep", str(sweep_file), "--study", str(path)]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            count = stored(path)
            if count > kept:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert stored(path) >= kept
        kept = stored(path)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["points"] == 16
    assert found["new"] == 16 - kept
    with Store(path, read_only=True) as store:
        assert len({row.key for row in store.rows()}) == store.count() == 16


def stored(path: Path) -> int:
    """Return how many points a file has; none before it is a study."""
    try:
        with Store(path, read_only=True) as store:
            return store.count()
    except InputError:
        return 0


def test_conditions_are_met_where_paths_are_tried(model: Path) -> None:
    case = Case(load_device("generic_npu_128"), {"model": str(model), "batch": 2}, {})
    phases = Dimension("workload.phase", Choice(("decode", "prefill")))
    context = Dimension("workload.context", Int(3, 5), {phases.name: ("decode",)})
    sequence = Dimension("workload.sequence", Int(3, 5), {phases.name: ("prefill",)})
    refuse(case, Space((phases, context, sequence)))
    with pytest.raises(InputError, match=r"workload\.phase = prefill: workload\.sequence: missing"):
        refuse(case, Space((phases, context)))


def test_a_space_without_points_and_a_limit_without_room(sweep_file: Path, tmp_path: Path) -> None:
    none = "constraints: {none: {product: [device.matrix.rows], at_most: 1}}\nobjectives:"
    sweep_file.write_text(sweep_file.read_text().replace("objectives:", none))
    with pytest.raises(InputError, match="no point of the space keeps its constraints"):
        run(loaded(sweep_file), tmp_path / "s.db")
    with pytest.raises(InputError, match="limit must be >= 1, got 0"):
        run(loaded(sweep_file), tmp_path / "s.db", limit=0)


def test_points_of_other_ranges_use_up_a_limit(sweep_file: Path, tmp_path: Path) -> None:
    run(loaded(sweep_file), tmp_path / "s.db", limit=2)
    sweep_file.write_text(sweep_file.read_text().replace("[16, 128]", "[256, 256]"))
    tally = run(loaded(sweep_file), tmp_path / "s.db", limit=2)
    assert (tally.points, tally.stored) == (0, 2)


def test_paths_are_tried_before_the_first_run(case: Case) -> None:
    space = Space(
        (
            Dimension("device.matrix.rows", Int(1, 8)),
            Dimension("device.matrix.rowz", Choice((1, 2))),
            Dimension("workload.weights", Choice(("fp16", "int44"))),
            Dimension("run.atention", Choice(("fused",))),
        )
    )
    with pytest.raises(InputError) as error:
        refuse(case, space)
    found = "\n".join(error.value.problems)
    for words in (
        "device.matrix.rowz = 1: unknown key; did you mean 'rows'?",
        "workload.weights = int44: unknown format 'int44'",
        "run.atention = fused: unknown run option 'atention'; did you mean 'attention'?",
    ):
        assert words in found
    # What is wrong whatever the values is said once.
    assert len(error.value.problems) == 3
    for point, words in (
        ({"workload.contekst": 3}, "unknown workload option 'contekst'; did you mean 'context'?"),
        ({"memory": 1}, "memory: expected device, workload or run before a point"),
    ):
        with pytest.raises(InputError) as error:
            case.at(point)  # type: ignore[arg-type]
        assert words in str(error.value)
