"""The analytic rung over points: bit for bit `simulate`, point for point `evaluate`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from design_points import CASES, GPU, MODEL, NPU, TPU, differences, drawn

from simulator import config, load_device
from simulator.config.loading import resolved
from simulator.cost import load_profile
from simulator.engine.points import PATHS, Designs, designs_of, not_vectorised
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.hardware.variants import FIXED, PARTS, Variants, may_vary
from simulator.mapping.policies import Policies
from simulator.search.records import Outcome
from simulator.study import Case, evaluate
from simulator.study.blocks import evaluate_many
from simulator.workload import Workload, decode_step, mixed_step

DECODE = CASES[0][1]
UNITS = (("fp16xfp16", 0), ("int8xint8", 128))
TWO = {
    "prefill": {"phase": "prefill", "sequence": 64},
    "decode": {"phase": "decode", "context": 512},
}


def test_designs_and_points_equal_those_one_by_one() -> None:
    # In one function: whoever runs it compiles, and nobody else has to.
    wrong, judged, infeasible = differences(75, seed=7)
    assert wrong == []
    assert judged >= 45
    assert infeasible >= 8
    states = set()
    for case, points in (_one_workload(), _two_workloads(NPU, 12), _two_workloads(TPU, 6)):
        many = [_timeless(each) for each in evaluate_many(case, points)]
        assert many == [_timeless(evaluate(case, point)) for point in points]
        states |= {each.state for each in many}
    assert states == {"OK", "INFEASIBLE", "FAILED"}


def _one_workload() -> tuple[Case, list[dict[str, Any]]]:
    """Return points of several formats, some of which are refused and some at another rung."""
    draw = np.random.default_rng(3)
    described = {"model": "llama-3-8b", "phase": "decode", "context": 512}
    case = Case(load_device("generic_npu_128"), described, {"rung": "analytic"})
    points = []
    for number in range(40):
        point = {f"device.{path}": value for path, value in drawn(NPU, DECODE, draw).items()}
        point["workload.weights"] = ("fp16", "int4-g128")[number % 2]
        point["run.rung"] = "tile" if number % 13 == 5 else "analytic"
        if number % 11 == 7:
            point |= [{"device.memory.bandwidth": 1.5}, {"device.matrix.rows": 0}][number % 2]
        points.append(point)
    return case, points


def _two_workloads(device: Device, count: int) -> tuple[Case, list[dict[str, Any]]]:
    draw = np.random.default_rng(4)
    case = Case(device, {"model": "llama-3-8b"}, {"rung": "analytic"}, TWO)
    points = [
        {f"device.{path}": value for path, value in drawn(device, DECODE, draw).items()}
        for _ in range(count)
    ]
    points[3]["device.clock"] = "fast"
    return case, points


def _timeless(outcome: Outcome) -> Outcome:
    # NaN equals nothing: what an outcome that is OK or FAILED has for demand and bound.
    numbers = {name: str(getattr(outcome, name)) for name in ("demand", "bound")}
    return replace(outcome, wall_time_s=0.0, **numbers)  # type: ignore[arg-type]


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each value of a device."""
    if isinstance(data, dict) and data:
        for name, value in data.items():
            yield from leaves(value, f"{path}.{name}" if path else name)
    else:
        yield path, data


#: Other values for what may vary, where twice the number is none.
OTHERS = {
    "matrix.dataflow": "output_stationary",
    "matrix.partial_fold_cost": "occupied",
    "matrix.fold_overlap": True,
    "matrix.weight_buffers": 1,
    "memory.efficiency": 0.5,
    # Less: the channels have no room for twice as much.
    "memory.capacity": 2**34,
}


def _other(path: str, value: Any) -> Any:
    if path in OTHERS:
        return OTHERS[path]
    if isinstance(value, bool):
        return not value
    if value is None or value == {}:
        return 64
    number, _, unit = str(value).partition(" ")
    return f"{2 * float(number):g} {unit}" if unit else 2 * int(number)


def _pieces(designs: Designs) -> dict[str, np.ndarray]:
    """Return the columns of designs by the piece that they are of."""
    rated, whole = designs.rated, designs.whole
    per_cycle = [each / whole[:, 0] for each in rated.macs_per_s.values()]
    return {
        "units": np.column_stack(
            [designs.models[designs.model_of].reshape(len(whole), -1), designs.passed[:, 0]]
            + [np.round(each, 3) for each in per_cycle]
        ),
        "lanes": np.column_stack([whole[:, 4:6], whole[:, 12:]]),
        "transfers": np.column_stack([whole[:, :4], whole[:, 8:12], designs.speeds[0][:, :2]]),
        "scratchpad": whole[:, 6:7],
        "memory": whole[:, 7:8],
        "prices": np.column_stack(
            [
                np.broadcast_to(each, len(whole))
                for each in (
                    designs.profile.mac_pj("int8xint8"),
                    designs.profile.scratchpad_read_pj_per_bit.nominal,
                    designs.profile.areas.pe_mm2.nominal,
                )
            ]
        ),
    }


