"""Is the chosen tiling the best of all, and are its traffic and its room counted right?"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from plans import variant

from simulator.dram.profile import Profile
from simulator.hardware.equations import (
    ADDER_TREE,
    INPUT_STATIONARY,
    OUTPUT_STATIONARY,
    THROUGHPUT,
    WEIGHT_STATIONARY,
    MatrixModel,
    operand_bits,
    pipeline_ps,
    tile_loads,
)
from simulator.hardware.models import matrix_model
from simulator.mapping.tiling import (
    EQUALLY_FAST,
    MAX_STEPS,
    ORDERS,
    STREAMED,
    Choice,
    GemmProblem,
    Rates,
    best_of,
    gemm_choice,
    gemm_steps,
    granules,
    held_sum_bytes,
    padded_bytes,
    partial_sum_bytes,
    search_gemm,
    temporal_pieces,
)

RATES = Rates(
    clock_hz=10**9,
    read_ps_per_byte=1.0,
    latency_ps=20_000,
    descriptor_ps=3000,
    burst_bytes=32,
    pj_per_memory_bit=4.0,
    pj_per_scratchpad_bit=0.1,
)
MEMORY = Profile(1.0, 20_000)
ARRAY = matrix_model(
    variant("generic_npu_128", {"matrix.rows": 8, "matrix.columns": 4}), "int8xint8"
)
UNITS = {
    "weight stationary": ARRAY,
    "output stationary": ARRAY._replace(kind=OUTPUT_STATIONARY),
    "input stationary": ARRAY._replace(kind=INPUT_STATIONARY),
    "no accumulators": ARRAY._replace(accumulator_entries=0),
    "few accumulators": ARRAY._replace(accumulator_entries=5),
    "adder tree": ARRAY._replace(kind=ADDER_TREE, temporal=16, accumulator_entries=0),
    "throughput": ARRAY._replace(
        kind=THROUGHPUT, rows=16, columns=16, accumulator_entries=0, macs_per_megacycle=10**8
    ),
}


def problem(
    unit: MatrixModel, m: int, n: int, k: int, room_bytes: int, *, ready_cycles: int = 0
) -> GemmProblem:
    """Return an int8 product whose operands and outputs all cross the memory of one core."""
    return GemmProblem(
        unit=unit,
        products=1,
        m=m,
        n=n,
        k=k,
        a_bits=8,
        w_bits=8,
        out_bits=8,
        a_memory_bits=8 * m * k,
        w_memory_bits=8 * n * k,
        w_metadata_bits=16 * n,
        out_memory_bits=8 * m * n,
        side_memory_bits=0,
        a_shards=1,
        w_shards=1,
        a_readers=1,
        w_readers=1,
        a_copies=1,
        w_copies=1,
        ready_cycles=ready_cycles,
        post_cycles=m * n,
        room_bytes=room_bytes,
    )


def sizes(extent: int, grain: int) -> list[int]:
    """Return every tile size of one dimension: its folds cut by powers of two, and one fold."""
    folds = -(-extent // grain)
    cuts = {min(2**power, folds) for power in range(folds.bit_length() + 1)}
    return sorted({min(extent, -(-folds // cut) * grain) for cut in cuts})


def candidates(p: GemmProblem) -> Iterator[tuple[Choice, tuple[int, int, int, int]]]:
    """Price every tiling: each size of each dimension, each order that differs."""
    extents = zip((p.m, p.n, p.k), granules(p.unit), strict=True)
    for m, n, k in product(*(sizes(extent, grain) for extent, grain in extents)):
        for order in range(4 if k < p.k else 2):
            yield gemm_choice(p, RATES, MEMORY, m, n, k, order), (m, n, k, order)


def fitting(p: GemmProblem) -> list[Choice]:
    """Return the candidates that fit."""
    return [choice for choice, _ in candidates(p) if choice.needed_bytes <= p.room_bytes]


def rank(choice: Choice) -> tuple[float, int, int]:
    """Return by what tilings that are equally fast are told apart."""
    return choice.energy_pj, pipeline_ps(choice.pipeline), choice.footprint_bytes


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("shape", [(1, 40, 70), (33, 17, 100), (64, 64, 64), (400, 9, 8)])
@pytest.mark.parametrize("ready_cycles", [0, 400])
def test_the_search_finds_the_best_of_all_candidates(
    name: str, shape: tuple[int, int, int], ready_cycles: int
) -> None:
    feasible = 0
    for room in (300, 700, 1500, 4000, 10_000, 100_000):
        p = problem(UNITS[name], *shape, room, ready_cycles=ready_cycles)
        found = fitting(p)
        choice, tiles, time = search_gemm(p, RATES, MEMORY)
        if not found:
            assert time == -1
            continue
        feasible += 1
        fastest = min(pipeline_ps(other.pipeline) for other in found)
        limit = fastest + fastest // EQUALLY_FAST
        assert rank(choice) == min(
            rank(other) for other in found if pipeline_ps(other.pipeline) <= limit
        )
        assert time == pipeline_ps(choice.pipeline)
        assert choice == gemm_choice(p, RATES, MEMORY, *tiles)
        assert choice.footprint_bytes == choice.needed_bytes <= room
    assert feasible >= 2


def drawn(rng: np.random.Generator) -> GemmProblem:
    """Draw a product that cores share, of which some operands stay on chip."""

    def several(most: int) -> int:
        return int(rng.integers(1, most + 1))

    unit = UNITS[str(rng.choice(list(UNITS)))]
    m, n, k = (int(2 ** rng.uniform(0, 8)) for _ in range(3))
    p = problem(unit, m, n, k, int(2 ** rng.uniform(7, 12)), ready_cycles=400 * several(2) - 400)
    moves = rng.random(4) < (0.3, 0.6, 0.3, 0.5)
    return p._replace(
        products=several(2),
        a_memory_bits=p.a_memory_bits if moves[0] else 0,
        out_memory_bits=p.out_memory_bits if moves[1] else 0,
        side_memory_bits=p.out_memory_bits if moves[2] else 0,
        w_metadata_bits=p.w_metadata_bits if moves[3] else 0,
        a_shards=several(4),
        w_shards=several(4),
        a_readers=several(3),
        w_readers=several(3),
        a_copies=several(3),
        w_copies=several(3),
        post_cycles=p.post_cycles // several(9),
    )


def test_what_the_search_skips_is_never_the_best() -> None:
    """Random products of all units: candidates slow in one stage, orders that move the same."""
    rng, fits = np.random.default_rng(0), 0
    for _ in range(80):
        p = drawn(rng)
        found = fitting(p)
        choice, tiles, time = search_gemm(p, RATES, MEMORY)
        assert choice == gemm_choice(p, RATES, MEMORY, *tiles)
        if not found:
            assert choice.needed_bytes == min(each.needed_bytes for each, _ in candidates(p))
            continue
        fits += 1
        fastest = min(pipeline_ps(other.pipeline) for other in found)
        limit = fastest + fastest // EQUALLY_FAST
        equal = [other for other in found if pipeline_ps(other.pipeline) <= limit]
        assert rank(choice) == min(map(rank, equal)), p
        assert time == pipeline_ps(choice.pipeline)
    assert 50 < fits < 80


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("shape", [(64, 64, 64), (100, 9, 8)])
def test_where_nothing_fits_the_tiling_that_needs_least_comes_back_without_a_time(
    name: str, shape: tuple[int, int, int]
) -> None:
    """Not always the smallest tiles: a K cut short pads each row of activations to a burst."""
    p = problem(UNITS[name], *shape, 100)
    choice, _, time = search_gemm(p, RATES, MEMORY)
    assert time == -1
    assert choice.footprint_bytes == -1
    assert choice.needed_bytes == min(found.needed_bytes for found, _ in candidates(p)) > 100


def test_a_tile_needs_room_for_operands_two_outputs_two_widened_weights_and_partial_sums() -> None:
    """Two tiles of each operand are in flight: 2 x (8 x 32 + 8 x 32), with scales in the second."""
    unit = ARRAY._replace(accumulator_entries=0)
    p = problem(unit, 8, 8, 64, 10**6, ready_cycles=1)
    operands = 2 * (8 * 32 + 8 * 32 + 32)
    outputs, widened, sums = 2 * 8 * 8, 2 * 8 * 32, 8 * 8 * 4
    whole = gemm_choice(p._replace(out_memory_bits=0, ready_cycles=0), RATES, MEMORY, 8, 8, 32, 2)
    assert whole.needed_bytes == operands + sums
    assert (
        gemm_choice(p, RATES, MEMORY, 8, 8, 32, 2).needed_bytes
        == operands + sums + outputs + widened
    )


@pytest.mark.parametrize("order", range(4))
def test_refetches_equal_a_loop_nest_with_room_for_one_tile_of_each_operand(order: int) -> None:
    names = ORDERS[order].split()
    for m, n, k in product(range(1, 5), repeat=3):
        counts = {"m": m, "n": n, "k": k}
        held: dict[str, tuple[int, int]] = {}
        loads = {"a": 0, "w": 0}
        for place in product(*(range(counts[name]) for name in names)):
            at = dict(zip(names, place, strict=True))
            for operand, tile in (("a", (at["m"], at["k"])), ("w", (at["k"], at["n"]))):
                if held.get(operand) != tile:
                    held[operand] = tile
                    loads[operand] += 1
        a_loads, w_loads = tile_loads(order, m, n, k)
        assert (a_loads * m * k, w_loads * k * n) == (loads["a"], loads["w"]), (m, n, k)


@pytest.mark.parametrize("order", range(4))
def test_bytes_from_memory_are_loads_times_padded_operands(order: int) -> None:
    """Weights lie tile by tile; activations row by row, in pieces of rows where K is cut."""
    p = problem(ARRAY, 32, 16, 64, 10**6)
    a_loads, w_loads = tile_loads(order, 2, 4, 4)
    a_once = 32 * 4 * 32  # 32 rows in 4 pieces of 16 bytes, each padded to a burst of 32
    w_once = 16 * (64 + 32)  # 16 tiles of 64 bytes, with 2 bytes of scales padded to 32
    choice = gemm_choice(p, RATES, MEMORY, 16, 4, 16, order)
    assert choice.load_bytes == a_loads * a_once + w_loads * w_once
    assert choice.store_bytes == 32 * 4 * 32  # 4 bytes of a row at a time


@pytest.mark.parametrize(
    ("bits", "pieces", "burst", "expected"),
    [(0, 3, 32, 0), (8, 1, 1, 1), (9, 1, 1, 2), (64, 8, 32, 256), (2048, 8, 32, 256)],
)
def test_each_piece_is_padded_to_a_burst(bits: int, pieces: int, burst: int, expected: int) -> None:
    assert padded_bytes(bits, pieces, burst) == expected


@pytest.mark.parametrize("name", ["no accumulators", "adder tree"])
@pytest.mark.parametrize("order", range(4))
def test_a_cut_k_hands_partial_sums_on_through_the_scratchpad(name: str, order: int) -> None:
    """Order 0 holds all rows of a column tile, order 1 all columns of a row tile, 2 and 3 one."""
    unit = UNITS[name]
    p = problem(unit, 32, 16, 64, 10**6)
    held = {0: 32 * 4, 1: 8 * 16, 2: 8 * 4, 3: 8 * 4}[order] * 4
    assert partial_sum_bytes(p, order, 8, 4) == held
    cut = gemm_choice(p, RATES, MEMORY, 8, 4, 16, order)
    assert cut.k_spills == 3
    room = p._replace(unit=unit._replace(accumulator_entries=10**6))
    assert cut.needed_bytes - held == gemm_choice(room, RATES, MEMORY, 8, 4, 16, order).needed_bytes
    assert gemm_choice(p, RATES, MEMORY, 8, 4, 64, order % 2).k_spills == 0


def test_partial_sums_cross_the_scratchpad_once_each_way_per_spill_at_accumulator_width() -> None:
    unit = UNITS["adder tree"]
    none = operand_bits(unit, 1, 32, 16, 64, 1, 0, 8, 8, 8)
    read, write, held_read, held_write = operand_bits(unit, 1, 32, 16, 64, 1, 3, 8, 8, 8)
    assert (read - none[0], write - none[1]) == (3 * 32 * 16 * 32, 3 * 32 * 16 * 32)
    assert (held_read, held_write) == (0, 0)


def test_partial_sums_of_folds_and_of_tiles_are_not_counted_twice() -> None:
    """64 rows of K on 8 rows of PEs: 7 of 8 folds hand sums on, whether K is cut or not."""
    unit = UNITS["no accumulators"]
    for spills in range(4):
        read, write, *_ = operand_bits(unit, 1, 32, 16, 64, 1, spills, 8, 8, 8)
        assert read == 8 * (32 * 64 * 4 + 64 * 16) + 7 * 32 * 16 * 32
        assert write == 8 * 32 * 16 + 7 * 32 * 16 * 32


def test_sums_that_fit_in_the_accumulators_stay_there() -> None:
    """Order 2 holds 8 x 4 sums: 8 entries in each of 4 columns; order 0 holds 32 x 4."""
    for entries, order, spills in ((8, 2, 0), (7, 2, 3), (8, 0, 3), (32, 0, 0)):
        p = problem(ARRAY._replace(accumulator_entries=entries), 32, 16, 64, 10**6)
        assert gemm_choice(p, RATES, MEMORY, 8, 4, 16, order).k_spills == spills, (entries, order)


def test_an_output_stationary_array_keeps_as_many_sums_in_place_as_it_has_elements() -> None:
    """8 x 4 elements: order 2 holds 8 x 4 sums, order 0 holds 32 x 4, order 1 8 x 16."""
    unit = UNITS["output stationary"]._replace(accumulator_entries=0)
    p = problem(unit, 32, 16, 64, 10**6)
    spills = [gemm_choice(p, RATES, MEMORY, 8, 4, 16, order).k_spills for order in range(4)]
    assert spills == [3, 3, 0, 0]
    assert held_sum_bytes(unit) == 8 * 4 * 4
    four = p._replace(unit=unit._replace(arrays=4))
    assert [gemm_choice(four, RATES, MEMORY, 8, 4, 16, order).k_spills for order in (0, 1)] == [
        0,
        0,
    ]
    assert temporal_pieces(p, 4, 4, 4) == 4


def test_accumulator_entries_limit_the_pieces_that_stream_through_an_array() -> None:
    for entries, tiles, pieces in ((100, 1, 1), (99, 1, 2), (30, 1, 4), (30, 8, 8), (0, 3, 3)):
        p = problem(ARRAY._replace(accumulator_entries=entries), 100, 16, 64, 10**6)
        assert temporal_pieces(p, tiles, 1, 1) == pieces
    one_fold = problem(ARRAY._replace(accumulator_entries=1), 100, 16, 8, 10**6)
    assert temporal_pieces(one_fold, 1, 1, 1) == 1
    inputs = UNITS["input stationary"]._replace(accumulator_entries=30)
    assert temporal_pieces(problem(inputs, 16, 100, 64, 10**6), 1, 1, 1) == 4
    assert temporal_pieces(problem(UNITS["adder tree"], 100, 100, 64, 10**6), 5, 5, 5) == 1


def test_steps_are_pieces_of_outputs_and_of_k_where_these_are_few() -> None:
    array = matrix_model(variant("generic_npu_128"), "int8xint8")
    assert gemm_steps(problem(array, 1, 4096, 4096, 1)) == (32, 32)
    assert gemm_steps(problem(array, 1024, 4096, 65_536, 1)) == (256, MAX_STEPS // 256)
    assert gemm_steps(problem(array, 128 * 100, 128 * 100, 256, 1)) == (MAX_STEPS, 1)


def test_of_tilings_within_a_ten_thousandth_the_one_with_least_energy_is_taken() -> None:
    """Then the earlier, then the smaller; what is slower by more is out, however frugal."""
    found = np.array(
        [[10**6, 9, 0, 0, 0, 0], [10**6 + 100, 8, 0, 0, 0, 0], [10**6 + 101, 1, 0, 0, 0, 0]]
    )
    for energies, best in (((5, 6, 1), 0), ((5, 4, 1), 1), ((5, 5, 1), 0), ((7, 7, 7), 0)):
        assert best_of(found, np.array(energies, dtype=float), 3) == best
    found[1, 0] = 10**6
    assert best_of(found, np.full(3, 5.0), 3) == 1


def test_small_tiles_are_looked_at_although_large_ones_fit() -> None:
    """Rows of activations in one fold each may be the best of all: nothing is left out for size."""
    sizes = {
        search_gemm(problem(ARRAY, 512, 64, 64, room), RATES, MEMORY)[1][0] for room in (900, 10**6)
    }
    assert min(sizes) < STREAMED < max(sizes)


def test_among_tilings_equally_fast_the_search_takes_the_one_with_least_traffic() -> None:
    """Memory answers at once and the array is slow: time is the same, traffic is not."""
    at_once = Profile(0.0, 0)
    rates = RATES._replace(read_ps_per_byte=0.0, latency_ps=0, descriptor_ps=0)
    unit = ARRAY._replace(kind=ADDER_TREE, passes=100, accumulator_entries=0, latency=0)
    p = problem(unit, 32, 16, 64, 1200)._replace(post_cycles=0, out_memory_bits=0)
    choice, _, time = search_gemm(p, rates, at_once)
    found = [gemm_choice(p, rates, at_once, *tiles) for choice, tiles in candidates(p)]
    found = [other for other in found if other.needed_bytes <= p.room_bytes]
    assert len({other.energy_pj for other in found if pipeline_ps(other.pipeline) == time}) > 1
    assert (time, choice.energy_pj) == min((pipeline_ps(c.pipeline), c.energy_pj) for c in found)


@pytest.mark.parametrize(
    ("kind", "grains"),
    [
        (WEIGHT_STATIONARY, (2, 4, 8)),
        (OUTPUT_STATIONARY, (8, 4, 2)),
        (INPUT_STATIONARY, (4, 2, 8)),
        (ADDER_TREE, (8, 4, 2)),
    ],
)
def test_the_smallest_tile_is_one_fold(kind: int, grains: tuple[int, int, int]) -> None:
    assert granules(ARRAY._replace(kind=kind, temporal=2)) == grains
