"""Does energy come out as DRAMsim3 prints it, and is what is not sourced left open?"""

import csv
import os
from collections.abc import Iterable
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config import replace
from simulator.dram import (
    STREAM_NAMES,
    Command,
    Dramsim3Settings,
    Random,
    Run,
    Settings,
    Standard,
    controller,
    load_standard,
    named_stream,
    run_dramsim3,
    run_stream,
    standard_names,
)
from simulator.dram.energy import energy_of, load_memory_energy, memory_energy_names
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
#: Roles that close a bank.
CLOSES = ("close", "read_close", "write_close")


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
) -> tuple[Standard, Run]:
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
    parts = energy_of(run, standard).components
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
    right, planted = energy_of(run, standard).components, energy_of(run, standard, wrong)
    assert {key for key in COLUMNS if planted.components[key] != right[key]} == changed


class StandbyMeter:
    """Measures how long ranks stand by, from commands alone: to be given as a `trace`."""

    def __init__(self, standard: Standard) -> None:
        """Take note of nothing yet."""
        self._standard = standard
        self._depth = standard.banked_levels.index(standard.refresh_level) + 1
        self._open: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        self._since: dict[tuple[int, ...], int] = {}
        self._active = 0

    def __call__(self, commands: Iterable[Command]) -> None:
        """Take note of commands, in order."""
        banked = self._standard.banked_levels
        for tick, name, address in commands:
            command = self._standard.commands[name]
            if command.role == "open":
                rank = address[: self._depth]
                banks = self._open.setdefault(rank, set())
                if not banks:
                    self._since[rank] = tick
                banks.add(address[: len(banked)])
            elif command.role in CLOSES:
                path = address[: banked.index(command.level) + 1]
                for rank, banks in self._open.items():
                    closed = {bank for bank in banks if bank[: len(path)] == path}
                    if closed and closed == banks:
                        self._active += tick - self._since[rank]
                    banks -= closed

    def standby(self, ticks: int) -> tuple[int, int]:
        """Return the ticks with a row open and with none, over the ticks of the run."""
        still = sum(ticks + 1 - self._since[rank] for rank, banks in self._open.items() if banks)
        ranks = 1
        for level in self._standard.banked_levels[1 : self._depth]:
            ranks *= self._standard.levels[level]
        active = self._active + still
        return active, ranks * ticks - active


@pytest.mark.parametrize("name", ["dramsim3_ddr4_3200", "hbm2_2000", "hbm3_6400"])
@pytest.mark.parametrize("stream", STREAM_NAMES)
def test_dramsim3_stands_by_as_its_trace_says(name: str, stream: str) -> None:
    standard = load_standard(name)
    meter = StandbyMeter(standard)
    run = run_dramsim3(named_stream(stream, standard), standard, 3000, None, meter)
    assert (run.active_ticks, run.idle_ticks) == meter.standby(run.ticks)


@pytest.mark.parametrize("page", controller.PAGES)
@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize(
    ("name", "refresh"),
    [
        (name, refresh)
        for name, refresh in product(standard_names(), controller.REFRESHES)
        if refresh != "per_bank" or load_standard(name).bank_refresh
    ],
)
def test_a_channel_stands_by_as_its_trace_says(
    name: str, stream: str, refresh: str, page: str
) -> None:
    standard = load_standard(name)
    given = Settings(refresh=refresh, page=page)  # type: ignore[arg-type]
    meter, walk = StandbyMeter(standard), named_stream(stream, standard)
    run = run_stream(walk, standard, 5000, given, meter)
    assert (run.active_ticks, run.idle_ticks) == meter.standby(run.ticks)
    # Without a trace, what repeats is jumped over.
    assert run_stream(walk, standard, 5000, given) == run


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(standard_names()),
    seed=st.integers(0, 2**32),
    order=st.sampled_from(["fr_fcfs", "in_order"]),
    queue=st.integers(1, 64),
)
def test_any_channel_stands_by_as_its_trace_says(
    name: str, seed: int, order: str, queue: int
) -> None:
    standard = load_standard(name)
    meter, made = StandbyMeter(standard), Settings(order=order, queue=queue)  # type: ignore[arg-type]
    run = run_stream(Random(write_every=3, seed=seed), standard, 500, made, meter)
    assert (run.active_ticks, run.idle_ticks) == meter.standby(run.ticks)


@pytest.mark.parametrize("name", ["ddr4_3200", "hbm2_2000", "gddr6_14000"])
def test_the_other_controller_costs_the_same_by_command(name: str) -> None:
    standard = load_standard(name)
    run = run_stream(named_stream("mix21_random", standard), standard, 5000)
    energy = energy_of(run, standard)
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


def test_with_refreshes_of_a_bank_there_is_no_total() -> None:
    standard = load_standard("hbm2_2000")
    given = Settings(refresh="per_bank")
    run = run_stream(named_stream("random", standard), standard, 1000, given)
    assert run.commands["REFpb"] > 0
    energy = energy_of(run, standard)
    assert (energy.total_j, energy.reason) == (None, "no current of REFpb is sourced")
    assert set(energy.components) == set(COLUMNS) - {"refresh"}


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
    assert message({"bits": bits}) == "needs either currents or bits"
    assert message({"currents": None}) == "needs either currents or bits"
    with pytest.raises(InputError) as caught:
        energy_of(run, load_standard("ddr4_3200"))
    assert str(caught.value) == "the run is of dramsim3_ddr4_3200, not of ddr4_3200"
    timing = {name: ticks for name, ticks in standard.timing.items() if name != "nRFC"}
    with pytest.raises(InputError) as caught:
        energy_of(run, standard.model_copy(update={"timing": timing}))
    assert str(caught.value) == (
        "dramsim3_ddr4_3200: timing lacks nRFC or nRFCab, which energy needs"
    )
