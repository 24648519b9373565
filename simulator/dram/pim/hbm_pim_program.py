"""Kernels of HBM-PIM as programs: arrays of runs, which are commands alike with one barrier.

After SAITPublic/PIMSimulator: kernels by PIMKernel.cpp and PIMCmdGen.h @994d66b, @05b738e, streams
without PIM by PIMBenchTestCases.h @d30f8bb. What the kernels do, `hbm_pim` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.dram.pim.hbm_pim_part import HbmPim
from simulator.errors import InputError

Ints = NDArray[np.int64]
#: Kernels by the operands that they read.
KERNELS = {"gemv": 2, "add": 2, "mul": 2, "relu": 1}
#: Columns of a run: `COUNT` commands alike, at bursts from `COLUMN` on, the last one a barrier or
#: not; the units compute with each or not; a phase begins when the one before is done.
IS_WRITE, BANK, ROW, COLUMN, COUNT, BARRIER, COMPUTES, PHASE = range(8)
RUN_FIELDS = 8
#: Bursts of the control row: mode, program (CRF), GRF_A.
MODE_COLUMN, PROGRAM_COLUMN, INPUT_COLUMN = 0, 4, 8


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a kernel. out, inputs: sizes, equal if element-wise.

    batch: vectors that the matrix of a gemv is multiplied with. matrices: as many gemv of the same
    size in one call, one after the other, each with a matrix of its own. heads: parts of the
    channels, each with such matrices of its own.
    """

    kernel: str
    out: int
    inputs: int
    batch: int = 1
    matrices: int = 1
    heads: int = 1

    def __post_init__(self) -> None:
        """Raise InputError for an unknown kernel and sizes that it does not have."""
        if self.kernel not in KERNELS:
            raise InputError(unknown("kernel", self.kernel, KERNELS))
        sizes = ("out", "inputs", "batch", "matrices", "heads")
        problems = [
            f"{name} must be >= 1, got {getattr(self, name)}"
            for name in sizes
            if getattr(self, name) < 1
        ]
        if self.kernel != "gemv":
            if self.out != self.inputs:
                problems.append(
                    f"{self.kernel} has as many outputs as inputs, got {self.out} and {self.inputs}"
                )
            problems += [
                f"{name} is of gemv only, {self.kernel} has 1, got {getattr(self, name)}"
                for name in sizes[2:]
                if getattr(self, name) > 1
            ]
        if problems:
            raise InputError(problems)

    @property
    def operations(self) -> int:
        """Multiply-accumulates, or element operations."""
        if self.kernel != "gemv":
            return self.out
        return self.out * self.inputs * self.batch * self.matrices * self.heads


def call_runs(part: HbmPim, call: Call, phase: int) -> Ints:
    """Return a call: park, enter HAB, write the program (one burst), the body, leave, park.

    Raises InputError for heads that do not divide the channels, elements that are no whole tiles,
    and operands that do not fit below the parking row.
    """
    modes = part.modes
    body = _gemv(part, call) if call.kernel == "gemv" else _elementwise(part, call)
    runs = np.concatenate(
        [
            _park(part),
            _writes(part, modes.enter_row, modes.enter_banks),
            _runs((1, modes.hab_banks[1], modes.control_row, PROGRAM_COLUMN, 1, 1)),
            body,
            _writes(part, modes.exit_row, modes.exit_banks),
            _park(part),
        ]
    )
    runs[:, PHASE] = phase
    return runs


def stream_runs(part: HbmPim, call: Call) -> Ints:
    """Return what channel 0 reads and writes without PIM: banks first, then columns, then rows.

    Raises InputError for operands that do not fit the banks.
    """
    operands = [call.inputs] * KERNELS[call.kernel]
    if call.kernel == "gemv":
        operands = [call.out * call.inputs, call.inputs]
    memory, at, parts = part.memory, 0, []
    banks, columns = memory.banks_per_channel, memory.bursts_per_row
    for write, elements in [*((0, each) for each in operands), (1, call.out)]:
        bursts = ceil(elements * part.units.operand_bytes / memory.access_bytes)
        count = ceil(bursts / part.channels)
        parts.append((write, at, count))
        at += count
    rows = ceil(at / (banks * columns))
    if rows > memory.levels["Row"]:
        raise InputError(
            f"{call.kernel} of {call.out} x {call.inputs} needs {rows} rows of each bank, "
            f"{memory.levels['Row']} are there"
        )
    place = np.arange(at)
    runs = np.zeros((at, RUN_FIELDS), np.int64)
    for write, first, count in parts:
        runs[first : first + count, [IS_WRITE, PHASE]] = write
    runs[:, BANK], runs[:, COUNT] = place % banks, 1
    runs[:, ROW], runs[:, COLUMN] = place // (banks * columns), place // banks % columns
    return runs


def _runs(*rows: tuple[int, ...]) -> Ints:
    """Return runs of phase 0, given as write, bank, row, column, count, barrier, computes (0)."""
    runs = np.zeros((len(rows), RUN_FIELDS), np.int64)
    for run, row in zip(runs, rows, strict=True):
        run[: len(row)] = row
    return runs


def _barred(runs: Ints) -> Ints:
    """Make a group of runs."""
    runs[-1, BARRIER] = 1
    return runs


