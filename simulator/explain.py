"""Why one processing element is faster or thriftier than another: one mechanism at a time.

`explain` walks from element A to element B, both as `compare` compares them, over designs of which
each differs from the one before in one mechanism. Each is simulated; a factor is the ratio of two
neighbours, so that factors multiply to the whole. Between the ends designs are bare: the area of
the frame's array is full of elements that multiply every operand pair of the workload as it comes
from memory, all in the same passes and for the same energy; scales, zero points and tables cost
nothing, edges starve none, and no unit stands beside. Bare designs cannot be built; they only take
the whole apart.
By `iso` "elements" bare designs have as many elements as the frame; by "chip" they have the vector
lanes of the end whose elements they have, and the area that those leave.

In this order: what lowering adds to A is taken off; the formats in memory become those of B; the
cycles of a MAC, passes and micro-tile; the number of elements, and of lanes, with what leaks;
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
from typing import NamedTuple

from simulator.api import simulate
from simulator.compare import Row, compared, workload_named
from simulator.config import replace as changed
from simulator.config import resolved, unknown
from simulator.cost import Constant, EnergyProfile, Synthesis, Technology
from simulator.design import Iso, Terms, formats_of, load_element, profile_of
from simulator.errors import InfeasibleError, InputError
from simulator.formats import Format, get
from simulator.hardware import Device
from simulator.hardware.matrix import ProcessingElement
from simulator.hardware.pricing import check_synthesis, mac_pj, priced_by
from simulator.workload import Graph, Role, Workload

#: The designs that `explain` simulates.
STEPS = 7
#: Edges of an array that take whatever elements want.
NO_EDGES = {"matrix.activation_edge_width": None, "matrix.weight_edge_width": None}
#: What is switched with the number of elements.
NUMBER: dict[Iso, str] = {
    "area": "elements on the area",
    "elements": "size of an element",
    "chip": "elements and lanes",
}


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


class _Array(NamedTuple):
    """Elements of a bare design: how many columns, the area of all, and the vector lanes."""

    columns: int
    area_um2: float
    lanes: int


@dataclass(frozen=True)
class _Bare:
    """A bare design: whose formats, whose cycles, how many elements, whose energy."""

    formats: Side
    cycles: Side
    array: _Array
    energy: Side


class _Frame:
    """What all designs of one way share."""

    def __init__(self, workload: str, terms: Terms) -> None:
        self.workload, self.terms = workload, terms
        self.ends: list[tuple[Side, Row]] = []
        self.device: Device = terms.frame
        self.profile: EnergyProfile = profile_of(self.device, terms)
        self.rows, self.columns = terms.array.rows, terms.array.columns
        self.area_um2 = terms.budget_um2

    def array(self, side: Side) -> _Array:
        """Return the bare elements of a side: as many as `iso` gives them room for."""
        each = self.rows * self.terms.element_um2(side.pe)
        area, lanes = self.area_um2, self.device.vector.lanes
        if self.terms.iso == "elements":
            return _Array(self.columns, self.columns * each, lanes)
        if self.terms.iso == "chip":
            chosen = self.row(side).lanes
            lane_um2 = 1e6 * self.profile.areas.vector_lane_mm2.nominal
            area, lanes = area + (lanes - chosen) * lane_um2, chosen
        if each > area:
            raise InfeasibleError(
                *("array area", each, area, "um2"),
                f"PE '{side.pe.name}': a column takes {each:,.0f} um2, {area:,.0f} are there",
            )
        return _Array(int(area / each), area, lanes)

    def row(self, side: Side) -> Row:
        """Return the row of one of the two elements, simulated once."""
        for known, row in self.ends:
            if known == side:
                return row
        row = compared(side.pe, side.pair, self.workload, self.terms)
        if row.infeasible:
            raise InfeasibleError("design", 1, 0, "designs that run", row.infeasible)
        self.ends.append((side, row))
        return row

    def end(self, side: Side, mechanism: str) -> Step:
        """Return the design of one of the two elements as `compare` has it."""
        row = self.row(side)
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
        columns, area_um2, lanes = bare.array
        array = {"matrix.pe": resolved(element), "matrix.columns": columns, **NO_EDGES}
        device = changed(self.device, array | {"vector.lanes": lanes})
        elements = self.rows * columns
        profile = self._priced(bare.energy, pairs, area_um2 / 1e6 / elements)
        result = simulate(device, workload, self.terms.rung, energy=profile)
        return Step(
            mechanism=mechanism,
            design=design,
            elements=elements,
            latency_s=result.latency_s,
            energy_j=result.energy_j,
        )

    def _priced(self, side: Side, pairs: list[str], element_mm2: float) -> EnergyProfile:
        """Return the frame's profile with all pairs at the price of one, and what leaks."""
        source = f"PE '{side.pe.name}' by {priced_by(side.pe, *self.prices)}"
        mac = Constant(nominal=self.mac_pj(side), source=source)
        area = Constant(nominal=element_mm2, source=source)
        areas = self.profile.areas.model_copy(update={"pe_mm2": area})
        constants = dict.fromkeys(pairs, mac)
        # Registers between elements are in the price of a MAC.
        registers = Constant(nominal=0.0, source=source)
        changes = {"mac_constants": constants, "mac_gates": None, "areas": areas}
        return self.profile.model_copy(update=changes | {"array_register_pj_per_bit": registers})

    def mac_pj(self, side: Side) -> float:
        """Return the energy of a MAC of a side."""
        technology, synthesis = self.prices
        return mac_pj(side.pe, side.pair, technology, "nominal", synthesis)

    @property
    def prices(self) -> tuple[Technology, Synthesis | None]:
        """What elements are priced by."""
        return self.terms.technology, self.terms.synthesis


