"""Does AttAcc take the cycles that its simulator recorded, and issue only what is allowed?

`Twin` is a second controller, tick by tick and without arrays, by the rules that `attacc_kernel`
states; `Checks` reads traces, and shares nothing with either but the rows of the part.
"""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from simulator.config import dump_yaml, replace
from simulator.dram import Command
from simulator.dram.pim import attacc_kernel as kernel
from simulator.dram.pim.attacc import AttAcc, AttentionRun, load_attacc, run_attention
from simulator.dram.pim.attacc_part import BANKED, Units
from simulator.dram.pim.attacc_program import Attention, program_of

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "attacc"
#: The released scheduler, and that of the other recorded bank runs.
A = load_attacc()
B = replace(A, {"queue.rows_pass_barrier": False})
LEVELS = {"BA": "bank", "BG": "bank_group", "BUFFER": "buffer"}
#: Heads of the recorded bank runs that the released scheduler made.
MADE_BY_A = (3, 116, 159, 396, 584)
FLAVOURS = [*product(A.units, (True, False))]


def run(part: AttAcc, level: str, power_limit: bool, context: int, heads: int = 130,
        head_dim: int = 128, bytes_per_value: int = 2, **given: Any) -> AttentionRun:  # fmt: skip
    return run_attention(
        part,
        level,
        context=context,
        heads=heads,
        head_dim=head_dim,
        bytes_per_value=bytes_per_value,
        power_limit=power_limit,
        **given,
    )


def traced(part: AttAcc, level: str, power_limit: bool, *sizes: int) -> list[Command]:
    commands = list[Command]()
    done = run(part, level, power_limit, *sizes, trace=commands.extend)
    assert done == run(part, level, power_limit, *sizes)
    assert commands[-1].tick == done.cycles
    return commands


# What was recorded.


class Key(NamedTuple):
    """What a run was recorded for; its last five are those of `run`."""

    level: str
    power_limit: bool
    context: int
    heads: int
    head_dim: int
    bytes_per_value: int

    @property
    def both_made(self) -> bool:
        return (self.level, self.power_limit, self.heads) == ("bank", True, 130)

    @property
    def part(self) -> AttAcc:
        """What made it, of those that were made by one scheduler."""
        return A if self.level != "bank" or self.heads in MADE_BY_A else B

    @property
    def rounded(self) -> "Key":
        """Return the key of the same program, which only counts tokens of a bank."""
        apart = 2 if self.level == "buffer" else 16
        return self._replace(context=ceil(self.context / apart) * apart)


