"""Policies of a run: who multiplies, on which channel a request lies, what runs beside what.

A policy sees estimates and returns units, channels or an order; only the executor makes time. Runs
name them, parts do not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from simulator.config import unknown
from simulator.errors import InputError

Unit: TypeAlias = Literal["npu", "pim"]
SUB_BATCHES = ("auto", "on", "off")
HEAD_PIPELINES = ("on", "off")
COPROCESSES = ("off", "ffn")
#: Seed of the order in which requests came.
ARRIVALS = 1


class Estimate(NamedTuple):
    """What a placement sees of an operation that the memory can do.

    intensity: multiply-accumulates a byte of weights, keys and values. npu_ps, pim_ps: predicted
    times, each found when it is asked for. weights: whether it is a product with weights.
    """

    intensity: float
    peak_intensity: float
    npu_ps: Callable[[], int]
    pim_ps: Callable[[], int]
    weights: bool = False


def fixed(estimate: Estimate) -> Unit:
    """Multiply in the memory whatever it can."""
    return "pim"


def by_intensity(estimate: Estimate) -> Unit:
    """Multiply in the memory what its units keep up with (Duplex, arXiv 2409.01141, section IV)."""
    return "pim" if estimate.intensity <= estimate.peak_intensity else "npu"


def by_prediction(estimate: Estimate) -> Unit:
    """Multiply where that is predicted to take less (IANUS, arXiv 2410.15008, algorithm 1)."""
    return "pim" if estimate.pim_ps() < estimate.npu_ps() else "npu"


def mixed(estimate: Estimate) -> Unit:
    """Attend in the memory, and multiply weights where that is predicted to take less."""
    return by_prediction(estimate) if estimate.weights else "pim"


def never(estimate: Estimate) -> Unit:
    """Multiply nothing in the memory."""
    return "npu"


def min_load(loads: Sequence[int], taken: Sequence[int]) -> list[int]:
    """Return a channel for each load: the largest first, each to the least loaded channel.

    taken: what the channels have already. NeuPIMs (arXiv 2403.00579), algorithm 2.
    """
    so_far, channels = list(taken), [0] * len(loads)
    for index in sorted(range(len(loads)), key=lambda index: -loads[index]):
        channels[index] = so_far.index(min(so_far))
        so_far[channels[index]] += loads[index]
    return channels


def round_robin(loads: Sequence[int], taken: Sequence[int]) -> list[int]:
    """Return a channel for each load: one after the other, in an order that no load decides.

    Requests are known by their lengths, not by when they came: a fixed shuffle stands for that.
    """
    order = Random(ARRIVALS).sample(range(len(loads)), len(loads))
    channels = [0] * len(loads)
    for place, index in enumerate(order):
        channels[index] = place % len(taken)
    return channels


PLACEMENTS: Mapping[str, Callable[[Estimate], Unit]] = {
    "mixed": mixed,
    "fixed": fixed,
    "intensity": by_intensity,
    "predicted": by_prediction,
    "npu": never,
}
ASSIGNMENTS: Mapping[str, Callable[[Sequence[int], Sequence[int]], list[int]]] = {
    "min_load": min_load,
    "round_robin": round_robin,
}
_KNOWN: Mapping[str, Sequence[str]] = {
    "placement": tuple(PLACEMENTS),
    "assignment": tuple(ASSIGNMENTS),
    "sub_batch": SUB_BATCHES,
    "head_pipeline": HEAD_PIPELINES,
    "coprocess": COPROCESSES,
}


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The policies of a run, by name.

    placement: of products and attention that the memory can do. assignment: of requests that have
    no channel, and of heads. sub_batch: "on" splits a decode step in two, of which one multiplies
    in the memory while the other does not (NeuPIMs, algorithm 3), "auto" where that is faster.
    head_pipeline: "on" projects some heads while others attend (`head_pipeline`), and splits no
    batch. coprocess: "ffn" gives the memory the share of each of the FFN's products with which it
    and the matrix unit are predicted to end together, if the step is faster so (AttAcc).
    Raises InputError for unknown names.
    """

    placement: str = "mixed"
    assignment: str = "min_load"
    sub_batch: str = "auto"
    head_pipeline: str = "off"
    coprocess: str = "off"

    def __post_init__(self) -> None:
        """Refuse unknown names, all of them in one error."""
        problems = [
            unknown(field.name, getattr(self, field.name), _KNOWN[field.name])
            for field in fields(self)
            if getattr(self, field.name) not in _KNOWN[field.name]
        ]
        if problems:
            raise InputError(problems)