def explain(
    a: str,
    b: str,
    workload: str,
    terms: Terms | None = None,
    *,
    progress: Callable[[], object] | None = None,
) -> Explanation:
    """Return the way from element A to element B, both NAME[:PAIR] (`side_of`).

    workload: as `compare.workload_named` reads it. progress: called after each of `STEPS` designs.

    Errors: InputError for what is unknown, InfeasibleError for a design on the way that cannot run.
    """
    first, last = side_of(a), side_of(b)
    terms = terms or Terms()
    if terms.synthesis is not None:
        check_synthesis(terms.synthesis, [first.pe, last.pe, terms.array.pe])
    frame = _Frame(workload, terms)
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
    of_a, of_b = frame.array(a), frame.array(b)
    named = (
        (
            _Bare(a, a, of_a, a),
            f"lowering of {a.pe.name} off",
            f"{a.pe.name} alone on the whole area multiplies all; scales and tables are free",
        ),
        (
            _Bare(b, a, of_a, a),
            "formats in memory",
            f"the same elements take {_formats(b)}",
        ),
        (
            _Bare(b, b, of_a, a),
            "cycles of a MAC",
            f"{_cycles(b)} an element, not {_cycles(a)}",
        ),
        (
            _Bare(b, b, of_b, a),
            NUMBER[frame.terms.iso],
            _number(frame, b, of_b, of_a),
        ),
        (
            _Bare(b, b, of_b, b),
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


def _number(frame: _Frame, side: Side, now: _Array, before: _Array) -> str:
    """Say how many elements there are now, and what else came with them."""
    if frame.terms.iso == "elements":
        sizes = f"{now.area_um2 / 1e6:.3g} mm2, not {before.area_um2 / 1e6:.3g}"
        return f"as many elements of {side.pe.name}, which take {sizes}"
    lanes = f"; {now.lanes} lanes, not {before.lanes}" if frame.terms.iso == "chip" else ""
    many, few = (frame.rows * each.columns for each in (now, before))
    return f"{many:,} elements of {side.pe.name}, not {few:,}{lanes}"


def _formats(side: Side) -> str:
    weights, activations, kv = side.formats
    bits = float(get(weights).bits_per_value)
    return f"{weights} x {activations}, KV {kv}; {bits:.4g} bits a weight"


def _cycles(side: Side) -> str:
    m, n, k = side.pe.micro_tile
    passes = side.pe.passes(side.pair)
    return f"{m * n * k} MAC in {passes} {'cycle' if passes == 1 else 'cycles'}"
