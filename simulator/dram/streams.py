"""Streams of requests in closed form: request i of each is a function of i, so none is a list.

The six named streams are walks over the levels (`seq_row`, `seq_bg`, `conflict`) and uniform draws
of splitmix64 (`random`), each also with every third request a write (`mix21_seq`, `mix21_random`).
`Strided`, `Tile` and `Gather` go through a mapping of addresses, as an accelerator's DMA does:
operands in a row, blocks of a matrix, pages or rows of a table. `streams_kernel` has the code.

Left out: gaps in time between requests; requests other than whole bursts.
"""

from dataclasses import dataclass
from math import gcd, lcm, prod
from typing import TYPE_CHECKING, TypeAlias

from simulator.config import unknown
from simulator.dram.mapping import digits
from simulator.dram.standard import Standard
from simulator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.dram.streams_kernel import StreamTables

#: Streams by name, as in `dram_streams.py` of the recorded runs.
STREAM_NAMES = ("seq_row", "seq_bg", "conflict", "random", "mix21_seq", "mix21_random")
#: A mix of two reads and one write, in this order.
MIX_21 = 3
#: Seed of the named random streams.
SEED = 1
#: Levels that `seq_bg` changes with every request, before anything else.
_FASTEST = ("Rank", "PseudoChannel")


@dataclass(frozen=True)
class Strided:
    """A burst every `stride_bytes` from `base_bytes`; beyond the last byte it starts again.

    write_every: every which request is a write; 0 for none. In this and all streams.
    """

    mapping: tuple[str, ...] | str
    stride_bytes: int
    base_bytes: int = 0
    write_every: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for sizes out of range."""
        _check(self, {"stride_bytes": 1, "base_bytes": 0, "write_every": 0})


@dataclass(frozen=True)
class Tile:
    """A matrix read block by block: row by row in a block, block by block in a row of blocks.

    rows, columns: those of blocks. tile_rows: rows of a block; tile_bytes: bytes of one of them.
    pitch_bytes: from a row of the matrix to the next. After the last block it goes on below.
    """

    mapping: tuple[str, ...] | str
    tile_rows: int
    tile_bytes: int
    columns: int
    pitch_bytes: int
    base_bytes: int = 0
    write_every: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for sizes out of range and rows that are longer than the pitch."""
        least = {"tile_rows": 1, "tile_bytes": 1, "columns": 1, "pitch_bytes": 1}
        _check(self, {**least, "base_bytes": 0, "write_every": 0})
        if self.columns * self.tile_bytes > self.pitch_bytes:
            raise InputError(
                f"Tile: {self.columns} columns of {self.tile_bytes} bytes are more than "
                f"pitch_bytes {self.pitch_bytes}"
            )


@dataclass(frozen=True)
class Gather:
    """Runs of `run_bytes`, each at a place of `table_bytes` that a hash of its number gives."""

    mapping: tuple[str, ...] | str
    run_bytes: int
    table_bytes: int
    base_bytes: int = 0
    write_every: int = 0
    seed: int = SEED

    def __post_init__(self) -> None:
        """Raise InputError for sizes out of range and a table that is no whole number of runs."""
        least = {"run_bytes": 1, "table_bytes": 1, "base_bytes": 0, "write_every": 0, "seed": 0}
        _check(self, least)
        if self.table_bytes % self.run_bytes:
            raise InputError(
                f"Gather: table_bytes {self.table_bytes} is no multiple of run_bytes "
                f"{self.run_bytes}"
            )


@dataclass(frozen=True)
class Random:
    """Uniform over banks, rows and bursts of channel 0: one draw of splitmix64 a level."""

    write_every: int = 0
    seed: int = SEED

    def __post_init__(self) -> None:
        """Raise InputError for numbers out of range."""
        _check(self, {"write_every": 0, "seed": 0})


Stream: TypeAlias = Strided | Tile | Gather | Random


def named_stream(name: str, standard: Standard) -> Stream:
    """Return one of STREAM_NAMES on a standard. Raises InputError for another name."""
    write_every = MIX_21 if name.startswith("mix21") else 0
    match name:
        case "seq_row":
            return Strided(_rows_last(standard), standard.access_bytes)
        case "seq_bg" | "mix21_seq":
            order = group_first(standard)
            return Strided(order, standard.access_bytes, write_every=write_every)
        case "conflict":
            stride = standard.banks_per_channel * standard.bursts_per_row * standard.access_bytes
            return Strided(_rows_last(standard), stride)
        case "random" | "mix21_random":
            return Random(write_every)
        case _:
            raise InputError(unknown("stream", name, STREAM_NAMES))


