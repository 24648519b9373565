"""What NeuPIMs' channels are to do: where keys and values lie, and the PIM commands of requests.

With rows of R values, B banks, E values of a token's keys on this device (hidden / tp), D in a head
and S multipliers in a bank:

- Keys: bank = token mod B, a tile of B tokens has ceil(E / R) rows. The scores of a chunk of R
  values of the query take a GWRITE, then tile by tile P_HEADER and a GEMV of D / S steps for each
  head in the row.
- Values: bank = dimension of the head mod B, R tokens in a row. The output of a head takes, for
  each chunk of R scores, a GWRITE, then for each tile of B dimensions P_HEADER and a GEMV of R / S
  steps. As in NeuPIMs all heads name the rows of the first: of several tiles or chunks none is
  open when it is asked for again, as with rows of their own; a single one stays open.
- GEMV(k) is COMPS_READRES, or k COMP and a READRES.

NeuPIMs' PIMTensor.cc, NeuPIMSLogitSoftmax.cc and NeuPIMSAttend.cc (casys-kaist/NeuPIMs @f299af3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.dram.pim.neupims_part import NeuPims, Role
from simulator.errors import InfeasibleError, InputError

Ints = NDArray[np.int64]
#: Commands by what they are used for; of `CLOSE_PIM` there is none with one row buffer.
(
    OPEN, CLOSE, REFRESH, GWRITE, OPEN_GROUP, CLOSE_PIM, HEADER, COMPUTE, RESULT, COMPOSITE,
    READ, WRITE,
) = range(12)  # fmt: skip
USES = 12
USE_OF: dict[Role, int] = {
    "open": OPEN,
    "close": CLOSE,
    "refresh": REFRESH,
    "write_buffer": GWRITE,
    "open_group": OPEN_GROUP,
    "close_pim": CLOSE_PIM,
    "announce": HEADER,
    "compute": COMPUTE,
    "read_result": RESULT,
    "compute_and_read": COMPOSITE,
    "read": READ,
    "write": WRITE,
}
#: Columns of what is to be done: a use, of a GEMV its steps and of a header those of all of the
#: row, of a header the results to come, the row, and the item of the vector unit that waits for the
#: result, -1 for none.
USE, STEPS, RESULTS, ROW, ITEM = range(5)
FIELDS = 5
#: The first row of keys and values; GWRITE reads the one before, of the first bank.
FIRST_ROW = 1


@dataclass(frozen=True)
class Shape:
    """What attention is of, on one of the devices that share it."""

    hidden: int
    own_hidden: int
    own_heads: int
    head_dim: int


def shape_of(part: NeuPims, hidden: int, heads: int, tp: int) -> Shape:
    """Return the shape of a model that `tp` devices share.

    Raises InputError for what does not divide, and for heads that rows and units do not take.
    """
    given = {"hidden": hidden, "heads": heads, "tp": tp}
    problems = [f"{name} must be >= 1, got {value}" for name, value in given.items() if value < 1]
    if problems:
        raise InputError(problems)
    if hidden % heads:
        problems.append(f"hidden must be a multiple of {heads} heads, got {hidden}")
    if heads % tp:
        problems.append(f"heads must be a multiple of tp {tp}, got {heads}")
    head_dim, lanes = hidden // heads, part.units.multipliers
    if not problems and (part.row_values % head_dim or head_dim % lanes):
        problems.append(
            f"a head of {head_dim} values must be a multiple of {lanes} and divide the "
            f"{part.row_values} values of a row"
        )
    if problems:
        raise InputError(problems)
    return Shape(hidden, hidden // tp, heads // tp, head_dim)


def rows_of(part: NeuPims, shape: Shape, tokens: int) -> tuple[int, int]:
    """Return the rows that keys and values take in each bank: of all of hidden, as in NeuPIMs."""
    return (
        ceil(tokens / part.banks) * ceil(shape.hidden / part.row_values),
        ceil(tokens / part.row_values) * ceil(shape.hidden / part.banks),
    )


class Stage(NamedTuple):
    """Commands of each channel, and the ticks of the vector unit's items, in order."""

    ops: list[Ints]
    vector_ticks: Ints


def stages(
    part: NeuPims, mode: str, shape: Shape, placed: Sequence[Sequence[int]]
) -> Iterator[Stage]:
    """Yield the stages of scores and of outputs.

    Raises InfeasibleError for a channel with too few rows.
    """
    rows = [[rows_of(part, shape, tokens) for tokens in listed] for listed in placed]
    for channel, of_channel in enumerate(rows):
        _refuse_overflow(part, channel, sum(map(sum, of_channel)))
    gemvs = _Gemvs(part, part.mode(mode).gemv == "composite")
    for program in (_scores, _outputs):
        listed, ticks = [], list[int]()
        for of_channel, tokens_of in zip(rows, placed, strict=True):
            ops, firsts = [], accumulate(map(sum, of_channel), initial=FIRST_ROW)
            for (keys, _), first, tokens in zip(of_channel, firsts, tokens_of, strict=False):
                row = first if program is _scores else first + keys
                added, items = program(gemvs, shape, tokens, row, len(ticks))
                ops.append(added)
                ticks += items
            listed.append(np.concatenate(ops) if ops else np.zeros((0, FIELDS), np.int64))
        yield Stage(listed, np.array(ticks, np.int64))


