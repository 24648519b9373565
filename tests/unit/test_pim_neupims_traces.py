"""Are NeuPIMs' commands legal and as early as can be, and would the checker find them if not?"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dram.checker import Report
from simulator.dram.pim.neupims import AttentionRun, run_attention
from simulator.dram.pim.neupims_checker import PimChecker, check_pim_commands
from simulator.dram.pim.neupims_part import Issued, NeuPims, load_neupims

PART = load_neupims()
MODES = ("dual", "blocked")
TINY = {"hidden": 1024, "heads": 8, "tp": 1}
GPT3_7B = {"hidden": 4096, "heads": 32, "tp": 4}
MODELS = st.sampled_from(
    [(32, 2, 1), (128, 4, 1), (256, 4, 1), (512, 1, 1), (768, 12, 1), (1024, 8, 2)]
)


def traced(
    mode: str, requests: Sequence[tuple[int, int]], part: NeuPims = PART, **model: int
) -> tuple[AttentionRun, list[Issued]]:
    commands = list[Issued]()
    run = run_attention(part, mode, requests, **model, trace=commands.extend)  # type: ignore[arg-type]
    return run, commands


@pytest.mark.parametrize("mode", MODES)
def test_no_command_could_have_come_a_tick_earlier(mode: str) -> None:
    """Before the first refresh: one tick earlier, each breaks a rule or meets another command."""
    _, commands = traced(mode, [(64, 0)], hidden=128, heads=2, tp=1)
    commands = [each for each in commands if each.tick < PART.turn_ticks]
    _, stage, *_ = (place for place, each in enumerate(commands) if each.name == "GWRITE")
    # The first of each stage comes when the NPU sends it; blocked, its bank is closed and opened.
    sent = {0, stage if mode == "dual" else stage - 2}
    assert len(commands) > 150
    for index, issued in enumerate(commands):
        moved = [*commands[:index], issued._replace(tick=issued.tick - 1)]
        assert (index in sent) == check_pim_commands(PART, mode, moved).passed, (index, issued)


@pytest.mark.parametrize(("tokens", "softmax"), [(64, 5), (128, 12)])
def test_outputs_start_when_all_scores_are_stored(tokens: int, softmax: int) -> None:
    """A read takes 16 ticks and 2 to the NPU, a store 5, the next stage one more and then 3.

    Softmax of 128 values (bytes): 2 trees of a tick, 3 passes; of 256, 2 trees of 2 + 1 and 6.
    """
    _, commands = traced("dual", [(tokens, 0)], hidden=128, heads=1, tp=1)
    places = [i for i, each in enumerate(commands) if each.name == "GWRITE"]
    last = commands[places[1] - 1]
    assert last.name == "COMPS_READRES"
    assert commands[places[1]].tick == last.tick + 16 + 2 + softmax + 5 + 1 + 3


#: Before the first refresh, what the guard lets go in time: a model, requests, how many GWRITE
#: before, the command after them, its estimate.
GUARDED = [
    # 96 of the GWRITE, 14 to close and 14 to open its bank.
    (TINY, 64, 0, "ACT", 96 + 28),
    # 8 groups of two ranks, 4 heads of 8 steps, 4 results.
    (TINY, 64, 1, "P_HEADER", 30 * 3 + 14 + 2 * 32 + 2 * 3),
    # The same of a head with 5 steps, shown as 8, after 32 banks of another row.
    ({"hidden": 128, "heads": 1, "tp": 1}, 72, 2, "PIM_PRECHARGE", 5 * 32 + 30 * 3 + 14 + 2 * 8),
]


@pytest.mark.parametrize(("model", "tokens", "gwrites", "name", "estimate"), GUARDED)
def test_the_guard_lets_go_what_is_done_before_the_refresh(
    model: dict[str, int], tokens: int, gwrites: int, name: str, estimate: int
) -> None:
    def tick(start: int) -> int:
        commands = list[Issued]()
        run_attention(PART, "dual", [(tokens, 0)], **model, start_tick=start, trace=commands.extend)
        places = [i for i, each in enumerate(commands) if each.name == "GWRITE"]
        after = places[gwrites - 1] if gwrites else -1
        return commands[first(commands, name, after + 1)].tick

    # The estimate is less than what is left after that tick.
    latest = PART.turn_ticks - estimate - 2
    offset = tick(0)
    assert tick(latest - offset) == latest
    assert tick(latest - offset + 1) > PART.turn_ticks


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=12)
@given(
    model=MODELS,
    requests=st.lists(st.tuples(st.integers(1, 700), st.integers(0, 2)), min_size=1, max_size=3),
    start_tick=st.integers(0, 8000),
)
def test_drawn_requests_break_no_rule(
    mode: str, model: tuple[int, int, int], requests: list[tuple[int, int]], start_tick: int
) -> None:
    hidden, heads, tp = model
    checker = PimChecker(PART, mode, start_tick)
    run = run_attention(
        PART, mode, requests, hidden=hidden, heads=heads, tp=tp, start_tick=start_tick,
        trace=checker,
    )  # fmt: skip
    report = checker.report()
    assert report.violations == ()
    assert report.commands == run.commands


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_million_commands_break_no_rule(mode: str) -> None:
    lengths = np.random.default_rng(6).integers(1, 2048, 160).tolist()
    checker = PimChecker(PART, mode)
    run = run_attention(PART, mode, [(each, None) for each in lengths], **GPT3_7B, trace=checker)
    report = checker.report()
    assert report.checked > 10**6
    assert report.violations == ()
    assert report.commands == run.commands


def checked(faulty: NeuPims, mode: str, **model: int) -> Report:
    """Return what the checker of the sound part says of a run by a faulty one."""
    _, commands = traced(mode, [(530, 0), (17, 3)], faulty, **(model or {**TINY, "hidden": 512}))
    return check_pim_commands(PART, mode, commands)


def loosened(mode: str, level: str, before: str, after: str) -> tuple[int, NeuPims]:
    """Return a row and a part in which it is a tick shorter; nobody checks it."""
    rows = PART.rows(mode)
    (number,) = (
        number
        for number, row in enumerate(rows)
        if row.level == level and before in row.before and after in row.after and row.window == 1
    )
    changed = list(rows)
    changed[number] = rows[number].model_copy(update={"ticks": rows[number].ticks - 1})
    how = PART.modes[mode].model_copy(update={"constraints": tuple(changed)})
    return number, PART.model_copy(update={"constraints": (), "modes": {mode: how}})


@pytest.mark.parametrize(
    ("mode", "level", "before", "after"),
    [
        ("dual", "Rank", "PIM_PRECHARGE", "REFab"),
        ("dual", "Rank", "REFab", "G_ACT"),
        ("dual", "Bank", "ACT", "GWRITE"),
        ("dual", "Channel", "G_ACT", "COMPS_READRES"),
        ("dual", "Rank", "G_ACT", "G_ACT"),
        ("dual", "Channel", "COMPS_READRES", "GWRITE"),
        ("dual", "Channel", "COMPS_READRES", "PIM_PRECHARGE"),
        ("dual", "BankGroup", "G_ACT", "PIM_PRECHARGE"),
        ("blocked", "Rank", "PREpb", "REFab"),
        ("blocked", "Rank", "REFab", "G_ACT"),
        ("blocked", "Bank", "ACT", "GWRITE"),
        ("blocked", "Bank", "PREpb", "ACT"),
        ("blocked", "Channel", "G_ACT", "COMP"),
        ("blocked", "Rank", "G_ACT", "G_ACT"),
        ("blocked", "Channel", "COMP", "COMP"),
        ("blocked", "Channel", "READRES", "PREpb"),
        ("blocked", "Channel", "READRES", "COMP"),
    ],
)
def test_a_row_that_is_a_tick_shorter_is_found(
    mode: str, level: str, before: str, after: str
) -> None:
    number, faulty = loosened(mode, level, before, after)
    report = checked(faulty, mode)
    assert report.broken > 0
    assert {violation.row for violation in report.violations} == {number}
    assert all("too early by 1: " in violation.rule for violation in report.violations)


def with_units(**changes: int) -> NeuPims:
    return PART.model_copy(update={"units": PART.units.model_copy(update=changes)})


QUICK_GWRITE = PART.model_copy(update={"gwrite_ticks": 95})
QUICK_RESULT = with_units(first_step_to_result_ticks=5)


@pytest.mark.parametrize(
    ("mode", "faulty", "words"),
    [
        ("dual", QUICK_GWRITE, "too early by 1: while GWRITE copies"),
        ("dual", with_units(cadence_ticks=1), "too early by 7: after one of 4 steps"),
        ("dual", with_units(adder_steps=5), "too early by 2: after one of 4 steps"),
        ("blocked", QUICK_RESULT, "too early by 1: after the first step"),
    ],
)
def test_units_that_are_too_quick_are_found(mode: str, faulty: NeuPims, words: str) -> None:
    report = checked(faulty, mode, hidden=512, heads=8, tp=1)
    assert words in {violation.rule for violation in report.violations}


def test_a_refresh_that_is_not_due_or_too_late_is_found() -> None:
    for interval, words in ((3890, "ticks before it is due"), (8000, "ticks later than a turn")):
        refresh = PART.refresh.model_copy(update={"interval_ticks": interval})
        report = checked(PART.model_copy(update={"refresh": refresh}), "dual")
        assert words in report.violations[0].rule


Trace = list[Issued]
GEMV = "COMPS_READRES"


def first(commands: Trace, name: str, after: int = 0) -> int:
    return next(i for i, each in enumerate(commands) if i >= after and each.name == name)


def dropped(name: str, after: int = 0) -> Callable[[Trace], Trace]:
    def change(commands: Trace) -> Trace:
        place = first(commands, name, after)
        return commands[:place] + commands[place + 1 :]

    return change


def changed(which: str, **fields: object) -> Callable[[Trace], Trace]:
    def change(commands: Trace) -> Trace:
        place = first(commands, which)
        issued = commands[place]._replace(**fields)  # type: ignore[arg-type]
        return [*commands[:place], issued, *commands[place + 1 :]]

    return change


def inserted(before: str, *made: tuple[int, str, tuple[int, ...]]) -> Callable[[Trace], Trace]:
    """Insert commands before the first of a name, each so many ticks before it."""

    def change(commands: Trace) -> Trace:
        place = first(commands, before)
        at = commands[place].tick
        new = [Issued(at - ticks, name, address) for ticks, name, address in made]
        return commands[:place] + new + commands[place:]

    return change


FAULTS: list[tuple[Callable[[Trace], Trace], str]] = [
    (dropped("PIM_PRECHARGE"), "1 banks are open on another row"),
    (dropped("G_ACT"), "4 banks are not open on row 1"),
    (dropped("ACT"), "the bank has no open row"),
    (dropped("PREpb"), "1 of its banks are not closed"),
    (dropped("P_HEADER"), "the last header was of row None"),
    (dropped("REFab"), "it is not the turn of this rank"),
    (changed("G_ACT", tick=17), "comes after a command of tick 113"),
    (changed("G_ACT", address=(0, 0, 0, 0, 9)), "4 banks are not open on row 1"),
    (changed("G_ACT", address=(0, 0, 0, 0, 0)), "memory has row 0 open"),
    (changed("G_ACT", address=(0, 2, 0, 0, 1)), "Rank 2 is not within 0 to 1"),
    (changed("ACT", address=(0, 0, 0, 0, 32768)), "Row 32768 is not within 0 to 32767"),
    (changed("GWRITE", address=(0, 0, 0, 0, 3)), "row 0 is open"),
    (changed("COMPS_READRES", steps=33), "has 33 steps, not 1 to 32"),
    (changed("COMPS_READRES", name="COMP"), "is no command of this mode"),
    (inserted("P_HEADER", (9, "G_ACT", (0, 1, 1, 0, 1))), "too early by 9: while GWRITE copies"),
    (changed("PREpb", name="PIM_PRECHARGE"), "1 of its banks are not closed"),
    (inserted(GEMV, (3, "ACT", (0, 1, 3, 3, 1))), "the units have row 1 open"),
    (inserted(GEMV, (3, "ACT", (0, 0, 0, 0, 7))), "the bank is not closed"),
    (inserted(GEMV, (3, "RD", (0, 0, 0, 1, 7))), "the bank has no open row"),
    (
        inserted(GEMV, (1, "RD", (0, 0, 0, 0, 0))),
        "too early by 1: [30] Channel RD -> COMPS_READRES 2 ticks",
    ),
    (
        inserted(GEMV, (3, "RD", (0, 0, 0, 0, 0)), (1, "RD", (0, 1, 0, 0, 0))),
        "too early by 2: [3] Rank RD -> RD 4 ticks, sibling",
    ),
    (inserted(GEMV, (2, "G_ACT", (0, 1, 3, 0, 1))), "no bank of the group is closed"),
]
BLOCKED_FAULTS: list[tuple[Callable[[Trace], Trace], str]] = [
    (dropped("PREpb"), "1 banks are open on another row"),
    (inserted("P_HEADER", (1, "READRES", (0, 0, 0, 0, 1))), "there was no step"),
    (inserted("READRES", (1, "P_HEADER", (0, 0, 0, 0, 1))), "a GEMV has no result yet"),
    (changed("G_ACT", name="PIM_PRECHARGE"), "is no command of this mode"),
]


@pytest.mark.parametrize(
    ("mode", "change", "words"),
    [*(("dual", *each) for each in FAULTS), *(("blocked", *each) for each in BLOCKED_FAULTS)],
)
def test_a_planted_fault_in_a_trace_is_found(
    mode: str, change: Callable[[Trace], Trace], words: str
) -> None:
    _, commands = traced(mode, [(90, 0)], **TINY)
    assert check_pim_commands(PART, mode, commands).passed
    report = check_pim_commands(PART, mode, change(commands))
    assert words in {violation.rule for violation in report.violations}


def test_four_activations_have_a_window() -> None:
    banks = [(0, 0, group, 0, 5) for group in range(4)]
    ticks = [1, 7, 13, 19]
    opened = [Issued(tick, "ACT", bank) for tick, bank in zip(ticks, banks, strict=True)]
    for tick, passed in ((30, False), (31, True)):
        fifth = Issued(tick, "ACT", (0, 0, 0, 1, 5))
        assert check_pim_commands(PART, "dual", [*opened, fifth]).passed == passed


def test_refreshes_that_never_come_are_found() -> None:
    commands = [Issued(5, "ACT", (0, 0, 0, 0, 1)), Issued(7900, "PREpb", (0, 0, 0, 0, 1))]
    (violation,) = check_pim_commands(PART, "dual", commands).violations
    assert violation.rule == "0 refreshes by the end, 3 were due a turn before"
    assert check_pim_commands(PART, "dual", commands, start_tick=7000).passed
