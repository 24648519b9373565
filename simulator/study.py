"""Studies: points of a sweep as devices, workloads and runs; what each comes to, in metrics.

A point changes the device, the workload or the options of a run by the paths of its dimensions:
`device.matrix.rows`, `workload.batch`, `workload.model.layers`, `run.rung`. Evaluating one depends
on nothing else, so where and when that is done makes no difference.
"""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from inspect import signature
from pathlib import Path
from typing import Any, cast

from simulator import api
from simulator.config import content_hash, replace, unknown
from simulator.errors import InfeasibleError, InputError
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.search.pool import Pool
from simulator.search.records import Header, Outcome, kind_of
from simulator.search.runner import Tally, run_study
from simulator.search.space import Choice, Dimension, Point, Space, Value
from simulator.search.store import Store
from simulator.search.strategies import strategy as make_strategy
from simulator.search.sweep_file import Sweep
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
#: What comes of a point, with units. Those of tokens are absent where there are none.
METRICS = {
    "latency_s": "s",
    "tokens_per_s": "tokens/s",
    "energy_j": "J",
    "energy_per_token_j": "J",
    "power_w": "W",
    "edp_js": "J s",
    "area_mm2": "mm2",
    "tops": "TOPS",
    "tops_per_w": "TOPS/W",
    "tops_per_mm2": "TOPS/mm2",
    "tokens_per_s_per_w": "tokens/s/W",
    "memory_bytes": "bytes",
}


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


def evaluate(case: Case, point: Point) -> Outcome:
    """Simulate a point: what it comes to, or why it does not.

    Whatever goes wrong is of this point and is kept as its outcome.
    """
    began = time.perf_counter()

    def after(**found: Any) -> Outcome:
        return Outcome(wall_time_s=time.perf_counter() - began, **found)

    try:
        device, workload, options = case.at(point)
        result = api.simulate(device, workload, **options)
        result.check()
        return after(state="OK", metrics=metrics_of(result, device, workload))
    except InfeasibleError as error:
        return after(
            state="INFEASIBLE",
            metrics={},
            reason=error.reason,
            resource=error.resource,
            demand=float(error.demand),
            bound=float(error.bound),
        )
    except Exception as error:  # noqa: BLE001 - one point must not end a study
        reason = f"{type(error).__name__}: {error}"
        return after(state="FAILED", metrics={}, reason=reason, traceback=traceback.format_exc())


def metrics_of(result: Result, device: Device, workload: Workload) -> dict[str, float]:
    """Return the metrics of a run by name; operations are two a useful MAC."""
    from simulator.engine.assemble import area_mm2

    seconds, joules = result.latency_s, result.energy_j
    area, power = area_mm2(device, api.profile_of(device)), joules / seconds
    tops = 2 * result.macs / seconds / 1e12
    metrics = {
        "latency_s": seconds,
        "energy_j": joules,
        "power_w": power,
        "edp_js": joules * seconds,
        "area_mm2": area,
        "tops": tops,
        "tops_per_w": tops / power,
        "memory_bytes": float(workload.weight_bytes + workload.kv_bytes),
    }
    if area:
        metrics["tops_per_mm2"] = tops / area
    if result.tokens:
        metrics["tokens_per_s"] = result.tokens_per_s
        metrics["energy_per_token_j"] = joules / result.tokens
        metrics["tokens_per_s_per_w"] = result.tokens_per_s / power
    return metrics


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
def _model(name: str) -> Model:
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
    return make(replace(_model(name), of_model) if of_model else _model(name), **arguments)


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


def case_of(sweep: Sweep) -> Case:
    """Return what a sweep simulates; InputError for what its device, workload or run cannot be."""
    case = Case(
        device=api.load_device(sweep.device),
        workload=sweep.workload,
        run={"rung": sweep.rung, **sweep.run},
    )
    case.refuse(sweep.space)
    unknown_metrics = [each.metric for each in sweep.objectives if each.metric not in METRICS]
    if unknown_metrics:
        raise InputError([unknown("metric", each, METRICS) for each in unknown_metrics])
    return case


def header_of(sweep: Sweep, case: Case) -> Header:
    """Return what tells a study from others: all that outcomes depend on beside the point."""
    model = _model(str(case.workload["model"]))
    parts = {
        "device": f"{case.device.name} {content_hash(case.device)}",
        "model": f"{model.name} {content_hash(model)}",
        "workload": json.dumps(dict(case.workload), sort_keys=True),
        "run": json.dumps(dict(case.run), sort_keys=True),
        "nibblesim": api.version(),
    }
    text = "\n".join(f"{name}: {part}" for name, part in parts.items())
    return Header(
        dimensions={each.name: kind_of(each.domain) for each in sweep.space.dimensions},
        metrics=METRICS,
        objectives=sweep.objectives,
        defined_by=blake2b(text.encode(), digest_size=8).hexdigest(),
        text=text,
    )


def run(
    sweep: Sweep,
    path: str | Path,
    *,
    strategy: str | None = None,
    trials: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    workers: int = 1,
    time_limit_s: float | None = None,
    memory_limit_bytes: int | None = None,
    seen: Callable[[Tally, Outcome], object] | None = None,
) -> Tally:
    """Run a sweep or a search in processes, its outcomes kept in the store at `path`.

    strategy: in place of the sweep's. trials: how many points it asks for, by default all of a
    grid. limit: points in the store at most. time_limit_s, memory_limit_bytes: of a point. seen:
    called after each point. The same call goes on where one was ended.
    Raises InputError for what is wrong with the sweep, and as the store and the strategy.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be >= 1, got {limit}")
    case, name = case_of(sweep), strategy or sweep.strategy or "grid"
    chosen = make_strategy(name, sweep.space, sweep.objectives, seed=seed, trials=trials)
    pool = Pool(
        workers,
        time_limit_s=time_limit_s,
        memory_limit_bytes=memory_limit_bytes,
        prepare=_ready,
    )
    with Store(path) as store:
        store.study(header_of(sweep, case))
        try:
            tally = run_study(
                chosen,
                store,
                sweep.objectives,
                lambda point: pool.submit(evaluate, case, dict(point)),
                seed=seed,
                limit=limit,
                seen=seen,
            )
        finally:
            # What still runs here was cut short: by an error, or by the user.
            pool.shutdown(cancel_futures=True)
    if not tally.points:
        raise InputError(f"{sweep.name}: no point of the space keeps its constraints")
    return tally


def _ready() -> None:
    """Load what simulations need, so that limits are of points alone."""
    # Numba imports it at some point; its OpenBLAS never gives up where it gets no memory.
    import scipy.linalg  # noqa: F401

    import simulator.engine.assemble
    import simulator.engine.schedule  # noqa: F401
