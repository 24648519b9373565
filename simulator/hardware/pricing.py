"""What processing elements cost: their specification's operations, in gates of a technology.

An element has the hardware of one pass: of each operation as many as a pass needs, as wide as its
widest use (`numerics.element` counts them), registers for the operands that it takes in a pass and
for its sums. A table that it holds for its outputs it has once a row of its tile. Area is that of
the pair that takes most; energy is that of a pair. What rows and columns share stands at the edges
of the array: what makes tables, aligns or decodes activations (`row_cells`), what decodes weights
(`column_cells`).

Left out: control, multiplexers between the uses of one adder by several operand pairs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil

from simulator.config import unknown
from simulator.cost import (
    Bound,
    Cells,
    Constant,
    Cost,
    EnergyProfile,
    Synthesis,
    Technology,
    cells_of,
    cost_of,
)
from simulator.cost.gates import register
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware.matrix import (
    AdderTree,
    ProcessingElement,
    SystolicArray,
    Throughput,
    pair_formats,
)
from simulator.numerics.element import SUM_BITS, Operations, Work, work
from simulator.numerics.word import Size

BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
#: MACs that share a scale that an element multiplies by: its usual group.
SCALE_GROUP = 128


def element_cost(
    pe: ProcessingElement,
    pair: str,
    technology: Technology,
    bound: Bound = "nominal",
    synthesis: Synthesis | None = None,
) -> Cost:
    """Return area in um2 and energy in pJ of one pass of one element on an operand pair.

    By gates, or as `synthesis` has it where it has the element. Errors: InputError for a pair that
    the element does not multiply, that no kernel is given for, or that is not in the synthesis of
    its element.
    """
    if synthesis is not None and synthesis.covers(pe.name):
        pe.passes(pair)
        return synthesis.cost(pe.name, pair, bound)
    return cost_of(element_cells(pe, pair), technology, bound)


def element_area_um2(
    pe: ProcessingElement,
    technology: Technology,
    bound: Bound = "nominal",
    synthesis: Synthesis | None = None,
) -> float:
    """Return the area of an element that does all its operand pairs: that of the largest."""
    return max(element_cost(pe, pair, technology, bound, synthesis).area_um2 for pair in pe.formats)


def priced_by(
    pe: ProcessingElement, technology: Technology, synthesis: Synthesis | None = None
) -> str:
    """Return in words what an element's area and energy come from."""
    if synthesis is not None and synthesis.covers(pe.name):
        return f"synthesis {synthesis.label}"
    return f"gates in {technology.name}"


def check_synthesis(synthesis: Synthesis, elements: Sequence[ProcessingElement]) -> None:
    """Refuse lines of elements that are not there, and of pairs that they do not multiply.

    Raises InputError with all of them: a slip in a name would leave an element to gates.
    """
    by_name = {pe.name: pe for pe in elements}
    problems = []
    for entry in synthesis.entries:
        pe = by_name.get(entry.pe)
        if pe is None:
            problems.append(f"{synthesis.label}: {unknown('PE', entry.pe, list(by_name))}")
        elif entry.pair not in pe.formats:
            does = ", ".join(pe.formats)
            problems.append(
                f"{synthesis.label}: PE '{pe.name}' does not multiply {entry.pair}; it does: {does}"
            )
    if problems:
        raise InputError(problems)


def mac_pj(
    pe: ProcessingElement,
    pair: str,
    technology: Technology,
    bound: Bound = "nominal",
    synthesis: Synthesis | None = None,
) -> float:
    """Return the energy of one MAC of a pair: its share of all passes of a micro-tile.

    By gates, operands that hold still through the passes are clocked once (assumed: gated), and the
    product with a group's scale is spread over `SCALE_GROUP` MACs.
    """
    m, n, k = pe.micro_tile
    passes = pe.passes(pair)
    micro_tile_pj = passes * element_cost(pe, pair, technology, bound, synthesis).energy_pj
    if synthesis is None or not synthesis.covers(pe.name):
        scale = cost_of(scale_cells(pe, pair), technology, bound).energy_pj
        micro_tile_pj -= passes * scale
        micro_tile_pj += pe.scale_passes(pair) * scale * k / SCALE_GROUP
        if not _work(pe, pair).streams:
            operands = register(held_bits(pe, pair)[0])
            micro_tile_pj -= (passes - 1) * cost_of(operands, technology, bound).energy_pj
    return micro_tile_pj / (m * n * k)


