"""Do QK^T and PV, as products of their own, issue the tiles that the mask leaves?"""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import tiny_model, variant

from simulator.api import load_device, load_model, simulate
from simulator.hardware.equations import (
    ADDER_TREE,
    OUTPUT_STATIONARY,
    matrix_work,
    total_cycles,
)
from simulator.hardware.models import matrix_model
from simulator.mapping.attention import QUERY_TILES, room_for
from simulator.mapping.unfused import Issued, MaskedProblem, banded, search_bands
from simulator.workload import decode_step, prefill

DEVICE = variant("generic_npu_128", {"matrix.rows": 4, "matrix.columns": 2})
UNIT = matrix_model(DEVICE, "int8xint8")
UNITS = (UNIT, UNIT._replace(kind=OUTPUT_STATIONARY), UNIT._replace(kind=ADDER_TREE, temporal=4))
#: Requests, queries, keys.
Group = tuple[int, int, int]


@st.composite
def problems(draw: st.DrawFn) -> tuple[MaskedProblem, list[Group]]:
    """Draw a small attention: masks, windows, shared heads, ragged groups."""
    causal = draw(st.integers(0, 1))
    p = MaskedProblem(
        unit=draw(st.sampled_from(UNITS)),
        cores=1,
        scores=draw(st.integers(0, 1)),
        kv_heads=draw(st.integers(1, 3)),
        group_size=draw(st.integers(1, 3)),
        head_dim=draw(st.sampled_from((1, 8))),
        causal=causal,
        window=draw(st.integers(0, 6)) if causal else 0,
        k_spills=0,
        a_bits=8,
        w_bits=8,
        out_bits=32,
    )
    one = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(0, 9))
    groups = draw(st.lists(one, min_size=1, max_size=3))
    return p, [(requests, queries, queries + past) for requests, queries, past in groups]


def issued_in(p: MaskedProblem, groups: list[Group], bands: int) -> Issued:
    """Return what the package counts for one number of bands."""
    columns = np.array(groups, dtype=np.int64).T.copy()
    return banded(p, *columns, bands, room_for(p.cores, len(groups)))


def seen(p: MaskedProblem, query: int, queries: int, keys: int) -> set[int]:
    """Return the keys that a query attends to."""
    if not p.causal:
        return set(range(keys))
    position = keys - queries + query
    first = max(0, position + 1 - p.window) if p.window else 0
    return set(range(first, position + 1))


def walk(p: MaskedProblem, groups: list[Group], bands: int) -> list[tuple[int, int, int]]:
    """Return (count, rows, keys) of each band, key by key: whole tiles that one query sees."""
    found = []
    for requests, queries, keys in groups:
        height = ceil(queries / bands)
        base = min(seen(p, 0, queries, keys))
        for first in range(0, queries, height):
            band = range(first, min(first + height, queries))
            needed = set().union(*(seen(p, query, queries, keys) for query in band))
            tiles = {(key - base) // p.unit.columns for key in needed}
            issued = sum((key - base) // p.unit.columns in tiles for key in range(base, keys))
            found.append((requests * p.kv_heads, len(band) * p.group_size, issued))
    return found


@settings(max_examples=200)
@given(problems(), st.integers(1, 9))
def test_bands_issue_the_tiles_that_a_query_sees(
    drawn: tuple[MaskedProblem, list[Group]], bands: int
) -> None:
    p, groups = drawn
    issued = issued_in(p, groups, bands)
    walked = walk(p, groups, bands)
    assert issued.macs == sum(count * m * keys * p.head_dim for count, m, keys in walked)
    busy = 0
    for count, m, keys in walked:
        n, k = (keys, p.head_dim) if p.scores else (p.head_dim, keys)
        busy += matrix_work(p.unit, count, m, n, k, 1, 0, 8, 8, 32).busy
    # Accumulators are deep enough here: one piece each.
    assert issued.work.busy == busy


@settings(max_examples=100)
@given(problems())
def test_the_search_takes_the_fastest_cut(drawn: tuple[MaskedProblem, list[Group]]) -> None:
    p, groups = drawn
    most = max(queries for _, queries, _ in groups)
    found = search_bands(p, groups)
    cuts = [1] if not p.causal else [2**i for i in range(7) if 2**i <= min(most, QUERY_TILES)]
    times = {cut: total_cycles(issued_in(p, groups, cut).work) for cut in cuts}
    assert total_cycles(found.work) == min(times.values())
    assert found.bands == min(times, key=lambda cut: (times[cut], cut))


def issued(work: object, attention: str) -> tuple[int, int]:
    """Return (useful, issued) MACs of the attention of a run."""
    result = simulate(load_device("generic_npu_128"), work, attention=attention)  # type: ignore[arg-type]
    result.check()
    mine = [op for op in result.records if op.kind in ("attention", "qk", "pv")]
    return sum(op.macs_useful for op in mine), sum(op.macs_issued for op in mine)


def test_a_causal_prefill_issues_little_more_than_its_triangle() -> None:
    """1,024 tokens: the triangle is half of the rectangle; fused attention skips as much."""
    work = prefill(load_model("gpt-2"), sequence=1024)
    useful, unfused = issued(work, "unfused")
    assert useful == 12 * 2 * 768 * 1024 * 1025 // 2
    assert useful <= unfused <= 1.15 * useful
    assert unfused == issued(work, "fused")[1]


@pytest.mark.parametrize("context", [[20, 300, 301], [7], [1, 1, 2]])
def test_each_request_of_a_ragged_step_has_its_own_length(context: list[int]) -> None:
    useful, unfused = issued(decode_step(tiny_model(), context=context), "unfused")
    assert unfused == useful == 2 * 2 * 4 * 64 * sum(context)


@pytest.mark.parametrize("attention", ["fused", "unfused"])
def test_one_head_stays_on_one_core(attention: str) -> None:
    """With two key-value heads, two cores share the work; with one, the other core is idle."""
    device = variant("tpu_v4", {"cores": 2})
    spans = {}
    for kv_heads in (1, 2):
        work = prefill(tiny_model(kv_heads=kv_heads), sequence=512, weights="int8", kv="int8")
        result = simulate(device, work, attention=attention)
        result.check()
        mine = [op for op in result.records if op.kind in ("attention", "qk", "pv")]
        matrix = result.units[0]
        spans[kv_heads] = (sum(op.latency_ps for op in mine), matrix.busy_ps / matrix.instances)
    assert spans[1][0] > 1.2 * spans[2][0]
    assert spans[1][1] == pytest.approx(spans[2][1], rel=0.15)
