"""The independent checker of the grouped PIM's traces: does one break a rule of its part?

It reads the part's rows as they stand and keeps when each command was last issued in each instance
of a level; it shares nothing with the engine but the part, the program and the requests. Commands
of memory it gives to memory's own checker too, which holds them against memory's rows, windows and
siblings, the open rows of requests, and lateness of the refresh. Beside that are checked, by the
rules of `grouped`:

- every row of groups, over all instances of its level in which both commands have a bank; buses;
  the order of ticks; addresses; commands that no run issues
- open rows of the units, by bank: closed banks are opened, with one row buffer closed for requests
  too, with two not on the row of requests, nor the other way round; all parts of a group are open
  on one row, and all of its banks for a multiplication; what is closed was open
- refresh: of banks closed in both buffers; not before it is due, nor later than closing all takes;
  in between nothing else but what closes for it
- the program: its commands in order, all of them, bursts in order; loads ahead only where the part
  has a second buffer, and only the next; rows opened for what the program is about; the guard
- requests: reads, writes and activations are of one in the queue, that came in time and in order;
  all are served, once, those of a burst in order; what the program holds, they wait for
- reasons of every close: the refresh, the program's next row, or a request that waits
- `exclusive`: a section starts when all requests that came before are served, and then none is

Not checked: whether a command could have come sooner, and which of several requests goes first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice, product
from math import prod
from operator import mul
from typing import Any, TypeAlias, get_args

import numpy as np

from simulator.config import unknown
from simulator.dram import checker
from simulator.dram.checker import Checker, Issued, Report, Violation
from simulator.dram.pim import grouped_checker_kernel as kernel
from simulator.dram.pim.grouped import Policy, RefreshMode
from simulator.dram.pim.grouped_part import COUNT, END, GROUP_ROLES, KIND, GroupedPim
from simulator.dram.standard import ROLES, Command, Constraint, Role
from simulator.errors import InputError

Banks: TypeAlias = tuple[int, ...]
#: Commands that are checked at a time.
_BLOCK = 1 << 15
#: Intervals that a refresh may be late.
_LATE = 1
_NEVER_DUE = 1 << 61
_ON_COLUMN_BUS: tuple[Role, ...] = ("read", "write", "read_close", "write_close")
_USED: tuple[Role, ...] = ("open", "read", "write")
#: Kinds of violations in words.
_WORDS = {
    kernel.ORDER: "comes after a command of tick {0}",
    kernel.BUS_HELD: "too early by {0}: the command bus is held",
    kernel.NOT_USED: "is no command of such a run",
    kernel.NO_SET: "is not the first bank of what it is of",
    kernel.REFRESH_DUE: "a refresh is due",
    kernel.NOT_DUE: "comes {0} ticks before it is due",
    kernel.TOO_LATE: "comes {0} ticks after it is due, closing all takes {1} at most",
    kernel.UNITS_OPEN: "the units have rows open in {0} of its banks",
    kernel.REQUESTS_OPEN: "requests have rows open in {0} of its banks",
    kernel.NOT_CLOSED: "{0} of its banks are not closed",
    kernel.NOT_OPEN: "{0} of its banks are not open on row {1}",
    kernel.OTHER_PART: "another part of the group is open on row {0}",
    kernel.NONE_OPEN: "none of its banks is open",
    kernel.OTHER_BURST: "burst {0} is next",
    kernel.NOT_WANTED: "the program is not about the row",
    kernel.NO_REASON: "neither refresh, program nor a request needs it",
    kernel.TURN: "a bank before it in the group is to be closed first",
    kernel.UNGUARDED: "its row takes {0} ticks, {1} are left before the refresh",
    kernel.NOT_ASKED: "no request in the queue is about it",
    kernel.HELD: "the program holds the row or the bank",
    kernel.IN_SECTION: "a section runs",
    kernel.BEFORE_SECTION: "requests that came before the section are not served",
}


class GroupedChecker:
    """Checks a trace, command by command, in memory that does not grow: give it as a `trace`."""

    def __init__(
        self,
        part: GroupedPim,
        program: kernel.Ints,
        *,
        policy: Policy = "concurrent",
        requests: kernel.Ints | None = None,
        cadence_ticks: int = 0,
        refresh: RefreshMode = "all_bank",
    ) -> None:
        """Take note of nothing yet; all as given to `run_program`.

        Raises InputError for unknown policy and refresh.
        """
        for name, value, known in (
            ("policy", policy, get_args(Policy)),
            ("refresh", refresh, get_args(RefreshMode)),
        ):
            if value not in known:
                raise InputError(unknown(name, value, known))
        refreshed = refresh == "all_bank"
        self._part = part
        self._memory = Checker(part.memory, _LATE if refreshed else None)
        self._names = [*part.memory.commands, *(part.command(role) for role in GROUP_ROLES)]
        self._ids = {name: i for i, name in enumerate(self._names)}
        self._all_rows = _all_rows(part, cadence_ticks)
        self._sets = _Sets(part)
        asked = np.zeros((0, 5), np.int64) if requests is None else requests
        self._rules = kernel.Rules(
            commands=_ints(_command(part, name) for name in self._names),
            **_rows(part, self._all_rows, self._ids),
            **self._sets.arrays(),
            **_banks(part),
            fixed=_fixed(part, self._all_rows, policy == "exclusive", refreshed),
            program=program,
            requests=asked,
        )
        self._state = _state(self._rules, part)
        self._counted = Counter[str]()
        self._listed = list[Violation]()

    def __call__(self, commands: Iterable[Issued]) -> None:
        """Check commands, in order, each against all before it.

        Raises InputError for a command that neither part nor memory has, and an address that has
        not all levels; whatever else is wrong is in the report.
        """
        rest = iter(commands)
        while block := list(islice(rest, _BLOCK)):
            packed = self._packed(block)
            self._memory(each for each in block if each[1] in self._part.memory.commands)
            self._state.k[kernel.LISTED] = 0
            kernel.check(self._rules, self._state, packed)
            room = checker.MOST_LISTED - len(self._listed)
            found = self._state.found[: self._state.k[kernel.LISTED]].tolist()
            for place, kind, first, second in found[: max(0, room)]:
                tick, name, address = block[place]
                row = first if kind == kernel.EARLY else None
                words = self._words(kind, first, second)
                self._listed.append(Violation(tick, name, address, words, row))

    def report(self) -> Report:
        """Return what was found, with what never came; rows: those of memory, then the part's."""
        memory, missing = self._memory.report(), list(self._missing())
        listed = sorted([*self._listed, *memory.violations], key=lambda each: each.tick)
        listed = [*listed, *missing][: checker.MOST_LISTED]
        broken = int(self._state.k[kernel.BROKEN]) + memory.broken + len(missing)
        return Report(dict(self._counted), broken, tuple(listed))

    def _packed(self, block: list[Issued]) -> kernel.Ints:
        """Return rows of command, tick, set, its first bank, row and burst."""
        ticks, names, addresses = zip(*block, strict=True)
        levels = self._part.memory.counts
        for tick, name, address in block:
            if name not in self._ids:
                raise InputError(f"tick {tick}: {unknown('command', name, self._ids)}")
            if len(address) != len(levels):
                raise InputError(f"tick {tick}: {name} needs {len(levels)} levels, got {address}")
        self._counted.update(names)
        commands = np.fromiter(map(self._ids.__getitem__, names), np.int64, len(block))
        flat = np.fromiter(chain.from_iterable(addresses), np.int64, len(block) * len(levels))
        places = flat.reshape(len(block), len(levels))
        sets, banks = self._sets.of(commands, places)
        bursts, beside = np.divmod(places[:, -1], self._part.memory.prefetch)
        # What is no first column of a burst is of none.
        bursts = np.where(beside, levels[-1], bursts)
        at = np.fromiter(ticks, np.int64, len(block))
        return np.stack([commands, at, sets, banks, places[:, -2], bursts], axis=1)

    def _words(self, kind: int, first: int, second: int) -> str:
        """Return a violation in words."""
        match kind:
            case kernel.EARLY:
                return f"too early by {second}: [{first}] {self._all_rows[first].words()}"
            case kernel.NOT_NEXT:
                left = first < len(self._rules.program)
                return f"program[{first}] is next" if left else "the program is done"
            case kernel.OTHER_WAY:
                return f"the request is a {'write' if first else 'read'}"
            case _:
                return _WORDS[kind].format(first, second)

    def _missing(self) -> Iterator[Violation]:
        """Yield what is left of program and requests."""
        k, rules = self._state.k, self._rules
        last = int(k[kernel.LAST])
        entries = np.flatnonzero(self._state.left).tolist()
        if entries:
            rule = f"{len(entries)} entries of the program are not done, the first is {entries[0]}"
            yield Violation(last, "program", (0,), rule)
        unserved = int(len(rules.requests) - k[kernel.COMING] + k[kernel.QUEUED])
        if unserved:
            yield Violation(last, "requests", (0,), f"{unserved} are not served")


