"""What BitMoD's released simulator computes, in both its versions, quirks included.

Re-implemented from its behaviour (abdelfattah-lab/BitMoD-HPCA-25, bitmod_sim/): the paper's version
is commit a902a09, HEAD is e445a5f (July 2025). It is analytical: a product takes the longer of its
compute and its DRAM time, without fill, drain, stalls or dequantisation. What only one version
does, or what one would not expect, is a `Quirk` of it, so that its effect can be measured.

All clocks are 1 GHz. Cycles and DRAM energy are integers (cycles, pJ) and exact; on-chip energy is
a float. Left out as in the original: vector operations, softmax, norms, the KV append, leakage.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

from simulator.api import load_model
from simulator.workload import Model

HERE = Path(__file__).parent
#: In the order of the paper's figures.
MODELS = ("opt-1.3b", "phi-2", "yi-6b", "llama-2-7b", "llama-2-13b", "llama-3-8b")

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")
#: The paper's tasks: prefill alone, and prefill with some decode steps at the same context.
TASKS = ("discriminative", "generative")
CONTEXT = 256
DECODE_STEPS = 20

ACTIVATION_BITS = 16
BUFFER_BYTES = 512 * 1024
BUS_BYTES_PER_CYCLE = 32
"""A DDR bus of 128 bits: 256 bits a cycle."""
DRAM_PJ_PER_BYTE = 150
"""2,400 pJ for each 128 bits, 18.75 pJ a bit."""
PLACE_AND_ROUTE = 1.5
"""Factor on the energy of a PE; the printed area of the array is without it."""
WRITE_BITS = 64
"""Buffers are written in words of 64 bits."""


class Sram(NamedTuple):
    """A buffer of 512 KiB: access width, energy of one access of that width, and area."""

    width_bits: int
    read_pj: float
    write_pj: float
    area_mm2: float

    @property
    def word_pj(self) -> float:
        """Energy of writing one word of `WRITE_BITS`: its share of a full-width write."""
        return self.write_pj * WRITE_BITS / self.width_bits


#: By access width. CACTI 7 (28 nm, itrs-hp), 8 banks of 64 KiB, one read and one write port, run
#: with the released configuration.
SRAM = {
    sram.width_bits: sram
    for sram in (
        Sram(128, 60.12992, 37.16792, 1.427944),
        Sram(144, 61.54176, 38.45888, 1.435552),
        Sram(192, 66.57808, 43.3184, 1.529144),
        Sram(256, 70.0928, 51.71784, 1.48456),
        Sram(288, 72.59616, 54.1192, 1.500336),
        Sram(384, 82.8304, 64.04792, 1.590344),
        Sram(512, 92.7944, 83.3536, 1.601896),
        Sram(576, 107.696, 89.3432, 1.43136),
        Sram(1024, 138.4416, 156.0904, 1.570672),
    )
}


@dataclass(frozen=True)
class Accelerator:
    """An output-stationary array: PEs that take `products` weights each, rows x columns by phase.

    Rows hold output channels, columns tokens. A bit-serial PE needs a cycle for each term of its
    stationary operand, one for two bits; any other takes one cycle.
    """

    pe_pj: float
    pe_um2: float
    array: Mapping[Phase, tuple[int, int]]
    products: int = 1
    bit_serial: bool = False

    @property
    def pes(self) -> int:
        """PEs of the array, the same in both phases."""
        rows, columns = self.array["prefill"]
        return rows * columns

    @property
    def array_mm2(self) -> float:
        """Area of the array as printed: without buffers and without `PLACE_AND_ROUTE`."""
        return self.pe_um2 * self.pes / 1e6

    def cycles(self, bits: float) -> int:
        """Cycles of one step of the dot product, by the bits of the stationary operand."""
        return ceil(floor(bits) / 2) if self.bit_serial else 1

    def buffers(self, phase: Phase, weight_bits: float) -> tuple[Sram, Sram]:
        """Return the buffers of weights and of activations, as wide as the array's edge.

        Weights are padded to whole nibbles; a bit-serial array reads half of each operand a cycle.
        """
        rows, columns = self.array[phase]
        share = 2 if self.bit_serial else 1
        weights = self.products * 4 * ceil(weight_bits / 4) * rows // share
        return SRAM[weights], SRAM[self.products * ACTIVATION_BITS * columns // share]


_TALL: dict[Phase, tuple[int, int]] = {"prefill": (32, 32), "decode": (64, 16)}
_BITMOD = Accelerator(0.56, 1507.7, _TALL, products=4, bit_serial=True)
#: LL is BitMoD with INT6 weights (lossless), LY with FP4 or FP3 (lossy).
ACCELERATORS = {
    "fp16": Accelerator(0.77, 1968.7, {"prefill": (32, 24), "decode": (64, 12)}),
    "ant": Accelerator(0.56, 1318.6, _TALL),
    "olive": Accelerator(0.613, 1318.6, {"prefill": (36, 32), "decode": (72, 16)}),
    "bitmod_ll": _BITMOD,
    "bitmod_ly": _BITMOD,
}

Bits = Mapping[str, float]
"""Mean bits of a weight by model, scales and outliers included."""


def _all(bits: float) -> Bits:
    return dict.fromkeys(MODELS, bits)


def _each(*bits: float) -> Bits:
    return dict(zip(MODELS, bits, strict=True))


_SHARED_BITS: dict[str, dict[Phase, Bits]] = {
    "fp16": {"prefill": _all(16), "decode": _all(16)},
    "bitmod_ll": {"prefill": _all(6.0625), "decode": _all(6.0625)},
    "bitmod_ly": {"prefill": _all(4.0625), "decode": _all(3.0625)},
}
#: The paper: as many bits as match BitMoD-LY's accuracy, by phase and in decode by model.
PAPER_BITS = _SHARED_BITS | {
    "ant": {"prefill": _all(5.5), "decode": _each(5, 5, 5.25, 5, 5, 4.5)},
    "olive": {"prefill": _all(4.5), "decode": _each(3.875, 4, 4.25, 3.75, 3.75, 3.5)},
}
_HEAD_ANT, _HEAD_OLIVE = _each(5, 5, 5.25, 5, 4, 5), _each(4, 4, 4, 4, 4, 4.5)
HEAD_BITS = _SHARED_BITS | {
    "ant": {"prefill": _HEAD_ANT, "decode": _HEAD_ANT},
    "olive": {"prefill": _HEAD_OLIVE, "decode": _HEAD_OLIVE},
}


class Quirk(StrEnum):
    """What a version does that one would not expect; each can be switched off.

    - `MERGED_HEADS`: attention is one product over all heads. In prefill that is `heads` times the
      MACs of QK^T and context / head_dim times those of PV; in decode QK^T fills one row of the
      array. Off: one product for each KV head, whose query heads are its tokens.
    - `ROWS_OF_OUTPUT`: input bytes are charged for the tokens of the *output*, output bytes for the
      channels of the weights. Differs only with merged heads, where the three shapes disagree.
    - `ATTENTION_BY_WEIGHT_BITS`: in attention, cycles and buffer writes follow the bits of the
      *weights*, while DRAM moves keys and values of `kv_bits`. Off: all follow `kv_bits`.
    - `SHARED_REFETCH`: whether operands fit on chip, and so how often they are read again, is
      decided for the K (or V) of all requests and heads as if they were one matrix. Off: for each
      matrix. Differs only where there are several, so never with merged heads.
    - `FREE_WAITING`: PEs draw energy in compute cycles only (all of them, idle ones too), nothing
      while they wait for DRAM. Off: in all cycles.
    """

    MERGED_HEADS = "merged heads"
    ROWS_OF_OUTPUT = "rows of the output"
    ATTENTION_BY_WEIGHT_BITS = "attention by weight bits"
    SHARED_REFETCH = "shared refetch"
    FREE_WAITING = "free waiting"


@dataclass(frozen=True)
class Version:
    """One release: its commit, its precisions (`kv_bits` on BitMoD alone) and its quirks."""

    commit: str
    bits: Mapping[str, Mapping[Phase, Bits]]
    kv_bits: int
    quirks: frozenset[Quirk]

    def without(self, *quirks: Quirk) -> "Version":
        """Return this version with quirks switched off."""
        return replace(self, quirks=self.quirks.difference(quirks))


PAPER = Version("a902a09", PAPER_BITS, 16, frozenset(Quirk))
HEAD = Version("e445a5f", HEAD_BITS, 8, frozenset({Quirk.SHARED_REFETCH, Quirk.FREE_WAITING}))
VERSIONS = {"paper": PAPER, "HEAD": HEAD}


class Matrices(NamedTuple):
    """Equal matrices of rows x columns; columns of operands are reduced over."""

    number: int
    rows: int
    columns: int

    def units(self, bits: float, unit: int) -> int:
        """Units of `unit` bits that hold it, each row padded to whole ones."""
        return ceil(self.columns * bits / unit) * self.rows * self.number


class Product(NamedTuple):
    """A product that a step runs `repeat` times: stationary weights (or K, V), input, output."""

    repeat: int
    weight: Matrices
    input: Matrices
    output: Matrices
    is_attention: bool = False


@dataclass(frozen=True)
class Run:
    """One step of one model: prefill of the context, or one decode step. Energies in pJ."""

    compute_cycles: int
    cycles: int
    dram_pj: int
    compute_pj: float
    buffer_read_pj: float
    buffer_write_pj: float

    @property
    def dram_bytes(self) -> int:
        """Bytes from and to DRAM."""
        return self.dram_pj // DRAM_PJ_PER_BYTE

    @property
    def dram_uj(self) -> float:
        """Energy of DRAM in microjoules."""
        return self.dram_pj / 1e6

    @property
    def on_chip_uj(self) -> float:
        """Energy of PEs and buffers in microjoules."""
        return (self.compute_pj + self.buffer_read_pj + self.buffer_write_pj) / 1e6

    @property
    def total_uj(self) -> float:
        """All energy in microjoules."""
        return self.on_chip_uj + self.dram_uj


@lru_cache
def shape(model: str) -> Model:
    """Return one of `MODELS`: of the package where it has it, else of the folder models/."""
    own = HERE / "models" / f"{model}.yaml"
    return load_model(own if own.exists() else model)


def linear_products(model: Model, phase: Phase, batch: int, context: int) -> Iterator[Product]:
    """Yield projections, FFN and LM head. In prefill, requests of a batch share no tile."""
    requests, tokens = (1, batch) if phase == "decode" else (batch, context)
    hidden, kv, ffn = model.hidden, model.kv_width, model.ffn
    layer = [(hidden, hidden), (kv, hidden), (kv, hidden), (hidden, hidden)]
    layer += [(ffn, hidden)] * (2 if model.gated_ffn else 1) + [(hidden, ffn)]
    for repeat, (rows, columns) in [
        *((model.layers, size) for size in layer),
        (1, (model.vocab, hidden)),
    ]:
        yield Product(
            repeat,
            Matrices(1, rows, columns),
            Matrices(requests, tokens, columns),
            Matrices(requests, tokens, rows),
        )


def attention_products(model: Model, phase: Phase, batch: int, context: int) -> Iterator[Product]:
    """Yield QK^T and PV with K and V stationary, a product for each request and KV head.

    Prefill is not causal: all scores are computed.
    """
    count, width = batch * model.kv_heads, model.head_dim
    tokens = model.heads // model.kv_heads * (1 if phase == "decode" else context)
    for rows, columns in ((context, width), (width, context)):
        operands = Matrices(count, rows, columns), Matrices(count, tokens, columns)
        yield Product(model.layers, *operands, Matrices(count, tokens, rows), True)


def merged_attention_products(model: Model, phase: Phase, context: int) -> Iterator[Product]:
    """Yield QK^T and PV as the paper's version has them: queries, then scores, are "weights"."""
    tokens = 1 if phase == "decode" else context
    queries = Matrices(1, tokens, model.hidden)
    scores = Matrices(1, model.heads * tokens, context)
    keys = Matrices(1, context, model.kv_width)
    yield Product(model.layers, queries, keys, scores, True)
    yield Product(model.layers, scores, keys, queries, True)


