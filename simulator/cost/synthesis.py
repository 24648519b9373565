"""A user's own area and energy of processing elements, from a CSV file: what synthesis reported.

A line is an element and an operand pair: area of one element in um2, energy of a cycle (a pass of
its micro-tile) in pJ, as they stand: no factor for placement or clock is put on them. They take the
place of gates for that element, for all of its pairs.
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from simulator.config import csv_rows, did_you_mean
from simulator.cost.profile import Bound, Constant
from simulator.cost.technology import Cost
from simulator.errors import InputError

COLUMNS = ("pe", "pair", "area_um2", "energy_pj")
#: Ends of ranges; a column that is not there, or an empty cell, is the nominal value.
ENDS = ("area_low_um2", "area_high_um2", "energy_low_pj", "energy_high_pj")
#: The least of an element, by unit: a gate has as much area, and 1000 times the energy in a cycle.
LEAST = {"um2": 1.0, "pj": 1e-6}
#: Units as messages write them.
WRITTEN = {"um2": "um2", "pj": "pJ"}


class Synthesised(NamedTuple):
    """A line: area of one element in um2, energy of a cycle in pJ."""

    pe: str
    pair: str
    area_um2: Constant
    energy_pj: Constant


@dataclass(frozen=True)
class Synthesis:
    """The lines of a file."""

    label: str
    entries: tuple[Synthesised, ...]

    def covers(self, pe: str) -> bool:
        """Tell whether the file has an element."""
        return any(entry.pe == pe for entry in self.entries)

    def cost(self, pe: str, pair: str, bound: Bound = "nominal") -> Cost:
        """Return area in um2 and energy of a cycle in pJ of an element on an operand pair.

        Raises InputError for a pair that the file does not have: an element has one source.
        """
        has = [entry for entry in self.entries if entry.pe == pe]
        for entry in has:
            if entry.pair == pair:
                return Cost(entry.area_um2.at(bound), entry.energy_pj.at(bound))
        known = ", ".join(entry.pair for entry in has) or "none of its pairs"
        raise InputError(f"{self.label}: PE '{pe}' has no line for {pair}; it has: {known}")


def load_synthesis(path: str | Path) -> Synthesis:
    """Read a CSV file with the columns pe, pair, area_um2, energy_pj and, optional, `ENDS`.

    Areas are 1 um2 at least, energies 1e-6 pJ: what is less is of another unit. Raises InputError
    with every problem of the file.
    """
    label = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {error}") from error
    problems: list[str] = []
    found: dict[tuple[str, str], Synthesised] = {}
    rows = csv_rows(text, label)
    _, columns = next(rows, (1, []))
    _check_header(columns, label)
    for line, cells in rows:
        where = f"{label}:{line}"
        try:
            entry = _entry(columns, cells, where)
        except InputError as error:
            problems += error.problems
            continue
        if (entry.pe, entry.pair) in found:
            problems.append(f"{where}: {entry.pe} {entry.pair} is there more than once")
        found[entry.pe, entry.pair] = entry
    if not found and not problems:
        problems.append(f"{label}: has no lines")
    if problems:
        raise InputError(problems)
    return Synthesis(label, tuple(found.values()))


def _check_header(given: list[str], label: str) -> None:
    known = (*COLUMNS, *ENDS)
    problems = [f"{label}: column '{name}' is missing" for name in COLUMNS if name not in given]
    problems += [
        f"{label}: unknown column '{name}'{did_you_mean(name, known)}"
        for name in given
        if name not in known
    ]
    problems += [
        f"{label}: column '{name}' is there more than once"
        for name in dict.fromkeys(given)
        if given.count(name) > 1
    ]
    if problems:
        raise InputError(problems)


def _entry(columns: list[str], cells: list[str], where: str) -> Synthesised:
    if len(cells) != len(columns):
        raise InputError(f"{where}: needs one value a column")
    values = dict(zip(columns, cells, strict=True))
    problems = [f"{where}: {name} is empty" for name in COLUMNS[:2] if not values[name]]
    numbers: dict[str, float] = {}
    for name in (*COLUMNS[2:], *ENDS):
        text = values.get(name, "")
        if not text and name in ENDS:
            continue
        try:
            numbers[name] = _number(text, name.rpartition("_")[2])
        except ValueError as error:
            problems.append(f"{where}: {name} {error}")
    if problems:
        raise InputError(problems)
    return Synthesised(
        values["pe"],
        values["pair"],
        _constant(numbers, "area", "um2", where),
        _constant(numbers, "energy", "pj", where),
    )


def _number(text: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"must be a number, got '{text}'") from None
    if not isfinite(value):
        raise ValueError(f"must be finite, got {text}")
    if value < LEAST[unit]:
        raise ValueError(f"must be at least {LEAST[unit]:g} ({WRITTEN[unit]}), got {text}")
    return value


def _constant(numbers: dict[str, float], what: str, unit: str, where: str) -> Constant:
    nominal = numbers[f"{what}_{unit}"]
    low = numbers.get(f"{what}_low_{unit}", nominal)
    high = numbers.get(f"{what}_high_{unit}", nominal)
    if not low <= nominal <= high:
        raise InputError(
            f"{where}: {what}: needs low <= nominal <= high, got {low}, {nominal}, {high}"
        )
    return Constant(nominal=nominal, low=low, high=high, source=where)
