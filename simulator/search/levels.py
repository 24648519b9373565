"""The values that each dimension of a study has, and which of them each point has."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.search.records import Kind
from simulator.units import DIMENSIONS, parse_quantity

if TYPE_CHECKING:
    import pandas as pd

ABSENT = "absent"
#: Numbers of a dimension from which on they are put into so many bins.
MOST_LEVELS = 32


@dataclass(frozen=True)
class Levels:
    """The values of a dimension: each once, numbers and quantities ascending; which each point has.

    values: as text for people where they are bins or absent. codes: [points].
    """

    name: str
    kind: Kind
    values: tuple[Any, ...]
    codes: NDArray[np.int64]

    @property
    def present(self) -> int:
        """How many values there are of points to which the dimension applies."""
        return len(self.values) - (self.values[-1:] == (ABSENT,))

    def binned(self) -> "Levels":
        """Return numbers, where there are more than `MOST_LEVELS`, in so many bins.

        Bins have nearly equal counts of points and are named by their ends.
        """
        numbers = self.values[: self.present]
        if self.kind not in ("int", "float") or len(numbers) <= MOST_LEVELS:
            return self
        counts = np.bincount(self.codes, minlength=len(self.values))[: len(numbers)]
        middles = (np.cumsum(counts) - counts / 2) / counts.sum()
        bin_of = np.unique((middles * MOST_LEVELS).astype(int), return_inverse=True)[1]
        firsts = np.flatnonzero(np.diff(bin_of, prepend=-1)).tolist()
        lasts = [*(first - 1 for first in firsts[1:]), len(numbers) - 1]
        named = [
            f"{numbers[low]:.4g} to {numbers[high]:.4g}"
            for low, high in zip(firsts, lasts, strict=True)
        ]
        if len(numbers) < len(self.values):
            bin_of, named = np.append(bin_of, len(named)), [*named, ABSENT]
        return Levels(self.name, self.kind, tuple(named), bin_of[self.codes])


def levels_of(column: "pd.Series[Any]", name: str, kind: Kind) -> Levels:
    """Return the levels of a dimension, a column of `Store.table`."""
    import pandas as pd

    # 1 and true are two values, and pandas takes them for one.
    mixed = kind == "mixed"
    keys = column.map(lambda each: pd.NA if each is pd.NA else repr(each)) if mixed else column
    codes, uniques = pd.factorize(keys, sort=kind in ("int", "float"))
    values = uniques.tolist()
    if mixed:
        there = column[codes >= 0]
        values = there.iloc[np.unique(codes[codes >= 0], return_index=True)[1]].tolist()
    if kind == "text" and (sizes := _quantities(values)):
        order = np.argsort(sizes, kind="stable")
        values = [values[place] for place in order]
        # The last place is that of what is absent, -1.
        codes = np.append(np.argsort(order), -1)[codes]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(values), codes)
        values.append(ABSENT)
    return Levels(name, kind, tuple(values), codes.astype(np.int64, copy=False))


def _quantities(texts: Sequence[str]) -> list[float]:
    """Return texts such as "8 MiB" as numbers of one base unit; nothing where they are none."""
    for dimension in DIMENSIONS:
        with suppress(ValueError):
            return [parse_quantity(text, dimension) for text in texts]
    return []
