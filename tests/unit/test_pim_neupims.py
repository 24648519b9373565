"""Does NeuPIMs' attention take the time and energy that NewtonSim recorded?"""

import csv
import os
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path

import pytest

from simulator.config import dump_yaml
from simulator.dram.pim import neupims
from simulator.dram.pim.neupims import AttentionRun, assign_channels, estimate_ticks, run_attention
from simulator.dram.pim.neupims_part import Issued, NeuPims, load_neupims

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PART = load_neupims()
MODES = ("dual", "blocked")
TINY = {"hidden": 1024, "heads": 8, "tp": 1}
GPT3_7B = {"hidden": 4096, "heads": 32, "tp": 4}
TWELVE_HEADS = {"hidden": 768, "heads": 12, "tp": 1}
#: Requests of the recorded tiny iterations: one a channel; sub-batches have every other channel.
EACH = [(256, channel) for channel in range(32)]
#: Recorded iterations without sub-batches: the mode here, the model.
WHOLE = {
    ("sample-7B-tp4-bs512", "neupims"): ("dual", GPT3_7B),
    ("tiny-b32-s256", "neupims"): ("dual", TINY),
    ("tiny-b32-s256", "npu+pim"): ("blocked", TINY),
}


def recorded(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (casys-kaist/NeuPIMs @f299af3)")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def sample() -> list[tuple[int, int]]:
    rows = recorded("neupims_sample_7b_requests.csv")
    return [(int(row["seq_len"]), int(row["ch_idx"])) for row in rows]


def iteration(workload: str, mode: str) -> tuple[dict[str, tuple[int, int]], dict[str, float]]:
    """Return cycles and PIM-busy cycles of each stage, and the energies in J, of a recorded one."""
    rows = recorded("neupims_iterations.csv")
    (row,) = (row for row in rows if (row["workload"], row["mode"]) == (workload, mode))
    stages = dict(each.split("=") for each in row["stages"].split(";"))
    cycles = {
        name: (int(text.split("(")[0]), int(text.split("pim ")[1].split(",")[0]))
        for name, text in stages.items()
    }
    pairs = (each.split("=") for each in row["energy_sums"].split(";"))
    return cycles, {name.removesuffix("_energy"): float(value) * 1e-12 for name, value in pairs}


def mean_busy(run: AttentionRun) -> int:
    """Return the mean over all channels, rounded down as theirs."""
    return sum(run.pim_busy_cycles) // PART.channels


def traced(
    mode: str, requests: Sequence[tuple[int, int]], part: NeuPims = PART, **model: int
) -> tuple[AttentionRun, list[Issued]]:
    commands = list[Issued]()
    run = run_attention(part, mode, requests, **model, trace=commands.extend)  # type: ignore[arg-type]
    return run, commands


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tokens", [128, 512, 2000])
def test_a_request_alone_takes_what_was_recorded(mode: str, tokens: int) -> None:
    """To the tick but for 2000 tokens blocked, 0.8 % less: stores cost banks nothing here."""
    rows = recorded("neupims_single_request.csv")
    (row,) = (row for row in rows if row["mode"] == mode and int(row["context"]) == tokens)
    start, theirs = int(row["qkv_stage_cycles"]), int(row["mha_stage_cycles"])
    run = run_attention(PART, mode, [(tokens, 0)], **TINY, start_tick=start)
    if (mode, tokens) == ("blocked", 2000):
        assert run.mha_cycles == pytest.approx(theirs, rel=0.01)
    else:
        assert run.mha_cycles == theirs
    # Wherever it starts between refreshes.
    unknown = run_attention(PART, mode, [(tokens, 0)], **TINY)
    assert unknown.mha_cycles == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("which", WHOLE, ids=" ".join)
def test_iterations_take_what_was_recorded(which: tuple[str, str]) -> None:
    mode, model = WHOLE[which]
    requests = EACH if "tiny" in which[0] else sample()
    stages, energies = iteration(*which)
    run = run_attention(PART, mode, requests, **model, start_tick=stages["A"][0])
    cycles, busy = stages["B"]
    assert run.mha_cycles == pytest.approx(cycles, rel=0.005)
    assert mean_busy(run) == pytest.approx(busy, rel=0.002)
    # Recorded to four digits.
    assert run.energy_j == {
        name: pytest.approx(energies[name], rel=2e-3)
        for name in ("gwrite", "gact", "comp", "readres")
    }
    early = run_attention(PART, mode, requests, **model)
    assert early.mha_cycles == pytest.approx(cycles, rel=0.05)
    assert mean_busy(early) == pytest.approx(busy, rel=0.05)


def test_sub_batches_are_less_busy_without_the_traffic_of_the_npu() -> None:
    """Their NPU reads and writes meanwhile, which is left out: 4 to 8 % of the busy cycles."""
    stages, energies = iteration("tiny-b32-s256", "neupims-sb")
    start, summed = 0, dict.fromkeys(("gwrite", "gact", "comp", "readres"), 0.0)
    for name, first in (("A", -1), ("B", 0), ("C", 1), ("D", 0), ("E", 1)):
        cycles, busy = stages[name]
        if first >= 0:
            run = run_attention(PART, "dual", EACH[first::2], **TINY, start_tick=start)
            assert -0.08 < mean_busy(run) / busy - 1 < -0.04
            summed = {part: joules + run.energy_j[part] for part, joules in summed.items()}
        start += cycles
    assert summed == {name: pytest.approx(energies[name], rel=1e-3) for name in summed}


@pytest.mark.parametrize(
    ("tokens", "ticks"),
    [(80, 7_992), (376, 11_304), (512, 12_776), (1024, 25_352), (2048, 50_504)],
)
def test_algorithm_1_estimates_what_theirs_does(tokens: int, ticks: int) -> None:
    assert estimate_ticks(PART, tokens, **GPT3_7B) == ticks


def imbalance(requests: Sequence[tuple[int, int]]) -> float:
    loads = [0] * PART.channels
    for tokens, channel in requests:
        loads[channel] += estimate_ticks(PART, tokens, **GPT3_7B)
    return max(loads) / (sum(loads) / len(loads))


def test_algorithm_2_balances_the_sample() -> None:
    """Theirs assigned it over many iterations; all at once it is more even."""
    lengths = [tokens for tokens, _ in sample()]
    greedy = assign_channels(PART, [(tokens, None) for tokens in lengths], **GPT3_7B)
    turns = [(tokens, index % PART.channels) for index, tokens in enumerate(lengths)]
    assert [tokens for tokens, _ in greedy] == lengths
    assert imbalance(sample()) == pytest.approx(1.115, abs=5e-4)
    assert imbalance(turns) == pytest.approx(1.290, abs=5e-4)
    assert imbalance(greedy) == pytest.approx(1.026, abs=5e-4)


def test_algorithm_2_takes_the_longest_first_and_the_least_loaded() -> None:
    given = [(100, None), (3000, 0), (900, None), *((2000, each) for each in range(3, 32))]
    placed = assign_channels(PART, given, **TINY)
    assert placed == [(100, 2), (3000, 0), (900, 1), *given[3:]]


def layout(tokens: int, hidden: int, heads: int, tp: int) -> dict[str, int]:
    """Count commands by what each of them covers."""
    own, dim = heads // tp, hidden // heads
    scores = ceil(hidden // tp / 512), ceil(tokens / 32)
    outputs = own * ceil(tokens / 512), ceil(dim / 32)
    tail = tokens % 512
    steps_of_head = tokens // 512 * 32 + ceil(tail / 16)
    return {
        "GWRITE": scores[0] + outputs[0],
        "P_HEADER": scores[0] * scores[1] + outputs[0] * outputs[1],
        "results": own * scores[1] + outputs[0] * outputs[1],
        "steps": own * scores[1] * dim // 16 + own * outputs[1] * steps_of_head,
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("tokens", "model"),
    [(1, TINY), (33, TINY), (1025, TINY), (512, GPT3_7B), (700, TWELVE_HEADS)],
)
def test_every_value_is_covered_once(mode: str, tokens: int, model: dict[str, int]) -> None:
    run = run_attention(PART, mode, [(tokens, 7)], **model)
    expected = layout(tokens, **model)
    results = run.commands["COMPS_READRES" if mode == "dual" else "READRES"]
    assert run.commands["GWRITE"] == expected["GWRITE"]
    assert run.commands["P_HEADER"] == expected["P_HEADER"]
    assert (results, run.bursts) == (expected["results"], expected["steps"])
    assert run.commands.get("COMP", 0) == (0 if mode == "dual" else expected["steps"])
    assert run.operations == 2 * tokens * model["hidden"] // model["tp"]
    assert 0 < run.utilisation <= 1


def test_a_bank_without_padding_does_nothing_else() -> None:
    assert run_attention(PART, "dual", [(512, 0)], **TINY).utilisation == 1


def test_keys_and_values_of_requests_are_in_rows_of_their_own() -> None:
    """700 tokens: 22 tiles of 2 rows, then 32 tiles of 2 rows, of which all heads name 4."""
    _, commands = traced("dual", [(700, 3), (40, 3)], **TINY)
    rows = [issued.address[-1] for issued in commands if issued.name == "P_HEADER"]
    first, second = range(1, 1 + 44 + 64), range(109, 109 + 4 + 32)
    assert set(rows) == {*first[: 44 + 8], *second[: 4 + 4]}
    assert {issued.address[-1] for issued in commands if issued.name == "GWRITE"} == {0}


@pytest.mark.parametrize(
    ("mode", "scores", "outputs"), [("dual", {197}, {143}), ("blocked", {213}, {207})]
)
def test_tiles_take_what_their_rows_say(mode: str, scores: set[int], outputs: set[int]) -> None:
    """Ticks from header to header, where no refresh or GWRITE comes between.

    Dual: 1, 3 x 30 and 1 to the last group, 14 to the first GEMV, of scores 3 x 18 to the last, 5
    to the first precharge, 32 precharges. Blocked pays the last GEMV too: 2 x 8 and 2 x 32.
    """
    _, commands = traced(mode, [(512, 0)], **TINY)
    marks = [each for each in commands if each.name in ("P_HEADER", "GWRITE", "REFab")]
    found: list[set[int]] = [set(), set()]
    for before, first, second in zip(marks, marks[1:], marks[2:], strict=False):
        if first.name == second.name == "P_HEADER" and before.name != "REFab":
            found[first.address[-1] > 32].add(second.tick - first.tick)
    assert found == [scores, outputs]


def test_rows_follow_from_the_parameters() -> None:
    t, units = PART.timing, PART.units
    said = {
        (row.level, before, after): row.ticks
        for mode in MODES
        for row in PART.rows(mode)
        if row.window == 1 and not row.sibling
        for before in row.before
        for after in row.after
    }
    turnaround = t["nCL"] + t["nBL"] - t["nCWL"] + t["nRTRS"]
    assert (
        said
        | {
            ("Bank", "ACT", "GWRITE"): t["nRCDRD"],
            ("Bank", "ACT", "PREpb"): t["nRAS"],
            ("Bank", "ACT", "ACT"): t["nRC"],
            ("Bank", "PREpb", "ACT"): t["nRP"],
            ("Rank", "REFab", "G_ACT"): t["nRFC"],
            ("Rank", "PIM_PRECHARGE", "REFab"): t["nRP"],
            ("Rank", "G_ACT", "G_ACT"): t["nFAW"],
            ("BankGroup", "G_ACT", "G_ACT"): t["nRC"],
            ("Channel", "G_ACT", "COMP"): t["nRCDRD"],
            ("BankGroup", "G_ACT", "PIM_PRECHARGE"): t["nRAS"],
            ("BankGroup", "PIM_PRECHARGE", "G_ACT"): t["nRP"],
            ("Channel", "COMPS_READRES", "G_ACT"): t["nRTP"] + t["nRP"],
            ("Channel", "COMPS_READRES", "PIM_PRECHARGE"): t["nRTP"],
            ("Channel", "READRES", "G_ACT"): t["nRTP"] + t["nRP"],
            ("Channel", "COMP", "PREpb"): t["nRTP"],
            ("Channel", "COMP", "COMP"): units.cadence_ticks,
            ("Channel", "READRES", "WR"): turnaround,
            ("Channel", "GWRITE", "COMP"): PART.gwrite_ticks,
            ("Bank", "GWRITE", "PREpb"): PART.gwrite_ticks,
        }
        == said
    )
    assert PART.gwrite_ticks == 32 * (t["nCCDS"] + t["nCCDL"])
    assert PART.read_ticks == t["nCL"] + t["nBL"]
    assert units.cadence_ticks == max(t["nBL"], t["nCCDS"])


def test_energies_are_those_of_the_currents() -> None:
    """A read 804 pJ, an activation 828: GWRITE 16 reads, G_ACT 4 activations, a step 4 reads."""
    run = run_attention(PART, "dual", [(96, 0)], **TINY)
    counts = (
        run.commands["GWRITE"],
        run.commands["G_ACT"],
        run.bursts,
        run.commands["COMPS_READRES"],
    )
    each = 12_864e-12, 3_312e-12, 3_216e-12, 804e-12
    expected = [count * joules for count, joules in zip(counts, each, strict=True)]
    assert list(run.energy_j) == ["gwrite", "gact", "comp", "readres"]
    assert list(run.energy_j.values()) == pytest.approx(expected)


def test_channels_work_side_by_side_in_dual() -> None:
    run = run_attention(PART, "dual", [(300, 5), (300, 9)], **TINY)
    assert run.pim_busy_cycles[5] == run.pim_busy_cycles[9] > 0
    assert sum(map(bool, run.pim_busy_cycles)) == 2
    assert run.mha_cycles < 1.01 * run_attention(PART, "dual", [(300, 5)], **TINY).mha_cycles


@pytest.mark.parametrize(("mode", "later"), [("dual", 0), ("blocked", 2 + 16 * 37)])
def test_how_the_npu_sends_commands(mode: str, later: int) -> None:
    """Blocked one a tick: 2 GWRITE, 16 tiles of a header and 4 heads of 8 COMP and a READRES."""
    _, commands = traced(mode, [(256, 0), (256, 1)], **TINY)
    starts = [next(each.tick for each in commands if each.address[0] == i) for i in (0, 1)]
    assert starts == [3, 3 + later]


def test_the_order_of_requests_on_other_channels_does_not_matter() -> None:
    given = [(300, 5), (200, 9), (70, 5)]
    assert run_attention(PART, "dual", given, **TINY) == run_attention(
        PART, "dual", [given[1], given[0], given[2]], **TINY
    )


def test_refresh_goes_on_until_the_end_on_all_channels() -> None:
    run = run_attention(PART, "dual", [(500, 0)], **TINY, start_tick=1950)
    due = (1950 + run.mha_cycles - 1) // 1950
    assert run.commands["REFab"] == 32 * due


@pytest.mark.parametrize("mode", MODES)
def test_a_trace_changes_nothing_and_comes_in_blocks(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, commands = traced(mode, [(200, 0), (90, 2)], **TINY)
    assert run == run_attention(PART, mode, [(200, 0), (90, 2)], **TINY)
    monkeypatch.setattr(neupims, "_BLOCK", 7)
    assert traced(mode, [(200, 0), (90, 2)], **TINY) == (run, commands)


def test_the_part_is_written_as_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "part.yaml"
    file.write_text(dump_yaml(PART), encoding="utf-8")
    assert load_neupims(str(file)) == PART


def test_requests_are_read_with_and_without_channels(tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    file.write_text("seq_len,ch_idx\n512,3\n\n80,31\n", encoding="ascii")
    assert neupims.read_requests(file) == [(512, 3), (80, 31)]
    file.write_text("seq_len\n512\n80\n", encoding="ascii")
    assert neupims.read_requests(file) == [(512, None), (80, None)]
    chosen = run_attention(PART, "dual", neupims.read_requests(file), **TINY)
    assert chosen == run_attention(PART, "dual", [(512, 0), (80, 1)], **TINY)
