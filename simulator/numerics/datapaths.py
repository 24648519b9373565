"""The datapaths that `verify` knows: each a kernel, its scalar specification, and what both take.

Integer datapaths add up codes in a group; what follows is common to all of them (equation 5 of
MixPE): the sum of activations times the zero point is subtracted in integers, then float32
multiplies by the scale of the group, adds up groups in order, and multiplies by the scale of the
token. Each of these three operations rounds once; the integers before are exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.numerics.bit_serial import (
    dot_bipolar,
    dot_planes,
    gemm_bipolar,
    gemm_planes,
    ternary_product,
)
from simulator.numerics.exact import gemm_exact
from simulator.numerics.lut import GROUP, dot_lut, gemm_lut
from simulator.numerics.mac_tree import dot_tree, gemm_tree
from simulator.numerics.shift_add import gemm_w4a8, product_w4a8
from simulator.numerics.shift_add_fp16 import dot_w4a16, gemm_w4a16

Values = NDArray[np.float32]
Codes = NDArray[np.integer[Any]]
Exact = NDArray[np.int64]


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


def _integers(weights: Format, activations: Format) -> str:
    if activations.kind != "int" or activations.granularity not in ("token", "tensor"):
        return f"activations must be int1 to int8 by token or tensor, got {activations.name}"
    if activations.value_bits > 8 or activations.zero_bits:
        return f"activations must be symmetric and of 8 bits at most, got {activations.name}"
    return ""


def _up_to(bits: int) -> Callable[[Format, Format], str]:
    """Return a check for symmetric or asymmetric integer weights of at most so many bits."""

    def refused(weights: Format, activations: Format) -> str:
        if weights.kind != "int" or weights.granularity == "none" or weights.value_bits > bits:
            return f"weights must be int2 to int{bits} with a scale, got {weights.name}"
        return _integers(weights, activations)

    return refused


def _ternary(weights: Format, activations: Format) -> str:
    if weights.kind != "ternary" or weights.granularity == "none":
        return f"weights must be ternary with a scale, got {weights.name}"
    return _integers(weights, activations)


def _plain(base: str) -> Callable[[Format, Format], str]:
    def refused(weights: Format, activations: Format) -> str:
        wrong = next((each.name for each in (weights, activations) if each.name != base), "")
        return f"both operands must be {base}, got {wrong}" if wrong else ""

    return refused


def _any_weights(weights: Format, activations: Format) -> str:
    return "" if activations.name == "fp16" else f"activations must be fp16, got {activations.name}"


def _w4a16(weights: Format, activations: Format) -> str:
    if weights.kind != "int" or weights.granularity == "none" or weights.value_bits != 4:
        return f"weights must be int4 with a scale, got {weights.name}"
    return _any_weights(weights, activations)


Inner = Callable[[Codes, Codes, Operands], Exact]


def _dequantised(inner: Inner, operands: Operands) -> Values:
    """Return what the module says: groups of integer sums, scaled and added up in float32."""
    x, w = operands.x, operands.w
    assert isinstance(x, Encoded)
    assert isinstance(w, Encoded)
    depth, rows = x.codes.shape[1], len(w.codes)
    group = w.sizes[1] if w.sizes[1] > 1 else max(1, depth)
    total = np.zeros((len(x.codes), rows), dtype=np.float32)
    for index, start in enumerate(range(0, depth, group)):
        part = slice(start, start + group)
        codes = x.codes[:, part]
        sums = inner(codes, w.codes[:, part], operands)
        if w.zeros is not None:
            zeros = np.broadcast_to(w.zeros[:, index], rows).astype(np.int64)
            sums = sums - codes.sum(axis=1, dtype=np.int64)[:, None] * zeros
        total += sums.astype(np.float32) * w.scales[:, index].astype(np.float32)
    return total * x.scales.astype(np.float32)


def _bits(operands: Operands) -> tuple[int, int]:
    """Return the bits of activations and weights; those of ternary weights in two's complement."""
    w = operands.w_format
    return int(operands.x_format.value_bits), 2 if w.kind == "ternary" else int(w.value_bits)


def _by_outputs(dot: Callable[[list[int], list[int], Operands], int]) -> Inner:
    """Return a scalar dot product as a function of matrices of one row."""

    def inner(x: Codes, w: Codes, operands: Operands) -> Exact:
        value = dot([int(each) for each in x[0]], [int(each) for each in w[0]], operands)
        return np.array([[value]], dtype=np.int64)

    return inner


