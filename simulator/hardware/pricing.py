"""What processing elements cost: their specification's operations, in gates of a technology.

An element has the hardware of one pass: of each operation as many as a pass needs, as wide as its
widest use (`numerics.element` counts them), registers for the operands that it takes in a pass and
for its sums. Area is that of the pair that takes most; energy is that of a pair. What outputs share
(tables, aligned activations) is not the element's: `shared_cells`.

Left out: control, multiplexers between the uses of one adder by several operand pairs.
"""

from collections import Counter
from functools import lru_cache
from math import ceil

from simulator.cost import (
    Bound,
    Cells,
    Constant,
    Cost,
    EnergyProfile,
    Technology,
    cells_of,
    cost_of,
)
from simulator.cost.gates import register
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware.matrix import ProcessingElement, pair_formats
from simulator.numerics.element import Operations, Work, work
from simulator.numerics.word import Size

BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")


def element_cost(
    pe: ProcessingElement, pair: str, technology: Technology, bound: Bound = "nominal"
) -> Cost:
    """Return area in um2 and energy in pJ of one pass of one element on an operand pair.

    Errors: InputError for a pair that the element does not multiply or that no kernel is given for.
    """
    return cost_of(element_cells(pe, pair), technology, bound)


def element_area_um2(
    pe: ProcessingElement, technology: Technology, bound: Bound = "nominal"
) -> float:
    """Return the area of an element that does all its operand pairs: that of the largest."""
    return max(element_cost(pe, pair, technology, bound).area_um2 for pair in pe.formats)


def mac_pj(
    pe: ProcessingElement, pair: str, technology: Technology, bound: Bound = "nominal"
) -> float:
    """Return the energy of one MAC of a pair: its share of all passes of a micro-tile."""
    m, n, k = pe.micro_tile
    pass_pj = element_cost(pe, pair, technology, bound).energy_pj
    return pass_pj * pe.passes(pair) / (m * n * k)


def priced_by_gates(
    profile: EnergyProfile, elements: tuple[ProcessingElement, ...], technology: Technology
) -> EnergyProfile:
    """Return a profile in which all MACs are priced by gates, with the ranges of the technology.

    Everything else stays that of `profile`. A pair that several elements multiply is priced by the
    first of them.
    """
    constants = {}
    for pe in reversed(elements):
        for pair in pe.formats:
            low, nominal, high = (mac_pj(pe, pair, technology, bound) for bound in BOUNDS)
            source = f"gates of PE '{pe.name}' in {technology.name}"
            constants[pair] = Constant(nominal=nominal, low=low, high=high, source=source)
    return profile.model_copy(update={"mac_constants": constants})


@lru_cache(maxsize=1024)
def _cells(kernel: str, weights: str, activations: str, tile: tuple[int, int, int]) -> Cells:
    m, n, k = tile
    forms = get(weights), get(activations)
    return m * n * cells_of(of_a_pass(work(kernel, k, *forms)))


def element_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells of an element for one operand pair, registers included."""
    pe.passes(pair)
    if pair not in pe.kernels:
        raise InputError(f"PE '{pe.name}': {pair} has no kernel whose operations could be counted")
    weights, activations = pair_formats(pair)
    m, n, k = pe.micro_tile
    operand_bits = [ceil(get(name).value_bits) for name in (weights, activations)]
    held = n * k * operand_bits[0] + m * k * operand_bits[1] + m * n * pe.accumulator_bits
    return _cells(pe.kernels[pair], weights, activations, pe.micro_tile) + register(held)


def shared_cells(pe: ProcessingElement, pair: str) -> Cells:
    """Return the cells of what outputs of a row share for one micro-tile; none for most."""
    weights, activations = pair_formats(pair)
    m, _, k = pe.micro_tile
    done = work(pe.kernels[pair], k, get(weights), get(activations))
    return m * cells_of(done.shared)


def of_a_pass(done: Work) -> Operations:
    """Return the operations that a pass needs hardware for.

    Over all passes an adder is used once in each, for the narrowest and the widest of its turns:
    those of one name are dealt out by width, and each is as wide as the widest that it does.
    """
    by_kind: dict[tuple[str, str], list[Size | str | None]] = {}
    for (operation, size), count in done.operations.items():
        # Floating-point formats are hardware of their own.
        kind = size if isinstance(size, str) else ""
        by_kind.setdefault((operation, kind), []).extend([size] * count)
    return Counter(
        (operation, size)
        for (operation, _), sizes in by_kind.items()
        for size in sorted(sizes, key=_bits, reverse=True)[:: done.passes]
    )


def _bits(size: Size | str | None) -> int:
    if isinstance(size, tuple):
        return size[0] * size[1]
    return size if isinstance(size, int) else 0
