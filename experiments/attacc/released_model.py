"""What AttAcc's released simulator computes, again: the generation of tokens, time and energy.

Source: scale-snu/attacc_simulator @c600051 (ASPLOS 2024, doi 10.1145/3620665.3640422): main.py,
src/system.py, devices.py, model.py, config.py and ramulator_wrapper.py. Read for its behaviour,
written anew. A layer of a decoder runs operation by operation on GPUs with tensor parallelism,
attention on the GPUs or on as many AttAccs; of the time of an operation, what overlaps is then
taken off by rules of thumb. All layers are equal, and a run is the mean over the tokens generated.

How long the memory takes for attention is not known here: `Cycles` is a function, which
`attention.py` has several of. Every quirk of the released code is kept and named where it stands
("quirk:"). Left out: everything it leaves out (embedding, LM head, launches), and of what it has,
prompts, attention on a CPU, and requests that do not divide into batches.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Literal, NamedTuple

import numpy as np

GIB = 2**30
#: Parts of its peaks that a GPU reaches.
COMPUTE_USED, MEMORY_USED = 0.8, 0.85
#: Tiles of a product that are tried in L1, along both outputs; and of registers.
TILES = np.array([8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512])
INNER_TILE, REGISTER_TILE = 32, 16
#: pJ a byte of a GPU's DRAM (activation, cell, to the bank group, to the I/O, TSV, interposer),
#: caches, registers and links, and pJ a multiply-add.
ACTIVATE, CELL, TO_GROUP, TO_IO, TSV, INTERPOSER = 0.11, 0.44, 1.01, 1.23, 0.5, 0.3
DRAM_PJ = (ACTIVATE + CELL + TO_GROUP + TO_IO + TSV + INTERPOSER) * 8
L2_PJ, L1_PJ, REGISTER_PJ, LINK_PJ, MULTIPLY_ADD_PJ = 0.3 * 8, 0.16 * 8, 0.0675, 10.4, 0.32
#: pJ a byte from a cell to AttAcc's units, and of its softmax buffer.
CELL_PJ = {
    "bank": (ACTIVATE + CELL) * 8,
    "bank_group": (ACTIVATE + CELL + TO_GROUP) * 8,
    "buffer": (ACTIVATE + CELL + TO_GROUP + TO_IO + TSV) * 8,
}
SRAM_PJ = 0.0034
TICK_S = 0.769e-9
COLUMN_BYTES = 32

Level = Literal["bank", "bank_group", "buffer"]
Number = int | float | Fraction


class Kind(StrEnum):
    """What an operation is."""

    PROJECTION = "projection"
    ATTENTION = "attention"
    SOFTMAX = "softmax"
    ACTIVATION = "activation"
    NORM = "norm"
    ALL_REDUCE = "all_reduce"
    TO_MEMORY = "to_memory"


class Operation(NamedTuple):
    """`number` products of m x k by k x n, or arrays of m x n; `work`: flops an element."""

    name: str
    kind: Kind
    m: int
    n: int | Fraction
    k: int | Fraction = 1
    number: int = 1
    work: int = 0

    @property
    def elements(self) -> int | Fraction:
        """Elements of the result."""
        return self.m * self.n * self.number

    @property
    def flops(self) -> float:
        """Floating-point operations."""
        if self.kind in (Kind.PROJECTION, Kind.ATTENTION):
            return float(2 * self.elements * self.k)
        return float(self.work * self.elements)

    @property
    def arrays(self) -> int:
        """Arrays of the size of the result that are moved; quirk: a norm has three."""
        return 3 if self.kind is Kind.NORM or self.name == "glu" else 2


@dataclass(frozen=True)
class Model:
    """A transformer; `activation`: gelu, relu, or glu with a third matrix."""

    layers: int
    hidden: int
    heads: int
    ffn_scale: int | Fraction = 4
    activation: Literal["gelu", "relu", "glu"] = "gelu"
    value_bytes: int = 2

    @property
    def head_dim(self) -> int:
        """Values of a head."""
        return self.hidden // self.heads

    def weight_bytes(self) -> float:
        """Bytes of all layers' weights."""
        matrices = 3 if self.activation == "glu" else 2
        of_layer = self.hidden**2 * (4 + matrices * self.ffn_scale)
        return float(self.layers * of_layer * self.value_bytes)

    def request_bytes(self, tokens: int) -> float:
        """Bytes of a request: keys and values, and what it needs for the time of a layer.

        quirk: of eight-bit models too, a byte a score is added for a mask.
        """
        kept = self.layers * 2 * tokens * self.hidden * self.value_bytes
        scores = tokens * self.heads
        widest = max(
            self.hidden + scores, 2 * self.hidden, 2 * scores, (self.ffn_scale + 1) * self.hidden
        )
        return float(kept + widest * self.value_bytes + scores)


