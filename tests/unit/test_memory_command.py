"""The command `memory`: what it prints, writes and draws, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from simulator.cli import app
from simulator.dram import (
    Settings,
    energy_of,
    load_standard,
    named_stream,
    run_dramsim3,
    run_stream,
    standard_names,
)
from simulator.dram.checker import check_commands, read_commands
from simulator.dram.request_file import request_lines
from simulator.dram.streams import addresses
from simulator.report.memory_picture import FirstCommands, banks_of, open_rows

HBM2 = load_standard("hbm2_2000")
KEYS = {
    *("ticks", "time_s", "bandwidth_bytes_per_s", "row_hits", "row_misses", "row_conflicts"),
    *("latency_avg_ticks", "energy_j", "commands", "wall_time_s"),
}


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["memory", *arguments], prog_name="nibblesim")


def test_json_has_what_the_run_has() -> None:
    result = nibblesim("hbm2_2000", "--stream", "random", "--requests", "3000", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    run = run_stream(named_stream("random", HBM2), HBM2, 3000)
    assert set(content) >= KEYS
    for key in ("ticks", "row_hits", "row_misses", "row_conflicts", "commands", "time_s"):
        assert content[key] == getattr(run, key)
    assert content["bandwidth_bytes_per_s"] == run.bandwidth_bytes_per_s
    still = nibblesim(
        "hbm2_2000", "--stream", "random", "--requests", "9000", "--no-refresh", "--json"
    )
    expected = run_stream(named_stream("random", HBM2), HBM2, 9000, Settings(refresh="none"))
    assert json.loads(still.stdout)["ticks"] == expected.ticks


def test_pages_and_refreshes_are_chosen() -> None:
    given = ("hbm2_2000", "--stream", "random", "--requests", "3000", "--json")
    content = json.loads(nibblesim(*given, "--page", "closed", "--refresh", "per_bank").stdout)
    chosen = Settings(page="closed", refresh="per_bank")
    run = run_stream(named_stream("random", HBM2), HBM2, 3000, chosen)
    assert (content["ticks"], content["commands"]) == (run.ticks, run.commands)
    assert content["commands"]["REFpb"] > 0
    assert (content["energy_j"], content["energy_reason"]) == (
        None,
        "no current of REFpb is sourced",
    )


def test_energy_by_currents_is_known_of_the_first_controller() -> None:
    content = json.loads(nibblesim("hbm2_2000", "--requests", "100000", "--json").stdout)
    assert content["energy_j"] == pytest.approx(sum(content["energy_by_component_j"].values()))
    assert content["energy_reason"] is None


def test_the_table_has_bandwidth_rows_and_latencies() -> None:
    result = nibblesim("ddr4_3200", "--requests", "1000", "--no-refresh")
    assert result.exit_code == 0, result.stderr
    text = re.sub(r" +", " ", result.stdout)
    assert "ddr4_3200, one channel, seq_bg" in text
    assert "time 4,045 ticks, 2.528 us" in text
    assert "rows 992 hits, 8 misses, 0 conflicts" in text
    assert "commands ACT 8, RD 1,000" in text
    assert max(map(len, result.stdout.splitlines())) <= 99


def test_another_controller_has_its_own_run_and_energy() -> None:
    standard = load_standard("dramsim3_ddr4_3200")
    given = (standard.name, "--controller", "dramsim3", "--stream", "random", "--requests", "2000")
    content = json.loads(nibblesim(*given, "--json").stdout)
    run = run_dramsim3(named_stream("random", standard), standard, 2000)
    assert content["ticks"] == run.ticks
    energy = energy_of(run, standard)
    assert content["energy_j"] == energy.total_j == sum(energy.components.values()) > 0
    assert content["energy_reason"] is None
    assert "% of the peak" in nibblesim(*given).stdout
    nothing = json.loads(nibblesim("lpddr5_6400", "--requests", "100", "--json").stdout)
    assert nothing["energy_j"] is None
    assert nothing["energy_reason"].startswith("neither currents nor the energy of a bit")


def test_without_a_name_the_memories_are_listed() -> None:
    text = nibblesim().stdout
    assert all(f"\n  {name} " in text for name in standard_names())
    records = json.loads(nibblesim("--json").stdout)["memories"]
    assert [each["name"] for each in records] == standard_names()


def test_a_file_is_replayed_and_commands_are_written(tmp_path: Path) -> None:
    stream = named_stream("mix21_random", HBM2)
    file, out = tmp_path / "requests.txt", tmp_path / "commands.csv"
    writes, levels = addresses(stream, HBM2, 0, 500)
    file.write_text("".join(request_lines(writes, levels)))
    given = ("--replay", str(file), "--commands-out", str(out), "--json")
    result = nibblesim("hbm2_2000", *given)
    assert result.exit_code == 0, result.stderr
    run = run_stream(stream, HBM2, 500)
    assert json.loads(result.stdout)["ticks"] == run.ticks
    report = check_commands(HBM2, read_commands(out, HBM2))
    assert report.passed
    assert report.commands == run.commands


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    for suffix in (".png", ".svg"):
        path = tmp_path / f"banks{suffix}"
        result = nibblesim("ddr4_3200", "--requests", "500", "--picture", str(path), "--json")
        assert result.exit_code == 0, result.stderr
        assert path.stat().st_size > 10_000


def test_a_picture_has_what_comes_first_and_rows_from_open_to_close() -> None:
    found = FirstCommands(HBM2, 1e-6)
    run_stream(named_stream("conflict", HBM2), HBM2, 200, Settings(refresh="none"), found)
    assert found.commands[-1].tick <= found.ticks == 1000
    assert banks_of(found) == [(0, 0, 0, 0)]
    # A cycle of the bank is 48 ticks, for 35 of which its row is open.
    rows = list(open_rows(found, (0, 0, 0, 0)))
    assert rows[:3] == [(1, 36), (49, 84), (97, 132)]
    assert len(rows) == 21


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hbm2",), "unknown DRAM standard 'hbm2'; did you mean 'hbm2_2000'?"),
        (("ddr4_3200", "--stream", "seq"), "unknown stream 'seq'; did you mean 'seq_bg'?"),
        (
            ("ddr4_3200", "--controller", "ramulatr"),
            "unknown --controller 'ramulatr'; did you mean 'ramulator'?",
        ),
        (
            ("ddr4_3200", "--controller", "dramsim3", "--in-order"),
            "--in-order is of controller ramulator; dramsim3 has no such policy",
        ),
        (
            ("ddr4_3200", "--controller", "dramsim3", "--page", "closed"),
            "--page is of controller ramulator; dramsim3 has no such policy",
        ),
        (
            ("hbm2_2000", "--controller", "dramsim3", "--refresh", "per_bank"),
            "refresh must be one of all_bank, none, got 'per_bank'",
        ),
        (("ddr4_3200", "--page", "shut"), "page must be one of open, closed, got 'shut'"),
        (
            ("ddr4_3200", "--refresh", "per_bank"),
            "ddr4_3200 has no bank_refresh, which refresh per_bank needs",
        ),
        (
            ("ddr4_3200", "--refresh", "none", "--no-refresh"),
            "give --refresh or --no-refresh, not both",
        ),
        (("ddr4_3200", "--requests", "0"), "requests must be >= 1, got 0"),
        (
            ("ddr4_3200", "--replay", "a.txt", "--requests", "5"),
            "give --replay or --requests, not both",
        ),
        (("ddr4_3200", "--replay", "none.txt"), "none.txt: cannot be read: "),
        (("ddr4_3200", "--picture", "a.gif"), "a.gif: a picture ends in .png, .pdf, .svg"),
        (
            ("ddr4_3200", "--commands-out", "no/where.csv"),
            "--commands-out no/where.csv: cannot be written: No such file or directory",
        ),
    ],
)
def test_wrong_input_is_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = nibblesim(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.strip().startswith(message)


README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Memory, command by command\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("command", re.findall(r"^    nibblesim memory *(.*)$", SECTION, re.M))
def test_commands_of_the_readme_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command.split("#")[0].split()
    result = nibblesim(*words)
    assert result.exit_code == 0, result.stderr
    files = [word for word in words if word.endswith((".csv", ".png"))]
    assert all(Path(each).stat().st_size for each in files)
