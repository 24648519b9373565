"""Does fused attention issue and load what a walk over all query and key tiles does?"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from plans import variant

from simulator.cost import load_profile
from simulator.dram.profile import Profile
from simulator.hardware.equations import matrix_work, pipeline_ps
from simulator.hardware.models import matrix_model
from simulator.mapping.attention import (
    AttentionProblem,
    AttentionTotals,
    attention_choice,
    attention_totals,
    keys_seen,
    search_attention,
)
from simulator.mapping.target import rates_of
from simulator.mapping.tiling import EQUALLY_FAST, Choice
from simulator.workload import Attention, AttentionGroup

DEVICE = variant("generic_npu_128", {"matrix.rows": 4, "matrix.columns": 2})
UNIT = matrix_model(DEVICE, "int8xint8")
RATES = rates_of(DEVICE, load_profile(DEVICE.energy))
MEMORY = DEVICE.memory_profile
HEAD_DIM = 8

ONE = (AttentionGroup(1, 6, 6),)
CHUNK = (AttentionGroup(3, 4, 11),)
RAGGED = (AttentionGroup(2, 1, 7), AttentionGroup(1, 5, 9), AttentionGroup(1, 8, 8))
DECODE = (AttentionGroup(4, 1, 13), AttentionGroup(1, 1, 5))
CASES = {
    "causal": Attention(2, 2, HEAD_DIM, ONE),
    "causal, past keys": Attention(2, 2, HEAD_DIM, CHUNK),
    "grouped queries": Attention(6, 2, HEAD_DIM, CHUNK),
    "ragged": Attention(4, 2, HEAD_DIM, RAGGED),
    "window": Attention(2, 1, HEAD_DIM, RAGGED, window=3),
    "window of one": Attention(2, 1, HEAD_DIM, RAGGED, window=1),
    "not causal": Attention(4, 2, HEAD_DIM, RAGGED, causal=False),
    "decode": Attention(6, 2, HEAD_DIM, DECODE),
    "decode, window": Attention(6, 2, HEAD_DIM, DECODE, window=6),
}


def problem(a: Attention, room_bytes: int = 10**6) -> AttentionProblem:
    """Return int8 attention on one core whose operands all cross the memory."""
    return AttentionProblem(
        unit=UNIT,
        cores=1,
        kv_heads=a.kv_heads,
        group_size=a.group_size,
        head_dim=a.head_dim,
        causal=int(a.causal),
        window=a.window or 0,
        a_bits=8,
        w_bits=8,
        out_bits=8,
        kv_memory_bits_per_key=2 * 8 * a.head_dim,
        q_memory_bits=8 * a.tokens * a.heads * a.head_dim,
        out_memory_bits=8 * a.tokens * a.heads * a.head_dim,
        ready_cycles_per_kilokey=0,
        softmax_cycles_per_kiloscore=1024,
        vector_lanes=4,
        mul_cycles=1,
        room_bytes=room_bytes,
    )


def groups(a: Attention) -> list[tuple[int, int, int]]:
    """Return requests, queries and keys of all groups."""
    return [(g.requests, g.queries, g.keys) for g in a.groups]


def totals(a: Attention, q_tile: int, kv_tile: int, hold: int, cores: int = 1) -> AttentionTotals:
    """Return what the package counts."""
    [found] = attention_totals(
        problem(a)._replace(cores=cores), groups(a), [(q_tile, kv_tile, hold)]
    )
    return found


def visible(a: Attention, group: AttentionGroup) -> np.ndarray:
    """Return which key each query of one request attends to."""
    positions = np.arange(group.keys - group.queries, group.keys)[:, None]
    keys = np.arange(group.keys)[None, :]
    if not a.causal:
        return np.ones((group.queries, group.keys), dtype=bool)
    return (keys <= positions) & (keys > positions - (a.window or group.keys))


@dataclass
class Walk:
    """Counts of a walk over query and key tiles."""

    pairs: int = 0
    scores: int = 0
    rescaled: int = 0
    loaded: int = 0
    held: int = 0
    busy: int = 0
    read_bits: int = 0


def walk(a: Attention, q_tile: int, kv_tile: int) -> Walk:
    """Visit each tile of each head of each request; skip tiles without a visible score.

    Tiles start at the first key that the request sees.
    """
    w = Walk()
    for group in a.groups:
        mask = visible(a, group)
        held: set[int] = set()
        base = int(mask[0].argmax())
        for first in range(0, group.queries, q_tile):
            rows = mask[first : first + q_tile]
            issued = 0
            tiles = 0
            for left in range(base, group.keys, kv_tile):
                tile = rows[:, left : left + kv_tile]
                if not tile.any():
                    continue
                held.update(range(left, left + tile.shape[1]))
                tiles += 1
                issued += tile.shape[1]
            count, m = group.requests * a.kv_heads, len(rows) * a.group_size
            w.pairs += count * tiles
            w.scores += count * m * issued
            w.rescaled += count * m * (tiles - 1)
            w.loaded += count * issued
            for n, k in ((issued, a.head_dim), (a.head_dim, issued)):
                work = matrix_work(UNIT, 1, m, n, k, 1, 0, 8, 8, 32 if n == issued else 8)
                w.busy += count * work.busy
                w.read_bits += count * work.read_bits
        w.held += group.requests * a.kv_heads * len(held)
    return w


@pytest.mark.parametrize("name", CASES)
def test_totals_equal_a_walk_over_all_tiles(name: str) -> None:
    a = CASES[name]
    for q_tile, kv_tile in product((1, 2, 3, 5, 8), (1, 2, 4, 6, 16)):
        w = walk(a, q_tile, kv_tile)
        for hold in (0, 1):
            t = totals(a, q_tile, kv_tile, hold)
            found = (t.pairs, t.scores, t.rescaled, t.busy, t.read_bits)
            assert found == (w.pairs, w.scores, w.rescaled, w.busy, w.read_bits), (q_tile, kv_tile)
            assert t.keys_loaded == (w.held if hold else w.loaded), (q_tile, kv_tile)


@pytest.mark.parametrize("name", CASES)
def test_no_useful_score_is_left_out_and_tiles_of_one_issue_no_other(name: str) -> None:
    a = CASES[name]
    for q_tile, kv_tile in product((1, 3, 8), (2, 5, 16)):
        t = totals(a, q_tile, kv_tile, 0)
        assert a.scores <= t.scores <= a.heads * sum(g.tokens * g.keys for g in a.groups)
    assert totals(a, 1, 1, 0).scores == a.scores


@pytest.mark.parametrize("kv_tile", [1, 2, 4, 6, 16])
def test_a_decode_step_without_a_window_issues_the_useful_scores(kv_tile: int) -> None:
    a = CASES["decode"]
    t = totals(a, 1, kv_tile, 0)
    assert t.scores == a.scores == 6 * (4 * 13 + 5)
    assert t.keys_loaded == a.cache_rows == 2 * (4 * 13 + 5)


def test_causal_tiles_above_the_diagonal_are_skipped() -> None:
    """Six queries and keys in tiles of 2: 1 + 2 + 3 of 9 tiles hold a score."""
    a = Attention(1, 1, HEAD_DIM, ONE)
    t = totals(a, 2, 2, 0)
    assert (t.pairs, t.scores, a.scores) == (6, 24, 21)
    assert t.rescaled == 2 * (0 + 1 + 2)
    assert totals(a, 6, 6, 0).scores == 36


def test_keys_before_the_window_are_neither_issued_nor_loaded() -> None:
    """Query 7 of 8 with a window of 3 sees keys 5 to 7, in tiles of 2 wherever they stand."""
    a = Attention(1, 1, HEAD_DIM, (AttentionGroup(1, 1, 8),), window=3)
    assert keys_seen(1, 3, 1, 8, 0, 1) == (5, 8)
    for hold in (0, 1):
        t = totals(a, 1, 2, hold)
        assert (t.pairs, t.scores, t.keys_loaded) == (2, 3, 3)


def test_held_keys_and_values_are_loaded_once_for_all_query_tiles() -> None:
    a = Attention(1, 1, HEAD_DIM, ONE)
    assert totals(a, 2, 2, 0).keys_loaded == 2 + 4 + 6
    assert totals(a, 2, 2, 1).keys_loaded == 6
    assert totals(a, 6, 2, 0).keys_loaded == totals(a, 6, 2, 1).keys_loaded == 6


def test_grouped_queries_share_a_load_and_stack_their_rows() -> None:
    grouped, alone = Attention(8, 2, HEAD_DIM, CHUNK), Attention(8, 8, HEAD_DIM, CHUNK)
    shared, own = totals(grouped, 4, 4, 0), totals(alone, 4, 4, 0)
    assert shared.scores == own.scores
    assert 4 * shared.keys_loaded == own.keys_loaded
    assert 4 * shared.pairs == own.pairs


def cuts(extent: int) -> list[int]:
    """Return an extent cut by powers of two, the last cut into single ones."""
    powers = [2**i for i in range(extent.bit_length() + 1)]
    return sorted({-(-extent // min(power, extent)) for power in powers})


def rank(choice: Choice) -> tuple[float, int, int]:
    """Return by what tilings that are equally fast are told apart."""
    return choice.energy_pj, pipeline_ps(choice.pipeline), choice.footprint_bytes


@pytest.mark.parametrize("name", CASES)
def test_the_search_finds_the_best_of_all_candidates(name: str) -> None:
    a = CASES[name]
    heads = a.kv_heads * sum(g.requests for g in a.groups)
    longest, most = max(g.keys for g in a.groups), max(g.queries for g in a.groups)
    feasible = 0
    for room in (60, 150, 300, 600, 1500, 10**5):
        p = problem(a, room)
        choices = []
        for q_tile, folds in product(cuts(most), cuts(-(-longest // UNIT.columns))):
            kv_tile = min(longest, folds * UNIT.columns)
            for hold in range(2 if q_tile < most else 1):
                [t] = attention_totals(p, groups(a), [(q_tile, kv_tile, hold)])
                choice = attention_choice(
                    p, t, RATES, MEMORY, heads, longest, q_tile, kv_tile, hold
                )
                if choice.needed_bytes <= room:
                    choices.append(choice)
        choice, found, tiles, time = search_attention(p, RATES, MEMORY, groups(a))
        assert (time >= 0) == bool(choices)
        if not choices:
            continue
        feasible += 1
        fastest = min(pipeline_ps(other.pipeline) for other in choices)
        limit = fastest + fastest // EQUALLY_FAST
        assert rank(choice) == min(
            rank(other) for other in choices if pipeline_ps(other.pipeline) <= limit
        )
        assert time == pipeline_ps(choice.pipeline)
        assert choice.footprint_bytes == choice.needed_bytes <= room
        assert [found] == attention_totals(p, groups(a), [tiles])
        assert choice == attention_choice(p, found, RATES, MEMORY, heads, longest, *tiles)
    assert feasible >= 2


def cycles(t: AttentionTotals) -> int:
    """Return the cycles of the busiest core."""
    return t.busy + t.weight_load + t.fill_drain + t.operand + t.conversion


@pytest.mark.parametrize("name", CASES)
def test_cores_share_whole_heads_and_the_busiest_sets_the_time(name: str) -> None:
    """Never less than a fair share, nor than the longest head; one core has all."""
    a = CASES[name]
    heads = a.kv_heads * sum(g.requests for g in a.groups)
    one = totals(a, 2, 4, 0)
    alone = [
        totals(Attention(a.group_size, 1, HEAD_DIM, (AttentionGroup(1, g.queries, g.keys),),
                         a.causal, a.window), 2, 4, 0)
        for g in a.groups
    ]  # fmt: skip
    longest = max(cycles(t) for t in alone)
    for cores in range(1, heads + 1):
        t = totals(a, 2, 4, 0, cores)
        assert (t.scores, t.keys_loaded, t.pairs) == (one.scores, one.keys_loaded, one.pairs)
        fair = -(-cycles(one) // cores)
        assert max(longest, fair) <= cycles(t) <= fair + longest
        assert one.scores_most == one.scores
        assert t.scores_most <= one.scores
        if len(a.groups) == 1:
            assert t.busy * heads == one.busy * -(-heads // cores)
    assert cycles(totals(a, 2, 4, 0, heads)) == longest


def test_the_longest_request_goes_to_a_core_of_its_own() -> None:
    """One long and three short requests on two cores: not one of each sort on each core."""
    mixed = Attention(1, 1, HEAD_DIM, (AttentionGroup(3, 1, 10), AttentionGroup(1, 1, 100)))
    long = Attention(1, 1, HEAD_DIM, (AttentionGroup(1, 1, 100),))
    assert totals(mixed, 1, 100, 0, 2).busy == totals(long, 1, 100, 0).busy


def test_keys_are_held_where_room_allows_and_only_there() -> None:
    """256 queries in a room too small for their scores at once, with and without room for keys.

    Where memory is slow, to hold 4 KiB of keys and values is faster than to load them again.
    """
    a = Attention(1, 1, HEAD_DIM, (AttentionGroup(1, 256, 256),), causal=False)
    slow = Profile(1e5, 20_000)
    loaded = {}
    for room in (4000, 16_000):
        p = problem(a, room)
        _, t, tiles, time = search_attention(p, RATES, slow, groups(a))
        assert time > 0
        assert tiles[0] < 256
        assert tiles[2] == (room == 16_000)
        loaded[room] = t.keys_loaded
    assert loaded[16_000] == 256
    assert loaded[4000] >= 2 * 256
