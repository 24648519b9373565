"""Counting operands: numbers that note every operation that hardware would do on them.

A scalar specification runs on plain numbers or on these. The tally that it leaves is what the
processing element does, for a cost model to price. A specification does not branch on what a
counting operand holds, so its tally does not depend on data, unless it says so.

Integers (`Word`): add, mul, div, negate (inverted bits and a carry), compare, and, xor, mask (by
one bit: AND gates), popcount, look_up, store (an entry is kept in a register through all passes);
shift is by a fixed amount (wires), barrel_shift by another word, or by one of two amounts;
leading_one finds the place of a first or last 1, round increments what a shift has cut, pass
is one over planes of bits or over a row. Bits taken out of a word are wires and count nothing.

Floating point (`Real`): add, mul, div, compare and so on with the format that the result is rounded
to, as in "add fp16"; round is a conversion. "mul exact": the result is not rounded, another
operation follows. A change of sign is a wire.

Where two operands meet, the left one counts, or the right one if the left is a plain number.

Widths: a word has a number of bits, with its sign if it has one, that follows the worst case and
not the value: a sum has a bit more than the wider operand, a product the bits of both, a shift by a
fixed amount so many more or less, a shift to the left by a word of w bits 2^w - 1 more; of a mask,
exclusive or and comparison the wider operand, of a look-up the entry. A plain integer has the bits
of its value. `Tally.sizes` counts operations with the width of the hardware that they need: that of
the (wider) operand, or a pair: both operands of mul and div, word and amount of barrel_shift, entry
and number of entries of look_up.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, ClassVar, TypeAlias

import numpy as np

from simulator.errors import InputError

#: Bits of the operand, or of two operands, that an operation has hardware for.
Size: TypeAlias = int | tuple[int, int]
#: Amounts of a shift beyond so many bits are no wider: no hardware has them.
AMOUNT_BITS = 16
#: Most passes of one row; more are a slip.
MOST_PASSES = 2**20


def width_of(value: int) -> int:
    """Return the bits that hold an integer: in two's complement below 0, else unsigned, >= 1."""
    return (~value).bit_length() + 1 if value < 0 else max(value.bit_length(), 1)


@dataclass
class Tally:
    """How often each operation was done: by name, and of words by name and size too."""

    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[str, Size]] = field(default_factory=Counter)

    def word(self, value: int, bits: int | None = None) -> "Word":
        """Return a word that counts here, of so many bits (without: those of its value).

        Raises InputError where they do not hold the value, in two's complement or unsigned.
        """
        if bits is not None and bits < width_of(value):
            raise InputError(f"{value} needs {width_of(value)} bits, got {bits}")
        return Word(value, self, bits or 0)

    def note(self, operation: str, size: Size) -> None:
        """Count an operation on words of a size."""
        self.counts[operation] += 1
        self.sizes[operation, size] += 1

    def operations(self) -> dict[tuple[str, Size | str | None], int]:
        """Return the counts by operation and size of words, or format of floating-point numbers.

        An operation that was counted by name alone has the size None.
        """
        found: dict[tuple[str, Size | str | None], int] = {}
        found.update(self.sizes.items())
        sized = Counter[str]()
        for (operation, _), count in self.sizes.items():
            sized[operation] += count
        for name, count in (self.counts - sized).items():
            operation, _, form = name.partition(" ")
            found[operation, form or None] = count
        return found

    def real(self, value: "float | Rounded") -> "Real":
        """Return a floating-point number that counts here."""
        return Real(value, self)


