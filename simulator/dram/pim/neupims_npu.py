"""NeuPIMs' own NPU: one decode iteration of a decoder block, operation by operation, line by line.

Modelled after casys-kaist/NeuPIMs @f299af3 (ASPLOS'24, arXiv 2403.00579): what its simulator does,
not what good hardware would. Attention is `neupims_program`'s; when anything is issued, served and
computed, `neupims_npu_kernel` says, on all channels at once.

Of N requests on one of T devices, with E hidden and F = ffn:

- before attention: layer norm, product N x E x 3E/T; after it: product N x E/T x E, sum, layer
  norm, N x E x F/T, GELU, N x F/T x E, sum. An operation starts `operation_ticks` after the one
  before: nothing stays on chip, all is read and written. Stages are A (before), B (attention),
  E (after); with sub-batches 1 and 2, two blocks of them: A before 1; B before 2 | attention 1; C
  after 1, before 1 | attention 2; D after 2, before 2 | attention 1; E after 1 | attention 2; F
  after 2. A channel's requests are cut in the middle. A stage ends with all that is in it.
- Products are cut in squares of `array`. All blocks of weights and inputs are loaded once. Of the
  results only what the indices of the transposed result leave is written: N (or 128) rows of as
  many columns as N has blocks. A bias is one load a block of N. Layer norm loads gain and bias
  once. Vector instructions take the same ticks whatever their width.
- Addresses are a counter of values that wraps at 10 E^2/T bytes, whatever is loaded or stored; an
  instruction of b bytes touches b/64 + 1 lines. Lines go round the channels, then along rows, then
  banks. Those of an instruction are asked for in the order in which a hash set of its
  addresses is walked (robin_hood 3.11). Keys and values lie behind all rows of the counter.
- Attention stores its scores, and outputs where they are of several chunks, each as it is ready.

Energies are those of `neupims`, and: E_write = VDD (IDD4W - IDD3N) tBL, E_ref = VDD (IDD5AB -
IDD3N) tRFC; a rank burns VDD IDD3N where any of its banks is open, else VDD IDD2N, and with two row
buffers the same for those of the units.

Against its recorded iterations: totals within 1.4 %, lines exactly, energies within 3 %, stages of
the batch of GPT3-7B within 1.3 %. With sub-batches D is 5 % short and F 13 % long; projection and
FFN of one request of 128 tokens are 11 % long, else within 3 %: which posted write stands in which
bank's way is chance, and a bank that waits for one holds up all that is computed behind it.

Approximated: stores of an operation have the addresses behind its loads even where attention stores
meanwhile; such stores do not wait behind commands of PIM. Left out: operations of several tiles
(refused); prefill; sub-batches with one row buffer; its NPU-only mode; links; embedding and head;
keys and values of a new token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim import neupims_program as program
from simulator.dram.pim.neupims import (
    Request,
    assigned_requests,
    energies_of,
    machine_of,
    requests_by_channel,
    state_of,
    uses_of,
)
from simulator.dram.pim.neupims_part import NeuPims
from simulator.dram.pim.neupims_program import Shape, shape_of, stages
from simulator.dram.pim.neupims_traffic import queues_of, rules_of
from simulator.dram.pim.run import PimRun
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.neupims_npu_kernel import Attention, Work

__all__ = ["IterationRun", "IterationStage", "Operation", "run_iteration"]

Ints = NDArray[np.int64]
Kind: TypeAlias = Literal["ln", "matmul", "add", "gelu"]
#: Mixes an address as robin_hood 3.11 does: multipliers, and the bits that it shifts by.
_MIX, _SHIFT = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53), 33
#: Bits of a hash that sort within a bucket, the least buckets of a set, and how full they get.
_WITHIN, _LEAST, _FULL_PERCENT = 5, 8, 80


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the NPU that makes rows x columns values; lines are of `burst_bytes`."""

    name: str
    kind: Kind
    rows: int
    columns: int
    cycles: int
    read_lines: int
    written_lines: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class IterationStage:
    """A stage: the NPU's operations one after the other, and attention beside them.

    attention_cycles: until attention is over, 0 without. pim_busy_cycles, most_busy_cycles: in
    which a channel has PIM commands to issue, the mean and the most. attention_macs, pim_energy_j:
    of PIM's commands. requests: lines that the NPU and attention read and write.
    """

    name: str
    cycles: int
    attention_cycles: int
    pim_busy_cycles: int
    most_busy_cycles: int
    attention_macs: int
    pim_energy_j: float
    requests: int
    bytes: int
    operations: tuple[Operation, ...]


