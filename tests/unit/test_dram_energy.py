"""Does energy come out as DRAMsim3 prints it, and is what is not sourced left open?"""

import csv
import os
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from simulator.config import replace
from simulator.dram import (
    STREAM_NAMES,
    Run,
    Settings,
    Standard,
    load_standard,
    named_stream,
    run_stream,
    standard_names,
)
from simulator.dram.dramsim3 import Dramsim3Run, Dramsim3Settings, run_dramsim3
from simulator.dram.energy import (
    Standby,
    StandbyMeter,
    energy_of,
    load_memory_energy,
    memory_energy_names,
)
from simulator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "simulators"
PRESETS = {
    "DDR4_3200": "dramsim3_ddr4_3200",
    "HBM2_8Gb": "dramsim3_hbm2_8gb",
    "GDDR6_8Gb_x16": "dramsim3_gddr6_8gb_x16",
}
COLUMNS = {
    "activate": "act_pJ",
    "read": "read_pJ",
    "write": "write_pJ",
    "refresh": "ref_pJ",
    "active_standby": "act_stb_pJ",
    "idle_standby": "pre_stb_pJ",
}


@cache
def rows() -> dict[tuple[str, str, str, int], dict[str, str]]:
    """Return the recorded runs by device, refresh, stream and requests."""
    path = DATA / "dramsim3_streams.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (umd-memsys/DRAMsim3 @2981759)")
    with path.open(newline="") as file:
        return {
            (row["config"], row["refresh"], row["stream"], int(row["requests"])): row
            for row in csv.DictReader(file)
        }


def run_of(
    name: str, stream: str = "mix21_random", count: int = 3000, refresh: str = "ref"
) -> tuple[Standard, Dramsim3Run]:
    standard = load_standard(name)
    given = Dramsim3Settings(refresh="all_bank" if refresh == "ref" else "none")
    return standard, run_dramsim3(named_stream(stream, standard), standard, count, given)


@pytest.mark.parametrize(
    ("device", "refresh", "stream", "count"),
    list(product(PRESETS, ("noref", "ref"), STREAM_NAMES, (1_000, 10_000, 100_000))),
)
def test_components_are_those_of_dramsim3(
    device: str, refresh: str, stream: str, count: int
) -> None:
    """To the tenth of a pJ to which they are printed."""
    row = rows()[device, refresh, stream, count]
    standard, run = run_of(PRESETS[device], stream, count, refresh)
    energy = energy_of(run, standard)
    assert list(energy.components) == list(COLUMNS)
    for name, column in COLUMNS.items():
        theirs = float(row[column])
        assert 1e12 * energy.components[name] == pytest.approx(theirs, rel=1e-9, abs=0.051)
    assert energy.total_j is not None
    assert 1e12 * energy.total_j == pytest.approx(float(row["total_pJ"]), rel=1e-9, abs=0.3)
    assert energy.reason is None
    assert energy.source == load_memory_energy(standard.name).source


@pytest.mark.parametrize(
    ("name", "activation_pj", "read_pj"),
    [
        # 1.2 V (57 x 74 - 52 x 52 - 37 x 22) mA x 0.63 ns x 8, and 1.2 V 116 mA 4 x 0.63 ns x 8.
        ("dramsim3_ddr4_3200", 4233.6, 2806.272),
        ("dramsim3_hbm2_8gb", 828.0, 804.0),
        ("dramsim3_gddr6_8gb_x16", 5730.912, 1332.936),
        # Half of a channel, but Ramulator's commands.
        ("hbm2_2000", 414.0, 402.0),
        ("ddr4_3200", 4200.0, 2784.0),
    ],
)
def test_an_activation_and_a_read_by_hand(name: str, activation_pj: float, read_pj: float) -> None:
    standard = load_standard(name)
    run = run_stream(named_stream("conflict", standard), standard, 10, Settings(refresh="none"))
    parts = energy_of(run, standard, Standby(active_ticks=1, idle_ticks=1)).components
    assert 1e12 * parts["activate"] / 10 == pytest.approx(activation_pj, rel=1e-12)
    assert 1e12 * parts["read"] / 10 == pytest.approx(read_pj, rel=1e-12)
    assert (parts["write"], parts["refresh"]) == (0, 0)


@pytest.mark.parametrize(
    ("current", "changed"),
    [
        ("idd0_ma", {"activate"}),
        ("idd2n_ma", {"activate", "idle_standby"}),
        ("idd3n_ma", {"activate", "read", "write", "refresh", "active_standby"}),
        ("idd4r_ma", {"read"}),
        ("idd4w_ma", {"write"}),
        ("idd5ab_ma", {"refresh"}),
        ("vdd_v", set(COLUMNS)),
        ("devices", set(COLUMNS)),
    ],
)
@pytest.mark.parametrize("name", PRESETS.values())
def test_a_wrong_current_changes_what_it_pays_for(
    name: str, current: str, changed: set[str]
) -> None:
    standard, run = run_of(name)
    figures = load_memory_energy(name)
    given = getattr(figures.currents, current)
    wrong = replace(figures, {f"currents.{current}": 1.05 * given})
    right, planted = energy_of(run, standard).components, energy_of(run, standard, None, wrong)
    assert {key for key in COLUMNS if planted.components[key] != right[key]} == changed


