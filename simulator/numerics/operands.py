"""What a datapath is to `verify`: operands, formats that it takes, kernel and specification.

What follows the sums of groups, the epilogue, stands here twice, and the two share nothing:
`scaled_groups`, `dequantised` and `two_levels` are for arrays; `Row` and `scaled_one` are the
specification, of one output, element by element and in float32 scalars.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded

Values = NDArray[np.float32]
Codes = NDArray[np.integer[Any]]
#: From activations (M, group) and codes of weights (N, group) to their products (M, N).
Inner = Callable[[NDArray[Any], Codes], NDArray[Any]]
Product = Callable[[Codes, Codes, "Operands"], NDArray[Any]]


@dataclass(frozen=True)
class Operands:
    """Activations (M, K) and weights (N, K) as a format holds them."""

    x: Encoded | NDArray[Any]
    w: Encoded | NDArray[Any]
    x_format: Format
    w_format: Format

    def x_values(self) -> NDArray[np.float64]:
        """Return the values of the activations."""
        return np.asarray(self.x_format.decode(self.x), np.float64)

    def w_values(self) -> NDArray[np.float64]:
        """Return the values of the weights."""
        return np.asarray(self.w_format.decode(self.w), np.float64)

    def rows(self, m: int, n: int) -> "Operands":
        """Return one row of each, for one output."""
        return Operands(_row(self.x, m), _row(self.w, n), self.x_format, self.w_format)


def _row(array: Encoded | NDArray[Any], row: int) -> Encoded | NDArray[Any]:
    if not isinstance(array, Encoded):
        return array[row : row + 1]

    def own(metadata: NDArray[Any]) -> NDArray[Any]:
        # What a tensor shares has one row.
        return metadata[row : row + 1] if len(metadata) > 1 else metadata

    return replace(
        array,
        codes=array.codes[row : row + 1],
        scales=own(array.scales),
        zeros=None if array.zeros is None else own(array.zeros),
        sizes=(1, *array.sizes[1:]),
        selectors=None if array.selectors is None else own(array.selectors),
        outer_scales=None if array.outer_scales is None else own(array.outer_scales),
        terms=None if array.terms is None else own(array.terms),
    )


@dataclass(frozen=True)
class Datapath:
    """A datapath: `run` computes all outputs, `one` the output of `Operands` of one row each.

    refused: what is wrong with (weights, activations) formats, "" if nothing. oracle: all outputs
    by another way that is exact, None where the path rounds. mantissa_bits: of the result.
    """

    name: str
    summary: str
    weight_format: str
    activation_format: str
    refused: Callable[[Format, Format], str]
    run: Callable[[Operands], Values]
    one: Callable[[Operands], float]
    oracle: Callable[[Operands], Values] | None
    mantissa_bits: int = 23


@dataclass(frozen=True)
class Row:
    """An operand of one row as plain numbers: codes by element, scales and zero points by group.

    group: how many elements share a scale, as the name of the format has it. outer: the scale of
    the channel, 1 without one. Scales are float64; zeros are 0 where a format has none.
    """

    codes: list[int]
    scales: list[float]
    zeros: list[int]
    selectors: list[int]
    outer: float
    group: int

    @classmethod
    def of(cls, encoded: Encoded | NDArray[Any]) -> "Row":
        """Return the first row."""
        assert isinstance(encoded, Encoded)
        depth = encoded.codes.shape[1]
        group = encoded.format.group or depth

        def listed(metadata: NDArray[Any] | None) -> list[Any]:
            starts = range(0, depth, group)
            return [0 if metadata is None else metadata[0, k // group].item() for k in starts]

        outer = encoded.outer_scales
        return cls(
            encoded.codes[0].tolist(),
            listed(encoded.scales),
            listed(encoded.zeros),
            listed(encoded.selectors),
            1.0 if outer is None else float(outer[0, 0]),
            group,
        )


#: From activations and codes of weights of one group to the sum of their products.
Dot = Callable[[Sequence[Any], list[int]], Any]


def scaled_one(x: Sequence[Any], w: Row, dot: Dot) -> np.float32:
    """Return the specification of `scaled_groups`, of one output."""
    total = np.float32(0)
    for index, start in enumerate(range(0, len(w.codes), w.group)):
        end = start + w.group
        value = dot(x[start:end], w.codes[start:end])
        if w.zeros[index]:
            value = value - w.zeros[index] * sum(x[start:end])
        total = total + rounded(value) * np.float32(w.scales[index])
    return total


def dequantised_one(operands: Operands, dot: Dot) -> float:
    """Return the specification of `dequantised`, of one output."""
    x = Row.of(operands.x)
    return float(scaled_one(x.codes, Row.of(operands.w), dot) * np.float32(x.scales[0]))


def rounded(value: float | np.float32) -> np.float32:
    """Return an integer or a float rounded once to float32."""
    # An array, as np.float32 of an integer rounds twice, first to float64.
    return np.float32(np.asarray(value).astype(np.float32))


def scaled_groups(x: NDArray[Any], operands: Operands, inner: Inner) -> Values:
    """Return sums of groups of K, each times its scale, added up in float32 in order.

    x: what stands for the activations (M, K). inner: sums of a group, from activations and codes of
    weights. Zero points are for integers: the sum of activations times the zero point is subtracted
    exactly. To float32 is rounded: a sum, its product with the scale, each addition of groups.
    """
    assert isinstance(operands.w, Encoded)
    w = operands.w.by_group()
    scales, group = w.scales.astype(np.float32), w.sizes[1]
    total = np.zeros((len(x), len(w.codes)), dtype=np.float32)
    for index in range(scales.shape[1]):
        part = slice(index * group, (index + 1) * group)
        sums = inner(x[:, part], w.codes[:, part])
        if w.zeros is not None:
            zeros = w.zeros[:, index].astype(np.int64)
            sums = sums - x[:, part].sum(axis=1, dtype=np.int64)[:, None] * zeros
        total += sums.astype(np.float32) * scales[:, index]
    return total


def dequantised(operands: Operands, product: Product) -> Values:
    """Return `scaled_groups` of integer activations times the scales of tokens, rounded once more.

    product: exact sums, of codes of activations and weights in their formats.
    """
    x = operands.x
    assert isinstance(x, Encoded)
    total = scaled_groups(x.codes, operands, lambda some, w: product(some, w, operands))
    return total * x.scales.astype(np.float32)


def two_levels(weights: Encoded) -> tuple[NDArray[np.uint8], Values]:
    """Return integer scales (N, groups) and FP16 scales of channels (N, 1), in float32.

    `Encoded.scales` has their products, which float64 holds exactly.
    """
    own = weights.by_group()
    assert own.outer_scales is not None
    channels = own.outer_scales.astype(np.float64)
    return (own.scales / channels).astype(np.uint8), channels.astype(np.float32)


def signed_weights(w: Codes, operands: Operands) -> tuple[Codes, int]:
    """Return codes in two's complement and what was taken away: half the range of unsigned ones."""
    if operands.w_format.zero_bits == 0:
        return w, 0
    offset = 1 << int(operands.w_format.value_bits) - 1
    return w.astype(np.int64) - offset, offset