def check_grouped_commands(
    part: GroupedPim, program: kernel.Ints, trace: Iterable[Issued], **how: Any
) -> Report:
    """Return what a `GroupedChecker` says of a whole trace; how, errors and the rest are its."""
    made = GroupedChecker(part, program, **how)
    made(trace)
    return made.report()


class _Sets:
    """The sets of banks that commands are of: banks, instances, parts of groups, groups, all.

    A command is of one of a kind, named by its first bank.
    """

    def __init__(self, part: GroupedPim) -> None:
        memory = part.memory
        self._counts = memory.counts[: len(memory.banked_levels)]
        self._spans = [prod(self._counts[depth + 1 :]) for depth in range(len(self._counts))]
        of_group = part.banks_of_groups
        size = part.banks_at_once // part.openings
        parts = [each[i : i + size] for each in of_group for i in range(0, len(each), size)]
        everything = [tuple(range(memory.banks_per_channel))]
        kinds = [self._instances(memory.banked_levels.index(c.level)) for c in _commands(part)]
        kinds += [parts, list(of_group), list(of_group), everything, everything]
        depths = [memory.banked_levels.index(c.level) + 1 for c in _commands(part)]
        self._depths = np.array(depths + [len(self._counts)] * len(GROUP_ROLES), np.int64)
        self._targets = np.full((len(kinds), memory.banks_per_channel), kernel.NONE, np.int64)
        self._numbers = dict[Banks, int]()
        for command, sets in enumerate(kinds):
            for banks in sets:
                number = self._numbers.setdefault(banks, len(self._numbers))
                self._targets[command, banks[0]] = number

    def _instances(self, depth: int) -> list[Banks]:
        span = self._spans[depth]
        return [tuple(range(i, i + span)) for i in range(0, self._spans[0], span)]

    def of(self, commands: kernel.Ints, places: kernel.Ints) -> tuple[kernel.Ints, kernel.Ints]:
        """Return set and first bank of each command; less than 0 for what is not there."""
        depth = np.arange(len(self._counts))
        counts, spans = np.array(self._counts), np.array(self._spans)
        used = np.where(depth < self._depths[commands][:, None], places[:, : len(depth)], 0)
        inside = ((used >= 0) & (used < counts)).all(axis=1)
        banks = np.where(inside, used @ spans, 0)
        return np.where(inside, self._targets[commands, banks], kernel.NONE), banks

    def arrays(self) -> dict[str, kernel.Ints]:
        """Return nodes and banks of each set as the kernel reads them."""
        firsts = [0, *accumulate(accumulate(self._counts, mul))][:-1]
        by_level = [
            [
                sorted({first + bank // span for bank in banks})
                for first, span in zip(firsts, self._spans, strict=True)
            ]
            for banks in self._numbers
        ]
        sizes = np.array([[len(nodes) for nodes in levels] for levels in by_level], np.int64)
        ends = np.cumsum(sizes).reshape(sizes.shape)
        return {
            "nodes": _ints(chain.from_iterable(chain.from_iterable(by_level))),
            "node_starts": np.concatenate([ends[:, :1] - sizes[:, :1], ends], axis=1),
            "banks": _ints(chain.from_iterable(self._numbers)),
            "bank_starts": _ints(accumulate(map(len, self._numbers), initial=0)),
        }


def _commands(part: GroupedPim) -> list[Command]:
    return list(part.memory.commands.values())


def _command(part: GroupedPim, name: str) -> tuple[int, ...]:
    """Return the columns of a command in `Rules.commands`."""
    memory = part.memory
    two = memory.buses == "row and column"
    if name in part.commands:
        role = len(ROLES) + GROUP_ROLES.index(part.commands[name])
        return role, int(two and role >= kernel.MULTIPLY), 1, 1, 0, 1
    command = memory.commands[name]
    of_instance = command.level == memory.refresh_level
    used = command.role in _USED or name == memory.refresh.command
    used |= command.role == "close" and (of_instance or command.level == "Bank")
    on_columns = two and command.role in _ON_COLUMN_BUS
    role = ROLES.index(command.role)
    return role, int(on_columns), command.cycles, 0, int(of_instance), int(used)


def _all_rows(part: GroupedPim, cadence_ticks: int) -> tuple[Constraint, ...]:
    """Return memory's rows, the part's, and of a unit that is slower one for its cadence."""
    multiply = (part.command("multiply"),)
    slow = Constraint(level="Channel", before=multiply, after=multiply, ticks=cadence_ticks)
    return (*part.memory.constraints, *part.rows, *[slow] * (cadence_ticks > 0))


def _rows(
    part: GroupedPim, every: tuple[Constraint, ...], ids: dict[str, int]
) -> dict[str, kernel.Ints]:
    """Return all rows but memory's own, by the command after."""
    of_command: dict[str, list[tuple[int, ...]]] = {name: [] for name in ids}
    for number in range(len(part.memory.constraints), len(every)):
        row = every[number]
        level = part.memory.banked_levels.index(row.level)
        for before, after in product(row.before, row.after):
            of_command[after].append((number, ids[before], level, row.ticks))
    return {
        "rows": _ints(chain.from_iterable(of_command.values())),
        "row_starts": _ints(accumulate(map(len, of_command.values()), initial=0)),
    }


def _banks(part: GroupedPim) -> dict[str, kernel.Ints]:
    """Return what groups and instances of the refresh have to do with banks."""
    memory, groups = part.memory, part.banks_of_groups
    depth = memory.banked_levels.index(memory.refresh_level) + 1
    span = prod(memory.counts[depth : len(memory.banked_levels)])
    group_of = np.zeros(memory.banks_per_channel, np.int64)
    for group, banks in enumerate(groups):
        group_of[list(banks)] = group
    instances = [{bank // span for bank in banks} for banks in groups]
    return {
        "groups": _ints(groups),
        "group_of": group_of,
        "instance_of": np.arange(memory.banks_per_channel) // span,
        "whole": _ints(len(each) * span == part.banks_at_once for each in instances),
    }


def _fixed(
    part: GroupedPim, every: tuple[Constraint, ...], exclusive: bool, refreshed: bool
) -> kernel.Ints:
    """Return `Rules.fixed`."""
    opens, closes, multiplies = (part.command(role) for role in GROUP_ROLES[:3])

    def most(before: str, after: str) -> int:
        found = [row.ticks for row in every if before in row.before and after in row.after]
        return max(found, default=0)

    opened = _openings(part)
    to_close = max(at + most(opens, closes) for at in opened)
    to_multiply = max(at + most(opens, multiplies) for at in opened)
    return _ints(
        (
            part.row_buffers,
            part.banks_at_once // part.openings,
            part.open_ahead,
            part.double_buffered,
            exclusive,
            part.refresh_guard,
            part.memory.bursts_per_row,
            part.memory.refresh.interval_ticks if refreshed else _NEVER_DUE,
            to_close,
            to_multiply + most(multiplies, closes),
            max(1, most(multiplies, multiplies)),
            _closing_ticks(part, every),
        )
    )


def _closing_ticks(part: GroupedPim, every: tuple[Constraint, ...]) -> int:
    """Return the most that closing all groups and instances takes, and until their refresh."""
    memory = part.memory
    refresh, level = memory.refresh.command, memory.refresh_level
    closes = {part.command("close"), *memory.with_role("close")}

    def most(after: set[str]) -> int:
        return max(
            row.ticks for row in every if after & {*row.after} and {*row.before} != {refresh}
        )

    instances = prod(memory.counts[1 : memory.banked_levels.index(level) + 1])
    held = max(command.cycles for command in memory.commands.values())
    return most(closes) + most({refresh}) + held * (part.groups + 2 * instances)


def _openings(part: GroupedPim) -> list[int]:
    """Return when the parts of a group are opened, each as soon as rows and bus let it, from 0."""
    opens, levels, counts = part.command("open"), part.memory.banked_levels, part.memory.counts
    size, banks = part.banks_at_once // part.openings, part.banks_of_groups[0]
    rows = [
        (row.ticks, prod(counts[levels.index(row.level) + 1 : len(levels)]))
        for row in part.rows
        if opens in row.before and opens in row.after
    ]
    waiting = [banks[i : i + size] for i in range(0, len(banks), size)]
    done, tick = list[tuple[int, Banks]](), 0

    def may_go(banks: Banks) -> bool:
        return all(
            tick >= at + ticks
            for at, other in done
            for ticks, span in rows
            if {bank // span for bank in banks} & {bank // span for bank in other}
        )

    while waiting:
        ready = next((banks for banks in waiting if may_go(banks)), None)
        if ready is not None:
            waiting.remove(ready)
            done.append((tick, ready))
        tick += 1
    return [at for at, _ in done]


def _state(rules: kernel.Rules, part: GroupedPim) -> kernel.State:
    """Return the state before the first command, on buses that are free from tick 1."""
    banks = part.memory.banks_per_channel
    nodes = int(rules.nodes.max()) + 1
    program = rules.program
    state = kernel.State(
        k=np.zeros(kernel.SCALARS, np.int64),
        found=np.zeros((checker.MOST_LISTED, 4), np.int64),
        last=np.full((len(rules.commands), nodes), kernel.NEVER, np.int64),
        free=np.ones((2, 2), np.int64),
        rows=np.full((2, banks), kernel.CLOSED, np.int64),
        refreshed=np.zeros(int(rules.instance_of[-1]) + 1, np.int64),
        left=np.where(program[:, KIND] == END, 0, program[:, COUNT]),
        queue=np.zeros(part.queue_entries, np.int64),
    )
    kernel.step(rules, state, 0)
    return state


def _ints(values: Iterable[Any]) -> kernel.Ints:
    return np.array(list(values), np.int64)
