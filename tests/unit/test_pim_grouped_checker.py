"""Does the checker pass what the grouped PIM's engine issues, and find every fault?

Faults are planted into traces, and into the engine by parts that it reads with a tick less or
another rule, while the checker has the true one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pim_grouped_draws import (
    PARTS,
    POLICIES,
    REFRESHES,
    Case,
    Ints,
    drawn,
    part_of,
    refreshed_every,
    varied,
)

from simulator.config import replace as config_replace
from simulator.dram import Command
from simulator.dram.checker import Issued, Report
from simulator.dram.pim.grouped import END, LOAD, RESULT, ROW, GroupedPim
from simulator.dram.pim.grouped_checker import GroupedChecker

Trace = list[Command]
Change = Callable[[Trace], Trace]
#: Ticks from refresh to refresh that let small programs meet some.
OFTEN = 700


def array(*rows: Sequence[int]) -> Ints:
    return np.array(rows, np.int64)


def rules_of(report: Report) -> set[str]:
    return {violation.rule for violation in report.violations}


@pytest.mark.parametrize(("name", "policy", "refresh"), [*product(PARTS, POLICIES, REFRESHES)])
def test_what_the_engine_issues_passes(name: str, policy: str, refresh: str) -> None:
    part = refreshed_every(part_of(name), 2000)
    for seed in range(3):
        for draw in (drawn, varied):
            made = draw(part, seed, entries=80, requests=400, policy=policy, refresh=refresh)
            assert made.checked().violations == ()


def entries(part: GroupedPim) -> st.SearchStrategy[tuple[int, int, int, int]]:
    return st.tuples(
        st.sampled_from([LOAD, ROW, ROW, RESULT, END]),
        st.integers(0, part.groups - 1),
        st.integers(0, 3),
        st.one_of(st.integers(1, 5), st.integers(1, 600)),
    )


def asked(part: GroupedPim) -> st.SearchStrategy[tuple[int, int, int, int, int]]:
    return st.tuples(
        st.integers(0, 3000),
        st.integers(0, 1),
        st.integers(0, part.memory.banks_per_channel - 1),
        st.integers(0, 3),
        st.integers(0, 3),
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), policy=st.sampled_from(POLICIES), refresh=st.sampled_from(REFRESHES))
def test_drawn_programs_and_requests_break_no_rule(
    data: st.DataObject, policy: str, refresh: str
) -> None:
    part = part_of(data.draw(st.sampled_from(PARTS)))
    program = data.draw(st.lists(entries(part), min_size=1, max_size=12))
    requests = sorted(data.draw(st.lists(asked(part), max_size=20)))
    how = {
        "policy": policy,
        "refresh": refresh,
        "cadence_ticks": data.draw(st.integers(0, 9)),
        "requests": array(*requests).reshape(-1, 5),
    }
    assert Case(refreshed_every(part, 1500), array(*program), how).checked().violations == ()


def test_a_trace_may_come_in_pieces() -> None:
    made = small("duplex_logic")
    whole = GroupedChecker(made.part, made.program, **made.how)
    pieces = GroupedChecker(made.part, made.program, **made.how)
    trace = [each for each in made.trace() if each.name != "PREpb"]
    whole(trace)
    for each in trace:
        pieces([each])
    assert pieces.report() == whole.report()
    assert not whole.report().passed


@cache
def small(name: str, often: bool = False) -> Case:
    """Return a case whose trace is some hundred commands, with a refresh now and then."""
    part = refreshed_every(part_of(name), OFTEN) if often else part_of(name)
    return drawn(part, 1, entries=16, requests=30, rows=4, most=8, apart=90 if often else 30)


@cache
def small_trace(name: str, often: bool = False) -> Trace:
    made = small(name, often)
    trace = made.trace()
    assert made.check(trace).passed
    assert len(trace) > 100
    return trace


def sooner(trace: Trace, index: int) -> Trace:
    """Return a trace with one command a tick earlier, in its place by tick."""
    moved = trace[index]._replace(tick=trace[index].tick - 1)
    before = index
    while before and trace[before - 1].tick > moved.tick:
        before -= 1
    return [*trace[:before], moved, *trace[before:index], *trace[index + 1 :]]


def without(trace: Trace, index: int) -> Trace:
    return trace[:index] + trace[index + 1 :]


def once_more(trace: Trace, index: int) -> Trace:
    """Return a trace with one command again, when all rows allow it."""
    return [*trace, trace[index]._replace(tick=trace[-1].tick + 600)]


def passing(made: Case, trace: Trace, change: Callable[[Trace, int], Trace]) -> Trace:
    """Return the commands that can be changed so."""
    return [each for i, each in enumerate(trace) if made.check(change(trace, i)).passed]


@pytest.mark.parametrize("change", [sooner, without, once_more])
@pytest.mark.parametrize("name", PARTS)
def test_every_command_is_needed_once_and_not_sooner(
    name: str, change: Callable[[Trace, int], Trace]
) -> None:
    assert passing(small(name), small_trace(name), change) == []


@pytest.mark.parametrize("name", PARTS)
def test_every_command_between_refreshes_is_not_sooner(name: str) -> None:
    made, trace = small(name, often=True), small_trace(name, often=True)
    assert passing(made, trace, sooner) == []
    refreshes = [i for i, each in enumerate(trace) if each.name == "REFab"]
    assert len(refreshes) > 1
    assert [trace[i] for i in refreshes if made.check(without(trace, i)).passed] == []


def depth_of(part: GroupedPim, name: str) -> int:
    """Return the levels of what a command is of; of a group, those of its first bank."""
    levels = part.memory.banked_levels
    return (
        len(levels) if name in part.commands else levels.index(part.memory.commands[name].level) + 1
    )


@pytest.mark.parametrize("name", PARTS)
def test_every_command_is_of_one_row_burst_and_place(name: str) -> None:
    made, trace, part = small(name), small_trace(name), part_of(name)
    bursts = ("RD", "WR", part.command("multiply"))
    rows = ("ACT", part.command("open"), *bursts)
    counts = part.memory.counts
    passed = list[Command]()
    for place, issued in enumerate(trace):
        *path, row, column = issued.address
        changed = [(*path, row + 1, column)] * (issued.name in rows)
        if (depth := depth_of(part, issued.name)) > 1:
            other = (path[depth - 1] + 1) % counts[depth - 1]
            changed.append((*path[: depth - 1], other, *path[depth:], row, column))
        if issued.name in bursts:
            changed.append((*path, row, (column + part.memory.prefetch) % counts[-1]))
        for address in changed:
            moved = issued._replace(address=address)
            if made.check([*trace[:place], moved, *trace[place + 1 :]]).passed:
                passed.append(moved)
    assert passed == []


@pytest.mark.parametrize("name", PARTS)
def test_multiplications_and_results_are_in_order(name: str) -> None:
    made, trace, part = small(name), small_trace(name), part_of(name)
    columns = {part.command("multiply"), part.command("result_read")}
    places = [i for i, each in enumerate(trace) if each.name in columns]
    swapped = 0
    for first, then in pairwise(places):
        one, other = trace[first], trace[then]
        if one[1:] != other[1:]:
            changed = list(trace)
            changed[first] = other._replace(tick=one.tick)
            changed[then] = one._replace(tick=other.tick)
            assert not made.check(changed).passed, (one, other)
            swapped += 1
    assert swapped > 20


class Places:
    """What each command of a part can be of: sets of banks, by the address of the first."""

    def __init__(self, part: GroupedPim) -> None:
        self._part, self._memory = part, part.memory
        self._counts = self._memory.counts[1 : len(self._memory.banked_levels)]

    def span(self, level: str) -> int:
        """Return the banks of an instance of a level."""
        depth = self._memory.banked_levels.index(level)
        return prod(self._counts[depth:])

    def of(self, name: str) -> list[tuple[int, ...]]:
        every = range(self._memory.banks_per_channel)
        role = self._part.commands.get(name)
        if role is None:
            span = self.span(self._memory.commands[name].level)
            return [tuple(every[i : i + span]) for i in every[::span]]
        if role in ("buffer_write", "result_read"):
            return [tuple(every)]
        size = self._part.banks_at_once // (self._part.openings if role == "open" else 1)
        return [
            banks[i : i + size]
            for banks in self._part.banks_of_groups
            for i in range(0, len(banks), size)
        ]

    def meet(self, level: str, one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        span = self.span(level)
        return bool({bank // span for bank in one} & {bank // span for bank in other})

    def issued(self, tick: int, name: str, banks: tuple[int, ...]) -> Issued:
        path = map(int, np.unravel_index(banks[0], self._counts))
        return tick, name, (0, *path, 5, 0)


@pytest.mark.parametrize("name", PARTS)
def test_every_pair_of_every_row_is_held_to_the_tick(name: str) -> None:
    """Of each pair one place where both are in an instance, and one where they are not."""
    part = part_of(name)
    places, first = Places(part), len(part.memory.constraints)
    apart = 0
    for number, row in enumerate(part.rows, first):
        for before, after in product(row.before, row.after):
            pairs = list(product(places.of(before), places.of(after)))
            met = next(pair for pair in pairs if places.meet(row.level, *pair))
            other = next((pair for pair in pairs if not places.meet(row.level, *pair)), None)
            apart += other is not None
            for pair, late, broken in ((met, -1, True), (met, 0, False), (other, -1, False)):
                if pair is not None:
                    trace = [
                        places.issued(10, before, pair[0]),
                        places.issued(10 + row.ticks + late, after, pair[1]),
                    ]
                    report = Case(part, array((END, 0, 0, 0)), {}).check(trace)
                    assert (number in {each.row for each in report.violations}) == broken, row
    assert apart > 0


#: Rows that nothing waits for alone, by part: others, or what comes in between, take as long.
HIDDEN = {
    "duplex_bank": {
        "Channel ALL_ACT -> ALL_ACT/ALL_PRE/ACT/PREpb/PREab/REFab 2 ticks",
        "Sid ALL_ACT -> ACT/ALL_ACT 2 ticks",
        "Sid ACT -> ALL_ACT 2 ticks",
        "BankGroup ALL_ACT -> ACT/ALL_ACT 4 ticks",
        "BankGroup ACT -> ALL_ACT 4 ticks",
        "PseudoChannel ALL_ACT -> REFab 63 ticks",
        "Bank ACT/ALL_ACT -> ACT/ALL_ACT 63 ticks",
    },
    "duplex_bank_group": {
        "Sid ALL_ACT -> ACT/ALL_ACT 2 ticks",
        "Sid ACT -> ALL_ACT 2 ticks",
        "PseudoChannel ALL_ACT -> REFab 63 ticks",
        "Bank ACT/ALL_ACT -> ACT/ALL_ACT 63 ticks",
        "PseudoChannel PREab -> ALL_ACT 19 ticks",
    },
    "duplex_logic": {
        "Sid ALL_ACT -> ACT/ALL_ACT 2 ticks",
        "Sid ACT -> ALL_ACT 2 ticks",
        "PseudoChannel ALL_ACT -> REFab 63 ticks",
        "Bank ACT/ALL_ACT -> ACT/ALL_ACT 63 ticks",
        "PseudoChannel PREab -> ALL_ACT 19 ticks",
    },
    "gddr6_banks": {
        "Bank ACT16 -> ACT16 11 ticks",
        "Bank PREA16 -> ACT16 32 ticks",
        "Channel PREA16 -> PREA16 32 ticks",
        "Channel MAC16/RDMAC16 -> MAC16/RDMAC16 2 ticks",
        "Channel WRGB -> WRGB 2 ticks",
        "Bank ACT16 -> ACT 89 ticks",
        "BankGroup RD/MAC16 -> RD/MAC16 2 ticks",
    },
    "hbm3_banks": {
        "Channel ACTAB -> ACTAB/PREA/ACT/PREpb/PREab/REFab 2 ticks",
        "PseudoChannel ACTAB -> REFab 63 ticks",
        "Bank ACT/ACTAB -> ACT/ACTAB 63 ticks",
    },
    "newton_hbm2": {
        "BankGroup G_ACT -> ACT 6 ticks",
        "Bank G_ACT -> G_ACT 48 ticks",
        "PseudoChannel PIM_PRECHARGE -> REFab 14 ticks",
    },
    "newton_one_buffer": {
        "PseudoChannel ACT -> G_ACT 4 ticks",
        "BankGroup ACT -> G_ACT 6 ticks",
        "BankGroup G_ACT -> ACT 6 ticks",
        "Bank G_ACT -> G_ACT 48 ticks",
        "PseudoChannel PIM_PRECHARGE -> REFab 14 ticks",
        "PseudoChannel WR -> COMP/READRES/GWRITE 12 ticks",
        "PseudoChannel READRES -> RD 4 ticks",
        "BankGroup WR -> COMP 14 ticks",
        "Bank ACT -> G_ACT 48 ticks",
        "Bank G_ACT -> ACT 48 ticks",
        "Bank PREpb -> G_ACT 14 ticks",
    },
}


def shortened(part: GroupedPim, number: int) -> GroupedPim:
    """Return a part with a tick less in one of its rows; nobody checks it."""
    field, place = "constraints", number
    if number >= len(part.constraints):
        field, place = "one_buffer_constraints", number - len(part.constraints)
    rows = list(getattr(part, field))
    rows[place] = rows[place].model_copy(update={"ticks": rows[place].ticks - 1})
    return part.model_copy(update={field: tuple(rows)})


def shapes(part: GroupedPim) -> Iterator[Case]:
    """Yield programs of long and short rows, alone, with requests and in turns with them."""
    for policy in POLICIES:
        how = {"policy": policy, "rows": 4}
        yield drawn(part, 0, entries=150, requests=600, most=40, apart=10, **how)
        yield drawn(part, 1, entries=150, requests=0, most=30, **how)
        yield drawn(part, 2, entries=150, requests=300, most=4, apart=100, **how)
        yield drawn(part, 3, entries=150, requests=1500, most=12, apart=5, **how)


def found_by_a_tick(part: GroupedPim, number: int) -> bool:
    """Tell whether the engine, with a tick less in a row, breaks that row and no other."""
    first = len(part.memory.constraints)
    for made in shapes(part):
        faulty = replace(made, part=shortened(part, number))
        report = made.check(faulty.trace())
        if not report.passed:
            assert {each.row for each in report.violations} == {first + number}
            assert all("too early by 1: " in each.rule for each in report.violations)
            return True
    return False


@pytest.mark.parametrize("name", PARTS)
def test_an_engine_with_a_tick_less_in_a_row_is_found(name: str) -> None:
    part = part_of(name)
    waits = {i for i, row in enumerate(part.rows) if row.words() not in HIDDEN[name]}
    assert len(waits) > 6
    assert {i for i in waits if not found_by_a_tick(part, i)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_no_row_is_called_hidden_that_is_not(name: str) -> None:
    part = part_of(name)
    hidden = {row.words() for i, row in enumerate(part.rows) if not found_by_a_tick(part, i)}
    assert hidden == HIDDEN[name]


def busy(part: GroupedPim, **how: Any) -> Case:
    return drawn(part, 5, entries=60, requests=300, rows=4, most=30, apart=12, **how)


def has(report: Report, pattern: str) -> bool:
    return any(re.fullmatch(pattern, rule) for rule in rules_of(report))


OTHER_PARTS: list[tuple[str, dict[str, Any], str]] = [
    ("duplex_logic", {"open_ahead": 2}, "the program is not about the row"),
    ("duplex_bank_group", {"row_buffers": 2}, r"requests have rows open in \d+ of its banks"),
    ("newton_one_buffer", {"row_buffers": 2}, r"the units have rows open in 1 of its banks"),
    ("newton_hbm2", {"double_buffered": True}, r"program\[\d+\] is next"),
    ("newton_hbm2", {"refresh_guard": False}, r"its row takes \d+ ticks, \d+ are left before .*"),
    ("newton_hbm2", {"openings": 4}, r"16 of its banks are not open on row \d"),
    ("hbm3_banks", {"queue_entries": 64}, "no request in the queue is about it"),
]


@pytest.mark.parametrize(("name", "changes", "words"), OTHER_PARTS)
def test_an_engine_of_another_part_is_found(name: str, changes: dict[str, Any], words: str) -> None:
    made = busy(refreshed_every(part_of(name), 900))
    other = made.with_part(**changes)
    assert has(made.check(other.trace()), words)
    assert not has(other.checked(), words)


def test_an_engine_of_other_groups_is_found() -> None:
    made = busy(part_of("duplex_logic"))
    other = config_replace(made.part, {"at_once.BankGroup": 2, "at_once.Bank": 4})
    assert has(
        made.check(replace(made, part=other).trace()), "is not the first bank of what it is of"
    )


def test_an_engine_that_refreshes_at_other_times_is_found() -> None:
    sooner_, later = (refreshed_every(part_of("hbm3_banks"), ticks) for ticks in (2900, 3000))
    made, other = busy(sooner_), busy(later)
    assert has(made.check(other.trace()), "a refresh is due")
    assert has(other.check(made.trace()), r"comes \d+ ticks before it is due")


def test_a_refresh_that_dawdles_is_found() -> None:
    made = busy(refreshed_every(part_of("hbm3_banks"), 900))
    trace = made.trace()
    last = max(i for i, each in enumerate(trace) if each.name == "REFab")
    for ticks, late in ((20, False), (120, True)):
        moved = trace[last]._replace(tick=trace[last].tick + ticks)
        report = made.check([*trace[:last], moved])
        assert has(report, r"comes \d+ ticks after it is due, closing all .*") == late


OTHER_RUNS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"policy": "concurrent"}, {"policy": "exclusive"}, "a section runs"),
    (
        {"policy": "concurrent"},
        {"policy": "exclusive"},
        "requests that came before the section are not served",
    ),
    ({"refresh": "none"}, {"refresh": "all_bank"}, "a refresh is due"),
    ({"refresh": "all_bank"}, {"refresh": "none"}, r"comes \d+ ticks before it is due"),
    ({}, {"cadence_ticks": 9}, r"too early by 5: \[\d+\] Channel ALL_RD -> ALL_RD 9 ticks"),
]


@pytest.mark.parametrize(("engine", "how", "words"), OTHER_RUNS)
def test_an_engine_that_is_run_otherwise_is_found(
    engine: dict[str, Any], how: dict[str, Any], words: str
) -> None:
    part = refreshed_every(part_of("duplex_logic"), 1500)
    assert has(busy(part, **how).check(busy(part, **engine).trace()), words)


def test_an_engine_of_another_program_is_found() -> None:
    made = busy(part_of("duplex_logic"))
    more = np.concatenate([made.program, array((RESULT, 0, 0, 1))])
    longer = replace(made, program=more)
    assert rules_of(made.check(longer.trace())) == {"the program is done"}
    assert rules_of(longer.check(made.trace())) == {
        "1 entries of the program are not done, the first is 60"
    }
    changed = made.program.copy()
    changed[changed[:, 0] == ROW, 3] += 1
    report = made.check(replace(made, program=changed).trace())
    assert has(report, r"program\[\d+\] is next")


def test_an_engine_of_other_requests_is_found() -> None:
    made = busy(part_of("duplex_logic"))
    requests = made.how["requests"]
    fewer = replace(made, how={**made.how, "requests": requests[:-1]})
    assert rules_of(made.check(fewer.trace())) == {"1 are not served"}
    assert "no request in the queue is about it" in rules_of(fewer.check(made.trace()))
    for column, change, words in ((0, -1, "no request in the queue is about it"), (1, 1, "the .*")):
        other = requests.copy()
        other[:, column] = np.maximum(0, other[:, column] + change) % (2 if column else 1 << 40)
        assert has(made.check(replace(made, how={**made.how, "requests": other}).trace()), words)


#: Bundles on rows of their own, requests beside them that wait for a bundle and for a bank; and
#: units with a row buffer of their own, with requests of the row that comes next.
BUNDLES = Case(
    part_of("duplex_logic"),
    array(
        *((LOAD, 0, 0, 1), (ROW, 0, 5, 2), (ROW, 1, 6, 2), (LOAD, 0, 0, 1), (RESULT, 0, 0, 1)),
        *((END, 0, 0, 0), (ROW, 0, 7, 1)),
    ),
    {"requests": array((0, 1, 0, 4, 1), (0, 0, 33, 4, 2), (30, 0, 7, 3, 1), (31, 0, 33, 9, 2))},
)
BUFFERS = Case(
    part_of("newton_hbm2"),
    array((LOAD, 0, 0, 1), (ROW, 0, 5, 2), (RESULT, 0, 0, 1), (END, 0, 0, 0), (ROW, 0, 6, 1)),
    {"requests": array((0, 1, 3, 6, 1), (0, 0, 20, 6, 2), (150, 0, 20, 7, 0))},
)
#: Rows of requests in banks of a bundle that are in the way of the row after the first.
IN_THE_WAY = Case(
    part_of("duplex_logic"),
    array((ROW, 2, 1, 30), (ROW, 2, 2, 30), (ROW, 0, 5, 2)),
    {"requests": array((0, 0, 1, 4, 1), (0, 0, 4, 4, 2), (0, 0, 33, 4, 2))},
)


def first(trace: Trace, name: str) -> int:
    return next(i for i, each in enumerate(trace) if each.name == name)


def dropped(name: str) -> Change:
    return lambda trace: without(trace, first(trace, name))


def changed(which: str, **fields: Any) -> Change:
    def change(trace: Trace) -> Trace:
        place = first(trace, which)
        return [*trace[:place], trace[place]._replace(**fields), *trace[place + 1 :]]

    return change


def inserted(before: str, ticks: int, name: str, *address: int) -> Change:
    """Insert a command before the first of a name, so many ticks before it."""

    def change(trace: Trace) -> Trace:
        place = first(trace, before)
        made = Command(trace[place].tick - ticks, name, address)
        return [*trace[:place], made, *trace[place:]]

    return change


def swapped(name: str) -> Change:
    """Swap what the first two commands of a name are of."""

    def change(trace: Trace) -> Trace:
        one = first(trace, name)
        other = one + 1 + first(trace[one + 1 :], name)
        made = list(trace)
        made[one] = trace[one]._replace(address=trace[other].address)
        made[other] = trace[other]._replace(address=trace[one].address)
        return made

    return change


FAULTS: list[tuple[Case, Change, str]] = [
    (BUNDLES, changed("RDBUF", tick=31), "comes after a command of tick 32"),
    (BUNDLES, inserted("RD", 18, "ALL_PRE", 0, 0, 0, 0, 0, 7, 0),
     "too early by 1: the command bus is held"),
    (BUNDLES, changed("ALL_ACT", address=(0, 0, 0, 0, 1, 5, 0)),
     "is not the first bank of what it is of"),
    (BUNDLES, changed("ALL_ACT", address=(0, 0, 2, 0, 0, 5, 0)),
     "is not the first bank of what it is of"),
    (BUNDLES, changed("ALL_ACT", address=(0, 0, 0, 0, 0, 9, 0)),
     "the program is not about the row"),
    (BUNDLES, changed("ACT", address=(0, 0, 0, 1, 3, 1 << 14, 0)),
     "Row 16384 is not within 0 to 16383"),
    (BUNDLES, dropped("ALL_ACT"), "16 of its banks are not open on row 5"),
    (BUNDLES, dropped("ALL_PRE"), "16 of its banks are not closed"),
    (BUNDLES, dropped("ALL_RD"), "burst 0 is next"),
    (BUNDLES, dropped("ALL_RD"), "program[1] is next"),
    (BUNDLES, dropped("WRBUF"), "program[3] is next"),
    (BUNDLES, dropped("RDBUF"), "program[4] is next"),
    (BUNDLES, dropped("ACT"), "the bank has no open row"),
    (BUNDLES, dropped("PREpb"), "the bank is not closed"),
    (BUNDLES, dropped("RD"), "1 are not served"),
    (BUNDLES, changed("RD", name="WR"), "the request is a read"),
    (BUNDLES, changed("RD", address=(0, 0, 0, 1, 3, 3, 16)), "no request in the queue is about it"),
    (BUNDLES, changed("RD", address=(0, 0, 0, 1, 3, 3, 9)), "no request in the queue is about it"),
    (BUNDLES, inserted("RDBUF", 1, "ACT", 0, 0, 0, 0, 0, 4, 0),
     "the units have rows open in 1 of its banks"),
    (BUNDLES, inserted("RDBUF", 1, "ACT", 0, 0, 0, 0, 0, 4, 0),
     "the program holds the row or the bank"),
    (BUNDLES, inserted("RDBUF", 0, "ALL_PRE", 0, 0, 1, 0, 0, 0, 0), "none of its banks is open"),
    (BUNDLES, inserted("RDBUF", 0, "PREab", 0, 1, 0, 0, 0, 0, 0), "none of its banks is open"),
    (BUNDLES, inserted("RDBUF", 0, "PREab", 0, 1, 0, 0, 0, 0, 0),
     "neither refresh, program nor a request needs it"),
    (BUNDLES, inserted("RDBUF", 0, "REFab", 0, 1, 0, 0, 0, 0, 0),
     "comes 5037 ticks before it is due"),
    (BUNDLES, inserted("RDBUF", 0, "REFab", 0, 0, 0, 0, 0, 0, 0),
     "the units have rows open in 16 of its banks"),
    (BUNDLES, inserted("RD", 1, "PREpb", 0, 0, 0, 1, 3, 0, 0),
     "neither refresh, program nor a request needs it"),
    (IN_THE_WAY, swapped("PREpb"), "a bank before it in the group is to be closed first"),
    (IN_THE_WAY, dropped("PREpb"), "requests have rows open in 1 of its banks"),
    (BUFFERS, changed("RD", name="RDA"), "is no command of such a run"),
    (BUFFERS, changed("G_ACT", address=(0, 0, 0, 0, 6, 0)),
     "another part of the group is open on row 6"),
    (BUFFERS, dropped("G_ACT"), "4 of its banks are not open on row 5"),
    (BUFFERS, inserted("COMP", 1, "ACT", 0, 0, 0, 3, 5, 0),
     "the units have rows open in 1 of its banks"),
    (BUFFERS, inserted("READRES", 0, "PIM_PRECHARGE", 0, 0, 0, 0, 5, 0),
     "neither refresh, program nor a request needs it"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "change", "words"), FAULTS)
def test_a_fault_in_a_trace_is_found(made: Case, change: Change, words: str) -> None:
    trace = made.trace()
    assert made.check(trace).violations == ()
    assert words in rules_of(made.check(change(trace)))