def integer_activations(weights: Format, activations: Format) -> str:
    """Return what is wrong with activations of an integer datapath."""
    if activations.kind != "int" or activations.granularity not in ("token", "tensor"):
        return f"activations must be int1 to int8 by token or tensor, got {activations.name}"
    if activations.value_bits > 8 or activations.zero_bits:
        return f"activations must be symmetric and of 8 bits at most, got {activations.name}"
    return ""


def integer_weights(bits: int) -> Callable[[Format, Format], str]:
    """Return a check for symmetric or asymmetric integer weights of at most so many bits."""

    def refused(weights: Format, activations: Format) -> str:
        if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > bits:
            return f"weights must be int2 to int{bits} with a scale, got {weights.name}"
        return integer_activations(weights, activations)

    return refused


def ternary_weights(weights: Format, activations: Format) -> str:
    """Return what is wrong with the formats of a ternary datapath."""
    if weights.kind != "ternary" or weights.granularity == "none":
        return f"weights must be ternary with a scale, got {weights.name}"
    return integer_activations(weights, activations)


def plain(base: str) -> Callable[[Format, Format], str]:
    """Return a check that both operands are of one plain format."""

    def refused(weights: Format, activations: Format) -> str:
        wrong = next((each.name for each in (weights, activations) if each.name != base), "")
        return f"both operands must be {base}, got {wrong}" if wrong else ""

    return refused


def fp16_activations(weights: Format, activations: Format) -> str:
    """Return what is wrong with activations that have to be FP16."""
    return "" if activations.name == "fp16" else f"activations must be fp16, got {activations.name}"


def symmetric_and_fp16(bits: int) -> Callable[[Format, Format], str]:
    """Return a check for symmetric integer weights of at most so many bits and FP16 activations."""

    def refused(weights: Format, activations: Format) -> str:
        if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > bits:
            return f"weights must be int2 to int{bits} with a scale, got {weights.name}"
        if weights.zero_bits:
            return f"weights must be symmetric, got {weights.name}"
        return fp16_activations(weights, activations)

    return refused


def int4_and_fp16(weights: Format, activations: Format) -> str:
    """Return what is wrong with the formats of INT4 weights and FP16 activations."""
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits != 4:
        return f"weights must be int4 with a scale, got {weights.name}"
    return fp16_activations(weights, activations)
