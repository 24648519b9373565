"""Counting operands: numbers that note every operation that hardware would do on them.

A scalar specification runs on plain numbers or on these. The tally that it leaves is what the
processing element does, for a cost model to price. A specification does not branch on what a
counting operand holds, so its tally does not depend on data, unless it says so.

Integers (`Word`): add, mul, div, negate (inverted bits and a carry), compare, and, xor, mask (by
one bit: AND gates), popcount, look_up; shift is by a fixed amount (wires), barrel_shift by another
word; leading_one finds the place of a first or last 1, round increments what a shift has cut, pass
is one over planes of bits or over a row. Bits taken out of a word are wires and count nothing.

Floating point (`Real`): add, mul, div, compare and so on with the format that the result is rounded
to, as in "add fp16"; round is a conversion. "mul exact": the result is not rounded, another
operation follows. A change of sign is a wire.

Where two operands meet, the left one counts, or the right one if the left is a plain number.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np


@dataclass
class Tally:
    """How often each operation was done, by name."""

    counts: Counter[str] = field(default_factory=Counter)

    def word(self, value: int) -> "Word":
        """Return a word that counts here."""
        return Word(value, self)

    def real(self, value: "float | Rounded") -> "Real":
        """Return a floating-point number that counts here."""
        return Real(value, self)


@dataclass(frozen=True)
class Word:
    """An integer that counts what is done to it; equal to its value."""

    value: int
    tally: Tally

    def _done(self, operation: str, value: int) -> "Word":
        self.tally.counts[operation] += 1
        return Word(value, self.tally)

    def __add__(self, other: "Number") -> "Word":
        """Add."""
        return self._done("add", self.value + int(other))

    __radd__ = __add__

    def __sub__(self, other: "Number") -> "Word":
        """Subtract: an addition with inverted bits and a carry in."""
        return self._done("add", self.value - int(other))

    def __rsub__(self, other: int) -> "Word":
        """Subtract from a constant."""
        return self._done("add", other - self.value)

    def __neg__(self) -> "Word":
        """Change the sign."""
        return self._done("negate", -self.value)

    def __mul__(self, other: "Number") -> "Word":
        """Multiply."""
        return self._done("mul", self.value * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: "Number") -> "Word":
        """Divide, by floor."""
        return self._done("div", self.value // int(other))

    def __rfloordiv__(self, other: int) -> "Word":
        """Divide a constant, by floor."""
        return self._done("div", other // self.value)

    def __divmod__(self, other: "Number") -> tuple["Word", "Word"]:
        """Return quotient and rest of one division, by floor."""
        whole, rest = divmod(self.value, int(other))
        return self._done("div", whole), Word(rest, self.tally)

    def __lshift__(self, amount: "Number") -> "Word":
        """Shift by a fixed amount or by a word."""
        return self._done(_shift(amount), self.value << int(amount))

    def __rshift__(self, amount: "Number") -> "Word":
        """Shift by a fixed amount or by a word; what is cut is lost."""
        return self._done(_shift(amount), self.value >> int(amount))

    def __rlshift__(self, other: int) -> "Word":
        """Shift a constant by a word."""
        return self._done("barrel_shift", other << self.value)

    def __rrshift__(self, other: int) -> "Word":
        """Shift a constant by a word."""
        return self._done("barrel_shift", other >> self.value)

    def __and__(self, other: "Number") -> "Word":
        """And, bit by bit."""
        return self._done("and", self.value & int(other))

    __rand__ = __and__

    def __xor__(self, other: "Number") -> "Word":
        """Exclusive or, bit by bit."""
        return self._done("xor", self.value ^ int(other))

    __rxor__ = __xor__

    def bit_count(self) -> "Word":
        """Return how many bits are 1."""
        return self._done("popcount", self.value.bit_count())

    def bit_length(self) -> "Word":
        """Return the place of the leading one, counted from 1."""
        return self._done("leading_one", self.value.bit_length())

    def __int__(self) -> int:
        """Return the value."""
        return self.value

    def __index__(self) -> int:
        """Return the value."""
        return self.value


def _shift(amount: "Number") -> str:
    return "barrel_shift" if isinstance(amount, Word) else "shift"


@dataclass(frozen=True)
class Real:
    """A floating-point number that counts what is done to it.

    NumPy's float16 and float32 round at each operation, which then counts at once. A float is exact
    until it is rounded to a format: `operation` waits for that to be counted.
    """

    value: Any
    tally: Tally
    operation: str = ""
    #: NumPy's numbers leave operations to this class.
    __array_ufunc__: ClassVar[None] = None

    def _done(self, operation: str, value: Any) -> "Real":
        kind = _NUMPY_FORMATS.get(type(value))
        if kind is not None:
            return self.done(f"{operation} {kind}", value)
        if self.operation:
            self.tally.counts[f"{self.operation} exact"] += 1
        return Real(value, self.tally, operation)

    def done(self, operation: str, value: Any) -> "Real":
        """Return the result of an operation that is counted under this name."""
        self.tally.counts[operation] += 1
        return Real(value, self.tally)

    def rounded(self, kind: str, value: float) -> "Real":
        """Return what the number is when rounded to a format; counts the operation before."""
        return self.done(f"{self.operation or 'round'} {kind}", value)

    def __add__(self, other: "Scalar") -> "Real":
        """Add."""
        return self._done("add", self.value + value_of(other))

    __radd__ = __add__

    def __sub__(self, other: "Scalar") -> "Real":
        """Subtract: an addition."""
        return self._done("add", self.value - value_of(other))

    def __rsub__(self, other: float) -> "Real":
        """Subtract from a constant; from 0 it is a change of sign."""
        value = other - self.value
        return self._done("add", value) if other else Real(value, self.tally)

    def __mul__(self, other: "Scalar") -> "Real":
        """Multiply."""
        return self._done("mul", self.value * value_of(other))

    __rmul__ = __mul__

    def __truediv__(self, other: "Scalar") -> "Real":
        """Divide."""
        return self._done("div", self.value / value_of(other))

    def __rtruediv__(self, other: float) -> "Real":
        """Divide a constant."""
        return self._done("div", other / self.value)

    def __abs__(self) -> "Real":
        """Return the magnitude: without the wire of the sign."""
        return Real(abs(self.value), self.tally)

    def __float__(self) -> float:
        """Return the value."""
        return float(self.value)


#: NumPy's numbers, whose operations round.
Rounded: TypeAlias = np.float16 | np.float32
_NUMPY_FORMATS: dict[type, str] = {np.float16: "fp16", np.float32: "fp32"}
Number: TypeAlias = int | Word
Scalar: TypeAlias = float | Real
#: Rounds a float64 once to a format.
Rounds: TypeAlias = Callable[[float, str], Any]


def value_of(number: Any) -> Any:
    """Return the plain number."""
    return number.value if isinstance(number, Word | Real) else number


def in_float32(value: Scalar) -> Any:
    """Return a value that float32 holds as such: wires. Operations on it round to float32."""
    if isinstance(value, Real):
        return Real(np.float32(value.value), value.tally)
    return np.float32(value)


def bit(word: Number, place: int) -> int:
    """Return one bit of a word in two's complement: a wire, counted as nothing."""
    return int(word) >> place & 1