def _signed_weights(w: Codes, operands: Operands) -> tuple[Codes, int]:
    """Return codes in two's complement and what was taken away: half the range of unsigned ones."""
    if operands.w_format.zero_bits == 0:
        return w, 0
    offset = 1 << _bits(operands)[1] - 1
    return w.astype(np.int64) - offset, offset


def _centred(product: Callable[[Codes, Codes, Operands], Exact]) -> Inner:
    """Return a product of two's complement weights for unsigned ones: the offset is added back."""

    def inner(x: Codes, w: Codes, operands: Operands) -> Exact:
        signed, offset = _signed_weights(w, operands)
        sums = product(x, signed, operands)
        added: Exact = sums + offset * x.sum(axis=1, dtype=np.int64)[:, None]
        return added

    return inner


def _shift_add(x: Codes, w: Codes, _operands: Operands) -> Exact:
    return gemm_w4a8(x.astype(np.int8), w.astype(np.int8)).astype(np.int64)


def _shift_add_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return sum(int(product_w4a8(q, value)) for value, q in zip(x, w, strict=True))


def _planes(x: Codes, w: Codes, operands: Operands) -> Exact:
    return gemm_planes(x, w, *_bits(operands))


def _planes_one(x: list[int], w: list[int], operands: Operands) -> int:
    return dot_planes(x, w, *_bits(operands))


def _odd(sums: Exact, x: Codes, w: Codes) -> Exact:
    """Return sum x w from the sum of (2 x + 1)(2 w + 1), which is what bipolar planes hold."""
    shared = 2 * x.sum(axis=1, dtype=np.int64)[:, None] + 2 * w.sum(axis=1, dtype=np.int64)
    products: Exact = (sums - shared - x.shape[1]) // 4
    return products


def _bipolar(x: Codes, w: Codes, operands: Operands) -> Exact:
    x_bits, w_bits = _bits(operands)
    x_codes = x.astype(np.int64) + (1 << x_bits - 1)
    w_codes = w.astype(np.int64) + (1 << w_bits - 1)
    return _odd(gemm_bipolar(x_codes, w_codes, x_bits, w_bits), x, w)


def _bipolar_one(x: list[int], w: list[int], operands: Operands) -> int:
    x_bits, w_bits = _bits(operands)
    x_codes = [value + (1 << x_bits - 1) for value in x]
    w_codes = [value + (1 << w_bits - 1) for value in w]
    sums = dot_bipolar(x_codes, w_codes, x_bits, w_bits)
    return (sums - 2 * sum(x) - 2 * sum(w) - len(x)) // 4


def _ternary_one(x: list[int], w: list[int], _operands: Operands) -> int:
    return sum(int(ternary_product(q, value)) for value, q in zip(x, w, strict=True))


def _look_up(x: Codes, w: Codes, operands: Operands) -> Exact:
    bits = _bits(operands)[1]
    codes = w.astype(np.int64) + (1 << bits - 1)
    # Tables hold sums for 2 w + 1: the shared sum of activations is taken away.
    twice = gemm_lut(x, codes, bits).astype(np.int64) - x.sum(axis=1, dtype=np.int64)[:, None]
    products: Exact = twice // 2
    return products


def _look_up_one(x: list[int], w: list[int], operands: Operands) -> int:
    bits, padding = _bits(operands)[1], -len(x) % GROUP
    codes = [value + (1 << bits - 1) for value in w] + [0] * padding
    return (int(dot_lut([*x, *[0] * padding], codes, bits)) - sum(x)) // 2


def _exactly(x: Codes, w: Codes, _operands: Operands) -> Exact:
    return gemm_exact(x, w)


def _integer_path(
    name: str,
    summary: str,
    formats: tuple[str, str],
    refused: Callable[[Format, Format], str],
    product: Inner,
    dot: Callable[[list[int], list[int], Operands], int],
) -> Datapath:
    kernel, specification = _centred(product), _centred(_by_outputs(dot))
    return Datapath(
        name,
        summary,
        *formats,
        refused,
        lambda operands: _dequantised(kernel, operands),
        lambda operands: float(_dequantised(specification, operands)[0, 0]),
        lambda operands: _dequantised(_exactly, operands),
    )


