"""A second controller of groups of banks, tick by tick, and small parts and programs to try it on.

`Twin` follows the rules of `simulator.dram.pim.grouped` in another way than the kernel: commands
are sets of banks, rows are looked up as they stand in the part, and every tick is looked at.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.config import replace
from simulator.dram import Command
from simulator.dram.pim.grouped import END, LOAD, RESULT, ROW, GroupedPim, load_grouped
from simulator.dram.standard import Standard

Ints = NDArray[np.int64]
Banks = tuple[int, ...]
_COLUMN_ROLES = ("read", "write", "multiply", "buffer_write", "result_read")


class Entry(NamedTuple):
    """An entry of a program."""

    kind: int
    group: int
    row: int
    count: int


class Asked(NamedTuple):
    """A request by its number."""

    number: int
    tick: int
    write: int
    bank: int
    row: int
    burst: int


class Rows:
    """The rows of a part, asked one by one."""

    def __init__(self, part: GroupedPim, cadence_ticks: int = 0) -> None:
        self.part, self.memory = part, part.memory
        multiply = (part.command("multiply"),)
        self._rows = [(r.level, r.before, r.after, r.ticks, r.window, r.sibling)
                      for r in (*part.memory.constraints, *part.rows)]  # fmt: skip
        self._rows.append(("Channel", multiply, multiply, cadence_ticks, 1, False))
        self._issued = defaultdict[Any, list[int]](list)
        self._seen = dict[Any, list[Any]]()

    def instances(self, level: str, banks: Banks) -> list[int]:
        depth = self.memory.banked_levels.index(level)
        span = 1
        for below in self.memory.banked_levels[depth + 1 :]:
            span *= self.memory.levels[below]
        return sorted({bank // span for bank in banks})

    def broken(self, name: str, banks: Banks, tick: int) -> list[str]:
        """Return the rows that a command at a tick breaks."""
        return [
            words
            for key, ticks, window, words in self._keys(name, banks)
            if len(self._issued[key]) >= window and tick < self._issued[key][-window] + ticks
        ]

    def issue(self, name: str, banks: Banks, tick: int) -> None:
        for level in self.memory.banked_levels:
            for instance in self.instances(level, banks):
                self._issued[name, level, instance] = [
                    *self._issued[name, level, instance][-8:], tick,
                ]  # fmt: skip

    def _keys(self, name: str, banks: Banks) -> list[Any]:
        if (name, banks) not in self._seen:
            self._seen[name, banks] = [*self._all_keys(name, banks)]
        return self._seen[name, banks]

    def _all_keys(self, name: str, banks: Banks) -> Iterator[Any]:
        for level, befores, afters, ticks, window, sibling in self._rows:
            if name not in afters:
                continue
            here = self.instances(level, banks)
            if sibling:
                count = self.memory.levels[level]
                (one,) = here
                first = one // count * count
                here = [each for each in range(first, first + count) if each != one]
            for before in befores:
                for instance in here:
                    words = f"{name} after {before}, {level} {instance}, {ticks} needed"
                    yield (before, level, instance), ticks, window, words


class Twin:
    """A channel; `run` returns its commands as (tick, name, first bank, row, burst)."""

    def __init__(
        self, part: GroupedPim, program: Ints, requests: Ints, *, exclusive: bool,
        cadence_ticks: int, refresh: bool,
    ) -> None:  # fmt: skip
        self.part, self.memory, self.exclusive, self.refresh = part, part.memory, exclusive, refresh
        self.rows = Rows(part, cadence_ticks)
        self.sections = self._sections(program)
        self.left = [entry.count for entry in self.sections[0]] if self.sections else []
        self.running = False
        self.requests = [Asked(i, *map(int, each)) for i, each in enumerate(requests.tolist())]
        self.queue, self.coming = list[Asked](), list(self.requests)
        self.served = set[int]()
        self.gate = sum(each.tick <= 0 for each in self.requests)
        self.opened = dict[int, int]()
        self.groups = dict[int, tuple[int, set[int]]]()
        self.due, self.fresh = list[Banks](), True
        self.bus = {"row": 0, "column": 0}
        self.tick = 0
        self.trace = list[tuple[int, str, int, int, int]]()

    def run(self) -> list[tuple[int, str, int, int, int]]:
        self._settle()
        while self.sections or len(self.served) < len(self.requests):
            self.tick += 1
            assert self.tick < 200_000
            self._admit()
            interval = self.memory.refresh.interval_ticks
            if self.refresh and self.tick % interval == 0:
                self.due = [*self._scopes]
            while self._one():
                self._settle()
        return self.trace

    @staticmethod
    def _sections(program: Ints) -> list[list[Entry]]:
        sections = list[list[Entry]]([[]])
        for each in program.tolist():
            if each[0] == END:
                sections.append([])
            else:
                sections[-1].append(Entry(*each))
        return sections if sections[-1] else sections[:-1]

    @cached_property
    def _scopes(self) -> list[Banks]:
        banks = range(self.memory.banks_per_channel)
        by = defaultdict[int, list[int]](list)
        for bank in banks:
            by[self.rows.instances(self.memory.refresh_level, (bank,))[0]].append(bank)
        return [tuple(each) for each in by.values()]

    def _settle(self) -> None:
        while self.sections:
            if not self.running:
                if self.exclusive and len(self.served) < self.gate:
                    return
                self.running = True
                self.left = [entry.count for entry in self.sections[0]]
            if any(self.left):
                return
            self.sections.pop(0)
            self.running = False
            self.gate = max(self.gate, sum(each.tick <= self.tick for each in self.requests))
        self.gate = len(self.requests)

    def _admit(self) -> None:
        limit = self.gate if self.exclusive else len(self.requests)
        while (
            self.coming and len(self.queue) < self.part.queue_entries
            and self.coming[0].tick <= self.tick and self.coming[0].number < limit
            and not (self.exclusive and self.running)
        ):  # fmt: skip
            self.queue.append(self.coming.pop(0))

    def _one(self) -> bool:
        """Issue the first command that can be; tell whether there was one."""
        if self.due:
            return any(self._try(*each) for each in self._refresh_commands())
        turns: list[Callable[[], Iterator[Any]]] = [self._columns, self._row_commands]
        if not (self.exclusive and self.running):
            turns += [self._request_columns, self._request_rows]
        return any(self._try(*each) for turn in turns for each in turn())

    def _try(self, name: str, banks: Banks, row: int, burst: int, then: Callable[[], None]) -> bool:
        role = self.part.commands.get(name) or self.memory.commands[name].role
        kind = "column" if role in _COLUMN_ROLES else "row"
        buses = [kind] if self.memory.buses == "row and column" else ["row", "column"]
        if any(self.bus[bus] > self.tick for bus in buses):
            return False
        if self.rows.broken(name, banks, self.tick):
            return False
        self.rows.issue(name, banks, self.tick)
        held = self.memory.commands[name].cycles if name in self.memory.commands else 1
        for bus in buses:
            self.bus[bus] = self.tick + held
        self.trace.append((self.tick, name, banks[0], row, burst))
        then()
        return True

    def _refresh_commands(self) -> Iterator[Any]:
        part, memory = self.part, self.memory
        for group in sorted(self.groups):
            yield part.command("close"), self._banks(group), 0, 0, lambda g=group: self._close(g)
        close = next(n for n in memory.with_role("close")
                     if memory.commands[n].level == memory.refresh_level)  # fmt: skip
        held = {bank for group in self.groups for bank in self._banks(group)}
        for scope in self.due:
            if {*scope} & {*self.opened} and not {*scope} & held:
                yield close, scope, 0, 0, lambda s=scope: self._close_banks(s)
        for scope in self.due:
            if not {*scope} & ({*self.opened} | held):
                yield memory.refresh.command, scope, 0, 0, lambda s=scope: self._refreshed(s)

    def _refreshed(self, scope: Banks) -> None:
        self.due.remove(scope)
        self.fresh = self.fresh or not self.due

    def _columns(self) -> Iterator[Any]:
        if not self.running:
            return
        section, part = self.sections[0], self.part
        head = next(i for i, left in enumerate(self.left) if left)
        entry = section[head]
        if entry.kind == LOAD:
            yield part.command("buffer_write"), self._all, 0, 0, lambda: self._take(head)
        elif entry.kind == RESULT:
            yield part.command("result_read"), self._all, 0, 0, lambda: self._take(head)
        elif self.groups.get(entry.group) == (entry.row, {*range(part.openings)}):
            burst = (entry.count - self.left[head]) % self.memory.bursts_per_row
            yield (part.command("multiply"), self._banks(entry.group), entry.row, burst,
                   lambda: self._take(head))  # fmt: skip
        if part.double_buffered and entry.kind != LOAD:
            kinds = [each.kind for each in section]
            after = kinds.index(LOAD, head) if LOAD in kinds[head:] else len(section)
            while after < len(section) and kinds[after] == LOAD and not self.left[after]:
                after += 1
            if after < len(section) and kinds[after] == LOAD:
                yield part.command("buffer_write"), self._all, 0, 0, lambda: self._take(after)

    def _take(self, at: int) -> None:
        self.left[at] -= 1

    @cached_property
    def _all(self) -> Banks:
        return tuple(range(self.memory.banks_per_channel))

    @property
    def _leaders(self) -> dict[int, int]:
        """The groups whose rows are to be opened, by the entry, in order."""
        found = dict[int, int]()
        if self.running:
            section = self.sections[0]
            rows = [i for i, each in enumerate(section) if each.kind == ROW and self.left[i]]
            for i in rows[: self.part.open_ahead + 1]:
                found.setdefault(section[i].group, i)
        return found

    def _row_commands(self) -> Iterator[Any]:
        part = self.part
        for group, at in self._leaders.items():
            row, banks = self.sections[0][at].row, self._banks(group)
            opened, done = self.groups.get(group, (row, set[int]()))
            if opened != row:
                yield part.command("close"), banks, 0, 0, lambda g=group: self._close(g)
                continue
            way = [] if done else self._in_the_way(banks, row)
            if way:
                yield (*way[0], 0, 0, lambda b=way[0][1]: self._close_banks(b))
                continue
            if not done and part.refresh_guard and self._guarded(group, self.left[at]):
                continue
            for i, some in enumerate(self._parts(group)):
                if i not in done:
                    yield (part.command("open"), some, row, 0,
                           lambda g=group, r=row, i=i: self._open(g, r, i))  # fmt: skip

    def _parts(self, group: int) -> list[Banks]:
        banks = self._banks(group)
        size = len(banks) // self.part.openings
        return [banks[i : i + size] for i in range(0, len(banks), size)]

    def _in_the_way(self, banks: Banks, row: int) -> list[tuple[str, Banks]]:
        memory = self.memory
        closes = {memory.commands[n].level: n for n in memory.with_role("close")}
        if self.part.row_buffers == 2:
            return [(closes["Bank"], (b,)) for b in banks if self.opened.get(b) == row]
        whole = [each for each in self._scopes if {*each} <= {*banks}]
        if sum(map(len, whole)) == len(banks):
            name = closes[memory.refresh_level]
            return [(name, each) for each in whole if {*each} & {*self.opened}]
        return [(closes["Bank"], (b,)) for b in banks if b in self.opened]

    def _guarded(self, group: int, left: int) -> bool:
        """Tell whether a row would not be done, by opening it in a channel of its own."""
        part, banks, parts = self.part, self._banks(group), self._parts(group)
        opens, closes, multiply = (part.command(r) for r in ("open", "close", "multiply"))
        alone, todo, tick = Rows(part), [*range(len(parts))], 0
        while todo:
            may = [i for i in todo if not alone.broken(opens, parts[i], tick)]
            for i in may[:1]:
                alone.issue(opens, parts[i], tick)
                todo.remove(i)
            tick += 1
        stays, used = 0, 0
        while alone.broken(closes, banks, stays):
            stays += 1
        while alone.broken(multiply, banks, used):
            used += 1
        used += (left - 1) * max(1, self._least(multiply, banks, multiply, banks))
        used += self._least(multiply, banks, closes, banks)
        interval = self.memory.refresh.interval_ticks
        due = (self.tick // interval + 1) * interval
        return self.refresh and not self.fresh and self.tick + max(stays, used) > due

    def _least(self, before: str, first: Banks, after: str, then: Banks) -> int:
        keys = self.rows._keys(after, then)
        return max(
            [t for (name, level, i), t, _, _ in keys
             if name == before and i in self.rows.instances(level, first)], default=0,
        )  # fmt: skip

    def _held(self, bank: int, row: int) -> bool:
        group, leaders = self._group_of[bank], self._leaders
        if self.part.row_buffers == 2:
            wanted = self.sections[0][leaders[group]].row if group in leaders else -1
            return row == wanted or self.groups.get(group, (-1, 0))[0] == row
        return group in leaders or group in self.groups

    def _request_columns(self) -> Iterator[Any]:
        for each in self.queue:
            older = [other for other in self.queue[: self.queue.index(each)]
                     if other[3:] == each[3:]]  # fmt: skip
            if self.opened.get(each.bank) != each.row or older or self._held(each.bank, each.row):
                continue
            name = self.memory.with_role("write" if each.write else "read")[0]
            yield name, (each.bank,), each.row, each.burst, lambda e=each: self._serve(e)

    def _request_rows(self) -> Iterator[Any]:
        memory = self.memory
        for i, each in enumerate(self.queue):
            group, opened = self._group_of[each.bank], self.opened.get(each.bank)
            if self._held(each.bank, each.row):
                if group not in self._leaders:
                    yield (self.part.command("close"), self._banks(group), each.row, 0,
                           lambda g=group: self._close(g))  # fmt: skip
            elif opened is None:
                yield (memory.with_role("open")[0], (each.bank,), each.row, 0,
                       lambda e=each: self.opened.__setitem__(e.bank, e.row))  # fmt: skip
            elif opened != each.row and not any(
                other.bank == each.bank and other.row == opened for other in self.queue[:i]
            ):
                closes = {memory.commands[n].level: n for n in memory.with_role("close")}
                yield (closes["Bank"], (each.bank,), each.row, 0,
                       lambda b=each.bank: self._close_banks((b,)))  # fmt: skip

    @cached_property
    def _group_of(self) -> dict[int, int]:
        return {b: g for g, banks in enumerate(self.part.banks_of_groups) for b in banks}

    def _banks(self, group: int) -> Banks:
        return self.part.banks_of_groups[group]

    def _serve(self, each: Asked) -> None:
        self.queue.remove(each)
        self.served.add(each.number)

    def _open(self, group: int, row: int, part: int) -> None:
        done = self.groups.get(group, (row, set[int]()))[1]
        self.groups[group] = (row, {*done, part})
        self.fresh = False

    def _close(self, group: int) -> None:
        del self.groups[group]

    def _close_banks(self, banks: Banks) -> None:
        for bank in banks:
            self.opened.pop(bank, None)


class Places:
    """What the commands of a trace are of."""

    def __init__(self, part: GroupedPim, rows: Rows) -> None:
        memory = part.memory
        self._counts = [memory.levels[level] for level in memory.banked_levels[1:]]
        every = tuple(range(memory.banks_per_channel))
        self._of = dict[tuple[str, int], Banks]()
        for name, role in part.commands.items():
            size = part.banks_at_once // (part.openings if role == "open" else 1)
            for group in part.banks_of_groups:
                for i in range(0, len(group), size):
                    self._of[name, group[i]] = group[i : i + size]
            if role in ("buffer_write", "result_read"):
                self._of[name, 0] = every
        for name, command in memory.commands.items():
            blocks = defaultdict[int, list[int]](list)
            for bank in every:
                blocks[rows.instances(command.level, (bank,))[0]].append(bank)
            self._of |= {(name, block[0]): tuple(block) for block in blocks.values()}

    def __call__(self, command: Command) -> Banks:
        first = int(np.ravel_multi_index(command.address[1:-2], self._counts))
        return self._of[command.name, first]


def broken_rows(part: GroupedPim, commands: Iterable[Command]) -> list[str]:
    """Return the rows of a part that a trace breaks."""
    rows, found = Rows(part), list[str]()
    places = Places(part, rows)
    for command in commands:
        banks = places(command)
        found += rows.broken(command.name, banks, command.tick)
        rows.issue(command.name, banks, command.tick)
    return found


def small(name: str, interval: int = 1500, **changes: Any) -> GroupedPim:
    """Return a part on a memory of fewer banks, refreshed more often."""
    part = load_grouped(name)
    few = {"Sid": 1, "BankGroup": 2, "Bank": 2}
    levels = {f"levels.{level}": few[level] for level in few if level in part.memory.levels}
    memory = replace(part.memory, {**levels, "refresh.interval_ticks": interval})
    return part_on(part, memory, **changes)


def part_on(part: GroupedPim, memory: Standard, **changes: Any) -> GroupedPim:
    """Return a part on another memory, with as many banks at once as that has."""
    at_once = {level: min(n, memory.levels[level]) for level, n in part.at_once.items()}
    given = {name: getattr(part, name) for name in GroupedPim.model_fields}
    return GroupedPim(**{**given, "memory": memory, "at_once": at_once, **changes})


def random_program(part: GroupedPim, rng: np.random.Generator, entries: int) -> Ints:
    """Return entries of all kinds, rows in runs."""
    kinds = rng.choice(
        [LOAD, ROW, ROW, ROW, RESULT, END], entries, p=[0.15, 0.2, 0.2, 0.2, 0.15, 0.1]
    )
    made = np.stack(
        [kinds, rng.integers(part.groups, size=entries), rng.integers(3, size=entries),
         rng.integers(1, 9, size=entries)], axis=1,
    )  # fmt: skip
    return made.astype(np.int64)


def random_requests(part: GroupedPim, rng: np.random.Generator, count: int, span: int) -> Ints:
    """Return reads and writes of few rows within a span of ticks."""
    memory = part.memory
    made = np.stack(
        [np.sort(rng.integers(span, size=count)), rng.integers(2, size=count),
         rng.integers(memory.banks_per_channel, size=count), rng.integers(3, size=count),
         rng.integers(2, size=count)], axis=1,
    )  # fmt: skip
    return made.astype(np.int64)
