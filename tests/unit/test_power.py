"""Is power over time that of the energy, spent when and where it was?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import decode_result

from simulator.errors import CheckError
from simulator.results import (
    Intervals,
    OpRecord,
    Power,
    Result,
    UnitRecord,
    engineering,
    laws,
    load,
    power,
    power_of,
)

US = 10**6
SAMPLE = decode_result(1)
Row = tuple[str, int, int, int, int]


def made(
    ops: Sequence[tuple[str, Mapping[str, float]]],
    rows: Sequence[Row],
    latency_ps: int,
    shared: Mapping[str, float] | None = None,
    windows: Sequence[tuple[int, int]] = (),
) -> Result:
    """Return a result of ops (unit, energy), with intervals (unit, op, start, end, busy)."""
    units = ("matrix", "vector", "dram")
    windows = windows or [(0, latency_ps)] * len(ops)
    record = SAMPLE.records[1]
    records: list[OpRecord] = []
    total = dict(shared or {})
    for (unit, energy), (start, end) in zip(ops, windows, strict=True):
        at = {"unit": unit, "start_ps": start, "latency_ps": end - start}
        records.append(record._replace(**at, energy_by_component=energy))
        for name, joules in energy.items():
            total[name] = total.get(name, 0.0) + joules
    columns = [[units.index(row[0]) for row in rows], *zip(*(row[1:] for row in rows), strict=True)]
    return replace(
        SAMPLE,
        latency_ps=latency_ps,
        units=tuple(UnitRecord(name=n, busy_ps=0, stall_ps={}, idle_ps=latency_ps) for n in units),
        records=tuple(records),
        intervals=Intervals(*(np.array(column) for column in columns)),
        energy_breakdown_j=total,
        shared_energy_j=shared or {},
    )


def test_an_op_spends_while_it_works_and_the_rest_is_even() -> None:
    """8 uJ in 2 us of a run of 4 us, in all of which 4 uJ leak."""
    row = ("matrix", 0, 2 * US, 4 * US, 2 * US)
    result = made([("matrix", {"matrix": 8e-6})], [row], 4 * US, {"leakage": 4e-6})
    assert result.power.average_w == pytest.approx(3)
    assert result.power.peak_w == pytest.approx(5)
    assert (result.power.peak_at_s, result.power.window_s) == (2e-6, 1e-6)


@pytest.mark.parametrize(
    ("component", "at_us"),
    [("matrix", 0), ("scratchpad", 0), ("accumulator", 0), ("vector", 2), ("dram", 4), ("noc", 0)],
)
def test_who_spends_a_component(component: str, at_us: int) -> None:
    """Its own unit, where that works for the op, else the op's."""
    rows = [(name, 0, at * US, (at + 1) * US, US) for name, at in WORK.items()]
    result = made([("matrix", {component: 6e-6})], rows, 6 * US)
    assert result.power.peak_w == pytest.approx(6)
    assert result.power.peak_at_s == pytest.approx(at_us * 1e-6)


WORK = {"matrix": 0, "vector": 2, "dram": 4}


def test_a_window_slides() -> None:
    """All of a burst that lies on both sides of a whole microsecond is in one window."""
    row = ("matrix", 0, 1_750_000, 2_250_000, 500_000)
    result = made([("matrix", {"matrix": 3e-6})], [row], 4 * US)
    assert result.power.peak_w == pytest.approx(3)


