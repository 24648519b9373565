"""Is what no study could be refused before its first point, in exact words?"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from plans import tiny_model

from simulator import load_device
from simulator.config import dump_yaml
from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Constraint, Dimension, Float, Int, Log2, Space
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import Case, case_of
from simulator.study.case import DEVICE
from simulator.study.definition import header_of
from simulator.study.refusals import made_with, refuse

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
            ("rung: analytic", "run: {rung: null}"),
            ["unknown rung 'None'; known: roofline, analytic, tile, command"],
        ),
        (("batch: 2", "contekst: 2"), ["unknown workload option 'contekst'; did you mean 'context'?"]),
        (("context: 30", "prompts: 30"), ["unknown workload option 'prompts'"]),
        (("sequence: 24", "context: 24"), ["workloads.p: unknown workload option 'context'", "workloads.p: workload.sequence: missing, which phase 'prefill' needs"]),
        (("phase: decode", "phase: decod"), ["workloads.d: unknown workload.phase 'decod'; did you mean 'decode'?"]),
        ((", batch: 2", ", batch: 0"), ["workloads.p: batch must be", "workloads.d: batch must be"]),
        (("{device.matrix.rows: [64]}", "{workload.q.batch: [1]}"), ["workload.q.batch = 1: unknown workload option 'q.batch'"]),
        (("{device.matrix.rows: [64]}", "{workload.d.sequence: [1]}"), ["workload.d.sequence = 1: workloads.d: unknown workload option 'sequence'"]),
        (("{device.matrix.rows: [64]}", "{workload.batch: {log2: [1 KiB, 2 KiB]}}"), [f"workload.batch = {n} KiB: workloads.{name}: batch must be an integer, got '{n} KiB'" for n in (1, 2) for name in "pd"]),
        (("{device.matrix.rows: [64]}", "{workload.contexts: [1]}"), ["workload.contexts = 1: unknown workload option 'contexts'; did you mean 'context'?"]),
        (("d.tbt_s", "tbt_s"), ["unknown metric 'tbt_s'; did you mean 'd.tbt_s'? known: see Metrics in docs/studies.md"]),
        (("d.tbt_s", "latency_s"), ["unknown metric 'latency_s'; did you mean 'd.latency_s' or 'p.latency_s'? known: see Metrics"]),
        (("d.tbt_s", "d.area_mm2"), ["unknown metric 'd.area_mm2'; did you mean 'area_mm2'?"]),
        (("d.tbt_s", "speed"), ["unknown metric 'speed'; known: see Metrics in docs/studies.md"]),
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
        ([("d.tbt_s", "d.group_cost_usd"), ("generic_npu_128", "neupims")], "objective 'd.group_cost_usd': neupims: no price of a memory that multiplies is public"),
        ([("d.tbt_s", "d.pim_area_mm2")], "objective 'd.pim_area_mm2': generic_npu_128: nothing multiplies in its memory"),
        ([("d.tbt_s", "area_mm2"), ("generic_npu_128", "tpu_v4")], "objective 'area_mm2': all points have the same: tpu_v4 states its die_area, 600 mm2, which does not follow device.matrix.rows; vary device.die_area, or have it counted (base: tpu_v4, die_area: null)"),
    ],
)  # fmt: skip
def test_an_objective_that_no_point_can_have_is_refused(
    problems: Problems, changes: list[tuple[str, str]], problem: str
) -> None:
    found = problems(*changes)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_an_objective_is_given_once() -> None:
    space = Space((Dimension("device.matrix.rows", Choice((64,))),))
    goals = (Objective("latency_s", "min"), Objective("latency_s", "max"))
    sweep = Sweep("s", "generic_npu_128", {"model": "gpt-2", **DECODE}, space, goals)
    with pytest.raises(InputError, match=r"^objective 'latency_s': given twice$"):
        case_of(sweep)


CHANNELS, CAPACITY, ROWS = "device.memory.channels", "device.memory.capacity", "device.matrix.rows"
GB = 10**9
DECODE = {"phase": "decode", "context": 30}


def values_refused(
    changes: Mapping[str, Any], *constraints: Constraint, **settings: Any
) -> list[str]:
    """Return what is wrong with a space of choices around a device of 32 channels of 2 GiB."""
    given = {"model": "gpt-2", **DECODE, **settings}
    dimensions = tuple(
        each if isinstance(each, Dimension) else Dimension(name, Choice(each))
        for name, each in changes.items()
    )
    try:
        refuse(Case(load_device("npu_hbm2"), given, {}), Space(dimensions, constraints))
    except InputError as error:
        return list(error.problems)
    return []


def more(capacity: int, channels: int) -> str:
    return (
        f"device.memory: capacity {capacity} bytes is more than {channels} channels of hbm2_2000 "
        f"have, {channels * 2**31}"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # Both orders: the first combination can be made, or cannot.
        ({CHANNELS: (4, 32), CAPACITY: ("8 GB", "64 GB")}, []),
        ({CHANNELS: (4, 32), CAPACITY: ("64 GB", "8 GB")}, []),
        ({CHANNELS: (4, 32), CAPACITY: ("8 GB", "128 GB")}, [f"{CAPACITY} = 128 GB: {more(128 * GB, 4)}"]),
        ({CHANNELS: (4, 32)}, [f"{CHANNELS} = 4: {more(64 * GB, 4)}"]),
        # No combination can be made.
        ({CHANNELS: (4,), CAPACITY: ("64 GB",)}, [f"{CHANNELS} = 4: {more(64 * GB, 4)}"]),
        # The first value is named, whether others can be made or not, and nothing of what goes.
        ({ROWS: (0, 64), "device.matrix.columns": (32, 64)}, [f"{ROWS} = 0: must be >= 1, got 0"]),
        ({ROWS: (0,), "device.matrix.columns": (32, 64)}, [f"{ROWS} = 0: must be >= 1, got 0"]),
        ({ROWS: (64, 0), CHANNELS: (4, 32), CAPACITY: ("64 GB", "8 GB")}, [f"{ROWS} = 0: must be >= 1, got 0"]),
        ({ROWS: Dimension(ROWS, Int(0, 8))}, [f"{ROWS} = 0: must be >= 1, got 0"]),
        # None hides another.
        (
            {ROWS: (0, 64), "device.clock": (1500, 1000), "workload.batch": (0, 2), "workload.model.layers": (0, 2)},
            [
                f"{ROWS} = 0: must be >= 1, got 0",
                "device.clock = 1500: 1500 is not a multiple of 1000 Hz",
                "workload.batch = 0: batch must be >= 1, got 0",
                "workload.model.layers = 0: must be >= 1, got 0",
            ],
        ),
        ({"device.matix.rows": (1, 2), ROWS: (1, 2)}, ["device.matix.rows = 1: nothing at 'matix'; did you mean 'matrix'?"]),
        ({"dev.rows": (1,)}, ["dev.rows: expected device, workload or run before a point"]),
    ],
)  # fmt: skip
def test_a_value_that_goes_with_no_others_is_refused(
    changes: Mapping[str, Any], words: list[str]
) -> None:
    assert values_refused(changes) == words


def test_what_is_wrong_whatever_the_values_is_told_beside_them() -> None:
    changes = {"workload.batch": (1, 0), "workload.weights": ("fp16", "int8")}
    (of_all, of_value) = values_refused(changes, kv="int44")
    assert of_all.startswith("unknown format 'int44'")
    assert of_value == "workload.batch = 0: batch must be >= 1, got 0"


@pytest.mark.parametrize("most", [32, 64])
def test_the_one_value_that_goes_with_another_is_found(most: int) -> None:
    """Whatever else varies; 2 GiB a channel."""
    channels, capacities = tuple(range(1, most + 1)), ("1 GiB", f"{2 * most} GiB")
    lanes = {"device.vector.lanes": (64, 128)}
    assert values_refused({**lanes, CHANNELS: channels, CAPACITY: capacities}) == []


def test_a_constraint_that_few_points_keep_makes_no_value_wrong() -> None:
    few = Constraint("few", lambda point: (point[CHANNELS], point[ROWS]) == (32, 2**20))
    rows = Dimension(ROWS, Int(1, 2**20))
    assert values_refused({CHANNELS: (4, 32), CAPACITY: ("64 GB", "8 GB"), ROWS: rows}, few) == []


def test_a_wrong_end_of_a_float_is_named_as_it_was_given() -> None:
    efficiency = Dimension("device.memory.efficiency", Float(0.5, 1.9))
    case = Case(load_device("generic_npu_128"), {"model": "gpt-2", **DECODE}, {})
    with pytest.raises(InputError) as error:
        refuse(case, Space((efficiency,)))
    assert str(error.value) == "device.memory.efficiency = 1.9: must be <= 1.0, got 1.9"


def test_a_device_that_is_known_by_its_peak_says_which_keys_it_has() -> None:
    case = Case(load_device("a100"), {"model": "gpt-2", **DECODE}, {})
    with pytest.raises(InputError) as error:
        refuse(case, Space((Dimension(ROWS, Choice((64, 128))),)))
    # The same for each value, and so said once.
    assert str(error.value) == (
        f"{ROWS} = 64: unknown key; kind 'throughput' has: accumulators, activation_edge_width, "
        "arrays, conversions_per_cycle, dequantised_per_cycle, efficiency, macs, pe, source, "
        "weight_edge_width"
    )


@pytest.mark.parametrize(
    ("path", "value", "refused"),
    [("memory.efficiency", 0.5, True), ("scratchpad.read_ports", 2, False)],
)
def test_a_device_that_cannot_be_priced_is_refused_unless_that_varies(
    tmp_path: Path, path: str, value: float, refused: bool
) -> None:
    """The table of the profile has macros of one port."""
    file = tmp_path / "ports.yaml"
    file.write_text("base: generic_npu_128\nenergy: edge_28nm\nscratchpad: {read_ports: 7}\n")
    space = Space((Dimension(f"device.{path}", Choice((value,))),))
    goal = (Objective("latency_s", "min"),)
    sweep = Sweep("s", str(file), {"model": "gpt-2", **DECODE}, space, goal)
    if refused:
        with pytest.raises(InputError, match="20971520 bytes with 7 read and 2 write ports are"):
            case_of(sweep)
    else:
        assert header_of(sweep, case_of(sweep)).text.splitlines()[1].startswith("energy: edge_28nm")


def test_a_range_has_the_units_of_its_path() -> None:
    small = Dimension("device.clock", Int(10**6, 10**9, 10**6), quantity="hertz")
    assert values_refused({"device.clock": small}) == []
    rows = Dimension(ROWS, Log2(1024, 4096), quantity="bytes")
    assert values_refused({ROWS: rows}) == [
        f"{ROWS} = 1 KiB: expected an integer, got '1 KiB'",
        f"{ROWS} = 4 KiB: expected an integer, got '4 KiB'",
    ]
    clock = Dimension("device.clock", Log2(1024, 4096), quantity="bytes")
    (first, _) = values_refused({"device.clock": clock})
    assert first == ("device.clock = 1 KiB: '1 KiB': unknown unit 'KiB'; known: Hz, kHz, MHz, GHz")


def test_of_many_wrong_values_the_first_are_named() -> None:
    found = values_refused({ROWS: (*range(-9, 0), 64)})
    assert found == [
        *(f"{ROWS} = {value}: must be >= 1, got {value}" for value in range(-9, -1)),
        f"{ROWS}: others of its values may be wrong, too",
    ]


def test_no_point_is_made_with_what_goes_with_no_others() -> None:
    case = Case(load_device("npu_hbm2"), {"model": "gpt-2", **DECODE}, {})
    rows = Dimension(ROWS, Choice((64, 0)))
    space = Space((rows,))
    assert made_with(case, space, DEVICE, rows, 64) == {ROWS: 64}
    with pytest.raises(InputError) as error:
        made_with(case, space, DEVICE, rows, 0)
    assert str(error.value) == f"{ROWS} = 0: no combination with it can be made"


def test_constraints_are_kept_where_others_are_looked_for() -> None:
    small = Constraint("small", lambda point: point[CHANNELS] == 4)
    found = values_refused({CHANNELS: (4, 32), CAPACITY: ("8 GB", "64 GB")}, small)
    assert found == [f"{CAPACITY} = 64 GB: {more(64 * GB, 4)}"]


def test_any_value_that_a_condition_allows_may_go() -> None:
    """The one that stands first in the condition does not."""
    capacity = Dimension(CAPACITY, Choice(("8 GB", "64 GB")), {CHANNELS: (4, 32)})
    assert values_refused({CHANNELS: (4, 32), CAPACITY: capacity}) == []