def _park(part: HbmPim) -> Ints:
    """Return a read of every bank, bank in its group outside, group inside."""
    memory = part.memory
    banks = np.arange(memory.banks_per_channel).reshape(-1, memory.levels["Bank"]).T.ravel()
    return _barred(_runs(*((0, bank, part.parking.row, 0, 1, 0) for bank in banks.tolist())))


def _writes(part: HbmPim, row: int, banks: Sequence[int]) -> Ints:
    """Return a write of the last burst of a row in some banks."""
    last = part.memory.bursts_per_row - 1
    return _barred(_runs(*((1, bank, row, last, 1, 0) for bank in banks)))


def _set_mode(part: HbmPim) -> Ints:
    return _runs((1, part.modes.hab_banks[0], part.modes.control_row, MODE_COLUMN, 1, 1))


def _gemv(part: HbmPim, call: Call) -> Ints:
    """Return the body of a gemv: output tiles, vectors, even then odd input tiles."""
    if part.channels % call.heads:
        raise InputError(f"heads must divide {part.channels} channels, got {call.heads}")
    registers = part.units.registers
    tiles_in = ceil(ceil(call.inputs / part.units.lanes) / registers)
    tiles_out = ceil(call.out / (part.channels // call.heads * part.tile_outputs))
    weights = tiles_out * ceil(tiles_in / 2) * registers**2
    bursts = weights + tiles_out * call.batch * registers
    rows = ceil(bursts / part.memory.bursts_per_row)
    needed = rows * call.matrices
    if needed > part.parking.row:
        raise InputError(
            f"gemv of {call.out} x {call.inputs} needs {needed} rows of each bank, "
            f"{part.parking.row} are there"
        )
    matrix = np.concatenate(
        [_output_tile(part, call.batch, tile, tiles_in, weights) for tile in range(tiles_out)]
    )
    runs = np.tile(matrix, (call.matrices, 1))
    first = np.repeat(np.arange(call.matrices) * rows, len(matrix))
    # The control row is one for all.
    runs[:, ROW] += np.where(runs[:, ROW] < part.parking.row, first, 0)
    return runs


def _output_tile(part: HbmPim, batch: int, tile: int, tiles_in: int, weights: int) -> Ints:
    """Return one output tile of all vectors; weights: bursts of all weights of a bank."""
    registers, per_row = part.units.registers, part.memory.bursts_per_row
    start = tile * ceil(tiles_in / 2) * registers**2
    inputs = [_input_tiles(part, parity, tiles_in, start) for parity in (0, 1)]
    result = _runs((1, part.modes.hab_banks[1], 0, 0, registers, 1))
    vector = np.concatenate([_set_mode(part), *inputs, result, _set_mode(part)])
    runs = np.tile(vector, (batch, 1))
    results = len(vector) * np.arange(1, batch + 1) - 2
    place = weights + registers * (tile * batch + np.arange(batch))
    runs[results, ROW], runs[results, COLUMN] = place // per_row, place % per_row
    return runs


def _input_tiles(part: HbmPim, parity: int, tiles_in: int, start: int) -> Ints:
    """Return every other input tile: inputs into GRF_A, weights from burst `start` of a bank on."""
    registers, per_row = part.units.registers, part.memory.bursts_per_row
    modes, tiles = part.modes, np.arange(parity, tiles_in, 2)
    inputs = (1, modes.hab_banks[1], modes.control_row, INPUT_COLUMN, registers, 1)
    weights = (0, modes.hab_banks[parity], 0, 0, registers, 1, 1)
    runs = np.tile(_runs(inputs, *[weights] * registers), (len(tiles), 1, 1))
    first = start + registers**2 * (tiles[:, None] // 2) + registers * np.arange(registers)
    runs[:, 1:, ROW], runs[:, 1:, COLUMN] = first // per_row, first % per_row
    return runs.reshape(-1, RUN_FIELDS)


def _elementwise(part: HbmPim, call: Call) -> Ints:
    """Return the body of add, mul or relu: even then odd banks of every tile."""
    tile = part.tile_elements
    if call.inputs % tile:
        below, above = call.inputs // tile * tile, ceil(call.inputs / tile) * tile
        nearest = f"{below} and {above}" if below else f"{above}"
        raise InputError(
            f"{call.kernel} takes whole tiles of {tile} elements, got {call.inputs}; "
            f"nearest: {nearest}"
        )
    tiles, registers = call.inputs // tile, part.units.registers
    per_row, apart = part.memory.bursts_per_row, part.layout.operand_rows
    rows = ceil(tiles * registers / per_row)
    # The result lies behind two operands, whether the second is read or not.
    room = min(apart, max(part.parking.row - 2 * apart, 0))
    if rows > room:
        raise InputError(
            f"{call.kernel} of {call.inputs} elements needs {rows} rows of each bank for an "
            f"operand, {room} are there"
        )
    last = KERNELS[call.kernel] - 1
    each = list[tuple[int, ...]]()
    for bank in part.modes.hab_banks:
        each += [(0, bank, i * apart, 0, registers, 1, int(i == last)) for i in range(last + 1)]
        each += [(1, bank, 2 * apart, 0, registers, 1)]
    runs = np.tile(_runs(*each), (tiles, 1))
    place = np.repeat(np.arange(tiles) * registers, len(each))
    runs[:, ROW] += place // per_row
    runs[:, COLUMN] = place % per_row
    return np.concatenate([_set_mode(part), runs, _set_mode(part)])