@cache
def recorded() -> dict[Key, list[dict[str, int]]]:
    """Return cycles and commands by key."""
    path = DATA / "pim_attention_cycles.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (scale-snu/attacc_simulator @c600051)")
    found = defaultdict[Key, list[dict[str, int]]](list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            sizes = (int(row[name]) for name in ("L", "nhead", "dhead", "dbyte"))
            key = Key(LEVELS[row["pim_type"]], row["power_constraint"] == "True", *sizes)
            counts = ("cycle", "mac", "softmax", "mvgb", "mvsb", "wrgb")
            found[key].append({name: int(row[name]) for name in counts})
    return dict(found)


def long_keys() -> list[Key]:
    return [key for key in recorded() if key.context >= 512]


def counted(part: AttAcc, level: str, issued: dict[str, int]) -> dict[str, int]:
    """Return the commands that are recorded, by the names of the records."""
    names = ("SFM", "MVGB", "MVSB", "WRGB")
    counts = {"mac": issued[part.units[level].multiply]}
    records = ("softmax", "mvgb", "mvsb", "wrgb")
    return counts | {record: issued[name] for record, name in zip(records, names, strict=True)}


def error(cycles: int, key: Key) -> float:
    """Return the error of some cycles, of keys that were recorded twice against the nearer."""
    return min(((cycles - each["cycle"]) / each["cycle"] for each in recorded()[key]), key=abs)


def mean_and_worst(errors: Iterable[float]) -> tuple[float, float]:
    sizes = np.abs([*errors])
    return float(sizes.mean()), float(sizes.max())


def sample(count: int) -> dict[tuple[str, bool], list[Key]]:
    """Return keys of every flavour, fewer of the buffer, whose programs are long."""
    rng, chosen = np.random.default_rng(6), dict[tuple[str, bool], list[Key]]()
    for level, power_limit in FLAVOURS:
        keys = [key for key in long_keys() if key[:2] == (level, power_limit)]
        places = rng.choice(len(keys), count // 8 if level == "buffer" else count, replace=False)
        chosen[level, power_limit] = [keys[i] for i in sorted(places.tolist())]
    return chosen


def test_recorded_cycles_and_commands_of_a_sample() -> None:
    for keys in sample(60).values():
        errors = []
        for key in keys:
            done = run(key.part, *key)
            errors.append(error(done.cycles, key))
            for record in recorded()[key]:
                ours = counted(A, key.level, done.commands)
                assert ours == {name: record[name] for name in ours}
        mean, worst = mean_and_worst(errors)
        assert mean <= 0.002
        assert worst <= 0.015


def test_recorded_cycles_of_a_sample_by_the_default_alone() -> None:
    errors = [error(run(A, *key).cycles, key) for key in sample(60)["bank", True]]
    mean, worst = mean_and_worst(errors)
    assert 0.005 <= mean <= 0.02
    assert worst <= 0.055


@pytest.mark.parametrize(
    ("part", "level", "power_limit", "cycles"),
    [
        (A, "bank", True, (37593, 57282, 77969)),
        (B, "bank", True, (38138, 58302, 79205)),
        (B, "bank", False, (28176, 43610, 58935)),
        (A, "bank_group", True, (123251, 185579, 248207)),
        (A, "bank_group", False, (82515, 124615, 167167)),
        (A, "buffer", True, (344577, 529397, 725887)),
        (A, "buffer", False, (344577, 529397, 725887)),
    ],
)
def test_recorded_points(
    part: AttAcc, level: str, power_limit: bool, cycles: tuple[int, ...]
) -> None:
    """130 heads of 128 FP16 values; scale-snu/attacc_simulator @c600051, ramulator.out."""
    ours = [run(part, level, power_limit, context).cycles for context in (2048, 3072, 4096)]
    near = 0.002 if level == "bank" and power_limit else 0
    assert ours == pytest.approx(cycles, rel=near, abs=0)


@pytest.mark.parametrize(("context", "cycles"), [(2049, 4892), (2112, 4956), (2175, 5052)])
def test_recorded_points_of_a_lone_wave(context: int, cycles: int) -> None:
    """Three heads; scale-snu/attacc_simulator @c600051, ramulator.out."""
    assert run(A, "bank", True, context, 3).cycles == cycles


@pytest.mark.slow
def test_recorded_cycles_of_all_keys() -> None:
    """All keys of banks and bank groups, a third of the buffer's programs."""
    programs = sorted({key.rounded for key in long_keys() if key.level == "buffer"})
    thirds = {*programs[::3]}
    keys = [key for key in long_keys() if key.level != "buffer" or key.rounded in thirds]

    @cache
    def cycles(key: Key, rows_pass: bool) -> int:
        return run(A if rows_pass else B, *key).cycles

    own, default = defaultdict[Any, list[float]](list), list[float]()
    made = list[bool]()
    for key in keys:
        of_default = error(cycles(key.rounded, True), key)
        mine = of_default if key.part is A else error(cycles(key.rounded, False), key)
        if key.both_made:
            made.append(len({record["cycle"] for record in recorded()[key]}) == 2)
            own["bank", True, "A"].append(of_default)
        own[key[:2]].append(mine)
        if key.level == "bank":
            default.append(of_default)
    assert sum(made) == 1029
    for errors in own.values():
        mean, worst = mean_and_worst(errors)
        assert mean <= 0.001
        assert worst <= 0.0125
    mean, worst = mean_and_worst(default)
    assert len(default) == 16860
    assert mean == pytest.approx(0.0087, abs=5e-5)
    # Ten runs end just before a refresh that their records are caught by, or the other way round.
    assert worst == pytest.approx(0.0526, abs=5e-5)
    assert sum(abs(each) > 0.05 for each in default) == 10


@pytest.mark.slow
def test_recorded_commands_of_all_keys() -> None:
    @cache
    def issued(key: Key) -> dict[str, int]:
        given = Attention(
            context=key.context,
            heads=key.heads,
            head_dim=key.head_dim,
            bytes_per_value=key.bytes_per_value,
        )
        return counted(A, key.level, program_of(A, key.level, given).issued)

    for key, records in recorded().items():
        for record in records:
            ours = issued(key.rounded)
            assert ours == {name: record[name] for name in ours}


# Closed forms: what the cycles would be of multiplications, row switches and refresh alone.


def closed_form(level: str, power_limit: bool, context: int, heads: int, head_dim: int,
                bytes_per_value: int) -> float:  # fmt: skip
    """Return the cycles by the cadence alone; rows switch unhidden in the bank only."""
    values, waves = 32 / bytes_per_value, ceil(heads / 16)
    apart, split = (2, 1) if level == "buffer" else (16, 4 if level == "bank" else 1)
    macs = 2 * ceil(head_dim / (split * values)) * ceil(context / apart)
    cadence = 2 if level == "buffer" else 6 if power_limit else 4
    if level == "buffer":
        macs = ceil(head_dim / values) * context
    rows = 2 * ceil(macs / 2 / 32) if level == "bank" else 0
    return waves / (1 - 455 / 5070) * (macs * cadence + rows * (8 + 19 + 19))


#: Where the closed form lies over all records from 512 tokens on, but those of a lone wave alone.
#: Of the bank, that is more than the 5 % that were stated after a sample.
RANGES = {
    ("bank", True): (-0.052, 0.086),
    ("bank", False): (-0.084, 0.042),
    ("bank_group", True): (-0.039, 0.002),
    ("bank_group", False): (-0.039, 0.002),
    ("buffer", True): (-0.11, -0.008),
    ("buffer", False): (-0.11, -0.008),
}


@pytest.mark.parametrize(("level", "power_limit"), FLAVOURS)
def test_closed_forms_within_their_ranges(level: str, power_limit: bool) -> None:
    least, most = RANGES[level, power_limit]
    rng = np.random.default_rng(4)
    shapes = [(130, 128, 2), (157, 160, 1), (188, 128, 2)]
    for _ in range(6 if level == "buffer" else 40):
        heads, head_dim, size = shapes[rng.integers(3)]
        context = int(rng.integers(2048, 4097))
        sizes = (level, power_limit, context, heads, head_dim, size)
        form = closed_form(*sizes)
        assert least <= form / run(A if level != "bank" else B, *sizes).cycles - 1 <= most


# A second controller.


class Twin:
    """A channel tick by tick: requests as (command, bank, row), `None` for a barrier."""

    def __init__(self, part: AttAcc, level: str, power_limit: bool) -> None:
        self.part, self.units = part, part.units[level]
        self.rows = part.rows(power_limit=power_limit)
        self.last = dict[tuple[str, tuple[int, ...]], int]()
        self.opened = dict[tuple[int, ...], int]()
        self.trace = list[tuple[int, str, tuple[int, ...]]]()

    def serve(self, requests: Iterator[Any]) -> None:
        queue, waiting, tick = list[Any](), list[tuple[int, ...]](), 0
        rest, more = requests, True
        while more or queue or waiting:
            while more and len(queue) < self.part.queue.entries:
                request = next(rest, "end")
                more = request != "end"
                queue += [request] if more else []
            if not queue and not waiting:
                return
            tick += 1
            if tick % self.part.refresh.interval_ticks == 0:
                waiting += [(0, i, 0, 0, 0) for i in range(self.part.levels["PseudoChannel"])]
            if waiting:
                name = "PREA" if self.opened else "REFab"
                bank = (0,) * 5 if self.opened else waiting[0]
                if self.may(name, bank, tick):
                    self.issue(name, bank, 0, tick)
                    waiting = waiting if name == "PREA" else waiting[1:]
                    self.opened.clear()
                continue
            if queue and queue[0] is None:
                queue.pop(0)
            self.serve_one(queue, tick)

    def serve_one(self, queue: list[Any], tick: int) -> None:
        for place, request in enumerate(queue):
            if request is None:
                if not self.part.queue.rows_pass_barrier:
                    return
                continue
            command, bank, row = request
            name = self.needed(*request)
            if None in queue[:place] and name == command:
                continue
            if self.may(name, bank, tick) and not self.waits(queue, place, name):
                self.issue(name, bank, row, tick)
                if name == self.units.open:
                    self.opened[bank] = row
                elif name == self.units.close:
                    del self.opened[bank]
                else:
                    queue.pop(place)
                return

    def needed(self, command: str, bank: tuple[int, ...], row: int) -> str:
        if command != self.units.multiply or self.opened.get(bank) == row:
            return command
        return self.units.close if bank in self.opened else self.units.open

    def waits(self, queue: list[Any], place: int, name: str) -> bool:
        hits = [each for each in queue if each and each[0] == self.units.multiply]
        hit = any(each[1] == queue[place][1] == each[1] and self.opened.get(each[1]) == each[2]
                  for each in hits)  # fmt: skip
        return place > 0 and name != self.units.multiply and hit

    def may(self, name: str, bank: tuple[int, ...], tick: int) -> bool:
        for row in self.rows:
            if name in row.after:
                where = bank[: BANKED.index(row.level) + 1]
                if any(tick < self.last.get((before, where), -9999) + row.ticks
                       for before in row.before):  # fmt: skip
                    return False
        return True

    def issue(self, name: str, bank: tuple[int, ...], row: int, tick: int) -> None:
        for depth in range(1, len(BANKED) + 1):
            self.last[name, bank[:depth]] = tick
        self.trace.append((tick, name, (*bank, row)))


def requests_of(part: AttAcc, level: str, given: Attention) -> Iterator[Any]:
    runs, orders = program_of(part, level, given).arrays()
    names, counts = list(part.commands), [part.levels[each] for each in BANKED[1:]]
    for command, count, first, row, order, _ in runs.tolist():
        for index in range(first, first + count):
            rest, flat = index, 0
            for size, banks in orders[order].tolist():
                rest, digit = divmod(rest, size)
                flat += digit * banks
            bank = (0, *map(int, np.unravel_index(flat, counts)))
            yield None if command == kernel.BARRIER else (names[command], bank, row + rest)


@pytest.mark.parametrize("part", [A, B], ids=["A", "B"])
@pytest.mark.parametrize(("level", "power_limit"), FLAVOURS)
def test_the_kernel_is_the_twin(part: AttAcc, level: str, power_limit: bool) -> None:
    shapes = [(300, 17, 32, 2), (1100, 40, 24, 4), (700, 3, 64, 1)]
    if level == "buffer":
        shapes = [(40, 17, 32, 2), (150, 40, 16, 4), (350, 3, 64, 1)]
    for context, heads, head_dim, size in shapes:
        given = Attention(context=context, heads=heads, head_dim=head_dim, bytes_per_value=size)
        twin = Twin(part, level, power_limit)
        twin.serve(requests_of(part, level, given))
        ours = traced(part, level, power_limit, context, heads, head_dim, size)
        assert [*map(tuple, ours)] == twin.trace


# The checker.


class Checks:
    """Checks traces against the rows of a part, and states of banks; keeps what is wrong."""

    def __init__(self, part: AttAcc, level: str, power_limit: bool) -> None:
        self.part, self.level, self.found, self.seen = part, level, list[str](), Counter[str]()
        self._sizes = [part.levels[name] for name in BANKED]
        self._rows = defaultdict[str, list[tuple[int, str, int]]](list)
        for row in part.rows(power_limit=power_limit):
            for before, after in product(row.before, row.after):
                depth = BANKED.index(row.level) + 1
                self._rows[after].append((depth, before, row.ticks))
        self._last = dict[tuple[str, tuple[int, ...]], int]()
        self._open = dict[tuple[int, ...], int]()
        self._refreshed = Counter[int]()
        self._tick = 0
        self._covered = cache(self._all_covered)

    def __call__(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self._check(command)

    def finished(self) -> list[str]:
        """Return all that was wrong, refreshes that did not come included."""
        due = self._tick // self.part.refresh.interval_ticks
        late = [i for i in range(self._sizes[1]) if self._refreshed[i] < due]
        return [*self.found, *(f"refresh of pseudo-channel {i} is missing" for i in late)]

    def _check(self, command: Command) -> None:
        tick, name, address = command
        *bank, row = address
        self.seen[name] += 1
        if tick <= self._tick:
            self._wrong(command, f"follows a command of tick {self._tick}")
        self._tick = tick
        if not all(0 <= at < size for at, size in zip(bank, self._sizes, strict=True)):
            self._wrong(command, "addresses no bank")
        where = tuple(bank)
        for depth, before, ticks in self._rows[name]:
            last = self._last.get((before, where[:depth]))
            if last is not None and tick < last + ticks:
                self._wrong(command, f"{tick - last} ticks after {before}, {ticks} needed")
        for depth in range(1, len(where) + 1):
            self._last[name, where[:depth]] = tick
        self._state(command, where, row)

    def _state(self, command: Command, where: tuple[int, ...], row: int) -> None:
        role = self.part.commands[command.name].role
        if role == "refresh":
            self._refresh(command, where[1])
        elif command.name == "PREA":
            self._open.clear()
        elif role in ("open", "close", "multiply"):
            rows = {self._open.get(bank, -1) for bank in self._covered(command.name, where)}
            if role == "open" and rows != {-1}:
                self._wrong(command, "opens a bank that is open")
            if role == "multiply" and rows != {row}:
                self._wrong(command, "multiplies a row that is not open")
            for bank in self._covered(command.name, where) if role != "multiply" else ():
                self._open.pop(bank, None)
                self._open |= {bank: row} if role == "open" else {}

    def _refresh(self, command: Command, pseudo_channel: int) -> None:
        if self._open:
            self._wrong(command, "refreshes open banks")
        self._refreshed[pseudo_channel] += 1
        due = self._refreshed[pseudo_channel] * self.part.refresh.interval_ticks
        if not due <= command.tick < due + self.part.refresh.interval_ticks:
            self._wrong(command, f"refreshes at another time than {due}")

    def _all_covered(self, name: str, where: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the banks that a command is for."""
        units = next(
            each
            for each in self.part.units.values()
            if name in (each.open, each.close, each.multiply)
        )
        each = [
            range(size) if level in units.at_once else (at,)
            for level, size, at in zip(BANKED, self._sizes, where, strict=True)
        ]
        return [*product(*each)]

    def _wrong(self, command: Command, words: str) -> None:
        self.found.append(f"{command.name} at {command.tick}: {words}")


def wrong(commands: Iterable[Command], level: str, power_limit: bool) -> list[str]:
    checks = Checks(A, level, power_limit)
    checks(commands)
    return checks.finished()


@pytest.mark.parametrize("part", [A, B], ids=["A", "B"])
@pytest.mark.parametrize(("level", "power_limit"), FLAVOURS)
def test_traces_break_no_row(part: AttAcc, level: str, power_limit: bool) -> None:
    context = 300 if level == "buffer" else 1500
    assert wrong(traced(part, level, power_limit, context, 35), level, power_limit) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", [A, B], ids=["A", "B"])
@pytest.mark.parametrize(("level", "power_limit"), FLAVOURS)
def test_a_million_commands_break_no_row(part: AttAcc, level: str, power_limit: bool) -> None:
    rng, commands = np.random.default_rng(7), 0
    while commands < 10**6:
        context, heads = int(rng.integers(16, 4097)), int(rng.integers(1, 1024))
        head_dim, size = ((128, 2), (160, 1), (80, 2), (96, 4))[rng.integers(4)]
        if level == "buffer":
            heads = heads % 130 + 1
        checks = Checks(part, level, power_limit)
        run(part, level, power_limit, context, heads, head_dim, size, trace=checks)
        assert checks.finished() == []
        commands += checks.seen.total()


# Faults in a trace of 20 heads and 1,500 tokens in banks, and what is to be found.


def first(trace: list[Command], name: str, after: str = "") -> int:
    """Return where a command is first, after the first of another one."""
    start = next(i for i, each in enumerate(trace) if each.name == after) if after else 0
    return next(i for i in range(start, len(trace)) if trace[i].name == name)


def earlier(trace: list[Command], at: int, ticks: int) -> list[Command]:
    """Return a trace with one command moved to an earlier tick, in order."""
    moved = trace[at]._replace(tick=trace[at].tick - ticks)
    return sorted([*trace[:at], moved, *trace[at + 1 :]], key=lambda each: each.tick)


def without(trace: list[Command], at: int) -> list[Command]:
    return [*trace[:at], *trace[at + 1 :]]


def with_row(trace: list[Command], at: int, row: int) -> list[Command]:
    command = trace[at]._replace(address=(*trace[at].address[:-1], row))
    return [*trace[:at], command, *trace[at + 1 :]]


def with_bank(trace: list[Command], at: int, *bank: int) -> list[Command]:
    command = trace[at]._replace(address=(*bank, 0))
    return [*trace[:at], command, *trace[at + 1 :]]


def closest(trace: list[Command], before: str, after: str, ticks: int) -> int:
    """Return the first `after` that is so many ticks after the last `before`."""
    last = -1
    for i, each in enumerate(trace):
        if each.name == after and last >= 0 and each.tick - last == ticks:
            return i
        if each.name == before:
            last = each.tick
    raise AssertionError(f"no {after} {ticks} ticks after {before}")


@cache
def bank_trace() -> list[Command]:
    return traced(A, "bank", True, 1500, 20)


PLANTED = {
    "activation to multiplication": (
        lambda t: earlier(t, closest(t, "ACTAB", "MACAB", 19), 1),
        "18 ticks after ACTAB, 19 needed",
    ),
    "multiplication to multiplication": (
        lambda t: earlier(t, closest(t, "MACAB", "MACAB", 6), 1), "5 ticks after MACAB, 6 needed",
    ),
    "multiplication to precharge": (
        lambda t: earlier(t, closest(t, "MACAB", "PREA", 8), 1), "7 ticks after MACAB, 8 needed",
    ),
    "precharge to activation": (
        lambda t: earlier(t, closest(t, "PREA", "ACTAB", 19), 1), "18 ticks after PREA, 19 needed",
    ),
    "move to move": (
        lambda t: earlier(t, closest(t, "WRGB", "WRGB", 4), 1), "3 ticks after WRGB, 4 needed",
    ),
    "softmax to move": (
        lambda t: [t[0], Command(t[0].tick + 1, "SFM", (0,) * 6), *t[2:]],
        "ticks after SFM, 4 needed",
    ),
    "activation within a refresh": (
        lambda t: earlier(t, first(t, "ACTAB", "REFab"), 1), "455 ticks after REFab, 456 needed",
    ),
    "a refresh left out": (
        lambda t: without(t, first(t, "REFab")), "refresh of pseudo-channel 0 is missing",
    ),
    "a refresh of the wrong pseudo-channel": (
        lambda t: with_bank(t, first(t, "REFab"), 0, 1, 0, 0, 0), "refreshes at another time",
    ),
    "a refresh too soon": (
        lambda t: earlier(t, first(t, "REFab"), 50), "refreshes at another time than 5070",
    ),
    "a refresh of open banks": (
        lambda t: without(t, first(t, "REFab") - 1), "refreshes open banks",
    ),
    "no activation": (
        lambda t: without(t, first(t, "ACTAB")), "multiplies a row that is not open",
    ),
    "another row": (
        lambda t: with_row(t, first(t, "MACAB"), 1), "multiplies a row that is not open",
    ),
    "no precharge": (
        lambda t: without(t, first(t, "PREA")), "opens a bank that is open",
    ),
    "two commands in a tick": (
        lambda t: [*t[:1], t[0]._replace(name="SFM"), *t[1:]], "follows a command of tick",
    ),
    "out of order": (
        lambda t: [t[1], t[0], *t[2:]], "follows a command of tick",
    ),
    "no such bank": (
        lambda t: with_bank(t, 0, 0, 0, 0, 4, 0), "addresses no bank",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults_are_found(fault: str) -> None:
    plant, words = PLANTED[fault]
    assert wrong(bank_trace(), "bank", True) == []
    assert any(words in each for each in wrong(plant(bank_trace()), "bank", True))


@pytest.mark.parametrize("level", ["bank", "bank_group"])
def test_the_power_limit_holds_only_where_it_is_asked_for(level: str) -> None:
    full = traced(A, level, False, 1500, 20)
    assert wrong(full, level, False) == []
    assert any("4 ticks after MAC" in each for each in wrong(full, level, True))


@pytest.mark.parametrize(
    ("level", "after", "before", "least"),
    [
        ("bank_group", "PRESB", "MACSB", 8),
        ("bank_group", "MACSB", "ACTSB", 19),
        ("buffer", "PREPB", "MACPB", 8),
        ("buffer", "MACPB", "ACTPB", 19),
    ],
)
def test_planted_faults_of_shared_banks_are_found(
    level: str, after: str, before: str, least: int
) -> None:
    """One row of the table shortened: the trace of it breaks the row as it is."""
    rows = [
        row.model_copy(update={"ticks": least - 1})
        if (before in row.before and after in row.after)
        else row
        for row in A.constraints
    ]
    short = A.model_copy(update={"constraints": tuple(rows)})
    found = wrong(traced(short, level, True, 800, 20), level, True)
    assert any(f"{least - 1} ticks after {before}, {least} needed" in each for each in found)


# What is added up.


@pytest.mark.parametrize("level", A.units)
def test_commands_are_those_of_the_trace_where_all_waves_are_full(level: str) -> None:
    context = 256 if level == "buffer" else 1024
    counts = Counter(each.name for each in traced(A, level, True, context, 48))
    done = run(A, level, True, context, 48)
    assert done.commands == {name: 16 * count for name, count in counts.items()}
    assert done.bursts == done.commands[A.units[level].multiply]


def test_a_channel_without_a_head_in_the_wave_issues_nothing_for_it() -> None:
    counts = Counter(each.name for each in traced(A, "bank", True, 256, 3))
    done = run(A, "bank", True, 256, 3)
    assert "REFab" not in counts
    assert done.commands == {name: 3 * count for name, count in counts.items()}


@pytest.mark.parametrize(
    ("level", "banks", "read_pj"),
    [("bank", 64, 9011), ("bank_group", 16, 6390), ("buffer", 2, 1684)],
)
def test_energy_of_a_command(level: str, banks: int, read_pj: float) -> None:
    """By hand: 32 bytes x 8 x 0.55, 1.56, 3.29 pJ of each bank; a move 2.74, a query 3.04 pJ."""
    done = run(A, level, True, 512, 16)
    energy, commands = done.energy_j, done.commands
    assert energy["read"] / done.bursts == pytest.approx(read_pj * 1e-12, rel=1e-4)
    assert energy["query"] / commands["WRGB"] == pytest.approx(256 * 3.04e-12)
    moves = commands["MVSB"] + commands["MVGB"]
    assert energy["move"] / moves == pytest.approx(256 * 2.74e-12)
    assert energy["arithmetic"] == pytest.approx(2 * 512 * 128 * 16 * 0.32e-12)
    assert done.operations_per_burst == banks * 16


def test_utilisation_is_whole_where_sizes_are() -> None:
    """One multiplication more a channel, ahead of the first pair."""
    done = run(A, "bank", True, 2048, 160)
    assert done.bursts == done.wanted_bursts + 16
    assert run(A, "bank", True, 2049, 160).utilisation < done.utilisation


def test_effective_bandwidth_of_the_levels() -> None:
    """TB/s that units read of a stack; scale-snu/attacc_simulator, from its recorded cycles."""
    rates = {}
    for level, power_limit in FLAVOURS:
        done = run(A, level, power_limit, 4096)
        rates[level, power_limit] = done.operations * 2 / done.time_s / 1e12
    assert 4.4 < rates["bank", True] < 4.75
    assert 5.9 < rates["bank", False] < 6.4
    assert rates["bank_group", True] == pytest.approx(1.43, abs=0.02)
    assert rates["bank_group", False] == pytest.approx(2.13, abs=0.03)
    assert rates["buffer", True] == pytest.approx(0.49, abs=0.02)


@pytest.mark.parametrize(("context", "size", "apart"), [(4096, 1, 8), (4096, 2, 8), (9000, 2, 36)])
def test_rows_from_wave_to_wave(context: int, size: int, apart: int) -> None:
    """As recorded, those of 4,096 one-byte values; for longer contexts what they need."""
    commands = traced(A, "bank", True, context, 32, 128, size)
    rows = {each.address[-1] for each in commands if each.name == "MACAB"}
    given = Attention(context=context, heads=32, head_dim=128, bytes_per_value=size)
    program = program_of(A, "bank", given)
    assert program.rows == ceil(ceil(context / 16) * program.columns / 32)
    assert program.wave_rows == apart
    assert {row for row in rows if row < program.value_row} == {*range(apart + program.rows)}


def test_the_part_as_text_is_the_part(tmp_path: Path) -> None:
    file = tmp_path / "attacc.yaml"
    file.write_text(dump_yaml(A), encoding="utf-8")
    assert load_attacc(str(file)) == A


def test_rows_are_made_of_the_timing() -> None:
    """The named parameters, where a row is one of them alone."""
    ticks = {(row.level, row.before[0], row.after[0]): row.ticks for row in A.constraints}
    named = {
        ("Channel", "ACTAB", "MACAB"): "nRCDRD",
        ("Channel", "MACAB", "PREA"): "nRTPL",
        ("Channel", "PREA", "ACTAB"): "nRP",
        ("Channel", "ACTAB", "PREA"): "nRAS",
        ("Bank", "ACTSB", "MACSB"): "nRCDRD",
        ("Bank", "MACPB", "PREPB"): "nRTPL",
        ("Rank", "MACPB", "MACPB"): "nCCDS",
        ("BankGroup", "WRGB", "WRGB"): "nCCDL",
        ("PseudoChannel", "REFab", "ACTAB"): "nRFC",
    }
    table = ticks | {("Channel", "ACTAB", "PREA"): 45}
    assert {key: table[key] for key in named} == {
        key: A.timing[name] for key, name in named.items()
    }
    limited = [row.ticks for row in A.cadences.power_limited]
    assert limited == [A.timing["nCCDAB"], A.timing["nCCDSB"]]


def test_banks_at_once_are_those_of_the_levels() -> None:
    def at_once(units: Units) -> int:
        return prod(A.levels[level] for level in units.at_once)

    assert {level: at_once(units) for level, units in A.units.items()} == {
        "bank": 64,
        "bank_group": 16,
        "buffer": 2,
    }