@dataclass(frozen=True, kw_only=True)
class IterationRun(PimRun):
    """A decoder block, or two blocks with sub-batches.

    energy_j: act, read, write, ref, gwrite, gact, comp, readres, background of all channels; writes
    that are still queued at the end have none. channel_cycles: those in which a channel has PIM
    commands to issue.
    """

    mode: str
    stages: tuple[IterationStage, ...]
    energy_j: dict[str, float]

    @property
    def requests(self) -> int:
        """Lines that are read and written."""
        return sum(stage.requests for stage in self.stages)


class _Op(NamedTuple):
    """An operation before it runs: values of each load and store, and what is computed of them.

    computes: (count, 4), three loads, ticks (of a product: 1 for new weights). stores: what each
    waits for.
    """

    name: str
    kind: Kind
    rows: int
    columns: int
    loads: list[int]
    computes: list[tuple[int, int, int, int]]
    stores: list[int]
    stored_values: list[int]
    macs: int = 0


class _Plan(NamedTuple):
    """A stage: name, rows of the NPU's sub-batch, parts of a block, and what attends."""

    name: str
    rows: int
    after: bool
    before: bool
    attends: Sequence[tuple[int, int]]


def run_iteration(
    part: NeuPims,
    mode: str,
    requests: Sequence[Request],
    *,
    hidden: int,
    heads: int,
    ffn: int,
    tp: int,
    sub_batches: bool,
) -> IterationRun:
    """Run one decode iteration of a decoder block, of two blocks with sub-batches.

    requests: (tokens, channel), in order; without a channel as `neupims.assign_channels`. hidden,
    heads, ffn: of the model; tp: devices that share it, of which this is one.
    Raises InputError for an unknown mode, a model that rows or the buffer do not take or that `tp`
    devices cannot share, requests that are wrong, and sub-batches of less than two requests or with
    one row buffer; InfeasibleError for more keys and values than a channel holds.
    """
    shape = shape_of(part, hidden, heads, tp)
    if ffn < 1 or ffn % tp:
        raise InputError(f"ffn must be a multiple of tp {tp}, got {ffn}")
    placed = assigned_requests(part, shape, requests)
    if sub_batches and part.mode(mode).row_buffers == 1:
        raise InputError(f"{part.name}: sub-batches need two row buffers, mode '{mode}' has one")
    if sub_batches and len(placed) < 2:
        raise InputError(f"sub-batches need 2 requests, got {len(placed)}")
    npu = _Npu(part, mode, shape)
    done = [npu.run(plan, ffn // tp) for plan in _plans(part, placed, sub_batches=sub_batches)]
    commands, steps = npu.counted()
    return IterationRun(
        part=part.name,
        cycles=npu.now,
        tick_ps=part.tick_ps,
        channels=part.channels,
        commands=commands,
        bursts=steps,
        operations=sum(stage.attention_macs for stage in done),
        operations_per_burst=part.units.multipliers * part.banks,
        channel_cycles=tuple(npu.busy.tolist()),
        mode=mode,
        stages=tuple(done),
        energy_j=npu.energies(commands, steps),
    )


def _plans(part: NeuPims, placed: Sequence[tuple[int, int]], *, sub_batches: bool) -> list[_Plan]:
    """Return the stages."""
    every = len(placed)
    if not sub_batches:
        return [
            _Plan("A", every, False, True, ()),
            _Plan("B", 0, False, False, placed),
            _Plan("E", every, True, False, ()),
        ]
    one, two = _halves(part, placed)
    return [
        _Plan("A", len(one), False, True, ()),
        _Plan("B", len(two), False, True, one),
        _Plan("C", len(one), True, True, two),
        _Plan("D", len(two), True, True, one),
        _Plan("E", len(one), True, False, two),
        _Plan("F", len(two), True, False, ()),
    ]


def _halves(
    part: NeuPims, placed: Sequence[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return two sub-batches: each channel's requests cut in the middle, odd ones in turn."""
    one, two, first = list[tuple[int, int]](), list[tuple[int, int]](), True
    for channel, listed in enumerate(requests_by_channel(part, placed)):
        cut = len(listed) // 2
        if len(listed) % 2:
            cut, first = cut + first, not first
        one += [(tokens, channel) for tokens in listed[:cut]]
        two += [(tokens, channel) for tokens in listed[cut:]]
    return one, two


def _operations(part: NeuPims, plan: _Plan, shape: Shape, ffn: int) -> Iterator[_Op]:
    """Yield the NPU's operations of a stage; ffn: of this device."""
    rows, hidden, own = plan.rows, shape.hidden, shape.own_hidden
    if plan.after:
        yield _product(part, "o_proj", rows, own, hidden)
        yield _vector(part, "residual_attention", "add", rows, hidden)
        yield _vector(part, "norm_ffn", "ln", rows, hidden)
        yield _product(part, "up_proj", rows, hidden, ffn)
        yield _vector(part, "activation", "gelu", rows, ffn)
        yield _product(part, "down_proj", rows, ffn, hidden)
        yield _vector(part, "residual_ffn", "add", rows, hidden)
    if plan.before:
        yield _vector(part, "norm_attention", "ln", rows, hidden)
        yield _product(part, "qkv_proj", rows, hidden, 3 * own)


def _vector(part: NeuPims, name: str, kind: Kind, rows: int, width: int) -> _Op:
    """Return an operation on the vector unit: an instruction a row."""
    core = part.npu.core
    held = {"ln": 2, "add": 0, "gelu": 0}[kind]
    operands = 2 if kind == "add" else 1
    ticks = core.layer_norm_ticks if kind == "ln" else core.element_ticks
    padded = _padded(part, width)
    _refuse_tiles(part, name, ((operands + 1) * rows + held) * padded, (rows, width))
    computes = []
    for row in range(rows):
        needs = [*range(held), *range(held + row * operands, held + (row + 1) * operands)]
        computes.append((needs[0], needs[len(needs) // 2], needs[-1], ticks))
    loads = [width] * (held + rows * operands)
    return _Op(name, kind, rows, width, loads, computes, [*range(rows)], [width] * rows)


def _product(part: NeuPims, name: str, rows: int, inner: int, columns: int) -> _Op:
    """Return a product of rows x inner values with inner x columns weights, block by block."""
    side = part.npu.core.array
    m, k, n = (_padded(part, size) for size in (columns, inner, rows))
    _refuse_tiles(part, name, n * k + k * m + n * m, (rows, inner, columns))

    def extent(whole: int, block: int) -> int:
        return max(0, min(side, whole - block * side))

    blocks = range(n // side)
    # The bias is of the rows' blocks, by the index that the transposed result leaves.
    loads, macs = [extent(columns, i) for i in blocks], rows * inner * columns
    op = _Op(name, "matmul", rows, columns, loads, [], [], [], macs)
    weights: dict[tuple[int, int], int] = {}
    for row in blocks:
        for depth in range(k // side):
            for column in range(m // side):
                if row == 0:
                    weights[column, depth] = len(op.loads)
                    op.loads.append(extent(columns, column) * extent(inner, depth))
                if column == 0:
                    moving = len(op.loads)
                    op.loads.append(extent(inner, depth) * extent(rows, row))
                if depth == k // side - 1:
                    op.stores.append(len(op.computes))
                    op.stored_values.append(extent(rows, column) * extent(columns, row))
                weight = weights[column, depth]
                op.computes.append((weight, moving, moving, int(column == 0)))
    return op


def _padded(part: NeuPims, size: int) -> int:
    side = part.npu.core.array
    return -(-size // side) * side


def _refuse_tiles(part: NeuPims, name: str, values: int, sizes: tuple[int, ...]) -> None:
    half = part.npu.core.buffer_bytes // 2
    if values * part.value_bytes > half:
        raise InputError(
            f"{part.name}: {name} of {' x '.join(map(str, sizes))} takes "
            f"{values * part.value_bytes} bytes, half of the NPU's buffer has {half}: its "
            "operations of several tiles are left out"
        )


class _Lines(NamedTuple):
    """Requests of instructions, as the kernel has them, their channels, and lines of each one."""

    rows: Ints
    channels: Ints
    counts: Ints


class _Addresses:
    """The counter of addresses, and where in the memory they are."""

    def __init__(self, part: NeuPims, shape: Shape) -> None:
        self.part = part
        self.wraps = 10 * shape.hidden * shape.own_hidden
        self._at = 0
        self._bursts = part.row_bytes // part.burst_bytes

    @property
    def rows(self) -> int:
        """Rows of all banks that the counter goes through."""
        part = self.part
        return ceil(self.wraps / (part.row_bytes * part.banks * part.channels))

    def take(self, values: Sequence[int], first: int, *, writes: Sequence[bool]) -> _Lines:
        """Return the lines of instructions of so many values each, which are numbered from first.

        As NeuPIMs' counter, which is a value further before an address is made of it.
        """
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim import neupims_traffic_kernel as traffic

        part, step = self.part, self.part.value_bytes
        sizes = step * np.array(values, np.int64).reshape(-1)
        before = (self._at + np.cumsum(sizes) - sizes) % self.wraps
        starts, lasts = before + step, before + sizes
        beyond = lasts >= self.wraps
        self._at = int((self._at + sizes.sum()) % self.wraps)
        # What lies behind the wrap has the lower addresses.
        low = np.where(beyond, 0, starts), np.where(beyond, lasts - self.wraps, lasts)
        high = starts, np.where(beyond, self.wraps - step, starts - part.burst_bytes)
        firsts = np.stack([low[0], high[0]], axis=1) // part.burst_bytes
        ends = np.stack([low[1], high[1]], axis=1) // part.burst_bytes
        each = np.maximum(ends - firsts + 1, 0) * (sizes > 0)[:, None]
        instructions = np.repeat(np.arange(len(sizes)), each.sum(axis=1))
        offsets = np.cumsum(each.ravel()) - each.ravel()
        lines = np.arange(len(instructions)) + np.repeat(firsts.ravel() - offsets, each.ravel())
        twice = lines == self._last_lines(sizes, lasts)[instructions]
        order = self._walked(lines, instructions, each.sum(axis=1))
        lines, instructions, twice = lines[order], instructions[order], twice[order]
        channels, place = lines % part.channels, lines // part.channels
        rows = np.zeros((len(lines), kernel.REQUEST_FIELDS), np.int64)
        rows[:, kernel.INSTRUCTION] = first + instructions
        rows[:, traffic.WRITES] = np.array(writes, np.int64).reshape(-1)[instructions]
        rows[:, traffic.OF_BURST] = place % self._bursts
        rows[:, traffic.OF_BANK] = place // self._bursts % part.banks
        rows[:, traffic.OF_ROW] = place // (self._bursts * part.banks)
        rows[:, kernel.TWICE] = twice & (rows[:, traffic.WRITES] == 0)
        rows[:, kernel.TWIN] = -1
        return _Lines(rows, channels, each.sum(axis=1))

    def most_lines(self, values: Sequence[int]) -> int:
        """Return the most lines that stores of so many values each can have on a channel."""
        part = self.part
        each = [size * part.value_bytes // part.burst_bytes + 2 for size in values]
        return sum(-(-lines // part.channels) + 1 for lines in each)

    def _last_lines(self, sizes: Ints, lasts: Ints) -> Ints:
        """Return the last line of what stands before each instruction, -1 of the first."""
        found = np.full(len(sizes), -1, np.int64)
        some = np.flatnonzero(sizes)
        found[some[1:]] = (lasts[some[:-1]] % self.wraps) // self.part.burst_bytes
        return found

    def _walked(self, lines: Ints, instructions: Ints, counts: Ints) -> NDArray[np.intp]:
        """Return the order in which a hash set of each instruction's addresses is walked."""
        part = self.part
        place, channel = lines // part.channels, lines % part.channels
        row, burst = place // self._bursts, place % self._bursts
        address = ((row * part.channels + channel) * self._bursts + burst) * part.burst_bytes
        mixed = address.astype(np.uint64)
        shift = np.uint64(_SHIFT)
        for factor in _MIX:
            mixed = (mixed ^ (mixed >> shift)) * np.uint64(factor)
        mixed ^= mixed >> shift
        buckets = np.full(len(counts), _LEAST, np.int64)
        while (small := counts > buckets * _FULL_PERCENT // 100).any():
            buckets[small] *= 2
        within = (mixed & np.uint64((1 << _WITHIN) - 1)).astype(np.int64)
        bucket = (mixed >> np.uint64(_WITHIN)).astype(np.int64) & (buckets - 1)[instructions]
        widest = int(buckets.max(initial=1))
        keys = ((instructions * widest + bucket) << _WITHIN) + within
        return np.argsort(keys, kind="stable")


class _Attending:
    """Attention of a stage: scores, then outputs, on all channels."""

    def __init__(
        self, part: NeuPims, mode: str, shape: Shape, requests: Sequence[tuple[int, int]],
        first_row: int, start: int,
    ) -> None:  # fmt: skip
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim.neupims_kernel import NEVER

        self.part, self.start, self.part_of = part, start, 0
        self._every = 1 if part.mode(mode).sends == "one_a_tick" else 0
        placed = requests_by_channel(part, requests)
        self._stages = list(stages(part, mode, shape, placed)) if requests else []
        none = np.zeros((0, program.FIELDS), np.int64)
        listed = [stage.ops for stage in self._stages] or [[none] * part.channels] * 2
        self.counts = np.array([[len(ops) for ops in of] for of in listed], np.int64)
        ops = np.concatenate([each for pair in zip(*listed, strict=True) for each in pair])
        ops[:, program.ROW] += np.where(ops[:, program.ROW] > 0, first_row, 0)
        self.phases = np.repeat(np.tile([0, 1], part.channels), self.counts.T.ravel())
        ticks = [stage.vector_ticks for stage in self._stages] or [np.zeros(0, np.int64)] * 2
        self.items = np.cumsum([len(each) for each in ticks])
        ops[(self.phases == 1) & (ops[:, program.ITEM] >= 0), program.ITEM] += self.items[0]
        items = np.zeros((self.items[-1], 3), np.int64)
        waiting = ops[ops[:, program.ITEM] >= 0, program.ITEM]
        items[:, kernel.RESULTS_LEFT] = np.bincount(waiting, minlength=len(items))
        items[:, kernel.ITEM_TICKS] = np.concatenate(ticks)
        self.work: Attention = kernel.Attention(
            ops=ops,
            sends=np.full(len(ops), NEVER, np.int64),
            issued=np.full(len(ops), -1, np.int64),
            firsts=np.append(0, np.cumsum(self.counts.sum(axis=0))).astype(np.int64),
            goals=np.zeros(part.channels, np.int64),
            items=items,
        )
        tokens, tiles = [each for of in placed for each in of], ceil(shape.head_dim / part.banks)
        chunked = [each for each in tokens if each > part.row_values]
        # Scores of a head of a request each, and a head's output in each tile.
        self.stored_values = [
            *(each for each in tokens for _ in range(shape.own_heads)),
            *([shape.head_dim] * (len(chunked) * shape.own_heads * tiles)),
        ]
        self.busy = np.zeros(part.channels, np.int64)

    def send(self, tick: int) -> None:
        """Send the commands of the part that is next, from a tick on."""
        mine = self.phases == self.part_of
        order = self._every * np.arange(np.count_nonzero(mine))
        self.work.sends[mine] = tick + self.part.npu.request_ticks + order
        self.work.goals[:] = self.counts[: self.part_of + 1].sum(axis=0)

    def book(self) -> None:
        """Count how long channels were busy with a part, and go on to the next."""
        mine, counts = self.phases == self.part_of, self.counts[self.part_of]
        issued, sends = self.work.issued[mine], self.work.sends[mine]
        lasts, some = np.cumsum(counts), counts > 0
        self.busy[some] += issued[(lasts - 1)[some]] - sends[(lasts - counts)[some]] + 1
        self.part_of += 1


class _Npu:
    """The NPU and the channels in the middle of a run; now: when the stage before was over."""

    def __init__(self, part: NeuPims, mode: str, shape: Shape) -> None:
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim.neupims_kernel import State
        from simulator.dram.pim.neupims_traffic_kernel import Queues

        self.part, self.mode, self.shape, self.now = part, mode, shape, 0
        self.busy = np.zeros(part.channels, np.int64)
        self._uses = uses_of(part, mode, traffic=True)
        self._machine, self._rules = (
            machine_of(part, mode, self._uses),
            rules_of(part, mode, self._uses),
        )
        self._addresses = _Addresses(part, shape)
        state, queues, channels = state_of(self._machine, 0), queues_of(part), part.channels
        self._memory = kernel.Memory(
            State(*(np.stack([each] * channels) for each in state)),
            Queues(*(np.stack([each] * channels) for each in queues)),
            np.zeros((channels, 2, 2), np.int64),
            np.zeros((channels, kernel.STANDBY_FIELDS), np.int64),
        )
        self._memory.standby[:, kernel.LOCKED] = -1
        self._limits = _limits(part)
        self._npu = np.zeros(kernel.SCALARS, np.int64)
        self._requests = np.zeros((0, kernel.REQUEST_FIELDS), np.int64)
        self._firsts = np.zeros(part.channels + 1, np.int64)
        # Ticks before which stores of attention are not asked for.
        self._asks = np.zeros(0, np.int64)

    def run(self, plan: _Plan, ffn: int) -> IterationStage:
        """Run a stage."""
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim.neupims_kernel import NEVER

        start, npu, part, before = self.now, self._npu, self.part, self.counted()
        attending = _Attending(
            part, self.mode, self.shape, plan.attends, self._addresses.rows, start
        )
        self._start_attention(attending)
        todo, done = list(_operations(part, plan, self.shape, ffn)), list[Operation]()
        lines, computed, attended = 0, start, start
        work = self._start(todo[0] if todo else None, start, attending)
        while npu[kernel.WORKING] or npu[kernel.ATTENDING]:
            match self._go_on(attending, work, NEVER):
                case kernel.OPERATED:
                    ended = int(npu[[kernel.ENDED, kernel.POPPED, kernel.SENT]].max())
                    ended += part.npu.core.operation_ticks
                    done.append(_done(todo[len(done)], self._lines, ended - computed))
                    computed = ended
                    following = todo[len(done)] if len(done) < len(todo) else None
                    work = self._start(following, ended, attending)
                case kernel.STORES:
                    lines += self._place(attending)
                case kernel.ATTENDED:
                    attended = self._go_on_attending(attending)
                case _:
                    raise InputError(f"{part.name}: no command can follow; is a row wrong?")
        self.now = max(computed, attended)
        self._go_on(attending, work, self.now)
        self.busy += attending.busy
        commands, steps = self.counted()
        added = {name: count - before[0].get(name, 0) for name, count in commands.items()}
        pim_j = sum(energies_of(part, added, steps - before[1]).values())
        lines += sum(each.read_lines + each.written_lines for each in done)
        return IterationStage(
            name=plan.name,
            cycles=self.now - start,
            attention_cycles=attended - start,
            pim_busy_cycles=int(attending.busy.sum()) // part.channels,
            most_busy_cycles=int(attending.busy.max()),
            attention_macs=sum(2 * tokens for tokens, _ in plan.attends) * self.shape.own_hidden,
            pim_energy_j=pim_j,
            requests=lines,
            bytes=lines * part.burst_bytes,
            operations=tuple(done),
        )

    def counted(self) -> tuple[dict[str, int], int]:
        """Return the commands of all channels by name, and the steps of all GEMVs."""
        from simulator.dram.pim import neupims_kernel as kernel

        states = self._memory.states
        counts, steps = states.counts.sum(axis=0), int(states.k[:, kernel.STEPS_DONE].sum())
        return {name: int(counts[use]) for name, use in self._uses.items() if counts[use]}, steps

    def energies(self, commands: dict[str, int], steps: int) -> dict[str, float]:
        """Return the joules of all channels by name; volts x mA x ps are fJ."""
        from simulator.dram.pim import neupims_npu_kernel as kernel

        part, amps = self.part, self.part.energy.currents
        names = {use: name for name, use in self._uses.items()}
        timing, tick = part.timing, amps.vdd_v * amps.devices * part.tick_ps * 1e-15
        act = amps.idd0_ma * (timing["nRAS"] + timing["nRP"]) - amps.idd3n_ma * timing["nRAS"]
        costs = {
            "act": (program.OPEN, act - amps.idd2n_ma * timing["nRP"]),
            "read": (program.READ, (amps.idd4r_ma - amps.idd3n_ma) * timing["nBL"]),
            "write": (program.WRITE, (amps.idd4w_ma - amps.idd3n_ma) * timing["nBL"]),
            "ref": (program.REFRESH, (amps.idd5ab_ma - amps.idd3n_ma) * timing["nRFC"]),
        }
        found = {
            name: commands.get(names[use], 0) * cost * tick for name, (use, cost) in costs.items()
        }
        standby = self._memory.standby
        left = (self.now - standby[:, kernel.SINCE])[:, None]
        opened = slice(kernel.OPEN_TICKS, kernel.OPEN_TICKS + 2)
        now = slice(kernel.OPEN_NOW, kernel.OPEN_NOW + 2)
        active = (standby[:, opened] + standby[:, now] * left).sum(axis=0)
        buffers = part.mode(self.mode).row_buffers
        ranks = part.channels * part.levels["Rank"] * self.now
        opens = int(active[:buffers].sum())
        background = amps.idd3n_ma * opens + amps.idd2n_ma * (buffers * ranks - opens)
        return {**found, **energies_of(part, commands, steps), "background": background * tick}

    def _go_on(self, attending: _Attending, work: "Work", until: int) -> int:
        from simulator.dram.pim.neupims_npu_kernel import run

        return run(
            self._machine, self._rules, self._memory, attending.work, work, self._limits,
            self._npu, until,
        )  # fmt: skip

    def _start_attention(self, attending: _Attending) -> None:
        """Send the scores; stores are not asked for yet, and have no addresses."""
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim.neupims_kernel import NEVER, NEXT

        npu, items = self._npu, len(attending.stored_values)
        self._memory.states.k[:, NEXT] = 0
        npu[kernel.FIRST_STORE] = len(self._asks)
        npu[[kernel.ITEM, kernel.PLACED, kernel.PASSED, kernel.KEPT]] = 0
        npu[kernel.RESULTED] = self.now
        self._asks = np.append(self._asks, np.full(items, NEVER, np.int64))
        npu[kernel.ATTENDING] = len(attending.work.ops) > 0
        if npu[kernel.ATTENDING]:
            npu[kernel.ITEMS] = attending.items[0]
            attending.send(self.now)

    def _place(self, attending: _Attending) -> int:
        """Give addresses to the stores of attention that are to be sent; return how many lines."""
        from simulator.dram.pim import neupims_npu_kernel as kernel

        npu, lists = self._npu, self._memory.lists
        placed, item = int(npu[kernel.PLACED]), int(npu[kernel.ITEM])
        values = attending.stored_values[placed:item]
        first = int(npu[kernel.FIRST_STORE]) + placed
        lines = self._addresses.take(values, first, writes=[True] * len(values))
        order = np.argsort(lines.channels, kind="stable")
        channels, counts = lines.channels[order], np.bincount(lines.channels, minlength=len(lists))
        within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        stop = lists[:, kernel.OF_PIM, kernel.STOP]
        self._requests[(self._firsts[:-1] + stop)[channels] + within] = lines.rows[order]
        stop += counts
        npu[kernel.PLACED], npu[kernel.NEWS] = item, 1
        return len(lines.rows)

    def _go_on_attending(self, attending: _Attending) -> int:
        """Send the part of attention that is next, if there is one; return when this is over."""
        from simulator.dram.pim import neupims_npu_kernel as kernel

        npu, first = self._npu, attending.items[attending.part_of - 1] if attending.part_of else 0
        ended = int(npu[kernel.RESULTED])
        if npu[kernel.ITEM] > first:
            ended = max(ended, int(npu[kernel.KEPT]) + self.part.npu.store_ticks)
        attending.book()
        npu[kernel.NEWS] = 1
        if attending.part_of < len(attending.items):
            npu[kernel.ITEMS] = attending.items[attending.part_of]
            attending.send(ended + 1)
            return ended + 1
        npu[kernel.ATTENDING] = 0
        # The stage is seen to be over one tick after the last of it.
        return ended + 2

    def _start(self, op: _Op | None, tick: int, attending: _Attending) -> "Work":
        """Start an operation, or none, beside attention."""
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim.neupims_kernel import NEVER

        own, asked = len(self._asks), tick + self.part.npu.request_ticks
        loads = [] if op is None else op.loads
        stored = [] if op is None else op.stored_values
        writes = [False] * len(loads) + [True] * len(stored)
        self._lines = lines = self._addresses.take([*loads, *stored], own, writes=writes)
        to_place = attending.stored_values[self._npu[kernel.PLACED] :]
        self._lay_out(lines, self._addresses.most_lines(to_place))
        instructions = np.zeros((own + len(writes), 3), np.int64)
        instructions[:own, kernel.ASKS] = self._asks
        self._asks = instructions[:own, kernel.ASKS]
        instructions[own:, kernel.ASKS] = np.where(writes, NEVER, asked)
        instructions[own:, kernel.LEFT] = lines.counts
        instructions[own:, kernel.SEEN] = asked
        scalars = {
            kernel.OWN: own, kernel.LOADS: len(loads), kernel.WANTED: len(lines.rows),
            kernel.ENDED: tick, kernel.COMPUTED: 0, kernel.STORED: 0, kernel.ISSUED: 0,
            kernel.STARTED: 0, kernel.POPPED: 0, kernel.SENT: 0, kernel.NEWS: 1,
            kernel.WORKING: op is not None,
        }  # fmt: skip
        for which, value in scalars.items():
            self._npu[which] = value
        computes = np.array([] if op is None else op.computes, np.int64).reshape(-1, 4)
        computes[:, : kernel.NEEDS] += own
        return kernel.Work(
            requests=self._requests,
            firsts=self._firsts,
            instructions=instructions,
            computes=computes,
            popped=np.zeros(len(computes), np.int64),
            stores=np.array([] if op is None else op.stores, np.int64),
            product=int(op is not None and op.kind == "matmul"),
        )

    def _lay_out(self, own: _Lines, room: int) -> None:
        """List requests anew: those that wait, those of an operation, stores of attention.

        room: of each channel, for stores that have no addresses yet.
        """
        from simulator.dram.pim import neupims_npu_kernel as kernel
        from simulator.dram.pim import neupims_traffic_kernel as traffic

        queues, lists, channels = self._memory.queues, self._memory.lists, self.part.channels
        waits = np.arange(queues.waiting.shape[2]) < queues.sizes[:, :, None]
        queued = np.arange(queues.queued.shape[2]) < queues.banks[:, traffic.SIZE, :, None]
        upcoming, stop = lists[:, kernel.OF_PIM].T
        sizes = stop - upcoming + room
        held = np.concatenate([np.nonzero(waits)[0], np.nonzero(queued)[0]])
        left = np.repeat(np.arange(channels), sizes)
        ahead = np.arange(len(left)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + upcoming[left]
        known = ahead < stop[left]
        stores = np.zeros((len(left), kernel.REQUEST_FIELDS), np.int64)
        stores[known] = self._requests[(self._firsts[left] + ahead)[known]]
        places = np.concatenate([queues.waiting[waits], queues.queued[queued]])
        rows = np.concatenate([self._requests[self._firsts[held] + places], own.rows, stores])
        of = held, own.channels, left
        channel = np.concatenate(of).astype(np.int16)
        order = np.argsort(channel, kind="stable")
        counts = [np.bincount(each, minlength=channels) for each in of]
        self._firsts = np.append(0, np.cumsum(np.sum(counts, axis=0))).astype(np.int64)
        self._requests = rows[order]
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) - self._firsts[channel[order]]
        cut = np.count_nonzero(waits)
        queues.waiting[waits], queues.queued[queued] = place[:cut], place[cut : len(held)]
        lists[:, kernel.OF_PIM, kernel.STOP] = counts[0] + counts[1] + stop - upcoming
        lists[:, kernel.OF_PIM, kernel.UPCOMING] = counts[0] + counts[1]
        lists[:, kernel.OF_NPU, kernel.UPCOMING] = counts[0]
        lists[:, kernel.OF_NPU, kernel.STOP] = counts[0] + counts[1]


def _limits(part: NeuPims) -> Ints:
    """Return what the kernel wants of the NPU."""
    from simulator.dram.pim import neupims_npu_kernel as kernel

    npu, core = part.npu, part.npu.core
    limits = np.zeros(kernel.LIMITS, np.int64)
    answered = core.posted_ticks + npu.answer_ticks
    for which, value in {
        kernel.PRELOAD: core.preload_ticks,
        kernel.ISSUE: core.issue_ticks,
        kernel.LATENCY: core.latency_ticks,
        kernel.COLD: core.cold_ticks,
        kernel.REQUEST: npu.request_ticks,
        kernel.ANSWER: npu.answer_ticks,
        kernel.POSTED: core.posted_ticks,
        kernel.OFFERS: core.offers,
        # A write that is taken ends an operation, and the next one asks.
        kernel.WINDOW: min(answered, part.read_ticks) + npu.request_ticks,
    }.items():
        limits[which] = value
    return limits


def _done(op: _Op, lines: _Lines, cycles: int) -> Operation:
    cut = len(op.loads)
    return Operation(
        name=op.name,
        kind=op.kind,
        rows=op.rows,
        columns=op.columns,
        cycles=cycles,
        read_lines=int(lines.counts[:cut].sum()),
        written_lines=int(lines.counts[cut:].sum()),
        macs=op.macs,
    )