@pytest.mark.parametrize("name", ["dramsim3_ddr4_3200", "hbm2_2000", "hbm3_6400"])
@pytest.mark.parametrize("stream", STREAM_NAMES)
def test_the_meter_measures_what_the_run_says(name: str, stream: str) -> None:
    standard = load_standard(name)
    meter = StandbyMeter(standard)
    run = run_dramsim3(named_stream(stream, standard), standard, 3000, None, meter)
    assert meter.standby(run.ticks) == Standby(
        active_ticks=run.active_ticks, idle_ticks=run.idle_ticks
    )


@pytest.mark.parametrize("name", ["ddr4_3200", "hbm2_2000", "gddr6_14000"])
def test_a_run_of_the_other_controller_is_measured_by_its_trace(name: str) -> None:
    standard = load_standard(name)
    meter, stream = StandbyMeter(standard), named_stream("mix21_random", standard)
    run = run_stream(stream, standard, 5000, None, meter)
    energy = energy_of(run, standard, meter.standby(run.ticks))
    assert energy.total_j == pytest.approx(sum(energy.components.values()))
    assert all(energy.components[key] > 0 for key in COLUMNS)
    _, other = run_of(name, count=5000)
    for key in ("activate", "read"):
        same = energy_of(other, standard).components[key]
        assert energy.components[key] == pytest.approx(same, rel=0.05)


def test_the_energy_of_a_bit_includes_all_else() -> None:
    standard, run = run_of("hbm3_6400")
    energy = energy_of(run, standard)
    assert energy.components == pytest.approx(
        {
            key: run.commands[name] * 256 * 4.05e-12
            for key, name in (("read", "RD"), ("write", "WR"))
        }
    )
    assert energy.total_j == sum(energy.components.values())


@pytest.mark.parametrize("name", ["ddr5_4800", "lpddr5_6400"])
def test_what_is_not_sourced_is_none_with_a_reason(name: str) -> None:
    standard = load_standard(name)
    energy = energy_of(run_stream(named_stream("random", standard), standard, 100), standard)
    assert (energy.components, energy.total_j, energy.source) == ({}, None, None)
    assert energy.reason == f"neither currents nor the energy of a bit are sourced for {name}"


def test_without_standby_and_with_refreshes_of_a_bank_there_is_no_total() -> None:
    standard = load_standard("hbm2_2000")
    run = run_stream(named_stream("random", standard), standard, 100)
    energy = energy_of(run, standard)
    assert (energy.total_j, energy.reason) == (None, "the run does not say how long rows were open")
    assert set(energy.components) == {"activate", "read", "write", "refresh"}
    by_bank = Run(**{**vars(run), "commands": {**run.commands, "REFpb": 3}})
    energy = energy_of(by_bank, standard, Standby(active_ticks=1, idle_ticks=1))
    assert (energy.total_j, energy.reason) == (None, "no current of REFpb is sourced")


def test_every_energy_is_of_a_standard() -> None:
    assert set(memory_energy_names()) <= set(standard_names())
    for name in memory_energy_names():
        assert load_memory_energy(name).name == name
        standard, run = run_of(name, count=100)
        assert energy_of(run, standard).total_j is not None


def test_wrong_figures_and_other_runs_are_refused() -> None:
    standard, run = run_of("dramsim3_ddr4_3200", count=100)
    figures = load_memory_energy("dramsim3_ddr4_3200")

    def message(changes: dict[str, object]) -> str:
        with pytest.raises(InputError) as caught:
            replace(figures, changes)
        return str(caught.value)

    bits = {"read_pj_per_bit": 1.0, "write_pj_per_bit": 1.0}
    assert message({"bits": bits}) == "replace: needs either currents or bits"
    assert message({"currents": None}) == "replace: needs either currents or bits"
    with pytest.raises(InputError) as caught:
        energy_of(run, load_standard("ddr4_3200"))
    assert str(caught.value) == "the run is of dramsim3_ddr4_3200, not of ddr4_3200"
    timing = {name: ticks for name, ticks in standard.timing.items() if name != "nRFC"}
    with pytest.raises(InputError) as caught:
        energy_of(run, standard.model_copy(update={"timing": timing}))
    assert str(caught.value) == (
        "dramsim3_ddr4_3200: timing lacks nRFC or nRFCab, which energy needs"
    )
