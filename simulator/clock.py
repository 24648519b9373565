"""Clock domains: from cycles to picoseconds without ever rounding a period.

Cycle *n* of a domain of `hz` is at ceil(n * 10^12 / hz) picoseconds from one epoch that all
domains share. Multiplying a rounded period instead would put 1.41 GHz 0.03 % off.
"""

import operator
from dataclasses import dataclass

PICOSECONDS_PER_SECOND = 10**12


@dataclass(frozen=True)
class ClockDomain:
    """A clock of `hz` cycles a second, an integer > 0."""

    hz: int

    def __post_init__(self) -> None:
        """Refuse what is not a positive integer (`TypeError`, `ValueError`)."""
        if isinstance(self.hz, bool) or not isinstance(self.hz, int):
            raise TypeError(f"a clock needs an integer number of Hz, got {self.hz!r}")
        if self.hz < 1:
            raise ValueError(f"a clock needs at least 1 Hz, got {self.hz}")

    def edge_ps(self, cycle: int) -> int:
        """Return the picosecond of the given cycle's rising edge; `cycle` is an integer >= 0."""
        return -(-_count(cycle, "cycle") * PICOSECONDS_PER_SECOND // self.hz)

    def cycles_at(self, ps: int) -> int:
        """Return how many cycles it takes to cover `ps` picoseconds, an integer >= 0."""
        return -(-_count(ps, "ps") * self.hz // PICOSECONDS_PER_SECOND)


def _count(value: int, name: str) -> int:
    """Return `value` as a Python int (a NumPy integer would overflow); refuse floats and < 0."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < 0:
        raise ValueError(f"{name} must be >= 0, got {count}")
    return count
