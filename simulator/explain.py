"""Why one processing element is faster or thriftier than another: one mechanism at a time.

`explain` walks from element A to element B, both as `compare` compares them, over designs of which
each differs from the one before in one mechanism. Each is simulated; a factor is the ratio of two
neighbours, so that factors multiply to the whole. Between the ends designs are bare: the area of
the frame's array is full of elements that multiply every operand pair of the workload as it comes
from memory, all in the same passes and for the same energy; scales, zero points and tables cost
nothing, and no unit stands beside. Bare designs cannot be built; they only take the whole apart.

In this order: what lowering adds to A is taken off; the formats in memory become those of B; the
cycles of a MAC, passes and micro-tile; the number of elements on the same area, all of which leaks;
the energy of a MAC; what lowering adds to B is put on.

Factors depend on that order, their product does not. Formats come before cycles: where A is bound
by memory, fewer bits show their whole gain, and then fewer cycles as much as is left; the other way
round cycles would show none. A factor says what a mechanism gains on top of those before it, not
what it would gain alone.

Left out: what the workload itself does for its formats (keys and values are quantised as they are
appended) belongs to the formats; the other way round, other orders and averages over them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import pairwise
from math import prod

from simulator.api import load_device, simulate
from simulator.compare import (
    FRAME,
    TECHNOLOGY,
    compared,
    formats_of,
    load_element,
    workload_named,
)
from simulator.config import replace as changed
from simulator.config import resolved, unknown
from simulator.cost import Constant, EnergyProfile, Technology, load_profile, load_technology
from simulator.errors import InfeasibleError, InputError
from simulator.formats import Format, get
from simulator.hardware import Device
from simulator.hardware.matrix import ProcessingElement, SystolicArray
from simulator.hardware.pricing import element_area_um2, mac_pj
from simulator.workload import Graph, Role, Workload

#: The designs that `explain` simulates.
STEPS = 7


@dataclass(frozen=True, kw_only=True)
class Step:
    """A design on the way and what its mechanism gains over the one before: above 1 is better."""

    mechanism: str
    design: str
    elements: int
    latency_s: float
    energy_j: float
    speed_up: float = 1.0
    energy_gain: float = 1.0


@dataclass(frozen=True)
class Explanation:
    """The way from A to B, both NAME:PAIR, on a workload; the first step is A, the last is B."""

    a: str
    b: str
    workload: str
    steps: tuple[Step, ...]

    @property
    def speed_up(self) -> float:
        """The product of all speed-ups: B over A."""
        return prod(step.speed_up for step in self.steps)

    @property
    def energy_gain(self) -> float:
        """The product of all gains in energy: A's energy over B's."""
        return prod(step.energy_gain for step in self.steps)


@dataclass(frozen=True)
class Side:
    """An element and the operand pair of its with which it is compared."""

    pe: ProcessingElement
    pair: str

    def __str__(self) -> str:
        """Write NAME:PAIR."""
        return f"{self.pe.name}:{self.pair}"

    @property
    def formats(self) -> tuple[str, str, str]:
        """Formats of weights, activations and KV cache."""
        return formats_of(self.pe, self.pair)


def side_of(text: str) -> Side:
    """Return the element and pair of NAME[:PAIR] or FILE[:PAIR], by default its first pair.

    Errors: InputError for what is unknown.
    """
    name, mark, pair = text.rpartition(":")
    pe = load_element(name if mark else text)
    if not mark:
        return Side(pe, next(iter(pe.formats)))
    if pair not in pe.formats:
        raise InputError(unknown(f"pair of PE '{pe.name}'", pair, pe.formats))
    return Side(pe, pair)


@dataclass(frozen=True)
class Carried(Format):
    """A format of which every bit is moved, and whose scales and zero points cost no work.

    To lowering it has none; sizes are those of the format that it carries.
    """

    whole: Format = field(kw_only=True)

    def __post_init__(self) -> None:
        """Nothing to refuse: the carried format is valid."""

    @property
    def metadata_bits_per_group(self) -> int:
        """Bits of scale, zero point and selector of one scale group of the carried format."""
        return self.whole.metadata_bits_per_group

    def scales(self, rows: int, reduction: int) -> int:
        """Return how many scale groups the carried format has."""
        return self.whole.scales(rows, reduction)

    def metadata_bits(self, rows: int, reduction: int) -> int:
        """Return the bits of all metadata of the carried format."""
        return self.whole.metadata_bits(rows, reduction)


def carried(form: Format) -> Carried:
    """Return a format without work for its metadata."""
    kept = {each.name: getattr(form, each.name) for each in fields(Format)}
    none = {"granularity": "none", "group": None, "zero_bits": 0}
    return Carried(**{**kept, **none, "name": f"{form.name} carried"}, whole=form)


def bare_workload(workload: Workload) -> Workload:
    """Return a workload with the same operations and bits, whose metadata costs no work."""
    segments = tuple(
        replace(segment, graph=_bare_graph(segment.graph)) for segment in workload.segments
    )
    return replace(workload, segments=segments)


def _bare_graph(graph: Graph) -> Graph:
    tensors = tuple(replace(each, format=carried(each.format)) for each in graph.tensors)
    return replace(graph, tensors=tensors)


def pairs_of(workload: Workload) -> list[str]:
    """Return the operand pairs of all that is held with all activations, in order of names."""
    tensors = [each for segment in workload.segments for each in segment.graph.tensors]
    held = {each.format.base for each in tensors if each.role is not Role.ACTIVATION}
    moving = {each.format.base for each in tensors if each.role is Role.ACTIVATION}
    return sorted(f"{weights}x{activations}" for weights in held for activations in moving)


@dataclass(frozen=True)
class _Bare:
    """A bare design: whose formats, whose cycles, how many elements, whose energy."""

    formats: Side
    cycles: Side
    columns: int
    energy: Side


class _Frame:
    """What all designs of one way share."""

    def __init__(self, workload: str, rung: str) -> None:
        self.workload, self.rung = workload, rung
        self.device: Device = load_device(FRAME)
        self.technology: Technology = load_technology(TECHNOLOGY)
        self.profile: EnergyProfile = load_profile(self.device.energy)
        array = self.device.matrix
        if not isinstance(array, SystolicArray):
            raise InputError(f"{FRAME}: elements are compared in a systolic array")
        self.rows = array.rows
        self.column_um2 = array.rows * element_area_um2(array.pe, self.technology)
        self.area_um2 = array.columns * self.column_um2

    def columns(self, side: Side) -> int:
        """Return the columns of bare elements on the whole area of the frame's array."""
        each = self.rows * element_area_um2(side.pe, self.technology)
        if each > self.area_um2:
            raise InfeasibleError(
                *("array area", each, self.area_um2, "um2"),
                f"PE '{side.pe.name}': a column takes {each:,.0f} um2, "
                f"{self.area_um2:,.0f} are there",
            )
        return int(self.area_um2 / each)

    def end(self, side: Side, mechanism: str) -> Step:
        """Return the design of one of the two elements as `compare` has it."""
        row = compared(side.pe, side.pair, self.workload, rung=self.rung)
        if row.infeasible:
            raise InfeasibleError("design", 1, 0, "designs that run", row.infeasible)
        return Step(
            mechanism=mechanism,
            design=f"{side} as compared: {_formats(side)}",
            elements=row.elements,
            latency_s=row.latency_s,
            energy_j=row.energy_j,
        )

    def bare(self, bare: _Bare, mechanism: str, design: str) -> Step:
        """Simulate a bare design."""
        workload = bare_workload(workload_named(self.workload, bare.formats.formats))
        pairs = pairs_of(workload)
        element = ProcessingElement(
            name=f"bare {bare.cycles.pe.name}",
            micro_tile=bare.cycles.pe.micro_tile,
            formats=dict.fromkeys(pairs, bare.cycles.pe.passes(bare.cycles.pair)),
            accumulator_bits=max(32, bare.cycles.pe.accumulator_bits),
            source=design,
        )
        device = changed(
            self.device, {"matrix.pe": resolved(element), "matrix.columns": bare.columns}
        )
        elements = self.rows * bare.columns
        profile = self._priced(bare.energy, pairs, elements)
        result = simulate(device, workload, self.rung, energy=profile)
        return Step(
            mechanism=mechanism,
            design=design,
            elements=elements,
            latency_s=result.latency_s,
            energy_j=result.energy_j,
        )

    def _priced(self, side: Side, pairs: list[str], elements: int) -> EnergyProfile:
        """Return the frame's profile with all pairs at the price of one; the whole array leaks."""
        source = f"gates of PE '{side.pe.name}' in {self.technology.name}"
        mac = Constant(nominal=self.mac_pj(side), source=source)
        area = Constant(nominal=self.area_um2 / 1e6 / elements, source=source)
        areas = self.profile.areas.model_copy(update={"pe_mm2": area})
        constants = dict.fromkeys(pairs, mac)
        return self.profile.model_copy(update={"mac_constants": constants, "areas": areas})

    def mac_pj(self, side: Side) -> float:
        """Return the energy of a MAC of a side."""
        return mac_pj(side.pe, side.pair, self.technology)