def products(
    version: Version, model: Model, phase: Phase, batch: int, context: int
) -> Iterator[Product]:
    """Yield all products of a step. Raises ValueError for a batch of the paper's version."""
    yield from linear_products(model, phase, batch, context)
    if Quirk.MERGED_HEADS not in version.quirks:
        yield from attention_products(model, phase, batch, context)
        return
    if batch != 1:
        raise ValueError(f"with merged heads, batch must be 1, got {batch}")
    for product in merged_attention_products(model, phase, context):
        if Quirk.ROWS_OF_OUTPUT in version.quirks:
            tokens, channels = product.output.rows, product.weight.rows
            yield product._replace(
                input=product.input._replace(rows=tokens),
                output=product.output._replace(columns=channels),
            )
        else:
            yield product


def fetches(weight_bytes: int, input_bytes: int) -> tuple[int, int]:
    """Return how often weights and inputs are read from DRAM.

    Once each, unless neither fits its buffer: then one of them again for every buffer full of the
    other, whichever moves fewer bytes.
    """
    if weight_bytes <= BUFFER_BYTES or input_bytes <= BUFFER_BYTES:
        return 1, 1
    of_weights, of_inputs = ceil(input_bytes / BUFFER_BYTES), ceil(weight_bytes / BUFFER_BYTES)
    if of_weights * weight_bytes + input_bytes < of_inputs * input_bytes + weight_bytes:
        return of_weights, 1
    return 1, of_inputs