def _tree_path(name: str, summary: str, kind: str, mantissa_bits: int) -> Datapath:
    kinds = (kind, kind, kind)

    def run(operands: Operands) -> Values:
        x, w = (each.astype(np.float32) for each in (operands.x_values(), operands.w_values()))
        return gemm_tree(x, w, 16, kinds)

    def one(operands: Operands) -> float:
        x, w = (each.astype(np.float32) for each in (operands.x_values(), operands.w_values()))
        return float(dot_tree(x[0], w[0], 16, kinds))

    return Datapath(name, summary, kind, kind, _plain(kind), run, one, None, mantissa_bits)


def _halves(operands: Operands) -> Sequence[Values]:
    """Return both operands in FP16, weights rounded to it once they are dequantised."""
    with np.errstate(over="ignore"):
        return [
            each.astype(np.float16).astype(np.float32)
            for each in (operands.x_values(), operands.w_values())
        ]


def _dequantise_run(operands: Operands) -> Values:
    x, w = _halves(operands)
    return gemm_tree(x, w, 1, ("fp32", "fp32", "fp32"))


def _dequantise_one(operands: Operands) -> float:
    x, w = _halves(operands)
    return float(dot_tree(x[0], w[0], 1, ("fp32", "fp32", "fp32")))


def _grouped_weights(
    operands: Operands,
) -> tuple[NDArray[np.int8], Values, NDArray[np.int64] | None, int]:
    """Return codes in two's complement, scales, zero points and group of INT4 weights."""
    w = operands.w
    assert isinstance(w, Encoded)
    codes, offset = _signed_weights(w.codes, operands)
    group = w.sizes[1] if w.sizes[1] > 1 else max(1, codes.shape[1])
    shape = (len(codes), -(-codes.shape[1] // group))
    scales = np.broadcast_to(w.scales, shape).astype(np.float32)
    zeros = None if w.zeros is None else np.broadcast_to(w.zeros, shape).astype(np.int64) - offset
    return codes.astype(np.int8), scales, zeros, group


def _fp16_path(name: str, summary: str, *, chain: bool) -> Datapath:
    def run(operands: Operands) -> Values:
        x = operands.x_values().astype(np.float32)
        codes, scales, zeros, group = _grouped_weights(operands)
        return gemm_w4a16(x, codes, scales, zeros, group, chain=chain)

    def one(operands: Operands) -> float:
        x = operands.x_values()[0].tolist()
        codes, scales, zeros, group = _grouped_weights(operands)
        given = None if zeros is None else zeros[0].tolist()
        result = dot_w4a16(
            x, codes[0].tolist(), list(scales[0]), given, group, chain=chain, accumulator="fp32"
        )
        return float(result)

    return Datapath(name, summary, "int4-g128", "fp16", _w4a16, run, one, None)


W4A8 = ("int4-g128", "int8-token")
_PATHS = (
    Datapath(
        "dequantise",
        "weights to FP16 first, then FP32 multiply-add in order of K",
        "int4-g128",
        "fp16",
        _any_weights,
        _dequantise_run,
        _dequantise_one,
        None,
    ),
    _integer_path(
        "mixpe_w4a8",
        "MixPE: INT4 x INT8 by shift and add",
        W4A8,
        _up_to(4),
        _shift_add,
        _shift_add_one,
    ),
    _fp16_path("mixpe", "MixPE: INT4 x FP16, exact product, one rounding", chain=False),
    _fp16_path("mixpe_chain", "MixPE: INT4 x FP16, chain of FP16 additions", chain=True),
    _integer_path(
        "lut", "LUT tensor core: half tables, bit by bit", W4A8, _up_to(8), _look_up, _look_up_one
    ),
    _integer_path(
        "abq", "ABQ: AND and popcount of bit planes", W4A8, _up_to(8), _planes, _planes_one
    ),
    _integer_path(
        "bipolar", "bipolar planes: XOR and popcount", W4A8, _up_to(8), _bipolar, _bipolar_one
    ),
    _integer_path(
        "ternary",
        "ternary weights: add, subtract or skip",
        ("ternary-tensor", "int8-token"),
        _ternary,
        _planes,
        _ternary_one,
    ),
    _tree_path("pim_fp16", "PIM bank: 16 lanes, everything rounded to FP16", "fp16", 10),
    _tree_path("pim_bf16", "PIM bank: 16 lanes, everything rounded to BF16", "bf16", 7),
)

#: Every datapath by its name.
DATAPATHS: MappingProxyType[str, Datapath] = MappingProxyType({path.name: path for path in _PATHS})
