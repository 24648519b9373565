"""Ternary values in bytes: four of two bits, or five digits of base 3.

`pack_one` and `unpack_one` are the specification, of one byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.integer import Integers


@dataclass(frozen=True)
class TernaryPacking:
    """How values -1, 0 and 1 share a byte: the first one is the least significant digit.

    values: what each digit means; None: a digit that no value has.
    """

    name: str
    per_byte: int
    values: tuple[int | None, ...]

    @property
    def bits(self) -> Fraction:
        """Bits of one value."""
        return Fraction(8, self.per_byte)

    @property
    def base(self) -> int:
        """How many digits there are."""
        return len(self.values)

    def pack_one(self, values: Sequence[int]) -> int:
        """Return the byte of up to `per_byte` values; missing ones are 0."""
        padded = [*values, *[0] * (self.per_byte - len(values))]
        return sum(self.values.index(value) * self.base**i for i, value in enumerate(padded))

    def unpack_one(self, byte: int) -> list[int]:
        """Return the `per_byte` values of a byte; InputError where it is none of theirs."""
        digits = [self.values[byte // self.base**i % self.base] for i in range(self.per_byte)]
        values = [digit for digit in digits if digit is not None]
        if byte >= self.base**self.per_byte or len(values) < self.per_byte:
            raise InputError(f"{self.name}: byte {byte} holds no ternary values")
        return values

    def pack(self, values: Integers) -> NDArray[np.uint8]:
        """Return the bytes of values (..., n) as (..., ceil(n / per_byte)); the rest is 0.

        Errors: InputError for values that are no integers or not -1, 0 or 1.
        """
        problems = []
        if not np.issubdtype(values.dtype, np.signedinteger):
            problems.append(f"{self.name}: values must be signed integers, got {values.dtype}")
        elif values.size and (int(values.min()) < -1 or int(values.max()) > 1):
            problems.append(f"{self.name}: values must be -1, 0 or 1")
        if values.ndim == 0:
            problems.append(f"{self.name}: values must have at least one axis")
        if problems:
            raise InputError(problems)
        bytes_ = -(-values.shape[-1] // self.per_byte)
        digits = np.full((*values.shape[:-1], bytes_ * self.per_byte), self.values.index(0))
        digit_of = np.array([self.values.index(value) for value in (-1, 0, 1)])
        digits[..., : values.shape[-1]] = digit_of[values.astype(np.int64) + 1]
        grouped = digits.reshape(*values.shape[:-1], bytes_, self.per_byte)
        return (grouped @ self._weights).astype(np.uint8)

    def unpack(self, packed: NDArray[np.uint8], length: int) -> NDArray[np.int8]:
        """Return the (..., length) values of bytes; InputError for bytes that hold none."""
        if packed.dtype != np.uint8:
            raise InputError(f"{self.name}: packed values must be uint8, got {packed.dtype}")
        if packed.ndim == 0 or packed.shape[-1] != -(-length // self.per_byte):
            raise InputError(
                f"{self.name}: {length} values take {-(-length // self.per_byte)} bytes, "
                f"got shape {packed.shape}"
            )
        digits = packed[..., None].astype(np.int64) // self._weights % self.base
        known = np.array([value is not None for value in self.values])
        bad = (packed >= self.base**self.per_byte) | ~known[digits].all(axis=-1)
        if bad.any():
            raise InputError(f"{self.name}: byte {packed[bad][0]} holds no ternary values")
        meaning = np.array([value or 0 for value in self.values], dtype=np.int8)
        values: NDArray[np.int8] = meaning[digits].reshape(
            *packed.shape[:-1], packed.shape[-1] * self.per_byte
        )
        return values[..., :length]

    @property
    def _weights(self) -> NDArray[np.int64]:
        return self.base ** np.arange(self.per_byte)


#: Two's complement of 2 bits, four to a byte; the pattern 10 is no value.
TERNARY_2BIT = TernaryPacking("ternary 2-bit", 4, (0, 1, None, -1))
#: Five digits of base 3 (value + 1) in a byte, 0 to 242: 8/5 bits a value.
TERNARY_5_IN_8 = TernaryPacking("ternary 5-in-8", 5, (-1, 0, 1))