def _refuse_overflow(part: NeuPims, channel: int, rows: int) -> None:
    most = part.levels["Row"] - FIRST_ROW
    if rows > most:
        raise InfeasibleError(
            resource=f"rows of channel {channel}",
            demand=rows,
            bound=most,
            unit="rows",
            reason=f"{part.name}: keys and values of channel {channel} take {rows} rows of each "
            f"bank, which has {most} beside the one of vectors",
        )


class _Gemvs:
    """Makes lists of commands."""

    def __init__(self, part: NeuPims, composite: bool) -> None:
        self.part = part
        self._composite = composite

    def gwrite(self) -> Ints:
        """Return the command that fills the buffer of vectors."""
        return np.array([(GWRITE, 0, 0, FIRST_ROW - 1, -1)], np.int64)

    def tiles(self, rows: Ints, steps: int, announced: int, items: Ints) -> Ints:
        """Return a header for each row, and a GEMV for each item that waits for a result in it.

        rows: (tiles,). steps: of a GEMV. announced: steps in the header. items: (tiles, GEMVs), -1
        where nothing waits.
        """
        results = items.shape[1]
        # The header has the logarithm, rounded down, of the results.
        shown = 1 << (results.bit_length() - 1)
        gemv = [(COMPOSITE, steps, 0, 0, -1)]
        if not self._composite:
            gemv = [(COMPUTE, 1, 0, 0, -1)] * steps + [(RESULT, 0, 0, 0, -1)]
        tile = np.array([(HEADER, announced, shown, 0, -1), *gemv * results], np.int64)
        tiles = np.tile(tile, (len(rows), 1, 1))
        tiles[:, :, ROW] = rows[:, None]
        tiles[:, len(gemv) :: len(gemv), ITEM] = items
        return tiles.reshape(-1, FIELDS)


def _scores(
    gemvs: _Gemvs, shape: Shape, tokens: int, first_row: int, first_item: int
) -> tuple[Ints, list[int]]:
    """Return the commands for a request's scores, and the ticks of its softmax head by head."""
    part, dim = gemvs.part, shape.head_dim
    chunks, tiles = ceil(shape.own_hidden / part.row_values), ceil(tokens / part.banks)
    heads_of_row, steps, ops = part.row_values // dim, dim // part.units.multipliers, list[Ints]()
    for chunk in range(chunks):
        first = chunk * heads_of_row
        heads = np.arange(first, min(first + heads_of_row, shape.own_heads))
        # The header has the logarithm, rounded down, of the steps of all heads in the row.
        announced = 1 << ((steps * len(heads)).bit_length() - 1)
        rows = first_row + np.arange(tiles) * chunks + chunk
        items = np.tile(first_item + heads, (tiles, 1))
        ops += [gemvs.gwrite(), gemvs.tiles(rows, steps, announced, items)]
    softmax = _softmax_ticks(part, tokens * part.value_bytes)
    return np.concatenate(ops), [softmax] * shape.own_heads


def _outputs(
    gemvs: _Gemvs, shape: Shape, tokens: int, first_row: int, first_item: int
) -> tuple[Ints, list[int]]:
    """Return the commands for a request's outputs, and the ticks of the sums of its chunks.

    One chunk needs no sum; of more, each tile of each head has one.
    """
    part = gemvs.part
    chunks, tiles = ceil(tokens / part.row_values), ceil(shape.head_dim / part.banks)
    added, of_head = chunks > 1, list[Ints]()
    items = (first_item + np.arange(tiles) if added else np.full(tiles, -1))[:, None]
    for chunk in range(chunks):
        here = min(part.row_values, tokens - chunk * part.row_values)
        steps = ceil(here / part.units.multipliers)
        # The header has the logarithm, rounded up.
        announced = 1 << (steps - 1).bit_length()
        rows = first_row + np.arange(tiles) * chunks + chunk
        of_head += [gemvs.gwrite(), gemvs.tiles(rows, steps, announced, items)]
    ops = np.tile(np.concatenate(of_head), (shape.own_heads, 1, 1))
    # All heads do the same for items of their own.
    own = tiles * np.arange(shape.own_heads)[:, None]
    ops[:, :, ITEM] += np.where(ops[:, :, ITEM] >= 0, own, 0)
    add = ceil(tiles * part.banks * part.value_bytes / part.npu.vector_width)
    return ops.reshape(-1, FIELDS), [add] * (added * shape.own_heads * tiles)


def _softmax_ticks(part: NeuPims, size: int) -> int:
    """Return the ticks of a softmax: a tree for the greatest and one for the sum, three passes."""
    width, tree, left = part.npu.vector_width, 0, size
    while left > 1 or not tree:
        left = ceil(left / width)
        tree += left
    return 2 * tree + 3 * ceil(size / width)
