"""Is request i of a stream what its definition says, and are the recorded streams reproduced?"""

import gzip
import os
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import replace
from simulator.dram.mapping import parse_mapping
from simulator.dram.request_file import read_requests, request_lines
from simulator.dram.standard import Standard, load_standard, standard_names
from simulator.dram.streams import (
    STREAM_NAMES,
    Gather,
    Random,
    Stream,
    Strided,
    Tile,
    addresses,
    named_stream,
)
from simulator.dram.streams_kernel import draw

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data"))
RECORDED = ("ddr4_3200", "ddr5_4800", "gddr6_14000", "hbm2_2000")
PATTERN = "RoBaBgPcCoCh"


def small() -> Standard:
    """HBM2 with 2 channels, rows of 4 bursts and 3 rows: 1,536 B x 32 banks, no power of two."""
    changes = {"levels.Channel": 2, "levels.Row": 3, "levels.Column": 16}
    return replace(load_standard("hbm2_2000"), changes)


def recorded_file(name: str, stream: str) -> Path:
    file = DATA / "simulators" / "ramulator2_requests" / f"{name.upper()}_{stream}_1000.txt.gz"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set NIBBLESIM_DATA (CMU-SAFARI/ramulator2 @c5b1c3a)")
    return file


@pytest.mark.parametrize("stream", STREAM_NAMES)
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams_byte_for_byte(name: str, stream: str) -> None:
    file, standard = recorded_file(name, stream), load_standard(name)
    recorded = gzip.decompress(file.read_bytes()).decode()
    writes, levels = addresses(named_stream(stream, standard), standard, 0, 1000)
    assert "".join(request_lines(writes, levels)) == recorded
    read_writes, read_levels = read_requests(file, standard)
    assert np.array_equal(read_writes, writes)
    assert np.array_equal(read_levels, levels)


def walked(standard: Standard, order: list[str]) -> Iterator[list[int]]:
    """Yield addresses by nested loops, the last level of `order` innermost."""
    counts = dict(standard.levels) | {"Column": standard.bursts_per_row}
    for values in product(*(range(counts[level]) for level in order)):
        at = dict(zip(order, values, strict=True))
        at["Column"] = at.get("Column", 0) * standard.prefetch
        yield [at.get(level, 0) for level in standard.levels]


@pytest.mark.parametrize("name", standard_names())
def test_walks_are_nested_loops(name: str) -> None:
    standard, count = load_standard(name), 5000
    inner = list(standard.banked_levels[1:])
    outer = [level for level in inner if level not in ("BankGroup", "Rank", "PseudoChannel")]
    fastest = [level for level in ("BankGroup", "Rank", "PseudoChannel") if level in inner]
    orders = {
        "seq_row": ["Row", *inner, "Column"],
        "seq_bg": ["Row", *outer, "Column", *fastest],
        "conflict": ["Row"],
    }
    for stream, order in orders.items():
        expected = list(islice(walked(standard, order), count))
        writes, levels = addresses(named_stream(stream, standard), standard, 0, len(expected))
        assert levels.tolist() == expected
        assert not writes.any()


def test_a_walk_starts_again_after_the_last_burst() -> None:
    standard = replace(load_standard("ddr4_3200"), {"levels.Row": 2, "levels.Column": 16})
    for stream, bursts in (("seq_row", 2 * 16 * 2), ("seq_bg", 2 * 16 * 2), ("conflict", 2)):
        _, levels = addresses(named_stream(stream, standard), standard, 0, 2 * bursts)
        assert np.array_equal(levels[:bursts], levels[bursts:])
        assert len(np.unique(levels, axis=0)) == bursts


def test_every_third_request_of_a_mix_writes() -> None:
    standard = load_standard("hbm2_2000")
    for name in ("mix21_seq", "mix21_random"):
        writes, _ = addresses(named_stream(name, standard), standard, 0, 9)
        assert writes.tolist() == [False, False, True] * 3


def test_draws_are_splitmix64() -> None:
    # The reference generator seeded with 1234567.
    expected = [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
        *(4593380528125082431, 16408922859458223821),
    ]
    assert [int(draw(1234567, j)) for j in range(5)] == expected


