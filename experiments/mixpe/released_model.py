"""What MixPE's released simulator computes, again: cycles and energies of 4 models on 6 devices.

Source: github yuzhang712/mixpe_simulator @7e0d42c, a fork of ANT's fork of the BitFusion simulator.
Read for its behaviour, written anew. A layer is a product of `batch` rows (or a convolution, as its
im2col product); an output-stationary array runs it tile by tile; the tiling and the loop order are
the best of all tilings in powers of two and all 120 orders: fewest cycles, then least energy.

Exact: every count is an integer. Energies are sums of doubles in nJ. Every quirk of the released
code is kept and named where it stands ("quirk:"). Left out: everything it leaves out (attention,
LM head, norms, any time to fill the array).
"""

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from functools import cache
from itertools import permutations
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

BATCH = 64
BUS_BITS = 1024
"""DRAM bits a cycle, reads and writes together."""
OUTPUT_BITS = 16
HERTZ = 500e6
#: Bits of each buffer that tiles may fill: half, the other half loads (128, 256, 128 KiB in all).
HALF_BUFFER = {"weight": 128 * 1024 * 8 // 2, "input": 256 * 1024 * 8 // 2}
HALF_BUFFER["output"] = HALF_BUFFER["weight"]

#: Which operand changes with which loop: batch, width, height, inner, outer.
DEPENDS = {
    "input": np.array([True, True, True, True, False]),
    "weight": np.array([False, False, False, True, True]),
    "output": np.array([True, True, True, False, True]),
}
#: Loop orders, innermost first. Width and height have equal trip counts and dependences, so an
#: order that only swaps the two computes the same: 60 of the 120 are enough.
ORDERS = np.array([o for o in permutations(range(5)) if o.index(1) < o.index(2)])

# SRAM, nJ a bit: CACTI at 28 nm for one bank (ANT's cacti_sweep.csv, MixPE's sweep.cfg.out).
# quirk: banks and widths are fixed (32 banks of 512 bits; 1024 of 32 bits), whatever the array is.
WEIGHT_READ, WEIGHT_WRITE = 0.0168924 / 512, 0.0203422 / 512  # 4 KiB bank
INPUT_READ, INPUT_WRITE = 0.0177688 / 512, 0.0248866 / 512  # 8 KiB bank
OUTPUT_READ, OUTPUT_WRITE = 0.000294945 / 32, 0.000415925 / 32  # 128 B bank
# DRAM: (read, write) in nJ a bit and static nJ a cycle.
DRAM_READ, DRAM_WRITE, DRAM_STATIC = 0.644304 / 1024, 0.784104 / 1024, 484.615 / 500
# quirk: the search breaks ties with another DRAM, of ANT's ancestor; reports use the one above.
TIE_READ, TIE_WRITE = 1.18294 / 1024, 1.47797 / 1024


@dataclass(frozen=True)
class Bits:
    """Widths of activations and weights."""

    activation: int
    weight: int


@dataclass(frozen=True)
class Array:
    """An output-stationary array: rows take batch, columns take outputs; power a PE in nW.

    Each axis is `widest // bits` times as long for operands of fewer bits, down to `narrowest`.
    """

    rows: int
    columns: int
    widest: int
    narrowest: int
    leak_nw: int
    dynamic_nw: int

    def lanes(self, bits: int) -> int:
        """How many operands of this width a PE takes along one axis."""
        return self.widest // max(bits, self.narrowest)

    @property
    def leak(self) -> float:
        """Core leakage in nJ a cycle."""
        return self.leak_nw * self.rows * self.columns / HERTZ

    @property
    def dynamic(self) -> float:
        """Core energy of a busy cycle in nJ; quirk: the same at any operand width and use."""
        return self.dynamic_nw * self.rows * self.columns / HERTZ


@dataclass(frozen=True)
class Layer:
    """A product (inner x outer weights); with `side` > 1 a convolution of side x side outputs."""

    inner: int
    outer: int
    bits: Bits
    kernel: int = 1
    side: int = 1


@dataclass(frozen=True)
class Counts:
    """Cycles and bits moved: DRAM, and each buffer written and read."""

    cycles: int = 0
    stalls: int = 0
    dram_read: int = 0
    dram_write: int = 0
    weight_read: int = 0
    weight_write: int = 0
    input_read: int = 0
    input_write: int = 0
    output_read: int = 0
    output_write: int = 0

    def plus(self, other: "Counts", times: int) -> "Counts":
        """Return these counts and `times` the others."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(a + times * b for a, b in pairs))

    def buffer_energy(self) -> float:
        """Return the dynamic energy of the buffers in nJ; quirk: their leakage is left out."""
        return (
            self.weight_read * WEIGHT_READ
            + self.weight_write * WEIGHT_WRITE
            + self.input_read * INPUT_READ
            + self.input_write * INPUT_WRITE
            + self.output_read * OUTPUT_READ
            + self.output_write * OUTPUT_WRITE
        )

    def energy(self, array: Array) -> dict[str, float]:
        """Return nJ by part: static (of the DRAM alone), dram, buffer and core."""
        return {
            "static": self.cycles * DRAM_STATIC,
            "dram": self.dram_read * DRAM_READ + self.dram_write * DRAM_WRITE,
            "buffer": self.buffer_energy(),
            "core": self.cycles * array.leak + (self.cycles - self.stalls) * array.dynamic,
        }

    def tie_energy(self, array: Array) -> float:
        """Return the nJ by which the search chooses among tilings of equal cycles.

        What each cycle costs, leakage and static, is left out: it is equal among them.
        """
        core = (self.cycles - self.stalls) * array.dynamic
        dram = self.dram_read * TIE_READ + self.dram_write * TIE_WRITE
        return core + self.buffer_energy() + dram


def powers(extent: int) -> list[int]:
    """Return the tile sizes tried for a loop: powers of two, the last one cut to the extent."""
    return [min(1 << step, extent) for step in range(ceil(log2(extent)) + 1)]


def ceil_div(dividend: Integers, divisor: Integers | int) -> Integers:
    """Return the quotient rounded up."""
    return -(-dividend // divisor)


def padded(extent: Integers, multiple: int) -> Integers:
    """Return the extent rounded up to a multiple."""
    return ceil_div(extent, multiple) * multiple


@dataclass(frozen=True)
class Tilings:
    """Tilings of a layer: sizes and trips by loop, bits of each operand's tile, cycles busy."""

    size: Integers
    trips: Integers
    tile: dict[str, Integers]
    busy: Integers

    def where(self, kept: Flags) -> "Tilings":
        """Return the tilings that are marked."""
        tile = {operand: bits[kept] for operand, bits in self.tile.items()}
        return Tilings(self.size[:, kept], self.trips[:, kept], tile, self.busy[kept])


def tilings(layer: Layer, array: Array) -> Tilings:
    """Return the tilings whose input and weight tiles fit their half buffers.

    quirk: the output tile is not checked, so it may be larger than its buffer.
    """
    extents = (BATCH, layer.side, layer.inner, layer.outer)
    grid = np.meshgrid(*(powers(extent) for extent in extents), indexing="ij")
    batch, side, inner, outer = (axis.ravel() for axis in grid)
    size = np.stack([batch, side, side, inner, outer])
    extent = np.array([BATCH, layer.side, layer.side, layer.inner, layer.outer])
    trips = ceil_div(extent[:, None], size)
    pixels, depth = batch * side**2, layer.kernel**2 * inner
    across = array.lanes(layer.bits.activation)
    down = array.lanes(layer.bits.weight)
    # quirk: a tile at the edge takes the time and the SRAM reads of a whole one.
    busy = trips.prod(axis=0) * depth
    busy *= ceil_div(pixels, array.rows * across) * ceil_div(outer, array.columns * down)
    # quirk: the depth is padded to the array, though it enters one by one; and crosswise: of the
    # inputs to the columns, of the weights to the rows.
    tile = {
        "input": pixels * padded(depth, array.columns * across) * layer.bits.activation,
        "weight": outer * padded(depth, array.rows * down) * layer.bits.weight,
        "output": pixels * outer * OUTPUT_BITS,
    }
    fits = np.all([tile[name] <= HALF_BUFFER[name] for name in ("input", "weight")], axis=0)
    return Tilings(size, trips, tile, busy).where(fits)


def moved(found: Tilings, operand: str, orders: Integers) -> tuple[Integers, Integers, Flags]:
    """Return bits moved, the largest block held on chip and whether a loop was held at all.

    By order and tiling. From the innermost loop outwards: while the block stays within its half
    buffer, a loop that does not change the operand reuses it; once it is larger, every loop moves
    it again.
    """
    shape = (len(orders), len(found.busy))
    bits = np.broadcast_to(found.tile[operand], shape).copy()
    block = bits.copy()
    held, ever = np.ones(shape, bool), np.zeros(shape, bool)
    for loop in orders.T:
        changes = DEPENDS[operand][loop][:, None]
        bits *= np.where(changes | ~held, found.trips[loop], 1)
        held &= ~changes | (bits <= HALF_BUFFER[operand])
        grown = held & changes
        block = np.where(grown, bits, block)
        ever |= grown
    return bits, block, ever


@dataclass(frozen=True)
class Timed:
    """Stalls, and bits each operand moves from or to DRAM, by order and tiling."""

    stalls: Integers
    inputs: Integers
    weights: Integers
    outputs: Integers


def timed(found: Tilings, orders: Integers) -> Timed:
    """Return stalls and traffic of each order and tiling."""
    inputs, input_block, _ = moved(found, "input", orders)
    weights, weight_block, _ = moved(found, "weight", orders)
    # quirk: where outputs leave more than once as partial sums, they are never read back.
    outputs, _, ever = moved(found, "output", orders)
    # The first load and the last store overlap with nothing, the rest with the array.
    # quirk: the last store is nothing once a loop held the outputs, its size is set from another.
    first = input_block + weight_block
    last = np.where(ever, 0, found.tile["output"])
    middle = ceil_div(inputs + weights + outputs - first - last, BUS_BITS)
    latency = ceil_div(first, BUS_BITS) + ceil_div(last, BUS_BITS)
    return Timed(np.maximum(0, middle - found.busy) + latency, inputs, weights, outputs)


@cache
def run(layer: Layer, array: Array) -> Counts:
    """Return the counts of the best tiling and loop order of a layer."""
    found = tilings(layer, array)
    # What is busy for longer than all cycles of a tiling in one order cannot be the best.
    bound = (found.busy + timed(found, ORDERS[:1]).stalls).min()
    found = found.where(found.busy <= bound)
    time = timed(found, ORDERS)
    cycles = found.busy + time.stalls
    trips = found.trips.prod(axis=0)

    def counts(order: int, at: int) -> Counts:
        """Return all counts of one order and tiling."""
        batch, side, _, inner, outer = found.size[:, at].tolist()
        stored = int(trips[at]) * batch * side**2 * outer
        products = stored * layer.kernel**2 * inner
        inputs, weights = int(time.inputs[order, at]), int(time.weights[order, at])
        outputs = int(time.outputs[order, at])
        return Counts(
            cycles=int(cycles[order, at]),
            stalls=int(time.stalls[order, at]),
            dram_read=inputs + weights,
            dram_write=outputs,
            # quirk: each product reads both operands from SRAM: the array shares nothing.
            weight_read=products * layer.bits.weight,
            weight_write=weights,
            input_read=products * layer.bits.activation,
            input_write=inputs,
            output_read=outputs + stored * OUTPUT_BITS,
            output_write=stored * OUTPUT_BITS,
        )

    best = (counts(*place) for place in np.argwhere(cycles == cycles.min()).tolist())
    return min(best, key=lambda each: each.tie_energy(array))


@dataclass(frozen=True)
class Network:
    """A transformer as the released lists have it: blocks of four products; ViTs embed patches.

    quirk: one row a sequence (a ViT has 197), and Llama's FFN is OPT's.
    """

    blocks: int
    hidden: int
    patches: bool = False

    def products(self) -> dict[str, tuple[int, int]]:
        """Return inner and outer extent of a block's four products."""
        h = self.hidden
        return {"qkv": (h, 3 * h), "out": (h, h), "up": (h, 4 * h), "down": (4 * h, h)}


def no_block(product: str, blocks: int) -> int:
    """No block is narrow."""
    return 0


def half_of_out(product: str, blocks: int) -> int:
    """BitFusion: half of the output projections (drawn once; only their number counts)."""
    return blocks // 2 if product == "out" else 0


def four_of_five(product: str, blocks: int) -> int:
    """ANT: all four products of all blocks but a fifth."""
    return blocks - blocks // 5


@dataclass(frozen=True)
class Dequantise:
    """Dequantisation as one more product of the layer, each extent divided.

    The layer runs for a batch of 64, so inner x outer / 64 is each weight scaled once (what the
    baselines need), inner x outer / 128 each group of 128 products once (what MixPE needs).
    quirk: the released lists were made for a batch of 8: the baselines scale each weight eight
    times, MixPE an eighth of its groups. Both favour MixPE.
    """

    inner: int
    outer: int


@dataclass(frozen=True)
class Accelerator:
    """An array, the widths of its products and of dequantisation (and of the patch embedding)."""

    array: Array
    bits: Bits
    wide: Bits
    narrow: Bits = field(default=Bits(4, 4))
    narrow_blocks: Callable[[str, int], int] = no_block
    dequantise: Dequantise = field(default=Dequantise(1, 8))

    def layers(self, network: Network) -> Iterator[tuple[Layer, int]]:
        """Yield the layers of a network and how often each runs."""
        if network.patches:
            yield Layer(3, network.hidden, self.wide, kernel=16, side=14), 1
        for name, (inner, outer) in network.products().items():
            narrow = self.narrow_blocks(name, network.blocks)
            yield Layer(inner, outer, self.narrow), narrow
            yield Layer(inner, outer, self.bits), network.blocks - narrow
            scale = self.dequantise
            yield Layer(inner // scale.inner, outer // scale.outer, self.wide), network.blocks

    def run(self, network: Network) -> Counts:
        """Return the counts of a network, layer after layer."""
        total = Counts()
        for layer, times in self.layers(network):
            if times:
                total = total.plus(run(layer, self.array), times)
        return total


NETWORKS = {
    "ViT": Network(12, 768, patches=True),
    "ViT-Huge": Network(32, 1280, patches=True),
    "OPT-6.7B": Network(32, 4096),
    "Llama2-13B": Network(40, 5120),
}
INT8_PE, MIX_FLOAT_PE, FP16_PE = (64314, 279960), (128458, 544982), (192942, 839982)
BYTE, HALF = Bits(8, 8), Bits(16, 16)
# quirk: MixPE's products have both operands at half the width of its activations: W4A8 is 4 x 4
# bits, on four times the PEs of INT8, each with the power of an INT8 PE; W4A16 is 8 x 8 bits.
ACCELERATORS = {
    "MixPE-W4A8": Accelerator(
        Array(64, 64, 8, 4, *INT8_PE), Bits(4, 4), BYTE, dequantise=Dequantise(8, 128)
    ),
    "MixPE-W4A16": Accelerator(
        Array(32, 32, 16, 8, *MIX_FLOAT_PE), BYTE, HALF, dequantise=Dequantise(8, 128)
    ),
    "ANT": Accelerator(Array(32, 32, 8, 4, *INT8_PE), BYTE, BYTE, narrow_blocks=four_of_five),
    "BitFusion": Accelerator(Array(32, 40, 8, 4, *INT8_PE), BYTE, BYTE, narrow_blocks=half_of_out),
    "INT8": Accelerator(Array(32, 32, 8, 4, *INT8_PE), BYTE, BYTE),
    "FP16": Accelerator(Array(32, 28, 16, 16, *FP16_PE), HALF, HALF),
}


def normalised(network: Network) -> dict[str, dict[str, float]]:
    """Return time and energies by part of each accelerator as its csv has them: over FP16's.

    Energies are over FP16's sum of the four parts.
    """
    counts = {name: device.run(network) for name, device in ACCELERATORS.items()}
    reference = counts["FP16"]
    total = sum(reference.energy(ACCELERATORS["FP16"].array).values())
    return {
        name: {"time": count.cycles / reference.cycles}
        | {part: value / total for part, value in count.energy(ACCELERATORS[name].array).items()}
        for name, count in counts.items()
    }
