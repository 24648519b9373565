"""Studies: points of a sweep as devices, workloads and runs; what each comes to, in metrics."""

from simulator.study.blocks import evaluate_many
from simulator.study.case import Case
from simulator.study.definition import case_of, header_of
from simulator.study.evaluation import evaluate
from simulator.study.launch import run
from simulator.study.metrics import METRICS, metrics_of

__all__ = [
    "METRICS",
    "Case",
    "case_of",
    "evaluate",
    "evaluate_many",
    "header_of",
    "metrics_of",
    "run",
]