def stream_tables(stream: Stream, standard: Standard) -> "StreamTables":
    """Return a stream on a standard for `streams_kernel`.

    Raises InputError for a mapping that does not fit, for sizes that are no whole bursts, and for
    what does not fit into the memory.
    """
    import numpy as np

    from simulator.dram import streams_kernel as kernel

    base = stream.base_bytes if not isinstance(stream, Random) else 0
    kind, loops, run, places, seed, sizes = kernel.NEST, [(1, 1)], 1, 1, 0, {"base_bytes": base}
    access = standard.access_bytes
    match stream:
        case Strided():
            sizes["stride_bytes"] = stream.stride_bytes
            loops = [(0, stream.stride_bytes // access)]
        case Tile():
            sizes |= {"tile_bytes": stream.tile_bytes, "pitch_bytes": stream.pitch_bytes}
            loops = _tile_loops(stream, access)
        case Gather():
            sizes |= {"run_bytes": stream.run_bytes, "table_bytes": stream.table_bytes}
            kind, seed = kernel.GATHER, stream.seed
            run, places = stream.run_bytes // access, stream.table_bytes // stream.run_bytes
        case Random():
            kind, seed = kernel.RANDOM, stream.seed
        case _:
            raise InputError(f"no stream: {stream!r}")
    _check_sizes(type(stream).__name__, sizes, standard)
    # What goes round the whole memory goes nowhere: the numbers stay far below 64 bits.
    bursts = standard.capacity_bytes // access
    numbers = (kind, stream.write_every, base // access, run, places, seed)
    return kernel.StreamTables(
        numbers=np.array(numbers, dtype=np.int64),
        digits=digits(_order(stream, standard), standard),
        loops=np.array([(count, stride % bursts) for count, stride in loops], dtype=np.int64),
    )


def addresses(
    stream: Stream, standard: Standard, start: int, count: int
) -> "tuple[NDArray[np.bool_], NDArray[np.int64]]":
    """Return which of the requests `start`, `start` + 1, ... write, and their levels.

    Shapes (count,) and (count, levels), Channel to Column. Raises InputError as `stream_tables`,
    and for negative numbers.
    """
    import numpy as np

    from simulator.dram.streams_kernel import fill

    if start < 0 or count < 0:
        raise InputError(f"requests are numbered from 0, got {count} from {start}")
    writes = np.empty(count, dtype=np.bool_)
    levels = np.empty((count, len(standard.levels)), dtype=np.int64)
    fill(*stream_tables(stream, standard), start, writes, levels)
    return writes, levels


def block_tables(stream: Stream, standard: Standard) -> "StreamTables":
    """Return a stream for `streams_kernel.fill_block`: of a level inside the channel, the banks.

    Raises InputError as `stream_tables`.
    """
    from simulator.dram.mapping import PLACE, SCALE

    tables, banked = stream_tables(stream, standard), len(standard.banked_levels)
    for digit in tables.digits:
        level = int(digit[PLACE])
        if 0 < level < banked:
            digit[SCALE] = prod(standard.counts[level + 1 : banked])
        digit[PLACE] = 4 if level == 0 else 1 + max(0, level - banked + 1)
    return tables


def period(stream: Stream, standard: Standard) -> tuple[int, int]:
    """Return after how many requests a stream repeats, and by how many rows it has then moved on.

    Rows count around the last of a bank. (0, 0) for streams that do not repeat, and where the row
    is not the most significant digit. Raises InputError as `stream_tables`.
    """
    from simulator.dram.mapping import PLACE, RADIX
    from simulator.dram.streams_kernel import COUNT, KIND, NEST, STRIDE

    tables = stream_tables(stream, standard)
    *inner, top = [digit for digit in tables.digits.tolist() if digit[RADIX] > 1] or [[-1]]
    if tables.numbers[KIND] != NEST or top[PLACE] != len(standard.levels) - 2:
        return 0, 0
    below = prod(digit[RADIX] for digit in inner)
    nest, stride = prod(tables.loops[:-1, COUNT].tolist()), int(tables.loops[-1, STRIDE])
    requests = lcm(nest * (below // gcd(below, stride)), stream.write_every or 1)
    return requests, requests // nest * stride // below % standard.levels["Row"]


def _inner(standard: Standard) -> tuple[str, ...]:
    """Return the levels between the channel and the row, outermost first."""
    return standard.banked_levels[1:]


def _rows_last(standard: Standard) -> tuple[str, ...]:
    """Return the order of `seq_row`: burst, bank, outwards to the rank, row."""
    return ("Channel", "Row", *_inner(standard), "Column")


def group_first(standard: Standard) -> tuple[str, ...]:
    """Return the order of `seq_bg`: rank or pseudo-channel, bank group, burst, the rest, row."""
    inner = _inner(standard)
    first = [level for level in inner[:1] if level in _FASTEST]
    first += [level for level in inner if level == "BankGroup"]
    rest = [level for level in inner if level not in first]
    return ("Channel", "Row", *rest, "Column", *reversed(first))


def _order(stream: Stream, standard: Standard) -> tuple[str, ...] | str:
    """Return a stream's mapping; for Random, its draws from the last to the first."""
    if not isinstance(stream, Random):
        return stream.mapping
    # A single channel takes no draw.
    drawn = [level for level, count in standard.levels.items() if level != "Channel" or count > 1]
    return tuple(reversed(drawn))


def _tile_loops(stream: Tile, access_bytes: int) -> list[tuple[int, int]]:
    """Return counts and strides in bursts: along a row, down a block, along blocks, down."""
    along, pitch = stream.tile_bytes // access_bytes, stream.pitch_bytes // access_bytes
    down = stream.tile_rows * pitch
    return [(along, 1), (stream.tile_rows, pitch), (stream.columns, along), (0, down)]


def _check(stream: Stream, least: dict[str, int]) -> None:
    label = type(stream).__name__
    given = {name: getattr(stream, name) for name in least}
    problems = [
        f"{label}: {name} must be an integer from {least[name]} to 2**63 - 1, got {value!r}"
        for name, value in given.items()
        if type(value) is not int or not least[name] <= value < 2**63
    ]
    if problems:
        raise InputError(problems)


def _check_sizes(label: str, sizes: dict[str, int], standard: Standard) -> None:
    """Refuse sizes that are no whole bursts, and a region that does not fit into the memory."""
    access, capacity = standard.access_bytes, standard.capacity_bytes
    problems = [
        f"{label}: {name} {size} is no multiple of the {access} bytes of a burst of {standard.name}"
        for name, size in sizes.items()
        if size % access
    ]
    end = sizes["base_bytes"] + sizes.get("table_bytes", access)
    if end > capacity:
        problems.append(f"{label}: ends at byte {end}, {standard.name} has {capacity} bytes")
    if problems:
        raise InputError(problems)
