"""The side in the memory: a unit of the element at every bank of an HBM3 stack, by command.

Weights lie once, whatever the batch: a layout is searched for four vectors on the unit that ships
(four held, power capped), and all designs and batches take it.
"""

from functools import cache
from typing import NamedTuple

from cases import Element, Matrices, Work

from simulator import formats
from simulator.cost import Bound, Constant
from simulator.dram.pim.grouped_part import GroupedPim, load_grouped
from simulator.engine.in_memory import InMemoryRun, Rung, run_product
from simulator.hardware.pim_unit import MATCHED, PimUnit, load_pim_unit
from simulator.hardware.pim_unit_fit import Fit, fit
from simulator.mapping.pim_layout import Layout
from simulator.mapping.pim_product import Product, columns_of

STACK, UNIT = "hbm3_banks", "fp16_in_bank"
#: Vectors that the unit that ships holds, and for which layouts are searched.
VECTORS = 4


class Design(NamedTuple):
    """A unit: vectors held, power capped or not, energy factor of its process, elements."""

    held: int = VECTORS
    capped: bool = True
    process: Bound = "nominal"
    elements: int | str = MATCHED


class Ran(NamedTuple):
    """What work took, all products together, and the products one by one."""

    time_s: float
    energy_j: float
    runs: tuple[InMemoryRun, ...]


@cache
def stack() -> GroupedPim:
    """Return the memory of all designs."""
    return load_grouped(STACK)


@cache
def unit_of(element: Element, design: Design) -> PimUnit:
    """Return the element's unit in a design."""
    unit = load_pim_unit(UNIT, element.pe)
    factor = unit.energy_factor
    at_end = Constant(nominal=factor.at(design.process), source=factor.source)
    changes = {
        "vectors_held": design.held,
        "elements": design.elements,
        "power_cap": unit.power_cap if design.capped else None,
        **({} if design.process == "nominal" else {"energy_factor": at_end}),
    }
    return unit.model_copy(update=changes)


def fit_of(element: Element, design: Design, vectors: int = 1) -> Fit:
    """Return a unit on columns of the element's weights."""
    weights, activations = formats.get(element.weights), formats.get("fp16")
    return fit(unit_of(element, design), columns_of(stack()), weights, activations, vectors)


def product_of(matrices: Matrices, vectors: int) -> Product:
    """Return matrices times vectors."""
    return Product(
        outputs=matrices.outputs,
        inputs=matrices.inputs,
        matrices=matrices.many,
        weights=formats.get(matrices.form),
        activations=formats.get("fp16"),
        vectors=vectors,
    )


@cache
def layout_of(element: Element, matrices: Matrices) -> Layout:
    """Return where matrices lie: what is fastest for `VECTORS` vectors."""
    product = product_of(matrices, VECTORS)
    run = run_product(stack(), unit_of(element, Design()), product, rung="analytic")
    return run.plan.point.placement.layout


@cache
def in_banks(element: Element, work: Work, design: Design, rung: Rung = "command") -> Ran:
    """Do work in the banks."""
    unit = unit_of(element, design)
    runs = tuple(
        run_product(
            stack(),
            unit,
            product_of(each, work.vectors),
            layout=layout_of(element, each),
            rung=rung,
        )
        for each in work.matrices
    )
    for run in runs:
        run.check()
    return Ran(
        time_s=sum(run.time_s for run in runs),
        energy_j=sum(sum(run.energy_j.values()) for run in runs),
        runs=runs,
    )