def like(operand: Any, value: int) -> Number:
    """Return an integer that counts where an operand does: wires."""
    return Word(value, operand.tally) if isinstance(operand, Word | Real) else value


def like_real(operand: Any, value: float) -> Scalar:
    """Return a floating-point number that counts where an operand does: wires."""
    return Real(value, operand.tally) if isinstance(operand, Word | Real) else value


def plane(words: Sequence[Number], place: int) -> Number:
    """Return one bit of each of some words as a word, the first lowest: wires."""
    gathered = 0
    for word in reversed(words):
        gathered = gathered << 1 | int(word) >> place & 1
    return like(words[0], gathered)


def noted(word: Number, operation: str, value: int) -> Number:
    """Return the value, which an operation on a word gave, counted once."""
    return word._done(operation, value) if isinstance(word, Word) else value


def masked(word: Number, keep: int) -> Number:
    """Return the word where `keep` is 1, 0 where it is 0: an AND gate a bit."""
    value = int(word) if keep else 0
    return word._done("mask", value) if isinstance(word, Word) else value


def magnitude(word: Number) -> Number:
    """Return a word without its sign."""
    return noted(word, "negate", abs(int(word)))


def signed(size: Number, negative: int) -> Number:
    """Return a magnitude with its sign: inverted bits and a carry where it is negative."""
    return noted(size, "negate", -int(size) if negative else int(size))


def larger(one: Number, other: Number) -> Number:
    """Return the larger of two integers: one comparison."""
    if isinstance(one, Word) or isinstance(other, Word):
        return _compared(one, other, max(int(one), int(other)))
    return one if one >= other else other


def smaller(one: Number, other: Number) -> Number:
    """Return the smaller of two integers: one comparison."""
    if isinstance(one, Word) or isinstance(other, Word):
        return _compared(one, other, min(int(one), int(other)))
    return one if one <= other else other


def largest(words: Sequence[Number]) -> Number:
    """Return the largest of some integers: a comparison less than there are."""
    most = words[0]
    if isinstance(most, Word):
        for word in words[1:]:
            most = larger(word, most)
        return most
    plain: Any = words
    return int(max(plain))


def _compared(one: Number, other: Number, value: int) -> Number:
    return noted(one if isinstance(one, Word) else other, "compare", value)


def larger_real(left: Any, right: Any, kind: str) -> Any:
    """Return the larger of two values of a format, NaN if there is one: one comparison."""
    one, other = value_of(left), value_of(right)
    most = one if one >= other or one != one else other
    return left.done(f"compare {kind}", most) if isinstance(left, Real) else most


def noted_real(operand: Scalar, operation: str, value: float) -> Scalar:
    """Return the exact value that an operation on a number gave, counted as it is rounded."""
    return operand._done(operation, value) if isinstance(operand, Real) else value


def note_passes(row: Sequence[Any], passes: int) -> None:
    """Count that a row is read so many times."""
    if row and isinstance(row[0], Word | Real):
        row[0].tally.counts["pass"] += passes


def nearest_even(word: Number, shift: Number) -> Number:
    """Return word / 2^shift rounded to nearest even: a shift, then a rounding."""
    if isinstance(word, Word):
        return noted(word >> shift, "round", int(nearest_even(word.value, int(shift))))
    unit = 1 << int(shift)
    whole, rest = divmod(word, unit)
    return whole + (2 * rest + (whole & 1) > unit)


def looked_up(table: Sequence[Number], address: int) -> Number:
    """Return an entry of a table: one look-up."""
    entry = table[address]
    return entry._done("look_up", entry.value) if isinstance(entry, Word) else entry


def counting(rounds: Rounds) -> Callable[[Scalar, str], Scalar]:
    """Return a function that rounds a number once to a format, and counts what gave the number."""

    def rounded(value: Scalar, kind: str) -> Scalar:
        if isinstance(value, Real):
            return value.rounded(kind, float(rounds(value.value, kind)))
        return float(rounds(value, kind))

    return rounded