def test_random_is_uniform_over_every_level() -> None:
    standard, count = load_standard("hbm3_6400"), 40_000
    _, levels = addresses(named_stream("random", standard), standard, 0, count)
    for column, (level, instances) in enumerate(standard.levels.items()):
        values = standard.bursts_per_row if level == "Column" else instances
        step = standard.prefetch if level == "Column" else 1
        assert levels[:, column].max() <= (values - 1) * step
        if values <= 64:
            seen = np.bincount(levels[:, column] // step, minlength=values)
            # Five standard deviations of a binomial.
            allowed = 5 * np.sqrt(count / values)
            assert np.abs(seen - count / values).max() <= allowed


def test_several_channels_are_drawn_too() -> None:
    _, levels = addresses(Random(), small(), 0, 200)
    assert set(levels[:, 0]) == {0, 1}


STREAMS: tuple[Stream, ...] = (
    Strided(PATTERN, 96, 64, 2),
    Tile(PATTERN, 3, 64, 2, 160, 32),
    Gather(PATTERN, 64, 4096, 128, 5, seed=9),
    Random(3),
)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda each: type(each).__name__)
@given(start=st.integers(0, 2**40), count=st.integers(1, 50))
def test_request_i_does_not_depend_on_where_one_starts(
    stream: Stream, start: int, count: int
) -> None:
    writes, levels = addresses(stream, small(), start, count)
    last_writes, last_levels = addresses(stream, small(), start + count - 1, 1)
    assert writes[-1] == last_writes[0]
    assert np.array_equal(levels[-1], last_levels[0])


def mapped(byte: int, standard: Standard) -> list[int]:
    """Map a byte address by PATTERN, written out."""
    rest = byte // standard.access_bytes
    at = {}
    for level in ("Channel", "Column", "PseudoChannel", "BankGroup", "Bank", "Row"):
        count = standard.bursts_per_row if level == "Column" else standard.levels[level]
        rest, at[level] = divmod(rest, count)
    at["Column"] *= standard.prefetch
    return [at[level] for level in standard.levels]


def test_a_mapping_reaches_every_burst_once() -> None:
    standard = small()
    bursts = standard.capacity_bytes // standard.access_bytes
    _, levels = addresses(Strided(PATTERN, standard.access_bytes), standard, 0, bursts)
    assert len(np.unique(levels, axis=0)) == bursts == 768
    assert levels.tolist() == [mapped(32 * i, standard) for i in range(bursts)]


def test_strides_go_on_at_the_start() -> None:
    standard = small()
    _, levels = addresses(Strided(PATTERN, 96, 64), standard, 0, 1000)
    size = standard.capacity_bytes
    assert levels.tolist() == [mapped((64 + 96 * i) % size, standard) for i in range(1000)]


def test_tiles_are_blocks_of_a_matrix() -> None:
    # Blocks of 3 rows of 64 bytes, two side by side in rows 160 bytes apart.
    standard, expected = small(), []
    for block_row, block_column, row, burst in product(range(4), range(2), range(3), range(2)):
        byte = 32 + (3 * block_row + row) * 160 + block_column * 64 + burst * 32
        expected.append(mapped(byte, standard))
    _, levels = addresses(Tile(PATTERN, 3, 64, 2, 160, 32), standard, 0, len(expected))
    assert levels.tolist() == expected


def test_a_gather_reads_whole_runs_of_its_table() -> None:
    standard, stream = small(), Gather(PATTERN, 64, 4096, 128, seed=9)
    _, levels = addresses(stream, standard, 0, 2000)
    places = {tuple(mapped(128 + 64 * place, standard)): place for place in range(64)}
    starts = [places[tuple(address)] for address in levels[::2].tolist()]
    assert levels[1::2].tolist() == [mapped(160 + 64 * place, standard) for place in starts]
    assert starts == [int(draw(9, run)) % 64 for run in range(1000)]
    assert len(set(starts)) == 64


def test_a_mapping_is_a_pattern_or_a_list() -> None:
    standard = load_standard("hbm2_2000")
    order = ("Row", "Bank", "BankGroup", "PseudoChannel", "Column", "Channel")
    assert parse_mapping(PATTERN, standard) == order
    assert parse_mapping("robabgpccoch", standard) == order
    assert parse_mapping(list(order), standard) == order
    # A level of one instance has no bits to cover.
    assert parse_mapping("RoBaBgPcCo", standard) == order[:-1]


@pytest.mark.parametrize("name", ["requests.txt", "requests.txt.gz"])
def test_request_files_return_what_was_written(name: str, tmp_path: Path) -> None:
    standard, file = load_standard("hbm3_6400"), tmp_path / name
    writes, levels = addresses(named_stream("mix21_random", standard), standard, 7, 300)
    text = "".join(request_lines(writes, levels)).encode()
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    again_writes, again_levels = read_requests(file, standard)
    assert np.array_equal(again_writes, writes)
    assert np.array_equal(again_levels, levels)
