"""What one decode step of a layer's attention takes, at each place that could do it.

All places are of one device: Duplex' xPU before five stacks of HBM3, 80 channels, 80 GB. In the
memory, a key-value head of a request lies in a channel, its scores and outputs by the closed forms
of the units' commands; a column is multiplied with each vector that the unit holds. On the xPU,
keys and values are read once at the peak of the pins, or recomputed from the layer's inputs.
Softmax, which all places need, is left out.
"""

from functools import lru_cache
from math import ceil
from typing import NamedTuple

from simulator.api import load_device
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.pim import GroupUnits
from simulator.hardware.pim_unit import MATCHED, load_pim_unit
from simulator.mapping.pim_attention import in_channel

HEADS, HEAD_DIM = 32, 128
HIDDEN = HEADS * HEAD_DIM
PLACES = ("xpu", "bank", "logic", "recompute")
#: Layers of the model, and its weights in FP16: Llama-2-7B with other groups of heads.
LAYERS, WEIGHTS_BYTES = 32, 13_500_000_000
#: Elements of units by the bits of keys and values, with FP16 queries; what is stored.
ELEMENTS = {16: None, 4: "mixpe_w4a16"}
STORED = {16: "fp16", 4: "int4-g128"}


class Point(NamedTuple):
    """An attention: queries of a request share keys, those of a tree of tokens too.

    group: query heads of a key-value head. tree: tokens that are tried at once, 1 without
    speculation.
    """

    group: int
    batch: int
    context: int
    bits: int
    tree: int

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values of all requests."""
        return self.batch * HEADS // self.group

    @property
    def macs(self) -> int:
        """Multiply-accumulates of scores and outputs."""
        return 2 * self.batch * HEADS * self.tree * self.context * HEAD_DIM

    @property
    def kv_bytes(self) -> float:
        """Bytes of keys and values with their scales."""
        bits = get(STORED[self.bits]).bits(1, HEAD_DIM)
        return 2 * self.kv_heads * self.context * bits / 8


@lru_cache
def xpu() -> Device:
    """Return the xPU."""
    return load_device("duplex_xpu")


@lru_cache
def units(place: str, bits: int) -> GroupUnits:
    """Return the units of a place; those for low-bit keys keep up with a column and one vector."""
    pim = load_device({"bank": "duplex_bank", "logic": "duplex"}[place]).pim
    assert isinstance(pim, GroupUnits)
    if ELEMENTS[bits] is None:
        return pim
    low_bit = load_pim_unit(pim.unit.name, ELEMENTS[bits])
    unit = low_bit.model_copy(update={"elements": MATCHED})
    return pim.model_copy(update={"unit": unit})


def in_memory_s(point: Point, place: str) -> float:
    """Return the seconds of units in the memory, of the channel with most heads."""
    pim, vectors = units(place, point.bits), point.group * point.tree
    stored, queries = get(STORED[point.bits]), get("fp16")
    shapes = ((point.context, HEAD_DIM, pim.keys), (HEAD_DIM, point.context, pim.values))
    head_ps = sum(
        in_channel(pim, outputs, inputs, stored, queries, vectors, layout).ps
        for outputs, inputs, layout in shapes
    )
    return ceil(point.kv_heads / pim.channels) * head_ps / 1e12


def on_xpu_s(point: Point) -> float:
    """Return the seconds of the xPU's roofline."""
    peak = xpu().peak_macs_per_s["fp16xfp16"]
    return max(point.kv_bytes / xpu().memory_bytes_per_s, point.macs / peak)


def recomputed_s(point: Point) -> float:
    """Return the seconds of keys and values made again from the layer's inputs, then attention."""
    inputs_bytes = point.batch * point.context * HIDDEN * point.bits / 8
    weights_bytes = 2 * HIDDEN * HIDDEN // point.group * 2
    made = 2 * point.batch * point.context * HIDDEN * HIDDEN // point.group
    peak = xpu().peak_macs_per_s["fp16xfp16"]
    moved = (inputs_bytes + weights_bytes) / xpu().memory_bytes_per_s
    return max(moved, (made + point.macs) / peak)


def fits(point: Point, place: str) -> bool:
    """Tell whether what a place reads fits the memory beside the weights, of all layers."""
    stored = point.kv_bytes
    if place == "recompute":
        stored = point.batch * point.context * HIDDEN * point.bits / 8
    return LAYERS * stored <= xpu().memory.capacity_bytes - WEIGHTS_BYTES


def winner(point: Point) -> str:
    """Return the fastest place of those whose data fit, "none" where none fits."""
    found = {place: each for place, each in seconds(point).items() if fits(point, place)}
    return min(found, key=lambda place: found[place], default="none")


def seconds(point: Point) -> dict[str, float]:
    """Return the seconds at each place."""
    return {
        "xpu": on_xpu_s(point),
        "bank": in_memory_s(point, "bank"),
        "logic": in_memory_s(point, "logic"),
        "recompute": recomputed_s(point),
    }
