"""A grouped part for the kernel: places of commands, and the ticks that rows say between them."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim.grouped_part import GroupedPim
from simulator.dram.standard import Constraint

if TYPE_CHECKING:
    from simulator.dram.pim.grouped_kernel import Machine

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Settings(NamedTuple):
    """How a run is run, beside its part; with `requests`, banks have commands of their own."""

    exclusive: bool
    refresh: bool
    requests: bool
    cadence_ticks: int


def names_of(part: GroupedPim) -> tuple[str, ...]:
    """Return the command of each use of the kernel."""
    memory = part.memory
    closes = {memory.commands[name].level: name for name in memory.with_role("close")}
    return (
        part.command("open"),
        part.command("close"),
        part.command("multiply"),
        part.command("buffer_write"),
        part.command("result_read"),
        memory.with_role("open")[0],
        closes["Bank"],
        memory.with_role("read")[0],
        memory.with_role("write")[0],
        closes[memory.refresh_level],
        memory.refresh.command,
    )


def machine_of(part: GroupedPim, settings: Settings) -> "Machine":
    """Return what a part and settings fix for the kernel."""
    from simulator.dram.pim import grouped_kernel as kernel

    scopes = _scopes(part)
    places = _places(part, scopes, settings.requests)
    base = np.cumsum([0, *map(len, places)]).astype(np.int64)
    table = _Table(part, [place for of_use in places for place in of_use], base)
    ticks = table.ticks([*part.memory.constraints, *part.rows, *_more_rows(part, settings)])
    windows, members = table.windows(part.memory.constraints)
    before, after = np.nonzero(ticks)
    groups = np.array(part.banks_of_groups, np.int64)
    scope_of, group_of = (_owner(each, part.memory.banks_per_channel) for each in (scopes, groups))
    whole = _whole_scopes(scope_of, groups, scopes)
    return kernel.Machine(
        fixed=_fixed(part, settings, ticks, base, clear_all=whole is not None),
        base=base,
        on_column=np.array([_on_column(part, name) for name in names_of(part)], np.int64),
        starts=np.searchsorted(before, np.arange(len(ticks) + 1)).astype(np.int64),
        targets=after.astype(np.int64),
        ticks=ticks[before, after],
        own=np.maximum(1, np.diag(ticks)).astype(np.int64),
        windows=windows,
        members=members,
        first_bank=np.array([place[0] for of_use in places for place in of_use], np.int64),
        group_of=group_of,
        touches=np.array(
            [[int((scope_of[each] == i).any()) for i in range(len(scopes))] for each in groups],
            np.int64,
        ),
        clears=groups if whole is None else whole,
        in_scope=scopes,
        in_group=groups,
    )


class _Table:
    """All places of commands, and in which instances of each level their banks are."""

    def __init__(self, part: GroupedPim, places: list[tuple[int, ...]], base: Ints) -> None:
        self._uses = {name: use for use, name in enumerate(names_of(part))}
        self._base = base
        memory, banks = part.memory, part.memory.banks_per_channel
        self._levels = memory.banked_levels
        self._spans = [
            prod(memory.levels[level] for level in self._levels[depth + 1 :])
            for depth in range(len(self._levels))
        ]
        self._first = np.array([place[0] for place in places], np.int64)
        is_in = np.zeros((len(places), banks), np.float32)
        for i, place in enumerate(places):
            is_in[i, list(place)] = 1
        self._shares = [self._sharing(is_in, span) for span in self._spans]

    def ticks(self, rows: Iterable[Constraint]) -> Ints:
        """Return (places, places): ticks from one to the other by the rows without a window."""
        ticks = np.zeros((len(self._first),) * 2, np.int64)
        for row in rows:
            if row.window > 1:
                continue
            depth = self._levels.index(row.level)
            holds = self._shares[depth]
            if row.sibling:
                holds = self._shares[depth - 1] & ~holds
            for first, then in self._pairs(row):
                block = ticks[first, then]
                np.maximum(block, holds[first, then] * row.ticks, out=block)
        return ticks

    def windows(self, rows: Iterable[Constraint]) -> tuple[Ints, Ints]:
        """Return rows with a window, and by row and side the instance of each place, else -1."""
        listed, members = list[tuple[int, int, int]](), list[Ints]()
        for row in rows:
            if row.window == 1:
                continue
            node = self._first // self._spans[self._levels.index(row.level)]
            for first, then in self._pairs(row):
                sides = np.full((2, len(self._first)), -1, np.int64)
                sides[0, first], sides[1, then] = node[first], node[then]
                after = int(np.searchsorted(self._base, then.start, side="right")) - 1
                listed.append((after, row.ticks, row.window))
                members.append(sides)
        return (
            np.array(listed, np.int64).reshape(len(listed), 3),
            np.array(members, np.int64).reshape(len(members), 2, len(self._first)),
        )

    def _pairs(self, row: Constraint) -> Iterator[tuple[slice, slice]]:
        """Yield where the places of each pair of commands of a row are, of those that are used."""
        for before in row.before:
            for after in row.after:
                if before in self._uses and after in self._uses:
                    first, then = self._of_use(before), self._of_use(after)
                    if first.stop > first.start and then.stop > then.start:
                        yield first, then

    def _of_use(self, name: str) -> slice:
        use = self._uses[name]
        return slice(int(self._base[use]), int(self._base[use + 1]))

    def _sharing(self, is_in: NDArray[np.float32], span: int) -> Bools:
        """Return (places, places): whether both have a bank in the same instance of a level."""
        instances = is_in.reshape(len(is_in), -1, span).max(axis=2)
        shared: Bools = instances @ instances.T > 0
        return shared


def _places(part: GroupedPim, scopes: Ints, requests: bool) -> list[list[tuple[int, ...]]]:
    """Return the banks of each place of each use."""
    banks = range(part.memory.banks_per_channel)
    size = part.banks_at_once // part.openings
    parts = [
        group[first : first + size]
        for group in part.banks_of_groups
        for first in range(0, part.banks_at_once, size)
    ]
    groups = list(part.banks_of_groups)
    each: list[tuple[int, ...]] = [(bank,) for bank in banks if requests]
    refreshed = [tuple(scope) for scope in scopes.tolist()]
    all_banks = [tuple(banks)]
    column = [groups, all_banks, all_banks]
    return [parts, groups, *column, each, each, each, each, refreshed, refreshed]


def _scopes(part: GroupedPim) -> Ints:
    """Return (scopes, banks of one): what is refreshed by one command."""
    memory = part.memory
    depth = memory.banked_levels.index(memory.refresh_level)
    count = prod(memory.levels[level] for level in memory.banked_levels[1 : depth + 1])
    return np.arange(memory.banks_per_channel, dtype=np.int64).reshape(count, -1)


def _owner(sets: Ints, banks: int) -> Ints:
    """Return the set that each bank is in."""
    owner = np.zeros(banks, np.int64)
    for i, members in enumerate(sets):
        owner[members] = i
    return owner


def _whole_scopes(scope_of: Ints, groups: Ints, scopes: Ints) -> Ints | None:
    """Return (groups, scopes): those that groups are made of; None where not of whole ones."""
    found = [np.unique(scope_of[group]) for group in groups]
    if any(len(each) * scopes.shape[1] != groups.shape[1] for each in found):
        return None
    return np.array(found, np.int64)


def _more_rows(part: GroupedPim, settings: Settings) -> list[Constraint]:
    """Return rows of a slower unit, and of commands that hold their bus for more than a tick."""
    multiply, cadence = (part.command("multiply"),), settings.cadence_ticks
    rows = [Constraint(level="Channel", before=multiply, after=multiply, ticks=cadence)]
    two = part.memory.buses == "row and column"
    for name, command in part.memory.commands.items():
        same = tuple(
            each
            for each in part.commands
            if not two or _on_column(part, each) == _on_column(part, name)
        )
        if command.cycles > 1 and same:
            held = Constraint(level="Channel", before=(name,), after=same, ticks=command.cycles)
            rows.append(held)
    return rows


def _on_column(part: GroupedPim, name: str) -> bool:
    if name in part.commands:
        return part.on_column_bus(name)
    return part.memory.commands[name].role in ("read", "write", "read_close", "write_close")


def _fixed(
    part: GroupedPim, settings: Settings, ticks: Ints, base: Ints, *, clear_all: bool
) -> Ints:
    from simulator.dram.pim import grouped_kernel as kernel

    memory, parts = part.memory, part.openings
    close, multiply = int(base[kernel.CLOSE]), int(base[kernel.MULTIPLY])
    opened = _openings(ticks[:parts, :parts])
    closable = int((opened + ticks[:parts, close]).max())
    usable = int((opened + ticks[:parts, multiply]).max())
    fixed = {
        kernel.TWO_BUSES: int(memory.buses == "row and column"),
        kernel.READ_LATENCY: memory.read_latency_ticks,
        kernel.INTERVAL: memory.refresh.interval_ticks,
        kernel.OPENINGS: parts,
        kernel.DOUBLE_BUFFERED: int(part.double_buffered),
        kernel.TWO_ROW_BUFFERS: int(part.row_buffers == 2),
        kernel.EXCLUSIVE: int(settings.exclusive),
        kernel.CLEAR_ALL: int(clear_all),
        kernel.BURSTS: memory.bursts_per_row,
        kernel.GUARD: int(part.refresh_guard),
        kernel.GUARD_ENDS: usable + int(ticks[multiply, close]),
        kernel.GUARD_STEP: max(1, int(ticks[multiply, multiply])),
        kernel.GUARD_LEAST: closable,
    }
    return np.array([fixed[i] for i in range(len(fixed))], np.int64)


def _openings(ticks: Ints) -> Ints:
    """Return when each part of a group is opened, from the first, if nothing else is issued."""
    ready, opened = np.zeros(len(ticks), np.int64), np.full(len(ticks), -1, np.int64)
    for tick in range(len(ticks)):
        waiting = np.flatnonzero(opened < 0)
        part = waiting[np.argmin(ready[waiting])]
        opened[part] = max(tick, ready[part], opened.max() + 1)
        ready = np.maximum(ready, opened[part] + ticks[part])
    return opened