#: quirk: LLaMA's FFN is 8/3 of the hidden width to the fraction (21,845.3; the checkpoint: 22,016).
MODELS = {
    "GPT-175B": Model(96, 12288, 96),
    "GPT-175B INT8": Model(96, 12288, 96, value_bytes=1),
    "LLAMA-65B": Model(80, 8192, 64, Fraction(8, 3), "glu"),
    "MT-530B": Model(105, 20480, 128),
    "MT-530B INT8": Model(105, 20480, 128, value_bytes=1),
    "OPT-66B": Model(64, 9216, 72, activation="relu"),
}


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    cores: int
    flops: float
    memory_bytes_per_s: float
    l1_bytes: int
    l2_bytes: int
    link_bytes_per_s: float
    memory_bytes: int = 80 * GIB


#: An A100 with HBM3; and H100.
GPUS = {
    "A100a": Gpu(108, 312e12, 3352e9, 192 * 1024, 40 * 2**20, 600e9),
    "H100": Gpu(132, 989.4e12, 3352e9, 256 * 1024, 50 * 2**20, 900e9),
}


@dataclass(frozen=True)
class AttAcc:
    """Eight AttAccs, of five stacks each, however many GPUs there are.

    bandwidth_scale: of the memory's own bandwidth, which the units have. quirk: it is only used
    for FFNs beside the GPU; attention takes the cycles of the commands, which reach less.
    """

    level: Level = "bank"
    power_limit: bool = True
    number: int = 8
    stacks: int = 5
    stack_bytes_per_s: float = 670.4e9
    stack_bytes: int = 16 * GIB
    link_bytes_per_s: float = 600e9

    @property
    def bandwidth_scale(self) -> float:
        """Bandwidth of the units over that of the pins."""
        full = {"bank": 16, "bank_group": 8, "buffer": 1}
        limited = {"bank": 9, "bank_group": 3, "buffer": 1}
        return float((limited if self.power_limit else full)[self.level])

    @property
    def columns_at_once(self) -> int:
        """Columns of one multiplication (both pseudo-channels, ranks, bank groups, banks)."""
        return {"bank": 64, "bank_group": 16, "buffer": 2}[self.level]


class Columns(NamedTuple):
    """Commands on all channels of a stack: multiplications, queries in, moves to and from units."""

    multiplications: int
    queries: int
    moves: int


#: Context and heads on one stack to cycles, or to commands, of the attention of one layer.
Cycles = Callable[[int, int], float]
Commands = Callable[[int, int], Columns]


class Attended(NamedTuple):
    """What attention takes on a stack: cycles for time, commands for energy."""

    cycles: Cycles
    commands: Commands