def test_intervals_share_the_energy_by_the_time_that_they_are_busy() -> None:
    rows = [("matrix", 0, 0, US, US // 2), ("matrix", 0, 3 * US, 4 * US, US)]
    result = made([("matrix", {"matrix": 3e-6})], rows, 4 * US)
    assert result.power.peak_w == pytest.approx(2)
    assert result.power.peak_at_s == pytest.approx(3e-6)


def test_ops_that_overlap_add_up() -> None:
    rows = [("matrix", 0, 0, 3 * US, US), ("dram", 1, 2 * US, 4 * US, US)]
    ops = [("matrix", {"matrix": 3e-6}), ("vector", {"dram": 4e-6})]
    result = made(ops, rows, 4 * US)
    assert result.power.peak_w == pytest.approx(3)
    assert result.power.peak_at_s == pytest.approx(2e-6)


def test_what_no_unit_takes_time_for_is_spent_in_the_window_of_the_op() -> None:
    rows = [("matrix", 0, 0, US, US)]
    ops = [("matrix", {"matrix": 1e-6}), ("vector", {"scratchpad": 8e-6})]
    windows = [(0, US), (2 * US, 4 * US)]
    assert made(ops, rows, 8 * US, windows=windows).power.peak_w == pytest.approx(4)
    at_once = made(ops, rows, 8 * US, windows=[(0, US), (8 * US, 8 * US)])
    assert at_once.power.peak_w == pytest.approx(8)
    assert at_once.power.peak_at_s == pytest.approx(7e-6)


def test_some_components_alone() -> None:
    rows = [("matrix", 0, 0, US, US), ("dram", 0, US, 2 * US, US)]
    shared = {"leakage": 2e-6, "dram_background": 4e-6}
    result = made([("matrix", {"matrix": 9e-6, "dram": 3e-6})], rows, 2 * US, shared)
    memory = power_of(result, ("dram", "dram_background"))
    assert memory.average_w == pytest.approx(3.5)
    assert memory.peak_w == pytest.approx(5)
    assert power_of(result, ("pim",)).peak_w == 0


def test_a_run_shorter_than_a_window_is_one() -> None:
    row = ("matrix", 0, 0, US // 8, US // 8)
    power = made([("matrix", {"matrix": 1e-6})], [row], US // 4).power
    assert power.window_s == 0.25e-6
    assert power.peak_w == pytest.approx(power.average_w) == pytest.approx(4)


def test_a_rung_without_events_has_an_average_alone(decode: Result) -> None:
    power = replace(decode, intervals=Intervals.empty()).power
    assert power.average_w == decode.energy_j / decode.latency_s
    assert (power.peak_w, power.peak_at_s) == (None, None)


def test_no_time_no_power() -> None:
    result = made([("matrix", {"matrix": 1e-6})], [("matrix", 0, 0, 0, 0)], 0)
    assert result.power == Power(average_w=0, peak_w=None, peak_at_s=None, window_s=0)
    assert [law.violations for law in laws(result) if law.name == "power"] == [()]


@given(
    st.lists(
        st.tuples(st.integers(0, 79), st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=6
    )
)
def test_the_peak_is_that_of_a_picture_of_the_run(spans: list[tuple[int, int, int]]) -> None:
    """In tenths of a microsecond: add up each, then look at all windows of ten."""
    tenth, length = US // 10, 120
    picture = np.zeros(length)
    ops, rows = [], []
    for index, (start, lasting, joules) in enumerate(spans):
        picture[start : start + lasting] += joules / lasting
        ops.append(("matrix", {"matrix": joules * 1e-7}))
        rows.append(("matrix", index, start * tenth, (start + lasting) * tenth, 1))
    result = made(ops, rows, length * tenth)
    windows = np.convolve(picture, np.ones(10), "valid") / 10
    assert result.power.peak_w == pytest.approx(windows.max())
    assert [law.violations for law in laws(result) if law.name == "power"] == [()]


def test_it_is_in_the_summary_and_the_dictionary(decode: Result) -> None:
    content, text = decode.to_dict(), str(decode.summary())
    assert content["average_power_w"] == decode.power.average_w
    assert content["peak_power_w"] == decode.power.peak_w
    peak = engineering(content["peak_power_w"], "W")
    assert f"  power             48.66 W average, {peak} at most over 1.000 us\n" in text
    limited = replace(decode, resolved={"device": {"tdp": "80 W"}}, intervals=Intervals.empty())
    assert "  power             48.66 W average; TDP 80 W\n" in str(limited.summary())


def test_a_loaded_result_has_the_same(decode: Result, tmp_path: Path) -> None:
    decode.save(tmp_path)
    assert load(tmp_path).power == decode.power


def test_energy_that_is_never_spent_is_found(
    decode: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the units of one op spend is lost from the sum over time, and from nowhere else."""
    real = power._by_op_and_unit

    def lossy(*arguments: Any) -> Any:
        energy = real(*arguments)
        energy[1] = 0
        return energy

    monkeypatch.setattr(power, "_by_op_and_unit", lossy)
    with pytest.raises(CheckError) as error:
        replace(decode).check()
    (line,) = str(error.value).splitlines()[1:]
    assert line.startswith("  power: over time 0.4")
    assert line.endswith(f" J, breakdown {decode.energy_j:.12g} J")
