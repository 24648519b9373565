"""Running a study: a sweep's strategy, its points in processes, what comes of them in a store."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.config import code_hash
from simulator.errors import InputError
from simulator.results import RUNGS
from simulator.search.pool import NoWorkerError, Pool
from simulator.search.records import Outcomes
from simulator.search.runner import Blocks, Tally, run_study
from simulator.search.space import Point
from simulator.search.store import Store
from simulator.search.strategies import no_point
from simulator.search.strategies import strategy as make_strategy
from simulator.search.sweep_file import Sweep
from simulator.study.blocks import evaluate_many
from simulator.study.case import RUN, Case, model_of
from simulator.study.definition import case_of, code_of_outcomes, header_of
from simulator.study.evaluation import evaluate
from simulator.study.misleading import warnings_of

if TYPE_CHECKING:
    from simulator.search.cluster import Cluster


def run(
    sweep: Sweep,
    path: str | Path,
    *,
    strategy: str | None = None,
    trials: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    time_limit_s: float | None = None,
    memory_limit_bytes: int | None = None,
    retry_failed: bool = False,
    seen: Callable[[Tally], object] | None = None,
    warn: Callable[[str], object] = warnings.warn,
) -> Tally:
    """Run a sweep or a search in processes, its outcomes kept in the store at `path`.

    strategy: in place of the sweep's. trials: how many points it asks for, by default all of a
    grid. limit: points in the store at most. workers: processes, by default one; cluster: in their
    place, the address of a scheduler of dask.distributed. time_limit_s, memory_limit_bytes: of a
    point in a process. retry_failed: points that FAILED are simulated again. seen: called with the
    tally so far. warn: called before the first point with what an objective leaves unsaid.
    The same call goes on where one was ended.
    Raises InputError for what is wrong with the sweep, and as the store and the strategy, and
    NoWorkerError where nothing can be run.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be >= 1, got {limit}")
    # Files are as they stand when a study starts.
    model_of.cache_clear()
    code_hash.cache_clear()
    case, name = case_of(sweep), strategy or sweep.strategy or "grid"
    for text in warnings_of(sweep, case):
        warn(text)
    chosen = make_strategy(
        name, sweep.space, sweep.objectives, seed=seed, trials=trials, rungs=RUNGS
    )
    pool = _executor(workers, cluster, time_limit_s, memory_limit_bytes)
    try:
        with Store(path) as store:
            store.study(header_of(sweep, case))
            tally = run_study(
                chosen,
                store,
                sweep.objectives,
                lambda point: pool.submit(evaluate, case, dict(point)),
                seed=seed,
                limit=limit,
                ahead=pool.ahead,
                # Limits are of one point, and many would share them.
                blocks=None if time_limit_s or memory_limit_bytes else _blocks(pool, case),
                retry_failed=retry_failed,
                seen=seen,
            )
    finally:
        # What still runs here was cut short: by an error, or by the user.
        pool.shutdown(cancel_futures=True)
    # Points of other ranges in the file may have used up the limit.
    if not tally.points and (limit is None or tally.stored < limit):
        raise InputError(no_point(sweep.space))
    return tally


def _blocks(pool: "Pool | Cluster", case: Case) -> Blocks:
    """Return how points on the analytic rung are evaluated many at once."""
    rung = case.run["rung"]

    def start(points: Sequence[Point]) -> "Future[Outcomes]":
        return pool.submit(evaluate_many, case, [dict(point) for point in points])

    return Blocks(start, lambda point: point.get(f"{RUN}rung", rung) == "analytic")


def _executor(
    workers: int | None,
    cluster: str | None,
    time_limit_s: float | None,
    memory_limit_bytes: int | None,
) -> "Pool | Cluster":
    """Return what points run in; InputError for what a cluster has no use for."""
    if cluster is None:
        return Pool(
            1 if workers is None else workers,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            prepare=partial(_ready_as, code_of_outcomes()),
        )
    given = {
        "workers": workers,
        "time_limit_s": time_limit_s,
        "memory_limit_bytes": memory_limit_bytes,
    }
    problems = [
        f"{name} is of processes on this machine; the workers of a cluster are started with "
        "theirs, as by: dask worker ADDRESS --nworkers 8 --nthreads 1 --memory-limit 4GiB"
        for name, value in given.items()
        if value is not None
    ]
    if problems:
        raise InputError(problems)
    # Its library is an extra.
    from simulator.search.cluster import Cluster

    return Cluster(cluster, prepare=_ready)


def _ready_as(code: str) -> None:
    """Be ready to run the code that a study began with."""
    _ready()
    if code_of_outcomes() != code:
        raise NoWorkerError(
            "the code of nibblesim, or a data file, was edited while the study ran; what has ended "
            "is kept"
        )


def _ready() -> None:
    """Load what simulations need, so that limits are of points alone."""
    # Numba imports it at some point; its OpenBLAS never gives up where it gets no memory.
    import scipy.linalg  # noqa: F401

    import simulator.engine.assemble
    import simulator.engine.schedule  # noqa: F401