@dataclass(frozen=True)
class Word:
    """An integer that counts what is done to it; equal to its value.

    bits: its width, at least that of its value.
    """

    value: int
    tally: Tally
    bits: int = 0

    def __post_init__(self) -> None:
        """Give the word the bits that its value needs, if it has less."""
        object.__setattr__(self, "bits", max(self.bits, width_of(self.value)))

    def _done(self, operation: str, value: int, bits: int, size: Size | None = None) -> "Word":
        """Return the result of an operation, of so many bits, which is counted by its size."""
        self.tally.note(operation, self.bits if size is None else size)
        return Word(value, self.tally, bits)

    def _joined(self, operation: str, value: int, other: "Number", more: int = 0) -> "Word":
        """Return the result of an operation on two words as wide as the wider one, or wider."""
        wider = max(self.bits, bits_of(other))
        return self._done(operation, value, wider + more, wider)

    def __add__(self, other: "Number") -> "Word":
        """Add."""
        return self._joined("add", self.value + int(other), other, 1)

    __radd__ = __add__

    def __sub__(self, other: "Number") -> "Word":
        """Subtract: an addition with inverted bits and a carry in."""
        return self._joined("add", self.value - int(other), other, 1)

    def __rsub__(self, other: int) -> "Word":
        """Subtract from a constant."""
        return self._joined("add", other - self.value, other, 1)

    def __neg__(self) -> "Word":
        """Change the sign."""
        return self._done("negate", -self.value, self.bits + 1)

    def __mul__(self, other: "Number") -> "Word":
        """Multiply."""
        both = self.bits, bits_of(other)
        return self._done("mul", self.value * int(other), sum(both), both)

    __rmul__ = __mul__

    def __floordiv__(self, other: "Number") -> "Word":
        """Divide, by floor."""
        return divmod(self, other)[0]

    def __rfloordiv__(self, other: int) -> "Word":
        """Divide a constant, by floor."""
        bits = width_of(other)
        return self._done("div", other // self.value, bits, (bits, self.bits))

    def __divmod__(self, other: "Number") -> tuple["Word", "Word"]:
        """Return quotient and rest of one division, by floor."""
        whole, rest = divmod(self.value, int(other))
        divided = self._done("div", whole, self.bits, (self.bits, bits_of(other)))
        return divided, Word(rest, self.tally, bits_of(other))

    def __lshift__(self, amount: "Number") -> "Word":
        """Shift by a fixed amount or by a word."""
        return _shifted(self, self.value << int(amount), amount, _most(amount))

    def __rshift__(self, amount: "Number") -> "Word":
        """Shift by a fixed amount or by a word; what is cut is lost."""
        less = 0 if isinstance(amount, Word) else -amount
        return _shifted(self, self.value >> int(amount), amount, less)

    def __rlshift__(self, other: int) -> "Word":
        """Shift a constant by a word."""
        return Word(other, self.tally) << self

    def __rrshift__(self, other: int) -> "Word":
        """Shift a constant by a word."""
        return Word(other, self.tally) >> self

    def __and__(self, other: "Number") -> "Word":
        """And, bit by bit."""
        return self._joined("and", self.value & int(other), other)

    __rand__ = __and__

    def __xor__(self, other: "Number") -> "Word":
        """Exclusive or, bit by bit."""
        return self._joined("xor", self.value ^ int(other), other)

    __rxor__ = __xor__

    def bit_count(self) -> "Word":
        """Return how many bits are 1."""
        return self._done("popcount", self.value.bit_count(), self.bits.bit_length())

    def bit_length(self) -> "Word":
        """Return the place of the leading one, counted from 1."""
        return self._done("leading_one", self.value.bit_length(), self.bits.bit_length())

    def __int__(self) -> int:
        """Return the value."""
        return self.value

    def __index__(self) -> int:
        """Return the value."""
        return self.value


def bits_of(number: "Number") -> int:
    """Return the width of a word, or the bits of a plain integer."""
    return number.bits if isinstance(number, Word) else width_of(number)


def _most(amount: "Number") -> int:
    """Return the largest amount that a word, or a plain integer, can be."""
    if isinstance(amount, Word):
        return (1 << min(amount.bits, AMOUNT_BITS)) - 1
    return amount


def _shifted(word: Word, value: int, amount: "Number", more: int) -> Word:
    """Return a shifted word that is so many bits wider: wires, or a shifter with its amount."""
    if isinstance(amount, Word):
        return word._done("barrel_shift", value, word.bits + more, (word.bits, amount.bits))
    return word._done("shift", value, word.bits + more)


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


def like(operand: Any, value: int, bits: int | None = None) -> Number:
    """Return an integer that counts where an operand does: wires.

    bits: its width; without, that of the word that it is taken from.
    """
    if not isinstance(operand, Word | Real):
        return value
    width = operand.bits if isinstance(operand, Word) else 0
    return Word(value, operand.tally, width if bits is None else bits)


def like_real(operand: Any, value: float) -> Scalar:
    """Return a floating-point number that counts where an operand does: wires."""
    return Real(value, operand.tally) if isinstance(operand, Word | Real) else value


def plane(words: Sequence[Number], place: int) -> Number:
    """Return one bit of each of some words as a word, the first lowest: wires."""
    gathered = 0
    for word in reversed(words):
        gathered = gathered << 1 | int(word) >> place & 1
    return like(words[0], gathered, len(words))


def noted(word: Number, operation: str, value: int, bits: int | None = None) -> Number:
    """Return the value, which an operation on a word gave, counted once.

    bits: its width; without, that of the word.
    """
    if not isinstance(word, Word):
        return value
    return word._done(operation, value, word.bits if bits is None else bits)


def masked(word: Number, keep: int) -> Number:
    """Return the word where `keep` is 1, 0 where it is 0: an AND gate a bit."""
    return noted(word, "mask", int(word) if keep else 0)


def magnitude(word: Number) -> Number:
    """Return a word without its sign."""
    return noted(word, "negate", abs(int(word)))


def signed(size: Number, negative: int) -> Number:
    """Return a magnitude with its sign: inverted bits and a carry where it is negative."""
    return noted(size, "negate", -int(size) if negative else int(size), bits_of(size) + 1)


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
    word, second = (one, other) if isinstance(one, Word) else (other, one)
    return word._joined("compare", value, second) if isinstance(word, Word) else value


def larger_real(left: Any, right: Any, kind: str) -> Any:
    """Return the larger of two values of a format, NaN if there is one: one comparison."""
    one, other = value_of(left), value_of(right)
    most = one if one >= other or one != one else other
    return left.done(f"compare {kind}", most) if isinstance(left, Real) else most


def remembered(made: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    """Let a table of plain integers be made once; one of numbers that count is made each time.

    Outputs look up in the same tables, as in hardware; nobody changes one.
    """
    kept = lru_cache(maxsize=1 << 16)(lambda values: made(list(values)))

    @wraps(made)
    def table(values: list[Any]) -> list[Any]:
        plain = all(type(each) is int for each in values)
        return kept(tuple(values)) if plain else made(values)

    return table


def noted_real(operand: Scalar, operation: str, value: float) -> Scalar:
    """Return the exact value that an operation on a number gave, counted as it is rounded."""
    return operand._done(operation, value) if isinstance(operand, Real) else value


def note_passes(row: Sequence[Any], passes: int) -> None:
    """Count that a row is read so many times.

    Errors: InputError for passes that are not an integer from 1 to `MOST_PASSES`.
    """
    if not isinstance(passes, int | np.integer) or not 1 <= passes <= MOST_PASSES:
        raise InputError(f"passes must be an integer from 1 to {MOST_PASSES}, got {passes!r}")
    if row and isinstance(row[0], Word | Real):
        row[0].tally.counts["pass"] += passes


def nearest_even(word: Number, shift: Number) -> Number:
    """Return word / 2^shift rounded to nearest even: a shift, then a rounding."""
    if isinstance(word, Word):
        cut, value = word >> shift, int(nearest_even(word.value, int(shift)))
        return cut._done("round", value, cut.bits + 1)
    unit = 1 << int(shift)
    whole, rest = divmod(word, unit)
    return whole + (2 * rest + (whole & 1) > unit)


def looked_up(table: Sequence[Number], address: int) -> Number:
    """Return an entry of a table: one look-up."""
    entry = table[address]
    if not isinstance(entry, Word):
        return entry
    return entry._done("look_up", entry.value, entry.bits, (entry.bits, len(table)))


def looked_up_real(table: Sequence[Any], address: int) -> Any:
    """Return an entry of a table of NumPy's numbers: one look-up."""
    entry = table[address]
    if isinstance(entry, Real):
        entry.tally.note("look_up", (8 * int(entry.value.nbytes), len(table)))
    return entry


def scaled(number: Any, power: np.float32) -> Any:
    """Return a float32 times a power of two, exactly: its exponent is added to."""
    if isinstance(number, Real):
        return number.done("scale fp32", number.value * power)
    return number * power


def stored(table: Sequence[Number]) -> list[Number]:
    """Return a table that is written to registers: a store an entry."""
    return [noted(entry, "store", int(entry)) for entry in table]


def shifted_where(word: Number, places: int, on: bool) -> Number:
    """Return a word shifted to the left by `places` where `on`, else as it is: a multiplexer."""
    value = int(word) << places if on else int(word)
    if not isinstance(word, Word):
        return value
    bits = word.bits + places
    return word._done("barrel_shift", value, bits, (bits, 1))


def counting(rounds: Rounds) -> Callable[[Scalar, str], Scalar]:
    """Return a function that rounds a number once to a format, and counts what gave the number."""

    def rounded(value: Scalar, kind: str) -> Scalar:
        if isinstance(value, Real):
            return value.rounded(kind, float(rounds(value.value, kind)))
        return float(rounds(value, kind))

    return rounded
