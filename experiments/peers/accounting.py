"""What AccelForge and ZigZag count when they price a GEMM, applied to the counts of our equations.

Compulsory memory traffic of each GEMM alone, MACs, and what passes through the scratchpad; the
peers differ in three assumptions (`Accounting`). README.md says where each of them comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.config import replace
from simulator.cost import Counts, energy_breakdown, load_profile
from simulator.hardware import Device
from simulator.hardware.equations import operand_bits
from simulator.hardware.models import matrix_model
from simulator.workload import Gemm

PAIR = "int8xint8"
KEYS_AND_VALUES = ("qk", "pv")
COMPONENTS = ("matrix", "registers", "scratchpad", "dram")


@dataclass(frozen=True)
class Accounting:
    """Assumptions of a peer.

    partial_bits: width of the partial sums that pass through the scratchpad at each K fold (0:
    they stay beside the array and cost nothing). register_pj: of PE registers, per MAC.
    """

    partial_bits: int
    weights_through_scratchpad: bool
    register_pj: float


@dataclass(frozen=True)
class Bits:
    """Widths of activations, weights, and keys and values."""

    activations: int = 8
    weights: int = 8
    kv: int = 8


ACCELFORGE = Accounting(partial_bits=8, weights_through_scratchpad=False, register_pj=0.0)
ZIGZAG = Accounting(partial_bits=24, weights_through_scratchpad=True, register_pj=0.095)
ZIGZAG_COLUMNS = Accounting(partial_bits=0, weights_through_scratchpad=True, register_pj=0.095)


def priced(
    gemms: Mapping[str, Gemm], device: Device, way: Accounting, bits: Bits | None = None
) -> dict[str, float]:
    """Return the energy of GEMMs, each alone through memory, in mJ by component."""
    bits, profile = bits or Bits(), load_profile(device.energy)
    changes: dict[str, object] = {"matrix.pe.accumulator_bits": way.partial_bits or 32}
    if way.partial_bits:
        changes["matrix.accumulators"] = None
    unit = matrix_model(replace(device, changes), PAIR)
    total = dict.fromkeys(COMPONENTS, 0.0)
    for name, g in gemms.items():
        a, w = bits.activations, bits.kv if name in KEYS_AND_VALUES else bits.weights
        read, write, *_ = operand_bits(unit, g.count, g.m, g.n, g.k, 1, 0, a, w, a)
        inputs, weights = g.count * g.m * g.k * a, g.count * g.n * g.k * w
        outputs = g.count * g.m * g.n * a
        through = way.weights_through_scratchpad
        counts = Counts(
            macs=((PAIR, g.macs),),
            scratchpad_read_bits=read + outputs - (0 if through else weights),
            scratchpad_write_bits=write + inputs + (weights if through else 0),
            dram_read_bits=inputs + weights,
            dram_write_bits=outputs,
        )
        for component, joule in energy_breakdown(counts, profile).items():
            if component in total:
                total[component] += joule * 1e3
        total["registers"] += g.macs * way.register_pj * 1e-9
    return total
