"""The baseline: units that multiply and add operands of a pair of formats, and widen others first.

What reaches the multipliers is what lowering prices:

- An operand of the format that is multiplied: its codes.
- Integers with scales in wider integers, and activations that are such in a float: codes less the
  zero point, exactly.
- Everything else in a float: dequantised, each value rounded once to nearest even, saturating.

Sums start anew where a scale changes. Those of integers are exact; in floating point, products and
additions round to FP32, in order of K (products of FP16, BF16 and FP8 are exact in it). The order
inside of a real tensor core is not this one: see `tensor_core`. Then float32 multiplies each sum
by the scales of its groups and adds up the groups in order; scales of tokens come last. Each of
these operations rounds once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format, get
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.numerics.exact import gemm_exact
from simulator.numerics.mac_tree import dot_tree, gemm_tree
from simulator.numerics.operands import Datapath, Operands, Values

INTEGERS = ("int", "uint", "ternary")
Elements = NDArray[Any]
Product = Callable[[Elements, Elements], NDArray[Any]]


@dataclass(frozen=True)
class Lanes:
    """An operand at the multipliers: elements (rows, K), scales (rows or 1, groups of K)."""

    elements: Elements
    scales: Values
    group: int

    @classmethod
    def unscaled(cls, elements: Elements) -> "Lanes":
        """Return elements that have no scale left."""
        return cls(elements, np.ones((1, 1), dtype=np.float32), max(1, elements.shape[1]))

    def scale_at(self, k: int) -> Values:
        """Return the scale of element k in every row, or of all rows."""
        scale: Values = self.scales[:, k // self.group]
        return scale


def _lanes(encoded: Encoded | NDArray[Any], form: Format, to: Format, *, keep: bool) -> Lanes:
    """Return an operand as `to` holds it; keep: integers go into a float without their scales."""
    scaled = isinstance(encoded, Encoded)
    if scaled and (form.base == to.base or (form.kind in INTEGERS and (keep or to.kind == "int"))):
        assert isinstance(encoded, Encoded)
        depth = max(1, encoded.codes.shape[1])
        group = encoded.sizes[1] if encoded.sizes[1] > 1 else depth
        return Lanes(_elements(encoded), encoded.scales.astype(np.float32), group)
    values = form.decode(encoded)
    if to.kind in INTEGERS:
        return Lanes.unscaled(values.astype(np.int64))
    return Lanes.unscaled(to.decode(to.encode(values)).astype(np.float32))


def _elements(encoded: Encoded) -> Elements:
    """Return what codes stand for before scales, less their zero points."""
    form = encoded.format
    if form.kind not in INTEGERS:
        return get(form.base).decode(encoded.codes).astype(np.float32)
    whole = encoded.codes.astype(np.int64)
    if encoded.zeros is None:
        return whole
    less: Elements = whole - spread(encoded.zeros.astype(np.int64), encoded.sizes, whole.shape)
    return less


def _exact_integers(x: Elements, w: Elements) -> NDArray[np.int64]:
    return x @ w.T


def _one_integer(x: Elements, w: Elements) -> NDArray[np.int64]:
    total = sum(int(a) * int(b) for a, b in zip(x[0], w[0], strict=True))
    return np.array([[total]], dtype=np.int64)


FP32 = ("fp32", "fp32", "fp32")


def _floats(x: Elements, w: Elements) -> Values:
    return gemm_tree(x.astype(np.float32), w.astype(np.float32), 1, FP32)


def _one_float(x: Elements, w: Elements) -> Values:
    return np.array([[dot_tree(x[0], w[0], 1, FP32)]], dtype=np.float32)


def _scaled(product: Product, x: Lanes, w: Lanes) -> Values:
    """Return the outputs (M, N): sums by `product`, scaled and added up group by group."""
    depth = x.elements.shape[1]
    cuts = sorted({0, depth, *range(0, depth, x.group), *range(0, depth, w.group)})
    total = np.zeros((len(x.elements), len(w.elements)), dtype=np.float32)
    whole = x.group >= depth
    for start, end in pairwise(cuts):
        sums = product(x.elements[:, start:end], w.elements[:, start:end]).astype(np.float32)
        part = sums * w.scale_at(start)
        total += part if whole else part * x.scale_at(start)[:, None]
    return total * x.scale_at(0)[:, None] if whole else total


def mac(name: str, summary: str, pair: tuple[str, str], formats: tuple[str, str]) -> Datapath:
    """Return the datapath of a unit that multiplies `pair`; both are (weights, activations).

    formats: what it is checked with unless told. Integer pairs take integers, others anything.
    """
    w_to, x_to = (get(each) for each in pair)
    exact = w_to.kind in INTEGERS

    def computed(product: Product) -> Callable[[Operands], Values]:
        def run(operands: Operands) -> Values:
            x = _lanes(operands.x, operands.x_format, x_to, keep=True)
            w = _lanes(operands.w, operands.w_format, w_to, keep=False)
            return _scaled(product, x, w)

        return run

    def refused(weights: Format, activations: Format) -> str:
        for form in (weights, activations):
            if exact and form.kind not in INTEGERS:
                return f"operands must be integers, got {form.name}"
        return ""

    one = computed(_one_integer if exact else _one_float)
    return Datapath(
        name,
        summary,
        *formats,
        refused,
        computed(gemm_exact if exact else _floats),
        lambda operands: float(one(operands)[0, 0]),
        computed(_exact_integers) if exact else None,
    )


MAC_PATHS = (
    mac(
        "int8_mac",
        "integers multiplied and added",
        ("int8", "int8"),
        ("int8-channel", "int8-token"),
    ),
    mac(
        "dequantise",
        "everything in FP16 first, then FP32 multiply-add in order of K",
        ("fp16", "fp16"),
        ("int4-g128", "fp16"),
    ),
    mac("bf16_mac", "the same in BF16", ("bf16", "bf16"), ("int4-g128", "bf16")),
)
