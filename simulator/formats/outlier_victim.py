"""OliVe: pairs of codes of 4 or 8 bits; an outlier takes the code of its neighbour, the victim.

`encode_pair` and `decode_pair` are the specification; `encode_pairs` and `decode_pairs` are arrays.
Rounding, saturation and NaN are as in `codebook`.

Source: Guo et al., OliVe, ISCA 2023, and the authors' released code (ANT-Quantization,
`olive_quantization`), which rounds values and has no codes. assumed: 8-bit outliers of 4 exponent
bits are from memory of the paper; the released code has 2 exponent bits for any width.
Left out: unsigned pairs, whose 2^bits normal values in the released code leave no code for the
identifier; the search for the best scale.
"""

from dataclasses import dataclass
from functools import cached_property
from math import frexp, isnan
from types import MappingProxyType
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


def abfloat(code: int, bias: int, bits: int = 4, exponent_bits: int = 2) -> float:
    """Return the value of an OliVe outlier: sign, exponent, mantissa, with an adaptive bias.

    (2^mantissa bits + mantissa) * 2^(exponent + bias); the codes 0 and -0 are no outliers. Errors:
    InputError.
    """
    sign = 1 << bits - 1
    if not (0 <= code < 2 * sign and code % sign):
        outliers = f"1 to {sign - 1} or {sign + 1} to {2 * sign - 1}"
        raise InputError(f"abfloat: code {code} is not {outliers}")
    mantissa_bits = bits - 1 - exponent_bits
    exponent, mantissa = divmod(code % sign, 1 << mantissa_bits)
    value = ((1 << mantissa_bits) + mantissa) * 2.0 ** (exponent + bias)
    return -value if code & sign else value


@dataclass(frozen=True)
class OutlierVictim:
    """OliVe's outlier-victim pairs (Guo et al., ISCA 2023): two codes for values 2i, 2i+1.

    A pair without outlier is two codes of `normal`. An outlier is an abfloat and its neighbour, the
    victim, gets the code 8 or 128 (`identifier`), which `normal` loses, and is 0. A value is an
    outlier if it rounds to an abfloat on the values of both kinds, as in the authors' code.

    exponent_bits: of the abfloat; a sign and a mantissa of at least one bit make up the rest.

    both: what two outliers in a pair become. "larger" keeps the one of larger magnitude (the first
    of equal ones) and makes the other the victim: an assumption from memory of the paper. "first"
    keeps the first, whatever its size: what the authors' released code does.
    """

    name: str
    normal: Codebook
    both: Literal["larger", "first"] = "larger"
    exponent_bits: int = 2

    def __post_init__(self) -> None:
        """Refuse what is not a table of 4 or 8 bits, and unknown rules."""
        problems = []
        if self.normal.bits not in (4, 8):
            problems.append(f"normal values have 4 or 8 bits, got {self.normal.bits}")
        elif not 1 <= self.exponent_bits <= self.normal.bits - 2:
            most = self.normal.bits - 2
            problems.append(f"exponent_bits must be 1 to {most}, got {self.exponent_bits}")
        if self.both not in ("larger", "first"):
            problems.append(f"both must be 'larger' or 'first', got {self.both!r}")
        if problems:
            raise InputError([f"{self.name}: {problem}" for problem in problems])

    @property
    def identifier(self) -> int:
        """The code of a victim: the sign bit alone."""
        return 1 << self.normal.bits - 1

    @cached_property
    def largest_normal(self) -> float:
        """The largest magnitude of a normal value."""
        return max(abs(value) for value in self._normals.values())

    @cached_property
    def bias(self) -> int:
        """The least bias with which every outlier is beyond every normal value.

        int4 2, flint4 3, int8 4. Derived; with 2 exponent bits the released code has the same
        outliers (exponent base 5 where 32 is the limit).
        """
        mantissa_bits = self.normal.bits - 1 - self.exponent_bits
        fraction, exponent = frexp(self.largest_normal)
        smallest, own = frexp((1 << mantissa_bits) + 1)
        # smallest * 2^(own + bias) > fraction * 2^exponent, with both fractions from 1/2 to 1.
        return exponent - own + (smallest <= fraction)

    @property
    def _normals(self) -> dict[int, float]:
        values = enumerate(self.normal.values)
        return {code: value for code, value in values if code != self.identifier}

    @cached_property
    def outliers(self) -> dict[int, float]:
        """The values of the outliers by code."""
        bits = self.normal.bits
        codes = [code for code in range(1 << bits) if code % self.identifier]
        return {code: abfloat(code, self.bias, bits, self.exponent_bits) for code in codes}

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
        if first == self.identifier:
            return 0.0, self._outlier(second)
        return (self._outlier(first), 0.0) if second == self.identifier else values

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
            return one, self.identifier
        return (self.identifier, two) if right else (one, two)


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
    result[..., 1::2][left] = form.identifier
    result[..., 0::2][right] = form.identifier
    return result


def decode_pairs(form: OutlierVictim, codes: NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
    """Return the values of pairs of codes along the last axis (dtype: that of `normal`).

    Errors: InputError for codes of more bits, an odd last axis, and identifiers without an outlier.
    """
    _refuse_odd(form.name, codes.shape)
    refuse_codes(form.name, codes, 2 * form.identifier)
    # int8, which holds small codes and none at all, does not hold the identifier of 8 bits.
    codes = codes.astype(np.int64)
    victim = codes == form.identifier
    beside = np.empty_like(victim)
    beside[..., 0::2], beside[..., 1::2] = victim[..., 1::2], victim[..., 0::2]
    broken = beside & (codes % form.identifier == 0)
    if broken.any():
        count = int(broken.sum())
        raise InputError(
            f"{form.name}: {count} codes beside an identifier are 0 or {form.identifier}"
        )
    large = np.array([form.outliers.get(code, 0.0) for code in range(2 * form.identifier)])
    values = np.where(beside, np.take(large, codes), decode(form.normal, codes))
    return np.where(victim, 0.0, values).astype(form.normal.table.dtype)


def _refuse_odd(name: str, shape: tuple[int, ...]) -> None:
    if not shape or shape[-1] % 2:
        raise InputError(f"{name}: the last axis must be of pairs, got shape {shape}")


INT8 = Codebook("int8", tuple(map(float, (*range(128), *range(-128, 0)))))

OLIVE_INT4 = OutlierVictim("olive_int4", INT4)
OLIVE_FLINT4 = OutlierVictim("olive_flint4", FLINT4)
OLIVE_INT8 = OutlierVictim("olive_int8", INT8, exponent_bits=4)

OLIVES: MappingProxyType[str, OutlierVictim] = MappingProxyType(
    {form.name: form for form in (OLIVE_INT4, OLIVE_FLINT4, OLIVE_INT8)}
)
