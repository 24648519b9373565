"""An HBM-PIM as data: a memory, the blocks in it, and the rows that set their modes.

The files are in `hw_configs/parts/pim`; the rows between commands are those of the memory's
standard. What the engine cannot do is refused: windows and siblings among the rows, two command
buses, ranks beside the one that computes.
"""

from math import prod
from typing import Annotated, Self

from pydantic import Field, model_validator

from simulator.config import Part, load_part
from simulator.dram.channels import Named
from simulator.dram.energy import Currents
from simulator.dram.standard import NonNegative, Positive, Standard, Text

PIM_FOLDER = "hw_configs/parts/pim"
#: Parameters of the memory that its energy is made from.
ENERGY_TIMES = ("tRAS", "tRP", "tCCDS", "tRFC")


class Units(Part):
    """What computes: blocks of a channel, lanes of each, registers of GRF_A and of GRF_B."""

    blocks: Positive
    lanes: Positive
    registers: Positive
    operand_bytes: Positive
    source: Text


class Modes(Part):
    """Rows and banks whose activations enter HAB and whose precharges leave it, and control."""

    hab_banks: tuple[NonNegative, NonNegative]
    enter_row: NonNegative
    enter_banks: tuple[NonNegative, ...]
    exit_row: NonNegative
    exit_banks: tuple[NonNegative, ...]
    control_row: NonNegative
    source: Text


class Parking(Part):
    """The row that every bank reads before and after a kernel; below it rows hold operands."""

    row: Positive
    source: Text


class Layout(Part):
    """Rows of each operand of an element-wise kernel, and of its result."""

    operand_rows: Positive
    source: Text


class Queue(Part):
    """Commands that wait in the controller."""

    entries: Positive
    source: Text


class RankRefresh(Part):
    """First refresh of the rank, and of an idle one beside it, which only takes a tick."""

    first_tick: Positive
    other_rank_first_tick: Positive | None = None
    source: Text


class Latency(Part):
    """Ticks of a command on its way, which reads wait for, and from a write to its last beat."""

    command_ticks: NonNegative
    write_ticks: Positive
    source: Text


class PimEnergy(Part):
    """Currents, and the reads (or writes) whose energy a command takes that all blocks execute."""

    currents: Currents
    execute_columns: Annotated[float, Field(gt=0)]
    source: Text


class HbmPim(Part):
    """A memory of `channels` equal channels of one standard, with blocks that compute."""

    name: str
    summary: str
    source: Text
    memory: Named
    channels: Positive
    units: Units
    modes: Modes
    parking: Parking
    layout: Layout
    queue: Queue
    refresh: RankRefresh
    latency: Latency
    energy: PimEnergy

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = [*_wrong_memory(self.memory), *_wrong_modes(self)]
        units, burst = self.units, self.memory.access_bytes
        if units.lanes * units.operand_bytes != burst:
            problems.append(
                f"units: {units.lanes} lanes of {units.operand_bytes} bytes need a burst of "
                f"{units.lanes * units.operand_bytes} bytes, {self.memory.name} has {burst}"
            )
        if 2 * units.blocks != self.memory.banks_per_channel:
            problems.append(
                f"units: {units.blocks} blocks serve {2 * units.blocks} banks, "
                f"{self.memory.name} has {self.memory.banks_per_channel}"
            )
        if self.memory.bursts_per_row % units.registers:
            problems.append(
                f"units: registers must divide the {self.memory.bursts_per_row} bursts of a row, "
                f"got {units.registers}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile of gemv on one channel."""
        return self.units.blocks * self.units.registers

    @property
    def tile_elements(self) -> int:
        """Elements of a tile of an element-wise kernel on all channels."""
        banks = self.memory.banks_per_channel
        return self.channels * banks * self.units.registers * self.units.lanes


def load_hbm_pim(name_or_path: str = "hbm_pim") -> HbmPim:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file; raises InputError."""
    return load_part(HbmPim, name_or_path, PIM_FOLDER, noun="HBM-PIM part")


def _wrong_memory(memory: Standard) -> list[str]:
    """Return what the engine cannot do with a standard."""
    problems = []
    outer = memory.banked_levels[: memory.banked_levels.index(memory.refresh_level) + 1]
    if prod(memory.levels[level] for level in outer) != 1:
        problems.append(f"memory: {memory.name} must be one {memory.refresh_level} of one channel")
    if memory.buses != "one":
        problems.append(f"memory: {memory.name} must have one command bus")
    if memory.with_role("open_first") or memory.with_role("sync_read"):
        problems.append(f"memory: {memory.name} must open a row with one command, without a clock")
    lacking = [name for name in ENERGY_TIMES if name not in memory.timing]
    if lacking:
        problems.append(
            f"memory: {memory.name}: timing lacks {', '.join(lacking)}, which energy needs"
        )
    problems += [
        f"memory: {memory.name} must have no windows, siblings: [{index}] {row.words()}"
        for index, row in enumerate(memory.constraints)
        if row.window > 1 or row.sibling
    ]
    return problems


def _wrong_modes(part: HbmPim) -> list[str]:
    modes, memory, problems = part.modes, part.memory, list[str]()
    for name in ("hab_banks", "enter_banks", "exit_banks"):
        banks: tuple[int, ...] = getattr(modes, name)
        if not banks or max(banks) >= memory.banks_per_channel or len({*banks}) < len(banks):
            problems.append(
                f"modes.{name}: must be different banks below {memory.banks_per_channel}, got "
                f"{[*banks]}"
            )
    if {*modes.exit_banks} - {*modes.hab_banks}:
        problems.append("modes.exit_banks: must be of hab_banks, no others open in HAB")
    rows = (modes.enter_row, modes.exit_row, modes.control_row, part.parking.row)
    if len({*rows}) < len(rows) or min(rows) != part.parking.row:
        problems.append(f"modes: rows must differ and follow the parking row, got {[*rows]}")
    if max(rows) >= memory.levels["Row"]:
        problems.append(f"modes: {memory.name} has {memory.levels['Row']} rows, got {max(rows)}")
    return problems
