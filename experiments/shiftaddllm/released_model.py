"""ShiftAddLLM's released energy model, as its scripts compute it, quirks included.

Source: GATECH-EIC/ShiftAddLLM @1053837, `energy/shiftaddllm_energy.py` (what a layer consists of)
and `energy/hw_utils.py` (what an operation costs), read and written anew. One token at batch 1: the
linear layers, their biases and the head; no attention, no norms, no KV cache.

Every operation is a product of (batch, inputs) and (inputs, outputs) on an array like Eyeriss:
DRAM, a buffer, a network and register files, words of 16 bits. Batch, outputs and inputs are split
into factors over these levels. All splits are tried; of those that fit, the first with the least
(energy - least) / largest energy + (latency - least) / largest latency is taken.

Exact: every rule and unit energy, in double precision. Nothing is fitted. Left out: convolutions,
32-bit operands, the models that the table does not have, and the bound on weights in a register
file, which the others imply (16 outputs x 11 inputs of 959 words).

What of it is not as in hardware ("quirk"), each with its effect:

1. The codes of LUT-GEMM and ShiftAddLLM are never read: look-ups are on chip. `codes_mj` says what
   reading them once costs: on OPT-6.7B 242 mJ at 3 bits, more than the 235 that are charged.
2. Looked-up values come from DRAM instead, as inputs of the scaling step: `looked_up_mj`, 101 of
   the 235 mJ.
3. The bits of the weights scale activations and results too: in GPTQ all words have 3 bits (inputs
   from registers at 16 bits would cost 19 mJ more, of 399).
4. Options are dropped from the list that is being walked, so that each drop skips the next option:
   with weights below 16 bits some splits with 17 to 32 outputs in a register file remain (0.5 mJ of
   GPTQ's 399).
5. Bounds are strict, but that of outputs in a register file: 191 of 192 elements, 11 of 12 words
   (up to 27 % of time, at most 0.1 % of energy). Below 16 bits memories hold twice as many words,
   and there are four times as many elements.
6. A word of a shift has (16 + 5) // 2 = 10 bits, and its cycles are 32 / 10 times shorter.
7. Additions, look-ups and products by element pay for partial sums and registers, not for DRAM,
   buffer or network.
8. Building a table multiplies: 8 products a group of 8 inputs.
9. Latency is printed as ms; by its size it is seconds.
10. The least sum of both normalised terms is not the least energy: splits that cost 9 mJ less for
    ShiftAddLLM on OPT-6.7B, at 56 times the time, are passed over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: pJ of an operation on 16 bits by its kind.
COMPUTE_PJ = {"FC": 1.1, "Mult": 1.1, "Add": 0.4, "Shift": 0.15, "LUT": 0.37}
#: pJ of a word of 16 bits by the level that it crosses.
DRAM, BUFFER, NETWORK, PARTIAL_SUMS, REGISTERS, WEIGHT_REGISTERS = 200.0, 22.2, 7.4, 3.7, 3.7, 7.4
#: Kinds without DRAM, buffer and network (quirk 7).
ON_CHIP = ("Add", "Mult", "LUT")
SHIFT_BITS = (16 + 5) // 2  # quirk 6
CLOCK_HZ = 250e6
MJ_PER_PJ = 1e-9
#: Activations behind one table.
GROUP = 8
PARTS = ("FP_Mult", "FP_Add", "FP_Shift", "LUT-Build", "LookUp")


@dataclass(frozen=True)
class Model:
    """Sizes of a model; `gated` for a feed-forward of three products and no biases (LLaMA)."""

    width: int
    layers: int
    feed_forward: int
    vocabulary: int
    gated: bool = False

    def linear(self) -> list[tuple[int, int]]:
        """Return (inputs, outputs) of a layer's products: Q, K, V, output, feed-forward."""
        up = [(self.width, self.feed_forward)] * (2 if self.gated else 1)
        return [(self.width, self.width)] * 4 + up + [(self.feed_forward, self.width)]


MODELS = {
    "opt-125m": Model(768, 12, 3072, 50272),
    "opt-1.3b": Model(2048, 24, 8192, 50272),
    "opt-6.7b": Model(4096, 32, 16384, 50272),
    "llama2-7b": Model(4096, 32, 11008, 32000, gated=True),
}