def priced_by_gates(
    profile: EnergyProfile,
    units: Sequence[SystolicArray | AdderTree | Throughput],
    technology: Technology,
    synthesis: Synthesis | None = None,
) -> EnergyProfile:
    """Return a profile in which MACs of matrix units are priced by gates, edges of arrays included.

    With the ranges of the technology. Elements that `synthesis` has are priced by it, with its
    ranges. A pair that several units multiply is priced by the first of them; one without a kernel
    as in `profile`, as all else.
    """
    constants = dict[str, Constant]()
    for unit in reversed(units):
        pe, shape = unit.pe, None
        if not isinstance(unit, Throughput):
            shape = unit.rows, unit.columns
        for pair in set(pe.formats) & set(pe.kernels):
            low, nominal, high = (
                mac_pj(pe, pair, technology, bound, synthesis)
                + (edge_pj(pe, pair, *shape, technology, bound) if shape else 0.0)
                for bound in BOUNDS
            )
            source = f"PE '{pe.name}' by {priced_by(pe, technology, synthesis)}"
            constants[pair] = Constant(nominal=nominal, low=low, high=high, source=source)
    return profile.model_copy(update={"mac_constants": profile.mac_constants | constants})


@lru_cache(maxsize=1024)
def _cells(kernel: str, weights: str, activations: str, tile: tuple[int, int, int]) -> Cells:
    m, n, k = tile
    done = work(kernel, k, get(weights), get(activations))
    inside = replace(done, operations=done.inside)
    return m * n * cells_of(of_a_pass(done)) + m * cells_of(of_a_pass(inside))


def element_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells of an element for one operand pair, registers included."""
    pe.passes(pair)
    if pair not in pe.kernels:
        raise InputError(f"PE '{pe.name}': {pair} has no kernel whose operations could be counted")
    weights, activations = pair_formats(pair)
    held = sum(held_bits(pe, pair))
    cells = _cells(pe.kernel(pair), weights, activations, pe.micro_tile)
    return cells + register(held) + scale_cells(pe, pair)


def scale_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells that multiply sums of groups by their scales in an element; none for most.

    With a register for each output: the next group is summed up meanwhile.
    """
    m, n, _ = pe.micro_tile
    done = _work(pe, pair)
    if not done.scale_passes:
        return Cells()
    one = cells_of(of_a_pass(replace(done, operations=done.scale, passes=done.scale_passes)))
    return m * n * (one + register(SUM_BITS))


def _work(pe: ProcessingElement, pair: str) -> Work:
    weights, activations = pair_formats(pair)
    return work(pe.kernel(pair), pe.micro_tile[2], get(weights), get(activations))


def held_bits(pe: ProcessingElement, pair: str) -> tuple[int, int]:
    """Return the bits of registers of an element: of a pass's operands, and of its sums.

    Operands are as wide as they enter: decoded, aligned, as tables of sums.
    """
    m, n, _ = pe.micro_tile
    done = _work(pe, pair)
    operands = n * done.weight_bits + m * done.activation_bits
    return ceil(operands / done.passes) if done.streams else operands, m * n * pe.accumulator_bits


def row_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells at the edge of a row, for one micro-tile; none for most.

    What makes what its outputs share (tables, aligned or decoded activations); where the producer
    of an activation makes tables, the register that holds them.
    """
    m, _, k = pe.micro_tile
    if pe.shared_at == "producer":
        return register(ceil(m * k * pe.table_bits(pair)))
    return m * cells_of(_work(pe, pair).shared)


def column_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells that decode the weights of a micro-tile at the edge of a column."""
    return pe.micro_tile[1] * cells_of(_work(pe, pair).decoded)


def edge_pj(
    pe: ProcessingElement,
    pair: str,
    rows: int,
    columns: int,
    technology: Technology,
    bound: Bound = "nominal",
) -> float:
    """Return the energy at the edges of a full array for one MAC.

    What enters a row serves all columns, what enters a column all rows. Edges work once for a
    micro-tile, whatever its passes.
    """
    m, n, k = pe.micro_tile
    row = cost_of(row_cells(pe, pair), technology, bound).energy_pj / columns
    column = cost_of(column_cells(pe, pair), technology, bound).energy_pj / rows
    return (row + column) / (m * n * k)


def of_a_pass(done: Work) -> Operations:
    """Return the operations that a pass needs hardware for.

    Over all passes an adder is used once in each, for the narrowest and the widest of its turns:
    those of one name are dealt out by width, and each is as wide as the widest that it does. What
    is stored stays through all of them.
    """
    by_kind: dict[tuple[str, str], list[Size | str | None]] = {}
    for (operation, size), count in done.operations.items():
        # Floating-point formats are hardware of their own.
        kind = size if isinstance(size, str) else ""
        by_kind.setdefault((operation, kind), []).extend([size] * count)
    return Counter(
        (operation, size)
        for (operation, _), sizes in by_kind.items()
        for size in sorted(sizes, key=_bits, reverse=True)[
            :: 1 if operation == "store" else done.passes
        ]
    )


def _bits(size: Size | str | None) -> int:
    if isinstance(size, tuple):
        return size[0] * size[1]
    return size if isinstance(size, int) else 0
