"""Do the pictures and the trace show the numbers of the result, legibly?"""

import json
from collections import defaultdict
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text
from samples import decode_result

from simulator.report import (
    draw_roofline,
    draw_timeline,
    roofline_info,
    timeline_height_in,
    timeline_info,
    trace_events,
    write_pictures,
    write_trace,
)
from simulator.report.lanes import lanes, stacks
from simulator.report.style import colours
from simulator.results import Intervals, Result


def _columns(rows: list[tuple[int, int, int, int]]) -> Intervals:
    """Return intervals of (unit, op, start, length) that are busy all the time."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    end = table[:, 2] + table[:, 3]
    return Intervals(table[:, 0], table[:, 1], table[:, 2], end, table[:, 3])


# Lanes and stacks


def test_lanes_of_a_chain_of_overlaps() -> None:
    """0-4 and 2-6 and 4-8 hang together; 9-10 stands alone; unit 1 is another story."""
    intervals = _columns([(0, 0, 0, 4), (0, 1, 2, 4), (0, 2, 4, 4), (0, 3, 9, 1), (1, 4, 0, 9)])
    assert lanes(intervals).tolist() == [0, 1, 0, 0, 0]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 50), st.integers(1, 9)),
    max_size=30,
)


@given(ROWS)
def test_intervals_of_one_lane_do_not_overlap(rows: list[tuple[int, int, int, int]]) -> None:
    intervals = _columns(rows)
    lane = lanes(intervals)
    for first, second in combinations(range(len(rows)), 2):
        if (rows[first][0], lane[first]) == (rows[second][0], lane[second]):
            apart = (
                intervals.end_ps[first] <= intervals.start_ps[second]
                or intervals.end_ps[second] <= intervals.start_ps[first]
            )
            assert apart


def test_a_short_overlap_narrows_a_block_only_while_it_lasts() -> None:
    """0-10, and 2-3 in the midst of it."""
    long, short = stacks(_columns([(0, 0, 0, 10), (0, 1, 2, 1)]))
    assert long.edges_ps.tolist() == [0, 2, 3, 10]
    assert long.low.tolist() == [0, 0, 0]
    assert long.high.tolist() == [1, 0.5, 1]
    assert (short.edges_ps.tolist(), short.low.tolist(), short.high.tolist()) == (
        [2, 3],
        [0.5],
        [1],
    )


@given(ROWS)
def test_at_any_time_stacks_fill_the_row_of_their_unit(
    rows: list[tuple[int, int, int, int]],
) -> None:
    places = stacks(_columns(rows))
    for (_, _, start, length), place in zip(rows, places, strict=True):
        assert (place.edges_ps[0], place.edges_ps[-1]) == (start, start + length)
    for unit in range(3):
        for time in range(60):
            spans = []
            for row, place in zip(rows, places, strict=True):
                if row[0] == unit and row[2] <= time < row[2] + row[3]:
                    index = int(np.searchsorted(place.edges_ps, time, side="right")) - 1
                    spans.append((float(place.low[index]), float(place.high[index])))
            spans.sort()
            assert [low for low, _ in spans[1:]] == [high for _, high in spans[:-1]]
            assert not spans or (spans[0][0], spans[-1][1]) == (0.0, 1.0)


# Timeline


def test_whole_run_adds_up_to_the_utilisation(decode: Result) -> None:
    info = timeline_info(decode)
    assert info.coarse is not None
    busy = info.coarse.busy.sum(axis=1)
    assert (busy <= 1 + 1e-9).all()
    assert busy.mean(axis=1) == pytest.approx(list(decode.utilisation.values()), rel=1e-6)


def test_detail_is_the_middle_layer(decode: Result) -> None:
    detail = timeline_info(decode).detail
    assert detail.title == "layer 16 (one of 32)"
    layer = [op for op in decode.records if op.layer == 16]
    before = [op for op in decode.records if op.segment == "layer" and op.layer == 15]
    assert detail.start_s == before[-1].end_ps / 1e12
    assert detail.end_s == layer[-1].end_ps / 1e12
    computing = {block.label for block in detail.blocks if block.unit > 0}
    assert computing == {op.name for op in layer}
    assert all(0 < block.busy_share <= 1 for block in detail.blocks)


def test_single_layer_has_no_coarse_panel(decode: Result) -> None:
    ops = tuple(op._replace(segment="gemm", layer=0) for op in decode.records)
    info = timeline_info(replace(decode, records=ops))
    assert info.coarse is None
    assert (info.detail.title, info.detail.start_s) == ("gemm", 0.0)
    assert timeline_height_in(info) < timeline_height_in(timeline_info(decode))


def test_instances_halve_the_solid_height(decode: Result) -> None:
    units = tuple(replace(unit, instances=2) for unit in decode.units)
    one, two = timeline_info(decode), timeline_info(replace(decode, units=units))
    assert two.detail.blocks[0].busy_share == one.detail.blocks[0].busy_share / 2
    assert one.coarse is not None
    assert two.coarse is not None
    assert two.coarse.busy == pytest.approx(one.coarse.busy / 2)


def test_picture_names_its_origin(decode: Result) -> None:
    text = timeline_info(decode).footer
    for part in ("sample_npu", "rung tile", "nibblesim 0.1.0", decode.content_hash):
        assert part in text


def _texts(figure: Figure) -> list[Text]:
    """Return all texts that are drawn; ticks beyond the limits of an axis are not."""
    found: list[Artist] = [*figure.texts, *(text for one in figure.legends for text in one.texts)]
    for axes in figure.axes:
        legend = axes.get_legend()
        found += [*axes.get_children(), *(legend.texts if legend else ())]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            found += [axis.label, *(label for label, place in ticks if low <= place <= high)]
    return [text for text in found if isinstance(text, Text) and text.get_text().strip()]


def _assert_legible(figure: Figure) -> None:
    """No two texts overlap and none leaves the page."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure)]
    width, height = figure.canvas.get_width_height()
    for name, box in boxes:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= width, name
        assert box.y1 <= height, name
    for (first, one), (second, two) in combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(two.padded(-0.5)), f"{first!r} on {second!r}"


