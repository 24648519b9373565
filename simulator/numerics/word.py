"""Counting operands: integers that note every operation that hardware would do on them.

A scalar specification runs on plain integers or on words. On words, the tally it leaves is what the
processing element does: additions, shifts by a fixed amount (wires), masks by one bit (AND gates),
exclusive ors, look-ups in a table, multiplications. A specification never branches on a value, so
its tally does not depend on data.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass
class Tally:
    """How often each operation was done, by name."""

    counts: Counter[str] = field(default_factory=Counter)

    def word(self, value: int) -> "Word":
        """Return a word that counts here."""
        return Word(value, self)


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

    def __mul__(self, other: "Number") -> "Word":
        """Multiply."""
        return self._done("mul", self.value * int(other))

    __rmul__ = __mul__

    def __lshift__(self, amount: int) -> "Word":
        """Shift by a fixed amount: wires."""
        return self._done("shift", self.value << amount)

    def __xor__(self, other: "Number") -> "Word":
        """Exclusive or, bit by bit."""
        return self._done("xor", self.value ^ int(other))

    def __int__(self) -> int:
        """Return the value."""
        return self.value

    def __index__(self) -> int:
        """Return the value."""
        return self.value


Number: TypeAlias = int | Word


def bit(word: Number, place: int) -> int:
    """Return one bit of a word in two's complement: a wire, counted as nothing."""
    return int(word) >> place & 1


def masked(word: Number, keep: int) -> Number:
    """Return the word where `keep` is 1, 0 where it is 0: an AND gate a bit."""
    value = int(word) if keep else 0
    return word._done("mask", value) if isinstance(word, Word) else value


def looked_up(table: Sequence[Number], address: int) -> Number:
    """Return an entry of a table: one look-up."""
    entry = table[address]
    return entry._done("look_up", entry.value) if isinstance(entry, Word) else entry