@dataclass(frozen=True)
class System:
    """GPUs with tensor parallelism, and AttAcc or none.

    head_pipeline: projections of some heads run beside the attention of others. shared_ffn: AttAcc
    has a part of the FFN.
    """

    gpus: int = 8
    gpu: Gpu = GPUS["A100a"]
    attacc: AttAcc | None = None
    head_pipeline: bool = False
    shared_ffn: bool = False

    @property
    def memory_bytes(self) -> int:
        """Bytes of all memories, as if weights and keys could be in any."""
        own = self.gpus * self.gpu.memory_bytes
        unit = self.attacc
        return own + (unit.number * unit.stacks * unit.stack_bytes if unit else 0)

    def fitting_batch(self, model: Model, prompt: int, generated: int) -> int:
        """Return the most requests whose last step fits the memories."""
        room = self.memory_bytes - model.weight_bytes()
        return int(room // model.request_bytes(prompt + generated - 1))


class Cost(NamedTuple):
    """Seconds and picojoules of an operation, and whether the memory bounds it."""

    seconds: float
    picojoules: float
    memory_bound: bool = True


class Generation(NamedTuple):
    """The mean step of a generation: tokens a second, ms, and mJ a token.

    Of the time: attention, projections (QKV, output, FFN), exchange, and the rest.
    """

    tokens_per_s: float
    milliseconds: float
    attention_ms: float
    projection_ms: float
    exchange_ms: float
    millijoules_per_token: float


class Tiles(NamedTuple):
    """Extents of the tiles of a product in L1 and in L2, along m and n."""

    l1: tuple[float, float]
    l2: tuple[float, float]


def moved(tile: tuple[Number, Number], op: Operation) -> float:
    """Return elements that go in and out where tiles of a size are kept, all products."""
    m, n, k = op.m, op.n, op.k
    rows, columns = ceil(m / tile[0]), ceil(n / tile[1])
    return float((columns * m * k + rows * n * k + m * n) * op.number)


def first_least(
    cost: np.ndarray, fits: np.ndarray, m: np.ndarray, n: np.ndarray
) -> tuple[float, float]:
    """Return the first tile of least cost of those that fit."""
    best = int(np.argmin(np.where(fits, cost, np.inf)))
    return float(m[best]), float(n[best])


def grid(m: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs, the second changing first."""
    return np.repeat(m, len(n)), np.tile(n, len(m))


def cores_used(gpu: Gpu, blocks: Number) -> float:
    """Return the part of the cores that blocks keep busy, in whole waves."""
    return float(blocks / (ceil(blocks / gpu.cores) * gpu.cores))


@cache
def tiles(gpu: Gpu, op: Operation, value_bytes: int) -> Tiles:
    """Return the tiles of a product.

    In L1 the traffic counts over the square of the cores used; in L2 the traffic alone, with an
    inner extent of a 64th of k. quirk: L2's tile is taken for one product, L1's for all; and one
    that is no larger than L1's need not fit.
    """
    m, n, k = float(op.m), float(op.n), float(op.k)
    tall, wide = grid(np.minimum(TILES, m), np.minimum(TILES, n))
    rows, columns = np.ceil(m / tall), np.ceil(n / wide)
    traffic = (columns * m * k + rows * n * k + m * n) * value_bytes * op.number
    blocks = (
        rows * columns * op.number if op.kind is Kind.PROJECTION else np.array(float(op.number))
    )
    used = blocks / (np.ceil(blocks / gpu.cores) * gpu.cores)
    held = ((tall + wide) * INNER_TILE + tall * wide) * value_bytes
    l1 = first_least(traffic * (1 / used) ** 2, held <= gpu.l1_bytes, tall, wide)

    def multiples(size: float, extent: float) -> np.ndarray:
        return np.append(size * np.arange(1, int(extent / size) + 1), extent)

    tall, wide = grid(multiples(l1[0], m), multiples(l1[1], n))
    traffic = np.ceil(m / tall) * n * k + np.ceil(n / wide) * m * k + m * n
    held = ((tall + wide) * (k / 64) + tall * wide) * value_bytes
    fits = (held <= gpu.l2_bytes) | ((tall == l1[0]) & (wide == l1[1]))
    return Tiles(l1, first_least(traffic, fits, tall, wide))


def on_gpu(gpu: Gpu, gpus: int, op: Operation, value_bytes: int) -> Cost:
    """Return what an operation takes on each of the GPUs, and the energy of all."""
    if op.kind is Kind.ALL_REDUCE:
        return all_reduce(gpu, gpus, op, value_bytes)
    bytes_moved, register_pj, blocks = traffic_of(gpu, op, value_bytes)
    used = cores_used(gpu, blocks)
    # quirk: activations, norms and softmax have as many blocks as products: mostly one core of all.
    compute_s = op.flops / (gpu.flops * COMPUTE_USED * used * (2 // value_bytes))
    off_chip = bytes_moved[0]
    relative = 1555e9 / gpu.memory_bytes_per_s  # the fits are of an A100's 1,555 GB/s
    match op.kind:
        case Kind.ACTIVATION:
            memory_s = (0.000000447 * relative * off_chip + 8.29) / 1e6
        case Kind.NORM:
            memory_s = (0.0000016 * relative * off_chip + 6.87) / 1e6
        case _:
            memory_s = off_chip / (gpu.memory_bytes_per_s * MEMORY_USED * used)
    energy = sum(size * pj for size, pj in zip(bytes_moved, (DRAM_PJ, L2_PJ, L1_PJ), strict=True))
    energy += register_pj + op.flops / 2 * MULTIPLY_ADD_PJ
    return Cost(max(compute_s, memory_s), energy * gpus, compute_s <= memory_s)


def traffic_of(
    gpu: Gpu, op: Operation, value_bytes: int
) -> tuple[tuple[float, float, float], float, Number]:
    """Return bytes of DRAM, L2 and L1, pJ of registers, and blocks of an operation."""
    if op.kind not in (Kind.PROJECTION, Kind.ATTENTION):
        size = float(op.arrays * op.elements * value_bytes)
        return (size, size, size), size * REGISTER_PJ, op.number
    tile = tiles(gpu, op, value_bytes)
    sizes = (tile.l2, tile.l1, (REGISTER_TILE, REGISTER_TILE))
    dram, l2, l1 = (moved(size, op) * value_bytes for size in sizes)
    blocks = ceil(op.m / tile.l1[0]) * ceil(op.n / tile.l1[1]) * op.number
    # quirk: registers are counted for one of the products, and values, not bytes.
    register_pj = float(3 * op.m * op.n * op.k) * REGISTER_PJ
    return (dram, l2, l1), register_pj, blocks if op.kind is Kind.PROJECTION else op.number


def all_reduce(gpu: Gpu, gpus: int, op: Operation, value_bytes: int) -> Cost:
    """Return the exchange of partial sums, by a fit of an A100's link.

    quirk: n - 1 steps of a part each, which is a reduce-scatter or an all-gather, not both; energy
    as if each GPU sent all once.
    """
    size = float(op.elements * value_bytes)
    part = size / gpus
    step_ns = 6060 + 0.009 * part * (600e9 / gpu.link_bytes_per_s)
    step_s = max(step_ns * 1e-9, part / (gpu.link_bytes_per_s / 2))
    return Cost(step_s * (gpus - 1), gpus * size * LINK_PJ)


def on_attacc(unit: AttAcc, op: Operation, value_bytes: int, memory: Attended) -> Cost:
    """Return what attention, its softmax or a transfer takes on each AttAcc, and all energy."""
    size = float(op.elements * value_bytes)
    match op.kind:
        case Kind.TO_MEMORY:
            return Cost(size / (unit.link_bytes_per_s / 2), size * LINK_PJ * unit.number)
        case Kind.SOFTMAX:
            bandwidth = unit.stack_bytes_per_s * unit.stacks
            flops = bandwidth * (2 // value_bytes)  # quirk: as many flops as bytes
            seconds = max(op.flops / flops, 2 * size / bandwidth)
            energy = 2 * size * SRAM_PJ + op.flops / 2 * MULTIPLY_ADD_PJ
            return Cost(seconds, energy * unit.number)
        case Kind.ATTENTION if op.name == "score":
            return all_attention(unit, op, memory)
        case _:
            return Cost(0.0, 0.0)  # the output of attention is in the cycles of the score


def all_attention(unit: AttAcc, op: Operation, memory: Attended) -> Cost:
    """Return score, softmax and output, of the memory's cycles and commands.

    quirk: of the multiply-adds only those of the score take energy; and what moves takes pJ a byte
    of the pJ a bit of its path, where cells have eight times as many.
    """
    context, heads = int(op.n), ceil(op.number / unit.stacks)
    issued = memory.commands(context, heads)
    moved_columns = issued.queries + issued.moves
    in_memory = issued.multiplications * unit.columns_at_once * CELL_PJ[unit.level]
    paths = issued.queries * INTERPOSER + moved_columns * (TSV + TO_IO + TO_GROUP)
    energy = (in_memory + paths) * COLUMN_BYTES * unit.stacks
    energy += op.flops / 2 * MULTIPLY_ADD_PJ
    return Cost(memory.cycles(context, heads) * TICK_S, energy * unit.number)


def layer(model: Model, gpus: int, batch: int, context: int, *, apart: bool) -> list[Operation]:
    """Return the operations of a layer for one token a request; apart: attention on AttAcc."""
    hidden, share, kind = model.hidden, model.hidden // gpus, Kind
    heads = model.heads // gpus * batch
    ffn = model.ffn_scale * share
    glu = model.activation == "glu"
    work = {"gelu": 8, "relu": 1, "glu": 9}[model.activation]
    transfers = [
        Operation("x2g", kind.TO_MEMORY, batch, 3 * share),
        Operation("x2g", kind.TO_MEMORY, 1, model.head_dim, number=heads),
    ]
    attention = [
        Operation("score", kind.ATTENTION, 1, context, model.head_dim, heads),
        Operation("softmax", kind.SOFTMAX, 1, context, number=heads, work=5),
        Operation("context", kind.ATTENTION, 1, model.head_dim, context, heads),
    ]
    closing = [
        Operation("g2g", kind.ALL_REDUCE, batch, hidden),
        Operation("norm", kind.NORM, batch, hidden, work=5),
    ]
    return [
        Operation("qkv", kind.PROJECTION, batch, 3 * share, hidden),
        *(transfers if apart else []),
        *attention,
        Operation("proj", kind.PROJECTION, batch, hidden, share),
        *closing,
        *[Operation("ff", kind.PROJECTION, batch, ffn, hidden)] * (2 if glu else 1),
        Operation(model.activation, kind.ACTIVATION, batch, ffn, work=work),
        Operation("ff", kind.PROJECTION, batch, hidden, ffn),
        *closing,
    ]


def pipelined(times: Mapping[str, float], ratio: float, *, heads: bool) -> dict[str, float]:
    """Return the times by name with what overlaps taken off.

    ratio: of one head to all of a GPU, the part that cannot overlap. heads: projections overlap
    too, not only transfers. quirk: softmax, which the cycles of attention have, hides projections
    and transfers once more before it is dropped.
    """
    found = dict(times)
    attention = times["score"] + times["context"] + times["softmax"]
    projections, transfers = times["qkv"] + times["proj"], times["x2g"]
    beside = attention * (1 - ratio)
    found["softmax"] = 0.0
    if heads and projections >= attention and projections > transfers:
        found["qkv"] -= beside * 3 / 4
        found["proj"] -= beside / 4
    elif heads:
        found |= {name: times[name] * ratio for name in ("qkv", "proj")}
    longest = max(attention, projections) if heads else attention
    found["x2g"] = transfers * ratio if longest > transfers else transfers - beside
    return found


def shared(cost: Cost, system: System, unit: AttAcc, batch: int, value_bytes: int) -> float:
    """Return the seconds of a projection of which AttAcc takes a part, both as long.

    quirk: its units then have the whole of their bandwidth, though they read weights again for
    every request.
    """
    bandwidth = unit.stack_bytes_per_s * unit.stacks * unit.bandwidth_scale
    own = system.gpu.memory_bytes_per_s
    if cost.memory_bound:
        return cost.seconds * own / (own + bandwidth / batch)
    # quirk: the GPU's flops of an INT8 model are not doubled here.
    flops = bandwidth / value_bytes * 2
    return cost.seconds * system.gpu.flops / (system.gpu.flops + flops)


def step(
    system: System, model: Model, batch: int, context: int, memory: Attended | None
) -> tuple[dict[str, float], float]:
    """Return seconds by name, and picojoules, of a layer for one token a request."""
    unit, size = system.attacc, model.value_bytes
    times: dict[str, float] = {}
    energy = 0.0
    for op in layer(model, system.gpus, batch, context, apart=unit is not None):
        if unit and memory and op.kind in (Kind.ATTENTION, Kind.SOFTMAX, Kind.TO_MEMORY):
            cost = on_attacc(unit, op, size, memory)
        else:
            cost = on_gpu(system.gpu, system.gpus, op, size)
        seconds = cost.seconds
        if unit and system.shared_ffn and op.name == "ff":
            seconds = shared(cost, system, unit, batch, size)
        times[op.name] = times.get(op.name, 0.0) + seconds
        energy += cost.picojoules
    if unit:
        times = pipelined(times, system.gpus / model.heads, heads=system.head_pipeline)
    return times, energy


def generate(
    system: System,
    model: Model,
    prompt: int,
    generated: int,
    batch: int,
    memory: Attended | None = None,
) -> Generation:
    """Generate tokens for a batch of equal prompts; the prompt itself is not in the time.

    memory: of a system with AttAcc. Raises ValueError where only one of the two is given, and for
    fewer than two tokens: the first comes with the prompt.
    """
    if (system.attacc is None) != (memory is None):
        raise ValueError("AttAcc and what attention takes on it go together")
    if generated < 2:
        raise ValueError(f"generated must be >= 2, got {generated}")
    steps = range(prompt + 1, prompt + generated)
    times: dict[str, float] = {}
    energy = 0.0
    for context in steps:
        of_step, spent = step(system, model, batch, context, memory)
        energy += spent
        for name, seconds in of_step.items():
            times[name] = times.get(name, 0.0) + seconds

    def ms(names: Iterable[str]) -> float:
        total = sum(times.get(name, 0.0) for name in names)
        return total / len(steps) * model.layers * 1e3

    whole = ms(times)
    return Generation(
        tokens_per_s=batch / whole * 1e3,
        milliseconds=whole,
        attention_ms=ms(("score", "context")),
        projection_ms=ms(("qkv", "proj", "ff")),
        exchange_ms=ms(("g2g", "x2g")),
        millijoules_per_token=energy / len(steps) * model.layers / batch / 1e9,
    )
