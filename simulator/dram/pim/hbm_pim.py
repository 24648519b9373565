"""Samsung HBM-PIM: kernels as programs of column commands, and one channel that issues them.

Modelled after SAITPublic/PIMSimulator @b464dde, whose recorded cycles these are; kernels after
PIMKernel.cpp @994d66b, streams without PIM after PIMBenchTestCases.h @d30f8bb. A block of 16 FP16
lanes serves an even and an odd bank. In the modes HAB and HAB_PIM a command goes to all even or all
odd banks at once, shown as a command of the first one, and in HAB_PIM a column command of a row
below the parking row makes every block execute one instruction: there is no other timing. All
channels do the same, so one is simulated.

- gemv: tiles of `blocks x registers` outputs of each channel and of `registers` bursts of inputs. A
  tile writes its inputs into GRF_A and reads `registers`^2 bursts of weights, even tiles from even
  banks. All outputs of a tile are computed, wanted or not. Of a vector after the other, weights are
  read anew. For an odd number of input tiles PIMSimulator lays two output tiles over each other, as
  it does with the results of several vectors; here each has its place.
- add, mul, relu: tiles of `registers` bursts of every bank: operands are read, the result written.
- Without PIM the operands are read and the results written in bank order, as soon as all operands
  are there; every operand starts on channel 0, which has the most of each.

Left out: reading results and writing operands, which lie in the banks; ranks with PIM beside the
first; other precisions than FP16; the addition of partial sums in trees (GEMVTREE).

Energy, by currents as `dram.energy` has it: an activation in HAB is one of a bank of each block; a
command that all blocks execute takes that of some reads or writes. Left out: standing by.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.dram.channel import TRACE, Command, Trace
from simulator.dram.pim.hbm_pim_part import HbmPim, load_hbm_pim
from simulator.dram.pim.hbm_pim_program import (
    COMPUTES,
    COUNT,
    IS_WRITE,
    KERNELS,
    ROW,
    Call,
    Ints,
    call_runs,
    stream_runs,
)
from simulator.dram.pim.run import PimRun
from simulator.dram.standard import Standard, tables
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.hbm_pim_kernel import Machine, State

__all__ = ["KERNELS", "Call", "HbmPim", "HbmPimRun", "load_hbm_pim", "run_calls", "run_kernel"]


@dataclass(frozen=True, kw_only=True)
class HbmPimRun(PimRun):
    """Kernels on HBM-PIM. energy_j: activate, read, write, execute, refresh, of all channels."""

    energy_j: dict[str, float]


def run_kernel(
    part: HbmPim,
    kernel: str,
    out: int,
    inputs: int,
    *,
    pim: bool = True,
    batch: int = 1,
    trace: Trace = None,
) -> HbmPimRun:
    """Run gemv, add, mul or relu alone, on the blocks or, without `pim`, by reads and writes.

    out, inputs: sizes, equal if element-wise. batch: vectors, of gemv with `pim`. trace: is given
    the commands of one channel, in order, block by block. Raises InputError for an unknown kernel,
    a size below 1, elements that are no whole tiles, operands that do not fit their rows.
    """
    call = Call(kernel=kernel, out=out, inputs=inputs, batch=batch)
    if pim:
        return run_calls(part, [call], trace=trace)
    if batch > 1:
        raise InputError(f"batch needs PIM, got {batch}")
    return _run(part, stream_runs(part, call), call.operations, watched=False, trace=trace)


def run_calls(part: HbmPim, calls: Sequence[Call], *, trace: Trace = None) -> HbmPimRun:
    """Run kernels one after the other, each as soon as the one before is done, on the blocks.

    trace and errors as `run_kernel`; also refused are heads that do not divide the channels.
    """
    runs = [call_runs(part, call, phase) for phase, call in enumerate(calls)]
    if not runs:
        raise InputError("calls must be >= 1, got 0")
    operations = sum(call.operations for call in calls)
    return _run(part, np.concatenate(runs), operations, watched=True, trace=trace)


def _run(part: HbmPim, runs: Ints, operations: int, *, watched: bool, trace: Trace) -> HbmPimRun:
    """Issue runs on one channel; watched: whether rows change the mode."""
    from simulator.dram.pim import hbm_pim_kernel as kernel

    machine, state = _machine(part, watched), _state(part, runs)
    room = np.zeros((TRACE if trace is not None else 0, 5), np.int64)
    ended = kernel.FULL
    while ended == kernel.FULL:
        ended = kernel.advance(machine, state, runs, room)
        if trace is not None:
            trace(_commands(part.memory, room[: state.k[kernel.TRACED]]))
            state.k[kernel.TRACED] = 0
    if ended == kernel.STUCK:
        raise InputError(f"{part.name}: no command can follow; is a row or a bank wrong?")
    names = list(part.memory.commands)
    counts = zip(machine.commands.tolist(), state.counts.sum(axis=0).tolist(), strict=True)
    computing = runs[:, COUNT] @ runs[:, COMPUTES]
    executed = runs[:, ROW] < part.parking.row if watched else np.zeros(len(runs), bool)
    return HbmPimRun(
        part=part.name,
        cycles=int(state.k[kernel.TICK]),
        tick_ps=part.memory.tick_ps,
        channels=part.channels,
        commands={names[use]: count * part.channels for use, count in counts if count},
        bursts=int(computing) * part.channels,
        operations=operations,
        operations_per_burst=part.units.blocks * part.units.lanes,
        energy_j=_energies(part, state.counts, runs[executed]),
    )


def _energies(part: HbmPim, counts: Ints, executed: Ints) -> dict[str, float]:
    """Return the joules of all channels; volts x mA x ps are fJ.

    counts: commands of a channel by mode and use. executed: the runs that all blocks execute.
    """
    from simulator.dram.pim import hbm_pim_kernel as kernel

    amps, timing = part.energy.currents, part.memory.timing
    ras, rp = timing["tRAS"], timing["tRP"]
    read, write = amps.idd4r_ma - amps.idd3n_ma, amps.idd4w_ma - amps.idd3n_ma
    burst = timing["tCCDS"]  # For so long it has the data bus.
    in_all = [int(executed[executed[:, IS_WRITE] == which, COUNT].sum()) for which in (0, 1)]
    alone, hab = counts
    both = alone + hab
    milliamp_ticks = {
        "activate": (alone[kernel.OPEN] + part.units.blocks * hab[kernel.OPEN])
        * (amps.idd0_ma * (ras + rp) - amps.idd3n_ma * ras - amps.idd2n_ma * rp),
        "read": (both[kernel.READ] - in_all[0]) * read * burst,
        "write": (both[kernel.WRITE] - in_all[1]) * write * burst,
        "execute": part.energy.execute_columns * (in_all[0] * read + in_all[1] * write) * burst,
        "refresh": both[kernel.REFRESH] * (amps.idd5ab_ma - amps.idd3n_ma) * timing["tRFC"],
    }
    each = amps.vdd_v * amps.devices * part.memory.tick_ps * 1e-15 * part.channels
    return {name: float(amount) * each for name, amount in milliamp_ticks.items()}


def _commands(memory: Standard, rows: Ints) -> Iterator[Command]:
    """Yield the commands of a trace of the kernel."""
    names, counts = list(memory.commands), memory.counts[: len(memory.banked_levels)]
    banks = np.stack(np.unravel_index(rows[:, 2], counts), axis=1).tolist()
    for (tick, command, _, row, burst), bank in zip(rows.tolist(), banks, strict=True):
        yield Command(tick, names[command], (*bank, row, burst * memory.prefetch))


def _machine(part: HbmPim, watched: bool) -> "Machine":
    """Return a channel for the kernel."""
    from simulator.dram.pim import hbm_pim_kernel as kernel

    memory, table, modes = part.memory, tables(part.memory), part.modes
    commands = _used(memory)
    rows = _rows(memory, commands)
    banks, depth = memory.banks_per_channel, len(table.counts)
    spans = banks // np.cumprod(table.counts)
    flags = np.zeros((3, banks), np.int64)
    for which, listed in enumerate((modes.hab_banks, modes.enter_banks, modes.exit_banks)):
        flags[which, list(listed)] = 1
    fixed = {
        kernel.DEPTH: part.queue.entries,
        kernel.INTERVAL: memory.refresh.interval_ticks,
        # A cycle ends at its next tick.
        kernel.READ_DONE: part.latency.command_ticks + memory.read_latency_ticks + 1,
        kernel.WRITE_DONE: part.latency.write_ticks + 1,
        kernel.ENTER_ROW: modes.enter_row if watched else kernel.NEVER,
        kernel.EXIT_ROW: modes.exit_row if watched else kernel.NEVER,
    }
    return kernel.Machine(
        fixed=np.array([fixed[i] for i in range(len(fixed))], np.int64),
        nodes=table.offsets[:depth] + np.arange(banks)[:, None] // spans,
        rows=rows[:, 1:].copy(),
        starts=np.searchsorted(rows[:, 0], np.arange(kernel.USES + 1)),
        banks=flags,
        commands=commands,
    )


def _used(memory: Standard) -> Ints:
    """Return the command for each use of the kernel."""
    names = list(memory.commands)
    (close,) = (name for name in memory.with_role("close") if memory.commands[name].level == "Bank")
    opens, reads, writes = (memory.with_role(role)[0] for role in ("open", "read", "write"))
    used = (opens, close, reads, writes, memory.refresh.command)
    return np.array([names.index(name) for name in used], np.int64)


def _rows(memory: Standard, commands: Ints) -> Ints:
    """Return the rows between commands that are used: use after, level, use before, ticks."""
    table, use_of = tables(memory), {command: use for use, command in enumerate(commands.tolist())}
    columns = (table.after, table.level, table.before, table.ticks)
    rows = sorted(
        (use_of[after], level, use_of[before], ticks)
        for after, level, before, ticks in np.stack(columns, axis=1).tolist()
        if after in use_of and before in use_of
    )
    return np.array(rows, np.int64)


def _state(part: HbmPim, runs: Ints) -> "State":
    from simulator.dram.pim import hbm_pim_kernel as kernel

    table, banks = tables(part.memory), part.memory.banks_per_channel
    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        last=np.full((int(table.offsets[-1]) + banks, kernel.USES), -kernel.NEVER, np.int64),
        opened=np.full(banks, kernel.CLOSED, np.int64),
        queue=np.zeros(part.queue.entries + 1, np.int64),
        left=runs[:, COUNT].copy(),
        marks=np.zeros((3, banks), np.int64),
        counts=np.zeros((2, kernel.USES), np.int64),
    )
    k, refresh = state.k, part.refresh
    k[kernel.HAB_AT] = k[kernel.SB_AT] = kernel.NEVER
    k[kernel.REFRESH_AT] = refresh.first_tick
    k[kernel.OTHER_AT] = refresh.other_rank_first_tick or kernel.NEVER
    return state