@dataclass(frozen=True)
class Op:
    """A product of (batch, inputs) and (inputs, outputs); `part` is its line of the breakdown."""

    part: str
    kind: str
    inputs: int
    outputs: int
    bits: int = 16
    batch: int = 1


@dataclass(frozen=True)
class Cost:
    """What a token costs: seconds, and mJ by part."""

    latency_s: float
    parts_mj: dict[str, float]

    @property
    def energy_mj(self) -> float:
        """All of it."""
        return sum(self.parts_mj.values())


def product(inputs: int, outputs: int, bits: int, method: str) -> list[Op]:
    """Return the operations of one linear layer."""
    if method in ("fp", "gptq"):
        return [
            Op("FP_Mult", "FC", inputs, outputs, bits),
            Op("FP_Add", "Add", inputs, outputs),
        ]
    tables = inputs // GROUP
    scale = ("FP_Shift", "Shift") if method == "shiftaddllm" else ("FP_Mult", "FC")
    return [
        Op("LUT-Build", "FC", GROUP, 1, batch=tables),  # quirk 8
        Op("LUT-Build", "Add", GROUP, 1, batch=tables),
        Op("LUT-Build", "Add", 1, 255, batch=tables),
        Op("LookUp", "LUT", outputs, bits, batch=tables),  # quirk 1
        Op(*scale, outputs, bits, batch=tables),  # quirk 2
        Op("FP_Add", "Add", tables, outputs),
    ]


def weight_bits(model: Model, bits: int | None) -> list[int]:
    """Return bits of each product of a layer; None is the mix: 3 for two of the first, else 2."""
    count = len(model.linear())
    return [2, 2, 3, 3] + [2] * (count - 4) if bits is None else [bits] * count


def layer(model: Model, method: str, bits: int | None) -> list[Op]:
    """Return the operations of one decoder layer."""
    ops = [
        op
        for (inputs, outputs), width in zip(model.linear(), weight_bits(model, bits), strict=True)
        for op in product(inputs, outputs, width, method)
    ]
    if model.gated:
        return [*ops, Op("FP_Mult", "Mult", model.feed_forward, 1)]
    biases = [model.width] * 5 + [4 * model.width]
    return ops + [Op("FP_Add", "Add", size, 1) for size in biases]


def token(model: Model, method: str, bits: int | None) -> Cost:
    """Return what one token costs: all layers, and a head of 16 bits with every method."""
    head = product(model.width, model.vocabulary, 16, "fp")
    parts, latency = dict.fromkeys(PARTS, 0.0), 0.0
    for times, ops in ((model.layers, layer(model, method, bits)), (1, head)):
        for op in ops:
            energy, seconds = best(op)
            parts[op.part] += times * energy
            latency += times * seconds
    return Cost(latency, parts)


def codes_mj(model: Model, bits: int | None) -> float:
    """Return mJ of reading each weight of the layers once from DRAM in its bits (quirk 1)."""
    sizes = zip(model.linear(), weight_bits(model, bits), strict=True)
    read = sum(inputs * outputs * width for (inputs, outputs), width in sizes)
    return model.layers * read / 16 * DRAM * MJ_PER_PJ