def _varied_paths(device: Device) -> dict[str, Any]:
    found = {path: value for path, value in leaves(resolved(device)) if may_vary(path)}
    found["vector.cycles_per_operation.exp"] = found.pop("vector.cycles_per_operation")
    return {path: value for path, value in found.items() if not path.endswith("source")}


@pytest.mark.parametrize("name", ["generic_npu_128", "npu_hbm2"])
def test_a_piece_depends_on_no_more_than_its_paths(name: str) -> None:
    device = load_device(name)
    paths = _varied_paths(device)
    assert {path.partition(".")[0] for path in paths} == set(PARTS)
    changes = [{}, *({path: _other(path, value)} for path, value in paths.items())]
    variants = Variants(device, changes)
    refused = [next(iter(changes[place])) for place in np.flatnonzero(variants.refused)]
    assert refused == []
    pieces = _pieces(designs_of(variants, load_profile(device.energy), UNITS))
    reached = {name: False for name in pieces}
    for place, path in enumerate(paths, start=1):
        for name, table in pieces.items():
            own = any(path == each or path.startswith(f"{each}.") for each in PATHS[name])
            changed = bool((table[place] != table[0]).any())
            assert own or not changed, f"{path} changes {name}"
            reached[name] |= changed
    # This device's profile leaves nothing to be counted.
    assert reached == {**dict.fromkeys(pieces, True), "prices": False}


def test_variants_are_what_replace_makes() -> None:
    device, draw = load_device("generic_npu_128"), np.random.default_rng(5)
    changes = [drawn(NPU, DECODE, draw) for _ in range(12)]
    changes += [{"matrix.rows": 2.0}, {"memory.latency": -1}, {"clock": "0 Hz"}, {"dma.lanes": 1}]
    changes += [{"matrix.accumulators.ports": True}, {"matrix.accumulators.ports": 3}, {}]
    variants = Variants(device, changes)
    whole, which = variants.pieces(PARTS, lambda design: design)
    for place, own in enumerate(changes):
        if variants.refused[place]:
            with pytest.raises(InputError):
                config.replace(device, own)
        else:
            assert whole[which[place]] == config.replace(device, own)
    assert np.flatnonzero(variants.refused).tolist() == [12, 13, 14, 15, 16]


def test_what_makes_another_kind_of_design_may_not_vary() -> None:
    assert not any(map(may_vary, (*FIXED, "matrix.pe.name", "matrix", "cores", "pim", "energy")))
    assert all(map(may_vary, ("clock", "matrix.rows", "vector.cycles_per_operation.exp")))


ADDING = {
    "cores": 2,
    "network": {
        "link_width": "64 B",
        "hop_cycles": 1,
        "multicast": True,
        "reduction": True,
        "source": "test",
    },
}


@pytest.mark.parametrize(
    ("changes", "options", "why"),
    [
        ({}, {"rung": "tile"}, "rung is 'tile'"),
        ({}, {"power": "throttle"}, "power is 'throttle'"),
        ({}, {"policies": Policies(sub_batch="on")}, "policies is "),
        ({}, {"trace": True}, "trace is True"),
        (ADDING, {}, "the network of generic_npu_128 adds up partial sums"),
        ({"staged": True}, {}, "generic_npu_128 is staged"),
    ],
)
def test_what_is_left_to_simulate(
    changes: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    device = config.replace(load_device("generic_npu_128"), changes)
    given = {"rung": "analytic", "policies": Policies(), **options}
    assert (not_vectorised(device, DECODE, given) or "").startswith(why)


@pytest.mark.parametrize(
    ("device", "workload", "why"),
    [
        (NPU, decode_step(MODEL, context=[512, 100]), "qk has requests of 2 lengths"),
        (NPU, mixed_step(MODEL, prompts=64, contexts=512), "split_k_rope is of kind 'split'"),
        (
            GPU,
            decode_step(MODEL, context=64, tensor_parallel=2),
            "all_reduce_embedding is of kind 'all_reduce'",
        ),
        # A link has no part in a workload without exchanges.
        (GPU, DECODE, None),
        (NPU, DECODE, None),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_workloads_that_are_left_to_simulate(
    device: Device, workload: Workload, why: str | None
) -> None:
    given = {"rung": "analytic", "policies": Policies()}
    assert not_vectorised(device, workload, given) == why
