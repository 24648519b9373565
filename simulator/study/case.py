"""Points of a study as devices, workloads and runs.

A point changes the device, the workload or the options of a run by the paths of its dimensions:
`device.matrix.rows`, `workload.batch`, `workload.model.layers`, `run.rung`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from inspect import signature
from typing import Any, cast

from simulator import api
from simulator.config import replace, unknown
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.search.space import Choice, Dimension, Point, Space, Value
from simulator.workload import Model, Workload, decode_step, mixed_step, prefill

DEVICE, WORKLOAD, MODEL, RUN = "device.", "workload.", "workload.model.", "run."
PHASES: Mapping[str, Callable[..., Workload]] = {
    "prefill": prefill,
    "decode": decode_step,
    "mixed": mixed_step,
}
#: Options of `simulate` that a study may set; policies by their own names.
OPTIONS = {
    "rung": api.RUNGS,
    "attention": api.ATTENTION,
    "tables": api.TABLES,
    "power": api.POWER,
}
POLICIES = tuple(each.name for each in fields(Policies))


@dataclass(frozen=True)
class Case:
    """What a study simulates where a point says nothing else.

    workload: a model, a phase and the arguments of its function; run: options of `simulate` and
    policies by name.
    """

    device: Device
    workload: Mapping[str, Any]
    run: Mapping[str, Any]

    def at(self, point: Point) -> tuple[Device, Workload, dict[str, Any]]:
        """Return device, workload and options of a run; InputError with every problem."""
        changes = _by_room(point)
        problems: list[str] = []

        def kept(make: Callable[[], Any]) -> Any:
            try:
                return make()
            except InputError as error:
                problems.extend(error.problems)
                return None

        device = kept(lambda: replace(self.device, changes[DEVICE]))
        described = {**self.workload, **changes[WORKLOAD]}
        workload = kept(lambda: _workload(described, changes[MODEL]))
        options = kept(lambda: _options({**self.run, **changes[RUN]}))
        if problems:
            raise InputError(problems)
        return cast("tuple[Device, Workload, dict[str, Any]]", (device, workload, options))

    def refuse(self, space: Space) -> None:
        """Try each value of each dimension alone; InputError lists those that are none.

        Of a range, both ends; the other dimensions have their first values.
        """
        wrong = self._problems(_point_with(space, {}))
        problems = list(wrong)
        for dimension in space.dimensions:
            for value in _tried(dimension):
                found = self._problems(_point_with(space, _parents(space, dimension, value)))
                problems += [f"{dimension.name} = {value}: {p}" for p in found if p not in wrong]
        if problems:
            raise InputError(list(dict.fromkeys(problems)))

    def _problems(self, point: Point) -> tuple[str, ...]:
        try:
            self.at(point)
        except InputError as error:
            return error.problems
        return ()


def _by_room(point: Point) -> dict[str, dict[str, Value]]:
    """Return the changes of a point by what they are of; InputError for what they cannot be of."""
    changes: dict[str, dict[str, Value]] = {room: {} for room in (MODEL, DEVICE, WORKLOAD, RUN)}
    problems = []
    for name, value in point.items():
        room = next((room for room in changes if name.startswith(room)), None)
        if room is None:
            problems.append(f"{name}: expected device, workload or run before a point")
        else:
            changes[room][name.removeprefix(room)] = value
    if problems:
        raise InputError(problems)
    return changes


@lru_cache(maxsize=32)
def model_of(name: str) -> Model:
    """Return a model by its name or file."""
    return api.load_model(name)


def _workload(described: Mapping[str, Any], of_model: Mapping[str, Value]) -> Workload:
    """Build a workload from its description; InputError lists every problem."""
    arguments = dict(described)
    lacking = [name for name in ("model", "phase") if not isinstance(arguments.get(name), str)]
    if lacking:
        raise InputError([f"workload.{name}: expected a name" for name in lacking])
    name, phase = arguments.pop("model"), arguments.pop("phase")
    if phase not in PHASES:
        raise InputError(unknown("workload.phase", phase, PHASES))
    make = PHASES[phase]
    known = [each for each in signature(make).parameters if each != "model"]
    problems = [unknown("workload option", each, known) for each in arguments if each not in known]
    length = known[0]
    if length not in arguments:
        problems.append(f"workload.{length}: missing, which phase '{phase}' needs")
    if problems:
        raise InputError(problems)
    return make(replace(model_of(name), of_model) if of_model else model_of(name), **arguments)


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `simulate`; InputError for unknown ones."""
    wrong = [name for name in given if name not in (*OPTIONS, *POLICIES)]
    if wrong:
        raise InputError([unknown("run option", name, (*OPTIONS, *POLICIES)) for name in wrong])
    policies = {name: value for name, value in given.items() if name in POLICIES}
    options = {name: value for name, value in given.items() if name in OPTIONS}
    for name, value in options.items():
        api.check_choice(name, value, OPTIONS[name])
    return {**options, "policies": Policies(**policies)}


def _parents(space: Space, dimension: Dimension, value: Value) -> dict[str, Value]:
    """Return a value with what has to be for its dimension to apply."""
    forced = {dimension.name: value}
    for name, values in dimension.when.items():
        forced = {**_parents(space, space.by_name[name], values[0]), **forced}
    return forced


def _point_with(space: Space, forced: Mapping[str, Value]) -> Point:
    """Return a point with some values given and the first ones of all else that applies."""
    point: dict[str, Value] = {}
    for each in space.dimensions:
        if each.applies(point):
            point[each.name] = forced.get(each.name, each.domain.at(0.0))
    return point


def _tried(dimension: Dimension) -> Iterator[Value]:
    """Yield the values with which a dimension is tried before a study."""
    domain = dimension.domain
    if isinstance(domain, Choice):
        yield from domain.values()
    else:
        yield from dict.fromkeys((domain.at(0.0), domain.at(1 - 2**-53)))
