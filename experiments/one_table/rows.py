"""The rows of the table, two processes at a time: which elements, on which terms.

An element is in with all of its operand pairs whose precision is one of `PRECISIONS` or `ALSO`.
Rows are simulated at the DRAM of the frame's profile and, on equal area, on the area of the frame's
own element at both ends of what synthesis may make of it; `intervals` has other DRAMs and gates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context

from simulator.api import load_device
from simulator.compare import Row, compared
from simulator.cost import Bound, load_technology
from simulator.design import (
    FRAME,
    TECHNOLOGY,
    Iso,
    Terms,
    does_attention,
    element_names,
    load_element,
)
from simulator.formats import get
from simulator.hardware.matrix import ProcessingElement, pair_formats

PROCESSES = 2
RUNG = "analytic"
BASELINE = "fp16_fma"
#: The precisions that are asked for, and others that papers compare these with.
PRECISIONS = ("W4A16", "W3A16", "W4A8", "W2A8", "W1.58A8")
ALSO = ("W16A16", "W8A16", "W6A16", "W8A8", "W4A4", "W3A8", "W1A8")
ISOS: tuple[Iso, ...] = ("area", "elements")
#: Bounds of the area of the frame's own element, for which an entry has a row each.
FRAMES: tuple[Bound, ...] = ("nominal", "low", "high")

_DEVICE, _TECHNOLOGY = load_device(FRAME), load_technology(TECHNOLOGY)


@dataclass(frozen=True)
class Entry:
    """An operand pair of an element on a workload, by one measure of equality.

    rows: on the nominal, the least and the largest area of the frame's own element. own_attention:
    the element multiplies attention's operands itself; else the FP16 unit beside does.
    """

    iso: Iso
    pair: str
    rows: tuple[Row, Row, Row]
    own_attention: bool

    @property
    def row(self) -> Row:
        """The row on nominal area."""
        return self.rows[0]

    @property
    def name(self) -> tuple[str, str, str]:
        """The element and the formats of its operands."""
        return self.row.pe, self.row.weights, self.row.activations

    @property
    def point(self) -> tuple[str, str]:
        """By what is equal, and the workload."""
        return self.iso, self.row.workload


def precision(pair: str) -> str:
    """Return the bits of weights and activations of a pair as papers write them: W4A16."""
    weights, activations = pair_formats(pair)
    bits = "1.58" if weights == "ternary" else f"{float(get(weights).value_bits):g}"
    return f"W{bits}A{float(get(activations).value_bits):g}"


def pairs_of(name: str) -> list[str]:
    """Return the pairs of an element that are in the table; FP16 by FP16 is the baseline's alone.

    Another element that multiplies FP16 by FP16 does attention by that.
    """
    known = (*PRECISIONS, *ALSO)
    return [
        pair
        for pair in load_element(name).formats
        if precision(pair) in known and (pair != "fp16xfp16" or name == BASELINE)
    ]


def elements() -> list[str]:
    """Return the names of all elements that are in the table."""
    return [name for name in element_names() if pairs_of(name)]


Task = tuple[str, tuple[str, ...]]


def rows_of(task: Task) -> list[Entry]:
    """Return the entries of all pairs of one element on all workloads: counted in one process."""
    name, workloads = task
    pe = load_element(name)
    return [
        _entry(pe, pair, iso, workload)
        for pair, iso, workload in product(pairs_of(name), ISOS, workloads)
    ]


def _entry(pe: ProcessingElement, pair: str, iso: Iso, workload: str) -> Entry:
    # Equal elements are as many on any area.
    first, *ends = (
        compared(pe, pair, workload, terms(iso, bound))
        for bound in (FRAMES if iso == "area" else FRAMES[:1])
    )
    low, high = ends or (first, first)
    return Entry(iso, pair, (first, low, high), does_attention(pe, pair))


def terms(iso: Iso = "area", frame_area: Bound = "nominal") -> Terms:
    """Return the terms of the table."""
    return Terms(frame=_DEVICE, technology=_TECHNOLOGY, iso=iso, rung=RUNG, frame_area=frame_area)


def entries(names: Sequence[str], workloads: Sequence[str]) -> list[Entry]:
    """Return the entries of all pairs of elements that are in the table, in that order."""
    tasks = [(name, tuple(workloads)) for name in names]
    with get_context("spawn").Pool(PROCESSES) as pool:
        return [entry for made in pool.imap(rows_of, tasks) for entry in made]


def baselines(made: Sequence[Entry]) -> dict[tuple[str, str], Entry]:
    """Return FP16's entry of each point."""
    return {entry.point: entry for entry in made if entry.row.pe == BASELINE}