@pytest.mark.parametrize("layers", [1, 32])
def test_timeline_is_legible(layers: int) -> None:
    info = timeline_info(decode_result(layers))
    figure = Figure(figsize=(7.0, timeline_height_in(info)))
    draw_timeline(info, figure)
    _assert_legible(figure)
    labels = {text.get_text() for text in _texts(figure)}
    assert {"gate_proj", "softmax", "qk", "time (us)" if layers == 1 else "time (ms)"} <= labels


def test_overlapping_blocks_are_legible(decode: Result) -> None:
    late = decode.intervals.end_ps + 30_000_000 * (decode.intervals.op % 3 == 0)
    spread = replace(decode.intervals, end_ps=np.minimum(late, decode.latency_ps))
    info = timeline_info(replace(decode, intervals=spread))
    assert min(float(block.high.min()) for block in info.detail.blocks) < 1
    figure = Figure(figsize=(7.0, timeline_height_in(info)))
    draw_timeline(info, figure)
    _assert_legible(figure)


# Roofline


def test_roofline_numbers(decode: Result) -> None:
    info = roofline_info(decode)
    assert info.peak_ops_per_s == 2 * 16_384e9
    assert info.ridge_ops_per_byte == pytest.approx(32.768)
    points = {point.kind: point for point in info.points}
    assert list(points) == ["linear", "qk", "pv", "whole run"]
    assert points["linear"].ops_per_byte == 16
    assert points["whole run"].ops_per_s == pytest.approx(2 * decode.macs / decode.latency_s)
    assert {one.kind for one in info.no_macs} == {
        "embedding",
        "norm",
        "rope",
        "kv_append",
        "softmax",
        "add",
        "activation",
    }


def test_no_point_lies_above_the_roof(decode: Result) -> None:
    info = roofline_info(decode)
    for point in info.points:
        assert info.dram_bytes_per_s is not None
        roof = min(info.peak_ops_per_s, point.ops_per_byte * info.dram_bytes_per_s)
        assert point.ops_per_s <= roof


def test_kind_without_dram_bytes_is_listed_not_dropped(decode: Result) -> None:
    ops = tuple(
        op._replace(bytes_read=0, bytes_written=0) if op.kind == "qk" else op
        for op in decode.records
    )
    info = roofline_info(replace(decode, records=ops))
    (beside,) = info.on_chip
    assert (beside.kind, round(beside.time_share, 3)) == ("qk", 0.136)
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    draw_roofline(info, figure.add_subplot())
    labels = [text.get_text() for text in _texts(figure)]
    assert "on chip, no DRAM bytes:" in labels
    assert "qk (13.6 % of time)" in labels


