"""Are the metrics, the conservation laws, the tables and the files of a result right?"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import decode_result

from simulator.errors import CheckError
from simulator.results import Intervals, Result, Table, by_kind, engineering, load

KEYS = [
    "device",
    "workload",
    "rung",
    "latency_s",
    "cycles",
    "tokens_per_s",
    "energy_j",
    "energy_breakdown_j",
    "roofline_bound_s",
    "utilisation",
    "stalls_s",
    "bytes",
    "macs",
    "wall_time_s",
    "provenance",
]
"""The top-level keys that scripts rely on."""

COLUMNS = [
    "name",
    "kind",
    "count",
    "unit",
    "start_s",
    "latency_s",
    "macs_useful",
    "macs_issued",
    "bytes_read",
    "bytes_written",
    "energy_j",
    "bound_by",
]


# Conservation laws


def test_laws_hold_for_balanced_books(decode: Result) -> None:
    proved = decode.check()
    assert len(proved) == 12
    assert "busy + stalled + idle = makespan for 4 units" in proved


def _dropped_store(result: Result) -> Result:
    dram = result.traffic["dram"]
    lost = replace(dram, bytes_received=dram.bytes_received - 32_768)
    return replace(result, traffic={**result.traffic, "dram": lost})


def _doubled_load(result: Result) -> Result:
    dram = result.traffic["dram"]
    more = replace(
        dram,
        bytes_sent=dram.bytes_sent + 16_000_000,
        bytes_received=dram.bytes_received + 16_000_000,
    )
    return replace(result, traffic={**result.traffic, "dram": more})


def _lost_event(result: Result) -> Result:
    keep = np.ones(len(result.intervals), dtype=bool)
    keep[1] = False
    columns = [getattr(result.intervals, name)[keep] for name in Intervals.columns()]
    return replace(result, intervals=Intervals(*columns))


def _lost_busy_time(result: Result) -> Result:
    unit = replace(result.units[1], busy_ps=result.units[1].busy_ps - 1)
    return replace(result, units=(result.units[0], unit, *result.units[2:]))


def _wrong_energy(result: Result) -> Result:
    breakdown = {**result.energy_breakdown_j, "dram": 0.5}
    return replace(result, energy_breakdown_j=breakdown)


def _wrong_op_energy(result: Result) -> Result:
    op = result.records[2]._replace(energy_j=1.0)
    return replace(result, records=(*result.records[:2], op, *result.records[3:]))


def _lost_waiting(result: Result) -> Result:
    table = result.energy_by_state_j
    vector = {**table["vector"], "idle": 0.0}
    return replace(result, energy_by_state_j={**table, "vector": vector})


def _traffic_booked_as_arithmetic(result: Result) -> Result:
    """The sum over all units is right, that of the memory is not."""
    table = result.energy_by_state_j
    matrix = {"active": table["matrix"]["active"] + 0.25}
    dram = {**table["dram"], "active": table["dram"]["active"] - 0.25}
    return replace(result, energy_by_state_j={**table, "matrix": matrix, "dram": dram})


def _negative_state(result: Result) -> Result:
    table = result.energy_by_state_j
    matrix = {"active": table["matrix"]["active"], "idle": -0.25}
    vector = {**table["vector"], "idle": table["vector"]["idle"] + 0.25}
    return replace(result, energy_by_state_j={**table, "matrix": matrix, "vector": vector})


def _unknown_state(result: Result) -> Result:
    table = result.energy_by_state_j
    return replace(result, energy_by_state_j={**table, "noc": {"asleep": 0.5}})


def _op_beyond_the_end(result: Result) -> Result:
    op = result.records[-1]._replace(start_ps=result.latency_ps)
    return replace(result, records=(*result.records[:-1], op))


def _useful_beyond_issued(result: Result) -> Result:
    op = result.records[2]._replace(macs_issued=5)
    return replace(result, records=(*result.records[:2], op, *result.records[3:]))


FAULTS: dict[Callable[[Result], Result], list[str]] = {
    _dropped_store: [
        "traffic: dram: sent 9060114112 B, received 9060081344 B, closed form 9060114112 B",
    ],
    _doubled_load: [
        "traffic: dram: sent 9076114112 B, received 9076114112 B, closed form 9060114112 B",
        "op bytes: ops read and write 9060114112 B, DRAM moved 9076114112 B",
        "peaks: DRAM moved 9076114112 B in 9074065536 ps, peak 1000000000000 B/s",
    ],
    _lost_event: ["events: vector: busy 889400000 ps, its events last 888400000 ps"],
    _lost_busy_time: [
        "unit time: matrix: busy 4216799999 + stalled 4857265536 + idle 0 = 9074065535 ps, "
        "makespan x 1 = 9074065536 ps",
        "events: matrix: busy 4216799999 ps, its events last 4216800000 ps",
    ],
    _wrong_energy: [
        "energy: dram: ops and shared 0.36240456448 J, breakdown 0.5 J",
        "energy by state: active: units 0.37698822448 J, breakdown 0.51458366 J",
        "energy by state: dram: active 0.36240456448 J, breakdown 0.5 J",
        "power: over time 0.441506683232 J, breakdown 0.579102118752 J",
    ],
    _lost_waiting: ["energy by state: idle: units 0 J, breakdown 0.001 J"],
    _traffic_booked_as_arithmetic: [
        "energy by state: dram: active 0.11240456448 J, breakdown 0.36240456448 J"
    ],
    _negative_state: ["energy by state: matrix: idle -0.25 J"],
    _unknown_state: ["energy by state: asleep: units 0.5 J, breakdown 0 J"],
    _wrong_op_energy: ["op energy: q_proj: components 0.0006656 J, energy 1 J"],
    _op_beyond_the_end: [
        "op windows: lm_head: 9074065536 to 9220065536 ps, makespan 9074065536 ps"
    ],
    _useful_beyond_issued: ["MACs: q_proj: 128000000 useful MACs, 5 issued"],
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_is_found(decode: Result, fault: Callable[[Result], Result]) -> None:
    with pytest.raises(CheckError) as error:
        fault(decode).check()
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == FAULTS[fault]


def test_all_violations_come_in_one_error(decode: Result) -> None:
    with pytest.raises(CheckError) as error:
        _wrong_energy(_dropped_store(decode)).check()
    head, *lines = str(error.value).splitlines()
    assert head == (
        "sample-7b decode batch 8 context 2048 on sample_npu (tile): 4 conservation laws violated"
    )
    names = [line.split(":")[0].strip() for line in lines]
    assert names == ["traffic", "energy", "energy by state", "energy by state", "power"]


def test_many_violations_of_one_law_are_counted(decode: Result) -> None:
    ops = tuple(op._replace(energy_j=1.0) for op in decode.records)
    with pytest.raises(CheckError) as error:
        replace(decode, records=ops).check()
    lines = str(error.value).splitlines()
    assert len(lines) == 1 + 5 + 1
    assert lines[-1] == f"  op energy: and {len(ops) - 5} more"


def test_latency_below_the_roofline_bound(decode: Result) -> None:
    with pytest.raises(CheckError) as error:
        replace(decode, roofline_bound_ps=decode.latency_ps + 1).check()
    assert str(error.value).splitlines()[1] == (
        "  roofline: latency 9074065536 ps is below the roofline bound 9074065537 ps (dram)"
    )


def test_nan_satisfies_no_energy_law(decode: Result) -> None:
    breakdown = {**decode.energy_breakdown_j, "dram": float("nan")}
    with pytest.raises(CheckError, match=r"energy: dram: ops and shared .* J, breakdown nan J"):
        replace(decode, energy_breakdown_j=breakdown).check()


def test_rung_without_events_says_so(decode: Result) -> None:
    assert "no events on this rung" in replace(decode, intervals=Intervals.empty()).check()


def test_instances_share_one_record(decode: Result) -> None:
    """Four cores booked together have four times the makespan to account for."""
    unit = decode.units[0]
    four = replace(
        unit, instances=4, busy_ps=unit.busy_ps, idle_ps=4 * decode.latency_ps - unit.busy_ps
    )
    result = replace(decode, units=(four, *decode.units[1:]))
    assert result.check()
    assert result.utilisation["dma_in"] == pytest.approx(decode.utilisation["dma_in"] / 4)


# Metrics


def test_headline_metrics(decode: Result) -> None:
    assert decode.latency_s == decode.latency_ps / 1e12
    assert decode.cycles == 9_074_066  # 9,074,065.536 cycles of 1 GHz, rounded up
    assert decode.tokens_per_s == pytest.approx(8 / decode.latency_s)
    assert decode.energy_j == pytest.approx(sum(op.energy_j for op in decode.records) + 0.0645184)
    assert decode.utilisation["matrix"] == decode.units[1].busy_ps / decode.latency_ps
    assert decode.stalls_s["matrix"]["dram"] == decode.units[1].stall_ps["dram"] / 1e12
    assert decode.macs == 8 * (decode.bytes["dram"] - 32 * 32_768 - 65_536)


def test_whole_cycles_are_not_rounded_up(decode: Result) -> None:
    assert replace(decode, latency_ps=3_000_000, clock_hz=10**9).cycles == 3_000
    assert replace(decode, latency_ps=3_000_001, clock_hz=10**9).cycles == 3_001


def test_dictionary_has_the_keys_that_scripts_rely_on(decode: Result) -> None:
    content = decode.to_dict()
    assert list(content)[: len(KEYS)] == KEYS
    for name in ("energy_breakdown_j", "utilisation", "bytes"):
        assert all(isinstance(value, int | float) for value in content[name].values())


def test_ops_frame(decode: Result) -> None:
    frame = decode.ops
    assert list(frame.columns) == [*COLUMNS, "segment", "layer"]
    assert len(frame) == 1 + 32 * 17 + 2
    assert frame["bytes_read"].sum() + frame["bytes_written"].sum() == decode.bytes["dram"]


def test_kinds_add_up_to_the_run(decode: Result) -> None:
    rows = by_kind(decode)
    assert sum(row.advance_ps for row in rows) == decode.latency_ps
    assert sum(row.count for row in rows) == len(decode.records)
    assert all(row.active_ps <= decode.latency_ps for row in rows)
    linear = next(row for row in rows if row.kind == "linear")
    assert (linear.count, linear.bound_by) == (32 * 7 + 1, "dram")


def test_overlapping_ops_are_not_counted_twice(decode: Result) -> None:
    """Two ops from 0 to 10 and from 4 to 12: the kind is active for 12, not for 18."""
    first, second = (
        decode.records[index]._replace(kind="linear", start_ps=start, latency_ps=length)
        for index, start, length in ((2, 0, 10), (3, 4, 8))
    )
    result = replace(decode, records=(first, second), intervals=Intervals.empty(), latency_ps=12)
    (row,) = by_kind(result)
    assert (row.active_ps, row.advance_ps) == (12, 12)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 99), st.integers(0, 9)),
        max_size=40,
    )
)
def test_merged_intervals_equal_a_plain_loop(tasks: list[tuple[int, int, int, int]]) -> None:
    expected: dict[tuple[int, int], tuple[int, int, int]] = {}
    for unit, op, start, length in tasks:
        low, high, busy = expected.get((unit, op), (start, start + length, 0))
        expected[unit, op] = (min(low, start), max(high, start + length), busy + length)
    table = np.array(tasks, dtype=np.int64).reshape(-1, 4)
    merged = Intervals.merged(table[:, 0], table[:, 1], table[:, 2], table[:, 2] + table[:, 3])
    columns = [getattr(merged, name).tolist() for name in Intervals.columns()]
    rows = list(zip(*columns, strict=True))
    assert {(unit, op): tuple(rest) for unit, op, *rest in rows} == expected
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)


def test_intervals_refuse_columns_of_different_length() -> None:
    one, two = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match=r"column op has shape \(2,\), unit has \(1,\)"):
        Intervals(one, two, one, one, one)


# Tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1, "1.000 B"),
        (999.96, "1.000 kB"),
        (1234, "1.234 kB"),
        (12_345_678, "12.35 MB"),
        (-2.5e9, "-2.500 GB"),
        (1.2e-7, "120.0 nB"),
        (3e-19, "3.000e-19 B"),
        (4e22, "4.000e+22 B"),
        (float("inf"), "inf B"),
    ],
)
def test_engineering(value: float, text: str) -> None:
    assert engineering(value, "B") == text


def test_table_text_is_aligned_and_wraps_its_last_column() -> None:
    table = Table(
        "Units", ("unit", "busy", "by"), (("matrix", "9 %", "x " * 60), ("v", "10 %", "")), "<><"
    )
    assert table.text().splitlines() == [
        "Units",
        "  unit    busy  by",
        "  matrix   9 %  " + "x " * 41 + "x",
        "                " + "x " * 17 + "x",
        "  v       10 %",
    ]


def test_table_html_escapes_its_cells() -> None:
    page = Table("A & B", ("n",), (("<b>",),), ">", note="1 < 2").html()
    assert "<b>A &amp; B</b>" in page
    assert '<th style="text-align:right">n</th>' in page
    assert '<td style="text-align:right">&lt;b&gt;</td>' in page
    assert "1 &lt; 2" in page


def test_summary_answers_where_time_and_energy_go(decode: Result) -> None:
    text = str(decode.summary())
    assert max(map(len, text.splitlines())) < 100
    for line in (
        "sample-7b decode batch 8 context 2048 on sample_npu (rung tile)",
        "  latency           9.074 ms (9,074,066 cycles)",
        "  roofline bound    9.060 ms (dram); latency is 1.002 x the bound",
        "  tokens/s          881.6 (8 tokens)",
        "  matrix   46.5 %   53.5 %    0.0 %  dram 35.7 %, operand 17.8 %",
        "  dram             362.405   82.1 %",
        "  linear        225  6.119 ms  67.4 %  51.99 G    6.499  270.358  dram (100 %)",
        "  sample data: no constant in it has a source",
        "  scores (qk): 65.54 kB, does not fit beside the weights",
    ):
        assert line in text.splitlines()


def test_summary_shows_violations_instead_of_raising(decode: Result) -> None:
    text = str(_dropped_store(decode).summary())
    assert "VIOLATED conservation laws\n  traffic: dram: sent 9060114112 B" in text


def test_summary_without_tokens_leaves_their_rows_out(decode: Result) -> None:
    text = str(replace(decode, tokens=0).summary())
    assert "token" not in text


def test_summary_of_long_names_and_many_spills_keeps_its_width(decode: Result) -> None:
    unit = replace(decode.units[1], stall_ps=dict.fromkeys((f"cause_{n}" for n in range(9)), 7**9))
    result = replace(
        decode,
        units=(unit, *decode.units[1:]),
        spills=decode.spills * 20,
        workload="long " * 30,
        warnings=(),
    )
    text = str(result.summary())
    assert max(map(len, text.splitlines())) < 100
    assert "  and 12 more: 786.4 kB" in text.splitlines()


def test_notebook_shows_the_same_tables(decode: Result) -> None:
    page = decode._repr_html_()
    assert page.count("<table>") == 6
    assert '<td style="text-align:right">6.119 ms</td>' in page
    assert page == decode.summary()._repr_html_()


# Saving


def test_saved_result_loads_equal(decode: Result, tmp_path: Path) -> None:
    folder = decode.save(tmp_path / "new" / "out")
    again = load(folder)
    assert again == decode
    assert again.to_dict() == decode.to_dict()
    assert again.canonical_bytes() == decode.canonical_bytes()
    assert (again.wall_time_s, again.host) == (0.25, {"system": "none"})
    assert again.check()
    pd.testing.assert_frame_equal(again.ops, decode.ops)
    assert sorted(path.name for path in folder.iterdir()) == [
        "intervals.parquet",
        "ops.parquet",
        "result.json",
    ]


def test_saved_files_are_what_scripts_read(decode: Result, tmp_path: Path) -> None:
    decode.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    assert content == decode.to_dict()
    frame = pd.read_parquet(tmp_path / "ops.parquet")
    assert list(frame.columns)[: len(COLUMNS)] == COLUMNS
    pd.testing.assert_frame_equal(frame[COLUMNS], decode.ops[COLUMNS])


def test_result_without_intervals_saves_and_loads(decode: Result, tmp_path: Path) -> None:
    result = replace(decode, intervals=Intervals.empty())
    assert load(result.save(tmp_path)) == result


def test_canonical_bytes_leave_out_wall_time_and_host(decode: Result) -> None:
    other = replace(decode, wall_time_s=99.0, host={"system": "other"})
    assert other.canonical_bytes() == decode.canonical_bytes()
    assert other == decode
    content = json.loads(decode.canonical_bytes())
    assert content.keys() == decode.to_dict().keys() - {"wall_time_s", "host"}


def test_canonical_bytes_depend_on_every_record(decode: Result) -> None:
    op = decode.records[5]._replace(bound_by="another")
    changed = replace(decode, records=(*decode.records[:5], op, *decode.records[6:]))
    assert changed.content_hash != decode.content_hash
    shorter = replace(decode.intervals, busy_ps=decode.intervals.busy_ps - 1)
    assert replace(decode, intervals=shorter).content_hash != decode.content_hash


def test_canonical_bytes_are_the_same_in_another_process(decode: Result) -> None:
    code = "from samples import decode_result; print(decode_result().content_hash)"
    here = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(here), str(here.parent)])
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == decode.content_hash


def test_saving_again_replaces_the_files(decode: Result, tmp_path: Path) -> None:
    decode_result(layers=2).save(tmp_path)
    decode.save(tmp_path)
    assert load(tmp_path) == decode
