"""Is a point what its paths say, its outcome that of `simulate`, and a study all of its points?"""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from plans import tiny_model

from simulator import decode_step, load_device, simulate
from simulator.config import dump_yaml, replace
from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.pool import WorkerLostError
from simulator.search.records import Header, Outcome
from simulator.search.runner import costs_of, run_study
from simulator.search.space import Choice, Dimension, Int, Point, Space
from simulator.search.store import Store
from simulator.search.strategies import strategy
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import METRICS, Case, case_of, evaluate, metrics_of, run

DECODE = {"phase": "decode", "batch": 2, "context": 40}
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
    assert outcome.metrics == metrics_of(result, device, workload)
    assert set(outcome.metrics) <= set(METRICS)
    found = outcome.metrics
    assert found["latency_s"] == result.latency_s
    assert found["edp_js"] == pytest.approx(found["energy_j"] * found["latency_s"])
    assert found["tops_per_w"] * found["power_w"] == pytest.approx(found["tops"])
    assert found["tokens_per_s"] * found["energy_per_token_j"] == pytest.approx(found["power_w"])


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
    case.refuse(Space((phases, context, sequence)))
    with pytest.raises(InputError, match=r"workload\.phase = prefill: workload\.sequence: missing"):
        case.refuse(Space((phases, context)))


def test_a_space_without_points_and_a_limit_without_room(sweep_file: Path, tmp_path: Path) -> None:
    none = "constraints: {none: {product: [device.matrix.rows], at_most: 1}}\nobjectives:"
    sweep_file.write_text(sweep_file.read_text().replace("objectives:", none))
    with pytest.raises(InputError, match="small: no point of the space keeps its constraints"):
        run(loaded(sweep_file), tmp_path / "s.db")
    with pytest.raises(InputError, match="limit must be >= 1, got 0"):
        run(loaded(sweep_file), tmp_path / "s.db", limit=0)


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
        case.refuse(space)
    found = "\n".join(error.value.problems)
    for words in (
        "replace: matrix.rowz: unknown key; did you mean 'rows'?",
        "workload.weights = int44: unknown format 'int44'",
        "unknown run option 'atention'; did you mean 'attention'?",
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
