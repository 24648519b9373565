"""OliVe: pairs of 4-bit codes in which an outlier takes the code of its neighbour, the victim.

`encode_pair` and `decode_pair` are the specification; `encode_pairs` and `decode_pairs` are arrays.
Rounding, saturation and NaN are as in `codebook`. Left out: 8-bit and unsigned pairs.

Source: Guo et al., OliVe, ISCA 2023, and the authors' released code.
"""

from dataclasses import dataclass
from functools import cached_property
from math import frexp, isnan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.codebook import (
    FLINT4,
    INT4,
    Codebook,
    Grid,
    decode,
    refuse_codes,
    refuse_nan,
)
from simulator.formats.minifloat import Floats
from simulator.formats.rounding import Rounding


def abfloat(code: int, bias: int) -> float:
    """Return the value of an OliVe outlier: sign, 2 bits exponent, 1 bit mantissa, adaptive bias.

    (2 + mantissa) * 2^(exponent + bias); the codes 0 and 8 are no outliers. Errors: InputError.
    """
    if not (0 <= code < 16 and code % 8):
        raise InputError(f"abfloat: code {code} is not 1 to 7 or 9 to 15")
    value = float(2 + code % 2) * 2.0 ** ((code >> 1 & 3) + bias)
    return -value if code & 8 else value


@dataclass(frozen=True)
class OutlierVictim:
    """OliVe's outlier-victim pairs (Guo et al., ISCA 2023): two 4-bit codes for values 2i, 2i+1.

    A pair without outlier is two codes of `normal`. An outlier is an abfloat and its neighbour, the
    victim, gets the code 8 (`IDENTIFIER`), which `normal` loses, and is 0. A value is an outlier if
    it rounds to an abfloat on the values of both kinds, as in the authors' code.

    both: what two outliers in a pair become. "larger" keeps the one of larger magnitude (the first
    of equal ones) and makes the other the victim: an assumption from memory of the paper. "first"
    keeps the first, whatever its size: what the authors' released code does.
    """

    name: str
    normal: Codebook
    both: Literal["larger", "first"] = "larger"

    IDENTIFIER = 8

    def __post_init__(self) -> None:
        """Refuse what is not a 4-bit table, and unknown rules."""
        problems = []
        if self.normal.bits != 4:
            problems.append(f"normal values have 4 bits, got {self.normal.bits}")
        if self.both not in ("larger", "first"):
            problems.append(f"both must be 'larger' or 'first', got {self.both!r}")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @cached_property
    def bias(self) -> int:
        """The least bias with which every outlier is beyond every normal value: int4 2, flint4 3.

        Derived; the released code has the same outliers for both (exponent base 5 of 32).
        """
        fraction, exponent = frexp(max(abs(value) for value in self._normals.values()))
        # 3 * 2^bias > fraction * 2^exponent, with the fraction from 1/2 to 1.
        return exponent - 2 if fraction < 0.75 else exponent - 1

    @property
    def _normals(self) -> dict[int, float]:
        values = enumerate(self.normal.values)
        return {code: value for code, value in values if code != self.IDENTIFIER}

    @cached_property
    def outliers(self) -> dict[int, float]:
        """The values of the outliers by code."""
        return {code: abfloat(code, self.bias) for code in range(16) if code % 8}

    @cached_property
    def _grid(self) -> Grid:
        return Grid((*self._normals.values(), *self.outliers.values()))

    @cached_property
    def _by_rank(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The code of every rank, and whether it is an outlier."""
        codes = {value: code for code, value in self._normals.items()}
        outliers = {value: code for code, value in self.outliers.items()}
        is_outlier = np.array([value in outliers for value in self._grid.sorted])
        codes |= outliers
        return np.array([codes[value] for value in self._grid.sorted]), is_outlier

    def decode_pair(self, first: int, second: int) -> tuple[float, float]:
        """Return the two values of a pair of codes; InputError where it is none."""
        values = self.normal.decode_one(first), self.normal.decode_one(second)
        if first == self.IDENTIFIER:
            return 0.0, self._outlier(second)
        return (self._outlier(first), 0.0) if second == self.IDENTIFIER else values

    def _outlier(self, code: int) -> float:
        if code not in self.outliers:
            raise InputError(f"{self.name}: code {code} beside an identifier is no outlier")
        return self.outliers[code]

    def encode_pair(
        self, first: float, second: float, rounding: Rounding, random: tuple[int, int] = (0, 0)
    ) -> tuple[int, int]:
        """Return the two codes of a pair of values; InputError for NaN."""
        if isnan(first) or isnan(second):
            raise InputError(f"{self.name} has no NaN")
        codes, is_outlier = self._by_rank
        ranks = [
            self._grid.rank_one(value, rounding, drawn)
            for value, drawn in zip((first, second), random, strict=True)
        ]
        one, two = (int(codes[rank]) for rank in ranks)
        left, right = (bool(is_outlier[rank]) for rank in ranks)
        if left and right:
            left = self.both == "first" or abs(first) >= abs(second)
            right = not left
        if left:
            return one, self.IDENTIFIER
        return (self.IDENTIFIER, two) if right else (one, two)


def encode_pairs(
    form: OutlierVictim, values: Floats, rounding: Rounding, seed: int = 0
) -> NDArray[np.uint8]:
    """Return the codes of values paired along the last axis, in the shape of `values`.

    Element i of the flattened array draws random number i of `seed`. Errors: InputError for NaN and
    for an odd last axis.
    """
    _refuse_odd(form.name, values.shape)
    refuse_nan(form.name, values)
    codes, is_outlier = form._by_rank
    ranks = form._grid.ranks(values, rounding, seed)
    outlier, result = is_outlier[ranks], codes[ranks].astype(np.uint8)
    left, right = outlier[..., 0::2], outlier[..., 1::2]
    if form.both == "larger":
        sizes = np.abs(values)
        left = left & ~(right & (sizes[..., 1::2] > sizes[..., 0::2]))
    right = right & ~left
    result[..., 1::2][left] = form.IDENTIFIER
    result[..., 0::2][right] = form.IDENTIFIER
    return result


def decode_pairs(form: OutlierVictim, codes: NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
    """Return the values of pairs of codes along the last axis (dtype: that of `normal`).

    Errors: InputError for codes beyond 15, an odd last axis, and identifiers without an outlier.
    """
    _refuse_odd(form.name, codes.shape)
    refuse_codes(form.name, codes, 16)
    victim = codes == form.IDENTIFIER
    beside = np.empty_like(victim)
    beside[..., 0::2], beside[..., 1::2] = victim[..., 1::2], victim[..., 0::2]
    broken = beside & (codes % 8 == 0)
    if broken.any():
        raise InputError(f"{form.name}: {int(broken.sum())} codes beside an identifier are 0 or 8")
    large = np.array([form.outliers.get(code, 0.0) for code in range(16)])
    values = np.where(beside, np.take(large, codes), decode(form.normal, codes))
    return np.where(victim, 0.0, values).astype(form.normal.table.dtype)


def _refuse_odd(name: str, shape: tuple[int, ...]) -> None:
    if not shape or shape[-1] % 2:
        raise InputError(f"{name}: the last axis must be of pairs, got shape {shape}")


OLIVE_INT4 = OutlierVictim("olive_int4", INT4)
OLIVE_FLINT4 = OutlierVictim("olive_flint4", FLINT4)
