"""Energy as actions times their cost, plus what is burnt by waiting and by time.

Pure accounting (the scheme of Accelergy, Wu et al., ICCAD 2019): the engine counts actions, the
profile prices them. Clock gating is a fraction of a unit's active power while it is stalled or
idle; leakage is area times time; DRAM background is capacity times time. Left out: DVFS, thermal
feedback, power delivery.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeAlias

from simulator.cost.profile import Bound, EnergyProfile
from simulator.errors import InputError

#: Names of the breakdown, in the order in which it is printed.
COMPONENTS = (
    "matrix",
    "vector",
    "scratchpad",
    "accumulator",
    "dram",
    "noc",
    "leakage",
    "dram_background",
    "stalled",
    "idle",
)

#: What a unit is in, in the order in which it is printed: `background` is refresh of DRAM.
STATES = ("active", "stalled", "idle", "leakage", "background")

_PICO, _FEMTO = 1e-12, 1e-15
_GIB = 2**30

Tally: TypeAlias = tuple[tuple[str, int], ...]


def added(*tallies: Tally) -> Tally:
    """Return the sum of tallies, by name, without zeros."""
    total: dict[str, int] = {}
    for tally in tallies:
        for name, count in tally:
            total[name] = total.get(name, 0) + count
    return tuple(sorted((name, count) for name, count in total.items() if count))


def times(number: int, tally: Tally) -> Tally:
    """Return a tally that is counted `number` times."""
    return tuple((name, number * count) for name, count in tally)


@dataclass(frozen=True)
class Counts:
    """Actions of an op or of a run; `total` adds those of several ops.

    macs: issued MACs by operand pair ("int8xint8"); vector_ops: element operations by function;
    the rest are bits moved. `register_bits` move from one PE to the next, `noc_bit_hops` are bits
    times links passed. own_fj: femtojoules of parts that have their own prices, by component, as
    "pim" for commands and units of a memory that multiplies.
    """

    macs: Tally = ()
    vector_ops: Tally = ()
    scratchpad_read_bits: int = 0
    scratchpad_write_bits: int = 0
    accumulator_read_bits: int = 0
    accumulator_write_bits: int = 0
    register_bits: int = 0
    dram_read_bits: int = 0
    dram_write_bits: int = 0
    noc_bit_hops: int = 0
    own_fj: Tally = ()

    def __post_init__(self) -> None:
        """Refuse negative counts, all of them in one error."""
        tallies = (*self.macs, *self.vector_ops, *self.own_fj)
        moved = [getattr(self, name) for name in BITS]
        if min(moved) >= 0 and all(count >= 0 for _, count in tallies):
            return
        named = [(f"macs of {name}", count) for name, count in self.macs]
        named += [(f"vector_ops of {name}", count) for name, count in self.vector_ops]
        named += [(f"own_fj of {name}", count) for name, count in self.own_fj]
        named += zip(BITS, moved, strict=True)
        raise InputError([f"{name} must be >= 0, got {n}" for name, n in named if n < 0])

    @classmethod
    def total(cls, parts: Sequence[tuple[int, "Counts"]]) -> "Counts":
        """Return the sum of (how often, actions)."""
        return cls(
            macs=added(*(times(number, counts.macs) for number, counts in parts)),
            vector_ops=added(*(times(number, counts.vector_ops) for number, counts in parts)),
            own_fj=added(*(times(number, counts.own_fj) for number, counts in parts)),
            **{
                name: sum(number * getattr(counts, name) for number, counts in parts)
                for name in BITS
            },
        )


#: The counts that are bits moved.
BITS = tuple(field.name for field in fields(Counts) if field.type is int)


class UnitState(NamedTuple):
    """How long a unit was stalled and idle, and the power it has when it is active.

    Its active energy is in the counts; `active_power_w` only scales what waiting costs. unfilled_j:
    what its parts without operands would burn while it is busy, were they active; they are stalled.
    """

    stalled_s: float
    idle_s: float
    active_power_w: float
    unfilled_j: float = 0.0


def waiting_energy(
    state: UnitState, profile: EnergyProfile, bound: Bound = "nominal"
) -> dict[str, float]:
    """Return the energy in J that a unit burns while it is "stalled" and while it is "idle"."""
    stalled_j = state.active_power_w * state.stalled_s + state.unfilled_j
    idle_j = state.active_power_w * state.idle_s
    return {
        "stalled": profile.stalled_fraction.at(bound) * stalled_j,
        "idle": profile.idle_fraction.at(bound) * idle_j,
    }


class Static(NamedTuple):
    """What burns energy by time alone: duration, leaking silicon and refreshed memory."""

    seconds: float = 0.0
    area_mm2: float = 0.0
    dram_bytes: int = 0


def _dynamic_pj(counts: Counts, profile: EnergyProfile, bound: Bound) -> dict[str, float]:
    c, p = counts, profile
    return {
        "matrix": sum(n * p.mac_pj(pair, bound) for pair, n in c.macs)
        + c.register_bits * p.array_register_pj_per_bit.at(bound),
        "vector": sum(n * p.vector_pj(function, bound) for function, n in c.vector_ops),
        "scratchpad": c.scratchpad_read_bits * p.scratchpad_read_pj_per_bit.at(bound)
        + c.scratchpad_write_bits * p.scratchpad_write_pj_per_bit.at(bound),
        "accumulator": c.accumulator_read_bits * p.accumulator_read_pj_per_bit.at(bound)
        + c.accumulator_write_bits * p.accumulator_write_pj_per_bit.at(bound),
        "dram": c.dram_read_bits * p.dram_read_pj_per_bit.at(bound)
        + c.dram_write_bits * p.dram_write_pj_per_bit.at(bound),
        "noc": c.noc_bit_hops * p.noc_pj_per_bit_hop.at(bound),
    }


def energy_breakdown(
    counts: Counts,
    profile: EnergyProfile,
    states: Iterable[UnitState] = (),
    static: Static | None = None,
    bound: Bound = "nominal",
) -> dict[str, float]:
    """Return the energy in J of `COMPONENTS`, and of what has its own prices: all of the run.

    `counts` and `states` give what units do, `static` what time costs; an op alone has no static
    part. `bound` takes every constant at one end of its range. Raises InputError where the profile
    does not price an operand pair or a function.
    """
    static = static or Static()
    waiting = [waiting_energy(state, profile, bound) for state in states]
    background_w = static.dram_bytes / _GIB * profile.dram_background_w_per_gib.at(bound)
    energy = {name: pj * _PICO for name, pj in _dynamic_pj(counts, profile, bound).items()}
    energy |= {name: fj * _FEMTO for name, fj in counts.own_fj}
    energy |= {
        "leakage": static.area_mm2 * profile.leakage_w_per_mm2.at(bound) * static.seconds,
        "dram_background": background_w * static.seconds,
        "stalled": sum(each["stalled"] for each in waiting),
        "idle": sum(each["idle"] for each in waiting),
    }
    return energy
