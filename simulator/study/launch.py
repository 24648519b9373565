"""Running a study: a sweep's strategy, its points in processes, what comes of them in a store."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from simulator import api
from simulator.config import content_hash, unknown
from simulator.errors import InputError
from simulator.search.pool import Pool
from simulator.search.records import Header, Outcome, kind_of
from simulator.search.runner import Tally, run_study
from simulator.search.store import Store
from simulator.search.strategies import strategy as make_strategy
from simulator.search.sweep_file import Sweep
from simulator.study.case import Case, model_of
from simulator.study.evaluation import evaluate
from simulator.study.metrics import METRICS


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
    model = model_of(str(case.workload["model"]))
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
