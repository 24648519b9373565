"""Evaluating a point of a study: it depends on nothing else, so where and when does not matter."""

import time
import traceback
from typing import Any

from simulator import api
from simulator.errors import InfeasibleError
from simulator.search.records import Outcome
from simulator.search.space import Point
from simulator.study.case import Case
from simulator.study.metrics import metrics_of


def evaluate(case: Case, point: Point) -> Outcome:
    """Simulate all workloads of a point: what it comes to, or why it does not.

    Whatever goes wrong is of this point and is kept as its outcome.
    """
    began = time.perf_counter()

    def after(**found: Any) -> Outcome:
        return Outcome(wall_time_s=time.perf_counter() - began, **found)

    name = ""
    try:
        device, workloads, options = case.at(point)
        results = {}
        for name, workload in workloads.items():
            results[name] = api.simulate(device, workload, **options)
            results[name].check()
        return after(state="OK", metrics=metrics_of(results, device, workloads))
    except InfeasibleError as error:
        return after(**infeasible(name, error))
    except Exception as error:  # noqa: BLE001 - one point must not end a study
        reason = f"{type(error).__name__}: {error}"
        return after(state="FAILED", metrics={}, reason=reason, traceback=traceback.format_exc())


def infeasible(name: str, error: InfeasibleError) -> dict[str, Any]:
    """Return the fields of the outcome of a point whose workload of a name is infeasible."""
    return {
        "state": "INFEASIBLE",
        "metrics": {},
        "reason": f"{name}: {error.reason}" if name else error.reason,
        "resource": error.resource,
        "demand": float(error.demand),
        "bound": float(error.bound),
    }
