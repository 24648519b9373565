"""Energy of a run on one channel: from currents, command by command, or from the energy of a bit.

Currents as DRAMsim3 reads them (umd-memsys/DRAMsim3 @2981759, after Micron TN-40-07), all in excess
of standing by with a row open, for each device of a rank:

- an activation with its precharge: VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP), tRC = tRAS + tRP
- a read: VDD (IDD4R - IDD3N) for the ticks of its burst; a write: the same with IDD4W
- a refresh of all banks: VDD (IDD5AB - IDD3N) tRFC
- standing by: VDD IDD3N while any bank of the rank has a row open, else VDD IDD2N

The files are hw_configs/parts/memory_energy, by the name of the standard. Left out: VPP, I/O and
termination, power-down, refresh bank by bank.
"""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from simulator.config import Part, load_part, names
from simulator.dram.channel import Run
from simulator.dram.standard import Role, Standard
from simulator.errors import InputError

ENERGY_FOLDER = "hw_configs/parts/memory_energy"

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]

_READS: tuple[Role, ...] = ("read", "read_close")
_WRITES: tuple[Role, ...] = ("write", "write_close")


class Currents(Part):
    """Currents of one device in mA, its voltage, and the devices of a rank or pseudo-channel."""

    devices: Positive
    vdd_v: Positive
    idd0_ma: NonNegative
    idd2n_ma: NonNegative
    idd3n_ma: NonNegative
    idd4r_ma: NonNegative
    idd4w_ma: NonNegative
    idd5ab_ma: NonNegative


class Bits(Part):
    """Energy of a bit that is read or written, all else included."""

    read_pj_per_bit: NonNegative
    write_pj_per_bit: NonNegative


class MemoryEnergy(Part):
    """What the commands of a standard cost: exactly one of currents and bits."""

    name: str
    summary: str
    source: Text
    currents: Currents | None = None
    bits: Bits | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.currents is None) == (self.bits is None):
            raise ValueError("needs either currents or bits")
        return self


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Joules by component, and their sum; None with a reason where one is not sourced.

    components: of activate, read, write, refresh, active_standby and idle_standby those that are
    known. source: where the figures come from.
    """

    components: dict[str, float]
    total_j: float | None
    reason: str | None
    source: str | None


def load_memory_energy(name_or_path: str) -> MemoryEnergy:
    """Load the energy of a standard by its name, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(MemoryEnergy, name_or_path, ENERGY_FOLDER, noun="memory energy")


def memory_energy_names() -> list[str]:
    """Return the names of all standards with a sourced energy."""
    return names(ENERGY_FOLDER)


def energy_of(run: Run, standard: Standard, energy: MemoryEnergy | None = None) -> Energy:
    """Return what a run cost.

    energy: the figures, else those that come with the package. Raises InputError for a run of
    another standard, and for a standard that lacks a parameter.
    """
    if run.standard != standard.name:
        raise InputError(f"the run is of {run.standard}, not of {standard.name}")
    if energy is None:
        if standard.name not in memory_energy_names():
            reason = f"neither currents nor the energy of a bit are sourced for {standard.name}"
            return Energy(components={}, total_j=None, reason=reason, source=None)
        energy = load_memory_energy(standard.name)
    if energy.bits is not None:
        bits = 8 * standard.access_bytes * 1e-12
        return _summed(energy, {
            "read": _count(run, standard, _READS) * bits * energy.bits.read_pj_per_bit,
            "write": _count(run, standard, _WRITES) * bits * energy.bits.write_pj_per_bit,
        })  # fmt: skip
    assert energy.currents is not None
    return _by_currents(run, standard, energy, energy.currents)


def _by_currents(run: Run, standard: Standard, energy: MemoryEnergy, amps: Currents) -> Energy:
    """Return the energy by currents; volts x mA x ps are fJ."""
    ras, rp = _ticks(standard, "nRAS"), _ticks(standard, "nRP")
    refresh = standard.refresh.command
    joule_ticks = amps.vdd_v * amps.devices * standard.tick_ps * 1e-15
    activation = amps.idd0_ma * (ras + rp) - amps.idd3n_ma * ras - amps.idd2n_ma * rp
    burst = _ticks(standard, "nBL")
    per_command = {
        "activate": (_count(run, standard, ("open",)), activation),
        "read": (_count(run, standard, _READS), (amps.idd4r_ma - amps.idd3n_ma) * burst),
        "write": (_count(run, standard, _WRITES), (amps.idd4w_ma - amps.idd3n_ma) * burst),
        "refresh": (
            run.commands.get(refresh, 0),
            (amps.idd5ab_ma - amps.idd3n_ma) * _ticks(standard, "nRFC", "nRFCab"),
        ),
    }
    found = {name: count * each * joule_ticks for name, (count, each) in per_command.items()}
    other = [
        name for name in run.commands if name != refresh and name in standard.with_role("refresh")
    ]
    found["active_standby"] = run.active_ticks * amps.idd3n_ma * joule_ticks
    found["idle_standby"] = run.idle_ticks * amps.idd2n_ma * joule_ticks
    if other:
        del found["refresh"]
        reason = f"no current of {', '.join(other)} is sourced"
        return Energy(components=found, total_j=None, reason=reason, source=energy.source)
    return _summed(energy, found)


def _summed(energy: MemoryEnergy, found: dict[str, float]) -> Energy:
    return Energy(components=found, total_j=sum(found.values()), reason=None, source=energy.source)


def _count(run: Run, standard: Standard, roles: tuple[Role, ...]) -> int:
    return sum(
        count for name, count in run.commands.items() if standard.commands[name].role in roles
    )


def _ticks(standard: Standard, *parameters: str) -> int:
    """Return the first of the parameters that the standard has."""
    for name in parameters:
        if name in standard.timing:
            return standard.timing[name]
    raise InputError(f"{standard.name}: timing lacks {' or '.join(parameters)}, which energy needs")