def test_a_memory_that_takes_no_time_has_no_ceiling(decode: Result) -> None:
    ideal = replace(decode, peaks=replace(decode.peaks, dram_bytes_per_s=None))
    assert len(ideal.check()) == 12
    info = roofline_info(ideal)
    assert info.ridge_ops_per_byte is None
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    draw_roofline(info, figure.add_subplot())
    _assert_legible(figure)
    drawn = " ".join(text.get_text() for text in _texts(figure))
    assert "peak 32.8 Top/s" in drawn
    assert "ridge" not in drawn
    assert "B/s" not in drawn


def test_letters_that_the_font_lacks_are_question_marks(decode: Result) -> None:
    named = replace(decode, device="\u82af\u7247 \u00e9")
    assert "on ?? \u00e9, rung tile" in timeline_info(named).footer


@pytest.mark.parametrize("macs_per_s", [10**10, 16_384 * 10**9, 10**16])
def test_roofline_is_legible(decode: Result, macs_per_s: int) -> None:
    info = roofline_info(replace(decode, peaks=replace(decode.peaks, macs_per_s=macs_per_s)))
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    draw_roofline(info, figure.add_subplot())
    _assert_legible(figure)


def test_every_kind_has_its_own_colour(decode: Result) -> None:
    kinds = [*dict.fromkeys(op.kind for op in decode.records), "all_reduce", "route"]
    palette = colours(kinds)
    assert len(set(palette.values())) == len(kinds)


# Files


def test_pictures_are_written_and_repeatable(decode: Result, tmp_path: Path) -> None:
    first = write_pictures(decode, tmp_path / "one")
    second = write_pictures(decode, tmp_path / "two")
    assert [path.name for path in first] == ["timeline.png", "roofline.png"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.read_bytes() == two.read_bytes()


def test_rung_without_events_has_no_timeline(decode: Result, tmp_path: Path) -> None:
    paths = write_pictures(replace(decode, intervals=Intervals.empty()), tmp_path)
    assert [path.name for path in paths] == ["roofline.png"]


def test_trace_has_a_process_and_a_thread_per_unit(decode: Result) -> None:
    meta = [event for event in trace_events(decode) if event["ph"] == "M"]
    assert [event["args"]["name"] for event in meta] == [
        "sample_npu",
        "dma_in",
        "matrix",
        "vector",
        "dma_out",
    ]
    assert len({event["tid"] for event in meta}) == len(meta)


def test_trace_events_are_the_intervals(decode: Result, tmp_path: Path) -> None:
    trace = json.loads(write_trace(decode, tmp_path / "trace.json").read_text())
    assert trace["otherData"]["result"] == decode.content_hash
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(events) == len(decode.intervals)
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(
        decode.latency_s * 1e6
    )
    busy = sum(event["args"]["busy_us"] for event in events if event["tid"] == 2)
    assert busy == pytest.approx(decode.units[1].busy_ps / 1e6)
    load = next(event for event in events if event["name"] == "q_proj")
    assert load["cat"] == "linear"
    assert load["args"]["layer"] == 0
    assert load["args"]["dram_bytes_read"] == 16_000_000


def test_trace_gives_overlapping_work_a_thread_of_its_own(decode: Result) -> None:
    intervals = _columns([(0, 0, 0, 4_000_000), (0, 1, 2_000_000, 4_000_000), (1, 2, 0, 1)])
    events = list(trace_events(replace(decode, intervals=intervals)))
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names[1] == "dma_in"
    assert names[2] == "dma_in (2)"
    threads = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["tid"]].append(event)
    for thread in threads.values():
        assert all(one["ts"] + one["dur"] <= two["ts"] for one, two in pairwise(thread))
    assert len(threads) == 3


def test_traced_run_shows_its_tiles(decode: Result) -> None:
    tiles = _columns([(1, 2, 0, 5), (1, 2, 7, 5)])
    events = [event for event in trace_events(replace(decode, tiles=tiles)) if event["ph"] == "X"]
    assert [(event["ts"], event["dur"]) for event in events] == [(0.0, 5e-6), (7e-6, 5e-6)]
