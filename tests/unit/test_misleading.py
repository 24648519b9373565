"""Is it told, before the first point, what an objective leaves unsaid of the points of a space?"""

from pathlib import Path

import pytest

from simulator.api import load_device
from simulator.search.objectives import Objective
from simulator.search.space import Choice, Dimension, Space
from simulator.search.sweep_file import Sweep
from simulator.study import run
from simulator.study.case import Case
from simulator.study.misleading import same_everywhere, warnings_of

DECODE = {"model": "llama-3-8b", "phase": "decode", "batch": 2, "context": 128}
ROWS = "device.matrix.rows"
STATED = (
    "tpu_v4 states its die_area, 600 mm2, which does not follow device.matrix.rows; vary "
    "device.die_area, or have it counted (base: tpu_v4, die_area: null)"
)


def space_of(**values: tuple[object, ...]) -> Space:
    """Return a space; two underscores stand for a dot."""
    return Space(
        tuple(
            Dimension(name.replace("__", "."), Choice(each))  # type: ignore[arg-type]
            for name, each in values.items()
        )
    )


def told(
    device: str,
    objective: Objective,
    space: Space,
    workloads: dict[str, dict[str, str]] | None = None,
) -> list[str]:
    sweep = Sweep("s", device, DECODE, space, (objective,))
    case = Case(load_device(device), DECODE, {"rung": "analytic"}, workloads or {})
    return warnings_of(sweep, case)


ARRAYS = space_of(device__matrix__rows=(64, 128))
AREAS = space_of(device__matrix__rows=(64, 128), device__die_area=("300 mm2", "600 mm2"))
MEMORY = space_of(device__matrix__rows=(64, 128), device__memory__capacity=("16 GiB", "32 GiB"))
GROUPS = space_of(workload__tensor_parallel=(1, 2), device__matrix__rows=(64, 128))
STAGES = space_of(workload__pipeline_parallel=(1, 2))


@pytest.mark.parametrize(
    ("metric", "device", "space", "same"),
    [
        ("area_mm2", "tpu_v4", ARRAYS, True),
        ("cost_usd", "tpu_v4", ARRAYS, True),
        ("group_cost_usd", "tpu_v4", ARRAYS, True),
        ("area_mm2", "tpu_v4", MEMORY, True),
        # The memory has a price of its own, and more devices cost more.
        ("cost_usd", "tpu_v4", MEMORY, False),
        ("group_cost_usd", "tpu_v4", GROUPS, False),
        ("cost_usd", "tpu_v4", GROUPS, True),
        ("tops_per_mm2", "tpu_v4", ARRAYS, False),
        ("tbt_s", "tpu_v4", ARRAYS, False),
        ("area_mm2", "tpu_v4", AREAS, False),
        # What does not move the area of any die says nothing wrong of this one.
        ("area_mm2", "tpu_v4", STAGES, False),
        ("area_mm2", "generic_npu_128", ARRAYS, False),
    ],
)
def test_what_is_the_same_at_every_point(
    metric: str, device: str, space: Space, same: bool
) -> None:
    found = same_everywhere(Objective(metric, "min"), load_device(device), space)
    assert found.startswith("all points have the same: tpu_v4 states") == same
    assert same or not found
    bounded = Objective(metric, "min", at_most=700)
    assert not same_everywhere(bounded, load_device(device), space)


@pytest.mark.parametrize(
    ("objective", "device", "space", "words"),
    [
        (Objective("area_mm2", "min", at_most=700), "tpu_v4", ARRAYS, [STATED]),
        (Objective("tops_per_mm2", "max"), "tpu_v4", ARRAYS, [STATED]),
        (Objective("cost_usd", "min"), "tpu_v4", MEMORY, [STATED]),
        (Objective("tops_per_mm2", "max"), "tpu_v4", AREAS, []),
        (Objective("tops_per_mm2", "max"), "generic_npu_128", ARRAYS, []),
        (Objective("tbt_s", "min"), "tpu_v4", ARRAYS, []),
        # No elements are there to be counted.
        (
            Objective("tops_per_mm2", "max"),
            "a100",
            space_of(device__vector__lanes=(64, 128)),
            [
                "a100 states its die_area, 826 mm2, which does not follow device.vector.lanes; "
                "vary device.die_area"
            ],
        ),
        (
            Objective("area_mm2", "min"),
            "duplex",
            space_of(device__pim__unit__elements=(32, 64)),
            ["it is of the die alone; pim_area_mm2 is of what multiplies in the memory"],
        ),
    ],
)
def test_a_die_that_does_not_follow_its_arrays(
    objective: Objective, device: str, space: Space, words: list[str]
) -> None:
    expected = [f"objective '{objective.metric}': {each}" for each in words]
    assert told(device, objective, space) == expected


ONE = "it is of one device of a group whose size varies"


@pytest.mark.parametrize(
    ("metric", "space", "words"),
    [
        ("cost_usd", GROUPS, f"{ONE} (workload.tensor_parallel); group_cost_usd is of all"),
        ("power_w", STAGES, f"{ONE} (workload.pipeline_parallel); group_power_w is of all"),
        ("energy_j", GROUPS, f"{ONE} (workload.tensor_parallel); energy_per_token_j is of all"),
        # A step takes one stage after the other; with layers cut in parts it is one.
        ("latency_s", STAGES, f"{ONE} (workload.pipeline_parallel); tbt_s is of all"),
        ("latency_s", GROUPS, ""),
        ("tokens_per_s_per_w", GROUPS, ""),
        ("group_cost_usd", GROUPS, ""),
        ("cost_usd", ARRAYS, ""),
    ],
)
def test_what_is_of_one_device_of_several(metric: str, space: Space, words: str) -> None:
    found = told("generic_npu_128", Objective(metric, "min"), space)
    assert found == ([f"objective '{metric}': {words}"] if words else [])


def test_what_is_of_one_device_where_workloads_have_names() -> None:
    workloads = {"p": {"phase": "prefill"}, "d": {"phase": "decode"}}
    both = space_of(workload__tensor_parallel=(1, 2))
    one = space_of(workload__d__tensor_parallel=(1, 2))

    def of(metric: str, space: Space) -> list[str]:
        return told("generic_npu_128", Objective(metric, "min"), space, workloads)

    assert of("cost_usd", both) == [
        f"objective 'cost_usd': {ONE} (workload.tensor_parallel); p.group_cost_usd or "
        "d.group_cost_usd is of all"
    ]
    assert of("d.power_w", one) == [
        f"objective 'd.power_w': {ONE} (workload.d.tensor_parallel); d.group_power_w is of all"
    ]
    assert of("p.power_w", one) == []


def test_a_study_tells_it_before_its_first_point(tmp_path: Path) -> None:
    """A warning of Python's, an error here, where nothing else is said to take it."""
    objectives = (Objective("tbt_s", "min"), Objective("area_mm2", "min", at_most=700))
    sweep, path = Sweep("s", "tpu_v4", DECODE, ARRAYS, objectives), tmp_path / "s.db"
    with pytest.raises(UserWarning, match="objective 'area_mm2': tpu_v4 states its die_area"):
        run(sweep, path)

    def told(text: str) -> None:
        raise KeyboardInterrupt(text)

    with pytest.raises(KeyboardInterrupt, match="objective 'area_mm2': tpu_v4 states"):
        run(sweep, path, warn=told)
    assert not path.exists()
