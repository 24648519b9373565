"""What papers say of units in banks, and ours for the same: FP16 on one stack."""

from collections.abc import Mapping

from banks import Design, fit_of, in_banks, product_of, stack, unit_of
from cases import ELEMENTS, Work, attention, square
from pins import CHANNELS, by_pins

from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.dram.pim.grouped_part import load_grouped
from simulator.engine.in_memory import run_product
from simulator.hardware.pim_unit import load_pim_unit

FP16 = ELEMENTS["FP16"]
#: AttAcc's unit has a multiplier for each value of a column.
ATTACC = Design(held=1, elements=16)
CAPPED, FREE = Design(), Design(capped=False)


def pins_bytes_per_s() -> float:
    """Return what the pins of the stack carry."""
    return CHANNELS * stack().memory.peak_bytes_per_s


def wider(work: Work, design: Design) -> float:
    """Return how many times what the pins carry the banks read for some work of FP16."""
    read = sum(each.bytes for each in work.matrices)
    return read / in_banks(FP16, work, design).time_s / pins_bytes_per_s()


def logic_die() -> float:
    """Return the same of Duplex's Logic-PIM."""
    (matrix,) = square(FP16, 1).matrices
    unit = load_pim_unit("fp16_on_logic_die")
    run = run_product(load_grouped("duplex_logic"), unit, product_of(matrix, 1))
    return matrix.bytes / run.time_s / pins_bytes_per_s()


def operations_a_byte() -> float:
    """Return the most operations that the unit does for a byte of a column, uncapped."""
    fitted, unit = fit_of(FP16, FREE), unit_of(FP16, FREE)
    column = fitted.columns.column_bytes * PICOSECONDS_PER_SECOND / fitted.cadence_ps
    return 2 * fitted.tiles.elements * unit.clock.hz / column


def of_papers() -> Mapping[str, float]:
    """Return ours by key."""
    gemv = square(FP16, 1)
    seconds = by_pins(FP16, gemv).time_s
    return {
        "attacc.capped": wider(attention(FP16, 1), CAPPED),
        "attacc.free": wider(attention(FP16, 1), FREE),
        "attacc.area": fit_of(FP16, ATTACC).area_mm2.nominal,
        "duplex.bank": wider(gemv, FREE),
        "duplex.logic": logic_die(),
        "duplex.operations": operations_a_byte(),
        "hbm_pim.gpu": seconds / in_banks(FP16, gemv, CAPPED).time_s,
        "hbm_pim.fpga": seconds / in_banks(FP16, gemv, CAPPED).time_s,
    }