class Counts(NamedTuple):
    """What a product, or a step, takes: cycles, DRAM bytes, array steps, words written."""

    compute_cycles: int
    cycles: int
    dram_bytes: int
    steps: int
    weight_words: int
    activation_words: int


def counts(
    version: Version, unit: Accelerator, phase: Phase, weight_bits: float, product: Product
) -> Counts:
    """Count one product over all its repeats, each from DRAM to DRAM, compute beside transfers."""
    repeat, weight, given, made, is_attention = product
    kv_bits = version.kv_bits if unit.bit_serial else ACTIVATION_BITS
    moved_bits = kv_bits if is_attention else weight_bits
    unit_bits = weight_bits if Quirk.ATTENTION_BY_WEIGHT_BITS in version.quirks else moved_bits

    weight_bytes, given_bytes = weight.units(moved_bits, 8), given.units(ACTIVATION_BITS, 8)
    alike = 1 if Quirk.SHARED_REFETCH in version.quirks else weight.number
    of_weights, of_inputs = fetches(weight_bytes // alike, given_bytes // alike)
    moved = weight_bytes * of_weights + given_bytes * of_inputs + made.units(ACTIVATION_BITS, 8)

    rows, columns = unit.array[phase]
    tiles = made.number * ceil(weight.rows / rows) * ceil(made.rows / columns)
    steps = tiles * ceil(weight.columns / unit.products)
    busy = steps * unit.cycles(unit_bits)
    words = given.units(ACTIVATION_BITS, WRITE_BITS) * of_inputs
    one = (
        busy,
        max(busy, moved // BUS_BYTES_PER_CYCLE),
        moved,
        steps,
        weight.units(unit_bits, WRITE_BITS) * of_weights,
        words + made.units(ACTIVATION_BITS, WRITE_BITS),
    )
    return Counts(*(repeat * count for count in one))


def run(
    version: Version,
    accelerator: str,
    model: str,
    phase: Phase,
    *,
    batch: int = 1,
    context: int = CONTEXT,
) -> Run:
    """Return what a version computes for one step of a model. Raises ValueError as `products`.

    Buffers are read once, at full width, for each step of a tile's dot product, however many cycles
    that takes.
    """
    unit, weight_bits = ACCELERATORS[accelerator], version.bits[accelerator][phase][model]
    parts = [
        counts(version, unit, phase, weight_bits, product)
        for product in products(version, shape(model), phase, batch, context)
    ]
    total = Counts(*map(sum, zip(*parts, strict=True)))
    drawing = total.compute_cycles if Quirk.FREE_WAITING in version.quirks else total.cycles
    weights, activations = unit.buffers(phase, weight_bits)
    return Run(
        compute_cycles=total.compute_cycles,
        cycles=total.cycles,
        dram_pj=total.dram_bytes * DRAM_PJ_PER_BYTE,
        compute_pj=unit.pe_pj * PLACE_AND_ROUTE * unit.pes * drawing,
        buffer_read_pj=total.steps * (weights.read_pj + activations.read_pj),
        buffer_write_pj=total.weight_words * weights.word_pj
        + total.activation_words * activations.word_pj,
    )


Totals = Mapping[str, list[tuple[float, float]]]
"""Cycles and microjoules of each task, model by model."""


def task_totals(
    version: Version, accelerator: str, decode_steps: int = DECODE_STEPS
) -> dict[str, list[tuple[float, float]]]:
    """Return cycles and microjoules of each task, model by model. Every decode step is the same."""
    found: dict[str, list[tuple[float, float]]] = {task: [] for task in TASKS}
    for model in MODELS:
        prefill, decode = (run(version, accelerator, model, phase) for phase in PHASES)
        for task, steps in zip(TASKS, (0, decode_steps), strict=True):
            cycles = prefill.cycles + steps * decode.cycles
            found[task].append((cycles, prefill.total_uj + steps * decode.total_uj))
    return found


def gains(
    version: Version,
    *,
    decode_steps: int = DECODE_STEPS,
    mean: Callable[[list[float]], float] = fmean,
) -> dict[str, float]:
    """Return the headline gains of a version: `gains_of` its totals."""
    totals = {name: task_totals(version, name, decode_steps) for name in ACCELERATORS}
    return gains_of(totals, mean)


def gains_of(
    totals: Mapping[str, Totals], mean: Callable[[list[float]], float] = fmean
) -> dict[str, float]:
    """Return the headline gains by key `speed|energy.TASK.ACCELERATOR[/BASELINE]`, FP16 the base.

    As in the released notebooks: a speed-up is the mean over the models of FP16's cycles over its
    own (the label there says "Geo Mean", the code is arithmetic), an energy gain the reciprocal of
    the mean of its energy over FP16's; BitMoD-LY over ANT or OliVe is the ratio of those means.
    `average` stands for the arithmetic mean of the two tasks' gains.
    """
    base = totals["fp16"]
    found: dict[str, float] = {}
    for name, own in totals.items():
        for task in TASKS:
            pairs = list(zip(own[task], base[task], strict=True))
            found[f"speed.{task}.{name}"] = mean([b[0] / o[0] for o, b in pairs])
            found[f"energy.{task}.{name}"] = 1 / mean([o[1] / b[1] for o, b in pairs])
    for kind in ("speed", "energy"):
        for task in TASKS:
            for name in ("ant", "olive"):
                over = found[f"{kind}.{task}.bitmod_ly"] / found[f"{kind}.{task}.{name}"]
                found[f"{kind}.{task}.bitmod_ly/{name}"] = over
        for name in (*ACCELERATORS, "bitmod_ly/ant", "bitmod_ly/olive"):
            both = (found[f"{kind}.{task}.{name}"] for task in TASKS)
            found[f"{kind}.average.{name}"] = fmean(both)
    return found
