"""Points of a study as devices, workloads and runs.

A point changes the device, the workloads or the options of a run by the paths of its dimensions:
`device.matrix.rows`, `workload.batch`, `workload.model.layers`, `run.rung`. Where a study has
several workloads, `workload.batch` is of all whose phase takes it, `workload.decode.batch` of one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from inspect import signature
from typing import Any, cast

from simulator import api
from simulator.config import replace, unknown
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.results import RUNGS
from simulator.search.space import Choice, Point, Space, Value
from simulator.workload import Model, Workload, decode_step, mixed_step, prefill

DEVICE, WORKLOAD, RUN = ROOMS = "device.", "workload.", "run."
#: Before the fields of a model, among the settings of a workload.
MODEL = "model."
PHASES: Mapping[str, Callable[..., Workload]] = {
    "prefill": prefill,
    "decode": decode_step,
    "mixed": mixed_step,
}
#: Options of `simulate` that a study may set; policies by their own names.
OPTIONS = {
    "rung": RUNGS,
    "attention": api.ATTENTION,
    "tables": api.TABLES,
    "power": api.POWER,
}
POLICIES = tuple(each.name for each in fields(Policies))


@dataclass(frozen=True)
class Case:
    """What a study simulates where a point says nothing else.

    workload: a model, a phase and the arguments of its function; run: options of `simulate` and
    policies by name. workloads: settings of each of several, by name, on top of those of `workload`
    that its phase takes.
    """

    device: Device
    workload: Mapping[str, Any]
    run: Mapping[str, Any]
    workloads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the workloads; "" where there is one without."""
        return tuple(self.workloads) or ("",)

    def at(self, point: Point) -> tuple[Device, dict[str, Workload], dict[str, Any]]:
        """Return device, workloads by name and options of a run; InputError with every problem."""
        made, problems = list[Any](), list[str]()
        for make in self._makers(point).values():
            try:
                made.append(make())
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return cast("tuple[Device, dict[str, Workload], dict[str, Any]]", tuple(made))

    def device_at(self, point: Point) -> Device:
        """Return the device of a point; InputError with its problems."""
        return replace(self.device, by_room(point)[DEVICE], root="device")

    def problems(self, point: Point, room: str) -> tuple[str, ...]:
        """Return why the device, the workloads or the options of a point cannot be made."""
        try:
            self._makers(point)[room]()
        except InputError as error:
            return error.problems
        return ()

    def phases(self, space: Space) -> dict[str, tuple[str, ...]]:
        """Return the phases that each workload may have over a space."""
        found = {}
        for name in self.names:
            values = list[Value]()
            for way in (f"{WORKLOAD}{name}.phase", f"{WORKLOAD}phase"):
                varied = space.by_name.get(way)
                if varied is not None and isinstance(varied.domain, Choice):
                    values += varied.domain.values()
                    if not varied.when:
                        break
            else:
                # Nothing else says the phase of each point.
                values.append({**self.workload, **self.workloads.get(name, {})}.get("phase"))
            found[name] = tuple(dict.fromkeys(each for each in values if isinstance(each, str)))
        return found

    def _makers(self, point: Point) -> dict[str, Callable[[], Any]]:
        """Return what makes device, workloads and options, by room."""
        changes = by_room(point)
        return {
            DEVICE: lambda: self.device_at(point),
            WORKLOAD: lambda: self._workloads(changes[WORKLOAD]),
            RUN: lambda: _options({**self.run, **changes[RUN]}),
        }

    def _workloads(self, changes: Mapping[str, Value]) -> dict[str, Workload]:
        """Build each workload from its settings; InputError lists every problem, with its name."""
        workloads, problems = {}, list[str]()
        for name, settings in self._settings(changes).items():
            try:
                workloads[name] = _workload(settings)
            except InputError as error:
                where = f"workloads.{name}: " if name else ""
                problems += [f"{where}{problem}" for problem in error.problems]
        if problems:
            raise InputError(problems)
        return workloads

    def _settings(self, changes: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
        """Return the settings of each workload by name: what a point says is stronger.

        What is said of all is of those whose phase takes it; InputError where none does.
        """
        shared, own = _by_workload(changes, self.workloads)
        if not self.workloads:
            return {"": {**self.workload, **shared}}
        settings, taken, known = {}, set[str](), dict[str, None]()
        for name, written in self.workloads.items():
            whole = {**self.workload, **written, **shared, **own[name]}
            of_phase = _taken(whole.get("phase"))
            of_all = [
                {each: value for each, value in given.items() if _is_of(each, of_phase)}
                for given in (self.workload, shared)
            ]
            taken.update(*of_all)
            known |= dict.fromkeys(of_phase or ())
            settings[name] = {**of_all[0], **written, **of_all[1], **own[name]}
        lost = [each for each in {**self.workload, **shared} if each not in taken]
        if lost:
            raise InputError([unknown("workload option", each, known) for each in lost])
        return settings


def by_room(point: Point) -> dict[str, dict[str, Value]]:
    """Return the changes of a point by what they are of; InputError for what they cannot be of."""
    changes: dict[str, dict[str, Value]] = {room: {} for room in ROOMS}
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


def _by_workload(
    changes: Mapping[str, Value], names: Iterable[str]
) -> tuple[dict[str, Value], dict[str, dict[str, Value]]]:
    """Split changes into those of all workloads and those of each."""
    shared: dict[str, Value] = {}
    own: dict[str, dict[str, Value]] = {name: {} for name in names}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if rest and name in own:
            own[name][rest] = value
        else:
            shared[path] = value
    return shared, own


def _taken(phase: object) -> tuple[str, ...] | None:
    """Return the settings that a phase takes; None where there is no such phase."""
    if not isinstance(phase, str) or phase not in PHASES:
        return None
    return ("phase", *signature(PHASES[phase]).parameters)


def _is_of(setting: str, known: Collection[str] | None) -> bool:
    """Tell whether a phase with these settings takes one; what is no phase takes all."""
    return known is None or setting in known or setting.startswith(MODEL)


def _workload(settings: Mapping[str, Any]) -> Workload:
    """Build a workload from its settings; InputError lists every problem."""
    of_model = {
        name.removeprefix(MODEL): value
        for name, value in settings.items()
        if name.startswith(MODEL)
    }
    arguments = {name: value for name, value in settings.items() if not name.startswith(MODEL)}
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
    model = model_of(name)
    return make(replace(model, of_model, root="workload.model") if of_model else model, **arguments)


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
