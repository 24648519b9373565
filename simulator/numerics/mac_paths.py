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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format, get
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.numerics.exact import gemm_exact
from simulator.numerics.mac_tree import dot_tree, gemm_tree
from simulator.numerics.operands import Datapath, Operands, Row, Values, rounded

INTEGERS = ("int", "uint", "ternary")
Elements = NDArray[Any]
Product = Callable[[Elements, Elements], NDArray[Any]]


@dataclass(frozen=True)
class Lanes:
    """An operand at the multipliers: elements (rows, K), scales (rows or 1, groups of `group`)."""

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
    if isinstance(encoded, Encoded) and _is_scaled(form, to, keep=keep):
        own = encoded.by_group()
        return Lanes(_elements(own), own.scales.astype(np.float32), own.sizes[1])
    return Lanes.unscaled(_widened(encoded, form, to))


def _is_scaled(form: Format, to: Format, *, keep: bool) -> bool:
    """Tell whether the elements of an operand go without their scales into `to`."""
    return form.base == to.base or (form.kind in INTEGERS and (keep or to.kind == "int"))


def _widened(encoded: Encoded | NDArray[Any], form: Format, to: Format) -> Elements:
    """Return values rounded to `to`."""
    values = form.decode(encoded)
    if to.kind in INTEGERS:
        return values.astype(np.int64)
    return to.decode(to.encode(values)).astype(np.float32)


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


FP32 = ("fp32", "fp32", "fp32")


def _floats(x: Elements, w: Elements) -> Values:
    return gemm_tree(x.astype(np.float32), w.astype(np.float32), 1, FP32)


def _row(
    encoded: Encoded | NDArray[Any], form: Format, to: Format, *, keep: bool
) -> tuple[list[Any], list[float], int]:
    """Return elements of one row, scales of its groups, and the group: for the specification."""
    if not (isinstance(encoded, Encoded) and _is_scaled(form, to, keep=keep)):
        elements = _widened(encoded, form, to)[0]
        return list(elements), [1.0], len(elements)
    row = Row.of(encoded)
    if form.kind in INTEGERS:
        whole = [code - row.zeros[k // row.group] for k, code in enumerate(row.codes)]
        return whole, row.scales, row.group
    return list(get(form.base).decode(encoded.codes[0])), row.scales, row.group


def _one(operands: Operands, w_to: Format, x_to: Format) -> float:
    """Return one output: the specification."""
    x, x_scales, x_group = _row(operands.x, operands.x_format, x_to, keep=True)
    w, w_scales, w_group = _row(operands.w, operands.w_format, w_to, keep=False)
    starts = [k for k in range(len(x)) if k % x_group == 0 or k % w_group == 0]
    total = np.float32(0)
    for start, end in pairwise([*starts, len(x)]):
        part = _dot(x[start:end], w[start:end], exact=w_to.kind in INTEGERS)
        part = part * np.float32(w_scales[start // w_group])
        if len(x_scales) > 1:
            part = part * np.float32(x_scales[start // x_group])
        total = total + part
    return float(total if len(x_scales) > 1 else total * np.float32(x_scales[0]))


def _dot(x: list[Any], w: list[Any], *, exact: bool) -> np.float32:
    if exact:
        return rounded(sum(int(a) * int(b) for a, b in zip(x, w, strict=True)))
    return np.float32(dot_tree(x, w, 1, FP32))


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


def mac(pair: tuple[str, str]) -> Datapath:
    """Return the datapath of a unit that multiplies `pair`, (weights, activations), by that name.

    Integer pairs take integers, others anything; what it is for are the formats of the pair.
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

    return Datapath(
        "x".join(pair),
        f"{w_to.name} x {x_to.name} multiplied and added",
        *pair,
        refused,
        computed(gemm_exact if exact else _floats),
        lambda operands: _one(operands, w_to, x_to),
        computed(_exact_integers) if exact else None,
    )


def _listed(name: str, summary: str, pair: str, formats: tuple[str, str]) -> Datapath:
    """Return the unit of a format and itself as `verify` lists it; formats: what it is for."""
    weights, activations = formats
    return replace(
        mac((pair, pair)),
        name=name,
        summary=summary,
        weight_format=weights,
        activation_format=activations,
    )


MAC_PATHS = (
    _listed("int8_mac", "integers multiplied and added", "int8", ("int8-channel", "int8-token")),
    _listed(
        "dequantise",
        "everything in FP16 first, then FP32 multiply-add in order of K",
        "fp16",
        ("int4-g128", "fp16"),
    ),
    _listed("bf16_mac", "the same in BF16", "bf16", ("int4-g128", "bf16")),
)
