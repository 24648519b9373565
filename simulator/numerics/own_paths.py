"""Datapaths of a user's Python file (`own`) for `verify`: its sums, then the usual epilogue."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats import Format
from simulator.formats.conversion import Encoded
from simulator.numerics.integer_paths import W4A8, integer_path, operand_bits
from simulator.numerics.operands import (
    Codes,
    Datapath,
    Operands,
    Row,
    Values,
    integer_weights,
    scaled_groups,
    scaled_one,
    symmetric_and_fp16,
    ternary_weights,
)
from simulator.numerics.own import Arithmetic, arithmetic


def own_path(key: str) -> Datapath:
    """Return the datapath of a key (`own.Source.key`); InputError as `own.arithmetic`."""
    own = arithmetic(key)
    whole = _integers(own)

    def run(operands: Operands) -> Values:
        return _floats(operands, own) if _is_float(operands) else whole.run(operands)

    def one(operands: Operands) -> float:
        return _float_one(operands, own) if _is_float(operands) else whole.one(operands)

    return replace(whole, run=run, one=one)


def _integers(own: Arithmetic) -> Datapath:
    def product(x: Codes, w: Codes, operands: Operands) -> NDArray[np.int64]:
        sums = own.all(x.astype(np.int64), w.astype(np.int64), operand_bits(operands))
        return sums.astype(np.int64)

    def dot(x: list[int], w: list[int], operands: Operands) -> int:
        return int(own.plain(x, w, 0, operand_bits(operands)))

    def refused(weights: Format, activations: Format) -> str:
        if activations.kind != "float":
            check = ternary_weights if weights.kind == "ternary" else integer_weights(8)
            return check(weights, activations)
        if own.exact:
            return f"{activations.name} has no exact integers: EXACT must not list {own.name}"
        return _float_problem(weights, activations)

    name, summary = f"{own.file}:{own.name}", "of a user's file"
    return integer_path(name, summary, W4A8, refused, product, dot, exact=own.exact)


def _float_problem(weights: Format, activations: Format) -> str:
    if weights.kind == "ternary" and weights.granularity != "none" and activations.name == "fp16":
        return ""
    return symmetric_and_fp16(8)(weights, activations)


def _is_float(operands: Operands) -> bool:
    return operands.x_format.kind == "float"


def _halves(operands: Operands) -> NDArray[np.float16]:
    assert not isinstance(operands.x, Encoded)
    return operands.x.view(np.float16)


def _floats(operands: Operands, own: Arithmetic) -> Values:
    def inner(x: NDArray[Any], w: Codes) -> NDArray[Any]:
        return own.all(x, w.astype(np.int64), operand_bits(operands))

    return scaled_groups(_halves(operands), operands, inner)


def _float_one(operands: Operands, own: Arithmetic) -> float:
    def inner(x: Sequence[Any], w: list[int]) -> Any:
        return own.plain(x, w, np.float32(0), operand_bits(operands))

    return float(scaled_one(list(_halves(operands)[0]), Row.of(operands.w), inner))
