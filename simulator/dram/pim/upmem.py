"""UPMEM: general cores in DRAM chips, and PrIM's matrix times a vector on them.

A DPU is a core of many tasklets with 64 MB of DRAM of its own (MRAM), after Gomez-Luna et al.,
arXiv 2105.03814, which measured one: in a cycle the pipeline takes one instruction, of a tasklet
only every 11th; one DMA moves blocks between MRAM and the scratchpad (WRAM), one after the other,
each for a fixed time and one a byte; its tasklet waits. Multiplication is software beyond a byte.

`run_gemv` is the GEMV of CMU-SAFARI/prim-benchmarks: rows are dealt to DPUs, of a DPU to tasklets,
as many at a time as make 8 bytes of outputs. For each row, blocks of weights and of inputs are read
and multiplied, and after its share of 8 bytes the outputs are written. All DPUs do the same, so the
one with most rows is simulated; of each block the instructions are shared evenly between the
tasklets that have some.

Left out: launching (about 0.2 ms in records), conflicts of registers, refresh, stacks in WRAM, and
that rows of odd length are shifted. The host moves data before and after: see `transfer_s`.
"""

from dataclasses import dataclass
from math import ceil, log
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.config import Part, load_part
from simulator.dram.pim.run import PimRun
from simulator.dram.standard import NonNegative, Positive, Text
from simulator.errors import InputError

PIM_FOLDER = "hw_configs/parts/pim"
Figure = Annotated[float, Field(gt=0)]
Way: TypeAlias = Literal["to", "from", "broadcast"]


class Pipeline(Part):
    """Tasklets at most, cycles between two instructions of one, stages of the pipeline."""

    tasklets: Positive
    apart_cycles: Positive
    stages: Positive
    source: Text


class Dma(Part):
    """Cycles of a transfer between MRAM and WRAM; its bytes are whole units, `longest` at most."""

    read_cycles: NonNegative
    write_cycles: NonNegative
    cycles_per_byte: Figure
    unit_bytes: Positive
    longest_bytes: Positive
    source: Text


class MultiplyAdd(Part):
    """Instructions beside a product, of the product, and of each bit of its smaller factor."""

    loop: NonNegative
    product: Positive
    product_per_bit: NonNegative
    source: Text


class Instructions(Part):
    """Instructions of a multiply-add by the bits of its factors, of a block, of an output.

    checked: more of a multiply-add of the last block of a row.
    """

    by_bits: dict[int, MultiplyAdd]
    checked: NonNegative
    block: NonNegative
    output: NonNegative
    source: Text


class Kernel(Part):
    """What the kernel reads at once, and bytes of an output."""

    block_bytes: Positive
    output_bytes: Positive
    source: Text


class Host(Part):
    """Rates between the host and one DPU, or all of a rank at once."""

    to_dpu_gb_per_s: Figure
    from_dpu_gb_per_s: Figure
    to_rank_gb_per_s: Figure
    from_rank_gb_per_s: Figure
    broadcast_gb_per_s: Figure
    source: Text


class Energy(Part):
    """Watts of a chip with DPUs at work."""

    chip_w: Figure
    source: Text


