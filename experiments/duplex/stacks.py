"""The three stacks that Duplex compares: units at banks, at bank groups, on the logic die.

All take Op/B vectors of FP16 activations through one FP16 matrix. Their memories are parts
(`hw_configs/parts/pim_groups/duplex_*`), their units those of banks and of the logic die, with as
many elements as the paper gives them: 1 operation a byte in banks, 8 elsewhere.
"""

from functools import cache
from typing import NamedTuple

from simulator import formats
from simulator.cost import Constant
from simulator.dram.pim.grouped_part import GroupedPim, load_grouped
from simulator.engine.in_memory import InMemoryRun, run_product
from simulator.hardware.pim_unit import PimUnit, load_pim_unit
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.pim_product import Product, columns_of

BANK, GROUP, LOGIC = "duplex_bank", "duplex_bank_group", "duplex_logic"
STACKS = {BANK: "Bank-PIM", GROUP: "BankGroup-PIM", LOGIC: "Logic-PIM"}
#: The paper's Fig. 8: weights, and operations a byte of FP16 weights, which are vectors.
OUTPUTS, INPUTS = 16384, 4096
OP_B = (1, 2, 4, 8, 16, 32)
#: Vectors that a unit holds: all, or as many as keep Logic-PIM's multipliers busy.
ALL, FEW = 32, 8
#: A multiply-add is two operations of 0.23 pJ in the paper's simulator (0.46 / 2, times 2 m n k).
MAC_PJ = 0.46
#: An HBM3 die (the paper, section VII-E, and AttAcc), eight of DRAM and one of logic ("8-hi").
DIE_MM2, DRAM_DIES = 121.0, 8
#: What Logic-PIM adds to a stack (section VII-E): TSVs, modules, two buffers of 1 MB, softmax.
ADDED_MM2 = {"tsvs": 10.89, "modules": 3.02, "buffers": 2.26, "softmax": 1.64}
#: Their sum as the paper states it.
LOGIC_PIM_MM2 = 17.80


class Point(NamedTuple):
    """A stack at some Op/B: us, uJ by what takes them, mm2 of the whole stack.

    macs_uj: the paper's figure a MAC; gates_uj: of our gates in its place.
    """

    op_b: int
    stack: str
    held: int
    cadence_ticks: int
    bound_by: str
    delay_us: float
    rows_uj: float
    columns_uj: float
    moves_uj: float
    macs_uj: float
    gates_uj: float
    area_mm2: float

    def edap(self, *, gates: bool = False) -> float:
        """Return energy times delay times area."""
        macs_uj = self.gates_uj if gates else self.macs_uj
        energy_uj = self.rows_uj + self.columns_uj + self.moves_uj + macs_uj
        return energy_uj * self.delay_us * self.area_mm2


@cache
def memory(stack: str) -> GroupedPim:
    """Return a stack's memory."""
    return load_grouped(stack)


@cache
def unit(stack: str, held: int) -> PimUnit:
    """Return a stack's unit; in DRAM its gates take the area that they have in 1z nm.

    That is the low end of the factor: ten times logic of the same feature size, as the paper has.
    """
    logic, bank = load_pim_unit("fp16_on_logic_die"), load_pim_unit("fp16_in_bank")
    in_dram: dict[str, object] = {
        "area_factor": Constant(nominal=bank.area_factor.at("low"), source=bank.area_factor.source),
        "energy_factor": bank.energy_factor,
    }
    changes: dict[str, dict[str, object]] = {
        BANK: {**in_dram, "clock": logic.clock, "power_cap": None},
        GROUP: in_dram,
        LOGIC: {},
    }
    of = bank if stack == BANK else logic
    return of.model_copy(update={**changes[stack], "vectors_held": held})


def units(stack: str) -> int:
    """Return the units of a stack."""
    return columns_of(memory(stack)).banks


def units_mm2(stack: str, held: int = ALL) -> float:
    """Return the area of all units of a stack, by gates."""
    fp16 = formats.get("fp16")
    fitted = fit(unit(stack, held), columns_of(memory(stack)), fp16, fp16)
    return units(stack) * fitted.area_mm2.nominal


def stack_mm2(stack: str, held: int) -> float:
    """Return the area of all dies of a stack; softmax is on the logic die of all three."""
    added = LOGIC_PIM_MM2 if stack == LOGIC else units_mm2(stack, held) + ADDED_MM2["softmax"]
    return (DRAM_DIES + 1) * DIE_MM2 + added


def product(op_b: int) -> Product:
    """Return the product of an Op/B."""
    fp16 = formats.get("fp16")
    return Product(outputs=OUTPUTS, inputs=INPUTS, weights=fp16, activations=fp16, vectors=op_b)


@cache
def run(op_b: int, stack: str, held: int) -> InMemoryRun:
    """Run a product command by command, on the layout that is fastest for it."""
    made = run_product(memory(stack), unit(stack, held), product(op_b))
    made.check()
    return made


def point(op_b: int, stack: str, held: int) -> Point:
    """Return delay, energy and area of a stack at an Op/B."""
    made = run(op_b, stack, held)
    micro = {name: 1e6 * joules for name, joules in made.energy_j.items()}
    return Point(
        op_b=op_b,
        stack=stack,
        held=held,
        cadence_ticks=made.plan.fit.cadence_ticks,
        bound_by=made.plan.fit.bound_by,
        delay_us=1e6 * made.time_s,
        rows_uj=micro["activate"],
        columns_uj=micro["multiply"],
        moves_uj=micro["buffer_write"] + micro["result_read"],
        macs_uj=1e-6 * MAC_PJ * made.plan.product.macs,
        gates_uj=micro["units"],
        area_mm2=stack_mm2(stack, held),
    )


def peak_tflops(stack: str) -> float:
    """Return what all multipliers of a stack do, in 1e12 operations a second."""
    of, fp16 = unit(stack, ALL), formats.get("fp16")
    elements = fit(of, columns_of(memory(stack)), fp16, fp16).tiles.elements
    return 2 * units(stack) * elements * of.clock.hz / 1e12


def peak_tbytes(stack: str) -> float:
    """Return the most that all units of a stack read, in 1e12 bytes a second."""
    columns = columns_of(memory(stack))
    return columns.banks * columns.column_bytes / (columns.cadence_ticks * columns.tick_ps)


def pins_tbytes(stack: str) -> float:
    """Return what the pins of a stack carry, in the same unit."""
    return memory(stack).channels * memory(stack).memory.peak_bytes_per_s / 1e12