def looked_up_mj(model: Model, method: str) -> float:
    """Return mJ of reading the looked-up values of all layers from DRAM (quirk 2)."""
    words = model.layers * sum(inputs // GROUP * outputs for inputs, outputs in model.linear())
    bits = SHIFT_BITS if method == "shiftaddllm" else 16
    return words * bits / 16 * DRAM * MJ_PER_PJ


@lru_cache(maxsize=1024)
def best(op: Op) -> tuple[float, float]:
    """Return mJ and seconds of an operation in the split that the search takes."""
    batch, outputs, inputs = splits(op)
    energy = energy_mj(op, batch, outputs, inputs)
    seconds = latency_s(op, batch, outputs, inputs)
    fits = valid(op, batch, outputs, inputs)
    energy, seconds = energy[fits], seconds[fits]
    score = (energy - energy.min()) / energy.max() + (seconds - seconds.min()) / seconds.max()
    chosen = int(score.argmin())
    return float(energy[chosen]), float(seconds[chosen])


Factors = tuple[NDArray[np.float64], ...]


def splits(op: Op) -> tuple[Factors, Factors, Factors]:
    """Return the factors of all splits in the search's order: axes are batch, outputs, inputs.

    Batch has factors (0, 3), outputs 0 to 3, inputs 0 to 2: 0 is in a register file, 1 over the
    elements, 2 over time in the buffer, 3 in DRAM.
    """
    batch = factorisations(op.batch, 2)
    outputs = walked(factorisations(op.outputs, 4))
    inputs = [split[:3] for split in factorisations(op.inputs, 4) if split[3] == 1]
    axes = []
    for place, found in enumerate((batch, outputs, inputs)):
        shape = [1, 1, 1]
        shape[place] = len(found)
        axes.append(tuple(column.reshape(shape) for column in np.array(found, dtype=float).T))
    return axes[0], axes[1], axes[2]


def walked(options: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Drop splits with more than 16 outputs in a register file, and skip the next (quirk 4)."""
    kept, skip = [], False
    for option in options:
        drop = option[0] > 16 and not skip
        if not drop:
            kept.append(option)
        skip = drop
    return kept


@lru_cache(maxsize=4096)
def factorisations(number: int, parts: int) -> tuple[tuple[int, ...], ...]:
    """Return all ordered ways to write a number as a product of `parts` factors."""
    if parts == 1:
        return ((number,),)
    return tuple(
        (first, *rest)
        for first in divisors(number)
        for rest in factorisations(number // first, parts - 1)
    )


def divisors(number: int) -> list[int]:
    """Return all divisors, those with the smallest prime as often as possible first."""
    found = [1]
    for prime in reversed(primes(number)):
        found = list(dict.fromkeys([prime * d for d in found] + found))
    return found


def primes(number: int) -> list[int]:
    """Return the prime factors, ascending."""
    found, prime = [], 2
    while prime <= math.isqrt(number):
        if number % prime:
            prime += 1
        else:
            found.append(prime)
            number //= prime
    return found + [number] * (number > 1)


def valid(op: Op, batch: Factors, outputs: Factors, inputs: Factors) -> NDArray[np.bool_]:
    """Return which splits fit register files, elements and buffer (quirk 5)."""
    words, elements = (1, 1) if op.bits >= 16 else (2, 4)
    m0, m1, m2, _ = outputs
    c0, c1, _ = inputs
    return (
        (m0 <= 16 * words)
        & (m1 * c1 < 16 * 12 * elements)
        & (c0 < 12 * words)
        & (batch[0] * (c1 * c0 + m2 * m1 * m0) < 65536 * words)
    )


def energy_mj(op: Op, batch: Factors, outputs: Factors, inputs: Factors) -> NDArray[np.float64]:
    """Return mJ of every split: operations, and words across each level."""
    n0, n3 = batch
    m0, m1, m2, m3 = outputs
    c0, c1, c2 = inputs
    read, weights, written = (
        op.batch * op.inputs,
        op.inputs * op.outputs,
        op.batch * op.outputs,
    )
    partial = np.maximum(c2 * (c1 - 1), 1) * written * PARTIAL_SUMS
    registers = m0 * m1 * m2 * m3 * read + np.maximum(2 * c2 * c1 * (c0 - 1), 1) * written
    words = partial + registers * REGISTERS + n0 * n3 * weights * WEIGHT_REGISTERS
    if op.kind not in ON_CHIP:
        dram = m3 * read + n3 * weights + written
        buffer = m3 * m2 * read + np.maximum(2 * (c2 - 1), 1) * written
        network = m3 * m2 * m1 * read + n3 * weights
        words = words + dram * DRAM + buffer * BUFFER + network * NETWORK
    bits = SHIFT_BITS if op.kind == "Shift" else op.bits  # quirk 3
    compute = op.batch * weights * COMPUTE_PJ[op.kind]
    return np.asarray((compute + words * bits / 16) * MJ_PER_PJ)


def latency_s(op: Op, batch: Factors, outputs: Factors, inputs: Factors) -> NDArray[np.float64]:
    """Return seconds of every split: what is not spread over the elements, one after the other."""
    n0, n3 = batch
    m0, _, m2, m3 = outputs
    c0, _, c2 = inputs
    cycle = 1 / CLOCK_HZ
    if op.kind == "Shift":
        cycle *= SHIFT_BITS / 32
    return np.asarray(n0 * n3 * m0 * m2 * m3 * c0 * c2 * cycle)