class Upmem(Part):
    """DPUs in ranks and chips; MRAM and WRAM are of each, times in cycles of `tick_ps`."""

    name: str
    summary: str
    source: Text
    tick_ps: Positive
    dpus: Positive
    rank_dpus: Annotated[int, Field(ge=2)]
    chip_dpus: Positive
    mram_bytes: Positive
    wram_bytes: Positive
    pipeline: Pipeline
    dma: Dma
    instructions: Instructions
    kernel: Kernel
    host: Host
    energy: Energy

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems, dma, kernel = list[str](), self.dma, self.kernel
        if kernel.block_bytes % dma.unit_bytes or kernel.block_bytes > dma.longest_bytes:
            problems.append(
                f"kernel.block_bytes: must be whole units of {dma.unit_bytes} bytes, at most "
                f"{dma.longest_bytes}, got {kernel.block_bytes}"
            )
        if dma.unit_bytes % kernel.output_bytes:
            problems.append(
                f"kernel.output_bytes: must divide a unit of {dma.unit_bytes} bytes, got "
                f"{kernel.output_bytes}"
            )
        problems += [
            f"instructions.by_bits: must be of 8, 16 or 32 bits, got {bits}"
            for bits in self.instructions.by_bits
            if bits not in (8, 16, 32)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def group_outputs(self) -> int:
        """Outputs that a tasklet writes at once."""
        return self.dma.unit_bytes // self.kernel.output_bytes


@dataclass(frozen=True, kw_only=True)
class UpmemRun(PimRun):
    """A kernel on UPMEM; channels are the DPUs at work, a burst is a multiply-add.

    transfer_s: of the host, by what it moves: weights and inputs before, outputs after; not in
    `cycles`. energy_j: of the chips with DPUs at work, during the kernel.
    """

    transfer_s: dict[str, float]
    energy_j: dict[str, float]


def load_upmem(name_or_path: str = "upmem") -> Upmem:
    """Load a part by name from `hw_configs/parts/pim`, or from a YAML file; raises InputError."""
    return load_part(Upmem, name_or_path, PIM_FOLDER, noun="UPMEM part")


def run_gemv(
    part: Upmem,
    out: int,
    inputs: int,
    *,
    bits: int = 8,
    tasklets: int = 16,
    dpus: int | None = None,
    value_bits: float | None = None,
) -> UpmemRun:
    """Multiply a matrix of integers with a vector.

    bits: of a weight and of an input. dpus: all of the part by default; those without a row idle.
    value_bits: bits of the smaller of two factors that are in use, by default all; a mean will do.
    Raises InputError for sizes that are not there, and for what fits neither MRAM nor WRAM.
    """
    dpus = part.dpus if dpus is None else dpus
    value_bits = bits if value_bits is None else value_bits
    _refuse(part, out, inputs, bits, tasklets, dpus, value_bits)
    used = min(dpus, out)
    rows = ceil(out / used)
    row_bytes = _whole(part, inputs * bits // 8)
    _refuse_room(part, rows, row_bytes, tasklets)
    segments, instructions = _row(part, inputs, bits, value_bits)
    cycles = _cycles(part, segments, _dealt(part, rows, tasklets))
    reads = out * 2 * ceil(row_bytes / part.kernel.block_bytes)
    writes = sum(
        ceil(each / part.group_outputs) * count
        for each, count in ((out // used, used - out % used), (rows, out % used))
    )
    output_bytes, chips = _whole(part, rows * part.kernel.output_bytes), ceil(used / part.chip_dpus)
    return UpmemRun(
        part=part.name,
        cycles=cycles,
        tick_ps=part.tick_ps,
        channels=used,
        commands={
            "instruction": round(out * instructions),
            "mram_read": reads,
            "mram_write": writes,
        },
        bursts=out * inputs,
        operations=out * inputs,
        operations_per_burst=1,
        transfer_s={
            "weights": transfer_s(part, "to", used, rows * row_bytes),
            "inputs": transfer_s(part, "broadcast", used, row_bytes),
            "outputs": transfer_s(part, "from", used, output_bytes),
        },
        energy_j={"chips": chips * part.energy.chip_w * cycles * part.tick_ps * 1e-12},
    )


def transfer_s(part: Upmem, way: Way, dpus: int, bytes_each: int, *, serial: bool = False) -> float:
    """Return the time in which the host moves as many bytes to or from each of some DPUs.

    serial: one DPU after the other, else those of a rank at once, ranks one after the other. A
    broadcast moves the same bytes to all, and is never serial.
    """
    host, full = part.host, part.rank_dpus
    one, rank = {
        "to": (host.to_dpu_gb_per_s, host.to_rank_gb_per_s),
        "from": (host.from_dpu_gb_per_s, host.from_rank_gb_per_s),
        "broadcast": (host.to_dpu_gb_per_s, host.broadcast_gb_per_s),
    }[way]
    if serial:
        return dpus * bytes_each / one * 1e-9
    ranks, rest = divmod(dpus, full)
    seconds = ranks * full * bytes_each / rank
    if rest:
        seconds += rest * bytes_each / (one * rest ** (log(rank / one) / log(full)))
    return seconds * 1e-9


def _whole(part: Upmem, size: int) -> int:
    """Return bytes as whole units of the DMA."""
    return ceil(size / part.dma.unit_bytes) * part.dma.unit_bytes


def _refuse(
    part: Upmem,
    out: int,
    inputs: int,
    bits: int,
    tasklets: int,
    dpus: int,
    value_bits: float,
) -> None:
    sizes = {"out": out, "inputs": inputs}
    problems = [f"{name} must be >= 1, got {size}" for name, size in sizes.items() if size < 1]
    known = part.instructions.by_bits
    if bits not in known:
        problems.append(f"bits must be one of {', '.join(map(str, sorted(known)))}, got {bits}")
    elif not 1 <= value_bits <= bits:
        problems.append(f"value_bits must be 1 to {bits}, got {value_bits}")
    if not 1 <= tasklets <= part.pipeline.tasklets:
        problems.append(f"tasklets must be 1 to {part.pipeline.tasklets}, got {tasklets}")
    if not 1 <= dpus <= part.dpus:
        problems.append(f"dpus must be 1 to {part.dpus}, got {dpus}")
    if problems:
        raise InputError(problems)


def _refuse_room(part: Upmem, rows: int, row_bytes: int, tasklets: int) -> None:
    """Refuse rows with inputs and outputs that MRAM, or blocks that WRAM does not hold."""
    needed = (rows + 1) * row_bytes + _whole(part, rows * part.kernel.output_bytes)
    problems = []
    if needed > part.mram_bytes:
        problems.append(
            f"{rows} rows of {row_bytes} bytes need {needed} bytes of MRAM, "
            f"{part.mram_bytes} are there"
        )
    buffers = tasklets * (2 * part.kernel.block_bytes + part.dma.unit_bytes)
    if buffers > part.wram_bytes:
        problems.append(
            f"{tasklets} tasklets with two blocks of {part.kernel.block_bytes} bytes need "
            f"{buffers} bytes of WRAM, {part.wram_bytes} are there"
        )
    if problems:
        raise InputError(problems)


def _row(
    part: Upmem, inputs: int, bits: int, value_bits: float
) -> tuple[NDArray[np.float64], float]:
    """Return a row for the kernel, the write that ends a group last, and its instructions."""
    from simulator.dram.pim import upmem_kernel as kernel

    dma, counts, segments = part.dma, part.instructions, list[tuple[int, float]]()
    each = counts.by_bits[bits]
    multiply_add = each.loop + each.product + each.product_per_bit * value_bits
    in_block = part.kernel.block_bytes * 8 // bits
    for first in range(0, inputs, in_block):
        values = min(in_block, inputs - first)
        moved = _whole(part, values * bits // 8)
        segments += [(kernel.MOVE, dma.read_cycles + dma.cycles_per_byte * moved)] * 2
        checked = counts.checked if first + values == inputs else 0
        segments.append((kernel.RUN, counts.block + values * (multiply_add + checked)))
    segments.append((kernel.RUN, counts.output))
    instructions = sum(amount for kind, amount in segments if kind == kernel.RUN)
    segments.append((kernel.MOVE, dma.write_cycles + dma.cycles_per_byte * dma.unit_bytes))
    return np.array(segments, np.float64), instructions


def _dealt(part: Upmem, rows: int, tasklets: int) -> NDArray[np.int64]:
    """Return the rows of each tasklet that has some, in whole groups but for the last row."""
    groups = ceil(rows / part.group_outputs)
    shares = np.array([groups // tasklets + (t < groups % tasklets) for t in range(tasklets)])
    dealt = part.group_outputs * shares[shares > 0]
    dealt[-1] -= part.group_outputs * groups - rows
    return dealt.astype(np.int64)


def _cycles(part: Upmem, segments: NDArray[np.float64], rows: NDArray[np.int64]) -> int:
    from simulator.dram.pim import upmem_kernel as kernel

    pipeline, tasklets = part.pipeline, len(rows)
    dpu = kernel.State(
        k=np.array([kernel.NONE, 0, 0], np.int64),
        clock=np.zeros(2, np.float64),
        row=np.zeros(tasklets, np.int64),
        at=np.full(tasklets, -1, np.int64),
        state=np.full(tasklets, kernel.RUNNING, np.int64),
        asked=np.zeros(tasklets, np.int64),
        left=np.zeros(tasklets, np.float64),
    )
    busy = kernel.serve(dpu, segments, rows, part.group_outputs, pipeline.apart_cycles)
    return ceil(busy) + pipeline.stages - 1