def explain(
    a: str,
    b: str,
    workload: str,
    *,
    rung: str = "tile",
    progress: Callable[[], object] | None = None,
) -> Explanation:
    """Return the way from element A to element B, both NAME[:PAIR] (`side_of`).

    workload: as `compare.workload_named` reads it. progress: called after each of `STEPS` designs.

    Errors: InputError for what is unknown, InfeasibleError for a design on the way that cannot run.
    """
    first, last = side_of(a), side_of(b)
    frame = _Frame(workload, rung)
    designs: list[Callable[[], Step]] = [
        partial(frame.end, first, "start"),
        *_bare_steps(frame, first, last),
        partial(frame.end, last, f"lowering of {last.pe.name} on"),
    ]
    found = []
    for simulated in designs:
        found.append(simulated())
        if progress is not None:
            progress()
    gains = (_over(step, before) for before, step in pairwise(found))
    return Explanation(str(first), str(last), workload, (found[0], *gains))


def _bare_steps(frame: _Frame, a: Side, b: Side) -> list[Callable[[], Step]]:
    """Return the designs between the ends, each to be simulated."""
    few, many = frame.columns(a), frame.columns(b)
    named = (
        (
            _Bare(a, a, few, a),
            f"lowering of {a.pe.name} off",
            f"{a.pe.name} alone on the whole area multiplies all; scales and tables are free",
        ),
        (
            _Bare(b, a, few, a),
            "formats in memory",
            f"the same elements take {_formats(b)}",
        ),
        (
            _Bare(b, b, few, a),
            "cycles of a MAC",
            f"{_cycles(b)} an element, not {_cycles(a)}",
        ),
        (
            _Bare(b, b, many, a),
            "elements on the area",
            f"{frame.rows * many:,} elements of {b.pe.name}, not {frame.rows * few:,}",
        ),
        (
            _Bare(b, b, many, b),
            "energy of a MAC",
            f"{frame.mac_pj(b):.3g} pJ, not {frame.mac_pj(a):.3g} pJ",
        ),
    )
    return [partial(frame.bare, *each) for each in named]


def _over(step: Step, before: Step) -> Step:
    return replace(
        step,
        speed_up=before.latency_s / step.latency_s,
        energy_gain=before.energy_j / step.energy_j,
    )


def _formats(side: Side) -> str:
    weights, activations, kv = side.formats
    bits = float(get(weights).bits_per_value)
    return f"{weights} x {activations}, KV {kv}; {bits:.4g} bits a weight"


def _cycles(side: Side) -> str:
    m, n, k = side.pe.micro_tile
    passes = side.pe.passes(side.pair)
    return f"{m * n * k} MAC in {passes} {'cycle' if passes == 1 else 'cycles'}"
